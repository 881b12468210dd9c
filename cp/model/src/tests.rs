//! The rules of the configuration as a whole. Those of single values are tested where they are written.

mod addresses;
mod applications;
mod balancers;
mod classic;
mod dns;
mod events;
mod groups;
mod inventories;
mod life;
mod listeners;
mod proxies;
mod random;
mod random_inventory;
mod reasons;
mod rules;
mod settings;
mod shifts;
mod tags;
mod targets;
mod zones;

use crate::error::{Code, Error};
use crate::health::{Change, Health, Report};
use crate::ids::Id;
use crate::model::{Command, Effects, Model, Now, Site};
use crate::rest::{self, Attributes, IpAddressType, Protocol, TargetSpec, TargetState};
use crate::{Limits, attributes, inventory};

const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_ms: 5_000 };

fn later(ms: u64) -> Now {
    Now { wall_ms: NOW.wall_ms + ms, mono_ms: NOW.mono_ms + ms }
}

fn site() -> Site {
    let subnet = |port: &str, net: &str| (port.to_owned(), net.parse().expect("a net"));
    Site {
        region: "local".into(),
        subnets: vec![subnet("p0", "10.1.0.2/24"), subnet("p0", "fd00:1::2/64")],
        networks: vec!["fd00:2::/64".parse().expect("a net")],
        ..Site::default()
    }
}

/// A model under test, with ids drawn from a counter.
#[derive(Clone)]
struct Bench {
    model: Model,
    next_id: u64,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self { model: Model::new(site(), Limits::default(), [1, 2]), next_id: 1, now: NOW }
    }

    fn id(&mut self) -> Id {
        self.next_id += 1;
        Id(self.next_id)
    }

    /// Applies a command as the control plane does: to a copy. Proves that what is stored makes the same model again.
    fn apply(&mut self, command: Command) -> Result<Effects, Error> {
        let mut next = self.model.clone();
        let effects = next.apply(command, self.now)?;
        assert_eq!(next.check_references(), Ok(()));
        for key in self.model.record_keys().into_iter().chain(next.record_keys()) {
            let unchanged = self.model.record(&key) == next.record(&key);
            assert!(unchanged || effects.changed.contains(&key), "{key} was changed in silence");
        }
        assert_eq!(next.epoch(), self.model.epoch() + u64::from(!effects.changed.is_empty()));
        self.model = next;
        Ok(effects)
    }

    fn ok(&mut self, command: Command) -> Effects {
        self.apply(command).expect("the command is good")
    }

    fn refused(&mut self, command: Command) -> (Code, Option<String>, String) {
        let before = self.model.clone();
        let error = self.apply(command).expect_err("the command is to be refused");
        assert_eq!(self.model, before);
        assert!(error.message.len() > 10 && !error.message.contains("Some("), "{error}");
        (error.code, error.field, error.message)
    }

    fn load_balancer(&mut self, name: &str, address: &str) -> Command {
        let request = load_balancer(name, vec![node("zone-a", address, None)]);
        Command::CreateLoadBalancer { request, id: self.id() }
    }

    /// As [`Self::load_balancer`], dualstack.
    fn dualstack(&mut self, name: &str, address: &str, ipv6_address: &str) -> Command {
        let mut request = load_balancer(name, vec![node("zone-a", address, Some(ipv6_address))]);
        request.ip_address_type = Some(IpAddressType::Dualstack);
        Command::CreateLoadBalancer { request, id: self.id() }
    }

    fn group(&mut self, name: &str, protocol: Protocol) -> Command {
        let request = rest::CreateTargetGroup {
            name: name.into(),
            protocol,
            port: 8080,
            target_type: rest::TargetType::Ip,
            ip_address_type: rest::TargetAddressType::Ipv4,
            health_check: rest::ModifyHealthCheck::default(),
            attributes: Attributes::new(),
            ..Default::default()
        };
        Command::CreateTargetGroup { request, id: self.id() }
    }

    /// As [`Self::group`], TCP to IPv6 targets.
    fn ipv6_group(&mut self, name: &str) -> Command {
        let mut command = self.group(name, Protocol::Tcp);
        if let Command::CreateTargetGroup { request, .. } = &mut command {
            request.ip_address_type = rest::TargetAddressType::Ipv6;
        }
        command
    }

    fn listener(&mut self, lb: &str, protocol: Protocol, port: i64, group: &str) -> Command {
        let request = rest::CreateListener { protocol, port, target_group: group.into(), ..Default::default() };
        Command::CreateListener { load_balancer: lb.into(), request, id: self.id() }
    }

    /// A load balancer `web` on 10.1.0.10 whose TCP listener on port 80 forwards to group `web` with these targets.
    fn serving(targets: &[&str]) -> Self {
        let mut bench = Self::new();
        for command in [
            bench.load_balancer("web", "10.1.0.10"),
            bench.group("web", Protocol::Tcp),
            bench.listener("web", Protocol::Tcp, 80, "web"),
        ] {
            bench.ok(command);
        }
        if !targets.is_empty() {
            bench.ok(register("web", targets));
        }
        bench
    }

    fn set_attribute(&mut self, group: &str, key: &str, value: &str) {
        let attributes = [(key.to_owned(), value.to_owned())].into();
        self.ok(Command::ModifyAttributes { target_group: group.into(), attributes });
    }

    fn slot(&self, group: &str, target: &str) -> u16 {
        let group = self.model.find_target_group(group).expect("the group").id;
        self.model.targets_of(group).find(|t| t.address.to_string() == target).expect("the target").slot
    }

    fn set_health(&mut self, group: &str, target: &str, health: Health) {
        let slot = self.slot(group, target);
        let target = self.model.target(slot).expect("a target");
        let (generation, nodes, change) =
            (target.generation, self.model.nodes_using(target), Change::Health(health, None));
        let found = (0..64).filter(|node| *node == 0 || nodes & 1 << node != 0);
        self.ok(Command::Health(found.map(|node| Report { slot, generation, node, change }).collect()));
    }

    /// (state, reason) of a target.
    fn state(&self, group: &str, target: &str) -> (TargetState, String) {
        let target = self.model.target(self.slot(group, target)).expect("the target");
        let health = self.model.show_health(target, self.now);
        assert_eq!(health.reason.is_some(), health.description.is_some());
        (health.state, health.reason.unwrap_or_default())
    }

    /// The addresses that new flows of a group go to.
    fn selected(&self, group: &str) -> Vec<String> {
        let group = self.model.find_target_group(group).expect("the group").id;
        self.model.candidates(group, 0).iter().map(|c| c.address.to_string()).collect()
    }
}

fn node(zone: &str, address: &str, ipv6_address: Option<&str>) -> rest::NodeSpec {
    let ipv6_address = ipv6_address.map(str::to_owned);
    rest::NodeSpec { zone: zone.into(), address: address.into(), ipv6_address, secondary_addresses: vec![] }
}

fn load_balancer(name: &str, nodes: Vec<rest::NodeSpec>) -> rest::CreateLoadBalancer {
    rest::CreateLoadBalancer { name: name.into(), scheme: None, ip_address_type: None, nodes, ..Default::default() }
}

fn specs(targets: &[&str]) -> Vec<TargetSpec> {
    targets.iter().map(|id| TargetSpec { id: (*id).into(), port: None, zone: None }).collect()
}

fn register(group: &str, targets: &[&str]) -> Command {
    Command::RegisterTargets { target_group: group.into(), targets: specs(targets) }
}

fn deregister(group: &str, targets: &[&str]) -> Command {
    Command::DeregisterTargets { target_group: group.into(), targets: specs(targets) }
}

const DELAY: &str = attributes::DEREGISTRATION_DELAY;

/// Network `net-1` with subnets of zones `zone-a` (10.2.0.0/24) and `zone-b` (10.3.0.0/24) and of public addresses, a network `net-2`
/// that is connected to it, and instances `i-1`, `i-2` (zone-a), `i-3` (zone-b), `i-9` (of `net-2`).
fn inventory() -> inventory::State {
    let zone = |name: &str| rest::Zone { name: name.into(), kind: rest::ZoneKind::default(), constrained: false };
    let network = |id: &str, cidrs: &[&str], peers: &[&str]| rest::NetworkSpec {
        id: id.into(),
        cidrs: cidrs.iter().map(|net| net.parse().expect("a net")).collect(),
        internet_gateway: true,
        peers: peers.iter().map(|id| (*id).into()).collect(),
        tenants: vec![],
        labels: rest::Labels::new(),
    };
    let subnet = |id: &str, network: &str, zone: &str, cidr: &str| rest::SubnetSpec {
        id: id.into(),
        network: network.into(),
        zone: zone.into(),
        cidr: cidr.parse().expect("a net"),
        ipv6_cidr: None,
        reserved: vec![],
        labels: rest::Labels::new(),
    };
    let instance = |id: &str, subnet: &str, address: &str| rest::InstanceSpec {
        id: id.into(),
        subnet: subnet.into(),
        address: address.parse().expect("an address"),
        other_addresses: vec![],
        state: rest::InstanceState::Running,
        no_client_ip: false,
        labels: rest::Labels::new(),
    };
    let mut state = inventory::State::default();
    for it in ["zone-a", "zone-b"].map(zone) {
        state.zones.insert(it.name.clone(), it);
    }
    for it in [
        network("net-1", &["10.2.0.0/16", "10.3.0.0/16", "203.0.113.0/24", "fd00:2::/48"], &["net-2"]),
        network("net-2", &["10.9.0.0/16", "fd00:9::/48"], &["net-1"]),
    ] {
        state.networks.insert(it.id.clone(), it);
    }
    for it in [
        subnet("sub-a", "net-1", "zone-a", "10.2.0.0/24"),
        subnet("sub-b", "net-1", "zone-b", "10.3.0.0/24"),
        subnet("sub-p", "net-1", "zone-a", "203.0.113.0/25"),
        subnet("sub-9", "net-2", "zone-a", "10.9.0.0/24"),
    ] {
        state.subnets.insert(it.id.clone(), it);
    }
    for it in [
        instance("i-1", "sub-a", "10.2.0.11"),
        instance("i-2", "sub-a", "10.2.0.12"),
        instance("i-3", "sub-b", "10.3.0.13"),
        instance("i-9", "sub-9", "10.9.0.19"),
    ] {
        state.instances.insert(it.id.clone(), it);
    }
    state
}

impl Bench {
    /// Nothing but the [`inventory`].
    fn with_inventory() -> Self {
        let mut bench = Self::new();
        bench.model.inventory = inventory();
        bench
    }

    /// Another inventory, which targets follow.
    fn change_inventory(&mut self, change: impl FnOnce(&mut inventory::State)) {
        let mut other = self.model.clone();
        change(&mut other.inventory);
        self.ok(Command::Inventory(inventory::Change::Put(other.show_inventory())));
    }

    /// A command that makes a group; `change` says what is special.
    fn special_group(&mut self, name: &str, change: impl FnOnce(&mut rest::CreateTargetGroup)) -> Command {
        let Command::CreateTargetGroup { mut request, id } = self.group(name, Protocol::Tcp) else { unreachable!() };
        change(&mut request);
        Command::CreateTargetGroup { request, id }
    }

    /// A group of instances of `net-1`.
    fn instance_group(&mut self, name: &str, selector: &[(&str, &str)]) -> Command {
        let labels = selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.special_group(name, |request| {
            request.target_type = rest::TargetType::Instance;
            request.network = Some("net-1".into());
            request.selector = labels;
        })
    }

    /// (id, port, zone, state, reason, description) of each target of a group.
    fn shown(&self, group: &str) -> Vec<rest::Target> {
        let group = self.model.find_target_group(group).expect("the group");
        self.model.show_targets(group, None, self.now, |_| rest::TargetFlows::default()).expect("all of them")
    }

    /// (state, reason, description) of a target by its id.
    fn health(&self, group: &str, id: &str) -> (TargetState, String, String) {
        let target = self.shown(group).into_iter().find(|target| target.id == id).expect(id);
        let health = target.health;
        (health.state, health.reason.unwrap_or_default(), health.description.unwrap_or_default())
    }
}

//! Rules of load balancers (LB, ZN, IPT). Those in subnets of the inventory, and the choice of their addresses, are in
//! `load_balancer/subnets.rs`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::attributes::Subject;
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::forward::NODES_MAX;
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Chosen, LoadBalancer, Node};
use crate::rest::{self, Attributes, IpAddressType, LoadBalancerType, NodeChange, NodeSpec};

mod subnets;
use subnets::Wanted;

/// Secondary addresses of a node at the most.
pub const SECONDARY_ADDRESSES_MAX: usize = 7;

impl Model {
    pub(crate) fn create_load_balancer(
        &mut self,
        fx: &mut Effects,
        request: rest::CreateLoadBalancer,
        id: Id,
        now: Now,
    ) -> Result<(), Error> {
        if request.kind == LoadBalancerType::Application {
            return self.create_application(fx, request, id, now);
        }
        check::load_balancer_name("name", &request.name)?;
        self.check_tags(&request.tags)?;
        check_one_of(&request.nodes, &request.subnets, &request.subnet_mappings)?;
        let nodes: Vec<Node> =
            request.nodes.iter().enumerate().map(|(at, spec)| new_node(at, spec)).collect::<Result<_, _>>()?;
        let wanted = Wanted::of(&request.subnets, &request.subnet_mappings);
        if nodes.is_empty() && wanted.is_none() {
            let message = "a load balancer needs a subnet, or a node with an address, in each of its zones; give one";
            return Err(Error::invalid("nodes", message));
        }
        let scheme = request.scheme.unwrap_or_default();
        let attributes = Subject::LoadBalancer(scheme).changed(&Attributes::new(), &request.attributes)?;
        let mut lb = LoadBalancer {
            id,
            name: request.name,
            scheme,
            created_ms: now.wall_ms,
            ip_address_type: request.ip_address_type.unwrap_or_default(),
            nodes,
            active: self.site.without_data_plane,
            failed: None,
            network: None,
            attributes,
            tags: request.tags,
            capacity: None,
            classic: None,
        };
        let old = self.shown_load_balancers().find(|old| old.name == lb.name);
        if let Some(old) = old.filter(|old| is_same(old, &lb, &request.attributes, wanted.as_ref())) {
            fx.id = Some(old.id);
            return Ok(());
        }
        self.check_name_is_free(&lb.name)?;
        self.limits.load_balancers(self.shown_load_balancers().count() + 1)?;
        if let Some(wanted) = &wanted {
            self.set_subnets(&mut lb, wanted)?;
            self.choose_ipv6(&mut lb)?;
        }
        self.check_nodes(&lb)?;
        self.put_load_balancer(fx, lb)
    }

    pub(crate) fn modify_load_balancer(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        request: &rest::ModifyLoadBalancer,
    ) -> Result<(), Error> {
        let old = self.find_load_balancer(wanted)?;
        fx.id = Some(old.id);
        check_one_of(&request.nodes, &request.subnets, &request.subnet_mappings)?;
        let mut lb = old.clone();
        if let Some(ip_address_type) = request.ip_address_type {
            lb.ip_address_type = ip_address_type;
        }
        if lb.ip_address_type == IpAddressType::Ipv4 {
            for node in &mut lb.nodes {
                (node.ipv6_address, node.chosen.ipv6) = (None, false);
                node.secondary_addresses.retain(IpAddr::is_ipv4);
            }
        }
        for (at, change) in request.nodes.iter().enumerate() {
            self.change_or_add_node(at, &mut lb, change)?;
        }
        if let Some(wanted) = Wanted::of(&request.subnets, &request.subnet_mappings) {
            if lb.network.is_none() {
                let message = "the load balancer was made with addresses and not in subnets; give nodes";
                return Err(Error::at(Code::InvalidConfigurationRequest, "subnets", message));
            }
            self.set_subnets(&mut lb, &wanted)?;
        }
        self.choose_ipv6(&mut lb)?;
        if lb == *old {
            return Ok(());
        }
        self.check_nodes(&lb)?;
        for listener in self.listeners_of(lb.id) {
            let group = self.target_groups.get(&listener.target_group);
            let wrong = group.and_then(|group| unfit(&lb, listener.protocol, group));
            if let Some((_, why)) = wrong {
                let message = format!("listener {} on port {}: {why}", listener.protocol, listener.port);
                return Err(Error::at(Code::InvalidConfigurationRequest, "ipAddressType", message));
            }
        }
        self.put_load_balancer(fx, lb)
    }

    fn change_or_add_node(&self, at: usize, lb: &mut LoadBalancer, change: &NodeChange) -> Result<(), Error> {
        if let Some(node) = lb.nodes.iter_mut().find(|node| node.zone == change.zone) {
            return change_node(at, node, change);
        }
        if lb.network.is_some() {
            let message = format!(
                "there is no node in zone {}; this load balancer is in subnets: give all of them, and one of that zone",
                Shown(&change.zone)
            );
            return Err(Error::at(Code::InvalidConfigurationRequest, format!("nodes[{at}].zone"), message));
        }
        let missing = || {
            let message = format!("there is no node in zone {}; a new one needs an address", Shown(&change.zone));
            Error::invalid(format!("nodes[{at}].address"), message)
        };
        let spec = NodeSpec {
            zone: change.zone.clone(),
            address: change.address.clone().ok_or_else(missing)?,
            ipv6_address: change.ipv6_address.clone(),
            secondary_addresses: change.secondary_addresses.clone().unwrap_or_default(),
        };
        lb.nodes.push(new_node(at, &spec)?);
        Ok(())
    }

    /// Puts a new or changed load balancer in its place, and its listeners on all of its addresses.
    pub(crate) fn put_load_balancer(&mut self, fx: &mut Effects, lb: LoadBalancer) -> Result<(), Error> {
        let others = self.load_balancers.values().filter(|other| other.id != lb.id && other.network == lb.network);
        let others: usize = others.map(|lb| lb.nodes.len()).sum();
        self.limits.nodes(others + lb.nodes.len())?;
        let id = lb.id;
        let zones = |lb: &LoadBalancer| lb.nodes.iter().map(|node| node.zone.clone()).collect::<Vec<_>>();
        let have_moved = self.load_balancers.get(&id).is_some_and(|old| !zones(&lb).starts_with(&zones(old)));
        self.by_address.retain(|_, owner| *owner != id);
        self.by_address.extend(lb.nodes.iter().flat_map(Node::all_addresses).map(|address| (address, id)));
        self.load_balancers.insert(id, lb);
        fx.touch(RecordKey::LoadBalancer(id));
        fx.id = Some(id);
        let ports: Vec<u16> = self.listeners_of(id).map(|listener| listener.port).collect();
        ports.into_iter().try_for_each(|port| self.place_listener(fx, id, port))?;
        if have_moved {
            self.forget_verdicts(fx, id);
        }
        self.agree_on_targets(fx, id);
        Ok(())
    }

    /// Zones and addresses of a new or changed load balancer.
    fn check_nodes(&self, lb: &LoadBalancer) -> Result<(), Error> {
        let dualstack = lb.ip_address_type == IpAddressType::Dualstack;
        let subnets = &self.site.subnets;
        if dualstack && !subnets.is_empty() && !subnets.iter().any(|(_, net)| net.addr().is_ipv6()) {
            let message = "no port has an IPv6 address; give one to a port before a load balancer becomes dualstack";
            return Err(Error::at(Code::InvalidSubnet, "ipAddressType", message));
        }
        if lb.nodes.len() > usize::from(NODES_MAX) {
            let message = format!("{} nodes are too many; a load balancer has up to {NODES_MAX}", lb.nodes.len());
            return Err(Error::invalid("nodes", message));
        }
        let mut zones = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for (at, node) in lb.nodes.iter().enumerate() {
            let field = |name: &str| format!("nodes[{at}].{name}");
            if !zones.insert(&node.zone) {
                let message = format!("zone {} has two nodes; there is one for each zone", Shown(&node.zone));
                return Err(Error::invalid(field("zone"), message));
            }
            if !self.load_balancers.get(&lb.id).is_some_and(|old| old.nodes.iter().any(|old| old.zone == node.zone)) {
                self.check_zone_of_node(&field("zone"), &node.zone)?;
            }
            let all = [("address", IpAddr::from(node.address))].into_iter();
            let all = all.chain(node.ipv6_address.map(|address| ("ipv6Address", address.into())));
            for (name, address) in all.chain(node.secondary_addresses.iter().map(|a| ("secondaryAddresses", *a))) {
                if address.is_ipv6() && !dualstack {
                    let message = format!("{address}: only a dualstack load balancer has IPv6 addresses");
                    return Err(Error::at(Code::InvalidConfigurationRequest, field(name), message));
                }
                if !addresses.insert(address) {
                    return Err(Error::invalid(field(name), format!("{address} is given twice")));
                }
                if self.by_address.get(&address) != Some(&lb.id) {
                    match node.subnet.as_ref().and_then(|id| self.subnet(id)) {
                        Some(subnet) => self.check_free(&field(name), subnet, address)?,
                        None => self.check_node_address(&field(name), address)?,
                    }
                }
            }
            if dualstack && node.ipv6_address.is_none() {
                let message =
                    format!("a dualstack load balancer needs an IPv6 address in zone {} as well", Shown(&node.zone));
                return Err(Error::invalid(field("ipv6Address"), message));
            }
        }
        Ok(())
    }

    /// The address must be a host's of a port's subnet (ZN-06), and nobody else's.
    fn check_node_address(&self, field: &str, address: IpAddr) -> Result<(), Error> {
        if !check::is_unicast(address) {
            let message = format!("{address} cannot be the address of a node; give a unicast address");
            return Err(Error::invalid(field, message));
        }
        if let Some(other) = self.by_address.get(&address).and_then(|owner| self.load_balancers.get(owner)) {
            let message = format!("{address} is an address of load balancer {}; give another one", Shown(&other.name));
            return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
        }
        if let Some((port, _)) = self.site.subnets.iter().find(|(_, net)| net.addr() == address) {
            let message = format!("{address} is this host's own address on port {port}; give another one");
            return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
        }
        let instance = || self.instance_of_address(address).map(|instance| format!("instance {}", Shown(&instance.id)));
        let is_gateway = self.site.gateways.contains(&address);
        if let Some(owner) = is_gateway.then(|| "a gateway".into()).or_else(instance) {
            let message = format!("{address} is an address of {owner}; give another one");
            return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
        }
        if self.site.subnets.is_empty() || self.site.subnets.iter().any(|(_, net)| check::is_host_of(*net, address)) {
            return Ok(());
        }
        let message = format!(
            "{address} is not a host's address in a subnet of a port; the subnets are {}. \
             Give an address of one of these, or add the subnet to a port's addresses",
            self.port_subnets()
        );
        Err(Error::at(Code::InvalidSubnet, field, message))
    }

    /// The ports' subnets in words.
    fn port_subnets(&self) -> String {
        let subnets = self.site.subnets.iter().map(|(port, net)| format!("{} ({port})", net.trunc()));
        subnets.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn delete_load_balancer(&mut self, fx: &mut Effects, wanted: &str) -> Result<(), Error> {
        let Ok(lb) = self.find_load_balancer(wanted) else { return Ok(()) };
        self.check_deletion(lb)?;
        let id = lb.id;
        self.remove_load_balancer(fx, id);
        Ok(())
    }

    /// Its listeners go with it, and its flows.
    pub(crate) fn remove_load_balancer(&mut self, fx: &mut Effects, id: Id) {
        let ports: Vec<u16> = self.listeners_of(id).map(|listener| listener.port).collect();
        for port in ports {
            self.remove_listener(fx, id, port);
        }
        self.withdraw_targets(fx, id);
        self.end_shifts(fx, id);
        self.load_balancers.remove(&id);
        self.by_address.retain(|_, owner| *owner != id);
        fx.touch(RecordKey::LoadBalancer(id));
    }

    pub(crate) fn activate(&mut self, fx: &mut Effects, ids: &[Id]) {
        for id in ids {
            if let Some(lb) = self.load_balancers.get_mut(id).filter(|lb| !lb.active) {
                lb.active = true;
                fx.touch(RecordKey::LoadBalancer(*id));
            }
        }
    }

    /// What was found out before they became active keeps load balancers from it, for good (LB-02).
    pub(crate) fn fail(&mut self, fx: &mut Effects, failures: Vec<(Id, String)>) {
        for (id, reason) in failures {
            if let Some(lb) = self.load_balancers.get_mut(&id).filter(|lb| !lb.active && lb.failed.is_none()) {
                lb.failed = Some(reason);
                fx.touch(RecordKey::LoadBalancer(id));
            }
        }
    }

    /// The port in whose subnet an address is: the longest prefix counts.
    pub fn port_of(&self, address: IpAddr) -> Option<&str> {
        let containing = self.site.subnets.iter().filter(|(_, net)| net.contains(&address));
        // The first of equally long ones.
        let longest = containing.rev().max_by_key(|(_, net): &&(String, IpNet)| net.prefix_len());
        longest.map(|(port, _)| port.as_str())
    }
}

/// What a load balancer's address type forbids of a listener's protocol and group: the field at fault and why
/// (IPT-02, IPT-12, IPT-16).
pub(crate) fn unfit(
    lb: &LoadBalancer,
    protocol: rest::Protocol,
    group: &crate::resource::TargetGroup,
) -> Option<(&'static str, String)> {
    let name = Shown(&group.name);
    match lb.ip_address_type {
        IpAddressType::Ipv4 if group.ip_address_type == rest::TargetAddressType::Ipv6 => Some((
            "targetGroup",
            format!("target group {name} has IPv6 addresses; that needs a dualstack load balancer"),
        )),
        IpAddressType::Dualstack if protocol.has_udp() => {
            Some(("protocol", "a dualstack load balancer has TCP listeners only".into()))
        }
        IpAddressType::Dualstack if group.protocol.has_udp() => {
            let message =
                format!("target group {name} has protocol {}; a dualstack load balancer needs TCP", group.protocol);
            Some(("targetGroup", message))
        }
        _ => None,
    }
}

/// Nodes are named in one way (LB-19).
fn check_one_of(nodes: &[impl Sized], subnets: &[String], mappings: &[rest::SubnetMapping]) -> Result<(), Error> {
    let given = [("nodes", nodes.len()), ("subnets", subnets.len()), ("subnetMappings", mappings.len())];
    let given: Vec<&str> = given.into_iter().filter(|(_, len)| *len > 0).map(|(name, _)| name).collect();
    match given[..] {
        [_, second, ..] => {
            let message =
                format!("{} were given; give only one of nodes, subnets and subnetMappings", given.join(" and "));
            Err(Error::invalid(second, message))
        }
        _ => Ok(()),
    }
}

/// Whether a load balancer is what a request asks for (LB-18).
fn is_same(old: &LoadBalancer, new: &LoadBalancer, asked: &Attributes, wanted: Option<&Wanted>) -> bool {
    let nodes = match wanted {
        Some(wanted) => old.network.is_some() && wanted.is_what(old),
        None => old.nodes == new.nodes,
    };
    // What was not asked for may have been changed since.
    let attributes = asked.iter().all(|(key, value)| old.subject().value(&old.attributes, key) == value);
    let settings = |lb: &LoadBalancer| (lb.scheme, lb.ip_address_type, lb.tags.clone());
    nodes && attributes && settings(old) == settings(new)
}

fn new_node(at: usize, spec: &NodeSpec) -> Result<Node, Error> {
    let field = |name: &str| format!("nodes[{at}].{name}");
    check::name(&field("zone"), &spec.zone)?;
    let ipv6 = |text: &String| check::ipv6(Code::ValidationError, &field("ipv6Address"), text);
    Ok(Node {
        zone: spec.zone.clone(),
        address: check::ipv4(Code::ValidationError, &field("address"), &spec.address)?,
        ipv6_address: spec.ipv6_address.as_ref().map(ipv6).transpose()?,
        subnet: None,
        chosen: Chosen::default(),
        static_address: None,
        secondary_addresses: secondary_addresses(at, &spec.secondary_addresses)?,
    })
}

fn secondary_addresses(at: usize, texts: &[String]) -> Result<Vec<IpAddr>, Error> {
    let field = format!("nodes[{at}].secondaryAddresses");
    if texts.len() > SECONDARY_ADDRESSES_MAX {
        let message =
            format!("{} secondary addresses were given; a node has at most {SECONDARY_ADDRESSES_MAX}", texts.len());
        return Err(Error::invalid(field, message));
    }
    texts.iter().map(|text| check::address(Code::ValidationError, &field, text)).collect()
}

/// Changes a node that there is: nothing is taken away from it.
fn change_node(at: usize, node: &mut Node, change: &NodeChange) -> Result<(), Error> {
    let field = |name: &str| format!("nodes[{at}].{name}");
    let fixed = |name: &str, old: IpAddr| {
        let message = format!("the address of the node in zone {} is {old} and never changes", Shown(&change.zone));
        Error::at(Code::InvalidConfigurationRequest, field(name), message)
    };
    if let Some(text) = &change.address {
        let address = check::ipv4(Code::ValidationError, &field("address"), text)?;
        if address != node.address {
            return Err(fixed("address", node.address.into()));
        }
    }
    if let Some(text) = &change.ipv6_address {
        let address = check::ipv6(Code::ValidationError, &field("ipv6Address"), text)?;
        match node.ipv6_address {
            Some(old) if old != address => return Err(fixed("ipv6Address", old.into())),
            _ => node.ipv6_address = Some(address),
        }
    }
    if let Some(texts) = &change.secondary_addresses {
        let addresses = secondary_addresses(at, texts)?;
        if let Some(missing) = node.secondary_addresses.iter().find(|old| !addresses.contains(old)) {
            let message = format!("{missing} is missing; secondary addresses can be added but not taken away");
            return Err(Error::at(Code::InvalidConfigurationRequest, field("secondaryAddresses"), message));
        }
        node.secondary_addresses = addresses;
    }
    Ok(())
}

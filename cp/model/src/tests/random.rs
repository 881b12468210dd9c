//! Any sequence of commands keeps the invariants.

use super::*;
use crate::health::Cause;
use crate::model::RecordKey;
use crate::resource::Owner;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(super) enum Step {
    LoadBalancer(u8),
    DeleteLoadBalancer(u8),
    AddressType(u8, bool),
    AddZone(u8),
    Listener(u8, u8, u8, u8),
    ModifyListener(u8, u8, u8, u8),
    DeleteListener(u8, u8),
    Group(u8, u8),
    DeleteGroup(u8),
    Delay(u8, u16),
    Register(u8, Vec<u8>),
    Deregister(u8, Vec<u8>),
    Health(u8, u8),
    TlsListener(u8, u8),
    Certificates(bool, u8, u8),
    Attribute(u8, u8, u8),
    Tag(u8, bool, u8),
    InstanceGroup(u8, bool),
    Select(u8, bool),
    Check(u8, u8),
    RegisterInstances(u8, Vec<u8>),
    DeregisterInstances(u8, Vec<u8>),
    Instance(u8, u8),
    Wait(u32),
    FreeTargets,
    FreeListeners,
    Restart,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let targets = || proptest::collection::vec(0..12u8, 1..5);
    prop_oneof![
        (0..3u8).prop_map(Step::LoadBalancer),
        (0..3u8).prop_map(Step::DeleteLoadBalancer),
        (0..3u8, any::<bool>()).prop_map(|(a, b)| Step::AddressType(a, b)),
        (0..3u8).prop_map(Step::AddZone),
        (0..3u8, 0..3u8, 0..3u8, 0..4u8).prop_map(|(a, b, c, d)| Step::Listener(a, b, c, d)),
        (0..3u8, 0..3u8, 0..3u8, 0..4u8).prop_map(|(a, b, c, d)| Step::ModifyListener(a, b, c, d)),
        (0..3u8, 0..3u8).prop_map(|(a, b)| Step::DeleteListener(a, b)),
        (0..4u8, 0..3u8).prop_map(|(a, b)| Step::Group(a, b)),
        (0..4u8).prop_map(Step::DeleteGroup),
        (0..4u8, 0..4000u16).prop_map(|(a, b)| Step::Delay(a, b)),
        (0..4u8, targets()).prop_map(|(a, b)| Step::Register(a, b)),
        (0..4u8, targets()).prop_map(|(a, b)| Step::Deregister(a, b)),
        (any::<u8>(), 0..4u8).prop_map(|(a, b)| Step::Health(a, b)),
        (0..2u8, 0..4u8).prop_map(|(a, b)| Step::TlsListener(a, b)),
        (any::<bool>(), 0..2u8, 0..3u8).prop_map(|(a, b, c)| Step::Certificates(a, b, c)),
        (0..3u8, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Step::Attribute(a, b, c)),
        (0..4u8, any::<bool>(), 0..4u8).prop_map(|(a, b, c)| Step::Tag(a, b, c)),
        (0..4u8, any::<bool>()).prop_map(|(a, b)| Step::InstanceGroup(a, b)),
        (0..4u8, any::<bool>()).prop_map(|(a, b)| Step::Select(a, b)),
        (0..4u8, 0..3u8).prop_map(|(a, b)| Step::Check(a, b)),
        (0..4u8, targets()).prop_map(|(a, b)| Step::RegisterInstances(a, b)),
        (0..4u8, targets()).prop_map(|(a, b)| Step::DeregisterInstances(a, b)),
        (0..4u8, 0..6u8).prop_map(|(a, b)| Step::Instance(a, b)),
        (0..2_000_000u32).prop_map(Step::Wait),
        Just(Step::FreeTargets),
        Just(Step::FreeListeners),
        Just(Step::Restart),
    ]
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp];

fn addresses(numbers: &[u8]) -> Vec<String> {
    // The last three are node addresses.
    let address = |n: &u8| if *n < 9 { format!("10.2.0.{n}") } else { format!("10.1.0.{}", 10 + n - 9) };
    numbers.iter().map(address).collect()
}

fn instances(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|n| format!("i-{}", n % 5)).collect()
}

/// The inventory and certificates.
pub(super) fn prepared() -> Bench {
    let mut bench = Bench::with_inventory();
    bench.certificate("cert-0");
    bench.certificate("cert-1");
    bench
}

/// Changes an instance: another state, address or label, gone, or all as it was.
fn change_instance(bench: &mut Bench, n: u8, what: u8) {
    bench.change_inventory(|state| {
        let id = format!("i-{n}");
        if what == 0 {
            *state = inventory();
        }
        let Some(instance) = state.instances.get_mut(&id) else { return };
        match what {
            0 => {}
            1 => instance.state = rest::InstanceState::Stopped,
            2 => instance.state = rest::InstanceState::Running,
            3 => {
                let [a, b, c, _] = instance.address.octets();
                instance.address = [a, b, c, 60 + n].into();
            }
            4 => drop(instance.labels.insert("role".into(), "web".into())),
            _ => drop(state.instances.remove(&id)),
        }
    });
}

fn attribute(bench: &Bench, whose: u8, key: u8, value: u8) -> Command {
    use attributes::{LISTENERS, LOAD_BALANCERS, TARGET_GROUPS};
    let table = [TARGET_GROUPS, LOAD_BALANCERS, LISTENERS][usize::from(whose)];
    let key = table[usize::from(key) % table.len()].key;
    let values = ["true", "false", "off", "1", "60", "100", "use_load_balancer_configuration", "some-bucket"];
    let value = values[usize::from(value) % values.len()];
    let attributes = Attributes::from([(key.to_owned(), value.to_owned())]);
    let port = bench.model.listeners().next().map_or(80, |listener| listener.port);
    let name = || format!("n{}", value.len() % 3);
    match whose {
        0 => Command::ModifyAttributes { target_group: name(), attributes },
        1 => Command::ModifyLoadBalancerAttributes { load_balancer: name(), attributes },
        _ => Command::ModifyListenerAttributes { load_balancer: name(), port, attributes },
    }
}

fn tag(bench: &Bench, whose: u8, add: bool, key: u8) -> Command {
    let arn = match whose {
        0 => bench.model.show_load_balancers().load_balancers.into_iter().next().map(|lb| lb.arn),
        1 => bench.model.listeners().next().map(|listener| bench.model.listener_arn(listener)),
        2 => bench.model.show_target_groups().target_groups.into_iter().next().map(|group| group.arn),
        _ => None,
    };
    let resources = vec![arn.unwrap_or_else(|| "arn:nothing".into())];
    let key = ["a", "b", "aws:c", ""][usize::from(key)].to_owned();
    if add {
        Command::AddTags { resources, tags: vec![(key, "x".into())] }
    } else {
        Command::RemoveTags { resources, keys: vec![key] }
    }
}

pub(super) fn run(bench: &mut Bench, step: &Step) -> Result<Effects, Error> {
    let name = |n: u8| format!("n{n}");
    let port = |n: u8| 80 + i64::from(n);
    let command = match step.clone() {
        Step::LoadBalancer(n) => bench.load_balancer(&name(n), &format!("10.1.0.{}", 10 + n)),
        Step::DeleteLoadBalancer(n) => Command::DeleteLoadBalancer { load_balancer: name(n) },
        Step::AddressType(n, dualstack) => {
            let ip_address_type = Some(if dualstack { IpAddressType::Dualstack } else { IpAddressType::Ipv4 });
            let node = |(zone, last): (&str, u8)| rest::NodeChange {
                zone: zone.into(),
                ipv6_address: dualstack.then(|| format!("fd00:1::{last}")),
                ..Default::default()
            };
            let zones = [("zone-a", 10 + n), ("zone-b", 20 + n)].map(node).into_iter();
            let known = bench.model.find_load_balancer(&name(n)).map_or(0, |lb| lb.nodes.len());
            let request =
                rest::ModifyLoadBalancer { ip_address_type, nodes: zones.take(known).collect(), ..Default::default() };
            Command::ModifyLoadBalancer { load_balancer: name(n), request }
        }
        Step::AddZone(n) => {
            let node = rest::NodeChange {
                zone: "zone-b".into(),
                address: Some(format!("10.1.0.{}", 20 + n)),
                ipv6_address: None,
                secondary_addresses: Some(vec![format!("10.1.0.{}", 30 + n)]),
            };
            let request = rest::ModifyLoadBalancer { ip_address_type: None, nodes: vec![node], ..Default::default() };
            Command::ModifyLoadBalancer { load_balancer: name(n), request }
        }
        Step::Listener(lb, protocol, at, group) => {
            bench.listener(&name(lb), PROTOCOLS[usize::from(protocol)], port(at), &name(group))
        }
        Step::ModifyListener(lb, protocol, at, group) => Command::ModifyListener {
            load_balancer: name(lb),
            port: 80,
            request: rest::ModifyListener {
                protocol: (protocol > 0).then(|| PROTOCOLS[usize::from(protocol)]),
                port: (at > 0).then(|| port(at)),
                target_group: (group > 0).then(|| name(group)),
                ..Default::default()
            },
        },
        Step::DeleteListener(lb, at) => Command::DeleteListener { load_balancer: name(lb), port: 80 + u16::from(at) },
        Step::Group(n, protocol) => bench.group(&name(n), PROTOCOLS[usize::from(protocol)]),
        Step::DeleteGroup(n) => Command::DeleteTargetGroup { target_group: name(n) },
        Step::Delay(n, seconds) => Command::ModifyAttributes {
            target_group: name(n),
            attributes: [(DELAY.to_owned(), seconds.to_string())].into(),
        },
        Step::Register(n, targets) => {
            let targets = addresses(&targets);
            register(&name(n), &targets.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Step::Deregister(n, targets) => {
            let targets = addresses(&targets);
            deregister(&name(n), &targets.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Step::Health(slot, to) => {
            let slot = u16::from(slot) % 16;
            let generation = bench.model.target_slots().generation(slot);
            let change = match to {
                0 => Change::Health(Health::Healthy, None),
                1 => Change::Health(Health::Unhealthy, Some(Cause::Timeout)),
                _ => Change::Unavailable(to == 2),
            };
            Command::Health(vec![Report { slot, generation, node: to % 3, change }])
        }
        Step::TlsListener(at, group) => match bench.tls_listener(port(at), &name(group), "cert-0") {
            Command::CreateListener { request, id, .. } => {
                Command::CreateListener { load_balancer: name(0), request, id }
            }
            other => other,
        },
        Step::Certificates(add, at, certificate) => {
            let (load_balancer, port) = (name(0), 80 + u16::from(at));
            let certificates = vec![format!("cert-{certificate}")];
            if add {
                Command::AddListenerCertificates { load_balancer, port, certificates }
            } else {
                Command::RemoveListenerCertificates { load_balancer, port, certificates }
            }
        }
        Step::Attribute(whose, key, value) => attribute(bench, whose, key, value),
        Step::Tag(whose, add, key) => tag(bench, whose, add, key),
        Step::InstanceGroup(n, select) => {
            let selector =
                if select { rest::Labels::from([("role".into(), "web".into())]) } else { rest::Labels::new() };
            bench.special_group(&name(n), |request| {
                request.target_type = rest::TargetType::Instance;
                request.selector = selector;
            })
        }
        Step::Select(n, select) => {
            let selector =
                if select { rest::Labels::from([("role".into(), "web".into())]) } else { rest::Labels::new() };
            let request = rest::ModifyTargetGroup { selector: Some(selector), ..Default::default() };
            Command::ModifyTargetGroup { target_group: name(n), request }
        }
        Step::Check(n, protocol) => {
            use rest::HealthCheckProtocol::{Http, Https, Tcp};
            let protocol = Some([Tcp, Http, Https][usize::from(protocol)]);
            let health_check = rest::ModifyHealthCheck { protocol, ..Default::default() };
            let request = rest::ModifyTargetGroup { health_check, ..Default::default() };
            Command::ModifyTargetGroup { target_group: name(n), request }
        }
        Step::RegisterInstances(n, ids) => {
            register(&name(n), &instances(&ids).iter().map(String::as_str).collect::<Vec<_>>())
        }
        Step::DeregisterInstances(n, ids) => {
            deregister(&name(n), &instances(&ids).iter().map(String::as_str).collect::<Vec<_>>())
        }
        Step::Instance(n, what) => {
            change_instance(bench, n, what);
            return Ok(Effects::default());
        }
        Step::Wait(ms) => {
            bench.now.wall_ms += u64::from(ms);
            bench.now.mono_ms += u64::from(ms);
            Command::Expire
        }
        Step::FreeTargets => {
            Command::FreeTargets(bench.model.targets().map(|target| (target.slot, vec![1; 8])).collect())
        }
        Step::FreeListeners => {
            let slots = bench.model.retired_listeners().map(|(slot, _)| (slot, vec![1; 8]));
            Command::FreeListeners(slots.collect())
        }
        Step::Restart => {
            let keys = bench.model.record_keys();
            let record = |key: &RecordKey| (key.to_string(), bench.model.record(key).expect("a record"));
            let records: Vec<_> = keys.iter().map(record).collect();
            let loaded = Model::load(site(), Limits::default(), records, bench.now).expect("it can be read");
            // What is not stored is only whether checks could be made, and ports' links.
            let mut expected = bench.model.clone();
            expected.targets.values_mut().for_each(|target| target.unavailable = 0);
            expected.ports_down.clear();
            expected.checks_stopped = false;
            assert_eq!(loaded, expected);
            bench.model = loaded;
            return Ok(Effects::default());
        }
    };
    bench.apply(in_network(command))
}

/// Groups are in a network, and addresses outside it have a zone.
fn in_network(mut command: Command) -> Command {
    match &mut command {
        Command::CreateTargetGroup { request, .. } => request.network = Some("net-1".into()),
        Command::RegisterTargets { targets, .. } => {
            let addresses = targets.iter_mut().filter(|target| target.id.starts_with("10."));
            addresses.for_each(|target| target.zone = Some("all".into()));
        }
        _ => {}
    }
    command
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// I5: tables contain registered targets only. I9: the epoch never falls. Numbers never change hands while taken.
    /// What is stored makes the same model. (The bench checks references and changed records after every command.)
    ///
    /// req: ERR-11, LB-15
    #[test]
    fn invariants_hold(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = prepared();
        for step in &steps {
            let holders = |model: &Model| -> BTreeMap<u16, (Id, std::net::IpAddr, u16, u8)> {
                model.targets().map(|t| (t.slot, (t.group, t.address, t.port, t.generation))).collect()
            };
            let (before, epoch) = (holders(&bench.model), bench.model.epoch());
            let records = |model: &Model| -> Vec<_> {
                model.record_keys().into_iter().map(|key| (model.record(&key), key)).collect()
            };
            let stored = records(&bench.model);
            if run(&mut bench, step).is_err() {
                prop_assert_eq!(records(&bench.model), stored, "a refused command leaves everything as it is");
            }
            prop_assert!(bench.model.epoch() >= epoch);
            let after = holders(&bench.model);
            for (slot, holder) in &before {
                match after.get(slot) {
                    Some(now) => prop_assert_eq!(now, holder),
                    None => prop_assert!(matches!(step, Step::FreeTargets)),
                }
            }
            for group in bench.model.target_groups() {
                let candidates = bench.model.candidates(group.id, 0);
                for candidate in &candidates {
                    let target = bench.model.target(candidate.slot).expect("a target");
                    prop_assert!(target.is_registered() && target.group == group.id);
                    prop_assert!(!bench.model.is_node(target.address));
                    let instance = target.name.as_ref().map(|id| bench.model.inventory.instances.get(id));
                    let runs = |it: &rest::InstanceSpec| it.state == rest::InstanceState::Running;
                    prop_assert!(instance.is_none_or(|it| it.is_some_and(|it| runs(it) && it.address == target.address)));
                }
                let users: BTreeSet<Id> =
                    bench.model.listeners().filter(|l| l.target_group == group.id).map(|l| l.load_balancer).collect();
                prop_assert!(users.len() <= 1, "one load balancer a group");
                if let Some(user) = users.first() {
                    let owner = Owner { load_balancer: *user, withdrawn_since: None };
                    let mut used = bench.model.targets_of(group.id).filter(|target| target.is_registered());
                    prop_assert!(used.all(|target| target.owner == Some(owner)), "flows of one load balancer a number");
                }
            }
            for target in bench.model.targets().filter(|target| target.is_registered()) {
                let group = bench.model.target_group(target.group).expect("its group");
                prop_assert_eq!(target.name.is_some(), group.target_type == rest::TargetType::Instance);
            }
            for listener in bench.model.listeners() {
                let tls = listener.protocol == Protocol::Tls;
                prop_assert_eq!((listener.certificates.is_empty(), listener.ssl_policy.is_some()), (!tls, tls));
                prop_assert_eq!(listener.slots.is_empty(), tls, "TLS has no data plane");
            }
            prop_assert_eq!(bench.model.treatments().count(), after.len());
        }
    }
}

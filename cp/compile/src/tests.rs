use super::*;
use leat_model::health::{Change, Health, Report};
use leat_model::{Command, Limits as Quotas, Now, Site};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Now = Now { wall_ms: 0, mono_ms: 0 };

fn model(subnets: &[(&str, &str)]) -> Model {
    let subnets = subnets.iter().map(|(port, net)| ((*port).to_owned(), net.parse().expect("a net"))).collect();
    Model::new(Site { region: "local".into(), subnets, ..Site::default() }, Quotas::default(), [7, 8])
}

fn request<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a request")
}

fn apply(model: &mut Model, command: Command) {
    model.apply(command, NOW).expect("a good command");
}

/// `web` on 10.1.0.10, TCP_UDP port 53 to three targets.
fn serving() -> Model {
    let mut model = model(&[("p0", "10.1.0.2/24"), ("p1", "10.2.0.2/24")]);
    let nodes = json!([{"zone": "zone-a", "address": "10.1.0.10"}]);
    let lb = json!({"name": "web", "nodes": nodes});
    apply(&mut model, Command::CreateLoadBalancer { request: request(lb), id: Id(1) });
    let group = json!({"name": "web", "protocol": "TCP_UDP", "port": 5353});
    apply(&mut model, Command::CreateTargetGroup { request: request(group), id: Id(2) });
    let listener = json!({"protocol": "TCP_UDP", "port": 53, "targetGroup": "web"});
    let load_balancer = "web".to_owned();
    apply(&mut model, Command::CreateListener { load_balancer, request: request(listener), id: Id(3) });
    register(&mut model, &["10.2.0.11", "10.2.0.12", "10.9.0.13"]);
    model
}

fn register(model: &mut Model, targets: &[&str]) {
    let targets = targets.iter().map(|id| request(json!({"id": id}))).collect();
    apply(model, Command::RegisterTargets { target_group: "web".into(), targets });
}

fn deregister(model: &mut Model, target: &str) {
    let targets = vec![request(json!({"id": target}))];
    apply(model, Command::DeregisterTargets { target_group: "web".into(), targets });
}

fn view() -> NetView {
    let hop = |port, last| view::NextHop { port, mac: [2, 0, 0, 0, 0, last] };
    NetView {
        version: 1,
        next_hops: [([10, 2, 0, 11].into(), hop(1, 11)), ([10, 9, 0, 13].into(), hop(0, 1))].into(),
        host_addresses: vec![(0, [10, 1, 0, 2].into()), (1, [10, 2, 0, 2].into()), (1, [10, 2, 0, 3].into())],
        taps_up: vec![true, true],
    }
}

fn ports() -> Vec<String> {
    vec!["p0".into(), "p1".into()]
}

/// The data plane has the ports in another order than the flags.
fn shape() -> Shape {
    Shape { ports: vec!["p1".into(), "p0".into()], limits: Limits { targets_max: 64, listeners_max: 64, ports: 2 } }
}

fn compiled(model: &Model) -> Compiled {
    compile(model, &view(), &ports(), &shape(), 5, &mut TableCache::default())
}

#[test]
fn a_configuration_becomes_a_snapshot() {
    let model = serving();
    let Compiled { snapshot, epoch, problems } = compiled(&model);
    assert_eq!((snapshot.generation, epoch, problems), (5, model.epoch(), vec![]));
    assert_eq!(snapshot.selection_key, [7, 8]);
    let locals: Vec<_> = snapshot.locals.iter().map(|l| (l.address.to_string(), l.kind, l.port)).collect();
    let (host, node) = (LocalKind::Host, LocalKind::Node);
    let expected = [("10.1.0.10", node, 1), ("10.1.0.2", host, 1), ("10.2.0.2", host, 0), ("10.2.0.3", host, 0)];
    assert_eq!(locals, expected.map(|(address, kind, port)| (address.to_owned(), kind, port)));
    let protocols: Vec<_> = snapshot.listeners.iter().map(|l| (l.protocol, l.port, l.group)).collect();
    assert_eq!(protocols, [(protocol::TCP, 53, 0), (protocol::UDP, 53, 0)]);
    assert_ne!(snapshot.listeners[0].slot, snapshot.listeners[1].slot);
    assert!(snapshot.groups[0].preserve_client_ip, "the default for TCP_UDP");
    assert_eq!(snapshot.groups[0].table.len(), 65_537);
    let hops: Vec<_> = snapshot.targets.iter().map(|t| t.next_hop.map(|hop| (hop.port, hop.mac[5]))).collect();
    assert_eq!(hops, [Some((0, 11)), None, Some((1, 1))]);
    let words = snapshot.encode();
    assert_eq!(Snapshot::decode(&words, 5, shape().limits), Ok(snapshot));
}

/// req: RT-05, HC-20, HC-21, DRN-03, LSN-11
#[test]
fn health_and_draining_show_in_states_and_tables() {
    let mut model = serving();
    let set = |model: &mut Model, slot, health| {
        apply(
            model,
            Command::Health(vec![Report { slot, generation: 0, node: 0, change: Change::Health(health, None) }]),
        );
    };
    let states = |model: &Model| compiled(model).snapshot.targets.iter().map(|t| t.state).collect::<Vec<_>>();
    let selected = |model: &Model| {
        let mut slots = compiled(model).snapshot.groups[0].table.clone();
        slots.sort_unstable();
        slots.dedup();
        slots
    };
    use TargetState::{Active, Draining, Unhealthy};
    set(&mut model, 0, Health::Healthy);
    set(&mut model, 1, Health::Unhealthy);
    assert_eq!((states(&model), selected(&model)), (vec![Active, Unhealthy, Active], vec![0]));
    set(&mut model, 0, Health::Unhealthy);
    assert_eq!((states(&model), selected(&model)), (vec![Active; 3], vec![0, 1, 2]), "fail-open");
    deregister(&mut model, "10.2.0.11");
    assert_eq!((states(&model), selected(&model)), (vec![Draining, Active, Active], vec![1, 2]));
    deregister(&mut model, "10.2.0.12");
    deregister(&mut model, "10.9.0.13");
    let empty: Vec<u16> = vec![];
    assert_eq!((states(&model), selected(&model)), (vec![Draining; 3], empty));
    // Without its listener the group is not needed, but its targets' flows go on.
    apply(&mut model, Command::DeleteListener { load_balancer: "web".into(), port: 53 });
    let snapshot = compiled(&model).snapshot;
    assert_eq!((snapshot.listeners.len(), snapshot.groups.len(), snapshot.targets.len()), (0, 0, 3));
}

/// req: PP2-08, STK-05, CIP-04
#[test]
fn attributes_become_switches_of_the_group() {
    let mut model = serving();
    let switches = |model: &Model| {
        let group = &compiled(model).snapshot.groups[0];
        assert_eq!(group.id, 2, "for the life of the group");
        (group.preserve_client_ip, group.sticky, group.proxy_protocol)
    };
    assert_eq!(switches(&model), (true, false, false));
    let attributes = json!({"stickiness.enabled": "true", "proxy_protocol_v2.enabled": "true"});
    let command = Command::ModifyAttributes { target_group: "web".into(), attributes: request(attributes) };
    apply(&mut model, command);
    assert_eq!(switches(&model), (true, true, true));
}

/// req: IPT-07, IPT-08, ZN-01, S9.7, S17.1
#[test]
fn listeners_stand_on_every_address_and_speak_to_targets_from_addresses_of_their_kind() {
    let subnets = [("p0", "10.1.0.2/24"), ("p0", "fd00:1::2/64"), ("p1", "10.2.0.2/24"), ("p1", "fd00:2::2/64")];
    let mut model = model(&subnets);
    let nodes = json!([
        {"zone": "a", "address": "10.1.0.10", "ipv6Address": "fd00:1::10", "secondaryAddresses": ["10.1.0.12", "fd00:1::12", "10.1.0.11"]},
        {"zone": "b", "address": "10.1.0.20", "ipv6Address": "fd00:1::20"},
    ]);
    let lb = json!({"name": "web", "ipAddressType": "dualstack", "nodes": nodes});
    apply(&mut model, Command::CreateLoadBalancer { request: request(lb), id: Id(1) });
    for (name, kind, port, id) in [("four", "ipv4", 80, 2), ("six", "ipv6", 81, 4)] {
        let group = json!({"name": name, "protocol": "TCP", "port": 8080, "ipAddressType": kind});
        apply(&mut model, Command::CreateTargetGroup { request: request(group), id: Id(id) });
        let listener = request(json!({"protocol": "TCP", "port": port, "targetGroup": name}));
        apply(&mut model, Command::CreateListener { load_balancer: "web".into(), request: listener, id: Id(id + 1) });
    }
    let target = |group: &str, id: &str| Command::RegisterTargets {
        target_group: group.into(),
        targets: vec![request(json!({"id": id}))],
    };
    apply(&mut model, target("four", "10.2.0.11"));
    apply(&mut model, target("six", "fd00:2::11"));
    let mut view = view();
    view.next_hops.insert("fd00:2::11".parse().expect("an address"), view::NextHop { port: 1, mac: [2; 6] });
    let compiled = compile(&model, &view, &ports(), &shape(), 5, &mut TableCache::default());
    assert_eq!(compiled.problems, [""; 0]);
    let snapshot = compiled.snapshot;
    let shown: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|l| {
            let sources: Vec<String> = l.sources.iter().map(ToString::to_string).collect();
            format!("{} {} {}: {}", l.slot, l.vip, l.port, sources.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "0 10.1.0.10 80: 10.1.0.10 10.1.0.12 10.1.0.11",
            "1 fd00:1::10 80: 10.1.0.10 10.1.0.12 10.1.0.11",
            "2 10.1.0.20 80: 10.1.0.20",
            "3 fd00:1::20 80: 10.1.0.20",
            "4 10.1.0.10 81: fd00:1::10 fd00:1::12",
            "5 fd00:1::10 81: fd00:1::10 fd00:1::12",
            "6 10.1.0.20 81: fd00:1::20",
            "7 fd00:1::20 81: fd00:1::20",
        ]
    );
    let nodes = snapshot.locals.iter().filter(|local| local.kind == LocalKind::Node);
    assert_eq!(nodes.map(|local| local.port).collect::<Vec<_>>(), [1; 7]);
    assert!(snapshot.targets[1].next_hop.is_some());
    assert_eq!(Snapshot::decode(&snapshot.encode(), 5, shape().limits), Ok(snapshot));
}

/// Clients connect to the static address, on the port of the node's own address; NAT leaves from the node's own.
///
/// req: ZN-05, ZN-15
#[test]
fn listeners_stand_on_static_addresses_and_speak_to_targets_from_the_nodes_own() {
    let mut model = model(&[("p0", "10.1.0.2/24"), ("p1", "10.2.0.2/24")]);
    let inventory = json!({
        "zones": [{"name": "a"}, {"name": "b"}],
        "networks": [{"id": "vpc-1", "cidrs": ["10.0.0.0/8"]}],
        "subnets": [
            {"id": "subnet-a", "network": "vpc-1", "zone": "a", "cidr": "10.1.0.0/24"},
            {"id": "subnet-b", "network": "vpc-1", "zone": "b", "cidr": "10.2.0.0/24"},
        ],
        "staticAddresses": [{"id": "eip-1", "address": "203.0.113.1"}, {"id": "eip-2", "address": "10.1.0.77"}],
    });
    apply(&mut model, Command::Inventory(leat_model::inventory::Change::Put(request(inventory))));
    let lb = json!({"name": "web", "subnetMappings": [
        {"subnet": "subnet-a", "allocationId": "eip-1"}, {"subnet": "subnet-b", "allocationId": "eip-2"}]});
    apply(&mut model, Command::CreateLoadBalancer { request: request(lb), id: Id(1) });
    let group = json!({"name": "web", "protocol": "TCP", "port": 8080, "network": "vpc-1"});
    apply(&mut model, Command::CreateTargetGroup { request: request(group), id: Id(2) });
    let listener = json!({"protocol": "TCP", "port": 80, "targetGroup": "web"});
    let load_balancer = "web".to_owned();
    apply(&mut model, Command::CreateListener { load_balancer, request: request(listener), id: Id(3) });
    register(&mut model, &["10.2.0.11"]);
    let Compiled { snapshot, problems, .. } = compiled(&model);
    assert_eq!(problems, [""; 0]);
    let shown = |l: &leat_abi::snapshot::Listener| (l.vip.to_string(), l.sources[0].to_string(), l.sources.len());
    let expected = [("203.0.113.1", "10.1.0.1", 1), ("10.1.0.77", "10.2.0.1", 1)];
    let expected = expected.map(|(vip, source, count)| (vip.to_owned(), source.to_owned(), count));
    assert_eq!(snapshot.listeners.iter().map(shown).collect::<Vec<_>>(), expected);
    let nodes = snapshot.locals.iter().filter(|local| local.kind == LocalKind::Node);
    let nodes: Vec<_> = nodes.map(|local| (local.address.to_string(), local.port)).collect();
    // In the data plane's order p0 is 1 and p1 is 0.
    let expected = [("203.0.113.1", 1), ("10.1.0.1", 1), ("10.1.0.77", 0), ("10.2.0.1", 0)];
    assert_eq!(nodes, expected.map(|(address, port)| (address.to_owned(), port)));
    assert_eq!(Snapshot::decode(&snapshot.encode(), 5, shape().limits), Ok(snapshot));
}

/// req: CIP-06, PP2-06, S12.3, S14.4
#[test]
fn choices_of_the_site_are_in_every_snapshot() {
    let subnets = vec![("p0".to_owned(), "10.1.0.2/24".parse().expect("a net"))];
    let endpoints = vec![("p1".to_owned(), "vpce-1".to_owned()), ("p7".to_owned(), "vpce-2".to_owned())];
    let site = Site { subnets, endpoints, hairpin_next_target: true, sticky_by_64: true, ..Site::default() };
    let Compiled { snapshot, problems, .. } = compiled(&Model::new(site, Quotas::default(), [7, 8]));
    assert!(snapshot.hairpin_next_target && snapshot.sticky_by_64);
    assert_eq!(snapshot.endpoints, [Endpoint { port: 0, id: "vpce-1".into() }]);
    assert!(problems[0].contains("no port p7"), "{problems:?}");
}

/// Nodes that choose from the same targets share a table, others have their own; each listener says which node it is of.
///
/// req: XZ-01, XZ-02, TGH-11, TGH-12, HC-20, HC-21, S2.2
#[test]
fn nodes_with_the_same_choice_share_a_table() {
    let mut model = model(&[("p0", "10.1.0.2/24"), ("p1", "10.2.0.2/24")]);
    let nodes = json!([{"zone": "a", "address": "10.1.0.10"}, {"zone": "b", "address": "10.2.0.10"}]);
    let lb = json!({"name": "web", "nodes": nodes});
    apply(&mut model, Command::CreateLoadBalancer { request: request(lb), id: Id(1) });
    let group = json!({"name": "web", "protocol": "TCP", "port": 8080});
    apply(&mut model, Command::CreateTargetGroup { request: request(group), id: Id(2) });
    let listener = request(json!({"protocol": "TCP", "port": 80, "targetGroup": "web"}));
    apply(&mut model, Command::CreateListener { load_balancer: "web".into(), request: listener, id: Id(3) });
    let targets = [("10.1.0.11", "a"), ("10.1.0.12", "a"), ("10.2.0.11", "b"), ("10.2.0.12", "b")];
    let targets = targets.map(|(id, zone)| request(json!({"id": id, "zone": zone}))).to_vec();
    apply(&mut model, Command::RegisterTargets { target_group: "web".into(), targets });
    let find = |model: &mut Model, slot, node, health| {
        let change = Change::Health(health, None);
        apply(model, Command::Health(vec![Report { slot, generation: 0, node, change }]));
    };
    let cross = |model: &mut Model, value: &str| {
        let attributes = request(json!({"load_balancing.cross_zone.enabled": value}));
        apply(model, Command::ModifyAttributes { target_group: "web".into(), attributes });
    };
    // Of each listener: its node, and the targets in its table; then how many tables there are.
    let tables = |model: &Model| {
        let snapshot = compiled(model).snapshot;
        assert_eq!(Snapshot::decode(&snapshot.encode(), 5, shape().limits), Ok(snapshot.clone()));
        let choices = snapshot.listeners.iter().map(|listener| {
            let mut slots = snapshot.groups[usize::from(listener.group)].table.clone();
            slots.sort_unstable();
            slots.dedup();
            (listener.vip.to_string(), listener.node, slots)
        });
        (choices.collect::<Vec<_>>(), snapshot.groups.len())
    };
    let expected = |at_a: &[u16], at_b: &[u16], count: usize| {
        (vec![("10.1.0.10".to_owned(), 0, at_a.to_vec()), ("10.2.0.10".to_owned(), 1, at_b.to_vec())], count)
    };
    let lost = |model: &Model| {
        let targets = compiled(model).snapshot.targets;
        targets.iter().map(|target| (target.state, target.unhealthy_at)).collect::<Vec<_>>()
    };
    use TargetState::{Active, Unhealthy, UnhealthyInPart};

    (0..2).for_each(|slot| find(&mut model, slot, 0, Health::Healthy));
    (2..4).for_each(|slot| find(&mut model, slot, 1, Health::Healthy));
    assert_eq!(tables(&model), expected(&[0, 1], &[2, 3], 2));
    cross(&mut model, "true");
    assert_eq!(tables(&model), expected(&[0, 1, 2, 3], &[0, 1, 2, 3], 1));
    find(&mut model, 0, 1, Health::Unhealthy);
    assert_eq!(tables(&model), expected(&[0, 1, 2, 3], &[1, 2, 3], 2), "node 0 has found nothing wrong");
    assert_eq!(lost(&model)[0], (UnhealthyInPart, 0b10));
    find(&mut model, 0, 0, Health::Unhealthy);
    assert_eq!(tables(&model), expected(&[1, 2, 3], &[1, 2, 3], 1));
    assert_eq!(lost(&model)[0], (Unhealthy, 0));
    cross(&mut model, "false");
    assert_eq!(tables(&model), expected(&[1], &[2, 3], 2));
    find(&mut model, 1, 0, Health::Unhealthy);
    assert_eq!(tables(&model), expected(&[0, 1], &[2, 3], 2), "zone a fails open");
    assert_eq!(lost(&model)[2..], [(Active, 0); 2]);
    assert!(lost(&model)[..2].iter().all(|(_, nodes)| nodes & 0b01 == 0), "node 0 resets nothing");
}

#[test]
fn what_does_not_fit_is_said_and_left_out() {
    let model = serving();
    let shape = Shape { ports: vec!["p1".into()], limits: Limits { targets_max: 2, listeners_max: 1, ports: 1 } };
    let Compiled { snapshot, problems, .. } = compile(&model, &view(), &ports(), &shape, 1, &mut TableCache::default());
    assert!(snapshot.listeners.is_empty() && snapshot.locals.iter().all(|l| l.kind == LocalKind::Host));
    assert_eq!(snapshot.targets.len(), 2);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("no port p0") && problems[1].contains("--targets-max"), "{problems:?}");

    let shape = Shape { ports: ports(), limits: Limits { targets_max: 2, listeners_max: 1, ports: 2 } };
    let Compiled { snapshot, problems, .. } = compile(&model, &view(), &ports(), &shape, 1, &mut TableCache::default());
    assert_eq!(snapshot.listeners.len(), 1);
    assert!(problems.iter().any(|problem| problem.contains("--listeners-max")), "{problems:?}");
    assert!(snapshot.groups[0].table.iter().all(|slot| *slot < 2));
    assert!(Snapshot::decode(&snapshot.encode(), 1, shape.limits).is_ok());
}

#[test]
fn an_unchanged_group_keeps_its_table() {
    let mut model = serving();
    let mut cache = TableCache::default();
    let mut build = |model: &Model| {
        compile(model, &view(), &ports(), &shape(), 1, &mut cache);
        cache.tables[&(Id(2), 0)].slots.clone()
    };
    let first = build(&model);
    assert!(Arc::ptr_eq(&first, &build(&model)));
    register(&mut model, &["10.2.0.14"]);
    assert!(!Arc::ptr_eq(&first, &build(&model)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is configured, the data plane accepts the snapshot.
    #[test]
    fn every_snapshot_is_accepted(
        registered in proptest::collection::vec(0..8u8, 1..8),
        deregistered in proptest::collection::vec(0..8u8, 0..8),
        health in proptest::collection::vec((0..8u16, any::<bool>()), 0..12),
        targets_max in 1..10u16,
        listeners_max in 1..4u16,
        known_ports in 0..3usize,
    ) {
        let mut model = serving();
        let names: Vec<String> = registered.iter().map(|n| format!("10.2.0.{}", 11 + n)).collect();
        register(&mut model, &names.iter().map(String::as_str).collect::<Vec<_>>());
        for n in deregistered {
            deregister(&mut model, &format!("10.2.0.{}", 11 + n));
        }
        for (slot, good) in health {
            let health = if good { Health::Healthy } else { Health::Unhealthy };
            apply(&mut model, Command::Health(vec![Report { slot, generation: 0, node: 0, change: Change::Health(health, None) }]));
        }
        let limits = Limits { targets_max, listeners_max, ports: known_ports as u8 };
        let shape = Shape { ports: ports()[..known_ports].to_vec(), limits };
        let compiled = compile(&model, &view(), &ports(), &shape, 9, &mut TableCache::default());
        let words = compiled.snapshot.encode();
        prop_assert_eq!(Snapshot::decode(&words, 9, limits), Ok(compiled.snapshot));
    }
}

/// 50 load balancers with 50 listeners each; `groups` groups with `each` targets.
fn large(groups: u32, each: u32) -> Model {
    let mut model = model(&[("p0", "10.1.0.2/16"), ("p1", "10.2.0.2/16")]);
    let mut id = 0;
    let mut next = || {
        id += 1;
        Id(id)
    };
    for n in 0..groups {
        let group = json!({"name": format!("g{n}"), "protocol": "TCP", "port": 8080});
        apply(&mut model, Command::CreateTargetGroup { request: request(group), id: next() });
        let target = |t: u32| {
            let n = n * each + t;
            request(json!({"id": format!("10.2.{}.{}", 1 + n / 250, 1 + n % 250)}))
        };
        let targets = (0..each).map(target).collect();
        apply(&mut model, Command::RegisterTargets { target_group: format!("g{n}"), targets });
    }
    for lb in 0..50 {
        let name = format!("lb{lb}");
        let nodes = json!([{"zone": "zone-a", "address": format!("10.1.1.{}", lb + 1)}]);
        let body = json!({"name": name, "nodes": nodes});
        apply(&mut model, Command::CreateLoadBalancer { request: request(body), id: next() });
        let own = groups / 50;
        for n in 0..50 {
            let group = format!("g{}", lb * own + n % own);
            let listener = json!({"protocol": "TCP", "port": 1000 + n, "targetGroup": group});
            let load_balancer = name.clone();
            apply(&mut model, Command::CreateListener { load_balancer, request: request(listener), id: next() });
        }
    }
    model
}

/// req: QTA-02, QTA-04, QTA-07, QTA-14
#[test]
fn what_the_quotas_allow_fits_into_the_arena() {
    let shape = Shape { ports: ports(), limits: Limits { targets_max: 4096, listeners_max: 4096, ports: 2 } };
    // leat-dp's default: 32 MiB.
    let arena_words = 4 << 20;
    for (groups, each, size) in [(50, 60, 65_537), (1000, 3, 503), (2500, 1, 1)] {
        let model = large(groups, each);
        let Compiled { snapshot, problems, .. } =
            compile(&model, &view(), &ports(), &shape, 7, &mut TableCache::default());
        assert_eq!(problems, [""; 0]);
        let counts = (snapshot.listeners.len(), snapshot.groups.len(), snapshot.targets.len());
        assert_eq!(counts, (2500, groups as usize, (groups * each) as usize));
        assert!(snapshot.groups.iter().all(|group| group.table.len() == size));
        let words = snapshot.encode();
        assert!(words.len() < arena_words, "{} words", words.len());
        assert_eq!(Snapshot::decode(&words, 7, shape.limits), Ok(snapshot));
    }
}

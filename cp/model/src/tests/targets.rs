//! Targets by address, instance and application load balancer: who may be one, and in which state.

use super::*;
use crate::rest::{InstanceState, TargetType};

fn targets(group: &str, targets: &[(&str, Option<i64>, Option<&str>)]) -> Command {
    let spec = |(id, port, zone): &(&str, Option<i64>, Option<&str>)| TargetSpec {
        id: (*id).into(),
        port: *port,
        zone: zone.map(Into::into),
    };
    Command::RegisterTargets { target_group: group.into(), targets: targets.iter().map(spec).collect() }
}

/// A load balancer `web` in zones whose TCP listener forwards to `web`, a group of `net-1`.
fn serving(zones: &[&str], target_type: TargetType) -> Bench {
    let mut bench = Bench::with_inventory();
    let node = |(at, zone): (usize, &&str)| node(zone, &format!("10.1.0.{}", 10 + at), None);
    let request = load_balancer("web", zones.iter().enumerate().map(node).collect());
    let id = bench.id();
    bench.ok(Command::CreateLoadBalancer { request, id });
    for command in [
        bench.special_group("web", |request| {
            (request.target_type, request.network) = (target_type, Some("net-1".into()));
        }),
        bench.listener("web", Protocol::Tcp, 80, "web"),
    ] {
        bench.ok(command);
    }
    bench
}

/// req: TG-05, TGT-05, TGT-07, IPT-10, IPT-13, ERR-04, OLD-01
#[test]
fn addresses_are_in_the_network_or_have_a_zone() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Ip);
    bench.ok(targets("web", &[("10.2.0.11", None, None), ("10.3.0.12", None, None), ("203.0.113.9", None, None)]));
    bench.ok(targets("web", &[("10.9.0.1", None, Some("zone-b")), ("192.168.1.1", None, Some("all"))]));
    let zones: Vec<(String, String)> = bench.shown("web").into_iter().map(|it| (it.id, it.zone)).collect();
    let expected = [
        ("10.2.0.11", "zone-a"),
        ("10.3.0.12", "zone-b"),
        ("10.9.0.1", "zone-b"),
        ("192.168.1.1", "all"),
        ("203.0.113.9", "zone-a"),
    ];
    assert_eq!(zones, expected.map(|(id, zone)| (id.to_owned(), zone.to_owned())));
    for (id, zone, what) in [
        ("10.2.1.1", None, "none of its subnets"),
        ("203.0.113.200", None, "none of its subnets"),
        ("8.8.8.8", Some("all"), "not in an allowed range"),
        ("172.32.0.1", Some("all"), "not in an allowed range"),
        ("10.9.0.2", None, "you must specify an Availability Zone"),
        ("fd00:2::1", None, "IPv6"),
        ("i-1", None, "not an address"),
    ] {
        let (code, _, message) = bench.refused(targets("web", &[("10.2.0.50", None, None), (id, None, zone)]));
        assert_eq!(code, Code::InvalidTarget, "{id}");
        assert!(message.contains(what), "{message}");
    }
    let (code, field, _) = bench.refused(targets("web", &[("10.9.0.2", None, Some("zone-x"))]));
    assert_eq!((code, field.as_deref()), (Code::ValidationError, Some("targets[0].zone")));

    // Of IPv6: in a subnet, or in a network that is connected.
    bench.model.inventory.subnets.get_mut("sub-a").expect("it").ipv6_cidr = Some("fd00:2::/64".parse().expect("a net"));
    let command = bench.special_group("six", |request| {
        (request.ip_address_type, request.network) = (rest::TargetAddressType::Ipv6, Some("net-1".into()));
    });
    bench.ok(command);
    bench.ok(targets("six", &[("fd00:2::1", None, None), ("fd00:9::1", None, Some("all"))]));
    for id in ["fd00:2:0:1::1", "fd00:8::1", "10.2.0.11"] {
        assert_eq!(bench.refused(targets("six", &[(id, None, Some("all"))])).0, Code::InvalidTarget, "{id}");
    }
}

/// req: TGT-06
#[test]
fn datagrams_to_other_networks_are_warned_of() {
    let mut bench = Bench::with_inventory();
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let name = protocol.name();
        let command = bench.special_group(name, |request| {
            (request.protocol, request.network) = (protocol, Some("net-1".into()));
        });
        bench.ok(command);
        bench.ok(targets(name, &[("10.2.0.11", None, None), ("10.9.0.1", None, Some("all"))]));
    }
    let warnings = bench.model.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("UDP: 10.9.0.1 is outside network net-1"), "{warnings:?}");
}

/// req: ZN-13, ZN-14, OLD-04, TGT-13
#[test]
fn targets_of_other_zones_are_not_used() {
    let mut bench = serving(&["zone-a"], TargetType::Ip);
    bench.ok(targets("web", &[("10.2.0.11", None, None), ("10.3.0.12", None, None), ("10.9.0.1", None, Some("all"))]));
    let (state, reason, description) = bench.health("web", "10.3.0.12");
    assert_eq!((state, reason.as_str()), (TargetState::Unused, "Target.NotInUse"));
    assert_eq!(description, "Target is in an Availability Zone that is not enabled for the load balancer");
    assert_eq!(bench.selected("web"), ["10.2.0.11", "10.9.0.1"]);
    assert_eq!(bench.model.check_plans().len(), 2);
    // With the zone it is used without more ado (ZN-12).
    let node = rest::NodeChange { zone: "zone-b".into(), address: Some("10.1.0.20".into()), ..Default::default() };
    let request = rest::ModifyLoadBalancer { nodes: vec![node], ..Default::default() };
    bench.ok(Command::ModifyLoadBalancer { load_balancer: "web".into(), request });
    assert_eq!(bench.health("web", "10.3.0.12").0, TargetState::Initial);
    assert_eq!(bench.selected("web"), ["10.2.0.11", "10.9.0.1"], "the other zone's node uses it");
    let group = bench.model.find_target_group("web").expect("it").id;
    let selected: Vec<_> = bench.model.candidates(group, 1).iter().map(|it| it.address.to_string()).collect();
    assert_eq!(selected, ["10.3.0.12", "10.9.0.1"]);
    // A zone without a target of its own is warned of, not refused.
    assert_eq!(bench.model.warnings(), [""; 0]);
    bench.ok(deregister("web", &["10.9.0.1", "10.3.0.12"]));
    let warnings = bench.model.warnings();
    assert!(warnings.iter().any(|it| it.contains("no target in zone zone-b")), "{warnings:?}");
}

/// req: TGT-01, TGT-02, TGT-03, TGT-04, TGT-14, TG-07, TG-08
#[test]
fn instances_are_registered_by_id() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Instance);
    bench.ok(targets("web", &[("i-1", None, None), ("i-1", Some(9090), None), ("i-3", None, None)]));
    let shown: Vec<_> = bench.shown("web").into_iter().map(|it| (it.id, it.address, it.port, it.zone)).collect();
    let address = |text: &str| Some(text.parse().expect("an address"));
    let expected = [
        ("i-1".to_owned(), address("10.2.0.11"), 8080, "zone-a".to_owned()),
        ("i-1".to_owned(), address("10.2.0.11"), 9090, "zone-a".to_owned()),
        ("i-3".to_owned(), address("10.3.0.13"), 8080, "zone-b".to_owned()),
    ];
    assert_eq!(shown, expected);
    assert!(bench.ok(targets("web", &[("i-1", None, None)])).changed.is_empty());

    let refused = |bench: &mut Bench, ids: &[&str]| {
        let (code, _, message) = bench.refused(register("web", ids));
        assert_eq!(code, Code::InvalidTarget);
        message
    };
    bench.model.inventory.instances.get_mut("i-2").expect("it").state = InstanceState::Stopped;
    assert_eq!(
        refused(&mut bench, &["i-1", "i-2"]),
        "The following targets are not in a running state and cannot be registered: 'i-2'"
    );
    assert_eq!(refused(&mut bench, &["i-7", "i-2", "i-8"]), "The following instances do not exist: 'i-7', 'i-8'");
    assert_eq!(refused(&mut bench, &["i-9"]), "The following targets are not in the target group VPC 'net-1': 'i-9'",);
    let instance = bench.model.inventory.instances.get_mut("i-2").expect("it");
    (instance.state, instance.no_client_ip) = (InstanceState::Running, true);
    assert!(refused(&mut bench, &["i-2"]).contains("register them by IP address: 'i-2'"));
    assert!(refused(&mut bench, &["10.2.0.11"]).contains("do not exist"));
    assert_eq!(bench.refused(targets("web", &[("i-1", None, Some("zone-a"))])).0, Code::ValidationError);

    // By address the same hosts may be targets.
    let command = bench.special_group("hosts", |request| request.network = Some("net-1".into()));
    bench.ok(command);
    bench.ok(targets("hosts", &[("10.2.0.12", None, None), ("10.9.0.19", None, Some("zone-a"))]));
    // So may several addresses of one host, on one port.
    bench.model.inventory.instances.get_mut("i-1").expect("it").other_addresses = vec![[10, 2, 0, 111].into()];
    bench.ok(register("hosts", &["10.2.0.11", "10.2.0.111"]));
    assert_eq!(bench.shown("hosts").iter().filter(|target| target.port == 8080).count(), 4);

    bench.ok(deregister("web", &["i-1", "i-7"]));
    let states: Vec<TargetState> = bench.shown("web").iter().map(|target| target.health.state).collect();
    use TargetState::{Draining, Initial};
    assert_eq!(states, [Draining, Initial, Initial], "the other port stays");
    assert!(bench.ok(deregister("web", &["i-7"])).changed.is_empty());
}

/// req: TGT-16, HC-14
#[test]
fn instances_that_do_not_run_are_unused() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Instance);
    bench.ok(register("web", &["i-1", "i-2"]));
    for id in ["10.2.0.11", "10.2.0.12"] {
        bench.set_health("web", id, Health::Healthy);
    }
    for (state, text) in [
        (Some(InstanceState::Stopped), "Target is in the stopped state"),
        (Some(InstanceState::Terminated), "Target is in the terminated state"),
        (Some(InstanceState::Stopping), "Target is in an invalid state"),
        (None, "Target is in the terminated or stopped state"),
    ] {
        bench.change_inventory(|inventory| match state {
            Some(state) => inventory.instances.get_mut("i-1").expect("it").state = state,
            None => drop(inventory.instances.remove("i-1")),
        });
        assert_eq!(bench.health("web", "i-1"), (TargetState::Unused, "Target.InvalidState".into(), text.into()));
        assert_eq!(bench.selected("web"), ["10.2.0.12"]);
        assert_eq!(bench.model.check_plans().len(), 1);
    }
    // When it runs again it is checked anew: it was healthy before.
    bench.change_inventory(|state| *state = inventory());
    assert_eq!(bench.health("web", "i-1").0, TargetState::Initial);
    assert_eq!(bench.selected("web"), ["10.2.0.12"]);
    assert_eq!(bench.model.check_plans().len(), 2);
}

/// req: TG-07, TGT-11
#[test]
fn an_instance_with_another_address_moves() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Instance);
    bench.ok(targets("web", &[("i-1", None, None), ("i-1", Some(9090), None)]));
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.change_inventory(|state| {
        state.instances.get_mut("i-1").expect("it").address = [10, 2, 0, 77].into();
    });
    let shown: Vec<_> = bench
        .shown("web")
        .into_iter()
        .map(|target| (target.address.expect("one").to_string(), target.port, target.health.state))
        .collect();
    use TargetState::{Draining, Initial};
    let expected = [
        ("10.2.0.11", 8080, Draining),
        ("10.2.0.11", 9090, Draining),
        ("10.2.0.77", 8080, Initial),
        ("10.2.0.77", 9090, Initial),
    ];
    assert_eq!(shown, expected.map(|(address, port, state)| (address.to_owned(), port, state)));

    // Two that change places are each other's successors.
    bench.ok(register("web", &["i-2"]));
    bench.change_inventory(|state| {
        state.instances.get_mut("i-1").expect("it").address = [10, 2, 0, 12].into();
        state.instances.get_mut("i-2").expect("it").address = [10, 2, 0, 77].into();
    });
    let name = |address: &str| bench.model.target(bench.slot("web", address)).expect("it").name.clone();
    assert_eq!((name("10.2.0.12").as_deref(), name("10.2.0.77").as_deref()), (Some("i-1"), Some("i-2")));
}

/// req: TGT-11
#[test]
fn a_selector_chooses_instances() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Instance);
    let label = |state: &mut inventory::State, id: &str, role: Option<&str>| {
        let labels = &mut state.instances.get_mut(id).expect("it").labels;
        match role {
            Some(role) => drop(labels.insert("role".into(), role.into())),
            None => drop(labels.remove("role")),
        }
    };
    bench.change_inventory(|state| {
        for id in ["i-1", "i-2", "i-9"] {
            label(state, id, Some("web"));
        }
        state.instances.get_mut("i-2").expect("it").state = InstanceState::Pending;
    });
    assert!(bench.shown("web").is_empty(), "it has no selector");
    let selector = Some(rest::Labels::from([("role".to_owned(), "web".to_owned())]));
    let request = rest::ModifyTargetGroup { selector, ..Default::default() };
    bench.ok(Command::ModifyTargetGroup { target_group: "web".into(), request });
    let ids = |bench: &Bench| {
        let registered = bench.shown("web").into_iter().filter(|it| it.health.state != TargetState::Draining);
        registered.map(|target| target.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&bench), ["i-1"], "those of its network that run");
    bench.change_inventory(|state| state.instances.get_mut("i-2").expect("it").state = InstanceState::Running);
    assert_eq!(ids(&bench), ["i-1", "i-2"]);
    bench.change_inventory(|state| label(state, "i-3", Some("web")));
    assert_eq!(ids(&bench), ["i-1", "i-2", "i-3"]);
    bench.change_inventory(|state| {
        label(state, "i-1", None);
        label(state, "i-2", Some("db"));
    });
    assert_eq!(ids(&bench), ["i-3"]);
    assert_eq!(bench.health("web", "i-1").1, "Target.DeregistrationInProgress");
    bench.change_inventory(|state| drop(state.instances.remove("i-3")));
    assert!(ids(&bench).is_empty());
    // By hand there is nothing to do, until the selector is taken away.
    assert_eq!(bench.refused(register("web", &["i-1"])).0, Code::OperationNotPermitted);
    let request = rest::ModifyTargetGroup { selector: Some(rest::Labels::new()), ..Default::default() };
    bench.ok(Command::ModifyTargetGroup { target_group: "web".into(), request });
    bench.ok(register("web", &["i-1"]));

    let command = bench.special_group("hosts", |request| {
        request.network = Some("net-1".into());
        request.selector = [("role".to_owned(), "web".to_owned())].into();
    });
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "it has addresses, not instances");
    bench.change_inventory(|state| label(state, "i-2", Some("web")));
    let command = bench.instance_group("more", &[("role", "web")]);
    bench.ok(command);
    assert_eq!(bench.shown("more").len(), 1, "at once");
}

/// req: TGT-17
#[test]
fn targets_that_are_not_registered_are_shown_as_such() {
    let bench = serving(&["zone-a"], TargetType::Instance);
    let group = bench.model.find_target_group("web").expect("it");
    let show =
        |specs: &[TargetSpec]| bench.model.show_targets(group, Some(specs), NOW, |_| rest::TargetFlows::default());
    let shown = show(&specs(&["i-1", "i-77"])).expect("shown");
    assert_eq!(shown.len(), 2);
    for target in shown {
        assert_eq!(target.health.state, TargetState::Unused);
        assert_eq!(target.health.reason.as_deref(), Some("Target.NotRegistered"));
        assert_eq!(target.health.description.as_deref(), Some("Target is not registered to the target group"));
        assert_eq!(target.port, 8080);
    }
}

/// req: QTA-06, QTA-11
#[test]
fn targets_count_in_their_zone() {
    let mut bench = serving(&["zone-a", "zone-b"], TargetType::Ip);
    bench.model.limits.targets_per_zone = 3;
    bench.ok(register("web", &["10.2.0.1", "10.2.0.2", "10.2.0.3", "10.3.0.1"]));
    assert_eq!(bench.refused(register("web", &["10.2.0.4"])).0, Code::TooManyTargets);
    bench.ok(register("web", &["10.3.0.2", "10.3.0.3"]));
    bench.model.limits.targets_per_load_balancer = 6;
    bench.model.limits.targets_per_zone = 10;
    assert_eq!(bench.refused(register("web", &["10.3.0.4"])).0, Code::TooManyTargets);
}

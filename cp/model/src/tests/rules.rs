//! What may be created, changed and deleted.

use super::*;
use crate::rest::{HealthCheckPort, ModifyHealthCheck};

/// req: LB-18, LB-20
#[test]
fn equal_creates_give_the_same_object() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    for command in [
        bench.load_balancer("web", "10.1.0.10"),
        bench.group("web", Protocol::Tcp),
        bench.listener("web", Protocol::Tcp, 80, "web"),
        register("web", &["10.2.0.11"]),
    ] {
        let effects = bench.ok(command);
        assert!(effects.changed.is_empty());
    }
    let shown = bench.model.show_load_balancers();
    let lb = &shown.load_balancers[0];
    assert_eq!(lb.created_time, "2023-11-14T22:13:20Z");
    assert_eq!(lb.dns_name, "web-0000000000000002.elb.local.leat.internal");
    assert_eq!(lb.state.code, "provisioning");
    bench.ok(Command::Activate(vec![Id(2)]));
    assert_eq!(bench.model.show_load_balancers().load_balancers[0].state.code, "active");
    assert!(bench.ok(Command::Activate(vec![Id(2), Id(99)])).changed.is_empty());
}

/// req: LB-04, TG-02, LSN-03
#[test]
fn names_and_ports_are_unique() {
    let mut bench = Bench::serving(&[]);
    let command = bench.load_balancer("web", "10.1.0.11");
    assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName);
    let command = bench.group("web", Protocol::Udp);
    assert_eq!(bench.refused(command).0, Code::DuplicateTargetGroupName);
    let command = bench.group("dns", Protocol::TcpUdp);
    bench.ok(command);
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp] {
        let command = bench.listener("web", protocol, 80, "dns");
        let (code, field, message) = bench.refused(command);
        assert_eq!((code, field.as_deref()), (Code::DuplicateListener, Some("port")));
        assert_eq!(message.contains("TCP_UDP"), protocol != Protocol::Tcp, "{message}");
    }
}

#[test]
fn node_addresses_belong_to_a_port_and_to_nobody_else() {
    let mut bench = Bench::serving(&[]);
    for (address, code) in [
        ("10.1.0.10", Code::InvalidConfigurationRequest),
        ("10.1.0.2", Code::InvalidConfigurationRequest),
        ("10.9.0.1", Code::InvalidSubnet),
        ("10.1.0.0", Code::InvalidSubnet),
        ("10.1.0.255", Code::InvalidSubnet),
        ("127.0.0.1", Code::ValidationError),
        ("224.0.0.1", Code::ValidationError),
        ("0.0.0.0", Code::ValidationError),
        ("fd00:1::10", Code::ValidationError),
        ("web", Code::ValidationError),
    ] {
        let command = bench.load_balancer("other", address);
        let (found, field, _) = bench.refused(command);
        assert_eq!((found, field.as_deref()), (code, Some("nodes[0].address")), "{address}");
    }
    let request = super::load_balancer("other", vec![]);
    assert_eq!(bench.refused(Command::CreateLoadBalancer { request, id: Id(9) }).1.as_deref(), Some("nodes"));
    let port_of = |text: &str| bench.model.port_of(text.parse().expect(text));
    assert_eq!(["10.1.0.77", "fd00:1::77", "10.2.0.77"].map(port_of), [Some("p0"), Some("p0"), None]);
}

/// req: LSN-13, TG-14, ERR-05
#[test]
fn a_group_belongs_to_one_load_balancer() {
    let mut bench = Bench::serving(&[]);
    let command = bench.listener("web", Protocol::Tcp, 81, "web");
    bench.ok(command);
    let command = bench.load_balancer("second", "10.1.0.11");
    bench.ok(command);
    let command = bench.listener("second", Protocol::Tcp, 80, "web");
    assert_eq!(bench.refused(command).0, Code::TargetGroupAssociationLimit);
    for port in [80, 81] {
        bench.ok(Command::DeleteListener { load_balancer: "web".into(), port });
    }
    let command = bench.listener("second", Protocol::Tcp, 80, "web");
    bench.ok(command);
    let group = &bench.model.show_target_groups().target_groups[0];
    assert!(group.load_balancer_arns[0].contains(":loadbalancer/net/second/"));
}

/// req: LB-16, LB-18, TG-10, ERR-06
#[test]
fn deletes_follow_the_rules() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let delete_group = || Command::DeleteTargetGroup { target_group: "web".into() };
    let delete_lb = || Command::DeleteLoadBalancer { load_balancer: "web".into() };
    assert_eq!(bench.refused(delete_group()).0, Code::ResourceInUse);
    bench.ok(delete_lb());
    assert_eq!(bench.model.listeners().count(), 0);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unused, "Target.NotInUse".into()));
    assert!(bench.ok(delete_lb()).changed.is_empty());
    bench.ok(delete_group());
    assert!(bench.ok(delete_group()).changed.is_empty());
    // Flows may still refer to the target: its number stays taken until none does.
    assert!(bench.model.target(0).is_some() && bench.model.target_slots().is_taken(0));
    bench.ok(Command::FreeTargets(vec![(0, vec![])]));
    assert!(bench.model.target(0).is_none() && !bench.model.target_slots().is_taken(0));
}

/// req: LSN-09, LSN-11
#[test]
fn listeners_can_be_changed() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    let command = bench.group("both", Protocol::TcpUdp);
    bench.ok(command);
    let modify = |port, request| Command::ModifyListener { load_balancer: "web".into(), port, request };
    let nothing = rest::ModifyListener::default();
    assert!(bench.ok(modify(80, nothing.clone())).changed.is_empty());
    assert_eq!(bench.refused(modify(81, nothing)).0, Code::ListenerNotFound);

    // Another port: same id, new number; the old number waits for its flows' end, and the targets stay healthy.
    let old = bench.model.listeners().next().expect("a listener").clone();
    bench.ok(modify(80, rest::ModifyListener { port: Some(81), ..Default::default() }));
    let new = bench.model.listeners().next().expect("a listener").clone();
    assert_eq!((new.id, new.port), (old.id, 81));
    assert_ne!(new.slots, old.slots);
    assert!(bench.model.retired_listeners().any(|(slot, _)| slot == old.slots[0].slot));
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Healthy);
    // And back: the number that flows refer to is its own again.
    bench.ok(modify(81, rest::ModifyListener { port: Some(80), ..Default::default() }));
    assert_eq!(bench.model.listeners().next().expect("a listener").slots, old.slots);

    // TCP_UDP needs another group; with it the TCP half keeps its number.
    let both = rest::ModifyListener { protocol: Some(Protocol::TcpUdp), ..Default::default() };
    assert_eq!(bench.refused(modify(80, both.clone())).0, Code::IncompatibleProtocols);
    bench.ok(modify(80, rest::ModifyListener { target_group: Some("both".into()), ..both }));
    let new = bench.model.listeners().next().expect("a listener").clone();
    assert_eq!((new.slots[0], new.slots.len()), (old.slots[0], 2));
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unused, "Target.NotInUse".into()));

    let slots: Vec<u16> = bench.model.retired_listeners().map(|(slot, _)| slot).collect();
    bench.ok(Command::FreeListeners(slots.iter().map(|slot| (*slot, vec![1, 2])).collect()));
    assert!(slots.iter().all(|slot| !bench.model.listener_slots().is_taken(*slot)));
    // A number that is in use is never freed.
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 });
    let command = bench.listener("web", Protocol::Tcp, 80, "web");
    bench.ok(command);
    assert!(bench.apply(Command::FreeListeners(vec![(old.slots[0].slot, vec![])])).is_ok());
    assert!(bench.model.listener_slots().is_taken(old.slots[0].slot));
}

/// req: HC-02, HC-04, HC-05, HC-06, HC-07, TG-12
#[test]
fn health_checks_have_defaults_and_ranges() {
    let mut bench = Bench::serving(&[]);
    let check = bench.model.target_groups().next().expect("a group").health_check.clone();
    let defaults = (check.interval_seconds, check.timeout_seconds);
    assert_eq!(defaults, (30, 10));
    assert_eq!((check.healthy_threshold_count, check.unhealthy_threshold_count), (5, 2));
    assert_eq!(check.port, HealthCheckPort::TrafficPort);
    let mut modify = |health_check| {
        let request = rest::ModifyTargetGroup { health_check, ..Default::default() };
        bench.apply(Command::ModifyTargetGroup { target_group: "web".into(), request })
    };
    let none = ModifyHealthCheck::default;
    for (field, bad) in [
        ("intervalSeconds", ModifyHealthCheck { interval_seconds: Some(4), ..none() }),
        ("intervalSeconds", ModifyHealthCheck { interval_seconds: Some(301), ..none() }),
        ("timeoutSeconds", ModifyHealthCheck { timeout_seconds: Some(1), ..none() }),
        ("timeoutSeconds", ModifyHealthCheck { timeout_seconds: Some(121), ..none() }),
        ("timeoutSeconds", ModifyHealthCheck { timeout_seconds: Some(31), ..none() }),
        ("timeoutSeconds", ModifyHealthCheck { interval_seconds: Some(9), ..none() }),
        ("healthyThresholdCount", ModifyHealthCheck { healthy_threshold_count: Some(1), ..none() }),
        ("unhealthyThresholdCount", ModifyHealthCheck { unhealthy_threshold_count: Some(11), ..none() }),
        ("port", ModifyHealthCheck { port: Some(HealthCheckPort::Port(0)), ..none() }),
    ] {
        let error = modify(bad).expect_err(field);
        assert_eq!(error.field, Some(format!("healthCheck.{field}")));
    }
    let good = ModifyHealthCheck { interval_seconds: Some(5), timeout_seconds: Some(5), ..none() };
    assert!(!modify(good.clone()).expect("good").changed.is_empty());
    assert!(modify(good).expect("the same").changed.is_empty());

    let mut request = match bench.group("short", Protocol::Tcp) {
        Command::CreateTargetGroup { request, .. } => request,
        other => unreachable!("{other:?}"),
    };
    request.health_check.interval_seconds = Some(6);
    bench.ok(Command::CreateTargetGroup { request, id: Id(77) });
    assert_eq!(bench.model.target_group(Id(77)).expect("it").health_check.timeout_seconds, 6);
}

/// req: LB-15, ATT-01, ATT-13
#[test]
fn attributes_change_all_or_nothing() {
    let mut bench = Bench::serving(&[]);
    let change = |pairs: &[(&str, &str)]| Command::ModifyAttributes {
        target_group: "web".into(),
        attributes: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
    };
    let preserve = attributes::PRESERVE_CLIENT_IP;
    assert_eq!(bench.refused(change(&[(DELAY, "10"), (preserve, "maybe")])).0, Code::ValidationError);
    bench.ok(change(&[(DELAY, "10"), (preserve, "true")]));
    let group = bench.model.target_groups().next().expect("a group");
    assert!(group.preserves_client_ip());
    assert_eq!(group.deregistration_delay_ms(), 10_000);
    assert!(bench.ok(change(&[(DELAY, "10")])).changed.is_empty());
}

/// req: TG-05, TGT-01, ERR-04
#[test]
fn targets_have_private_addresses() {
    let mut bench = Bench::serving(&[]);
    bench.ok(register("web", &["10.2.0.11", "100.64.0.1", "172.31.255.255", "192.168.1.1"]));
    for bad in ["8.8.8.8", "172.32.0.1", "10.1.0.2", "127.0.0.1", "169.254.0.1", "fd00::1", "i-0123", ""] {
        let (code, field, _) = bench.refused(register("web", &["10.2.0.12", bad]));
        assert_eq!((code, field.as_deref()), (Code::InvalidTarget, Some("targets[1].id")), "{bad}");
    }
    // A public range is good where it is a port's own.
    let mut public = site();
    public.subnets.push(("p1".into(), "203.0.113.1/24".parse().expect("a net")));
    bench.model.site = public;
    bench.ok(register("web", &["203.0.113.9"]));
    assert_eq!(bench.refused(register("web", &[])).1.as_deref(), Some("targets"));
    let port = vec![TargetSpec { id: "10.2.0.11".into(), port: Some(65536), zone: None }];
    let command = Command::RegisterTargets { target_group: "web".into(), targets: port };
    assert_eq!(bench.refused(command).1.as_deref(), Some("targets[0].port"));
    assert_eq!(bench.refused(register("none", &["10.2.0.11"])).0, Code::TargetGroupNotFound);
}

/// req: QTA-02, QTA-04, QTA-06, QTA-09, QTA-11, TGT-15
#[test]
fn quotas_are_kept() {
    let mut bench = Bench::serving(&[]);
    bench.model.limits =
        Limits { load_balancers: 1, listeners: 2, target_groups: 2, targets_per_group: 3, ..Limits::default() };
    let command = bench.load_balancer("second", "10.1.0.11");
    assert_eq!(bench.refused(command).0, Code::TooManyLoadBalancers);
    let command = bench.group("second", Protocol::Tcp);
    bench.ok(command);
    let command = bench.group("third", Protocol::Tcp);
    assert_eq!(bench.refused(command).0, Code::TooManyTargetGroups);
    let command = bench.listener("web", Protocol::Tcp, 81, "second");
    bench.ok(command);
    let command = bench.listener("web", Protocol::Tcp, 82, "second");
    assert_eq!(bench.refused(command).0, Code::TooManyListeners);
    let four = ["10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.4"];
    assert_eq!(bench.refused(register("web", &four)).0, Code::TooManyTargets);
    bench.ok(register("web", &four[..3]));
    // A target in two groups counts twice.
    bench.model.limits.targets_per_zone = 4;
    bench.ok(register("second", &four[..1]));
    assert_eq!(bench.refused(register("second", &four[..2])).0, Code::TooManyTargets);
    bench.model.limits = Limits::default();
    let many: Vec<String> = (0..500).map(|n| format!("10.3.{}.{}", n / 250, n % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(bench.refused(register("web", &many)).0, Code::TooManyTargets);
    bench.ok(register("web", &many[..496]));
    let too_many = vec!["10.4.0.1"; 1001];
    assert_eq!(bench.refused(register("web", &too_many)).1.as_deref(), Some("targets"));
}

#[test]
fn resources_are_found_by_name_id_and_arn() {
    let bench = Bench::serving(&[]);
    let lb = bench.model.show_load_balancers().load_balancers.remove(0);
    let group = bench.model.show_target_groups().target_groups.remove(0);
    for wanted in [&lb.name, &lb.id, &lb.arn] {
        assert_eq!(bench.model.find_load_balancer(wanted).expect(wanted).id.to_string(), lb.id);
    }
    for wanted in [&group.name, &group.id, &group.arn] {
        assert_eq!(bench.model.find_target_group(wanted).expect(wanted).id.to_string(), group.id);
    }
    let error = bench.model.find_load_balancer("no\u{7}pe").expect_err("there is none");
    assert_eq!(error.message, "there is no load balancer \"no\\u{7}pe\"");
}

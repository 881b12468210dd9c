//! Target groups: kinds, networks, health checks.

use super::*;
use crate::forward::CheckPlan;
use crate::rest::{HealthCheckPort, HealthCheckProtocol, ModifyHealthCheck, TargetAddressType, TargetType};

/// req: TG-01, TG-03, IPT-09, IPT-11, IPT-15
#[test]
fn kinds_of_targets_go_with_some_protocols_and_addresses() {
    let (v4, v6) = (TargetAddressType::Ipv4, TargetAddressType::Ipv6);
    for (protocol, target_type, addresses, good) in [
        (Protocol::Tls, TargetType::Ip, v4, true),
        (Protocol::Udp, TargetType::Instance, v4, true),
        (Protocol::Http, TargetType::Instance, v4, true),
        (Protocol::Https, TargetType::Ip, v4, true),
        (Protocol::Tcp, TargetType::Alb, v4, true),
        (Protocol::Tls, TargetType::Ip, v6, true),
        (Protocol::Tcp, TargetType::Instance, v6, false),
        (Protocol::Tcp, TargetType::Alb, v6, false),
        (Protocol::Udp, TargetType::Ip, v6, false),
        (Protocol::TcpUdp, TargetType::Ip, v6, false),
        (Protocol::Tls, TargetType::Alb, v4, false),
        (Protocol::Http, TargetType::Alb, v4, false),
    ] {
        let mut bench = Bench::new();
        let command = bench.special_group("web", |request| {
            (request.protocol, request.target_type, request.ip_address_type) = (protocol, target_type, addresses);
        });
        if good {
            bench.ok(command);
            let group = bench.model.show_target_groups().target_groups.remove(0);
            assert_eq!((group.target_type, group.ip_address_type), (target_type, addresses));
        } else {
            assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "{protocol} {target_type:?}");
        }
    }
}

/// req: TG-03, TG-04, IPT-09, ERR-12
#[test]
fn kinds_are_fixed_and_lambda_is_none() {
    let create = |text: &str| serde_json::from_str::<rest::CreateTargetGroup>(text);
    assert!(create(r#"{"name":"a","protocol":"TCP","port":1,"targetType":"instance"}"#).is_ok());
    assert!(create(r#"{"name":"a","protocol":"TCP","port":1,"targetType":"lambda"}"#).is_err());
    for field in [r#""targetType":"ip""#, r#""ipAddressType":"ipv6""#, r#""protocol":"UDP""#, r#""port":2"#] {
        assert!(serde_json::from_str::<rest::ModifyTargetGroup>(&format!("{{{field}}}")).is_err(), "{field}");
    }
}

/// req: TG-15
#[test]
fn protocol_versions_are_kept() {
    let mut bench = Bench::new();
    let command = bench.special_group("web", |request| request.protocol_version = Some("HTTP1".into()));
    bench.ok(command);
    assert_eq!(bench.model.show_target_groups().target_groups[0].protocol_version.as_deref(), Some("HTTP1"));
    let command = bench.special_group("other", |request| request.protocol_version = Some("HTTP9".into()));
    assert_eq!(bench.refused(command).1.as_deref(), Some("protocolVersion"));
}

/// req: TG-17
#[test]
fn groups_are_in_a_network_that_is_shared_with_who_asks() {
    let mut bench = Bench::with_inventory();
    let command = bench.group("web", Protocol::Tcp);
    let (code, field, message) = bench.refused(command);
    assert_eq!((code, field.as_deref()), (Code::ValidationError, Some("network")));
    assert!(message.contains("A VPC ID must be specified"), "{message}");
    let command = bench.special_group("web", |request| request.network = Some("net-0".into()));
    assert_eq!(bench.refused(command).1.as_deref(), Some("network"));

    bench.model.inventory.networks.get_mut("net-1").expect("it").tenants = vec!["a".into()];
    let command = bench.special_group("web", |request| request.network = Some("net-1".into()));
    let of = |tenant: &str, command: &Command| Command::AsTenant {
        tenant: tenant.into(),
        command: Box::new(Command::All(vec![command.clone()])),
    };
    assert_eq!(bench.refused(of("b", &command)).0, Code::OperationNotPermitted);
    bench.ok(of("a", &command));
    let register = |targets: &[&str]| Command::RegisterTargets { target_group: "web".into(), targets: specs(targets) };
    bench.ok(of("a", &register(&["10.2.0.11"])));
    assert_eq!(bench.refused(of("b", &register(&["10.2.0.12"]))).0, Code::InvalidTarget);
    // Who owns all of it may do everything.
    bench.ok(register(&["10.2.0.12"]));
    let command = bench.instance_group("hosts", &[]);
    bench.ok(command);
    let command = Command::RegisterTargets { target_group: "hosts".into(), targets: specs(&["i-1"]) };
    assert_eq!(bench.refused(of("b", &command)).0, Code::InvalidTarget);
    bench.ok(of("a", &command));
}

/// req: LSN-13, TG-18
#[test]
fn a_group_of_another_network_is_refused() {
    let mut bench = Bench::with_inventory();
    let command = bench.load_balancer("web", "10.1.0.10");
    bench.ok(command);
    bench.model.load_balancers.values_mut().next().expect("it").network = Some("net-2".into());
    let command = bench.special_group("web", |request| request.network = Some("net-1".into()));
    bench.ok(command);
    let command = bench.listener("web", Protocol::Tcp, 80, "web");
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
    bench.model.load_balancers.values_mut().next().expect("it").network = Some("net-1".into());
    let command = bench.listener("web", Protocol::Tcp, 80, "web");
    bench.ok(command);
}

/// req: LB-18, TG-02
#[test]
fn equal_creates_are_one_group() {
    let mut bench = Bench::new();
    let key = attributes::STICKINESS;
    let command = bench.special_group("web", |request| {
        request.health_check.protocol = Some(HealthCheckProtocol::Http);
        request.attributes = [(key.to_owned(), "true".to_owned())].into();
        request.tags = [("team".to_owned(), "a".to_owned())].into();
    });
    bench.ok(command.clone());
    let Command::CreateTargetGroup { request, .. } = command else { unreachable!() };
    let mut create = |change: &dyn Fn(&mut rest::CreateTargetGroup)| {
        let mut request = request.clone();
        change(&mut request);
        bench.apply(Command::CreateTargetGroup { request, id: Id(99) }).map(|effects| effects.changed.is_empty())
    };
    assert_eq!(create(&|_| {}), Ok(true));
    assert_eq!(create(&|it| it.tags.clear()), Ok(true));
    assert_eq!(create(&|it| it.health_check.path = Some("/".into())), Ok(true), "the default");
    assert_eq!(create(&|it| it.attributes.clear()), Ok(true), "what is not named is not asked for");
    let changes: [&dyn Fn(&mut rest::CreateTargetGroup); 6] = [
        &|it| it.port = 81,
        &|it| it.target_type = TargetType::Instance,
        &|it| it.health_check.path = Some("/up".into()),
        &|it| it.health_check.interval_seconds = Some(60),
        &|it| it.protocol_version = Some("HTTP2".into()),
        &|it| drop(it.attributes.insert(key.into(), "false".into())),
    ];
    for change in changes {
        assert_eq!(create(change).expect_err("another one").code, Code::DuplicateTargetGroupName);
    }
}

fn modify(health_check: ModifyHealthCheck) -> Command {
    let request = rest::ModifyTargetGroup { health_check, ..Default::default() };
    Command::ModifyTargetGroup { target_group: "web".into(), request }
}

/// req: HC-01, HC-03, HC-04, HC-08, TG-12
#[test]
fn requests_have_a_path_and_statuses_that_pass() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let none = ModifyHealthCheck::default;
    let shown = |bench: &Bench| bench.model.show_target_groups().target_groups[0].health_check.clone();
    for (path, matcher) in [(Some("/up"), None), (None, Some("200"))] {
        let change = ModifyHealthCheck { path: path.map(Into::into), matcher: matcher.map(Into::into), ..none() };
        assert_eq!(bench.refused(modify(change)).0, Code::InvalidConfigurationRequest, "TCP has none");
    }
    bench.ok(modify(ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Http), ..none() }));
    let check = shown(&bench);
    assert_eq!((check.path.as_deref(), check.matcher.as_deref()), (Some("/"), Some("200-399")));
    let longest = format!("/{}", "a".repeat(1023));
    for path in ["/", "/up?deep=1", &longest] {
        bench.ok(modify(ModifyHealthCheck { path: Some(path.into()), ..none() }));
    }
    for path in ["", "up", "/a b", "/ä", &format!("{longest}a")] {
        let field = bench.refused(modify(ModifyHealthCheck { path: Some(path.into()), ..none() })).1;
        assert_eq!(field.as_deref(), Some("healthCheck.path"), "{path}");
    }
    for matcher in ["200", "200,404", "200-299,302,500-599", "599"] {
        bench.ok(modify(ModifyHealthCheck { matcher: Some(matcher.into()), ..none() }));
        assert_eq!(shown(&bench).matcher.as_deref(), Some(matcher));
    }
    for matcher in ["", "199", "600", "200-", "-200", "300-200", "200,,201", "200 ", "2xx", "0200", "+200"] {
        let field = bench.refused(modify(ModifyHealthCheck { matcher: Some(matcher.into()), ..none() })).1;
        assert_eq!(field.as_deref(), Some("healthCheck.matcher"), "{matcher}");
    }
    // And back to TCP, which has neither.
    bench.ok(modify(ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Tcp), ..none() }));
    assert_eq!((shown(&bench).path, shown(&bench).matcher), (None, None));

    let mut timeout = |protocol| {
        let name = format!("{protocol:?}");
        let command = bench.special_group(&name, |request| request.health_check.protocol = Some(protocol));
        bench.ok(command);
        bench.model.find_target_group(&name).expect("it").health_check.timeout_seconds
    };
    let protocols = [HealthCheckProtocol::Http, HealthCheckProtocol::Https, HealthCheckProtocol::Tcp];
    assert_eq!(protocols.map(&mut timeout), [6, 10, 10]);
}

/// req: HC-01, HC-25, ALBT-03
#[test]
fn application_load_balancers_are_asked_by_requests() {
    let mut bench = Bench::new();
    let command = bench.special_group("web", |request| request.target_type = TargetType::Alb);
    bench.ok(command);
    let check = &bench.model.target_groups().next().expect("it").health_check;
    assert_eq!((check.protocol, check.path.as_deref()), (HealthCheckProtocol::Http, Some("/")));
    let tcp = ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Tcp), ..Default::default() };
    assert_eq!(bench.refused(modify(tcp)).1.as_deref(), Some("healthCheck.protocol"));
    assert!(serde_json::from_str::<ModifyHealthCheck>(r#"{"protocol":"UDP"}"#).is_err());
}

/// What a check of another kind has found counts no more.
///
/// req: HC-14
#[test]
fn another_protocol_checks_anew() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.11", Health::Unhealthy);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    assert_eq!(bench.model.check_plans().len(), 2);
    let change = |protocol| modify(ModifyHealthCheck { protocol: Some(protocol), ..Default::default() });
    bench.ok(change(HealthCheckProtocol::Https));
    assert_eq!(bench.model.check_plans().len(), 2);
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Initial);
    assert_eq!(bench.model.warnings(), Vec::<String>::new());
    bench.ok(change(HealthCheckProtocol::Tcp));
    assert_eq!(bench.state("web", "10.2.0.12").0, TargetState::Initial);
    assert_eq!(bench.model.check_plans().len(), 2);
}

/// req: HC-32
#[test]
fn without_a_data_plane_health_cannot_be_told() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.model.site.without_data_plane = true;
    let expected = (TargetState::Unavailable, "Elb.InternalError".into(), crate::view::NO_DATA_PLANE.into());
    assert_eq!(bench.health("web", "10.2.0.11"), expected);
    assert!(bench.model.check_plans().is_empty());
}

/// The Host header names the node and the lowest listener port, not the target's; nothing is asked for by TCP.
///
/// req: HC-01, HC-02, HC-03, HC-04, HC-08, HC-23, HC-25, HC-26, GEN-05
#[test]
fn requests_name_node_and_listener() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    assert_eq!(bench.model.check_plans()[0].request, None);
    let command = bench.group("dns", Protocol::Udp);
    bench.ok(command);
    for port in [5353, 53] {
        let command = bench.listener("web", Protocol::Udp, port, "dns");
        bench.ok(command);
    }
    bench.ok(register("dns", &["10.2.0.12"]));
    let modify = |health_check| Command::ModifyTargetGroup {
        target_group: "dns".into(),
        request: rest::ModifyTargetGroup { health_check, ..Default::default() },
    };
    let http = ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Http), ..Default::default() };
    bench.ok(modify(ModifyHealthCheck { port: Some(HealthCheckPort::Port(8081)), ..http.clone() }));
    let plan = |bench: &Bench| {
        let slot = bench.slot("dns", "10.2.0.12");
        bench.model.check_plans().into_iter().find(|plan| plan.slot == slot).expect("a plan")
    };
    let (first, request) = (plan(&bench), |plan: &CheckPlan| plan.request.clone().expect("a request"));
    assert_eq!((first.port, first.source.to_string().as_str()), (8081, "10.1.0.10"));
    let asked = request(&first);
    assert_eq!((asked.host.as_str(), asked.path.as_str(), asked.tls), ("10.1.0.10:53", "/", false));
    assert!(asked.matcher.allows(399) && !asked.matcher.allows(400));
    assert_eq!((&asked.server_name, &asked.body_contains), (&None, &None));

    let text = |text: &str| Some(text.to_owned());
    bench.ok(modify(ModifyHealthCheck {
        protocol: Some(HealthCheckProtocol::Https),
        host: text("www.example.com"),
        server_name: text("tls.example.com"),
        body_contains: text("ready"),
        path: text("/health"),
        matcher: text("204"),
        ..Default::default()
    }));
    let asked = request(&plan(&bench));
    assert_eq!((asked.host.as_str(), asked.path.as_str(), asked.tls), ("www.example.com", "/health", true));
    assert_eq!((asked.server_name.clone(), asked.body_contains.clone()), (text("tls.example.com"), text("ready")));
    assert!(asked.matcher.allows(204) && !asked.matcher.allows(200));
    // HTTP has no name of TLS; what is empty is as by default.
    bench.ok(modify(ModifyHealthCheck { host: text(""), body_contains: text(""), ..http }));
    let asked = request(&plan(&bench));
    assert_eq!((asked.host.as_str(), &asked.server_name, &asked.body_contains), ("10.1.0.10:53", &None, &None));
}

#[test]
fn options_of_requests_are_checked() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let none = ModifyHealthCheck::default;
    let host = |host: &str| ModifyHealthCheck { host: Some(host.into()), ..none() };
    let name = |name: &str| ModifyHealthCheck { server_name: Some(name.into()), ..none() };
    let body = |text: &str| ModifyHealthCheck { body_contains: Some(text.into()), ..none() };
    let field = |bench: &mut Bench, change| bench.refused(modify(change)).1.expect("a field");
    for (field_name, change) in [("host", host("x")), ("serverName", name("x")), ("bodyContains", body("x"))] {
        assert_eq!(field(&mut bench, change), format!("healthCheck.{field_name}"), "checks by TCP have none");
    }
    bench.ok(modify(ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Http), ..none() }));
    assert_eq!(field(&mut bench, name("x")), "healthCheck.serverName", "checks by HTTP have none");
    bench.ok(modify(ModifyHealthCheck { protocol: Some(HealthCheckProtocol::Https), ..none() }));
    for good in ["www.example.com:8443", "[fd00::1]:80", "a_b"] {
        bench.ok(modify(host(good)));
    }
    for bad in ["a b", "a\r\nX: y", "a/b", "ü", &"x".repeat(256)] {
        assert_eq!(field(&mut bench, host(bad)), "healthCheck.host");
    }
    for good in ["localhost", "xn--bcher-kva.example", "10.example"] {
        bench.ok(modify(name(good)));
    }
    for bad in ["10.1.0.1", "a..b", "-a.b", "a_b", ".", &format!("{}.example", "x".repeat(64))] {
        assert_eq!(field(&mut bench, name(bad)), "healthCheck.serverName");
    }
    bench.ok(modify(body("schön")));
    assert_eq!(field(&mut bench, body(&"x".repeat(256))), "healthCheck.bodyContains");
}

/// What makes the checks has stopped: nobody's health is known, and traffic goes on as it was.
///
/// req: HC-32, HC-13, HC-14
#[test]
fn without_checks_targets_are_unavailable_and_used_as_before() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.11", Health::Unhealthy);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    bench.ok(Command::ChecksStopped(true));
    for target in ["10.2.0.11", "10.2.0.12"] {
        let (state, reason, description) = bench.health("web", target);
        assert_eq!((state, reason.as_str()), (TargetState::Unavailable, "Elb.InternalError"));
        assert_eq!(description, "Health checks failed due to an internal error");
    }
    assert_eq!(bench.selected("web"), ["10.2.0.12"]);
    assert!(bench.ok(Command::ChecksStopped(true)).changed.is_empty());
    bench.ok(Command::ChecksStopped(false));
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Unhealthy);
    assert_eq!(bench.state("web", "10.2.0.12").0, TargetState::Healthy);
}

/// req: HC-14, TRB-01
#[test]
fn the_cause_is_told() {
    use crate::health::{Cause, Change, Report};
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let change = Change::Health(Health::Unhealthy, Some(Cause::Status(503)));
    bench.ok(Command::Health(vec![Report { slot: 0, generation: 0, node: 0, change }]));
    let (_, reason, description) = bench.health("web", "10.2.0.11");
    assert_eq!(reason, "Target.FailedHealthChecks");
    assert_eq!(description, "Health checks failed: the target answered with status 503");
}

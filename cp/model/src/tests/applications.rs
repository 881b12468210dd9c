//! Application load balancers: objects, their rules, and as targets.

use serde_json::{Value, json};

use super::*;
use crate::application::{self, Change as Application, Wanted};
use crate::ids;
use crate::rest::{LoadBalancerType, RuleSpec, SubnetMapping};

fn application(name: &str, address: &str) -> rest::CreateLoadBalancer {
    let mut request = load_balancer(name, vec![node("zone-a", address, None)]);
    request.kind = LoadBalancerType::Application;
    request
}

impl Bench {
    /// An application load balancer with its ARN.
    fn application(&mut self, request: rest::CreateLoadBalancer) -> String {
        let name = request.name.clone();
        let id = self.id();
        self.ok(Command::CreateLoadBalancer { request, id });
        self.arn_of(&name)
    }

    fn arn_of(&self, application: &str) -> String {
        let lb = self.model.application(application).expect("it");
        ids::application_arn(self.model.site(), &lb.name, lb.id)
    }

    fn http_listener(&mut self, lb: &str, port: i64, actions: Value) -> Command {
        let default_actions = actions.as_array().cloned();
        let wanted = Wanted { protocol: Some(Protocol::Http), port: Some(port), default_actions, ..Wanted::default() };
        let id = self.id();
        let tags = rest::Tags::new();
        Command::Application(Application::CreateListener { load_balancer: lb.into(), wanted, tags, id })
    }

    fn rule(&mut self, lb: &str, priority: i64, conditions: Value, actions: Value) -> Command {
        let list = |value: Value| value.as_array().cloned().unwrap_or_default();
        let (conditions, actions) = (list(conditions), list(actions));
        let spec = RuleSpec { priority, conditions, actions, tags: rest::Tags::new() };
        let id = self.id();
        Command::Application(Application::CreateRule { load_balancer: lb.into(), port: 80, spec, id })
    }

    /// Application load balancer `alb` at 10.2.0.5 with an HTTP listener on port 80 that answers by itself.
    fn with_application() -> Self {
        let mut bench = Self::new();
        bench.application(application("alb", "10.2.0.5"));
        let listener = bench.http_listener("alb", 80, fixed());
        bench.ok(listener);
        bench
    }

    /// A target group of type `alb` and port 80.
    fn alb_group(&mut self, name: &str) -> Command {
        self.special_group(name, |request| {
            request.target_type = rest::TargetType::Alb;
            request.port = 80;
        })
    }

    fn priorities(&self) -> Vec<u32> {
        let listener = self.model.application_listeners(self.model.application("alb").expect("it").id)[0].id;
        self.model.rules_of(listener).iter().map(|rule| rule.priority).collect()
    }

    fn rule_arns(&self) -> Vec<String> {
        let listener = self.model.application_listeners(self.model.application("alb").expect("it").id)[0].id;
        self.model.rules_of(listener).into_iter().map(|rule| self.model.rule_arn(rule)).collect()
    }
}

fn fixed() -> Value {
    json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}])
}

fn path(pattern: &str) -> Value {
    json!([{"Field": "path-pattern", "Values": [pattern]}])
}

/// req: ALBT-01
#[test]
fn it_is_an_object_with_the_addresses_of_a_proxy() {
    let mut bench = Bench::with_inventory();
    let arn = bench.application(application("by-node", "10.2.0.5"));
    assert!(arn.contains(":loadbalancer/app/by-node/"), "{arn}");
    let lb = bench.model.application("by-node").expect("it");
    let shown = bench.model.show_application(lb);
    assert_eq!(
        (shown.kind, shown.state.reason.as_deref()),
        (LoadBalancerType::Application, Some(application::ELSEWHERE))
    );
    let addresses = |arn: &str| bench.model.application_addresses(arn).expect("it").1;
    assert_eq!(addresses(&arn), [("zone-a".to_owned(), "10.2.0.5".parse().expect("an address"))]);
    assert_eq!(bench.model.application_addresses("by-node").expect_err("no ARN").code, Code::InvalidTarget);

    let mapping = |subnet: &str, address: Option<&str>| SubnetMapping {
        subnet: subnet.into(),
        private_ipv4_address: address.map(str::to_owned),
        ..SubnetMapping::default()
    };
    let request = |name: &str, subnet_mappings| rest::CreateLoadBalancer {
        name: name.into(),
        kind: LoadBalancerType::Application,
        subnet_mappings,
        ..rest::CreateLoadBalancer::default()
    };
    let arn = bench.application(request("by-subnet", vec![mapping("sub-a", Some("10.2.0.6")), mapping("sub-b", None)]));
    let lb = bench.model.application("by-subnet").expect("it");
    assert_eq!((lb.network.as_deref(), lb.places.len()), (Some("net-1"), 2));
    assert_eq!(bench.model.application_addresses(&arn).expect("it").1.len(), 1);

    for (mappings, code) in [
        (vec![mapping("nowhere", None)], Code::SubnetNotFound),
        (vec![mapping("sub-a", None), mapping("sub-p", None)], Code::InvalidConfigurationRequest),
        (vec![mapping("sub-a", None), mapping("sub-9", None)], Code::InvalidSubnet),
        (vec![mapping("sub-a", Some("10.3.0.6"))], Code::InvalidSubnet),
        (vec![], Code::ValidationError),
    ] {
        let command = Command::CreateLoadBalancer { request: request("bad", mappings), id: bench.id() };
        assert_eq!(bench.refused(command).0, code);
    }
}

/// req: LB-04
#[test]
fn names_are_unique_among_all_kinds() {
    let mut bench = Bench::with_application();
    let network = bench.load_balancer("alb", "10.1.0.10");
    assert_eq!(bench.refused(network).0, Code::DuplicateLoadBalancerName);
    let network = bench.load_balancer("web", "10.1.0.10");
    bench.ok(network);
    let command = Command::CreateLoadBalancer { request: application("web", "10.2.0.6"), id: bench.id() };
    assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName);
    // The same again is the same; a proxy is nowhere where packets are taken.
    let again = Command::CreateLoadBalancer { request: application("alb", "10.2.0.5"), id: bench.id() };
    assert!(bench.ok(again).changed.is_empty());
    let command = Command::CreateLoadBalancer { request: application("other", "10.1.0.10"), id: bench.id() };
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
}

#[test]
fn listeners_forward_to_groups_of_their_own_protocols() {
    let mut bench = Bench::with_application();
    for (name, protocol) in [("http", Protocol::Http), ("tcp", Protocol::Tcp)] {
        let group = bench.group(name, protocol);
        bench.ok(group);
    }
    let arn = |bench: &Bench, name: &str| {
        let group = bench.model.find_target_group(name).expect("it");
        ids::target_group_arn(bench.model.site(), name, group.id)
    };
    let forward = |arn: &str| json!([{"Type": "forward", "TargetGroupArn": arn}]);
    let (http, tcp) = (arn(&bench, "http"), arn(&bench, "tcp"));
    let bad = bench.http_listener("alb", 81, forward(&tcp));
    assert_eq!(bench.refused(bad).0, Code::IncompatibleProtocols);
    let good = bench.http_listener("alb", 81, forward(&http));
    bench.ok(good);
    let lb = bench.model.application("alb").expect("it");
    let listener = bench.model.application_listeners(lb.id)[1];
    assert_eq!(listener.default_actions[0]["ForwardConfig"]["TargetGroups"][0]["Weight"], 1);
    assert_eq!(bench.model.show_application_listener(listener).target_group, "http");

    // The group is in use, by one load balancer alone.
    assert_eq!(bench.refused(Command::DeleteTargetGroup { target_group: "http".into() }).0, Code::ResourceInUse);
    let group = bench.model.find_target_group("http").expect("it");
    assert_eq!(bench.model.show_target_group(group).load_balancer_arns, [bench.arn_of("alb")]);
    bench.application(application("other", "10.2.0.6"));
    let bad = bench.http_listener("other", 80, forward(&http));
    assert_eq!(bench.refused(bad).0, Code::TargetGroupAssociationLimit);

    // Commands that name a load balancer and a port find it as well.
    bench.ok(Command::DeleteListener { load_balancer: "alb".into(), port: 81 });
    bench.ok(Command::DeleteTargetGroup { target_group: "http".into() });
    let tcp_listener = bench.listener("alb", Protocol::Tcp, 82, "tcp");
    assert_eq!(bench.refused(tcp_listener).0, Code::UnsupportedProtocol);
}

#[test]
fn actions_are_checked() {
    let mut bench = Bench::with_application();
    for (actions, code) in [
        (json!([]), Code::ValidationError),
        (json!([{"Type": "forward"}]), Code::TargetGroupNotFound),
        (json!([{"Type": "drop"}]), Code::InvalidLoadBalancerAction),
        (json!([{"Type": "authenticate-oidc"}]), Code::InvalidLoadBalancerAction),
        (json!([{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301"}}]), Code::InvalidLoadBalancerAction),
        (json!([{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS"}}]), Code::InvalidLoadBalancerAction),
        (
            json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "302"}}]),
            Code::InvalidLoadBalancerAction,
        ),
        (json!([{"Type": "fixed-response", "Reply": "x"}]), Code::ValidationError),
        (json!([fixed()[0], fixed()[0]]), Code::TooManyActions),
    ] {
        let command = bench.http_listener("alb", 81, actions.clone());
        assert_eq!(bench.refused(command).0, code, "{actions}");
    }
    let redirect = json!([{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "StatusCode": "HTTP_301"}}]);
    let command = bench.http_listener("alb", 81, redirect);
    bench.ok(command);
    let lb = bench.model.application("alb").expect("it").id;
    assert_eq!(bench.model.application_listeners(lb)[1].default_actions[0]["RedirectConfig"]["Path"], "/#{path}");
}

#[test]
fn rules_have_priorities_of_their_own() {
    let mut bench = Bench::with_application();
    for priority in [10, 50_000] {
        let command = bench.rule("alb", priority, path("/a/*"), fixed());
        bench.ok(command);
    }
    let command = bench.rule("alb", 10, path("/b"), fixed());
    assert_eq!(bench.refused(command).0, Code::PriorityInUse);
    for priority in [0, 50_001, -1] {
        let command = bench.rule("alb", priority, path("/b"), fixed());
        assert_eq!(bench.refused(command).0, Code::ValidationError);
    }
    for conditions in [
        json!([]),
        json!([{"Field": "weather", "Values": ["rain"]}]),
        json!([{"Field": "path-pattern", "Values": []}]),
        json!([{"Field": "path-pattern", "Values": ["/a"], "PathPatternConfig": {"Values": ["/b"]}}]),
        json!([{"Field": "path-pattern", "Values": ["1", "2", "3", "4", "5", "6"]}]),
        json!([{"Field": "source-ip", "Values": ["10.0.0.1"]}]),
        json!([{"Field": "http-header", "HttpHeaderConfig": {"Values": ["x"]}}]),
    ] {
        let command = bench.rule("alb", 7, conditions.clone(), fixed());
        assert_eq!(bench.refused(command).0, Code::ValidationError, "{conditions}");
    }
    // They change places, all at once.
    let arns = bench.rule_arns();
    let pairs = vec![(arns[0].clone(), 50_000), (arns[1].clone(), 10)];
    bench.ok(Command::Application(Application::SetRulePriorities(pairs)));
    assert_eq!(bench.rule_arns(), [arns[1].clone(), arns[0].clone()]);
    assert_eq!(bench.priorities(), [10, 50_000]);
    let both = vec![(arns[0].clone(), 5), (arns[1].clone(), 5)];
    assert_eq!(bench.refused(Command::Application(Application::SetRulePriorities(both))).0, Code::PriorityInUse);

    let rule = bench.model.rule(&arns[0]).expect("it");
    assert_eq!(rule.conditions[0]["PathPatternConfig"]["Values"], json!(["/a/*"]));
    let other = path("/c").as_array().cloned();
    let change = Application::ModifyRule { rule: arns[0].clone(), conditions: other, actions: None };
    bench.ok(Command::Application(change));
    assert_eq!(bench.model.rule(&arns[0]).expect("it").conditions[0]["Values"], json!(["/c"]));
    bench.ok(Command::Application(Application::DeleteRule { rule: arns[0].clone() }));
    assert_eq!(bench.priorities(), [10]);
    let gone = Application::DeleteRule { rule: arns[0].clone() };
    assert_eq!(bench.refused(Command::Application(gone)).0, Code::RuleNotFound);
}

#[test]
fn the_default_rule_is_the_listeners_own() {
    let mut bench = Bench::with_application();
    let lb = bench.model.application("alb").expect("it").id;
    let listener = bench.model.application_listeners(lb)[0];
    let arn = ids::rule_arn(&bench.model.application_listener_arn(listener), listener.default_rule());
    assert!(arn.contains(":listener-rule/app/alb/"), "{arn}");
    let delete = Application::DeleteRule { rule: arn.clone() };
    assert_eq!(bench.refused(Command::Application(delete)).0, Code::OperationNotPermitted);
    let serving = Bench::serving(&[]);
    let listener = serving.model.listeners().next().expect("it");
    let arn = ids::rule_arn(&serving.model.listener_arn(listener), application::default_rule(listener.id));
    assert!(serving.model.is_default_rule(&arn) && arn.contains(":listener-rule/net/"), "{arn}");
}

#[test]
fn rules_go_with_their_listener_and_count_in_the_quota() {
    let mut bench = Bench::with_application();
    bench.model.limits.application_rules = 1;
    let command = bench.rule("alb", 1, path("/a"), fixed());
    bench.ok(command);
    let command = bench.rule("alb", 2, path("/a"), fixed());
    assert_eq!(bench.refused(command).0, Code::TooManyRules);
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "alb".into() });
    assert!(bench.model.applications.listeners.is_empty() && bench.model.applications.rules.is_empty());
    assert!(bench.model.application("alb").is_none());
}

/// req: LB-11, DEL-01
#[test]
fn attributes_are_kept_and_protect() {
    let mut bench = Bench::with_application();
    let set = |bench: &mut Bench, key: &str, value: &str| {
        let attributes = [(key.to_owned(), value.to_owned())].into();
        bench.apply(Command::ModifyLoadBalancerAttributes { load_balancer: "alb".into(), attributes })
    };
    set(&mut bench, "idle_timeout.timeout_seconds", "120").expect("good");
    set(&mut bench, "deletion_protection.enabled", "true").expect("good");
    let lb = bench.model.application("alb").expect("it");
    let all = bench.model.application_attributes(lb);
    assert_eq!((all["idle_timeout.timeout_seconds"].as_str(), all["routing.http2.enabled"].as_str()), ("120", "true"));
    let error = set(&mut bench, "tcp.idle_timeout.seconds", "120").expect_err("none of these");
    assert!(error.message.contains("attribute key 'tcp.idle_timeout.seconds' is not recognized"), "{error}");
    let delete = Command::DeleteLoadBalancer { load_balancer: "alb".into() };
    assert_eq!(bench.refused(delete.clone()).0, Code::OperationNotPermitted);
    set(&mut bench, "deletion_protection.enabled", "false").expect("good");
    bench.ok(delete);
}

/// req: ALBT-02, ALBT-07
#[test]
fn one_that_is_a_target_stays() {
    let mut bench = Bench::with_application();
    let arn = bench.arn_of("alb");
    let group = bench.alb_group("to-alb");
    bench.ok(group);
    // Only where it listens.
    let targets = vec![TargetSpec { id: arn.clone(), port: Some(8080), zone: None }];
    let elsewhere = Command::RegisterTargets { target_group: "to-alb".into(), targets };
    assert_eq!(bench.refused(elsewhere).0, Code::InvalidTarget);
    bench.ok(register("to-alb", &[&arn]));
    let delete = Command::DeleteLoadBalancer { load_balancer: "alb".into() };
    assert_eq!(bench.refused(delete.clone()).0, Code::ResourceInUse);
    bench.ok(deregister("to-alb", &[&arn]));
    bench.ok(delete);
}

/// req: ALBT-01, ALBT-10
#[test]
fn traffic_follows_the_proxys_addresses() {
    let mut bench = Bench::with_application();
    let arn = bench.arn_of("alb");
    for command in [bench.load_balancer("web", "10.1.0.10"), bench.alb_group("to-alb")] {
        bench.ok(command);
    }
    let listener = bench.listener("web", Protocol::Tcp, 80, "to-alb");
    bench.ok(listener);
    bench.ok(register("to-alb", &[&arn]));
    assert_eq!(bench.selected("to-alb"), ["10.2.0.5"]);
    assert!(bench.model.find_target_group("to-alb").expect("it").preserves_client_ip());
    let nodes = vec![rest::NodeChange {
        zone: "zone-a".into(),
        address: Some("10.2.0.6".into()),
        ..rest::NodeChange::default()
    }];
    let request = rest::ModifyLoadBalancer { nodes, ..rest::ModifyLoadBalancer::default() };
    bench.ok(Command::ModifyLoadBalancer { load_balancer: "alb".into(), request });
    assert_eq!(bench.selected("to-alb"), ["10.2.0.6"]);
    // It is one target by its ARN.
    let registered = bench.shown("to-alb").into_iter().filter(|target| target.health.state != TargetState::Draining);
    assert_eq!(registered.map(|target| target.id).collect::<Vec<_>>(), [arn]);
}

/// req: TLS-02
#[test]
fn https_has_a_certificate_which_is_in_use() {
    let mut bench = Bench::with_application();
    let arn = "arn:aws:acm:local:000000000000:certificate/1";
    let https = |bench: &mut Bench, certificate: Option<&str>| {
        let wanted = Wanted {
            protocol: Some(Protocol::Https),
            port: Some(443),
            certificate: certificate.map(str::to_owned),
            default_actions: fixed().as_array().cloned(),
            ..Wanted::default()
        };
        let (load_balancer, tags, id) = ("alb".to_owned(), rest::Tags::new(), bench.id());
        Command::Application(Application::CreateListener { load_balancer, wanted, tags, id })
    };
    let command = https(&mut bench, None);
    assert_eq!(bench.refused(command).0, Code::ValidationError);
    let command = https(&mut bench, Some(arn));
    assert_eq!(bench.refused(command).0, Code::CertificateNotFound);
    bench.certificate(arn);
    let command = https(&mut bench, Some(arn));
    bench.ok(command);
    let lb = bench.model.application("alb").expect("it").id;
    assert_eq!(bench.model.application_listeners(lb)[1].ssl_policy.as_deref(), Some("ELBSecurityPolicy-2016-08"));
    let delete = Command::Certificate(crate::certificate::Change::Delete { arn: arn.into() });
    let (code, _, message) = bench.refused(delete);
    assert!(code == Code::ResourceInUse && message.contains("loadbalancer/app/alb"), "{message}");
}

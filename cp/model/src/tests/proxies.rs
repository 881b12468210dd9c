//! Application load balancers as targets.

use super::*;
use crate::application::{self, Wanted};
use crate::ids;
use crate::rest::{LoadBalancerType, TargetType};

impl Bench {
    /// An application load balancer that listens on port 8080, with a place for each (zone, address); gives its ARN.
    fn proxy(&mut self, name: &str, places: &[(&str, &str)]) -> String {
        let nodes = places.iter().map(|(zone, address)| node(zone, address, None)).collect();
        let request = rest::CreateLoadBalancer { kind: LoadBalancerType::Application, ..load_balancer(name, nodes) };
        let id = self.id();
        self.ok(Command::CreateLoadBalancer { request, id });
        let answer = serde_json::json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}});
        let (protocol, port) = (Some(Protocol::Http), Some(8080));
        let wanted = Wanted { protocol, port, default_actions: Some(vec![answer]), ..Wanted::default() };
        let (load_balancer, tags, id) = (name.to_owned(), rest::Tags::new(), self.id());
        self.ok(Command::Application(application::Change::CreateListener { load_balancer, wanted, tags, id }));
        let lb = self.model.application(name).expect("it");
        ids::application_arn(self.model.site(), &lb.name, lb.id)
    }

    /// A network load balancer whose TCP listener forwards to a group of type `alb`, all of this name.
    fn in_front(&mut self, name: &str, address: &str) {
        for command in [
            self.load_balancer(name, address),
            self.special_group(name, |request| request.target_type = TargetType::Alb),
            self.listener(name, Protocol::Tcp, 80, name),
        ] {
            self.ok(command);
        }
    }
}

/// req: TG-09, QTA-10, TGT-01, TGT-14, ALBT-01, HC-01, HC-23
#[test]
fn a_group_has_one() {
    let mut bench = Bench::new();
    let first = bench.proxy("first", &[("zone-a", "10.2.0.5"), ("zone-b", "10.2.0.6")]);
    let second = bench.proxy("second", &[("zone-a", "10.2.0.7")]);
    bench.in_front("web", "10.1.0.10");
    for bad in ["10.2.0.5", "first", "arn:aws:elasticloadbalancing:local:0:loadbalancer/app/none/0"] {
        assert_eq!(bench.refused(register("web", &[bad])).0, Code::InvalidTarget, "{bad}");
    }
    bench.ok(register("web", &[&first]));
    assert!(bench.ok(register("web", &[&first])).changed.is_empty());
    assert_eq!(bench.refused(register("web", &[&second])).0, Code::TooManyTargets);
    // It is one target, with an address in each zone; that of a zone that is not enabled gets no traffic.
    let shown = bench.shown("web");
    assert_eq!((shown.len(), &shown[0].id, shown[0].port), (1, &first, 8080));
    assert_eq!(bench.selected("web"), ["10.2.0.5"]);
    let plan = bench.model.check_plans().remove(0);
    assert_eq!((plan.address.to_string().as_str(), plan.port), ("10.2.0.5", 8080));
    assert_eq!(plan.request.expect("a check by HTTP").host, "10.1.0.10:80");
    bench.ok(deregister("web", &[&first]));
    assert_eq!(bench.shown("web")[0].health.state, TargetState::Draining);
    assert!(bench.selected("web").is_empty());
    bench.ok(register("web", &[&second]));
    assert_eq!(bench.selected("web"), ["10.2.0.7"]);
}

/// req: ALBT-05
#[test]
fn it_is_behind_two_at_the_most() {
    let mut bench = Bench::new();
    let arn = bench.proxy("app", &[("zone-a", "10.2.0.5")]);
    for (name, address) in [("one", "10.1.0.10"), ("two", "10.1.0.11"), ("three", "10.1.0.12")] {
        bench.in_front(name, address);
    }
    bench.ok(register("one", &[&arn]));
    bench.ok(register("two", &[&arn]));
    assert_eq!(bench.refused(register("three", &[&arn])).0, Code::TooManyRegistrationsForTargetId);
    // A group counts when a load balancer uses it.
    let command = bench.special_group("four", |request| request.target_type = TargetType::Alb);
    bench.ok(command);
    bench.ok(register("four", &[&arn]));
    let command = bench.listener("three", Protocol::Tcp, 81, "four");
    assert_eq!(bench.refused(command).0, Code::TooManyRegistrationsForTargetId);
    let command = bench.listener("two", Protocol::Tcp, 81, "four");
    bench.ok(command);
}

/// req: ALBT-06, QTA-06, QTA-07, QTA-11
#[test]
fn it_counts_as_many_targets() {
    let mut bench = Bench::new();
    let arn = bench.proxy("app", &[("zone-a", "10.2.0.5")]);
    bench.in_front("web", "10.1.0.10");
    bench.model.limits.targets_per_zone = 49;
    assert_eq!(bench.refused(register("web", &[&arn])).0, Code::TooManyTargets);
    bench.model.limits.targets_per_zone = 99;
    bench.ok(register("web", &[&arn]));
    // Across zones it counts twice, which counts when that is switched on.
    let attributes = [(attributes::CROSS_ZONE.to_owned(), "true".to_owned())].into();
    let command = Command::ModifyLoadBalancerAttributes { load_balancer: "web".into(), attributes };
    assert_eq!(bench.refused(command.clone()).0, Code::TooManyTargets);
    bench.model.limits.targets_per_zone = 100;
    bench.ok(command);
}

/// req: ALBT-09
#[test]
fn it_is_in_the_network_of_its_group() {
    let mut bench = Bench::with_inventory();
    let arn = bench.proxy("app", &[("zone-a", "10.2.0.5")]);
    let command = bench.special_group("web", |request| {
        (request.target_type, request.network) = (TargetType::Alb, Some("net-1".into()));
    });
    bench.ok(command);
    let in_network = |bench: &mut Bench, network: &str| {
        let lb = bench.model.applications.balancers.values_mut().next().expect("it");
        lb.network = Some(network.into());
    };
    in_network(&mut bench, "net-2");
    assert_eq!(bench.refused(register("web", &[&arn])).0, Code::InvalidTarget);
    in_network(&mut bench, "net-1");
    bench.ok(register("web", &[&arn]));
}

#[test]
fn one_without_addresses_gets_no_traffic() {
    let mut bench = Bench::new();
    let arn = bench.proxy("app", &[("zone-a", "10.2.0.5")]);
    bench.model.applications.balancers.values_mut().next().expect("it").places[0].address = None;
    bench.in_front("web", "10.1.0.10");
    bench.ok(register("web", &[&arn]));
    assert_eq!(bench.shown("web")[0].address, None);
    assert!(bench.selected("web").is_empty());
    assert!(bench.model.warnings().iter().any(|it| it.contains(&arn) && it.contains("gets no traffic")));
    bench.ok(deregister("web", &[&arn]));
    assert_eq!(bench.shown("web")[0].health.state, TargetState::Draining);
}

/// req: TAG-01
#[test]
fn listeners_and_rules_of_proxies_have_tags() {
    let mut bench = Bench::new();
    let arn = bench.proxy("app", &[("zone-a", "10.2.0.5")]);
    let listener = bench.model.applications.listeners.values().next().expect("it");
    let listener = bench.model.application_listener_arn(listener);
    let resources = vec![arn.clone(), listener.clone()];
    bench.ok(Command::AddTags { resources, tags: vec![("team".into(), "a".into())] });
    for arn in [&arn, &listener] {
        assert_eq!(bench.model.tags_of(arn).expect("tags")["team"], "a");
    }
    let strange = listener.replace(":listener/", ":listener-rule/") + "/0123456789abcdef";
    assert_eq!(bench.model.tags_of(&strange).expect_err("there is none").code, Code::RuleNotFound);
}

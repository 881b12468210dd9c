//! Classic load balancers: what they say, and what the hidden load balancer and its groups do.

use super::*;
use crate::classic::{
    AttributeChanges, Change as Classic, Create, HealthCheckSpec, InstanceHealth, ListenerSpec, SELECTOR,
};
use crate::forward::Treatment;
use crate::rest::InstanceState;

fn tcp(port: i64, instance_port: i64) -> ListenerSpec {
    ListenerSpec { protocol: "tcp".into(), port, instance_port, ..ListenerSpec::default() }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

impl Bench {
    /// The inventory, and nothing known of the ports: nodes may be in any subnet.
    fn anywhere() -> Self {
        let mut bench = Self::with_inventory();
        bench.model.site.subnets.clear();
        bench
    }

    fn create_classic(&mut self, name: &str, zones: &[&str], listeners: Vec<ListenerSpec>) -> Command {
        let request = Create { name: name.into(), listeners, zones: texts(zones), ..Create::default() };
        Command::Classic(Classic::Create { request, id: self.id() })
    }

    /// Classic load balancer `old` in `zone-a` of `net-1`, port 80 to instances' port 8080; other networks have no zones.
    pub(super) fn classic() -> Self {
        let mut bench = Self::anywhere();
        bench.model.inventory.subnets.remove("sub-9");
        bench.model.inventory.instances.remove("i-9");
        let command = bench.create_classic("old", &["zone-a"], vec![tcp(80, 8080)]);
        bench.ok(command);
        bench
    }

    fn do_classic(&mut self, change: Classic) -> Effects {
        self.ok(Command::Classic(change))
    }

    fn register_classic(&self, instances: &[&str]) -> Command {
        Command::Classic(Classic::Register { name: "old".into(), instances: texts(instances), tenant: None })
    }

    fn deregister_classic(&self, instances: &[&str]) -> Command {
        Command::Classic(Classic::Deregister { name: "old".into(), instances: texts(instances) })
    }

    fn instances(&self) -> Vec<String> {
        let lb = self.model.find_classic("old").expect("it");
        self.model.instances_of_classic(lb).into_iter().map(str::to_owned).collect()
    }

    /// The hidden group of a port.
    fn hidden(&self, port: u16) -> Id {
        self.model.classic_groups("old").find(|group| group.port == port).expect("a group").id
    }

    /// The addresses that new flows of the hidden group of a port go to.
    fn served(&self, port: u16) -> Vec<String> {
        let group = self.hidden(port);
        let nodes = self.model.load_balancers().next().map_or(0, |lb| lb.nodes.len() as u8);
        let all = (0..nodes).flat_map(|node| self.model.candidates(group, node));
        all.map(|it| it.address.to_string()).collect()
    }

    fn pass_checks(&mut self, health: Health) {
        let change = Change::Health(health, None);
        let mut reports = Vec::new();
        for target in self.model.targets().filter(|it| it.is_registered()) {
            let (slot, generation, nodes) = (target.slot, target.generation, self.model.nodes_using(target));
            let nodes = (0..64).filter(|node| nodes & 1 << node != 0);
            reports.extend(nodes.map(|node| Report { slot, generation, node, change }));
        }
        self.ok(Command::Health(reports));
    }

    fn instance_health(&self, id: &str) -> InstanceHealth {
        let lb = self.model.find_classic("old").expect("it");
        self.model.classic_health(lb, &texts(&[id]), self.now).expect("registered").remove(0)
    }

    fn set_classic(&mut self, changes: AttributeChanges) {
        self.do_classic(Classic::ModifyAttributes { name: "old".into(), changes });
    }

    fn treatment(&self, address: &str) -> Treatment {
        let mut all = self.model.treatments();
        all.find(|(target, _)| target.address.to_string() == address).expect("a target").1
    }
}

/// req: CLB-01, CLB-06
#[test]
fn registering_tells_all_and_deregistering_what_remains() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-2"]));
    bench.ok(bench.register_classic(&["i-1"]));
    assert_eq!(bench.instances(), ["i-1", "i-2"]);
    assert!(bench.ok(bench.register_classic(&["i-1"])).changed.is_empty());
    bench.ok(bench.deregister_classic(&["i-1"]));
    assert_eq!(bench.instances(), ["i-2"]);
    // It is not known here what does not exist; what exists but is not registered is passed over.
    assert_eq!(bench.refused(bench.deregister_classic(&["i-77"])).0, Code::InvalidInstance);
    assert!(bench.ok(bench.deregister_classic(&["i-1"])).changed.is_empty());
    bench.ok(bench.register_classic(&["i-1"]));
    assert_eq!(bench.instances(), ["i-1", "i-2"]);
    let lb = bench.model.find_classic("old").expect("it");
    let error = bench.model.classic_health(lb, &texts(&["i-3"]), bench.now).expect_err("not registered");
    assert_eq!(error.code, Code::InvalidInstance);
}

/// req: CLB-02
#[test]
fn instances_run_in_the_same_network() {
    let mut bench = Bench::anywhere();
    let request =
        Create { name: "old".into(), listeners: vec![tcp(80, 8080)], subnets: texts(&["sub-a"]), ..Create::default() };
    let id = bench.id();
    bench.do_classic(Classic::Create { request, id });
    let (code, field, message) = bench.refused(bench.register_classic(&["i-1", "i-9"]));
    assert_eq!((code, field.as_deref()), (Code::InvalidInstance, Some("Instances.member.2.InstanceId")));
    assert!(message.contains("not in the same VPC"), "{message}");
    assert_eq!(bench.refused(bench.register_classic(&["i-77"])).0, Code::InvalidInstance);
    bench.change_inventory(|state| state.instances.get_mut("i-1").expect("it").state = InstanceState::Stopped);
    assert_eq!(bench.refused(bench.register_classic(&["i-1"])).0, Code::InvalidInstance);
    assert_eq!(bench.instances(), [""; 0]);
}

/// req: CLB-03, CLB-04
#[test]
fn an_instance_serves_when_its_zone_is_enabled_and_enough_checks_passed() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1", "i-3"]));
    // Nothing before the checks say so: other than network load balancers, these do not use instances that are out of service.
    assert_eq!(bench.served(8080), [""; 0]);
    assert_eq!(bench.instance_health("i-1").state, "OutOfService");
    let group = bench.model.target_group(bench.hidden(8080)).expect("it");
    let thresholds = group.thresholds();
    assert_eq!((thresholds.initial, thresholds.healthy, thresholds.unhealthy), (10, 10, 2));
    assert!(!group.preserves_client_ip());
    bench.pass_checks(Health::Healthy);
    // By its primary address, and not the one whose zone is not enabled.
    assert_eq!(bench.served(8080), ["10.2.0.11"]);
    let health = bench.instance_health("i-1");
    assert_eq!((health.state, health.reason, health.description.as_str()), ("InService", "N/A", "N/A"));
    let health = bench.instance_health("i-3");
    assert_eq!((health.state, health.reason), ("OutOfService", "ELB"));
    assert!(health.description.contains("Availability Zone"), "{health:?}");

    bench.do_classic(Classic::EnableZones { name: "old".into(), zones: texts(&["zone-b"]) });
    bench.pass_checks(Health::Healthy);
    assert_eq!(bench.served(8080), ["10.2.0.11", "10.3.0.13"]);
    bench.do_classic(Classic::DisableZones { name: "old".into(), zones: texts(&["zone-a"]) });
    assert_eq!(bench.served(8080), ["10.3.0.13"]);
    assert_eq!(bench.instance_health("i-1").reason, "ELB");
    let last = Classic::DisableZones { name: "old".into(), zones: texts(&["zone-b"]) };
    assert_eq!(bench.refused(Command::Classic(last)).0, Code::InvalidConfigurationRequest);

    bench.pass_checks(Health::Unhealthy);
    assert_eq!(bench.served(8080), [""; 0]);
    assert_eq!((bench.instance_health("i-3").state, bench.instance_health("i-3").reason), ("OutOfService", "Instance"));
}

/// req: CLB-05
#[test]
fn without_draining_connections_end_at_once() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1"]));
    bench.pass_checks(Health::Healthy);
    assert_eq!(bench.treatment("10.2.0.11"), Treatment::Active);
    bench.ok(bench.deregister_classic(&["i-1"]));
    assert_eq!(bench.treatment("10.2.0.11"), Treatment::Terminate);
    assert_eq!(bench.model.next_expiry_ms(), None);
}

/// req: CLB-05
#[test]
fn with_draining_connections_go_on_for_a_time() {
    let mut bench = Bench::classic();
    bench.set_classic(AttributeChanges { draining: Some((true, Some(20))), ..AttributeChanges::default() });
    bench.ok(bench.register_classic(&["i-1"]));
    bench.pass_checks(Health::Healthy);
    bench.ok(bench.deregister_classic(&["i-1"]));
    assert_eq!(bench.instances(), [""; 0]);
    assert_eq!((bench.treatment("10.2.0.11"), bench.served(8080)), (Treatment::Draining, vec![]));
    let health = bench.instance_health("i-1");
    assert_eq!(
        (health.state, health.description.as_str()),
        ("InService", "Instance deregistration currently in progress.")
    );
    bench.now = later(19_999);
    bench.ok(Command::Expire);
    assert_eq!(bench.treatment("10.2.0.11"), Treatment::Draining);
    bench.now = later(20_000);
    bench.ok(Command::Expire);
    assert_eq!(bench.treatment("10.2.0.11"), Treatment::Terminate);
    for timeout in [0, 3601] {
        let changes = AttributeChanges { draining: Some((true, Some(timeout))), ..AttributeChanges::default() };
        let change = Classic::ModifyAttributes { name: "old".into(), changes };
        assert_eq!(bench.refused(Command::Classic(change)).0, Code::ValidationError);
    }
}

/// req: CLB-07
#[test]
fn a_selector_registers_and_deregisters() {
    let mut bench = Bench::classic();
    let selector = |value: &str| AttributeChanges {
        additional: vec![(SELECTOR.into(), value.into())],
        ..AttributeChanges::default()
    };
    bench.set_classic(selector("role=web"));
    assert_eq!(bench.instances(), [""; 0]);
    let label = |bench: &mut Bench, id: &str, role: &str| {
        bench.change_inventory(|state| {
            let labels = &mut state.instances.get_mut(id).expect("it").labels;
            labels.insert("role".into(), role.into());
        });
    };
    label(&mut bench, "i-1", "web");
    label(&mut bench, "i-2", "db");
    assert_eq!(bench.instances(), ["i-1"]);
    assert_eq!(bench.refused(bench.deregister_classic(&["i-1"])).0, Code::InvalidInstance);
    label(&mut bench, "i-2", "web");
    label(&mut bench, "i-1", "db");
    bench.pass_checks(Health::Healthy);
    assert_eq!((bench.instances(), bench.served(8080)), (texts(&["i-2"]), texts(&["10.2.0.12"])));
    bench.set_classic(selector(""));
    assert_eq!((bench.instances(), bench.served(8080)), (vec![], vec![]));
    let change = Classic::ModifyAttributes { name: "old".into(), changes: selector("web") };
    assert_eq!(bench.refused(Command::Classic(change)).0, Code::InvalidConfigurationRequest);
}

/// req: CLB-02, CLB-03
#[test]
fn instances_follow_the_inventory() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1", "i-2"]));
    bench.pass_checks(Health::Healthy);
    bench.change_inventory(|state| {
        state.instances.get_mut("i-1").expect("it").address = "10.2.0.21".parse().expect("an address");
        state.instances.get_mut("i-2").expect("it").state = InstanceState::Stopped;
    });
    assert_eq!(bench.instance_health("i-2").description, "Instance is in stopped state.");
    bench.pass_checks(Health::Healthy);
    assert_eq!(bench.served(8080), ["10.2.0.21"]);
    bench.change_inventory(|state| drop(state.instances.remove("i-2")));
    assert_eq!(bench.instances(), ["i-1"]);
}

#[test]
fn listeners_of_one_instance_port_share_a_group() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1"]));
    let add = |bench: &mut Bench, listeners| {
        let id = bench.id();
        bench.apply(Command::Classic(Classic::CreateListeners { name: "old".into(), listeners, id }))
    };
    add(&mut bench, vec![tcp(81, 8080), tcp(443, 8443)]).expect("good");
    assert_eq!(bench.model.classic_groups("old").count(), 2);
    assert_eq!(bench.model.targets_of(bench.hidden(8443)).count(), 1);
    assert!(add(&mut bench, vec![tcp(80, 8080)]).expect("the same").changed.is_empty());
    assert_eq!(add(&mut bench, vec![tcp(80, 9090)]).expect_err("another").code, Code::DuplicateListener);
    for (protocol, code) in [
        ("HTTP", Code::UnsupportedProtocol),
        ("https", Code::UnsupportedProtocol),
        ("UDP", Code::UnsupportedProtocol),
        ("SSL", Code::ValidationError),
    ] {
        let listener = ListenerSpec { protocol: protocol.into(), ..tcp(90, 90) };
        assert_eq!(add(&mut bench, vec![listener]).expect_err(protocol).code, code, "{protocol}");
    }
    // All or nothing.
    assert!(add(&mut bench, vec![tcp(90, 90), tcp(0, 90)]).is_err());
    assert_eq!(bench.model.find_classic("old").expect("it").listeners.len(), 3);
    bench.do_classic(Classic::DeleteListeners { name: "old".into(), ports: vec![443, 12345] });
    assert_eq!((bench.model.classic_groups("old").count(), bench.model.listeners().count()), (1, 2));
}

#[test]
fn what_carries_it_is_not_shown_and_not_changed() {
    let mut bench = Bench::classic();
    let hidden = bench.model.carrier_of(bench.model.find_classic("old").expect("it")).expect("it");
    let (arn, id) = (bench.model.show_load_balancer(hidden).arn, hidden.id.to_string());
    assert!(bench.model.show_load_balancers().load_balancers.is_empty());
    assert!(bench.model.show_target_groups().target_groups.is_empty());
    let group = bench.model.classic_groups("old").next().expect("it").clone();
    for name in ["old", &arn, &id] {
        assert!(bench.model.find_load_balancer(name).is_err(), "{name}");
        assert!(bench.ok(Command::DeleteLoadBalancer { load_balancer: name.into() }).changed.is_empty(), "{name}");
        let delete = Command::DeleteListener { load_balancer: name.into(), port: 80 };
        assert_eq!(bench.refused(delete).0, Code::LoadBalancerNotFound, "{name}");
    }
    let register = register(&group.name, &["i-1"]);
    assert_eq!(bench.refused(register).0, Code::TargetGroupNotFound);
    assert_eq!(bench.refused(super::register(&group.id.to_string(), &["i-1"])).0, Code::TargetGroupNotFound);

    // Its name is taken, both ways.
    let network = bench.load_balancer("old", "10.1.0.10");
    assert_eq!(bench.refused(network).0, Code::DuplicateLoadBalancerName);
    let network = bench.load_balancer("web", "10.1.0.10");
    bench.ok(network);
    let classic = bench.create_classic("web", &["zone-a"], vec![tcp(80, 80)]);
    assert_eq!(bench.refused(classic).0, Code::DuplicateLoadBalancerName);
    // The same again is the same.
    let again = bench.create_classic("old", &["zone-a"], vec![tcp(80, 8080)]);
    assert!(bench.ok(again).changed.is_empty());
    let other = bench.create_classic("old", &["zone-a"], vec![tcp(80, 9090)]);
    assert_eq!(bench.refused(other).0, Code::DuplicateLoadBalancerName);

    bench.do_classic(Classic::Delete { name: "old".into() });
    assert!(bench.model.target_groups().next().is_none() && bench.model.find_classic("old").is_err());
    assert_eq!(bench.model.load_balancers().count(), 1);
}

#[test]
fn health_checks_have_classics_ranges() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1"]));
    let check = |target: &str, interval, timeout, unhealthy, healthy| HealthCheckSpec {
        target: target.into(),
        interval,
        timeout,
        unhealthy_threshold: unhealthy,
        healthy_threshold: healthy,
    };
    let configure = |check| Command::Classic(Classic::ConfigureHealthCheck { name: "old".into(), check });
    for bad in [
        check("TCP:0", 30, 5, 2, 10),
        check("TCP", 30, 5, 2, 10),
        check("TCP:80/x", 30, 5, 2, 10),
        check("HTTP:80", 30, 5, 2, 10),
        check("SSL:443", 30, 5, 2, 10),
        check("TCP:80", 4, 2, 2, 10),
        check("TCP:80", 301, 5, 2, 10),
        check("TCP:80", 30, 1, 2, 10),
        check("TCP:80", 300, 61, 2, 10),
        check("TCP:80", 30, 30, 2, 10),
        check("TCP:80", 30, 5, 1, 10),
        check("TCP:80", 30, 5, 2, 11),
    ] {
        assert_eq!(bench.refused(configure(bad)).0, Code::ValidationError);
    }
    bench.ok(configure(check("tcp:22", 6, 5, 3, 4)));
    let plan = bench.model.check_plans().remove(0);
    assert_eq!((plan.port, plan.interval_s, plan.timeout_s), (22, 6, 5));
    assert_eq!(bench.model.find_classic("old").expect("it").health_check.target.to_string(), "TCP:22");
    // Checks by requests pass with status 200 alone; what those by TCP have found counts no more.
    bench.ok(configure(check("HTTP:80/ping", 30, 5, 2, 2)));
    let request = bench.model.check_plans().remove(0).request.expect("a request");
    assert_eq!((request.path.as_str(), request.tls), ("/ping", false));
    assert!(request.matcher.allows(200) && !request.matcher.allows(204));
    assert_eq!((bench.instance_health("i-1").state, bench.served(8080)), ("OutOfService", vec![]));
}

#[test]
fn policies_are_for_ssl() {
    let mut bench = Bench::classic();
    let create = |policy: &str, kind: &str, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Command::Classic(Classic::CreatePolicy {
            name: "old".into(),
            policy: policy.into(),
            kind: kind.into(),
            attributes,
        })
    };
    for (kind, code) in [
        ("LBCookieStickinessPolicyType", Code::InvalidConfigurationRequest),
        ("ProxyProtocolPolicyType", Code::InvalidConfigurationRequest),
        ("Nonsense", Code::PolicyTypeNotFound),
    ] {
        assert_eq!(bench.refused(create("p", kind, &[])).0, code, "{kind}");
    }
    let ssl = "SSLNegotiationPolicyType";
    let bad = create("p", ssl, &[("Reference-Security-Policy", "None-Such")]);
    assert_eq!(bench.refused(bad).0, Code::InvalidConfigurationRequest);
    bench.ok(create("p", ssl, &[("Reference-Security-Policy", "ELBSecurityPolicy-TLS-1-2-2017-01")]));
    assert_eq!(bench.refused(create("p", ssl, &[])).0, Code::DuplicatePolicyName);
    let set = |policies: &[&str], port| {
        let policies = texts(policies);
        Command::Classic(Classic::SetListenerPolicies { name: "old".into(), port, policies })
    };
    assert_eq!(bench.refused(set(&["p"], 80)).0, Code::InvalidConfigurationRequest);
    assert_eq!(bench.refused(set(&["q"], 80)).0, Code::PolicyNotFound);
    assert_eq!(bench.refused(set(&["p"], 81)).0, Code::ListenerNotFound);
    bench.ok(set(&[], 80));
    bench.do_classic(Classic::DeletePolicy { name: "old".into(), policy: "p".into() });
    assert!(bench.model.find_classic("old").expect("it").policies.is_empty());
}

#[test]
fn zones_need_one_network_that_has_them() {
    let mut bench = Bench::anywhere();
    let both = bench.create_classic("old", &["zone-a"], vec![tcp(80, 80)]);
    let (code, _, message) = bench.refused(both);
    assert!(code == Code::ValidationError && message.contains("several networks"), "{message}");
    let command = bench.create_classic("old", &["zone-a", "zone-b"], vec![tcp(80, 80)]);
    bench.ok(command);
    let lb = bench.model.find_classic("old").expect("it");
    assert_eq!(bench.model.classic_zones(lb).collect::<Vec<_>>(), ["zone-a", "zone-b"]);
    let nowhere = bench.create_classic("new", &["zone-x"], vec![tcp(80, 80)]);
    assert_eq!(bench.refused(nowhere).0, Code::ValidationError);
    bench.do_classic(Classic::DetachSubnets { name: "old".into(), subnets: texts(&["sub-a"]) });
    let lb = bench.model.find_classic("old").expect("it");
    assert_eq!(bench.model.classic_zones(lb).collect::<Vec<_>>(), ["zone-b"]);
    bench.do_classic(Classic::AttachSubnets { name: "old".into(), subnets: texts(&["sub-a"]) });
    let lb = bench.model.find_classic("old").expect("it");
    assert_eq!(bench.model.classic_zones(lb).count(), 2);
    let listener = bench.model.listeners().next().expect("it");
    assert_eq!(listener.slots.len(), 2, "a listener stands on all nodes");
}

#[test]
fn tags_are_ten_at_the_most() {
    let mut bench = Bench::classic();
    let tags = |count: usize| (0..count).map(|n| (format!("key-{n}"), String::new())).collect::<rest::Tags>();
    bench.do_classic(Classic::AddTags { names: texts(&["old"]), tags: tags(10) });
    let more = Classic::AddTags { names: texts(&["old"]), tags: [("more".to_owned(), String::new())].into() };
    assert_eq!(bench.refused(Command::Classic(more)).0, Code::TooManyTags);
    bench.do_classic(Classic::RemoveTags { names: texts(&["old"]), keys: texts(&["key-0", "key-1"]) });
    assert_eq!(bench.model.find_classic("old").expect("it").tags.len(), 8);
}

#[test]
fn it_comes_back_from_the_store() {
    let mut bench = Bench::classic();
    bench.ok(bench.register_classic(&["i-1"]));
    let records =
        bench.model.record_keys().into_iter().map(|key| (key.to_string(), bench.model.record(&key).expect("it")));
    let loaded = Model::load(site(), Limits::default(), records.collect::<Vec<_>>(), bench.now).expect("good records");
    assert_eq!(loaded.find_classic("old"), bench.model.find_classic("old"));
    assert!(loaded.find_load_balancer("old").is_err());
    // Not without what it stands for.
    let records = bench.model.record_keys().into_iter().filter(|key| key.to_string() != "classic/old");
    let records = records.map(|key| (key.to_string(), bench.model.record(&key).expect("it")));
    assert!(Model::load(site(), Limits::default(), records.collect::<Vec<_>>(), bench.now).is_err());
}

#[test]
fn ssl_is_kept_and_not_forwarded() {
    let mut bench = Bench::classic();
    let (arn, other) = ("arn:aws:acm:local:000000000000:certificate/1", "arn:aws:acm:local:000000000000:certificate/2");
    bench.certificate(arn);
    let ssl = |arn: &str| ListenerSpec {
        protocol: "SSL".into(),
        instance_protocol: Some("TCP".into()),
        certificate: Some(arn.into()),
        ..tcp(443, 8443)
    };
    let add = |bench: &mut Bench, listener| {
        let id = bench.id();
        bench.apply(Command::Classic(Classic::CreateListeners { name: "old".into(), listeners: vec![listener], id }))
    };
    assert_eq!(add(&mut bench, ssl(other)).expect_err("unknown").code, Code::CertificateNotFound);
    add(&mut bench, ssl(arn)).expect("good");
    let lb = bench.model.find_classic("old").expect("it").id;
    let hidden = |bench: &Bench| bench.model.listeners_of(lb).find(|it| it.port == 443).expect("it").clone();
    assert_eq!((hidden(&bench).slots.len(), hidden(&bench).certificates), (0, vec![arn.to_owned()]));

    let policy = "ELBSecurityPolicy-TLS-1-2-2017-01".to_owned();
    let attributes = vec![("Reference-Security-Policy".to_owned(), policy.clone())];
    let (name, kind) = ("old".to_owned(), "SSLNegotiationPolicyType".to_owned());
    bench.do_classic(Classic::CreatePolicy { name: name.clone(), policy: "strict".into(), kind, attributes });
    let policies = texts(&["strict"]);
    bench.do_classic(Classic::SetListenerPolicies { name: name.clone(), port: 443, policies });
    assert_eq!(hidden(&bench).ssl_policy, Some(policy));
    let delete = Classic::DeletePolicy { name: name.clone(), policy: "strict".into() };
    assert_eq!(bench.refused(Command::Classic(delete)).0, Code::InvalidConfigurationRequest);

    bench.certificate(other);
    let set = |port| Classic::SetListenerCertificate { name: "old".into(), port, certificate: other.into() };
    bench.do_classic(set(443));
    assert_eq!(hidden(&bench).certificates, [other]);
    assert_eq!(bench.refused(Command::Classic(set(80))).0, Code::InvalidConfigurationRequest);
    assert_eq!(bench.refused(Command::Classic(set(81))).0, Code::ListenerNotFound);
}

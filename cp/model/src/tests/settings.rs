//! Attributes of load balancers, listeners and target groups as resources have them, and deletion protection. What each key takes
//! is tested with the tables.

use super::*;
use crate::attributes::Subject;
use crate::rest::{PortRole, PortSpec, TargetType};

fn pairs(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn of_balancer(changes: &[(&str, &str)]) -> Command {
    Command::ModifyLoadBalancerAttributes { load_balancer: "web".into(), attributes: pairs(changes) }
}

fn of_listener(port: u16, changes: &[(&str, &str)]) -> Command {
    Command::ModifyListenerAttributes { load_balancer: "web".into(), port, attributes: pairs(changes) }
}

impl Bench {
    fn balancer_attributes(&self) -> Attributes {
        self.model.load_balancer_attributes(self.model.find_load_balancer("web").expect("it"))
    }
}

/// req: LB-08, LB-11, LB-12, LB-13, LB-14, LB-15
#[test]
fn load_balancers_have_attributes() {
    let mut bench = Bench::serving(&[]);
    let all = bench.balancer_attributes();
    for (key, default) in [
        ("access_logs.s3.enabled", "false"),
        ("access_logs.s3.bucket", ""),
        ("access_logs.s3.prefix", ""),
        ("deletion_protection.enabled", "false"),
        ("ipv6.deny_all_igw_traffic", "false"),
        ("load_balancing.cross_zone.enabled", "false"),
        ("dns_record.client_routing_policy", "any_availability_zone"),
        ("zonal_shift.config.enabled", "false"),
        ("secondary_ips.auto_assigned.per_subnet", "0"),
    ] {
        assert_eq!(all.get(key).map(String::as_str), Some(default), "{key}");
    }
    assert_eq!(all.len(), 9);
    let internal = Subject::LoadBalancer(rest::Scheme::Internal).all(&Attributes::new());
    assert_eq!(internal["ipv6.deny_all_igw_traffic"], "true");

    bench.ok(of_balancer(&[("load_balancing.cross_zone.enabled", "true")]));
    let mut expected = all;
    expected.insert("load_balancing.cross_zone.enabled".into(), "true".into());
    assert_eq!(bench.balancer_attributes(), expected, "others keep their values");
    let mixed = [("load_balancing.cross_zone.enabled", "false"), ("deletion_protection.enabled", "maybe")];
    assert_eq!(bench.refused(of_balancer(&mixed)).0, Code::ValidationError);
    assert_eq!(bench.balancer_attributes(), expected, "all or nothing");
    let (code, _, message) = bench.refused(of_balancer(&[("routing.http2.enabled", "true")]));
    assert_eq!(code, Code::ValidationError);
    assert!(message.contains("attribute key 'routing.http2.enabled' is not recognized"), "{message}");
}

/// req: LB-14, LB-15, TAG-02
#[test]
fn attributes_and_tags_at_creation_are_checked() {
    let mut bench = Bench::new();
    let mut create = |attributes: &[(&str, &str)], tags: &[(&str, &str)]| {
        let mut request = load_balancer("web", vec![node("zone-a", "10.1.0.10", None)]);
        (request.attributes, request.tags) = (pairs(attributes), pairs(tags));
        let id = bench.id();
        bench.apply(Command::CreateLoadBalancer { request, id }).map_err(|error| error.code)
    };
    assert_eq!(create(&[("no.such.key", "true")], &[]), Err(Code::ValidationError));
    assert_eq!(create(&[("access_logs.s3.enabled", "true")], &[]), Err(Code::InvalidConfigurationRequest));
    assert_eq!(create(&[], &[("aws:a", "b")]), Err(Code::ValidationError));
    assert!(create(&[("deletion_protection.enabled", "true")], &[("team", "a")]).is_ok());
    assert_eq!(bench.balancer_attributes()["deletion_protection.enabled"], "true");
}

/// req: LB-09, LB-10
#[test]
fn access_logs_need_a_bucket() {
    let mut bench = Bench::serving(&[]);
    let (enabled, bucket) = ("access_logs.s3.enabled", "access_logs.s3.bucket");
    assert_eq!(bench.refused(of_balancer(&[(enabled, "true")])).0, Code::InvalidConfigurationRequest);
    bench.ok(of_balancer(&[(enabled, "true"), (bucket, "our-logs")]));
    assert_eq!(bench.refused(of_balancer(&[(bucket, "")])).0, Code::InvalidConfigurationRequest);
    for prefix in ["AWSLogs", "x/AWSLogs", "x/AWSLogs/y"] {
        let command = of_balancer(&[("access_logs.s3.prefix", prefix)]);
        assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
    }
    bench.ok(of_balancer(&[("access_logs.s3.prefix", "awslogs/web")]));
    assert!(bench.model.warnings().iter().any(|it| it.contains(enabled) && it.contains("kept and shown only")));
    bench.ok(of_balancer(&[(enabled, "false"), (bucket, "")]));
    assert_eq!(bench.model.warnings(), [""; 0]);
}

/// req: DEL-01, DEL-03, LB-18, ERR-06
#[test]
fn a_protected_load_balancer_is_not_deleted() {
    let mut bench = Bench::serving(&[]);
    let delete = || Command::DeleteLoadBalancer { load_balancer: "web".into() };
    bench.ok(of_balancer(&[("deletion_protection.enabled", "true")]));
    assert_eq!(bench.refused(delete()).0, Code::OperationNotPermitted);
    let model = &bench.model;
    let records = model.record_keys().into_iter().map(|key| (key.to_string(), model.record(&key).expect("a record")));
    bench.model = Model::load(site(), Limits::default(), records, bench.now).expect("it can be read");
    assert_eq!(bench.refused(delete()).0, Code::OperationNotPermitted);
    assert!(bench.model.find_listener("web", 80).is_ok());
    bench.ok(of_balancer(&[("deletion_protection.enabled", "false")]));
    bench.ok(delete());
    assert!(bench.ok(delete()).changed.is_empty());
}

/// req: LB-17, ERR-06
#[test]
fn a_load_balancer_of_an_endpoint_is_not_deleted() {
    let mut bench = Bench::serving(&[]);
    let delete = || Command::DeleteLoadBalancer { load_balancer: "web".into() };
    bench.model.site.endpoints = vec![("p0".into(), "vpce-1".into())];
    assert_eq!(bench.refused(delete()).0, Code::ResourceInUse);
    bench.model.site.endpoints.clear();
    let port = PortSpec { name: "p0".into(), role: PortRole::Endpoint };
    bench.model.inventory.ports.insert("p0".into(), port);
    assert_eq!(bench.refused(delete()).0, Code::ResourceInUse);
    bench.model.inventory.ports.clear();
    bench.ok(delete());
}

#[test]
fn tcp_listeners_have_an_idle_timeout() {
    let key = "tcp.idle_timeout.seconds";
    let mut bench = Bench::serving(&[]);
    let command = bench.group("udp", Protocol::Udp);
    bench.ok(command);
    let command = bench.listener("web", Protocol::Udp, 53, "udp");
    bench.ok(command);
    let shown =
        |bench: &Bench, port| bench.model.listener_attributes(bench.model.find_listener("web", port).expect("it"));
    assert_eq!(shown(&bench, 80), pairs(&[(key, "350")]));
    assert_eq!(shown(&bench, 53), Attributes::new());
    for good in ["60", "6000"] {
        bench.ok(of_listener(80, &[(key, good)]));
        assert_eq!(shown(&bench, 80), pairs(&[(key, good)]));
        assert!(bench.model.warnings().iter().any(|it| it.contains("port 80") && it.contains(key)), "350 is done");
    }
    for bad in ["59", "6001", "x", ""] {
        assert_eq!(bench.refused(of_listener(80, &[(key, bad)])).0, Code::ValidationError);
    }
    bench.ok(of_listener(80, &[(key, "350")]));
    assert_eq!(bench.model.warnings(), [""; 0]);
    let (_, _, message) = bench.refused(of_listener(53, &[(key, "60")]));
    assert!(message.contains(&format!("attribute key '{key}' is not supported")), "{message}");
}

/// req: ATT-12, ALBT-10, ATT-04
#[test]
fn groups_for_application_load_balancers_keep_their_defaults() {
    let mut bench = Bench::new();
    let command = bench.special_group("alb", |request| request.target_type = TargetType::Alb);
    bench.ok(command);
    let group = bench.model.find_target_group("alb").expect("it");
    let all = attributes::all(&group.attributes, group.protocol, group.target_type);
    assert_eq!(all[attributes::PRESERVE_CLIENT_IP], "true");
    for (key, value) in [(DELAY, "10"), (attributes::PRESERVE_CLIENT_IP, "false"), (attributes::STICKINESS, "true")] {
        let command = Command::ModifyAttributes { target_group: "alb".into(), attributes: pairs(&[(key, value)]) };
        assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "{key}");
        let command = bench.special_group("other", |request| {
            request.target_type = TargetType::Alb;
            request.attributes = pairs(&[(key, value)]);
        });
        assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "{key}");
    }
}

/// req: TGH-05, TGH-16, ERR-08
#[test]
fn dns_failover_acts_not_later_than_routing_failover() {
    use attributes::{DNS_COUNT, DNS_PERCENTAGE, HEALTHY_COUNT, HEALTHY_PERCENTAGE};
    let mut bench = Bench::serving(&[]);
    let change =
        |changes: &[(&str, &str)]| Command::ModifyAttributes { target_group: "web".into(), attributes: pairs(changes) };
    let wrong = [(DNS_PERCENTAGE, "30"), (HEALTHY_PERCENTAGE, "50")];
    assert_eq!(bench.refused(change(&wrong)).0, Code::InvalidConfigurationRequest);
    bench.ok(change(&[(DNS_PERCENTAGE, "50"), (HEALTHY_PERCENTAGE, "50")]));
    // What counts is what would be, not what is named.
    assert_eq!(bench.refused(change(&[(HEALTHY_PERCENTAGE, "51")])).0, Code::InvalidConfigurationRequest);
    assert_eq!(bench.refused(change(&[(DNS_COUNT, "2"), (HEALTHY_COUNT, "3")])).0, Code::InvalidConfigurationRequest);
    bench.ok(change(&[(DNS_PERCENTAGE, "off"), (HEALTHY_PERCENTAGE, "51"), (DNS_COUNT, "3"), (HEALTHY_COUNT, "3")]));
    bench.ok(change(&[(DNS_COUNT, "off"), (HEALTHY_COUNT, "4")]));
}

#[test]
fn connections_to_unhealthy_targets_may_go_on() {
    use crate::forward::Treatment;
    let (ending, interval) = (attributes::UNHEALTHY_TERMINATION, attributes::UNHEALTHY_DRAINING);
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.set_health("web", "10.2.0.12", Health::Unhealthy);
    let treatment = |bench: &Bench| {
        let slot = bench.slot("web", "10.2.0.12");
        bench.model.treatments().find(|(target, _)| target.slot == slot).expect("it").1
    };
    assert_eq!(treatment(&bench), Treatment::Unhealthy);
    let change =
        |changes: &[(&str, &str)]| Command::ModifyAttributes { target_group: "web".into(), attributes: pairs(changes) };
    assert_eq!(bench.refused(change(&[(interval, "60")])).0, Code::InvalidConfigurationRequest);
    bench.ok(change(&[(ending, "false"), (interval, "60")]));
    assert_eq!(treatment(&bench), Treatment::Active);
    assert_eq!(bench.selected("web"), ["10.2.0.11"], "new ones go elsewhere");
    assert!(bench.model.warnings().iter().any(|it| it.contains(interval)));
    let command = bench.group("udp", Protocol::Udp);
    bench.ok(command);
    let command = Command::ModifyAttributes { target_group: "udp".into(), attributes: pairs(&[(ending, "false")]) };
    assert!(bench.refused(command).2.contains("is not supported"));
}

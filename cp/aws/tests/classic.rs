//! Elastic Load Balancing 2012-06-01: requests in, XML out, on a model.

use leat_aws::operation::{self, Caller, Context, Reply, Run};
use leat_aws::{Element, Params, Service, form};
use leat_model::rest::{Inventory, Role};
use leat_model::{Command, Error, Id, Limits, Model, Now, Site, inventory};
use serde_json::json;

const NOW: Now = Now { wall_ms: 1_700_000_000_007, mono_ms: 5_000 };

/// A control plane without a data plane, whose network `vpc-1` has instances `i-1`, `i-2` (zone-a) and `i-3` (zone-b).
struct Bench {
    model: Model,
    next_id: u64,
}

impl Bench {
    fn new() -> Self {
        let instance = |id: &str, subnet: &str, address: &str| json!({"id": id, "subnet": subnet, "address": address});
        let inventory = json!({
            "zones": [{"name": "zone-a"}, {"name": "zone-b"}],
            "networks": [{"id": "vpc-1", "cidrs": ["10.2.0.0/16"]}],
            "subnets": [
                {"id": "subnet-a", "network": "vpc-1", "zone": "zone-a", "cidr": "10.2.0.0/24"},
                {"id": "subnet-b", "network": "vpc-1", "zone": "zone-b", "cidr": "10.2.1.0/24"},
            ],
            "instances": [
                instance("i-1", "subnet-a", "10.2.0.101"),
                instance("i-2", "subnet-a", "10.2.0.102"),
                instance("i-3", "subnet-b", "10.2.1.103"),
            ],
        });
        let inventory: Inventory = serde_json::from_value(inventory).expect("an inventory");
        let site = Site { without_data_plane: true, ..Site::default() };
        let mut model = Model::new(site, Limits::default(), [1, 2]);
        model.apply(Command::Inventory(inventory::Change::Put(inventory)), NOW).expect("a good inventory");
        Self { model, next_id: 0 }
    }

    /// With load balancer `old` in both zones, port 80 to instances' port 8080.
    fn serving() -> Self {
        let mut bench = Self::new();
        bench.ok(
            "CreateLoadBalancer",
            &format!("{OLD}&{TCP}&AvailabilityZones.member.1=zone-a&AvailabilityZones.member.2=zone-b"),
        );
        bench
    }

    /// Runs an operation as the control plane does; gives the answer's body without its envelope.
    fn call(&mut self, action: &str, query: &str) -> Result<String, (u16, String)> {
        let operation = operation::of_query("2012-06-01", action).expect(action);
        let params = Params::new(form::decode(query.as_bytes()).expect("a form"));
        self.next_id += 1;
        let id = Id(self.next_id);
        let done = self.run(operation, &params, id);
        done.map_err(|error| operation::error_answer(operation.service, &error, "request")).map(|content| {
            let xml = operation::answer(operation, content, "request");
            let (_, rest) = xml.split_once(&format!("<{action}Result>")).expect("a result");
            rest.split_once(&format!("</{action}Result>")).expect("its end").0.to_owned()
        })
    }

    fn run(&mut self, operation: &leat_aws::Operation, params: &Params, id: Id) -> Result<Vec<Element>, Error> {
        let Run::Query(run) = operation.run else { panic!("of another protocol") };
        let caller = Caller { name: "root".into(), access_key_id: String::new(), role: Role::Admin, tenant: None };
        match run(&Context { model: &self.model, now: NOW, caller: &caller, id }, params)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Change(command, answer) => {
                let mut model = self.model.clone();
                let effects = model.apply(command, NOW)?;
                self.model = model;
                answer(&Context { model: &self.model, now: NOW, caller: &caller, id }, &effects)
            }
            Reply::Import(..) | Reply::Events(..) => panic!("none of these"),
        }
    }

    fn ok(&mut self, action: &str, query: &str) -> String {
        self.call(action, query).unwrap_or_else(|error| panic!("{action} {query}: {error:?}"))
    }

    /// Status and code of a refusal, which changes nothing.
    fn refused(&mut self, action: &str, query: &str) -> (u16, String) {
        let before = self.model.clone();
        let (status, xml) = self.call(action, query).expect_err(&format!("{action} {query}"));
        assert!(self.model == before, "{action} {query} was refused and has changed something");
        assert!(xml.contains("http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/"), "{xml}");
        let (_, rest) = xml.split_once("<Code>").expect("a code");
        (status, rest.split_once("</Code>").expect("its end").0.to_owned())
    }
}

const OLD: &str = "LoadBalancerName=old";
const TCP: &str =
    "Listeners.member.1.Protocol=tcp&Listeners.member.1.LoadBalancerPort=80&Listeners.member.1.InstancePort=8080";

fn instances(ids: &[&str]) -> String {
    let each = ids.iter().enumerate().map(|(at, id)| format!("&Instances.member.{}.InstanceId={id}", at + 1));
    format!("{OLD}{}", each.collect::<String>())
}

fn list(ids: &[&str]) -> String {
    if ids.is_empty() {
        return "<Instances/>".into();
    }
    let each = ids.iter().map(|id| format!("<member><InstanceId>{id}</InstanceId></member>"));
    format!("<Instances>{}</Instances>", each.collect::<String>())
}

/// req: CLB-01
#[test]
fn instances_are_listed_as_the_guide_shows() {
    let mut bench = Bench::serving();
    assert_eq!(bench.ok("RegisterInstancesWithLoadBalancer", &instances(&["i-2"])), list(&["i-2"]));
    assert_eq!(bench.ok("RegisterInstancesWithLoadBalancer", &instances(&["i-1"])), list(&["i-1", "i-2"]));
    assert_eq!(bench.ok("DeregisterInstancesFromLoadBalancer", &instances(&["i-2"])), list(&["i-1"]));
    assert_eq!(bench.ok("DeregisterInstancesFromLoadBalancer", &instances(&["i-1"])), list(&[]));
    let bad = instances(&["i-77"]);
    for action in ["RegisterInstancesWithLoadBalancer", "DeregisterInstancesFromLoadBalancer", "DescribeInstanceHealth"]
    {
        assert_eq!(bench.refused(action, &bad), (400, "InvalidInstance".into()), "{action}");
    }
    for action in ["RegisterInstancesWithLoadBalancer", "DeregisterInstancesFromLoadBalancer"] {
        assert_eq!(bench.refused(action, OLD), (400, "ValidationError".into()), "{action}");
    }
}

#[test]
fn it_tells_all_of_itself() {
    let mut bench = Bench::serving();
    bench.ok("RegisterInstancesWithLoadBalancer", &instances(&["i-1"]));
    let dns = "old-0000000000000001.elb.on-prem-1.leat.internal";
    let listener = "<Protocol>TCP</Protocol><LoadBalancerPort>80</LoadBalancerPort><InstanceProtocol>TCP</InstanceProtocol>\
                    <InstancePort>8080</InstancePort>";
    let expected = format!(
        "<LoadBalancerDescriptions><member><LoadBalancerName>old</LoadBalancerName><DNSName>{dns}</DNSName>\
         <CanonicalHostedZoneName>{dns}</CanonicalHostedZoneName><CanonicalHostedZoneNameID>ZLEAT000000000</CanonicalHostedZoneNameID>\
         <ListenerDescriptions><member><Listener>{listener}</Listener><PolicyNames/></member></ListenerDescriptions>\
         <Policies><AppCookieStickinessPolicies/><LBCookieStickinessPolicies/><OtherPolicies/></Policies><BackendServerDescriptions/>\
         <AvailabilityZones><member>zone-a</member><member>zone-b</member></AvailabilityZones>\
         <Subnets><member>subnet-a</member><member>subnet-b</member></Subnets><VPCId>vpc-1</VPCId>{}\
         <HealthCheck><Target>TCP:8080</Target><Interval>30</Interval><Timeout>5</Timeout><UnhealthyThreshold>2</UnhealthyThreshold>\
         <HealthyThreshold>10</HealthyThreshold></HealthCheck><SecurityGroups/><CreatedTime>2023-11-14T22:13:20.007Z</CreatedTime>\
         <Scheme>internet-facing</Scheme></member></LoadBalancerDescriptions>",
        list(&["i-1"])
    );
    assert_eq!(bench.ok("DescribeLoadBalancers", ""), expected);
    assert_eq!(bench.ok("DescribeLoadBalancers", "LoadBalancerNames.member.1=old"), expected);
    let missing = bench.refused("DescribeLoadBalancers", "LoadBalancerNames.member.1=new");
    assert_eq!(missing, (400, "LoadBalancerNotFound".into()));
    // What carries it belongs to the other API, and is not there.
    let operation = operation::of_query("2015-12-01", "DescribeLoadBalancers").expect("it");
    let shown = bench.run(operation, &Params::default(), Id(99)).expect("an answer");
    assert_eq!(Element::to_json(&shown).to_string(), "{\"loadBalancers\":{}}");
}

#[test]
fn pages_follow_each_other() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.ok("CreateLoadBalancer", &format!("LoadBalancerName={name}&{TCP}&Subnets.member.1=subnet-a"));
    }
    let first = bench.ok("DescribeLoadBalancers", "PageSize=2");
    assert!(first.ends_with("<NextMarker>b</NextMarker>") && !first.contains("<LoadBalancerName>c<"), "{first}");
    let second = bench.ok("DescribeLoadBalancers", "PageSize=2&Marker=b");
    assert!(second.contains("<LoadBalancerName>c<") && !second.contains("NextMarker"), "{second}");
    assert_eq!(bench.refused("DescribeLoadBalancers", "PageSize=401"), (400, "ValidationError".into()));
}

#[test]
fn errors_have_classics_codes_and_statuses() {
    let mut bench = Bench::serving();
    let zone = "AvailabilityZones.member.1=zone-a";
    let http = TCP.replace("tcp", "http");
    for (action, query, status, code) in [
        ("CreateLoadBalancer", format!("{OLD}&{zone}"), 400, "ValidationError"),
        ("CreateLoadBalancer", format!("{OLD}&{TCP}"), 400, "ValidationError"),
        ("CreateLoadBalancer", format!("{OLD}&{TCP}&{zone}"), 400, "DuplicateLoadBalancerName"),
        ("CreateLoadBalancer", format!("LoadBalancerName=new&{http}&{zone}"), 400, "UnsupportedProtocol"),
        ("CreateLoadBalancer", format!("LoadBalancerName=new&{TCP}&Subnets.member.1=subnet-x"), 400, "SubnetNotFound"),
        ("CreateLoadBalancer", format!("LoadBalancerName=new&{TCP}&{zone}&Scheme=open"), 400, "InvalidScheme"),
        (
            "CreateLoadBalancer",
            format!("LoadBalancerName=new&{TCP}&{zone}&SecurityGroups.member.1=sg-1"),
            400,
            "InvalidSecurityGroup",
        ),
        ("CreateLoadBalancerListeners", format!("{OLD}&{}", TCP.replace("8080", "9090")), 400, "DuplicateListener"),
        ("SetLoadBalancerPoliciesOfListener", format!("{OLD}&LoadBalancerPort=81"), 400, "ListenerNotFound"),
        ("DeleteLoadBalancerPolicy", "LoadBalancerName=new&PolicyName=p".into(), 400, "LoadBalancerNotFound"),
        ("CreateLBCookieStickinessPolicy", format!("{OLD}&PolicyName=p"), 409, "InvalidConfigurationRequest"),
        (
            "CreateAppCookieStickinessPolicy",
            format!("{OLD}&PolicyName=p&CookieName=c"),
            409,
            "InvalidConfigurationRequest",
        ),
        ("CreateLoadBalancerPolicy", format!("{OLD}&PolicyName=p&PolicyTypeName=None"), 400, "PolicyTypeNotFound"),
        ("DescribeLoadBalancerPolicies", format!("{OLD}&PolicyNames.member.1=p"), 400, "PolicyNotFound"),
        ("DescribeLoadBalancerPolicyTypes", "PolicyTypeNames.member.1=None".into(), 400, "PolicyTypeNotFound"),
        (
            "SetLoadBalancerPoliciesForBackendServer",
            format!("{OLD}&InstancePort=1"),
            409,
            "InvalidConfigurationRequest",
        ),
        (
            "SetLoadBalancerListenerSSLCertificate",
            format!("{OLD}&LoadBalancerPort=80&SSLCertificateId=x"),
            409,
            "InvalidConfigurationRequest",
        ),
        (
            "ModifyLoadBalancerAttributes",
            format!("{OLD}&LoadBalancerAttributes.AccessLog.Enabled=true"),
            409,
            "InvalidConfigurationRequest",
        ),
        (
            "ModifyLoadBalancerAttributes",
            format!("{OLD}&LoadBalancerAttributes.AdditionalAttributes.member.1.Key=x"),
            400,
            "LoadBalancerAttributeNotFound",
        ),
        (
            "DisableAvailabilityZonesForLoadBalancer",
            format!("{OLD}&{zone}&AvailabilityZones.member.2=zone-b"),
            409,
            "InvalidConfigurationRequest",
        ),
        (
            "AddTags",
            "LoadBalancerNames.member.1=old&Tags.member.1.Key=a&Tags.member.2.Key=a".into(),
            400,
            "DuplicateTagKeys",
        ),
    ] {
        assert_eq!(bench.refused(action, &query), (status, code.to_owned()), "{action} {query}");
    }
    bench.ok("DeleteLoadBalancer", "LoadBalancerName=new");
}

#[test]
fn settings_are_answered_as_they_were_made() {
    let mut bench = Bench::serving();
    let query = format!(
        "{OLD}&HealthCheck.Target=TCP:22&HealthCheck.Interval=10&HealthCheck.Timeout=2&HealthCheck.UnhealthyThreshold=3&\
         HealthCheck.HealthyThreshold=4"
    );
    let said = bench.ok("ConfigureHealthCheck", &query);
    assert!(said.starts_with("<HealthCheck><Target>TCP:22</Target><Interval>10</Interval>"), "{said}");
    let attributes = "LoadBalancerAttributes";
    let query = format!(
        "{OLD}&{attributes}.ConnectionDraining.Enabled=true&{attributes}.ConnectionDraining.Timeout=60&\
         {attributes}.ConnectionSettings.IdleTimeout=90&{attributes}.CrossZoneLoadBalancing.Enabled=true&\
         {attributes}.AdditionalAttributes.member.1.Key=leat.selector&{attributes}.AdditionalAttributes.member.1.Value=role%3Dweb"
    );
    let said = bench.ok("ModifyLoadBalancerAttributes", &query);
    let all = bench.ok("DescribeLoadBalancerAttributes", OLD);
    assert_eq!(said, format!("<LoadBalancerName>old</LoadBalancerName>{all}"));
    for part in [
        "<CrossZoneLoadBalancing><Enabled>true</Enabled></CrossZoneLoadBalancing>",
        "<ConnectionDraining><Enabled>true</Enabled><Timeout>60</Timeout></ConnectionDraining>",
        "<ConnectionSettings><IdleTimeout>90</IdleTimeout></ConnectionSettings>",
        "<Key>leat.selector</Key><Value>role=web</Value>",
    ] {
        assert!(all.contains(part), "{all}");
    }
    bench.ok("AddTags", "LoadBalancerNames.member.1=old&Tags.member.1.Key=team&Tags.member.1.Value=a");
    let said = bench.ok("DescribeTags", "LoadBalancerNames.member.1=old");
    assert!(said.contains("<Tags><member><Key>team</Key><Value>a</Value></member></Tags>"), "{said}");
    bench.ok("RemoveTags", "LoadBalancerNames.member.1=old&Tags.member.1.Key=team");
    assert!(bench.ok("DescribeTags", "LoadBalancerNames.member.1=old").contains("<Tags/>"));
    assert!(bench.ok("DescribeAccountLimits", "").contains("<Name>classic-load-balancers</Name><Max>20</Max>"));
}

#[test]
fn zones_and_subnets_come_and_go() {
    let mut bench = Bench::serving();
    let zone = format!("{OLD}&AvailabilityZones.member.1=zone-b");
    let said = bench.ok("DisableAvailabilityZonesForLoadBalancer", &zone);
    assert_eq!(said, "<AvailabilityZones><member>zone-a</member></AvailabilityZones>");
    let subnet = format!("{OLD}&Subnets.member.1=subnet-b");
    let said = bench.ok("AttachLoadBalancerToSubnets", &subnet);
    assert_eq!(said, "<Subnets><member>subnet-a</member><member>subnet-b</member></Subnets>");
    let said = bench.ok("DetachLoadBalancerFromSubnets", &subnet);
    assert_eq!(said, "<Subnets><member>subnet-a</member></Subnets>");
    let said = bench.ok("EnableAvailabilityZonesForLoadBalancer", &zone);
    assert_eq!(said, "<AvailabilityZones><member>zone-a</member><member>zone-b</member></AvailabilityZones>");
    assert_eq!(bench.ok("ApplySecurityGroupsToLoadBalancer", OLD), "<SecurityGroups/>");
}

#[test]
fn without_a_data_plane_nobody_says_in_service() {
    let mut bench = Bench::serving();
    bench.ok("RegisterInstancesWithLoadBalancer", &instances(&["i-1"]));
    let said = bench.ok("DescribeInstanceHealth", OLD);
    assert!(
        said.contains("<State>Unknown</State><ReasonCode>ELB</ReasonCode><Description>leat-cp runs without"),
        "{said}"
    );
}

#[test]
fn the_guide_has_the_table_of_operations() {
    let guide = include_str!("../../../docs/classic.md");
    let table = leat_aws::operation::markdown(Service::Elb);
    assert!(guide.contains(&table), "put this table into docs/classic.md:\n{table}");
    let elb = operation::all().filter(|operation| operation.service == Service::Elb);
    assert_eq!(elb.count(), 29);
}

//! Load balancers in subnets of the inventory: which addresses clients are told.

use leat_model::{Command, inventory};

use crate::bench::{Bench, value};

/// Two zones with a subnet each, and a static address.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let declared = serde_json::json!({
        "zones": [{"name": "zone-a"}, {"name": "zone-b"}],
        "networks": [{"id": "vpc-1", "cidrs": ["10.1.0.0/16", "fd00:1::/48"]}],
        "subnets": [
            {"id": "subnet-a", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.1.0/24", "ipv6Cidr": "fd00:1:0:1::/64"},
            {"id": "subnet-b", "network": "vpc-1", "zone": "zone-b", "cidr": "10.1.2.0/24", "ipv6Cidr": "fd00:1:0:2::/64"},
        ],
        "staticAddresses": [{"id": "eipalloc-1", "address": "192.0.2.10"}],
    });
    let declared = serde_json::from_value(declared).expect("an inventory");
    bench.model.apply(Command::Inventory(inventory::Change::Put(declared)), bench.now).expect("good");
    bench
}

const ZONES: &str = "LoadBalancers.1.AvailabilityZones";

/// What was chosen is not told as if it had been asked for: Terraform would take it for a change.
///
/// req: ZN-05, ZN-06, LB-20
#[test]
fn addresses_are_told_as_they_were_asked_for() {
    let mut bench = bench();
    let keys = |said: &[String]| -> Vec<String> {
        let start = format!("{ZONES}.1.LoadBalancerAddresses.1.");
        said.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
    };
    let chosen = bench.ok("CreateLoadBalancer", "Name=chosen Type=network Subnets.1=subnet-a Subnets.2=subnet-b");
    assert_eq!(value(&chosen, "LoadBalancers.1.VpcId"), "vpc-1");
    assert_eq!(value(&chosen, &format!("{ZONES}.2.SubnetId")), "subnet-b");
    assert!(keys(&chosen).iter().all(|line| line.starts_with("IpAddress=10.1.1.")), "{chosen:#?}");
    assert_eq!(keys(&chosen).len(), 1);
    let given = "Name=given Scheme=internal SubnetMappings.1.SubnetId=subnet-a";
    let given = bench.ok("CreateLoadBalancer", &format!("{given} SubnetMappings.1.PrivateIPv4Address=10.1.1.50"));
    assert_eq!(keys(&given), ["IpAddress=10.1.1.50", "PrivateIPv4Address=10.1.1.50"]);
    let fixed = "Name=fixed SubnetMappings.1.SubnetId=subnet-a SubnetMappings.1.AllocationId=eipalloc-1";
    assert_eq!(keys(&bench.ok("CreateLoadBalancer", fixed)), ["IpAddress=192.0.2.10", "AllocationId=eipalloc-1"]);
    let six = "Name=six IpAddressType=dualstack SubnetMappings.1.SubnetId=subnet-a";
    let six = bench.ok("CreateLoadBalancer", &format!("{six} SubnetMappings.1.IPv6Address=fd00:1:0:1::5"));
    assert!(keys(&six).contains(&"IPv6Address=fd00:1:0:1::5".to_owned()), "{six:#?}");
    // Asking for the same again gives the same one.
    assert_eq!(bench.ok("CreateLoadBalancer", "Name=chosen Subnets.1=subnet-b Subnets.2=subnet-a"), chosen);
    let (code, _) = bench.refused("CreateLoadBalancer", "Name=chosen Subnets.1=subnet-a");
    assert_eq!(code.name(), "DuplicateLoadBalancerName");
}

/// req: ZN-02, ZN-03, IPT-03
#[test]
fn subnets_and_address_types_are_changed() {
    let mut bench = bench();
    let said = bench.ok("CreateLoadBalancer", "Name=web Subnets.1=subnet-a");
    let arn = format!("LoadBalancerArn={}", value(&said, "LoadBalancers.1.LoadBalancerArn"));
    let said = bench.ok("SetSubnets", &format!("{arn} Subnets.1=subnet-a Subnets.2=subnet-b"));
    let zones = ["AvailabilityZones.1.ZoneName", "AvailabilityZones.2.ZoneName"].map(|path| value(&said, path));
    assert_eq!(zones, ["zone-a", "zone-b"]);
    assert_eq!(value(&said, "IpAddressType"), "ipv4");
    let (_, message) = bench.refused("SetSubnets", &format!("{arn} Subnets.1=subnet-b"));
    assert!(message.contains("zone-a"), "{message}");
    assert_eq!(bench.refused("SetSubnets", &format!("{arn} Subnets.1=no")).0.name(), "SubnetNotFound");
    for kind in ["dualstack", "ipv4"] {
        let said = bench.ok("SetIpAddressType", &format!("{arn} IpAddressType={kind}"));
        assert_eq!(said, [format!("IpAddressType={kind}")]);
    }
}

/// A Classic load balancer's traffic is carried by a load balancer and a target group that are neither shown nor found, nor deleted.
///
/// req: CLB-01
#[test]
fn what_carries_a_classic_load_balancer_is_not_shown() {
    let mut bench = bench();
    let listener = "Listeners.1.Protocol=TCP Listeners.1.LoadBalancerPort=80 Listeners.1.InstancePort=80";
    bench.classic("CreateLoadBalancer", &format!("LoadBalancerName=old Subnets.1=subnet-a {listener}"));
    let model = &bench.model;
    let lb = model.load_balancers().next().expect("what carries it");
    let group = model.target_groups().next().expect("what carries it");
    let (lb, listener) = (model.show_load_balancer(lb).arn, model.listeners().next().expect("a listener"));
    let (listener, group) = (model.listener_arn(listener), model.show_target_group(group).arn);
    for (action, list) in [("DescribeLoadBalancers", "LoadBalancers"), ("DescribeTargetGroups", "TargetGroups")] {
        assert_eq!(bench.ok(action, ""), [format!("{list}[]")]);
    }
    let before = bench.model.clone();
    for (action, form) in [
        ("DescribeLoadBalancers", format!("LoadBalancerArns.1={lb}")),
        ("DescribeLoadBalancers", "Names.1=old".into()),
        ("DescribeListeners", format!("LoadBalancerArn={lb}")),
        ("DescribeListeners", format!("ListenerArns.1={listener}")),
        ("ModifyListener", format!("ListenerArn={listener} Port=81")),
        ("DeleteListener", format!("ListenerArn={listener}")),
        ("DescribeTags", format!("ResourceArns.1={lb}")),
        ("AddTags", format!("ResourceArns.1={group} Tags.1.Key=a")),
        ("DescribeTargetHealth", format!("TargetGroupArn={group}")),
        ("SetIpAddressType", format!("LoadBalancerArn={lb} IpAddressType=ipv4")),
    ] {
        let (code, _) = bench.refused(action, &form);
        assert!(code.name().ends_with("NotFound"), "{action} {form}");
    }
    bench.ok("DeleteLoadBalancer", &format!("LoadBalancerArn={lb}"));
    bench.ok("DeleteTargetGroup", &format!("TargetGroupArn={group}"));
    assert!(bench.model == before);
}

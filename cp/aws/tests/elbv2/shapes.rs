//! Answers in full: what AWS's clients find in them.

use crate::bench::{Bench, forward, group, lb, listener, value};

/// req: LB-20, DNS-12
#[test]
fn a_load_balancer_tells_all_of_itself() {
    let mut bench = Bench::serving();
    let said = bench.ok("DescribeLoadBalancers", "");
    let state = value(&said, "LoadBalancers.1.State.Reason").to_owned();
    assert!(state.contains("without a data plane"), "{state}");
    let expected = [
        format!("LoadBalancers.1.LoadBalancerArn={}", lb(1)),
        "LoadBalancers.1.DNSName=web-0000000000000001.elb.on-prem-1.leat.internal".into(),
        "LoadBalancers.1.CanonicalHostedZoneId=ZLEAT000000000".into(),
        "LoadBalancers.1.CreatedTime=2023-11-14T22:13:20.007Z".into(),
        "LoadBalancers.1.LoadBalancerName=web".into(),
        "LoadBalancers.1.Scheme=internet-facing".into(),
        "LoadBalancers.1.State.Code=active".into(),
        format!("LoadBalancers.1.State.Reason={state}"),
        "LoadBalancers.1.Type=network".into(),
        "LoadBalancers.1.AvailabilityZones.1.ZoneName=zone-a".into(),
        "LoadBalancers.1.AvailabilityZones.1.LoadBalancerAddresses.1.IpAddress=10.1.0.10".into(),
        "LoadBalancers.1.IpAddressType=ipv4".into(),
    ];
    assert_eq!(said, expected);
    let arn = format!("LoadBalancerArns.1={}", lb(1));
    for form in ["Names.1=web", "Names.1=web Names.2=web", &arn] {
        assert_eq!(bench.ok("DescribeLoadBalancers", form), expected, "{form}");
    }
}

/// req: TG-03, TG-12, TG-15, HC-04, HC-05, HC-06, HC-07
#[test]
fn a_target_group_tells_all_of_itself() {
    let mut bench = Bench::new();
    let said = bench.ok("CreateTargetGroup", "Name=web Protocol=TCP Port=80 TargetType=ip");
    let expected = [
        format!("TargetGroups.1.TargetGroupArn={}", group("web", 1)),
        "TargetGroups.1.TargetGroupName=web".into(),
        "TargetGroups.1.Protocol=TCP".into(),
        "TargetGroups.1.Port=80".into(),
        "TargetGroups.1.HealthCheckProtocol=TCP".into(),
        "TargetGroups.1.HealthCheckPort=traffic-port".into(),
        "TargetGroups.1.HealthCheckEnabled=true".into(),
        "TargetGroups.1.HealthCheckIntervalSeconds=30".into(),
        "TargetGroups.1.HealthCheckTimeoutSeconds=10".into(),
        "TargetGroups.1.HealthyThresholdCount=5".into(),
        "TargetGroups.1.UnhealthyThresholdCount=2".into(),
        "TargetGroups.1.LoadBalancerArns[]".into(),
        "TargetGroups.1.TargetType=ip".into(),
        "TargetGroups.1.IpAddressType=ipv4".into(),
    ];
    assert_eq!(said, expected);
    assert_eq!(bench.ok("DescribeTargetGroups", "Names.1=web"), expected);
    let arn = group("web", 1);
    let said = bench.ok(
        "ModifyTargetGroup",
        &format!(
            "TargetGroupArn={arn} HealthCheckProtocol=HTTP HealthCheckPort=8081 HealthCheckEnabled=true \
             HealthCheckIntervalSeconds=10 HealthCheckTimeoutSeconds=5 HealthyThresholdCount=3 \
             UnhealthyThresholdCount=4 HealthCheckPath=/up Matcher.HttpCode=200-299"
        ),
    );
    for line in [
        "HealthCheckProtocol=HTTP",
        "HealthCheckPort=8081",
        "HealthCheckIntervalSeconds=10",
        "HealthCheckTimeoutSeconds=5",
        "HealthyThresholdCount=3",
        "UnhealthyThresholdCount=4",
        "HealthCheckPath=/up",
        "Matcher.HttpCode=200-299",
    ] {
        assert!(said.contains(&format!("TargetGroups.1.{line}")), "{line} in {said:#?}");
    }
    assert_eq!(bench.ok("DescribeTargetGroups", ""), said);
    // The type is AWS's default unless given.
    let said = bench.ok("CreateTargetGroup", "Name=i Protocol=TCP Port=80 ProtocolVersion=HTTP1");
    assert_eq!(value(&said, "TargetGroups.1.TargetType"), "instance");
    assert_eq!(value(&said, "TargetGroups.1.ProtocolVersion"), "HTTP1");
}

/// req: LSN-04, LSN-09, LSN-12, LSN-13
#[test]
fn a_listener_tells_all_of_itself() {
    let mut bench = Bench::serving();
    let lines = |port: u16, group_id: u64| {
        let target_group = group("web", group_id);
        [
            format!("Listeners.1.ListenerArn={}", listener(1, 3)),
            format!("Listeners.1.LoadBalancerArn={}", lb(1)),
            format!("Listeners.1.Port={port}"),
            "Listeners.1.Protocol=TCP".into(),
            "Listeners.1.DefaultActions.1.Type=forward".into(),
            format!("Listeners.1.DefaultActions.1.TargetGroupArn={target_group}"),
            format!("Listeners.1.DefaultActions.1.ForwardConfig.TargetGroups.1.TargetGroupArn={target_group}"),
            "Listeners.1.DefaultActions.1.ForwardConfig.TargetGroups.1.Weight=1".into(),
        ]
    };
    let (by_lb, by_arn) = (format!("LoadBalancerArn={}", lb(1)), format!("ListenerArns.1={}", listener(1, 3)));
    assert_eq!(bench.ok("DescribeListeners", &by_lb), lines(80, 2));
    assert_eq!(bench.ok("DescribeListeners", &by_arn), lines(80, 2));
    assert_eq!(bench.ok("ModifyListener", &format!("ListenerArn={} Port=81", listener(1, 3))), lines(81, 2));
    assert_eq!(bench.ok("DescribeListeners", &by_arn), lines(81, 2));
    let said = bench.ok("DescribeTargetGroups", &by_lb);
    assert_eq!(value(&said, "TargetGroups.1.LoadBalancerArns.1"), lb(1));
    bench.ok("CreateListener", &format!("LoadBalancerArn={} Protocol=TCP Port=82 {}", lb(1), forward(2)));
    assert_eq!(bench.ok("DescribeTargetGroups", &by_lb), said, "one group of two listeners");
    bench.ok("DeleteListener", &format!("ListenerArn={}", listener(1, 3)));
    let left = bench.ok("DescribeListeners", &by_lb);
    assert_eq!(value(&left, "Listeners.1.Port"), "82");
    assert!(left.iter().all(|line| line.starts_with("Listeners.1.")));
}

/// req: LSN-04
#[test]
fn a_target_group_is_named_in_either_way() {
    let mut bench = Bench::serving();
    let config = format!(
        "DefaultActions.1.Type=forward DefaultActions.1.Order=1 \
         DefaultActions.1.ForwardConfig.TargetGroups.1.TargetGroupArn={} \
         DefaultActions.1.ForwardConfig.TargetGroups.1.Weight=1 \
         DefaultActions.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=false",
        group("web", 2)
    );
    for (port, actions) in [(81, config.clone()), (82, format!("{config} {}", forward(2)))] {
        let said = bench.ok("CreateListener", &format!("LoadBalancerArn={} Protocol=TCP Port={port} {actions}", lb(1)));
        assert_eq!(value(&said, "Listeners.1.DefaultActions.1.TargetGroupArn"), group("web", 2));
    }
}

/// req: ATT-13, ATT-14, LB-14, LB-15
#[test]
fn attributes_are_told_with_their_defaults() {
    let mut bench = Bench::serving();
    for (kind, parameter, key, default, new) in [
        ("LoadBalancer", format!("LoadBalancerArn={}", lb(1)), "load_balancing.cross_zone.enabled", "false", "true"),
        ("Listener", format!("ListenerArn={}", listener(1, 3)), "tcp.idle_timeout.seconds", "350", "400"),
        (
            "TargetGroup",
            format!("TargetGroupArn={}", group("web", 2)),
            "deregistration_delay.timeout_seconds",
            "300",
            "60",
        ),
    ] {
        let of = |said: &[String]| {
            let at = said.iter().position(|line| line.ends_with(&format!(".Key={key}"))).expect(key);
            said[at + 1].split_once("Value=").expect("a value").1.to_owned()
        };
        let (describe, modify) = (format!("Describe{kind}Attributes"), format!("Modify{kind}Attributes"));
        let before = bench.ok(&describe, &parameter);
        assert_eq!(of(&before), default, "{kind}");
        let said = bench.ok(&modify, &format!("{parameter} Attributes.1.Key={key} Attributes.1.Value={new}"));
        assert_eq!(of(&said), new, "{kind}");
        assert_eq!(said.len(), before.len());
        assert_eq!(bench.ok(&describe, &parameter), said);
        let both = format!(
            "{parameter} Attributes.1.Key={key} Attributes.1.Value={default} Attributes.2.Key=no.such Attributes.2.Value=1"
        );
        let (_, message) = bench.refused(&modify, &both);
        assert!(message.contains("attribute key 'no.such' is not recognized"), "{message}");
        bench.refused(&modify, &parameter);
    }
}

/// req: TAG-01, TAG-06, TAG-07, TAG-08
#[test]
fn tags_are_put_on_changed_told_and_removed() {
    let mut bench = Bench::serving();
    let arns = [lb(1), listener(1, 3), group("web", 2)];
    let resources: String = arns.iter().zip(1..).map(|(arn, n)| format!(" ResourceArns.{n}={arn}")).collect();
    let empty: Vec<String> = arns
        .iter()
        .zip(1..)
        .flat_map(|(arn, n)| [format!("TagDescriptions.{n}.ResourceArn={arn}"), format!("TagDescriptions.{n}.Tags[]")])
        .collect();
    assert_eq!(bench.ok("DescribeTags", &resources), empty);
    let tags = "Tags.1.Key=k Tags.1.Value=1 Tags.2.Key=e";
    assert_eq!(bench.ok("AddTags", &format!("{tags} {resources}")), Vec::<String>::new());
    bench.ok("AddTags", &format!("Tags.1.Key=k Tags.1.Value=2 {resources}"));
    let said = bench.ok("DescribeTags", &resources);
    for n in 1..=3 {
        assert_eq!(value(&said, &format!("TagDescriptions.{n}.Tags.1.Key")), "e");
        assert_eq!(value(&said, &format!("TagDescriptions.{n}.Tags.1.Value")), "");
        assert_eq!(value(&said, &format!("TagDescriptions.{n}.Tags.2.Value")), "2");
    }
    bench.ok("RemoveTags", &format!("TagKeys.1=e TagKeys.2=k TagKeys.3=absent {resources}"));
    assert_eq!(bench.ok("DescribeTags", &resources), empty);
    let many: String = (1..=21).map(|n| format!(" ResourceArns.{n}={}", lb(1))).collect();
    bench.refused("DescribeTags", &many);
    let said = bench.ok("CreateTargetGroup", "Name=t Protocol=TCP Port=1 TargetType=ip Tags.1.Key=a Tags.1.Value=b");
    let arn = value(&said, "TargetGroups.1.TargetGroupArn").to_owned();
    let said = bench.ok("DescribeTags", &format!("ResourceArns.1={arn}"));
    assert_eq!(value(&said, "TagDescriptions.1.Tags.1.Key"), "a");
}

/// req: TLS-12, TLS-13
#[test]
fn policies_are_told_with_versions_and_ciphers() {
    let mut bench = Bench::new();
    let all = bench.ok("DescribeSSLPolicies", "");
    let names: Vec<&str> =
        all.iter().filter(|line| line.contains(".Name=ELBSecurityPolicy-")).map(String::as_str).collect();
    assert_eq!(names.len(), 18);
    assert_eq!(names[0], "SslPolicies.1.Name=ELBSecurityPolicy-2016-08", "the default is the first");
    let said = bench.ok("DescribeSSLPolicies", "Names.1=ELBSecurityPolicy-TLS13-1-2-Res-2021-06");
    let policy = "SslPolicies.1";
    let mut expected = vec![format!("{policy}.SslProtocols.1=TLSv1.2"), format!("{policy}.SslProtocols.2=TLSv1.3")];
    let ciphers = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ];
    for (cipher, n) in ciphers.iter().zip(1..) {
        expected.push(format!("{policy}.Ciphers.{n}.Name={cipher}"));
        expected.push(format!("{policy}.Ciphers.{n}.Priority={n}"));
    }
    expected.push(format!("{policy}.Name=ELBSecurityPolicy-TLS13-1-2-Res-2021-06"));
    expected.push(format!("{policy}.SupportedLoadBalancerTypes.1=application"));
    expected.push(format!("{policy}.SupportedLoadBalancerTypes.2=network"));
    assert_eq!(said, expected);
    assert_eq!(bench.ok("DescribeSSLPolicies", "LoadBalancerType=network"), all);
    assert_eq!(bench.ok("DescribeSSLPolicies", "LoadBalancerType=gateway"), ["SslPolicies[]"]);
}

/// req: QTA-12
#[test]
fn quotas_are_told() {
    let said = Bench::new().ok("DescribeAccountLimits", "");
    for (name, max) in [
        ("network-load-balancers", "50"),
        ("listeners-per-network-load-balancer", "50"),
        ("targets-per-network-load-balancer", "3000"),
        ("targets-per-availability-zone-per-network-load-balancer", "500"),
        ("target-groups", "3000"),
        ("targets-per-target-group", "1000"),
        ("certificates-per-network-load-balancer", "25"),
        ("network-load-balancer-enis-per-vpc", "1200"),
        ("target-groups-per-action-on-network-load-balancer", "1"),
    ] {
        let at = said.iter().position(|line| line.ends_with(&format!(".Name={name}"))).expect(name);
        assert!(said[at + 1].ends_with(&format!(".Max={max}")), "{}", said[at + 1]);
    }
}

#[test]
fn capacity_is_kept_and_told() {
    let mut bench = Bench::serving();
    let arn = format!("LoadBalancerArn={}", lb(1));
    let none = bench.ok("DescribeCapacityReservation", &arn);
    assert_eq!(none, ["DecreaseRequestsRemaining=2", "CapacityReservationState[]"]);
    let said = bench.ok("ModifyCapacityReservation", &format!("{arn} MinimumLoadBalancerCapacity.CapacityUnits=3000"));
    assert_eq!(
        said,
        [
            "LastModifiedTime=2023-11-14T22:13:20.007Z",
            "DecreaseRequestsRemaining=2",
            "MinimumLoadBalancerCapacity.CapacityUnits=3000",
            "CapacityReservationState.1.State.Code=provisioned",
            "CapacityReservationState.1.AvailabilityZone=zone-a",
            "CapacityReservationState.1.EffectiveCapacityUnits=3000",
        ]
    );
    assert_eq!(bench.ok("DescribeCapacityReservation", &arn), said);
    assert_eq!(bench.ok("ModifyCapacityReservation", &format!("{arn} ResetCapacityReservation=true")), none);
    for wrong in ["", "MinimumLoadBalancerCapacity.CapacityUnits=0", "ResetCapacityReservation=false"] {
        bench.refused("ModifyCapacityReservation", &format!("{arn} {wrong}"));
    }
}

/// Load balancers have no security groups; a client that asks for none may.
///
/// req: SEC-01
#[test]
fn security_groups_are_refused_unless_there_are_none() {
    let mut bench = Bench::serving();
    let arn = format!("LoadBalancerArn={}", lb(1));
    assert_eq!(bench.ok("SetSecurityGroups", &format!("{arn} SecurityGroups=")), ["SecurityGroupIds[]"]);
    for (action, form) in [
        ("SetSecurityGroups", format!("{arn} SecurityGroups.1=sg-1")),
        ("CreateLoadBalancer", "Name=x Type=network Subnets.1=s SecurityGroups.1=sg-1".into()),
    ] {
        let (code, message) = bench.refused(action, &form);
        assert_eq!(code.name(), "InvalidConfigurationRequest");
        assert_eq!(message, "Security groups are not supported for load balancers with type 'network'");
    }
}

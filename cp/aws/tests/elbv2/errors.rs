//! What is refused, with which code, and nothing is changed.

use leat_aws::Service;
use leat_aws::operation;

use crate::bench::{Bench, START, forward, group, lb, listener};

/// Every operation of the API but those on rules, as its model lists them.
pub const OPERATIONS: &[&str] = &[
    "AddListenerCertificates",
    "AddTags",
    "AddTrustStoreRevocations",
    "CreateListener",
    "CreateLoadBalancer",
    "CreateTargetGroup",
    "CreateTrustStore",
    "DeleteListener",
    "DeleteLoadBalancer",
    "DeleteSharedTrustStoreAssociation",
    "DeleteTargetGroup",
    "DeleteTrustStore",
    "DeregisterTargets",
    "DescribeAccountLimits",
    "DescribeCapacityReservation",
    "DescribeListenerAttributes",
    "DescribeListenerCertificates",
    "DescribeListeners",
    "DescribeLoadBalancerAttributes",
    "DescribeLoadBalancers",
    "DescribeSSLPolicies",
    "DescribeTags",
    "DescribeTargetGroupAttributes",
    "DescribeTargetGroups",
    "DescribeTargetHealth",
    "DescribeTrustStoreAssociations",
    "DescribeTrustStoreRevocations",
    "DescribeTrustStores",
    "GetResourcePolicy",
    "GetTrustStoreCaCertificatesBundle",
    "GetTrustStoreRevocationContent",
    "ModifyCapacityReservation",
    "ModifyIpPools",
    "ModifyListener",
    "ModifyListenerAttributes",
    "ModifyLoadBalancerAttributes",
    "ModifyTargetGroup",
    "ModifyTargetGroupAttributes",
    "ModifyTrustStore",
    "RegisterTargets",
    "RemoveListenerCertificates",
    "RemoveTags",
    "RemoveTrustStoreRevocations",
    "SetIpAddressType",
    "SetSecurityGroups",
    "SetSubnets",
];

/// Each one is there, and says what is missing of an empty request, or has an answer; the bench parses the XML.
#[test]
fn every_operation_is_known_and_answers_in_xml() {
    let mut bench = Bench::serving();
    for name in OPERATIONS {
        let operation = operation::of_query("2015-12-01", name).expect(name);
        assert_eq!(operation.service, Service::ElbV2);
        if let Err((code, message)) = bench.call(name, "") {
            assert_eq!(code.name(), "ValidationError", "{name}: {message}");
        }
    }
    assert_eq!(operation::of_query("2015-12-01", "NoSuch").err().expect("unknown").code.name(), "InvalidAction");
}

/// req: LSN-01, LSN-04, LB-22, QTA-05, TG-04, TG-01, ERR-10
#[test]
fn values_that_cannot_be_are_refused() {
    let mut bench = Bench::serving();
    let (web, action) = (format!("LoadBalancerArn={}", lb(1)), forward(2));
    let (arn, on) = (group("web", 2), format!("LoadBalancerArn={} Protocol=TCP Port=81", lb(1)));
    let group_form = "Name=x Protocol=TCP Port=80 TargetType=ip";
    let config = "DefaultActions.1.Type=forward DefaultActions.1.ForwardConfig.TargetGroups";
    for (action, form, code, text) in [
        ("CreateLoadBalancer", "Type=network Subnets.1=s", "ValidationError", "Value null at 'name'"),
        ("CreateLoadBalancer", "Name=x Type=gateway Subnets.1=s", "InvalidConfigurationRequest", "'gateway'"),
        ("CreateLoadBalancer", "Name=x Type=other Subnets.1=s", "ValidationError", "[application, network, gateway]"),
        ("CreateLoadBalancer", "Name=x Scheme=public Subnets.1=s", "ValidationError", "[internet-facing, internal]"),
        ("CreateLoadBalancer", "Name=x IpAddressType=ipv6 Subnets.1=s", "ValidationError", "[ipv4, dualstack]"),
        ("CreateLoadBalancer", "Name=x", "ValidationError", "subnet"),
        ("CreateLoadBalancer", "Name=x Subnets.1=s SubnetMappings.1.SubnetId=s", "ValidationError", "not both"),
        (
            "CreateLoadBalancer",
            "Name=x SubnetMappings.1.AllocationId=e",
            "ValidationError",
            "subnetMappings.1.member.subnetId",
        ),
        ("CreateLoadBalancer", "Name=x Subnets.1=s Tags.1.Key=a Tags.2.Key=a", "DuplicateTagKeys", "a"),
        ("CreateLoadBalancer", "Name=x Subnets.1=s IpamPools.Ipv4IpamPoolId=p", "InvalidConfigurationRequest", "IPAM"),
        (
            "CreateLoadBalancer",
            "Name=x Subnets.1=s EnablePrefixForIpv6SourceNat=on",
            "InvalidConfigurationRequest",
            "IPv6",
        ),
        ("CreateListener", &format!("{web} Protocol=TCP Port=81"), "ValidationError", "'defaultActions'"),
        ("CreateListener", &format!("{web} Port=81 {action}"), "ValidationError", "protocol must be specified"),
        ("CreateListener", &format!("{web} Protocol=TCP {action}"), "ValidationError", "port must be specified"),
        ("CreateListener", &format!("{web} Protocol=TCP Port=0 {action}"), "ValidationError", "Value '0' at 'port'"),
        ("CreateListener", &format!("{web} Protocol=TCP Port=65536 {action}"), "ValidationError", "65535"),
        (
            "CreateListener",
            &format!("{web} Protocol=SCTP Port=81 {action}"),
            "ValidationError",
            "enum value set: [HTTP",
        ),
        ("CreateListener", &format!("{web} Protocol=QUIC Port=81 {action}"), "UnsupportedProtocol", "TCP, TLS, UDP"),
        ("CreateListener", &format!("{on} {action} DefaultActions.2.Type=forward"), "TooManyActions", "1"),
        ("CreateListener", &format!("{on} DefaultActions.1.Type=redirect"), "InvalidLoadBalancerAction", "'redirect'"),
        ("CreateListener", &format!("{on} DefaultActions.1.Type=drop"), "ValidationError", "enum value set"),
        (
            "CreateListener",
            &format!("{on} DefaultActions.1.Order=1"),
            "ValidationError",
            "defaultActions.1.member.type",
        ),
        ("CreateListener", &format!("{on} DefaultActions.1.Type=forward"), "InvalidLoadBalancerAction", "target group"),
        (
            "CreateListener",
            &format!("{on} DefaultActions.1.Type=forward DefaultActions.1.TargetGroupArn=web"),
            "ValidationError",
            "'web' is not a valid target group ARN",
        ),
        (
            "CreateListener",
            &format!("{on} DefaultActions.1.Type=forward DefaultActions.1.TargetGroupArn={}", group("no", 9)),
            "TargetGroupNotFound",
            "One or more target groups not found",
        ),
        (
            "CreateListener",
            &format!("{on} {config}.1.TargetGroupArn={arn} {config}.2.TargetGroupArn={arn}"),
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            "one",
        ),
        (
            "CreateListener",
            &format!("{on} {action} {config}.1.TargetGroupArn={}", group("no", 9)),
            "InvalidLoadBalancerAction",
            "same",
        ),
        (
            "CreateListener",
            &format!("{on} {config}.1.TargetGroupArn={arn} {config}.1.Weight=1000"),
            "ValidationError",
            "999",
        ),
        (
            "CreateListener",
            &format!("{on} {action} MutualAuthentication.Mode=verify"),
            "InvalidConfigurationRequest",
            "Mutual",
        ),
        (
            "CreateListener",
            &format!("{on} {action} Certificates.1.CertificateArn=a Certificates.2.CertificateArn=b"),
            "ValidationError",
            "one certificate",
        ),
        (
            "CreateListener",
            &format!(
                "{web} Protocol=TCP Port=80 DefaultActions.1.Type=forward DefaultActions.1.TargetGroupArn={arn} Tags.1.Key=a Tags.2.Key=a"
            ),
            "DuplicateTagKeys",
            "a",
        ),
        ("CreateTargetGroup", "Protocol=TCP Port=80", "ValidationError", "Value null at 'name'"),
        ("CreateTargetGroup", "Name=x Port=80", "ValidationError", "protocol must be specified"),
        ("CreateTargetGroup", "Name=x Protocol=TCP", "ValidationError", "port must be specified"),
        ("CreateTargetGroup", "Name=x Protocol=GENEVE Port=80", "ValidationError", "'GENEVE' must be one of"),
        ("CreateTargetGroup", "Name=x Protocol=TCP Port=80 TargetType=lambda", "ValidationError", "'lambda'"),
        (
            "CreateTargetGroup",
            "Name=x Protocol=TCP Port=80 TargetType=pod",
            "ValidationError",
            "[instance, ip, lambda, alb]",
        ),
        (
            "CreateTargetGroup",
            &format!("{group_form} HealthCheckProtocol=UDP"),
            "ValidationError",
            "'HTTP, HTTPS, TCP'",
        ),
        ("CreateTargetGroup", &format!("{group_form} HealthCheckPort=http"), "ValidationError", "traffic-port"),
        ("CreateTargetGroup", &format!("{group_form} HealthCheckEnabled=false"), "ValidationError", "must be true"),
        (
            "CreateTargetGroup",
            &format!("{group_form} HealthCheckIntervalSeconds=4"),
            "ValidationError",
            "'4' at 'healthCheckIntervalSeconds'",
        ),
        ("CreateTargetGroup", &format!("{group_form} HealthyThresholdCount=11"), "ValidationError", "10"),
        ("CreateTargetGroup", &format!("{group_form} Matcher.GrpcCode=0"), "InvalidConfigurationRequest", "gRPC"),
        ("CreateTargetGroup", &format!("{group_form} IpAddressType=ipv5"), "ValidationError", "[ipv4, ipv6]"),
        ("CreateTargetGroup", "Name=web Protocol=TCP Port=81 TargetType=ip", "DuplicateTargetGroupName", "web"),
        ("RegisterTargets", &format!("TargetGroupArn={arn}"), "ValidationError", "Value null at 'targets'"),
        (
            "RegisterTargets",
            &format!("TargetGroupArn={arn} Targets.1.Port=1"),
            "ValidationError",
            "targets.1.member.id",
        ),
        ("RegisterTargets", &format!("TargetGroupArn={arn} Targets.1.Id=8.8.8.8"), "InvalidTarget", "8.8.8.8"),
        (
            "DescribeTargetHealth",
            &format!("TargetGroupArn={arn} Include.1=Nothing"),
            "ValidationError",
            "AnomalyDetection",
        ),
        ("DescribeSSLPolicies", "Names.1=mine", "SSLPolicyNotFound", "mine"),
        ("DescribeSSLPolicies", "LoadBalancerType=classic", "ValidationError", "enum value set"),
        ("DescribeLoadBalancers", "PageSize=0", "ValidationError", "'0' at 'pageSize'"),
        ("DescribeLoadBalancers", "Marker=web", "ValidationError", "marker"),
        ("DescribeTargetGroups", "Names.1=a TargetGroupArns.1=b", "ValidationError", "one of"),
        ("DescribeLoadBalancers", "Names.1=a LoadBalancerArns.1=b", "ValidationError", "same time"),
        ("DescribeListeners", "", "ValidationError", "either listener ARNs or a load balancer ARN"),
        ("SetIpAddressType", &web, "ValidationError", "'ipAddressType'"),
        ("SetSecurityGroups", &web, "ValidationError", "'securityGroups'"),
        ("SetSubnets", &web, "ValidationError", "subnet"),
        ("AddTags", &format!("ResourceArns.1={}", lb(1)), "ValidationError", "'tags'"),
        ("RemoveTags", &format!("ResourceArns.1={}", lb(1)), "ValidationError", "'tagKeys'"),
    ] {
        let (given, message) = bench.refused(action, form);
        assert_eq!(given.name(), code, "{action} {form}: {message}");
        assert!(message.contains(text), "{action} {form}: {message} lacks {text}");
    }
}

/// req: ERR-10, LB-06, LB-07
#[test]
fn what_is_not_there_is_told_from_what_is_no_arn() {
    let mut bench = Bench::serving();
    for (action, key, right, kind) in [
        ("DescribeLoadBalancers", "LoadBalancerArns.1", lb(9), "load balancer"),
        ("DescribeListeners", "LoadBalancerArn", lb(9), "load balancer"),
        ("DescribeTargetGroups", "LoadBalancerArn", lb(9), "load balancer"),
        ("DescribeLoadBalancerAttributes", "LoadBalancerArn", lb(9), "load balancer"),
        ("ModifyLoadBalancerAttributes", "LoadBalancerArn", lb(9), "load balancer"),
        ("DescribeCapacityReservation", "LoadBalancerArn", lb(9), "load balancer"),
        ("ModifyCapacityReservation", "LoadBalancerArn", lb(9), "load balancer"),
        ("ModifyIpPools", "LoadBalancerArn", lb(9), "load balancer"),
        ("SetSubnets", "LoadBalancerArn", lb(9), "load balancer"),
        ("SetIpAddressType", "LoadBalancerArn", lb(9), "load balancer"),
        ("SetSecurityGroups", "LoadBalancerArn", lb(9), "load balancer"),
        ("CreateListener", "LoadBalancerArn", lb(9), "load balancer"),
        ("DescribeListeners", "ListenerArns.1", listener(1, 9), "listener"),
        ("ModifyListener", "ListenerArn", listener(1, 9), "listener"),
        ("DeleteListener", "ListenerArn", listener(9, 3), "listener"),
        ("DescribeListenerAttributes", "ListenerArn", listener(1, 9), "listener"),
        ("ModifyListenerAttributes", "ListenerArn", listener(1, 9), "listener"),
        ("DescribeListenerCertificates", "ListenerArn", listener(1, 9), "listener"),
        ("AddListenerCertificates", "ListenerArn", listener(1, 9), "listener"),
        ("RemoveListenerCertificates", "ListenerArn", listener(1, 9), "listener"),
        ("DescribeTargetGroups", "TargetGroupArns.1", group("web", 9), "target group"),
        ("ModifyTargetGroup", "TargetGroupArn", group("other", 2), "target group"),
        ("DescribeTargetGroupAttributes", "TargetGroupArn", group("web", 9), "target group"),
        ("ModifyTargetGroupAttributes", "TargetGroupArn", group("web", 9), "target group"),
        ("RegisterTargets", "TargetGroupArn", group("web", 9), "target group"),
        ("DeregisterTargets", "TargetGroupArn", group("web", 9), "target group"),
        ("DescribeTargetHealth", "TargetGroupArn", group("web", 9), "target group"),
    ] {
        let code = match kind {
            "load balancer" => "LoadBalancerNotFound",
            "listener" => "ListenerNotFound",
            _ => "TargetGroupNotFound",
        };
        let expected = (code.to_owned(), format!("One or more {kind}s not found"));
        let (given, message) = bench.refused(action, &format!("{key}={right}"));
        assert_eq!((given.name().to_owned(), message), expected, "{action}");
        let elsewhere = right.replace("on-prem-1", "us-east-1");
        for wrong in ["web", "arn:aws:s3:::bucket", &format!("{START}truststore/web/0000000000000001"), &elsewhere] {
            let (given, message) = bench.refused(action, &format!("{key}={wrong}"));
            assert_eq!(given.name(), "ValidationError", "{action} {wrong}");
            assert_eq!(message, format!("'{wrong}' is not a valid {kind} ARN"), "{action}");
        }
    }
    let (code, message) = bench.refused("DescribeLoadBalancers", "Names.1=web Names.2=gone");
    assert_eq!((code.name(), message.as_str()), ("LoadBalancerNotFound", "Load balancers '[gone]' not found"));
    assert_eq!(bench.refused("DescribeTargetGroups", "Names.1=gone").0.name(), "TargetGroupNotFound");
    for action in ["DeleteLoadBalancer", "DeleteTargetGroup"] {
        let key = action.replace("Delete", "");
        assert_eq!(bench.refused(action, &format!("{key}Arn=web")).0.name(), "ValidationError");
    }
    for (arn, code) in [
        (lb(9), "LoadBalancerNotFound"),
        (listener(1, 9), "ListenerNotFound"),
        (group("web", 9), "TargetGroupNotFound"),
        (format!("{START}truststore/x/0000000000000001"), "TrustStoreNotFound"),
        (format!("{START}listener-rule/net/web/0000000000000001/0000000000000003/0000000000000009"), "RuleNotFound"),
        ("web".to_owned(), "ValidationError"),
    ] {
        for (action, more) in [("DescribeTags", ""), ("AddTags", "Tags.1.Key=a"), ("RemoveTags", "TagKeys.1=a")] {
            let (given, message) = bench.refused(action, &format!("ResourceArns.1={arn} {more}"));
            assert_eq!(given.name(), code, "{action} {arn}: {message}");
        }
    }
}

/// What is not offered is refused with AWS's own errors, never as unknown.
#[test]
fn what_there_is_not_is_not_found() {
    let mut bench = Bench::serving();
    let store = format!("TrustStoreArn={START}truststore/x/0000000000000001");
    assert_eq!(bench.ok("DescribeTrustStores", ""), ["TrustStores[]"]);
    for (action, form, code) in [
        ("DescribeTrustStores", "Names.1=x", "TrustStoreNotFound"),
        ("DescribeTrustStoreAssociations", &store, "TrustStoreNotFound"),
        ("DescribeTrustStoreRevocations", &store, "TrustStoreNotFound"),
        ("GetTrustStoreCaCertificatesBundle", &store, "TrustStoreNotFound"),
        ("GetTrustStoreRevocationContent", &store, "TrustStoreNotFound"),
        ("AddTrustStoreRevocations", &store, "TrustStoreNotFound"),
        ("RemoveTrustStoreRevocations", &store, "TrustStoreNotFound"),
        ("ModifyTrustStore", &store, "TrustStoreNotFound"),
        ("DeleteTrustStore", &store, "TrustStoreNotFound"),
        ("DeleteSharedTrustStoreAssociation", &store, "TrustStoreNotFound"),
        ("DeleteTrustStore", "TrustStoreArn=x", "ValidationError"),
        (
            "CreateTrustStore",
            "Name=x CaCertificatesBundleS3Bucket=b CaCertificatesBundleS3Key=k",
            "OperationNotPermitted",
        ),
        ("GetResourcePolicy", &format!("ResourceArn={}", lb(1)), "ResourceNotFound"),
        ("ModifyIpPools", &format!("LoadBalancerArn={} RemoveIpamPools.1=ipv4", lb(1)), "OperationNotPermitted"),
    ] {
        let (given, message) = bench.refused(action, form);
        assert_eq!(given.name(), code, "{action} {form}: {message}");
    }
}

//! Whatever a form says, there is an answer or an error, and both are XML.

use leat_aws::Params;
use proptest::prelude::*;

use crate::bench::{Bench, group, lb, listener};
use crate::errors::OPERATIONS;

/// Parameters of all operations, with members of lists.
const KEYS: &[&str] = &[
    "Attributes.member.1.Key",
    "Attributes.member.1.Value",
    "AlpnPolicy.member.1",
    "Certificates.member.1.CertificateArn",
    "DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn",
    "DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.Weight",
    "DefaultActions.member.1.TargetGroupArn",
    "DefaultActions.member.1.Type",
    "DefaultActions.member.x.Type",
    "HealthCheckEnabled",
    "HealthCheckIntervalSeconds",
    "HealthCheckPort",
    "HealthCheckProtocol",
    "IpAddressType",
    "ListenerArn",
    "ListenerArns.member.1",
    "LoadBalancerArn",
    "LoadBalancerArns.member.1",
    "Marker",
    "Matcher.HttpCode",
    "MinimumLoadBalancerCapacity.CapacityUnits",
    "MutualAuthentication.Mode",
    "Name",
    "Names.member.1",
    "PageSize",
    "Port",
    "Protocol",
    "ResetCapacityReservation",
    "ResourceArns.member.1",
    "Scheme",
    "SecurityGroups.member.1",
    "SslPolicy",
    "SubnetMappings.member.1.SubnetId",
    "Subnets.member.1",
    "TagKeys.member.1",
    "Tags.member.1.Key",
    "Tags.member.1.Value",
    "TargetGroupArn",
    "TargetGroupArns.member.1",
    "TargetType",
    "Targets.member.1.AvailabilityZone",
    "Targets.member.1.Id",
    "Targets.member.1.Port",
    "TrustStoreArn",
    "Type",
];

fn value() -> impl Strategy<Value = String> {
    let words = [
        "",
        "0",
        "1",
        "80",
        "65535",
        "-1",
        "99999999999999999999",
        "true",
        "false",
        "TCP",
        "UDP",
        "TLS",
        "HTTP",
        "ip",
        "instance",
        "alb",
        "network",
        "application",
        "ipv4",
        "dualstack",
        "forward",
        "10.2.0.11",
        "fd00::1",
        "web",
        "traffic-port",
        "all",
        "deregistration_delay.timeout_seconds",
        "deletion_protection.enabled",
    ];
    let arns = [lb(1), listener(1, 3), group("web", 2), group("web", 9)];
    prop_oneof![
        3 => proptest::sample::select(words.map(str::to_owned).to_vec()),
        3 => proptest::sample::select(arns.to_vec()),
        1 => any::<String>(),
        1 => "[ -~]{0,300}",
    ]
}

proptest! {
    #[test]
    fn there_is_always_an_answer(
        calls in proptest::collection::vec(
            (
                proptest::sample::select(OPERATIONS),
                proptest::collection::vec((proptest::sample::select(KEYS), value()), 0..12),
            ),
            1..12,
        ),
    ) {
        let mut bench = Bench::serving();
        for (operation, pairs) in calls {
            let params = Params::new(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)));
            let _ = bench.call_params(operation, &params);
        }
    }
}

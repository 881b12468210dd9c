//! Attributes of target groups (ATT).

use super::{ANY, Attribute, Kind, Subject};
use crate::error::{Code, Error};
use crate::rest::{self, Protocol, TargetType};

/// Deregistration delay (ATT-01).
pub const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
/// Connections end with the deregistration delay (ATT-02).
pub const CONNECTION_TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
/// Which zones' targets a node uses (ATT-03); load balancers have an attribute of the same key (LB-13).
pub const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
/// Client IP preservation (ATT-04).
pub const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
/// PROXY protocol (ATT-05).
pub const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
/// Stickiness (ATT-06).
pub const STICKINESS: &str = "stickiness.enabled";
/// What makes clients the same (ATT-07).
pub const STICKINESS_TYPE: &str = "stickiness.type";
/// DNS failover by number (ATT-08).
pub const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
/// DNS failover by share (ATT-09).
pub const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";
/// Routing failover by number (ATT-10).
pub const HEALTHY_COUNT: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
/// Routing failover by share (ATT-11).
pub const HEALTHY_PERCENTAGE: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
/// Connections to unhealthy targets are ended.
pub const UNHEALTHY_TERMINATION: &str = "target_health_state.unhealthy.connection_termination.enabled";
/// How long unhealthy targets are called draining.
pub const UNHEALTHY_DRAINING: &str = "target_health_state.unhealthy.draining_interval_seconds";

/// The value of [`CROSS_ZONE`] that leaves it to the load balancer.
pub const AS_THE_LOAD_BALANCER: &str = "use_load_balancer_configuration";

const OFF: fn(Subject) -> Option<&'static str> = |_| Some("off");

/// Of groups of network load balancers only.
fn network(subject: Subject, default: &'static str) -> Option<&'static str> {
    matches!(subject, Subject::TargetGroup(protocol, _) if !protocol.is_application()).then_some(default)
}

/// Of groups without UDP, whose flows nobody could be told the end of.
fn connections(subject: Subject, default: &'static str) -> Option<&'static str> {
    let udp = matches!(subject, Subject::TargetGroup(protocol, _) if protocol.has_udp());
    network(subject, default).filter(|_| !udp)
}

/// The attributes of target groups.
pub const TARGET_GROUPS: &[Attribute] = &[
    Attribute {
        key: DEREGISTRATION_DELAY,
        kind: Kind::Seconds(0, 3600),
        default: |_| Some("300"),
        default_doc: "300",
        refusal: ANY,
        done: None,
        doc: "How long a deregistered target is `draining` before it is `unused`. Open flows go on meanwhile, and after that unless \
              they are to be terminated. A change counts for later deregistrations; running ones keep their deadline. Less than 120 is \
              warned of.",
    },
    Attribute {
        key: CONNECTION_TERMINATION,
        kind: Kind::Switch,
        default: |subject| network(subject, "false"),
        default_doc: "`false`",
        refusal: ANY,
        done: None,
        doc: "Whether the flows of a deregistered target end with the delay: TCP connections are reset at both ends. A change \
              counts for later deregistrations.",
    },
    Attribute {
        key: CROSS_ZONE,
        kind: Kind::Words(&["true", "false", AS_THE_LOAD_BALANCER]),
        default: |_| Some(AS_THE_LOAD_BALANCER),
        default_doc: "`use_load_balancer_configuration`",
        refusal: |subject, value| {
            let application = matches!(subject, Subject::TargetGroup(protocol, _) if protocol.is_application());
            (application && value == "true").then_some(
                "cross-zone load balancing of an application load balancer's group is off or as the load balancer says",
            )
        },
        done: None,
        doc: "Whether a node uses the targets of all enabled zones or those of its own zone. Targets whose zone is not known, or \
              `all`, are used by every node. A change counts for new flows.",
    },
    Attribute {
        key: PRESERVE_CLIENT_IP,
        kind: Kind::Switch,
        default: |subject| match subject {
            Subject::TargetGroup(Protocol::Tcp | Protocol::Tls, TargetType::Ip) => Some("false"),
            _ => network(subject, "true"),
        },
        default_doc: "`false` for TCP and TLS groups of addresses, else `true`",
        refusal: |subject, value| {
            let udp = matches!(subject, Subject::TargetGroup(protocol, _) if protocol.has_udp());
            (udp && value == "false")
                .then_some("client IP preservation cannot be switched off for UDP and TCP_UDP target groups")
        },
        done: None,
        doc: "Whether targets see the client's address and port (their answers must then come back through the appliance) or \
              the node's address. Without effect where client and targets have addresses of different kinds, and for clients of \
              endpoints: targets see the node's address. A change counts for new flows.",
    },
    Attribute {
        key: PROXY_PROTOCOL,
        kind: Kind::Switch,
        default: |subject| network(subject, "false"),
        default_doc: "`false`",
        refusal: |subject, value| {
            let tcp = matches!(subject, Subject::TargetGroup(protocol, _) if protocol.has_tcp());
            (!tcp && value == "true").then_some("PROXY protocol v2 is for TCP; this target group has UDP only")
        },
        done: None,
        doc: "Whether TCP connections begin with a PROXY protocol v2 header that names client and listener; health checks then \
              begin with one that names nobody. A TCP_UDP group's UDP flows have none. A change counts for new connections.",
    },
    Attribute {
        key: STICKINESS,
        kind: Kind::Switch,
        default: |subject| network(subject, "false"),
        default_doc: "`false`",
        refusal: |subject, value| {
            let tls = matches!(subject, Subject::TargetGroup(Protocol::Tls, _));
            (tls && value == "true").then_some("sticky sessions are not supported with TLS target groups")
        },
        done: None,
        doc: "Whether all flows of one client address and protocol go to one target. Not with TLS groups and TLS listeners. A change \
              counts for new flows.",
    },
    Attribute {
        key: STICKINESS_TYPE,
        kind: Kind::Words(&["source_ip"]),
        default: |subject| network(subject, "source_ip"),
        default_doc: "`source_ip`",
        refusal: ANY,
        done: None,
        doc: "What makes flows stick together: the client's address.",
    },
    Attribute {
        key: DNS_COUNT,
        kind: Kind::CountOrOff(1000),
        default: OFF,
        default_doc: "`off`",
        refusal: ANY,
        done: None,
        doc: "With fewer healthy targets than this, of those that a zone's node uses, DNS leaves out the zone's addresses, unless that is \
              so in all zones. It always does without any healthy target. Not less than the number below.",
    },
    Attribute {
        key: DNS_PERCENTAGE,
        kind: Kind::Percentage,
        default: OFF,
        default_doc: "`off`",
        refusal: ANY,
        done: None,
        doc: "As above, when the healthy targets are less than this share of those registered. Not less than the share below.",
    },
    Attribute {
        key: HEALTHY_COUNT,
        kind: Kind::Count(1, 1000),
        default: |_| Some("1"),
        default_doc: "1",
        refusal: ANY,
        done: None,
        doc: "With fewer healthy targets than this, of those that a node uses, the node's new flows go to all of them that are \
              registered, and flows of unhealthy ones go on.",
    },
    Attribute {
        key: HEALTHY_PERCENTAGE,
        kind: Kind::Percentage,
        default: OFF,
        default_doc: "`off`",
        refusal: ANY,
        done: None,
        doc: "As above, when the healthy targets are less than this share of those registered.",
    },
    Attribute {
        key: UNHEALTHY_TERMINATION,
        kind: Kind::Switch,
        default: |subject| connections(subject, "true"),
        default_doc: "`true`; TCP and TLS groups only",
        refusal: ANY,
        done: None,
        doc: "Whether connections to a target that becomes unhealthy are reset, or go on as long as the target answers. A change counts \
              at once.",
    },
    Attribute {
        key: UNHEALTHY_DRAINING,
        kind: Kind::Seconds(0, 360_000),
        default: |subject| connections(subject, "0"),
        default_doc: "0; TCP and TLS groups only",
        refusal: ANY,
        done: Some("0"),
        doc: "How long an unhealthy target whose connections go on is called `unhealthy.draining`: here it is called `unhealthy`.",
    },
];

/// What values do not go together: DNS failover that acts later than routing failover (TGH-05), a draining interval of connections
/// that are reset.
pub(super) fn check_together(subject: Subject, set: &rest::Attributes) -> Result<(), Error> {
    let wrong = |key: &str, message: String| {
        Err(Error::at(Code::InvalidConfigurationRequest, format!("attributes[{key}]"), message))
    };
    for (dns_key, routing_key) in [(DNS_COUNT, HEALTHY_COUNT), (DNS_PERCENTAGE, HEALTHY_PERCENTAGE)] {
        let number = |key| subject.value(set, key).parse::<u32>().ok();
        if let (Some(dns), Some(routing)) = (number(dns_key), number(routing_key))
            && dns < routing
        {
            let message = format!("{dns_key} is {dns}, less than {routing} of {routing_key}; give at least as much");
            return wrong(dns_key, message);
        }
    }
    let interval = subject.value(set, UNHEALTHY_DRAINING);
    if subject.value(set, UNHEALTHY_TERMINATION) == "true" && interval != "0" {
        let message =
            format!("an interval of {interval} seconds needs {UNHEALTHY_TERMINATION} false: connections are reset now");
        return wrong(UNHEALTHY_DRAINING, message);
    }
    Ok(())
}

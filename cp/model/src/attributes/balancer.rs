//! Attributes of load balancers (LB-08 to LB-15).

use super::{ANY, Attribute, CROSS_ZONE, Kind, Subject};
use crate::error::{Code, Error, Shown};
use crate::rest::{self, Scheme};

/// Access logs are written (LB-08).
pub const ACCESS_LOGS: &str = "access_logs.s3.enabled";
/// Where to (LB-09).
pub const ACCESS_LOGS_BUCKET: &str = "access_logs.s3.bucket";
/// Where in the bucket (LB-10).
pub const ACCESS_LOGS_PREFIX: &str = "access_logs.s3.prefix";
/// Deletion protection (LB-11).
pub const DELETION_PROTECTION: &str = "deletion_protection.enabled";
/// No IPv6 from the internet (LB-12).
pub const DENY_IPV6: &str = "ipv6.deny_all_igw_traffic";
/// Which zones' addresses clients get from DNS.
pub const CLIENT_ROUTING: &str = "dns_record.client_routing_policy";
/// Zonal shifts are allowed.
pub const ZONAL_SHIFT: &str = "zonal_shift.config.enabled";
/// Secondary addresses of each node.
pub const SECONDARY_ADDRESSES: &str = "secondary_ips.auto_assigned.per_subnet";

/// The attributes of load balancers.
pub const LOAD_BALANCERS: &[Attribute] = &[
    Attribute {
        key: ACCESS_LOGS,
        kind: Kind::Switch,
        default: |_| Some("false"),
        default_doc: "`false`",
        refusal: ANY,
        done: Some("false"),
        doc: "Whether TLS connections are logged; needs a bucket. There is nothing to log yet.",
    },
    Attribute {
        key: ACCESS_LOGS_BUCKET,
        kind: Kind::Text(63),
        default: |_| Some(""),
        default_doc: "empty",
        refusal: |_, value| {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            (!value.is_empty() && (value.len() < 3 || !value.chars().all(good)))
                .then_some("a bucket's name has 3 to 63 lower-case letters, digits, hyphens and dots")
        },
        done: None,
        doc: "Where access logs go.",
    },
    Attribute {
        key: ACCESS_LOGS_PREFIX,
        kind: Kind::Text(512),
        default: |_| Some(""),
        default_doc: "empty",
        refusal: |_, value| {
            value.contains("AWSLogs").then_some("the prefix of access logs must not contain \"AWSLogs\"")
        },
        done: None,
        doc: "What their names begin with; does not contain `AWSLogs`.",
    },
    Attribute {
        key: DELETION_PROTECTION,
        kind: Kind::Switch,
        default: |_| Some("false"),
        default_doc: "`false`",
        refusal: ANY,
        done: None,
        doc: "Whether the load balancer cannot be deleted.",
    },
    Attribute {
        key: DENY_IPV6,
        kind: Kind::Switch,
        default: |subject| Some(if subject == Subject::LoadBalancer(Scheme::Internal) { "true" } else { "false" }),
        default_doc: "`true` for internal ones, `false` for internet-facing ones",
        refusal: ANY,
        done: Some("false"),
        doc: "Whether IPv6 packets from ports that lead to the internet are dropped. For now none are; keep such packets away from \
              internal load balancers by other means.",
    },
    Attribute {
        key: CROSS_ZONE,
        kind: Kind::Switch,
        default: |_| Some("false"),
        default_doc: "`false`",
        refusal: ANY,
        done: None,
        doc: "Whether a node uses the targets of all enabled zones or those of its own zone, where a target group does not say. A \
              change counts for new flows.",
    },
    Attribute {
        key: CLIENT_ROUTING,
        kind: Kind::Words(&[
            "any_availability_zone",
            "availability_zone_affinity",
            "partial_availability_zone_affinity",
        ]),
        default: |_| Some("any_availability_zone"),
        default_doc: "`any_availability_zone`",
        refusal: ANY,
        done: Some("any_availability_zone"),
        doc: "Which zones' addresses clients get from DNS: all get those of all zones that serve, as the server is not told where \
              clients are.",
    },
    Attribute {
        key: ZONAL_SHIFT,
        kind: Kind::Switch,
        default: |_| Some("false"),
        default_doc: "`false`",
        refusal: ANY,
        done: Some("true"),
        doc: "Whether zonal shifts are allowed. They are, whatever it says.",
    },
    Attribute {
        key: SECONDARY_ADDRESSES,
        kind: Kind::Count(0, 7),
        default: |_| Some("0"),
        default_doc: "0",
        refusal: ANY,
        done: Some("0"),
        doc: "How many secondary addresses each node is to be given. None are given by themselves; give them with the nodes.",
    },
];

/// What values do not go together: logs without a bucket (LB-09).
pub(super) fn check_together(subject: Subject, set: &rest::Attributes) -> Result<(), Error> {
    if subject.value(set, ACCESS_LOGS) == "true" && subject.value(set, ACCESS_LOGS_BUCKET).is_empty() {
        let field = format!("attributes[{ACCESS_LOGS_BUCKET}]");
        let message = format!("access logs need a bucket; set {} as well", Shown(ACCESS_LOGS_BUCKET));
        return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
    }
    Ok(())
}

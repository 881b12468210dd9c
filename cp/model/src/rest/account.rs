//! What there is to know of the account: who asks, quotas, security policies, network interfaces.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Role;

/// `GET /v1/whoami`: who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whoami {
    /// Name; `root` for who comes by the Unix socket as root.
    pub name: String,
    /// ARN, of IAM's form.
    pub arn: String,
    /// What it may do.
    pub role: Role,
    /// The tenant whose networks it may use; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The access key that the request was signed with, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Account in ARNs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// AWS's name of it, where there is one.
    #[schema(example = "network-load-balancers")]
    pub name: String,
    /// So many are allowed.
    pub value: u64,
    /// Whether it can be changed, by leat-cp's `--quota NAME=VALUE`.
    pub adjustable: bool,
    /// What is counted.
    pub description: String,
}

/// `GET /v1/quotas`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// All of them.
    pub quotas: Vec<Quota>,
}

/// A security policy of TLS listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SslPolicy {
    /// Name.
    #[schema(example = "ELBSecurityPolicy-2016-08")]
    pub name: String,
    /// TLS versions, such as `TLSv1.2`.
    pub protocols: Vec<String>,
    /// Ciphers by OpenSSL's names, the preferred ones first.
    pub ciphers: Vec<String>,
}

/// `GET /v1/ssl-policies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SslPolicies {
    /// All of them.
    pub ssl_policies: Vec<SslPolicy>,
}

/// The network interface of a load balancer in a zone. It is the load balancer's: it can be seen and not changed (ZN-11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Id.
    #[schema(example = "eni-0a1b2c3d4e5f60718")]
    pub id: String,
    /// `ELB net/<name>/<id of the load balancer>`.
    pub description: String,
    /// ARN of its load balancer.
    pub load_balancer_arn: String,
    /// Name of its zone.
    pub zone: String,
    /// Id of its subnet; none where the node was given by its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Id of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Its own IPv4 address.
    #[schema(value_type = String, format = Ipv4)]
    pub private_ipv4_address: Ipv4Addr,
    /// All of its addresses.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// `GET /v1/interfaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interfaces {
    /// All of them, by load balancer and zone.
    pub interfaces: Vec<Interface>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `PATCH /v1/interfaces/{id}`: refused, whatever it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyInterface {
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
}

/// The query of `GET /v1/audit-events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditQuery {
    /// Only calls of this name, such as `CreateListener`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// Only calls of this API, such as `elasticloadbalancing.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<String>,
    /// Only calls of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Only calls with this access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Only calls that name this resource, by its name or ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Only calls that change nothing, or only the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Not before, RFC 3339, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
    pub start_time: Option<String>,
    /// Not after, RFC 3339, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
    pub end_time: Option<String>,
    /// So many at the most, 1–1000; 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /v1/audit-events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvents {
    /// Records of calls in CloudTrail's form, the newest first.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<serde_json::Value>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

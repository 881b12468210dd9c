//! Listeners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attributes, Protocol, Tags};

/// `POST /v1/load-balancers/{lb}/listeners`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateListener {
    /// Protocol.
    pub protocol: Protocol,
    /// 1–65535; one listener a port (LSN-03).
    #[schema(minimum = 1, maximum = 65535, example = 80)]
    pub port: i64,
    /// Name, id or ARN of the target group.
    pub target_group: String,
    /// ARN of the default certificate, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Security policy, of TLS listeners; `ELBSecurityPolicy-2016-08` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ALPN policy, of TLS listeners; `None` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `PATCH /v1/load-balancers/{lb}/listeners/{port}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyListener {
    /// New protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// New port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// New target group. Open flows stay with the old one (LSN-11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// New default certificate; needed when the protocol becomes TLS (LSN-10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// New security policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// New ALPN policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its ARN (LB-07).
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// ARN of its load balancer.
    pub load_balancer_arn: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// Name of the target group.
    pub target_group: String,
    /// ARN of the target group.
    pub target_group_arn: String,
    /// ARNs of certificates, the default one first; none but for TLS listeners.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Security policy, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ALPN policy, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// All attributes.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `GET /v1/load-balancers/{lb}/listeners`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// All of them, by port.
    pub listeners: Vec<Listener>,
}

/// `POST` of `…/listeners/{port}/certificates` and `…/certificates/remove`, and the answer to them and to the `GET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerCertificates {
    /// ARNs; in answers the default certificate is the first one.
    pub certificates: Vec<String>,
}

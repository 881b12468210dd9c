//! Target groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Attributes, HealthCheck, Labels, ModifyHealthCheck, Protocol, Tags, TargetAddressType, TargetCounts, TargetType,
};

/// `POST /v1/target-groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTargetGroup {
    /// 1–32 letters, digits and hyphens; unique (TG-02).
    #[schema(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$", example = "web")]
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port of targets registered without one, 1–65535.
    #[schema(minimum = 1, maximum = 65535, example = 8080)]
    pub port: i64,
    /// `ip` unless given.
    #[serde(default)]
    pub target_type: TargetType,
    /// `ipv4` unless given.
    #[serde(default)]
    pub ip_address_type: TargetAddressType,
    /// Health checks; what is absent takes its default.
    #[serde(default)]
    pub health_check: ModifyHealthCheck,
    /// Id of the network of the inventory that its targets are in (AWS's VPC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Kept and shown; without effect on packets (TG-15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Instances of the inventory that have all these labels are registered by themselves, and deregistered when they lose one
    /// (TGT-11). None: targets are registered by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub selector: Labels,
    /// Attributes that shall differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `PATCH /v1/target-groups/{tg}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyTargetGroup {
    /// What shall change of the health checks.
    #[serde(default)]
    pub health_check: ModifyHealthCheck,
    /// New labels; none: no instances are registered by themselves any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub selector: Option<Labels>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroup {
    /// Its ARN (LB-07).
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of targets registered without one.
    pub port: u16,
    /// How targets are named.
    pub target_type: TargetType,
    /// Which addresses they have.
    pub ip_address_type: TargetAddressType,
    /// Health checks.
    pub health_check: HealthCheck,
    /// All attributes.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Id of the network that its targets are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Labels of the instances that are registered by themselves.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub selector: Labels,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
    /// ARNs of the load balancers whose listeners forward to it: none or one.
    pub load_balancer_arns: Vec<String>,
    /// How many targets there are, by state and zone (HC-30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_counts: Option<TargetCounts>,
}

/// `GET /v1/target-groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroups {
    /// All of them, by name.
    pub target_groups: Vec<TargetGroup>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

//! Targets and their health.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/target-groups/{tg}/targets` and `…/targets/deregister`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsRequest {
    /// 1–1000 targets.
    #[schema(min_items = 1, max_items = 1000)]
    pub targets: Vec<TargetSpec>,
}

/// Names a target of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetSpec {
    /// As the group's target type says: an address, the id of an instance, or the ARN of an application load balancer.
    #[schema(min_length = 1, example = "10.2.0.11")]
    pub id: String,
    /// 1–65535; the group's port unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// Zone of an address outside the group's network, or `all` (TGT-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// The query of `GET /v1/target-groups/{tg}/targets` (OLD-03).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsQuery {
    /// Only this one, `address` (with the group's port) or `address:port`, registered or not (TGT-17). IPv6: `[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only those whose id or address begins so, such as `10.2.0.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only those with this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// Only those of this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TargetState>,
    /// What they are sorted by; their addresses unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<TargetOrder>,
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What targets are sorted by; those that are equal in it by address and port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetOrder {
    /// Address and port.
    #[default]
    Address,
    /// Port.
    Port,
    /// Zone.
    Zone,
    /// State, those that need attention first.
    State,
}

/// `GET /v1/target-groups/{tg}/targets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// By address and port.
    pub targets: Vec<Target>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// What it was registered by.
    pub id: String,
    /// Its address; none of an application load balancer without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// The zone whose node uses it, `all` for those of several zones; empty while the group is not in use.
    pub zone: String,
    /// Health.
    pub health: TargetHealth,
    /// Flows.
    pub flows: TargetFlows,
}

/// The states of targets (HC-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Not checked yet.
    Initial,
    /// In service.
    Healthy,
    /// Checks fail.
    Unhealthy,
    /// Not registered, or in a group that no listener uses, or not usable.
    Unused,
    /// Deregistered; open flows go on.
    Draining,
    /// Its health cannot be told.
    Unavailable,
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A target's health and why it is so (HC-14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetHealth {
    /// State.
    pub state: TargetState,
    /// Reason code; none for a healthy target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A target's flows. Both are 0 while no data plane is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetFlows {
    /// Open now.
    pub active: u64,
    /// Made since the target was registered.
    pub new: u64,
}

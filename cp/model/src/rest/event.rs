//! Events: what has changed, by itself or by command, and webhooks' bodies.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventType {
    /// A target's state: `initial`, `healthy`, `unhealthy`, `unused`, `draining`, `unavailable`.
    Target,
    /// Whether a zone of a load balancer serves: `in-service`, `out-of-service`; `disabled` when it is taken from the load balancer.
    Zone,
    /// Whether a zone's new flows go to all targets of a group because too few are healthy: `on`, `off`.
    FailOpen,
    /// A zonal shift: `active`, `canceled`, `expired`.
    ZonalShift,
    /// A load balancer: `provisioning`, `active`, `failed`, `deleted`.
    LoadBalancer,
    /// The data plane: `attached`, `restarted`, `lost`.
    DataPlane,
    /// The link of a data plane's port: `up`, `down`.
    Port,
}

impl EventType {
    /// All of them, with their names in the API.
    pub const ALL: [(&'static str, Self); 7] = [
        ("target", Self::Target),
        ("zone", Self::Zone),
        ("fail-open", Self::FailOpen),
        ("zonal-shift", Self::ZonalShift),
        ("load-balancer", Self::LoadBalancer),
        ("data-plane", Self::DataPlane),
        ("port", Self::Port),
    ];
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Name of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    /// Name of the target group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// The target's id and port, such as `10.2.0.11:8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The target's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<std::net::IpAddr>,
    /// The zone; of a target as the API shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Name of the data plane's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Id of the zonal shift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zonal_shift: Option<String>,
    /// The state before; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state now.
    pub to: String,
    /// Why, as a code: of targets that of `DescribeTargetHealth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A change and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts the events of a boot from 1 on, without gaps.
    pub sequence: u64,
    /// When, in the form of RFC 3339, with milliseconds.
    pub time: String,
    /// What has changed.
    #[serde(flatten)]
    pub what: Transition,
}

/// `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Drawn when leat-cp starts. Another one than before: sequence numbers have begun anew, and what was not read is gone.
    pub boot_id: String,
    /// In their order.
    pub events: Vec<Event>,
    /// What `after` is to be for the events that follow these.
    pub next: u64,
    /// Events after `after` that are not kept any more.
    pub dropped: u64,
    /// Changes since the start that were looked at together with the next one, because they came too fast: states that lasted
    /// only from one to the other have no event.
    pub merged_changes: u64,
}

/// The query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsQuery {
    /// Only events with a higher sequence number, from the oldest that is kept on. Without it: the newest ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many, 1–1000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// Only these, separated by commas: `target`, `zone`, `fail-open`, `zonal-shift`, `load-balancer`, `data-plane`, `port`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// If there are none, wait for the next one, for so many seconds at the most, 0–30. Goes with `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 30)]
    pub wait: Option<i64>,
}

/// What a webhook is sent, as the body of a `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookBody {
    /// The name of the machine that leat-cp runs on.
    pub host: String,
    /// As in [`Events`].
    pub boot_id: String,
    /// In their order, 1–100.
    pub events: Vec<Event>,
    /// Events since the last body that was taken which are not kept any more.
    pub dropped: u64,
}

/// How many targets there are, in all and of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCounts {
    /// All of them: the sum of the others.
    pub total: u64,
    /// State `healthy`.
    pub healthy: u64,
    /// State `unhealthy`.
    pub unhealthy: u64,
    /// State `initial`.
    pub initial: u64,
    /// State `draining`.
    pub draining: u64,
    /// State `unused`.
    pub unused: u64,
    /// State `unavailable`.
    pub unavailable: u64,
}

/// The targets of a group, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// Of all zones.
    #[serde(flatten)]
    pub all: StateCounts,
    /// Of each zone, as targets show theirs; an empty name while nothing is known of it.
    pub zones: std::collections::BTreeMap<String, StateCounts>,
}

//! How appliance and data plane are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of leat-cp.
    pub version: String,
    /// Counts the changes of the configuration.
    pub epoch: u64,
    /// The newest epoch that every lcore works with; 0: none, or not known since leat-cp or leat-dp started.
    pub applied_epoch: u64,
    /// What keeps the system from doing its work, in words; empty when all is well.
    pub problems: Vec<String>,
    /// What is allowed but hardly meant, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The data plane.
    pub data_plane: DataPlaneStatus,
}

/// The data plane as seen through the shared segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneStatus {
    /// Whether a living leat-dp uses the segment. If not, the rest says what it was like last.
    pub attached: bool,
    /// Counts the data-plane processes that have used the segment.
    pub incarnation: u64,
    /// Process id.
    pub pid: u64,
    /// Generation of the newest snapshot.
    pub generation: u64,
    /// The polling lcores.
    pub lcores: Vec<LcoreStatus>,
    /// The ports.
    pub ports: Vec<PortStatus>,
}

/// An lcore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LcoreStatus {
    /// Number, from 0.
    pub id: u16,
    /// The CPU it runs on.
    pub cpu: u64,
    /// Generation of the snapshot it works with.
    pub generation: u64,
    /// Share of the last second that it spent in turns with work, 0–100.
    pub busy_percent: f64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStatus {
    /// Name.
    pub name: String,
    /// Its twin in Linux.
    pub tap: String,
    /// MAC address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u64,
    /// Whether the link is up.
    pub link: bool,
}

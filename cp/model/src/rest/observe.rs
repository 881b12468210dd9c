//! What can be watched: statistics, live flows, traces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use utoipa::ToSchema;

use super::Protocol;

/// Values by the names that `leat-abi` gives its counters.
pub type Counters = BTreeMap<String, u64>;

/// `GET /v1/stats`. Counters grow for the life of the segment, through restarts of either process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Whether a living data plane is behind the numbers; without a segment all lists but the last two are empty.
    pub attached: bool,
    /// By lcore.
    pub lcores: Vec<LcoreStats>,
    /// Sums over the lcores.
    pub totals: Totals,
    /// By port: what the NIC and the exception path count.
    pub ports: Vec<PortStats>,
    /// By target.
    pub targets: Vec<TargetStats>,
    /// By listener.
    pub listeners: Vec<ListenerStats>,
}

/// What one lcore counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LcoreStats {
    /// Number, from 0.
    pub id: u16,
    /// The CPU it runs on.
    pub cpu: u64,
    /// Share of the last second that it spent in turns with work, 0–100.
    pub busy_percent: f64,
    /// Flow entries in use, in any state.
    pub flows_used: u64,
    /// Flow entries that there are.
    pub flows_max: u64,
    /// Longest turn of the loop that had work, in microseconds.
    pub longest_loop_us: u64,
    /// Counters.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counters: Counters,
    /// Dropped packets by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub drops: Counters,
    /// Whether every packet is accounted for.
    pub conservation: Conservation,
}

/// Sums over the lcores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Counters.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counters: Counters,
    /// Dropped packets by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub drops: Counters,
    /// Whether every packet is accounted for.
    pub conservation: Conservation,
}

/// Packets that came in, packets whose fate is known, and the difference: 0 at a quiet moment, a few bursts under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conservation {
    /// Received from ports and from other lcores.
    pub received: u64,
    /// Forwarded, dropped, given to Linux, answered, handed to other lcores, used here or held.
    pub accounted: u64,
    /// `received` − `accounted`.
    pub difference: i64,
}

/// What is counted for one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStats {
    /// Name.
    pub name: String,
    /// Counters.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counters: Counters,
}

/// What is counted for one target, since it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStats {
    /// Name of its group.
    pub target_group: String,
    /// Address.
    pub id: String,
    /// Port.
    pub port: u16,
    /// Its number in the data plane.
    pub slot: u16,
    /// Counters.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counters: Counters,
}

/// What is counted for one listener and protocol, since it was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStats {
    /// Name of its load balancer.
    pub load_balancer: String,
    /// Address of the node; a listener is listed for each, of both kinds.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// `TCP` or `UDP`; a TCP_UDP listener is listed twice.
    pub protocol: Protocol,
    /// Its number in the data plane.
    pub slot: u16,
    /// Counters.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counters: Counters,
}

/// The query of `GET /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowsQuery {
    /// At most so many flows, 1–10000; 1000 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub limit: Option<u32>,
    /// Only flows of this client: an address, `address:port`, or `[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only flows to this node: an address, `address:port`, or `[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Only flows to the target with this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only flows of this protocol: `TCP` or `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// `GET /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flows {
    /// The flows found.
    pub flows: Vec<Flow>,
    /// Whether all lcores have answered in time and nothing was cut off by the limit or lost on the way.
    pub complete: bool,
}

/// A live flow. Sockets are `address:port`, of IPv6 `[address]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// `TCP` or `UDP`.
    pub protocol: Protocol,
    /// The client.
    pub client: String,
    /// The node's address and the listener's port.
    pub vip: String,
    /// The target.
    pub target: String,
    /// What the target sees as the client.
    pub nat: String,
    /// Whether that is the client's own address and port.
    pub client_ip_preserved: bool,
    /// How far the target is with the header of the PROXY protocol, if the flow has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_header: Option<ProxyHeader>,
    /// State, such as `established`.
    pub state: String,
    /// Seconds since the flow's timer last restarted.
    pub idle_seconds: u32,
    /// The lcore that owns it.
    pub lcore: u16,
}

/// How far a target is with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProxyHeader {
    /// It was not sent yet, or the target has not acknowledged all of it.
    Unacknowledged,
    /// The target has acknowledged all of it.
    Acknowledged,
}

/// `POST /v1/traces`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTrace {
    /// Only packets that arrive on this port; any unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// So many packets, 1–10000; 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000, example = 10)]
    pub count: Option<i64>,
    /// Which packets; all unless given.
    #[serde(default)]
    pub filter: TraceFilter,
}

/// Which packets to trace; what is absent matches every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceFilter {
    /// `TCP` or `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Source port, 1–65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub source_port: Option<i64>,
    /// Destination port, 1–65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub destination_port: Option<i64>,
}

/// The answer to `POST /v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceCreated {
    /// To ask for the trace.
    pub id: u32,
}

/// `GET /v1/traces/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// Its id.
    pub id: u32,
    /// Packets asked for.
    pub count: u32,
    /// Whether more packets may come.
    pub running: bool,
    /// Packets so far, in order of arrival on each lcore.
    pub packets: Vec<TracedPacket>,
}

/// A packet's way through the stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracedPacket {
    /// The lcore that saw it.
    pub lcore: u16,
    /// Counts the traced packets of that lcore from 0.
    pub packet: u32,
    /// The stages in order.
    pub steps: Vec<TraceStep>,
}

/// One stage of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStep {
    /// The stage's name: `rx`, `parse`, `lookup`, `handover`, `hold`, `release`, `listener`, `select`, `create`, `rewrite`,
    /// `originate`, `transmit`, `punt`, `answer`, `consume`, `drop`.
    pub stage: String,
    /// What happened there, in words.
    pub detail: String,
}

//! What the DNS server answers (DNS-01 to DNS-11).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/dns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// The zone of DNS that all the names are in: what is to be delegated.
    pub apex: String,
    /// The names of its servers.
    pub name_servers: Vec<String>,
    /// Where the server listens, with UDP and TCP.
    pub listeners: Vec<DnsListener>,
    /// What it has answered since leat-cp began.
    pub counters: DnsCounters,
    /// The names of load balancers and of their zones, in this order.
    pub names: Vec<DnsName>,
}

/// An address of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsListener {
    /// Address and port.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Why it does not listen there; it tries again every second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Queries by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsCounters {
    /// Answered with records.
    pub answered: u64,
    /// The name exists and has no record of that type.
    pub no_data: u64,
    /// There is no such name.
    pub no_such_name: u64,
    /// Outside the zone, or another class, or a transfer.
    pub refused: u64,
    /// Malformed, or an operation, or a version of EDNS, that is not served.
    pub bad: u64,
    /// Not answered at all: too short, itself an answer, or there was no room to send.
    pub ignored: u64,
    /// Those of all that came over TCP.
    pub over_tcp: u64,
}

/// A name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsName {
    /// The name, without a dot at its end.
    pub name: String,
    /// The load balancer's name.
    pub load_balancer: String,
    /// The zone, of names of single zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What it stands for at the moment; nothing while the load balancer is not active yet.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Of names of single zones: whether the load balancer's own name stands for these addresses, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<bool>,
}

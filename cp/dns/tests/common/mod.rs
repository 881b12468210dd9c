//! Directories and queries.

#![allow(dead_code, reason = "not every test uses all of it")]

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, Record, RecordType};
use leat_dns::{Outcome, Transport, answer};
use leat_model::dns::{Directories, Directory, NameServers};
use leat_model::{Command, Id, Limits, Model, Now, Site, rest};

/// The zone of DNS.
pub const APEX: &str = "elb.on-prem-1.leat.internal";

/// Load balancers, active, each with a node in each of so many zones, `zone-1` …: 10.1.0.1 ….
pub fn directory(balancers: &[(&str, usize)]) -> Directory {
    let now = Now { wall_ms: 0, mono_ms: 0 };
    let mut model = Model::new(Site::default(), Limits::default(), [1, 2]);
    for (name, zones) in balancers {
        let node = |number: usize| rest::NodeSpec {
            zone: format!("zone-{number}"),
            address: format!("10.1.0.{number}"),
            ipv6_address: None,
            secondary_addresses: Vec::new(),
        };
        let nodes = (1..=*zones).map(node).collect();
        let request = rest::CreateLoadBalancer { name: (*name).into(), nodes, ..Default::default() };
        model.apply(Command::CreateLoadBalancer { request, id: Id(1) }, now).expect("a load balancer");
        model.apply(Command::Activate(vec![Id(1)]), now).expect("it");
    }
    Directories::new(NameServers::default()).make(&model, 0).0
}

/// The name of the load balancer that a directory was made with.
pub fn name_of(balancer: &str) -> String {
    format!("{balancer}-{:016x}.{APEX}", 1)
}

/// A query without EDNS.
pub fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message.to_vec().expect("bytes")
}

/// The answer over TCP, which is never cut.
pub fn ask(directory: &Directory, query: &[u8]) -> (Message, Outcome) {
    let (bytes, outcome) = answer(directory, query, Transport::Tcp, &mut rand::rng()).expect("an answer");
    (Message::from_vec(&bytes).expect("a message"), outcome)
}

/// `TYPE TTL DATA` of each.
pub fn records(all: &[Record]) -> Vec<String> {
    all.iter().map(|it| format!("{} {} {}", it.record_type(), it.ttl, it.data)).collect()
}

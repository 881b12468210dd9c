//! DNS queries, as anybody may send them.

#[path = "../common/mod.rs"]
mod common;

use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType};
use leat_dns::{AMPLIFICATION_MAX, Transport, answer};
use leat_model::dns::Directory;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| common::directory(&[("web", 3)]));

/// What must hold of any bytes: a well-formed answer to what is a query, not too long for a forged sender, or none.
pub fn run(_target: &str, query: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some((reply, _)) = answer(&DIRECTORY, query, transport, &mut rand::rng()) else { continue };
        assert!(query.len() >= 12 && query[2] & 0x80 == 0, "an answer to what is no query");
        assert_eq!(reply[..2], query[..2], "another id");
        let message = Message::from_vec(&reply).expect("a message");
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert!(!message.metadata.recursion_available);
        if transport == Transport::Udp {
            assert!(reply.len() <= AMPLIFICATION_MAX * query.len(), "{} bytes for {}", reply.len(), query.len());
        }
    }
}

//! Attributes of listeners.

use super::{ANY, Attribute, Kind, Subject};
use crate::rest::Protocol;

/// Idle timeout of TCP flows.
pub const TCP_IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";

/// The attributes of listeners.
pub const LISTENERS: &[Attribute] = &[Attribute {
    key: TCP_IDLE_TIMEOUT,
    kind: Kind::Seconds(60, 6000),
    default: |subject| (subject == Subject::Listener(Protocol::Tcp)).then_some("350"),
    default_doc: "350; TCP listeners only",
    refusal: ANY,
    done: Some("350"),
    doc: "After so long without a packet a TCP connection is forgotten. For now it is 350 seconds, whatever it says.",
}];

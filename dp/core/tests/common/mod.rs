//! What the pipeline's tests share.
// Each test crate uses a part of this; `from_client` and `to_target` speak of packets, not of conversions.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::wrong_self_convention)]

pub mod conversation;
pub mod errors;
pub mod harness;
pub mod header;
pub mod memory;
pub mod moves;
pub mod packet;
pub mod pieces;
pub mod world;

pub use conversation::{Datagrams, Stream};
pub use harness::{Harness, Out};
pub use leat_core::OwnedFrame;
pub use moves::{nothing, rx};
pub use packet::{ACK, FIN, PSH, Packet, RST, SYN};
pub use world::*;

//! What the pipeline's tests share.
#![allow(dead_code, unreachable_pub)]

pub mod conversation;
pub mod harness;
pub mod memory;
pub mod moves;
pub mod packet;
pub mod world;

pub use conversation::{Datagrams, Stream};
pub use harness::{Buffer, Harness, Out};
pub use moves::{nothing, rx};
pub use packet::{ACK, FIN, PSH, Packet, RST, SYN};
pub use world::*;

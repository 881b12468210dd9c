//! The packet pipeline, sans-IO: no DPDK, no clock, no operating system, no allocation once it runs.
//!
//! Start reading at [`pipeline::Pipeline::process`]; every stage is a file named after what it does:
//!
//! | stage | file |
//! |---|---|
//! | check headers | [`parse`] |
//! | find the flow | [`table`] |
//! | follow its state | [`track`] |
//! | begin a flow: listener, target, source port; for a burst ahead | `miss`, `plan`, [`source_ports`]; `opening` |
//! | all of these, for what nearly all packets are | `fast` |
//! | change the packet | [`rewrite`], [`checksum`]; with IPv6 on a side [`wide`], `translate`, `mss` |
//! | put a PROXY header first | [`proxy`] |
//! | answer with a reset, and reset both ends | [`reset`], [`resets`] |
//! | count how targets answer SYNs | [`attempts`] |
//! | timers and counters of flows | [`flows`], [`timer`] |
#![deny(missing_docs, unsafe_code)]

pub mod address;
pub mod attempts;
pub mod checksum;
mod dump;
mod fast;
pub mod flows;
pub mod forwarding;
pub mod fragments;
pub mod frame;
pub mod hash;
pub mod icmp;
mod limit;
mod miss;
mod mss;
mod opening;
pub mod originate;
pub mod parse;
pub mod pipeline;
mod plan;
#[allow(unsafe_code)]
pub mod prefetch;
pub mod proxy;
mod refusals;
pub mod reset;
pub mod resets;
pub mod rewrite;
pub mod source_ports;
pub mod table;
#[allow(unsafe_code)]
mod tags;
pub mod timer;
pub mod trace;
pub mod track;
mod translate;
pub mod wide;

pub use address::Address;
pub use forwarding::{Forwarding, PortInfo};
pub use frame::{Answer, BURST, Frame, Now, OwnedFrame, Verdict};
pub use miss::NODE_PORTS;
pub use pipeline::{Arrival, Pipeline, Place};
pub use source_ports::{NAT_PORTS, SourcePorts};

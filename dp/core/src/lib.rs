//! The packet pipeline, sans-IO: no DPDK, no clock, no operating system, no allocation once it runs.
//!
//! Start reading at [`pipeline::Pipeline::process`]; every stage is a file named after what it does:
//!
//! | stage | file |
//! |---|---|
//! | check headers | [`parse`] |
//! | find the flow | [`table`] |
//! | follow its state | [`track`] |
//! | begin a flow: listener, target, source port | `miss` |
//! | change the packet | [`rewrite`], [`checksum`] |
//! | answer with a reset | [`reset`] |
//! | timers and counters of flows | [`flows`], [`timer`] |
#![deny(missing_docs, unsafe_code)]

pub mod checksum;
mod dump;
pub mod flows;
pub mod forwarding;
pub mod frame;
pub mod hash;
mod limit;
mod miss;
pub mod parse;
pub mod pipeline;
#[allow(unsafe_code)]
pub mod prefetch;
pub mod reset;
pub mod rewrite;
pub mod table;
pub mod timer;
pub mod trace;
pub mod track;

pub use forwarding::Forwarding;
pub use frame::{BURST, Frame, Now, Verdict};
pub use miss::{NAT_PORTS, NODE_PORTS};
pub use pipeline::{Arrival, Pipeline, Place};

//! What the data plane (`leat-dp`) and the control plane (`leat-cp`) share: one memory segment in a file, and nothing else.
//!
//! # Layout of the segment
//!
//! ```text
//! 0          SegmentHeader          one page: identity, geometry, life signs, the announced generation, the ports
//! …          per lcore: LcoreHeader, command ring, event ring, counters, target counters, listener counters
//! …          snapshot arena         two slots; the control plane writes one while the other is announced
//! …          flow region            per lcore: flows_max entries of 64 or, with a second line, 128 bytes; mapped by the data plane alone
//! ```
//!
//! # Invariants
//!
//! * Everything before the flow region is made of 64-bit atomics, so that neither side can make the other's code unsound,
//!   whatever it writes. Whatever is read from there is checked before it is used.
//! * Every word has one writer, named in the comment of its field; the reader never writes it.
//! * The flow region belongs to the data plane. Entries hold indices and generations only, never pointers.
//! * The layout is fixed by [`layout::ABI_VERSION`] and [`layout::LAYOUT_HASH`]; a segment of another layout is refused.
//! * Integers are little-endian, the machine's own order: both processes run on one machine.
//!
//! `unsafe` occurs in [`segment`] and [`pages`] (the mappings) only.
#![deny(missing_docs)]
// Under loom only what is modelled has a purpose: rings, arena, counters. The rest needs memory in which an atomic is a word.
#![cfg_attr(loom, allow(dead_code, rustdoc::broken_intra_doc_links))]

mod arena;
pub mod attempts;
pub mod counters;
pub mod flow;
pub mod flow_memory;
#[cfg(not(loom))]
pub mod layout;
pub mod message;
#[cfg(not(loom))]
pub mod pages;
pub mod ring;
#[cfg(not(loom))]
pub mod segment;
pub mod snapshot;
mod sync;

pub use counters::{Counter, DropReason};
pub use flow::{FlowAddresses, FlowEntry};
pub use flow_memory::FlowMemory;
#[cfg(not(loom))]
pub use segment::{ControlSegment, DataSegment, Geometry, SegmentError};
pub use snapshot::Snapshot;

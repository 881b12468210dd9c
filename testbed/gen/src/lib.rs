//! leat-gen: a packet generator that keeps the state of its flows and verifies every packet. A program, and a library for the benchmarks
//! that measure several systems in turn.
//!
//! ```text
//!   options, commands ── rfc2544 ──> generator ── frame (made, read) ──> DPDK ports ── the device
//!                                        │ └─ faults (planted, to test the verification)
//!                                     flow, counts, site
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`generator`] | the loop: sends at a pace, plays both ends of every flow, verifies what arrives |
//! | [`flow`] | what is known of a flow, and the order of its packets |
//! | [`frame`] | frames, and the mark by which a packet says what it is |
//! | [`site`] | addresses |
//! | [`counts`] | what was found |
//! | [`faults`] | faults for the self-test |
//! | [`rfc2544`] | searches |
//! | [`options`], [`commands`], [`report`] | the program |
#![forbid(unsafe_code)]

pub mod checksum;
pub mod commands;
pub mod counts;
pub mod faults;
pub mod flow;
pub mod frame;
pub mod generator;
pub mod options;
pub mod random;
pub mod report;
pub mod rfc2544;
pub mod site;

//! Deterministic simulation of the whole appliance in one thread: the real model, snapshot compiler, shared segment and packet pipelines,
//! under a clock that jumps from event to event, with a network, targets, operators, a disk and deaths of both processes that follow from
//! a seed. After every event the laws are checked; at the end everything is healed, and everything must work.
//!
//! Start reading at [`simulation::run`].
#![forbid(unsafe_code)]

pub mod control_plane;
pub mod data_plane;
pub mod operator;
pub mod packet;
pub mod plant;
pub mod profile;
pub mod segment;
pub mod simulation;
pub mod site;
pub mod traffic;
pub mod truth;

pub use plant::Plant;
pub use profile::{Kind, Profile};
pub use segment::Segment;
pub use simulation::{Failure, Options, Summary, run};

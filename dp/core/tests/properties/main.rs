//! Properties of the pipeline under random traffic.

#[path = "../common/mod.rs"]
mod common;

mod bursts;
mod conversations;
mod distribution;
mod fast;
mod fragments;
mod peer;
mod proxied;
mod rewriting;
mod rewriting_6;

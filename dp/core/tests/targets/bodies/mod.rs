//! Fuzz targets: what is done with an input of any bytes. A panic is a failure. libFuzzer calls them from `dp/core/fuzz`, and a test
//! replays seeds and mutations of them.
// Not every crate that has this uses all of it.
#![allow(dead_code, unreachable_pub)]

mod frames;
mod input;
mod parse;
mod script;
pub mod seeds;
mod talk;

/// A target's body.
pub type Body = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Body); 5] = [
    ("parse", parse::frame),
    ("fragments", script::fragments),
    ("icmp", script::icmp),
    ("proxy", script::proxy),
    ("translation", script::translation),
];

/// Runs an input of the target with this name.
pub fn run(target: &str, data: &[u8]) {
    let (_, body) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    body(data);
}

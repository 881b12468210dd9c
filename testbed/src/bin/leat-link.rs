//! A link between two devices that loses, duplicates and delays frames. See [`leat_testbed::link`].
//!
//! Prints `ready` when it relays, and at SIGTERM or SIGINT one line of JSON: what became of the frames of each direction.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use leat_testbed::link::{Impairment, relay};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A link with faults, between two devices of this network namespace.
#[derive(Debug, Parser)]
struct Arguments {
    /// One end.
    near: String,
    /// The other end.
    far: String,
    /// Frames lost, of 1,000.
    #[arg(long, default_value_t = 0)]
    loss_per_mille: u32,
    /// Frames sent twice, of 1,000.
    #[arg(long, default_value_t = 0)]
    duplicate_per_mille: u32,
    /// Frames held back, of 1,000.
    #[arg(long, default_value_t = 0)]
    reorder_per_mille: u32,
    /// How long a frame is held back at most, in milliseconds.
    #[arg(long, default_value_t = 10)]
    hold_ms_max: u32,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let how = Impairment {
        loss_per_mille: arguments.loss_per_mille,
        duplicate_per_mille: arguments.duplicate_per_mille,
        reorder_per_mille: arguments.reorder_per_mille,
        hold_ms_max: arguments.hold_ms_max,
        seed: arguments.seed,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let handler_stop = Arc::clone(&stop);
    ctrlc::set_handler(move || handler_stop.store(true, Ordering::Relaxed))?;
    let fates = relay([&arguments.near, &arguments.far], &how, &stop, || println!("ready"))?;
    println!("{}", serde_json::to_string(&fates)?);
    Ok(())
}

//! `leat-dp`, the data plane process. Start reading at `run`: it builds everything in order, then becomes the control loop.
//!
//! | thread | what it does | owns |
//! |---|---|---|
//! | main (EAL lcore 0) | snapshots from the segment to the lcores, heartbeat, link state, exception path | segment, TAP twins |
//! | EAL lcores 1… | the packet loop | their queues, flow entries, counters |
//! | signals | turns SIGTERM and SIGINT into a flag | nothing |
#![forbid(unsafe_code)]

mod clock;
mod control;
mod exception;
mod interface;
mod lcore;
mod loops;
mod memory;
mod options;
mod orders;
mod packet;
mod ports;
mod setup;
mod silence;
mod vlan;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("LEAT_LOG").unwrap_or_else(|_| "info".into()))
        .init();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    if options.supervised {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("cannot ask to be ended with the parent")?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Release)).context("cannot handle signals")?;

    let result = setup::start(options).and_then(|data_plane| control::run(data_plane, &stop));
    // EAL leaves its directory behind, empty.
    let _ = std::fs::remove_dir(eal_directory().join(options::file_prefix(options)));
    result
}

/// Where EAL makes its directory.
fn eal_directory() -> PathBuf {
    let of_user = || if rustix::process::getuid().is_root() { None } else { std::env::var_os("XDG_RUNTIME_DIR") };
    let fallback = if rustix::process::getuid().is_root() { "/var/run" } else { "/tmp" };
    let base = std::env::var_os("RUNTIME_DIRECTORY").or_else(of_user).unwrap_or_else(|| fallback.into());
    PathBuf::from(base).join("dpdk")
}

//! Leat at work on one machine: clients, the appliance and four targets in network namespaces.
//!
//! Without options it goes on until Ctrl-C, with some traffic of its own and a table of what happens; `--once` sends a known
//! amount of traffic, says where it arrived, and ends with `leat demo: PASS …` or `leat demo: FAIL …`.

#![forbid(unsafe_code)]

mod live;
mod once;

use anyhow::{Context, Result};
use clap::Parser;
use leat_testbed::{Bed, BedOptions, ECHO_PORT, HTTP_PORT, Run, VIP};
use std::process::ExitCode;

/// Leat at work: clients, appliance and four targets in network namespaces of this machine. Needs root.
#[derive(Debug, Parser)]
#[command(name = "scripts/run")]
struct Arguments {
    /// Send 1,000 HTTP requests and 1,000 UDP echoes in each addressing mode and a file of 1 GiB, check where they arrived, and end.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.once { run_once() } else { run_live() };
    match result {
        Ok(summary) => {
            println!("leat demo: PASS {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("leat demo: FAIL {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_once() -> Result<String> {
    let bed = start()?;
    let summary = once::run(&bed)?;
    bed.finish().context("at the end")?;
    Ok(summary)
}

fn run_live() -> Result<String> {
    let bed = start()?;
    Run::interrupt_is_success();
    live::run(&bed)?;
    unreachable!("goes on until a signal ends it")
}

fn start() -> Result<Bed> {
    println!("leat demo: starting clients, appliance and 4 targets in network namespaces leat-demo-*");
    let run = Run::start("demo")?;
    let bed = Bed::start_in(run, &BedOptions::default())?;
    println!("leat demo: load balancer {VIP}, TCP port {HTTP_PORT} and UDP port {ECHO_PORT}; 4 of 4 targets healthy");
    Ok(bed)
}

//! Measures Leat: the packet pipeline in memory, its instructions, and the appliance over memif; each next to a reference in the
//! same run. `scripts/bench` builds and starts it. Start reading at [`run::run`].
//!
//! | process | what it does |
//! |---|---|
//! | `leat-bench run` | starts the others one after the other, prints the figures, cleans up ([`run`], [`rig`], [`cleanup`]) |
//! | `leat-bench pipeline` | the pipeline in memory, `rte_hash`, memory access ([`inmemory`]) |
//! | `leat-bench namespaces` | connections and requests, next to proxies and kernel stacks ([`namespaces`]) |
//! | `leat-bench counted` | a fixed amount of work for callgrind ([`counted`], [`profile`], [`instructions`]) |
//! | `leat-bench gates` | compares instructions per packet and bytes per flow with what they may be ([`gates`]); started by `scripts/gates` |
//! | `leat-bench plot` | draws the plots of docs/performance.md ([`plot`]) |
//! | `leat-bench generate` | the generator ([`generate`]) |
//! | `leat-bench campaign`, `hostile` | hostile traffic and long runs ([`hostile`]); started by `scripts/campaign` |
#![forbid(unsafe_code)]

mod bed;
mod cleanup;
mod contest;
mod counted;
mod frames;
mod gates;
mod generate;
mod goals;
mod handover;
mod hostile;
mod inmemory;
mod instructions;
mod link;
mod memory;
mod namespaces;
mod plot;
mod profile;
mod references;
mod report;
mod rig;
mod run;
mod scaling;
mod sibling;
mod snapshots;
mod stats;
mod tables;
mod tool;
mod world;

use std::process::ExitCode;

use clap::Parser;

/// Measures Leat.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Measure everything and print a table
    Run(run::Settings),
    /// Measure the pipeline in memory (a part of `run`)
    Pipeline(inmemory::Options),
    /// Do a fixed amount of work, to be counted by callgrind (a part of `run`)
    Counted(counted::Options),
    /// Measure connections and requests through network namespaces (a part of `run`)
    Namespaces(namespaces::Options),
    /// Check what must not become worse: instructions per packet, bytes per flow
    Gates(gates::Options),
    /// Print the figures of an earlier run as a table
    Table(report::Options),
    /// Draw plots of a run's figures
    Plot(plot::Options),
    /// Run hostile traffic and long runs against leat-dp
    Campaign(run::Campaign),
    /// Generate the traffic of a campaign's part (a part of `campaign`)
    Hostile(hostile::Options),
    /// Generate traffic for leat-dp and dpdk-testpmd (a part of `run`)
    Generate(generate::Options),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(settings) => run::run(&settings),
        Command::Pipeline(options) => inmemory::run(&options),
        Command::Counted(what) => counted::run(&what),
        Command::Namespaces(options) => namespaces::run(&options),
        Command::Gates(options) => gates::run(&options),
        Command::Table(options) => report::run(&options),
        Command::Plot(options) => plot::run(&options),
        Command::Campaign(settings) => run::campaign(&settings),
        Command::Hostile(options) => hostile::run(&options),
        Command::Generate(options) => generate::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leat-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

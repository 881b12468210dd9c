//! Many long TCP connections at once, each of which notices when a byte or its target changes. See [`leat_testbed::transfer`].
//!
//! Prints `connected <N>` when all are up, and at the end one line of JSON: how many finished, with which targets, what failed.
//! Ends when the time is over or at SIGTERM or SIGINT, in both cases by finishing every transfer.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use leat_testbed::transfer::{Outcome, Plan, run_one};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Transfers that notice any change.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to.
    #[arg(long)]
    to: SocketAddrV4,
    /// The address to come from.
    #[arg(long)]
    from: Option<Ipv4Addr>,
    /// How many connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes sent at once.
    #[arg(long, default_value_t = 1024)]
    chunk_bytes: usize,
    /// Pause after each chunk came back, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
    /// End after this many seconds; without it only at SIGTERM or SIGINT.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let plan = Plan {
        destination: arguments.to,
        source: arguments.from,
        chunk_bytes: arguments.chunk_bytes.max(1),
        pause: Duration::from_millis(arguments.pause_ms),
        duration: arguments.seconds.map(Duration::from_secs),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let handler_stop = Arc::clone(&stop);
    ctrlc::set_handler(move || handler_stop.store(true, Ordering::Relaxed))?;

    let results = run_all(&plan, arguments.connections, &stop);
    let mut targets: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut bytes = 0;
    for result in &results {
        match result {
            Ok(outcome) => {
                *targets.entry(&outcome.target).or_default() += 1;
                bytes += outcome.bytes;
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let finished = results.len() - failures.len();
    println!(
        "{}",
        json!({"connections": results.len(), "finished": finished, "bytes": bytes, "targets": targets, "failures": failures})
    );
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_all(plan: &Plan, connections: usize, stop: &AtomicBool) -> Vec<Result<Outcome>> {
    let connected = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|seed| {
                let connected = &connected;
                scope.spawn(move || run_one(plan, seed as u64 + 1, connected, stop))
            })
            .collect();
        scope.spawn(|| {
            while connected.load(Ordering::Relaxed) < connections && !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            println!("connected {}", connected.load(Ordering::Relaxed));
        });
        let results = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        done.store(true, Ordering::Relaxed);
        results
    })
}

//! The configuration changes all the time, and in large pieces, under live connections.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{ApiConnection, Bed, BedOptions, HTTP_PORT, VIP, e2e, http_many, tally};
use serde_json::{Value, json};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Changes a second that are asked for.
const RATE: u64 = 1000;
/// Connections to the API that ask for them.
const CONNECTIONS: u64 = 32;
/// What the control plane's memory may grow by, once the storm goes on: less than the caches of a thread for each connection take.
const GROWTH_KIB_MAX: u64 = 2 << 10;

/// The n-th change. Each connection has a group, a target and a listener of its own.
fn change(connection: u64, number: u64) -> (&'static str, String, Value) {
    let group = format!("/v1/target-groups/churn-{connection}");
    let targets = json!({"targets": [{"id": "10.2.0.11", "port": 20_000 + connection}]});
    match number % 6 {
        0 => ("POST", format!("{group}/targets"), targets),
        1 => ("PATCH", format!("{group}/attributes"), json!({"attributes": {"preserve_client_ip.enabled": "true"}})),
        2 => (
            "PATCH",
            format!("/v1/load-balancers/lb/listeners/{}", 30_000 + connection),
            json!({"port": 31_000 + connection}),
        ),
        3 => ("POST", format!("{group}/targets/deregister"), targets),
        4 => ("PATCH", format!("{group}/attributes"), json!({"attributes": {"preserve_client_ip.enabled": "false"}})),
        _ => (
            "PATCH",
            format!("/v1/load-balancers/lb/listeners/{}", 31_000 + connection),
            json!({"port": 30_000 + connection}),
        ),
    }
}

/// Makes changes at the rate for a while; how long each took, in microseconds.
fn change_all(socket: PathBuf, connection: u64, duration: Duration, done: &AtomicU64) -> Result<Vec<u64>> {
    let mut api = ApiConnection::open(&socket)?;
    let (begin, mut took) = (Instant::now(), Vec::new());
    for number in 0.. {
        let due = Duration::from_micros(1_000_000 * (number * CONNECTIONS + connection) / RATE);
        // What was begun is brought to its end.
        if due >= duration && number % 6 == 0 {
            break;
        }
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let (method, path, body) = change(connection, number);
        let asked = Instant::now();
        let (status, answer) = api.call(method, &path, Some(&body))?;
        took.push(asked.elapsed().as_micros() as u64);
        ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(took)
}

/// Resident memory of a process.
fn memory_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).context("no number")
}

/// Ten seconds of changes, or as many as `LEAT_SECONDS` says: no connection notices, no packet is dropped, memory stays.
///
/// req: GEN-07, RT-02
#[test]
fn connections_live_through_a_storm_of_changes() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let seconds = std::env::var("LEAT_SECONDS").map_or(Ok(10), |text| text.parse())?;
    let bed = Bed::start(&BedOptions::default())?;
    for connection in 0..CONNECTIONS {
        let (group, port) = (format!("churn-{connection}"), 30_000 + connection as u16);
        bed.appliance.create_target_group(&group, "TCP", 9, 9100, &json!({}))?;
        bed.appliance.create_listener("lb", "TCP", port, &group)?;
    }
    let transfers = bed.start_transfers("storm", 200)?;
    let socket = bed.appliance.rest.socket().to_path_buf();
    let (done, pid) = (AtomicU64::new(0), bed.appliance.control_plane_pid()?);
    let drops = |bed: &Bed| -> Result<u64> {
        let drops = bed.appliance.stats()?.totals.drops;
        Ok(["tx_full", "handover_full", "no_target", "no_flow", "no_next_hop", "flow_table_full"]
            .iter()
            .filter_map(|name| drops.get(*name))
            .sum())
    };
    let storm = |duration: Duration| -> Result<Vec<u64>> {
        std::thread::scope(|scope| {
            let one = |connection| {
                let (socket, done) = (socket.clone(), &done);
                scope.spawn(move || change_all(socket, connection, duration, done))
            };
            let threads: Vec<_> = (0..CONNECTIONS).map(one).collect();
            let mut took = Vec::new();
            for thread in threads {
                took.extend(thread.join().expect("a thread")?);
            }
            Ok(took)
        })
    };
    // Once around, so that everything that is made at the first use is there.
    storm(Duration::from_secs(2))?;
    let (memory, dropped, begin) = (memory_kib(pid)?, drops(&bed)?, Instant::now());
    let mut took = storm(Duration::from_secs(seconds))?;
    let elapsed = begin.elapsed();
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 40, 8)?)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");
    let grown = memory_kib(pid)?.saturating_sub(memory);
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0) as f64 / 1000.0;
    let rate = took.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{} changes, {rate:.0}/s; answered within {:.1} ms (half), {:.1} ms (99 %), {:.1} ms (all)",
        took.len(),
        at(50),
        at(99),
        at(100).max(took.last().copied().unwrap_or(0) as f64 / 1000.0)
    );
    println!("leat-cp: {memory} KiB, {grown} KiB more afterwards");
    ensure!(drops(&bed)? == dropped, "packets were dropped");
    ensure!(grown < GROWTH_KIB_MAX, "leat-cp has grown by {grown} KiB");
    bed.finish_transfers(transfers)?;
    bed.finish()
}

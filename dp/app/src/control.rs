//! The main thread's loop: snapshots from the segment to the lcores, signs of life, link states, the exception path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leat_abi::segment::monotonic_ms;
use leat_core::Forwarding;

use crate::lcore::Phase;
use crate::ports;
use crate::setup::DataPlane;

/// How long the thread sleeps when there was nothing to do: what a packet to Linux may wait.
const NAP: Duration = Duration::from_micros(500);
/// Milliseconds between two signs of life and looks at the ports.
const REPORT_MS: u64 = 100;
/// Packets that have been received get this long to leave when the process stops.
const DRAIN: Duration = Duration::from_millis(20);

/// Runs until told to stop; then stops the lcores so that every packet that was received is counted.
pub fn run(mut plane: DataPlane, stop: &AtomicBool) -> anyhow::Result<()> {
    let header = plane.segment.header();
    let mut reported_ms = 0;
    while !stop.load(Ordering::Acquire) {
        let carried = plane.exception.turn();
        take_snapshot(&plane);
        let now_ms = monotonic_ms();
        if now_ms >= reported_ms + REPORT_MS {
            reported_ms = now_ms;
            header.dp_heartbeat_ms.store(now_ms, Ordering::Release);
            for (block, port) in header.port.iter().zip(&plane.ports) {
                ports::report(block, port);
            }
        }
        if carried == 0 {
            std::thread::sleep(NAP);
        }
    }
    plane.phase.set(Phase::DRAIN);
    std::thread::sleep(DRAIN);
    plane.exception.turn();
    plane.phase.set(Phase::STOP);
    for worker in plane.workers.drain(..) {
        worker.join();
    }
    header.dp_heartbeat_ms.store(0, Ordering::Release);
    tracing::info!("stopped");
    Ok(())
}

/// Checks a newly announced snapshot and gives it to every lcore; frees what they have put aside.
fn take_snapshot(plane: &DataPlane) {
    for mailbox in &plane.mailboxes {
        while mailbox.retired.pop().is_some() {}
    }
    if plane.segment.pending_generation().is_none() {
        return;
    }
    match plane.segment.read_announced() {
        Some((generation, Ok(snapshot))) => {
            let forwarding = Arc::new(Forwarding::new(&snapshot, &plane.macs));
            for mailbox in &plane.mailboxes {
                // One that the lcore has not fetched yet is replaced: the latest wins.
                mailbox.fresh.force_push(forwarding.clone());
            }
            plane.segment.consume(generation, true);
        }
        Some((generation, Err(error))) => {
            tracing::error!("generation {generation} of the configuration is refused: {error}");
            plane.segment.consume(generation, false);
        }
        None => {}
    }
}

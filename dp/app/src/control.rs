//! The main thread's loop: snapshots from the segment to the lcores, signs of life, link states, the exception path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use leat_abi::segment::monotonic_ms;
use leat_core::Forwarding;

use crate::setup::{DataPlane, report_pairs};

/// How long the thread sleeps when there was nothing to do: what a packet to Linux may wait.
const NAP: Duration = Duration::from_micros(500);
/// How long it sleeps when there has been nothing for [`PATIENCE`]: what the first packet may wait. Waking up costs more than all that is
/// looked at then, and may take the CPU from others.
const LONG_NAP: Duration = Duration::from_millis(2);
/// See [`LONG_NAP`]. A conversation with a host in the neighbourhood goes on within it.
const PATIENCE: Duration = Duration::from_millis(100);
/// Milliseconds between two signs of life and looks at the ports.
const REPORT_MS: u64 = 100;
/// Packets that have been received get this long to leave when the process stops, and lcores to return.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until told to stop; then stops the lcores so that every packet that was received is counted.
pub fn run(mut plane: DataPlane, stop: &AtomicBool) -> anyhow::Result<()> {
    let header = plane.segment.header();
    let (mut reported_ms, mut carried_at) = (0, Instant::now());
    while !stop.load(Ordering::Acquire) {
        let carried = plane.exception.turn();
        take_snapshot(&plane);
        let now_ms = monotonic_ms();
        if now_ms >= reported_ms + REPORT_MS {
            reported_ms = now_ms;
            header.dp_heartbeat_ms.store(now_ms, Ordering::Release);
            for (block, port) in header.port.iter().zip(&mut plane.ports) {
                port.report(block);
            }
            for vlan in &*plane.vlans {
                let link_up = header.port[usize::from(vlan.parent)].link_up.load(Ordering::Relaxed);
                header.port[usize::from(vlan.port)].link_up.store(link_up, Ordering::Relaxed);
            }
        }
        if carried > 0 {
            carried_at = Instant::now();
        } else {
            std::thread::sleep(if carried_at.elapsed() < PATIENCE { NAP } else { LONG_NAP });
        }
    }
    let result = finish(plane);
    header.dp_heartbeat_ms.store(0, Ordering::Release);
    result
}

/// Drives out what is under way, stops lcores and ports, and looks whether every packet buffer has come back.
fn finish(plane: DataPlane) -> anyhow::Result<()> {
    let DataPlane {
        orders,
        workers,
        mailboxes,
        mut exception,
        ports,
        port_infos: _,
        vlans: _,
        segment: _segment,
        pool,
        silence,
        eal,
        ..
    } = plane;
    if !orders.drain(STOP_PATIENCE, || while exception.carry_to_linux() > 0 {}) {
        tracing::warn!("packets were still on their way between lcores after {STOP_PATIENCE:?}; they are given up");
    }
    orders.stop();
    let end = Instant::now() + STOP_PATIENCE;
    while workers.iter().any(|worker| worker.is_running()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (stuck, done): (Vec<_>, Vec<_>) = workers.into_iter().partition(|worker| worker.is_running());
    for worker in done {
        worker.join();
    }
    if !stuck.is_empty() {
        let lcores: Vec<_> = stuck.iter().map(|worker| worker.lcore().get() - 1).collect();
        // Waiting for them would have no end. The operating system clears up.
        std::mem::forget((stuck, eal));
        anyhow::bail!("lcores {lcores:?} did not return; is a device's driver stuck?");
    }
    // Rings, queues and devices give their packets back.
    drop((mailboxes, exception, ports));
    let missing = pool.in_use();
    if missing == 0 {
        tracing::info!("stopped; all {} packet buffers are back", pool.available());
    } else {
        tracing::error!(
            "stopped; {missing} packet buffers have not come back: a defect of leat-dp or of a device's driver"
        );
    }
    drop((pool, eal, silence));
    Ok(())
}

/// Checks a newly announced snapshot and gives it to every lcore; frees what they have put aside.
fn take_snapshot(plane: &DataPlane) {
    for mailbox in &plane.mailboxes {
        mailbox.free_retired();
    }
    if plane.segment.pending_generation().is_none() {
        return;
    }
    match plane.segment.read_announced() {
        Some((generation, Ok(snapshot))) => {
            let forwarding = Arc::new(Forwarding::new(&snapshot, &plane.port_infos, owner_key(plane)));
            let previous = plane.generation.replace(generation);
            report_pairs(plane.source_ports.configure(&forwarding, all_use(plane, previous)));
            for mailbox in &plane.mailboxes {
                mailbox.send(forwarding.clone());
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

fn owner_key(plane: &DataPlane) -> u64 {
    plane.segment.header().owner_key.load(Ordering::Relaxed)
}

/// Whether every lcore uses this generation or a later one.
fn all_use(plane: &DataPlane, generation: u64) -> bool {
    let lcores = 0..plane.mailboxes.len() as u16;
    lcores.map(|lcore| plane.segment.lcore_header(lcore)).all(|h| h.generation.load(Ordering::Acquire) >= generation)
}

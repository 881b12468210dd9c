//! How evenly flows spread over targets.

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_abi::counters::TargetCounter;
use leat_core::{Arrival, BURST, Forwarding, Now, Pipeline, Place, SourcePorts};

use crate::common::memory::Memory;
use crate::common::*;

const FLOWS: u32 = 100_000;
const MANY_FLOWS: u32 = 1_000_000;
const TARGETS: u16 = 10;

/// χ² of 9 degrees of freedom is larger than this once in a thousand times.
const CHI_SQUARE_MAX: f64 = 27.88;

/// New flows per target, of SYNs (or datagrams) that differ as `vary` says. Frames are patched, not built, and their segment's
/// checksum is left wrong: this is about hundreds of thousands of them.
fn spread(packet: &Packet, flows: u32, vary: impl Fn(u32, &mut [u8])) -> Vec<u64> {
    let mut world = snapshot();
    let all: Vec<u16> = (0..TARGETS).collect();
    for (slot, target) in world.targets.iter_mut().enumerate() {
        target.address = [10, 2, 0, 11 + slot as u8].into();
    }
    world.groups.iter_mut().take(4).for_each(|g| g.table = (0..1000).map(|i| all[i % all.len()]).collect());

    let mut memory = Memory::new(1 << 17, 8);
    let (counters, events) = (memory.counters, memory.producer());
    let place = Place { lcore: 0, lcores: 1, owner_key: 1, table_key: [2, 3] };
    let now = Now { ms: 1_000_000 };
    let forwarding = Arc::new(Forwarding::new(&world, &crate::common::world::ports(), 1));
    let ports = Arc::new(SourcePorts::new(1, 64));
    ports.configure(&forwarding, true);
    let mut pipeline = Pipeline::new(place, memory.flows(), counters, events, ports, now);
    pipeline.install(forwarding);
    let template = packet.bytes();
    let mut verdicts = ArrayVec::new();
    for first in (0..flows).step_by(BURST) {
        let frames = first..(first + BURST as u32).min(flows);
        let mut frames: Vec<OwnedFrame> = frames
            .map(|n| {
                let mut bytes = template.clone();
                vary(n, &mut bytes);
                OwnedFrame::new(CLIENT_SIDE, bytes)
            })
            .collect();
        pipeline.process(now, Arrival::Wire, &mut frames, &mut verdicts);
    }
    assert_eq!(counters.dropped_total(), 0);
    (0..TARGETS).map(|slot| counters.get_target(slot, TargetCounter::NewFlows)).collect()
}

#[track_caller]
fn even(counts: &[u64]) {
    let flows: u64 = counts.iter().sum();
    let mean = flows as f64 / f64::from(TARGETS);
    assert!([FLOWS, MANY_FLOWS].contains(&(flows as u32)));
    let chi_square: f64 = counts.iter().map(|n| (*n as f64 - mean).powi(2) / mean).sum();
    assert!(chi_square < CHI_SQUARE_MAX, "{chi_square}: {counts:?}");
    assert!(counts.iter().all(|n| *n as f64 <= mean * 1.05), "{counts:?}");
}

fn ports(n: u32, frame: &mut [u8]) {
    // Two addresses whose IP checksum is the same (a byte changed places with one two bytes on), and ports.
    let (high, low) = (n / 50_000, n % 50_000);
    frame[34..36].copy_from_slice(&((low + 1024) as u16).to_be_bytes());
    if high == 1 {
        frame.swap(26, 28);
    }
}

/// Connections differ by source socket. req: RT-04, RT-09, R31
#[test]
fn source_ports_spread_evenly() {
    let client = SocketAddr::new([10, 20, 30, 40].into(), 0);
    even(&spread(&Stream::new(client, DIRECT, 77).syn(), FLOWS, ports));
    even(&spread(&Packet::udp(client, DNS, b"x").macs(ROUTER_MAC, PORTS[0]), FLOWS, ports));
}

/// The same socket again and again, with other sequence numbers: consecutive ones, and ones that differ in the high bits only.
/// req: RT-01, R31
#[test]
fn sequence_numbers_spread_evenly() {
    let syn = Stream::new(CLIENT, DIRECT, 0).syn();
    even(&spread(&syn, MANY_FLOWS, |n, frame| frame[38..42].copy_from_slice(&(n + 1).to_be_bytes())));
    even(&spread(&syn, FLOWS, |n, frame| frame[38..42].copy_from_slice(&((n + 1) << 15).to_be_bytes())));
}

//! Nothing is allocated or freed once the pipeline runs: an allocator counts what happens while it is armed.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_abi::message::{ANY_PORT, Command, Filter};
use leat_core::{Arrival, BURST, Forwarding, Now, Pipeline, Place, SourcePorts, Verdict};

use common::memory::Memory;
use common::*;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    if ARMED.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

struct Watching;

// SAFETY: needed to see every allocation. All calls go to the system's allocator unchanged; noting them allocates nothing, as the
// thread-local cells are constants without destructors.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note();
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// How often something was allocated or freed meanwhile.
fn calls(what: impl FnOnce()) -> u64 {
    CALLS.set(0);
    ARMED.set(true);
    what();
    ARMED.set(false);
    CALLS.get()
}

#[test]
fn the_watch_sees_an_allocation() {
    assert_eq!(calls(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
}

/// Traffic of all kinds, a full table, expiry, traces, a dump and changes of configuration, on a pipeline that is warm and one
/// that is not. req: GEN-04
#[test]
fn a_running_pipeline_allocates_nothing() {
    let mut memory = Memory::new(64, 16);
    let (counters, events, mut reader) = (memory.counters, memory.producer(), memory.consumer());
    let place = Place { lcore: 0, lcores: 2, owner_key: 5, table_key: [2, 3] };
    let mut now = Now { ms: 1_000_000 };
    let world = snapshot();
    let forwarding = Arc::new(Forwarding::new(&world, &common::world::ports(), common::world::OWNER_KEY));
    let ports = Arc::new(SourcePorts::new(2, 64));
    ports.configure(&forwarding, true);
    let mut pipeline = Pipeline::new(place, memory.flows(), counters, events, ports, now);
    pipeline.install(forwarding);

    // Frames are made before, and so is whatever must be kept for later.
    let client = |n: u32| std::net::SocketAddr::new([198, 51, 100, n as u8].into(), 1024 + (n * 77 % 50_000) as u16);
    let client_6 =
        |n: u32| std::net::SocketAddr::new([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, n as u16].into(), client(n).port());
    let mut originals: Vec<OwnedFrame> = Vec::new();
    let mut add = |port, bytes| originals.push(OwnedFrame::new(port, bytes));
    for n in 0..400 {
        let vip = [WEB, DIRECT, DIRECT_2, EMPTY, TCP_4_TO_6][n as usize % 5];
        let s = Stream::new(client(n), vip, n);
        add(CLIENT_SIDE, s.syn().bytes());
        add(CLIENT_SIDE, s.at_client(if n % 3 == 0 { RST } else { ACK }, n + 1, 0).bytes());
        add(CLIENT_SIDE, Packet::udp(client(n), [DNS, LOG][n as usize % 2], b"x").macs(ROUTER_MAC, PORTS[0]).bytes());
        let answer = Packet::tcp(target(n as u16 % 4), client(n), SYN | ACK, 9, n + 1).macs(target_mac(0), PORTS[1]);
        add(TARGET_SIDE, answer.bytes());
        let vip = [WEB_6, DIRECT_6, EMPTY_6, TCP_6_TO_4][n as usize % 4];
        let s = Stream::new(client_6(n), vip, n);
        add(CLIENT_SIDE, s.syn().bytes());
        add(CLIENT_SIDE, s.at_client(ACK, n + 1, 0).bytes());
        let udp = [DNS_6, LOG_6, UDP_6_TO_4][n as usize % 3];
        add(CLIENT_SIDE, Packet::udp(client_6(n), udp, b"x").macs(ROUTER_MAC, PORTS[0]).bytes());
        add(CLIENT_SIDE, Packet::udp(client(n), UDP_4_TO_6, b"x").macs(ROUTER_MAC, PORTS[0]).bytes());
        for target in [8, 9, 10, 11].map(target) {
            let answer = Packet::tcp(target, client_6(n), SYN | ACK, 9, n + 1).macs(target_mac(8), PORTS[1]);
            add(TARGET_SIDE, answer.bytes());
        }
        add(CLIENT_SIDE, packet::neighbour_solicitation(ROUTER_MAC));
        add(CLIENT_SIDE, packet::arp(ROUTER_MAC));
        add(CLIENT_SIDE, vec![n as u8; n as usize]);
    }
    let snapshots: Vec<Arc<Forwarding>> = (2..60)
        .map(|generation| {
            let mut world = world.clone();
            world.generation = generation;
            world.targets[generation as usize % 8].state = leat_abi::snapshot::TargetState::Unhealthy;
            Arc::new(Forwarding::new(&world, &common::world::ports(), common::world::OWNER_KEY))
        })
        .collect();
    let mut old: Vec<Arc<Forwarding>> = Vec::with_capacity(1000);
    let mut frames = originals.clone();
    let mut verdicts: ArrayVec<Verdict, BURST> = ArrayVec::new();

    for round in 0..6 {
        for (frame, original) in frames.iter_mut().zip(&originals) {
            frame.bytes.clone_from(&original.bytes);
            // What buffers have: room for a longer header.
            frame.bytes.reserve(64);
            frame.grown = 0;
        }
        let count = calls(|| {
            for (turn, burst) in frames.chunks_mut(BURST).enumerate() {
                let arrival = if turn % 3 == 0 { Arrival::HandedOver } else { Arrival::Wire };
                pipeline.process(now, arrival, burst, &mut verdicts);
                for (verdict, frame) in verdicts.iter().zip(burst.iter()) {
                    Pipeline::sent(&counters, *verdict, frame.bytes.len());
                    Pipeline::refused(&counters, *verdict);
                }
                now.ms += 900;
                match turn % 4 {
                    0 => pipeline.command(Command::TraceStart {
                        id: 1,
                        count: 9,
                        port: ANY_PORT,
                        filter: Filter::default(),
                    }),
                    1 => pipeline.command(Command::FlowDump { id: 2, limit: 20, filter: Filter::default() }),
                    2 => pipeline.command(Command::TraceStop { id: 1 }),
                    _ => old.push(pipeline.install(snapshots[(round * 7 + turn) % snapshots.len()].clone())),
                }
                pipeline.housekeeping(now);
                while let Ok(Some(message)) = reader.pop() {
                    std::hint::black_box(message);
                }
            }
        });
        assert_eq!(count, 0, "round {round}");
        now.ms += 500_000;
    }
    use leat_abi::{Counter, DropReason};
    for counter in [Counter::FlowsCreated, Counter::FlowsExpired, Counter::FlowsClosed, Counter::ResetsSent] {
        assert!(counters.get(counter) > 0, "{counter:?} was exercised");
    }
    assert!(counters.dropped(DropReason::FlowTableFull) > 0 && counters.get(Counter::HandedOut) > 0);
}

/// PROXY headers are made, repeated and given up, without allocating anything. req: GEN-04, S8.3
#[test]
fn headers_are_made_without_an_allocation() {
    let mut memory = Memory::new(64, 16);
    let (counters, events) = (memory.counters, memory.producer());
    let place = Place { lcore: 0, lcores: 1, owner_key: 5, table_key: [2, 3] };
    let mut now = Now { ms: 1_000_000 };
    let mut world = snapshot();
    world.groups.iter_mut().for_each(|group| group.proxy_protocol = true);
    let forwarding = Arc::new(Forwarding::new(&world, &common::world::ports(), common::world::OWNER_KEY));
    let ports = Arc::new(SourcePorts::new(1, 64));
    ports.configure(&forwarding, true);
    let mut pipeline = Pipeline::new(place, memory.flows(), counters, events, ports, now);
    pipeline.install(forwarding);
    let mut step = |port, packet: &Packet, pass_ms| {
        let mut frames = [OwnedFrame::new(port, packet.bytes())];
        let mut verdicts: ArrayVec<Verdict, BURST> = ArrayVec::new();
        let count = calls(|| {
            pipeline.process(now, Arrival::Wire, &mut frames, &mut verdicts);
            pipeline.originated(|bytes, verdict| Pipeline::sent(&counters, verdict, bytes.len()));
            now.ms += pass_ms;
            pipeline.housekeeping(now);
            pipeline.originated(|bytes, verdict| Pipeline::sent(&counters, verdict, bytes.len()));
        });
        assert_eq!(count, 0, "{packet:?}");
        let [frame] = frames;
        frame.bytes
    };
    for n in 0..20 {
        let mut s = Stream::new(std::net::SocketAddr::new(CLIENT.ip(), 700 + n), [WEB, DIRECT][usize::from(n % 2)], 9);
        let syn = Packet::read(&step(CLIENT_SIDE, &s.syn(), 0)).expect("a packet");
        (s.nat, s.target) = (syn.source, syn.destination);
        step(TARGET_SIDE, &s.syn_ack(), 0);
        step(CLIENT_SIDE, &s.from_client(ACK, b"data"), 0);
        step(TARGET_SIDE, &s.from_target(ACK, b"data"), 0);
        if n % 4 < 2 {
            step(TARGET_SIDE, &s.at_target(ACK, s.t, s.c.wrapping_add(100)), 0);
        }
    }
    let nothing = Packet::icmp(CLIENT, WEB, 8, 0).macs(ROUTER_MAC, PORTS[0]);
    (0..300).for_each(|_| drop(step(CLIENT_SIDE, &nothing, 100)));
    use leat_abi::Counter;
    assert_eq!(counters.get(Counter::ProxyHeadersSent), 20 + 10 * 6);
    assert_eq!(counters.get(Counter::ProxyUnacked), 10);
}

/// Fragments are held, go on, overlap and are forgotten, packets are cut or answered with errors, and errors are passed on, without allocating
/// anything. req: GEN-04, S10.3
#[test]
fn fragments_and_errors_without_an_allocation() {
    use common::errors::{Error, quoted};
    use common::pieces::pieces;
    use leat_abi::{Counter, DropReason};

    let mut memory = Memory::new(64, 16);
    let (counters, events) = (memory.counters, memory.producer());
    let place = Place { lcore: 0, lcores: 1, owner_key: 5, table_key: [2, 3] };
    let mut now = Now { ms: 1_000_000 };
    let mut ports_info = common::world::ports();
    ports_info[1].mtu = 1300;
    let forwarding = Arc::new(Forwarding::new(&snapshot(), &ports_info, common::world::OWNER_KEY));
    let ports = Arc::new(SourcePorts::new(1, 64));
    ports.configure(&forwarding, true);
    let mut pipeline = Pipeline::new(place, memory.flows(), counters, events, ports, now);
    pipeline.install(forwarding);
    let mut step = |bytes: Vec<u8>, pass_ms| {
        let mut frames = [OwnedFrame::new(CLIENT_SIDE, bytes)];
        let mut verdicts: ArrayVec<Verdict, BURST> = ArrayVec::new();
        let count = calls(|| {
            pipeline.process(now, Arrival::Wire, &mut frames, &mut verdicts);
            Pipeline::sent(&counters, verdicts[0], frames[0].bytes.len());
            pipeline.originated(|bytes, verdict| Pipeline::sent(&counters, verdict, bytes.len()));
            now.ms += pass_ms;
            pipeline.housekeeping(now);
            pipeline.originated(|bytes, verdict| Pipeline::sent(&counters, verdict, bytes.len()));
        });
        assert_eq!(count, 0);
        let [frame] = frames;
        (verdicts[0], frame.bytes)
    };
    for id in 0..1500u32 {
        let (client, vip) = [(CLIENT, DNS), (CLIENT, LOG), (CLIENT_6, UDP_6_TO_4)][id as usize % 3];
        let packet = Packet { id: 0, ..Packet::udp(client, vip, &[id as u8; 4000]).macs(ROUTER_MAC, PORTS[0]) };
        let frames = pieces(&packet.bytes(), id, 1480);
        // Only from the last one to the second, only from the second to the last, or all.
        let order: &[usize] = [&[2, 1, 0][..], &[2, 1], &[0, 1, 1, 2], &[1, 0, 2]][id as usize % 4];
        order.iter().for_each(|at| drop(step(frames[*at].clone(), 0)));
        let mut different = frames[1].clone();
        *different.last_mut().expect("a byte") ^= 1;
        step(different, u64::from(id % 500 == 499) * 900);
        let big = Packet { dont_fragment: id % 2 == 0, payload: vec![0; 1400], id: 0, ..packet };
        step(big.bytes(), 0);
    }
    let (_, sent) = step(Packet::udp(CLIENT, DNS, b"x").macs(ROUTER_MAC, PORTS[0]).bytes(), 0);
    let sent = Packet::read(&sent).expect("a datagram");
    for n in 0..300 {
        let error = Error::new(std::net::IpAddr::from([10, 2, 0, 77]), (3, n as u8 % 16), &quoted(&sent, 1));
        step(Error { macs: (ROUTER_MAC, PORTS[0]), ..error }.bytes(), 0);
    }
    (0..20).for_each(|_| drop(step(sent.bytes(), 10_000)));
    for counter in [Counter::FragmentsMade, Counter::IcmpErrorsSent, Counter::IcmpErrorsForwarded] {
        assert!(counters.get(counter) > 0, "{counter:?} was exercised");
    }
    for reason in
        [DropReason::FragmentOverlap, DropReason::FragmentsFull, DropReason::FragmentTimeout, DropReason::IcmpRate]
    {
        assert!(counters.dropped(reason) > 0, "{reason:?} was exercised");
    }
    assert_eq!(counters.get(Counter::HeldPackets), 0);
}

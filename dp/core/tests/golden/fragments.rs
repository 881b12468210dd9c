//! Fragments (semantics §10): what comes out is, put together, what a whole packet would have become.

use std::net::SocketAddr;

use leat_abi::{Counter, DropReason};
use leat_core::{Arrival, Verdict};

use crate::common::packet::L4;
use crate::common::pieces::{joined, piece, pieces, raw_piece, read};
use crate::common::*;

/// Milliseconds for which fragments wait.
const WAIT_MS: u64 = 2_000;

/// A payload in which no two places look alike.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Feeds frames to lcore 0 and returns those that leave by a port, now or once what was held goes on.
fn through(h: &mut Harness, port: u8, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for frame in frames {
        let got = h.feed_bytes(0, port, frame);
        match got.verdict {
            Verdict::Forward { .. } => out.push(got.bytes),
            Verdict::Consume => {}
            verdict => panic!("{verdict:?}"),
        }
        h.housekeeping();
        out.extend(h.made().into_iter().map(|(verdict, bytes)| {
            assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
            bytes
        }));
    }
    out
}

fn held(h: &Harness) -> u64 {
    h.total(Counter::HeldPackets)
}

/// A datagram of a client.
fn datagram(s: &Datagrams, length: usize, id: u16) -> Packet {
    Packet {
        dont_fragment: s.client.is_ipv6(),
        id: if s.client.is_ipv6() { 0 } else { id },
        ..s.from_client(&payload(length))
    }
}

/// Every order of three fragments, both ways: the identification stays where addresses are preserved, and every byte is right.
/// req: S10.2, S10.3, S10.6, S10.8
#[test]
fn any_order_of_datagrams() {
    for (order, id) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].iter().zip(1..) {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, DNS);
        s.target_sends(&mut h, b"answer");
        for from_client in [true, false] {
            let packet = if from_client { s.from_client(&payload(3000)) } else { s.from_target(&payload(3000)) };
            let packet = Packet { id, dont_fragment: false, ..packet };
            let expected = if from_client { s.as_target_sees(&packet) } else { s.as_client_sees(&packet) };
            let all = pieces(&packet.bytes(), id.into(), 1024);
            let frames: Vec<_> = order.iter().map(|n| all[*n].clone()).collect();
            let got = through(&mut h, if from_client { CLIENT_SIDE } else { TARGET_SIDE }, &frames);
            assert_eq!(joined(&got), (expected.bytes(), id.into()));
            assert_eq!((got.len(), held(&h)), (3, 0));
        }
        h.check_flows();
    }
}

/// Counters: a held fragment is held, then forwarded. req: S10.3, MET-35
#[test]
fn what_is_held_is_counted() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let [first, second] = &pieces(&datagram(&s, 1500, 5).bytes(), 5, 1024)[..] else { panic!("two") };
    h.moved();
    assert_eq!(h.feed_bytes(0, CLIENT_SIDE, second).verdict, Verdict::Consume);
    rx(second.len()).and("held_packets", 1).is(&h.moved());
    h.feed_bytes(0, CLIENT_SIDE, first).forwarded_frame();
    rx(first.len()).to_target(s.slot(), first.len() - 14).is(&h.moved());
    h.housekeeping();
    nothing().and("held_packets", -1).to_target(s.slot(), second.len() - 14).is(&h.moved());
    assert_eq!(h.made().len(), 1);
}

/// A first fragment begins a flow: of UDP, and of TCP with a SYN. req: S10.2
#[test]
fn a_first_fragment_begins_a_flow() {
    let mut h = Harness::default();
    let packet = Packet { dont_fragment: false, ..Packet::udp(CLIENT, DNS, &payload(2000)).macs(ROUTER_MAC, PORTS[0]) };
    let got = through(&mut h, CLIENT_SIDE, &pieces(&packet.bytes(), 9, 1024));
    let (frame, _) = joined(&got);
    let target = Packet::read(&frame).expect("a datagram").destination;
    assert_eq!(h.total(Counter::FlowsCreated), 1);
    let s = Datagrams { target, ..Datagrams { client: CLIENT, vip: DNS, target, nat: CLIENT, lcore: 0 } };
    assert_eq!(frame, Packet { id: 9, ..s.as_target_sees(&packet) }.bytes());

    let s = Stream::new(CLIENT, DIRECT, 77);
    let syn = Packet { dont_fragment: false, ..s.syn().payload(&payload(100)) };
    let got = through(&mut h, CLIENT_SIDE, &pieces(&syn.bytes(), 10, 64).into_iter().rev().collect::<Vec<_>>());
    let read = Packet::read(&joined(&got).0).expect("a segment");
    assert_eq!((read.payload, h.total(Counter::FlowsCreated)), (payload(100), 2));
    h.check_flows();
}

/// Segments in pieces, both modes and ways; under full NAT the datagrams of two clients get identifications of their own, each one for all
/// of its fragments. req: S10.8
#[test]
fn segments_in_both_modes() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        h.world.groups[0].table = vec![2];
        h.publish();
        let mut seen = Vec::new();
        for client in [CLIENT, SocketAddr::new(CLIENT.ip(), 40_002), CLIENT] {
            let mut s = Stream::open(&mut h, client, vip, 1000 + u32::from(client.port()));
            for from_client in [true, false] {
                let packet =
                    if from_client { s.from_client(ACK, &payload(700)) } else { s.from_target(ACK, &payload(700)) };
                let packet = Packet { id: 0x7777, dont_fragment: false, ..packet };
                let expected = if from_client { s.as_target_sees(&packet) } else { s.as_client_sees(&packet) };
                let mut frames = pieces(&packet.bytes(), 0x7777, 256);
                frames.rotate_left(1);
                let got = through(&mut h, if from_client { CLIENT_SIDE } else { TARGET_SIDE }, &frames);
                let (frame, id) = joined(&got);
                assert_eq!(frame, Packet { id: id as u16, ..expected }.bytes());
                assert_eq!(id == 0x7777, vip == DIRECT, "{id:x}");
                if from_client {
                    s.c = packet.seq_end();
                    seen.push(id);
                } else {
                    s.t = packet.seq_end();
                }
            }
            s.works(&mut h);
            s.abort(&mut h);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), if vip == WEB { 3 } else { 1 }, "the target sees one source");
    }
}

/// A wrong checksum stays wrong. req: S18.2, S10.6
#[test]
fn corruption_stays_visible() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, LOG);
    let mut whole = datagram(&s, 1000, 3).bytes();
    whole[500] ^= 1;
    let got = through(&mut h, CLIENT_SIDE, &pieces(&whole, 3, 512));
    assert_eq!(packet::checksums(&joined(&got).0), Some((true, false)));
}

/// A fragment that comes again as it was is dropped, and the datagram passes; one that is not the same ends it. req: S10.4
#[test]
fn duplicates() {
    for again_first in [true, false] {
        let mut h = Harness::default();
        let s = Datagrams::open(&mut h, CLIENT, DNS);
        let packet = datagram(&s, 2500, 8);
        let all = pieces(&packet.bytes(), 8, 1024);
        let again = if again_first { 0 } else { 1 };
        let mut got = through(&mut h, CLIENT_SIDE, &all[..2]);
        h.moved();
        assert!(h.feed_bytes(0, CLIENT_SIDE, &all[again]).is_dropped(DropReason::FragmentOverlap));
        rx(all[again].len()).dropped("fragment_overlap").is(&h.moved());
        got.extend(through(&mut h, CLIENT_SIDE, &all[2..]));
        assert_eq!(joined(&got).0, s.as_target_sees(&packet).bytes());
        // It is complete: whatever comes now is another one's.
        assert_eq!(joined(&through(&mut h, CLIENT_SIDE, &all)).0, s.as_target_sees(&packet).bytes());

        let all = pieces(&packet.bytes(), 9, 1024);
        let mut different = all[again].clone();
        *different.last_mut().expect("a byte") ^= 1;
        assert_eq!(through(&mut h, CLIENT_SIDE, &all[..2]).len(), 2);
        for frame in [&different, &all[0], &all[1], &all[2]] {
            assert!(h.feed_bytes(0, CLIENT_SIDE, frame).is_dropped(DropReason::FragmentOverlap));
        }
    }
}

/// Overlapping fragments end the whole datagram, for 2 s: those that were held go, too. req: S10.4
#[test]
fn overlaps() {
    let overlap = |h: &mut Harness, before: &[usize], bad: &dyn Fn(&[u8]) -> Vec<u8>| {
        let s = Datagrams::open(h, CLIENT, DNS);
        let packet = datagram(&s, 2500, 6);
        let whole = packet.bytes();
        let all = pieces(&whole, 6, 1024);
        let passed = through(h, CLIENT_SIDE, &before.iter().map(|n| all[*n].clone()).collect::<Vec<_>>()).len();
        let was_held = before.len() - passed;
        h.moved();
        let bad = bad(&whole);
        assert!(h.feed_bytes(0, CLIENT_SIDE, &bad).is_dropped(DropReason::FragmentOverlap));
        let moved = rx(bad.len()).and("drop.fragment_overlap", 1 + was_held as i64);
        moved.and("held_packets", -(was_held as i64)).is(&h.moved());
        for frame in &all {
            assert!(h.feed_bytes(0, CLIENT_SIDE, frame).is_dropped(DropReason::FragmentOverlap));
        }
        h.housekeeping();
        assert!(h.made().is_empty());
        // The next datagram is another matter, and so is this one later.
        let next = Packet { id: 7, ..packet.clone() };
        assert_eq!(
            joined(&through(h, CLIENT_SIDE, &pieces(&next.bytes(), 7, 1024))).0,
            s.as_target_sees(&next).bytes()
        );
        h.pass(WAIT_MS);
        assert_eq!(joined(&through(h, CLIENT_SIDE, &all)).0, s.as_target_sees(&packet).bytes());
    };
    for before in [&[0][..], &[0, 1], &[1], &[2, 1], &[2]] {
        overlap(&mut Harness::default(), before, &|whole| piece(whole, 6, 8, 2048 + 8));
        overlap(&mut Harness::default(), before, &|whole| piece(whole, 6, 1016, 2056));
    }
    // The end is where the last one said.
    overlap(&mut Harness::default(), &[0, 2], &|whole| raw_piece(whole, 6, 3200, false, b"12345678"));
    overlap(&mut Harness::default(), &[0, 2], &|whole| raw_piece(whole, 6, 4096, true, b"12345678"));
    overlap(&mut Harness::default(), &[1], &|whole| raw_piece(whole, 6, 512, false, b"12345678"));
}

/// The first one does not come: what was held is dropped after 2 s, and then it all begins anew. req: S10.3
#[test]
fn the_first_one_never_comes() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let packet = datagram(&s, 2500, 6);
    let all = pieces(&packet.bytes(), 6, 1024);
    assert!(through(&mut h, CLIENT_SIDE, &all[1..]).is_empty());
    h.moved();
    h.pass(WAIT_MS - 1);
    nothing().is(&h.moved());
    assert_eq!(held(&h), 2);
    h.pass(1);
    nothing().and("drop.fragment_timeout", 2).and("held_packets", -2).is(&h.moved());
    assert_eq!(through(&mut h, CLIENT_SIDE, &all[..1]).len(), 1);

    // Nobody looked after time, and another fragment of it comes.
    let late = pieces(&packet.bytes(), 60, 1024);
    assert!(through(&mut h, CLIENT_SIDE, &late[1..2]).is_empty());
    h.skip(WAIT_MS);
    h.moved();
    h.feed_bytes(0, CLIENT_SIDE, &late[2]);
    rx(late[2].len()).dropped("fragment_timeout").is(&h.moved());
    assert_eq!((through(&mut h, CLIENT_SIDE, &late[..1]).len(), held(&h)), (2, 0));
}

/// Sixteen fragments of a datagram are held and no more; a datagram in order may have more. req: S10.3
#[test]
fn many_fragments_of_one_datagram() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let packet = datagram(&s, 18 * 64 - 8, 4);
    let all = pieces(&packet.bytes(), 4, 64);
    assert!(through(&mut h, CLIENT_SIDE, &all[1..17]).is_empty());
    h.moved();
    assert!(h.feed_bytes(0, CLIENT_SIDE, &all[17]).is_dropped(DropReason::FragmentsFull));
    rx(all[17].len()).dropped("fragments_full").is(&h.moved());
    assert_eq!((held(&h), through(&mut h, CLIENT_SIDE, &all[..1]).len(), held(&h)), (16, 17, 0));

    let packet = datagram(&s, 64 * 64 - 8, 5);
    let got = through(&mut h, CLIENT_SIDE, &pieces(&packet.bytes(), 5, 64));
    assert_eq!(joined(&got).0, s.as_target_sees(&packet).bytes());
    let packet = datagram(&s, 65 * 64 - 8, 6);
    let all = pieces(&packet.bytes(), 6, 64);
    assert_eq!(through(&mut h, CLIENT_SIDE, &all[..64]).len(), 64);
    assert!(h.feed_bytes(0, CLIENT_SIDE, &all[64]).is_dropped(DropReason::FragmentsFull));
}

/// A flood of fragments without a first one: bounded in datagrams and in bytes, the oldest go, and everything is given back. req: S10.3
#[test]
fn floods_are_bounded() {
    for (size, most) in [(64, 1024), (2960, (2 << 20) / 3072)] {
        let mut h = Harness::default();
        h.mtus = [9000; 2];
        h.publish();
        let s = Datagrams::open(&mut h, CLIENT, DNS);
        let later = |id| piece(&datagram(&s, 4 * size, 1).bytes(), id, size, 2 * size);
        for id in 0..3000 {
            assert_eq!(h.feed_bytes(0, CLIENT_SIDE, &later(id)).verdict, Verdict::Consume);
        }
        assert_eq!(held(&h), most);
        assert_eq!(h.counters(0).dropped(DropReason::FragmentsFull), 3000 - most);
        // The newest are there, the oldest are not.
        let first = |id| piece(&datagram(&s, 4 * size, 1).bytes(), id, 0, size);
        assert_eq!(through(&mut h, CLIENT_SIDE, &[first(2999)]).len(), 2);
        assert_eq!(through(&mut h, CLIENT_SIDE, &[first(3)]).len(), 1);
        h.skip(WAIT_MS);
        h.housekeeping();
        assert_eq!(held(&h), 0);
        assert_eq!(
            h.counters(0).dropped(DropReason::FragmentTimeout) + h.counters(0).dropped(DropReason::FragmentsFull),
            2999
        );
        let packet = datagram(&s, 16_000, 9);
        let mut all = pieces(&packet.bytes(), 9, 1024);
        all.reverse();
        assert_eq!(joined(&through(&mut h, CLIENT_SIDE, &all)).0, s.as_target_sees(&packet).bytes());
    }
}

/// What follows a first fragment that is not forwarded is dropped in silence, and not held. req: LSN-06, S10.2
#[test]
fn fragments_without_a_flow() {
    let mut h = Harness::default();
    let to = |port| Packet {
        dont_fragment: false,
        ..Packet::udp(CLIENT, SocketAddr::new(NODE, port), &payload(1000)).macs(ROUTER_MAC, PORTS[0])
    };
    for frame in pieces(&to(4321).bytes(), 1, 512) {
        assert!(h.feed_bytes(0, CLIENT_SIDE, &frame).is_dropped(DropReason::NoListener));
    }
    // A stray segment is answered once.
    let stray = Packet {
        dont_fragment: false,
        ..Packet::tcp(CLIENT, DIRECT, ACK, 5, 6).macs(ROUTER_MAC, PORTS[0]).payload(&payload(1000))
    };
    let [first, second] = &pieces(&stray.bytes(), 2, 512)[..] else { panic!("two") };
    assert!(matches!(h.feed_bytes(0, CLIENT_SIDE, first).verdict, Verdict::Answer { .. }));
    assert!(h.feed_bytes(0, CLIENT_SIDE, second).is_dropped(DropReason::NoFlow));
    // In the other order: held until that is known.
    let [first, second] = &pieces(&stray.bytes(), 3, 512)[..] else { panic!("two") };
    assert_eq!(h.feed_bytes(0, CLIENT_SIDE, second).verdict, Verdict::Consume);
    assert!(matches!(h.feed_bytes(0, CLIENT_SIDE, first).verdict, Verdict::Answer { .. }));
    h.moved();
    h.housekeeping();
    nothing().and("held_packets", -1).dropped("no_flow").is(&h.moved());
    assert!(h.made().is_empty());
}

/// Later fragments change nothing of their flow: no state, no reset, no timer. Their TTL counts. req: S10.2
#[test]
fn later_fragments_change_nothing() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, DIRECT, 5);
    let before = h.flows();
    let whole = Packet { dont_fragment: false, ..s.from_client(FIN | RST | ACK, &payload(500)) };
    let first = Packet { dont_fragment: false, ..s.from_client(ACK, &payload(500)) };
    h.skip(5_000);
    h.feed_bytes(0, CLIENT_SIDE, &piece(&whole.bytes(), 1, 64, 128));
    h.feed_bytes(0, CLIENT_SIDE, &piece(&whole.bytes(), 1, 128, 256));
    assert_eq!(h.flows(), before);
    h.feed_bytes(0, CLIENT_SIDE, &piece(&first.bytes(), 1, 0, 64));
    let after = h.flows();
    h.housekeeping();
    assert_eq!((h.made().len(), h.flows() == after), (2, true));
    let dying = piece(&Packet { ttl: 1, ..first }.bytes(), 1, 256, 264);
    assert!(h.feed_bytes(0, CLIENT_SIDE, &dying).is_dropped(DropReason::TtlExpired));
    // Its flow ends: what still comes has none.
    h.skip(400_000);
    let late = piece(&whole.bytes(), 1, 300 / 8 * 8, 320);
    assert_eq!(h.feed_bytes(0, CLIENT_SIDE, &late).verdict, Verdict::Consume, "its datagram was forgotten");
}

/// Linux puts together what is its own.
#[test]
fn fragments_for_the_host() {
    let mut h = Harness::default();
    let packet = Packet {
        dont_fragment: false,
        ..Packet::udp(CLIENT, SocketAddr::new(HOST, 4500), &payload(1000)).macs(ROUTER_MAC, PORTS[0])
    };
    for frame in pieces(&packet.bytes(), 1, 512).iter().rev() {
        assert_eq!(h.feed_bytes(0, CLIENT_SIDE, frame).verdict, Verdict::Punt { port: CLIENT_SIDE });
    }
}

/// The process dies while it holds fragments: they are lost, and counted. req: MET-35
#[test]
fn what_was_held_is_counted_after_a_crash() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let all = pieces(&datagram(&s, 3000, 6).bytes(), 6, 1024);
    assert!(through(&mut h, CLIENT_SIDE, &all[1..]).is_empty());
    h.moved();
    h.crash();
    nothing().and("flows_adopted", 1).and("held_packets", -2).and("drop.restart", 2).is(&h.moved());
    assert_eq!(through(&mut h, CLIENT_SIDE, &all[..1]).len(), 1);
    h.check_laws();
}

/// Any lcore may get any fragment: they come out once, rewritten as their flow says, whoever owns it. req: S10.5, S1.2
#[test]
fn any_lcore_gets_any_fragment() {
    for lcores in [2, 3, 4] {
        for vip in [DNS, LOG] {
            let mut h = Harness::new(lcores, 1024);
            for n in 0..40u16 {
                let client = SocketAddr::new(CLIENT.ip(), 2000 + n);
                let mut s = Datagrams { client, vip, target: vip, nat: client, lcore: 0 };
                let packet = datagram(&s, 3000, n);
                let all = pieces(&packet.bytes(), n.into(), 1024);
                let order = [[0, 1, 2], [2, 1, 0], [1, 0, 2]][usize::from(n) % 3];
                let mut got = Vec::new();
                for (i, at) in (0..).zip(order) {
                    let out = h.feed_bytes((n + i) % lcores, CLIENT_SIDE, &all[at]);
                    match out.verdict {
                        Verdict::Forward { .. } => got.push(out.bytes),
                        Verdict::Consume => {}
                        verdict => panic!("{verdict:?}"),
                    }
                }
                h.housekeeping();
                got.extend(h.made().into_iter().map(|(_, bytes)| bytes));
                let (frame, id) = joined(&got);
                let read = Packet::read(&frame).expect("a datagram");
                (s.nat, s.target) = (read.source, read.destination);
                assert_eq!(frame, Packet { id: id as u16, ..s.as_target_sees(&packet) }.bytes());
                // And back.
                let answer = Packet { id: 1, dont_fragment: false, ..s.from_target(&payload(2000)) };
                let mut got = Vec::new();
                for (i, frame) in (0..).zip(pieces(&answer.bytes(), 1, 1024).iter().rev()) {
                    let out = h.feed_bytes((n + i) % lcores, TARGET_SIDE, frame);
                    if let Verdict::Forward { .. } = out.verdict {
                        got.push(out.bytes);
                    }
                }
                h.housekeeping();
                got.extend(h.made().into_iter().map(|(_, bytes)| bytes));
                let (frame, id) = joined(&got);
                assert_eq!(frame, Packet { id: id as u16, ..s.as_client_sees(&answer) }.bytes());
            }
            assert_eq!((h.total(Counter::FlowsCreated), held(&h)), (40, 0));
            h.check_flows();
        }
    }
}

/// A fragment that another lcore gave stays where it is, whatever it says. req: S10.5
#[test]
fn never_in_a_circle() {
    for lcore in 0..4 {
        for n in 0..40u16 {
            let mut h = Harness::new(4, 64);
            let packet = Packet {
                dont_fragment: false,
                ..Packet::udp(SocketAddr::new(CLIENT.ip(), n), DNS, &payload(1000)).macs(ROUTER_MAC, PORTS[0])
            };
            let mut hops = vec![lcore];
            let mut frame = [OwnedFrame::new(CLIENT_SIDE, piece(&packet.bytes(), n.into(), 0, 512))];
            let mut arrival = Arrival::Wire;
            let last = loop {
                let mut verdicts = arrayvec::ArrayVec::new();
                let now = h.now;
                let at = *hops.last().expect("one");
                h.pipeline(at).process(now, arrival, &mut frame, &mut verdicts);
                match verdicts[0] {
                    Verdict::HandOver { lcore, ports, .. } => {
                        (frame[0].handed_ports, arrival) = (ports, Arrival::HandedOver);
                        hops.push(lcore);
                    }
                    verdict => break verdict,
                }
            };
            assert!(matches!(last, Verdict::Forward { .. }), "{last:?}");
            assert!(hops.len() <= 3 && hops.windows(2).all(|w| w[0] != w[1]), "{hops:?}");
        }
    }
}

/// IPv6: both modes and ways, every order; the identification stays. req: S10.2, S10.9
#[test]
fn ipv6_fragments() {
    for vip in [DNS_6, LOG_6] {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT_6, vip);
        s.target_sends(&mut h, b"answer");
        for (order, id) in [[0, 1, 2], [2, 1, 0], [1, 0, 2]].into_iter().zip(0x1234_5678..) {
            for from_client in [true, false] {
                let packet = if from_client { s.from_client(&payload(3000)) } else { s.from_target(&payload(3000)) };
                let expected = if from_client { s.as_target_sees(&packet) } else { s.as_client_sees(&packet) };
                let all = pieces(&packet.bytes(), id, 1024);
                let frames = order.map(|n| all[n].clone());
                let got = through(&mut h, if from_client { CLIENT_SIDE } else { TARGET_SIDE }, &frames);
                assert_eq!(joined(&got), (expected.bytes(), id));
            }
        }
    }
}

/// A first fragment is read again, at the place where it says that it is. What the tests make is what they read.
#[test]
fn the_tests_cut_and_join() {
    for packet in [Packet::udp(CLIENT, DNS, &payload(100)), Packet::udp(CLIENT_6, DNS_6, &payload(100))] {
        let packet = Packet { dont_fragment: packet.is_v6(), id: if packet.is_v6() { 0 } else { 5 }, ..packet };
        let all = pieces(&packet.bytes(), 5, 48);
        assert_eq!(all.iter().map(|frame| read(frame).offset).collect::<Vec<_>>(), [0, 48, 96]);
        assert_eq!(joined(&all), (packet.bytes(), 5));
        assert!(matches!(packet.l4, L4::Udp { checksum: true }));
    }
}

/// Fragments between IPv6 and IPv4, both ways, every order: translated one by one. req: S17.7, S10.2
#[test]
fn between_ipv6_and_ipv4() {
    for (client, vip) in [(CLIENT_6, UDP_6_TO_4), (CLIENT, UDP_4_TO_6)] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut h = Harness::default();
            let mut s = Datagrams::open(&mut h, client, vip);
            s.target_sends(&mut h, b"answer");
            for from_client in [true, false] {
                let packet = if from_client { s.from_client(&payload(3000)) } else { s.from_target(&payload(3000)) };
                let packet =
                    Packet { id: if packet.is_v6() { 0 } else { 77 }, dont_fragment: packet.is_v6(), ..packet };
                let expected = if from_client { s.as_target_sees(&packet) } else { s.as_client_sees(&packet) };
                let all = pieces(&packet.bytes(), if packet.is_v6() { 0x1234_0000 + 77 } else { 77 }, 1024);
                let frames = order.map(|n| all[n].clone());
                let got = through(&mut h, if from_client { CLIENT_SIDE } else { TARGET_SIDE }, &frames);
                let (frame, id) = joined(&got);
                let is_v4 = !expected.is_v6();
                let expected = if is_v4 { Packet { id: 77, dont_fragment: false, ..expected } } else { expected };
                assert_eq!((frame, id & 0xffff), (expected.bytes(), 77));
            }
        }
    }
}

//! Packets too big for the port that they leave by (semantics S10.7).

use std::net::SocketAddr;

use leat_abi::{Counter, DropReason};
use leat_core::{Answer, Verdict};

use crate::common::errors::Error;
use crate::common::pieces::{joined, pieces};
use crate::common::*;

/// The targets' side.
const MTU_INSIDE: u16 = 1400;

fn narrow() -> Harness {
    let mut h = Harness::default();
    h.mtus[1] = MTU_INSIDE;
    h.publish();
    h
}

/// Frames that were made beside the one that went on.
fn made(h: &mut Harness) -> Vec<Vec<u8>> {
    let made = h.made();
    assert!(made.iter().all(|(verdict, _)| *verdict == Verdict::Originate { port: TARGET_SIDE }), "{made:?}");
    made.into_iter().map(|(_, bytes)| bytes).collect()
}

/// The sender of a packet that must not be fragmented is told the MTU, by the address that it talks to, and finds its own packet quoted.
/// req: S10.7, S11.7
#[test]
fn do_not_fragment() {
    for vip in [WEB, DIRECT] {
        let mut h = narrow();
        let mut s = Stream::open(&mut h, CLIENT, vip, 9);
        let fits = s.from_client(ACK, &vec![1; 1360]);
        assert_eq!(s.feed_client(&mut h, &fits).bytes, s.as_target_sees(&fits).bytes());
        for length in [1361, 1460] {
            let sent = s.from_client(ACK, &vec![7; length]);
            let flows = h.flows().len();
            h.moved();
            let out = s.feed_client(&mut h, &sent);
            assert_eq!(out.verdict, Verdict::Answer { port: CLIENT_SIDE, with: Answer::IcmpError });
            let error = Error::new(vip.ip(), (3, 4), &sent.bytes()[14..14 + 548]).mtu(MTU_INSIDE);
            let macs = (PORTS[0], ROUTER_MAC);
            assert_eq!(out.bytes, answer(Error { macs, ttl: 64, ..error }));
            rx(54 + length).and("answered_packets", 1).and("icmp_errors_sent", 1).is(&h.moved());
            assert_eq!(h.flows().len(), flows);
        }
        s.works(&mut h);
    }
    // The other way: the target is told by what it takes for the client.
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        h.mtus[0] = 1300;
        h.publish();
        let s = Stream::open(&mut h, CLIENT, vip, 9);
        let sent = s.from_target(ACK, &[7; 1261]);
        let out = s.feed_target(&mut h, &sent);
        let error = Error::new(s.nat.ip(), (3, 4), &sent.bytes()[14..14 + 548]).mtu(1300);
        assert_eq!(out.bytes, answer(Error { macs: (PORTS[1], target_mac(s.slot())), ttl: 64, ..error }));
    }
}

/// An error as it is made here: without a type of service, and not to be fragmented.
fn answer(error: Error) -> Vec<u8> {
    let mut frame = error.bytes();
    if frame[12..14] == [0x08, 0x00] {
        (frame[15], frame[18], frame[19], frame[20]) = (0, 0, 0, 0x40);
        frame[24..26].fill(0);
        let (ip, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
        frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
    } else {
        (frame[14], frame[15]) = (0x60, 0);
    }
    frame
}

/// No more than a thousand a second. req: S11.6
#[test]
fn the_rate_is_limited() {
    let mut h = narrow();
    let s = Stream::open(&mut h, CLIENT, WEB, 9);
    let sent = s.from_client(ACK, &[7; 1400]);
    (0..300).for_each(|_| drop(s.feed_client(&mut h, &sent)));
    assert_eq!(h.total(Counter::IcmpErrorsSent) + h.counters(0).dropped(DropReason::IcmpRate), 300);
    assert!(h.counters(0).dropped(DropReason::IcmpRate) > 100);
}

/// Other packets are cut: put together, they are what would have come whole. Under full NAT with an identification of their own.
/// req: S10.7, S10.8
#[test]
fn fragments_are_made() {
    for vip in [WEB, DIRECT] {
        let mut h = narrow();
        let s = Stream::open(&mut h, CLIENT, vip, 9);
        for length in [1361, 1460, 3000, 8900] {
            let sent = Packet { dont_fragment: false, id: 77, ..s.from_client(ACK, &vec![7; length]) };
            h.moved();
            let out = s.feed_client(&mut h, &sent);
            let mut all = vec![out.forwarded_frame().1.to_vec()];
            all.extend(made(&mut h));
            assert!(all.iter().all(|frame| frame.len() <= 14 + usize::from(MTU_INSIDE)));
            let count = (20 + length).div_ceil(1376);
            assert_eq!(all.len(), count);
            let (frame, id) = joined(&all);
            assert_eq!((frame, id == 77), (Packet { id: id as u16, ..s.as_target_sees(&sent) }.bytes(), vip == DIRECT));
            let moved = rx(54 + length).and("forwarded_packets", 1).and("forwarded_bytes", 14 + 1396);
            let moved = moved.and(&format!("target{}.packets_in", s.slot()), 1);
            let moved = moved.and(&format!("target{}.bytes_in", s.slot()), 40 + length as i64);
            moved.and("originated_packets", count as i64 - 1).and("fragments_made", count as i64).is(&h.moved());
        }
    }
}

/// A fragment that is too big is cut again, held before or not, and everything fits together. req: S10.7
#[test]
fn fragments_are_cut_again() {
    for vip in [DNS, LOG] {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let mut h = narrow();
            let s = Datagrams::open(&mut h, CLIENT, vip);
            let sent = Packet {
                dont_fragment: false,
                id: 78,
                ..s.from_client(&(0..4000).map(|n| n as u8).collect::<Vec<_>>())
            };
            let frames = pieces(&sent.bytes(), 78, 1480);
            let mut got = Vec::new();
            for at in order {
                let out = h.feed_bytes(0, CLIENT_SIDE, &frames[at]);
                if let Verdict::Forward { .. } = out.verdict {
                    got.push(out.bytes);
                }
            }
            h.housekeeping();
            got.extend(h.made().into_iter().map(|(_, bytes)| bytes));
            let (frame, id) = joined(&got);
            assert_eq!((frame, got.len()), (Packet { id: id as u16, ..s.as_target_sees(&sent) }.bytes(), 5));
            assert_eq!(h.total(Counter::HeldPackets), 0);
        }
    }
}

/// A later fragment that must not be cut is dropped in silence: an error is about the first one. req: S10.7
#[test]
fn fragments_that_must_not_be_cut() {
    let mut h = narrow();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let sent = Packet { dont_fragment: false, id: 78, ..s.from_client(&[0; 4000]) };
    let frames: Vec<Vec<u8>> = pieces(&sent.bytes(), 78, 1480)
        .into_iter()
        .map(|mut frame| {
            frame[20] |= 0x40;
            frame[24..26].fill(0);
            let (ip, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
            frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
            frame
        })
        .collect();
    assert!(matches!(h.feed_bytes(0, CLIENT_SIDE, &frames[0]).verdict, Verdict::Answer { .. }));
    assert!(h.feed_bytes(0, CLIENT_SIDE, &frames[1]).is_dropped(DropReason::TooBig));
    assert!(matches!(h.feed_bytes(0, CLIENT_SIDE, &frames[2]).verdict, Verdict::Forward { .. }));
}

/// A flow may begin with a datagram that is too big.
#[test]
fn a_flow_that_begins_with_one() {
    let mut h = narrow();
    let to = |n| SocketAddr::new(CLIENT.ip(), n);
    let sent = Packet { dont_fragment: false, ..Packet::udp(to(5), DNS, &[1; 1472]).macs(ROUTER_MAC, PORTS[0]) };
    assert!(matches!(h.feed(CLIENT_SIDE, &sent).verdict, Verdict::Forward { .. }));
    assert_eq!((made(&mut h).len(), h.total(Counter::FlowsCreated)), (1, 1));
    let sent = Packet { dont_fragment: true, ..Packet::udp(to(6), DNS, &[1; 1472]).macs(ROUTER_MAC, PORTS[0]) };
    assert!(matches!(h.feed(CLIENT_SIDE, &sent).verdict, Verdict::Answer { .. }));
    assert_eq!(h.total(Counter::FlowsCreated), 2);
    h.check_flows();
}

/// IPv6 is never cut here: "packet too big", quoting as much as 1280 bytes hold. req: S10.7
#[test]
fn ipv6_packets_are_too_big() {
    for vip in [WEB_6, DIRECT_6] {
        let mut h = narrow();
        let s = Stream::open(&mut h, CLIENT_6, vip, 9);
        let sent = s.from_client(ACK, &[7; 1341]);
        let out = s.feed_client(&mut h, &sent);
        let error = Error::new(vip.ip(), (2, 0), &sent.bytes()[14..14 + 1232]).mtu(MTU_INSIDE);
        assert_eq!(out.bytes, answer(Error { macs: (PORTS[0], ROUTER_MAC), ttl: 64, ..error }));
    }
}

/// Between the two kinds of IP: 20 bytes more or less, which the sender need not know of. req: S10.7, S17.1, S17.7
#[test]
fn between_ipv6_and_ipv4() {
    let mut h = narrow();
    let s = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 9);
    let fits = s.from_client(ACK, &[7; 1360]);
    assert_eq!(s.feed_client(&mut h, &fits).bytes, s.as_target_sees(&fits).bytes());
    let sent = s.from_client(ACK, &[7; 1361]);
    let out = s.feed_client(&mut h, &sent);
    let error = Error::new(TCP_6_TO_4.ip(), (2, 0), &sent.bytes()[14..14 + 1232]).mtu(MTU_INSIDE + 20);
    assert_eq!(out.bytes, answer(Error { macs: (PORTS[0], ROUTER_MAC), ttl: 64, ..error }));

    let mut h = narrow();
    let s = Stream::open(&mut h, CLIENT, TCP_4_TO_6, 9);
    let fits = s.from_client(ACK, &[7; 1340]);
    assert_eq!(s.feed_client(&mut h, &fits).bytes, s.as_target_sees(&fits).bytes());
    let sent = s.from_client(ACK, &[7; 1341]);
    let out = s.feed_client(&mut h, &sent);
    let error = Error::new(TCP_4_TO_6.ip(), (3, 4), &sent.bytes()[14..14 + 548]).mtu(MTU_INSIDE - 20);
    assert_eq!(out.bytes, answer(Error { macs: (PORTS[0], ROUTER_MAC), ttl: 64, ..error }));
    // Cut before it is translated, so that each piece fits with its fragment header.
    let sent = Packet { dont_fragment: false, id: 0x1234, ..s.from_client(ACK, &[7; 2800]) };
    let out = s.feed_client(&mut h, &sent);
    let mut all = vec![out.forwarded_frame().1.to_vec()];
    all.extend(made(&mut h));
    assert!(all.len() == 3 && all.iter().all(|frame| frame.len() <= 14 + usize::from(MTU_INSIDE)));
    let (frame, id) = joined(&all);
    assert_eq!((frame, id & 0xffff), (s.as_target_sees(&sent).bytes(), 0x1234));
}

//! A table that is full, and floods: who makes room for whom, and who never does.

use std::net::SocketAddr;

use leat_abi::flow::FlowState;
use leat_abi::{Counter, DropReason};
use leat_core::flows::{HALF_OPEN_MIN, HALF_OPEN_PERCENT};

use crate::common::*;

fn client(n: u32) -> SocketAddr {
    SocketAddr::new([198, 51, (n >> 14) as u8, 7].into(), 1024 + (n & 0x3fff) as u16)
}

/// Addresses of a flood's senders, which are nobody else's.
fn forged(n: u32) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::new([60 + a, b, c, 9].into(), 1024 + (n % 60_000) as u16)
}

fn syn(from: SocketAddr, vip: SocketAddr, isn: u32) -> Packet {
    Stream::new(from, vip, isn).syn()
}

/// Sends the SYNs of a flood, each of another sender, in bursts.
fn flood(h: &mut Harness, vip: SocketAddr, senders: std::ops::Range<u32>) -> Vec<Out> {
    let senders: Vec<u32> = senders.collect();
    let mut outs = Vec::new();
    for burst in senders.chunks(25) {
        let frames: Vec<Vec<u8>> = burst.iter().map(|n| syn(forged(*n), vip, *n).bytes()).collect();
        let lcore = (burst[0] / 25 % u32::from(h.lcores())) as u16;
        outs.extend(h.burst(lcore, CLIENT_SIDE, &frames));
    }
    outs
}

fn half_open(h: &Harness) -> usize {
    let is = |state| matches!(state, Some(FlowState::SynSent | FlowState::SynReceived));
    h.flows().iter().filter(|(_, e)| is(e.state())).count()
}

/// Half-open flows have a share of the entries: beyond it the oldest goes, in order, and nothing else does. What its target answers later is
/// reset; its SYN sent again begins anew at the same target. req: S13.1, S13.2, S13.6, R17
#[test]
fn too_many_half_open_flows() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::new(1, 1000);
        let share = 1000 * HALF_OPEN_PERCENT / 100;
        let mut open: Vec<Stream> = (0..100).map(|n| Stream::open(&mut h, client(n), vip, n)).collect();
        let mut closed = Stream::open(&mut h, client(200), vip, 1);
        closed.close(&mut h);
        let mut udp = Datagrams::open(&mut h, client(201), LOG);
        let mut waiting: Vec<Stream> = (1000..1000 + share as u32).map(|n| Stream::new(client(n), vip, n)).collect();
        for (n, s) in waiting.iter_mut().enumerate() {
            s.send_syn(&mut h);
            // Some of them are answered, which does not make them younger.
            if n % 3 == 0 {
                s.feed_target(&mut h, &s.syn_ack()).forwarded();
            }
            h.skip(if n % 50 == 0 { 700 } else { 1 });
        }
        assert_eq!((half_open(&h), h.total(Counter::HalfOpenEvicted)), (share, 0));
        for n in 0..share as u32 / 2 {
            h.moved();
            let mut next = Stream::new(client(2000 + n), vip, n);
            next.send_syn(&mut h);
            assert_eq!((half_open(&h), h.total(Counter::HalfOpenEvicted)), (share, u64::from(n) + 1));
            // The n-th one, and no other, is gone.
            let old = &waiting[n as usize];
            let (_, reset) = old.feed_target(&mut h, &old.syn_ack()).answered();
            assert_eq!(reset.numbers(), (old.isn_c.wrapping_add(1), 0, RST));
            let left = &waiting[n as usize + 1];
            left.feed_target(&mut h, &left.syn_ack()).forwarded();
        }
        let mut again = waiting[0].clone();
        again.handshake(&mut h);
        assert_eq!(again.target, waiting[0].target);
        again.works(&mut h);
        open.iter_mut().for_each(|s| s.works(&mut h));
        udp.target_sends(&mut h, b"still here");
        closed.feed_target(&mut h, &closed.from_target(ACK, &[])).forwarded();
        h.check_flows();
        assert_eq!(h.total(Counter::TimeWaitEvicted) + h.total(Counter::OneWayUdpEvicted), 0);
    }
    let mut h = Harness::new(1, 100);
    assert!(flood(&mut h, DIRECT, 0..80).iter().all(|out| matches!(out.verdict, leat_core::Verdict::Forward { .. })));
    assert_eq!(half_open(&h), HALF_OPEN_MIN, "a small table has its minimum");
}

/// A full table makes room in this order: what is over, closed connections, UDP without an answer (each the oldest first), connections
/// half-open for a while. Then it refuses. Established connections, half-closed ones and answered UDP stay. req: S13.3, R18
#[test]
fn the_order_of_eviction() {
    const ENTRIES: u32 = 400;
    let mut h = Harness::new(1, ENTRIES as usize);
    let mut open: Vec<Stream> = (0..300).map(|n| Stream::open(&mut h, client(n), DIRECT, n)).collect();
    open[0].client_sends(&mut h, FIN | ACK, &[]);
    let mut answered = Datagrams::open(&mut h, client(300), DNS);
    answered.target_sends(&mut h, b"x");
    h.pass(100_000);
    answered.target_sends(&mut h, b"x");
    let expiring = Stream::new(client(301), DIRECT, 1).clone();
    expiring.feed_client(&mut h, &expiring.syn()).forwarded();
    h.skip(25_000);
    let mut datagrams: Vec<Datagrams> = (400..420).map(|n| Datagrams::open(&mut h, client(n), DNS)).collect();
    h.skip(3_000);
    let mut closed: Vec<Stream> = (500..520).map(|n| Stream::open(&mut h, client(n), DIRECT, n)).collect();
    for s in &mut closed {
        s.close(&mut h);
        h.skip(10);
    }
    // The oldest of these flows is in use: one that is not goes before it.
    h.skip(1_500);
    datagrams[0].client_sends(&mut h, b"y");
    let waiting: Vec<Stream> = (600..658).map(|n| Stream::new(client(n), DIRECT, n)).collect();
    for s in &waiting {
        s.feed_client(&mut h, &s.syn()).forwarded();
    }
    assert_eq!(h.flows().len(), ENTRIES as usize);
    h.skip(2_000);
    let counts = |h: &Harness| {
        let of = |counter| h.total(counter);
        [
            of(Counter::FlowsExpired),
            of(Counter::TimeWaitEvicted),
            of(Counter::OneWayUdpEvicted),
            of(Counter::HalfOpenEvicted),
        ]
    };
    let mut next = 700;
    let mut new = |h: &mut Harness| {
        next += 1;
        let mut s = Stream::new(client(next), DIRECT, next);
        let out = s.feed_client(h, &s.syn());
        if !out.is_dropped(DropReason::FlowTableFull) {
            (s.nat, s.target) = (out.forwarded().1.source, out.forwarded().1.destination);
            s.feed_target(h, &s.syn_ack()).forwarded();
            s.client_sends(h, ACK, &[]);
        }
        out
    };
    // Nobody has looked after timers: the one whose time is over is found.
    new(&mut h).forwarded();
    assert_eq!(counts(&h), [1, 0, 0, 0]);
    for n in 1..=20 {
        let holds =
            |h: &Harness, s: &Stream| h.flows().iter().any(|(_, e)| u16::from_be(e.client_port) == s.client.port());
        assert!(holds(&h, &closed[n - 1]));
        new(&mut h).forwarded();
        assert_eq!(counts(&h), [1, n as u64, 0, 0]);
        assert!(!holds(&h, &closed[n - 1]), "the oldest first");
    }
    for n in 1..=20 {
        new(&mut h).forwarded();
        assert_eq!(counts(&h), [1, 20, n, 0]);
        let first = h.flows().iter().any(|(_, e)| u16::from_be(e.client_port) == datagrams[0].client.port());
        assert_eq!(first, n < 20, "the one that was used goes last");
    }
    // UDP pushes no connection out, a connection one that has waited for more than a second.
    let late = Packet::udp(client(9000), DNS, b"x").macs(ROUTER_MAC, PORTS[0]);
    assert!(h.feed(CLIENT_SIDE, &late).is_dropped(DropReason::FlowTableFull));
    for n in 1..=58 {
        new(&mut h).forwarded();
        assert_eq!(counts(&h), [1, 20, 20, n]);
    }
    h.moved();
    for _ in 0..30 {
        assert!(new(&mut h).is_dropped(DropReason::FlowTableFull), "all others must stay");
        rx(74).dropped("flow_table_full").and("listener1.no_room", 1).is(&h.moved());
    }
    open.iter_mut().skip(1).for_each(|s| s.works(&mut h));
    open[0].target_sends(&mut h, ACK, b"half-closed");
    answered.target_sends(&mut h, b"x");
    h.check_flows();
}

/// A table that is offered half as much again as it holds: every connection that was accepted goes on, every refusal is counted, and when
/// some end there is room at once. req: R18, S13.3
#[test]
fn half_as_much_again() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::new(2, 1024);
        let (mut open, mut refused) = (Vec::new(), 0);
        for n in 0..3072 {
            let mut s = Stream::new(client(n), vip, n);
            s.lcore = (n % 2) as u16;
            let out = s.feed_client(&mut h, &s.syn());
            if out.is_dropped(DropReason::FlowTableFull) {
                refused += 1;
                continue;
            }
            (s.nat, s.target) = (out.forwarded().1.source, out.forwarded().1.destination);
            s.feed_target(&mut h, &s.syn_ack()).forwarded();
            s.client_sends(&mut h, ACK, &[]);
            open.push(s);
        }
        assert_eq!((open.len(), refused), (2048, 1024));
        assert_eq!((0..2).map(|lcore| h.counters(lcore).dropped(DropReason::FlowTableFull)).sum::<u64>(), refused);
        open.iter_mut().for_each(|s| s.works(&mut h));
        for mut s in open.drain(..200) {
            s.close(&mut h);
        }
        // Closed ones make way at once; the owner of a new one may be full yet, so not all 200 places are found by 200 clients.
        let accepted = (5000..5200).filter(|n| {
            let s = Stream::new(client(*n), vip, *n);
            !s.feed_client(&mut h, &s.syn()).is_dropped(DropReason::FlowTableFull)
        });
        assert!(accepted.count() > 150);
        open.iter_mut().for_each(|s| s.works(&mut h));
        h.check_flows();
    }
}

/// A flood of SYNs, no two of one sender, to targets that do not answer: clients connect all the same, whether the flood fills the share of
/// half-open flows or takes every source port; who is connected notices nothing. req: R17, S13.1, S13.2
#[test]
fn a_flood_of_syns() {
    // With the large table the ports of one target run out first: 55,000 are fewer than its share.
    for (entries, targets, vip) in [(1 << 14, 4, WEB), (1 << 14, 4, DIRECT), (1 << 19, 1, WEB)] {
        let mut h = Harness::new(2, entries);
        h.world.groups[0].table = table(&TCP_TARGETS[..targets]);
        h.publish();
        let mut open: Vec<Stream> = (0..500).map(|n| Stream::open(&mut h, client(n), vip, n)).collect();
        let floods: u32 = if entries < 1 << 16 { 40_000 } else { 130_000 };
        let (mut under_way, mut connected) = (Vec::new(), 0);
        for round in 0..floods / 50 {
            let outs = flood(&mut h, vip, round * 50..round * 50 + 50);
            assert!(
                outs.iter().all(|out| matches!(out.verdict, leat_core::Verdict::Forward { .. })),
                "in round {round}"
            );
            h.pass(1);
            // A client begins; the one that began a while ago gets its answer: a round trip of 500 SYNs of the flood.
            let mut s = Stream::new(client(1000 + round), vip, round);
            s.lcore = (round % 2) as u16;
            s.send_syn(&mut h);
            under_way.push(s);
            if under_way.len() > 10 {
                let mut s = under_way.remove(0);
                s.feed_target(&mut h, &s.syn_ack()).forwarded();
                s.client_sends(&mut h, ACK, &[]);
                s.works(&mut h);
                s.abort(&mut h);
                connected += 1;
            }
        }
        assert_eq!(connected, floods / 50 - 10);
        assert!(h.total(Counter::HalfOpenEvicted) > u64::from(floods) / 3);
        open.iter_mut().for_each(|s| s.works(&mut h));
        h.check_flows();
        // The flood is over: nothing is left of it after half a minute.
        h.pass(32_000);
        h.pass(62_000);
        assert_eq!(h.flows().len(), 500);
        open.iter_mut().for_each(|s| s.works(&mut h));
    }
}

/// A flood of datagrams from everywhere: connections and answered flows stay, and new connections find room. req: S13.3
#[test]
fn a_flood_of_datagrams() {
    let mut h = Harness::new(1, 4096);
    let mut open: Vec<Stream> = (0..300).map(|n| Stream::open(&mut h, client(n), DIRECT, n)).collect();
    let mut answered: Vec<Datagrams> = (400..700).map(|n| Datagrams::open(&mut h, client(n), DNS)).collect();
    answered.iter_mut().for_each(|d| drop(d.target_sends(&mut h, b"x")));
    for n in 0..20_000 {
        h.feed(CLIENT_SIDE, &Packet::udp(forged(n), DNS, b"x").macs(ROUTER_MAC, PORTS[0])).forwarded();
        if n % 200 == 0 {
            open.push(Stream::open(&mut h, client(1000 + n), DIRECT, n));
            h.pass(1);
        }
    }
    assert_eq!(h.total(Counter::OneWayUdpEvicted), 20_000 + 400 + 300 - 4096);
    open.iter_mut().for_each(|s| s.works(&mut h));
    answered.iter_mut().for_each(|d| drop(d.target_sends(&mut h, b"y")));
    h.check_flows();
}

/// With all source ports in use, one is taken from a connection that was reset, not from one that was closed or expired. req: S9.4
#[test]
fn a_port_of_a_reset_connection() {
    let mut h = Harness::new(1, 1 << 17);
    h.world.groups[0].table = vec![1];
    h.publish();
    let mut streams: Vec<Stream> = (0..55_000).map(|n| Stream::open(&mut h, client(n), WEB, n)).collect();
    let refused = |h: &mut Harness, n: u32| {
        let out = h.feed(CLIENT_SIDE, &syn(client(n), WEB, n));
        out.is_dropped(DropReason::NatPortsExhausted)
    };
    streams.drain(..20_000).for_each(|mut s| s.close(&mut h));
    assert!((60_000..60_050).all(|n| refused(&mut h, n)), "closed ones rest");
    streams.drain(..20_000).for_each(|mut s| s.abort(&mut h));
    h.moved();
    let accepted = (61_000..61_100).filter(|n| !refused(&mut h, *n)).count();
    assert!(accepted > 80, "{accepted} of 100");
    assert_eq!(h.total(Counter::TimeWaitEvicted), accepted as u64);
    streams.iter_mut().take(500).for_each(|s| s.works(&mut h));
    h.check_flows();
}

/// Guesses of who sees nothing of the connections: resets, SYNs, FINs, data with any numbers and ports. No flow is lost, moved or led
/// astray, and nobody gets more than was sent. req: R21, S4.1, S3
#[test]
fn blind_guesses() {
    let mut h = Harness::new(1, 4096);
    let mut streams: Vec<Stream> = (0..1000)
        .map(|n| Stream::open(&mut h, client(n), if n % 2 == 0 { WEB } else { DIRECT }, n.wrapping_mul(0x9e37_79b9)))
        .collect();
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random ^ random >> 15
    };
    for round in 0..6_000 {
        let frames: Vec<Vec<u8>> = (0..20)
            .map(|_| {
                let s = &streams[next() as usize % 1000];
                let flags = [RST, RST | ACK, SYN, FIN | ACK, ACK, PSH | ACK, SYN | ACK][next() as usize % 7];
                s.at_client(flags, next(), next()).payload(&[0; 9]).bytes()
            })
            .collect();
        h.burst(0, CLIENT_SIDE, &frames);
        let frames: Vec<Vec<u8>> = (0..10)
            .map(|_| {
                let s = &streams[next() as usize % 1000];
                let flags = [RST, RST | ACK, FIN | ACK, ACK, SYN | ACK][next() as usize % 5];
                s.at_target(flags, next(), next()).bytes()
            })
            .collect();
        h.burst(0, TARGET_SIDE, &frames);
        if round % 100 == 0 {
            h.pass(1);
        }
    }
    assert_eq!(h.total(Counter::FlowsClosed), 0);
    streams.iter_mut().for_each(|s| s.works(&mut h));
    assert!(h.made().is_empty());
    h.check_flows();
}

//! The process dies at any moment, and another one takes the flows over.

use leat_abi::counters::TargetCounter;
use leat_abi::flow::FlowState;
use leat_abi::{Counter, DropReason};

use crate::common::*;

fn client(n: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(CLIENT.ip(), 20_000 + n)
}

/// A crash before every single packet of a connection's life: nobody notices. req: IDL-09, R2
#[test]
fn a_crash_at_any_point_of_a_connection() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT, vip, u32::MAX - 3);
        s.send_syn(&mut h);
        assert_eq!(h.crash(), 1);
        s.send_syn(&mut h);
        h.crash();
        s.feed_target(&mut h, &s.syn_ack()).forwarded();
        h.crash();
        s.client_sends(&mut h, ACK, &[]);
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::Established));
        for flags in [ACK, FIN | ACK] {
            h.crash();
            s.client_sends(&mut h, flags, b"abc");
            h.crash();
            s.target_sends(&mut h, flags, b"defg");
        }
        h.crash();
        s.client_sends(&mut h, ACK, &[]);
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::TimeWait));
        h.crash();
        s.target_sends(&mut h, ACK, &[]);
        h.check_flows();
        assert_eq!(h.total(Counter::FlowsCreated), 1);
        h.pass(62_000);
        assert_eq!(h.crash(), 0);
    }
}

/// What the dead process had in hand is counted as dropped: received, and then nothing more was heard of it. req: MET-35
#[test]
fn packets_in_hand_are_counted_at_adoption() {
    let mut h = Harness::default();
    Stream::open(&mut h, CLIENT, WEB, 1);
    h.moved();
    let counters = h.counters(0);
    counters.add(Counter::RxPackets, 5);
    counters.add(Counter::ForwardedPackets, 2);
    counters.drop(DropReason::NoListener, 1);
    assert_eq!(counters.in_hand(), 2);
    h.crash();
    assert_eq!((counters.in_hand(), counters.dropped(DropReason::Restart)), (0, 2));
    h.crash();
    assert_eq!(counters.dropped(DropReason::Restart), 2, "once");
}

/// Gauges are counted anew and equal; counters go on. req: R30, MET-35, I10
#[test]
fn gauges_are_equal_after_a_crash() {
    let mut h = Harness::default();
    let mut streams: Vec<Stream> = (0..60).map(|n| Stream::open(&mut h, client(n), WEB, n.into())).collect();
    (60..80).for_each(|n| drop(Stream::new(client(n), DIRECT, n.into()).send_syn(&mut h)));
    (0..20).for_each(|n| drop(Datagrams::open(&mut h, client(n), DNS)));
    streams[..10].iter_mut().for_each(|s| s.close(&mut h));
    streams[10..20].iter_mut().for_each(|s| s.abort(&mut h));
    h.check_flows();
    h.moved();
    let before = h.flows();
    assert_eq!(h.crash(), 100);
    assert_eq!(h.flows(), before);
    nothing().and("flows_adopted", 100).is(&h.moved());
    h.check_flows();
    streams[20..].iter_mut().for_each(|s| s.works(&mut h));
    h.pass(62_000);
    h.pass(62_000);
    h.check_flows();
    assert_eq!(h.flows().len(), 40);
}

/// Timers go on where they were, not from the start. req: IDL-09
#[test]
fn timers_survive() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    h.pass(300_000);
    h.crash();
    h.pass(49_000);
    assert_eq!(h.flows()[0].1.state(), Some(FlowState::Established));
    h.pass(3_000);
    s.feed_client(&mut h, &s.from_client(ACK, &[])).answered();
}

/// What ended while nobody ran ends as it would have: counted, and its source port rests. req: IDL-09, S9.4, R30
#[test]
fn flows_that_ended_meanwhile() {
    let mut h = Harness::default();
    (0..10).for_each(|n| drop(Stream::open(&mut h, client(n), WEB, n.into())));
    (10..20).for_each(|n| drop(Stream::open(&mut h, client(n), DIRECT, n.into())));
    (20..30).for_each(|n| Stream::open(&mut h, client(n), WEB, n.into()).close(&mut h));
    h.skip(400_000);
    assert_eq!(h.crash(), 20);
    h.check_flows();
    h.pass(1_000);
    assert_eq!(h.total(Counter::FlowsExpired), 20);
    assert!(h.flows().iter().all(|(_, e)| e.state() == Some(FlowState::Resting)));
    assert_eq!(h.flows().len(), 10);
    h.check_flows();
    h.pass(62_000);
    assert!(h.flows().is_empty());
}

/// Before the new process has a snapshot it knows of no target. That must not cost a flow. req: R2
#[test]
fn packets_before_the_first_snapshot() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    let mut u = Datagrams::open(&mut h, CLIENT, DNS);
    h.crash();
    h.install_nothing();
    h.moved();
    for packet in [s.from_client(ACK, b"12345"), u.from_client(b"12345"), s.from_client(RST, b"abcde")] {
        let out = h.feed(CLIENT_SIDE, &packet);
        assert!(out.is_dropped(leat_abi::DropReason::NoConfiguration), "{out:?}");
    }
    let new = Stream::new(client(1), WEB, 7);
    assert!(new.feed_client(&mut h, &new.syn()).is_dropped(leat_abi::DropReason::NoConfiguration));
    h.publish();
    s.works(&mut h);
    u.client_sends(&mut h, b"x");
    assert_eq!(h.total(Counter::FlowsCreated), 2);
    h.check_flows();
}

/// Nonsense in the entries is given up, and the sound rest is kept. req: R3
#[test]
fn damaged_entries() {
    let mut h = Harness::new(1, 64);
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    let good = h.flows()[0].1;
    let bad = |change: fn(&mut leat_abi::FlowEntry)| {
        let mut entry = leat_abi::FlowEntry { client_port: 99, nat_port: 99, ..good };
        change(&mut entry);
        entry
    };
    h.damage(&[
        (10, bad(|e| e.state = 200)),
        (11, bad(|e| e.protocol = 1)),
        (12, bad(|e| (e.client_port, e.nat_port) = (98, 98))),
        (13, bad(|e| e.nat_port = 97)),
        (14, bad(|e| e.client_side_port = 200)),
    ]);
    h.crash();
    s.works(&mut h);
    h.check_laws();
    let refs = h.counters(0).get_target(s.slot(), TargetCounter::FlowRefs);
    assert_eq!(refs as usize, h.flows().len());
}

/// A flow whose port the new process does not have: answers go nowhere, and that is counted.
#[test]
fn a_port_that_is_no_more() {
    let mut h = Harness::new(1, 64);
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    let flow = h.flows()[0].1;
    h.damage(&[(0, leat_abi::FlowEntry { client_side_port: 2, ..flow })]);
    h.crash();
    h.moved();
    s.feed_target(&mut h, &s.from_target(ACK, &[]));
    rx(54).dropped("no_next_hop").is(&h.moved());
}

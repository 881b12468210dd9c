//! UDP flows.

use crate::common::packet::L4;
use crate::common::*;

/// Both ways, both addressing modes, every byte and counter. req: RT-03, CIP-01, IDL-05, S7.1
#[test]
fn datagrams_both_ways() {
    for (vip, listener) in [(DNS, 2), (LOG, 3)] {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, vip);
        let slot = s.slot();
        assert!(UDP_TARGETS.contains(&slot));
        assert_eq!(s.nat == CLIENT, vip == DNS);
        rx(47).to_target(slot, 33).created(slot, listener).is(&h.moved());
        s.target_sends(&mut h, b"an answer");
        rx(51).to_client(slot, 37).is(&h.moved());
        let (nat, target) = (s.nat, s.target);
        s.client_sends(&mut h, &[]);
        rx(42).to_target(slot, 28).is(&h.moved());
        assert_eq!((s.nat, s.target), (nat, target));
        h.check_flows();
    }
}

/// No checksum stays none. req: S7.5
#[test]
fn checksum_zero_stays_zero() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, LOG);
    let packet = Packet { l4: L4::Udp { checksum: false }, ..s.from_client(b"no sum") };
    let out = h.feed(CLIENT_SIDE, &packet);
    assert_eq!(out.bytes[40..42], [0, 0]);
    assert_eq!(out.bytes, s.as_target_sees(&packet).bytes());
    let answer = Packet { l4: L4::Udp { checksum: false }, ..s.from_target(b"no sum") };
    assert_eq!(h.feed(TARGET_SIDE, &answer).bytes, s.as_client_sees(&answer).bytes());
}

/// A checksum computed as 0 is sent as 0xffff: etherparse says what is expected, a search says with which payload. req: S7.5
#[test]
fn computed_zero_is_sent_as_all_ones() {
    let mut h = Harness::default();
    let mut s = Datagrams::open(&mut h, CLIENT, LOG);
    for from_client in [true, false] {
        let sum = |frame: &[u8]| u16::from_be_bytes([frame[40], frame[41]]);
        let payload = (0..=u16::MAX)
            .map(u16::to_be_bytes)
            .find(|payload| {
                let sent = if from_client {
                    s.as_target_sees(&s.from_client(payload))
                } else {
                    s.as_client_sees(&s.from_target(payload))
                };
                sum(&sent.bytes()) == 0xffff
            })
            .expect("a payload whose sum is 0");
        // These compare every byte.
        if from_client {
            s.client_sends(&mut h, &payload);
        } else {
            s.target_sends(&mut h, &payload);
        }
    }
}

/// One way only: no answer is needed. req: S7.2
#[test]
fn one_way_flows_live_on() {
    let mut h = Harness::default();
    let mut s = Datagrams::open(&mut h, CLIENT, DNS);
    let target = s.target;
    for _ in 0..5 {
        h.pass(100_000);
        s.client_sends(&mut h, b"syslog");
        assert_eq!(s.target, target);
    }
    assert_eq!(h.total(leat_abi::Counter::FlowsCreated), 1);
}

/// A datagram is never answered by the appliance. req: S7.6, LSN-06
#[test]
fn nothing_is_answered() {
    let mut h = Harness::default();
    let packet = |to| Packet::udp(CLIENT, to, b"x").macs(ROUTER_MAC, PORTS[0]);
    h.feed(CLIENT_SIDE, &packet(EMPTY_UDP));
    rx(43).dropped("no_target").and("listener6.no_target", 1).is(&h.moved());
    h.feed(CLIENT_SIDE, &packet(WEB));
    rx(43).dropped("no_listener").is(&h.moved());
    let stray = Packet::udp(target(4), CLIENT, b"x").macs(target_mac(4), PORTS[1]);
    h.feed(TARGET_SIDE, &stray);
    rx(43).dropped("no_flow").is(&h.moved());
}

/// A datagram of many trailing bytes in the IP packet passes; one whose length lies does not. req: S18.3
#[test]
fn udp_length_may_be_short_of_the_packet() {
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    h.moved();
    // The UDP length covers 4 of 8 bytes.
    let mut frame = Packet { l4: L4::Udp { checksum: false }, ..s.from_client(b"12345678") }.bytes();
    frame[39] = 12;
    let out = h.feed_bytes(0, CLIENT_SIDE, &frame);
    assert_eq!(out.bytes[42..], *b"12345678");
    rx(50).to_target(s.slot(), 36).is(&h.moved());
    frame[39] = 17;
    h.feed_bytes(0, CLIENT_SIDE, &frame);
    rx(50).dropped("udp_header").is(&h.moved());
    frame[39] = 7;
    h.feed_bytes(0, CLIENT_SIDE, &frame);
    rx(50).dropped("udp_header").is(&h.moved());
}

//! Segments without a flow, and the resets that answer them.

use leat_core::{Answer, Verdict};

use crate::common::packet::L4;
use crate::common::*;

/// The reset that should answer a segment: no options, TTL 64, DF, nothing else kept.
fn reset_for(segment: &Packet, seq: u32, ack: u32, flags: u8) -> Packet {
    let answer = Packet::tcp(segment.destination, segment.source, flags, seq, ack);
    let answer = answer.macs(segment.destination_mac, segment.source_mac);
    Packet { id: 0, l4: L4::Tcp { seq, ack, flags, window: 0, options: vec![] }, ..answer }
}

fn stray(flags: u8, payload: &[u8]) -> Packet {
    Packet::tcp(CLIENT, WEB, flags, 7000, 9000).macs(ROUTER_MAC, PORTS[0]).payload(payload)
}

/// An acknowledgement without flow: the reset takes its number. req: LSN-07, MET-24, S5.1, S5.5
#[test]
fn ack_without_flow() {
    let mut h = Harness::default();
    for segment in [
        stray(ACK, &[]),
        stray(PSH | ACK, b"data"),
        stray(FIN | ACK, &[]),
        Packet { tos: 0xb9, ttl: 3, padding: 6, ..stray(ACK, &[]).options(&[1, 1, 1, 1]) },
    ] {
        let out = h.feed(CLIENT_SIDE, &segment);
        assert_eq!(out.verdict, Verdict::Answer { port: CLIENT_SIDE, with: Answer::Reset });
        assert_eq!(out.bytes, reset_for(&segment, 9000, 0, RST).bytes());
        rx(segment.bytes().len()).reset(Some(0)).is(&h.moved());
    }
}

/// Without an acknowledgement the reset acknowledges all that the segment takes, its SYN included. req: S5.1, S2.7
#[test]
fn syn_that_no_target_can_take() {
    let mut h = Harness::default();
    for (payload, ack) in [(&b""[..], 7001), (b"12345", 7006)] {
        let segment = Packet { destination: EMPTY, ..stray(SYN, payload) };
        let out = h.feed(CLIENT_SIDE, &segment);
        assert_eq!(out.verdict, Verdict::Answer { port: CLIENT_SIDE, with: Answer::Reset });
        assert_eq!(out.bytes, reset_for(&segment, 0, ack, RST | ACK).bytes());
        let refused = rx(segment.bytes().len()).and("listener5.no_target", 1);
        refused.reset(Some(5)).is(&h.moved());
    }
    let wraps =
        Packet { l4: L4::Tcp { seq: u32::MAX, ack: 0, flags: SYN, window: 1, options: vec![] }, ..stray(0, &[]) };
    let segment = Packet { destination: EMPTY, ..wraps };
    assert_eq!(h.feed(CLIENT_SIDE, &segment).bytes, reset_for(&segment, 0, 0, RST | ACK).bytes());
}

/// A reset is never answered. req: S5.1
#[test]
fn reset_without_flow() {
    let mut h = Harness::default();
    for flags in [RST, RST | ACK, RST | FIN] {
        h.feed(CLIENT_SIDE, &stray(flags, &[]));
        rx(54).dropped("reset_without_flow").is(&h.moved());
    }
    let of_target = Packet::tcp(target(0), CLIENT, RST, 1, 0).macs(target_mac(0), PORTS[1]);
    h.feed(TARGET_SIDE, &of_target);
    rx(54).dropped("reset_without_flow").is(&h.moved());
}

/// No listener, no answer. req: LSN-06, LSN-12
#[test]
fn closed_ports_are_silent() {
    let mut h = Harness::default();
    for flags in [SYN, ACK, RST, FIN | ACK] {
        let closed = std::net::SocketAddr::new(NODE, 8);
        h.feed(CLIENT_SIDE, &Packet { destination: closed, ..stray(flags, &[]) });
        rx(54).dropped("no_listener").is(&h.moved());
    }
}

/// A target's segment without flow: reset as coming from whom the target was talking to. req: S5.2, IDL-02
#[test]
fn target_segment_without_flow() {
    let mut h = Harness::default();
    for to in [CLIENT, std::net::SocketAddr::new(NODE, 12_345)] {
        let segment = Packet::tcp(target(2), to, PSH | ACK, 7000, 9000).payload(b"late").macs(target_mac(2), PORTS[1]);
        let out = h.feed(TARGET_SIDE, &segment);
        assert_eq!(out.verdict, Verdict::Answer { port: TARGET_SIDE, with: Answer::Reset });
        assert_eq!(out.bytes, reset_for(&segment, 9000, 0, RST).bytes());
        rx(58).reset(None).is(&h.moved());
    }
}

/// Whoever is no target and sends to nobody here gets nothing. req: LSN-06
#[test]
fn strangers_get_no_answer() {
    let mut h = Harness::default();
    let other_port = std::net::SocketAddr::new(target(2).ip(), 9);
    h.feed(TARGET_SIDE, &Packet::tcp(other_port, CLIENT, ACK, 1, 2).macs(target_mac(2), PORTS[1]));
    rx(54).dropped("no_listener").is(&h.moved());
}

/// A SYN-ACK to a listener opens nothing and is not answered. req: S3
#[test]
fn syn_ack_to_a_listener() {
    let mut h = Harness::default();
    h.feed(CLIENT_SIDE, &stray(SYN | ACK, &[]));
    rx(54).dropped("tcp_flags").is(&h.moved());
}

/// A segment that claims to come from one of our nodes is dropped, whatever its flags: an answer would reach ourselves.
/// req: S18.3
#[test]
fn segments_from_our_own_addresses() {
    let mut h = Harness::default();
    for flags in [SYN, ACK, RST] {
        for ip in [NODE_2, HOST] {
            let spoofed = Packet { source: std::net::SocketAddr::new(ip, 4000), ..stray(flags, &[]) };
            h.feed(CLIENT_SIDE, &spoofed);
            rx(54).dropped("ip_source").is(&h.moved());
        }
    }
}

/// Resets are limited: 1,000 at once, then 10,000 a second; what is due beyond is dropped and counted. req: S5.5
#[test]
fn resets_are_limited() {
    let mut h = Harness::default();
    let frame = stray(ACK, &[]).bytes();
    let offer = |h: &mut Harness, count: usize| {
        let outs: Vec<Out> = (0..count / 25).flat_map(|_| h.burst(0, CLIENT_SIDE, &vec![frame.clone(); 25])).collect();
        outs.iter().filter(|out| matches!(out.verdict, Verdict::Answer { .. })).count()
    };
    assert_eq!(offer(&mut h, 1500), 1000);
    let moved = h.moved();
    assert_eq!((moved["drop.reset_rate"], moved["resets_sent"], moved["listener0.resets"]), (500, 1000, 1000));
    h.skip(50);
    assert_eq!(offer(&mut h, 1500), 500);
    h.skip(3_600_000);
    assert_eq!(offer(&mut h, 1500), 1000);
}

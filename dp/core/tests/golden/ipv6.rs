//! IPv6 on both sides: what is rewritten, what stays, what is dropped, who gets what.

use leat_core::{Answer, Verdict};

use crate::common::packet::L4;
use crate::common::*;

/// Segments without a flow are answered with resets of 60 bytes; extension headers are not sent back. req: S5.1, S5.5, LSN-07
#[test]
fn resets_are_of_ipv6() {
    let mut h = Harness::default();
    let stray = |to, flags, payload: &[u8]| {
        Packet::tcp(CLIENT_6, to, flags, 7000, 9000).macs(ROUTER_MAC, PORTS[0]).payload(payload)
    };
    let with_options = Packet { extensions: vec![(60, vec![0, 1, 4, 0, 0, 0, 0])], ..stray(WEB_6, ACK, b"x") };
    let labelled = Packet { tos: 0xb9, ttl: 3, flow_label: 0xfffff, padding: 6, ..stray(WEB_6, ACK, &[]) };
    for (segment, numbers, listener) in [
        (stray(WEB_6, ACK, &[]), (9000, 0, RST), 7),
        (stray(WEB_6, PSH | ACK, b"data"), (9000, 0, RST), 7),
        (with_options, (9000, 0, RST), 7),
        (labelled, (9000, 0, RST), 7),
        (stray(TCP_6_TO_4, FIN | ACK, &[]), (9000, 0, RST), 11),
        (stray(EMPTY_6, SYN, b"12345"), (0, 7006, RST | ACK), 15),
    ] {
        let out = h.feed(CLIENT_SIDE, &segment);
        assert_eq!(out.verdict, Verdict::Answer { port: CLIENT_SIDE, with: Answer::Reset });
        let (seq, ack, flags) = numbers;
        let reset = Packet::tcp(segment.destination, segment.source, flags, seq, ack).macs(PORTS[0], ROUTER_MAC);
        let reset = Packet { l4: L4::Tcp { seq, ack, flags, window: 0, options: vec![] }, ..reset };
        assert_eq!((out.bytes.len(), out.bytes), (74, reset.bytes()));
        let moved = rx(segment.bytes().len()).reset(Some(listener));
        moved.and("listener15.no_target", i64::from(listener == 15)).is(&h.moved());
    }
}

//! What a rewrite keeps and what it changes.

use crate::common::*;

/// Ethernet padding is cut, for data, answers and resets alike. req: S18.4
#[test]
fn padding_is_cut() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    h.moved();
    let padded = Packet { padding: 6, ..s.from_client(ACK, &[]) };
    assert_eq!(padded.bytes().len(), 60);
    let out = s.feed_client(&mut h, &padded);
    assert_eq!(out.bytes, s.as_target_sees(&padded).bytes());
    rx(60).to_target(s.slot(), 40).is(&h.moved());
    let padded = Packet { padding: 1, ..s.from_target(ACK, b"12345") };
    assert_eq!(s.feed_target(&mut h, &padded).bytes, s.as_client_sees(&padded).bytes());
    s.works(&mut h);
}

/// DSCP and ECN, identification and the fragment bit stay; TTL loses one. req: S18.5, S12.5, S10.8
#[test]
fn header_fields_stay() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    for tos in [0, 1, 2, 3, 0xb8, 0xff] {
        for (ttl, id, dont_fragment) in [(2, 0, true), (64, 0xffff, false), (255, 1, true)] {
            let packet = Packet { tos, ttl, id, dont_fragment, ..s.from_client(ACK, b"x") };
            let out = s.feed_client(&mut h, &packet);
            assert_eq!(out.bytes, s.as_target_sees(&packet).bytes());
            let packet = Packet { tos, ttl, id, dont_fragment, ..s.from_target(ACK, b"x") };
            assert_eq!(s.feed_target(&mut h, &packet).bytes, s.as_client_sees(&packet).bytes());
        }
    }
}

/// TTL 1 and 0 are dropped, both ways, and change no state. req: S12.5
#[test]
fn ttl_runs_out() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    let before = h.flows();
    h.moved();
    for ttl in [0, 1] {
        for packet in [s.from_client(ACK, b"x"), s.from_client(RST, &[]), s.from_client(FIN | ACK, &[])] {
            let packet = packet.ttl(ttl);
            s.feed_client(&mut h, &packet);
            rx(packet.bytes().len()).dropped("ttl_expired").is(&h.moved());
        }
        let packet = s.from_target(FIN | ACK, &[]).ttl(ttl);
        s.feed_target(&mut h, &packet);
        rx(54).dropped("ttl_expired").is(&h.moved());
    }
    assert_eq!(h.flows(), before);
    s.works(&mut h);
}

/// TCP options pass as they are, up to the longest header. req: GEN-03, S9.8
#[test]
fn tcp_options_stay() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    for options in [&[1u8, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2][..], &[5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0], &[1; 40]] {
        let packet = s.from_client(ACK, b"x").options(options);
        assert_eq!(s.feed_client(&mut h, &packet).bytes, s.as_target_sees(&packet).bytes());
        let packet = s.from_target(ACK, b"x").options(options);
        assert_eq!(s.feed_target(&mut h, &packet).bytes, s.as_client_sees(&packet).bytes());
    }
}

/// All flags and the urgent pointer pass. req: GEN-02
#[test]
fn rare_flags_stay() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, DIRECT, 1);
    for flags in [ACK | 0x20, ACK | 0x40, ACK | 0x80, ACK | PSH | 0xe0] {
        let packet = s.from_client(flags, b"x");
        assert_eq!(s.feed_client(&mut h, &packet).bytes, s.as_target_sees(&packet).bytes());
    }
}

/// One flipped bit anywhere in segment or datagram stays visible to the receiver: the checksum is wrong before and after. The
/// harness checks that for every packet that is forwarded. req: S18.2
#[test]
fn corruption_stays_visible() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    let frame = s.from_client(PSH | ACK, b"some payload").bytes();
    // From the window on: what comes before says whose packet it is and what it does to the flow.
    for at in 48..frame.len() {
        for bit in 0..8 {
            let mut corrupt = frame.clone();
            corrupt[at] ^= 1 << bit;
            h.feed_bytes(0, CLIENT_SIDE, &corrupt).forwarded();
        }
    }
    let u = Datagrams::open(&mut h, CLIENT, LOG);
    let frame = u.from_client(b"some payload").bytes();
    for at in 42..frame.len() {
        let mut corrupt = frame.clone();
        corrupt[at] ^= 0x10;
        h.feed_bytes(0, CLIENT_SIDE, &corrupt).forwarded();
    }
}

/// Any payload, also none, odd lengths and a full frame. req: GEN-02
#[test]
fn payload_of_any_length() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    for length in [0, 1, 2, 3, 5, 1000, 1459, 1460] {
        let payload: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
        s.client_sends(&mut h, ACK, &payload);
        s.target_sends(&mut h, ACK, &payload);
    }
}

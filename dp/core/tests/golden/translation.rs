//! Between IPv6 and IPv4: the load balancer talks to targets with their kind of address, whatever the client's is.

use std::net::SocketAddr;

use leat_abi::DropReason;
use leat_core::NAT_PORTS;

use crate::common::packet::L4;
use crate::common::*;

/// IPv6 clients of an IPv4 group that preserves the client's address where that can be: the target sees a node's IPv4 address. Byte for
/// byte, from SYN to the last acknowledgement. req: IPT-01, IPT-07, IPT-08, IPT-15, CIP-07, S17.1
#[test]
fn connections_from_ipv6_to_ipv4() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT_6, TCP_6_TO_4, 7);
    let out = s.send_syn(&mut h);
    assert_eq!((s.nat.ip(), NAT_PORTS.contains(&s.nat.port())), (NODE, true));
    let expected = Packet::tcp(s.nat, s.target, SYN, 7, 0).macs(PORTS[1], target_mac(s.slot())).ttl(63);
    let expected = expected.options(&[2, 4, 5, 160, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
    assert_eq!(out.bytes, Packet { id: 0, dont_fragment: true, ..expected }.bytes());
    let mut moved = rx(94).to_target(s.slot(), 80).created(s.slot(), 11);
    // What counts for the target is what arrived, for the port what left.
    moved = moved.and("forwarded_bytes", -20);
    moved.is(&h.moved());

    let syn_ack = s.syn_ack();
    let out = s.feed_target(&mut h, &syn_ack);
    let expected = Packet::tcp(TCP_6_TO_4, CLIENT_6, SYN | ACK, s.isn_t, s.isn_c + 1).macs(PORTS[0], ROUTER_MAC);
    assert_eq!(out.bytes, expected.ttl(63).options(&[2, 4, 5, 160, 1, 3, 3, 7]).bytes());
    rx(62).to_client(s.slot(), 48).and("forwarded_bytes", 20).is(&h.moved());
    s.client_sends(&mut h, ACK, &[]);
    for length in [0, 1, 2, 3, 1000, 1439, 1440] {
        s.client_sends(&mut h, ACK, &vec![length as u8; length]);
        s.target_sends(&mut h, ACK, &vec![!length as u8; length]);
    }
    s.close(&mut h);
    h.check_flows();
}

/// IPv4 clients of an IPv6 group, likewise. req: IPT-07, S17.8
#[test]
fn connections_from_ipv4_to_ipv6() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, TCP_4_TO_6, 7);
    let out = s.send_syn(&mut h);
    assert_eq!((s.nat.ip(), NAT_PORTS.contains(&s.nat.port())), (NODE_6, true));
    let expected = Packet::tcp(s.nat, s.target, SYN, 7, 0).macs(PORTS[1], target_mac(s.slot())).ttl(63);
    let expected = expected.options(&[2, 4, 5, 160, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
    assert_eq!(out.bytes, expected.bytes());
    let out = s.feed_target(&mut h, &s.syn_ack());
    let expected = Packet::tcp(TCP_4_TO_6, CLIENT, SYN | ACK, s.isn_t, s.isn_c + 1).macs(PORTS[0], ROUTER_MAC);
    let expected = expected.ttl(63).options(&[2, 4, 5, 160, 1, 3, 3, 7]);
    assert_eq!(out.bytes, Packet { id: 0, dont_fragment: true, ..expected }.bytes());
    s.client_sends(&mut h, ACK, &[]);
    for length in [0, 1, 2, 3, 1000, 1439, 1440] {
        s.client_sends(&mut h, ACK, &vec![length as u8; length]);
        s.target_sends(&mut h, ACK, &vec![!length as u8; length]);
    }
    s.close(&mut h);
    h.check_flows();
}

/// Datagrams, both ways; a checksum that comes out as 0 is sent as all ones. req: IPT-07, S7.5
#[test]
fn datagrams() {
    for (client, vip, node, checksum_at) in [(CLIENT_6, UDP_6_TO_4, NODE, 40), (CLIENT, UDP_4_TO_6, NODE_6, 60)] {
        let mut h = Harness::default();
        let mut u = Datagrams::open(&mut h, client, vip);
        assert_eq!((u.nat.ip(), NAT_PORTS.contains(&u.nat.port())), (node, true));
        for payload in [&b""[..], b"x", b"some more"] {
            u.client_sends(&mut h, payload);
            u.target_sends(&mut h, payload);
        }
        let becomes_zero =
            |packet: &Packet| u.as_target_sees(packet).bytes()[checksum_at..checksum_at + 2] == [0xff, 0xff];
        let packets = (0..=u16::MAX).map(|n| u.from_client(&n.to_be_bytes()));
        let packet = packets.into_iter().find(becomes_zero).expect("one of all sums");
        assert_eq!(h.feed(CLIENT_SIDE, &packet).bytes, u.as_target_sees(&packet).bytes());
        h.check_flows();
    }
}

/// UDP of IPv4 may have no checksum, which IPv6 does not allow: such datagrams do not get there, from clients and from targets.
/// req: S7.5, S18.2
#[test]
fn datagrams_without_a_checksum() {
    let mut h = Harness::default();
    let bare = |packet: Packet| Packet { l4: L4::Udp { checksum: false }, ..packet };
    let from_client = Datagrams::open(&mut h, CLIENT, UDP_4_TO_6);
    let from_target = Datagrams::open(&mut h, CLIENT_6, UDP_6_TO_4);
    h.moved();
    h.feed(CLIENT_SIDE, &bare(from_client.from_client(b"x")));
    rx(43).dropped("udp_checksum").is(&h.moved());
    h.feed(TARGET_SIDE, &bare(from_target.from_target(b"x")));
    rx(43).dropped("udp_checksum").is(&h.moved());
}

/// DSCP and ECN are copied, TTL and hop limit lose one; to IPv4 there is no fragmentation and no identification, to IPv6 no flow label.
/// Extension headers are left out. req: S17.1, S18.5, S12.5
#[test]
fn header_fields() {
    let mut h = Harness::default();
    let six = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 1);
    let four = Stream::open(&mut h, CLIENT, TCP_4_TO_6, 1);
    let options = vec![(0, vec![0, 1, 4, 0, 0, 0, 0]), (60, [&[3, 1, 28][..], &[0; 28]].concat())];
    let atomic = vec![(44, vec![0, 0, 0, 1, 2, 3, 4])];
    for (tos, ttl) in [(0, 2), (0xff, 255), (0xb8, 64), (0x01, 3)] {
        for extensions in [vec![], options.clone(), atomic.clone()] {
            let change = |p| Packet { tos, ttl, flow_label: 0x9_8765, extensions: extensions.clone(), padding: 3, ..p };
            let packet = change(six.from_client(PSH | ACK, b"odd"));
            let out = six.feed_client(&mut h, &packet);
            assert_eq!(out.bytes, six.as_target_sees(&packet).bytes());
            assert_eq!((&out.bytes[18..22], out.bytes.len()), (&[0, 0, 0x40, 0][..], 57));
            let packet = change(four.from_target(PSH | ACK, b"odd"));
            assert_eq!(four.feed_target(&mut h, &packet).bytes, four.as_client_sees(&packet).bytes());
        }
        for (id, dont_fragment) in [(0, true), (0xffff, false), (7, true)] {
            let change = |packet| Packet { tos, ttl, id, dont_fragment, padding: 6, ..packet };
            let packet = change(four.from_client(ACK, b"x"));
            let out = four.feed_client(&mut h, &packet);
            assert_eq!(out.bytes, four.as_target_sees(&packet).bytes());
            assert_eq!((out.bytes[14] >> 4, &out.bytes[16..18], out.bytes.len()), (6, &[0, 0][..], 75));
            let packet = change(six.from_target(ACK, b"x"));
            assert_eq!(six.feed_target(&mut h, &packet).bytes, six.as_client_sees(&packet).bytes());
        }
    }
}

/// A flipped bit stays visible; the harness looks at every packet. req: S18.2
#[test]
fn corruption_stays_visible() {
    let mut h = Harness::default();
    let six = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 1);
    let four = Stream::open(&mut h, CLIENT, TCP_4_TO_6, 1);
    for (frame, from) in [(six.from_client(ACK, b"payload").bytes(), 68), (four.from_client(ACK, b"odd").bytes(), 48)] {
        for at in from..frame.len() {
            let mut corrupt = frame.clone();
            corrupt[at] ^= 0x10;
            h.feed_bytes(0, CLIENT_SIDE, &corrupt).forwarded();
        }
    }
}

/// A segment announces what fits the MTU of both ports with either header; less stays, none stays none, and only SYNs are looked at.
/// req: S17.2
#[test]
fn the_maximum_segment_size_is_lowered() {
    let mut h = Harness::default();
    for (client, vip) in [(CLIENT_6, TCP_6_TO_4), (CLIENT, TCP_4_TO_6)] {
        for (announced, expected) in
            [(1460u16, 1440u16), (1441, 1440), (1440, 1440), (536, 536), (65_535, 1440), (0, 0)]
        {
            let mut s = Stream::new(client, vip, announced.into());
            let mss = |mss: u16| {
                let [high, low] = mss.to_be_bytes();
                [1, 3, 3, 7, 1, 2, 4, high, low, 4, 2, 0]
            };
            let (_, at_target) = s.feed_client(&mut h, &s.syn().options(&mss(announced))).forwarded();
            (s.nat, s.target) = (at_target.source, at_target.destination);
            let options = |packet: &Packet| match &packet.l4 {
                L4::Tcp { options, .. } => options.clone(),
                _ => panic!("TCP"),
            };
            assert_eq!(options(&at_target), mss(expected));
            let (_, at_client) = s.feed_target(&mut h, &s.syn_ack().options(&mss(announced))).forwarded();
            assert_eq!(options(&at_client), mss(expected));
            let (_, later) = s.feed_client(&mut h, &s.from_client(ACK, &[]).options(&mss(announced))).forwarded();
            assert_eq!(options(&later), mss(announced));
            s.c = s.c.wrapping_add(1);
            let without = s.feed_client(&mut h, &s.from_client(ACK, &[])).forwarded().1;
            assert_eq!(options(&without), []);
            s.abort(&mut h);
            h.pass(70_000);
        }
    }
    // Of one kind on both sides: as it was.
    for (client, vip) in [(CLIENT_6, WEB_6), (CLIENT, WEB)] {
        let s = Stream::new(client, vip, 1);
        let (_, got) = s.feed_client(&mut h, &s.syn()).forwarded();
        assert!(matches!(got.l4, L4::Tcp { options, .. } if options.starts_with(&[2, 4, 5, 180])));
    }
}

/// The MTUs of both ports count, each with the header that is used there. req: S17.2
#[test]
fn the_maximum_segment_size_fits_both_ports() {
    for (client, vip) in [(CLIENT_6, TCP_6_TO_4), (CLIENT, TCP_4_TO_6)] {
        for ((v6, v4), expected) in
            [((1500, 1500), 1440), ((1500, 1400), 1360), ((1280, 9000), 1220), ((9000, 1520), 1480)]
        {
            let mut h = Harness::default();
            h.mtus = if client.is_ipv6() { [v6, v4] } else { [v4, v6] };
            h.publish();
            let mut s = Stream::new(client, vip, 1);
            let announced = |packet: Packet| packet.options(&[2, 4, 0x22, 0xc4]);
            let (_, got) = s.feed_client(&mut h, &announced(s.syn())).forwarded();
            (s.nat, s.target) = (got.source, got.destination);
            let (_, answer) = s.feed_target(&mut h, &announced(s.syn_ack())).forwarded();
            for packet in [got, answer] {
                let L4::Tcp { options, .. } = packet.l4 else { panic!("TCP") };
                assert_eq!(options, [&[2, 4][..], &u16::to_be_bytes(expected)].concat());
            }
        }
    }
}

/// Full-size packets of IPv4 are 20 bytes too large for IPv6, which is known before they are rewritten; one that is made smaller may come
/// larger. req: S17.2, S10.7
#[test]
fn sizes_are_those_of_what_leaves() {
    let mut h = Harness::default();
    let four = Datagrams::open(&mut h, CLIENT, UDP_4_TO_6);
    let fits = four.from_client(&[7; 1480 - 28]);
    assert_eq!(h.feed(CLIENT_SIDE, &fits).bytes, four.as_target_sees(&fits).bytes());
    let too_big = h.feed(CLIENT_SIDE, &four.from_client(&[7; 1481 - 28]));
    assert!(!matches!(too_big.verdict, leat_core::Verdict::Forward { .. }));
    let six = Datagrams::open(&mut h, CLIENT_6, UDP_6_TO_4);
    for payload in [1500 - 48, 1520 - 48] {
        let fits = six.from_client(&vec![7; payload]);
        assert_eq!(h.feed(CLIENT_SIDE, &fits).bytes, six.as_target_sees(&fits).bytes());
    }
    let too_big = h.feed(CLIENT_SIDE, &six.from_client(&[7; 1521 - 48]));
    assert!(!matches!(too_big.verdict, leat_core::Verdict::Forward { .. }));
}

/// A frame whose buffer has no room before it for the longer header.
#[test]
fn no_room_for_the_longer_header() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, TCP_4_TO_6, 1);
    h.moved();
    let mut frame = OwnedFrame::new(CLIENT_SIDE, s.from_client(ACK, b"x").bytes());
    frame.grown = 120;
    assert!(h.run(0, vec![frame])[0].is_dropped(DropReason::NotLinear));
    rx(55).dropped("not_linear").is(&h.moved());
}

/// Several clients of both families share targets and their ports; nobody's packets get to another. req: IPT-07, S9.1
#[test]
fn families_share_targets() {
    let mut h = Harness::default();
    h.world.groups[0].table = table(&[1]);
    h.world.groups[1].table = table(&[1]);
    h.publish();
    let mut streams: Vec<Stream> = (0..100u16)
        .flat_map(|n| {
            let six = SocketAddr::new(CLIENT_6.ip(), 5000 + n);
            let four = SocketAddr::new(CLIENT.ip(), 5000 + n);
            [(six, TCP_6_TO_4), (four, WEB), (four, DIRECT)]
        })
        .map(|(client, vip)| Stream::open(&mut h, client, vip, 9))
        .collect();
    let seen: std::collections::HashSet<SocketAddr> = streams.iter().map(|s| s.nat).collect();
    assert_eq!(seen.len(), streams.len());
    streams.iter_mut().for_each(|s| s.works(&mut h));
    h.check_flows();
}

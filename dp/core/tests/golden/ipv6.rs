//! IPv6 on both sides: what is rewritten, what stays, what is dropped, who gets what.

use std::net::{IpAddr, SocketAddr};

use leat_abi::flow::FlowState;
use leat_abi::{Counter, DropReason};
use leat_core::{Answer, NAT_PORTS, Verdict};

use crate::common::packet::L4;
use crate::common::*;

fn client(n: u16) -> SocketAddr {
    SocketAddr::new([0x2001, 0xdb8, 0xc, n % 7, 0, 0, n % 5, n].into(), 3000 + n)
}

/// A destination option that means nothing, and a routing header that has nowhere left to go.
fn extensions() -> Vec<(u8, Vec<u8>)> {
    vec![
        (0, vec![0, 1, 4, 0, 0, 0, 0]),
        (60, vec![1, 1, 12, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]),
        (43, vec![2, 4, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
    ]
}

/// Both addressing modes, from SYN to the last acknowledgement, byte for byte. req: CIP-01, LSN-02, GEN-02
#[test]
fn connections() {
    for (vip, listener, preserves) in [(WEB_6, 7, false), (DIRECT_6, 8, true)] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT_6, vip, 7);
        let out = s.send_syn(&mut h);
        assert_eq!(out.bytes, s.as_target_sees(&s.syn()).bytes());
        if preserves {
            assert_eq!(s.nat, CLIENT_6);
        } else {
            assert_eq!((s.nat.ip(), NAT_PORTS.contains(&s.nat.port())), (NODE_6, true));
        }
        rx(94).to_target(s.slot(), 80).created(s.slot(), listener).is(&h.moved());
        let syn_ack = s.syn_ack();
        assert_eq!(s.feed_target(&mut h, &syn_ack).bytes, s.as_client_sees(&syn_ack).bytes());
        rx(82).to_client(s.slot(), 68).is(&h.moved());
        s.client_sends(&mut h, ACK, &[]);
        s.works(&mut h);
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::Established));
        s.close(&mut h);
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::TimeWait));
        h.check_flows();
    }
}

/// Both addressing modes, byte for byte.
#[test]
fn datagrams() {
    for (vip, preserves) in [(DNS_6, true), (LOG_6, false)] {
        let mut h = Harness::default();
        let mut u = Datagrams::open(&mut h, CLIENT_6, vip);
        assert_eq!((u.nat == CLIENT_6, u.nat.ip() == NODE_6), (preserves, !preserves));
        for payload in [&b""[..], b"x", b"some more"] {
            u.client_sends(&mut h, payload);
            u.target_sends(&mut h, payload);
        }
        h.check_flows();
    }
}

/// A checksum that comes out as 0 is sent as all ones: there is none without. req: S7.5
#[test]
fn a_udp_checksum_of_zero() {
    let mut h = Harness::default();
    let u = Datagrams::open(&mut h, CLIENT_6, LOG_6);
    let becomes_zero = |packet: &Packet| u.as_target_sees(packet).bytes()[60..62] == [0xff, 0xff];
    let packets = (0..=u16::MAX).map(|n| u.from_client(&n.to_be_bytes()));
    let packet = packets.into_iter().find(becomes_zero).expect("one of all sums");
    assert_eq!(h.feed(CLIENT_SIDE, &packet).bytes, u.as_target_sees(&packet).bytes());
}

/// Traffic class and flow label stay, and so do extension headers, of whatever length; the hop limit loses one. req: S18.5, S12.5
#[test]
fn header_fields_stay() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT_6, WEB_6, 1);
    let u = Datagrams::open(&mut h, CLIENT_6, DNS_6);
    let atomic = vec![(44, vec![0, 0, 0, 1, 2, 3, 4])];
    let long = vec![(60, [&[30, 1, 246][..], &[0; 244]].concat())];
    for extensions in [vec![], extensions(), atomic, long] {
        for (tos, ttl, flow_label) in [(0, 2, 0), (0xff, 255, 0xf_ffff), (0xb9, 64, 0x1_2345)] {
            let change = |packet| Packet { tos, ttl, flow_label, extensions: extensions.clone(), ..packet };
            let packet = change(s.from_client(PSH | ACK, b"x"));
            assert_eq!(s.feed_client(&mut h, &packet).bytes, s.as_target_sees(&packet).bytes());
            let packet = change(s.from_target(ACK, b"x"));
            assert_eq!(s.feed_target(&mut h, &packet).bytes, s.as_client_sees(&packet).bytes());
            let packet = change(u.from_target(b"x"));
            assert_eq!(h.feed(TARGET_SIDE, &packet).bytes, u.as_client_sees(&packet).bytes());
        }
    }
}

/// Padding is cut, any payload passes, also a full frame, and options up to the longest header. req: S18.4, GEN-02, GEN-03
#[test]
fn payload_and_padding() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT_6, WEB_6, 1);
    for length in [0, 1, 2, 3, 1000, 1439, 1440] {
        let payload: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
        s.client_sends(&mut h, ACK, &payload);
        s.target_sends(&mut h, ACK, &payload);
    }
    h.moved();
    let padded = Packet { padding: 9, ..s.from_client(ACK, &[]).options(&[1; 40]) };
    assert_eq!(s.feed_client(&mut h, &padded).bytes, s.as_target_sees(&padded).bytes());
    rx(123).to_target(s.slot(), 100).is(&h.moved());
}

/// Hop limit 1 and 0 are dropped, both ways. req: S12.5
#[test]
fn the_hop_limit_runs_out() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT_6, DIRECT_6, 1);
    h.moved();
    for ttl in [0, 1] {
        s.feed_client(&mut h, &s.from_client(FIN | ACK, &[]).ttl(ttl));
        rx(74).dropped("ttl_expired").is(&h.moved());
        s.feed_target(&mut h, &s.from_target(RST, &[]).ttl(ttl));
        rx(74).dropped("ttl_expired").is(&h.moved());
    }
    s.works(&mut h);
}

/// One flipped bit anywhere in segment or datagram stays visible; the harness looks at every packet. req: S18.2
#[test]
fn corruption_stays_visible() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT_6, WEB_6, 1);
    let u = Datagrams::open(&mut h, CLIENT_6, LOG_6);
    let (segment, datagram) = (s.from_client(PSH | ACK, b"some payload").bytes(), u.from_client(b"payload").bytes());
    for (frame, from) in [(segment, 68), (datagram, 62)] {
        for at in from..frame.len() {
            let mut corrupt = frame.clone();
            corrupt[at] ^= 0x10;
            h.feed_bytes(0, CLIENT_SIDE, &corrupt).forwarded();
        }
    }
}

/// Segments without a flow are answered with resets of 60 bytes; extension headers are not sent back. req: S5.1, S5.5, LSN-07
#[test]
fn resets_are_of_ipv6() {
    let mut h = Harness::default();
    let stray = |to, flags, payload: &[u8]| {
        Packet::tcp(CLIENT_6, to, flags, 7000, 9000).macs(ROUTER_MAC, PORTS[0]).payload(payload)
    };
    let with_options = Packet { extensions: extensions(), ..stray(WEB_6, ACK, b"x") };
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
        assert_eq!((out.bytes.len(), &out.bytes), (74, &reset(&segment, numbers).bytes()));
        let moved = rx(segment.bytes().len()).reset(Some(listener));
        moved.and("listener15.no_target", i64::from(listener == 15)).is(&h.moved());
    }
    let late = Packet::tcp(target(9), CLIENT_6, PSH | ACK, 7000, 9000).payload(b"late").macs(target_mac(9), PORTS[1]);
    assert_eq!(h.feed(TARGET_SIDE, &late).bytes, reset(&late, (9000, 0, RST)).bytes());
    rx(78).reset(None).is(&h.moved());
}

/// The reset that answers a segment.
fn reset(segment: &Packet, (seq, ack, flags): (u32, u32, u8)) -> Packet {
    let reset = Packet::tcp(segment.destination, segment.source, flags, seq, ack);
    let l4 = L4::Tcp { seq, ack, flags, window: 0, options: vec![] };
    Packet { l4, ..reset.macs(segment.destination_mac, segment.source_mac) }
}

/// Each packet of a list, and the reason for which it must be dropped.
fn all_dropped(frames: impl IntoIterator<Item = (Vec<u8>, DropReason)>) {
    let mut h = Harness::default();
    for (frame, reason) in frames {
        let out = h.feed_bytes(0, CLIENT_SIDE, &frame);
        assert_eq!(out.verdict, Verdict::Drop(reason), "{frame:02x?}");
        rx(frame.len()).dropped(reason.name()).is(&h.moved());
    }
}

fn syn() -> Packet {
    Stream::new(CLIENT_6, WEB_6, 1).syn()
}

fn from(source: &str) -> Packet {
    let ip: IpAddr = source.parse().expect("an address");
    Packet { source: SocketAddr::new(ip, 5), ..syn() }
}

/// Addresses that cannot be a source, our own among them; source and destination the same; what is sent to groups. req: S18.3
#[test]
fn impossible_addresses() {
    let sources = ["::", "::1", "::ffff:10.1.0.10", "::ffff:198.51.100.7", "ff02::1", "ff0e::7", "fe80::1", "febf::9"];
    all_dropped(sources.map(|source| (from(source).bytes(), DropReason::IpSource)));
    let own = [NODE_6, HOST_6].map(|ip| Packet { source: SocketAddr::new(ip, 9), ..syn() });
    all_dropped(own.into_iter().map(|packet| {
        let reason = if packet.source.ip() == WEB_6.ip() { DropReason::Land } else { DropReason::IpSource };
        (packet.bytes(), reason)
    }));
    let mapped = SocketAddr::new("::ffff:10.1.0.10".parse::<IpAddr>().expect("an address"), 80);
    let group = SocketAddr::new("ff02::1".parse::<IpAddr>().expect("an address"), 80);
    all_dropped([mapped, group].map(|to| (Packet { destination: to, ..syn() }.bytes(), DropReason::NoListener)));
    let macs = [[0x33, 0x33, 0, 0, 0, 1], [0xff; 6]];
    all_dropped(macs.map(|mac| (syn().macs(ROUTER_MAC, mac).bytes(), DropReason::NoListener)));
}

/// A frame cut anywhere is dropped; so are wrong versions and lengths, and UDP without a checksum. req: S18.3, S7.5
#[test]
fn bad_headers() {
    let whole = Packet { extensions: extensions(), ..syn() }.bytes();
    all_dropped((0..whole.len()).map(|length| (whole[..length].to_vec(), DropReason::ShortFrame)));
    let with = |at: usize, value: u8, reason| {
        let mut frame = syn().bytes();
        frame[at] = value;
        (frame, reason)
    };
    all_dropped([
        with(14, 0x40, DropReason::IpHeader),
        with(18, 0xff, DropReason::ShortFrame),
        with(18, 0x01, DropReason::ShortFrame),
        with(19, 39, DropReason::TcpHeader),
        with(19, 19, DropReason::TcpHeader),
        with(66, 0x40, DropReason::TcpHeader),
        with(67, 0, DropReason::TcpFlags),
        with(20, 59, DropReason::Protocol),
        with(20, 51, DropReason::Protocol),
    ]);
    let mut longest = syn().bytes();
    longest[18..20].fill(0xff);
    all_dropped([(longest, DropReason::IpHeader)]);
    let udp = Packet { l4: L4::Udp { checksum: false }, ..Packet::udp(CLIENT_6, DNS_6, b"x") };
    let udp = udp.macs(ROUTER_MAC, PORTS[0]);
    let extended = Packet { extensions: extensions(), ..udp.clone() };
    all_dropped([udp, extended].map(|packet| (packet.bytes(), DropReason::UdpChecksum)));
}

/// Extension headers: at most 8 of them and 256 bytes, hop-by-hop options first, one fragment header with layer 4 behind it, and none
/// that routes on. req: S10.9
#[test]
fn bad_extension_headers() {
    let options = |kind| (kind, vec![0, 1, 4, 0, 0, 0, 0]);
    let routing = |kind, left| (43, vec![0, kind, left, 0, 0, 0, 0]);
    let fragment = |offset: u16, more: u16| {
        let [high, low] = (offset | more).to_be_bytes();
        (44, vec![0, high, low, 0, 0, 0, 1])
    };
    let long = |bytes: usize| (60, [&[(bytes / 8 - 1) as u8, 1, (bytes - 4) as u8][..], &vec![0; bytes - 4]].concat());
    let good = [vec![options(60); 8], vec![long(128), long(128)], vec![options(0), options(60)], vec![routing(2, 0)]];
    for extensions in good {
        let mut h = Harness::default();
        h.feed(CLIENT_SIDE, &Packet { extensions, ..syn() }).forwarded();
    }
    let bad = [
        vec![options(60); 9],
        vec![long(256), options(60)],
        vec![long(136), long(128)],
        vec![options(60), options(0)],
        vec![options(0), options(0)],
        vec![routing(0, 0)],
        vec![routing(0, 1)],
        vec![routing(2, 1)],
        vec![options(60), routing(4, 3)],
        vec![fragment(0, 0), fragment(0, 0)],
        vec![fragment(0, 1), options(60)],
        vec![fragment(64, 0), options(60)],
        vec![fragment(64, 1), fragment(0, 0)],
    ];
    all_dropped(bad.map(|extensions| (Packet { extensions, ..syn() }.bytes(), DropReason::Ipv6Extension)));
}

/// Neighbour and router discovery and who asks for listeners: to Linux, from whatever address, and limited as ARP is. What comes from
/// beyond a router, does not.
#[test]
fn neighbour_discovery_is_for_linux() {
    let mut h = Harness::default();
    let punted = Verdict::Punt { port: CLIENT_SIDE };
    let solicitation = packet::neighbour_solicitation(ROUTER_MAC);
    assert_eq!(h.feed_bytes(0, CLIENT_SIDE, &solicitation).verdict, punted);
    rx(86).and("punted_packets", 1).is(&h.moved());
    let link_local = |n| SocketAddr::new([0xfe80, 0, 0, 0, 0, 0, 0, n].into(), 0);
    let all_nodes = SocketAddr::new([0xff02, 0, 0, 0, 0, 0, 0, 1].into(), 0);
    let node = SocketAddr::new(NODE_6, 0);
    let unspecified = SocketAddr::new([0; 8].into(), 0);
    for (source, destination, kind, ttl) in [
        (CLIENT_6, node, 135, 255),
        (link_local(1), node, 136, 255),
        (link_local(1), link_local(2), 135, 255),
        (unspecified, all_nodes, 135, 255),
        (unspecified, all_nodes, 133, 255),
        (link_local(1), all_nodes, 134, 255),
        (link_local(1), link_local(2), 137, 255),
        (link_local(1), all_nodes, 130, 1),
    ] {
        let mac = if destination == all_nodes { [0x33, 0x33, 0, 0, 0, 1] } else { PORTS[0] };
        let packet = Packet::icmp(source, destination, kind, 0).macs(ROUTER_MAC, mac).ttl(ttl);
        // A query comes with a router alert before it.
        let alert = if kind == 130 { vec![(0, vec![0, 5, 2, 0, 0, 1, 0])] } else { vec![] };
        let packet = Packet { extensions: alert, ..packet };
        assert_eq!(h.feed(CLIENT_SIDE, &packet).verdict, punted, "{packet:?}");
        let beyond = packet.ttl(254);
        assert!(matches!(h.feed(CLIENT_SIDE, &beyond).verdict, Verdict::Drop(_)), "{beyond:?}");
    }
    h.skip(1000);
    let count =
        |h: &mut Harness| (0..300).filter(|_| h.feed_bytes(0, CLIENT_SIDE, &solicitation).verdict == punted).count();
    assert_eq!(count(&mut h), 200);
}

/// The host's own address belongs to Linux, whatever is sent there; a node's does not, but for answers to health checks.
/// req: GEN-07, S11.1, IPT-14
#[test]
fn the_host_has_its_traffic() {
    let mut h = Harness::default();
    let host = SocketAddr::new(HOST_6, 22);
    let to_host = [
        Packet::tcp(CLIENT_6, host, SYN, 1, 0),
        Packet::tcp(CLIENT, host, SYN, 1, 0),
        Packet::udp(CLIENT_6, host, b"x"),
        Packet::icmp(CLIENT_6, host, 128, 0),
        Packet { l4: L4::Other { protocol: 89 }, ..Packet::tcp(CLIENT_6, host, 0, 0, 0) },
        Packet::icmp(SocketAddr::new([0xfe80, 0, 0, 0, 0, 0, 0, 9].into(), 0), host, 128, 0),
    ];
    for packet in to_host.into_iter().filter(|packet| packet.source.is_ipv6()) {
        let out = h.feed(CLIENT_SIDE, &packet.macs(ROUTER_MAC, PORTS[0]));
        assert_eq!(out.verdict, Verdict::Punt { port: CLIENT_SIDE });
    }
    let node = |port| SocketAddr::new(NODE_6, port);
    let answer = Packet::tcp(SocketAddr::new(target(9).ip(), 9000), node(2000), SYN | ACK, 1, 2);
    let out = h.feed(TARGET_SIDE, &answer.macs(target_mac(9), PORTS[1]));
    assert_eq!(out.verdict, Verdict::Punt { port: TARGET_SIDE });
    h.moved();
    let ping = Packet::icmp(CLIENT_6, node(0), 128, 0).macs(ROUTER_MAC, PORTS[0]);
    h.feed(CLIENT_SIDE, &ping);
    rx(94).dropped("icmp").is(&h.moved());
    for flags in [SYN, ACK] {
        h.feed(CLIENT_SIDE, &Packet::tcp(CLIENT_6, node(2000), flags, 1, 2).macs(ROUTER_MAC, PORTS[0]));
        rx(74).dropped("no_listener").is(&h.moved());
    }
}

/// Packets arrive anywhere; each flow of any pair of families lives on one lcore, which gets both its directions. req: S1.2, I1
#[test]
fn a_flow_has_one_owner() {
    for vip in [WEB_6, DIRECT_6, TCP_6_TO_4, TCP_4_TO_6] {
        let mut h = Harness::new(4, 1024);
        for n in 0..60 {
            let from = if vip.is_ipv6() { client(n) } else { SocketAddr::new([198, 51, 100, 9].into(), 3000 + n) };
            let mut s = Stream::new(from, vip, n.into());
            s.lcore = n % 4;
            s.handshake(&mut h);
            for lcore in 0..4 {
                s.lcore = lcore;
                s.works(&mut h);
            }
        }
        h.check_flows();
        assert_eq!(h.total(Counter::FlowsCreated), 60);
        assert!((0..4).all(|lcore| h.flows().iter().any(|(at, _)| *at == lcore)), "every lcore owns something");
    }
}

/// A client cannot make up for its port with its address, so that all its connections meet on one lcore.
#[test]
fn owners_of_a_crafted_client() {
    let mut h = Harness::new(4, 4096);
    for port in 1..=400u16 {
        let ip = [0x2001, 0xdb8, 0xc, 0, port, 2, 3, 4];
        let mut s = Stream::new(SocketAddr::new(ip.into(), port), DIRECT_6, 1);
        s.send_syn(&mut h);
    }
    let on = |lcore| h.flows().iter().filter(|(at, _)| *at == lcore).count();
    assert!((0..4).all(|lcore| on(lcore) > 50), "{:?}", [0, 1, 2, 3].map(on));
}

/// A crash before every packet of a connection's life, whatever the families: nobody notices. req: IDL-09, R2
#[test]
fn a_crash_at_any_point_of_a_connection() {
    for vip in [WEB_6, DIRECT_6, TCP_6_TO_4, TCP_4_TO_6] {
        let mut h = Harness::default();
        let mut s = Stream::new(if vip.is_ipv6() { CLIENT_6 } else { CLIENT }, vip, u32::MAX - 3);
        s.send_syn(&mut h);
        assert_eq!(h.crash(), 1);
        s.feed_target(&mut h, &s.syn_ack()).forwarded();
        h.crash();
        s.client_sends(&mut h, ACK, &[]);
        for flags in [ACK, FIN | ACK] {
            h.crash();
            s.client_sends(&mut h, flags, b"abc");
            h.crash();
            s.target_sends(&mut h, flags, b"defg");
        }
        h.crash();
        s.client_sends(&mut h, ACK, &[]);
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::TimeWait));
        h.check_flows();
        assert_eq!(h.total(Counter::FlowsCreated), 1);
    }
}

/// Half of the entries here have room for IPv6. When those are gone, IPv6 is refused and counted, and IPv4 goes on; when the others
/// are gone, IPv4 uses what is left. req: S13.3
#[test]
fn entries_for_ipv6_run_out() {
    let mut h = Harness::new(1, 256);
    let mut streams: Vec<Stream> = (0..128).map(|n| Stream::open(&mut h, client(n), DIRECT_6, n.into())).collect();
    let refused = Stream::new(client(200), WEB_6, 1);
    h.moved();
    refused.feed_client(&mut h, &refused.syn());
    rx(94).dropped("flow_table_full").and("listener7.no_room", 1).is(&h.moved());
    let v4 = |n| SocketAddr::new(CLIENT.ip(), n);
    streams.extend((1000..1128).map(|n| Stream::open(&mut h, v4(n), WEB, n.into())));
    let refused = Stream::new(v4(2000), WEB, 1);
    assert!(refused.feed_client(&mut h, &refused.syn()).is_dropped(DropReason::FlowTableFull));
    streams.iter_mut().for_each(|s| s.works(&mut h));
    h.check_flows();

    let mut h = Harness::new(1, 256);
    let streams: Vec<Stream> = (1000..1256).map(|n| Stream::open(&mut h, v4(n), WEB, n.into())).collect();
    assert_eq!((h.flows().len(), streams.len()), (256, 256));
    h.crash();
    assert_eq!(h.flows().len(), 256);
    h.check_flows();
}

/// Two pairs of addresses with one digest: the second is not taken for the first, whose flow is not harmed. (With the key of these tests
/// such pairs can be made; nobody knows a real one.)
#[test]
fn a_digest_is_not_an_address() {
    // The key as it lies in memory.
    let crafted = |n| SocketAddr::new([(world::OWNER_KEY as u16).to_be(), 0, 0, 0, 0, 0, 0, n].into(), 4000);
    let address = |n| leat_core::Address::from(crafted(n).ip());
    let digest = |n| leat_core::hash::digest(world::OWNER_KEY, address(n), NODE_6.into());
    assert_eq!(digest(1), digest(2));
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, crafted(1), DIRECT_6, 1);
    h.moved();
    let other = Stream::new(crafted(2), DIRECT_6, 1);
    for packet in [other.syn(), other.from_client(ACK, b"x"), other.from_client(RST, &[])] {
        other.feed_client(&mut h, &packet);
        rx(packet.bytes().len()).dropped("tuple_conflict").is(&h.moved());
    }
    s.works(&mut h);
    h.check_flows();
}

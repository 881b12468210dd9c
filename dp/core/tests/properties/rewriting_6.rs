//! Any packet of a flow with IPv6 on a side: what leaves is what etherparse says it should be, whole or a fragment, and what is
//! translated there and back is what it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use leat_abi::flow::{FlowAddresses, FlowEntry, family, protocol};
use leat_core::Frame as _;
use leat_core::address::Address;
use leat_core::parse::{self, Meta, Parsed};
use leat_core::rewrite::{self, Egress};
use leat_core::table::Side;
use leat_core::wide;
use proptest::prelude::*;

use crate::common::packet::L4;
use crate::common::*;

const EGRESS: Egress = Egress { destination_mac: [2, 3, 4, 5, 6, 7], source_mac: PORTS[1] };
const DIGEST_KEY: u64 = 77;

/// Addresses of all bit patterns, those with all-zero and all-one words above all.
fn v6() -> impl Strategy<Value = IpAddr> {
    let word = || prop_oneof![Just(0u16), Just(0xffff), any::<u16>()];
    (0x2000u16..0x4000, prop::array::uniform7(word())).prop_map(|(first, rest)| {
        let [b, c, d, e, f, g, h] = rest;
        Ipv6Addr::new(first, b, c, d, e, f, g, h).into()
    })
}

fn v4() -> impl Strategy<Value = IpAddr> {
    let byte = || prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
    (1u8..=126, byte(), byte(), byte()).prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d).into())
}

fn ip(is_v6: bool) -> BoxedStrategy<IpAddr> {
    if is_v6 { v6().boxed() } else { v4().boxed() }
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(1), Just(0xffff), 1..=u16::MAX]
}

/// A flow's sockets: client, node, what the target sees as its client, target.
#[derive(Debug, Clone)]
struct Sockets {
    client: SocketAddr,
    vip: SocketAddr,
    nat: SocketAddr,
    target: SocketAddr,
}

fn sockets() -> impl Strategy<Value = Sockets> {
    let kinds = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    let addresses = kinds.prop_flat_map(|(client, target)| (ip(client), ip(client), ip(target), ip(target)));
    let sockets = (addresses, prop::array::uniform4(port())).prop_map(|((a, b, c, d), [w, x, y, z])| Sockets {
        client: SocketAddr::new(a, w),
        vip: SocketAddr::new(b, x),
        nat: SocketAddr::new(c, y),
        target: SocketAddr::new(d, z),
    });
    sockets.prop_filter("two ends", |s| s.client.ip() != s.vip.ip() && s.nat.ip() != s.target.ip())
}

impl Sockets {
    fn flow(&self, udp: bool) -> (FlowEntry, FlowAddresses) {
        let octets = |socket: SocketAddr| Address::from(socket.ip()).octets();
        let addresses = FlowAddresses {
            client: octets(self.client),
            vip: octets(self.vip),
            target: octets(self.target),
            nat: octets(self.nat),
        };
        let bit = |socket: SocketAddr, bit: u8| if socket.is_ipv6() { bit } else { 0 };
        let ports = |a: SocketAddr, b: SocketAddr| u32::from(a.port().to_be()) | u32::from(b.port().to_be()) << 16;
        let l4_delta = rewrite::l4_delta(
            &addresses,
            [self.client, self.target].map(|socket| socket.is_ipv4()),
            ports(self.client, self.vip),
            ports(self.nat, self.target),
        );
        let entry = FlowEntry {
            protocol: if udp { protocol::UDP } else { protocol::TCP }
                | bit(self.client, family::CLIENT_V6)
                | bit(self.target, family::TARGET_V6),
            client_port: self.client.port().to_be(),
            vport: self.vip.port().to_be(),
            nat_port: self.nat.port().to_be(),
            target_port: self.target.port().to_be(),
            l4_delta,
            ..FlowEntry::default()
        };
        (entry, addresses)
    }

    /// Source and destination of what a side sends, and of what the other gets.
    fn of(&self, side: Side) -> ((SocketAddr, SocketAddr), (SocketAddr, SocketAddr)) {
        match side {
            Side::Client => ((self.client, self.vip), (self.nat, self.target)),
            Side::Target => ((self.target, self.nat), (self.vip, self.client)),
        }
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Target)]
}

fn meta(frame: &[u8]) -> Meta {
    let to = *frame.first_chunk().expect("a MAC");
    match parse::frame(frame, to, DIGEST_KEY) {
        Parsed::Flow(meta) | Parsed::Fragment(meta, _) => meta,
        other => panic!("{other:?}: {frame:02x?}"),
    }
}

/// Rewrites a frame; its growth must be what was announced.
fn rewritten(sockets: &Sockets, udp: bool, side: Side, frame: &[u8]) -> Vec<u8> {
    let (entry, addresses) = sockets.flow(udp);
    let meta = meta(frame);
    let mut buffer = OwnedFrame::new(CLIENT_SIDE, frame.to_vec());
    wide::apply(&mut buffer, &entry, &addresses, side, &meta, EGRESS).expect("rewritten");
    let growth = buffer.bytes().len() as i32 - 14 - i32::from(meta.ip_len);
    assert_eq!(growth, wide::growth(&entry, side, &meta));
    buffer.bytes
}

/// Extension headers before a fragment header, as many as may be.
fn extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let header = prop_oneof![
        (0..4u8).prop_map(|n| (60, [&[n, 1, n * 8 + 4][..], &vec![0; usize::from(n) * 8 + 4]].concat())),
        Just((43, vec![0, 7, 0, 0, 0, 0, 0])),
    ];
    prop::collection::vec(header, 0..5)
}

#[derive(Debug, Clone)]
struct Fields {
    ttl: u8,
    tos: u8,
    id: u16,
    flow_label: u32,
    extensions: Vec<(u8, Vec<u8>)>,
    padding: usize,
}

fn fields() -> impl Strategy<Value = Fields> {
    (2u8.., any::<u8>(), any::<u16>(), 0..1u32 << 20, extensions(), 0..20usize).prop_map(
        |(ttl, tos, id, flow_label, extensions, padding)| Fields { ttl, tos, id, flow_label, extensions, padding },
    )
}

impl Fields {
    fn packet(&self, (from, to): (SocketAddr, SocketAddr), l4: L4, payload: &[u8]) -> Packet {
        let Self { ttl, tos, id, flow_label, ref extensions, padding } = *self;
        let packet = Packet {
            ttl,
            tos,
            flow_label,
            extensions: extensions.clone(),
            padding,
            l4,
            ..Packet::udp(from, to, payload)
        };
        Packet { id: if from.is_ipv4() { id } else { 0 }, ..packet.macs(ROUTER_MAC, PORTS[0]) }
    }
}

fn l4(udp: bool, numbers: [u32; 2]) -> L4 {
    let [seq, ack] = numbers;
    let options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    if udp { L4::Udp { checksum: true } } else { L4::Tcp { seq, ack, flags: ACK, window: 7, options } }
}

/// A frame's IP packet cut at `at` (a multiple of 8) behind all headers, the fragment header put in for IPv6.
fn cut(packet: &Packet, at: usize, id: u32) -> [Vec<u8>; 2] {
    let whole = Packet { padding: 0, ..packet.clone() }.bytes();
    let headers = usize::from(meta(&whole).l4);
    let (headers, l4) = whole.split_at(headers);
    [(0, &l4[..at], true), (at, &l4[at..], false)].map(|(offset, bytes, more)| {
        let mut frame = headers.to_vec();
        if packet.is_v6() {
            let field = offset as u16 | u16::from(more);
            let next_at = next_header_at(&frame, packet.extensions.len());
            let next = std::mem::replace(&mut frame[next_at], 44);
            frame.extend([next, 0]);
            frame.extend(field.to_be_bytes());
            frame.extend(id.to_be_bytes());
            frame.extend(bytes);
            let length = (frame.len() - 54) as u16;
            frame[18..20].copy_from_slice(&length.to_be_bytes());
        } else {
            let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame.extend(bytes);
            let length = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame[24..26].fill(0);
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[14..34]).ones_complement();
            frame[24..26].copy_from_slice(&sum.to_ne_bytes());
        }
        frame
    })
}

/// Where the last next-header field of an IPv6 frame with so many extension headers is.
fn next_header_at(frame: &[u8], extensions: usize) -> usize {
    (0..extensions).fold((20, 54), |(_, at), _| (at, at + 8 + 8 * usize::from(frame[at + 1]))).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any pair of families, both protocols, both ways. req: R29, S17.1, S18.1, S18.5
    #[test]
    fn any_packet(
        sockets in sockets(), udp: bool, side in side(), fields in fields(), numbers: [u32; 2],
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let (from, to) = sockets.of(side);
        let packet = fields.packet(from, l4(udp, numbers), &payload);
        let expected = packet.forwarded((EGRESS.source_mac, EGRESS.destination_mac), to.0, to.1);
        prop_assert_eq!(rewritten(&sockets, udp, side, &packet.bytes()), expected.bytes());
    }

    /// The pieces of a datagram, rewritten one by one, are the pieces of the datagram rewritten: `id` and the headers before them aside.
    /// req: S17.7, S10.6
    #[test]
    fn any_fragment(
        sockets in sockets(), udp: bool, side in side(), fields in fields(), numbers: [u32; 2], id: u32,
        payload in prop::collection::vec(any::<u8>(), 70..200), at in 5..10usize,
    ) {
        let (from, to) = sockets.of(side);
        let packet = fields.packet(from, l4(udp, numbers), &payload);
        let expected = packet.forwarded((EGRESS.source_mac, EGRESS.destination_mac), to.0, to.1);
        let receiver_knows = if side == Side::Client { sockets.nat } else { sockets.client };
        let expected_id = match (from.0.is_ipv6(), to.0.is_ipv6()) {
            (false, true) => u32::from(receiver_knows.port()) << 16 | id & 0xffff,
            _ => id,
        };
        let pieces = cut(&packet, at * 8, id).map(|piece| rewritten(&sockets, udp, side, &piece));
        prop_assert_eq!(pieces, cut(&expected, at * 8, expected_id));
    }

    /// There and back: what comes back is the packet as it was, two hops further, but for what one of the two headers has no room for.
    /// req: S17.1, S17.8
    #[test]
    fn there_and_back(
        sockets in sockets(), udp: bool, fields in fields(), numbers: [u32; 2],
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let packet = Fields { ttl: fields.ttl.max(3), ..fields }.packet((sockets.client, sockets.vip), l4(udp, numbers), &payload);
        let there = rewritten(&sockets, udp, Side::Client, &packet.bytes());
        // Whoever gets it sends it to where it came from.
        let mirrored = Sockets { client: sockets.vip, vip: sockets.client, nat: sockets.target, target: sockets.nat };
        let back = Packet::read(&rewritten(&mirrored, udp, Side::Target, &there)).expect("readable");
        let translated = sockets.client.is_ipv6() != sockets.target.is_ipv6();
        let lost = |packet: Packet| if translated {
            Packet { flow_label: 0, extensions: vec![], id: 0, ..packet }
        } else {
            packet
        };
        let expected = Packet { ttl: packet.ttl - 2, padding: 0, ..lost(packet) };
        prop_assert_eq!(back, expected.macs(EGRESS.source_mac, EGRESS.destination_mac));
    }

    /// A wrong checksum stays wrong, whatever is flipped in the segment. req: S18.2
    #[test]
    fn corruption_stays_visible(
        sockets in sockets(), udp: bool, side in side(), fields in fields(),
        payload in prop::collection::vec(any::<u8>(), 1..60), at: prop::sample::Index, bit in 0..8u8,
    ) {
        let (from, _) = sockets.of(side);
        let packet = Packet { padding: 0, ..fields.packet(from, l4(udp, [1, 2]), &payload) };
        let mut frame = packet.bytes();
        let end = frame.len();
        frame[end - 1 - at.index(payload.len())] ^= 1 << bit;
        let (_, is_good) = packet::checksums(&rewritten(&sockets, udp, side, &frame)).expect("readable");
        prop_assert!(!is_good);
    }
}

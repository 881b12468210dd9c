//! `leat_core::parse::frame` with any bytes: no panic, and what it says is true, as etherparse and plain arithmetic see it.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use leat_abi::flow::protocol::{TCP, UDP};
use leat_core::Address;
use leat_core::parse::{self, Meta, Parsed, Piece};

use crate::common::{OWNER_KEY, PORTS};

/// The input is a frame. A frame that is too short for MACs is not put right, any other gets the port's.
pub fn frame(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Some(mac) = bytes.first_chunk_mut::<6>() {
        // Odd ones stay: group and foreign addresses.
        if mac[0] & 3 != 3 {
            *mac = PORTS[0];
        }
    }
    match parse::frame(&bytes, PORTS[0], OWNER_KEY) {
        Parsed::Flow(meta) => {
            check(&bytes, &meta);
            assert_eq!(meta.piece, Piece::Whole);
            agrees(&bytes, &meta);
        }
        Parsed::Fragment(meta, place) => {
            check(&bytes, &meta);
            assert_eq!(meta.piece == Piece::First, place.offset == 0);
            assert!(place.offset > 0 || place.more, "a packet that is whole");
            assert!(place.offset.is_multiple_of(8) && place.length > 0);
            assert!(!place.more || place.length.is_multiple_of(8));
            assert!(usize::from(place.offset) + usize::from(place.length) <= usize::from(u16::MAX));
            let end = usize::from(meta.l4) + usize::from(place.length);
            assert_eq!(end, 14 + usize::from(meta.ip_len), "a fragment ends with its packet");
            assert!(meta.piece == Piece::First || meta.tuple.ports == 0, "ports that are not in the frame");
        }
        Parsed::IcmpError(meta) => {
            check(&bytes, &meta);
            let kind = bytes[usize::from(meta.l4)];
            assert!(if meta.tuple.is_v6() { (1..=4).contains(&kind) } else { kind == 3 });
        }
        Parsed::Neighbour | Parsed::Other { .. } | Parsed::Bad(_) => {}
    }
}

/// What holds of everything that has a [`Meta`].
fn check(bytes: &[u8], meta: &Meta) {
    let (l4, end) = (usize::from(meta.l4), 14 + usize::from(meta.ip_len));
    assert!(l4 <= end && end <= bytes.len(), "the packet is in the frame");
    let header = match (meta.tuple.ip_protocol(), meta.piece) {
        (_, Piece::Later) => 0,
        (TCP, _) => 20,
        (UDP, _) => 8,
        _ => 1,
    };
    assert!(l4 + header <= end, "the header is in the packet");
    assert!(header < 8 || l4 + header + usize::from(meta.payload_len) <= end, "the payload is in the packet");
    let protocol = if meta.tuple.is_v6() {
        parse::extensions(&bytes[..end], bytes[20]).expect("good extension headers").next
    } else {
        bytes[23]
    };
    assert_eq!(protocol, meta.tuple.ip_protocol());
    assert_eq!(meta.tuple.is_v6(), bytes[14] >> 4 == 6);
    let ends = meta.ends(bytes);
    assert_ne!(ends.source, ends.destination);
    let (at, width) = if meta.tuple.is_v6() { (22, 16) } else { (26, 4) };
    let address = |at: usize| match bytes[at..at + width].try_into() {
        Ok(octets) => Address::from_octets(octets),
        Err(_) => Address::v4(u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))),
    };
    assert_eq!((ends.source, ends.destination), (address(at), address(at + width)));
    assert!(meta.window_scale <= 14);
}

/// Another reader of headers, wherever it can read the packet at all, sees the same.
fn agrees(bytes: &[u8], meta: &Meta) {
    let Ok(sliced) = SlicedPacket::from_ethernet(&bytes[..14 + usize::from(meta.ip_len)]) else { return };
    match sliced.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!((header.time_to_live, header.total_len), (meta.ttl, meta.ip_len));
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(ip.header().hop_limit(), meta.ttl);
            assert_eq!(ip.header().payload_length() + 40, meta.ip_len);
        }
        NetSlice::Arp(_) => panic!("ARP is no flow's"),
    }
    let ports = [meta.tuple.source_port(), meta.tuple.destination_port()].map(u16::from_be);
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(meta.tuple.ip_protocol(), TCP);
            assert_eq!(ports, [tcp.source_port(), tcp.destination_port()]);
            assert_eq!((meta.seq, meta.ack), (tcp.sequence_number(), tcp.acknowledgment_number()));
            assert_eq!((meta.window, meta.flags), (tcp.window_size(), tcp.slice()[13]));
            assert_eq!(usize::from(meta.payload_len), tcp.payload().len());
        }
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!(meta.tuple.ip_protocol(), UDP);
            assert_eq!(ports, [udp.source_port(), udp.destination_port()]);
            assert_eq!(usize::from(meta.payload_len) + 8, usize::from(udp.length()));
        }
        // It knows fewer or more extension headers.
        _ => assert!(meta.tuple.is_v6()),
    }
}

//! Fragments as the tests make and read them: cut and put together here, with etherparse's headers.

use std::net::SocketAddr;

use etherparse::{EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header};

/// Bytes before the IP header.
const ETHERNET: usize = 14;

/// A fragment, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub offset: usize,
    pub more: bool,
    pub id: u32,
    pub bytes: Vec<u8>,
}

fn is_v4(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x00]
}

/// Bytes after the IP header of an unfragmented packet without extension headers.
fn body(frame: &[u8]) -> &[u8] {
    &frame[ETHERNET + if is_v4(frame) { 20 } else { 40 }..]
}

/// One fragment of an unpadded frame: bytes `from..to` after its IP header.
pub fn piece(frame: &[u8], id: u32, from: usize, to: usize) -> Vec<u8> {
    let body = body(frame);
    let (part, more) = (&body[from..to], to < body.len());
    raw_piece(frame, id, from, more, part)
}

/// A fragment with the headers of this frame, and anything in it.
pub fn raw_piece(frame: &[u8], id: u32, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
    let mut out = frame[..ETHERNET].to_vec();
    if is_v4(frame) {
        let (mut ip, _) = Ipv4Header::from_slice(&frame[ETHERNET..]).expect("an IPv4 header");
        ip.identification = id as u16;
        ip.fragment_offset = IpFragOffset::try_new((offset / 8) as u16).expect("an offset");
        (ip.more_fragments, ip.dont_fragment) = (more, false);
        ip.total_len = (20 + part.len()) as u16;
        ip.header_checksum = ip.calc_header_checksum();
        ip.write_raw(&mut out).expect("an IPv4 header");
    } else {
        let (mut ip, _) = Ipv6Header::from_slice(&frame[ETHERNET..]).expect("an IPv6 header");
        let next = ip.next_header;
        (ip.next_header, ip.payload_length) = (IpNumber::IPV6_FRAGMENTATION_HEADER, (8 + part.len()) as u16);
        ip.write(&mut out).expect("an IPv6 header");
        out.extend([next.0, 0]);
        out.extend((offset as u16 | u16::from(more)).to_be_bytes());
        out.extend(id.to_be_bytes());
    }
    out.extend(part);
    out
}

/// All fragments of an unpadded frame, with at most `size` bytes, a multiple of 8, after their headers.
pub fn pieces(frame: &[u8], id: u32, size: usize) -> Vec<Vec<u8>> {
    let length = body(frame).len();
    (0..length).step_by(size).map(|from| piece(frame, id, from, (from + size).min(length))).collect()
}

/// Reads a fragment.
pub fn read(frame: &[u8]) -> Piece {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    if is_v4(frame) {
        let (ip, _) = Ipv4Header::from_slice(&frame[ETHERNET..]).expect("an IPv4 header");
        assert_eq!(ip.calc_header_checksum(), ip.header_checksum, "the IP checksum of a fragment");
        assert_eq!(frame.len(), ETHERNET + usize::from(ip.total_len), "padding is cut");
        let offset = usize::from(ip.fragment_offset.value()) * 8;
        let bytes = frame[ETHERNET + 20..].to_vec();
        Piece { offset, more: ip.more_fragments, id: ip.identification.into(), bytes }
    } else {
        assert_eq!(
            (frame[20], frame.len()),
            (44, ETHERNET + 40 + usize::from(word(18))),
            "a fragment header, no padding"
        );
        let id = u32::from(word(58)) << 16 | u32::from(word(60));
        Piece { offset: (word(56) & !7).into(), more: word(56) & 1 == 1, id, bytes: frame[ETHERNET + 48..].to_vec() }
    }
}

/// The frame whose fragments these are, in any order, each once; and their identification, which the frame of IPv4 has, too.
pub fn joined(frames: &[Vec<u8>]) -> (Vec<u8>, u32) {
    let mut parts: Vec<(Piece, &Vec<u8>)> = frames.iter().map(|frame| (read(frame), frame)).collect();
    parts.sort_by_key(|(piece, _)| piece.offset);
    let (first, head) = parts[0].clone();
    let mut body: Vec<u8> = Vec::new();
    for (n, (piece, frame)) in parts.iter().enumerate() {
        assert_eq!((piece.offset, piece.more, piece.id), (body.len(), n + 1 < parts.len(), first.id), "fragments fit");
        let same_headers = |range: std::ops::Range<usize>| frame[range.clone()] == head[range];
        let addresses = if is_v4(head) { 26..34 } else { 22..54 };
        assert!(same_headers(0..16) && same_headers(addresses), "fragments of one packet");
        assert!(!is_v4(head) || same_headers(22..24), "fragments of one packet");
        body.extend(&piece.bytes);
    }
    let mut out = head[..ETHERNET].to_vec();
    if is_v4(head) {
        let (mut ip, _) = Ipv4Header::from_slice(&head[ETHERNET..]).expect("an IPv4 header");
        (ip.fragment_offset, ip.more_fragments, ip.dont_fragment) = (IpFragOffset::ZERO, false, false);
        ip.total_len = (20 + body.len()) as u16;
        ip.header_checksum = ip.calc_header_checksum();
        ip.write_raw(&mut out).expect("an IPv4 header");
    } else {
        let (mut ip, _) = Ipv6Header::from_slice(&head[ETHERNET..]).expect("an IPv6 header");
        (ip.next_header, ip.payload_length) = (IpNumber(head[54]), body.len() as u16);
        ip.write(&mut out).expect("an IPv6 header");
    }
    out.extend(body);
    (out, first.id)
}

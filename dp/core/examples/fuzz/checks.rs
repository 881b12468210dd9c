//! What must hold of every frame that leaves, computed here and not by the pipeline's code.

use crate::lcores::NotedFrame;
use crate::world::PORTS;

fn word(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// The one's-complement sum of bytes in network order.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut pairs = bytes.chunks_exact(2);
    let mut sum: u64 =
        u64::from(start) + pairs.by_ref().map(|w| u64::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u64>();
    if let [last] = pairs.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where what is in a frame with IPv4 without options, or with IPv6.
#[derive(Debug, Clone, Copy)]
pub struct Layers {
    pub is_v6: bool,
    pub protocol: u8,
    pub l4: usize,
    /// The end of the IP packet.
    pub end: usize,
    pub is_fragment: bool,
}

/// Reads the headers; nothing is returned if they are not in the frame.
pub fn layers(frame: &[u8]) -> Option<Layers> {
    let is_v6 = match word(frame, 12) {
        0x0800 if frame.get(14) == Some(&0x45) => false,
        0x86dd if frame.len() >= 54 => true,
        _ => return None,
    };
    if !is_v6 {
        let (end, protocol) = (14 + usize::from(word(frame, 16)), *frame.get(23)?);
        let is_fragment = word(frame, 20) & 0x3fff != 0;
        return (34..=frame.len()).contains(&end).then_some(Layers { is_v6, protocol, l4: 34, end, is_fragment });
    }
    let (mut protocol, mut l4, mut is_fragment) = (frame[20], 54, false);
    let end = 54 + usize::from(word(frame, 18));
    while matches!(protocol, 0 | 43 | 44 | 60) && !is_fragment {
        let length = if protocol == 44 { 8 } else { 8 + 8 * usize::from(*frame.get(l4 + 1)?) };
        is_fragment = protocol == 44 && word(frame, l4 + 2) & 0xfff9 != 0;
        protocol = *frame.get(l4)?;
        l4 += length;
    }
    (l4 <= end && end <= frame.len()).then_some(Layers { is_v6, protocol, l4, end, is_fragment })
}

/// The sum over segment and pseudo-header; 0xffff when the checksum is right.
fn segment_sum(frame: &[u8], layers: &Layers) -> u16 {
    let segment = &frame[layers.l4..layers.end];
    let pseudo = match (layers.is_v6, layers.protocol) {
        (false, 1) => 0,
        (is_v6, protocol) => {
            let addresses = if is_v6 { &frame[22..54] } else { &frame[26..34] };
            u32::from(sum(addresses, u32::from(protocol) + segment.len() as u32))
        }
    };
    sum(segment, pseudo)
}

/// Whether the checksum of a TCP segment or UDP datagram is right, if the frame has all of it, and a checksum.
pub fn is_good(frame: &[u8]) -> Option<bool> {
    let layers = layers(frame).filter(|layers| !layers.is_fragment)?;
    let at = match layers.protocol {
        6 if layers.end - layers.l4 >= 20 => 16,
        17 if layers.end - layers.l4 >= 8 => 6,
        _ => return None,
    };
    let has_none = layers.protocol == 17 && word(frame, layers.l4 + at) == 0;
    (!has_none).then(|| segment_sum(frame, &layers) == 0xffff)
}

/// A packet that leaves by a port, in order down to layer 4. Of `tainted` entries, what they say that checksums change by may be wrong.
fn leaves(port: u8, frame: &[u8], tainted: bool) -> Layers {
    let layers = layers(frame).expect("headers that can be read");
    assert!(tainted || layers.is_v6 || sum(&frame[14..34], 0) == 0xffff, "the IP checksum of what leaves");
    assert_eq!(frame.len(), layers.end, "padding is cut");
    assert_eq!(frame[6..12], PORTS[usize::from(port)], "the MAC of the port it leaves by");
    assert!(frame[if layers.is_v6 { 21 } else { 22 }] >= 1, "TTL");
    layers
}

/// A packet of a flow, rewritten. A good segment stays good and a bad one bad, unless the entries are `tainted`.
pub fn forwarded(port: u8, frame: &NotedFrame, tainted: bool) {
    let layers = leaves(port, &frame.bytes, tainted);
    assert!([6, 17, 1, 58].contains(&layers.protocol), "{layers:?} in {:02x?}", frame.bytes);
    if matches!(layers.protocol, 1 | 58) {
        assert!(layers.is_fragment || segment_sum(&frame.bytes, &layers) == 0xffff, "the checksum of an ICMP error");
    } else if let (false, Some(was_good), Some(is_good)) = (tainted, frame.note.was_good, is_good(&frame.bytes)) {
        assert_eq!(is_good, was_good, "a good segment stays good, a bad one bad");
    }
}

/// What was made of a packet: a reset, or an ICMP error.
pub fn answered(port: u8, frame: &NotedFrame) {
    let bytes = &frame.bytes;
    let layers = leaves(port, bytes, false);
    assert_eq!((port, segment_sum(bytes, &layers)), (frame.port, 0xffff));
    if layers.protocol == 6 {
        assert_eq!(layers.end - layers.l4, 20);
        assert_eq!((bytes[layers.l4 + 12], bytes[layers.l4 + 13] & 4), (0x50, 4));
    } else {
        let too_big = if layers.is_v6 { (58, 2, 0) } else { (1, 3, 4) };
        assert_eq!((layers.protocol, bytes[layers.l4], bytes[layers.l4 + 1]), too_big);
    }
}

/// What was made beside a packet: a reset, a PROXY header, a piece of a packet; or a fragment that was held.
pub fn made(port: u8, bytes: &[u8], tainted: bool) {
    let layers = leaves(port, bytes, tainted);
    let is_right = layers.is_fragment || tainted || segment_sum(bytes, &layers) == 0xffff;
    assert!(is_right, "the checksum of what is made here");
}

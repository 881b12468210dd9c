//! What must hold of every frame that leaves, computed here and not by the pipeline's code.

use crate::lcores::Buffer;
use crate::world::PORTS;

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The one's-complement sum of bytes in network order.
pub fn sum(bytes: &[u8], start: u32) -> u16 {
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

/// The sum over segment and pseudo-header of an IPv4 packet of `total` bytes; 0xffff when its checksum is right.
pub fn segment_sum(frame: &[u8], total: usize) -> u16 {
    let segment = &frame[34..14 + total];
    let pseudo = sum(&frame[26..34], u32::from(frame[23]) + segment.len() as u32);
    sum(segment, pseudo.into())
}

fn ip(frame: &[u8]) -> usize {
    assert_eq!(word(frame, 12), 0x0800);
    assert_eq!(frame[14], 0x45);
    assert_eq!(sum(&frame[14..34], 0), 0xffff, "the IP checksum of what leaves");
    let total = usize::from(word(frame, 16));
    assert_eq!(frame.len(), 14 + total, "padding is cut");
    total
}

/// A packet of a flow, rewritten.
pub fn forwarded(port: u8, frame: &Buffer, tainted: bool) {
    let bytes = &frame.bytes;
    let total = ip(bytes);
    assert_eq!(bytes[6..12], PORTS[usize::from(port)], "the MAC of the port it leaves by");
    assert!(bytes[22] >= 1, "TTL");
    if bytes[23] == 1 {
        assert_eq!(sum(&bytes[34..], 0), 0xffff, "an ICMP error");
        return;
    }
    assert!([6, 17].contains(&bytes[23]));
    if !is_fragment(bytes) && frame.intent.is_sound && !tainted {
        assert_eq!(segment_sum(bytes, total), 0xffff, "a good segment stays good");
    }
}

/// Whether a frame has a fragment of IPv4.
pub fn is_fragment(bytes: &[u8]) -> bool {
    word(bytes, 12) == 0x0800 && word(bytes, 20) & 0x3fff != 0
}

/// A reset, or the ICMP error that a packet is too big.
pub fn answered(port: u8, frame: &Buffer) {
    let bytes = &frame.bytes;
    if bytes[23] == 1 {
        assert!(ip(bytes) <= 576 && bytes[34..36] == [3, 4] && sum(&bytes[34..], 0) == 0xffff);
        return;
    }
    assert_eq!((port, ip(bytes), bytes[23]), (frame.port, 40, 6));
    assert_eq!((bytes[46], bytes[47] & 4), (0x50, 4));
    assert_eq!(segment_sum(bytes, 40), 0xffff);
    assert_eq!(bytes[6..12], PORTS[usize::from(port)]);
}

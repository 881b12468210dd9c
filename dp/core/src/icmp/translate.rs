//! ICMP errors between IPv4 and IPv6, with the packets that they quote (RFC 7915 §4.2, §4.3, §5.2, §5.3; semantics §17.3–17.5).
//!
//! Pure functions: from one frame into another.

use leat_abi::flow::protocol;

use super::quote::{HEADER, Quote};
use super::rewrite::{MTU_MIN, Plan, mtu_v4, rewrite_l4, set_checksum};
use crate::address::Address;
use crate::checksum;
use crate::parse::{ETHERNET, Ends, L4, L4_V6};

/// Bytes of the largest frame that results.
pub const FRAME_MAX: usize = ETHERNET + MTU_MIN.1 as usize;
/// Bytes of a quote that extensions follow, at the least (RFC 4884 §4).
const QUOTE_MIN: usize = 128;
/// Bytes by which an IPv6 header is longer.
const DIFFERENCE: u16 = (L4_V6 - L4) as u16;

/// The first 8 bytes of an ICMP error, without its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word.
    pub rest: [u8; 4],
}

/// "Unreachable" of ICMP, about a packet of `length` bytes, in ICMPv6. None: there is nothing like it.
pub fn to_v6(header: Header, length: u16) -> Option<Header> {
    let plain = |kind, code| Some(Header { kind, code, rest: [0; 4] });
    match (header.kind, header.code) {
        (3, 0 | 1 | 5..=8 | 11 | 12) => plain(1, 0),
        (3, 9 | 10 | 13 | 15) => plain(1, 1),
        // The protocol: at the place of the next header.
        (3, 2) => Some(Header { kind: 4, code: 1, rest: [0, 0, 0, 6] }),
        (3, 3) => plain(1, 4),
        (3, 4) => {
            let told = mtu_v4(u16::from_be_bytes([header.rest[2], header.rest[3]]), length);
            let mtu = u32::from(told) + u32::from(DIFFERENCE);
            Some(Header { kind: 2, code: 0, rest: mtu.max(MTU_MIN.1.into()).to_be_bytes() })
        }
        _ => None,
    }
}

/// An error of ICMPv6 in ICMP. None: there is nothing like it.
pub fn to_v4(header: Header) -> Option<Header> {
    let plain = |kind, code| Some(Header { kind, code, rest: [0; 4] });
    let word = u32::from_be_bytes(header.rest);
    match (header.kind, header.code) {
        (1, 0 | 2 | 3) => plain(3, 1),
        (1, 1) => plain(3, 10),
        (1, 4) => plain(3, 3),
        (2, _) => {
            let mtu = word.clamp(MTU_MIN.1.into(), u16::MAX.into()) as u16 - DIFFERENCE;
            let [high, low] = mtu.to_be_bytes();
            Some(Header { kind: 3, code: 4, rest: [0, 0, high, low] })
        }
        (3, code) => plain(11, code),
        (4, 0) => {
            let pointer = match word {
                0 | 1 => word as u8,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            Some(Header { kind: 12, code: 0, rest: [pointer, 0, 0, 0] })
        }
        (4, 1) => plain(3, 2),
        _ => None,
    }
}

/// Makes of a frame's error, whose ICMP header begins at `l4` and which quotes that, one of the other kind, in a frame of its own. Returns
/// its length; MACs are still to be set. None: there is nothing like it.
pub fn error(frame: &[u8], l4: usize, quote: &Quote, plan: &Plan, out: &mut [u8; FRAME_MAX]) -> Option<usize> {
    let makes_v6 = !quote.is_v6;
    let [kind, code, _, _, rest @ ..] = *frame.get(l4..)?.first_chunk::<HEADER>()?;
    let header = Header { kind, code, rest };
    let mut header = if makes_v6 { to_v6(header, quote.length)? } else { to_v4(header)? };

    let l4_length = usize::from(quote.length).saturating_sub(quote.l4 - quote.ip);
    // Without padding.
    let segment = frame.get(quote.l4..quote.end)?;
    let segment = segment.get(..l4_length).unwrap_or(segment);
    let (own, inner, max) =
        if makes_v6 { (L4_V6, L4_V6 - ETHERNET, MTU_MIN.1) } else { (L4, L4 - ETHERNET, MTU_MIN.0) };
    let body = own + HEADER;
    let room = ETHERNET + usize::from(max) - body;
    let extensions = frame.get(quote.end..quote.icmp_end)?;
    let word = if makes_v6 { 8 } else { 4 };
    let takes_extensions = if makes_v6 { header.kind == 1 } else { [3, 11, 12].contains(&header.kind) };
    let for_quote = room.saturating_sub(extensions.len()) / word * word;
    let (extensions, for_quote) = if !extensions.is_empty() && takes_extensions && for_quote >= QUOTE_MIN {
        (extensions, for_quote)
    } else {
        (&extensions[..0], room)
    };
    let segment = &segment[..segment.len().min(for_quote - inner)];
    let end = body + inner + segment.len();
    let padded = if extensions.is_empty() {
        end
    } else {
        let length = (inner + segment.len()).next_multiple_of(word).max(QUOTE_MIN);
        header.rest[if makes_v6 { 0 } else { 1 }] = (length / word) as u8;
        body + length
    };
    let total = padded + extensions.len();

    let outer = outer(frame)?;
    out[..total].fill(0);
    out[12..14].copy_from_slice(if makes_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    put_ip(&mut out[ETHERNET..], plan.outer, Ip { l4_length: total - own, ..outer });
    let ip = Ip { l4_length, ..inner_of(frame, quote)? };
    put_ip(&mut out[body..], plan.quoted, ip);
    out[own..own + 2].copy_from_slice(&[header.kind, header.code]);
    out[own + 4..body].copy_from_slice(&header.rest);
    out[body + inner..end].copy_from_slice(segment);
    out[padded..total].copy_from_slice(extensions);
    let quote = Quote { ip: body, l4: body + inner, end, icmp_end: total, is_v6: makes_v6, ..*quote };
    rewrite_l4(&mut out[..total], &quote, plan);
    set_checksum(&mut out[..total], own, makes_v6);
    Some(total)
}

/// What both kinds of IP header say.
#[derive(Debug, Clone, Copy)]
struct Ip {
    tos: u8,
    ttl: u8,
    protocol: u8,
    l4_length: usize,
}

fn outer(frame: &[u8]) -> Option<Ip> {
    let ip = read_ip(frame.get(ETHERNET..)?)?;
    let protocol = if ip.protocol == protocol::ICMP { protocol::ICMPV6 } else { protocol::ICMP };
    Some(Ip { protocol, ..ip })
}

fn inner_of(frame: &[u8], quote: &Quote) -> Option<Ip> {
    Some(Ip { protocol: quote.protocol, ..read_ip(frame.get(quote.ip..)?)? })
}

fn read_ip(ip: &[u8]) -> Option<Ip> {
    let ip = ip.first_chunk::<20>()?;
    Some(if ip[0] >> 4 == 6 {
        Ip { tos: ip[0] << 4 | ip[1] >> 4, ttl: ip[7], protocol: ip[6], l4_length: 0 }
    } else {
        Ip { tos: ip[1], ttl: ip[8], protocol: ip[9], l4_length: 0 }
    })
}

/// Puts an IP header at the beginning, of the kind of the addresses.
fn put_ip(out: &mut [u8], ends: Ends, ip: Ip) {
    let octets = |address: Address| address.octets();
    if ends.destination.is_v4() {
        let Some(header) = out.first_chunk_mut::<20>() else { return };
        let [high, low] = ((20 + ip.l4_length).min(usize::from(u16::MAX)) as u16).to_be_bytes();
        *header = [0x45, ip.tos, high, low, 0, 0, 0x40, 0, ip.ttl, ip.protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[12..16].copy_from_slice(&octets(ends.source)[12..]);
        header[16..20].copy_from_slice(&octets(ends.destination)[12..]);
        let sum = checksum::of(&[header]);
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
    } else {
        let Some(header) = out.first_chunk_mut::<40>() else { return };
        header[..4].copy_from_slice(&[0x60 | ip.tos >> 4, ip.tos << 4, 0, 0]);
        header[4..6].copy_from_slice(&(ip.l4_length.min(usize::from(u16::MAX)) as u16).to_be_bytes());
        header[6..8].copy_from_slice(&[ip.protocol, ip.ttl]);
        header[8..24].copy_from_slice(&octets(ends.source));
        header[24..40].copy_from_slice(&octets(ends.destination));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: S17.3
    #[test]
    fn unreachable_becomes_icmpv6() {
        let of = |code, rest| to_v6(Header { kind: 3, code, rest }, 1400);
        let plain = |kind, code| Some(Header { kind, code, rest: [0; 4] });
        let mtu = |mtu: u32| Some(Header { kind: 2, code: 0, rest: mtu.to_be_bytes() });
        for code in 0..=255 {
            let expected = match code {
                0 | 1 | 5 | 6 | 7 | 8 | 11 | 12 => plain(1, 0),
                2 => Some(Header { kind: 4, code: 1, rest: [0, 0, 0, 6] }),
                3 => plain(1, 4),
                4 => mtu(1420),
                9 | 10 | 13 | 15 => plain(1, 1),
                _ => None,
            };
            assert_eq!(of(code, [0, 0, 5, 120]), expected, "{code}");
        }
        assert_eq!((of(4, [0, 0, 2, 0]), of(4, [0; 4])), (mtu(1280), mtu(1280)));
        assert_eq!(to_v6(Header { kind: 3, code: 4, rest: [0; 4] }, 9000), mtu(8186), "RFC 1191's table");
        assert_eq!(to_v6(Header { kind: 11, code: 0, rest: [0; 4] }, 100), None, "never asked");
    }

    /// req: S17.4
    #[test]
    fn icmpv6_becomes_icmp() {
        let of = |kind, code, word: u32| to_v4(Header { kind, code, rest: word.to_be_bytes() });
        let plain = |kind, code| Some(Header { kind, code, rest: [0; 4] });
        let codes = [plain(3, 1), plain(3, 10), plain(3, 1), plain(3, 1), plain(3, 3), None, None];
        for (code, expected) in (0..).zip(codes) {
            assert_eq!(of(1, code, 0), expected, "{code}");
        }
        for (told, mtu) in [(1500u32, 1480u16), (1280, 1260), (100, 1260), (1 << 20, 65_515)] {
            let [high, low] = mtu.to_be_bytes();
            assert_eq!(of(2, 0, told), Some(Header { kind: 3, code: 4, rest: [0, 0, high, low] }));
        }
        assert_eq!(
            (of(3, 0, 0), of(3, 1, 0), of(4, 1, 6), of(4, 2, 0)),
            (plain(11, 0), plain(11, 1), plain(3, 2), None)
        );
        let pointers = [(0, 0), (1, 1), (4, 2), (5, 2), (6, 9), (7, 8), (8, 12), (23, 12), (24, 16), (39, 16)];
        for (pointer, expected) in pointers {
            assert_eq!(of(4, 0, pointer), Some(Header { kind: 12, code: 0, rest: [expected, 0, 0, 0] }));
        }
        assert!([2, 3, 40, 1 << 20].into_iter().all(|pointer| of(4, 0, pointer).is_none()));
        assert_eq!(of(128, 0, 0), None, "never asked");
    }
}

//! Packets of flows between IPv6 and IPv4 (RFC 7915 §4.1 and §5.1; semantics §17): another IP header, and behind it what
//! [`crate::rewrite`] does.
//!
//! Copied: DSCP and ECN, the protocol, TTL or hop limit less 1. To IPv4: "don't fragment", identification 0, extension headers left out.
//! To IPv6: flow label 0. A fragment stays one: "don't fragment" is off, and the low 16 bits of its identification stay (S17.7). To IPv6
//! the high ones are the port that the receiver knows the client by, so that those of different clients do not meet (S10.8).
//!
//! Byte order: that of packets; ports as loaded.

use leat_abi::DropReason;

use crate::checksum;
use crate::frame::Frame;
use crate::parse::{ETHERNET, L4, L4_V6, Meta, Piece, extension};
use crate::wide::Hop;

/// Bytes of a fragment header.
const FRAGMENT: usize = 8;
/// "Don't fragment" and "more fragments" of IPv4.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE: u16 = 0x2000;

/// Bytes by which a packet of IPv4 becomes longer.
pub const fn grows(piece: Piece) -> usize {
    let fragment = if matches!(piece, Piece::Whole) { 0 } else { FRAGMENT };
    L4_V6 + fragment - L4
}

/// Bytes by which a packet of IPv6 becomes shorter.
pub const fn shrinks(meta: &Meta) -> usize {
    (meta.l4 as usize).saturating_sub(L4)
}

/// IPv6 to IPv4, padding cut. An error leaves the frame fit for nothing but being dropped.
pub fn to_v4<F: Frame>(frame: &mut F, meta: &Meta, hop: &Hop<'_>) -> Result<(), DropReason> {
    frame.truncate(ETHERNET + usize::from(meta.ip_len));
    let Some(&old) = frame.bytes().first_chunk::<L4_V6>() else { return Err(DropReason::ShortFrame) };
    let (id, fragment) = if meta.piece == Piece::Whole {
        ([0, 0], DONT_FRAGMENT)
    } else {
        // Nothing stands between it and layer 4.
        let header = frame.bytes().get(..usize::from(meta.l4)).and_then(|headers| headers.last_chunk::<FRAGMENT>());
        let Some(&[_, _, high, low, _, _, id @ ..]) = header else { return Err(DropReason::ShortFrame) };
        let field = u16::from_be_bytes([high, low]);
        (id, field >> 3 | if field & 1 == 1 { MORE } else { 0 })
    };
    if !frame.trim_front(shrinks(meta)) {
        return Err(DropReason::ShortFrame);
    }
    let Some((headers, segment)) = frame.bytes_mut().split_first_chunk_mut::<L4>() else {
        return Err(DropReason::ShortFrame);
    };
    rewrite_ethernet(headers, [0x08, 0x00], hop);
    let ip = &mut headers[ETHERNET..];
    ip[0..2].copy_from_slice(&[0x45, old[ETHERNET] << 4 | old[ETHERNET + 1] >> 4]);
    ip[2..4].copy_from_slice(&((L4 - ETHERNET + segment.len()) as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&id);
    ip[6..8].copy_from_slice(&fragment.to_be_bytes());
    ip[8..12].copy_from_slice(&[old[ETHERNET + 7].wrapping_sub(1), meta.tuple.ip_protocol(), 0, 0]);
    ip[12..16].copy_from_slice(&hop.source[12..]);
    ip[16..20].copy_from_slice(&hop.destination[12..]);
    let sum = checksum::of(&[ip]);
    ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    hop.rewrite_l4(segment, meta);
    Ok(())
}

/// IPv4 to IPv6, padding cut. UDP without a checksum cannot become that. An error leaves the frame fit for nothing but being dropped.
pub fn to_v6<F: Frame>(frame: &mut F, meta: &Meta, hop: &Hop<'_>) -> Result<(), DropReason> {
    frame.truncate(ETHERNET + usize::from(meta.ip_len));
    let Some((&old, segment)) = frame.bytes().split_first_chunk::<L4>() else { return Err(DropReason::ShortFrame) };
    let has_checksum = meta.tuple.is_tcp() || meta.piece == Piece::Later || segment.get(6..8) != Some(&[0, 0]);
    if !has_checksum {
        return Err(DropReason::UdpChecksum);
    }
    if !frame.prepend(grows(meta.piece)) {
        return Err(DropReason::NotLinear);
    }
    let Some((headers, rest)) = frame.bytes_mut().split_first_chunk_mut::<L4_V6>() else {
        return Err(DropReason::ShortFrame);
    };
    rewrite_ethernet(headers, [0x86, 0xdd], hop);
    let (tos, protocol) = (old[ETHERNET + 1], meta.tuple.ip_protocol());
    let next = if meta.piece == Piece::Whole { protocol } else { extension::FRAGMENT };
    let ip = &mut headers[ETHERNET..];
    ip[0..4].copy_from_slice(&[0x60 | tos >> 4, tos << 4, 0, 0]);
    ip[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    ip[6..8].copy_from_slice(&[next, old[ETHERNET + 8].wrapping_sub(1)]);
    ip[8..24].copy_from_slice(&hop.source);
    ip[24..40].copy_from_slice(&hop.destination);
    if meta.piece == Piece::Whole {
        hop.rewrite_l4(rest, meta);
    } else if let Some((header, segment)) = rest.split_first_chunk_mut::<FRAGMENT>() {
        let field = u16::from_be_bytes([old[ETHERNET + 6], old[ETHERNET + 7]]);
        let more = u16::from(field & MORE != 0);
        header[0..2].copy_from_slice(&[protocol, 0]);
        header[2..4].copy_from_slice(&(field << 3 | more).to_be_bytes());
        header[4..6].copy_from_slice(&hop.client_port.to_ne_bytes());
        header[6..8].copy_from_slice(&old[ETHERNET + 4..ETHERNET + 6]);
        hop.rewrite_l4(segment, meta);
    }
    Ok(())
}

fn rewrite_ethernet(headers: &mut [u8], ethertype: [u8; 2], hop: &Hop<'_>) {
    headers[0..6].copy_from_slice(&hop.egress.destination_mac);
    headers[6..12].copy_from_slice(&hop.egress.source_mac);
    headers[12..14].copy_from_slice(&ethertype);
}

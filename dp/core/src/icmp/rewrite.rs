//! Rewriting an ICMP error so that it reaches the sender of the packet that it quotes, and quotes what that one sent (S11.3, S11.5).

use leat_abi::flow::protocol;

use super::quote::Quote;
use crate::checksum;
use crate::parse::{ETHERNET, Ends, L4, L4_V6};

/// What an ICMP error and its quote are to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Its own addresses.
    pub outer: Ends,
    /// Those of the quoted packet.
    pub quoted: Ends,
    /// The quoted packet's ports, source port in the low half, as loaded.
    pub ports: u32,
    /// What the change of the quoted addresses and ports adds to the quoted checksum.
    pub l4_delta: u16,
    /// The quoted sequence and acknowledgement number, if they change.
    pub numbers: Numbers,
}

/// Numbers of a TCP segment that differ between both sides of its flow; none stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// Sequence number.
    pub seq: Option<u32>,
    /// Acknowledgement number.
    pub ack: Option<u32>,
}

/// MTUs that links have, the largest first (RFC 1191 §7).
const PLATEAUS: [u16; 10] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];
/// The smallest MTU that is passed on for IPv4, and that IPv6 has (S11.5).
pub const MTU_MIN: (u16, u16) = (576, 1280);

/// The MTU of "fragmentation needed" (IPv4) that is passed on, for a packet of `length` bytes. A router that tells none is older than
/// RFC 1191.
pub fn mtu_v4(told: u16, length: u16) -> u16 {
    let mtu = if told == 0 { PLATEAUS.into_iter().find(|mtu| *mtu < length).unwrap_or(0) } else { told };
    mtu.max(MTU_MIN.0)
}

/// Rewrites an error that stays of its IP version, in place. The frame ends with its IP packet. All but the TTL.
pub fn apply(frame: &mut [u8], l4: usize, quote: &Quote, plan: &Plan) {
    rewrite_l4(frame, quote, plan);
    if quote.is_v6 {
        set_v6(frame, ETHERNET, plan.outer);
        set_v6(frame, quote.ip, plan.quoted);
    } else {
        set_v4(frame, ETHERNET, plan.outer);
        set_v4(frame, quote.ip, plan.quoted);
    }
    clamp_mtu(frame, l4, quote);
    set_checksum(frame, l4, quote.is_v6);
}

/// Rewrites the quoted TCP or UDP header, as much of it as is quoted.
pub fn rewrite_l4(frame: &mut [u8], quote: &Quote, plan: &Plan) {
    let mut delta = u64::from(plan.l4_delta);
    let mut set = |at: usize, value: u32| {
        if let Some(place) = frame.get_mut(quote.l4 + at..quote.end).and_then(|rest| rest.first_chunk_mut::<4>()) {
            delta += checksum::change([u32::from_ne_bytes(*place)], [value.to_be()]);
            *place = value.to_be_bytes();
        }
    };
    if let Some(seq) = plan.numbers.seq {
        set(4, seq);
    }
    if let Some(ack) = plan.numbers.ack {
        set(8, ack);
    }
    if let Some(place) = frame.get_mut(quote.l4..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *place = plan.ports.to_ne_bytes();
    }
    let place = quote.checksum_at().and_then(|at| frame.get_mut(at..)).and_then(|rest| rest.first_chunk_mut::<2>());
    if let Some(place) = place {
        let old = u16::from_ne_bytes(*place);
        let is_udp = quote.protocol == protocol::UDP;
        let sum = checksum::apply(old, delta);
        let sum = if is_udp && sum == 0 { 0xffff } else { sum };
        // No checksum stays none (RFC 768).
        *place = if is_udp && old == 0 { old } else { sum }.to_ne_bytes();
    }
}

fn set_v4(frame: &mut [u8], at: usize, ends: Ends) {
    let Some(header) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<20>()) else { return };
    let word = |h: &[u8; 20], at: usize| u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let new = [ends.source.loaded(), ends.destination.loaded()];
    let change = checksum::change([word(header, 12), word(header, 16)], new);
    let sum = checksum::apply(u16::from_ne_bytes([header[10], header[11]]), change);
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
    header[12..16].copy_from_slice(&new[0].to_ne_bytes());
    header[16..20].copy_from_slice(&new[1].to_ne_bytes());
}

fn set_v6(frame: &mut [u8], at: usize, ends: Ends) {
    let Some(header) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<40>()) else { return };
    header[8..24].copy_from_slice(&ends.source.octets());
    header[24..40].copy_from_slice(&ends.destination.octets());
}

/// Sees to it that an error that tells an MTU tells one that makes sense.
fn clamp_mtu(frame: &mut [u8], l4: usize, quote: &Quote) {
    let Some(header) = frame.get_mut(l4..).and_then(|rest| rest.first_chunk_mut::<8>()) else { return };
    match (quote.is_v6, header[0], header[1]) {
        (false, 3, 4) => {
            let mtu = mtu_v4(u16::from_be_bytes([header[6], header[7]]), quote.length);
            header[6..8].copy_from_slice(&mtu.to_be_bytes());
        }
        (true, 2, _) => {
            let told = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            header[4..8].copy_from_slice(&told.max(MTU_MIN.1.into()).to_be_bytes());
        }
        _ => {}
    }
}

/// Sums up the ICMP message that begins at `l4` and ends with the frame.
pub fn set_checksum(frame: &mut [u8], l4: usize, is_v6: bool) {
    let Some((headers, icmp)) = frame.split_at_mut_checked(l4) else { return };
    let Some(place) = icmp.get_mut(2..4) else { return };
    place.fill(0);
    let length = (icmp.len() as u32).to_be_bytes();
    let next = [0, 0, 0, protocol::ICMPV6];
    let sum = match headers.get(ETHERNET + 8..L4_V6) {
        Some(addresses) if is_v6 => checksum::of(&[addresses, &length, &next, icmp]),
        _ => checksum::of(&[icmp]),
    };
    if let Some(place) = icmp.get_mut(2..4) {
        place.copy_from_slice(&sum.to_ne_bytes());
    }
}

/// Takes an error one hop further: MACs, and TTL or hop limit, which is at least 2.
pub fn hop(frame: &mut [u8], destination_mac: [u8; 6], source_mac: [u8; 6]) {
    let Some(headers) = frame.first_chunk_mut::<L4>() else { return };
    headers[..6].copy_from_slice(&destination_mac);
    headers[6..12].copy_from_slice(&source_mac);
    if headers[ETHERNET] >> 4 == 6 {
        headers[ETHERNET + 7] = headers[ETHERNET + 7].saturating_sub(1);
        return;
    }
    headers[ETHERNET + 8] = headers[ETHERNET + 8].saturating_sub(1);
    let one_less = !u16::from_ne_bytes([1, 0]);
    let sum = checksum::apply(u16::from_ne_bytes([headers[ETHERNET + 10], headers[ETHERNET + 11]]), one_less.into());
    headers[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_ne_bytes());
}

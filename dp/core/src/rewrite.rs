//! The only code that changes a packet of a flow: it applies what the entry says.
//!
//! Changed: both MACs, TTL, source and destination address and port, and the checksums by the delta of what changed. Not
//! changed: everything else; above all the payload is never summed (RFC 1624; semantics S18.2).

use leat_abi::flow::{FlowAddresses, FlowEntry};

use crate::checksum;
use crate::frame::Frame;
use crate::parse::{ETHERNET, L4};
use crate::table::Side;

/// The layer-4 checksum delta of packets from the client, to be stored in the entry: what replacing the first two of these addresses, and
/// these ports (source in the low half), by the others adds. `are_v4`: whether the first two are IPv4, and the others. The pseudo-headers of
/// IPv4 and IPv6 differ in the addresses alone (RFC 8200 §8.1).
#[inline(always)]
pub fn l4_delta(addresses: &FlowAddresses, are_v4: [bool; 2], old_ports: u32, new_ports: u32) -> u16 {
    let [old, new] = addresses.by_side();
    // The complements' sum: of so many words of ones, less the words.
    let off = u64::from(u32::MAX) * if are_v4[0] { 2 } else { 8 } - word_sum(old, are_v4[0]);
    checksum::fold(word_sum(new, are_v4[1]) + off + checksum::change([old_ports], [new_ports]))
}

/// The sum of the 32-bit words of two addresses as they lie in memory; of IPv4 only the last one of each counts.
#[inline(always)]
fn word_sum(addresses: &[u8; 32], are_v4: bool) -> u64 {
    let (words, _) = addresses.as_chunks::<4>();
    let word = |at: usize| u64::from(words.get(at).copied().map_or(0, u32::from_ne_bytes));
    if are_v4 { word(3) + word(7) } else { (0..8).map(word).sum() }
}

/// Where a rewritten frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// MAC of the next hop.
    pub destination_mac: [u8; 6],
    /// MAC of the egress port.
    pub source_mac: [u8; 6],
}

/// Rewrites a packet of the flow that comes from `side`, whose headers [`crate::parse`] found good and whose TTL is at least 2;
/// `ip_len` bytes of IP.
/// Ethernet padding is cut (semantics S18.4).
#[inline]
pub fn apply<F: Frame>(frame: &mut F, entry: &FlowEntry, side: Side, ip_len: u16, egress: Egress) {
    let (source_ip, destination_ip, source_port, destination_port, delta) = match side {
        Side::Client => (entry.nat_ip, entry.target_ip, entry.nat_port, entry.target_port, entry.l4_delta),
        Side::Target => (entry.vip, entry.client_ip, entry.vport, entry.client_port, !entry.l4_delta),
    };
    frame.truncate(ETHERNET + usize::from(ip_len));
    let Some((headers, rest)) = frame.bytes_mut().split_first_chunk_mut::<L4>() else { return };
    rewrite_ip(headers, source_ip, destination_ip, egress);

    apply_to_l4(rest, entry.is_tcp(), source_port, destination_port, delta);
}

/// Gives a TCP or UDP header other ports, and its checksum what changed.
#[inline(always)]
pub(crate) fn apply_to_l4(segment: &mut [u8], is_tcp: bool, source_port: u16, destination_port: u16, delta: u16) {
    if is_tcp {
        let Some(tcp) = segment.first_chunk_mut::<20>() else { return };
        tcp[0..2].copy_from_slice(&source_port.to_ne_bytes());
        tcp[2..4].copy_from_slice(&destination_port.to_ne_bytes());
        let sum = checksum::apply(u16::from_ne_bytes([tcp[16], tcp[17]]), delta.into());
        tcp[16..18].copy_from_slice(&sum.to_ne_bytes());
    } else {
        let Some(udp) = segment.first_chunk_mut::<8>() else { return };
        udp[0..2].copy_from_slice(&source_port.to_ne_bytes());
        udp[2..4].copy_from_slice(&destination_port.to_ne_bytes());
        let old = u16::from_ne_bytes([udp[6], udp[7]]);
        // No checksum stays none; a computed 0 is sent as all ones (RFC 768).
        if old != 0 {
            let sum = checksum::apply(old, delta.into());
            udp[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_ne_bytes());
        }
    }
}

/// As [`apply`], for a fragment that is not the first one: it has neither ports nor a checksum over the addresses (S10.6).
pub fn apply_to_later_fragment<F: Frame>(frame: &mut F, entry: &FlowEntry, side: Side, ip_len: u16, egress: Egress) {
    let (source_ip, destination_ip) = match side {
        Side::Client => (entry.nat_ip, entry.target_ip),
        Side::Target => (entry.vip, entry.client_ip),
    };
    frame.truncate(ETHERNET + usize::from(ip_len));
    if let Some(headers) = frame.bytes_mut().first_chunk_mut::<L4>() {
        rewrite_ip(headers, source_ip, destination_ip, egress);
    }
}

#[inline(always)]
fn rewrite_ip(headers: &mut [u8; L4], source_ip: u32, destination_ip: u32, egress: Egress) {
    headers[0..6].copy_from_slice(&egress.destination_mac);
    headers[6..12].copy_from_slice(&egress.source_mac);

    let word = |h: &[u8; L4], at: usize| u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    // The TTL is at least 2, so that taking 1 off changes no other byte of its word.
    let ttl = headers[ETHERNET + 8];
    let one_less = !u16::from_ne_bytes([1, 0]);
    let ip_change =
        checksum::change([word(headers, ETHERNET + 12), word(headers, ETHERNET + 16)], [source_ip, destination_ip])
            + u64::from(one_less);
    let ip_checksum = u16::from_ne_bytes([headers[ETHERNET + 10], headers[ETHERNET + 11]]);
    headers[ETHERNET + 8] = ttl.wrapping_sub(1);
    headers[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum::apply(ip_checksum, ip_change).to_ne_bytes());
    headers[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&source_ip.to_ne_bytes());
    headers[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&destination_ip.to_ne_bytes());
}

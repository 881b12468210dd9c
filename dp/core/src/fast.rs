//! The fast path: what nearly all packets are, in few instructions.
//!
//! A packet takes it if it is IPv4 without options and all of its datagram, UDP or TCP with ACK and without SYN, FIN and RST, of an
//! established flow with IPv4 on both sides and without a PROXY header, whose target is well, and fits where it goes to. What becomes of it is what
//! [`crate::pipeline`]'s other stages would make of it; every other packet goes to them, unchanged and with nothing noted.
//!
//! The side from which a packet comes is an index here, not a branch: in mixed traffic nobody could predict it.
//!
//! Byte order: as in [`crate::parse`].

use leat_abi::flow::{FlowState, flag, protocol, word};

use crate::checksum;
use crate::frame::{Frame, Now, Verdict};
use crate::parse::{ETHERNET, L4, Tuple, tcp};
use crate::pipeline::Pipeline;
use crate::table::{Found, Side};
use crate::track;

/// Bytes of Ethernet, IPv4 and TCP header, all without options. A shorter frame is none for the fast path, UDP's neither.
const HEADERS: usize = L4 + 20;

/// The headers of a frame.
type Headers = [u8; HEADERS];

#[inline(always)]
const fn number(h: &Headers, at: usize) -> u16 {
    u16::from_be_bytes([h[at], h[at + 1]])
}

#[inline(always)]
const fn loaded(h: &Headers, at: usize) -> u32 {
    u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]])
}

/// Source and destination address as [`Tuple`] has them.
#[inline(always)]
const fn addresses(h: &Headers) -> u64 {
    loaded(h, ETHERNET + 12) as u64 | (loaded(h, ETHERNET + 16) as u64) << 32
}

/// Bytes of a TCP header.
#[inline(always)]
const fn tcp_header_len(h: &Headers) -> u32 {
    (h[L4 + 12] >> 4) as u32 * 4
}

/// The tuple of a frame that came to the port with this MAC, if by itself it can take the fast path: it passes every check of [`crate::parse`].
#[inline(always)]
pub(crate) fn tuple(bytes: &[u8], port_mac: [u8; 6]) -> Option<Tuple> {
    let h: &Headers = bytes.first_chunk()?;
    let ip = |at: usize| h[ETHERNET + at];
    let ip_len = usize::from(number(h, ETHERNET + 2));
    // Ethertype, version and length of the header; no fragment ("don't fragment" may be set).
    if loaded(h, 12) & u32::from_ne_bytes([0xff, 0xff, 0xff, 0]) != u32::from_ne_bytes([0x08, 0x00, 0x45, 0])
        || number(h, ETHERNET + 6) & 0xbfff != 0
        || h[0..6] != port_mac
        || h[0] & 1 != 0
        || ip_len > bytes.len() - ETHERNET
    {
        return None;
    }
    let protocol = ip(9);
    if protocol == protocol::TCP {
        let flags = h[L4 + 13] & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK);
        let header_len = tcp_header_len(h) as usize;
        if flags != tcp::ACK || header_len < 20 || 20 + header_len > ip_len {
            return None;
        }
    } else if protocol == protocol::UDP {
        let length = usize::from(number(h, L4 + 4));
        if length < 8 || 20 + length > ip_len {
            return None;
        }
    } else {
        return None;
    }
    let source = loaded(h, ETHERNET + 12);
    if ip(12) >= 224 || ip(12) == 0 || ip(12) == 127 || source == loaded(h, ETHERNET + 16) || ip(8) <= 1 {
        return None;
    }
    // A sum is right if it is a multiple of what one's complement counts modulo; it is not 0, as the version is not.
    let sum: u64 = (0..5).map(|n| u64::from(loaded(h, ETHERNET + 4 * n))).sum();
    if !sum.is_multiple_of(0xffff) {
        return None;
    }
    Some(Tuple { addresses: addresses(h), ports: loaded(h, L4), protocol })
}

impl Pipeline<'_> {
    /// Forwards a frame of which [`tuple`] is known and for which this reference was found, if it can take the fast path.
    #[inline(always)]
    pub(crate) fn fast<F: Frame>(&mut self, frame: &mut F, candidate: Found, now: Now) -> Option<Verdict> {
        let Found { entry: at, side } = candidate;
        let entry = self.flows.table.get_mut(at)?;
        let h: &mut Headers = frame.bytes_mut().first_chunk_mut()?;
        let (this, other) = (side as usize, side as usize ^ 1);
        let words = entry.words();
        let tuple_of = |side: usize| {
            let addresses = [words[word::ADDRESSES + 2 * side], words[word::ADDRESSES + 2 * side + 1]];
            (u64::from(addresses[0]) | u64::from(addresses[1]) << 32, words[word::PORTS + side])
        };
        if tuple_of(this) != (addresses(h), loaded(h, L4)) {
            return None;
        }
        // The protocol with IPv4 on both sides, the state and one flag, as one word.
        let kind = u32::from_le_bytes([entry.protocol, entry.state, entry.flags, 0]);
        let protocol = h[ETHERNET + 9];
        let wanted = u32::from(protocol) | (FlowState::Established as u32) << 8;
        if (kind ^ wanted) & (0xffff | (flag::PROXY as u32) << 16) != 0 {
            return None;
        }
        let is_tcp = protocol == protocol::TCP;
        let lifetime_s = if is_tcp { track::TCP_IDLE_S } else { track::UDP_IDLE_S };
        if track::age_s(entry, now) > lifetime_s {
            return None;
        }

        // To the target, or back to where the client's first packet came from.
        let back = u64::from(entry.target_generation)
            | u64::from(entry.client_side_port) << 8
            | mac_word(entry.client_mac) << 16;
        let hop = self.forwarding.hop(entry.target_slot);
        let way = if side == Side::Client { hop } else { back };
        let exit = self.forwarding.port((way >> 8) as u8)?;
        let ip_len = number(h, ETHERNET + 2);
        if way as u8 != back as u8 || ip_len > exit.mtu {
            return None;
        }
        if side == Side::Target && !self.forwarding.ending().is_empty() {
            return None;
        }

        let (new_addresses, new_ports) = tuple_of(other);
        let (new_addresses, new_ports) = (new_addresses.rotate_left(32), new_ports.rotate_left(16));
        let delta = if side == Side::Client { entry.l4_delta } else { !entry.l4_delta };
        let slot = entry.target_slot;
        if is_tcp {
            let payload_len = u32::from(ip_len).wrapping_sub(20 + tcp_header_len(h));
            let [seq, ack] = [L4 + 4, L4 + 8].map(|at| u32::from_be(loaded(h, at)));
            track::flowing(entry, side, seq, payload_len, ack);
            let sum = checksum::apply(u16::from_ne_bytes([h[L4 + 16], h[L4 + 17]]), delta.into());
            h[L4 + 16..L4 + 18].copy_from_slice(&sum.to_ne_bytes());
        } else {
            if side == Side::Target && !entry.has(flag::ANSWERED) {
                return None;
            }
            let old = u16::from_ne_bytes([h[L4 + 6], h[L4 + 7]]);
            if old != 0 {
                let sum = checksum::apply(old, delta.into());
                h[L4 + 6..L4 + 8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_ne_bytes());
            }
        }
        if entry.touched_s != now.stamp() {
            entry.touched_s = now.stamp();
        }

        let old_addresses = addresses(h);
        let one_less = !u16::from_ne_bytes([1, 0]);
        let change = checksum::change(
            [old_addresses as u32, (old_addresses >> 32) as u32],
            [new_addresses as u32, (new_addresses >> 32) as u32],
        ) + u64::from(one_less);
        let sum = checksum::apply(u16::from_ne_bytes([h[ETHERNET + 10], h[ETHERNET + 11]]), change);
        h[ETHERNET + 8] = h[ETHERNET + 8].wrapping_sub(1);
        h[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_ne_bytes());
        h[ETHERNET + 12..ETHERNET + 20].copy_from_slice(&new_addresses.to_le_bytes());
        h[L4..L4 + 4].copy_from_slice(&new_ports.to_le_bytes());
        let source_mac = mac_word(exit.mac);
        h[0..8].copy_from_slice(&((way >> 16) | source_mac << 48).to_le_bytes());
        h[8..12].copy_from_slice(&((source_mac >> 16) as u32).to_le_bytes());
        frame.truncate(ETHERNET + usize::from(ip_len));

        self.counters.forwarded(slot, side == Side::Target, ip_len.into());
        Some(Verdict::Forward { port: (way >> 8) as u8 })
    }
}

/// A MAC in the low 48 bits.
#[inline(always)]
pub(crate) const fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

//! The fast path: what nearly all packets are, in few instructions.
//!
//! A packet takes it if it is IPv4 without options or IPv6 without extension headers and all of its datagram, UDP or TCP with ACK and
//! without SYN, FIN and RST, of an established flow with the same kind of IP on both sides, whose target is well, and fits where it goes to.
//! What becomes of it is what [`crate::pipeline`]'s other stages would make of it; every other packet goes to them, unchanged and with
//! nothing noted.
//!
//! Flows with a PROXY header take it as well once the target has acknowledged bytes behind the header, in a copy of the code of their own
//! (`PROXIED`), so that others pay nothing for what is to be shifted.
//!
//! Addresses are not looked at but compared: where they are those of a flow, that flow's first packet or its target passed the checks.
//!
//! The side from which a packet comes is an index here, not a branch: in mixed traffic nobody could predict it.
//!
//! Byte order: as in [`crate::parse`].

use leat_abi::FlowEntry;
use leat_abi::flow::{FlowState, family, flag, protocol, word};

use crate::checksum;
use crate::forwarding::Forwarding;
use crate::frame::{Frame, Now, Verdict};
use crate::hash::DigestKey;
use crate::parse::{self, ETHERNET, L4, L4_V6, Meta, Piece, Tuple, V6, tcp};
use crate::pipeline::Pipeline;
use crate::proxy;
use crate::table::{Candidate, FlowTable, Side};
use crate::track;

/// Bytes of a TCP header without options. A frame without room for one is none for the fast path, UDP's neither.
const SEGMENT: usize = 20;

/// Bytes of a frame's headers, at a place that is known when this is compiled: nothing is checked when it runs.
#[inline(always)]
fn at<const N: usize>(headers: &[u8], place: usize) -> [u8; N] {
    headers.get(place..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[inline(always)]
fn put<const N: usize>(headers: &mut [u8], place: usize, bytes: [u8; N]) {
    if let Some(target) = headers.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
        *target = bytes;
    }
}

#[inline(always)]
fn number(headers: &[u8], place: usize) -> u16 {
    u16::from_be_bytes(at(headers, place))
}

/// Source and destination address of IPv4 as [`Tuple`] has them.
#[inline(always)]
fn addresses(headers: &[u8]) -> u64 {
    u64::from_le_bytes(at(headers, ETHERNET + 12))
}

/// Whether a frame is for this port ([`Forwarding::port_word`]) and no group.
#[inline(always)]
fn is_for(port: u64, headers: &[u8]) -> bool {
    // The upper 16 bits are no part of the MACs.
    (u64::from_le_bytes(at(headers, 0)) ^ port) << 16 == 0 && headers[0] & 1 == 0
}

/// Bytes of a TCP header, as it says itself.
#[inline(always)]
fn tcp_header_len(segment: &[u8]) -> u16 {
    u16::from(segment[12] >> 4) * 4
}

/// Whether layer 4 begins so that the packet can take the fast path, or with [`tcp::SYN`] instead of [`tcp::ACK`] may be a connection's
/// first one. `room`: bytes of layer 4; `summed`: UDP must have a checksum.
#[inline(always)]
fn is_plain<const FLAG: u8>(segment: &[u8; SEGMENT], protocol: u8, room: u16, summed: bool) -> bool {
    if protocol == protocol::TCP {
        let just_flag = segment[13] & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) == FLAG;
        return just_flag && segment[12] >= 5 << 4 && tcp_header_len(segment) <= room;
    }
    let length = number(segment, 4);
    protocol == protocol::UDP && length >= 8 && length <= room && !(summed && at(segment, 6) == [0, 0])
}

/// The tuple of an IPv4 frame that came to this port ([`Forwarding::port_word`]), if it can take the fast path where it belongs to a flow: it
/// passes every check of [`crate::parse`] but those of addresses. With [`tcp::SYN`] instead of [`tcp::ACK`]: that of a frame like that, but
/// for its flags.
#[inline(always)]
pub(crate) fn tuple<const FLAG: u8>(frame: &[u8], port: u64) -> Option<Tuple> {
    let headers: &[u8; L4 + SEGMENT] = frame.first_chunk()?;
    let ip_len = number(headers, ETHERNET + 2);
    // No fragment; "don't fragment" may be set.
    let fragment = u16::from_ne_bytes(at(headers, ETHERNET + 6)) & !u16::from_ne_bytes([0x40, 0]);
    if at(headers, 12) != [0x08, 0x00]
        || headers[ETHERNET] != 0x45
        || fragment != 0
        || !is_for(port, headers)
        || usize::from(ip_len) > frame.len() - ETHERNET
        || ip_len < 20
    {
        return None;
    }
    let protocol = headers[ETHERNET + 9];
    if !is_plain::<FLAG>(&at(headers, L4), protocol, ip_len - 20, false) {
        return None;
    }
    if headers[ETHERNET + 8] <= 1 || !sum_is_good(headers) {
        return None;
    }
    Some(Tuple { addresses: addresses(headers), ports: u32::from_ne_bytes(at(headers, L4)), protocol })
}

/// Whether the checksum of an IPv4 header is right: whether the sum is a multiple of what one's complement counts modulo. It is not 0, as
/// the version is not.
#[inline(always)]
fn sum_is_good(headers: &[u8; L4 + SEGMENT]) -> bool {
    let [first, second] = [0, 8].map(|n| u64::from_le_bytes(at(headers, ETHERNET + n)));
    let third = u32::from_le_bytes(at(headers, ETHERNET + 16));
    // What is carried out goes back in: 2⁶⁴ − 1 is a multiple of 2¹⁶ − 1.
    let (sum, carry) = first.overflowing_add(second);
    let (sum, carry) = sum.overflowing_add(u64::from(third) + u64::from(carry));
    (sum + u64::from(carry)).is_multiple_of(0xffff)
}

/// The hash of the tuple of an IPv6 frame, if there is one as of [`tuple`]. Not inlined: IPv4 shall not have to go around it.
#[inline(never)]
pub(crate) fn hash_v6(frame: &[u8], port: u64, digest_key: &DigestKey, table: &FlowTable<'_>) -> Option<u64> {
    tuple_v6::<{ tcp::ACK }>(frame, port, digest_key).map(|tuple| table.hash_of(&tuple))
}

/// As [`tuple`], of an IPv6 frame.
#[inline(always)]
pub(crate) fn tuple_v6<const FLAG: u8>(frame: &[u8], port: u64, digest_key: &DigestKey) -> Option<Tuple> {
    let headers: &[u8; L4_V6 + SEGMENT] = frame.first_chunk()?;
    let room = number(headers, ETHERNET + 4);
    // Ethertype and version.
    if u32::from_le_bytes(at(headers, 12)) & 0x00f0_ffff != 0x0060_dd86
        || !is_for(port, headers)
        || usize::from(room) > frame.len() - L4_V6
        || headers[ETHERNET + 7] <= 1
    {
        return None;
    }
    let protocol = headers[ETHERNET + 6];
    if !is_plain::<FLAG>(&at(headers, L4_V6), protocol, room, true) {
        return None;
    }
    let addresses = digest_key.of(addresses_v6(headers));
    Some(Tuple { addresses, ports: u32::from_ne_bytes(at(headers, L4_V6)), protocol: protocol | V6 })
}

/// Source and destination address of IPv6, two words each, as they lie in the packet.
#[inline(always)]
fn addresses_v6(headers: &[u8]) -> [u64; 4] {
    [8, 16, 24, 32].map(|place| u64::from_ne_bytes(at(headers, ETHERNET + place)))
}

/// Whether there is nothing to check about the addresses of a frame of which [`tuple`] or [`hash_v6`] is known: they differ, and of IPv4 the
/// source is one, of IPv6 both are global unicast or unique local.
#[inline(always)]
fn has_usual_addresses(frame: &[u8]) -> bool {
    if is_v4(frame) {
        let addresses = addresses(frame);
        let first = frame[ETHERNET + 12];
        return first.wrapping_sub(1) < 223 && first != 127 && addresses.rotate_left(32) != addresses;
    }
    let is_usual = |first: u8| first & 0xe0 == 0x20 || first & 0xfe == 0xfc;
    let [a, b, c, d] = addresses_v6(frame);
    is_usual(frame[ETHERNET + 8]) && is_usual(frame[ETHERNET + 24]) && (a, b) != (c, d)
}

/// Whether a frame of which [`tuple`] or [`hash_v6`] is known is of IPv4.
#[inline(always)]
fn is_v4(frame: &[u8]) -> bool {
    frame.get(12) == Some(&0x08)
}

/// What is to be known of a frame of which this is the [`tuple`], or that [of IPv6](tuple_v6), and that does not take the fast path after all: what
/// [`crate::parse`] would make of it. None if there is more to check.
#[inline(always)]
pub(crate) fn meta(frame: &[u8], tuple: Tuple) -> Option<Meta> {
    if !has_usual_addresses(frame) {
        return None;
    }
    let (l4, ip_len, ttl) = if tuple.is_v6() {
        (L4_V6, (L4_V6 - ETHERNET) as u16 + number(frame, ETHERNET + 4), frame[ETHERNET + 7])
    } else {
        (L4, number(frame, ETHERNET + 2), frame[ETHERNET + 8])
    };
    let segment = frame.get(l4..).unwrap_or_default();
    let is_tcp = tuple.is_tcp();
    // What is read beyond a datagram's header counts for nothing.
    let of_tcp = |value: u32| if is_tcp { value } else { 0 };
    let room = ip_len.wrapping_sub((l4 - ETHERNET) as u16);
    let flags = of_tcp(segment[13].into()) as u8;
    let header_len = tcp_header_len(segment);
    let window_scale = if flags & tcp::SYN == 0 {
        0
    } else {
        parse::window_scale(segment.get(SEGMENT..header_len.into()).unwrap_or_default())
    };
    Some(Meta {
        tuple,
        seq: of_tcp(u32::from_be_bytes(at(segment, 4))),
        ack: of_tcp(u32::from_be_bytes(at(segment, 8))),
        ip_len,
        payload_len: if is_tcp { room.wrapping_sub(header_len) } else { number(segment, 4).wrapping_sub(8) },
        l4: l4 as u16,
        window: of_tcp(number(segment, 14).into()) as u16,
        flags,
        window_scale,
        ttl,
        piece: Piece::Whole,
    })
}

/// The tuple of such a frame.
#[inline(always)]
pub(crate) fn tuple_again(frame: &[u8], digest_key: &DigestKey) -> Tuple {
    let ports = |place| u32::from_ne_bytes(at(frame, place));
    if is_v4(frame) {
        return Tuple { addresses: addresses(frame), ports: ports(L4), protocol: frame[ETHERNET + 9] };
    }
    let addresses = digest_key.of(addresses_v6(frame));
    Tuple { addresses, ports: ports(L4_V6), protocol: frame[ETHERNET + 6] | V6 }
}

/// The tuple that packets from a side have, but for the protocol.
#[inline(always)]
fn tuple_from(entry: &FlowEntry, side: usize) -> (u64, u32) {
    let words = entry.words();
    let [source, destination] = [0, 1].map(|n| u64::from(words[word::ADDRESSES + 2 * side + n]));
    (source | destination << 32, words[word::PORTS + side])
}

/// Whether an entry is of an established flow of this protocol, with these families, whose time is not over, and which has no PROXY header,
/// or with `PROXIED`, of TCP, has one that is over and done with.
#[inline(always)]
fn flows<const PROXIED: bool>(entry: &FlowEntry, protocol: u8, families: u8, now: Now) -> bool {
    let (flags, of_flags) = if PROXIED { (proxy::SETTLED, proxy::SETTLED) } else { (0, flag::PROXY) };
    let wanted = u32::from(protocol | families) | (FlowState::Established as u32) << 8 | u32::from(flags) << 16;
    let lifetime_s = if protocol == protocol::TCP { track::TCP_IDLE_S } else { track::UDP_IDLE_S };
    (entry.kind() ^ wanted) & (0xffff | u32::from(of_flags) << 16) == 0
        && track::age_s(entry, now) <= lifetime_s
        && !(PROXIED && (protocol != protocol::TCP || proxy::may_be_of_header(entry)))
}

/// Whether a target's segment selects nothing: it has no options, or time stamps as everybody writes them.
#[inline(always)]
fn selects_nothing(segment: &[u8]) -> bool {
    match tcp_header_len(segment) {
        20 => true,
        32 => at(segment, 20) == [1, 1, 8, 10],
        _ => false,
    }
}

/// Where a packet leaves.
#[derive(Debug, Clone, Copy)]
struct Way {
    port: u8,
    /// Destination and source MAC.
    macs: (u64, u32),
}

impl Way {
    /// To the target, or back to where the client's first packet came from, for a packet of `ip_len` bytes; none if it is not clear that it
    /// goes there.
    #[inline(always)]
    fn of(forwarding: &Forwarding, entry: &FlowEntry, side: usize, ip_len: usize) -> Option<Self> {
        let back = entry.way_back();
        let hop = forwarding.hop(entry.target_slot);
        let way = if side == 0 { hop } else { back };
        let port = (way >> 8) as u8;
        let exit = forwarding.port_word(port);
        // Of both sides, as a target whose flows end has another generation here.
        if (hop ^ back) as u8 != 0 || ip_len as u64 > exit >> 48 {
            return None;
        }
        Some(Self { port, macs: (way >> 16 | exit << 48, (exit >> 16) as u32) })
    }

    #[inline(always)]
    fn put(&self, headers: &mut [u8]) {
        put(headers, 0, self.macs.0.to_le_bytes());
        put(headers, 8, self.macs.1.to_le_bytes());
    }
}

/// By what layer 4's checksum changes.
#[inline(always)]
fn l4_delta(entry: &FlowEntry, side: usize) -> u16 {
    // The way back changes by the complement.
    entry.l4_delta ^ (side as u16).wrapping_neg()
}

/// Notes what layer 4 says in the entry, and gives it other ports, and with `PROXIED` other numbers. False, and nothing has changed, if the
/// packet must not go on so.
#[inline(always)]
fn follow<const PROXIED: bool>(
    entry: &mut FlowEntry,
    side: usize,
    segment: &mut [u8],
    protocol: u8,
    room: u16,
    now: Now,
) -> bool {
    let (_, ports) = tuple_from(entry, side ^ 1);
    let ports = ports.rotate_left(16).to_ne_bytes();
    let delta = l4_delta(entry, side);
    if protocol == protocol::TCP {
        let payload_len = u32::from(room).wrapping_sub(tcp_header_len(segment).into());
        let (seq, ack) = (u32::from_be_bytes(at(segment, 4)), u32::from_be_bytes(at(segment, 8)));
        let from = if side == 0 { Side::Client } else { Side::Target };
        let old = u16::from_ne_bytes(at(segment, 16));
        let sum = if PROXIED {
            track::flowing(entry, from, seq, payload_len, proxy::ack_of(entry, from, ack));
            let (place, new) = match from {
                Side::Client => (4, seq.wrapping_add(proxy::shift_of(entry))),
                Side::Target => (8, proxy::ack_of(entry, from, ack)),
            };
            let new = u32::from_ne_bytes(new.to_be_bytes());
            let change = checksum::change([u32::from_ne_bytes(at(segment, place))], [new]);
            put(segment, place, new.to_ne_bytes());
            checksum::apply(old, change + u64::from(delta))
        } else {
            track::flowing(entry, from, seq, payload_len, ack);
            checksum::apply_folded(old, delta)
        };
        put(segment, 16, sum.to_ne_bytes());
    } else {
        // The target's first answer changes the state.
        let answered = usize::from(entry.has(flag::ANSWERED));
        if side > answered {
            return false;
        }
        let old = u16::from_ne_bytes(at(segment, 6));
        // No checksum stays none; a computed 0 is sent as all ones (RFC 768).
        if old != 0 {
            let sum = checksum::apply_folded(old, delta);
            put(segment, 6, (if sum == 0 { 0xffff } else { sum }).to_ne_bytes());
        }
    }
    put(segment, 0, ports);
    // Not written when it is as it was: the line may not have been changed otherwise.
    if entry.touched_s != now.stamp() {
        entry.touched_s = now.stamp();
    }
    true
}

impl Pipeline<'_> {
    /// Forwards the first of these frames for as long as they can take the fast path, and notes it in `outcomes`; returns how many. `plain`: of
    /// which [`tuple`], or with `V6` [`hash_v6`], is known, a bit each; `candidates`: what was found for them. Not inlined: few values are
    /// needed from one packet to the next, and they shall stay in registers.
    #[inline(never)]
    pub(crate) fn fast<F: Frame, const V6: bool>(
        &mut self,
        frames: &mut [F],
        mut plain: u32,
        candidates: &[Candidate],
        outcomes: &mut [Verdict],
        now: Now,
    ) -> usize {
        let mut forwarded = 0;
        for ((frame, candidate), outcome) in frames.iter_mut().zip(candidates).zip(outcomes) {
            if plain & 1 == 0 {
                break;
            }
            let port = if V6 {
                self.fast_v6::<_, false>(frame, *candidate, now)
            } else {
                self.fast_v4::<_, false>(frame, *candidate, now)
            };
            let Some(port) = port else { break };
            *outcome = Verdict::Forward { port };
            plain >>= 1;
            forwarded += 1;
        }
        forwarded
    }

    /// Forwards a frame of a flow with a PROXY header, if it can take the fast path: it is one that [`Pipeline::fast`] was told of, and did
    /// not forward. Returns the egress port.
    #[inline(always)]
    pub(crate) fn fast_proxied<F: Frame>(&mut self, frame: &mut F, candidate: Candidate, now: Now) -> Option<u8> {
        let (entry, side) = self.flows.table.candidate_mut(candidate)?;
        if entry.has(flag::PROXY) { self.proxied(frame, candidate, side, now) } else { None }
    }

    /// What [`Pipeline::fast_proxied`] does with a flow that has a PROXY header.
    #[inline(never)]
    fn proxied<F: Frame>(&mut self, frame: &mut F, candidate: Candidate, side: usize, now: Now) -> Option<u8> {
        let is_v4 = is_v4(frame.bytes());
        let l4 = if is_v4 { L4 } else { L4_V6 };
        if side == 1 && !selects_nothing(frame.bytes().get(l4..)?) {
            None
        } else if is_v4 {
            self.fast_v4::<_, true>(frame, candidate, now)
        } else {
            self.fast_v6::<_, true>(frame, candidate, now)
        }
    }

    /// Forwards a frame of IPv4, if it can take the fast path. Returns the egress port.
    #[inline(always)]
    fn fast_v4<F: Frame, const PROXIED: bool>(&mut self, frame: &mut F, candidate: Candidate, now: Now) -> Option<u8> {
        let (entry, side) = self.flows.table.candidate_mut(candidate)?;
        let headers: &mut [u8; L4 + SEGMENT] = frame.bytes_mut().first_chunk_mut()?;
        let ports = u32::from_ne_bytes(at(headers, L4));
        if tuple_from(entry, side) != (addresses(headers), ports) {
            return None;
        }
        let protocol = headers[ETHERNET + 9];
        let ip_len = number(headers, ETHERNET + 2);
        if !flows::<PROXIED>(entry, protocol, 0, now) {
            return None;
        }
        let way = Way::of(&self.forwarding, entry, side, ip_len.into())?;
        let slot = entry.target_slot;
        let (new, new_ports) = tuple_from(entry, side ^ 1);
        // What layer 4's checksum changes by is what the addresses and the ports change by.
        let delta = u64::from(l4_delta(entry, side)) + u64::from(ports) + u64::from(!new_ports);
        if !follow::<PROXIED>(entry, side, &mut headers[L4..], protocol, ip_len.wrapping_sub(20), now) {
            return None;
        }
        // The TTL is at least 2, so that taking 1 off changes no other byte of its word.
        let one_less = u64::from(!u16::from_ne_bytes([1, 0]));
        let sum = checksum::apply(u16::from_ne_bytes(at(headers, ETHERNET + 10)), delta + one_less);
        headers[ETHERNET + 8] = headers[ETHERNET + 8].wrapping_sub(1);
        put(headers, ETHERNET + 10, sum.to_ne_bytes());
        put(headers, ETHERNET + 12, new.rotate_left(32).to_le_bytes());
        way.put(headers);
        frame.truncate(ETHERNET + usize::from(ip_len));
        self.counters.forwarded(slot, side == 1, ip_len.into());
        Some(way.port)
    }

    /// As [`Pipeline::fast_v4`], of IPv6.
    #[inline(always)]
    fn fast_v6<F: Frame, const PROXIED: bool>(&mut self, frame: &mut F, candidate: Candidate, now: Now) -> Option<u8> {
        let (entry, addresses, side) = self.flows.table.wide_candidate_mut(candidate)?;
        let headers: &mut [u8; L4_V6 + SEGMENT] = frame.bytes_mut().first_chunk_mut()?;
        let (this, other) = (&addresses.by_side()[side], &addresses.by_side()[side ^ 1]);
        // The addresses themselves, not their digest.
        if *this != at(headers, ETHERNET + 8) || tuple_from(entry, side).1 != u32::from_ne_bytes(at(headers, L4_V6)) {
            return None;
        }
        let protocol = headers[ETHERNET + 6];
        let room = number(headers, ETHERNET + 4);
        if !flows::<PROXIED>(entry, protocol, family::CLIENT_V6 | family::TARGET_V6, now) {
            return None;
        }
        let ip_len = L4_V6 - ETHERNET + usize::from(room);
        let way = Way::of(&self.forwarding, entry, side, ip_len)?;
        let slot = entry.target_slot;
        if !follow::<PROXIED>(entry, side, &mut headers[L4_V6..], protocol, room, now) {
            return None;
        }
        let [destination, source]: [[u8; 16]; 2] = [at(other, 0), at(other, 16)];
        headers[ETHERNET + 7] = headers[ETHERNET + 7].wrapping_sub(1);
        put(headers, ETHERNET + 8, source);
        put(headers, ETHERNET + 24, destination);
        way.put(headers);
        frame.truncate(ETHERNET + ip_len);
        self.counters.forwarded(slot, side == 1, ip_len as u64);
        Some(way.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::PortInfo;
    use crate::parse::Parsed;
    use crate::parse::tcp::{ACK, SYN};
    use leat_abi::Snapshot;
    use leat_abi::snapshot::{NextHop, Target, TargetState};
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PORT: u64 = u64::from_le_bytes([2, 0, 0, 0, 0, 1, 0xdc, 5]);

    /// A good frame: a segment or datagram of so many bytes, ACK its only flag, behind a header of IPv4 or IPv6.
    fn frame(v6: bool, protocol: u8, room: usize, padding: usize) -> Vec<u8> {
        let mut frame = [&MAC[..], &[2, 0, 0, 0, 9, 9], if v6 { &[0x86, 0xdd] } else { &[8, 0] }].concat();
        if v6 {
            frame.extend(
                [&[0x60, 0, 0, 0, (room >> 8) as u8, room as u8, protocol, 9][..], &[0x20; 16], &[0xfd; 16]].concat(),
            );
        } else {
            let length = room + 20;
            frame.extend([
                0x45,
                0,
                (length >> 8) as u8,
                length as u8,
                0,
                0,
                0x40,
                0,
                9,
                protocol,
                0,
                0,
                10,
                1,
                1,
                1,
                10,
                2,
                2,
                2,
            ]);
        }
        let mut segment = vec![0x11; room + padding];
        if protocol == protocol::TCP {
            segment[12..14].copy_from_slice(&[0x50, tcp::ACK]);
        } else {
            segment[4..6].copy_from_slice(&(room as u16).to_be_bytes());
        }
        frame.extend(segment);
        frame
    }

    fn mend(frame: &mut [u8]) {
        if frame.len() >= L4 && frame[12] == 8 {
            frame[24..26].fill(0);
            let sum = checksum::of(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_ne_bytes());
        }
    }

    /// While flows of a target end, its packets leave the fast path, those of other targets do not.
    #[test]
    fn one_target_slows_no_other_down() {
        let ways = |states: [TargetState; 2]| {
            let target = |(slot, state)| Target {
                slot,
                generation: 5,
                state,
                address: [10, 2, 0, 1].into(),
                port: 80,
                next_hop: Some(NextHop { port: 0, mac: MAC }),
                unhealthy_at: 0,
            };
            let snapshot = Snapshot { targets: (0..).zip(states).map(target).collect(), ..Snapshot::default() };
            let forwarding = Forwarding::new(&snapshot, &[PortInfo { mac: MAC, mtu: 1500 }], 7);
            let takes = |target_slot, side| {
                let entry = FlowEntry { target_slot, target_generation: 5, ..FlowEntry::default() };
                Way::of(&forwarding, &entry, side, 1500).is_some()
            };
            [0, 1].map(|slot| [takes(slot, 0), takes(slot, 1)])
        };
        use TargetState::{Active, Draining, Terminate, Unhealthy, UnhealthyInPart, Withdrawn};
        for (state, of_it) in [
            (Active, [true, true]),
            (Draining, [true, true]),
            // What it still sends reaches the client.
            (UnhealthyInPart, [false, true]),
            (Unhealthy, [false, true]),
            (Terminate, [false, false]),
            (Withdrawn, [false, false]),
        ] {
            assert_eq!(ways([state, Active]), [of_it, [true, true]], "{state:?}");
            assert_eq!(ways([Active, state]), [[true, true], of_it], "{state:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// What may take the fast path passes the parser, which says the same of it, and so does a plain SYN; and ordinary frames may.
        #[test]
        fn what_is_plain_passes_the_parser(
            v6: bool, is_tcp: bool, opens: bool, room in 20..80usize, padding in 0..20usize,
            changes in prop::collection::vec((0..80usize, prop_oneof![
                any::<u8>(), prop::sample::select(vec![0u8, 1, 2, 4, 5, 6, 8, 17, 20, 0x40, 0x45, 0x50, 0x60, 0xf0, 127, 224, 255])
            ]), 0..3),
            mended in prop::bool::weighted(0.9), cut in prop_oneof![4 => Just(usize::MAX), 1 => 0..100usize],
        ) {
            let mut bytes = frame(v6, if is_tcp { protocol::TCP } else { protocol::UDP }, room, padding);
            if is_tcp && opens {
                bytes[if v6 { L4_V6 } else { L4 } + 13] = SYN;
            }
            for (place, byte) in &changes {
                if let Some(target) = bytes.get_mut(*place) {
                    *target = *byte;
                }
            }
            if mended {
                mend(&mut bytes);
            }
            bytes.truncate(cut);
            let key = DigestKey::new(7);
            let (four, six) = (tuple::<ACK>(&bytes, PORT), tuple_v6::<ACK>(&bytes, PORT, &key));
            let (open_four, open_six) = (tuple::<SYN>(&bytes, PORT), tuple_v6::<SYN>(&bytes, PORT, &key));
            prop_assert!(four.or(open_four).is_none() || six.or(open_six).is_none());
            if let Some(tuple) = four.or(six).or(open_four).or(open_six) {
                prop_assert_eq!(tuple, tuple_again(&bytes, &key));
                let parsed = parse::frame(&bytes, MAC, 7);
                match meta(&bytes, tuple) {
                    Some(meta) => prop_assert_eq!(parsed, Parsed::Flow(meta)),
                    None => prop_assert!(!changes.is_empty(), "only other addresses are looked at again: {parsed:?}"),
                }
            } else {
                prop_assert!(!changes.is_empty() || !mended || cut != usize::MAX || is_tcp && room < 20);
            }
        }
    }
}

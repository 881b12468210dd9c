//! The PROXY protocol on connections that pass through: the target reads a header before the client's first byte (semantics §8).
//!
//! The header is a segment of its own, made when the client's acknowledgement completes the handshake and sent before that. From then on
//! the target counts [`header::length`] more bytes of the client than the client does: sequence numbers towards the target are that much
//! higher, acknowledgements towards the client that much lower ([`shift`]). Everything that is kept of a flow, [`crate::track`]'s state
//! above all, is in the client's numbers.
//!
//! A flow has [`flag::PROXY`] from its first packet on, whatever its group says later, and [`flag::ANSWERED`] from the moment on at
//! which the header is sent. Until it has [`flag::PROXY_ACKED`], the header is this lcore's to repeat, and the flow has a place among the
//! [`unacked`] ones. No new flow gets this far without a place: there the segment that would complete the handshake is dropped, as if the
//! network had lost it, and the ends repeat themselves. A flow of an earlier process takes a place with any of its packets.

use leat_abi::flow::{FlowAddresses, FlowEntry, FlowState, flag};
use leat_abi::message::{Made, Step};
use leat_abi::{Counter, DropReason};

use crate::address::Address;
use crate::checksum;
use crate::frame::{Frame, Now, Verdict};
use crate::parse::{ETHERNET, Meta, Piece, tcp};
use crate::pipeline::{Arrival, Pipeline};
use crate::rewrite::Egress;
use crate::table::{Found, Side};
use crate::track::{self, Outcome};

pub mod header;
mod options;
mod segment;
mod unacked;

use options::{Options, kind};
use segment::Segment;
pub(crate) use unacked::Unacked;

/// Headers looked after in one turn of housekeeping.
const HEADERS_PER_TURN: usize = 32;
/// Bytes of the header in a segment at the least, however small the target's segments (S8.10).
const PIECE_MIN: usize = 16;

/// The flags of a connection whose target has acknowledged all of the header.
pub(crate) const SETTLED: u8 = flag::PROXY | flag::ANSWERED | flag::PROXY_ACKED;

/// By how much the target's numbers of the client's bytes are higher than the client's: 0 without a header, or before it was sent.
#[inline]
pub fn shift_of(entry: &FlowEntry) -> u32 {
    let sent = flag::PROXY | flag::ANSWERED;
    if entry.flags & sent == sent && entry.is_tcp() { header::length(entry) } else { 0 }
}

/// The number of the client's first byte: where the header begins for the target.
fn first(entry: &FlowEntry) -> u32 {
    entry.client_isn.wrapping_add(1)
}

/// A number of a byte of the client, as the target has it, as the client has it: within the header, that of its first byte.
#[inline]
pub(crate) fn for_client(entry: &FlowEntry, number: u32) -> u32 {
    let shift = shift_of(entry);
    let first = first(entry);
    // More than 2³¹ bytes later, numbers come round: then they mean what they say.
    let is_young = entry.target_ack.wrapping_sub(first) < 1 << 31;
    if is_young && number.wrapping_sub(first) < shift { first } else { number.wrapping_sub(shift) }
}

/// An acknowledgement in a segment from this side, in the client's numbers.
#[inline(always)]
pub(crate) fn ack_of(entry: &FlowEntry, side: Side, ack: u32) -> u32 {
    if side == Side::Target { for_client(entry, ack) } else { ack }
}

/// Whether what the target says may still be about the header: it is not known to have read anything of the client. Then more is to be
/// looked at than numbers, even when the header was acknowledged (S8.4).
#[inline(always)]
pub(crate) fn may_be_of_header(entry: &FlowEntry) -> bool {
    entry.target_ack == first(entry)
}

/// What a packet of the flow says in the client's numbers.
fn in_clients_numbers(entry: &FlowEntry, side: Side, meta: &Meta) -> Meta {
    let ack = if meta.has(tcp::ACK) { ack_of(entry, side, meta.ack) } else { meta.ack };
    Meta { ack, ..*meta }
}

/// Gives a packet of the flow, that is about to be rewritten, the numbers of the end it goes to: sequence number, acknowledgement, edges of
/// selective acknowledgements. The checksum follows by what changes (S8.11).
pub(crate) fn shift<F: Frame>(frame: &mut F, entry: &FlowEntry, side: Side, meta: &Meta) {
    let by = shift_of(entry);
    // The SYN comes before the header, and a later fragment has no numbers.
    if by == 0 || meta.piece == Piece::Later || side == Side::Client && meta.has(tcp::SYN) {
        return;
    }
    let Some(segment) = frame.bytes_mut().get_mut(usize::from(meta.l4)..) else { return };
    if side == Side::Client {
        return options::put(segment, 4, &meta.seq.wrapping_add(by).to_be_bytes());
    }
    if !meta.has(tcp::ACK) {
        return;
    }
    options::put(segment, 8, &for_client(entry, meta.ack).to_be_bytes());
    let mut options = Options::new();
    while let Some(opt) = options.next(segment) {
        if opt.kind == kind::SACK {
            for at in opt.edges() {
                let edge = for_client(entry, options::number(segment, at));
                options::put(segment, at, &edge.to_be_bytes());
            }
        }
    }
}

/// Whether a header is on its way to the flow's target.
fn is_unacked(entry: &FlowEntry) -> bool {
    let is_open = matches!(entry.state(), Some(FlowState::Established | FlowState::HalfClosed));
    is_open && shift_of(entry) > 0 && !entry.has(flag::PROXY_ACKED)
}

impl Pipeline<'_> {
    /// A packet of a flow with a header, at the moment at which it would be tracked.
    #[inline(never)]
    pub(crate) fn proxied_packet<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let Found { entry: at, side } = found;
        let entry = self.flows.table.entry_mut(at);
        if meta.piece == Piece::Later {
            let outcome = track::packet(entry, side, meta, now);
            return self.tracked(frame, meta, found, outcome, arrival, now);
        }
        let was_sent = shift_of(entry) > 0;
        let may_complete = side == Side::Client && entry.state == FlowState::SynReceived as u8 && !meta.has(tcp::RST);
        if may_complete && !self.unacked.has_room(at) {
            return self.drop(DropReason::FlowTableFull);
        }
        let seen = in_clients_numbers(entry, side, meta);
        let outcome = track::packet(entry, side, &seen, now);
        if matches!(outcome, Outcome::Replace | Outcome::BadFlags | Outcome::Late) {
            return self.tracked(frame, meta, found, outcome, arrival, now);
        }
        if side == Side::Client && meta.has(tcp::SYN) {
            let meta = without_fast_open(frame, meta);
            return self.tracked(frame, &meta, found, outcome, arrival, now);
        }
        let ends_here = match side {
            Side::Client => self.client_segment(frame, meta, at, was_sent, now),
            Side::Target => self.target_segment(frame, meta, at, now),
        };
        if ends_here && outcome == Outcome::Forward {
            self.counters.add(Counter::ConsumedPackets, 1);
            self.tracer.step(|| Step::Consume);
            return Verdict::Consume;
        }
        self.tracked(frame, meta, found, outcome, arrival, now)
    }

    /// A segment of the client, tracked already. Returns whether it ends here.
    fn client_segment<F: Frame>(&mut self, frame: &F, meta: &Meta, at: u32, was_sent: bool, now: Now) -> bool {
        let entry = self.flows.table.entry(at);
        if !is_unacked(entry) {
            // A target that has lost the header would not take the number of the reset that ended the flow.
            let is_reset = meta.has(tcp::RST) && entry.state == FlowState::ResetLinger as u8;
            if is_reset && shift_of(entry) > 0 && !entry.has(flag::PROXY_ACKED) {
                self.send_header(at);
            }
            return false;
        }
        let (client_ack, is_early) = (entry.client_ack, meta.seq.wrapping_add(1) == first(entry));
        if !was_sent || self.unacked.get(at).is_none() {
            self.unacked.sent(at, now);
        }
        if let Some(place) = self.unacked.get(at)
            && meta.has(tcp::ACK)
            && (!was_sent || meta.ack == client_ack)
        {
            place.client_window = meta.window;
            place.timestamps = Options::find(segment_of(frame, meta), kind::TIMESTAMPS);
        }
        if !was_sent {
            self.send_header(at);
        }
        // A keepalive: for the target its byte would be one of the header's.
        is_early
    }

    /// A segment of the target, tracked already. Returns whether it ends here: it acknowledges the header or a part of it, and says nothing
    /// else (S8.4).
    fn target_segment<F: Frame>(&mut self, frame: &F, meta: &Meta, at: u32, now: Now) -> bool {
        let segment = segment_of(frame, meta);
        let entry = self.flows.table.entry_mut(at);
        let shift = shift_of(entry);
        if meta.has(tcp::SYN) {
            if shift == 0 {
                let mss = Options::find(segment, kind::MSS).map(u16::from_be_bytes);
                self.unacked.offered(at, meta.window, mss, now);
            }
            return false;
        }
        if shift == 0 || !meta.has(tcp::ACK) || meta.has(tcp::RST) {
            return false;
        }
        let first = first(entry);
        let acknowledged = meta.ack.wrapping_sub(first);
        let unacked = is_unacked(entry);
        // Whether so much was ever sent is for who keeps track of it to say.
        let completes = unacked && acknowledged >= shift && for_client(entry, meta.ack) == entry.target_ack;
        if completes {
            entry.flags |= flag::PROXY_ACKED;
            self.unacked.acknowledged(at, now);
        }
        let says_nothing =
            meta.payload_len == 0 && meta.flags & !(tcp::ACK | tcp::PSH) == 0 && meta.seq == entry.target_end;
        let is_of_client = !may_be_of_header(entry) || acknowledged > shift;
        if is_of_client || !unacked && !says_nothing {
            return false;
        }
        let unit = 1 << (entry.window_scales >> 4);
        let is_copy = entry.client_end == first && self.unacked.may_be_copy(at, now);
        if unacked && !completes {
            if self.unacked.get(at).is_none() {
                self.unacked.sent(at, now);
            }
            if says_nothing && self.unacked.again(at, acknowledged as u8) {
                self.send_header(at);
            }
        }
        let Some(place) = self.unacked.get(at) else { return false };
        let window = (meta.window, u32::from(meta.window) * unit);
        let ends_here = says_nothing
            && (unacked || is_copy)
            && !(acknowledged == shift && selects_of_client(segment, first, shift))
            && place.told_window.is_some_and(|told| opens_nothing(told, window, shift + unit));
        if !ends_here {
            place.told_window = Some(window);
        }
        ends_here
    }

    /// Sends the header of a flow, or what its target has not acknowledged of it.
    #[inline(never)]
    fn send_header(&mut self, at: u32) {
        let entry = self.flows.table.entry(at);
        let target = self.forwarding.target(entry.target_slot, entry.target_generation);
        let Some(hop) = target.and_then(|target| target.next_hop) else { return };
        let place = self.unacked.get(at).copied().unwrap_or_default();
        let ends = Ends::of(entry, self.flows.table.addresses(at));
        let endpoint = self.forwarding.endpoint(entry.client_side_port);
        let header = header::bytes((ends.client, entry.client_port), (ends.vip, entry.vport), endpoint);
        let timestamps = place
            .timestamps
            .map(|[a, b, c, d, e, f, g, h]| [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, a, b, c, d, e, f, g, h]);
        let options = timestamps.as_ref().map_or(&[][..], |options| &options[..]);
        let room = usize::from(place.mss.unwrap_or(u16::MAX)).saturating_sub(options.len());
        let begin = usize::from(place.acknowledged).min(header.len());
        let mut seq = first(entry).wrapping_add(begin as u32);
        let mut rest = header.get(begin..).unwrap_or_default();
        while !rest.is_empty() {
            let (payload, more) = rest.split_at(room.max(PIECE_MIN).min(rest.len()));
            let segment = Segment {
                egress: Egress { destination_mac: hop.mac, source_mac: self.forwarding.port_mac(hop.port) },
                source: (ends.nat, entry.nat_port),
                destination: (ends.target, entry.target_port),
                seq,
                ack: entry.client_ack,
                flags: if more.is_empty() { tcp::ACK | tcp::PSH } else { tcp::ACK },
                window: place.client_window,
                options,
                payload,
            };
            let verdict = Verdict::Originate { port: hop.port };
            match self.originated.frame(verdict, segment.length()) {
                Some(frame) => segment.write(frame),
                None => Pipeline::refused(&self.counters, verdict),
            }
            (seq, rest) = (seq.wrapping_add(payload.len() as u32), more);
        }
        self.counters.add(Counter::ProxyHeadersSent, 1);
        self.tracer.step(|| Step::Originate { port: hop.port, made: Made::ProxyHeader });
    }

    /// Sends the headers again that are due, but not more than a turn's worth. Returns whether there may be more.
    pub(crate) fn repeat_headers(&mut self, now: Now) -> bool {
        for _ in 0..HEADERS_PER_TURN {
            let Some((at, again)) = self.unacked.due(now) else { return false };
            if !is_unacked(self.flows.table.entry(at)) {
                self.unacked.forget(at);
            } else if again {
                self.send_header(at);
            } else {
                self.give_up(at, now);
            }
        }
        true
    }

    /// The target has not acknowledged the header for too long: both ends are reset. If too many resets are due already, they are
    /// when they send something.
    fn give_up(&mut self, at: u32, now: Now) {
        self.counters.add(Counter::ProxyUnacked, 1);
        if self.resets.take(now) {
            self.reset_end(at, Side::Client);
            self.reset_end(at, Side::Target);
        }
        self.flows.terminate(at, now);
    }

    /// Gives the flows of an earlier process whose header was not acknowledged their places.
    pub(crate) fn adopt_headers(&mut self, now: Now) {
        for at in self.flows.table.numbers() {
            if is_unacked(self.flows.table.entry(at)) {
                self.unacked.sent(at, now);
            }
        }
    }
}

/// The addresses of a flow.
struct Ends {
    client: Address,
    vip: Address,
    target: Address,
    nat: Address,
}

impl Ends {
    fn of(entry: &FlowEntry, addresses: Option<&FlowAddresses>) -> Self {
        let v4 = || [entry.client_ip, entry.vip, entry.target_ip, entry.nat_ip].map(Address::v4);
        let v6 = |a: &FlowAddresses| [a.client, a.vip, a.target, a.nat].map(Address::from_octets);
        let [client, vip, target, nat] = addresses.map_or_else(v4, v6);
        Self { client, vip, target, nat }
    }
}

/// The TCP segment of a packet.
fn segment_of<'f, F: Frame>(frame: &'f F, meta: &Meta) -> &'f [u8] {
    frame.bytes().get(meta.l4.into()..ETHERNET + usize::from(meta.ip_len)).unwrap_or_default()
}

/// Whether a segment selectively acknowledges bytes of the client.
fn selects_of_client(segment: &[u8], first: u32, shift: u32) -> bool {
    let mut options = Options::new();
    while let Some(opt) = options.next(segment) {
        let is_of_client = |edge: u32| (shift + 1..1 << 31).contains(&edge.wrapping_sub(first));
        if opt.kind == kind::SACK && opt.edges().any(|at| is_of_client(options::number(segment, at))) {
            return true;
        }
    }
    false
}

/// Whether a window, as field and in bytes, says nothing new to who was told another: the field is the same, or it has shrunk by no more
/// than the header takes of it.
fn opens_nothing(told: (u16, u32), window: (u16, u32), header: u32) -> bool {
    window.0 == told.0 || window.1 <= told.1 && told.1 - window.1 <= header
}

/// Makes a SYN ordinary that opens a connection with TCP Fast Open: its payload would come before the header (S8.7). The client sends it
/// again, because nobody acknowledges it. Returns what the SYN says then.
pub(crate) fn without_fast_open<F: Frame>(frame: &mut F, meta: &Meta) -> Meta {
    let (l4, end) = (usize::from(meta.l4), ETHERNET + usize::from(meta.ip_len));
    let Some((headers, segment)) = frame.bytes_mut().get_mut(..end).and_then(|bytes| bytes.split_at_mut_checked(l4))
    else {
        return *meta;
    };
    let mut options = Options::new();
    while let Some(opt) = options.next(segment) {
        if opt.kind == kind::FAST_OPEN {
            options::put(segment, opt.at, &[kind::NOP; 40][..opt.length.min(40)]);
        }
    }
    if meta.payload_len == 0 || meta.piece != Piece::Whole {
        return *meta;
    }
    let cut = usize::from(meta.payload_len);
    let ip_len = meta.ip_len - meta.payload_len;
    let ordered = |length: usize| u64::from((length as u16).to_be());
    // The payload and its part of the length in the pseudo-header.
    let (old, new) = (segment.len(), segment.len() - cut);
    let payload = checksum::of(&[segment.get(new..).unwrap_or_default()]);
    options::change(segment, u64::from(payload) + (!ordered(old) & 0xffff) + ordered(new));
    if meta.tuple.is_v6() {
        if let Some(length) = headers.get_mut(ETHERNET + 4..ETHERNET + 6) {
            length.copy_from_slice(&(ip_len - 40).to_be_bytes());
        }
    } else if let Some(ip) = headers.get_mut(ETHERNET..).and_then(|ip| ip.first_chunk_mut::<20>()) {
        let change = (!ordered(meta.ip_len.into()) & 0xffff) + ordered(ip_len.into());
        ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
        let sum = checksum::apply(u16::from_ne_bytes([ip[10], ip[11]]), change);
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
    frame.truncate(ETHERNET + usize::from(ip_len));
    Meta { ip_len, payload_len: 0, ..*meta }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::flow::{family, protocol};

    /// Wherever numbers begin and however often they come round: what the target says of a byte of the client is that byte's number;
    /// what it says of the header is the first one's. req: S8.2, S8.11
    #[test]
    fn numbers_come_round() {
        for (protocol, length) in [(protocol::TCP, 100u32), (protocol::TCP | family::CLIENT_V6, 124)] {
            for client_isn in [0, 77, u32::MAX, u32::MAX - length, u32::MAX - 50, 1 << 31, (1 << 31) - length] {
                let flags = flag::PROXY | flag::ANSWERED;
                let first = client_isn.wrapping_add(1);
                let mut entry = FlowEntry { protocol, flags, client_isn, target_ack: first, ..FlowEntry::default() };
                assert_eq!(shift_of(&entry), length);
                for of_header in 0..=length {
                    assert_eq!(for_client(&entry, first.wrapping_add(of_header)), first);
                }
                let mut sent = 0u64;
                while sent < 3 << 32 {
                    // Around each lap's beginning step by step, else far.
                    let is_near = (sent + 300) & 0xffff_ffff < 600;
                    sent += if is_near { 1 } else { (1 << 22) - (sent & 0xff) };
                    let number = first.wrapping_add(sent as u32);
                    // With all acknowledged until then, and with a window's worth on its way.
                    for on_its_way in [0, 1, 1 << 16, 1 << 30] {
                        entry.target_ack = first.wrapping_add(sent.saturating_sub(on_its_way) as u32);
                        assert_eq!(for_client(&entry, number.wrapping_add(length)), number, "{sent} {on_its_way}");
                    }
                }
            }
        }
    }
}

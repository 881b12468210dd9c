//! The order of the stages, from the top to the bottom of [`Pipeline::process`].
//!
//! A burst goes through each stage as a whole, so that its cache misses overlap: parse all and hash all, fetching buckets; look
//! all up, fetching entries; then act on each packet in order. What an earlier packet of the burst changed is seen by a later
//! one, because a candidate is compared with the packet's tuple again at the moment of acting.
//!
//! Counted here: what arrives and what is dropped. Counted by the caller, who alone knows what came of a verdict: the rest of
//! the conservation law (see [`Pipeline::sent`] and its kin).

use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_abi::attempts::Attempt;
use leat_abi::counters::{Counter, LcoreCounters};
use leat_abi::flow::{FlowState, flag};
use leat_abi::message::{Command, Step};
use leat_abi::ring::Producer;
use leat_abi::snapshot::{LocalKind, TargetState};
use leat_abi::{DropReason, FlowEntry, FlowMemory};

use crate::attempts::Followed;
use crate::dump::Dump;
use crate::fast;
use crate::flows::Flows;
use crate::forwarding::Forwarding;
use crate::fragments::Fragments;
use crate::frame::{Answer, BURST, Frame, Now, Verdict};
use crate::hash::DigestKey;
use crate::icmp;
use crate::limit::Limit;
use crate::opening::{Opening, bits};
use crate::originate::Originated;
use crate::parse::{self, Ends, L4, L4_V6, Meta, Parsed, Piece, Tuple, tcp};
use crate::proxy;
use crate::refusals::Refusals;
use crate::resets::Sweep;
use crate::rewrite::{self, Egress};
use crate::source_ports::SourcePorts;
use crate::table::{Candidate, Found, Probe, Side};
use crate::trace::{Sockets, Tracer};
use crate::track::{self, Outcome};
use crate::wide;

/// Resets sent per second and lcore at the most, and at once (S5.5).
pub const RESETS_PER_S: (u32, u32) = (10_000, 1_000);
/// Packets given to Linux per second and lcore at the most, and at once.
pub const PUNTS_PER_S: (u32, u32) = (20_000, 2_000);
/// ARP packets given to Linux per second and lcore at the most, and at once.
pub const ARP_PER_S: (u32, u32) = (1_000, 200);
/// Timers looked after at a time, each with a cache miss or two: as many as packets can wait for. Flows that began together have timers
/// that come up together.
const TIMERS_PER_TURN: usize = 4;
/// The same while there are some that should have been looked after a second ago.
const LATE_TIMERS_PER_TURN: usize = 32;

/// How packets came to this lcore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// From a port's queue.
    Wire,
    /// From another lcore, because this one owns their flows.
    HandedOver,
}

/// What an lcore needs to know of itself.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number, 0-based.
    pub lcore: u16,
    /// How many there are.
    pub lcores: u16,
    /// The segment's key for [`crate::hash::owner`] and [`crate::hash::digest`].
    pub owner_key: u64,
    /// A random key for the flow table, made for this process.
    pub table_key: [u64; 2],
}

/// The pipeline of one lcore: run to completion, no clock, no I/O, no allocation after [`Pipeline::new`].
#[derive(Debug)]
pub struct Pipeline<'m> {
    pub(crate) lcore: u16,
    pub(crate) lcores: u16,
    pub(crate) owner_key: u64,
    pub(crate) digest_key: u64,
    pub(crate) originated: Originated,
    pub(crate) unacked: proxy::Unacked,
    pub(crate) flows: Flows<'m>,
    pub(crate) forwarding: Arc<Forwarding>,
    pub(crate) counters: LcoreCounters<'m>,
    pub(crate) tracer: Tracer<'m>,
    pub(crate) resets: Limit,
    pub(crate) punts: Limit,
    pub(crate) icmp_answers: Limit,
    pub(crate) icmp_errors: Limit,
    pub(crate) refusals: Refusals,
    pub(crate) fragments: Fragments,
    pub(crate) sweep: Sweep,
    pub(crate) followed: Followed,
    /// Of the packets of the burst at hand for which [`Pipeline::look_ahead`] says so, by their place in it; then one for a packet that was
    /// not looked ahead for.
    pub(crate) openings: Box<[Opening; BURST + 1]>,
    arps: Limit,
    dump: Option<Dump>,
}

impl<'m> Pipeline<'m> {
    /// A pipeline over flow memory in which nothing is kept yet ([`Pipeline::adopt`] takes over what is there). All lcores of a process
    /// share the source ports.
    pub fn new(
        place: Place,
        memory: FlowMemory<'m>,
        counters: LcoreCounters<'m>,
        events: Producer<'m>,
        ports: Arc<SourcePorts>,
        now: Now,
    ) -> Self {
        Self {
            lcore: place.lcore,
            lcores: place.lcores,
            owner_key: place.owner_key,
            digest_key: place.owner_key,
            originated: Originated::new(),
            unacked: proxy::Unacked::new(),
            flows: Flows::new(memory, place.table_key, counters, (ports, place.lcore), now),
            forwarding: Arc::default(),
            counters,
            tracer: Tracer::new(events, counters),
            resets: Limit::new(RESETS_PER_S.0, RESETS_PER_S.1),
            punts: Limit::new(PUNTS_PER_S.0, PUNTS_PER_S.1),
            icmp_answers: Limit::new(icmp::ERRORS_PER_S.0, icmp::ERRORS_PER_S.1),
            icmp_errors: Limit::new(icmp::ERRORS_PER_S.0, icmp::ERRORS_PER_S.1),
            refusals: Refusals::new(),
            fragments: Fragments::new(place.table_key, place.lcore, place.lcores),
            sweep: Sweep::new(),
            followed: Followed::new(),
            openings: Box::new([Opening::default(); BURST + 1]),
            arps: Limit::new(ARP_PER_S.0, ARP_PER_S.1),
            dump: None,
        }
    }

    /// Takes over the flows that an earlier process left in the entries; returns how many. Packets that it had in hand when it
    /// was killed are counted as dropped. Every lcore does so before the first one handles a packet: else it could give a source port
    /// away that another one's flow has.
    pub fn adopt(&mut self, now: Now) -> usize {
        let adopted = self.flows.adopt(now);
        // Gauges are counted anew by now: what was held is lost, too.
        self.counters.drop(DropReason::Restart, self.counters.in_hand());
        self.adopt_headers(now);
        adopted
    }

    /// The memory of the flows as it is at this moment: what a process that is killed leaves to the next one.
    pub fn into_memory(self) -> FlowMemory<'m> {
        self.flows.table.into_memory()
    }

    /// Goes over to another snapshot. Returns the old one, to be freed elsewhere.
    pub fn install(&mut self, forwarding: Arc<Forwarding>) -> Arc<Forwarding> {
        let old = std::mem::replace(&mut self.forwarding, forwarding);
        self.begin_sweep();
        old
    }

    /// Handles a burst of at most [`BURST`] packets, all of one arrival. `verdicts` gets one verdict per packet, in order.
    ///
    /// # Panics
    /// When there are more than [`BURST`] frames.
    pub fn process<F: Frame>(
        &mut self,
        now: Now,
        arrival: Arrival,
        frames: &mut [F],
        verdicts: &mut ArrayVec<Verdict, BURST>,
    ) {
        assert!(frames.len() <= BURST, "a burst is at most {BURST} packets");
        verdicts.clear();

        // Places for a whole burst, filled in step with the frames: nothing is appended, so nothing has to look for room.
        let mut parsed = [Parsed::Neighbour; BURST];
        let mut probes = [Probe::default(); BURST];
        // Packets that may take the fast path of IPv4 or IPv6, a bit each; only the others are parsed.
        let (mut plain, mut plain_v6) = (0u32, 0u32);
        let (untraced, digest_key) = (self.tracer.is_off(), DigestKey::new(self.digest_key));
        let mut bytes = 0;
        for (((frame, place), probe), at) in frames.iter().zip(&mut parsed).zip(&mut probes).zip(0..) {
            bytes += frame.bytes().len();
            let may_be_fast = untraced && frame.is_whole();
            let port = self.forwarding.port_word(frame.in_port());
            if may_be_fast && let Some(tuple) = fast::tuple::<{ tcp::ACK }>(frame.bytes(), port) {
                *probe = self.flows.table.probe(&tuple);
                plain |= 1 << at;
            } else if may_be_fast && let Some(hash) = fast::hash_v6(frame.bytes(), port, &digest_key, &self.flows.table)
            {
                *probe = self.flows.table.probe_of(hash);
                plain_v6 |= 1 << at;
            } else {
                *probe = self.parse_into(frame, place);
            }
        }
        self.count_arrival(arrival, frames.len(), bytes);

        let mut candidates = [Candidate::default(); BURST];
        for ((_, probe), candidate) in frames.iter().zip(&probes).zip(&mut candidates) {
            *candidate = self.flows.table.candidate(*probe);
        }
        let missing = Candidate::missing(&candidates[..frames.len()]);
        let ahead = if missing == 0 {
            0
        } else {
            for at in bits(missing & (plain | plain_v6)) {
                self.parse_plain(&frames[at], &mut parsed[at]);
            }
            (plain, plain_v6) = (plain & !missing, plain_v6 & !missing);
            self.look_ahead(frames, (&parsed, &probes), missing, arrival, now)
        };

        let mut outcomes = [Verdict::Consume; BURST];
        let mut at = 0;
        while at < frames.len() {
            let is = |set: u32| set >> at & 1 == 1;
            let (frames, candidates, outcomes) = (&mut frames[at..], &candidates[at..], &mut outcomes[at..]);
            let forwarded = if is(plain) {
                self.fast::<_, false>(frames, plain >> at, candidates, outcomes, now)
            } else if is(plain_v6) {
                self.fast::<_, true>(frames, plain_v6 >> at, candidates, outcomes, now)
            } else {
                0
            };
            if forwarded == 0 {
                let frame = &mut frames[0];
                outcomes[0] = match &parsed[at] {
                    Parsed::Flow(meta) if is(ahead) => self.opening_packet(frame, meta, at, arrival, now),
                    _ if is(plain | plain_v6) => match self.fast_proxied(frame, candidates[0], now) {
                        Some(port) => Verdict::Forward { port },
                        None => self.any_packet(frame, None, candidates[0], arrival, now),
                    },
                    place => self.any_packet(frame, Some(place), candidates[0], arrival, now),
                };
            }
            at += forwarded.max(1);
        }
        // There is room: the array is as long as the vector may become.
        let _ = verdicts.try_extend_from_slice(&outcomes[..frames.len()]);
    }

    /// Parses a frame that does not take the fast path, and begins to look for its flow.
    #[inline(never)]
    fn parse_into<F: Frame>(&self, frame: &F, place: &mut Parsed) -> Probe {
        if let Some(tuple) = self.opening_tuple(frame) {
            let probe = self.flows.table.probe(&tuple);
            if let Some(meta) = fast::meta(frame.bytes(), tuple) {
                *place = Parsed::Flow(meta);
                return probe;
            }
        }
        let parsed = self.parse(frame);
        // Before it is put in its place: reading it back from there would wait for the copy.
        let probe = match &parsed {
            Parsed::Flow(meta) => self.flows.table.probe(&meta.tuple),
            _ => Probe::default(),
        };
        *place = parsed;
        probe
    }

    /// The tuple of a frame that is a plain SYN. What is not may be one all the same.
    #[inline(always)]
    fn opening_tuple<F: Frame>(&self, frame: &F) -> Option<Tuple> {
        let (bytes, port) = (frame.bytes(), self.forwarding.port_word(frame.in_port()));
        // Before all else, for those that are none.
        let is_syn = |l4: usize| frame.is_whole() && bytes.get(l4 + 13).is_some_and(|flags| flags & tcp::SYN != 0);
        match bytes.get(12)? {
            0x08 if is_syn(L4) => fast::tuple::<{ tcp::SYN }>(bytes, port),
            0x86 if is_syn(L4_V6) => fast::tuple_v6::<{ tcp::SYN }>(bytes, port, &DigestKey::new(self.digest_key)),
            _ => None,
        }
    }

    /// Parses a frame that might have taken the fast path and does not. Straight into its place: what is copied there waits for its pieces.
    #[inline(always)]
    fn parse_plain<F: Frame>(&self, frame: &F, place: &mut Parsed) {
        let tuple = fast::tuple_again(frame.bytes(), &DigestKey::new(self.digest_key));
        match fast::meta(frame.bytes(), tuple) {
            Some(meta) => *place = Parsed::Flow(meta),
            None => *place = self.parse(frame),
        }
    }

    /// Handles a packet that does not take the fast path. `parsed`: none if it might have taken it.
    #[inline(never)]
    fn any_packet<F: Frame>(
        &mut self,
        frame: &mut F,
        parsed: Option<&Parsed>,
        candidate: Candidate,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let mut plain = Parsed::Neighbour;
        let parsed = match parsed {
            Some(parsed) => parsed,
            None => {
                self.parse_plain(frame, &mut plain);
                &plain
            }
        };
        let meta = match parsed {
            Parsed::Flow(meta) | Parsed::Fragment(meta, _) | Parsed::IcmpError(meta) => Some(meta),
            _ => None,
        };
        self.tracer.packet(frame.in_port(), frame.bytes(), meta);
        let verdict = match parsed {
            Parsed::Flow(meta) => self.flow_packet(frame, meta, candidate.found(), arrival, now),
            Parsed::Fragment(meta, place) => self.fragment(frame, meta, place, arrival, now),
            Parsed::IcmpError(meta) => self.icmp_error(frame, meta, arrival, now),
            Parsed::Neighbour if self.arps.take(now) => {
                self.tracer.step(|| Step::Punt { port: frame.in_port() });
                Verdict::Punt { port: frame.in_port() }
            }
            Parsed::Neighbour => self.drop(DropReason::PuntRate),
            Parsed::Other { destination, reason } => match self.forwarding.local(*destination) {
                Some(LocalKind::Host) => self.punt(frame.in_port(), now),
                _ => self.drop(*reason),
            },
            Parsed::Bad(reason) => self.drop(*reason),
        };
        self.tracer.done();
        verdict
    }

    #[inline(always)]
    fn count_arrival(&self, arrival: Arrival, packets: usize, bytes: usize) {
        match arrival {
            Arrival::Wire => {
                self.counters.add(Counter::RxPackets, packets as u64);
                self.counters.add(Counter::RxBytes, bytes as u64);
            }
            Arrival::HandedOver => self.counters.add(Counter::HandedIn, packets as u64),
        }
    }

    #[inline(always)]
    fn parse<F: Frame>(&self, frame: &F) -> Parsed {
        if !frame.is_whole() {
            return Parsed::Bad(DropReason::NotLinear);
        }
        parse::frame(frame.bytes(), self.forwarding.port_mac(frame.in_port()), self.digest_key)
    }

    /// Handles a packet with a whole tuple.
    #[inline(always)]
    pub(crate) fn flow_packet<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        candidate: Option<Found>,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let found = match candidate {
            Some(found) if self.flows.table.is(found, &meta.tuple) => Some(found),
            _ => self.flows.table.find(&meta.tuple),
        };
        self.tracer.step(|| Step::Lookup {
            entry: found.map(|f| f.entry),
            from_client: found.is_some_and(|f| f.side == Side::Client),
            state: found.map_or(0, |f| self.flows.table.entry(f.entry).state),
        });
        match found {
            Some(found) if meta.tuple.is_v6() && !self.is_between(found, &meta.ends(frame.bytes())) => {
                self.drop(DropReason::TupleConflict)
            }
            Some(found) => self.known_packet(frame, meta, found, arrival, now),
            None => self.first_packet(frame, meta, arrival, now),
        }
    }

    /// Whether these are the very addresses of the flow that was found by the digest of IPv6 addresses.
    #[inline]
    pub(crate) fn is_between(&self, found: Found, ends: &Ends) -> bool {
        let ends = (ends.source.octets(), ends.destination.octets());
        self.flows.table.addresses(found.entry).is_some_and(|a| match found.side {
            Side::Client => ends == (a.client, a.vip),
            Side::Target => ends == (a.target, a.nat),
        })
    }

    /// A packet of a flow.
    #[inline(always)]
    fn known_packet<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let Found { entry: at, side } = found;
        let entry = self.flows.table.entry_mut(at);
        if track::is_over(entry, now) {
            self.flows.expire(at, now);
            return self.without_flow(frame, meta, found, arrival, now);
        }
        if entry.state >= FlowState::Resting as u8 {
            return self.without_flow(frame, meta, found, arrival, now);
        }
        let slot = entry.target_slot;
        let is_lost = match side {
            Side::Client => self.forwarding.is_lost(slot, entry.target_generation, entry.listener_slot),
            // What an unhealthy target still sends reaches the client (HC-20).
            Side::Target => {
                !self.forwarding.ending().is_empty() && {
                    let target = self.forwarding.target(slot, entry.target_generation);
                    target.is_some_and(|target| target.state > TargetState::Unhealthy)
                }
            }
        };
        if is_lost {
            return self.target_lost(frame, meta, found, arrival, now);
        }
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        if entry.has(flag::PROXY) {
            return self.proxied_packet(frame, meta, found, arrival, now);
        }
        let outcome = track::packet(entry, side, meta, now);
        self.tracked(frame, meta, found, outcome, arrival, now)
    }

    /// A packet of a flow that has been tracked, with this outcome.
    #[inline(always)]
    pub(crate) fn tracked<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        outcome: Outcome,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let Found { entry: at, side } = found;
        match outcome {
            Outcome::Forward => {}
            Outcome::Changed | Outcome::Reset => self.flows.changed(at, now),
            Outcome::Answered => self.attempted(at, Attempt::Answered, now),
            Outcome::Refused => {
                self.flows.changed(at, now);
                self.attempted(at, Attempt::Refused, now);
            }
            Outcome::Repeated => self.follow_syn(at, now),
            Outcome::Replace => {
                self.flows.replace(at, now);
                return self.first_packet(frame, meta, arrival, now);
            }
            Outcome::BadFlags => return self.drop(DropReason::TcpFlags),
            Outcome::Late => return self.drop(DropReason::ReplyLate),
        }
        let verdict = self.forward(frame, meta, found, now);
        if meta.has(tcp::RST) && matches!(verdict, Verdict::Forward { .. }) {
            self.count_forwarded_reset(side, self.flows.table.entry(at).target_slot);
        }
        verdict
    }

    /// A packet whose flow is over. An entry that is kept all the same keeps its port, but not its client, who may begin anew.
    #[cold]
    fn without_flow<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let rests = self.flows.table.is(found, &meta.tuple);
        if rests && found.side == Side::Client && meta.opens() {
            self.flows.replace(found.entry, now);
        } else if rests && meta.tuple.is_tcp() {
            let slot = self.flows.table.entry(found.entry).listener_slot;
            return self.reset(frame, meta, Some(slot), now);
        }
        self.first_packet(frame, meta, arrival, now)
    }

    /// Rewrites a packet of a flow and sends it on.
    #[inline(always)]
    pub(crate) fn forward<F: Frame>(&mut self, frame: &mut F, meta: &Meta, found: Found, now: Now) -> Verdict {
        let entry = self.flows.table.entry(found.entry);
        let slot = entry.target_slot;
        let (port, destination_mac) = match found.side {
            Side::Client => {
                let hop = self.forwarding.target(slot, entry.target_generation).and_then(|t| t.next_hop);
                let Some(hop) = hop else { return self.drop(DropReason::NoNextHop) };
                (hop.port, hop.mac)
            }
            Side::Target => (entry.client_side_port, entry.client_mac),
        };
        let Some(info) = self.forwarding.port(port) else { return self.drop(DropReason::NoNextHop) };
        if entry.is_wide() && meta.has(tcp::SYN) && wide::translates(entry) {
            self.clamp_mss(frame, meta, entry);
        }
        let growth = if entry.is_wide() { wide::growth(entry, found.side, meta) } else { 0 };
        let (mtu, egress) = (info.mtu, Egress { destination_mac, source_mac: info.mac });
        if i32::from(meta.ip_len) + growth > mtu.into() {
            match self.too_big(frame, meta, found, (port, mtu, egress), now) {
                // The first piece of it.
                Verdict::Forward { .. } => {}
                verdict => return verdict,
            }
        } else {
            if meta.piece != Piece::Whole {
                self.set_fragment_id(frame, meta, found);
            }
            if let Err(reason) = self.rewrite(frame, meta, found, egress) {
                return self.drop(reason);
            }
        }
        self.counters.forwarded(slot, found.side == Side::Target, meta.ip_len.into());
        self.tracer.step(|| {
            let sockets = Sockets::of(&self.flows.table, found.entry);
            let (source, destination) = match found.side {
                Side::Client => (sockets.nat, sockets.target),
                Side::Target => (sockets.vip, sockets.client),
            };
            Step::Rewrite { source, destination }
        });
        self.tracer.step(|| Step::Transmit { port });
        Verdict::Forward { port }
    }

    /// Rewrites a packet of a flow. An error says why it cannot become what it would have to.
    #[inline(always)]
    pub(crate) fn rewrite<F: Frame>(
        &self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        egress: Egress,
    ) -> Result<(), DropReason> {
        let entry = self.flows.table.entry(found.entry);
        if !entry.is_plain() {
            proxy::shift(frame, entry, found.side, meta);
            if entry.is_wide() {
                let addresses = self.flows.table.addresses(found.entry).ok_or(DropReason::TupleConflict)?;
                return wide::apply(frame, entry, addresses, found.side, meta, egress);
            }
        }
        if meta.piece == Piece::Later {
            rewrite::apply_to_later_fragment(frame, entry, found.side, meta.ip_len, egress);
        } else {
            rewrite::apply(frame, entry, found.side, meta.ip_len, egress);
        }
        Ok(())
    }

    /// Gives the frames that were made here to `send`, each with its verdict ([`Verdict::Originate`] or [`Verdict::Forward`]), in order.
    /// To be called after [`Pipeline::process`], before the burst's own packets are sent, and after [`Pipeline::housekeeping`].
    #[inline(always)]
    pub fn originated(&mut self, send: impl FnMut(&[u8], Verdict)) {
        if !self.originated.is_empty() {
            self.originated.drain(send);
        }
    }

    /// Carries out a command.
    pub fn command(&mut self, command: Command) {
        match command {
            Command::TraceStart { id, count, port, filter } => self.tracer.start(id, count, port, filter),
            Command::TraceStop { id } => self.tracer.stop(id),
            Command::FlowDump { id, limit, filter } => self.dump = Some(Dump::new(id, limit, filter)),
        }
    }

    /// Does a bounded piece of what is not packets: timers that have come up, fragments, a sweep or a flow dump under way. Returns
    /// whether there may be more to do at once.
    pub fn housekeeping(&mut self, now: Now) -> bool {
        let more_timers = self.timers(now);
        let more_to_sweep = self.sweep(now);
        let more_fragments = self.look_after_fragments(now);
        if let Some(dump) = &mut self.dump
            && !dump.turn(&self.flows.table, &mut self.tracer, now)
        {
            self.dump = None;
        }
        let more_headers = self.repeat_headers(now);
        let more_syns = self.look_after_syns(now);
        more_timers || more_to_sweep || more_fragments || more_headers || more_syns || self.dump.is_some()
    }

    /// Looks after some timers that have come up; also part of [`Pipeline::housekeeping`]. Returns whether there may be more.
    #[inline(always)]
    pub fn timers(&mut self, now: Now) -> bool {
        let most = if self.flows.is_late(now) { LATE_TIMERS_PER_TURN } else { TIMERS_PER_TURN };
        self.flows.tick(now, most) == most
    }

    /// Flow entries in use, in any state.
    pub fn flows_used(&self) -> usize {
        self.flows.table.used()
    }

    /// The flow entries in use, in any state.
    pub fn flows(&self) -> impl Iterator<Item = &FlowEntry> {
        self.flows.table.numbers().map(|at| self.flows.table.entry(at)).filter(|e| e.state().is_some())
    }

    /// Bytes per flow when the table is full.
    pub fn bytes_per_flow(&self) -> f64 {
        self.flows.table.bytes_per_flow() + crate::timer::BYTES_PER_ENTRY as f64
    }

    /// The lcore's counters.
    pub fn counters(&self) -> LcoreCounters<'m> {
        self.counters
    }

    /// The generation of the snapshot in use; 0: none.
    pub fn generation(&self) -> u64 {
        self.forwarding.generation
    }

    /// Counts what came of a verdict: the packet, of `bytes` as sent, went where the verdict says.
    pub fn sent(counters: &LcoreCounters<'_>, verdict: Verdict, bytes: usize) {
        match verdict {
            Verdict::Forward { .. } => {
                counters.add(Counter::ForwardedPackets, 1);
                counters.add(Counter::ForwardedBytes, bytes as u64);
            }
            Verdict::Answer { with, .. } => {
                counters.add(Counter::AnsweredPackets, 1);
                counters.add(
                    match with {
                        Answer::Reset => Counter::ResetsSent,
                        Answer::IcmpError => Counter::IcmpErrorsSent,
                    },
                    1,
                );
            }
            Verdict::Originate { .. } => counters.add(Counter::OriginatedPackets, 1),
            Verdict::Punt { .. } => counters.add(Counter::PuntedPackets, 1),
            Verdict::HandOver { .. } => counters.add(Counter::HandedOut, 1),
            Verdict::Drop(_) | Verdict::Consume => {}
        }
    }

    /// Counts as [`Pipeline::sent`] does, for packets that went together.
    pub fn sent_together(counters: &LcoreCounters<'_>, packets: &[(Verdict, u16)]) {
        let (mut forwarded, mut bytes) = (0, 0);
        for (verdict, length) in packets {
            if let Verdict::Forward { .. } = verdict {
                forwarded += 1;
                bytes += u64::from(*length);
            } else {
                Self::sent(counters, *verdict, usize::from(*length));
            }
        }
        counters.add(Counter::ForwardedPackets, forwarded);
        counters.add(Counter::ForwardedBytes, bytes);
    }

    /// Counts what came of a verdict: there was no room where the packet was to go, and it was freed.
    pub fn refused(counters: &LcoreCounters<'_>, verdict: Verdict) {
        match verdict {
            Verdict::Forward { .. } | Verdict::Answer { .. } => counters.drop(DropReason::TxFull, 1),
            Verdict::Punt { .. } => counters.drop(DropReason::PuntFull, 1),
            Verdict::HandOver { .. } => counters.drop(DropReason::HandoverFull, 1),
            Verdict::Originate { .. } => counters.add(Counter::OriginatedLost, 1),
            Verdict::Drop(_) | Verdict::Consume => {}
        }
    }
}

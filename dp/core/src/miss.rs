//! A packet without a flow: whose is it, and does it begin one? Here the plan is made that [`crate::rewrite`] applies.

use arrayvec::ArrayVec;
use leat_abi::counters::ListenerCounter;
use leat_abi::flow::flag;
use leat_abi::message::{Made, Step};
use leat_abi::snapshot::LocalKind;
use leat_abi::{Counter, DropReason};

use crate::frame::{Answer, BURST, Frame, Now, Verdict};
use crate::hash;
use crate::opening::Opening;
use crate::parse::{Ends, Meta, Piece, Tuple, tcp};
use crate::pipeline::{Arrival, Pipeline};
use crate::proxy;
use crate::reset;
use crate::table::{Found, Side};
use crate::trace::socket;

/// Ports of a node address for connections of the node itself: health checks.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 1024..=9999;
/// Targets tried when the tuple towards the chosen one is taken (S12.1), and places of the table looked at to find so many.
const TARGET_TRIES: usize = 4;
const PLACES_TRIED: u32 = 32;

impl Pipeline<'_> {
    /// Handles a TCP or UDP packet that belongs to no flow of this lcore.
    pub(crate) fn first_packet<F: Frame>(&mut self, frame: &mut F, meta: &Meta, arrival: Arrival, now: Now) -> Verdict {
        if self.forwarding.generation == 0 {
            return self.drop(DropReason::NoConfiguration);
        }
        let (tuple, ends) = (&meta.tuple, meta.ends(frame.bytes()));
        let listener = self.forwarding.listener_number(ends.destination, tuple.destination_port(), tuple.ip_protocol());
        let is_target = self.forwarding.is_target(ends.source, tuple.source_port());
        let local = self.forwarding.local(ends.destination);
        let opens = meta.opens();
        // A target may be a client, too, and a listener may stand on a port that full NAT uses. What a target's socket sends to a node is an
        // answer if it opens no connection and full NAT has given the port to a flow of that target.
        let is_node = local == Some(LocalKind::Node) || listener.is_some();
        let is_answer = || !(tuple.is_tcp() && opens) && self.flows.ports.owner(tuple).is_some();
        let from_target = is_target && (!is_node || is_answer());

        // Whatever is for a node may be of a flow that has outlived its listener.
        let may_have_owner = listener.is_some() || is_target || local == Some(LocalKind::Node);
        if may_have_owner && self.lcores > 1 && arrival == Arrival::Wire {
            let owner = self.owner(tuple, &ends, from_target);
            if owner != self.lcore {
                self.tracer.step(|| Step::Handover { lcore: owner as u8 });
                let ports = if meta.piece == Piece::Later { tuple.ports } else { 0 };
                return Verdict::HandOver { lcore: owner, port: frame.in_port(), ports };
            }
        }
        if meta.piece == Piece::Later {
            let is_ours = listener.is_some() || is_target;
            return self.drop(if is_ours { DropReason::NoFlow } else { DropReason::NoListener });
        }
        if let Some(number) = listener
            && !from_target
        {
            return self.listened(frame, meta, &ends, number, now);
        }
        match local {
            Some(LocalKind::Host) => return self.punt(frame.in_port(), now),
            Some(LocalKind::Node) if !opens && self.answers_check(tuple, &ends) => {
                return self.punt(frame.in_port(), now);
            }
            _ => {}
        }
        if !is_target {
            let withdrawn = self.forwarding.is_withdrawn(ends.source, tuple.source_port());
            return self.drop(if withdrawn { DropReason::Withdrawn } else { DropReason::NoListener });
        }
        // Targets open nothing through a node (S3.2).
        if tuple.is_tcp() && !opens { self.reset(frame, meta, None, now) } else { self.drop(DropReason::NoFlow) }
    }

    /// The lcore that the flow of a packet belongs to, if it has one: under full NAT the one that took the source port, else the
    /// one that the client's address and port say.
    pub(crate) fn owner(&self, tuple: &Tuple, ends: &Ends, from_target: bool) -> u16 {
        let (ip, port) = if from_target {
            if let Some(owner) = self.flows.ports.owner(tuple) {
                return owner;
            }
            (ends.destination, tuple.destination_port())
        } else {
            (ends.source, tuple.source_port())
        };
        hash::owner(self.owner_key, ip, port, self.lcores)
    }

    /// Whether a segment to a node's address may belong to a health check. Anybody else's is unintended traffic, to which Linux would
    /// not be silent.
    pub(crate) fn answers_check(&self, tuple: &Tuple, ends: &Ends) -> bool {
        tuple.is_tcp()
            && NODE_PORTS.contains(&u16::from_be(tuple.destination_port()))
            && self.forwarding.is_target_address(ends.source)
    }

    /// A packet to a listener from somebody else than a target.
    fn listened<F: Frame>(&mut self, frame: &mut F, meta: &Meta, ends: &Ends, number: u32, now: Now) -> Verdict {
        // An answer would go to ourselves.
        if self.forwarding.local(ends.source).is_some() {
            return self.drop(DropReason::IpSource);
        }
        if meta.opens() {
            return self.begin_at_length(frame, meta, ends, number, now);
        }
        let Some(slot) = self.forwarding.numbered_listener(number).map(|listener| listener.slot) else {
            return self.drop(DropReason::NoListener);
        };
        self.tracer.step(|| Step::Listener { slot });
        if meta.has(tcp::SYN) { self.drop(DropReason::TcpFlags) } else { self.reset(frame, meta, Some(slot), now) }
    }

    /// Handles a packet that was looked ahead for. One before it in the burst may have begun its flow.
    #[inline(never)]
    pub(crate) fn opening_packet<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        at: usize,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        self.tracer.packet(frame.in_port(), frame.bytes(), Some(meta));
        let verdict = if let Some(found) = self.flows.table.find_at(self.openings[at].probe, &meta.tuple) {
            self.flow_packet_again(frame, meta, found, arrival, now)
        } else {
            self.tracer.step(|| Step::Lookup { entry: None, from_client: false, state: 0 });
            let slot = self.openings[at].listener_slot;
            self.tracer.step(|| Step::Listener { slot });
            if meta.ttl <= 1 {
                self.drop(DropReason::TtlExpired)
            } else {
                self.trace_selection(self.openings[at].slot);
                self.begin(frame, meta, at, Ok(()), now)
            }
        };
        self.tracer.done();
        verdict
    }

    #[cold]
    #[inline(never)]
    fn flow_packet_again<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        self.flow_packet(frame, meta, Some(found), arrival, now)
    }

    /// Begins a flow at a listener for a packet that was not looked ahead for.
    #[cold]
    #[inline(never)]
    fn begin_at_length<F: Frame>(&mut self, frame: &mut F, meta: &Meta, ends: &Ends, number: u32, now: Now) -> Verdict {
        let Some(listener) = self.forwarding.numbered_listener(number) else {
            return self.drop(DropReason::NoListener);
        };
        let slot = listener.slot;
        self.tracer.step(|| Step::Listener { slot });
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        let opening = &mut self.openings[BURST];
        let probe = self.flows.table.place_of(&meta.tuple);
        let chosen = self.forwarding.group(listener.group).and_then(|group| {
            opening.set(&self.forwarding, (meta, ends), (number, listener, group), probe);
            group.choose(opening.choice, 0)
        });
        let planned = match chosen {
            Some(slot) => self.plan_to(frame, meta, BURST, slot, now),
            None => Err(DropReason::NoTarget),
        };
        self.begin(frame, meta, BURST, planned, now)
    }

    /// Plans the flow of the opening in this place to the target in a slot.
    #[cold]
    #[inline(never)]
    fn plan_to<F: Frame>(&mut self, frame: &F, meta: &Meta, at: usize, slot: u16, now: Now) -> Result<(), DropReason> {
        self.trace_selection(slot);
        let opening = &mut self.openings[at];
        let listener = self.forwarding.numbered_listener(opening.listener).ok_or(DropReason::NoTarget)?;
        let group = self.forwarding.group(listener.group).ok_or(DropReason::NoTarget)?;
        let service = (listener, group);
        let tuple = opening.plan_to(&self.forwarding, (frame, meta), service, slot, (self.digest_key, now))?;
        (opening.plan.answers, opening.pool) = (self.flows.table.place_of(&tuple), None);
        Ok(())
    }

    #[inline(always)]
    fn trace_selection(&mut self, slot: u16) {
        let Self { forwarding, tracer, .. } = self;
        if tracer.is_tracing()
            && let Some(target) = forwarding.target_in(slot)
        {
            tracer.step(|| Step::Select { slot, target: socket(target.address, target.port) });
        }
    }

    /// Begins the flow that was planned, if it could be, for the opening in this place.
    #[inline(always)]
    fn begin<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        at: usize,
        planned: Result<(), DropReason>,
        now: Now,
    ) -> Verdict {
        let made = planned.and_then(|()| self.make(at, now));
        let made = match made {
            Err(refusal) if self.may_go_elsewhere(refusal) => self.make_elsewhere(frame, meta, at, refusal, now),
            made => made,
        };
        match made {
            Ok(entry) => {
                let found = Found { entry, side: Side::Client };
                if self.openings[at].plan.entry.has(flag::PROXY) {
                    let meta = proxy::without_fast_open(frame, meta);
                    return self.forward(frame, &meta, found, now);
                }
                self.forward(frame, meta, found, now)
            }
            Err(reason) => self.refuse(frame, meta, at, reason, now),
        }
    }

    /// What becomes of a packet for which no flow was made.
    #[cold]
    #[inline(never)]
    fn refuse<F: Frame>(&mut self, frame: &mut F, meta: &Meta, at: usize, reason: DropReason, now: Now) -> Verdict {
        let (attempt, listener) = (self.openings[at].attempt, self.openings[at].listener_slot);
        let counter = match reason {
            DropReason::NoTarget => Some(ListenerCounter::NoTarget),
            // Once per attempt, however often the client sends its SYN again (S9.5).
            DropReason::NatPortsExhausted if !self.refusals.is_known(attempt, now) => Some(ListenerCounter::NoPort),
            DropReason::FlowTableFull => Some(ListenerCounter::NoRoom),
            DropReason::TupleConflict | DropReason::Hairpin => Some(ListenerCounter::Conflicts),
            _ => None,
        };
        if let Some(counter) = counter {
            self.counters.listener(listener, counter, 1);
        }
        if reason == DropReason::NoTarget && meta.tuple.is_tcp() {
            return self.reset(frame, meta, Some(listener), now);
        }
        self.drop(reason)
    }

    /// Makes the flow that is planned for the opening in this place. Returns its entry.
    #[inline(always)]
    fn make(&mut self, at: usize, now: Now) -> Result<u32, DropReason> {
        let Self { forwarding, flows, openings, tracer, digest_key, .. } = self;
        let Opening { probe, listener, attempt, pool, plan, .. } = &mut openings[at];
        let port = if plan.entry.has(flag::FULL_NAT) {
            Some(plan.translate(flows, (forwarding, *listener), (*attempt, *pool), (*digest_key, now))?)
        } else {
            None
        };
        let at = plan.make(flows, *probe, port, now)?;
        tracer.step(|| Step::Create { entry: at, nat: socket(plan.beyond()[1], port.unwrap_or(plan.entry.nat_port)) });
        Ok(at)
    }

    /// Whether another target is tried after this refusal.
    fn may_go_elsewhere(&self, refusal: DropReason) -> bool {
        refusal == DropReason::TupleConflict || refusal == DropReason::Hairpin && self.forwarding.hairpin_next_target
    }

    /// As [`Pipeline::make`], to another target, after the one that was planned was refused.
    #[cold]
    #[inline(never)]
    fn make_elsewhere<F: Frame>(
        &mut self,
        frame: &F,
        meta: &Meta,
        at: usize,
        mut refusal: DropReason,
        now: Now,
    ) -> Result<u32, DropReason> {
        let Opening { listener, slot: first, choice, .. } = self.openings[at];
        let mut tried: ArrayVec<u16, TARGET_TRIES> = ArrayVec::from_iter([first]);
        for attempt in 1..PLACES_TRIED {
            let listener = self.forwarding.numbered_listener(listener).ok_or(DropReason::NoTarget)?;
            let group = self.forwarding.group(listener.group).ok_or(DropReason::NoTarget)?;
            let slot = group.choose(choice, attempt).ok_or(DropReason::NoTarget)?;
            if tried.contains(&slot) {
                continue;
            }
            if tried.try_push(slot).is_err() {
                break;
            }
            match self.plan_to(frame, meta, at, slot, now).and_then(|()| self.make(at, now)) {
                Err(reason) if self.may_go_elsewhere(reason) => refusal = reason,
                result => return result,
            }
        }
        Err(refusal)
    }

    /// Answers a segment that belongs to no flow.
    pub(crate) fn reset<F: Frame>(&mut self, frame: &mut F, meta: &Meta, listener: Option<u16>, now: Now) -> Verdict {
        if meta.piece == Piece::Later {
            // It has no numbers; the first fragment of its datagram is answered.
            return self.drop(DropReason::NoFlow);
        }
        if meta.has(tcp::RST) {
            return self.drop(DropReason::ResetWithoutFlow);
        }
        if !self.resets.take(now) {
            return self.drop(DropReason::ResetRate);
        }
        if let Some(slot) = listener {
            self.counters.listener(slot, ListenerCounter::Resets, 1);
        }
        reset::answer(frame, meta);
        let port = frame.in_port();
        self.tracer.step(|| Step::Answer { port, made: Made::Reset });
        Verdict::Answer { port, with: Answer::Reset }
    }

    /// Gives a packet to Linux.
    pub(crate) fn punt(&mut self, port: u8, now: Now) -> Verdict {
        if !self.punts.take(now) {
            return self.drop(DropReason::PuntRate);
        }
        self.tracer.step(|| Step::Punt { port });
        Verdict::Punt { port }
    }

    /// Drops a packet and counts it.
    pub(crate) fn drop(&mut self, reason: DropReason) -> Verdict {
        self.counters.drop(reason, 1);
        self.tracer.step(|| Step::Drop { reason });
        Verdict::Drop(reason)
    }

    /// Counts a reset that was forwarded (S5.6: each one, whether it ended the flow or not).
    pub(crate) fn count_forwarded_reset(&self, side: Side, target_slot: u16) {
        match side {
            Side::Client => self.counters.add(Counter::ClientResets, 1),
            Side::Target => {
                self.counters.add(Counter::TargetResets, 1);
                self.counters.target(target_slot, leat_abi::counters::TargetCounter::Resets, 1);
            }
        }
    }
}

//! A packet without a flow: whose is it, and does it begin one? Here the plan is made that [`crate::rewrite`] applies.

use arrayvec::ArrayVec;
use leat_abi::counters::ListenerCounter;
use leat_abi::flow::{FlowAddresses, FlowEntry, FlowState, family, flag};
use leat_abi::message::{Made, Step};
use leat_abi::snapshot::LocalKind;
use leat_abi::{Counter, DropReason};

use crate::address::Address;
use crate::checksum;
use crate::flows::Flows;
use crate::forwarding::{Forwarding, Listener, Target};
use crate::frame::{Answer, Frame, Now, Verdict};
use crate::hash;
use crate::opening::Opening;
use crate::parse::{Ends, Meta, Piece, Tuple, tcp};
use crate::pipeline::{Arrival, Pipeline};
use crate::proxy;
use crate::reset;
use crate::rewrite;
use crate::source_ports::pair_of;
use crate::table::{Found, Probe, Side, tuple_of};
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
            let probe = self.flows.table.place_of(&meta.tuple);
            let mut opening = Opening::new(&self.forwarding, meta, ends, number, probe);
            opening.choose(&self.forwarding);
            return self.begin(frame, meta, ends, &opening, now);
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
        let opening = self.openings[at];
        if let Some(found) = self.flows.table.find_at(opening.probe, &meta.tuple) {
            return self.flow_packet_again(frame, meta, found, arrival, now);
        }
        self.tracer.step(|| Step::Lookup { entry: None, from_client: false, state: 0 });
        self.begin(frame, meta, &meta.ends(frame.bytes()), &opening, now)
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

    /// Begins a flow at a listener.
    fn begin<F: Frame>(&mut self, frame: &mut F, meta: &Meta, ends: &Ends, opening: &Opening, now: Now) -> Verdict {
        let Some(slot) = self.forwarding.numbered_listener(opening.listener).map(|listener| listener.slot) else {
            return self.drop(DropReason::NoListener);
        };
        self.tracer.step(|| Step::Listener { slot });
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        match self.plan(frame, meta, ends, opening, now) {
            Ok(at) => {
                let found = Found { entry: at, side: Side::Client };
                if self.flows.table.entry(at).has(flag::PROXY) {
                    let meta = proxy::without_fast_open(frame, meta);
                    return self.forward(frame, &meta, found, now);
                }
                self.forward(frame, meta, found, now)
            }
            Err(reason) => self.refuse(frame, meta, opening.attempt, (slot, reason), now),
        }
    }

    /// What becomes of a packet for which no flow was made.
    #[cold]
    #[inline(never)]
    fn refuse<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        attempt: u64,
        (listener, reason): (u16, DropReason),
        now: Now,
    ) -> Verdict {
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

    /// Makes the flow that a first packet begins. Returns its entry.
    #[inline(always)]
    fn plan<F: Frame>(
        &mut self,
        frame: &F,
        meta: &Meta,
        ends: &Ends,
        opening: &Opening,
        now: Now,
    ) -> Result<u32, DropReason> {
        let slot = opening.slot.ok_or(DropReason::NoTarget)?;
        match self.plan_to(frame, meta, ends, opening, (slot, opening.pool), now) {
            Err(refusal) if self.may_go_elsewhere(refusal) => {
                self.plan_elsewhere(frame, meta, ends, opening, (slot, refusal), now)
            }
            result => result,
        }
    }

    /// Whether another target is tried after this refusal.
    fn may_go_elsewhere(&self, refusal: DropReason) -> bool {
        refusal == DropReason::TupleConflict || refusal == DropReason::Hairpin && self.forwarding.hairpin_next_target
    }

    /// As [`Pipeline::plan`], after the target in this slot was refused.
    #[cold]
    #[inline(never)]
    fn plan_elsewhere<F: Frame>(
        &mut self,
        frame: &F,
        meta: &Meta,
        ends: &Ends,
        opening: &Opening,
        (first, mut refusal): (u16, DropReason),
        now: Now,
    ) -> Result<u32, DropReason> {
        let mut tried: ArrayVec<u16, TARGET_TRIES> = ArrayVec::from_iter([first]);
        for attempt in 1..PLACES_TRIED {
            let (_, group) = opening.group(&self.forwarding).ok_or(DropReason::NoTarget)?;
            let slot = group.choose(opening.choice, attempt).ok_or(DropReason::NoTarget)?;
            if tried.contains(&slot) {
                continue;
            }
            if tried.try_push(slot).is_err() {
                break;
            }
            match self.plan_to(frame, meta, ends, opening, (slot, None), now) {
                Err(reason) if self.may_go_elsewhere(reason) => refusal = reason,
                result => return result,
            }
        }
        Err(refusal)
    }

    /// Makes the flow to the target in a slot, with a source port from this pool if it is known.
    #[inline(always)]
    fn plan_to<F: Frame>(
        &mut self,
        frame: &F,
        meta: &Meta,
        ends: &Ends,
        opening: &Opening,
        (slot, pool): (u16, Option<u32>),
        now: Now,
    ) -> Result<u32, DropReason> {
        let Self { forwarding, flows, tracer, digest_key, .. } = self;
        let (listener, group) = opening.group(forwarding).ok_or(DropReason::NoTarget)?;
        let target = forwarding.target_in(slot).ok_or(DropReason::NoTarget)?;
        tracer.step(|| Step::Select { slot, target: socket(target.address, target.port) });
        if target.next_hop.is_none() {
            return Err(DropReason::NoNextHop);
        }
        let mut plan = Plan::new(frame, meta, ends, listener, (slot, target), now);
        if group.proxy_protocol && meta.tuple.is_tcp() {
            plan.flow.flags |= flag::PROXY;
            // What the SYN brings is not forwarded (S8.7).
            plan.flow.client_end = plan.flow.target_ack;
        }
        let answers = if group.preserves(target, ends.source) && forwarding.endpoint(frame.in_port()).is_none() {
            Some(plan.preserve(*digest_key, flows, now)?)
        } else {
            plan.translate(*digest_key, flows, forwarding, listener, (opening.attempt, pool), now)?;
            None
        };
        plan.flow.l4_delta = plan.l4_delta();
        let at = flows.create(&plan.flow, plan.second_line().as_ref(), (opening.probe, answers), now)?;
        tracer.step(|| Step::Create { entry: at, nat: socket(plan.nat, plan.flow.nat_port) });
        Ok(at)
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

/// A flow that is about to be made, with its addresses of either kind.
struct Plan {
    flow: FlowEntry,
    client: Address,
    vip: Address,
    target: Address,
    nat: Address,
}

impl Plan {
    /// A flow of this first packet to this target, its addresses towards the target still open.
    fn new<F: Frame>(
        frame: &F,
        meta: &Meta,
        ends: &Ends,
        listener: &Listener,
        (slot, target): (u16, &Target),
        now: Now,
    ) -> Self {
        let tuple = &meta.tuple;
        let is_tcp = tuple.is_tcp();
        let client_mac = frame.bytes().get(6..12).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
        let after_syn = meta.seq.wrapping_add(1);
        let kind_bit = |address: Address, bit: u8| if address.is_v4() { 0 } else { bit };
        let family = kind_bit(ends.source, family::CLIENT_V6) | kind_bit(target.address, family::TARGET_V6);
        let flow = FlowEntry {
            // As the client's key has them, whether they are addresses or their digest.
            client_ip: tuple.addresses as u32,
            vip: (tuple.addresses >> 32) as u32,
            target_ip: 0,
            nat_ip: 0,
            client_port: tuple.source_port(),
            vport: tuple.destination_port(),
            target_port: target.port,
            nat_port: 0,
            protocol: tuple.ip_protocol() | family,
            state: if is_tcp { FlowState::SynSent } else { FlowState::Established } as u8,
            flags: 0,
            window_scales: meta.window_scale,
            target_slot: slot,
            target_generation: target.generation,
            client_side_port: frame.in_port(),
            client_mac,
            listener_slot: listener.slot,
            touched_s: now.stamp(),
            l4_delta: 0,
            client_isn: if is_tcp { meta.seq } else { now.stamp().into() },
            client_end: after_syn.wrapping_add(meta.payload_len.into()),
            // Until the target has sent something: when this was.
            target_end: now.ms as u32,
            client_ack: 0,
            target_ack: after_syn,
        };
        Self { flow, client: ends.source, vip: ends.destination, target: target.address, nat: ends.source }
    }

    /// What the target's key has in place of its addresses.
    fn set_nat(&mut self, digest_key: u64, nat: Address, port: u16) {
        (self.nat, self.flow.nat_port) = (nat, port);
        let tuple =
            Tuple::between(digest_key, self.flow.ip_protocol(), (self.target, self.flow.target_port), (nat, port));
        (self.flow.target_ip, self.flow.nat_ip) = (tuple.addresses as u32, (tuple.addresses >> 32) as u32);
    }

    /// The target sees the client's own address and port. Returns where its answers' key leads, which is no flow's.
    fn preserve(&mut self, digest_key: u64, flows: &mut Flows<'_>, now: Now) -> Result<Probe, DropReason> {
        if self.target == self.client {
            return Err(DropReason::Hairpin);
        }
        self.set_nat(digest_key, self.client, self.flow.client_port);
        let tuple = tuple_of(&self.flow, Side::Target);
        if let Some(probe) = flows.table.absent(&tuple) {
            return Ok(probe);
        }
        if let Some(holder) = flows.table.find(&tuple) {
            flows.give_up_if_over(holder.entry, now);
        }
        flows.table.absent(&tuple).ok_or(DropReason::TupleConflict)
    }

    /// The target sees one of the node's addresses and a port that no other flow to the same target has. Who makes no flow of it
    /// gives it back. `attempt`: its hash, and the pool to which it leads first if that is known.
    #[inline(always)]
    fn translate(
        &mut self,
        digest_key: u64,
        flows: &mut Flows<'_>,
        forwarding: &Forwarding,
        listener: &Listener,
        (attempt, pool): (u64, Option<u32>),
        now: Now,
    ) -> Result<(), DropReason> {
        self.flow.flags |= flag::FULL_NAT;
        // The same hash chooses the address (S9.7).
        let source = listener.source(attempt, 0).ok_or(DropReason::NatPortsExhausted)?;
        self.set_nat(digest_key, source, 0);
        if !listener.shares_ports
            && let Some(pool) = pool
            && let Some(port) = flows.ports.claim(pool, (attempt >> 32) as u32, flows.lcore, |_| true)
        {
            self.flow.nat_port = port;
            return Ok(());
        }
        self.translate_at_length(digest_key, flows, forwarding, listener, attempt, now)
    }

    /// Where listeners stand on ports of full NAT, or the address that is tried first has no port left: the others are tried, too. Only when
    /// none has one, a port is taken from a flow that can do without.
    #[cold]
    #[inline(never)]
    fn translate_at_length(
        &mut self,
        digest_key: u64,
        flows: &mut Flows<'_>,
        forwarding: &Forwarding,
        listener: &Listener,
        attempt: u64,
        now: Now,
    ) -> Result<(), DropReason> {
        let (count, choice) = (listener.sources.len(), (attempt >> 32) as u32);
        let protocol = self.flow.ip_protocol();
        for n in 0..2 * count {
            let Some(source) = listener.source(attempt, n) else { break };
            self.set_nat(digest_key, source, 0);
            let usable = |port| !listener.shares_ports || forwarding.listener(source, port, protocol).is_none();
            let port = if n < count {
                let pool = flows.ports.pool_of(&pair_of(&self.flow));
                pool.and_then(|pool| flows.ports.claim(pool, choice, flows.lcore, usable))
            } else {
                flows.reclaim_port(&self.flow, choice, now, usable)
            };
            if let Some(port) = port {
                self.flow.nat_port = port;
                return Ok(());
            }
        }
        Err(DropReason::NatPortsExhausted)
    }

    /// The layer-4 checksum delta of packets from the client.
    fn l4_delta(&self) -> u16 {
        let f = &self.flow;
        let ports = |a: u16, b: u16| u32::from(a) | u32::from(b) << 16;
        let (old, new) = (ports(f.client_port, f.vport), ports(f.nat_port, f.target_port));
        if !f.is_wide() {
            return checksum::delta([f.client_ip, f.vip, old], [f.nat_ip, f.target_ip, new]);
        }
        rewrite::l4_delta([self.client, self.vip], old, [self.nat, self.target], new)
    }

    fn second_line(&self) -> Option<FlowAddresses> {
        self.flow.is_wide().then(|| FlowAddresses {
            client: self.client.octets(),
            vip: self.vip.octets(),
            target: self.target.octets(),
            nat: self.nat.octets(),
        })
    }
}

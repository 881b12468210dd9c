//! A packet without a flow: whose is it, and does it begin one? Here the plan is made that [`crate::rewrite`] applies.

use arrayvec::ArrayVec;
use leat_abi::counters::ListenerCounter;
use leat_abi::flow::{FlowEntry, FlowState, flag, protocol};
use leat_abi::message::{Socket, Step};
use leat_abi::snapshot::LocalKind;
use leat_abi::{Counter, DropReason};

use crate::flows::Flows;
use crate::forwarding::{Forwarding, Listener, Target};
use crate::frame::{Frame, Now, Verdict};
use crate::hash;
use crate::parse::{Meta, Tuple, tcp};
use crate::pipeline::{Arrival, Pipeline};
use crate::reset;
use crate::rewrite;
use crate::table::{Found, Side, tuple_of};

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
        let tuple = &meta.tuple;
        let (to, to_port) = (tuple.destination_ip(), tuple.destination_port());
        let listener = self.forwarding.listener(to, to_port, tuple.protocol).copied();
        let is_target = self.forwarding.is_target(tuple.source_ip(), tuple.source_port());
        let local = self.forwarding.local(to);
        let opens = tuple.protocol == protocol::UDP || (meta.has(tcp::SYN) && !meta.has(tcp::ACK));
        // A listener may stand on a port that full NAT uses: what comes from a target's socket and opens nothing is an answer.
        let from_target = is_target && !(listener.is_some() && opens);

        // Whatever is for a node may be of a flow that has outlived its listener.
        let may_have_owner = listener.is_some() || is_target || local == Some(LocalKind::Node);
        if may_have_owner && self.lcores > 1 && arrival == Arrival::Wire {
            let owner = self.owner(tuple, from_target);
            if owner != self.lcore {
                self.tracer.step(|| Step::Handover { lcore: owner as u8 });
                return Verdict::HandOver { lcore: owner };
            }
        }
        if let (Some(listener), false) = (listener, from_target) {
            self.tracer.step(|| Step::Listener { slot: listener.slot });
            return self.listened(frame, meta, &listener, opens, now);
        }
        match local {
            Some(LocalKind::Host) => return self.punt(frame.in_port(), now),
            Some(LocalKind::Node) if !opens && self.answers_check(tuple) => return self.punt(frame.in_port(), now),
            _ => {}
        }
        if !is_target {
            return self.drop(DropReason::NoListener);
        }
        if tuple.protocol == protocol::TCP { self.reset(frame, meta, None, now) } else { self.drop(DropReason::NoFlow) }
    }

    /// The lcore that the flow of a packet belongs to, if it has one: under full NAT the one that took the source port, else the
    /// one that the client's address and port say.
    fn owner(&self, tuple: &Tuple, from_target: bool) -> u16 {
        let (ip, port) = if from_target {
            if let Some(owner) = self.flows.ports.owner(tuple) {
                return owner;
            }
            (tuple.destination_ip(), tuple.destination_port())
        } else {
            (tuple.source_ip(), tuple.source_port())
        };
        hash::owner(self.owner_key, ip, port, self.lcores)
    }

    /// Whether a segment to a node's address may belong to a health check. Anybody else's is unintended traffic, to which Linux would
    /// not be silent.
    fn answers_check(&self, tuple: &Tuple) -> bool {
        tuple.protocol == protocol::TCP
            && NODE_PORTS.contains(&u16::from_be(tuple.destination_port()))
            && self.forwarding.is_target_address(tuple.source_ip())
    }

    fn listened<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        listener: &Listener,
        opens: bool,
        now: Now,
    ) -> Verdict {
        // An answer would go to ourselves.
        if self.forwarding.local(meta.tuple.source_ip()).is_some() {
            return self.drop(DropReason::IpSource);
        }
        if !opens {
            return if meta.has(tcp::SYN) {
                self.drop(DropReason::TcpFlags)
            } else {
                self.reset(frame, meta, Some(listener.slot), now)
            };
        }
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        match self.plan(frame, meta, listener, now) {
            Ok(at) => self.forward(frame, meta, Found { entry: at, side: Side::Client }),
            Err(DropReason::NoTarget) => {
                self.counters.listener(listener.slot, ListenerCounter::NoTarget, 1);
                if meta.tuple.protocol == protocol::TCP {
                    self.reset(frame, meta, Some(listener.slot), now)
                } else {
                    self.drop(DropReason::NoTarget)
                }
            }
            Err(reason) => {
                let counter = match reason {
                    // Once per attempt, however often the client sends its SYN again (S9.5).
                    DropReason::NatPortsExhausted if !self.is_refused_again(meta, now) => Some(ListenerCounter::NoPort),
                    DropReason::FlowTableFull => Some(ListenerCounter::NoRoom),
                    DropReason::TupleConflict | DropReason::Hairpin => Some(ListenerCounter::Conflicts),
                    _ => None,
                };
                if let Some(counter) = counter {
                    self.counters.listener(listener.slot, counter, 1);
                }
                self.drop(reason)
            }
        }
    }

    /// Makes the flow that a first packet begins. Returns its entry.
    fn plan<F: Frame>(&mut self, frame: &F, meta: &Meta, listener: &Listener, now: Now) -> Result<u32, DropReason> {
        let choice = self.choice(meta);
        let Self { forwarding, flows, tracer, .. } = self;
        let group = forwarding.group(listener.group).ok_or(DropReason::NoTarget)?;
        let mut tried: ArrayVec<u16, TARGET_TRIES> = ArrayVec::new();
        for attempt in 0..PLACES_TRIED {
            let slot = group.choose(choice, attempt).ok_or(DropReason::NoTarget)?;
            if tried.contains(&slot) {
                continue;
            }
            if tried.try_push(slot).is_err() {
                break;
            }
            let target = forwarding.target_in(slot).ok_or(DropReason::NoTarget)?;
            tracer.step(|| Step::Select { slot, target: Socket { ip: target.ip, port: target.port } });
            if target.next_hop.is_none() {
                return Err(DropReason::NoNextHop);
            }
            let mut flow = blank(frame, meta, listener, slot, target, now);
            let addressed = if group.preserve_client_ip {
                preserve(&mut flow, flows, now)
            } else {
                translate(&mut flow, flows, forwarding, listener, choice)
            };
            match addressed {
                Err(DropReason::TupleConflict) => continue,
                other => other?,
            }
            flow.l4_delta = rewrite::l4_delta(&flow);
            let at = flows.create(&flow, now).map_err(|_| DropReason::FlowTableFull)?;
            tracer.step(|| Step::Create { entry: at, nat: Socket { ip: flow.nat_ip, port: flow.nat_port } });
            return Ok(at);
        }
        Err(DropReason::TupleConflict)
    }

    /// The hash of a first packet that chooses its target and where the search for a source port begins.
    fn choice(&self, meta: &Meta) -> u64 {
        let isn = (meta.tuple.protocol == protocol::TCP).then_some(meta.seq);
        hash::selection(self.forwarding.selection_key, &meta.tuple, isn)
    }

    /// Whether this attempt to begin a flow was refused a moment ago already. Remembers it.
    #[cold]
    fn is_refused_again(&mut self, meta: &Meta, now: Now) -> bool {
        let attempt = self.choice(meta);
        self.refusals.is_known(attempt, now)
    }

    /// Answers a segment that belongs to no flow.
    pub(crate) fn reset<F: Frame>(&mut self, frame: &mut F, meta: &Meta, listener: Option<u16>, now: Now) -> Verdict {
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
        self.tracer.step(|| Step::Answer { port });
        Verdict::Answer { port }
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

/// The target sees the client's own address and port.
fn preserve(flow: &mut FlowEntry, flows: &mut Flows<'_>, now: Now) -> Result<(), DropReason> {
    (flow.nat_ip, flow.nat_port) = (flow.client_ip, flow.client_port);
    if flow.target_ip == flow.client_ip {
        return Err(DropReason::Hairpin);
    }
    let tuple = tuple_of(flow, Side::Target);
    if let Some(holder) = flows.table.find(&tuple) {
        flows.give_up_if_over(holder.entry, now);
        if flows.table.find(&tuple).is_some() {
            return Err(DropReason::TupleConflict);
        }
    }
    Ok(())
}

/// The target sees the node's address and a port that no other flow to the same target has. Who makes no flow of it gives it back.
fn translate(
    flow: &mut FlowEntry,
    flows: &Flows<'_>,
    forwarding: &Forwarding,
    listener: &Listener,
    choice: u64,
) -> Result<(), DropReason> {
    flow.flags |= flag::FULL_NAT;
    flow.nat_ip = listener.source;
    let usable = |port| !listener.shares_ports || forwarding.listener(listener.source, port, flow.protocol).is_none();
    let port = flows.ports.claim(flow, (choice >> 32) as u32, flows.lcore, usable);
    flow.nat_port = port.ok_or(DropReason::NatPortsExhausted)?;
    Ok(())
}

/// A flow of this first packet to this target, its addresses towards the target still open.
fn blank<F: Frame>(frame: &F, meta: &Meta, listener: &Listener, slot: u16, target: &Target, now: Now) -> FlowEntry {
    let tuple = &meta.tuple;
    let is_tcp = tuple.protocol == protocol::TCP;
    let client_mac = frame.bytes().get(6..12).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
    let after_syn = meta.seq.wrapping_add(1);
    FlowEntry {
        client_ip: tuple.source_ip(),
        vip: tuple.destination_ip(),
        target_ip: target.ip,
        nat_ip: 0,
        client_port: tuple.source_port(),
        vport: tuple.destination_port(),
        target_port: target.port,
        nat_port: 0,
        protocol: tuple.protocol,
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
        target_end: 0,
        client_ack: 0,
        target_ack: after_syn,
    }
}

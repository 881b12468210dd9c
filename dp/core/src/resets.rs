//! Resets that nobody has asked for: to the ends of a connection whose target may not have it any more (semantics §5.3, §5.4, §15.3).
//!
//! An end accepts a reset only with the very sequence number that it waits for (RFC 5961 §3.2). That is the highest one that it has
//! acknowledged, or, if what was sent to it since has arrived and its acknowledgement has not, the end of that: where the two differ, a
//! reset goes out with each. An end that still waits for the answer to its SYN wants it acknowledged instead. Whatever else an end
//! sends later, a challenge acknowledgement say, is answered with a reset that takes its number ([`FlowState::Terminated`]).
//!
//! Flows of targets whose time to drain is over, or whose load balancer was deleted, end at their next packet; those that are silent are
//! found by a sweep over the entries. It begins with a snapshot that has such targets with flows here, and costs nothing otherwise.

use arrayvec::ArrayVec;
use leat_abi::DropReason;
use leat_abi::counters::{Counter, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowEntry, FlowState, flag};
use leat_abi::message::{Made, Step};
use leat_abi::snapshot::TargetState;

use crate::address::Address;
use crate::frame::{Frame, Now, Verdict};
use crate::limit::Limit;
use crate::parse::{Meta, tcp};
use crate::pipeline::{Arrival, Pipeline};
use crate::proxy::shift_of;
use crate::reset::Reset;
use crate::table::{Found, Side};

/// Silent connections reset per second and lcore at the most (S15.3).
const RESETS_PER_S: u32 = 20_000;
/// So many can be made up for when turns were late, or the sweep has just begun: 100,000 are reset within 5 s.
const RESETS_SAVED: u32 = 2_000;
/// And so many in one turn: their packets have to find room in [`crate::originate`].
const RESETS_PER_TURN: usize = 100;
/// Entries looked at in one turn of housekeeping.
const ENTRIES_PER_TURN: usize = 256;

/// A walk over the entries in search of flows that must end.
#[derive(Debug)]
pub(crate) struct Sweep {
    next: usize,
    /// Entries not looked at since the last snapshot.
    left: usize,
    limit: Limit,
}

impl Sweep {
    pub(crate) fn new() -> Self {
        Self { next: 0, left: 0, limit: Limit::new(RESETS_PER_S, RESETS_SAVED) }
    }
}

/// How a flow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A connection whose ends are told.
    Reset,
    /// Without a word.
    Silent,
}

impl Pipeline<'_> {
    /// There is another snapshot: looks for flows that must end, if any must.
    pub(crate) fn begin_sweep(&mut self) {
        let Self { forwarding, counters, sweep, flows, .. } = self;
        let has_flows = |slot: &u16| {
            let is_withdrawn = forwarding.target_in(*slot).is_some_and(|t| t.state == TargetState::Withdrawn);
            // Of a deleted load balancer, closed flows go, too.
            let gauge = if is_withdrawn { TargetCounter::FlowRefs } else { TargetCounter::ActiveFlows };
            counters.get_target(*slot, gauge) > 0
        };
        if forwarding.ending().iter().any(has_flows) {
            sweep.left = flows.table.capacity();
        }
    }

    /// Goes on with a sweep under way. Returns whether there is more to do at once.
    pub(crate) fn sweep(&mut self, now: Now) -> bool {
        let mut resets = 0;
        for _ in 0..ENTRIES_PER_TURN.min(self.sweep.left) {
            let at = self.flows.table.number_of(self.sweep.next);
            match self.end_of(at) {
                Some(End::Reset) => {
                    if resets == RESETS_PER_TURN {
                        return true;
                    }
                    if !self.sweep.limit.take(now) {
                        return false;
                    }
                    resets += 1;
                    self.reset_end(at, Side::Client);
                    self.reset_end(at, Side::Target);
                    self.flows.terminate(at, now);
                }
                Some(End::Silent) => self.flows.end(at),
                None => {}
            }
            self.sweep.left -= 1;
            self.sweep.next = (self.sweep.next + 1) % self.flows.table.capacity();
        }
        self.sweep.left > 0
    }

    /// How an entry's flow must end now, if it must.
    fn end_of(&self, at: u32) -> Option<End> {
        let entry = self.flows.table.entry(at);
        let state = entry.state()?;
        match self.forwarding.target(entry.target_slot, entry.target_generation)?.state {
            TargetState::Withdrawn => Some(End::Silent),
            TargetState::Terminate if !state.is_active() => None,
            TargetState::Terminate if entry.is_tcp() => Some(End::Reset),
            TargetState::Terminate => Some(End::Silent),
            TargetState::Active | TargetState::Draining | TargetState::UnhealthyInPart | TargetState::Unhealthy => None,
        }
    }

    /// A packet of a flow that its target may not have any more, or whose target is gone. TCP is reset at both ends; UDP of a client
    /// chooses again (HC-20, S5.4, S7.4, S15.3); of a load balancer that was deleted, nothing is left (S15.7).
    #[cold]
    pub(crate) fn target_lost<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        let Found { entry: at, side } = found;
        if self.forwarding.generation == 0 {
            // A process that has just started knows of no target: that says nothing of this one.
            return self.drop(DropReason::NoConfiguration);
        }
        let entry = self.flows.table.entry(at);
        let target = self.forwarding.target(entry.target_slot, entry.target_generation);
        if target.is_some_and(|target| target.state == TargetState::Withdrawn) {
            self.flows.end(at);
            return self.drop(DropReason::Withdrawn);
        }
        if !meta.tuple.is_tcp() {
            self.flows.end(at);
            return match side {
                Side::Client => self.first_packet(frame, meta, arrival, now),
                Side::Target => self.drop(DropReason::NoFlow),
            };
        }
        if side == Side::Client && meta.opens() {
            self.flows.replace(at, now);
            return self.first_packet(frame, meta, arrival, now);
        }
        let (slot, is_active) = (entry.listener_slot, entry.state().is_some_and(FlowState::is_active));
        let verdict = self.reset(frame, meta, Some(slot), now);
        // What cannot be answered, because too many resets are due already or it is a later fragment, leaves the flow to the next packet or
        // to the sweep.
        if is_active && !matches!(verdict, Verdict::Drop(DropReason::ResetRate | DropReason::NoFlow)) {
            if self.resets.take(now) {
                self.reset_end(at, if side == Side::Client { Side::Target } else { Side::Client });
            }
            self.flows.terminate(at, now);
        }
        verdict
    }

    /// Resets one end of a connection.
    pub(crate) fn reset_end(&mut self, at: u32, to: Side) {
        let Self { forwarding, flows, originated, counters, tracer, .. } = self;
        let entry = flows.table.entry(at);
        let (port, mac) = match to {
            Side::Client => (entry.client_side_port, entry.client_mac),
            // A target that cannot be reached cannot be told.
            Side::Target => {
                let target = forwarding.target(entry.target_slot, entry.target_generation);
                let Some(hop) = target.and_then(|target| target.next_hop) else { return };
                (hop.port, hop.mac)
            }
        };
        let Some(info) = forwarding.port(port) else { return };
        let addresses = match (flows.table.addresses(at), to) {
            (Some(a), Side::Client) => [a.vip, a.client].map(Address::from_octets),
            (Some(a), Side::Target) => [a.nat, a.target].map(Address::from_octets),
            (None, Side::Client) => [entry.vip, entry.client_ip].map(Address::v4),
            (None, Side::Target) => [entry.nat_ip, entry.target_ip].map(Address::v4),
        };
        let ports = match to {
            Side::Client => [entry.vport, entry.client_port],
            Side::Target => [entry.nat_port, entry.target_port],
        };
        for (seq, ack, flags) in numbers(entry, to) {
            let reset = Reset { addresses, ports, seq, ack, flags };
            let Some(frame) = originated.frame(Verdict::Originate { port }, reset.length()) else {
                counters.add(Counter::OriginatedLost, 1);
                return;
            };
            reset.write(frame, mac, info.mac);
            tracer.step(|| Step::Originate { port, made: Made::Reset });
            counters.add(Counter::ResetsSent, 1);
            counters.listener(entry.listener_slot, ListenerCounter::Resets, 1);
        }
    }
}

/// Sequence number, acknowledgement number and flags of the resets of which one is right for an end, and no other harms.
fn numbers(entry: &FlowEntry, to: Side) -> ArrayVec<(u32, u32, u8), 2> {
    let state = entry.state();
    let (acknowledged, end, ack, flags) = match to {
        // It may not have the target's SYN yet.
        Side::Client if state == Some(FlowState::SynSent) => (0, 0, entry.target_ack, tcp::RST | tcp::ACK),
        Side::Client if state == Some(FlowState::SynReceived) => {
            (entry.client_ack, entry.target_end, entry.target_ack, tcp::RST | tcp::ACK)
        }
        Side::Client => (entry.client_ack, entry.target_end, 0, tcp::RST),
        // A PROXY header that it has not acknowledged may have arrived, as all that came after it.
        Side::Target => {
            let shift = shift_of(entry);
            let header = if entry.has(flag::PROXY_ACKED) { shift } else { 0 };
            (entry.target_ack.wrapping_add(header), entry.client_end.wrapping_add(shift), 0, tcp::RST)
        }
    };
    [acknowledged, end].into_iter().take(if acknowledged == end { 1 } else { 2 }).map(|seq| (seq, ack, flags)).collect()
}

//! The flow table together with what follows a flow through its life: its timer and the counters of its target and listener.

use std::sync::Arc;

use leat_abi::counters::{Counter, LcoreCounters, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowState, flag};
use leat_abi::{DropReason, FlowAddresses, FlowEntry, FlowMemory};

use crate::frame::Now;
use crate::source_ports::SourcePorts;
use crate::table::{FlowTable, Full};
use crate::timer::Wheel;
use crate::track;

/// The flows of one lcore.
#[derive(Debug)]
pub struct Flows<'m> {
    /// The table.
    pub table: FlowTable<'m>,
    /// The source ports of full NAT, of all lcores.
    pub ports: Arc<SourcePorts>,
    /// The lcore whose flows these are.
    pub lcore: u16,
    wheel: Wheel,
    counters: LcoreCounters<'m>,
}

const MINUS_ONE: u64 = u64::MAX;

impl<'m> Flows<'m> {
    /// No flows yet, in this memory.
    pub fn new(
        memory: FlowMemory<'m>,
        key: [u64; 2],
        counters: LcoreCounters<'m>,
        (ports, lcore): (Arc<SourcePorts>, u16),
        now: Now,
    ) -> Self {
        let wheel = Wheel::new(memory.entries.len(), now.seconds());
        Self { table: FlowTable::new(memory, key), ports, lcore, wheel, counters }
    }

    /// Takes over the flows that an earlier process left in the entries. Gauges are counted anew. Returns how many there are.
    pub fn adopt(&mut self, now: Now) -> usize {
        self.counters.clear_gauges();
        let Self { table, ports, lcore, wheel, counters } = self;
        let adopted = table.adopt(|at, entry| {
            // A flow whose time ended meanwhile expires as any other, at its next packet or when its timer comes up.
            let is_active = entry.state().is_some_and(FlowState::is_active);
            if !is_active && track::is_over(entry, now) {
                return false;
            }
            // Two flows with one source port cannot both be right.
            if entry.has(flag::FULL_NAT) && !ports.adopt(entry, *lcore) {
                return false;
            }
            schedule(wheel, at, entry, now);
            refer(counters, entry, 1);
            if is_active {
                activate(counters, entry, 1);
            }
            true
        });
        counters.add(Counter::FlowsAdopted, adopted as u64);
        adopted
    }

    /// Takes in a new flow, with its second line if it is to have one. One that cannot be taken in loses its source port.
    pub fn create(&mut self, flow: &FlowEntry, addresses: Option<&FlowAddresses>, now: Now) -> Result<u32, DropReason> {
        let at = match self.table.insert(flow, addresses) {
            Ok(at) => at,
            Err(Full) => {
                if flow.has(flag::FULL_NAT) {
                    self.ports.release(flow);
                }
                return Err(DropReason::FlowTableFull);
            }
        };
        schedule(&mut self.wheel, at, flow, now);
        self.counters.add(Counter::FlowsCreated, 1);
        self.counters.target(flow.target_slot, TargetCounter::NewFlows, 1);
        self.counters.listener(flow.listener_slot, ListenerCounter::NewFlows, 1);
        refer(&self.counters, flow, 1);
        activate(&self.counters, flow, 1);
        Ok(at)
    }

    /// A packet has changed the flow's state: its timer is set anew, and if it is not active any more, that is counted.
    pub fn changed(&mut self, at: u32, now: Now) {
        let entry = self.table.entry(at);
        schedule(&mut self.wheel, at, entry, now);
        if !entry.state().is_some_and(FlowState::is_active) {
            activate(&self.counters, entry, MINUS_ONE);
            self.counters.add(Counter::FlowsClosed, 1);
        }
    }

    /// Gives a flow up at once.
    pub fn remove(&mut self, at: u32) {
        let entry = self.table.entry(at);
        refer(&self.counters, entry, MINUS_ONE);
        if entry.state().is_some_and(FlowState::is_active) {
            activate(&self.counters, entry, MINUS_ONE);
            self.counters.add(Counter::FlowsClosed, 1);
        }
        if entry.has(flag::FULL_NAT) {
            self.ports.release(entry);
        }
        self.wheel.cancel(at);
        self.table.remove(at);
    }

    /// Gives a flow up whose client begins anew. Under full NAT its source port rests for what is left of its time, because the
    /// target may still know the old connection (S9.4); a half-open one has none to speak of.
    pub fn replace(&mut self, at: u32, now: Now) {
        let entry = self.table.entry_mut(at);
        let state = entry.state();
        if !entry.has(flag::FULL_NAT) || matches!(state, Some(FlowState::SynSent | FlowState::SynReceived)) {
            return self.remove(at);
        }
        if state.is_some_and(FlowState::is_active) {
            activate(&self.counters, entry, MINUS_ONE);
            self.counters.add(Counter::FlowsClosed, 1);
            entry.touched_s = now.stamp();
        } else if state == Some(FlowState::ResetLinger) {
            entry.touched_s = entry.touched_s.wrapping_sub(track::RESTING_S - track::RESET_LINGER_S);
        }
        entry.state = FlowState::Resting as u8;
        if self.table.forget_client(at).is_ok() {
            schedule(&mut self.wheel, at, self.table.entry(at), now);
        } else {
            self.remove(at);
        }
    }

    /// Gives up a flow that is over, though its entry may still be kept for a while.
    pub fn give_up_if_over(&mut self, at: u32, now: Now) {
        let entry = self.table.entry(at);
        if !entry.state().is_some_and(FlowState::is_active) {
            self.remove(at);
        } else if track::is_over(entry, now) {
            self.expire(at, now);
        }
    }

    /// Ends a flow whose time is over. Under full NAT its source port rests first.
    pub fn expire(&mut self, at: u32, now: Now) {
        let entry = self.table.entry_mut(at);
        if !entry.state().is_some_and(FlowState::is_active) {
            return self.remove(at);
        }
        self.counters.add(Counter::FlowsExpired, 1);
        activate(&self.counters, entry, MINUS_ONE);
        if entry.has(flag::FULL_NAT) {
            entry.state = FlowState::Resting as u8;
            entry.touched_s = now.stamp();
            schedule(&mut self.wheel, at, entry, now);
        } else {
            refer(&self.counters, entry, MINUS_ONE);
            self.wheel.cancel(at);
            self.table.remove(at);
        }
    }

    /// Looks after at most `budget` timers that have come up. Returns how many there were.
    pub fn tick(&mut self, now: Now, budget: usize) -> usize {
        for done in 0..budget {
            let Some(at) = self.wheel.pop(now.seconds()) else { return done };
            let entry = self.table.entry(at);
            if track::is_over(entry, now) {
                self.expire(at, now);
            } else {
                schedule(&mut self.wheel, at, entry, now);
            }
        }
        budget
    }
}

/// Sets the timer to the moment at which the entry's time is over, unless it sees packets until then.
fn schedule(wheel: &mut Wheel, at: u32, entry: &FlowEntry, now: Now) {
    let left = track::lifetime_s(entry).saturating_sub(track::age_s(entry, now));
    wheel.schedule(at, now.seconds() + u64::from(left));
}

fn refer(counters: &LcoreCounters<'_>, entry: &FlowEntry, n: u64) {
    counters.target(entry.target_slot, TargetCounter::FlowRefs, n);
    counters.listener(entry.listener_slot, ListenerCounter::FlowRefs, n);
}

fn activate(counters: &LcoreCounters<'_>, entry: &FlowEntry, n: u64) {
    counters.target(entry.target_slot, TargetCounter::ActiveFlows, n);
    counters.listener(entry.listener_slot, ListenerCounter::ActiveFlows, n);
}

//! The flow table together with what follows a flow through its life: its timer and the counters of its target and listener; and who makes
//! room for whom (semantics §13).
//!
//! There is one pool of entries. What SYNs without an answer may take of it is limited, and the oldest of them goes first. When no entry is
//! free, those go that are of no use any more or may be made again; an established connection, or UDP that was answered, never does: then
//! the new flow is refused.

use std::sync::Arc;

use leat_abi::counters::{Counter, LcoreCounters, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowState, flag};
use leat_abi::{DropReason, FlowEntry, FlowMemory};

use crate::frame::Now;
use crate::parse::Tuple;
use crate::prefetch;
use crate::source_ports::SourcePorts;
use crate::table::{FlowTable, Full, New, Side, tuple_of};
use crate::timer::{Class, Wheel};
use crate::track;

/// Half-open flows at the most, in percent of the entries, but not fewer than [`HALF_OPEN_MIN`]: beyond that the oldest goes (S13.1, S13.2).
pub const HALF_OPEN_PERCENT: usize = 15;
/// Half-open flows that there may always be.
pub const HALF_OPEN_MIN: usize = 64;
/// Seconds after which a half-open flow makes room for another one in a table that is full of flows that must stay.
const HALF_OPEN_PATIENCE_S: u16 = 2;
/// Timers that have come up and flows whose timer has moved that are looked at in search of room for one flow.
const ROOM_TRIES: usize = 16;
/// Timers that have come up whose entries are fetched together.
const FETCHED: usize = 16;
/// Source ports whose holders are looked at in search of one for one flow.
const PORT_TRIES: usize = 8;

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
    half_open_max: usize,
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
        let table = FlowTable::new(memory, key);
        let wheel = Wheel::new(table.capacity(), table.first_wide() as usize, now.seconds());
        let half_open_max = (table.capacity() * HALF_OPEN_PERCENT / 100).max(HALF_OPEN_MIN);
        Self { table, ports, lcore, wheel, half_open_max, counters }
    }

    /// Takes over the flows that an earlier process left in the entries. Gauges are counted anew. Returns how many there are.
    pub fn adopt(&mut self, now: Now) -> usize {
        self.counters.clear_gauges();
        let Self { table, ports, lcore, wheel, counters, .. } = self;
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

    /// Takes in a new flow. `finish` sets what its entry does not say yet. One that cannot be taken in loses its source port.
    #[inline(always)]
    pub(crate) fn create(
        &mut self,
        flow: &New<'_>,
        finish: impl Fn(&mut FlowEntry),
        now: Now,
    ) -> Result<u32, DropReason> {
        match self.take_in(flow, &finish, now) {
            Ok(at) => {
                let (class, lifetime_s) = if flow.state == FlowState::SynSent {
                    (Class::HalfOpen, track::HALF_OPEN_S + 1)
                } else {
                    let entry = self.table.entry(at);
                    (class_of(entry), track::lifetime_s(entry))
                };
                self.wheel.begin(at, class, now.seconds() + u64::from(lifetime_s));
                self.counters.began(flow.entry.target_slot, flow.entry.listener_slot);
                Ok(at)
            }
            Err(Full) => {
                if flow.entry.has(flag::FULL_NAT) {
                    let mut entry = *flow.entry;
                    finish(&mut entry);
                    self.ports.release(&entry);
                }
                Err(DropReason::FlowTableFull)
            }
        }
    }

    #[inline(always)]
    fn take_in(&mut self, flow: &New<'_>, finish: impl Fn(&mut FlowEntry), now: Now) -> Result<u32, Full> {
        if flow.entry.is_tcp()
            && self.wheel.half_open() >= self.half_open_max
            && let Some((oldest, _)) = self.wheel.oldest(Class::HalfOpen, false, track::HALF_OPEN_S + 2)
        {
            self.counters.add(Counter::HalfOpenEvicted, 1);
            self.rest(oldest, now);
        }
        if !self.table.has_room(flow.entry.is_wide()) && !self.make_room(flow.entry, now) {
            return Err(Full);
        }
        self.table.insert_new(flow, finish)
    }

    /// Gives an entry up for a new flow: one whose time is over, else the oldest closed one, else the oldest of UDP without an answer, else,
    /// for a connection, one that has been half-open for a while (S13.3). Returns false if all others are of flows that must stay.
    #[cold]
    fn make_room(&mut self, flow: &FlowEntry, now: Now) -> bool {
        let wide = flow.is_wide();
        for _ in 0..ROOM_TRIES {
            let Some(at) = self.wheel.pop(now.seconds()) else { break };
            self.look_after(at, now);
            if self.table.has_room(wide) {
                return true;
            }
        }
        // None waits longer than its time, and the timers may be a little behind.
        if let Some((at, _)) = self.wheel.oldest(Class::Closed, wide, track::TIME_WAIT_S + 2) {
            self.counters.add(Counter::TimeWaitEvicted, 1);
            self.remove(at);
            return true;
        }
        for _ in 0..ROOM_TRIES {
            let Some((at, due_s)) = self.wheel.oldest(Class::OneWay, wide, track::UDP_IDLE_S + 2) else { break };
            let entry = self.table.entry(at);
            if due(entry, now) > due_s {
                // It has seen packets since its timer was set.
                schedule(&mut self.wheel, at, entry, now);
                continue;
            }
            self.discard(at, Counter::OneWayUdpEvicted);
            return true;
        }
        let oldest = self.wheel.oldest(Class::HalfOpen, wide, track::HALF_OPEN_S + 2).filter(|_| flow.is_tcp());
        let Some((at, _)) = oldest else { return false };
        let is_old = track::age_s(self.table.entry(at), now) >= HALF_OPEN_PATIENCE_S;
        if is_old {
            self.discard(at, Counter::HalfOpenEvicted);
        }
        is_old
    }

    /// Takes a source port for a flow between a pair of which all are taken: that of the oldest of some flows that had no answer or whose end
    /// was a reset, so that the target has nothing left of them (S9.4, S13.2). Network order.
    #[cold]
    pub(crate) fn reclaim_port(
        &mut self,
        flow: &FlowEntry,
        choice: u32,
        now: Now,
        usable: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let holder = |port| {
            let found = self.table.find(&tuple_of(&FlowEntry { nat_port: port, ..*flow }, Side::Target))?;
            let entry = self.table.entry(found.entry);
            let age_ms = match entry.state()? {
                // Where there is no target's sequence number yet.
                FlowState::SynSent => (now.ms as u32).wrapping_sub(entry.target_end),
                FlowState::ResetLinger => u32::from(track::age_s(entry, now)) * 1000,
                _ => return None,
            };
            usable(port).then_some((age_ms, port, found.entry))
        };
        let owned = self.ports.owned(flow, choice, self.lcore).take(PORT_TRIES);
        let (_, port, at) = owned.filter_map(holder).max()?;
        if self.table.entry(at).state() == Some(FlowState::SynSent) {
            self.discard(at, Counter::HalfOpenEvicted);
        } else {
            self.discard(at, Counter::TimeWaitEvicted);
        }
        self.ports.claim_this(&FlowEntry { nat_port: port, ..*flow }, self.lcore).then_some(port)
    }

    /// Makes way for a flow whose target's packets will have this tuple, which another flow has: that one goes if it is over.
    #[cold]
    pub(crate) fn make_way(&mut self, tuple: &Tuple, now: Now) -> Result<(), DropReason> {
        if let Some(holder) = self.table.find(tuple) {
            self.give_up_if_over(holder.entry, now);
        }
        if self.table.find(tuple).is_some() { Err(DropReason::TupleConflict) } else { Ok(()) }
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
        if self.is_active(at) {
            self.counters.add(Counter::FlowsClosed, 1);
        }
        self.free(at);
    }

    /// Gives a flow up at once because its target may not have it any more.
    pub fn end(&mut self, at: u32) {
        if self.is_active(at) {
            self.counters.add(Counter::FlowsTerminated, 1);
        }
        self.free(at);
    }

    /// An active connection's target may not have it any more: from now on its packets are answered with resets.
    pub fn terminate(&mut self, at: u32, now: Now) {
        let entry = self.table.entry_mut(at);
        entry.state = FlowState::Terminated as u8;
        entry.touched_s = now.stamp();
        schedule(&mut self.wheel, at, entry, now);
        activate(&self.counters, entry, MINUS_ONE);
        self.counters.add(Counter::FlowsTerminated, 1);
    }

    /// Gives a flow up at once to make room.
    fn discard(&mut self, at: u32, counter: Counter) {
        self.counters.add(counter, 1);
        self.free(at);
    }

    fn is_active(&self, at: u32) -> bool {
        self.table.entry(at).state().is_some_and(FlowState::is_active)
    }

    /// Frees the entry of a flow and all that it has. Why is counted already.
    fn free(&mut self, at: u32) {
        let entry = self.table.entry(at);
        refer(&self.counters, entry, MINUS_ONE);
        if entry.state().is_some_and(FlowState::is_active) {
            activate(&self.counters, entry, MINUS_ONE);
        }
        if entry.has(flag::FULL_NAT) {
            self.ports.release(entry);
        }
        self.wheel.cancel(at);
        self.table.remove(at);
    }

    /// Gives a flow up whose client begins anew. Under full NAT its source port rests for what is left of its time, because the
    /// target may still know the old connection (S9.4); one that has not answered does not.
    pub fn replace(&mut self, at: u32, now: Now) {
        let entry = self.table.entry_mut(at);
        let state = entry.state();
        if !entry.has(flag::FULL_NAT) || state == Some(FlowState::SynSent) {
            return self.remove(at);
        }
        let is_active = state.is_some_and(FlowState::is_active);
        if is_active {
            activate(&self.counters, entry, MINUS_ONE);
            self.counters.add(Counter::FlowsClosed, 1);
            entry.touched_s = now.stamp();
        } else {
            // What was left of its time is what is left.
            let rested_s = track::RESTING_S + 1 - track::lifetime_s(entry);
            entry.touched_s = entry.touched_s.wrapping_sub(rested_s);
        }
        entry.state = FlowState::Resting as u8;
        if self.table.forget_client(at).is_ok() {
            schedule(&mut self.wheel, at, self.table.entry(at), now);
        } else {
            self.free(at);
        }
    }

    /// Gives up a flow that is over, though its entry may still be kept for a while.
    pub fn give_up_if_over(&mut self, at: u32, now: Now) {
        if !self.is_active(at) {
            self.remove(at);
        } else if track::is_over(self.table.entry(at), now) {
            self.expire(at, now);
        }
    }

    /// Ends a flow whose time is over.
    pub fn expire(&mut self, at: u32, now: Now) {
        if !self.is_active(at) {
            return self.remove(at);
        }
        self.counters.add(Counter::FlowsExpired, 1);
        self.rest(at, now);
    }

    /// Ends an active flow, and has counted why. Under full NAT its source port rests, unless the target has never answered (S9.4).
    fn rest(&mut self, at: u32, now: Now) {
        let entry = self.table.entry_mut(at);
        if !entry.has(flag::FULL_NAT) || entry.state() == Some(FlowState::SynSent) {
            return self.free(at);
        }
        entry.state = FlowState::Resting as u8;
        entry.touched_s = now.stamp();
        activate(&self.counters, entry, MINUS_ONE);
        schedule(&mut self.wheel, at, entry, now);
    }

    /// Looks after at most `budget` timers that have come up. Returns how many there were.
    #[inline(always)]
    pub fn tick(&mut self, now: Now, budget: usize) -> usize {
        if self.wheel.is_done(now.seconds()) {
            return 0;
        }
        self.tick_due(now, budget)
    }

    /// Whether there may be timers that came up a second ago or earlier.
    #[inline(always)]
    pub fn is_late(&self, now: Now) -> bool {
        !self.wheel.is_done(now.seconds().saturating_sub(1))
    }

    #[inline(never)]
    fn tick_due(&mut self, now: Now, budget: usize) -> usize {
        for done in 0..budget {
            if done % FETCHED == 0 {
                self.fetch_upcoming(now, budget - done);
            }
            let Some(at) = self.wheel.pop(now.seconds()) else { return done };
            self.look_after(at, now);
        }
        budget
    }

    /// Starts fetching what the next timers will need, a stage for all of them at a time, so that their cache misses overlap.
    fn fetch_upcoming(&self, now: Now, most: usize) {
        let upcoming = self.wheel.upcoming::<FETCHED>(now.seconds(), most);
        for at in &upcoming {
            prefetch::read(self.table.entry(*at));
        }
        for at in &upcoming {
            let entry = self.table.entry(*at);
            if track::is_over(entry, now) {
                self.table.probe(&tuple_of(entry, Side::Client));
                self.table.probe(&tuple_of(entry, Side::Target));
                if entry.has(flag::FULL_NAT) {
                    self.ports.fetch_taken(entry);
                }
            }
        }
    }

    /// The timer of a flow has come up.
    fn look_after(&mut self, at: u32, now: Now) {
        let entry = self.table.entry(at);
        if track::is_over(entry, now) {
            self.expire(at, now);
        } else {
            schedule(&mut self.wheel, at, entry, now);
        }
    }
}

/// What may become of an entry when room is short.
fn class_of(entry: &FlowEntry) -> Class {
    match entry.state() {
        Some(FlowState::SynSent | FlowState::SynReceived) => Class::HalfOpen,
        Some(FlowState::Established | FlowState::HalfClosed) if entry.is_tcp() || entry.has(flag::ANSWERED) => {
            Class::Lasting
        }
        Some(FlowState::Established | FlowState::HalfClosed) => Class::OneWay,
        _ => Class::Closed,
    }
}

/// The second at which the entry's time is over, unless it sees packets until then.
fn due(entry: &FlowEntry, now: Now) -> u64 {
    now.seconds() + u64::from(track::lifetime_s(entry).saturating_sub(track::age_s(entry, now)))
}

/// Sets the timer to that moment.
fn schedule(wheel: &mut Wheel, at: u32, entry: &FlowEntry, now: Now) {
    wheel.schedule(at, class_of(entry), due(entry, now));
}

fn refer(counters: &LcoreCounters<'_>, entry: &FlowEntry, n: u64) {
    counters.target(entry.target_slot, TargetCounter::FlowRefs, n);
    counters.listener(entry.listener_slot, ListenerCounter::FlowRefs, n);
}

fn activate(counters: &LcoreCounters<'_>, entry: &FlowEntry, n: u64) {
    counters.target(entry.target_slot, TargetCounter::ActiveFlows, n);
    counters.listener(entry.listener_slot, ListenerCounter::ActiveFlows, n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::FlowAddresses;
    use leat_abi::counters::{LCORE_WORDS, LISTENER_WORDS, TARGET_WORDS};
    use leat_abi::flow::{family, protocol};
    use std::sync::atomic::AtomicU64;

    const NOW: Now = Now { ms: 70_000_000 };
    const ADDRESSES: FlowAddresses = FlowAddresses { client: [1; 16], vip: [2; 16], target: [3; 16], nat: [4; 16] };

    fn words(count: usize) -> &'static [AtomicU64] {
        Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// Eight entries, the last four with a second line: their numbers are 4, 6, 8 and 10.
    fn flows() -> Flows<'static> {
        let memory = FlowMemory::new(Vec::leak(vec![FlowEntry::default(); 12]), 4);
        let counters = LcoreCounters::new(words(LCORE_WORDS), words(TARGET_WORDS), words(LISTENER_WORDS));
        let ports = Arc::new(SourcePorts::new(1, 1));
        Flows::new(memory, [1, 2], counters, (ports, 0), NOW)
    }

    fn flow(n: u16, protocol: u8, state: FlowState) -> FlowEntry {
        FlowEntry {
            client_port: n,
            nat_port: n,
            protocol,
            state: state as u8,
            touched_s: NOW.stamp(),
            client_isn: NOW.stamp().into(),
            ..FlowEntry::default()
        }
    }

    fn create(flows: &mut Flows<'_>, flow: &FlowEntry, now: Now) -> Result<u32, DropReason> {
        let probes = [Side::Client, Side::Target].map(|side| flows.table.place_of(&tuple_of(flow, side)));
        let (state, entry) = (flow.state().expect("in use"), &FlowEntry { state: 0, ..*flow });
        let new = New { entry, state, addresses: flow.is_wide().then_some(&ADDRESSES), probes };
        flows.create(&new, |_| {}, now)
    }

    const WIDE_UDP: u8 = protocol::UDP | family::CLIENT_V6;
    const WIDE_TCP: u8 = protocol::TCP | family::CLIENT_V6 | family::TARGET_V6;

    /// Who needs a second line gets an entry that has one, or is refused; who needs none gets any. req: S13.3
    #[test]
    fn an_entry_of_the_kind_needed() {
        let mut f = flows();
        let one_way = |f: &mut Flows<'_>, n, protocol| create(f, &flow(n, protocol, FlowState::Established), NOW);
        // Four without, three with a second line, of which none may go; the last one may.
        (0..4).for_each(|n| assert!(one_way(&mut f, n, protocol::UDP).expect("room") < 4));
        (4..7).for_each(|n| assert!(one_way(&mut f, n, WIDE_TCP).expect("room") >= 4));
        let last = one_way(&mut f, 7, WIDE_UDP).expect("room");
        assert_eq!(one_way(&mut f, 8, WIDE_TCP), Ok(last), "the only one of its kind that may go");
        assert_eq!(one_way(&mut f, 9, WIDE_TCP), Err(DropReason::FlowTableFull), "though others may");
        assert_eq!(one_way(&mut f, 9, WIDE_UDP), Err(DropReason::FlowTableFull));
        for n in 10..14 {
            assert!(one_way(&mut f, n, protocol::TCP).expect("room") < 4);
        }
        assert_eq!(one_way(&mut f, 14, protocol::TCP), Err(DropReason::FlowTableFull));
        // Closed ones of either kind make way for those that need no second line, the oldest first.
        for (at, state) in [(8, FlowState::TimeWait), (2, FlowState::ResetLinger)] {
            let entry = f.table.entry_mut(at);
            (entry.state, entry.touched_s) = (state as u8, NOW.stamp());
            f.changed(at, NOW);
        }
        assert_eq!(one_way(&mut f, 15, protocol::TCP), Ok(2), "what lingers after a reset ends first");
        assert_eq!(one_way(&mut f, 16, protocol::TCP), Ok(8));
        assert_eq!(f.counters.get(Counter::TimeWaitEvicted), 2);
        assert_eq!(f.counters.get(Counter::OneWayUdpEvicted), 1 + 4);
    }

    /// Many flows whose timers have moved are in the way: each new flow clears some of it, none without bound. req: S13.6
    #[test]
    fn the_search_for_room_is_bounded() {
        let counters = LcoreCounters::new(words(LCORE_WORDS), words(TARGET_WORDS), words(LISTENER_WORDS));
        let memory = FlowMemory::new(Vec::leak(vec![FlowEntry::default(); 64]), 0);
        let mut f = Flows::new(memory, [1, 2], counters, (Arc::new(SourcePorts::new(1, 1)), 0), NOW);
        for n in 0..64 {
            create(&mut f, &flow(n, protocol::UDP, FlowState::Established), NOW).expect("room");
        }
        let later = Now { ms: NOW.ms + 10_000 };
        (0..64).for_each(|at| f.table.entry_mut(at).touched_s = later.stamp());
        let new = FlowEntry { touched_s: later.stamp(), ..flow(100, protocol::TCP, FlowState::SynSent) };
        let refused = (0..10).take_while(|_| create(&mut f, &new, later).is_err()).count();
        assert_eq!(refused, 64 / ROOM_TRIES, "each time so many are put where they belong");
    }
}

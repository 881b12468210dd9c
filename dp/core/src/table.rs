//! The per-lcore flow table: entries in memory that outlives the process, and an index over both directions of every flow.
//!
//! The index is a two-choice bucket table. A bucket is one cache line: ten tags of 16 bits, then ten references. A key lies in
//! one of two buckets; which the other one is follows from the bucket and the tag alone, so that keys can be moved without
//! being read. A lookup touches one bucket, and a second one only if the first has sent keys there; an insertion into two full
//! buckets searches at most [`SEARCH_MAX`] buckets for a chain of moves and refuses if there is none.
//!
//! Invariants:
//! * Every entry in use has exactly two references in the index, one per side ([`Side`]); no key occurs twice.
//! * A tag of 0 is an empty place. References are entry number × 2 + side, never pointers. An entry's number is that of its line
//!   ([`FlowMemory`]), so that nothing has to be worked out to find it.
//! * `overflow` of a bucket counts the keys whose first choice it is and that lie in their second.
//! * Only entries are kept across processes; index and free list are made from them by [`FlowTable::adopt`].
//!
//! Everything is allocated in [`FlowTable::new`].

use leat_abi::flow::{FlowState, family, protocol};
use leat_abi::pages;
use leat_abi::{FlowAddresses, FlowEntry, FlowMemory};

use crate::hash::TupleHash;
use crate::parse::Tuple;
use crate::prefetch;
use crate::tags;

/// Places in a bucket.
const PLACES: usize = tags::TAGS;
/// Buckets that an insertion looks at in search of room.
pub const SEARCH_MAX: usize = 64;

/// From which side of a flow a packet comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the client: to the node address and listener port.
    Client = 0,
    /// From the target: to the address and port that it sees as the client's.
    Target = 1,
}

/// The tuple of the packets that come from a side.
#[inline(always)]
pub fn tuple_of(entry: &FlowEntry, side: Side) -> Tuple {
    // The family's bit of a side lies where a tuple has it, or one place lower.
    const _: () = assert!(family::CLIENT_V6 == 0x80 && family::TARGET_V6 == 0x40);
    let protocol = entry.protocol & family::PROTOCOL;
    match side {
        Side::Client => {
            let protocol = protocol | entry.protocol & family::CLIENT_V6;
            Tuple::new(protocol, (entry.client_ip, entry.client_port), (entry.vip, entry.vport))
        }
        Side::Target => {
            let protocol = protocol | (entry.protocol & family::TARGET_V6) << 1;
            Tuple::new(protocol, (entry.target_ip, entry.target_port), (entry.nat_ip, entry.nat_port))
        }
    }
}

#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    tags: [u16; PLACES],
    overflow: u16,
    _reserved: u16,
    references: [u32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The places with this tag, as a bit set.
    #[inline(always)]
    fn with_tag(&self, tag: u16) -> u32 {
        tags::equal(&self.tags, tag)
    }

    #[inline(always)]
    fn empty_place(&self) -> Option<usize> {
        let set = self.with_tag(0);
        (set != 0).then(|| set.trailing_zeros() as usize)
    }
}

/// Where a hash leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probe {
    bucket: u32,
    tag: u16,
}

/// A flow that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub entry: u32,
    /// The side that the packet comes from.
    pub side: Side,
}

impl Found {
    #[inline(always)]
    fn of(reference: u32) -> Self {
        Self { entry: reference >> 1, side: if reference & 1 == 0 { Side::Client } else { Side::Target } }
    }
}

/// What may be a packet's flow: a reference, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate(u32);

impl Candidate {
    /// Larger than any reference.
    const NONE: Self = Self(u32::MAX);

    /// The number of its entry; none has it if there is no candidate.
    #[inline(always)]
    const fn entry(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// The number of its side.
    #[inline(always)]
    const fn side(self) -> usize {
        (self.0 & 1) as usize
    }

    /// Which of these are none, a bit each.
    #[inline(always)]
    pub(crate) fn missing(candidates: &[Self]) -> u32 {
        // No reference has the highest bit.
        if candidates.iter().fold(0, |union, candidate| union | candidate.0) >> 31 == 0 {
            return 0;
        }
        candidates.iter().zip(0..).fold(0, |set, (candidate, at)| set | u32::from(*candidate == Self::NONE) << at)
    }

    /// The flow, if there is a candidate.
    #[inline(always)]
    pub fn found(self) -> Option<Found> {
        (self != Self::NONE).then(|| Found::of(self.0))
    }
}

impl Default for Candidate {
    fn default() -> Self {
        Self::NONE
    }
}

/// A flow that is to be taken in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    /// Its entry, without the state.
    pub(crate) entry: &'a FlowEntry,
    /// Its state.
    pub(crate) state: FlowState,
    /// Its second line, if it is to have one.
    pub(crate) addresses: Option<&'a FlowAddresses>,
    /// Where the client's key and the target's lead; neither is a flow's.
    pub(crate) probes: [Probe; 2],
}

/// There is no room for another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The flow table of one lcore.
#[derive(Debug)]
pub struct FlowTable<'m> {
    memory: FlowMemory<'m>,
    buckets: Box<[Bucket]>,
    mask: u32,
    hash: TupleHash,
    /// Entries without a second line not in use; the next one to use is the last.
    free: Vec<u32>,
    /// Those with a second line.
    free_wide: Vec<u32>,
}

impl<'m> FlowTable<'m> {
    /// An empty index over these entries, which it takes as all free until [`FlowTable::adopt`] says otherwise.
    pub fn new(memory: FlowMemory<'m>, key: [u64; 2]) -> Self {
        // Two keys a flow and eight keys a bucket: four fifths full at the most.
        let buckets = (memory.capacity() * 2).div_ceil(8).next_power_of_two();
        // The first to be used first.
        let free = (0..memory.first_wide()).rev().collect::<Vec<u32>>();
        let free_wide = memory.numbers().rev().take(memory.capacity() - free.len()).collect();
        Self {
            buckets: pages::vec(Bucket::default(), buckets).into(),
            mask: (buckets - 1) as u32,
            hash: TupleHash::new(key),
            free,
            free_wide,
            memory,
        }
    }

    /// The entries as they are; the index is gone.
    pub fn into_memory(self) -> FlowMemory<'m> {
        self.memory
    }

    /// Flow entries in all.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// The numbers of all entries, in order.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        self.memory.numbers()
    }

    /// The number of the entry that has `index` entries before it.
    pub fn number_of(&self, index: usize) -> u32 {
        self.memory.number_of(index)
    }

    /// Flow entries in use.
    pub fn used(&self) -> usize {
        self.capacity() - self.free.len() - self.free_wide.len()
    }

    /// Bytes per flow when the table is full: entry, index and free list.
    pub fn bytes_per_flow(&self) -> f64 {
        let bytes = self.memory.bytes() + size_of_val(&*self.buckets) + self.capacity() * size_of::<u32>();
        bytes as f64 / self.capacity() as f64
    }

    /// Makes the index from the entries. Entries for which `keep` says no, and those whose key another one has, are given up.
    /// Returns how many are in use.
    pub fn adopt(&mut self, mut keep: impl FnMut(u32, &FlowEntry) -> bool) -> usize {
        self.buckets.fill(Bucket::default());
        self.free.clear();
        self.free_wide.clear();
        for at in self.numbers().rev() {
            let entry = &self.memory[at];
            let plausible = entry.state().is_some()
                && [protocol::TCP, protocol::UDP].contains(&entry.ip_protocol())
                && (!entry.is_wide() || at >= self.first_wide());
            if !(plausible && self.index(at).is_ok()) {
                self.release(at);
            } else if !keep(at, &self.memory[at]) {
                self.unindex(at);
                self.release(at);
            }
        }
        self.used()
    }

    /// Where a tuple's lookup begins. Starts fetching it.
    #[inline(always)]
    pub fn probe(&self, tuple: &Tuple) -> Probe {
        self.probe_of(self.hash_of(tuple))
    }

    /// The hash of a tuple.
    #[inline(always)]
    pub(crate) fn hash_of(&self, tuple: &Tuple) -> u64 {
        self.hash.of(tuple)
    }

    /// As [`FlowTable::probe`], by the tuple's hash.
    #[inline(always)]
    pub(crate) fn probe_of(&self, hash: u64) -> Probe {
        let probe = self.place_at(hash);
        prefetch::read(self.buckets.as_ptr().wrapping_add(probe.bucket as usize));
        probe
    }

    #[inline(always)]
    pub(crate) fn place_of(&self, tuple: &Tuple) -> Probe {
        self.place_at(self.hash_of(tuple))
    }

    #[inline(always)]
    fn place_at(&self, hash: u64) -> Probe {
        // Never 0.
        Probe { bucket: hash as u32 & self.mask, tag: (hash >> 48) as u16 | 1 }
    }

    /// The other bucket of a tag. Applied twice, it leads back.
    #[inline(always)]
    fn other(&self, bucket: u32, tag: u16) -> u32 {
        (bucket ^ u32::from(tag).wrapping_mul(0x5bd1_e995) ^ u32::from(tag) << 7) & self.mask
    }

    /// The likely entry of a probe: the first with its tag in the first bucket. Starts fetching it. It may be another flow's.
    #[inline(always)]
    pub fn candidate(&self, probe: Probe) -> Candidate {
        let bucket = &self.buckets[(probe.bucket & self.mask) as usize];
        let set = bucket.with_tag(probe.tag);
        if set == 0 {
            if bucket.overflow > 0 {
                prefetch::read(&self.buckets[self.other(probe.bucket, probe.tag) as usize]);
            }
            return Candidate::NONE;
        }
        let candidate = Candidate(bucket.references[set.trailing_zeros() as usize]);
        self.memory.fetch(candidate.entry(), prefetch::read);
        candidate
    }

    /// Whether a candidate is the tuple's flow.
    #[inline(always)]
    pub fn is(&self, found: Found, tuple: &Tuple) -> bool {
        let entry = &self.memory[found.entry];
        entry.state != 0 && tuple_of(entry, found.side) == *tuple
    }

    /// The flow of a tuple.
    pub fn find(&self, tuple: &Tuple) -> Option<Found> {
        self.find_at(self.place_of(tuple), tuple)
    }

    /// Whether some keys whose first bucket is a probe's lie in their second one.
    #[inline(always)]
    pub(crate) fn overflows(&self, probe: Probe) -> bool {
        self.buckets[(probe.bucket & self.mask) as usize].overflow > 0
    }

    /// The flow of the tuple that a probe is of.
    #[inline(always)]
    pub(crate) fn find_at(&self, probe: Probe, tuple: &Tuple) -> Option<Found> {
        let bucket = &self.buckets[(probe.bucket & self.mask) as usize];
        let set = bucket.with_tag(probe.tag);
        if set == 0 && bucket.overflow == 0 { None } else { self.search(probe, set, tuple) }
    }

    /// Where a tuple leads that is no flow's.
    #[inline(always)]
    pub(crate) fn absent(&self, tuple: &Tuple) -> Option<Probe> {
        let probe = self.place_of(tuple);
        if self.find_at(probe, tuple).is_none() { Some(probe) } else { None }
    }

    /// Looks among these places of a probe's first bucket, then in its second one.
    #[inline(never)]
    fn search(&self, probe: Probe, set: u32, tuple: &Tuple) -> Option<Found> {
        let among = |bucket: &Bucket, mut set: u32| {
            while set != 0 {
                let found = Found::of(bucket.references[set.trailing_zeros() as usize]);
                if self.is(found, tuple) {
                    return Some(found);
                }
                set &= set - 1;
            }
            None
        };
        let first = &self.buckets[(probe.bucket & self.mask) as usize];
        among(first, set).or_else(|| {
            let second = &self.buckets[self.other(probe.bucket, probe.tag) as usize];
            if first.overflow > 0 { among(second, second.with_tag(probe.tag)) } else { None }
        })
    }

    /// A flow's entry.
    #[inline(always)]
    pub fn entry(&self, at: u32) -> &FlowEntry {
        &self.memory[at]
    }

    /// A flow's entry, to be changed. Addresses, ports, protocol and `state == 0` are the table's own: leave them.
    #[inline(always)]
    pub fn entry_mut(&mut self, at: u32) -> &mut FlowEntry {
        &mut self.memory[at]
    }

    /// The entry of a candidate, to be changed as [`FlowTable::entry_mut`] says, and the number of its side.
    #[inline(always)]
    pub(crate) fn candidate_mut(&mut self, candidate: Candidate) -> Option<(&mut FlowEntry, usize)> {
        // No entry has the number that no candidate has.
        Some((self.memory.get_mut(candidate.entry())?, candidate.side()))
    }

    /// As [`FlowTable::candidate_mut`], with the line behind the entry. Whether that is the entry's own, [the entry says](FlowEntry::is_wide).
    #[inline(always)]
    pub(crate) fn wide_candidate_mut(
        &mut self,
        candidate: Candidate,
    ) -> Option<(&mut FlowEntry, &FlowAddresses, usize)> {
        let (entry, addresses) = self.memory.pair_mut(candidate.entry())?;
        Some((entry, addresses, candidate.side()))
    }

    /// Whether an entry is free for a flow that needs a second line, or does not.
    pub fn has_room(&self, wide: bool) -> bool {
        !self.free_wide.is_empty() || !wide && !self.free.is_empty()
    }

    /// Starts fetching the entries that the next flows will have: so many without a second line and so many with one.
    #[inline]
    pub(crate) fn fetch_free(&self, narrow: u32, wide: u32) {
        let fetch = |list: &[u32], count: u32| {
            for at in list.iter().rev().take(count as usize) {
                self.memory.fetch(*at as usize, prefetch::read);
            }
        };
        fetch(&self.free, narrow);
        fetch(&self.free_wide, wide);
    }

    /// The first entry that has a second line.
    pub fn first_wide(&self) -> u32 {
        self.memory.first_wide()
    }

    /// The second line of a flow that has one.
    #[inline(always)]
    pub fn addresses(&self, at: u32) -> Option<&FlowAddresses> {
        if self.memory[at].is_wide() { self.memory.second_line(at) } else { None }
    }

    /// Puts an entry that is not in the index back among the free ones.
    fn release(&mut self, at: u32) {
        self.memory[at].state = 0;
        if at >= self.first_wide() { self.free_wide.push(at) } else { self.free.push(at) }
    }

    /// Takes a new flow in, with its second line if it is to have one. The client's key must not be in the table.
    ///
    /// # Errors
    /// No entry is free, no place for a key was found, or another flow has the target's key. Nothing has changed then.
    pub fn insert(&mut self, flow: &FlowEntry, addresses: Option<&FlowAddresses>) -> Result<u32, Full> {
        let target = self.absent(&tuple_of(flow, Side::Target)).ok_or(Full)?;
        let probes = [self.place_of(&tuple_of(flow, Side::Client)), target];
        let (state, entry) = (flow.state().ok_or(Full)?, &FlowEntry { state: 0, ..*flow });
        self.insert_new(&New { entry, state, addresses, probes }, |_| {})
    }

    /// As [`FlowTable::insert`]. `finish` sets what the entry does not say yet.
    #[inline(always)]
    pub(crate) fn insert_new(&mut self, flow: &New<'_>, finish: impl Fn(&mut FlowEntry)) -> Result<u32, Full> {
        let New { entry: flow, state, addresses, probes: [client, target] } = *flow;
        if cfg!(debug_assertions) {
            let mut flow = *flow;
            finish(&mut flow);
            for (side, probe) in [(Side::Client, client), (Side::Target, target)] {
                assert_eq!(self.place_of(&tuple_of(&flow, side)), probe, "the probe is the key's");
                assert!(self.find(&tuple_of(&flow, side)).is_none(), "the key is new");
            }
            assert_eq!(flow.is_wide(), addresses.is_some(), "a second line where there is IPv6, and only there");
            assert_eq!(flow.state, 0, "the state comes by itself");
        }
        // Who needs no second line takes an entry that has one only when no other is left.
        let list = if self.free.is_empty() || flow.is_wide() { &mut self.free_wide } else { &mut self.free };
        let at = list.pop().ok_or(Full)?;
        if let (Some(addresses), Some(second)) = (addresses, self.memory.second_line_mut(at)) {
            *second = *addresses;
        }
        // The state goes last: a process killed in between leaves a free entry.
        let entry = &mut self.memory[at];
        *entry = *flow;
        finish(entry);
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::Release);
        entry.state = state as u8;
        if let Err(full) = self.place_both(at, client, target) {
            self.release(at);
            return Err(full);
        }
        Ok(at)
    }

    /// Gives a flow up.
    pub fn remove(&mut self, at: u32) {
        self.unindex(at);
        self.release(at);
    }

    /// Frees the client's key of a flow for another one, and keeps the target's taken. The entry's client becomes one that no
    /// packet has.
    ///
    /// # Errors
    /// No place for a key was found. Nothing has changed then.
    pub fn forget_client(&mut self, at: u32) -> Result<(), Full> {
        // 0.0.0.0 is nobody's source; the entry's own number makes the key unique.
        let known = self.memory[at];
        let protocol = known.protocol & !family::CLIENT_V6;
        let nobody = FlowEntry { client_ip: 0, client_port: 0, vip: at, vport: 0, protocol, ..known };
        let reference = at << 1 | Side::Client as u32;
        self.unplace(at, Side::Client);
        let placed = self.place(self.place_of(&tuple_of(&nobody, Side::Client)), reference);
        if placed.is_ok() {
            self.memory[at] = nobody;
        } else {
            let back = self.place(self.place_of(&tuple_of(&known, Side::Client)), reference);
            debug_assert!(back.is_ok(), "the place that was given up is free");
        }
        placed
    }

    /// Gives an entry its keys, if no other one has them.
    fn index(&mut self, at: u32) -> Result<(), Full> {
        let [client, target] = [Side::Client, Side::Target].map(|side| tuple_of(&self.memory[at], side));
        let probes = [self.place_of(&client), self.place_of(&target)];
        if self.find_at(probes[0], &client).is_some() || self.find_at(probes[1], &target).is_some() {
            return Err(Full);
        }
        self.place_both(at, probes[0], probes[1])
    }

    /// Puts the keys of an entry in their places; neither is in the table.
    #[inline(always)]
    fn place_both(&mut self, at: u32, client: Probe, target: Probe) -> Result<(), Full> {
        self.place(client, at << 1 | Side::Client as u32)?;
        let placed = self.place(target, at << 1 | Side::Target as u32);
        if placed.is_err() {
            self.unplace(at, Side::Client);
        }
        placed
    }

    fn unindex(&mut self, at: u32) {
        self.unplace(at, Side::Client);
        self.unplace(at, Side::Target);
    }

    fn unplace(&mut self, at: u32, side: Side) {
        let probe = self.place_of(&tuple_of(&self.memory[at], side));
        let reference = at << 1 | side as u32;
        let first = probe.bucket;
        for bucket in [first, self.other(first, probe.tag)] {
            let b = &mut self.buckets[bucket as usize];
            for place in 0..PLACES {
                if b.tags[place] == probe.tag && b.references[place] == reference {
                    b.tags[place] = 0;
                    if bucket != first {
                        self.buckets[first as usize].overflow -= 1;
                    }
                    return;
                }
            }
        }
        debug_assert!(false, "entry {at} has no reference for {side:?}");
    }

    #[inline(always)]
    fn place(&mut self, probe: Probe, reference: u32) -> Result<(), Full> {
        let bucket = probe.bucket & self.mask;
        match self.buckets[bucket as usize].empty_place() {
            Some(place) => {
                self.put(bucket, place, probe.tag, reference);
                Ok(())
            }
            None => self.place_elsewhere(probe, reference),
        }
    }

    /// Puts a key whose first bucket is full in its second one, or makes room.
    #[inline(never)]
    fn place_elsewhere(&mut self, probe: Probe, reference: u32) -> Result<(), Full> {
        let first = probe.bucket;
        let second = self.other(first, probe.tag);
        let (bucket, place) = if let Some(place) = self.buckets[second as usize].empty_place() {
            (second, place)
        } else {
            self.make_room(first, second).ok_or(Full)?
        };
        self.put(bucket, place, probe.tag, reference);
        if bucket != first {
            self.buckets[first as usize].overflow += 1;
        }
        Ok(())
    }

    fn put(&mut self, bucket: u32, place: usize, tag: u16, reference: u32) {
        let b = &mut self.buckets[bucket as usize];
        b.tags[place] = tag;
        b.references[place] = reference;
    }

    /// Breadth-first search for a chain of moves that frees a place in one of two buckets; makes the moves.
    fn make_room(&mut self, first: u32, second: u32) -> Option<(u32, usize)> {
        #[derive(Clone, Copy, Default)]
        struct Step {
            bucket: u32,
            /// The step whose key would move here, and its place there.
            parent: u8,
            place: u8,
        }
        let mut steps = [Step::default(); SEARCH_MAX];
        steps[0].bucket = first;
        steps[1].bucket = second;
        let (mut at, mut end) = (0, if first == second { 1 } else { 2 });
        let roots = end;
        while at < end {
            let bucket = steps[at].bucket;
            if let Some(mut empty) = self.buckets[bucket as usize].empty_place() {
                // Move the keys along the chain, from its end to the root.
                let mut here = at;
                while here >= roots {
                    let Step { bucket: to, parent, place } = steps[here];
                    let from = steps[usize::from(parent)].bucket;
                    self.shift(from, usize::from(place), to, empty);
                    (here, empty) = (usize::from(parent), usize::from(place));
                }
                return Some((steps[here].bucket, empty));
            }
            for place in 0..PLACES {
                let to = self.other(bucket, self.buckets[bucket as usize].tags[place]);
                // A bucket is visited once: a key moved twice in one chain would be moved from where it no longer is.
                if end < SEARCH_MAX && !steps[..end].iter().any(|step| step.bucket == to) {
                    steps[end] = Step { bucket: to, parent: at as u8, place: place as u8 };
                    end += 1;
                }
            }
            at += 1;
        }
        None
    }

    /// Moves a key to its other bucket.
    fn shift(&mut self, from: u32, place: usize, to: u32, to_place: usize) {
        let (tag, reference) = {
            let bucket = &self.buckets[from as usize];
            (bucket.tags[place], bucket.references[place])
        };
        self.put(to, to_place, tag, reference);
        self.buckets[from as usize].tags[place] = 0;
        let found = Found::of(reference);
        let first = self.place_of(&tuple_of(&self.memory[found.entry], found.side)).bucket;
        if first == from {
            self.buckets[from as usize].overflow += 1;
        } else {
            self.buckets[first as usize].overflow -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn flow(client: u32, target: u32) -> FlowEntry {
        FlowEntry {
            client_ip: client,
            vip: 1,
            target_ip: target,
            nat_ip: client,
            client_port: (client % 50) as u16,
            vport: 80,
            target_port: 8080,
            nat_port: (client % 50) as u16,
            protocol: protocol::TCP,
            state: FlowState::Established as u8,
            ..FlowEntry::default()
        }
    }

    fn check(table: &FlowTable<'_>, oracle: &HashMap<u32, (u32, FlowEntry)>) {
        assert_eq!(table.used(), oracle.len());
        for (at, entry) in oracle.values() {
            for side in [Side::Client, Side::Target] {
                let tuple = tuple_of(entry, side);
                assert_eq!(table.find(&tuple), Some(Found { entry: *at, side }));
                let candidate = table.candidate(table.probe(&tuple)).found();
                assert!(candidate.is_none_or(|c| !table.is(c, &tuple) || c == Found { entry: *at, side }));
            }
        }
        let overflow: usize = table.buckets.iter().map(|b| usize::from(b.overflow)).sum();
        let moved = oracle.values().flat_map(|(at, e)| [(at, e, Side::Client), (at, e, Side::Target)]).filter(
            |(at, e, side)| {
                let probe = table.place_of(&tuple_of(e, *side));
                let bucket = &table.buckets[probe.bucket as usize];
                !(0..PLACES).any(|i| bucket.tags[i] == probe.tag && bucket.references[i] == *at << 1 | *side as u32)
            },
        );
        assert_eq!(overflow, moved.count(), "overflow counts are exact");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// The table does what a HashMap does, up to and beyond its capacity, and after being adopted. req: I2, I10
        #[test]
        fn table_equals_hash_map(key: [u64; 2], steps in prop::collection::vec((0..120u32, 0..5u8), 1..600)) {
            let mut entries = vec![FlowEntry::default(); 64];
            let mut table = FlowTable::new(FlowMemory::new(&mut entries, 0), key);
            let mut oracle: HashMap<u32, (u32, FlowEntry)> = HashMap::new();
            for (n, (client, step)) in (0..).zip(steps) {
                if let Some((at, entry)) = oracle.get(&client).copied() {
                    if step < 2 {
                        table.remove(at);
                        oracle.remove(&client);
                    } else if step == 2 && table.forget_client(at).is_ok() {
                        prop_assert_eq!(table.find(&tuple_of(&entry, Side::Client)), None);
                        oracle.remove(&client);
                        oracle.insert(1000 + n, (at, *table.entry(at)));
                    }
                } else {
                    let entry = flow(client, 7 + n);
                    prop_assert_eq!(table.find(&tuple_of(&entry, Side::Client)), None);
                    match table.insert(&entry, None) {
                        Ok(at) => { oracle.insert(client, (at, entry)); }
                        Err(Full) => prop_assert!(oracle.len() >= 60, "refused with {} of 64", oracle.len()),
                    }
                }
            }
            check(&table, &oracle);
            drop(table);
            let mut adopted = FlowTable::new(FlowMemory::new(&mut entries, 0), [key[1], key[0]]);
            prop_assert_eq!(adopted.adopt(|_, _| true), oracle.len());
            check(&adopted, &oracle);
        }
    }

    #[test]
    fn a_table_filled_to_the_brim_holds_every_flow() {
        let mut entries = vec![FlowEntry::default(); 1 << 16];
        let mut table = FlowTable::new(FlowMemory::new(&mut entries, 0), [3, 4]);
        let mut oracle = HashMap::new();
        for client in 0..1 << 16 {
            let entry = flow(client, 9);
            match table.insert(&entry, None) {
                Ok(at) => drop(oracle.insert(client, (at, entry))),
                Err(Full) => panic!("refused at {} of 65536", table.used()),
            }
        }
        check(&table, &oracle);
        assert_eq!(table.insert(&flow(1 << 20, 9), None), Err(Full));
        assert!(table.bytes_per_flow() <= 96.0, "{}", table.bytes_per_flow());
    }

    #[test]
    fn adoption_gives_up_what_makes_no_sense() {
        let mut entries = vec![FlowEntry::default(); 64];
        entries[3] = flow(1, 7);
        entries[4] = FlowEntry { client_port: 9, ..flow(1, 7) }; // the same key on the target's side
        entries[5] = FlowEntry { state: 99, ..flow(2, 7) };
        entries[6] = FlowEntry { protocol: 1, ..flow(3, 7) };
        entries[7] = flow(4, 7);
        let mut table = FlowTable::new(FlowMemory::new(&mut entries, 0), [3, 4]);
        assert_eq!(table.adopt(|_, entry| entry.client_ip != 4), 1);
        assert_eq!(table.find(&tuple_of(&flow(4, 7), Side::Client)), None);
        assert_eq!(table.free.len(), 63);
    }
}

//! The source ports of full NAT: a pool for each pair of node address and target socket, shared by all lcores (semantics §9).
//!
//! A pool is a bit per port, a bit per word of those that is full, and the owning lcore of each port. An lcore takes a port and gives
//! it back with one atomic operation on the port's bit, or by plain loads and stores where it is the only one; which of several lcores a packet from a target belongs to is read from
//! the owners. Nobody ever waits. A new flow touches the directory, one word of the pool and one owner, whether the pool is
//! empty or nearly full; when the word is full, the two cache lines of the summary as well, which also tell that nothing is left.
//!
//! Pools are made and freed by [`SourcePorts::configure`] and [`SourcePorts::adopt`], never by an lcore. There are as many as
//! [`SourcePorts::new`] was told, at the most; a pair beyond that has no ports.
//!
//! Invariants:
//! * A port's bit is set exactly while an entry under full NAT has it, resting ones included, or an lcore is making one.
//! * A word's bit in the summary is set only if the word is full, or an lcore that set it is about to look again and clear it.
//! * A pool is freed only when it is empty and no lcore uses a configuration any more that takes ports from it.
//! * The directory has one writer at a time. Readers see a fingerprint or not, never half of one. Pairs of equal fingerprint (64 bits)
//!   would share a pool, which halves it for them and breaks nothing.
//!
//! Only flow entries outlive the process; pools are made from them anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use foldhash::fast::FixedState;
use leat_abi::FlowEntry;

use crate::forwarding::Forwarding;
use crate::hash::TupleHash;
use crate::parse::Tuple;
use crate::prefetch;
use crate::table::{Side, tuple_of};

/// Ports of a node address for full NAT: 55,000 (S9.1).
pub const NAT_PORTS: std::ops::RangeInclusive<u16> = 10_000..=64_999;
const COUNT: u32 = 55_000;
/// Words with a bit per port, and words with a bit per such word.
const WORDS: usize = COUNT.div_ceil(u64::BITS) as usize;
const SUMMARY: usize = WORDS.div_ceil(u64::BITS as usize);
/// Ports that are passed over for one flow at the most, because a listener stands on them.
const SKIPS_MAX: u32 = 64;
/// Ports whose owner is looked at in search of an lcore's own.
const OWNERS_MAX: u32 = 512;
/// Places in which a fingerprint may lie, and places of the directory per pool: a quarter full at the most.
const WINDOW: usize = 16;
const PLACES_PER_POOL: usize = 4;

/// The ports of one pair of node address and target socket, by their distance from the first.
#[derive(Debug)]
struct Pool {
    full: [AtomicU64; SUMMARY],
    taken: [AtomicU64; WORDS],
    /// Lcore + 1, 0: nobody's. Without elements where there is one lcore only.
    owners: Box<[AtomicU8]>,
}

impl Pool {
    fn new(lcores: u16) -> Self {
        // The bits behind the last one are set for ever.
        let beyond = |at: usize, words: usize, bits: usize| {
            AtomicU64::new(if at + 1 == words && !bits.is_multiple_of(64) { u64::MAX << (bits % 64) } else { 0 })
        };
        let owners = if lcores > 1 { COUNT as usize } else { 0 };
        Self {
            full: std::array::from_fn(|at| beyond(at, SUMMARY, WORDS)),
            taken: std::array::from_fn(|at| beyond(at, WORDS, COUNT as usize)),
            owners: (0..owners).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Whether several lcores take ports from it.
    #[inline(always)]
    fn is_shared(&self) -> bool {
        !self.owners.is_empty()
    }

    /// Takes the first free port from `start` on, in a circle.
    #[inline]
    fn claim(&self, start: u32) -> Option<u32> {
        let word = (start / u64::BITS) as usize;
        self.claim_in(word, u64::MAX << (start % u64::BITS)).or_else(|| self.claim_after(word))
    }

    #[inline]
    fn claim_in(&self, word: usize, among: u64) -> Option<u32> {
        let taken = &self.taken[word];
        let mut before = taken.load(Ordering::Relaxed);
        loop {
            let free = !before & among;
            if free == 0 {
                return None;
            }
            let after = before | free & free.wrapping_neg();
            let exchanged = if self.is_shared() {
                // Fails only if another lcore has taken or freed a port of these 64 meanwhile.
                taken.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Relaxed)
            } else {
                // One writer: nothing waits for what it has written before.
                taken.store(after, Ordering::Relaxed);
                Ok(before)
            };
            match exchanged {
                Ok(_) => {
                    if after == u64::MAX {
                        self.note_full(word);
                    }
                    return Some(word as u32 * u64::BITS + free.trailing_zeros());
                }
                Err(now) => before = now,
            }
        }
    }

    /// The words behind this one, those before it, and the whole of it.
    #[cold]
    fn claim_after(&self, word: usize) -> Option<u32> {
        let first = (word + 1) % WORDS;
        let behind = u64::MAX << (first % 64);
        for n in 0..=SUMMARY {
            let at = (first / 64 + n) % SUMMARY;
            let among = match n {
                0 => behind,
                SUMMARY => !behind,
                _ => u64::MAX,
            };
            let mut open = !self.full[at].load(Ordering::Acquire) & among;
            while open != 0 {
                let word = at * 64 + open.trailing_zeros() as usize;
                if let Some(port) = self.claim_in(word, u64::MAX) {
                    return Some(port);
                }
                self.note_full(word);
                open &= open - 1;
            }
        }
        None
    }

    /// Notes that a word is full. If it is not any more, who freed a port may have been too early to take the note away.
    #[cold]
    fn note_full(&self, word: usize) {
        let (summary, bit) = (&self.full[word / 64], 1 << (word % 64));
        summary.fetch_or(bit, Ordering::SeqCst);
        if self.taken[word].load(Ordering::SeqCst) != u64::MAX {
            summary.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    fn set_owner(&self, port: u32, owner: u8) {
        if let Some(place) = self.owners.get(port as usize) {
            place.store(owner, Ordering::Release);
        }
    }

    fn release(&self, port: u32) {
        self.set_owner(port, 0);
        let (word, bit) = ((port / u64::BITS) as usize, 1 << (port % u64::BITS));
        let before = if self.is_shared() {
            self.taken[word].fetch_and(!bit, Ordering::SeqCst)
        } else {
            let before = self.taken[word].load(Ordering::Relaxed);
            self.taken[word].store(before & !bit, Ordering::Relaxed);
            before
        };
        if before == u64::MAX {
            self.full[word / 64].fetch_and(!(1 << (word % 64)), Ordering::SeqCst);
        }
    }

    /// Takes this very port. Returns whether it was free.
    fn adopt(&self, port: u32) -> bool {
        let (word, bit) = ((port / u64::BITS) as usize, 1 << (port % u64::BITS));
        let before = self.taken[word].fetch_or(bit, Ordering::AcqRel);
        if before | bit == u64::MAX {
            self.note_full(word);
        }
        before & bit == 0
    }

    fn used(&self) -> u32 {
        let beyond = WORDS as u32 * u64::BITS - COUNT;
        self.taken.iter().map(|word| word.load(Ordering::Acquire).count_ones()).sum::<u32>() - beyond
    }
}

#[derive(Debug, Default)]
struct Place {
    /// Of the pair; 0: none. Written by the directory's writer, read by lcores.
    fingerprint: AtomicU64,
    /// The pair's pool, by number. Written before the fingerprint.
    pool: AtomicU32,
}

/// What the writer knows of a pair.
#[derive(Debug)]
struct Pair {
    place: usize,
    pool: u32,
    /// The last configuration that took ports from it, by number.
    wanted_in: u64,
}

#[derive(Debug, Default)]
struct Writer {
    pairs: HashMap<u64, Pair, FixedState>,
    /// Pools that no pair has.
    free: Vec<u32>,
    /// Configurations so far, and the last one of which it is known that all lcores use it or a later one.
    configurations: u64,
    settled: u64,
}

/// The source ports of all pairs. One for all lcores of a process.
#[derive(Debug)]
pub struct SourcePorts {
    lcores: u16,
    directory: Box<[Place]>,
    pools: Box<[OnceLock<Box<Pool>>]>,
    /// Held while pools are made and freed; never by an lcore.
    writer: Mutex<Writer>,
}

/// How many pairs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairs {
    /// Pairs that have a pool.
    pub with_pool: usize,
    /// Pairs of the configuration for which there was no pool: new flows to these targets are refused.
    pub without: usize,
}

impl SourcePorts {
    /// At most `pools_max` pools (7 KiB each for one lcore, 61 KiB for several), none made yet.
    ///
    /// # Panics
    /// When there are to be none, or more than 2²⁰; or more than 64 lcores.
    pub fn new(lcores: u16, pools_max: usize) -> Self {
        assert!((1..=1 << 20).contains(&pools_max), "1 to 2^20 pools");
        assert!((1..=64).contains(&lcores), "1 to 64 lcores");
        let places = (pools_max * PLACES_PER_POOL).max(WINDOW).next_power_of_two();
        let free = (0..pools_max as u32).rev().collect();
        Self {
            lcores,
            directory: (0..places).map(|_| Place::default()).collect(),
            pools: (0..pools_max).map(|_| OnceLock::new()).collect(),
            writer: Mutex::new(Writer { free, ..Writer::default() }),
        }
    }

    /// Makes pools for the pairs of a configuration that lcores will be given next, and frees those that nobody needs any more.
    /// `settled` says that every lcore uses the configuration of the call before.
    pub fn configure(&self, forwarding: &Forwarding, settled: bool) -> Pairs {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if settled {
            writer.settled = writer.configurations;
        }
        writer.configurations += 1;
        let mut wanted: Vec<u64> = forwarding.full_nat_pairs().map(|pair| fingerprint(&pair)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let now = writer.configurations;
        for print in &wanted {
            if let Some(pair) = writer.pairs.get_mut(print) {
                pair.wanted_in = now;
            }
        }
        self.free_unused(&mut writer);
        let without = wanted.iter().filter(|print| !self.make(&mut writer, **print)).count();
        Pairs { with_pool: writer.pairs.len(), without }
    }

    /// Takes the port of a flow that an earlier process left. Returns false if another flow has it, or if there is no pool for it.
    /// All lcores' flows are adopted before the first packet.
    pub fn adopt(&self, flow: &FlowEntry, lcore: u16) -> bool {
        if index(flow.nat_port).is_none() {
            return false;
        }
        let print = fingerprint(&pair_of(flow));
        if self.pool(print).is_none() {
            self.make(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner), print);
        }
        self.claim_this(flow, lcore)
    }

    /// The number of the pool of a pair: a tuple of packets from the target's socket to the node's address, whatever the port. It stays the
    /// pair's as long as the lcore's configuration stays the same.
    #[inline]
    pub(crate) fn pool_of(&self, from_target: &Tuple) -> Option<u32> {
        self.number(fingerprint(from_target))
    }

    /// Starts fetching what [`SourcePorts::claim`] will read first.
    #[inline]
    pub(crate) fn fetch(&self, pool: u32, choice: u32) {
        if let Some(word) = self.numbered(pool).and_then(|pool| pool.taken.get((start(choice) / u64::BITS) as usize)) {
            prefetch::read(word);
        }
    }

    /// Starts fetching what [`SourcePorts::release`] will change.
    #[inline]
    pub(crate) fn fetch_taken(&self, flow: &FlowEntry) {
        if let (Some(port), Some(pool)) = (index(flow.nat_port), self.pool(fingerprint(&pair_of(flow)))) {
            prefetch::read(&pool.taken[(port / u64::BITS) as usize]);
        }
    }

    /// The port that [`SourcePorts::claim`] would take now, if it is one of the first 64 that it looks at. Network order.
    #[inline]
    pub(crate) fn likely(&self, pool: u32, choice: u32) -> Option<u16> {
        let (pool, start) = (self.numbered(pool)?, start(choice));
        let (word, among) = ((start / u64::BITS) as usize, u64::MAX << (start % u64::BITS));
        let free = !pool.taken.get(word)?.load(Ordering::Relaxed) & among;
        let port = word as u32 * u64::BITS + free.trailing_zeros();
        if let Some(owner) = pool.owners.get(port as usize) {
            prefetch::read(owner);
        }
        (free != 0).then(|| (NAT_PORTS.start() + port as u16).to_be())
    }

    /// Takes a port for a flow whose other fields are set: the first one that is free and usable, from the one that `choice` leads to.
    /// Network order.
    /// `pool`: [`SourcePorts::pool_of`] the flow's pair.
    #[inline]
    pub(crate) fn claim(&self, pool: u32, choice: u32, lcore: u16, mut usable: impl FnMut(u16) -> bool) -> Option<u16> {
        let pool = self.numbered(pool)?;
        let mut start = start(choice);
        for _ in 0..SKIPS_MAX {
            let port = pool.claim(start)?;
            let number = (NAT_PORTS.start() + port as u16).to_be();
            if usable(number) {
                pool.set_owner(port, lcore as u8 + 1);
                return Some(number);
            }
            pool.release(port);
            start = if port + 1 < COUNT { port + 1 } else { 0 };
        }
        None
    }

    /// Ports between the flow's pair that this lcore's flows have, from the one on that `choice` leads to, among some hundred. Network order.
    pub(crate) fn owned(&self, flow: &FlowEntry, choice: u32, lcore: u16) -> impl Iterator<Item = u16> {
        let pool = self.pool(fingerprint(&pair_of(flow)));
        let is_own = move |port: &u32| match pool.map(|pool| &pool.owners) {
            Some(owners) if owners.is_empty() => true,
            Some(owners) => owners.get(*port as usize).is_some_and(|o| o.load(Ordering::Relaxed) == lcore as u8 + 1),
            None => false,
        };
        let ports = (0..OWNERS_MAX).map(move |n| (start(choice) + n) % COUNT).filter(is_own);
        ports.map(|port| (NAT_PORTS.start() + port as u16).to_be())
    }

    /// Takes the very port that a flow names. Returns whether it was free.
    pub(crate) fn claim_this(&self, flow: &FlowEntry, lcore: u16) -> bool {
        let (Some(port), Some(pool)) = (index(flow.nat_port), self.pool(fingerprint(&pair_of(flow)))) else {
            return false;
        };
        let is_free = pool.adopt(port);
        if is_free {
            pool.set_owner(port, lcore as u8 + 1);
        }
        is_free
    }

    /// Gives the port of a flow back.
    pub(crate) fn release(&self, flow: &FlowEntry) {
        if let (Some(port), Some(pool)) = (index(flow.nat_port), self.pool(fingerprint(&pair_of(flow)))) {
            pool.release(port);
        }
    }

    /// The lcore that has the flow of a packet from a target, if it is of one under full NAT.
    pub(crate) fn owner(&self, from_target: &Tuple) -> Option<u16> {
        let port = index(from_target.destination_port())?;
        let owner = self.pool(fingerprint(from_target))?.owners.get(port as usize)?.load(Ordering::Acquire);
        // Another lcore's number is never out of range; what is in memory is not asked to prove it.
        owner.checked_sub(1).map(u16::from).filter(|lcore| *lcore < self.lcores)
    }

    /// Pools in use and the ports taken from them, for those who watch.
    pub fn used(&self) -> (usize, u64) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = writer.pairs.values().filter_map(|pair| self.pools.get(pair.pool as usize)?.get());
        (writer.pairs.len(), pools.map(|pool| u64::from(pool.used())).sum())
    }

    #[inline]
    fn pool(&self, print: u64) -> Option<&Pool> {
        self.numbered(self.number(print)?)
    }

    #[inline(always)]
    fn numbered(&self, pool: u32) -> Option<&Pool> {
        self.pools.get(pool as usize)?.get().map(Box::as_ref)
    }

    #[inline]
    fn number(&self, print: u64) -> Option<u32> {
        let mask = self.directory.len() - 1;
        let home = (print >> 32) as usize;
        for n in 0..WINDOW {
            let place = &self.directory[(home + n) & mask];
            if place.fingerprint.load(Ordering::Acquire) == print {
                return Some(place.pool.load(Ordering::Relaxed));
            }
        }
        None
    }

    /// Makes sure that a pair has a pool.
    fn make(&self, writer: &mut Writer, print: u64) -> bool {
        if writer.pairs.contains_key(&print) {
            return true;
        }
        let (mask, home) = (self.directory.len() - 1, (print >> 32) as usize);
        let is_empty = |place: &usize| self.directory[*place].fingerprint.load(Ordering::Relaxed) == 0;
        let Some(place) = (home..home + WINDOW).map(|n| n & mask).find(is_empty) else { return false };
        let Some(pool) = writer.free.pop() else { return false };
        self.pools[pool as usize].get_or_init(|| Box::new(Pool::new(self.lcores)));
        self.directory[place].pool.store(pool, Ordering::Relaxed);
        self.directory[place].fingerprint.store(print, Ordering::Release);
        writer.pairs.insert(print, Pair { place, pool, wanted_in: writer.configurations });
        true
    }

    fn free_unused(&self, writer: &mut Writer) {
        let Writer { pairs, free, settled, .. } = writer;
        pairs.retain(|_, pair| {
            // An lcore that works with a configuration up to `wanted_in` may still take a port.
            let is_used = || self.pools[pair.pool as usize].get().is_some_and(|pool| pool.used() > 0);
            if pair.wanted_in >= *settled || is_used() {
                return true;
            }
            self.directory[pair.place].fingerprint.store(0, Ordering::Release);
            free.push(pair.pool);
            false
        });
    }
}

/// What a pair is known by: the packets of the target's socket to the node's address, whatever the port.
#[inline]
fn fingerprint(from_target: &Tuple) -> u64 {
    // Who chooses addresses of nodes and targets does not attack; a constant key makes every run the same.
    const HASH: TupleHash = TupleHash::new([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
    HASH.of(&Tuple { ports: from_target.source_port() as u32, ..*from_target }) | 1
}

#[inline]
pub(crate) fn pair_of(flow: &FlowEntry) -> Tuple {
    let from_target = tuple_of(flow, Side::Target);
    Tuple { ports: from_target.source_port().into(), ..from_target }
}

/// The port from which on a choice looks for a free one, by its distance from the first.
#[inline]
fn start(choice: u32) -> u32 {
    // Multiply and shift: the range without a division.
    ((u64::from(choice) * u64::from(COUNT)) >> 32) as u32
}

/// The distance of a port, in network order, from the first of the pool.
#[inline]
fn index(port: u16) -> Option<u32> {
    let port = u16::from_be(port);
    NAT_PORTS.contains(&port).then(|| u32::from(port - NAT_PORTS.start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_pool_has_every_port_once() {
        for start in [0, 1, 63, 64, 4095, 4096, 30_000, COUNT - 25, COUNT - 1] {
            let pool = Pool::new(1);
            let mut seen = vec![false; COUNT as usize];
            for n in 0..COUNT {
                let port = pool.claim(start).expect("one is left");
                assert_eq!(port, (start + n) % COUNT, "in a circle from {start}");
                assert!(!std::mem::replace(&mut seen[port as usize], true));
            }
            assert_eq!((pool.claim(start), pool.used()), (None, COUNT));
            for port in [0, 77, COUNT - 1] {
                pool.release(port);
                assert_eq!(pool.claim((port + 500) % COUNT), Some(port), "the only one left is found from anywhere");
            }
        }
    }

    proptest! {
        /// A pool does what a set does. req: S9.2, S9.3
        #[test]
        fn a_pool_equals_a_set(steps in prop::collection::vec((0..COUNT, 0..4u8), 1..400), nearly_full: bool) {
            let pool = Pool::new(2);
            let mut free: BTreeSet<u32> = (0..COUNT).collect();
            if nearly_full {
                for port in (0..COUNT).filter(|port| port % 9001 != 5) {
                    prop_assert!(pool.adopt(port));
                    free.remove(&port);
                }
            }
            for (at, step) in steps {
                if step == 0 && !free.contains(&at) {
                    pool.release(at);
                    free.insert(at);
                } else if step == 1 {
                    prop_assert_eq!(pool.adopt(at), free.remove(&at));
                } else {
                    let next = free.range(at..).next().or_else(|| free.iter().next()).copied();
                    prop_assert_eq!(pool.claim(at), next);
                    next.map(|port| free.remove(&port));
                }
                prop_assert_eq!(pool.used(), COUNT - free.len() as u32);
            }
        }
    }

    /// Threads that take and give back at once: no port twice, none lost, and at the end exactly all of them. req: S9.2, I6
    #[test]
    fn lcores_share_a_pool() {
        let (pool, holders) = (&Pool::new(4), &[const { AtomicU8::new(0) }; COUNT as usize]);
        let take = move |start| {
            let port = pool.claim(start)?;
            assert_eq!(holders[port as usize].fetch_add(1, Ordering::SeqCst), 0, "a port twice");
            Some(port)
        };
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u32)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut mine = Vec::new();
                        for n in 0..60_000u32 {
                            // All in the same few words, so that they fill and empty under each other's hands.
                            match take((n.wrapping_mul(0x9e37_79b9) >> 24) % 192) {
                                Some(port) => mine.push(port),
                                None => break,
                            }
                            if mine.len() > 60 + thread as usize {
                                let port = mine.swap_remove(n as usize % mine.len());
                                holders[port as usize].fetch_sub(1, Ordering::SeqCst);
                                pool.release(port);
                            }
                        }
                        while let Some(port) = take(thread * 13_000) {
                            mine.push(port);
                        }
                        mine.len()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!((taken, pool.used()), (COUNT as usize, COUNT));
    }
}

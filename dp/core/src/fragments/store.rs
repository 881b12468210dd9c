//! What an lcore knows of datagrams in pieces: the ports, which pieces came, and those that wait for the first one (S10.2–S10.4).
//!
//! Invariants: a datagram that is not complete is in the index, and every one is in exactly one of two lists, each in the order of their deadlines: of those whose first
//! piece has not come, and of the others. Only the former take pieces to be held. One that is complete is in the index no more: its
//! identification may come again at any time. Everything is bounded and allocated once; who is oldest makes room.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::arena::{Arena, Kept};
use crate::frame::Now;
use crate::hash::TupleHash;
use crate::parse::{Place, Tuple};

/// Datagrams known at a time.
pub const DATAGRAMS_MAX: usize = 1024;
/// Pieces of a datagram that are held at a time.
pub const HELD_MAX: usize = 16;
/// Pieces of a datagram: enough for the largest one at any MTU that is in use.
pub const PIECES_MAX: usize = 64;
/// Bytes that are held.
pub const BYTES_MAX: usize = 2 << 20;
/// Milliseconds that a datagram is known after its first piece, whichever that was, or after its pieces were found to overlap.
pub const KNOWN_MS: u64 = 2_000;

const NONE: u16 = u16::MAX;
const BUCKETS: usize = 2 * DATAGRAMS_MAX;

/// What the pieces of a datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key {
    addresses: u64,
    id: u32,
    protocol: u8,
}

impl Key {
    /// Of the addresses and the protocol of a tuple, and an identification.
    pub fn new(tuple: &Tuple, id: u32) -> Self {
        Self { addresses: tuple.addresses, id, protocol: tuple.protocol }
    }

    /// A hash that nobody else can know.
    pub fn hash(&self, key: [u64; 2]) -> u64 {
        let tuple = Tuple { addresses: self.addresses, ports: self.id, protocol: self.protocol };
        TupleHash::new(key).of(&tuple)
    }
}

/// Bytes `start..end` of a datagram, and a digest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Piece {
    start: u16,
    end: u16,
    digest: u32,
}

/// A piece that waits for the first one.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    kept: Kept,
    port: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// The first piece has not come.
    #[default]
    Waiting,
    /// It has.
    Ports(u32),
    /// Pieces overlapped.
    Bad,
}

#[derive(Debug, Default)]
struct Datagram {
    key: Key,
    state: State,
    deadline_ms: u64,
    /// Its length, once the last piece has come.
    length: Option<u16>,
    pieces: ArrayVec<Piece, PIECES_MAX>,
    held: ArrayVec<Held, HELD_MAX>,
    /// Whether its number is in the queue of those whose held pieces go on.
    is_queued: bool,
    /// The next one in its bucket of the index; one that is complete is not there.
    in_bucket: u16,
    /// In which list it is.
    is_waiting: bool,
    previous: u16,
    next: u16,
}

/// How a piece goes together with those that came before.
enum Fit {
    Good,
    Again,
    Overlaps,
    TooMany,
}

impl Datagram {
    /// Takes a piece in if it goes together with the others.
    fn fit(&mut self, piece: Piece, more: bool) -> Fit {
        let is_last = self.length == Some(piece.end);
        if self.pieces.contains(&piece) && is_last != more {
            return Fit::Again;
        }
        let is_too_long = match self.length {
            Some(length) => piece.end > length || (!more && !is_last),
            None => !more && self.pieces.iter().any(|known| known.end > piece.end),
        };
        if is_too_long || self.pieces.iter().any(|known| known.start < piece.end && piece.start < known.end) {
            return Fit::Overlaps;
        }
        if self.pieces.try_push(piece).is_err() {
            return Fit::TooMany;
        }
        if !more {
            self.length = Some(piece.end);
        }
        Fit::Good
    }

    /// Whether all of it has come. No two pieces overlap, so that their lengths say it.
    fn is_complete(&self) -> bool {
        let sum: usize = self.pieces.iter().map(|piece| usize::from(piece.end - piece.start)).sum();
        self.length.is_some_and(|length| sum == usize::from(length))
    }
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u16,
    tail: u16,
}

/// Why held pieces had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The first piece did not come in time.
    Timeout,
    /// Others needed the room.
    Full,
    /// Another piece overlaps one of the datagram's.
    Overlap,
}

/// What a piece is to the datagram that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It is the first one. So many others waited for it, and go on ([`Store::release`]).
    First(usize),
    /// It is another one, and the datagram's ports are known.
    Goes(u32),
    /// It is to wait for the first one, in this datagram.
    Waits(u16),
    /// It overlaps another one, or the datagram would be longer than its last piece says. Nothing of the datagram passes any more.
    Overlaps,
    /// It came before, just so.
    Again,
    /// There are too many pieces.
    TooMany,
}

/// A held piece that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Bytes of the frame.
    pub length: usize,
    /// The port that it came in by.
    pub port: u8,
    /// The ports of its datagram.
    pub ports: u32,
}

/// The datagrams of one lcore.
#[derive(Debug)]
pub struct Store {
    hash_key: [u64; 2],
    datagrams: Box<[Datagram]>,
    buckets: Box<[u16]>,
    /// Numbers of datagrams not in use.
    free: Vec<u16>,
    waiting: List,
    others: List,
    arena: Arena,
    released: VecDeque<u16>,
}

impl Store {
    /// Knows nothing yet.
    pub fn new(hash_key: [u64; 2]) -> Self {
        let empty = List { head: NONE, tail: NONE };
        Self {
            hash_key,
            datagrams: (0..DATAGRAMS_MAX).map(|_| Datagram::default()).collect(),
            buckets: vec![NONE; BUCKETS].into(),
            free: (0..DATAGRAMS_MAX as u16).rev().collect(),
            waiting: empty,
            others: empty,
            arena: Arena::new(BYTES_MAX),
            released: VecDeque::with_capacity(DATAGRAMS_MAX),
        }
    }

    /// Notes a piece. `ports`: of the first one. `digest` stands for its bytes. `lost` is told of held pieces that had to go.
    pub fn note(
        &mut self,
        key: Key,
        place: &Place,
        (ports, digest): (Option<u32>, u32),
        now: Now,
        mut lost: impl FnMut(Lost, usize),
    ) -> Noted {
        let at = self.find_or_make(key, now, &mut lost);
        let datagram = &mut self.datagrams[usize::from(at)];
        if datagram.state == State::Bad {
            return Noted::Overlaps;
        }
        let piece = Piece { start: place.offset, end: place.offset.saturating_add(place.length), digest };
        match datagram.fit(piece, place.more) {
            Fit::Good => {}
            Fit::Again => return Noted::Again,
            Fit::TooMany => return Noted::TooMany,
            Fit::Overlaps => {
                let count = self.empty(at);
                lost(Lost::Overlap, count);
                self.datagrams[usize::from(at)].state = State::Bad;
                self.requeue(at, now);
                return Noted::Overlaps;
            }
        }
        let is_complete = datagram.is_complete();
        if is_complete {
            // Its identification may be another one's from now on.
            self.unindex(at);
        }
        let datagram = &mut self.datagrams[usize::from(at)];
        match (datagram.state, ports) {
            (State::Ports(ports), None) => Noted::Goes(ports),
            (_, None) => Noted::Waits(at),
            (_, Some(ports)) => {
                datagram.state = State::Ports(ports);
                let held = datagram.held.len();
                if held > 0 && !datagram.is_queued {
                    datagram.is_queued = true;
                    self.released.push_back(at);
                }
                self.requeue(at, now);
                Noted::First(held)
            }
        }
    }

    /// Holds a piece of a datagram for which [`Noted::Waits`] was said. Returns how many of it are held now; none: there is no room.
    pub fn hold(&mut self, at: u16, frame: &[u8], port: u8, mut lost: impl FnMut(Lost, usize)) -> Option<usize> {
        while !self.arena.has_room(frame.len()) {
            let oldest = self.waiting.head;
            if oldest == at || oldest == NONE {
                break;
            }
            lost(Lost::Full, self.remove(oldest));
        }
        let datagram = &mut self.datagrams[usize::from(at)];
        let has_room = !datagram.held.is_full();
        let kept = if has_room { self.arena.keep(frame) } else { None };
        if let Some(kept) = kept {
            datagram.held.push(Held { kept, port });
            return Some(datagram.held.len());
        }
        if datagram.held.is_empty() {
            self.remove(at);
        }
        None
    }

    /// The next held piece that goes on, put into the beginning of `into`.
    pub fn release(&mut self, into: &mut [u8]) -> Option<Released> {
        while let Some(at) = self.released.front() {
            let datagram = &mut self.datagrams[usize::from(*at)];
            if let State::Ports(ports) = datagram.state
                && let Some(held) = datagram.held.pop_at(0)
            {
                self.arena.take(held.kept, into);
                return Some(Released { length: held.kept.length.into(), port: held.port, ports });
            }
            datagram.is_queued = false;
            self.released.pop_front();
        }
        None
    }

    /// Whether held pieces are to go on.
    pub fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Forgets a datagram whose time is over, if there is one; returns how many of its pieces were held.
    pub fn expire(&mut self, now: Now) -> Option<usize> {
        let is_over = |at: &u16| self.datagrams.get(usize::from(*at)).is_some_and(|d| d.deadline_ms <= now.ms);
        let at = [self.waiting.head, self.others.head].into_iter().find(is_over)?;
        Some(self.remove(at))
    }

    fn bucket(&self, key: &Key) -> usize {
        key.hash(self.hash_key) as usize % BUCKETS
    }

    fn find_or_make(&mut self, key: Key, now: Now, lost: &mut impl FnMut(Lost, usize)) -> u16 {
        let bucket = self.bucket(&key);
        let mut at = self.buckets[bucket];
        while at != NONE && self.datagrams[usize::from(at)].key != key {
            at = self.datagrams[usize::from(at)].in_bucket;
        }
        if at != NONE && self.datagrams[usize::from(at)].deadline_ms > now.ms {
            return at;
        }
        if at != NONE {
            lost(Lost::Timeout, self.remove(at));
        } else if self.free.is_empty() {
            let deadline = |at: u16| self.datagrams.get(usize::from(at)).map_or(u64::MAX, |d| d.deadline_ms);
            let (waiting, other) = (self.waiting.head, self.others.head);
            lost(Lost::Full, self.remove(if deadline(waiting) < deadline(other) { waiting } else { other }));
        }
        let at = self.free.pop().unwrap_or(0);
        let datagram = &mut self.datagrams[usize::from(at)];
        datagram.key = key;
        datagram.deadline_ms = now.ms + KNOWN_MS;
        datagram.in_bucket = std::mem::replace(&mut self.buckets[bucket], at);
        self.append(at);
        at
    }

    /// Gives up the held pieces of a datagram. Returns how many they were.
    fn empty(&mut self, at: u16) -> usize {
        let held = &mut self.datagrams[usize::from(at)].held;
        let count = held.len();
        held.drain(..).for_each(|held| self.arena.take(held.kept, &mut []));
        count
    }

    /// Forgets a datagram. Returns how many of its pieces were held.
    fn remove(&mut self, at: u16) -> usize {
        let count = self.empty(at);
        self.unlink(at);
        self.unindex(at);
        let datagram = &mut self.datagrams[usize::from(at)];
        datagram.pieces.clear();
        (datagram.state, datagram.length) = (State::Waiting, None);
        self.free.push(at);
        count
    }

    /// Takes a datagram out of the index, if it is in.
    fn unindex(&mut self, at: u16) {
        let bucket = self.bucket(&self.datagrams[usize::from(at)].key);
        let after = self.datagrams[usize::from(at)].in_bucket;
        if self.buckets[bucket] == at {
            self.buckets[bucket] = after;
            return;
        }
        let mut before = self.buckets[bucket];
        while before != NONE && self.datagrams[usize::from(before)].in_bucket != at {
            before = self.datagrams[usize::from(before)].in_bucket;
        }
        if let Some(before) = self.datagrams.get_mut(usize::from(before)) {
            before.in_bucket = after;
        }
    }

    /// Puts a datagram at the end of the list that is for it now; its time begins anew.
    fn requeue(&mut self, at: u16, now: Now) {
        self.unlink(at);
        self.datagrams[usize::from(at)].deadline_ms = now.ms + KNOWN_MS;
        self.append(at);
    }

    fn list(&mut self, is_waiting: bool) -> &mut List {
        if is_waiting { &mut self.waiting } else { &mut self.others }
    }

    fn append(&mut self, at: u16) {
        let datagram = &mut self.datagrams[usize::from(at)];
        let is_waiting = datagram.state == State::Waiting;
        datagram.is_waiting = is_waiting;
        datagram.next = NONE;
        let list = self.list(is_waiting);
        let before = std::mem::replace(&mut list.tail, at);
        if before == NONE {
            list.head = at;
        } else {
            self.datagrams[usize::from(before)].next = at;
        }
        self.datagrams[usize::from(at)].previous = before;
    }

    fn unlink(&mut self, at: u16) {
        let Datagram { is_waiting, previous, next, .. } = self.datagrams[usize::from(at)];
        let list = self.list(is_waiting);
        if previous == NONE {
            list.head = next;
        }
        if next == NONE {
            list.tail = previous;
        }
        if previous != NONE {
            self.datagrams[usize::from(previous)].next = next;
        }
        if next != NONE {
            self.datagrams[usize::from(next)].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    impl Store {
        /// Checks what must always hold. Returns how many pieces are held.
        fn check(&self) -> usize {
            let mut seen = HashSet::new();
            for list in [self.waiting, self.others] {
                let (mut at, mut before, mut deadline) = (list.head, NONE, 0);
                while at != NONE {
                    let d = &self.datagrams[usize::from(at)];
                    assert!(seen.insert(at), "once, in one list");
                    assert_eq!((d.previous, d.is_waiting), (before, d.state == State::Waiting));
                    assert!(deadline <= d.deadline_ms, "in the order of deadlines");
                    assert!(d.state != State::Waiting || !d.held.is_empty(), "who waits holds something");
                    assert!(d.state != State::Bad || d.held.is_empty());
                    (deadline, before, at) = (d.deadline_ms, at, d.next);
                }
                assert_eq!(list.tail, before);
            }
            assert_eq!(seen.len() + self.free.len(), DATAGRAMS_MAX);
            let mut indexed = HashSet::new();
            for bucket in &self.buckets {
                let mut at = *bucket;
                while at != NONE {
                    assert!(indexed.insert(at) && seen.contains(&at));
                    at = self.datagrams[usize::from(at)].in_bucket;
                }
            }
            let complete = seen.iter().filter(|at| self.datagrams[usize::from(**at)].is_complete()).count();
            assert_eq!(indexed.len() + complete, seen.len());
            seen.iter().map(|at| self.datagrams[usize::from(*at)].held.len()).sum()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever comes: no piece that is held is lost without a word, lists and index agree, and at the end nothing is left.
        /// req: S10.3, S10.4
        #[test]
        fn pieces_are_conserved(
            steps in prop::collection::vec((0..2000u32, 0..6u16, 1..3u16, any::<bool>(), 1..4000usize, 0..40u64), 1..4000),
            few: bool,
        ) {
            let mut store = Store::new([1, 2]);
            let (mut now, mut held, mut gone) = (Now { ms: 5 }, 0, 0);
            let mut lost = |_: Lost, count: usize| gone += count;
            let mut room = vec![0; 16_384];
            let (mut released, mut timed_out) = (0, 0);
            for (id, offset, eights, more, length, wait) in steps {
                let key = Key { addresses: 1, id: if few { id % 30 } else { id }, protocol: 17 };
                let place = Place { id, offset: offset * 8, length: eights * 8, more };
                let ports = (offset == 0).then_some(id + 1);
                if let Noted::Waits(at) = store.note(key, &place, (ports, eights.into()), now, &mut lost) {
                    held += usize::from(store.hold(at, &vec![id as u8; length], 1, &mut lost).is_some());
                }
                if wait % 4 == 0 && let Some(piece) = store.release(&mut room) {
                    released += 1;
                    prop_assert!(room[..piece.length].iter().all(|byte| *byte == room[0]), "its own bytes");
                }
                if wait == 0 {
                    now.ms += 500;
                    while let Some(count) = store.expire(now) {
                        timed_out += count;
                    }
                }
            }
            let left = store.check();
            while store.release(&mut room).is_some() {
                released += 1;
            }
            prop_assert!(store.check() <= left);
            now.ms += KNOWN_MS;
            while let Some(count) = store.expire(now) {
                timed_out += count;
            }
            prop_assert_eq!((store.check(), store.free.len()), (0, DATAGRAMS_MAX));
            prop_assert!(store.arena.has_room(BYTES_MAX.min(65_535)));
            prop_assert_eq!(held, released + timed_out + gone);
        }
    }
}

//! The timers of flows: for each class of entries a wheel of one-second slots. Lazy: a flow that sees packets is not moved; when its
//! slot comes up, the caller says when it is really due and it is put there.
//!
//! A class is what may be given up together when room is short ([`Class`]); within it, entries that have a second line are kept apart from
//! those without, so that one of the kind needed is found at once. Those of one slot come up in the order in which they were put there. So
//! the first entry of a class whose time is fixed when it begins (half-open, closed) is its oldest.
//!
//! Invariants: an entry is in at most one slot; a slot is a ring of links that begins and ends with a link of its own, which has the
//! numbers after the entries'; everything is allocated in [`Wheel::new`]. Entries have links without gaps, their numbers have gaps
//! ([`leat_abi::FlowMemory`]).

use arrayvec::ArrayVec;
use leat_abi::pages;

/// Seconds that the wheels span; longer waits come up early and are put back.
pub const SLOTS: usize = 512;

/// What may be given up when room is short, and what may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Connections whose handshake is not complete.
    HalfOpen,
    /// Connections that are over: what is in flight is still translated, or their source port rests.
    Closed,
    /// UDP without an answer.
    OneWay,
    /// All others. Nothing makes them go but their own end.
    Lasting,
}

const CLASSES: usize = 4;
const WHEELS: usize = 2 * CLASSES;

const NONE: u32 = u32::MAX;
/// Marks the links of half-open entries, which are counted.
const HALF_OPEN: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// The next one of the slot, and the mark; `NONE` for an entry in no slot.
    next: u32,
    previous: u32,
}

/// Bytes that a timer takes.
pub const BYTES_PER_ENTRY: usize = size_of::<Link>();

/// The timers of one lcore's flows.
#[derive(Debug)]
pub struct Wheel {
    /// Those of the entries, then one for each slot of each wheel.
    links: Box<[Link]>,
    entries: usize,
    first_wide: usize,
    half_open: usize,
    /// Of each wheel, a second up to which nothing comes up.
    empty_until_s: [u64; WHEELS],
    /// The last second whose slots were emptied.
    done_s: u64,
}

impl Wheel {
    /// Timers for so many entries; those from the number `first_wide` on have a second line, and their numbers differ by two.
    pub fn new(entries: usize, first_wide: usize, now_s: u64) -> Self {
        let mut links = pages::vec(Link { next: NONE, previous: NONE }, entries + WHEELS * SLOTS);
        for (slot, link) in links[entries..].iter_mut().enumerate() {
            let itself = (entries + slot) as u32;
            let mark = if slot < 2 * SLOTS { HALF_OPEN } else { 0 };
            *link = Link { next: itself | mark, previous: itself };
        }
        Self { links: links.into(), entries, first_wide, half_open: 0, empty_until_s: [now_s; WHEELS], done_s: now_s }
    }

    /// Puts an entry where it will come up at `due_s`, or as late as the wheel allows; in the next second if that has passed.
    #[inline]
    pub fn schedule(&mut self, entry: u32, class: Class, due_s: u64) {
        self.cancel(entry);
        self.begin(entry, class, due_s);
    }

    /// As [`Wheel::schedule`], for an entry that is in no slot.
    #[inline]
    pub(crate) fn begin(&mut self, entry: u32, class: Class, due_s: u64) {
        let due_s = due_s.min(self.done_s + SLOTS as u64 - 1).max(self.done_s + 1);
        let wide = entry as usize >= self.first_wide;
        let entry = self.link_of(entry);
        debug_assert_eq!(self.links[entry as usize].next, NONE, "link {entry} is in no slot");
        let slot = self.slot(class, wide, due_s);
        let empty_until_s = &mut self.empty_until_s[Self::wheel(class, wide)];
        *empty_until_s = (*empty_until_s).min(due_s - 1);
        let mark = if class == Class::HalfOpen { HALF_OPEN } else { 0 };
        self.half_open += usize::from(mark != 0);
        let last = std::mem::replace(&mut self.links[slot].previous, entry);
        self.links[entry as usize] = Link { next: slot as u32 | mark, previous: last };
        self.links[last as usize].next = entry | mark;
    }

    /// Takes an entry out, if it is in.
    #[inline]
    pub fn cancel(&mut self, entry: u32) {
        self.unlink(self.link_of(entry));
    }

    #[inline(always)]
    fn unlink(&mut self, entry: u32) {
        let Link { next, previous } = self.links[entry as usize];
        if next == NONE {
            return;
        }
        self.half_open -= usize::from(next & HALF_OPEN != 0);
        // The mark is that of the whole ring.
        self.links[previous as usize].next = next;
        self.links[(next & !HALF_OPEN) as usize].previous = previous;
        self.links[entry as usize] = Link { next: NONE, previous: NONE };
    }

    /// Takes out one entry that has come up by `now_s`. Call it until it returns `None`, or until enough was done for now.
    #[inline]
    pub fn pop(&mut self, now_s: u64) -> Option<u32> {
        // Once around empties every slot.
        self.done_s = self.done_s.max(now_s.saturating_sub(SLOTS as u64));
        while self.done_s < now_s {
            for wheel in 0..WHEELS {
                if let Some(entry) = self.first(self.entries + wheel * SLOTS + (self.done_s + 1) as usize % SLOTS) {
                    self.unlink(entry);
                    return Some(self.entry_of(entry));
                }
            }
            self.done_s += 1;
        }
        None
    }

    /// Whether everything that has come up by `now_s` is known to have been taken out.
    #[inline(always)]
    pub(crate) fn is_done(&self, now_s: u64) -> bool {
        self.done_s >= now_s
    }

    /// Some of the entries that [`Wheel::pop`] will take out next, in order; `most` or `N` of them at the most.
    #[inline]
    pub(crate) fn upcoming<const N: usize>(&self, now_s: u64, most: usize) -> ArrayVec<u32, N> {
        let mut entries = ArrayVec::new();
        let second = (self.done_s + 1) as usize % SLOTS;
        let slots = (0..WHEELS).map(|wheel| self.entries + wheel * SLOTS + second);
        if self.done_s < now_s
            && let Some(slot) = slots.into_iter().find(|slot| self.first(*slot).is_some())
        {
            let mut at = self.links[slot].next & !HALF_OPEN;
            while at as usize != slot && entries.len() < most && entries.try_push(self.entry_of(at)).is_ok() {
                at = self.links[at as usize].next & !HALF_OPEN;
            }
        }
        entries
    }

    /// The entry of a class that comes up first, if it does in the next `within_s` seconds, and when; among those with a second line if it
    /// must be `wide`, else among all.
    pub fn oldest(&mut self, class: Class, wide: bool, within_s: u16) -> Option<(u32, u64)> {
        let until_s = self.done_s + u64::from(within_s).min(SLOTS as u64 - 1);
        let narrow = if wide { None } else { self.oldest_of(class, false, until_s) };
        // Of those of one second, the one without a second line goes.
        let until_s = narrow.map_or(until_s, |(_, due_s)| due_s - 1);
        self.oldest_of(class, true, until_s).or(narrow)
    }

    fn oldest_of(&mut self, class: Class, wide: bool, until_s: u64) -> Option<(u32, u64)> {
        let wheel = Self::wheel(class, wide);
        let from_s = self.empty_until_s[wheel].max(self.done_s) + 1;
        let found = (from_s..=until_s).find_map(|due_s| Some((self.first(self.slot(class, wide, due_s))?, due_s)));
        // The next search does not look again where this one has found nothing.
        self.empty_until_s[wheel] = found.map_or(until_s, |(_, due_s)| due_s - 1).max(from_s - 1);
        found.map(|(entry, due_s)| (self.entry_of(entry), due_s))
    }

    /// Half-open entries.
    pub fn half_open(&self) -> usize {
        self.half_open
    }

    /// The link of an entry.
    #[inline(always)]
    fn link_of(&self, entry: u32) -> u32 {
        entry - entry.saturating_sub(self.first_wide as u32) / 2
    }

    /// The entry of a link.
    #[inline(always)]
    fn entry_of(&self, link: u32) -> u32 {
        link + link.saturating_sub(self.first_wide as u32)
    }

    /// The link of a slot.
    #[inline(always)]
    fn slot(&self, class: Class, wide: bool, due_s: u64) -> usize {
        self.entries + Self::wheel(class, wide) * SLOTS + due_s as usize % SLOTS
    }

    #[inline(always)]
    const fn wheel(class: Class, wide: bool) -> usize {
        2 * class as usize + wide as usize
    }

    #[inline(always)]
    fn first(&self, slot: usize) -> Option<u32> {
        let first = self.links[slot].next & !HALF_OPEN;
        (first as usize != slot).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const ALL: [Class; CLASSES] = [Class::HalfOpen, Class::Closed, Class::OneWay, Class::Lasting];

    proptest! {
        /// Entries come up at their second, not before, each once, whatever was scheduled again or cancelled; the first of a class is
        /// known at all times. req: S6.1, S13.2
        #[test]
        fn comes_up_when_due(
            start in 0..100_000u64,
            steps in prop::collection::vec((0..16u32, 0..CLASSES, prop::option::of(0..SLOTS as u64 - 2), 0..4u64), 0..300),
        ) {
            let mut wheel = Wheel::new(16, 9, start);
            let mut due = BTreeMap::new();
            let mut now = start;
            for (order, (entry, class, wait, pass)) in steps.into_iter().enumerate() {
                // From the ninth on, every other number is an entry's.
                let entry = if entry < 9 { entry } else { 2 * entry - 9 };
                match wait {
                    Some(wait) => {
                        wheel.schedule(entry, ALL[class], now + wait);
                        due.insert(entry, (now + wait.max(1), order, class));
                    }
                    None => { wheel.cancel(entry); due.remove(&entry); }
                }
                for (class, wide) in (0..CLASSES).flat_map(|class| [(class, false), (class, true)]) {
                    let of_class = due.iter().filter(|(entry, (.., c))| *c == class && (!wide || **entry >= 9));
                    let first_due = of_class.clone().map(|(_, (due, ..))| *due).min();
                    let oldest = wheel.oldest(ALL[class], wide, SLOTS as u16);
                    prop_assert_eq!(oldest.map(|(_, due)| due), first_due);
                    // Those of one kind and second are in order.
                    let same = |entry: u32, other: u32| (entry >= 9) == (other >= 9);
                    prop_assert!(oldest.is_none_or(|(entry, at)| of_class.clone()
                        .filter(|(e, (due, ..))| *due == at && same(**e, entry))
                        .all(|(_, (_, order, _))| *order >= due[&entry].1)));
                }
                prop_assert_eq!(wheel.half_open(), due.values().filter(|(.., class)| *class == 0).count());
                now += pass;
                let mut up = Vec::new();
                let mut upcoming = wheel.upcoming::<4>(now, 3);
                while let Some(entry) = wheel.pop(now) {
                    prop_assert!(upcoming.is_empty() || upcoming.remove(0) == entry);
                    up.push(entry);
                }
                prop_assert!(upcoming.is_empty());
                up.sort_unstable();
                let expected: Vec<u32> = due.iter().filter(|(_, (at, ..))| *at <= now).map(|(e, _)| *e).collect();
                due.retain(|_, (at, ..)| *at > now);
                prop_assert_eq!(up, expected);
            }
        }
    }

    #[test]
    fn long_waits_come_up_early_and_a_late_clock_catches_up() {
        let mut wheel = Wheel::new(2, 2, 10);
        wheel.schedule(0, Class::Lasting, 10_000);
        wheel.schedule(1, Class::Closed, 20);
        assert_eq!(wheel.pop(19), None);
        assert_eq!([wheel.pop(5_000), wheel.pop(5_000), wheel.pop(5_000)], [Some(0), Some(1), None]);
        wheel.schedule(0, Class::OneWay, 0);
        assert_eq!((wheel.pop(5_000), wheel.pop(5_001)), (None, Some(0)));
    }
}

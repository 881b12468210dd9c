//! PROXY headers that their targets have not acknowledged, and when they are sent again (semantics S8.3).
//!
//! Kept are places, not headers: a header follows from its flow. Fixed memory: a flow's place is one of [`WAYS`] that its entry's number
//! says. Only a header on its way holds a place; what is merely good to know (what the target's SYN-ACK said, that an
//! acknowledgement has just come) makes room for one.
//!
//! Who has waited equally often waits equally long, so that each of the queues is in order of time. A place whose flow is gone is
//! found out when its time comes, by who asks ([`Unacked::due`]).

use crate::frame::Now;

/// Milliseconds until a header is sent again for the first time; from then on, twice as long each time.
pub const FIRST_WAIT_MS: u64 = 200;
/// How often it is sent again.
pub const REPEATS_MAX: u8 = 6;
/// Acknowledgements of nothing new after which it is sent again at once.
const DUPLICATES: u8 = 2;
/// How long after its acknowledgement copies of that are recognised, in milliseconds. No keepalive comes so soon.
const COPIES_MS: u64 = 200;

const SETS: usize = 1024;
const WAYS: usize = 8;
const QUEUES: usize = REPEATS_MAX as usize + 1;
const NONE: u16 = u16::MAX;

const _: () = assert!(SETS * WAYS < NONE as usize);

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Nothing.
    #[default]
    Free,
    /// A flow whose target has sent its SYN-ACK.
    Offered,
    /// A flow whose header was sent.
    Sent,
    /// A flow whose header was acknowledged a moment ago.
    Acknowledged,
}

/// What is known of a flow's header and of its ends until that is acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// What the place is for.
    pub kind: Kind,
    entry: u32,
    /// When it is due. Of kinds that hold no place: since when it has not been looked at.
    due_ms: u64,
    repeats: u8,
    duplicates: u8,
    /// Bytes of the header that were acknowledged.
    pub acknowledged: u8,
    /// The target's maximum segment size, if it has said one.
    pub mss: Option<u16>,
    /// What the client offered last: the field, with its highest acknowledgement. 0 if not known.
    pub client_window: u16,
    /// The client's timestamps, if it has any.
    pub timestamps: Option<[u8; 8]>,
    /// What the target offered when the client was told last: the field, and bytes.
    pub told_window: Option<(u16, u32)>,
    next: u16,
    previous: u16,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u16,
    last: u16,
}

/// The unacknowledged headers of one lcore.
#[derive(Debug)]
pub struct Unacked {
    places: Box<[Place]>,
    /// By how often the header was sent again.
    queues: [Queue; QUEUES],
}

impl Unacked {
    /// None yet.
    pub fn new() -> Self {
        Self { places: vec![Place::default(); SETS * WAYS].into(), queues: [Queue { first: NONE, last: NONE }; QUEUES] }
    }

    fn set(entry: u32) -> std::ops::Range<usize> {
        let first = entry as usize % SETS * WAYS;
        first..first + WAYS
    }

    fn find(&self, entry: u32) -> Option<usize> {
        Self::set(entry).find(|at| self.places[*at].entry == entry && self.places[*at].kind != Kind::Free)
    }

    /// The place of an entry.
    pub fn get(&mut self, entry: u32) -> Option<&mut Place> {
        let at = self.find(entry)?;
        Some(&mut self.places[at])
    }

    /// Whether [`Unacked::sent`] would find a place.
    pub fn has_room(&self, entry: u32) -> bool {
        self.room(entry).is_some()
    }

    /// The entry's place, or a free one, or that of what is only good to know, the oldest.
    fn room(&self, entry: u32) -> Option<usize> {
        self.find(entry).or_else(|| {
            let places = Self::set(entry).filter(|at| self.places[*at].kind != Kind::Sent);
            places.min_by_key(|at| (self.places[*at].kind != Kind::Free, self.places[*at].due_ms))
        })
    }

    /// The target's SYN-ACK has passed, with this window and maximum segment size. Whatever the entry's place was for, is over.
    pub fn offered(&mut self, entry: u32, window: u16, mss: Option<u16>, now: Now) {
        let Some(at) = self.room(entry) else { return };
        self.unlink(at);
        let told_window = Some((window, window.into()));
        self.places[at] = Place { kind: Kind::Offered, entry, due_ms: now.ms, mss, told_window, ..Place::default() };
    }

    /// The header is sent for the first time, or as good as. `None`: there is no room.
    pub fn sent(&mut self, entry: u32, now: Now) -> Option<&mut Place> {
        let at = self.room(entry)?;
        let old = self.places[at];
        self.unlink(at);
        let known = if old.kind == Kind::Offered && old.entry == entry { old } else { Place::default() };
        self.places[at] = Place { kind: Kind::Sent, entry, ..known };
        self.enqueue(at, 0, now);
        Some(&mut self.places[at])
    }

    /// The target has acknowledged so much of the header, and not all, in a segment that says nothing else. Returns whether that looks like a
    /// loss: then the header is to be sent again at once.
    pub fn again(&mut self, entry: u32, acknowledged: u8) -> bool {
        let Some(place) = self.get(entry) else { return false };
        if place.acknowledged != acknowledged {
            // It may be an older one that was overtaken: that is no news.
            if place.acknowledged < acknowledged {
                (place.acknowledged, place.duplicates) = (acknowledged, 0);
            }
            return false;
        }
        place.duplicates = place.duplicates.saturating_add(1);
        place.duplicates == DUPLICATES
    }

    /// The target has acknowledged the whole header.
    pub fn acknowledged(&mut self, entry: u32, now: Now) {
        let Some(at) = self.find(entry) else { return };
        self.unlink(at);
        let place = &mut self.places[at];
        (place.kind, place.due_ms) = (Kind::Acknowledged, now.ms + COPIES_MS);
    }

    /// Whether an acknowledgement of the header may be a copy of the one that came a moment ago.
    pub fn may_be_copy(&mut self, entry: u32, now: Now) -> bool {
        self.get(entry).is_some_and(|place| place.kind == Kind::Acknowledged && now.ms < place.due_ms)
    }

    /// An entry whose header is due, if there is one, and whether it is to be sent again; else it was sent often enough, and its place is free.
    pub fn due(&mut self, now: Now) -> Option<(u32, bool)> {
        let at = self
            .queues
            .iter()
            .map(|queue| usize::from(queue.first))
            .find(|first| self.places.get(*first).is_some_and(|place| place.due_ms <= now.ms))?;
        let Place { entry, repeats, .. } = self.places[at];
        self.unlink(at);
        if repeats == REPEATS_MAX {
            self.places[at].kind = Kind::Free;
        } else {
            self.places[at].duplicates = 0;
            self.enqueue(at, repeats + 1, now);
        }
        Some((entry, repeats < REPEATS_MAX))
    }

    /// Frees an entry's place.
    pub fn forget(&mut self, entry: u32) {
        if let Some(at) = self.find(entry) {
            self.unlink(at);
            self.places[at].kind = Kind::Free;
        }
    }

    fn enqueue(&mut self, at: usize, repeats: u8, now: Now) {
        let queue = &mut self.queues[usize::from(repeats)];
        let previous = std::mem::replace(&mut queue.last, at as u16);
        let place = &mut self.places[at];
        (place.repeats, place.due_ms) = (repeats, now.ms + (FIRST_WAIT_MS << repeats));
        (place.previous, place.next) = (previous, NONE);
        match self.places.get_mut(usize::from(previous)) {
            Some(previous) => previous.next = at as u16,
            None => queue.first = at as u16,
        }
    }

    fn unlink(&mut self, at: usize) {
        let Place { kind: Kind::Sent, repeats, next, previous, .. } = self.places[at] else { return };
        let queue = &mut self.queues[usize::from(repeats)];
        match self.places.get_mut(usize::from(previous)) {
            Some(place) => place.next = next,
            None => queue.first = next,
        }
        match self.places.get_mut(usize::from(next)) {
            Some(place) => place.previous = previous,
            None => queue.last = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOW: Now = Now { ms: 1_000 };

    fn all_due(unacked: &mut Unacked, now: Now) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| unacked.due(now)).collect()
    }

    /// After 200 ms, then after twice as long each time, six times; then it is over. req: S8.3
    #[test]
    fn six_times_each_after_twice_the_time() {
        let mut unacked = Unacked::new();
        unacked.sent(7, NOW).expect("room");
        let mut seen = Vec::new();
        for ms in 0..40_000 {
            seen.extend(
                all_due(&mut unacked, Now { ms: NOW.ms + ms }).into_iter().map(|(entry, again)| (ms, entry, again)),
            );
        }
        let times = [200, 600, 1_400, 3_000, 6_200, 12_600, 25_400];
        let expected: Vec<(u64, u32, bool)> = times.iter().map(|ms| (*ms, 7, *ms < 25_400)).collect();
        assert_eq!(seen, expected);
        assert!(unacked.get(7).is_none());
    }

    /// The second acknowledgement of the same brings it again; then only time does, or progress and two more. req: S8.3
    #[test]
    fn two_duplicates() {
        let mut unacked = Unacked::new();
        unacked.sent(7, NOW).expect("room");
        let mut seen = |acknowledged| unacked.again(7, acknowledged);
        assert_eq!([seen(0), seen(0), seen(0), seen(0)], [false, true, false, false]);
        assert_eq!([seen(50), seen(0), seen(50), seen(50), seen(50)], [false, false, false, true, false]);
        unacked.due(Now { ms: NOW.ms + 200 });
        assert_eq!([unacked.again(7, 50), unacked.again(7, 50)], [false, true]);
    }

    /// A full set refuses, but what is only good to know makes room.
    #[test]
    fn what_is_only_good_to_know_makes_room() {
        let mut unacked = Unacked::new();
        let entry = |n: usize| (5 + n * SETS) as u32;
        for n in 0..WAYS {
            unacked.offered(entry(n), 1, None, Now { ms: n as u64 });
        }
        assert!(unacked.has_room(entry(WAYS)));
        unacked.offered(entry(WAYS), 1, None, NOW);
        assert!(unacked.get(entry(0)).is_none() && unacked.get(entry(1)).is_some(), "the oldest went");
        (1..=WAYS).for_each(|n| assert!(unacked.sent(entry(n), NOW).is_some()));
        assert!(!unacked.has_room(entry(0)) && unacked.sent(entry(0), NOW).is_none());
        assert!(unacked.has_room(entry(1)), "its own");
        unacked.acknowledged(entry(3), NOW);
        assert!(unacked.may_be_copy(entry(3), NOW));
        assert!(unacked.sent(entry(0), NOW).is_some() && unacked.get(entry(3)).is_none());
        unacked.acknowledged(entry(0), NOW);
        assert!(!unacked.may_be_copy(entry(0), Now { ms: NOW.ms + COPIES_MS }));
    }

    proptest! {
        /// Each comes up at its times, whatever others do.
        #[test]
        fn comes_up_when_due(steps in prop::collection::vec((0..24u32, 0..6u8, 0..400u64), 0..300)) {
            let mut unacked = Unacked::new();
            let mut now = NOW;
            let mut model: BTreeMap<u32, (u64, u8)> = BTreeMap::new();
            for (n, what, pass) in steps {
                let entry = n % 3 + n / 3 * SETS as u32;
                match what {
                    0 | 1 => if unacked.sent(entry, now).is_some() {
                        model.insert(entry, (now.ms + 200, 0));
                    } else {
                        prop_assert!(!unacked.has_room(entry));
                    },
                    2 => { unacked.acknowledged(entry, now); model.remove(&entry); }
                    3 => { unacked.forget(entry); model.remove(&entry); }
                    // It may be refused, and then the place is as it was.
                    4 if unacked.has_room(entry) => { unacked.offered(entry, 1, None, now); model.remove(&entry); }
                    _ => {}
                }
                now.ms += pass;
                let mut up = all_due(&mut unacked, now);
                up.sort_unstable();
                let expected: Vec<(u32, bool)> =
                    model.iter().filter(|(_, (due, _))| *due <= now.ms).map(|(entry, (_, n))| (*entry, *n < 6)).collect();
                prop_assert_eq!(up, expected);
                model.retain(|_, (due, n)| *due > now.ms || *n < 6);
                for (due, n) in model.values_mut().filter(|(due, _)| *due <= now.ms) {
                    *n += 1;
                    *due = now.ms + (200 << *n);
                }
            }
        }
    }
}

//! A timer wheel of one-second slots. Lazy: a flow that sees packets is not moved; when its slot comes up, the caller says
//! when it is really due and it is put there.
//!
//! Invariants: an entry is in at most one slot; links are entry numbers; everything is allocated in [`Wheel::new`].

/// Seconds that the wheel spans; longer waits come up early and are put back.
pub const SLOTS: usize = 512;

const NONE: u32 = u32::MAX;
/// Marks a link that names a slot instead of an entry.
const SLOT: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Link {
    next: u32,
    /// The entry before, `SLOT | slot` for the first one, `NONE` for an entry in no slot.
    previous: u32,
}

/// Bytes that a timer takes.
pub const BYTES_PER_ENTRY: usize = size_of::<Link>();

/// The timers of one lcore's flows.
#[derive(Debug)]
pub struct Wheel {
    heads: [u32; SLOTS],
    links: Box<[Link]>,
    /// The last second whose slot was emptied.
    done_s: u64,
}

impl Wheel {
    /// A wheel for entries `0..entries`.
    pub fn new(entries: usize, now_s: u64) -> Self {
        Self { heads: [NONE; SLOTS], links: vec![Link { next: NONE, previous: NONE }; entries].into(), done_s: now_s }
    }

    /// Puts an entry where it will come up at `due_s`, or as late as the wheel allows; in the next second if that has passed.
    #[inline]
    pub fn schedule(&mut self, entry: u32, due_s: u64) {
        self.cancel(entry);
        let due_s = due_s.clamp(self.done_s + 1, self.done_s + SLOTS as u64 - 1);
        let slot = due_s as usize % SLOTS;
        let head = self.heads[slot];
        self.links[entry as usize] = Link { next: head, previous: SLOT | slot as u32 };
        if head != NONE {
            self.links[head as usize].previous = entry;
        }
        self.heads[slot] = entry;
    }

    /// Takes an entry out, if it is in.
    #[inline]
    pub fn cancel(&mut self, entry: u32) {
        let Link { next, previous } = self.links[entry as usize];
        if previous == NONE {
            return;
        }
        if previous & SLOT != 0 {
            self.heads[(previous & !SLOT) as usize % SLOTS] = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.links[entry as usize] = Link { next: NONE, previous: NONE };
    }

    /// Takes out one entry that has come up by `now_s`. Call it until it returns `None`, or until enough was done for now.
    #[inline]
    pub fn pop(&mut self, now_s: u64) -> Option<u32> {
        while self.done_s < now_s {
            let entry = self.heads[(self.done_s + 1) as usize % SLOTS];
            if entry != NONE {
                self.cancel(entry);
                return Some(entry);
            }
            self.done_s += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Entries come up at their second, not before, each once, whatever was scheduled again or cancelled. req: S6.1
        #[test]
        fn comes_up_when_due(
            start in 0..100_000u64,
            steps in prop::collection::vec((0..16u32, prop::option::of(0..SLOTS as u64 - 2), 0..4u64), 0..300),
        ) {
            let mut wheel = Wheel::new(16, start);
            let mut due = BTreeMap::new();
            let mut now = start;
            for (entry, wait, pass) in steps {
                match wait {
                    Some(wait) => { wheel.schedule(entry, now + wait); due.insert(entry, now + wait.max(1)); }
                    None => { wheel.cancel(entry); due.remove(&entry); }
                }
                now += pass;
                let mut up = Vec::new();
                while let Some(entry) = wheel.pop(now) {
                    up.push(entry);
                }
                up.sort_unstable();
                let expected: Vec<u32> = due.iter().filter(|(_, at)| **at <= now).map(|(e, _)| *e).collect();
                due.retain(|_, at| *at > now);
                prop_assert_eq!(up, expected);
            }
        }
    }

    #[test]
    fn long_waits_come_up_early_and_a_late_clock_catches_up() {
        let mut wheel = Wheel::new(2, 10);
        wheel.schedule(0, 10_000);
        wheel.schedule(1, 20);
        assert_eq!(wheel.pop(19), None);
        assert_eq!(wheel.pop(5_000), Some(1));
        assert_eq!(wheel.pop(5_000), Some(0));
        assert_eq!(wheel.pop(5_000), None);
    }
}

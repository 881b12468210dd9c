//! Passive health checks: what is made of how targets answer their clients' SYNs (HC-17, S16.4).
//!
//! A target becomes suspect when, within the last ten seconds, most attempts to connect to it failed, and enough of them, from several
//! clients. It is suspect until its next active check has a result, or for ten seconds; then it is looked at anew. What that means for new
//! flows is [`crate::Model::candidates`]' business; what is reported of the target does not change.
//!
//! No clock: the caller says what time it is and what the data plane has counted.

use std::collections::{HashMap, HashSet, VecDeque};

/// Milliseconds that attempts count, and that a target is suspect at the most.
pub const WINDOW_MS: u64 = 10_000;
/// Attempts that must have failed.
pub const FAILED_MIN: u64 = 5;
/// Different clients that they must come from.
pub const CLIENTS_MIN: usize = 3;

/// A target: its slot and the slot's generation.
pub type Name = (u16, u8);

/// What the data plane has counted of a target's attempts since it began to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Attempts that were answered.
    pub answered: u64,
    /// Attempts that were refused or not answered.
    pub failed: u64,
    /// Clients of the attempts that failed last, a number each.
    pub clients: Vec<u16>,
}

/// What was seen between two looks.
#[derive(Debug)]
struct Look {
    at_ms: u64,
    answered: u64,
    failed: u64,
    clients: Vec<u16>,
}

#[derive(Debug, Default)]
struct Watched {
    generation: u8,
    answered: u64,
    failed: u64,
    /// Of the last [`WINDOW_MS`], oldest first.
    looks: VecDeque<Look>,
    suspect_until_ms: Option<u64>,
}

/// The targets that are watched.
#[derive(Debug, Default)]
pub struct Passive {
    targets: HashMap<u16, Watched>,
}

impl Passive {
    /// Takes in what was counted of a target by now. The first time, and when less was counted than before, that is only what later counts
    /// are compared with. Returns whether the target is suspect now if that has changed.
    pub fn observe(&mut self, (slot, generation): Name, counted: Counted, now_ms: u64) -> Option<bool> {
        let Counted { answered, failed, clients } = counted;
        let fresh = || Watched { generation, answered, failed, ..Watched::default() };
        let watched = self.targets.entry(slot).or_insert_with(fresh);
        let is_less = answered < watched.answered || failed < watched.failed;
        if watched.generation != generation || is_less {
            let was_suspect = watched.generation == generation && watched.suspect_until_ms.is_some();
            *watched = fresh();
            return was_suspect.then_some(false);
        }
        let look =
            Look { at_ms: now_ms, answered: answered - watched.answered, failed: failed - watched.failed, clients };
        (watched.answered, watched.failed) = (answered, failed);
        if let Some(until_ms) = watched.suspect_until_ms {
            // What its last flows still do says nothing of what it will do.
            let is_over = now_ms >= until_ms;
            if is_over {
                watched.suspect_until_ms = None;
            }
            return is_over.then_some(false);
        }
        watched.take_in(look, now_ms);
        if !watched.is_doubtful() {
            return None;
        }
        watched.looks.clear();
        watched.suspect_until_ms = Some(now_ms + WINDOW_MS);
        Some(true)
    }

    /// An active check of a target has a result: what was seen before does not count any more. Returns whether the target was suspect.
    pub fn checked(&mut self, (slot, generation): Name) -> bool {
        let watched = self.targets.get_mut(&slot).filter(|watched| watched.generation == generation);
        watched.is_some_and(|watched| {
            watched.looks.clear();
            watched.suspect_until_ms.take().is_some()
        })
    }

    /// Forgets the targets in all slots but these.
    pub fn keep(&mut self, keep: impl Fn(u16) -> bool) {
        self.targets.retain(|slot, _| keep(*slot));
    }
}

impl Watched {
    fn take_in(&mut self, look: Look, now_ms: u64) {
        while self.looks.front().is_some_and(|first| first.at_ms + WINDOW_MS <= now_ms) {
            self.looks.pop_front();
        }
        if look.answered + look.failed > 0 {
            self.looks.push_back(look);
        }
    }

    /// Whether most of the attempts in the window failed, and enough of them, from several clients.
    fn is_doubtful(&self) -> bool {
        let (answered, failed) = self.looks.iter().fold((0, 0), |(a, f), look| (a + look.answered, f + look.failed));
        let clients = || {
            let failing = self.looks.iter().filter(|look| look.failed > 0);
            failing.flat_map(|look| &look.clients).collect::<HashSet<_>>().len()
        };
        failed >= FAILED_MIN && failed > answered && clients() >= CLIENTS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Name = (3, 1);

    /// A target and what was counted of it.
    #[derive(Default)]
    struct Story {
        passive: Passive,
        counted: Counted,
    }

    impl Story {
        fn begin() -> Self {
            let mut story = Self::default();
            assert_eq!(story.look(0, 0, &[], 0), None);
            story
        }

        fn look(&mut self, answered: u64, failed: u64, clients: &[u16], now_ms: u64) -> Option<bool> {
            self.counted.answered += answered;
            self.counted.failed += failed;
            self.counted.clients = clients.to_vec();
            self.passive.observe(TARGET, self.counted.clone(), now_ms)
        }
    }

    /// Five failures, three clients, more than half: less is not enough. req: HC-17
    #[test]
    fn the_limits() {
        for (answered, failed, clients, suspect) in [
            (0, 5, &[1, 2, 3][..], Some(true)),
            (4, 5, &[1, 2, 3], Some(true)),
            (5, 5, &[1, 2, 3], None),
            (0, 4, &[1, 2, 3], None),
            (0, 50, &[1, 2, 2], None),
            (6, 5, &[1, 2, 3], None),
        ] {
            assert_eq!(Story::begin().look(answered, failed, clients, 100), suspect, "{answered} {failed} {clients:?}");
        }
    }

    /// Attempts count for ten seconds; clients are gathered from all looks. req: HC-17
    #[test]
    fn the_window() {
        let mut story = Story::begin();
        assert_eq!(story.look(0, 3, &[1], 1_000), None);
        assert_eq!(story.look(0, 1, &[2], 5_000), None);
        assert_eq!(story.look(0, 0, &[2], 10_999), None);
        assert_eq!(story.look(0, 1, &[3], 11_000), None, "the first three are too long ago");
        assert_eq!(story.look(0, 2, &[4], 14_999), None, "four, of three clients");
        assert_eq!(story.look(0, 1, &[4], 14_999), Some(true));
    }

    /// Clients of a look without failures are of an earlier time. req: HC-17
    #[test]
    fn clients_of_old_failures_do_not_count() {
        let mut story = Story::begin();
        assert_eq!(story.look(1, 0, &[7, 8, 9], 1_000), None);
        assert_eq!(story.look(0, 9, &[1], 2_000), None);
    }

    /// Suspicion ends after ten seconds, or with a check; then it takes as much as before to begin. req: HC-17
    #[test]
    fn suspicion_ends() {
        for by_check in [false, true] {
            let mut story = Story::begin();
            assert_eq!(story.look(0, 5, &[1, 2, 3], 1_000), Some(true));
            assert_eq!(story.look(0, 50, &[1, 2, 3], 10_900), None);
            if by_check {
                assert!(story.passive.checked(TARGET) && !story.passive.checked(TARGET));
            } else {
                assert_eq!(story.look(0, 0, &[], 11_000), Some(false));
            }
            assert_eq!(story.look(0, 4, &[1, 2, 3], 11_100), None);
            assert_eq!(story.look(0, 1, &[1, 2, 3], 11_200), Some(true));
        }
    }

    /// Another target in the slot begins anew, and so does one whose data plane does. req: HC-17
    #[test]
    fn other_counts_are_no_attempts() {
        let mut passive = Passive::default();
        let counted = |answered, failed| Counted { answered, failed, clients: vec![1, 2, 3] };
        assert_eq!(passive.observe((1, 0), counted(0, 100), 0), None, "what was before");
        assert_eq!(passive.observe((1, 0), counted(0, 105), 100), Some(true));
        assert!(!passive.checked((1, 1)), "a check of another target");
        assert_eq!(passive.observe((1, 1), counted(0, 200), 200), None);
        assert_eq!(passive.observe((1, 1), counted(0, 205), 300), Some(true));
        assert_eq!(passive.observe((1, 1), counted(0, 5), 400), Some(false), "another segment");
        passive.keep(|slot| slot != 1);
        assert!(passive.targets.is_empty());
    }

    proptest! {
        /// Equals its definition: look back over the last ten seconds, but not over the end of a suspicion.
        #[test]
        fn equals_looking_back(
            steps in proptest::collection::vec((0..3u64, 0..4u64, 0..6u16, 0..3_000u64, proptest::bool::weighted(0.05)), 1..80),
        ) {
            let mut story = Story::begin();
            let mut history: Vec<(u64, u64, u64, u16)> = Vec::new();
            let (mut now_ms, mut suspect_since) = (0, None);
            for (answered, failed, client, pass, checked) in steps {
                now_ms += pass;
                if checked {
                    prop_assert_eq!(story.passive.checked(TARGET), suspect_since.take().is_some());
                    history.clear();
                }
                let change = story.look(answered, failed, &[client], now_ms);
                if let Some(since) = suspect_since {
                    let is_over = now_ms >= since + WINDOW_MS;
                    prop_assert_eq!(change, is_over.then_some(false));
                    suspect_since = suspect_since.filter(|_| !is_over);
                    continue;
                }
                history.push((now_ms, answered, failed, client));
                let recent: Vec<_> = history.iter().filter(|(at, ..)| at + WINDOW_MS > now_ms).collect();
                let (answered, failed) = recent.iter().fold((0, 0), |sum, look| (sum.0 + look.1, sum.1 + look.2));
                let clients: HashSet<u16> = recent.iter().filter(|look| look.2 > 0).map(|look| look.3).collect();
                let expected = failed >= 5 && failed * 2 > answered + failed && clients.len() >= 3;
                prop_assert_eq!(change, expected.then_some(true));
                if expected {
                    suspect_since = Some(now_ms);
                    history.clear();
                }
            }
        }
    }
}

//! Attempts to begin a flow that were refused a moment ago, so that a client that sends its SYN again is counted once (S9.5).
//!
//! Fixed memory: eight places for each of so many hashes, the one seen longest ago makes room. Who makes more attempts at a time than
//! there are places has some of them counted again.

use crate::frame::Now;

/// How long an attempt is remembered after its last packet.
const REMEMBERED_MS: u64 = 4_000;
/// With 5,000 attempts at a time hardly ever are there more in a set than it has places.
const SETS: usize = 4096;
const WAYS: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
struct Refusal {
    attempt: u64,
    seen_ms: u64,
}

/// What one lcore has refused.
#[derive(Debug)]
pub(crate) struct Refusals {
    sets: Box<[[Refusal; WAYS]]>,
}

impl Refusals {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { sets: vec![[Refusal::default(); WAYS]; SETS].into() }
    }

    /// Whether this attempt, by its hash, was refused not long ago. It is remembered from now on.
    pub(crate) fn is_known(&mut self, attempt: u64, now: Now) -> bool {
        // Never that of an empty place.
        let attempt = attempt | 1;
        let set = &mut self.sets[(attempt >> 32) as usize % SETS];
        let known = set.iter_mut().find(|r| r.attempt == attempt);
        let is_known = known.as_ref().is_some_and(|r| now.ms.saturating_sub(r.seen_ms) <= REMEMBERED_MS);
        if let Some(place) = known {
            place.seen_ms = now.ms;
        } else if let Some(place) = set.iter_mut().min_by_key(|r| r.seen_ms) {
            *place = Refusal { attempt, seen_ms: now.ms };
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_for_four_seconds_after_the_last() {
        let mut refusals = Refusals::new();
        let mut known = |attempt, ms| refusals.is_known(attempt, Now { ms });
        assert!(!known(6, 0));
        assert!(known(6, 1_000) && known(6, 3_000) && known(6, 7_000));
        assert!(!known(6, 11_001), "too long ago");
        assert!(known(6, 11_002));
        let other = |n: u64| n << 48 | 8;
        assert!((0..WAYS as u64).all(|n| !known(other(n), 12_000 + n)));
        assert!((0..WAYS as u64).all(|n| known(other(n), 13_000 + n)), "as many as there are places");
        assert!(!known(other(9), 14_000) && !known(other(0), 14_001), "the oldest made room");
        assert!(known(other(3), 14_002));
    }
}

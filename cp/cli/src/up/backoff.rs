//! How long a process that died waits for its next start.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Who lived this long starts at once again.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// None at first, then 100 ms, doubling up to 5 s.
#[derive(Debug, Default)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The delay after a life of `uptime`.
    pub fn delay(&mut self, uptime: Duration) -> Duration {
        if uptime >= GOOD_LIFE {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = (delay * 2).clamp(FIRST, LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_seconds_and_starts_over_after_a_good_life() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..9).map(|_| backoff.delay(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.delay(GOOD_LIFE), Duration::ZERO);
        assert_eq!(backoff.delay(Duration::ZERO), FIRST);
    }
}

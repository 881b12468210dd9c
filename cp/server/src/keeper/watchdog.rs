//! Tells whether a thread still turns, by a counter that goes up with each turn (HC-32).

use std::time::{Duration, Instant};

/// A thread is taken for stopped when its counter has stood still for so long …
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// … and was looked at so often meanwhile: a process that was stopped as a whole gives its threads time to go on.
const LOOKS_MIN: u32 = 10;

/// What was seen of a thread.
pub struct Watchdog {
    beats: u64,
    since: Instant,
    looks: u32,
}

impl Watchdog {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { beats: 0, since: now, looks: 0 }
    }

    /// Takes the counter; whether the thread lives.
    pub fn look(&mut self, beats: u64, now: Instant) -> bool {
        if beats != self.beats {
            *self = Self { beats, since: now, looks: 0 };
        }
        self.looks = self.looks.saturating_add(1);
        self.looks < LOOKS_MIN || now.saturating_duration_since(self.since) < SILENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: HC-32
    #[test]
    fn silence_is_noticed_and_so_is_its_end() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut watchdog = Watchdog::new(begin);
        assert!((0..100).all(|turn| watchdog.look(turn / 5, at(turn * 100))), "it turns twice a second");
        let last = 99 * 100 - 400;
        assert!((0..30).all(|turn| watchdog.look(19, at(last + turn * 100))));
        assert!(!watchdog.look(19, at(last + 3_000)));
        assert!(!watchdog.look(19, at(last + 9_000)));
        assert!(watchdog.look(20, at(last + 9_100)));
    }

    /// req: HC-32
    #[test]
    fn a_process_that_was_stopped_is_given_time() {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(begin);
        assert!(watchdog.look(7, begin));
        let later = begin + Duration::from_secs(3600);
        assert!((1..9).all(|_| watchdog.look(7, later)), "nothing is known yet");
        assert!(!watchdog.look(7, later));
    }
}

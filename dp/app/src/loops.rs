//! How long the turns of an lcore's loop take: the longest one, and how many took longer than so much. What keeps packets waiting shows
//! here, whether it is the code's doing or somebody else had the CPU.

use std::sync::atomic::{AtomicU64, Ordering};

use leat_abi::Counter;
use leat_abi::counters::LcoreCounters;

/// Microseconds, and what counts the turns that took longer. In ascending order.
const LIMITS: [(u64, Counter); 13] = [
    (1, Counter::LoopsOver1Us),
    (2, Counter::LoopsOver2Us),
    (5, Counter::LoopsOver5Us),
    (10, Counter::LoopsOver10Us),
    (20, Counter::LoopsOver20Us),
    (50, Counter::LoopsOver50Us),
    (100, Counter::LoopsOver100Us),
    (200, Counter::LoopsOver200Us),
    (500, Counter::LoopsOver500Us),
    (1_000, Counter::LoopsOver1Ms),
    (2_000, Counter::LoopsOver2Ms),
    (5_000, Counter::LoopsOver5Ms),
    (10_000, Counter::LoopsOver10Ms),
];

/// The turns of one lcore's loop.
pub struct LoopTimes {
    counters: LcoreCounters<'static>,
    /// The longest turn in TSC ticks, for others to read.
    longest: &'static AtomicU64,
    /// [`LIMITS`] in TSC ticks.
    limits: [u64; LIMITS.len()],
}

impl LoopTimes {
    /// Of an lcore whose TSC has this frequency in ticks per second.
    pub fn new(counters: LcoreCounters<'static>, longest: &'static AtomicU64, tsc_hz: u64) -> Self {
        let ticks = |us: u64| (u128::from(us) * u128::from(tsc_hz) / 1_000_000) as u64;
        Self { counters, longest, limits: LIMITS.map(|(us, _)| ticks(us)) }
    }

    /// A turn that had work took so many ticks.
    #[inline(always)]
    pub fn took(&mut self, ticks: u64) {
        if ticks > self.longest.load(Ordering::Relaxed) {
            self.longest.store(ticks, Ordering::Relaxed);
        }
        // Most turns exceed the first few at the most.
        for ((_, counter), _) in LIMITS.iter().zip(self.limits).take_while(|(_, limit)| ticks > *limit) {
            self.counters.add(*counter, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::counters::LCORE_WORDS;

    #[test]
    fn turns_are_counted_by_what_they_exceed() {
        let words: &'static [AtomicU64] = Vec::leak((0..LCORE_WORDS).map(|_| AtomicU64::new(0)).collect());
        let counters = LcoreCounters::new(words, &[], &[]);
        let longest: &'static AtomicU64 = Box::leak(Box::default());
        let mut times = LoopTimes::new(counters, longest, 2_000_000_000);
        let us = |us: u64| 2_000 * us;
        for (turn, longest_us) in [(5, 5), (3, 5), (7, 7), (200, 200), (201, 201), (20, 201), (21, 201), (1_500, 1_500)]
        {
            times.took(us(turn));
            assert_eq!(longest.load(Ordering::Relaxed), us(longest_us));
        }
        let counted = LIMITS.map(|(_, counter)| counters.get(counter));
        assert_eq!(counted, [8, 8, 6, 5, 4, 3, 3, 2, 1, 1, 0, 0, 0]);
    }
}

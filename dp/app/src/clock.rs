//! The monotonic clock, read from the CPU's time-stamp counter: no system call in the packet loop.

use leat_abi::segment::monotonic_ms;
use leat_core::Now;
use leat_dpdk::rdtsc;

/// Turns TSC ticks into milliseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start_ms: u64,
    start_ticks: u64,
    ticks_per_ms: u64,
    /// Ticks after which [`Clock::tick`] looks at the kernel's clock again.
    sync_ticks: u64,
}

impl Clock {
    /// A clock for a TSC of this frequency in ticks per second.
    pub fn new(tsc_hz: u64) -> Self {
        Self {
            start_ms: monotonic_ms(),
            start_ticks: rdtsc(),
            ticks_per_ms: (tsc_hz / 1000).max(1),
            sync_ticks: tsc_hz,
        }
    }

    /// The moment at which the TSC stands at `ticks`. Once a second the kernel's clock is asked (without a system call), so that
    /// the two do not drift apart: what flow entries hold must make sense to the next process.
    #[inline(always)]
    pub fn tick(&mut self, ticks: u64) -> Now {
        let now = self.at(ticks);
        if ticks.saturating_sub(self.start_ticks) > self.sync_ticks {
            // Never backwards.
            self.start_ms = monotonic_ms().max(now.ms);
            self.start_ticks = ticks;
        }
        now
    }

    /// The moment at which the TSC stands at `ticks`.
    #[inline(always)]
    fn at(&self, ticks: u64) -> Now {
        Now { ms: self.start_ms + ticks.saturating_sub(self.start_ticks) / self.ticks_per_ms }
    }
}

//! Whether a CPU is a whole core at the moment. A virtual machine's CPU often is one of the two threads of a core; what the other one does for
//! somebody else is nowhere to be seen, but takes half of what this one can do. It shows in what takes all of a core: many chains of simple
//! operations at a time, which take up to twice as long.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use leat_dpdk::rdtsc;

/// Steps of a chain: with all chains, a few microseconds.
const STEPS: u64 = 1000;
/// Chains of steps at a time, more than a core can have under way.
const CHAINS: usize = 8;
/// By how much more than the least a probe may take where nobody else uses the core.
const TOLERANCE: f64 = 1.25;

/// What the other thread of a core does, as far as it shows on this one.
#[derive(Debug)]
pub struct Sibling {
    /// The fewest ticks that a probe has taken.
    least: Cell<f64>,
    /// For how long a measurement may still wait for a quiet moment, all measurements together.
    patience: Cell<Duration>,
    /// Slices in all, and those in which the core was shared.
    slices: Cell<(u32, u32)>,
}

/// Ticks for all chains, a step being three operations each of which needs the one before.
fn chains() -> u64 {
    let before = rdtsc();
    let mut chains = black_box([before; CHAINS]);
    for step in 0..STEPS {
        for x in &mut chains {
            *x = (*x ^ step).rotate_left(7).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
    }
    black_box(chains);
    rdtsc().wrapping_sub(before)
}

impl Sibling {
    /// Nothing is known yet.
    pub fn new(patience: Duration) -> Self {
        Self { least: Cell::new(f64::INFINITY), patience: Cell::new(patience), slices: Cell::new((0, 0)) }
    }

    /// Ticks for some work that always is the same: the fewest where the core is this CPU's alone.
    pub fn probe(&self) -> f64 {
        // The best of a few, as an interrupt may come in between.
        let probe = (0..3).map(|_| chains()).min().unwrap_or(0) as f64;
        self.least.set(self.least.get().min(probe));
        probe
    }

    /// Whether the core was this CPU's alone when a probe showed that.
    pub fn is_quiet(&self, probe: f64) -> bool {
        probe <= self.least.get() * TOLERANCE
    }

    /// Whether a measurement may take so much longer to wait for a quiet moment.
    pub fn may_wait(&self, longer: Duration) -> bool {
        let left = self.patience.get().checked_sub(longer);
        self.patience.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Notes how many slices were measured, and in how many the core was shared.
    pub fn count(&self, slices: usize, shared: usize) {
        let (all, with) = self.slices.get();
        self.slices.set((all + slices as u32, with + shared as u32));
    }

    /// In how many of a hundred slices the core was shared.
    pub fn shared_percent(&self) -> f64 {
        let (all, shared) = self.slices.get();
        100.0 * f64::from(shared) / f64::from(all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is quiet is seen by what the same core has done at its best, and patience ends.
    #[test]
    fn the_best_is_the_measure() {
        let sibling = Sibling::new(Duration::from_secs(2));
        let probes: Vec<f64> = (0..200).map(|_| sibling.probe()).collect();
        let least = probes.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(least > STEPS as f64 / 4.0, "chains are not computed in advance: {least} ticks");
        assert!(sibling.is_quiet(least) && sibling.is_quiet(least * 1.2) && !sibling.is_quiet(least * 1.8));
        assert!(sibling.may_wait(Duration::from_secs(1)) && !sibling.may_wait(Duration::from_secs(3)));
        assert!(!sibling.may_wait(Duration::from_millis(1)));
        sibling.count(30, 10);
        sibling.count(10, 0);
        assert!((sibling.shared_percent() - 25.0).abs() < 1e-9);
    }
}

//! Systems that are measured next to each other: one slice of work of each in turn, so that what disturbs the machine disturbs all of
//! them alike. Slices in which somebody else used the core are left out where there are enough others ([`crate::sibling`]).

use std::time::Instant;

use anyhow::Result;

use crate::sibling::Sibling;
use crate::stats::Figure;

/// Rounds at the most, as many times as are wanted.
const ROUNDS_TIMES: usize = 10;

/// What a slice took.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Ticks per part; of a pair of slices, how many times those of the other.
    ticks: f64,
    /// The worse of two probes, before and after it.
    probe: f64,
}

/// One system under measurement.
struct Contestant<'a> {
    case: String,
    system: &'static str,
    unit: &'static str,
    /// What a slice is made of, in number.
    parts: u32,
    slice: Box<dyn FnMut() -> Result<u64> + 'a>,
    samples: Vec<Sample>,
}

/// All that are measured in turn.
pub struct Contest<'a> {
    tsc_hz: u64,
    sibling: &'a Sibling,
    contestants: Vec<Contestant<'a>>,
    /// Slices of each that are wanted.
    wanted: usize,
}

impl<'a> Contest<'a> {
    /// Nobody yet. `tsc_hz`: ticks per second.
    pub fn new(tsc_hz: u64, sibling: &'a Sibling) -> Self {
        Self { tsc_hz, sibling, contestants: Vec::new(), wanted: 0 }
    }

    /// Somebody whose slice does `parts` of something, of which `unit` is the cost, and returns the ticks it took.
    pub fn add(
        &mut self,
        case: impl Into<String>,
        system: &'static str,
        (parts, unit): (u32, &'static str),
        slice: impl FnMut() -> Result<u64> + 'a,
    ) {
        let (case, slice) = (case.into(), Box::new(slice));
        self.contestants.push(Contestant { case, system, unit, parts, slice, samples: Vec::new() });
    }

    /// Measures so many slices of each, in turn, after one that warms up, and prints the figures. More, while too many of them were
    /// disturbed and there is time.
    pub fn run(&mut self, rounds: usize) -> Result<()> {
        self.wanted = rounds;
        for round in 0..=rounds * ROUNDS_TIMES {
            let started = Instant::now();
            for contestant in &mut self.contestants {
                let before = self.sibling.probe();
                let ticks = (contestant.slice)()? as f64 / f64::from(contestant.parts);
                let probe = before.max(self.sibling.probe());
                if round > 0 {
                    contestant.samples.push(Sample { ticks, probe });
                }
            }
            if round >= rounds && (self.fewest_quiet() >= rounds || !self.sibling.may_wait(started.elapsed())) {
                break;
            }
        }
        for c in &self.contestants {
            let (quiet, all) = (self.quiet(&c.samples), c.samples.len());
            self.sibling.count(all, all - quiet);
            self.figure(c).print();
        }
        Ok(())
    }

    /// Of how many of a contestant's slices nobody else used the core.
    fn quiet(&self, samples: &[Sample]) -> usize {
        samples.iter().filter(|sample| self.sibling.is_quiet(sample.probe)).count()
    }

    fn fewest_quiet(&self) -> usize {
        self.contestants.iter().map(|c| self.quiet(&c.samples)).min().unwrap_or(0)
    }

    /// What the figure is made of: the quiet slices, if they are half as many as were wanted; else all, and then what is to be said of that.
    fn chosen(&self, samples: &[Sample]) -> (Vec<f64>, Option<String>) {
        let (quiet, all) = (self.quiet(samples), samples.len());
        let enough = quiet * 2 >= self.wanted;
        let taken = samples.iter().filter(|sample| !enough || self.sibling.is_quiet(sample.probe));
        let note = (!enough).then(|| format!("SHARED CORE in {} of {all} slices", all - quiet));
        (taken.map(|sample| sample.ticks).collect(), note)
    }

    /// The figure of a contestant.
    fn figure(&self, c: &Contestant<'_>) -> Figure {
        let (ticks, note) = self.chosen(&c.samples);
        Figure { note, ..Figure::of_ticks(&*c.case, c.system, &ticks, self.tsc_hz, c.unit) }
    }

    /// Prints how many times as much one costs as another, each a case and a system: the median over slices next to each other. Nothing
    /// if one of them did not take part.
    pub fn ratio(&self, case: impl Into<String>, of: (&str, &str), to: (&str, &str)) {
        let samples = |(case, system): (&str, &str)| {
            self.contestants.iter().find(|c| c.case == case && c.system == system).map(|c| &c.samples)
        };
        let (Some(of), Some(to)) = (samples(of), samples(to)) else { return };
        let pair = |(a, b): (&Sample, &Sample)| Sample { ticks: a.ticks / b.ticks, probe: a.probe.max(b.probe) };
        let (ratios, note) = self.chosen(&of.iter().zip(to).map(pair).collect::<Vec<_>>());
        Figure { note, ..Figure::of(case, "leat", &ratios, "ratio", true) }.print();
    }

    /// The cost of a case of Leat's as its figure says, in nanoseconds.
    pub fn median(&self, case: &str) -> Option<f64> {
        let found = self.contestants.iter().find(|c| c.case == case && c.system == "leat")?;
        Some(self.figure(found).value)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Slices that were disturbed are measured again, as far as patience goes, and not in the figure.
    #[test]
    fn disturbed_slices_are_left_out() {
        let sibling = Sibling::new(Duration::from_secs(60));
        let slices = Cell::new(0u32);
        let mut contest = Contest::new(1_000_000_000, &sibling);
        contest.add("case", "leat", (1, "ns"), || {
            slices.set(slices.get() + 1);
            Ok(10)
        });
        contest.run(5).expect("measured");
        assert!(slices.get() >= 6, "five, after one that warms up: {slices:?}");
        let quiet = sibling.probe();
        let busy = quiet * 100.0;
        let samples =
            |some: &[(f64, f64)]| some.iter().map(|(ticks, probe)| Sample { ticks: *ticks, probe: *probe }).collect();
        contest.wanted = 4;
        contest.contestants[0].samples = samples(&[(20.0, busy), (11.0, 0.0), (20.0, busy), (12.0, 0.0), (20.0, busy)]);
        let figure = contest.figure(&contest.contestants[0]);
        assert_eq!((figure.value, figure.repetitions, figure.note), (11.5, Some(2), None));
        contest.contestants[0].samples = samples(&[(20.0, busy), (11.0, 0.0), (20.0, busy)]);
        let figure = contest.figure(&contest.contestants[0]);
        assert_eq!((figure.value, figure.note.as_deref()), (20.0, Some("SHARED CORE in 2 of 3 slices")));
    }
}

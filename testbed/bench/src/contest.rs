//! Systems that are measured next to each other: one slice of work of each in turn, so that what disturbs the machine disturbs all of
//! them alike.

use anyhow::Result;

use crate::stats::Figure;

/// One system under measurement.
struct Contestant<'a> {
    case: String,
    system: &'static str,
    unit: &'static str,
    /// What a slice is made of, in number.
    parts: u32,
    slice: Box<dyn FnMut() -> Result<u64> + 'a>,
    /// Ticks per part.
    samples: Vec<f64>,
}

/// All that are measured in turn.
pub struct Contest<'a> {
    tsc_hz: u64,
    contestants: Vec<Contestant<'a>>,
}

impl<'a> Contest<'a> {
    /// Nobody yet. `tsc_hz`: ticks per second.
    pub fn new(tsc_hz: u64) -> Self {
        Self { tsc_hz, contestants: Vec::new() }
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

    /// Measures so many slices of each, in turn, after one that warms up, and prints the figures.
    pub fn run(&mut self, rounds: usize) -> Result<()> {
        for round in 0..=rounds {
            for contestant in &mut self.contestants {
                let ticks = (contestant.slice)()?;
                if round > 0 {
                    contestant.samples.push(ticks as f64 / f64::from(contestant.parts));
                }
            }
        }
        for c in &self.contestants {
            Figure::of_ticks(&*c.case, c.system, &c.samples, self.tsc_hz, c.unit).print();
        }
        Ok(())
    }

    /// Prints how many times as much one costs as another, each a case and a system: the median over slices next to each other. Nothing
    /// if one of them did not take part.
    pub fn ratio(&self, case: impl Into<String>, of: (&str, &str), to: (&str, &str)) {
        let samples = |(case, system): (&str, &str)| {
            self.contestants.iter().find(|c| c.case == case && c.system == system).map(|c| &c.samples)
        };
        if let (Some(of), Some(to)) = (samples(of), samples(to)) {
            let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
            Figure::of(case, "leat", &ratios, "ratio", true).print();
        }
    }

    /// The median cost of a case of Leat's, in nanoseconds.
    pub fn median(&self, case: &str) -> Option<f64> {
        let found = self.contestants.iter().find(|c| c.case == case && c.system == "leat")?;
        Some(Figure::of_ticks(case, "leat", &found.samples, self.tsc_hz, found.unit).value)
    }
}

//! The benchmarks of RFC 2544, section 26: throughput, latency, frame loss, back-to-back frames.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::generator::{Generator, Outcome, Pace, Until};

/// A rate at which the generator leaves out more than this share of its packets is too high for it, whatever the device does.
const LEFT_OUT_MAX: f64 = 0.02;
/// Under way at the most while the highest rate is estimated: below the smallest usual ring.
const WINDOW: u64 = 512;
/// The estimate is made smaller or larger by this to begin with.
const ABOVE_ESTIMATE: f64 = 1.3;

/// How a search is made.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Packets per second to begin with; none: somewhat more than come back when as many are sent as come back.
    pub max_rate: Option<f64>,
    /// The search ends when it knows the rate to this share of it.
    pub resolution: f64,
    /// How long packets are sent in each trial.
    pub trial: Duration,
    /// A rate passes if one of so many trials loses nothing.
    pub attempts: u32,
}

/// The highest rate without loss.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// The trial that lost nothing.
    pub best: Outcome,
    /// The lowest rate that was not passed, and why.
    pub limit: Option<(f64, Limit)>,
}

impl Throughput {
    /// What kept the rate from being higher, for people.
    pub fn why(&self) -> String {
        match self.limit {
            None => "the highest rate that was tried".to_owned(),
            Some((rate, Limit::Lost(lost))) => format!("at {:.3} M/s {lost} packets are lost", rate / 1e6),
            Some((rate, Limit::Generator)) => format!("the generator cannot send {:.3} M/s", rate / 1e6),
        }
    }
}

/// Why a rate was not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many packets were lost.
    Lost(u64),
    /// The generator cannot send so fast.
    Generator,
}

/// RFC 2544, 26.1: the highest rate at which every packet arrives, by halving.
///
/// # Errors
/// If packets arrive that are wrong, which no rate excuses, or none do at any rate.
pub fn throughput(generator: &mut Generator, search: &Search) -> Result<Throughput> {
    let mut high = match search.max_rate {
        Some(rate) => rate,
        None => ABOVE_ESTIMATE * estimate(generator, search.trial)?,
    };
    let (mut low, mut best, mut limit) = (0.0, None, None);
    let mut rate = high;
    while best.is_none() || high - low > search.resolution * high {
        let (passed, why) = attempt(generator, search, rate)?;
        match passed {
            Some(outcome) => {
                low = rate;
                best = Some(outcome);
                // The first one is the highest that may be.
                if rate >= high {
                    break;
                }
            }
            None => {
                high = rate;
                limit = Some((rate, why));
                ensure!(high >= 1000.0, "packets are lost at 1000 per second, too: {}", generator.counts());
            }
        }
        rate = if low == 0.0 { high * 0.75 } else { (low + high) / 2.0 };
    }
    match best {
        Some(best) => Ok(Throughput { best, limit }),
        None => anyhow::bail!("no rate was passed"),
    }
}

/// Packets per second that come back when never more than a window of them is under way.
pub fn estimate(generator: &mut Generator, time: Duration) -> Result<f64> {
    let outcome = generator.run(Pace::Window(WINDOW), Until::Time(time.min(Duration::from_millis(300))), false)?;
    ensure!(outcome.counts.received > 0, "nothing comes back: {}", outcome.counts);
    Ok(outcome.rate())
}

fn attempt(generator: &mut Generator, search: &Search, rate: f64) -> Result<(Option<Outcome>, Limit)> {
    let mut why = Limit::Generator;
    for _ in 0..search.attempts.max(1) {
        let outcome = generator.run(Pace::Rate(rate), Until::Time(search.trial), true)?;
        let counts = outcome.counts;
        ensure!(counts.is_right(), "packets arrive that are wrong: {counts}");
        if counts.lost() > 0 {
            why = Limit::Lost(counts.lost());
        } else if outcome.left_out as f64 <= LEFT_OUT_MAX * counts.sent as f64 {
            return Ok((Some(outcome), why));
        }
    }
    Ok((None, why))
}

/// RFC 2544, 26.3: the share of packets lost at `steps` rates from the highest down, in equal steps.
pub fn loss_curve(generator: &mut Generator, max_rate: f64, steps: u32, trial: Duration) -> Result<Vec<Outcome>> {
    (1..=steps)
        .rev()
        .map(|step| generator.run(Pace::Rate(max_rate * f64::from(step) / f64::from(steps)), Until::Time(trial), true))
        .collect()
}

/// RFC 2544, 26.4: the longest burst at a rate of which nothing is lost, up to `most` packets, and the rate at which the generator sent it. 0 if
/// there is none.
pub fn back_to_back(generator: &mut Generator, rate: f64, most: u64, attempts: u32) -> Result<(u64, f64)> {
    let (mut low, mut high, mut length, mut sent_at) = (0, most, most, 0.0);
    while high > low {
        let mut passed = false;
        for _ in 0..attempts.max(1) {
            let outcome = generator.run(Pace::Rate(rate), Until::Packets(length), false)?;
            ensure!(outcome.counts.is_right(), "packets arrive that are wrong: {}", outcome.counts);
            if outcome.counts.lost() == 0 {
                (passed, sent_at) = (true, outcome.offered_rate());
                break;
            }
        }
        if passed {
            low = length;
        } else {
            high = length - 1;
        }
        length = (low + high).div_ceil(2);
    }
    Ok((low, sent_at))
}

//! From repetitions to a figure.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, from the general to the particular, with slashes.
    pub case: String,
    /// Of what: `leat`, or what it is compared with.
    pub system: String,
    /// The number; of repetitions: the median.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Lower quartile of the repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q1: Option<f64>,
    /// Upper quartile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q3: Option<f64>,
    /// The best: what the machine does when nothing else runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<f64>,
    /// The median in TSC ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<f64>,
    /// Repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetitions: Option<usize>,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Rounded so that what is printed is what is meant.
fn round(value: f64) -> f64 {
    let digits = if value.abs() < 1000.0 { 100.0 } else { 1.0 };
    (value * digits).round() / digits
}

impl Figure {
    /// A number measured once.
    pub fn once(case: impl Into<String>, system: &str, value: f64, unit: &str) -> Self {
        Self {
            case: case.into(),
            system: system.to_owned(),
            value: round(value),
            unit: unit.to_owned(),
            q1: None,
            q3: None,
            best: None,
            cycles: None,
            repetitions: None,
            note: None,
        }
    }

    /// With a note.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The median of repetitions, with their spread. `lower_is_better` says which end is the best.
    pub fn of(case: impl Into<String>, system: &str, samples: &[f64], unit: &str, lower_is_better: bool) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let best = if lower_is_better { 0.0 } else { 1.0 };
        Self {
            q1: Some(round(quantile(&sorted, 0.25))),
            q3: Some(round(quantile(&sorted, 0.75))),
            best: Some(round(quantile(&sorted, best))),
            repetitions: Some(sorted.len()),
            ..Self::once(case, system, quantile(&sorted, 0.5), unit)
        }
    }

    /// Nanoseconds from repetitions in TSC ticks.
    pub fn of_ticks(case: impl Into<String>, system: &str, ticks: &[f64], tsc_hz: u64, unit: &str) -> Self {
        let ns: Vec<f64> = ticks.iter().map(|t| t * 1e9 / tsc_hz as f64).collect();
        let figure = Self::of(case, system, &ns, unit, true);
        Self { cycles: Some(round(figure.value * tsc_hz as f64 / 1e9)), ..figure }
    }

    /// Prints it as one line of JSON. A reader that has gone, such as `head`, is no reason to stop.
    pub fn print(&self) {
        match serde_json::to_string(self) {
            Ok(line) => drop(writeln!(std::io::stdout(), "{line}")),
            Err(error) => eprintln!("cannot print a figure: {error}"),
        }
    }
}

/// The value below which a part of the sorted samples lies, interpolated.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = part * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        let figure = Figure::of("a", "leat", &[4.0, 1.0, 3.0, 2.0], "ns", true);
        assert_eq!((figure.q1, figure.value, figure.q3, figure.best), (Some(1.75), 2.5, Some(3.25), Some(1.0)));
    }
}

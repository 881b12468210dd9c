//! Figures, as lines of JSON or as a table.

use serde::Serialize;

use crate::generator::Outcome;

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured, from the general to the particular, with slashes.
    pub case: String,
    /// Of what.
    pub system: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What else is worth knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Figures as they come.
pub struct Report {
    system: String,
    json: bool,
}

impl Report {
    /// Of a system; as lines of JSON or as a table.
    pub fn new(system: &str, json: bool) -> Self {
        Self { system: system.to_owned(), json }
    }

    /// Prints a figure.
    pub fn add(&self, case: &str, value: f64, unit: &str, note: impl Into<Option<String>>) {
        let digits = if value.abs() < 1000.0 { 1000.0 } else { 1.0 };
        let value = (value * digits).round() / digits;
        let figure = Figure {
            case: case.to_owned(),
            system: self.system.clone(),
            value,
            unit: unit.to_owned(),
            note: note.into(),
        };
        if self.json {
            match serde_json::to_string(&figure) {
                Ok(line) => println!("{line}"),
                Err(error) => eprintln!("cannot print a figure: {error}"),
            }
        } else {
            let note = figure.note.map(|note| format!("  [{note}]")).unwrap_or_default();
            println!("{:<34} {:<10} {:>12} {:<14}{note}", figure.case, figure.system, figure.value, figure.unit);
        }
    }

    /// The quantiles of a trial's latency.
    pub fn latency(&self, case: &str, outcome: &Outcome) {
        let note = format!("at {:.3} M packets/s; {} packets", outcome.offered_rate() / 1e6, outcome.counts.received);
        for (name, quantile) in QUANTILES {
            self.add(&format!("{case}/{name}"), outcome.latency_ns(quantile) / 1e3, "us", note.clone());
        }
    }
}

/// What is told of a distribution.
pub const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

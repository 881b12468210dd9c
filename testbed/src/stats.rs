//! What the appliance counts, checked against itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The packets of one lcore by what became of them.
///
/// At any quiet moment `rx_packets + handed_in = forwarded_packets + drops + punted_packets + answered_packets + handed_out`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names the API gives them")]
pub struct Conservation {
    pub rx_packets: u64,
    pub handed_in: u64,
    pub forwarded_packets: u64,
    pub drops: u64,
    pub punted_packets: u64,
    pub answered_packets: u64,
    pub handed_out: u64,
}

impl Conservation {
    /// Reads every lcore's figures from `GET /v1/stats`.
    ///
    /// # Errors
    /// When a name is missing.
    pub fn read(stats: &Value) -> Result<Vec<Conservation>> {
        let lcores = stats["lcores"].as_array().context("/v1/stats has no list `lcores`")?;
        ensure!(!lcores.is_empty(), "/v1/stats lists no lcore");
        lcores.iter().map(Conservation::of_lcore).collect()
    }

    fn of_lcore(lcore: &Value) -> Result<Conservation> {
        let counter = |name: &str| {
            let value = &lcore["counters"][name];
            value.as_u64().with_context(|| format!("/v1/stats: no lcores[].counters.{name} in {lcore}"))
        };
        let drops = lcore["drops"].as_object().context("/v1/stats: no lcores[].drops")?;
        Ok(Conservation {
            rx_packets: counter("rx_packets")?,
            handed_in: counter("handed_in")?,
            forwarded_packets: counter("forwarded_packets")?,
            drops: drops.values().filter_map(Value::as_u64).sum(),
            punted_packets: counter("punted_packets")?,
            answered_packets: counter("answered_packets")?,
            handed_out: counter("handed_out")?,
        })
    }

    /// Whether every packet that came in is accounted for.
    pub fn holds(&self) -> bool {
        self.came_in() == self.went_out()
    }

    fn came_in(&self) -> u64 {
        self.rx_packets + self.handed_in
    }

    fn went_out(&self) -> u64 {
        self.forwarded_packets + self.drops + self.punted_packets + self.answered_packets + self.handed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_law_is_read_per_lcore() {
        let stats = json!({"lcores": [{
            "counters": {"rx_packets": 10, "handed_in": 1, "forwarded_packets": 5, "punted_packets": 2, "answered_packets": 1, "handed_out": 0},
            "drops": {"no_listener": 2, "land": 1},
        }]});
        let lcores = Conservation::read(&stats).unwrap();
        assert_eq!((lcores[0].drops, lcores[0].holds()), (3, true));
        assert!(!Conservation { rx_packets: 1, ..lcores[0] }.holds());
        assert!(
            Conservation::read(&json!({"lcores": [{"drops": {}}]})).unwrap_err().to_string().contains("rx_packets")
        );
    }
}

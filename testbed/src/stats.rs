//! What the appliance counts, checked against itself.

use anyhow::{Context, Result, ensure};
use leat_model::rest::{LcoreStats, Stats};

/// The packets of one lcore by what became of them.
///
/// At any quiet moment `rx_packets + handed_in = forwarded_packets + drops + punted_packets + answered_packets + consumed_packets +
/// held_packets + handed_out`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names the API gives them")]
pub struct Conservation {
    pub rx_packets: u64,
    pub handed_in: u64,
    pub forwarded_packets: u64,
    pub drops: u64,
    pub punted_packets: u64,
    pub answered_packets: u64,
    pub consumed_packets: u64,
    pub held_packets: u64,
    pub handed_out: u64,
}

impl Conservation {
    /// Takes every lcore's figures from `GET /v1/stats`. They are summed up here, not taken from the API's own sums.
    ///
    /// # Errors
    /// When a counter is missing.
    pub fn read(stats: &Stats) -> Result<Vec<Conservation>> {
        ensure!(!stats.lcores.is_empty(), "/v1/stats lists no lcore");
        stats.lcores.iter().map(Conservation::of_lcore).collect()
    }

    fn of_lcore(lcore: &LcoreStats) -> Result<Conservation> {
        let counter = |name: &str| {
            let value = lcore.counters.get(name).copied();
            value.with_context(|| format!("/v1/stats: lcore {} has no counter {name}", lcore.id))
        };
        Ok(Conservation {
            rx_packets: counter("rx_packets")?,
            handed_in: counter("handed_in")?,
            forwarded_packets: counter("forwarded_packets")?,
            drops: lcore.drops.values().sum(),
            punted_packets: counter("punted_packets")?,
            answered_packets: counter("answered_packets")?,
            consumed_packets: counter("consumed_packets")?,
            held_packets: counter("held_packets")?,
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
        let taken = self.answered_packets + self.consumed_packets + self.held_packets;
        self.forwarded_packets + self.drops + self.punted_packets + taken + self.handed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_counts_every_way_in_and_out() {
        let lcore = Conservation {
            rx_packets: 15,
            handed_in: 1,
            forwarded_packets: 4,
            drops: 3,
            punted_packets: 2,
            answered_packets: 1,
            consumed_packets: 2,
            held_packets: 3,
            handed_out: 1,
        };
        assert!(lcore.holds());
        assert!(!Conservation { rx_packets: 14, ..lcore }.holds());
        assert!(!Conservation { handed_out: 0, ..lcore }.holds());
        assert!(!Conservation { consumed_packets: 3, held_packets: 3, ..lcore }.holds());
    }

    #[test]
    fn no_lcore_is_an_error() {
        assert!(Conservation::read(&Stats::default()).is_err());
    }
}

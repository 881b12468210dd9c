//! How long a run is, and how much happens in it.

use std::ops::RangeInclusive;

use clap::ValueEnum;

/// The two kinds of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Seconds, with many packets and restarts.
    Dense,
    /// Days, with checks every few minutes and now and then a connection.
    Long,
}

/// Sizes and rates. Times between two events are their means, in milliseconds; 0: never.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Which one it is.
    pub kind: Kind,
    /// Until everything is healed, in milliseconds.
    pub duration_ms: u64,
    /// Load balancers.
    pub balancers: u8,
    /// Target groups.
    pub groups: u8,
    /// Targets that each has at the beginning, at the most.
    pub targets: u8,
    /// Seconds between health checks.
    pub interval_s: RangeInclusive<u32>,
    /// Deregistration delays in seconds.
    pub delay_s: RangeInclusive<u32>,
    /// Zonal shifts in minutes.
    pub shift_min: RangeInclusive<u64>,
    /// Between two changes by operators.
    pub change_ms: u64,
    /// Between two new clients.
    pub client_ms: u64,
    /// Between two changes of how a target answers.
    pub target_ms: u64,
    /// Between two changes of a zone's way to the targets.
    pub path_ms: u64,
    /// Between two deaths of the control plane, and of the data plane.
    pub death_ms: [u64; 2],
    /// Between two changes of a port's link.
    pub link_ms: u64,
    /// Between two jumps of the wall clock.
    pub jump_ms: u64,
    /// Between two times in which the disk fails.
    pub disk_ms: u64,
    /// What chaos lasts: a process is gone, a link down, the disk fails.
    pub outage_ms: u64,
    /// The snapshot is published anew when nothing has changed for so long.
    pub republish_ms: u64,
    /// Of packets and checks, the share that is lost while the network is bad, in 1/1000.
    pub loss: u32,
}

impl Kind {
    /// Its sizes; `hours` of simulated time, if given.
    pub fn profile(self, hours: Option<f64>) -> Profile {
        let mut profile = match self {
            Self::Dense => Profile {
                kind: self,
                duration_ms: 60_000,
                balancers: 2,
                groups: 3,
                targets: 6,
                interval_s: 5..=20,
                delay_s: 0..=40,
                shift_min: 1..=2,
                change_ms: 7_000,
                client_ms: 1_500,
                target_ms: 15_000,
                path_ms: 40_000,
                death_ms: [40_000, 40_000],
                link_ms: 60_000,
                jump_ms: 50_000,
                disk_ms: 60_000,
                outage_ms: 4_000,
                republish_ms: 20_000,
                loss: 60,
            },
            Self::Long => Profile {
                kind: self,
                duration_ms: 20 * 24 * 3_600_000,
                balancers: 2,
                groups: 3,
                targets: 3,
                interval_s: 280..=300,
                delay_s: 0..=3600,
                shift_min: 60..=4320,
                change_ms: 8 * 3_600_000,
                client_ms: 4 * 3_600_000,
                target_ms: 24 * 3_600_000,
                path_ms: 72 * 3_600_000,
                death_ms: [48 * 3_600_000, 48 * 3_600_000],
                link_ms: 72 * 3_600_000,
                jump_ms: 24 * 3_600_000,
                disk_ms: 72 * 3_600_000,
                outage_ms: 1_200_000,
                republish_ms: 24 * 3_600_000,
                loss: 10,
            },
        };
        if let Some(hours) = hours {
            profile.duration_ms = (hours * 3_600_000.0) as u64;
        }
        profile
    }
}

//! Health of targets: what a run of check results makes of a state (HC-09 to HC-14).

mod request;

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resource::Verdict;
pub use request::{CheckRequest, Matcher, NotAMatcher};

/// What checks have found out about a target that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Nothing yet.
    #[default]
    Initial,
    /// It may have new flows.
    Healthy,
    /// It may not, and its flows are reset, unless all targets of its group are like this.
    Unhealthy,
}

impl Health {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The target refused the connection.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It cannot be reached.
    Unreachable,
    /// It answered with this status, which does not pass.
    Status(u16),
    /// What it answered is not HTTP/1.
    NotHttp,
    /// Status line and headers of its answer did not end within what is read of it.
    HeadTooLarge,
    /// It closed the connection before its answer was complete.
    ClosedEarly,
    /// The body of its answer lacks the text.
    BodyLacksText,
    /// It refused the handshake of TLS with this alert (RFC 8446, section 6).
    TlsAlert(u8),
    /// There was no handshake of TLS: it does not speak it, or no version or cipher that is known here.
    TlsFailed,
}

/// In words, to follow "Health checks failed: ".
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the target refused the connection"),
            Self::Timeout => f.write_str("the target did not answer in time"),
            Self::Unreachable => f.write_str("the target cannot be reached"),
            Self::Status(status) => write!(f, "the target answered with status {status}"),
            Self::NotHttp => f.write_str("the target's answer is not HTTP/1"),
            Self::HeadTooLarge => f.write_str("the head of the target's answer is too large"),
            Self::ClosedEarly => f.write_str("the target closed the connection before its answer was complete"),
            Self::BodyLacksText => f.write_str("the body of the target's answer lacks the text that is looked for"),
            Self::TlsAlert(alert) => write!(f, "the target refused the TLS handshake with alert {alert}"),
            Self::TlsFailed => f.write_str("the TLS handshake with the target failed"),
        }
    }
}

/// The end of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed.
    Passed,
    /// Failed.
    Failed(Cause),
    /// The check could not be made; this says nothing about the target.
    NotMade,
}

/// How many results in a row count, 2–10 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed checks that make an unhealthy target healthy.
    pub healthy: u32,
    /// The same of a target that was never checked: one (HC-12), but of Classic load balancers as many as of others (CLB-04).
    pub initial: u32,
    /// Failed checks that make a target unhealthy.
    pub unhealthy: u32,
}

/// The results in a row of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    passed: u32,
    failed: u32,
    not_made: u32,
}

/// What a result changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The target's health.
    Health(Health, Option<Cause>),
    /// Whether checks can be made (HC-32).
    Unavailable(bool),
}

impl Run {
    /// Counts a result; says what it changes for a target of this health.
    pub fn observe(&mut self, health: Health, outcome: Outcome, thresholds: Thresholds) -> Vec<Change> {
        let mut changes = Vec::new();
        if outcome == Outcome::NotMade {
            self.not_made = self.not_made.saturating_add(1);
            if self.not_made == thresholds.unhealthy {
                changes.push(Change::Unavailable(true));
            }
            return changes;
        }
        if std::mem::take(&mut self.not_made) >= thresholds.unhealthy {
            changes.push(Change::Unavailable(false));
        }
        match outcome {
            Outcome::Failed(cause) => {
                *self = Self { failed: self.failed.saturating_add(1), ..Self::default() };
                if health != Health::Unhealthy && self.failed >= thresholds.unhealthy {
                    changes.push(Change::Health(Health::Unhealthy, Some(cause)));
                }
            }
            Outcome::Passed | Outcome::NotMade => {
                *self = Self { passed: self.passed.saturating_add(1), ..Self::default() };
                let needed = if health == Health::Initial { thresholds.initial } else { thresholds.healthy };
                if health != Health::Healthy && self.passed >= needed {
                    changes.push(Change::Health(Health::Healthy, None));
                }
            }
        }
        changes
    }
}

/// What a node's check of a target has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The target's slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u8,
    /// The node's number among those of its load balancer.
    pub node: u8,
    /// What has changed.
    pub change: Change,
}

/// What several nodes' verdicts say together: what most of them say, the worse where they are as many (S16.5).
pub fn consensus<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> (Health, Option<Cause>) {
    let (mut healthy, mut worst) = (0, None::<&Verdict>);
    let mut others = 0;
    for verdict in verdicts {
        match verdict.health {
            Health::Healthy => healthy += 1,
            Health::Initial | Health::Unhealthy => {
                others += 1;
                worst = worst.filter(|worst| worst.health == Health::Unhealthy).or(Some(verdict));
            }
        }
    }
    match worst {
        Some(worst) if healthy <= others => (worst.health, worst.cause),
        _ if healthy > 0 => (Health::Healthy, None),
        _ => (Health::Initial, None),
    }
}

/// The runs of all checks. Not stored: after a restart a healthy target stays healthy until its checks say otherwise.
#[derive(Debug, Default)]
pub struct Runs {
    /// By slot and node: (generation of the slot, epoch since which the target is checked, run).
    runs: HashMap<(u16, u8), (u8, u64, Run)>,
}

impl Runs {
    /// The run of a node's checks of a target; a new one for a new target, or one that was registered again.
    pub fn of(&mut self, slot: u16, node: u8, generation: u8, since_epoch: u64) -> &mut Run {
        let entry = self.runs.entry((slot, node)).or_insert((generation, since_epoch, Run::default()));
        if (entry.0, entry.1) != (generation, since_epoch) {
            *entry = (generation, since_epoch, Run::default());
        }
        &mut entry.2
    }

    /// Forgets the runs of all slots but these.
    pub fn keep(&mut self, keep: impl Fn(u16) -> bool) {
        self.runs.retain(|(slot, _), _| keep(*slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failed, NotMade, Passed};
    use proptest::prelude::*;

    const FAIL: Outcome = Failed(Cause::Timeout);

    fn play(thresholds: Thresholds, start: Health, outcomes: &[Outcome]) -> Vec<Health> {
        let (mut run, mut health) = (Run::default(), start);
        let mut step = |outcome: &Outcome| {
            for change in run.observe(health, *outcome, thresholds) {
                if let Change::Health(to, _) = change {
                    assert_ne!(to, health);
                    health = to;
                }
            }
            health
        };
        outcomes.iter().map(&mut step).collect()
    }

    const DEFAULT: Thresholds = Thresholds { healthy: 5, initial: 1, unhealthy: 2 };

    /// req: HC-12
    #[test]
    fn one_pass_takes_a_new_target_into_service() {
        assert_eq!(play(DEFAULT, Health::Initial, &[Passed]), [Health::Healthy]);
        assert_eq!(play(DEFAULT, Health::Initial, &[FAIL, Passed]), [Health::Initial, Health::Healthy]);
    }

    /// req: HC-06, HC-07, HC-09
    #[test]
    fn thresholds_are_reached_not_exceeded() {
        use Health::{Healthy, Initial, Unhealthy};
        assert_eq!(play(DEFAULT, Healthy, &[FAIL, FAIL]), [Healthy, Unhealthy]);
        assert_eq!(play(DEFAULT, Initial, &[FAIL, FAIL]), [Initial, Unhealthy]);
        let passes = play(DEFAULT, Unhealthy, &[Passed; 5]);
        assert_eq!(passes, [Unhealthy, Unhealthy, Unhealthy, Unhealthy, Healthy]);
    }

    /// req: HC-10
    #[test]
    fn the_opposite_result_starts_anew() {
        let flapping: Vec<Outcome> = [FAIL, Passed].repeat(50);
        assert!(play(DEFAULT, Health::Healthy, &flapping).iter().all(|health| *health == Health::Healthy));
        assert!(play(DEFAULT, Health::Unhealthy, &flapping).iter().all(|health| *health == Health::Unhealthy));
    }

    /// req: HC-32
    #[test]
    fn checks_that_cannot_be_made_do_not_change_the_health() {
        let mut run = Run::default();
        let mut observe = |outcome| run.observe(Health::Healthy, outcome, DEFAULT);
        assert_eq!(observe(NotMade), []);
        assert_eq!(observe(NotMade), [Change::Unavailable(true)]);
        assert_eq!(observe(NotMade), []);
        assert_eq!(observe(Passed), [Change::Unavailable(false)]);
        assert_eq!(observe(FAIL), []);
        assert_eq!(observe(NotMade), []);
        assert_eq!(observe(FAIL), [Change::Health(Health::Unhealthy, Some(Cause::Timeout))]);
    }

    /// req: HC-15
    #[test]
    fn most_nodes_decide_and_the_worse_of_as_many() {
        use Health::{Healthy, Initial, Unhealthy};
        let verdict = |(node, health): (usize, &Health)| Verdict { node: node as u8, health: *health, cause: None };
        let decide = |all: &[Health]| {
            let verdicts: Vec<Verdict> = all.iter().enumerate().map(verdict).collect();
            consensus(verdicts.iter()).0
        };
        assert_eq!(decide(&[]), Initial);
        assert_eq!(decide(&[Healthy]), Healthy);
        assert_eq!(decide(&[Healthy, Unhealthy]), Unhealthy);
        assert_eq!(decide(&[Healthy, Unhealthy, Healthy]), Healthy);
        assert_eq!(decide(&[Initial, Unhealthy, Healthy]), Unhealthy);
        assert_eq!(decide(&[Initial, Healthy]), Initial);
    }

    #[test]
    fn a_target_registered_again_starts_anew() {
        let mut runs = Runs::default();
        runs.of(3, 1, 0, 7).observe(Health::Healthy, FAIL, DEFAULT);
        assert_ne!(*runs.of(3, 1, 0, 7), Run::default());
        assert_eq!(*runs.of(3, 0, 0, 7), Run::default(), "each node counts for itself");
        assert_eq!(*runs.of(3, 1, 0, 8), Run::default());
        runs.of(3, 1, 0, 8).observe(Health::Healthy, FAIL, DEFAULT);
        assert_eq!(*runs.of(3, 1, 1, 8), Run::default());
        runs.keep(|slot| slot != 3);
        assert!(runs.runs.is_empty());
    }

    proptest! {
        /// The state machine equals its definition: look back over the last results.
        #[test]
        fn equals_looking_back(passed in proptest::collection::vec(any::<bool>(), 0..60), healthy in 2..=10u32, unhealthy in 2..=10u32) {
            let outcomes: Vec<Outcome> = passed.iter().map(|p| if *p { Passed } else { FAIL }).collect();
            let states = play(Thresholds { healthy, initial: 1, unhealthy }, Health::Initial, &outcomes);
            let mut expected = Health::Initial;
            for (end, state) in states.iter().enumerate() {
                let row = |wanted: bool| passed[..=end].iter().rev().take_while(|p| **p == wanted).count() as u32;
                expected = match expected {
                    Health::Initial if row(true) >= 1 => Health::Healthy,
                    Health::Unhealthy if row(true) >= healthy => Health::Healthy,
                    Health::Initial | Health::Healthy if row(false) >= unhealthy => Health::Unhealthy,
                    same => same,
                };
                prop_assert_eq!(*state, expected);
            }
        }
    }
}

//! Passive health checks: what the data plane counts of clients' attempts goes to [`Passive`], what comes out into the model.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use leat_abi::attempts::Attempts;
use leat_model::passive::{Counted, Passive};
use leat_model::{Command, Model};

use crate::plane::Plane;

/// What was counted is looked at this often: several times in the second for which the data plane remembers clients.
const LOOK: Duration = Duration::from_millis(250);

/// The targets that answer their clients badly.
#[derive(Debug)]
pub struct Suspects {
    passive: Passive,
    began: Instant,
    looked: Option<Instant>,
}

impl Suspects {
    /// Nobody is suspect.
    pub fn new() -> Self {
        Self { passive: Passive::default(), began: Instant::now(), looked: None }
    }

    /// Looks at what was counted, if it is time to. Returns what is to be recorded.
    pub fn look(&mut self, model: &Model, plane: &Plane) -> Option<Command> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return None;
        }
        let now = Instant::now();
        self.looked = Some(now);
        let now_ms = now.duration_since(self.began).as_millis() as u64;
        self.passive.keep(|slot| model.target(slot).is_some());
        let mut changes = Vec::new();
        for target in model.targets() {
            let name = (target.slot, target.generation);
            if let Some(suspect) = self.passive.observe(name, counted(plane, target.slot), now_ms) {
                let what = if suspect { "fails its clients: no new flows for a while" } else { "is tried again" };
                tracing::info!("target {} {what}", SocketAddr::new(target.address, target.port));
                changes.push((target.slot, target.generation, suspect));
            }
        }
        (!changes.is_empty()).then_some(Command::Suspect(changes))
    }

    /// Active checks of these targets, slot and generation, have results. Returns what is to be recorded.
    pub fn checked(&mut self, targets: impl Iterator<Item = (u16, u8)>) -> Option<Command> {
        let cleared: Vec<_> = targets.filter(|name| self.passive.checked(*name)).map(|(s, g)| (s, g, false)).collect();
        (!cleared.is_empty()).then_some(Command::Suspect(cleared))
    }
}

/// What all lcores have counted of a target's attempts. Which clients failed last is the business of the lcores on which some did last.
fn counted(plane: &Plane, slot: u16) -> Counted {
    let of_lcores = || plane.lcores().iter().map(|lcore| lcore.counters.attempts(slot));
    let sum = |of: fn(&Attempts) -> u64| of_lcores().fold(0u64, |sum, attempts| sum.wrapping_add(of(&attempts)));
    let (answered, failed) = (sum(|a| a.answered), sum(|a| a.failed));
    Counted { answered, failed, clients: leat_abi::attempts::latest(of_lcores().map(|a| a.clients)) }
}

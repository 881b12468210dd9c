//! The simulation: the agenda of events, the clock that follows it, and what each event does.
//!
//! Everything follows from the seed: one generator draws it all, in the order of the events. What iterates is ordered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use leat_core::Now;
use leat_model::health::Outcome;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::control_plane::{CheckKey, ControlPlane, Disk};
use crate::data_plane::DataPlane;
use crate::packet::Packet;
use crate::plant::Plant;
use crate::profile::{Kind, Profile};
use crate::segment::{LCORES, Segment};
use crate::site;
use crate::traffic::Conversation;
use crate::truth::{Breach, Truth};

mod chaos;
mod control;
mod laws;
mod liveness;
mod rings;
mod wire;

/// Where the machine's monotonic clock stands at the beginning: the 16-bit stamps of flow entries soon wrap around.
const BEGIN_MS: u64 = 65_500_123;
/// And the wall clock, in milliseconds since 1970.
const WALL_MS: i64 = 1_800_000_000_000;
/// Events that a failure shows.
const SHOWN: usize = 20;

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An operator changes something.
    Operate,
    /// A check is due; its ticket.
    Check(CheckKey, u64),
    /// A check has ended.
    Checked(CheckKey, Outcome),
    /// The control plane may publish.
    Publish,
    /// It publishes what it has published before.
    Republish,
    /// It sets its checks.
    Plan,
    /// Delays and shifts may be over.
    Expire,
    /// It looks for load balancers to activate and numbers to free.
    Keep,
    /// Zones that were held back come back into DNS.
    Name,
    /// It looks at links.
    LookAtPorts,
    /// The data plane's main thread looks for a snapshot.
    Take,
    /// An lcore looks into its mailbox.
    Install(u16),
    /// The lcores look after their timers.
    Housekeeping,
    /// Somebody asks the lcores for their flows.
    Ask,
    /// The control plane reads events.
    Read,
    /// A client begins.
    Client,
    /// A client's turn, in its n-th conversation; void when it got an answer meanwhile.
    Turn(u32, u32),
    /// A packet arrives at the appliance from a client or a target.
    Arrive(u32, bool, Packet),
    /// A packet arrives at a client or a target.
    Reach(u32, bool, Packet),
    /// A target begins to behave in another way.
    Target,
    /// The way from a zone's nodes to the targets breaks or heals.
    Path,
    /// A process is killed: 0 control plane, 1 data plane.
    Die(usize),
    /// A process begins.
    Begin(usize),
    /// A port loses its link or gets it back.
    Link,
    /// The wall clock jumps.
    Jump,
    /// The disk begins to fail, or ends.
    DiskFault,
    /// Everything is healed.
    Heal,
}

/// How a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    Refuses,
    Silent,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything follows from.
    pub seed: u64,
    /// How much happens.
    pub profile: Profile,
    /// So many events at the most.
    pub steps: u64,
    /// A fault on purpose.
    pub plant: Option<Plant>,
    /// Print every event.
    pub verbose: bool,
}

impl Options {
    /// A run of a kind.
    pub fn new(seed: u64, kind: Kind) -> Self {
        Self { seed, profile: kind.profile(None), steps: u64::MAX, plant: None, verbose: false }
    }
}

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub steps: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Changes that were acknowledged.
    pub changes: u64,
    /// Checks that ended.
    pub checks: u64,
    /// Frames that the appliance received.
    pub packets: u64,
    /// Flows that were created.
    pub flows: u64,
    /// Answers that clients got.
    pub answers: u64,
    /// Snapshots that were published.
    pub snapshots: u64,
    /// Beginnings of the two processes.
    pub restarts: [u64; 2],
    /// Folds all that happened into a number: the same for the same seed.
    pub digest: u64,
}

/// A run that broke a law.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Its kind.
    pub kind: Kind,
    /// The event at which it broke.
    pub step: u64,
    /// Simulated milliseconds since the beginning.
    pub at_ms: u64,
    /// The law and what was seen.
    pub breach: Breach,
    /// The last events.
    pub events: Vec<String>,
}

pub(crate) struct Simulation<'s> {
    pub(crate) options: Options,
    pub(crate) rng: SmallRng,
    pub(crate) segment: &'s mut Segment,
    pub(crate) at_ms: u64,
    /// The wall clock less the monotonic one.
    pub(crate) wall_offset_ms: i64,
    agenda: BTreeMap<(u64, u64), Event>,
    entries: u64,
    pub(crate) control: Option<ControlPlane>,
    pub(crate) data: DataPlane,
    pub(crate) disk: Disk,
    pub(crate) key: [u64; 2],
    pub(crate) truth: Truth,
    /// The chaos is over.
    pub(crate) quiet: bool,
    /// Since when.
    pub(crate) healed_ms: u64,
    pub(crate) manners: BTreeMap<SocketAddr, Manner>,
    /// Zones whose nodes do not reach the targets.
    pub(crate) broken_paths: BTreeSet<usize>,
    /// Ports without a link, and what the control plane was last told.
    pub(crate) links_down: BTreeSet<usize>,
    pub(crate) noted_down: BTreeSet<String>,
    pub(crate) conversations: BTreeMap<u32, Conversation>,
    pub(crate) clients: u32,
    /// Turns of clients that were arranged, by conversation: only the last one counts.
    pub(crate) turns: BTreeMap<u32, u32>,
    /// The epoch of each generation, and the groups of its listeners by place.
    pub(crate) epochs: BTreeMap<u64, u64>,
    pub(crate) places: BTreeMap<u64, BTreeMap<(SocketAddr, bool), u64>>,
    /// Numbers of groups by all ids that they ever had.
    pub(crate) group_ids: BTreeMap<u64, u8>,
    pub(crate) shifts: Vec<String>,
    /// Results in a row of each check, as the laws count them: passed, failed.
    pub(crate) runs: BTreeMap<CheckKey, (u32, u32)>,
    pub(crate) questions: u32,
    pub(crate) question: Option<rings::Question>,
    pub(crate) newest: [u64; LCORES as usize],
    /// Events that are arranged and need no second one.
    pub(crate) arranged: BTreeSet<&'static str>,
    pub(crate) flows_changed: bool,
    pub(crate) model_changed: bool,
    log: VecDeque<(u64, u64, String)>,
    recent: VecDeque<(u64, u64, Event)>,
    pub(crate) summary: Summary,
}

/// Runs a seed.
///
/// # Errors
/// A law was broken. (Panics, too, are failures: they are caught by whoever runs many.)
pub fn run(segment: &mut Segment, options: Options) -> Result<Summary, Box<Failure>> {
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let owner_key = rng.random();
    let key = rng.random();
    if let Err(error) = segment.clear(owner_key) {
        panic!("{error:#}");
    }
    let plant = options.plant;
    let mut simulation = Simulation {
        options,
        rng,
        segment,
        at_ms: BEGIN_MS,
        wall_offset_ms: WALL_MS - BEGIN_MS as i64,
        agenda: BTreeMap::new(),
        entries: 0,
        control: None,
        data: DataPlane::new(plant),
        disk: Disk::default(),
        key,
        truth: Truth::default(),
        quiet: false,
        healed_ms: 0,
        manners: site::all_targets().map(|target| (target, Manner::Answers)).collect(),
        broken_paths: BTreeSet::new(),
        links_down: BTreeSet::new(),
        noted_down: BTreeSet::new(),
        conversations: BTreeMap::new(),
        clients: 0,
        turns: BTreeMap::new(),
        epochs: BTreeMap::new(),
        places: BTreeMap::new(),
        group_ids: BTreeMap::new(),
        shifts: Vec::new(),
        runs: BTreeMap::new(),
        questions: 0,
        question: None,
        newest: [0; LCORES as usize],
        arranged: BTreeSet::new(),
        flows_changed: true,
        model_changed: true,
        log: VecDeque::new(),
        recent: VecDeque::new(),
        summary: Summary::default(),
    };
    let result = simulation.whole();
    // What the processes have of the segment goes back to it.
    simulation.data.kill(simulation.segment);
    simulation.summary.simulated_ms = simulation.at_ms - BEGIN_MS;
    result.map(|()| simulation.summary).map_err(|breach| Box::new(simulation.failure(breach)))
}

impl Simulation<'_> {
    fn whole(&mut self) -> Result<(), Breach> {
        self.begin()?;
        let end_ms = BEGIN_MS + self.options.profile.duration_ms;
        self.arrange_at(end_ms, Event::Heal);
        self.go_on_until(end_ms)?;
        if self.summary.steps < self.options.steps {
            self.settle()?;
        }
        Ok(())
    }

    /// Handles the events up to a moment.
    pub(crate) fn go_on_until(&mut self, end_ms: u64) -> Result<(), Breach> {
        while self.summary.steps < self.options.steps {
            let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 <= end_ms) else { break };
            let ((at_ms, entry), event) = next.remove_entry();
            self.at_ms = at_ms;
            self.summary.steps += 1;
            let mixed = self.summary.digest.rotate_left(5) ^ at_ms ^ entry;
            self.summary.digest = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if self.recent.len() == SHOWN {
                self.recent.pop_front();
            }
            if self.options.verbose {
                println!("{}", self.shown(self.summary.steps, at_ms, &format!("{event:?}")));
            }
            self.recent.push_back((self.summary.steps, at_ms, event.clone()));
            self.handle(event)?;
            self.check_laws()?;
        }
        self.at_ms = self.at_ms.max(end_ms);
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Breach> {
        match event {
            Event::Operate => self.operate(),
            Event::Check(key, ticket) => {
                self.begin_check(key, ticket);
                Ok(())
            }
            Event::Checked(key, outcome) => self.checked(key, outcome),
            Event::Publish => self.publish(),
            Event::Republish => {
                self.arranged.remove("republish");
                self.publish()
            }
            Event::Plan => {
                self.plan();
                Ok(())
            }
            Event::Expire => self.expire(),
            Event::Keep => self.keep(),
            Event::Name => {
                self.name();
                self.model_changed = true;
                Ok(())
            }
            Event::LookAtPorts => self.look_at_ports(),
            Event::Take => self.take(),
            Event::Install(lcore) => {
                self.install(lcore);
                Ok(())
            }
            Event::Housekeeping => self.housekeeping(),
            Event::Ask => {
                self.ask();
                Ok(())
            }
            Event::Read => self.read(),
            Event::Client => {
                self.new_client();
                Ok(())
            }
            Event::Turn(conversation, turn) => {
                self.turn(conversation, turn);
                Ok(())
            }
            Event::Arrive(conversation, from_client, packet) => self.arrive(conversation, from_client, &packet),
            Event::Reach(conversation, at_client, packet) => {
                self.reach(conversation, at_client, &packet);
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::Target
            | Event::Path
            | Event::Die(_)
            | Event::Begin(_)
            | Event::Link
            | Event::Jump
            | Event::DiskFault => self.chaos(&event),
        }
    }

    /// Arranges an event in some milliseconds.
    pub(crate) fn arrange(&mut self, in_ms: u64, event: Event) {
        self.arrange_at(self.at_ms + in_ms, event);
    }

    /// Arranges an event.
    pub(crate) fn arrange_at(&mut self, at_ms: u64, event: Event) {
        self.entries += 1;
        self.agenda.insert((at_ms.max(self.at_ms), self.entries), event);
    }

    /// Arranges an event unless one of its kind is arranged.
    pub(crate) fn arrange_once(&mut self, what: &'static str, in_ms: u64, event: Event) {
        if self.arranged.insert(what) {
            self.arrange(in_ms, event);
        }
    }

    /// A time around this mean, at least 1.
    pub(crate) fn around(&mut self, mean_ms: u64) -> u64 {
        let draw: f64 = self.rng.random_range(1e-6..1.0);
        ((-draw.ln() * mean_ms as f64) as u64).clamp(1, 20 * mean_ms)
    }

    /// Milliseconds of a way through the network.
    pub(crate) fn latency(&mut self) -> u64 {
        self.rng.random_range(1..=30)
    }

    /// Whether a packet or a check is lost.
    pub(crate) fn is_lost(&mut self) -> bool {
        !self.quiet && self.rng.random_ratio(self.options.profile.loss, 1000)
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        (self.at_ms as i64 + self.wall_offset_ms).max(0) as u64
    }

    pub(crate) fn now(&self) -> Now {
        Now { ms: self.at_ms }
    }

    /// Notes what was drawn, for the message of a failure.
    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if self.options.verbose {
            println!("{}", self.shown(self.summary.steps, self.at_ms, &format!("  {}", what())));
            return;
        }
        if self.log.len() == SHOWN {
            self.log.pop_front();
        }
        self.log.push_back((self.summary.steps, self.at_ms, what()));
    }

    fn shown(&self, step: u64, at_ms: u64, what: &str) -> String {
        format!("{step:>7} {:>12.3} s  {what}", (at_ms - BEGIN_MS) as f64 / 1000.0)
    }

    fn failure(&mut self, breach: Breach) -> Failure {
        let mut lines: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let mut order = 0;
        for (step, at_ms, event) in &self.recent {
            order += 1;
            lines.insert((*step, order), self.shown(*step, *at_ms, &format!("{event:?}")));
        }
        for (step, at_ms, what) in &self.log {
            order += 1;
            lines.insert((*step, order), self.shown(*step, *at_ms, &format!("  {what}")));
        }
        Failure {
            seed: self.options.seed,
            kind: self.options.profile.kind,
            step: self.summary.steps,
            at_ms: self.at_ms - BEGIN_MS,
            breach,
            events: lines.into_values().collect(),
        }
    }
}

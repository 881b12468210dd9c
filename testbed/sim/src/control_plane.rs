//! The control plane's process: the real model, compiler and segment, and what leat-cp's threads do around them, a step at a time.
//!
//! What dies with the process is everything here; what is on the [`Disk`] stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use leat_abi::counters::{ListenerCounter, TargetCounter};
use leat_compile::view::NetView;
use leat_compile::{Compiled, Shape, TableCache};
use leat_model::dns::{Directories, Directory, Found};
use leat_model::forward::CheckPlan;
use leat_model::health::{Health, Outcome, Report, Runs};
use leat_model::{Command, Effects, Error, Id, Limits, LoadError, Model, Now, RecordKey};

use crate::segment::{LCORES, SLOTS, Segment};
use crate::site::{self, PORTS};

/// The store: records, and what they must make of a model again.
#[derive(Debug, Default)]
pub struct Disk {
    records: BTreeMap<String, Vec<u8>>,
    /// The model of the last commit.
    pub committed: Option<Model>,
    /// Every write fails.
    pub fails: bool,
    /// A planted fault: writes do nothing and report success.
    pub lies: bool,
}

/// Where the process dies in the middle of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before anything is written.
    BeforeCommit,
    /// When it is written, and nobody has been told.
    AfterCommit,
}

/// How a change ends.
#[derive(Debug)]
pub enum Ending {
    /// It counts, and the caller is told.
    Done(Effects),
    /// It breaks a rule, or could not be stored; nothing has changed.
    Refused(Error),
    /// The process has died; whether the change is stored.
    Died(bool),
}

/// Names a check: new whenever its target becomes `initial`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckKey {
    /// The target's slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u8,
    /// The node's number.
    pub node: u8,
    /// The epoch since which the target is checked.
    pub since: u64,
}

/// A check that goes on.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is checked, from where.
    pub plan: CheckPlan,
    /// Changes when it is due at another time than was said.
    pub ticket: u64,
    due_ms: u64,
}

/// The process.
#[derive(Debug)]
pub struct ControlPlane {
    /// The configuration.
    pub model: Model,
    runs: Runs,
    /// The checks that are made.
    pub checks: BTreeMap<CheckKey, Check>,
    tickets: u64,
    view: NetView,
    cache: TableCache,
    /// What was compiled last.
    pub compiled: Option<Compiled>,
    outstanding: VecDeque<(u64, u64)>,
    applied_epoch: u64,
    incarnation: u64,
    started_ms: u64,
    /// The last write has failed: the next one writes everything.
    unsaved: bool,
    planned: Option<u64>,
    seen: BTreeMap<Id, (u64, u64)>,
    directories: Directories,
    directory: Directory,
}

impl ControlPlane {
    /// A process begins with what is stored; `wall_ms` and `at_ms` are the clocks, the latter the machine's monotonic one.
    ///
    /// # Errors
    /// The records make no configuration.
    pub fn begin(disk: &mut Disk, key: [u64; 2], wall_ms: u64, at_ms: u64) -> Result<Self, LoadError> {
        let now = Now { wall_ms, mono_ms: 0 };
        let model = if disk.records.is_empty() {
            let model = Model::new(site::site(), Limits::default(), key);
            disk.replace(&model);
            model
        } else {
            Model::load(site::site(), Limits::default(), disk.records.clone(), now)?
        };
        Ok(Self {
            model,
            runs: Runs::default(),
            checks: BTreeMap::new(),
            tickets: 0,
            view: site::view(),
            cache: TableCache::default(),
            compiled: None,
            outstanding: VecDeque::new(),
            applied_epoch: 0,
            incarnation: 0,
            started_ms: at_ms,
            unsaved: false,
            planned: None,
            seen: BTreeMap::new(),
            directories: Directories::default(),
            directory: Directory::default(),
        })
    }

    /// The clocks as the process reads them: the monotonic one begins with it.
    pub fn now(&self, wall_ms: u64, at_ms: u64) -> Now {
        Now { wall_ms, mono_ms: at_ms - self.started_ms }
    }

    /// When the next delay or shift ends, by the machine's monotonic clock.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.model.next_expiry_ms().map(|mono_ms| self.started_ms + mono_ms)
    }

    /// Applies a command to a copy, stores what has changed, and makes the copy the model. With `even_unstored` it counts although it
    /// cannot be stored.
    pub fn commit(
        &mut self,
        disk: &mut Disk,
        command: Command,
        now: Now,
        even_unstored: bool,
        dies: Option<Death>,
    ) -> Ending {
        let mut model = self.model.clone();
        let effects = match model.apply(command, now) {
            Ok(effects) => effects,
            Err(error) => return Ending::Refused(error),
        };
        if effects.changed.is_empty() {
            return Ending::Done(effects);
        }
        if dies == Some(Death::BeforeCommit) {
            return Ending::Died(false);
        }
        if disk.fails {
            self.unsaved = true;
            if !even_unstored {
                return Ending::Refused(Error::new(leat_model::Code::ServiceUnavailable, "nothing was changed"));
            }
        } else {
            if std::mem::take(&mut self.unsaved) {
                disk.replace(&self.model);
            }
            disk.commit(&effects.changed, &model);
        }
        if dies == Some(Death::AfterCommit) {
            return Ending::Died(!disk.fails);
        }
        self.model = model;
        Ending::Done(effects)
    }

    /// Sets the checks for the model as it is. Returns when new ones, or ones with another rhythm, are due for the first time:
    /// `spread` and `jitter` are drawn for each.
    pub fn plan(&mut self, at_ms: u64, mut draw: impl FnMut() -> f64) -> Vec<(u64, CheckKey, u64)> {
        if self.planned == Some(self.model.epoch()) {
            return Vec::new();
        }
        self.planned = Some(self.model.epoch());
        let mut checks = BTreeMap::new();
        let mut due = Vec::new();
        for plan in self.model.check_plans() {
            let since = self.model.target(plan.slot).map_or(0, |target| target.initial_since_epoch);
            let key = CheckKey { slot: plan.slot, generation: plan.generation, node: plan.node, since };
            let place = |plan: &CheckPlan| (plan.source, plan.address, plan.port);
            let old = self.checks.remove(&key).filter(|old| place(&old.plan) == place(&plan));
            let due_ms = match &old {
                None => Some(at_ms + (draw() * 500.0) as u64),
                Some(old) if old.plan.interval_s != plan.interval_s => {
                    let began = old.due_ms.saturating_sub(u64::from(old.plan.interval_s) * 1000);
                    Some((began + interval_ms(&plan, draw())).max(at_ms))
                }
                Some(_) => None,
            };
            let (mut ticket, mut next_ms) = old.map_or((0, 0), |old| (old.ticket, old.due_ms));
            if let Some(due_ms) = due_ms {
                self.tickets += 1;
                (ticket, next_ms) = (self.tickets, due_ms);
                due.push((due_ms, key, ticket));
            }
            checks.insert(key, Check { plan, ticket, due_ms: next_ms });
        }
        self.checks = checks;
        self.runs.keep(|slot| self.model.target(slot).is_some());
        due
    }

    /// A check is due: when it is the next time, and its ticket for that.
    pub fn begin_check(&mut self, key: CheckKey, ticket: u64, draw: f64) -> Option<(CheckPlan, u64)> {
        let check = self.checks.get_mut(&key).filter(|check| check.ticket == ticket)?;
        check.due_ms += interval_ms(&check.plan, draw);
        Some((check.plan.clone(), check.due_ms))
    }

    /// A check has ended: what it changes.
    pub fn observe(&mut self, key: CheckKey, outcome: Outcome) -> Vec<Report> {
        let CheckKey { slot, generation, node, since } = key;
        let is_same = |target: &&leat_model::resource::Target| {
            (target.generation, target.initial_since_epoch) == (generation, since)
        };
        let Some(target) = self.model.target(slot).filter(is_same) else { return Vec::new() };
        let Some(group) = self.model.target_group(target.group) else { return Vec::new() };
        let health = target.verdict(node).map_or(Health::Initial, |verdict| verdict.health);
        let changes = self.runs.of(slot, node, generation, since).observe(health, outcome, group.thresholds());
        changes.into_iter().map(|change| Report { slot, generation, node, change }).collect()
    }

    /// Makes the snapshot for the model as it is, under the next generation. None while the data plane has not read the last one;
    /// else whether it differs from that.
    pub fn compile(&mut self, segment: &Segment) -> Option<bool> {
        let announced = segment.control.announced_generation();
        let header = segment.control.header();
        if header.consumed.load(Ordering::Acquire) != announced {
            return None;
        }
        let incarnation = header.incarnation.load(Ordering::Acquire);
        if incarnation != self.incarnation {
            (self.incarnation, self.applied_epoch) = (incarnation, 0);
            self.outstanding.clear();
        }
        let is_new = self.compiled.as_ref().is_none_or(|compiled| compiled.epoch != self.model.epoch());
        if is_new {
            let names: Vec<String> = PORTS.iter().map(|port| (*port).to_owned()).collect();
            let shape = Shape { ports: names.clone(), limits: segment.control.limits() };
            let compiled =
                leat_compile::compile(&self.model, &self.view, &names, &shape, announced + 1, &mut self.cache);
            self.compiled = Some(compiled);
        }
        self.compiled.as_mut()?.snapshot.generation = announced + 1;
        Some(is_new)
    }

    /// Publishes what was compiled. Returns its generation and epoch.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn publish(&mut self, segment: &mut Segment) -> Result<(u64, u64), String> {
        let Some(Compiled { snapshot, epoch, .. }) = &self.compiled else { return Err("nothing is compiled".into()) };
        segment.control.publish(snapshot).map_err(|error| error.to_string())?;
        self.outstanding.push_back((snapshot.generation, *epoch));
        if self.outstanding.len() > 64 {
            self.outstanding.pop_front();
        }
        Ok((snapshot.generation, *epoch))
    }

    /// Looks at what the lcores have acknowledged. Returns the newest epoch that all of them work with.
    pub fn applied_epoch(&mut self, segment: &Segment) -> u64 {
        if segment.control.header().incarnation.load(Ordering::Acquire) != self.incarnation {
            return 0;
        }
        let acknowledged = segment.control.acknowledged_generation();
        while let Some((generation, epoch)) = self.outstanding.front().copied().filter(|(g, _)| *g <= acknowledged) {
            debug_assert!(generation <= acknowledged);
            self.outstanding.pop_front();
            self.applied_epoch = self.applied_epoch.max(epoch);
        }
        self.applied_epoch
    }

    /// Whether everything that changed is known to be at work.
    pub fn is_settled(&mut self, segment: &Segment) -> bool {
        self.applied_epoch(segment) >= self.model.epoch()
    }

    /// Load balancers that can become active: nobody else has their addresses, and the data plane works with them.
    pub fn ready(&mut self, segment: &Segment, at_ms: u64) -> Option<Command> {
        let (epoch, applied) = (self.model.epoch(), self.applied_epoch(segment));
        let inactive: Vec<Id> = self.model.load_balancers().filter(|lb| !lb.active).map(|lb| lb.id).collect();
        self.seen.retain(|id, _| inactive.contains(id));
        let ready = |id: &Id| {
            let (since_epoch, since_ms) = *self.seen.entry(*id).or_insert((epoch, at_ms));
            at_ms >= since_ms + 600 && applied >= since_epoch
        };
        let ready: Vec<Id> = inactive.into_iter().filter(ready).collect();
        (!ready.is_empty()).then_some(Command::Activate(ready))
    }

    /// Whether something waits for time or for the data plane: load balancers to become active, numbers to be freed.
    pub fn is_waiting(&self) -> bool {
        self.model.load_balancers().any(|lb| !lb.active)
            || self.model.targets().any(|target| target.idle_since_epoch().is_some())
            || self.model.retired_listeners().next().is_some()
    }

    /// The numbers that no flow refers to any more.
    pub fn free_slots(&mut self, segment: &Segment) -> Vec<Command> {
        let applied = self.applied_epoch(segment);
        let sum = |read: &dyn Fn(u16) -> u64| (0..LCORES).map(read).fold(0u64, u64::wrapping_add);
        let of_target = |slot, counter| sum(&|lcore| segment.control.counters(lcore).get_target(slot, counter));
        let of_listener = |slot, counter| sum(&|lcore| segment.control.counters(lcore).get_listener(slot, counter));
        let idle =
            self.model.targets().filter(|target| target.idle_since_epoch().is_some_and(|since| applied >= since));
        let free = idle.filter(|target| of_target(target.slot, TargetCounter::FlowRefs) == 0);
        let says = |slot| TargetCounter::ALL.iter().map(|counter| of_target(slot, *counter)).collect::<Vec<u64>>();
        let targets: Vec<_> = free.map(|target| (target.slot, says(target.slot))).collect();
        let retired = self.model.retired_listeners().filter(|(_, retired)| applied >= retired.since_epoch);
        let free = retired.filter(|(slot, _)| of_listener(*slot, ListenerCounter::FlowRefs) == 0);
        let says = |slot| ListenerCounter::ALL.iter().map(|counter| of_listener(slot, *counter)).collect::<Vec<u64>>();
        let listeners: Vec<_> = free.map(|(slot, _)| (slot, says(slot))).collect();
        let mut commands = Vec::new();
        if !targets.is_empty() {
            commands.push(Command::FreeTargets(targets));
        }
        if !listeners.is_empty() {
            commands.push(Command::FreeListeners(listeners));
        }
        commands
    }

    /// The target of a group by its socket.
    pub fn target(&self, group: Id, socket: SocketAddr) -> Option<&leat_model::resource::Target> {
        self.model.targets_of(group).find(|target| (target.address, target.port) == (socket.ip(), socket.port()))
    }

    /// The addresses of the nodes that DNS is to name for a load balancer, as soon as nobody has to be held back.
    pub fn dns(&self, lb: Id) -> BTreeSet<IpAddr> {
        let nodes = self.model.load_balancer(lb).map(|lb| self.model.nodes_in_dns(lb)).unwrap_or_default();
        nodes.into_iter().map(|node| node.address.into()).collect()
    }

    /// Makes the DNS server's directory anew. Returns when it changes by itself, by the machine's monotonic clock.
    pub fn name(&mut self, at_ms: u64) -> Option<u64> {
        let (directory, due_ms) = self.directories.make(&self.model, at_ms - self.started_ms);
        self.directory = directory;
        due_ms.map(|due_ms| self.started_ms + due_ms)
    }

    /// What the DNS server answers to a load balancer's name; none: the name is not known.
    pub fn answer(&self, lb: Id) -> Option<BTreeSet<IpAddr>> {
        let lb = self.model.load_balancer(lb)?;
        let name = self.model.dns_name(&lb.name, lb.id).to_ascii_lowercase();
        match self.directory.find(&name) {
            Found::Addresses(addresses) => Some(addresses.iter().copied().collect()),
            Found::Apex | Found::Nothing | Found::Outside => None,
        }
    }
}

impl Disk {
    fn replace(&mut self, model: &Model) {
        let record = |key: RecordKey| Some((key.to_string(), model.record(&key)?));
        self.records = model.record_keys().into_iter().filter_map(record).collect();
        self.committed = Some(model.clone());
    }

    fn commit(&mut self, changed: &BTreeSet<RecordKey>, model: &Model) {
        if self.lies {
            return;
        }
        for key in changed {
            match model.record(key) {
                Some(value) => drop(self.records.insert(key.to_string(), value)),
                None => drop(self.records.remove(&key.to_string())),
            }
        }
        self.committed = Some(model.clone());
    }
}

/// The interval ±10 %.
fn interval_ms(plan: &CheckPlan, draw: f64) -> u64 {
    (f64::from(plan.interval_s) * (900.0 + 200.0 * draw)) as u64
}

/// Whether a slot is in the data plane's range.
pub const fn has_room(slot: u16) -> bool {
    slot < SLOTS
}

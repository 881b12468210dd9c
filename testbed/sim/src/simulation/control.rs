//! What the control plane does when its events come, and how its work reaches the lcores.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use leat_abi::flow::protocol;
use leat_abi::snapshot::TargetState;
use leat_model::health::{Change as HealthChange, Health, Outcome, Report};
use leat_model::{Command, Effects};
use rand::Rng;

use super::{Event, Manner, Simulation};
use crate::control_plane::{CheckKey, ControlPlane, Death, Ending};
use crate::operator::Change;
use crate::plant::Plant;
use crate::segment::LCORES;
use crate::site::{PORTS, zone_of_node};
use crate::truth::{Breach, breach};

/// Changes this close to each other share a snapshot.
const COALESCE_MS: u64 = 10;
/// A change that many is interrupted by the process's death.
const DEATHS: u32 = 60;

impl Simulation<'_> {
    /// What is there at the beginning: both processes, and a first configuration.
    pub(super) fn begin(&mut self) -> Result<(), Breach> {
        self.begin_data()?;
        self.begin_control()?;
        let first = Change::first(&mut self.rng, &self.options.profile);
        for change in first {
            self.change(&change, false)?;
        }
        self.begin_chaos();
        Ok(())
    }

    /// A control-plane process begins, with what is on the disk.
    pub(super) fn begin_control(&mut self) -> Result<(), Breach> {
        self.disk.fails = false;
        let wall_ms = self.wall_ms();
        let begun = ControlPlane::begin(&mut self.disk, self.key, wall_ms, self.at_ms);
        let control = match begun {
            Ok(control) => control,
            Err(error) => return breach("I7", format!("the control plane cannot begin: {error}")),
        };
        self.summary.restarts[0] += 1;
        self.truth.restarted(self.wall_ms(), self.at_ms);
        self.truth.check_recovered(&control.model, self.at_ms)?;
        if let Some(committed) = &self.disk.committed {
            for key in committed.record_keys() {
                if committed.record(&key) != control.model.record(&key) {
                    return breach("I7", format!("record {key} is not what was committed"));
                }
            }
        }
        self.runs.clear();
        self.noted_down.clear();
        self.control = Some(control);
        self.model_has_changed();
        self.arrange_once("look", 50, Event::LookAtPorts);
        Ok(())
    }

    /// The process is gone, with all it had in memory.
    pub(super) fn kill_control(&mut self) {
        self.control = None;
    }

    fn model_has_changed(&mut self) {
        self.model_changed = true;
        self.name();
        self.arrange_once("publish", COALESCE_MS, Event::Publish);
        self.arrange_once("plan", COALESCE_MS, Event::Plan);
        self.arrange_expiry();
        self.arrange_keep();
    }

    /// The DNS server gets its directory, at once after a change.
    pub(super) fn name(&mut self) {
        let at_ms = self.at_ms;
        if let Some(due_ms) = self.control.as_mut().and_then(|control| control.name(at_ms)) {
            self.arrange_at(due_ms, Event::Name);
        }
    }

    fn arrange_expiry(&mut self) {
        if let Some(at_ms) = self.control.as_ref().and_then(ControlPlane::next_expiry_ms) {
            self.arrange_at(at_ms, Event::Expire);
        }
    }

    fn arrange_keep(&mut self) {
        if self.control.as_ref().is_some_and(ControlPlane::is_waiting) {
            self.arrange_once("keep", 1000, Event::Keep);
        }
    }

    /// Commits a command. None: it was refused, or the process has died.
    fn commit(&mut self, command: Command, even_unstored: bool, may_die: bool) -> Result<Committed, Breach> {
        let dies = (may_die && !self.quiet && self.rng.random_ratio(1, DEATHS))
            .then(|| if self.rng.random() { Death::BeforeCommit } else { Death::AfterCommit });
        let (wall_ms, at_ms) = (self.wall_ms(), self.at_ms);
        let Some(control) = self.control.as_mut() else { return Ok(Committed::No) };
        let before = control.model.epoch();
        let ending = control.commit(&mut self.disk, command, control.now(wall_ms, at_ms), even_unstored, dies);
        match ending {
            Ending::Refused(error) => {
                self.say(|| format!("refused: {error}"));
                Ok(Committed::No)
            }
            Ending::Done(effects) if effects.changed.is_empty() => Ok(Committed::No),
            Ending::Done(effects) => {
                let epoch = control.model.epoch();
                if epoch <= before {
                    return breach("I9", format!("a change took the configuration from epoch {before} to {epoch}"));
                }
                if !self.disk.fails {
                    self.truth.stored();
                }
                self.model_has_changed();
                Ok(Committed::Yes(effects, epoch))
            }
            Ending::Died(is_stored) => {
                self.say(|| format!("the control plane dies in a change, stored: {is_stored}"));
                self.control = None;
                let after_ms = self.around(self.options.profile.outage_ms);
                self.arrange(after_ms, Event::Begin(0));
                let epoch = self.disk.committed.as_ref().map_or(0, leat_model::Model::epoch);
                Ok(if is_stored { Committed::Yes(Effects::default(), epoch) } else { Committed::No })
            }
        }
    }

    /// An operator's change.
    pub(super) fn change(&mut self, change: &Change, may_die: bool) -> Result<(), Breach> {
        if self.options.plant == Some(Plant::LostCommit) && self.summary.changes > 17 {
            self.disk.lies = true;
        }
        self.say(|| format!("{change:?}"));
        let id: u64 = self.rng.random();
        let committed = self.commit(change.command(id), false, may_die)?;
        if let Committed::Yes(effects, epoch) = committed {
            self.summary.changes += 1;
            let id = effects.id.map_or(id, |id| id.0);
            if let Change::CreateGroup(of) = change {
                self.group_ids.insert(id, *of);
            }
            if let Change::StartShift(.., name) = change {
                self.shifts.push(name.clone());
            }
            self.truth.note(change, leat_model::Id(id), epoch, self.wall_ms(), self.at_ms);
        }
        Ok(())
    }

    pub(super) fn operate(&mut self) -> Result<(), Breach> {
        if self.quiet {
            return Ok(());
        }
        let change = Change::random(&mut self.rng, &self.options.profile, &self.shifts);
        let in_ms = self.around(self.options.profile.change_ms);
        self.arrange(in_ms, Event::Operate);
        self.change(&change, true)
    }

    pub(super) fn plan(&mut self) {
        self.arranged.remove("plan");
        let at_ms = self.at_ms;
        let Self { control: Some(control), rng, .. } = self else { return };
        let due = control.plan(at_ms, || rng.random());
        for (at_ms, key, ticket) in due {
            self.arrange_at(at_ms, Event::Check(key, ticket));
        }
    }

    pub(super) fn begin_check(&mut self, key: CheckKey, ticket: u64) {
        let draw = self.rng.random();
        let Some(control) = self.control.as_mut() else { return };
        let Some((plan, next_ms)) = control.begin_check(key, ticket, draw) else { return };
        let target = SocketAddr::new(plan.address, plan.port);
        let manner = self.manners.get(&target).copied().unwrap_or(Manner::Silent);
        if self.options.plant == Some(Plant::LostCheck)
            && manner == Manner::Answers
            && control.model.target(key.slot).is_some_and(|it| it.health_at(key.node) == Health::Unhealthy)
        {
            return;
        }
        self.arrange_at(next_ms, Event::Check(key, ticket));
        let is_broken = self.broken_paths.contains(&zone_of_node(plan.source));
        let quick = self.latency();
        let (outcome, in_ms) = if !self.quiet && self.rng.random_ratio(1, 300) {
            (Outcome::NotMade, 1)
        } else if is_broken || self.is_lost() || manner == Manner::Silent {
            (Outcome::Failed(leat_model::health::Cause::Timeout), u64::from(plan.timeout_s) * 1000)
        } else if manner == Manner::Refuses {
            (Outcome::Failed(leat_model::health::Cause::Refused), quick)
        } else {
            (Outcome::Passed, quick)
        };
        self.arrange(in_ms, Event::Checked(key, outcome));
    }

    pub(super) fn checked(&mut self, key: CheckKey, outcome: Outcome) -> Result<(), Breach> {
        let Some(control) = self.control.as_mut() else { return Ok(()) };
        if !control.checks.contains_key(&key) {
            return Ok(());
        }
        self.summary.checks += 1;
        let mut reports = control.observe(key, outcome);
        let expected = self.expected_verdict(key, outcome);
        if self.options.plant == Some(Plant::WrongNode) {
            reports.iter_mut().for_each(|report| report.node ^= 1);
        }
        let shown: Vec<(u8, Option<Health>)> = reports
            .iter()
            .map(|Report { node, change, .. }| {
                let health = if let HealthChange::Health(health, _) = change { Some(*health) } else { None };
                (*node, health)
            })
            .collect();
        if !reports.is_empty() {
            self.say(|| format!("slot {} for nodes {shown:?}", key.slot));
            self.commit(Command::Health(reports), true, true)?;
        }
        self.check_verdict(key, expected)
    }

    pub(super) fn expire(&mut self) -> Result<(), Breach> {
        let at_ms = self.at_ms;
        let due = |control: &ControlPlane| control.next_expiry_ms().is_some_and(|due_ms| due_ms <= at_ms);
        if !self.control.as_ref().is_some_and(due) {
            return Ok(());
        }
        if self.options.plant == Some(Plant::EndlessShift) {
            let mut shifts = self.control.iter().flat_map(|control| control.model.shifts());
            let now_ms = self.control.as_ref().map_or(0, |control| control.now(0, at_ms).mono_ms);
            if shifts.any(|(_, it)| it.status == leat_model::rest::ShiftStatus::Active && it.expiry_mono_ms <= now_ms) {
                return Ok(());
            }
        }
        if let Committed::Yes(..) = self.commit(Command::Expire, true, true)? {
            self.truth.expired(at_ms);
            if !self.disk.fails {
                self.truth.stored();
            }
        }
        Ok(())
    }

    pub(super) fn keep(&mut self) -> Result<(), Breach> {
        self.arranged.remove("keep");
        let at_ms = self.at_ms;
        if let (Some(control), true) = (self.control.as_mut(), self.data.is_running()) {
            let mut commands = control.free_slots(self.segment);
            commands.extend(control.ready(self.segment, at_ms));
            for command in commands {
                self.commit(command, false, true)?;
            }
        }
        self.arrange_keep();
        Ok(())
    }

    pub(super) fn look_at_ports(&mut self) -> Result<(), Breach> {
        self.arranged.remove("look");
        if !self.data.is_running() {
            return Ok(());
        }
        let header = self.segment.control.header();
        let blocks = header.port.iter().zip(PORTS);
        let down = blocks.filter(|(block, _)| block.link_up.load(Ordering::Acquire) != 1);
        let down: BTreeSet<String> = down.map(|(_, name)| name.to_owned()).collect();
        if self.control.as_ref().is_some_and(|control| *control.model.ports_down() != down) {
            self.commit(Command::PortsDown(down.clone()), true, false)?;
        }
        if self.control.is_some() {
            self.noted_down = down;
        }
        Ok(())
    }

    /// Publishes what has changed, or the same again.
    pub(super) fn publish(&mut self) -> Result<(), Breach> {
        self.arranged.remove("publish");
        if !self.data.is_running() {
            return Ok(());
        }
        let Some(control) = self.control.as_mut() else { return Ok(()) };
        let Some(is_new) = control.compile(self.segment) else {
            self.arrange_once("publish", 2, Event::Publish);
            self.arrange_once("take", 1, Event::Take);
            return Ok(());
        };
        if self.options.plant == Some(Plant::DrainingInTable) {
            name_draining_target(control);
        }
        if is_new && let Some(compiled) = &control.compiled {
            self.truth.check_tables(&control.model, &compiled.snapshot)?;
        }
        match self.options.plant {
            Some(Plant::DrainingChosen) => name_draining_target(control),
            Some(Plant::ForeignTarget) => name_foreign_target(control),
            _ => {}
        }
        let (generation, epoch) = match control.publish(self.segment) {
            Ok(published) => published,
            Err(error) => return breach("publish", error),
        };
        self.summary.snapshots += 1;
        self.epochs.insert(generation, epoch);
        // Now and then the main thread is slow, and overlooks what is replaced meanwhile.
        let in_ms = if self.rng.random_ratio(1, 20) { 300 } else { self.rng.random_range(0..3) };
        self.arrange_once("take", in_ms, Event::Take);
        // Later there is nothing to be healed by it.
        let again_ms = self.options.profile.republish_ms * if self.quiet { 60 } else { 1 };
        self.arrange_once("republish", again_ms, Event::Republish);
        Ok(())
    }

    pub(super) fn take(&mut self) -> Result<(), Breach> {
        self.arranged.remove("take");
        if !self.data.is_running() {
            return Ok(());
        }
        match self.data.take_snapshot(self.segment) {
            None => return Ok(()),
            Some(Err(error)) => return breach("publish", format!("the data plane refuses a snapshot: {error}")),
            Some(Ok(snapshot)) => self.note_places(&snapshot),
        }
        for lcore in 0..LCORES {
            let in_ms = self.rng.random_range(0..4);
            self.arrange(in_ms, Event::Install(lcore));
        }
        Ok(())
    }

    pub(super) fn note_places(&mut self, snapshot: &leat_abi::Snapshot) {
        let places = snapshot.listeners.iter().map(|listener| {
            let place = (SocketAddr::new(listener.vip, listener.port), listener.protocol == protocol::TCP);
            (place, snapshot.groups[usize::from(listener.group)].id)
        });
        self.places.insert(snapshot.generation, places.collect());
        let oldest = self.newest.iter().copied().min().unwrap_or(0);
        self.places.retain(|generation, _| *generation >= oldest.min(snapshot.generation));
        self.epochs.retain(|generation, _| *generation >= oldest.min(snapshot.generation));
    }

    pub(super) fn install(&mut self, lcore: u16) {
        if self.data.is_running() {
            self.data.install(self.segment, lcore);
            self.flows_changed = true;
            self.arrange_housekeeping(1);
        }
    }
}

/// How a change ended.
pub(super) enum Committed {
    /// It is stored; the epoch.
    Yes(Effects, u64),
    /// Refused, lost, or nothing to be changed.
    No,
}

/// A planted fault: the table of a draining target's group names it, and nothing else.
fn name_draining_target(control: &mut ControlPlane) {
    let Some(compiled) = &mut control.compiled else { return };
    let model = &control.model;
    let draining = compiled.snapshot.targets.iter().find(|target| target.state == TargetState::Draining);
    let Some(slot) = draining.map(|target| target.slot) else { return };
    let Some(group) = model.target(slot).map(|target| target.group) else { return };
    for table in compiled.snapshot.groups.iter_mut().filter(|it| it.id == group.0) {
        table.table = vec![slot; table.table.len().max(1)];
    }
}

/// A planted fault: a table names a target of another group.
fn name_foreign_target(control: &mut ControlPlane) {
    let Some(compiled) = &mut control.compiled else { return };
    let groups = &mut compiled.snapshot.groups;
    let Some(first) = groups.first().map(|group| group.id) else { return };
    let Some(slot) = groups.iter().find(|it| it.id != first).and_then(|it| it.table.first().copied()) else { return };
    groups[0].table = vec![slot; groups[0].table.len().max(1)];
}

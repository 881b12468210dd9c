//! The life of targets: registered, checked, draining, gone (TGT, DRN, HC).

use std::collections::BTreeSet;

use crate::error::{Code, Error, Shown};
use crate::health::{Change, Health, Report, consensus};
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Owner, Registration, Target, TargetGroup, Verdict};
use crate::rest::{TargetSpec, TargetType};

mod spec;
pub(crate) use spec::{ALL_ZONES, Wanted, of_application, of_instance};

impl Model {
    pub(crate) fn register_targets(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        specs: &[TargetSpec],
        tenant: Option<&str>,
        now: Now,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        let id = group.id;
        fx.id = Some(id);
        refuse_selected(group)?;
        for wanted in self.wanted_targets(group, specs, tenant)? {
            self.register(fx, id, wanted, now)?;
        }
        self.check_target_quotas(id)
    }

    /// Quotas of a group that has more targets now (QTA-06, QTA-07, QTA-09, QTA-10).
    pub(crate) fn check_target_quotas(&self, group: Id) -> Result<(), Error> {
        let registered = self.targets_of(group).filter(|target| target.is_registered());
        if self.target_groups.get(&group).is_some_and(|group| group.target_type == TargetType::Alb) {
            self.limits.albs_per_group(registered.map(|target| &target.name).collect::<BTreeSet<_>>().len())?;
        } else {
            self.limits.targets_per_group(registered.count())?;
        }
        self.user_of(group).map_or(Ok(()), |lb| self.check_load_balancer_targets(lb))
    }

    /// Registers a target; one that is registered already takes its new name and zone.
    pub(crate) fn register(&mut self, fx: &mut Effects, group: Id, wanted: Wanted, now: Now) -> Result<(), Error> {
        let Wanted { address, port, name, zone } = wanted;
        let epoch = self.meta.epoch;
        if let Some(slot) = self.by_socket.get(&(group, address, port)).copied() {
            if let Some(target) = self.targets.get_mut(&slot) {
                let known = target.is_registered() && target.name == name;
                if !known {
                    // Same slot, same generation: its flows are its own again (S15.4).
                    target.registration = Registration::Registered;
                    become_initial(target, epoch, now);
                }
                if !known || target.zone != zone {
                    (target.name, target.zone) = (name, zone);
                    fx.touch(RecordKey::Target(slot));
                }
            }
        } else {
            let (slot, generation) = self.take_target_slot(fx)?;
            let target = Target {
                group,
                address,
                port,
                name,
                zone,
                slot,
                generation,
                registration: Registration::Registered,
                owner: None,
                health: Health::Initial,
                cause: None,
                initial_since_ms: now.wall_ms,
                initial_since_epoch: epoch,
                verdicts: Vec::new(),
                unavailable: 0,
                suspect: false,
            };
            self.targets.insert(slot, target);
            self.by_socket.insert((group, address, port), slot);
            fx.touch(RecordKey::Target(slot));
        }
        match (self.by_socket.get(&(group, address, port)), self.user_of(group)) {
            (Some(slot), Some(lb)) => self.own(fx, *slot, lb),
            _ => Ok(()),
        }
    }

    fn take_target_slot(&mut self, fx: &mut Effects) -> Result<(u16, u8), Error> {
        let taken = self.target_slots.take().ok_or_else(|| {
            Error::new(Code::TooManyTargets, "all 65535 target numbers are taken; deregister targets first")
        })?;
        fx.touch(RecordKey::TargetSlots);
        Ok(taken)
    }

    /// From now on a load balancer's flows go to a registered target. If those of another one may still refer to its number, it
    /// gets a new number.
    fn own(&mut self, fx: &mut Effects, slot: u16, lb: Id) -> Result<(), Error> {
        let owner = Some(Owner { load_balancer: lb, withdrawn_since: None });
        let Some(old) = self.targets.get(&slot).filter(|target| target.owner != owner).cloned() else { return Ok(()) };
        let mut target = Target { owner, ..old.clone() };
        if old.owner.is_some() {
            (target.slot, target.generation) = self.take_target_slot(fx)?;
            let registration = Registration::Left { since_epoch: self.meta.epoch };
            self.targets.insert(slot, Target { registration, ..old });
        }
        self.by_socket.insert((target.group, target.address, target.port), target.slot);
        fx.touch(RecordKey::Target(slot));
        fx.touch(RecordKey::Target(target.slot));
        self.targets.insert(target.slot, target);
        Ok(())
    }

    /// A load balancer is deleted: so are its flows, whatever becomes of the targets (S15.7).
    pub(crate) fn withdraw_targets(&mut self, fx: &mut Effects, lb: Id) {
        for target in self.targets.values_mut() {
            if let Some(owner) = target.owner.as_mut().filter(|owner| owner.load_balancer == lb) {
                owner.withdrawn_since = Some(self.meta.epoch);
                fx.touch(RecordKey::Target(target.slot));
            }
        }
    }

    pub(crate) fn deregister_targets(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        specs: &[TargetSpec],
        now: Now,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        refuse_selected(group)?;
        for slot in self.known_targets(group, specs)? {
            self.drain(fx, slot, now);
        }
        Ok(())
    }

    /// Deregisters a target: its delay begins.
    pub(crate) fn drain(&mut self, fx: &mut Effects, slot: u16, now: Now) {
        let epoch = self.meta.epoch;
        let Some(target) = self.targets.get_mut(&slot).filter(|target| target.is_registered()) else { return };
        let Some(group) = self.target_groups.get(&target.group) else { return };
        let (delay, terminate) = (group.deregistration_delay_ms(), group.terminates_connections());
        target.registration = if delay == 0 {
            Registration::Gone { since_epoch: epoch, terminate }
        } else {
            let (until_ms, until_mono_ms) = (now.wall_ms + delay, now.mono_ms + delay);
            Registration::Draining { until_ms, until_mono_ms, terminate }
        };
        fx.touch(RecordKey::Target(slot));
    }

    /// What is known of the health of a group's registered targets counts no more.
    pub(crate) fn check_anew(&mut self, fx: &mut Effects, group: Id, now: Now) {
        let epoch = self.meta.epoch;
        for target in self.targets.values_mut().filter(|target| target.group == group && target.is_registered()) {
            become_initial(target, epoch, now);
            fx.touch(RecordKey::Target(target.slot));
        }
    }

    /// A listener of a load balancer forwards to the group for the first time: its targets are checked from now on (HC-19).
    pub(crate) fn begin_use(&mut self, fx: &mut Effects, group: Id, lb: Id, now: Now) -> Result<(), Error> {
        let slots: Vec<u16> = self.targets_of(group).filter(|target| target.is_registered()).map(|t| t.slot).collect();
        let epoch = self.meta.epoch;
        for slot in slots {
            if let Some(target) = self.targets.get_mut(&slot) {
                become_initial(target, epoch, now);
                fx.touch(RecordKey::Target(slot));
            }
            self.own(fx, slot, lb)?;
        }
        Ok(())
    }

    pub(crate) fn change_health(&mut self, fx: &mut Effects, reports: Vec<Report>) {
        for Report { slot, generation, node, change } in reports {
            let Some(target) = self.targets.get_mut(&slot).filter(|target| target.generation == generation) else {
                continue;
            };
            match change {
                Change::Health(health, cause) => {
                    let verdict = Verdict { node, health, cause };
                    match target.verdicts.iter_mut().find(|known| known.node == node) {
                        Some(known) if *known == verdict => continue,
                        Some(known) => *known = verdict,
                        None => target.verdicts.push(verdict),
                    }
                }
                Change::Unavailable(unavailable) => {
                    let bit = 1u64.checked_shl(node.into()).unwrap_or(0);
                    let before = target.unavailable;
                    target.unavailable = if unavailable { before | bit } else { before & !bit };
                    if target.unavailable == before {
                        continue;
                    }
                }
            }
            fx.touch(RecordKey::Target(slot));
            self.agree(slot);
        }
    }

    /// Makes a target's health that of the nodes which use it.
    fn agree(&mut self, slot: u16) {
        let Some(target) = self.targets.get(&slot) else { return };
        // One that is not in use is not checked; what is known of it is of before.
        let nodes = Some(self.nodes_using(target)).filter(|nodes| *nodes != 0).unwrap_or(u64::MAX);
        let (health, cause) = consensus(target.verdicts.iter().filter(|verdict| nodes & 1 << verdict.node != 0));
        if let Some(target) = self.targets.get_mut(&slot) {
            target.verdicts.retain(|verdict| nodes & 1 << verdict.node != 0);
            target.unavailable &= nodes;
            (target.health, target.cause) = (health, cause);
        }
    }

    /// The same for all groups of a load balancer.
    pub(crate) fn agree_on_targets(&mut self, fx: &mut Effects, lb: Id) {
        for group in self.groups_of(lb) {
            self.agree_on_group(fx, group);
        }
    }

    /// A load balancer's nodes have other numbers now. What they have found out together stays.
    pub(crate) fn forget_verdicts(&mut self, fx: &mut Effects, lb: Id) {
        let groups = self.groups_of(lb);
        for target in self.targets.values_mut().filter(|target| groups.contains(&target.group)) {
            target.verdicts.clear();
            target.unavailable = 0;
            fx.touch(RecordKey::Target(target.slot));
        }
    }

    fn groups_of(&self, lb: Id) -> BTreeSet<Id> {
        self.listeners_of(lb).map(|listener| listener.target_group).collect()
    }

    /// The nodes of a group's load balancer, or which of them use which targets, may have changed.
    pub(crate) fn agree_on_group(&mut self, fx: &mut Effects, group: Id) {
        let slots: Vec<u16> = self.targets_of(group).map(|target| target.slot).collect();
        for slot in slots {
            let before = self.targets.get(&slot).cloned();
            // Without a verdict nothing is known better than what they have agreed on before.
            if before.as_ref().is_some_and(|target| target.verdicts.is_empty()) {
                continue;
            }
            self.agree(slot);
            if self.targets.get(&slot) != before.as_ref() {
                fx.touch(RecordKey::Target(slot));
            }
        }
    }

    /// Targets that have no new flows for a moment, because of how they answer clients, and those that have again: slot, generation.
    pub(crate) fn suspect(&mut self, fx: &mut Effects, changes: Vec<(u16, u8, bool)>) {
        for (slot, generation, suspect) in changes {
            let target = self.targets.get_mut(&slot).filter(|target| target.generation == generation);
            if let Some(target) = target.filter(|target| target.suspect != suspect) {
                target.suspect = suspect;
                fx.touch(RecordKey::Target(slot));
            }
        }
    }

    /// When the next delay ends, by the monotonic clock.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        let deadlines = self.targets.values().filter_map(|target| match target.registration {
            Registration::Draining { until_mono_ms, .. } => Some(until_mono_ms),
            _ => None,
        });
        deadlines.chain(self.next_shift_expiry_ms()).min()
    }

    pub(crate) fn expire(&mut self, fx: &mut Effects, now: Now) {
        self.expire_shifts(fx, now);
        let epoch = self.meta.epoch;
        for target in self.targets.values_mut() {
            match target.registration {
                Registration::Draining { until_mono_ms, terminate, .. } if until_mono_ms <= now.mono_ms => {
                    target.registration = Registration::Gone { since_epoch: epoch, terminate };
                    fx.touch(RecordKey::Target(target.slot));
                }
                _ => {}
            }
        }
    }

    /// Frees what was waited for: the number of a target that is gone, or a number whose load balancer was deleted.
    pub(crate) fn free_targets(&mut self, fx: &mut Effects, slots: Vec<(u16, Vec<u64>)>) {
        for (slot, counted) in slots {
            let Some(target) = self.targets.get_mut(&slot) else { continue };
            match target.registration {
                Registration::Gone { .. } | Registration::Left { .. } => {
                    let socket = (target.group, target.address, target.port);
                    if !target.is_left() {
                        self.by_socket.remove(&socket);
                    }
                    self.targets.remove(&slot);
                    self.target_slots.free(slot, counted);
                    fx.touch(RecordKey::TargetSlots);
                }
                _ if target.is_withdrawn() => target.owner = None,
                _ => continue,
            }
            fx.touch(RecordKey::Target(slot));
        }
    }
}

/// Targets that a selector chooses are not registered by hand: the next look at the labels would undo it.
fn refuse_selected(group: &TargetGroup) -> Result<(), Error> {
    if group.selector.is_empty() {
        return Ok(());
    }
    let message = format!(
        "target group {} has the instances that its selector chooses; change their labels, or take the selector away",
        Shown(&group.name)
    );
    Err(Error::new(Code::OperationNotPermitted, message))
}

pub(crate) fn become_initial(target: &mut Target, epoch: u64, now: Now) {
    target.health = Health::Initial;
    target.cause = None;
    target.verdicts.clear();
    target.unavailable = 0;
    target.suspect = false;
    target.initial_since_ms = now.wall_ms;
    target.initial_since_epoch = epoch;
}

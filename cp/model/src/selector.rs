//! Targets that are instances follow the inventory (TGT-11, TGT-16).

use crate::error::Error;
use crate::health::Health;
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::Target;
use crate::rest::{InstanceSpec, InstanceState, Labels, TargetType};
use crate::target::{Wanted, become_initial, of_instance};

fn is_chosen(instance: &InstanceSpec, selector: &Labels) -> bool {
    selector.iter().all(|(key, value)| instance.labels.get(key) == Some(value))
}

impl Model {
    /// Makes targets what the inventory says that the instances are; to be called after every change of it. An instance with
    /// another primary address drains at the old one and is registered at the new one; one that does not run is to be checked
    /// anew when it does; groups with a selector have the instances with its labels.
    ///
    /// # Errors
    /// A quota of targets.
    pub(crate) fn follow_instances(&mut self, fx: &mut Effects, now: Now) -> Result<(), Error> {
        let groups = self.target_groups.values().filter(|group| group.target_type == TargetType::Instance);
        let groups: Vec<Id> = groups.map(|group| group.id).collect();
        for group in groups {
            self.follow_changes(fx, group, now)?;
            self.follow_selector(fx, group, now)?;
        }
        self.follow_classics(fx, now)
    }

    /// Addresses and states of the instances that are registered.
    fn follow_changes(&mut self, fx: &mut Effects, group: Id, now: Now) -> Result<(), Error> {
        let instances = &self.inventory.instances;
        let instance = |target: &Target| target.name.as_ref().and_then(|id| instances.get(id));
        let registered = || self.targets_of(group).filter(|target| target.is_registered());
        let moved: Vec<(u16, Wanted)> = registered()
            .filter_map(|target| Some((target, instance(target)?)))
            .filter(|(target, instance)| target.address != instance.address)
            .map(|(target, instance)| (target.slot, of_instance(instance, target.port)))
            .collect();
        let down = |target: &&Target| instance(target).is_none_or(|it| it.state != InstanceState::Running);
        let stopped: Vec<u16> = registered().filter(down).map(|target| target.slot).collect();
        for (slot, _) in &moved {
            self.drain(fx, *slot, now);
        }
        for (_, wanted) in moved {
            self.register(fx, group, wanted, now)?;
        }
        let epoch = self.meta.epoch;
        for slot in stopped {
            let target = self.targets.get_mut(&slot).filter(|target| target.is_registered());
            if let Some(target) = target.filter(|target| target.health != Health::Initial) {
                become_initial(target, epoch, now);
                fx.touch(RecordKey::Target(slot));
            }
        }
        Ok(())
    }

    /// Registers the running instances that a group's selector chooses, and deregisters those that it chooses no more.
    pub(crate) fn follow_selector(&mut self, fx: &mut Effects, group: Id, now: Now) -> Result<(), Error> {
        let Some(found) = self.target_groups.get(&group).filter(|group| !group.selector.is_empty()) else {
            return Ok(());
        };
        let instances = &self.inventory.instances;
        let chosen = |id: &String| instances.get(id).is_some_and(|instance| is_chosen(instance, &found.selector));
        let is_registered = |instance: &InstanceSpec| {
            self.targets_of(group).any(|target| target.is_registered() && target.name.as_ref() == Some(&instance.id))
        };
        let here = |instance: &InstanceSpec| {
            found.network.as_ref().is_none_or(|id| self.network_of(instance).is_some_and(|network| network.id == *id))
        };
        let new: Vec<Wanted> = instances
            .values()
            .filter(|it| it.state == InstanceState::Running && !it.no_client_ip && is_chosen(it, &found.selector))
            .filter(|instance| here(instance) && !is_registered(instance))
            .map(|instance| of_instance(instance, found.port))
            .collect();
        let registered = self.targets_of(group).filter(|target| target.is_registered());
        let lost: Vec<u16> =
            registered.filter(|target| !target.name.as_ref().is_some_and(chosen)).map(|target| target.slot).collect();
        for slot in lost {
            self.drain(fx, slot, now);
        }
        for wanted in new {
            self.register(fx, group, wanted, now)?;
        }
        self.check_target_quotas(group)
    }
}

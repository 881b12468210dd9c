//! Instances of Classic load balancers (CLB-01 to CLB-07): registered by id, reached by their primary addresses.

use std::collections::BTreeSet;

use super::Balancer;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::{Effects, Model, Now};
use crate::resource::Target;
use crate::rest::{InstanceSpec, InstanceState, TargetState};
use crate::target::{Wanted, of_instance};
use crate::target_group::is_shared_with;
use crate::view::NO_DATA_PLANE;

/// What `DescribeInstanceHealth` says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceHealth {
    /// Its id.
    pub id: String,
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: &'static str,
    /// Whose fault it is: `ELB`, `Instance` or `N/A`.
    pub reason: &'static str,
    /// In AWS's words, where it has any.
    pub description: String,
}

const DRAINING: &str = "Instance deregistration currently in progress.";

fn invalid(at: usize, why: String) -> Error {
    Error::at(Code::InvalidInstance, format!("Instances.member.{}.InstanceId", at + 1), why)
}

impl Model {
    /// The instances of a Classic load balancer: those that were registered, and those that its selector chooses.
    pub fn instances_of_classic<'m>(&'m self, lb: &'m Balancer) -> BTreeSet<&'m str> {
        let known = &self.inventory.instances;
        let registered = lb.instances.iter().filter(|id| known.contains_key(*id));
        let chosen = |instance: &&InstanceSpec| {
            !lb.selector.is_empty()
                && instance.state == InstanceState::Running
                && self.is_in_network_of(instance, lb)
                && lb.selector.iter().all(|(key, value)| instance.labels.get(key) == Some(value))
        };
        registered.map(String::as_str).chain(known.values().filter(chosen).map(|it| it.id.as_str())).collect()
    }

    fn is_in_network_of(&self, instance: &InstanceSpec, lb: &Balancer) -> bool {
        self.network_of(instance).is_some_and(|network| Some(network.id.as_str()) == self.classic_network(lb))
    }

    pub(super) fn register_instances(
        &mut self,
        fx: &mut Effects,
        name: &str,
        instances: &[String],
        tenant: Option<&str>,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        if instances.is_empty() {
            return Err(Error::invalid("Instances", "Instances must contain at least one instance"));
        }
        for (at, id) in instances.iter().enumerate() {
            let shown = Shown(id).to_string();
            let instance = self.inventory.instances.get(id);
            let instance = instance
                .ok_or_else(|| invalid(at, format!("Could not find EC2 instance {}.", shown.trim_matches('"'))))?;
            if !lb.instances.contains(id) && instance.state != InstanceState::Running {
                return Err(invalid(at, format!("EC2 instance {shown} is not running; start it first")));
            }
            if !self.is_in_network_of(instance, &lb) {
                let network = self.classic_network(&lb).unwrap_or_default();
                return Err(invalid(at, format!("EC2 instance {shown} is not in the same VPC as ELB: {network}")));
            }
            if self.network_of(instance).is_some_and(|network| !is_shared_with(network, tenant)) {
                let why = format!(
                    "EC2 instance {shown} is in a network that is not shared with tenant {}",
                    Shown(tenant.unwrap_or_default())
                );
                return Err(invalid(at, why));
            }
            lb.instances.insert(id.clone());
        }
        self.limits.classic_instances(lb.instances.len())?;
        self.put_classic(fx, lb, now)
    }

    pub(super) fn deregister_instances(
        &mut self,
        fx: &mut Effects,
        name: &str,
        instances: &[String],
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        for (at, id) in instances.iter().enumerate() {
            let shown = Shown(id).to_string();
            let removed = lb.instances.remove(id);
            if !removed && !self.inventory.instances.contains_key(id) {
                return Err(invalid(at, format!("Could not find EC2 instance {}.", shown.trim_matches('"'))));
            }
            if self.instances_of_classic(&lb).contains(id.as_str()) {
                let why =
                    format!("instance {shown} is chosen by the load balancer's selector; change its labels instead");
                return Err(invalid(at, why));
            }
        }
        self.put_classic(fx, lb, now)
    }

    /// Makes the targets of the hidden groups what the load balancer says: each of its instances whose zone is enabled (CLB-04), by its
    /// primary address (CLB-03). Others drain, or stop at once (CLB-05). Instances that the inventory has no more are forgotten.
    pub(super) fn follow_classic(&mut self, fx: &mut Effects, name: &str, now: Now) -> Result<(), Error> {
        let Some(lb) = self.classics.get(name) else { return Ok(()) };
        let mut lb = lb.clone();
        let before = lb.instances.len();
        lb.instances.retain(|id| self.inventory.instances.contains_key(id));
        if lb.instances.len() != before {
            self.classics.insert(name.to_owned(), lb.clone());
            fx.touch(super::key(name));
        }
        for port in lb.listeners.keys() {
            // There is one of each: no new ids are needed.
            self.put_classic_listener(fx, &lb, *port, (Id(0), Id(0)), now)?;
        }
        let members: Vec<InstanceSpec> = self
            .instances_of_classic(&lb)
            .into_iter()
            .filter_map(|id| self.inventory.instances.get(id))
            .filter(|instance| {
                self.zone_of_instance(instance).is_some_and(|zone| self.classic_zones(&lb).any(|it| it == zone))
            })
            .cloned()
            .collect();
        let groups: Vec<(Id, u16)> = self.classic_groups(name).map(|group| (group.id, group.port)).collect();
        for (group, port) in groups {
            let is_wanted = |target: &Target| {
                members.iter().any(|it| Some(&it.id) == target.name.as_ref() && target.address == it.address)
            };
            let registered = || self.targets_of(group).filter(|target| target.is_registered());
            let left: Vec<u16> = registered().filter(|it| !is_wanted(it)).map(|target| target.slot).collect();
            let is_there = |it: &InstanceSpec| {
                registered().any(|target| target.name.as_ref() == Some(&it.id) && target.address == it.address)
            };
            let new: Vec<Wanted> = members.iter().filter(|it| !is_there(it)).map(|it| of_instance(it, port)).collect();
            left.into_iter().for_each(|slot| self.drain(fx, slot, now));
            for wanted in new {
                self.register(fx, group, wanted, now)?;
            }
            self.check_target_quotas(group)?;
        }
        Ok(())
    }

    fn zone_of_instance(&self, instance: &InstanceSpec) -> Option<&str> {
        self.inventory.subnets.get(&instance.subnet).map(|subnet| subnet.zone.as_str())
    }

    /// The health of all instances, or of those that are named.
    ///
    /// # Errors
    /// [`Code::InvalidInstance`]: one is not registered.
    pub fn classic_health(&self, lb: &Balancer, wanted: &[String], now: Now) -> Result<Vec<InstanceHealth>, Error> {
        let registered = self.instances_of_classic(lb);
        if wanted.is_empty() {
            return Ok(registered.into_iter().map(|id| self.health_of_instance(lb, id, now)).collect());
        }
        let one = |(at, id): (usize, &String)| {
            if registered.contains(id.as_str()) {
                return Ok(self.health_of_instance(lb, id, now));
            }
            let drains = |target: &Target| target.is_draining() && target.name.as_ref() == Some(id);
            if self.classic_groups(&lb.name).any(|group| self.targets_of(group.id).any(drains)) {
                return Ok(InstanceHealth {
                    id: id.clone(),
                    state: "InService",
                    reason: "N/A",
                    description: DRAINING.into(),
                });
            }
            Err(invalid(at, format!("Could not find EC2 instance {}.", Shown(id).to_string().trim_matches('"'))))
        };
        wanted.iter().enumerate().map(one).collect()
    }

    fn health_of_instance(&self, lb: &Balancer, id: &str, now: Now) -> InstanceHealth {
        let says = |state, reason, description: &str| InstanceHealth {
            id: id.to_owned(),
            state,
            reason,
            description: description.to_owned(),
        };
        let out = |reason, description: &str| says("OutOfService", reason, description);
        let instance = self.inventory.instances.get(id);
        match instance.map(|instance| instance.state) {
            Some(InstanceState::Running) => {}
            Some(InstanceState::Pending) => return out("Instance", "Instance is in pending state."),
            Some(InstanceState::Stopping | InstanceState::Stopped) => {
                return out("Instance", "Instance is in stopped state.");
            }
            Some(InstanceState::ShuttingDown | InstanceState::Terminated) | None => {
                return out("Instance", "Instance is in terminated state.");
            }
        }
        let zone = instance.and_then(|instance| self.zone_of_instance(instance)).unwrap_or_default();
        if !self.classic_zones(lb).any(|known| known == zone) {
            let description = "Instance is in the EC2 Availability Zone for which LoadBalancer is not configured to route traffic to.";
            return out("ELB", description);
        }
        if self.site.without_data_plane {
            return says("Unknown", "ELB", NO_DATA_PLANE);
        }
        let named = |target: &&Target| target.is_registered() && target.name.as_deref() == Some(id);
        let targets = self.classic_groups(&lb.name).filter_map(|group| self.targets_of(group.id).find(named));
        let health: Vec<_> = targets.map(|target| self.show_health(target, now)).collect();
        let worst = health.iter().find(|health| health.state != TargetState::Healthy);
        match worst.or(health.first()) {
            None => out("ELB", "The load balancer has no listener, so that instances are not checked."),
            Some(health) => match health.state {
                TargetState::Healthy => says("InService", "N/A", "N/A"),
                TargetState::Initial => out("ELB", "Instance registration is still in progress."),
                TargetState::Unhealthy => out(
                    "Instance",
                    "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
                ),
                TargetState::Unavailable => {
                    says("Unknown", "ELB", "A transient error occurred. Please try again later.")
                }
                TargetState::Unused | TargetState::Draining => {
                    out("ELB", health.description.as_deref().unwrap_or_default())
                }
            },
        }
    }
}

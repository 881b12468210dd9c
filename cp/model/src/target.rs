//! The life of targets: registered, checked, draining, gone (TGT, DRN, HC).

use std::net::Ipv4Addr;

use crate::check;
use crate::error::{Code, Error};
use crate::health::{Change, Health};
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Registration, Target, TargetGroup};
use crate::rest::TargetSpec;

impl Model {
    pub(crate) fn register_targets(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        specs: &[TargetSpec],
        now: Now,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        let id = group.id;
        for (address, port) in self.sockets(group, specs, true)? {
            self.register(fx, id, address, port, now)?;
        }
        let registered = self.targets_of(id).filter(|target| target.is_registered()).count();
        self.limits.targets_per_group(registered)?;
        match self.user_of(id) {
            Some(lb) => self.check_load_balancer_targets(lb),
            None => Ok(()),
        }
    }

    fn register(&mut self, fx: &mut Effects, group: Id, address: Ipv4Addr, port: u16, now: Now) -> Result<(), Error> {
        let known = self.by_socket.get(&(group, address, port)).and_then(|slot| self.targets.get_mut(slot));
        let epoch = self.meta.epoch;
        if let Some(target) = known {
            if !target.is_registered() {
                // Same slot, same generation: its flows are its own again (S15.4).
                target.registration = Registration::Registered;
                become_initial(target, epoch, now);
                fx.touch(RecordKey::Target(target.slot));
            }
            return Ok(());
        }
        let (slot, generation) = self.target_slots.take().ok_or_else(|| {
            Error::new(Code::TooManyTargets, "all 65535 target numbers are taken; deregister targets first")
        })?;
        let target = Target {
            group,
            address,
            port,
            slot,
            generation,
            registration: Registration::Registered,
            health: Health::Initial,
            cause: None,
            initial_since_ms: now.wall_ms,
            initial_since_epoch: epoch,
            unavailable: false,
        };
        self.targets.insert(slot, target);
        self.by_socket.insert((group, address, port), slot);
        fx.touch(RecordKey::Target(slot));
        fx.touch(RecordKey::TargetSlots);
        Ok(())
    }

    pub(crate) fn deregister_targets(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        specs: &[TargetSpec],
        now: Now,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        let (id, delay) = (group.id, group.deregistration_delay_ms());
        for (address, port) in self.sockets(group, specs, false)? {
            let epoch = self.meta.epoch;
            let known = self.by_socket.get(&(id, address, port)).and_then(|slot| self.targets.get_mut(slot));
            if let Some(target) = known.filter(|target| target.is_registered()) {
                target.registration = if delay == 0 {
                    Registration::Gone { since_epoch: epoch }
                } else {
                    Registration::Draining { until_ms: now.wall_ms + delay, until_mono_ms: now.mono_ms + delay }
                };
                fx.touch(RecordKey::Target(target.slot));
            }
        }
        Ok(())
    }

    /// The sockets that a request names; those to be registered are checked for whether they can be targets.
    fn sockets(
        &self,
        group: &TargetGroup,
        specs: &[TargetSpec],
        register: bool,
    ) -> Result<Vec<(Ipv4Addr, u16)>, Error> {
        if specs.is_empty() {
            return Err(Error::invalid("targets", "the list of targets is empty; give at least one"));
        }
        self.limits.targets_per_request(specs.len()).map_err(|e| Error { field: Some("targets".into()), ..e })?;
        let socket = |(at, spec): (usize, &TargetSpec)| {
            let field = format!("targets[{at}].id");
            let address = check::ipv4(Code::InvalidTarget, &field, &spec.id)?;
            let port = match spec.port {
                Some(port) => check::port(&format!("targets[{at}].port"), port)?,
                None => group.port,
            };
            if register {
                self.check_target_address(&field, address)?;
            }
            Ok((address, port))
        };
        specs.iter().enumerate().map(socket).collect()
    }

    /// Private, or in a subnet of ours (TG-05); not this host itself.
    fn check_target_address(&self, field: &str, address: Ipv4Addr) -> Result<(), Error> {
        let subnets = &self.site.subnets;
        if let Some((port, _)) = subnets.iter().find(|(_, net)| net.addr() == address) {
            let message = format!("{address} is this appliance's own address on port {port} and cannot be a target");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        if !check::is_private(address) && !subnets.iter().any(|(_, net)| net.contains(&address)) {
            let message = format!(
                "{address} is not in an allowed range: targets are in {} or in the subnet of a port",
                check::TARGET_RANGES.join(", ")
            );
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        Ok(())
    }

    /// A listener forwards to the group for the first time: its targets are checked from now on (HC-19).
    pub(crate) fn begin_use(&mut self, fx: &mut Effects, group: Id, now: Now) {
        let slots: Vec<u16> = self.targets_of(group).filter(|target| target.is_registered()).map(|t| t.slot).collect();
        let epoch = self.meta.epoch;
        for slot in slots {
            if let Some(target) = self.targets.get_mut(&slot) {
                become_initial(target, epoch, now);
                fx.touch(RecordKey::Target(slot));
            }
        }
    }

    pub(crate) fn change_health(&mut self, fx: &mut Effects, changes: Vec<(u16, u8, Change)>) {
        for (slot, generation, change) in changes {
            let Some(target) = self.targets.get_mut(&slot).filter(|target| target.generation == generation) else {
                continue;
            };
            let before = (target.health, target.cause, target.unavailable);
            match change {
                Change::Health(health, cause) => (target.health, target.cause) = (health, cause),
                Change::Unavailable(unavailable) => target.unavailable = unavailable,
            }
            if before != (target.health, target.cause, target.unavailable) {
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
        deadlines.min()
    }

    pub(crate) fn expire(&mut self, fx: &mut Effects, now: Now) {
        let epoch = self.meta.epoch;
        for target in self.targets.values_mut() {
            match target.registration {
                Registration::Draining { until_mono_ms, .. } if until_mono_ms <= now.mono_ms => {
                    target.registration = Registration::Gone { since_epoch: epoch };
                    fx.touch(RecordKey::Target(target.slot));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn free_targets(&mut self, fx: &mut Effects, slots: Vec<(u16, Vec<u64>)>) {
        for (slot, counted) in slots {
            let gone = self.targets.get(&slot).filter(|t| matches!(t.registration, Registration::Gone { .. }));
            if let Some(target) = gone {
                self.by_socket.remove(&(target.group, target.address, target.port));
                self.targets.remove(&slot);
                self.target_slots.free(slot, counted);
                fx.touch(RecordKey::Target(slot));
                fx.touch(RecordKey::TargetSlots);
            }
        }
    }
}

fn become_initial(target: &mut Target, epoch: u64, now: Now) {
    target.health = Health::Initial;
    target.cause = None;
    target.unavailable = false;
    target.initial_since_ms = now.wall_ms;
    target.initial_since_epoch = epoch;
}

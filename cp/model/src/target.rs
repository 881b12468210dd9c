//! The life of targets: registered, checked, draining, gone (TGT, DRN, HC).

use std::net::IpAddr;

use crate::check;
use crate::error::{Code, Error};
use crate::health::{Change, Health};
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Owner, Registration, Target, TargetGroup};
use crate::rest::{TargetAddressType, TargetSpec};

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
        fx.id = Some(id);
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

    fn register(&mut self, fx: &mut Effects, group: Id, address: IpAddr, port: u16, now: Now) -> Result<(), Error> {
        let epoch = self.meta.epoch;
        if let Some(slot) = self.by_socket.get(&(group, address, port)).copied() {
            if let Some(target) = self.targets.get_mut(&slot).filter(|target| !target.is_registered()) {
                // Same slot, same generation: its flows are its own again (S15.4).
                target.registration = Registration::Registered;
                become_initial(target, epoch, now);
                fx.touch(RecordKey::Target(slot));
            }
        } else {
            let (slot, generation) = self.take_target_slot(fx)?;
            let target = Target {
                group,
                address,
                port,
                name: None,
                zone: None,
                slot,
                generation,
                registration: Registration::Registered,
                owner: None,
                health: Health::Initial,
                cause: None,
                initial_since_ms: now.wall_ms,
                initial_since_epoch: epoch,
                unavailable: false,
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
        let (id, delay, terminate) = (group.id, group.deregistration_delay_ms(), group.terminates_connections());
        for (address, port) in self.sockets(group, specs, false)? {
            let epoch = self.meta.epoch;
            let known = self.by_socket.get(&(id, address, port)).and_then(|slot| self.targets.get_mut(slot));
            if let Some(target) = known.filter(|target| target.is_registered()) {
                target.registration = if delay == 0 {
                    Registration::Gone { since_epoch: epoch, terminate }
                } else {
                    let (until_ms, until_mono_ms) = (now.wall_ms + delay, now.mono_ms + delay);
                    Registration::Draining { until_ms, until_mono_ms, terminate }
                };
                fx.touch(RecordKey::Target(target.slot));
            }
        }
        Ok(())
    }

    /// The sockets that a request names; those to be registered are checked for whether they can be targets.
    fn sockets(&self, group: &TargetGroup, specs: &[TargetSpec], register: bool) -> Result<Vec<(IpAddr, u16)>, Error> {
        if specs.is_empty() {
            return Err(Error::invalid("targets", "the list of targets is empty; give at least one"));
        }
        self.limits.targets_per_request(specs.len()).map_err(|e| Error { field: Some("targets".into()), ..e })?;
        let socket = |(at, spec): (usize, &TargetSpec)| {
            let field = format!("targets[{at}].id");
            let address = match group.ip_address_type {
                TargetAddressType::Ipv4 => check::ipv4(Code::InvalidTarget, &field, &spec.id)?.into(),
                TargetAddressType::Ipv6 => check::ipv6(Code::InvalidTarget, &field, &spec.id)?.into(),
            };
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

    /// In a subnet of ours; or private (TG-05), or of IPv6 in a network that we have a route to (IPT-13). Not this host itself.
    fn check_target_address(&self, field: &str, address: IpAddr) -> Result<(), Error> {
        let subnets = &self.site.subnets;
        if !check::is_unicast(address) {
            let message = format!("{address} cannot be a target's; give a unicast address");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        if let Some((port, _)) = subnets.iter().find(|(_, net)| net.addr() == address) {
            let message = format!("{address} is this appliance's own address on port {port} and cannot be a target");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        let (allowed, ranges) = match address {
            IpAddr::V4(v4) => (check::is_private(v4), check::TARGET_RANGES.join(", ")),
            IpAddr::V6(_) => {
                let routed = self.site.networks.iter().any(|net| net.contains(&address));
                (routed || subnets.is_empty(), "a network that a port has a route to".into())
            }
        };
        if !allowed && !subnets.iter().any(|(_, net)| net.contains(&address)) {
            let message =
                format!("{address} is not in an allowed range: targets are in {ranges} or in the subnet of a port");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        Ok(())
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

fn become_initial(target: &mut Target, epoch: u64, now: Now) {
    target.health = Health::Initial;
    target.cause = None;
    target.unavailable = false;
    target.initial_since_ms = now.wall_ms;
    target.initial_since_epoch = epoch;
}

//! What was asked for and acknowledged, kept apart from everything that is tested, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use leat_abi::Snapshot;
use leat_abi::flow::protocol;
use leat_model::attributes as names;
use leat_model::health::Health;
use leat_model::rest::ShiftStatus;
use leat_model::{Id, Model};

use crate::control_plane::has_room;
use crate::operator::Change;
use crate::site::{TARGETS, ZONES, group_of, node, target, zone_of_node, zone_of_target};

/// A broken law: its name, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Its name: I1 to I10, or a word.
    pub law: &'static str,
    /// What was seen.
    pub what: String,
}

/// A breach of a law.
pub fn breach<T>(law: &'static str, what: impl Into<String>) -> Result<T, Breach> {
    Err(Breach { law, what: what.into() })
}

/// A zonal shift that was acknowledged.
#[derive(Clone, Debug)]
pub struct Shift {
    balancer: Id,
    zone: usize,
    /// By the machine's monotonic clock, and what the wall clock would say.
    expires_ms: u64,
    expires_wall_ms: u64,
    is_canceled: bool,
    /// That it has expired is noted; and it is stored.
    is_noted: bool,
    is_over: bool,
}

/// A load balancer that was acknowledged.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Its id.
    pub id: Id,
    zones: Vec<usize>,
    cross_zone: bool,
    listeners: BTreeMap<u16, u8>,
}

/// A target group that was acknowledged.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: Id,
    attributes: BTreeMap<&'static str, String>,
}

/// Everything that was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Load balancers by number.
    pub balancers: BTreeMap<u8, Balancer>,
    /// Groups by number.
    pub groups: BTreeMap<u8, Group>,
    shifts: BTreeMap<String, Shift>,
    /// By target: since which epoch it is registered or is not, oldest first.
    enrolments: BTreeMap<SocketAddr, Vec<(u64, bool)>>,
}

impl Truth {
    /// A change was acknowledged with this epoch.
    pub fn note(&mut self, change: &Change, id: Id, epoch: u64, wall_ms: u64, at_ms: u64) {
        match change {
            Change::CreateBalancer(of, zones) => {
                let balancer = Balancer { id, zones: zones.clone(), cross_zone: false, listeners: BTreeMap::new() };
                self.balancers.entry(*of).or_insert(balancer);
            }
            Change::DeleteBalancer(of) => {
                if let Some(balancer) = self.balancers.remove(of) {
                    let mine = self.shifts.values_mut().filter(|shift| shift.balancer == balancer.id);
                    mine.for_each(|shift| shift.is_canceled = true);
                }
            }
            Change::AddZone(of, zone) => {
                let zones = self.balancers.get_mut(of).map(|balancer| &mut balancer.zones);
                zones.into_iter().filter(|zones| !zones.contains(zone)).for_each(|zones| zones.push(*zone));
            }
            Change::CrossZone(of, on) => {
                self.balancers.get_mut(of).into_iter().for_each(|balancer| balancer.cross_zone = *on);
            }
            Change::CreateGroup(of) => {
                self.groups.entry(*of).or_insert(Group { id, attributes: BTreeMap::new() });
            }
            Change::DeleteGroup(of) => {
                self.groups.remove(of);
                (0..TARGETS).for_each(|number| self.enrol(target(*of, number), epoch, false));
            }
            Change::Attribute(of, key, value) => {
                self.groups.get_mut(of).map(|group| group.attributes.insert(key, value.clone()));
            }
            Change::HealthCheck(..) => {}
            Change::CreateListener(of, port, to) | Change::ModifyListener(of, port, to) => {
                self.balancers.get_mut(of).map(|balancer| balancer.listeners.insert(*port, *to));
            }
            Change::DeleteListener(of, port) => {
                self.balancers.get_mut(of).map(|balancer| balancer.listeners.remove(port));
            }
            Change::Register(of, all) => all.iter().for_each(|n| self.enrol(target(*of, *n), epoch, true)),
            Change::Deregister(of, all) => all.iter().for_each(|n| self.enrol(target(*of, *n), epoch, false)),
            Change::StartShift(of, zone, minutes, name) => {
                let Some(balancer) = self.balancers.get(of).map(|balancer| balancer.id) else { return };
                let (expires_ms, expires_wall_ms) = (at_ms + minutes * 60_000, wall_ms + minutes * 60_000);
                let (is_canceled, is_noted, is_over) = (false, false, false);
                let shift =
                    Shift { balancer, zone: *zone, expires_ms, expires_wall_ms, is_canceled, is_noted, is_over };
                self.shifts.insert(name.clone(), shift);
            }
            Change::CancelShift(name) => {
                self.shifts.get_mut(name).into_iter().for_each(|shift| shift.is_canceled = true);
            }
        }
    }

    /// What is due has expired.
    pub fn expired(&mut self, at_ms: u64) {
        self.shifts.values_mut().for_each(|shift| shift.is_noted |= shift.expires_ms <= at_ms);
    }

    /// All that was noted is stored.
    pub fn stored(&mut self) {
        self.shifts.retain(|_, shift| !shift.is_canceled);
        self.shifts.values_mut().for_each(|shift| shift.is_over |= shift.is_noted);
        let over: Vec<String> = self.shifts.iter().filter(|(_, it)| it.is_over).map(|(id, _)| id.clone()).collect();
        for id in over.iter().take(over.len().saturating_sub(20)) {
            self.shifts.remove(id);
        }
    }

    fn enrol(&mut self, target: SocketAddr, epoch: u64, is_registered: bool) {
        let known = self.enrolments.entry(target).or_default();
        if known.last().is_some_and(|last| last.1) != is_registered {
            known.push((epoch, is_registered));
        }
        if known.len() > 32 {
            known.drain(..16);
        }
    }

    /// Whether a target is registered.
    pub fn is_registered(&self, target: SocketAddr) -> bool {
        self.enrolments.get(&target).and_then(|known| known.last()).is_some_and(|last| last.1)
    }

    /// Whether it was when the configuration had an epoch.
    pub fn was_registered(&self, target: SocketAddr, epoch: u64) -> bool {
        let known = self.enrolments.get(&target).map_or(&[][..], |known| known);
        known.iter().rev().find(|(since, _)| *since <= epoch).is_some_and(|last| last.1)
    }

    /// The epoch since which a target is registered, or is not.
    pub fn since(&self, target: SocketAddr) -> u64 {
        self.enrolments.get(&target).and_then(|known| known.last()).map_or(0, |last| last.0)
    }

    /// Where clients can connect to: load balancer, zone, port, group.
    pub fn listeners(&self) -> Vec<(u8, usize, u16, u8)> {
        let each = self.balancers.iter().flat_map(|(of, balancer)| {
            let zones = balancer.zones.iter();
            zones.flat_map(|zone| balancer.listeners.iter().map(|(port, to)| (*of, *zone, *port, *to)))
        });
        each.collect()
    }

    /// The names of the shifts, the newest last.
    pub fn shifts(&self) -> Vec<String> {
        self.shifts.keys().cloned().collect()
    }

    /// The control plane has started anew: what is left of shifts is what the wall clock leaves of them, of those too whose end
    /// was not stored.
    pub fn restarted(&mut self, wall_ms: u64, at_ms: u64) {
        const LONGEST_MS: u64 = 3 * 24 * 3_600_000;
        for shift in self.shifts.values_mut().filter(|shift| !shift.is_over) {
            shift.is_noted = false;
            shift.expires_ms = at_ms + shift.expires_wall_ms.saturating_sub(wall_ms).min(LONGEST_MS);
        }
    }

    /// I7: everything that was acknowledged is in the model.
    ///
    /// # Errors
    /// It is not.
    pub fn check_recovered(&self, model: &Model, at_ms: u64) -> Result<(), Breach> {
        let lost = |what: String| breach("I7", format!("acknowledged, and not there after a restart: {what}"));
        for (of, balancer) in &self.balancers {
            let Some(lb) = model.load_balancer(balancer.id) else { return lost(format!("load balancer lb{of}")) };
            let zones: Vec<&str> = lb.nodes.iter().map(|node| node.zone.as_str()).collect();
            let wanted: Vec<&str> = balancer.zones.iter().map(|zone| ZONES[*zone]).collect();
            if zones != wanted {
                return lost(format!("zones of lb{of}: {zones:?} for {wanted:?}"));
            }
            if (lb.attributes.get(names::CROSS_ZONE).is_some_and(|on| on == "true")) != balancer.cross_zone {
                return lost(format!("cross-zone of lb{of}"));
            }
            let listeners: BTreeMap<u16, Id> =
                model.listeners_of(lb.id).map(|listener| (listener.port, listener.target_group)).collect();
            let group = |to: &u8| self.groups.get(to).map_or(Id(0), |group| group.id);
            let wanted: BTreeMap<u16, Id> = balancer.listeners.iter().map(|(port, to)| (*port, group(to))).collect();
            if listeners != wanted {
                return lost(format!("listeners of lb{of}: {listeners:?} for {wanted:?}"));
            }
        }
        if model.load_balancers().count() != self.balancers.len() {
            return lost("that a load balancer was deleted".into());
        }
        for (of, group) in &self.groups {
            let Some(found) = model.target_group(group.id) else { return lost(format!("group g{of}")) };
            for (key, value) in &group.attributes {
                if found.attribute(key) != value {
                    return lost(format!("{key}={value} of g{of}"));
                }
            }
        }
        for socket in self.enrolments.keys() {
            let group = self.groups.get(&group_of(*socket)).map(|group| group.id);
            let mut targets = group.into_iter().flat_map(|group| model.targets_of(group));
            let found = targets.any(|it| (it.address, it.port) == (socket.ip(), socket.port()) && it.is_registered());
            if found != self.is_registered(*socket) {
                return lost(format!("{socket}, registered: {}", self.is_registered(*socket)));
            }
        }
        for (id, shift) in self.shifts.iter().filter(|(_, shift)| !shift.is_over && shift.expires_ms > at_ms + 1000) {
            let found = model.find_shift(id).is_ok_and(|it| it.status == ShiftStatus::Active);
            if found == shift.is_canceled {
                return lost(format!("zonal shift {id}, canceled: {}", shift.is_canceled));
            }
        }
        Ok(())
    }

    /// The targets that a node may use, by what was acknowledged: (socket, slot, whether they are healthy for it).
    fn usable(&self, model: &Model, (of, balancer): (&Group, &Balancer), node: u8) -> Vec<(SocketAddr, u16, bool)> {
        let cross_zone = match of.attributes.get(names::CROSS_ZONE).map(String::as_str) {
            Some("true") => true,
            Some("false") => false,
            _ => balancer.cross_zone,
        };
        let mine = balancer.zones.get(usize::from(node)).map_or("", |zone| ZONES[*zone]);
        let targets = model.targets_of(of.id);
        let sockets = targets.map(|target| (SocketAddr::new(target.address, target.port), target));
        let usable = sockets.filter(|(socket, _)| {
            let zone = zone_of_target(*socket);
            let enabled = zone == "all" || balancer.zones.iter().any(|enabled| ZONES[*enabled] == zone);
            self.is_registered(*socket) && enabled && (cross_zone || zone == "all" || zone == mine)
        });
        usable.map(|(socket, it)| (socket, it.slot, it.health_at(node) == Health::Healthy)).collect()
    }

    fn group_by_id(&self, id: Id) -> Option<&Group> {
        self.groups.values().find(|group| group.id == id)
    }

    fn counted(&self, model: &Model, balancer: &Balancer, group: Id, node: u8) -> Option<(usize, usize)> {
        let usable = self.usable(model, (self.group_by_id(group)?, balancer), node);
        Some((usable.iter().filter(|it| it.2).count(), usable.len()))
    }

    /// I5: the tables of a snapshot name the registered targets that each node is to use, all of them and no others.
    ///
    /// # Errors
    /// They do not.
    pub fn check_tables(&self, model: &Model, snapshot: &Snapshot) -> Result<(), Breach> {
        let members: Vec<BTreeSet<u16>> = snapshot
            .groups
            .iter()
            .map(|group| {
                let mut named = [false; 256];
                group.table.iter().for_each(|slot| named[usize::from(*slot & 0xff)] = true);
                (0..256).filter(|slot| named[usize::from(*slot)]).collect()
            })
            .collect();
        let socket = |slot: u16| {
            let target = snapshot.targets.iter().find(|target| target.slot == slot);
            target.map(|target| SocketAddr::new(target.address, target.port))
        };
        for listener in &snapshot.listeners {
            let zone = zone_of_node(listener.vip);
            let owner = self.balancers.iter().find(|(of, _)| node(**of, zone) == listener.vip);
            let Some((of, balancer)) = owner else {
                return breach("I5", format!("a listener on {}, which no load balancer has", listener.vip));
            };
            let group = &snapshot.groups[usize::from(listener.group)];
            let kind = if listener.protocol == protocol::TCP { "TCP" } else { "UDP" };
            let place = format!("{kind} {}:{} of lb{of}, group {:x}", listener.vip, listener.port, group.id);
            let wanted = balancer.listeners.get(&listener.port).and_then(|to| self.groups.get(to));
            if wanted.map(|wanted| wanted.id) != Some(Id(group.id)) {
                return breach("group", format!("{place}: the listener is to use {wanted:?}"));
            }
            let named = &members[usize::from(listener.group)];
            for slot in named {
                let Some(socket) = socket(*slot) else {
                    return breach("I5", format!("{place} names slot {slot}, which no target has"));
                };
                if !self.is_registered(socket) {
                    return breach("I5", format!("{place} names {socket}, which is not registered"));
                }
                if self.groups.get(&group_of(socket)).map(|group| group.id) != Some(Id(group.id)) {
                    return breach("group", format!("{place} names {socket}, which is of another group"));
                }
            }
            let Some(of) = self.group_by_id(Id(group.id)) else {
                return breach("I5", format!("{place}: there is no such group"));
            };
            let usable = self.usable(model, (of, balancer), listener.node);
            let healthy = usable.iter().filter(|it| it.2).count();
            let fails_over = model.target_group(of.id).is_some_and(|it| it.fails_over(healthy, usable.len()));
            let all = usable.iter().filter(|it| (fails_over || it.2) && has_room(it.1));
            let expected: BTreeSet<u16> = all.map(|it| it.1).collect();
            if *named != expected {
                let shown = |slots: &BTreeSet<u16>| slots.iter().filter_map(|slot| socket(*slot)).collect::<Vec<_>>();
                let what = format!("{place} names {:?} for {:?}", shown(named), shown(&expected));
                return breach("I5", what);
            }
        }
        Ok(())
    }

    /// I8: DNS names nodes of enabled zones, never none, and those of the zones that serve, as what was acknowledged and found says.
    ///
    /// # Errors
    /// It does not.
    pub fn check_dns(
        &self,
        model: &Model,
        ports_down: &BTreeSet<String>,
        at_ms: u64,
        answers: impl Fn(Id) -> BTreeSet<std::net::IpAddr>,
    ) -> Result<(), Breach> {
        for (of, balancer) in &self.balancers {
            let mine = || {
                self.shifts
                    .values()
                    .filter(|shift| shift.balancer == balancer.id && !shift.is_canceled && !shift.is_over)
            };
            // Nobody knows which of two events of a moment was first.
            if mine().any(|shift| shift.expires_ms.abs_diff(at_ms) < 500) {
                continue;
            }
            let shifted = |zone: usize| mine().any(|shift| shift.zone == zone && shift.expires_ms > at_ms);
            let serves = |(number, zone): &(u8, usize)| {
                let is_up = !ports_down.contains(crate::site::PORTS[*zone]);
                let good = |to: &u8| {
                    let group = self.groups.get(to)?;
                    let (healthy, all) = self.counted(model, balancer, group.id, *number)?;
                    Some(!model.target_group(group.id)?.leaves_dns(healthy, all))
                };
                is_up && !shifted(*zone) && balancer.listeners.values().all(|to| good(to).unwrap_or(true))
            };
            let nodes = || (0u8..).zip(balancer.zones.iter().copied());
            let serving: BTreeSet<_> = nodes().filter(serves).map(|(_, zone)| node(*of, zone).into()).collect();
            let all: BTreeSet<_> = nodes().map(|(_, zone)| node(*of, zone).into()).collect();
            let found = answers(balancer.id);
            if found.is_empty() {
                return breach("I8", format!("DNS has no address for lb{of}"));
            }
            if !found.is_subset(&all) {
                return breach("I8", format!("DNS has {found:?} for lb{of}, whose addresses are {all:?}"));
            }
            let expected = if serving.is_empty() { all } else { serving };
            if found != expected {
                return breach("I8", format!("DNS has {found:?} for lb{of}, where {expected:?} serve"));
            }
        }
        Ok(())
    }

    /// Whether a node of a load balancer has somebody to serve a listener's clients when all is well.
    pub fn has_targets(&self, model: &Model, of: u8, zone: usize, to: u8) -> bool {
        let (Some(balancer), Some(group)) = (self.balancers.get(&of), self.groups.get(&to)) else { return false };
        let node = balancer.zones.iter().position(|it| *it == zone).unwrap_or(0);
        !self.usable(model, (group, balancer), node as u8).is_empty()
    }
}

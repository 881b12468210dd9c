//! What the configuration means for packets: which targets are selected, and what becomes of the flows of the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::health::Health;
use crate::ids::Id;
use crate::maglev::Candidate;
use crate::model::Model;
use crate::resource::{LoadBalancer, Registration, Target, TargetGroup};
use crate::rest::{HealthCheckPort, HealthCheckProtocol, InstanceState, TargetType};
use crate::target::ALL_ZONES;

/// Which targets of a group have new flows (S16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The healthy ones.
    Healthy,
    /// Too few are healthy, or none: all that are registered (HC-21, TGH-03).
    All,
}

/// What packets of a target's flows have to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// They go on.
    Active,
    /// They go on; no new flows come.
    Draining,
    /// TCP is reset, UDP chooses again (HC-20, S7.4).
    Unhealthy,
    /// All flows are ended now: TCP is reset (S15.3).
    Terminate,
    /// All flows are forgotten (S15.7).
    Withdrawn,
}

/// Why a registered target gets no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A load balancer has its address (TGT-13).
    Node,
    /// The instance does not run (TGT-16); none: it is not in the inventory any more.
    State(Option<InstanceState>),
    /// Its zone is not enabled (ZN-13).
    Zone,
}

/// A health check to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// The target's slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u8,
    /// The node's address, which the check leaves from (HC-28).
    pub source: IpAddr,
    /// The target's address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Seconds between two checks.
    pub interval_s: u32,
    /// Seconds after which a check fails.
    pub timeout_s: u32,
    /// It begins with a PROXY header, as the group's connections do (PP2-05).
    pub proxy_protocol: bool,
}

impl TargetGroup {
    /// Whether its targets can be checked: by TCP.
    pub fn is_checked(&self) -> bool {
        self.health_check.protocol == HealthCheckProtocol::Tcp
    }
}

impl Model {
    /// Whether a node has the address; such an address cannot be used as a target (TGT-13).
    pub fn is_node(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// Why a registered target of a load balancer gets no traffic, whatever its health; `lb` is none while no listener forwards to
    /// its group.
    pub(crate) fn unusable(&self, target: &Target, lb: Option<&LoadBalancer>) -> Option<Unusable> {
        if self.is_node(target.address) {
            return Some(Unusable::Node);
        }
        let instance = target.name.as_ref().map(|id| self.inventory.instances.get(id).map(|instance| instance.state));
        let is_instance =
            self.target_groups.get(&target.group).is_some_and(|group| group.target_type == TargetType::Instance);
        match instance.filter(|_| is_instance) {
            None | Some(Some(InstanceState::Running)) => {}
            Some(state) => return Some(Unusable::State(state)),
        }
        let zone = self.known_zone(target).filter(|zone| *zone != ALL_ZONES)?;
        let enabled = lb.is_none_or(|lb| lb.nodes.iter().any(|node| node.zone == zone));
        (!enabled).then_some(Unusable::Zone)
    }

    /// The targets of a group that may be selected at all: registered ones whose address can be used.
    fn usable(&self, group: Id) -> impl Iterator<Item = &Target> {
        let lb = self.user_of(group).and_then(|user| self.load_balancers.get(&user));
        self.targets_of(group).filter(move |target| {
            target.is_registered() && !target.address.is_unspecified() && self.unusable(target, lb).is_none()
        })
    }

    /// Which targets of a group have new flows. Those of a Classic load balancer never have any while they are out of service.
    pub fn mode(&self, group: Id) -> Mode {
        if self.target_groups.get(&group).is_some_and(|group| group.classic.is_some()) {
            return Mode::Healthy;
        }
        let healthy = self.usable(group).filter(|target| target.health == Health::Healthy).count();
        let too_few = |group: &TargetGroup| group.fails_over(healthy, self.usable(group.id).count());
        if healthy == 0 || self.target_groups.get(&group).is_some_and(too_few) { Mode::All } else { Mode::Healthy }
    }

    /// How many targets a group can have in its table in any mode: what the table's size depends on, so that health does not
    /// change it.
    pub fn usable_count(&self, group: Id) -> usize {
        self.usable(group).count()
    }

    /// The targets that the Maglev table of a group is made of (S2.7).
    pub fn candidates(&self, group: Id) -> Vec<Candidate> {
        let mode = self.mode(group);
        self.usable(group)
            .filter(|target| mode == Mode::All || target.health == Health::Healthy)
            .map(|target| Candidate { address: target.address, port: target.port, slot: target.slot })
            .collect()
    }

    /// Every target, also those that are gone or left, and what becomes of its flows. Targets of a group that no listener uses
    /// are not checked: their flows go on (S15.7). One that was unhealthy when its delay ended stays so.
    pub fn treatments(&self) -> impl Iterator<Item = (&Target, Treatment)> {
        let users = self.balancers_of_groups();
        let groups = self.target_groups.keys();
        let modes: BTreeMap<Id, Mode> =
            groups.filter(|group| users.contains_key(group)).map(|group| (*group, self.mode(*group))).collect();
        self.targets.values().map(move |target| {
            let group = self.target_groups.get(&target.group);
            let resets = target.health == Health::Unhealthy
                && modes.get(&target.group) == Some(&Mode::Healthy)
                && group.is_some_and(TargetGroup::resets_unhealthy);
            let treatment = match target.registration {
                _ if target.is_withdrawn() => Treatment::Withdrawn,
                Registration::Gone { terminate: true, .. } => Treatment::Terminate,
                Registration::Left { .. } => Treatment::Draining,
                _ if resets => Treatment::Unhealthy,
                Registration::Registered => Treatment::Active,
                Registration::Draining { .. } | Registration::Gone { .. } => Treatment::Draining,
            };
            (target, treatment)
        })
    }

    /// The load balancer that uses each group that is in use.
    fn balancers_of_groups(&self) -> BTreeMap<Id, Id> {
        self.listeners.values().map(|listener| (listener.target_group, listener.load_balancer)).collect()
    }

    /// The health checks to be made: of all targets, draining ones too (HC-31), of groups that a listener uses (HC-19). Those by
    /// requests cannot be made yet.
    pub fn check_plans(&self) -> Vec<CheckPlan> {
        if self.site.without_data_plane {
            return Vec::new();
        }
        let users = self.balancers_of_groups();
        let mut plans = Vec::new();
        for group in self.target_groups.values().filter(|group| group.is_checked()) {
            let Some(lb) =
                users.get(&group.id).and_then(|user| self.load_balancers.get(user)).filter(|lb| lb.failed.is_none())
            else {
                continue;
            };
            // The first node speaks for all of them.
            let Some(source) = lb.nodes.first().and_then(|node| node.sources(group.ip_address_type).next()) else {
                continue;
            };
            let check = &group.health_check;
            let targets = self.targets_of(group.id).filter(|target| !target.address.is_unspecified());
            for target in
                targets.filter(|t| t.is_draining() || t.is_registered() && self.unusable(t, Some(lb)).is_none())
            {
                let port = match check.port {
                    HealthCheckPort::TrafficPort => target.port,
                    HealthCheckPort::Port(port) => u16::try_from(port).unwrap_or(target.port),
                };
                plans.push(CheckPlan {
                    slot: target.slot,
                    generation: target.generation,
                    source,
                    address: target.address,
                    port,
                    interval_s: check.interval_seconds,
                    timeout_s: check.timeout_seconds,
                    proxy_protocol: group.has_proxy_protocol(),
                });
            }
        }
        plans
    }
}

//! What the configuration means for packets: which targets are selected, and what becomes of the flows of the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::attributes::{AS_THE_LOAD_BALANCER, CROSS_ZONE};
use crate::health::{CheckRequest, Health};
use crate::ids::Id;
use crate::maglev::Candidate;
use crate::model::Model;
use crate::resource::{LoadBalancer, Registration, Target, TargetGroup};
use crate::rest::{HealthCheckPort, InstanceState, TargetType};
use crate::target::ALL_ZONES;

/// Nodes that a load balancer has at the most: they are bits of a word.
pub const NODES_MAX: u8 = 64;

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
    /// The same for flows by these nodes, a bit each by their numbers; the others' go on.
    UnhealthyAt(u64),
    /// All flows are ended now: TCP is reset (S15.3).
    Terminate,
    /// All flows are forgotten (S15.7).
    Withdrawn,
}

/// Whose targets the nodes of a group's load balancer use.
#[derive(Clone, Copy, Debug)]
struct Scope<'m> {
    lb: &'m LoadBalancer,
    /// All nodes those of all enabled zones; else each node those of its own.
    is_cross_zone: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// The target's slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u8,
    /// The node's number among those of its load balancer.
    pub node: u8,
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
    /// What is asked for, of checks by HTTP and HTTPS; none: the connection is all.
    pub request: Option<Arc<CheckRequest>>,
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

    /// Whether the nodes of a load balancer use the targets of all its zones, as a group's attribute says, or as the load balancer's
    /// does (XZ-03).
    pub(crate) fn is_cross_zone(&self, group: &TargetGroup, lb: &LoadBalancer) -> bool {
        match group.attribute(CROSS_ZONE) {
            AS_THE_LOAD_BALANCER => lb.subject().value(&lb.attributes, CROSS_ZONE) == "true",
            own => own == "true",
        }
    }

    /// The nodes that use a target, healthy or not, a bit each by their numbers; none while its group is not in use.
    pub(crate) fn nodes_using(&self, target: &Target) -> u64 {
        self.scope_of(target.group).map_or(0, |scope| self.nodes_in(&scope, target))
    }

    /// None while the group is not in use.
    fn scope_of(&self, group: Id) -> Option<Scope<'_>> {
        let (group, lb) = (self.target_groups.get(&group)?, self.balancer_of(group)?);
        Some(Scope { lb, is_cross_zone: self.is_cross_zone(group, lb) })
    }

    /// The same for a target of the group that the scope is of.
    fn nodes_in(&self, scope: &Scope<'_>, target: &Target) -> u64 {
        let nodes = &scope.lb.nodes;
        match self.known_zone(target).filter(|zone| *zone != ALL_ZONES) {
            Some(zone) if !scope.is_cross_zone => bits(nodes.iter().map(|node| node.zone == zone)),
            Some(zone) if !nodes.iter().any(|node| node.zone == zone) => 0,
            _ => all_nodes(scope.lb),
        }
    }

    fn balancer_of(&self, group: Id) -> Option<&LoadBalancer> {
        self.user_of(group).and_then(|user| self.load_balancers.get(&user))
    }

    /// The targets of a group that may be selected at all: registered ones whose address can be used.
    fn usable(&self, group: Id) -> impl Iterator<Item = &Target> {
        let lb = self.balancer_of(group);
        self.targets_of(group).filter(move |target| {
            target.is_registered() && !target.address.is_unspecified() && self.unusable(target, lb).is_none()
        })
    }

    /// The same that a node uses.
    fn usable_at(&self, group: Id, node: u8) -> impl Iterator<Item = &Target> {
        let scope = self.scope_of(group);
        let uses = move |target: &&Target| scope.as_ref().is_some_and(|it| self.nodes_in(it, target) & bit(node) != 0);
        self.usable(group).filter(uses)
    }

    /// Which targets of a group have new flows of a node. Those of a Classic load balancer never have any while they are out of service.
    pub fn mode(&self, group: Id, node: u8) -> Mode {
        let Some(group) = self.target_groups.get(&group).filter(|group| group.classic.is_none()) else {
            return Mode::Healthy;
        };
        let (healthy, registered) = self.count(group.id, node);
        if group.fails_over(healthy, registered) { Mode::All } else { Mode::Healthy }
    }

    /// How many of the targets that a node uses are healthy for it, and how many there are (TGH-06, TGH-07).
    pub(crate) fn count(&self, group: Id, node: u8) -> (usize, usize) {
        self.usable_at(group, node).fold((0, 0), |(healthy, all), target| {
            (healthy + usize::from(target.health_at(node) == Health::Healthy), all + 1)
        })
    }

    /// How many targets of a group a node can have in its table in any mode: what the table's size depends on, so that health does not
    /// change it.
    pub fn usable_count(&self, group: Id, node: u8) -> usize {
        self.usable_at(group, node).count()
    }

    /// The targets that a node's Maglev table of a group is made of (S2.7). Suspects are left out as long as others are left.
    pub fn candidates(&self, group: Id, node: u8) -> Vec<Candidate> {
        let mode = self.mode(group, node);
        let good = |target: &&Target| mode == Mode::All || target.health_at(node) == Health::Healthy;
        let targets: Vec<&Target> = self.usable_at(group, node).filter(good).collect();
        let doubt = targets.iter().any(|target| !target.suspect);
        let candidate = |t: &Target| Candidate { address: t.address, port: t.port, slot: t.slot };
        targets.into_iter().filter(|target| !(doubt && target.suspect)).map(candidate).collect()
    }

    /// Every target, also those that are gone or left, and what becomes of its flows. Targets of a group that no listener uses
    /// are not checked: their flows go on (S15.7). One that was unhealthy when its delay ended stays so.
    pub fn treatments(&self) -> impl Iterator<Item = (&Target, Treatment)> {
        // By group: the nodes that reset flows to unhealthy targets, of all.
        let mut resetting: BTreeMap<Id, (u64, u64)> = BTreeMap::new();
        for (id, user) in self.balancers_of_groups() {
            let (Some(group), Some(lb)) = (self.target_groups.get(&id), self.load_balancers.get(&user)) else {
                continue;
            };
            let resets = group.resets_unhealthy();
            let nodes = (0..lb.nodes.len() as u8).map(|node| resets && self.mode(id, node) == Mode::Healthy);
            resetting.insert(id, (bits(nodes), all_nodes(lb)));
        }
        self.targets.values().map(move |target| {
            let (nodes, all) = resetting.get(&target.group).copied().unwrap_or_default();
            let count = (u64::BITS - all.leading_zeros()) as u8;
            let unhealthy = bits((0..count).map(|node| target.health_at(node) == Health::Unhealthy));
            let lost = nodes & unhealthy;
            let treatment = match target.registration {
                _ if target.is_withdrawn() => Treatment::Withdrawn,
                Registration::Gone { terminate: true, .. } => Treatment::Terminate,
                Registration::Left { .. } => Treatment::Draining,
                _ if lost != 0 && lost == all => Treatment::Unhealthy,
                _ if lost != 0 => Treatment::UnhealthyAt(lost),
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

    /// Whether no health check is made at the moment, because what makes them has stopped (HC-32).
    pub fn checks_stopped(&self) -> bool {
        self.checks_stopped
    }

    /// The health checks to be made: by each node, of all targets that it uses, draining ones too (HC-31), of groups that a listener uses
    /// (HC-15, HC-19).
    pub fn check_plans(&self) -> Vec<CheckPlan> {
        if self.site.without_data_plane {
            return Vec::new();
        }
        let mut plans = Vec::new();
        for (id, user) in self.balancers_of_groups() {
            let group = self.target_groups.get(&id);
            let lb = self.load_balancers.get(&user).filter(|lb| lb.failed.is_none());
            let (Some(group), Some(lb)) = (group, lb) else { continue };
            let scope = Scope { lb, is_cross_zone: self.is_cross_zone(group, lb) };
            let ports = self.listeners.values().filter(|listener| listener.target_group == id).map(|it| it.port);
            let port = ports.min().unwrap_or_default();
            let sources = lb.nodes.iter().map(|node| {
                let source = node.sources(group.ip_address_type).next()?;
                Some((source, CheckRequest::of(&group.health_check, source, port).map(Arc::new)))
            });
            let sources: Vec<_> = sources.collect();
            let targets = self.targets_of(id).filter(|target| !target.address.is_unspecified());
            let checked = |t: &&Target| t.is_draining() || t.is_registered() && self.unusable(t, Some(lb)).is_none();
            for target in targets.filter(checked) {
                let nodes = self.nodes_in(&scope, target);
                for (node, source) in (0..NODES_MAX).zip(&sources) {
                    if let Some((source, request)) = source.as_ref().filter(|_| nodes & bit(node) != 0) {
                        plans.push(check_plan(group, target, node, *source, request.clone()));
                    }
                }
            }
        }
        plans
    }
}

fn check_plan(
    group: &TargetGroup,
    target: &Target,
    node: u8,
    source: IpAddr,
    request: Option<Arc<CheckRequest>>,
) -> CheckPlan {
    let check = &group.health_check;
    CheckPlan {
        slot: target.slot,
        generation: target.generation,
        node,
        source,
        address: target.address,
        port: match check.port {
            HealthCheckPort::TrafficPort => target.port,
            HealthCheckPort::Port(port) => u16::try_from(port).unwrap_or(target.port),
        },
        interval_s: check.interval_seconds,
        timeout_s: check.timeout_seconds,
        proxy_protocol: group.has_proxy_protocol(),
        request,
    }
}

/// A node's bit.
fn bit(node: u8) -> u64 {
    1u64.checked_shl(node.into()).unwrap_or(0)
}

/// The bits of the nodes for which it is so, in their order.
fn bits(nodes: impl Iterator<Item = bool>) -> u64 {
    (0..NODES_MAX).zip(nodes).fold(0, |all, (node, is_so)| if is_so { all | bit(node) } else { all })
}

fn all_nodes(lb: &LoadBalancer) -> u64 {
    bits(lb.nodes.iter().map(|_| true))
}

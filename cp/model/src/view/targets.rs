//! Targets as the API shows them, with state, reason and description (HC-14).

use super::NO_DATA_PLANE;
use crate::error::Error;
use crate::forward::Unusable;
use crate::health::Health;
use crate::model::{Model, Now};
use crate::resource::{Registration, Target, TargetGroup};
use crate::rest::{self, InstanceState, TargetFlows, TargetHealth, TargetSpec, TargetState, TargetType};
use crate::target::ALL_ZONES;

/// For so long a new target is being registered (its first check comes within it, HC-33); then its first checks run.
const REGISTRATION_MS: u64 = 1000;

impl Model {
    /// The targets of a group, by address and port, or those that are asked for, registered or not (TGT-17). An application load
    /// balancer is one target, however many addresses it has. `flows` tells those of a slot.
    ///
    /// # Errors
    /// What is asked for is no target of such a group.
    pub fn show_targets(
        &self,
        group: &TargetGroup,
        wanted: Option<&[TargetSpec]>,
        now: Now,
        flows: impl Fn(u16) -> TargetFlows,
    ) -> Result<Vec<rest::Target>, Error> {
        let Some(specs) = wanted else {
            let all: Vec<&Target> = self.targets_of(group.id).collect();
            return Ok(self.show_together(&all, now, &flows));
        };
        let mut shown = Vec::new();
        for spec in specs {
            let slots = self.known_targets(group, std::slice::from_ref(spec))?;
            let known: Vec<&Target> = slots.iter().filter_map(|slot| self.targets.get(slot)).collect();
            shown.extend(self.show_together(&known, now, &flows));
            if known.is_empty() {
                shown.push(rest::Target {
                    id: spec.id.clone(),
                    address: spec.id.parse().ok(),
                    port: spec.port.and_then(|port| port.try_into().ok()).unwrap_or(group.port),
                    zone: String::new(),
                    health: not_registered(),
                    flows: TargetFlows::default(),
                });
            }
        }
        Ok(shown)
    }

    /// How many targets of a group there are, by state and zone, as [`Self::show_targets`] shows them (HC-30).
    pub fn count_targets(&self, group: &TargetGroup, now: Now) -> rest::TargetCounts {
        let all: Vec<&Target> = self.targets_of(group.id).collect();
        let mut counts = rest::TargetCounts::default();
        for target in self.show_together(&all, now, &|_| TargetFlows::default()) {
            count(&mut counts.all, target.health.state);
            count(counts.zones.entry(target.zone).or_default(), target.health.state);
        }
        counts
    }

    fn show_together(&self, targets: &[&Target], now: Now, flows: &impl Fn(u16) -> TargetFlows) -> Vec<rest::Target> {
        let mut shown: Vec<rest::Target> = Vec::new();
        for target in targets {
            let (health, flows) = (self.show_health(target, now), flows(target.slot));
            let id = target.name.clone().unwrap_or_else(|| target.address.to_string());
            let is_alb =
                self.target_groups.get(&target.group).is_some_and(|group| group.target_type == TargetType::Alb);
            let same = |other: &&mut rest::Target| is_alb && (&other.id, other.port) == (&id, target.port);
            match shown.iter_mut().find(same) {
                Some(other) => {
                    other.flows.active += flows.active;
                    other.flows.new += flows.new;
                    other.zone = ALL_ZONES.into();
                    if serves(health.state) > serves(other.health.state) {
                        (other.health, other.address) = (health, Some(target.address));
                    }
                }
                None => shown.push(rest::Target {
                    id,
                    address: Some(target.address).filter(|address| !address.is_unspecified()),
                    port: target.port,
                    zone: self.zone_of(target).into(),
                    health,
                    flows,
                }),
            }
        }
        shown
    }

    /// The zone of a target, or that whose node uses it, `all` for several; empty while nothing is known and none does.
    pub fn zone_of<'a>(&'a self, target: &'a Target) -> &'a str {
        if let Some(zone) = self.known_zone(target) {
            return zone;
        }
        let user = self.user_of(target.group).and_then(|user| self.load_balancers.get(&user));
        match user.map(|lb| &lb.nodes[..]) {
            None => "",
            Some([node]) => &node.zone,
            Some(_) => ALL_ZONES,
        }
    }

    /// A target's state, with reason code and description.
    pub fn show_health(&self, target: &Target, now: Now) -> TargetHealth {
        match target.registration {
            Registration::Gone { .. } | Registration::Left { .. } => return not_registered(),
            Registration::Draining { .. } => {
                let description = "Target deregistration is in progress";
                return with(TargetState::Draining, "Target.DeregistrationInProgress", description);
            }
            Registration::Registered => {}
        }
        let user = self.user_of(target.group).and_then(|user| self.load_balancers.get(&user));
        if let Some(why) = self.unusable(target, user) {
            return show_unusable(why);
        }
        if user.is_none() {
            let description = "Target group is not configured to receive traffic from the load balancer";
            return with(TargetState::Unused, "Target.NotInUse", description);
        }
        let unavailable = |description: &str| with(TargetState::Unavailable, "Elb.InternalError", description);
        if self.site.without_data_plane {
            return unavailable(NO_DATA_PLANE);
        }
        if self.checks_stopped || target.unavailable != 0 && target.unavailable == self.nodes_using(target) {
            return unavailable("Health checks failed due to an internal error");
        }
        match target.health {
            Health::Healthy => TargetHealth { state: TargetState::Healthy, reason: None, description: None },
            Health::Unhealthy => {
                let cause = target.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                let description = format!("Health checks failed{cause}");
                with(TargetState::Unhealthy, "Target.FailedHealthChecks", &description)
            }
            Health::Initial if now.wall_ms < target.initial_since_ms.saturating_add(REGISTRATION_MS) => {
                let description = "Target registration is in progress";
                with(TargetState::Initial, "Elb.RegistrationInProgress", description)
            }
            Health::Initial => {
                let description = "Initial health checks in progress";
                with(TargetState::Initial, "Elb.InitialHealthChecking", description)
            }
        }
    }
}

fn count(counts: &mut rest::StateCounts, state: TargetState) {
    counts.total += 1;
    *match state {
        TargetState::Healthy => &mut counts.healthy,
        TargetState::Unhealthy => &mut counts.unhealthy,
        TargetState::Initial => &mut counts.initial,
        TargetState::Draining => &mut counts.draining,
        TargetState::Unused => &mut counts.unused,
        TargetState::Unavailable => &mut counts.unavailable,
    } += 1;
}

/// Which of two addresses of one target says more of how it serves: that with the higher number.
fn serves(state: TargetState) -> u8 {
    match state {
        TargetState::Healthy => 3,
        TargetState::Initial | TargetState::Unhealthy | TargetState::Unavailable => 2,
        TargetState::Draining => 1,
        TargetState::Unused => 0,
    }
}

fn with(state: TargetState, reason: &str, description: &str) -> TargetHealth {
    TargetHealth { state, reason: Some(reason.into()), description: Some(description.into()) }
}

fn show_unusable(why: Unusable) -> TargetHealth {
    let (reason, description) = match why {
        Unusable::Node => {
            ("Target.IpUnusable", "The IP address cannot be used as a target, as it is in use by a load balancer")
        }
        Unusable::Zone => {
            ("Target.NotInUse", "Target is in an Availability Zone that is not enabled for the load balancer")
        }
        Unusable::State(state) => (
            "Target.InvalidState",
            match state {
                Some(InstanceState::Stopped) => "Target is in the stopped state",
                Some(InstanceState::Terminated) => "Target is in the terminated state",
                None => "Target is in the terminated or stopped state",
                Some(_) => "Target is in an invalid state",
            },
        ),
    };
    with(TargetState::Unused, reason, description)
}

/// The health of what is no target of the group (TGT-17).
pub fn not_registered() -> TargetHealth {
    with(TargetState::Unused, "Target.NotRegistered", "Target is not registered to the target group")
}

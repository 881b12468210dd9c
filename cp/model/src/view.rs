//! Resources as the API shows them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::attributes;
use crate::health::Health;
use crate::ids;
use crate::model::{Model, Now};
use crate::resource::{Listener, LoadBalancer, Node, Registration, Target, TargetGroup};
use crate::rest::{self, TargetHealth, TargetState};

/// For so long a new target is being registered (its first check comes within it, HC-33); then its first checks run.
const REGISTRATION_MS: u64 = 1000;

/// What load balancers and targets say when nothing is forwarded.
pub const NO_DATA_PLANE: &str = "leat-cp runs without a data plane: nothing is forwarded, no target is checked";

/// The zone that DNS names of load balancers are in, as clients' APIs call it. One server answers for all of them.
pub const HOSTED_ZONE_ID: &str = "ZLEAT000000000";

/// A shorter deregistration delay is warned of.
const DELAY_ADVISED_MS: u64 = 120_000;

pub(crate) fn rfc3339(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp((ms / 1000).try_into().unwrap_or(i64::MAX));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

impl Model {
    /// A load balancer.
    pub fn show_load_balancer(&self, lb: &LoadBalancer) -> rest::LoadBalancer {
        rest::LoadBalancer {
            arn: ids::load_balancer_arn(&self.site, &lb.name, lb.id),
            id: lb.id.to_string(),
            name: lb.name.clone(),
            kind: rest::LoadBalancerType::Network,
            scheme: lb.scheme,
            state: rest::LoadBalancerState {
                code: if lb.active { "active" } else { "provisioning" }.into(),
                reason: self.site.without_data_plane.then(|| NO_DATA_PLANE.into()),
            },
            created_time: rfc3339(lb.created_ms),
            dns_name: format!("{}-{}.elb.{}.{}", lb.name, lb.id, self.site.region, self.site.dns_domain),
            ip_address_type: lb.ip_address_type,
            network: lb.network.clone(),
            canonical_hosted_zone_id: HOSTED_ZONE_ID.into(),
            availability_zones: lb.nodes.iter().map(show_node).collect(),
            tags: lb.tags.clone(),
        }
    }

    /// All load balancers, by name.
    pub fn show_load_balancers(&self) -> rest::LoadBalancers {
        let mut load_balancers: Vec<_> = self.load_balancers().map(|lb| self.show_load_balancer(lb)).collect();
        load_balancers.sort_by(|a, b| a.name.cmp(&b.name));
        rest::LoadBalancers { load_balancers, next_cursor: None }
    }

    /// A listener.
    pub fn show_listener(&self, listener: &Listener) -> rest::Listener {
        let lb = self.load_balancers.get(&listener.load_balancer);
        let group = self.target_groups.get(&listener.target_group);
        // Both exist: `check_references` proves it for what is loaded, and the rules keep it so.
        let (lb_name, group_name) = (lb.map_or("", |lb| &lb.name), group.map_or("", |group| &group.name));
        let site = &self.site;
        rest::Listener {
            arn: ids::listener_arn(site, lb_name, listener.load_balancer, listener.id),
            id: listener.id.to_string(),
            load_balancer_arn: ids::load_balancer_arn(site, lb_name, listener.load_balancer),
            protocol: listener.protocol,
            port: listener.port,
            target_group: group_name.into(),
            target_group_arn: ids::target_group_arn(site, group_name, listener.target_group),
            certificates: listener.certificates.clone(),
            ssl_policy: listener.ssl_policy.clone(),
            alpn_policy: listener.alpn_policy.clone(),
            attributes: listener.attributes.clone(),
            tags: listener.tags.clone(),
        }
    }

    /// A target group.
    pub fn show_target_group(&self, group: &TargetGroup) -> rest::TargetGroup {
        let user = self.user_of(group.id).and_then(|user| self.load_balancers.get(&user));
        rest::TargetGroup {
            arn: ids::target_group_arn(&self.site, &group.name, group.id),
            id: group.id.to_string(),
            name: group.name.clone(),
            protocol: group.protocol,
            port: group.port,
            target_type: group.target_type,
            ip_address_type: group.ip_address_type,
            health_check: group.health_check.clone(),
            attributes: attributes::all(&group.attributes, group.protocol, group.target_type),
            network: group.network.clone(),
            protocol_version: group.protocol_version.clone(),
            selector: group.selector.clone(),
            tags: group.tags.clone(),
            load_balancer_arns: user
                .map(|lb| ids::load_balancer_arn(&self.site, &lb.name, lb.id))
                .into_iter()
                .collect(),
        }
    }

    /// All target groups, by name.
    pub fn show_target_groups(&self) -> rest::TargetGroups {
        let mut target_groups: Vec<_> = self.target_groups().map(|group| self.show_target_group(group)).collect();
        target_groups.sort_by(|a, b| a.name.cmp(&b.name));
        rest::TargetGroups { target_groups, next_cursor: None }
    }

    /// The zone whose node uses a target, `all` for several; empty while none does.
    pub fn zone_of(&self, target: &Target) -> &str {
        let user = self.user_of(target.group).and_then(|user| self.load_balancers.get(&user));
        match user.map(|lb| &lb.nodes[..]) {
            None => "",
            Some([node]) => &node.zone,
            Some(_) => "all",
        }
    }

    /// What is allowed but hardly meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for group in self.target_groups.values() {
            warnings.extend(delay_warning(group));
            warnings.extend(self.target_warnings(group));
        }
        warnings
    }

    /// The same of a group's targets (CIP-09).
    pub fn target_warnings(&self, group: &TargetGroup) -> Vec<String> {
        let mut warnings = Vec::new();
        for target in self.targets_of(group.id).filter(|target| target.is_registered()) {
            let node = self.by_address.get(&target.address).and_then(|owner| self.load_balancers.get(owner));
            let Some(lb) = node else { continue };
            let hint = if group.preserves_client_ip() {
                ", and with the client's address preserved its answers would go astray"
            } else {
                ""
            };
            warnings.push(format!(
                "target group {}: {} is an address of load balancer {}; it gets no traffic{hint}",
                group.name, target.address, lb.name
            ));
        }
        warnings
    }

    /// A target's state, with reason code and description (HC-14).
    pub fn show_health(&self, target: &Target, now: Now) -> TargetHealth {
        let with = |state, reason: &str, description: &str| TargetHealth {
            state,
            reason: Some(reason.into()),
            description: Some(description.into()),
        };
        match target.registration {
            Registration::Gone { .. } | Registration::Left { .. } => return not_registered(),
            Registration::Draining { .. } => {
                let description = "Target deregistration is in progress";
                return with(TargetState::Draining, "Target.DeregistrationInProgress", description);
            }
            Registration::Registered => {}
        }
        if self.is_node(target.address) {
            let description = "The IP address cannot be used as a target, as it is in use by a load balancer";
            return with(TargetState::Unused, "Target.IpUnusable", description);
        }
        if self.user_of(target.group).is_none() {
            let description = "Target group is not configured to receive traffic from the load balancer";
            return with(TargetState::Unused, "Target.NotInUse", description);
        }
        if target.unavailable {
            let description = "Health checks failed due to an internal error";
            return with(TargetState::Unavailable, "Elb.InternalError", description);
        }
        match target.health {
            Health::Healthy => TargetHealth { state: TargetState::Healthy, reason: None, description: None },
            Health::Unhealthy => {
                let cause = target.cause.map(|cause| format!(": {}", cause.text())).unwrap_or_default();
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

/// A short deregistration delay (ATT-15).
fn delay_warning(group: &TargetGroup) -> Option<String> {
    let (delay, advised) = (group.deregistration_delay_ms() / 1000, DELAY_ADVISED_MS / 1000);
    (delay < advised).then(|| {
        let name = &group.name;
        format!("target group {name}: the deregistration delay is {delay} s; {advised} s or more are recommended")
    })
}

fn show_node(node: &Node) -> rest::AvailabilityZone {
    rest::AvailabilityZone {
        zone_name: node.zone.clone(),
        subnet: node.subnet.clone(),
        allocation_id: node.static_address.as_ref().map(|it| it.allocation_id.clone()),
        private_ipv4_address: node.address,
        addresses: node.addresses().collect(),
        secondary_addresses: node.secondary_addresses.clone(),
    }
}

/// The health of what is no target of the group (TGT-17).
pub fn not_registered() -> TargetHealth {
    TargetHealth {
        state: TargetState::Unused,
        reason: Some("Target.NotRegistered".into()),
        description: Some("Target is not registered to the target group".into()),
    }
}

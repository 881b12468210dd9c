//! Resources as the API shows them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::attributes;
use crate::ids::{self, Id};
use crate::model::Model;
use crate::resource::{Listener, LoadBalancer, TargetGroup};
use crate::rest;
use crate::zones::Zone;

mod targets;
pub use targets::not_registered;

/// What load balancers and targets say when nothing is forwarded.
pub const NO_DATA_PLANE: &str = "leat-cp runs without a data plane: nothing is forwarded, no target is checked";

/// The zone that DNS names of load balancers are in, as clients' APIs call it. One server answers for all of them.
pub const HOSTED_ZONE_ID: &str = "ZLEAT000000000";

/// A time, in milliseconds since 1970, in the form of RFC 3339.
pub fn rfc3339(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp((ms / 1000).try_into().unwrap_or(i64::MAX));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The same with milliseconds, always three digits: such times sort as texts.
pub fn rfc3339_ms(ms: u64) -> String {
    format!("{}.{:03}Z", rfc3339(ms).trim_end_matches('Z'), ms % 1000)
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
            state: self.state_of(lb),
            created_time: rfc3339(lb.created_ms),
            dns_name: self.dns_name(&lb.name, lb.id),
            ip_address_type: lb.ip_address_type,
            network: lb.network.clone(),
            canonical_hosted_zone_id: HOSTED_ZONE_ID.into(),
            availability_zones: self.zones_of(lb).map(|zone| self.show_node(&zone)).collect(),
            tags: lb.tags.clone(),
        }
    }

    pub(crate) fn state_of(&self, lb: &LoadBalancer) -> rest::LoadBalancerState {
        let code = match (&lb.failed, lb.active) {
            (Some(_), _) => "failed",
            (None, true) => "active",
            (None, false) => "provisioning",
        };
        let alone = self.site.without_data_plane.then(|| NO_DATA_PLANE.into());
        rest::LoadBalancerState { code: code.into(), reason: lb.failed.clone().or(alone) }
    }

    /// A load balancer's DNS name (DNS-01).
    pub fn dns_name(&self, name: &str, id: Id) -> String {
        let format = self.site.dns_name_format.replace("{name}", name);
        format.replace("{id}", &id.to_string()).replace("{region}", &self.site.region)
    }

    /// All load balancers, by name.
    pub fn show_load_balancers(&self) -> rest::LoadBalancers {
        let mut load_balancers: Vec<_> = self.shown_load_balancers().map(|lb| self.show_load_balancer(lb)).collect();
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
            attributes: self.listener_attributes(listener),
            tags: listener.tags.clone(),
        }
    }

    /// A target group.
    pub fn show_target_group(&self, group: &TargetGroup) -> rest::TargetGroup {
        let user = self.user_of(group.id).and_then(|user| self.load_balancers.get(&user));
        let application = self.application_of_group(group.id);
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
                .chain(application.map(|lb| ids::application_arn(&self.site, &lb.name, lb.id)))
                .collect(),
            target_counts: None,
        }
    }

    /// All target groups, by name.
    pub fn show_target_groups(&self) -> rest::TargetGroups {
        let mut target_groups: Vec<_> = self.shown_target_groups().map(|group| self.show_target_group(group)).collect();
        target_groups.sort_by(|a, b| a.name.cmp(&b.name));
        rest::TargetGroups { target_groups, next_cursor: None }
    }

    fn show_node(&self, zone: &Zone<'_>) -> rest::AvailabilityZone {
        let node = zone.node;
        rest::AvailabilityZone {
            zone_name: node.zone.clone(),
            subnet: node.subnet.clone(),
            allocation_id: node.static_address.as_ref().map(|it| it.allocation_id.clone()),
            private_ipv4_address: node.address,
            addresses: node.addresses().collect(),
            secondary_addresses: node.secondary_addresses.clone(),
            health: Some(self.show_zone(zone)),
        }
    }
}

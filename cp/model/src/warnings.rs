//! What is allowed but hardly meant, or kept but without effect yet.

use std::collections::BTreeSet;

use crate::attributes::Subject;
use crate::model::Model;
use crate::resource::{LoadBalancer, Target, TargetGroup};
use crate::rest::{Attributes, Protocol};
use crate::target::ALL_ZONES;

/// A shorter deregistration delay is warned of.
const DELAY_ADVISED_MS: u64 = 120_000;

impl Model {
    /// All of it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for lb in self.load_balancers.values() {
            warnings.extend(idle(&format!("load balancer {}", lb.name), lb.subject(), &lb.attributes));
        }
        for listener in self.listeners.values() {
            let lb = self.load_balancers.get(&listener.load_balancer).map_or("", |lb| lb.name.as_str());
            let what = format!("load balancer {lb}, listener on port {}", listener.port);
            warnings.extend(without_data_plane(&what, listener.protocol));
            warnings.extend(idle(&what, listener.subject(), &listener.attributes));
        }
        for group in self.target_groups.values() {
            let what = format!("target group {}", group.name);
            warnings.extend(without_data_plane(&what, group.protocol));
            warnings.extend(idle(&what, group.subject(), &group.attributes));
            warnings.extend(delay_warning(group).filter(|_| group.classic.is_none()));
            warnings.extend(self.zone_warning(group));
            warnings.extend(self.target_warnings(group));
        }
        warnings
    }

    /// The same of a group's targets (CIP-09, TGT-06).
    pub fn target_warnings(&self, group: &TargetGroup) -> Vec<String> {
        let registered = self.targets_of(group.id).filter(|target| target.is_registered());
        registered.flat_map(|target| self.target_warning(group, target)).collect()
    }

    fn target_warning(&self, group: &TargetGroup, target: &Target) -> Option<String> {
        let (name, address) = (&group.name, target.address);
        if address.is_unspecified() {
            let alb = target.name.as_deref().unwrap_or_default();
            return Some(format!("target group {name}: {alb} has no IPv4 address that was told; it gets no traffic"));
        }
        if let Some(lb) = self.by_address.get(&address).and_then(|owner| self.load_balancers.get(owner)) {
            let hint = if group.preserves_client_ip() {
                ", and with the client's address preserved its answers would go astray"
            } else {
                ""
            };
            return Some(format!(
                "target group {name}: {address} is an address of load balancer {}; it gets no traffic{hint}",
                lb.name
            ));
        }
        let network = group.network.as_ref().and_then(|id| self.inventory.networks.get(id))?;
        let outside = !network.cidrs.iter().any(|net| net.contains(&address));
        (group.protocol.has_udp() && outside).then(|| {
            format!(
                "target group {name}: {address} is outside network {}; its answers to UDP may not find their way back",
                network.id
            )
        })
    }

    /// Enabled zones without a target, where the zones of all targets are known (ZN-14).
    fn zone_warning(&self, group: &TargetGroup) -> Option<String> {
        let lb: &LoadBalancer = self.user_of(group.id).and_then(|user| self.load_balancers.get(&user))?;
        let registered = self.targets_of(group.id).filter(|target| target.is_registered());
        let zones: BTreeSet<&str> = registered.map(|target| self.known_zone(target)).collect::<Option<_>>()?;
        if zones.is_empty() || zones.contains(ALL_ZONES) {
            return None;
        }
        let empty = lb.nodes.iter().map(|node| node.zone.as_str()).filter(|zone| !zones.contains(zone));
        let empty: Vec<&str> = empty.collect();
        (!empty.is_empty()).then(|| {
            format!(
                "target group {}: it has no target in zone {}, which load balancer {} has enabled",
                group.name,
                empty.join(", "),
                lb.name
            )
        })
    }
}

/// What was set to something that is not what is done.
fn idle(what: &str, subject: Subject, set: &Attributes) -> Vec<String> {
    let warning =
        |(key, value, why): (&str, &str, &str)| format!("{what}: {key} {value} is kept and shown only. {why}");
    subject.idle(set).map(|(key, value, attribute)| warning((key, value, attribute.doc))).collect()
}

/// Protocols whose packets are not forwarded. Those of application load balancers never are: a proxy has them.
fn without_data_plane(what: &str, protocol: Protocol) -> Option<String> {
    let nothing = !protocol.has_data_plane() && !protocol.is_application();
    nothing.then(|| {
        format!("{what}: {protocol} is kept and shown only; it has no data plane yet, and nothing is forwarded")
    })
}

/// A short deregistration delay (ATT-15).
fn delay_warning(group: &TargetGroup) -> Option<String> {
    let (delay, advised) = (group.deregistration_delay_ms() / 1000, DELAY_ADVISED_MS / 1000);
    (delay < advised).then(|| {
        let name = &group.name;
        format!("target group {name}: the deregistration delay is {delay} s; {advised} s or more are recommended")
    })
}

//! The resources as they are kept, and stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::attributes;
use crate::health::{Cause, Health, Thresholds};
use crate::ids::Id;
use crate::rest::{self, Attributes, IpAddressType, Labels, Protocol, Scheme, Tags, TargetAddressType, TargetType};

/// A load balancer with its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// Id.
    pub id: Id,
    /// Name, unique.
    pub name: String,
    /// Scheme.
    pub scheme: Scheme,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Which addresses clients use.
    pub ip_address_type: IpAddressType,
    /// One for each zone, one at the least.
    pub nodes: Vec<Node>,
    /// Whether the data plane has ever worked with it.
    pub active: bool,
    /// Why it can never become active, such as that somebody else has an address of it. It is to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The network of the inventory that its subnets are in; none where nodes were given by addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Attributes that were set.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The capacity that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityReservation>,
    /// The Classic load balancer that it carries the traffic of; it is not shown as one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classic: Option<String>,
}

/// A capacity that was asked for: kept and shown, without effect, as an appliance has what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacityReservation {
    /// Load balancer capacity units, as AWS counts them.
    pub units: u32,
    /// When it was asked for, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// A load balancer's presence in a zone. Its addresses never change (ZN-07), but that IPv6 may come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Zone.
    pub zone: String,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 address; every node of a dualstack load balancer has one, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Its subnet in the inventory; none where it was given by its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Which of its addresses were chosen here and not given by a client, whose tools would take them for a change.
    #[serde(default, skip_serializing_if = "Chosen::is_none")]
    pub chosen: Chosen,
    /// What IPv4 clients connect to, if not to `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_address: Option<StaticAddress>,
    /// Further sources of full NAT, IPv6 ones only with an IPv6 address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary_addresses: Vec<IpAddr>,
}

/// Which addresses of a node were chosen in its subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chosen {
    /// The IPv4 address.
    pub ipv4: bool,
    /// The IPv6 address.
    pub ipv6: bool,
}

impl Chosen {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A static address in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticAddress {
    /// Its id in the inventory.
    pub allocation_id: String,
    /// The address.
    pub address: Ipv4Addr,
}

impl Node {
    /// What clients connect to: IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv4 = self.static_address.as_ref().map_or(self.address, |it| it.address);
        std::iter::once(ipv4.into()).chain(self.ipv6_address.map(IpAddr::from))
    }

    /// All addresses.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let private = self.static_address.is_some().then_some(self.address.into());
        self.addresses().chain(private).chain(self.secondary_addresses.iter().copied())
    }

    /// All addresses, each with the one whose subnet tells the port that has it: a static address may be in no subnet of a port,
    /// and is on the port of the node's own address.
    pub fn all_addresses_and_places(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let is_static = |address| self.static_address.as_ref().is_some_and(|it| IpAddr::from(it.address) == address);
        let place = move |address| if is_static(address) { self.address.into() } else { address };
        self.all_addresses().map(move |address| (address, place(address)))
    }

    /// Where full NAT and health checks towards targets of a kind come from: the node's own address first (S9.7). Never a static
    /// address: that is for clients.
    pub fn sources(&self, kind: TargetAddressType) -> impl Iterator<Item = IpAddr> {
        let own = std::iter::once(self.address.into()).chain(self.ipv6_address.map(IpAddr::from));
        let all = own.chain(self.secondary_addresses.iter().copied());
        all.filter(move |address: &IpAddr| address.is_ipv6() == (kind == TargetAddressType::Ipv6))
    }
}

/// A listener. Its key is (load balancer, port).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Id.
    pub id: Id,
    /// Its load balancer.
    pub load_balancer: Id,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Where it forwards to.
    pub target_group: Id,
    /// Its numbers in the data plane: one for each of TCP and UDP on each address of the nodes.
    pub slots: Vec<ListenerSlot>,
    /// ARNs of certificates, the default one first; none but for TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Security policy, of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ALPN policy, of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// Attributes that were set.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A listener's number in the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerSlot {
    /// The address of a node.
    pub address: IpAddr,
    /// `TCP` or `UDP`.
    pub protocol: Protocol,
    /// The number.
    pub slot: u16,
}

/// A listener slot whose listener is gone while flows may still refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetiredListener {
    /// The load balancer it belonged to.
    pub load_balancer: Id,
    /// The address of the node.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: Protocol,
    /// The epoch from which on the data plane makes no flows for it.
    pub since_epoch: u64,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetGroup {
    /// Id.
    pub id: Id,
    /// Name, unique.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of targets registered without one.
    pub port: u16,
    /// How targets are named.
    pub target_type: TargetType,
    /// Which addresses they have.
    pub ip_address_type: TargetAddressType,
    /// Health checks.
    pub health_check: rest::HealthCheck,
    /// Attributes that were set.
    pub attributes: Attributes,
    /// The network of the inventory that its targets are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// As given; without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Labels of the instances that are registered by themselves; empty: none are.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub selector: Labels,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The Classic load balancer that it carries the traffic of; it is not shown as one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classic: Option<String>,
}

impl TargetGroup {
    /// The value of an attribute that counts.
    pub fn attribute(&self, key: &str) -> &str {
        self.subject().value(&self.attributes, key)
    }

    fn is_on(&self, key: &str) -> bool {
        self.attribute(key) == "true"
    }

    /// Whether targets see the clients' addresses.
    pub fn preserves_client_ip(&self) -> bool {
        self.is_on(attributes::PRESERVE_CLIENT_IP)
    }

    /// Whether TCP connections begin with a PROXY header.
    pub fn has_proxy_protocol(&self) -> bool {
        self.is_on(attributes::PROXY_PROTOCOL)
    }

    /// Whether a client's flows stick together.
    pub fn is_sticky(&self) -> bool {
        self.is_on(attributes::STICKINESS)
    }

    /// Whether connections to unhealthy targets are reset.
    pub fn resets_unhealthy(&self) -> bool {
        self.attribute(attributes::UNHEALTHY_TERMINATION) != "false"
    }

    /// Whether flows of deregistered targets end with the delay.
    pub fn terminates_connections(&self) -> bool {
        self.is_on(attributes::CONNECTION_TERMINATION)
    }

    /// Whether so many healthy targets of so many registered ones are too few to have all the flows (TGH-03).
    pub fn fails_over(&self, healthy: usize, registered: usize) -> bool {
        self.are_too_few(attributes::HEALTHY_COUNT, attributes::HEALTHY_PERCENTAGE, healthy, registered)
    }

    /// Whether they are too few for DNS to name their zone (TGH-02). One must be healthy always.
    pub fn leaves_dns(&self, healthy: usize, registered: usize) -> bool {
        self.are_too_few(attributes::DNS_COUNT, attributes::DNS_PERCENTAGE, healthy, registered)
    }

    /// Below the number or below the share, if they are set; or none at all (TGH-04, TGH-17).
    fn are_too_few(&self, count: &str, share: &str, healthy: usize, registered: usize) -> bool {
        let number = |key| self.attribute(key).parse::<usize>().ok();
        healthy == 0
            || number(count).is_some_and(|count| healthy < count)
            || number(share).is_some_and(|share| healthy * 100 < share * registered)
    }

    /// How long a deregistered target drains.
    pub fn deregistration_delay_ms(&self) -> u64 {
        self.attribute(attributes::DEREGISTRATION_DELAY).parse::<u64>().unwrap_or(0) * 1000
    }

    /// The thresholds of its health checks.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            healthy: self.health_check.healthy_threshold_count,
            initial: if self.classic.is_some() { self.health_check.healthy_threshold_count } else { 1 },
            unhealthy: self.health_check.unhealthy_threshold_count,
        }
    }
}

/// Whether a target is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum Registration {
    /// It is.
    Registered,
    /// It was deregistered; the delay runs.
    Draining {
        /// The end of the delay by the wall clock, in milliseconds since 1970: what survives a restart.
        until_ms: u64,
        /// The same by the monotonic clock: what counts while the process runs.
        #[serde(skip)]
        until_mono_ms: u64,
        /// Its flows end with the delay, as the group said when it was deregistered.
        #[serde(default)]
        terminate: bool,
    },
    /// The delay is over, but flows may still refer to it. Registered again, it is the same target (S15.4).
    Gone {
        /// The epoch from which on the data plane makes no flows to it.
        since_epoch: u64,
        /// Its flows are ended (S15.3).
        #[serde(default)]
        terminate: bool,
    },
    /// Its group has another load balancer now and the target another number; this one is left to the flows that it has.
    Left {
        /// The epoch from which on the data plane makes no flows to it.
        since_epoch: u64,
    },
}

/// The load balancer whose flows may refer to a target's number. Never those of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// Its id.
    pub load_balancer: Id,
    /// The epoch in which it was deleted: its flows end, and nobody is told (S15.7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_since: Option<u64>,
}

/// A target. Its key is its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Its group. A target that is gone may outlive it.
    pub group: Id,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// What it was registered by, if not by its address: an instance's id, an application load balancer's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The zone it was registered with, or `all`; none: the zone of its subnet counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Number in the data plane.
    pub slot: u16,
    /// Generation of the slot.
    pub generation: u8,
    /// Whether it is registered.
    pub registration: Registration,
    /// Whose flows may refer to the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Health, as far as it is in use: what most of the nodes that check it have found, the worse where they are as many (S16.5).
    pub health: Health,
    /// Why it is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What each node has found, by the node's number; those that have found nothing yet go by `health`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// When it became `initial`, in milliseconds since 1970.
    pub initial_since_ms: u64,
    /// The epoch in which it became `initial`.
    pub initial_since_epoch: u64,
    /// The nodes whose health checks cannot be made, a bit each.
    #[serde(skip)]
    pub unavailable: u64,
    /// Its answers to clients are such that it has no new flows for a moment (HC-17).
    #[serde(skip)]
    pub suspect: bool,
}

/// What a node has found out about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// The node's number: its place in [`LoadBalancer::nodes`].
    pub node: u8,
    /// Its health.
    pub health: Health,
    /// Why it is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Target {
    /// What a node has found out for itself.
    pub fn verdict(&self, node: u8) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.node == node)
    }

    /// What it was registered by, with its port: `10.2.0.11:8080`, `[2001:db8::11]:8080`, `i-1:8080`.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}:{}", self.port),
            None => std::net::SocketAddr::new(self.address, self.port).to_string(),
        }
    }

    /// The health that counts for a node.
    pub fn health_at(&self, node: u8) -> Health {
        self.verdict(node).map_or(self.health, |verdict| verdict.health)
    }

    /// Whether it is registered.
    pub fn is_registered(&self) -> bool {
        self.registration == Registration::Registered
    }

    /// Whether it is there for its flows only, and no target of its group.
    pub fn is_left(&self) -> bool {
        matches!(self.registration, Registration::Left { .. })
    }

    /// Whether its load balancer was deleted while flows may refer to it.
    pub fn is_withdrawn(&self) -> bool {
        self.owner.is_some_and(|owner| owner.withdrawn_since.is_some())
    }

    /// From which epoch on no new flows can come, if what is waited for is the end of its flows.
    pub fn idle_since_epoch(&self) -> Option<u64> {
        match self.registration {
            Registration::Gone { since_epoch, .. } | Registration::Left { since_epoch } => Some(since_epoch),
            _ => self.owner.and_then(|owner| owner.withdrawn_since),
        }
    }

    /// Whether it is draining.
    pub fn is_draining(&self) -> bool {
        matches!(self.registration, Registration::Draining { .. })
    }
}

//! Load balancers, their nodes and zones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attributes, IpAddressType, Scheme, Tags};

/// `POST /v1/load-balancers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateLoadBalancer {
    /// 1–32 letters, digits and hyphens; unique (LB-04).
    #[schema(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$", example = "web")]
    pub name: String,
    /// `internet-facing` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// `ipv4` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<IpAddressType>,
    /// `network` unless given.
    #[serde(default, rename = "type")]
    pub kind: LoadBalancerType,
    /// One per zone, where addresses are given rather than subnets of the inventory. Exactly one of `nodes`, `subnets` and
    /// `subnetMappings` is given (LB-19).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeSpec>,
    /// Ids of subnets, one for each zone: addresses are chosen in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// The same with addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnet_mappings: Vec<SubnetMapping>,
    /// Attributes that shall differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// What kind of load balancer it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerType {
    /// Packets of TCP and UDP.
    #[default]
    Network,
    /// A proxy of requests that stands elsewhere: kept as an object, so that it can be a target.
    Application,
}

/// A subnet of a load balancer, and the addresses of its node there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetMapping {
    /// Id of the subnet in the inventory.
    pub subnet: String,
    /// Id of a static address of the inventory: what clients connect to, instead of an address of the subnet (ZN-05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// IPv4 address of the subnet, of internal load balancers; a free one is chosen unless given (ZN-06).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv4)]
    pub private_ipv4_address: Option<String>,
    /// IPv6 address of the subnet, of dualstack load balancers; a free one is chosen unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv6)]
    pub ipv6_address: Option<String>,
}

/// `PATCH /v1/load-balancers/{lb}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyLoadBalancer {
    /// New address type. `ipv4` forgets the IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<IpAddressType>,
    /// Nodes to change, and nodes of further zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeChange>,
    /// Ids of all subnets, those that it has among them (ZN-03).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// The same with addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnet_mappings: Vec<SubnetMapping>,
}

/// The presence of a load balancer in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// The zone's name: 1–32 letters, digits and hyphens.
    #[schema(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$", example = "zone-a")]
    pub zone: String,
    /// The node's IPv4 address: what clients connect to, and the source of health checks and of full NAT.
    #[schema(format = Ipv4, example = "10.1.0.10")]
    pub address: String,
    /// The same of IPv6, for `dualstack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv6)]
    pub ipv6_address: Option<String>,
    /// Up to seven further sources of full NAT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 7)]
    pub secondary_addresses: Vec<String>,
}

/// What shall change of a node, or a node of another zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeChange {
    /// The zone.
    #[schema(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$", example = "zone-a")]
    pub zone: String,
    /// The IPv4 address of a new node; it never changes (ZN-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv4)]
    pub address: Option<String>,
    /// The IPv6 address of a node that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv6)]
    pub ipv6_address: Option<String>,
    /// All secondary addresses, those that it has among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 7)]
    pub secondary_addresses: Option<Vec<String>>,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// Its ARN (LB-06).
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LoadBalancerType,
    /// Scheme.
    pub scheme: Scheme,
    /// State.
    pub state: LoadBalancerState,
    /// When it was created, RFC 3339, UTC.
    pub created_time: String,
    /// `<name>-<id>.elb.<region>.<domain>` (DNS-01).
    pub dns_name: String,
    /// Which addresses clients use.
    pub ip_address_type: IpAddressType,
    /// Id of the network that its subnets are in; none where nodes were given by addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Constant: the id of the zone that its DNS name is in.
    #[serde(default)]
    pub canonical_hosted_zone_id: String,
    /// One per node.
    pub availability_zones: Vec<AvailabilityZone>,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// The state of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadBalancerState {
    /// `provisioning` until the data plane has it for the first time, then `active`; `failed` if that cannot be (LB-01).
    pub code: String,
    /// What there is to know besides, such as that no data plane serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A zone of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityZone {
    /// The zone's name.
    pub zone_name: String,
    /// Id of the subnet; none where the node was given by its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Id of the static address that clients connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// The node's own IPv4 address: where full NAT and health checks come from (ZN-15).
    #[serde(default = "unspecified")]
    #[schema(value_type = String)]
    pub private_ipv4_address: std::net::Ipv4Addr,
    /// What clients connect to: the node's IPv4 address, then its IPv6 address.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Further sources of full NAT.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub secondary_addresses: Vec<IpAddr>,
    /// Whether the zone serves; none of application load balancers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ZoneHealth>,
}

/// Whether a load balancer serves in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneHealth {
    /// It does. DNS leaves out the addresses of zones that do not, unless none does.
    pub healthy: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn unspecified() -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::UNSPECIFIED
}

/// `GET /v1/load-balancers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancers {
    /// All of them, by name.
    pub load_balancers: Vec<LoadBalancer>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

//! The inventory: what there is on the network, as the operator declares it. Ids are whatever the operator writes, 1–64 printable
//! characters without spaces, and are never checked against a pattern.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Labels;

/// `GET` and `PUT /v1/inventory`: everything that is declared. `PUT` replaces all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Inventory {
    /// Availability zones.
    pub zones: Vec<Zone>,
    /// Networks (AWS's VPCs).
    pub networks: Vec<NetworkSpec>,
    /// Subnets.
    pub subnets: Vec<SubnetSpec>,
    /// Instances: hosts that can be registered by id.
    pub instances: Vec<InstanceSpec>,
    /// Addresses that load balancers can be given (AWS's Elastic IPs).
    pub static_addresses: Vec<StaticAddressSpec>,
    /// What is connected to the appliance's ports.
    pub ports: Vec<PortSpec>,
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zone {
    /// Name, such as `zone-a`.
    pub name: String,
    /// `availability-zone` (default) or `local-zone`; load balancers cannot be in local zones (ZN-10).
    #[serde(default)]
    pub kind: ZoneKind,
    /// Load balancers of type `network` are refused here (ZN-09).
    #[serde(default)]
    pub constrained: bool,
}

/// What kind of zone it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneKind {
    /// An ordinary one.
    #[default]
    AvailabilityZone,
    /// A local zone.
    LocalZone,
}

/// A network: what AWS calls a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSpec {
    /// Id, such as `vpc-1`.
    pub id: String,
    /// Its address ranges, of IPv4 and IPv6.
    #[schema(value_type = Vec<String>)]
    pub cidrs: Vec<IpNet>,
    /// It has a way to the internet: load balancers in it may be internet-facing (LB-21).
    #[serde(default = "yes")]
    pub internet_gateway: bool,
    /// Ids of networks that can be reached from it.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Who may register targets in it besides everybody's owner (TG-17): tenants' names; empty: everybody.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Labels; AWS's tags in the EC2 face.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
}

fn yes() -> bool {
    true
}

/// A subnet: a part of a network in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    /// Id, such as `subnet-1`.
    pub id: String,
    /// Id of its network.
    pub network: String,
    /// Name of its zone.
    pub zone: String,
    /// Its IPv4 range.
    #[schema(value_type = String)]
    pub cidr: IpNet,
    /// Its IPv6 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ipv6_cidr: Option<IpNet>,
    /// Addresses that are not for load balancers' nodes: routers, hosts that are no instances. Each an address or a range
    /// `first-last`.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Labels; AWS's tags in the EC2 face.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceSpec {
    /// Id, such as `i-1`.
    pub id: String,
    /// Id of the subnet that its primary address is in.
    pub subnet: String,
    /// The primary address of its primary interface (TG-07).
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// Further addresses of its interfaces.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub other_addresses: Vec<IpAddr>,
    /// State.
    #[serde(default)]
    pub state: InstanceState,
    /// It cannot be registered by id (TGT-04): its kind cannot have clients' addresses preserved.
    #[serde(default)]
    pub no_client_ip: bool,
    /// Labels: what target groups select by, and AWS's tags in the EC2 face.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
}

/// The state of an instance. Only running ones can be registered by id (TGT-02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the states are what their names say")]
pub enum InstanceState {
    Pending,
    #[default]
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

/// `PATCH /v1/inventory/instances/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyInstance {
    /// New state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<InstanceState>,
    /// New labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Labels>,
}

/// An address that a load balancer can be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticAddressSpec {
    /// Id, such as `eipalloc-1`.
    pub id: String,
    /// The address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
}

/// What is connected to a port of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSpec {
    /// The port's name, as leat-dp knows it.
    pub name: String,
    /// What it leads to.
    #[serde(default)]
    pub role: PortRole,
}

/// What a port leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortRole {
    /// Private networks.
    #[default]
    Private,
    /// The internet.
    Uplink,
    /// Clients of an endpoint.
    Endpoint,
}

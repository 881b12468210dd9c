//! The JSON of the REST API, one definition for the server, the command line and the documentation.
//!
//! Keys are camelCase. Requests refuse unknown fields. Numbers in requests are `i64`, wider than what is allowed, so that the
//! answer to a number out of range names the range instead of a type. Absent optional fields take the default, or, in a
//! `Modify…` request, keep their value. The calls are listed in `docs/api.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

mod access;
mod account;
mod application;
mod backup;
mod certificate;
mod declare;
mod dns;
mod event;
mod inventory;
mod observe;
mod shift;
pub use access::*;
pub use account::*;
pub use application::*;
pub use backup::*;
pub use certificate::*;
pub use declare::*;
pub use dns::*;
pub use event::*;
pub use inventory::*;
pub use observe::*;
pub use shift::*;

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: AWS's code where there is one, such as `ValidationError`.
    pub code: String,
    /// For people: what is wrong, what is allowed, what to do.
    pub message: String,
    /// The path of the field at fault, such as `targets[1].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The query of lists of named things.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListQuery {
    /// Only the one of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The query of lists without names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageQuery {
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A listener's or target group's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// Both on one port.
    #[serde(rename = "TCP_UDP")]
    TcpUdp,
    /// TLS. Kept and shown; it has no data plane yet.
    #[serde(rename = "TLS")]
    Tls,
    /// HTTP, of application load balancers only.
    #[serde(rename = "HTTP")]
    Http,
    /// HTTPS, of application load balancers only.
    #[serde(rename = "HTTPS")]
    Https,
}

impl Protocol {
    /// Those of network load balancers.
    pub const NETWORK: [Self; 4] = [Self::Tcp, Self::Tls, Self::Udp, Self::TcpUdp];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }

    /// Whether TCP is part of it.
    pub const fn has_tcp(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether UDP is part of it.
    pub const fn has_udp(self) -> bool {
        matches!(self, Self::Udp | Self::TcpUdp)
    }

    /// Whether packets of it are forwarded. What is not is kept as an object only.
    pub const fn has_data_plane(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::TcpUdp)
    }

    /// Whether it belongs to application load balancers.
    pub const fn is_application(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who a load balancer is for (LB-05). It cannot be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Scheme {
    /// Any clients.
    #[default]
    #[serde(rename = "internet-facing")]
    InternetFacing,
    /// Clients of private networks.
    #[serde(rename = "internal")]
    Internal,
}

/// Which addresses a load balancer's clients use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpAddressType {
    /// IPv4 only.
    #[default]
    Ipv4,
    /// IPv4 and IPv6.
    Dualstack,
}

/// Which addresses a group's targets have (IPT-09). It cannot be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetAddressType {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// How targets are named (TG-03). It cannot be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// By address.
    #[default]
    Ip,
    /// By the id of an instance of the inventory.
    Instance,
    /// By the ARN of an application load balancer.
    Alb,
}

impl TargetType {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Instance => "instance",
            Self::Alb => "alb",
        }
    }
}

/// How targets are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum HealthCheckProtocol {
    /// A TCP handshake.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// A request whose answer has a wanted status.
    #[serde(rename = "HTTP")]
    Http,
    /// The same in TLS, whose certificate is not checked.
    #[serde(rename = "HTTPS")]
    Https,
}

impl HealthCheckProtocol {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }
}

/// The port that health checks go to: `"traffic-port"` or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthCheckPort {
    /// The port on which the target gets its traffic.
    #[default]
    TrafficPort,
    /// This one, 1–65535.
    Port(i64),
}

const TRAFFIC_PORT: &str = "traffic-port";

impl utoipa::PartialSchema for HealthCheckPort {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([TRAFFIC_PORT]));
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(65535));
        let digits = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[1-9][0-9]{0,4}$"));
        OneOfBuilder::new().item(word).item(number).item(digits).into()
    }
}

impl ToSchema for HealthCheckPort {}

impl Serialize for HealthCheckPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::TrafficPort => serializer.serialize_str(TRAFFIC_PORT),
            Self::Port(port) => serializer.serialize_i64(*port),
        }
    }
}

impl<'de> Deserialize<'de> for HealthCheckPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl Visitor<'_> for PortVisitor {
            type Value = HealthCheckPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"traffic-port\" or a number from 1 to 65535")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(HealthCheckPort::Port(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(HealthCheckPort::Port(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                // One way to write a number: no sign, no zero in front.
                match value.parse::<i64>() {
                    _ if value == TRAFFIC_PORT => Ok(HealthCheckPort::TrafficPort),
                    Ok(port) if port.to_string() == value => Ok(HealthCheckPort::Port(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}

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

/// `POST /v1/load-balancers/{lb}/listeners`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateListener {
    /// Protocol.
    pub protocol: Protocol,
    /// 1–65535; one listener a port (LSN-03).
    #[schema(minimum = 1, maximum = 65535, example = 80)]
    pub port: i64,
    /// Name, id or ARN of the target group.
    pub target_group: String,
    /// ARN of the default certificate, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Security policy, of TLS listeners; `ELBSecurityPolicy-2016-08` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ALPN policy, of TLS listeners; `None` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `PATCH /v1/load-balancers/{lb}/listeners/{port}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyListener {
    /// New protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// New port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// New target group. Open flows stay with the old one (LSN-11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// New default certificate; needed when the protocol becomes TLS (LSN-10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// New security policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// New ALPN policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its ARN (LB-07).
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// ARN of its load balancer.
    pub load_balancer_arn: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// Name of the target group.
    pub target_group: String,
    /// ARN of the target group.
    pub target_group_arn: String,
    /// ARNs of certificates, the default one first; none but for TLS listeners.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Security policy, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ALPN policy, of TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// All attributes.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `GET /v1/load-balancers/{lb}/listeners`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// All of them, by port.
    pub listeners: Vec<Listener>,
}

/// Attributes by key; values are strings, as in AWS's API.
pub type Attributes = BTreeMap<String, String>;

/// Tags by key (TAG).
pub type Tags = BTreeMap<String, String>;

/// Labels of instances by key.
pub type Labels = BTreeMap<String, String>;

/// `GET` and `PUT` of `…/tags`: all tags of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagsBody {
    /// Tags by key.
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// The query of `DELETE …/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyQuery {
    /// The tag's key.
    pub key: String,
}

/// The query of `/v1/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceQuery {
    /// ARN of whatever has tags.
    pub resource: String,
}

/// The query of `DELETE /v1/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceKeyQuery {
    /// ARN of whatever has tags.
    pub resource: String,
    /// The tag's key.
    pub key: String,
}

/// `POST` of `…/listeners/{port}/certificates` and `…/certificates/remove`, and the answer to them and to the `GET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerCertificates {
    /// ARNs; in answers the default certificate is the first one.
    pub certificates: Vec<String>,
}

/// `POST /v1/target-groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTargetGroup {
    /// 1–32 letters, digits and hyphens; unique (TG-02).
    #[schema(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$", example = "web")]
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port of targets registered without one, 1–65535.
    #[schema(minimum = 1, maximum = 65535, example = 8080)]
    pub port: i64,
    /// `ip` unless given.
    #[serde(default)]
    pub target_type: TargetType,
    /// `ipv4` unless given.
    #[serde(default)]
    pub ip_address_type: TargetAddressType,
    /// Health checks; what is absent takes its default.
    #[serde(default)]
    pub health_check: ModifyHealthCheck,
    /// Id of the network of the inventory that its targets are in (AWS's VPC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Kept and shown; without effect on packets (TG-15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Instances of the inventory that have all these labels are registered by themselves, and deregistered when they lose one
    /// (TGT-11). None: targets are registered by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub selector: Labels,
    /// Attributes that shall differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// Settings of health checks to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyHealthCheck {
    /// Default `TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<HealthCheckProtocol>,
    /// Default `traffic-port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<HealthCheckPort>,
    /// 5–300, default 30 (HC-05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 5, maximum = 300)]
    pub interval_seconds: Option<i64>,
    /// 2–120 and not more than the interval; default 10, or the interval if that is less (HC-04).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 120)]
    pub timeout_seconds: Option<i64>,
    /// 2–10, default 5 (HC-06).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 10)]
    pub healthy_threshold_count: Option<i64>,
    /// 2–10, default 2 (HC-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 10)]
    pub unhealthy_threshold_count: Option<i64>,
    /// Where requests go, of HTTP and HTTPS; default `/`, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1024)]
    pub path: Option<String>,
    /// Statuses that pass, of HTTP and HTTPS: numbers and ranges such as `200-299,302`; default `200-399`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// The Host header, of HTTP and HTTPS, rather than the node's address and the listener's port: 1–255 letters, digits and any of
    /// `.-_:[]`. Empty: as it is by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, example = "www.example.com")]
    pub host: Option<String>,
    /// The name that HTTPS checks ask for in the handshake of TLS (SNI), which has none by default: a DNS name. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 253, example = "www.example.com")]
    pub server_name: Option<String>,
    /// What the body of the answer has to contain, of HTTP and HTTPS, within the first 8 KiB of head and body as they are sent: 1–255
    /// bytes. Empty: nothing, and the body is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, example = "ready")]
    pub body_contains: Option<String>,
}

/// Settings of health checks as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Protocol.
    pub protocol: HealthCheckProtocol,
    /// Port.
    pub port: HealthCheckPort,
    /// Seconds between two checks of a target.
    pub interval_seconds: u32,
    /// Seconds after which a check fails.
    pub timeout_seconds: u32,
    /// Passed checks in a row that make an unhealthy target healthy.
    pub healthy_threshold_count: u32,
    /// Failed checks in a row that make a target unhealthy.
    pub unhealthy_threshold_count: u32,
    /// Where requests go, of HTTP and HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Statuses that pass, of HTTP and HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// The Host header, of HTTP and HTTPS, where it is not the node's address and the listener's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The name that HTTPS checks ask for in the handshake of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What the body of the answer has to contain, of HTTP and HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
}

/// `PATCH /v1/target-groups/{tg}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyTargetGroup {
    /// What shall change of the health checks.
    #[serde(default)]
    pub health_check: ModifyHealthCheck,
    /// New labels; none: no instances are registered by themselves any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub selector: Option<Labels>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroup {
    /// Its ARN (LB-07).
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Name.
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
    pub health_check: HealthCheck,
    /// All attributes.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
    /// Id of the network that its targets are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Labels of the instances that are registered by themselves.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub selector: Labels,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
    /// ARNs of the load balancers whose listeners forward to it: none or one.
    pub load_balancer_arns: Vec<String>,
    /// How many targets there are, by state and zone (HC-30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_counts: Option<TargetCounts>,
}

/// `GET /v1/target-groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroups {
    /// All of them, by name.
    pub target_groups: Vec<TargetGroup>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `PATCH /v1/target-groups/{tg}/attributes`, and the answer to it and to the `GET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributesBody {
    /// Request: what shall change, all or nothing. Answer: all of them.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
}

/// `POST /v1/target-groups/{tg}/targets` and `…/targets/deregister`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsRequest {
    /// 1–1000 targets.
    #[schema(min_items = 1, max_items = 1000)]
    pub targets: Vec<TargetSpec>,
}

/// Names a target of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetSpec {
    /// As the group's target type says: an address, the id of an instance, or the ARN of an application load balancer.
    #[schema(min_length = 1, example = "10.2.0.11")]
    pub id: String,
    /// 1–65535; the group's port unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// Zone of an address outside the group's network, or `all` (TGT-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// The query of calls that change targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitQuery {
    /// Wait so many seconds, 0–300, until every lcore works with the change; 50 ms unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 300)]
    pub wait: Option<u64>,
}

/// The query of `GET /v1/target-groups/{tg}/targets` (OLD-03).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsQuery {
    /// Only this one, `address` (with the group's port) or `address:port`, registered or not (TGT-17). IPv6: `[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only those whose id or address begins so, such as `10.2.0.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only those with this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// Only those of this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TargetState>,
    /// What they are sorted by; their addresses unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<TargetOrder>,
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What targets are sorted by; those that are equal in it by address and port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetOrder {
    /// Address and port.
    #[default]
    Address,
    /// Port.
    Port,
    /// Zone.
    Zone,
    /// State, those that need attention first.
    State,
}

/// The answer to changes of targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Whether every lcore works with the change. If not (202), it is stored and follows.
    pub applied: bool,
    /// What is allowed but hardly meant, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `GET /v1/target-groups/{tg}/targets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// By address and port.
    pub targets: Vec<Target>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// What it was registered by.
    pub id: String,
    /// Its address; none of an application load balancer without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// The zone whose node uses it, `all` for those of several zones; empty while the group is not in use.
    pub zone: String,
    /// Health.
    pub health: TargetHealth,
    /// Flows.
    pub flows: TargetFlows,
}

/// The states of targets (HC-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Not checked yet.
    Initial,
    /// In service.
    Healthy,
    /// Checks fail.
    Unhealthy,
    /// Not registered, or in a group that no listener uses, or not usable.
    Unused,
    /// Deregistered; open flows go on.
    Draining,
    /// Its health cannot be told.
    Unavailable,
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A target's health and why it is so (HC-14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetHealth {
    /// State.
    pub state: TargetState,
    /// Reason code; none for a healthy target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A target's flows. Both are 0 while no data plane is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetFlows {
    /// Open now.
    pub active: u64,
    /// Made since the target was registered.
    pub new: u64,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of leat-cp.
    pub version: String,
    /// Counts the changes of the configuration.
    pub epoch: u64,
    /// The newest epoch that every lcore works with; 0: none, or not known since leat-cp or leat-dp started.
    pub applied_epoch: u64,
    /// What keeps the system from doing its work, in words; empty when all is well.
    pub problems: Vec<String>,
    /// What is allowed but hardly meant, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The data plane.
    pub data_plane: DataPlaneStatus,
}

/// The data plane as seen through the shared segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneStatus {
    /// Whether a living leat-dp uses the segment. If not, the rest says what it was like last.
    pub attached: bool,
    /// Counts the data-plane processes that have used the segment.
    pub incarnation: u64,
    /// Process id.
    pub pid: u64,
    /// Generation of the newest snapshot.
    pub generation: u64,
    /// The polling lcores.
    pub lcores: Vec<LcoreStatus>,
    /// The ports.
    pub ports: Vec<PortStatus>,
}

/// An lcore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LcoreStatus {
    /// Number, from 0.
    pub id: u16,
    /// The CPU it runs on.
    pub cpu: u64,
    /// Generation of the snapshot it works with.
    pub generation: u64,
    /// Share of the last second that it spent in turns with work, 0–100.
    pub busy_percent: f64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStatus {
    /// Name.
    pub name: String,
    /// Its twin in Linux.
    pub tap: String,
    /// MAC address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u64,
    /// Whether the link is up.
    pub link: bool,
}

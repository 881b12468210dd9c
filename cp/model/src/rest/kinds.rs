//! Words that several resources share: protocols, schemes, kinds of addresses and targets.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

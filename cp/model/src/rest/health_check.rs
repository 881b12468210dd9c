//! Health checks of target groups.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

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

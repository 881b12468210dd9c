//! The attributes of target groups: one table makes validation, defaults and documentation.
//!
//! Only attributes that do something are here. A key of AWS's that is missing is refused, never silently accepted.

use crate::error::{Code, Error, Shown};
use crate::rest::{self, Protocol, TargetType};

/// Deregistration delay (ATT-01).
pub const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
/// Connections end with the deregistration delay (ATT-02).
pub const CONNECTION_TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
/// Client IP preservation (ATT-04).
pub const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
/// PROXY protocol (ATT-05).
pub const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
/// Stickiness (ATT-06).
pub const STICKINESS: &str = "stickiness.enabled";
/// What makes clients the same (ATT-07).
pub const STICKINESS_TYPE: &str = "stickiness.type";
/// Routing failover by number (ATT-10).
pub const HEALTHY_COUNT: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
/// Routing failover by share (ATT-11).
pub const HEALTHY_PERCENTAGE: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";

/// What values an attribute may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole seconds in a range, both ends included.
    Seconds(u32, u32),
    /// Whole numbers in a range, both ends included.
    Count(u32, u32),
    /// `off`, or a whole percentage from 1 to 100.
    Percentage,
    /// `true` or `false`.
    Switch,
    /// One word.
    Only(&'static str),
}

/// An attribute of target groups.
#[derive(Debug)]
pub struct Attribute {
    /// The key.
    pub key: &'static str,
    /// The values.
    pub kind: Kind,
    /// The value where none was set.
    pub default: fn(Protocol, TargetType) -> &'static str,
    /// The default in words.
    pub default_doc: &'static str,
    /// Why a value that is in range does not go with this protocol.
    pub refusal: fn(Protocol, &str) -> Option<&'static str>,
    /// When a change takes effect and what it does.
    pub doc: &'static str,
}

/// The table.
pub const TABLE: &[Attribute] = &[
    Attribute {
        key: DEREGISTRATION_DELAY,
        kind: Kind::Seconds(0, 3600),
        default: |_, _| "300",
        default_doc: "300",
        refusal: |_, _| None,
        doc: "How long a deregistered target is `draining` before it is `unused`. Open flows go on meanwhile, and after that unless \
              they are to be terminated. A change counts for later deregistrations; running ones keep their deadline. Less than 120 is \
              warned of.",
    },
    Attribute {
        key: CONNECTION_TERMINATION,
        kind: Kind::Switch,
        default: |_, _| "false",
        default_doc: "`false`",
        refusal: |_, _| None,
        doc: "Whether the flows of a deregistered target end with the delay: TCP connections are reset at both ends. A change \
              counts for later deregistrations.",
    },
    Attribute {
        key: PRESERVE_CLIENT_IP,
        kind: Kind::Switch,
        default: |protocol, target_type| match (protocol, target_type) {
            (Protocol::Tcp | Protocol::Tls, TargetType::Ip) => "false",
            _ => "true",
        },
        default_doc: "`false` for TCP, `true` for UDP and TCP_UDP",
        refusal: |protocol, value| {
            (protocol.has_udp() && value == "false")
                .then_some("client IP preservation cannot be switched off for UDP and TCP_UDP target groups")
        },
        doc: "Whether targets see the client's address and port (their answers must then come back through the appliance) or \
              the node's address. Without effect where client and targets have addresses of different kinds, and for clients of \
              endpoints: targets see the node's address. A change counts for new flows.",
    },
    Attribute {
        key: PROXY_PROTOCOL,
        kind: Kind::Switch,
        default: |_, _| "false",
        default_doc: "`false`",
        refusal: |protocol, value| {
            (!protocol.has_tcp() && value == "true")
                .then_some("PROXY protocol v2 is for TCP; this target group has UDP only")
        },
        doc: "Whether TCP connections begin with a PROXY protocol v2 header that names client and listener; health checks then \
              begin with one that names nobody. A TCP_UDP group's UDP flows have none. A change counts for new connections.",
    },
    Attribute {
        key: STICKINESS,
        kind: Kind::Switch,
        default: |_, _| "false",
        default_doc: "`false`",
        refusal: |_, _| None,
        doc: "Whether all flows of one client address and protocol go to one target. A change counts for new flows.",
    },
    Attribute {
        key: STICKINESS_TYPE,
        kind: Kind::Only("source_ip"),
        default: |_, _| "source_ip",
        default_doc: "`source_ip`",
        refusal: |_, _| None,
        doc: "What makes flows stick together: the client's address.",
    },
    Attribute {
        key: HEALTHY_COUNT,
        kind: Kind::Count(1, 1000),
        default: |_, _| "1",
        default_doc: "1",
        refusal: |_, _| None,
        doc: "With fewer healthy targets than this, new flows go to all registered targets, and flows of unhealthy ones go on.",
    },
    Attribute {
        key: HEALTHY_PERCENTAGE,
        kind: Kind::Percentage,
        default: |_, _| "off",
        default_doc: "`off`",
        refusal: |_, _| None,
        doc: "As above, when the healthy targets are less than this share of those registered.",
    },
];

/// The attribute of a key.
pub fn find(key: &str) -> Option<&'static Attribute> {
    TABLE.iter().find(|attribute| attribute.key == key)
}

impl Attribute {
    /// The allowed values in words.
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Seconds(min, max) => format!("{min} to {max} seconds"),
            Kind::Count(min, max) => format!("{min} to {max}"),
            Kind::Percentage => "`off` or 1 to 100".into(),
            Kind::Switch => "`true` or `false`".into(),
            Kind::Only(word) => format!("`{word}`"),
        }
    }

    fn accepts(&self, value: &str) -> bool {
        // One way to write a number, so that equal settings are equal texts.
        let within = |min, max| value.parse().is_ok_and(|n: u32| (min..=max).contains(&n) && n.to_string() == value);
        match self.kind {
            Kind::Seconds(min, max) | Kind::Count(min, max) => within(min, max),
            Kind::Percentage => value == "off" || within(1, 100),
            Kind::Switch => matches!(value, "true" | "false"),
            Kind::Only(word) => value == word,
        }
    }
}

/// Checks a setting for a target group of a protocol.
///
/// # Errors
/// [`Code::ValidationError`] for an unknown key or a value out of range, [`Code::InvalidConfigurationRequest`] for a value that
/// does not go with the protocol.
pub fn check(protocol: Protocol, key: &str, value: &str) -> Result<(), Error> {
    let field = format!("attributes[{key}]");
    let Some(attribute) = find(key) else {
        let known: Vec<&str> = TABLE.iter().map(|attribute| attribute.key).collect();
        let message = format!(
            "attribute key '{}' is not recognized; the attributes of target groups are {}",
            Shown(key).to_string().trim_matches('"'),
            known.join(", ")
        );
        return Err(Error::invalid("attributes", message));
    };
    if !attribute.accepts(value) {
        let message = format!("{} is not a value of {key}; allowed are {}", Shown(value), attribute.range());
        return Err(Error::invalid(field, message.replace('`', "")));
    }
    match (attribute.refusal)(protocol, value) {
        Some(why) => Err(Error::at(Code::InvalidConfigurationRequest, field, why)),
        None => Ok(()),
    }
}

/// The value that counts: the one set, or the default.
pub fn value<'a>(set: &'a rest::Attributes, protocol: Protocol, target_type: TargetType, key: &str) -> &'a str {
    match (set.get(key), find(key)) {
        (Some(value), _) => value,
        (None, Some(attribute)) => (attribute.default)(protocol, target_type),
        (None, None) => "",
    }
}

/// All attributes with the values that count.
pub fn all(set: &rest::Attributes, protocol: Protocol, target_type: TargetType) -> rest::Attributes {
    TABLE.iter().map(|a| (a.key.into(), value(set, protocol, target_type, a.key).into())).collect()
}

/// The table as Markdown, for `docs/api.md`.
pub fn markdown() -> String {
    let mut text = String::from("| key | values | default | what it does |\n|---|---|---|---|\n");
    for a in TABLE {
        text += &format!("| `{}` | {} | {} | {} |\n", a.key, a.range(), a.default_doc, a.doc);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: ATT-01, ERR-09
    #[test]
    fn the_delay_is_0_to_3600() {
        for good in ["0", "300", "3600"] {
            assert_eq!(check(Protocol::Tcp, DEREGISTRATION_DELAY, good), Ok(()));
        }
        for bad in ["-1", "3601", "x", "", "+5", "05", "1.5", " 5", "99999999999999999999"] {
            let error = check(Protocol::Tcp, DEREGISTRATION_DELAY, bad).expect_err(bad);
            assert_eq!(error.code, Code::ValidationError);
            assert_eq!(error.field.as_deref(), Some("attributes[deregistration_delay.timeout_seconds]"));
            assert!(error.message.contains("0 to 3600"));
        }
    }

    /// req: ATT-04, CIP-02, CIP-03
    #[test]
    fn preservation_depends_on_the_protocol() {
        let default = |protocol| all(&rest::Attributes::new(), protocol, TargetType::Ip)[PRESERVE_CLIENT_IP].clone();
        assert_eq!([Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp].map(default), ["false", "true", "true"]);
        assert_eq!(check(Protocol::Tcp, PRESERVE_CLIENT_IP, "false"), Ok(()));
        for protocol in [Protocol::Udp, Protocol::TcpUdp] {
            assert_eq!(check(protocol, PRESERVE_CLIENT_IP, "true"), Ok(()));
            let error = check(protocol, PRESERVE_CLIENT_IP, "false").expect_err("cannot be off");
            assert_eq!(error.code, Code::InvalidConfigurationRequest);
        }
    }

    /// req: ATT-14
    #[test]
    fn unknown_keys_are_named() {
        let key = "load_balancing.cross_zone.enabled";
        let error = check(Protocol::Tcp, key, "true").expect_err("not supported");
        assert!(error.message.contains(&format!("attribute key '{key}' is not recognized")), "{error}");
    }

    /// req: ATT-05, ATT-06, ATT-07, S8.9
    #[test]
    fn headers_are_for_tcp_and_stickiness_is_by_address() {
        for protocol in [Protocol::Tcp, Protocol::TcpUdp] {
            assert_eq!(check(protocol, PROXY_PROTOCOL, "true"), Ok(()));
        }
        let error = check(Protocol::Udp, PROXY_PROTOCOL, "true").expect_err("no header in datagrams");
        assert_eq!(error.code, Code::InvalidConfigurationRequest);
        assert_eq!(check(Protocol::Udp, PROXY_PROTOCOL, "false"), Ok(()));
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp] {
            assert_eq!(check(protocol, STICKINESS, "true"), Ok(()));
            assert_eq!(check(protocol, STICKINESS_TYPE, "source_ip"), Ok(()));
            let error = check(protocol, STICKINESS_TYPE, "lb_cookie").expect_err("no cookies here");
            assert_eq!(error.code, Code::ValidationError);
        }
    }

    /// req: ATT-10, ATT-11, ERR-09
    #[test]
    fn failover_has_a_number_and_a_share() {
        for (key, good, bad) in [
            (HEALTHY_COUNT, &["1", "1000"][..], &["off", "0", "1001", ""][..]),
            (HEALTHY_PERCENTAGE, &["off", "1", "100"], &["0", "101", "50%", "Off", ""]),
        ] {
            assert!(good.iter().all(|value| check(Protocol::Tcp, key, value).is_ok()), "{key}");
            assert!(bad.iter().all(|value| check(Protocol::Tcp, key, value).is_err()), "{key}");
        }
    }

    #[test]
    fn defaults_are_values() {
        for attribute in TABLE {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::TcpUdp] {
                let default = (attribute.default)(protocol, TargetType::Ip);
                assert_eq!(check(protocol, attribute.key, default), Ok(()), "{} {protocol}", attribute.key);
            }
        }
    }

    #[test]
    fn the_guide_has_this_table() {
        let guide = include_str!("../../../docs/api.md");
        assert!(guide.contains(&markdown()), "put this table into docs/api.md:\n{}", markdown());
    }
}

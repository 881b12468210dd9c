//! The attributes of target groups: one table makes validation, defaults and documentation.
//!
//! Only attributes that do something are here. A key of AWS's that is missing is refused, never silently accepted.

use crate::error::{Code, Error, Shown};
use crate::rest::{self, Protocol, TargetType};

/// Deregistration delay (ATT-01).
pub const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
/// Client IP preservation (ATT-04).
pub const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";

/// What values an attribute may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole seconds in a range, both ends included.
    Seconds(u32, u32),
    /// `true` or `false`.
    Switch,
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
        doc: "How long a deregistered target is `draining` before it is `unused`. Open flows go on, also after that. \
              A change counts for later deregistrations; running ones keep their deadline.",
    },
    Attribute {
        key: PRESERVE_CLIENT_IP,
        kind: Kind::Switch,
        default: |protocol, target_type| match (protocol, target_type) {
            (Protocol::Tcp, TargetType::Ip) => "false",
            (Protocol::Udp | Protocol::TcpUdp, TargetType::Ip) => "true",
        },
        default_doc: "`false` for TCP, `true` for UDP and TCP_UDP",
        refusal: |protocol, value| {
            (protocol.has_udp() && value == "false")
                .then_some("client IP preservation cannot be switched off for UDP and TCP_UDP target groups")
        },
        doc: "Whether targets see the client's address and port (their answers must then come back through the appliance) or \
              the node's address. A change counts for new flows.",
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
            Kind::Switch => "`true` or `false`".into(),
        }
    }

    fn accepts(&self, value: &str) -> bool {
        match self.kind {
            Kind::Switch => matches!(value, "true" | "false"),
            Kind::Seconds(min, max) => {
                // One way to write a number, so that equal settings are equal texts.
                value.parse().is_ok_and(|n: u32| (min..=max).contains(&n) && n.to_string() == value)
            }
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
        let error = check(Protocol::Tcp, "stickiness.enabled", "true").expect_err("not supported");
        assert!(error.message.contains("attribute key 'stickiness.enabled' is not recognized"), "{error}");
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

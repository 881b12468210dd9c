//! Health checks and attributes of Classic load balancers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::attributes::{CONNECTION_TERMINATION, CROSS_ZONE, DEREGISTRATION_DELAY, PRESERVE_CLIENT_IP};
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Model, Now, RecordKey};
use crate::rest::{self, HealthCheckPort, HealthCheckProtocol, Labels};

/// How instances are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// What is checked.
    pub target: CheckTarget,
    /// Seconds between two checks, 5–300.
    pub interval_seconds: u32,
    /// Seconds after which a check fails, 2–60 and less than the interval.
    pub timeout_seconds: u32,
    /// Checks in a row that take an instance out of service, 2–10.
    pub unhealthy_threshold: u32,
    /// Checks in a row that put it in service, 2–10.
    pub healthy_threshold: u32,
}

/// What is checked of an instance. Its text is `TCP:PORT`, `HTTP:PORT/PATH` or `HTTPS:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckTarget {
    /// Where requests go, of HTTP and HTTPS; none: TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// HTTPS rather than HTTP.
    #[serde(default)]
    secure: bool,
    port: u16,
}

impl CheckTarget {
    /// How it is checked.
    pub const fn protocol(&self) -> HealthCheckProtocol {
        match (&self.path, self.secure) {
            (None, _) => HealthCheckProtocol::Tcp,
            (Some(_), false) => HealthCheckProtocol::Http,
            (Some(_), true) => HealthCheckProtocol::Https,
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let wrong =
            |hint: &str| Error::invalid("HealthCheck.Target", format!("{} cannot be checked: {hint}", Shown(text)));
        let form = "write TCP:PORT, HTTP:PORT/PATH or HTTPS:PORT/PATH, such as TCP:80";
        let (protocol, rest) = text.split_once(':').ok_or_else(|| wrong(form))?;
        let (port, path) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| wrong(form))?;
        if path.as_ref().is_some_and(|path| path.len() > PATH_CHARS_MAX || !path.chars().all(|c| c.is_ascii_graphic()))
        {
            return Err(wrong("the path has at most 1024 printable characters"));
        }
        match (protocol.to_ascii_uppercase().as_str(), path) {
            ("TCP", None) => Ok(Self { path: None, secure: false, port }),
            ("HTTP", Some(path)) => Ok(Self { path: Some(path), secure: false, port }),
            ("HTTPS", Some(path)) => Ok(Self { path: Some(path), secure: true, port }),
            ("SSL", None) => Err(wrong("handshakes of SSL are not tried here; TCP:PORT tries the connection")),
            _ => Err(wrong(form)),
        }
    }
}

const PATH_CHARS_MAX: usize = 1024;

impl fmt::Display for CheckTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.protocol().name(), self.port, self.path.as_deref().unwrap_or_default())
    }
}

/// Settings of health checks as they are asked for; all of them are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `HealthCheck`")]
pub struct HealthCheckSpec {
    pub target: String,
    pub interval: i64,
    pub timeout: i64,
    pub unhealthy_threshold: i64,
    pub healthy_threshold: i64,
}

impl HealthCheck {
    /// The checks of a new load balancer: of its first listener's instance port.
    pub(super) const fn of_port(port: u16) -> Self {
        Self {
            target: CheckTarget { path: None, secure: false, port },
            interval_seconds: 30,
            timeout_seconds: 5,
            unhealthy_threshold: 2,
            healthy_threshold: 10,
        }
    }

    fn new(spec: &HealthCheckSpec) -> Result<Self, Error> {
        let number =
            |name: &str, value, min, max, unit| check::number(&format!("HealthCheck.{name}"), value, min, max, unit);
        let interval_seconds = number("Interval", spec.interval, 5, 300, "seconds")?;
        let timeout_seconds = number("Timeout", spec.timeout, 2, 60, "seconds")?;
        if timeout_seconds >= interval_seconds {
            let message = "HealthCheck timeout must be less than the interval";
            return Err(Error::invalid("HealthCheck.Timeout", message));
        }
        Ok(Self {
            target: CheckTarget::parse(&spec.target)?,
            interval_seconds,
            timeout_seconds,
            unhealthy_threshold: number("UnhealthyThreshold", spec.unhealthy_threshold, 2, 10, "checks")?,
            healthy_threshold: number("HealthyThreshold", spec.healthy_threshold, 2, 10, "checks")?,
        })
    }

    /// As the hidden groups have it. Classic's checks by HTTP pass with status 200 alone.
    pub(super) fn of_group(&self) -> rest::HealthCheck {
        rest::HealthCheck {
            protocol: self.target.protocol(),
            port: HealthCheckPort::Port(self.target.port.into()),
            interval_seconds: self.interval_seconds,
            timeout_seconds: self.timeout_seconds,
            healthy_threshold_count: self.healthy_threshold,
            unhealthy_threshold_count: self.unhealthy_threshold,
            path: self.target.path.clone(),
            matcher: self.target.path.is_some().then(|| "200".into()),
            host: None,
            server_name: None,
            body_contains: None,
        }
    }
}

/// Attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attributes {
    /// Each node uses the instances of all zones.
    pub cross_zone: bool,
    /// Connections of deregistered instances go on for a time; otherwise they end at once (CLB-05).
    pub draining: bool,
    /// For so many seconds, 1–3600.
    pub draining_timeout_seconds: u32,
    /// Connections without packets are forgotten after so many seconds, 1–4000.
    pub idle_timeout_seconds: u32,
    /// Kept and shown; there are no requests here that could be ambiguous.
    pub desync_mode: String,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            cross_zone: false,
            draining: false,
            draining_timeout_seconds: 300,
            idle_timeout_seconds: 60,
            desync_mode: "defensive".into(),
        }
    }
}

impl Attributes {
    /// As the hidden groups have them: instances see the node's address, as those of a Classic load balancer do.
    pub(super) fn of_group(&self) -> rest::Attributes {
        let delay = if self.draining { self.draining_timeout_seconds } else { 0 };
        let pairs = [
            (DEREGISTRATION_DELAY, delay.to_string()),
            (CONNECTION_TERMINATION, "true".into()),
            (PRESERVE_CLIENT_IP, "false".into()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The additional attribute that holds the selector: `key=value`, several separated by commas; empty: none.
pub const SELECTOR: &str = "leat.selector";
const DESYNC_MODE: &str = "elb.http.desyncmitigationmode";

/// What shall change of the attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `Attributes`")]
pub struct AttributeChanges {
    pub cross_zone: Option<bool>,
    /// Enabled, and the timeout if it is given.
    pub draining: Option<(bool, Option<i64>)>,
    pub idle_timeout: Option<i64>,
    /// Whether they are written; they cannot be.
    pub access_log: Option<bool>,
    pub additional: Vec<(String, String)>,
}

impl super::Balancer {
    /// The additional attributes with the values that count.
    pub fn additional_attributes(&self) -> [(&'static str, String); 2] {
        let selector: Vec<String> = self.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [(DESYNC_MODE, self.attributes.desync_mode.clone()), (SELECTOR, selector.join(","))]
    }

    fn set_additional(&mut self, key: &str, value: String) -> Result<(), Error> {
        let field = "LoadBalancerAttributes.AdditionalAttributes";
        match key {
            DESYNC_MODE if matches!(value.as_str(), "monitor" | "defensive" | "strictest") => {
                self.attributes.desync_mode = value;
            }
            DESYNC_MODE => {
                let message =
                    format!("{} is not a value of {key}; allowed are monitor, defensive, strictest", Shown(&value));
                return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
            }
            SELECTOR => {
                let pairs = value.split(',').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('='));
                let pairs: Option<BTreeMap<&str, &str>> = pairs.collect();
                let Some(pairs) = pairs.filter(|pairs| !pairs.contains_key("")) else {
                    let message =
                        format!("{} is not a selector; write labels as key=value, separated by commas", Shown(&value));
                    return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
                };
                self.selector =
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Labels>();
            }
            other => {
                let message = format!("there is no attribute {}; there are {DESYNC_MODE} and {SELECTOR}", Shown(other));
                return Err(Error::at(Code::LoadBalancerAttributeNotFound, field, message));
            }
        }
        Ok(())
    }
}

impl Model {
    pub(super) fn configure_classic_check(
        &mut self,
        fx: &mut Effects,
        name: &str,
        spec: &HealthCheckSpec,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        let health_check = HealthCheck::new(spec)?;
        let anew = lb.health_check.target != health_check.target;
        lb.health_check = health_check;
        self.put_classic(fx, lb, now)?;
        if anew {
            // What checks of something else have found says nothing any more.
            let groups: Vec<_> = self.classic_groups(name).map(|group| group.id).collect();
            groups.into_iter().for_each(|group| self.check_anew(fx, group, now));
        }
        Ok(())
    }

    pub(super) fn modify_classic_attributes(
        &mut self,
        fx: &mut Effects,
        name: &str,
        changes: AttributeChanges,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        let field = |name: &str| format!("LoadBalancerAttributes.{name}");
        if changes.access_log == Some(true) {
            let message = "access logs of TCP connections are not written here";
            return Err(Error::at(Code::InvalidConfigurationRequest, field("AccessLog.Enabled"), message));
        }
        lb.attributes.cross_zone = changes.cross_zone.unwrap_or(lb.attributes.cross_zone);
        if let Some((enabled, timeout)) = changes.draining {
            lb.attributes.draining = enabled;
            if let Some(seconds) = timeout {
                lb.attributes.draining_timeout_seconds =
                    check::number(&field("ConnectionDraining.Timeout"), seconds, 1, 3600, "seconds")?;
            }
        }
        if let Some(seconds) = changes.idle_timeout {
            lb.attributes.idle_timeout_seconds =
                check::number(&field("ConnectionSettings.IdleTimeout"), seconds, 1, 4000, "seconds")?;
        }
        for (key, value) in changes.additional {
            lb.set_additional(&key, value)?;
        }
        if let Some(carrier) = self.load_balancers.get_mut(&lb.id) {
            let (key, value) = (CROSS_ZONE.to_owned(), lb.attributes.cross_zone.to_string());
            if carrier.attributes.insert(key, value.clone()) != Some(value) {
                fx.touch(RecordKey::LoadBalancer(lb.id));
            }
        }
        self.agree_on_targets(fx, lb.id);
        self.put_classic(fx, lb, now)
    }
}

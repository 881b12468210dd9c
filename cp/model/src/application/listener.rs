//! Listeners of application load balancers, and their certificates.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::action::groups_of;
use super::{Balancer, Rule};
use crate::attributes::Subject;
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Kind, Model, RecordKey};
use crate::rest::{self, Attributes, Protocol, Tags};
use crate::ssl_policy;

/// A listener of an application load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Id.
    pub id: Id,
    /// Its load balancer.
    pub load_balancer: Id,
    /// Port, unique in the load balancer.
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: Protocol,
    /// What becomes of requests that no rule applies to, in AWS's form.
    pub default_actions: Vec<Value>,
    /// ARNs of certificates, the default one first; none but for HTTPS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Security policy, of HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// Attributes that were set.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Listener {
    /// The default rule's id: every listener has one, and it goes with the listener.
    pub fn default_rule(&self) -> Id {
        super::default_rule(self.id)
    }
}

/// What is wanted of a listener: all of a new one, or what shall change of one that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `HTTP` or `HTTPS`.
    pub protocol: Option<Protocol>,
    /// 1–65535.
    pub port: Option<i64>,
    /// ARN of the default certificate.
    pub certificate: Option<String>,
    /// Security policy.
    pub ssl_policy: Option<String>,
    /// What becomes of requests that no rule applies to, in AWS's form.
    pub default_actions: Option<Vec<Value>>,
}

/// The action of requests that only name a group.
pub(super) fn forward_to(target_group: &str) -> Vec<Value> {
    vec![json!({"Type": "forward", "TargetGroupArn": target_group})]
}

fn key(id: Id) -> RecordKey {
    RecordKey::Object(Kind::ApplicationListener, id.to_string())
}

impl Model {
    /// The listeners of an application load balancer, by port.
    pub fn application_listeners(&self, lb: Id) -> Vec<&Listener> {
        let of = self.applications.listeners.values().filter(|listener| listener.load_balancer == lb);
        let mut listeners: Vec<&Listener> = of.collect();
        listeners.sort_by_key(|listener| listener.port);
        listeners
    }

    /// A listener of an application load balancer by its ARN.
    pub fn application_listener(&self, arn: &str) -> Option<&Listener> {
        self.applications.listeners.values().find(|listener| self.application_listener_arn(listener) == arn)
    }

    /// A listener's load balancer.
    pub fn application_of(&self, listener: &Listener) -> Option<&Balancer> {
        self.applications.balancers.get(&listener.load_balancer.to_string())
    }

    /// A listener's ARN.
    pub fn application_listener_arn(&self, listener: &Listener) -> String {
        let lb = self.application_of(listener).map_or("", |lb| lb.name.as_str());
        ids::application_listener_arn(&self.site, lb, listener.load_balancer, listener.id)
    }

    /// Whether an application load balancer can be a target on a port: only where it listens (ALBT-02).
    pub(crate) fn check_application_port(&self, lb: &Balancer, port: u16) -> Result<(), Error> {
        let ports: Vec<u16> = self.application_listeners(lb.id).iter().map(|listener| listener.port).collect();
        if ports.contains(&port) {
            return Ok(());
        }
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let message = format!(
            "port {port} is not that of a listener of application load balancer {}, whose ports are: {}",
            Shown(&lb.name),
            if ports.is_empty() { "none".into() } else { ports.join(", ") }
        );
        Err(Error::new(Code::InvalidTarget, message))
    }

    pub(super) fn find_application_listener(&self, wanted: &str, port: u16) -> Result<&Listener, Error> {
        let lb = self.find_application(wanted)?;
        let found = self.application_listeners(lb.id).into_iter().find(|listener| listener.port == port);
        found.ok_or_else(|| {
            let message = format!("load balancer {} has no listener on port {port}", Shown(&lb.name));
            Error::new(Code::ListenerNotFound, message)
        })
    }

    pub(super) fn create_application_listener(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        wanted: Wanted,
        tags: Tags,
        id: Id,
    ) -> Result<(), Error> {
        let lb = self.find_application(load_balancer)?.id;
        self.check_tags(&tags)?;
        let missing = |name: &str| Error::invalid(name, format!("the listener's {name} is missing"));
        let listener = Listener {
            id,
            load_balancer: lb,
            port: check::port("port", wanted.port.ok_or_else(|| missing("port"))?)?,
            protocol: wanted.protocol.ok_or_else(|| missing("protocol"))?,
            default_actions: wanted.default_actions.ok_or_else(|| missing("defaultActions"))?,
            certificates: wanted.certificate.into_iter().collect(),
            ssl_policy: wanted.ssl_policy,
            attributes: Attributes::new(),
            tags,
        };
        let listener = self.complete(listener)?;
        if let Some(old) = self.application_listeners(lb).into_iter().find(|old| old.port == listener.port) {
            let same =
                Listener { id: old.id, tags: old.tags.clone(), attributes: old.attributes.clone(), ..listener.clone() };
            if same == *old {
                fx.id = Some(old.id);
                return Ok(());
            }
            return Err(duplicate(old));
        }
        self.limits.application_listeners(self.application_listeners(lb).len() + 1)?;
        self.put_application_listener(fx, listener);
        Ok(())
    }

    pub(super) fn modify_application_listener(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let mut listener = self.find_application_listener(load_balancer, port)?.clone();
        if let Some(port) = wanted.port {
            listener.port = check::port("port", port)?;
        }
        if let Some(certificate) = wanted.certificate {
            listener.certificates.splice(..listener.certificates.len().min(1), [certificate]);
        }
        listener.protocol = wanted.protocol.unwrap_or(listener.protocol);
        if listener.protocol == Protocol::Http {
            listener.certificates.clear();
            listener.ssl_policy = None;
        }
        listener.ssl_policy = wanted.ssl_policy.or(listener.ssl_policy);
        listener.default_actions = wanted.default_actions.unwrap_or(listener.default_actions);
        let listener = self.complete(listener)?;
        let mut others = self.application_listeners(listener.load_balancer).into_iter();
        if let Some(other) = others.find(|other| other.port == listener.port && other.id != listener.id) {
            return Err(duplicate(other));
        }
        self.put_application_listener(fx, listener);
        Ok(())
    }

    /// Checks a listener as a whole, and completes its actions.
    fn complete(&self, mut listener: Listener) -> Result<Listener, Error> {
        match listener.protocol {
            Protocol::Http if !listener.certificates.is_empty() || listener.ssl_policy.is_some() => {
                let message = "An HTTP listener has neither certificate nor security policy; HTTPS has";
                return Err(Error::at(Code::InvalidConfigurationRequest, "protocol", message));
            }
            Protocol::Http => {}
            Protocol::Https => {
                let Some(certificate) = listener.certificates.first() else {
                    let message = "A certificate must be specified for HTTPS listeners";
                    return Err(Error::at(Code::ValidationError, "certificates", message));
                };
                self.check_certificate("certificates", certificate)?;
                let policy = listener.ssl_policy.get_or_insert_with(|| ssl_policy::DEFAULT.into());
                if ssl_policy::find(policy).is_none() {
                    let message = format!("SSL policy {} not found", Shown(policy));
                    return Err(Error::at(Code::SSLPolicyNotFound, "sslPolicy", message));
                }
            }
            other => {
                let message = format!("application load balancers have HTTP and HTTPS listeners, and none of {other}");
                return Err(Error::at(Code::UnsupportedProtocol, "protocol", message));
            }
        }
        let field = "defaultActions";
        listener.default_actions =
            self.application_actions(listener.load_balancer, field, &listener.default_actions)?;
        Ok(listener)
    }

    pub(super) fn put_application_listener(&mut self, fx: &mut Effects, listener: Listener) {
        let id = listener.id;
        fx.id = Some(id);
        if self.applications.listeners.get(&id.to_string()) != Some(&listener) {
            self.applications.listeners.insert(id.to_string(), listener);
            fx.touch(key(id));
        }
    }

    /// Its rules go with it.
    pub(super) fn remove_application_listener(&mut self, fx: &mut Effects, id: Id) {
        let of = |rule: &&Rule| rule.listener == id;
        let rules: Vec<Id> = self.applications.rules.values().filter(of).map(|rule| rule.id).collect();
        for rule in rules {
            self.applications.rules.remove(&rule.to_string());
            fx.touch(RecordKey::Object(Kind::Rule, rule.to_string()));
        }
        self.applications.listeners.remove(&id.to_string());
        fx.touch(key(id));
    }

    pub(super) fn modify_application_listener_attributes(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        changes: &Attributes,
    ) -> Result<(), Error> {
        let mut listener = self.find_application_listener(load_balancer, port)?.clone();
        listener.attributes = Subject::ApplicationListener(listener.protocol).changed(&listener.attributes, changes)?;
        self.put_application_listener(fx, listener);
        Ok(())
    }

    pub(super) fn add_application_certificates(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        certificates: &[String],
    ) -> Result<(), Error> {
        let mut listener = self.https_listener(load_balancer, port)?.clone();
        for (at, arn) in certificates.iter().enumerate() {
            self.check_certificate(&format!("certificates[{at}]"), arn)?;
            if !listener.certificates.iter().skip(1).any(|known| known == arn) {
                listener.certificates.push(arn.clone());
            }
        }
        self.limits.certificates(listener.certificates.len() - 1)?;
        self.put_application_listener(fx, listener);
        Ok(())
    }

    pub(super) fn remove_application_certificates(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        certificates: &[String],
    ) -> Result<(), Error> {
        let mut listener = self.https_listener(load_balancer, port)?.clone();
        for arn in certificates {
            match listener.certificates.iter().skip(1).position(|known| known == arn) {
                Some(place) => drop(listener.certificates.remove(place + 1)),
                None if listener.certificates.first() == Some(arn) => {
                    let message = "Default certificate cannot be removed; replace it";
                    return Err(Error::at(Code::OperationNotPermitted, "certificates", message));
                }
                None => {}
            }
        }
        self.put_application_listener(fx, listener);
        Ok(())
    }

    fn https_listener(&self, load_balancer: &str, port: u16) -> Result<&Listener, Error> {
        let listener = self.find_application_listener(load_balancer, port)?;
        if listener.protocol == Protocol::Https {
            return Ok(listener);
        }
        let message =
            format!("the listener on port {port} has protocol {}; only HTTPS has certificates", listener.protocol);
        Err(Error::new(Code::InvalidConfigurationRequest, message))
    }

    /// All attributes of a listener with the values that count.
    pub fn application_listener_attributes(&self, listener: &Listener) -> Attributes {
        Subject::ApplicationListener(listener.protocol).all(&listener.attributes)
    }

    /// As the REST API shows it: the first group that it forwards to stands for all.
    pub fn show_application_listener(&self, listener: &Listener) -> rest::Listener {
        let lb = self.application_of(listener).map_or("", |lb| lb.name.as_str());
        let arn = listener.default_actions.iter().flat_map(groups_of).next().unwrap_or_default();
        rest::Listener {
            arn: self.application_listener_arn(listener),
            id: listener.id.to_string(),
            load_balancer_arn: ids::application_arn(&self.site, lb, listener.load_balancer),
            protocol: listener.protocol,
            port: listener.port,
            target_group: self.find_target_group(arn).map_or_else(|_| String::new(), |group| group.name.clone()),
            target_group_arn: arn.to_owned(),
            certificates: listener.certificates.clone(),
            ssl_policy: listener.ssl_policy.clone(),
            alpn_policy: None,
            attributes: self.application_listener_attributes(listener),
            tags: listener.tags.clone(),
        }
    }
}

fn duplicate(old: &Listener) -> Error {
    let message = format!(
        "A listener already exists on this port for this load balancer: {} on {}, with other settings",
        old.protocol, old.port
    );
    Error::at(Code::DuplicateListener, "port", message)
}

//! Application load balancers: proxies of requests that stand elsewhere (ALBT). They are kept so that they can be described, and be
//! targets of target groups of type `alb`; nothing here forwards a request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod action;
mod balancer;
mod condition;
mod listener;
mod rule;
pub mod shape;
pub use listener::{Listener, Wanted};
pub use rule::Rule;

use crate::attributes::Subject;
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Command, Effects, Kind, LoadError, Model, Now, RecordKey};
use crate::rest::{self, Attributes, IpAddressType, Scheme, Tags};
use crate::view;

/// All of them, by the hexadecimal text of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) balancers: BTreeMap<String, Balancer>,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) rules: BTreeMap<String, Rule>,
}

/// An application load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balancer {
    /// Id.
    pub id: Id,
    /// Name, unique among all load balancers.
    pub name: String,
    /// Scheme.
    pub scheme: Scheme,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Which addresses its clients use.
    pub ip_address_type: IpAddressType,
    /// The network of the inventory that its subnets are in; none where addresses were given without subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// One for each zone, one at the least.
    pub places: Vec<Place>,
    /// Attributes that were set.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Where the proxy is in a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// Zone.
    pub zone: String,
    /// Its subnet in the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The proxy's IPv4 address, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The same of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
}

impl Place {
    /// IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.address.map(IpAddr::from).into_iter().chain(self.ipv6_address.map(IpAddr::from))
    }
}

/// An application load balancer, and its proxy's addresses by zone.
pub(crate) type Proxy<'m> = (&'m Balancer, Vec<(String, IpAddr)>);

/// A change of application load balancers.
#[allow(missing_docs, reason = "the fields are what their names and types say")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Changes what is given; subnets are replaced by those that are given.
    Modify { load_balancer: String, request: rest::ModifyLoadBalancer },
    /// All or nothing.
    ModifyAttributes { load_balancer: String, attributes: Attributes },
    /// Deletes its listeners and their rules too.
    Delete { load_balancer: String },
    /// `id` is drawn at random, here and below.
    CreateListener { load_balancer: String, wanted: Wanted, tags: Tags, id: Id },
    /// Changes what is given.
    ModifyListener { load_balancer: String, port: u16, wanted: Wanted },
    /// All or nothing.
    ModifyListenerAttributes { load_balancer: String, port: u16, attributes: Attributes },
    /// Adds ARNs of certificates to an HTTPS listener's list.
    AddListenerCertificates { load_balancer: String, port: u16, certificates: Vec<String> },
    /// Removes them; never the default one.
    RemoveListenerCertificates { load_balancer: String, port: u16, certificates: Vec<String> },
    /// Deletes its rules too.
    DeleteListener { load_balancer: String, port: u16 },
    /// A rule besides the default one.
    CreateRule { load_balancer: String, port: u16, spec: rest::RuleSpec, id: Id },
    /// Changes what is given. Rules are named by ARN.
    ModifyRule { rule: String, conditions: Option<Vec<Value>>, actions: Option<Vec<Value>> },
    /// All at once.
    SetRulePriorities(Vec<(String, i64)>),
    /// Never a default one.
    DeleteRule { rule: String },
}

/// The id of a listener's default rule, which is there as long as the listener.
pub fn default_rule(listener: Id) -> Id {
    Id(!listener.0)
}

fn key(id: Id) -> RecordKey {
    RecordKey::Object(Kind::Application, id.to_string())
}

impl Model {
    pub(crate) fn change_applications(&mut self, fx: &mut Effects, change: Change, now: Now) -> Result<(), Error> {
        match change {
            Change::Modify { load_balancer, request } => self.modify_application(fx, &load_balancer, &request, now),
            Change::ModifyAttributes { load_balancer, attributes } => {
                let mut lb = self.find_application(&load_balancer)?.clone();
                lb.attributes = Subject::Application.changed(&lb.attributes, &attributes)?;
                self.put_application(fx, lb);
                Ok(())
            }
            Change::Delete { load_balancer } => self.delete_application(fx, &load_balancer),
            Change::CreateListener { load_balancer, wanted, tags, id } => {
                self.create_application_listener(fx, &load_balancer, wanted, tags, id)
            }
            Change::ModifyListener { load_balancer, port, wanted } => {
                self.modify_application_listener(fx, &load_balancer, port, wanted)
            }
            Change::ModifyListenerAttributes { load_balancer, port, attributes } => {
                self.modify_application_listener_attributes(fx, &load_balancer, port, &attributes)
            }
            Change::AddListenerCertificates { load_balancer, port, certificates } => {
                self.add_application_certificates(fx, &load_balancer, port, &certificates)
            }
            Change::RemoveListenerCertificates { load_balancer, port, certificates } => {
                self.remove_application_certificates(fx, &load_balancer, port, &certificates)
            }
            Change::DeleteListener { load_balancer, port } => {
                let id = self.find_application_listener(&load_balancer, port)?.id;
                self.remove_application_listener(fx, id);
                Ok(())
            }
            Change::CreateRule { load_balancer, port, spec, id } => {
                self.create_rule(fx, &load_balancer, port, &spec, id)
            }
            Change::ModifyRule { rule, conditions, actions } => {
                self.modify_rule(fx, &rule, conditions.as_deref(), actions.as_deref())
            }
            Change::SetRulePriorities(priorities) => self.set_rule_priorities(fx, &priorities),
            Change::DeleteRule { rule } => self.delete_rule(fx, &rule),
        }
    }

    /// A command for a load balancer that is an application load balancer, as a change of these; other commands as they are.
    pub(crate) fn for_application(&self, command: Command) -> Command {
        let lb = match &command {
            Command::ModifyLoadBalancer { load_balancer, .. }
            | Command::ModifyLoadBalancerAttributes { load_balancer, .. }
            | Command::DeleteLoadBalancer { load_balancer }
            | Command::CreateListener { load_balancer, .. }
            | Command::ModifyListener { load_balancer, .. }
            | Command::ModifyListenerAttributes { load_balancer, .. }
            | Command::AddListenerCertificates { load_balancer, .. }
            | Command::RemoveListenerCertificates { load_balancer, .. }
            | Command::DeleteListener { load_balancer, .. } => load_balancer,
            _ => return command,
        };
        if self.application(lb).is_none() {
            return command;
        }
        Command::Application(match command {
            Command::ModifyLoadBalancer { load_balancer, request } => Change::Modify { load_balancer, request },
            Command::ModifyLoadBalancerAttributes { load_balancer, attributes } => {
                Change::ModifyAttributes { load_balancer, attributes }
            }
            Command::DeleteLoadBalancer { load_balancer } => Change::Delete { load_balancer },
            Command::CreateListener { load_balancer, request, id } => {
                let wanted = Wanted {
                    protocol: Some(request.protocol),
                    port: Some(request.port),
                    certificate: request.certificate,
                    ssl_policy: request.ssl_policy,
                    default_actions: Some(listener::forward_to(&request.target_group)),
                };
                Change::CreateListener { load_balancer, wanted, tags: request.tags, id }
            }
            Command::ModifyListener { load_balancer, port, request } => {
                let wanted = Wanted {
                    protocol: request.protocol,
                    port: request.port,
                    certificate: request.certificate,
                    ssl_policy: request.ssl_policy,
                    default_actions: request.target_group.as_deref().map(listener::forward_to),
                };
                Change::ModifyListener { load_balancer, port, wanted }
            }
            Command::ModifyListenerAttributes { load_balancer, port, attributes } => {
                Change::ModifyListenerAttributes { load_balancer, port, attributes }
            }
            Command::AddListenerCertificates { load_balancer, port, certificates } => {
                Change::AddListenerCertificates { load_balancer, port, certificates }
            }
            Command::RemoveListenerCertificates { load_balancer, port, certificates } => {
                Change::RemoveListenerCertificates { load_balancer, port, certificates }
            }
            Command::DeleteListener { load_balancer, port } => Change::DeleteListener { load_balancer, port },
            other => return other,
        })
    }

    fn find_application(&self, wanted: &str) -> Result<&Balancer, Error> {
        self.application(wanted).ok_or_else(|| {
            let message = format!("there is no application load balancer {}", Shown(wanted));
            Error::new(Code::LoadBalancerNotFound, message)
        })
    }

    fn put_application(&mut self, fx: &mut Effects, lb: Balancer) {
        let id = lb.id;
        fx.id = Some(id);
        if self.applications.balancers.get(&id.to_string()) != Some(&lb) {
            self.applications.balancers.insert(id.to_string(), lb);
            fx.touch(key(id));
        }
    }

    /// All attributes of an application load balancer with the values that count.
    pub fn application_attributes(&self, lb: &Balancer) -> Attributes {
        Subject::Application.all(&lb.attributes)
    }

    /// Finds records that do not go together.
    pub(crate) fn check_applications(&self) -> Result<(), LoadError> {
        let State { balancers, listeners, rules } = &self.applications;
        let check = |good: bool, kind, id: &String| {
            if good { Ok(()) } else { Err(LoadError::Inconsistent(RecordKey::Object(kind, id.clone()))) }
        };
        for (id, lb) in balancers {
            check(lb.id.to_string() == *id, Kind::Application, id)?;
        }
        for (id, listener) in listeners {
            let good = listener.id.to_string() == *id && balancers.contains_key(&listener.load_balancer.to_string());
            check(good, Kind::ApplicationListener, id)?;
        }
        for (id, rule) in rules {
            let good = rule.id.to_string() == *id && listeners.contains_key(&rule.listener.to_string());
            check(good, Kind::Rule, id)?;
        }
        Ok(())
    }

    /// All application load balancers.
    pub fn applications(&self) -> impl Iterator<Item = &Balancer> {
        self.applications.balancers.values()
    }

    /// An application load balancer by name, id or ARN.
    pub fn application(&self, wanted: &str) -> Option<&Balancer> {
        let id = wanted.parse().ok();
        self.applications().find(|lb| {
            lb.name == wanted
                || Some(lb.id) == id
                || wanted.starts_with("arn:") && ids::application_arn(&self.site, &lb.name, lb.id) == wanted
        })
    }

    /// An application load balancer by its ARN, and the proxy's addresses by zone, of both kinds: what traffic to it as a target
    /// goes to. There are none where none were told.
    ///
    /// # Errors
    /// [`Code::InvalidTarget`]: there is no such application load balancer.
    pub(crate) fn application_addresses(&self, arn: &str) -> Result<Proxy<'_>, Error> {
        let found = self.application(arn).filter(|_| arn.starts_with("arn:"));
        let lb = found.ok_or_else(|| {
            let message = format!("{} is not the ARN of an application load balancer", Shown(arn));
            Error::new(Code::InvalidTarget, message)
        })?;
        let of = |place: &Place| place.addresses().map(|address| (place.zone.clone(), address)).collect::<Vec<_>>();
        Ok((lb, lb.places.iter().flat_map(of).collect()))
    }

    /// A name is unique among load balancers of all kinds: their DNS names begin with it.
    pub(crate) fn check_name_is_free(&self, name: &str) -> Result<(), Error> {
        let kind = if self.load_balancers.values().any(|lb| lb.name == name && lb.classic.is_none()) {
            "network"
        } else if self.applications().any(|lb| lb.name == name) {
            "application"
        } else if self.classics.contains_key(name) {
            "Classic"
        } else {
            return Ok(());
        };
        let message = format!(
            "A load balancer with the same name {} exists, but with different settings: it is a load balancer of type {kind}. \
             Choose another name, or change or delete that one",
            Shown(name)
        );
        Err(Error::at(Code::DuplicateLoadBalancerName, "name", message))
    }

    /// As the API shows it.
    pub fn show_application(&self, lb: &Balancer) -> rest::LoadBalancer {
        let zone = |place: &Place| rest::AvailabilityZone {
            zone_name: place.zone.clone(),
            subnet: place.subnet.clone(),
            allocation_id: None,
            private_ipv4_address: place.address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            addresses: place.addresses().collect(),
            secondary_addresses: Vec::new(),
            health: None,
        };
        rest::LoadBalancer {
            arn: ids::application_arn(&self.site, &lb.name, lb.id),
            id: lb.id.to_string(),
            name: lb.name.clone(),
            kind: rest::LoadBalancerType::Application,
            scheme: lb.scheme,
            state: rest::LoadBalancerState { code: "active".into(), reason: Some(ELSEWHERE.into()) },
            created_time: view::rfc3339(lb.created_ms),
            dns_name: self.dns_name(&lb.name, lb.id),
            ip_address_type: lb.ip_address_type,
            network: lb.network.clone(),
            canonical_hosted_zone_id: view::HOSTED_ZONE_ID.into(),
            availability_zones: lb.places.iter().map(zone).collect(),
            tags: lb.tags.clone(),
        }
    }
}

/// What an application load balancer says of its state.
pub const ELSEWHERE: &str = "kept as an object only: the proxy that serves its listeners stands elsewhere";

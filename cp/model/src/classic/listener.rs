//! Listeners of Classic load balancers: TCP, and SSL as an object. Each is a listener of the hidden load balancer, which forwards to
//! the hidden target group of its instance port.

use serde::{Deserialize, Serialize};

use super::{Balancer, derived};
use crate::attributes::TCP_IDLE_TIMEOUT;
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{self, TargetGroup};
use crate::rest::{self, Labels, Protocol, Tags, TargetAddressType, TargetType};
use crate::ssl_policy;

/// A listener; its port is its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// `TCP`, or `TLS`, which is called SSL here.
    pub protocol: Protocol,
    /// The instances' port.
    pub instance_port: u16,
    /// `TCP`, or `TLS`.
    pub instance_protocol: Protocol,
    /// ARN of its certificate, of SSL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Names of its policies, of SSL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// A listener as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSpec {
    /// `TCP` or `SSL`, in any case.
    pub protocol: String,
    /// 1–65535.
    pub port: i64,
    /// As `protocol` unless given.
    pub instance_protocol: Option<String>,
    /// 1–65535.
    pub instance_port: i64,
    /// ARN of a certificate, of SSL.
    pub certificate: Option<String>,
}

/// What Classic's API calls a protocol.
pub(super) fn protocol(field: &str, text: &str) -> Result<Protocol, Error> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "SSL" => Ok(Protocol::Tls),
        known => {
            let message = if matches!(known, "HTTP" | "HTTPS") {
                format!("{known} needs a proxy of requests, and there is none here; TCP carries the same bytes")
            } else {
                format!("{} is not a protocol of Classic load balancers; TCP works here", Shown(text))
            };
            Err(Error::at(Code::UnsupportedProtocol, field, message))
        }
    }
}

impl Listener {
    /// The name of a protocol in Classic's API.
    pub const fn protocol_name(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Tls => "SSL",
            other => other.name(),
        }
    }
}

impl Model {
    /// A listener as it would be kept.
    pub(super) fn classic_listener(&self, at: usize, spec: &ListenerSpec) -> Result<(u16, Listener), Error> {
        let field = |name: &str| format!("Listeners.member.{}.{name}", at + 1);
        let front = protocol(&field("Protocol"), &spec.protocol)?;
        let back =
            spec.instance_protocol.as_deref().map(|text| protocol(&field("InstanceProtocol"), text)).transpose()?;
        let back = back.unwrap_or(front);
        if front == Protocol::Tcp && back == Protocol::Tls {
            let message = "a TCP listener cannot speak SSL to instances; with InstanceProtocol TCP the client's bytes reach them as they are";
            return Err(Error::at(Code::InvalidConfigurationRequest, field("InstanceProtocol"), message));
        }
        let certificate = spec.certificate.clone().filter(|arn| !arn.is_empty());
        match (&certificate, front) {
            (None, Protocol::Tls) => {
                let message = "SSL Certificate must be specified for SSL listeners";
                return Err(Error::invalid(field("SSLCertificateId"), message));
            }
            (Some(_), Protocol::Tcp) => {
                let message = "a TCP listener has no certificate; SSL has";
                return Err(Error::at(Code::InvalidConfigurationRequest, field("SSLCertificateId"), message));
            }
            (Some(arn), _) => self.check_certificate(&field("SSLCertificateId"), arn)?,
            (None, _) => {}
        }
        let listener = Listener {
            protocol: front,
            instance_port: check::port(&field("InstancePort"), spec.instance_port)?,
            instance_protocol: back,
            certificate,
            policies: Vec::new(),
        };
        Ok((check::port(&field("LoadBalancerPort"), spec.port)?, listener))
    }

    /// Adds listeners; one that is there already is passed over. The hidden ones follow.
    pub(super) fn add_classic_listeners(
        &mut self,
        fx: &mut Effects,
        lb: &mut Balancer,
        specs: &[ListenerSpec],
        id: Id,
        now: Now,
    ) -> Result<(), Error> {
        for (at, spec) in specs.iter().enumerate() {
            let (port, listener) = self.classic_listener(at, spec)?;
            if let Some(old) = lb.listeners.get(&port) {
                if (Listener { policies: Vec::new(), ..old.clone() }) != listener {
                    let message = format!(
                        "A listener already exists for {} with LoadBalancerPort {port}, but with a different InstancePort, Protocol, or SSLCertificateId",
                        lb.name
                    );
                    return Err(Error::at(Code::DuplicateListener, format!("Listeners.member.{}", at + 1), message));
                }
                continue;
            }
            lb.listeners.insert(port, listener);
            let n = 2 * u64::try_from(at).unwrap_or(0);
            self.put_classic_listener(fx, lb, port, (derived(id, n + 1), derived(id, n + 2)), now)?;
        }
        self.limits.classic_listeners(lb.listeners.len())
    }

    /// Makes the hidden listener of a port what the Classic one says. `ids` are for a new one and its target group.
    pub(super) fn put_classic_listener(
        &mut self,
        fx: &mut Effects,
        lb: &Balancer,
        port: u16,
        ids: (Id, Id),
        now: Now,
    ) -> Result<(), Error> {
        let Some(listener) = lb.listeners.get(&port) else { return Ok(()) };
        let group = self.put_classic_group(fx, lb, listener, ids.1);
        let was_used = self.user_of(group).is_some();
        let tls = listener.protocol == Protocol::Tls;
        let old = self.listeners.get(&(lb.id, port));
        let hidden = resource::Listener {
            id: old.map_or(ids.0, |old| old.id),
            load_balancer: lb.id,
            port,
            protocol: listener.protocol,
            target_group: group,
            slots: old.map(|old| old.slots.clone()).unwrap_or_default(),
            certificates: listener.certificate.iter().cloned().collect(),
            ssl_policy: tls.then(|| lb.ssl_policy_of(listener).to_owned()),
            alpn_policy: tls.then(|| "None".into()),
            attributes: lb.idle_timeout_of(listener),
            tags: Tags::new(),
        };
        if old == Some(&hidden) { Ok(()) } else { self.put_listener(fx, hidden, was_used, now) }
    }

    /// The hidden group of a listener's instance port, with the settings of the load balancer.
    fn put_classic_group(&mut self, fx: &mut Effects, lb: &Balancer, listener: &Listener, id: Id) -> Id {
        let (port, protocol) = (listener.instance_port, listener.instance_protocol);
        let old = self.classic_groups(&lb.name).find(|group| (group.port, group.protocol) == (port, protocol));
        let group = TargetGroup {
            id: old.map_or(id, |old| old.id),
            // No client can choose a name with dots.
            name: format!("classic.{}.{port}.{}", lb.name, Listener::protocol_name(protocol).to_lowercase()),
            protocol,
            port,
            target_type: TargetType::Instance,
            ip_address_type: TargetAddressType::Ipv4,
            health_check: lb.health_check.of_group(),
            attributes: lb.attributes.of_group(),
            network: self.carrier_of(lb).and_then(|carrier| carrier.network.clone()),
            protocol_version: None,
            selector: Labels::new(),
            tags: Tags::new(),
            classic: Some(lb.name.clone()),
        };
        let id = group.id;
        if old != Some(&group) {
            self.target_groups.insert(id, group);
            fx.touch(RecordKey::TargetGroup(id));
        }
        id
    }

    pub(super) fn delete_classic_listeners(
        &mut self,
        fx: &mut Effects,
        name: &str,
        ports: &[i64],
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        for (at, port) in ports.iter().enumerate() {
            let port = check::port(&format!("LoadBalancerPorts.member.{}", at + 1), *port)?;
            if lb.listeners.remove(&port).is_some() {
                self.remove_listener(fx, lb.id, port);
            }
        }
        let unused = |group: &&TargetGroup| self.user_of(group.id).is_none();
        let groups: Vec<Id> = self.classic_groups(name).filter(unused).map(|group| group.id).collect();
        groups.into_iter().for_each(|group| self.remove_target_group(fx, group));
        self.put_classic(fx, lb, now)
    }

    pub(super) fn set_classic_certificate(
        &mut self,
        fx: &mut Effects,
        name: &str,
        port: i64,
        certificate: String,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        let listener = lb.listener_mut(port)?;
        if listener.protocol != Protocol::Tls {
            let message = format!("the listener on port {port} has protocol TCP; only SSL has a certificate");
            return Err(Error::at(Code::InvalidConfigurationRequest, "LoadBalancerPort", message));
        }
        self.check_certificate("SSLCertificateId", &certificate)?;
        listener.certificate = Some(certificate);
        self.put_classic(fx, lb, now)
    }
}

impl Balancer {
    /// The listener on a port.
    pub(super) fn listener_mut(&mut self, port: i64) -> Result<&mut Listener, Error> {
        let found = u16::try_from(port).ok().and_then(|port| self.listeners.get_mut(&port));
        found.ok_or_else(|| {
            let message = format!("There is no listener on LoadBalancerPort {port} of {}", self.name);
            Error::at(Code::ListenerNotFound, "LoadBalancerPort", message)
        })
    }

    /// The security policy that counts for an SSL listener.
    fn ssl_policy_of(&self, listener: &Listener) -> &str {
        let policy = listener.policies.first().and_then(|name| self.policies.get(name));
        policy.map_or(ssl_policy::DEFAULT, |policy| &policy.reference)
    }

    /// Network load balancers' idle timeouts begin at 60 seconds.
    fn idle_timeout_of(&self, listener: &Listener) -> rest::Attributes {
        let seconds = self.attributes.idle_timeout_seconds.max(60).to_string();
        let tcp = listener.protocol == Protocol::Tcp;
        tcp.then(|| (TCP_IDLE_TIMEOUT.to_owned(), seconds)).into_iter().collect()
    }
}

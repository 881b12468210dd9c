//! Rules of listeners (LSN).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::load_balancer::unfit;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Listener, ListenerSlot, LoadBalancer, Node, RetiredListener, TargetGroup};
use crate::rest::{self, HealthCheckProtocol, Protocol, TargetType};
use crate::ssl_policy;
use crate::target::ALL_ZONES;

/// What is asked for of TLS.
struct Tls {
    certificate: Option<String>,
    ssl_policy: Option<String>,
    alpn_policy: Option<String>,
}

/// What a TLS listener offers by ALPN; `None` is nothing (TLS-20).
pub const ALPN_POLICIES: [&str; 5] = ["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", ALPN_NONE];
const ALPN_NONE: &str = "None";

/// Whether a listener may forward to a target group, by its protocol and the group's protocol, kind of targets and health checks
/// (LSN-05).
pub const fn compatible(
    listener: Protocol,
    group: Protocol,
    target_type: TargetType,
    checks: HealthCheckProtocol,
) -> bool {
    if matches!(target_type, TargetType::Alb) {
        let requests = !matches!(checks, HealthCheckProtocol::Tcp);
        return requests && matches!((listener, group), (Protocol::Tcp, Protocol::Tcp));
    }
    match listener {
        Protocol::Tcp => matches!(group, Protocol::Tcp | Protocol::TcpUdp),
        Protocol::Udp => group.has_udp(),
        Protocol::TcpUdp => matches!(group, Protocol::TcpUdp),
        Protocol::Tls => matches!(group, Protocol::Tcp | Protocol::Tls),
        Protocol::Http | Protocol::Https => group.is_application(),
    }
}

impl Model {
    pub(crate) fn create_listener(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        request: rest::CreateListener,
        id: Id,
        now: Now,
    ) -> Result<(), Error> {
        let lb = self.find_load_balancer(load_balancer)?.id;
        let port = check::port("port", request.port)?;
        let group = self.group_for(&request.target_group)?;
        self.check_tags(&request.tags)?;
        let bare = Listener {
            id,
            load_balancer: lb,
            port,
            protocol: request.protocol,
            target_group: group,
            slots: Vec::new(),
            certificates: Vec::new(),
            ssl_policy: None,
            alpn_policy: None,
            attributes: rest::Attributes::new(),
            tags: request.tags,
        };
        let tls =
            Tls { certificate: request.certificate, ssl_policy: request.ssl_policy, alpn_policy: request.alpn_policy };
        let listener = self.with_tls(bare, tls)?;
        if let Some(old) = self.listeners.get(&(lb, port)) {
            let settings = |it: &Listener| {
                let default = it.certificates.first().cloned();
                (it.protocol, it.target_group, default, it.ssl_policy.clone(), it.alpn_policy.clone())
            };
            if settings(old) == settings(&listener) {
                fx.id = Some(old.id);
                return Ok(());
            }
            return Err(duplicate(old, listener.protocol));
        }
        self.limits.listeners(self.listeners_of(lb).count() + 1)?;
        fx.id = Some(id);
        let was_used = self.user_of(group).is_some();
        self.put_listener(fx, listener, was_used, now)
    }

    pub(crate) fn modify_listener(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        request: rest::ModifyListener,
        now: Now,
    ) -> Result<(), Error> {
        let old = self.find_listener(load_balancer, port)?.clone();
        let lb = old.load_balancer;
        let new_port = request.port.map_or(Ok(port), |port| check::port("port", port))?;
        let group = request.target_group.map_or(Ok(old.target_group), |wanted| self.group_for(&wanted))?;
        let protocol = request.protocol.unwrap_or(old.protocol);
        fx.id = Some(old.id);
        let mut new = Listener { port: new_port, protocol, target_group: group, ..old.clone() };
        if protocol != old.protocol {
            // Those of another protocol are others.
            new.attributes.clear();
        }
        let tls =
            Tls { certificate: request.certificate, ssl_policy: request.ssl_policy, alpn_policy: request.alpn_policy };
        let mut new = self.with_tls(new, tls)?;
        if new == old {
            return Ok(());
        }
        if let Some(other) = self.listeners.get(&(lb, new_port)).filter(|other| other.id != old.id) {
            return Err(duplicate(other, protocol));
        }
        let was_used = self.user_of(group).is_some();
        if new_port != port {
            // Counters and flows stay with the old port.
            self.remove_listener(fx, lb, port);
            new.slots.clear();
        }
        self.put_listener(fx, new, was_used, now)
    }

    /// A new or changed listener with what is asked for of TLS. A TLS listener keeps what is not named and gets the defaults of
    /// what it never had; others have none of it (LSN-10).
    fn with_tls(&self, mut listener: Listener, wanted: Tls) -> Result<Listener, Error> {
        let protocol = listener.protocol;
        if protocol != Protocol::Tls {
            let given = [
                ("certificate", Code::InvalidConfigurationRequest, wanted.certificate.is_some()),
                ("sslPolicy", Code::InvalidConfigurationRequest, wanted.ssl_policy.is_some()),
                ("alpnPolicy", Code::ALPNPolicyNotFound, wanted.alpn_policy.is_some_and(|policy| policy != ALPN_NONE)),
            ];
            if let Some((field, code, _)) = given.into_iter().find(|(.., given)| *given) {
                let message = format!("{field} is for TLS listeners; this one has protocol {protocol}");
                return Err(Error::at(code, field, message));
            }
            listener.certificates.clear();
            (listener.ssl_policy, listener.alpn_policy) = (None, None);
            return Ok(listener);
        }
        if let Some(arn) = wanted.certificate {
            self.check_certificate("certificate", &arn)?;
            if listener.certificates.is_empty() {
                listener.certificates.push(arn);
            } else {
                listener.certificates[0] = arn;
            }
        }
        if listener.certificates.is_empty() {
            let message =
                "A certificate must be specified for TLS listeners: give the ARN of one in the certificate store";
            return Err(Error::invalid("certificate", message));
        }
        if let Some(name) = wanted.ssl_policy {
            if ssl_policy::find(&name).is_none() {
                let known: Vec<&str> = ssl_policy::all().map(|policy| policy.name).collect();
                let message = format!("SSL policy {} not found; there are {}", Shown(&name), known.join(", "));
                return Err(Error::at(Code::SSLPolicyNotFound, "sslPolicy", message));
            }
            listener.ssl_policy = Some(name);
        }
        if let Some(name) = wanted.alpn_policy {
            if !ALPN_POLICIES.contains(&name.as_str()) {
                let message = format!("ALPN policy {} not found; there are {}", Shown(&name), ALPN_POLICIES.join(", "));
                return Err(Error::at(Code::ALPNPolicyNotFound, "alpnPolicy", message));
            }
            listener.alpn_policy = Some(name);
        }
        listener.ssl_policy.get_or_insert_with(|| ssl_policy::DEFAULT.into());
        listener.alpn_policy.get_or_insert_with(|| ALPN_NONE.into());
        Ok(listener)
    }

    pub(crate) fn delete_listener(&mut self, fx: &mut Effects, load_balancer: &str, port: u16) -> Result<(), Error> {
        let listener = self.find_listener(load_balancer, port)?;
        let key = (listener.load_balancer, listener.port);
        self.remove_listener(fx, key.0, key.1);
        Ok(())
    }

    /// The group that a request names.
    fn group_for(&self, wanted: &str) -> Result<Id, Error> {
        let found = self.find_target_group(wanted);
        Ok(found.map_err(|error| Error { field: Some("targetGroup".into()), ..error })?.id)
    }

    /// Puts a new or changed listener in its place: checks that it goes with its group, gives it slots, and begins to use the
    /// group's targets unless they were used before.
    pub(crate) fn put_listener(
        &mut self,
        fx: &mut Effects,
        listener: Listener,
        was_used: bool,
        now: Now,
    ) -> Result<(), Error> {
        let (lb, port) = (listener.load_balancer, listener.port);
        let group = self.target_groups.get(&listener.target_group);
        let group = group.ok_or_else(|| Error::new(Code::TargetGroupNotFound, "there is no such target group"))?;
        self.check_group(&listener, group)?;

        let group = listener.target_group;
        self.listeners.insert((lb, port), listener);
        fx.touch(RecordKey::Listener(lb, port));
        self.place_listener(fx, lb, port)?;
        if !was_used {
            self.begin_use(fx, group, lb, now)?;
        }
        self.check_load_balancer_targets(lb)
    }

    /// Where a listener stands: address and, of TCP and UDP, the protocol.
    pub(crate) fn places(&self, listener: &Listener) -> impl Iterator<Item = (IpAddr, Protocol)> {
        let nodes = self.load_balancers.get(&listener.load_balancer).map_or(&[][..], |lb| &lb.nodes);
        let protocol = listener.protocol;
        let tcp = protocol.has_tcp() && protocol.has_data_plane();
        let halves = [(Protocol::Tcp, tcp), (Protocol::Udp, protocol.has_udp())];
        nodes.iter().flat_map(Node::addresses).flat_map(move |address| {
            halves.into_iter().filter(|(_, has)| *has).map(move |(protocol, _)| (address, protocol))
        })
    }

    /// Gives a listener a number for each place where it stands, and retires those of places where it stood.
    pub(crate) fn place_listener(&mut self, fx: &mut Effects, lb: Id, port: u16) -> Result<(), Error> {
        let Some(listener) = self.listeners.get(&(lb, port)) else { return Ok(()) };
        let places: Vec<(IpAddr, Protocol)> = self.places(listener).collect();
        let old = listener.slots.clone();
        let mut slots = Vec::with_capacity(places.len());
        for (address, protocol) in places {
            let kept = old.iter().find(|place| (place.address, place.protocol) == (address, protocol));
            let slot = match kept {
                Some(place) => place.slot,
                None => self.take_listener_slot(fx, lb, address, port, protocol)?,
            };
            slots.push(ListenerSlot { address, protocol, slot });
        }
        for place in old.iter().filter(|place| !slots.contains(place)) {
            self.retire_listener_slot(fx, place, lb, port);
        }
        if let Some(listener) = self.listeners.get_mut(&(lb, port)).filter(|listener| listener.slots != slots) {
            listener.slots = slots;
            fx.touch(RecordKey::Listener(lb, port));
        }
        Ok(())
    }

    fn check_group(&self, listener: &Listener, group: &TargetGroup) -> Result<(), Error> {
        let protocol = listener.protocol;
        if !Protocol::NETWORK.contains(&protocol) {
            let known = Protocol::NETWORK.map(Protocol::name).join(", ");
            let message = format!(
                "Protocol '{protocol}' is not supported for load balancers of type 'network'; it is one of {known}"
            );
            return Err(Error::at(Code::UnsupportedProtocol, "protocol", message));
        }
        if !compatible(protocol, group.protocol, group.target_type, group.health_check.protocol) {
            let possible = |other| compatible(protocol, other, group.target_type, group.health_check.protocol);
            let possible: Vec<&str> =
                Protocol::NETWORK.into_iter().filter(|other| possible(*other)).map(Protocol::name).collect();
            let needed = if possible.is_empty() {
                format!("no group of type {}", group.target_type.name())
            } else {
                possible.join(" or ")
            };
            let message = format!(
                "a {protocol} listener cannot forward to target group {}, whose protocol is {} and whose type is {}; it needs {needed}",
                Shown(&group.name),
                group.protocol,
                group.target_type.name(),
            );
            return Err(Error::at(Code::IncompatibleProtocols, "targetGroup", message));
        }
        if protocol == Protocol::Tls && group.is_sticky() {
            let message = format!(
                "sticky sessions are not supported with TLS listeners; target group {} has them",
                Shown(&group.name)
            );
            return Err(Error::at(Code::InvalidConfigurationRequest, "targetGroup", message));
        }
        let lb = self.load_balancers.get(&listener.load_balancer);
        if let Some((field, why)) = lb.and_then(|lb| unfit(lb, protocol, group)) {
            return Err(Error::at(Code::InvalidConfigurationRequest, field, why));
        }
        if let (Some(network), Some(other)) = (&group.network, lb.and_then(|lb| lb.network.as_ref()))
            && network != other
        {
            let message = format!(
                "target group {} is in network {}, and the load balancer in network {}",
                Shown(&group.name),
                Shown(network),
                Shown(other)
            );
            return Err(Error::at(Code::InvalidConfigurationRequest, "targetGroup", message));
        }
        match self.user_of(group.id) {
            Some(user) if user != listener.load_balancer => {
                let name = self.load_balancers.get(&user).map_or("", |lb| lb.name.as_str());
                let message = format!(
                    "target group {} is used by load balancer {}, and a target group belongs to one load balancer; make another group",
                    Shown(&group.name),
                    Shown(name)
                );
                Err(Error::at(Code::TargetGroupAssociationLimit, "targetGroup", message))
            }
            _ => Ok(()),
        }
    }

    /// The load balancer whose listeners forward to a group.
    pub fn user_of(&self, group: Id) -> Option<Id> {
        self.listeners.values().find(|listener| listener.target_group == group).map(|listener| listener.load_balancer)
    }

    /// Quotas of all targets behind a load balancer (QTA-06, QTA-07, QTA-11). A target of a zone that is known counts there, others
    /// evenly in all zones.
    pub(crate) fn check_load_balancer_targets(&self, lb: Id) -> Result<(), Error> {
        let Some(balancer) = self.load_balancers.get(&lb) else { return Ok(()) };
        let groups: BTreeSet<Id> = self.listeners_of(lb).map(|listener| listener.target_group).collect();
        let (mut count, mut elsewhere) = (0, 0);
        let mut by_zone: BTreeMap<&str, usize> = balancer.nodes.iter().map(|node| (node.zone.as_str(), 0)).collect();
        for group in groups.iter().filter_map(|id| self.target_groups.get(id)) {
            let registered = self.targets_of(group.id).filter(|target| target.is_registered());
            if group.target_type == TargetType::Alb {
                if registered.count() > 0 {
                    let counted = self.application_counts_as(balancer, group);
                    (count, elsewhere) = (count + counted, elsewhere + counted);
                    self.check_application_users(group.id)?;
                }
                continue;
            }
            for target in registered {
                count += 1;
                match self.known_zone(target).filter(|zone| *zone != ALL_ZONES) {
                    Some(zone) => *by_zone.entry(zone).or_default() += 1,
                    None => elsewhere += 1,
                }
            }
        }
        let most = by_zone.values().copied().max().unwrap_or(0);
        self.limits.targets_per_zone(most + elsewhere.div_ceil(balancer.nodes.len().max(1)))?;
        self.limits.targets_per_load_balancer(count)
    }

    /// How many targets an application load balancer counts as: 50, or 100 across zones (ALBT-06).
    fn application_counts_as(&self, lb: &LoadBalancer, group: &TargetGroup) -> usize {
        if self.is_cross_zone(group, lb) { 100 } else { 50 }
    }

    pub(crate) fn remove_listener(&mut self, fx: &mut Effects, lb: Id, port: u16) {
        let Some(listener) = self.listeners.remove(&(lb, port)) else { return };
        fx.touch(RecordKey::Listener(lb, port));
        for place in &listener.slots {
            self.retire_listener_slot(fx, place, lb, port);
        }
    }

    /// The slot that the same listener had before, if flows may still refer to it, or a free one.
    fn take_listener_slot(
        &mut self,
        fx: &mut Effects,
        lb: Id,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Result<u16, Error> {
        let wanted = (lb, address, port, protocol);
        let same = |r: &RetiredListener| (r.load_balancer, r.address, r.port, r.protocol) == wanted;
        let retired = self.retired_listeners.iter().find(|(_, retired)| same(retired)).map(|(slot, _)| *slot);
        if let Some(slot) = retired {
            self.retired_listeners.remove(&slot);
            fx.touch(RecordKey::RetiredListener(slot));
            return Ok(slot);
        }
        let (slot, _) = self.listener_slots.take().ok_or_else(|| {
            Error::new(Code::TooManyListeners, "all 65535 listener numbers are taken; delete listeners first")
        })?;
        fx.touch(RecordKey::ListenerSlots);
        Ok(slot)
    }

    fn retire_listener_slot(&mut self, fx: &mut Effects, place: &ListenerSlot, load_balancer: Id, port: u16) {
        let ListenerSlot { address, protocol, slot } = *place;
        let retired = RetiredListener { load_balancer, address, port, protocol, since_epoch: self.meta.epoch };
        self.retired_listeners.insert(slot, retired);
        fx.touch(RecordKey::RetiredListener(slot));
    }

    pub(crate) fn free_listeners(&mut self, fx: &mut Effects, slots: Vec<(u16, Vec<u64>)>) {
        for (slot, counted) in slots {
            if self.retired_listeners.remove(&slot).is_some() {
                self.listener_slots.free(slot, counted);
                fx.touch(RecordKey::RetiredListener(slot));
                fx.touch(RecordKey::ListenerSlots);
            }
        }
    }
}

fn duplicate(old: &Listener, wanted: Protocol) -> Error {
    let hint = if old.protocol != wanted { " (for TCP and UDP on one port make one TCP_UDP listener)" } else { "" };
    let message = format!(
        "the load balancer has a {} listener on port {}; change or delete that one, or choose another port{hint}",
        old.protocol, old.port
    );
    Error::at(Code::DuplicateListener, "port", message)
}

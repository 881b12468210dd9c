//! Rules of listeners (LSN).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::load_balancer::unfit;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Listener, ListenerSlot, Node, RetiredListener, TargetGroup};
use crate::rest::{self, Protocol};

/// Whether a listener of one protocol may forward to a target group of another (LSN-05).
pub const fn compatible(listener: Protocol, group: Protocol) -> bool {
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
        if let Some(old) = self.listeners.get(&(lb, port)) {
            if (old.protocol, old.target_group) == (request.protocol, group) {
                fx.id = Some(old.id);
                return Ok(());
            }
            return Err(duplicate(old, request.protocol));
        }
        self.limits.listeners(self.listeners_of(lb).count() + 1)?;
        let listener = Listener {
            id,
            load_balancer: lb,
            port,
            protocol: request.protocol,
            target_group: group,
            slots: Vec::new(),
            certificates: request.certificate.into_iter().collect(),
            ssl_policy: request.ssl_policy,
            alpn_policy: request.alpn_policy,
            attributes: rest::Attributes::new(),
            tags: request.tags,
        };
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
        if (new_port, protocol, group) == (old.port, old.protocol, old.target_group) {
            return Ok(());
        }
        if let Some(other) = self.listeners.get(&(lb, new_port)).filter(|other| other.id != old.id) {
            return Err(duplicate(other, protocol));
        }
        let was_used = self.user_of(group).is_some();
        let mut new = Listener { port: new_port, protocol, target_group: group, ..old };
        if new_port != port {
            // Counters and flows stay with the old port.
            self.remove_listener(fx, lb, port);
            new.slots.clear();
        }
        self.put_listener(fx, new, was_used, now)
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
    fn put_listener(&mut self, fx: &mut Effects, listener: Listener, was_used: bool, now: Now) -> Result<(), Error> {
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
        if !compatible(listener.protocol, group.protocol) {
            let possible: Vec<&str> = Protocol::NETWORK
                .into_iter()
                .filter(|protocol| compatible(listener.protocol, *protocol))
                .map(Protocol::name)
                .collect();
            let message = format!(
                "a {} listener cannot forward to target group {}, whose protocol is {}; it needs {}",
                listener.protocol,
                Shown(&group.name),
                group.protocol,
                possible.join(" or ")
            );
            return Err(Error::at(Code::IncompatibleProtocols, "targetGroup", message));
        }
        let lb = self.load_balancers.get(&listener.load_balancer);
        if let Some((field, why)) = lb.and_then(|lb| unfit(lb, listener.protocol, group)) {
            return Err(Error::at(Code::InvalidConfigurationRequest, field, why));
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

    /// Quotas of all targets behind a load balancer (QTA-06, QTA-07, QTA-11).
    pub(crate) fn check_load_balancer_targets(&self, lb: Id) -> Result<(), Error> {
        let groups: BTreeSet<Id> = self.listeners_of(lb).map(|listener| listener.target_group).collect();
        let count: usize =
            groups.iter().map(|group| self.targets_of(*group).filter(|target| target.is_registered()).count()).sum();
        // Every zone's node may have any target.
        let zones = self.load_balancers.get(&lb).map_or(1, |lb| lb.nodes.len());
        self.limits.targets_per_zone(count.div_ceil(zones))?;
        self.limits.targets_per_load_balancer(count)
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

//! What the targets of a request stand for, and whether they may be targets (TG-05, TGT-01 to TGT-07).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::Model;
use crate::resource::{Target, TargetGroup};
use crate::rest::{InstanceSpec, InstanceState, NetworkSpec, SubnetSpec, TargetAddressType, TargetSpec, TargetType};
use crate::target_group::is_shared_with;

/// A target to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its address; unspecified for an application load balancer whose addresses were not told.
    pub address: IpAddr,
    pub port: u16,
    /// What it is named by, if not by its address.
    pub name: Option<String>,
    /// Its zone, or `all`, if it was told.
    pub zone: Option<String>,
}

/// How many network load balancers an application load balancer can be behind.
const APPLICATION_USERS_MAX: usize = 2;

/// The zone of targets that the nodes of all zones use.
pub(crate) const ALL_ZONES: &str = "all";

impl SubnetSpec {
    fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address) || self.ipv6_cidr.is_some_and(|net| net.contains(&address))
    }
}

impl Model {
    /// The targets that a request wants to register.
    pub(super) fn wanted_targets(
        &self,
        group: &TargetGroup,
        specs: &[TargetSpec],
        tenant: Option<&str>,
    ) -> Result<Vec<Wanted>, Error> {
        self.check_count(specs)?;
        let ports =
            specs.iter().enumerate().map(|(at, spec)| port(at, spec, group)).collect::<Result<Vec<u16>, _>>()?;
        match group.target_type {
            TargetType::Ip => {
                let each = specs.iter().zip(ports).enumerate();
                each.map(|(at, (spec, port))| self.wanted_address(at, spec, port, group, tenant)).collect()
            }
            TargetType::Instance => {
                refuse_zones(specs, group)?;
                let instances = self.wanted_instances(group, specs, tenant)?;
                Ok(instances.into_iter().zip(ports).map(|(instance, port)| of_instance(instance, port)).collect())
            }
            TargetType::Alb => {
                refuse_zones(specs, group)?;
                let each = specs.iter().zip(ports).enumerate();
                let wanted = each.map(|(at, (spec, port))| self.wanted_application(at, spec, port, group));
                Ok(wanted.collect::<Result<Vec<_>, _>>()?.concat())
            }
        }
    }

    /// The slots of a group's targets that a request names; unknown ones are passed over.
    pub(crate) fn known_targets(&self, group: &TargetGroup, specs: &[TargetSpec]) -> Result<Vec<u16>, Error> {
        self.check_count(specs)?;
        let mut slots = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            let port = port(at, spec, group)?;
            if group.target_type == TargetType::Ip {
                let address = address(at, spec, group)?;
                slots.extend(self.by_socket.get(&(group.id, address, port)));
            } else {
                let named = |target: &&Target| target.name.as_ref() == Some(&spec.id) && target.port == port;
                slots.extend(self.targets_of(group.id).filter(named).map(|target| target.slot));
            }
        }
        Ok(slots)
    }

    fn check_count(&self, specs: &[TargetSpec]) -> Result<(), Error> {
        if specs.is_empty() {
            return Err(Error::invalid("targets", "the list of targets is empty; give at least one"));
        }
        self.limits.targets_per_request(specs.len()).map_err(|e| Error { field: Some("targets".into()), ..e })
    }

    fn wanted_address(
        &self,
        at: usize,
        spec: &TargetSpec,
        port: u16,
        group: &TargetGroup,
        tenant: Option<&str>,
    ) -> Result<Wanted, Error> {
        let field = format!("targets[{at}].id");
        let address = address(at, spec, group)?;
        if !check::is_unicast(address) {
            let message = format!("{address} cannot be a target's; give a unicast address");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        if let Some((port, _)) = self.site.subnets.iter().find(|(_, net)| net.addr() == address) {
            let message = format!("{address} is this appliance's own address on port {port} and cannot be a target");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        let mut networks = self.inventory.networks.values();
        let strange = networks.find(|net| !is_shared_with(net, tenant) && self.subnet_in(net, address).is_some());
        if let Some(network) = strange {
            return Err(not_shared(&field, &address.to_string(), network, tenant));
        }
        if let Some(zone) = &spec.zone {
            self.check_zone(&format!("targets[{at}].zone"), zone)?;
        }
        match group.network.as_ref().and_then(|id| self.inventory.networks.get(id)) {
            Some(network) => self.check_address_of_network(at, address, network, spec.zone.as_deref())?,
            None => self.check_reach(&field, address)?,
        }
        Ok(Wanted { address, port, name: None, zone: spec.zone.clone() })
    }

    /// In one of the network's subnets (TGT-05), whose zone is the target's; or private (TG-05), or of IPv6 in a network that it
    /// is connected to (IPT-13), with a zone that was told (TGT-07).
    fn check_address_of_network(
        &self,
        at: usize,
        address: IpAddr,
        network: &NetworkSpec,
        zone: Option<&str>,
    ) -> Result<(), Error> {
        let field = format!("targets[{at}].id");
        if self.subnet_in(network, address).is_some() {
            return Ok(());
        }
        if network.cidrs.iter().any(|net| net.contains(&address)) {
            let message = format!(
                "{address} is in network {} but in none of its subnets, so that it cannot be reached",
                Shown(&network.id)
            );
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        let peers = network.peers.iter().filter_map(|id| self.inventory.networks.get(id));
        let (good, ranges) = match address {
            IpAddr::V4(v4) => (check::is_private(v4), check::TARGET_RANGES.join(", ")),
            IpAddr::V6(_) => {
                let mut nets = peers.flat_map(|peer| &peer.cidrs);
                (nets.any(|net| net.contains(&address)), "a network that it is connected to".into())
            }
        };
        if !good {
            let message = format!(
                "{address} is not in an allowed range: targets are in a subnet of network {} or in {ranges}",
                Shown(&network.id)
            );
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        if zone.is_none() {
            let message = format!(
                "The Availability Zone is required for IP address '{address}' because it is not in the VPC: you must specify an \
                 Availability Zone, or '{ALL_ZONES}'"
            );
            return Err(Error::at(Code::InvalidTarget, format!("targets[{at}].zone"), message));
        }
        Ok(())
    }

    /// Without a network of the inventory: in a subnet of a port; or private, or of IPv6 in a network that we have a route to.
    fn check_reach(&self, field: &str, address: IpAddr) -> Result<(), Error> {
        let subnets = &self.site.subnets;
        let (allowed, ranges) = match address {
            IpAddr::V4(v4) => (check::is_private(v4), check::TARGET_RANGES.join(", ")),
            IpAddr::V6(_) => {
                let routed = self.site.networks.iter().any(|net| net.contains(&address));
                (routed || subnets.is_empty(), "a network that a port has a route to".into())
            }
        };
        if !allowed && !subnets.iter().any(|(_, net)| net.contains(&address)) {
            let message =
                format!("{address} is not in an allowed range: targets are in {ranges} or in the subnet of a port");
            return Err(Error::at(Code::InvalidTarget, field, message));
        }
        Ok(())
    }

    fn check_zone(&self, field: &str, zone: &str) -> Result<(), Error> {
        let zones = &self.inventory.zones;
        if zone == ALL_ZONES || zones.contains_key(zone) {
            return Ok(());
        }
        if zones.is_empty() {
            return check::name(field, zone);
        }
        let known: Vec<&str> = zones.keys().map(String::as_str).collect();
        let message = format!("there is no zone {}; give {ALL_ZONES} or one of {}", Shown(zone), known.join(", "));
        Err(Error::invalid(field, message))
    }

    /// The instances that a request names, all of which can be registered.
    fn wanted_instances(
        &self,
        group: &TargetGroup,
        specs: &[TargetSpec],
        tenant: Option<&str>,
    ) -> Result<Vec<&InstanceSpec>, Error> {
        let instances = &self.inventory.instances;
        let missing: BTreeSet<&str> =
            specs.iter().map(|spec| spec.id.as_str()).filter(|id| !instances.contains_key(*id)).collect();
        refuse("The following instances do not exist", &missing)?;
        let wanted: Vec<&InstanceSpec> = specs.iter().filter_map(|spec| instances.get(&spec.id)).collect();
        let which = |wrong: &dyn Fn(&InstanceSpec) -> bool| -> BTreeSet<&str> {
            wanted.iter().filter(|instance| wrong(instance)).map(|instance| instance.id.as_str()).collect()
        };
        if let Some(network) = &group.network {
            let elsewhere = which(&|it| self.network_of(it).is_none_or(|found| found.id != *network));
            refuse(&format!("The following targets are not in the target group VPC '{network}'"), &elsewhere)?;
        }
        for (at, instance) in wanted.iter().enumerate() {
            if let Some(network) = self.network_of(instance).filter(|network| !is_shared_with(network, tenant)) {
                return Err(not_shared(&format!("targets[{at}].id"), &instance.id, network, tenant));
            }
        }
        let what = "The following targets are not in a running state and cannot be registered";
        refuse(what, &which(&|it| it.state != InstanceState::Running))?;
        let what = "The following targets cannot be registered by instance ID, as their kind cannot have client addresses \
                    preserved; register them by IP address";
        refuse(what, &which(&|it| it.no_client_ip))?;
        Ok(wanted)
    }

    pub(crate) fn network_of(&self, instance: &InstanceSpec) -> Option<&NetworkSpec> {
        let subnet = self.inventory.subnets.get(&instance.subnet)?;
        self.inventory.networks.get(&subnet.network)
    }

    fn subnet_in(&self, network: &NetworkSpec, address: IpAddr) -> Option<&SubnetSpec> {
        self.inventory.subnets.values().find(|subnet| subnet.network == network.id && subnet.contains(address))
    }

    /// An application load balancer: one target for each of its addresses.
    fn wanted_application(
        &self,
        at: usize,
        spec: &TargetSpec,
        port: u16,
        group: &TargetGroup,
    ) -> Result<Vec<Wanted>, Error> {
        let at_field = |error| Error { field: Some(format!("targets[{at}].id")), ..error };
        let (lb, addresses) = self.application_addresses(&spec.id).map_err(at_field)?;
        if let (Some(network), Some(other)) = (&group.network, &lb.network)
            && network != other
        {
            let message = format!(
                "application load balancer {} is in network {}, and the target group in network {}",
                Shown(&lb.name),
                Shown(other),
                Shown(network)
            );
            return Err(Error::at(Code::InvalidTarget, format!("targets[{at}].id"), message));
        }
        self.check_application_port(lb, port).map_err(at_field)?;
        Ok(of_application(&spec.id, port, &addresses))
    }

    /// An application load balancer is behind at most two network load balancers (ALBT-05).
    pub(crate) fn check_application_users(&self, group: Id) -> Result<(), Error> {
        let names: BTreeSet<&String> = self.applications_in(group).collect();
        for name in names {
            let groups = self.target_groups.keys().filter(|id| self.applications_in(**id).any(|other| other == name));
            let users: BTreeSet<Id> = groups.filter_map(|id| self.user_of(*id)).collect();
            if users.len() > APPLICATION_USERS_MAX {
                let message = format!(
                    "{} is a target of {APPLICATION_USERS_MAX} other network load balancers, which is as many as there may be",
                    Shown(name)
                );
                return Err(Error::new(Code::TooManyRegistrationsForTargetId, message));
            }
        }
        Ok(())
    }

    /// ARNs of the application load balancers that are registered in a group.
    fn applications_in(&self, group: Id) -> impl Iterator<Item = &String> {
        let is_alb = self.target_groups.get(&group).is_some_and(|group| group.target_type == TargetType::Alb);
        let targets = self.targets_of(group).filter(move |target| is_alb && target.is_registered());
        targets.filter_map(|target| target.name.as_ref())
    }

    /// The zone of a target, or `all`: what was told, or that of its subnet; none: nothing is known.
    pub(crate) fn known_zone<'a>(&'a self, target: &'a Target) -> Option<&'a str> {
        if let Some(zone) = &target.zone {
            return Some(zone);
        }
        let group = self.target_groups.get(&target.group)?;
        let named = target.name.as_ref().and_then(|id| self.inventory.instances.get(id));
        let subnets = &self.inventory.subnets;
        let subnet = match named {
            Some(instance) => subnets.get(&instance.subnet),
            None => subnets.values().find(|subnet| {
                group.network.as_ref().is_none_or(|network| subnet.network == *network)
                    && subnet.contains(target.address)
            }),
        };
        subnet.map(|subnet| subnet.zone.as_str())
    }
}

/// The target that an instance is: its primary address (TG-07).
pub(crate) fn of_instance(instance: &InstanceSpec, port: u16) -> Wanted {
    Wanted { address: instance.address.into(), port, name: Some(instance.id.clone()), zone: None }
}

/// The targets that an application load balancer is: one for each of its IPv4 addresses, or one without an address.
pub(crate) fn of_application(arn: &str, port: u16, addresses: &[(String, IpAddr)]) -> Vec<Wanted> {
    let wanted = |address, zone| Wanted { address, port, name: Some(arn.to_owned()), zone };
    let ipv4 = addresses.iter().filter(|(_, address)| address.is_ipv4());
    let mut all: Vec<Wanted> = ipv4.map(|(zone, address)| wanted(*address, Some(zone.clone()))).collect();
    if all.is_empty() {
        all.push(wanted(Ipv4Addr::UNSPECIFIED.into(), None));
    }
    all
}

fn port(at: usize, spec: &TargetSpec, group: &TargetGroup) -> Result<u16, Error> {
    spec.port.map_or(Ok(group.port), |port| check::port(&format!("targets[{at}].port"), port))
}

fn address(at: usize, spec: &TargetSpec, group: &TargetGroup) -> Result<IpAddr, Error> {
    let field = format!("targets[{at}].id");
    Ok(match group.ip_address_type {
        TargetAddressType::Ipv4 => check::ipv4(Code::InvalidTarget, &field, &spec.id)?.into(),
        TargetAddressType::Ipv6 => check::ipv6(Code::InvalidTarget, &field, &spec.id)?.into(),
    })
}

fn refuse_zones(specs: &[TargetSpec], group: &TargetGroup) -> Result<(), Error> {
    match specs.iter().position(|spec| spec.zone.is_some()) {
        Some(at) => {
            let message =
                format!("targets of type {} have no zone of their own; leave it out", group.target_type.name());
            Err(Error::invalid(format!("targets[{at}].zone"), message))
        }
        None => Ok(()),
    }
}

/// Refuses targets in AWS's form, which clients look for.
fn refuse(what: &str, ids: &BTreeSet<&str>) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = ids.iter().map(|id| format!("'{}'", Shown(id).to_string().trim_matches('"'))).collect();
    Err(Error::at(Code::InvalidTarget, "targets", format!("{what}: {}", quoted.join(", "))))
}

fn not_shared(field: &str, what: &str, network: &NetworkSpec, tenant: Option<&str>) -> Error {
    let tenant = Shown(tenant.unwrap_or_default());
    let message = format!("{what} is in network {}, which is not shared with tenant {tenant}", Shown(&network.id));
    Error::at(Code::InvalidTarget, field, message)
}

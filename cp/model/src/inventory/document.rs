//! What an inventory must be like to be taken, whatever uses it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{State, addresses};
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::rest::{self, InstanceSpec, Labels, NetworkSpec, StaticAddressSpec, SubnetSpec, Zone};
use crate::target::ALL_ZONES;

/// Labels of one thing at the most.
const LABELS_MAX: usize = 50;
const LABEL_KEY_CHARS_MAX: usize = 128;
const LABEL_VALUE_CHARS_MAX: usize = 256;
/// Further addresses of an instance at the most.
const OTHER_ADDRESSES_MAX: usize = 64;

impl State {
    /// What a document declares.
    ///
    /// # Errors
    /// A value cannot be, is given twice, or does not go with another one. The field is named, such as `subnets[2].cidr`.
    pub(super) fn read(document: &rest::Inventory) -> Result<Self, Error> {
        let mut state = Self::default();
        for (at, zone) in document.zones.iter().enumerate() {
            check_zone(&format!("zones[{at}].name"), zone)?;
            insert(&mut state.zones, &format!("zones[{at}].name"), &zone.name, zone)?;
        }
        for (at, network) in document.networks.iter().enumerate() {
            check_network(at, network)?;
            insert(&mut state.networks, &format!("networks[{at}].id"), &network.id, network)?;
        }
        state.check_peers(document)?;
        for (at, subnet) in document.subnets.iter().enumerate() {
            state.check_subnet(at, subnet)?;
            insert(&mut state.subnets, &format!("subnets[{at}].id"), &subnet.id, subnet)?;
        }
        check_ranges(document)?;
        let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (at, instance) in document.instances.iter().enumerate() {
            let prefix = format!("instances[{at}].");
            state.check_instance(&prefix, instance)?;
            insert(&mut state.instances, &format!("{prefix}id"), &instance.id, instance)?;
            for address in addresses(instance) {
                if let Some(other) = owners.insert(address, &instance.id) {
                    return Err(taken(&format!("{prefix}{}", field_of(instance, address)), address, other));
                }
            }
        }
        for (at, spec) in document.static_addresses.iter().enumerate() {
            let field = format!("staticAddresses[{at}]");
            check_static_address(&field, spec)?;
            insert(&mut state.static_addresses, &format!("{field}.id"), &spec.id, spec)?;
            if let Some(other) = owners.insert(spec.address.into(), &spec.id) {
                return Err(taken(&format!("{field}.address"), spec.address.into(), other));
            }
        }
        for (at, port) in document.ports.iter().enumerate() {
            let field = format!("ports[{at}].name");
            check::id(&field, &port.name)?;
            insert(&mut state.ports, &field, &port.name, port)?;
        }
        Ok(state)
    }

    fn check_peers(&self, document: &rest::Inventory) -> Result<(), Error> {
        for (at, network) in document.networks.iter().enumerate() {
            for (nth, peer) in network.peers.iter().enumerate() {
                let field = format!("networks[{at}].peers[{nth}]");
                if *peer == network.id {
                    return Err(wrong(field, "a network is no peer of itself"));
                }
                if !self.networks.contains_key(peer) {
                    return Err(wrong(field, format!("there is no network {}; declare it, too", Shown(peer))));
                }
            }
        }
        Ok(())
    }

    fn check_subnet(&self, at: usize, subnet: &SubnetSpec) -> Result<(), Error> {
        let field = |name: &str| format!("subnets[{at}].{name}");
        check::id(&field("id"), &subnet.id)?;
        let Some(network) = self.networks.get(&subnet.network) else {
            let message = format!("there is no network {}; declare it, too", Shown(&subnet.network));
            return Err(wrong(field("network"), message));
        };
        if !self.zones.contains_key(&subnet.zone) {
            return Err(wrong(field("zone"), format!("there is no zone {}; declare it, too", Shown(&subnet.zone))));
        }
        for (name, net, is_ipv6) in
            [("cidr", Some(subnet.cidr), false), ("ipv6Cidr", subnet.ipv6_cidr, true)].into_iter()
        {
            let Some(net) = net else { continue };
            check_range(&field(name), net)?;
            if net.addr().is_ipv6() != is_ipv6 {
                let kind = if is_ipv6 { "IPv6" } else { "IPv4" };
                return Err(Error::invalid(field(name), format!("{net} is no range of {kind}")));
            }
            if !network.cidrs.iter().any(|outer| outer.contains(&net)) {
                let message = format!("{net} is not in network {}: {}", Shown(&network.id), list(&network.cidrs));
                return Err(wrong(field(name), message));
            }
        }
        for (nth, text) in subnet.reserved.iter().enumerate() {
            let field = field(&format!("reserved[{nth}]"));
            let (first, last) = reserved_range(&field, text)?;
            if super::range_of(subnet, first).is_none_or(|net| !net.contains(&last)) {
                return Err(wrong(field, format!("{} is not in the subnet", Shown(text))));
            }
        }
        check_labels(&field("labels"), &subnet.labels)
    }

    /// An instance, by itself.
    pub(super) fn check_instance(&self, prefix: &str, instance: &InstanceSpec) -> Result<(), Error> {
        let field = |name: &str| format!("{prefix}{name}");
        check::id(&field("id"), &instance.id)?;
        let Some(subnet) = self.subnets.get(&instance.subnet) else {
            let message = format!("there is no subnet {}; declare it, too", Shown(&instance.subnet));
            return Err(wrong(field("subnet"), message));
        };
        if !check::is_host_of(subnet.cidr, instance.address.into()) {
            let message = format!(
                "{} is not a host's address in subnet {}, which is {}",
                instance.address,
                Shown(&subnet.id),
                subnet.cidr
            );
            return Err(wrong(field("address"), message));
        }
        if instance.other_addresses.len() > OTHER_ADDRESSES_MAX {
            let message = format!("an instance has at most {OTHER_ADDRESSES_MAX} further addresses");
            return Err(Error::invalid(field("otherAddresses"), message));
        }
        let network = self.networks.get(&subnet.network);
        for (nth, address) in instance.other_addresses.iter().enumerate() {
            let field = field(&format!("otherAddresses[{nth}]"));
            if !network.is_some_and(|network| network.cidrs.iter().any(|net| net.contains(address))) {
                let message = format!("{address} is not in network {}", Shown(&subnet.network));
                return Err(wrong(field, message));
            }
            if addresses(instance).take(nth + 1).any(|other| other == *address) {
                return Err(Error::invalid(field, format!("{address} is given twice")));
            }
        }
        check_labels(&field("labels"), &instance.labels)
    }

    /// An instance has no address of another one, nor a static one.
    pub(super) fn check_instance_is_alone(&self, instance: &InstanceSpec) -> Result<(), Error> {
        for address in addresses(instance) {
            let mut others = self.instances.values().filter(|other| other.id != instance.id);
            let other = others.find(|other| addresses(other).any(|it| it == address)).map(|other| &other.id);
            let spec = self.static_addresses.values().find(|spec| IpAddr::from(spec.address) == address);
            if let Some(other) = other.or(spec.map(|spec| &spec.id)) {
                return Err(taken(&field_of(instance, address), address, other));
            }
        }
        Ok(())
    }
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::at(Code::InvalidConfigurationRequest, field, message)
}

fn taken(field: &str, address: IpAddr, owner: &str) -> Error {
    wrong(field, format!("{address} is an address of {}; everything has addresses of its own", Shown(owner)))
}

/// The name of the field in which an instance has an address.
pub(super) fn field_of(instance: &InstanceSpec, address: IpAddr) -> String {
    match instance.other_addresses.iter().position(|other| *other == address) {
        Some(nth) if IpAddr::from(instance.address) != address => format!("otherAddresses[{nth}]"),
        _ => "address".into(),
    }
}

fn insert<T: Clone>(map: &mut BTreeMap<String, T>, field: &str, id: &str, value: &T) -> Result<(), Error> {
    if map.insert(id.to_owned(), value.clone()).is_some() {
        return Err(Error::invalid(field, format!("{} is given twice", Shown(id))));
    }
    Ok(())
}

fn check_zone(field: &str, zone: &Zone) -> Result<(), Error> {
    check::name(field, &zone.name)?;
    if zone.name == ALL_ZONES {
        let message = format!("\"{ALL_ZONES}\" stands for every zone; choose another name");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

fn check_network(at: usize, network: &NetworkSpec) -> Result<(), Error> {
    let field = |name: &str| format!("networks[{at}].{name}");
    check::id(&field("id"), &network.id)?;
    if network.cidrs.is_empty() {
        return Err(Error::invalid(field("cidrs"), "a network needs a range of addresses, such as 10.1.0.0/16"));
    }
    for (nth, net) in network.cidrs.iter().enumerate() {
        check_range(&field(&format!("cidrs[{nth}]")), *net)?;
    }
    for (nth, tenant) in network.tenants.iter().enumerate() {
        check::id(&field(&format!("tenants[{nth}]")), tenant)?;
    }
    check_labels(&field("labels"), &network.labels)
}

fn check_static_address(field: &str, spec: &StaticAddressSpec) -> Result<(), Error> {
    check::id(&format!("{field}.id"), &spec.id)?;
    if !check::is_unicast(spec.address.into()) {
        let message = format!("{} cannot be a load balancer's; give a unicast address", spec.address);
        return Err(Error::invalid(format!("{field}.address"), message));
    }
    Ok(())
}

/// A range begins with its first address and has addresses that can be routed.
fn check_range(field: &str, net: IpNet) -> Result<(), Error> {
    if net != net.trunc() {
        return Err(Error::invalid(field, format!("{net} is a host and its range; write {}", net.trunc())));
    }
    if net.prefix_len() == 0 || !check::is_unicast(net.network()) || !check::is_unicast(net.broadcast()) {
        return Err(Error::invalid(field, format!("{net} has addresses that no host can have")));
    }
    Ok(())
}

fn check_labels(field: &str, labels: &Labels) -> Result<(), Error> {
    let is_text = |text: &str, max: usize| text.chars().count() <= max && !text.chars().any(char::is_control);
    let good = |key: &str, value: &str| {
        !key.is_empty() && is_text(key, LABEL_KEY_CHARS_MAX) && is_text(value, LABEL_VALUE_CHARS_MAX)
    };
    if labels.len() > LABELS_MAX || !labels.iter().all(|(key, value)| good(key, value)) {
        let message = format!(
            "there are up to {LABELS_MAX} labels with keys of 1 to {LABEL_KEY_CHARS_MAX} and values of up to \
             {LABEL_VALUE_CHARS_MAX} printable characters"
        );
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

/// Networks have no addresses in common, and neither have subnets: all are reached from one appliance, and an address is in one
/// place.
fn check_ranges(document: &rest::Inventory) -> Result<(), Error> {
    let networks = document.networks.iter().enumerate().flat_map(|(at, network)| {
        let field = move |nth| format!("networks[{at}].cidrs[{nth}]");
        network.cidrs.iter().enumerate().map(move |(nth, net)| ((at, nth), *net, field(nth)))
    });
    check_apart(networks.collect())?;
    let subnets = document.subnets.iter().enumerate().flat_map(|(at, subnet)| {
        let ipv6 = subnet.ipv6_cidr.map(|net| ((at, 1), net, format!("subnets[{at}].ipv6Cidr")));
        [((at, 0), subnet.cidr, format!("subnets[{at}].cidr"))].into_iter().chain(ipv6)
    });
    check_apart(subnets.collect())
}

/// No two of these ranges overlap. The one that comes later in the document is at fault.
fn check_apart(mut ranges: Vec<((usize, usize), IpNet, String)>) -> Result<(), Error> {
    // Ranges lie apart or in one another: behind the one that contains it stands one that overlaps with it.
    ranges.sort_by_key(|(_, net, _)| (net.addr().is_ipv6(), net.network(), net.prefix_len()));
    for pair in ranges.windows(2) {
        let [a, b] = pair else { continue };
        if a.1.contains(&b.1) {
            let (first, later) = if a.0 < b.0 { (a, b) } else { (b, a) };
            let message = format!("{} overlaps with {} of {}", later.1, first.1, first.2);
            return Err(wrong(later.2.clone(), message));
        }
    }
    Ok(())
}

/// First and last address of `10.1.0.1` or `10.1.0.1-10.1.0.9`.
pub(super) fn reserved_range(field: &str, text: &str) -> Result<(IpAddr, IpAddr), Error> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    match (address(first), address(last)) {
        (Some(first), Some(last)) if first.is_ipv4() == last.is_ipv4() && first <= last => Ok((first, last)),
        _ => {
            let message = format!(
                "{} is neither an address nor a range; write it like 10.1.0.1 or 10.1.0.1-10.1.0.9",
                Shown(text)
            );
            Err(Error::invalid(field, message))
        }
    }
}

fn list(nets: &[IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

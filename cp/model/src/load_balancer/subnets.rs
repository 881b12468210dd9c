//! Load balancers in subnets of the inventory: which subnets can be used, and which addresses their nodes get (LB-19, LB-21, ZN).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::model::Model;
use crate::resource::{Chosen, LoadBalancer, Node, StaticAddress};
use crate::rest::{IpAddressType, Scheme, SubnetMapping, SubnetSpec, ZoneKind};

/// So many addresses of a subnet must be free where one is chosen (ZN-08).
const FREE_ADDRESSES_MIN: u128 = 8;

/// The subnets that a request names, and the field that it names them in.
pub(super) struct Wanted {
    field: &'static str,
    mappings: Vec<SubnetMapping>,
}

impl Wanted {
    /// What `subnets` and `subnetMappings` of a request say; none if it has neither.
    pub(super) fn of(subnets: &[String], mappings: &[SubnetMapping]) -> Option<Self> {
        let plain = |subnet: &String| SubnetMapping { subnet: subnet.clone(), ..SubnetMapping::default() };
        match (subnets.is_empty(), mappings.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self { field: "subnetMappings", mappings: mappings.to_vec() }),
            _ => Some(Self { field: "subnets", mappings: subnets.iter().map(plain).collect() }),
        }
    }

    fn element(&self, at: usize) -> String {
        format!("{}[{at}]", self.field)
    }

    /// The path of a field of an element, where it has fields.
    fn field(&self, at: usize, name: &str) -> String {
        let element = self.element(at);
        if self.field == "subnets" { element } else { format!("{element}.{name}") }
    }

    /// Whether a load balancer has just these subnets, with what was asked for.
    pub(super) fn is_what(&self, lb: &LoadBalancer) -> bool {
        let has: Vec<SubnetMapping> = lb.nodes.iter().map(mapping).collect();
        let wanted: BTreeSet<_> = self.mappings.iter().map(key).collect();
        wanted == has.iter().map(key).collect()
    }
}

type Key<'m> = (&'m str, Option<&'m str>, Option<IpAddr>, Option<IpAddr>);

/// Addresses count by what they are, not by how they are written.
fn key(mapping: &SubnetMapping) -> Key<'_> {
    let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    let (ipv4, ipv6) = (address(&mapping.private_ipv4_address), address(&mapping.ipv6_address));
    (&mapping.subnet, mapping.allocation_id.as_deref(), ipv4, ipv6)
}

/// What was asked for, for a node to become as it is.
fn mapping(node: &Node) -> SubnetMapping {
    SubnetMapping {
        subnet: node.subnet.clone().unwrap_or_default(),
        allocation_id: node.static_address.as_ref().map(|it| it.allocation_id.clone()),
        private_ipv4_address: (!node.chosen.ipv4).then(|| node.address.to_string()),
        ipv6_address: node.ipv6_address.filter(|_| !node.chosen.ipv6).map(|address| address.to_string()),
    }
}

impl Model {
    /// Gives a load balancer a node in each of these subnets; those that it has are among them and stay as they are (ZN-03, ZN-07).
    ///
    /// # Errors
    /// [`Code::SubnetNotFound`], [`Code::InvalidSubnet`], [`Code::AllocationIdNotFound`], [`Code::AvailabilityZoneNotSupported`],
    /// [`Code::ResourceInUse`], [`Code::InvalidConfigurationRequest`].
    pub(super) fn set_subnets(&self, lb: &mut LoadBalancer, wanted: &Wanted) -> Result<(), Error> {
        if lb.ip_address_type == IpAddressType::Ipv4
            && let Some(at) = wanted.mappings.iter().position(|mapping| mapping.ipv6_address.is_some())
        {
            let message = "only a dualstack load balancer has IPv6 addresses";
            return Err(wrong(wanted.field(at, "ipv6Address"), message));
        }
        let mut zones = BTreeSet::new();
        for (at, mapping) in wanted.mappings.iter().enumerate() {
            let missing = || {
                let message =
                    format!("The subnet ID {} does not exist: the inventory has none", Shown(&mapping.subnet));
                Error::at(Code::SubnetNotFound, wanted.field(at, "subnet"), message)
            };
            let subnet = self.subnet(&mapping.subnet).ok_or_else(missing)?;
            let network = lb.network.get_or_insert_with(|| subnet.network.clone());
            if *network != subnet.network {
                let message = format!(
                    "subnet {} is in network {}, and another one in {}; all subnets of a load balancer are in one network",
                    Shown(&subnet.id),
                    Shown(&subnet.network),
                    Shown(network)
                );
                return Err(wrong(wanted.field(at, "subnet"), message));
            }
            if !zones.insert(&subnet.zone) {
                let message = format!(
                    "A load balancer cannot be attached to multiple subnets in the same Availability Zone: {} is the \
                     second one in {}",
                    Shown(&subnet.id),
                    Shown(&subnet.zone)
                );
                return Err(wrong(wanted.field(at, "subnet"), message));
            }
            match lb.nodes.iter().position(|node| node.zone == subnet.zone) {
                Some(old) => {
                    check_kept(&lb.nodes[old], subnet, wanted, at)?;
                    self.give_ipv6(&mut lb.nodes[old], subnet, wanted, at)?;
                }
                None => lb.nodes.push(self.node_in(lb, subnet, wanted, at)?),
            }
        }
        if let Some(node) = lb.nodes.iter().find(|node| !zones.contains(&node.zone)) {
            let message = format!(
                "zone {} is enabled, and zones cannot be disabled; give its subnet {} as well",
                Shown(&node.zone),
                Shown(node.subnet.as_deref().unwrap_or_default())
            );
            return Err(wrong(wanted.field, message));
        }
        Ok(())
    }

    fn node_in(&self, lb: &LoadBalancer, subnet: &SubnetSpec, wanted: &Wanted, at: usize) -> Result<Node, Error> {
        let field = wanted.field(at, "subnet");
        self.check_zone_of_node(&field, &subnet.zone)?;
        let mapping = &wanted.mappings[at];
        let is_internal = lb.scheme == Scheme::Internal;
        if !is_internal && self.network(&subnet.network).is_some_and(|network| !network.internet_gateway) {
            let message = format!(
                "VPC {} has no internet gateway; an internet-facing load balancer needs one, an internal one does not",
                Shown(&subnet.network)
            );
            return Err(Error::at(Code::InvalidSubnet, field, message));
        }
        let chosen = mapping.private_ipv4_address.is_none();
        if (!is_internal || chosen) && self.free_addresses(&subnet.id) < FREE_ADDRESSES_MIN {
            let message = format!(
                "Not enough IP space available in {}. ELB requires at least {FREE_ADDRESSES_MIN} free IP addresses in each \
                 subnet.",
                subnet.id
            );
            return Err(Error::at(Code::InvalidSubnet, field, message));
        }
        let static_address = match &mapping.allocation_id {
            None => None,
            Some(_) if is_internal => {
                let message = "an internal load balancer has no static addresses; give privateIpv4Address instead";
                return Err(wrong(wanted.field(at, "allocationId"), message));
            }
            Some(id) => Some(self.free_static_address(lb, &wanted.field(at, "allocationId"), id)?),
        };
        let address = match &mapping.private_ipv4_address {
            Some(_) if !is_internal => {
                let message = "the private address of an internet-facing load balancer is chosen; give none";
                return Err(wrong(wanted.field(at, "privateIpv4Address"), message));
            }
            Some(text) => {
                let field = wanted.field(at, "privateIpv4Address");
                let address = check::ipv4(Code::ValidationError, &field, text)?;
                self.check_free(&field, subnet, address.into())?;
                address
            }
            None => self.choose_ipv4(&field, subnet)?,
        };
        let mut node = Node {
            zone: subnet.zone.clone(),
            address,
            ipv6_address: None,
            subnet: Some(subnet.id.clone()),
            chosen: Chosen { ipv4: chosen, ipv6: false },
            static_address,
            secondary_addresses: Vec::new(),
        };
        self.give_ipv6(&mut node, subnet, wanted, at)?;
        Ok(node)
    }

    fn give_ipv6(&self, node: &mut Node, subnet: &SubnetSpec, wanted: &Wanted, at: usize) -> Result<(), Error> {
        let Some(text) = &wanted.mappings[at].ipv6_address else { return Ok(()) };
        let field = wanted.field(at, "ipv6Address");
        let address = check::ipv6(Code::ValidationError, &field, text)?;
        if node.ipv6_address != Some(address) {
            self.check_free(&field, subnet, address.into())?;
            (node.ipv6_address, node.chosen.ipv6) = (Some(address), false);
        }
        Ok(())
    }

    /// Chooses the IPv6 addresses that a dualstack load balancer lacks (IPT-05).
    pub(super) fn choose_ipv6(&self, lb: &mut LoadBalancer) -> Result<(), Error> {
        if lb.ip_address_type != IpAddressType::Dualstack {
            return Ok(());
        }
        for node in lb.nodes.iter_mut().filter(|node| node.ipv6_address.is_none()) {
            let Some(subnet) = node.subnet.as_ref().and_then(|id| self.subnet(id)) else { continue };
            let Some(net) = subnet.ipv6_cidr else {
                let message = format!(
                    "subnet {} has no IPv6 CIDR block; a dualstack load balancer needs one in each of its subnets",
                    Shown(&subnet.id)
                );
                return Err(Error::at(Code::InvalidSubnet, "ipAddressType", message));
            };
            match self.lowest_free(subnet, net) {
                Some(IpAddr::V6(address)) => (node.ipv6_address, node.chosen.ipv6) = (Some(address), true),
                _ => return Err(self.none_free("ipAddressType", subnet, net)),
            }
        }
        Ok(())
    }

    fn choose_ipv4(&self, field: &str, subnet: &SubnetSpec) -> Result<Ipv4Addr, Error> {
        match self.lowest_free(subnet, subnet.cidr) {
            Some(IpAddr::V4(address)) => Ok(address),
            _ => Err(self.none_free(field, subnet, subnet.cidr)),
        }
    }

    fn none_free(&self, field: &str, subnet: &SubnetSpec, net: ipnet::IpNet) -> Error {
        let message = format!(
            "no address of subnet {}, {net}, is both free and in the subnet of a port; the ports have {}",
            Shown(&subnet.id),
            self.port_subnets()
        );
        Error::at(Code::InvalidSubnet, field, message)
    }

    /// An address that was asked for: a host's of the subnet, which nobody has.
    pub(super) fn check_free(&self, field: &str, subnet: &SubnetSpec, address: IpAddr) -> Result<(), Error> {
        let net = if address.is_ipv4() { Some(subnet.cidr) } else { subnet.ipv6_cidr };
        if !net.is_some_and(|net| check::is_host_of(net, address)) {
            let net = net.map_or("has no range of its kind".into(), |net| format!("is {net}"));
            let message = format!("{address} is not a host's address in subnet {}, which {net}", Shown(&subnet.id));
            return Err(Error::at(Code::InvalidSubnet, field, message));
        }
        self.check_node_address(field, address)?;
        if !self.is_free(subnet, address) {
            let message = format!("{address} is reserved, or somebody has it; give one that is free");
            return Err(wrong(field, message));
        }
        Ok(())
    }

    fn free_static_address(&self, lb: &LoadBalancer, field: &str, id: &str) -> Result<StaticAddress, Error> {
        let missing = || {
            let message = format!("The allocation ID {} does not exist: the inventory has none", Shown(id));
            Error::at(Code::AllocationIdNotFound, field, message)
        };
        let spec = self.static_address(id).ok_or_else(missing)?;
        let own = lb.nodes.iter().filter_map(|node| node.static_address.as_ref()).any(|it| it.allocation_id == id);
        if own || self.by_address.contains_key(&spec.address.into()) {
            let message = format!("The allocation IDs are not available for use: {} is in use", Shown(id));
            return Err(Error::at(Code::ResourceInUse, field, message));
        }
        Ok(StaticAddress { allocation_id: spec.id.clone(), address: spec.address })
    }

    /// A zone where load balancers can be, as far as it is declared (ZN-09, ZN-10).
    pub(super) fn check_zone_of_node(&self, field: &str, name: &str) -> Result<(), Error> {
        let message = match self.zone(name) {
            Some(zone) if zone.constrained => {
                format!("Load balancers with type 'network' are not supported in {name}")
            }
            Some(zone) if zone.kind == ZoneKind::LocalZone => {
                format!("{name} is a local zone; load balancers of type 'network' are in availability zones only")
            }
            _ => return Ok(()),
        };
        Err(Error::at(Code::AvailabilityZoneNotSupported, field, message))
    }
}

/// A node that there is stays as it is: what is said of it must be so, but that it may get an IPv6 address.
fn check_kept(node: &Node, subnet: &SubnetSpec, wanted: &Wanted, at: usize) -> Result<(), Error> {
    let mapping = &wanted.mappings[at];
    if node.subnet.as_ref() != Some(&subnet.id) {
        let message = format!(
            "the node in zone {} is in subnet {} and stays there; give that one",
            Shown(&node.zone),
            Shown(node.subnet.as_deref().unwrap_or_default())
        );
        return Err(wrong(wanted.field(at, "subnet"), message));
    }
    let fixed = |name: &str| {
        let message = format!("the addresses of the node in zone {} never change", Shown(&node.zone));
        wrong(wanted.field(at, name), message)
    };
    let has = node.static_address.as_ref().map(|it| &it.allocation_id);
    if mapping.allocation_id.as_ref().is_some_and(|id| Some(id) != has) {
        return Err(fixed("allocationId"));
    }
    if let Some(text) = &mapping.private_ipv4_address {
        let field = wanted.field(at, "privateIpv4Address");
        if check::ipv4(Code::ValidationError, &field, text)? != node.address {
            return Err(fixed("privateIpv4Address"));
        }
    }
    if let (Some(text), Some(old)) = (&mapping.ipv6_address, node.ipv6_address) {
        let field = wanted.field(at, "ipv6Address");
        if check::ipv6(Code::ValidationError, &field, text)? != old {
            return Err(fixed("ipv6Address"));
        }
    }
    Ok(())
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::at(Code::InvalidConfigurationRequest, field, message)
}

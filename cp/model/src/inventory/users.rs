//! What uses the inventory: a part that is in use may not vanish, nor change under its user.

use std::net::IpAddr;

use super::document::field_of;
use super::{State, addresses};
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::model::Model;
use crate::resource::LoadBalancer;
use crate::rest::{self, InstanceSpec, Scheme, StaticAddressSpec};

/// A load balancer's presence in a subnet.
struct Use<'m> {
    user: String,
    zone: &'m str,
    subnet: &'m str,
    addresses: Vec<IpAddr>,
}

impl Model {
    /// The addresses of an instance are no load balancer's, nor this host's.
    pub(super) fn check_instance_is_nobodys(&self, prefix: &str, instance: &InstanceSpec) -> Result<(), Error> {
        for address in addresses(instance) {
            if let Some(owner) = self.node_or_host(address) {
                let message = format!("{address} is an address of {owner}; an instance has addresses of its own");
                let field = format!("{prefix}{}", field_of(instance, address));
                return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
            }
        }
        Ok(())
    }

    /// A static address is nobody's but that of the load balancer that was given it.
    pub(super) fn check_static_address(&self, field: &str, spec: &StaticAddressSpec) -> Result<(), Error> {
        let known = self.static_address(&spec.id).is_some_and(|known| known.address == spec.address);
        match self.node_or_host(spec.address.into()).filter(|_| !known) {
            Some(owner) => {
                let message = format!("{} is an address of {owner}; give one that is free", spec.address);
                Err(Error::at(Code::InvalidConfigurationRequest, field, message))
            }
            None => Ok(()),
        }
    }

    fn node_or_host(&self, address: IpAddr) -> Option<String> {
        let lb = self.by_address.get(&address).and_then(|id| self.load_balancers.get(id)).map(title);
        let port = || self.site.subnets.iter().find(|(_, net)| net.addr() == address);
        lb.or_else(|| port().map(|(port, _)| format!("this host on port {port}")))
    }

    /// Whether everything that is in use stays as it is used.
    ///
    /// # Errors
    /// [`Code::ResourceInUse`], naming the user.
    pub(super) fn check_users(&self, document: &rest::Inventory, new: &State) -> Result<(), Error> {
        for it in self.uses() {
            let at = document.subnets.iter().position(|subnet| subnet.id == it.subnet);
            let Some((at, subnet)) = at.zip(new.subnets.get(it.subnet)) else {
                return Err(in_use("subnets", &format!("subnet {}", Shown(it.subnet)), &it.user));
            };
            let old = self.subnet(it.subnet);
            let field = |name: &str| format!("subnets[{at}].{name}");
            if old.is_some_and(|old| old.network != subnet.network) {
                return Err(in_use(&field("network"), "the network of a subnet", &it.user));
            }
            if subnet.zone != it.zone {
                return Err(in_use(&field("zone"), "the zone of a subnet", &it.user));
            }
            for address in &it.addresses {
                let net = if address.is_ipv4() { Some(subnet.cidr) } else { subnet.ipv6_cidr };
                if !net.is_some_and(|net| check::is_host_of(net, *address)) {
                    let name = if address.is_ipv4() { "cidr" } else { "ipv6Cidr" };
                    return Err(in_use(&field(name), &format!("address {address}"), &it.user));
                }
            }
            let kind = |zone: Option<&rest::Zone>| zone.map(|zone| zone.kind);
            if kind(self.zone(it.zone)) != kind(new.zones.get(it.zone)) {
                let at = document.zones.iter().position(|zone| zone.name == it.zone).unwrap_or(0);
                return Err(in_use(&format!("zones[{at}].kind"), &format!("zone {}", Shown(it.zone)), &it.user));
            }
        }
        for lb in self.load_balancers.values() {
            let network = lb.network.as_ref().and_then(|id| new.networks.get(id));
            if lb.scheme == Scheme::InternetFacing && network.is_some_and(|network| !network.internet_gateway) {
                let at = document.networks.iter().position(|it| Some(&it.id) == lb.network.as_ref()).unwrap_or(0);
                let what = "the internet gateway of a network";
                return Err(in_use(&format!("networks[{at}].internetGateway"), what, &title(lb)));
            }
            for used in lb.nodes.iter().filter_map(|node| node.static_address.as_ref()) {
                let id = &used.allocation_id;
                if new.static_addresses.get(id).is_none_or(|spec| spec.address != used.address) {
                    let at = document.static_addresses.iter().position(|spec| spec.id == *id);
                    let field = at.map_or("staticAddresses".into(), |at| format!("staticAddresses[{at}].address"));
                    return Err(in_use(&field, &format!("static address {}", Shown(id)), &title(lb)));
                }
            }
        }
        for group in self.target_groups.values() {
            if let Some(id) = group.network.as_ref().filter(|id| !new.networks.contains_key(*id)) {
                let user = format!("target group {}", Shown(&group.name));
                return Err(in_use("networks", &format!("network {}", Shown(id)), &user));
            }
        }
        Ok(())
    }

    /// The presences in subnets of load balancers of all kinds.
    fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let network = self.load_balancers.values().flat_map(|lb| {
            lb.nodes.iter().filter_map(move |node| {
                let own = [Some(node.address.into()), node.ipv6_address.map(IpAddr::from)];
                Some(Use {
                    user: title(lb),
                    zone: &node.zone,
                    subnet: node.subnet.as_ref()?,
                    addresses: own.into_iter().flatten().chain(node.secondary_addresses.iter().copied()).collect(),
                })
            })
        });
        let application = self.applications().flat_map(|lb| {
            lb.places.iter().filter_map(move |place| {
                Some(Use {
                    user: format!("application load balancer {}", Shown(&lb.name)),
                    zone: &place.zone,
                    subnet: place.subnet.as_ref()?,
                    addresses: place.addresses().collect(),
                })
            })
        });
        network.chain(application)
    }
}

fn title(lb: &LoadBalancer) -> String {
    match &lb.classic {
        Some(name) => format!("Classic load balancer {}", Shown(name)),
        None => format!("load balancer {}", Shown(&lb.name)),
    }
}

fn in_use(field: &str, what: &str, user: &str) -> Error {
    let message = format!("{what} is used by {user} and must stay as it is; delete that one first");
    Error::at(Code::ResourceInUse, field, message)
}

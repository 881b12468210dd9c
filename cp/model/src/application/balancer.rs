//! Where the proxies of application load balancers are: made, changed and deleted.

use std::collections::BTreeSet;

use super::{Balancer, Place, key};
use crate::attributes::{DELETION_PROTECTION, Subject};
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Model, Now};
use crate::resource::Target;
use crate::rest::{self, Attributes, IpAddressType, NodeSpec, SubnetMapping};
use crate::{check, target};

impl Model {
    pub(crate) fn create_application(
        &mut self,
        fx: &mut Effects,
        request: rest::CreateLoadBalancer,
        id: Id,
        now: Now,
    ) -> Result<(), Error> {
        check::load_balancer_name("name", &request.name)?;
        let (network, places) =
            self.places_of_application(&request.nodes, &request.subnets, &request.subnet_mappings)?;
        let mut lb = Balancer {
            id,
            name: request.name,
            scheme: request.scheme.unwrap_or_default(),
            created_ms: now.wall_ms,
            ip_address_type: request.ip_address_type.unwrap_or_default(),
            network,
            places,
            attributes: request.attributes,
            tags: request.tags,
        };
        self.check_tags(&lb.tags)?;
        lb.attributes = Subject::Application.changed(&Attributes::new(), &lb.attributes)?;
        self.check_application(&lb)?;
        let settings = |lb: &Balancer| (lb.name.clone(), lb.scheme, lb.ip_address_type, lb.places.clone());
        if let Some(old) = self.applications().find(|old| settings(old) == settings(&lb)) {
            fx.id = Some(old.id);
            return Ok(());
        }
        self.check_name_is_free(&lb.name)?;
        self.limits.application_load_balancers(self.applications.balancers.len() + 1)?;
        self.put_application(fx, lb);
        Ok(())
    }

    pub(super) fn modify_application(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        request: &rest::ModifyLoadBalancer,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_application(wanted)?.clone();
        if let Some(ip_address_type) = request.ip_address_type {
            lb.ip_address_type = ip_address_type;
        }
        for (at, change) in request.nodes.iter().enumerate() {
            let field = |name: &str| format!("nodes[{at}].{name}");
            let place = match lb.places.iter_mut().find(|place| place.zone == change.zone) {
                Some(place) => place,
                None => {
                    check::name(&field("zone"), &change.zone)?;
                    lb.places.push(Place { zone: change.zone.clone(), ..Place::default() });
                    lb.places.last_mut().ok_or_else(|| Error::invalid(field("zone"), "there is no such zone"))?
                }
            };
            if let Some(text) = &change.address {
                place.address = Some(check::ipv4(Code::ValidationError, &field("address"), text)?);
            }
            if let Some(text) = &change.ipv6_address {
                place.ipv6_address = Some(check::ipv6(Code::ValidationError, &field("ipv6Address"), text)?);
            }
        }
        if !request.subnets.is_empty() || !request.subnet_mappings.is_empty() {
            let (network, places) = self.places_of_application(&[], &request.subnets, &request.subnet_mappings)?;
            if lb.network.is_some() && lb.network != network {
                let message =
                    format!("the subnets are not in the load balancer's network {}", lb.network.unwrap_or_default());
                return Err(Error::at(Code::InvalidSubnet, "subnets", message));
            }
            (lb.network, lb.places) = (network, places);
        }
        if lb.ip_address_type == IpAddressType::Ipv4 {
            lb.places.iter_mut().for_each(|place| place.ipv6_address = None);
        }
        self.check_application(&lb)?;
        let arn = ids::application_arn(&self.site, &lb.name, lb.id);
        self.put_application(fx, lb);
        self.follow_proxy(fx, &arn, now)
    }

    pub(super) fn delete_application(&mut self, fx: &mut Effects, wanted: &str) -> Result<(), Error> {
        let Some(lb) = self.application(wanted) else { return Ok(()) };
        let (id, arn) = (lb.id, ids::application_arn(&self.site, &lb.name, lb.id));
        if Subject::Application.value(&lb.attributes, DELETION_PROTECTION) == "true" {
            let message = format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled; disable it first"
            );
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        let names = |target: &&Target| target.is_registered() && target.name.as_deref() == Some(&arn);
        if let Some(group) = self.targets.values().find(names).and_then(|target| self.target_groups.get(&target.group))
        {
            let message = format!(
                "Load balancer '{arn}' cannot be deleted because it is a target of target group {}; deregister it first",
                Shown(&group.name)
            );
            return Err(Error::new(Code::ResourceInUse, message));
        }
        let listeners: Vec<Id> = self.application_listeners(id).iter().map(|listener| listener.id).collect();
        listeners.into_iter().for_each(|listener| self.remove_application_listener(fx, listener));
        self.applications.balancers.remove(&id.to_string());
        fx.touch(key(id));
        Ok(())
    }

    /// Traffic to the load balancer as a target goes where the proxy is now.
    fn follow_proxy(&mut self, fx: &mut Effects, arn: &str, now: Now) -> Result<(), Error> {
        let addresses = self.application_addresses(arn)?.1;
        let named = |target: &&Target| target.is_registered() && target.name.as_deref() == Some(arn);
        let groups: BTreeSet<(Id, u16)> = self.targets.values().filter(named).map(|it| (it.group, it.port)).collect();
        for (group, port) in groups {
            let wanted = target::of_application(arn, port, &addresses);
            let left =
                self.targets_of(group).filter(named).filter(|it| !wanted.iter().any(|to| to.address == it.address));
            let left: Vec<u16> = left.map(|target| target.slot).collect();
            left.into_iter().for_each(|slot| self.drain(fx, slot, now));
            wanted.into_iter().try_for_each(|target| self.register(fx, group, target, now))?;
        }
        Ok(())
    }

    fn check_application(&self, lb: &Balancer) -> Result<(), Error> {
        let mut addresses = BTreeSet::new();
        let mut zones = BTreeSet::new();
        for (at, place) in lb.places.iter().enumerate() {
            let field = format!("nodes[{at}]");
            if !zones.insert(&place.zone) {
                let message = format!(
                    "A load balancer cannot be attached to multiple subnets in the same Availability Zone: {} is given twice",
                    Shown(&place.zone)
                );
                return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
            }
            for address in place.addresses() {
                let why = if !check::is_unicast(address) {
                    "cannot be a proxy's; give a unicast address"
                } else if self.is_node(address) {
                    "is an address of a network load balancer; give that of the proxy"
                } else if !addresses.insert(address) {
                    "is given twice"
                } else if address.is_ipv6() && lb.ip_address_type == IpAddressType::Ipv4 {
                    "is for load balancers of address type dualstack only"
                } else {
                    continue;
                };
                let message = format!("{address} {why}");
                return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
            }
        }
        Ok(())
    }

    /// Network and places that a request names in one of three ways.
    fn places_of_application(
        &self,
        nodes: &[NodeSpec],
        subnets: &[String],
        mappings: &[SubnetMapping],
    ) -> Result<(Option<String>, Vec<Place>), Error> {
        let given = [nodes.is_empty(), subnets.is_empty(), mappings.is_empty()];
        if given.into_iter().filter(|empty| !empty).count() != 1 {
            let message = "give exactly one of nodes, subnets and subnetMappings, with one element for each zone";
            return Err(Error::invalid("subnets", message));
        }
        if !nodes.is_empty() {
            let places = nodes.iter().enumerate().map(|(at, node)| place_of_node(at, node));
            return Ok((None, places.collect::<Result<_, _>>()?));
        }
        let plain = subnets.iter().map(|subnet| SubnetMapping { subnet: subnet.clone(), ..Default::default() });
        let mut network: Option<&str> = None;
        let mut places = Vec::new();
        for (at, mapping) in mappings.iter().cloned().chain(plain).enumerate() {
            let field = format!("{}[{at}]", if mappings.is_empty() { "subnets" } else { "subnetMappings" });
            let Some(subnet) = self.inventory.subnets.get(&mapping.subnet) else {
                let message = format!("The subnet ID {} is not valid: the inventory has none", Shown(&mapping.subnet));
                return Err(Error::at(Code::SubnetNotFound, field, message));
            };
            if network.is_some_and(|network| network != subnet.network) {
                let message = format!("subnet {} is in another network than the first one", Shown(&subnet.id));
                return Err(Error::at(Code::InvalidSubnet, field, message));
            }
            network = Some(&subnet.network);
            if mapping.allocation_id.is_some() {
                let message = "application load balancers have no static addresses";
                return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
            }
            let ipv4 = |text: &String| check::ipv4(Code::ValidationError, &field, text);
            let ipv6 = |text: &String| check::ipv6(Code::ValidationError, &field, text);
            let place = Place {
                zone: subnet.zone.clone(),
                subnet: Some(subnet.id.clone()),
                address: mapping.private_ipv4_address.as_ref().map(ipv4).transpose()?,
                ipv6_address: mapping.ipv6_address.as_ref().map(ipv6).transpose()?,
            };
            let inside = |address| {
                [Some(subnet.cidr), subnet.ipv6_cidr].iter().flatten().any(|net| check::is_host_of(*net, address))
            };
            if let Some(address) = place.addresses().find(|address| !inside(*address)) {
                let message = format!("{address} is not a host's address in subnet {}", Shown(&subnet.id));
                return Err(Error::at(Code::InvalidSubnet, field, message));
            }
            places.push(place);
        }
        Ok((network.map(str::to_owned), places))
    }
}

fn place_of_node(at: usize, node: &NodeSpec) -> Result<Place, Error> {
    let field = |name: &str| format!("nodes[{at}].{name}");
    check::name(&field("zone"), &node.zone)?;
    if !node.secondary_addresses.is_empty() {
        let message =
            "a proxy has one address of each kind in a zone; secondary addresses are for network load balancers";
        return Err(Error::invalid(field("secondaryAddresses"), message));
    }
    let ipv6 = |text: &String| check::ipv6(Code::ValidationError, &field("ipv6Address"), text);
    Ok(Place {
        zone: node.zone.clone(),
        subnet: None,
        address: Some(check::ipv4(Code::ValidationError, &field("address"), &node.address)?),
        ipv6_address: node.ipv6_address.as_ref().map(ipv6).transpose()?,
    })
}

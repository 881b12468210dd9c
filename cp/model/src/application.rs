//! Application load balancers: proxies of requests that stand elsewhere (ALBT). They are kept so that they can be described, and be
//! targets of target groups of type `alb`; nothing here forwards a request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Kind, Model, Now, RecordKey};
use crate::rest::{self, Attributes, IpAddressType, NodeSpec, Scheme, SubnetMapping, Tags};
use crate::{check, view};

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

/// A listener of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Id.
    pub id: Id,
    /// Its load balancer.
    pub load_balancer: Id,
}

/// A rule of such a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Id.
    pub id: Id,
    /// Its listener.
    pub listener: Id,
}

/// A change of application load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {}

fn key(id: Id) -> RecordKey {
    RecordKey::Object(Kind::Application, id.to_string())
}

impl Model {
    pub(crate) fn change_applications(&mut self, _: &mut Effects, change: Change, _: Now) -> Result<(), Error> {
        match change {}
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
    pub(crate) fn application_addresses(&self, arn: &str) -> Result<(&Balancer, Vec<(String, IpAddr)>), Error> {
        let found = self.application(arn).filter(|_| arn.starts_with("arn:"));
        let lb = found.ok_or_else(|| {
            let message = format!("{} is not the ARN of an application load balancer", Shown(arn));
            Error::new(Code::InvalidTarget, message)
        })?;
        let of = |place: &Place| place.addresses().map(|address| (place.zone.clone(), address)).collect::<Vec<_>>();
        Ok((lb, lb.places.iter().flat_map(of).collect()))
    }

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
        let lb = Balancer {
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
        self.check_application(&lb)?;
        if let Some(old) = self.applications().find(|old| old.name == lb.name) {
            if (old.scheme, old.ip_address_type, &old.places) == (lb.scheme, lb.ip_address_type, &lb.places) {
                fx.id = Some(old.id);
                return Ok(());
            }
        }
        self.check_name_is_free(&lb.name)?;
        self.limits.application_load_balancers(self.applications.balancers.len() + 1)?;
        self.applications.balancers.insert(id.to_string(), lb);
        fx.touch(key(id));
        fx.id = Some(id);
        Ok(())
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

    /// As the API shows it.
    pub fn show_application(&self, lb: &Balancer) -> rest::LoadBalancer {
        let zone = |place: &Place| rest::AvailabilityZone {
            zone_name: place.zone.clone(),
            subnet: place.subnet.clone(),
            allocation_id: None,
            private_ipv4_address: place.address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            addresses: place.addresses().collect(),
            secondary_addresses: Vec::new(),
        };
        rest::LoadBalancer {
            arn: ids::application_arn(&self.site, &lb.name, lb.id),
            id: lb.id.to_string(),
            name: lb.name.clone(),
            kind: rest::LoadBalancerType::Application,
            scheme: lb.scheme,
            state: rest::LoadBalancerState { code: "active".into(), reason: Some(ELSEWHERE.into()) },
            created_time: view::rfc3339(lb.created_ms),
            dns_name: format!("{}-{}.elb.{}.{}", lb.name, lb.id, self.site.region, self.site.dns_domain),
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

//! The names of load balancers and the addresses that they stand for, as the DNS server is to answer (DNS-01 to DNS-11, S16.8).
//!
//! `<name>` stands for one address per zone that serves, `<zone>.<name>` for that zone's always. What is answered follows the model at
//! once, but that a zone that has left or come comes back not before [`HOLD_MS`] later ([`Hold`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

mod hold;

pub use hold::{HOLD_MS, Hold};

use crate::ids::Id;
use crate::model::{Model, Site};
use crate::resource::{LoadBalancer, Node};
use crate::rest;

/// How long clients may keep an answer, in seconds (DNS-04, TGH-08).
pub const TTL_S: u32 = 60;
/// How long they may keep that there is nothing, in seconds: the name of a new load balancer is soon found.
pub const NEGATIVE_TTL_S: u32 = 10;

/// The zone of DNS that all names of a site are in: what comes behind the last label with a name or an id. Empty: names have no such
/// part.
pub fn apex(site: &Site) -> String {
    let labels: Vec<&str> = site.dns_name_format.split('.').collect();
    let own = labels.iter().rposition(|label| label.contains("{name}") || label.contains("{id}"));
    let behind = &labels[own.map_or(0, |at| at + 1)..];
    behind.join(".").replace("{region}", &site.region).to_ascii_lowercase()
}

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameServers {
    /// Their names, without a dot at their ends; empty: one, `ns.<apex>`.
    pub names: Vec<String>,
    /// The addresses of `ns.<apex>`.
    pub addresses: Vec<IpAddr>,
}

/// All names at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    apex: String,
    name_servers: Vec<String>,
    serial: u32,
    /// By name, in small letters. Without addresses: the name exists only.
    names: HashMap<String, Vec<IpAddr>>,
    shown: Vec<rest::DnsName>,
}

/// What there is to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'d> {
    /// It is the zone's own.
    Apex,
    /// It exists, with these addresses of both kinds, or none.
    Addresses(&'d [IpAddr]),
    /// It does not exist.
    Nothing,
    /// It is outside the zone.
    Outside,
}

impl Directory {
    /// Finds a name, in small letters and without a dot at its end.
    pub fn find(&self, name: &str) -> Found<'_> {
        if name == self.apex {
            return Found::Apex;
        }
        match self.names.get(name) {
            Some(addresses) => Found::Addresses(addresses),
            None if name.strip_suffix(&self.apex).is_some_and(|rest| rest.ends_with('.')) => Found::Nothing,
            None => Found::Outside,
        }
    }

    /// The zone of DNS.
    pub fn apex(&self) -> &str {
        &self.apex
    }

    /// The names of its servers, one at the least.
    pub fn name_servers(&self) -> &[String] {
        &self.name_servers
    }

    /// Grows with the configuration.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The names of load balancers, as the API shows them.
    pub fn shown(&self) -> &[rest::DnsName] {
        &self.shown
    }

    /// Adds a name, and those between it and the apex, which exist then.
    fn add(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let name = name.to_ascii_lowercase();
        let mut above = name.as_str();
        while let Some((_, rest)) = above.split_once('.').filter(|(_, rest)| *rest != self.apex) {
            self.names.entry(rest.to_owned()).or_default();
            above = rest;
        }
        self.names.entry(name).or_default().extend(addresses);
    }

    fn show(&mut self, name: String, load_balancer: &str, zone: Option<(&str, bool)>, addresses: Vec<IpAddr>) {
        self.add(&name, addresses.iter().copied());
        self.shown.push(rest::DnsName {
            name,
            load_balancer: load_balancer.to_owned(),
            zone: zone.map(|(zone, _)| zone.to_owned()),
            addresses,
            included: zone.map(|(_, included)| included),
        });
    }
}

/// Makes directories of models, and remembers what the last one said of each zone.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    name_servers: NameServers,
    holds: BTreeMap<Id, Hold>,
}

impl Directories {
    /// Of a server.
    pub fn new(name_servers: NameServers) -> Self {
        Self { name_servers, holds: BTreeMap::new() }
    }

    /// What is to be answered from now on, and when it changes though the model does not (both on the monotonic clock, in
    /// milliseconds).
    pub fn make(&mut self, model: &Model, now_ms: u64) -> (Directory, Option<u64>) {
        let apex = apex(model.site());
        let own = format!("ns.{apex}");
        let NameServers { names, addresses } = &self.name_servers;
        let name_servers = if names.is_empty() { vec![own.clone()] } else { names.clone() };
        // The lower half: serial numbers go around.
        let serial = model.epoch() as u32;
        let mut directory = Directory { apex, name_servers, serial, ..Directory::default() };
        if directory.name_servers.contains(&own) {
            directory.add(&own, addresses.iter().copied());
        }
        let mut due: Option<u64> = None;
        let mut balancers: Vec<&LoadBalancer> = model.load_balancers().filter(|lb| lb.failed.is_none()).collect();
        balancers.sort_by_key(|lb| &lb.name);
        self.holds.retain(|id, _| model.load_balancer(*id).is_some());
        for lb in balancers {
            let name = model.dns_name(&lb.name, lb.id);
            let included = if lb.active {
                let serving: BTreeSet<&str> = model.nodes_in_dns(lb).iter().map(|node| node.zone.as_str()).collect();
                let zones = lb.nodes.iter().map(|node| (node.zone.as_str(), serving.contains(node.zone.as_str())));
                let hold = self.holds.entry(lb.id).or_default();
                due = due.into_iter().chain(hold.turn(zones, now_ms)).min();
                hold.included().collect()
            } else {
                BTreeSet::new()
            };
            let is_in = |node: &&Node| included.contains(node.zone.as_str());
            directory.show(
                name.clone(),
                &lb.name,
                None,
                lb.nodes.iter().filter(is_in).flat_map(Node::addresses).collect(),
            );
            for node in &lb.nodes {
                let addresses = if lb.active { node.addresses().collect() } else { Vec::new() };
                let zone = (node.zone.as_str(), included.contains(node.zone.as_str()));
                directory.show(format!("{}.{name}", node.zone), &lb.name, Some(zone), addresses);
            }
        }
        // What stands elsewhere is not checked here.
        for lb in model.applications() {
            let name = model.dns_name(&lb.name, lb.id);
            directory.show(name.clone(), &lb.name, None, lb.places.iter().flat_map(|it| it.addresses()).collect());
            for place in &lb.places {
                let addresses: Vec<IpAddr> = place.addresses().collect();
                let zone = (place.zone.as_str(), !addresses.is_empty());
                directory.show(format!("{}.{name}", place.zone), &lb.name, Some(zone), addresses);
            }
        }
        (directory, due)
    }
}

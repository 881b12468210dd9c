//! Model, routes and the data plane's ports → snapshot. A pure function but for a cache of Maglev tables.
#![forbid(unsafe_code)]

pub mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use leat_abi::flow::protocol;
use leat_abi::snapshot::{
    Endpoint, Group, Limits, Listener, Local, LocalKind, NextHop, SOURCES_MAX, Snapshot, Target, TargetState,
};
use leat_model::forward::Treatment;
use leat_model::maglev::{self, Candidate};
use leat_model::resource::{Node, TargetGroup};
use leat_model::rest::{Protocol, TargetAddressType};
use leat_model::{Id, Model};

use crate::view::NetView;

/// What the data plane can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its ports' names, in its order.
    pub ports: Vec<String>,
    /// What its indices may be.
    pub limits: Limits,
}

/// Places in all tables together, at the most: 8 MiB of a snapshot, 64 tables of groups with up to 655 targets. With more groups than
/// fit, all tables are compact.
const PLACES_MAX: usize = 4 << 20;

/// The Maglev tables that were built last. A table is a pure function of its candidates, its size and the key, so a kept one is as
/// good as a new one.
#[derive(Debug, Default)]
pub struct TableCache {
    /// By group and node.
    tables: HashMap<(Id, u8), Table>,
}

#[derive(Debug)]
struct Table {
    key: [u64; 2],
    size: usize,
    candidates: Vec<Candidate>,
    slots: Arc<Vec<u16>>,
}

impl TableCache {
    fn table(&mut self, group: (Id, u8), key: [u64; 2], candidates: Vec<Candidate>, size: usize) -> Arc<Vec<u16>> {
        let wanted = (key, size, &candidates);
        let known = self.tables.get(&group).filter(|table| (table.key, table.size, &table.candidates) == wanted);
        if let Some(table) = known {
            return table.slots.clone();
        }
        let slots = Arc::new(maglev::build(key, &candidates, size));
        self.tables.insert(group, Table { key, size, candidates, slots: slots.clone() });
        slots
    }
}

/// What a node may choose from.
#[derive(Debug, Default, PartialEq)]
struct Choice {
    candidates: Vec<Candidate>,
    /// How many there can be in any mode.
    count: usize,
}

/// A snapshot and what could not be put into it.
#[derive(Debug)]
pub struct Compiled {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The model's epoch.
    pub epoch: u64,
    /// What is configured but cannot work, in words for people.
    pub problems: Vec<String>,
}

/// Compiles everything. `ports` are the names that [`NetView`]'s indices stand for.
pub fn compile(
    model: &Model,
    view: &NetView,
    ports: &[String],
    shape: &Shape,
    generation: u64,
    cache: &mut TableCache,
) -> Compiled {
    let mut problems = Vec::new();
    let port_number = |name: &str| shape.ports.iter().position(|port| port == name).and_then(|n| u8::try_from(n).ok());
    let port_at = |index: usize| ports.get(index).and_then(|name| port_number(name));

    let mut locals = Vec::new();
    let mut seen: HashSet<IpAddr> = HashSet::new();
    for lb in model.load_balancers().filter(|lb| lb.failed.is_none()) {
        for (address, place) in lb.nodes.iter().flat_map(Node::all_addresses_and_places) {
            let port = model.port_of(place).or(ports.first().map(String::as_str));
            match port.and_then(port_number) {
                Some(port) => {
                    if seen.insert(address) {
                        locals.push(Local { address, kind: LocalKind::Node, port });
                    }
                }
                None => problems.push(format!(
                    "load balancer {}: the data plane has no port {} for its address {address}; start leat-dp with that \
                     --port, or leat-cp with a --port-address whose subnet contains the address",
                    lb.name,
                    port.unwrap_or("at all"),
                )),
            }
        }
    }
    let nodes = seen.clone();
    let own = model.site().subnets.iter().map(|(port, net)| (port_number(port), net.addr()));
    let found = view.host_addresses.iter().map(|(index, address)| (port_at(*index), *address));
    for (port, address) in own.chain(found) {
        if let Some(port) = port
            && seen.insert(address)
        {
            locals.push(Local { address, kind: LocalKind::Host, port });
        }
    }
    let mut endpoints = Vec::new();
    for (name, id) in &model.site().endpoints {
        match port_number(name) {
            Some(port) => endpoints.push(Endpoint { port, id: id.clone() }),
            None => problems.push(format!("endpoint {id}: the data plane has no port {name}")),
        }
    }

    let fits = |slot: u16| slot < shape.limits.targets_max;
    // Nodes that may choose the same targets share a table: across zones all do.
    let mut tables: BTreeMap<(Id, u8), Choice> = BTreeMap::new();
    for listener in model.listeners() {
        let nodes = model.load_balancer(listener.load_balancer).map_or(0, |lb| lb.nodes.len() as u8);
        for node in 0..nodes {
            tables.entry((listener.target_group, node)).or_insert_with(|| {
                let mut candidates = model.candidates(listener.target_group, node);
                candidates.retain(|candidate| fits(candidate.slot));
                Choice { candidates, count: model.usable_count(listener.target_group, node) }
            });
        }
    }
    let numbers: BTreeMap<(Id, u8), u8> = tables
        .iter()
        .map(|((group, node), choice)| {
            let first = tables.range((*group, 0)..).find(|((_, other), same)| other == node || *same == choice);
            ((*group, *node), first.map_or(*node, |((_, first), _)| *first))
        })
        .collect();
    let distinct = tables.iter().filter(|(key, _)| numbers.get(key) == Some(&key.1));
    let places = distinct.map(|(_, choice)| maglev::size(choice.count, false)).sum::<usize>();
    let compact = places > PLACES_MAX;
    let mut groups = Vec::new();
    let mut group_numbers: BTreeMap<(Id, u8), u16> = BTreeMap::new();
    let mut listeners = Vec::new();
    for listener in model.listeners() {
        let Some(lb) = model.load_balancer(listener.load_balancer) else { continue };
        let group = model.target_group(listener.target_group);
        let kind = group.map_or(TargetAddressType::Ipv4, |group| group.ip_address_type);
        for place in &listener.slots {
            let node = (0u8..).zip(&lb.nodes).find(|(_, node)| node.addresses().any(|it| it == place.address));
            let Some((number, node)) = node else { continue };
            let sources = node.sources(kind).filter(|source| nodes.contains(source));
            let sources: Vec<IpAddr> = sources.take(SOURCES_MAX).collect();
            if sources.is_empty() || !nodes.contains(&place.address) {
                continue;
            }
            if place.slot >= shape.limits.listeners_max {
                problems.push(format!(
                    "the {} listener on {} port {} has number {}, and the data plane has room for {}; start leat-dp with a \
                     larger --listeners-max",
                    place.protocol, place.address, listener.port, place.slot, shape.limits.listeners_max
                ));
                continue;
            }
            let key = (listener.target_group, numbers.get(&(listener.target_group, number)).copied().unwrap_or(number));
            let group = *group_numbers.entry(key).or_insert_with(|| {
                let choice = tables.remove(&key).unwrap_or_default();
                let size = maglev::size(choice.count, compact);
                let table = cache.table(key, model.selection_key(), choice.candidates, size);
                groups.push(Group {
                    preserve_client_ip: group.is_some_and(TargetGroup::preserves_client_ip),
                    sticky: group.is_some_and(TargetGroup::is_sticky),
                    proxy_protocol: group.is_some_and(TargetGroup::has_proxy_protocol),
                    id: listener.target_group.0,
                    table: table.to_vec(),
                });
                (groups.len() - 1) as u16
            });
            listeners.push(Listener {
                slot: place.slot,
                vip: place.address,
                port: listener.port,
                protocol: if place.protocol == Protocol::Tcp { protocol::TCP } else { protocol::UDP },
                node: number,
                group,
                sources,
            });
        }
    }
    cache.tables.retain(|key, _| group_numbers.contains_key(key));

    let mut left_out = 0;
    let mut targets = Vec::new();
    // An application load balancer whose addresses were not told has none.
    for (target, treatment) in model.treatments().filter(|(target, _)| !target.address.is_unspecified()) {
        if !fits(target.slot) {
            left_out += 1;
            continue;
        }
        let next_hop = view.next_hops.get(&target.address);
        targets.push(Target {
            slot: target.slot,
            generation: target.generation,
            state: match treatment {
                Treatment::Active => TargetState::Active,
                Treatment::Draining => TargetState::Draining,
                Treatment::UnhealthyAt(_) => TargetState::UnhealthyInPart,
                Treatment::Unhealthy => TargetState::Unhealthy,
                Treatment::Terminate => TargetState::Terminate,
                Treatment::Withdrawn => TargetState::Withdrawn,
            },
            address: target.address,
            port: target.port,
            next_hop: next_hop.and_then(|hop| Some(NextHop { port: port_at(hop.port)?, mac: hop.mac })),
            unhealthy_at: if let Treatment::UnhealthyAt(nodes) = treatment { nodes } else { 0 },
        });
    }
    if left_out > 0 {
        let room = shape.limits.targets_max;
        problems.push(format!(
            "{left_out} targets get no traffic: the data plane has room for {room}; start leat-dp with a larger --targets-max"
        ));
    }
    let snapshot = Snapshot {
        generation,
        selection_key: model.selection_key(),
        locals,
        listeners,
        groups,
        targets,
        endpoints,
        hairpin_next_target: model.site().hairpin_next_target,
        sticky_by_64: model.site().sticky_by_64,
    };
    Compiled { snapshot, epoch: model.epoch(), problems }
}

#[cfg(test)]
mod tests;

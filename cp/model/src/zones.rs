//! Which zones' addresses the names of a load balancer stand for (S16.8): those in which it serves, or all when it serves in none.

use crate::ids::Id;
use crate::model::Model;
use crate::resource::{LoadBalancer, Node};
use crate::rest;

/// A zone of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone<'m> {
    /// Its node.
    pub node: &'m Node,
    /// Why it does not serve; none: it does.
    pub out: Option<Out>,
}

/// Why a zone does not serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Out {
    /// Its port, of this name, has no link (TGH-14).
    Port(String),
    /// A zonal shift moves traffic away from it (ZS-01).
    Shifted,
    /// Too few of this group's targets are healthy for it (TGH-02, TGH-09, DNS-06).
    Group(Id),
}

impl Model {
    /// The zones of a load balancer, in the order of its nodes.
    pub fn zones_of<'m>(&'m self, lb: &'m LoadBalancer) -> impl Iterator<Item = Zone<'m>> {
        let nodes = (0u8..).zip(&lb.nodes);
        nodes.map(move |(number, node)| Zone { node, out: self.out_of(lb, number, node) })
    }

    fn out_of(&self, lb: &LoadBalancer, number: u8, node: &Node) -> Option<Out> {
        if let Some(port) = self.port_of(node.address.into()).filter(|port| self.ports_down.contains(*port)) {
            return Some(Out::Port(port.to_owned()));
        }
        if self.shifted_zone(lb.id) == Some(&node.zone) {
            return Some(Out::Shifted);
        }
        let mut groups = self.listeners_of(lb.id).filter_map(|listener| self.target_groups.get(&listener.target_group));
        let failing = groups.find(|group| {
            let (healthy, registered) = self.count(group.id, number);
            group.leaves_dns(healthy, registered)
        });
        failing.map(|group| Out::Group(group.id))
    }

    /// The nodes whose addresses DNS is to name: of the zones that serve, or of all (TGH-10, ZS-11).
    pub fn nodes_in_dns<'m>(&'m self, lb: &'m LoadBalancer) -> Vec<&'m Node> {
        let zones: Vec<Zone<'_>> = self.zones_of(lb).collect();
        let serving: Vec<&Node> = zones.iter().filter(|zone| zone.out.is_none()).map(|zone| zone.node).collect();
        if serving.is_empty() { lb.nodes.iter().collect() } else { serving }
    }

    /// The ports without a link.
    pub fn ports_down(&self) -> &std::collections::BTreeSet<String> {
        &self.ports_down
    }

    pub(crate) fn show_zone(&self, zone: &Zone<'_>) -> rest::ZoneHealth {
        let reason = zone.out.as_ref().map(|out| self.describe_out(out));
        rest::ZoneHealth { healthy: zone.out.is_none(), reason }
    }

    /// Why a zone does not serve, in words.
    pub(crate) fn describe_out(&self, out: &Out) -> String {
        match out {
            Out::Port(port) => format!("port {port} has no link"),
            Out::Shifted => "a zonal shift moves traffic away".into(),
            Out::Group(group) => {
                let name = self.target_groups.get(group).map_or("", |group| &group.name);
                format!("too few targets of {name} are healthy")
            }
        }
    }
}

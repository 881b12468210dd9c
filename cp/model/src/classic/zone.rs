//! Zones and subnets of Classic load balancers: the nodes of the hidden load balancer. Other than those of a network load balancer
//! they can be taken away.

use std::collections::BTreeMap;

use super::Balancer;
use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Model, Now};
use crate::resource::Node;
use crate::rest::{self, SubnetSpec};

impl Model {
    /// The zones in which it has nodes.
    pub fn classic_zones<'m>(&'m self, lb: &Balancer) -> impl Iterator<Item = &'m str> + use<'m> {
        self.load_balancers.get(&lb.id).into_iter().flat_map(|carrier| &carrier.nodes).map(|node| node.zone.as_str())
    }

    /// Id of its network.
    pub fn classic_network<'m>(&'m self, lb: &Balancer) -> Option<&'m str> {
        self.load_balancers.get(&lb.id).and_then(|carrier| carrier.network.as_deref())
    }

    /// A subnet in each of these zones, all in one network: the first by id. Without a network there must be only one that has them.
    pub(super) fn subnets_of_zones(&self, zones: &[String], network: Option<&str>) -> Result<Vec<String>, Error> {
        let mut by_network: BTreeMap<&str, BTreeMap<&str, &SubnetSpec>> = BTreeMap::new();
        for subnet in self.inventory.subnets.values().filter(|subnet| network.is_none_or(|id| subnet.network == id)) {
            by_network.entry(&subnet.network).or_default().entry(&subnet.zone).or_insert(subnet);
        }
        let of = |found: &BTreeMap<&str, &SubnetSpec>| -> Option<Vec<String>> {
            zones.iter().map(|zone| found.get(zone.as_str()).map(|subnet| subnet.id.clone())).collect()
        };
        let fields = "AvailabilityZones";
        match &by_network.values().filter_map(of).collect::<Vec<_>>()[..] {
            [subnets] => Ok(subnets.clone()),
            [] if zones.is_empty() => Ok(Vec::new()),
            [] => {
                let shown: Vec<String> = zones.iter().map(|zone| Shown(zone).to_string()).collect();
                let message = format!(
                    "Invalid availability zone(s): the inventory has no network with a subnet in each of {}",
                    shown.join(", ")
                );
                Err(Error::invalid(fields, message))
            }
            _ => {
                let message = "several networks have subnets in these zones; name the subnets instead";
                Err(Error::invalid(fields, message))
            }
        }
    }

    pub(super) fn add_classic_subnets(
        &mut self,
        fx: &mut Effects,
        lb: Balancer,
        subnets: Vec<String>,
        now: Now,
    ) -> Result<(), Error> {
        let present = |id: &String| {
            self.carrier_of(&lb).is_some_and(|it| it.nodes.iter().any(|node| node.subnet.as_ref() == Some(id)))
        };
        let mut all: Vec<String> = subnets.into_iter().filter(|id| !present(id)).collect();
        if !all.is_empty() {
            let old = self.carrier_of(&lb).into_iter().flat_map(|carrier| &carrier.nodes);
            all.splice(..0, old.filter_map(|node| node.subnet.clone()).collect::<Vec<_>>());
            let request = rest::ModifyLoadBalancer { subnets: all, ..rest::ModifyLoadBalancer::default() };
            self.as_shown(&lb, |model| model.modify_load_balancer(fx, &lb.id.to_string(), &request))?;
        }
        self.put_classic(fx, lb, now)
    }

    pub(super) fn remove_classic_nodes(
        &mut self,
        fx: &mut Effects,
        name: &str,
        now: Now,
        goes: impl Fn(&Node) -> bool,
    ) -> Result<(), Error> {
        let lb = self.find_classic(name)?.clone();
        let Some(mut carrier) = self.carrier_of(&lb).cloned() else { return Ok(()) };
        let before = carrier.nodes.len();
        carrier.nodes.retain(|node| !goes(node));
        if carrier.nodes.is_empty() {
            let message = "a load balancer keeps one zone at the least; enable another one before";
            return Err(Error::at(Code::InvalidConfigurationRequest, "AvailabilityZones", message));
        }
        if carrier.nodes.len() != before {
            self.put_load_balancer(fx, carrier)?;
        }
        self.put_classic(fx, lb, now)
    }

    /// Does something with the hidden load balancer that is only done with those that are shown.
    fn as_shown<T>(&mut self, lb: &Balancer, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let hide = |model: &mut Self, classic: Option<String>| {
            if let Some(carrier) = model.load_balancers.get_mut(&lb.id) {
                carrier.classic = classic;
            }
        };
        hide(self, None);
        let done = work(self);
        hide(self, Some(lb.name.clone()));
        done
    }
}

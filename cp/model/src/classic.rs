//! Classic load balancers (CLB): what they say, carried by a network load balancer and target groups that are not shown.
//!
//! Each has one hidden [`LoadBalancer`] of its name, with a node in each of its zones, and one hidden target group for each port of
//! its instances; `classic` says whose they are. A change of the Classic load balancer changes them in the same command. Every
//! instance is a target of each group as long as its zone is one of the load balancer's.
//!
//! What differs from network load balancers: targets see the node's address; an instance has to pass as many checks as the healthy
//! threshold says before it has flows, also at first, and no instance has any while none is in service; connections of a
//! deregistered instance end at once, or when draining is over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

mod instance;
mod listener;
mod policy;
mod settings;
mod zone;
pub use instance::InstanceHealth;
pub use listener::{Listener, ListenerSpec};
pub use policy::{POLICY_ATTRIBUTE, POLICY_TYPE, Policy};
pub use settings::{AttributeChanges, Attributes, HealthCheck, HealthCheckSpec, SELECTOR};

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::{Effects, Kind, LoadError, Model, Now, RecordKey};
use crate::resource::{LoadBalancer, TargetGroup};
use crate::rest::{self, Labels, Scheme, Tags};

/// A Classic load balancer, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balancer {
    /// Name, unique among all load balancers.
    pub name: String,
    /// Id of the network load balancer that carries its traffic.
    pub id: Id,
    /// Its listeners, by port.
    pub listeners: BTreeMap<u16, Listener>,
    /// How its instances are checked.
    pub health_check: HealthCheck,
    /// Ids of the instances that were registered.
    #[serde(default)]
    pub instances: BTreeSet<String>,
    /// Labels of the instances that are registered by themselves (CLB-07); empty: none are.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub selector: Labels,
    /// Attributes.
    pub attributes: Attributes,
    /// Policies by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, Policy>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// `CreateLoadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// As any load balancer's.
    pub name: String,
    /// `internet-facing` unless given.
    pub scheme: Option<Scheme>,
    /// One at the least.
    pub listeners: Vec<ListenerSpec>,
    /// Names of zones, in each of which a subnet is chosen; or …
    pub zones: Vec<String>,
    /// … ids of subnets.
    pub subnets: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// A change of Classic load balancers. `id` is drawn at random: what ids of hidden objects are made from.
#[allow(missing_docs, reason = "the fields are what their names and types say")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes one. The same again succeeds.
    Create { request: Create, id: Id },
    /// Deleting one that does not exist succeeds.
    Delete { name: String },
    /// All or nothing.
    CreateListeners { name: String, listeners: Vec<ListenerSpec>, id: Id },
    /// Ports without a listener are passed over.
    DeleteListeners { name: String, ports: Vec<i64> },
    /// Replaces the settings.
    ConfigureHealthCheck { name: String, check: HealthCheckSpec },
    /// All or nothing; what is registered stays so. A tenant may register instances of networks that are shared with it.
    Register { name: String, instances: Vec<String>, tenant: Option<String> },
    /// Instances that are not registered are passed over.
    Deregister { name: String, instances: Vec<String> },
    /// All or nothing.
    ModifyAttributes { name: String, changes: AttributeChanges },
    /// Nodes in further zones, a subnet of each of which is chosen.
    EnableZones { name: String, zones: Vec<String> },
    /// Takes nodes away; one stays.
    DisableZones { name: String, zones: Vec<String> },
    /// Nodes in further subnets.
    AttachSubnets { name: String, subnets: Vec<String> },
    /// Takes nodes away; one stays.
    DetachSubnets { name: String, subnets: Vec<String> },
    /// Keeps a policy that SSL listeners can have.
    CreatePolicy { name: String, policy: String, kind: String, attributes: Vec<(String, String)> },
    /// Only one that no listener has.
    DeletePolicy { name: String, policy: String },
    /// All policies of a listener.
    SetListenerPolicies { name: String, port: i64, policies: Vec<String> },
    /// Of an SSL listener.
    SetListenerCertificate { name: String, port: i64, certificate: String },
    /// Of one or more load balancers.
    AddTags { names: Vec<String>, tags: Tags },
    /// By key.
    RemoveTags { names: Vec<String>, keys: Vec<String> },
}

fn key(name: &str) -> RecordKey {
    RecordKey::Object(Kind::Classic, name.to_owned())
}

/// The id of the n-th hidden object: any function without collisions in sight does.
fn derived(id: Id, n: u64) -> Id {
    let mixed = (id.0 ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Id(mixed ^ (mixed >> 31))
}

impl Model {
    pub(crate) fn change_classics(&mut self, fx: &mut Effects, change: Change, now: Now) -> Result<(), Error> {
        match change {
            Change::Create { request, id } => self.create_classic(fx, request, id, now),
            Change::Delete { name } => {
                self.delete_classic(fx, &name);
                Ok(())
            }
            Change::CreateListeners { name, listeners, id } => {
                let mut lb = self.find_classic(&name)?.clone();
                self.add_classic_listeners(fx, &mut lb, &listeners, id, now)?;
                self.put_classic(fx, lb, now)
            }
            Change::DeleteListeners { name, ports } => self.delete_classic_listeners(fx, &name, &ports, now),
            Change::ConfigureHealthCheck { name, check } => self.configure_classic_check(fx, &name, &check, now),
            Change::Register { name, instances, tenant } => {
                self.register_instances(fx, &name, &instances, tenant.as_deref(), now)
            }
            Change::Deregister { name, instances } => self.deregister_instances(fx, &name, &instances, now),
            Change::ModifyAttributes { name, changes } => self.modify_classic_attributes(fx, &name, changes, now),
            Change::EnableZones { name, zones } => {
                let lb = self.find_classic(&name)?.clone();
                let missing: Vec<String> =
                    zones.into_iter().filter(|zone| !self.classic_zones(&lb).any(|known| known == *zone)).collect();
                let subnets = self.subnets_of_zones(&missing, self.classic_network(&lb))?;
                self.add_classic_subnets(fx, lb, subnets, now)
            }
            Change::AttachSubnets { name, subnets } => {
                let lb = self.find_classic(&name)?.clone();
                self.add_classic_subnets(fx, lb, subnets, now)
            }
            Change::DisableZones { name, zones } => {
                self.remove_classic_nodes(fx, &name, now, |node| zones.contains(&node.zone))
            }
            Change::DetachSubnets { name, subnets } => self.remove_classic_nodes(fx, &name, now, |node| {
                node.subnet.as_ref().is_some_and(|subnet| subnets.contains(subnet))
            }),
            Change::CreatePolicy { name, policy, kind, attributes } => {
                self.create_classic_policy(fx, &name, policy, &kind, attributes, now)
            }
            Change::DeletePolicy { name, policy } => self.delete_classic_policy(fx, &name, &policy, now),
            Change::SetListenerPolicies { name, port, policies } => {
                self.set_classic_policies(fx, &name, port, policies, now)
            }
            Change::SetListenerCertificate { name, port, certificate } => {
                self.set_classic_certificate(fx, &name, port, certificate, now)
            }
            Change::AddTags { names, tags } => self.tag_classics(fx, &names, now, |old| old.extend(tags.clone())),
            Change::RemoveTags { names, keys } => {
                self.tag_classics(fx, &names, now, |old| old.retain(|key, _| !keys.contains(key)))
            }
        }
    }

    /// Finds records that do not go together.
    pub(crate) fn check_classics(&self) -> Result<(), LoadError> {
        for (name, lb) in &self.classics {
            let carried = self.carrier_of(lb).is_some_and(|carrier| carrier.classic.as_ref() == Some(name));
            let ports = self.listeners_of(lb.id).map(|listener| &listener.port);
            if lb.name != *name || !carried || !lb.listeners.keys().eq(ports) {
                return Err(LoadError::Inconsistent(key(name)));
            }
        }
        let carriers = self.load_balancers.values().filter_map(|lb| lb.classic.as_ref());
        let groups = self.target_groups.values().filter_map(|group| group.classic.as_ref());
        match carriers.chain(groups).find(|name| !self.classics.contains_key(*name)) {
            None => Ok(()),
            Some(name) => Err(LoadError::Inconsistent(key(name))),
        }
    }

    /// All Classic load balancers, by name.
    pub fn classics(&self) -> impl Iterator<Item = &Balancer> {
        self.classics.values()
    }

    /// A Classic load balancer.
    ///
    /// # Errors
    /// [`Code::LoadBalancerNotFound`], with the text that AWS's clients look for.
    pub fn find_classic(&self, name: &str) -> Result<&Balancer, Error> {
        self.classics.get(name).ok_or_else(|| {
            let message =
                format!("There is no ACTIVE Load Balancer named '{}'", Shown(name).to_string().trim_matches('"'));
            Error::at(Code::LoadBalancerNotFound, "LoadBalancerName", message)
        })
    }

    /// The network load balancer that carries its traffic.
    pub fn carrier_of(&self, lb: &Balancer) -> Option<&LoadBalancer> {
        self.load_balancers.get(&lb.id)
    }

    /// The hidden target groups of one, by port.
    pub(crate) fn classic_groups(&self, name: &str) -> impl Iterator<Item = &TargetGroup> {
        self.target_groups.values().filter(move |group| group.classic.as_deref() == Some(name))
    }

    fn create_classic(&mut self, fx: &mut Effects, request: Create, id: Id, now: Now) -> Result<(), Error> {
        let name = request.name;
        check::load_balancer_name("LoadBalancerName", &name)?;
        self.check_classic_tags(&request.tags)?;
        if request.listeners.is_empty() {
            return Err(Error::invalid("Listeners", "Listeners must contain at least one listener"));
        }
        if request.zones.is_empty() == request.subnets.is_empty() {
            let message = "Either AvailabilityZones or SubnetIds must be specified, and not both";
            return Err(Error::invalid("AvailabilityZones", message));
        }
        let subnets = match &request.zones[..] {
            [] => request.subnets,
            zones => self.subnets_of_zones(zones, None)?,
        };
        if let Some(old) = self.classics.get(&name) {
            return self.same_classic(fx, old, request.scheme.unwrap_or_default(), &request.listeners, &subnets);
        }
        self.check_name_is_free(&name)?;
        self.limits.classic_load_balancers(self.classics.len() + 1)?;
        let carrier = rest::CreateLoadBalancer {
            name: name.clone(),
            scheme: request.scheme,
            subnets,
            ..rest::CreateLoadBalancer::default()
        };
        self.create_load_balancer(fx, carrier, id, now)?;
        if let Some(carrier) = self.load_balancers.get_mut(&id) {
            carrier.classic = Some(name.clone());
        }
        let port = request.listeners[0].instance_port;
        let mut lb = Balancer {
            name: name.clone(),
            id,
            listeners: BTreeMap::new(),
            health_check: HealthCheck::of_port(check::port("Listeners.member.1.InstancePort", port)?),
            instances: BTreeSet::new(),
            selector: Labels::new(),
            attributes: Attributes::default(),
            policies: BTreeMap::new(),
            tags: request.tags,
        };
        self.add_classic_listeners(fx, &mut lb, &request.listeners, id, now)?;
        self.put_classic(fx, lb, now)
    }

    /// Creating one that exists succeeds if it is what is asked for.
    fn same_classic(
        &self,
        fx: &mut Effects,
        old: &Balancer,
        scheme: Scheme,
        listeners: &[ListenerSpec],
        subnets: &[String],
    ) -> Result<(), Error> {
        let wanted = listeners.iter().enumerate().map(|(at, spec)| self.classic_listener(at, spec));
        let wanted = wanted.collect::<Result<BTreeMap<u16, Listener>, _>>()?;
        let bare = |listener: &Listener| Listener { policies: Vec::new(), ..listener.clone() };
        let present: BTreeMap<u16, Listener> = old.listeners.iter().map(|(port, it)| (*port, bare(it))).collect();
        let carrier = self.carrier_of(old);
        let places: BTreeSet<&String> =
            carrier.iter().flat_map(|lb| &lb.nodes).filter_map(|it| it.subnet.as_ref()).collect();
        let same_place = places == subnets.iter().collect() && carrier.is_some_and(|lb| lb.scheme == scheme);
        if same_place && wanted == present {
            fx.id = Some(old.id);
            return Ok(());
        }
        let message = format!(
            "Load Balancer named '{}' already exists and it is configured with different parameters.",
            old.name
        );
        Err(Error::at(Code::DuplicateLoadBalancerName, "LoadBalancerName", message))
    }

    /// Keeps a new or changed one, and makes the hidden objects what it says.
    fn put_classic(&mut self, fx: &mut Effects, lb: Balancer, now: Now) -> Result<(), Error> {
        let (name, id) = (lb.name.clone(), lb.id);
        if self.classics.get(&name) != Some(&lb) {
            self.classics.insert(name.clone(), lb);
            fx.touch(key(&name));
        }
        self.follow_classic(fx, &name, now)?;
        fx.id = Some(id);
        Ok(())
    }

    fn delete_classic(&mut self, fx: &mut Effects, name: &str) {
        let Some(lb) = self.classics.remove(name) else { return };
        fx.touch(key(name));
        self.remove_load_balancer(fx, lb.id);
        let groups: Vec<Id> = self.classic_groups(name).map(|group| group.id).collect();
        groups.into_iter().for_each(|group| self.remove_target_group(fx, group));
    }

    fn tag_classics(
        &mut self,
        fx: &mut Effects,
        names: &[String],
        now: Now,
        change: impl Fn(&mut Tags),
    ) -> Result<(), Error> {
        for name in names {
            let mut lb = self.find_classic(name)?.clone();
            change(&mut lb.tags);
            self.check_classic_tags(&lb.tags)?;
            self.put_classic(fx, lb, now)?;
        }
        Ok(())
    }

    fn check_classic_tags(&self, tags: &Tags) -> Result<(), Error> {
        self.check_tags(tags)?;
        if tags.len() > TAGS_MAX {
            let message = format!("a Classic load balancer has {TAGS_MAX} tags at the most; these are {}", tags.len());
            return Err(Error::at(Code::TooManyTags, "Tags", message));
        }
        Ok(())
    }

    /// Makes hidden objects what the inventory and the Classic load balancers say; to be called after every change of the inventory.
    pub(crate) fn follow_classics(&mut self, fx: &mut Effects, now: Now) -> Result<(), Error> {
        let names: Vec<String> = self.classics.keys().cloned().collect();
        names.iter().try_for_each(|name| self.follow_classic(fx, name, now))
    }
}

/// Tags of a Classic load balancer at the most.
const TAGS_MAX: usize = 10;

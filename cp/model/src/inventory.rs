//! The inventory: zones, networks, subnets, instances, static addresses and ports, as the operator declares them.
//!
//! | where to look | for |
//! |---|---|
//! | `inventory/document.rs` | what a document must be like to be taken |
//! | `inventory/users.rs` | what uses the inventory, so that it may not change |
//! | `inventory/free.rs` | which addresses of a subnet are free |

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Kind, Model, Now, RecordKey};
use crate::rest::{self, InstanceSpec, NetworkSpec, PortSpec, StaticAddressSpec, SubnetSpec, Zone};

mod document;
mod free;
mod users;

/// What is declared, by id or name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) networks: BTreeMap<String, NetworkSpec>,
    pub(crate) subnets: BTreeMap<String, SubnetSpec>,
    pub(crate) instances: BTreeMap<String, InstanceSpec>,
    pub(crate) static_addresses: BTreeMap<String, StaticAddressSpec>,
    pub(crate) ports: BTreeMap<String, PortSpec>,
}

impl State {
    /// All zones, by name.
    pub fn zones(&self) -> impl Iterator<Item = &rest::Zone> {
        self.zones.values()
    }

    /// All networks, by id.
    pub fn networks(&self) -> impl Iterator<Item = &rest::NetworkSpec> {
        self.networks.values()
    }

    /// All subnets, by id.
    pub fn subnets(&self) -> impl Iterator<Item = &rest::SubnetSpec> {
        self.subnets.values()
    }

    /// A subnet by its id.
    pub fn subnet(&self, id: &str) -> Option<&rest::SubnetSpec> {
        self.subnets.get(id)
    }

    /// All instances, by id.
    pub fn instances(&self) -> impl Iterator<Item = &rest::InstanceSpec> {
        self.instances.values()
    }

    /// All static addresses, by id.
    pub fn static_addresses(&self) -> impl Iterator<Item = &rest::StaticAddressSpec> {
        self.static_addresses.values()
    }
}

/// A change of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// All of it, all or nothing.
    Put(rest::Inventory),
    /// One instance: new, or instead of the one with its id.
    PutInstance(InstanceSpec),
    /// State or labels of an instance.
    ModifyInstance(String, rest::ModifyInstance),
    /// An instance is forgotten. Forgetting one that is not there succeeds.
    DeleteInstance(String),
}

impl Model {
    pub(crate) fn change_inventory(&mut self, fx: &mut Effects, change: Change, now: Now) -> Result<(), Error> {
        match change {
            Change::Put(document) => self.put_inventory(fx, &document)?,
            Change::PutInstance(instance) => self.put_instance(fx, instance)?,
            Change::ModifyInstance(id, request) => {
                let mut instance = self.find_instance(&id)?.clone();
                instance.state = request.state.unwrap_or(instance.state);
                instance.labels = request.labels.unwrap_or(instance.labels);
                self.put_instance(fx, instance)?;
            }
            Change::DeleteInstance(id) => {
                if self.inventory.instances.remove(&id).is_some() {
                    fx.touch(RecordKey::Object(Kind::Instance, id));
                }
            }
        }
        if fx.changed.is_empty() { Ok(()) } else { self.follow_instances(fx, now) }
    }

    fn put_inventory(&mut self, fx: &mut Effects, document: &rest::Inventory) -> Result<(), Error> {
        let new = State::read(document)?;
        self.limits
            .instances(new.instances.len())
            .map_err(|error| Error { field: Some("instances".into()), ..error })?;
        for (at, instance) in document.instances.iter().enumerate() {
            self.check_instance_is_nobodys(&format!("instances[{at}]."), instance)?;
        }
        for (at, address) in document.static_addresses.iter().enumerate() {
            self.check_static_address(&format!("staticAddresses[{at}].address"), address)?;
        }
        self.check_users(document, &new)?;
        let old = std::mem::replace(&mut self.inventory, new);
        let new = &self.inventory;
        touch_changed(fx, Kind::Zone, &old.zones, &new.zones);
        touch_changed(fx, Kind::Network, &old.networks, &new.networks);
        touch_changed(fx, Kind::Subnet, &old.subnets, &new.subnets);
        touch_changed(fx, Kind::Instance, &old.instances, &new.instances);
        touch_changed(fx, Kind::StaticAddress, &old.static_addresses, &new.static_addresses);
        touch_changed(fx, Kind::Port, &old.ports, &new.ports);
        Ok(())
    }

    fn put_instance(&mut self, fx: &mut Effects, instance: InstanceSpec) -> Result<(), Error> {
        if self.inventory.instances.get(&instance.id) == Some(&instance) {
            return Ok(());
        }
        self.inventory.check_instance("", &instance)?;
        self.inventory.check_instance_is_alone(&instance)?;
        self.check_instance_is_nobodys("", &instance)?;
        let id = instance.id.clone();
        self.inventory.instances.insert(id.clone(), instance);
        self.limits.instances(self.inventory.instances.len())?;
        fx.touch(RecordKey::Object(Kind::Instance, id));
        Ok(())
    }

    /// What is declared.
    pub fn inventory(&self) -> &State {
        &self.inventory
    }

    /// The inventory as a document: what `PUT` takes.
    pub fn show_inventory(&self) -> rest::Inventory {
        let inventory = &self.inventory;
        rest::Inventory {
            zones: inventory.zones.values().cloned().collect(),
            networks: inventory.networks.values().cloned().collect(),
            subnets: inventory.subnets.values().cloned().collect(),
            instances: inventory.instances.values().cloned().collect(),
            static_addresses: inventory.static_addresses.values().cloned().collect(),
            ports: inventory.ports.values().cloned().collect(),
        }
    }

    /// A zone by its name.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.inventory.zones.get(name)
    }

    /// A network by its id.
    pub fn network(&self, id: &str) -> Option<&NetworkSpec> {
        self.inventory.networks.get(id)
    }

    /// A subnet by its id.
    pub fn subnet(&self, id: &str) -> Option<&SubnetSpec> {
        self.inventory.subnets.get(id)
    }

    /// An instance by its id.
    pub fn instance(&self, id: &str) -> Option<&InstanceSpec> {
        self.inventory.instances.get(id)
    }

    /// A static address by its id.
    pub fn static_address(&self, id: &str) -> Option<&StaticAddressSpec> {
        self.inventory.static_addresses.get(id)
    }

    /// An instance by its id.
    ///
    /// # Errors
    /// [`Code::InstanceNotFound`].
    pub fn find_instance(&self, id: &str) -> Result<&InstanceSpec, Error> {
        let missing = || Error::new(Code::InstanceNotFound, format!("the inventory has no instance {}", Shown(id)));
        self.instance(id).ok_or_else(missing)
    }

    /// The instance that has an address on one of its interfaces.
    pub fn instance_of_address(&self, address: IpAddr) -> Option<&InstanceSpec> {
        self.inventory.instances.values().find(|instance| addresses(instance).any(|it| it == address))
    }

    /// The network whose ranges an address is in. Networks do not overlap.
    pub fn network_of_address(&self, address: IpAddr) -> Option<&NetworkSpec> {
        self.inventory.networks.values().find(|network| network.cidrs.iter().any(|net| net.contains(&address)))
    }

    /// The subnet of a network that an address is in.
    pub fn subnet_of_address(&self, network: &str, address: IpAddr) -> Option<&SubnetSpec> {
        self.inventory.subnets.values().find(|subnet| subnet.network == network && range_of(subnet, address).is_some())
    }

    /// Whether hosts of one network can reach those of another: it is the same, or one of its peers.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        from == to || self.network(from).is_some_and(|network| network.peers.iter().any(|peer| peer == to))
    }
}

/// All addresses of an instance, the primary one first.
fn addresses(instance: &InstanceSpec) -> impl Iterator<Item = IpAddr> {
    std::iter::once(instance.address.into()).chain(instance.other_addresses.iter().copied())
}

/// The range of a subnet that an address is in.
fn range_of(subnet: &SubnetSpec, address: IpAddr) -> Option<ipnet::IpNet> {
    [Some(subnet.cidr), subnet.ipv6_cidr].into_iter().flatten().find(|net| net.contains(&address))
}

fn touch_changed<T: PartialEq>(fx: &mut Effects, kind: Kind, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) {
    for id in old.keys().chain(new.keys()) {
        if old.get(id) != new.get(id) {
            fx.touch(RecordKey::Object(kind, id.clone()));
        }
    }
}

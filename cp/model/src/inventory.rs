//! The inventory: zones, networks, subnets, instances, static addresses and ports, as the operator declares them.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Model, Now};
use crate::rest;

/// What is declared, by id or name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) zones: BTreeMap<String, rest::Zone>,
    pub(crate) networks: BTreeMap<String, rest::NetworkSpec>,
    pub(crate) subnets: BTreeMap<String, rest::SubnetSpec>,
    pub(crate) instances: BTreeMap<String, rest::InstanceSpec>,
    pub(crate) static_addresses: BTreeMap<String, rest::StaticAddressSpec>,
    pub(crate) ports: BTreeMap<String, rest::PortSpec>,
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
    PutInstance(rest::InstanceSpec),
    /// State or labels of an instance.
    ModifyInstance(String, rest::ModifyInstance),
    /// An instance is forgotten.
    DeleteInstance(String),
}

impl Model {
    pub(crate) fn change_inventory(&mut self, _: &mut Effects, _: Change, _: Now) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "the inventory cannot be changed"))
    }

    /// What is declared.
    pub fn inventory(&self) -> &State {
        &self.inventory
    }

    /// What is declared, as it was given, each list by id or name.
    pub fn show_inventory(&self) -> rest::Inventory {
        let State { zones, networks, subnets, instances, static_addresses, ports } = &self.inventory;
        rest::Inventory {
            zones: zones.values().cloned().collect(),
            networks: networks.values().cloned().collect(),
            subnets: subnets.values().cloned().collect(),
            instances: instances.values().cloned().collect(),
            static_addresses: static_addresses.values().cloned().collect(),
            ports: ports.values().cloned().collect(),
        }
    }

    /// Finds an instance by its id.
    ///
    /// # Errors
    /// [`Code::InstanceNotFound`].
    pub fn find_instance(&self, id: &str) -> Result<&rest::InstanceSpec, Error> {
        let found = self.inventory.instances.get(id);
        let message = || format!("the inventory has no instance {}", Shown(id));
        found.ok_or_else(|| Error::new(Code::InstanceNotFound, message()))
    }
}

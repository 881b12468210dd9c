//! The whole configuration and its rules: state, and commands that change it.
//!
//! A change is made on a copy: [`Model::apply`] says which records differ, the caller stores them, and only then makes the copy
//! the model. So a refused command, or a store that cannot be written, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Shown};
use crate::health::Report;
use crate::ids::{self, Id};
use crate::limits::Limits;
use crate::resource::{Listener, LoadBalancer, Node, Registration, RetiredListener, Target, TargetGroup};
use crate::rest;
use crate::slots::Slots;
use crate::{access, application, certificate, classic, inventory, shift};

/// The clocks, read by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Monotonic clock, in milliseconds since some moment.
    pub mono_ms: u64,
}

/// What is given by the process's flags and not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Partition in ARNs.
    pub partition: String,
    /// Account in ARNs, 12 digits.
    pub account: String,
    /// Region in ARNs and DNS names.
    pub region: String,
    /// What DNS names look like: `{name}`, `{id}` and `{region}` are filled in.
    pub dns_name_format: String,
    /// There is no data plane, and none is expected: everything is kept and shown, nothing is forwarded or checked.
    pub without_data_plane: bool,
    /// The ports' names and subnets, with the host's own address as the network's host part. Empty: nothing is known of the
    /// network, and no address is refused for it.
    pub subnets: Vec<(String, IpNet)>,
    /// Networks behind gateways.
    pub networks: Vec<IpNet>,
    /// The gateways' addresses, which no load balancer can have.
    pub gateways: Vec<IpAddr>,
    /// Ports whose clients come through an endpoint, and the endpoint's id (CIP-06, PP2-06).
    pub endpoints: Vec<(String, String)>,
    /// A client that is the chosen target itself gets another one (S12.3).
    pub hairpin_next_target: bool,
    /// Stickiness looks at the first 64 bits of IPv6 addresses only (S14.4).
    pub sticky_by_64: bool,
}

/// What DNS names look like unless told otherwise.
pub const DNS_NAME_FORMAT: &str = "{name}-{id}.elb.{region}.leat.internal";

impl Default for Site {
    /// Nothing known of the network, and names that clients' checks of ARNs let pass.
    fn default() -> Self {
        Self {
            partition: "aws".into(),
            account: "000000000000".into(),
            region: "on-prem-1".into(),
            dns_name_format: DNS_NAME_FORMAT.into(),
            without_data_plane: false,
            subnets: Vec::new(),
            networks: Vec::new(),
            gateways: Vec::new(),
            endpoints: Vec::new(),
            hairpin_next_target: false,
            sticky_by_64: false,
        }
    }
}

/// What a caller may ask for. Resources are named by name, id or ARN.
#[allow(missing_docs, reason = "the fields are what their names and types say")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `id` is drawn at random, here and below.
    CreateLoadBalancer { request: rest::CreateLoadBalancer, id: Id },
    /// Changes what is given.
    ModifyLoadBalancer { load_balancer: String, request: rest::ModifyLoadBalancer },
    /// All or nothing (LB-15).
    ModifyLoadBalancerAttributes { load_balancer: String, attributes: rest::Attributes },
    /// Asks for a capacity, or for none any more.
    ReserveCapacity { load_balancer: String, units: Option<i64> },
    /// Deletes its listeners too. Deleting one that does not exist succeeds (LB-18).
    DeleteLoadBalancer { load_balancer: String },
    /// Makes a listener.
    CreateListener { load_balancer: String, request: rest::CreateListener, id: Id },
    /// Changes what is given.
    ModifyListener { load_balancer: String, port: u16, request: rest::ModifyListener },
    /// All or nothing.
    ModifyListenerAttributes { load_balancer: String, port: u16, attributes: rest::Attributes },
    /// Adds ARNs of certificates to a TLS listener's list.
    AddListenerCertificates { load_balancer: String, port: u16, certificates: Vec<String> },
    /// Removes them; never the default one.
    RemoveListenerCertificates { load_balancer: String, port: u16, certificates: Vec<String> },
    /// Flows go on (S15.7).
    DeleteListener { load_balancer: String, port: u16 },
    /// Makes a target group.
    CreateTargetGroup { request: rest::CreateTargetGroup, id: Id },
    /// Changes what is given.
    ModifyTargetGroup { target_group: String, request: rest::ModifyTargetGroup },
    /// All or nothing.
    ModifyAttributes { target_group: String, attributes: rest::Attributes },
    /// Only one that no listener uses. Deleting one that does not exist succeeds.
    DeleteTargetGroup { target_group: String },
    /// All or nothing; what is registered stays so (TGT-14).
    RegisterTargets { target_group: String, targets: Vec<rest::TargetSpec> },
    /// Unknown targets are passed over (TGT-14).
    DeregisterTargets { target_group: String, targets: Vec<rest::TargetSpec> },
    /// Adds tags to resources, named by ARN, or changes their values: all or nothing.
    AddTags { resources: Vec<String>, tags: Vec<(String, String)> },
    /// Removes tags by key.
    RemoveTags { resources: Vec<String>, keys: Vec<String> },
    /// What is declared of the network.
    Inventory(inventory::Change),
    /// The certificate store.
    Certificate(certificate::Change),
    /// Who may use the API.
    Access(access::Change),
    /// Zonal shifts.
    Shift(shift::Change),
    /// Application load balancers, their listeners and rules.
    Application(application::Change),
    /// Classic load balancers.
    Classic(classic::Change),
    /// Several commands as one: all or nothing.
    All(Vec<Command>),
    /// On behalf of a tenant, who may use networks that are shared with it only (TG-17).
    AsTenant { tenant: String, command: Box<Command> },
    /// The configuration of a backup: its records ([`Model::backup`]).
    Restore(Vec<(String, Vec<u8>)>),
    /// What health checks have changed.
    Health(Vec<Report>),
    /// Targets that get no new flows for a moment because of how they answer clients, or do again: slot, generation, whether.
    Suspect(Vec<(u16, u8, bool)>),
    /// These ports have no link at the moment, and no others.
    PortsDown(BTreeSet<String>),
    /// Whether no health check is made at the moment, because what makes them has stopped (HC-32).
    ChecksStopped(bool),
    /// Ends the delays that are over.
    Expire,
    /// The data plane works with this load balancer.
    Activate(Vec<Id>),
    /// These load balancers cannot become active, and why.
    Fail(Vec<(Id, String)>),
    /// No flow refers to these slots any more, and none will (see [`Target::idle_since_epoch`]): slot, what its counters say.
    FreeTargets(Vec<(u16, Vec<u64>)>),
    /// As `FreeTargets`, for listener slots.
    FreeListeners(Vec<(u16, Vec<u64>)>),
}

impl Command {
    /// The command as a tenant's; without a tenant it is that of who owns everything.
    #[must_use]
    pub fn on_behalf_of(self, tenant: Option<&str>) -> Self {
        match tenant {
            Some(tenant) => Self::AsTenant { tenant: tenant.into(), command: Box::new(self) },
            None => self,
        }
    }
}

/// Names a stored record; its text is its key in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKey {
    /// Epoch and selection key.
    Meta,
    /// A load balancer.
    LoadBalancer(Id),
    /// A listener.
    Listener(Id, u16),
    /// A listener slot that waits for its flows' end.
    RetiredListener(u16),
    /// A target group.
    TargetGroup(Id),
    /// A target.
    Target(u16),
    /// All target slots.
    TargetSlots,
    /// All listener slots.
    ListenerSlots,
    /// One of the other objects, by its id.
    Object(Kind, String),
}

macro_rules! objects {
    ($($(#[$doc:meta])* $kind:ident $text:literal $($field:ident).+ : $type:ty,)*) => {
        /// What kinds of other objects are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            const ALL: &'static [Self] = &[$(Self::$kind,)*];

            const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }

        impl Model {
            fn object(&self, kind: Kind, id: &str) -> Option<Vec<u8>> {
                match kind { $(Kind::$kind => json(self.$($field).+.get(id)),)* }
            }

            fn object_keys(&self) -> Vec<RecordKey> {
                let mut keys = Vec::new();
                $(keys.extend(self.$($field).+.keys().map(|id| RecordKey::Object(Kind::$kind, id.clone())));)*
                keys
            }

            fn load_object(&mut self, kind: Kind, id: &str, value: &[u8]) -> Result<(), LoadError> {
                let key = RecordKey::Object(kind, id.to_owned());
                match kind {
                    $(Kind::$kind => {
                        let object: $type = read(&key, value)?;
                        self.$($field).+.insert(id.to_owned(), object);
                    })*
                }
                Ok(())
            }
        }
    };
}

objects! {
    /// A zone of the inventory.
    Zone "zone" inventory.zones: rest::Zone,
    /// A network of the inventory.
    Network "network" inventory.networks: rest::NetworkSpec,
    /// A subnet of the inventory.
    Subnet "subnet" inventory.subnets: rest::SubnetSpec,
    /// An instance of the inventory.
    Instance "instance" inventory.instances: rest::InstanceSpec,
    /// A static address of the inventory.
    StaticAddress "static-address" inventory.static_addresses: rest::StaticAddressSpec,
    /// A port of the inventory.
    Port "port" inventory.ports: rest::PortSpec,
    /// A certificate.
    Certificate "certificate" certificates: certificate::Certificate,
    /// A user of the API.
    User "user" users: access::User,
    /// A zonal shift.
    ZonalShift "zonal-shift" shifts: shift::Shift,
    /// An application load balancer.
    Application "application" applications.balancers: application::Balancer,
    /// A listener of an application load balancer.
    ApplicationListener "application-listener" applications.listeners: application::Listener,
    /// A rule of such a listener.
    Rule "rule" applications.rules: application::Rule,
    /// A Classic load balancer.
    Classic "classic" classics: classic::Balancer,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::LoadBalancer(id) => write!(f, "load-balancer/{id}"),
            Self::Listener(load_balancer, port) => write!(f, "listener/{load_balancer}/{port}"),
            Self::RetiredListener(slot) => write!(f, "retired-listener/{slot}"),
            Self::TargetGroup(id) => write!(f, "target-group/{id}"),
            Self::Target(slot) => write!(f, "target/{slot}"),
            Self::TargetSlots => f.write_str("slots/targets"),
            Self::ListenerSlots => f.write_str("slots/listeners"),
            Self::Object(kind, id) => write!(f, "{}/{id}", kind.text()),
        }
    }
}

impl FromStr for RecordKey {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let unknown = || LoadError::UnknownRecord(text.into());
        let parts: Vec<&str> = text.split('/').collect();
        let id = |text: &str| text.parse::<Id>().map_err(|_| unknown());
        let number = |text: &str| text.parse::<u16>().map_err(|_| unknown());
        Ok(match parts[..] {
            ["meta"] => Self::Meta,
            ["load-balancer", lb] => Self::LoadBalancer(id(lb)?),
            ["listener", lb, port] => Self::Listener(id(lb)?, number(port)?),
            ["retired-listener", slot] => Self::RetiredListener(number(slot)?),
            ["target-group", group] => Self::TargetGroup(id(group)?),
            ["target", slot] => Self::Target(number(slot)?),
            ["slots", "targets"] => Self::TargetSlots,
            ["slots", "listeners"] => Self::ListenerSlots,
            _ => {
                let (kind, id) = text.split_once('/').ok_or_else(unknown)?;
                let kind = Kind::ALL.iter().find(|known| known.text() == kind).ok_or_else(unknown)?;
                Self::Object(*kind, id.to_owned())
            }
        })
    }
}

/// Why stored records make no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A key that this version does not know.
    #[error("the store has a record \"{0}\" that this version does not know; run the version that wrote it")]
    UnknownRecord(String),
    /// A record that cannot be read.
    #[error("the store's record \"{key}\" cannot be read: {why}")]
    Unreadable {
        /// Its key.
        key: RecordKey,
        /// Why.
        why: String,
    },
    /// A record refers to one that is missing, or contradicts it.
    #[error("the store's record \"{0}\" does not go with the others")]
    Inconsistent(RecordKey),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Meta {
    pub(crate) epoch: u64,
    pub(crate) selection_key: [u64; 2],
}

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub(crate) site: Site,
    pub(crate) limits: Limits,
    pub(crate) meta: Meta,
    pub(crate) load_balancers: BTreeMap<Id, LoadBalancer>,
    pub(crate) listeners: BTreeMap<(Id, u16), Listener>,
    pub(crate) retired_listeners: BTreeMap<u16, RetiredListener>,
    pub(crate) target_groups: BTreeMap<Id, TargetGroup>,
    pub(crate) targets: BTreeMap<u16, Target>,
    /// Slot of each target by group and socket: made from `targets`.
    pub(crate) by_socket: BTreeMap<(Id, IpAddr, u16), u16>,
    /// Whose each node address is: made from `load_balancers`.
    pub(crate) by_address: BTreeMap<IpAddr, Id>,
    pub(crate) target_slots: Slots,
    pub(crate) listener_slots: Slots,
    pub(crate) inventory: inventory::State,
    pub(crate) certificates: BTreeMap<String, certificate::Certificate>,
    pub(crate) users: BTreeMap<String, access::User>,
    pub(crate) shifts: BTreeMap<String, shift::Shift>,
    pub(crate) applications: application::State,
    pub(crate) classics: BTreeMap<String, classic::Balancer>,
    /// Ports without a link; not stored.
    pub(crate) ports_down: BTreeSet<String>,
    /// What makes the health checks has stopped; not stored.
    pub(crate) checks_stopped: bool,
}

/// What a command has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Records to be written, or removed where [`Model::record`] has none. Empty: nothing has changed.
    pub changed: BTreeSet<RecordKey>,
    /// The id of what was created, or exists already.
    pub id: Option<Id>,
}

impl Effects {
    pub(crate) fn touch(&mut self, key: RecordKey) {
        self.changed.insert(key);
    }
}

impl Model {
    /// An empty configuration. `selection_key` is drawn at random, once for the life of the store.
    pub fn new(site: Site, limits: Limits, selection_key: [u64; 2]) -> Self {
        Self {
            site,
            limits,
            meta: Meta { epoch: 0, selection_key },
            load_balancers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            retired_listeners: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            targets: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            by_address: BTreeMap::new(),
            target_slots: Slots::default(),
            listener_slots: Slots::default(),
            inventory: inventory::State::default(),
            certificates: BTreeMap::new(),
            users: BTreeMap::new(),
            shifts: BTreeMap::new(),
            applications: application::State::default(),
            classics: BTreeMap::new(),
            ports_down: BTreeSet::new(),
            checks_stopped: false,
        }
    }

    /// Applies a command to this model, which is to be thrown away when this fails.
    ///
    /// # Errors
    /// The request breaks a rule.
    pub fn apply(&mut self, command: Command, now: Now) -> Result<Effects, Error> {
        let mut effects = Effects::default();
        self.meta.epoch += 1;
        self.perform(&mut effects, command, now)?;
        if effects.changed.is_empty() {
            self.meta.epoch -= 1;
        } else {
            effects.touch(RecordKey::Meta);
        }
        Ok(effects)
    }

    pub(crate) fn perform(&mut self, fx: &mut Effects, command: Command, now: Now) -> Result<(), Error> {
        match self.for_application(command) {
            Command::CreateLoadBalancer { request, id } => self.create_load_balancer(fx, request, id, now)?,
            Command::ModifyLoadBalancer { load_balancer, request } => {
                self.modify_load_balancer(fx, &load_balancer, &request)?;
            }
            Command::ModifyLoadBalancerAttributes { load_balancer, attributes } => {
                self.modify_load_balancer_attributes(fx, &load_balancer, attributes)?;
            }
            Command::ReserveCapacity { load_balancer, units } => {
                self.reserve_capacity(fx, &load_balancer, units, now)?;
            }
            Command::DeleteLoadBalancer { load_balancer } => self.delete_load_balancer(fx, &load_balancer)?,
            Command::CreateListener { load_balancer, request, id } => {
                self.create_listener(fx, &load_balancer, request, id, now)?;
            }
            Command::ModifyListener { load_balancer, port, request } => {
                self.modify_listener(fx, &load_balancer, port, request, now)?;
            }
            Command::ModifyListenerAttributes { load_balancer, port, attributes } => {
                self.modify_listener_attributes(fx, &load_balancer, port, attributes)?;
            }
            Command::AddListenerCertificates { load_balancer, port, certificates } => {
                self.add_listener_certificates(fx, &load_balancer, port, &certificates)?;
            }
            Command::RemoveListenerCertificates { load_balancer, port, certificates } => {
                self.remove_listener_certificates(fx, &load_balancer, port, &certificates)?;
            }
            Command::DeleteListener { load_balancer, port } => self.delete_listener(fx, &load_balancer, port)?,
            Command::CreateTargetGroup { request, id } => self.create_target_group(fx, request, id, None, now)?,
            Command::ModifyTargetGroup { target_group, request } => {
                self.modify_target_group(fx, &target_group, &request, now)?;
            }
            Command::ModifyAttributes { target_group, attributes } => {
                self.modify_attributes(fx, &target_group, attributes)?;
            }
            Command::DeleteTargetGroup { target_group } => self.delete_target_group(fx, &target_group)?,
            Command::RegisterTargets { target_group, targets } => {
                self.register_targets(fx, &target_group, &targets, None, now)?;
            }
            Command::DeregisterTargets { target_group, targets } => {
                self.deregister_targets(fx, &target_group, &targets, now)?;
            }
            Command::Health(reports) => self.change_health(fx, reports),
            Command::Suspect(changes) => self.suspect(fx, changes),
            Command::PortsDown(ports) => {
                if self.ports_down != ports {
                    self.ports_down = ports;
                    fx.touch(RecordKey::Meta);
                }
            }
            Command::ChecksStopped(stopped) => {
                if self.checks_stopped != stopped {
                    self.checks_stopped = stopped;
                    fx.touch(RecordKey::Meta);
                }
            }
            Command::Expire => self.expire(fx, now),
            Command::Activate(ids) => self.activate(fx, &ids),
            Command::Fail(failures) => self.fail(fx, failures),
            Command::FreeTargets(slots) => self.free_targets(fx, slots),
            Command::FreeListeners(slots) => self.free_listeners(fx, slots),
            Command::AddTags { resources, tags } => self.add_tags(fx, &resources, &tags)?,
            Command::RemoveTags { resources, keys } => self.remove_tags(fx, &resources, &keys)?,
            Command::Inventory(change) => self.change_inventory(fx, change, now)?,
            Command::Certificate(change) => self.change_certificates(fx, change, now)?,
            Command::Access(change) => self.change_access(fx, change, now)?,
            Command::Shift(change) => self.change_shifts(fx, change, now)?,
            Command::Application(change) => self.change_applications(fx, change, now)?,
            Command::Classic(change) => self.change_classics(fx, change, now)?,
            Command::Restore(records) => self.restore(fx, records, now)?,
            Command::All(commands) => {
                for command in commands {
                    self.perform(fx, command, now)?;
                }
            }
            Command::AsTenant { tenant, command } => match *command {
                Command::CreateTargetGroup { request, id } => {
                    self.create_target_group(fx, request, id, Some(&tenant), now)?;
                }
                Command::RegisterTargets { target_group, targets } => {
                    self.register_targets(fx, &target_group, &targets, Some(&tenant), now)?;
                }
                Command::All(commands) => {
                    for command in commands {
                        let command = Command::AsTenant { tenant: tenant.clone(), command: Box::new(command) };
                        self.perform(fx, command, now)?;
                    }
                }
                command => self.perform(fx, command, now)?,
            },
        }
        Ok(())
    }

    /// Counts the changes.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// The key of target selection.
    pub fn selection_key(&self) -> [u64; 2] {
        self.meta.selection_key
    }

    /// What is given by flags.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The quotas.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All load balancers but those that carry a Classic one.
    pub fn shown_load_balancers(&self) -> impl Iterator<Item = &LoadBalancer> {
        self.load_balancers.values().filter(|lb| lb.classic.is_none())
    }

    /// All target groups but those of Classic load balancers.
    pub fn shown_target_groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.target_groups.values().filter(|group| group.classic.is_none())
    }

    /// All load balancers, also those that carry a Classic one.
    pub fn load_balancers(&self) -> impl Iterator<Item = &LoadBalancer> {
        self.load_balancers.values()
    }

    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }

    /// The listeners of a load balancer, by port.
    pub fn listeners_of(&self, load_balancer: Id) -> impl Iterator<Item = &Listener> {
        self.listeners.range((load_balancer, 0)..=(load_balancer, u16::MAX)).map(|(_, listener)| listener)
    }

    /// Listener slots that wait for their flows' end.
    pub fn retired_listeners(&self) -> impl Iterator<Item = (u16, &RetiredListener)> {
        self.retired_listeners.iter().map(|(slot, retired)| (*slot, retired))
    }

    /// All target groups, also those of Classic load balancers.
    pub fn target_groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.target_groups.values()
    }

    /// All targets, also those that are gone or were left but may have flows.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// The targets of a group, by address and port.
    pub fn targets_of(&self, group: Id) -> impl Iterator<Item = &Target> {
        let last = Ipv6Addr::from_bits(u128::MAX).into();
        let sockets = (group, Ipv4Addr::UNSPECIFIED.into(), 0)..=(group, last, u16::MAX);
        self.by_socket.range(sockets).filter_map(|(_, slot)| self.targets.get(slot))
    }

    /// The target in a slot.
    pub fn target(&self, slot: u16) -> Option<&Target> {
        self.targets.get(&slot)
    }

    /// A target group by its id.
    pub fn target_group(&self, id: Id) -> Option<&TargetGroup> {
        self.target_groups.get(&id)
    }

    /// A load balancer by its id.
    pub fn load_balancer(&self, id: Id) -> Option<&LoadBalancer> {
        self.load_balancers.get(&id)
    }

    /// The target slots.
    pub fn target_slots(&self) -> &Slots {
        &self.target_slots
    }

    /// The listener slots.
    pub fn listener_slots(&self) -> &Slots {
        &self.listener_slots
    }

    /// Finds a load balancer by name, id or ARN.
    ///
    /// # Errors
    /// [`Code::LoadBalancerNotFound`].
    pub fn find_load_balancer(&self, wanted: &str) -> Result<&LoadBalancer, Error> {
        let id = wanted.parse().ok();
        let found = self.shown_load_balancers().find(|lb| {
            lb.name == wanted
                || Some(lb.id) == id
                || wanted.starts_with("arn:") && ids::load_balancer_arn(&self.site, &lb.name, lb.id) == wanted
        });
        found.ok_or_else(|| {
            Error::new(Code::LoadBalancerNotFound, format!("there is no load balancer {}", Shown(wanted)))
        })
    }

    /// Finds a target group by name, id or ARN.
    ///
    /// # Errors
    /// [`Code::TargetGroupNotFound`].
    pub fn find_target_group(&self, wanted: &str) -> Result<&TargetGroup, Error> {
        let id = wanted.parse().ok();
        let found = self.shown_target_groups().find(|group| {
            group.name == wanted
                || Some(group.id) == id
                || wanted.starts_with("arn:") && ids::target_group_arn(&self.site, &group.name, group.id) == wanted
        });
        found
            .ok_or_else(|| Error::new(Code::TargetGroupNotFound, format!("there is no target group {}", Shown(wanted))))
    }

    /// Finds a listener.
    ///
    /// # Errors
    /// [`Code::LoadBalancerNotFound`], [`Code::ListenerNotFound`].
    pub fn find_listener(&self, load_balancer: &str, port: u16) -> Result<&Listener, Error> {
        let lb = self.find_load_balancer(load_balancer)?;
        self.listeners.get(&(lb.id, port)).ok_or_else(|| {
            Error::new(
                Code::ListenerNotFound,
                format!("load balancer {} has no listener on port {port}", Shown(&lb.name)),
            )
        })
    }

    /// Finds a listener by its ARN.
    ///
    /// # Errors
    /// [`Code::ListenerNotFound`].
    pub fn find_listener_by_arn(&self, arn: &str) -> Result<&Listener, Error> {
        let found = self.listeners.values().find(|listener| self.listener_arn(listener) == arn);
        found.ok_or_else(|| Error::new(Code::ListenerNotFound, format!("there is no listener {}", Shown(arn))))
    }

    /// A listener's ARN.
    pub fn listener_arn(&self, listener: &Listener) -> String {
        let lb = self.load_balancers.get(&listener.load_balancer).map_or("", |lb| lb.name.as_str());
        ids::listener_arn(&self.site, lb, listener.load_balancer, listener.id)
    }

    /// A record as it is to be stored; `None`: it is to be removed.
    pub fn record(&self, key: &RecordKey) -> Option<Vec<u8>> {
        match *key {
            RecordKey::Meta => json(Some(&self.meta)),
            RecordKey::LoadBalancer(id) => json(self.load_balancers.get(&id)),
            RecordKey::Listener(lb, port) => json(self.listeners.get(&(lb, port))),
            RecordKey::RetiredListener(slot) => json(self.retired_listeners.get(&slot)),
            RecordKey::TargetGroup(id) => json(self.target_groups.get(&id)),
            RecordKey::Target(slot) => json(self.targets.get(&slot)),
            RecordKey::TargetSlots => json(Some(&self.target_slots)),
            RecordKey::ListenerSlots => json(Some(&self.listener_slots)),
            RecordKey::Object(kind, ref id) => self.object(kind, id),
        }
    }

    /// The keys of all records.
    pub fn record_keys(&self) -> Vec<RecordKey> {
        let mut keys = vec![RecordKey::Meta, RecordKey::TargetSlots, RecordKey::ListenerSlots];
        keys.extend(self.load_balancers.keys().map(|id| RecordKey::LoadBalancer(*id)));
        keys.extend(self.listeners.keys().map(|(lb, port)| RecordKey::Listener(*lb, *port)));
        keys.extend(self.retired_listeners.keys().map(|slot| RecordKey::RetiredListener(*slot)));
        keys.extend(self.target_groups.keys().map(|id| RecordKey::TargetGroup(*id)));
        keys.extend(self.targets.keys().map(|slot| RecordKey::Target(*slot)));
        keys.extend(self.object_keys());
        keys
    }

    /// The model that was stored. Drains keep the deadlines they had; what of the delay is left by the wall clock is what
    /// runs on by the monotonic clock, never more than the longest delay.
    ///
    /// # Errors
    /// A record is unknown, cannot be read or does not go with the others.
    pub fn load(
        site: Site,
        limits: Limits,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
        now: Now,
    ) -> Result<Self, LoadError> {
        let mut model = Self::new(site, limits, [0; 2]);
        for (text, value) in records {
            let key: RecordKey = text.parse()?;
            match key {
                RecordKey::Object(kind, id) => model.load_object(kind, &id, &value)?,
                RecordKey::Meta => model.meta = read(&key, &value)?,
                RecordKey::LoadBalancer(id) => drop(model.load_balancers.insert(id, read(&key, &value)?)),
                RecordKey::Listener(lb, port) => drop(model.listeners.insert((lb, port), read(&key, &value)?)),
                RecordKey::RetiredListener(slot) => drop(model.retired_listeners.insert(slot, read(&key, &value)?)),
                RecordKey::TargetGroup(id) => drop(model.target_groups.insert(id, read(&key, &value)?)),
                RecordKey::Target(slot) => drop(model.targets.insert(slot, read(&key, &value)?)),
                RecordKey::TargetSlots => model.target_slots = read(&key, &value)?,
                RecordKey::ListenerSlots => model.listener_slots = read(&key, &value)?,
            }
        }
        for target in model.targets.values_mut() {
            if let Registration::Draining { until_ms, until_mono_ms, .. } = &mut target.registration {
                *until_mono_ms = now.mono_ms + until_ms.saturating_sub(now.wall_ms).min(DELAY_MAX_MS);
            }
            if !target.is_left() {
                model.by_socket.insert((target.group, target.address, target.port), target.slot);
            }
        }
        for lb in model.load_balancers.values() {
            model.by_address.extend(lb.nodes.iter().flat_map(Node::all_addresses).map(|address| (address, lb.id)));
        }
        model.resume_shifts(now);
        model.check_references()?;
        Ok(model)
    }

    /// Finds records that do not go together: written by a defect, or changed by hand.
    pub(crate) fn check_references(&self) -> Result<(), LoadError> {
        let check = |good: bool, key| if good { Ok(()) } else { Err(LoadError::Inconsistent(key)) };
        let mut nodes = 0;
        for (id, lb) in &self.load_balancers {
            let addresses: Vec<IpAddr> = lb.nodes.iter().flat_map(Node::all_addresses).collect();
            let own = addresses.iter().all(|address| self.by_address.get(address) == Some(id));
            nodes += addresses.len();
            check(lb.id == *id && own && !lb.nodes.is_empty(), RecordKey::LoadBalancer(*id))?;
        }
        check(nodes == self.by_address.len(), RecordKey::Meta)?;
        for (id, group) in &self.target_groups {
            check(group.id == *id, RecordKey::TargetGroup(*id))?;
        }
        let mut slots = BTreeSet::new();
        for ((lb, port), l) in &self.listeners {
            let mut good = (l.load_balancer, l.port) == (*lb, *port)
                && self.load_balancers.contains_key(lb)
                && self.target_groups.contains_key(&l.target_group)
                && self.places(l).eq(l.slots.iter().map(|place| (place.address, place.protocol)));
            for place in &l.slots {
                good &= slots.insert(place.slot) && self.listener_slots.is_taken(place.slot);
            }
            check(good, RecordKey::Listener(*lb, *port))?;
        }
        for slot in self.retired_listeners.keys() {
            let good = slots.insert(*slot) && self.listener_slots.is_taken(*slot);
            check(good, RecordKey::RetiredListener(*slot))?;
        }
        for (slot, target) in &self.targets {
            let good = target.slot == *slot
                && self.target_slots.is_taken(*slot)
                && self.target_slots.generation(*slot) == target.generation
                && (!target.is_registered() || self.target_groups.contains_key(&target.group))
                && (self.by_socket.get(&(target.group, target.address, target.port)) == Some(slot)) != target.is_left();
            check(good, RecordKey::Target(*slot))?;
        }
        self.check_applications()?;
        self.check_classics()
    }
}

/// The longest deregistration delay.
const DELAY_MAX_MS: u64 = 3_600_000;

fn read<T: DeserializeOwned>(key: &RecordKey, value: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(value).map_err(|error| LoadError::Unreadable { key: key.clone(), why: error.to_string() })
}

fn json<T: Serialize>(value: Option<&T>) -> Option<Vec<u8>> {
    // These types have string keys only and no fallible serializers.
    value.map(|value| serde_json::to_vec(value).expect("records are JSON"))
}

//! Backups: the configuration as records, and its way back into a running appliance.
//!
//! A backup has no secrets (users stay where they are, the selection key too) and says nothing about flows. What flows refer to, the
//! numbers of targets and listeners, is never taken from it: what is there already and the same keeps its number, everything else gets
//! a fresh one, and the numbers of what is no more are left to the flows that they have.

use std::collections::BTreeMap;

use crate::error::{Code, Error};
use crate::health::Health;
use crate::ids::Id;
use crate::model::{Effects, Kind, Model, Now, RecordKey};
use crate::resource::{Owner, Registration, Target};

impl Model {
    /// The records of a backup: key and JSON.
    pub fn backup(&self) -> Vec<(String, Vec<u8>)> {
        let is_kept = |key: &RecordKey| !matches!(key, RecordKey::Object(Kind::User, _));
        let mut without_key = self.clone();
        without_key.meta.selection_key = [0; 2];
        let keys = self.record_keys().into_iter().filter(is_kept);
        keys.filter_map(|key| Some((key.to_string(), without_key.record(&key)?))).collect()
    }

    /// Makes the configuration that of a backup. Users, selection key and the counting of epochs stay.
    pub(crate) fn restore(&mut self, fx: &mut Effects, records: Vec<(String, Vec<u8>)>, now: Now) -> Result<(), Error> {
        let unfit = |error| Error::invalid("records", format!("the backup makes no configuration: {error}"));
        if let Some((key, _)) = records.iter().find(|(key, _)| key.starts_with("user/")) {
            return Err(unfit(format!("it has the record \"{key}\", and users are in no backup")));
        }
        let wanted =
            Self::load(self.site.clone(), self.limits, records, now).map_err(|error| unfit(error.to_string()))?;
        let before = self.clone();

        // What has no flows is taken as it is. Everything that is there leaves; what is wanted comes back below.
        *self = Self {
            meta: before.meta.clone(),
            users: before.users.clone(),
            listeners: before.listeners.clone(),
            retired_listeners: before.retired_listeners.clone(),
            listener_slots: before.listener_slots.clone(),
            target_slots: before.target_slots.clone(),
            targets: before.targets.clone(),
            by_socket: BTreeMap::new(),
            ..wanted.clone()
        };
        for lb in self.load_balancers.values_mut() {
            lb.active = self.site.without_data_plane || before.load_balancers.get(&lb.id).is_some_and(|old| old.active);
        }
        for (lb, port) in before.listeners.keys() {
            if !wanted.listeners.contains_key(&(*lb, *port)) {
                self.remove_listener(fx, *lb, *port);
            }
        }
        for (key, listener) in wanted.listeners {
            let slots = before.listeners.get(&key).map(|old| old.slots.clone()).unwrap_or_default();
            self.listeners.insert(key, crate::resource::Listener { slots, ..listener });
            self.place_listener(fx, key.0, key.1)?;
        }
        for target in self.targets.values_mut() {
            let since_epoch = match target.registration {
                Registration::Gone { since_epoch, .. } | Registration::Left { since_epoch } => since_epoch,
                Registration::Registered | Registration::Draining { .. } => before.meta.epoch,
            };
            target.registration = Registration::Left { since_epoch };
        }
        for target in wanted.targets.into_values().filter(Target::is_registered) {
            self.restore_target(&before, target, now)?;
        }
        self.check_references().map_err(|error| unfit(error.to_string()))?;

        let keys = before.record_keys().into_iter().chain(self.record_keys());
        fx.changed = keys.filter(|key| before.record(key) != self.record(key)).collect();
        Ok(())
    }

    /// Registers a target under the number that it has, if its flows are of the same load balancer, else under a fresh one.
    fn restore_target(&mut self, before: &Self, target: Target, now: Now) -> Result<(), Error> {
        let socket = (target.group, target.address, target.port);
        let user: Option<Id> = self.user_of(target.group);
        let epoch = self.meta.epoch;
        let fresh = Target {
            registration: Registration::Registered,
            owner: None,
            health: Health::Initial,
            cause: None,
            initial_since_ms: now.wall_ms,
            initial_since_epoch: epoch,
            verdicts: Vec::new(),
            unavailable: 0,
            suspect: false,
            ..target
        };
        let same =
            before.by_socket.get(&socket).and_then(|slot| before.targets.get(slot)).filter(|old| match old.owner {
                Some(owner) => owner.withdrawn_since.is_none() && user.is_none_or(|user| user == owner.load_balancer),
                None => true,
            });
        let mut target = match same {
            Some(old) if old.is_registered() => Target { name: fresh.name, zone: fresh.zone, ..old.clone() },
            Some(old) => Target { slot: old.slot, generation: old.generation, owner: old.owner, ..fresh },
            None => {
                let none = || {
                    Error::new(
                        Code::TooManyTargets,
                        "all 65535 target numbers are taken; restore when flows have ended",
                    )
                };
                let (slot, generation) = self.target_slots.take().ok_or_else(none)?;
                Target { slot, generation, ..fresh }
            }
        };
        if let Some(load_balancer) = user {
            target.owner = Some(Owner { load_balancer, withdrawn_since: None });
        }
        self.by_socket.insert(socket, target.slot);
        self.targets.insert(target.slot, target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, Site};
    use crate::{Limits, rest};
    use serde_json::json;

    const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_ms: 0 };

    fn model() -> Model {
        let subnets = vec![("p0".to_owned(), "10.1.0.2/24".parse().expect("a net"))];
        Model::new(Site { subnets, ..Site::default() }, Limits::default(), [1, 2])
    }

    fn balancer(name: &str, address: &str, id: u64) -> Command {
        let request = json!({"name": name, "nodes": [{"zone": "zone-a", "address": address}]});
        Command::CreateLoadBalancer { request: serde_json::from_value(request).expect("a request"), id: Id(id) }
    }

    fn group(name: &str, id: u64) -> Command {
        let request = json!({"name": name, "protocol": "TCP", "port": 80});
        Command::CreateTargetGroup { request: serde_json::from_value(request).expect("a request"), id: Id(id) }
    }

    fn listener(lb: &str, port: u16, group: &str, id: u64) -> Command {
        let request = serde_json::from_value(json!({"protocol": "TCP", "port": port, "targetGroup": group}));
        Command::CreateListener { load_balancer: lb.into(), request: request.expect("a request"), id: Id(id) }
    }

    fn targets(ids: &[&str]) -> Vec<rest::TargetSpec> {
        ids.iter().map(|id| rest::TargetSpec { id: (*id).into(), port: None, zone: None }).collect()
    }

    fn register(group: &str, ids: &[&str]) -> Command {
        Command::RegisterTargets { target_group: group.into(), targets: targets(ids) }
    }

    fn deregister(group: &str, ids: &[&str]) -> Command {
        Command::DeregisterTargets { target_group: group.into(), targets: targets(ids) }
    }

    fn delete(name: &str) -> Command {
        Command::DeleteLoadBalancer { load_balancer: name.into() }
    }

    /// Applies a command as the control plane does, and proves that what is stored makes the same model again.
    fn apply(model: &mut Model, command: Command) -> Result<(), Error> {
        let mut next = model.clone();
        let effects = next.apply(command, NOW)?;
        let mut stored: BTreeMap<_, _> =
            model.record_keys().into_iter().filter_map(|key| Some((key.to_string(), model.record(&key)?))).collect();
        for key in &effects.changed {
            match next.record(key) {
                Some(value) => drop(stored.insert(key.to_string(), value)),
                None => drop(stored.remove(&key.to_string())),
            }
        }
        let loaded = Model::load(next.site.clone(), next.limits, stored, NOW).expect("a configuration");
        assert_eq!(loaded.record_keys(), next.record_keys());
        for key in next.record_keys() {
            assert_eq!(loaded.record(&key), next.record(&key), "{key}");
        }
        *model = next;
        Ok(())
    }

    /// `web` with two targets, `api` with one of them.
    fn serving() -> Model {
        let mut model = model();
        for command in [
            balancer("web", "10.1.0.10", 1),
            balancer("api", "10.1.0.20", 2),
            group("web", 3),
            group("api", 4),
            register("web", &["10.2.0.11", "10.2.0.12"]),
            register("api", &["10.2.0.11"]),
            listener("web", 80, "web", 5),
            listener("web", 81, "web", 6),
            listener("api", 80, "api", 7),
        ] {
            apply(&mut model, command).expect("good");
        }
        model
    }

    /// What somebody outside sees of the configuration.
    fn shown(model: &Model) -> String {
        let listeners: Vec<_> = model.listeners().map(|listener| model.show_listener(listener)).collect();
        let sockets = model.target_groups().map(|group| {
            let registered = model.targets_of(group.id).filter(|target| target.is_registered());
            registered.map(|target| (target.address, target.port)).collect::<Vec<_>>()
        });
        let (balancers, groups) =
            (model.load_balancers().collect::<Vec<_>>(), model.target_groups().collect::<Vec<_>>());
        format!("{balancers:?} {groups:?} {listeners:?} {:?}", sockets.collect::<Vec<_>>())
    }

    fn slot(model: &Model, group: u64, address: &str) -> (u16, u8) {
        let address: std::net::IpAddr = address.parse().expect("an address");
        let target = model.targets_of(Id(group)).find(|target| target.address == address).expect("a target");
        (target.slot, target.generation)
    }

    /// A mistake is undone: flows of what was there all the time stay where they are, and no flow of what was there only meanwhile
    /// can be taken for one of what comes back.
    ///
    /// req: DEL-03
    #[test]
    fn a_backup_brings_everything_back() {
        let mut model = serving();
        let (backup, before) = (model.backup(), shown(&model));
        let kept = slot(&model, 3, "10.2.0.12");
        for command in [
            deregister("web", &["10.2.0.11"]),
            delete("api"),
            Command::DeleteListener { load_balancer: "web".into(), port: 81 },
            group("new", 8),
            register("new", &["10.2.0.11"]),
            balancer("new", "10.1.0.30", 9),
            listener("new", 80, "new", 10),
        ] {
            apply(&mut model, command).expect("good");
        }
        let taken: Vec<_> = model.targets.values().filter(|target| target.group == Id(8)).map(|t| t.slot).collect();
        let of_api = slot(&model, 4, "10.2.0.11").0;
        let epoch = model.epoch();
        apply(&mut model, Command::Restore(backup.clone())).expect("good");
        assert_eq!((shown(&model), model.epoch(), model.selection_key()), (before, epoch + 1, [1, 2]));
        assert_eq!(slot(&model, 3, "10.2.0.12"), kept, "its flows are its own");
        // Numbers that flows of others may still refer to are left to them.
        for gone in taken.into_iter().chain([of_api]) {
            assert!(model.targets[&gone].is_left());
            assert!(model.target_slots.is_taken(gone));
        }
        let retired: Vec<_> = model.retired_listeners().map(|(_, retired)| retired.load_balancer).collect();
        assert_eq!(retired, [Id(9)]);
        // Again: nothing is to be done.
        let same = model.clone().apply(Command::Restore(backup), NOW).expect("good");
        assert!(same.changed.is_empty(), "{same:?}");
    }

    /// On a new machine, and with users that are there.
    #[test]
    fn a_backup_makes_an_empty_appliance_the_same() {
        let (old, mut new) = (serving(), model());
        apply(&mut new, Command::Restore(old.backup())).expect("good");
        let inactive = |model: &Model| shown(model).replace("active: true", "active: false");
        assert_eq!(inactive(&new), inactive(&old));
        assert!(new.targets().all(|target| target.health == Health::Initial));
        let text: Vec<String> =
            old.backup().iter().map(|(key, value)| format!("{key} {}", String::from_utf8_lossy(value))).collect();
        assert!(text.iter().any(|line| line.contains("\"selectionKey\":[0,0]")), "secret");
    }

    #[test]
    fn what_makes_no_configuration_is_refused() {
        let model = serving();
        let mut without_group = model.backup();
        without_group.retain(|(key, _)| !key.starts_with("target-group/"));
        let mut torn = model.backup();
        torn[0].1.truncate(3);
        for records in [without_group, torn, vec![("user/x".into(), b"{}".to_vec())], vec![("what".into(), vec![])]] {
            let mut copy = model.clone();
            let error = copy.apply(Command::Restore(records), NOW).expect_err("no configuration");
            assert_eq!((error.code, error.field.as_deref()), (Code::ValidationError, Some("records")), "{error}");
        }
    }
}

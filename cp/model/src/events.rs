//! What operators are told when a configuration has become another one: a pure comparison of the two (HC-29).
//!
//! Its work follows what a change has touched, not what there is: targets that did not change are compared only where something
//! they depend on has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::forward::Mode;
use crate::ids::Id;
use crate::model::{Kind, Model, Now, RecordKey};
use crate::resource::{LoadBalancer, Target, TargetGroup};
use crate::rest::{EventType, ShiftStatus, TargetHealth, TargetState, Transition};
use crate::shift::Shift;
use crate::view::{not_registered, rfc3339};
use crate::zones::Out;

/// What has changed from `old` to `new`, causes before what follows from them. `changed` are the records that differ, or more.
pub fn between(old: &Model, new: &Model, changed: &BTreeSet<RecordKey>, now: Now) -> Vec<Transition> {
    let scope = Scope::of(old, new, changed);
    let mut events = Vec::new();
    ports(old, new, &mut events);
    load_balancers(old, new, changed, &mut events);
    shifts(old, new, changed, &mut events);
    targets(old, new, &scope, now, &mut events);
    fail_open(old, new, &scope, &mut events);
    zones(old, new, &scope, &mut events);
    events
}

/// The key of a target for as long as it is known: group, address, port.
type Socket = (Id, IpAddr, u16);

/// What a change can have touched.
#[derive(Default)]
struct Scope {
    sockets: BTreeSet<Socket>,
    groups: BTreeSet<Id>,
    load_balancers: BTreeSet<Id>,
}

impl Scope {
    fn of(old: &Model, new: &Model, changed: &BTreeSet<RecordKey>) -> Self {
        let mut scope = Self::default();
        let mut whole_groups = BTreeSet::new();
        // While nothing is checked, no target's health can be told.
        let mut everything = old.checks_stopped != new.checks_stopped;
        for key in changed {
            match *key {
                RecordKey::Target(slot) => {
                    let known = [old, new].into_iter().filter_map(|model| model.targets.get(&slot));
                    scope.sockets.extend(known.map(|target| (target.group, target.address, target.port)));
                }
                RecordKey::TargetGroup(id) => drop(whole_groups.insert(id)),
                RecordKey::Listener(lb, port) => {
                    let known = [old, new].into_iter().filter_map(|model| model.listeners.get(&(lb, port)));
                    whole_groups.extend(known.map(|listener| listener.target_group));
                    scope.load_balancers.insert(lb);
                }
                RecordKey::Object(Kind::ZonalShift, ref id) => {
                    let known = [old, new].into_iter().filter_map(|model| model.shifts.get(id));
                    scope.load_balancers.extend(known.map(|shift| shift.load_balancer));
                }
                // Addresses, zones and instances' states count for any target.
                RecordKey::LoadBalancer(_)
                | RecordKey::Object(Kind::Zone | Kind::Network | Kind::Subnet | Kind::Instance, _) => everything = true,
                RecordKey::Meta
                | RecordKey::RetiredListener(_)
                | RecordKey::TargetSlots
                | RecordKey::ListenerSlots
                | RecordKey::Object(..) => {}
            }
        }
        for model in [old, new] {
            if everything {
                whole_groups.extend(model.target_groups.keys());
            }
            if everything || old.ports_down != new.ports_down {
                scope.load_balancers.extend(model.load_balancers.keys());
            }
            for group in &whole_groups {
                let sockets = model.targets_of(*group).map(|target| (target.group, target.address, target.port));
                scope.sockets.extend(sockets);
            }
        }
        scope.groups = whole_groups;
        scope.groups.extend(scope.sockets.iter().map(|(group, ..)| *group));
        for model in [old, new] {
            scope.load_balancers.extend(scope.groups.iter().filter_map(|group| model.user_of(*group)));
        }
        scope
    }
}

impl EventType {
    /// A transition of this type to a state, of which nothing else is known.
    pub fn to(self, to: &str) -> Transition {
        Transition {
            kind: self,
            load_balancer: None,
            target_group: None,
            target: None,
            address: None,
            zone: None,
            port: None,
            zonal_shift: None,
            from: None,
            to: to.into(),
            reason: None,
            description: None,
        }
    }
}

fn ports(old: &Model, new: &Model, events: &mut Vec<Transition>) {
    let one = |name: &String, from: &str, to: &str| Transition {
        port: Some(name.clone()),
        from: Some(from.into()),
        ..EventType::Port.to(to)
    };
    events.extend(new.ports_down.difference(&old.ports_down).map(|name| one(name, "up", "down")));
    events.extend(old.ports_down.difference(&new.ports_down).map(|name| one(name, "down", "up")));
}

/// The name that people know it by.
fn name_of(lb: &LoadBalancer) -> String {
    lb.classic.as_ref().unwrap_or(&lb.name).clone()
}

fn load_balancers(old: &Model, new: &Model, changed: &BTreeSet<RecordKey>, events: &mut Vec<Transition>) {
    for key in changed {
        let RecordKey::LoadBalancer(id) = key else { continue };
        let (before, after) = (old.load_balancers.get(id), new.load_balancers.get(id));
        let from = before.map(|lb| old.state_of(lb).code);
        let (to, why) = match after.map(|lb| new.state_of(lb)) {
            Some(state) => (state.code, state.reason),
            None => ("deleted".into(), None),
        };
        if let Some(lb) = after.or(before).filter(|_| from.as_ref() != Some(&to)) {
            let load_balancer = Some(name_of(lb));
            events.push(Transition { load_balancer, from, description: why, ..EventType::LoadBalancer.to(&to) });
        }
    }
}

fn shifts(old: &Model, new: &Model, changed: &BTreeSet<RecordKey>, events: &mut Vec<Transition>) {
    for key in changed {
        let RecordKey::Object(Kind::ZonalShift, id) = key else { continue };
        let (before, Some(after)) = (old.shifts.get(id), new.shifts.get(id)) else { continue };
        let shown = |shift: &Shift| (shift.status, shift.expiry_ms, shift.comment.clone());
        if before.map(shown) == Some(shown(after)) {
            continue;
        }
        let lb = [new, old].iter().find_map(|model| model.load_balancers.get(&after.load_balancer));
        let comment = if after.comment.is_empty() { String::new() } else { format!(": {}", after.comment) };
        events.push(Transition {
            load_balancer: lb.map(name_of),
            zone: Some(after.away_from.clone()),
            zonal_shift: Some(id.clone()),
            from: before.map(|shift| status(shift).into()),
            description: Some(format!("until {}{comment}", rfc3339(after.expiry_ms))),
            ..EventType::ZonalShift.to(status(after))
        });
    }
}

fn status(shift: &Shift) -> &'static str {
    match shift.status {
        ShiftStatus::Active => "active",
        ShiftStatus::Expired => "expired",
        ShiftStatus::Canceled => "canceled",
    }
}

/// What a group is called: its name, and that of the load balancer that it is for.
fn names_of(model: &Model, group: &TargetGroup) -> (Option<String>, Option<String>) {
    let user = model.user_of(group.id).and_then(|lb| model.load_balancers.get(&lb));
    let name = group.classic.is_none().then(|| group.name.clone());
    (name, group.classic.clone().or_else(|| user.map(name_of)))
}

fn targets(old: &Model, new: &Model, scope: &Scope, now: Now, events: &mut Vec<Transition>) {
    for socket in &scope.sockets {
        let (before, after) = (find(old, socket), find(new, socket));
        let (was, is) = (health(old, before, now), health(new, after, now));
        let same = was.state == is.state && (was.reason == is.reason || is.state == TargetState::Initial);
        let known = after.map(|target| (new, target)).or(before.map(|target| (old, target)));
        let Some((model, target)) = known.filter(|_| !same) else { continue };
        let Some(group) = model.target_groups.get(&target.group) else { continue };
        let (target_group, load_balancer) = names_of(model, group);
        events.push(Transition {
            load_balancer,
            target_group,
            target: Some(target.label()),
            address: Some(target.address).filter(|address| !address.is_unspecified()),
            zone: Some(model.zone_of(target).to_owned()).filter(|zone| !zone.is_empty()),
            from: Some(was.state.to_string()),
            reason: is.reason,
            description: is.description,
            ..EventType::Target.to(&is.state.to_string())
        });
    }
}

/// A target of a group that there is.
fn find<'m>(model: &'m Model, socket: &Socket) -> Option<&'m Target> {
    let slot = model.by_socket.get(socket).filter(|_| model.target_groups.contains_key(&socket.0))?;
    model.targets.get(slot)
}

fn health(model: &Model, target: Option<&Target>, now: Now) -> TargetHealth {
    target.map_or_else(not_registered, |target| model.show_health(target, now))
}

fn fail_open(old: &Model, new: &Model, scope: &Scope, events: &mut Vec<Transition>) {
    for id in &scope.groups {
        let (before, after) = (open_zones(old, *id), open_zones(new, *id));
        let changes = after.difference(&before).map(|zone| (zone, new, "off", "on"));
        for (zone, model, from, to) in changes.chain(before.difference(&after).map(|zone| (zone, old, "on", "off"))) {
            let Some(group) = new.target_groups.get(id).or_else(|| old.target_groups.get(id)) else { continue };
            let (target_group, load_balancer) = names_of(model, group);
            events.push(Transition {
                load_balancer,
                target_group,
                zone: Some(zone.to_string()),
                from: Some(from.into()),
                description: (to == "on").then(|| OPEN.into()),
                ..EventType::FailOpen.to(to)
            });
        }
    }
}

const OPEN: &str = "too few targets are healthy: new flows of the zone go to all of them";

/// The zones whose new flows go to all targets of a group, whatever their health.
fn open_zones(model: &Model, group: Id) -> BTreeSet<&str> {
    let lb = model.user_of(group).and_then(|lb| model.load_balancers.get(&lb));
    let nodes = (0u8..).zip(lb.iter().flat_map(|lb| &lb.nodes));
    let open = nodes.filter(|(number, _)| {
        let (_, registered) = model.count(group, *number);
        registered > 0 && model.mode(group, *number) == Mode::All
    });
    if model.site.without_data_plane { BTreeSet::new() } else { open.map(|(_, node)| node.zone.as_str()).collect() }
}

fn zones(old: &Model, new: &Model, scope: &Scope, events: &mut Vec<Transition>) {
    for id in &scope.load_balancers {
        let Some(lb) = new.load_balancers.get(id) else { continue };
        let (before, after) = (outs(old, *id), outs(new, *id));
        let zones: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        for zone in zones {
            let (was, is) = (before.get(zone), after.get(zone));
            // Which of several groups it is that has too few is no news.
            let kind = |out: &Option<Out>| out.as_ref().map(reason);
            if is.map(kind) == was.map(kind) || is == Some(&None) && was.is_none() {
                continue;
            }
            let word = |out: &Option<Out>| if out.is_some() { "out-of-service" } else { "in-service" };
            let out = is.and_then(Option::as_ref);
            events.push(Transition {
                load_balancer: Some(name_of(lb)),
                zone: Some(zone.into()),
                from: was.map(|out| word(out).into()),
                reason: out.map(|out| reason(out).into()),
                description: out.map(|out| new.describe_out(out)),
                ..EventType::Zone.to(is.map_or("disabled", word))
            });
        }
    }
}

/// Why each zone of a load balancer does not serve.
fn outs(model: &Model, lb: Id) -> BTreeMap<&str, Option<Out>> {
    let lb = model.load_balancers.get(&lb);
    lb.into_iter().flat_map(|lb| model.zones_of(lb)).map(|zone| (zone.node.zone.as_str(), zone.out)).collect()
}

fn reason(out: &Out) -> &'static str {
    match out {
        Out::Port(_) => "Zone.PortDown",
        Out::Shifted => "Zone.Shifted",
        Out::Group(_) => "Zone.TooFewHealthyTargets",
    }
}

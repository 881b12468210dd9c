//! Flap protection of a load balancer's zones in DNS (S16.8): a zone that fails leaves at once, and comes back not sooner than
//! [`HOLD_MS`] after it left or came last. Never are all of them out (I8): the last one stays until another may come.

use std::collections::BTreeMap;

/// A zone comes back not sooner than this after its last change, in milliseconds.
pub const HOLD_MS: u64 = 5_000;

/// The zones of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    zones: BTreeMap<String, Zone>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone {
    included: bool,
    /// None: it has been as it is since it was first seen.
    changed_ms: Option<u64>,
}

impl Hold {
    /// Takes over which zones are wanted in DNS, at least one of them: what may be followed is. Tells when more will be.
    pub fn turn<'z>(&mut self, zones: impl IntoIterator<Item = (&'z str, bool)>, now_ms: u64) -> Option<u64> {
        let wanted: BTreeMap<&str, bool> = zones.into_iter().collect();
        self.zones.retain(|name, _| wanted.contains_key(name.as_str()));
        for (name, included) in &wanted {
            let new = Zone { included: *included, changed_ms: None };
            self.zones.entry((*name).to_owned()).or_insert(new);
        }
        let is_wanted = |name: &str| wanted.get(name) == Some(&true);
        let mut due: Option<u64> = None;
        for (_, zone) in self.zones.iter_mut().filter(|(name, zone)| is_wanted(name) && !zone.included) {
            match zone.changed_ms.map(|at| at + HOLD_MS).filter(|at| *at > now_ms) {
                Some(at) => due = due.into_iter().chain([at]).min(),
                None => *zone = Zone { included: true, changed_ms: Some(now_ms) },
            }
        }
        if self.zones.iter().any(|(name, zone)| is_wanted(name) && zone.included) {
            let failed = self.zones.iter_mut().filter(|(name, zone)| !is_wanted(name) && zone.included);
            failed.for_each(|(_, zone)| *zone = Zone { included: false, changed_ms: Some(now_ms) });
        }
        if self.zones.values().all(|zone| !zone.included) {
            // The last one that was named is no zone of it any more.
            let serving = self.zones.iter_mut().filter(|(name, _)| is_wanted(name));
            serving.for_each(|(_, zone)| *zone = Zone { included: true, changed_ms: Some(now_ms) });
        }
        due
    }

    /// The zones that are named.
    pub fn included(&self) -> impl Iterator<Item = &str> {
        self.zones.iter().filter(|(_, zone)| zone.included).map(|(name, _)| name.as_str())
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn turn(hold: &mut Hold, wanted: u8, now_ms: u64) -> Option<u64> {
        hold.turn(NAMES.iter().enumerate().map(|(bit, name)| (*name, wanted & 1 << bit != 0)), now_ms)
    }

    fn included(hold: &Hold) -> u8 {
        let bit = |name: &str| NAMES.iter().position(|it| *it == name).map_or(0, |bit| 1 << bit);
        hold.included().map(bit).sum()
    }

    /// A zone that fails leaves at once, and comes back 5 s later, not sooner. While nobody else may come, the last one stays.
    ///
    /// req: DNS-06
    #[test]
    fn a_zone_leaves_at_once_and_comes_back_after_a_time() {
        let mut hold = Hold::default();
        assert_eq!((turn(&mut hold, 0b11, 0), included(&hold)), (None, 0b11));
        assert_eq!((turn(&mut hold, 0b01, 1000), included(&hold)), (None, 0b01));
        assert_eq!((turn(&mut hold, 0b11, 1100), included(&hold)), (Some(6000), 0b01));
        assert_eq!((turn(&mut hold, 0b10, 5999), included(&hold)), (Some(6000), 0b01), "never none");
        assert_eq!((turn(&mut hold, 0b10, 6000), included(&hold)), (None, 0b10));
        // A zone that is new comes at once.
        assert_eq!((turn(&mut hold, 0b110, 6001), included(&hold)), (None, 0b110));
    }

    proptest! {
        /// Whatever happens: never none; what fails leaves at once if anything else is named; what comes was not changed in the 5 s
        /// before; and when things stay as they are, they are named as they are.
        ///
        /// req: DNS-06, DNS-09
        #[test]
        fn never_empty_and_never_flapping(steps in prop::collection::vec((0_u64..3000, 1_u8..8), 1..200)) {
            let (mut hold, mut now, mut before) = (Hold::default(), 0, None::<u8>);
            let mut changed = [None::<u64>; 3];
            for (pause, wanted) in steps {
                now += pause;
                let due = turn(&mut hold, wanted, now);
                let after = included(&hold);
                prop_assert!(after != 0);
                prop_assert!(after & wanted == 0 || after & !wanted == 0, "{after:b} stays though {wanted:b} serve");
                prop_assert!(due.is_some() == (wanted & !after != 0) && due.is_none_or(|at| at > now));
                for (bit, changed) in changed.iter_mut().enumerate() {
                    let (was, is) = (before.unwrap_or(after) >> bit & 1, after >> bit & 1);
                    if is > was {
                        prop_assert!(changed.is_none_or(|at| now >= at + HOLD_MS), "zone {bit} came back too soon");
                    }
                    if is != was {
                        *changed = Some(now);
                    }
                }
                before = Some(after);
            }
            let wanted = before.unwrap_or(1) ^ 0b111 | 1;
            turn(&mut hold, wanted, now);
            prop_assert_eq!(turn(&mut hold, wanted, now + HOLD_MS), None);
            prop_assert_eq!(included(&hold), wanted);
        }
    }
}

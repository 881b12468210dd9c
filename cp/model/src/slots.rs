//! Stable small numbers for what flows refer to.
//!
//! A slot belongs to one holder until it is freed, and it is freed only when no flow refers to it any more. Its generation
//! changes with the holder, so that a number read late cannot be taken for the new holder's. The data plane's counters of a slot
//! are never reset: what they had counted when the slot was freed is kept and subtracted.

use serde::{Deserialize, Serialize};

/// A table of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slot {
    generation: u8,
    used: bool,
    /// What the counters said when the slot was freed last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counted: Vec<u64>,
}

/// More slots than a data plane can have.
pub const SLOTS_MAX: usize = u16::MAX as usize;

impl Slots {
    /// Takes the lowest free slot: (slot, generation). `None`: all 65,535 are taken.
    pub fn take(&mut self) -> Option<(u16, u8)> {
        let at = match self.slots.iter().position(|slot| !slot.used) {
            Some(at) => at,
            None if self.slots.len() < SLOTS_MAX => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[at];
        slot.used = true;
        Some((u16::try_from(at).ok()?, slot.generation))
    }

    /// Frees a slot, remembering what its counters say now. A slot that is not taken stays as it is.
    pub fn free(&mut self, slot: u16, counted: Vec<u64>) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)).filter(|slot| slot.used) {
            *slot = Slot { generation: slot.generation.wrapping_add(1), used: false, counted };
        }
    }

    /// Whether a slot is taken.
    pub fn is_taken(&self, slot: u16) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|slot| slot.used)
    }

    /// The generation of a slot.
    pub fn generation(&self, slot: u16) -> u8 {
        self.slots.get(usize::from(slot)).map_or(0, |slot| slot.generation)
    }

    /// What counter `index` of the slot has counted for its present holder, given what it says. A counter that says less than
    /// when the slot was freed has started anew with a new segment.
    pub fn since_taken(&self, slot: u16, index: usize, says: u64) -> u64 {
        let counted = self.slots.get(usize::from(slot)).and_then(|slot| slot.counted.get(index)).copied().unwrap_or(0);
        says.checked_sub(counted).unwrap_or(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_freed_slot_comes_back_with_another_generation() {
        let mut slots = Slots::default();
        assert_eq!([slots.take(), slots.take()], [Some((0, 0)), Some((1, 0))]);
        slots.free(0, vec![7]);
        slots.free(0, vec![9]);
        assert_eq!(slots.take(), Some((0, 1)));
        assert_eq!([slots.since_taken(0, 0, 10), slots.since_taken(0, 0, 3), slots.since_taken(0, 1, 5)], [3, 3, 5]);
        assert_eq!(slots.since_taken(1, 0, 5), 5);
    }

    proptest! {
        /// No two holders ever have the same slot at once, and a slot's next holder has another generation.
        #[test]
        fn holders_never_share(steps in proptest::collection::vec(any::<Option<prop::sample::Index>>(), 0..200)) {
            let mut slots = Slots::default();
            let mut held: BTreeMap<u16, u8> = BTreeMap::new();
            let mut last: BTreeMap<u16, u8> = BTreeMap::new();
            for step in steps {
                match step {
                    Some(index) if !held.is_empty() => {
                        let slot = *index.get(&held.keys().copied().collect::<Vec<_>>());
                        held.remove(&slot);
                        slots.free(slot, vec![]);
                        prop_assert!(!slots.is_taken(slot));
                    }
                    _ => {
                        let (slot, generation) = slots.take().expect("there is room");
                        prop_assert_eq!(held.insert(slot, generation), None);
                        prop_assert_ne!(last.insert(slot, generation), Some(generation));
                        prop_assert_eq!(slots.generation(slot), generation);
                    }
                }
            }
        }
    }

    #[test]
    fn there_are_65535_slots() {
        let mut slots = Slots { slots: vec![Slot { used: true, ..Slot::default() }; SLOTS_MAX - 1] };
        assert_eq!(slots.take(), Some((65534, 0)));
        assert_eq!(slots.take(), None);
    }
}

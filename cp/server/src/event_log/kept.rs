//! Events in little memory: texts that many events have are kept once, and as long as one has them.

use std::collections::HashMap;
use std::sync::Arc;

use leat_model::rest::{Event, EventType, Transition};
use leat_model::view::rfc3339_ms;

/// Stands for no text.
const NONE: u32 = u32::MAX;

/// An event; its texts are in [`Texts`].
pub struct Kept {
    wall_ms: u64,
    kind: EventType,
    /// In the order of [`texts_of`], and the address.
    texts: [u32; 11],
}

fn texts_of(what: &Transition) -> [Option<&str>; 10] {
    [
        what.load_balancer.as_deref(),
        what.target_group.as_deref(),
        what.target.as_deref(),
        what.zone.as_deref(),
        what.port.as_deref(),
        what.zonal_shift.as_deref(),
        what.from.as_deref(),
        Some(&what.to),
        what.reason.as_deref(),
        what.description.as_deref(),
    ]
}

impl Kept {
    /// Keeps what has happened at a time in milliseconds since 1970.
    pub fn new(texts: &mut Texts, wall_ms: u64, what: &Transition) -> Self {
        let mut ids = [NONE; 11];
        for (id, text) in ids.iter_mut().zip(texts_of(what)) {
            *id = text.map_or(NONE, |text| texts.keep(text));
        }
        ids[10] = what.address.map_or(NONE, |address| texts.keep(&address.to_string()));
        Self { wall_ms, kind: what.kind, texts: ids }
    }

    /// The event as it is shown.
    pub fn show(&self, texts: &Texts, sequence: u64) -> Event {
        let [load_balancer, target_group, target, zone, port, zonal_shift, from, to, reason, description, address] =
            self.texts.map(|id| texts.get(id));
        let what = Transition {
            kind: self.kind,
            load_balancer,
            target_group,
            target,
            address: address.and_then(|address| address.parse().ok()),
            zone,
            port,
            zonal_shift,
            from,
            to: to.unwrap_or_default(),
            reason,
            description,
        };
        Event { sequence, time: rfc3339_ms(self.wall_ms), what }
    }

    /// Gives its texts back.
    pub fn forget(self, texts: &mut Texts) {
        self.texts.iter().for_each(|id| texts.release(*id));
    }
}

/// Texts by number, each with how many have it.
#[derive(Default)]
pub struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    kept: Vec<(Arc<str>, u32)>,
    free: Vec<u32>,
}

impl Texts {
    fn keep(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            self.kept[*number as usize].1 += 1;
            return *number;
        }
        let text: Arc<str> = text.into();
        let entry = (text.clone(), 1);
        let number = match self.free.pop() {
            Some(number) => {
                self.kept[number as usize] = entry;
                number
            }
            None => {
                self.kept.push(entry);
                self.kept.len() as u32 - 1
            }
        };
        self.numbers.insert(text, number);
        number
    }

    fn get(&self, number: u32) -> Option<String> {
        self.kept.get(number as usize).map(|(text, _)| text.to_string())
    }

    fn release(&mut self, number: u32) {
        let Some((text, users)) = self.kept.get_mut(number as usize) else { return };
        *users -= 1;
        if *users == 0 {
            self.numbers.remove(text);
            *text = Arc::from("");
            self.free.push(number);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.numbers.len()
    }
}

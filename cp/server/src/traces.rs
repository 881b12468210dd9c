//! The traces that were asked for and what has come of them. Written by the publisher's thread, read by the API.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use leat_model::rest::{Trace, TraceStep, TracedPacket};

/// Traces that are kept; the oldest goes first.
const KEPT_MAX: usize = 16;
/// Stages kept for one packet.
const STEPS_MAX: usize = 64;

/// All traces.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last_id: u32,
    traces: BTreeMap<u32, Collected>,
}

#[derive(Debug)]
struct Collected {
    trace: Trace,
    /// Where the packet of an lcore is in the list.
    places: HashMap<(u16, u32), usize>,
    /// Packets beyond the count have come: it is enough.
    full: bool,
}

impl Traces {
    fn with<T>(&self, use_it: impl FnOnce(&mut Kept) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new trace of so many packets: its id.
    pub fn begin(&self, count: u32) -> u32 {
        self.with(|kept| {
            // Begins at random, so that late events of an earlier process are nobody's.
            let start = if kept.last_id == 0 { rand::random_range(0..1 << 24) } else { kept.last_id };
            kept.last_id = start + 1;
            let id = kept.last_id;
            let trace = Trace { id, count, running: true, packets: Vec::new() };
            kept.traces.insert(id, Collected { trace, places: HashMap::new(), full: false });
            while kept.traces.len() > KEPT_MAX {
                kept.traces.pop_first();
            }
            id
        })
    }

    /// A stage of a packet.
    pub fn add(&self, id: u32, lcore: u16, packet: u32, step: TraceStep) {
        self.with(|kept| {
            let Some(collected) = kept.traces.get_mut(&id) else { return };
            let packets = &mut collected.trace.packets;
            let place = match collected.places.get(&(lcore, packet)) {
                Some(place) => *place,
                None if packets.len() >= collected.trace.count as usize => {
                    collected.full = true;
                    return;
                }
                None => {
                    packets.push(TracedPacket { lcore, packet, steps: Vec::new() });
                    collected.places.insert((lcore, packet), packets.len() - 1);
                    packets.len() - 1
                }
            };
            if packets[place].steps.len() < STEPS_MAX {
                packets[place].steps.push(step);
            }
        });
    }

    /// Whether the trace's packets are not all there yet. The last packet's last stages may come a moment later.
    pub fn wants_more(&self, id: u32) -> bool {
        self.with(|kept| kept.traces.get(&id).is_some_and(|collected| !collected.full))
    }

    /// No more packets will come.
    pub fn end(&self, id: u32) {
        self.with(|kept| {
            if let Some(collected) = kept.traces.get_mut(&id) {
                collected.trace.running = false;
            }
        });
    }

    /// A trace.
    pub fn get(&self, id: u32) -> Option<Trace> {
        self.with(|kept| {
            let trace = &kept.traces.get(&id)?.trace;
            let running = trace.running && trace.packets.len() < trace.count as usize;
            Some(Trace { running, ..trace.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: &str) -> TraceStep {
        TraceStep { stage: stage.into(), detail: String::new() }
    }

    #[test]
    fn packets_are_collected_up_to_the_count() {
        let traces = Traces::default();
        let id = traces.begin(2);
        assert!(traces.get(id).expect("it").running);
        for (lcore, packet, stage) in [(0, 0, "rx"), (1, 0, "rx"), (0, 0, "parse"), (0, 1, "rx"), (1, 0, "drop")] {
            traces.add(id, lcore, packet, step(stage));
        }
        let trace = traces.get(id).expect("it");
        assert!(!trace.running && !traces.wants_more(id));
        let stages = |n: usize| trace.packets[n].steps.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>();
        assert_eq!((trace.packets.len(), stages(0), stages(1)), (2, vec!["rx", "parse"], vec!["rx", "drop"]));
        assert!(traces.get(id + 1).is_none());
    }

    #[test]
    fn the_oldest_traces_go() {
        let traces = Traces::default();
        let ids: Vec<u32> = (0..20).map(|_| traces.begin(1)).collect();
        assert!(traces.get(ids[3]).is_none() && traces.get(ids[4]).is_some());
        traces.end(ids[19]);
        assert!(!traces.get(ids[19]).expect("it").running);
    }
}

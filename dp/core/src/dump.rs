//! Reporting flows: a walk over the entries, a little at every turn, as fast as the event ring takes them.

use leat_abi::flow::FlowState;
use leat_abi::message::{Event, Filter, FlowRow};

use crate::frame::Now;
use crate::table::FlowTable;
use crate::trace::{Sockets, Tracer};
use crate::track;

/// Entries looked at in one turn.
const ENTRIES_PER_TURN: usize = 256;

/// A walk under way.
#[derive(Debug)]
pub struct Dump {
    id: u32,
    filter: Filter,
    left: u32,
    next: usize,
    scanned: u64,
}

impl Dump {
    /// A walk that has not begun.
    pub fn new(id: u32, limit: u32, filter: Filter) -> Self {
        Self { id, filter, left: limit, next: 0, scanned: 0 }
    }

    /// Goes on. Returns whether there is more to do.
    pub fn turn(&mut self, table: &FlowTable<'_>, tracer: &mut Tracer<'_>, now: Now) -> bool {
        for _ in 0..ENTRIES_PER_TURN {
            if tracer.room() == 0 {
                return true;
            }
            if self.next == table.capacity() || self.left == 0 {
                tracer.emit(&Event::FlowDumpEnd { id: self.id, scanned: self.scanned });
                return false;
            }
            let at = table.number_of(self.next);
            let entry = table.entry(at);
            self.next += 1;
            // One that rests only keeps its port.
            let Some(state) = entry.state().filter(|state| *state != FlowState::Resting) else { continue };
            self.scanned += 1;
            let sockets = Sockets::of(table, at);
            if matches(&self.filter, entry.ip_protocol(), &sockets) {
                self.left -= 1;
                let Sockets { client, vip, target, nat } = sockets;
                let row = FlowRow {
                    client,
                    vip,
                    target,
                    nat,
                    protocol: entry.ip_protocol(),
                    flags: entry.flags,
                    state,
                    idle_s: track::age_s(entry, now),
                    target_slot: entry.target_slot,
                    listener_slot: entry.listener_slot,
                };
                tracer.emit(&Event::Flow { id: self.id, row });
            }
        }
        true
    }
}

fn matches(f: &Filter, protocol: u8, s: &Sockets) -> bool {
    (f.protocol == 0 || f.protocol == protocol)
        && f.source.is_none_or(|ip| ip == s.client.ip())
        && f.destination.is_none_or(|ip| ip == s.vip.ip())
        && (f.source_port == 0 || f.source_port == s.client.port())
        && (f.destination_port == 0 || f.destination_port == s.vip.port())
        && f.target.is_none_or(|ip| ip == s.target.ip())
}

//! Showing a packet's way: events for the packets that a filter matches, at most one trace at a time per lcore.

use leat_abi::counters::Counter;
use leat_abi::counters::LcoreCounters;
use leat_abi::message::{ANY_PORT, Event, Filter, Socket, Step};
use leat_abi::ring::Producer;

use crate::address::Address;
use crate::parse::{Meta, Tuple};

#[derive(Debug)]
struct Armed {
    id: u32,
    port: u8,
    filter: Filter,
    left: u32,
    /// Packets traced so far.
    packet: u32,
}

/// Reports events, and packets' steps while a trace is on.
#[derive(Debug)]
pub struct Tracer<'m> {
    events: Producer<'m>,
    counters: LcoreCounters<'m>,
    armed: Option<Armed>,
    /// Whether the packet at hand is traced.
    current: bool,
}

impl<'m> Tracer<'m> {
    /// A tracer that is off.
    pub fn new(events: Producer<'m>, counters: LcoreCounters<'m>) -> Self {
        Self { events, counters, armed: None, current: false }
    }

    /// Begins a trace; one that is on ends.
    pub fn start(&mut self, id: u32, count: u32, port: u8, filter: Filter) {
        self.armed = Some(Armed { id, port, filter, left: count, packet: 0 });
    }

    /// Ends a trace, if it is the one that is on.
    pub fn stop(&mut self, id: u32) {
        if self.armed.as_ref().is_some_and(|armed| armed.id == id) {
            self.armed = None;
        }
    }

    /// Events that the ring still takes.
    pub fn room(&self) -> u64 {
        self.events.room()
    }

    /// Reports an event, or counts that it was lost.
    pub fn emit(&mut self, event: &Event) {
        if self.events.push(&event.encode()).is_err() {
            self.counters.add(Counter::EventsLost, 1);
        }
    }

    /// Turns to the next packet. `meta` is there if it is TCP or UDP.
    #[inline(always)]
    pub fn packet(&mut self, port: u8, length: usize, meta: Option<&Meta>) {
        if self.armed.is_some() {
            self.decide(port, length, meta);
        }
    }

    #[cold]
    fn decide(&mut self, port: u8, length: usize, meta: Option<&Meta>) {
        self.current = false;
        let Some(armed) = &mut self.armed else { return };
        if ![ANY_PORT, port].contains(&armed.port) || !matches(&armed.filter, meta.map(|m| &m.tuple)) {
            return;
        }
        if armed.left == 0 {
            self.armed = None;
            return;
        }
        if armed.left < u32::MAX {
            armed.left -= 1;
        }
        armed.packet += 1;
        self.current = true;
        self.report(Step::Rx { port, length: length.min(usize::from(u16::MAX)) as u16 });
        if let Some(meta) = meta {
            let (source, destination) = sockets(&meta.tuple);
            self.report(Step::Parse { source, destination, protocol: meta.tuple.protocol, tcp_flags: meta.flags });
        }
    }

    /// Reports a step of the packet at hand, if it is traced.
    #[inline(always)]
    pub fn step(&mut self, step: impl FnOnce() -> Step) {
        if self.current {
            self.report(step());
        }
    }

    /// The packet at hand is done with.
    #[inline(always)]
    pub fn done(&mut self) {
        self.current = false;
    }

    #[cold]
    fn report(&mut self, step: Step) {
        if let Some(armed) = &self.armed {
            self.emit(&Event::Trace { id: armed.id, packet: armed.packet - 1, step });
        }
    }
}

/// A socket for a report.
pub fn socket(address: Address, port: u16) -> Socket {
    Socket { ip: address.loaded(), port }
}

/// Source and destination of a tuple.
pub fn sockets(tuple: &Tuple) -> (Socket, Socket) {
    (
        Socket { ip: tuple.addresses as u32, port: tuple.source_port() },
        Socket { ip: (tuple.addresses >> 32) as u32, port: tuple.destination_port() },
    )
}

fn matches(filter: &Filter, tuple: Option<&Tuple>) -> bool {
    if *filter == Filter::default() {
        return true;
    }
    let Some(t) = tuple else { return false };
    (filter.protocol == 0 || filter.protocol == t.protocol)
        && (filter.source == 0 || filter.source == t.addresses as u32)
        && (filter.destination == 0 || filter.destination == (t.addresses >> 32) as u32)
        && (filter.source_port == 0 || filter.source_port == t.source_port())
        && (filter.destination_port == 0 || filter.destination_port == t.destination_port())
}

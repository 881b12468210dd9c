//! Showing a packet's way: events for the packets that a filter matches, at most one trace at a time per lcore.

use std::net::SocketAddr;

use leat_abi::counters::Counter;
use leat_abi::counters::LcoreCounters;
use leat_abi::message::{ANY_PORT, Event, Filter, Part, Step};
use leat_abi::ring::Producer;

use crate::address::Address;
use crate::parse::{Meta, Piece};
use crate::table::FlowTable;

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

    /// Whether no packet is to be shown.
    pub fn is_off(&self) -> bool {
        self.armed.is_none()
    }

    /// Turns to the next packet. `meta` is there if it is TCP, UDP or an ICMP error.
    #[inline(always)]
    pub fn packet(&mut self, port: u8, frame: &[u8], meta: Option<&Meta>) {
        if self.armed.is_some() {
            self.decide(port, frame, meta);
        }
    }

    #[cold]
    fn decide(&mut self, port: u8, frame: &[u8], meta: Option<&Meta>) {
        self.current = false;
        let Some(armed) = &mut self.armed else { return };
        let parsed = meta.map(|meta| parse_step(meta, frame));
        if ![ANY_PORT, port].contains(&armed.port) || !matches(&armed.filter, parsed.as_ref()) {
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
        self.report(Step::Rx { port, length: frame.len().min(usize::from(u16::MAX)) as u16 });
        if let Some(parsed) = parsed {
            self.report(parsed);
        }
    }

    /// Whether the packet at hand is traced.
    #[inline(always)]
    pub(crate) fn is_tracing(&self) -> bool {
        self.current
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

/// A socket for a report; the port as loaded.
pub fn socket(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), u16::from_be(port))
}

/// The sockets of a flow, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    /// The client.
    pub client: SocketAddr,
    /// The node address and listener port.
    pub vip: SocketAddr,
    /// The target.
    pub target: SocketAddr,
    /// What the target sees as the client.
    pub nat: SocketAddr,
}

impl Sockets {
    /// Those of the entry at this index.
    pub fn of(table: &FlowTable<'_>, at: u32) -> Self {
        let entry = table.entry(at);
        let [client, vip, target, nat] = match table.addresses(at) {
            Some(wide) => [wide.client, wide.vip, wide.target, wide.nat].map(Address::from_octets),
            None => [entry.client_ip, entry.vip, entry.target_ip, entry.nat_ip].map(Address::v4),
        };
        Self {
            client: socket(client, entry.client_port),
            vip: socket(vip, entry.vport),
            target: socket(target, entry.target_port),
            nat: socket(nat, entry.nat_port),
        }
    }
}

fn parse_step(meta: &Meta, frame: &[u8]) -> Step {
    let ends = meta.ends(frame);
    Step::Parse {
        source: socket(ends.source, meta.tuple.source_port()),
        destination: socket(ends.destination, meta.tuple.destination_port()),
        protocol: meta.tuple.ip_protocol(),
        tcp_flags: meta.flags,
        part: match meta.piece {
            Piece::Whole => Part::Whole,
            Piece::First => Part::First,
            Piece::Later => Part::Later,
        },
    }
}

/// Whether a packet is meant, of which this is known: a [`Step::Parse`].
fn matches(filter: &Filter, parsed: Option<&Step>) -> bool {
    if *filter == Filter::default() {
        return true;
    }
    let Some(Step::Parse { source, destination, protocol, .. }) = parsed else { return false };
    (filter.protocol == 0 || filter.protocol == *protocol)
        && filter.source.is_none_or(|ip| ip == source.ip())
        && filter.destination.is_none_or(|ip| ip == destination.ip())
        && (filter.source_port == 0 || filter.source_port == source.port())
        && (filter.destination_port == 0 || filter.destination_port == destination.port())
}

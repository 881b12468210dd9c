//! ICMP errors about packets of flows go to who sent those (semantics §11).
//!
//! | file | |
//! |---|---|
//! | [`quote`] | which packet is it about? |
//! | [`rewrite`] | what its sender gets |
//! | [`translate`] | between ICMP and ICMPv6 |
//! | [`answer`] | the one error that is made here: a packet is too big |

use leat_abi::DropReason;
use leat_abi::counters::Counter;
use leat_abi::flow::{FlowEntry, FlowState};
use leat_abi::message::Step;
use leat_abi::snapshot::LocalKind;

use crate::address::Address;
use crate::frame::{Frame, Now, Verdict};
use crate::parse::{ETHERNET, Ends, Meta, Tuple};
use crate::pipeline::{Arrival, Pipeline};
use crate::proxy;
use crate::table::{Found, Side, tuple_of};
use crate::trace::socket;
use crate::track;

pub mod answer;
pub mod quote;
pub mod rewrite;
pub mod translate;

use quote::Quote;
use rewrite::{Numbers, Plan};

/// ICMP errors per second and lcore at the most, and at once: those that are made here, and those of others that are passed on (S11.6).
pub const ERRORS_PER_S: (u32, u32) = (1_000, 100);

impl Pipeline<'_> {
    /// Handles an ICMP error.
    #[cold]
    pub(crate) fn icmp_error<F: Frame>(&mut self, frame: &mut F, meta: &Meta, arrival: Arrival, now: Now) -> Verdict {
        let ends = meta.ends(frame.bytes());
        let local = self.forwarding.local(ends.destination);
        if local == Some(LocalKind::Host) {
            return self.punt(frame.in_port(), now);
        }
        let Some(quote) = quote::read(frame.bytes(), meta.l4.into(), meta.ip_len, meta.tuple.is_v6()) else {
            return self.drop(DropReason::IcmpBad);
        };
        // It is for who sent what it quotes.
        let (Some(ports), true) = (quote.ports, quote.ends.source == ends.destination) else {
            return self.drop(DropReason::IcmpNoFlow);
        };
        // What the other end of the quoted packet's flow sends.
        let (source, destination) = (quote.ends.destination, quote.ends.source);
        let from = (source, (ports >> 16) as u16);
        let tuple = Tuple::between(self.digest_key, quote.protocol, from, (destination, ports as u16));
        let reverse = Ends { source, destination };
        let found = self.flows.table.find(&tuple);
        let found = found.filter(|found| !tuple.is_v6() || self.is_between(*found, &reverse));
        self.tracer.step(|| Step::Lookup {
            entry: found.map(|f| f.entry),
            from_client: found.is_some_and(|f| f.side == Side::Client),
            state: found.map_or(0, |f| self.flows.table.entry(f.entry).state),
        });
        match found {
            Some(found) => self.flow_error(frame, meta, (&quote, found), &ends, now),
            None => self.error_without_flow(frame, (&tuple, &reverse), arrival, now),
        }
    }

    /// An error about a packet that belongs to no flow of this lcore.
    fn error_without_flow<F: Frame>(
        &mut self,
        frame: &F,
        (tuple, ends): (&Tuple, &Ends),
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        if self.forwarding.generation == 0 {
            return self.drop(DropReason::NoConfiguration);
        }
        if self.lcores > 1 && arrival == Arrival::Wire {
            let owner = self.owner_without_flow(tuple, ends);
            if let Some(owner) = owner.filter(|owner| *owner != self.lcore) {
                self.tracer.step(|| Step::Handover { lcore: owner as u8 });
                return Verdict::HandOver { lcore: owner, port: frame.in_port(), ports: 0 };
            }
        }
        // About the node's own connections: health checks (S11.8).
        if self.forwarding.local(ends.destination).is_some() && self.answers_check(tuple, ends) {
            return self.punt(frame.in_port(), now);
        }
        self.drop(DropReason::IcmpNoFlow)
    }

    /// The lcore that has the flow of which this would be a packet, if there is one.
    fn owner_without_flow(&self, tuple: &Tuple, ends: &Ends) -> Option<u16> {
        let listener = self.forwarding.listener(ends.destination, tuple.destination_port(), tuple.ip_protocol());
        let is_target = self.forwarding.is_target(ends.source, tuple.source_port());
        let is_node = self.forwarding.local(ends.destination) == Some(LocalKind::Node) || listener.is_some();
        let from_target = is_target && (!is_node || self.flows.ports.owner(tuple).is_some());
        (is_node || is_target).then(|| self.owner(tuple, ends, from_target))
    }

    /// An error about a packet of a flow that was sent to the side that the error comes from. It changes nothing of the flow (S11.4).
    fn flow_error<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        (quote, found): (&Quote, Found),
        ends: &Ends,
        now: Now,
    ) -> Verdict {
        let entry = self.flows.table.entry(found.entry);
        if track::is_over(entry, now) || entry.state >= FlowState::Resting as u8 {
            return self.drop(DropReason::IcmpNoFlow);
        }
        let mut numbers = Numbers::default();
        if entry.is_tcp() {
            let Some(seq) = quote.seq(frame.bytes()) else { return self.drop(DropReason::IcmpBad) };
            numbers = shifted(entry, found.side, seq, quote.ack(frame.bytes()));
            if !track::has_sent(entry, other(found.side), numbers.seq.unwrap_or(seq)) {
                return self.drop(DropReason::IcmpNoFlow);
            }
        }
        if self.forwarding.local(ends.source).is_some() {
            return self.drop(DropReason::IpSource);
        }
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        let to = match found.side {
            Side::Client => {
                let hop = self.forwarding.target(entry.target_slot, entry.target_generation).and_then(|t| t.next_hop);
                hop.map(|hop| (hop.port, hop.mac))
            }
            Side::Target => Some((entry.client_side_port, entry.client_mac)),
        };
        let Some((port, mac, info)) = to.and_then(|(port, mac)| Some((port, mac, self.forwarding.port(port)?))) else {
            return self.drop(DropReason::NoNextHop);
        };
        let (mtu, source_mac) = (info.mtu, info.mac);
        let plan = plan(entry, self.addresses(found.entry), found.side, ends.source, numbers);
        if !self.icmp_errors.take(now) {
            return self.drop(DropReason::IcmpRate);
        }
        let length = ETHERNET + usize::from(meta.ip_len);
        if plan.outer.destination.is_v4() == ends.destination.is_v4() {
            frame.truncate(length);
            rewrite::apply(frame.bytes_mut(), meta.l4.into(), quote, &plan);
        } else {
            let mut out = [0; translate::FRAME_MAX];
            let made = translate::error(frame.bytes(), meta.l4.into(), quote, &plan, &mut out);
            let Some(made) = made.and_then(|length| out.get(..length)) else { return self.drop(DropReason::IcmpBad) };
            let longer = made.len().saturating_sub(frame.bytes().len());
            if longer > 0 && !frame.prepend(longer) {
                return self.drop(DropReason::NotLinear);
            }
            frame.truncate(made.len());
            frame.bytes_mut().copy_from_slice(made);
        }
        if frame.bytes().len() > ETHERNET + usize::from(mtu) {
            return self.drop(DropReason::TooBig);
        }
        rewrite::hop(frame.bytes_mut(), mac, source_mac);
        self.counters.add(Counter::IcmpErrorsForwarded, 1);
        self.tracer.step(|| Step::Rewrite {
            source: socket(plan.outer.source, 0),
            destination: socket(plan.outer.destination, 0),
        });
        self.tracer.step(|| Step::Transmit { port });
        Verdict::Forward { port }
    }

    /// The addresses of a flow: of the client, the node, the target, and what the target sees as the client's.
    fn addresses(&self, at: u32) -> [Address; 4] {
        let entry = self.flows.table.entry(at);
        match self.flows.table.addresses(at) {
            Some(a) => [a.client, a.vip, a.target, a.nat].map(Address::from_octets),
            None => [entry.client_ip, entry.vip, entry.target_ip, entry.nat_ip].map(Address::v4),
        }
    }
}

fn other(side: Side) -> Side {
    if side == Side::Client { Side::Target } else { Side::Client }
}

/// What an error from `side` is to say to the other one, whose packet it quotes. `source`: who says it.
fn plan(entry: &FlowEntry, addresses: [Address; 4], side: Side, source: Address, numbers: Numbers) -> Plan {
    let [client, vip, target, nat] = addresses;
    let sent = tuple_of(entry, other(side));
    match side {
        // The client sees nothing of what is behind the node.
        Side::Target => Plan {
            outer: Ends { source: vip, destination: client },
            quoted: Ends { source: client, destination: vip },
            ports: sent.ports,
            l4_delta: !entry.l4_delta,
            numbers,
        },
        Side::Client => Plan {
            outer: Ends { source: if source.is_v4() == target.is_v4() { source } else { nat }, destination: target },
            quoted: Ends { source: target, destination: nat },
            ports: sent.ports,
            l4_delta: entry.l4_delta,
            numbers,
        },
    }
}

/// The numbers of a quoted segment as its sender knows them, where a PROXY header lies between: the error comes from `side`.
fn shifted(entry: &FlowEntry, side: Side, seq: u32, ack: Option<u32>) -> Numbers {
    let shift = proxy::shift_of(entry);
    if shift == 0 {
        return Numbers::default();
    }
    match side {
        // The client's segment. Its SYN was sent as it was.
        Side::Target => Numbers { seq: (seq != entry.client_isn).then(|| proxy::for_client(entry, seq)), ack: None },
        // The target's: before it has acknowledged more than the SYN, the number is the same.
        Side::Client => {
            let first = entry.client_isn.wrapping_add(1);
            Numbers { seq: None, ack: ack.filter(|ack| *ack != first).map(|ack| ack.wrapping_add(shift)) }
        }
    }
}

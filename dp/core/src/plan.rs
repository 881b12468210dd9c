//! The flow that a first packet is to begin: its entry as it will be, made from the packet and the configuration before anything is taken
//! for it.

use leat_abi::DropReason;
use leat_abi::flow::{FlowAddresses, FlowEntry, FlowState, family, flag};

use crate::address::Address;
use crate::checksum;
use crate::flows::Flows;
use crate::forwarding::{Forwarding, Group, Listener, Target};
use crate::frame::{Frame, Now};
use crate::parse::{Meta, Tuple, V6};
use crate::rewrite;
use crate::source_ports::pair_of;
use crate::table::{New, Probe, Side, tuple_of};

/// A flow that is about to be made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// Its entry, but for the state. Under full NAT the port is 0 and counts for nothing in the checksum's delta.
    pub(crate) entry: FlowEntry,
    /// Its second line; of a flow that has none, whatever an earlier plan has left.
    pub(crate) addresses: FlowAddresses,
    /// Where the key of the target's packets leads, if the client's address is preserved.
    pub(crate) answers: Probe,
}

impl Plan {
    /// Becomes the plan of a flow of this first packet, for which a hash is known ([`crate::opening::Opening::attempt`]), to this target.
    /// Returns the tuple of the target's packets.
    ///
    /// # Errors
    /// Why there can be no such flow, whatever other flows there are.
    #[inline(always)]
    pub(crate) fn fill<F: Frame>(
        &mut self,
        forwarding: &Forwarding,
        (frame, meta, attempt): (&F, &Meta, u64),
        (listener, group): (&Listener, &Group),
        (slot, target): (u16, &Target),
        (digest_key, now): (u64, Now),
    ) -> Result<Tuple, DropReason> {
        // A client's family has the same bit in a tuple and in an entry.
        const _: () = assert!(V6 == family::CLIENT_V6);
        let tuple = &meta.tuple;
        if target.next_hop.is_none() {
            return Err(DropReason::NoNextHop);
        }
        let (is_tcp, target_is_v4) = (tuple.is_tcp(), target.address.is_v4());
        let preserves =
            group.preserve_client_ip && target_is_v4 != tuple.is_v6() && forwarding.endpoint(frame.in_port()).is_none();
        let client_mac = frame.bytes().get(6..12).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
        let after_syn = meta.seq.wrapping_add(1);
        let proxied = group.proxy_protocol && is_tcp;
        self.entry = FlowEntry {
            // As the client's key has them, whether they are addresses or their digest.
            client_ip: tuple.addresses as u32,
            vip: (tuple.addresses >> 32) as u32,
            target_ip: 0,
            nat_ip: 0,
            client_port: tuple.source_port(),
            vport: tuple.destination_port(),
            target_port: target.port,
            nat_port: 0,
            protocol: tuple.protocol | if target_is_v4 { 0 } else { family::TARGET_V6 },
            state: 0,
            flags: if preserves { 0 } else { flag::FULL_NAT } | if proxied { flag::PROXY } else { 0 },
            window_scales: meta.window_scale,
            target_slot: slot,
            target_generation: target.generation,
            client_side_port: frame.in_port(),
            client_mac,
            listener_slot: listener.slot,
            touched_s: now.stamp(),
            l4_delta: 0,
            client_isn: if is_tcp { meta.seq } else { now.stamp().into() },
            // What the SYN brings is not forwarded if a PROXY header is to come first (S8.7).
            client_end: if proxied { after_syn } else { after_syn.wrapping_add(meta.payload_len.into()) },
            // Until the target has sent something: when this was.
            target_end: now.ms as u32,
            client_ack: 0,
            target_ack: after_syn,
        };
        if tuple.is_v6() || !target_is_v4 {
            let ends = meta.ends(frame.bytes());
            self.addresses.client = ends.source.octets();
            self.addresses.vip = ends.destination.octets();
            self.addresses.target = target.address.octets();
        }
        let source = if !preserves {
            // The same hash chooses the address (S9.7).
            (listener.source(attempt, 0).ok_or(DropReason::NatPortsExhausted)?, 0)
        } else if tuple.is_v6() {
            (Address::from_octets(self.addresses.client), tuple.source_port())
        } else {
            (Address::v4(tuple.addresses as u32), tuple.source_port())
        };
        if preserves && source.0 == target.address {
            return Err(DropReason::Hairpin);
        }
        Ok(self.set_source(digest_key, target.address, source))
    }

    /// The target will see this address and port (as loaded) as the client's. Returns the tuple of its packets.
    #[inline(always)]
    fn set_source(&mut self, digest_key: u64, target: Address, (address, port): (Address, u16)) -> Tuple {
        let Self { entry, addresses, .. } = self;
        let tuple = Tuple::between(digest_key, entry.ip_protocol(), (target, entry.target_port), (address, port));
        entry.target_ip = tuple.addresses as u32;
        entry.nat_ip = (tuple.addresses >> 32) as u32;
        entry.nat_port = port;
        let ports = |a: u16, b: u16| u32::from(a) | u32::from(b) << 16;
        let (old, new) = (ports(entry.client_port, entry.vport), ports(port, entry.target_port));
        entry.l4_delta = if entry.is_wide() {
            addresses.nat = address.octets();
            let are_v4 = [entry.protocol & family::CLIENT_V6 == 0, entry.protocol & family::TARGET_V6 == 0];
            rewrite::l4_delta(addresses, are_v4, old, new)
        } else {
            checksum::delta([entry.client_ip, entry.vip, old], [entry.nat_ip, entry.target_ip, new])
        };
        tuple
    }

    /// The second line, if the flow has one.
    #[inline(always)]
    pub(crate) fn second_line(&self) -> Option<&FlowAddresses> {
        if self.entry.is_wide() { Some(&self.addresses) } else { None }
    }

    /// The target's address, and the one that it sees as the client's.
    pub(crate) fn beyond(&self) -> [Address; 2] {
        if self.entry.is_wide() {
            [self.addresses.target, self.addresses.nat].map(Address::from_octets)
        } else {
            [self.entry.target_ip, self.entry.nat_ip].map(Address::v4)
        }
    }

    /// Takes one of the ports of the node's address that no other flow to the same target has, or of another address, which then is the
    /// plan's. Who makes no flow of it gives it back. `pool`: the one of that address, if a port of it may be taken just so. The port is in
    /// network order.
    #[inline(always)]
    pub(crate) fn translate(
        &mut self,
        flows: &mut Flows<'_>,
        (forwarding, listener): (&Forwarding, u32),
        (attempt, pool): (u64, Option<u32>),
        (digest_key, now): (u64, Now),
    ) -> Result<u16, DropReason> {
        if let Some(pool) = pool
            && let Some(port) = flows.ports.claim(pool, (attempt >> 32) as u32, flows.lcore, |_| true)
        {
            return Ok(port);
        }
        let listener = forwarding.numbered_listener(listener).ok_or(DropReason::NoListener)?;
        self.translate_at_length(flows, (forwarding, listener), attempt, (digest_key, now))
    }

    /// Where listeners stand on ports of full NAT, or the address that is tried first has no port left: the others are tried, too. Only when
    /// none has one, a port is taken from a flow that can do without.
    #[cold]
    #[inline(never)]
    fn translate_at_length(
        &mut self,
        flows: &mut Flows<'_>,
        (forwarding, listener): (&Forwarding, &Listener),
        attempt: u64,
        (digest_key, now): (u64, Now),
    ) -> Result<u16, DropReason> {
        let (count, choice) = (listener.sources.len(), (attempt >> 32) as u32);
        let (protocol, [target, _]) = (self.entry.ip_protocol(), self.beyond());
        for n in 0..2 * count {
            let Some(source) = listener.source(attempt, n) else { break };
            self.set_source(digest_key, target, (source, 0));
            let usable = |port| !listener.shares_ports || forwarding.listener(source, port, protocol).is_none();
            let port = if n < count {
                let pool = flows.ports.pool_of(&pair_of(&self.entry));
                pool.and_then(|pool| flows.ports.claim(pool, choice, flows.lcore, usable))
            } else {
                flows.reclaim_port(&self.entry, choice, now, usable)
            };
            if let Some(port) = port {
                return Ok(port);
            }
        }
        Err(DropReason::NatPortsExhausted)
    }

    /// Makes the flow. Returns its entry. `client`: where the client's key leads, which is no flow's. `port`: what [`Plan::translate`] has
    /// taken, under full NAT.
    #[inline(always)]
    pub(crate) fn make(
        &self,
        flows: &mut Flows<'_>,
        client: Probe,
        port: Option<u16>,
        now: Now,
    ) -> Result<u32, DropReason> {
        let (addresses, entry) = (self.second_line(), &self.entry);
        let tuple = tuple_of(entry, Side::Target);
        let Some(port) = port else {
            if flows.table.find_at(self.answers, &tuple).is_some() {
                flows.make_way(&tuple, now)?;
            }
            let new = New { entry, state: self.state(), addresses, probes: [client, self.answers] };
            return flows.create(&new, |_| {}, now);
        };
        // The port was 0: what is new is added.
        let l4_delta = checksum::fold(u64::from(entry.l4_delta) + u64::from(port));
        let finish = |entry: &mut FlowEntry| (entry.nat_port, entry.l4_delta) = (port, l4_delta);
        let Some(answers) = flows.table.absent(&tuple.with_destination_port(port)) else {
            flows.ports.release(&FlowEntry { nat_port: port, ..*entry });
            return Err(DropReason::FlowTableFull);
        };
        flows.create(&New { entry, state: self.state(), addresses, probes: [client, answers] }, finish, now)
    }

    #[inline(always)]
    fn state(&self) -> FlowState {
        if self.entry.is_tcp() { FlowState::SynSent } else { FlowState::Established }
    }
}

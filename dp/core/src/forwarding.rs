//! The snapshot as lcores use it: the same facts, laid out to be looked up. Made off the lcores, immutable, shared.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use arrayvec::ArrayVec;
use foldhash::fast::FixedState;
use leat_abi::Snapshot;
use leat_abi::snapshot::{LocalKind, NextHop, SOURCES_MAX, TargetState};

use crate::address::Address;
use crate::parse::Tuple;
use crate::prefetch;
use crate::source_ports::NAT_PORTS;

/// IPv4 addresses as packets carry them: network order as loaded.
pub fn loaded(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// A port of the data plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// Its MAC.
    pub mac: [u8; 6],
    /// Bytes of IP in a frame at the most.
    pub mtu: u16,
}

/// A listener as the miss path needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Slot for counters.
    pub slot: u16,
    /// Index of the group.
    pub group: u16,
    /// Source addresses of full NAT, all of one kind.
    pub sources: ArrayVec<Address, SOURCES_MAX>,
    /// Listeners of this protocol stand on ports of full NAT at one of these addresses.
    pub shares_ports: bool,
}

impl Listener {
    /// The source address that the hash of an attempt leads to as the `nth`; none if the listener has none.
    #[inline(always)]
    pub(crate) fn source(&self, attempt: u64, nth: usize) -> Option<Address> {
        match self.sources[..] {
            [] => None,
            [only] => Some(only),
            _ => Some(self.sources[(attempt as usize % self.sources.len() + nth) % self.sources.len()]),
        }
    }
}

/// A target as every packet needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// State.
    pub state: TargetState,
    /// The nodes for which it is unhealthy in part.
    pub unhealthy_at: u64,
    /// Generation of the slot.
    pub generation: u8,
    /// Port as loaded.
    pub port: u16,
    /// The way there.
    pub next_hop: Option<NextHop>,
    /// Address.
    pub address: Address,
}

/// A hop by a port that is not there.
const NO_HOP: u64 = (NO_PORT as u64) << 8;
const NO_PORT: u8 = u8::MAX;

impl Target {
    /// See [`Forwarding::hop`].
    fn hop(&self) -> u64 {
        match self.next_hop {
            Some(NextHop { port, mac: [a, b, c, d, e, f] }) if self.state < TargetState::UnhealthyInPart => {
                u64::from_le_bytes([self.generation, port, a, b, c, d, e, f])
            }
            // Its flows end, whether they see packets or not.
            _ if self.state > TargetState::Unhealthy => NO_HOP | u64::from(!self.generation),
            _ => NO_HOP | u64::from(self.generation),
        }
    }
}

/// A target group as the miss path needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Targets see the client's address and port, where it is of their kind.
    pub preserve_client_ip: bool,
    /// All flows of a client address and protocol go to one target.
    pub sticky: bool,
    /// TCP connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Names the group.
    pub id: u64,
    table: Box<[u16]>,
    /// The slots in the table, each once.
    members: Box<[u16]>,
}

impl Group {
    fn new(group: &leat_abi::snapshot::Group) -> Self {
        Self {
            preserve_client_ip: group.preserve_client_ip,
            sticky: group.sticky,
            proxy_protocol: group.proxy_protocol,
            id: group.id,
            table: group.table.as_slice().into(),
            members: members(&group.table),
        }
    }

    /// The slot that a hash chooses; `attempt` goes on to other candidates.
    #[inline]
    pub fn choose(&self, hash: u64, attempt: u32) -> Option<u16> {
        if self.table.is_empty() {
            return None;
        }
        let at = hash.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9)) % self.table.len() as u64;
        self.table.get(at as usize).copied()
    }

    /// The place of the table in which the first attempt's slot is. Starts fetching it.
    #[inline(always)]
    pub(crate) fn place(&self, hash: u64) -> Option<u32> {
        let at = hash.checked_rem(self.table.len() as u64)?;
        prefetch::read(self.table.get(at as usize)?);
        Some(at as u32)
    }

    /// The slot in a place of the table.
    #[inline(always)]
    pub(crate) fn slot(&self, place: u32) -> Option<u16> {
        self.table.get(place as usize).copied()
    }
}

/// Tables of fewer places are sorted to find their members; of larger ones all slots that there can be are looked at.
const SORTED_BELOW: usize = 4096;

/// The slots in a table, each once, in order.
fn members(table: &[u16]) -> Box<[u16]> {
    if table.len() < SORTED_BELOW {
        let mut members = table.to_vec();
        members.sort_unstable();
        members.dedup();
        return members.into();
    }
    let mut is_member = vec![false; 1 << 16];
    table.iter().for_each(|slot| is_member[usize::from(*slot)] = true);
    (0..=u16::MAX).filter(|slot| is_member[usize::from(*slot)]).collect()
}

/// All that lcores look up. Indices that are out of range yield `None`, never a panic. Ports in keys are in network order as loaded.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// The snapshot's generation.
    pub generation: u64,
    /// Key of the hash that selects targets.
    pub selection_key: [u64; 2],
    /// A client that is its own target gets the next one.
    pub hairpin_next_target: bool,
    /// Sticky groups see 64 bits of an IPv6 client.
    pub sticky_by_64: bool,
    digest_key: u64,
    ports: Vec<PortInfo>,
    port_words: PortWords,
    endpoints: Vec<Option<Box<str>>>,
    locals: HashMap<Address, LocalKind, FixedState>,
    listeners: Vec<Listener>,
    /// By address, port and IP protocol: where the listener is among them.
    listener_numbers: HashMap<(Address, u16, u8), u32, FixedState>,
    groups: Vec<Group>,
    /// By listener slot: the bit of its node.
    node_bits: Vec<u64>,
    targets: Vec<Option<Target>>,
    /// By slot: the way to the target, if its flows go on whatever their node.
    hops: Box<[u64]>,
    /// The slots whose flows end by themselves.
    ending: Box<[u16]>,
    target_sockets: HashSet<(Address, u16), FixedState>,
    withdrawn_sockets: HashSet<(Address, u16), FixedState>,
    target_addresses: HashSet<Address, FixedState>,
    known: Known,
}

/// By port: its MAC, from the lowest byte on, and in the upper 16 bits its MTU. 0 for a port that does not exist. As many as a port's number
/// can be, so that none need be looked for.
#[derive(Debug, Clone)]
struct PortWords([u64; 1 << u8::BITS]);

impl Default for PortWords {
    fn default() -> Self {
        Self([0; 1 << u8::BITS])
    }
}

impl PortWords {
    fn new(ports: &[PortInfo]) -> Self {
        let mut words = Self::default();
        for (word, PortInfo { mac: [a, b, c, d, e, f], mtu }) in words.0.iter_mut().zip(ports) {
            let [low, high] = mtu.to_le_bytes();
            *word = u64::from_le_bytes([*a, *b, *c, *d, *e, *f, low, high]);
        }
        words
    }
}

/// Which addresses may be the appliance's own or a target's: what most clients' are not is told by one bit.
#[derive(Debug, Clone, Default)]
struct Known {
    /// A power of two of words, or none for no address.
    bits: Vec<u64>,
}

impl Known {
    /// Bits per address: one client in sixteen is looked up without need at the most.
    const BITS: usize = 16;

    fn new(addresses: impl Iterator<Item = Address> + Clone) -> Self {
        let words = (addresses.clone().count() * Self::BITS).div_ceil(u64::BITS as usize).next_power_of_two();
        let mut known = Self { bits: vec![0; words] };
        for address in addresses {
            let bit = known.bit(address);
            known.bits[bit / 64] |= 1 << (bit % 64);
        }
        known
    }

    #[inline(always)]
    fn bit(&self, address: Address) -> usize {
        let [high, low] = address.words();
        let hash = (high.rotate_left(29) ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.bits.len() * 64).wrapping_sub(1)
    }

    #[inline(always)]
    fn may_have(&self, address: Address) -> bool {
        let bit = self.bit(address);
        self.bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

impl Forwarding {
    /// The lookup tables for a snapshot, on these ports. `digest_key`: of [`crate::hash::digest`].
    pub fn new(snapshot: &Snapshot, ports: &[PortInfo], digest_key: u64) -> Self {
        let slots = snapshot.targets.iter().map(|t| usize::from(t.slot) + 1).max().unwrap_or(0);
        let mut targets = vec![None; slots];
        for t in &snapshot.targets {
            targets[usize::from(t.slot)] = Some(Target {
                state: t.state,
                unhealthy_at: t.unhealthy_at,
                generation: t.generation,
                port: t.port.to_be(),
                next_hop: t.next_hop,
                address: t.address.into(),
            });
        }
        let mut node_bits = Vec::new();
        for l in &snapshot.listeners {
            let slot = usize::from(l.slot);
            node_bits.resize(node_bits.len().max(slot + 1), 0);
            node_bits[slot] = 1 << l.node;
        }
        let on_nat_ports: HashSet<(IpAddr, u8)> =
            snapshot.listeners.iter().filter(|l| NAT_PORTS.contains(&l.port)).map(|l| (l.vip, l.protocol)).collect();
        let sockets = |withdrawn: bool| {
            let of_kind = move |t: &&leat_abi::snapshot::Target| (t.state == TargetState::Withdrawn) == withdrawn;
            snapshot.targets.iter().filter(of_kind).map(|t| (t.address.into(), t.port.to_be())).collect()
        };
        let ends = |t: &&leat_abi::snapshot::Target| t.state > TargetState::Unhealthy;
        let mut endpoints = vec![None; ports.len()];
        for endpoint in &snapshot.endpoints {
            if let Some(place) = endpoints.get_mut(usize::from(endpoint.port)) {
                *place = Some(endpoint.id.as_str().into());
            }
        }
        let locals: HashMap<Address, LocalKind, FixedState> =
            snapshot.locals.iter().map(|l| (l.address.into(), l.kind)).collect();
        let target_addresses: HashSet<Address, FixedState> =
            snapshot.targets.iter().map(|t| t.address.into()).collect();
        let known = Known::new(locals.keys().chain(&target_addresses).copied());
        let listener = |l: &leat_abi::snapshot::Listener| {
            let shares_ports = l.sources.iter().any(|source| on_nat_ports.contains(&(*source, l.protocol)));
            let sources = l.sources.iter().take(SOURCES_MAX).map(|source| (*source).into()).collect();
            Listener { slot: l.slot, group: l.group, sources, shares_ports }
        };
        let key = |l: &leat_abi::snapshot::Listener| (l.vip.into(), l.port.to_be(), l.protocol);
        Self {
            generation: snapshot.generation,
            selection_key: snapshot.selection_key,
            hairpin_next_target: snapshot.hairpin_next_target,
            sticky_by_64: snapshot.sticky_by_64,
            digest_key,
            ports: ports.to_vec(),
            port_words: PortWords::new(ports),
            endpoints,
            locals,
            listeners: snapshot.listeners.iter().map(listener).collect(),
            listener_numbers: snapshot.listeners.iter().zip(0..).map(|(l, number)| (key(l), number)).collect(),
            groups: snapshot.groups.iter().map(Group::new).collect(),
            node_bits,
            hops: targets.iter().map(|target| target.as_ref().map_or(NO_HOP, Target::hop)).collect(),
            targets,
            ending: snapshot.targets.iter().filter(ends).map(|t| t.slot).collect(),
            target_sockets: sockets(false),
            withdrawn_sockets: sockets(true),
            target_addresses,
            known,
        }
    }

    /// The MAC of a port; zeros for a port that does not exist.
    #[inline(always)]
    pub fn port_mac(&self, port: u8) -> [u8; 6] {
        self.port(port).map(|port| port.mac).unwrap_or_default()
    }

    /// A port, if there is such a one. Flows of an earlier process may name one that is no more.
    #[inline(always)]
    pub fn port(&self, port: u8) -> Option<&PortInfo> {
        self.ports.get(usize::from(port))
    }

    /// A port's MAC, from the lowest byte on, and in the upper 16 bits its MTU: 0 for a port that does not exist, so that nothing fits.
    #[inline(always)]
    pub(crate) fn port_word(&self, port: u8) -> u64 {
        self.port_words.0[usize::from(port)]
    }

    /// The id of the endpoint that a port is, if it is one.
    pub fn endpoint(&self, port: u8) -> Option<&str> {
        self.endpoints.get(usize::from(port))?.as_deref()
    }

    /// Whose an address of the appliance is.
    #[inline]
    pub fn local(&self, address: Address) -> Option<LocalKind> {
        self.locals.get(&address).copied()
    }

    /// The listener at an address, port and IP protocol.
    #[inline]
    pub fn listener(&self, address: Address, port: u16, protocol: u8) -> Option<&Listener> {
        self.numbered_listener(self.listener_number(address, port, protocol)?)
    }

    /// The number of the listener at an address, port and IP protocol.
    #[inline]
    pub(crate) fn listener_number(&self, address: Address, port: u16, protocol: u8) -> Option<u32> {
        self.listener_numbers.get(&(address, port, protocol)).copied()
    }

    /// The number of the listener at an address, port and IP protocol, the listener and its group.
    #[inline]
    pub(crate) fn service(&self, address: Address, port: u16, protocol: u8) -> Option<(u32, &Listener, &Group)> {
        let number = self.listener_number(address, port, protocol)?;
        let listener = self.numbered_listener(number)?;
        Some((number, listener, self.group(listener.group)?))
    }

    /// The listener of a number.
    #[inline(always)]
    pub(crate) fn numbered_listener(&self, number: u32) -> Option<&Listener> {
        self.listeners.get(number as usize)
    }

    /// Whether an address may be the appliance's own or a target's. No is certain.
    #[inline(always)]
    fn may_know(&self, address: Address) -> bool {
        self.known.may_have(address)
    }

    /// Whether an address is the appliance's own or a target's.
    #[inline(always)]
    pub(crate) fn knows(&self, address: Address) -> bool {
        self.may_know(address) && (self.locals.contains_key(&address) || self.target_addresses.contains(&address))
    }

    /// A group.
    #[inline]
    pub fn group(&self, index: u16) -> Option<&Group> {
        self.groups.get(usize::from(index))
    }

    /// The pairs of node address and target socket between which new flows may have full NAT, as tuples of packets from the target
    /// whose destination port is 0. Some may come more than once.
    pub fn full_nat_pairs(&self) -> impl Iterator<Item = Tuple> {
        let digest_key = self.digest_key;
        let has_endpoints = self.endpoints.iter().any(Option::is_some);
        let listeners =
            self.listener_numbers.iter().filter_map(|(key, number)| Some((key, self.numbered_listener(*number)?)));
        listeners.flat_map(move |((vip, _, protocol), listener)| {
            let translates = move |group: &&Group| {
                let other_kind = listener.sources.first().is_some_and(|source| source.is_v4() != vip.is_v4());
                !group.preserve_client_ip || has_endpoints || other_kind
            };
            let slots = self.group(listener.group).filter(translates).map_or(&[][..], |group| &group.members);
            slots.iter().filter_map(|slot| self.target_in(*slot)).flat_map(move |target| {
                let pair = move |source: &Address| {
                    Tuple::between(digest_key, *protocol, (target.address, target.port), (*source, 0))
                };
                listener.sources.iter().map(pair)
            })
        })
    }

    /// The target in a slot, if it is of this generation.
    #[inline(always)]
    pub fn target(&self, slot: u16, generation: u8) -> Option<&Target> {
        self.target_in(slot).filter(|t| t.generation == generation)
    }

    /// The way to the target in a slot in one word, as flow entries have the way back to the client: generation of the slot, egress port,
    /// MAC from the lowest byte on. The port is one that is not there if packets should not go just there; the generation is no flow's of the
    /// target if packets should not come from there either, as its flows end.
    #[inline(always)]
    pub(crate) fn hop(&self, slot: u16) -> u64 {
        self.hops.get(usize::from(slot)).copied().unwrap_or(NO_HOP)
    }

    /// Whether a flow's client may not have its target any more: it is gone, unhealthy for the node of the flow's listener, or its flows
    /// end. A flow whose listener is gone has no node, and goes on as long as some node has its target.
    #[inline(always)]
    pub fn is_lost(&self, slot: u16, generation: u8, listener_slot: u16) -> bool {
        match self.target(slot, generation) {
            Some(target) if target.state < TargetState::UnhealthyInPart => false,
            Some(target) if target.state == TargetState::UnhealthyInPart => {
                let node = self.node_bits.get(usize::from(listener_slot)).copied().unwrap_or(0);
                target.unhealthy_at & node != 0
            }
            _ => true,
        }
    }

    /// The target in a slot.
    #[inline(always)]
    pub fn target_in(&self, slot: u16) -> Option<&Target> {
        self.targets.get(usize::from(slot))?.as_ref()
    }

    /// Starts fetching the target in a slot.
    #[inline(always)]
    pub(crate) fn fetch_target(&self, slot: u16) {
        if let Some(target) = self.targets.get(usize::from(slot)) {
            prefetch::read(target);
        }
    }

    /// The slots of targets whose flows end, whether they see packets or not.
    #[inline(always)]
    pub fn ending(&self) -> &[u16] {
        &self.ending
    }

    /// Whether a socket was a target's of a load balancer that was deleted, and is of no other.
    #[inline]
    pub fn is_withdrawn(&self, address: Address, port: u16) -> bool {
        self.withdrawn_sockets.contains(&(address, port)) && !self.is_target(address, port)
    }

    /// Whether a socket is a target's (or was, and flows still refer to it).
    #[inline]
    pub fn is_target(&self, address: Address, port: u16) -> bool {
        self.target_sockets.contains(&(address, port))
    }

    /// Whether an address is a target's, on whatever port: what health checks are answered from.
    #[inline]
    pub fn is_target_address(&self, address: Address) -> bool {
        self.target_addresses.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No address of the appliance or a target is missed, few others are looked up for nothing.
    #[test]
    fn known_addresses() {
        let addresses = |count: u32| (0..count).map(|n| Address::v4((0x0a02_0000 + n).to_be()));
        let others = |known: &Known| {
            (0..10_000u32).filter(|n| known.may_have(Address::v4((0x1000_0000 + n * 77).to_be()))).count()
        };
        for count in [1, 3, 1000, 30_000] {
            let known = Known::new(addresses(count));
            assert!(addresses(count).all(|address| known.may_have(address)), "{count}");
            assert!(others(&known) < 1000, "{} of 10000 with {count}", others(&known));
        }
        assert_eq!((others(&Known::new(addresses(0))), others(&Known::default())), (0, 0));
    }

    #[test]
    fn members_of_small_and_large_tables() {
        let slots = [7, 0, u16::MAX, 300];
        for places in [4, SORTED_BELOW - 1, SORTED_BELOW, 3 * SORTED_BELOW] {
            let table: Vec<u16> = slots.into_iter().cycle().take(places).collect();
            assert_eq!(*members(&table), [0, 7, 300, u16::MAX]);
        }
        assert!(members(&[]).is_empty());
    }
}

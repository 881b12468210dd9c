//! The snapshot as lcores use it: the same facts, laid out to be looked up. Made off the lcores, immutable, shared.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use foldhash::fast::FixedState;
use leat_abi::Snapshot;
use leat_abi::snapshot::{LocalKind, NextHop, TargetState};

use crate::parse::Tuple;
use crate::source_ports::NAT_PORTS;

/// Addresses as packets carry them: network order as loaded.
pub fn loaded(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The address that is loaded as this number.
pub fn address(loaded: u32) -> Ipv4Addr {
    Ipv4Addr::from(loaded.to_ne_bytes())
}

/// A listener as the miss path needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Slot for counters.
    pub slot: u16,
    /// Index of the group.
    pub group: u16,
    /// Source address of full NAT, as loaded.
    pub source: u32,
    /// Listeners of this protocol stand on ports of full NAT at that address.
    pub shares_ports: bool,
}

/// A target as every packet needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// State.
    pub state: TargetState,
    /// Generation of the slot.
    pub generation: u8,
    /// The way there.
    pub next_hop: Option<NextHop>,
    /// Address as loaded.
    pub ip: u32,
    /// Port as loaded.
    pub port: u16,
}

/// A target group as the miss path needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Targets see the client's address and port.
    pub preserve_client_ip: bool,
    table: Box<[u16]>,
    /// The slots in the table, each once.
    members: Box<[u16]>,
}

impl Group {
    fn new(preserve_client_ip: bool, table: &[u16]) -> Self {
        let mut is_member = vec![false; 1 << 16];
        table.iter().for_each(|slot| is_member[usize::from(*slot)] = true);
        let members = (0..=u16::MAX).filter(|slot| is_member[usize::from(*slot)]).collect();
        Self { preserve_client_ip, table: table.into(), members }
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
}

/// All that lcores look up. Indices that are out of range yield `None`, never a panic.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// The snapshot's generation.
    pub generation: u64,
    /// Key of the hash that selects targets.
    pub selection_key: [u64; 2],
    port_macs: Vec<[u8; 6]>,
    locals: HashMap<u32, LocalKind, FixedState>,
    listeners: HashMap<(u32, u16, u8), Listener, FixedState>,
    groups: Vec<Group>,
    targets: Vec<Option<Target>>,
    target_sockets: HashSet<(u32, u16), FixedState>,
    target_addresses: HashSet<u32, FixedState>,
}

impl Forwarding {
    /// The lookup tables for a snapshot, on ports with these MACs.
    pub fn new(snapshot: &Snapshot, port_macs: &[[u8; 6]]) -> Self {
        let slots = snapshot.targets.iter().map(|t| usize::from(t.slot) + 1).max().unwrap_or(0);
        let mut targets = vec![None; slots];
        for t in &snapshot.targets {
            let (ip, port) = (loaded(t.address), t.port.to_be());
            targets[usize::from(t.slot)] =
                Some(Target { state: t.state, generation: t.generation, next_hop: t.next_hop, ip, port });
        }
        let on_nat_ports: HashSet<_> =
            snapshot.listeners.iter().filter(|l| NAT_PORTS.contains(&l.port)).map(|l| (l.vip, l.protocol)).collect();
        Self {
            generation: snapshot.generation,
            selection_key: snapshot.selection_key,
            port_macs: port_macs.to_vec(),
            locals: snapshot.locals.iter().map(|l| (loaded(l.address), l.kind)).collect(),
            listeners: snapshot
                .listeners
                .iter()
                .map(|l| {
                    let key = (loaded(l.vip), l.port.to_be(), l.protocol);
                    let shares_ports = on_nat_ports.contains(&(l.source, l.protocol));
                    (key, Listener { slot: l.slot, group: l.group, source: loaded(l.source), shares_ports })
                })
                .collect(),
            groups: snapshot.groups.iter().map(|g| Group::new(g.preserve_client_ip, &g.table)).collect(),
            targets,
            target_sockets: snapshot.targets.iter().map(|t| (loaded(t.address), t.port.to_be())).collect(),
            target_addresses: snapshot.targets.iter().map(|t| loaded(t.address)).collect(),
        }
    }

    /// The MAC of a port; zeros for a port that does not exist.
    #[inline(always)]
    pub fn port_mac(&self, port: u8) -> [u8; 6] {
        self.egress_mac(port).unwrap_or_default()
    }

    /// The MAC of a port, if there is such a port. Flows of an earlier process may name one that is no more.
    #[inline(always)]
    pub fn egress_mac(&self, port: u8) -> Option<[u8; 6]> {
        self.port_macs.get(usize::from(port)).copied()
    }

    /// Whose an address of the appliance is.
    #[inline]
    pub fn local(&self, ip: u32) -> Option<LocalKind> {
        self.locals.get(&ip).copied()
    }

    /// The listener at an address, port and protocol.
    #[inline]
    pub fn listener(&self, ip: u32, port: u16, protocol: u8) -> Option<&Listener> {
        self.listeners.get(&(ip, port, protocol))
    }

    /// A group.
    #[inline]
    pub fn group(&self, index: u16) -> Option<&Group> {
        self.groups.get(usize::from(index))
    }

    /// The pairs of node address and target socket between which new flows have full NAT, as tuples of packets from the target whose
    /// destination port is 0. Some may come more than once.
    pub fn full_nat_pairs(&self) -> impl Iterator<Item = Tuple> {
        self.listeners.iter().flat_map(|((_, _, protocol), listener)| {
            let group = self.group(listener.group).filter(|group| !group.preserve_client_ip);
            let slots = group.map_or(&[][..], |group| &group.members).iter();
            slots
                .filter_map(|slot| self.target_in(*slot))
                .map(move |target| Tuple::new(*protocol, (target.ip, target.port), (listener.source, 0)))
        })
    }

    /// The target in a slot, if it is of this generation.
    #[inline(always)]
    pub fn target(&self, slot: u16, generation: u8) -> Option<&Target> {
        self.target_in(slot).filter(|t| t.generation == generation)
    }

    /// The target in a slot.
    #[inline(always)]
    pub fn target_in(&self, slot: u16) -> Option<&Target> {
        self.targets.get(usize::from(slot))?.as_ref()
    }

    /// Whether a socket is a target's (or was, and flows still refer to it).
    #[inline]
    pub fn is_target(&self, ip: u32, port: u16) -> bool {
        self.target_sockets.contains(&(ip, port))
    }

    /// Whether an address is a target's, on whatever port: what health checks are answered from.
    #[inline]
    pub fn is_target_address(&self, ip: u32) -> bool {
        self.target_addresses.contains(&ip)
    }
}

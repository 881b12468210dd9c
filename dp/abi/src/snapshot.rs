//! The forwarding state that the control plane compiles and the data plane obeys: all of it, every time.
//!
//! A snapshot is encoded into words, put into an arena slot and announced. The data plane copies it out while checking it, so
//! that a snapshot in use can neither change nor be wrong: every index in a decoded [`Snapshot`] is in range.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::flow::protocol;

/// What marks a snapshot.
const MAGIC: u64 = u64::from_le_bytes(*b"LEATSNAP");
const HEADER_WORDS: usize = 12;
/// Addresses of full NAT that a listener has at the most.
pub const SOURCES_MAX: usize = 8;
/// Nodes that a load balancer has at the most.
pub const NODES_MAX: u8 = 64;
/// Bytes of an endpoint's id at the most.
pub const ENDPOINT_ID_MAX: usize = 58;
/// Which word of a snapshot is its length in words.
pub(crate) const LENGTH_WORD: usize = 2;
/// Checksum of an example's words: names the encoding in the layout's hash. `the_encoding_is_recorded` fails when it is wrong.
#[cfg(not(loom))]
pub(crate) const ENCODING: u64 = 0xdfa6_061d_a708_07c1;

/// What the indices of a snapshot may be at the most; from the segment's geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Target slots.
    pub targets_max: u16,
    /// Listener slots.
    pub listeners_max: u16,
    /// Ports.
    pub ports: u8,
}

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not start with the mark of a snapshot.
    #[error("there is no snapshot in the announced slot")]
    Magic,
    /// The slot holds another generation than the announced one.
    #[error("generation {announced} was announced but the slot holds {found}")]
    Generation {
        /// As announced.
        announced: u64,
        /// As found.
        found: u64,
    },
    /// It was cut short or changed.
    #[error("the snapshot is cut short or its checksum is wrong")]
    Damaged,
    /// A value is out of its range.
    #[error("`{field}` is out of range: {value}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Two items share what must be unique.
    #[error("two items have the same `{0}`")]
    Duplicate(&'static str),
}

/// Whose an address on the appliance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalKind {
    /// The host's own: all its traffic goes to Linux.
    Host,
    /// A load balancer node's: listeners, and Linux for health checks.
    Node,
}

/// An address of the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub kind: LocalKind,
    /// The port on whose TAP twin it lives, 0-based.
    pub port: u8,
}

/// A listener of one node for one protocol. (A TCP_UDP listener is two of these.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Stable number, unique in the snapshot; counters are kept under it.
    pub slot: u16,
    /// The node's address.
    pub vip: IpAddr,
    /// The port, 1–65 535.
    pub port: u16,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
    /// The node's number among those of its load balancer, below [`NODES_MAX`]; bits of [`Target::unhealthy_at`].
    pub node: u8,
    /// Index of the target group in [`Snapshot::groups`].
    pub group: u16,
    /// Source addresses of full NAT: the node's addresses of the kind that the group's targets have, 1 to [`SOURCES_MAX`].
    pub sources: Vec<IpAddr>,
}

/// A target group as one scope of targets sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Targets see the client's address and port, where it has the kind of address that they have.
    pub preserve_client_ip: bool,
    /// Flows of one client address and protocol all go to one target.
    pub sticky: bool,
    /// TCP connections begin with a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Names the group for as long as it exists; part of the hash of sticky groups.
    pub id: u64,
    /// Maglev table: target slots. Empty: no target can be chosen.
    pub table: Vec<u16>,
}

/// What packets of a target's flows have to expect, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetState {
    /// Flows go on, and new ones come if the group's table names the slot.
    Active,
    /// Deregistered: flows go on, no new ones come.
    Draining,
    /// [`TargetState::Unhealthy`] for the nodes of [`Target::unhealthy_at`], and for no other.
    UnhealthyInPart,
    /// TCP flows are reset on their next packet; UDP flows choose again.
    Unhealthy,
    /// Its time to drain is over: TCP flows are reset at both ends, UDP flows end, whether they see packets or not.
    Terminate,
    /// Its load balancer was deleted: flows end, and nobody is told.
    Withdrawn,
}

impl TargetState {
    /// Every state, by its number.
    pub const ALL: [Self; 6] =
        [Self::Active, Self::Draining, Self::UnhealthyInPart, Self::Unhealthy, Self::Terminate, Self::Withdrawn];
}

/// Where frames for a target go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The egress port, 0-based.
    pub port: u8,
    /// Destination MAC.
    pub mac: [u8; 6],
}

/// A target, or one that flows still refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Stable number, unique in the snapshot; flows refer to it.
    pub slot: u16,
    /// Changes whenever the slot gets another target.
    pub generation: u8,
    /// State.
    pub state: TargetState,
    /// Address.
    pub address: IpAddr,
    /// Port, 1–65 535.
    pub port: u16,
    /// The way there; none while it is not resolved.
    pub next_hop: Option<NextHop>,
    /// The nodes for which it is [`TargetState::UnhealthyInPart`], a bit each; 0 in other states.
    pub unhealthy_at: u64,
}

/// A port whose clients come through an endpoint: full NAT always, and PROXY headers name the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The port, 0-based, unique in the snapshot.
    pub port: u8,
    /// The endpoint's id: 1 to [`ENDPOINT_ID_MAX`] bytes.
    pub id: String,
}

/// All forwarding state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Grows with every snapshot; 0 is none.
    pub generation: u64,
    /// Key of the hash that selects targets. Kept with the configuration: a new key moves every choice.
    pub selection_key: [u64; 2],
    /// Addresses of the appliance.
    pub locals: Vec<Local>,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Target groups that listeners refer to.
    pub groups: Vec<Group>,
    /// Targets.
    pub targets: Vec<Target>,
    /// Ports that are endpoints.
    pub endpoints: Vec<Endpoint>,
    /// A client that is itself the chosen target, and whose address is preserved, gets the next target; else its packet is dropped.
    pub hairpin_next_target: bool,
    /// Sticky groups see an IPv6 client's first 64 bits only.
    pub sticky_by_64: bool,
}

/// A fold over all words: finds torn and stray writes. (Not against an attacker: the writer is trusted.)
fn checksum(words: &[u64]) -> u64 {
    words
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

/// An address as two words, IPv4 as the IPv6 address that stands for it (RFC 4291 §2.5.5.2).
fn address_words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

fn mac_word(mac: [u8; 6]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    u64::from_le_bytes(bytes)
}

impl Snapshot {
    /// The words to put into an arena slot.
    pub fn encode(&self) -> Vec<u64> {
        let tables: usize = self.groups.iter().map(|g| g.table.len()).sum();
        let mut words =
            Vec::with_capacity(HEADER_WORDS + tables / 4 + 4 * self.targets.len() + 64 * self.listeners.len());
        words.extend([
            MAGIC,
            self.generation,
            0,
            0,
            self.selection_key[0],
            self.selection_key[1],
            self.locals.len() as u64,
            self.listeners.len() as u64,
            self.groups.len() as u64,
            self.targets.len() as u64,
            self.endpoints.len() as u64,
            u64::from(self.hairpin_next_target) | u64::from(self.sticky_by_64) << 1,
        ]);
        for local in &self.locals {
            let kind = match local.kind {
                LocalKind::Host => 0,
                LocalKind::Node => 1,
            };
            words.extend(address_words(local.address));
            words.push(kind | u64::from(local.port) << 8);
        }
        for l in &self.listeners {
            words.extend(address_words(l.vip));
            words.push(
                u64::from(l.port) | u64::from(l.slot) << 16 | u64::from(l.group) << 32 | u64::from(l.protocol) << 48,
            );
            words.push(l.sources.len() as u64 | u64::from(l.node) << 8);
            l.sources.iter().for_each(|source| words.extend(address_words(*source)));
        }
        for group in &self.groups {
            let switches = [group.preserve_client_ip, group.sticky, group.proxy_protocol];
            let switches = switches.iter().rev().fold(0, |bits, on| bits << 1 | u64::from(*on));
            words.push(group.table.len() as u64 | switches << 32);
            words.push(group.id);
            words.extend(
                group.table.chunks(4).map(|slots| {
                    slots.iter().enumerate().fold(0, |word, (i, slot)| word | u64::from(*slot) << (16 * i))
                }),
            );
        }
        for t in &self.targets {
            words.extend(address_words(t.address));
            words.push(
                u64::from(t.port)
                    | u64::from(t.slot) << 16
                    | u64::from(t.generation) << 32
                    | (t.state as u64) << 40
                    | u64::from(t.next_hop.is_some()) << 48,
            );
            words.push(t.next_hop.map_or(0, |hop| mac_word(hop.mac) | u64::from(hop.port) << 48));
            words.push(t.unhealthy_at);
        }
        for endpoint in &self.endpoints {
            words.push(u64::from(endpoint.port) | (endpoint.id.len() as u64) << 8);
            words.extend(endpoint.id.as_bytes().chunks(8).map(|bytes| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(word)
            }));
        }
        words[LENGTH_WORD] = words.len() as u64;
        words[3] = checksum(&words[4..]);
        words
    }

    /// Reads the words of an arena slot, of which there may be more than the snapshot's, and checks everything.
    pub fn decode(words: &[u64], announced: u64, limits: Limits) -> Result<Self, SnapshotError> {
        let header: &[u64; HEADER_WORDS] = words.first_chunk().ok_or(SnapshotError::Damaged)?;
        if header[0] != MAGIC {
            return Err(SnapshotError::Magic);
        }
        if header[1] != announced {
            return Err(SnapshotError::Generation { announced, found: header[1] });
        }
        let total = usize::try_from(header[LENGTH_WORD]).map_err(|_| SnapshotError::Damaged)?;
        if total < HEADER_WORDS {
            return Err(SnapshotError::Damaged);
        }
        let body = words.get(4..total).ok_or(SnapshotError::Damaged)?;
        if checksum(body) != header[3] {
            return Err(SnapshotError::Damaged);
        }
        let mut reader = Reader { words: &words[HEADER_WORDS..total] };
        let mut snapshot = Self {
            generation: announced,
            selection_key: [header[4], header[5]],
            hairpin_next_target: header[11] & 1 == 1,
            sticky_by_64: header[11] >> 1 & 1 == 1,
            ..Self::default()
        };

        for _ in 0..header[6] {
            let (address, word) = (reader.address()?, reader.next()?);
            let kind = match word & 0xff {
                0 => LocalKind::Host,
                1 => LocalKind::Node,
                value => return Err(SnapshotError::Range { field: "local.kind", value }),
            };
            let port = below("local.port", word >> 8, limits.ports.into())? as u8;
            snapshot.locals.push(Local { address, kind, port });
        }
        for _ in 0..header[7] {
            let (vip, word, counts) = (reader.address()?, reader.next()?, reader.next()?);
            let count = counts & 0xff;
            let protocol = (word >> 48) as u8;
            if ![protocol::TCP, protocol::UDP].contains(&protocol) {
                return Err(SnapshotError::Range { field: "listener.protocol", value: word >> 48 });
            }
            if count == 0 || count > SOURCES_MAX as u64 {
                return Err(SnapshotError::Range { field: "listener.sources", value: count });
            }
            let sources: Vec<IpAddr> = (0..count).map(|_| reader.address()).collect::<Result<_, _>>()?;
            if sources.iter().any(|source| source.is_ipv4() != sources[0].is_ipv4()) {
                return Err(SnapshotError::Range { field: "listener.sources", value: count });
            }
            snapshot.listeners.push(Listener {
                slot: below("listener.slot", word >> 16 & 0xffff, limits.listeners_max.into())? as u16,
                vip,
                port: port("listener.port", word)?,
                protocol,
                node: below("listener.node", counts >> 8, NODES_MAX.into())? as u8,
                group: below("listener.group", word >> 32 & 0xffff, header[8])? as u16,
                sources,
            });
        }
        for _ in 0..header[8] {
            let (word, id) = (reader.next()?, reader.next()?);
            let length = (word & 0xffff_ffff) as usize;
            let packed = reader.take(length.div_ceil(4))?;
            let mut table = Vec::with_capacity(packed.len() * 4);
            packed.iter().for_each(|word| table.extend([0, 16, 32, 48].map(|bit| (word >> bit) as u16)));
            table.truncate(length);
            let on = |bit: u32| word >> (32 + bit) & 1 == 1;
            snapshot.groups.push(Group { preserve_client_ip: on(0), sticky: on(1), proxy_protocol: on(2), id, table });
        }
        for _ in 0..header[9] {
            let (address, word, hop) = (reader.address()?, reader.next()?, reader.next()?);
            let unhealthy_at = reader.next()?;
            let state = word >> 40 & 0xff;
            let next_hop = if word >> 48 & 1 == 1 {
                let port = below("target.next_hop.port", hop >> 48, limits.ports.into())? as u8;
                let [m0, m1, m2, m3, m4, m5, ..] = hop.to_le_bytes();
                Some(NextHop { port, mac: [m0, m1, m2, m3, m4, m5] })
            } else {
                None
            };
            snapshot.targets.push(Target {
                slot: below("target.slot", word >> 16 & 0xffff, limits.targets_max.into())? as u16,
                generation: (word >> 32) as u8,
                state: *TargetState::ALL
                    .get(state as usize)
                    .ok_or(SnapshotError::Range { field: "target.state", value: state })?,
                address,
                port: port("target.port", word)?,
                next_hop,
                unhealthy_at,
            });
        }
        for _ in 0..header[10] {
            let word = reader.next()?;
            let length = (word >> 8) as usize;
            if length == 0 || length > ENDPOINT_ID_MAX {
                return Err(SnapshotError::Range { field: "endpoint.id", value: length as u64 });
            }
            let bytes: Vec<u8> = reader.take(length.div_ceil(8))?.iter().flat_map(|word| word.to_le_bytes()).collect();
            let id = String::from_utf8(bytes[..length].to_vec())
                .map_err(|_| SnapshotError::Range { field: "endpoint.id", value: length as u64 })?;
            let port = below("endpoint.port", word & 0xff, limits.ports.into())? as u8;
            snapshot.endpoints.push(Endpoint { port, id });
        }
        if !reader.words.is_empty() {
            return Err(SnapshotError::Damaged);
        }
        snapshot.check_references()?;
        Ok(snapshot)
    }

    fn check_references(&self) -> Result<(), SnapshotError> {
        unique("target.slot", self.targets.iter().map(|t| t.slot))?;
        unique("listener.slot", self.listeners.iter().map(|l| l.slot))?;
        unique("listener address, port and protocol", self.listeners.iter().map(|l| (l.vip, l.port, l.protocol)))?;
        self.check_tables()?;
        unique("endpoint.port", self.endpoints.iter().map(|e| e.port))?;
        unique("local.address", self.locals.iter().map(|l| l.address))
    }

    /// Tables name targets that there are. A group's targets have one kind of address, and what its listeners' flows are translated
    /// to has the same. Tables have millions of places: no hashing.
    fn check_tables(&self) -> Result<(), SnapshotError> {
        let mut is_ipv4: Vec<Option<bool>> = vec![None; 1 << 16];
        self.targets.iter().for_each(|t| is_ipv4[usize::from(t.slot)] = Some(t.address.is_ipv4()));
        let mut kinds = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let kind = group.table.first().and_then(|slot| is_ipv4[usize::from(*slot)]);
            if let Some(slot) = group.table.iter().find(|slot| {
                let of_slot = is_ipv4[usize::from(**slot)];
                of_slot.is_none() || of_slot != kind
            }) {
                return Err(SnapshotError::Range { field: "group.table", value: u64::from(*slot) });
            }
            kinds.push(kind);
        }
        let differs = |listener: &&Listener| {
            kinds[usize::from(listener.group)].is_some_and(|kind| kind != listener.sources[0].is_ipv4())
        };
        match self.listeners.iter().find(differs) {
            Some(listener) => Err(SnapshotError::Range { field: "listener.sources", value: listener.slot.into() }),
            None => Ok(()),
        }
    }
}

struct Reader<'w> {
    words: &'w [u64],
}

impl<'w> Reader<'w> {
    fn next(&mut self) -> Result<u64, SnapshotError> {
        Ok(self.take(1)?[0])
    }

    fn address(&mut self) -> Result<IpAddr, SnapshotError> {
        let words = self.take(2)?;
        Ok(Ipv6Addr::from(u128::from(words[0]) << 64 | u128::from(words[1])).to_canonical())
    }

    fn take(&mut self, count: usize) -> Result<&'w [u64], SnapshotError> {
        let (taken, rest) = self.words.split_at_checked(count).ok_or(SnapshotError::Damaged)?;
        self.words = rest;
        Ok(taken)
    }
}

fn below(field: &'static str, value: u64, limit: u64) -> Result<u64, SnapshotError> {
    if value < limit { Ok(value) } else { Err(SnapshotError::Range { field, value }) }
}

fn port(field: &'static str, word: u64) -> Result<u16, SnapshotError> {
    match word as u16 {
        0 => Err(SnapshotError::Range { field, value: 0 }),
        port => Ok(port),
    }
}

fn unique<T: std::hash::Hash + Eq>(what: &'static str, items: impl Iterator<Item = T>) -> Result<(), SnapshotError> {
    let mut seen = HashSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(SnapshotError::Duplicate(what));
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const LIMITS: Limits = Limits { targets_max: 64, listeners_max: 64, ports: 2 };

    fn address(n: u32, v4: bool) -> IpAddr {
        if v4 { Ipv4Addr::from(n).into() } else { Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n)).into() }
    }

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        let target =
            (any::<u8>(), 0..TargetState::ALL.len(), any::<u32>(), 1..=u16::MAX, any::<Option<([u8; 6], bool)>>());
        let targets = proptest::collection::vec(target, 1..20);
        let groups = proptest::collection::vec(
            (any::<[bool; 3]>(), any::<u64>(), proptest::collection::vec(any::<u16>(), 0..50)),
            1..5,
        );
        let listeners =
            proptest::collection::vec((any::<u32>(), 1..=u16::MAX, any::<[bool; 2]>(), any::<u16>(), 1..=8u32), 0..10);
        let locals = proptest::collection::btree_map(any::<u32>(), (any::<[bool; 2]>(), 0..2u8), 0..5);
        let endpoints = proptest::collection::btree_map(0..2u8, "[a-z0-9-]{1,58}", 0..2);
        let switches = any::<[bool; 3]>();
        (any::<u64>(), any::<[u64; 2]>(), targets, groups, listeners, locals, endpoints, switches).prop_map(
            |(
                generation,
                selection_key,
                targets,
                groups,
                listeners,
                locals,
                endpoints,
                [v4, hairpin_next_target, sticky_by_64],
            )| {
                let targets: Vec<Target> = targets
                    .into_iter()
                    .enumerate()
                    .map(|(i, (generation, state, n, port, hop))| Target {
                        slot: 3 * i as u16,
                        generation,
                        state: TargetState::ALL[state],
                        address: address(n, v4),
                        port,
                        next_hop: hop.map(|(mac, p)| NextHop { port: p.into(), mac }),
                        unhealthy_at: u64::from(n) << (port % 32),
                    })
                    .collect();
                let groups: Vec<Group> = groups
                    .into_iter()
                    .map(|([preserve_client_ip, sticky, proxy_protocol], id, table)| Group {
                        preserve_client_ip,
                        sticky,
                        proxy_protocol,
                        id,
                        table: table.iter().map(|n| targets[*n as usize % targets.len()].slot).collect(),
                    })
                    .collect();
                let listeners = listeners
                    .into_iter()
                    .enumerate()
                    .map(|(i, (vip, port, [tcp, vip_v4], group, sources))| Listener {
                        slot: i as u16,
                        vip: address(vip & !0xff | i as u32, vip_v4),
                        port,
                        protocol: if tcp { 6 } else { 17 },
                        node: (port % u16::from(NODES_MAX)) as u8,
                        group: group % groups.len() as u16,
                        sources: (0..sources).map(|n| address(vip ^ n, v4)).collect(),
                    })
                    .collect();
                let locals = locals
                    .into_iter()
                    .map(|(n, ([host, v4], port))| Local {
                        address: address(n, v4),
                        kind: if host { LocalKind::Host } else { LocalKind::Node },
                        port,
                    })
                    .collect();
                let endpoints = endpoints.into_iter().map(|(port, id)| Endpoint { port, id }).collect();
                Snapshot {
                    generation,
                    selection_key,
                    locals,
                    listeners,
                    groups,
                    targets,
                    endpoints,
                    hairpin_next_target,
                    sticky_by_64,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(snapshot in snapshot(), spare in 0..9usize) {
            let mut words = snapshot.encode();
            words.extend(std::iter::repeat_n(0xdead, spare));
            prop_assert_eq!(Snapshot::decode(&words, snapshot.generation, LIMITS), Ok(snapshot));
        }

        #[test]
        fn any_changed_or_missing_word_is_refused(snapshot in snapshot(), at: prop::sample::Index, change in 1..u64::MAX) {
            let words = snapshot.encode();
            let at = at.index(words.len());
            let mut changed = words.clone();
            changed[at] ^= change;
            prop_assert!(Snapshot::decode(&changed, snapshot.generation, LIMITS).is_err());
            prop_assert!(Snapshot::decode(&words[..at], snapshot.generation, LIMITS).is_err());
        }

        /// A writer that computes the checksum right but puts nonsense into the words is refused or harmless, never a panic.
        #[test]
        fn nonsense_with_a_good_checksum_never_panics(snapshot in snapshot(), at: prop::sample::Index, value: u64) {
            let mut words = snapshot.encode();
            let at = at.index(words.len());
            words[at] = value;
            let end = (words[LENGTH_WORD] as usize).clamp(4, words.len());
            words[3] = checksum(&words[4..end]);
            if let Ok(decoded) = Snapshot::decode(&words, snapshot.generation, LIMITS) {
                prop_assert!(decoded.groups.iter().flat_map(|g| &g.table).all(|slot| *slot < LIMITS.targets_max));
                prop_assert!(decoded.listeners.iter().all(|l| usize::from(l.group) < decoded.groups.len()));
            }
        }
    }

    /// A length that ends within the header is refused, also when the checksum agrees with it.
    #[test]
    fn a_length_shorter_than_the_header_is_refused() {
        for length in 0..HEADER_WORDS {
            let mut words = Snapshot::default().encode();
            words[LENGTH_WORD] = length as u64;
            words[3] = checksum(&words[4..length.max(4)]);
            assert_eq!(Snapshot::decode(&words, 0, LIMITS), Err(SnapshotError::Damaged), "length {length}");
        }
    }

    /// The encoding is part of the layout: when it changes, so does [`ENCODING`], and with it the layout's hash.
    #[test]
    fn the_encoding_is_recorded() {
        let next_hop = Some(NextHop { port: 1, mac: [1, 2, 3, 4, 5, 6] });
        let target = Target {
            slot: 9,
            generation: 3,
            state: TargetState::Active,
            address: Ipv4Addr::new(10, 2, 0, 11).into(),
            port: 8080,
            next_hop,
            unhealthy_at: 0,
        };
        let listener = Listener {
            slot: 7,
            vip: Ipv4Addr::new(10, 1, 0, 10).into(),
            port: 443,
            protocol: protocol::TCP,
            node: 3,
            group: 1,
            sources: vec![Ipv4Addr::new(10, 1, 0, 12).into(), Ipv4Addr::new(10, 1, 0, 13).into()],
        };
        let local = Local { address: listener.vip, kind: LocalKind::Node, port: 1 };
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).into();
        let snapshot = Snapshot {
            generation: 5,
            selection_key: [11, 13],
            locals: vec![local, Local { address: v6, kind: LocalKind::Host, port: 0 }],
            listeners: vec![
                listener.clone(),
                Listener { protocol: protocol::UDP, slot: 8, group: 0, vip: v6, ..listener },
            ],
            groups: vec![
                Group { preserve_client_ip: true, id: 77, table: vec![9, 10, 11, 9, 10], ..Group::default() },
                Group { sticky: true, table: vec![], ..Group::default() },
                Group { proxy_protocol: true, ..Group::default() },
            ],
            targets: vec![
                target,
                Target { slot: 10, state: TargetState::Draining, ..target },
                Target { slot: 11, state: TargetState::Unhealthy, next_hop: None, ..target },
                Target { slot: 12, state: TargetState::Terminate, address: v6, ..target },
                Target { slot: 13, state: TargetState::Withdrawn, ..target },
                Target { slot: 14, state: TargetState::UnhealthyInPart, unhealthy_at: 5, ..target },
            ],
            endpoints: vec![Endpoint { port: 1, id: "vpce-08d2bf15fac5001c9".into() }],
            hairpin_next_target: true,
            sticky_by_64: false,
        };
        let found = checksum(&snapshot.encode());
        assert_eq!(found, ENCODING, "the encoding changed: set ENCODING to {found:#x} and raise ABI_VERSION");
    }

    #[test]
    fn references_are_checked() {
        let target = |slot| Target {
            slot,
            generation: 0,
            state: TargetState::Active,
            address: Ipv4Addr::new(10, 2, 0, 11).into(),
            port: 80,
            next_hop: None,
            unhealthy_at: 0,
        };
        let decode = |snapshot: Snapshot| Snapshot::decode(&snapshot.encode(), snapshot.generation, LIMITS);
        let dangling = Snapshot { groups: vec![Group { table: vec![1], ..Group::default() }], ..Snapshot::default() };
        assert_eq!(decode(dangling), Err(SnapshotError::Range { field: "group.table", value: 1 }));
        let twice = Snapshot { targets: vec![target(5), target(5)], ..Snapshot::default() };
        assert_eq!(decode(twice), Err(SnapshotError::Duplicate("target.slot")));
        let high = Snapshot { targets: vec![target(64)], ..Snapshot::default() };
        assert_eq!(decode(high), Err(SnapshotError::Range { field: "target.slot", value: 64 }));
    }
}

//! The forwarding state that the control plane compiles and the data plane obeys: all of it, every time.
//!
//! A snapshot is encoded into words, put into an arena slot and announced. The data plane copies it out while checking it, so
//! that a snapshot in use can neither change nor be wrong: every index in a decoded [`Snapshot`] is in range.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::flow::protocol;

/// What marks a snapshot.
const MAGIC: u64 = u64::from_le_bytes(*b"LEATSNAP");
const HEADER_WORDS: usize = 10;
/// Which word of a snapshot is its length in words.
pub(crate) const LENGTH_WORD: usize = 2;
/// Checksum of an example's words: names the encoding in the layout's hash. `the_encoding_is_recorded` fails when it is wrong.
#[cfg(not(loom))]
pub(crate) const ENCODING: u64 = 0x9258_b951_b54c_54a3;

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
    pub address: Ipv4Addr,
    /// Whose it is.
    pub kind: LocalKind,
    /// The port on whose TAP twin it lives, 0-based.
    pub port: u8,
}

/// A listener of one node for one protocol. (A TCP_UDP listener is two of these.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Stable number, unique in the snapshot; counters are kept under it.
    pub slot: u16,
    /// The node's address.
    pub vip: Ipv4Addr,
    /// The port, 1–65 535.
    pub port: u16,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
    /// Index of the target group in [`Snapshot::groups`].
    pub group: u16,
    /// Source address of full NAT.
    pub source: Ipv4Addr,
}

/// A target group as one scope of targets sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Targets see the client's address and port.
    pub preserve_client_ip: bool,
    /// Maglev table: target slots. Empty: no target can be chosen.
    pub table: Vec<u16>,
}

/// What packets of a target's flows have to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Flows go on, and new ones come if the group's table names the slot.
    Active,
    /// Deregistered: flows go on, no new ones come.
    Draining,
    /// TCP flows are reset on their next packet; UDP flows choose again.
    Unhealthy,
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
    pub address: Ipv4Addr,
    /// Port, 1–65 535.
    pub port: u16,
    /// The way there; none while it is not resolved.
    pub next_hop: Option<NextHop>,
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
}

/// A fold over all words: finds torn and stray writes. (Not against an attacker: the writer is trusted.)
fn checksum(words: &[u64]) -> u64 {
    words
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

fn mac_word(mac: [u8; 6]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    u64::from_le_bytes(bytes)
}

impl Snapshot {
    /// The words to put into an arena slot.
    pub fn encode(&self) -> Vec<u64> {
        let table_words: usize = self.groups.iter().map(|g| 1 + g.table.len().div_ceil(4)).sum();
        let total = HEADER_WORDS + self.locals.len() + 2 * self.listeners.len() + table_words + 3 * self.targets.len();
        let mut words = Vec::with_capacity(total);
        words.extend([
            MAGIC,
            self.generation,
            total as u64,
            0,
            self.selection_key[0],
            self.selection_key[1],
            self.locals.len() as u64,
            self.listeners.len() as u64,
            self.groups.len() as u64,
            self.targets.len() as u64,
        ]);
        for local in &self.locals {
            let kind = match local.kind {
                LocalKind::Host => 0,
                LocalKind::Node => 1,
            };
            words.push(u64::from(u32::from(local.address)) | kind << 32 | u64::from(local.port) << 40);
        }
        for l in &self.listeners {
            words.push(u64::from(u32::from(l.vip)) | u64::from(l.port) << 32 | u64::from(l.slot) << 48);
            words.push(u64::from(u32::from(l.source)) | u64::from(l.group) << 32 | u64::from(l.protocol) << 48);
        }
        for group in &self.groups {
            words.push(group.table.len() as u64 | u64::from(group.preserve_client_ip) << 32);
            words.extend(
                group.table.chunks(4).map(|slots| {
                    slots.iter().enumerate().fold(0, |word, (i, slot)| word | u64::from(*slot) << (16 * i))
                }),
            );
        }
        for t in &self.targets {
            let state = match t.state {
                TargetState::Active => 0,
                TargetState::Draining => 1,
                TargetState::Unhealthy => 2,
            };
            words.push(u64::from(u32::from(t.address)) | u64::from(t.port) << 32 | u64::from(t.slot) << 48);
            words.push(state | u64::from(t.generation) << 8 | u64::from(t.next_hop.is_some()) << 16);
            words.push(t.next_hop.map_or(0, |hop| mac_word(hop.mac) | u64::from(hop.port) << 48));
        }
        debug_assert_eq!(words.len(), total);
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
        let mut snapshot = Self { generation: announced, selection_key: [header[4], header[5]], ..Self::default() };

        for _ in 0..header[6] {
            let word = reader.next()?;
            let kind = match word >> 32 & 0xff {
                0 => LocalKind::Host,
                1 => LocalKind::Node,
                value => return Err(SnapshotError::Range { field: "local.kind", value }),
            };
            let port = below("local.port", word >> 40, limits.ports.into())? as u8;
            snapshot.locals.push(Local { address: (word as u32).into(), kind, port });
        }
        for _ in 0..header[7] {
            let (a, b) = (reader.next()?, reader.next()?);
            let protocol = (b >> 48) as u8;
            if ![protocol::TCP, protocol::UDP].contains(&protocol) {
                return Err(SnapshotError::Range { field: "listener.protocol", value: b >> 48 });
            }
            snapshot.listeners.push(Listener {
                slot: below("listener.slot", a >> 48, limits.listeners_max.into())? as u16,
                vip: (a as u32).into(),
                port: port("listener.port", a)?,
                protocol,
                group: below("listener.group", b >> 32 & 0xffff, header[8])? as u16,
                source: (b as u32).into(),
            });
        }
        for _ in 0..header[8] {
            let word = reader.next()?;
            let length = (word & 0xffff_ffff) as usize;
            let packed = reader.take(length.div_ceil(4))?;
            let table = (0..length).map(|i| (packed[i / 4] >> (16 * (i % 4))) as u16).collect();
            snapshot.groups.push(Group { preserve_client_ip: word >> 32 & 1 == 1, table });
        }
        for _ in 0..header[9] {
            let (a, b, c) = (reader.next()?, reader.next()?, reader.next()?);
            let state = match b & 0xff {
                0 => TargetState::Active,
                1 => TargetState::Draining,
                2 => TargetState::Unhealthy,
                value => return Err(SnapshotError::Range { field: "target.state", value }),
            };
            let next_hop = if b >> 16 & 1 == 1 {
                let port = below("target.next_hop.port", c >> 48, limits.ports.into())? as u8;
                let [m0, m1, m2, m3, m4, m5, ..] = c.to_le_bytes();
                Some(NextHop { port, mac: [m0, m1, m2, m3, m4, m5] })
            } else {
                None
            };
            snapshot.targets.push(Target {
                slot: below("target.slot", a >> 48, limits.targets_max.into())? as u16,
                generation: (b >> 8) as u8,
                state,
                address: (a as u32).into(),
                port: port("target.port", a)?,
                next_hop,
            });
        }
        if !reader.words.is_empty() {
            return Err(SnapshotError::Damaged);
        }
        snapshot.check_references()?;
        Ok(snapshot)
    }

    fn check_references(&self) -> Result<(), SnapshotError> {
        let slots: HashSet<u16> = self.targets.iter().map(|t| t.slot).collect();
        if slots.len() != self.targets.len() {
            return Err(SnapshotError::Duplicate("target.slot"));
        }
        if let Some(slot) = self.groups.iter().flat_map(|g| &g.table).find(|slot| !slots.contains(slot)) {
            return Err(SnapshotError::Range { field: "group.table", value: u64::from(*slot) });
        }
        unique("listener.slot", self.listeners.iter().map(|l| l.slot))?;
        unique("listener address, port and protocol", self.listeners.iter().map(|l| (l.vip, l.port, l.protocol)))?;
        unique("local.address", self.locals.iter().map(|l| l.address))
    }
}

struct Reader<'w> {
    words: &'w [u64],
}

impl<'w> Reader<'w> {
    fn next(&mut self) -> Result<u64, SnapshotError> {
        Ok(self.take(1)?[0])
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
    match (word >> 32) as u16 {
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

    const LIMITS: Limits = Limits { targets_max: 64, listeners_max: 64, ports: 2 };

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        let target = (any::<u8>(), 0..3u8, any::<u32>(), 1..=u16::MAX, any::<Option<([u8; 6], bool)>>());
        let targets = proptest::collection::vec(target, 1..20);
        let groups = proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u16>(), 0..50)), 1..5);
        let listeners = proptest::collection::vec((any::<u32>(), 1..=u16::MAX, any::<bool>(), any::<u16>()), 0..10);
        let locals = proptest::collection::btree_map(any::<u32>(), (any::<bool>(), 0..2u8), 0..5);
        (any::<u64>(), any::<[u64; 2]>(), targets, groups, listeners, locals).prop_map(
            |(generation, selection_key, targets, groups, listeners, locals)| {
                let targets: Vec<Target> = targets
                    .into_iter()
                    .enumerate()
                    .map(|(i, (generation, state, address, port, hop))| Target {
                        slot: 3 * i as u16,
                        generation,
                        state: [TargetState::Active, TargetState::Draining, TargetState::Unhealthy][state as usize],
                        address: address.into(),
                        port,
                        next_hop: hop.map(|(mac, p)| NextHop { port: p.into(), mac }),
                    })
                    .collect();
                let groups: Vec<Group> = groups
                    .into_iter()
                    .map(|(preserve_client_ip, table)| Group {
                        preserve_client_ip,
                        table: table.iter().map(|n| targets[*n as usize % targets.len()].slot).collect(),
                    })
                    .collect();
                let listeners = listeners
                    .into_iter()
                    .enumerate()
                    .map(|(i, (vip, port, tcp, group))| Listener {
                        slot: i as u16,
                        vip: (vip & !0xff | i as u32).into(),
                        port,
                        protocol: if tcp { 6 } else { 17 },
                        group: group % groups.len() as u16,
                        source: vip.into(),
                    })
                    .collect();
                let locals = locals
                    .into_iter()
                    .map(|(address, (host, port))| Local {
                        address: address.into(),
                        kind: if host { LocalKind::Host } else { LocalKind::Node },
                        port,
                    })
                    .collect();
                Snapshot { generation, selection_key, locals, listeners, groups, targets }
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
            address: Ipv4Addr::new(10, 2, 0, 11),
            port: 8080,
            next_hop,
        };
        let listener = Listener {
            slot: 7,
            vip: Ipv4Addr::new(10, 1, 0, 10),
            port: 443,
            protocol: protocol::TCP,
            group: 1,
            source: Ipv4Addr::new(10, 1, 0, 12),
        };
        let local = Local { address: listener.vip, kind: LocalKind::Node, port: 1 };
        let snapshot = Snapshot {
            generation: 5,
            selection_key: [11, 13],
            locals: vec![local, Local { address: listener.source, kind: LocalKind::Host, port: 0 }],
            listeners: vec![listener, Listener { protocol: protocol::UDP, slot: 8, group: 0, ..listener }],
            groups: vec![
                Group { preserve_client_ip: true, table: vec![9, 10, 11, 9, 10] },
                Group { preserve_client_ip: false, table: vec![] },
            ],
            targets: vec![
                target,
                Target { slot: 10, state: TargetState::Draining, ..target },
                Target { slot: 11, state: TargetState::Unhealthy, next_hop: None, ..target },
            ],
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
            address: Ipv4Addr::new(10, 2, 0, 11),
            port: 80,
            next_hop: None,
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

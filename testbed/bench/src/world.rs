//! The world that is measured in: one port, one node address for each addressing mode with a listener for TCP and UDP, 1000
//! targets, and the frames of flows with right checksums.
//!
//! Frames are [`FRAME`] bytes without FCS. Checksums are summed anew over everything, unlike the pipeline's, which makes them an
//! independent check of it.

use std::net::Ipv4Addr;

use leat_abi::Snapshot;
use leat_abi::flow::protocol;
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Target, TargetState};
use leat_core::checksum;

/// Bytes of every frame, without FCS.
pub const FRAME: usize = 64;
/// Targets of each group.
pub const TARGETS: u16 = 1000;
/// Size of the Maglev tables.
pub const TABLE: usize = 131_071;
/// Where the clients and the targets are, as the appliance sees it: routers on its one port.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// See [`CLIENT_MAC`].
pub const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];
/// Marks the payload of frames made here.
const MARK: u16 = 0x1ea7;
/// Initial sequence number of clients.
pub const CLIENT_ISN: u32 = 0x0100_0000;
/// Initial sequence number of targets.
pub const TARGET_ISN: u32 = 0x7000_0000;

/// TCP flags, as in RFC 9293.
pub const SYN: u8 = 0x02;
/// See [`SYN`].
pub const ACK: u8 = 0x10;
/// See [`SYN`].
pub const PUSH: u8 = 0x08;

/// What targets see as the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The client's own.
    Preserve,
    /// The node's.
    FullNat,
}

impl Mode {
    /// The name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::FullNat => "full-nat",
        }
    }

    /// The node address whose listeners use this mode.
    pub const fn vip(self) -> Ipv4Addr {
        match self {
            Self::Preserve => Ipv4Addr::new(10, 0, 0, 1),
            Self::FullNat => Ipv4Addr::new(10, 0, 0, 2),
        }
    }
}

/// Transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// What figures' names have after the kind of packet.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "-udp",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Address.
    pub ip: Ipv4Addr,
    /// Port.
    pub port: u16,
}

/// The client of flow number `n`.
pub fn client(n: u32) -> Socket {
    Socket { ip: Ipv4Addr::from(0x1000_0000 + (n >> 14)), port: 1024 + (n & 0x3fff) as u16 }
}

/// The target in a slot.
pub fn target(slot: u16) -> Socket {
    Socket { ip: Ipv4Addr::from(0x0a02_0000 + u32::from(slot)), port: 8080 }
}

/// The slot of a target's address.
pub fn slot_of(ip: Ipv4Addr) -> Option<u16> {
    u32::from(ip).checked_sub(0x0a02_0000).and_then(|slot| u16::try_from(slot).ok()).filter(|slot| *slot < TARGETS)
}

/// The node's socket of a mode.
pub fn node(mode: Mode) -> Socket {
    Socket { ip: mode.vip(), port: 80 }
}

/// The forwarding state.
pub fn snapshot(generation: u64) -> Snapshot {
    let modes = [Mode::Preserve, Mode::FullNat];
    // Not Maglev's order, but its size and evenness: this is about what a choice costs.
    let table: Vec<u16> = (0..TABLE).map(|i| (i % usize::from(TARGETS)) as u16).collect();
    let listener = |(slot, (mode, transport)): (usize, (Mode, Transport))| Listener {
        slot: slot as u16,
        vip: mode.vip().into(),
        port: node(mode).port,
        protocol: transport.number(),
        node: 0,
        group: mode as u16,
        sources: vec![mode.vip().into()],
    };
    let group = |mode| Group { preserve_client_ip: mode == Mode::Preserve, table: table.clone(), ..Group::default() };
    Snapshot {
        generation,
        selection_key: [0x5eed_0123_4567_89ab, 0xba98_7654_3210_dee5],
        locals: modes.map(|mode| Local { address: mode.vip().into(), kind: LocalKind::Node, port: 0 }).to_vec(),
        listeners: modes
            .into_iter()
            .flat_map(|mode| [(mode, Transport::Tcp), (mode, Transport::Udp)])
            .enumerate()
            .map(listener)
            .collect(),
        groups: modes.map(group).to_vec(),
        targets: (0..TARGETS)
            .map(|slot| Target {
                slot,
                generation: 1,
                state: TargetState::Active,
                address: target(slot).ip.into(),
                port: target(slot).port,
                next_hop: Some(NextHop { port: 0, mac: TARGET_MAC }),
                unhealthy_at: 0,
            })
            .collect(),
        ..Snapshot::default()
    }
}

/// Targets, groups and zones of [`zoned`].
pub const ZONED: (u16, u16, u16) = (3000, 50, 3);

/// The forwarding state of a load balancer with a node in each of three zones, fifty listeners, and sixty targets of its own for each, a third
/// of them in each zone. With cross-zone on the nodes share a group's table, else each has its own.
pub fn zoned(generation: u64, cross_zone: bool) -> Snapshot {
    const SIZE: usize = 65_537;
    let (targets, groups, zones) = ZONED;
    let share = targets / groups;
    let table = |group: u16, zone: Option<u16>| {
        let own: Vec<u16> =
            (group * share..(group + 1) * share).filter(|n| zone.is_none_or(|z| n % zones == z)).collect();
        Group { table: (0..SIZE).map(|i| own[i % own.len()]).collect(), ..Group::default() }
    };
    let zone_of = |zone| if cross_zone { None } else { Some(zone) };
    let tables_each = if cross_zone { 1 } else { zones };
    let vip = |zone: u16| Ipv4Addr::from(0x0a00_0001 + u32::from(zone));
    let listener = |group: u16, zone: u16| Listener {
        slot: group * zones + zone,
        vip: vip(zone).into(),
        port: 1000 + group,
        protocol: protocol::TCP,
        node: zone as u8,
        group: group * tables_each + if cross_zone { 0 } else { zone },
        sources: vec![vip(zone).into()],
    };
    let one = snapshot(generation);
    Snapshot {
        locals: (0..zones).map(|zone| Local { address: vip(zone).into(), kind: LocalKind::Node, port: 0 }).collect(),
        listeners: (0..groups)
            .flat_map(|group| (0..zones).map(move |zone| (group, zone)))
            .map(|(g, z)| listener(g, z))
            .collect(),
        groups: (0..groups).flat_map(|group| (0..tables_each).map(move |zone| table(group, zone_of(zone)))).collect(),
        targets: (0..targets).map(|slot| Target { slot, address: target(slot).ip.into(), ..one.targets[0] }).collect(),
        ..one
    }
}

/// What a packet is within its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client's first: SYN, or a datagram.
    Open,
    /// The target's answer to it: SYN-ACK, or a datagram.
    Answer,
    /// Data of an established flow, from the client.
    ClientData,
    /// Data of an established flow, from the target.
    TargetData,
}

impl Kind {
    /// TCP flags, sequence and acknowledgement number.
    const fn tcp(self) -> (u8, u32, u32) {
        match self {
            Self::Open => (SYN, CLIENT_ISN, 0),
            Self::Answer => (SYN | ACK, TARGET_ISN, CLIENT_ISN + 1),
            Self::ClientData => (ACK | PUSH, CLIENT_ISN + 1, TARGET_ISN + 1),
            Self::TargetData => (ACK | PUSH, TARGET_ISN + 1, CLIENT_ISN + 1),
        }
    }
}

/// All that a frame is made of.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// Destination and source MAC.
    pub macs: [[u8; 6]; 2],
    /// Sender.
    pub source: Socket,
    /// Receiver.
    pub destination: Socket,
    /// Transport.
    pub transport: Transport,
    /// Place in the flow.
    pub kind: Kind,
    /// TTL.
    pub ttl: u8,
    /// Flow number: in the payload, and in the sequence numbers, so that SYNs differ.
    pub flow: u32,
}

impl Packet {
    /// The frame.
    pub fn frame(&self) -> [u8; FRAME] {
        let mut f = [0; FRAME];
        f[0..6].copy_from_slice(&self.macs[0]);
        f[6..12].copy_from_slice(&self.macs[1]);
        f[12..14].copy_from_slice(&[8, 0]);
        let ip_len = (FRAME - 14) as u16;
        f[14..16].copy_from_slice(&[0x45, 0]);
        f[16..18].copy_from_slice(&ip_len.to_be_bytes());
        f[18..22].copy_from_slice(&[0, 0, 0x40, 0]);
        (f[22], f[23]) = (self.ttl, self.transport.number());
        f[26..30].copy_from_slice(&self.source.ip.octets());
        f[30..34].copy_from_slice(&self.destination.ip.octets());
        let sum = checksum::of(&[&f[14..34]]);
        f[24..26].copy_from_slice(&sum.to_ne_bytes());

        f[34..36].copy_from_slice(&self.source.port.to_be_bytes());
        f[36..38].copy_from_slice(&self.destination.port.to_be_bytes());
        f[54..56].copy_from_slice(&MARK.to_be_bytes());
        f[56..60].copy_from_slice(&self.flow.to_be_bytes());
        f[60] = self.kind as u8;
        let l4_len = ip_len - 20;
        let at = match self.transport {
            Transport::Tcp => {
                let (flags, seq, ack) = self.kind.tcp();
                let (seq, ack) = (seq.wrapping_add(self.flow), if ack == 0 { 0 } else { ack.wrapping_add(self.flow) });
                f[38..42].copy_from_slice(&seq.to_be_bytes());
                f[42..46].copy_from_slice(&ack.to_be_bytes());
                // A SYN with payload is TCP Fast Open; here the bytes behind the header are options: no-operation, then end.
                let opens = flags & SYN != 0;
                f[46..54].copy_from_slice(&[if opens { 0x70 } else { 0x50 }, flags, 0xff, 0xff, 0, 0, 0, 0]);
                if opens {
                    // 8 bytes of options (maximum segment size, window scale, end) and 2 of Ethernet padding.
                    f[54..62].copy_from_slice(&[2, 4, 5, 180, 3, 3, 7, 0]);
                    return self.short_syn(f);
                }
                50
            }
            Transport::Udp => {
                f[38..40].copy_from_slice(&l4_len.to_be_bytes());
                40
            }
        };
        self.finish(&mut f, at, l4_len);
        f
    }

    /// A SYN says that its IP packet is 2 bytes shorter than the frame: padding, which the appliance cuts.
    fn short_syn(&self, mut f: [u8; FRAME]) -> [u8; FRAME] {
        let ip_len = (FRAME - 14 - 2) as u16;
        f[16..18].copy_from_slice(&ip_len.to_be_bytes());
        f[24..26].fill(0);
        let sum = checksum::of(&[&f[14..34]]);
        f[24..26].copy_from_slice(&sum.to_ne_bytes());
        self.finish(&mut f, 50, ip_len - 20);
        f
    }

    fn finish(&self, f: &mut [u8; FRAME], at: usize, l4_len: u16) {
        let pseudo = [0, self.transport.number(), (l4_len >> 8) as u8, l4_len as u8];
        let sum = checksum::of(&[&f[26..34], &pseudo, &f[34..34 + usize::from(l4_len)]]);
        // A UDP checksum of 0 is sent as all ones.
        let sum = if sum == 0 && self.transport == Transport::Udp { 0xffff } else { sum };
        f[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// A flow, as far as it is known before the appliance has chosen.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Its number.
    pub number: u32,
    /// Addressing mode.
    pub mode: Mode,
    /// Transport.
    pub transport: Transport,
}

/// What the appliance chose for a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Binding {
    /// Target slot.
    pub target: u16,
    /// The port that the target sees.
    pub nat_port: u16,
}

/// The number of the flow of a TCP segment that was made here, by its sequence number.
pub const fn number_of(seq: u32, from_client: bool, flags: u8) -> u32 {
    let base = if from_client { CLIENT_ISN } else { TARGET_ISN };
    seq.wrapping_sub(base).wrapping_sub((flags & SYN == 0) as u32)
}

impl Flow {
    /// The sequence number of its client's SYN.
    pub const fn isn(&self) -> u32 {
        CLIENT_ISN.wrapping_add(self.number)
    }

    /// The socket that the target sees as the client's.
    fn seen(&self, binding: Binding) -> Socket {
        match self.mode {
            Mode::Preserve => client(self.number),
            Mode::FullNat => Socket { ip: self.mode.vip(), port: binding.nat_port },
        }
    }

    /// A packet of the flow as it comes to the appliance's port, which has this MAC.
    pub fn arriving(&self, kind: Kind, binding: Binding, mac: [u8; 6]) -> Packet {
        let from_client = matches!(kind, Kind::Open | Kind::ClientData);
        let (from_mac, source, destination) = if from_client {
            (CLIENT_MAC, client(self.number), node(self.mode))
        } else {
            (TARGET_MAC, target(binding.target), self.seen(binding))
        };
        let Self { number: flow, transport, .. } = *self;
        Packet { macs: [mac, from_mac], source, destination, transport, kind, ttl: 64, flow }
    }

    /// The same packet as it should leave.
    pub fn leaving(&self, kind: Kind, binding: Binding, mac: [u8; 6]) -> Packet {
        let from_client = matches!(kind, Kind::Open | Kind::ClientData);
        let (to_mac, source, destination) = if from_client {
            (TARGET_MAC, self.seen(binding), target(binding.target))
        } else {
            (CLIENT_MAC, node(self.mode), client(self.number))
        };
        let Self { number: flow, transport, .. } = *self;
        Packet { macs: [to_mac, mac], source, destination, transport, kind, ttl: 63, flow }
    }

    /// What a first packet that left says of the appliance's choice; none if it is not this flow's or not to a target.
    pub fn binding(&self, left: &[u8]) -> Option<Binding> {
        let l4: &[u8; 38] = left.first_chunk()?;
        let ip = |at: usize| Ipv4Addr::new(l4[at], l4[at + 1], l4[at + 2], l4[at + 3]);
        let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
        let binding = Binding { target: slot_of(ip(30))?, nat_port: port(34) };
        (self.seen(binding) == Socket { ip: ip(26), port: port(34) }).then_some(binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_right_checksums() {
        let flow = Flow { number: 77, mode: Mode::FullNat, transport: Transport::Tcp };
        let binding = Binding { target: 3, nat_port: 20_000 };
        for transport in [Transport::Tcp, Transport::Udp] {
            for kind in [Kind::Open, Kind::Answer, Kind::ClientData, Kind::TargetData] {
                let f = Flow { transport, ..flow }.arriving(kind, binding, [2; 6]).frame();
                let ip_len = usize::from(u16::from_be_bytes([f[16], f[17]]));
                assert_eq!(checksum::of(&[&f[14..34]]), 0);
                let l4 = &f[34..14 + ip_len];
                let pseudo = [0, f[23], 0, l4.len() as u8];
                assert_eq!(checksum::of(&[&f[26..34], &pseudo, l4]), 0);
            }
        }
        let left = flow.leaving(Kind::Open, binding, [2; 6]).frame();
        assert_eq!(flow.binding(&left), Some(binding));
    }
}

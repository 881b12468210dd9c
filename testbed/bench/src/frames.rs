//! What is sent through the pipeline in memory: flows of each kind, their frames with right checksums, and the forwarding state for them.
//!
//! Checksums are summed anew over everything, unlike the pipeline's, which makes the frames an independent check of it. An IPv4 frame
//! has 64 bytes without FCS, an IPv6 frame 84; first packets of TCP have options instead of a payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use leat_abi::Snapshot;
use leat_abi::flow::protocol;
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Target, TargetState};
use leat_core::{checksum, proxy};

use crate::world::{ACK, CLIENT_ISN, CLIENT_MAC, PUSH, SYN, TABLE, TARGET_ISN, TARGET_MAC, TARGETS, Transport};

/// Bytes of payload behind a TCP header.
const PAYLOAD: u32 = 10;

/// Bytes of the largest frame, without FCS.
pub const FRAME_MAX: usize = 128;
const ETHERNET: usize = 14;
/// Marks the payload.
const MARK: [u8; 2] = [0x1e, 0xa7];
/// Maximum segment size 1400, window scale 7, end: nothing that the pipeline would have to change.
const SYN_OPTIONS: [u8; 8] = [2, 4, 5, 120, 3, 3, 7, 0];

/// What targets see of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its own address.
    Preserve,
    /// The node's address.
    FullNat,
    /// The node's address, and the client's in a PROXY protocol header.
    Proxy,
}

/// The addresses of clients and targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All have IPv4.
    V4,
    /// All have IPv6.
    V6,
    /// Clients have IPv6, targets IPv4.
    SixToFour,
}

/// A kind of flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// What targets see of the client.
    pub mode: Mode,
    /// The addresses.
    pub family: Family,
    /// Transport.
    pub transport: Transport,
}

impl Way {
    /// Of TCP.
    pub const fn tcp(mode: Mode, family: Family) -> Self {
        Self { mode, family, transport: Transport::Tcp }
    }

    /// Of UDP.
    pub const fn udp(mode: Mode, family: Family) -> Self {
        Self { mode, family, transport: Transport::Udp }
    }

    /// The name of a figure: `established/full-nat/ipv4`.
    pub fn case(self, what: &str) -> String {
        let mode = match self.mode {
            Mode::Preserve => "preserve",
            Mode::FullNat => "full-nat",
            Mode::Proxy => "proxy",
        };
        let family = match self.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
            Family::SixToFour => "6to4",
        };
        format!("{what}{}/{mode}/{family}", self.transport.suffix())
    }

    /// Whether its flows have a second line.
    pub fn is_wide(self) -> bool {
        self.family != Family::V4
    }

    const fn client_is_v4(self) -> bool {
        matches!(self.family, Family::V4)
    }

    const fn target_is_v4(self) -> bool {
        !matches!(self.family, Family::V6)
    }

    const fn protocol(self) -> u8 {
        match self.transport {
            Transport::Tcp => protocol::TCP,
            Transport::Udp => protocol::UDP,
        }
    }

    /// The client of flow number `n`.
    pub fn client(self, n: u32) -> SocketAddr {
        let port = 1024 + (n & 0x3fff) as u16;
        if self.client_is_v4() {
            return SocketAddr::new(Ipv4Addr::from(0x1000_0000 + (n >> 14)).into(), port);
        }
        let [a, b] = [(n >> 30) as u16, (n >> 14) as u16];
        SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, a, b).into(), port)
    }

    /// The node's address of the kind that clients have, or targets.
    fn node(self, v4: bool) -> IpAddr {
        if v4 { Ipv4Addr::new(10, 0, 0, 2).into() } else { Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2).into() }
    }

    /// The socket that clients send to.
    pub fn listener(self) -> SocketAddr {
        SocketAddr::new(self.node(self.client_is_v4()), 80)
    }

    fn target(self, slot: u16) -> SocketAddr {
        let ip = if self.target_is_v4() {
            Ipv4Addr::from(0x0a02_0000 + u32::from(slot)).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, slot).into()
        };
        SocketAddr::new(ip, 8080)
    }

    /// The forwarding state: one listener, one group of all targets.
    pub fn snapshot(self, generation: u64) -> Snapshot {
        let vip = self.listener();
        let source = self.node(self.target_is_v4());
        let mut addresses = vec![vip.ip(), source];
        addresses.dedup();
        let target = |slot| Target {
            slot,
            generation: 1,
            state: TargetState::Active,
            address: self.target(slot).ip(),
            port: self.target(slot).port(),
            next_hop: Some(NextHop { port: 0, mac: TARGET_MAC }),
            unhealthy_at: 0,
        };
        Snapshot {
            generation,
            selection_key: [0x5eed_0123_4567_89ab, 0xba98_7654_3210_dee5],
            locals: addresses.into_iter().map(|address| Local { address, kind: LocalKind::Node, port: 0 }).collect(),
            listeners: vec![Listener {
                slot: 0,
                vip: vip.ip(),
                port: vip.port(),
                protocol: self.protocol(),
                node: 0,
                group: 0,
                sources: vec![source],
            }],
            groups: vec![Group {
                preserve_client_ip: self.mode == Mode::Preserve,
                proxy_protocol: self.mode == Mode::Proxy,
                // Not Maglev's order, but its size and evenness: this is about what a choice costs.
                table: (0..TABLE).map(|i| (i % usize::from(TARGETS)) as u16).collect(),
                ..Group::default()
            }],
            targets: (0..TARGETS).map(target).collect(),
            ..Snapshot::default()
        }
    }

    /// Bytes that the target reads before the client's first one.
    pub fn header(self) -> u32 {
        let length = if self.client_is_v4() { proxy::header::LENGTH } else { proxy::header::LENGTH_V6 };
        if self.mode == Mode::Proxy && self.transport == Transport::Tcp { length as u32 } else { 0 }
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

/// What the appliance chose for a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Binding {
    /// Target slot.
    pub target: u16,
    /// The port that the target sees.
    pub nat_port: u16,
}

/// A flow.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Its kind.
    pub way: Way,
    /// Its number.
    pub number: u32,
    /// What the appliance chose for it.
    pub binding: Binding,
}

/// A frame and its length.
pub type Bytes = ([u8; FRAME_MAX], usize);

impl Flow {
    /// The socket that the target sees as the client's.
    fn seen(&self) -> SocketAddr {
        match self.way.mode {
            // Between two kinds of addresses it cannot be kept.
            Mode::Preserve if self.way.family != Family::SixToFour => self.way.client(self.number),
            _ => SocketAddr::new(self.way.node(self.way.target_is_v4()), self.binding.nat_port),
        }
    }

    /// The source and the destination of a packet on the client's side, or on the target's.
    fn ends(&self, from_client: bool, at_client: bool) -> (SocketAddr, SocketAddr) {
        let (client, server) = if at_client {
            (self.way.client(self.number), self.way.listener())
        } else {
            (self.seen(), self.way.target(self.binding.target))
        };
        if from_client { (client, server) } else { (server, client) }
    }

    /// A packet of the flow as it comes to the appliance's port, which has this MAC.
    #[inline]
    pub fn arriving(&self, kind: Kind, mac: [u8; 6]) -> Bytes {
        let from_client = matches!(kind, Kind::Open | Kind::ClientData);
        let from = if from_client { CLIENT_MAC } else { TARGET_MAC };
        self.frame(kind, [mac, from], from_client, 64)
    }

    /// The same packet as it should leave.
    pub fn leaving(&self, kind: Kind, mac: [u8; 6]) -> Bytes {
        let from_client = matches!(kind, Kind::Open | Kind::ClientData);
        let to = if from_client { TARGET_MAC } else { CLIENT_MAC };
        self.frame(kind, [to, mac], !from_client, 63)
    }

    fn frame(&self, kind: Kind, macs: [[u8; 6]; 2], at_client: bool, hops: u8) -> Bytes {
        let from_client = matches!(kind, Kind::Open | Kind::ClientData);
        let (source, destination) = self.ends(from_client, at_client);
        let mut f = [0; FRAME_MAX];
        f[0..6].copy_from_slice(&macs[0]);
        f[6..12].copy_from_slice(&macs[1]);
        let l4 = if source.is_ipv4() { ETHERNET + 20 } else { ETHERNET + 40 };
        let l4_len = self.segment(kind, at_client, source.port(), destination.port(), &mut f[l4..]);
        let end = l4 + l4_len;
        let protocol = self.way.protocol();
        let addresses = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                f[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, (end - ETHERNET) as u8]);
                f[20..24].copy_from_slice(&[0x40, 0, hops, protocol]);
                f[26..30].copy_from_slice(&source.octets());
                f[30..34].copy_from_slice(&destination.octets());
                let sum = checksum::of(&[&f[14..34]]);
                f[24..26].copy_from_slice(&sum.to_ne_bytes());
                26..34
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                f[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, l4_len as u8, protocol, hops]);
                f[22..38].copy_from_slice(&source.octets());
                f[38..54].copy_from_slice(&destination.octets());
                22..54
            }
            _ => unreachable!("both ends of a side have one kind of address"),
        };
        let sum = checksum::of(&[&f[addresses], &[0, protocol, 0, l4_len as u8], &f[l4..end]]);
        // A UDP checksum of 0 is sent as all ones.
        let (at, sum) = match self.way.transport {
            Transport::Tcp => (l4 + 16, sum),
            Transport::Udp => (l4 + 6, if sum == 0 { 0xffff } else { sum }),
        };
        f[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        (f, end)
    }

    /// Writes layer 4 and the payload, without the checksum. Returns their length.
    fn segment(&self, kind: Kind, at_client: bool, source: u16, destination: u16, s: &mut [u8]) -> usize {
        s[0..2].copy_from_slice(&source.to_be_bytes());
        s[2..4].copy_from_slice(&destination.to_be_bytes());
        let header = match self.way.transport {
            Transport::Tcp => {
                // The target counts the bytes of the PROXY header.
                let shift = if at_client { 0 } else { self.way.header() };
                let (flags, seq, ack) = match kind {
                    Kind::Open => (SYN, CLIENT_ISN, 0),
                    Kind::Answer => (SYN | ACK, TARGET_ISN, CLIENT_ISN + 1),
                    Kind::ClientData => (ACK | PUSH, CLIENT_ISN + 1 + shift, TARGET_ISN + 1),
                    // It has read what the client has said.
                    Kind::TargetData => (ACK | PUSH, TARGET_ISN + 1, CLIENT_ISN + 1 + shift + PAYLOAD),
                };
                let ack = if ack == 0 { 0 } else { ack.wrapping_add(self.number) };
                s[4..8].copy_from_slice(&seq.wrapping_add(self.number).to_be_bytes());
                s[8..12].copy_from_slice(&ack.to_be_bytes());
                let opens = flags & SYN != 0;
                s[12..16].copy_from_slice(&[if opens { 0x70 } else { 0x50 }, flags, 0xff, 0xff]);
                if opens {
                    // A SYN with payload would be TCP Fast Open.
                    s[20..28].copy_from_slice(&SYN_OPTIONS);
                    return 28;
                }
                20
            }
            Transport::Udp => 8,
        };
        // As many bytes with UDP as with TCP.
        let end = 20 + PAYLOAD as usize;
        s[header..header + 2].copy_from_slice(&MARK);
        s[header + 2..header + 6].copy_from_slice(&self.number.to_be_bytes());
        s[header + 6] = kind as u8;
        if self.way.transport == Transport::Udp {
            s[4..6].copy_from_slice(&(end as u16).to_be_bytes());
        }
        end
    }

    /// What a first packet that left says of the appliance's choice; none if it is not this flow's or not to a target.
    pub fn bound(self, left: &[u8]) -> Option<Binding> {
        let at = if self.way.target_is_v4() { ETHERNET + 20 } else { ETHERNET + 40 };
        let port = |at: usize| Some(u16::from_be_bytes([*left.get(at)?, *left.get(at + 1)?]));
        // The last two bytes of the destination's address.
        let binding = Binding { target: port(at - 2)?, nat_port: port(at)? };
        let flow = Self { binding, ..self };
        let (expected, length) = flow.leaving(Kind::Open, [0; 6]);
        // Ports and layer 4's numbers; all the rest is compared by who has the binding.
        (left.get(at..at + 8)? == expected.get(at..length)?.get(..8)?).then_some(binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_right_checksums() {
        for mode in [Mode::Preserve, Mode::FullNat, Mode::Proxy] {
            for (family, transport) in
                [(Family::V4, Transport::Tcp), (Family::V6, Transport::Udp), (Family::SixToFour, Transport::Tcp)]
            {
                let way = Way { mode, family, transport };
                let flow = Flow { way, number: 77, binding: Binding { target: 3, nat_port: 20_000 } };
                for kind in [Kind::Open, Kind::Answer, Kind::ClientData, Kind::TargetData] {
                    for (f, length) in [flow.arriving(kind, [2; 6]), flow.leaving(kind, [2; 6])] {
                        let v4 = f[12] == 8;
                        let (addresses, l4) = if v4 { (26..34, 34) } else { (22..54, 54) };
                        assert!(!v4 || checksum::of(&[&f[14..34]]) == 0);
                        let pseudo = [0, if v4 { f[23] } else { f[20] }, 0, (length - l4) as u8];
                        assert_eq!(checksum::of(&[&f[addresses], &pseudo, &f[l4..length]]), 0);
                    }
                }
                let (left, length) = flow.leaving(Kind::Open, [2; 6]);
                let bound = Flow { binding: Binding::default(), ..flow }.bound(&left[..length]);
                assert_eq!(bound.map(|b| b.target), Some(3));
            }
        }
    }
}

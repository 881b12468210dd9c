//! Frames as the tests write them: built and read with etherparse, so that every expected byte and checksum is computed by code
//! that is not ours.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket, TcpHeader,
    TransportSlice, UdpHeader,
};

use super::world::MTU;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// What is in the IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum L4 {
    Tcp { seq: u32, ack: u32, flags: u8, window: u16, options: Vec<u8> },
    Udp { checksum: bool },
    Icmp { kind: u8, code: u8 },
    Other { protocol: u8 },
}

/// An Ethernet frame with an IPv4 or IPv6 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    /// It is IPv6 if its destination is.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Of IPv4; of IPv6 0.
    pub id: u16,
    /// Of IPv4; of IPv6 true.
    pub dont_fragment: bool,
    /// Of IPv6.
    pub flow_label: u32,
    /// Of IPv6: extension headers, each its number and all but its first byte.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub l4: L4,
    pub payload: Vec<u8>,
    /// Bytes of Ethernet padding after the packet.
    pub padding: usize,
}

impl Packet {
    pub fn tcp(
        source: impl Into<SocketAddr>,
        destination: impl Into<SocketAddr>,
        flags: u8,
        seq: u32,
        ack: u32,
    ) -> Self {
        let (source, destination) = (source.into(), destination.into());
        Self {
            source_mac: [0; 6],
            destination_mac: [0; 6],
            source,
            destination,
            ttl: 64,
            tos: 0,
            id: if destination.is_ipv4() { 0x1234 } else { 0 },
            dont_fragment: true,
            flow_label: 0,
            extensions: Vec::new(),
            l4: L4::Tcp { seq, ack, flags, window: 64_000, options: Vec::new() },
            payload: Vec::new(),
            padding: 0,
        }
    }

    pub fn udp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>, payload: &[u8]) -> Self {
        let l4 = L4::Udp { checksum: true };
        Self { l4, payload: payload.to_vec(), ..Self::tcp(source, destination, 0, 0, 0) }
    }

    pub fn icmp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>, kind: u8, code: u8) -> Self {
        Self { l4: L4::Icmp { kind, code }, payload: vec![0; 32], ..Self::tcp(source, destination, 0, 0, 0) }
    }

    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn options(mut self, bytes: &[u8]) -> Self {
        if let L4::Tcp { options, .. } = &mut self.l4 {
            *options = bytes.to_vec();
        }
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn is_v6(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// The same packet as the appliance should send it on: between these sockets and MACs, one hop further, padding cut. If they are of
    /// the other kind, it is translated (RFC 7915), and a SYN announces no larger segments than fit both ports.
    pub fn forwarded(&self, macs: ([u8; 6], [u8; 6]), source: SocketAddr, destination: SocketAddr) -> Self {
        let same = Self { source, destination, ttl: self.ttl - 1, padding: 0, ..self.clone().macs(macs.0, macs.1) };
        if self.is_v6() == destination.is_ipv6() {
            return same;
        }
        let translated = Self { id: 0, dont_fragment: true, flow_label: 0, extensions: Vec::new(), ..same };
        translated.clamped((MTU - 60).min(MTU - 40))
    }

    /// With a maximum segment size of at most `mss`, if it is a SYN and names one.
    pub fn clamped(mut self, mss: u16) -> Self {
        let L4::Tcp { flags, options, .. } = &mut self.l4 else { return self };
        let mut at = 0;
        while *flags & SYN != 0 && at + 1 < options.len() && options[at] != 0 {
            if options[at] == 1 {
                at += 1;
                continue;
            }
            if options[at..].starts_with(&[2, 4]) {
                let lower = u16::from_be_bytes([options[at + 2], options[at + 3]]).min(mss);
                options[at + 2..at + 4].copy_from_slice(&lower.to_be_bytes());
            }
            at += usize::from(options[at + 1]).max(2);
        }
        self
    }

    /// Sequence number after this segment.
    pub fn seq_end(&self) -> u32 {
        let L4::Tcp { seq, flags, .. } = self.l4 else { return 0 };
        seq.wrapping_add(self.payload.len() as u32)
            .wrapping_add(u32::from(flags & SYN != 0))
            .wrapping_add(u32::from(flags & FIN != 0))
    }

    /// Bytes of the IP packet.
    pub fn ip_len(&self) -> usize {
        self.bytes().len() - 14 - self.padding
    }

    /// The frame, all checksums right.
    pub fn bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        let ports = (self.source.port(), self.destination.port());
        let mut segment = Vec::new();
        let protocol = match &self.l4 {
            L4::Tcp { seq, ack, flags, window, options } => {
                let mut header = TcpHeader::new(ports.0, ports.1, *seq, *window);
                header.acknowledgment_number = *ack;
                (header.fin, header.syn, header.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
                (header.psh, header.ack) = (flags & PSH != 0, flags & ACK != 0);
                (header.urg, header.ece, header.cwr) = (flags & 0x20 != 0, flags & 0x40 != 0, flags & 0x80 != 0);
                header.set_options_raw(options).expect("TCP options");
                let checksum = match (source, destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        header.calc_checksum_ipv4_raw(s.octets(), d.octets(), &self.payload)
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        header.calc_checksum_ipv6_raw(s.octets(), d.octets(), &self.payload)
                    }
                    _ => panic!("two kinds of address in {self:?}"),
                };
                header.checksum = checksum.expect("a short payload");
                header.write(&mut segment).expect("a TCP header");
                IpNumber::TCP
            }
            L4::Udp { checksum } => {
                let mut header = UdpHeader::without_ipv4_checksum(ports.0, ports.1, self.payload.len()).expect("UDP");
                if *checksum {
                    let checksum = match (source, destination) {
                        (IpAddr::V4(s), IpAddr::V4(d)) => {
                            header.calc_checksum_ipv4_raw(s.octets(), d.octets(), &self.payload)
                        }
                        (IpAddr::V6(s), IpAddr::V6(d)) => {
                            header.calc_checksum_ipv6_raw(s.octets(), d.octets(), &self.payload)
                        }
                        _ => panic!("two kinds of address in {self:?}"),
                    };
                    header.checksum = checksum.expect("a UDP checksum");
                }
                header.write(&mut segment).expect("a UDP header");
                IpNumber::UDP
            }
            L4::Icmp { kind, code } => {
                segment.extend([*kind, *code, 0, 0, 0, 0, 0, 0]);
                if self.is_v6() { IpNumber::IPV6_ICMP } else { IpNumber::ICMP }
            }
            L4::Other { protocol } => IpNumber(*protocol),
        };
        segment.extend(&self.payload);
        if let (L4::Icmp { .. }, IpAddr::V6(s), IpAddr::V6(d)) = (&self.l4, source, destination) {
            let length = (segment.len() as u16).to_be_bytes();
            let sum = Sum16BitWords::new().add_slice(&s.octets()).add_slice(&d.octets()).add_slice(&segment);
            let sum = sum.add_2bytes(length).add_2bytes([0, IpNumber::IPV6_ICMP.0]).ones_complement();
            segment[2..4].copy_from_slice(&sum.to_ne_bytes());
        }

        let mut frame = Vec::new();
        let ether_type = if self.is_v6() { EtherType::IPV6 } else { EtherType::IPV4 };
        let ethernet = Ethernet2Header { source: self.source_mac, destination: self.destination_mac, ether_type };
        ethernet.write(&mut frame).expect("an Ethernet header");
        self.write_ip_header(protocol, segment.len(), &mut frame);
        frame.extend(&segment);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    fn write_ip_header(&self, protocol: IpNumber, payload: usize, frame: &mut Vec<u8>) {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (length, addresses) = (payload as u16, (source.octets(), destination.octets()));
                let ip = Ipv4Header::new(length, self.ttl, protocol, addresses.0, addresses.1);
                let mut ip = ip.expect("an IPv4 header");
                ip.dscp = (self.tos >> 2).try_into().expect("six bits");
                ip.ecn = (self.tos & 3).try_into().expect("two bits");
                (ip.identification, ip.dont_fragment) = (self.id, self.dont_fragment);
                ip.header_checksum = ip.calc_header_checksum();
                ip.write_raw(frame).expect("an IPv4 header");
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let kinds = self.extensions.iter().map(|(kind, _)| *kind).chain([protocol.0]);
                let mut kinds = kinds.collect::<Vec<_>>().into_iter();
                let extensions: usize = self.extensions.iter().map(|(_, rest)| 1 + rest.len()).sum();
                let ip = Ipv6Header {
                    traffic_class: self.tos,
                    flow_label: Ipv6FlowLabel::try_new(self.flow_label).expect("20 bits"),
                    payload_length: (payload + extensions) as u16,
                    next_header: IpNumber(kinds.next().expect("at least one")),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                ip.write(frame).expect("an IPv6 header");
                for ((_, rest), next) in self.extensions.iter().zip(kinds) {
                    frame.push(next);
                    frame.extend(rest);
                }
            }
            _ => panic!("two kinds of address in {self:?}"),
        }
    }

    /// Reads a frame with TCP or UDP over IP.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let (l4, ports, payload) = match sliced.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => {
                let (seq, ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
                let (flags, window) = (tcp.slice()[13], tcp.window_size());
                let l4 = L4::Tcp { seq, ack, flags, window, options: tcp.options().to_vec() };
                (l4, (tcp.source_port(), tcp.destination_port()), tcp.payload())
            }
            TransportSlice::Udp(udp) => {
                (L4::Udp { checksum: udp.checksum() != 0 }, (udp.source_port(), udp.destination_port()), udp.payload())
            }
            _ => return None,
        };
        let socket = |ip: IpAddr, port| SocketAddr::new(ip, port);
        let packet = Self {
            source_mac: frame[6..12].try_into().ok()?,
            destination_mac: frame[0..6].try_into().ok()?,
            payload: payload.to_vec(),
            l4,
            ..Self::tcp(socket([0; 4].into(), 0), socket([0; 4].into(), 0), 0, 0, 0)
        };
        match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                Some(Self {
                    source: socket(header.source_addr().into(), ports.0),
                    destination: socket(header.destination_addr().into(), ports.1),
                    ttl: header.ttl(),
                    tos: header.dcp().value() << 2 | header.ecn().value(),
                    id: header.identification(),
                    dont_fragment: header.dont_fragment(),
                    padding: frame.len() - 14 - usize::from(header.total_len()),
                    ..packet
                })
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                Some(Self {
                    source: socket(header.source_addr().into(), ports.0),
                    destination: socket(header.destination_addr().into(), ports.1),
                    ttl: header.hop_limit(),
                    tos: header.traffic_class(),
                    id: 0,
                    dont_fragment: true,
                    flow_label: header.flow_label().value(),
                    extensions: extensions(header.next_header().0, ip.extensions().slice()),
                    padding: frame.len() - 54 - usize::from(header.payload_length()),
                    ..packet
                })
            }
            NetSlice::Arp(_) => None,
        }
    }

    /// Sequence number, acknowledgement number and flags of a TCP segment.
    pub fn numbers(&self) -> (u32, u32, u8) {
        let L4::Tcp { seq, ack, flags, .. } = self.l4 else { panic!("{self:?} is not TCP") };
        (seq, ack, flags)
    }
}

/// The extension headers of an IPv6 packet, as [`Packet::extensions`] has them.
fn extensions(first: u8, mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut kind, mut headers) = (first, Vec::new());
    while let [next, length, ..] = *bytes {
        let (header, rest) = bytes.split_at(if kind == 44 { 8 } else { 8 + 8 * usize::from(length) });
        headers.push((kind, header[1..].to_vec()));
        (kind, bytes) = (next, rest);
    }
    headers
}

/// The checksums of a frame with TCP or UDP over IP: whether the IP header's (IPv6 has none) and the segment's are right.
pub fn checksums(frame: &[u8]) -> Option<(bool, bool)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let transport = sliced.transport.as_ref()?;
    match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            let segment_is_good = match transport {
                TransportSlice::Tcp(tcp) => tcp.calc_checksum_ipv4(source, destination).ok()? == tcp.checksum(),
                TransportSlice::Udp(udp) => {
                    let computed = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload()).ok()?;
                    udp.checksum() == 0 || computed == udp.checksum()
                }
                _ => return None,
            };
            Some((header.calc_header_checksum() == header.header_checksum, segment_is_good))
        }
        NetSlice::Ipv6(ip) => {
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let segment_is_good = match transport {
                TransportSlice::Tcp(tcp) => tcp.calc_checksum_ipv6(source, destination).ok()? == tcp.checksum(),
                TransportSlice::Udp(udp) => {
                    let computed = udp.to_header().calc_checksum_ipv6_raw(source, destination, udp.payload()).ok()?;
                    computed == udp.checksum()
                }
                _ => return None,
            };
            Some((true, segment_is_good))
        }
        NetSlice::Arp(_) => None,
    }
}

/// Whether a frame has ICMP whose checksums are right, also the IP header's.
pub fn icmp_is_good(frame: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ethernet(frame).expect("readable");
    match (&sliced.net, &sliced.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) => {
            let header = ip.header().to_header();
            let sum = Sum16BitWords::new().add_slice(icmp.slice()).ones_complement();
            header.calc_header_checksum() == header.header_checksum && sum == 0
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
        }
        _ => false,
    }
}

/// A broadcast ARP request for 10.1.0.10.
pub fn arp(source_mac: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source_mac);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(source_mac);
    frame.extend([10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 10]);
    frame
}

/// A neighbour solicitation for `NODE_6`, to the multicast address of those it may be (RFC 4861).
pub fn neighbour_solicitation(source_mac: [u8; 6]) -> Vec<u8> {
    let (source, group) = ("[2001:db8:1::1]:0", "[ff02::1:ff00:10]:0");
    let [source, group]: [SocketAddr; 2] = [source, group].map(|socket| socket.parse().expect("a socket"));
    let IpAddr::V6(wanted) = super::world::NODE_6 else { panic!("IPv6") };
    let mut payload = wanted.octets().to_vec();
    payload.extend([1, 1]);
    payload.extend(source_mac);
    let solicitation = Packet::icmp(source, group, 135, 0).macs(source_mac, [0x33, 0x33, 0xff, 0, 0, 0x10]);
    solicitation.payload(&payload).ttl(255).bytes()
}

/// A reset as the appliance makes them by itself: from and to these MACs and sockets, no options, TTL 64.
pub fn reset_of(macs: ([u8; 6], [u8; 6]), (source, destination): (SocketAddr, SocketAddr), seq: u32) -> Packet {
    let l4 = L4::Tcp { seq, ack: 0, flags: RST, window: 0, options: vec![] };
    Packet { id: 0, l4, ..Packet::tcp(source, destination, RST, seq, 0).macs(macs.0, macs.1) }
}

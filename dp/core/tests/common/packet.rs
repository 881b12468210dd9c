//! Frames as the tests write them: built and read with etherparse, so that every expected byte and checksum is computed by code
//! that is not ours.

use std::net::SocketAddrV4;

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice, UdpHeader,
};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// What is in the IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum L4 {
    Tcp { seq: u32, ack: u32, flags: u8, window: u16, options: Vec<u8> },
    Udp { checksum: bool },
    Icmp { kind: u8, code: u8 },
    Other { protocol: u8 },
}

/// An Ethernet frame with an IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub l4: L4,
    pub payload: Vec<u8>,
    /// Bytes of Ethernet padding after the packet.
    pub padding: usize,
}

impl Packet {
    pub fn tcp(source: SocketAddrV4, destination: SocketAddrV4, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            source_mac: [0; 6],
            destination_mac: [0; 6],
            source,
            destination,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
            l4: L4::Tcp { seq, ack, flags, window: 64_000, options: Vec::new() },
            payload: Vec::new(),
            padding: 0,
        }
    }

    pub fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Self {
        let l4 = L4::Udp { checksum: true };
        Self { l4, payload: payload.to_vec(), ..Self::tcp(source, destination, 0, 0, 0) }
    }

    pub fn icmp(source: SocketAddrV4, destination: SocketAddrV4, kind: u8, code: u8) -> Self {
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

    /// The same packet as the appliance should send it on: between these sockets and MACs, one hop further, padding cut.
    pub fn forwarded(&self, macs: ([u8; 6], [u8; 6]), source: SocketAddrV4, destination: SocketAddrV4) -> Self {
        Self { source, destination, ttl: self.ttl - 1, padding: 0, ..self.clone().macs(macs.0, macs.1) }
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
        let (source, destination) = (self.source.ip().octets(), self.destination.ip().octets());
        let mut segment = Vec::new();
        let protocol = match &self.l4 {
            L4::Tcp { seq, ack, flags, window, options } => {
                let mut header = TcpHeader::new(self.source.port(), self.destination.port(), *seq, *window);
                header.acknowledgment_number = *ack;
                (header.fin, header.syn, header.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
                (header.psh, header.ack) = (flags & PSH != 0, flags & ACK != 0);
                (header.urg, header.ece, header.cwr) = (flags & 0x20 != 0, flags & 0x40 != 0, flags & 0x80 != 0);
                header.set_options_raw(options).expect("TCP options");
                header.checksum =
                    header.calc_checksum_ipv4_raw(source, destination, &self.payload).expect("a short payload");
                header.write(&mut segment).expect("a TCP header");
                IpNumber::TCP
            }
            L4::Udp { checksum } => {
                let ports = (self.source.port(), self.destination.port());
                let mut header = UdpHeader::without_ipv4_checksum(ports.0, ports.1, self.payload.len()).expect("UDP");
                if *checksum {
                    header.checksum =
                        header.calc_checksum_ipv4_raw(source, destination, &self.payload).expect("a UDP checksum");
                }
                header.write(&mut segment).expect("a UDP header");
                IpNumber::UDP
            }
            L4::Icmp { kind, code } => {
                segment.extend([*kind, *code, 0, 0, 0, 0, 0, 0]);
                IpNumber::ICMP
            }
            L4::Other { protocol } => IpNumber(*protocol),
        };
        segment.extend(&self.payload);
        let length = u16::try_from(segment.len()).expect("a short packet");
        let mut ip = Ipv4Header::new(length, self.ttl, protocol, source, destination).expect("an IPv4 header");
        ip.dscp = (self.tos >> 2).try_into().expect("six bits");
        ip.ecn = (self.tos & 3).try_into().expect("two bits");
        (ip.identification, ip.dont_fragment) = (self.id, self.dont_fragment);

        let mut frame = Vec::new();
        let ethernet =
            Ethernet2Header { source: self.source_mac, destination: self.destination_mac, ether_type: EtherType::IPV4 };
        ethernet.write(&mut frame).expect("an Ethernet header");
        ip.header_checksum = ip.calc_header_checksum();
        ip.write_raw(&mut frame).expect("an IPv4 header");
        frame.extend(&segment);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    /// Reads a frame with TCP or UDP over IPv4.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let (Some(NetSlice::Ipv4(ip)), Some(transport)) = (&sliced.net, &sliced.transport) else { return None };
        let header = ip.header();
        let (l4, ports, payload) = match transport {
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
        Some(Self {
            source_mac: frame[6..12].try_into().ok()?,
            destination_mac: frame[0..6].try_into().ok()?,
            source: SocketAddrV4::new(header.source_addr(), ports.0),
            destination: SocketAddrV4::new(header.destination_addr(), ports.1),
            ttl: header.ttl(),
            tos: header.dcp().value() << 2 | header.ecn().value(),
            id: header.identification(),
            dont_fragment: header.dont_fragment(),
            l4,
            payload: payload.to_vec(),
            padding: frame.len() - 14 - usize::from(header.total_len()),
        })
    }

    /// Sequence number, acknowledgement number and flags of a TCP segment.
    pub fn numbers(&self) -> (u32, u32, u8) {
        let L4::Tcp { seq, ack, flags, .. } = self.l4 else { panic!("{self:?} is not TCP") };
        (seq, ack, flags)
    }
}

/// The checksums of a frame with TCP or UDP over IPv4: whether the IP header's and the segment's are right.
pub fn checksums(frame: &[u8]) -> Option<(bool, bool)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(transport)) = (&sliced.net, &sliced.transport) else { return None };
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

/// A broadcast ARP request for 10.1.0.10.
pub fn arp(source_mac: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source_mac);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(source_mac);
    frame.extend([10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 10]);
    frame
}

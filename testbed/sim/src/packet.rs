//! Frames, built and read with etherparse: what is expected is computed by code that is not the appliance's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// A flag of TCP.
pub const FIN: u8 = 0x01;
/// A flag of TCP.
pub const SYN: u8 = 0x02;
/// A flag of TCP.
pub const RST: u8 = 0x04;
/// A flag of TCP.
pub const ACK: u8 = 0x10;

/// A TCP segment or UDP datagram over IPv4.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Sequence number, acknowledgement, flags; none: UDP.
    pub tcp: Option<(u32, u32, u8)>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A packet that was read, and whether its checksums are right.
pub type Read = (Packet, bool);

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, tcp, payload } = self;
        write!(f, "{source} > {destination}")?;
        match tcp {
            None => write!(f, " UDP")?,
            Some((seq, ack, flags)) => {
                let names = [(SYN, "SYN "), (FIN, "FIN "), (RST, "RST "), (ACK, "ACK ")];
                let names: String = names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
                write!(f, " {names}seq {seq} ack {ack}")?;
            }
        }
        write!(f, ", {} bytes", payload.len())
    }
}

fn v4(socket: SocketAddr) -> [u8; 4] {
    match socket.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}

impl Packet {
    /// The frame, between these MACs.
    pub fn frame(&self, source_mac: [u8; 6], destination_mac: [u8; 6]) -> Vec<u8> {
        let ip = PacketBuilder::ethernet2(source_mac, destination_mac).ipv4(v4(self.source), v4(self.destination), 64);
        let mut frame = Vec::with_capacity(64 + self.payload.len());
        let written = match self.tcp {
            None => ip.udp(self.source.port(), self.destination.port()).write(&mut frame, &self.payload),
            Some((seq, ack, flags)) => {
                let mut tcp = ip.tcp(self.source.port(), self.destination.port(), seq, 64_000);
                if flags & SYN != 0 {
                    tcp = tcp.syn();
                }
                if flags & FIN != 0 {
                    tcp = tcp.fin();
                }
                if flags & RST != 0 {
                    tcp = tcp.rst();
                }
                if flags & ACK != 0 {
                    tcp = tcp.ack(ack);
                }
                tcp.write(&mut frame, &self.payload)
            }
        };
        written.expect("a vector has room");
        frame
    }

    /// Reads a frame. None: it is something else.
    pub fn read(frame: &[u8]) -> Option<Read> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let NetSlice::Ipv4(ip) = sliced.net.as_ref()? else { return None };
        let header = ip.header().to_header();
        let header_is_good = header.calc_header_checksum() == header.header_checksum;
        let (source, destination): (IpAddr, IpAddr) = (header.source.into(), header.destination.into());
        let (tcp, ports, payload, is_good) = match sliced.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => {
                let flags = tcp.slice()[13];
                let numbers = (tcp.sequence_number(), tcp.acknowledgment_number(), flags);
                let sum = tcp.calc_checksum_ipv4(header.source, header.destination).ok()?;
                (Some(numbers), (tcp.source_port(), tcp.destination_port()), tcp.payload(), sum == tcp.checksum())
            }
            TransportSlice::Udp(udp) => {
                let sum = udp.to_header().calc_checksum_ipv4_raw(header.source, header.destination, udp.payload());
                (None, (udp.source_port(), udp.destination_port()), udp.payload(), sum.ok()? == udp.checksum())
            }
            _ => return None,
        };
        let (source, destination) = (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1));
        Some((Self { source, destination, tcp, payload: payload.to_vec() }, is_good && header_is_good))
    }
}

//! ICMP errors as the tests make and read them, with etherparse's headers and sums.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;

use super::packet::Packet;
use super::world::{PORTS, ROUTER_MAC, TARGET_SIDE, target_mac};

/// An ICMP error: what an outer IP header says, and what comes after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub kind: u8,
    pub code: u8,
    /// The second word.
    pub rest: [u8; 4],
    /// The quote, and extensions.
    pub body: Vec<u8>,
    pub macs: ([u8; 6], [u8; 6]),
    pub ttl: u8,
}

impl Error {
    /// An error from a router to who sent the quoted IP packet.
    pub fn new(router: impl Into<IpAddr>, (kind, code): (u8, u8), quoted: &[u8]) -> Self {
        let destination = if quoted[0] >> 4 == 4 {
            IpAddr::from(<[u8; 4]>::try_from(&quoted[12..16]).expect("an address"))
        } else {
            IpAddr::from(<[u8; 16]>::try_from(&quoted[8..24]).expect("an address"))
        };
        let macs = (ROUTER_MAC, PORTS[0]);
        Self { source: router.into(), destination, kind, code, rest: [0; 4], body: quoted.to_vec(), macs, ttl: 60 }
    }

    /// From the targets' side.
    pub fn inside(mut self) -> Self {
        self.macs = (target_mac(0), PORTS[usize::from(TARGET_SIDE)]);
        self
    }

    pub fn mtu(mut self, mtu: u16) -> Self {
        self.rest[2..].copy_from_slice(&mtu.to_be_bytes());
        self
    }

    /// The frame, checksums right.
    pub fn bytes(&self) -> Vec<u8> {
        let socket = |ip| SocketAddr::new(ip, 0);
        let packet = Packet::icmp(socket(self.source), socket(self.destination), self.kind, self.code);
        let packet = Packet { dont_fragment: self.source.is_ipv6(), tos: 0xc0, ..packet.ttl(self.ttl) };
        let mut frame = packet.macs(self.macs.0, self.macs.1).payload(&self.body).bytes();
        let l4 = if self.source.is_ipv6() { 54 } else { 34 };
        frame[l4 + 4..l4 + 8].copy_from_slice(&self.rest);
        frame[l4 + 2..l4 + 4].fill(0);
        let mut sum = Sum16BitWords::new().add_slice(&frame[l4..]);
        if let (IpAddr::V6(s), IpAddr::V6(d)) = (self.source, self.destination) {
            let length = ((frame.len() - l4) as u16).to_be_bytes();
            sum = sum.add_slice(&s.octets()).add_slice(&d.octets()).add_2bytes(length).add_2bytes([0, 58]);
        }
        let sum = sum.ones_complement();
        frame[l4 + 2..l4 + 4].copy_from_slice(&sum.to_ne_bytes());
        frame
    }

    /// The same one hop further, between these addresses and with this quote.
    pub fn passed_on(&self, macs: ([u8; 6], [u8; 6]), source: IpAddr, destination: IpAddr, quoted: &[u8]) -> Self {
        Self { source, destination, macs, body: quoted.to_vec(), ttl: self.ttl - 1, ..self.clone() }
    }
}

/// A packet as a router on its way quotes it: its IP packet, some hops further.
pub fn quoted(packet: &Packet, hops: u8) -> Vec<u8> {
    Packet { ttl: packet.ttl - hops, ..packet.clone() }.bytes()[14..].to_vec()
}

//! Hand-made packets, sent from a namespace through its kernel's routing and ARP.

use crate::capture::Flags;
use crate::namespace::Namespace;
use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A TCP segment to send.
#[derive(Debug, Clone, Copy)]
pub struct RawSegment {
    /// Source address and port; the address need not be the sender's own.
    pub source: SocketAddrV4,
    /// Destination address and port.
    pub destination: SocketAddrV4,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, sent when the ACK flag is set.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: Flags,
}

impl RawSegment {
    /// The IPv4 packet, checksums right.
    ///
    /// # Errors
    /// Never for segments without payload; the builder's signature has it.
    pub fn packet(&self) -> Result<Vec<u8>> {
        const WINDOW: u16 = 64_240;
        let (source, destination) = (self.source, self.destination);
        let mut builder = PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), 64).tcp(
            source.port(),
            destination.port(),
            self.sequence,
            WINDOW,
        );
        if self.flags.syn {
            builder = builder.syn();
        }
        if self.flags.ack {
            builder = builder.ack(self.acknowledgment);
        }
        if self.flags.rst {
            builder = builder.rst();
        }
        if self.flags.fin {
            builder = builder.fin();
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, &[])?;
        Ok(packet)
    }
}

/// An ICMP echo request as an IPv4 packet.
///
/// # Errors
/// Never for this payload; the builder's signature has it.
pub fn echo_request_packet(source: Ipv4Addr, destination: Ipv4Addr, sequence: u16) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).icmpv4_echo_request(0x1ea7, sequence);
    let mut packet = Vec::new();
    builder.write(&mut packet, b"leat")?;
    Ok(packet)
}

/// Sends IPv4 packets as they are from inside `namespace`.
///
/// # Errors
/// When the kernel refuses one, for instance because it has no route.
pub fn send_ipv4(namespace: &Namespace, packets: &[Vec<u8>]) -> Result<()> {
    namespace.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).context("no raw socket")?;
        socket.set_header_included_v4(true)?;
        for packet in packets {
            let destination = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
            let address = SockAddr::from(SocketAddr::from((destination, 0)));
            socket.send_to(packet, &address).with_context(|| format!("cannot send to {destination}"))?;
        }
        Ok(())
    })?
}

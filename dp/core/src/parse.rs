//! Stage 1: from bytes to a checked [`Meta`]. Ethernet II, IPv4 without options, TCP and UDP (RFC 791, 768, 9293).
//!
//! Invariants of a [`Parsed::Flow`]: the frame has at least the IPv4 header and the whole fixed TCP or UDP header; the IPv4
//! total length fits the frame; the header checksum is right; it is not a fragment; source and destination differ; the TCP
//! data offset and UDP length fit the packet. Nothing here can panic: every access goes through a checked chunk.
//!
//! Byte order: addresses and ports as loaded; lengths, sequence and acknowledgement numbers in host order.

use leat_abi::DropReason;
use leat_abi::flow::protocol;

use crate::checksum;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of Ethernet and IPv4 header: where layer 4 starts.
pub const L4: usize = ETHERNET + 20;

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// A packet's addresses, ports and protocol, as loaded: source in the low half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tuple {
    /// Source address in the low, destination address in the high 32 bits.
    pub addresses: u64,
    /// Source port in the low, destination port in the high 16 bits.
    pub ports: u32,
    /// IP protocol.
    pub protocol: u8,
}

impl Tuple {
    /// A tuple of its parts, in network order as loaded.
    pub const fn new(protocol: u8, source: (u32, u16), destination: (u32, u16)) -> Self {
        Self {
            addresses: source.0 as u64 | (destination.0 as u64) << 32,
            ports: source.1 as u32 | (destination.1 as u32) << 16,
            protocol,
        }
    }

    /// Source address.
    pub const fn source_ip(&self) -> u32 {
        self.addresses as u32
    }

    /// Destination address.
    pub const fn destination_ip(&self) -> u32 {
        (self.addresses >> 32) as u32
    }

    /// Source port.
    pub const fn source_port(&self) -> u16 {
        self.ports as u16
    }

    /// Destination port.
    pub const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }
}

/// What a good TCP or UDP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Who talks to whom.
    pub tuple: Tuple,
    /// TCP: sequence number.
    pub seq: u32,
    /// TCP: acknowledgement number.
    pub ack: u32,
    /// Bytes of the IP packet.
    pub ip_len: u16,
    /// Bytes after the TCP or UDP header.
    pub payload_len: u16,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
    /// TCP SYN: the window scale option's shift, at most 14; 0 without the option.
    pub window_scale: u8,
    /// TTL as received.
    pub ttl: u8,
}

impl Meta {
    /// Whether a TCP flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers that the segment takes: payload, SYN and FIN.
    #[inline(always)]
    pub const fn seq_len(&self) -> u32 {
        self.payload_len as u32 + self.has(tcp::SYN) as u32 + self.has(tcp::FIN) as u32
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// TCP or UDP over IPv4, all headers good.
    Flow(Meta),
    /// ARP: for Linux.
    Arp,
    /// IPv4 that no flow can have: for Linux if it is the host's, else dropped for the reason.
    Other {
        /// Destination address as loaded.
        destination: u32,
        /// Whether it is ICMP of type 3.
        unreachable: bool,
        /// Why it is dropped otherwise.
        reason: DropReason,
    },
    /// Bad.
    Bad(DropReason),
}

/// Reads a frame that came to the port with this MAC.
///
/// Not inlined: its many ways out, joined in the middle of the pipeline's loop, cost more than the call.
#[inline(never)]
pub fn frame(bytes: &[u8], port_mac: [u8; 6]) -> Parsed {
    let Some(ethernet) = bytes.first_chunk::<ETHERNET>() else { return Parsed::Bad(DropReason::ShortFrame) };
    let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *ethernet;
    let (destination_mac, ethertype) = ([d0, d1, d2, d3, d4, d5], u16::from_be_bytes([t0, t1]));
    let group = d0 & 1 == 1;
    if destination_mac != port_mac && !group {
        return Parsed::Bad(DropReason::ForeignMac);
    }
    match ethertype {
        0x0800 => ipv4(bytes, group),
        0x0806 => Parsed::Arp,
        0x8100 | 0x88a8 => Parsed::Bad(DropReason::Vlan),
        _ => Parsed::Bad(DropReason::UnsupportedEthertype),
    }
}

#[inline(always)]
fn ipv4(bytes: &[u8], group: bool) -> Parsed {
    let Some(header) = bytes.get(ETHERNET..).and_then(|b| b.first_chunk::<20>()) else {
        return Parsed::Bad(DropReason::ShortFrame);
    };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (version, header_len) = (header[0] >> 4, header[0] & 15);
    let total = usize::from(word(2));
    if version != 4 || header_len < 5 || total < usize::from(header_len) * 4 {
        return Parsed::Bad(DropReason::IpHeader);
    }
    if total > bytes.len() - ETHERNET {
        return Parsed::Bad(DropReason::ShortFrame);
    }
    let source = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
    let destination = u32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
    let other = |reason| Parsed::Other { destination, unreachable: false, reason };
    if header_len > 5 {
        return other(DropReason::IpOptions);
    }
    if !checksum::ipv4_header_is_good(header) {
        return Parsed::Bad(DropReason::IpChecksum);
    }
    // Multicast, reserved and broadcast, 0/8 and 127/8.
    if header[12] >= 224 || header[12] == 0 || header[12] == 127 {
        return Parsed::Bad(DropReason::IpSource);
    }
    if source == destination {
        return Parsed::Bad(DropReason::Land);
    }
    if group {
        return Parsed::Bad(DropReason::NoListener);
    }
    // Everything but "don't fragment".
    if word(6) & 0xbfff != 0 {
        return other(DropReason::Fragment);
    }
    let Some(l4) = bytes.get(L4..ETHERNET + total) else { return Parsed::Bad(DropReason::ShortFrame) };
    let mut meta = Meta {
        tuple: Tuple { addresses: u64::from(source) | u64::from(destination) << 32, ports: 0, protocol: header[9] },
        ip_len: total as u16,
        ttl: header[8],
        ..Meta::default()
    };
    match header[9] {
        protocol::TCP => tcp_segment(&mut meta, l4),
        protocol::UDP => udp_datagram(&mut meta, l4),
        protocol::ICMP => Parsed::Other { destination, unreachable: l4.first() == Some(&3), reason: DropReason::Icmp },
        _ => other(DropReason::Protocol),
    }
}

#[inline(always)]
fn tcp_segment(meta: &mut Meta, l4: &[u8]) -> Parsed {
    let Some(header) = l4.first_chunk::<20>() else { return Parsed::Bad(DropReason::TcpHeader) };
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 || header_len > l4.len() {
        return Parsed::Bad(DropReason::TcpHeader);
    }
    let flags = header[13];
    let opening = flags & (tcp::SYN | tcp::FIN | tcp::RST);
    let impossible = opening & tcp::SYN != 0 && opening != tcp::SYN;
    let silent = flags & (tcp::SYN | tcp::ACK | tcp::RST) == 0;
    if impossible || silent {
        return Parsed::Bad(DropReason::TcpFlags);
    }
    meta.tuple.ports = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
    meta.seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    meta.ack = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    meta.flags = flags;
    meta.payload_len = (l4.len() - header_len) as u16;
    if flags & tcp::SYN != 0 {
        meta.window_scale = window_scale(&l4[20..header_len]);
    }
    Parsed::Flow(*meta)
}

#[inline(always)]
fn udp_datagram(meta: &mut Meta, l4: &[u8]) -> Parsed {
    let Some(header) = l4.first_chunk::<8>() else { return Parsed::Bad(DropReason::UdpHeader) };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < 8 || length > l4.len() {
        return Parsed::Bad(DropReason::UdpHeader);
    }
    meta.tuple.ports = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
    meta.payload_len = (length - 8) as u16;
    Parsed::Flow(*meta)
}

/// The shift of the window scale option (RFC 7323: more than 14 means 14), 0 if there is none.
fn window_scale(mut options: &[u8]) -> u8 {
    loop {
        match *options {
            [] | [0, ..] => return 0,
            [1, ref rest @ ..] => options = rest,
            [3, 3, shift, ..] => return shift.min(14),
            [_, length, ..] if length >= 2 => options = options.get(usize::from(length)..).unwrap_or_default(),
            _ => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_scale_is_found_among_options() {
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), 7);
        assert_eq!(window_scale(&[3, 3, 200]), 14);
        assert_eq!(window_scale(&[2, 4, 5, 180]), 0);
        assert_eq!(window_scale(&[0, 3, 3, 7]), 0);
        assert_eq!(window_scale(&[5, 0, 3, 3, 7]), 0);
        assert_eq!(window_scale(&[5, 200, 3, 3, 7]), 0);
        assert_eq!(window_scale(&[8]), 0);
    }
}

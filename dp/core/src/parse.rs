//! Stage 1: from bytes to a checked [`Meta`]. Ethernet II, IPv4 without options, IPv6 with extension headers, TCP and UDP (RFC 791,
//! 8200, 768, 9293).
//!
//! Invariants of a [`Parsed::Flow`]: the frame has the whole IP header and the whole fixed TCP or UDP header, which begins at
//! `Meta::l4`; the IP length fits the frame; the IPv4 header checksum is right; it is no fragment (but perhaps an IPv6 packet with a
//! fragment header that says it is whole); source and destination differ; the TCP data offset and UDP length fit the packet.
//! Of a [`Parsed::Fragment`] the same holds, but that only the first one has a TCP or UDP header and that the packet goes on.
//! Nothing here can panic: every access goes through a checked chunk.
//!
//! Byte order: addresses and ports as loaded; lengths, sequence and acknowledgement numbers in host order.

use leat_abi::DropReason;
use leat_abi::flow::protocol;

use crate::address::Address;
use crate::checksum;
use crate::hash;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of Ethernet and IPv4 header: where layer 4 of IPv4 starts.
pub const L4: usize = ETHERNET + 20;
/// Bytes of Ethernet and the fixed IPv6 header.
pub const L4_V6: usize = ETHERNET + 40;
/// IPv6 extension headers in a packet at the most, and their bytes (S10.9).
pub const EXTENSIONS_MAX: (usize, usize) = (8, 256);

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push: to the application at once.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// IPv6 extension headers (RFC 8200).
pub(crate) mod extension {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const DESTINATION: u8 = 60;
}

/// Bit of [`Tuple::protocol`]: the addresses are IPv6.
pub(crate) const V6: u8 = 0x80;

/// A packet's addresses, ports and protocol, as loaded: source in the low half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tuple {
    /// Source address in the low, destination address in the high 32 bits. IPv6: [`hash::digest`] of both.
    pub addresses: u64,
    /// Source port in the low, destination port in the high 16 bits.
    pub ports: u32,
    /// IP protocol; with bit 7 if the addresses are IPv6.
    pub protocol: u8,
}

impl Tuple {
    /// A tuple of IPv4 of its parts, in network order as loaded.
    pub const fn new(protocol: u8, source: (u32, u16), destination: (u32, u16)) -> Self {
        Self {
            addresses: source.0 as u64 | (destination.0 as u64) << 32,
            ports: source.1 as u32 | (destination.1 as u32) << 16,
            protocol,
        }
    }

    /// A tuple of either kind: IPv6 if the source is. `protocol` without a bit for the kind, ports as loaded.
    #[inline]
    pub fn between(digest_key: u64, protocol: u8, source: (Address, u16), destination: (Address, u16)) -> Self {
        if source.0.is_v4() {
            return Self::new(protocol, (source.0.loaded(), source.1), (destination.0.loaded(), destination.1));
        }
        Self {
            addresses: hash::digest(digest_key, source.0, destination.0),
            ports: source.1 as u32 | (destination.1 as u32) << 16,
            protocol: protocol | V6,
        }
    }

    /// The IP protocol's number.
    #[inline(always)]
    pub const fn ip_protocol(&self) -> u8 {
        self.protocol & !V6
    }

    /// Whether the protocol is TCP.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.ip_protocol() == protocol::TCP
    }

    /// Whether the addresses are IPv6.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.protocol & V6 != 0
    }

    /// Source port.
    pub const fn source_port(&self) -> u16 {
        self.ports as u16
    }

    /// Destination port.
    pub const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// The same with another destination port, as loaded.
    #[inline(always)]
    pub const fn with_destination_port(self, port: u16) -> Self {
        Self { ports: self.ports & 0xffff | (port as u32) << 16, ..self }
    }
}

/// The addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// Source.
    pub source: Address,
    /// Destination.
    pub destination: Address,
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
    /// Where layer 4 begins in the frame.
    pub l4: u16,
    /// TCP: window, unscaled.
    pub window: u16,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
    /// TCP SYN: the window scale option's shift, at most 14; 0 without the option.
    pub window_scale: u8,
    /// TTL or hop limit as received.
    pub ttl: u8,
    /// Whether it is all of its datagram.
    pub piece: Piece,
}

/// Which part of its datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Piece {
    /// All of it.
    #[default]
    Whole,
    /// The first fragment: it has the TCP or UDP header.
    First,
    /// A later one: it has no ports and no checksum.
    Later,
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

    /// Whether the packet may begin a flow.
    pub const fn opens(&self) -> bool {
        !self.tuple.is_tcp() || (self.has(tcp::SYN) && !self.has(tcp::ACK))
    }

    /// The addresses of a frame that was read with this result.
    pub fn ends(&self, frame: &[u8]) -> Ends {
        if !self.tuple.is_v6() {
            let addresses = self.tuple.addresses;
            return Ends { source: Address::v4(addresses as u32), destination: Address::v4((addresses >> 32) as u32) };
        }
        let address = |at: usize| {
            let octets = frame.get(at..).and_then(|bytes| bytes.first_chunk::<16>());
            Address::from_octets(octets.copied().unwrap_or_default())
        };
        Ends { source: address(ETHERNET + 8), destination: address(ETHERNET + 24) }
    }
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Identification: 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
    /// Where its bytes begin in the datagram: a multiple of 8.
    pub offset: u16,
    /// How many they are.
    pub length: u16,
    /// Whether others follow.
    pub more: bool,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// TCP or UDP, all headers good.
    Flow(Meta),
    /// A fragment of TCP or UDP; the ports of a later one are 0.
    Fragment(Meta, Place),
    /// An ICMP error: type 3 of ICMP, types 1 to 4 of ICMPv6. `l4` is where its ICMP header begins; what it quotes was not looked at, and
    /// the checksum neither.
    IcmpError(Meta),
    /// ARP or neighbour discovery: for Linux.
    Neighbour,
    /// IP that no flow can have: for Linux if it is the host's, else dropped for the reason.
    Other {
        /// Destination address.
        destination: Address,
        /// Why it is dropped otherwise.
        reason: DropReason,
    },
    /// Bad.
    Bad(DropReason),
}

/// Reads a frame that came to the port with this MAC. `digest_key`: of [`hash::digest`].
///
/// Not inlined: its many ways out, joined in the middle of the pipeline's loop, cost more than the call.
#[inline(never)]
pub fn frame(bytes: &[u8], port_mac: [u8; 6], digest_key: u64) -> Parsed {
    let Some(ethernet) = bytes.first_chunk::<ETHERNET>() else { return Parsed::Bad(DropReason::ShortFrame) };
    let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *ethernet;
    let (destination_mac, ethertype) = ([d0, d1, d2, d3, d4, d5], u16::from_be_bytes([t0, t1]));
    let group = d0 & 1 == 1;
    if destination_mac != port_mac && !group {
        return Parsed::Bad(DropReason::ForeignMac);
    }
    match ethertype {
        0x0800 => ipv4(bytes, group),
        0x86dd => ipv6(bytes, group, digest_key),
        0x0806 => Parsed::Neighbour,
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
    let other = |reason| Parsed::Other { destination: Address::v4(destination), reason };
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
    let Some(l4) = bytes.get(L4..ETHERNET + total) else { return Parsed::Bad(DropReason::ShortFrame) };
    let mut meta = Meta {
        tuple: Tuple { addresses: u64::from(source) | u64::from(destination) << 32, ports: 0, protocol: header[9] },
        ip_len: total as u16,
        l4: L4 as u16,
        ttl: header[8],
        ..Meta::default()
    };
    // Everything but "don't fragment".
    if word(6) & 0xbfff != 0 {
        let place =
            Place { id: word(4).into(), offset: word(6) << 3, length: l4.len() as u16, more: word(6) & 0x2000 != 0 };
        return fragment(meta, header[9], place, word(6) & 0x8000 != 0, l4, Address::v4(destination));
    }
    match header[9] {
        protocol::TCP => tcp_segment(&mut meta, l4),
        protocol::UDP => udp_datagram(&mut meta, l4),
        protocol::ICMP if l4.first() == Some(&3) => Parsed::IcmpError(meta),
        protocol::ICMP => other(DropReason::Icmp),
        _ => other(DropReason::Protocol),
    }
}

#[inline(never)]
fn ipv6(bytes: &[u8], group: bool, digest_key: u64) -> Parsed {
    let Some(header) = bytes.get(ETHERNET..).and_then(|b| b.first_chunk::<40>()) else {
        return Parsed::Bad(DropReason::ShortFrame);
    };
    let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || total > usize::from(u16::MAX) {
        return Parsed::Bad(DropReason::IpHeader);
    }
    let Some(packet) = bytes.get(..ETHERNET + total) else { return Parsed::Bad(DropReason::ShortFrame) };
    let address = |at: usize| {
        let octets = header[at..].first_chunk::<16>();
        Address::from_octets(octets.copied().unwrap_or_default())
    };
    let (source, destination) = (address(8), address(24));
    let extensions = match extensions(packet, header[6]) {
        Ok(extensions) => extensions,
        Err(reason) => return Parsed::Bad(reason),
    };
    let (next, l4) = (extensions.next, packet.get(extensions.l4..).unwrap_or_default());
    // Neighbour discovery, which a router never passes on (RFC 4861 §6.1), also from the unspecified address. And who asks which
    // groups are listened to (RFC 3810 §5.1), without whom a switch forgets where neighbours are to be sought.
    match (next, l4.first(), header[7]) {
        (protocol::ICMPV6, Some(133..=137), 255) | (protocol::ICMPV6, Some(130), 1) => return Parsed::Neighbour,
        _ => {}
    }
    let [first, second] = [header[8], header[9]];
    let other = |reason| Parsed::Other { destination, reason };
    // Multicast, unspecified and loopback, and what stands for IPv4.
    if first == 0xff || source.words()[0] == 0 && (source.words()[1] <= 1 || source.is_v4()) {
        return Parsed::Bad(DropReason::IpSource);
    }
    if source == destination {
        return Parsed::Bad(DropReason::Land);
    }
    if group || header[24] == 0xff || destination.is_v4() {
        return Parsed::Bad(DropReason::NoListener);
    }
    // Link-local: never forwarded.
    if first == 0xfe && second & 0xc0 == 0x80 {
        return other(DropReason::IpSource);
    }
    let has_udp = next == protocol::UDP && extensions.place.is_none_or(|place| place.offset == 0);
    if has_udp && l4.get(6..8) == Some(&[0, 0]) {
        return Parsed::Bad(DropReason::UdpChecksum);
    }
    let mut meta = Meta {
        tuple: Tuple { addresses: hash::digest(digest_key, source, destination), ports: 0, protocol: next | V6 },
        ip_len: total as u16,
        l4: extensions.l4 as u16,
        ttl: header[7],
        ..Meta::default()
    };
    if let Some(place) = extensions.place {
        return fragment(meta, next, place, false, l4, destination);
    }
    match next {
        protocol::TCP => tcp_segment(&mut meta, l4),
        protocol::UDP => udp_datagram(&mut meta, l4),
        protocol::ICMPV6 if matches!(l4.first(), Some(1..=4)) => Parsed::IcmpError(meta),
        protocol::ICMPV6 => other(DropReason::Icmp),
        _ => other(DropReason::Protocol),
    }
}

/// What the extension headers of an IPv6 packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// The protocol of layer 4.
    pub next: u8,
    /// Where it begins in the frame.
    pub l4: usize,
    /// Which fragment it is; none if the packet is whole, also if a fragment header says so (RFC 6946). Layer 4 then follows the
    /// fragment header.
    pub place: Option<Place>,
}

/// Walks the extension headers of a frame that ends with its IPv6 packet. `next` is the next header of the fixed one.
pub fn extensions(packet: &[u8], mut next: u8) -> Result<Extensions, DropReason> {
    let (mut l4, mut has_fragment_header, mut place) = (L4_V6, false, None);
    for count in 0.. {
        let is_extension = match next {
            // It must come first.
            extension::HOP_BY_HOP if count > 0 => return Err(DropReason::Ipv6Extension),
            extension::HOP_BY_HOP => true,
            extension::ROUTING | extension::FRAGMENT | extension::DESTINATION => true,
            _ => false,
        };
        if !is_extension {
            break;
        }
        // Only the first fragment would have it, and it would count among what the offsets count (RFC 7915 §5.1.1).
        if place.is_some() {
            return Err(DropReason::Ipv6Extension);
        }
        let Some(header) = packet.get(l4..).and_then(|rest| rest.first_chunk::<8>()) else {
            return Err(DropReason::ShortFrame);
        };
        let length = if next == extension::FRAGMENT { 8 } else { 8 + usize::from(header[1]) * 8 };
        let routes_on = next == extension::ROUTING && (header[2] == 0 || header[3] != 0);
        if count == EXTENSIONS_MAX.0 || l4 + length > L4_V6 + EXTENSIONS_MAX.1 || routes_on {
            return Err(DropReason::Ipv6Extension);
        }
        if next == extension::FRAGMENT {
            if std::mem::replace(&mut has_fragment_header, true) {
                return Err(DropReason::Ipv6Extension);
            }
            let field = u16::from_be_bytes([header[2], header[3]]);
            let (offset, more) = (field & 0xfff8, field & 1 == 1);
            let length = packet.len().saturating_sub(l4 + 8);
            if offset != 0 || more {
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                place = Some(Place { id, offset, length: length as u16, more });
            }
        }
        next = header[0];
        l4 += length;
    }
    if l4 > packet.len() { Err(DropReason::ShortFrame) } else { Ok(Extensions { next, l4, place }) }
}

/// A fragment: of what a flow can be, with a length that can be, the first one with the whole fixed header (RFC 1858, 3128).
#[cold]
fn fragment(mut meta: Meta, protocol: u8, place: Place, reserved_bit: bool, l4: &[u8], destination: Address) -> Parsed {
    // Not the tuple's, which has a bit of its own.
    let header_len = match protocol {
        protocol::TCP => 20,
        protocol::UDP => 8,
        protocol::ICMP | protocol::ICMPV6 => return Parsed::Other { destination, reason: DropReason::Icmp },
        _ => return Parsed::Other { destination, reason: DropReason::Protocol },
    };
    let end = usize::from(place.offset) + l4.len();
    let ragged = place.more && !l4.len().is_multiple_of(8);
    if reserved_bit || l4.is_empty() || ragged || end > usize::from(u16::MAX) {
        return Parsed::Bad(DropReason::FragmentBad);
    }
    if place.offset > 0 {
        if usize::from(place.offset) < header_len {
            return Parsed::Bad(DropReason::FragmentTiny);
        }
        meta.piece = Piece::Later;
        return Parsed::Fragment(meta, place);
    }
    if l4.len() < header_len {
        return Parsed::Bad(DropReason::FragmentTiny);
    }
    meta.piece = Piece::First;
    let parsed = if meta.tuple.is_tcp() { tcp_segment(&mut meta, l4) } else { udp_datagram(&mut meta, l4) };
    match parsed {
        Parsed::Flow(meta) => Parsed::Fragment(meta, place),
        other => other,
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
    meta.window = u16::from_be_bytes([header[14], header[15]]);
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
    if length < 8 || (length > l4.len() && meta.piece == Piece::Whole) {
        return Parsed::Bad(DropReason::UdpHeader);
    }
    meta.tuple.ports = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
    meta.payload_len = (length.min(l4.len()) - 8) as u16;
    Parsed::Flow(*meta)
}

/// The shift of the window scale option (RFC 7323: more than 14 means 14), 0 if there is none.
#[inline]
pub(crate) fn window_scale(mut options: &[u8]) -> u8 {
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

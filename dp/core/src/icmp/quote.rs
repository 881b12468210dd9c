//! Reading the packet that an ICMP error quotes (RFC 792, 4443, 4884).
//!
//! Pure functions over a frame that [`crate::parse`] found to have a good IP header and, after it, the beginning of an ICMP error. Positions
//! are in the frame.

use leat_abi::flow::protocol;

use crate::address::Address;
use crate::checksum;
use crate::parse::{self, ETHERNET, Ends, L4_V6};

/// Bytes of an ICMP error before what it quotes.
pub const HEADER: usize = 8;
/// Bytes of TCP or UDP that a quote must have: the ports, and for TCP the sequence number (RFC 792).
pub const L4_MIN: usize = 8;

/// A quoted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Where its IP header begins.
    pub ip: usize,
    /// Where its layer 4 begins.
    pub l4: usize,
    /// Where the quote ends, padding included; extensions may follow (RFC 4884).
    pub end: usize,
    /// Where the ICMP error ends.
    pub icmp_end: usize,
    /// Whether it is IPv6.
    pub is_v6: bool,
    /// Its protocol.
    pub protocol: u8,
    /// Its addresses.
    pub ends: Ends,
    /// The length that it says it has, with its IP header.
    pub length: u16,
    /// Its ports as loaded, source port in the low half. None: it is a later fragment, or neither TCP nor UDP.
    pub ports: Option<u32>,
}

impl Quote {
    /// Bytes of its layer 4 that are quoted, as an array, if there are so many.
    pub fn l4<'f, const N: usize>(&self, frame: &'f [u8]) -> Option<&'f [u8; N]> {
        frame.get(self.l4..self.end)?.first_chunk()
    }

    /// The sequence number of a TCP segment.
    pub fn seq(&self, frame: &[u8]) -> Option<u32> {
        let [_, _, _, _, seq @ ..] = self.l4::<8>(frame)?;
        Some(u32::from_be_bytes(*seq))
    }

    /// The acknowledgement number of a TCP segment, if it is quoted.
    pub fn ack(&self, frame: &[u8]) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, ack @ ..] = self.l4::<12>(frame)?;
        Some(u32::from_be_bytes(*ack))
    }

    /// Where its checksum of TCP or UDP lies, if it is quoted.
    pub fn checksum_at(&self) -> Option<usize> {
        let at = self.l4 + if self.protocol == protocol::TCP { 16 } else { 6 };
        (at + 2 <= self.end).then_some(at)
    }
}

/// Reads what the ICMP error of `ip_len` bytes of IP quotes, whose ICMP header begins at `l4`. `None` if its checksum is wrong, or what it
/// quotes is no IP packet of the same kind with at least 8 bytes of layer 4.
pub fn read(frame: &[u8], l4: usize, ip_len: u16, is_v6: bool) -> Option<Quote> {
    let icmp_end = ETHERNET + usize::from(ip_len);
    let icmp = frame.get(l4..icmp_end)?;
    if icmp.len() < HEADER || checksum_of(frame, icmp, is_v6)? != 0 {
        return None;
    }
    // How long the quote is, if extensions follow it: in words of 4 or 8 bytes.
    let told = match (is_v6, icmp[0]) {
        (false, _) => usize::from(icmp[5]) * 4,
        (true, 1 | 3) => usize::from(icmp[4]) * 8,
        (true, _) => 0,
    };
    let ip = l4 + HEADER;
    let end = if told > 0 { ip + told } else { icmp_end };
    let quoted = frame.get(ip..end).filter(|_| end <= icmp_end)?;
    if is_v6 { v6(frame, quoted, ip, icmp_end) } else { v4(quoted, ip, icmp_end) }
}

/// The checksum over an ICMP message, its own checksum included: 0 if that is right.
fn checksum_of(frame: &[u8], icmp: &[u8], is_v6: bool) -> Option<u16> {
    if !is_v6 {
        return Some(checksum::of(&[icmp]));
    }
    let addresses = frame.get(ETHERNET + 8..L4_V6)?;
    let length = (icmp.len() as u32).to_be_bytes();
    Some(checksum::of(&[addresses, &length, &[0, 0, 0, protocol::ICMPV6], icmp]))
}

fn v4(quoted: &[u8], ip: usize, icmp_end: usize) -> Option<Quote> {
    let header = quoted.first_chunk::<20>()?;
    let length = u16::from_be_bytes([header[2], header[3]]);
    // Nothing that leaves here has options.
    if header[0] != 0x45 || quoted.len() < 20 + L4_MIN || usize::from(length) < 20 + L4_MIN {
        return None;
    }
    let address =
        |at: usize| Address::v4(u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    Some(Quote {
        ip,
        l4: ip + 20,
        end: ip + quoted.len(),
        icmp_end,
        is_v6: false,
        protocol: header[9],
        ends: Ends { source: address(12), destination: address(16) },
        length,
        ports: ports(header[9], &quoted[20..], is_later),
    })
}

fn v6(frame: &[u8], quoted: &[u8], ip: usize, icmp_end: usize) -> Option<Quote> {
    let header = quoted.first_chunk::<40>()?;
    let payload = u16::from_be_bytes([header[4], header[5]]);
    if header[0] >> 4 != 6 {
        return None;
    }
    // As if the quoted packet were a frame of its own.
    let from = ip.checked_sub(ETHERNET)?;
    let packet = frame.get(from..ip + quoted.len())?;
    let extensions = parse::extensions(packet, header[6]).ok()?;
    let l4 = from + extensions.l4;
    let rest = frame.get(l4..ip + quoted.len())?;
    if rest.len() < L4_MIN || usize::from(payload) < l4 + L4_MIN - ip - 40 {
        return None;
    }
    let address = |at: usize| Address::from_octets(header[at..].first_chunk::<16>().copied().unwrap_or_default());
    let is_later = extensions.place.is_some_and(|place| place.offset > 0);
    Some(Quote {
        ip,
        l4,
        end: ip + quoted.len(),
        icmp_end,
        is_v6: true,
        protocol: extensions.next,
        ends: Ends { source: address(8), destination: address(24) },
        length: payload.saturating_add(40),
        ports: ports(extensions.next, rest, is_later),
    })
}

fn ports(protocol: u8, l4: &[u8], is_later: bool) -> Option<u32> {
    let has_ports = [protocol::TCP, protocol::UDP].contains(&protocol) && !is_later;
    l4.first_chunk::<4>().filter(|_| has_ports).map(|ports| u32::from_ne_bytes(*ports))
}

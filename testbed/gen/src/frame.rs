//! Frames: made from templates, and read again with every checksum summed anew.
//!
//! Ethernet, IPv4 without options, then TCP or UDP. Every packet carries a [`Mark`] that says what it is: in the first bytes of its payload,
//! or, in segments without payload, in the TCP time-stamp option (RFC 7323), which nobody between the ends may change. Behind the mark
//! (and the number, with UDP) the payload is a fixed pattern.

use arrayvec::ArrayVec;

use crate::checksum::{fold, sum};
use crate::flow::Endpoint;

/// Bytes of the Ethernet header, of the frame check sequence (which ports add and take away), of IPv4, TCP and UDP.
pub const ETHERNET: usize = 14;
/// See [`ETHERNET`].
pub const FCS: usize = 4;
const IPV4: usize = 20;
const TCP: usize = 20;
const UDP: usize = 8;
const L4: usize = ETHERNET + IPV4;

/// Smallest and largest frame, FCS included.
pub const SIZES: std::ops::RangeInclusive<usize> = 64..=1518;

/// Largest frame, without FCS.
pub const BYTES_MAX: usize = 1514;

/// Flows that a mark can tell apart.
pub const FLOWS_MAX: u32 = 1 << 24;
/// Bits of a time stamp, and TSC ticks of its unit, as a power of two.
const STAMP_BITS: u32 = 23;
const STAMP_UNIT: u32 = 5;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// TCP, with handshakes.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The number in the IPv4 header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Bytes of the transport's header.
    const fn header(self) -> usize {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }

    /// How far a packet's position is from the next one's, for frames of a size (FCS included): see [`crate::flow::Lane`].
    pub const fn step(self, size: usize) -> u32 {
        match self {
            Self::Tcp => (size - FCS - L4 - TCP) as u32,
            Self::Udp => 1,
        }
    }
}

/// What every packet says of itself, in six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The flow's number, below [`FLOWS_MAX`].
    pub flow: u32,
    /// The direction: [`crate::flow::FROM_CLIENT`] or [`crate::flow::FROM_TARGET`].
    pub lane: usize,
    /// When it was sent: see [`stamp`].
    pub stamp: u32,
}

/// A time of the TSC in units of 32 ticks, as far as it fits into a mark.
#[inline(always)]
pub const fn stamp(tsc: u64) -> u32 {
    (tsc >> STAMP_UNIT) as u32 & ((1 << STAMP_BITS) - 1)
}

/// TSC ticks between a stamp and a later time; wraps at 2²⁸ (a tenth of a second).
#[inline(always)]
pub const fn ticks_since(stamped: u32, now: u64) -> u64 {
    ((stamp(now).wrapping_sub(stamped) & ((1 << STAMP_BITS) - 1)) as u64) << STAMP_UNIT
}

impl Mark {
    #[inline(always)]
    const fn encode(self) -> (u32, u16) {
        let high = self.flow << 8 | (self.lane as u32) << 7 | self.stamp >> 16;
        (high.to_be(), (self.stamp as u16).to_be())
    }

    #[inline(always)]
    fn decode(bytes: &[u8; 6]) -> Self {
        let high = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let low = u16::from_be_bytes([bytes[4], bytes[5]]);
        Self { flow: high >> 8, lane: (high >> 7 & 1) as usize, stamp: (high & 0x7f) << 16 | u32::from(low) }
    }
}

/// The addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Sender.
    pub source: Endpoint,
    /// Receiver.
    pub destination: Endpoint,
}

/// MAC addresses in the order of the frame: destination, source.
pub type Macs = [[u8; 6]; 2];

/// A data frame of one size and direction, all but what differs from packet to packet.
#[derive(Debug, Clone)]
pub struct Template {
    transport: Transport,
    bytes: Vec<u8>,
    ip_sum: u64,
    l4_sum: u64,
}

impl Template {
    /// For frames of `size` bytes, FCS included.
    pub fn new(transport: Transport, macs: Macs, size: usize) -> Self {
        let mut bytes = vec![0; size - FCS];
        let ip_len = (bytes.len() - ETHERNET) as u16;
        header(&mut bytes, macs, transport, ip_len);
        let payload = L4 + transport.header();
        match transport {
            Transport::Tcp => bytes[46..50].copy_from_slice(&[0x50, ACK | PSH, 0xff, 0xff]),
            Transport::Udp => bytes[38..40].copy_from_slice(&(ip_len - IPV4 as u16).to_be_bytes()),
        }
        let pattern = payload + fixed(transport);
        let len = bytes.len() - pattern;
        bytes[pattern..].copy_from_slice(&PATTERN[..len]);
        let l4_len = ip_len - IPV4 as u16;
        Self {
            transport,
            ip_sum: sum(&bytes[ETHERNET..L4]),
            l4_sum: sum(&bytes[L4..]) + u64::from(l4_len.to_be()) + u64::from(u16::from(transport.number()).to_be()),
            bytes,
        }
    }

    /// Bytes of the frame, without FCS.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes a packet into `frame`, which is [`Template::len`] long. `position` and `acknowledged` are sequence and acknowledgement number
    /// for TCP; for UDP, `position` is the datagram's number.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], ends: Ends, position: u32, acknowledged: u32, mark: Mark) {
        frame.copy_from_slice(&self.bytes);
        let Some(head) = frame.first_chunk_mut::<60>() else { return };
        let Ends { source, destination } = ends;
        let addresses = u64::from(source.ip) + u64::from(destination.ip);
        let (high, low) = mark.encode();
        let (position, acknowledged) = (position.to_be(), acknowledged.to_be());
        head[24..26].copy_from_slice(&(!fold(self.ip_sum + addresses)).to_ne_bytes());
        head[26..30].copy_from_slice(&source.ip.to_ne_bytes());
        head[30..34].copy_from_slice(&destination.ip.to_ne_bytes());
        head[34..36].copy_from_slice(&source.port.to_ne_bytes());
        head[36..38].copy_from_slice(&destination.port.to_ne_bytes());
        let words = self.l4_sum
            + addresses
            + u64::from(source.port)
            + u64::from(destination.port)
            + u64::from(position)
            + u64::from(high)
            + u64::from(low);
        match self.transport {
            Transport::Tcp => {
                head[38..42].copy_from_slice(&position.to_ne_bytes());
                head[42..46].copy_from_slice(&acknowledged.to_ne_bytes());
                head[50..52].copy_from_slice(&(!fold(words + u64::from(acknowledged))).to_ne_bytes());
                head[54..58].copy_from_slice(&high.to_ne_bytes());
                head[58..60].copy_from_slice(&low.to_ne_bytes());
            }
            Transport::Udp => {
                let sum = !fold(words);
                // A checksum of 0 would say that there is none (RFC 768).
                head[40..42].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_ne_bytes());
                head[42..46].copy_from_slice(&high.to_ne_bytes());
                head[46..48].copy_from_slice(&low.to_ne_bytes());
                head[48..52].copy_from_slice(&position.to_ne_bytes());
            }
        }
    }
}

/// A TCP segment without payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Opens a connection.
    Syn,
    /// Answers that.
    SynAck,
    /// Acknowledges.
    Ack,
    /// Closes a direction.
    Fin,
    /// Closes both at once.
    Reset,
}

impl Control {
    const fn flags(self) -> u8 {
        match self {
            Self::Syn => SYN,
            Self::SynAck => SYN | ACK,
            Self::Ack => ACK,
            Self::Fin => FIN | ACK,
            Self::Reset => RST | ACK,
        }
    }
}

/// Says that a time-stamp option carries a mark.
const IN_OPTION: [u8; 2] = [0x1e, 0xa7];

/// A segment without payload.
pub fn control(
    macs: Macs,
    ends: Ends,
    kind: Control,
    sequence: u32,
    acknowledged: u32,
    mark: Mark,
) -> ArrayVec<u8, 74> {
    let mut bytes = ArrayVec::from([0; 74]);
    let opens = matches!(kind, Control::Syn | Control::SynAck);
    // Options: the mark as a time stamp; then, of an opening segment, maximum segment size 1460 and window scale 10.
    let options = if opens { 20 } else { 12 };
    bytes.truncate(L4 + TCP + options);
    header(&mut bytes, macs, Transport::Tcp, (IPV4 + TCP + options) as u16);
    bytes[26..30].copy_from_slice(&ends.source.ip.to_ne_bytes());
    bytes[30..34].copy_from_slice(&ends.destination.ip.to_ne_bytes());
    bytes[34..36].copy_from_slice(&ends.source.port.to_ne_bytes());
    bytes[36..38].copy_from_slice(&ends.destination.port.to_ne_bytes());
    bytes[38..42].copy_from_slice(&sequence.to_be_bytes());
    bytes[42..46].copy_from_slice(&acknowledged.to_be_bytes());
    bytes[46..50].copy_from_slice(&[((TCP + options) as u8 / 4) << 4, kind.flags(), 0xff, 0xff]);
    let (high, low) = mark.encode();
    bytes[54..58].copy_from_slice(&[1, 1, 8, 10]);
    bytes[58..62].copy_from_slice(&high.to_ne_bytes());
    bytes[62..64].copy_from_slice(&low.to_ne_bytes());
    bytes[64..66].copy_from_slice(&IN_OPTION);
    if opens {
        bytes[66..74].copy_from_slice(&[2, 4, 5, 180, 3, 3, 10, 1]);
    }
    let ip = !fold(sum(&bytes[ETHERNET..L4]));
    bytes[24..26].copy_from_slice(&ip.to_ne_bytes());
    let l4 = !fold(transport_sum(&bytes, Transport::Tcp, (TCP + options) as u16));
    bytes[50..52].copy_from_slice(&l4.to_ne_bytes());
    bytes
}

/// Fills in Ethernet and what is constant of IPv4. The checksum is left 0.
fn header(bytes: &mut [u8], macs: Macs, transport: Transport, ip_len: u16) {
    bytes[0..6].copy_from_slice(&macs[0]);
    bytes[6..12].copy_from_slice(&macs[1]);
    bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    bytes[16..18].copy_from_slice(&ip_len.to_be_bytes());
    bytes[18..24].copy_from_slice(&[0, 0, 0x40, 0, 64, transport.number()]);
}

/// The sum over pseudo header and segment; all ones when folded, if the segment's checksum is right.
#[inline(always)]
fn transport_sum(bytes: &[u8], transport: Transport, len: u16) -> u64 {
    let pseudo = u64::from(u16::from(transport.number()).to_be()) + u64::from(len.to_be());
    pseudo + sum(&bytes[26..34]) + sum(&bytes[L4..L4 + usize::from(len)])
}

/// Bytes of the payload that are not the pattern.
const fn fixed(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 10,
    }
}

/// What payloads are filled with.
static PATTERN: [u8; 1500] = pattern();

const fn pattern() -> [u8; 1500] {
    let mut bytes = [0; 1500];
    let (mut i, mut x) = (0, 0x9e37_79b9u32);
    while i < bytes.len() {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[i] = (x >> 24) as u8;
        i += 1;
    }
    bytes
}

/// A packet that arrived, its checksums right.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// Transport protocol.
    pub transport: Transport,
    /// Addresses.
    pub ends: Ends,
    /// What it says of itself.
    pub mark: Mark,
    /// Sequence number, or the datagram's number.
    pub position: u32,
    /// What it is.
    pub content: Content,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Data in a frame of this size, FCS included.
    Data(usize),
    /// A segment without payload.
    Control(Control),
}

/// Why a frame was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It was not made here: another protocol, or without a mark.
    Foreign,
    /// A checksum, a length or the payload is wrong.
    Corrupted,
}

/// Reads a frame and checks everything that can be checked without knowing its flow.
#[inline(always)]
pub fn read(frame: &[u8]) -> Result<Packet, Unread> {
    let Some(head) = frame.first_chunk::<60>() else { return Err(Unread::Foreign) };
    let transport = match (head[12], head[13], head[14], head[23]) {
        (8, 0, 0x45, 6) => Transport::Tcp,
        (8, 0, 0x45, 17) => Transport::Udp,
        _ => return Err(Unread::Foreign),
    };
    let ip_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let raw = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let port = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    if !(IPV4 + TCP..=frame.len() - ETHERNET).contains(&ip_len) || fold(sum(&head[ETHERNET..L4])) != 0xffff {
        return Err(Unread::Corrupted);
    }
    // Behind it there may be padding.
    let frame = &frame[..ETHERNET + ip_len];
    if fold(transport_sum(frame, transport, (ip_len - IPV4) as u16)) != 0xffff {
        return Err(Unread::Corrupted);
    }
    let ends = Ends {
        source: Endpoint { ip: raw(26), port: port(34) },
        destination: Endpoint { ip: raw(30), port: port(36) },
    };
    let (payload, position) = match transport {
        Transport::Tcp => (L4 + usize::from(head[46] >> 4) * 4, word(38)),
        Transport::Udp => (L4 + UDP, word(48)),
    };
    if transport == Transport::Tcp && payload >= frame.len() {
        return segment_without_payload(frame, ends, position);
    }
    let Some((mark, rest)) = frame.get(payload..).and_then(|bytes| bytes.split_first_chunk::<6>()) else {
        return Err(Unread::Foreign);
    };
    let rest = rest.get(fixed(transport) - 6..).unwrap_or_default();
    let Some(pattern) = PATTERN.get(..rest.len()) else { return Err(Unread::Corrupted) };
    let is_data = match transport {
        Transport::Tcp => payload == L4 + TCP && head[47] == ACK | PSH,
        Transport::Udp => {
            head[40..42] != [0, 0] && usize::from(u16::from_be_bytes([head[38], head[39]])) == ip_len - IPV4
        }
    };
    if !is_data || rest != pattern {
        return Err(Unread::Corrupted);
    }
    let content = Content::Data(frame.len() + FCS);
    Ok(Packet { transport, ends, mark: Mark::decode(mark), position, content })
}

#[cold]
fn segment_without_payload(frame: &[u8], ends: Ends, position: u32) -> Result<Packet, Unread> {
    let Some((option, magic)) = frame.get(54..66).and_then(|bytes| bytes.split_last_chunk::<2>()) else {
        return Err(Unread::Foreign);
    };
    let (&[1, 1, 8, 10, a, b, c, d, e, f], &IN_OPTION) = (option.first_chunk::<10>().unwrap_or(&[0; 10]), magic) else {
        return Err(Unread::Foreign);
    };
    let kinds = [Control::Syn, Control::SynAck, Control::Ack, Control::Fin, Control::Reset];
    let kind = kinds.into_iter().find(|kind| kind.flags() == frame[47] || *kind == Control::Reset && frame[47] == RST);
    let content = Content::Control(kind.ok_or(Unread::Corrupted)?);
    let mark = Mark::decode(&[a, b, c, d, e, f]);
    Ok(Packet { transport: Transport::Tcp, ends, mark, position, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends {
        source: Endpoint { ip: 0x0102_0304, port: 0x5678 },
        destination: Endpoint { ip: 0xa1b2_c3d4, port: 0xe5f6 },
    };
    const MARK: Mark = Mark { flow: 0xfe_dcba, lane: 1, stamp: 0x7a_5b3c };

    #[test]
    fn what_is_written_is_read() {
        for transport in [Transport::Tcp, Transport::Udp] {
            for size in [64, 65, 67, 128, 1518] {
                let template = Template::new(transport, [[1; 6], [2; 6]], size);
                let mut frame = vec![0; template.len()];
                template.write(&mut frame, ENDS, 0x8765_4321, 77, MARK);
                let packet = read(&frame).unwrap();
                assert_eq!((packet.ends, packet.mark, packet.position), (ENDS, MARK, 0x8765_4321));
                assert_eq!(packet.content, Content::Data(size));
            }
        }
        for kind in [Control::Syn, Control::SynAck, Control::Ack, Control::Fin, Control::Reset] {
            let packet = read(&control([[1; 6], [2; 6]], ENDS, kind, 5, 6, MARK)).unwrap();
            assert_eq!((packet.ends, packet.mark, packet.position), (ENDS, MARK, 5));
            assert_eq!(packet.content, Content::Control(kind));
        }
    }

    #[test]
    fn every_changed_bit_is_found() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let template = Template::new(transport, [[1; 6], [2; 6]], 80);
            let mut right = vec![0; template.len()];
            template.write(&mut right, ENDS, 9, 77, MARK);
            for bit in ETHERNET * 8..right.len() * 8 {
                let mut frame = right.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&frame).is_err(), "{transport:?}: bit {bit}");
            }
            // Also where both checksums have been made right again.
            let mut frame = right.clone();
            let last = frame.len() - 2;
            let old = u16::from_ne_bytes([frame[last], frame[last + 1]]);
            frame[last..].copy_from_slice(&(!old).to_ne_bytes());
            let at = if transport == Transport::Tcp { 50 } else { 40 };
            frame[at..at + 2].fill(0);
            let sum = !fold(transport_sum(&frame, transport, (frame.len() - L4) as u16));
            frame[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
            assert_eq!(read(&frame).unwrap_err(), Unread::Corrupted);
        }
    }

    #[test]
    fn stamps_wrap() {
        let before = (1u64 << 28) * 7 - 3200;
        assert_eq!(ticks_since(stamp(before), before + 6400), 6400);
    }
}

//! A flow's entry: 64 bytes, one cache line, in memory that outlives the data-plane process.
//!
//! The entries are all that is kept: indices, free lists and timers are made anew from them when a process adopts the region.
//! That is why `state` is the last field written when an entry is made and the first when it is given up, and why each field
//! changed later makes sense by itself.
//!
//! A flow with IPv6 on a side has a second line, [`FlowAddresses`]; where the first one would have that side's two addresses, it has a
//! digest of them, so that one comparison serves both kinds.
//!
//! Byte order: addresses and ports are network order as loaded from the packet (`u32::from_ne_bytes`), so that they can be
//! compared, stored and summed without a swap. Sequence numbers are host order.

use std::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// IP protocol numbers that flows have.
pub mod protocol {
    /// ICMP (never a flow's protocol).
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6 (never a flow's protocol).
    pub const ICMPV6: u8 = 58;
}

/// Bits of [`FlowEntry::protocol`] beside the protocol's number.
pub mod family {
    /// The client and the node talk IPv6.
    pub const CLIENT_V6: u8 = 1 << 7;
    /// The target is reached by IPv6.
    pub const TARGET_V6: u8 = 1 << 6;
    /// The bits of the protocol's number: TCP and UDP need no more.
    pub const PROTOCOL: u8 = 0x3f;
}

/// The life of a flow (semantics §4; UDP is `Established` from its first datagram).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// The client's SYN was forwarded.
    SynSent = 1,
    /// The target's SYN-ACK was forwarded.
    SynReceived = 2,
    /// The handshake is complete.
    Established = 3,
    /// One side has sent its FIN.
    HalfClosed = 4,
    /// Both FINs were seen and acknowledged; retransmits are still translated.
    TimeWait = 5,
    /// A valid RST was seen; what is in flight is still translated.
    ResetLinger = 6,
    /// Idle for too long. Kept only where its source port must rest; packets see no flow.
    Resting = 7,
    /// Ended by the data plane, because its target may not have it any more: both ends were reset. Packets see no flow, so that whatever
    /// the ends still send is answered with a reset (semantics §5.3).
    Terminated = 8,
}

impl FlowState {
    /// The state of this number; 0 (a free entry) and unknown numbers have none.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::HalfClosed,
            5 => Self::TimeWait,
            6 => Self::ResetLinger,
            7 => Self::Resting,
            8 => Self::Terminated,
            _ => return None,
        })
    }

    /// Whether the flow counts as active (semantics S4.5).
    pub const fn is_active(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Established | Self::HalfClosed)
    }

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::TimeWait => "time-wait",
            Self::ResetLinger | Self::Terminated => "reset",
            Self::Resting => "resting",
        }
    }
}

/// Bits of [`FlowEntry::flags`].
pub mod flag {
    /// The client's FIN was seen.
    pub const CLIENT_FIN: u8 = 1 << 0;
    /// The target's FIN was seen.
    pub const TARGET_FIN: u8 = 1 << 1;
    /// The target has answered (UDP: the return path stays open).
    pub const ANSWERED: u8 = 1 << 2;
    /// The source address and port are the node's (full NAT); else the client's are preserved.
    pub const FULL_NAT: u8 = 1 << 3;
    /// The client's FIN was acknowledged by the target.
    pub const CLIENT_FIN_ACKED: u8 = 1 << 4;
    /// The target's FIN was acknowledged by the client.
    pub const TARGET_FIN_ACKED: u8 = 1 << 5;
    /// The target's side has a PROXY header before the client's first byte: sequence numbers differ by its length.
    pub const PROXY: u8 = 1 << 6;
    /// The target has acknowledged the whole PROXY header.
    pub const PROXY_ACKED: u8 = 1 << 7;
}

/// Places in [`FlowEntry::words`].
pub mod word {
    use std::mem::offset_of;

    use super::FlowEntry;

    /// Source and destination address of packets from the client; two words on, those of packets from the target.
    pub const ADDRESSES: usize = offset_of!(FlowEntry, client_ip) / 4;
    /// Source and destination port of packets from the client; one word on, those of packets from the target.
    pub const PORTS: usize = offset_of!(FlowEntry, client_port) / 4;
    /// The highest sequence number that the client has sent, plus 1; one word on, the target's.
    pub const ENDS: usize = offset_of!(FlowEntry, client_end) / 4;
    /// The client's highest acknowledgement; one word on, the target's.
    pub const ACKS: usize = offset_of!(FlowEntry, client_ack) / 4;

    /// What [`FlowEntry::kind`] says.
    pub(super) const KIND: usize = offset_of!(FlowEntry, protocol) / 4;

    const _: () = assert!(KIND * 4 + 1 == offset_of!(FlowEntry, state) && KIND * 4 + 2 == offset_of!(FlowEntry, flags));
    const _: () = assert!(ADDRESSES * 4 + 8 == offset_of!(FlowEntry, target_ip));
    const _: () = assert!(PORTS * 4 + 4 == offset_of!(FlowEntry, target_port));
    const _: () = assert!(ENDS * 4 + 4 == offset_of!(FlowEntry, target_end));
    const _: () = assert!(ACKS * 4 + 4 == offset_of!(FlowEntry, target_ack));
}

/// One flow. All fields are written and read by the lcore that owns the entry, and by nobody else.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowEntry {
    /// The client's address. IPv6: low half of the digest of client and node address.
    pub client_ip: u32,
    /// The address that the client sent to: the node's. IPv6: high half of the digest.
    pub vip: u32,
    /// The target's address. IPv6: low half of the digest of target and translated address.
    pub target_ip: u32,
    /// The address that the target answers to: the client's, or the node's under full NAT. IPv6: high half of the digest.
    pub nat_ip: u32,
    /// The client's port.
    pub client_port: u16,
    /// The listener's port.
    pub vport: u16,
    /// The target's port.
    pub target_port: u16,
    /// The port that the target answers to: the client's, or one of the pool under full NAT.
    pub nat_port: u16,
    /// IP protocol: TCP or UDP ([`protocol`]), and the [`family`] bits of both sides.
    pub protocol: u8,
    /// 0: free; else a [`FlowState`].
    pub state: u8,
    /// [`flag`] bits.
    pub flags: u8,
    /// Window scales: the client's in the low 4 bits, the target's in the high 4 bits.
    pub window_scales: u8,
    /// The target's slot.
    pub target_slot: u16,
    /// The generation of the target's slot.
    pub target_generation: u8,
    /// The port that the client's packets come from and answers leave by.
    pub client_side_port: u8,
    /// The MAC that the client's first packet came from: where answers go (auto last hop).
    pub client_mac: [u8; 6],
    /// The listener's slot.
    pub listener_slot: u16,
    /// When the timer last restarted, in seconds of the monotonic clock modulo 2¹⁶. In half-open states: the first packet.
    pub touched_s: u16,
    /// Layer-4 checksum delta from client to target: one's-complement sum of what the rewrite adds. The other way is its complement.
    pub l4_delta: u16,
    /// TCP: the client's initial sequence number. UDP: seconds (as `touched_s`) of the first packet.
    pub client_isn: u32,
    /// TCP: highest sequence number the client has sent, plus 1. Host order.
    pub client_end: u32,
    /// TCP: highest sequence number the target has sent, plus 1. In `SynSent`, as it has sent none yet: milliseconds of the monotonic clock
    /// at the first packet, modulo 2³².
    pub target_end: u32,
    /// TCP: highest acknowledgement of the client (of the target's data). In `SynSent`: how often the client has sent its SYN again.
    pub client_ack: u32,
    /// TCP: highest acknowledgement of the target (of the client's data).
    pub target_ack: u32,
}

impl FlowEntry {
    /// The state, if the entry is in use.
    #[inline(always)]
    pub fn state(&self) -> Option<FlowState> {
        FlowState::from_number(self.state)
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The IP protocol's number.
    #[inline(always)]
    pub const fn ip_protocol(&self) -> u8 {
        self.protocol & family::PROTOCOL
    }

    /// Whether the flow is of TCP.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.ip_protocol() == protocol::TCP
    }

    /// Whether the flow has IPv4 on both sides and no PROXY header.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        // As one word, so that one comparison tells.
        const OTHERS: u32 = (family::CLIENT_V6 | family::TARGET_V6) as u32 | (flag::PROXY as u32) << 16;
        u32::from_le_bytes([self.protocol, self.state, self.flags, self.window_scales]) & OTHERS == 0
    }

    /// The entry as words: addresses and ports of the packets of a side are at the same place as the other side's, but some words on, so
    /// that a side is an index ([`word`]).
    #[inline(always)]
    pub fn words(&self) -> &[u32; 16] {
        zerocopy::transmute_ref!(self)
    }

    /// As [`FlowEntry::words`], to be changed.
    #[inline(always)]
    pub fn words_mut(&mut self) -> &mut [u32; 16] {
        zerocopy::transmute_mut!(self)
    }

    /// Protocol with families, state, flags and window scales in one word, from the lowest byte on.
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        u32::from_le(self.words()[word::KIND])
    }

    /// The way back to the client in one word, from the lowest byte on: generation of the target's slot, egress port, MAC.
    #[inline(always)]
    pub fn way_back(&self) -> u64 {
        const AT: usize = offset_of!(FlowEntry, target_generation);
        const _: () =
            assert!(AT + 1 == offset_of!(FlowEntry, client_side_port) && AT + 2 == offset_of!(FlowEntry, client_mac));
        let bytes: &[u8; 64] = zerocopy::transmute_ref!(self);
        bytes[AT..].first_chunk().map_or(0, |way| u64::from_le_bytes(*way))
    }

    /// Whether the flow has a second line.
    #[inline(always)]
    pub const fn is_wide(&self) -> bool {
        self.protocol & (family::CLIENT_V6 | family::TARGET_V6) != 0
    }
}

impl FlowAddresses {
    /// Source and destination of packets from the client, then source and destination of packets from the target.
    #[inline(always)]
    pub fn by_side(&self) -> &[[u8; 32]; 2] {
        const _: () = assert!(offset_of!(FlowAddresses, target) == 32);
        zerocopy::transmute_ref!(self)
    }
}

/// The second line of a flow with IPv6 on at least one side: all four addresses, IPv4 as the IPv6 address that stands for it
/// (RFC 4291 §2.5.5.2). Written before the entry's state is, and not changed later, but for a resting flow's client.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowAddresses {
    /// The client's address.
    pub client: [u8; 16],
    /// The address that the client sent to: the node's.
    pub vip: [u8; 16],
    /// The target's address.
    pub target: [u8; 16],
    /// The address that the target answers to.
    pub nat: [u8; 16],
}

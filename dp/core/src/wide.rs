//! Rewriting packets of flows with IPv6 on at least one side: IPv6 to IPv6 here, between the two in [`crate::translate`].
//!
//! Changed, as in [`crate::rewrite`]: both MACs, hop limit, addresses, ports, and layer 4's checksum by the delta that the entry has.
//! Traffic class, flow label and extension headers stay.

use leat_abi::DropReason;
use leat_abi::flow::{FlowAddresses, FlowEntry, family};

use crate::frame::Frame;
use crate::parse::{ETHERNET, L4_V6, Meta, Piece};
use crate::rewrite::{self, Egress};
use crate::table::Side;
use crate::translate;

/// What a packet is to say when it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop<'a> {
    /// Source address; IPv4 as the IPv6 address that stands for it.
    pub source: [u8; 16],
    /// Destination address, of the same kind.
    pub destination: [u8; 16],
    /// Source port, as loaded.
    pub source_port: u16,
    /// Destination port, as loaded.
    pub destination_port: u16,
    /// The port that the receiver knows the client by, as loaded.
    pub client_port: u16,
    /// What layer 4's checksum changes by.
    pub l4_delta: u16,
    /// Where it goes.
    pub egress: &'a Egress,
}

impl<'a> Hop<'a> {
    #[inline(always)]
    fn new(entry: &FlowEntry, addresses: &FlowAddresses, side: Side, egress: &'a Egress) -> Self {
        match side {
            Side::Client => Self {
                source: addresses.nat,
                destination: addresses.target,
                source_port: entry.nat_port,
                destination_port: entry.target_port,
                client_port: entry.nat_port,
                l4_delta: entry.l4_delta,
                egress,
            },
            Side::Target => Self {
                source: addresses.vip,
                destination: addresses.client,
                source_port: entry.vport,
                destination_port: entry.client_port,
                client_port: entry.client_port,
                l4_delta: !entry.l4_delta,
                egress,
            },
        }
    }

    /// Rewrites what is behind the IP header: nothing, in a fragment that is not the first one.
    pub(crate) fn rewrite_l4(&self, segment: &mut [u8], meta: &Meta) {
        if meta.piece != Piece::Later {
            rewrite::apply_to_l4(segment, meta.tuple.is_tcp(), self.source_port, self.destination_port, self.l4_delta);
        }
    }
}

/// Whether packets that come from a side are of IPv6, and whether they are when they go on.
const fn is_v6(entry: &FlowEntry, side: Side) -> (bool, bool) {
    let client = entry.protocol & family::CLIENT_V6 != 0;
    let target = entry.protocol & family::TARGET_V6 != 0;
    match side {
        Side::Client => (client, target),
        Side::Target => (target, client),
    }
}

/// Whether a flow's packets change between IPv6 and IPv4.
pub const fn translates(entry: &FlowEntry) -> bool {
    let (from, to) = is_v6(entry, Side::Client);
    from != to
}

/// Bytes by which rewriting makes a packet longer; negative if shorter.
pub const fn growth(entry: &FlowEntry, side: Side, meta: &Meta) -> i32 {
    match is_v6(entry, side) {
        (true, false) => -(translate::shrinks(meta) as i32),
        (false, true) => translate::grows(meta.piece) as i32,
        _ => 0,
    }
}

/// As [`rewrite::apply`], for a flow with a second line.
///
/// # Errors
/// The frame has no room for what it should become, or cannot become that. It is to be dropped.
///
/// Not inlined: packets of IPv4 shall not have to go around it.
#[inline(never)]
pub fn apply<F: Frame>(
    frame: &mut F,
    entry: &FlowEntry,
    addresses: &FlowAddresses,
    side: Side,
    meta: &Meta,
    egress: Egress,
) -> Result<(), DropReason> {
    let hop = Hop::new(entry, addresses, side, &egress);
    match is_v6(entry, side) {
        (true, false) => translate::to_v4(frame, meta, &hop),
        (false, true) => translate::to_v6(frame, meta, &hop),
        _ => apply_v6(frame, meta, &hop),
    }
}

/// IPv6 to IPv6, padding cut (S18.4).
fn apply_v6<F: Frame>(frame: &mut F, meta: &Meta, hop: &Hop<'_>) -> Result<(), DropReason> {
    frame.truncate(ETHERNET + usize::from(meta.ip_len));
    let bytes = frame.bytes_mut();
    let Some(headers) = bytes.first_chunk_mut::<L4_V6>() else { return Err(DropReason::ShortFrame) };
    headers[0..6].copy_from_slice(&hop.egress.destination_mac);
    headers[6..12].copy_from_slice(&hop.egress.source_mac);
    let ip = &mut headers[ETHERNET..];
    ip[7] = ip[7].wrapping_sub(1);
    ip[8..24].copy_from_slice(&hop.source);
    ip[24..40].copy_from_slice(&hop.destination);
    if let Some(segment) = bytes.get_mut(usize::from(meta.l4)..) {
        hop.rewrite_l4(segment, meta);
    }
    Ok(())
}

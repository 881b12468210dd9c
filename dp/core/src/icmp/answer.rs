//! Turning a packet that is too big into the ICMP error that tells its sender the MTU (RFC 1191, RFC 4443 §3.2; S10.7, S11.7).

use leat_abi::flow::protocol;

use super::quote::HEADER;
use super::rewrite::{MTU_MIN, set_checksum};
use crate::checksum;
use crate::frame::Frame;
use crate::parse::{ETHERNET, L4, L4_V6, Meta};

/// Makes the frame, whose headers were found good, the error for its sender: from the address that it was sent to, with as much of it as
/// fits the packets that every host takes, never longer than what it answers. False, and nothing has changed, if it is too short for that.
pub fn too_big<F: Frame>(frame: &mut F, meta: &Meta, mtu: u16) -> bool {
    let is_v6 = meta.tuple.is_v6();
    let (l4, ip_max) = if is_v6 { (L4_V6, MTU_MIN.1) } else { (L4, MTU_MIN.0) };
    let shift = l4 - ETHERNET + HEADER;
    let length = meta.ip_len.min(ip_max);
    let end = ETHERNET + usize::from(length);
    let headers_end = usize::from(meta.l4) + 8 + shift;
    if end < headers_end || frame.bytes().len() < end {
        return false;
    }
    frame.truncate(end);
    let bytes = frame.bytes_mut();
    bytes.copy_within(ETHERNET..end - shift, ETHERNET + shift);
    let (to, from) = bytes[..12].split_at_mut(6);
    to.swap_with_slice(from);
    let (ip, rest) = bytes[ETHERNET..].split_at_mut(shift);
    let icmp = if is_v6 {
        ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, protocol::ICMPV6, 64]);
        ip[4..6].copy_from_slice(&(length - 40).to_be_bytes());
        ip[8..24].copy_from_slice(&rest[24..40]);
        ip[24..40].copy_from_slice(&rest[8..24]);
        [2, 0, 0, 0, 0, 0, 0, 0]
    } else {
        ip[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol::ICMP, 0, 0]);
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[12..16].copy_from_slice(&rest[16..20]);
        ip[16..20].copy_from_slice(&rest[12..16]);
        let sum = checksum::of(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        [3, 4, 0, 0, 0, 0, 0, 0]
    };
    let header = &mut ip[shift - HEADER..];
    header.copy_from_slice(&icmp);
    header[6..8].copy_from_slice(&if is_v6 { mtu.max(MTU_MIN.1) } else { mtu }.to_be_bytes());
    set_checksum(bytes, l4, is_v6);
    true
}

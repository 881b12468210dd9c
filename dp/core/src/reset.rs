//! Turning a TCP segment into the reset that answers it (RFC 9293 §3.10.7; semantics §5).

use crate::checksum;
use crate::frame::Frame;
use crate::parse::{ETHERNET, L4, Meta, tcp};

/// Bytes of a frame with a reset: Ethernet, IPv4 and TCP header.
const LENGTH: usize = L4 + 20;

/// Rewrites the frame, whose headers were found good and which is no reset itself, into the reset for its sender: addresses
/// swapped, 40 bytes of IP, TTL 64, never longer than what it answers.
pub fn answer<F: Frame>(frame: &mut F, meta: &Meta) {
    frame.truncate(LENGTH);
    let Some(bytes) = frame.bytes_mut().first_chunk_mut::<LENGTH>() else { return };
    let (seq, ack, flags) = if meta.has(tcp::ACK) {
        (meta.ack, 0, tcp::RST)
    } else {
        (0, meta.seq.wrapping_add(meta.seq_len()), tcp::RST | tcp::ACK)
    };
    let (ethernet, packet) = bytes.split_at_mut(ETHERNET);
    let (to, from) = ethernet[..12].split_at_mut(6);
    to.swap_with_slice(from);

    let (ip, segment) = packet.split_at_mut(20);
    ip[0..12].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    let (source, destination) = ip[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    let sum = checksum::of(&[ip]);
    ip[10..12].copy_from_slice(&sum.to_ne_bytes());

    segment[0..2].copy_from_slice(&meta.tuple.destination_port().to_ne_bytes());
    segment[2..4].copy_from_slice(&meta.tuple.source_port().to_ne_bytes());
    segment[4..8].copy_from_slice(&seq.to_be_bytes());
    segment[8..12].copy_from_slice(&ack.to_be_bytes());
    segment[12..20].copy_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
    let pseudo = [0, 6, 0, 20];
    let sum = checksum::of(&[&ip[12..20], &pseudo, segment]);
    segment[16..18].copy_from_slice(&sum.to_ne_bytes());
}

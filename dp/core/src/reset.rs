//! TCP resets: those that answer a segment (RFC 9293 §3.10.7; semantics §5), and others. No options, TTL or hop limit 64.

use leat_abi::flow::protocol;

use crate::address::Address;
use crate::checksum;
use crate::frame::Frame;
use crate::parse::{ETHERNET, L4, L4_V6, Meta, tcp};

/// Bytes of TCP's header.
const TCP: usize = 20;

/// Rewrites the frame, whose headers were found good and which is no reset itself, into the reset for its sender: addresses
/// swapped, 40 bytes of IPv4 or 60 of IPv6, never longer than what it answers.
pub fn answer<F: Frame>(frame: &mut F, meta: &Meta) {
    let ends = meta.ends(frame.bytes());
    let Some(&[a, b, c, d, e, f, g, h, i, j, k, l]) = frame.bytes().first_chunk::<12>() else { return };
    let (seq, ack, flags) = if meta.has(tcp::ACK) {
        (meta.ack, 0, tcp::RST)
    } else {
        (0, meta.seq.wrapping_add(meta.seq_len()), tcp::RST | tcp::ACK)
    };
    let addresses = [ends.destination, ends.source];
    let ports = [meta.tuple.destination_port(), meta.tuple.source_port()];
    let reset = Reset { addresses, ports, seq, ack, flags };
    frame.truncate(reset.length());
    reset.write(frame.bytes_mut(), [g, h, i, j, k, l], [a, b, c, d, e, f]);
}

/// A reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Source and destination, both of one kind.
    pub addresses: [Address; 2],
    /// Ports of source and destination, as loaded.
    pub ports: [u16; 2],
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; 0 without [`tcp::ACK`].
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
}

impl Reset {
    /// Bytes of the frame.
    pub const fn length(&self) -> usize {
        TCP + if self.addresses[0].is_v4() { L4 } else { L4_V6 }
    }

    /// Writes the frame into the first [`Reset::length`] bytes; where there are fewer, nothing.
    pub fn write(&self, frame: &mut [u8], destination_mac: [u8; 6], source_mac: [u8; 6]) {
        let [source, destination] = self.addresses;
        let Some(frame) = frame.get_mut(..self.length()) else { return };
        let Some((ethernet, packet)) = frame.split_first_chunk_mut::<ETHERNET>() else { return };
        let Some((ip, segment)) = packet.split_last_chunk_mut::<TCP>() else { return };
        ethernet[0..6].copy_from_slice(&destination_mac);
        ethernet[6..12].copy_from_slice(&source_mac);
        ethernet[12..14].copy_from_slice(if source.is_v4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        if let Some(ip) = ip.first_chunk_mut::<40>() {
            ip[0..8].copy_from_slice(&[0x60, 0, 0, 0, 0, TCP as u8, protocol::TCP, 64]);
            ip[8..24].copy_from_slice(&source.octets());
            ip[24..40].copy_from_slice(&destination.octets());
        } else if let Some(ip) = ip.first_chunk_mut::<20>() {
            ip[0..12].copy_from_slice(&[0x45, 0, 0, 20 + TCP as u8, 0, 0, 0x40, 0, 64, protocol::TCP, 0, 0]);
            ip[12..16].copy_from_slice(&source.loaded().to_ne_bytes());
            ip[16..20].copy_from_slice(&destination.loaded().to_ne_bytes());
            let sum = checksum::of(&[ip]);
            ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
        segment[0..2].copy_from_slice(&self.ports[0].to_ne_bytes());
        segment[2..4].copy_from_slice(&self.ports[1].to_ne_bytes());
        segment[4..8].copy_from_slice(&self.seq.to_be_bytes());
        segment[8..12].copy_from_slice(&self.ack.to_be_bytes());
        segment[12..20].copy_from_slice(&[0x50, self.flags, 0, 0, 0, 0, 0, 0]);
        // What an IPv4 address has before it, as one of 128 bits, is a zero of one's complement.
        let pseudo = [0, protocol::TCP, 0, TCP as u8];
        let sum = checksum::of(&[&source.octets(), &destination.octets(), &pseudo, segment]);
        segment[16..18].copy_from_slice(&sum.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Too little room is left alone; more than enough, too, beyond the frame.
    #[test]
    fn a_frame_of_its_own_length() {
        for (source, destination, length) in [
            (Address::v4(1), Address::v4(2), 54),
            (Address::from_octets([0x20; 16]), Address::from_octets([0x21; 16]), 74),
        ] {
            let reset = Reset { addresses: [source, destination], ports: [1, 2], seq: 3, ack: 0, flags: tcp::RST };
            assert_eq!(reset.length(), length);
            let mut room = vec![7; length - 1];
            reset.write(&mut room, [1; 6], [2; 6]);
            assert!(room.iter().all(|byte| *byte == 7));
            room.resize(length + 5, 7);
            reset.write(&mut room, [1; 6], [2; 6]);
            assert_eq!((&room[..12], &room[length..]), (&[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2][..], &[7; 5][..]));
        }
    }
}

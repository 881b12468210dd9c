//! A TCP segment made here, of either kind of IP.

use leat_abi::flow::protocol;

use crate::address::Address;
use crate::checksum;
use crate::parse::{ETHERNET, L4, L4_V6};
use crate::rewrite::Egress;

/// Hop limit of what is made here.
const HOPS: u8 = 64;

/// A segment: everything but the checksums. Ports as loaded, addresses of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// MACs.
    pub egress: Egress,
    /// Source address and port.
    pub source: (Address, u16),
    /// Destination address and port.
    pub destination: (Address, u16),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Options, a multiple of 4 bytes and 40 at the most.
    pub options: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    fn header_length(&self) -> usize {
        20 + self.options.len()
    }

    fn l4(&self) -> usize {
        if self.source.0.is_v4() { L4 } else { L4_V6 }
    }

    /// Bytes of the frame.
    pub fn length(&self) -> usize {
        self.l4() + self.header_length() + self.payload.len()
    }

    /// Writes the frame into bytes of its length.
    pub fn write(&self, frame: &mut [u8]) {
        let Some((headers, segment)) = frame.split_at_mut_checked(self.l4()) else { return };
        let Some((ethernet, ip)) = headers.split_first_chunk_mut::<ETHERNET>() else { return };
        ethernet[0..6].copy_from_slice(&self.egress.destination_mac);
        ethernet[6..12].copy_from_slice(&self.egress.source_mac);
        ethernet[12..14].copy_from_slice(if self.source.0.is_v4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });

        let Some((header, rest)) = segment.split_first_chunk_mut::<20>() else { return };
        header[0..2].copy_from_slice(&self.source.1.to_ne_bytes());
        header[2..4].copy_from_slice(&self.destination.1.to_ne_bytes());
        header[4..8].copy_from_slice(&self.seq.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.to_be_bytes());
        header[12] = (self.header_length() as u8 / 4) << 4;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[16..20].fill(0);
        if rest.len() == self.options.len() + self.payload.len() {
            let (options, payload) = rest.split_at_mut(self.options.len());
            options.copy_from_slice(self.options);
            payload.copy_from_slice(self.payload);
        }

        let length = (segment.len() as u16).to_be_bytes();
        let (source, destination) = (self.source.0.octets(), self.destination.0.octets());
        // The pseudo-headers differ in the addresses alone, and all of IPv4's in front of them is the same in both.
        let pseudo = [0, protocol::TCP, length[0], length[1]];
        let addresses = if self.source.0.is_v4() { 12.. } else { 0.. };
        let (source, destination) = (&source[addresses.clone()], &destination[addresses]);
        let sum = checksum::of(&[source, destination, &pseudo, segment]);
        if let Some(place) = segment.get_mut(16..18) {
            place.copy_from_slice(&sum.to_ne_bytes());
        }
        if let Some(ip) = ip.first_chunk_mut::<40>() {
            ip[0..8].copy_from_slice(&[0x60, 0, 0, 0, length[0], length[1], protocol::TCP, HOPS]);
            ip[8..24].copy_from_slice(source);
            ip[24..40].copy_from_slice(destination);
        } else if let Some(ip) = ip.first_chunk_mut::<20>() {
            let total = (20 + segment.len() as u16).to_be_bytes();
            ip[0..12].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, HOPS, protocol::TCP, 0, 0]);
            ip[12..16].copy_from_slice(source);
            ip[16..20].copy_from_slice(destination);
            let sum = checksum::of(&[ip]);
            ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{self, Parsed};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use std::net::IpAddr;

    /// Another reader finds what was to be written, and all checksums right.
    #[test]
    fn another_reader_reads_it() {
        let pairs = [("10.1.0.10", "10.2.0.11"), ("fd00::10", "fd00:2::11")];
        for (source, destination) in pairs {
            for (options, payload) in
                [(&[][..], &b""[..]), (&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], b"odd"), (&[], b"even")]
            {
                let address = |text: &str| Address::from(text.parse::<IpAddr>().expect("an address"));
                let segment = Segment {
                    egress: Egress { destination_mac: [2; 6], source_mac: [4; 6] },
                    source: (address(source), 4660u16.to_be()),
                    destination: (address(destination), 8080u16.to_be()),
                    seq: 0x0102_0304,
                    ack: 0x0506_0708,
                    flags: 0x18,
                    window: 500,
                    options,
                    payload,
                };
                let mut frame = vec![0; segment.length()];
                segment.write(&mut frame);
                let Parsed::Flow(meta) = parse::frame(&frame, [2; 6], 1) else { panic!("no good frame") };
                assert_eq!((meta.seq, meta.ack, meta.flags, meta.window), (0x0102_0304, 0x0506_0708, 0x18, 500));
                let read = SlicedPacket::from_ethernet(&frame).expect("a packet");
                let Some(TransportSlice::Tcp(tcp)) = read.transport else { panic!("no TCP") };
                assert_eq!((tcp.source_port(), tcp.destination_port()), (4660, 8080));
                assert_eq!((tcp.options(), tcp.payload()), (options, payload));
                let expected = match read.net {
                    Some(NetSlice::Ipv4(ip)) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
                    Some(NetSlice::Ipv6(ip)) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
                    _ => panic!("no IP"),
                };
                assert_eq!(expected.expect("short"), tcp.checksum());
            }
        }
    }
}

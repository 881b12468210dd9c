//! The bytes of a PROXY protocol header, version 2 (the protocol's specification §2.2; semantics S8.8).
//!
//! Its length follows from the kind of the client's addresses alone: what follows the addresses is always [`VECTORS`] bytes. So it need
//! not be kept: whoever knows the flow knows the header.

use arrayvec::ArrayVec;
use leat_abi::flow::{FlowEntry, family};
use leat_abi::snapshot::ENDPOINT_ID_MAX;

use crate::address::Address;

/// Bytes of all type-length-value vectors together.
const VECTORS: usize = 72;
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// Bytes of the header for a client with IPv4.
pub const LENGTH: usize = FIXED + 12 + VECTORS;
/// Bytes of the header for a client with IPv6.
pub const LENGTH_V6: usize = FIXED + 36 + VECTORS;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
/// Stream sockets of IPv4, of IPv6.
const FAMILY: [u8; 2] = [0x11, 0x21];

/// Types of vectors.
mod kind {
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const NOOP: u8 = 0x04;
    /// A custom one, with a subtype first.
    pub(super) const ENDPOINT: u8 = 0xea;
    pub(super) const ENDPOINT_ID: u8 = 0x01;
}

// With the longest id there is still room for an empty vector of padding, so that no length in between cannot be filled.
const _: () = assert!(7 + 4 + ENDPOINT_ID_MAX + 3 <= VECTORS);

/// The length of the header of a flow.
#[inline(always)]
pub fn length(entry: &FlowEntry) -> u32 {
    (if entry.protocol & family::CLIENT_V6 == 0 { LENGTH } else { LENGTH_V6 }) as u32
}

/// A header.
pub type Header = ArrayVec<u8, LENGTH_V6>;

/// The header for a connection of this client to this node address, both of one kind, ports as loaded; with the id of the endpoint
/// that the client came through.
pub fn bytes(client: (Address, u16), node: (Address, u16), endpoint: Option<&str>) -> Header {
    let mut header = Header::new();
    // It always fits.
    let mut put = |bytes: &[u8]| {
        header.try_extend_from_slice(bytes).ok();
    };
    let is_v4 = client.0.is_v4();
    let (family, length) = if is_v4 { (FAMILY[0], LENGTH) } else { (FAMILY[1], LENGTH_V6) };
    let [high, low] = ((length - FIXED) as u16).to_be_bytes();
    put(SIGNATURE);
    put(&[VERSION_COMMAND, family, high, low]);
    for (address, _) in [client, node] {
        put(&address.octets()[if is_v4 { 12 } else { 0 }..]);
    }
    put(&client.1.to_ne_bytes());
    put(&node.1.to_ne_bytes());
    let crc_at = length - VECTORS + 3;
    put(&[kind::CRC32C, 0, 4, 0, 0, 0, 0]);
    let mut left = VECTORS - 7;
    if let Some(id) = endpoint.filter(|id| id.len() <= ENDPOINT_ID_MAX) {
        put(&[kind::ENDPOINT, 0, 1 + id.len() as u8, kind::ENDPOINT_ID]);
        put(id.as_bytes());
        left -= 4 + id.len();
    }
    put(&[kind::NOOP, 0, (left - 3) as u8]);
    put(&[0; VECTORS][..left - 3]);
    // Of all bytes, its own being zero.
    let crc = crc32c::crc32c(&header);
    if let Some(place) = header.get_mut(crc_at..crc_at + 4) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppp::v2::{Addresses, Command, Protocol};
    use std::net::{IpAddr, SocketAddr};

    /// CRC-32C, bit by bit (RFC 9260 appendix A).
    fn crc32c(bytes: &[u8]) -> u32 {
        let bit = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
    }

    fn socket(text: &str) -> (SocketAddr, (Address, u16)) {
        let socket: SocketAddr = text.parse().expect("a socket");
        let ip: IpAddr = socket.ip();
        (socket, (ip.into(), socket.port().to_be()))
    }

    /// A decoder that is not ours reads what was written, for any length of an endpoint's id. req: PP2-01, PP2-03, PP2-06, PP2-07, S8.8
    #[test]
    fn another_decoder_reads_it() {
        let kinds = [("198.51.100.7:40001", "10.1.0.10:443", 0x54), ("[2001:db8::7]:40001", "[fd00:1::10]:443", 108)];
        let longest = "vpce-08d2bf15fac5001c9".repeat(3);
        for (client, node, length) in kinds {
            for id_length in 0..=ENDPOINT_ID_MAX {
                let id = (id_length > 0).then(|| &longest[..id_length]);
                let header = bytes(socket(client).1, socket(node).1, id);
                assert_eq!(header.len(), 16 + length);
                let read = ppp::v2::Header::try_from(&header[..]).expect("a good header");
                assert_eq!((read.command, read.protocol, read.length()), (Command::Proxy, Protocol::Stream, length));
                assert_eq!(read.addresses, Addresses::from((socket(client).0, socket(node).0)));
                let vectors: Vec<_> = read.tlvs().map(|vector| vector.expect("a good vector")).collect();
                let zeroed = [&header[..header.len() - 69], &[0; 4], &header[header.len() - 65..]].concat();
                assert_eq!(vectors[0].kind, 0x03);
                assert_eq!(*vectors[0].value, crc32c(&zeroed).to_be_bytes());
                let named: Vec<_> = vectors[1..].iter().filter(|vector| vector.kind != 0x04).collect();
                match id {
                    Some(id) => {
                        assert_eq!((named.len(), named[0].kind), (1, 0xea));
                        assert_eq!(*named[0].value, [b"\x01", id.as_bytes()].concat());
                    }
                    None => assert!(named.is_empty()),
                }
                let padding = vectors.last().expect("vectors");
                assert_eq!((padding.kind, padding.value.iter().all(|byte| *byte == 0)), (0x04, true));
            }
        }
    }

    /// The layout that was observed. req: PP2-01, PP2-07
    #[test]
    fn the_layout_is_the_observed_one() {
        let header = bytes(socket("192.0.2.1:4660").1, socket("10.1.0.10:80").1, Some("vpce-08d2bf15fac5001c9"));
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x54");
        assert_eq!(header[16..28], [192, 0, 2, 1, 10, 1, 0, 10, 0x12, 0x34, 0, 80]);
        assert_eq!((&header[28..31], &header[35..39]), (&[3, 0, 4][..], &[0xea, 0, 23, 1][..]));
        assert_eq!((&header[39..61], &header[61..64]), (&b"vpce-08d2bf15fac5001c9"[..], &[4, 0, 36][..]));
    }
}

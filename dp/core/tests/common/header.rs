//! PROXY headers as the tests expect them, made by code that is not ours: every byte said here, the checksum bit by bit.

use std::net::{IpAddr, SocketAddr};

/// CRC-32C, bit by bit (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// The header of a connection of a client to a node address, that came through an endpoint or not.
pub fn header(client: SocketAddr, node: SocketAddr, endpoint: Option<&str>) -> Vec<u8> {
    let mut addresses = Vec::new();
    for ip in [client.ip(), node.ip()] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    [client.port(), node.port()].iter().for_each(|port| addresses.extend(port.to_be_bytes()));
    let named = endpoint.map_or(Vec::new(), |id| [&[0xea, 0, id.len() as u8 + 1, 1], id.as_bytes()].concat());
    let padding = 72 - 7 - named.len() - 3;
    let with = |crc: u32| {
        let mut header = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A\x21".to_vec();
        header.push(if client.is_ipv4() { 0x11 } else { 0x21 });
        header.extend((addresses.len() as u16 + 72).to_be_bytes());
        header.extend(&addresses);
        header.extend([3, 0, 4]);
        header.extend(crc.to_be_bytes());
        header.extend(&named);
        header.extend([4, 0, padding as u8]);
        header.resize(header.len() + padding, 0);
        header
    };
    with(crc32c(&with(0)))
}

//! Reads a PROXY protocol header, version 2, as a target does (haproxy.org, "The PROXY protocol", section 2.2). Numbers in it are
//! big-endian.

use anyhow::{Result, bail, ensure};
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Takes the header from the beginning of a connection, and nothing that follows. The client that it names, or `None` when the other
/// end speaks for itself, as health checks do.
///
/// # Errors
/// When the connection does not begin with such a header.
pub fn read_client(connection: &mut impl Read) -> Result<Option<SocketAddr>> {
    let mut fixed = [0; 16];
    connection.read_exact(&mut fixed)?;
    let (signature, [command, family, length @ ..]) = (&fixed[..12], [fixed[12], fixed[13], fixed[14], fixed[15]]);
    ensure!(signature == SIGNATURE, "begins with {fixed:02x?}");
    let mut rest = vec![0; usize::from(u16::from_be_bytes(length))];
    connection.read_exact(&mut rest)?;
    match (command, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_OVER_IPV4) if rest.len() >= 12 => {
            let source = Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]);
            Ok(Some(SocketAddr::from((source, u16::from_be_bytes([rest[8], rest[9]])))))
        }
        (PROXY, TCP_OVER_IPV6) if rest.len() >= 36 => {
            let mut source = [0; 16];
            source.copy_from_slice(&rest[..16]);
            let port = u16::from_be_bytes([rest[32], rest[33]]);
            Ok(Some(SocketAddr::from((Ipv6Addr::from(source), port))))
        }
        _ => bail!("a header with command {command:#x}, family {family:#x}, {} bytes", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn both_families_and_local_are_read_to_their_end() {
        let addresses = [10, 1, 0, 100, 10, 1, 0, 10, 0x12, 0x34, 0, 80];
        let extra = [&addresses[..], &[3, 0, 1, 7]].concat();
        for rest in [&addresses[..], &extra] {
            let bytes = [header(0x21, 0x11, rest), b"data".to_vec()].concat();
            let mut left = &bytes[..];
            assert_eq!(read_client(&mut left).unwrap(), Some("10.1.0.100:4660".parse().unwrap()));
            assert_eq!(left, b"data");
        }
        let mut ipv6 = [0; 36];
        ipv6[15] = 1;
        ipv6[33] = 9;
        assert_eq!(read_client(&mut &header(0x21, 0x21, &ipv6)[..]).unwrap(), Some("[::1]:9".parse().unwrap()));
        assert_eq!(read_client(&mut &header(0x20, 0, &[])[..]).unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), header(0x21, 0x11, &[0; 11]), header(0x31, 0x11, &[0; 12])] {
            assert!(read_client(&mut &bytes[..]).is_err());
        }
        assert!(read_client(&mut &header(0x21, 0x11, &[0; 12])[..20]).is_err());
    }
}

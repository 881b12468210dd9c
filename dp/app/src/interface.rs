//! What the kernel says of a network interface: its MTU and whether its link is up. Asked over rtnetlink, which speaks of this
//! process's network namespace; sysfs may show another one's.
//!
//! Byte order: netlink's is the host's (`rtnetlink(7)`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// An interface as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is up and its link as well.
    pub link_up: bool,
}

/// A way to ask.
#[derive(Debug)]
pub struct Kernel {
    socket: OwnedFd,
}

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// Bytes of `struct nlmsghdr`, and of it together with `struct ifinfomsg`.
const HEADER: usize = 16;
const HEADERS: usize = 32;

impl Kernel {
    /// Opens a socket.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 is rtnetlink.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Self { socket })
    }

    /// The interface of this name; none if there is none.
    pub fn interface(&self, name: &str) -> io::Result<Option<Interface>> {
        rustix::net::send(&self.socket, &request(name), SendFlags::empty())?;
        let mut answer = vec![0; 1 << 15];
        let (length, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        match read(&answer[..length]) {
            Ok(interface) => Ok(Some(interface)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn request(name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let length = HEADERS + attribute.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(RTM_GETLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.resize(HEADERS, 0);
    bytes.extend((attribute as u16).to_ne_bytes());
    bytes.extend(IFLA_IFNAME.to_ne_bytes());
    bytes.extend(name.as_bytes());
    bytes.resize(length, 0);
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn read(answer: &[u8]) -> io::Result<Interface> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense");
    match u16_at(answer, 4) {
        Some(RTM_NEWLINK) => {}
        Some(NLMSG_ERROR) => {
            let error = u32_at(answer, HEADER).ok_or_else(odd)? as i32;
            return Err(io::Error::from_raw_os_error(error.saturating_neg()));
        }
        _ => return Err(odd()),
    }
    let flags = u32_at(answer, HEADER + 8).ok_or_else(odd)?;
    let mtu = attribute(answer, IFLA_MTU).and_then(|value| u32_at(value, 0)).ok_or_else(odd)?;
    Ok(Interface { mtu, link_up: flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP })
}

fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(HEADERS..)?;
    loop {
        let (length, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_others_are_not() {
        let kernel = Kernel::new().unwrap();
        let lo = kernel.interface("lo").unwrap().expect("every namespace has one");
        assert!(lo.mtu >= 1280, "{lo:?}");
        assert_eq!(kernel.interface("leat-none").unwrap(), None);
        // The socket goes on after an error.
        assert_eq!(kernel.interface("lo").unwrap(), Some(lo));
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let mut answer = vec![0; HEADERS];
        answer[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        answer[HEADER + 8..HEADER + 12].copy_from_slice(&(IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        for attribute in [[5u16, 99], [8, IFLA_MTU]] {
            answer.extend(attribute.map(u16::to_ne_bytes).concat());
            answer.extend([220, 5, 0, 0].map(|b: u8| b));
        }
        // The first attribute has one byte and three of padding.
        assert_eq!(u32_at(attribute(&answer, IFLA_MTU).unwrap(), 0), Some(u32::from_ne_bytes([220, 5, 0, 0])));
        assert!(read(&answer).unwrap().link_up);
        for length in 0..answer.len() {
            assert!(read(&answer[..length]).is_err(), "{length}");
        }
    }
}

//! Who is where: clients, the service they ask for, the targets behind the device, and the MAC addresses between them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::flow::Endpoint;
use crate::frame::Macs;

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        let bytes = <[u8; 6]>::try_from(bytes).ok().context("a MAC address has six bytes, as in 02:00:00:00:00:01")?;
        ensure!(bytes[0] & 1 == 0, "this is a multicast address");
        Ok(Self(bytes))
    }
}

/// IPv4 addresses from one to another: `10.0.0.1-10.0.3.232`, `10.0.0.0/22` or one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Addresses {
    /// Whether this is one of them.
    #[inline(always)]
    pub fn contain(self, address: u32) -> bool {
        address.wrapping_sub(self.first) < self.count
    }
}

impl FromStr for Addresses {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = if let Some((address, bits)) = text.split_once('/') {
            let bits: u32 =
                bits.parse().ok().filter(|bits| (1..=32).contains(bits)).context("a prefix is 1 to 32 bits long")?;
            let size = (1u64 << (32 - bits)) - 1;
            let first = u32::from(address.parse::<Ipv4Addr>()?) & !(size as u32);
            (first, first + size as u32)
        } else {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.parse::<Ipv4Addr>()?.into(), last.parse::<Ipv4Addr>()?.into())
        };
        match u32::checked_sub(last, first) {
            Some(more) => Ok(Self { first, count: more.saturating_add(1) }),
            None => bail!("the last address is before the first"),
        }
    }
}

/// Ports from one to another: `1024-65535`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    count: u32,
}

impl FromStr for Ports {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u16, u16) = (first.parse()?, last.parse()?);
        ensure!(0 < first && first <= last, "ports are 1 to 65535, the lower one first");
        Ok(Self { first, count: u32::from(last - first) + 1 })
    }
}

/// What is done to packets on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// Clients' packets go to a target that the device chooses, the target's go back to the client (a load balancer)
    Nat,
    /// Every packet comes back as it was sent (testpmd's io)
    Io,
    /// The same with the MAC addresses swapped (testpmd's macswap)
    Macswap,
    /// The same with IP addresses and ports swapped as well (testpmd's 5tswap)
    #[value(name = "5tswap")]
    FiveTupleSwap,
}

/// What targets are to see as the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// Whatever: it must only stay the same for a flow
    Any,
    /// The client's own
    Preserved,
    /// Not the client's own
    Translated,
}

/// Who is where.
#[derive(Debug, Clone)]
pub struct Site {
    /// What is done to packets.
    pub device: Device,
    /// Clients' addresses.
    pub clients: Addresses,
    /// Clients' ports.
    pub client_ports: Ports,
    /// What clients ask for.
    pub service: SocketAddrV4,
    /// Targets' addresses.
    pub targets: Addresses,
    /// Targets' port.
    pub target_port: u16,
    /// What targets are to see.
    pub source: Source,
    /// MAC addresses of the clients' and the targets' side.
    pub macs: [[u8; 6]; 2],
    /// MAC addresses of the device towards clients and towards targets.
    pub device_macs: [[u8; 6]; 2],
}

impl Site {
    /// Flows that clients' addresses and ports suffice for.
    pub fn flows_max(&self) -> u64 {
        u64::from(self.clients.count) * u64::from(self.client_ports.count)
    }

    /// The client of a flow. Neighbouring flows have neighbouring ports.
    pub fn client(&self, flow: u32) -> Endpoint {
        let Ports { first, count } = self.client_ports;
        Endpoint::new(self.clients.first + flow / count, first + (flow % count) as u16)
    }

    /// The service as it stands in frames.
    pub fn service(&self) -> Endpoint {
        self.service.into()
    }

    /// Whether this is a target's socket.
    #[inline(always)]
    pub fn is_target(&self, end: Endpoint) -> bool {
        self.targets.contain(end.address()) && end.number() == self.target_port
    }

    /// Whether a target may see a client so.
    #[inline(always)]
    pub fn may_be_seen(&self, client: Endpoint, seen: Endpoint) -> bool {
        match self.source {
            Source::Any => true,
            Source::Preserved => seen == client,
            Source::Translated => seen.ip != client.ip,
        }
    }

    /// The MAC addresses of frames that are sent in a direction.
    pub fn sent_macs(&self, lane: usize) -> Macs {
        [self.device_macs[lane], self.macs[lane]]
    }

    /// The destination MAC address with which packets of a direction arrive.
    pub fn arriving_mac(&self, lane: usize) -> [u8; 6] {
        match self.device {
            Device::Nat => self.macs[1 - lane],
            Device::Io => self.device_macs[lane],
            Device::Macswap | Device::FiveTupleSwap => self.macs[lane],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let range = |text: &str| text.parse::<Addresses>().ok().map(|a| (Ipv4Addr::from(a.first).to_string(), a.count));
        assert_eq!(range("10.2.0.0-10.2.3.231"), Some(("10.2.0.0".into(), 1000)));
        assert_eq!(range("10.2.3.4/22"), Some(("10.2.0.0".into(), 1024)));
        assert_eq!(range("10.2.3.4"), Some(("10.2.3.4".into(), 1)));
        assert_eq!(range("10.2.3.4-10.2.3.3"), None);
        assert_eq!(range("10.2.3.4/0"), None);
        assert!("03:00:00:00:00:01".parse::<Mac>().is_err());
    }
}

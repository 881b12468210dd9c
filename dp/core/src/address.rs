//! An address of either kind, in 128 bits: IPv4 as the IPv6 address that stands for it (RFC 4291 §2.5.5.2). No packet that passes
//! [`crate::parse`] has such an address as IPv6, so that the two kinds never meet.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 or IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address(u128);

const MAPPED: u128 = 0xffff;

impl Address {
    /// An IPv4 address in network order as loaded.
    #[inline(always)]
    pub const fn v4(loaded: u32) -> Self {
        Self(MAPPED << 32 | u32::from_be(loaded) as u128)
    }

    /// The address of these 16 bytes.
    #[inline(always)]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }

    /// Its 16 bytes.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Whether it is IPv4.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == MAPPED
    }

    /// An IPv4 address in network order as loaded; of IPv6 the last 32 bits.
    #[inline(always)]
    pub const fn loaded(self) -> u32 {
        (self.0 as u32).to_be()
    }

    /// The first 64 bits, for IPv6: the network of a client (S14.4).
    pub const fn network_64(self) -> Self {
        if self.is_v4() { self } else { Self(self.0 >> 64 << 64) }
    }

    /// Two words in which all of it is.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        [(self.0 >> 64) as u64, self.0 as u64]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        })
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from_bits(address.0).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn both_kinds_go_there_and_back() {
        let v4 = Ipv4Addr::new(10, 1, 2, 3);
        let loaded = u32::from_ne_bytes(v4.octets());
        assert_eq!(Address::v4(loaded), Address::from(IpAddr::V4(v4)));
        assert_eq!((Address::v4(loaded).loaded(), Address::v4(loaded).is_v4()), (loaded, true));
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
        let address = Address::from(IpAddr::V6(v6));
        assert_eq!((address.octets(), address.is_v4()), (v6.octets(), false));
        assert_eq!(IpAddr::from(address), IpAddr::V6(v6));
        assert_eq!(IpAddr::from(address.network_64()), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0)));
        assert_eq!(Address::v4(loaded).network_64(), Address::v4(loaded));
    }
}

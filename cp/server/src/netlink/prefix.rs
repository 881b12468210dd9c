//! An address with a prefix length, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and the length of its network part, 0–32, of IPv6 0–128. Keeps the host part: `10.1.0.2/24` is an interface address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub length: u8,
}

impl Prefix {
    /// One address alone.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: bits(address) }
    }

    /// All addresses of the kind that `like` has: the default route's network.
    pub fn all(like: IpAddr) -> Self {
        let address = match like {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { address, length: 0 }
    }

    /// Whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && network(self.address, self.length) == network(address, self.length)
    }

    /// The same network without its host part.
    pub fn network(&self) -> Self {
        Self { address: network(self.address, self.length), length: self.length }
    }
}

/// How long an address is.
pub fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `length` bits of `address`.
fn network(address: IpAddr, length: u8) -> IpAddr {
    let rest = u32::from(bits(address).saturating_sub(length));
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into(),
    }
}

/// Why a text is not a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No `/`.
    #[error("\"{0}\" has no prefix length; write ADDRESS/LENGTH, for example 10.1.0.2/24")]
    NoLength(String),
    /// What stands before the `/`.
    #[error("\"{0}\" is not an address; write ADDRESS/LENGTH, for example 10.1.0.2/24 or fd00:1::2/64")]
    Address(String),
    /// What stands behind it.
    #[error("\"{0}\" is not a prefix length; it must be a number from 0 to 32, of IPv6 from 0 to 128")]
    Length(String),
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `10.1.0.2/24`.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.split_once('/').ok_or_else(|| PrefixError::NoLength(text.into()))?;
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(address.into()))?;
        // No sign, no leading zeros: what `ip` prints.
        let length = match length.parse::<u8>() {
            Ok(number) if number <= bits(address) && number.to_string() == length => number,
            _ => return Err(PrefixError::Length(length.into())),
        };
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["10.1.0.2/24", "0.0.0.0/0", "255.255.255.255/32", "fd00:1::2/64", "::/0", "fd00::1/128"] {
            assert_eq!(text.parse::<Prefix>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Prefix>().expect_err(text);
        assert_eq!(error("10.1.0.2"), PrefixError::NoLength("10.1.0.2".into()));
        assert_eq!(error("10.1.0/24"), PrefixError::Address("10.1.0".into()));
        assert_eq!(error("fd00::1/129"), PrefixError::Length("129".into()));
        for length in ["33", "-1", "+8", "08", "", "256", " 8"] {
            assert_eq!(error(&format!("10.1.0.2/{length}")), PrefixError::Length(length.into()));
        }
        assert!(error("10.1.0.2").to_string().contains("10.1.0.2/24"));
    }

    #[test]
    fn contains_its_network() {
        let prefix: Prefix = "10.1.0.2/24".parse().expect("a prefix");
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        assert!(prefix.contains(address("10.1.0.255")));
        assert!(!prefix.contains(address("10.1.1.0")) && !prefix.contains(address("fd00::1")));
        assert_eq!(prefix.network().to_string(), "10.1.0.0/24");
        assert!(Prefix::all(address("10.0.0.1")).contains(address("255.255.255.255")));
        assert!(!Prefix::host(address("127.0.0.1")).contains(address("127.0.0.2")));
        let prefix: Prefix = "fd00:1::2/64".parse().expect("a prefix");
        assert!(prefix.contains(address("fd00:1::ffff:0:0:1")) && !prefix.contains(address("fd00:1:0:1::")));
        assert_eq!(prefix.network().to_string(), "fd00:1::/64");
        assert!(Prefix::all(address("fd00::1")).contains(address("2001:db8::1")));
        assert!(!Prefix::all(address("fd00::1")).contains(address("10.0.0.1")));
    }
}

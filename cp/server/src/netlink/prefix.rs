//! An IPv4 address with a prefix length, as people write it.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address and the length of its network part, 0–32. Keeps the host part: `10.1.0.2/24` is an interface address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the network part.
    pub length: u8,
}

impl Prefix {
    /// One address alone.
    pub fn host(address: Ipv4Addr) -> Self {
        Self { address, length: 32 }
    }

    /// Whether `address` is in this network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        network(self.address, self.length) == network(address, self.length)
    }

    /// The same network without its host part.
    pub fn network(&self) -> Self {
        Self { address: network(self.address, self.length), length: self.length }
    }
}

/// The first `length` bits of `address`.
fn network(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

/// Why a text is not a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No `/`.
    #[error("\"{0}\" has no prefix length; write ADDRESS/LENGTH, for example 10.1.0.2/24")]
    NoLength(String),
    /// What stands before the `/`.
    #[error("\"{0}\" is not an IPv4 address; write ADDRESS/LENGTH, for example 10.1.0.2/24")]
    Address(String),
    /// What stands behind it.
    #[error("\"{0}\" is not a prefix length; it must be a number from 0 to 32")]
    Length(String),
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `10.1.0.2/24`, or `default` for `0.0.0.0/0`.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        if text == "default" {
            return Ok(Self { address: Ipv4Addr::UNSPECIFIED, length: 0 });
        }
        let (address, length) = text.split_once('/').ok_or_else(|| PrefixError::NoLength(text.into()))?;
        let address = address.parse().map_err(|_| PrefixError::Address(address.into()))?;
        // No sign, no leading zeros: what `ip` prints.
        let length = match length.parse::<u8>() {
            Ok(number) if number <= 32 && number.to_string() == length => number,
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
        for text in ["10.1.0.2/24", "0.0.0.0/0", "255.255.255.255/32"] {
            assert_eq!(text.parse::<Prefix>().expect(text).to_string(), text);
        }
        assert_eq!("default".parse::<Prefix>().expect("default").to_string(), "0.0.0.0/0");
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Prefix>().expect_err(text);
        assert_eq!(error("10.1.0.2"), PrefixError::NoLength("10.1.0.2".into()));
        assert_eq!(error("10.1.0/24"), PrefixError::Address("10.1.0".into()));
        assert_eq!(error("fd00::1/64"), PrefixError::Address("fd00::1".into()));
        for length in ["33", "-1", "+8", "08", "", "256", " 8"] {
            assert_eq!(error(&format!("10.1.0.2/{length}")), PrefixError::Length(length.into()));
        }
        assert!(error("10.1.0.2").to_string().contains("10.1.0.2/24"));
    }

    #[test]
    fn contains_its_network() {
        let prefix: Prefix = "10.1.0.2/24".parse().expect("a prefix");
        assert!(prefix.contains(Ipv4Addr::new(10, 1, 0, 255)));
        assert!(!prefix.contains(Ipv4Addr::new(10, 1, 1, 0)));
        assert_eq!(prefix.network().to_string(), "10.1.0.0/24");
        let all: Prefix = "default".parse().expect("a prefix");
        assert!(all.contains(Ipv4Addr::BROADCAST));
        assert!(!Prefix::host(Ipv4Addr::LOCALHOST).contains(Ipv4Addr::new(127, 0, 0, 2)));
    }
}

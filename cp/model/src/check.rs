//! Checks of single values. Each error names the field, what is wrong with it and what is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::error::{Code, Error, Shown};

/// Longest name.
pub const NAME_CHARS_MAX: usize = 32;

/// A name of a load balancer, target group or zone: 1–32 letters, digits and hyphens, none of these first or last
/// (LB-04, TG-02).
pub fn name(field: &str, value: &str) -> Result<(), Error> {
    let wrong = if value.is_empty() {
        "is empty"
    } else if value.len() > NAME_CHARS_MAX {
        "is too long"
    } else if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        "has other characters than letters, digits and hyphens"
    } else if value.starts_with('-') || value.ends_with('-') {
        "begins or ends with a hyphen"
    } else {
        return Ok(());
    };
    let allowed = "1 to 32 letters (A-Z, a-z), digits and hyphens, not beginning or ending with a hyphen";
    Err(Error::invalid(field, format!("the name {} {wrong}; allowed are {allowed}", Shown(value))))
}

/// A load balancer's name: as [`name`], not beginning with `internal-` (LB-04).
pub fn load_balancer_name(field: &str, value: &str) -> Result<(), Error> {
    name(field, value)?;
    if value.starts_with("internal-") {
        return Err(Error::invalid(
            field,
            format!("the name {} begins with \"internal-\", which is reserved; choose another name", Shown(value)),
        ));
    }
    Ok(())
}

/// Longest id of the inventory.
pub const ID_CHARS_MAX: usize = 64;

/// An id of the inventory: 1–64 printable characters of ASCII without spaces and slashes, whatever the operator writes.
pub fn id(field: &str, value: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_graphic() && b != b'/';
    if (1..=ID_CHARS_MAX).contains(&value.len()) && value.bytes().all(good) {
        return Ok(());
    }
    let allowed = format!("1 to {ID_CHARS_MAX} printable characters of ASCII, no spaces and no slashes");
    Err(Error::invalid(field, format!("{} cannot be an id; allowed are {allowed}", Shown(value))))
}

/// A port, 1–65535.
pub fn port(field: &str, value: i64) -> Result<u16, Error> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::invalid(field, format!("{value} is not a port; allowed are 1 to 65535"))),
    }
}

/// A number in a range.
pub fn number(field: &str, value: i64, min: u32, max: u32, unit: &str) -> Result<u32, Error> {
    match u32::try_from(value) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(Error::invalid(field, format!("{value} is out of range; allowed are {min} to {max} {unit}"))),
    }
}

/// An address as people write it.
pub fn address(code: Code, field: &str, value: &str) -> Result<IpAddr, Error> {
    value.parse().map_err(|_| {
        let shown = Shown(value);
        let message = if value.contains('/') {
            format!("{shown} is a network; give one address such as 10.2.0.11")
        } else {
            format!("{shown} is not an address; write it like 10.2.0.11 or 2001:db8::11")
        };
        Error::at(code, field, message)
    })
}

/// An IPv4 address.
pub fn ipv4(code: Code, field: &str, value: &str) -> Result<Ipv4Addr, Error> {
    match address(code, field, value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            let message = format!("{address} is an IPv6 address; an IPv4 address such as 10.2.0.11 is needed here");
            Err(Error::at(code, field, message))
        }
    }
}

/// An IPv6 address.
pub fn ipv6(code: Code, field: &str, value: &str) -> Result<Ipv6Addr, Error> {
    match address(code, field, value)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => {
            let message = format!("{address} is an IPv4 address; an IPv6 address such as 2001:db8::11 is needed here");
            Err(Error::at(code, field, message))
        }
    }
}

/// Whether packets can be sent to an address over routers.
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !matches!(v4.octets()[0], 0 | 127 | 224..) && !v4.is_link_local(),
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !mapped && !v6.is_multicast() && !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local()
        }
    }
}

/// The ranges that targets may have anywhere (TG-05).
pub const TARGET_RANGES: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// Whether an address is in one of [`TARGET_RANGES`].
pub fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    matches!((a, b), (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127))
}

/// Whether an address can be a host's in a subnet: not its network or broadcast address (IPv6: its anycast address).
pub fn is_host_of(subnet: IpNet, address: IpAddr) -> bool {
    let all_hosts = if subnet.addr().is_ipv4() { subnet.broadcast() } else { subnet.network() };
    let small = subnet.prefix_len() + 1 >= subnet.max_prefix_len();
    subnet.contains(&address) && (small || ![subnet.network(), all_hosts].contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: LB-04, TG-02
    #[test]
    fn names_follow_the_rules() {
        let longest = "a".repeat(32);
        for good in ["a", "web-1", "A-b-9", "0", &longest] {
            assert_eq!(load_balancer_name("name", good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(33);
        for bad in ["", "-a", "a-", "-", "a_b", "a b", "ä", "a.b", "a\n", &too_long] {
            let error = name("name", bad).expect_err(bad);
            assert_eq!((error.code, error.field.as_deref()), (Code::ValidationError, Some("name")));
        }
        assert!(load_balancer_name("name", "internal-a").is_err());
        assert_eq!(name("name", "internal-a"), Ok(()));
    }

    #[test]
    fn ids_are_what_the_operator_writes() {
        for good in ["vpc-1", "i", "eipalloc-0a1b", "Rack:7.b_#2", &"x".repeat(64)] {
            assert_eq!(id("id", good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(id("id", bad).expect_err(bad).code, Code::ValidationError);
        }
    }

    /// req: LSN-01, TG-01
    #[test]
    fn ports_are_1_to_65535() {
        assert_eq!(port("port", 1), Ok(1));
        assert_eq!(port("port", 65535), Ok(65535));
        for bad in [0, -1, 65536, i64::MAX, i64::MIN] {
            let error = port("port", bad).expect_err("out of range");
            assert!(error.message.contains("1 to 65535") && error.message.contains(&bad.to_string()));
        }
    }

    #[test]
    fn addresses_are_of_the_kind_that_is_needed() {
        let check = |text| ipv4(Code::InvalidTarget, "id", text);
        assert_eq!(check("10.2.0.11"), Ok(Ipv4Addr::new(10, 2, 0, 11)));
        for (bad, hint) in [("::1", "IPv6"), ("10.0.0.0/8", "network"), ("10.2.0", "10.2.0.11"), ("", "10.2.0.11")] {
            assert!(check(bad).expect_err(bad).message.contains(hint), "{bad}");
        }
        assert_eq!(ipv6(Code::InvalidTarget, "id", "fd00::1"), Ok(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)));
        assert!(ipv6(Code::InvalidTarget, "id", "10.2.0.11").expect_err("IPv4").message.contains("IPv6"));
    }

    #[test]
    fn hosts_are_neither_the_first_nor_the_last_of_a_subnet() {
        let hosts = |net: &str, addresses: &[&str]| -> Vec<bool> {
            let net: IpNet = net.parse().expect(net);
            addresses.iter().map(|text| is_host_of(net, text.parse().expect(text))).collect()
        };
        assert_eq!(
            hosts("10.1.0.0/24", &["10.1.0.0", "10.1.0.1", "10.1.0.255", "10.1.1.1"]),
            [false, true, false, false]
        );
        assert_eq!(hosts("10.1.0.0/31", &["10.1.0.0", "10.1.0.1"]), [true, true]);
        let addresses = ["fd00::", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::1"];
        assert_eq!(hosts("fd00::/64", &addresses), [false, true, true, false]);
        assert_eq!(hosts("fd00::/127", &["fd00::", "fd00::1"]), [true, true]);
        assert_eq!(hosts("fd00::/64", &["10.1.0.1"]), [false]);
    }

    #[test]
    fn unicast_addresses_can_be_routed() {
        let good = |text: &str| is_unicast(text.parse().expect(text));
        for bad in ["0.0.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"] {
            assert!(!good(bad), "{bad}");
        }
        for bad in ["::", "::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert!(!good(bad), "{bad}");
        }
        assert!(good("10.1.0.1") && good("fd00::1") && good("2001:db8::1"));
    }

    /// req: TG-05
    #[test]
    fn private_ranges_are_those_documented() {
        let nets: Vec<ipnet::Ipv4Net> = TARGET_RANGES.iter().map(|range| range.parse().expect("a network")).collect();
        for net in &nets {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            for address in [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Ipv4Addr::from) {
                assert_eq!(is_private(address), nets.iter().any(|n| n.contains(&address)), "{address}");
            }
        }
    }
}

//! Which addresses of a subnet are free.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::document::reserved_range;
use super::{addresses, range_of};
use crate::check;
use crate::model::Model;
use crate::rest::SubnetSpec;

/// Numbers of addresses, first and last.
type Range = (u128, u128);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The hosts' addresses of a network.
fn hosts(net: IpNet) -> Range {
    let (first, last) = (number(net.network()), number(net.broadcast()));
    let is_host = |address| check::is_host_of(net, address);
    (first + u128::from(!is_host(net.network())), last - u128::from(!is_host(net.broadcast())))
}

/// What is left of a range without others, in order.
fn without((first, last): Range, mut taken: Vec<Range>) -> Vec<Range> {
    taken.sort_unstable();
    let mut left = Vec::new();
    let mut next = first;
    for (start, end) in taken {
        if start > last {
            break;
        }
        if start > next {
            left.push((next, start - 1));
        }
        if end >= last {
            return left;
        }
        next = next.max(end + 1);
    }
    if next <= last {
        left.push((next, last));
    }
    left
}

impl Model {
    /// How many IPv4 addresses of a subnet are free for a load balancer; none if there is no such subnet. Not free are its first
    /// and last one, reserved ones, those of load balancers, instances and other targets, this host's own and its gateways', and
    /// static ones.
    pub fn free_addresses(&self, subnet: &str) -> u128 {
        let free = self.subnet(subnet).map(|subnet| self.free_ranges(subnet, subnet.cidr)).unwrap_or_default();
        free.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether an address of a subnet is free.
    pub(crate) fn is_free(&self, subnet: &SubnetSpec, address: IpAddr) -> bool {
        let free = range_of(subnet, address).map(|net| self.free_ranges(subnet, net)).unwrap_or_default();
        free.iter().any(|(first, last)| (*first..=*last).contains(&number(address)))
    }

    /// The lowest free address of one of a subnet's ranges that a port of the data plane can have.
    pub(crate) fn lowest_free(&self, subnet: &SubnetSpec, net: IpNet) -> Option<IpAddr> {
        let same_kind = |it: &&IpNet| it.addr().is_ipv4() == net.addr().is_ipv4();
        let ports = self.site.subnets.iter().map(|(_, net)| net).filter(same_kind).map(|net| hosts(*net));
        let ports: Vec<Range> = if self.site.subnets.is_empty() { vec![hosts(net)] } else { ports.collect() };
        let free = self.free_ranges(subnet, net);
        let candidates = free.iter().flat_map(|(first, last)| {
            let inside = ports.iter().map(move |port| (port.0.max(*first), port.1.min(*last)));
            inside.filter(|(first, last)| first <= last).map(|(first, _)| first)
        });
        candidates.min().map(|lowest| match net {
            // It is an IPv4 address's number: it lies in the range of one.
            IpNet::V4(_) => Ipv4Addr::from_bits(lowest as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from_bits(lowest).into(),
        })
    }

    fn free_ranges(&self, subnet: &SubnetSpec, net: IpNet) -> Vec<Range> {
        let reserved = subnet.reserved.iter().filter_map(|text| reserved_range("", text).ok());
        let of_kind = reserved.filter(|(first, _)| net.contains(first));
        let mut taken: Vec<Range> = of_kind.map(|(first, last)| (number(first), number(last))).collect();
        let inventory = &self.inventory;
        let single = self.by_address.range(net.network()..=net.broadcast()).map(|(address, _)| *address);
        let single = single.chain(inventory.instances.values().flat_map(addresses));
        let single = single.chain(inventory.static_addresses.values().map(|spec| spec.address.into()));
        let single = single.chain(self.targets.values().map(|target| target.address));
        let single = single.chain(self.applications().flat_map(|lb| lb.places.iter().flat_map(|it| it.addresses())));
        let single = single.chain(self.site.subnets.iter().map(|(_, net)| net.addr()));
        let single = single.chain(self.site.gateways.iter().copied());
        taken.extend(single.filter(|address| net.contains(address)).map(|address| (number(address), number(address))));
        without(hosts(net), taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_range() {
        for (taken, left) in [
            (vec![], vec![(10, 20)]),
            (vec![(10, 10)], vec![(11, 20)]),
            (vec![(15, 16), (12, 13), (12, 12)], vec![(10, 11), (14, 14), (17, 20)]),
            (vec![(0, 12), (19, 99)], vec![(13, 18)]),
            (vec![(10, 20)], vec![]),
            (vec![(0, 9), (21, 30)], vec![(10, 20)]),
            (vec![(11, 30), (12, 13)], vec![(10, 10)]),
        ] {
            assert_eq!(without((10, 20), taken.clone()), left, "{taken:?}");
        }
        let all = (0, u128::MAX);
        assert_eq!(without(all, vec![(5, u128::MAX)]), [(0, 4)]);
    }

    #[test]
    fn the_first_and_last_addresses_are_no_hosts() {
        let count = |net: &str| {
            let (first, last) = hosts(net.parse().expect("a net"));
            last - first + 1
        };
        assert_eq!([count("10.1.0.0/24"), count("10.1.0.0/31"), count("10.1.0.1/32")], [254, 2, 1]);
        assert_eq!([count("fd00::/126"), count("fd00::/127")], [3, 2]);
    }
}

//! The places of the simulated network: three zones with a port each towards clients, one port towards targets.
//!
//! Everything has its address from its numbers, so that a packet tells where it belongs: a target's port is its group's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use leat_compile::view::{NetView, NextHop};
use leat_model::Site;

/// The zones.
pub const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
/// The ports, by number: one for each zone's nodes, and that of the targets.
pub const PORTS: [&str; 4] = ["pa", "pb", "pc", "pt"];
/// The number of the targets' port.
pub const TARGET_PORT: u8 = 3;
/// Groups there can be.
pub const GROUPS: u8 = 5;
/// Load balancers there can be.
pub const BALANCERS: u8 = 3;
/// Targets there can be of each group.
pub const TARGETS: u8 = 6;

/// The subnets of the ports.
const SUBNETS: [&str; 4] = ["10.1.0.2/24", "10.2.0.2/24", "10.3.0.2/24", "10.9.0.2/16"];

/// What the flags would say.
pub fn site() -> Site {
    let subnets = PORTS.iter().zip(SUBNETS);
    let subnets = subnets.filter_map(|(port, net)| Some(((*port).to_owned(), FromStr::from_str(net).ok()?)));
    Site { subnets: subnets.collect(), ..Site::default() }
}

/// The MAC of a port of the appliance.
pub fn port_mac(port: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, port + 1]
}

/// The router that the clients of a port are behind.
pub fn router_mac(port: u8) -> [u8; 6] {
    [2, 0, 0, 0, 9, port]
}

/// A load balancer's node in a zone, by its number in [`ZONES`].
pub fn node(balancer: u8, zone: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1 + zone as u8, 0, 10 + balancer)
}

/// The zone of a node's address.
pub fn zone_of_node(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(v4) => usize::from(v4.octets()[1]) - 1,
        IpAddr::V6(_) => 0,
    }
}

/// The port that targets of a group listen on.
pub fn group_port(group: u8) -> u16 {
    8000 + u16::from(group)
}

/// A target of a group.
pub fn target(group: u8, number: u8) -> SocketAddr {
    SocketAddr::new([10, 9, group, 11 + number].into(), group_port(group))
}

/// The group that a target's socket is of.
pub fn group_of(target: SocketAddr) -> u8 {
    (target.port() - 8000) as u8
}

/// The name of the zone that a target is registered with: every seventh or so is of all zones.
pub fn zone_of_target(target: SocketAddr) -> &'static str {
    let IpAddr::V4(address) = target.ip() else { return "all" };
    let [.., group, number] = address.octets();
    match (usize::from(group) * 5 + usize::from(number)) % 7 {
        6 => "all",
        n => ZONES[n % 3],
    }
}

/// The MAC of a target.
pub fn target_mac(target: SocketAddr) -> [u8; 6] {
    let IpAddr::V4(address) = target.ip() else { return [0; 6] };
    let [.., group, number] = address.octets();
    [2, 0, 0, 0, 16 + group, number]
}

/// Every target that can be.
pub fn all_targets() -> impl Iterator<Item = SocketAddr> {
    (0..GROUPS).flat_map(|group| (0..TARGETS).map(move |number| target(group, number)))
}

/// What is known of the network.
pub fn view() -> NetView {
    let hop = |target| (SocketAddr::ip(&target), NextHop { port: TARGET_PORT.into(), mac: target_mac(target) });
    NetView {
        version: 1,
        next_hops: all_targets().map(hop).collect(),
        host_addresses: Vec::new(),
        taps_up: vec![true; PORTS.len()],
    }
}

//! What must change in Linux. Pure: configuration and what is observed go in, changes come out.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{METRIC, NetConfig, Prefix, TABLE};

/// The main routing table.
pub const MAIN: u32 = 254;
/// What IPv6 makes of a route without a metric.
const IPV6_METRIC: u32 = 1024;

/// One of our TAPs as Linux has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Interface index.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// Somebody holds the other end.
    pub carrier: bool,
}

/// An address on one of our TAPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub port: usize,
    pub prefix: Prefix,
    /// Marked as ours.
    pub ours: bool,
}

/// A route over one of our TAPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TapRoute {
    pub port: usize,
    pub to: Prefix,
    pub via: Option<IpAddr>,
    pub metric: u32,
    pub table: u32,
}

/// A routing rule for one of our source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Every route of the main table but the default.
    MainButDefault(IpAddr),
    /// Our table.
    Ours(IpAddr),
}

/// What Linux has, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// By port; `None` while the TAP does not exist.
    pub taps: Vec<Option<Tap>>,
    pub addresses: Vec<Address>,
    /// With whether it is marked as ours.
    pub routes: Vec<(TapRoute, bool)>,
    /// Ours only.
    pub rules: HashSet<Rule>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    LinkUp(usize),
    AddAddress(usize, Prefix),
    DeleteAddress(usize, Prefix),
    AddRoute(TapRoute),
    DeleteRoute(TapRoute),
    AddRule(Rule),
    DeleteRule(Rule),
}

/// The changes that make Linux what `config` says, in the order in which they must be made.
pub fn plan(config: &NetConfig, observed: &Observed) -> Vec<Change> {
    let exists = |port: usize| observed.taps.get(port).copied().flatten();
    let mut changes = Vec::new();
    for port in 0..config.ports.len() {
        if exists(port).is_some_and(|tap| !tap.up) {
            changes.push(Change::LinkUp(port));
        }
    }

    let addresses = wanted_addresses(config);
    for &(port, prefix) in &addresses {
        let has = observed.addresses.iter().any(|have| have.port == port && have.prefix == prefix);
        if exists(port).is_some() && !has {
            changes.push(Change::AddAddress(port, prefix));
        }
    }
    for have in observed.addresses.iter().filter(|have| have.ours) {
        if !addresses.contains(&(have.port, have.prefix)) {
            changes.push(Change::DeleteAddress(have.port, have.prefix));
        }
    }

    let routes = wanted_routes(config);
    for (route, ours) in &observed.routes {
        if *ours && !routes.contains(route) {
            changes.push(Change::DeleteRoute(*route));
        }
    }
    for route in &routes {
        if exists(route.port).is_some() && !observed.routes.iter().any(|(have, _)| have == route) {
            changes.push(Change::AddRoute(*route));
        }
    }

    let rules = wanted_rules(config);
    changes.extend(observed.rules.iter().filter(|rule| !rules.contains(rule)).map(|rule| Change::DeleteRule(*rule)));
    changes.extend(rules.iter().filter(|rule| !observed.rules.contains(rule)).map(|rule| Change::AddRule(*rule)));
    changes
}

/// The port whose subnet contains an address, longest match first.
pub fn node_port(config: &NetConfig, place: IpAddr) -> Option<usize> {
    let subnets =
        config.ports.iter().enumerate().flat_map(|(port, config)| config.addresses.iter().map(move |a| (port, a)));
    subnets
        .filter(|(_, subnet)| subnet.contains(place))
        .max_by_key(|(port, subnet)| (subnet.length, std::cmp::Reverse(*port)))
        .map(|(port, _)| port)
}

fn wanted_addresses(config: &NetConfig) -> Vec<(usize, Prefix)> {
    let mut wanted: Vec<(usize, Prefix)> = Vec::new();
    let mut add = |port, prefix| {
        if !wanted.contains(&(port, prefix)) {
            wanted.push((port, prefix));
        }
    };
    for (port, ports) in config.ports.iter().enumerate() {
        ports.addresses.iter().for_each(|prefix| add(port, *prefix));
    }
    for &(node, place) in &config.node_addresses {
        let port = node_port(config, place).unwrap_or(0);
        // A port's own address serves as node address as it is.
        if config.ports.get(port).is_some_and(|port| port.addresses.iter().all(|own| own.address != node)) {
            add(port, Prefix::host(node));
        }
    }
    wanted
}

fn wanted_routes(config: &NetConfig) -> Vec<TapRoute> {
    let mut wanted = Vec::new();
    for (port, ports) in config.ports.iter().enumerate() {
        for route in &ports.routes {
            let to = route.to.network();
            let metric = if to.address.is_ipv4() { 0 } else { IPV6_METRIC };
            let route = TapRoute { port, to, via: Some(route.via), metric, table: MAIN };
            if to.length == 0 {
                let metric = METRIC + u32::try_from(port).unwrap_or(u32::MAX - METRIC);
                wanted.push(TapRoute { metric, ..route });
                wanted.push(TapRoute { metric, table: TABLE, ..route });
            } else {
                wanted.push(route);
            }
        }
    }
    wanted
}

fn wanted_rules(config: &NetConfig) -> HashSet<Rule> {
    let mut defaults = config.ports.iter().flat_map(|port| &port.routes).filter(|route| route.to.length == 0);
    let kinds = [defaults.clone().any(|route| route.via.is_ipv4()), defaults.any(|route| route.via.is_ipv6())];
    let own = config.ports.iter().flat_map(|port| port.addresses.iter().map(|prefix| prefix.address));
    let sources = own.chain(config.node_addresses.iter().map(|(node, _)| *node));
    let steered = sources.filter(|source| kinds[usize::from(source.is_ipv6())]);
    steered.flat_map(|source| [Rule::MainButDefault(source), Rule::Ours(source)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{PortConfig, Route};

    fn prefix(text: &str) -> Prefix {
        text.parse().expect(text)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn config() -> NetConfig {
        let port = |name: &str, address: &str| PortConfig {
            name: name.into(),
            tap: format!("leat-{name}"),
            addresses: vec![prefix(address)],
            routes: Vec::new(),
        };
        let own = ["10.1.7.10", "10.1.0.10", "192.0.2.1", "10.1.0.2"].map(|text| (ip(text), ip(text)));
        let of_another = (ip("203.0.113.1"), ip("10.1.7.10"));
        NetConfig {
            ports: vec![port("p0", "10.1.0.2/16"), port("p1", "10.1.7.2/24")],
            node_addresses: own.into_iter().chain([of_another]).collect(),
        }
    }

    /// Linux after all changes were made.
    fn carry_out(observed: &mut Observed, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::LinkUp(port) => observed.taps[port].as_mut().expect("a TAP").up = true,
                Change::AddAddress(port, prefix) => observed.addresses.push(Address { port, prefix, ours: true }),
                Change::DeleteAddress(port, prefix) => {
                    observed.addresses.retain(|have| have.port != port || have.prefix != prefix);
                }
                Change::AddRoute(route) => observed.routes.push((route, true)),
                Change::DeleteRoute(route) => observed.routes.retain(|(have, _)| *have != route),
                Change::AddRule(rule) => assert!(observed.rules.insert(rule)),
                Change::DeleteRule(rule) => assert!(observed.rules.remove(&rule)),
            }
        }
    }

    fn taps() -> Vec<Option<Tap>> {
        [7, 8].map(|index| Some(Tap { index, up: false, carrier: true })).to_vec()
    }

    #[test]
    fn node_addresses_go_to_the_longest_matching_port() {
        let config = config();
        let mut observed = Observed { taps: taps(), ..Observed::default() };
        let changes = plan(&config, &observed);
        assert_eq!(changes[..2], [Change::LinkUp(0), Change::LinkUp(1)]);
        let host = |port, text| Change::AddAddress(port, Prefix::host(ip(text)));
        assert!(changes.contains(&host(1, "10.1.7.10")));
        assert!(changes.contains(&host(0, "10.1.0.10")));
        assert!(changes.contains(&host(0, "192.0.2.1")), "none contains it: the first port");
        assert!(!changes.contains(&host(0, "10.1.0.2")), "already the port's own");
        assert!(changes.contains(&host(1, "203.0.113.1")), "a static address: where the node's own is");
        carry_out(&mut observed, &changes);
        assert_eq!(plan(&config, &observed), [], "idempotent");
    }

    #[test]
    fn only_marked_addresses_and_routes_are_removed() {
        let mut config = config();
        config.ports[1].routes.push(Route { to: prefix("10.9.0.0/16"), via: ip("10.1.7.1") });
        let mut observed = Observed { taps: taps(), ..Observed::default() };
        let foreign = Address { port: 0, prefix: prefix("10.5.0.1/24"), ours: false };
        observed.addresses.push(foreign);
        let foreign_route = TapRoute { port: 0, to: prefix("10.6.0.0/16"), via: None, metric: 0, table: MAIN };
        observed.routes.push((foreign_route, false));
        let changes = plan(&config, &observed);
        carry_out(&mut observed, &changes);

        config.node_addresses.clear();
        config.ports[1].routes.clear();
        let changes = plan(&config, &observed);
        carry_out(&mut observed, &changes);
        assert_eq!(plan(&config, &observed), []);
        assert!(observed.addresses.contains(&foreign));
        assert_eq!(observed.addresses.len(), 3);
        assert_eq!(observed.routes, [(foreign_route, false)]);
    }

    #[test]
    fn a_missing_tap_waits() {
        let observed = Observed { taps: vec![None, None], ..Observed::default() };
        assert_eq!(plan(&config(), &observed), []);
    }

    #[test]
    fn a_default_route_brings_a_table_and_rules() {
        let mut config = config();
        config.ports[0].routes.push(Route { to: prefix("0.0.0.0/0"), via: ip("10.1.0.1") });
        let mut observed = Observed { taps: taps(), ..Observed::default() };
        let changes = plan(&config, &observed);
        let route =
            TapRoute { port: 0, to: prefix("0.0.0.0/0"), via: Some(ip("10.1.0.1")), metric: METRIC, table: MAIN };
        assert!(changes.contains(&Change::AddRoute(route)));
        assert!(changes.contains(&Change::AddRoute(TapRoute { table: TABLE, ..route })));
        for source in ["10.1.0.2", "10.1.7.2", "10.1.7.10", "10.1.0.10", "192.0.2.1"] {
            assert!(changes.contains(&Change::AddRule(Rule::Ours(ip(source)))), "{source}");
            assert!(changes.contains(&Change::AddRule(Rule::MainButDefault(ip(source)))), "{source}");
        }
        carry_out(&mut observed, &changes);
        assert_eq!(plan(&config, &observed), []);
        config.ports[0].routes.clear();
        let changes = plan(&config, &observed);
        carry_out(&mut observed, &changes);
        assert!(observed.rules.is_empty() && observed.routes.is_empty());
    }

    #[test]
    fn ipv6_has_routes_and_rules_of_its_own() {
        let mut config = config();
        config.ports[0].addresses.push(prefix("fd00:1::2/64"));
        config.node_addresses.push((ip("fd00:1::10"), ip("fd00:1::10")));
        config.ports[0].routes.push(Route { to: prefix("fd00:9::/48"), via: ip("fd00:1::1") });
        config.ports[0].routes.push(Route { to: prefix("::/0"), via: ip("fe80::1") });
        let mut observed = Observed { taps: taps(), ..Observed::default() };
        let changes = plan(&config, &observed);
        assert!(changes.contains(&Change::AddAddress(0, prefix("fd00:1::10/128"))));
        let to = |to, via, metric, table| TapRoute { port: 0, to: prefix(to), via: Some(ip(via)), metric, table };
        for route in [
            to("fd00:9::/48", "fd00:1::1", IPV6_METRIC, MAIN),
            to("::/0", "fe80::1", METRIC, MAIN),
            to("::/0", "fe80::1", METRIC, TABLE),
        ] {
            assert!(changes.contains(&Change::AddRoute(route)), "{route:?}");
        }
        for source in ["fd00:1::2", "fd00:1::10"] {
            assert!(changes.contains(&Change::AddRule(Rule::Ours(ip(source)))), "{source}");
        }
        assert!(!changes.contains(&Change::AddRule(Rule::Ours(ip("10.1.0.2")))), "IPv4 has no default route here");
        carry_out(&mut observed, &changes);
        assert_eq!(plan(&config, &observed), []);
    }
}

//! From routes and neighbours to next hops. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use leat_compile::view::{NetView, NextHop};

use super::Prefix;
use super::plan::{Observed, TapRoute};

/// What Linux knows of a neighbour. One that is unknown or just being asked for is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It has this MAC address, perhaps not confirmed lately.
    Mac([u8; 6]),
    /// It did not answer.
    Failed,
}

/// By interface index and address.
pub type Neighbours = HashMap<(u32, IpAddr), Neighbour>;

/// A neighbour that Linux should ask for: interface index and address.
pub type Unresolved = (u32, IpAddr);

/// Computes the view (`version` as in `previous`) and the neighbours to ask for.
///
/// `settled` says by port whether its TAP exists and is configured. While it is not, the destinations that were reached
/// over it keep their next hop: a data plane that restarts finds its TAPs come back one by one, and none of its flows
/// shall be sent elsewhere meanwhile.
pub fn compute(
    wanted: &[IpAddr],
    node_addresses: &[IpAddr],
    observed: &Observed,
    settled: &[bool],
    neighbours: &Neighbours,
    previous: &NetView,
) -> (NetView, HashSet<Unresolved>) {
    let routes = RouteTable::new(&observed.routes);
    let mut unresolved = HashSet::new();
    let mut next_hops = HashMap::new();
    for &destination in wanted {
        let before = previous.next_hops.get(&destination).copied();
        let lost = before.filter(|hop| settled.get(hop.port) != Some(&true));
        let hop = lost.or_else(|| {
            let (port, neighbour) = routes.lookup(destination)?;
            let tap = observed.taps.get(port).copied().flatten().filter(|tap| tap.up)?;
            match neighbours.get(&(tap.index, neighbour)) {
                Some(Neighbour::Mac(mac)) => Some(NextHop { port, mac: *mac }),
                Some(Neighbour::Failed) => {
                    unresolved.insert((tap.index, neighbour));
                    None
                }
                // Forgotten, or another gateway of the same port: the old one serves until this one answers.
                None => {
                    unresolved.insert((tap.index, neighbour));
                    before.filter(|hop| hop.port == port)
                }
            }
        });
        if let Some(hop) = hop {
            next_hops.insert(destination, hop);
        }
    }
    let mut host_addresses: Vec<(usize, IpAddr)> = observed
        .addresses
        .iter()
        .map(|address| (address.port, address.prefix.address))
        .filter(|(_, address)| !node_addresses.contains(address))
        .collect();
    host_addresses.sort_unstable();
    host_addresses.dedup();
    let taps_up = observed.taps.iter().map(|tap| tap.is_some_and(|tap| tap.up && tap.carrier)).collect();
    (NetView { version: previous.version, next_hops, host_addresses, taps_up }, unresolved)
}

/// Routes over our TAPs by network: at most 33 look-ups, of IPv6 129, find the longest match.
struct RouteTable<'a> {
    routes: HashMap<Prefix, &'a TapRoute>,
    /// The prefix lengths there are, of IPv4 and of IPv6, longest first.
    lengths: [Vec<u8>; 2],
}

impl<'a> RouteTable<'a> {
    /// Of several routes to one network, the lowest metric wins, then the first port.
    fn new(routes: &'a [(TapRoute, bool)]) -> Self {
        let mut table: HashMap<Prefix, &TapRoute> = HashMap::new();
        for (route, _) in routes {
            let slot = table.entry(route.to.network()).or_insert(route);
            if (route.metric, route.port) < (slot.metric, slot.port) {
                *slot = route;
            }
        }
        let lengths = [false, true].map(|ipv6| {
            let of_kind = table.keys().filter(|prefix| prefix.address.is_ipv6() == ipv6);
            let mut lengths: Vec<u8> = of_kind.map(|prefix| prefix.length).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
            lengths
        });
        Self { routes: table, lengths }
    }

    /// The port and the neighbour on it that packets to `destination` go to.
    fn lookup(&self, destination: IpAddr) -> Option<(usize, IpAddr)> {
        let lengths = &self.lengths[usize::from(destination.is_ipv6())];
        let networks = lengths.iter().map(|&length| Prefix { address: destination, length }.network());
        let route = networks.filter_map(|network| self.routes.get(&network)).next()?;
        Some((route.port, route.via.unwrap_or(destination)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{MAIN, Tap};
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn route(port: usize, to: &str, via: Option<&str>, metric: u32) -> (TapRoute, bool) {
        (TapRoute { port, to: to.parse().expect(to), via: via.map(ip), metric, table: MAIN }, true)
    }

    struct World {
        observed: Observed,
        settled: Vec<bool>,
        neighbours: Neighbours,
        view: NetView,
    }

    impl World {
        fn new(routes: Vec<(TapRoute, bool)>) -> Self {
            let tap = |index| Some(Tap { index, up: true, carrier: true });
            let observed = Observed { taps: vec![tap(7), tap(8)], routes, ..Observed::default() };
            Self { observed, settled: vec![true, true], neighbours: Neighbours::new(), view: NetView::default() }
        }

        fn knows(&mut self, index: u32, address: &str, neighbour: Neighbour) {
            self.neighbours.insert((index, ip(address)), neighbour);
        }

        fn look(&mut self, wanted: &str) -> (Option<NextHop>, Vec<Unresolved>) {
            let (view, unresolved) =
                compute(&[ip(wanted)], &[], &self.observed, &self.settled, &self.neighbours, &self.view);
            self.view = view;
            (self.view.next_hops.get(&ip(wanted)).copied(), unresolved.into_iter().collect())
        }
    }

    #[test]
    fn longest_prefix_then_gateway_or_on_link() {
        let mut world = World::new(vec![
            route(0, "0.0.0.0/0", Some("10.1.0.1"), 9321),
            route(0, "10.1.0.0/24", None, 0),
            route(1, "10.2.0.0/16", Some("10.3.0.1"), 0),
        ]);
        world.knows(7, "10.1.0.1", Neighbour::Mac(MAC));
        world.knows(8, "10.3.0.1", Neighbour::Mac(OTHER));
        assert_eq!(world.look("192.0.2.9"), (Some(NextHop { port: 0, mac: MAC }), vec![]));
        assert_eq!(world.look("10.2.9.9"), (Some(NextHop { port: 1, mac: OTHER }), vec![]));
        assert_eq!(world.look("10.1.0.77"), (None, vec![(7, ip("10.1.0.77"))]), "on-link: asked for itself");
    }

    #[test]
    fn each_kind_has_its_routes() {
        let mut world = World::new(vec![
            route(0, "0.0.0.0/0", Some("10.1.0.1"), 0),
            route(1, "fd00:2::/64", None, 256),
            route(0, "fd00:2::/48", Some("fe80::1"), 1024),
        ]);
        world.knows(7, "fe80::1", Neighbour::Mac(MAC));
        world.knows(8, "fd00:2::11", Neighbour::Mac(OTHER));
        assert_eq!(world.look("fd00:2::11"), (Some(NextHop { port: 1, mac: OTHER }), vec![]));
        assert_eq!(world.look("fd00:2:0:9::11"), (Some(NextHop { port: 0, mac: MAC }), vec![]));
        assert_eq!(world.look("fd00:2::12"), (None, vec![(8, ip("fd00:2::12"))]));
        assert_eq!(world.look("fd00:3::1"), (None, vec![]), "the other kind's default route is of no use");
    }

    #[test]
    fn lower_metric_wins() {
        let mut world =
            World::new(vec![route(0, "0.0.0.0/0", Some("10.1.0.1"), 20), route(1, "0.0.0.0/0", Some("10.3.0.1"), 10)]);
        world.knows(8, "10.3.0.1", Neighbour::Mac(OTHER));
        assert_eq!(world.look("192.0.2.9").0, Some(NextHop { port: 1, mac: OTHER }));
    }

    #[test]
    fn no_route_no_hop() {
        let mut world = World::new(vec![route(0, "10.1.0.0/24", None, 0)]);
        assert_eq!(world.look("192.0.2.9"), (None, vec![]));
    }

    #[test]
    fn a_forgotten_neighbour_serves_until_it_fails() {
        let mut world = World::new(vec![route(0, "10.1.0.0/24", None, 0)]);
        let hop = Some(NextHop { port: 0, mac: MAC });
        world.knows(7, "10.1.0.9", Neighbour::Mac(MAC));
        assert_eq!(world.look("10.1.0.9").0, hop);
        world.neighbours.clear();
        assert_eq!(world.look("10.1.0.9"), (hop, vec![(7, ip("10.1.0.9"))]));
        world.knows(7, "10.1.0.9", Neighbour::Failed);
        assert_eq!(world.look("10.1.0.9"), (None, vec![(7, ip("10.1.0.9"))]));
        world.neighbours.clear();
        assert_eq!(world.look("10.1.0.9").0, None, "and does not come back by being asked for");
    }

    #[test]
    fn next_hops_outlive_a_tap_that_comes_back() {
        let mut world = World::new(vec![route(0, "10.1.0.0/24", None, 0), route(1, "0.0.0.0/0", Some("10.3.0.1"), 0)]);
        let hop = Some(NextHop { port: 0, mac: MAC });
        world.knows(7, "10.1.0.9", Neighbour::Mac(MAC));
        world.knows(8, "10.3.0.1", Neighbour::Mac(OTHER));
        assert_eq!(world.look("10.1.0.9").0, hop);
        let routes = std::mem::take(&mut world.observed.routes);
        (world.observed.taps[0], world.settled[0]) = (None, false);
        world.observed.routes.push(routes[1]);
        assert_eq!(world.look("10.1.0.9").0, hop, "not by the default route of the other port");
        world.observed.taps[0] = Some(Tap { index: 9, up: true, carrier: true });
        (world.observed.routes, world.settled[0]) = (routes, true);
        assert_eq!(world.look("10.1.0.9"), (hop, vec![(9, ip("10.1.0.9"))]), "asked for on the new TAP");
        world.observed.routes.remove(0);
        assert_eq!(world.look("10.1.0.9").0, Some(NextHop { port: 1, mac: OTHER }), "a route that goes is followed");
    }

    #[test]
    fn another_gateway_takes_over_when_it_answers() {
        let mut world = World::new(vec![route(0, "0.0.0.0/0", Some("10.1.0.1"), 0)]);
        world.knows(7, "10.1.0.1", Neighbour::Mac(MAC));
        world.look("192.0.2.9");
        world.observed.routes[0] = route(0, "0.0.0.0/0", Some("10.1.0.254"), 0);
        assert_eq!(world.look("192.0.2.9").0, Some(NextHop { port: 0, mac: MAC }));
        world.knows(7, "10.1.0.254", Neighbour::Mac(OTHER));
        assert_eq!(world.look("192.0.2.9").0, Some(NextHop { port: 0, mac: OTHER }));
    }
}

//! Source ports of health checks.
//!
//! Checks leave from ports 1024–9999 of the node address (S9.1); the data plane hands what comes back to those ports to
//! Linux. Ports turn round in a circle for each source address, so that a port rests as long as possible before it is
//! used again. A port that is reserved (a listener of that node) or held by a running check is never given out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use rand::Rng;

/// First source port of a health check.
pub const FIRST: u16 = 1024;
/// Last source port of a health check; full NAT begins above it.
pub const LAST: u16 = 9999;

/// Which source ports are free, by source address.
#[derive(Default)]
pub struct SourcePorts {
    sources: HashMap<IpAddr, Source>,
    reserved: HashMap<IpAddr, HashSet<u16>>,
}

struct Source {
    next: u16,
    in_use: HashSet<u16>,
}

impl SourcePorts {
    /// Replaces the reserved ports, and forgets addresses that are neither in `sources` nor in use.
    pub fn set_reserved(&mut self, reserved: HashMap<IpAddr, HashSet<u16>>, sources: &HashSet<IpAddr>) {
        self.reserved = reserved;
        self.sources.retain(|address, source| sources.contains(address) || !source.in_use.is_empty());
    }

    /// Takes the next free port of `source`; `None` when all are reserved or in use.
    pub fn take(&mut self, source: IpAddr, rng: &mut impl Rng) -> Option<u16> {
        let reserved = self.reserved.get(&source);
        let state = self
            .sources
            .entry(source)
            .or_insert_with(|| Source { next: rng.random_range(FIRST..=LAST), in_use: HashSet::new() });
        for _ in FIRST..=LAST {
            let port = state.next;
            state.next = if port == LAST { FIRST } else { port + 1 };
            if !state.in_use.contains(&port) && !reserved.is_some_and(|ports| ports.contains(&port)) {
                state.in_use.insert(port);
                return Some(port);
            }
        }
        None
    }

    /// Gives a port back.
    pub fn release(&mut self, source: IpAddr, port: u16) {
        if let Some(state) = self.sources.get_mut(&source) {
            state.in_use.remove(&port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 10));

    #[test]
    fn every_port_once_then_none() {
        let mut rng = rand::rng();
        let mut ports = SourcePorts::default();
        let all: HashSet<u16> = (FIRST..=LAST).map(|_| ports.take(NODE, &mut rng).expect("a free port")).collect();
        assert_eq!(all.len(), usize::from(LAST - FIRST) + 1);
        assert!(all.iter().all(|port| (FIRST..=LAST).contains(port)));
        assert_eq!(ports.take(NODE, &mut rng), None);
        ports.release(NODE, 4321);
        assert_eq!(ports.take(NODE, &mut rng), Some(4321));
    }

    #[test]
    fn reserved_ports_are_passed_over_for_their_address_only() {
        let mut rng = rand::rng();
        let mut ports = SourcePorts::default();
        let reserved: HashSet<u16> = (FIRST..=LAST).filter(|port| ![2000, 3000].contains(port)).collect();
        ports.set_reserved(HashMap::from([(NODE, reserved)]), &HashSet::from([NODE]));
        let mut got = [ports.take(NODE, &mut rng).expect("first"), ports.take(NODE, &mut rng).expect("second")];
        got.sort_unstable();
        assert_eq!(got, [2000, 3000]);
        assert_eq!(ports.take(NODE, &mut rng), None);
        assert!(ports.take([10, 1, 0, 11].into(), &mut rng).is_some());
    }

    #[test]
    fn a_released_port_comes_last() {
        let mut rng = rand::rng();
        let mut ports = SourcePorts::default();
        let first = ports.take(NODE, &mut rng).expect("a port");
        ports.release(NODE, first);
        let next: Vec<u16> = (0..100).map(|_| ports.take(NODE, &mut rng).expect("a port")).collect();
        assert!(!next.contains(&first));
    }
}

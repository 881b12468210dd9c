//! Identifications of IPv4 packets in pieces under full NAT, where those of different senders could meet (S10.8, RFC 6864).
//!
//! A counter for each pair of addresses and protocol, or shared by several pairs, which does no harm. Every lcore gives away numbers of
//! its own.

use super::store::Key;
use crate::hash::TupleHash;
use crate::parse::Tuple;

const COUNTERS: usize = 4096;
const SETS: usize = 512;
const WAYS: usize = 4;

#[derive(Debug, Clone, Copy, Default)]
struct Given {
    key: Key,
    id: u16,
    /// When: counted in identifications given away.
    when: u64,
}

/// The counters of one lcore, and what was given to datagrams of which more fragments may come.
#[derive(Debug)]
pub struct Ids {
    key: [u64; 2],
    counters: Box<[u16]>,
    given: Box<[[Given; WAYS]]>,
    /// Identifications given away so far.
    count: u64,
    lcore: u16,
    lcores: u16,
}

impl Ids {
    /// Counters that begin anywhere, for lcore number `lcore` of `lcores`.
    pub fn new(key: [u64; 2], lcore: u16, lcores: u16) -> Self {
        let hash = TupleHash::new(key);
        let begin = |n| hash.of(&Tuple { addresses: n, ports: 0, protocol: 0 }) as u16;
        let counters = (0..COUNTERS as u64).map(begin).collect();
        let given = vec![[Given::default(); WAYS]; SETS].into();
        Self { key, counters, given, count: 0, lcore, lcores: lcores.max(1) }
    }

    /// The next identification between these addresses with this protocol; the tuple's ports do not count.
    pub fn next(&mut self, tuple: &Tuple) -> u16 {
        let hash = TupleHash::new(self.key).of(&Tuple { ports: 0, ..*tuple });
        let counter = &mut self.counters[hash as usize % COUNTERS];
        *counter = counter.wrapping_add(1) % (u16::MAX / self.lcores).max(1);
        *counter * self.lcores + self.lcore
    }

    /// The identification for a fragment of a datagram: for the first one the next, for the others the same. If too many datagrams came
    /// between them, they are not put together any more.
    pub fn of(&mut self, key: Key, is_first: bool, tuple: &Tuple) -> u16 {
        let set = key.hash(self.key) as usize % SETS;
        let known = self.given[set].iter().find(|given| given.when > 0 && given.key == key);
        if let Some(given) = known.filter(|_| !is_first) {
            return given.id;
        }
        let id = self.next(tuple);
        self.count += 1;
        let is_this = |given: &Given| given.when > 0 && given.key == key;
        let place = self.given[set].iter_mut().min_by_key(|given| if is_this(given) { 0 } else { given.when });
        if let Some(place) = place {
            *place = Given { key, id, when: self.count };
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// req: S10.8
    #[test]
    fn numbers_come_again_only_after_all_others() {
        let tuple = |ports| Tuple { addresses: 7, ports, protocol: 17 };
        for lcores in [1, 3, 64] {
            let mut all = HashSet::new();
            let each = usize::from(u16::MAX / lcores);
            for lcore in 0..lcores {
                let mut ids = Ids::new([1, 2], lcore, lcores);
                all.extend((0..each).map(|n| ids.next(&tuple(n as u32))));
            }
            assert_eq!(all.len(), each * usize::from(lcores), "{lcores}");
        }
        let mut ids = Ids::new([1, 2], 0, 1);
        let first = ids.next(&tuple(0));
        ids.next(&Tuple { addresses: 8, ..tuple(0) });
        assert_eq!(ids.next(&tuple(0)), first + 1, "others have their own");
    }

    /// req: S10.8
    #[test]
    fn all_fragments_of_a_datagram_have_one() {
        let mut ids = Ids::new([3, 4], 0, 1);
        let tuple = Tuple { addresses: 7, ports: 0, protocol: 17 };
        let key = |id| Key::new(&tuple, id);
        let given: Vec<u16> = (0..100).map(|id| ids.of(key(id), true, &tuple)).collect();
        assert!((0..100).all(|id| ids.of(key(id), false, &tuple) == given[id as usize]));
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 100);
        let again = ids.of(key(5), true, &tuple);
        assert!(!given.contains(&again), "the same identification is another datagram's now");
        assert_eq!(ids.of(key(5), false, &tuple), again);
        let lost = ids.of(key(1000), false, &tuple);
        assert_eq!(ids.of(key(1000), false, &tuple), lost, "without the first one they stay together, too");
    }
}

//! Maglev tables: which target a flow's hash selects (semantics §2).
//!
//! A table is a pure function of the key and the set of targets (S2.3): every target has a permutation of the table's places,
//! made from a keyed hash of its address and port, and the targets take turns in claiming their next free place. Every
//! target gets the same number of places, give or take one, and when a target comes or goes few other places change hands (S2.4).
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// Table sizes: primes, of which the first that is at least [`PLACES_PER_TARGET`] times the number of targets is taken. Few sizes, as
/// another size moves every choice.
pub const SIZES: [usize; 3] = [65_537, 131_071, 655_373];
/// The sizes for configurations of so many groups that tables of [`SIZES`] would take too much memory.
pub const COMPACT_SIZES: [usize; 10] = [211, 503, 1009, 2003, 4001, 8009, 16_001, 32_003, 65_537, 131_071];
/// Places for each target at the least, so that the shares differ by at most 1 %.
pub const PLACES_PER_TARGET: usize = 100;

/// A target as the table sees it. Ordered by what the table depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// What the table shall hold for it; does not influence where.
    pub slot: u16,
}

/// The table size for a number of targets; one target needs one place. More targets than the quota allows get the largest.
pub fn size(targets: usize, compact: bool) -> usize {
    let sizes = if compact { &COMPACT_SIZES[..] } else { &SIZES[..] };
    let wanted = targets * PLACES_PER_TARGET;
    if targets <= 1 {
        targets
    } else {
        sizes.iter().copied().find(|size| *size >= wanted).unwrap_or(sizes[sizes.len() - 1])
    }
}

/// Builds a table of a size, which is prime or 1: the slots of the targets that each place selects. Empty without targets. The
/// order of `targets` does not matter.
pub fn build(key: [u64; 2], targets: &[Candidate], size: usize) -> Vec<u16> {
    // One target needs no permutation; every place is its own.
    if let [only] = targets {
        return vec![only.slot; size];
    }
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    let mut places: Vec<Option<u16>> = if targets.is_empty() { Vec::new() } else { vec![None; size] };
    let mut turns: Vec<Permutation> = targets.iter().map(|target| Permutation::new(key, target, size)).collect();
    let mut free = places.len();
    while free > 0 {
        for (target, turn) in targets.iter().zip(&mut turns).take(free) {
            while places[turn.at].is_some() {
                turn.advance(size);
            }
            places[turn.at] = Some(target.slot);
            turn.advance(size);
            free -= 1;
        }
    }
    places.into_iter().flatten().collect()
}

/// Walks through all places: `offset`, `offset + skip`, … modulo the size, which is prime.
struct Permutation {
    at: usize,
    skip: usize,
}

impl Permutation {
    fn new(key: [u64; 2], target: &Candidate, size: usize) -> Self {
        let hash = |purpose: u8| {
            let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
            match target.address {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
            hasher.write(&target.port.to_be_bytes());
            hasher.write(&[purpose]);
            hasher.finish()
        };
        let size = size as u64;
        Self { at: (hash(0) % size) as usize, skip: (hash(1) % (size - 1) + 1) as usize }
    }

    fn advance(&mut self, size: usize) {
        self.at += self.skip;
        if self.at >= size {
            self.at -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn candidates(count: usize) -> Vec<Candidate> {
        let target = |n: u16| Candidate {
            address: std::net::Ipv4Addr::from(0x0a02_0000 + u32::from(n)).into(),
            port: 8080,
            slot: n,
        };
        (0..count as u16).map(target).collect()
    }

    fn full(key: [u64; 2], targets: &[Candidate]) -> Vec<u16> {
        build(key, targets, size(targets.len(), false))
    }

    fn moved(before: &[u16], after: &[u16]) -> f64 {
        assert_eq!(before.len(), after.len());
        before.iter().zip(after).filter(|(a, b)| a != b).count() as f64 / before.len() as f64
    }

    #[test]
    fn sizes_are_primes_and_large_enough() {
        for size in SIZES.into_iter().chain(COMPACT_SIZES) {
            assert!((2..).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n)), "{size} is not prime");
        }
        let counts = [0, 1, 2, 655, 656, 1310, 1311, 3000];
        let large = counts.map(|count| size(count, false));
        assert_eq!(large, [0, 1, 65_537, 65_537, 131_071, 131_071, 655_373, 655_373]);
        assert_eq!([0, 1, 2, 3, 655, 1310].map(|count| size(count, true)), [0, 1, 211, 503, 65_537, 131_071]);
    }

    #[test]
    fn no_target_no_table() {
        assert_eq!(full([1, 2], &[]), Vec::<u16>::new());
        assert_eq!(full([1, 2], &candidates(1)), [0]);
        assert_eq!(build([1, 2], &candidates(1), 211), vec![0; 211], "one of several is left");
    }

    /// S2.3: any order of API calls ends in the same table.
    #[test]
    fn the_order_of_targets_does_not_matter() {
        let mut targets = candidates(20);
        let table = full([1, 2], &targets);
        for turn in 0..50 {
            targets.rotate_left(7);
            targets.swap(0, turn % 20);
            assert!(full([1, 2], &targets) == table);
        }
        assert!(full([1, 3], &targets) != table, "the key counts");
    }

    /// S2.3: the slot numbers do not influence which target a place selects.
    #[test]
    fn slots_do_not_matter() {
        let targets = candidates(9);
        let renumbered: Vec<Candidate> = targets.iter().map(|t| Candidate { slot: 100 - t.slot, ..*t }).collect();
        let (a, b) = (full([1, 2], &targets), full([1, 2], &renumbered));
        assert!(a.iter().zip(&b).all(|(a, b)| 100 - a == *b));
    }

    /// A known table: a change of the algorithm would move every choice when a control plane is upgraded.
    #[test]
    fn the_table_is_the_same_for_ever() {
        let table = full([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], &candidates(7));
        let digest = table.iter().fold(0u64, |sum, slot| sum.wrapping_mul(31).wrapping_add(u64::from(*slot)));
        assert_eq!(digest, KNOWN_DIGEST);
    }
    const KNOWN_DIGEST: u64 = 10_316_750_293_226_492_833;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// S2.4, RT-09: shares differ by at most 1 %.
        #[test]
        fn shares_are_equal(count in 2..400usize, compact: bool, key: [u64; 2]) {
            let table = if compact { build(key, &candidates(count), size(count, true)) } else { full(key, &candidates(count)) };
            let mut shares: HashMap<u16, usize> = HashMap::new();
            table.iter().for_each(|slot| *shares.entry(*slot).or_default() += 1);
            prop_assert_eq!(shares.len(), count);
            let (least, most) = (shares.values().min().expect("some"), shares.values().max().expect("some"));
            prop_assert!(most - least <= 1 && (most - least) * 100 <= *least, "{} to {}", least, most);
        }

        /// S2.4: adding or removing one of N targets moves at most 1/N + 2 % of the table.
        #[test]
        fn one_target_moves_little(count in 2..300usize, gone: prop::sample::Index, key: [u64; 2]) {
            let all = candidates(count);
            let gone = gone.index(count);
            let mut fewer = all.clone();
            fewer.remove(gone);
            let size = size(count, false);
            let share = moved(&build(key, &all, size), &build(key, &fewer, size));
            prop_assert!(share <= 1.0 / count as f64 + 0.02, "{share} of the table moved with {count} targets");
        }
    }

    #[test]
    fn three_thousand_targets_have_equal_shares() {
        let table = full([5, 6], &candidates(3000));
        assert_eq!(table.len(), 655_373);
        let mut shares = vec![0; 3000];
        table.iter().for_each(|slot| shares[usize::from(*slot)] += 1);
        assert!(shares.iter().all(|share| (218..=219).contains(share)));
    }
}

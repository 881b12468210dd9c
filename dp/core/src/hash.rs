//! The hashes: three purposes, three keys, so that knowing one says nothing of the others.
//!
//! * [`TupleHash`] places flows in the table (per process, random).
//! * [`owner`] says which lcore a client's flows belong to (per segment, random; must outlive a process).
//! * [`selection`] chooses targets (per configuration; must outlive everything): SipHash-1-3.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::address::Address;
use crate::parse::{Ends, Tuple};

/// The two halves of a 128-bit product, folded: every input bit reaches every output bit.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ (product >> 64) as u64
}

/// The keyed hash that places flows in the table.
#[derive(Debug, Clone, Copy)]
pub struct TupleHash {
    key: [u64; 3],
}

impl TupleHash {
    /// A hash of this key.
    pub const fn new(key: [u64; 2]) -> Self {
        // An odd multiplier: never zero.
        Self { key: [key[0], key[1] | 1, (key[1] | 1) ^ 0x9e37_79b9_7f4a_7c15] }
    }

    /// The hash of a tuple.
    #[inline(always)]
    pub const fn of(&self, tuple: &Tuple) -> u64 {
        let ports = tuple.ports as u64 | (tuple.protocol as u64) << 32;
        let first = fold(tuple.addresses ^ self.key[0], self.key[1]);
        fold(first ^ ports, self.key[2])
    }
}

/// The digest of two IPv6 addresses that takes their place in keys. Keyed, so that nobody can make two pairs with one digest; who finds
/// a flow by it compares the addresses themselves.
#[inline(always)]
pub const fn digest(key: u64, source: Address, destination: Address) -> u64 {
    let ([a, b], [c, d]) = (source.words(), destination.words());
    DigestKey::new(key).of([a.to_be(), b.to_be(), c.to_be(), d.to_be()])
}

/// The key of [`digest`], made ready for many of them.
#[derive(Debug, Clone, Copy)]
pub struct DigestKey([u64; 5]);

impl DigestKey {
    /// Of this key.
    #[inline(always)]
    pub const fn new(key: u64) -> Self {
        Self([
            key,
            key.rotate_left(17) ^ 0xa076_1d64_78bd_642f,
            key.rotate_left(31),
            key.rotate_left(47) ^ 0xe703_7ed1_a0b4_28db,
            key.rotate_left(7) ^ 0x5899_65cc_7537_4cc3,
        ])
    }

    /// The digest of a source and a destination address, two words each, as they lie in the packet.
    #[inline(always)]
    pub const fn of(&self, [a, b, c, d]: [u64; 4]) -> u64 {
        let key = &self.0;
        let source = fold(a ^ key[0], b ^ key[1]);
        let destination = fold(c ^ key[2], d ^ key[3]);
        fold(source ^ 0x8ebc_6af0_9c88_c6e3, destination ^ key[4])
    }
}

/// The lcore, of `lcores`, that owns the flows of a client's address and port (in network order as loaded).
#[inline(always)]
pub const fn owner(key: u64, ip: Address, port: u16, lcores: u16) -> u16 {
    let [high, low] = ip.words();
    // The port on the side of what a client cannot choose as it likes: else its last 64 bits could make up for it.
    let rest = (high ^ port as u64).wrapping_mul(0x8ebc_6af0_9c88_c6e3);
    let hash = fold(low ^ key, 0x9e37_79b9_7f4a_7c15 ^ key.rotate_left(32) ^ rest);
    // Multiply and shift: the range without a division.
    (((hash >> 32) * lcores as u64) >> 32) as u16
}

/// The hash that chooses a target: protocol, addresses, ports and, for TCP, the SYN's sequence number as the client sent it
/// (semantics S2.1, S2.5).
pub fn selection(key: [u64; 2], ends: &Ends, tuple: &Tuple, isn: Option<u32>) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    if tuple.is_v6() {
        // Not their digest: its key is the segment's, which does not outlive a reboot.
        ends.source.words().into_iter().chain(ends.destination.words()).for_each(|word| hasher.write_u64(word));
    } else {
        hasher.write_u64(tuple.addresses);
    }
    let (ports, protocol) = (u64::from(tuple.ports), u64::from(tuple.protocol));
    match isn {
        // As one word and a byte: what the hash sees are the same bytes as of ports, protocol and number one by one.
        Some(isn) => {
            hasher.write_u64(ports | protocol << 32 | u64::from(isn) << 40);
            hasher.write_u8((isn >> 24) as u8);
        }
        None => {
            hasher.write_u32(tuple.ports);
            hasher.write_u8(tuple.protocol);
        }
    }
    hasher.finish()
}

/// The hash that chooses the target of a sticky group: the group, the protocol and the client's address (S14.1).
pub fn sticky(key: [u64; 2], group: u64, protocol: u8, client: Address) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write_u64(group);
    client.words().into_iter().for_each(|word| hasher.write_u64(word));
    hasher.write_u8(protocol);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_even_and_in_range() {
        for lcores in [1u16, 2, 3, 4, 8, 64] {
            let mut counts = vec![0u32; lcores.into()];
            for n in 0..64_000u32 {
                counts[usize::from(owner(
                    0x1234_5678_9abc_def0,
                    Address::v4((n / 1000).to_be()),
                    ((n % 1000) as u16).to_be(),
                    lcores,
                ))] += 1;
            }
            let mean = 64_000 / u32::from(lcores);
            assert!(counts.iter().all(|c| c.abs_diff(mean) < mean / 5), "{lcores}: {counts:?}");
        }
    }

    /// The hash is one of the packet's fields as bytes, one after the other: how they are put together changes no choice, and all nodes,
    /// whatever their version, make the same one. req: S2.1
    #[test]
    fn a_choice_is_the_hash_of_the_fields() {
        let key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let hash = |bytes: &[u8]| SipHasher13::new_with_keys(key[0], key[1]).hash(bytes);
        let [source, destination] = [Address::from_octets([0x20; 16]), Address::from_octets(*b"0123456789abcdef")];
        let v4 = Tuple { addresses: 0x1122_3344_5566_7788, ports: 0x99aa_bbcc, protocol: 6 };
        let v6 = Tuple { protocol: 0x86, ..v4 };
        let addresses_v6: Vec<u8> =
            [source, destination].iter().flat_map(|a| a.words()).flat_map(u64::to_le_bytes).collect();
        for (tuple, addresses) in [(v4, v4.addresses.to_le_bytes().to_vec()), (v6, addresses_v6)] {
            let ends = Ends { source, destination };
            let fields = [&addresses[..], &tuple.ports.to_le_bytes(), &[tuple.protocol]].concat();
            assert_eq!(selection(key, &ends, &tuple, None), hash(&fields));
            let with_number = [&fields[..], &0xdead_beefu32.to_le_bytes()].concat();
            assert_eq!(selection(key, &ends, &tuple, Some(0xdead_beef)), hash(&with_number));
        }
    }

    /// A different sequence number gives a different choice. req: RT-01
    #[test]
    fn the_sequence_number_counts() {
        let tuple = Tuple { addresses: 1, ports: 2, protocol: 6 };
        let ends = Ends::default();
        let selection = |key, tuple, isn| super::selection(key, &ends, tuple, isn);
        let choices: std::collections::HashSet<u64> =
            (0..1000).map(|isn| selection([1, 2], &tuple, Some(isn)) % 10).collect();
        assert_eq!(choices.len(), 10);
        assert_eq!(selection([1, 2], &tuple, Some(7)), selection([1, 2], &tuple, Some(7)));
        assert_ne!(selection([1, 2], &tuple, Some(7)), selection([1, 3], &tuple, Some(7)));
    }
}

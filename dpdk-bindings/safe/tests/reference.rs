//! DPDK's own hash table and Toeplitz hash give the answers that benchmarks and tests compare with.

mod common;

use common::start_eal;
use leat_dpdk::reference::{HashTable, KEY_BYTES, LOOKUP_KEYS_MAX, toeplitz};

/// The key and the first example of the "Verifying the RSS Hash Calculation" page of the NDIS documentation.
#[rustfmt::skip]
const NDIS_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
    0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

#[test]
fn reference() {
    let tuple = [u32::from_be_bytes([66, 9, 149, 187]), u32::from_be_bytes([161, 142, 100, 80]), 2794 << 16 | 1766];
    assert_eq!(toeplitz(&tuple[..2], &NDIS_KEY), 0x323e_8fc2);
    assert_eq!(toeplitz(&tuple, &NDIS_KEY), 0x51cc_c178);
    assert_eq!(toeplitz(&[], &NDIS_KEY), 0);
    toeplitz(&[u32::MAX; 20], &NDIS_KEY);

    let eal = start_eal("reference", "0", &[]);
    let mut table = HashTable::new(&eal, "flows", 1024).unwrap();
    let keys: Vec<[u8; KEY_BYTES]> = (0..100u8).map(|n| [n; KEY_BYTES]).collect();
    let added: Vec<i32> = keys[..50].iter().map(|key| table.add_key(key).unwrap() as i32).collect();
    assert_eq!(table.add_key(&keys[7]).unwrap() as i32, added[7]);

    let references: Vec<&[u8; KEY_BYTES]> = keys.iter().collect();
    let mut positions = [0; 64];
    assert_eq!(table.lookup_bulk(&references[40..60], &mut positions), 20);
    assert_eq!(positions[..10], added[40..]);
    assert!(positions[10..20].iter().all(|&position| position < 0));
    assert_eq!(table.lookup_bulk(&references, &mut positions), LOOKUP_KEYS_MAX);
    assert_eq!(table.lookup_bulk(&[], &mut positions), 0);
    assert!(HashTable::new(&eal, "too-small", 0).is_err());
}

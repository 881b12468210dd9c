//! What the pipeline is compared with in memory: DPDK's hash table, and plain memory access.

use anyhow::{Context, Result, ensure};
use leat_core::{BURST, prefetch};
use leat_dpdk::reference::{HashTable, KEY_BYTES};
use leat_dpdk::{Eal, rdtsc};
use leat_gen::random::Random;

use crate::frames::{Family, Mode, Way};
use crate::memory::Line;

const WAY: Way = Way::tcp(Mode::FullNat, Family::V4);

/// A 40-byte key as the reference has it: two IPv6 (here: mapped IPv4) addresses, ports, protocol.
pub fn key(n: u32) -> [u8; KEY_BYTES] {
    let (client, node) = (WAY.client(n), WAY.listener());
    let mut key = [0; KEY_BYTES];
    for (at, ip) in [(0, client.ip()), (16, node.ip())] {
        if let std::net::IpAddr::V4(ip) = ip {
            key[at + 10..at + 12].fill(0xff);
            key[at + 12..at + 16].copy_from_slice(&ip.octets());
        }
    }
    key[32..34].copy_from_slice(&client.port().to_be_bytes());
    key[34..36].copy_from_slice(&node.port().to_be_bytes());
    key[36] = 6;
    key
}

/// A table of the first so many keys, with room for a quarter more: above nine tenths, insertion begins to fail.
pub fn hash_table(eal: &Eal, name: &str, keys: u32) -> Result<HashTable> {
    let mut table = HashTable::new(eal, &format!("{name}{keys}"), (keys + keys / 4).max(64))?;
    for n in 0..keys {
        table.add_key(&key(n)).with_context(|| format!("key {n} of {keys}"))?;
    }
    Ok(table)
}

/// Looks each of these keys up, as [`crate::bed::Bed::warm_up`] does.
pub fn warm_up(table: &HashTable, keys: std::ops::Range<u32>) {
    let mut position = [0i32];
    for n in keys {
        table.lookup_bulk(&[&key(n)], &mut position);
        std::hint::black_box(position);
    }
}

/// Looks bursts of random keys up among these, of which all or none must be in the table. Returns ticks.
pub fn look_up(
    table: &HashTable,
    keys: std::ops::Range<u32>,
    bursts: u32,
    random: &mut Random,
    hit: bool,
) -> Result<u64> {
    let mut ticks = 0;
    let mut burst = [[0; KEY_BYTES]; BURST];
    let mut positions = [0i32; BURST];
    for _ in 0..bursts {
        for slot in &mut burst {
            *slot = key(keys.start + random.below(keys.end - keys.start));
        }
        let before = rdtsc();
        let references = burst.each_ref();
        table.lookup_bulk(&references, &mut positions);
        let missed = positions.iter().filter(|position| **position < 0).count();
        ticks += rdtsc().wrapping_sub(before);
        let expected = if hit { 0 } else { BURST };
        ensure!(missed == expected, "{missed} of {BURST} keys were not found in the reference's table");
    }
    Ok(ticks)
}

/// Reads one random cache line per packet, each asked for a burst before.
pub fn floor(lines: &[Line], bursts: u32, random: &mut Random) -> Result<u64> {
    let mut ticks = 0;
    let mut sum = 0u64;
    let mut waiting = [0usize; BURST];
    for _ in 0..bursts {
        let next: [usize; BURST] = std::array::from_fn(|_| random.below(lines.len() as u32) as usize);
        let before = rdtsc();
        for (slot, next) in waiting.iter_mut().zip(next) {
            prefetch::read(&lines[next]);
            sum = sum.wrapping_add(lines[std::mem::replace(slot, next)].0[0]);
        }
        ticks += rdtsc().wrapping_sub(before);
    }
    ensure!(std::hint::black_box(sum) == 0, "the lines hold zeros");
    Ok(ticks)
}

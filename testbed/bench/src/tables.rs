//! The flow table alone, next to DPDK's: find, miss, insert, remove. Leat's operations are on flows, each with a key for either side.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, ensure};
use leat_abi::FlowEntry;
use leat_abi::flow::{FlowState, protocol};
use leat_core::BURST;
use leat_core::forwarding::loaded;
use leat_core::parse::Tuple;
use leat_core::table::{FlowTable, Side, tuple_of};
use leat_dpdk::rdtsc;
use leat_gen::random::Random;

use crate::bed::TABLE_KEY;
use crate::frames::{Family, Mode, Way};
use crate::inmemory::{Lab, WARM_UP_MAX};
use crate::references::{self, key};

/// Bursts in a slice.
const SLICE_BURSTS: u32 = 512;
const SLICE: u32 = SLICE_BURSTS * BURST as u32;

/// The flow of a number, as the table needs it.
fn flow(n: u32) -> FlowEntry {
    let way = Way::tcp(Mode::FullNat, Family::V4);
    let v4 = |ip| if let IpAddr::V4(ip) = ip { loaded(ip) } else { 0 };
    let (client, vip) = (way.client(n), way.listener());
    FlowEntry {
        client_ip: v4(client.ip()),
        vip: v4(vip.ip()),
        // A target's key as different as a client's.
        target_ip: v4(client.ip()) ^ 0xffff,
        nat_ip: v4(vip.ip()),
        client_port: client.port().to_be(),
        vport: vip.port().to_be(),
        target_port: 8080u16.to_be(),
        nat_port: client.port().to_be(),
        protocol: protocol::TCP,
        state: FlowState::Established as u8,
        ..FlowEntry::default()
    }
}

/// Looks bursts of flows among these numbers up by their clients' keys, as the pipeline does. All or none must be in the table.
fn look_up(table: &FlowTable<'_>, numbers: std::ops::Range<u32>, random: &mut Random, hit: bool) -> Result<u64> {
    let mut ticks = 0;
    for _ in 0..SLICE_BURSTS {
        let tuples: [Tuple; BURST] = std::array::from_fn(|_| {
            tuple_of(&flow(numbers.start + random.below(numbers.end - numbers.start)), Side::Client)
        });
        let before = rdtsc();
        let probes = tuples.each_ref().map(|tuple| table.probe(tuple));
        let candidates = probes.map(|probe| table.candidate(probe));
        let found = tuples.iter().zip(candidates).filter(|(tuple, candidate)| match candidate.found() {
            Some(found) if table.is(found, tuple) => true,
            _ => table.find(tuple).is_some(),
        });
        let found = found.count();
        ticks += rdtsc().wrapping_sub(before);
        ensure!(found == if hit { BURST } else { 0 }, "{found} of {BURST} flows found");
    }
    Ok(ticks)
}

/// Measures tables of so many flows.
pub fn run(lab: &Lab<'_>, n: u32) -> Result<()> {
    let mut region = lab.region((n + SLICE) as usize, false)?;
    let mut table = FlowTable::new(region.flows()?, TABLE_KEY);
    let full = || anyhow!("the flow table is full");
    for number in 0..n {
        table.insert(&flow(number), None).map_err(|_| full())?;
    }
    let reference = RefCell::new(references::hash_table(lab.eal, "tables", n + SLICE)?);
    for number in n..n + SLICE {
        reference.borrow_mut().remove_key(&key(number))?;
    }
    let (table, places) = (RefCell::new(table), RefCell::new(Vec::<u32>::with_capacity(SLICE as usize)));
    let (table, places, reference) = (&table, &places, &reference);
    let mut contest = lab.contest();
    let unit = (SLICE, "ns/operation");
    for (what, numbers, hit) in [("hit", 0..n, true), ("miss", n..n + n, false)] {
        let case = format!("table/{what}/{n}");
        let (mut random, among) = (Random::new(0x55), numbers.clone());
        contest.add(&*case, "leat", unit, move || {
            let table = table.borrow();
            let mut work = || look_up(&table, among.clone(), &mut random, hit);
            if n <= WARM_UP_MAX {
                among.clone().for_each(|n| {
                    black_box(table.find(&tuple_of(&flow(n), Side::Client)));
                });
            } else {
                work()?;
            }
            work()
        });
        let mut random = Random::new(0x77);
        contest.add(case, "rte_hash", unit, move || {
            let reference = reference.borrow();
            let mut work = || references::look_up(&reference, numbers.clone(), SLICE_BURSTS, &mut random, hit);
            if n <= WARM_UP_MAX {
                references::warm_up(&reference, numbers.clone());
            } else {
                work()?;
            }
            work()
        });
    }
    contest.add(format!("table/insert/{n}"), "leat", unit, move || {
        let flows: Vec<FlowEntry> = (n..n + SLICE).map(flow).collect();
        let (mut table, mut places) = (table.borrow_mut(), places.borrow_mut());
        let before = rdtsc();
        for flow in &flows {
            places.push(table.insert(flow, None).map_err(|_| full())?);
        }
        Ok(rdtsc().wrapping_sub(before))
    });
    contest.add(format!("table/insert/{n}"), "rte_hash", unit, move || {
        let keys: Vec<_> = (n..n + SLICE).map(key).collect();
        let mut table = reference.borrow_mut();
        let before = rdtsc();
        for key in &keys {
            table.add_key(key).context("the reference's table is full")?;
        }
        Ok(rdtsc().wrapping_sub(before))
    });
    contest.add(format!("table/remove/{n}"), "leat", unit, move || {
        let (mut table, mut places) = (table.borrow_mut(), places.borrow_mut());
        let before = rdtsc();
        places.drain(..).for_each(|at| table.remove(at));
        Ok(rdtsc().wrapping_sub(before))
    });
    contest.add(format!("table/remove/{n}"), "rte_hash", unit, move || {
        let keys: Vec<_> = (n..n + SLICE).map(key).collect();
        let mut table = reference.borrow_mut();
        let before = rdtsc();
        for key in &keys {
            table.remove_key(key)?;
        }
        Ok(rdtsc().wrapping_sub(before))
    });
    contest.run(lab.rounds())
}

//! Packets that arrive at another lcore's queue: looked up in vain, handed over through a ring, handled by their owner.

use std::cell::RefCell;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrayvec::ArrayVec;
use leat_core::BURST;
use leat_dpdk::{Mbuf, Mempool, MempoolConfig, handover, rdtsc};

use crate::bed::{Bed, Direction, Lcores, forwarding};
use crate::frames::{Family, Mode, Way};
use crate::inmemory::{Lab, SLICE_BURSTS};

const FLOWS: u32 = 100_000;

/// Measures the work of both lcores for a packet, on one CPU, next to that of the owner alone.
pub fn run(lab: &Lab<'_>) -> Result<()> {
    let way = Way::tcp(Mode::FullNat, Family::V4);
    let forwarding = Arc::new(forwarding(&way.snapshot(1)));
    let lcores = Lcores::of(2, &forwarding);
    let mut regions = [lab.region(FLOWS as usize, false)?, lab.region(FLOWS as usize, false)?];
    let [first, second] = &mut regions;
    let mut owner = Bed::of_several(way, first.flows()?, lab.sinks.take(), &forwarding, &lcores[0]);
    owner.establish(FLOWS)?;
    let other = RefCell::new(Bed::of_several(way, second.flows()?, lab.sinks.take(), &forwarding, &lcores[1]));
    let owner = RefCell::new(owner);

    let pool =
        Mempool::new(lab.eal, "handover", MempoolConfig { count: 63, cache: 0, data_room_bytes: 2048, socket: None })?;
    let (mut to, mut from) = handover(lab.eal, "handover", 64)?;
    let mut packets: ArrayVec<Mbuf, BURST> = ArrayVec::new();
    while !packets.is_full() {
        packets.push(pool.alloc().context("no packet buffer")?);
    }
    let mut ring = || {
        let before = rdtsc();
        to.burst(&mut packets);
        from.burst(&mut packets);
        rdtsc().wrapping_sub(before)
    };

    let unit = (SLICE_BURSTS * BURST as u32, "ns/packet");
    let case = format!("{}/{FLOWS}", way.case("handover"));
    let mut contest = lab.contest();
    let (owner, other) = (&owner, &other);
    contest.add(&*case, "leat", unit, move || {
        let mut ticks = 0;
        for _ in 0..SLICE_BURSTS {
            ticks += owner.borrow_mut().handed_over_by(&mut other.borrow_mut())? + ring();
        }
        Ok(ticks)
    });
    let direct = format!("{case}/at-its-owner");
    contest
        .add(&*direct, "leat", unit, move || owner.borrow_mut().established(SLICE_BURSTS, BURST, Direction::Clients));
    contest.run(lab.rounds())?;
    contest.ratio(format!("ratio/{case}"), (&case, "leat"), (&direct, "leat"));
    Ok(())
}

//! What a new configuration costs: off the packet path, and the lcores' longest turns when all targets change at once.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use leat_abi::Snapshot;
use leat_abi::snapshot::{Limits, TargetState};

use crate::bed::{Bed, forwarding};
use crate::frames::{Family, Mode, Way};
use crate::inmemory::{Lab, progress};
use crate::stats::Figure;
use crate::world;

const WAY: Way = Way::tcp(Mode::FullNat, Family::V4);

/// Measures both.
pub fn run(lab: &Lab<'_>) -> Result<()> {
    encodings(lab.full)?;
    changes(lab)
}

/// What new configurations cost off the packet path.
fn encodings(full: bool) -> Result<()> {
    progress("snapshots");
    let (targets, groups, zones) = world::ZONED;
    let scale = format!("{}-targets", world::TARGETS);
    let zoned = format!("{targets}-targets-{groups}-listeners-{zones}-zones");
    encode_and_decode(full, &world::snapshot(7), &scale, &format!("two groups with tables of {}", world::TABLE))?;
    encode_and_decode(full, &world::zoned(7, true), &format!("{zoned}/cross-zone"), "a table for each listener")?;
    encode_and_decode(full, &world::zoned(7, false), &zoned, "a table for each listener and zone")
}

fn encode_and_decode(full: bool, snapshot: &Snapshot, scale: &str, note: &str) -> Result<()> {
    let limits = Limits { targets_max: world::ZONED.0, listeners_max: 256, ports: 1 };
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..if full { 101 } else { 21 } {
        let [encode, decode, compile] = &mut samples;
        let words = timed(encode, || snapshot.encode());
        let decoded = timed(decode, || Snapshot::decode(&words, 7, limits))?;
        let forwarding = timed(compile, || forwarding(&decoded));
        ensure!(decoded == *snapshot && forwarding.generation == 7, "a snapshot is not what was encoded");
    }
    for (what, samples) in ["encode", "decode", "compile"].into_iter().zip(&samples) {
        Figure::of(format!("snapshot/{what}/{scale}"), "leat", samples, "ms", true).with_note(note).print();
    }
    Ok(())
}

/// What lcores do when all targets change at once: the longest turns of the loop from then on.
fn changes(lab: &Lab<'_>) -> Result<()> {
    const FLOWS: u32 = 200_000;
    const BURSTS: u32 = 200_000;
    progress("all targets change at once");
    let all = |state| {
        let mut snapshot = WAY.snapshot(2);
        snapshot.targets.iter_mut().for_each(|target| target.state = state);
        Arc::new(forwarding(&snapshot))
    };
    let before = Arc::new(forwarding(&WAY.snapshot(1)));
    for (what, state) in
        [("none", TargetState::Active), ("unhealthy", TargetState::Unhealthy), ("terminate", TargetState::Terminate)]
    {
        let mut region = lab.region(FLOWS as usize, false)?;
        let mut bed = Bed::new(WAY, region.flows()?, lab.sinks.take(), &before);
        bed.establish(FLOWS)?;
        let hz = lab.eal.tsc_hz();
        let mut turns: Vec<f64> =
            bed.turns(&all(state), BURSTS, hz).into_iter().map(|ticks| ticks as f64 * 1e6 / hz as f64).collect();
        let first = turns[0];
        turns.sort_by(f64::total_cmp);
        let over = turns.iter().filter(|us| **us > 200.0).count();
        let typical = turns[turns.len() / 2];
        let rare = turns[turns.len() * 9999 / 10_000];
        Figure::once(format!("turn/{what}/{}-targets/{FLOWS}-flows/first", world::TARGETS), "leat", first, "µs")
            .print();
        Figure::once(
            format!("turn/{what}/{}-targets/{FLOWS}-flows/longest", world::TARGETS),
            "leat",
            turns[turns.len() - 1],
            "µs",
        )
        .with_note(format!(
            "median {typical:.1} µs, one of 10,000 takes {rare:.1} µs or more, {over} of {BURSTS} more than 200 µs"
        ))
        .print();
    }
    Ok(())
}

fn timed<T>(samples: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let before = Instant::now();
    let result = std::hint::black_box(work());
    samples.push(before.elapsed().as_secs_f64() * 1e3);
    result
}

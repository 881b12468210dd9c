//! What an lcore costs more when another one works beside it. Lcores write no cache line of the segment in common, as the test below shows;
//! so a second lcore of the same appliance costs the first one what any other program on that CPU would, and no more.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use leat_core::BURST;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::bed::{Bed, Direction, Lcores, forwarding};
use crate::frames::{Family, Mode, Way};
use crate::inmemory::{Lab, SLICE_BURSTS};
use crate::memory::Sinks;

const FLOWS: u32 = 100_000;
const WAY: Way = Way::tcp(Mode::FullNat, Family::V4);

/// Measures an lcore alone, beside another one of the same appliance, and beside one of an appliance of its own, whose segment is a file
/// next to `scratch` for a moment.
pub fn run(lab: &Lab<'_>, scratch: &Path) -> Result<()> {
    let apart = Sinks::new(&scratch.with_extension("apart"))?;
    let other_cpu = usize::from(lab.cpu == 0);
    let region = || lab.region(FLOWS as usize, false);
    let mut regions = [region()?, region()?, region()?];
    let [first, second, third] = &mut regions;
    let (ours, theirs) = (Arc::new(forwarding(&WAY.snapshot(1))), Arc::new(forwarding(&WAY.snapshot(1))));
    let (lcores, strangers) = (Lcores::of(2, &ours), Lcores::of(2, &theirs));
    let measured = Bed::of_several(WAY, first.flows()?, lab.sinks.take(), &ours, &lcores[0]);
    let neighbour = Bed::of_several(WAY, second.flows()?, lab.sinks.take(), &ours, &lcores[1]);
    let stranger = Bed::of_several(WAY, third.flows()?, apart.take(), &theirs, &strangers[1]);
    let beds = [measured, neighbour, stranger].map(RefCell::new);
    for bed in &beds {
        bed.borrow_mut().establish(FLOWS)?;
    }
    let [measured, neighbour, stranger] = &beds;

    let case = WAY.case("scaling");
    let [alone, beside, apart] =
        ["alone", "beside-another-lcore", "beside-another-appliance"].map(|s| format!("{case}/{s}"));
    let unit = (SLICE_BURSTS * BURST as u32, "ns/packet");
    let mut contest = lab.contest();
    let work = |bed: &mut Bed<'_>| bed.established(SLICE_BURSTS, BURST, Direction::Both);
    contest.add(&*alone, "leat", unit, move || work(&mut measured.borrow_mut()));
    for (case, other) in [(&beside, neighbour), (&apart, stranger)] {
        contest.add(&**case, "leat", unit, move || {
            beside_another(&mut other.borrow_mut(), other_cpu, || work(&mut measured.borrow_mut()))
        });
    }
    contest.run(lab.rounds())?;
    contest.ratio(format!("ratio/{case}/sharing-an-appliance"), (&beside, "leat"), (&apart, "leat"));
    Ok(())
}

/// Does some work while another lcore handles packets on another CPU.
fn beside_another(other: &mut Bed<'_>, cpu: usize, work: impl FnOnce() -> Result<u64>) -> Result<u64> {
    let (runs, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut cpus = CpuSet::new();
            cpus.set(cpu);
            let mut result = sched_setaffinity(None, &cpus).map_err(anyhow::Error::from);
            while result.is_ok() && !stop.load(Ordering::Relaxed) {
                result = other.established(16, BURST, Direction::Both).map(drop);
                runs.store(true, Ordering::Relaxed);
            }
            runs.store(true, Ordering::Relaxed);
            result
        });
        while !runs.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        let ticks = work();
        stop.store(true, Ordering::Relaxed);
        let Ok(result) = thread.join() else { anyhow::bail!("the other lcore has panicked") };
        ensure!(result.is_ok(), "the other lcore: {result:?}");
        ticks
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use leat_abi::{DataSegment, Geometry};

    use super::*;
    use crate::world::TARGETS;

    /// The cache lines of the file that something changes, by number.
    fn changed(file: &Path, what: impl FnOnce()) -> BTreeSet<usize> {
        let read = || std::fs::read(file).expect("the segment");
        let before = read();
        what();
        let after = read();
        let lines = before.chunks(64).zip(after.chunks(64)).enumerate();
        lines.filter(|(_, (before, after))| before != after).map(|(line, _)| line).collect()
    }

    /// Two lcores handle packets of established and of new flows, in both directions, and look after timers: the lines of the shared segment
    /// that one writes are not those that the other writes, and nobody writes the header.
    #[test]
    fn lcores_write_no_line_in_common() {
        let path = std::env::temp_dir().join(format!("leat-bench-scaling-{}", std::process::id()));
        let geometry = Geometry {
            lcores: 2,
            flows_max: 4096,
            wide_flows_max: 0,
            targets_max: TARGETS,
            listeners_max: 16,
            arena_words: 1024,
        };
        let mut segment = DataSegment::create_or_adopt(&path, geometry, false).expect("a segment");
        let flows = segment.take_flows().expect("the flows");
        let forwarding = Arc::new(forwarding(&WAY.snapshot(1)));
        let mut beds: Vec<Bed<'_>> = flows
            .into_iter()
            .zip(Lcores::of(2, &forwarding))
            .map(|(flows, lcore)| {
                let sinks = (segment.counters(lcore.lcore), segment.events(lcore.lcore));
                Bed::of_several(WAY, flows, sinks, &forwarding, &lcore)
            })
            .collect();
        let mut lines = Vec::new();
        for bed in &mut beds {
            lines.push(changed(&path, || bed.establish(1000).expect("all forwarded")));
        }
        for (bed, lines) in beds.iter_mut().zip(&mut lines) {
            lines.extend(changed(&path, || {
                bed.established(64, BURST, Direction::Both).expect("all forwarded");
                bed.mixed(64).expect("all forwarded");
            }));
            lines.extend(changed(&path, || {
                bed.expire().expect("all end");
            }));
        }
        let header = size_of::<leat_abi::layout::SegmentHeader>() / 64;
        assert!(lines.iter().all(|lines| lines.len() > 1000 && lines.first() >= Some(&header)));
        assert_eq!(lines[0].intersection(&lines[1]).count(), 0, "lines that both have written");
        // The look sees what is shared: the same lcore's lines again.
        let again = changed(&path, || beds[0].establish(1000).expect("all forwarded"));
        assert!(again.intersection(&lines[0]).count() > 1000);
        std::fs::remove_file(path).expect("the segment goes");
    }
}

//! The pipeline in memory, without ports, next to `rte_hash` and to plain memory access.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use leat_core::BURST;
use leat_dpdk::Eal;
use leat_dpdk::reference::HashTable;
use leat_gen::random::Random;

use crate::bed::{Bed, Direction, forwarding};
use crate::contest::Contest;
use crate::frames::{Family, Mode, Way};
use crate::memory::{self, FlowRegion, Line, Pages, Region, Sinks};
use crate::references::{floor, hash_table, look_up, warm_up};
use crate::sibling::Sibling;
use crate::stats::Figure;
use crate::{handover, scaling, snapshots, tables};

/// Bursts in a slice: some milliseconds.
pub const SLICE_BURSTS: u32 = 1024;
const SLICE: u32 = SLICE_BURSTS * BURST as u32;
/// Flows begun in a slice.
const NEW_FLOWS: u32 = 1 << 17;
/// Room in the table in which flows are begun.
const NEW_CAPACITY: usize = 1 << 20;
/// Room for the new flows among established ones.
const MIXED_ROOM: usize = 1 << 17;
/// MiB that must be available for ten million flows.
const LARGE_MIB: u64 = 8192;
/// So many flows are gone through before each slice, so that they are in the caches as far as they fit, whoever was there meanwhile. Where
/// there are more, a slice that is not measured comes before each.
pub const WARM_UP_MAX: u32 = 100_000;
/// How long measurements may wait for moments in which nobody else uses the core, all together.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where there is time.
const PATIENCE_FULL: Duration = Duration::from_secs(300);
/// The common case, with which others are compared.
const COMMON: Way = Way::tcp(Mode::FullNat, Family::V4);
const IPV6: Way = Way::tcp(Mode::FullNat, Family::V6);

/// What the subcommand is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// More repetitions
    #[arg(long)]
    full: bool,
    /// The CPU to measure on
    #[arg(long, default_value_t = 1)]
    cpu: u32,
    /// The pages to measure on
    #[arg(long, value_enum, default_value_t = Pages::Ordinary)]
    pages: Pages,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 100_000, 1_000_000, 10_000_000])]
    flows: Vec<u32>,
    /// Name of EAL's directory
    #[arg(long, default_value = "leat-bench")]
    file_prefix: String,
    /// A path in a tmpfs for a file that is removed at once
    #[arg(long, default_value = "/dev/shm/leat-bench-sinks")]
    scratch: std::path::PathBuf,
}

/// What all measurements in memory need.
pub struct Lab<'a> {
    /// DPDK, for tables of its own, and for the clock.
    pub eal: &'a Eal,
    /// The pages to measure on.
    pub pages: Pages,
    /// Counters and event rings.
    pub sinks: &'a Sinks,
    /// The CPU that is measured on.
    pub cpu: u32,
    /// More repetitions.
    pub full: bool,
    /// What the other thread of this core does.
    pub sibling: &'a Sibling,
}

impl<'a> Lab<'a> {
    /// A contest without anybody yet.
    pub fn contest<'c>(&self) -> Contest<'c>
    where
        'a: 'c,
    {
        Contest::new(self.eal.tsc_hz(), self.sibling)
    }

    /// How often a slice is repeated.
    pub fn rounds(&self) -> usize {
        if self.full { 201 } else { 41 }
    }

    /// Memory for so many flows; `wide`: each with a second line.
    pub fn region(&self, flows: usize, wide: bool) -> Result<FlowRegion> {
        FlowRegion::new(flows, wide, self.pages)
    }
}

/// Arguments for an EAL on one CPU that takes hash tables.
fn eal_arguments(options: &Options, flows: u32) -> Vec<String> {
    let mut arguments: Vec<String> = ["--no-pci", "--no-telemetry", "-l"].into_iter().map(str::to_owned).collect();
    arguments.push(options.cpu.to_string());
    arguments.push(format!("--file-prefix={}", options.file_prefix));
    match options.pages {
        Pages::Huge => arguments.push("--in-memory".into()),
        Pages::Ordinary => {
            arguments.extend(["--no-huge", "--no-shconf", "-m"].map(str::to_owned));
            arguments.push(hash_mib(flows).to_string());
        }
    }
    arguments
}

/// MiB that DPDK needs for a hash table of that many keys.
pub fn hash_mib(keys: u32) -> u64 {
    // A key with its padding, its place in a bucket, its free slot, all with a quarter of room; and rounding to powers of two.
    64 + ((u64::from(keys) * 160) >> 20)
}

/// Measures everything and prints the figures.
pub fn run(options: &Options) -> Result<()> {
    let mut flows = options.flows.clone();
    if memory::available_mib() < LARGE_MIB {
        eprintln!("  less than {LARGE_MIB} MiB of memory are available: ten million flows are left out");
        flows.retain(|n| *n < 10_000_000);
    }
    let largest = flows.iter().copied().max().unwrap_or(1);
    // Afterwards this thread has one CPU only.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let eal = Eal::init(&eal_arguments(options, largest))?;
    let sinks = Sinks::new(&options.scratch)?;
    let sibling = Sibling::new(if options.full { PATIENCE_FULL } else { PATIENCE });
    let lab =
        Lab { eal: &eal, pages: options.pages, sinks: &sinks, cpu: options.cpu, full: options.full, sibling: &sibling };

    memory_per_flow(&lab)?;
    let mut medians = Vec::new();
    for n in &flows {
        medians.push((*n, established(&lab, *n)?));
    }
    growth(&medians);
    begun(&lab)?;
    for n in flows.iter().filter(|n| (1_000..=1_000_000).contains(*n)) {
        progress(&format!("tables of {n} flows"));
        tables::run(&lab, *n)?;
    }
    progress("hand-over between lcores");
    handover::run(&lab)?;
    if cpus > 1 {
        progress("an lcore beside another one");
        scaling::run(&lab, &options.scratch)?;
    }
    snapshots::run(&lab)?;
    Figure::once("core/shared", "leat", sibling.shared_percent(), "% of slices")
        .with_note("in which somebody else used the other thread of this core; left out where there were enough others")
        .print();
    Ok(())
}

/// Tells people how far it is.
pub fn progress(text: &str) {
    eprintln!("  {text}");
}

/// The kinds of flows that are measured with so many of them. Ten million of each kind take long to establish.
fn ways(n: u32, full: bool) -> Vec<Way> {
    let mut ways = vec![COMMON, IPV6, Way::tcp(Mode::Preserve, Family::V4)];
    if full || n <= 1_000_000 {
        ways.push(Way::udp(Mode::FullNat, Family::V4));
        ways.push(Way::tcp(Mode::FullNat, Family::SixToFour));
        ways.push(Way::tcp(Mode::Proxy, Family::V4));
    }
    ways
}

/// Measures so many established flows. Returns the median of the common case in nanoseconds.
fn established(lab: &Lab<'_>, n: u32) -> Result<Option<f64>> {
    progress(&format!("established flows: {n}"));
    let started = Instant::now();
    let capacity = (n as usize).max(64);
    let ways = ways(n, lab.full);
    let mut regions = ways.iter().map(|way| lab.region(capacity, way.is_wide())).collect::<Result<Vec<_>>>()?;
    let mut beds = Vec::new();
    for (way, region) in ways.iter().zip(&mut regions) {
        let forwarding = Arc::new(forwarding(&way.snapshot(1)));
        let mut bed = Bed::new(*way, region.flows()?, lab.sinks.take(), &forwarding);
        bed.establish(n)?;
        beds.push((*way, Rc::new(RefCell::new(bed))));
    }
    let mixed_capacity = if n == 1_000_000 { capacity + MIXED_ROOM } else { 64 };
    let mut mixed_region = lab.region(mixed_capacity, false)?;
    let mut line_region = Region::new(capacity * 64, lab.pages)?;
    let lines: &[Line] = line_region.lines(capacity)?;
    let table = hash_table(lab.eal, "bench", n)?;

    // The common case and what it is compared with by itself: what others use of the caches should not be in its figure.
    let (mut first, mut rest) = (lab.contest(), lab.contest());
    let unit = (SLICE, "ns/packet");
    let common = format!("{}/{n}", COMMON.case("established"));
    let v6 = format!("{}/{n}", IPV6.case("established"));
    for (way, bed) in &beds {
        let case = format!("{}/{n}", way.case("established"));
        let contest = if [COMMON, IPV6].contains(way) { &mut first } else { &mut rest };
        contest.add(&*case, "leat", unit, slice(bed, n, BURST, Direction::Clients));
        if *way == COMMON {
            against(contest, &case, &table, &lines[..n as usize]);
        }
        if way.family == Family::V4 && way.mode != Mode::Proxy {
            rest.add(format!("{case}/both-directions"), "leat", unit, slice(bed, n, BURST, Direction::Both));
        }
        if *way == COMMON && [100_000, 1_000_000].contains(&n) {
            for burst in [1, 4, 8, 16] {
                let case = format!("{}/{n}", way.case(&format!("burst/{burst}")));
                rest.add(case, "leat", unit, slice(bed, n, burst, Direction::Clients));
            }
        }
    }
    if n == 1_000_000 {
        let forwarding = Arc::new(forwarding(&COMMON.snapshot(1)));
        let mut bed = Bed::new(COMMON, mixed_region.flows()?, lab.sinks.take(), &forwarding);
        bed.establish(n)?;
        rest.add(format!("{}/{n}", COMMON.case("mixed")), "leat", unit, move || bed.mixed(SLICE_BURSTS));
    }
    first.run(lab.rounds())?;
    rest.run(lab.rounds())?;
    first.ratio(format!("ratio/rte_hash/{common}"), (&common, "leat"), (&common, "rte_hash"));
    first.ratio(format!("ratio/ipv6-to-ipv4/established/full-nat/{n}"), (&v6, "leat"), (&common, "leat"));
    progress(&format!("  took {:.1} s", started.elapsed().as_secs_f64()));
    Ok(first.median(&common))
}

/// A slice of packets of established flows.
fn slice<'a, 'm: 'a>(
    bed: &Rc<RefCell<Bed<'m>>>,
    n: u32,
    burst: usize,
    direction: Direction,
) -> impl FnMut() -> Result<u64> + use<'a, 'm> {
    let bed = bed.clone();
    move || {
        let mut bed = bed.borrow_mut();
        let work = |bed: &mut Bed<'m>| bed.established(SLICE / burst as u32, burst, direction);
        if n <= WARM_UP_MAX {
            bed.warm_up()?;
        } else {
            work(&mut bed)?;
        }
        work(&mut bed)
    }
}

/// The references of the common case.
fn against<'a>(contest: &mut Contest<'a>, case: &str, table: &'a HashTable, lines: &'a [Line]) {
    let unit = (SLICE, "ns/packet");
    let (n, mut random) = (lines.len() as u32, Random::new(0x77));
    contest.add(case, "rte_hash", unit, move || {
        let mut work = || look_up(table, 0..n, SLICE_BURSTS, &mut random, true);
        if n <= WARM_UP_MAX {
            warm_up(table, 0..n);
        } else {
            work()?;
        }
        work()
    });
    let mut random = Random::new(0x99);
    contest.add(case, "floor", unit, move || {
        let mut work = || floor(lines, SLICE_BURSTS, &mut random);
        if n <= WARM_UP_MAX {
            std::hint::black_box(lines.iter().map(|line| line.0[0]).sum::<u64>());
        } else {
            work()?;
        }
        work()
    });
}

/// What ten million flows cost compared with one.
fn growth(medians: &[(u32, Option<f64>)]) {
    let of = |n| medians.iter().find(|(of, _)| *of == n).and_then(|(_, median)| *median);
    if let (Some(one), Some(many)) = (of(1), of(10_000_000)) {
        Figure::once("ratio/10000000-to-1/established/full-nat/ipv4", "leat", many / one, "ratio").print();
    }
}

/// What a flow takes of memory, in a table that is full. To be measured first: later the allocator has memory in store.
fn memory_per_flow(lab: &Lab<'_>) -> Result<()> {
    const FLOWS: u32 = 1_000_000;
    progress("memory per flow");
    for (family, name) in [(Family::V4, "memory/ipv4"), (Family::V6, "memory/ipv6")] {
        let way = Way::tcp(Mode::FullNat, family);
        let mut region = lab.region(FLOWS as usize, way.is_wide())?;
        let bytes_each = region.bytes_each();
        let forwarding = Arc::new(forwarding(&way.snapshot(1)));
        let (before, _) = memory::resident_bytes();
        let mut bed = Bed::new(way, region.flows()?, lab.sinks.take(), &forwarding);
        bed.establish(FLOWS)?;
        Figure::once(name, "leat", bed.pipeline().bytes_per_flow(), "bytes/flow")
            .with_note(format!("entry, index, free list and timer; table of {FLOWS} entries, full"))
            .print();
        let (after, huge) = memory::resident_bytes();
        // The entries were resident before; the harness keeps a binding of 4 bytes a flow.
        let grown = (after.saturating_sub(before)) as f64 / f64::from(FLOWS) + bytes_each as f64 - 4.0;
        Figure::once(format!("{name}/resident"), "leat", grown, "bytes/flow")
            .with_note(format!("as the kernel counts it; {} MiB of the process on transparent huge pages", huge >> 20))
            .print();
    }
    Ok(())
}

fn begun(lab: &Lab<'_>) -> Result<()> {
    progress("new flows");
    let ways = [
        Way::tcp(Mode::Preserve, Family::V4),
        COMMON,
        Way::udp(Mode::FullNat, Family::V4),
        IPV6,
        Way::tcp(Mode::Preserve, Family::V6),
        Way::tcp(Mode::FullNat, Family::SixToFour),
        Way::tcp(Mode::Proxy, Family::V4),
    ];
    let mut regions = ways.iter().map(|way| lab.region(NEW_CAPACITY, way.is_wide())).collect::<Result<Vec<_>>>()?;
    let mut contest = lab.contest();
    for (way, region) in ways.iter().zip(&mut regions) {
        let forwarding = Arc::new(forwarding(&way.snapshot(1)));
        let bed = Rc::new(RefCell::new(Bed::new(*way, region.flows()?, lab.sinks.take(), &forwarding)));
        let of = bed.clone();
        let unit = (NEW_FLOWS, "ns/flow");
        contest.add(way.case("new"), "leat", unit, move || of.borrow_mut().begin(NEW_FLOWS / BURST as u32));
        contest.add(way.case("expire"), "leat", unit, move || bed.borrow_mut().expire());
    }
    contest.run(if lab.full { 51 } else { 11 })?;
    contest.ratio("ratio/ipv6-to-ipv4/new/full-nat", (&IPV6.case("new"), "leat"), (&COMMON.case("new"), "leat"));
    Ok(())
}

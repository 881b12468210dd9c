//! The pipeline in memory, without ports, next to `rte_hash` and to plain memory access: one slice of each in turn, so that what
//! disturbs the machine disturbs all of them alike.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use leat_abi::Snapshot;
use leat_abi::snapshot::{Limits, TargetState};
use leat_core::{BURST, Forwarding, prefetch};
use leat_dpdk::reference::{HashTable, KEY_BYTES};
use leat_dpdk::{Eal, rdtsc};

use crate::bed::{Bed, Direction, Random, forwarding};
use crate::memory::{self, Line, Pages, Region, Sinks};
use crate::stats::Figure;
use crate::world::{self, Mode, Transport};

/// Bursts in a slice: some milliseconds.
const SLICE_BURSTS: u32 = 1024;
/// Flows begun in a slice.
const NEW_FLOWS: u32 = 1 << 17;
/// Room in the table in which flows are begun.
const NEW_CAPACITY: usize = 1 << 20;
/// MiB that must be available for ten million flows.
const LARGE_MIB: u64 = 8192;

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
    let eal = Eal::init(&eal_arguments(options, largest))?;
    let sinks = Sinks::new(&options.scratch)?;
    let forwarding = Arc::new(forwarding(&world::snapshot(1)));

    snapshots(options)?;
    changes(&eal, options, &sinks)?;
    for n in &flows {
        established(&eal, options, *n, &sinks, &forwarding)?;
    }
    begun(&eal, options, &sinks, &forwarding)
}

fn progress(text: &str) {
    eprintln!("  {text}");
}

type Slice<'a> = Box<dyn FnMut() -> Result<u64> + 'a>;

/// One system under measurement: a slice of work, and the samples in ticks per packet.
struct Contestant<'a> {
    case: String,
    system: &'static str,
    slice: Slice<'a>,
    samples: Vec<f64>,
}

impl<'a> Contestant<'a> {
    fn new(case: String, system: &'static str, slice: Slice<'a>) -> Self {
        Self { case, system, slice, samples: Vec::new() }
    }
}

fn established(eal: &Eal, options: &Options, n: u32, sinks: &Sinks, forwarding: &Arc<Forwarding>) -> Result<()> {
    progress(&format!("established flows: {n}"));
    let started = Instant::now();
    let capacity = (n as usize).max(64);
    let settings = [(Mode::FullNat, Transport::Tcp), (Mode::Preserve, Transport::Tcp), (Mode::FullNat, Transport::Udp)];
    let mut regions = Vec::new();
    for _ in settings {
        regions.push(Region::new(capacity * 64, options.pages)?);
    }
    let (before, _) = memory::resident_bytes();
    let mut beds = Vec::new();
    for ((mode, transport), region) in settings.into_iter().zip(&mut regions) {
        let mut bed = Bed::new(mode, transport, region.entries(capacity)?, sinks.take(), forwarding);
        bed.establish(n)?;
        beds.push((mode, transport, bed));
    }
    if n == 1_000_000 {
        memory_figures(beds.len(), capacity, before, &mut beds[0].2);
    }
    let mut line_region = Region::new(capacity * 64, options.pages)?;
    let lines: &[Line] = line_region.lines(capacity)?;
    let table = hash_table(eal, n)?;

    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (mode, transport, bed) in &mut beds {
        let case = format!("established{}/{}/ipv4/{n}", transport.suffix(), mode.name());
        let bed = Rc::new(RefCell::new(bed));
        for (suffix, direction) in [("", Direction::Clients), ("/both-directions", Direction::Both)] {
            let bed = bed.clone();
            let slice = Box::new(move || bed.borrow_mut().established(SLICE_BURSTS, direction));
            contestants.push(Contestant::new(format!("{case}{suffix}"), "leat", slice));
        }
        if *transport == Transport::Tcp {
            let (table, mut random) = (&table, Random::new(0x77));
            let slice = Box::new(move || look_up(table, n, SLICE_BURSTS, &mut random));
            contestants.push(Contestant::new(case.clone(), "rte_hash", slice));
            let mut random = Random::new(0x99);
            let slice = Box::new(move || floor(&lines[..n as usize], SLICE_BURSTS, &mut random));
            contestants.push(Contestant::new(case, "floor", slice));
        }
    }
    let rounds = if options.full { 201 } else { 41 };
    for round in 0..=rounds {
        for contestant in &mut contestants {
            let ticks = (contestant.slice)()?;
            // The first round warms up.
            if round > 0 {
                contestant.samples.push(ticks as f64 / f64::from(SLICE_BURSTS * BURST as u32));
            }
        }
    }
    for c in &contestants {
        Figure::of_ticks(&*c.case, c.system, &c.samples, eal.tsc_hz(), "ns/packet").print();
    }
    progress(&format!("  took {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn memory_figures(beds: usize, capacity: usize, before: u64, bed: &mut Bed<'_>) {
    Figure::once("memory/ipv4", "leat", bed.pipeline().bytes_per_flow(), "bytes/flow")
        .with_note(format!("entry, index, free list and timer; table of {capacity} entries, full"))
        .print();
    let (after, huge) = memory::resident_bytes();
    // The entries were resident before; the harness keeps a binding of 4 bytes a flow.
    let grown = (after.saturating_sub(before)) as f64 / beds as f64 / capacity as f64 + 64.0 - 4.0;
    Figure::once("memory/ipv4/resident", "leat", grown, "bytes/flow")
        .with_note(format!("as the kernel counts it; {} MiB of the process on transparent huge pages", huge >> 20))
        .print();
}

/// A 40-byte key as the reference has it: two IPv6 (here: mapped IPv4) addresses, ports, protocol.
fn key(n: u32) -> [u8; KEY_BYTES] {
    let client = world::client(n);
    let node = world::node(Mode::FullNat);
    let mut key = [0; KEY_BYTES];
    key[10..12].fill(0xff);
    key[12..16].copy_from_slice(&client.ip.octets());
    key[26..28].fill(0xff);
    key[28..32].copy_from_slice(&node.ip.octets());
    key[32..34].copy_from_slice(&client.port.to_be_bytes());
    key[34..36].copy_from_slice(&node.port.to_be_bytes());
    key[36] = 6;
    key
}

fn hash_table(eal: &Eal, keys: u32) -> Result<HashTable> {
    // A quarter more room than keys: above nine tenths, insertion begins to fail.
    let mut table = HashTable::new(eal, &format!("bench{keys}"), (keys + keys / 4).max(64))?;
    for n in 0..keys {
        table.add_key(&key(n)).with_context(|| format!("key {n} of {keys}"))?;
    }
    Ok(table)
}

fn look_up(table: &HashTable, keys: u32, bursts: u32, random: &mut Random) -> Result<u64> {
    let mut ticks = 0;
    let mut burst = [[0; KEY_BYTES]; BURST];
    let mut positions = [0i32; BURST];
    for _ in 0..bursts {
        for slot in &mut burst {
            *slot = key(random.below(keys));
        }
        let before = rdtsc();
        let references = burst.each_ref();
        table.lookup_bulk(&references, &mut positions);
        let missed = positions.iter().filter(|position| **position < 0).count();
        ticks += rdtsc().wrapping_sub(before);
        ensure!(missed == 0, "{missed} keys of the reference's table were not found");
    }
    Ok(ticks)
}

/// Reads one random cache line per packet, each asked for a burst before.
fn floor(lines: &[Line], bursts: u32, random: &mut Random) -> Result<u64> {
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

fn begun(eal: &Eal, options: &Options, sinks: &Sinks, forwarding: &Arc<Forwarding>) -> Result<()> {
    progress("new flows");
    let settings = [(Mode::Preserve, Transport::Tcp), (Mode::FullNat, Transport::Tcp), (Mode::FullNat, Transport::Udp)];
    let mut regions = Vec::new();
    for _ in settings {
        regions.push(Region::new(NEW_CAPACITY * 64, options.pages)?);
    }
    let mut beds = Vec::new();
    for ((mode, transport), region) in settings.into_iter().zip(&mut regions) {
        let bed = Bed::new(mode, transport, region.entries(NEW_CAPACITY)?, sinks.take(), forwarding);
        beds.push((mode, transport, bed, Vec::new(), Vec::new()));
    }
    for round in 0..=if options.full { 51 } else { 11 } {
        for (_, _, bed, begun, ended) in &mut beds {
            let ticks = [bed.begin(NEW_FLOWS / BURST as u32)?, bed.expire()?];
            if round > 0 {
                let [begin, expire] = ticks.map(|ticks| ticks as f64 / f64::from(NEW_FLOWS));
                begun.push(begin);
                ended.push(expire);
            }
        }
    }
    for (mode, transport, _, begun, ended) in &beds {
        let case = |what: &str| format!("{what}{}/{}/ipv4", transport.suffix(), mode.name());
        Figure::of_ticks(case("new"), "leat", begun, eal.tsc_hz(), "ns/flow").print();
        Figure::of_ticks(case("expire"), "leat", ended, eal.tsc_hz(), "ns/flow").print();
    }
    Ok(())
}

/// What new configurations cost off the packet path.
fn snapshots(options: &Options) -> Result<()> {
    progress("snapshots");
    let (targets, groups, zones) = world::ZONED;
    let scale = format!("{}-targets", world::TARGETS);
    let zoned = format!("{targets}-targets-{groups}-listeners-{zones}-zones");
    encode_and_decode(options, &world::snapshot(7), &scale, &format!("two groups with tables of {}", world::TABLE))?;
    encode_and_decode(options, &world::zoned(7, true), &format!("{zoned}/cross-zone"), "a table for each listener")?;
    encode_and_decode(options, &world::zoned(7, false), &zoned, "a table for each listener and zone")
}

fn encode_and_decode(options: &Options, snapshot: &Snapshot, scale: &str, note: &str) -> Result<()> {
    let limits = Limits { targets_max: world::ZONED.0, listeners_max: 256, ports: 1 };
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..if options.full { 101 } else { 21 } {
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
fn changes(eal: &Eal, options: &Options, sinks: &Sinks) -> Result<()> {
    const FLOWS: u32 = 200_000;
    const BURSTS: u32 = 200_000;
    progress("all targets change at once");
    let all = |state| {
        let mut snapshot = world::snapshot(2);
        snapshot.targets.iter_mut().for_each(|target| target.state = state);
        Arc::new(forwarding(&snapshot))
    };
    let before = Arc::new(forwarding(&world::snapshot(1)));
    for (what, state) in
        [("none", TargetState::Active), ("unhealthy", TargetState::Unhealthy), ("terminate", TargetState::Terminate)]
    {
        let mut region = Region::new(FLOWS as usize * 64, options.pages)?;
        let entries = region.entries(FLOWS as usize)?;
        let mut bed = Bed::new(Mode::FullNat, Transport::Tcp, entries, sinks.take(), &before);
        bed.establish(FLOWS)?;
        let hz = eal.tsc_hz();
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

/// What callgrind is to count.
#[derive(Debug, Clone, clap::Args)]
pub struct Counted {
    /// Addressing mode
    #[arg(long, value_parser = ["preserve", "full-nat"])]
    mode: String,
    /// UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// First packets instead of packets of established flows
    #[arg(long)]
    new: bool,
    /// Packets of both directions instead of clients' only
    #[arg(long)]
    both: bool,
    /// Bursts of packets
    #[arg(long)]
    bursts: u32,
    /// A path in a tmpfs for a file that is removed at once
    #[arg(long)]
    scratch: std::path::PathBuf,
}

/// A fixed amount of work, to be run under callgrind. DPDK is not started.
pub fn counted(what: &Counted) -> Result<()> {
    const FLOWS: u32 = 4096;
    let mode = if what.mode == "preserve" { Mode::Preserve } else { Mode::FullNat };
    let transport = if what.udp { Transport::Udp } else { Transport::Tcp };
    let sinks = Sinks::new(&what.scratch)?;
    let forwarding = Arc::new(forwarding(&world::snapshot(1)));
    let mut region = Region::new(FLOWS as usize * 2 * 64, Pages::Ordinary)?;
    let entries = region.entries(FLOWS as usize * 2)?;
    let mut bed = Bed::new(mode, transport, entries, sinks.take(), &forwarding);
    if what.new {
        bed.begin(what.bursts)?;
    } else {
        bed.establish(FLOWS)?;
        bed.established(what.bursts, if what.both { Direction::Both } else { Direction::Clients })?;
    }
    Ok(())
}

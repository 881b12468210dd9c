//! Fuzzes the pipeline with packets that know its grammar: flows of many clients and targets in all families and modes, whole and in
//! fragments, ICMP errors about them, then mutated, among noise, while the clock jumps, configurations change, commands arrive, and the process dies and comes back.
//!
//! `cargo run --profile checked -p leat-core --example fuzz -- [--packets N] [--seed N] [--lcores N]`
//!
//! Everything follows from the seed. A failure prints it, and how to run it again.

#[allow(dead_code)]
#[path = "../../tests/common/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "../../tests/common/world.rs"]
mod world;

#[path = "../../tests/targets/bodies/frames.rs"]
mod frames;

mod build;
mod checks;
mod lcores;
mod traffic;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use leat_abi::message::{ANY_PORT, Command, Filter};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use lcores::Lcores;
use traffic::Traffic;

/// Bursts between checks of every flow entry.
const BURSTS_PER_CHECK: u64 = 4096;
/// Bursts between lines of progress.
const BURSTS_PER_LINE: u64 = 1 << 18;

/// Where a run is: for the message of a failure.
static BURST: AtomicU64 = AtomicU64::new(0);

struct Options {
    packets: u64,
    seed: u64,
    lcores: u16,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let mut options = Self { packets: 10_000_000, seed: now, lcores: 2 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} wants a number"))?;
            let number: u64 = value.parse().map_err(|e| format!("{name} {value}: {e}"))?;
            match name.as_str() {
                "--packets" => options.packets = number,
                "--seed" => options.seed = number,
                "--lcores" if (1..=64).contains(&number) => options.lcores = number as u16,
                _ => return Err(format!("{name} {value}: not known, or out of range (1 to 64 lcores)")),
            }
        }
        Ok(options)
    }
}

fn main() -> std::process::ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\nusage: fuzz [--packets N] [--seed N] [--lcores N]");
            return std::process::ExitCode::from(2);
        }
    };
    let Options { packets, seed, lcores } = options;
    println!("seed {seed}, {lcores} lcores, {packets} packets");
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        let burst = BURST.load(Ordering::Relaxed);
        eprintln!("FAILED in burst {burst}. To run it again: --seed {seed} --lcores {lcores} --packets {packets}");
    }));
    run(&options);
    std::process::ExitCode::SUCCESS
}

fn run(options: &Options) {
    let start = Instant::now();
    let mut random = SmallRng::seed_from_u64(options.seed);
    let mut lcores = Lcores::new(options.lcores, &mut random);
    let mut traffic = Traffic::new(&mut random);
    let (mut fed, mut bursts) = (0, 0u64);
    while fed < options.packets {
        BURST.store(bursts, Ordering::Relaxed);
        fed += lcores.burst(&mut traffic, &mut random);
        happen(&mut lcores, &mut traffic, &mut random);
        bursts += 1;
        if bursts.is_multiple_of(BURSTS_PER_CHECK) {
            lcores.check();
        }
        if bursts.is_multiple_of(BURSTS_PER_LINE) {
            println!("{}", lcores.summary(fed, start.elapsed()));
        }
    }
    lcores.check();
    println!("{}", lcores.summary(fed, start.elapsed()));
    println!("{}", lcores.details());
    println!("OK: seed {}, {fed} packets, no failure", options.seed);
}

/// What else happens between bursts.
fn happen(lcores: &mut Lcores, traffic: &mut Traffic, random: &mut SmallRng) {
    let dice: u32 = random.random();
    // Mostly some milliseconds pass, sometimes a timeout's worth, rarely so much that the 16-bit stamps wrap around.
    lcores.now.ms += match dice % 4096 {
        0 => 15_000,
        1 => 61_000,
        2 if dice >> 12 & 7 == 0 => 400_000,
        3 if dice >> 12 & 63 == 0 => 70_000_000,
        _ => u64::from(dice >> 12) % 8,
    };
    let at = random.random_range(0..lcores.count());
    match random.random_range(0..1u32 << 16) {
        0..8192 => drop(lcores.housekeeping(at)),
        8192..10_000 => drop(lcores.drain_events(at)),
        10_000..10_060 => lcores.reconfigure(random),
        10_060..10_070 => {
            let filter = Filter { protocol: random.random::<u8>() % 18, ..Filter::default() };
            let (id, count) = (random.random(), random.random_range(1..200));
            lcores.command(at, Command::TraceStart { id, count, port: ANY_PORT, filter });
        }
        10_070..10_080 => {
            let (id, limit) = (random.random(), random.random_range(0..500));
            lcores.command(at, Command::FlowDump { id, limit, filter: Filter::default() });
        }
        10_080..10_084 => lcores.crash(random),
        10_090..10_092 => lcores.settle(traffic),
        10_084 => lcores.crash_with_damage(random),
        _ => {}
    }
}

//! Runs simulations: many seeds, or one again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use leat_sim::{Failure, Kind, Options, Plant, Segment, Summary, run};

/// Deterministic simulation of the appliance: the real model, snapshot compiler, segment and packet pipeline, with time, network, disk
/// and crashes played from a seed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Run this seed, or begin with it.
    #[arg(long)]
    seed: Option<u64>,
    /// So many seeds, one after the other.
    #[arg(long)]
    seeds: Option<u64>,
    /// Go on for so many seconds of real time.
    #[arg(long)]
    seconds: Option<u64>,
    /// What the runs are like.
    #[arg(long, value_enum, default_value = "dense")]
    profile: Kind,
    /// Simulated hours of a run.
    #[arg(long)]
    hours: Option<f64>,
    /// End after so many events.
    #[arg(long)]
    steps: Option<u64>,
    /// Plant a fault, to see that it is found.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Print every event.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments) {
        Ok(failures) => ExitCode::from(u8::from(failures > 0)),
        Err(error) => {
            eprintln!("leat-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn simulate(arguments: &Arguments) -> anyhow::Result<u64> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    // Short enough to be typed.
    let first = arguments.seed.unwrap_or(time % 1_000_000_000_000);
    let end = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let most = arguments.seeds.unwrap_or(if arguments.seed.is_some() || end.is_none() { 1 } else { u64::MAX });
    let (begin, mut total, mut failures, mut seeds) = (Instant::now(), Summary::default(), 0, 0);
    let mut told = Instant::now();
    let mut segment = Segment::new()?;
    while seeds < most && end.is_none_or(|end| Instant::now() < end) {
        let options = Options {
            seed: first + seeds,
            profile: arguments.profile.profile(arguments.hours),
            steps: arguments.steps.unwrap_or(u64::MAX),
            plant: arguments.plant,
            verbose: arguments.verbose,
        };
        seeds += 1;
        match catch_unwind(AssertUnwindSafe(|| run(&mut segment, options))) {
            Ok(Ok(summary)) => total = sum(total, summary),
            Ok(Err(failure)) => {
                failures += 1;
                print_failure(&failure, arguments);
            }
            Err(_) => {
                failures += 1;
                println!("seed {} has panicked; {}", first + seeds - 1, replay(first + seeds - 1, None, arguments));
                // What the dead run had of it is lost.
                segment = Segment::new()?;
            }
        }
        if told.elapsed() >= Duration::from_secs(60) {
            told = Instant::now();
            println!("{}", report(first, seeds, failures, total, begin.elapsed()));
        }
    }
    println!("{}", report(first, seeds, failures, total, begin.elapsed()));
    println!("leat simulation: {}", if failures == 0 { "PASS" } else { "FAIL" });
    Ok(failures)
}

fn print_failure(failure: &Failure, arguments: &Arguments) {
    let Failure { seed, step, at_ms, breach, events, .. } = failure;
    println!("seed {seed}, step {step}, {:.3} s: {} is broken: {}", *at_ms as f64 / 1000.0, breach.law, breach.what);
    println!("the last events:");
    events.iter().for_each(|event| println!("  {event}"));
    println!("{}", replay(*seed, Some(*step + 1), arguments));
}

fn replay(seed: u64, steps: Option<u64>, arguments: &Arguments) -> String {
    let profile = if arguments.profile == Kind::Long { " --profile long" } else { "" };
    let hours = arguments.hours.map_or(String::new(), |hours| format!(" --hours {hours}"));
    let steps = steps.map_or(String::new(), |steps| format!(" --steps {steps}"));
    let plant = arguments.plant.and_then(|plant| clap::ValueEnum::to_possible_value(&plant));
    let plant = plant.map_or(String::new(), |plant| format!(" --plant {}", plant.get_name()));
    format!("to see it again: scripts/simulate --seed {seed}{profile}{hours}{plant}{steps} -v")
}

fn sum(a: Summary, b: Summary) -> Summary {
    Summary {
        steps: a.steps + b.steps,
        simulated_ms: a.simulated_ms + b.simulated_ms,
        changes: a.changes + b.changes,
        checks: a.checks + b.checks,
        packets: a.packets + b.packets,
        flows: a.flows + b.flows,
        answers: a.answers + b.answers,
        snapshots: a.snapshots + b.snapshots,
        restarts: [a.restarts[0] + b.restarts[0], a.restarts[1] + b.restarts[1]],
        digest: a.digest ^ b.digest,
    }
}

fn report(first: u64, seeds: u64, failures: u64, total: Summary, elapsed: Duration) -> String {
    let hours = total.simulated_ms as f64 / 3_600_000.0;
    format!(
        "{seeds} seeds from {first}, {failures} failures: {hours:.1} hours in {:.1} s, {:.1} hours a second; {} events, {} changes, \
         {} checks, {} packets, {} flows, {} answers, {} snapshots, {} and {} beginnings of control and data plane",
        elapsed.as_secs_f64(),
        hours / elapsed.as_secs_f64(),
        total.steps,
        total.changes,
        total.checks,
        total.packets,
        total.flows,
        total.answers,
        total.snapshots,
        total.restarts[0],
        total.restarts[1],
    )
}

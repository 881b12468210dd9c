//! New connections and requests through network namespaces: what a load balancer's CPU spends on one, Leat next to HAProxy, nginx and
//! nftables, all with full NAT.
//!
//! Clients, targets, kernel stacks and proxies share one CPU. What a kernel's or a proxy's load balancer costs is what that CPU spends on
//! a connection or request with it, less what it spends without anything between clients and targets (system `direct`), in the same
//! round. That contains all: system calls, soft interrupts, the hop more. An lcore has the other CPU, which it always
//! uses; of Leat, the turns of its loop count that had work to do, by the TSC.
//!
//! Leat has its packets from memif ports, which stand for NICs: a relay carries them to the interfaces. The relay's time is not Leat's, as a
//! NIC's would not be. `…/with-af-packet` is Leat with ports on sockets of the kernel, in whose system calls the kernel does the senders' and
//! receivers' work, too.

mod cpu;
mod load;
mod systems;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::stats::Figure;
use cpu::{Cpus, Meters};
use load::{Kind, Plan};
use systems::{Contestant, System};

/// Clients that work at a time.
const CLIENTS: usize = 64;
/// Connections that count in a round, at the most. A source port rests for a minute after its connection, and there are 55,000 towards each
/// of four targets: enough for all rounds of a minute, however fast the machine is.
const CONNECTIONS_MAX: u64 = 16_000;

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Three times as many rounds
    #[arg(long)]
    full: bool,
    /// Name of the directory of the relay's EAL; whoever starts this takes it away
    #[arg(long, default_value = "leat-bench-relay")]
    file_prefix: String,
}

/// One window of a system.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Time of the shared CPU, µs per operation.
    shared_us: f64,
    /// Time of the proxy's process, µs per operation.
    process_us: f64,
    /// Busy time of the lcore, µs per operation.
    lcore_us: f64,
    /// Packets per operation through the lcore.
    packets: f64,
    /// Operations per second.
    rate: f64,
}

/// Measures, and prints figures as lines of JSON.
pub fn run(options: &Options) -> Result<()> {
    let cpus = Cpus::choose()?;
    cpu::pin(&[cpus.shared])?;
    let mut contestants = Vec::new();
    for system in System::ALL {
        if let Some(missing) = missing(system) {
            eprintln!("  {system:?} is left out: there is no {missing}");
            continue;
        }
        eprintln!("  starting {system:?}");
        contestants.push(Contestant::start(system, cpus, &options.file_prefix).with_context(|| format!("{system:?}"))?);
    }
    let rounds = if options.full { 21 } else { 7 };
    for (kind, name) in [(Kind::Connection, "connection"), (Kind::Request, "request")] {
        let mut samples: Vec<Vec<Sample>> = contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            eprintln!("  {name}s, round {} of {rounds}", round + 1);
            for (contestant, samples) in contestants.iter().zip(&mut samples) {
                let sample = measure(contestant, kind, cpus);
                samples.push(sample.with_context(|| format!("{:?}, {name}s", contestant.system))?);
            }
        }
        let by_system: Vec<_> = contestants.iter().map(|it| it.system).zip(&samples).collect();
        print(name, &by_system);
    }
    contestants.into_iter().try_for_each(Contestant::finish)
}

/// The program that a system needs and that is not installed.
fn missing(system: System) -> Option<&'static str> {
    let program = match system {
        System::Direct | System::Routing | System::LeatAfPacket => return None,
        System::Nftables => "nft",
        System::Haproxy => "haproxy",
        System::Nginx => "nginx",
        System::Leat => "dpdk-testpmd",
    };
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin", "/usr/local/bin"];
    places.iter().all(|place| !Path::new(place).join(program).exists()).then_some(program)
}

fn measure(contestant: &Contestant, kind: Kind, cpus: Cpus) -> Result<Sample> {
    contestant.pause(false);
    let plan = Plan {
        kind,
        to: contestant.to.clone(),
        clients: CLIENTS,
        warm_up: Duration::from_millis(200),
        window: Duration::from_millis(800),
        most: if kind == Kind::Connection { CONNECTIONS_MAX } else { u64::MAX },
    };
    let meters = Meters {
        shared: cpus.shared,
        process: contestant.proxy.as_ref().map(leat_testbed::Process::pid),
        appliance: contestant.appliance.as_ref(),
    };
    let outcome = contestant.clients.enter(|| load::drive(&plan, || meters.read()))??;
    contestant.pause(true);
    let spent = outcome.after.since(&outcome.before);
    let operations = outcome.operations as f64;
    Ok(Sample {
        shared_us: spent.shared_us / operations,
        process_us: spent.process_us / operations,
        lcore_us: spent.lcore_us / operations,
        packets: spent.packets / operations,
        rate: operations / spent.wall_us * 1e6,
    })
}

/// Prints the figures of a kind of operation: what each load balancer costs, and what was read to know it.
fn print(name: &str, all: &[(System, &Vec<Sample>)]) {
    let unit = format!("us/{name}");
    let case = |rest: &str| format!("{name}/full-nat{rest}");
    let figure = |case: String, system: System, values: Vec<f64>, samples: &[Sample]| {
        let rate = median(samples.iter().map(|it| it.rate));
        Figure::of(case, system.name(), &values, &unit, true).with_note(format!("{rate:.0} {name}s/s"))
    };
    let direct = all.iter().find(|(system, _)| *system == System::Direct).map(|(_, samples)| *samples);
    for (system, samples) in all {
        let of = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        match system {
            System::Leat | System::LeatAfPacket => {
                let rest = if *system == System::Leat { "" } else { "/with-af-packet" };
                let packets = median(samples.iter().map(|it| it.packets));
                let mut figure = figure(case(rest), *system, of(|it| it.lcore_us), samples);
                figure.note = figure.note.map(|note| format!("{note}, {packets:.1} packets each"));
                figure.print();
                continue;
            }
            System::Direct => {}
            _ => {
                let cost =
                    samples.iter().zip(direct.into_iter().flatten()).map(|(it, none)| it.shared_us - none.shared_us);
                // Routing without NAT is no load balancer, and for comparison only.
                let case = if *system == System::Routing { format!("{name}/no-nat") } else { case("") };
                figure(case, *system, cost.collect(), samples).print();
            }
        }
        figure(format!("{name}/with-clients-and-targets"), *system, of(|it| it.shared_us), samples).print();
        if matches!(system, System::Haproxy | System::Nginx) {
            figure(case("/process"), *system, of(|it| it.process_us), samples).print();
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Figure::of("", "", &values.collect::<Vec<_>>(), "", true).value
}

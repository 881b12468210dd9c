//! What the commands do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leat_dpdk::{Eal, PortId, PortInfo};

use crate::frame::Transport;
use crate::generator::{Directions, Generator, Outcome, Pace, Traffic, Until};
use crate::options::{
    BackToBack, Command, Connect, FrameSize, Latency, Loss, Rig, Run, SearchOptions, SelfTest, Throughput,
};
use crate::report::Report;
use crate::rfc2544::{self, Search};
use crate::site::{Device, Site, Source};

/// Does what was asked. Returns whether everything that arrived was right.
pub fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Run(options) => send(options),
        Command::Throughput(options) => throughput(options),
        Command::Latency(options) => latency(options),
        Command::Loss(options) => loss(options),
        Command::BackToBack(options) => back_to_back(options),
        Command::Connections(options) => connections(options),
        Command::SelfTest(options) => self_test(options),
    }
}

fn send(options: &Run) -> Result<bool> {
    let pace = options.rate.map_or(Pace::Window(options.window), Pace::Rate);
    let until = options.packets.map_or(Until::Time(Duration::from_secs_f64(options.seconds)), Until::Packets);
    each_size(&options.rig, |generator, report, name| {
        let outcome = generator.run(pace, until, true)?;
        let note = format!("{}{}", outcome.counts, late(&outcome));
        report.add(&format!("rate/{name}"), outcome.rate() / 1e6, "Mpackets/s", note);
        report.latency(&format!("latency/{name}"), &outcome);
        Ok(outcome.counts.is_clean())
    })
}

fn late(outcome: &Outcome) -> String {
    match outcome.left_out {
        0 => String::new(),
        n => format!("; the generator was late and left {n} out"),
    }
}

fn search(options: &SearchOptions) -> Search {
    Search {
        max_rate: options.max_rate,
        resolution: options.resolution.clamp(0.0001, 0.5),
        trial: Duration::from_secs_f64(options.seconds),
        attempts: options.attempts,
    }
}

fn throughput(options: &Throughput) -> Result<bool> {
    each_size(&options.rig, |generator, report, name| {
        let found = rfc2544::throughput(generator, &search(&options.search))?;
        let note = format!("{}; {}", found.best.counts, found.why());
        report.add(&format!("throughput/{name}"), found.best.rate() / 1e6, "Mpackets/s", note);
        Ok(true)
    })
}

fn latency(options: &Latency) -> Result<bool> {
    each_size(&options.rig, |generator, report, name| {
        let rate = match options.rate {
            Some(rate) => rate,
            None => options.load * rfc2544::throughput(generator, &search(&options.search))?.best.rate(),
        };
        let time = Duration::from_secs_f64(options.search.seconds);
        let outcome = generator.run(Pace::Rate(rate), Until::Time(time), true)?;
        report.latency(&format!("latency/{name}"), &outcome);
        report.add(
            &format!("latency/{name}/lost"),
            outcome.counts.lost() as f64,
            "packets",
            outcome.counts.to_string(),
        );
        Ok(outcome.counts.is_clean())
    })
}

fn loss(options: &Loss) -> Result<bool> {
    each_size(&options.rig, |generator, report, name| {
        let time = Duration::from_secs_f64(options.search.seconds);
        let highest = match options.search.max_rate {
            Some(rate) => rate,
            None => 1.3 * rfc2544::estimate(generator, time)?,
        };
        let mut right = true;
        for (n, outcome) in rfc2544::loss_curve(generator, highest, options.steps, time)?.iter().enumerate() {
            let percent = 100 * (options.steps as usize - n) / options.steps as usize;
            let share = 100.0 * outcome.counts.lost() as f64 / outcome.counts.sent.max(1) as f64;
            let note = format!("{:.3} M/s offered; {}{}", outcome.offered_rate() / 1e6, outcome.counts, late(outcome));
            report.add(&format!("loss/{name}/{percent}"), share, "%", note);
            right &= outcome.counts.is_right();
        }
        Ok(right)
    })
}

fn back_to_back(options: &BackToBack) -> Result<bool> {
    each_size(&options.rig, |generator, report, name| {
        let rate = match options.search.max_rate {
            Some(rate) => rate,
            None => 1.3 * rfc2544::estimate(generator, Duration::from_secs_f64(options.search.seconds))?,
        };
        let (longest, sent_at) = rfc2544::back_to_back(generator, rate, options.max_burst, options.search.attempts)?;
        let note = format!("sent at {:.3} M/s, {:.3} wanted", sent_at / 1e6, rate / 1e6);
        report.add(&format!("back-to-back/{name}"), longest as f64, "packets", note);
        Ok(true)
    })
}

fn connections(options: &Connect) -> Result<bool> {
    let pace = options.rate.map_or(Pace::Window(options.window), Pace::Rate);
    let until = Until::Time(Duration::from_secs_f64(options.seconds));
    let eal = Eal::init(&options.rig.eal)?;
    let report = Report::new(&options.rig.system, options.rig.json);
    let mut right = true;
    for size in &options.rig.frame {
        let mut generator = generator(&eal, &options.rig, *size)?;
        generator.wait_for_service(Duration::from_secs_f64(options.rig.wait))?;
        let outcome = generator.connect(pace, until, options.close)?;
        let failed = outcome.begun - outcome.completed;
        let case = format!("connections/{size}");
        let note =
            format!("{} begun, {} completed, {failed} not; {}", outcome.begun, outcome.completed, outcome.counts);
        report.add(&case, outcome.rate(), "connections/s", note);
        for (name, quantile) in crate::report::QUANTILES {
            let ticks = outcome.handshake.value_at_quantile(quantile) as f64;
            report.add(&format!("{case}/handshake/{name}"), ticks * 1e6 / outcome.tsc_hz as f64, "us", None);
        }
        right &= failed == 0 && outcome.counts.is_clean();
    }
    Ok(right)
}

/// Opens the flows and measures with each size of frames. Returns whether all were right.
fn each_size(rig: &Rig, mut measure: impl FnMut(&mut Generator, &Report, &str) -> Result<bool>) -> Result<bool> {
    let eal = Eal::init(&rig.eal)?;
    let report = Report::new(&rig.system, rig.json);
    let first = *rig.frame.first().context("at least one size of frames")?;
    let mut generator = generator(&eal, rig, first)?;
    if rig.device == Device::Nat {
        generator.wait_for_service(Duration::from_secs_f64(rig.wait))?;
        generator.open(rig.opening)?;
        eprintln!("{} flows are open", rig.flows);
    }
    let mut right = true;
    for size in &rig.frame {
        generator.set_sizes(&size.sizes())?;
        let name = format!("{size}/{}", rig.flows);
        right &= measure(&mut generator, &report, &name)?;
    }
    Ok(right)
}

/// A generator for a rig, its links up.
fn generator(eal: &Eal, rig: &Rig, size: FrameSize) -> Result<Generator> {
    let infos = PortId::all(eal).into_iter().map(|id| PortInfo::of(eal, id)).collect::<Result<Vec<_>, _>>()?;
    let first = infos.first().context("DPDK has no port: name one with --vdev or -a behind --")?;
    let client_port = rig.client_port.as_ref().unwrap_or(&first.name);
    let target_port = rig.target_port.as_ref().unwrap_or(client_port);
    let own = |name: &String, given: Option<crate::site::Mac>| match given {
        Some(mac) => Ok(mac.0),
        None => infos
            .iter()
            .find(|info| info.name == *name)
            .map(|info| info.mac)
            .with_context(|| format!("there is no port {name}")),
    };
    let device_macs = match rig.device_mac.as_slice() {
        [one] => [one.0; 2],
        [clients, targets] => [clients.0, targets.0],
        _ => anyhow::bail!("--device-mac is missing: the MAC address of the device's port"),
    };
    let site = Site {
        device: rig.device,
        clients: rig.clients,
        client_ports: rig.client_ports,
        service: rig.service,
        targets: rig.targets,
        target_port: rig.target_l4_port,
        source: rig.source,
        macs: [own(client_port, rig.client_mac)?, own(target_port, rig.target_mac)?],
        device_macs,
    };
    let directions = if rig.device == Device::Nat { Directions::Both } else { Directions::Clients };
    let traffic = Traffic {
        transport: rig.transport,
        flows: rig.flows,
        sizes: size.sizes(),
        directions: rig.directions.unwrap_or(directions),
        seed: rig.seed,
        faults: rig.plant,
    };
    let ports = if client_port == target_port {
        vec![client_port.as_str()]
    } else {
        vec![client_port.as_str(), target_port.as_str()]
    };
    let generator = Generator::new(eal, &ports, site, &traffic)?;
    generator.wait_for_links(Duration::from_secs_f64(rig.wait))?;
    Ok(generator)
}

/// Plants faults of every kind between a loop and the verification, and compares what was found with what was planted.
fn self_test(options: &SelfTest) -> Result<bool> {
    let ring = ["--no-pci", "--no-telemetry", "--no-huge", "--no-shconf", "-m", "128", "--vdev=net_ring0"];
    let eal = if options.eal.is_empty() { Eal::init(&ring)? } else { Eal::init(&options.eal)? };
    let id = *PortId::all(&eal).first().context("DPDK has no port")?;
    let name = PortInfo::of(&eal, id)?.name;
    let site = Site {
        device: Device::Io,
        clients: "198.19.0.0/16".parse()?,
        client_ports: "1024-65535".parse()?,
        service: "198.18.0.1:80".parse()?,
        targets: "198.18.1.0/24".parse()?,
        target_port: 8080,
        source: Source::Any,
        macs: [[2, 0, 0, 0, 0, 1]; 2],
        device_macs: [[2, 0, 0, 0, 0, 2]; 2],
    };
    let traffic = Traffic {
        transport: Transport::Tcp,
        flows: options.flows,
        sizes: FrameSize::Imix.sizes(),
        directions: Directions::Clients,
        seed: 1,
        faults: Some(options.plant),
    };
    let mut generator = Generator::new(&eal, &[name.as_str()], site, &traffic)?;
    generator.wait_for_links(Duration::from_secs(10))?;
    let mut good = true;
    for transport in [Transport::Tcp, Transport::Udp] {
        generator.set_flows(transport, options.flows);
        let before = generator.planted();
        let outcome = generator.run(Pace::Window(512), Until::Packets(options.packets), true)?;
        let (found, after) = (outcome.counts, generator.planted());
        println!("{transport:?}: {found}");
        for (kind, before, after, found) in [
            ("lost", before.lost, after.lost, found.lost()),
            ("reordered", before.reordered, after.reordered, found.reordered),
            ("corrupted", before.corrupted, after.corrupted, found.corrupted),
            ("duplicated", before.duplicated, after.duplicated, found.duplicated),
            ("misrouted", before.misrouted, after.misrouted, found.misrouted),
        ] {
            let planted = after - before;
            println!("  {kind:<10} {planted:>8} planted {found:>8} found");
            good &= planted == found;
        }
        good &= found.foreign == 0 && found.stale == 0 && found.sent == options.packets;
    }
    ensure!(good, "not every fault was counted as it was planted");
    println!("PASS");
    Ok(true)
}

//! Runs each command of leat-gen as a program of its own against the real leat-dp over memif, on one port and on two: everything that it
//! sends must come back right, whatever the rate, and its figures must be there. Rates are told and not judged.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use leat_abi::ControlSegment;
use leat_abi::counters::{Counter, DropReason};
use rustix::process::Signal;

use crate::cleanup::{self, Process};
use crate::memory::Pages;
use crate::rig;
use crate::run::{Report, gather};
use crate::world::{self, CLIENT_MAC, Mode, TARGET_MAC};

/// leat-dp's ports.
const DEVICE_MACS: [&str; 2] = ["02:00:00:00:09:00", "02:00:00:00:09:01"];
/// Flow entries of leat-dp: a million flows, and what other commands have left.
const FLOWS_MAX: u32 = 1 << 22;
/// After so long a command is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is run, with how many ports, and what its first figure is called.
const COMMANDS: &[(u8, &str, &str)] = &[
    (1, "run --flows 1000 --frame 64,imix --seconds 0.5", "rate/64/1000"),
    (1, "run --flows 100000 --transport udp --seconds 0.5", "rate/64/100000"),
    (1, "run --flows 1000000 --seconds 1", "rate/64/1000000"),
    (
        1,
        "throughput --flows 200000 --frame 64,1518 --seconds 0.2 --resolution 0.05 --attempts 3",
        "throughput/64/200000",
    ),
    (1, "latency --flows 1000 --seconds 0.2 --rate 100k", "latency/64/1000/p50"),
    (1, "loss --flows 1000 --seconds 0.1 --steps 5", "loss/64/1000/100"),
    (1, "back-to-back --flows 1000 --seconds 0.1 --max-burst 200000 --attempts 3", "back-to-back/64/1000"),
    (1, "connections --flows 300000 --seconds 0.5", "connections/64"),
    (1, "connections --flows 300000 --seconds 0.5 --rate 50k --close reset", "connections/64"),
    (2, "run --flows 1000 --frame 64,imix --seconds 0.5", "rate/64/1000"),
    (2, "run --flows 1000000 --seconds 1", "rate/64/1000000"),
    (2, "throughput --flows 1000 --seconds 0.2 --resolution 0.05 --attempts 3", "throughput/64/1000"),
    (2, "loss --flows 1000 --seconds 0.1 --steps 5", "loss/64/1000/100"),
    (2, "connections --flows 300000 --seconds 0.5", "connections/64"),
];

/// Runs them all, each with a leat-dp of its own: one connects when it starts, to sockets that must be there.
pub fn run(pages: Pages, report: &mut Report) -> Result<()> {
    for (ports, command, first) in COMMANDS {
        eprintln!("  leat-gen {command}, {ports} ports");
        let mut generator = Process::spawn("leat-gen", &mut leat_gen(*ports, command, pages)?)?;
        wait_for_sockets(*ports, &mut generator)?;
        let (mut leat, segment, early) = start(*ports)?;
        let figures = report.count();
        gather(&mut generator, PATIENCE, report).with_context(|| format!("leat-gen {command}"))?;
        ensure!(report.from(figures).any(|case| case == *first), "leat-gen {command} tells nothing of {first}");
        conserved(&segment, early)?;
        drop(segment);
        leat.signal(Signal::TERM);
        let status = leat.wait(PATIENCE)?;
        ensure!(status.success(), "leat-dp ended badly:\n{}", leat.last_words());
        std::fs::remove_file(rig::segment()).context("the segment of a stopped leat-dp is there")?;
    }
    Ok(())
}

fn name(port: u8) -> String {
    format!("tool-{port}")
}

fn leat_gen(ports: u8, command: &str, pages: Pages) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name("leat-gen");
    ensure!(program.is_file(), "there is no {}; build it: cargo build --release -p leat-gen", program.display());
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut line = Command::new(program);
    line.args(command.split(' ')).args(["--json", "--system", "leat"]);
    line.arg("--service").arg(format!("{}:80", Mode::FullNat.vip()));
    line.args(["--clients", "16.0.0.0/12", "--targets", "10.2.0.0-10.2.3.231", "--source", "translated"]);
    line.args(["--target-l4-port", &world::target(0).port.to_string()]);
    line.args(["--client-mac", &mac(CLIENT_MAC), "--target-mac", &mac(TARGET_MAC)]);
    line.args(["--device-mac", &DEVICE_MACS[..usize::from(ports)].join(",")]);
    if ports == 2 {
        line.args(["--client-port", "net_memif0", "--target-port", "net_memif1"]);
    }
    line.args(["--", "-l", "0", "--no-pci", "--no-telemetry"]);
    line.arg(format!("--file-prefix={}-tool", cleanup::name()));
    match pages {
        Pages::Huge => line.arg("--in-memory"),
        Pages::Ordinary => line.args(["--no-huge", "--no-shconf", "-m", "160"]),
    };
    for port in 0..ports {
        let socket = rig::socket(&name(port));
        let _ = std::fs::remove_file(&socket);
        line.arg(format!("--vdev=net_memif{port},role=server,id=0,socket={},socket-abstract=no", socket.display()));
    }
    Ok(line)
}

fn wait_for_sockets(ports: u8, generator: &mut Process) -> Result<()> {
    let started = Instant::now();
    while !(0..ports).all(|port| rig::socket(&name(port)).exists()) {
        let waits = generator.ended()?.is_none() && started.elapsed() < PATIENCE;
        ensure!(waits, "leat-gen has not opened its sockets:\n{}", generator.last_words());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// leat-dp with so many ports, the targets behind the last one; and how many packets it has dropped until it was configured, as leat-gen begins
/// when the link is up.
fn start(ports: u8) -> Result<(Process, ControlSegment, u64)> {
    let dp = std::env::current_exe()?.with_file_name("leat-dp");
    let device = |port: u8| {
        let socket = rig::socket(&name(port));
        let mac = DEVICE_MACS[usize::from(port)];
        format!("net_memif{port},role=client,id=0,mac={mac},socket={},socket-abstract=no", socket.display())
    };
    let (process, _) = rig::start_with(&dp, &(0..ports).map(device).collect::<Vec<_>>(), FLOWS_MAX)?;
    let mut segment = ControlSegment::attach(&rig::segment())?;
    let mut snapshot = world::snapshot(segment.announced_generation() + 1);
    for target in &mut snapshot.targets {
        target.next_hop = target.next_hop.map(|hop| leat_abi::snapshot::NextHop { port: ports - 1, ..hop });
    }
    segment.publish(&snapshot)?;
    let before = Instant::now();
    while segment.acknowledged_generation() < snapshot.generation {
        ensure!(before.elapsed() < PATIENCE, "leat-dp does not take the configuration");
        std::thread::sleep(Duration::from_millis(1));
    }
    let early = segment.counters(0).dropped_total();
    Ok((process, segment, early))
}

/// Nothing was dropped but what a full queue had no room for, and what came in went out.
fn conserved(segment: &ControlSegment, early: u64) -> Result<()> {
    // The lcore counts at the end of a turn.
    std::thread::sleep(Duration::from_millis(50));
    let counters = segment.counters(0);
    let (rx, forwarded) = (counters.get(Counter::RxPackets), counters.get(Counter::ForwardedPackets));
    let dropped = counters.dropped_total();
    ensure!(segment.lcore_header(0).running.load(Ordering::Acquire) == 1, "leat-dp's lcore has stopped");
    ensure!(
        dropped == counters.dropped(DropReason::TxFull) + early,
        "leat-dp has dropped {dropped} packets, not all of them at full queues"
    );
    ensure!(rx == forwarded + dropped, "{rx} packets received, {forwarded} forwarded, {dropped} dropped");
    Ok(())
}

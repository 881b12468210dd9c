//! The real appliance over memif: starts leat-dp and dpdk-testpmd, all on CPU 1, and the generator on CPU 0 that measures them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use leat_abi::{ControlSegment, SegmentError};
use rustix::process::Signal;

use crate::cleanup::{self, Process};
use crate::generate::FORWARDING;
use crate::hostile;
use crate::memory::Pages;
use crate::run::{Report, Settings, gather};
use crate::stats::Figure;

/// Flow entries of leat-dp.
const FLOWS_MAX: u32 = 1 << 19;
/// Huge pages for the buffers of leat-dp, testpmd and the generator.
pub const PAGES: u64 = 280;

/// leat-dp's segment.
pub fn segment() -> PathBuf {
    // Its name becomes that of EAL's directory, too.
    cleanup::directory().join(cleanup::name())
}

/// A memif socket.
pub fn socket(of: &str) -> PathBuf {
    cleanup::directory().join(format!("{of}.sock"))
}

fn memif(of: &str) -> String {
    format!("net_memif0,role=client,id=0,socket={},socket-abstract=no", socket(of).display())
}

/// Measures starts of leat-dp, then its throughput.
pub fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    cleanup::make_namespace()?;
    let dp = settings.program("leat-dp");
    ensure!(dp.is_file(), "there is no {}; build it: cargo build --release -p leat-dp", dp.display());
    eprintln!("  starts of leat-dp");
    starts(&dp, settings, report)?;
    let mut leat = compete(&dp, settings, false, report)?;
    adopt(&dp, &mut leat, report)
}

/// Measures its throughput without loss and its latency, and nothing else.
pub fn latency(settings: &Settings, report: &mut Report) -> Result<()> {
    cleanup::make_namespace()?;
    let dp = settings.program("leat-dp");
    ensure!(dp.is_file(), "there is no {}; build it: cargo build --release -p leat-dp", dp.display());
    compete(&dp, settings, true, report).map(drop)
}

/// Lets the generator measure leat-dp and testpmd. Returns leat-dp, still with its flows.
fn compete(dp: &Path, settings: &Settings, only_latency: bool, report: &mut Report) -> Result<Process> {
    let pages = settings.pages(PAGES);
    eprintln!("  memif: buffers on {}", pages.text());
    cleanup::unlimited_realtime();
    // The servers of both sockets come first: a client that finds none gives up.
    let testpmd = Path::new("/usr/bin/dpdk-testpmd");
    let with_testpmd = testpmd.is_file();
    if !with_testpmd {
        eprintln!("  there is no {} (Debian package dpdk): leat-dp is measured alone", testpmd.display());
    }
    let ways: Vec<&str> = FORWARDING.iter().map(|(name, _)| *name).filter(|_| with_testpmd).collect();
    let mut generator = start_generator(settings, pages, &ways, only_latency)?;
    let (leat, _) = start(dp, &memif("leat"))?;
    let mut pids = leat.pid().to_string();
    let mut testpmds = Vec::new();
    for way in ways {
        let process = start_testpmd(testpmd, pages, way)?;
        pids.push_str(&format!(" {}", process.pid()));
        testpmds.push(process);
    }
    generator.tell(&pids)?;
    gather(&mut generator, Duration::from_secs(1200), report).map_err(|error| {
        let words: String = testpmds.iter().map(Process::last_words).collect();
        error.context(format!("leat-dp: {}\ntestpmd: {words}\n", leat.last_words()))
    })?;
    Ok(leat)
}

fn start_generator(settings: &Settings, pages: Pages, testpmds: &[&str], only_latency: bool) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("generate").arg("--pages").arg(pages.option());
    command
        .arg("--segment")
        .arg(segment())
        .arg("--leat-socket")
        .arg(socket("leat"))
        .arg(format!("--file-prefix={}-generator", cleanup::name()));
    let sockets: Vec<PathBuf> = testpmds.iter().map(|way| socket(way)).collect();
    for socket in &sockets {
        command.arg("--testpmd-sockets").arg(socket);
    }
    if settings.full {
        command.arg("--full");
    }
    if only_latency {
        command.args(["--only-latency", "--flows", "100000"]);
    }
    let mut process = Process::spawn("generator", &mut command)?;
    let started = Instant::now();
    while !(socket("leat").exists() && sockets.iter().all(|socket| socket.exists())) {
        if process.ended()?.is_some() || started.elapsed() > Duration::from_secs(30) {
            bail!("the generator has not opened its sockets:\n{}", process.last_words());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

/// A port without a wire, for starts.
const UNCONNECTED: &str = "net_null0,no-rx=1";

/// Runs a part of a campaign: a leat-dp of its own, and the generator.
pub fn hostile(part: hostile::Part, packets: u64, seconds: u64, pages: Pages, report: &mut Report) -> Result<()> {
    let program = std::env::current_exe()?;
    let dp = program.with_file_name("leat-dp");
    ensure!(dp.is_file(), "there is no {}; build it: cargo build --release -p leat-dp", dp.display());
    // A flood needs room for as many half-open flows as come in a round trip; pressure needs a table that can be filled.
    let flows_max = if part == hostile::Part::Flood { 1 << 22 } else { 1 << 19 };
    let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(["hostile", "--part", &name, "--packets", &packets.to_string(), "--seconds", &seconds.to_string()]);
    command.arg("--pages").arg(pages.option()).arg("--segment").arg(segment()).arg("--socket").arg(socket("leat"));
    command.arg(format!("--file-prefix={}-generator", cleanup::name()));
    let _ = std::fs::remove_file(socket("leat"));
    let mut generator = Process::spawn("generator", &mut command)?;
    let started = Instant::now();
    while !socket("leat").exists() {
        if generator.ended()?.is_some() || started.elapsed() > Duration::from_secs(30) {
            bail!("the generator has not opened its socket:\n{}", generator.last_words());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut leat, _) = start_with(&dp, &[memif("leat")], flows_max)?;
    generator.tell(&leat.pid().to_string())?;
    let result = gather(&mut generator, Duration::from_secs(24 * 3600), report);
    let words = if result.is_err() { leat.last_words() } else { String::new() };
    leat.signal(Signal::TERM);
    let status = leat.wait(Duration::from_secs(20));
    std::fs::remove_file(segment()).context("the segment of a stopped leat-dp is there")?;
    result.with_context(|| format!("leat-dp: {words}"))?;
    ensure!(status?.success(), "leat-dp ended badly:\n{}", leat.last_words());
    Ok(())
}

fn leat_dp(dp: &Path, devices: &[String], flows_max: u32) -> Command {
    let mut command = cleanup::in_namespace(dp);
    command.arg("--segment").arg(segment());
    for (port, device) in devices.iter().enumerate() {
        command.arg("--port").arg(format!("p{port}={device}"));
    }
    command.args(["--lcores", "1", "--flows-max", &flows_max.to_string(), "--ipv6-flows-max", "0"]);
    command
}

/// Starts leat-dp and waits until its lcore polls. Returns how long that took.
fn start(dp: &Path, device: &str) -> Result<(Process, Duration)> {
    start_with(dp, &[device.to_owned()], FLOWS_MAX)
}

/// The same with these ports, by their DPDK devices, and room for so many flows.
pub fn start_with(dp: &Path, devices: &[String], flows_max: u32) -> Result<(Process, Duration)> {
    let before = Instant::now();
    let mut process = Process::spawn("leat-dp", &mut leat_dp(dp, devices, flows_max))?;
    loop {
        // What an earlier process left in the segment is not this one's life sign.
        match ControlSegment::attach(&segment()) {
            Ok(segment)
                if segment.header().dp_pid.load(Ordering::Acquire) == process.pid() as u64
                    && segment.lcore_header(0).running.load(Ordering::Acquire) == 1 =>
            {
                return Ok((process, before.elapsed()));
            }
            Ok(_) | Err(SegmentError::Absent(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if process.ended()?.is_some() || before.elapsed() > Duration::from_secs(30) {
            return Err(anyhow::anyhow!("{}", process.last_words()).context("leat-dp has not started"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn starts(dp: &Path, settings: &Settings, report: &mut Report) -> Result<()> {
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..if settings.full { 9 } else { 3 } {
        let (mut process, took) = start(dp, UNCONNECTED)?;
        starts.push(took.as_secs_f64() * 1e3);
        let before = Instant::now();
        process.signal(Signal::TERM);
        let status = process.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "leat-dp ended with {status}:\n{}", process.last_words());
        stops.push(before.elapsed().as_secs_f64() * 1e3);
        std::fs::remove_file(segment()).context("the segment of a stopped leat-dp is there")?;
    }
    report.add(
        Figure::of("start/fresh", "leat", &starts, "ms", true)
            .with_note(format!("from exec to polling; table of {FLOWS_MAX} entries")),
    );
    report.add(Figure::of("stop", "leat", &stops, "ms", true).with_note("from SIGTERM to the end of the process"));
    Ok(())
}

/// Kills leat-dp with all its flows and starts it again.
fn adopt(dp: &Path, leat: &mut Process, report: &mut Report) -> Result<()> {
    let used = |segment: &ControlSegment| segment.lcore_header(0).flows_used.load(Ordering::Relaxed);
    let flows = used(&ControlSegment::attach(&segment())?);
    leat.kill();
    let (process, took) = start(dp, UNCONNECTED)?;
    // The lcore reports it from its loop.
    std::thread::sleep(Duration::from_millis(50));
    let adopted = used(&ControlSegment::attach(&segment())?);
    ensure!(adopted == flows, "{adopted} of {flows} flows adopted:\n{}", process.last_words());
    report.add(
        Figure::once(format!("start/adopt/{flows}"), "leat", took.as_secs_f64() * 1e3, "ms")
            .with_note("after kill -9, from exec to polling with every flow taken over"),
    );
    Ok(())
}

/// A testpmd with this way to forward.
fn start_testpmd(path: &Path, pages: Pages, way: &str) -> Result<Process> {
    let mut command = cleanup::in_namespace(path);
    command.args(["--lcores", "0@0,1@1", "--main-lcore", "0", "--no-pci", "--no-telemetry"]);
    command.arg(format!("--file-prefix={}-{way}", cleanup::name()));
    match pages {
        Pages::Huge => command.arg("--in-memory"),
        Pages::Ordinary => command.args(["--no-huge", "--no-shconf", "-m", "160"]),
    };
    command.arg(format!("--vdev={}", memif(way))).arg("--");
    command.arg(format!("--forward-mode={way}"));
    command.args(["--auto-start", "--nb-cores=1", "--rxd=1024", "--txd=1024"]);
    command.args(["--burst=32", "--total-num-mbufs=16383", "--no-mlockall", "--no-flush-rx"]);
    Process::spawn("testpmd", &mut command)
}

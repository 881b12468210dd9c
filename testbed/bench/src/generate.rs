//! Measures leat-dp and dpdk-testpmd in turn with leat-gen, each behind a memif port of its own; those that are not measured are stopped
//! (SIGSTOP). Every packet that comes back is verified. testpmd comes once for each of its ways to forward ([`FORWARDING`]).
//!
//! | figure | how |
//! |---|---|
//! | `memif/…` | packets that come back per second when never more than 512 are under way: nothing can be lost, and nothing may be |
//! | `throughput/…` | the highest rate at which nothing is lost, whatever comes back (RFC 2544) |
//! | `latency/…` | at half of leat-dp's throughput, the same for both |
//! | `connections/…` | connections that are opened, used and closed, 512 at a time |

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use leat_abi::ControlSegment;
use leat_abi::counters::Counter;
use leat_dpdk::{Eal, rdtsc};
use leat_gen::counts::Counts;
use leat_gen::frame::Transport;
use leat_gen::generator::{Closing, Directions, Generator, Outcome, Pace, Traffic, Until};
use leat_gen::report::QUANTILES;
use leat_gen::rfc2544::{self, Search};
use leat_gen::site::{Addresses, Device, Site, Source};
use rustix::process::{Pid, Signal, kill_process};

use crate::memory::Pages;
use crate::stats::Figure;
use crate::world::{self, CLIENT_MAC, Mode, TARGET_MAC, TARGETS};

/// Packets under way at the most. Below the size of the rings (1024), so that none is ever refused.
const WINDOW: Pace = Pace::Window(512);
/// What is sent before each measurement, as both have been stopped.
const WARM_UP: Until = Until::Packets(20_000);
/// A round counts as disturbed when the threads had to wait for their CPUs for this share of it.
const DISTURBED: f64 = 0.03;
/// The same for a trial of latency, of which a hundredth of the packets says what is wanted.
const LATENCY_DISTURBED: f64 = 0.003;
/// By how much the naps of leat-dp's main thread may be longer, in nanoseconds: until the kernel's next tick, at least.
const SLACK_NS: &str = "10000000";
/// How long testpmd may take to start.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Between two measurements the generator sleeps, so that the rest of the machine gets its CPU for a while.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of frames, FCS included.
const FRAME: usize = 64;
/// Connections that are opened and closed: as many entries as leat-dp's table has left.
const CONNECTIONS: u32 = 100_000;
/// Handshakes at the same time.
const OPENING: u64 = 256;

/// What the subcommand is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// More repetitions
    #[arg(long)]
    full: bool,
    /// The CPU to run on
    #[arg(long, default_value_t = 0)]
    cpu: u32,
    /// The pages for buffers
    #[arg(long, value_enum, default_value_t = Pages::Ordinary)]
    pages: Pages,
    /// leat-dp's segment
    #[arg(long)]
    segment: PathBuf,
    /// The memif socket that leat-dp connects to
    #[arg(long)]
    leat_socket: PathBuf,
    /// The memif sockets that dpdk-testpmd connects to, for each way to forward; without them, leat-dp is measured alone
    #[arg(long, value_delimiter = ',')]
    testpmd_sockets: Vec<PathBuf>,
    /// Measure only throughput without loss and latency
    #[arg(long)]
    only_latency: bool,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 100_000])]
    flows: Vec<u32>,
    /// Name of EAL's directory
    #[arg(long, default_value = "leat-bench")]
    file_prefix: String,
}

/// testpmd's ways to forward, as it names them: with MAC addresses swapped, with those of IP and the ports swapped as well, as frames are.
/// The first is what Leat is compared with everywhere.
pub const FORWARDING: [(&str, Device); 3] =
    [("macswap", Device::Macswap), ("5tswap", Device::FiveTupleSwap), ("io", Device::Io)];

/// One of the systems, and the generator that measures it.
struct System {
    name: String,
    generator: Generator,
    pid: Option<Pid>,
}

impl System {
    fn open(eal: &Eal, index: u16, name: &str, device: Device, mac: [u8; 6]) -> Result<Self> {
        let site = Site {
            device,
            clients: Addresses { first: FIRST_CLIENT, count: 1 },
            client_ports: "1024-65535".parse()?,
            service: "10.0.0.2:80".parse()?,
            targets: "10.2.0.0-10.2.3.231".parse()?,
            target_port: world::target(0).port,
            source: Source::Any,
            macs: [CLIENT_MAC, TARGET_MAC],
            device_macs: [mac; 2],
        };
        ensure!(site.targets.count == u32::from(TARGETS), "the targets' addresses do not fit the world's");
        let directions = if device == Device::Nat { Directions::Both } else { Directions::Clients };
        let traffic =
            Traffic { transport: Transport::Tcp, flows: 1, sizes: vec![FRAME], directions, seed: 1, faults: None };
        let generator = Generator::new(eal, &[&format!("net_memif{index}")], site, &traffic)?;
        Ok(Self { name: name.to_owned(), generator, pid: None })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid.with_context(|| format!("the process of {} was not named", self.name))?;
        kill_process(pid, signal).with_context(|| format!("{} (process {pid:?}) is gone", self.name))
    }

    /// Stops the process and waits until its polling threads have stopped: that may take another of its threads, which may need this CPU.
    fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let has_stopped = |task: &PathBuf| {
            let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
        };
        let deadline = Instant::now() + START_PATIENCE;
        while !self.workers().iter().all(has_stopped) {
            ensure!(Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The directories of its polling threads in /proc.
    fn workers(&self) -> Vec<PathBuf> {
        let pid = self.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let is_worker =
            |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.contains("worker"));
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.map(|task| task.path()).filter(is_worker).collect()
    }

    /// Nanoseconds for which this thread and the worker threads of the other side were ready to run and did not, until now.
    fn waited_ns(&self) -> f64 {
        let delay = |path: &Path| {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split_whitespace().nth(1).and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) as f64
        };
        delay(Path::new("/proc/self")) + self.workers().iter().map(|task| delay(task)).sum::<f64>()
    }

    /// Measures with nothing lost and nothing wrong.
    fn measure(&mut self, until: Until) -> Result<Outcome> {
        let outcome = self.generator.run(WINDOW, until, false)?;
        ensure!(outcome.counts.is_clean(), "{}: {}", self.name, outcome.counts);
        Ok(outcome)
    }

    /// Other flows, of clients from this address on.
    fn set_flows(&mut self, case: &Case, first_client: u32) {
        let site = self.generator.site_mut();
        site.clients = Addresses { first: first_client, count: 1 << 16 };
        site.service.set_ip(case.mode.vip());
        site.source = if case.mode == Mode::FullNat { Source::Translated } else { Source::Preserved };
        self.generator.set_flows(case.transport, case.flows);
    }

    /// Waits until it returns packets: its link may be up before it forwards.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        let mut clean = 0;
        while clean < 3 {
            let outcome = self.generator.run(WINDOW, Until::Packets(1), false)?;
            clean = if outcome.counts.is_clean() { clean + 1 } else { 0 };
            // Its other threads may need this CPU.
            std::thread::sleep(PAUSE);
            ensure!(Instant::now() < deadline, "{} returns nothing: {}", self.name, self.generator.counts());
        }
        Ok(())
    }
}

const FIRST_CLIENT: u32 = 0x1000_0000;

struct Case {
    mode: Mode,
    transport: Transport,
    flows: u32,
}

impl Case {
    /// The figure's name.
    fn name(&self, figure: &str) -> String {
        let suffix = if self.transport == Transport::Tcp { "" } else { "-udp" };
        format!("{figure}{suffix}/{}/{}", self.mode.name(), self.flows)
    }
}

/// EAL on a CPU, with a memif port for each socket, to which others connect.
pub fn eal_on(cpu: u32, pages: Pages, file_prefix: &str, sockets: &[&PathBuf]) -> Result<Eal> {
    let mut arguments = vec!["--no-pci".to_owned(), "--no-telemetry".to_owned(), "-l".to_owned()];
    arguments.push(cpu.to_string());
    arguments.push(format!("--file-prefix={file_prefix}"));
    match pages {
        Pages::Huge => arguments.push("--in-memory".to_owned()),
        Pages::Ordinary => arguments.extend(["--no-huge", "--no-shconf", "-m", "160"].map(str::to_owned)),
    }
    for (index, socket) in sockets.iter().enumerate() {
        arguments
            .push(format!("--vdev=net_memif{index},role=server,id=0,socket={},socket-abstract=no", socket.display()));
    }
    Ok(Eal::init(&arguments)?)
}

/// Measures both and prints the figures. The process ids of leat-dp and dpdk-testpmd come on standard input, in one line, when
/// the sockets are there and both have been started.
pub fn run(options: &Options) -> Result<()> {
    let sockets: Vec<&PathBuf> = std::iter::once(&options.leat_socket).chain(&options.testpmd_sockets).collect();
    let eal = eal_on(options.cpu, options.pages, &options.file_prefix, &sockets)?;
    let mut leat = System::open(&eal, 0, "leat-dp", Device::Nat, [0; 6])?;
    let mut testpmds = Vec::new();
    for (index, (name, device)) in (1..=options.testpmd_sockets.len() as u16).zip(FORWARDING) {
        let name = if index == 1 { "testpmd".to_owned() } else { format!("testpmd-{name}") };
        testpmds.push(System::open(&eal, index, &name, device, [2, 0, 0, 0, 0, 9])?);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for (system, pid) in std::iter::once(&mut leat).chain(&mut testpmds).zip(line.split_whitespace()) {
        system.pid = pid.parse().ok().and_then(Pid::from_raw);
        system.generator.wait_for_links(Duration::from_secs(30))?;
    }
    let mut segment = ControlSegment::attach(&options.segment)?;
    let mac = segment.header().port[0].mac.load(Ordering::Acquire).to_le_bytes();
    leat.generator.site_mut().device_macs = [[mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]; 2];
    apply_snapshots(&mut segment, if options.full { 21 } else { 7 })?;
    for testpmd in &mut testpmds {
        testpmd.wait()?;
        testpmd.stop()?;
    }
    // leat-dp's main thread wakes up by itself a few hundred times a second, on the generator's CPU. Elsewhere it has another one; here it
    // may as well wake up together with the kernel's own ticks.
    if let Some(pid) = leat.pid {
        let _ = std::fs::write(format!("/proc/{}/timerslack_ns", pid.as_raw_nonzero()), SLACK_NS);
    }
    let threads: Vec<PathBuf> = std::iter::once(&leat).chain(&testpmds).flat_map(System::workers).collect();
    prefer(
        threads.iter().filter_map(|task| task.file_name()?.to_str()).chain([std::process::id().to_string().as_str()]),
    );
    let mut cases: Vec<Case> =
        options.flows.iter().map(|n| Case { mode: Mode::FullNat, transport: Transport::Tcp, flows: *n }).collect();
    if let Some(most) = options.flows.last() {
        cases.push(Case { mode: Mode::Preserve, transport: Transport::Tcp, flows: *most });
        cases.push(Case { mode: Mode::FullNat, transport: Transport::Udp, flows: *most });
    }
    if options.only_latency {
        cases.clear();
    }
    for (n, case) in cases.iter().enumerate() {
        eprintln!("  memif: {} {:?} flows, {}", case.flows, case.transport, case.mode.name());
        let first_client = FIRST_CLIENT + ((n as u32) << 16);
        std::iter::once(&mut leat).chain(&mut testpmds).for_each(|system| system.set_flows(case, first_client));
        leat.generator.open(OPENING)?;
        // All of testpmd's ways next to the case that matters most.
        let most = n + 1 == options.flows.len();
        let others = testpmds.len().min(if most { FORWARDING.len() } else { 1 });
        compete(options, case, &mut leat, &mut testpmds[..others], &segment)?;
        balance(leat.generator.counts(), &segment)?;
    }
    // Last, as what full queues cost is not in the balance.
    if let Some(most) = options.flows.last() {
        let case = Case { mode: Mode::FullNat, transport: Transport::Tcp, flows: *most };
        eprintln!("  memif: throughput and latency of {most} flows");
        let first_client = FIRST_CLIENT + ((cases.len() as u32) << 16);
        std::iter::once(&mut leat).chain(&mut testpmds).for_each(|system| system.set_flows(&case, first_client));
        leat.generator.open(OPENING)?;
        gaps(eal.tsc_hz());
        at_rates(options, &case, &mut leat, testpmds.first_mut(), &segment)?;
        if !options.only_latency {
            leat.set_flows(&Case { flows: CONNECTIONS, ..case }, first_client + (1 << 16));
            connections(&mut leat)?;
        }
    }
    for testpmd in &testpmds {
        testpmd.signal(Signal::CONT)?;
    }
    Figure::once("memif/packets-checked", "leat", leat.generator.counts().received as f64, "packets").print();
    Ok(())
}

/// Gives polling threads priority over everything else on their CPUs while they are measured, as they would have where CPUs are set apart
/// for them. leat-dp's main thread, for one, shares the generator's. From then on leat-dp and testpmd cannot share theirs: one is stopped.
fn prefer<'t>(threads: impl Iterator<Item = &'t str>) {
    for thread in threads {
        let done = std::process::Command::new("chrt").args(["--fifo", "--pid", "10", thread]).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("  thread {thread} gets no real-time priority: others on its CPU will show");
        }
    }
}

/// Publishes snapshots and measures how long it takes until the lcore works with them.
fn apply_snapshots(segment: &mut ControlSegment, times: u32) -> Result<()> {
    let mut samples = Vec::new();
    for _ in 0..times {
        let snapshot = world::snapshot(segment.announced_generation() + 1);
        let before = Instant::now();
        segment.publish(&snapshot)?;
        while segment.acknowledged_generation() < snapshot.generation {
            ensure!(before.elapsed() < Duration::from_secs(10), "leat-dp does not take the configuration");
            std::thread::sleep(Duration::from_micros(50));
        }
        samples.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Figure::of(format!("snapshot/apply/{}-targets", world::TARGETS), "leat", &samples, "ms", true)
        .with_note("from publishing to the lcore's acknowledgement, leat-dp running")
        .print();
    Ok(())
}

/// What one slice of leat-dp, and the slices of others after it, showed.
struct Round {
    ours: f64,
    theirs: Vec<f64>,
    /// Share of time in which leat-dp's lcore had work, in percent, and TSC ticks per packet in it.
    busy: f64,
    ticks: f64,
    /// Share of time for which the generator or the measured lcore had to wait for its CPU.
    waited: f64,
}

/// Stops leat-dp while something is done with testpmd.
fn instead<T>(leat: &System, testpmd: &mut System, act: impl FnOnce(&mut System) -> Result<T>) -> Result<T> {
    std::thread::sleep(PAUSE);
    leat.stop()?;
    testpmd.signal(Signal::CONT)?;
    let result = act(testpmd);
    testpmd.stop()?;
    leat.signal(Signal::CONT)?;
    result
}

fn compete(
    options: &Options,
    case: &Case,
    leat: &mut System,
    others: &mut [System],
    segment: &ControlSegment,
) -> Result<()> {
    let slice = Duration::from_millis(if options.full { 250 } else { 100 });
    let (wanted, most) = if options.full { (31, 120) } else { (11, 40) };
    // Of two threads, in a slice of each system.
    let threads_ns = 2.0 * slice.as_nanos() as f64 * (1 + others.len()) as f64;
    let counters = segment.counters(0);
    let cycles = || (counters.get(Counter::BusyCycles), counters.get(Counter::IdleCycles));
    let mut rounds: Vec<Round> = Vec::new();
    while rounds.len() < most && rounds.iter().filter(|round| round.waited < DISTURBED).count() < wanted {
        leat.measure(WARM_UP)?;
        let (before, waited) = (cycles(), leat.waited_ns());
        let outcome = leat.measure(Until::Time(slice))?;
        let mut waited = leat.waited_ns() - waited;
        let after = cycles();
        let (busy, idle) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
        let mut theirs = Vec::new();
        for other in others.iter_mut() {
            let (rate, their_wait) = instead(leat, other, |other| {
                other.measure(WARM_UP)?;
                let before = other.waited_ns();
                let outcome = other.measure(Until::Time(slice))?;
                Ok((outcome.rate() / 1e6, other.waited_ns() - before))
            })?;
            waited += their_wait;
            theirs.push(rate);
        }
        rounds.push(Round {
            ours: outcome.rate() / 1e6,
            theirs,
            busy: 100.0 * busy / (busy + idle).max(1.0),
            ticks: busy / outcome.counts.received.max(1) as f64,
            waited: waited / threads_ns,
        });
    }
    report(case, rounds, wanted, others);
    Ok(())
}

/// Prints the figures of a case, of the rounds in which nobody else used the CPUs, if there are enough.
fn report(case: &Case, mut rounds: Vec<Round>, wanted: usize, others: &[System]) {
    let case = case.name("memif");
    let all = rounds.len();
    let quiet = rounds.iter().filter(|round| round.waited < DISTURBED).count();
    let noise = if quiet * 2 >= wanted {
        rounds.retain(|round| round.waited < DISTURBED);
        String::new()
    } else {
        let waited = Figure::of("", "", &rounds.iter().map(|r| 100.0 * r.waited).collect::<Vec<f64>>(), "", true).value;
        format!(
            "; DISTURBED in {} of {all} rounds: both threads waited for their CPUs for {waited:.0} % of the time",
            all - quiet
        )
    };
    let of = |value: &dyn Fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let median = |value: &dyn Fn(&Round) -> f64| Figure::of("", "", &of(value), "", true).value;
    Figure::of(&case, "leat", &of(&|r| r.ours), "Mpackets/s", false)
        .with_note(format!(
            "nothing lost; every packet verified; lcore busy {:.0} %, {:.0} TSC ticks a packet with memif{noise}",
            median(&|r| r.busy),
            median(&|r| r.ticks)
        ))
        .print();
    for (at, (other, (way, _))) in others.iter().zip(FORWARDING).enumerate() {
        Figure::of(&case, &other.name, &of(&|r| r.theirs[at]), "Mpackets/s", false)
            .with_note(format!("{way}; frames of the same size"))
            .print();
        let ratio = if at == 0 { format!("{case}/ratio") } else { format!("{case}/ratio-to-{way}") };
        Figure::of(ratio, "leat", &of(&|r| r.ours / r.theirs[at]), "of testpmd", false)
            .with_note("of slices next to each other")
            .print();
    }
}

/// What the machine takes from a thread that has its CPU to itself, while the other CPU is in use, too: it does nothing but read the TSC.
fn gaps(tsc_hz: u64) {
    const SECONDS: u64 = 2;
    const LONG_US: u64 = 200;
    let (begin, mut longest, mut long) = (rdtsc(), 0, 0);
    let mut before = begin;
    while before.wrapping_sub(begin) < SECONDS * tsc_hz {
        let now = rdtsc();
        let gap_us = now.wrapping_sub(before) * 1_000_000 / tsc_hz;
        long += u64::from(gap_us > LONG_US);
        longest = gap_us.max(longest);
        before = now;
    }
    Figure::once("machine/gaps-over-200-us", "machine", long as f64 / SECONDS as f64, "a second")
        .with_note(format!("of a loop that only reads the TSC; the longest {longest} us"))
        .print();
}

/// Searches for both systems' throughput, then measures the latency of both at half of leat-dp's.
fn at_rates(
    options: &Options,
    case: &Case,
    leat: &mut System,
    mut testpmd: Option<&mut System>,
    segment: &ControlSegment,
) -> Result<()> {
    let trial = Duration::from_millis(if options.full { 1000 } else { 200 });
    // Somebody else's millisecond on one of the CPUs fills a queue; a rate is passed if it can be.
    let search = Search { max_rate: None, resolution: 0.02, trial, attempts: 5 };
    let print = |system: &str, found: &rfc2544::Throughput| {
        Figure::once(case.name("throughput"), system, found.best.rate() / 1e6, "Mpackets/s")
            .with_note(format!("zero of {} lost, in {trial:?}; {}", found.best.counts.sent, found.why()))
            .print();
    };
    let ours = rfc2544::throughput(&mut leat.generator, &search)?;
    print("leat", &ours);
    if let Some(testpmd) = &mut testpmd {
        let theirs = instead(leat, testpmd, |testpmd| rfc2544::throughput(&mut testpmd.generator, &search))?;
        print("testpmd", &theirs);
    }
    let pace = Pace::Rate(ours.best.rate() / 2.0);
    let measure = |system: &mut System| {
        system.measure(WARM_UP)?;
        let before = system.waited_ns();
        let outcome = system.generator.run(pace, Until::Time(trial), true)?;
        Ok((outcome, system.waited_ns() - before))
    };
    let (wanted, most) = if options.full { (31, 120) } else { (11, 40) };
    // Of two threads, in a trial of each system.
    let threads_ns = 4.0 * trial.as_nanos() as f64;
    let long_turns = || segment.counters(0).get(Counter::LoopsOver200Us);
    let mut long = 0;
    let mut rounds: Vec<(f64, Outcome, Option<Outcome>)> = Vec::new();
    let is_quiet = |round: &(f64, Outcome, Option<Outcome>)| round.0 < LATENCY_DISTURBED;
    while rounds.len() < most && rounds.iter().filter(|round| is_quiet(round)).count() < wanted {
        // The turn in which it was stopped is over after the warm-up.
        leat.measure(WARM_UP)?;
        let long_before = long_turns();
        let (of_leat, mut waited) = measure(leat)?;
        long += long_turns() - long_before;
        let mut of_testpmd = None;
        if let Some(testpmd) = &mut testpmd {
            let (outcome, their_wait) = instead(leat, testpmd, measure)?;
            waited += their_wait;
            of_testpmd = Some(outcome);
        }
        rounds.push((waited / threads_ns, of_leat, of_testpmd));
    }
    let all = rounds.len();
    let disturbed = all - rounds.iter().filter(|round| is_quiet(round)).count();
    let mut noise = format!("{disturbed} of {all} trials left out, in which somebody else used the CPUs");
    if (all - disturbed) * 2 >= wanted {
        rounds.retain(is_quiet);
    } else {
        noise = format!("DISTURBED in {disturbed} of {all} trials");
    }
    let of_leat: Vec<&Outcome> = rounds.iter().map(|(_, ours, _)| ours).collect();
    let of_testpmd: Vec<&Outcome> = rounds.iter().filter_map(|(.., theirs)| theirs.as_ref()).collect();
    for (system, outcomes) in [("leat", of_leat), ("testpmd", of_testpmd)] {
        let lost: u64 = outcomes.iter().map(|outcome| outcome.counts.lost()).sum();
        // Of testpmd nobody knows.
        let turns = if system == "leat" { format!("{long} turns of its loop over 200 us; ") } else { String::new() };
        for (name, quantile) in QUANTILES.iter().filter(|_| !outcomes.is_empty()) {
            let samples: Vec<f64> = outcomes.iter().map(|outcome| outcome.latency_ns(*quantile) / 1e3).collect();
            Figure::of(format!("{}/{name}", case.name("latency")), system, &samples, "us", true)
                .with_note(format!("at {:.2} Mpackets/s; {lost} packets lost; {turns}{noise}", ours.best.rate() / 2e6))
                .print();
        }
    }
    Ok(())
}

/// Whole connections, as fast as they end: handshake, a request, an answer, FINs from both sides and the last acknowledgement.
fn connections(leat: &mut System) -> Result<()> {
    let outcome = leat.generator.connect(WINDOW, Until::Packets(CONNECTIONS.into()), Closing::Fin)?;
    let right = outcome.completed == outcome.begun && outcome.counts.is_clean();
    ensure!(right, "{} of {} connections completed: {}", outcome.completed, outcome.begun, outcome.counts);
    Figure::once("connections/full-nat", "leat", outcome.rate(), "connections/s")
        .with_note(format!("{} of 7 packets each, 512 at a time; every one completed", outcome.begun))
        .print();
    Ok(())
}

/// leat-dp must have counted exactly what was sent and came back.
fn balance(counts: &Counts, segment: &ControlSegment) -> Result<()> {
    let counters = segment.counters(0);
    let (rx, forwarded) = (counters.get(Counter::RxPackets), counters.get(Counter::ForwardedPackets));
    let (sent, back) = (counts.sent + counts.control_sent, counts.received + counts.control_received);
    ensure!(
        (rx, forwarded) == (sent, back) && counters.dropped_total() == 0,
        "leat-dp counts {rx} packets received, {forwarded} forwarded and {} dropped; the generator {sent} sent and {back} received",
        counters.dropped_total(),
    );
    Ok(())
}

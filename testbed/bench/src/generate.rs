//! The generator: a DPDK process between two memif ports, one towards leat-dp and one towards dpdk-testpmd, which it measures in
//! turn with the same frames; the one that is not measured is stopped (SIGSTOP).
//!
//! A fixed number of frames is under way at any time, so nothing may be lost, and every frame that comes back is compared byte
//! by byte with the one that should: order, rewriting, checksums and count are all checked on every packet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use leat_abi::ControlSegment;
use leat_abi::counters::Counter;
use leat_dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, PortId, RxQueue, TxQueue, free_batch, rdtsc};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::Random;
use crate::memory::Pages;
use crate::stats::Figure;
use crate::world::{self, Binding, FRAME, Flow, Kind, Mode, Transport};

/// Frames under way at the most. Below the size of the rings (1024), so that none is ever refused.
const WINDOW: u64 = 512;
/// What is sent before each measurement, as both have been stopped.
const WARM_UP: Until = Until::Packets(20_000);
/// A round counts as disturbed when the threads had to wait for their CPUs for this share of it.
const DISTURBED: f64 = 0.03;
/// Without any frame back for this long, those under way are lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same while testpmd starts.
const START_PATIENCE: Duration = Duration::from_secs(20);

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
    /// The memif socket that dpdk-testpmd connects to; without it, leat-dp is measured alone
    #[arg(long)]
    testpmd_socket: Option<PathBuf>,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 100_000])]
    flows: Vec<u32>,
    /// Name of EAL's directory
    #[arg(long, default_value = "leat-bench")]
    file_prefix: String,
}

/// A frame to be sent, and what should come of it.
pub struct Pair {
    /// To leat-dp.
    pub arriving: [u8; FRAME],
    /// From leat-dp.
    pub leaving: [u8; FRAME],
}

/// One of the two ports.
pub struct Link {
    name: &'static str,
    port: Port,
    /// What comes.
    pub rx: RxQueue,
    /// What goes.
    pub tx: TxQueue,
    /// Buffers.
    pub pool: Arc<Mempool>,
    /// None until the process has been named.
    pid: Option<Pid>,
    sent: u64,
    received: u64,
    patience: Duration,
}

/// What came of sending for a while.
pub struct Run {
    /// Packets that came back.
    pub packets: u64,
    /// How long it took.
    pub ticks: u64,
}

/// When to stop sending.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many.
    Packets(u64),
    /// After so many TSC ticks.
    Ticks(u64),
}

impl Link {
    /// The port of a memif device.
    pub fn open(eal: &Eal, index: u16, name: &'static str) -> Result<Self> {
        let pool = Mempool::new(eal, name, MempoolConfig { count: 8191, ..MempoolConfig::default() })?;
        let device = format!("net_memif{index}");
        let config = PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: None,
            promiscuous: true,
            rss: false,
        };
        let id = PortId::by_name(eal, &device)?;
        let (port, mut rx, mut tx) = Port::configure(eal, id, config, std::slice::from_ref(&pool))?;
        let (Some(rx), Some(tx)) = (rx.pop(), tx.pop()) else { bail!("{device} has no queues") };
        Ok(Self { name, port, rx, tx, pool, pid: None, sent: 0, received: 0, patience: PATIENCE })
    }

    /// Waits until the other side is there.
    pub fn wait_for_link(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.port.link_up()? {
            ensure!(Instant::now() < deadline, "{} has not connected to its memif socket", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid.with_context(|| format!("the process of {} was not named", self.name))?;
        kill_process(pid, signal).with_context(|| format!("{} (process {pid:?}) is gone", self.name))
    }

    /// Nanoseconds for which this thread and the worker threads of the other side were ready to run and did not, until now.
    fn waited_ns(&self) -> f64 {
        let delay = |path: &Path| {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split_whitespace().nth(1).and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) as f64
        };
        let pid = self.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let workers =
            std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().filter(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.contains("worker"))
            });
        delay(Path::new("/proc/self")) + workers.map(|task| delay(&task.path())).sum::<f64>()
    }

    /// Sends frames, `WINDOW` at a time, until the end, and waits for all that are under way. `frame` gives the frame of a number,
    /// `check` looks at what came back for it.
    pub fn pump<'f>(
        &mut self,
        until: Until,
        frame: impl Fn(u64) -> &'f [u8; FRAME],
        mut check: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<Run> {
        let start = rdtsc();
        let (mut sent, mut received) = (0u64, 0u64);
        let mut last = Instant::now();
        let mut idle = 0u32;
        let mut batch: ArrayVec<Mbuf, 32> = ArrayVec::new();
        loop {
            let more = match until {
                Until::Packets(n) => sent < n,
                Until::Ticks(n) => rdtsc().wrapping_sub(start) < n,
            };
            if more && sent - received <= WINDOW - 32 {
                let mut count = 32;
                if let Until::Packets(n) = until {
                    count = count.min(n - sent);
                }
                for n in sent..sent + count {
                    let mut mbuf = self.pool.alloc().context("the generator has no buffer left")?;
                    let room = mbuf.append(FRAME).context("a buffer is too small")?;
                    room.copy_from_slice(frame(n));
                    batch.push(mbuf);
                }
                let mut refused: Option<Instant> = None;
                while !batch.is_empty() {
                    if self.tx.burst(&mut batch) == 0 {
                        let since = refused.get_or_insert_with(Instant::now);
                        ensure!(since.elapsed() < self.patience, "{} takes no frames", self.name);
                    }
                }
                sent += count;
            }
            let got = self.rx.burst(&mut batch);
            for mbuf in &batch {
                let bytes = mbuf.data();
                // Linux may have said something over the TAP twin.
                if bytes.get(12..14) == Some(&[8, 0]) {
                    check(received, bytes).with_context(|| format!("{}: packet {received}", self.name))?;
                    received += 1;
                }
            }
            free_batch(&mut batch);
            if got > 0 {
                idle = 0;
            } else {
                idle += 1;
                if idle == 1 {
                    last = Instant::now();
                }
                let waiting = sent > received;
                if waiting && idle.is_multiple_of(4096) && last.elapsed() > self.patience {
                    bail!("{}: {} of {sent} packets did not come back", self.name, sent - received);
                }
            }
            if !more && received >= sent {
                break;
            }
        }
        self.sent += sent;
        self.received += received;
        Ok(Run { packets: received, ticks: rdtsc().wrapping_sub(start) })
    }
}

/// Two frames must be the same; padding is cut from neither.
pub fn compare(expected: &[u8], found: &[u8]) -> Result<()> {
    ensure!(expected == found, "came back as\n{found:02x?}, not as\n{expected:02x?}");
    Ok(())
}

/// The frame without Ethernet padding.
fn unpadded(frame: &[u8; FRAME]) -> &[u8] {
    let ip_len = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    frame.get(..14 + ip_len).unwrap_or(frame)
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
    let sockets: Vec<&PathBuf> = std::iter::once(&options.leat_socket).chain(&options.testpmd_socket).collect();
    let eal = eal_on(options.cpu, options.pages, &options.file_prefix, &sockets)?;
    let mut leat = Link::open(&eal, 0, "leat-dp")?;
    let mut testpmd = match &options.testpmd_socket {
        Some(_) => Some(Link::open(&eal, 1, "testpmd")?),
        None => None,
    };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for (link, pid) in std::iter::once(&mut leat).chain(&mut testpmd).zip(line.split_whitespace()) {
        link.pid = pid.parse().ok().and_then(Pid::from_raw);
    }
    for link in std::iter::once(&leat).chain(&testpmd) {
        link.wait_for_link()?;
    }
    let mut segment = ControlSegment::attach(&options.segment)?;
    let mac = segment.header().port[0].mac.load(Ordering::Acquire).to_le_bytes();
    let mac = [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]];
    apply_snapshots(&mut segment, if options.full { 21 } else { 7 })?;

    if let Some(testpmd) = &mut testpmd {
        // Its link is up before it forwards: wait for a frame to come back.
        let flow = Flow { number: 0, mode: Mode::FullNat, transport: Transport::Udp };
        let frame = flow.arriving(Kind::Open, Binding::default(), mac).frame();
        testpmd.patience = START_PATIENCE;
        testpmd.pump(Until::Packets(1), |_| &frame, |_, bytes| compare(&swapped(&frame), bytes))?;
        testpmd.patience = PATIENCE;
        testpmd.signal(Signal::STOP)?;
    }
    let mut first = 0;
    let mut cases: Vec<(Mode, Transport, u32)> =
        options.flows.iter().map(|n| (Mode::FullNat, Transport::Tcp, *n)).collect();
    if let Some(most) = options.flows.last() {
        cases.extend([(Mode::Preserve, Transport::Tcp, *most), (Mode::FullNat, Transport::Udp, *most)]);
    }
    for (mode, transport, n) in cases {
        let transport_name = if transport == Transport::Tcp { "TCP" } else { "UDP" };
        eprintln!("  memif: {n} {transport_name} flows, {}", mode.name());
        let case = format!("memif{}/{}/{n}", transport.suffix(), mode.name());
        // In parts: so many handshakes at once would be more than may be half-open.
        let mut pairs = Vec::new();
        for part in (first..first + n).step_by(50_000) {
            pairs.extend(establish(&mut leat, mode, transport, part..(part + 50_000).min(first + n), mac)?);
        }
        first += n;
        compete(&eal, options, &case, &pairs, &mut leat, testpmd.as_mut(), &segment)?;
    }
    if let Some(testpmd) = &testpmd {
        testpmd.signal(Signal::CONT)?;
    }
    balance(&leat, &segment)?;
    Figure::once("memif/packets-checked", "leat", leat.received as f64, "packets").print();
    Ok(())
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

/// Begins flows by whole handshakes through leat-dp. Returns the frames of the established flows, in random order.
pub fn establish(
    link: &mut Link,
    mode: Mode,
    transport: Transport,
    numbers: std::ops::Range<u32>,
    mac: [u8; 6],
) -> Result<Vec<Pair>> {
    let flows: Vec<Flow> = numbers.map(|number| Flow { number, mode, transport }).collect();
    let all = Until::Packets(flows.len() as u64);
    let mut bindings: Vec<Binding> = Vec::new();
    let none = Binding::default();
    let frames: Vec<[u8; FRAME]> = flows.iter().map(|f| f.arriving(Kind::Open, none, mac).frame()).collect();
    link.pump(
        all,
        |n| &frames[n as usize],
        |n, bytes| {
            let flow = flows[n as usize];
            let binding = flow.binding(bytes).with_context(|| format!("not sent to a target: {bytes:02x?}"))?;
            bindings.push(binding);
            compare(unpadded(&flow.leaving(Kind::Open, binding, mac).frame()), bytes)
        },
    )?;
    for kind in [Kind::Answer, Kind::ClientData] {
        let pairs: Vec<Pair> = flows.iter().zip(&bindings).map(|(f, b)| pair(f, kind, *b, mac)).collect();
        link.pump(
            all,
            |n| &pairs[n as usize].arriving,
            |n, bytes| compare(unpadded(&pairs[n as usize].leaving), bytes),
        )?;
    }
    let mut pairs: Vec<Pair> = flows
        .iter()
        .zip(&bindings)
        .flat_map(|(flow, binding)| [Kind::ClientData, Kind::TargetData].map(|kind| pair(flow, kind, *binding, mac)))
        .collect();
    let mut random = Random::new(0x5eed);
    for last in (1..pairs.len()).rev() {
        pairs.swap(last, random.below(last as u32 + 1) as usize);
    }
    Ok(pairs)
}

/// A packet of a flow, arriving and leaving.
pub fn pair(flow: &Flow, kind: Kind, binding: Binding, mac: [u8; 6]) -> Pair {
    Pair { arriving: flow.arriving(kind, binding, mac).frame(), leaving: flow.leaving(kind, binding, mac).frame() }
}

/// The frame as testpmd's macswap returns it.
fn swapped(frame: &[u8; FRAME]) -> [u8; FRAME] {
    let mut swapped = *frame;
    swapped[0..6].copy_from_slice(&frame[6..12]);
    swapped[6..12].copy_from_slice(&frame[0..6]);
    swapped
}

/// What one slice of leat-dp, and the slice of testpmd after it, showed.
struct Round {
    ours: f64,
    theirs: Option<f64>,
    /// Share of time in which leat-dp's lcore had work, in percent, and TSC ticks per packet in it.
    busy: f64,
    ticks: f64,
    /// Share of time for which the generator or the measured lcore had to wait for its CPU.
    waited: f64,
}

fn compete(
    eal: &Eal,
    options: &Options,
    case: &str,
    pairs: &[Pair],
    leat: &mut Link,
    mut testpmd: Option<&mut Link>,
    segment: &ControlSegment,
) -> Result<()> {
    let slice = eal.tsc_hz() / if options.full { 4 } else { 10 };
    let (wanted, most) = if options.full { (31, 120) } else { (11, 40) };
    let count = pairs.len() as u64;
    let frame = |n: u64| &pairs[(n % count) as usize].arriving;
    let rewritten = |n: u64, bytes: &[u8]| compare(&pairs[(n % count) as usize].leaving, bytes);
    let returned = |n: u64, bytes: &[u8]| compare(&swapped(frame(n)), bytes);
    let rate = |run: &Run| run.packets as f64 * eal.tsc_hz() as f64 / run.ticks as f64 / 1e6;
    // Of two threads, in a slice of each system.
    let threads_ns = 4.0 * 1e9 * slice as f64 / eal.tsc_hz() as f64;
    let counters = segment.counters(0);
    let cycles = || (counters.get(Counter::BusyCycles), counters.get(Counter::IdleCycles));
    let mut rounds: Vec<Round> = Vec::new();
    while rounds.len() < most && rounds.iter().filter(|round| round.waited < DISTURBED).count() < wanted {
        leat.pump(WARM_UP, frame, rewritten)?;
        let (before, waited) = (cycles(), leat.waited_ns());
        let run = leat.pump(Until::Ticks(slice), frame, rewritten)?;
        let mut waited = leat.waited_ns() - waited;
        let after = cycles();
        let (busy, idle) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
        let mut theirs = None;
        if let Some(testpmd) = &mut testpmd {
            leat.signal(Signal::STOP)?;
            testpmd.signal(Signal::CONT)?;
            let warm = testpmd.pump(WARM_UP, frame, returned);
            let before = testpmd.waited_ns();
            let run = warm.and_then(|_| testpmd.pump(Until::Ticks(slice), frame, returned));
            waited += testpmd.waited_ns() - before;
            testpmd.signal(Signal::STOP)?;
            leat.signal(Signal::CONT)?;
            theirs = Some(rate(&run?));
        }
        rounds.push(Round {
            ours: rate(&run),
            theirs,
            busy: 100.0 * busy / (busy + idle).max(1.0),
            ticks: busy / run.packets.max(1) as f64,
            waited: waited / threads_ns,
        });
    }
    report(case, rounds, wanted);
    Ok(())
}

/// Prints the figures of a case, of the rounds in which nobody else used the CPUs, if there are enough.
fn report(case: &str, mut rounds: Vec<Round>, wanted: usize) {
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
    let of = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let median = |value| Figure::of("", "", &of(value), "", true).value;
    Figure::of(case, "leat", &of(|r| r.ours), "Mpackets/s", false)
        .with_note(format!(
            "nothing lost; every packet compared; lcore busy {:.0} %, {:.0} TSC ticks a packet with memif{noise}",
            median(|r| r.busy),
            median(|r| r.ticks)
        ))
        .print();
    if rounds.iter().all(|round| round.theirs.is_some()) {
        let theirs = of(|r| r.theirs.unwrap_or(f64::NAN));
        let ratios = of(|r| r.ours / r.theirs.unwrap_or(f64::NAN));
        Figure::of(case, "testpmd", &theirs, "Mpackets/s", false).with_note("macswap; the same frames").print();
        Figure::of(format!("{case}/ratio"), "leat", &ratios, "of testpmd", false)
            .with_note("of slices next to each other")
            .print();
    }
}

/// leat-dp must have counted exactly what was sent and came back.
fn balance(leat: &Link, segment: &ControlSegment) -> Result<()> {
    let counters = segment.counters(0);
    let (rx, forwarded) = (counters.get(Counter::RxPackets), counters.get(Counter::ForwardedPackets));
    ensure!(
        (rx, forwarded) == (leat.sent, leat.received) && counters.dropped_total() == 0,
        "leat-dp counts {rx} packets received, {forwarded} forwarded and {} dropped; the generator {} sent and {} received",
        counters.dropped_total(),
        leat.sent,
        leat.received
    );
    Ok(())
}

//! Hostile traffic and long runs over memif, against the real leat-dp: what it must not lose, misroute or count wrongly. Each part runs
//! its own leat-dp; `scripts/campaign` starts them. Nothing here is about speed, though rates are told.
//!
//! | part | what is asserted |
//! |---|---|
//! | soak | every one of so many packets comes back as it should, in order: none misrouted, changed or lost |
//! | flood | under SYNs of random clients at 90 % of the rate that is forwarded without loss, connects succeed and established flows live |
//! | guesses | spoofed RST, SYN, FIN and ICMP with random numbers for known addresses and ports end no flow |
//! | pressure | half as many handshakes again as the table has room for: the first ones live, the others are refused and counted, each once |

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use leat_abi::ControlSegment;
use leat_abi::counters::{Counter, DropReason};
use leat_core::checksum;
use leat_dpdk::{Mbuf, free_batch, rdtsc};
use leat_gen::random::Random;

use crate::generate::eal_on;
use crate::link::{Link, Pair, compare, establish, pair};
use crate::memory::Pages;
use crate::stats::Figure;
use crate::world::{self, Binding, FRAME, Flow, Kind, Mode, TARGET_MAC, Transport};

/// The parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Very many packets of established flows
    Soak,
    /// A flood of SYNs
    Flood,
    /// Spoofed packets of others' flows
    Guesses,
    /// More flows than there is room for
    Pressure,
    /// Every command of leat-gen, on one port and two, with up to a million flows
    Generator,
}

/// What the subcommand is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The part
    #[arg(long, value_enum)]
    part: Part,
    /// Packets of soak and guesses
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// Seconds of the flood
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The pages for buffers
    #[arg(long, value_enum, default_value_t = Pages::Ordinary)]
    pages: Pages,
    /// leat-dp's segment
    #[arg(long)]
    segment: PathBuf,
    /// The memif socket that leat-dp connects to
    #[arg(long)]
    socket: PathBuf,
    /// Name of EAL's directory
    #[arg(long)]
    file_prefix: String,
}

/// Flows that are established before the hostility begins.
const ESTABLISHED: u32 = 10_000;
/// The first numbers of the flows of legitimate clients, and of those of the flood.
const LEGITIMATE: u32 = 1 << 26;
const FLOOD: u32 = 1 << 28;
/// Legitimate connects per second, and their round trip outside of the appliance.
const CONNECTS_PER_S: u64 = 1000;
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// When a client sends its SYN again, and when it gives up.
const RETRY: Duration = Duration::from_secs(1);

/// Runs a part. leat-dp is named on standard input when it has been started, as for [`crate::generate::run`].
pub fn run(options: &Options) -> Result<()> {
    let eal = eal_on(0, options.pages, &options.file_prefix, &[&options.socket])?;
    let link = Link::open(&eal, 0, "leat-dp")?;
    std::io::stdin().read_line(&mut String::new())?;
    link.wait_for_link()?;
    let mut segment = ControlSegment::attach(&options.segment)?;
    let mac = segment.header().port[0].mac.load(Ordering::Acquire).to_le_bytes();
    let mac = [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]];
    let snapshot = world::snapshot(segment.announced_generation() + 1);
    segment.publish(&snapshot)?;
    let before = Instant::now();
    while segment.acknowledged_generation() < snapshot.generation {
        ensure!(before.elapsed() < Duration::from_secs(10), "leat-dp does not take the configuration");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut field = Field { link, segment, mac, tsc_hz: eal.tsc_hz(), random: Random::new(0xbad_5eed) };
    match options.part {
        Part::Soak => field.soak(options.packets),
        Part::Flood => field.flood(options.seconds),
        Part::Guesses => field.guesses(options.packets),
        Part::Pressure => field.pressure(),
        Part::Generator => bail!("leat-gen is a program of its own"),
    }
}

type Frame = [u8; FRAME];

struct Field {
    link: Link,
    segment: ControlSegment,
    mac: [u8; 6],
    tsc_hz: u64,
    random: Random,
}

impl Field {
    fn soak(&mut self, packets: u64) -> Result<()> {
        let mut pairs = Vec::new();
        let mut first = 0;
        for (mode, transport) in [
            (Mode::FullNat, Transport::Tcp),
            (Mode::Preserve, Transport::Tcp),
            (Mode::FullNat, Transport::Udp),
            (Mode::Preserve, Transport::Udp),
        ] {
            pairs.extend(establish(&mut self.link, mode, transport, first..first + 50_000, self.mac)?);
            first += 50_000;
        }
        for last in (1..pairs.len()).rev() {
            pairs.swap(last, self.random.below(last as u32 + 1) as usize);
        }
        let count = pairs.len() as u64;
        let mut done = 0;
        while done < packets {
            let part = (packets - done).min(50_000_000);
            self.link.pump(
                part,
                |n| &pairs[(n % count) as usize].arriving,
                |n, bytes| compare(&pairs[(n % count) as usize].leaving, bytes),
            )?;
            done += part;
            eprintln!(
                "  soak: {} million packets of {} flows, none wrong, lost or out of order",
                done / 1_000_000,
                count / 2
            );
        }
        self.balance()?;
        Figure::once("campaign/soak/misrouted", "leat", 0.0, "packets")
            .with_note(format!("of {packets}; each compared byte by byte, in order"))
            .print();
        Ok(())
    }

    fn guesses(&mut self, packets: u64) -> Result<()> {
        let mode = Mode::FullNat;
        let pairs = establish(&mut self.link, mode, Transport::Tcp, 0..ESTABLISHED, self.mac)?;
        let counters = self.segment.counters(0);
        let closed = counters.get(Counter::FlowsClosed);
        let kinds = [0x04u8, 0x14, 0x02, 0x11, 0x10, 0x18];
        let mut sent = 0;
        while sent < packets {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            while frames.len() < 256 {
                // Of either side: the attacker knows addresses and ports, but neither sequence nor acknowledgement number.
                let mut f = pairs[self.random.below(pairs.len() as u32) as usize].arriving;
                f[38..42].copy_from_slice(&(self.random.draw() as u32).to_be_bytes());
                f[42..46].copy_from_slice(&(self.random.draw() as u32).to_be_bytes());
                f[47] = kinds[self.random.below(kinds.len() as u32) as usize];
                frames.push(if self.random.below(4) == 0 { unreachable(&f, self.random.draw()) } else { f.to_vec() });
            }
            self.send(&frames)?;
            sent += frames.len() as u64;
            self.receive(|_| {})?;
            if sent % (1 << 22) < 256 {
                eprintln!("  guesses: {} million", sent / 1_000_000);
            }
        }
        self.settle()?;
        let ended = counters.get(Counter::FlowsClosed) - closed;
        self.all_live(&pairs)?;
        ensure!(ended == 0, "{ended} flows ended by {sent} guesses");
        Figure::once("campaign/guesses/flows-lost", "leat", 0.0, "flows")
            .with_note(format!("of {ESTABLISHED}, by {sent} spoofed RST, SYN, FIN, data and ICMP packets"))
            .print();
        Ok(())
    }

    fn pressure(&mut self) -> Result<()> {
        let room = u64::from(self.segment.geometry().flows_max);
        let offered = (room * 3 / 2) as u32;
        let mut pairs = Vec::new();
        let counters = self.segment.counters(0);
        let refused = |c: &leat_abi::counters::LcoreCounters<'_>| c.dropped(DropReason::FlowTableFull);
        for first in (0..offered).step_by(256) {
            let flows: Vec<Flow> = (first..(first + 256).min(offered))
                .map(|number| Flow { number, mode: Mode::FullNat, transport: Transport::Tcp })
                .collect();
            let frame =
                |kind| flows.iter().map(|f| f.arriving(kind, Binding::default(), self.mac).frame()).collect::<Vec<_>>();
            let (syns, before) = (frame(Kind::Open), refused(&counters));
            self.put_all(&syns)?;
            let mut begun: Vec<(Flow, Binding)> = Vec::new();
            let deadline = Instant::now() + Duration::from_secs(5);
            while begun.len() as u64 + refused(&counters) - before < flows.len() as u64 {
                self.receive(|bytes| {
                    let known = flows.iter().find_map(|flow| flow.binding(bytes).map(|binding| (*flow, binding)));
                    // A number that this frame carries, not any flow that could have its addresses.
                    let number = bytes.get(38..42).map(|seq| u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]]));
                    let flow = flows.iter().find(|flow| number == Some(flow.isn()));
                    if let (Some(flow), Some((_, binding))) = (flow, known) {
                        begun.push((*flow, binding));
                    }
                })?;
                ensure!(
                    Instant::now() < deadline,
                    "neither forwarded nor counted as refused: {} of {}",
                    begun.len(),
                    flows.len()
                );
            }
            let answers: Vec<Frame> =
                begun.iter().map(|(f, b)| f.arriving(Kind::Answer, *b, self.mac).frame()).collect();
            let finals: Vec<Frame> =
                begun.iter().map(|(f, b)| f.arriving(Kind::ClientData, *b, self.mac).frame()).collect();
            self.exchange(&answers)?;
            self.exchange(&finals)?;
            pairs.extend(
                begun
                    .iter()
                    .flat_map(|(f, b)| [Kind::ClientData, Kind::TargetData].map(|kind| pair(f, kind, *b, self.mac))),
            );
        }
        let (established, refusals) = (pairs.len() as u64 / 2, refused(&counters));
        ensure!(established + refusals == u64::from(offered), "{established} + {refusals} are not {offered}");
        self.all_live(&pairs)?;
        Figure::once("campaign/pressure/flows-lost", "leat", 0.0, "flows")
            .with_note(format!("{offered} offered to a table of {room}: {established} established and alive, {refusals} refused and counted"))
            .print();
        Ok(())
    }

    fn flood(&mut self, seconds: u64) -> Result<()> {
        let pairs = establish(&mut self.link, Mode::FullNat, Transport::Tcp, 0..ESTABLISHED, self.mac)?;
        let rate = self.syn_rate()?;
        let wanted = rate * 0.9;
        eprintln!("  flood: {:.2} million SYNs/s are forwarded without loss; flooding with 90 % of that", rate / 1e6);
        let calm = Connects::default();
        let calm = self.connect(calm, &pairs, None, 2)?;
        let under = self.connect(Connects::default(), &pairs, Some(wanted), seconds)?;
        self.settle()?;
        self.all_live(&pairs)?;
        let share = under.succeeded as f64 / under.begun.max(1) as f64 * 100.0;
        let added = under.p99_ms() - calm.p99_ms();
        Figure::once("campaign/flood/connects", "leat", share, "%")
            .with_note(format!(
                "of {} connects at {CONNECTS_PER_S}/s under {} SYNs ({:.2} M/s wanted, {:.2} M/s sent); {} needed a second SYN; \
                 p99 {added:+.2} ms to the calm time",
                under.begun,
                under.flooded,
                wanted / 1e6,
                under.flooded as f64 / seconds as f64 / 1e6,
                under.retried,
            ))
            .print();
        Figure::once("campaign/flood/flows-lost", "leat", 0.0, "flows")
            .with_note(format!(
                "of {ESTABLISHED}; {} of {} of their packets lost",
                under.data_sent - under.data_back,
                under.data_sent
            ))
            .print();
        ensure!(share >= 99.9, "only {share:.3} % of {} connects succeeded", under.begun);
        Ok(())
    }

    /// SYNs of ever other clients per second that come back without loss: a window of them, as fast as it goes, when half-open flows are as
    /// many as they may be.
    fn syn_rate(&mut self) -> Result<f64> {
        const WINDOW: u64 = 480;
        let template = self.flood_syn();
        let (start, measured_from) = (rdtsc(), 2 * self.tsc_hz);
        let (mut sent, mut back, mut before, mut last) = (0u64, 0u64, None, Instant::now());
        loop {
            let now = rdtsc() - start;
            if now > measured_from && before.is_none() {
                before = Some((now, back));
            }
            if let Some((from, count)) = before
                && now > measured_from + self.tsc_hz
            {
                self.settle()?;
                return Ok((back - count) as f64 * self.tsc_hz as f64 / (now - from) as f64);
            }
            if sent - back <= WINDOW {
                let frames: ArrayVec<Frame, 32> = (0..32).map(|_| varied(&template, self.random.draw())).collect();
                self.put(&frames)?;
                sent += 32;
            }
            let waiting = back;
            self.receive(|bytes| back += u64::from(bytes.get(12..14) == Some(&[8, 0])))?;
            if back > waiting {
                last = Instant::now();
            }
            ensure!(last.elapsed() < Duration::from_secs(5), "{} SYNs did not come back", sent - back);
        }
    }

    fn flood_syn(&mut self) -> Frame {
        let number = FLOOD + (self.random.draw() as u32 & 0x0fff_ffff);
        Flow { number, mode: Mode::FullNat, transport: Transport::Tcp }
            .arriving(Kind::Open, Binding::default(), self.mac)
            .frame()
    }

    /// Connects at a steady rate, keeps established flows talking, and floods if told.
    fn connect(&mut self, mut c: Connects, pairs: &[Pair], flood: Option<f64>, seconds: u64) -> Result<Connects> {
        let hz = self.tsc_hz;
        let ticks = |duration: Duration| (duration.as_secs_f64() * hz as f64) as u64;
        let template = self.flood_syn();
        let (start, sending) = (rdtsc(), seconds * hz);
        let first = LEGITIMATE + c.first;
        let (mut started, mut talked) = (0u64, 0u64);
        let mut waiting: Vec<Connect> = Vec::new();
        // What ends and routers outside send later: in the order in which it is due, as all delays of a kind are equal.
        let mut later: VecDeque<(u64, Frame)> = VecDeque::new();
        let mut retries: VecDeque<(u64, u32)> = VecDeque::new();
        let mut batch: ArrayVec<Mbuf, 32> = ArrayVec::new();
        loop {
            let now = rdtsc() - start;
            let over = now > sending;
            if over && (now > sending + 4 * hz || waiting.iter().all(|w| w.done)) {
                break;
            }
            let mut frames: ArrayVec<Frame, 32> = ArrayVec::new();
            while !frames.is_full() && later.front().is_some_and(|(due, _)| *due <= now) {
                frames.extend(later.pop_front().map(|(_, frame)| frame));
            }
            while !frames.is_full() && !over && started * hz / CONNECTS_PER_S <= now {
                let flow = Flow { number: first + started as u32, mode: Mode::FullNat, transport: Transport::Tcp };
                frames.push(flow.arriving(Kind::Open, Binding::default(), self.mac).frame());
                waiting.push(Connect { began: now, ..Connect::default() });
                retries.push_back((now + ticks(RETRY), started as u32));
                started += 1;
            }
            while !frames.is_full() && retries.front().is_some_and(|(due, _)| *due <= now) {
                let Some((due, n)) = retries.pop_front() else { break };
                let connect = &mut waiting[n as usize];
                if !connect.answered && connect.tries < 2 {
                    connect.tries += 1;
                    let flow = Flow { number: first + n, mode: Mode::FullNat, transport: Transport::Tcp };
                    frames.push(flow.arriving(Kind::Open, Binding::default(), self.mac).frame());
                    retries.push_back((due + ticks(RETRY), n));
                }
            }
            // Every established flow's two packets once a second.
            while !frames.is_full() && !over && talked * hz / pairs.len() as u64 <= now {
                frames.push(pairs[talked as usize % pairs.len()].arriving);
                talked += 1;
                c.data_sent += 1;
            }
            if let (Some(rate), false) = (flood, over) {
                while !frames.is_full() && (c.flooded as f64) < rate * now as f64 / hz as f64 {
                    let random = self.random.draw();
                    frames.push(varied(&template, random));
                    c.flooded += 1;
                }
            }
            self.put(&frames)?;
            self.link.rx.burst(&mut batch);
            for mbuf in &batch {
                self.arrived(mbuf.data(), now, first, &mut waiting, &mut later, &mut c, ticks(ROUND_TRIP) / 2);
            }
            free_batch(&mut batch);
        }
        c.first += started as u32;
        c.begun = waiting.len() as u64;
        c.succeeded = waiting.iter().filter(|w| w.done).count() as u64;
        c.retried = waiting.iter().filter(|w| w.tries > 0).count() as u64;
        c.times = waiting.iter().filter(|w| w.answered).map(|w| w.took as f64 * 1e3 / hz as f64).collect();
        c.times.sort_by(f64::total_cmp);
        Ok(c)
    }

    /// Plays the ends: targets answer legitimate SYNs, clients the answers.
    #[expect(clippy::too_many_arguments, reason = "one step of the loop above")]
    fn arrived(
        &self,
        bytes: &[u8],
        now: u64,
        first: u32,
        waiting: &mut [Connect],
        later: &mut VecDeque<(u64, Frame)>,
        c: &mut Connects,
        half_trip: u64,
    ) {
        let Some(header) = bytes.first_chunk::<54>() else { return };
        if header[12..14] != [8, 0] || header[23] != 6 {
            return;
        }
        let to_target = header[0..6] == TARGET_MAC;
        let seq = u32::from_be_bytes([header[38], header[39], header[40], header[41]]);
        let flags = header[47];
        let number = world::number_of(seq, to_target, flags);
        if number < ESTABLISHED {
            c.data_back += 1;
            return;
        }
        let Some(connect) = waiting.get_mut(number.wrapping_sub(first) as usize) else { return };
        let flow = Flow { number, mode: Mode::FullNat, transport: Transport::Tcp };
        match (to_target, flags & 0x12) {
            (true, 0x02) => {
                if let Some(binding) = flow.binding(bytes) {
                    later.push_back((now + half_trip, flow.arriving(Kind::Answer, binding, self.mac).frame()));
                }
            }
            (false, 0x12) => {
                if !connect.answered {
                    connect.answered = true;
                    connect.took = now - connect.began;
                }
                let data = flow.arriving(Kind::ClientData, Binding::default(), self.mac).frame();
                later.push_back((now + half_trip, data));
            }
            (true, 0x10) => connect.done = true,
            _ => {}
        }
    }

    /// Sends frames, and takes what comes meanwhile.
    fn send<F: AsRef<[u8]>>(&mut self, frames: &[F]) -> Result<()> {
        frames.chunks(32).try_for_each(|chunk| {
            self.put(chunk)?;
            self.receive(|_| {})
        })
    }

    /// Puts at most 32 frames into the ring.
    fn put<F: AsRef<[u8]>>(&mut self, frames: &[F]) -> Result<()> {
        let mut batch: ArrayVec<Mbuf, 32> = ArrayVec::new();
        for frame in frames {
            let mut mbuf = self.link.pool.alloc().context("the generator has no buffer left")?;
            let frame = frame.as_ref();
            mbuf.append(frame.len()).context("a buffer is too small")?.copy_from_slice(frame);
            batch.push(mbuf);
        }
        let since = Instant::now();
        while !batch.is_empty() {
            self.link.tx.burst(&mut batch);
            ensure!(since.elapsed() < Duration::from_secs(5), "leat-dp takes no frames");
        }
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut batch: ArrayVec<Mbuf, 32> = ArrayVec::new();
        while self.link.rx.burst(&mut batch) > 0 {
            batch.iter().for_each(|mbuf| each(mbuf.data()));
            free_batch(&mut batch);
        }
        Ok(())
    }

    /// Sends frames and waits for as many to come back.
    fn exchange(&mut self, frames: &[Frame]) -> Result<()> {
        self.put_all(frames)?;
        let (mut back, since) = (0, Instant::now());
        while back < frames.len() {
            self.receive(|bytes| back += usize::from(bytes.get(12..14) == Some(&[8, 0])))?;
            ensure!(since.elapsed() < Duration::from_secs(5), "{back} of {} came back", frames.len());
        }
        Ok(())
    }

    fn put_all(&mut self, frames: &[Frame]) -> Result<()> {
        frames.chunks(32).try_for_each(|chunk| self.put(chunk))
    }

    /// Takes what is still under way, until nothing comes any more.
    fn settle(&mut self) -> Result<()> {
        let mut last = Instant::now();
        while last.elapsed() < Duration::from_millis(200) {
            let mut any = false;
            self.receive(|_| any = true)?;
            if any {
                last = Instant::now();
            }
        }
        Ok(())
    }

    /// Both ends of every flow still hear each other.
    fn all_live(&mut self, pairs: &[Pair]) -> Result<()> {
        self.settle()?;
        self.link
            .pump(
                pairs.len() as u64,
                |n| &pairs[n as usize].arriving,
                |n, bytes| compare(&pairs[n as usize].leaving, bytes),
            )
            .context("an established flow is lost")?;
        Ok(())
    }

    fn balance(&self) -> Result<()> {
        let counters = self.segment.counters(0);
        let (rx, forwarded) = (counters.get(Counter::RxPackets), counters.get(Counter::ForwardedPackets));
        ensure!(rx == forwarded, "leat-dp counts {rx} packets received and {forwarded} forwarded");
        Ok(())
    }
}

/// One legitimate connect, in TSC ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Connect {
    began: u64,
    took: u64,
    tries: u8,
    answered: bool,
    done: bool,
}

/// What came of many.
#[derive(Debug, Clone, Default)]
struct Connects {
    first: u32,
    begun: u64,
    succeeded: u64,
    retried: u64,
    flooded: u64,
    data_sent: u64,
    data_back: u64,
    /// Milliseconds from SYN to SYN-ACK, sorted.
    times: Vec<f64>,
}

impl Connects {
    fn p99_ms(&self) -> f64 {
        self.times.get(self.times.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }
}

/// A SYN of another client: address, port and sequence number from a random number. Its segment's checksum is left wrong, which nobody
/// here looks at.
fn varied(template: &Frame, random: u64) -> Frame {
    let mut f = *template;
    let word = |f: &Frame, at: usize| u32::from_ne_bytes([f[at], f[at + 1], f[at + 2], f[at + 3]]);
    let old = word(&f, 26);
    let address = 0x2000_0000u32 | (random >> 40) as u32;
    f[26..30].copy_from_slice(&address.to_be_bytes());
    let sum = checksum::apply(u16::from_ne_bytes([f[24], f[25]]), checksum::change([old], [word(&f, 26)]));
    f[24..26].copy_from_slice(&sum.to_ne_bytes());
    f[34..36].copy_from_slice(&(random as u16 | 0x400).to_be_bytes());
    f[38..42].copy_from_slice(&(0xf000_0000 | (random >> 16) as u32 & 0x0fff_ffff).to_be_bytes());
    f
}

/// An ICMP error of some router that quotes a packet between the ends of this frame, the other way round: what its sender could have been
/// sent. The quoted sequence number is as random as the frame's.
fn unreachable(frame: &Frame, random: u64) -> Vec<u8> {
    let mut f = frame[..34].to_vec();
    f[16..18].copy_from_slice(&56u16.to_be_bytes());
    f[23] = 1;
    f[26..30].copy_from_slice(&(0x2000_0000u32 | (random >> 40) as u32).to_be_bytes());
    f[24..26].fill(0);
    let sum = checksum::of(&[&f[14..34]]);
    f[24..26].copy_from_slice(&sum.to_ne_bytes());
    f.extend([3, (random % 16) as u8, 0, 0, 0, 0, 0, 0]);
    let mut quoted = frame[14..42].to_vec();
    quoted[12..16].copy_from_slice(&frame[30..34]);
    quoted[16..20].copy_from_slice(&frame[26..30]);
    quoted[20..22].copy_from_slice(&frame[36..38]);
    quoted[22..24].copy_from_slice(&frame[34..36]);
    f.extend(&quoted);
    let sum = checksum::of(&[&f[34..]]);
    f[36..38].copy_from_slice(&sum.to_ne_bytes());
    f
}

//! The generator: one thread that plays all clients and all targets, on one or two ports, and verifies every packet that arrives.
//!
//! It owns the flows ([`Flow`], by their number), the queues, and all counts; nothing is shared. A turn of its loop sends at most a burst of
//! [`BURST`] packets, paced by the TSC or by what is under way, then takes in what has arrived, and sends what follows from it (handshakes,
//! answers, closing segments).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use hdrhistogram::Histogram;
use leat_dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, PortId, RxQueue, TxQueue, free_batch, rdtsc};

use crate::counts::Counts;
use crate::faults::{Faults, Planted, Planter};
use crate::flow::{FROM_CLIENT, FROM_TARGET, Flow, Lane, Order, State};
use crate::frame::{
    self, Content, Control, Ends, FLOWS_MAX, Mark, Packet, Template, Transport, Unread, stamp, ticks_since,
};
use crate::random::Random;
use crate::site::{Device, Site};

/// Packets that are sent and received at once.
pub const BURST: usize = 32;
/// How late packets of an open-loop trial may be sent, in seconds. Those that are due for longer, as something kept the generator from its
/// CPU, are left out, instead of being made up for in a burst that the device was not promised.
const LATE_MAX: f64 = 20e-6;
/// When nothing has arrived for this long, what is under way is lost.
const SILENCE: Duration = Duration::from_millis(50);
/// How often a handshake is begun again.
const OPENING_ROUNDS: u32 = 6;

/// What to send.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// TCP or UDP.
    pub transport: Transport,
    /// How many flows.
    pub flows: u32,
    /// Sizes of frames, FCS included; flow by flow in turn, so a size that is there twice is twice as frequent.
    pub sizes: Vec<usize>,
    /// Who sends data.
    pub directions: Directions,
    /// For the order of flows.
    pub seed: u64,
    /// Faults to plant.
    pub faults: Option<Faults>,
}

/// Who sends data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Directions {
    /// Clients only
    Clients,
    /// Targets only
    Targets,
    /// Either, at random
    Both,
}

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many packets per second, whatever arrives.
    Rate(f64),
    /// As fast as packets come back: never more than so many under way.
    Window(u64),
}

/// When to stop sending.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// After so long.
    Time(Duration),
    /// After so many packets.
    Packets(u64),
}

/// What a trial has shown.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What happened in it.
    pub counts: Counts,
    /// For how long packets were sent, in seconds.
    pub seconds: f64,
    /// Packets that were due and left out because the generator was late.
    pub left_out: u64,
    /// Data packets that had arrived when sending ended.
    pub arrived_meanwhile: u64,
    /// Time from sending to arrival, in TSC ticks; empty if that was not asked for.
    pub latency: Histogram<u64>,
    /// TSC ticks per second.
    pub tsc_hz: u64,
}

impl Outcome {
    /// Packets per second that were offered.
    pub fn offered_rate(&self) -> f64 {
        self.counts.sent as f64 / self.seconds
    }

    /// Packets per second that arrived while sending.
    pub fn rate(&self) -> f64 {
        self.arrived_meanwhile as f64 / self.seconds
    }

    /// A quantile of the latency in nanoseconds; 1 is the longest.
    pub fn latency_ns(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 * 1e9 / self.tsc_hz as f64
    }
}

/// What becomes of a flow once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It stays.
    Stay,
    /// The target answers the client's first data, and the client closes.
    Close(Closing),
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Closing {
    /// FIN from both sides, and the last acknowledgement
    Fin,
    /// RST from the client
    Reset,
}

/// A port and its queues.
struct Link {
    name: String,
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
    out: ArrayVec<Mbuf, 128>,
}

/// See the module's header.
pub struct Generator {
    site: Site,
    transport: Transport,
    directions: Directions,
    links: Vec<Link>,
    /// The link that sends packets of a direction.
    link_of: [usize; 2],
    pool: Arc<Mempool>,
    flows: Vec<Flow>,
    sizes: Vec<Size>,
    random: Random,
    planter: Option<Planter>,
    purpose: Purpose,
    counts: Counts,
    /// Flows that have become open, and connections that have ended as they should.
    opened: u64,
    completed: u64,
    latency: Option<Histogram<u64>>,
    /// Sending waits until the port takes everything.
    patient: bool,
    tsc_hz: u64,
}

/// One size of frames.
struct Size {
    bytes: usize,
    step: u32,
    /// By direction.
    templates: [Template; 2],
}

impl Generator {
    /// Opens the ports, the clients' first (one may serve both), and waits until their links are up.
    pub fn new(eal: &Eal, ports: &[&str], site: Site, traffic: &Traffic) -> Result<Self> {
        ensure!((1..=2).contains(&ports.len()), "one port or two, not {}", ports.len());
        ensure!(
            site.device == Device::Nat || traffic.directions == Directions::Clients,
            "only clients send to a device that returns packets"
        );
        ensure!((1..=FLOWS_MAX).contains(&traffic.flows), "1 to {FLOWS_MAX} flows");
        ensure!(
            u64::from(traffic.flows) <= site.flows_max(),
            "{} flows need more clients: their addresses and ports suffice for {}",
            traffic.flows,
            site.flows_max()
        );
        let pool_name = format!("leat-gen-{}", ports[0]).chars().take(25).collect::<String>();
        let pool = Mempool::new(eal, &pool_name, MempoolConfig { count: 16_383, ..MempoolConfig::default() })?;
        let links = ports.iter().map(|name| Link::open(eal, name, &pool)).collect::<Result<Vec<_>>>()?;
        let mut generator = Self {
            transport: traffic.transport,
            directions: traffic.directions,
            link_of: [0, links.len() - 1],
            links,
            pool,
            flows: Vec::new(),
            sizes: Vec::new(),
            random: Random::new(traffic.seed),
            planter: traffic.faults.map(Planter::new),
            purpose: Purpose::Stay,
            counts: Counts::default(),
            opened: 0,
            completed: 0,
            latency: None,
            patient: true,
            tsc_hz: eal.tsc_hz(),
            site,
        };
        generator.set_flows(traffic.transport, traffic.flows);
        generator.set_sizes(&traffic.sizes)?;
        Ok(generator)
    }

    /// Waits until the links are up.
    pub fn wait_for_links(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        for link in &self.links {
            while !link.port.link_up()? {
                ensure!(Instant::now() < deadline, "the link of {} is still down after {patience:?}", link.name);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Waits until a first connection is answered: a device may be linked up before it forwards. Forgets all flows.
    pub fn wait_for_service(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let first = self.connect(Pace::Window(1), Until::Packets(1), Closing::Reset)?;
            if first.completed == first.begun {
                break;
            }
            ensure!(Instant::now() < deadline, "the service answers nothing, after {patience:?}: {}", first.counts);
        }
        self.set_flows(self.transport, self.flows.len() as u32);
        Ok(())
    }

    /// Who is where, for changes before flows are opened.
    pub fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// Who is where.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// TSC ticks per second.
    pub fn tsc_hz(&self) -> u64 {
        self.tsc_hz
    }

    /// All that has happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The faults planted so far.
    pub fn planted(&self) -> Planted {
        self.planter.as_ref().map(|planter| planter.planted).unwrap_or_default()
    }

    /// Forgets all flows and makes others, none of them open.
    pub fn set_flows(&mut self, transport: Transport, count: u32) {
        self.transport = transport;
        let classes = self.sizes.len().max(1) as u32;
        self.flows.clear();
        self.flows.extend((0..count).map(|n| Flow {
            client: self.site.client(n),
            class: (n % classes) as u8,
            ..Flow::default()
        }));
        if self.site.device != Device::Nat {
            self.flows.iter_mut().for_each(|flow| flow.state = State::Open);
        }
        let sizes: Vec<usize> = self.sizes.iter().map(|size| size.bytes).collect();
        self.build(&sizes);
    }

    /// Changes the frames' sizes.
    pub fn set_sizes(&mut self, sizes: &[usize]) -> Result<()> {
        ensure!(!sizes.is_empty() && sizes.len() <= 255, "1 to 255 sizes of frames");
        for size in sizes {
            ensure!(frame::SIZES.contains(size), "frames are 64 to 1518 bytes long, FCS included, not {size}");
        }
        self.build(sizes);
        self.resynchronize();
        Ok(())
    }

    fn build(&mut self, sizes: &[usize]) {
        let transport = self.transport;
        let template = |bytes, lane| Template::new(transport, self.site.sent_macs(lane), bytes);
        self.sizes = sizes
            .iter()
            .map(|&bytes| Size {
                bytes,
                step: transport.step(bytes),
                templates: [0, 1].map(|lane| template(bytes, lane)),
            })
            .collect();
        let classes = sizes.len().max(1);
        self.flows.iter_mut().enumerate().for_each(|(n, flow)| flow.class = (n % classes) as u8);
    }

    /// Gives up what has not arrived.
    fn resynchronize(&mut self) {
        self.flows.iter_mut().flat_map(|flow| &mut flow.lanes).for_each(Lane::resynchronize);
    }

    /// Opens all flows that are not, by whole handshakes (TCP) or a datagram in each direction (UDP), never more than `window` at a time.
    ///
    /// # Errors
    /// If some cannot be opened, even when begun several times.
    pub fn open(&mut self, window: u64) -> Result<()> {
        (self.purpose, self.patient) = (Purpose::Stay, true);
        let total = self.flows.len() as u64;
        self.opened = self.flows.iter().filter(|flow| flow.state == State::Open).count() as u64;
        for _ in 0..OPENING_ROUNDS {
            let mut begun = self.opened;
            let (mut next, mut last) = (0, Instant::now());
            let mut idle = 0u32;
            while self.opened < total && last.elapsed() < 4 * SILENCE {
                let now = rdtsc();
                let mut room = BURST;
                while next < self.flows.len() && begun < self.opened + window && room > 0 {
                    if self.flows[next].state != State::Open {
                        self.begin(next as u32, now);
                        begun += 1;
                        room -= 1;
                    }
                    next += 1;
                }
                self.flush();
                idle = if self.poll(now) > 0 || room < BURST { 0 } else { idle + 1 };
                if idle < 64 {
                    last = Instant::now();
                }
            }
            if self.opened == total {
                self.resynchronize();
                return Ok(());
            }
        }
        bail!("{} of {total} flows could not be opened: {}", total - self.opened, self.counts)
    }

    /// The client of a flow sends its first packet, or sends it again.
    fn begin(&mut self, number: u32, now: u64) {
        let isn = number.wrapping_mul(0x9e37_79b1);
        let flow = &mut self.flows[number as usize];
        flow.state = State::Opening;
        (flow.target, flow.seen) = Default::default();
        match self.transport {
            Transport::Tcp => {
                flow.lanes = [Lane::starting(isn.wrapping_add(1)), Lane::default()];
                self.send_control(number, FROM_CLIENT, Control::Syn, stamp(now));
            }
            Transport::Udp => {
                flow.lanes = [Lane::starting(0), Lane::starting(0)];
                self.send_data(number, FROM_CLIENT, now);
            }
        }
    }

    /// Sends data of random flows until the end, then waits for what is under way.
    ///
    /// # Errors
    /// If the pool is empty or a port takes nothing any more.
    pub fn run(&mut self, pace: Pace, until: Until, latency: bool) -> Result<Outcome> {
        (self.purpose, self.patient) = (Purpose::Stay, matches!(pace, Pace::Window(_)));
        self.latency = if latency { Some(histogram()?) } else { None };
        let before = self.counts;
        let start = rdtsc();
        let (mut offered, mut left_out, mut written_off) = (0u64, 0u64, 0u64);
        let mut heard = start;
        let hz = self.tsc_hz as f64;
        let ticks = |time: Duration| (time.as_secs_f64() * hz) as u64;
        let (most_ticks, most) = match until {
            Until::Time(time) => (ticks(time), u64::MAX),
            Until::Packets(packets) => (u64::MAX, packets),
        };
        let silence = ticks(SILENCE);
        let per_tick = if let Pace::Rate(rate) = pace { rate / hz } else { 0.0 };
        let end = loop {
            let now = rdtsc();
            let elapsed = now.wrapping_sub(start);
            if elapsed >= most_ticks || offered >= most {
                break now;
            }
            let burst = match pace {
                Pace::Window(window) => {
                    let under_way = offered.saturating_sub((self.counts - before).arrived() + written_off);
                    if under_way + BURST as u64 <= window {
                        BURST as u64
                    } else {
                        if now.wrapping_sub(heard) > silence {
                            written_off += under_way;
                            heard = now;
                        }
                        0
                    }
                }
                Pace::Rate(_) => {
                    let owed = ((elapsed as f64 * per_tick) as u64).saturating_sub(left_out + offered);
                    left_out += owed.saturating_sub(backlog(per_tick * hz));
                    owed.min(BURST as u64)
                }
            };
            let burst = burst.min(most - offered) as usize;
            if burst > 0 {
                offered += self.offer(burst, now)? as u64;
            }
            if self.poll(now) > 0 {
                heard = now;
            }
        };
        let arrived_meanwhile = (self.counts - before).received;
        self.settle(&before);
        let counts = self.counts - before;
        if counts.lost() > 0 {
            self.resynchronize();
        }
        Ok(Outcome {
            counts,
            seconds: end.wrapping_sub(start) as f64 / self.tsc_hz as f64,
            left_out,
            arrived_meanwhile,
            latency: self.latency.take().map_or_else(histogram, Ok)?,
            tsc_hz: self.tsc_hz,
        })
    }

    /// Begins connections, each a handshake, a request, an answer and the closing, over all flows in turn. Counts are of the packets; the
    /// latency is the handshake's, from SYN to SYN-ACK.
    ///
    /// # Errors
    /// If a port takes nothing any more.
    pub fn connect(&mut self, pace: Pace, until: Until, closing: Closing) -> Result<Connections> {
        ensure!(self.site.device == Device::Nat, "connections need a device that translates");
        (self.purpose, self.patient) = (Purpose::Close(closing), true);
        self.latency = Some(histogram()?);
        self.flows.iter_mut().for_each(|flow| flow.state = State::Idle);
        (self.completed, self.opened) = (0, 0);
        let (before, start) = (self.counts, rdtsc());
        let (mut begun, mut left_out, mut failed, mut heard) = (0u64, 0u64, 0u64, start);
        let hz = self.tsc_hz as f64;
        let ticks = |time: Duration| (time.as_secs_f64() * hz) as u64;
        let silence = ticks(SILENCE);
        let end = loop {
            let now = rdtsc();
            let elapsed = now.wrapping_sub(start);
            let over = match until {
                Until::Time(time) => elapsed >= ticks(time),
                Until::Packets(count) => begun >= count,
            };
            if over {
                break now;
            }
            let burst = match pace {
                Pace::Window(window) => {
                    let under_way = begun - self.completed - failed;
                    if under_way >= window && now.wrapping_sub(heard) > silence {
                        failed += under_way;
                        heard = now;
                    }
                    (window.saturating_sub(under_way)).min(BURST as u64)
                }
                Pace::Rate(rate) => {
                    let owed = ((elapsed as f64 * rate / hz) as u64).saturating_sub(left_out + begun);
                    left_out += owed.saturating_sub(backlog(rate));
                    owed.min(BURST as u64)
                }
            };
            for _ in 0..burst {
                let number = (begun % self.flows.len() as u64) as u32;
                begun += 1;
                // What has not ended since its last turn has failed; it is begun again.
                self.begin(number, now);
            }
            self.flush();
            if self.poll(now) > 0 {
                heard = now;
            }
        };
        let completed_meanwhile = self.completed;
        let mut last = Instant::now();
        while self.completed < begun && last.elapsed() < SILENCE {
            if self.poll(rdtsc()) > 0 {
                last = Instant::now();
            }
        }
        let counts = self.counts - before;
        Ok(Connections {
            begun,
            completed: self.completed,
            seconds: end.wrapping_sub(start) as f64 / self.tsc_hz as f64,
            completed_meanwhile,
            left_out,
            handshake: self.latency.take().map_or_else(histogram, Ok)?,
            counts,
            tsc_hz: self.tsc_hz,
        })
    }

    /// Takes in what is still under way.
    fn settle(&mut self, before: &Counts) {
        self.flush();
        let mut last = Instant::now();
        while (self.counts - *before).lost() > 0 && last.elapsed() < SILENCE {
            if self.poll(rdtsc()) > 0 {
                last = Instant::now();
            } else if let Some(mut planter) = self.planter.take() {
                planter.release(|frame| self.arrived(frame, None, rdtsc()));
                self.planter = Some(planter);
            }
        }
    }

    /// Sends a burst of data of random flows. Returns how many.
    #[inline(always)]
    fn offer(&mut self, count: usize, now: u64) -> Result<usize> {
        let Self { flows, random, directions, link_of, links, sizes, pool, site, .. } = self;
        let total = flows.len() as u32;
        let mut picks: ArrayVec<(u32, usize), BURST> = ArrayVec::new();
        for _ in 0..count.min(BURST) {
            let draw = random.draw();
            let number = (((draw >> 32) * u64::from(total)) >> 32) as u32;
            let lane = match directions {
                Directions::Clients => FROM_CLIENT,
                Directions::Targets => FROM_TARGET,
                Directions::Both => (draw >> 13 & 1) as usize,
            };
            picks.push((number, lane));
        }
        // These reads do not wait for one another: all flows' cache lines are on their way before the first is needed.
        picks.retain(|(number, _)| flows[*number as usize].state == State::Open);
        let mut buffers: ArrayVec<Mbuf, BURST> = ArrayVec::new();
        ensure!(pool.alloc_batch(&mut buffers, picks.len()), "the generator has no buffer left");
        let (service, stamp) = (site.service(), stamp(now));
        for ((number, lane), mut mbuf) in picks.iter().copied().zip(buffers.drain(..)) {
            let flow = &mut flows[number as usize];
            let size = &sizes[usize::from(flow.class)];
            let ends = ends(flow, service, lane);
            let (position, acknowledged) = (flow.lanes[lane].sent, flow.lanes[1 - lane].expected);
            flow.lanes[lane].sent = position.wrapping_add(size.step);
            let template = &size.templates[lane];
            let room = mbuf.append(template.len()).context("a buffer is too small")?;
            template.write(room, ends, position, acknowledged, Mark { flow: number, lane, stamp });
            links[link_of[lane]].out.push(mbuf);
        }
        let sent = picks.len();
        self.counts.sent += sent as u64;
        self.flush();
        Ok(sent)
    }

    /// Hands what waits to the ports. What they do not take is refused, unless the generator is patient.
    #[inline(always)]
    fn flush(&mut self) {
        for link in &mut self.links {
            let mut tries = 0u32;
            while !link.out.is_empty() {
                link.tx.burst(&mut link.out);
                tries += 1;
                // A device that takes nothing for so long is stopped or dead, which shows as loss.
                if !link.out.is_empty() && (!self.patient || tries > 10_000_000) {
                    self.counts.refused += link.out.len() as u64;
                    free_batch(&mut link.out);
                }
            }
        }
    }

    /// Takes in what has arrived, and sends what follows from it. Returns how many frames there were.
    #[inline(always)]
    fn poll(&mut self, now: u64) -> usize {
        let mut count = 0;
        let mut batch: ArrayVec<Mbuf, BURST> = ArrayVec::new();
        for link in 0..self.links.len() {
            count += self.links[link].rx.burst(&mut batch);
            match self.planter.take() {
                None => batch.iter().for_each(|mbuf| self.arrived(mbuf.data(), Some(link), now)),
                Some(mut planter) => {
                    for mbuf in &batch {
                        planter.arrived(mbuf.data(), |frame| self.arrived(frame, Some(link), now));
                    }
                    self.planter = Some(planter);
                }
            }
            free_batch(&mut batch);
        }
        if self.links.iter().any(|link| !link.out.is_empty()) {
            self.flush();
        }
        count
    }

    /// Verifies a frame.
    #[inline(always)]
    fn arrived(&mut self, frame: &[u8], link: Option<usize>, now: u64) {
        let packet = match frame::read(frame) {
            Ok(packet) => packet,
            Err(Unread::Foreign) => return self.counts.foreign += 1,
            Err(Unread::Corrupted) => return self.counts.corrupted += 1,
        };
        let Mark { flow: number, lane, stamp } = packet.mark;
        let Some(flow) = self.flows.get_mut(number as usize) else { return self.counts.corrupted += 1 };
        let to = if self.site.device == Device::Nat { 1 - lane } else { lane };
        let at_the_right_place = link.is_none_or(|link| link == self.link_of[to])
            && frame.first_chunk::<6>() == Some(&self.site.arriving_mac(lane))
            && packet.transport == self.transport;
        if !at_the_right_place || !is_between_the_right_ends(&self.site, flow, &packet) {
            return self.counts.misrouted += 1;
        }
        match packet.content {
            Content::Data(bytes) => {
                let size = &self.sizes[usize::from(flow.class)];
                if bytes != size.bytes {
                    return self.counts.corrupted += 1;
                }
                match flow.lanes[lane].arrived(packet.position, size.step) {
                    Order::Next => self.counts.received += 1,
                    Order::Late => {
                        self.counts.received += 1;
                        self.counts.reordered += 1;
                    }
                    Order::Duplicate => return self.counts.duplicated += 1,
                    Order::Stale => return self.counts.stale += 1,
                    Order::Unknown => return self.counts.corrupted += 1,
                }
                if let (Purpose::Stay, Some(latency)) = (self.purpose, &mut self.latency) {
                    latency.saturating_record(ticks_since(stamp, now));
                }
                if flow.state != State::Open || self.purpose != Purpose::Stay {
                    self.data_in_opening(number, lane, now);
                }
            }
            Content::Control(kind) => self.control_arrived(&packet, kind, now),
        }
    }

    /// What the end that data has arrived at does, if the flow is not simply open.
    #[cold]
    fn data_in_opening(&mut self, number: u32, lane: usize, now: u64) {
        let flow = &mut self.flows[number as usize];
        match (self.transport, lane, flow.state) {
            (Transport::Udp, FROM_CLIENT, State::Opening) => {
                flow.state = State::Answered;
                self.send_data(number, FROM_TARGET, now);
            }
            (Transport::Udp, FROM_TARGET, State::Answered) => {
                flow.state = State::Open;
                self.opened += 1;
                if self.purpose != Purpose::Stay {
                    flow.state = State::Idle;
                    self.completed += 1;
                }
            }
            (Transport::Tcp, FROM_CLIENT, State::Confirmed) => {
                flow.state = State::Open;
                self.opened += 1;
                if self.purpose != Purpose::Stay {
                    self.send_data(number, FROM_TARGET, now);
                }
            }
            (Transport::Tcp, FROM_TARGET, State::Open) => match self.purpose {
                Purpose::Stay => {}
                Purpose::Close(Closing::Fin) => {
                    flow.state = State::ClientClosed;
                    self.send_control(number, FROM_CLIENT, Control::Fin, stamp(now));
                }
                Purpose::Close(Closing::Reset) => {
                    flow.state = State::ClientClosed;
                    self.send_control(number, FROM_CLIENT, Control::Reset, stamp(now));
                }
            },
            _ => {}
        }
    }

    /// A segment without payload has arrived, between the right ends.
    #[cold]
    fn control_arrived(&mut self, packet: &Packet, kind: Control, now: u64) {
        self.counts.control_received += 1;
        let Mark { flow: number, lane, stamp: sent } = packet.mark;
        let flow = &mut self.flows[number as usize];
        // Segments that open or close a direction take up one position.
        let behind = if kind == Control::Ack || kind == Control::Reset { 0 } else { 1 };
        if packet.position.wrapping_add(behind) != flow.lanes[lane].sent {
            return self.counts.unexpected += 1;
        }
        match (kind, lane, flow.state) {
            (Control::Syn, FROM_CLIENT, State::Opening) => {
                flow.lanes[FROM_TARGET] = Lane::starting((!number).wrapping_mul(0x85eb_ca6b).wrapping_add(1));
                flow.state = State::Answered;
                // With the SYN's stamp: the client then knows how long the handshake took.
                self.send_control(number, FROM_TARGET, Control::SynAck, sent);
            }
            (Control::SynAck, FROM_TARGET, State::Answered) => {
                flow.state = State::Confirmed;
                if let (Purpose::Close(_), Some(latency)) = (self.purpose, &mut self.latency) {
                    latency.saturating_record(ticks_since(sent, now));
                }
                self.send_data(number, FROM_CLIENT, now);
            }
            (Control::Fin, FROM_CLIENT, State::ClientClosed) => {
                flow.lanes[lane].resynchronize();
                flow.state = State::BothClosed;
                self.send_control(number, FROM_TARGET, Control::Fin, stamp(now));
            }
            (Control::Fin, FROM_TARGET, State::BothClosed) => {
                flow.lanes[lane].resynchronize();
                self.send_control(number, FROM_CLIENT, Control::Ack, stamp(now));
            }
            (Control::Ack, FROM_CLIENT, State::BothClosed) | (Control::Reset, FROM_CLIENT, State::ClientClosed) => {
                flow.state = State::Idle;
                self.completed += 1;
            }
            _ => self.counts.unexpected += 1,
        }
    }

    /// Sends a segment without payload.
    fn send_control(&mut self, number: u32, lane: usize, kind: Control, stamp: u32) {
        let flow = &mut self.flows[number as usize];
        let ends = ends(flow, self.site.service(), lane);
        let position = match kind {
            // The lane begins behind it.
            Control::Syn | Control::SynAck => flow.lanes[lane].sent.wrapping_sub(1),
            Control::Fin => {
                let position = flow.lanes[lane].sent;
                flow.lanes[lane].sent = position.wrapping_add(1);
                position
            }
            Control::Ack | Control::Reset => flow.lanes[lane].sent,
        };
        let acknowledged = if kind == Control::Syn { 0 } else { flow.lanes[1 - lane].expected };
        let mark = Mark { flow: number, lane, stamp };
        let bytes = frame::control(self.site.sent_macs(lane), ends, kind, position, acknowledged, mark);
        self.counts.control_sent += 1;
        self.push(lane, &bytes);
    }

    /// Sends a data packet of this flow.
    fn send_data(&mut self, number: u32, lane: usize, now: u64) {
        let flow = &mut self.flows[number as usize];
        let class = usize::from(flow.class);
        let ends = ends(flow, self.site.service(), lane);
        let (position, acknowledged) = (flow.lanes[lane].sent, flow.lanes[1 - lane].expected);
        flow.lanes[lane].sent = position.wrapping_add(self.sizes[class].step);
        let mark = Mark { flow: number, lane, stamp: stamp(now) };
        self.counts.sent += 1;
        let template = &self.sizes[class].templates[lane];
        let mut frame = [0; frame::BYTES_MAX];
        let frame = &mut frame[..template.len()];
        template.write(frame, ends, position, acknowledged, mark);
        self.push(lane, frame);
    }

    fn push(&mut self, lane: usize, frame: &[u8]) {
        let link = self.link_of[lane];
        if self.links[link].out.is_full() {
            self.flush();
        }
        match self.pool.alloc() {
            Some(mut mbuf) => {
                if let Some(room) = mbuf.append(frame.len()) {
                    room.copy_from_slice(frame);
                }
                self.links[link].out.push(mbuf);
            }
            None => self.counts.refused += 1,
        }
    }
}

/// The ends of a packet that a flow's end sends.
#[inline(always)]
fn ends(flow: &Flow, service: crate::flow::Endpoint, lane: usize) -> Ends {
    if lane == FROM_CLIENT {
        Ends { source: flow.client, destination: service }
    } else {
        Ends { source: flow.target, destination: flow.seen }
    }
}

/// Whether a packet comes from where it should and is where it should. The first one of a flow that reaches a target says which target the
/// device has chosen, and as whom it shows the client.
#[inline(always)]
fn is_between_the_right_ends(site: &Site, flow: &mut Flow, packet: &Packet) -> bool {
    let Ends { source, destination } = packet.ends;
    match site.device {
        Device::Nat if packet.mark.lane == FROM_CLIENT => {
            if flow.target.ip == 0 {
                let chosen = flow.state == State::Opening
                    && site.is_target(destination)
                    && site.may_be_seen(flow.client, source);
                if chosen {
                    (flow.target, flow.seen) = (destination, source);
                }
                return chosen;
            }
            destination == flow.target && source == flow.seen
        }
        Device::Nat => source == site.service() && destination == flow.client,
        Device::Io | Device::Macswap => source == flow.client && destination == site.service(),
        Device::FiveTupleSwap => source == site.service() && destination == flow.client,
    }
}

/// What [`Generator::connect`] has shown.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Connections begun.
    pub begun: u64,
    /// Connections that were opened, used and closed.
    pub completed: u64,
    /// Those of them that had been closed when no more were begun.
    pub completed_meanwhile: u64,
    /// For how long connections were begun, in seconds.
    pub seconds: f64,
    /// Connections that were due and left out because the generator was late.
    pub left_out: u64,
    /// From SYN to SYN-ACK, in TSC ticks.
    pub handshake: Histogram<u64>,
    /// All packets.
    pub counts: Counts,
    /// TSC ticks per second.
    pub tsc_hz: u64,
}

impl Connections {
    /// Connections per second.
    pub fn rate(&self) -> f64 {
        self.completed_meanwhile as f64 / self.seconds
    }
}

/// What an open-loop trial of so many packets or connections per second may be behind with.
fn backlog(rate: f64) -> u64 {
    ((rate * LATE_MAX) as u64).max(BURST as u64)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 1 << 28, 3)?)
}

/// Starts the port of a DPDK device, with a queue of 1,024 frames each way, for frames from this pool.
pub fn open_port(eal: &Eal, name: &str, pool: &Arc<Mempool>) -> Result<(Port, RxQueue, TxQueue)> {
    let config = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rx_descriptors: 1024,
        tx_descriptors: 1024,
        mtu: None,
        promiscuous: true,
        rss: false,
    };
    let id = PortId::by_name(eal, name)?;
    let (port, mut rx, mut tx) = Port::configure(eal, id, config, std::slice::from_ref(pool))?;
    let (Some(rx), Some(tx)) = (rx.pop(), tx.pop()) else { bail!("{name} has no queues") };
    Ok((port, rx, tx))
}

impl Link {
    fn open(eal: &Eal, name: &str, pool: &Arc<Mempool>) -> Result<Self> {
        let (port, rx, tx) = open_port(eal, name, pool)?;
        Ok(Self { name: name.to_owned(), port, rx, tx, out: ArrayVec::new() })
    }
}

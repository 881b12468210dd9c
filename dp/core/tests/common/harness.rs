//! Pipelines without DPDK: frames go in, verdicts are carried out as the application does, and after every step the laws that
//! always hold are checked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_abi::counters::{Counter, DropReason, LcoreCounters, ListenerCounter, TargetCounter};
use leat_abi::message::Event;
use leat_abi::ring::Consumer;
use leat_abi::{FlowEntry, Snapshot};
use leat_core::{Arrival, BURST, Forwarding, Now, OwnedFrame, Pipeline, Place, SourcePorts, Verdict};

use super::memory::{Memory, SLOTS};
use super::packet::{Packet, checksums, icmp_is_good};
use super::world::{self, OWNER_KEY};

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    /// The last verdict: never a hand-over.
    pub verdict: Verdict,
    /// The lcore whose verdict it is.
    pub lcore: u16,
    /// Whether it came there from another lcore.
    pub handed_over: bool,
    pub bytes: Vec<u8>,
}

impl Out {
    /// The forwarded packet and its egress port.
    #[track_caller]
    pub fn forwarded(&self) -> (u8, Packet) {
        let Verdict::Forward { port } = self.verdict else { panic!("not forwarded: {:?}", self.verdict) };
        (port, Packet::read(&self.bytes).expect("a packet"))
    }

    /// The forwarded frame, whatever is in it.
    #[track_caller]
    pub fn forwarded_frame(&self) -> (u8, &[u8]) {
        let Verdict::Forward { port } = self.verdict else { panic!("not forwarded: {:?}", self.verdict) };
        (port, &self.bytes)
    }

    /// The answer and the port that it leaves by.
    #[track_caller]
    pub fn answered(&self) -> (u8, Packet) {
        let Verdict::Answer { port, .. } = self.verdict else { panic!("not answered: {:?}", self.verdict) };
        (port, Packet::read(&self.bytes).expect("a packet"))
    }

    pub fn is_dropped(&self, reason: DropReason) -> bool {
        self.verdict == Verdict::Drop(reason)
    }
}

/// How far counters moved, by name; those that did not are not in it.
pub type Moves = BTreeMap<String, i64>;

struct Lcore {
    memory: Memory,
    pipeline: Option<Pipeline<'static>>,
    events: Consumer<'static>,
    seen: Vec<u64>,
}

/// Some lcores that share a configuration and a clock.
pub struct Harness {
    pub now: Now,
    /// The configuration; [`Harness::publish`] makes it that of the lcores.
    pub world: Snapshot,
    lcores: Vec<Lcore>,
    /// Those of the process that runs.
    pub ports: Arc<SourcePorts>,
    incarnation: u64,
    /// MTU of the ports; [`Harness::publish`] makes it known.
    pub mtus: [u16; 2],
    /// What was made here and sent since [`Harness::made`] was called last.
    made: Vec<(Verdict, Vec<u8>)>,
}

/// Takes what a pipeline has made, and counts it as sent.
fn take_originated(pipeline: &mut Pipeline<'static>) -> Vec<(Verdict, Vec<u8>)> {
    let mut made = Vec::new();
    let counters = pipeline.counters();
    pipeline.originated(|bytes, verdict| {
        Pipeline::sent(&counters, verdict, bytes.len());
        made.push((verdict, bytes.to_vec()));
    });
    made
}

/// Pairs of node address and target that have source ports.
pub const POOLS: usize = 64;

impl Default for Harness {
    fn default() -> Self {
        Self::new(1, 4096)
    }
}

impl Harness {
    /// `lcores` lcores of `flows` flow entries each, configured by [`world::snapshot`].
    pub fn new(lcores: u16, flows: usize) -> Self {
        Self::with_events(lcores, flows, 1024)
    }

    pub fn with_events(lcores: u16, flows: usize, events: usize) -> Self {
        let mut harness = Self::unconfigured(lcores, flows, events);
        harness.publish();
        harness
    }

    /// Lcores that have no snapshot yet.
    pub fn unconfigured(lcores: u16, flows: usize, events: usize) -> Self {
        let ports = Arc::new(SourcePorts::new(lcores, POOLS));
        let lcores = (0..lcores)
            .map(|_| {
                let memory = Memory::new(flows, events);
                let (events, seen) = (memory.consumer(), values(&memory.counters));
                Lcore { memory, pipeline: None, events, seen }
            })
            .collect();
        // Not a whole second, and the 16-bit stamps of the entries will soon wrap around.
        let now = Now { ms: 65_500_123 };
        let mut harness = Self {
            now,
            world: world::snapshot(),
            lcores,
            ports,
            incarnation: 0,
            mtus: [world::MTU; 2],
            made: Vec::new(),
        };
        harness.start();
        harness
    }

    /// The lcores' processes die without a word, and others take over. Returns how many flows they adopted.
    pub fn crash(&mut self) -> usize {
        self.start();
        let adopted = self.lcores.iter_mut().map(|l| l.pipeline.as_mut().expect("running").adopt(self.now)).sum();
        self.install();
        adopted
    }

    /// The lcores' processes die, and something overwrites entries of the first one's before others start. They are not started.
    pub fn damage(&mut self, entries: &[(usize, FlowEntry)]) {
        let first = &mut self.lcores[0];
        first.pipeline = None;
        let memory = first.memory.lines();
        entries.iter().for_each(|(at, entry)| memory[*at] = *entry);
    }

    fn start(&mut self) {
        self.incarnation += 1;
        let lcores = self.lcores.len() as u16;
        self.ports = Arc::new(SourcePorts::new(lcores, POOLS));
        for (lcore, l) in (0..).zip(&mut self.lcores) {
            l.pipeline = None;
            let table_key = [self.incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15), u64::from(lcore)];
            let place = Place { lcore, lcores, owner_key: OWNER_KEY, table_key };
            let (counters, producer) = (l.memory.counters, l.memory.producer());
            l.pipeline = Some(Pipeline::new(place, l.memory.flows(), counters, producer, self.ports.clone(), self.now));
        }
    }

    /// Gives new connections of all groups a PROXY header, or none.
    pub fn set_proxy_protocol(&mut self, on: bool) {
        self.world.groups.iter_mut().for_each(|group| group.proxy_protocol = on);
        self.publish();
    }

    /// Gives the lcores the configuration as it is now.
    pub fn publish(&mut self) {
        self.install();
        self.world.generation += 1;
    }

    fn install(&mut self) {
        let mut ports = world::ports();
        ports.iter_mut().zip(self.mtus).for_each(|(port, mtu)| port.mtu = mtu);
        let forwarding = Arc::new(Forwarding::new(&self.world, &ports, OWNER_KEY));
        self.ports.configure(&forwarding, true);
        for l in &mut self.lcores {
            l.pipeline.as_mut().expect("running").install(forwarding.clone());
        }
    }

    /// Tells the lcores their ports' MACs, and nothing else.
    pub fn install_nothing(&mut self) {
        let forwarding = Arc::new(Forwarding::new(&Snapshot::default(), &world::ports(), OWNER_KEY));
        for l in &mut self.lcores {
            l.pipeline.as_mut().expect("running").install(forwarding.clone());
        }
    }

    pub fn pipeline(&mut self, lcore: u16) -> &mut Pipeline<'static> {
        self.lcores[usize::from(lcore)].pipeline.as_mut().expect("running")
    }

    pub fn lcores(&self) -> u16 {
        self.lcores.len() as u16
    }

    pub fn counters(&self, lcore: u16) -> LcoreCounters<'static> {
        self.lcores[usize::from(lcore)].memory.counters
    }

    /// A counter's sum over all lcores.
    pub fn total(&self, counter: Counter) -> u64 {
        self.lcores.iter().map(|l| l.memory.counters.get(counter)).sum()
    }

    /// All flow entries in use, with their lcores.
    pub fn flows(&self) -> Vec<(u16, FlowEntry)> {
        let pipelines = self.lcores.iter().filter_map(|l| l.pipeline.as_ref());
        (0..).zip(pipelines).flat_map(|(lcore, p)| p.flows().map(move |e| (lcore, *e))).collect()
    }

    /// Lets time pass and the lcores look after their timers.
    pub fn pass(&mut self, ms: u64) {
        self.skip(ms);
        self.housekeeping();
    }

    /// Lets time pass without anybody looking after timers.
    pub fn skip(&mut self, ms: u64) {
        self.now.ms += ms;
    }

    pub fn housekeeping(&mut self) {
        let now = self.now;
        for l in &mut self.lcores {
            let pipeline = l.pipeline.as_mut().expect("running");
            for _ in 0..1000 {
                let is_more = pipeline.housekeeping(now);
                self.made.extend(take_originated(pipeline));
                if !is_more {
                    break;
                }
            }
        }
        self.deliver_made();
        self.check_laws();
    }

    /// Feeds one packet to lcore 0.
    pub fn feed(&mut self, port: u8, packet: &Packet) -> Out {
        self.feed_bytes(0, port, &packet.bytes())
    }

    /// Feeds one frame.
    pub fn feed_bytes(&mut self, lcore: u16, port: u8, frame: &[u8]) -> Out {
        self.burst(lcore, port, &[frame.to_vec()]).remove(0)
    }

    /// Feeds a burst to an lcore, carries the verdicts out, delivers what is handed over.
    pub fn burst(&mut self, lcore: u16, port: u8, frames: &[Vec<u8>]) -> Vec<Out> {
        let frames = frames.iter().map(|bytes| OwnedFrame::new(port, bytes.clone())).collect();
        self.run(lcore, frames)
    }

    /// As [`Harness::burst`], with frames of several ports.
    pub fn run(&mut self, lcore: u16, mut frames: Vec<OwnedFrame>) -> Vec<Out> {
        let inputs: Vec<Vec<u8>> = frames.iter().map(|f| f.bytes.clone()).collect();
        let verdicts = self.process(lcore, Arrival::Wire, &mut frames);
        let mut outs: Vec<Out> = Vec::new();
        let mut handed: BTreeMap<u16, VecDeque<(usize, OwnedFrame)>> = BTreeMap::new();
        for (i, (verdict, frame)) in verdicts.into_iter().zip(frames).enumerate() {
            if let Verdict::HandOver { lcore: owner, port, ports } = verdict {
                assert_eq!(frame.bytes, inputs[i], "changed before the hand-over");
                assert!(owner != lcore && port == frame.port, "handed to itself");
                handed.entry(owner).or_default().push_back((i, OwnedFrame { handed_ports: ports, ..frame.clone() }));
            }
            outs.push(Out { verdict, lcore, handed_over: false, bytes: frame.bytes });
        }
        // A fragment goes to the lcore that keeps its datagram's, then to its flow's: never further, never back.
        for hop in 0..2 {
            for (owner, queue) in std::mem::take(&mut handed) {
                let (at, mut frames): (Vec<usize>, Vec<OwnedFrame>) = queue.into_iter().unzip();
                let verdicts = self.process(owner, Arrival::HandedOver, &mut frames);
                for ((verdict, frame), at) in verdicts.into_iter().zip(frames).zip(at) {
                    if let Verdict::HandOver { lcore: next, port, ports } = verdict {
                        let may_go_on = hop == 0 && is_fragment(&frame.bytes);
                        assert!(may_go_on && next != owner && port == frame.port, "handed over too often");
                        assert_eq!(frame.bytes, inputs[at], "changed before the hand-over");
                        let frame = OwnedFrame { handed_ports: ports, ..frame.clone() };
                        handed.entry(next).or_default().push_back((at, frame));
                    }
                    outs[at] = Out { verdict, lcore: owner, handed_over: true, bytes: frame.bytes };
                }
            }
        }
        self.deliver_made();
        for (out, input) in outs.iter().zip(&inputs) {
            check_output(out, input);
        }
        self.check_laws();
        outs
    }

    /// Takes what was made for other lcores there: fragments that were held.
    fn deliver_made(&mut self) {
        let handed: Vec<_> = self.made.extract_if(.., |(v, _)| matches!(v, Verdict::HandOver { .. })).collect();
        for (verdict, bytes) in handed {
            let Verdict::HandOver { lcore, port, ports } = verdict else { continue };
            let mut frame = [OwnedFrame { handed_ports: ports, ..OwnedFrame::new(port, bytes) }];
            let verdict = self.process(lcore, Arrival::HandedOver, &mut frame)[0];
            assert!(!matches!(verdict, Verdict::HandOver { .. }), "handed over too often");
            let [frame] = frame;
            if matches!(verdict, Verdict::Forward { .. } | Verdict::Answer { .. }) {
                self.made.push((verdict, frame.bytes));
            }
        }
    }

    fn process(&mut self, lcore: u16, arrival: Arrival, frames: &mut [OwnedFrame]) -> ArrayVec<Verdict, BURST> {
        let now = self.now;
        let l = &mut self.lcores[usize::from(lcore)];
        let mut verdicts = ArrayVec::new();
        let pipeline = l.pipeline.as_mut().expect("running");
        pipeline.process(now, arrival, frames, &mut verdicts);
        self.made.extend(take_originated(pipeline));
        assert_eq!(verdicts.len(), frames.len());
        for (verdict, frame) in verdicts.iter().zip(frames.iter()) {
            Pipeline::sent(&l.memory.counters, *verdict, frame.bytes.len());
        }
        verdicts
    }

    /// The frames that the lcores made and sent since the last call, with their verdicts.
    pub fn made(&mut self) -> Vec<(Verdict, Vec<u8>)> {
        std::mem::take(&mut self.made)
    }

    /// As [`Harness::made`], as packets and with the port that each left by.
    pub fn made_packets(&mut self) -> Vec<(u8, Packet)> {
        let read = |(verdict, bytes): (Verdict, Vec<u8>)| {
            let Verdict::Originate { port } = verdict else { panic!("{verdict:?}") };
            assert_eq!(checksums(&bytes), Some((true, true)));
            (port, Packet::read(&bytes).expect("a packet"))
        };
        self.made().into_iter().map(read).collect()
    }

    /// What must hold at every moment.
    pub fn check_laws(&self) {
        for (lcore, l) in self.lcores.iter().enumerate() {
            let c = &l.memory.counters;
            let arrived = c.get(Counter::RxPackets) + c.get(Counter::HandedIn);
            let gone = c.get(Counter::ForwardedPackets) + c.get(Counter::PuntedPackets);
            let gone = gone + c.get(Counter::AnsweredPackets) + c.get(Counter::HandedOut) + c.dropped_total();
            let gone = gone + c.get(Counter::ConsumedPackets) + c.get(Counter::HeldPackets);
            assert_eq!(arrived, gone, "conservation on lcore {lcore}");
        }
        assert_eq!(self.total(Counter::HandedOut), self.total(Counter::HandedIn), "nothing is lost between lcores");
    }

    /// What must hold of all flows: no key twice (I2), no source port twice at a target (I6), none taken that no entry has,
    /// gauges = entries (I10).
    pub fn check_flows(&self) {
        let flows = self.flows();
        let mut keys = std::collections::HashSet::new();
        for (_, e) in &flows {
            assert!(keys.insert((e.protocol, e.client_ip, e.client_port, e.vip, e.vport)), "client's key twice: {e:?}");
            assert!(keys.insert((e.protocol, e.target_ip, e.target_port, e.nat_ip, e.nat_port)), "target's: {e:?}");
        }
        let full_nat = flows.iter().filter(|(_, e)| e.has(leat_abi::flow::flag::FULL_NAT)).count();
        assert_eq!(self.ports.used().1, full_nat as u64, "source ports taken");
        for (lcore, l) in (0u16..).zip(&self.lcores) {
            let c = &l.memory.counters;
            let mine = || flows.iter().filter(|(at, _)| *at == lcore).map(|(_, e)| e);
            let active = |e: &&FlowEntry| e.state().is_some_and(|s| s.is_active());
            for slot in 0..SLOTS as u16 {
                let to_target = || mine().filter(|e| e.target_slot == slot);
                let of_listener = || mine().filter(|e| e.listener_slot == slot);
                let gauges = [
                    (c.get_target(slot, TargetCounter::FlowRefs), to_target().count()),
                    (c.get_target(slot, TargetCounter::ActiveFlows), to_target().filter(active).count()),
                    (c.get_listener(slot, ListenerCounter::FlowRefs), of_listener().count()),
                    (c.get_listener(slot, ListenerCounter::ActiveFlows), of_listener().filter(active).count()),
                ];
                assert!(gauges.iter().all(|(gauge, count)| *gauge == *count as u64), "slot {slot}: {gauges:?}");
            }
            let pipeline = l.pipeline.as_ref().expect("running");
            assert_eq!(pipeline.flows_used(), mine().count());
            let ended = c.get(Counter::FlowsClosed) + c.get(Counter::FlowsExpired) + c.get(Counter::FlowsTerminated);
            let ended = ended + c.get(Counter::HalfOpenEvicted) + c.get(Counter::OneWayUdpEvicted);
            assert_eq!(c.get(Counter::FlowsCreated) - ended, mine().filter(active).count() as u64, "created - ended");
        }
    }

    /// The counters of lcore 0 that moved since the last call, and how far.
    pub fn moved(&mut self) -> Moves {
        self.moved_on(0)
    }

    pub fn moved_on(&mut self, lcore: u16) -> Moves {
        let l = &mut self.lcores[usize::from(lcore)];
        let now = values(&l.memory.counters);
        let before = std::mem::replace(&mut l.seen, now.clone());
        let moves = names().into_iter().zip(now.iter().zip(&before).map(|(n, b)| n.wrapping_sub(*b) as i64));
        moves.filter(|(_, by)| *by != 0).collect()
    }

    /// The events that an lcore has reported.
    pub fn events(&mut self, lcore: u16) -> Vec<Event> {
        let consumer = &mut self.lcores[usize::from(lcore)].events;
        let messages = std::iter::from_fn(|| consumer.pop().expect("a sound ring"));
        messages.map(|m| Event::decode(&m).expect("an event")).collect()
    }
}

fn values(c: &LcoreCounters<'_>) -> Vec<u64> {
    let counters = Counter::ALL.iter().map(|counter| c.get(*counter));
    let drops = DropReason::ALL.iter().map(|reason| c.dropped(*reason));
    let slots = (0..SLOTS as u16).flat_map(|slot| {
        let target = TargetCounter::ALL.iter().map(move |counter| c.get_target(slot, *counter));
        target.chain(ListenerCounter::ALL.iter().map(move |counter| c.get_listener(slot, *counter)))
    });
    counters.chain(drops).chain(slots).collect()
}

fn names() -> Vec<String> {
    let counters = Counter::ALL.iter().map(|counter| counter.name().to_owned());
    let drops = DropReason::ALL.iter().map(|reason| format!("drop.{}", reason.name()));
    let slots = (0..SLOTS).flat_map(|slot| {
        let target = TargetCounter::ALL.iter().map(move |counter| format!("target{slot}.{}", counter.name()));
        target.chain(ListenerCounter::ALL.iter().map(move |counter| format!("listener{slot}.{}", counter.name())))
    });
    counters.chain(drops).chain(slots).collect()
}

/// Whether a frame has a fragment, of IPv4 or with IPv6's header first.
fn is_fragment(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0,
        _ => frame[20] == 44,
    }
}

fn is_icmp(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => frame[23] == 1,
        _ => frame[20] == 58,
    }
}

/// What must hold of every frame that leaves: headers that others can read, the IP checksum right, a good segment still good and
/// a bad one still bad; what Linux gets is what came.
fn check_output(out: &Out, input: &[u8]) {
    match out.verdict {
        Verdict::Forward { .. } if is_fragment(input) || is_fragment(&out.bytes) => {}
        Verdict::Forward { .. } if is_icmp(input) => assert!(icmp_is_good(&out.bytes), "ICMP that leaves"),
        Verdict::Forward { .. } => {
            let (before, after) = (checksums(input).expect("readable"), checksums(&out.bytes).expect("readable"));
            assert!(after.0, "the IP checksum of what leaves");
            assert_eq!(before.1, after.1, "the segment's checksum is as good or bad as it was");
            // From IPv4 to IPv6 it grows by what the header does, and by the header of a fragment.
            let growth = if input[12..14] == [8, 0] && out.bytes[12..14] != [8, 0] { 28 } else { 0 };
            assert!(out.bytes.len() <= input.len() + growth);
        }
        Verdict::Answer { .. } => {
            assert!(checksums(&out.bytes) == Some((true, true)) || icmp_is_good(&out.bytes));
            assert!(out.bytes.len() <= input.len(), "an answer is never longer than the question");
        }
        Verdict::Punt { .. } => assert_eq!(out.bytes, input, "Linux gets what came"),
        Verdict::HandOver { .. } | Verdict::Originate { .. } | Verdict::Consume | Verdict::Drop(_) => {}
    }
}

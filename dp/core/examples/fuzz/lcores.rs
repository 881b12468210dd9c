//! The lcores under test: what the application does with verdicts, deaths and restarts, and checks at every step.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use leat_abi::counters::{Counter, DropReason, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowState, flag};
use leat_abi::message::{Command, Event};
use leat_abi::ring::Consumer;
use leat_abi::snapshot::TargetState;
use leat_abi::{FlowEntry, Snapshot};
use leat_core::{Arrival, BURST, Forwarding, Now, OwnedFrame, Pipeline, Place, PortInfo, SourcePorts, Verdict};
use rand::Rng;
use rand::rngs::SmallRng;
use zerocopy::IntoBytes;

use crate::checks;
use crate::memory::{Memory, SLOTS};
use crate::traffic::Traffic;
use crate::world::{OWNER_KEY, ports, snapshot, table};

/// Few entries, so that tables fill.
const FLOWS: usize = 1024;
/// Pairs of node address and target that have source ports: enough, or not.
const POOLS: [usize; 2] = [512, 40];

/// What a frame's maker knows of it.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// Times that it was handed over.
    pub hops: u8,
    /// The conversation that it is of, if nothing is wrong with it.
    pub of: Option<u16>,
    /// Whether the checksum of its segment was right, if it has one.
    pub was_good: Option<bool>,
}

/// A frame and what its maker knows of it.
pub type NotedFrame = OwnedFrame<Note>;

struct Lcore {
    memory: Memory,
    pipeline: Option<Pipeline<'static>>,
    events: Consumer<'static>,
    handed: Vec<NotedFrame>,
}

pub struct Lcores {
    pub now: Now,
    lcores: Vec<Lcore>,
    ports: Arc<SourcePorts>,
    /// Pools at the most: the same after a restart, as flows have them.
    pools: usize,
    frames: Vec<NotedFrame>,
    configurations: Vec<Arc<Forwarding>>,
    restarts: u64,
    swaps: u64,
    /// Entries hold nonsense: what leaves need not have a good segment.
    tainted: bool,
    /// They did at some time: flows came and went uncounted.
    damaged: bool,
}

impl Lcores {
    pub fn new(count: u16, random: &mut SmallRng) -> Self {
        let lcores = (0..count)
            .map(|_| {
                let memory = Memory::new(FLOWS, 64);
                Lcore { events: memory.consumer(), memory, pipeline: None, handed: Vec::new() }
            })
            .collect();
        let unconfigured = Arc::new(Forwarding::new(&Snapshot::default(), &ports(), OWNER_KEY));
        let configured = (1..=48).map(|generation| configuration(generation, random));
        let configurations = std::iter::once(unconfigured).chain(configured).collect();
        let frames = vec![NotedFrame::noted(0, Vec::new(), Note::default()); BURST];
        let now = Now { ms: 65_000_000 };
        let pools = POOLS[random.random_range(0..POOLS.len())];
        let ports = Arc::new(SourcePorts::new(count, pools));
        let mut all = Self {
            now,
            lcores,
            ports,
            pools,
            frames,
            configurations,
            restarts: 0,
            swaps: 0,
            tainted: false,
            damaged: false,
        };
        all.start(random);
        all
    }

    pub fn count(&self) -> usize {
        self.lcores.len()
    }

    fn start(&mut self, random: &mut SmallRng) {
        let count = self.lcores.len() as u16;
        self.ports = Arc::new(SourcePorts::new(count, self.pools));
        // It takes a while until the control plane has looked.
        let first = random.random_range(0..2);
        for (lcore, l) in (0..).zip(&mut self.lcores) {
            l.pipeline = None;
            let place = Place { lcore, lcores: count, owner_key: OWNER_KEY, table_key: random.random() };
            let (counters, events) = (l.memory.counters, l.memory.producer());
            let mut pipeline = Pipeline::new(place, l.memory.flows(), counters, events, self.ports.clone(), self.now);
            pipeline.adopt(self.now);
            pipeline.install(self.configurations[first].clone());
            l.pipeline = Some(pipeline);
        }
        self.ports.configure(&self.configurations[first], true);
        self.restarts += 1;
    }

    /// All processes die, and others take over.
    pub fn crash(&mut self, random: &mut SmallRng) {
        self.check();
        let active = self.active();
        self.start(random);
        assert_eq!(self.active(), active, "flows live on");
        self.check();
    }

    /// Something has written into the entries. Once they hold nonsense, the next restart of this kind begins without flows.
    pub fn crash_with_damage(&mut self, random: &mut SmallRng) {
        (self.tainted, self.damaged) = (!self.tainted, true);
        for l in &mut self.lcores {
            l.pipeline = None;
            let lines = l.memory.lines();
            if !self.tainted {
                lines.fill(FlowEntry::default());
                continue;
            }
            for _ in 0..200 {
                let bytes: &mut [u8] = lines[random.random_range(0..lines.len())].as_mut_bytes();
                for _ in 0..random.random_range(1..64) {
                    bytes[random.random_range(0..64)] = random.random();
                }
            }
        }
        self.start(random);
        self.check();
    }

    fn active(&self) -> usize {
        let flows = self.lcores.iter().filter_map(|l| l.pipeline.as_ref()).flat_map(|p| p.flows());
        flows.filter(|e| e.state().is_some_and(FlowState::is_active)).count()
    }

    /// Feeds a burst to one lcore and delivers what is handed over. Returns how many packets there were.
    pub fn burst(&mut self, traffic: &mut Traffic, random: &mut SmallRng) -> u64 {
        let count = random.random_range(1..=BURST);
        self.frames[..count].iter_mut().for_each(|frame| traffic.make(frame, random));
        let at = random.random_range(0..self.lcores.len());
        let mut frames = std::mem::take(&mut self.frames);
        self.process(at, Arrival::Wire, &mut frames[..count], traffic);
        self.frames = frames;
        self.deliver(traffic);
        count as u64
    }

    /// Takes what was handed over there, until nothing is under way.
    fn deliver(&mut self, traffic: &mut Traffic) {
        while self.lcores.iter().any(|l| !l.handed.is_empty()) {
            for owner in 0..self.lcores.len() {
                let mut handed = std::mem::take(&mut self.lcores[owner].handed);
                for burst in handed.chunks_mut(BURST) {
                    self.process(owner, Arrival::HandedOver, burst, traffic);
                }
            }
        }
    }

    /// Sends what an lcore made, as the application does.
    fn send_made(&mut self, at: usize) {
        let (tainted, l) = (self.tainted, &mut self.lcores[at]);
        let (pipeline, counters) = (l.pipeline.as_mut().expect("running"), l.memory.counters);
        let mut handed = Vec::new();
        pipeline.originated(|bytes, verdict| {
            match verdict {
                Verdict::Forward { port } | Verdict::Originate { port } => checks::made(port, bytes, tainted),
                Verdict::HandOver { lcore, port, ports } => {
                    let note = Note { hops: 1, ..Note::default() };
                    handed.push((
                        lcore,
                        NotedFrame { handed_ports: ports, ..NotedFrame::noted(port, bytes.to_vec(), note) },
                    ));
                }
                other => panic!("made: {other:?}"),
            }
            Pipeline::sent(&counters, verdict, bytes.len());
        });
        for (lcore, buffer) in handed {
            assert_ne!(usize::from(lcore), at, "handed to itself");
            self.lcores[usize::from(lcore)].handed.push(buffer);
        }
    }

    fn process(&mut self, at: usize, arrival: Arrival, frames: &mut [NotedFrame], traffic: &mut Traffic) {
        let mut verdicts: ArrayVec<Verdict, BURST> = ArrayVec::new();
        let l = &mut self.lcores[at];
        let counters = l.memory.counters;
        let pipeline = l.pipeline.as_mut().expect("running");
        pipeline.process(self.now, arrival, frames, &mut verdicts);
        self.send_made(at);
        assert_eq!(verdicts.len(), frames.len());
        for (verdict, frame) in verdicts.iter().zip(frames) {
            match *verdict {
                Verdict::Forward { port } => {
                    checks::forwarded(port, frame, self.tainted);
                    traffic.learn(frame, port);
                }
                Verdict::Answer { port, .. } => checks::answered(port, frame),
                Verdict::HandOver { lcore, port, ports } => {
                    let is_fragment = checks::layers(&frame.bytes).is_some_and(|layers| layers.is_fragment);
                    let hops_max = if is_fragment { 2 } else { 1 };
                    assert!(frame.note.hops < hops_max && usize::from(lcore) != at, "handed over in a circle");
                    let mut handed = NotedFrame { port, handed_ports: ports, ..frame.clone() };
                    handed.note.hops += 1;
                    self.lcores[usize::from(lcore)].handed.push(handed);
                }
                Verdict::Punt { port } => assert_eq!(port, frame.port),
                Verdict::Drop(_) | Verdict::Consume | Verdict::Originate { .. } => {}
            }
            // Now and then there is no room where the packet should go.
            if self.now.ms % 64 == 5 && !matches!(verdict, Verdict::HandOver { .. }) {
                Pipeline::refused(&counters, *verdict);
            } else {
                Pipeline::sent(&counters, *verdict, frame.bytes.len());
            }
        }
    }

    pub fn housekeeping(&mut self, at: usize) -> bool {
        let now = self.now;
        let l = &mut self.lcores[at];
        let pipeline = l.pipeline.as_mut().expect("running");
        let is_more = pipeline.housekeeping(now);
        self.send_made(at);
        is_more
    }

    /// Three seconds without packets: no fragment is held any more.
    pub fn settle(&mut self, traffic: &mut Traffic) {
        self.now.ms += 3_000;
        for at in 0..self.lcores.len() {
            for _ in 0..100 {
                self.housekeeping(at);
            }
        }
        self.deliver(traffic);
        assert_eq!(self.total(Counter::HeldPackets), 0, "fragments are held for ever");
    }

    pub fn command(&mut self, at: usize, command: Command) {
        self.lcores[at].pipeline.as_mut().expect("running").command(command);
    }

    /// Reads the events. Returns how many there were.
    pub fn drain_events(&mut self, at: usize) -> usize {
        let events = &mut self.lcores[at].events;
        let mut count = 0;
        while let Some(message) = events.pop().expect("a sound ring") {
            Event::decode(&message).expect("an event");
            count += 1;
        }
        count
    }

    pub fn reconfigure(&mut self, random: &mut SmallRng) {
        self.swaps += 1;
        let next = random.random_range(1..self.configurations.len());
        self.ports.configure(&self.configurations[next], true);
        for l in &mut self.lcores {
            l.pipeline.as_mut().expect("running").install(self.configurations[next].clone());
        }
    }

    /// Conservation on every lcore; gauges equal entries; no key twice, no source port twice on all of them, none lost; entries in use equal
    /// insertions less removals.
    pub fn check(&self) {
        let (mut keys, mut sources, mut full_nat) = (HashSet::new(), HashSet::new(), 0);
        for (lcore, l) in self.lcores.iter().enumerate() {
            let c = &l.memory.counters;
            let get = |counter| c.get(counter);
            assert_eq!(
                get(Counter::RxPackets) + get(Counter::HandedIn),
                get(Counter::ForwardedPackets)
                    + get(Counter::AnsweredPackets)
                    + get(Counter::PuntedPackets)
                    + get(Counter::HandedOut)
                    + get(Counter::ConsumedPackets)
                    + get(Counter::HeldPackets)
                    + c.dropped_total(),
                "conservation on lcore {lcore}"
            );
            let pipeline = l.pipeline.as_ref().expect("running");
            let mut gauges = [[0u64; 4]; 1 << 8];
            let (mut used, mut active) = (0, 0);
            for e in pipeline.flows() {
                used += 1;
                let is_active = u64::from(e.state().is_some_and(FlowState::is_active));
                active += is_active;
                assert!(keys.insert((e.protocol, e.client_ip, e.client_port, e.vip, e.vport, lcore)));
                assert!(keys.insert((e.protocol, e.target_ip, e.target_port, e.nat_ip, e.nat_port, lcore)));
                if e.has(flag::FULL_NAT) {
                    full_nat += 1;
                    let source = (e.protocol, e.target_ip, e.target_port, e.nat_ip, e.nat_port);
                    assert!(sources.insert(source), "a source port twice, lcore {lcore}");
                }
                for (slot, first) in [(e.target_slot, 0), (e.listener_slot, 2)] {
                    if let Some(g) = gauges.get_mut(usize::from(slot)) {
                        g[first] += 1;
                        g[first + 1] += is_active;
                    }
                }
            }
            assert_eq!(pipeline.flows_used(), used);
            if !self.damaged {
                let ended = [
                    Counter::FlowsClosed,
                    Counter::FlowsExpired,
                    Counter::FlowsTerminated,
                    Counter::HalfOpenEvicted,
                    Counter::OneWayUdpEvicted,
                ];
                let ended: u64 = ended.into_iter().map(get).sum();
                assert_eq!(get(Counter::FlowsCreated) - ended, active, "created less ended");
            }
            for (slot, expected) in (0..SLOTS as u16).zip(gauges) {
                let found = [
                    c.get_target(slot, TargetCounter::FlowRefs),
                    c.get_target(slot, TargetCounter::ActiveFlows),
                    c.get_listener(slot, ListenerCounter::FlowRefs),
                    c.get_listener(slot, ListenerCounter::ActiveFlows),
                ];
                assert_eq!(found, expected, "gauges of slot {slot} on lcore {lcore}");
            }
        }
        assert_eq!(self.ports.used().1, full_nat, "source ports taken, and flows that have one");
    }

    fn total(&self, counter: Counter) -> u64 {
        self.lcores.iter().map(|l| l.memory.counters.get(counter)).sum()
    }

    pub fn summary(&self, packets: u64, elapsed: Duration) -> String {
        let per_s = packets as f64 / elapsed.as_secs_f64() / 1e6;
        let dropped: u64 = self.lcores.iter().map(|l| l.memory.counters.dropped_total()).sum();
        format!(
            "{packets} packets, {per_s:.2} M/s: {} forwarded, {} answered, {} punted, {} handed over, {dropped} dropped; \
             flows: {} created, {} closed, {} expired, {} adopted; {} snapshots, {} restarts",
            self.total(Counter::ForwardedPackets),
            self.total(Counter::AnsweredPackets),
            self.total(Counter::PuntedPackets),
            self.total(Counter::HandedOut),
            self.total(Counter::FlowsCreated),
            self.total(Counter::FlowsClosed),
            self.total(Counter::FlowsExpired),
            self.total(Counter::FlowsAdopted),
            self.swaps,
            self.restarts - 1,
        )
    }

    pub fn details(&self) -> String {
        let count = |reason: DropReason| self.lcores.iter().map(|l| l.memory.counters.dropped(reason)).sum::<u64>();
        let all = DropReason::ALL.iter().map(|reason| format!("{} {}", reason.name(), count(*reason)));
        format!("drops: {}", all.collect::<Vec<_>>().join(", "))
    }
}

/// A configuration that could follow any other: targets in all states, some replaced, some unresolved, listeners gone.
fn configuration(generation: u64, random: &mut SmallRng) -> Arc<Forwarding> {
    let mut world: Snapshot = snapshot();
    world.generation = generation;
    if generation > 1 {
        for target in &mut world.targets {
            let state = TargetState::ALL[random.random_range(0..TargetState::ALL.len())];
            target.state = if random.random_ratio(1, 6) { state } else { TargetState::Active };
            target.generation = random.random_range(0..8u8) / 7;
            if random.random_ratio(1, 16) {
                target.next_hop = None;
            }
        }
        for group in world.groups.iter_mut().filter(|group| !group.table.is_empty()) {
            let most = random.random_ratio(3, 4);
            let first = group.table[0] & !7;
            let slots: Vec<u16> =
                (first..first + 8).filter(|_| random.random_ratio(if most { 6 } else { 1 }, 8)).collect();
            group.table = table(&slots);
            group.preserve_client_ip ^= random.random_ratio(1, 8);
            group.sticky = random.random_ratio(1, 4);
            group.proxy_protocol = random.random_ratio(1, 3);
        }
        (world.hairpin_next_target, world.sticky_by_64) = (random.random(), random.random());
        world.listeners.retain(|_| random.random_ratio(15, 16));
        world.locals.retain(|_| random.random_ratio(31, 32));
        world.targets.retain(|t| t.slot < 6 || random.random_ratio(7, 8));
        let known: Vec<u16> = world.targets.iter().map(|t| t.slot).collect();
        world.groups.iter_mut().for_each(|g| g.table.retain(|slot| known.contains(slot)));
    }
    let mtu = [1500, 1500, 1280, 600][random.random_range(0..4)];
    let ports = ports().map(|port| PortInfo { mtu, ..port });
    Arc::new(Forwarding::new(&world, &ports, OWNER_KEY))
}

//! The data plane's process: real pipelines over the real segment, and what leat-dp does around them, a step at a time.
//!
//! A step is what the process does without looking up: taking a snapshot, installing one on an lcore, a packet's way through its lcores,
//! housekeeping. It may be killed between any two steps, and with a packet in hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use leat_abi::counters::{Counter, DropReason, LcoreCounters};
use leat_abi::message::Command;
use leat_abi::{FlowEntry, Snapshot};
use leat_core::{Arrival, BURST, Forwarding, Now, OwnedFrame, Pipeline, Place, PortInfo, SourcePorts, Verdict};

use crate::plant::Plant;
use crate::segment::{LCORES, Segment};
use crate::site::{PORTS, port_mac};

/// Pairs of node address and target that have source ports.
const POOLS: usize = 512;
const MTU: u16 = 1500;

/// What leaves: the verdict, the lcore whose it is, the frame.
#[derive(Debug, Clone)]
pub struct Out {
    /// What is done with it: never a hand-over.
    pub verdict: Verdict,
    /// Whose verdict it is.
    pub lcore: u16,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// What became of a frame that arrived.
#[derive(Debug)]
pub struct Fate {
    /// Of the frame itself.
    pub out: Out,
    /// What was made here because of it.
    pub made: Vec<Out>,
    /// A flow was created.
    pub created: bool,
}

/// The process, and what it leaves in the segment when it is dead.
#[derive(Debug)]
pub struct DataPlane {
    pipelines: Vec<Pipeline<'static>>,
    /// What each lcore works with.
    installed: Vec<Arc<Forwarding>>,
    source_ports: Arc<SourcePorts>,
    /// Snapshots on their way to the lcores; the latest wins.
    mailbox: Vec<Option<Arc<Forwarding>>>,
    /// The generation taken last.
    taken: u64,
    /// Frames received in all incarnations, by lcore: what `rx_packets` must say.
    pub received: Vec<u64>,
    plant: Option<Plant>,
    /// The frames before a planted fault that is to come late.
    patience: u32,
    /// An old configuration, kept for a planted fault.
    old: Option<Arc<Forwarding>>,
}

impl DataPlane {
    /// No process yet.
    pub fn new(plant: Option<Plant>) -> Self {
        Self {
            pipelines: Vec::new(),
            installed: Vec::new(),
            source_ports: Arc::new(SourcePorts::new(LCORES, POOLS)),
            mailbox: Vec::new(),
            taken: 0,
            received: vec![0; usize::from(LCORES)],
            plant,
            patience: 20,
            old: None,
        }
    }

    /// Whether there is a process.
    pub fn is_running(&self) -> bool {
        !self.pipelines.is_empty()
    }

    /// A process begins: adopts what is in the segment. Returns how many flows, and the configuration.
    pub fn start(&mut self, segment: &mut Segment, now: Now) -> (usize, Snapshot) {
        let header = segment.data.header();
        // What opening the segment does.
        header.incarnation.fetch_add(1, Ordering::AcqRel);
        for (block, name) in header.port.iter().zip(PORTS) {
            let mut text = [0u8; 16];
            text[..name.len()].copy_from_slice(name.as_bytes());
            for (word, bytes) in block.name.iter().zip(text.chunks_exact(8)) {
                word.store(u64::from_le_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
            }
        }
        segment.data.set_ports(PORTS.len() as u8);
        let snapshot = match segment.data.read_announced() {
            Some((generation, read)) => {
                segment.data.consume(generation, read.is_ok());
                read.unwrap_or_default()
            }
            None => Snapshot::default(),
        };
        let owner_key = header.owner_key.load(Ordering::Relaxed);
        let forwarding = Arc::new(Forwarding::new(&snapshot, &ports(), owner_key));
        self.taken = forwarding.generation;
        settle_handovers(segment);
        self.source_ports = Arc::new(SourcePorts::new(LCORES, POOLS));
        self.mailbox = vec![None; usize::from(LCORES)];
        self.installed = vec![forwarding.clone(); usize::from(LCORES)];
        let incarnation = header.incarnation.load(Ordering::Relaxed);
        let mut adopted = 0;
        for (lcore, memory) in (0..LCORES).zip(&mut segment.flows) {
            let Some(memory) = memory.take() else { continue };
            let key = owner_key.rotate_left(incarnation as u32) ^ incarnation;
            let place = Place { lcore, lcores: LCORES, owner_key, table_key: [key, u64::from(lcore)] };
            let (counters, events) = (segment.data.counters(lcore), segment.data.events(lcore));
            let mut pipeline = Pipeline::new(place, memory, counters, events, self.source_ports.clone(), now);
            adopted += pipeline.adopt(now);
            pipeline.install(forwarding.clone());
            segment.data.lcore_header(lcore).acknowledge(pipeline.generation());
            self.pipelines.push(pipeline);
        }
        self.source_ports.configure(&forwarding, true);
        (adopted, snapshot)
    }

    /// The process is killed. What it leaves is in the segment.
    pub fn kill(&mut self, segment: &mut Segment) {
        for (pipeline, memory) in self.pipelines.drain(..).zip(&mut segment.flows) {
            *memory = Some(pipeline.into_memory());
        }
        self.mailbox.clear();
    }

    /// The main thread looks for a snapshot. Returns the one it took.
    pub fn take_snapshot(&mut self, segment: &Segment) -> Option<Result<Snapshot, String>> {
        segment.data.pending_generation()?;
        let (generation, read) = segment.data.read_announced()?;
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                segment.data.consume(generation, false);
                return Some(Err(error.to_string()));
            }
        };
        let owner_key = segment.data.header().owner_key.load(Ordering::Relaxed);
        let forwarding = Arc::new(Forwarding::new(&snapshot, &ports(), owner_key));
        let settled =
            (0..LCORES).all(|lcore| segment.data.lcore_header(lcore).generation.load(Ordering::Acquire) >= self.taken);
        self.taken = generation;
        self.source_ports.configure(&forwarding, settled);
        self.mailbox.fill(Some(forwarding));
        segment.data.consume(generation, true);
        if self.plant == Some(Plant::EarlyAcknowledgement) {
            (0..LCORES).for_each(|lcore| segment.data.lcore_header(lcore).acknowledge(generation));
        }
        Some(Ok(snapshot))
    }

    /// An lcore looks into its mailbox between two bursts.
    pub fn install(&mut self, segment: &Segment, lcore: u16) {
        let (Some(pipeline), Some(mail)) =
            (self.pipelines.get_mut(usize::from(lcore)), self.mailbox.get_mut(usize::from(lcore)))
        else {
            return;
        };
        let Some(mut forwarding) = mail.take() else { return };
        let generation = forwarding.generation;
        if self.plant == Some(Plant::OldSnapshot) && lcore == 1 {
            match &self.old {
                Some(old) if generation.is_multiple_of(8) => forwarding = old.clone(),
                None => self.old = Some(forwarding.clone()),
                Some(_) => {}
            }
        }
        self.installed[usize::from(lcore)] = forwarding.clone();
        pipeline.install(forwarding);
        segment.data.lcore_header(lcore).acknowledge(pipeline.generation());
    }

    /// The generation that each lcore works with.
    pub fn generations(&self) -> impl Iterator<Item = u64> {
        self.pipelines.iter().map(Pipeline::generation)
    }

    /// A frame arrives at an lcore's queue of a port; none if the process dies with it in hand.
    pub fn receive(
        &mut self,
        segment: &Segment,
        lcore: u16,
        port: u8,
        bytes: Vec<u8>,
        now: Now,
        dies: Option<u8>,
    ) -> Option<Fate> {
        let flows = |it: &Self| it.pipelines.iter().map(|p| p.counters().get(Counter::FlowsCreated)).sum::<u64>();
        let before = flows(self);
        let mut made = Vec::new();
        self.received[usize::from(lcore)] += 1;
        let (mut at, mut arrival) = (lcore, Arrival::Wire);
        let mut frame = OwnedFrame::new(port, bytes);
        for hop in 0..3 {
            let counters = segment.data.counters(at);
            let pipeline = self.pipelines.get_mut(usize::from(at))?;
            let mut frames = [frame];
            let mut verdicts: ArrayVec<Verdict, BURST> = ArrayVec::new();
            pipeline.process(now, arrival, &mut frames, &mut verdicts);
            if dies == Some(hop) {
                self.pipelines[usize::from(at)].originated(|_, _| ());
                return None;
            }
            made.extend(originated(pipeline, &counters, at));
            let [out] = frames;
            frame = out;
            let verdict = *verdicts.first()?;
            let is_lost = self.plant == Some(Plant::Uncounted) && matches!(verdict, Verdict::Forward { .. }) && {
                self.patience = self.patience.saturating_sub(1);
                self.patience == 0
            };
            if !is_lost {
                Pipeline::sent(&counters, verdict, frame.bytes.len());
            }
            if let Verdict::HandOver { lcore, port, ports } = verdict {
                (at, arrival) = (lcore, Arrival::HandedOver);
                frame = OwnedFrame { port, handed_ports: ports, ..frame };
                continue;
            }
            let out = Out { verdict, lcore: at, bytes: frame.bytes };
            return Some(Fate { out, made, created: flows(self) > before });
        }
        None
    }

    /// Timers, sweeps and fragments of all lcores, until nothing is left to be done at this moment. Returns what was made.
    pub fn housekeeping(&mut self, segment: &Segment, now: Now) -> Vec<Out> {
        let mut made = Vec::new();
        for (lcore, pipeline) in (0..LCORES).zip(&mut self.pipelines) {
            let counters = segment.data.counters(lcore);
            for _ in 0..10_000 {
                let is_more = pipeline.housekeeping(now);
                made.extend(originated(pipeline, &counters, lcore));
                if !is_more {
                    break;
                }
            }
        }
        made
    }

    /// The lcores look for commands and carry them out. Returns whether there were any.
    pub fn obey(&mut self, segment: &Segment, now: Now) -> Result<bool, String> {
        let mut any = false;
        for (lcore, pipeline) in (0..LCORES).zip(&mut self.pipelines) {
            let mut commands = segment.data.commands(lcore);
            while let Some(message) = commands.pop().map_err(|error| format!("commands of lcore {lcore}: {error}"))? {
                pipeline.command(Command::decode(&message).map_err(|error| error.to_string())?);
                any = true;
                while pipeline.housekeeping(now) {}
            }
        }
        Ok(any)
    }

    /// Flow entries in use, in any state.
    pub fn flows_used(&self) -> usize {
        self.pipelines.iter().map(Pipeline::flows_used).sum()
    }

    /// All flow entries in use, with their lcores.
    pub fn flows(&self) -> impl Iterator<Item = (u16, &FlowEntry)> {
        (0..).zip(&self.pipelines).flat_map(|(lcore, pipeline)| pipeline.flows().map(move |entry| (lcore, entry)))
    }

    /// Whether an lcore's configuration says that an entry's flow must end.
    pub fn is_lost(&self, lcore: u16, entry: &FlowEntry) -> bool {
        let installed = self.installed.get(usize::from(lcore));
        installed.is_none_or(|it| it.is_lost(entry.target_slot, entry.target_generation, entry.listener_slot))
    }

    /// Source ports taken from the pools.
    pub fn source_ports_taken(&self) -> u64 {
        self.source_ports.used().1
    }

    /// The lcores' drops by reason, those that happened.
    pub fn drops(segment: &Segment) -> BTreeMap<&'static str, u64> {
        let sum = |reason| (0..LCORES).map(|lcore| segment.data.counters(lcore).dropped(reason)).sum::<u64>();
        DropReason::ALL.iter().map(|reason| (reason.name(), sum(*reason))).filter(|(_, count)| *count > 0).collect()
    }
}

/// Sends what a pipeline has made.
fn originated(pipeline: &mut Pipeline<'static>, counters: &LcoreCounters<'static>, lcore: u16) -> Vec<Out> {
    let mut made = Vec::new();
    pipeline.originated(|bytes, verdict| {
        Pipeline::sent(counters, verdict, bytes.len());
        made.push(Out { verdict, lcore, bytes: bytes.to_vec() });
    });
    made
}

/// Packets that lay between lcores when an earlier process was killed.
fn settle_handovers(segment: &Segment) {
    let sum = |counter| (0..LCORES).map(|lcore| segment.data.counters(lcore).get(counter)).sum::<u64>();
    let lost = sum(Counter::HandedOut).saturating_sub(sum(Counter::HandedIn));
    let first = segment.data.counters(0);
    first.add(Counter::HandedIn, lost);
    first.drop(DropReason::Restart, lost);
}

fn ports() -> Vec<PortInfo> {
    (0..PORTS.len() as u8).map(|port| PortInfo { mac: port_mac(port), mtu: MTU }).collect()
}

//! A pipeline with flows, and the ways to send packets through it that are measured.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrayvec::ArrayVec;
use leat_abi::counters::LcoreCounters;
use leat_abi::ring::Producer;
use leat_abi::{FlowMemory, Snapshot};
use leat_core::{Arrival, BURST, Forwarding, Frame, Now, Pipeline, Place, PortInfo, SourcePorts, Verdict, hash};
use leat_dpdk::rdtsc;
use leat_gen::random::Random;

use crate::frames::{self, Binding, FRAME_MAX, Flow, Kind, Way};
use crate::world::TARGETS;

/// The appliance's port.
pub const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The key of the segment.
pub const OWNER_KEY: u64 = 1;

/// The lookup tables for a snapshot.
pub fn forwarding(snapshot: &Snapshot) -> Forwarding {
    Forwarding::new(snapshot, &[PortInfo { mac: PORT_MAC, mtu: 1500 }], OWNER_KEY)
}

/// Key of the flow table: fixed, so that instructions are; as random as leat-dp's, as a patterned one may hash badly.
pub const TABLE_KEY: [u64; 2] = [0x5f0d_3a91_c27e_64b8, 0xd1b5_4a32_d192_ed03];

/// Where a frame begins in its buffer: there is room for one that becomes longer.
const HEADROOM: u8 = 64;
/// So large that no start and length can be out of range, and nothing has to look.
const BUFFER: usize = 512;

/// A frame in a buffer.
#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    bytes: [u8; BUFFER],
    start: u8,
    length: u8,
}

impl Buffer {
    const EMPTY: Self = Self { bytes: [0; BUFFER], start: HEADROOM, length: 0 };

    fn fill(&mut self, (frame, length): &frames::Bytes) {
        self.bytes[usize::from(HEADROOM)..][..FRAME_MAX].copy_from_slice(frame);
        (self.start, self.length) = (HEADROOM, *length as u8);
    }
}

const _: () = assert!(FRAME_MAX <= u8::MAX as usize && BUFFER > 2 * u8::MAX as usize);

impl Frame for Buffer {
    #[inline(always)]
    fn in_port(&self) -> u8 {
        0
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..][..usize::from(self.length)]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..][..usize::from(self.length)]
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        self.length = usize::from(self.length).min(len) as u8;
    }

    fn prepend(&mut self, count: usize) -> bool {
        let fits = count <= usize::from(self.start);
        if fits {
            self.start -= count as u8;
            self.length += count as u8;
        }
        fits
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= usize::from(self.length);
        if fits {
            self.start += count as u8;
            self.length -= count as u8;
        }
        fits
    }
}

/// The directions of the packets that are sent through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From clients only.
    Clients,
    /// From clients and targets, in random order.
    Both,
}

/// Takes a burst through the pipeline and looks at its verdicts. Returns how many packets are to be forwarded. A function of its own so
/// that callgrind can be told to count it and nothing else.
#[inline(never)]
pub fn measured(
    pipeline: &mut Pipeline<'_>,
    now: Now,
    buffers: &mut [Buffer],
    verdicts: &mut ArrayVec<Verdict, BURST>,
) -> u32 {
    pipeline.process(now, Arrival::Wire, buffers, verdicts);
    verdicts.iter().map(|verdict| u32::from(matches!(verdict, Verdict::Forward { port: 0 }))).sum()
}

/// Of how many lcores a bed's is one.
#[derive(Debug, Clone)]
pub struct Lcores {
    /// Its number.
    pub lcore: u16,
    /// How many there are.
    pub count: u16,
    /// The source ports of all of them.
    pub ports: Arc<SourcePorts>,
}

impl Lcores {
    /// So many of them, by number.
    pub fn of(count: u16, forwarding: &Forwarding) -> Vec<Self> {
        let ports = Arc::new(SourcePorts::new(count, 2 * usize::from(TARGETS)));
        ports.configure(forwarding, true);
        (0..count).map(|lcore| Self { lcore, count, ports: ports.clone() }).collect()
    }
}

/// A pipeline and its flows: numbers `0..bindings.len()`.
pub struct Bed<'m> {
    pipeline: Pipeline<'m>,
    way: Way,
    lcores: Lcores,
    /// The flows' numbers as clients have them, where there are several lcores: those of which this one is the owner.
    clients: Vec<u32>,
    bindings: Vec<Binding>,
    /// First packets so far of flows that are not among the bindings.
    begun: u32,
    buffers: Box<[Buffer]>,
    verdicts: ArrayVec<Verdict, BURST>,
    random: Random,
    now: Now,
}

impl<'m> Bed<'m> {
    /// The only lcore. No flows yet, room for as many as there are entries.
    pub fn new(
        way: Way,
        memory: FlowMemory<'m>,
        sinks: (LcoreCounters<'m>, Producer<'m>),
        forwarding: &Arc<Forwarding>,
    ) -> Self {
        let lcores = Lcores { lcore: 0, count: 1, ports: Arc::new(SourcePorts::new(1, 2 * usize::from(TARGETS))) };
        lcores.ports.configure(forwarding, true);
        Self::of_several(way, memory, sinks, forwarding, &lcores)
    }

    /// One of several lcores.
    pub fn of_several(
        way: Way,
        memory: FlowMemory<'m>,
        (counters, events): (LcoreCounters<'m>, Producer<'m>),
        forwarding: &Arc<Forwarding>,
        lcores: &Lcores,
    ) -> Self {
        let place = Place { lcore: lcores.lcore, lcores: lcores.count, owner_key: OWNER_KEY, table_key: TABLE_KEY };
        let now = Now { ms: 1_000_000 };
        let mut pipeline = Pipeline::new(place, memory, counters, events, lcores.ports.clone(), now);
        pipeline.install(forwarding.clone());
        Self {
            pipeline,
            way,
            lcores: lcores.clone(),
            clients: Vec::new(),
            bindings: Vec::new(),
            begun: 0,
            buffers: vec![Buffer::EMPTY; BURST].into(),
            verdicts: ArrayVec::new(),
            random: Random::new(0x1234_5678),
            now,
        }
    }

    fn flow(&self, number: u32) -> Flow {
        let binding = self.bindings.get(number as usize).copied().unwrap_or_default();
        let number = self.clients.get(number as usize).copied().unwrap_or(number);
        Flow { way: self.way, number, binding }
    }

    /// Whether this lcore owns the flows of a client.
    fn owns(&self, number: u32) -> bool {
        let client = self.way.client(number);
        let Lcores { lcore, count, .. } = self.lcores;
        hash::owner(OWNER_KEY, client.ip().into(), client.port().to_be(), count) == lcore
    }

    /// The pipeline.
    pub fn pipeline(&mut self) -> &mut Pipeline<'m> {
        &mut self.pipeline
    }

    /// Sends the buffers through without measuring. (Not by [`measured`], so that callgrind does not count it.) Returns how many frames
    /// were made on the way.
    fn pass(&mut self, count: usize) -> Result<usize> {
        self.pipeline.process(self.now, Arrival::Wire, &mut self.buffers[..count], &mut self.verdicts);
        let all = self.verdicts.iter().all(|verdict| *verdict == Verdict::Forward { port: 0 });
        ensure!(all && self.verdicts.len() == count, "not all of {count} packets forwarded: {:?}", self.verdicts);
        let mut made = 0;
        self.pipeline.originated(|_, _| made += 1);
        Ok(made)
    }

    /// Sends the buffers through; every packet must be forwarded. Returns TSC ticks.
    fn send(&mut self, count: usize) -> Result<u64> {
        let before = rdtsc();
        let forwarded = measured(&mut self.pipeline, self.now, &mut self.buffers[..count], &mut self.verdicts);
        let ticks = rdtsc().wrapping_sub(before);
        ensure!(forwarded as usize == count, "{forwarded} of {count} packets forwarded: {:?}", self.verdicts);
        Ok(ticks)
    }

    /// Puts packets of a kind of these flows into the buffers.
    fn load(&mut self, numbers: std::ops::Range<u32>, kind: Kind) -> usize {
        let count = numbers.len();
        for (at, number) in numbers.enumerate() {
            self.buffers[at].fill(&self.flow(number).arriving(kind, PORT_MAC));
        }
        count
    }

    /// Begins flows until there are `count`, by complete handshakes, and checks every frame that leaves.
    pub fn establish(&mut self, count: u32) -> Result<()> {
        if self.lcores.count > 1 {
            // As many again may begin later.
            self.clients = (0..).filter(|number| self.owns(*number)).take(2 * count as usize).collect();
        }
        let mut next = self.bindings.len() as u32;
        while next < count {
            let end = count.min(next + BURST as u32);
            let loaded = self.load(next..end, Kind::Open);
            self.pass(loaded)?;
            for number in next..end {
                let left = self.buffers[(number - next) as usize].bytes();
                let binding = self.flow(number).bound(left);
                ensure!(binding.is_some(), "flow {number}: not sent to a target: {left:02x?}");
                self.bindings.extend(binding);
            }
            self.check(next..end, Kind::Open)?;
            for kind in [Kind::Answer, Kind::ClientData, Kind::TargetData] {
                let loaded = self.load(next..end, kind);
                let made = self.pass(loaded)?;
                let headers = if kind == Kind::ClientData && self.way.header() > 0 { loaded } else { 0 };
                ensure!(made == headers, "{kind:?}: {made} frames made, {headers} expected");
                self.check(next..end, kind)?;
            }
            next = end;
        }
        self.begun = self.bindings.len() as u32;
        Ok(())
    }

    fn check(&self, numbers: std::ops::Range<u32>, kind: Kind) -> Result<()> {
        for (buffer, number) in self.buffers.iter().zip(numbers) {
            let (expected, length) = self.flow(number).leaving(kind, PORT_MAC);
            let (left, expected) = (buffer.bytes(), &expected[..length]);
            ensure!(left == expected, "flow {number}, {kind:?}:\n{left:02x?} left,\n{expected:02x?} expected");
        }
        Ok(())
    }

    /// Fills the first buffers with packets of random flows.
    fn load_random(&mut self, count: usize, direction: Direction) {
        for at in 0..count {
            let number = self.random.below(self.bindings.len() as u32);
            let from_target = direction == Direction::Both && self.random.draw() >> 63 == 1;
            let kind = if from_target { Kind::TargetData } else { Kind::ClientData };
            self.buffers[at].fill(&self.flow(number).arriving(kind, PORT_MAC));
        }
    }

    /// Sends a packet of each flow through: what is kept of so many flows then lies where it does when nobody handles others meanwhile.
    pub fn warm_up(&mut self) -> Result<()> {
        let count = self.bindings.len() as u32;
        for start in (0..count).step_by(BURST) {
            let loaded = self.load(start..count.min(start + BURST as u32), Kind::ClientData);
            self.pass(loaded)?;
        }
        Ok(())
    }

    /// Sends bursts of so many packets of random flows through. Returns the ticks of all bursts together.
    pub fn established(&mut self, bursts: u32, burst: usize, direction: Direction) -> Result<u64> {
        let mut ticks = 0;
        for _ in 0..bursts {
            self.load_random(burst, direction);
            ticks += self.send(burst)?;
        }
        Ok(ticks)
    }

    /// As [`Bed::established`] with full bursts from clients, but one packet of a hundred begins a new flow, which then stays.
    pub fn mixed(&mut self, bursts: u32) -> Result<u64> {
        let mut ticks = 0;
        for _ in 0..bursts {
            self.load_random(BURST, Direction::Clients);
            for at in 0..BURST {
                if self.random.below(100) == 0 {
                    self.buffers[at].fill(&self.flow(self.begun).arriving(Kind::Open, PORT_MAC));
                    self.begun += 1;
                }
            }
            ticks += self.send(BURST)?;
        }
        Ok(ticks)
    }

    /// Sends a burst of packets of random flows, from clients, through another lcore's pipeline, which must hand all of them over, then
    /// through this one's. Returns the ticks of both.
    pub fn handed_over_by(&mut self, other: &mut Bed<'m>) -> Result<u64> {
        self.load_random(BURST, Direction::Clients);
        let before = rdtsc();
        other.pipeline.process(self.now, Arrival::Wire, &mut self.buffers, &mut other.verdicts);
        let handed = Verdict::HandOver { lcore: self.lcores.lcore, port: 0, ports: 0 };
        let all = other.verdicts.iter().all(|verdict| *verdict == handed);
        self.pipeline.process(self.now, Arrival::HandedOver, &mut self.buffers, &mut self.verdicts);
        let forwarded = self.verdicts.iter().all(|verdict| *verdict == Verdict::Forward { port: 0 });
        let ticks = rdtsc().wrapping_sub(before);
        ensure!(all && forwarded, "not all handed over and forwarded: {:?}, {:?}", other.verdicts, self.verdicts);
        Ok(ticks)
    }

    /// Begins flows by their first packets alone. Returns the ticks of all bursts together.
    pub fn begin(&mut self, bursts: u32) -> Result<u64> {
        let mut ticks = 0;
        for burst in 0..bursts {
            let loaded = self.load(burst * BURST as u32..(burst + 1) * BURST as u32, Kind::Open);
            ticks += self.send(loaded)?;
        }
        Ok(ticks)
    }

    /// Goes over to another configuration, then takes bursts of packets of random flows through, of both directions, whatever becomes of
    /// them. Each turn is all that an lcore does in one turn of its loop but for sending. Returns the ticks of each turn, the one with the
    /// change first. `tsc_hz`: ticks per second.
    pub fn turns(&mut self, to: &Arc<Forwarding>, bursts: u32, tsc_hz: u64) -> Vec<u64> {
        let mut new = Some(to.clone());
        let (begin, begin_ms) = (rdtsc(), self.now.ms);
        let sent = |frame: &[u8], _| {
            std::hint::black_box(frame);
        };
        let mut turns = Vec::with_capacity(bursts as usize);
        for _ in 0..bursts {
            self.load_random(BURST, Direction::Both);
            let before = rdtsc();
            self.now.ms = begin_ms + before.wrapping_sub(begin) * 1000 / tsc_hz;
            let old = new.take().map(|new| self.pipeline.install(new));
            self.pipeline.process(self.now, Arrival::Wire, &mut self.buffers, &mut self.verdicts);
            self.pipeline.originated(sent);
            self.pipeline.housekeeping(self.now);
            self.pipeline.originated(sent);
            turns.push(rdtsc().wrapping_sub(before));
            // Another thread frees it.
            drop(old);
        }
        turns
    }

    /// Lets the time pass in which all flows end, and looks after their timers. Returns ticks.
    pub fn expire(&mut self) -> Result<u64> {
        let mut ticks = 0;
        // First the flows' own time, then that of their source ports' rest.
        for _ in 0..2 {
            self.now.ms += 400_000;
            let before = rdtsc();
            while self.pipeline.housekeeping(self.now) {}
            ticks += rdtsc().wrapping_sub(before);
        }
        ensure!(self.pipeline.flows_used() == 0, "{} flows have not ended", self.pipeline.flows_used());
        self.bindings.clear();
        Ok(ticks)
    }
}

//! A pipeline with flows, and the ways to send packets through it that are measured.

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrayvec::ArrayVec;
use leat_abi::counters::LcoreCounters;
use leat_abi::ring::Producer;
use leat_abi::{FlowEntry, FlowMemory, Snapshot};
use leat_core::{Arrival, BURST, Forwarding, Frame, Now, Pipeline, Place, PortInfo, SourcePorts, Verdict};
use leat_dpdk::rdtsc;

use crate::world::{self, Binding, FRAME, Flow, Kind, Mode, Transport};

/// The appliance's port.
pub const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The key of the segment.
const OWNER_KEY: u64 = 1;

/// The lookup tables for a snapshot.
pub fn forwarding(snapshot: &Snapshot) -> Forwarding {
    Forwarding::new(snapshot, &[PortInfo { mac: PORT_MAC, mtu: 1500 }], OWNER_KEY)
}

/// Key of the flow table: fixed, so that instructions are; as random as leat-dp's, as a patterned one may hash badly.
const TABLE_KEY: [u64; 2] = [0x5f0d_3a91_c27e_64b8, 0xd1b5_4a32_d192_ed03];

/// A frame in a buffer.
#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    bytes: [u8; FRAME],
    len: usize,
}

impl Buffer {
    fn fill(&mut self, frame: &[u8; FRAME]) {
        self.bytes = *frame;
        self.len = FRAME;
    }
}

impl Frame for Buffer {
    #[inline(always)]
    fn in_port(&self) -> u8 {
        0
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(FRAME)]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len.min(FRAME)]
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn prepend(&mut self, _count: usize) -> bool {
        false
    }

    fn trim_front(&mut self, _count: usize) -> bool {
        false
    }
}

/// Pseudo-random numbers: the same ones every time.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next one.
    #[inline(always)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next one, below `end`.
    #[inline(always)]
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
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

/// A pipeline and its flows: numbers `0..bindings.len()`.
pub struct Bed<'m> {
    pipeline: Pipeline<'m>,
    mode: Mode,
    transport: Transport,
    bindings: Vec<Binding>,
    buffers: Box<[Buffer]>,
    verdicts: ArrayVec<Verdict, BURST>,
    random: Random,
    now: Now,
}

impl<'m> Bed<'m> {
    /// No flows yet, room for as many as there are entries.
    pub fn new(
        mode: Mode,
        transport: Transport,
        entries: &'m mut [FlowEntry],
        (counters, events): (LcoreCounters<'m>, Producer<'m>),
        forwarding: &Arc<Forwarding>,
    ) -> Self {
        let place = Place { lcore: 0, lcores: 1, owner_key: OWNER_KEY, table_key: TABLE_KEY };
        let now = Now { ms: 1_000_000 };
        let ports = Arc::new(SourcePorts::new(1, 2 * usize::from(world::TARGETS)));
        ports.configure(forwarding, true);
        let memory = FlowMemory { entries, addresses: &mut [] };
        let mut pipeline = Pipeline::new(place, memory, counters, events, ports, now);
        pipeline.install(forwarding.clone());
        Self {
            pipeline,
            mode,
            transport,
            bindings: Vec::new(),
            buffers: vec![Buffer { bytes: [0; FRAME], len: 0 }; BURST].into(),
            verdicts: ArrayVec::new(),
            random: Random::new(0x1234_5678),
            now,
        }
    }

    fn flow(&self, number: u32) -> Flow {
        Flow { number, mode: self.mode, transport: self.transport }
    }

    /// The pipeline.
    pub fn pipeline(&mut self) -> &mut Pipeline<'m> {
        &mut self.pipeline
    }

    /// Sends the buffers through without measuring. (Not by [`measured`], so that callgrind does not count it.)
    fn pass(&mut self, count: usize) -> Result<()> {
        self.pipeline.process(self.now, Arrival::Wire, &mut self.buffers[..count], &mut self.verdicts);
        let all = self.verdicts.iter().all(|verdict| *verdict == Verdict::Forward { port: 0 });
        ensure!(all && self.verdicts.len() == count, "not all of {count} packets forwarded: {:?}", self.verdicts);
        Ok(())
    }

    /// Sends the buffers through; every packet must be forwarded. Returns TSC ticks.
    fn send(&mut self, count: usize) -> Result<u64> {
        let before = rdtsc();
        let forwarded = measured(&mut self.pipeline, self.now, &mut self.buffers[..count], &mut self.verdicts);
        let ticks = rdtsc().wrapping_sub(before);
        ensure!(forwarded as usize == count, "{forwarded} of {count} packets forwarded: {:?}", self.verdicts);
        Ok(ticks)
    }

    /// Puts packets of a kind of these flows, which have bindings, into the buffers.
    fn load(&mut self, numbers: std::ops::Range<u32>, kind: Kind) -> usize {
        let count = numbers.len();
        for (at, number) in numbers.enumerate() {
            let binding = self.bindings.get(number as usize).copied().unwrap_or_default();
            let frame = self.flow(number).arriving(kind, binding, PORT_MAC).frame();
            self.buffers[at].fill(&frame);
        }
        count
    }

    /// Begins flows until there are `count`, by complete handshakes, and checks every frame that leaves.
    pub fn establish(&mut self, count: u32) -> Result<()> {
        let mut next = self.bindings.len() as u32;
        while next < count {
            let end = count.min(next + BURST as u32);
            let loaded = self.load(next..end, Kind::Open);
            self.pass(loaded)?;
            for number in next..end {
                let left = self.buffers[(number - next) as usize].bytes();
                let binding = self.flow(number).binding(left);
                ensure!(binding.is_some(), "flow {number}: not sent to a target: {left:02x?}");
                self.bindings.extend(binding);
            }
            self.check(next..end, Kind::Open)?;
            for kind in [Kind::Answer, Kind::ClientData, Kind::TargetData] {
                let loaded = self.load(next..end, kind);
                self.pass(loaded)?;
                self.check(next..end, kind)?;
            }
            next = end;
        }
        Ok(())
    }

    fn check(&self, numbers: std::ops::Range<u32>, kind: Kind) -> Result<()> {
        for (buffer, number) in self.buffers.iter().zip(numbers) {
            let expected = self.flow(number).leaving(kind, self.bindings[number as usize], PORT_MAC).frame();
            let left = buffer.bytes();
            ensure!(
                expected.starts_with(left),
                "flow {number}, {kind:?}:\n{left:02x?} left,\n{expected:02x?} expected"
            );
        }
        Ok(())
    }

    /// Sends bursts of packets of random flows through. Returns the ticks of all bursts together.
    pub fn established(&mut self, bursts: u32, direction: Direction) -> Result<u64> {
        let mut ticks = 0;
        for _ in 0..bursts {
            for at in 0..BURST {
                let number = self.random.below(self.bindings.len() as u32);
                let from_target = direction == Direction::Both && self.random.next() >> 63 == 1;
                let kind = if from_target { Kind::TargetData } else { Kind::ClientData };
                let frame = self.flow(number).arriving(kind, self.bindings[number as usize], PORT_MAC).frame();
                self.buffers[at].fill(&frame);
            }
            ticks += self.send(BURST)?;
        }
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
            for at in 0..BURST {
                let number = self.random.below(self.bindings.len() as u32);
                let kind = if self.random.next() >> 63 == 1 { Kind::TargetData } else { Kind::ClientData };
                let frame = self.flow(number).arriving(kind, self.bindings[number as usize], PORT_MAC).frame();
                self.buffers[at].fill(&frame);
            }
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

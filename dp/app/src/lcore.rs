//! The loop of a polling lcore: receive, take through the pipeline, send, and a little housekeeping; run to completion.
//!
//! Nothing here allocates, locks or calls the kernel, but for the sleep of the idle back-off where that is on.
//! What an lcore shares with others goes over rings: packets that another lcore owns, packets for and from Linux, snapshots.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrayvec::ArrayVec;
use leat_abi::Counter;
use leat_abi::counters::LcoreCounters;
use leat_abi::layout::LcoreHeader;
use leat_abi::message::Command;
use leat_abi::ring::{Consumer, RingError};
use leat_core::{Arrival, BURST, Frame, Now, Pipeline, Verdict};
use leat_dpdk::{HandoverRx, HandoverTx, Mempool, RxQueue, TxQueue, free_batch, rdtsc};

use crate::clock::Clock;
use crate::loops::LoopTimes;
use crate::orders::{Listener, Mailbox, Order};
use crate::packet::{Errand, Packet};
use crate::vlan::{self, Vlan};

/// Turns without work after which an lcore with idle back-off sleeps between turns.
const PATIENCE_TURNS: u32 = 2_000;
/// How long it sleeps then.
const NAP: Duration = Duration::from_micros(50);
/// Turns between two looks at commands, snapshots and flow dumps while packets flow.
const HOUSEKEEPING_TURNS: u32 = 8;

/// Packets on their way to a ring or a transmit queue, with what is to be counted when they have gone.
#[derive(Default)]
struct Outbox {
    packets: ArrayVec<Packet, BURST>,
    verdicts: ArrayVec<(Verdict, u16), BURST>,
}

impl Outbox {
    /// Adds a packet. The caller has made sure that there is room.
    #[inline(always)]
    fn push(&mut self, packet: Packet, verdict: Verdict) {
        self.verdicts.push((verdict, packet.bytes().len() as u16));
        self.packets.push(packet);
    }

    /// Sends everything; what is not taken is counted and freed.
    #[inline(always)]
    fn flush(&mut self, counters: &LcoreCounters<'_>, send: impl FnOnce(&mut ArrayVec<Packet, BURST>) -> usize) {
        if self.packets.is_empty() {
            return;
        }
        let sent = send(&mut self.packets);
        let (gone, left) = self.verdicts.split_at(sent);
        Pipeline::sent_together(counters, gone);
        if !left.is_empty() {
            for (verdict, _) in left {
                Pipeline::refused(counters, *verdict);
            }
            free_batch(&mut self.packets);
        }
        self.verdicts.clear();
    }
}

/// How an lcore sends on a port: by its own queue, or by another lcore's.
pub enum Egress {
    /// Its own transmit queue.
    Queue(TxQueue),
    /// The lcore that has one for it.
    Via(u16),
    /// The way of another port, with a VLAN's tag.
    Tagged {
        /// The other port.
        parent: u8,
        /// The tag.
        tag: u16,
    },
}

struct EgressPort {
    way: Egress,
    outbox: Outbox,
}

struct Neighbour {
    to: Option<HandoverTx>,
    from: Option<HandoverRx>,
    outbox: Outbox,
}

/// The ways out of an lcore, to ports and to other lcores.
struct Exits {
    counters: LcoreCounters<'static>,
    ports: Vec<EgressPort>,
    neighbours: Vec<Neighbour>,
}

impl Exits {
    #[inline(always)]
    fn transmit(&mut self, mut packet: Packet, port: u8, verdict: Verdict) {
        packet.prepare();
        match self.ports.get_mut(usize::from(port)) {
            Some(EgressPort { way: Egress::Queue(queue), outbox }) => {
                if outbox.packets.is_full() {
                    outbox.flush(&self.counters, |packets| queue.burst(packets));
                }
                outbox.push(packet, verdict);
            }
            Some(EgressPort { way: Egress::Via(lcore), .. }) => {
                let lcore = *lcore;
                self.hand_over(packet, lcore, Errand::Transmit(verdict), Verdict::HandOver { lcore, port, ports: 0 });
            }
            Some(EgressPort { way: Egress::Tagged { parent, tag }, .. }) => {
                let (parent, tag) = (*parent, *tag);
                if vlan::tag_frame(&mut packet, tag) {
                    self.transmit(packet, parent, verdict);
                } else {
                    Pipeline::refused(&self.counters, verdict);
                }
            }
            // A snapshot's ports are checked, so this is a flow of a port that is no more.
            None => Pipeline::refused(&self.counters, verdict),
        }
    }

    #[inline(always)]
    fn hand_over(&mut self, mut packet: Packet, lcore: u16, errand: Errand, verdict: Verdict) {
        packet.mark(errand);
        let Some(Neighbour { to: Some(to), outbox, .. }) = self.neighbours.get_mut(usize::from(lcore)) else {
            return Pipeline::refused(&self.counters, verdict);
        };
        if outbox.packets.is_full() {
            outbox.flush(&self.counters, |packets| to.burst(packets));
        }
        outbox.push(packet, verdict);
    }

    #[inline(always)]
    fn flush(&mut self) {
        let counters = &self.counters;
        for EgressPort { way, outbox } in &mut self.ports {
            if let Egress::Queue(queue) = way {
                outbox.flush(counters, |packets| queue.burst(packets));
            }
        }
        for Neighbour { to, outbox, .. } in &mut self.neighbours {
            if let Some(to) = to {
                outbox.flush(counters, |packets| to.burst(packets));
            }
        }
    }
}

/// The rings of an lcore to the others and to the exception thread.
pub struct Rings {
    /// To and from each lcore by number; none for itself.
    pub neighbours: Vec<(Option<HandoverTx>, Option<HandoverRx>)>,
    /// To the exception thread.
    pub to_linux: HandoverTx,
    /// From the exception thread, which gives all packets to one lcore: the first, which has a transmit queue on every port.
    pub from_linux: Option<HandoverRx>,
}

/// A polling lcore.
pub struct Lcore {
    pipeline: Pipeline<'static>,
    exits: Exits,
    /// Where buffers for packets made here come from.
    pool: Arc<Mempool>,
    vlans: Arc<[Vlan]>,
    header: &'static LcoreHeader,
    commands: Consumer<'static>,
    mailbox: Arc<Mailbox>,
    rx: Vec<RxQueue>,
    to_linux: HandoverTx,
    to_linux_outbox: Outbox,
    from_linux: Option<HandoverRx>,
    clock: Clock,
    times: LoopTimes,
    orders: Listener,
    idle_backoff: bool,
}

/// What an lcore is made of.
pub struct Parts {
    /// Its pipeline, flows adopted.
    pub pipeline: Pipeline<'static>,
    /// Its header in the segment.
    pub header: &'static LcoreHeader,
    /// Its commands.
    pub commands: Consumer<'static>,
    /// Its snapshots.
    pub mailbox: Arc<Mailbox>,
    /// The receive queues it polls.
    pub rx: Vec<RxQueue>,
    /// Its way out by each port, by number.
    pub egress: Vec<Egress>,
    /// Packet buffers.
    pub pool: Arc<Mempool>,
    /// VLANs.
    pub vlans: Arc<[Vlan]>,
    /// Its rings.
    pub rings: Rings,
    /// The clock.
    pub clock: Clock,
    /// TSC ticks per second.
    pub tsc_hz: u64,
    /// What to do.
    pub orders: Listener,
    /// Sleep when nothing arrives.
    pub idle_backoff: bool,
}

impl Lcore {
    /// An lcore ready to run.
    pub fn new(parts: Parts) -> Self {
        Self {
            exits: Exits {
                counters: parts.pipeline.counters(),
                ports: parts.egress.into_iter().map(|way| EgressPort { way, outbox: Outbox::default() }).collect(),
                neighbours: parts
                    .rings
                    .neighbours
                    .into_iter()
                    .map(|(to, from)| Neighbour { to, from, outbox: Outbox::default() })
                    .collect(),
            },
            times: LoopTimes::new(parts.pipeline.counters(), &parts.header.longest_loop, parts.tsc_hz),
            pool: parts.pool,
            vlans: parts.vlans,
            pipeline: parts.pipeline,
            header: parts.header,
            commands: parts.commands,
            mailbox: parts.mailbox,
            rx: parts.rx,
            to_linux: parts.rings.to_linux,
            to_linux_outbox: Outbox::default(),
            from_linux: parts.rings.from_linux,
            clock: parts.clock,
            orders: parts.orders,
            idle_backoff: parts.idle_backoff,
        }
    }

    /// Polls until told to stop.
    pub fn run(mut self) -> i32 {
        self.header.running.store(1, Ordering::Release);
        let (mut idle_turns, mut turns) = (0u32, 0u32);
        let mut before = rdtsc();
        loop {
            let order = self.orders.order();
            if order == Order::Stop {
                break;
            }
            let now = self.clock.tick(before);
            let received = self.turn(order == Order::Run, now);
            if let Order::Drain(round) = order {
                self.orders.report(round, received > 0);
            }
            turns = turns.wrapping_add(1);
            let mut busy = received > 0;
            if !busy || turns.is_multiple_of(HOUSEKEEPING_TURNS) {
                busy |= self.housekeeping(now);
            } else {
                // A few in each turn instead of many in one, for which packets would wait.
                self.pipeline.timers(now);
            }
            idle_turns = if busy { 0 } else { idle_turns.saturating_add(1) };
            if self.idle_backoff && idle_turns > PATIENCE_TURNS {
                std::thread::sleep(NAP);
            } else if !busy {
                std::hint::spin_loop();
            }
            let after = rdtsc();
            let cycles = after.saturating_sub(before);
            before = after;
            self.exits.counters.add(Counter::Loops, 1);
            self.exits.counters.add(if busy { Counter::BusyCycles } else { Counter::IdleCycles }, cycles);
            if busy {
                self.times.took(cycles);
            }
        }
        self.header.running.store(0, Ordering::Release);
        0
    }

    /// One round over all sources of packets. Returns how many there were.
    #[inline(always)]
    fn turn(&mut self, receive: bool, now: Now) -> usize {
        let mut received = 0;
        let mut batch: ArrayVec<Packet, BURST> = ArrayVec::new();
        if receive {
            for queue in 0..self.rx.len() {
                if self.rx[queue].burst(&mut batch) > 0 {
                    received += batch.len();
                    batch.iter_mut().for_each(|packet| vlan::untag(packet, &self.vlans));
                    self.process(&mut batch, Arrival::Wire, now);
                }
            }
        }
        for lcore in 0..self.exits.neighbours.len() {
            if let Some(from) = &mut self.exits.neighbours[lcore].from
                && from.burst(&mut batch) > 0
            {
                received += batch.len();
                self.handed_over(&mut batch, now);
            }
        }
        if let Some(from_linux) = &mut self.from_linux
            && from_linux.burst(&mut batch) > 0
        {
            received += batch.len();
            self.send_for_linux(&mut batch);
        }
        if received > 0 {
            self.flush();
        }
        received
    }

    /// Takes a batch through the pipeline and puts its packets where the verdicts say. Leaves the batch empty.
    #[inline(always)]
    fn process(&mut self, batch: &mut ArrayVec<Packet, BURST>, arrival: Arrival, now: Now) {
        let mut verdicts = ArrayVec::new();
        self.pipeline.process(now, arrival, batch, &mut verdicts);
        self.send_originated();
        let mut dropped: ArrayVec<Packet, BURST> = ArrayVec::new();
        for (packet, verdict) in batch.drain(..).zip(verdicts) {
            match verdict {
                Verdict::Forward { port } | Verdict::Answer { port, .. } | Verdict::Originate { port } => {
                    self.exits.transmit(packet, port, verdict);
                }
                Verdict::HandOver { lcore, ports, .. } => {
                    self.exits.hand_over(packet, lcore, Errand::Process { ports }, verdict);
                }
                Verdict::Punt { port } => {
                    let mut packet = packet;
                    packet.mark(Errand::ToLinux(port));
                    if self.to_linux_outbox.packets.is_full() {
                        self.flush_to_linux();
                    }
                    self.to_linux_outbox.push(packet, verdict);
                }
                Verdict::Drop(_) | Verdict::Consume => dropped.push(packet),
            }
        }
        if !dropped.is_empty() {
            free_batch(&mut dropped);
        }
    }

    /// Sends what the pipeline has made. Returns whether there was anything.
    #[inline(always)]
    fn send_originated(&mut self) -> bool {
        let Self { pipeline, exits, pool, .. } = self;
        let mut any = false;
        pipeline.originated(|bytes, verdict| {
            any = true;
            let (Verdict::Forward { port } | Verdict::Originate { port } | Verdict::HandOver { port, .. }) = verdict
            else {
                return;
            };
            let Some(mut mbuf) = pool.alloc().and_then(|mut mbuf| {
                mbuf.append(bytes.len())?.copy_from_slice(bytes);
                Some(mbuf)
            }) else {
                return Pipeline::refused(&exits.counters, verdict);
            };
            if let Verdict::HandOver { lcore, ports, .. } = verdict {
                mbuf.set_port(port.into());
                exits.hand_over(mbuf.into(), lcore, Errand::Process { ports }, verdict);
            } else {
                exits.transmit(mbuf.into(), port, verdict);
            }
        });
        any
    }

    /// Packets from another lcore: to be processed, or to be sent by this one's queue.
    fn handed_over(&mut self, batch: &mut ArrayVec<Packet, BURST>, now: Now) {
        let mut own: ArrayVec<Packet, BURST> = ArrayVec::new();
        for packet in batch.drain(..) {
            match packet.errand() {
                Errand::Transmit(verdict) => {
                    self.exits.counters.add(Counter::HandedIn, 1);
                    if let Verdict::Forward { port } | Verdict::Answer { port, .. } | Verdict::Originate { port } =
                        verdict
                    {
                        self.exits.transmit(packet, port, verdict);
                    }
                }
                _ => own.push(packet),
            }
        }
        if !own.is_empty() {
            self.process(&mut own, Arrival::HandedOver, now);
        }
    }

    /// Sends what Linux wrote to the TAP twins.
    fn send_for_linux(&mut self, batch: &mut ArrayVec<Packet, BURST>) {
        let mut by_port: ArrayVec<Packet, BURST> = ArrayVec::new();
        while let Some(first) = batch.first() {
            let Errand::FromLinux(port) = first.errand() else { break };
            let rest = batch.iter().take_while(|p| p.errand() == Errand::FromLinux(port)).count();
            by_port.extend(batch.drain(..rest));
            let count = by_port.len();
            let mut port = port;
            if let Some(EgressPort { way: Egress::Tagged { parent, tag }, .. }) =
                self.exits.ports.get(usize::from(port))
            {
                by_port.retain(|packet| vlan::tag_frame(packet, *tag));
                port = *parent;
            }
            let sent = match self.exits.ports.get_mut(usize::from(port)) {
                Some(EgressPort { way: Egress::Queue(queue), .. }) => queue.burst(&mut by_port),
                _ => 0,
            };
            self.exits.counters.add(Counter::LinuxTxPackets, sent as u64);
            self.exits.counters.add(Counter::LinuxTxDropped, (count - sent) as u64);
            free_batch(&mut by_port);
        }
        free_batch(batch);
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.exits.flush();
        self.flush_to_linux();
    }

    #[inline(always)]
    fn flush_to_linux(&mut self) {
        let Self { to_linux, to_linux_outbox, exits, .. } = self;
        to_linux_outbox.flush(&exits.counters, |packets| to_linux.burst(packets));
    }

    /// Snapshots, commands, timers. Returns whether there was something to do.
    fn housekeeping(&mut self, now: Now) -> bool {
        let mut busy = false;
        if self.mailbox.fetch(|fresh| self.pipeline.install(fresh)) {
            self.header.acknowledge(self.pipeline.generation());
            busy = true;
        }
        match self.commands.pop() {
            Ok(None) => {}
            Ok(Some(message)) => {
                match Command::decode(&message) {
                    Ok(command) => self.pipeline.command(command),
                    Err(_) => self.exits.counters.add(Counter::CommandsBad, 1),
                }
                busy = true;
            }
            Err(RingError::Damaged { .. }) => {
                self.commands.skip_all();
                self.exits.counters.add(Counter::CommandsBad, 1);
            }
            Err(RingError::Full) => {}
        }
        busy |= self.pipeline.housekeeping(now);
        if self.send_originated() {
            self.flush();
        }
        self.header.flows_used.store(self.pipeline.flows_used() as u64, Ordering::Relaxed);
        busy
    }
}

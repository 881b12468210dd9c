//! Building the data plane: segment, EAL, ports, TAP twins, pipelines, lcores; in this order, so that what can fail cheaply
//! fails first.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use leat_abi::segment::Origin;
use leat_abi::{DataSegment, Geometry, Snapshot};
use leat_core::{Forwarding, Pipeline, Place};
use leat_dpdk::{Eal, HandoverRx, HandoverTx, Mempool, MempoolConfig, Port, Worker, free_hugepages, handover};

use crate::clock::Clock;
use crate::exception::ExceptionPath;
use crate::lcore::{Egress, Lcore, Mailbox, Parts, Phase, Rings};
use crate::options::{Memory, Options, eal_arguments};
use crate::ports::{self, ActivePort};

/// Packets that fit into the ring between two lcores, and between an lcore and the exception thread.
const RING_PACKETS: u32 = 2047;

/// A running data plane, as the main thread keeps it. Fields are dropped in this order: lcores before what they use.
pub struct DataPlane {
    /// The lcores' threads.
    pub workers: Vec<Worker>,
    /// What they are to do.
    pub phase: Arc<Phase>,
    /// Snapshots for each lcore.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The way to Linux.
    pub exception: ExceptionPath,
    /// The ports, by number.
    pub ports: Vec<Port>,
    /// The ports' MACs, by number.
    pub macs: Vec<[u8; 6]>,
    /// The shared segment.
    pub segment: DataSegment,
    /// DPDK, kept until the end.
    pub _eal: Eal,
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Starts everything. On return the lcores poll.
pub fn start(options: &Options) -> anyhow::Result<DataPlane> {
    let lcores = options.lcores.0.len() as u16;
    let mut segment = open_segment(options, lcores)?;
    // A process that has adopted the segment is not the one that lived in it before: no sign of life until the lcores run.
    segment.header().dp_heartbeat_ms.store(0, Ordering::Release);

    ports::keep_kernel_away(options)?;
    let count = options.mbufs.unwrap_or_else(|| default_mbufs(options));
    let (memory, memory_mib) = choose_memory(count);
    let main_cpus = allowed_cpus()?;
    let unknown: Vec<&u32> = options.lcores.0.iter().filter(|cpu| !main_cpus.contains(cpu)).collect();
    ensure!(unknown.is_empty(), "--lcores names CPUs {unknown:?}; this process may use {main_cpus:?}");
    let eal = Eal::init(&eal_arguments(options, &main_cpus, memory, memory_mib)).with_context(|| {
        format!("DPDK did not start; it has {memory_mib} MiB of {memory:?} memory for {count} packet buffers (--mbufs)")
    })?;
    let pool = Mempool::new(&eal, "leat", MempoolConfig { count, ..MempoolConfig::default() })?;

    let active = ports::open(&eal, options, &pool)?;
    let header = segment.header();
    let mut twins = Vec::new();
    for (port, block) in active.iter().zip(&header.port) {
        let mtu = ports::mtu_of(options, port);
        let twin = ports::open_twin(&eal, port, &options.tap_prefix, mtu, &pool)?;
        ports::describe(block, port, &twin.interface, mtu);
        twins.push(twin);
    }
    let macs: Vec<[u8; 6]> = active.iter().map(|p| p.port.info().mac).collect();
    header.tsc_hz.store(eal.tsc_hz(), Ordering::Relaxed);
    segment.set_ports(active.len() as u8);

    let phase = Arc::new(Phase::new());
    let mailboxes: Vec<Arc<Mailbox>> = (0..lcores).map(|_| Arc::new(Mailbox::new())).collect();
    let (rings, exception_rx, exception_tx) = make_rings(&eal, lcores)?;
    let exception = ExceptionPath::new(twins, &header.port, exception_rx, exception_tx);
    let forwarding = Arc::new(initial_forwarding(&segment, &macs));
    let (ports, queues) = share_queues(active, lcores);

    let clock = Clock::new(eal.tsc_hz());
    let flows = segment.take_flows().context("the flow region is in use")?;
    let mut workers = Vec::new();
    let parts = flows.into_iter().zip(queues).zip(rings).zip(&mailboxes).zip(eal.worker_lcores().to_vec());
    for (lcore, ((((entries, (rx, egress)), rings), mailbox), worker)) in (0..lcores).zip(parts) {
        let place = Place {
            lcore,
            lcores,
            owner_key: header.owner_key.load(Ordering::Relaxed),
            table_key: [random(), random()],
        };
        let now = leat_core::Now { ms: leat_abi::segment::monotonic_ms() };
        let mut pipeline = Pipeline::new(place, entries, segment.counters(lcore), segment.events(lcore), now);
        let adopted = pipeline.adopt(now);
        if adopted > 0 {
            tracing::info!("lcore {lcore}: adopted {adopted} flows");
        }
        pipeline.install(forwarding.clone());
        let lcore_header = segment.lcore_header(lcore);
        lcore_header.cpu.store(options.lcores.0[usize::from(lcore)].into(), Ordering::Relaxed);
        lcore_header.acknowledge(pipeline.generation());
        let parts = Parts {
            pipeline,
            header: lcore_header,
            commands: segment.commands(lcore),
            mailbox: mailbox.clone(),
            rx,
            egress,
            rings,
            clock,
            phase: phase.clone(),
            idle_backoff: options.idle_backoff,
        };
        workers.push(eal.launch(worker, move || Lcore::new(parts).run())?);
    }
    tracing::info!(
        "{} ports, {} lcores on CPUs {:?}, {} flows each; segment {} ({})",
        ports.len(),
        lcores,
        options.lcores.0,
        options.flows_max,
        options.segment.display(),
        match segment.origin() {
            Origin::Created => "new",
            Origin::Adopted => "adopted",
            Origin::Replaced => "replaced: its flows were given up",
        }
    );
    Ok(DataPlane { workers, phase, mailboxes, exception, ports, macs, segment, _eal: eal })
}

fn open_segment(options: &Options, lcores: u16) -> anyhow::Result<DataSegment> {
    let geometry = Geometry {
        lcores,
        flows_max: options.flows_max,
        targets_max: options.targets_max,
        listeners_max: options.listeners_max,
        arena_words: options.arena_mib << 17,
    };
    Ok(DataSegment::create_or_adopt(&options.segment, geometry, options.discard_flows)?)
}

/// The snapshot that an earlier process left, or an empty one, under which everything but ARP is dropped.
fn initial_forwarding(segment: &DataSegment, macs: &[[u8; 6]]) -> Forwarding {
    let snapshot = match segment.read_announced() {
        Some((generation, Ok(snapshot))) => {
            segment.consume(generation, true);
            snapshot
        }
        Some((generation, Err(error))) => {
            tracing::warn!("the segment's snapshot is not usable: {error}; waiting for leat-cp");
            segment.consume(generation, false);
            Snapshot::default()
        }
        None => Snapshot::default(),
    };
    Forwarding::new(&snapshot, macs)
}

/// Enough for all descriptors, the lcores' caches and bursts, and the rings.
fn default_mbufs(options: &Options) -> u32 {
    let lcores = options.lcores.0.len() as u32;
    let queues = 2 * u32::from(options.descriptors) * options.ports.len() as u32 * lcores;
    let twins = 512 * options.ports.len() as u32;
    let others = lcores * lcores * RING_PACKETS + (lcores + 1) * 1024;
    (queues + twins + others).max(8192).next_power_of_two() - 1
}

/// Hugepages if enough are free for the buffers, else ordinary memory. Returns the MiB needed as well.
fn choose_memory(mbufs: u32) -> (Memory, u64) {
    // A buffer with its headers, and as much again for rings and queues, at least 64 MiB.
    let mib = ((u64::from(mbufs) * 2500 * 5 / 4) >> 20) + 64;
    let free: u64 = free_hugepages().unwrap_or_default().iter().map(|f| (f.page_bytes * f.pages) >> 20).sum();
    if free >= mib {
        return (Memory::Hugepages, mib);
    }
    tracing::warn!(
        "{free} MiB of hugepages are free, {mib} MiB are needed: using ordinary memory, which is slower. \
         To reserve them: sysctl vm.nr_hugepages={}",
        mib.div_ceil(2)
    );
    (Memory::Ordinary, mib)
}

fn allowed_cpus() -> anyhow::Result<Vec<u32>> {
    let set = rustix::thread::sched_getaffinity(None).context("cannot read the CPUs that this process may use")?;
    Ok((0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect())
}

type ExceptionRings = (Vec<Rings>, Vec<HandoverRx>, Vec<HandoverTx>);

fn make_rings(eal: &Eal, lcores: u16) -> anyhow::Result<ExceptionRings> {
    let n = usize::from(lcores);
    let mut to: Vec<Vec<Option<HandoverTx>>> = Vec::new();
    let mut from: Vec<Vec<Option<HandoverRx>>> = (0..n).map(|_| (0..n).map(|_| None).collect()).collect();
    for a in 0..n {
        let mut row = Vec::new();
        for (b, rows) in from.iter_mut().enumerate() {
            if a == b {
                row.push(None);
                continue;
            }
            let (tx, rx) = handover(eal, &format!("lcore{a}-{b}"), RING_PACKETS)?;
            row.push(Some(tx));
            rows[a] = Some(rx);
        }
        to.push(row);
    }
    let (mut rings, mut exception_rx, mut exception_tx) = (Vec::new(), Vec::new(), Vec::new());
    for (lcore, (to, from)) in to.into_iter().zip(from).enumerate() {
        let (to_linux, rx) = handover(eal, &format!("to-linux{lcore}"), RING_PACKETS)?;
        let (tx, from_linux) = handover(eal, &format!("from-linux{lcore}"), RING_PACKETS)?;
        exception_rx.push(rx);
        exception_tx.push(tx);
        rings.push(Rings { neighbours: to.into_iter().zip(from).collect(), to_linux, from_linux });
    }
    Ok((rings, exception_rx, exception_tx))
}

type Queues = (Vec<leat_dpdk::RxQueue>, Vec<Egress>);

/// Gives queue n of every port to lcore n. An lcore beyond a port's transmit queues sends through one that has one.
fn share_queues(active: Vec<ActivePort>, lcores: u16) -> (Vec<Port>, Vec<Queues>) {
    let mut queues: Vec<Queues> = (0..lcores).map(|_| (Vec::new(), Vec::new())).collect();
    let mut ports = Vec::new();
    for ActivePort { port, rx, tx, .. } in active {
        for (lcore, queue) in rx.into_iter().enumerate() {
            queues[lcore].0.push(queue);
        }
        let with_queue = tx.len().max(1);
        let mut tx = tx.into_iter();
        for (lcore, (_, egress)) in queues.iter_mut().enumerate() {
            egress.push(tx.next().map_or(Egress::Via((lcore % with_queue) as u16), Egress::Queue));
        }
        ports.push(port);
    }
    (ports, queues)
}

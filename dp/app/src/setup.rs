//! Building the data plane: segment, EAL, ports, TAP twins, pipelines, lcores; in this order, so that what can fail cheaply
//! fails first.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use leat_abi::segment::Origin;
use leat_abi::{Counter, DataSegment, DropReason, Geometry, Snapshot};
use leat_core::source_ports::Pairs;
use leat_core::{Forwarding, Pipeline, Place, PortInfo, SourcePorts};
use leat_dpdk::{Eal, HandoverRx, HandoverTx, Mempool, MempoolConfig, Worker, handover};

use crate::clock::Clock;
use crate::exception::ExceptionPath;
use crate::lcore::{Egress, Lcore, Parts, Rings};
use crate::memory::Need;
use crate::options::{Options, eal_arguments};
use crate::orders::{Mailbox, Orders};
use crate::ports::{self, ActivePort, OpenPort};
use crate::silence::Silence;
use crate::vlan::Vlan;

/// Packets that fit into the ring between two lcores, and from an lcore to the exception thread.
pub const RING_PACKETS: u32 = 2047;
/// Packets of Linux that fit into the ring to the first lcore.
const LINUX_PACKETS: u32 = 511;
/// Pools of source ports for each target slot: pairs of a node address and a target at the most.
const POOLS_PER_TARGET_SLOT: usize = 2;

/// A running data plane, as the main thread keeps it. Fields are dropped in this order: lcores before what they use.
pub struct DataPlane {
    /// What the lcores are to do. Comes before `workers`, so that they return before they are waited for.
    pub orders: Orders,
    /// The lcores' threads.
    pub workers: Vec<Worker>,
    /// Snapshots for each lcore.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The way to Linux.
    pub exception: ExceptionPath,
    /// The ports that have devices, by number.
    pub ports: Vec<ActivePort>,
    /// The VLANs.
    pub vlans: Arc<[Vlan]>,
    /// The ports' MACs and MTUs, by number, those of VLANs behind those of devices.
    pub port_infos: Vec<PortInfo>,
    /// The source ports of full NAT.
    pub source_ports: Arc<SourcePorts>,
    /// The generation that the lcores were given last.
    pub generation: Cell<u64>,
    /// The shared segment.
    pub segment: DataSegment,
    /// All packet buffers.
    pub pool: Arc<Mempool>,
    /// What keeps the kernel away from ports.
    pub silence: Silence,
    /// DPDK, kept until the end.
    pub eal: Eal,
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Starts everything. On return the lcores poll. After an error nothing is left behind but a segment that was there before.
pub fn start(options: &Options) -> anyhow::Result<DataPlane> {
    let main_cpus = main_cpus(options)?;
    let mtus = ports::check(options)?;
    let memory = Need::of(options, &mtus)?;
    let segment = open_segment(options)?;
    let is_new = segment.origin() != Origin::Adopted;
    let result = start_on(segment, options, &main_cpus, &mtus, memory);
    if result.is_err() && is_new {
        let _ = std::fs::remove_file(&options.segment);
    }
    result
}

fn start_on(
    mut segment: DataSegment,
    options: &Options,
    main_cpus: &[u32],
    mtus: &[u16],
    need: Need,
) -> anyhow::Result<DataPlane> {
    // A process that has adopted the segment is not the one that lived in it before: no sign of life until the lcores run.
    let header = segment.header();
    header.dp_heartbeat_ms.store(0, Ordering::Release);

    let silence = Silence::impose(options)?;
    let Need { memory, memory_mib, mbufs: count, frame_bytes } = need;
    let arguments = eal_arguments(options, main_cpus, (memory, memory_mib), frame_bytes);
    let eal = Eal::init(&arguments).with_context(|| {
        format!("DPDK did not start. Are the drivers of all ports installed? Its memory is {memory_mib} MiB ({memory:?}), for {count} \
             packet buffers (--mbufs)"
        )
    })?;
    let config = MempoolConfig { count, data_room_bytes: frame_bytes, ..MempoolConfig::default() };
    let pool = Mempool::new(&eal, "leat", config).context("no memory for packet buffers (--mbufs, --descriptors)")?;

    let open = ports::open(&eal, options, mtus, &pool)?;
    let mut names: Vec<&str> = open.iter().map(|port| port.name.as_str()).collect();
    let vlans = Vlan::of(options, &names)?;
    let mut port_infos: Vec<PortInfo> =
        open.iter().map(|port| PortInfo { mac: port.active.mac(), mtu: port.mtu }).collect();
    names.extend(options.vlans.iter().map(|vlan| vlan.name.as_str()));
    for vlan in &vlans {
        port_infos.push(port_infos[usize::from(vlan.parent)]);
    }
    let mut twins = Vec::new();
    for ((name, info), block) in names.iter().zip(&port_infos).zip(&header.port) {
        let twin = ports::open_twin(&eal, name, *info, &options.tap_prefix, &pool)?;
        ports::describe(block, name, *info, &twin);
        twins.push(twin);
    }
    let vlans: Arc<[Vlan]> = vlans.into();
    header.tsc_hz.store(eal.tsc_hz(), Ordering::Relaxed);
    segment.set_ports(names.len() as u8);

    let lcores = segment.geometry().lcores;
    let orders = Orders::new(lcores);
    let mailboxes: Vec<Arc<Mailbox>> = (0..lcores).map(|_| Arc::new(Mailbox::new())).collect();
    let (rings, exception_rx, exception_tx) = make_rings(&eal, lcores)?;
    let exception = ExceptionPath::new(twins, &header.port, exception_rx, exception_tx);
    let forwarding = Arc::new(initial_forwarding(&segment, &port_infos));
    let (ports, queues) = share_queues(open, &vlans, lcores);

    settle_handovers(&segment, lcores);
    let clock = Clock::new(eal.tsc_hz());
    let flows = segment.take_flows().context("the flow region is in use")?;
    let source_ports = Arc::new(SourcePorts::new(lcores, usize::from(options.targets_max) * POOLS_PER_TARGET_SLOT));
    let generation = Cell::new(forwarding.generation);
    let workers = Vec::new();
    let mut plane = DataPlane {
        orders,
        workers,
        mailboxes,
        exception,
        ports,
        vlans: vlans.clone(),
        port_infos,
        source_ports,
        generation,
        segment,
        pool,
        silence,
        eal,
    };
    let DataPlane { orders, workers, mailboxes, ports, source_ports, segment, eal, pool, .. } = &mut plane;
    let mut all_parts = Vec::new();
    let parts = flows.into_iter().zip(queues).zip(rings).zip(mailboxes);
    for (lcore, (((memory, (rx, egress)), rings), mailbox)) in (0..lcores).zip(parts) {
        let place = Place {
            lcore,
            lcores,
            owner_key: header.owner_key.load(Ordering::Relaxed),
            table_key: [random(), random()],
        };
        let now = leat_core::Now { ms: leat_abi::segment::monotonic_ms() };
        let (counters, events) = (segment.counters(lcore), segment.events(lcore));
        let mut pipeline = Pipeline::new(place, memory, counters, events, source_ports.clone(), now);
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
            pool: pool.clone(),
            vlans: vlans.clone(),
            rings,
            clock,
            tsc_hz: eal.tsc_hz(),
            orders: orders.listener(lcore),
            idle_backoff: options.idle_backoff,
        };
        all_parts.push(parts);
    }
    // Only now is it known which source ports are taken, and by which lcore.
    report_pairs(source_ports.configure(&forwarding, true));
    for (parts, worker) in all_parts.into_iter().zip(eal.worker_lcores()) {
        workers.push(eal.launch(*worker, move || Lcore::new(parts).run())?);
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
    Ok(plane)
}

/// Says so if there are more pairs of node address and target than pools of source ports.
pub fn report_pairs(pairs: Pairs) {
    let Pairs { with_pool, without } = pairs;
    if without > 0 {
        tracing::error!(
            "{without} pairs of node address and target get no source ports, as {with_pool} others have all there are: \
             new connections to these targets are refused (nat_ports_exhausted). More target slots (--targets-max) make more"
        );
    }
}

fn open_segment(options: &Options) -> anyhow::Result<DataSegment> {
    let geometry = Geometry {
        lcores: options.lcores.0.len() as u16,
        flows_max: options.flows_max,
        wide_flows_max: options.wide_flows_max(),
        targets_max: options.targets_max,
        listeners_max: options.listeners_max,
        arena_words: options.arena_mib << 17,
    };
    Ok(DataSegment::create_or_adopt(&options.segment, geometry, options.discard_flows)?)
}

/// Packets that lay in the rings between lcores when an earlier process was killed: they arrive, to be counted as lost.
fn settle_handovers(segment: &DataSegment, lcores: u16) {
    let sum = |counter| (0..lcores).map(|lcore| segment.counters(lcore).get(counter)).sum::<u64>();
    let lost = sum(Counter::HandedOut).saturating_sub(sum(Counter::HandedIn));
    let first = segment.counters(0);
    first.add(Counter::HandedIn, lost);
    first.drop(DropReason::Restart, lost);
}

/// The snapshot that an earlier process left, or an empty one, under which everything but ARP is dropped.
fn initial_forwarding(segment: &DataSegment, ports: &[PortInfo]) -> Forwarding {
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
    Forwarding::new(&snapshot, ports, segment.header().owner_key.load(Ordering::Relaxed))
}

/// The CPUs of the main thread: those that no lcore polls on, or any if there are no others.
fn main_cpus(options: &Options) -> anyhow::Result<Vec<u32>> {
    let set = rustix::thread::sched_getaffinity(None).context("cannot read the CPUs that this process may use")?;
    let allowed: Vec<u32> = (0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect();
    let polled = &options.lcores.0;
    let unknown: Vec<_> = polled.iter().filter(|cpu| !allowed.contains(cpu)).collect();
    ensure!(unknown.is_empty(), "--lcores names CPUs {unknown:?}; this process may use {allowed:?}");
    let shared = (1..polled.len()).any(|n| polled[..n].contains(&polled[n]));
    if shared && !options.idle_backoff {
        tracing::warn!("lcores share a CPU: each waits for milliseconds while another polls; --idle-backoff helps");
    }
    let quiet: Vec<u32> = allowed.iter().copied().filter(|cpu| !polled.contains(cpu)).collect();
    Ok(if quiet.is_empty() { allowed } else { quiet })
}

type ExceptionRings = (Vec<Rings>, Vec<HandoverRx>, HandoverTx);

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
    let (mut rings, mut exception_rx) = (Vec::new(), Vec::new());
    let (exception_tx, from_linux) = handover(eal, "from-linux", LINUX_PACKETS)?;
    let mut from_linux = Some(from_linux);
    for (lcore, (to, from)) in to.into_iter().zip(from).enumerate() {
        let (to_linux, rx) = handover(eal, &format!("to-linux{lcore}"), RING_PACKETS)?;
        exception_rx.push(rx);
        rings.push(Rings { neighbours: to.into_iter().zip(from).collect(), to_linux, from_linux: from_linux.take() });
    }
    Ok((rings, exception_rx, exception_tx))
}

type Queues = (Vec<leat_dpdk::RxQueue>, Vec<Egress>);

/// Gives queue n of every port to lcore n. An lcore beyond a port's transmit queues sends through one that has one.
fn share_queues(open: Vec<OpenPort>, vlans: &[Vlan], lcores: u16) -> (Vec<ActivePort>, Vec<Queues>) {
    let mut queues: Vec<Queues> = (0..lcores).map(|_| (Vec::new(), Vec::new())).collect();
    let mut ports = Vec::new();
    for OpenPort { active, rx, tx, .. } in open {
        for (lcore, queue) in rx.into_iter().enumerate() {
            queues[lcore].0.push(queue);
        }
        let with_queue = tx.len().max(1);
        let mut tx = tx.into_iter();
        for (lcore, (_, egress)) in queues.iter_mut().enumerate() {
            egress.push(tx.next().map_or(Egress::Via((lcore % with_queue) as u16), Egress::Queue));
        }
        ports.push(active);
    }
    for (_, egress) in &mut queues {
        egress.extend(vlans.iter().map(|vlan| Egress::Tagged { parent: vlan.parent, tag: vlan.id }));
    }
    (ports, queues)
}

//! Ports without hardware: packets move, errors read well, and every mbuf comes back.

mod common;

use std::sync::Arc;

use arrayvec::ArrayVec;
use common::{ONE_QUEUE, POOL, pool, start_eal};
use leat_dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, PortError, PortId, PortInfo, free_batch};

type Batch = ArrayVec<Mbuf, 32>;

/// What the data plane does: a type of its own around Mbuf.
#[repr(transparent)]
struct Packet(Mbuf);

impl From<Mbuf> for Packet {
    fn from(mbuf: Mbuf) -> Packet {
        Packet(mbuf)
    }
}

impl From<Packet> for Mbuf {
    fn from(packet: Packet) -> Mbuf {
        packet.0
    }
}

#[test]
fn ports() {
    let eal = start_eal(
        "ports",
        "0",
        &["--vdev=net_null0,size=64", "--vdev=net_ring0", "--vdev=net_ring1", "--vdev=net_null9,nonsense=1"],
    );

    finding_ports(&eal);
    refused_configurations(&eal);
    null_port_moves_bursts(&eal);
    ring_ports_loop_packets_back_in_order(&eal);
    mbuf_lengths_respect_headroom_and_tailroom(&eal);
    exhausted_pool_has_no_mbuf(&eal);
    a_pool_outlives_its_handle_while_mbufs_are_out(&eal);
}

fn finding_ports(eal: &Eal) {
    let names: Vec<String> = PortId::all(eal).into_iter().map(|id| PortInfo::of(eal, id).unwrap().name).collect();
    assert_eq!(names, ["net_null0", "net_ring0", "net_ring1"], "net_null9 failed without stopping the others");

    let info = PortInfo::of(eal, PortId::by_name(eal, "net_null0").unwrap()).unwrap();
    assert_eq!(info.driver, "net_null");
    assert!(info.max_rx_queues >= 1 && info.max_tx_queues >= 1 && info.mtu.0 <= 1500 && info.mtu.1 >= 1500, "{info:?}");

    let error = PortId::by_name(eal, "net_tap7").unwrap_err().to_string();
    assert!(
        error.starts_with("there is no port named net_tap7 (there are: net_null0, net_ring0, net_ring1)"),
        "{error}"
    );
    assert!(matches!(PortId::by_name(eal, "a\0b"), Err(PortError::NoSuchName { .. })));
}

fn refused_configurations(eal: &Eal) {
    let id = PortId::by_name(eal, "net_null0").unwrap();
    let pool = pool(eal, "refused");
    let pools = [Arc::clone(&pool)];
    let refusal = |config, pools: &[Arc<Mempool>]| Port::configure(eal, id, config, pools).map(drop).unwrap_err();

    let error = refusal(PortConfig { rx_queues: 0, ..ONE_QUEUE }, &pools);
    assert!(matches!(error, PortError::Queues { rx: 0, tx: 1, .. }), "{error}");
    let error = refusal(PortConfig { tx_queues: u16::MAX, ..ONE_QUEUE }, &pools);
    assert!(matches!(error, PortError::Queues { tx: u16::MAX, .. }), "{error}");
    let error = refusal(ONE_QUEUE, &[]);
    assert_eq!(error.to_string(), "port net_null0 needs one mempool, or one for each of its 1 receive queues, not 0");
    let error = refusal(PortConfig { mtu: Some(9000), ..ONE_QUEUE }, &pools);
    assert!(matches!(error, PortError::DataRoom { mtu: 9000, needed: 9022, data_room_bytes: 2048, .. }), "{error}");

    let configured = Port::configure(eal, id, ONE_QUEUE, &pools).expect("refusals before have left the port alone");
    let error = refusal(ONE_QUEUE, &pools);
    assert!(matches!(error, PortError::InUse(in_use) if in_use == id), "{error}");

    // Closing is final for a port; attaching the device anew makes a new one.
    drop(configured);
    let error = refusal(ONE_QUEUE, &pools);
    assert!(matches!(error, PortError::NoSuchPort(_)), "{error}");
    assert_eq!(pool.in_use(), 0);
}

fn null_port_moves_bursts(eal: &Eal) {
    let id = eal.attach_vdev("net_null1", "size=64").unwrap();
    let pool = pool(eal, "null");
    let config = PortConfig { rx_queues: 2, tx_queues: 2, rx_descriptors: 0, rss: true, ..ONE_QUEUE };
    let (mut port, mut rx, mut tx) = Port::configure(eal, id, config, &[Arc::clone(&pool)]).unwrap();
    assert_eq!((rx.len(), tx.len()), (2, 2));
    assert_eq!((rx[1].port(), rx[1].index(), tx[1].port(), tx[1].index()), (id, 1, id, 1));
    assert!(port.descriptors().0 <= port.descriptors().1);
    assert_eq!(port.rss(), port.info().rss);

    for (rx, tx) in rx.iter_mut().zip(&mut tx) {
        let mut batch = ArrayVec::<Packet, 32>::new();
        assert_eq!(rx.burst(&mut batch), 32);
        assert_eq!(rx.burst(&mut batch), 0, "a full batch takes no more");
        assert!(batch.iter().all(|packet| packet.0.len() == 64 && packet.0.data().len() == 64));
        assert_eq!(batch[0].0.port(), Some(id));
        batch.truncate(20);
        assert_eq!(tx.burst(&mut batch), 20);
        assert!(batch.is_empty());
        assert_eq!(tx.burst(&mut batch), 0, "an empty batch is fine");
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.ipackets, stats.opackets, stats.rx_nombuf), (64, 40, 0));

    port.set_mtu(1400).unwrap();
    port.set_mac([2, 0, 0, 0, 0, 7]).unwrap();
    assert_eq!(port.info().mac, [2, 0, 0, 0, 0, 7]);
    assert_eq!(PortInfo::of(eal, id).unwrap().mac, [2, 0, 0, 0, 0, 7]);
    port.link_up().unwrap();

    // The queues alone keep the port going.
    drop(port);
    let mut batch = Batch::new();
    assert_eq!(rx[0].burst(&mut batch), 32);
    free_batch(&mut batch);
    drop((rx, tx));
    assert_eq!(pool.in_use(), 0);
    assert!(PortInfo::of(eal, id).is_err(), "closed with its last queue");

    let id = eal.attach_vdev("net_null1", "size=80").expect("a closed device can be attached anew");
    let (_port, mut rx, _tx) = Port::configure(eal, id, ONE_QUEUE, &[Arc::clone(&pool)]).unwrap();
    rx[0].burst(&mut batch);
    assert!(batch.iter().all(|mbuf| mbuf.len() == 80));
}

fn ring_ports_loop_packets_back_in_order(eal: &Eal) {
    let pool_0 = pool(eal, "ring0");
    let pool_1 = pool(eal, "ring1");
    let configure = |name, pool: &Arc<Mempool>| {
        let (port, mut rx, mut tx) =
            Port::configure(eal, PortId::by_name(eal, name).unwrap(), ONE_QUEUE, &[Arc::clone(pool)]).unwrap();
        (port, rx.remove(0), tx.remove(0))
    };
    let (port_0, mut rx_0, mut tx_0) = configure("net_ring0", &pool_0);
    let (port_1, mut rx_1, mut tx_1) = configure("net_ring1", &pool_1);
    assert!(port_0.link_up().unwrap());

    // Fill the first port until it takes no more; what it refuses stays, in order.
    let mut sent = 0u32;
    let mut batch = Batch::new();
    loop {
        while batch.len() < batch.capacity() {
            let mut mbuf = pool_0.alloc().unwrap();
            mbuf.append(60).unwrap().fill(0);
            mbuf.data_mut()[..4].copy_from_slice(&(sent + batch.len() as u32).to_be_bytes());
            batch.push(mbuf);
        }
        let count = tx_0.burst(&mut batch) as u32;
        sent += count;
        if count < 32 {
            break;
        }
    }
    let rest: Vec<u32> = batch.iter().map(sequence_number).collect();
    assert_eq!(rest, (sent..sent + batch.len() as u32).collect::<Vec<_>>());
    free_batch(&mut batch);
    assert_eq!(pool_0.in_use(), sent);
    assert_eq!(pool_0.available() + sent, POOL.count);

    // Forward everything over the second port.
    let mut expected = 0;
    while rx_0.burst(&mut batch) > 0 {
        assert!(tx_1.burst(&mut batch) > 0 && batch.is_empty());
        assert!(rx_1.burst(&mut batch) > 0);
        for mbuf in &batch {
            assert_eq!((sequence_number(mbuf), mbuf.len()), (expected, 60));
            expected += 1;
        }
        batch.clear();
    }
    assert_eq!(expected, sent);
    assert_eq!((port_0.stats().unwrap().ipackets, port_1.stats().unwrap().opackets), (sent.into(), sent.into()));
    assert_eq!((pool_0.in_use(), pool_1.in_use()), (0, 0));
}

fn sequence_number(mbuf: &Mbuf) -> u32 {
    u32::from_be_bytes(mbuf.data()[..4].try_into().unwrap())
}

fn mbuf_lengths_respect_headroom_and_tailroom(eal: &Eal) {
    let pool = Mempool::new(eal, "lengths", MempoolConfig { count: 63, cache: 0, data_room_bytes: 256, socket: None })
        .unwrap();
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty() && mbuf.is_single_segment() && mbuf.data().is_empty());
    assert_eq!((mbuf.port(), mbuf.rss_hash()), (None, None));

    assert!(mbuf.append(257).is_none() && mbuf.append(usize::MAX).is_none());
    mbuf.append(256).unwrap().fill(1);
    assert!(mbuf.append(1).is_none());
    assert_eq!(mbuf.append(0).unwrap(), []);

    let headroom = usize::from(Mempool::HEADROOM_BYTES);
    assert!(mbuf.prepend(headroom + 1).is_none() && mbuf.prepend(usize::MAX).is_none());
    let new = mbuf.prepend(headroom).unwrap();
    assert_eq!(new.len(), headroom);
    new.fill(2);
    assert!(mbuf.prepend(1).is_none());
    assert_eq!(mbuf.len(), headroom + 256);
    assert_eq!((mbuf.data()[headroom - 1], mbuf.data()[headroom]), (2, 1));

    assert!(!mbuf.truncate(headroom + 257));
    assert!(mbuf.truncate(headroom + 10));
    assert!(!mbuf.trim_front(headroom + 11) && !mbuf.trim_front(usize::MAX) && mbuf.len() == headroom + 10);
    assert!(mbuf.trim_front(headroom));
    assert_eq!(mbuf.data(), [1; 10]);
    assert!(mbuf.trim_front(10) && mbuf.is_empty());

    mbuf.set_tag(0xdead_beef);
    mbuf.clear_offloads();
    assert_eq!((mbuf.tag(), mbuf.rss_hash()), (0xdead_beef, None));
}

fn exhausted_pool_has_no_mbuf(eal: &Eal) {
    let pool =
        Mempool::new(eal, "small", MempoolConfig { count: 63, cache: 0, data_room_bytes: 64, socket: None }).unwrap();
    let mbufs: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((mbufs.len(), pool.available(), pool.in_use()), (63, 0, 63));
    drop(mbufs);
    assert_eq!((pool.available(), pool.in_use()), (63, 0));

    let error = Mempool::new(eal, "small", POOL).map(drop).unwrap_err().to_string();
    assert_eq!(error, "cannot create mempool small of 2047 mbufs with 2048 bytes each: File exists (errno 17)");
    assert!(Mempool::new(eal, "wide", MempoolConfig { data_room_bytes: u16::MAX, ..POOL }).is_err());
    assert!(Mempool::new(eal, "cache", MempoolConfig { cache: 2047, ..POOL }).is_err());
    for count in [0, 1 << 30, u32::MAX] {
        assert!(Mempool::new(eal, "count", MempoolConfig { count, ..POOL }).is_err(), "{count}");
    }
}

fn a_pool_outlives_its_handle_while_mbufs_are_out(eal: &Eal) {
    let first = pool(eal, "outlived");
    let mut mbuf = first.alloc().unwrap();
    drop(first);
    mbuf.append(100).unwrap().fill(3);
    assert!(Mempool::new(eal, "outlived", POOL).is_err(), "the name is taken as long as the pool lives");
    assert_eq!(mbuf.data(), [3; 100]);
    drop(mbuf);
    drop(pool(eal, "another")); // frees what can be freed by now
    drop(pool(eal, "outlived"));
}

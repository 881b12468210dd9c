//! Mbufs handed from one lcore to another keep order, content, tag and count.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use common::{POOL, pool, start_eal};
use leat_dpdk::{Eal, EalError, HandoverError, Mbuf, Mempool, handover, rdtsc};

const PACKETS: u32 = 200_000;

#[test]
fn handover_between_lcores() {
    let eal = start_eal("handover", "0,1", &[]);
    assert_eq!((eal.main_lcore().get(), eal.worker_lcores().len(), eal.worker_lcores()[0].get()), (0, 1, 1));
    assert!(eal.socket_of(eal.main_lcore()) < 64);
    assert!(eal.tsc_hz() > 100_000_000 && rdtsc() > 0);

    order_and_count_are_kept(&eal);
    what_is_left_is_freed(&eal);
    a_worker_is_busy_until_joined(&eal);
    bad_rings_are_refused(&eal);
}

fn order_and_count_are_kept(eal: &Eal) {
    let pool = pool(eal, "handover");
    let (mut tx, mut rx) = handover(eal, "to-worker", 100).unwrap();
    let (mut back_tx, mut back_rx) = handover(eal, "to-main", 64).unwrap();

    // The worker sends everything back with tag and data swapped.
    let worker = eal
        .launch(eal.worker_lcores()[0], move || {
            let mut batch = ArrayVec::<Mbuf, 32>::new();
            let mut count = 0;
            while count < PACKETS {
                rx.burst(&mut batch);
                count += batch.len() as u32;
                for mbuf in &mut batch {
                    let tag = mbuf.tag();
                    mbuf.set_tag(u64::from(number(mbuf)) * 0x1_0000_0001);
                    assert_eq!(tag >> 32, tag & 0xffff_ffff, "both halves travel");
                    mbuf.data_mut().copy_from_slice(&(tag as u32).to_be_bytes());
                }
                while !batch.is_empty() {
                    back_tx.burst(&mut batch);
                }
            }
            count as i32
        })
        .unwrap();

    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut made, mut returned) = (0, 0);
    let mut batch = ArrayVec::<Mbuf, 32>::new();
    let mut back = ArrayVec::<Mbuf, 32>::new();
    while returned < PACKETS {
        assert!(Instant::now() < deadline, "{returned} of {PACKETS} returned");
        while made < PACKETS && !batch.is_full() {
            let Some(mbuf) = numbered(&pool, made) else { break };
            batch.push(mbuf);
            made += 1;
        }
        tx.burst(&mut batch);
        back_rx.burst(&mut back);
        for mbuf in back.drain(..) {
            assert_eq!((mbuf.tag(), number(&mbuf)), (u64::from(returned) * 0x1_0000_0001, !returned));
            returned += 1;
        }
    }
    assert_eq!(worker.join(), PACKETS as i32);
    assert_eq!(pool.in_use(), 0);
}

fn numbered(pool: &Mempool, number: u32) -> Option<Mbuf> {
    let mut mbuf = pool.alloc()?;
    mbuf.append(4)?.copy_from_slice(&number.to_be_bytes());
    mbuf.set_tag(u64::from(!number) * 0x1_0000_0001);
    Some(mbuf)
}

fn number(mbuf: &Mbuf) -> u32 {
    u32::from_be_bytes(mbuf.data().try_into().unwrap())
}

fn what_is_left_is_freed(eal: &Eal) {
    let pool = pool(eal, "left");
    let (mut tx, mut rx) = handover(eal, "left", 40).unwrap();
    let mut batch: ArrayVec<Mbuf, 64> = (0..64).map(|n| numbered(&pool, n).unwrap()).collect();
    assert_eq!(tx.burst(&mut batch), 40, "exactly the capacity");
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), (40..64).collect::<Vec<_>>());

    let mut out = ArrayVec::<Mbuf, 10>::new();
    assert_eq!(rx.burst(&mut out), 10);
    assert_eq!(rx.burst(&mut out), 0, "a full batch takes no more");
    assert_eq!(out.iter().map(number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());

    drop((batch, out));
    assert_eq!(pool.in_use(), 30);
    drop(rx);
    assert_eq!(pool.in_use(), 30);
    drop(tx);
    assert_eq!(pool.in_use(), 0);
}

fn a_worker_is_busy_until_joined(eal: &Eal) {
    let lcore = eal.worker_lcores()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let pool = pool(eal, "worker");
    let worker = {
        let (stop, pool) = (Arc::clone(&stop), Arc::clone(&pool));
        eal.launch(lcore, move || {
            let kept = pool.alloc();
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            drop(kept);
            -7
        })
        .unwrap()
    };
    assert!(worker.is_running() && worker.lcore() == lcore);
    let error = eal.launch(lcore, || 0).map(drop).unwrap_err();
    assert!(matches!(error, EalError::Launch { .. }), "{error}");
    let error = eal.launch(eal.main_lcore(), || 0).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "lcore 0 is not a worker lcore of this process");

    // The last handle goes while the worker may still hold an mbuf: the pool waits for the join.
    drop(pool);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(worker.join(), -7);
    Mempool::new(eal, "worker", POOL).expect("the pool was freed when the worker was joined, and its name with it");

    let finished = eal.launch(lcore, || 5).unwrap();
    while finished.is_running() {}
    assert!(eal.launch(lcore, || 6).is_err(), "its result has not been fetched");
    assert_eq!(finished.join(), 5);

    drop(eal.launch(lcore, || 0).unwrap());
    assert_eq!(eal.launch(lcore, || 1).expect("dropping a worker has joined it").join(), 1);
}

fn bad_rings_are_refused(eal: &Eal) {
    for wrong in [0, 1 << 30, u32::MAX] {
        let error = handover(eal, "wrong", wrong).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::Create { capacity, .. } if capacity == wrong), "{error}");
    }
    let _taken = handover(eal, "taken", 8).unwrap();
    let error = handover(eal, "taken", 8).map(drop).unwrap_err().to_string();
    assert_eq!(error, "cannot create handover taken for 8 mbufs: File exists (errno 17)");
}

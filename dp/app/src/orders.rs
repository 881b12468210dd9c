//! What the main thread tells the lcores, and what they answer: what to do, and snapshots.
//!
//! # Draining
//! When the process stops, packets are under way between lcores. They are driven out in rounds: in each, every lcore makes a turn over
//! its rings and reports whether it found a packet. A packet that was sent before a round began is found in it, and who finds none sends
//! none. So nothing is under way after a round in which nobody found a packet, provided that everybody had stopped receiving from
//! ports before it began; that is what the first round is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use leat_core::Forwarding;

/// How long the main thread waits between two looks at the lcores' reports.
const LOOK: Duration = Duration::from_micros(100);

/// What an lcore is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Receive and forward.
    Run,
    /// Receive nothing more from ports, finish what was handed over, and report to this round.
    Drain(u32),
    /// Return.
    Stop,
}

/// The orders to all lcores, and their reports. Dropping it stops them.
#[derive(Debug)]
pub struct Orders {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// 0: run; [`u32::MAX`]: stop; else the number of the round. Written by the main thread, read by the lcores.
    order: AtomicU32,
    /// By lcore: the round it has made a turn in, times 2, plus 1 if it found packets. Written by the lcore.
    reports: Box<[AtomicU32]>,
}

/// One lcore's view of the orders.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    lcore: usize,
}

impl Orders {
    /// Orders to run, for so many lcores.
    pub fn new(lcores: u16) -> Self {
        let reports = (0..lcores).map(|_| AtomicU32::new(0)).collect();
        Self { shared: Arc::new(Shared { order: AtomicU32::new(0), reports }) }
    }

    /// What an lcore listens by.
    pub fn listener(&self, lcore: u16) -> Listener {
        Listener { shared: self.shared.clone(), lcore: lcore.into() }
    }

    /// Makes the lcores finish what is under way between them; `meanwhile` is called again and again. Returns whether that was done in
    /// time.
    pub fn drain(&self, patience: Duration, mut meanwhile: impl FnMut()) -> bool {
        let end = Instant::now() + patience;
        for round in 1..u32::MAX / 2 {
            self.shared.order.store(round, Ordering::Release);
            let reports = || self.shared.reports.iter().map(|report| report.load(Ordering::Acquire));
            while reports().any(|report| report / 2 != round) {
                if Instant::now() > end {
                    return false;
                }
                meanwhile();
                std::thread::sleep(LOOK);
            }
            if round > 1 && reports().all(|report| report % 2 == 0) {
                meanwhile();
                return true;
            }
        }
        false
    }

    /// Makes the lcores return.
    pub fn stop(&self) {
        self.shared.order.store(u32::MAX, Ordering::Release);
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Listener {
    /// What to do now.
    #[inline(always)]
    pub fn order(&self) -> Order {
        match self.shared.order.load(Ordering::Acquire) {
            0 => Order::Run,
            u32::MAX => Order::Stop,
            round => Order::Drain(round),
        }
    }

    /// Says that a whole turn was made since the order to drain, in which packets were found or none.
    pub fn report(&self, round: u32, found: bool) {
        let report = &self.shared.reports[self.lcore];
        // What was found in one turn of a round is true of the round.
        let before = report.load(Ordering::Relaxed);
        let found = found || before == round * 2 + 1;
        report.store(round * 2 + u32::from(found), Ordering::Release);
    }
}

/// Snapshots on their way to an lcore and back, to be freed by the main thread. The latest wins.
#[derive(Debug)]
pub struct Mailbox {
    fresh: ArrayQueue<Arc<Forwarding>>,
    retired: ArrayQueue<Arc<Forwarding>>,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self { fresh: ArrayQueue::new(1), retired: ArrayQueue::new(1) }
    }

    /// Main thread: gives the lcore a snapshot. One that it has not fetched yet is replaced.
    pub fn send(&self, forwarding: Arc<Forwarding>) {
        self.fresh.force_push(forwarding);
    }

    /// Main thread: frees what the lcore has put aside.
    pub fn free_retired(&self) {
        while self.retired.pop().is_some() {}
    }

    /// Lcore: goes over to the snapshot that has come, if one has; `install` returns the old one. Never frees one: as long as the old
    /// one cannot be put aside, the new one waits.
    #[inline(always)]
    pub fn fetch(&self, install: impl FnOnce(Arc<Forwarding>) -> Arc<Forwarding>) -> bool {
        if self.retired.is_full() {
            return false;
        }
        let Some(fresh) = self.fresh.pop() else { return false };
        // Nobody else puts anything aside, so there is room.
        if let Err(old) = self.retired.push(install(fresh)) {
            std::mem::forget(old);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::Snapshot;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    fn forwarding(generation: u64) -> Arc<Forwarding> {
        Arc::new(Forwarding::new(&Snapshot { generation, ..Snapshot::default() }, &[], 1))
    }

    /// However slow the main thread is, the last reference to a snapshot is never the lcore's.
    #[test]
    fn an_lcore_never_frees_a_snapshot() {
        let (mailbox, mut used) = (Mailbox::new(), forwarding(0));
        let fetch = |used: &mut Arc<Forwarding>| mailbox.fetch(|fresh| std::mem::replace(used, fresh));
        assert!(!fetch(&mut used));
        let first = forwarding(1);
        mailbox.send(first.clone());
        assert!(fetch(&mut used));
        assert_eq!(used.generation, 1);
        // The one before the first is put aside; while it is, the lcore keeps what it has.
        mailbox.send(forwarding(2));
        mailbox.send(forwarding(3));
        assert!(!fetch(&mut used));
        assert_eq!((used.generation, Arc::strong_count(&first)), (1, 2));
        mailbox.free_retired();
        assert!(fetch(&mut used));
        assert_eq!((used.generation, Arc::strong_count(&first)), (3, 2), "the latest; the first is put aside");
        mailbox.free_retired();
        assert_eq!(Arc::strong_count(&first), 1);
    }

    /// Threads that pass packets on to each other until their time to live is over: after draining, none is under way.
    #[test]
    fn draining_waits_for_what_is_under_way() {
        for n in 0..20u32 {
            let orders = Orders::new(3);
            let rings: Arc<[Mutex<VecDeque<u32>>; 3]> = Arc::new(std::array::from_fn(|_| Mutex::default()));
            let threads: Vec<_> = (0..3u16)
                .map(|me| {
                    let (listener, rings) = (orders.listener(me), rings.clone());
                    std::thread::spawn(move || {
                        let mut received = 0;
                        loop {
                            let order = listener.order();
                            if order == Order::Stop {
                                return received;
                            }
                            let me = usize::from(me);
                            if order == Order::Run {
                                received += 1;
                                rings[(me + 1) % 3].lock().unwrap().push_back(received % 40);
                            }
                            let packet = rings[me].lock().unwrap().pop_front();
                            if let Some(left @ 1..) = packet {
                                rings[(me + left as usize) % 3].lock().unwrap().push_back(left - 1);
                            }
                            if let Order::Drain(round) = order {
                                listener.report(round, packet.is_some());
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(u64::from(n) * 20));
            assert!(orders.drain(Duration::from_secs(60), || {}));
            assert!(rings.iter().all(|ring| ring.lock().unwrap().is_empty()));
            orders.stop();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    }

    #[test]
    fn draining_gives_up_on_an_lcore_that_does_not_answer() {
        let orders = Orders::new(2);
        orders.listener(0).report(1, false);
        assert!(!orders.drain(Duration::ZERO, || {}));
        let listener = orders.listener(1);
        assert_eq!(listener.order(), Order::Drain(1));
        drop(orders);
        assert_eq!(listener.order(), Order::Stop);
    }
}

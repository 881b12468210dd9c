//! What every test needs: an EAL without hugepages, NICs or files. The EAL starts once per process, so each test
//! file has one test.

#![allow(dead_code, reason = "not every test uses everything")]

use std::sync::Arc;

use leat_dpdk::{Eal, Mempool, MempoolConfig, PortConfig};

/// Starts the EAL on `lcores` with the given further arguments; `test` keeps it apart from other tests' processes.
pub fn start_eal(test: &str, lcores: &str, arguments: &[&str]) -> Eal {
    let prefix = format!("--file-prefix=leat-test-{test}");
    let mut all = vec!["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", &prefix, "-l", lcores];
    all.extend(arguments);
    Eal::init(&all).expect("the EAL starts without hugepages and devices")
}

pub const POOL: MempoolConfig = MempoolConfig { count: 2047, cache: 32, data_room_bytes: 2048, socket: None };

pub fn pool(eal: &Eal, name: &str) -> Arc<Mempool> {
    Mempool::new(eal, name, POOL).expect("64 MiB hold a pool of 2047 mbufs")
}

pub const ONE_QUEUE: PortConfig = PortConfig {
    rx_queues: 1,
    tx_queues: 1,
    rx_descriptors: 256,
    tx_descriptors: 256,
    mtu: None,
    promiscuous: true,
    rss: false,
};

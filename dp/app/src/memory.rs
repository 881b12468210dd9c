//! How much memory the data plane needs, where it comes from, and whether it is there. Asked before anything is made: what is missing later
//! is a process killed by the kernel.

use anyhow::ensure;
use leat_dpdk::free_hugepages;

use crate::options::{Memory, Options};
use crate::setup::RING_PACKETS;

/// Ethernet header, two VLAN tags, and what the af_packet driver puts in front of a frame.
const FRAME_OVERHEAD: u16 = 128;

/// What DPDK needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Where its memory comes from.
    pub memory: Memory,
    /// How much, in MiB.
    pub memory_mib: u64,
    /// Packet buffers.
    pub mbufs: u32,
    /// Room for a frame in each, in bytes: a power of two.
    pub frame_bytes: u16,
}

impl Need {
    /// What ports of these MTUs need.
    ///
    /// # Errors
    /// The machine has not got it.
    pub fn of(options: &Options, mtus: &[u16]) -> anyhow::Result<Self> {
        let mbufs = options.mbufs.unwrap_or_else(|| default_mbufs(options));
        let frame_bytes = frame_bytes(mtus);
        // A buffer with its headers, and a quarter more for rings and queues, and 64 MiB.
        let memory_mib = ((u64::from(mbufs) * (u64::from(frame_bytes) + 452) * 5 / 4) >> 20) + 64;
        let free_mib: u64 = free_hugepages().unwrap_or_default().iter().map(|f| (f.page_bytes * f.pages) >> 20).sum();
        let memory = if free_mib >= memory_mib { Memory::Hugepages } else { Memory::Ordinary };
        let ordinary_mib =
            tables_mib(options) + segment_mib(options) + if memory == Memory::Ordinary { memory_mib } else { 0 };
        if let Some(available_mib) = available_mib() {
            ensure!(
                ordinary_mib <= available_mib,
                "{ordinary_mib} MiB of memory are needed and {available_mib} MiB are available: lower --flows-max ({} for each \
                 of {} lcores) or --mbufs ({mbufs})",
                options.flows_max,
                options.lcores.0.len()
            );
        }
        if memory == Memory::Ordinary {
            tracing::warn!(
                "{free_mib} MiB of hugepages are free, {memory_mib} MiB are needed: using ordinary memory, which is slower. \
                 To reserve them: sysctl vm.nr_hugepages={}",
                memory_mib.div_ceil(2)
            );
        }
        Ok(Self { memory, memory_mib, mbufs, frame_bytes })
    }
}

/// Enough for all descriptors, the lcores' caches and bursts, and the rings.
fn default_mbufs(options: &Options) -> u32 {
    let lcores = options.lcores.0.len() as u32;
    let queues = 2 * u32::from(options.descriptors) * options.ports.len() as u32 * lcores;
    let twins = 512 * options.ports.len() as u32;
    let others = lcores * lcores * RING_PACKETS + (lcores + 1) * 1024;
    (queues + twins + others).max(8192).next_power_of_two() - 1
}

fn frame_bytes(mtus: &[u16]) -> u16 {
    let largest = mtus.iter().copied().max().unwrap_or(0);
    (largest + FRAME_OVERHEAD).next_power_of_two().max(2048)
}

/// The lcores' tables: index, free list and timers.
fn tables_mib(options: &Options) -> u64 {
    let flows = u64::from(options.flows_max);
    let index = 64 * (2 * flows).div_ceil(8).next_power_of_two();
    (options.lcores.0.len() as u64 * (index + 12 * flows)) >> 20
}

/// The segment, unless it is there already or lies in hugepages.
fn segment_mib(options: &Options) -> u64 {
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let directory = options.segment.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let in_hugepages = rustix::fs::statfs(directory).is_ok_and(|fs| fs.f_type as u64 & 0xffff_ffff == HUGETLBFS_MAGIC);
    if in_hugepages || options.segment.exists() {
        return 0;
    }
    let lines = u64::from(options.flows_max) + u64::from(options.wide_flows_max());
    let flows = lines * options.lcores.0.len() as u64 * size_of::<leat_abi::FlowEntry>() as u64;
    (flows >> 20) + 2 * options.arena_mib
}

/// What the kernel says that processes can still have.
fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(more: &[&str]) -> Options {
        let base = ["leat-dp", "--port", "a=net_null0", "--segment", "/nowhere/leat"];
        Options::parse_from(base.iter().chain(more))
    }

    #[test]
    fn frames_fit_into_buffers() {
        assert_eq!(
            [&[1500][..], &[1500, 1920], &[1921], &[9000, 1500], &[9216]].map(frame_bytes),
            [2048, 2048, 4096, 16384, 16384]
        );
    }

    #[test]
    fn what_cannot_be_had_is_refused_before_it_is_asked_for() {
        let error = Need::of(&options(&["--flows-max", "1073741824", "--lcores", "0,0,0,0,0,0,0,0"]), &[1500]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("--flows-max") && message.contains("available"), "{message}");
        let need = Need::of(&options(&["--flows-max", "1024", "--mbufs", "1024"]), &[1500]).unwrap();
        assert_eq!((need.mbufs, need.frame_bytes), (1024, 2048));
    }

    #[test]
    fn buffers_suffice_for_rings_and_queues() {
        let three = options(&["--lcores", "0,1,0"]);
        assert!(default_mbufs(&three) >= 2 * 1024 * 3 + 9 * RING_PACKETS);
        assert_eq!(default_mbufs(&options(&[])), 8191);
    }
}

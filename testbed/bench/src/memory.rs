//! Memory to measure in, and what it lies on.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use leat_abi::counters::LcoreCounters;
use leat_abi::ring::Producer;
use leat_abi::{DataSegment, FlowEntry, FlowMemory, Geometry};
use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::world;

/// Pipelines at the same time.
const PIPELINES: u16 = 16;

/// Which pages memory is asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pages {
    /// Huge ones: DPDK's from hugetlbfs, the rest transparent.
    Huge,
    /// Ordinary ones of 4 KiB.
    Ordinary,
}

impl Pages {
    /// The value of `--pages`.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Huge => "huge",
            Self::Ordinary => "ordinary",
        }
    }

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Huge => "huge pages (2 MiB: transparent for Leat, hugetlbfs for DPDK)",
            Self::Ordinary => "ordinary pages (4 KiB)",
        }
    }
}

/// Zeroed memory of its own.
pub struct Region(MmapMut);

impl Region {
    /// That many bytes, touched.
    pub fn new(bytes: usize, pages: Pages) -> Result<Self> {
        let mut map =
            MmapOptions::new().len(bytes.next_multiple_of(2 << 20)).map_anon().context("no memory for the flows")?;
        map.advise(if pages == Pages::Huge { Advice::HugePage } else { Advice::NoHugePage })?;
        map.iter_mut().step_by(4096).for_each(|byte| *byte = 0);
        Ok(Self(map))
    }

    /// As so many lines: flow entries, addresses, or plain ones.
    pub fn lines<T: FromBytes + IntoBytes + KnownLayout>(&mut self, count: usize) -> Result<&mut [T]>
    where
        [T]: KnownLayout<PointerMetadata = usize>,
    {
        let (lines, _) = <[T]>::mut_from_prefix_with_elems(&mut self.0, count)
            .map_err(|_| anyhow::anyhow!("the mapping is too small"))?;
        Ok(lines)
    }
}

/// Memory of a flow table.
pub struct FlowRegion {
    lines: Region,
    count: usize,
    wide: bool,
}

impl FlowRegion {
    /// That many entries; `wide`: each with a second line.
    pub fn new(count: usize, wide: bool, pages: Pages) -> Result<Self> {
        let lines = if wide { 2 * count } else { count };
        Ok(Self { lines: Region::new(lines * size_of::<FlowEntry>(), pages)?, count, wide })
    }

    /// Bytes of an entry with all its lines.
    pub fn bytes_each(&self) -> usize {
        size_of::<FlowEntry>() * if self.wide { 2 } else { 1 }
    }

    /// The memory.
    pub fn flows(&mut self) -> Result<FlowMemory<'_>> {
        let (lines, wide) = if self.wide { (2 * self.count, self.count) } else { (self.count, 0) };
        Ok(FlowMemory::new(self.lines.lines(lines)?, wide))
    }
}

/// One cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)]
pub struct Line(pub [u64; 8]);

/// Counters and event rings for pipelines: a shared segment whose own flows are not used.
pub struct Sinks {
    segment: DataSegment,
    next: AtomicU64,
}

impl Sinks {
    /// A segment at `path`, whose name is removed again at once.
    pub fn new(path: &std::path::Path) -> Result<Self> {
        let geometry = Geometry {
            lcores: PIPELINES,
            flows_max: 64,
            wide_flows_max: 0,
            targets_max: world::TARGETS,
            listeners_max: 16,
            arena_words: 1024,
        };
        let segment = DataSegment::create_or_adopt(path, geometry, false)?;
        std::fs::remove_file(path)?;
        Ok(Self { segment, next: AtomicU64::new(0) })
    }

    /// Counters and a ring. After [`PIPELINES`] calls the first ones come again: two pipelines must not run at the same time then.
    pub fn take(&self) -> (LcoreCounters<'static>, Producer<'static>) {
        let lcore = (self.next.fetch_add(1, Ordering::Relaxed) % u64::from(PIPELINES)) as u16;
        (self.segment.counters(lcore), self.segment.events(lcore))
    }
}

/// MiB that the kernel says can be had.
pub fn available_mib() -> u64 {
    field("/proc/meminfo", "MemAvailable:").unwrap_or(0) >> 10
}

/// Bytes that this process has in memory, and bytes of these on transparent huge pages.
pub fn resident_bytes() -> (u64, u64) {
    let read = |name| field("/proc/self/smaps_rollup", name).unwrap_or(0) << 10;
    (read("Rss:"), read("AnonHugePages:"))
}

/// The number after a name in a file of the kernel.
pub fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

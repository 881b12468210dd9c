//! The shared segment of a thread's simulations: a real one, in a file in memory, with both sides mapped once. Mappings live as long as
//! the process, so simulations that follow each other use it again, as empty as it was when it was made.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Context;
use leat_abi::{ControlSegment, DataSegment, FlowEntry, FlowMemory, Geometry};
use tempfile::TempDir;

/// Polling lcores.
pub const LCORES: u16 = 2;
/// Flow entries of each.
const FLOWS: u32 = 128;
/// Target and listener slots.
pub const SLOTS: u16 = 96;
/// A snapshot may have that many words: about 40 Maglev tables.
const ARENA_WORDS: u64 = 768 << 10;

/// A segment, mapped as by both processes.
#[derive(Debug)]
pub struct Segment {
    /// The data plane's side.
    pub data: DataSegment,
    /// The control plane's side.
    pub control: ControlSegment,
    /// The flows' memory of each lcore, while no process has it.
    pub flows: Vec<Option<FlowMemory<'static>>>,
    file: File,
    /// What is in front of the arena, as it was made.
    empty: Vec<u8>,
    _directory: TempDir,
}

impl Segment {
    /// A new one.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.context("no directory for the segment")?;
        let path = directory.path().join("segment");
        let geometry = Geometry {
            lcores: LCORES,
            flows_max: FLOWS,
            wide_flows_max: 0,
            targets_max: SLOTS,
            listeners_max: SLOTS,
            arena_words: ARENA_WORDS,
        };
        let mut data = DataSegment::create_or_adopt(&path, geometry, false)?;
        let control = ControlSegment::attach(&path)?;
        let flows = data.take_flows().context("the flows' memory")?.into_iter().map(Some).collect();
        let file = File::options().read(true).write(true).open(&path).context("the segment's file")?;
        let length = file.metadata().context("the segment's size")?.len();
        // Everything but arena and flows; what rounding adds to it is of the arena, which needs no clearing.
        let flow_bytes = u64::from(LCORES) * u64::from(FLOWS) * size_of::<FlowEntry>() as u64;
        let mut empty = vec![0; (length - 2 * 8 * ARENA_WORDS - flow_bytes) as usize];
        file.read_exact_at(&mut empty, 0).context("reading the segment")?;
        Ok(Self { data, control, flows, file, empty, _directory: directory })
    }

    /// Makes it as empty as a new one. The key that says which lcore owns a flow is given, as everything must follow from the seed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn clear(&mut self, owner_key: u64) -> anyhow::Result<()> {
        self.file.write_all_at(&self.empty, 0).context("clearing the segment")?;
        let header = self.data.header();
        header.owner_key.store(owner_key, Ordering::Relaxed);
        header.incarnation.store(0, Ordering::Relaxed);
        for memory in self.flows.iter_mut().flatten() {
            memory.clear();
        }
        Ok(())
    }
}

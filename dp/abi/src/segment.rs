//! The segment: a file, mapped by both processes.
//!
//! `leat-dp` makes it (or adopts the one it finds) and holds an exclusive lock on it; `leat-cp` attaches to it. Mappings live
//! as long as the process: what they lend is `'static`. `unsafe` is here alone, for turning mapped bytes into references.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{FlockOperation, flock};

use crate::counters::{LCORE_WORDS, LISTENER_WORDS, LcoreCounters, TARGET_WORDS};
use crate::flow::FlowEntry;
use crate::layout::{
    ABI_VERSION, COMMAND_MESSAGES, EVENT_MESSAGES, LAYOUT_HASH, LCORES_MAX, LcoreHeader, MAGIC, Offsets, SegmentHeader,
    lcore_block,
};
use crate::ring::{Consumer, MESSAGE_WORDS, Producer, Ring, RingControl};
use crate::snapshot::{Limits, Snapshot, SnapshotError};

const WORD: u64 = 8;

/// The sizes that are chosen when a segment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Polling lcores, 1–64.
    pub lcores: u16,
    /// Flow entries per lcore, 64–2³⁰.
    pub flows_max: u32,
    /// Target slots, 1–65 535.
    pub targets_max: u16,
    /// Listener slots, 1–65 535.
    pub listeners_max: u16,
    /// Words in one of the two arena slots: a snapshot's size at the most.
    pub arena_words: u64,
}

impl Geometry {
    fn check(&self) -> Result<(), SegmentError> {
        let bad = |what, value: u64| Err(SegmentError::Geometry { what, value });
        match self {
            g if !(1..=LCORES_MAX as u16).contains(&g.lcores) => bad("lcores must be 1 to 64", g.lcores.into()),
            g if !(64..=1 << 30).contains(&g.flows_max) => bad("flows_max must be 64 to 2^30", g.flows_max.into()),
            g if g.targets_max == 0 => bad("targets_max must be 1 to 65535", 0),
            g if g.listeners_max == 0 => bad("listeners_max must be 1 to 65535", 0),
            g if !(1024..=1 << 30).contains(&g.arena_words) => bad("arena words must be 1024 to 2^30", g.arena_words),
            _ => Ok(()),
        }
    }
}

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file cannot be opened, sized or mapped.
    #[error("segment {path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Another data plane has it.
    #[error("segment {0}: another leat-dp is using it; stop that one, or give this one another --segment")]
    Locked(PathBuf),
    /// It is something else.
    #[error(
        "segment {0}: not a Leat segment; give another --segment, or remove the file if nothing else needs it"
    )]
    NotASegment(PathBuf),
    /// It has another layout.
    #[error(
        "segment {path}: it has ABI version {version} (layout {hash:016x}), this program has {ABI_VERSION} (layout {LAYOUT_HASH:016x}). \
         Its flows cannot be read: run the version that made it, or start leat-dp with --discard-flows to begin with an empty table"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u64,
        /// The layout hash found.
        hash: u64,
    },
    /// It has other sizes.
    #[error(
        "segment {path}: it was made for {found:?}, asked for is {wanted:?}. Start leat-dp with the same numbers, \
         or with --discard-flows to begin with an empty table"
    )]
    OtherGeometry {
        /// The file.
        path: PathBuf,
        /// Its sizes.
        found: Geometry,
        /// The sizes asked for.
        wanted: Geometry,
    },
    /// The sizes asked for, or found, are out of range.
    #[error("{what} (got {value})")]
    Geometry {
        /// The range.
        what: &'static str,
        /// The value.
        value: u64,
    },
}

/// The mapping that both sides share: everything but the flows.
#[derive(Debug, Clone, Copy)]
struct Shared {
    words: &'static [AtomicU64],
    geometry: Geometry,
    offsets: Offsets,
}

impl Shared {
    fn header(&self) -> &'static SegmentHeader {
        self.at(0)
    }

    /// The struct at a byte offset.
    fn at<T>(&self, offset: u64) -> &'static T {
        const { assert!(align_of::<T>() <= 64) };
        let start = (offset / WORD) as usize;
        let words = &self.words[start..start + size_of::<T>() / WORD as usize];
        assert!(words.as_ptr().cast::<T>().is_aligned());
        // SAFETY: needed to see mapped words as a shared struct. `T` is one of this crate's header structs, made of `AtomicU64`
        // alone, so every bit pattern is valid and concurrent writes are atomic; `words` covers its size, its alignment is
        // checked, and the mapping is never unmapped.
        unsafe { &*words.as_ptr().cast::<T>() }
    }

    fn words(&self, offset: u64, count: usize) -> &'static [AtomicU64] {
        let start = (offset / WORD) as usize;
        &self.words[start..start + count]
    }

    fn lcore(&self, lcore: u16, offset: usize) -> u64 {
        assert!(lcore < self.geometry.lcores, "lcore {lcore} of {}", self.geometry.lcores);
        self.offsets.lcores + u64::from(lcore) * self.offsets.lcore_stride + offset as u64
    }

    fn lcore_header(&self, lcore: u16) -> &'static LcoreHeader {
        self.at(self.lcore(lcore, lcore_block::HEADER))
    }

    fn command_ring(&self, lcore: u16) -> Ring<'static> {
        let control: &RingControl = self.at(self.lcore(lcore, lcore_block::COMMAND_CONTROL));
        Ring::new(control, self.words(self.lcore(lcore, lcore_block::COMMAND_SLOTS), COMMAND_MESSAGES * MESSAGE_WORDS))
    }

    fn event_ring(&self, lcore: u16) -> Ring<'static> {
        let control: &RingControl = self.at(self.lcore(lcore, lcore_block::EVENT_CONTROL));
        Ring::new(control, self.words(self.lcore(lcore, lcore_block::EVENT_SLOTS), EVENT_MESSAGES * MESSAGE_WORDS))
    }

    fn counters(&self, lcore: u16) -> LcoreCounters<'static> {
        let targets = usize::from(self.geometry.targets_max) * TARGET_WORDS;
        let listeners = usize::from(self.geometry.listeners_max) * LISTENER_WORDS;
        let start = self.lcore(lcore, lcore_block::TARGETS);
        LcoreCounters::new(
            self.words(self.lcore(lcore, lcore_block::COUNTERS), LCORE_WORDS),
            self.words(start, targets),
            self.words(start + targets as u64 * WORD, listeners),
        )
    }

    fn arena(&self, slot: u64) -> &'static [AtomicU64] {
        let words = self.geometry.arena_words;
        self.words(self.offsets.arena + (slot & 1) * words * WORD, words as usize)
    }

    fn limits(&self) -> Limits {
        Limits {
            targets_max: self.geometry.targets_max,
            listeners_max: self.geometry.listeners_max,
            ports: self.header().ports.load(Ordering::Acquire).min(crate::layout::PORTS_MAX as u64) as u8,
        }
    }
}

/// Milliseconds of the monotonic clock: the time base of heartbeats and flow timers in both processes.
pub fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SegmentError {
    move |source| SegmentError::Io { path: path.to_owned(), action, source }
}

/// Maps `bytes` of the file at `offset`, for the life of the process.
fn map(file: &File, path: &Path, offset: u64, bytes: u64) -> Result<*mut u8, SegmentError> {
    let raw: MmapRaw =
        MmapOptions::new().offset(offset).len(bytes as usize).map_raw(file).map_err(io_error(path, "map it"))?;
    // Best effort: tmpfs may have no huge pages to give.
    let _ = raw.advise(Advice::HugePage);
    Ok(Box::leak(Box::new(raw)).as_mut_ptr())
}

fn map_shared(file: &File, path: &Path, geometry: Geometry) -> Result<Shared, SegmentError> {
    let offsets = Offsets::of(&geometry);
    let start = map(file, path, 0, offsets.flows)?;
    // SAFETY: needed to use mapped memory at all. The mapping starts on a page, is `offsets.flows` bytes long and never
    // unmapped; it is only ever seen as atomics, for which every bit pattern is valid and concurrent access is defined.
    let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), (offsets.flows / WORD) as usize) };
    Ok(Shared { words, geometry, offsets })
}

/// Reads the identity of a segment: its geometry, or why it cannot be used.
fn identify(file: &File, path: &Path) -> Result<(Geometry, u64), SegmentError> {
    let length = file.metadata().map_err(io_error(path, "read its size"))?.len();
    if length < size_of::<SegmentHeader>() as u64 {
        return Err(SegmentError::NotASegment(path.to_owned()));
    }
    // Not by a read of the file: hugetlbfs knows no reads of parts of a page. The mapping is of the first page only.
    let start = map(file, path, 0, crate::layout::FLOW_ALIGN.min(length))?;
    // SAFETY: as in `map_shared`; at least a header's bytes are mapped, page-aligned.
    let header = unsafe { &*start.cast::<SegmentHeader>() };
    let read = |word: &AtomicU64| word.load(Ordering::Acquire);
    if read(&header.magic) != MAGIC {
        return Err(SegmentError::NotASegment(path.to_owned()));
    }
    let (version, hash) = (read(&header.abi_version), read(&header.layout_hash));
    if (version, hash) != (ABI_VERSION, LAYOUT_HASH) {
        return Err(SegmentError::Version { path: path.to_owned(), version, hash });
    }
    let narrow = |value: u64| u16::try_from(value).unwrap_or(0);
    let geometry = Geometry {
        lcores: narrow(read(&header.lcores)),
        flows_max: u32::try_from(read(&header.flows_max)).unwrap_or(0),
        targets_max: narrow(read(&header.targets_max)),
        listeners_max: narrow(read(&header.listeners_max)),
        arena_words: read(&header.arena_words),
    };
    geometry.check()?;
    if Offsets::of(&geometry).end > length {
        return Err(SegmentError::NotASegment(path.to_owned()));
    }
    Ok((geometry, read(&header.boot_id)))
}

fn boot_id() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.bytes().filter_map(|b| char::from(b).to_digit(16)).fold(0, |sum: u64, d| sum.rotate_left(4) ^ u64::from(d))
}

/// How a data plane came to its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was made new.
    Created,
    /// An earlier process left it; its flows are to be adopted.
    Adopted,
    /// What was found was given up: it came from an earlier boot, or `discard` was asked for.
    Replaced,
}

/// The data plane's side.
#[derive(Debug)]
pub struct DataSegment {
    shared: Shared,
    origin: Origin,
    flows: Option<Vec<&'static mut [FlowEntry]>>,
    /// Keeps the lock.
    _file: File,
}

impl DataSegment {
    /// Makes the segment, or adopts the one at `path`. With `discard`, what is there and unusable is replaced.
    ///
    /// # Errors
    /// Another data plane holds it, it has another layout or geometry, or there is no memory for it.
    pub fn create_or_adopt(path: &Path, geometry: Geometry, discard: bool) -> Result<Self, SegmentError> {
        geometry.check()?;
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = open().map_err(io_error(path, "open it"))?;
        lock(&file, path)?;
        let mut origin = Origin::Created;
        if file.metadata().map_err(io_error(path, "read its size"))?.len() > 0 {
            origin = match identify(&file, path) {
                Ok((found, boot)) if found == geometry && boot == boot_id() && !discard => Origin::Adopted,
                Ok((_, boot)) if boot != boot_id() || discard => Origin::Replaced,
                Ok((found, _)) => {
                    return Err(SegmentError::OtherGeometry { path: path.to_owned(), found, wanted: geometry });
                }
                // A process killed while it made the segment has not written the magic number yet: nothing is lost.
                Err(SegmentError::NotASegment(_)) if unborn(&file, path)? => Origin::Created,
                Err(_) if discard => Origin::Replaced,
                Err(error) => return Err(error),
            };
        }
        let bytes = Offsets::of(&geometry).end;
        if origin != Origin::Adopted {
            // A new file, not the old one emptied: whoever still maps the old one keeps it and notices.
            std::fs::remove_file(path).map_err(io_error(path, "replace it"))?;
            file = open().map_err(io_error(path, "create it"))?;
            lock(&file, path)?;
            file.set_len(bytes).map_err(io_error(path, "size it"))?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
                .map_err(|e| io_error(path, "reserve memory for it (lower --flows-max, or free some)")(e.into()))?;
        }
        let shared = map_shared(&file, path, geometry)?;
        let flows = map_flows(&file, path, &shared)?;
        let header = shared.header();
        if origin != Origin::Adopted {
            for (word, value) in [
                (&header.abi_version, ABI_VERSION),
                (&header.layout_hash, LAYOUT_HASH),
                (&header.total_bytes, bytes),
                (&header.lcores, geometry.lcores.into()),
                (&header.flows_max, geometry.flows_max.into()),
                (&header.targets_max, geometry.targets_max.into()),
                (&header.listeners_max, geometry.listeners_max.into()),
                (&header.arena_words, geometry.arena_words),
                (&header.boot_id, boot_id()),
            ] {
                word.store(value, Ordering::Relaxed);
            }
            header.magic.store(MAGIC, Ordering::Release);
        }
        header.incarnation.fetch_add(1, Ordering::AcqRel);
        header.dp_pid.store(std::process::id().into(), Ordering::Release);
        Ok(Self { shared, origin, flows: Some(flows), _file: file })
    }

    /// How the process came to it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its sizes.
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// The header, to be written where it says so.
    pub fn header(&self) -> &'static SegmentHeader {
        self.shared.header()
    }

    /// An lcore's header.
    ///
    /// # Panics
    /// When there is no such lcore (as do the next three).
    pub fn lcore_header(&self, lcore: u16) -> &'static LcoreHeader {
        self.shared.lcore_header(lcore)
    }

    /// An lcore's commands. Take it once.
    pub fn commands(&self, lcore: u16) -> Consumer<'static> {
        self.shared.command_ring(lcore).consumer()
    }

    /// An lcore's events. Take it once.
    pub fn events(&self, lcore: u16) -> Producer<'static> {
        self.shared.event_ring(lcore).producer()
    }

    /// An lcore's counters.
    pub fn counters(&self, lcore: u16) -> LcoreCounters<'static> {
        self.shared.counters(lcore)
    }

    /// The flow entries, one slice per lcore. They are handed out once.
    pub fn take_flows(&mut self) -> Option<Vec<&'static mut [FlowEntry]>> {
        self.flows.take()
    }

    /// The announced generation, if it has not been consumed yet.
    pub fn pending_generation(&self) -> Option<u64> {
        let header = self.shared.header();
        let announced = header.announced.load(Ordering::Acquire) >> 1;
        (announced != 0 && announced != header.consumed.load(Ordering::Relaxed)).then_some(announced)
    }

    /// Copies the announced snapshot out and checks it. `None`: nothing was ever announced.
    pub fn read_snapshot(&self) -> Option<Result<Snapshot, SnapshotError>> {
        let announced = self.shared.header().announced.load(Ordering::Acquire);
        if announced == 0 {
            return None;
        }
        let arena = self.shared.arena(announced & 1);
        // The third word is the length; a wrong one is found by the checksum.
        let length = (arena[2].load(Ordering::Relaxed) as usize).min(arena.len());
        let words: Vec<u64> = arena[..length].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        Some(Snapshot::decode(&words, announced >> 1, self.shared.limits()))
    }

    /// Says that a generation was read and handed to all lcores, or refused.
    pub fn consume(&self, generation: u64, accepted: bool) {
        let header = self.shared.header();
        if !accepted {
            header.refused.store(generation, Ordering::Relaxed);
        }
        header.consumed.store(generation, Ordering::Release);
    }
}

fn lock(file: &File, path: &Path) -> Result<(), SegmentError> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            SegmentError::Locked(path.to_owned())
        } else {
            io_error(path, "lock it")(error.into())
        }
    })
}

/// Whether the file is a segment whose maker was killed before it was finished: it starts with zeros.
fn unborn(file: &File, path: &Path) -> Result<bool, SegmentError> {
    let length = file.metadata().map_err(io_error(path, "read its size"))?.len();
    if !length.is_multiple_of(crate::layout::FLOW_ALIGN) || length == 0 {
        return Ok(false);
    }
    let start = map(file, path, 0, crate::layout::FLOW_ALIGN)?;
    // SAFETY: as in `identify`.
    let header = unsafe { &*start.cast::<SegmentHeader>() };
    Ok(header.magic.load(Ordering::Acquire) == 0)
}

fn map_flows(file: &File, path: &Path, shared: &Shared) -> Result<Vec<&'static mut [FlowEntry]>, SegmentError> {
    let start = map(file, path, shared.offsets.flows, shared.offsets.end - shared.offsets.flows)?.cast::<FlowEntry>();
    let flows_max = shared.geometry.flows_max as usize;
    Ok((0..usize::from(shared.geometry.lcores))
        .map(|lcore| {
            // SAFETY: needed to use mapped memory at all. The parts do not overlap, lie inside the mapping (`Offsets::of`), which
            // is page-aligned and never unmapped, and `FlowEntry` is plain data valid for every bit pattern (`FromBytes`). This
            // process has them for itself: the file is locked, the control plane maps only what comes before, and the slices
            // are made once per segment.
            unsafe { std::slice::from_raw_parts_mut(start.add(lcore * flows_max), flows_max) }
        })
        .collect())
}

/// Why a snapshot was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The data plane has not read the previous one yet. Try again; meanwhile changes may pile up.
    #[error("the data plane has not taken generation {0} yet")]
    Busy(u64),
    /// It does not fit.
    #[error("the configuration needs {needed} words of the arena, which has {available}: start leat-dp with a larger --arena-mib")]
    TooLarge {
        /// Words of the snapshot.
        needed: usize,
        /// Words of an arena slot.
        available: usize,
    },
}

/// The control plane's side.
#[derive(Debug)]
pub struct ControlSegment {
    shared: Shared,
    path: PathBuf,
    file: File,
}

impl ControlSegment {
    /// Attaches to the segment at `path`.
    ///
    /// # Errors
    /// There is none, or it has another layout.
    pub fn attach(path: &Path) -> Result<Self, SegmentError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error(path, "open it"))?;
        let (geometry, _) = identify(&file, path)?;
        Ok(Self { shared: map_shared(&file, path, geometry)?, path: path.to_owned(), file })
    }

    /// Whether the file at the path is still the one that is mapped. If not, attach anew.
    pub fn is_current(&self) -> bool {
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(at_path), Ok(mapped)) => (at_path.dev(), at_path.ino()) == (mapped.dev(), mapped.ino()),
            _ => false,
        }
    }

    /// Its sizes.
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// What the snapshot's indices may be.
    pub fn limits(&self) -> Limits {
        self.shared.limits()
    }

    /// The header.
    pub fn header(&self) -> &'static SegmentHeader {
        self.shared.header()
    }

    /// An lcore's header.
    ///
    /// # Panics
    /// When there is no such lcore (as do the next three).
    pub fn lcore_header(&self, lcore: u16) -> &'static LcoreHeader {
        self.shared.lcore_header(lcore)
    }

    /// The way to give an lcore commands. Take it once.
    pub fn commands(&self, lcore: u16) -> Producer<'static> {
        self.shared.command_ring(lcore).producer()
    }

    /// An lcore's events. Take it once.
    pub fn events(&self, lcore: u16) -> Consumer<'static> {
        self.shared.event_ring(lcore).consumer()
    }

    /// An lcore's counters.
    pub fn counters(&self, lcore: u16) -> LcoreCounters<'static> {
        self.shared.counters(lcore)
    }

    /// The generation announced last, by this process or one before it; 0: none.
    pub fn announced_generation(&self) -> u64 {
        self.shared.header().announced.load(Ordering::Acquire) >> 1
    }

    /// The newest generation that every lcore works with (0: none).
    pub fn acknowledged_generation(&self) -> u64 {
        let lcores = 0..self.shared.geometry.lcores;
        lcores.map(|lcore| self.lcore_header(lcore).generation.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Writes a snapshot, whose generation must be greater than the announced one, into the free arena slot and announces it.
    ///
    /// # Errors
    /// The data plane has not read the previous one yet, or there is no room. Nothing was changed then.
    ///
    /// # Panics
    /// When the generation does not grow.
    pub fn publish(&mut self, snapshot: &Snapshot) -> Result<(), PublishError> {
        let header = self.shared.header();
        let announced = header.announced.load(Ordering::Acquire);
        let previous = announced >> 1;
        assert!(snapshot.generation > previous, "generation {} after {previous}", snapshot.generation);
        if header.consumed.load(Ordering::Acquire) != previous {
            return Err(PublishError::Busy(previous));
        }
        let words = snapshot.encode();
        let slot = (announced & 1) ^ 1;
        let arena = self.shared.arena(slot);
        if words.len() > arena.len() {
            return Err(PublishError::TooLarge { needed: words.len(), available: arena.len() });
        }
        for (word, value) in arena.iter().zip(&words) {
            word.store(*value, Ordering::Relaxed);
        }
        header.announced.store(snapshot.generation << 1 | slot, Ordering::Release);
        Ok(())
    }
}

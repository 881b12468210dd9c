//! The segment: a file, mapped by both processes.
//!
//! `leat-dp` makes it (or adopts the one it finds) and holds an exclusive lock on it; `leat-cp` attaches to it. Mappings live
//! as long as the process: what they lend is `'static`. `unsafe` is here for turning mapped bytes into references.
//!
//! A segment gets its name when it is complete: it is made as a file without a name and linked to its path with one system call. A
//! process killed while it makes one leaves nothing behind, and what is found at the path is a whole segment or somebody else's
//! file, which is left alone.
//!
//! The file lies in tmpfs or hugetlbfs. Of what these do differently: hugetlbfs knows no `read` of parts of a page, sizes and offsets
//! are multiples of the huge page, and memory that is missing is a signal at the first access; so everything is read through the
//! mapping, everything is a multiple of 2 MiB, and all memory is reserved before the segment is used. Who makes the file
//! shorter kills those who map it; neither side does.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, OFlags};

use crate::arena::{self, Arena};
use crate::counters::{LCORE_WORDS, LISTENER_WORDS, LcoreCounters, TARGET_WORDS};
use crate::flow::FlowEntry;
use crate::flow_memory::{FlowMemory, LINES_MAX};
use crate::layout::{
    ABI_VERSION, COMMAND_MESSAGES, EVENT_MESSAGES, FLOW_ALIGN, LAYOUT_HASH, LCORES_MAX, LcoreHeader, MAGIC, Offsets,
    PORTS_MAX, SegmentHeader, lcore_block,
};
use crate::pages;
use crate::ring::{Consumer, MESSAGE_WORDS, Producer, Ring, RingControl};
use crate::snapshot::{Limits, Snapshot, SnapshotError};

pub use crate::arena::PublishError;

const WORD: u64 = 8;

/// The sizes that are chosen when a segment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Polling lcores, 1–64.
    pub lcores: u16,
    /// Flow entries per lcore, 64–2³⁰; one with a second line counts twice.
    pub flows_max: u32,
    /// Of these, the ones with a second line, which flows with IPv6 need: 0–`flows_max`.
    pub wide_flows_max: u32,
    /// Target slots, 1–65 535.
    pub targets_max: u16,
    /// Listener slots, 1–65 535.
    pub listeners_max: u16,
    /// Words in one of the two arena slots: a snapshot's size at the most.
    pub arena_words: u64,
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lcores, flows_max, wide_flows_max, targets_max, listeners_max, arena_words } = self;
        write!(
            f,
            "lcores {lcores}, flows-max {flows_max}, ipv6-flows-max {wide_flows_max}, targets-max {targets_max}, listeners-max {listeners_max}, arena-mib {}",
            (arena_words * WORD) >> 20
        )
    }
}

impl Geometry {
    fn check(&self) -> Result<(), SegmentError> {
        let bad = |what, value: u64| Err(SegmentError::Geometry { what, value });
        match self {
            g if !(1..=LCORES_MAX as u16).contains(&g.lcores) => bad("lcores must be 1 to 64", g.lcores.into()),
            g if !(64..=1 << 30).contains(&g.flows_max) => bad("flows_max must be 64 to 2^30", g.flows_max.into()),
            g if g.wide_flows_max > g.flows_max => {
                bad("wide_flows_max must be 0 to flows_max", g.wide_flows_max.into())
            }
            g if u64::from(g.flows_max) + u64::from(g.wide_flows_max) > LINES_MAX => {
                bad("flows_max and wide_flows_max together must be at most 2^30", g.wide_flows_max.into())
            }
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
    /// Another control plane has it.
    #[error("segment {0}: another leat-cp is attached to it; stop that one first")]
    ControlLocked(PathBuf),
    /// There is none.
    #[error("segment {0}: there is none; leat-dp makes it: is it running, with this --segment?")]
    Absent(PathBuf),
    /// Somebody else made it, who could change flows while they are in use.
    #[error("segment {path}: it belongs to user {owner}; run leat-dp as that user, or remove the file")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// It is something else.
    #[error("segment {0}: not a Leat segment; give another --segment, or remove the file if nothing else needs it")]
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
        "segment {path}: it was made for {found}, asked for is {wanted}. Start leat-dp with the same numbers, \
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

/// A struct that both processes may see in the mapping.
///
/// # Safety
/// It is `repr(C)` and made of `AtomicU64` alone.
unsafe trait SharedStruct {}
// SAFETY: `repr(C)`, words and `PortBlock`s, which are `repr(C)` and words.
unsafe impl SharedStruct for SegmentHeader {}
// SAFETY: `repr(C)`, words.
unsafe impl SharedStruct for LcoreHeader {}
// SAFETY: `repr(C)`, words.
unsafe impl SharedStruct for RingControl {}

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
    fn at<T: SharedStruct>(&self, offset: u64) -> &'static T {
        let words = self.words(offset, size_of::<T>() / WORD as usize);
        assert!(words.as_ptr().cast::<T>().is_aligned());
        // SAFETY: needed to see mapped words as a shared struct. A `SharedStruct` is made of `AtomicU64` alone, so every bit
        // pattern is valid and concurrent writes are atomic; `words` covers its size, its alignment is checked, and the mapping is
        // never unmapped.
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

    fn arena(&self) -> Arena<'static> {
        let header = self.header();
        let words = self.geometry.arena_words;
        let slot = |slot: u64| self.words(self.offsets.arena + slot * words * WORD, words as usize);
        Arena {
            announced: &header.announced,
            consumed: &header.consumed,
            refused: &header.refused,
            slots: [slot(0), slot(1)],
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            targets_max: self.geometry.targets_max,
            listeners_max: self.geometry.listeners_max,
            ports: self.header().ports.load(Ordering::Acquire).min(PORTS_MAX as u64) as u8,
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

/// Maps `bytes` of the file at `offset`.
fn map(file: &File, path: &Path, offset: u64, bytes: u64) -> Result<MmapRaw, SegmentError> {
    MmapOptions::new().offset(offset).len(bytes as usize).map_raw(file).map_err(io_error(path, "map it"))
}

/// The start of a mapping that is never unmapped.
fn forever(raw: MmapRaw) -> *mut u8 {
    Box::leak(Box::new(raw)).as_mut_ptr()
}

/// The header, mapped for a moment: it may be looked at often, by a control plane that waits for a data plane.
struct HeaderView(MmapRaw);

impl HeaderView {
    /// Maps the file's first `bytes`, at least a header.
    fn of(file: &File, path: &Path, bytes: u64) -> Result<Self, SegmentError> {
        assert!(bytes >= size_of::<SegmentHeader>() as u64);
        Ok(Self(map(file, path, 0, bytes)?))
    }

    fn header(&self) -> &SegmentHeader {
        // SAFETY: as in `Shared::at`: a header's bytes are mapped, from a page's start, as long as `self` lives.
        unsafe { &*self.0.as_ptr().cast::<SegmentHeader>() }
    }
}

fn map_shared(file: &File, path: &Path, geometry: Geometry) -> Result<Shared, SegmentError> {
    let offsets = Offsets::of(&geometry);
    let start = forever(map(file, path, 0, offsets.flows)?);
    // SAFETY: needed to use mapped memory at all. The mapping starts on a page, is `offsets.flows` bytes long and never
    // unmapped; it is only ever seen as atomics, for which every bit pattern is valid and concurrent access is defined.
    let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), (offsets.flows / WORD) as usize) };
    Ok(Shared { words, geometry, offsets })
}

/// Opens the segment at `path`; `None`: there is none. Never follows a link in the last part of the path.
fn open(path: &Path) -> Result<Option<File>, SegmentError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    match OpenOptions::new().read(true).write(true).custom_flags(flags as i32).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, "open it")(error)),
    }
}

/// Whether the path still names this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Reads the identity of a segment: its geometry and boot, or why it cannot be used.
fn identify(file: &File, path: &Path) -> Result<(Geometry, u64), SegmentError> {
    let metadata = file.metadata().map_err(io_error(path, "read its size"))?;
    let length = metadata.len();
    if !metadata.is_file() || length < size_of::<SegmentHeader>() as u64 {
        return Err(SegmentError::NotASegment(path.to_owned()));
    }
    let view = HeaderView::of(file, path, FLOW_ALIGN.min(length))?;
    let header = view.header();
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
        wide_flows_max: u32::try_from(read(&header.wide_flows_max)).unwrap_or(u32::MAX),
        targets_max: narrow(read(&header.targets_max)),
        listeners_max: narrow(read(&header.listeners_max)),
        arena_words: read(&header.arena_words),
    };
    geometry.check()?;
    if Offsets::of(&geometry).end > length {
        return Err(SegmentError::Geometry {
            what: "the segment's file is shorter than its header says; start leat-dp with --discard-flows",
            value: length,
        });
    }
    Ok((geometry, read(&header.boot_id)))
}

/// Names the boot of the machine.
fn boot_id() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.bytes().filter_map(|b| char::from(b).to_digit(16)).fold(0, |sum: u64, d| sum.rotate_left(4) ^ u64::from(d))
}

/// A random number that is not 0.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) | 1
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
    flows: Option<Vec<FlowMemory<'static>>>,
    /// Ports, as this process knows them.
    ports: Option<u8>,
}

impl DataSegment {
    /// Makes the segment, or adopts the one at `path`. With `discard`, a segment that is there is replaced, also one of another
    /// layout; what is not a segment never is. It is this process's until the process ends.
    ///
    /// # Errors
    /// Another data plane holds it, it has another layout or geometry, or there is no memory for it.
    pub fn create_or_adopt(path: &Path, geometry: Geometry, discard: bool) -> Result<Self, SegmentError> {
        geometry.check()?;
        // Again when the path has got another file since it was looked at.
        for _ in 0..16 {
            let mut origin = Origin::Created;
            // Holds the lock on what is replaced until its successor is there.
            let mut replaced = None;
            if let Some(file) = open(path)? {
                lock(&file, path)?;
                if !is_at(&file, path) {
                    continue;
                }
                origin = judge(&file, path, &geometry, discard)?;
                if origin == Origin::Adopted {
                    return Self::take_over(&file, path, geometry, origin);
                }
                free_flows(&file, path);
                // A new file, not the old one emptied: whoever still maps the old one keeps it and notices.
                std::fs::remove_file(path).map_err(io_error(path, "replace it"))?;
                replaced = Some(file);
            }
            let made = make(path, &geometry)?;
            drop(replaced);
            if let Some(file) = made {
                return Self::take_over(&file, path, geometry, origin);
            }
        }
        Err(SegmentError::Locked(path.to_owned()))
    }

    /// Maps a segment that is locked and complete.
    fn take_over(file: &File, path: &Path, geometry: Geometry, origin: Origin) -> Result<Self, SegmentError> {
        let shared = map_shared(file, path, geometry)?;
        let flows = map_flows(file, path, &shared)?;
        for lcore in 0..geometry.lcores {
            let header = shared.lcore_header(lcore);
            header.running.store(0, Ordering::Relaxed);
            header.longest_loop.store(0, Ordering::Relaxed);
        }
        let header = shared.header();
        header.incarnation.fetch_add(1, Ordering::AcqRel);
        header.dp_pid.store(std::process::id().into(), Ordering::Release);
        Ok(Self { shared, origin, flows: Some(flows), ports: None })
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

    /// The flows' memory, one part per lcore. It is handed out once.
    pub fn take_flows(&mut self) -> Option<Vec<FlowMemory<'static>>> {
        self.flows.take()
    }

    /// Says how many ports there are, to the control plane and to the check of snapshots: from now on none is accepted that names
    /// another port, whatever the header says.
    pub fn set_ports(&mut self, ports: u8) {
        self.ports = Some(ports);
        self.header().ports.store(ports.into(), Ordering::Release);
    }

    /// The announced generation, if it has not been consumed yet.
    pub fn pending_generation(&self) -> Option<u64> {
        self.shared.arena().pending_generation()
    }

    /// Copies the announced snapshot out and checks it. `None`: nothing was ever announced.
    pub fn read_snapshot(&self) -> Option<Result<Snapshot, SnapshotError>> {
        self.read_announced().map(|(_, snapshot)| snapshot)
    }

    /// As [`Self::read_snapshot`], with the generation that was read: the one to [consume](Self::consume), good or not.
    pub fn read_announced(&self) -> Option<(u64, Result<Snapshot, SnapshotError>)> {
        let (generation, words) = self.shared.arena().copy_out()?;
        let limits = self.shared.limits();
        let limits = Limits { ports: self.ports.unwrap_or(limits.ports), ..limits };
        Some((generation, Snapshot::decode(&words, generation, limits)))
    }

    /// Says that a generation was read and handed to all lcores, or refused.
    pub fn consume(&self, generation: u64, accepted: bool) {
        self.shared.arena().consume(generation, accepted);
    }
}

/// What to do with the file at the path, which this process has locked. It is removed unless it is adopted.
fn judge(file: &File, path: &Path, geometry: &Geometry, discard: bool) -> Result<Origin, SegmentError> {
    let metadata = file.metadata().map_err(io_error(path, "read its size"))?;
    if metadata.is_file() && metadata.len() == 0 {
        return Ok(Origin::Created);
    }
    let identity = identify(file, path);
    if let Err(SegmentError::NotASegment(_) | SegmentError::Io { .. }) = identity {
        return identity.map(|_| Origin::Replaced);
    }
    if discard {
        return Ok(Origin::Replaced);
    }
    let (found, boot) = identity?;
    if boot != boot_id() {
        return Ok(Origin::Replaced);
    }
    if found != *geometry {
        return Err(SegmentError::OtherGeometry { path: path.to_owned(), found, wanted: *geometry });
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(SegmentError::Foreign { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(Origin::Adopted)
}

/// Gives the memory of the old flows back at once: a control plane that has the rest mapped would keep it all. Best effort.
fn free_flows(file: &File, path: &Path) {
    if let Ok((geometry, _)) = identify(file, path) {
        let Offsets { flows, end, .. } = Offsets::of(&geometry);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(file, punch, flows, end - flows);
    }
}

/// Makes an empty segment, locks it and gives it its name. `None`: the path has got a file meanwhile.
fn make(path: &Path, geometry: &Geometry) -> Result<Option<File>, SegmentError> {
    let bytes = Offsets::of(geometry).end;
    let file = nameless_file(path)?;
    lock(&file, path)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)
        .map_err(|e| io_error(path, "reserve memory for it (lower --flows-max, or free some)")(e.into()))?;
    let view = HeaderView::of(&file, path, FLOW_ALIGN)?;
    let header = view.header();
    for (word, value) in [
        (&header.abi_version, ABI_VERSION),
        (&header.layout_hash, LAYOUT_HASH),
        (&header.total_bytes, bytes),
        (&header.lcores, geometry.lcores.into()),
        (&header.flows_max, geometry.flows_max.into()),
        (&header.wide_flows_max, geometry.wide_flows_max.into()),
        (&header.targets_max, geometry.targets_max.into()),
        (&header.listeners_max, geometry.listeners_max.into()),
        (&header.arena_words, geometry.arena_words),
        (&header.boot_id, boot_id()),
        (&header.owner_key, random()),
    ] {
        word.store(value, Ordering::Relaxed);
    }
    header.magic.store(MAGIC, Ordering::Release);
    drop(view);
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::EXIST) => Ok(None),
        Err(error) => Err(io_error(path, "give it its name")(error.into())),
    }
}

/// A file in the path's directory that has no name yet and is gone when the process ends before it gets one.
fn nameless_file(path: &Path) -> Result<File, SegmentError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::TMPFILE.bits() as i32)
        .mode(0o600)
        .open(directory)
        .map_err(io_error(path, "make a file in its directory (which has to be a tmpfs or hugetlbfs)"))?;
    let page = rustix::fs::fstatfs(&file).map_err(|e| io_error(path, "look at its file system")(e.into()))?.f_bsize;
    if u64::try_from(page).is_ok_and(|page| page > FLOW_ALIGN) {
        let message =
            format!("its pages have {page} bytes, more than {FLOW_ALIGN}: mount a hugetlbfs with pagesize=2M");
        return Err(io_error(path, "use its file system")(io::Error::new(io::ErrorKind::Unsupported, message)));
    }
    Ok(file)
}

/// Takes the lock that makes this process the data plane. It is the open file's, and mappings keep a file open when its descriptor
/// is closed: once the segment is mapped, the lock stays until the process ends.
fn lock(file: &File, path: &Path) -> Result<(), SegmentError> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            SegmentError::Locked(path.to_owned())
        } else {
            io_error(path, "lock it")(error.into())
        }
    })
}

fn map_flows(file: &File, path: &Path, shared: &Shared) -> Result<Vec<FlowMemory<'static>>, SegmentError> {
    let offsets = &shared.offsets;
    let start = pages::map_forever(file, offsets.flows, (offsets.end - offsets.flows) as usize)
        .map_err(io_error(path, "map its flows"))?;
    let Geometry { lcores, flows_max, wide_flows_max, .. } = shared.geometry;
    let count = flows_max as usize + wide_flows_max as usize;
    Ok((0..u64::from(lcores))
        .map(|lcore| {
            let offset = lcore * offsets.flow_stride + offsets.flow_padding;
            // SAFETY: needed to use mapped memory at all. The parts do not overlap, lie inside the mapping (`Offsets::of`), which
            // is page-aligned and never unmapped, and `FlowEntry` is plain data valid for every bit pattern (`FromBytes`). This process
            // has them for itself: the file stays locked as long as it is mapped (`lock`), so that this is done once per segment, by
            // one process; the control plane maps only what comes before.
            let lines =
                unsafe { std::slice::from_raw_parts_mut(start.add(offset as usize).cast::<FlowEntry>(), count) };
            FlowMemory::new(lines, wide_flows_max as usize)
        })
        .collect())
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
    /// There is none ([`SegmentError::Absent`]: try again later), it has another layout, or another control plane has it.
    pub fn attach(path: &Path) -> Result<Self, SegmentError> {
        let file = open(path)?.ok_or_else(|| SegmentError::Absent(path.to_owned()))?;
        let (geometry, _) = identify(&file, path)?;
        // Another kind of lock than the data plane's, on the same file: one writer for each word on this side too. It is the
        // process's, not this value's.
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS => SegmentError::ControlLocked(path.to_owned()),
            error => io_error(path, "lock it")(error.into()),
        })?;
        Ok(Self { shared: map_shared(&file, path, geometry)?, path: path.to_owned(), file })
    }

    /// Whether the file at the path is still the one that is mapped. If not, attach anew.
    pub fn is_current(&self) -> bool {
        is_at(&self.file, &self.path)
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
        self.shared.arena().announced_generation()
    }

    /// The newest generation that every lcore works with (0: none).
    pub fn acknowledged_generation(&self) -> u64 {
        arena::acknowledged((0..self.shared.geometry.lcores).map(|lcore| &self.lcore_header(lcore).generation))
    }

    /// Writes a snapshot, whose generation must be greater than the announced one, into the free arena slot and announces it.
    ///
    /// # Errors
    /// The data plane has not read the previous one yet, or there is no room. Nothing was changed then.
    ///
    /// # Panics
    /// When the generation does not grow, or reaches 2⁶³.
    pub fn publish(&mut self, snapshot: &Snapshot) -> Result<(), PublishError> {
        self.shared.arena().publish(snapshot.generation, || snapshot.encode())
    }
}

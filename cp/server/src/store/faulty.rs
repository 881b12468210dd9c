//! A disk in memory that can fail, and lose what was not synced: two files, of which one can take the other's place.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::place::Place;
use super::{RedbStore, StoreError};

const PAGE: usize = 4096;

/// A file's content: a base that many can share, and the pages that differ from it.
#[derive(Clone, Debug, Default)]
pub struct Content {
    base: Arc<Vec<u8>>,
    pages: BTreeMap<usize, Box<[u8; PAGE]>>,
    length: usize,
}

impl Content {
    /// Its length.
    pub fn len(&self) -> usize {
        self.length
    }

    fn page(&self, number: usize) -> Option<&[u8]> {
        let start = number * PAGE;
        self.pages.get(&number).map(|page| &page[..]).or_else(|| self.base.get(start..))
    }

    /// Reads what there is; nothing was written to the rest, which is zero.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let (number, skip) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let count = (PAGE - skip).min(out.len() - done);
            let piece = &mut out[done..done + count];
            piece.fill(0);
            if let Some(page) = self.page(number).and_then(|page| page.get(skip..)) {
                let known = page.len().min(count);
                piece[..known].copy_from_slice(&page[..known]);
            }
            done += count;
        }
    }

    /// Writes, within the length or not.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        self.length = self.length.max(offset + data.len());
        let mut done = 0;
        while done < data.len() {
            let (number, skip) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let count = (PAGE - skip).min(data.len() - done);
            if !self.pages.contains_key(&number) {
                let mut page = Box::new([0; PAGE]);
                self.read(number * PAGE, &mut page[..]);
                self.pages.insert(number, page);
            }
            if let Some(page) = self.pages.get_mut(&number) {
                page[skip..skip + count].copy_from_slice(&data[done..done + count]);
            }
            done += count;
        }
    }

    /// Makes it shorter or longer.
    pub fn resize(&mut self, length: usize) {
        if length < self.length {
            let kept = length.div_ceil(PAGE);
            self.pages.retain(|number, _| *number < kept);
            if self.base.len() > length {
                Arc::make_mut(&mut self.base).truncate(length);
            }
            if let Some(page) = self.pages.get_mut(&(length / PAGE)) {
                page[length % PAGE..].fill(0);
            }
        }
        self.length = length;
    }

    /// Flips a bit.
    pub fn flip(&mut self, bit: usize) {
        let mut byte = [0];
        self.read(bit / 8, &mut byte);
        self.write(bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
    }

    /// The same, cheaper to copy.
    pub fn flat(&self) -> Self {
        let mut base = vec![0; self.length];
        self.read(0, &mut base);
        Self { base: Arc::new(base), pages: BTreeMap::new(), length: self.length }
    }
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The store.
    File,
    /// The one beside it.
    Beside,
}

/// What was done to the disk.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes were written.
    Write(Which, usize, Vec<u8>),
    /// A file got another length. A file system's journal keeps lengths in order.
    Resize(Which, usize),
    /// What was written until now is safe.
    Sync(Which),
    /// What was written until now may be safe or not, and is not written again.
    FailedSync(Which),
    /// The file beside has become the store.
    Install,
}

/// The disk's state.
#[derive(Debug, Default)]
pub struct Disk {
    /// The two files as the process sees them. Opened files stay the same when one takes the other's place.
    files: [Arc<Mutex<Content>>; 2],
    /// What was done, if that is kept.
    pub log: Option<Vec<Event>>,
    /// How often something was synced.
    syncs: usize,
    /// All writes and syncs fail.
    failing: bool,
    /// So many writes and syncs succeed, then one fails.
    fail_after: Option<usize>,
}

/// A shared [`Disk`].
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Disk>>);

impl FaultyDisk {
    /// A disk with this store.
    pub fn with(content: Content) -> Self {
        let disk = Self::default();
        *disk.file(Which::File).lock().expect("the file") = content;
        disk
    }

    /// Opens a store on it.
    pub fn store(&self) -> Result<RedbStore, StoreError> {
        RedbStore::open_in(Path::new("test.redb"), Box::new(self.clone()))
    }

    /// Makes writes and syncs fail, or not.
    pub fn set_failing(&self, failing: bool) {
        self.disk().failing = failing;
    }

    /// Makes one write or sync fail, after so many good ones; none if never.
    pub fn fail_after(&self, count: Option<usize>) {
        self.disk().fail_after = count;
    }

    /// How often something was synced.
    pub fn syncs(&self) -> usize {
        self.disk().syncs
    }

    /// Nobody can use the disk until the guard is dropped.
    pub fn pause(&self) -> MutexGuard<'_, Disk> {
        self.disk()
    }

    /// Keeps what is done from now on.
    pub fn keep_log(&self) {
        self.disk().log = Some(Vec::new());
    }

    /// How much was done since.
    pub fn log_length(&self) -> usize {
        self.disk().log.as_ref().map_or(0, Vec::len)
    }

    /// What was done since.
    pub fn take_log(&self) -> Vec<Event> {
        self.disk().log.take().unwrap_or_default()
    }

    /// The store's file as the process sees it.
    pub fn content(&self) -> Content {
        self.file(Which::File).lock().expect("the file").flat()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("the disk")
    }

    fn file(&self, which: Which) -> Arc<Mutex<Content>> {
        self.disk().files[which as usize].clone()
    }

    fn opened(&self, which: Which) -> Result<Database, DatabaseError> {
        let file = File { disk: self.clone(), content: self.file(which) };
        Builder::new().set_cache_size(1 << 20).create_with_backend(file)
    }
}

impl Disk {
    fn may_write(&mut self) -> io::Result<()> {
        let is_last = self.fail_after == Some(0);
        self.fail_after = self.fail_after.and_then(|count| count.checked_sub(1));
        if self.failing || is_last { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn note(&mut self, event: Event) {
        self.log.iter_mut().for_each(|log| log.push(event.clone()));
    }

    /// Which of the two files one is by now; none: it was replaced.
    fn which(&self, content: &Arc<Mutex<Content>>) -> Option<Which> {
        [Which::File, Which::Beside].into_iter().find(|which| Arc::ptr_eq(&self.files[*which as usize], content))
    }
}

impl Place for FaultyDisk {
    fn read(&mut self) -> Result<Vec<u8>, DatabaseError> {
        let content = self.file(Which::File);
        let content = content.lock().expect("the file");
        let mut bytes = vec![0; content.len()];
        content.read(0, &mut bytes);
        Ok(bytes)
    }

    fn beside(&self) -> Result<Database, DatabaseError> {
        self.disk().may_write()?;
        self.disk().files[Which::Beside as usize] = Arc::default();
        self.disk().note(Event::Resize(Which::Beside, 0));
        self.opened(Which::Beside)
    }

    fn install(&mut self, _: Option<&str>) -> io::Result<()> {
        let mut disk = self.disk();
        disk.may_write()?;
        disk.files[Which::File as usize] = std::mem::take(&mut disk.files[Which::Beside as usize]);
        disk.note(Event::Install);
        Ok(())
    }
}

/// An open file.
#[derive(Debug)]
struct File {
    disk: FaultyDisk,
    content: Arc<Mutex<Content>>,
}

impl File {
    fn change(&self, change: impl FnOnce(&mut Content), event: impl FnOnce(Which) -> Event) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.may_write()?;
        change(&mut self.content.lock().expect("the file"));
        if let Some(which) = disk.which(&self.content) {
            disk.note(event(which));
        }
        Ok(())
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().expect("the file").len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content.lock().expect("the file");
        if offset as usize + out.len() > content.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(offset as usize, out);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|content| content.resize(length as usize), |which| Event::Resize(which, length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let (result, which) = (disk.may_write(), disk.which(&self.content));
        disk.syncs += 1;
        if let Some(which) = which {
            disk.note(if result.is_ok() { Event::Sync(which) } else { Event::FailedSync(which) });
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(
            |content| content.write(offset as usize, data),
            |which| Event::Write(which, offset as usize, data.to_vec()),
        )
    }
}

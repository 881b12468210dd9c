//! A disk in memory that can fail, and lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{Builder, DatabaseError, StorageBackend};

use super::{RedbStore, StoreError};

const SECTOR: usize = 512;

/// Sectors by number.
pub type Sectors = BTreeMap<usize, [u8; SECTOR]>;

/// What was done to the disk since it was last synced, besides its synced content.
#[derive(Debug, Default)]
pub struct Disk {
    /// Content as the process sees it.
    pub seen: Vec<u8>,
    /// Content that is safe.
    pub synced: Vec<u8>,
    /// Sectors written since the last sync.
    pub dirty: Sectors,
    /// Every state of the disk at a sync, and the sectors written after it: where power may be lost.
    pub history: Option<Vec<(Vec<u8>, Sectors)>>,
    /// Writes and syncs fail.
    pub failing: bool,
}

/// A shared [`Disk`].
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(pub Arc<Mutex<Disk>>);

impl FaultyDisk {
    /// A disk with this content.
    pub fn with(content: Vec<u8>) -> Self {
        let disk = Disk { seen: content.clone(), synced: content, ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Opens a store on it.
    pub fn store(&self) -> Result<RedbStore, StoreError> {
        let disk = self.clone();
        let open = move || -> Result<_, DatabaseError> { Builder::new().create_with_backend(disk.clone()) };
        RedbStore::open_with(Path::new("test.redb"), Box::new(open))
    }

    /// Makes writes and syncs fail, or not.
    pub fn set_failing(&self, failing: bool) {
        self.0.lock().expect("the disk").failing = failing;
    }
}

/// The content after a power loss: what was synced, and some of the sectors written since.
pub fn after_power_loss(synced: &[u8], sectors: &Sectors, kept: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut content = synced.to_vec();
    for (n, (sector, bytes)) in sectors.iter().enumerate() {
        if kept(n) {
            let start = sector * SECTOR;
            content.resize(content.len().max(start + SECTOR), 0);
            content[start..start + SECTOR].copy_from_slice(bytes);
        }
    }
    content
}

impl Disk {
    fn note(&mut self) {
        if let Some(history) = &mut self.history {
            history.push((self.synced.clone(), self.dirty.clone()));
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.failing { Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)) } else { Ok(()) }
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("the disk").seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().expect("the disk");
        let start = offset as usize;
        let bytes = disk.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().expect("the disk");
        disk.check()?;
        disk.seen.resize(len as usize, 0);
        // A file system's journal keeps the length in order.
        disk.synced.resize(len as usize, 0);
        let sectors = len as usize / SECTOR;
        disk.dirty.retain(|sector, _| *sector < sectors);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().expect("the disk");
        disk.check()?;
        disk.note();
        disk.synced = disk.seen.clone();
        disk.dirty.clear();
        disk.note();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().expect("the disk");
        disk.check()?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        if end > disk.seen.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        disk.seen[start..end].copy_from_slice(data);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let from = sector * SECTOR;
            let mut bytes = [0; SECTOR];
            let length = SECTOR.min(disk.seen.len() - from);
            bytes[..length].copy_from_slice(&disk.seen[from..from + length]);
            disk.dirty.insert(sector, bytes);
        }
        Ok(())
    }
}

//! A store's file, read in memory. redb opens files to write to them and ends the process over some kinds of damage; here it works on a
//! copy, after a look at what it takes on trust.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Builder, Database, StorageBackend};

use super::{CACHE_BYTES, header};

/// Opens a copy, checks all of it, and that it is the newest transaction.
///
/// # Errors
/// What is wrong.
pub fn open(content: Vec<u8>) -> Result<Database, String> {
    if content.len() < header::BYTES || !header::is_older(&content) {
        return open_as(content, true);
    }
    // What counted must be good, whatever becomes of the newer one: else it is the one that is damaged.
    let counted = open_as(content.clone(), true)?;
    // Of the newer one anything may be missing, also the pages by which it made the file longer.
    open_as(content, false).or(Ok(counted))
}

fn open_as(mut content: Vec<u8>, alone: bool) -> Result<Database, String> {
    let newest = header::prepare(&mut content, alone)?;
    let content = Arc::new(Mutex::new(content));
    let opened = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(Copy(content.clone()));
    let database = opened.map_err(|error| error.to_string())?;
    // redb goes back to the transaction before when the newest one is damaged, as after a power loss within it.
    let content = content.lock().unwrap_or_else(PoisonError::into_inner);
    match newest {
        Some(newest) if !header::has(&content, newest) => Err("its last change is damaged".into()),
        _ => Ok(database),
    }
}

/// Bytes in memory.
#[derive(Debug)]
struct Copy(Arc<Mutex<Vec<u8>>>);

impl Copy {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn range(offset: u64, count: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    Ok(start..start.checked_add(count).ok_or(io::ErrorKind::UnexpectedEof)?)
}

impl StorageBackend for Copy {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|content| content.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let range = range(offset, out.len())?;
        self.with(|content| {
            out.copy_from_slice(content.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = range(length, 0)?.start;
        self.with(|content| content.resize(length, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = range(offset, data.len())?;
        self.with(|content| {
            content.get_mut(range).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
            Ok(())
        })
    }
}

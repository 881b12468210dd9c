//! Where the configuration is kept: records of text key and JSON value, changed in transactions.
//!
//! A transaction is on the disk when [`Store::commit`] returns, and whole or absent after a power loss at any moment.
//! After a failed commit nothing is known of the file's state (a failed `fsync` may have lost pages that the kernel still shows), so
//! nobody goes on with it: the caller writes everything anew with [`Store::replace`], into a file of its own that then takes the other's
//! place. Decision and proof: docs/adr/0009-durability.md.

mod copy;
mod header;
mod migrate;
mod place;
pub mod rehearse;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use place::{Directory, Place};

/// A record: key and value.
pub type Record = (String, Vec<u8>);

/// Keeps records.
pub trait Store: Send {
    /// The records that were found at the start; once.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;

    /// Writes and removes records (those without a value) in one transaction.
    ///
    /// # Errors
    /// They cannot be written. Whether they were is not known; call [`Self::replace`] before anything else.
    fn commit(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError>;

    /// Makes these all of its records, in one transaction, and trusts nothing that was written before.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn replace(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Whether [`Self::replace`] must come before anything is written: a write has failed, be it the one at the start.
    fn has_failed(&self) -> bool;
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("store {0}: another leat-cp is using it; stop that one, or give this one another --store")]
    Locked(PathBuf),
    /// It is damaged or something else.
    #[error(
        "store {path}: it is damaged, or not a store of leat-cp ({why}). \
         Put a copy of it back, or move the file away to begin with an empty configuration"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Another version wrote it.
    #[error(
        "store {path}: it has schema version {found}, this program knows version {SCHEMA}. \
         Run the version of leat-cp that wrote it, or move the file away to begin with an empty configuration"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The file system says no.
    #[error("store {path}: cannot {action}: {source}{}", hint(.source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// What to do about an error of the file system.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ". Make the directory, or give another --store",
        io::ErrorKind::PermissionDenied => ". Give leat-cp's user the right to write there, or give another --store",
        io::ErrorKind::ReadOnlyFilesystem => ". Mount the file system writable, or give another --store",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ". Free some space there",
        io::ErrorKind::IsADirectory => ". Give a file's name",
        _ => "",
    }
}

/// The version of the tables and records below.
pub const SCHEMA: u64 = 2;
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// The file is small; the rest of redb's cache would be wasted.
const CACHE_BYTES: usize = 8 << 20;

/// A store in a redb file.
///
/// The file is never opened as it is found: a start reads and checks a copy, and writes what it has read into a new file.
pub struct RedbStore {
    path: PathBuf,
    place: Box<dyn Place>,
    /// What was found at the start, until it is asked for.
    found: Vec<Record>,
    /// None when it could not be written at the start.
    database: Option<Database>,
    /// A write has failed since: nothing of the database is used any more, but as long as it is open, no other process takes the file.
    has_failed: bool,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Reads the file, if there is one, and writes it anew. One of an older version is brought to this one, and the old file kept
    /// beside it, as `.v1`. When a file of this version cannot be written anew, as on a full disk, the store can be read all the same.
    ///
    /// # Errors
    /// It cannot be used; the message says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_in(path, Box::new(Directory::new(path)))
    }

    fn open_in(path: &Path, mut place: Box<dyn Place>) -> Result<Self, StoreError> {
        let content = place.read().map_err(|error| tell(path, "open it", error.into()))?;
        let is_new = content.is_empty();
        let (version, found) = if is_new { (SCHEMA, Vec::new()) } else { read(path, content)? };
        let (found, keep) = match version {
            SCHEMA => (found, None),
            1 => {
                let migrated = migrate::from_1(found);
                (migrated.map_err(|why| StoreError::Damaged { path: path.to_owned(), why })?, Some(".v1"))
            }
            found => return Err(StoreError::Version { path: path.to_owned(), found }),
        };
        let mut store = Self { path: path.to_owned(), place, found, database: None, has_failed: false };
        let records = std::mem::take(&mut store.found);
        let written = store.write_anew(&records, keep);
        store.found = records;
        match (written, keep) {
            (Ok(()), Some(end)) => tracing::info!(
                "store {0}: brought from version {version} to {SCHEMA}; the old file is kept as {0}{end}",
                path.display()
            ),
            (Ok(()), None) => {}
            (Err(error), None) if !is_new => tracing::error!("nothing can be changed: {error}"),
            (Err(error), _) => return Err(error),
        }
        Ok(store)
    }

    /// Writes all records into a new file, which then takes the other's place.
    fn write_anew(&mut self, records: &[Record], keep: Option<&str>) -> Result<(), StoreError> {
        let mut write = || -> Result<_, redb::Error> {
            let database = self.place.beside()?;
            fill(&database, records)?;
            self.place.install(keep)?;
            Ok(database)
        };
        let result = write();
        self.has_failed = result.is_err();
        match result {
            Ok(database) => {
                self.database = Some(database);
                Ok(())
            }
            Err(error) => {
                self.place.discard();
                Err(tell(&self.path, "write it", error))
            }
        }
    }
}

/// Version and records of a file.
fn read(path: &Path, content: Vec<u8>) -> Result<(u64, Vec<Record>), StoreError> {
    let database = copy::open(content).map_err(|why| StoreError::Damaged { path: path.to_owned(), why })?;
    let read = || -> Result<_, redb::Error> {
        let version = version(&database)?;
        Ok((version, if version <= SCHEMA { records(&database)? } else { Vec::new() }))
    };
    read().map_err(|error| tell(path, "read it", error))
}

/// What a failure of redb means for people.
fn tell(path: &Path, action: &'static str, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked(path),
        redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            StoreError::Damaged { path, why: source.to_string() }
        }
        redb::Error::Io(source) => StoreError::Io { path, action, source },
        other => StoreError::Damaged { path, why: other.to_string() },
    }
}

/// The schema's version.
fn version(database: &Database) -> Result<u64, redb::Error> {
    let table = database.begin_read()?.open_table(ABOUT)?;
    Ok(table.get("schema")?.map_or(0, |version| version.value()))
}

fn records(database: &Database) -> Result<Vec<Record>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    let records = table.iter()?.map(|record| {
        let (key, value) = record?;
        Ok((key.value().to_owned(), value.value().to_owned()))
    });
    Ok(records.collect::<Result<_, StorageError>>()?)
}

/// Writes everything into a new file.
fn fill(database: &Database, records: &[Record]) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    write.open_table(ABOUT)?.insert("schema", SCHEMA)?;
    {
        let mut table = write.open_table(RECORDS)?;
        for (key, value) in records {
            table.insert(key.as_str(), value.as_slice())?;
        }
    }
    Ok(write.commit()?)
}

fn change(database: &Database, changes: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    // What is on the disk when this returns is told from what is not by a mark that is written last. With the mark and the rest written
    // together, the last transaction could be lost to a single wrong bit, and nobody would know.
    write.set_two_phase_commit(true);
    {
        let mut table = write.open_table(RECORDS)?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    Ok(write.commit()?)
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        Ok(std::mem::take(&mut self.found))
    }

    fn commit(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let Some(database) = self.database.as_ref().filter(|_| !self.has_failed) else {
            let source = io::Error::other("an earlier write has failed");
            return Err(StoreError::Io { path: self.path.clone(), action: "write it", source });
        };
        change(database, changes).map_err(|error| {
            self.has_failed = true;
            tell(&self.path, "write it", error)
        })
    }

    fn replace(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.write_anew(records, None)
    }

    fn has_failed(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod cuts;
#[cfg(test)]
pub mod faulty;
#[cfg(test)]
mod tests;

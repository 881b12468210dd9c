//! Where the configuration is kept: records of text key and JSON value, changed in transactions.
//!
//! A transaction is on the disk when [`Store::commit`] returns, and whole or absent after a power loss at any moment.
//! After a failed commit nothing is known of the file's state (a failed `fsync` may have lost pages), so nobody goes on with it: the
//! caller writes everything anew with [`Store::replace`], which opens the file again first.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

/// A record: key and value.
pub type Record = (String, Vec<u8>);

/// Keeps records.
pub trait Store: Send {
    /// All records.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;

    /// Writes and removes records (those without a value) in one transaction.
    ///
    /// # Errors
    /// They cannot be written. Whether they were is not known; call [`Self::replace`] before anything else.
    fn commit(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError>;

    /// Opens the store anew and makes these all of its records, in one transaction.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn replace(&mut self, records: &[Record]) -> Result<(), StoreError>;
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
const SCHEMA: u64 = 1;
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// The file is small; the rest of redb's cache would be wasted.
const CACHE_BYTES: usize = 8 << 20;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A store in a redb file.
pub struct RedbStore {
    path: PathBuf,
    open: Opener,
    /// None after a failure, until the file was opened again.
    database: Option<Database>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, which is made if there is none.
    ///
    /// # Errors
    /// It cannot be used; the message says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let open = move || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            Builder::new().set_cache_size(CACHE_BYTES).create_file(options.open(&file)?)
        };
        Self::open_with(path, Box::new(open))
    }

    fn open_with(path: &Path, open: Opener) -> Result<Self, StoreError> {
        let mut store = Self { path: path.to_owned(), open, database: None };
        store.reopen()?;
        Ok(store)
    }

    /// Opens the file, checks that it is whole and of this version.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.database = None;
        let mut database = (self.open)().map_err(|error| self.error("open it", error.into()))?;
        match database.check_integrity() {
            Ok(true) => {}
            Ok(false) => tracing::warn!("store {}: repaired after a crash", self.path.display()),
            Err(error) => return Err(self.error("check it", error.into())),
        }
        let found = self.version(&database).map_err(|error| self.error("read it", error))?;
        match found {
            Some(SCHEMA) => {}
            Some(found) => return Err(StoreError::Version { path: self.path.clone(), found }),
            None => begin(&database).map_err(|error| self.error("write it", error))?,
        }
        self.database = Some(database);
        Ok(())
    }

    /// The schema's version; none in a new file.
    fn version(&self, database: &Database) -> Result<Option<u64>, redb::Error> {
        let read = database.begin_read()?;
        match read.open_table(ABOUT) {
            Ok(table) => Ok(Some(table.get("schema")?.map_or(0, |version| version.value()))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, changes: impl FnOnce(&Database) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let Some(database) = &self.database else {
            let source = io::Error::other("an earlier write has failed");
            return Err(StoreError::Io { path: self.path.clone(), action: "write it", source });
        };
        changes(database).map_err(|error| {
            self.database = None;
            self.error("write it", error)
        })
    }

    fn error(&self, action: &'static str, error: redb::Error) -> StoreError {
        let path = self.path.clone();
        match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::Locked(path),
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged { path, why: source.to_string() }
            }
            redb::Error::Io(source) => StoreError::Io { path, action, source },
            other => StoreError::Damaged { path, why: other.to_string() },
        }
    }
}

/// Writes the schema's version into a new file.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(ABOUT)?.insert("schema", SCHEMA)?;
    write.open_table(RECORDS)?;
    Ok(write.commit()?)
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let read = |database: &Database| -> Result<Vec<Record>, redb::Error> {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let records = table.iter()?.map(|record| {
                let (key, value) = record?;
                Ok((key.value().to_owned(), value.value().to_owned()))
            });
            Ok(records.collect::<Result<_, StorageError>>()?)
        };
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        read(database).map_err(|error| self.error("read it", error))
    }

    fn commit(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        self.write(|database| {
            let write = database.begin_write()?;
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
        })
    }

    fn replace(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.reopen()?;
        self.write(|database| {
            let write = database.begin_write()?;
            write.delete_table(RECORDS)?;
            {
                let mut table = write.open_table(RECORDS)?;
                for (key, value) in records {
                    table.insert(key.as_str(), value.as_slice())?;
                }
            }
            Ok(write.commit()?)
        })
    }
}

#[cfg(test)]
pub mod faulty;
#[cfg(test)]
mod tests;

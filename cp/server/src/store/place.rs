//! Where the store's file is, and how another one takes its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

use super::CACHE_BYTES;

/// A place for one file, and another one beside it.
pub trait Place: Send {
    /// What the file holds; empty if there is none. No other process gets it from then on.
    ///
    /// # Errors
    /// Another process has it, or the file system says no.
    fn read(&mut self) -> Result<Vec<u8>, DatabaseError>;

    /// Opens a new file beside it.
    ///
    /// # Errors
    /// The file system says no.
    fn beside(&self) -> Result<Database, DatabaseError>;

    /// Makes the file beside it the file, for good. What was the file is kept under a name that ends so, or forgotten.
    ///
    /// # Errors
    /// The file system says no; which of the two is the file is not known then.
    fn install(&mut self, keep: Option<&str>) -> io::Result<()>;

    /// Forgets the file beside it, which could not be written and takes up room.
    fn discard(&mut self) {}
}

/// A directory of Linux.
pub struct Directory {
    path: PathBuf,
    /// The file that was read, as long as it is the one.
    held: Option<File>,
}

impl Directory {
    /// The place of the file `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), held: None }
    }

    fn named(&self, end: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(end);
        name.into()
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Another process that has the file is found before anything is done to it.
fn lock(file: &File) -> Result<(), DatabaseError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

impl Place for Directory {
    fn read(&mut self) -> Result<Vec<u8>, DatabaseError> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        lock(&file)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        self.held = Some(file);
        Ok(content)
    }

    fn beside(&self) -> Result<Database, DatabaseError> {
        let file = options().create(true).open(self.named(".new"))?;
        lock(&file)?;
        file.set_len(0)?;
        Builder::new().set_cache_size(CACHE_BYTES).create_file(file)
    }

    fn install(&mut self, keep: Option<&str>) -> io::Result<()> {
        if let Some(end) = keep {
            let kept = self.named(end);
            match fs::remove_file(&kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::hard_link(&self.path, &kept)?,
            }
        }
        fs::rename(self.named(".new"), &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        self.held = None;
        Ok(())
    }

    fn discard(&mut self) {
        let _ = fs::remove_file(self.named(".new"));
    }
}

//! Private keys of certificates: a directory beside the store, readable by its owner alone.
//!
//! These files are the interface to the process that terminates TLS, and to nobody else: `<store>.keys/<name>.pem`, one PEM block
//! (PKCS #8, PKCS #1 or SEC 1, no password), where `<name>` is the SHA-256 of the certificate's SubjectPublicKeyInfo in DER, 64 small
//! hexadecimal digits ([`Facts::public_key`](leat_model::certificate::Facts)). A file appears whole, never changes its meaning, and is
//! there before the first and until after the last certificate that needs it; certificates that share a key share the file.
//!
//! So a crash at any moment leaves no certificate without its key: a key is on the disk before the certificate is stored, and goes
//! after it is no longer stored. Keys that no certificate needs are removed when that is known for certain: after a change that was
//! stored, or at start (but not where the store has no certificate at all). Nothing else holds a key: not the model, the store, the audit log, an answer or a core dump.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use leat_model::{Error, Model};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroizing;

use crate::state::State;

/// Why keys cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("directory of private keys {path}: cannot {action}: {source}")]
pub struct KeysError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// A private key, PEM; wiped from memory when it goes.
pub type Pem = Zeroizing<String>;

/// The directory of private keys.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Names of the files.
    files: BTreeSet<String>,
    /// Names that a certificate under way needs, or one of which it is not known whether it was stored; one may be there twice.
    pinned: Vec<String>,
    /// Names of files that certificates need and that are not there, as was told.
    missing: BTreeSet<String>,
}

const SUFFIX: &str = ".pem";
const UNFINISHED: &str = ".new";

/// Where the keys of a store are.
pub fn directory_of(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".keys");
    path.into()
}

/// Keeps this process out of core dumps, and its memory from other processes of its user.
///
/// # Errors
/// The kernel refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

impl Keys {
    /// Opens the directory, which is made if there is none, and removes what no certificate needs, unless there is no certificate at all.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(directory: PathBuf, model: &Model) -> Result<Self, KeysError> {
        let keys = Self { directory, held: Mutex::default() };
        let names = keys.prepare().map_err(|source| keys.error("open it", source))?;
        if needed(model).is_empty() && !names.is_empty() {
            // A new machine before a restore, or one whose store was moved away: these keys are somebody's only copy.
            let (directory, count) = (keys.directory.display(), names.len());
            tracing::warn!("{directory}: {count} keys are kept although the store has no certificate");
            return Ok(keys);
        }
        keys.lock().files = names;
        keys.sweep(|| Arc::new(model.clone()));
        Ok(keys)
    }

    /// Removes, from now on, what no certificate needs any more after a change.
    pub fn follow(self: &Arc<Self>, state: &Arc<State>) {
        let (keys, state_of) = (self.clone(), Arc::downgrade(state));
        state.on_change(move || {
            if let Some(state) = state_of.upgrade() {
                keys.sweep(|| state.model());
            }
        });
    }

    /// Makes the directory private, removes halves of keys, lists the names.
    fn prepare(&self) -> io::Result<BTreeSet<String>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        fs::set_permissions(&self.directory, Permissions::from_mode(0o700))?;
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(name) = name.strip_suffix(SUFFIX) {
                fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
                names.insert(name.to_owned());
            } else if name.ends_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        self.sync()?;
        Ok(names)
    }

    /// Puts a key on the disk, and keeps it there while `store` stores the certificate that needs it. What `store` says is the result.
    ///
    /// # Errors
    /// The key cannot be written ([`Code::ServiceUnavailable`](leat_model::Code)), or `store` fails.
    pub fn keep<T>(&self, name: &str, key: &Pem, store: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.lock().pinned.push(name.to_owned());
        let result = self.write(name, key).and_then(|()| store());
        // Whether a store that has failed has the certificate is not known until it is read again: the key stays that long.
        if !matches!(&result, Err(error) if error.code == leat_model::Code::ServiceUnavailable) {
            let mut held = self.lock();
            if let Some(at) = held.pinned.iter().position(|pinned| pinned == name) {
                held.pinned.swap_remove(at);
            }
        }
        result
    }

    fn write(&self, name: &str, key: &Pem) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            let (temporary, path) = (self.directory.join(format!("{name}{UNFINISHED}")), self.path(name));
            // One that was left by a failure must not lend its permissions.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(key.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            self.sync()
        };
        // Two that bring the same key write one after the other.
        let mut held = self.lock();
        write().map_err(|source| {
            let error = self.error("write a key", source);
            tracing::error!("{error}");
            Error::new(leat_model::Code::ServiceUnavailable, format!("nothing was changed: {error}"))
        })?;
        held.files.insert(name.to_owned());
        Ok(())
    }

    /// Removes the keys that no certificate of the model needs. The model is what was stored; it is read when no certificate can
    /// come in between.
    pub fn sweep(&self, model: impl FnOnce() -> Arc<Model>) {
        let mut held = self.lock();
        let model = model();
        let needed = needed(&model);
        let Held { files, pinned, missing } = &mut *held;
        missing.retain(|name| needed.contains(name));
        for name in needed.difference(files).cloned().collect::<Vec<_>>() {
            // After a restore keys may have come by another way.
            if self.path(&name).exists() {
                files.insert(name);
            } else if missing.insert(name.clone()) {
                let of = model.certificates().filter(|it| it.facts.public_key == name).map(|it| &*it.arn);
                let (path, of) = (self.path(&name), of.collect::<Vec<_>>().join(", "));
                tracing::error!("{} is missing: put it there from a copy, or import {of} anew", path.display());
            }
        }
        let unneeded: Vec<String> =
            files.iter().filter(|name| !needed.contains(*name) && !pinned.contains(name)).cloned().collect();
        for name in &unneeded {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!("{}", self.error("remove a key", error));
                }
                _ => drop(files.remove(name)),
            }
        }
        if !unneeded.is_empty()
            && let Err(error) = self.sync()
        {
            tracing::error!("{}", self.error("remove a key", error));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{SUFFIX}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, action: &'static str, source: io::Error) -> KeysError {
        KeysError { path: self.directory.clone(), action, source }
    }
}

fn needed(model: &Model) -> BTreeSet<String> {
    model.certificates().map(|certificate| certificate.facts.public_key.clone()).collect()
}

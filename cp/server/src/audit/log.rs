//! The audit log's file: a line of JSON each, every line with its number and the SHA-256 of the line before it.
//!
//! A record is written (with one `write`) before the call is answered, so that the end of the process loses none that was answered. A thread
//! brings what was written to the disk each second: a loss of power loses a second at the most. What is on the disk then is noted in the file
//! `….head`, so that lines that are missing at the end are missed.
//!
//! At [`Settings::file_bytes_max`] the file is put aside under its last record's number, and the chain goes on in a new one. While the log
//! cannot be written, records wait in memory, up to [`WAITING_MAX`]; the API refuses changes as long as that lasts.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leat_aws::sigv4::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::Record;

/// What stands before the first line.
pub const BEFORE_FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The key of a line's place in the chain.
pub const CHAIN: &str = "leatChain";
/// Records that wait for the disk.
pub const WAITING_MAX: usize = 10_000;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Where the log is and how much of it is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// From this size on a file is put aside, in bytes.
    pub file_bytes_max: u64,
    /// Files that were put aside and are kept; older ones are deleted.
    pub files_max: usize,
}

impl Settings {
    /// A file of up to 16 MiB and 63 before it: 1 GiB.
    pub fn at(path: PathBuf) -> Self {
        Self { path, file_bytes_max: 16 << 20, files_max: 63 }
    }
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("audit log {path}: {source}; give leat-cp a place where it can write with --audit-log")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// A file that only grows.
pub trait Sink: Send {
    /// Writes at the end, all or an unknown part.
    ///
    /// # Errors
    /// Those of the file system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// The file, to be synchronised.
    ///
    /// # Errors
    /// Those of the system.
    fn handle(&self) -> io::Result<File>;
}

impl Sink for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn handle(&self) -> io::Result<File> {
        self.try_clone()
    }
}

type Opener = Box<dyn Fn(&Path) -> io::Result<Box<dyn Sink>> + Send>;

/// The log.
pub struct Log {
    settings: Settings,
    inner: Mutex<Inner>,
    queue: Mutex<Queue>,
}

/// Records of callers that have no thread to wait with; each is told when its record is written.
#[derive(Default)]
struct Queue {
    records: Vec<(Record, oneshot::Sender<()>)>,
    /// Some thread writes them.
    busy: bool,
}

struct Inner {
    open: Opener,
    sink: Box<dyn Sink>,
    length: u64,
    head: Head,
    /// Written since the last synchronisation.
    dirty: bool,
    waiting: VecDeque<Record>,
    /// Records that found no room to wait.
    lost: u64,
    failing: bool,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; the first line has 1.
    pub sequence: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

impl Log {
    /// Opens the file, which is made if there is none. What a crash has left of a line is cut off.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(settings: Settings) -> Result<Arc<Self>, LogError> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            Ok(Box::new(file) as Box<dyn Sink>)
        };
        let log = Self::open_with(settings, Box::new(open))?;
        let weak = Arc::downgrade(&log);
        let synchronise = move || {
            loop {
                std::thread::sleep(SYNC_EVERY);
                let Some(log) = weak.upgrade() else { return };
                log.synchronise();
            }
        };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(synchronise);
        thread.map(drop).map_err(|source| LogError { path: log.settings.path.clone(), source })?;
        Ok(log)
    }

    fn open_with(settings: Settings, open: Opener) -> Result<Arc<Self>, LogError> {
        let inner = Inner::begin(&settings, open);
        let inner = inner.map_err(|source| LogError { path: settings.path.clone(), source })?;
        Ok(Arc::new(Self { settings, inner: Mutex::new(inner), queue: Mutex::default() }))
    }

    /// Writes a record, or keeps it for later.
    pub fn append(&self, record: Record) {
        let mut inner = self.lock();
        if inner.waiting.len() < WAITING_MAX {
            inner.waiting.push_back(record);
        } else {
            inner.lost += 1;
        }
        inner.write_waiting(&self.settings);
    }

    /// As [`Self::append`], for a caller that has no thread to wait with. One thread of the runtime writes for all of them.
    pub async fn append_soon(self: &Arc<Self>, record: Record) {
        let (tell, told) = oneshot::channel();
        let is_free = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.records.push((record, tell));
            !std::mem::replace(&mut queue.busy, true)
        };
        if is_free {
            let log = self.clone();
            tokio::task::spawn_blocking(move || log.append_queued());
        }
        // It fails only when the process ends.
        let _ = told.await;
    }

    fn append_queued(&self) {
        loop {
            let records = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.busy = !queue.records.is_empty();
                std::mem::take(&mut queue.records)
            };
            if records.is_empty() {
                return;
            }
            for (record, tell) in records {
                self.append(record);
                // Who waited may have gone.
                let _ = tell.send(());
            }
        }
    }

    /// Whether everything is written; what waits is tried again.
    pub fn is_writable(&self) -> bool {
        let mut inner = self.lock();
        inner.write_waiting(&self.settings);
        inner.waiting.is_empty()
    }

    /// The last line.
    pub fn head(&self) -> Head {
        self.lock().head.clone()
    }

    /// The files, the newest first.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn files(&self) -> io::Result<Vec<File>> {
        let _inner = self.lock();
        let mut files = vec![File::open(&self.settings.path)?];
        for path in aside(&self.settings.path)?.iter().rev() {
            files.push(File::open(path)?);
        }
        Ok(files)
    }

    /// Brings what was written to the disk, and notes how far that is.
    pub fn synchronise(&self) {
        let (file, head) = {
            let mut inner = self.lock();
            inner.write_waiting(&self.settings);
            if !std::mem::take(&mut inner.dirty) {
                return;
            }
            (inner.sink.handle(), inner.head.clone())
        };
        let result = file.and_then(|file| file.sync_data()).and_then(|()| write_head(&self.settings.path, &head));
        if let Err(error) = result {
            tracing::error!("audit log {}: {error}", self.settings.path.display());
            self.lock().dirty = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.synchronise();
    }
}

impl Inner {
    fn begin(settings: &Settings, open: Opener) -> io::Result<Self> {
        let mut sink = open(&settings.path)?;
        if !fs::metadata(&settings.path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut text = fs::read(&settings.path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            tracing::warn!("audit log {}: a line was not finished; it is cut off", settings.path.display());
            sink.cut(whole as u64)?;
            text.truncate(whole);
        }
        if text.is_empty()
            && let Some(newest) = aside(&settings.path)?.last()
        {
            text = fs::read(newest)?;
        }
        let last = text.strip_suffix(b"\n").unwrap_or(&text);
        let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let head = if last.is_empty() { Head { sequence: 0, sha256: BEFORE_FIRST.into() } } else { head_of(last)? };
        Ok(Self {
            open,
            sink,
            length: whole as u64,
            head,
            dirty: false,
            waiting: VecDeque::new(),
            lost: 0,
            failing: false,
        })
    }

    fn write_waiting(&mut self, settings: &Settings) {
        if self.lost > 0 && self.waiting.len() < WAITING_MAX {
            let lost = std::mem::take(&mut self.lost);
            self.waiting.push_back(lost_record(lost));
        }
        while let Some(record) = self.waiting.front() {
            let (line, head) = self.line(record.clone());
            if let Err(error) = self.write(settings, &line, head) {
                if !std::mem::replace(&mut self.failing, true) {
                    let path = settings.path.display();
                    tracing::error!("audit log {path}: {error}; changes are refused until it can be written");
                }
                return;
            }
            self.waiting.pop_front();
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("audit log {}: it can be written again", settings.path.display());
        }
    }

    fn line(&self, mut record: Record) -> (Vec<u8>, Head) {
        let sequence = self.head.sequence + 1;
        record.insert(CHAIN.into(), json!({"sequence": sequence, "previousSha256": self.head.sha256}));
        let mut line = Value::Object(record).to_string().into_bytes();
        let head = Head { sequence, sha256: hex(&Sha256::digest(&line)) };
        line.push(b'\n');
        (line, head)
    }

    fn write(&mut self, settings: &Settings, line: &[u8], head: Head) -> io::Result<()> {
        if self.length >= settings.file_bytes_max {
            self.put_aside(settings)?;
        }
        if let Err(error) = self.sink.append(line) {
            // Part of the line may be there.
            self.sink.cut(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        self.head = head;
        self.dirty = true;
        Ok(())
    }

    fn put_aside(&mut self, settings: &Settings) -> io::Result<()> {
        self.sink.handle()?.sync_data()?;
        fs::rename(&settings.path, numbered(&settings.path, self.head.sequence))?;
        self.sink = (self.open)(&settings.path)?;
        self.length = 0;
        let aside = aside(&settings.path)?;
        for old in aside.iter().take(aside.len().saturating_sub(settings.files_max)) {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

/// Number and hash of a line.
fn head_of(line: &[u8]) -> io::Result<Head> {
    let wrong = || {
        io::Error::new(io::ErrorKind::InvalidData, "the last line is no record; move the file away to begin a new one")
    };
    let record: Value = serde_json::from_slice(line).map_err(|_| wrong())?;
    let sequence = record[CHAIN]["sequence"].as_u64().ok_or_else(wrong)?;
    Ok(Head { sequence, sha256: hex(&Sha256::digest(line)) })
}

fn lost_record(lost: u64) -> Record {
    let record = json!({
        "eventVersion": "1.03",
        "eventType": "AwsServiceEvent",
        "eventName": "AuditRecordsLost",
        "eventSource": "leat-cp",
        "readOnly": true,
        "eventTime": super::time(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64),
        "additionalEventData": {"records": lost, "reason": "the log could not be written, and too many waited"},
    });
    match record {
        Value::Object(record) => record,
        _ => Record::new(),
    }
}

/// The name of a file that is put aside.
fn numbered(path: &Path, sequence: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{sequence:016}"));
    name.into()
}

/// The files that were put aside, the oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let number =
            file.strip_prefix(&name).filter(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_digit()));
        if number.is_some() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The name of the file that tells the last line.
pub fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

fn write_head(path: &Path, head: &Head) -> io::Result<()> {
    let text = format!("{}\n", json!({"sequence": head.sequence, "sha256": head.sha256}));
    // In one piece: it is shorter than a block.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(head_path(path))?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::audit::verify::{Broken, verify};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    pub fn record(name: &str) -> Record {
        match json!({"eventName": name, "eventTime": "2026-01-01T00:00:00Z", "eventID": name}) {
            Value::Object(record) => record,
            _ => Record::new(),
        }
    }

    /// A disk that is full when it is told so.
    struct Full(File, Arc<AtomicBool>);

    impl Sink for Full {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if self.1.load(Ordering::SeqCst) {
                self.0.append(&bytes[..bytes.len() / 2])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.append(bytes)
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.0.cut(length)
        }

        fn handle(&self) -> io::Result<File> {
            self.0.handle()
        }
    }

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        (directory, path)
    }

    /// req: AUD-08
    #[test]
    fn an_edited_removed_or_missing_line_is_found() {
        let (_directory, path) = directory();
        let log = Log::open(Settings::at(path.clone())).expect("a log");
        assert_eq!(fs::metadata(&path).expect("it").permissions().mode() & 0o777, 0o600);
        ["a", "b", "c", "d"].into_iter().for_each(|name| log.append(record(name)));
        log.synchronise();
        let report = verify(&path).expect("whole");
        assert_eq!((report.first, report.head.clone()), (1, log.head()));
        drop(log);
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let broken = |lines: &[&str]| {
            fs::write(&path, lines.join("\n") + "\n").expect("written");
            verify(&path).expect_err("broken")
        };
        let edited = lines[1].replace("\"b\"", "\"x\"");
        assert!(matches!(broken(&[lines[0], &edited, lines[2], lines[3]]), Broken::Line { line: 3, .. }));
        assert!(matches!(broken(&[lines[0], lines[2], lines[3]]), Broken::Line { line: 2, .. }));
        assert!(matches!(broken(&[lines[0], lines[1], lines[2]]), Broken::Truncated { found: 3, noted: 4 }));
        let last = lines[3].replace("\"d\"", "\"x\"");
        assert!(matches!(broken(&[lines[0], lines[1], lines[2], &last]), Broken::Head(4)));
        assert!(matches!(broken(&[lines[0], "{}", lines[2]]), Broken::Line { line: 2, .. }));
        fs::write(&path, text).expect("written");
        assert!(verify(&path).is_ok());
    }

    /// req: AUD-08
    #[test]
    fn the_chain_goes_on_after_restarts_crashes_and_in_new_files() {
        let (_directory, path) = directory();
        let settings = Settings { path: path.clone(), file_bytes_max: 300, files_max: 3 };
        let log = Log::open(settings.clone()).expect("a log");
        log.append(record("1"));
        drop(log);
        OpenOptions::new().append(true).open(&path).expect("it").write_all(b"{\"half").expect("a crash");
        for number in 2..=20 {
            let log = Log::open(settings.clone()).expect("a log");
            log.append(record(&number.to_string()));
        }
        assert_eq!(aside(&path).expect("a list").len(), 3);
        let report = verify(&path).expect("whole");
        assert_eq!(report.head.sequence, 20);
        assert!(report.first > 1, "the oldest files are gone");
    }

    /// A log on a disk that is full when it is told so.
    pub fn on_a_small_disk(path: PathBuf) -> (Arc<Log>, Arc<AtomicBool>) {
        let full = Arc::new(AtomicBool::new(false));
        let state = full.clone();
        let open = move |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Ok(Box::new(Full(file, state.clone())) as Box<dyn Sink>)
        };
        (Log::open_with(Settings::at(path), Box::new(open)).expect("a log"), full)
    }

    #[test]
    fn a_full_disk_keeps_records_waiting() {
        let (_directory, path) = directory();
        let (log, full) = on_a_small_disk(path.clone());
        log.append(record("a"));
        full.store(true, Ordering::SeqCst);
        assert!(log.is_writable(), "nothing waits");
        for _ in 0..WAITING_MAX + 5 {
            log.append(record("b"));
        }
        assert!(!log.is_writable());
        assert_eq!(verify(&path).expect("whole").head.sequence, 1, "no part of a line stays");
        full.store(false, Ordering::SeqCst);
        assert!(log.is_writable());
        log.append(record("c"));
        assert_eq!(verify(&path).expect("whole").head.sequence, 1 + WAITING_MAX as u64 + 2);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.contains("AuditRecordsLost") && text.contains("\"records\":5"));
    }

    /// req: AUD-05
    #[test]
    fn concurrent_writers_write_each_record_once() {
        let (_directory, path) = directory();
        let log = Log::open(Settings::at(path.clone())).expect("a log");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let log = &log;
                scope.spawn(move || (0..250).for_each(|number| log.append(record(&format!("w{writer}-{number}")))));
            }
        });
        let text = fs::read_to_string(&path).expect("text");
        let names: std::collections::BTreeSet<String> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).expect("JSON")["eventName"].as_str().expect("it").to_owned()
            })
            .collect();
        assert_eq!((names.len(), text.lines().count()), (1000, 1000));
        assert_eq!(verify(&path).expect("whole").head.sequence, 1000);
    }
}

//! A run: the name under which everything that a test or the demo makes can be found again and removed.
//!
//! `/run/leat-testbed/<run>/owner` holds the process id and start time of the program that owns the run,
//! `/run/leat-testbed/<run>/processes` one line for each process it started. Both are written before anything depends on them.
//! [`sweep`] removes every run whose owner is gone; [`Run::start`] begins with a sweep.

use crate::namespace;
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

const BASE: &str = "/run/leat-testbed";
const MEMORY_BASE: &str = "/dev/shm/leat-testbed";

/// How long processes get to end after SIGTERM before they are killed.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// Runs this process owns, for the signal handler.
static LIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The exit status after Ctrl-C or SIGTERM.
static INTERRUPT_STATUS: AtomicI32 = AtomicI32::new(130);

/// A live run. Dropping it removes whatever it made, also while a panic unwinds; Ctrl-C and SIGTERM do the same through a handler.
/// A run that is dropped without [`Run::done`] prints the ends of its logs first.
#[derive(Debug)]
pub struct Run {
    name: String,
    dir: PathBuf,
    memory_dir: PathBuf,
    is_done: bool,
}

impl Run {
    /// Starts the run `name` (lower-case letters and digits, at most 12), after removing what dead runs left.
    ///
    /// # Errors
    /// When not root, when a live run has this name, or when the directories cannot be made.
    pub fn start(name: &str) -> Result<Run> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces need root: run this as root");
        ensure!(
            (1..=12).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "run name {name:?}: 1 to 12 lower-case letters and digits"
        );
        install_signal_handler();
        let _lock = lock()?;
        sweep_locked()?;
        let dir = Path::new(BASE).join(name);
        let memory_dir = Path::new(MEMORY_BASE).join(name);
        if let Err(error) = fs::create_dir(&dir) {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                let owner = fs::read_to_string(dir.join("owner")).unwrap_or_default();
                bail!("a run named {name} is going on already (process {}); stop it first", owner.trim());
            }
            return Err(error).with_context(|| format!("cannot make {}", dir.display()));
        }
        let me = std::process::id();
        fs::write(dir.join("owner"), format!("{me} {}\n", start_time(me).unwrap_or(0)))?;
        fs::create_dir_all(&memory_dir)?;
        fs::create_dir_all(dir.join("logs"))?;
        LIVE.lock().unwrap_or_else(|poison| poison.into_inner()).push(name.to_owned());
        Ok(Run { name: name.to_owned(), dir, memory_dir, is_done: false })
    }

    /// Makes Ctrl-C and SIGTERM an ordinary end (status 0) of a program that goes on until it is told to stop.
    pub fn interrupt_is_success() {
        INTERRUPT_STATUS.store(0, Ordering::Relaxed);
    }

    /// Starts a run with a name no other run of this machine has.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start_unique() -> Result<Run> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        Run::start(&format!("{:x}n{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where configuration files and logs of this run are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory of this run in tmpfs, for the shared segment and large files.
    pub fn memory_dir(&self) -> &Path {
        &self.memory_dir
    }

    /// The name of this run's namespace for `role` (`cli`, `lb`, `sw`, `t1` …).
    pub fn namespace_name(&self, role: &str) -> String {
        format!("{}{role}", namespace_prefix(&self.name))
    }

    /// Says that all went well, so that dropping the run prints no logs.
    pub fn done(&mut self) {
        self.is_done = true;
    }

    /// Whether [`Run::done`] was said.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Writes a started process down, so that a later sweep can end it.
    pub(crate) fn record_process(&self, pid: u32) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.dir.join("processes"))?;
        writeln!(file, "{pid} {}", start_time(pid).unwrap_or(0))?;
        Ok(())
    }

    /// What is still there of the run `name`: namespaces, directories, recorded processes. Empty after a clean end.
    pub fn leftovers(name: &str) -> Vec<String> {
        let mut found: Vec<String> =
            namespaces_of(name).into_iter().map(|namespace| format!("namespace {namespace}")).collect();
        for base in [BASE, MEMORY_BASE] {
            let path = Path::new(base).join(name);
            if path.exists() {
                found.push(format!("directory {}", path.display()));
            }
        }
        found.extend(processes_of(name).into_iter().map(|pid| format!("process {pid}")));
        found
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_done {
            print_logs(&self.dir);
        }
        if let Err(error) = lock().and_then(|_lock| remove(&self.name)) {
            eprintln!("leat-testbed: run {}: {error:#}", self.name);
        }
        LIVE.lock().unwrap_or_else(|poison| poison.into_inner()).retain(|name| *name != self.name);
    }
}

/// Removes what runs left whose owner is gone. Returns their names.
///
/// # Errors
/// When a namespace or a directory of a dead run cannot be removed.
pub fn sweep() -> Result<Vec<String>> {
    let _lock = lock()?;
    sweep_locked()
}

fn sweep_locked() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(BASE)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() {
            continue;
        }
        let owner = fs::read_to_string(entry.path().join("owner")).unwrap_or_default();
        if parse_process(&owner).is_some_and(is_alive) {
            continue;
        }
        remove(&name).with_context(|| format!("cannot remove what the dead run {name} left"))?;
        removed.push(name);
    }
    Ok(removed)
}

/// Ends a run's processes, deletes its namespaces and its directories.
fn remove(name: &str) -> Result<()> {
    end_processes(name);
    let mut failures = Vec::new();
    for namespace in namespaces_of(name) {
        if let Err(error) = namespace::delete(&namespace) {
            failures.push(format!("{error:#}"));
        }
    }
    // A leat-dp that was killed leaves the directory of its EAL, which is named after the segment.
    let _ = fs::remove_dir_all(format!("/var/run/dpdk/leat-{name}-eal"));
    // The run's own directory goes last: as long as it is there, a later sweep tries again.
    for base in [MEMORY_BASE, BASE] {
        let path = Path::new(base).join(name);
        if failures.is_empty()
            && let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            failures.push(format!("{}: {error}", path.display()));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

fn end_processes(name: &str) {
    for signal in [Signal::TERM, Signal::KILL] {
        let pids = processes_of(name);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself in between: then there is nothing to do.
                let _ = kill_process(pid, signal);
            }
        }
        let end = Instant::now() + TERM_GRACE;
        while Instant::now() < end && !processes_of(name).is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Live processes of a run: those it recorded, and whatever runs in its namespaces.
fn processes_of(name: &str) -> Vec<u32> {
    let recorded = fs::read_to_string(Path::new(BASE).join(name).join("processes")).unwrap_or_default();
    let mut pids: Vec<u32> =
        recorded.lines().filter_map(parse_process).filter(|process| is_alive(*process)).map(|(pid, _)| pid).collect();
    for namespace in namespaces_of(name) {
        pids.extend(namespace::pids(&namespace).into_iter().filter(|pid| !is_zombie(*pid)));
    }
    pids.retain(|pid| *pid != std::process::id());
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn namespace_prefix(run: &str) -> String {
    format!("leat-{run}-")
}

fn namespaces_of(run: &str) -> Vec<String> {
    let prefix = namespace_prefix(run);
    namespace::list().into_iter().filter(|namespace| namespace.starts_with(&prefix)).collect()
}

fn parse_process(line: &str) -> Option<(u32, u64)> {
    let (pid, start) = line.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// Whether this very process lives: the id alone could have been given to another one since.
fn is_alive((pid, start): (u32, u64)) -> bool {
    start_time(pid) == Some(start) && !is_zombie(pid)
}

/// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
fn start_time(pid: u32) -> Option<u64> {
    stat_field(pid, 19)?.parse().ok()
}

fn is_zombie(pid: u32) -> bool {
    stat_field(pid, 0).is_none_or(|state| state == "Z" || state == "X")
}

/// The n-th field after the command name, which is in brackets and may hold blanks.
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_owned)
}

fn lock() -> Result<File> {
    fs::create_dir_all(BASE).with_context(|| format!("cannot make {BASE}"))?;
    fs::create_dir_all(MEMORY_BASE).with_context(|| format!("cannot make {MEMORY_BASE}"))?;
    let file = File::create(Path::new(BASE).join("lock"))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn install_signal_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler = || {
            let names = LIVE.lock().unwrap_or_else(|poison| poison.into_inner()).clone();
            if let Ok(_lock) = lock() {
                for name in names {
                    if let Err(error) = remove(&name) {
                        eprintln!("leat-testbed: run {name}: {error:#}");
                    }
                }
            }
            std::process::exit(INTERRUPT_STATUS.load(Ordering::Relaxed));
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            // Only possible when the program has a handler of its own; then that one ends the run.
            eprintln!("leat-testbed: Ctrl-C is handled elsewhere ({error})");
        }
    });
}

/// The ends of all logs, for a test that fails.
fn print_logs(dir: &Path) {
    const TAIL_LINES: usize = 40;
    let Ok(entries) = fs::read_dir(dir.join("logs")) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if text.trim().is_empty() || path.extension().is_some_and(|extension| extension == "pcap") {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- {} (last {TAIL_LINES} lines)", path.display());
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_start_time_is_stable() {
        let me = std::process::id();
        assert!(is_alive((me, start_time(me).unwrap())));
        assert!(!is_alive((me, start_time(me).unwrap() + 1)));
    }

    #[test]
    fn process_lines_that_are_cut_short_are_skipped() {
        assert_eq!(parse_process("12 34\n"), Some((12, 34)));
        assert_eq!(parse_process("12"), None);
        assert_eq!(parse_process(""), None);
    }
}

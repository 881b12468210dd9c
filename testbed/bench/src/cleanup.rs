//! What a run leaves on the machine while it goes on, and how it is taken away: at the end, on an error, on Ctrl-C and SIGTERM, on
//! a panic; and by the next run if this one was killed.
//!
//! All of it is named after the run's process: the directory `/dev/shm/leat-bench-PID`, the namespace `leat-bench-PID`, EAL's
//! directories `/var/run/dpdk/leat-bench-PID…`. How many huge pages were added is noted in the directory, and what real-time threads
//! were allowed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

const PREFIX: &str = "leat-bench-";
const MEMORY: &str = "/dev/shm";
const NAMESPACES: &str = "/run/netns";
const EAL: &str = "/var/run/dpdk";
const TESTBED: &str = "/run/leat-testbed";
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
/// In the run's directory: how many huge pages were added.
const ADDED: &str = "hugepages-added";

/// What real-time threads may use of each second, in microseconds; -1: all of it.
const REALTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";
/// In the run's directory: what stood there before.
const REALTIME_BEFORE: &str = "realtime-before";

/// Processes that were started and have not been waited for.
static PROCESSES: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn processes() -> MutexGuard<'static, Vec<i32>> {
    PROCESSES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of what this run makes.
pub fn name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// The run's directory, in memory.
pub fn directory() -> PathBuf {
    Path::new(MEMORY).join(name())
}

/// Takes away what dead runs left, makes the directory and sees to it that it goes again.
pub fn start() -> Result<()> {
    for dead in leftovers() {
        eprintln!("taking away what {dead} left behind");
        take_away(&dead);
    }
    ctrlc::set_handler(|| {
        eprintln!("interrupted: cleaning up");
        finish();
        std::process::exit(130);
    })?;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        finish();
    }));
    fs::create_dir(directory()).with_context(|| format!("cannot make {}", directory().display()))
}

/// Takes everything of this run away. May be called more than once.
pub fn finish() {
    for pid in processes().drain(..).filter_map(Pid::from_raw) {
        // Stopped processes die of this as well.
        let _ = kill_process(pid, Signal::KILL);
    }
    // Their directories and pages are in use until they are gone.
    std::thread::sleep(Duration::from_millis(50));
    take_away(&name());
    // The part "namespaces" has runs of the testbed.
    if Path::new(TESTBED).exists()
        && let Err(error) = leat_testbed::sweep()
    {
        eprintln!("{error:#}");
    }
}

/// Names of runs whose process is gone.
fn leftovers() -> Vec<String> {
    let mut names: Vec<String> = [MEMORY, NAMESPACES, EAL]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|file| {
            let pid: String = file.strip_prefix(PREFIX)?.chars().take_while(char::is_ascii_digit).collect();
            let alive = pid.is_empty() || Path::new("/proc").join(&pid).exists();
            (!alive).then(|| format!("{PREFIX}{pid}"))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn take_away(name: &str) {
    let directory = Path::new(MEMORY).join(name);
    if Path::new(NAMESPACES).join(name).exists() {
        let _ = Command::new("ip").args(["netns", "delete", name]).stdin(Stdio::null()).status();
    }
    if let Ok(added) = fs::read_to_string(directory.join(ADDED))
        && let (Ok(added), Ok(now)) = (added.trim().parse::<u64>(), pages())
        && fs::write(HUGEPAGES, now.saturating_sub(added).to_string()).is_ok()
    {
        let _ = fs::remove_file(directory.join(ADDED));
    }
    if let Ok(before) = fs::read_to_string(directory.join(REALTIME_BEFORE)) {
        let _ = fs::write(REALTIME, before);
    }
    let _ = fs::remove_dir_all(&directory);
    if let Ok(entries) = fs::read_dir(EAL) {
        for entry in entries.flatten() {
            let file = entry.file_name();
            let rest = file.to_str().and_then(|file| file.strip_prefix(name));
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn pages() -> Result<u64> {
    Ok(fs::read_to_string(HUGEPAGES)?.trim().parse()?)
}

/// Huge pages of 2 MiB that nobody uses.
pub fn free_pages() -> u64 {
    crate::memory::field("/proc/meminfo", "HugePages_Free:").unwrap_or(0)
}

/// Sees to it that so many huge pages are free until the run ends. Returns whether they are.
pub fn reserve_pages(wanted: u64) -> bool {
    let missing = wanted.saturating_sub(free_pages());
    if missing == 0 {
        return true;
    }
    if missing * 2 > crate::memory::available_mib() / 2 {
        return false;
    }
    let Ok(before) = pages() else { return false };
    let note = directory().join(ADDED);
    let noted = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u64);
    // The note comes first: a run killed in between gives back what it may not have got, never the other way round.
    let ok = fs::write(&note, (noted + missing).to_string()).is_ok()
        && fs::write(HUGEPAGES, (before + missing).to_string()).is_ok();
    let got = pages().unwrap_or(before).saturating_sub(before);
    let _ = fs::write(&note, (noted + got).to_string());
    ok && free_pages() >= wanted
}

/// Lets real-time threads keep their CPUs until the run ends. Else the kernel stops each that polls for a twentieth of every second, which
/// no queue survives.
pub fn unlimited_realtime() {
    let note = directory().join(REALTIME_BEFORE);
    let noted =
        fs::read_to_string(REALTIME).is_ok_and(|before| before.trim() == "-1" || fs::write(note, before).is_ok());
    if !noted || fs::write(REALTIME, "-1").is_err() {
        eprintln!("  the kernel will take polling threads off their CPUs now and then: packets will be lost");
    }
}

/// Makes the run's network namespace.
pub fn make_namespace() -> Result<()> {
    run(Command::new("ip").args(["netns", "add", &name()]))?;
    // Nothing but what is measured is to say anything there.
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        let _ = in_namespace("sh").args(["-c", &format!("echo 1 >{path}")]).stderr(Stdio::null()).status();
    }
    Ok(())
}

/// A command in the namespace. `ip` replaces itself by the program.
pub fn in_namespace(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &name()]).arg(program).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A process of this run. Dropping it kills it.
pub struct Process {
    what: &'static str,
    child: Child,
}

impl Process {
    /// Starts it. It is killed when this process dies.
    pub fn spawn(what: &'static str, command: &mut Command) -> Result<Self> {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                guarded.env(key, value);
            }
        }
        // What is written to a terminal by Ctrl-C goes to this process alone, which ends the others.
        std::os::unix::process::CommandExt::process_group(&mut guarded, 0);
        // Held over both, so that no signal comes between.
        let mut processes = processes();
        let child = guarded
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(Self::log(what))?)
            .spawn()
            .with_context(|| format!("cannot start {what}: {command:?}"))?;
        processes.push(child.id() as i32);
        Ok(Self { what, child })
    }

    fn log(what: &str) -> PathBuf {
        directory().join(format!("{}.log", what.replace(' ', "-")))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it is called.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("a process has no input")?;
        let told = writeln!(input, "{line}").and_then(|()| input.flush());
        told.with_context(|| format!("{} has ended:\n{}", self.what, self.last_words()))
    }

    /// Its standard output.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The end of what it wrote to standard error.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(Self::log(self.what)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What it wrote to standard error, from a byte on.
    pub fn log_from(&self, at: usize) -> String {
        let text = fs::read_to_string(Self::log(self.what)).unwrap_or_default();
        text.get(at..).unwrap_or_default().to_owned()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            let pid = self.pid();
            processes().retain(|p| *p != pid);
        }
        Ok(ended)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} has not ended after {} s:\n{}", self.what, patience.as_secs(), self.last_words());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it and waits.
    pub fn kill(&mut self) {
        if self.ended().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::KILL);
            let _ = self.wait(Duration::from_secs(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

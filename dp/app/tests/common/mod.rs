//! What the tests of the real process share: a network namespace, the process, the control plane's end of the segment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use leat_abi::counters::Counter;
use leat_abi::message::Event;
use leat_abi::{ControlSegment, SegmentError};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// After so long something is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}

/// A network namespace and a directory, gone when this is dropped.
pub struct Bed {
    /// The namespace's name.
    pub namespace: String,
    /// For the segment and files.
    pub directory: TempDir,
}

impl Bed {
    /// None, and a line that says why, without the rights that it takes.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
            eprintln!("skipped: TAP twins and network namespaces take root and /dev/net/tun");
            return None;
        }
        let namespace = format!("leat-dp-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let bed = Self { namespace, directory: directory() };
        run(Command::new("ip").args(["netns", "add", &bed.namespace]));
        bed.ip("link set lo up");
        Some(bed)
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(["-n", &self.namespace]).args(arguments.split(' ')))
    }

    /// Runs a command in the namespace.
    pub fn run(&self, arguments: &str) -> String {
        run(Command::new("ip").args(["netns", "exec", &self.namespace]).args(arguments.split(' ')))
    }

    /// The segment's path.
    pub fn segment(&self) -> PathBuf {
        self.directory.path().join(&self.namespace)
    }

    /// Starts leat-dp in the namespace.
    pub fn start(&self, arguments: &str) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_leat-dp")]);
        Process::start(command, &self.segment(), arguments)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// A directory for a segment.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("leat-dp-").tempdir_in("/dev/shm").expect("a directory in tmpfs")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running leat-dp. Killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    segment: PathBuf,
}

impl Process {
    /// Starts leat-dp with small tables.
    pub fn start(mut command: Command, segment: &Path, arguments: &str) -> Self {
        let log = segment.with_extension("log");
        command.arg("--segment").arg(segment).args(["--flows-max", "4096", "--arena-mib", "1"]);
        let child = command
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("leat-dp starts");
        Self { child, log, segment: segment.to_owned() }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }

    fn assert_runs(&mut self) {
        let ended = self.child.try_wait().expect("its status");
        assert!(ended.is_none(), "leat-dp has ended, {ended:?}:\n{}", self.log());
    }

    /// Attaches as the control plane when all lcores run.
    pub fn attach(&mut self) -> ControlSegment {
        let path = self.segment.clone();
        let mut segment = None;
        wait_until("a sign of life", || {
            self.assert_runs();
            if segment.is_none() {
                match ControlSegment::attach(&path) {
                    Ok(attached) => segment = Some(attached),
                    Err(SegmentError::Absent(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            segment.as_ref().is_some_and(|s| {
                let running = |lcore| s.lcore_header(lcore).running.load(Ordering::Acquire) == 1;
                s.header().dp_heartbeat_ms.load(Ordering::Acquire) > 0 && (0..s.geometry().lcores).all(running)
            })
        });
        segment.expect("attached")
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a signal");
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        wait_for("its end", || self.child.try_wait().expect("its status"))
    }

    /// Stops it; it must end well, with all packet buffers back, and leave no directory of DPDK's.
    pub fn stop(mut self) -> String {
        self.terminate();
        let status = self.end();
        let log = self.log();
        assert!(status.success(), "{status}:\n{log}");
        assert!(log.contains("packet buffers are back"), "{log}");
        self.assert_no_directory();
        log
    }

    /// There is no directory of DPDK's.
    pub fn assert_no_directory(&self) {
        let name = self.segment.file_name().expect("a name").to_string_lossy();
        for base in ["/var/run", "/tmp"] {
            let directory = Path::new(base).join("dpdk").join(format!("{name}-eal"));
            assert!(!directory.exists(), "{} is left", directory.display());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum of a counter over all lcores.
pub fn total(segment: &ControlSegment, counter: Counter) -> u64 {
    (0..segment.geometry().lcores).map(|lcore| segment.counters(lcore).get(counter)).sum()
}

/// What went into each lcore came out of it, and what one gave another took.
pub fn assert_conserved(segment: &ControlSegment) {
    for lcore in 0..segment.geometry().lcores {
        let c = segment.counters(lcore);
        let into = c.get(Counter::RxPackets) + c.get(Counter::HandedIn);
        let out = [Counter::ForwardedPackets, Counter::PuntedPackets, Counter::AnsweredPackets, Counter::HandedOut];
        let out = out.iter().map(|counter| c.get(*counter)).sum::<u64>() + c.dropped_total();
        assert_eq!(into, out, "lcore {lcore}");
    }
    assert_eq!(total(segment, Counter::HandedOut), total(segment, Counter::HandedIn));
}

/// The events of an lcore, up to one that ends them.
pub fn events_until(segment: &ControlSegment, lcore: u16, mut is_end: impl FnMut(&Event) -> bool) -> Vec<Event> {
    let mut ring = segment.events(lcore);
    let mut events: Vec<Event> = Vec::new();
    wait_until("events", || {
        while let Some(message) = ring.pop().expect("good indices") {
            events.push(Event::decode(&message).expect("a good event"));
        }
        events.last().is_some_and(&mut is_end)
    });
    events
}

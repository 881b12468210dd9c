//! Keeps processes running: starts them, passes their log lines on, starts those that die again, stops them in order.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::process::{Pid, Signal, kill_process};

use super::backoff::Backoff;

/// Who dies this often before all is ready cannot work here.
const TRIES_MAX: u32 = 6;
/// How long a process may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// A process whose output stays open is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A program to keep running.
#[derive(Debug)]
pub struct Program {
    /// Marks its log lines.
    pub name: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Arguments that stand before the others when it starts for the first time.
    pub first_arguments: Vec<String>,
}

/// What the supervisor waits for.
#[derive(Debug)]
pub enum Event {
    /// End.
    Stop,
    /// A process closed its output; it ended, most likely.
    Closed,
    /// A line for the user.
    Say(String),
    /// All is ready: a line that says so. From now on who dies is started again for ever.
    Ready(String),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whoever ran has stopped by itself and in good order.
    pub clean: bool,
    /// The first program ran until it was told to stop, and did so in good order.
    pub first_stopped: bool,
    /// Who died again and again before all was ready.
    pub gave_up: Option<&'static str>,
}

struct Service {
    program: Program,
    child: Option<Child>,
    started_at: Instant,
    restart_at: Option<Instant>,
    backoff: Backoff,
    deaths: u32,
}

/// Starts the programs in order and keeps them running until [`Event::Stop`]; then stops them, the last one first. Gives up
/// when one of them dies [`TRIES_MAX`] times before [`Event::Ready`].
///
/// Must run on the main thread: a process started with `--supervised` is told by the kernel when the *thread* that
/// started it ends.
pub fn supervise(programs: Vec<Program>, sender: &Sender<Event>, events: &Receiver<Event>) -> Outcome {
    let now = Instant::now();
    let start = |program| Service {
        program,
        child: None,
        started_at: now,
        restart_at: Some(now),
        backoff: Backoff::default(),
        deaths: 0,
    };
    let (mut ready, mut gave_up) = (false, None);
    let mut services: Vec<Service> = programs.into_iter().map(start).collect();
    loop {
        services.iter_mut().for_each(|service| service.look_after(sender));
        let hopeless = services.iter().find(|service| !ready && service.deaths >= TRIES_MAX);
        if let Some(service) = hopeless {
            gave_up = Some(service.program.name);
            break;
        }
        let restart_at = services.iter().filter_map(|service| service.restart_at).min();
        let wait = restart_at.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
        match events.recv_timeout(wait) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Event::Say(line)) => say(&line),
            Ok(Event::Ready(line)) => {
                ready = true;
                say(&line);
            }
            // The output closes a moment before the process can be waited for.
            Ok(Event::Closed) => thread::sleep(Duration::from_millis(5)),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let ends: Vec<Option<bool>> = services.iter_mut().rev().map(Service::stop).collect();
    Outcome {
        clean: ends.iter().all(|end| end.unwrap_or(true)),
        first_stopped: ends.last() == Some(&Some(true)),
        gave_up,
    }
}

impl Service {
    fn look_after(&mut self, sender: &Sender<Event>) {
        let name = self.program.name;
        if let Some(child) = &mut self.child {
            let how = match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            self.child = None;
            self.died(&format!("{name} ended: {how}"));
        }
        if self.restart_at.is_some_and(|at| at <= Instant::now()) {
            self.restart_at = None;
            self.started_at = Instant::now();
            match self.start(sender) {
                Ok(child) => {
                    say(&format!("{name} started, pid {}", child.id()));
                    self.child = Some(child);
                }
                Err(error) => self.died(&format!("cannot start {}: {error}", self.program.path.display())),
            }
        }
    }

    fn died(&mut self, why: &str) {
        self.deaths += 1;
        let delay = self.backoff.delay(self.started_at.elapsed());
        let when = if delay.is_zero() { "now".into() } else { format!("in {} ms", delay.as_millis()) };
        say(&format!("{why}; starting it again {when}"));
        self.restart_at = Some(Instant::now() + delay);
    }

    fn start(&mut self, sender: &Sender<Event>) -> std::io::Result<Child> {
        let mut child = Command::new(&self.program.path)
            .args(self.program.first_arguments.drain(..))
            .args(&self.program.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches this process alone, which stops the others in order.
            .process_group(0)
            .spawn()?;
        let name = self.program.name;
        if let Some(stdout) = child.stdout.take() {
            pass_on(name, stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            pass_on(name, stderr, sender.clone());
        }
        Ok(child)
    }

    /// Whether it ended with exit code 0 in time; none when it did not run.
    fn stop(&mut self) -> Option<bool> {
        let mut child = self.child.take()?;
        let name = self.program.name;
        say(&format!("stopping {name}"));
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end {
            match child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Ok(Some(status)) => {
                    if !status.success() {
                        say(&format!("{name} ended: {status}"));
                    }
                    return Some(status.success());
                }
                Err(error) => {
                    say(&format!("cannot wait for {name}: {error}"));
                    return Some(false);
                }
            }
        }
        say(&format!("{name} did not stop within {} s; killing it", STOP_MAX.as_secs()));
        let _ = child.kill();
        let _ = child.wait();
        Some(false)
    }
}

/// Prints a line of our own.
pub fn say(line: &str) {
    eprintln!("leat: {line}");
}

/// Prints a process's lines with its name in front until they end.
fn pass_on(name: &'static str, output: impl Read + Send + 'static, sender: Sender<Event>) {
    let pass = move || {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            eprintln!("{name}: {}", String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            line.clear();
        }
        let _ = sender.send(Event::Closed);
    };
    if let Err(error) = thread::Builder::new().name(format!("{name} log")).spawn(pass) {
        say(&format!("the log of {name} is lost: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Only there so that a broken test ends.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(name: &'static str, script: String) -> Program {
        Program { name, path: "/bin/sh".into(), arguments: vec!["-c".into(), script], first_arguments: vec![] }
    }

    fn wait_for(file: &Path, content: &str) {
        let end = Instant::now() + PATIENCE;
        while fs::read_to_string(file).unwrap_or_default() != content {
            assert!(Instant::now() < end, "{} never becomes {content:?}", file.display());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn restarts_who_dies_and_stops_in_reverse_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let (lives, stops) = (at("lives"), at("stops"));
        // Dies twice, then stays.
        let mortal = format!(
            "echo x >> {lives}; [ $(wc -l < {lives}) -lt 3 ] && exit 3; \
             trap 'echo first >> {stops}; exit 0' TERM; echo up >> {lives}; while :; do sleep 0.01; done",
            lives = lives.display(),
            stops = stops.display()
        );
        let calm = format!("trap 'echo second >> {}; exit 0' TERM; while :; do sleep 0.01; done", stops.display());
        let (sender, events) = crossbeam_channel::unbounded();
        let stopper = sender.clone();
        let observed = lives.clone();
        let waiter = thread::spawn(move || {
            wait_for(&observed, "x\nx\nx\nup\n");
            stopper.send(Event::Stop).expect("the supervisor listens");
        });
        let programs = vec![shell("mortal", mortal), shell("calm", calm)];
        let outcome = supervise(programs, &sender, &events);
        assert_eq!(outcome, Outcome { clean: true, first_stopped: true, gave_up: None });
        waiter.join().expect("it came up");
        assert_eq!(fs::read_to_string(stops).expect("both stopped"), "second\nfirst\n");
    }

    #[test]
    fn first_arguments_are_for_the_first_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let seen = directory.path().join("seen");
        // With -u, an unset variable ends the shell.
        let script = format!("echo $- >> {}; echo $unset; while :; do sleep 0.01; done", seen.display());
        let program = Program { first_arguments: vec!["-u".into()], ..shell("first", script) };
        let (sender, events) = crossbeam_channel::unbounded();
        let stopper = sender.clone();
        let waiter = thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            let lines = || -> Vec<bool> {
                let seen = fs::read_to_string(&seen).unwrap_or_default();
                seen.lines().map(|line| line.contains('u')).collect()
            };
            while lines() != [true, false] {
                assert!(Instant::now() < end, "never started twice: {:?}", lines());
                thread::sleep(Duration::from_millis(5));
            }
            stopper.send(Event::Stop).expect("the supervisor listens");
        });
        supervise(vec![program], &sender, &events);
        waiter.join().expect("started twice");
    }

    #[test]
    fn an_unclean_end_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let up = directory.path().join("up");
        let script = format!("trap 'exit 4' TERM; echo up > {}; while :; do sleep 0.01; done", up.display());
        let (sender, events) = crossbeam_channel::unbounded();
        let stopper = sender.clone();
        let waiter = thread::spawn(move || {
            wait_for(&up, "up\n");
            stopper.send(Event::Stop).expect("the supervisor listens");
        });
        let outcome = supervise(vec![shell("sour", script)], &sender, &events);
        assert_eq!(outcome, Outcome { clean: false, first_stopped: false, gave_up: None });
        waiter.join().expect("it came up");
    }

    #[test]
    fn who_never_comes_up_ends_it_for_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tries, up) = (directory.path().join("tries"), directory.path().join("up"));
        let script = format!("echo x >> {}; exit 1", tries.display());
        let calm = format!(
            "trap 'echo stopped >> {0}; exit 0' TERM; echo up > {0}; while :; do sleep 0.01; done",
            up.display()
        );
        let (sender, events) = crossbeam_channel::unbounded();
        let programs = vec![shell("hopeless", script), shell("calm", calm)];
        let outcome = supervise(programs, &sender, &events);
        assert_eq!(outcome, Outcome { clean: true, first_stopped: false, gave_up: Some("hopeless") });
        assert_eq!(fs::read_to_string(&tries).expect("tried").lines().count(), TRIES_MAX as usize);
        assert_eq!(fs::read_to_string(&up).expect("ran"), "up\nstopped\n", "the others are stopped in order");
    }

    #[test]
    fn once_ready_nobody_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let tries = directory.path().join("tries");
        // Waits for the file before its first death, so that readiness comes first.
        let go = directory.path().join("go");
        let script = format!(
            "while ! [ -e {go} ]; do sleep 0.01; done; echo x >> {tries}; [ $(wc -l < {tries}) -gt {TRIES_MAX} ] || exit 1; \
             trap 'exit 0' TERM; echo up >> {tries}; while :; do sleep 0.01; done",
            go = go.display(),
            tries = tries.display()
        );
        let (sender, events) = crossbeam_channel::unbounded();
        sender.send(Event::Ready("ready".into())).expect("room");
        fs::write(&go, "").expect("written");
        let stopper = sender.clone();
        let waiter = thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while !fs::read_to_string(&tries).unwrap_or_default().ends_with("up\n") {
                assert!(Instant::now() < end, "it never came up");
                thread::sleep(Duration::from_millis(5));
            }
            stopper.send(Event::Stop).expect("the supervisor listens");
        });
        let outcome = supervise(vec![shell("mortal", script)], &sender, &events);
        assert_eq!(outcome, Outcome { clean: true, first_stopped: true, gave_up: None });
        waiter.join().expect("it came up");
    }
}

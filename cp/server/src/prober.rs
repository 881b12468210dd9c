//! Active health checks by TCP, HTTP and HTTPS: one thread, one mio event loop, any number of targets.
//!
//! A check opens a TCP connection from the node address to the target through the kernel and thus over the TAP twin, the
//! way that data takes ([`connect`]). It passes when the handshake completes before the timeout, counted from the first SYN; by HTTP
//! and HTTPS, when the head of an answer that passes has come by then ([`exchange`], [`answer`], [`tls`]). The connection is closed
//! with FIN (S16.6): what the target still says is read and dropped, so that closing does not turn into a reset. Where the target
//! expects PROXY headers, the connection begins with one that names nobody (PP2-05).
//!
//! Work per turn of the loop is bounded: at most [`STARTS_MAX`] probes start, then sockets are looked after again. So is what a
//! target can make of it: a probe ends with its timeout, and reads and keeps a few KiB at the most. Every running probe holds one file
//! descriptor, so [`Prober::start`] raises the soft limit to the hard one. Each turn is a beat that others can watch ([`Prober::beats`]).
//!
//! Requirements: HC-02, HC-04, HC-05, HC-08, HC-16, HC-23, HC-24, HC-26, HC-28, HC-32, HC-33, PP2-05; semantics S9.1, S16.5–S16.7.

mod answer;
mod connect;
mod exchange;
mod ports;
mod schedule;
#[cfg(test)]
mod tests;
mod tls;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use leat_model::health::{Cause, CheckRequest};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ClientConfig;

use connect::{ConnectError, connect, handshake};
use exchange::Exchange;
use ports::SourcePorts;
use schedule::Schedule;

const WAKE: Token = Token(0);
/// Probes started in one turn of the loop.
const STARTS_MAX: usize = 64;
/// Source ports tried for one probe before it fails.
const PORT_TRIES_MAX: usize = 16;
/// How long a check that is over waits for the target's FIN before its socket is dropped.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);
/// What is read from a target while its connection closes, in chunks of [`READ_BYTES`].
const READS_MAX: usize = 16;
const READ_BYTES: usize = 4096;
/// The loop turns at least this often.
const BEAT: Duration = Duration::from_millis(500);

/// Names a check; chosen by the caller, the same for a target as long as the target is registered.
pub type CheckId = u64;

/// One target to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The caller's name for it.
    pub id: CheckId,
    /// The node address the check leaves from (HC-28).
    pub source: IpAddr,
    /// Where it goes.
    pub target: SocketAddr,
    /// Time between two probes, 5–300 s by the API; applied with ±10 % of jitter.
    pub interval: Duration,
    /// A probe fails this long after its first SYN.
    pub timeout: Duration,
    /// The connection begins with a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// What is asked for by HTTP or HTTPS; none: the connection is all.
    pub request: Option<Arc<CheckRequest>>,
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// It is the target's.
    Target(Cause),
    /// The check could not be made: says nothing about the target. `AddrNotAvailable`: the node address is not on
    /// a TAP yet. `AddrInUse`: all source ports are taken.
    Local(io::ErrorKind),
}

/// The end of one probe.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// Which check.
    pub id: CheckId,
    /// When it ended.
    pub at: Instant,
    /// Passed or why not.
    pub outcome: Result<(), ProbeFailure>,
}

/// The prober's thread; it ends when this is dropped.
pub struct Prober {
    mailbox: Arc<Mutex<Mailbox>>,
    waker: Arc<Waker>,
    beats: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

type ReservedPorts = HashMap<IpAddr, HashSet<u16>>;

/// What callers leave for the thread. Written by callers, emptied by the thread; the latest set wins.
#[derive(Default)]
struct Mailbox {
    checks: Option<(Vec<Check>, ReservedPorts)>,
    stop: bool,
}

impl Prober {
    /// Starts the thread. Each finished probe is sent to `results`; a full bounded channel stops probing until there is
    /// room, so give an unbounded one or a reader that never waits for the prober. `strict_parity`: HTTPS by TLS 1.2 alone (HC-24).
    pub fn start(results: Sender<ProbeResult>, strict_parity: bool) -> io::Result<Self> {
        raise_file_limit();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let beats = Arc::new(AtomicU64::new(0));
        let engine = Engine {
            poll,
            mailbox: mailbox.clone(),
            results,
            beats: beats.clone(),
            tls: tls::config(strict_parity).map_err(io::Error::other)?,
            schedule: Schedule::default(),
            ports: SourcePorts::default(),
            probes: HashMap::new(),
            deadlines: BinaryHeap::new(),
            next_token: WAKE.0 + 1,
        };
        let thread = thread::Builder::new().name("prober".into()).spawn(move || engine.run())?;
        Ok(Self { mailbox, waker, beats, thread: Some(thread) })
    }

    /// Makes `checks` the whole set of checks. New ones are probed within a second; known ones (same id, source and
    /// target) keep their rhythm; those left out are given up without a result. A check never leaves from a port in
    /// `reserved_ports` of its source address.
    pub fn set_checks(&self, checks: Vec<Check>, reserved_ports: ReservedPorts) {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).checks = Some((checks, reserved_ports));
        self.wake();
    }

    /// How often the thread has turned: goes up twice a second at least while it lives.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the prober");
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Engine {
    poll: Poll,
    mailbox: Arc<Mutex<Mailbox>>,
    results: Sender<ProbeResult>,
    beats: Arc<AtomicU64>,
    tls: Arc<ClientConfig>,
    schedule: Schedule,
    ports: SourcePorts,
    probes: HashMap<Token, Probe>,
    /// (when, probe); one whose probe is gone or has another deadline is skipped.
    deadlines: BinaryHeap<Reverse<(Instant, Token)>>,
    next_token: usize,
}

struct Probe {
    check: Check,
    stream: TcpStream,
    port: u16,
    state: State,
    deadline: Instant,
}

enum State {
    Connecting,
    /// The connection is established.
    Talking(Exchange),
    /// There is a verdict and our FIN is out; only the target's is missing.
    Closing,
}

impl Engine {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            self.beats.fetch_add(1, Ordering::Relaxed);
            let timeout = self.next_wake().map_or(BEAT, |at| at.saturating_duration_since(Instant::now()).min(BEAT));
            if let Err(error) = self.poll.poll(&mut events, Some(timeout)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "the prober's poll failed; health checks stop");
                    return;
                }
                continue;
            }
            for event in &events {
                match event.token() {
                    WAKE => {
                        if self.take_mail() {
                            return;
                        }
                    }
                    token => self.look_after(token),
                }
            }
            self.expire();
            self.start_due();
        }
    }

    fn next_wake(&mut self) -> Option<Instant> {
        let due = self.schedule.next_due();
        let deadline = self.deadlines.peek().map(|Reverse((at, _))| *at);
        due.into_iter().chain(deadline).min()
    }

    /// Applies what callers left; true when the thread shall end.
    fn take_mail(&mut self) -> bool {
        let (checks, stop) = {
            let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            (mailbox.checks.take(), mailbox.stop)
        };
        if let Some((checks, reserved)) = checks {
            let sources = checks.iter().map(|check| check.source).collect();
            self.ports.set_reserved(reserved, &sources);
            let abandoned = self.schedule.apply(checks, Instant::now(), &mut rand::rng());
            if !abandoned.is_empty() {
                let abandoned: HashSet<CheckId> = abandoned.into_iter().collect();
                let tokens: Vec<Token> = self
                    .probes
                    .iter()
                    .filter(|(_, probe)| !matches!(probe.state, State::Closing) && abandoned.contains(&probe.check.id))
                    .map(|(token, _)| *token)
                    .collect();
                tokens.into_iter().for_each(|token| self.discard(token));
            }
        }
        stop
    }

    fn start_due(&mut self) {
        let mut rng = rand::rng();
        for _ in 0..STARTS_MAX {
            let now = Instant::now();
            let Some(check) = self.schedule.start_next(now, &mut rng) else { return };
            let id = check.id;
            if let Err(failure) = self.start(check, now) {
                self.report(id, Err(failure));
            }
        }
    }

    /// Sends the SYN of a check.
    fn start(&mut self, check: Check, now: Instant) -> Result<(), ProbeFailure> {
        for _ in 0..PORT_TRIES_MAX {
            let Some(port) = self.ports.take(check.source, &mut rand::rng()) else { break };
            match connect(SocketAddr::new(check.source, port), check.target) {
                Ok(stream) => return self.watch(check, stream, port, now),
                Err(error) => {
                    self.ports.release(check.source, port);
                    match error {
                        ConnectError::PortBusy => {}
                        ConnectError::Failed(failure) => return Err(failure),
                    }
                }
            }
        }
        Err(ProbeFailure::Local(io::ErrorKind::AddrInUse))
    }

    fn watch(&mut self, check: Check, mut stream: TcpStream, port: u16, now: Instant) -> Result<(), ProbeFailure> {
        let token = Token(self.next_token);
        self.next_token += 1;
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            self.ports.release(check.source, port);
            return Err(ProbeFailure::Local(error.kind()));
        }
        let deadline = now + check.timeout;
        let probe = Probe { check, stream, port, state: State::Connecting, deadline };
        self.probes.insert(token, probe);
        self.deadlines.push(Reverse((deadline, token)));
        Ok(())
    }

    /// Something happened on a probe's socket.
    fn look_after(&mut self, token: Token) {
        let Some(probe) = self.probes.get_mut(&token) else { return };
        if matches!(probe.state, State::Connecting) {
            let connected = match handshake(&probe.stream) {
                None => return,
                Some(outcome) => outcome.and_then(|()| Exchange::new(&probe.check, &self.tls)),
            };
            match connected {
                Ok(exchange) => probe.state = State::Talking(exchange),
                Err(failure) => {
                    let id = probe.check.id;
                    self.discard(token);
                    return self.report(id, Err(failure));
                }
            }
        }
        if let State::Talking(exchange) = &mut probe.state {
            let Some(outcome) = exchange.advance(&mut probe.stream) else { return };
            exchange.finish(&mut probe.stream);
            let id = probe.check.id;
            if probe.stream.shutdown(Shutdown::Write).is_ok() {
                probe.state = State::Closing;
                probe.deadline = Instant::now() + CLOSE_WAIT_MAX;
                self.deadlines.push(Reverse((probe.deadline, token)));
            } else {
                self.discard(token);
            }
            self.report(id, outcome);
        }
        if self.probes.get_mut(&token).is_some_and(|probe| drained(&mut probe.stream)) {
            self.discard(token);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, token))) = self.deadlines.peek() {
            let current = self.probes.get(&token).is_some_and(|probe| probe.deadline == at);
            if current && at > now {
                return;
            }
            self.deadlines.pop();
            if !current {
                continue;
            }
            let late = self.probes.get(&token).and_then(|probe| match &probe.state {
                State::Connecting => Some((probe.check.id, Cause::Timeout)),
                State::Talking(exchange) => Some((probe.check.id, exchange.at_timeout())),
                State::Closing => None,
            });
            self.discard(token);
            if let Some((id, cause)) = late {
                self.report(id, Err(ProbeFailure::Target(cause)));
            }
        }
    }

    fn report(&mut self, id: CheckId, outcome: Result<(), ProbeFailure>) {
        let at = Instant::now();
        self.schedule.finished(id, at);
        // Nobody listens any more: the process is ending, and the drop of `Prober` ends this thread.
        let _ = self.results.send(ProbeResult { id, at, outcome });
    }

    /// Closes a probe's socket and frees its port.
    fn discard(&mut self, token: Token) {
        if let Some(mut probe) = self.probes.remove(&token) {
            let _ = self.poll.registry().deregister(&mut probe.stream);
            self.ports.release(probe.check.source, probe.port);
        }
    }
}

/// Reads and drops what the target sent; true when the connection is at its end (or the target talks too much).
fn drained(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; READ_BYTES];
    for _ in 0..READS_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Lets this process open as many files as it may. Failing is harmless: checks beyond the limit report `Local`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files; many simultaneous health checks may fail");
    }
}

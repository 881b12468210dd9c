//! Active TCP health checks: one thread, one mio event loop, any number of targets.
//!
//! A check opens a TCP connection from the node address to the target through the kernel and thus over the TAP twin, the
//! way that data takes. It passes when the handshake completes before the timeout, counted from the first SYN. The
//! connection is closed with FIN (S16.6): what the target says first is read and dropped, so that closing does not turn
//! into a reset. Where the target expects PROXY headers, the connection begins with one that names nobody (PP2-05).
//!
//! Work per turn of the loop is bounded: at most [`STARTS_MAX`] probes start, then sockets are looked after again.
//! Every running probe holds one file descriptor, so [`Prober::start`] raises the soft limit to the hard one.
//!
//! Requirements: HC-02, HC-04, HC-05, HC-16, HC-28, HC-33, PP2-05; semantics S9.1, S16.5, S16.6.

mod ports;
mod schedule;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use ports::SourcePorts;
use schedule::Schedule;

const WAKE: Token = Token(0);
/// Probes started in one turn of the loop.
const STARTS_MAX: usize = 64;
/// Source ports tried for one probe before it fails.
const PORT_TRIES_MAX: usize = 16;
/// How long a passed check waits for the target's FIN before its socket is dropped.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);
/// What is read from a target while its connection closes, in chunks of [`READ_BYTES`].
const READS_MAX: usize = 16;
const READ_BYTES: usize = 4096;
/// A PROXY protocol v2 header of a connection that is the proxy's own: version 2, command LOCAL, no addresses.
const PROXY_LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

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
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// The target answered with RST.
    Refused,
    /// No answer in time.
    Timeout,
    /// No route, or no neighbour answers on the way.
    Unreachable,
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
    /// room, so give an unbounded one or a reader that never waits for the prober.
    pub fn start(results: Sender<ProbeResult>) -> io::Result<Self> {
        raise_file_limit();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let engine = Engine {
            poll,
            mailbox: mailbox.clone(),
            results,
            schedule: Schedule::default(),
            ports: SourcePorts::default(),
            probes: HashMap::new(),
            deadlines: BinaryHeap::new(),
            next_token: WAKE.0 + 1,
        };
        let thread = thread::Builder::new().name("prober".into()).spawn(move || engine.run())?;
        Ok(Self { mailbox, waker, thread: Some(thread) })
    }

    /// Makes `checks` the whole set of checks. New ones are probed within a second; known ones (same id, source and
    /// target) keep their rhythm; those left out are given up without a result. A check never leaves from a port in
    /// `reserved_ports` of its source address.
    pub fn set_checks(&self, checks: Vec<Check>, reserved_ports: ReservedPorts) {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).checks = Some((checks, reserved_ports));
        self.wake();
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
    schedule: Schedule,
    ports: SourcePorts,
    probes: HashMap<Token, Probe>,
    /// (when, probe); one whose probe is gone or has another deadline is skipped.
    deadlines: BinaryHeap<Reverse<(Instant, Token)>>,
    next_token: usize,
}

struct Probe {
    id: CheckId,
    stream: TcpStream,
    source: IpAddr,
    port: u16,
    state: State,
    deadline: Instant,
    proxy_protocol: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    /// The check passed and our FIN is out; only the target's is missing.
    Closing,
}

impl Engine {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.next_wake().map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, timeout) {
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
                    .filter(|(_, probe)| probe.state == State::Connecting && abandoned.contains(&probe.id))
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
            if let Err(failure) = self.start(&check, now) {
                self.report(check.id, Err(failure));
            }
        }
    }

    /// Sends the SYN of a check.
    fn start(&mut self, check: &Check, now: Instant) -> Result<(), ProbeFailure> {
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

    fn watch(&mut self, check: &Check, mut stream: TcpStream, port: u16, now: Instant) -> Result<(), ProbeFailure> {
        let token = Token(self.next_token);
        self.next_token += 1;
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            self.ports.release(check.source, port);
            return Err(ProbeFailure::Local(error.kind()));
        }
        let deadline = now + check.timeout;
        let (source, proxy_protocol) = (check.source, check.proxy_protocol);
        let probe = Probe { id: check.id, stream, source, port, state: State::Connecting, deadline, proxy_protocol };
        self.probes.insert(token, probe);
        self.deadlines.push(Reverse((deadline, token)));
        Ok(())
    }

    /// Something happened on a probe's socket.
    fn look_after(&mut self, token: Token) {
        let Some(probe) = self.probes.get_mut(&token) else { return };
        if probe.state == State::Connecting {
            let Some(outcome) = handshake(&probe.stream) else { return };
            let id = probe.id;
            if outcome.is_ok() && probe.proxy_protocol {
                // Fits into the empty send buffer, or the target has hung up and does not want it.
                let _ = probe.stream.write_all(&PROXY_LOCAL);
            }
            if outcome.is_ok() && probe.stream.shutdown(Shutdown::Write).is_ok() {
                probe.state = State::Closing;
                probe.deadline = Instant::now() + CLOSE_WAIT_MAX;
                self.deadlines.push(Reverse((probe.deadline, token)));
            } else {
                self.discard(token);
            }
            self.report(id, outcome);
        }
        if let Some(probe) = self.probes.get_mut(&token)
            && probe.state == State::Closing
            && drained(&mut probe.stream)
        {
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
            let connecting = self.probes.get(&token).filter(|probe| probe.state == State::Connecting);
            let timed_out = connecting.map(|probe| probe.id);
            self.discard(token);
            if let Some(id) = timed_out {
                self.report(id, Err(ProbeFailure::Timeout));
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
            self.ports.release(probe.source, probe.port);
        }
    }
}

enum ConnectError {
    /// This source port cannot be used now (held by someone else, or its connection to this target is in TIME_WAIT).
    PortBusy,
    Failed(ProbeFailure),
}

/// Begins a handshake without waiting for it.
fn connect(source: SocketAddr, target: SocketAddr) -> Result<TcpStream, ConnectError> {
    let local = |error: io::Error| ConnectError::Failed(ProbeFailure::Local(error.kind()));
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None).map_err(local)?;
    // Without it a port whose last connection, to whichever target, is in TIME_WAIT could not be bound.
    socket.set_reuse_address(true).map_err(local)?;
    match socket.bind(&source.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(ConnectError::PortBusy),
        result => result.map_err(local)?,
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {
            return Err(ConnectError::PortBusy);
        }
        Err(error) => return Err(ConnectError::Failed(classify(&error))),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// How a handshake ended; `None` while it is under way.
fn handshake(stream: &TcpStream) -> Option<Result<(), ProbeFailure>> {
    match stream.take_error() {
        // Only an established connection is reset; a refused one says ECONNREFUSED. A target that accepts and hangs up
        // passes a TCP check.
        Ok(Some(error)) if error.kind() == io::ErrorKind::ConnectionReset => Some(Ok(())),
        Ok(Some(error)) | Err(error) => Some(Err(classify(&error))),
        Ok(None) => match stream.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(classify(&error))),
        },
    }
}

fn classify(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeFailure::Refused,
        io::ErrorKind::TimedOut => ProbeFailure::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ProbeFailure::Unreachable,
        kind => ProbeFailure::Local(kind),
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

//! Clients and servers: small requests and answers over TCP, in threads of this process, each byte compared.
//!
//! A request is 64 bytes, an answer 256, both drawn from the request's number, so an answer that belongs to another request, or has a
//! wrong byte, is an error. Clients are in a closed loop: each has one request under way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leat_testbed::Namespace;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

const REQUEST: usize = 64;
const ANSWER: usize = 256;
/// Nothing happens for so long: something is broken.
const STALLED: Duration = Duration::from_secs(10);

/// The bytes that belong to a request's number; they begin with it.
fn text(number: u64, bytes: &mut [u8]) {
    let mut word = number;
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = (word ^ (word >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    }
}

/// What a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connect, ask, take the answer, close
    Connection,
    /// Ask and take the answer on a connection that stays
    Request,
}

/// How clients work.
pub struct Plan {
    /// What they do.
    pub kind: Kind,
    /// Where they connect, in turn.
    pub to: Vec<SocketAddrV4>,
    /// How many there are.
    pub clients: usize,
    /// How long they work before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub window: Duration,
    /// Operations that count, at the most: then it ends earlier.
    pub most: u64,
}

/// What came of a plan: the number of operations between two readings of the meters.
pub struct Outcome<R> {
    /// Connections or requests that were complete and right.
    pub operations: u64,
    /// The meters when it began to count.
    pub before: R,
    /// The meters when it no longer counted.
    pub after: R,
}

struct Client {
    stream: TcpStream,
    number: u64,
    asked: bool,
    got: usize,
    answer: [u8; ANSWER],
}

struct Clients<'p> {
    plan: &'p Plan,
    poll: Poll,
    clients: Vec<Option<Client>>,
    number: u64,
    complete: u64,
    is_ending: bool,
}

/// Lets clients work in the calling thread, and reads the meters at both ends of the window.
pub fn drive<R>(plan: &Plan, mut meters: impl FnMut() -> Result<R>) -> Result<Outcome<R>> {
    let mut clients =
        Clients { plan, poll: Poll::new()?, clients: Vec::new(), number: 0, complete: 0, is_ending: false };
    clients.clients.resize_with(plan.clients, || None);
    for slot in 0..plan.clients {
        clients.connect(slot)?;
    }
    clients.work_until(|_| false, Instant::now() + plan.warm_up)?;
    let (first, before) = (clients.complete, meters()?);
    let enough = |clients: &Clients<'_>| clients.complete - first >= plan.most;
    let patience = Instant::now() + STALLED;
    clients.work_until(enough, Instant::now() + plan.window)?;
    while clients.complete == first && Instant::now() < patience {
        clients.work_until(enough, Instant::now() + plan.window)?;
    }
    let (last, after) = (clients.complete, meters()?);
    clients.is_ending = true;
    clients.work_until(|clients| clients.waiting() == 0, Instant::now() + STALLED)?;
    ensure!(clients.waiting() == 0, "{} of {} clients never got their answers", clients.waiting(), plan.clients);
    ensure!(last > first, "nothing was answered");
    Ok(Outcome { operations: last - first, before, after })
}

impl Clients<'_> {
    fn connect(&mut self, slot: usize) -> Result<()> {
        let to = self.plan.to[self.number as usize % self.plan.to.len()];
        self.number += 1;
        let mut stream = TcpStream::connect(SocketAddr::V4(to)).with_context(|| format!("cannot connect to {to}"))?;
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.clients[slot] = Some(Client { stream, number: self.number, asked: false, got: 0, answer: [0; ANSWER] });
        Ok(())
    }

    /// Clients that have something under way.
    fn waiting(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    fn work_until(&mut self, done: impl Fn(&Self) -> bool, end: Instant) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut progress = (self.complete, Instant::now());
        while !done(self) {
            let now = Instant::now();
            if now >= end {
                break;
            }
            if progress.0 != self.complete {
                progress = (self.complete, now);
            }
            ensure!(now < progress.1 + STALLED, "no answer for {} s", STALLED.as_secs());
            match self.poll.poll(&mut events, Some((end - now).min(Duration::from_millis(100)))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.advance(event.token().0)?;
            }
        }
        Ok(())
    }

    /// Goes on with a client as far as its socket lets it.
    fn advance(&mut self, slot: usize) -> Result<()> {
        loop {
            let Some(client) = &mut self.clients[slot] else { return Ok(()) };
            if !client.asked {
                if self.is_ending {
                    self.clients[slot] = None;
                    return Ok(());
                }
                let mut request = [0; REQUEST];
                text(client.number, &mut request);
                match client.stream.write(&request) {
                    Ok(REQUEST) => client.asked = true,
                    Ok(part) => bail!("only {part} bytes of a request could be sent"),
                    // Not connected yet.
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                        return Ok(());
                    }
                    Err(error) => return Err(error).context("cannot ask"),
                }
            }
            match client.stream.read(&mut client.answer[client.got..]) {
                Ok(0) => bail!("the connection ended after {} bytes of {ANSWER}", client.got),
                Ok(more) => client.got += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("no answer"),
            }
            if client.got < ANSWER {
                continue;
            }
            let mut right = [0; ANSWER];
            text(client.number, &mut right);
            ensure!(client.answer == right, "request {} got a wrong answer", client.number);
            self.complete += 1;
            match self.plan.kind {
                _ if self.is_ending => self.clients[slot] = None,
                Kind::Connection => {
                    self.clients[slot] = None;
                    return self.connect(slot);
                }
                Kind::Request => {
                    self.number += 1;
                    (client.number, client.asked, client.got) = (self.number, false, 0);
                }
            }
        }
    }
}

/// A server in a thread of its own. Dropping it ends it.
pub struct Server {
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts it in a namespace, on the CPU of the calling thread.
    pub fn start(namespace: &Namespace, address: SocketAddrV4) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let listener = namespace.enter(|| TcpListener::bind(SocketAddr::V4(address)))?;
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.spawn(move || {
            if let Err(error) = serve(poll, listener, &stopped) {
                eprintln!("a server: {error:#}");
            }
        });
        Ok(Self { waker, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

struct Served {
    stream: TcpStream,
    got: usize,
    request: [u8; REQUEST],
}

fn serve(mut poll: Poll, mut listener: TcpListener, stop: &AtomicBool) -> Result<()> {
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut served: Vec<Option<Served>> = Vec::new();
    let mut free = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                WAKER => {}
                LISTENER => loop {
                    let mut stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        // The client has gone already.
                        Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                        Err(error) => return Err(error).context("cannot accept"),
                    };
                    let slot = free.pop().unwrap_or_else(|| {
                        served.push(None);
                        served.len() - 1
                    });
                    poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
                    served[slot] = Some(Served { stream, got: 0, request: [0; REQUEST] });
                },
                Token(slot) => {
                    if served[slot].as_mut().is_some_and(|client| !answer(client)) {
                        served[slot] = None;
                        free.push(slot);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Answers what has been asked. Returns whether the connection stays.
fn answer(client: &mut Served) -> bool {
    loop {
        match client.stream.read(&mut client.request[client.got..]) {
            Ok(0) => return false,
            Ok(more) => client.got += more,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        if client.got < REQUEST {
            continue;
        }
        let number = client.request.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (mut asked, mut answer) = ([0; REQUEST], [0; ANSWER]);
        text(number, &mut asked);
        text(number, &mut answer);
        // Whoever asks something else is cut off, and complains.
        if client.request != asked || !matches!(client.stream.write(&answer), Ok(ANSWER)) {
            return false;
        }
        client.got = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: Kind, to: SocketAddr) -> Plan {
        let SocketAddr::V4(to) = to else { unreachable!("it was bound to an IPv4 address") };
        let moment = Duration::from_millis(20);
        Plan { kind, to: vec![to], clients: 8, warm_up: moment, window: moment, most: u64::MAX }
    }

    #[test]
    fn clients_and_servers_understand_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = listener.local_addr().unwrap();
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), WAKER).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(poll, listener, &stop));
            for kind in [Kind::Connection, Kind::Request] {
                let mut readings = 0;
                let meters = || {
                    readings += 1;
                    Ok(readings)
                };
                let outcome = drive(&plan(kind, to), meters).unwrap();
                assert_eq!((outcome.before, outcome.after), (1, 2));
            }
            stop.store(true, Ordering::Relaxed);
            waker.wake().unwrap();
            server.join().unwrap().unwrap();
        });
    }

    #[test]
    fn an_answer_to_another_request_is_wrong() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut answer = [0; ANSWER];
                text(0, &mut answer);
                let _ = stream.write_all(&answer);
                open.push(stream);
            }
        });
        let error = drive(&plan(Kind::Connection, to), || Ok(())).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains("wrong answer")), "{error:?}");
    }

    #[test]
    fn texts_begin_with_their_number_and_differ() {
        let (mut one, mut two) = ([0; ANSWER], [0; ANSWER]);
        text(1, &mut one);
        text(2, &mut two);
        assert_eq!(one[..8], 1u64.to_le_bytes());
        assert!((0..ANSWER / 8).all(|word| one[word * 8..][..8] != two[word * 8..][..8]));
    }
}

//! Short exchanges as clients make them: HTTP requests, UDP echoes.

use crate::namespace::{Namespace, run_checked};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a target's web server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The target's name.
    pub target: String,
    /// The client as the target saw it.
    pub client_seen: SocketAddrV4,
    /// The client's own address.
    pub client: SocketAddrV4,
}

/// What dig prints when it asks a DNS server.
///
/// # Errors
/// When there is no dig, or no answer.
pub fn dig(namespace: &Namespace, server: SocketAddrV4, arguments: &[&str]) -> Result<String> {
    let mut command = namespace.command("dig");
    command
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+time=2", "+tries=5"])
        .args(arguments);
    Ok(String::from_utf8_lossy(&run_checked(&mut command)?.stdout).into_owned())
}

/// One HTTP request on a connection of its own, from the calling thread's namespace.
///
/// # Errors
/// When the connection fails or the answer is not one of our targets'.
pub fn http_get(destination: SocketAddrV4) -> Result<HttpAnswer> {
    let mut stream = TcpStream::connect_timeout(&destination.into(), TIMEOUT)
        .with_context(|| format!("cannot connect to {destination}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let SocketAddr::V4(client) = stream.local_addr()? else { unreachable!("connected to an IPv4 address") };
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {destination}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no whole answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}", head.lines().next().unwrap_or_default());
    let (target, client_seen) = body.trim_end().split_once(' ').with_context(|| format!("strange answer {body:?}"))?;
    Ok(HttpAnswer { target: target.to_owned(), client_seen: client_seen.parse()?, client })
}

/// `count` HTTP requests from `namespace`, `workers` at a time.
///
/// # Errors
/// When the namespace cannot be entered. Failed requests are part of the result.
pub fn http_many(
    namespace: &Namespace,
    destination: SocketAddrV4,
    count: usize,
    workers: usize,
) -> Result<Vec<Result<HttpAnswer>>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < count {
            answers.push(http_get(destination));
        }
        answers
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| namespace.enter(work))).collect();
        let mut answers = Vec::with_capacity(count);
        for thread in threads {
            answers.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(answers)
    })
}

/// How many answers each target gave.
///
/// # Errors
/// The first failed request.
pub fn tally(answers: Vec<Result<HttpAnswer>>) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer?.target).or_default() += 1;
    }
    Ok(counts)
}

/// What came of a number of UDP flows.
#[derive(Debug, Clone, Default)]
pub struct EchoTally {
    /// Flows by the target that answered.
    pub flows: BTreeMap<String, usize>,
    /// Datagrams that came back.
    pub answered: usize,
    /// Flows answered by more than one target, with what they saw.
    pub strays: Vec<String>,
    /// Datagrams that came back later than one sent after them.
    pub reordered: usize,
    /// Client addresses as the targets saw them.
    pub clients_seen: BTreeSet<String>,
    /// The client's own addresses.
    pub clients: BTreeSet<String>,
}

/// Sends `datagrams` numbered datagrams on each of `flows` UDP flows from `namespace`, `burst` of them before it waits for the
/// answers, and checks who answered.
///
/// # Errors
/// When a socket fails. Datagrams that are lost are sent no second time: `answered` tells.
pub fn udp_echo(
    namespace: &Namespace,
    source: Ipv4Addr,
    destination: SocketAddrV4,
    flows: usize,
    datagrams: usize,
    burst: usize,
) -> Result<EchoTally> {
    namespace.enter(|| {
        let mut tally = EchoTally::default();
        for flow in 0..flows {
            echo_flow(&mut tally, source, destination, flow, datagrams, burst.max(1))?;
        }
        Ok(tally)
    })?
}

fn echo_flow(
    tally: &mut EchoTally,
    source: Ipv4Addr,
    destination: SocketAddrV4,
    flow: usize,
    datagrams: usize,
    burst: usize,
) -> Result<()> {
    let socket = UdpSocket::bind((source, 0))?;
    socket.connect(destination)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    tally.clients.insert(socket.local_addr()?.to_string());
    let mut targets = BTreeSet::new();
    let mut newest = None;
    let mut buffer = [0; 2048];
    for first in (0..datagrams).step_by(burst) {
        let count = burst.min(datagrams - first);
        for number in first..first + count {
            socket.send(format!("{flow} {number}").as_bytes())?;
        }
        for _ in 0..count {
            let Ok(length) = socket.recv(&mut buffer) else { break };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let fields: Vec<&str> = text.split(' ').collect();
            ensure!(fields.len() == 4 && fields[2] == flow.to_string(), "strange echo {text:?} on flow {flow}");
            let number: usize = fields[3].parse()?;
            tally.reordered += usize::from(newest > Some(number));
            newest = newest.max(Some(number));
            tally.answered += 1;
            tally.clients_seen.insert(fields[1].to_owned());
            targets.insert(fields[0].to_owned());
        }
    }
    if targets.len() > 1 {
        tally.strays.push(format!("flow {flow}: {targets:?}"));
    }
    if let Some(target) = targets.into_iter().next() {
        *tally.flows.entry(target).or_default() += 1;
    }
    Ok(())
}

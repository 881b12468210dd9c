//! Long TCP transfers that notice a changed byte, a lost one and a changed target.
//!
//! The server greets with `<name> <address of the client>\n`, then sends back every byte it gets. When the client closes its
//! direction, the server ends with `<SHA-256 of what it got> <number of bytes> <name>\n`. The client compares each echoed byte,
//! both digests, and the name at the end with the name at the beginning.

use crate::noise::Noise;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// No answer for this long is a failure: longer than any restart of a process of the appliance takes.
const STALL: Duration = Duration::from_secs(30);

/// Serves transfers for ever, one thread each.
///
/// # Errors
/// When no connection can be accepted.
pub fn serve(listener: &TcpListener, name: &str) -> Result<()> {
    accept_all(listener, |stream, peer| serve_one(stream, peer, name))
}

/// Serves every connection on a thread of its own, for ever.
pub(crate) fn accept_all(
    listener: &TcpListener,
    serve_one: impl Fn(TcpStream, SocketAddr) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        loop {
            let (stream, peer) = listener.accept().context("cannot accept")?;
            let serve_one = &serve_one;
            scope.spawn(move || {
                // Health checks come and go without a word: not worth a line.
                let _ = serve_one(stream, peer);
            });
        }
    })
}

fn serve_one(mut stream: TcpStream, peer: SocketAddr, name: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(format!("{name} {peer}\n").as_bytes())?;
    let mut digest = Sha256::new();
    let mut bytes = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        digest.update(&buffer[..length]);
        bytes += length as u64;
        stream.write_all(&buffer[..length])?;
    }
    stream.write_all(format!("{} {bytes} {name}\n", hex(digest)).as_bytes())?;
    Ok(())
}

/// What a client is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to.
    pub destination: SocketAddrV4,
    /// The address to come from; the ports are the kernel's choice.
    pub source: Option<Ipv4Addr>,
    /// Bytes sent at once.
    pub chunk_bytes: usize,
    /// Pause after each chunk came back.
    pub pause: Duration,
    /// When to end by itself; `None` goes on until told to stop.
    pub duration: Option<Duration>,
}

/// A finished transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The target's name.
    pub target: String,
    /// The client's address as the target saw it.
    pub client_seen: String,
    /// Bytes sent, and received again.
    pub bytes: u64,
}

/// Runs one transfer to its end.
///
/// # Errors
/// Whatever broke it: a reset, a stall, a wrong byte, another target at the end than at the beginning.
pub fn run_one(plan: &Plan, seed: u64, connected: &AtomicUsize, stop: &AtomicBool) -> Result<Outcome> {
    let stream = connect(plan)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = &stream;

    let mut greeting = String::new();
    reader.read_line(&mut greeting).context("no greeting")?;
    let (target, client_seen) = greeting.trim_end().split_once(' ').context("the greeting is cut short")?;
    connected.fetch_add(1, Ordering::Relaxed);

    let end = plan.duration.map(|duration| Instant::now() + duration);
    let mut digest = Sha256::new();
    let mut noise = Noise(seed);
    let mut chunk = vec![0; plan.chunk_bytes];
    let mut echoed = vec![0; plan.chunk_bytes];
    let mut bytes = 0_u64;
    while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        noise.fill(&mut chunk);
        writer.write_all(&chunk).with_context(|| format!("{target}: cannot send after {bytes} bytes"))?;
        reader.read_exact(&mut echoed).with_context(|| format!("{target}: no echo after {bytes} bytes"))?;
        ensure!(echoed == chunk, "{target}: other bytes came back after {bytes} bytes");
        digest.update(&chunk);
        bytes += chunk.len() as u64;
        std::thread::sleep(plan.pause);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut trailer = String::new();
    reader.read_line(&mut trailer).with_context(|| format!("{target}: no trailer after {bytes} bytes"))?;
    let expected = format!("{} {bytes} {target}\n", hex(digest));
    ensure!(trailer == expected, "{target}: ended with {trailer:?} instead of {expected:?}");
    Ok(Outcome { target: target.to_owned(), client_seen: client_seen.to_owned(), bytes })
}

fn connect(plan: &Plan) -> Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    if let Some(source) = plan.source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket
        .connect_timeout(&SocketAddr::from(plan.destination).into(), STALL)
        .with_context(|| format!("cannot connect to {}", plan.destination))?;
    Ok(socket.into())
}

pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(destination: SocketAddr) -> Plan {
        let SocketAddr::V4(destination) = destination else { unreachable!("bound to IPv4") };
        Plan {
            destination,
            source: None,
            chunk_bytes: 1000,
            pause: Duration::ZERO,
            duration: Some(Duration::from_millis(20)),
        }
    }

    #[test]
    fn a_transfer_over_loopback_finishes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let destination = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener, "here"));
        let connected = AtomicUsize::new(0);
        let outcome = run_one(&plan(destination), 1, &connected, &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome.target, "here");
        assert!(outcome.bytes >= 1000 && outcome.client_seen.starts_with("127.0.0.1:"));
        assert_eq!(connected.into_inner(), 1);
    }

    #[test]
    fn a_changed_byte_and_a_changed_name_are_noticed() {
        for (spoil_echo, expected) in [(true, "other bytes"), (false, "ended with")] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let destination = listener.local_addr().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"a 127.0.0.1:1\n").unwrap();
                let mut buffer = [0; 1000];
                while stream.read_exact(&mut buffer).is_ok() {
                    buffer[999] ^= u8::from(spoil_echo);
                    if stream.write_all(&buffer).is_err() {
                        return;
                    }
                }
                let _ = stream.write_all(b"00 0 b\n");
            });
            let error = run_one(&plan(destination), 1, &AtomicUsize::new(0), &AtomicBool::new(false)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error:#}");
        }
    }
}

//! Transfers one way: an upload or a download of a given size, compared by SHA-256.
//!
//! The server greets with `<name> <address of the client>\n`. The client asks `up|down <bytes> <seed>\n`. The bytes that the seed
//! stands for then go the way that was asked for, and the server ends with `<SHA-256> <bytes> <name>\n` over what it got or sent.
//! Both sides know the digest from the seed, so that a wrong byte is noticed whichever way it went.

use crate::noise::Noise;
use crate::proxy_header;
use crate::transfer::{accept_all, hex};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// No progress for this long is a failure: longer than a few lost segments in a row cost.
const STALL: Duration = Duration::from_secs(60);
const CHUNK_BYTES: usize = 64 * 1024;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// A transfer to make.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Where to.
    pub destination: SocketAddr,
    /// The address to come from; the port is the kernel's choice.
    pub source: IpAddr,
    /// Which way.
    pub way: Way,
    /// How much.
    pub bytes: u64,
    /// What the bytes are.
    pub seed: u64,
}

/// A transfer that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The target's name.
    pub target: String,
    /// The client.
    pub client: SocketAddr,
    /// The client as the target saw it.
    pub client_seen: SocketAddr,
}

/// `count` transfers of all sizes from a byte to `bytes_max`, about as many of each magnitude, every other one a download.
pub fn orders(destination: SocketAddr, sources: &[IpAddr], count: usize, bytes_max: u64, seed: u64) -> Vec<Order> {
    let mut dice = Noise(seed);
    let one = |number: usize| {
        let magnitude = dice.next() % u64::from(bytes_max.max(1).ilog2() + 1);
        let bytes = (1 << magnitude) + dice.next() % (1 << magnitude);
        Order {
            destination,
            source: sources[number % sources.len()],
            way: if number.is_multiple_of(2) { Way::Up } else { Way::Down },
            bytes: bytes.min(bytes_max),
            seed: dice.next(),
        }
    };
    (0..count).map(one).collect()
}

/// Serves transfers for ever, one thread each.
///
/// # Errors
/// When no connection can be accepted.
pub fn serve(listener: &TcpListener, name: &str) -> Result<()> {
    accept_all(listener, |stream, peer| serve_one(&stream, peer, name))
}

/// Like [`serve`], behind a load balancer that begins connections with a PROXY protocol header: the client is who the header names.
/// The greeting waits for the header, and for nothing else.
///
/// # Errors
/// When no connection can be accepted.
pub fn serve_proxied(listener: &TcpListener, name: &str) -> Result<()> {
    accept_all(listener, |mut stream, peer| {
        let client = proxy_header::read_client(&mut stream)?.unwrap_or(peer);
        serve_one(&stream, client, name)
    })
}

fn serve_one(mut stream: &TcpStream, peer: SocketAddr, name: &str) -> Result<()> {
    stream.write_all(format!("{name} {peer}\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let [way, bytes, seed] = line.split_whitespace().collect::<Vec<_>>()[..] else { bail!("a strange order {line:?}") };
    let (bytes, seed) = (bytes.parse()?, seed.parse()?);
    let digest = match way {
        "up" => receive(&mut reader, bytes)?,
        "down" => send(stream, bytes, seed)?,
        _ => bail!("a strange order {line:?}"),
    };
    stream.write_all(format!("{digest} {bytes} {name}\n").as_bytes())?;
    // The client has the last word, so that TIME_WAIT stays on its side.
    reader.read_to_string(&mut line)?;
    Ok(())
}

impl Order {
    /// Makes the transfer, from the calling thread's namespace.
    ///
    /// # Errors
    /// Whatever broke it: a reset, a stall, wrong bytes, another target at the end than at the beginning.
    pub fn run(&self) -> Result<Receipt> {
        self.attempt().with_context(|| self.to_string())
    }

    fn attempt(&self) -> Result<Receipt> {
        let stream = connect(self.source, self.destination)?;
        let client = stream.local_addr()?;
        let mut reader = BufReader::new(&stream);
        let mut greeting = String::new();
        reader.read_line(&mut greeting).context("no greeting")?;
        let (target, client_seen) = greeting.trim_end().split_once(' ').context("the greeting is cut short")?;
        let way = if self.way == Way::Up { "up" } else { "down" };
        (&stream).write_all(format!("{way} {} {}\n", self.bytes, self.seed).as_bytes())?;
        let digest = match self.way {
            Way::Up => send(&stream, self.bytes, self.seed),
            Way::Down => receive(&mut reader, self.bytes),
        }
        .with_context(|| format!("with {target}"))?;
        ensure!(digest == self.digest()?, "other bytes came from {target} than it was asked for");
        let mut trailer = String::new();
        reader.read_line(&mut trailer).with_context(|| format!("no trailer from {target}"))?;
        let expected = format!("{digest} {} {target}\n", self.bytes);
        ensure!(trailer == expected, "{target} ended with {trailer:?} instead of {expected:?}");
        Ok(Receipt { target: target.to_owned(), client, client_seen: client_seen.parse()? })
    }

    /// What the bytes should have, wherever they arrive.
    fn digest(&self) -> Result<String> {
        let mut digest = Sha256::new();
        for_each_chunk(self.bytes, self.seed, |chunk| {
            digest.update(chunk);
            Ok(())
        })?;
        Ok(hex(digest))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { destination, source, way, bytes, seed } = self;
        write!(f, "{way:?} {bytes} bytes from {source} to {destination}, seed {seed}")
    }
}

fn connect(source: IpAddr, destination: SocketAddr) -> Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(destination), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&destination.into(), STALL).context("cannot connect")?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    Ok(stream)
}

/// Sends the bytes that a seed stands for, and returns their digest.
fn send(mut stream: &TcpStream, bytes: u64, seed: u64) -> Result<String> {
    let mut digest = Sha256::new();
    for_each_chunk(bytes, seed, |chunk| {
        digest.update(chunk);
        stream.write_all(chunk).context("cannot send")
    })?;
    Ok(hex(digest))
}

fn receive(reader: &mut impl Read, bytes: u64) -> Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let length = reader.read(&mut buffer[..room]).with_context(|| format!("{left} of {bytes} bytes missing"))?;
        ensure!(length > 0, "the connection ended, {left} of {bytes} bytes missing");
        digest.update(&buffer[..length]);
        left -= length as u64;
    }
    Ok(hex(digest))
}

fn for_each_chunk(bytes: u64, seed: u64, mut work: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut noise = Noise(seed);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        noise.fill(&mut buffer[..length]);
        work(&buffer[..length])?;
        left -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn served_by(handle: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(handle));
        address
    }

    #[test]
    fn both_ways_over_loopback_at_all_sizes() {
        let address = served_by(|stream| {
            let peer = stream.peer_addr().unwrap();
            serve_one(&stream, peer, "here").unwrap();
        });
        let orders = orders(address, &[HERE], 40, 300_000, 1);
        assert!(orders.iter().any(|order| order.bytes < 64) && orders.iter().any(|order| order.bytes > 100_000));
        assert!(orders.iter().all(|order| (1..=300_000).contains(&order.bytes)));
        for order in orders {
            let receipt = order.run().unwrap();
            assert_eq!((receipt.target.as_str(), receipt.client), ("here", receipt.client_seen));
        }
    }

    #[test]
    fn wrong_bytes_another_name_and_a_missing_end_are_noticed() {
        // What the server does wrong: a flipped bit; another name at the end; half of the bytes.
        for (flip, name, half, expected) in
            [(1, "a", 1, "other bytes"), (0, "b", 1, "ended with"), (0, "a", 2, "missing")]
        {
            let address = served_by(move |mut stream| {
                let mut order = String::new();
                stream.write_all(b"a 127.0.0.1:1\n").unwrap();
                BufReader::new(&stream).read_line(&mut order).unwrap();
                let mut bytes = vec![0; 1000];
                Noise(5).fill(&mut bytes);
                let digest = hex(Sha256::new().chain_update(&bytes));
                bytes[999] ^= flip;
                stream.write_all(&bytes[..1000 / half]).unwrap();
                if half == 1 {
                    stream.write_all(format!("{digest} 1000 {name}\n").as_bytes()).unwrap();
                }
            });
            let order = Order { destination: address, source: HERE, way: Way::Down, bytes: 1000, seed: 5 };
            let error = format!("{:#}", order.run().unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}

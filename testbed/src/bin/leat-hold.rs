//! Many TCP connections from one address that do nothing but stay open until SIGTERM or SIGINT.
//!
//! Prints `connected <N>` when all are up. With `--unanswered` it expects none to be: it makes the attempts one after the other, waits
//! until the kernel has given each of them up, prints `unanswered <N>`, and ends.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc;
use std::time::Duration;

/// Connections that stay open.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to.
    #[arg(long)]
    to: SocketAddrV4,
    /// The address to come from.
    #[arg(long)]
    from: Ipv4Addr,
    /// How many connections.
    #[arg(long)]
    connections: usize,
    /// Expect that none is answered.
    #[arg(long)]
    unanswered: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let all = |open: fn(&Arguments) -> Result<Socket>| -> Result<Vec<Socket>> {
        let numbers = 0..arguments.connections;
        numbers.map(|number| open(&arguments).with_context(|| format!("connection {number}"))).collect()
    };
    if arguments.unanswered {
        let attempts = all(begin)?;
        attempts.iter().try_for_each(wait_given_up)?;
        println!("unanswered {}", attempts.len());
        return Ok(());
    }
    let (stopped, stop) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = stopped.send(());
    })?;
    let connections = all(connect)?;
    println!("connected {}", connections.len());
    stop.recv()?;
    Ok(())
}

fn socket(arguments: &Arguments) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((arguments.from, 0)).into())?;
    Ok(socket)
}

fn connect(arguments: &Arguments) -> Result<Socket> {
    let socket = socket(arguments)?;
    socket.connect_timeout(&SocketAddr::from(arguments.to).into(), Duration::from_secs(30))?;
    Ok(socket)
}

/// Not faster than a queue on the way can take: the repetitions come as fast as the first ones did.
fn begin(arguments: &Arguments) -> Result<Socket> {
    std::thread::sleep(Duration::from_millis(3));
    let socket = socket(arguments)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SocketAddr::from(arguments.to).into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        other => bail!("not under way: {other:?}"),
    }
}

fn wait_given_up(attempt: &Socket) -> Result<()> {
    loop {
        match attempt.take_error()? {
            Some(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
            Some(error) => return Err(error).context("answered"),
            None => ensure!(attempt.peer_addr().is_err(), "connected"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! A target's echo server: answers each UDP datagram with `<name> <client> <datagram>`, and takes transfers over TCP.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use leat_testbed::{bulk, transfer};
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Echo server of a target.
#[derive(Debug, Parser)]
struct Arguments {
    /// The name it answers with.
    #[arg(long)]
    name: String,
    /// Where to answer datagrams.
    #[arg(long)]
    udp: SocketAddr,
    /// Where to take transfers (see leat-transfer).
    #[arg(long)]
    tcp: SocketAddr,
    /// Where to take transfers one way (see `leat_testbed::bulk`).
    #[arg(long)]
    bulk: SocketAddr,
    /// Where to take the same behind a PROXY protocol header.
    #[arg(long)]
    proxied: SocketAddr,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let socket = UdpSocket::bind(arguments.udp).with_context(|| format!("cannot use UDP {}", arguments.udp))?;
    let [tcp, bulk, proxied] = [listen(arguments.tcp)?, listen(arguments.bulk)?, listen(arguments.proxied)?];
    println!("ready");
    std::thread::scope(|scope| {
        scope.spawn(|| transfer::serve(&tcp, &arguments.name));
        scope.spawn(|| bulk::serve(&bulk, &arguments.name));
        scope.spawn(|| bulk::serve_proxied(&proxied, &arguments.name));
        echo(&socket, &arguments.name)
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot use TCP {address}"))
}

fn echo(socket: &UdpSocket, name: &str) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).context("cannot receive")?;
        let mut answer = format!("{name} {peer} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        // A client that is gone answers with ICMP, which shows up here; the next one counts.
        let _ = socket.send_to(&answer, peer);
    }
}

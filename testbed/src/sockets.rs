//! Sockets that do what no program of the rig does.

use crate::namespace::Namespace;
use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// A connection from the calling thread's namespace; from this very socket address if one is given, even if another connection has it.
///
/// # Errors
/// What became of the attempt: `TimedOut`, `ConnectionRefused` …
pub fn connect(source: Option<SocketAddrV4>, destination: SocketAddrV4, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(source).into())?;
    }
    socket.connect_timeout(&SocketAddr::from(destination).into(), timeout)?;
    Ok(socket.into())
}

/// A server that accepts nothing: the kernel makes the connections and keeps them until the socket is dropped. So many open
/// connections would be more than a process may have files.
///
/// # Errors
/// When the address cannot be used.
pub fn listen_and_keep(namespace: &Namespace, address: SocketAddrV4) -> Result<Socket> {
    const BACKLOG: i32 = 65_535;
    namespace.sysctl("net/core/somaxconn", &BACKLOG.to_string())?;
    let listen = || -> io::Result<Socket> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&SocketAddr::from(address).into())?;
        listener.listen(BACKLOG)?;
        Ok(listener)
    };
    namespace.enter(listen)?.with_context(|| format!("cannot listen at {address}"))
}

/// A counter of the namespace's TCP, by the name it has in `/proc/net/netstat`, such as `PAWSEstab`.
///
/// # Errors
/// When this kernel has no such counter.
pub fn tcp_counter(namespace: &Namespace, name: &str) -> Result<u64> {
    let text = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(it, _)| *it == name);
    let (_, value) = found.with_context(|| format!("no TCP counter {name}"))?;
    value.parse().with_context(|| format!("{name} is {value:?}"))
}

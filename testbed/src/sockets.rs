//! Sockets in greater number or with more choice than the programs of the rig have.

use crate::namespace::Namespace;
use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
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

/// A server that greets with its name, says nothing more, and keeps every connection open until it is dropped.
#[derive(Debug)]
pub struct Holder {
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Holder {
    /// Listens in `namespace` with room for bursts of connections.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(namespace: &Namespace, address: SocketAddrV4, name: &str) -> Result<Holder> {
        const BACKLOG: i32 = 65_535;
        namespace.sysctl("net/core/somaxconn", &BACKLOG.to_string())?;
        let listener = namespace.enter(|| -> io::Result<Socket> {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            listener.set_reuse_address(true)?;
            listener.bind(&SocketAddr::from(address).into())?;
            listener.listen(BACKLOG)?;
            // So that it looks up now and then whether it shall stop.
            listener.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(listener)
        })?;
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let greeting = format!("{name}\n");
        let work = {
            let (accepted, stop) = (Arc::clone(&accepted), Arc::clone(&stop));
            move || hold_all(&listener, greeting.as_bytes(), &accepted, &stop)
        };
        Ok(Holder { accepted, stop, thread: Some(namespace.spawn(work)) })
    }

    /// How many connections it has accepted, health checks included.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Ok(Err(error)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("leat-testbed: a server ended early: {error:#}");
        }
    }
}

fn hold_all(listener: &Socket, greeting: &[u8], accepted: &AtomicUsize, stop: &AtomicBool) -> Result<()> {
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut connection, _)) => {
                // A health check may be gone before it is greeted.
                let _ = connection.write_all(greeting);
                held.push(connection);
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot accept"),
        }
    }
    Ok(())
}

/// Lets this process have so many files open, if it may.
///
/// # Errors
/// When the system allows fewer.
pub fn raise_file_limit(files: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        let maximum = limit.maximum.map(|maximum| maximum.max(files));
        setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum })
            .with_context(|| format!("{files} open files are needed; fs.nr_open may be lower"))?;
    }
    Ok(())
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
    ensure!(!value.is_empty(), "an empty counter {name}");
    Ok(value.parse()?)
}

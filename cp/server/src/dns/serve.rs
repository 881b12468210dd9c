//! The server's sockets: UDP, and TCP for long answers (RFC 7766), for each address one of each.
//!
//! All is bounded: one datagram at a time, [`CONNECTIONS_MAX`] connections for each address, each with one query at a time, and an end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leat_dns::{Transport, answer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Shared, lock};

/// Connections to an address at a time; further ones wait.
const CONNECTIONS_MAX: usize = 128;
/// A connection ends when no whole query has come for this time.
const IDLE: Duration = Duration::from_secs(5);
/// It ends after this time anyway: others may wait for its place.
const LIFETIME: Duration = Duration::from_secs(30);
/// An address that cannot be used is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// The longest query over UDP that is read as a whole; what is longer is malformed then.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// Serves for ever.
pub(super) fn serve(shared: &Arc<Shared>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("DNS: nothing is served: {error}"),
    };
    let addresses: Vec<SocketAddr> = lock(&shared.listeners).iter().map(|(address, _)| *address).collect();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for address in addresses {
            tasks.spawn(serve_address(shared.clone(), address));
        }
        while tasks.join_next().await.is_some() {}
    });
}

async fn serve_address(shared: Arc<Shared>, address: SocketAddr) {
    loop {
        match (udp(address), tcp(address)) {
            (Ok(udp), Ok(tcp)) => {
                shared.note(address, None);
                let error = tokio::select! {
                    error = serve_udp(&shared, &udp) => error,
                    error = serve_tcp(&shared, &tcp) => error,
                };
                shared.note(address, Some(error.to_string()));
            }
            (Err(error), _) | (_, Err(error)) => shared.note(address, Some(error.to_string())),
        }
        sleep(RETRY).await;
    }
}

/// A socket that may have an address which the host gets later: leat-cp itself puts the ports' addresses there.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Shared {
    fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let answered = answer(&self.directory(), query, transport, &mut rand::rng());
        self.counters.count(answered.as_ref().map(|(_, outcome)| *outcome));
        answered.map(|(bytes, _)| bytes)
    }
}

/// Ends with an error that the socket does not recover from.
async fn serve_udp(shared: &Shared, socket: &UdpSocket) -> io::Error {
    let mut query = [0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, client) = match socket.recv_from(&mut query).await {
            Ok(received) => received,
            // Some client's port is closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return error,
        };
        if let Some(answer) = shared.answer(query.get(..length).unwrap_or_default(), Transport::Udp)
            && socket.try_send_to(&answer, client).is_err()
        {
            // No room to send, or no way to the client, who asks again.
            shared.counters.count(None);
        }
    }
}

/// Ends with an error that the socket does not recover from.
async fn serve_tcp(shared: &Arc<Shared>, listener: &TcpListener) -> io::Error {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // How it ends is the client's affair.
                    let _ = converse(&shared, stream, Instant::now() + LIFETIME).await;
                    drop(place);
                });
            }
            // The process has too many files open, or the client has gone.
            Err(error) => {
                tracing::debug!("DNS: no connection: {error}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Queries and answers, each behind its length in two bytes.
async fn converse(shared: &Shared, mut stream: TcpStream, end: Instant) -> io::Result<()> {
    let mut query = Vec::new();
    loop {
        timeout_at(end, timeout(IDLE, read(&mut stream, &mut query))).await???;
        shared.counters.over_tcp.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = shared.answer(&query, Transport::Tcp) else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
        let framed = [&length[..], &answer].concat();
        timeout_at(end, timeout(IDLE, stream.write_all(&framed))).await???;
    }
}

async fn read(stream: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    query.resize(length.into(), 0);
    stream.read_exact(query).await.map(drop)
}

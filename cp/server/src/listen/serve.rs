//! Connections: accepted, encrypted, served, and ended when they are slow.
//!
//! Each listener has [`CONNECTIONS_MAX`] of them. A client has [`HEAD_PATIENCE`] for the head of each request and as long to take an
//! answer; bodies have a time of their own ([`crate::limit::BODY_PATIENCE`]). So clients that are slow hold a connection for a while and
//! nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::Peer;
use crate::tls::Tls;

/// Connections of a listener.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long the head of a request may take to come, from the connection's begin or the end of the answer before it.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long a handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// The head of a request at the most, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
/// When no connection can be accepted, such as for want of files.
const RECOVER: Duration = Duration::from_millis(100);

/// A socket that connections come in by.
pub enum Listener {
    /// TCP, with or without TLS.
    Tcp(TcpListener, Option<Arc<Tls>>),
    /// Unix.
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream, Option<Arc<Tls>>),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // A client that takes no answer; it is the kernel that notices.
                socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(HEAD_PATIENCE))?;
                Ok((Stream::Tcp(stream, tls.clone()), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer::Unix { uid }))
            }
        }
    }
}

/// Serves the API on a socket until the other end of `stopped` is dropped; then requests under way are still answered.
pub async fn serve(listener: Listener, router: Router, mut stopped: watch::Receiver<()>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            // Nobody closes it.
            let permit = room.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accept => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    let result = match stream {
                        Stream::Unix(stream) => connection(stream, peer, router, stopped).await,
                        Stream::Tcp(stream, None) => connection(stream, peer, router, stopped).await,
                        Stream::Tcp(stream, Some(tls)) => {
                            match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
                                Ok(Ok(stream)) => connection(stream, peer, router, stopped).await,
                                Ok(Err(error)) => Err(error.to_string()),
                                Err(_) => Err("the handshake took too long".into()),
                            }
                        }
                    };
                    if let Err(error) = result {
                        tracing::debug!("connection of {peer:?}: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept connections: {error}");
                tokio::time::sleep(RECOVER).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection<S>(stream: S, peer: Peer, router: Router, mut stopped: watch::Receiver<()>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result.map_err(|error| error.to_string()),
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|error| error.to_string())
}

/// Lets the process have as many files as the system allows: connections need some.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays {:?}: {error}", limit.current);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream as Client};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    async fn start(tls: Option<Arc<Tls>>) -> (SocketAddr, watch::Sender<()>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let (stop, stopped) = watch::channel(());
        let answer = |peer: axum::Extension<Peer>| async move { format!("{:?}", peer.0) };
        tokio::spawn(serve(Listener::Tcp(tcp, tls), Router::new().route("/", get(answer)), stopped));
        (address, stop)
    }

    fn read(mut stream: impl Read) -> String {
        let mut text = String::new();
        // Some end without saying goodbye.
        let _ = stream.read_to_string(&mut text);
        text
    }

    fn ask(mut stream: impl Read + Write) -> String {
        // Who does not want it says so when it is read.
        let _ = stream.write_all(REQUEST);
        read(stream)
    }

    /// req: R26
    #[tokio::test(flavor = "multi_thread")]
    async fn a_thousand_slow_clients_block_nobody() {
        raise_file_limit();
        let (address, _stop) = start(None).await;
        let clients = move || {
            let connect = || Client::connect(address).expect("connected");
            let begin = |mut slow: Client| {
                slow.write_all(&REQUEST[..20]).expect("sent");
                slow
            };
            let mut slow: Vec<Client> = (0..1000).map(|_| begin(connect())).collect();
            let answer = ask(connect());
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Tcp(127.0.0.1"), "{answer}");
            let mut first = slow.remove(0);
            first.write_all(&REQUEST[20..]).expect("sent");
            let text = read(first);
            assert!(text.starts_with("HTTP/1.1 200"), "who is slow is served all the same: {text}");
        };
        tokio::task::spawn_blocking(clients).await.expect("good");
    }

    /// Asks over TLS, trusting a certificate.
    fn ask_trusting(address: SocketAddr, pem: &[u8]) -> String {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem).expect("a certificate")).expect("added");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
        ask(rustls::StreamOwned::new(session, Client::connect(address).expect("connected")))
    }

    /// A certificate is made once, used, replaced while the API goes on, and kept when the new one is none. req: R26
    #[tokio::test(flavor = "multi_thread")]
    async fn tls_has_a_certificate_that_can_be_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("leat.redb");
        let make = || Tls::load_or_make(&store, vec!["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
        let tls = make();
        assert_eq!(make().fingerprint(), tls.fingerprint());
        let (address, _stop) = start(Some(tls.clone())).await;
        let file = store.with_extension("api-cert.pem");
        let good = |pem: &[u8]| {
            let pem = pem.to_vec();
            tokio::task::spawn_blocking(move || ask_trusting(address, &pem).starts_with("HTTP/1.1 200"))
        };
        let first = std::fs::read(&file).expect("it");
        assert!(good(&first).await.expect("asked"));
        let plain = tokio::task::spawn_blocking(move || ask(Client::connect(address).expect("connected")));
        assert!(!plain.await.expect("asked").contains("HTTP/1.1 200"));

        let before = tls.fingerprint();
        std::fs::write(&file, "nothing").expect("written");
        assert!(tls.reload().is_err());
        assert!(good(&first).await.expect("asked"));
        std::fs::remove_file(&file).expect("removed");
        assert_ne!(make().fingerprint(), before);
        assert!(tls.reload().expect("a good one"));
        assert!(!tls.reload().expect("the same"));
        assert!(!good(&first).await.expect("asked"));
        assert!(good(&std::fs::read(&file).expect("it")).await.expect("asked"));
    }
}

//! The admin API as a blocking client, over TCP, TLS or a Unix socket. One connection a call.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use leat_model::rest::{ErrorBody, ErrorDetail};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Answers longer than this are refused.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT`, with TLS.
    Tls(String),
    /// A Unix socket.
    Unix(PathBuf),
}

const FORMS: &str = "write http://HOST:PORT, https://HOST:PORT or unix:/PATH";

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("\"unix:\" needs a path behind it, for example unix:/run/leat/leat.sock".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        let (kind, default_port, rest): (fn(String) -> Self, _, _) = match text.split_once("://") {
            Some(("http", rest)) => (Self::Tcp, 80, rest),
            Some(("https", rest)) => (Self::Tls, 443, rest),
            _ => return Err(FORMS.into()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains('/') {
            return Err(FORMS.into());
        }
        let port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(kind(if port { authority.to_owned() } else { format!("{authority}:{default_port}") }))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// Nobody answers there.
    Connect(Endpoint, io::Error),
    /// What is to be trusted cannot be read.
    Trust(String),
    /// A file that was given cannot be read or understood.
    Input(String),
    /// The API refused.
    Api(ErrorDetail),
    /// No answer in time.
    Timeout(Duration),
    /// Something answered, but not as this API does.
    Protocol(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(endpoint, error) => write!(f, "cannot reach the control plane at {endpoint}: {error}"),
            Self::Trust(why) | Self::Input(why) => f.write_str(why),
            Self::Api(detail) => {
                write!(f, "{}", detail.message)?;
                detail.field.iter().try_for_each(|field| write!(f, " (field {field})"))
            }
            Self::Timeout(timeout) => write!(f, "the control plane did not answer within {} s", timeout.as_secs()),
            Self::Protocol(what) => write!(f, "unexpected answer: {what}"),
        }
    }
}

impl CallError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect(..) => Some(
                "start it with `leat up`; if it runs elsewhere, say where with --endpoint or LEAT_ENDPOINT \
                 (http://HOST:PORT, https://HOST:PORT or unix:/PATH)",
            ),
            Self::Input(_) => None,
            Self::Trust(_) => Some(
                "copy the certificate that leat-cp made (leat.api-cert.pem beside its store) and name it with --ca or LEAT_CA",
            ),
            Self::Api(detail) => match detail.code.as_str() {
                "LoadBalancerNotFound" => Some("`leat load-balancer list` shows what there is"),
                "TargetGroupNotFound" => Some("`leat target-group list` shows what there is"),
                "ListenerNotFound" => Some("`leat listener list LOAD_BALANCER` shows what there is"),
                "MissingAuthenticationToken" | "InvalidClientTokenId" => Some(
                    "give a token in LEAT_TOKEN (`leat user create` makes one), or use the Unix socket as root: --endpoint unix:/run/leat/leat.sock",
                ),
                "ServiceUnavailable" => Some("`leat status` shows what is missing"),
                _ => None,
            },
            Self::Timeout(_) => Some("`leat status` shows whether the data plane is attached"),
            Self::Protocol(_) => Some("is the endpoint a leat of the same version?"),
        }
    }
}

/// Who calls, and whom it trusts.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Bearer token.
    pub token: Option<String>,
    /// PEM file of certificates that are trusted with `https`.
    pub ca: Option<PathBuf>,
}

/// Makes calls.
pub struct Client {
    endpoint: Endpoint,
    credentials: Credentials,
    timeout: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client for `endpoint`; a call fails after `timeout`.
    pub fn new(endpoint: Endpoint, credentials: Credentials, timeout: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { endpoint, credentials, timeout, runtime })
    }

    /// The file of certificates that it trusts.
    pub fn ca(&self) -> Option<&Path> {
        self.credentials.ca.as_deref()
    }

    /// Where it calls.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `GET`
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>)
    }

    /// `POST` with a body.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        self.call(Method::POST, path, Some(body))
    }

    /// `PUT` with a body.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        self.call(Method::PUT, path, Some(body))
    }

    /// Any method, with or without a body.
    pub fn any<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        self.call(Method::from_bytes(method.as_bytes()).map_err(protocol)?, path, body)
    }

    /// `PATCH` with a body.
    pub fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        self.call(Method::PATCH, path, Some(body))
    }

    /// `DELETE`; whatever the answer says beyond success is dropped.
    pub fn delete(&self, path: &str) -> Result<(), CallError> {
        self.call::<serde::de::IgnoredAny>(Method::DELETE, path, None::<&()>).map(drop)
    }

    /// Whether there is such a resource.
    pub fn exists(&self, path: &str) -> Result<bool, CallError> {
        match self.get::<serde::de::IgnoredAny>(path) {
            Ok(_) => Ok(true),
            Err(CallError::Api(detail)) if detail.code.ends_with("NotFound") => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(protocol)?;
        let exchange = async {
            let exchange = tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await;
            exchange.unwrap_or(Err(CallError::Timeout(self.timeout)))
        };
        let (status, answer) = self.runtime.block_on(exchange)?;
        if status.is_success() {
            let answer = if answer.is_empty() { b"null" } else { &answer[..] };
            return serde_json::from_slice(answer).map_err(protocol);
        }
        match serde_json::from_slice::<ErrorBody>(&answer) {
            Ok(body) => Err(CallError::Api(body.error)),
            Err(_) => Err(CallError::Protocol(format!("{status}: {}", String::from_utf8_lossy(&answer).trim()))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let unreachable = |error| CallError::Connect(self.endpoint.clone(), error);
        match &self.endpoint {
            Endpoint::Tcp(authority) => {
                let stream = tokio::net::TcpStream::connect(authority).await.map_err(unreachable)?;
                self.send(stream, authority, method, path, body).await
            }
            Endpoint::Tls(authority) => {
                let connector = connector(self.credentials.ca.as_deref())?;
                let host =
                    authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).trim_matches(['[', ']']);
                let name = ServerName::try_from(host.to_owned()).map_err(protocol)?;
                let stream = tokio::net::TcpStream::connect(authority).await.map_err(unreachable)?;
                let stream = connector.connect(name, stream).await.map_err(unreachable)?;
                self.send(stream, authority, method, path, body).await
            }
            Endpoint::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(unreachable)?;
                self.send(stream, "localhost", method, path, body).await
            }
        }
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.credentials.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(protocol)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(protocol)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        connection.abort();
        Ok((status, answer.map_err(|error| CallError::Protocol(error.to_string()))?.to_bytes()))
    }
}

/// Trusts the certificates of a PEM file and no others.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, CallError> {
    let Some(path) = ca else {
        return Err(CallError::Trust("https needs a certificate to trust".into()));
    };
    let wrong = |why: String| CallError::Trust(format!("{}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it has no certificate in PEM form".into()));
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn protocol(error: impl fmt::Display) -> CallError {
    CallError::Protocol(error.to_string())
}

/// One segment of a path: what is not a letter, digit or one of `-._~` is percent-encoded.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string of the parameters that are given, with its `?`.
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))));
    let given: Vec<String> = given.collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let parse = |text: &str| text.parse::<Endpoint>();
        assert_eq!(parse("http://127.0.0.1:9321/"), Ok(Endpoint::Tcp("127.0.0.1:9321".into())));
        assert_eq!(parse("http://[::1]:9321"), Ok(Endpoint::Tcp("[::1]:9321".into())));
        assert_eq!(parse("http://box"), Ok(Endpoint::Tcp("box:80".into())));
        assert_eq!(parse("https://box/"), Ok(Endpoint::Tls("box:443".into())));
        assert_eq!(parse("unix:/run/leat/leat.sock"), Ok(Endpoint::Unix("/run/leat/leat.sock".into())));
        for wrong in ["", "ftp://box", "https://", "127.0.0.1:9321", "unix:", "http://", "http://box/v1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(segment("web-1.a"), "web-1.a");
        assert_eq!(segment("a/../b?c%"), "a%2F..%2Fb%3Fc%25");
        let parameters = [("limit", Some("5".to_owned())), ("vip", None), ("client", Some("10.0.0.1:80".to_owned()))];
        assert_eq!(query(&parameters), "?limit=5&client=10.0.0.1%3A80");
        assert_eq!(query(&[("vip", None)]), "");
    }
}

//! TLS of the API: a certificate that is given, or one that is made at the first start and shown by its fingerprint.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use leat_aws::sigv4::hex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// They are no pair.
    #[error("--tls-cert {certificate} and --tls-key {key} do not go together: {why}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate: {0}; give one with --tls-cert and --tls-key")]
    Make(String),
}

/// A certificate and its key, and what is made of them.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    fingerprint: String,
    stamps: Stamps,
}

/// When each file was changed, and how long it is.
type Stamps = [(Option<SystemTime>, u64); 2];

impl Tls {
    /// Reads the certificate (PEM, with the chain after it) and its key (PEM).
    ///
    /// # Errors
    /// They cannot be read, or do not go together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let loaded = RwLock::new(Loaded::read(certificate, key)?);
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), loaded }))
    }

    /// As [`Self::load`] with files beside the store, which are made if there are none, for these addresses and names.
    ///
    /// # Errors
    /// As [`Self::load`], or no certificate can be made.
    pub fn load_or_make(store: &Path, names: Vec<String>) -> Result<Arc<Self>, TlsError> {
        let (certificate, key) = (store.with_extension("api-cert.pem"), store.with_extension("api-key.pem"));
        if !certificate.exists() || !key.exists() {
            let failed = |error: rcgen::Error| TlsError::Make(error.to_string());
            let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
            params.distinguished_name.push(rcgen::DnType::CommonName, "Leat admin API");
            let pair = rcgen::KeyPair::generate().map_err(failed)?;
            let made = params.self_signed(&pair).map_err(failed)?;
            write_private(&key, &pair.serialize_pem())?;
            write_private(&certificate, &made.pem())?;
        }
        Self::load(&certificate, &key)
    }

    /// SHA-256 of the certificate, in pairs of digits.
    pub fn fingerprint(&self) -> String {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).fingerprint.clone()
    }

    /// Reads the files again if they have changed. If they cannot be used, what was read before stays in use.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.certificate, &self.key);
        if self.loaded.read().unwrap_or_else(PoisonError::into_inner).stamps == stamps {
            return Ok(false);
        }
        let loaded = Loaded::read(&self.certificate, &self.key)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// Those of the connection and of TLS.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.loaded.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Loaded {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamps = stamps(certificate, key);
        let file = |path: &Path, why: String| TlsError::File { path: path.to_owned(), why };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(certificate).and_then(|certificates| certificates.collect());
        let chain = chain.map_err(|error| file(certificate, error.to_string()))?;
        let first = chain.first().ok_or_else(|| file(certificate, "there is no certificate in it".into()))?;
        let digest = hex(&Sha256::digest(first)).to_uppercase();
        let pairs = digest.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned());
        let fingerprint = pairs.collect::<Vec<_>>().join(":");
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error.to_string()))?;
        let pair = |error: rustls::Error| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: error.to_string(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(pair)?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, private).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint, stamps })
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let file = fs::metadata(path).ok();
        let length = file.as_ref().map_or(0, fs::Metadata::len);
        (file.and_then(|file| file.modified().ok()), length)
    })
}

fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| TlsError::File { path: path.to_owned(), why: error.to_string() })
}

//! Flags about who may use the API, and from where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use leat_model::rest::Role;

use crate::api::guard;
use crate::audit::log;
use crate::limit::FAILURES_PER_SECOND;
use crate::tls::{Tls, TlsError};

/// Who may use the API, and from where.
#[derive(Debug, Args)]
pub struct SecurityOptions {
    /// What callers without credentials may do by a loopback --listen: read, operate or admin. For laptops, demos and tests
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub anonymous: Option<Role>,

    /// The audit log [default: beside the store, with .audit.jsonl for its name's end]
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,

    /// Requests that a user may make in a second; twice as many at once
    #[arg(long, value_name = "NUMBER", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_second: u32,

    /// Certificate of the API with its chain, PEM; read again when it changes [default: one is made if --listen is no loopback address]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Speak TLS on a loopback address too, with a certificate that is made at the first start
    #[arg(long)]
    pub tls: bool,

    /// A name with a dot that clients call this machine by; it is also in a certificate that is made; repeat for more
    #[arg(long = "api-name", value_name = "NAME")]
    pub api_names: Vec<String>,

    /// Give the user admin new credentials, print them and end; leat-cp must not be running
    #[arg(long)]
    pub new_admin_credentials: bool,

    /// Tell whether an audit log is as it was written, and end
    #[arg(long, value_name = "FILE")]
    pub verify_audit: Option<PathBuf>,
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| "allowed are read, operate and admin".into())
}

impl SecurityOptions {
    /// What does not go together.
    ///
    /// # Errors
    /// Everybody on the network would be let in.
    pub fn check(&self, listen: SocketAddr) -> Result<(), String> {
        if self.anonymous.is_some() && !listen.ip().is_loopback() {
            return Err(format!(
                "--anonymous lets everybody in who can connect; it goes with a loopback --listen only, and {listen} is none"
            ));
        }
        Ok(())
    }

    /// How requests are guarded.
    pub fn guard(&self, store: &Path) -> guard::Settings {
        let audit = self.audit_log.clone().unwrap_or_else(|| store.with_extension("audit.jsonl"));
        guard::Settings {
            anonymous: self.anonymous,
            audit: log::Settings::at(audit),
            requests_per_second: self.requests_per_second,
            failures_per_second: FAILURES_PER_SECOND,
            names: self.api_names.clone(),
        }
    }

    /// The TLS that `--listen` needs or was asked for.
    ///
    /// # Errors
    /// There is no certificate that can be used.
    pub fn tls(&self, listen: SocketAddr, store: &Path) -> Result<Option<std::sync::Arc<Tls>>, TlsError> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Tls::load(certificate, key).map(Some);
        }
        if !self.tls && listen.ip().is_loopback() {
            return Ok(None);
        }
        let mut names = vec!["localhost".to_owned()];
        if !listen.ip().is_unspecified() {
            names.push(listen.ip().to_string());
        }
        names.extend(self.api_names.iter().cloned());
        Tls::load_or_make(store, names).map(Some)
    }
}

//! Webhooks: events are posted to whom the operator named, as JSON ([`WebhookBody`]), each by a thread of its own (HC-29).
//!
//! Such a thread reads the event log like anybody else: what a receiver does not take is sent again, later and later, and what the log
//! does not keep so long is counted and dropped. A body may arrive twice, if the answer to it did not; sequence numbers tell. The secrets
//! that URLs may contain never get into a log: of a URL only scheme, host and port are shown.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io, thread};

use axum::http::Uri;
use leat_model::rest::{EventType, Transition, WebhookBody};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::event_log::EventLog;

/// Events of a body.
const EVENTS_MAX: usize = 100;
/// What happens so close together shares a body.
const GATHER: Duration = Duration::from_millis(200);
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause after a failed attempt.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The log is looked at again after this time even if nothing has happened.
const IDLE: Duration = Duration::from_secs(3600);

/// Where a webhook is. Shown without what may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    shown: String,
    is_https: bool,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write http://HOST[:PORT]/PATH or https://…".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err("names and passwords do not go into the URL; use a secret path or parameter".into());
        }
        Ok(Self { text: text.into(), shown: format!("{scheme}://{authority}"), is_https: scheme == "https" })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// Every change of a target's state
    Target,
    /// Targets that become unhealthy or unavailable, or are that no more
    TargetHealth,
    /// Zones that leave service or come back
    Zone,
    /// Too few healthy targets: all get new flows, or not any more
    FailOpen,
    /// Zonal shifts
    ZonalShift,
    /// Load balancers
    LoadBalancer,
    /// The data plane is attached, restarted or lost
    DataPlane,
    /// Links of the data plane's ports
    Port,
}

impl Wanted {
    /// Unless told otherwise.
    pub const DEFAULT: [Self; 5] = [Self::TargetHealth, Self::Zone, Self::FailOpen, Self::DataPlane, Self::Port];

    fn includes(self, event: &Transition) -> bool {
        let is_bad = |state: &str| matches!(state, "unhealthy" | "unavailable");
        match self {
            Self::Target => event.kind == EventType::Target,
            Self::TargetHealth => {
                event.kind == EventType::Target && (is_bad(&event.to) || event.from.as_deref().is_some_and(is_bad))
            }
            Self::Zone => event.kind == EventType::Zone,
            Self::FailOpen => event.kind == EventType::FailOpen,
            Self::ZonalShift => event.kind == EventType::ZonalShift,
            Self::LoadBalancer => event.kind == EventType::LoadBalancer,
            Self::DataPlane => event.kind == EventType::DataPlane,
            Self::Port => event.kind == EventType::Port,
        }
    }
}

/// What is posted where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub urls: Vec<Url>,
    /// Which events.
    pub wanted: Vec<Wanted>,
    /// The certificates to trust, in a PEM file, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The pause after the first failed attempt; each one is twice as long as the one before, until a minute.
    pub retry: Duration,
}

/// Why webhooks cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Whom to trust cannot be read.
    #[error("--webhook-ca {0}: {1}")]
    Ca(PathBuf, String),
    /// The system trusts nobody.
    #[error(
        "--webhook: the system has no certificates to trust with https; install ca-certificates or give --webhook-ca"
    )]
    NoRoots,
    /// The system has no thread for it.
    #[error("no thread for a webhook: {0}")]
    Thread(#[from] io::Error),
}

/// The webhooks of this process. Their threads end when the event log is closed.
#[derive(Default)]
pub struct Webhooks(Vec<Arc<Health>>);

/// How a webhook is.
struct Health {
    url: Url,
    /// Why the last attempt has failed, if it has.
    failure: Mutex<Option<String>>,
}

impl Webhooks {
    /// Starts a thread for each URL.
    ///
    /// # Errors
    /// What to trust cannot be read, or there can be no more threads.
    pub fn start(settings: &Settings, log: &Arc<EventLog>) -> Result<Self, WebhookError> {
        let tls = if settings.urls.iter().any(|url| url.is_https) { Some(tls(settings)?) } else { None };
        let mut all = Vec::new();
        for url in &settings.urls {
            let health = Arc::new(Health { url: url.clone(), failure: Mutex::default() });
            let sender = Sender {
                agent: agent(tls.clone()),
                health: health.clone(),
                wanted: settings.wanted.clone(),
                retry: settings.retry,
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                log: log.clone(),
            };
            thread::Builder::new().name("webhook".into()).spawn(move || sender.run())?;
            all.push(health);
        }
        Ok(Self(all))
    }

    /// Webhooks that fail at the moment, and why.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|health| {
            let failure = health.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
            Some(format!("webhook {}: {failure}; its events wait", health.url))
        })
    }
}

fn tls(settings: &Settings) -> Result<TlsConfig, WebhookError> {
    let roots: Vec<CertificateDer<'static>> = match &settings.ca {
        Some(file) => {
            let wrong = |error: rustls::pki_types::pem::Error| WebhookError::Ca(file.clone(), error.to_string());
            let found = CertificateDer::pem_file_iter(file).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
            Some(found)
                .filter(|found: &Vec<_>| !found.is_empty())
                .ok_or_else(|| WebhookError::Ca(file.clone(), "it has no certificate in PEM form".into()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if roots.is_empty() {
        return Err(WebhookError::NoRoots);
    }
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots));
    Ok(config.unversioned_rustls_crypto_provider(provider).build())
}

fn agent(tls: Option<TlsConfig>) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("leat-cp/", env!("CARGO_PKG_VERSION")));
    match tls {
        Some(tls) => config.tls_config(tls).build().into(),
        None => config.build().into(),
    }
}

/// One webhook's thread.
struct Sender {
    agent: ureq::Agent,
    health: Arc<Health>,
    wanted: Vec<Wanted>,
    retry: Duration,
    host: String,
    log: Arc<EventLog>,
}

impl Sender {
    fn run(&self) {
        let (mut after, mut dropped) = (0, 0);
        let mut pause = self.retry;
        let wanted = |event: &Transition| self.wanted.iter().any(|wanted| wanted.includes(event));
        while !self.log.is_closed() {
            if !self.log.wait(after, IDLE) {
                continue;
            }
            let mut part = self.log.after(after, EVENTS_MAX, wanted);
            if part.events.len() < EVENTS_MAX && self.log.pause(GATHER) {
                part = self.log.after(after, EVENTS_MAX, wanted);
            }
            if part.events.is_empty() {
                // Those that were dropped are told with the next body.
                (after, dropped) = (part.next, dropped + part.dropped);
                continue;
            }
            let (host, boot_id) = (self.host.clone(), self.log.boot_id().to_owned());
            let body = WebhookBody { host, boot_id, events: part.events, dropped: dropped + part.dropped };
            match self.post(&body) {
                Ok(()) => {
                    if body.dropped > 0 {
                        tracing::warn!("webhook {}: {} events were dropped", self.health.url, body.dropped);
                    }
                    self.note(None);
                    (after, dropped, pause) = (part.next, 0, self.retry);
                }
                Err(why) => {
                    self.note(Some(why));
                    self.log.pause(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn post(&self, body: &WebhookBody) -> Result<(), String> {
        let json = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let request = self.agent.post(&self.health.url.text).header("content-type", "application/json");
        match request.send(&json[..]) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("it answers {}", response.status().as_u16())),
            Err(ureq::Error::StatusCode(status)) => Err(format!("it answers {status}")),
            Err(ureq::Error::BadUri(_)) => Err("the URL cannot be used".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Notes how an attempt ended, and says so if it ended otherwise than the one before.
    fn note(&self, failure: Option<String>) {
        let mut known = self.health.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == failure {
            return;
        }
        match &failure {
            Some(why) => tracing::warn!("webhook {}: {why}; its events wait", self.health.url),
            None => tracing::info!("webhook {}: it takes events again", self.health.url),
        }
        *known = failure;
    }
}

#[cfg(test)]
mod tests;

//! The control plane process, `leat-cp`. Where what is: `state.rs` says who owns what, `api.rs` lists the calls.
#![forbid(unsafe_code)]

mod access;
mod api;
mod audit;
mod backup;
mod certificates;
mod dns;
mod event_log;
mod events;
mod keeper;
mod keys;
mod limit;
mod listen;
mod netlink;
mod options;
mod plane;
mod prober;
mod publisher;
mod state;
mod stats;
mod store;
mod suspects;
mod tls;
mod traces;
mod webhook;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tracing_subscriber::EnvFilter;

use access::credentials;
use api::App;
use api::guard::Guard;
use dns::Dns;
use event_log::{EventLog, Watcher};
use keeper::Keeper;
use keys::Keys;
use listen::serve::{self, Listener, serve};
use options::Options;
use publisher::Publisher;
use state::State;
use store::RedbStore;
use traces::Traces;
use webhook::Webhooks;

/// How long connections may take to end when the process stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// How often the certificate's files are looked at.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(10);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_env("LEAT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // It would tell the URLs of webhooks, and they may be secret.
    let filter =
        ["ureq=off", "ureq_proto=off"].iter().filter_map(|it| it.parse().ok()).fold(filter, EnvFilter::add_directive);
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leat-cp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), AnyError> {
    if let Some(file) = &options.security.verify_audit {
        let report = audit::verify::verify(file)?;
        println!(
            "whole: records {} to {}; SHA-256 of the last: {}",
            report.first, report.head.sequence, report.head.sha256
        );
        return Ok(());
    }
    if options.check_store {
        let (version, records) = store::rehearse::check(&options.store)?;
        println!("whole: {records} records, schema version {version}");
        return Ok(());
    }
    options.security.check(options.listen)?;
    let webhooks = options.webhooks.settings()?;
    if options.supervised {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let ports = options.ports()?;
    let names = ports.iter().map(|port| port.name.clone()).collect();
    store::rehearse::rehearse(&options.store)?;
    let store = RedbStore::open(&options.store)?;
    let state = Arc::new(State::begin(Box::new(store), options.site(), options.limits())?);
    keys::forbid_core_dumps()?;
    let keys = Arc::new(Keys::open(keys::directory_of(&options.store), &state.model())?);
    keys.follow(&state);
    if options.security.new_admin_credentials {
        return credentials::renew_first_admin(&state, &mut std::io::stdout());
    }
    credentials::make_first_admin(&state, &credentials::first_admin_file(&options.store))?;
    let guard = Arc::new(Guard::new(options.security.guard(&options.store))?);
    let head = guard.audit.head();
    tracing::info!("the audit log ends with record {}, SHA-256 {}", head.sequence, head.sha256);
    let tls = options.security.tls(options.listen, &options.store)?;
    serve::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let tcp = listen::tcp(options.listen).await?;
        let unix = options.socket.as_deref().map(listen::unix).transpose()?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;

        let publisher = Arc::new(match options.without_data_plane {
            true => Publisher::absent(),
            false => Publisher::start(options.segment.clone(), state.clone(), names)?,
        });
        let notified = Arc::downgrade(&publisher);
        state.on_change(move || {
            if let Some(publisher) = notified.upgrade() {
                publisher.changed();
            }
        });
        let events = Arc::new(EventLog::new());
        let watcher = Watcher::start(&state, (!publisher.is_absent()).then(|| publisher.clone()), events.clone())?;
        let webhooks = Arc::new(Webhooks::start(&webhooks, &events)?);
        let keeper = Keeper::start(state.clone(), publisher.clone(), ports, options.strict_parity)?;
        let dns = Arc::new(Dns::start(&options.dns(), state.clone())?);
        let app = App {
            state: state.clone(),
            publisher,
            dns,
            keys,
            traces: Arc::new(Traces::default()),
            guard,
            events: events.clone(),
            webhooks,
            waiters: Arc::new(Semaphore::new(limit::WAITING_MAX)),
        };
        let router = api::router(app);

        let (stop, stopped) = watch::channel(());
        let mut servers = tokio::task::JoinSet::new();
        servers.spawn(serve(Listener::Tcp(tcp, tls.clone()), router.clone(), stopped.clone()));
        if let Some(unix) = unix {
            servers.spawn(serve(Listener::Unix(unix), router, stopped));
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("the API is on {scheme}://{}; epoch {}", options.listen, state.model().epoch());
        if let Some(tls) = &tls {
            tracing::info!("the SHA-256 fingerprint of the API's certificate is {}", tls.fingerprint());
        }

        let mut look = tokio::time::interval(LOOK_AT_CERTIFICATE);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {}
                _ = look.tick() => {}
            }
            match tls.as_ref().map(|tls| (tls.reload(), tls.fingerprint())) {
                Some((Ok(true), fingerprint)) => tracing::info!("the API has a new certificate: {fingerprint}"),
                Some((Err(error), _)) => tracing::error!("the API keeps the certificate that it has: {error}"),
                _ => {}
            }
        }
        tracing::info!("stopping; the data plane goes on");
        drop(stop);
        events.close();
        let farewell = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("connections were cut: they did not end in {} s", FAREWELL.as_secs());
        }
        if let Some(path) = &options.socket {
            // It is of no use any more, and replaced at the next start if it stays.
            let _ = std::fs::remove_file(path);
        }
        drop((keeper, watcher));
        Ok(())
    })
}

//! The authoritative DNS server.
//!
//! | thread | does |
//! |---|---|
//! | `names` | follows the model: what is to be answered is made anew after each change, and when flap protection lets a zone come back |
//! | `dns` | sockets and answers, with less priority than all others: a flood of queries takes only time that nobody else wants |
//!
//! The two share the [`Directory`], an `Arc` that never changes, and the counters.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use leat_dns::Outcome;
use leat_model::dns::{Directories, Directory, NameServers};
use leat_model::rest;

use crate::state::State;

mod serve;

/// How much less the server's thread gets than the others: the steps of nice(2).
const NICE: i32 = 10;
/// Changes of the model that come together share one look at it.
const SETTLE: Duration = Duration::from_millis(5);
/// The thread `names` looks around this often at the least.
const TURN_MAX: Duration = Duration::from_secs(1);

/// What the server is told by flags.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The names of the zone's servers; empty: `ns.` and the zone.
    pub name_servers: Vec<String>,
}

/// The server.
pub struct Dns {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What both threads and the API have.
struct Shared {
    directory: RwLock<Arc<Directory>>,
    counters: Counters,
    /// Where to listen, and why that is not done.
    listeners: Mutex<Vec<(SocketAddr, Option<String>)>>,
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    no_data: AtomicU64,
    no_such_name: AtomicU64,
    refused: AtomicU64,
    bad: AtomicU64,
    ignored: AtomicU64,
    over_tcp: AtomicU64,
}

impl Dns {
    /// Starts both threads. An address that cannot be used is tried again and again.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(settings: &Settings, state: Arc<State>) -> io::Result<Self> {
        let reachable = |address: &IpAddr| !address.is_loopback() && !address.is_unspecified();
        let addresses = settings.listen.iter().map(SocketAddr::ip).filter(reachable).collect();
        let mut directories = Directories::new(NameServers { names: settings.name_servers.clone(), addresses });
        let (directory, _) = directories.make(&state.model(), state.now().mono_ms);
        let shared = Arc::new(Shared {
            directory: RwLock::new(Arc::new(directory)),
            counters: Counters::default(),
            listeners: Mutex::new(settings.listen.iter().map(|address| (*address, None)).collect()),
        });
        let (nudge, nudges) = bounded(1);
        // A nudge that is there already is enough.
        state.on_change(move || {
            let _ = nudge.try_send(());
        });
        let (stop, stopped) = bounded(0);
        let its = shared.clone();
        let follow = move || follow(&its, &state, directories, &nudges, &stopped);
        let thread = thread::Builder::new().name("names".into()).spawn(follow)?;
        let its = shared.clone();
        // It has nothing to lose, and ends with the process.
        thread::Builder::new().name("dns".into()).spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!("DNS: the thread's priority stays: {error}");
            }
            serve::serve(&its);
        })?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// As the API shows it.
    pub fn show(&self) -> rest::Dns {
        let directory = self.shared.directory();
        let listener = |(address, problem): &(SocketAddr, Option<String>)| rest::DnsListener {
            address: *address,
            problem: problem.clone(),
        };
        rest::Dns {
            apex: directory.apex().into(),
            name_servers: directory.name_servers().to_vec(),
            listeners: lock(&self.shared.listeners).iter().map(listener).collect(),
            counters: self.shared.counters.show(),
            names: directory.shown().to_vec(),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps what is answered as the model says.
fn follow(shared: &Shared, state: &State, mut directories: Directories, nudges: &Receiver<()>, stopped: &Receiver<()>) {
    let mut seen = None;
    let mut due: Option<u64> = None;
    loop {
        let (model, now) = (state.model(), state.now().mono_ms);
        if seen != Some(model.epoch()) || due.is_some_and(|at| at <= now) {
            let (directory, next) = directories.make(&model, now);
            (seen, due) = (Some(model.epoch()), next);
            *shared.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
        }
        let left = due.map(|at| Duration::from_millis(at.saturating_sub(now)));
        select! {
            recv(nudges) -> _ => thread::sleep(SETTLE),
            recv(stopped) -> _ => return,
            default(left.unwrap_or(TURN_MAX).min(TURN_MAX)) => {}
        }
    }
}

impl Shared {
    fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether it listens at an address; what is new is logged.
    fn note(&self, address: SocketAddr, problem: Option<String>) {
        for (_, noted) in
            lock(&self.listeners).iter_mut().filter(|(known, noted)| *known == address && *noted != problem)
        {
            match &problem {
                Some(why) => tracing::error!("DNS: cannot listen on {address}, and tries again: {why}"),
                None => tracing::info!("DNS: listens on {address} again"),
            }
            noted.clone_from(&problem);
        }
    }
}

impl Counters {
    /// Counts a query and what became of it; none: it was ignored.
    fn count(&self, outcome: Option<Outcome>) {
        let counter = match outcome {
            Some(Outcome::Answered) => &self.answered,
            Some(Outcome::NoData) => &self.no_data,
            Some(Outcome::NoSuchName) => &self.no_such_name,
            Some(Outcome::Refused) => &self.refused,
            Some(Outcome::Bad) => &self.bad,
            None => &self.ignored,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self) -> rest::DnsCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        rest::DnsCounters {
            answered: read(&self.answered),
            no_data: read(&self.no_data),
            no_such_name: read(&self.no_such_name),
            refused: read(&self.refused),
            bad: read(&self.bad),
            ignored: read(&self.ignored),
            over_tcp: read(&self.over_tcp),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

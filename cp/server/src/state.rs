//! The configuration and who may touch it.
//!
//! | what | owner | others |
//! |---|---|---|
//! | model and store | thread `store` of [`State`] | read whole models, `Arc`s that never change, by [`State::model`] |
//! | the segment: snapshots, rings, heartbeat | thread `publisher` ([`crate::publisher`]) | read its counters and headers through [`crate::plane::Plane`] |
//! | health runs, prober, netlink configuration, deadlines, freeing of slots | thread `keeper` ([`crate::keeper`]) | |
//! | sockets of health checks | thread `prober` | set the checks, get results over a channel |
//! | rtnetlink | thread `netlink` | set what is wanted, get views |
//! | what DNS answers | thread `names` ([`crate::dns`]) | thread `dns` reads whole directories, `Arc`s that never change |
//! | event log | thread `events` ([`crate::event_log`]) | read it by sequence numbers, and wait for more |
//! | sockets of webhooks | a thread `webhook` each ([`crate::webhook`]) | |
//! | API connections | tokio workers; a change waits for thread `store` | |
//!
//! A change: check and apply to a copy of the model → store (fsync) → make the copy the model → tell publisher and keeper → wait
//! until the lcores work with it (the caller, as long as it likes). Changes that come while the disk is busy wait together and share the
//! next copy and the next `fsync`, in the order in which they came; each has an epoch of its own, and each is refused alone.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{io, mem, thread};

use leat_model::{Code, Command, Effects, Error, Limits, Model, Now, RecordKey, Site};
use tokio::sync::oneshot;

use crate::store::{Record, Store, StoreError};

/// Reads the clocks. The monotonic one begins with the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: wall.as_millis() as u64, mono_ms: self.0.elapsed().as_millis() as u64 }
    }
}

/// Why the control plane cannot begin with what is stored.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its records make no configuration.
    #[error("{0}")]
    Records(#[from] leat_model::LoadError),
    /// The system has no thread for it.
    #[error("no thread for the store: {0}")]
    Thread(#[from] io::Error),
}

/// The owner of the configuration.
pub struct State {
    shared: Arc<Shared>,
    /// Commits what waits, until there is nothing and nobody can ask for more.
    committer: Option<thread::JoinHandle<()>>,
}

/// What all threads share.
struct Shared {
    clock: Clock,
    queue: Mutex<Queue>,
    wake: Condvar,
    model: RwLock<Arc<Model>>,
    listeners: RwLock<Vec<Listener>>,
}

/// What is called after every change.
type Listener = Box<dyn Fn(&Commit<'_>) + Send + Sync>;

/// A change, or several that were stored together.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'c> {
    /// The configuration before.
    pub old: &'c Arc<Model>,
    /// The configuration as it is.
    pub new: &'c Arc<Model>,
    /// The records that differ.
    pub changed: &'c BTreeSet<RecordKey>,
    /// When it was made.
    pub now: Now,
}

/// Commands that wait for the disk.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Nobody asks for more.
    ended: bool,
}

struct Waiting {
    command: Command,
    /// It counts even when it cannot be stored.
    even_unstored: bool,
    tell: Tell,
}

/// What a command has done, or why it was refused.
type Outcome = Result<(Arc<Model>, Effects), Error>;

/// Tells the caller.
type Tell = Box<dyn FnOnce(Outcome) + Send>;

impl State {
    /// Begins with what the store has. A new store gets an empty configuration with a random selection key.
    ///
    /// # Errors
    /// The store cannot be used, or its records make no configuration.
    pub fn begin(mut store: Box<dyn Store>, site: Site, limits: Limits) -> Result<Self, BeginError> {
        let clock = Clock::start();
        let records = store.load()?;
        let model = if records.is_empty() {
            let model = Model::new(site, limits, rand::random());
            store.replace(&all_records(&model))?;
            model
        } else {
            Model::load(site, limits, records, clock.now())?
        };
        let shared = Arc::new(Shared {
            clock,
            queue: Mutex::default(),
            wake: Condvar::new(),
            model: RwLock::new(Arc::new(model)),
            listeners: RwLock::default(),
        });
        let its = shared.clone();
        let committer = thread::Builder::new().name("store".into()).spawn(move || its.commit_all(store))?;
        Ok(Self { shared, committer: Some(committer) })
    }

    /// The configuration as it is.
    pub fn model(&self) -> Arc<Model> {
        self.shared.model()
    }

    /// The clocks.
    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// What reads the clocks.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Calls `listener` after every change, on the thread that made it; it must not wait.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.on_commit(move |_| listener());
    }

    /// The same for one who wants to know what the change was.
    pub fn on_commit(&self, listener: impl Fn(&Commit<'_>) + Send + Sync + 'static) {
        self.shared.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Applies a command and stores what it changed. The thread waits for the disk.
    ///
    /// # Errors
    /// The command breaks a rule, or cannot be stored ([`Code::ServiceUnavailable`]). Nothing was changed then.
    pub fn change(&self, command: Command) -> Outcome {
        self.wait(command, false)
    }

    /// As [`Self::change`], for a caller that has no thread to wait with. It is carried out even if nobody waits for the end.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn change_soon(&self, command: Command) -> Outcome {
        let (tell, told) = oneshot::channel();
        // Who asked may have gone.
        self.shared.push(command, false, Box::new(|outcome| drop(tell.send(outcome))));
        told.await.unwrap_or_else(|_| Err(failed()))
    }

    /// As [`Self::change`], for what happened and cannot be refused, such as a target's failure: it counts even when it
    /// cannot be stored, and is stored with the next change that can.
    ///
    /// # Errors
    /// The command breaks a rule.
    pub fn record(&self, command: Command) -> Outcome {
        self.wait(command, true)
    }

    fn wait(&self, command: Command, even_unstored: bool) -> Outcome {
        let (tell, told) = sync_channel(1);
        self.shared.push(command, even_unstored, Box::new(move |outcome| drop(tell.send(outcome))));
        told.recv().unwrap_or_else(|_| Err(failed()))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        lock(&self.shared.queue).ended = true;
        self.shared.wake.notify_one();
        // The last one to hold it may be a listener.
        if let Some(thread) = self.committer.take().filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// Why a caller is not told more.
fn failed() -> Error {
    Error::new(Code::InternalFailure, "the change has failed; the log of leat-cp says more")
}

impl Shared {
    fn model(&self) -> Arc<Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, command: Command, even_unstored: bool, tell: Tell) {
        lock(&self.queue).waiting.push(Waiting { command, even_unstored, tell });
        self.wake.notify_one();
    }

    /// Commits whatever waits, all of it together each time.
    fn commit_all(&self, mut store: Box<dyn Store>) {
        loop {
            let queue = lock(&self.queue);
            let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.ended;
            let mut queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let waiting = mem::take(&mut queue.waiting);
            if waiting.is_empty() {
                return;
            }
            drop(queue);
            // Those that wait are told by their channels' end. The panic is in the log.
            let _ = catch_unwind(AssertUnwindSafe(|| self.commit(store.as_mut(), waiting)));
        }
    }

    fn commit(&self, store: &mut dyn Store, waiting: Vec<Waiting>) {
        let (old, now) = (self.model(), self.clock.now());
        let mut batch = Batch::new(&old, now);
        let mut results: Vec<_> = waiting.iter().map(|it| batch.apply(&it.command)).collect();
        batch.mend();
        if !batch.changed.is_empty()
            && let Err(error) = write(store, &old, &batch.model, &batch.changed)
        {
            tracing::error!("{error}");
            // What happened counts all the same; what was asked for is refused, unless it asks for nothing new.
            batch = Batch::new(&old, now);
            let refusal = || Error::new(Code::ServiceUnavailable, format!("nothing was changed: {error}"));
            results = waiting
                .iter()
                .map(|it| match it.even_unstored {
                    true => batch.apply(&it.command),
                    false => batch.look(&it.command).and_then(|effects| match effects.changed.is_empty() {
                        true => Ok(effects),
                        false => Err(refusal()),
                    }),
                })
                .collect();
            batch.mend();
        }
        let has_changed = !batch.changed.is_empty();
        let new = if has_changed { Arc::new(batch.model) } else { old.clone() };
        if has_changed {
            *self.model.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
            let commit = Commit { old: &old, new: &new, changed: &batch.changed, now };
            for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
                listener(&commit);
            }
        }
        for (it, result) in waiting.into_iter().zip(results) {
            (it.tell)(result.map(|effects| (new.clone(), effects)));
        }
    }
}

/// Commands applied one after the other to a copy of the model.
struct Batch {
    now: Now,
    model: Model,
    changed: BTreeSet<RecordKey>,
    /// The command applied last was refused, and may have left half of its work in the model.
    spoilt: bool,
    /// The model some commands ago, and those commands: what `model` is made from again when it is spoilt. A copy of the model for
    /// each command would cost more than all the rest of a change.
    kept: Arc<Model>,
    since: Vec<Command>,
}

impl Batch {
    fn new(model: &Arc<Model>, now: Now) -> Self {
        let (kept, model) = (model.clone(), Model::clone(model));
        Self { now, model, changed: BTreeSet::new(), spoilt: false, kept, since: Vec::new() }
    }

    /// Applies a command; what was applied before stays when it is refused.
    fn apply(&mut self, command: &Command) -> Result<Effects, Error> {
        self.mend();
        match self.model.apply(command.clone(), self.now) {
            Ok(effects) => {
                if !effects.changed.is_empty() {
                    self.changed.extend(effects.changed.iter().cloned());
                    self.since.push(command.clone());
                }
                Ok(effects)
            }
            Err(error) => {
                self.spoilt = true;
                Err(error)
            }
        }
    }

    /// What a command would do.
    fn look(&mut self, command: &Command) -> Result<Effects, Error> {
        self.mend();
        self.spoilt = true;
        self.model.apply(command.clone(), self.now)
    }

    /// Makes the model again without what a refused command has left. Every command is repeated once at the most.
    fn mend(&mut self) {
        if !mem::take(&mut self.spoilt) {
            return;
        }
        self.model = Model::clone(&self.kept);
        if self.since.is_empty() {
            return;
        }
        for command in self.since.drain(..) {
            // The same model, command and time as before: the same result.
            let repeated = self.model.apply(command, self.now);
            debug_assert!(repeated.is_ok(), "{repeated:?}");
        }
        self.kept = Arc::new(self.model.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stores what has changed; all of it anew after a failure.
fn write(store: &mut dyn Store, old: &Model, new: &Model, changed: &BTreeSet<RecordKey>) -> Result<(), StoreError> {
    if store.has_failed() {
        store.replace(&all_records(old))?;
    }
    let changes: Vec<_> = changed.iter().map(|key| (key.to_string(), new.record(key))).collect();
    store.commit(&changes)
}

fn all_records(model: &Model) -> Vec<Record> {
    model.record_keys().into_iter().filter_map(|key| Some((key.to_string(), model.record(&key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faulty::FaultyDisk;
    use leat_model::health::{Change, Health, Report};
    use leat_model::{Id, rest};
    use std::sync::mpsc::Receiver;

    fn site() -> Site {
        Site { region: "local".into(), ..Site::default() }
    }

    fn begin(disk: &FaultyDisk) -> State {
        let store = disk.store().expect("a store");
        State::begin(Box::new(store), site(), Limits::default()).expect("a state")
    }

    fn group(name: &str) -> Command {
        let request = serde_json::json!({"name": name, "protocol": "TCP", "port": 80});
        let request = serde_json::from_value(request).expect("a request");
        Command::CreateTargetGroup { request, id: Id(u64::from(name.as_bytes()[0])) }
    }

    fn register(group: &str) -> Command {
        let targets = vec![rest::TargetSpec { id: "10.2.0.11".into(), port: None, zone: None }];
        Command::RegisterTargets { target_group: group.into(), targets }
    }

    #[test]
    fn a_restart_restores_everything() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        state.change(group("a")).expect("good");
        state.change(register("a")).expect("good");
        state
            .record(Command::Health(vec![Report {
                slot: 0,
                generation: 0,
                node: 0,
                change: Change::Health(Health::Healthy, None),
            }]))
            .expect("good");
        let before = state.model();
        drop(state);
        let after = begin(&disk).model();
        assert_eq!(before, after);
        assert_eq!((after.epoch(), after.target(0).expect("it").health), (3, Health::Healthy));
        assert_ne!(after.selection_key(), [0, 0]);
    }

    #[test]
    fn what_cannot_be_stored_is_not_changed() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        state.change(group("a")).expect("good");
        let before = state.model();
        disk.set_failing(true);
        let error = state.change(group("b")).expect_err("read-only");
        assert_eq!(error.code, Code::ServiceUnavailable);
        assert!(error.message.contains("nothing was changed"), "{error}");
        assert_eq!(state.model(), before);
        // A refused command is refused for its own reason, and one that changes nothing succeeds.
        let bad = Command::DeleteListener { load_balancer: "x".into(), port: 1 };
        assert_eq!(state.change(bad).expect_err("unknown").code, Code::LoadBalancerNotFound);
        assert!(state.change(group("a")).is_ok());
        disk.set_failing(false);
        state.change(group("b")).expect("writable again");
        let before = state.model();
        drop(state);
        assert_eq!(begin(&disk).model(), before);
    }

    /// Changes that come while the disk is busy share one commit: each is refused or done by itself, in the order in which they came.
    ///
    /// req: ERR-11
    #[test]
    fn changes_that_wait_share_a_commit() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        let syncs = disk.syncs();
        state.change(group("a")).expect("good");
        let syncs_of_one = disk.syncs() - syncs;
        let commands = [
            register("a"),
            group("b"),
            // Refused after its first part was done: nothing of it may stay, and what came before it must.
            Command::All(vec![group("c"), register("nowhere")]),
            register("a"),
            group("d"),
            Command::DeleteTargetGroup { target_group: "b".into() },
        ];
        let syncs = disk.syncs();
        let busy = disk.pause();
        let mut told = vec![ask(&state, group("z"))];
        while !lock(&state.shared.queue).waiting.is_empty() {
            thread::yield_now();
        }
        told.extend(commands.map(|command| ask(&state, command)));
        drop(busy);
        let results: Vec<_> = told.iter().map(|told| told.recv().expect("an answer")).collect();
        let codes: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|error| error.code)).collect();
        let refused = Some(Code::TargetGroupNotFound);
        assert_eq!(codes, [None, None, None, refused, None, None, None]);
        let epochs: Vec<_> = results.iter().flatten().map(|(model, _)| model.epoch()).collect();
        assert_eq!(epochs, [2, 6, 6, 6, 6, 6], "one epoch a change, and readers see the last one of a commit");
        let names: Vec<_> = state.model().target_groups().map(|group| group.name.clone()).collect();
        assert_eq!(names, ["a", "d", "z"]);
        assert_eq!(disk.syncs() - syncs, 2 * syncs_of_one, "one commit for the first, one for all the others");
        let before = state.model();
        drop(state);
        assert_eq!(begin(&disk).model(), before);
    }

    /// A command that waits, and where its outcome comes.
    fn waiting(command: Command, even_unstored: bool) -> (Waiting, Receiver<Outcome>) {
        let (tell, told) = sync_channel(1);
        (Waiting { command, even_unstored, tell: Box::new(move |outcome| drop(tell.send(outcome))) }, told)
    }

    fn ask(state: &State, command: Command) -> Receiver<Outcome> {
        let (Waiting { command, even_unstored, tell }, told) = waiting(command, false);
        state.shared.push(command, even_unstored, tell);
        told
    }

    /// Of changes that share a commit that fails, those that were asked for are refused, and what happened counts.
    #[test]
    fn a_failing_disk_refuses_all_that_wait() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        state.change(group("a")).expect("good");
        state.change(register("a")).expect("good");
        disk.set_failing(true);
        let health = Command::Health(vec![Report {
            slot: 0,
            generation: 0,
            node: 0,
            change: Change::Health(Health::Unhealthy, None),
        }]);
        let commands = [(group("b"), false), (group("b"), false), (health, true), (group("a"), false)];
        let (batch, told): (Vec<_>, Vec<_>) =
            commands.map(|(command, even)| waiting(command, even)).into_iter().unzip();
        lock(&state.shared.queue).waiting = batch;
        state.shared.wake.notify_one();
        let told: Vec<_> =
            told.iter().map(|told| told.recv().expect("an answer").err().map(|error| error.code)).collect();
        let refused = Some(Code::ServiceUnavailable);
        assert_eq!(told, [refused, refused, None, None], "also one that would have done nothing after the other");
        assert_eq!(state.model().target(0).expect("it").health, Health::Unhealthy);
        assert_eq!(state.model().target_groups().count(), 1);
    }

    #[test]
    fn a_targets_failure_counts_even_when_it_cannot_be_stored() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        state.change(group("a")).expect("good");
        state.change(register("a")).expect("good");
        disk.set_failing(true);
        state
            .record(Command::Health(vec![Report {
                slot: 0,
                generation: 0,
                node: 0,
                change: Change::Health(Health::Unhealthy, None),
            }]))
            .expect("counts");
        assert_eq!(state.model().target(0).expect("it").health, Health::Unhealthy);
        disk.set_failing(false);
        state.change(group("b")).expect("writable again");
        let before = state.model();
        drop(state);
        assert_eq!(begin(&disk).model(), before, "what could not be stored came with the next change");
    }
}

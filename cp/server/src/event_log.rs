//! The event log: what has changed, by itself or by command, since this process has started ([`leat_model::events`]).
//!
//! The thread `events` compares configurations before and after changes, and looks at the data plane's life. It is handed each change
//! without anybody waiting for it. When changes come faster than it compares them, those that wait are compared as one; it rests
//! as long as it has worked then, so that it never takes more than half a CPU. The log holds the newest events in memory; who reads
//! them tells by the sequence number how far it has come, so that no reader is in the way of another, or of anything else.

mod kept;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use leat_model::rest::{Event, EventType, Transition};
use leat_model::{Model, Now, RecordKey, events};
use tokio::sync::watch;

use crate::publisher::Publisher;
use crate::state::{Commit, State};
use kept::{Kept, Texts};

/// Events that are kept.
const EVENTS_MAX: usize = 10_000;
/// Changes that wait; those beyond are joined to the last one. Each holds two configurations.
const WAITING_MAX: usize = 4;
/// The data plane is looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// The newest events.
pub struct EventLog {
    boot_id: String,
    ring: Mutex<Ring>,
    /// Sequence number of the newest event, for who waits in a thread and for who waits otherwise.
    added: Condvar,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Kept>,
    texts: Texts,
    /// Sequence number of the newest event; 0: there was none.
    newest: u64,
    merged_changes: u64,
    closed: bool,
}

impl Ring {
    fn add(&mut self, wall_ms: u64, what: &Transition) {
        self.newest += 1;
        self.events.push_back(Kept::new(&mut self.texts, wall_ms, what));
        if let Some(oldest) = (self.events.len() > EVENTS_MAX).then(|| self.events.pop_front()).flatten() {
            oldest.forget(&mut self.texts);
        }
    }

    /// Sequence number of the oldest event that is kept, or of the next one.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.events.len() as u64
    }

    fn shown(&self) -> impl DoubleEndedIterator<Item = Event> {
        let oldest = self.oldest();
        self.events.iter().enumerate().map(move |(at, event)| event.show(&self.texts, oldest + at as u64))
    }
}

/// Part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// In their order.
    pub events: Vec<Event>,
    /// What to go on after.
    pub next: u64,
    /// Events that were to be read and are not kept any more.
    pub dropped: u64,
}

impl EventLog {
    /// An empty log, of an id drawn at random.
    pub fn new() -> Self {
        let boot_id = format!("{:016x}", rand::random::<u64>());
        Self { boot_id, ring: Mutex::default(), added: Condvar::new(), newest: watch::Sender::new(0) }
    }

    /// Tells this run of the process from others.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Changes that were compared together with later ones.
    pub fn merged_changes(&self) -> u64 {
        self.lock().merged_changes
    }

    /// Adds what has happened at a time in milliseconds since 1970; the oldest events make room.
    pub fn add(&self, wall_ms: u64, transitions: Vec<Transition>) {
        if transitions.is_empty() {
            return;
        }
        let mut ring = self.lock();
        transitions.iter().for_each(|what| ring.add(wall_ms, what));
        let newest = ring.newest;
        drop(ring);
        self.added.notify_all();
        self.newest.send_replace(newest);
    }

    /// The oldest events after a sequence number that are wanted, `limit` at the most.
    pub fn after(&self, after: u64, limit: usize, wanted: impl Fn(&Transition) -> bool) -> Part {
        let ring = self.lock();
        let oldest = ring.oldest();
        let from = usize::try_from(after.saturating_add(1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let mut found = ring.shown().skip(from).filter(|event| wanted(&event.what));
        let events: Vec<Event> = found.by_ref().take(limit).collect();
        // Only when all were looked at, those that are not wanted are done with as well.
        let is_all = found.next().is_none();
        let last = events.last().map_or(after, |event| event.sequence);
        Part {
            next: if is_all { ring.newest } else { last },
            events,
            dropped: oldest.saturating_sub(after.saturating_add(1)),
        }
    }

    /// The newest events that are wanted, `limit` at the most.
    pub fn newest(&self, limit: usize, wanted: impl Fn(&Transition) -> bool) -> Part {
        let ring = self.lock();
        let newest = ring.shown().rev().filter(|event| wanted(&event.what)).take(limit);
        let mut events: Vec<Event> = newest.collect();
        events.reverse();
        Part { events, next: ring.newest, dropped: 0 }
    }

    /// Tells the sequence number of the newest event, to be waited for. It ends when the log is closed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Waits in this thread for an event after a sequence number; false: the log is closed, or the time is over.
    pub fn wait(&self, after: u64, patience: Duration) -> bool {
        let idle = |ring: &mut Ring| ring.newest <= after && !ring.closed;
        let ring = self.added.wait_timeout_while(self.lock(), patience, idle);
        let ring = ring.unwrap_or_else(PoisonError::into_inner).0;
        ring.newest > after && !ring.closed
    }

    /// Waits in this thread for a time; false: the log is closed.
    pub fn pause(&self, time: Duration) -> bool {
        let open = self.added.wait_timeout_while(self.lock(), time, |ring| !ring.closed);
        !open.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// The process ends: nobody is to wait any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.added.notify_all();
        // Whoever waits looks again.
        self.newest.send_modify(|_| ());
    }

    /// Whether the process ends.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; it ends when this is dropped.
pub struct Watcher {
    waiting: Arc<Waiting>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Changes on their way to the thread.
#[derive(Default)]
struct Waiting {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
struct Inbox {
    changes: VecDeque<Change>,
    merged: u64,
    stop: bool,
}

/// What a [`Commit`] lends, kept.
struct Change {
    old: Arc<Model>,
    new: Arc<Model>,
    changed: BTreeSet<RecordKey>,
    now: Now,
}

impl Watcher {
    /// Starts the thread: from now on changes are told. Without a publisher there is no data plane to look at.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(state: &State, publisher: Option<Arc<Publisher>>, log: Arc<EventLog>) -> std::io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let (its, clock) = (waiting.clone(), state.clock());
        let run = move || {
            let mut plane = Plane::default();
            while let Some((changes, merged)) = its.take() {
                let begin = Instant::now();
                for change in &changes {
                    let events = events::between(&change.old, &change.new, &change.changed, change.now);
                    log.add(change.now.wall_ms, events);
                }
                log.lock().merged_changes += merged;
                if let Some(publisher) = &publisher {
                    let now = Plane::of(publisher);
                    log.add(clock.now().wall_ms, plane.become_other(now));
                }
                if !changes.is_empty() {
                    drop(changes);
                    thread::sleep(begin.elapsed());
                }
            }
        };
        let thread = thread::Builder::new().name("events".into()).spawn(run)?;
        let its = waiting.clone();
        state.on_commit(move |commit| its.push(commit));
        Ok(Self { waiting, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.waiting.lock().stop = true;
        self.waiting.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a change over. Does not wait.
    fn push(&self, commit: &Commit<'_>) {
        let mut inbox = self.lock();
        let is_full = inbox.changes.len() >= WAITING_MAX;
        match inbox.changes.back_mut().filter(|_| is_full) {
            Some(last) => {
                (last.new, last.now) = (commit.new.clone(), commit.now);
                last.changed.extend(commit.changed.iter().cloned());
                inbox.merged += 1;
            }
            None => {
                let (old, new, changed) = (commit.old.clone(), commit.new.clone(), commit.changed.clone());
                inbox.changes.push_back(Change { old, new, changed, now: commit.now });
            }
        }
        drop(inbox);
        self.wake.notify_one();
    }

    /// What waits, after [`LOOK`] at the latest, and how many changes were joined to others; none: the end.
    fn take(&self) -> Option<(VecDeque<Change>, u64)> {
        let idle = |inbox: &mut Inbox| inbox.changes.is_empty() && !inbox.stop;
        let inbox = self.wake.wait_timeout_while(self.lock(), LOOK, idle);
        let mut inbox = inbox.unwrap_or_else(PoisonError::into_inner).0;
        let taken = (std::mem::take(&mut inbox.changes), std::mem::take(&mut inbox.merged));
        (!inbox.stop).then_some(taken)
    }
}

/// The data plane's life, as far as it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Plane {
    attached: bool,
    incarnation: u64,
    /// It has been attached before: else nothing can be lost.
    known: bool,
}

impl Plane {
    fn of(publisher: &Publisher) -> Self {
        let attached = publisher.progress().borrow().attached;
        let incarnation = publisher.plane().map_or(0, |plane| plane.incarnation());
        Self { attached, incarnation, known: attached }
    }

    fn become_other(&mut self, now: Self) -> Vec<Transition> {
        let now = Self { known: self.known || now.known, ..now };
        let before = std::mem::replace(self, now);
        let to = match (before.attached, now.attached) {
            (false, true) => "attached",
            (true, false) => "lost",
            (true, true) if before.incarnation != now.incarnation => "restarted",
            _ => return Vec::new(),
        };
        let from = if before.attached { "attached" } else { "lost" };
        let description = now.attached.then(|| format!("incarnation {}", now.incarnation));
        let event = EventType::DataPlane.to(to);
        vec![Transition { from: before.known.then(|| from.into()), description, ..event }]
    }
}

#[cfg(test)]
mod tests;

//! One thread owns the segment: it attaches, publishes snapshots, learns what the lcores work with, and carries commands and events.
//!
//! * After a change the snapshot follows within 10 ms: at once when the last one is older than that, so that many changes
//!   share one (S20.2). A large one that takes longer to make follows after twice that time: changes never take more than half a CPU. Without changes it is published anew every second: the same work, and any loss heals.
//! * The next snapshot waits until the data plane has read the last one; changes made meanwhile share it.
//! * An epoch is applied when every lcore of the living data plane works with a snapshot of it that was published since this process,
//!   or that data plane, started: what an earlier one has left in the segment proves nothing.
//! * With no data plane the thread looks for one every 100 ms, and nothing waits for it.
//! * Where none is expected ([`Publisher::absent`]) there is no thread, and every change is applied as soon as it is made.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use leat_abi::segment::{PublishError, SegmentError, monotonic_ms};
use leat_abi::{ControlSegment, Snapshot};
use leat_compile::view::NetView;
use leat_compile::{Compiled, Shape, TableCache};
use leat_model::Model;
use leat_model::view::NO_DATA_PLANE;
use tokio::sync::watch;

use crate::events::{Exchange, Request};
use crate::plane::Plane;
use crate::state::State;

/// Changes this close to each other share a snapshot.
const COALESCE: Duration = Duration::from_millis(10);
/// Without changes a snapshot is published this often.
const REPUBLISH: Duration = Duration::from_secs(1);
/// Heartbeats, and looks at the segment's file.
const LOOK: Duration = Duration::from_millis(100);
/// While something is awaited from the data plane.
const POLL: Duration = Duration::from_millis(1);
/// The data plane did not read a snapshot for so long: it hangs.
const STUCK: Duration = Duration::from_secs(2);

/// Generations that are remembered until they are acknowledged; an lcore that hangs does not let the list grow.
const OUTSTANDING_MAX: usize = 64;

/// How far the data plane has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether a living data plane is there.
    pub attached: bool,
    /// The newest epoch that all its lcores work with; 0: none.
    pub applied_epoch: u64,
}

/// The thread; it ends when this is dropped.
pub struct Publisher {
    shared: Arc<Shared>,
    /// None where no data plane is expected.
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread shares with others.
struct Shared {
    /// Written by others, taken by the thread.
    inputs: Mutex<Inputs>,
    wake: Condvar,
    /// Written by the thread.
    plane: RwLock<Option<Arc<Plane>>>,
    problems: RwLock<Vec<String>>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Inputs {
    changed: bool,
    view: Arc<NetView>,
    requests: Vec<Request>,
    stop: bool,
}

impl Publisher {
    /// Starts the thread. `ports` are the names that the indices of network views stand for.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(segment: PathBuf, state: Arc<State>, ports: Vec<String>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let mut worker = Worker {
            path: segment,
            state,
            ports,
            shared: shared.clone(),
            view: Arc::default(),
            cache: TableCache::default(),
            compiled: None,
            attached: None,
            said: None,
            looked: None,
            compiling: Duration::ZERO,
        };
        let thread = thread::Builder::new().name("publisher".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For where there is no data plane, and none is expected.
    pub fn absent() -> Self {
        let shared = Shared { problems: RwLock::new(vec![NO_DATA_PLANE.into()]), ..Shared::new() };
        Self { shared: Arc::new(shared), thread: None }
    }

    /// Whether no data plane is expected.
    pub fn is_absent(&self) -> bool {
        self.thread.is_none()
    }

    /// Says that the model has changed. Does not wait.
    pub fn changed(&self) {
        self.shared.tell(|inputs| inputs.changed = true);
    }

    /// Says what is known of the network now. Does not wait.
    pub fn set_view(&self, view: Arc<NetView>) {
        self.shared.tell(|inputs| (inputs.view, inputs.changed) = (view, true));
    }

    /// What is known of the network.
    pub fn view(&self) -> Arc<NetView> {
        self.shared.inputs.lock().unwrap_or_else(PoisonError::into_inner).view.clone()
    }

    /// Asks something of the lcores. Does not wait.
    pub fn request(&self, request: Request) {
        // Dropping a request tells the asker.
        if self.thread.is_some() {
            self.shared.tell(|inputs| inputs.requests.push(request));
        }
    }

    /// How far the data plane has come, to look at or to wait for.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Waits until all lcores work with an epoch, or for `patience`. Does not wait for a data plane that is not there unless
    /// `for_attach`.
    pub async fn applied(&self, epoch: u64, patience: Duration, for_attach: bool) -> bool {
        if self.is_absent() {
            return true;
        }
        let mut progress = self.progress();
        let done = |progress: &Progress| {
            progress.attached && progress.applied_epoch >= epoch || !progress.attached && !for_attach
        };
        let result = tokio::time::timeout(patience, progress.wait_for(done)).await;
        matches!(result, Ok(Ok(progress)) if progress.attached)
    }

    /// The segment, if one is mapped. Its data plane may be dead.
    pub fn plane(&self) -> Option<Arc<Plane>> {
        self.shared.plane.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What keeps the configuration from working.
    pub fn problems(&self) -> Vec<String> {
        self.shared.problems.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.tell(|inputs| inputs.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            inputs: Mutex::default(),
            wake: Condvar::new(),
            plane: RwLock::default(),
            problems: RwLock::default(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Inputs)) {
        change(&mut self.inputs.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    fn set_problems(&self, problems: Vec<String>) {
        let mut known = self.problems.write().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::error!("{problem}");
        }
        *known = problems;
    }
}

struct Worker {
    path: PathBuf,
    state: Arc<State>,
    ports: Vec<String>,
    shared: Arc<Shared>,
    view: Arc<NetView>,
    cache: TableCache,
    compiled: Option<LastCompiled>,
    attached: Option<Attached>,
    /// What was said last about a segment that cannot be used.
    said: Option<String>,
    /// When the file was looked at.
    looked: Option<Instant>,
    /// How long the last snapshot took to make.
    compiling: Duration,
}

/// What was compiled last, and what it was made of: as long as nothing of that changes, only the generation does.
struct LastCompiled {
    model: Arc<Model>,
    view: Arc<NetView>,
    shape: Shape,
    result: Compiled,
}

/// A mapped segment.
struct Attached {
    segment: ControlSegment,
    plane: Arc<Plane>,
    exchange: Exchange,
    incarnation: u64,
    /// Published and not known to be applied: (generation, epoch), oldest first.
    outstanding: VecDeque<(u64, u64)>,
    applied_epoch: u64,
    published: Option<Instant>,
    measured: Option<Instant>,
    /// Something has changed since the last snapshot.
    dirty: bool,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let pause = self.pause();
            let mut inputs = self.shared.inputs.lock().unwrap_or_else(PoisonError::into_inner);
            if !inputs.stop && !inputs.changed && inputs.requests.is_empty() {
                inputs = self.shared.wake.wait_timeout(inputs, pause).unwrap_or_else(PoisonError::into_inner).0;
            }
            if inputs.stop {
                return;
            }
            let changed = std::mem::take(&mut inputs.changed);
            let requests = std::mem::take(&mut inputs.requests);
            self.view = inputs.view.clone();
            drop(inputs);

            if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                self.look();
            }
            match &mut self.attached {
                Some(attached) => {
                    attached.dirty |= changed;
                    attached.exchange.turn(requests, attached.plane.is_alive());
                }
                // Nobody to ask: dropping a request tells the asker.
                None => drop(requests),
            }
            self.publish_if_due();
            self.report();
        }
    }

    /// How long nothing has to be done.
    fn pause(&self) -> Duration {
        let Some(attached) = &self.attached else { return LOOK };
        if !attached.plane.is_alive() {
            return LOOK;
        }
        if !attached.outstanding.is_empty() || attached.dirty || attached.exchange.is_busy() {
            return POLL;
        }
        let next_look = self.looked.map_or(Duration::ZERO, |at| LOOK.saturating_sub(at.elapsed()));
        let next_turn = attached.published.map_or(Duration::ZERO, |at| REPUBLISH.saturating_sub(at.elapsed()));
        next_look.min(next_turn)
    }

    /// Attaches to a segment that is new, gives up one that is gone, gives a sign of life.
    fn look(&mut self) {
        if self.attached.as_ref().is_some_and(|attached| !attached.segment.is_current()) {
            tracing::warn!("segment {}: the file is gone or another one; looking for the new one", self.path.display());
            self.attached = None;
        }
        if self.attached.is_none() {
            match ControlSegment::attach(&self.path) {
                Ok(segment) => self.attached = Some(Attached::new(segment)),
                Err(error) => self.say(&error),
            }
        }
        let plane = self.attached.as_ref().map(|attached| attached.plane.clone());
        if let Some(attached) = &mut self.attached {
            self.said = None;
            attached.look();
        }
        *self.shared.plane.write().unwrap_or_else(PoisonError::into_inner) = plane;
    }

    /// Says once why a segment cannot be used. That there is none yet is no news.
    fn say(&mut self, error: &SegmentError) {
        let problem = error.to_string();
        if self.said.as_ref() == Some(&problem) {
            return;
        }
        match error {
            SegmentError::Absent(_) => {
                tracing::info!("{problem}");
                self.shared.set_problems(Vec::new());
            }
            _ => self.shared.set_problems(vec![problem.clone()]),
        }
        self.said = Some(problem);
    }

    fn publish_if_due(&mut self) {
        let Some(attached) = &mut self.attached else { return };
        let since = attached.published.map(|at| at.elapsed());
        let pause = COALESCE.max(2 * self.compiling);
        let due = since.is_none_or(|since| since >= REPUBLISH || attached.dirty && since >= pause);
        if !due || !attached.plane.is_alive() {
            return;
        }
        let announced = attached.segment.announced_generation();
        if attached.segment.header().consumed.load(Ordering::Acquire) != announced {
            if since.is_some_and(|since| since >= STUCK) {
                let problem = format!("the data plane does not take generation {announced}; its log may say why");
                self.shared.set_problems(vec![problem]);
            }
            return;
        }
        let shape = Shape { ports: attached.plane.port_names(), limits: attached.segment.limits() };
        let model = self.state.model();
        let same = |last: &LastCompiled| {
            Arc::ptr_eq(&last.model, &model) && Arc::ptr_eq(&last.view, &self.view) && last.shape == shape
        };
        let last = self.compiled.take().filter(same).unwrap_or_else(|| {
            let begin = Instant::now();
            let result = leat_compile::compile(&model, &self.view, &self.ports, &shape, announced + 1, &mut self.cache);
            self.compiling = begin.elapsed();
            LastCompiled { model, view: self.view.clone(), shape, result }
        });
        let LastCompiled { result: Compiled { snapshot, epoch, problems }, .. } = &mut self.compiled.insert(last);
        snapshot.generation = announced + 1;
        let mut problems = problems.clone();
        if let Err(error) = attached.publish(snapshot, *epoch) {
            problems.push(error.to_string());
        }
        if attached.plane.refused() != 0 && attached.plane.refused() == announced {
            problems.push(format!("the data plane has refused generation {announced}; its log says why"));
        }
        self.shared.set_problems(problems);
    }

    /// Says how far the data plane has come.
    fn report(&mut self) {
        let progress = self.attached.as_mut().map_or(Progress::default(), Attached::progress);
        self.shared.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
    }
}

impl Attached {
    fn new(segment: ControlSegment) -> Self {
        let plane = Arc::new(Plane::of(&segment));
        let exchange = Exchange::new(&segment);
        segment.header().cp_pid.store(std::process::id().into(), Ordering::Release);
        tracing::info!(
            "attached to the segment: {} lcores, {} flow entries each, generation {}",
            plane.geometry().lcores,
            plane.geometry().flows_max,
            segment.announced_generation()
        );
        Self {
            incarnation: plane.incarnation(),
            segment,
            plane,
            exchange,
            outstanding: VecDeque::new(),
            applied_epoch: 0,
            published: None,
            measured: None,
            dirty: true,
        }
    }

    fn look(&mut self) {
        self.segment.header().cp_heartbeat_ms.store(monotonic_ms(), Ordering::Release);
        let incarnation = self.plane.incarnation();
        if incarnation != self.incarnation {
            tracing::warn!("the data plane was restarted; publishing anew");
            self.incarnation = incarnation;
            self.outstanding.clear();
            self.applied_epoch = 0;
            self.published = None;
            self.exchange.restart();
        }
        if self.measured.is_none_or(|at| at.elapsed() >= REPUBLISH) {
            self.measured = Some(Instant::now());
            self.plane.measure();
        }
    }

    fn publish(&mut self, snapshot: &Snapshot, epoch: u64) -> Result<(), PublishError> {
        // When it fails, not again before something changes or a second has passed.
        (self.published, self.dirty) = (Some(Instant::now()), false);
        self.segment.publish(snapshot)?;
        self.outstanding.push_back((snapshot.generation, epoch));
        if self.outstanding.len() > OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        Ok(())
    }

    fn progress(&mut self) -> Progress {
        let attached = self.plane.is_alive();
        let acknowledged = self.segment.acknowledged_generation();
        while let Some((generation, epoch)) = self.outstanding.front().copied() {
            if generation > acknowledged {
                break;
            }
            self.outstanding.pop_front();
            self.applied_epoch = self.applied_epoch.max(epoch);
        }
        Progress { attached, applied_epoch: if attached { self.applied_epoch } else { 0 } }
    }
}

#[cfg(test)]
pub mod tests;

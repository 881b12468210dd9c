//! The configuration and who may touch it.
//!
//! | what | owner | others |
//! |---|---|---|
//! | model and store | [`State`], behind one mutex that is held from the check of a command to its commit and nothing else | read whole models, `Arc`s that never change, by [`State::model`] |
//! | the segment: snapshots, rings, heartbeat | thread `publisher` ([`crate::publisher`]) | read its counters and headers through [`crate::plane::Plane`] |
//! | health runs, prober, netlink configuration, deadlines, freeing of slots | thread `keeper` ([`crate::keeper`]) | |
//! | sockets of health checks | thread `prober` | set the checks, get results over a channel |
//! | rtnetlink | thread `netlink` | set what is wanted, get views |
//! | API connections | tokio workers; a change runs on a blocking thread, as it waits for the disk | |
//!
//! A change: check and apply to a copy of the model → store (fsync) → make the copy the model → tell publisher and keeper → wait
//! until the lcores work with it (the caller, as long as it likes).

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use leat_model::{Code, Command, Effects, Error, Limits, Model, Now, Site};

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
}

/// The owner of the configuration.
pub struct State {
    clock: Clock,
    core: Mutex<Core>,
    model: RwLock<Arc<Model>>,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

struct Core {
    store: Box<dyn Store>,
    /// A write has failed: the store's content is not known, and it is written anew before the next change.
    suspect: bool,
}

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
        Ok(Self {
            clock,
            core: Mutex::new(Core { store, suspect: false }),
            model: RwLock::new(Arc::new(model)),
            listeners: RwLock::default(),
        })
    }

    /// The configuration as it is.
    pub fn model(&self) -> Arc<Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Calls `listener` after every change, on the thread that made it; it must not wait.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Applies a command and stores what it changed. Waits for the disk.
    ///
    /// # Errors
    /// The command breaks a rule, or cannot be stored ([`Code::ServiceUnavailable`]). Nothing was changed then.
    pub fn change(&self, command: Command) -> Result<(Arc<Model>, Effects), Error> {
        self.apply(command, false)
    }

    /// As [`Self::change`], for what happened and cannot be refused, such as a target's failure: it counts even when it
    /// cannot be stored, and is stored with the next change that can.
    ///
    /// # Errors
    /// The command breaks a rule.
    pub fn record(&self, command: Command) -> Result<(Arc<Model>, Effects), Error> {
        self.apply(command, true)
    }

    fn apply(&self, command: Command, even_unstored: bool) -> Result<(Arc<Model>, Effects), Error> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.model();
        let mut new = Model::clone(&old);
        let effects = new.apply(command, self.now())?;
        if effects.changed.is_empty() {
            return Ok((old, effects));
        }
        match core.store(&old, &new, &effects) {
            Err(error) if even_unstored => tracing::error!("{error}"),
            Err(error) => {
                tracing::error!("{error}");
                return Err(Error::new(Code::ServiceUnavailable, format!("nothing was changed: {error}")));
            }
            Ok(()) => {}
        }
        let new = Arc::new(new);
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        drop(core);
        for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
        Ok((new, effects))
    }
}

impl Core {
    fn store(&mut self, old: &Model, new: &Model, effects: &Effects) -> Result<(), StoreError> {
        if self.suspect {
            self.store.replace(&all_records(old))?;
            self.suspect = false;
        }
        let changes: Vec<_> = effects.changed.iter().map(|key| (key.to_string(), new.record(key))).collect();
        let result = self.store.commit(&changes);
        self.suspect = result.is_err();
        result
    }
}

fn all_records(model: &Model) -> Vec<Record> {
    model.record_keys().into_iter().filter_map(|key| Some((key.to_string(), model.record(&key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faulty::FaultyDisk;
    use leat_model::health::{Change, Health};
    use leat_model::{Id, rest};

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
        state.record(Command::Health(vec![(0, 0, Change::Health(Health::Healthy, None))])).expect("good");
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

    #[test]
    fn a_targets_failure_counts_even_when_it_cannot_be_stored() {
        let disk = FaultyDisk::default();
        let state = begin(&disk);
        state.change(group("a")).expect("good");
        state.change(register("a")).expect("good");
        disk.set_failing(true);
        state.record(Command::Health(vec![(0, 0, Change::Health(Health::Unhealthy, None))])).expect("counts");
        assert_eq!(state.model().target(0).expect("it").health, Health::Unhealthy);
        disk.set_failing(false);
        state.change(group("b")).expect("writable again");
        let before = state.model();
        drop(state);
        assert_eq!(begin(&disk).model(), before, "what could not be stored came with the next change");
    }
}

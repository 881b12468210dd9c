//! One thread keeps the configuration's promises: health checks follow it, their results come back into it, deadlines end,
//! numbers are freed, Linux is told what is needed.
//!
//! All it knows can be made anew from the model, so nothing of it is stored. Where no data plane is expected, deadlines and numbers are
//! all that is left of it.

mod watchdog;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use leat_abi::counters::{ListenerCounter, TargetCounter};
use leat_model::forward::CheckPlan;
use leat_model::health::{Change, Health, Outcome, Report, Runs};
use leat_model::resource::{LoadBalancer, Node, Target};
use leat_model::{Command, Error, Id, Model};

use crate::netlink::{NetConfig, Network, PortConfig};
use crate::plane::Plane;
use crate::prober::{Check, CheckId, ProbeFailure, ProbeResult, Prober};
use crate::publisher::{Progress, Publisher};
use crate::state::State;
use crate::stats;
use crate::suspects::Suspects;
use watchdog::Watchdog;

/// Checks and network configuration follow a change within this time: many changes share one look at all targets.
const SETTLE: Duration = Duration::from_millis(10);
/// Numbers are looked at for being free this often.
const RECLAIM: Duration = Duration::from_secs(1);
/// The thread looks around at least this often.
const TURN_MAX: Duration = Duration::from_millis(100);
/// Checks that could not be made (the node's address is not on a TAP yet, say) are made again this soon, not an interval later.
const RETRY: Duration = Duration::from_millis(500);
/// So long may somebody take who has an address of a new load balancer, until he answers.
const ANSWER: Duration = Duration::from_millis(500);
/// Results taken together at the most.
const RESULTS_MAX: usize = 4096;

/// The thread; it ends when this is dropped.
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, and with it prober and netlink if a data plane is expected. `strict_parity`: see [`Prober::start`].
    ///
    /// # Errors
    /// There can be no more threads or sockets.
    pub fn start(
        state: Arc<State>,
        publisher: Arc<Publisher>,
        ports: Vec<PortConfig>,
        strict_parity: bool,
    ) -> std::io::Result<Self> {
        let (result_sender, results) = unbounded();
        let (nudge_sender, nudges) = bounded(1);
        let (stop, stopped) = bounded(0);
        let outside = if publisher.is_absent() {
            None
        } else {
            let views = publisher.clone();
            let network = Network::start(move |view| views.set_view(view))?;
            let prober = Prober::start(result_sender.clone(), strict_parity)?;
            Some(Outside { network, prober, watchdog: Watchdog::new(Instant::now()) })
        };
        // A nudge that is there already is enough.
        state.on_change(move || {
            let _ = nudge_sender.try_send(());
        });
        let mut worker = Worker {
            state,
            publisher,
            ports,
            outside,
            _results: result_sender,
            runs: Runs::default(),
            suspects: Suspects::new(),
            planned: None,
            planned_at: Instant::now(),
            retries: HashMap::new(),
            retry: false,
            seen: HashMap::new(),
            asked: HashMap::new(),
            free: HashMap::new(),
            reclaimed: Instant::now(),
        };
        let thread =
            thread::Builder::new().name("keeper".into()).spawn(move || worker.run(&results, &nudges, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    state: Arc<State>,
    publisher: Arc<Publisher>,
    ports: Vec<PortConfig>,
    /// None where no data plane is expected.
    outside: Option<Outside>,
    /// Keeps the channel of results open.
    _results: Sender<ProbeResult>,
    runs: Runs,
    suspects: Suspects,
    /// The epoch for which checks and netlink configuration were set last.
    planned: Option<u64>,
    planned_at: Instant,
    /// By slot and node: how often a check could not be made. Part of the check's name.
    retries: HashMap<(u16, u8), u8>,
    /// Some check is to be made again.
    retry: bool,
    /// The epoch in which each inactive load balancer was first seen.
    seen: HashMap<Id, u64>,
    /// Since when the network is asked for the addresses of those.
    asked: HashMap<Id, Instant>,
    /// Those whose addresses nobody else has, and since when that is known.
    free: HashMap<Id, Instant>,
    reclaimed: Instant,
}

/// What acts on the world.
struct Outside {
    network: Network,
    prober: Prober,
    watchdog: Watchdog,
}

impl Worker {
    fn run(&mut self, results: &Receiver<ProbeResult>, nudges: &Receiver<()>, stopped: &Receiver<()>) {
        loop {
            self.look_at_ports();
            self.look_at_prober();
            self.look_at_answers();
            self.plan();
            self.expire();
            self.activate();
            if self.reclaimed.elapsed() >= RECLAIM {
                self.reclaimed = Instant::now();
                self.reclaim();
            }
            select! {
                recv(results) -> result => {
                    let batch: Vec<_> = result.into_iter().chain(results.try_iter().take(RESULTS_MAX)).collect();
                    self.observe(&batch);
                }
                recv(nudges) -> _ => {}
                recv(stopped) -> _ => return,
                default(self.pause()) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        let next = self.state.model().next_expiry_ms();
        let left = next.map(|at| Duration::from_millis(at.saturating_sub(self.state.now().mono_ms)));
        let unplanned = self.outside.is_some() && self.planned != Some(self.state.model().epoch());
        let most = if unplanned { SETTLE } else { TURN_MAX };
        left.unwrap_or(most).min(most)
    }

    /// Sets checks and network configuration for the model as it is.
    fn plan(&mut self) {
        let Some(Outside { network, prober, .. }) = &self.outside else { return };
        let model = self.state.model();
        let since = self.planned_at.elapsed();
        let retry = self.retry && since >= RETRY;
        let is_due = self.planned.is_none() || since >= SETTLE;
        if (self.planned == Some(model.epoch()) || !is_due) && !retry {
            return;
        }
        (self.planned, self.planned_at, self.retry) = (Some(model.epoch()), Instant::now(), false);
        self.retries.retain(|(slot, _), _| model.target(*slot).is_some());
        let retries = |plan: &CheckPlan| self.retries.get(&(plan.slot, plan.node)).copied().unwrap_or(0);
        let checks = model.check_plans().iter().map(|plan| check(&model, plan, retries(plan))).collect();
        prober.set_checks(checks, reserved_ports(&model));
        self.runs.keep(|slot| model.target(slot).is_some());
        let (sure, asked): (Vec<_>, Vec<_>) = model
            .load_balancers()
            .filter(|lb| lb.failed.is_none())
            .partition(|lb| lb.active || self.free.contains_key(&lb.id));
        let nodes = sure.iter().flat_map(|lb| &lb.nodes);
        let node_addresses = nodes.flat_map(Node::all_addresses_and_places).collect();
        network.set_config(NetConfig { ports: self.ports.clone(), node_addresses });
        let addresses = model.targets().map(|target| target.address);
        let fresh: Vec<IpAddr> = asked.iter().flat_map(|lb| neighbours(&model, lb)).collect();
        let addresses = addresses.chain(fresh.iter().copied());
        let wanted: BTreeSet<IpAddr> = addresses.filter(|address| !address.is_unspecified()).collect();
        network.set_fresh(fresh);
        network.set_wanted(wanted.into_iter().collect());
    }

    fn observe(&mut self, results: &[ProbeResult]) {
        let model = self.state.model();
        let mut reports: Vec<Report> = Vec::new();
        let mut checked = Vec::new();
        for result in results {
            let CheckName { slot, generation, node, .. } = CheckName::of(result.id);
            tracing::debug!(slot, node, late = ?result.at.elapsed(), outcome = ?result.outcome, "checked");
            let retries = self.retries.entry((slot, node)).or_default();
            let target = model.target(slot).filter(|target| CheckName::new(target, node, *retries).id() == result.id);
            let Some(target) = target else { continue };
            let Some(group) = model.target_group(target.group) else { continue };
            let outcome = outcome(&result.outcome);
            if outcome == Outcome::NotMade {
                *retries = retries.wrapping_add(1);
                self.retry = true;
            } else {
                checked.push((slot, generation));
            }
            let run = self.runs.of(slot, node, generation, target.initial_since_epoch);
            let health = target.verdict(node).map_or(Health::Initial, |verdict| verdict.health);
            for change in run.observe(health, outcome, group.thresholds()) {
                if let Change::Health(health, _) = change {
                    let socket = SocketAddr::new(target.address, target.port);
                    tracing::info!("target {socket} of {} is {} for node {node}", group.name, health.name());
                }
                reports.push(Report { slot, generation, node, change });
            }
        }
        if !reports.is_empty() {
            self.record(Command::Health(reports));
        }
        if let Some(cleared) = self.suspects.checked(checked.into_iter()) {
            self.record(cleared);
        }
    }

    /// Notes which targets have no new flows for a while because of how they answer their clients.
    fn look_at_answers(&mut self) {
        let Some(plane) = self.publisher.plane().filter(|plane| plane.is_alive()) else { return };
        if let Some(changes) = self.suspects.look(&self.state.model(), &plane) {
            self.record(changes);
        }
    }

    /// Notes which ports have no link.
    fn look_at_ports(&self) {
        let Some(plane) = self.publisher.plane().filter(|plane| plane.is_alive()) else { return };
        let down: BTreeSet<String> = plane.ports_without_link().collect();
        let model = self.state.model();
        if *model.ports_down() != down {
            tracing::warn!("ports without a link: {}", if down.is_empty() { "none".into() } else { join(&down) });
            self.record(Command::PortsDown(down));
        }
    }

    /// Notes whether health checks are made at all (HC-32).
    fn look_at_prober(&mut self) {
        let Some(Outside { prober, watchdog, .. }) = &mut self.outside else { return };
        let stopped = !watchdog.look(prober.beats(), Instant::now());
        if stopped != self.state.model().checks_stopped() {
            if stopped {
                tracing::error!("the health checks have stopped: targets are unavailable, and used as before");
            } else {
                tracing::info!("health checks are made again");
            }
            self.record(Command::ChecksStopped(stopped));
        }
    }

    fn expire(&mut self) {
        let now = self.state.now().mono_ms;
        if self.state.model().next_expiry_ms().is_some_and(|at| at <= now) {
            self.record(Command::Expire);
        }
    }

    /// Load balancers become active when nobody else has their addresses and the data plane works with them.
    fn activate(&mut self) {
        let model = self.state.model();
        let progress = *self.publisher.progress().borrow();
        let inactive = || model.load_balancers().filter(|lb| !lb.active && lb.failed.is_none());
        self.seen.retain(|id, _| inactive().any(|lb| lb.id == *id));
        self.asked.retain(|id, _| inactive().any(|lb| lb.id == *id));
        self.free.retain(|id, _| inactive().any(|lb| lb.id == *id));
        if self.outside.is_some() && progress.attached {
            self.ask(&model, inactive());
        }
        let inactive: Vec<Id> = inactive().map(|lb| lb.id).collect();
        let ready = |id: &Id| {
            let since = *self.seen.entry(*id).or_insert(model.epoch());
            let is_free = self.free.get(id).is_some_and(|since| since.elapsed() >= TURN_MAX);
            self.outside.is_none() || is_free && progress.attached && progress.applied_epoch >= since
        };
        let ready: Vec<Id> = inactive.into_iter().filter(ready).collect();
        if !ready.is_empty() {
            self.try_change(Command::Activate(ready));
        }
    }

    /// Lets the network be asked for the addresses of new load balancers before Linux gets them: who answers has them (LB-02).
    fn ask<'l>(&mut self, model: &Model, inactive: impl Iterator<Item = &'l LoadBalancer>) {
        let view = self.publisher.view();
        let mut failures = Vec::new();
        for lb in inactive {
            if self.free.contains_key(&lb.id) || self.asked.entry(lb.id).or_insert_with(Instant::now).elapsed() < ANSWER
            {
                continue;
            }
            let answer = neighbours(model, lb).find_map(|address| Some((address, view.next_hops.get(&address)?.mac)));
            if let Some((address, mac)) = answer {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                let reason =
                    format!("{address} is in use by {mac}; end that, delete this load balancer and create it again");
                tracing::error!("load balancer {}: {reason}", lb.name);
                failures.push((lb.id, reason));
            } else {
                self.free.insert(lb.id, Instant::now());
                // Linux gets its addresses now.
                self.planned = None;
            }
        }
        if !failures.is_empty() {
            self.try_change(Command::Fail(failures));
        }
    }

    /// Frees the numbers that no flow refers to any more.
    fn reclaim(&mut self) {
        if self.outside.is_none() {
            return self.free_all();
        }
        let Some(plane) = self.publisher.plane().filter(|plane| plane.is_running()) else { return };
        let progress = *self.publisher.progress().borrow();
        let model = self.state.model();
        let targets = free_targets(&model, &plane, progress);
        if !targets.is_empty() {
            self.try_change(Command::FreeTargets(targets));
        }
        let listeners = free_listeners(&model, &plane, progress);
        if !listeners.is_empty() {
            self.try_change(Command::FreeListeners(listeners));
        }
    }

    /// Without a data plane there are no flows: what was waited for is over.
    fn free_all(&self) {
        let model = self.state.model();
        let targets: Vec<_> = model.targets().filter(|target| target.idle_since_epoch().is_some()).collect();
        if !targets.is_empty() {
            self.try_change(Command::FreeTargets(targets.iter().map(|target| (target.slot, Vec::new())).collect()));
        }
        let listeners: Vec<_> = model.retired_listeners().map(|(slot, _)| (slot, Vec::new())).collect();
        if !listeners.is_empty() {
            self.try_change(Command::FreeListeners(listeners));
        }
    }

    fn record(&self, command: Command) {
        if let Err(error) = self.state.record(command) {
            tracing::error!("{error}");
        }
    }

    /// What can wait until the store works again.
    fn try_change(&self, command: Command) {
        // The state has logged why.
        let _: Result<_, Error> = self.state.change(command);
    }
}

/// Whether every lcore makes no new flows since an epoch.
fn settled(progress: Progress, since_epoch: u64) -> bool {
    progress.attached && progress.applied_epoch >= since_epoch
}

fn free_targets(model: &Model, plane: &Plane, progress: Progress) -> Vec<(u16, Vec<u64>)> {
    let idle = model.targets().filter(|target| target.idle_since_epoch().is_some_and(|since| settled(progress, since)));
    let free = idle.filter(|target| plane.target(target.slot, TargetCounter::FlowRefs) == 0);
    free.map(|target| (target.slot, stats::target_says(plane, target.slot))).collect()
}

fn free_listeners(model: &Model, plane: &Plane, progress: Progress) -> Vec<(u16, Vec<u64>)> {
    let retired = model.retired_listeners().filter(|(_, retired)| settled(progress, retired.since_epoch));
    let free = retired.filter(|(slot, _)| plane.listener(*slot, ListenerCounter::FlowRefs) == 0);
    free.map(|(slot, _)| (slot, stats::listener_says(plane, slot))).collect()
}

/// A check's name: new whenever its target becomes `initial`, and when it could not be made, so that the next probe comes at once.
struct CheckName {
    slot: u16,
    generation: u8,
    node: u8,
    /// Low bits of the epoch in which the target became `initial`.
    since: u32,
    retries: u8,
}

impl CheckName {
    fn new(target: &Target, node: u8, retries: u8) -> Self {
        let since = target.initial_since_epoch as u32 & 0xff_ffff;
        Self { slot: target.slot, generation: target.generation, node, since, retries }
    }

    fn id(&self) -> CheckId {
        u64::from(self.slot)
            | u64::from(self.generation) << 16
            | u64::from(self.node) << 24
            | u64::from(self.retries) << 32
            | u64::from(self.since) << 40
    }

    fn of(id: CheckId) -> Self {
        Self {
            slot: id as u16,
            generation: (id >> 16) as u8,
            node: (id >> 24) as u8,
            retries: (id >> 32) as u8,
            since: (id >> 40) as u32,
        }
    }
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn check(model: &Model, plan: &CheckPlan, retries: u8) -> Check {
    Check {
        id: model.target(plan.slot).map_or(0, |target| CheckName::new(target, plan.node, retries).id()),
        source: plan.source,
        target: SocketAddr::new(plan.address, plan.port),
        interval: Duration::from_secs(plan.interval_s.into()),
        timeout: Duration::from_secs(plan.timeout_s.into()),
        proxy_protocol: plan.proxy_protocol,
        request: plan.request.clone(),
    }
}

/// Checks never leave from a port that a listener has on the same address.
fn reserved_ports(model: &Model) -> HashMap<IpAddr, HashSet<u16>> {
    let mut reserved: HashMap<IpAddr, HashSet<u16>> = HashMap::new();
    for listener in model.listeners() {
        for place in &listener.slots {
            reserved.entry(place.address).or_default().insert(listener.port);
        }
    }
    reserved
}

/// The addresses of a load balancer that hosts of its ports' subnets could have.
fn neighbours<'l>(model: &'l Model, lb: &'l LoadBalancer) -> impl Iterator<Item = IpAddr> + 'l {
    let subnets = &model.site().subnets;
    let all = lb.nodes.iter().flat_map(Node::all_addresses);
    all.filter(|address| subnets.iter().any(|(_, net)| net.contains(address)))
}

fn outcome(outcome: &Result<(), ProbeFailure>) -> Outcome {
    match outcome {
        Ok(()) => Outcome::Passed,
        Err(ProbeFailure::Target(cause)) => Outcome::Failed(*cause),
        Err(ProbeFailure::Local(_)) => Outcome::NotMade,
    }
}

#[cfg(test)]
mod tests;

//! The publisher with a data plane played by the test.

use std::net::SocketAddr;
use std::path::Path;

use leat_abi::counters::{Counter, TargetCounter};
use leat_abi::flow::FlowState;
use leat_abi::message::{Command, Event, Filter, FlowRow, Step};
use leat_abi::segment::DataSegment;
use leat_abi::{Geometry, snapshot::Snapshot};
use leat_model::rest::Flows;
use leat_model::{Id, Limits, Site};
use tokio::sync::oneshot;

use super::*;
use crate::events::Names;
use crate::store::faulty::FaultyDisk;
use crate::traces::Traces;

/// A data plane of two lcores with port `p0`.
pub struct FakePlane {
    pub segment: DataSegment,
}

const GEOMETRY: Geometry =
    Geometry { lcores: 2, flows_max: 64, wide_flows_max: 16, targets_max: 64, listeners_max: 64, arena_words: 1 << 16 };

impl FakePlane {
    pub fn start(path: &Path) -> Self {
        let mut segment = DataSegment::create_or_adopt(path, GEOMETRY, false).expect("a segment");
        let header = segment.header();
        header.port[0].name[0].store(u64::from_le_bytes(*b"p0\0\0\0\0\0\0"), Ordering::Relaxed);
        segment.set_ports(1);
        for lcore in 0..2 {
            segment.lcore_header(lcore).running.store(1, Ordering::Release);
        }
        let plane = Self { segment };
        plane.beat();
        plane
    }

    pub fn beat(&self) {
        self.segment.header().dp_heartbeat_ms.store(monotonic_ms(), Ordering::Release);
    }

    /// Waits for a snapshot and takes it, on so many lcores.
    pub fn take(&self, lcores: u16) -> Snapshot {
        loop {
            self.beat();
            if self.segment.pending_generation().is_some() {
                let snapshot = self.segment.read_snapshot().expect("one").expect("a good one");
                self.segment.consume(snapshot.generation, true);
                for lcore in 0..lcores {
                    self.segment.lcore_header(lcore).acknowledge(snapshot.generation);
                }
                return snapshot;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes snapshots until one is as wanted.
    pub fn take_until(&self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        loop {
            let snapshot = self.take(2);
            if wanted(&snapshot) {
                return snapshot;
            }
        }
    }
}

pub struct Bench {
    pub directory: tempfile::TempDir,
    pub state: Arc<State>,
    pub publisher: Arc<Publisher>,
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in tmpfs");
        let store = FaultyDisk::default().store().expect("a store");
        let subnets = vec![("p0".into(), "10.1.0.2/24".parse().expect("a net"))];
        let site = Site { region: "local".into(), subnets, ..Site::default() };
        let state = Arc::new(State::begin(Box::new(store), site, Limits::default()).expect("a state"));
        let segment = directory.path().join("segment");
        let publisher = Publisher::start(segment, state.clone(), vec!["p0".into()]).expect("a thread");
        let publisher = Arc::new(publisher);
        let notified = Arc::downgrade(&publisher);
        state.on_change(move || {
            if let Some(publisher) = notified.upgrade() {
                publisher.changed();
            }
        });
        Self { directory, state, publisher }
    }

    pub fn segment(&self) -> PathBuf {
        self.directory.path().join("segment")
    }

    /// Makes a group; the epoch.
    pub fn change(&self, name: &str) -> u64 {
        let request = serde_json::json!({"name": name, "protocol": "TCP", "port": 80});
        let request = serde_json::from_value(request).expect("a request");
        let command = leat_model::Command::CreateTargetGroup { request, id: Id(rand::random()) };
        self.state.change(command).expect("good").0.epoch()
    }

    pub fn applied(&self, epoch: u64, patience: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(self.publisher.applied(epoch, patience, true))
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_epoch_is_applied_when_every_lcore_has_it() {
    let bench = Bench::new();
    let epoch = bench.change("a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert!(!runtime.block_on(bench.publisher.applied(epoch, LONG, false)), "nobody waits for nobody");
    let plane = FakePlane::start(&bench.segment());
    let snapshot = plane.take(1);
    assert_eq!(snapshot.locals.len(), 1, "the host's own address");
    assert!(!bench.applied(epoch, Duration::from_millis(20)), "one lcore is missing");
    plane.segment.lcore_header(1).acknowledge(snapshot.generation);
    plane.beat();
    assert!(bench.applied(epoch, LONG));
    let status = bench.publisher.plane().expect("attached").status();
    assert_eq!((status.attached, status.lcores.len(), status.ports[0].name.as_str()), (true, 2, "p0"));
    assert_eq!(bench.publisher.problems(), [""; 0]);
}

/// S20.2: it comes again without a change, and after a restart of the data plane.
#[test]
fn snapshots_are_published_again_and_again() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    let first = plane.take(2).generation;
    let second = plane.take(2).generation;
    assert!(second > first);
    let epoch = bench.state.model().epoch();
    assert!(bench.applied(epoch, LONG));

    // A new process on the same segment: what the one before has acknowledged proves nothing.
    let header = plane.segment.header();
    header.incarnation.fetch_add(1, Ordering::AcqRel);
    header.dp_heartbeat_ms.store(0, Ordering::Release);
    let mut progress = bench.publisher.progress();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { progress.wait_for(|p| !p.attached).await.map(|_| ()) }).expect("noticed");
    let epoch = bench.change("b");
    plane.beat();
    assert!(!bench.applied(epoch, Duration::from_millis(20)));
    assert!(plane.take(2).generation > second);
    assert!(bench.applied(epoch, LONG));
}

#[test]
fn a_new_segment_is_found() {
    let bench = Bench::new();
    let first = FakePlane::start(&bench.segment());
    first.take(2);
    std::fs::remove_file(bench.segment()).expect("removed");
    let second = FakePlane::start(&bench.segment());
    let epoch = bench.change("a");
    second.take(2);
    assert!(bench.applied(epoch, LONG));
}

#[test]
fn a_file_that_is_no_segment_is_a_problem_and_not_the_end() {
    let bench = Bench::new();
    std::fs::write(bench.segment(), vec![0u8; 8192]).expect("a file");
    while bench.publisher.problems().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(bench.publisher.problems()[0].contains("not a Leat segment"), "{:?}", bench.publisher.problems());
    std::fs::remove_file(bench.segment()).expect("removed");
    let plane = FakePlane::start(&bench.segment());
    plane.take(2);
    assert!(bench.applied(bench.state.model().epoch(), LONG));
    assert_eq!(bench.publisher.problems(), [""; 0]);
}

#[test]
fn flows_come_from_all_lcores() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    plane.take(2);
    assert!(bench.applied(0, LONG));
    let ask = |limit| {
        let (reply, answer) = oneshot::channel::<Flows>();
        let filter = Filter { protocol: 6, ..Filter::default() };
        bench.publisher.request(Request::Flows { limit, filter, reply });
        answer
    };
    let any: SocketAddr = ([10, 1, 0, 10], 80).into();
    let row = FlowRow {
        client: any,
        vip: any,
        target: any,
        nat: any,
        protocol: 6,
        flags: 0,
        state: FlowState::Established,
        idle_s: 3,
        target_slot: 0,
        listener_slot: 0,
    };
    let mut rings: Vec<_> = (0..2).map(|n| (plane.segment.commands(n), plane.segment.events(n))).collect();
    let mut answer_dump = |rows: usize, lose: bool| {
        for (lcore, (commands, events)) in rings.iter_mut().enumerate() {
            let message = loop {
                plane.beat();
                match commands.pop().expect("a good ring") {
                    Some(message) => break message,
                    None => thread::sleep(Duration::from_millis(1)),
                }
            };
            let Command::FlowDump { id, .. } = Command::decode(&message).expect("a command") else {
                panic!("another command")
            };
            let other = Event::Flow { id: id.wrapping_sub(1), row };
            events.push(&other.encode()).expect("room");
            for _ in 0..rows {
                events.push(&Event::Flow { id, row }.encode()).expect("room");
            }
            if lose {
                plane.segment.counters(lcore as u16).add(Counter::EventsLost, 1);
            }
            events.push(&Event::FlowDumpEnd { id, scanned: 9 }.encode()).expect("room");
        }
    };
    for (limit, rows, lose, expected) in
        [(10, 2, false, (4, true)), (3, 2, false, (3, false)), (10, 1, true, (2, false))]
    {
        let answer = ask(limit);
        answer_dump(rows, lose);
        let flows = answer.blocking_recv().expect("an answer");
        assert_eq!((flows.flows.len(), flows.complete), expected);
    }
}

#[test]
fn traced_packets_are_collected() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    plane.take(2);
    assert!(bench.applied(0, LONG));
    let traces = Arc::new(Traces::default());
    let id = traces.begin(1);
    let request = Request::Trace {
        id,
        count: 1,
        port: 0,
        filter: Filter::default(),
        names: Names::default(),
        traces: traces.clone(),
    };
    bench.publisher.request(request);
    let (mut commands, mut events) = (plane.segment.commands(1), plane.segment.events(1));
    let mut next = || loop {
        plane.beat();
        match commands.pop().expect("a good ring") {
            Some(message) => break Command::decode(&message).expect("a command"),
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    assert_eq!(next(), Command::TraceStart { id, count: 1, port: 0, filter: Filter::default() });
    for (packet, step) in
        [(0, Step::Rx { port: 0, length: 60 }), (0, Step::Punt { port: 0 }), (1, Step::Rx { port: 0, length: 60 })]
    {
        events.push(&Event::Trace { id, packet, step }.encode()).expect("room");
    }
    assert_eq!(next(), Command::TraceStop { id }, "it is enough");
    let trace = traces.get(id).expect("it");
    let stages: Vec<_> = trace.packets[0].steps.iter().map(|step| step.stage.as_str()).collect();
    assert_eq!((trace.packets.len(), trace.packets[0].lcore, stages), (1, 1, vec!["rx", "punt"]));
}

/// Counters of a number's former holder do not count for its present one, and gauges always do.
#[test]
fn counters_are_those_of_the_present_holder() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    bench.change("a");
    let register = |id: &str| {
        let targets = vec![leat_model::rest::TargetSpec { id: id.into(), port: None, zone: None }];
        leat_model::Command::RegisterTargets { target_group: "a".into(), targets }
    };
    bench.state.change(register("10.2.0.11")).expect("good");
    plane.take_until(|snapshot| snapshot.targets.len() == 1);
    assert!(bench.applied(bench.state.model().epoch(), LONG));
    plane.segment.counters(0).target(0, TargetCounter::NewFlows, 5);
    plane.segment.counters(1).target(0, TargetCounter::NewFlows, 2);
    plane.segment.counters(1).target(0, TargetCounter::ActiveFlows, 1);
    let flows = |model: &leat_model::Model| {
        plane.beat();
        let flows = crate::stats::target_flows(model, bench.publisher.plane().as_deref(), 0);
        (flows.new, flows.active)
    };
    assert_eq!(flows(&bench.state.model()), (7, 1));
    let stats = crate::stats::collect(&bench.state.model(), bench.publisher.plane().as_deref());
    assert_eq!((stats.lcores.len(), stats.targets[0].counters["new_flows"]), (2, 7));
    assert_eq!(stats.totals.conservation.difference, 0);

    let deregister = |id: &str| match register(id) {
        leat_model::Command::RegisterTargets { target_group, targets } => {
            leat_model::Command::DeregisterTargets { target_group, targets }
        }
        other => other,
    };
    let delay = [("deregistration_delay.timeout_seconds".to_owned(), "0".to_owned())].into();
    let modify = leat_model::Command::ModifyAttributes { target_group: "a".into(), attributes: delay };
    for command in [modify, deregister("10.2.0.11")] {
        bench.state.change(command).expect("good");
    }
    let says = crate::stats::target_says(&bench.publisher.plane().expect("attached"), 0);
    bench.state.change(leat_model::Command::FreeTargets(vec![(0, says)])).expect("good");
    bench.state.change(register("10.2.0.12")).expect("good");
    plane.segment.counters(0).target(0, TargetCounter::NewFlows, 3);
    assert_eq!(flows(&bench.state.model()), (3, 1));
}

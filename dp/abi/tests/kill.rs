//! Processes killed at random moments (SIGKILL): the survivor, and whoever comes after, only ever sees what is whole.
#![cfg(not(loom))]

mod common;

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use common::{GEOMETRY, directory, read_word, spawn};
use leat_abi::flow::{FlowEntry, FlowState};
use leat_abi::layout::{MAGIC, SegmentHeader};
use leat_abi::ring::{Consumer, MESSAGE_WORDS, Message, Producer, RingError};
use leat_abi::segment::{Origin, PublishError};
use leat_abi::snapshot::{Group, Snapshot, Target, TargetState};
use leat_abi::{ControlSegment, DataSegment};

const KILLS: u64 = 200;

/// One test at a time, so that killer and victim have a CPU each.
static ALONE: Mutex<()> = Mutex::new(());

/// Up to `max`, at random.
fn some_time(max: Duration) -> Duration {
    max.mul_f64((RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64)
}

/// A snapshot in which everything follows from the generation.
fn snapshot(generation: u64) -> Snapshot {
    let slots = 1 + (generation % 60) as u16;
    let target = |slot: u16| Target {
        slot,
        generation: generation as u8,
        state: TargetState::Draining,
        address: Ipv4Addr::from((generation as u32).wrapping_add(slot.into())).into(),
        port: 1 + (generation % 60_000) as u16,
        next_hop: None,
        unhealthy_at: 0,
    };
    Snapshot {
        generation,
        selection_key: [generation, !generation],
        groups: vec![Group {
            preserve_client_ip: true,
            table: (0..900).map(|i| i % slots).collect(),
            ..Group::default()
        }],
        targets: (0..slots).map(target).collect(),
        ..Snapshot::default()
    }
}

/// A message in which everything follows from its sender and its number.
fn message(sender: u32, number: u32) -> Message {
    let name = u64::from(sender) << 32 | u64::from(number);
    std::array::from_fn(|i| name.wrapping_mul(2 * i as u64 + 1))
}

/// Pushes some messages, as far as there is room.
fn push(ring: &mut Producer<'_>, next: &mut u32) {
    for _ in 0..8 {
        match ring.push(&message(std::process::id(), *next)) {
            Ok(()) => *next += 1,
            Err(RingError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads messages and checks that they are whole, in order, and that none is missing.
struct Reader {
    ring: Consumer<'static>,
    sender: u32,
    next: u32,
    read: u64,
}

impl Reader {
    fn new(ring: Consumer<'static>) -> Self {
        Self { ring, sender: 0, next: 0, read: 0 }
    }

    fn drain(&mut self) {
        while let Some(found) = self.ring.pop().expect("good indices") {
            let (sender, number) = ((found[0] >> 32) as u32, found[0] as u32);
            assert_eq!(found, message(sender, number), "a torn message of {MESSAGE_WORDS} words");
            if sender != self.sender {
                (self.sender, self.next) = (sender, 0);
            }
            assert_eq!(number, self.next, "a message is missing or doubled");
            self.next += 1;
            self.read += 1;
        }
    }
}

/// A flow in which everything follows from one number.
fn flow(n: u32) -> FlowEntry {
    FlowEntry {
        client_ip: n,
        vip: !n,
        target_ip: n.wrapping_mul(3),
        nat_port: n as u16,
        state: FlowState::Established as u8,
        client_mac: [n as u8; 6],
        target_ack: n.wrapping_mul(5),
        ..FlowEntry::default()
    }
}

/// What a child process does until it is killed; not a test by itself.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some((role, path)) = common::role() else { return };
    match role.as_str() {
        "control plane" => publish_for_ever(&path),
        "data plane" => read_for_ever(&path),
        "maker" => make_for_ever(&path),
        other => panic!("no such role: {other}"),
    }
}

fn publish_for_ever(path: &Path) {
    let mut segment = ControlSegment::attach(path).expect("to attach");
    let mut commands = segment.commands(0);
    let (mut generation, mut number) = (segment.announced_generation(), 0);
    loop {
        match segment.publish(&snapshot(generation + 1)) {
            Ok(()) => generation += 1,
            Err(PublishError::Busy(_)) => {}
            Err(error) => panic!("{error}"),
        }
        push(&mut commands, &mut number);
    }
}

fn read_for_ever(path: &Path) {
    let mut segment = DataSegment::create_or_adopt(path, GEOMETRY, false).expect("to adopt");
    let mut flows = segment.take_flows().expect("flows");
    for entry in flows.iter().flat_map(|lcore| lcore.iter()).filter(|entry| entry.state != 0) {
        assert_eq!(*entry, flow(entry.client_ip), "an adopted flow is whole");
    }
    let mut events = segment.events(0);
    let mut number = 0;
    for n in (0_u32..).cycle() {
        if let Some((generation, found)) = segment.read_announced() {
            assert_eq!(found, Ok(snapshot(generation)), "what is announced is whole");
            segment.consume(generation, true);
            (0..GEOMETRY.lcores).for_each(|lcore| segment.lcore_header(lcore).acknowledge(generation));
        }
        push(&mut events, &mut number);
        for lcore in &mut flows {
            let number = lcore.number_of(n as usize % GEOMETRY.flows_max as usize);
            let entry = &mut lcore[number];
            // As the flow table does it: given up first, the state last.
            entry.state = 0;
            compiler_fence(Ordering::SeqCst);
            *entry = FlowEntry { state: 0, ..flow(n) };
            compiler_fence(Ordering::SeqCst);
            entry.state = flow(n).state;
        }
    }
}

fn make_for_ever(path: &Path) {
    // What was made stays mapped, so not for too long.
    for _ in 0..200 {
        let _ = std::fs::remove_file(path);
        let segment = DataSegment::create_or_adopt(path, GEOMETRY, false).expect("a segment");
        assert_eq!(segment.origin(), Origin::Created);
    }
}

/// Kills a child that is still running; if it is not, it has found something wrong.
fn kill(mut child: Child) {
    if let Some(status) = child.try_wait().expect("its state") {
        let mut text = String::new();
        child.stdout.take().expect("its output").read_to_string(&mut text).expect("text");
        panic!("the child ended by itself, {status}: {text}");
    }
    child.kill().expect("to kill it");
    child.wait().expect("its end");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
    }
}

/// The control plane is killed while it publishes and sends: the data plane always reads a whole snapshot, and every message that
/// was sent, once.
#[test]
fn the_control_plane_may_be_killed_at_any_moment() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = directory();
    let path = directory.path().join("leat");
    let data = DataSegment::create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    let mut commands = Reader::new(data.commands(0));
    let mut newest = 0;
    let mut turn = |commands: &mut Reader| {
        if data.pending_generation().is_some() {
            let (generation, found) = data.read_announced().expect("something is announced");
            assert!(generation > newest, "generation {generation} after {newest}");
            assert_eq!(found, Ok(snapshot(generation)));
            data.consume(generation, true);
            newest = generation;
        }
        commands.drain();
        newest
    };
    for _ in 0..KILLS {
        let (before, read) = (turn(&mut commands), commands.read);
        let child = spawn("control plane", &path);
        wait_for("the control plane", || turn(&mut commands) > before && commands.read > read);
        let (start, life) = (Instant::now(), some_time(Duration::from_millis(3)));
        while start.elapsed() < life {
            turn(&mut commands);
        }
        kill(child);
        turn(&mut commands);
        let (generation, found) = data.read_announced().expect("something is announced");
        assert_eq!(found, Ok(snapshot(generation)), "whoever reads next finds it whole");
    }
    println!("{newest} generations, {} commands", commands.read);
}

/// The data plane is killed while it reads, acknowledges, reports and makes flows: its successor finds the announced snapshot and
/// every flow whole (the child checks); the control plane never waits, sees every event once, and acknowledgements only grow.
#[test]
fn the_data_plane_may_be_killed_at_any_moment() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = directory();
    let path = directory.path().join("leat");
    let mut control: Option<(ControlSegment, Reader)> = None;
    let (mut generation, mut acknowledged) = (0, 0);
    for incarnation in 1..=KILLS {
        let child = spawn("data plane", &path);
        wait_for("the segment", || {
            if control.is_none() {
                control = ControlSegment::attach(&path).ok().map(|segment| {
                    let events = Reader::new(segment.events(0));
                    (segment, events)
                });
            }
            control.as_ref().is_some_and(|(c, _)| c.header().incarnation.load(Ordering::Acquire) == incarnation)
        });
        let (segment, events) = control.as_mut().expect("attached above");
        let mut turn = |events: &mut Reader| {
            if segment.publish(&snapshot(generation + 1)).is_ok() {
                generation += 1;
            }
            events.drain();
            let now = segment.acknowledged_generation();
            assert!(now >= acknowledged && now <= generation, "acknowledged {now} after {acknowledged}");
            acknowledged = now;
            now
        };
        let (before, read) = (turn(events), events.read);
        wait_for("the data plane", || turn(events) > before && events.read > read);
        let (start, life) = (Instant::now(), some_time(Duration::from_millis(3)));
        while start.elapsed() < life {
            turn(events);
        }
        kill(child);
        turn(events);
        assert!(segment.is_current());
    }
    let (_, events) = control.expect("attached");
    println!("{acknowledged} of {generation} generations, {} events", events.read);
}

/// The data plane is killed while it makes the segment: the path has a whole one or none, and nothing else is left.
#[test]
fn a_maker_may_be_killed_at_any_moment() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = directory();
    let path = directory.path().join("leat");
    let (mut whole, mut none) = (0, 0);
    for _ in 0..KILLS {
        let mut child = spawn("maker", &path);
        let before = std::fs::metadata(&path).ok();
        let same = |now: std::fs::Metadata| before.as_ref().is_some_and(|b| b.modified().ok() == now.modified().ok());
        wait_for("the maker", || std::fs::metadata(&path).is_ok_and(|now| !same(now)));
        std::thread::sleep(some_time(Duration::from_millis(10)));
        child.kill().expect("to kill it");
        child.wait().expect("its end");
        match std::fs::metadata(&path) {
            Err(_) => none += 1,
            Ok(file) => {
                assert_eq!(read_word(&path, 0), MAGIC);
                let total = std::mem::offset_of!(SegmentHeader, total_bytes) as u64 / 8;
                assert_eq!(read_word(&path, total), file.len());
                whole += 1;
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), path.exists().into());
    }
    println!("{whole} whole, {none} none");
    DataSegment::create_or_adopt(&path, GEOMETRY, false).expect("the next one starts");
}

//! The segment as processes meet it: made, found, refused, replaced, attached to.
#![cfg(not(loom))]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use common::{GEOMETRY, directory, read_word, run, spawn, write_word};
use leat_abi::counters::{Counter, DropReason, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowEntry, FlowState};
use leat_abi::layout::{ABI_VERSION, LAYOUT_HASH, MAGIC, SegmentHeader};
use leat_abi::message::{Command, Event, Step};
use leat_abi::segment::{Origin, PublishError};
use leat_abi::snapshot::{Group, Local, LocalKind, Snapshot, SnapshotError, Target, TargetState};
use leat_abi::{ControlSegment, DataSegment, Geometry, SegmentError};

const FLOW: FlowEntry = FlowEntry {
    client_ip: 0x0a01_0203,
    state: FlowState::Established as u8,
    client_mac: [1, 2, 3, 4, 5, 6],
    target_ack: 77,
    ..ZERO_FLOW
};
/// The number of an lcore's last entry.
const LAST: u32 = 749 + 2 * 250;
const ZERO_FLOW: FlowEntry = zerocopy::transmute!([0_u8; 64]);

/// The index of a header's word.
macro_rules! word {
    ($field:ident) => {
        std::mem::offset_of!(SegmentHeader, $field) as u64 / 8
    };
}

/// What a child process does; not a test by itself.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some((role, path)) = common::role() else { return };
    match role.as_str() {
        // A data plane's life: makes the segment, leaves traces in it and ends without a clean stop.
        "data plane" => {
            let mut segment = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
            segment.take_flows().expect("flows")[1][LAST] = FLOW;
            segment.counters(1).add(Counter::RxPackets, 5);
            segment.lcore_header(1).running.store(1, Ordering::Relaxed);
            segment.lcore_header(1).longest_loop.store(9, Ordering::Relaxed);
            segment.lcore_header(1).acknowledge(3);
        }
        // Says what came of it and stays until it is told to go.
        "starter" => {
            let result = DataSegment::create_or_adopt(&path, GEOMETRY, false);
            match &result {
                Ok(segment) => println!("\nresult: {:?}", segment.origin()),
                Err(SegmentError::Locked(_)) => println!("\nresult: Locked"),
                Err(error) => println!("\nresult: {error}"),
            }
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        "second control plane" => {
            let error = ControlSegment::attach(&path).expect_err("the first one is attached");
            assert!(matches!(error, SegmentError::ControlLocked(_)), "{error}");
        }
        other => panic!("no such role: {other}"),
    }
}

/// A segment that a data plane made and left.
fn left_behind(directory: &Path) -> PathBuf {
    let path = directory.join("leat");
    run("data plane", &path);
    path
}

/// As the data plane does it; but a test that starts a process at the same moment lends that one every open file until it executes,
/// and with it a lock that was given up. A refusal for that is waited out.
fn create_or_adopt(path: &Path, geometry: Geometry, discard: bool) -> Result<DataSegment, SegmentError> {
    for _ in 0..30 {
        match DataSegment::create_or_adopt(path, geometry, discard) {
            Err(SegmentError::Locked(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            result => return result,
        }
    }
    DataSegment::create_or_adopt(path, geometry, discard)
}

fn refusal(path: &Path, discard: bool) -> SegmentError {
    create_or_adopt(path, GEOMETRY, discard).expect_err("to be refused")
}

/// What is made is complete, private, and has all its memory.
#[test]
fn a_new_segment_is_complete() {
    let directory = directory();
    let path = directory.path().join("leat");
    let mut segment = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    assert_eq!((segment.origin(), segment.geometry()), (Origin::Created, GEOMETRY));
    let header = segment.header();
    assert_eq!(header.magic.load(Ordering::Relaxed), MAGIC);
    assert_eq!(header.incarnation.load(Ordering::Relaxed), 1);
    assert_eq!(header.dp_pid.load(Ordering::Relaxed), u64::from(std::process::id()));
    assert_ne!(header.owner_key.load(Ordering::Relaxed), 0);
    let file = std::fs::metadata(&path).expect("the file");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(file.len(), header.total_bytes.load(Ordering::Relaxed));
    assert!(file.len().is_multiple_of(2 << 20), "a multiple of the huge page");
    assert!(file.blocks() * 512 >= file.len(), "its memory is reserved");
    let flows = segment.take_flows().expect("flows");
    assert_eq!(flows.iter().map(|lcore| (lcore.capacity(), lcore.first_wide())).collect::<Vec<_>>(), [(1000, 749); 2]);
    assert!(flows.iter().flat_map(|lcore| lcore.iter()).all(|flow| *flow == ZERO_FLOW));
    let second = flows.iter().flat_map(|lcore| lcore.second_line(749).into_iter().chain(lcore.second_line(LAST)));
    assert!(second.clone().count() == 4 && second.map(std::ptr::from_ref).all(|line| line.addr() % 128 == 64));
    assert!(segment.take_flows().is_none(), "they are handed out once");
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 1, "nothing else is left");
}

/// Sizes out of range are refused before anything is touched.
#[test]
fn sizes_out_of_range_are_refused() {
    let directory = directory();
    let path = directory.path().join("leat");
    for geometry in [
        Geometry { lcores: 0, ..GEOMETRY },
        Geometry { lcores: 65, ..GEOMETRY },
        Geometry { flows_max: 63, ..GEOMETRY },
        Geometry { flows_max: (1 << 30) + 1, ..GEOMETRY },
        Geometry { flows_max: (1 << 30) - 1, wide_flows_max: 2, ..GEOMETRY },
        Geometry { targets_max: 0, ..GEOMETRY },
        Geometry { listeners_max: 0, ..GEOMETRY },
        Geometry { arena_words: 1023, ..GEOMETRY },
        Geometry { arena_words: (1 << 30) + 1, ..GEOMETRY },
    ] {
        let error = create_or_adopt(&path, geometry, true).expect_err("out of range");
        assert!(matches!(error, SegmentError::Geometry { .. }), "{error}");
        assert!(!path.exists());
    }
}

/// A segment has one data plane: a second one is refused, as long as the first one's process lives.
#[test]
fn a_second_data_plane_is_refused() {
    let directory = directory();
    let path = directory.path().join("leat");
    let first = DataSegment::create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    for discard in [false, true] {
        let error = refusal(&path, discard);
        assert!(matches!(error, SegmentError::Locked(_)), "{error}");
    }
    drop(first);
    assert!(matches!(refusal(&path, false), SegmentError::Locked(_)), "flows may still be in use");
}

/// Of data planes that start at once, one wins and the others are refused, whatever they find.
#[test]
fn of_several_data_planes_one_wins() {
    for found in ["nothing", "an empty file", "a segment", "a segment of an earlier boot"] {
        let directory = directory();
        let path = directory.path().join("leat");
        match found {
            "nothing" => {}
            "an empty file" => std::fs::write(&path, "").expect("to write"),
            _ => run("data plane", &path),
        }
        if found == "a segment of an earlier boot" {
            write_word(&path, word!(boot_id), 1);
        }
        for _ in 0..5 {
            let mut starters: Vec<_> = (0..4).map(|_| spawn("starter", &path)).collect();
            let mut outputs = Vec::new();
            let mut results: Vec<String> = Vec::new();
            for starter in &mut starters {
                let mut lines =
                    BufReader::new(starter.stdout.take().expect("its output")).lines().map_while(Result::ok);
                results.push(lines.find(|line| line.starts_with("result: ")).expect("a result"));
                outputs.push(lines);
            }
            for (mut starter, output) in starters.into_iter().zip(outputs) {
                starter.stdin.take().expect("its input").write_all(b"\n").expect("to be read");
                output.for_each(drop);
                assert!(starter.wait().expect("its end").success());
            }
            results.sort();
            assert_eq!(results.iter().filter(|result| *result == "result: Locked").count(), 3, "{found}: {results:?}");
            assert!(path.exists());
        }
    }
}

/// Flows, counters and what lcores have acknowledged outlive the process; what described the process does not.
#[test]
fn flows_and_counters_are_adopted() {
    let directory = directory();
    let path = left_behind(directory.path());
    let key = read_word(&path, word!(owner_key));
    let mut segment = create_or_adopt(&path, GEOMETRY, false).expect("to adopt");
    assert_eq!(segment.origin(), Origin::Adopted);
    let flows = segment.take_flows().expect("flows");
    let used: Vec<_> = flows.iter().enumerate().flat_map(|(l, f)| f.iter().map(move |f| (l, f))).collect();
    assert_eq!(used.iter().filter(|(_, flow)| flow.state != 0).collect::<Vec<_>>(), [&(1, &FLOW)]);
    assert_eq!(segment.counters(1).get(Counter::RxPackets), 5);
    assert_eq!(segment.header().incarnation.load(Ordering::Relaxed), 2);
    assert_eq!(segment.header().owner_key.load(Ordering::Relaxed), key, "flows stay with their lcores");
    let lcore = segment.lcore_header(1);
    assert_eq!(lcore.generation.load(Ordering::Relaxed), 3);
    assert_eq!((lcore.running.load(Ordering::Relaxed), lcore.longest_loop.load(Ordering::Relaxed)), (0, 0));
}

/// A segment of other sizes is refused with both sizes in the message, and left as it is.
#[test]
fn another_geometry_is_refused_with_its_numbers() {
    let directory = directory();
    let path = left_behind(directory.path());
    let wanted = Geometry { flows_max: 2222, ..GEOMETRY };
    let error = create_or_adopt(&path, wanted, false).expect_err("another geometry");
    let text = error.to_string();
    assert!(text.contains("flows-max 1000") && text.contains("flows-max 2222"), "{text}");
    assert!(text.contains("--discard-flows"), "says what to do: {text}");
    let mut segment = create_or_adopt(&path, GEOMETRY, false).expect("to adopt");
    assert_eq!(segment.take_flows().expect("flows")[1][LAST], FLOW);
}

/// A segment of another version or layout is refused by both sides, named in the message, and replaced only when told to.
#[test]
fn another_layout_is_refused() {
    let directory = directory();
    let path = left_behind(directory.path());
    for (index, good, other) in
        [(word!(abi_version), ABI_VERSION, ABI_VERSION + 1), (word!(layout_hash), LAYOUT_HASH, LAYOUT_HASH ^ 1)]
    {
        write_word(&path, index, other);
        for error in [refusal(&path, false), ControlSegment::attach(&path).expect_err("to be refused")] {
            let text = error.to_string();
            let named = if index == word!(abi_version) { format!("version {other}") } else { format!("{other:016x}") };
            assert!(matches!(error, SegmentError::Version { .. }) && text.contains(&named), "{text}");
        }
        write_word(&path, index, good);
    }
    write_word(&path, word!(abi_version), ABI_VERSION + 1);
    let mut segment = create_or_adopt(&path, GEOMETRY, true).expect("to be replaced");
    assert_eq!(segment.origin(), Origin::Replaced);
    assert_eq!(segment.take_flows().expect("flows")[1][LAST], ZERO_FLOW);
}

/// A file that is not a segment is refused and left untouched, also when flows are to be discarded.
#[test]
fn a_file_that_is_not_a_segment_is_left_untouched() {
    let directory = directory();
    let path = directory.path().join("leat");
    for content in [b"notes".to_vec(), vec![b'x'; 8192], vec![0; 4096], vec![0; 4 << 20]] {
        std::fs::write(&path, &content).expect("to write");
        let before = std::fs::metadata(&path).expect("the file").ino();
        for error in
            [refusal(&path, false), refusal(&path, true), ControlSegment::attach(&path).expect_err("not a segment")]
        {
            assert!(matches!(error, SegmentError::NotASegment(_)), "{error}");
        }
        assert_eq!(std::fs::read(&path).expect("the file"), content);
        assert_eq!(std::fs::metadata(&path).expect("the file").ino(), before);
    }
    std::fs::remove_file(&path).expect("to remove");
    std::fs::create_dir(&path).expect("a directory");
    for discard in [false, true] {
        assert!(matches!(refusal(&path, discard), SegmentError::Io { .. }));
    }
    assert!(path.is_dir());
}

/// A link at the path is not followed: in a directory that everybody may write to it is somebody's trap.
#[test]
fn a_link_is_not_followed() {
    let directory = directory();
    let real = left_behind(directory.path());
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    for error in [refusal(&link, true), ControlSegment::attach(&link).expect_err("a link")] {
        assert!(matches!(error, SegmentError::Io { .. }), "{error}");
    }
    assert!(link.is_symlink() && real.is_file());
}

/// A segment that another user owns is refused: its owner could change flows under the lcores.
#[test]
fn another_users_segment_is_refused() {
    let directory = directory();
    let path = left_behind(directory.path());
    if std::os::unix::fs::chown(&path, Some(65534), None).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let error = refusal(&path, false);
    assert!(matches!(error, SegmentError::Foreign { owner: 65534, .. }), "{error}");
}

/// A segment whose header promises more than the file has is refused by both sides; its words are never used.
#[test]
fn a_damaged_segment_is_refused() {
    let directory = directory();
    let path = left_behind(directory.path());
    write_word(&path, word!(flows_max), 1 << 29);
    for error in [refusal(&path, false), ControlSegment::attach(&path).expect_err("too short")] {
        assert!(matches!(error, SegmentError::Geometry { .. }), "{error}");
    }
    write_word(&path, word!(lcores), u64::MAX);
    assert!(matches!(refusal(&path, false), SegmentError::Geometry { value: 0, .. }));
    let file = std::fs::File::options().write(true).open(&path).expect("the file");
    file.set_len(4096).expect("to cut it short");
    assert!(matches!(refusal(&path, false), SegmentError::Geometry { .. }));
    let segment = create_or_adopt(&path, GEOMETRY, true).expect("to be replaced");
    assert_eq!(segment.origin(), Origin::Replaced);
}

/// An empty file at the path (`mktemp`, a process killed by an old version) is no reason to refuse.
#[test]
fn an_empty_file_is_replaced() {
    let directory = directory();
    let path = directory.path().join("leat");
    std::fs::write(&path, "").expect("to write");
    let error = ControlSegment::attach(&path).expect_err("not a segment yet");
    assert!(matches!(error, SegmentError::NotASegment(_)), "{error}");
    let segment = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    assert_eq!(segment.origin(), Origin::Created);
}

/// What an earlier boot left has nothing to do with the flows of today.
#[test]
fn a_segment_of_an_earlier_boot_is_replaced() {
    let directory = directory();
    let path = left_behind(directory.path());
    write_word(&path, word!(boot_id), 1);
    let mut segment = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    assert_eq!(segment.origin(), Origin::Replaced);
    assert!(segment.take_flows().expect("flows").iter().all(|lcore| lcore.iter().all(|flow| flow.state == 0)));
}

/// Discarding flows makes another file: a control plane that has the old one keeps a sound mapping, notices, and does not keep
/// the old flows' memory.
#[test]
fn discarding_makes_another_file() {
    let directory = directory();
    let path = left_behind(directory.path());
    let control = ControlSegment::attach(&path).expect("to attach");
    assert!(control.is_current());
    let old = std::fs::File::open(&path).expect("the old file");
    let (inode, blocks) = (old.metadata().expect("it").ino(), old.metadata().expect("it").blocks());

    let data = create_or_adopt(&path, GEOMETRY, true).expect("to be replaced");
    assert_eq!(data.origin(), Origin::Replaced);
    assert_ne!(std::fs::metadata(&path).expect("the new file").ino(), inode);
    assert!(!control.is_current());
    assert_eq!(control.counters(1).get(Counter::RxPackets), 5, "the old mapping still reads");
    assert!(old.metadata().expect("it").blocks() * 512 + (2 << 20) <= blocks * 512, "the old flows' memory is free");

    let control = ControlSegment::attach(&path).expect("to attach anew");
    assert!(control.is_current());
    assert_eq!(control.counters(1).get(Counter::RxPackets), 0);
    std::fs::remove_file(&path).expect("to remove");
    assert!(!control.is_current(), "also when there is no file any more");
}

/// A control plane that is there first gets a clear answer, and waiting costs nothing: no mapping is left of any attempt.
#[test]
fn attaching_before_there_is_a_segment_says_so() {
    let directory = directory();
    let path = directory.path().join("leat");
    let error = ControlSegment::attach(&path).expect_err("there is none");
    assert!(matches!(error, SegmentError::Absent(_)), "{error}");
    assert!(error.to_string().contains("is it running"), "{error}");

    let path = left_behind(directory.path());
    write_word(&path, word!(abi_version), ABI_VERSION + 1);
    for _ in 0..100 {
        ControlSegment::attach(&path).expect_err("another version");
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
    assert!(!maps.contains(path.to_str().expect("UTF-8")), "{maps}");
}

/// A segment has one control plane.
#[test]
fn a_second_control_plane_is_refused() {
    let directory = directory();
    let path = left_behind(directory.path());
    let _first = ControlSegment::attach(&path).expect("to attach");
    run("second control plane", &path);
}

/// Where memory is short the start fails, says what to do, and leaves nothing behind.
#[test]
fn too_little_memory_is_an_error_that_leaves_nothing() {
    let directory = directory();
    const TMPFS: i64 = 0x0102_1994;
    if rustix::fs::statfs(directory.path()).map(|fs| fs.f_type) != Ok(TMPFS) {
        eprintln!("skipped: only tmpfs refuses at once");
        return;
    }
    let path = directory.path().join("leat");
    let terabytes = Geometry { lcores: 64, flows_max: 1 << 29, ..GEOMETRY };
    let error = create_or_adopt(&path, terabytes, false).expect_err("2 TiB");
    assert!(error.to_string().contains("--flows-max"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 0);
}

fn snapshot(generation: u64, ports: u8) -> Snapshot {
    let target = |slot: u16| Target {
        slot,
        generation: generation as u8,
        state: TargetState::Active,
        address: [10, 2, 0, slot as u8].into(),
        port: 80,
        next_hop: None,
        unhealthy_at: 0,
    };
    Snapshot {
        generation,
        selection_key: [generation, !generation],
        locals: vec![Local { address: [10, 1, 0, 10].into(), kind: LocalKind::Node, port: ports - 1 }],
        groups: vec![Group { preserve_client_ip: true, table: vec![1, 2, 1, 2, 2], ..Group::default() }],
        targets: vec![target(1), target(2)],
        ..Snapshot::default()
    }
}

/// A snapshot's way: published, read, consumed, acknowledged by every lcore; refusals are told; nothing waits.
#[test]
fn a_snapshot_makes_its_round_trip() {
    let directory = directory();
    let path = directory.path().join("leat");
    let mut data = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    let mut control = ControlSegment::attach(&path).expect("to attach");
    assert_eq!((control.announced_generation(), control.acknowledged_generation()), (0, 0));
    assert!(data.pending_generation().is_none() && data.read_snapshot().is_none());
    data.set_ports(2);
    assert_eq!((control.limits().ports, control.limits().targets_max), (2, 64));

    control.publish(&snapshot(7, 2)).expect("room");
    assert_eq!(control.publish(&snapshot(8, 2)), Err(PublishError::Busy(7)));
    assert_eq!(data.pending_generation(), Some(7));
    assert_eq!(data.read_snapshot(), Some(Ok(snapshot(7, 2))));
    data.consume(7, true);
    assert_eq!(data.pending_generation(), None);
    data.lcore_header(0).acknowledge(7);
    assert_eq!(control.acknowledged_generation(), 0, "not before the last lcore");
    data.lcore_header(1).acknowledge(7);
    assert_eq!(control.acknowledged_generation(), 7);

    let large = Snapshot { groups: vec![Group { table: vec![1; 5000], ..Group::default() }], ..snapshot(8, 2) };
    let error = control.publish(&large).expect_err("too large");
    assert!(matches!(error, PublishError::TooLarge { needed: 1250.., available: 1024 }), "{error}");
    assert_eq!((control.announced_generation(), data.pending_generation()), (7, None));

    // The header may say what it wants: a port that the data plane does not have is refused.
    control.header().ports.store(16, Ordering::Relaxed);
    control.publish(&snapshot(8, 3)).expect("room");
    let refused = Err(SnapshotError::Range { field: "local.port", value: 2 });
    assert_eq!(data.read_announced(), Some((8, refused)));
    data.consume(8, false);
    assert_eq!(control.header().refused.load(Ordering::Relaxed), 8);

    // Restarts of either side go on from there.
    let mut control = ControlSegment::attach(&path).expect("to attach");
    assert_eq!(control.announced_generation(), 8);
    control.publish(&snapshot(9, 1)).expect("room");
    assert_eq!(data.read_snapshot(), Some(Ok(snapshot(9, 1))));
    data.consume(9, true);
    assert_eq!(data.read_snapshot(), Some(Ok(snapshot(9, 1))), "a new data plane reads what was consumed before");
}

/// Commands and events get through the file, between two mappings of it, each lcore's its own way.
#[test]
fn commands_and_events_get_through() {
    let directory = directory();
    let path = directory.path().join("leat");
    let data = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    let control = ControlSegment::attach(&path).expect("to attach");
    for lcore in 0..2 {
        let command = Command::TraceStop { id: 40 + u32::from(lcore) };
        control.commands(lcore).push(&command.encode()).expect("room");
        let event = Event::Trace { id: 9, packet: lcore.into(), step: Step::Punt { port: 1 } };
        data.events(lcore).push(&event.encode()).expect("room");
    }
    for lcore in 0..2 {
        let mut commands = data.commands(lcore);
        let command = commands.pop().expect("good indices").expect("a command");
        assert_eq!(Command::decode(&command), Ok(Command::TraceStop { id: 40 + u32::from(lcore) }));
        assert_eq!(commands.pop(), Ok(None));
        let event = control.events(lcore).pop().expect("good indices").expect("an event");
        let expected = Event::Trace { id: 9, packet: lcore.into(), step: Step::Punt { port: 1 } };
        assert_eq!(Event::decode(&event), Ok(expected));
    }
}

/// Counters are seen from the other side, each where it belongs.
#[test]
fn counters_are_seen_from_the_other_side() {
    let directory = directory();
    let path = directory.path().join("leat");
    let data = create_or_adopt(&path, GEOMETRY, false).expect("a segment");
    let control = ControlSegment::attach(&path).expect("to attach");
    for lcore in 0..2 {
        let n = u64::from(lcore) + 1;
        data.counters(lcore).add(Counter::Loops, n);
        data.counters(lcore).drop(DropReason::TxFull, 10 * n);
        data.counters(lcore).target(63, TargetCounter::Resets, 20 * n);
        data.counters(lcore).listener(15, ListenerCounter::Conflicts, 30 * n);
        data.lcore_header(lcore).flows_used.store(40 * n, Ordering::Relaxed);
    }
    for lcore in 0..2 {
        let n = u64::from(lcore) + 1;
        let counters = control.counters(lcore);
        assert_eq!((counters.get(Counter::Loops), counters.dropped_total()), (n, 10 * n));
        assert_eq!(counters.get_target(63, TargetCounter::Resets), 20 * n);
        assert_eq!(counters.get_listener(15, ListenerCounter::Conflicts), 30 * n);
        assert_eq!(control.lcore_header(lcore).flows_used.load(Ordering::Relaxed), 40 * n);
    }
}

/// An lcore's number is checked before it becomes an offset.
#[test]
#[should_panic(expected = "lcore 2 of 2")]
fn an_lcore_that_is_not_there_is_a_bug() {
    let directory = directory();
    let path = directory.path().join("leat");
    create_or_adopt(&path, GEOMETRY, false).expect("a segment").counters(2);
}

/// The same on huge pages, where there are any: made, adopted, attached to, replaced.
#[test]
fn a_segment_lives_on_huge_pages() {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("the mounts");
    let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|line| line[2] == "hugetlbfs");
    let directory = mount.and_then(|line| tempfile::tempdir_in(line[1]).ok());
    let Some(directory) = directory else {
        eprintln!("skipped: no hugetlbfs to write to");
        return;
    };
    let path = directory.path().join("leat");
    match create_or_adopt(&path, GEOMETRY, false) {
        Err(error) => {
            eprintln!("skipped: {error}");
            assert!(!path.exists(), "nothing is left");
            return;
        }
        Ok(_) => std::fs::remove_file(&path).expect("to remove"),
    }
    run("data plane", &path);
    let control = ControlSegment::attach(&path).expect("to attach");
    let mut data = create_or_adopt(&path, GEOMETRY, false).expect("to adopt");
    assert_eq!(data.origin(), Origin::Adopted);
    assert_eq!(data.take_flows().expect("flows")[1][LAST], FLOW);
    data.counters(0).add(Counter::Loops, 3);
    assert_eq!(control.counters(0).get(Counter::Loops), 3);
    std::fs::remove_file(&path).expect("to remove");
    run("data plane", &path);
    assert!(!control.is_current());
    let data = create_or_adopt(&path, GEOMETRY, true).expect("to be replaced");
    assert_eq!(data.origin(), Origin::Replaced);
}

//! What leat-dp says when it cannot start, and that it leaves nothing behind then.

#[allow(dead_code)]
mod common;

use std::process::Command;

use common::{Bed, Process, directory};
use leat_abi::{DataSegment, Geometry};

/// The log of a leat-dp that cannot start. It leaves no segment and no directory.
fn refusal(arguments: &str) -> String {
    let directory = directory();
    let path = directory.path().join(directory.path().file_name().expect("a name"));
    let mut process = Process::start(Command::new(env!("CARGO_BIN_EXE_leat-dp")), &path, arguments);
    let status = process.end();
    assert_eq!(status.code(), Some(1), "{arguments}: {}", process.log());
    assert!(!path.exists(), "{arguments} leaves a segment");
    process.assert_no_directory();
    process.log()
}

#[test]
fn errors_say_what_to_do() {
    for (arguments, words) in [
        ("--port p0=net_af_packet0,iface=leat-none", ["no interface leat-none", "ip link"]),
        ("--port p0=0000:ff:1f.7", ["no PCI device 0000:ff:1f.7", "dpdk-devbind.py"]),
        ("--port p0=net_null0 --lcores 1023", ["CPUs [1023]", "may use"]),
        ("--port p0=net_null0 --mbufs 16777216", ["are available", "--mbufs"]),
        ("--port p0=net_null0 --port p0=net_null1", ["two ports", "p0"]),
        ("--port p0=net_null0 --port p1=net_null0", ["same device", "net_null0"]),
        ("--port p0=net_nothing0", ["net_nothing0", "drivers"]),
    ] {
        let log = refusal(arguments);
        assert!(words.iter().all(|word| log.contains(word)), "{arguments}: {log}");
    }
}

#[test]
fn a_segment_in_use_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("used");
    let geometry = Geometry {
        lcores: 1,
        flows_max: 4096,
        wide_flows_max: 1024,
        targets_max: 4096,
        listeners_max: 4096,
        arena_words: 1 << 17,
    };
    let segment = DataSegment::create_or_adopt(&path, geometry, false).expect("a segment");
    let mut process = Process::start(Command::new(env!("CARGO_BIN_EXE_leat-dp")), &path, "--port p0=net_null0");
    assert_eq!(process.end().code(), Some(1));
    assert!(process.log().contains("another leat-dp is using it"), "{}", process.log());
    assert!(path.exists());
    drop(segment);
}

/// The error comes late: DPDK runs, and a port with its twin is there.
#[test]
fn a_late_error_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    bed.ip("link add leat-p1 type veth peer name other");
    let mut process = bed.start("--port p0=net_null0 --port p1=net_null1 --lcores 0");
    assert_eq!(process.end().code(), Some(1), "{}", process.log());
    assert!(process.log().contains("cannot make its TAP twin leat-p1"), "{}", process.log());
    process.assert_no_directory();
    assert!(!bed.segment().exists());
    assert!(!bed.ip("-o link").contains("leat-p0"));
}

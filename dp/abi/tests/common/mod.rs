//! What the tests with real files and real processes share.
#![allow(dead_code, reason = "each test program uses its part")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use leat_abi::Geometry;
use tempfile::TempDir;

pub const GEOMETRY: Geometry =
    Geometry { lcores: 2, flows_max: 1000, wide_flows_max: 251, targets_max: 64, listeners_max: 16, arena_words: 1024 };

/// A directory for segments: in tmpfs where there is one, as in production.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// Runs the test `child` of this test program in a process of its own, which plays a role on a segment.
pub fn spawn(role: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("LEAT_ABI_ROLE", role)
        .env("LEAT_ABI_SEGMENT", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process")
}

/// Runs a role to its end.
pub fn run(role: &str, path: &Path) {
    let output = spawn(role, path).wait_with_output().expect("the child's end");
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stdout));
}

/// In a child: its role and segment.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var("LEAT_ABI_ROLE").ok()?, std::env::var_os("LEAT_ABI_SEGMENT")?.into()))
}

/// Reads a word of a segment's file. (tmpfs and disks can; hugetlbfs cannot.)
pub fn read_word(path: &Path, index: u64) -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open(path).expect("the file").read_exact_at(&mut bytes, index * 8).expect("the word");
    u64::from_le_bytes(bytes)
}

/// Overwrites a word of a segment's file.
pub fn write_word(path: &Path, index: u64, value: u64) {
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.write_all_at(&value.to_le_bytes(), index * 8).expect("to write");
}

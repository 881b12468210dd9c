//! redb ends the process over some kinds of damage. So another process reads the file first (`leat-cp --check-store`): when that
//! one is ended, this one can say what is wrong, and with which file.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs, io};

use super::{StoreError, read, tell};

/// Reads a file as a start does, and leaves it as it is: its schema's version and how many records it has.
///
/// # Errors
/// What is wrong with it. Some kinds of damage end the process.
pub fn check(path: &Path) -> Result<(u64, usize), StoreError> {
    let content = fs::read(path).map_err(|error| tell(path, "read it", error.into()))?;
    let (version, records) = read(path, content)?;
    Ok((version, records.len()))
}

/// Lets another process check a file.
///
/// # Errors
/// It was ended by what it read. What else is wrong with the file is found out again when it is opened.
pub fn rehearse(path: &Path) -> Result<(), StoreError> {
    // A new store: nothing can be wrong.
    if fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return Ok(());
    }
    let other = || -> io::Result<Output> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--check-store", "--store"]).arg(path).stdin(Stdio::null()).env("RUST_BACKTRACE", "0").output()
    };
    let output = other().map_err(|error| tell(path, "check it in a process of its own", error.into()))?;
    ended(&output).map_or(Ok(()), |why| Err(StoreError::Damaged { path: path.to_owned(), why }))
}

/// The exit status of a panic that unwinds.
const PANIC: i32 = 101;

/// Why a process has ended, if not by itself.
fn ended(output: &Output) -> Option<String> {
    if output.status.signal().is_none() && output.status.code() != Some(PANIC) {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    // A panic says where, and in the next line why.
    let why = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    Some(format!("reading it fails: {}", why.unwrap_or("the process that did was ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Option<String> {
        ended(&Command::new("sh").args(["-c", script]).output().expect("a shell"))
    }

    #[test]
    fn only_a_process_that_was_ended_tells_of_damage() {
        let panic = "echo \"thread 'main' panicked at bitmap.rs:3:\" >&2; echo 'bit < len' >&2";
        assert_eq!(run(&format!("{panic}; kill -ABRT $$")).as_deref(), Some("reading it fails: bit < len"));
        assert_eq!(run(&format!("{panic}; exit 101")).as_deref(), Some("reading it fails: bit < len"));
        assert!(run("kill -KILL $$").is_some());
        assert_eq!((run("exit 0"), run("exit 1")), (None, None));
    }

    #[test]
    fn a_check_leaves_the_file_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("leat.redb");
        assert!(check(&path).is_err() && rehearse(&path).is_ok(), "there is no file yet");
        drop(super::super::RedbStore::open(&path).expect("a store"));
        let before = fs::read(&path).expect("it");
        assert_eq!(check(&path).expect("good"), (super::super::SCHEMA, 0));
        assert_eq!(fs::read(&path).expect("it"), before);
    }
}

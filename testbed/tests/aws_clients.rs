//! boto3 against the control plane alone: the Python suite in `testbed/aws`, with Debian's boto3 of 2022 and with the newest.
//!
//! `LEAT_AWS="waiters pages"` runs only the tests that have one of these words in their names.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::program;
use std::path::Path;
use std::process::Command;

/// Debian's Python: python3-boto3 is there for no other.
const DEBIAN: &str = "/usr/bin/python3";

/// Runs the suite with a Python; without boto3 there the test is skipped, or fails where nothing may be skipped.
fn run_suite(python: &Path) -> Result<()> {
    let found = Command::new(python).args(["-c", "import boto3"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        let reason = format!("{} has no boto3: run scripts/setup", python.display());
        ensure!(std::env::var("LEAT_E2E").as_deref() != Ok("required"), "{reason}");
        println!("skipped: {reason}");
        return Ok(());
    }
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/run.py")).env("LEAT_CP", program("leat-cp")?);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(std::env::var("LEAT_AWS").unwrap_or_default().split_whitespace());
    let output = command.output()?;
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "tests of the suite failed; its output is above");
    Ok(())
}

#[test]
fn boto3_of_2022() -> Result<()> {
    run_suite(Path::new(DEBIAN))
}

/// `LEAT_PYTHON` is the directory that `scripts/setup-python` prints.
#[test]
fn boto3_of_today() -> Result<()> {
    match std::env::var_os("LEAT_PYTHON") {
        Some(directory) => run_suite(&Path::new(&directory).join("bin/python")),
        None => {
            println!("skipped: the newest boto3 is not there: scripts/setup-python could not get it, or was not run");
            Ok(())
        }
    }
}

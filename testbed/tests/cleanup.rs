//! Nothing of a run stays behind, however it ends.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::{Namespace, Process, Run, Topology, sweep};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A namespace with a process in it, and a process outside of any.
fn furnish(run: &Run) -> Result<(Topology, Process)> {
    let topology = Topology::create(run, 1)?;
    let process = Process::spawn(run, "sleep", topology.cli.command("sleep").arg("1000"))?;
    Ok((topology, process))
}

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("LEAT_E2E").as_deref() != Ok("required"), "network namespaces need root");
    eprintln!("skipped: network namespaces need root");
    false
}

#[test]
fn a_panic_leaves_nothing() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let run = Run::start_unique()?;
    let name = run.name().to_owned();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let run = run;
        let _furniture = furnish(&run).unwrap();
        assert!(!Run::leftovers(run.name()).is_empty());
        panic!("on purpose");
    }));
    ensure!(outcome.is_err(), "it panicked");
    ensure!(Run::leftovers(&name).is_empty(), "{:?}", Run::leftovers(&name));
    Ok(())
}

#[test]
fn what_a_killed_run_left_is_swept() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let run = Run::start_unique()?;
    let name = run.name().to_owned();
    let (topology, process) = furnish(&run)?;
    let other = Namespace::create(&run, "x")?;
    // As if the program had been killed: nothing is dropped, and its process id belongs to nobody.
    std::mem::forget(process);
    fs::write(run.dir().join("owner"), "4194305 1\n")?;
    std::mem::forget(run);
    drop((topology, other));
    ensure!(Run::leftovers(&name).len() >= 6, "{:?}", Run::leftovers(&name));
    ensure!(sweep()?.contains(&name), "the dead run was found");
    ensure!(Run::leftovers(&name).is_empty(), "{:?}", Run::leftovers(&name));
    Ok(())
}

#[test]
fn a_live_run_is_not_swept_and_its_name_is_taken() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut run = Run::start_unique()?;
    let (_topology, mut process) = furnish(&run)?;
    ensure!(!sweep()?.contains(&run.name().to_owned()), "a live run was swept");
    ensure!(process.is_running(), "its process was ended");
    let error = Run::start(run.name()).expect_err("the name is taken").to_string();
    ensure!(error.contains("going on already"), "{error}");
    process.stop()?;
    run.done();
    Ok(())
}

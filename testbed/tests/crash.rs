//! Either process is killed under live connections.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::{Appliance, Bed, BedOptions, HTTP_PORT, VIP, e2e, http_many, tally, wait_for};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

const TRANSFERS: usize = 200;

fn requests(bed: &Bed, count: usize) -> Result<()> {
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), count, 8)?)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");
    Ok(())
}

/// What an operator has configured, as the API shows it.
fn configuration(bed: &Bed) -> Result<Vec<Value>> {
    let paths = ["/v1/load-balancers", "/v1/load-balancers/lb/listeners", "/v1/target-groups"];
    paths.into_iter().map(|path| bed.appliance.rest.get(path)).collect()
}

/// The control plane dies: no connection notices, new ones go on, and afterwards everything is as it was.
///
/// req: MET-35, ZN-07, IDL-09
#[test]
fn the_control_plane_is_killed() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let transfers = bed.start_transfers("cp", TRANSFERS)?;
    let before = configuration(&bed)?;
    for _ in 0..3 {
        let flows = bed.appliance.counter("flows_created")?;
        let data_plane = bed.appliance.data_plane_pid()?;
        let killed = bed.appliance.kill_control_plane()?;
        requests(&bed, 40)?;
        bed.appliance.wait_control_plane(killed)?;
        ensure!(configuration(&bed)? == before, "the configuration has changed");
        for group in ["web", "echo", "stream"] {
            bed.appliance.wait_healthy(group, &bed.addresses())?;
        }
        requests(&bed, 40)?;
        let made = bed.appliance.counter("flows_created")? - flows;
        ensure!(made == 80, "80 connections, but {made} flows were counted");
        ensure!(bed.appliance.data_plane_pid()? == data_plane, "the data plane was restarted too");
    }
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// The data plane dies: it is started again, finds its flows, and every connection goes on.
///
/// req: RT-02
#[test]
fn the_data_plane_is_killed() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let transfers = bed.start_transfers("dp", TRANSFERS)?;
    for _ in 0..2 {
        let before = bed.appliance.counter("flows_created")?;
        let killed = bed.appliance.kill_data_plane()?;
        bed.appliance.wait_data_plane(killed)?;
        let adopted = bed.appliance.counter("flows_adopted")?;
        ensure!(adopted >= TRANSFERS as u64, "{adopted} flows were adopted, {TRANSFERS} transfers were open");
        let flows = bed.appliance.flows("vip=10.1.0.10:9100")?;
        ensure!(flows.len() == TRANSFERS, "{} flows are listed for {TRANSFERS} transfers", flows.len());
        requests(&bed, 40)?;
        ensure!(bed.appliance.counter("flows_created")? >= before + 40, "counters went back");
        // Longer than the pause and the retransmissions that the outage has caused.
        std::thread::sleep(Duration::from_secs(2));
    }
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// Both die at once.
#[test]
fn both_processes_are_killed() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let transfers = bed.start_transfers("both", TRANSFERS)?;
    let data_plane = bed.appliance.kill_data_plane()?;
    let control_plane = bed.appliance.kill_control_plane()?;
    bed.appliance.wait_control_plane(control_plane)?;
    bed.appliance.wait_data_plane(data_plane)?;
    requests(&bed, 40)?;
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// `leat up` itself is killed: its processes end with it, and the next one goes on with their flows.
#[test]
fn the_supervisor_is_killed() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let options = BedOptions::default();
    let mut bed = Bed::start(&options)?;
    let transfers = bed.start_transfers("up", TRANSFERS)?;
    let before = configuration(&bed)?;
    let orphans = [bed.appliance.data_plane_pid()?, bed.appliance.control_plane_pid()?];
    bed.appliance.process.kill()?;
    // At once, while they may still be ending.
    bed.appliance = Appliance::start(&bed.run, &bed.topology, &options.appliance)?;
    for orphan in orphans {
        wait_for("the end of the first processes", Duration::from_secs(20), || {
            (!Path::new(&format!("/proc/{orphan}")).exists()).then_some(())
        })?;
    }
    ensure!(configuration(&bed)? == before, "the configuration has changed");
    let adopted = bed.appliance.counter("flows_adopted")?;
    ensure!(adopted >= TRANSFERS as u64, "{adopted} flows were adopted, {TRANSFERS} transfers were open");
    requests(&bed, 40)?;
    bed.finish_transfers(transfers)?;
    bed.finish()
}

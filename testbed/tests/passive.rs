//! Targets that refuse their clients while their health checks pass: seen by how they answer, before any check could see it.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::sockets::connect;
use leat_testbed::{Bed, BedOptions, TARGET_HTTP_PORT, TARGET_STREAM_PORT, Target, VIP, client_address, e2e, wait_for};
use serde_json::json;
use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// A listener of the test's own.
const PORT: u16 = 81;
const FRONT: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
const PATIENCE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(30);
/// Attempts in a row that must all succeed for a target that refuses to be out of use: with half of them to it, one of a thousand
/// million rows would do so by chance.
const ROW: usize = 30;

/// Has a target refuse connections to this port with a reset, or not any more.
fn refuse(target: &Target, port: Option<u16>) -> Result<()> {
    let chain = |port| {
        format!(
            "chain input {{ type filter hook input priority 0; tcp dport {port} tcp flags syn reject with tcp reset; }}"
        )
    };
    target.filter(&port.map(chain).unwrap_or_default())
}

/// So many attempts to connect, by five clients in turn; returns how many were refused.
fn refused(bed: &Bed, attempts: usize) -> Result<usize> {
    let attempt = |n: usize| {
        let source = SocketAddrV4::new(client_address((n % 5) as u8), 0);
        match connect(Some(source), FRONT, PATIENCE) {
            Ok(_) => Ok(0),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(1),
            Err(error) => Err(error),
        }
    };
    Ok(bed.cli().enter(|| (0..attempts).map(attempt).sum::<std::io::Result<usize>>())??)
}

fn all_are_healthy(bed: &Bed) -> Result<()> {
    let targets = bed.appliance.targets("picky")?;
    ensure!(targets.iter().all(|target| target.health.state == TargetState::Healthy), "{targets:?}");
    Ok(())
}

/// A target that begins to reset SYNs gets no new connections for a while, though its health check passes and it is reported healthy. When
/// it accepts again, it gets connections again. When all of them refuse, none is left out.
///
/// req: HC-17
#[test]
fn a_target_that_refuses_its_clients_is_left_out_for_a_while() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let addresses = &bed.addresses()[..2];
    // Checks see nothing of it, and are rare.
    let group = json!({"name": "picky", "protocol": "TCP", "port": TARGET_HTTP_PORT,
        "healthCheck": {"port": TARGET_STREAM_PORT, "intervalSeconds": 30}});
    bed.appliance.rest.expect("POST", "/v1/target-groups", Some(&group))?;
    bed.appliance.register("picky", addresses)?;
    bed.appliance.create_listener("lb", "TCP", PORT, "picky")?;
    bed.appliance.wait_healthy("picky", addresses)?;
    ensure!(refused(&bed, ROW)? == 0, "both targets accept");

    refuse(&bed.targets[0], Some(TARGET_HTTP_PORT))?;
    let began = Instant::now();
    let mut seen = 0;
    wait_for("a row of connections that the other target accepts", SOON, || {
        let count = refused(&bed, ROW).ok()?;
        seen += count;
        (count == 0).then_some(())
    })?;
    eprintln!("left out after {seen} refusals, {:?}", began.elapsed());
    ensure!(seen >= 5, "left out after {seen} refusals only");
    all_are_healthy(&bed)?;

    // It still refuses: when it is tried again, it is left out again.
    wait_for("the target to be tried again", SOON, || (refused(&bed, ROW).ok()? > 0).then_some(()))?;
    wait_for("it to be left out again", SOON, || (refused(&bed, ROW).ok()? == 0).then_some(()))?;

    refuse(&bed.targets[0], None)?;
    let served = || bed.targets[0].nginx.as_ref().map_or(0, leat_testbed::Nginx::requests);
    let before = served();
    wait_for("it to serve again", SOON, || {
        bed.cli().enter(|| leat_testbed::http_get(FRONT)).ok()?.ok()?;
        (served() > before).then_some(())
    })?;

    // The last ones are not left out: whoever asks is refused, not reset by the appliance for want of a target.
    for target in &bed.targets[..2] {
        refuse(target, Some(TARGET_HTTP_PORT))?;
    }
    for _ in 0..3 {
        ensure!(refused(&bed, ROW)? == ROW, "all refuse");
        std::thread::sleep(Duration::from_millis(300));
    }
    let stats = bed.appliance.stats()?;
    let no_target: u64 = stats.listeners.iter().filter_map(|listener| listener.counters.get("no_target")).sum();
    ensure!(no_target == 0, "{no_target} connections had no target");
    all_are_healthy(&bed)?;
    bed.finish()
}

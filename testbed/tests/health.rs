//! Health checks decide who gets new connections.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::{Bed, BedOptions, Capture, HTTP_PORT, TARGET_HTTP_PORT, VIP, e2e, http_many, tally};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

fn requests(bed: &Bed) -> Result<BTreeMap<String, usize>> {
    tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 100, 4)?)
}

/// A target whose server stops leaves service; when the server is back, so is the target.
///
/// req: RT-05, HC-07, HC-14, HC-18, TGH-01, TRB-01
#[test]
fn a_stopped_server_leaves_and_comes_back() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = Bed::start(&BedOptions::default())?;
    let address = bed.targets[1].address;
    ensure!(requests(&bed)?.contains_key("t2"), "t2 gets requests while it is healthy");

    bed.targets[1].nginx = None;
    bed.appliance.wait_state("web", address, TargetState::Unhealthy)?;
    let target = bed.appliance.targets("web")?.into_iter().find(|target| target.id == address.to_string());
    let health = target.context("the target is listed")?.health;
    ensure!(health.reason.as_deref() == Some("Target.FailedHealthChecks"), "{health:?}");
    let counts = requests(&bed)?;
    ensure!(counts.len() == 3 && !counts.contains_key("t2"), "requests went to {counts:?}");

    let Bed { targets, run, .. } = &mut bed;
    targets[1].start(run)?;
    bed.appliance.wait_state("web", address, TargetState::Healthy)?;
    ensure!(requests(&bed)?.contains_key("t2"), "t2 gets requests again");
    bed.finish()
}

/// When no target of a group is healthy, all of them get traffic; a group does not suffer from another one's state.
///
/// req: HC-21, HC-27, TRB-05, TGH-03
#[test]
fn all_unhealthy_means_all_are_tried() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let addresses = bed.addresses();
    // The checks go to a port where nobody listens; the servers themselves go on.
    let body = serde_json::json!({"healthCheck": {"port": 9999}});
    bed.appliance.rest.expect("PATCH", "/v1/target-groups/web", Some(&body))?;
    for address in &addresses {
        bed.appliance.wait_state("web", *address, TargetState::Unhealthy)?;
    }
    let counts = requests(&bed)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");
    bed.appliance.wait_healthy("stream", &addresses)?;
    bed.finish()
}

/// Checks come from the node's own address and from ports that translation does not use.
///
/// req: HC-28, ZN-15, HC-16
#[test]
fn checks_come_from_the_node() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let filter = format!("tcp dst port {TARGET_HTTP_PORT}");
    let capture = Capture::start(&bed.run, "t1", &bed.targets[0].namespace, "eth0", &filter)?;
    let syn = capture.wait_segment("a check's SYN", |segment| segment.flags.syn)?;
    ensure!(*syn.source.ip() == VIP && (1024..10_000).contains(&syn.source.port()), "a check came from {}", syn.source);
    capture.wait_segment("the end of the check's connection", |segment| {
        segment.source == syn.source && (segment.flags.fin || segment.flags.rst)
    })?;
    bed.finish()
}

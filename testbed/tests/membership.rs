//! Targets come and go while connections live.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::{
    Bed, BedOptions, Capture, HTTP_PORT, STREAM_PORT, TARGET_STREAM_PORT, VIP, e2e, http_get, transfer, wait_for,
};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Long transfers stay on their targets while others come and go, and no new connection fails meanwhile.
///
/// req: GEN-07, RT-02, TGT-10, LSN-11
#[test]
fn connections_keep_their_target_while_targets_come_and_go() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let transfers = bed.start_transfers("churn", 100)?;
    let stop = Arc::new(AtomicBool::new(false));
    let requests = {
        let stop = Arc::clone(&stop);
        bed.cli().spawn(move || {
            let mut done = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                http_get(SocketAddrV4::new(VIP, HTTP_PORT)).with_context(|| format!("request {done}"))?;
                done += 1;
            }
            anyhow::Ok(done)
        })
    };
    let addresses = bed.addresses();
    for round in 0..12 {
        let leaving = addresses[1 + round % 3];
        for group in ["web", "stream"] {
            bed.appliance.deregister(group, &[leaving])?;
        }
        std::thread::sleep(Duration::from_millis(200));
        for group in ["web", "stream"] {
            bed.appliance.register(group, &[leaving])?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    stop.store(true, Ordering::Relaxed);
    let done = requests.join().expect("the requests' thread")??;
    ensure!(done > 100, "only {done} requests in all that time");
    for group in ["web", "stream"] {
        bed.appliance.wait_healthy(group, &addresses)?;
    }
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// From the moment the call returns, a deregistered target gets no new connection; its open ones finish; it may come back.
///
/// req: TGT-08, TGT-09, TGT-10, DRN-01, DRN-03, DRN-12
#[test]
fn a_deregistered_target_gets_no_new_connection() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let leaving = bed.targets[0].address;
    let transfers = bed.start_transfers("before", 40)?;
    // Health checks go on while a target drains; they come from ports below 10000.
    let filter = format!("tcp dst port {TARGET_STREAM_PORT} and tcp[13] == 2 and tcp src portrange 10000-65535");
    let capture = Capture::start(&bed.run, "t1", &bed.targets[0].namespace, "eth0", &filter)?;

    bed.appliance.deregister("stream", &[leaving])?;
    let target = bed.appliance.targets("stream")?.into_iter().find(|target| target.id == leaving.to_string());
    let health = target.context("a draining target is still listed")?.health;
    ensure!(health.state == TargetState::Draining, "{health:?}");
    ensure!(health.reason.as_deref() == Some("Target.DeregistrationInProgress"), "{health:?}");
    let seen = connect_many(&bed, 100)?;
    ensure!(!seen.contains(&"t1".to_owned()), "a new connection went to the deregistered target");
    // A request straight to the target shows up in the capture, so that its silence before means something.
    let direct = SocketAddrV4::new(leaving, TARGET_STREAM_PORT);
    bed.targets[1]
        .namespace
        .enter(|| std::net::TcpStream::connect(direct))?
        .context("the target itself still serves")?;
    wait_for("the direct SYN", Duration::from_secs(10), || capture.segments().into_iter().next())?;
    let through: Vec<_> = capture.segments().into_iter().filter(|segment| *segment.source.ip() == VIP).collect();
    ensure!(through.is_empty(), "SYNs after the call returned: {through:?}");

    let report = bed.finish_transfers(transfers)?;
    ensure!(report["targets"]["t1"].as_u64() > Some(0), "no transfer was on the target that left: {report}");

    bed.appliance.register("stream", &[leaving])?;
    bed.appliance.wait_state("stream", leaving, TargetState::Healthy)?;
    ensure!(connect_many(&bed, 100)?.contains(&"t1".to_owned()), "the returned target gets no connection");
    bed.finish()
}

/// Deleting the listener and making it again, and moving it to another group, leave open connections alone.
///
/// req: LSN-09, LSN-11, LSN-12
#[test]
fn listeners_change_under_open_connections() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let transfers = bed.start_transfers("moved", 40)?;
    let attributes = serde_json::json!({});
    bed.appliance.create_target_group("other", "TCP", TARGET_STREAM_PORT, TARGET_STREAM_PORT, &attributes)?;
    bed.appliance.register("other", &[bed.targets[3].address])?;
    let path = format!("/v1/load-balancers/lb/listeners/{STREAM_PORT}");
    bed.appliance.rest.expect("PATCH", &path, Some(&serde_json::json!({"targetGroup": "other"})))?;
    bed.appliance.wait_healthy("other", &[bed.targets[3].address])?;
    let seen = connect_many(&bed, 40)?;
    ensure!(seen.iter().all(|name| name == "t4"), "new connections go to {seen:?}");
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// Short transfers on new connections; the targets they reached.
fn connect_many(bed: &Bed, count: usize) -> Result<Vec<String>> {
    let plan = transfer::Plan {
        destination: SocketAddrV4::new(VIP, STREAM_PORT),
        source: None,
        chunk_bytes: 100,
        pause: Duration::ZERO,
        duration: Some(Duration::ZERO),
    };
    bed.cli().enter(|| {
        let (connected, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one = |seed| transfer::run_one(&plan, seed, &connected, &stop).map(|outcome| outcome.target);
        (0..count as u64).map(one).collect()
    })?
}

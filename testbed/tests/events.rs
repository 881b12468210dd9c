//! Operators are told what happens, when it happens.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::{Event, TargetState, WebhookBody};
use leat_testbed::{Appliance, ApplianceOptions, Bed, BedOptions, Process, e2e, program, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const HOOK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9555);
const PATIENCE: Duration = Duration::from_secs(40);

/// Takes what is posted to [`HOOK`] in the appliance's namespace.
fn receive(bed: &Bed) -> Result<Receiver<WebhookBody>> {
    let listener = bed.topology.lb.enter(|| TcpListener::bind(HOOK))??;
    let (told, bodies) = channel();
    std::thread::spawn(move || -> Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut length = 0;
            for line in reader.by_ref().lines() {
                let line = line?.to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse()?;
                } else if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            told.send(serde_json::from_slice(&body)?)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        }
    });
    Ok(bodies)
}

fn leat(appliance: &Appliance) -> Result<Command> {
    let mut command = Command::new(program("leat")?);
    command.args(["--endpoint", &format!("unix:{}", appliance.rest.socket().display()), "--output", "json"]);
    Ok(command)
}

fn tells(event: &Event, target: &str, to: &str) -> bool {
    event.what.target_group.as_deref() == Some("web")
        && event.what.target.as_deref() == Some(target)
        && event.what.to == to
}

/// Waits for an event of a follower.
fn followed(follower: &Process, target: &str, to: &str) -> Result<Event> {
    wait_for(&format!("{target} to be told as {to}"), PATIENCE, || {
        let log = follower.log_text();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
        events.find(|event| tells(event, target, to))
    })
}

fn posted(bodies: &Receiver<WebhookBody>, target: &str, to: &str) -> Result<Event> {
    loop {
        let body = bodies.recv_timeout(PATIENCE).with_context(|| format!("{target} as {to} was not posted"))?;
        if let Some(event) = body.events.into_iter().find(|event| tells(event, target, to)) {
            return Ok(event);
        }
    }
}

/// A target's server stops and comes back: who follows the events, and who is called by a webhook, learn of both, though leat-cp is
/// killed in between. The group's numbers say the same.
///
/// req: HC-29, HC-30
#[test]
fn a_failure_and_its_end_are_told() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let control_plane = vec![("webhook", "http://127.0.0.1:9555/hook?token=secret-7")];
    let appliance = ApplianceOptions { control_plane, ..ApplianceOptions::default() };
    let mut bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
    let follower = Process::spawn(&bed.run, "events", leat(&bed.appliance)?.args(["events", "--follow"]))?;
    // Nobody has listened so far: what waits is posted later.
    let bodies = receive(&bed)?;
    let address = bed.targets[1].address;
    let target = format!("{address}:8080");
    bed.targets[1].nginx = None;
    let event = followed(&follower, &target, "unhealthy")?;
    let reason = event.what.reason.as_deref();
    ensure!(reason == Some("Target.FailedHealthChecks") && event.what.zone.as_deref() == Some("zone-a"), "{event:?}");
    ensure!(posted(&bodies, &target, "unhealthy")? == event, "the webhook is told the same");
    let counts = bed.appliance.rest.get("/v1/target-groups/web")?["targetCounts"].clone();
    ensure!(
        (&counts["total"], &counts["unhealthy"], &counts["healthy"]) == (&4.into(), &1.into(), &3.into()),
        "{counts}"
    );

    let killed = bed.appliance.kill_control_plane()?;
    bed.appliance.wait_control_plane(killed)?;
    let Bed { targets, run, .. } = &mut bed;
    targets[1].start(run)?;
    bed.appliance.wait_state("web", address, TargetState::Healthy)?;
    followed(&follower, &target, "healthy")?;
    posted(&bodies, &target, "healthy")?;
    ensure!(!bed.appliance.process.log_text().contains("secret-7"), "the log has the webhook's secret");
    drop(follower);
    bed.finish()
}

/// Nobody moves traffic away by mistake: without an acknowledgement a shift does not begin.
///
/// req: ZS-09
#[test]
fn a_zonal_shift_needs_an_acknowledgement() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let start = |more: &[&str]| -> Result<_> {
        let mut command = leat(&bed.appliance)?;
        command.args(["zonal-shift", "start", "lb", "--away-from", "zone-a", "--expires-in", "5m"]).args(more);
        Ok(command.stdin(Stdio::null()).output()?)
    };
    let refused = start(&[])?;
    let why = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && why.contains("--ack"), "{why}");
    ensure!(bed.appliance.rest.get("/v1/zonal-shifts")?["zonalShifts"] == serde_json::json!([]), "a shift has begun");
    let done = start(&["--ack"])?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    ensure!(bed.appliance.rest.get("/v1/zonal-shifts")?["zonalShifts"][0]["status"] == "ACTIVE", "no shift has begun");
    bed.finish()
}

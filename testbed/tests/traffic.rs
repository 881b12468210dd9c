//! TCP and UDP through the appliance in both addressing modes.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{
    Bed, BedOptions, CLIENT_ADDRESS, Capture, ECHO_PORT, HTTP_PORT, HttpAnswer, Segment, TARGET_HTTP_PORT, VIP, e2e,
    http_get, http_many, tally, udp_echo, wait_for,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

const WEB: SocketAddrV4 = SocketAddrV4::new(VIP, HTTP_PORT);
const ECHO: SocketAddrV4 = SocketAddrV4::new(VIP, ECHO_PORT);

fn bed(preserve_client_ip: bool) -> Result<Bed> {
    Bed::start(&BedOptions { preserve_client_ip, ..BedOptions::default() })
}

/// Four targets share `total` so that each has at least half of its fair part.
fn ensure_spread(counts: &BTreeMap<String, usize>, total: usize) -> Result<()> {
    ensure!(counts.values().sum::<usize>() == total, "not all of {total} were answered: {counts:?}");
    ensure!(counts.len() == 4 && counts.values().all(|count| *count >= total / 8), "spread badly: {counts:?}");
    Ok(())
}

fn requests(bed: &Bed, count: usize) -> Result<Vec<HttpAnswer>> {
    http_many(bed.cli(), WEB, count, 8)?.into_iter().collect()
}

/// With full NAT the targets see the node's address and a port of its range.
///
/// req: CIP-01, RT-04, RT-07, LSN-15, SEC-04
#[test]
fn full_nat_shows_targets_the_node() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed(false)?;
    let answers = requests(&bed, 400)?;
    for answer in &answers {
        ensure!(*answer.client_seen.ip() == VIP, "the target saw {}", answer.client_seen);
        ensure!((10_000..65_000).contains(&answer.client_seen.port()), "the target saw {}", answer.client_seen);
    }
    ensure_spread(&tally(answers.into_iter().map(Ok).collect())?, 400)?;
    bed.finish()
}

/// With the client's address preserved the targets see exactly the client's socket.
///
/// req: CIP-01, RT-04
#[test]
fn a_preserved_client_is_seen_by_targets() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed(true)?;
    let answers = requests(&bed, 400)?;
    for answer in &answers {
        ensure!(answer.client_seen == answer.client, "{} was seen as {}", answer.client, answer.client_seen);
    }
    ensure_spread(&tally(answers.into_iter().map(Ok).collect())?, 400)?;
    bed.finish()
}

/// Switching the mode changes new connections only.
///
/// req: CIP-04
#[test]
fn the_mode_of_an_open_connection_stays() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed(true)?;
    let transfers = bed.start_transfers("mode", 20)?;
    bed.appliance.set_attributes("stream", &serde_json::json!({"preserve_client_ip.enabled": "false"}))?;
    let flows = bed.appliance.flows("vip=10.1.0.10:9100")?;
    ensure!(flows.len() == 20, "{} flows: {flows:?}", flows.len());
    for flow in &flows {
        ensure!(flow.nat == flow.client, "an open flow has changed its mode: {flow:?}");
    }
    let later = bed.start_transfers("mode-later", 5)?;
    let flows = bed.appliance.flows("vip=10.1.0.10:9100")?;
    let translated = flows.iter().filter(|flow| flow.nat.starts_with("10.1.0.10:")).count();
    ensure!((flows.len(), translated) == (25, 5), "{translated} of {} flows are translated: {flows:?}", flows.len());
    bed.finish_transfers(later)?;
    bed.finish_transfers(transfers)?;
    bed.finish()
}

/// UDP flows stay on one target, all targets get some, and the client's address is kept whatever the group says.
///
/// req: RT-03, CIP-02, IDL-05
#[test]
fn udp_flows_stay_on_one_target() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed(false)?;
    let tally = udp_echo(bed.cli(), CLIENT_ADDRESS, ECHO, 200, 10, 1)?;
    ensure!(tally.answered == 2000, "{} of 2000 datagrams were answered", tally.answered);
    ensure!(tally.strays.is_empty(), "{:?}", tally.strays);
    ensure!(tally.clients_seen == tally.clients, "targets saw other clients than there were");
    ensure_spread(&tally.flows, 200)?;
    bed.finish()
}

/// Each client connection is one connection at a target, not two and not shared.
///
/// req: GEN-10, TRB-12, MET-34
#[test]
fn client_and_target_connections_are_the_same_ones() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed(true)?;
    let filter = format!("tcp dst port {TARGET_HTTP_PORT} and src host {CLIENT_ADDRESS} and tcp[13] == 2");
    let captures = capture_at_targets(&bed, &filter)?;
    let before = bed.appliance.counter("flows_created")?;
    let answers = requests(&bed, 100)?;
    let syns = || -> BTreeSet<(SocketAddrV4, u32)> {
        captures.iter().flat_map(Capture::segments).map(|segment| (segment.source, segment.sequence)).collect()
    };
    wait_for("100 SYNs at the targets", Duration::from_secs(10), || (syns().len() >= 100).then_some(()))?;
    let syns = syns();
    let clients: BTreeSet<SocketAddrV4> = answers.iter().map(|answer| answer.client).collect();
    let sources: BTreeSet<SocketAddrV4> = syns.iter().map(|(source, _)| *source).collect();
    ensure!(syns.len() == 100 && sources == clients, "{} SYNs for {} clients", syns.len(), clients.len());
    ensure!(bed.appliance.counter("flows_created")? - before == 100, "not one flow each");
    bed.finish()
}

/// The client's handshake reaches the target unmodified, and the target's reaches the client.
///
/// req: GEN-03
#[test]
fn handshakes_pass_unmodified() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    for preserve in [false, true] {
        let bed = bed(preserve)?;
        let at_client = Capture::start(&bed.run, "cli", bed.cli(), "eth0", "tcp port 80 and tcp[13] & 2 != 0")?;
        // Health checks come from ports below 10000; what the appliance translates, from 10000 on.
        let at_targets = capture_at_targets(&bed, &format!("tcp port {TARGET_HTTP_PORT} and tcp[13] & 2 != 0"))?;
        let answer = bed.cli().enter(|| http_get(WEB))??;
        let syn = at_client.wait_segment("the client's SYN", |segment| segment.flags.syn && !segment.flags.ack)?;
        let syn_ack = at_client.wait_segment("the SYN-ACK", |segment| segment.flags.syn && segment.flags.ack)?;
        let target = &at_targets[usize::from(answer.target.as_bytes()[1] - b'1')];
        let inner = target.wait_segment("the SYN at the target", |segment| segment.source == answer.client_seen)?;
        let inner_ack = target.wait_segment("the target's SYN-ACK", |it| it.destination == answer.client_seen)?;
        ensure_same(&syn, &inner).with_context(|| format!("SYN, preserve {preserve}"))?;
        ensure_same(&syn_ack, &inner_ack).with_context(|| format!("SYN-ACK, preserve {preserve}"))?;
        bed.finish()?;
    }
    Ok(())
}

fn ensure_same(left: &Segment, right: &Segment) -> Result<()> {
    ensure!(left.sequence == right.sequence && left.acknowledgment == right.acknowledgment, "{left:?} {right:?}");
    ensure!(left.options == right.options && left.window == right.window, "{left:?} {right:?}");
    ensure!(
        left.checksum_ok == Some(true) && right.checksum_ok == Some(true),
        "a checksum is wrong: {left:?} {right:?}"
    );
    Ok(())
}

fn capture_at_targets(bed: &Bed, filter: &str) -> Result<Vec<Capture>> {
    let start =
        |target: &leat_testbed::Target| Capture::start(&bed.run, &target.name, &target.namespace, "eth0", filter);
    bed.targets.iter().map(start).collect()
}

/// Connections stay on their target for life and carry every byte unchanged.
///
/// req: RT-02, GEN-02
#[test]
fn long_connections_stay_and_carry_every_byte() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    for preserve in [false, true] {
        let bed = bed(preserve)?;
        let transfers = bed.start_transfers("long", 40)?;
        std::thread::sleep(Duration::from_secs(3));
        let report = bed.finish_transfers(transfers)?;
        ensure!(report["targets"].as_object().is_some_and(|targets| targets.len() == 4), "{report}");
        bed.finish()?;
    }
    Ok(())
}

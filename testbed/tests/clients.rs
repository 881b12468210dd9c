//! Kernel clients of several kinds: from behind routers, with TLS, with WebSockets, with connections that outlive their target's registration.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::{
    Bed, BedOptions, CLIENT_ADDRESS, ECHO_PORT, HTTP_PORT, Namespace, Process, Run, STREAM_PORT, TARGET_STREAM_PORT,
    VIP, bulk, e2e, http_get, own_program, udp_echo, veth, wait_for,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const WEB: SocketAddrV4 = SocketAddrV4::new(VIP, HTTP_PORT);
/// Debian's Python: its packages are there for no other.
const PYTHON: &str = "/usr/bin/python3";

/// The names that answer `count` short transfers to a listener.
fn answering(bed: &Bed, port: u16, count: usize) -> Result<BTreeMap<String, usize>> {
    let orders = bulk::orders((VIP, port).into(), &[CLIENT_ADDRESS.into()], count, 1000, 1);
    bed.cli().enter(|| {
        let mut names = BTreeMap::new();
        for order in &orders {
            *names.entry(order.run()?.target).or_default() += 1;
        }
        Ok(names)
    })?
}

/// A client three routers away connects in either mode, over TCP and UDP, and is seen as itself where its address is preserved. The
/// appliance has no route to it: answers go back to the router that the client's packets come from.
///
/// req: GEN-08
#[test]
fn a_client_behind_three_routers_connects() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let far_address = Ipv4Addr::new(10, 71, 0, 2);
    let far = behind_three_routers(&bed)?;
    for (preserve, seen_as) in [("false", VIP), ("true", far_address)] {
        bed.appliance.set_attributes("web", &json!({"preserve_client_ip.enabled": preserve}))?;
        let answer = far.enter(|| http_get(WEB))??;
        ensure!(*answer.client.ip() == far_address, "the client came from {}", answer.client);
        ensure!(*answer.client_seen.ip() == seen_as, "preserve {preserve}: seen as {}", answer.client_seen);
    }
    let tally = udp_echo(&far, far_address, SocketAddrV4::new(VIP, ECHO_PORT), 4, 4, 1)?;
    ensure!(tally.answered == 16 && tally.clients_seen == tally.clients, "{tally:?}");
    bed.finish()
}

/// far ─ r1 ─ r2 ─ cli ─ appliance: the clients' namespace is the third router.
fn behind_three_routers(bed: &Bed) -> Result<Namespace> {
    let make = |role: &str| Namespace::create(&bed.run, role);
    let (far, r1, r2, cli) = (make("far")?, make("r1")?, make("r2")?, bed.cli());
    let hops: [(&Namespace, &Namespace, u8); 3] = [(&far, &r1, 71), (&r1, &r2, 72), (&r2, cli, 73)];
    for (left, right, net) in hops {
        veth((left, "north"), (right, "south"))?;
        left.ip(&["address", "add", &format!("10.{net}.0.2/24"), "dev", "north"])?;
        right.ip(&["address", "add", &format!("10.{net}.0.1/24"), "dev", "south"])?;
        left.ip(&["route", "add", "default", "via", &format!("10.{net}.0.1")])?;
        right.sysctl("net/ipv4/ip_forward", "1")?;
    }
    r2.ip(&["route", "add", "10.71.0.0/24", "via", "10.72.0.2"])?;
    cli.ip(&["route", "add", "10.71.0.0/24", "via", "10.73.0.2"])?;
    Ok(far)
}

/// One address with two ports is two targets of a group, both are healthy and both get connections.
///
/// req: GEN-06
#[test]
fn one_address_with_two_ports_is_two_targets() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    let mut command = target.namespace.command(own_program("leat-echo")?);
    command.args(["--name", "second"]);
    for (option, port) in [("--udp", 9001), ("--tcp", 9201), ("--bulk", 9301), ("--proxied", 9401)] {
        command.args([option, &format!("{}:{port}", target.address)]);
    }
    let mut second = Process::spawn(&bed.run, "echo-second", &mut command)?;
    second.wait_log("ready", Duration::from_secs(15))?;

    // Each is checked at the port that it gets its connections at.
    let check =
        json!({"protocol": "TCP", "intervalSeconds": 5, "healthyThresholdCount": 2, "unhealthyThresholdCount": 2});
    let group = json!({"name": "two", "protocol": "TCP", "port": 9300, "targetType": "ip", "healthCheck": check});
    bed.appliance.rest.expect("POST", "/v1/target-groups", Some(&group))?;
    let both = json!({"targets": [{"id": target.address}, {"id": target.address, "port": 9301}]});
    bed.appliance.rest.expect("POST", "/v1/target-groups/two/targets", Some(&both))?;
    bed.appliance.create_listener("lb", "TCP", 9101, "two")?;
    wait_for("both to be healthy", Duration::from_secs(40), || {
        let targets = bed.appliance.targets("two").ok()?;
        (targets.len() == 2 && targets.iter().all(|it| it.health.state == TargetState::Healthy)).then_some(())
    })?;
    let names = answering(&bed, 9101, 60)?;
    ensure!(names.len() == 2 && names.values().all(|count| *count >= 10), "{names:?}");
    bed.finish()
}

/// A TCP listener on 443 passes TLS through: the client verifies the target's own certificate.
///
/// req: LSN-14, GEN-02
#[test]
fn tls_passes_through_a_tcp_listener() -> Result<()> {
    const TLS_PORT: u16 = 8443;
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    let (certificate, key) = certificate(&bed.run, "t1.test")?;
    let mut command = target.namespace.command("openssl");
    command.args(["s_server", "-www", "-accept", &format!("{}:{TLS_PORT}", target.address)]);
    command.arg("-cert").arg(&certificate).arg("-key").arg(&key);
    let mut server = Process::spawn(&bed.run, "tls", &mut command)?;
    server.wait_log("ACCEPT", Duration::from_secs(15))?;
    bed.serve(443, "tls", TLS_PORT, &[target.address], &json!({}))?;

    let mut command = bed.cli().command("openssl");
    command.args(["s_client", "-showcerts", "-verify_return_error", "-verify_hostname", "t1.test"]);
    command.args(["-connect", &format!("{VIP}:443")]).arg("-CAfile").arg(&certificate);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(text.contains("Verify return code: 0 (ok)"), "{text}");
    ensure!(text.contains(fs::read_to_string(&certificate)?.trim()), "another certificate than the target's: {text}");
    bed.finish()
}

/// A self-signed certificate for a host name, and its key.
fn certificate(run: &Run, host: &str) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (run.dir().join("certificate.pem"), run.dir().join("key.pem"));
    let mut command = std::process::Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={host}"), "-addext", &format!("subjectAltName=DNS:{host}")]);
    command.arg("-out").arg(&certificate).arg("-keyout").arg(&key).stdin(Stdio::null());
    let output = command.output().context("cannot run openssl; scripts/setup installs it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((certificate, key))
}

/// A WebSocket works; with `LEAT_LONG=1` it stays open for longer than the idle timeout, with nothing but a ping each minute.
///
/// req: GEN-09
#[test]
fn a_websocket_stays_open() -> Result<()> {
    const WEBSOCKET_PORT: u16 = 8765;
    let Some(_machine) = e2e() else { return Ok(()) };
    let (seconds, ping_seconds) = if std::env::var_os("LEAT_LONG").is_some() { ("400", "60") } else { ("2", "0.5") };
    let bed = Bed::start(&BedOptions::default())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/websocket.py");
    let target = &bed.targets[0];
    let (address, port) = (target.address.to_string(), WEBSOCKET_PORT.to_string());
    let mut command = target.namespace.command(PYTHON);
    command.arg(&script).args(["serve", &address, &port]);
    let mut server = Process::spawn(&bed.run, "websocket-server", &mut command)?;
    server.wait_log("ready", Duration::from_secs(15))?;
    bed.serve(81, "websocket", WEBSOCKET_PORT, &[target.address], &json!({}))?;

    let mut command = bed.cli().command(PYTHON);
    command.arg(&script).args(["call", &VIP.to_string(), "81", seconds, ping_seconds]);
    let mut client = Process::spawn(&bed.run, "websocket-client", &mut command)?;
    let status = client.wait_exit(Duration::from_secs(500))?;
    ensure!(status.success() && client.log_text().contains("open to the end"), "{}", client.log_text());
    ensure!(bed.appliance.counter("flows_expired")? == 0, "a flow was given up");
    bed.finish()
}

/// After the deregistration delay open connections of the target go on, while clients that connect again reach others only.
///
/// req: DRN-04, DRN-07
#[test]
fn connections_outlive_the_deregistration_delay() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    bed.serve(9101, "bulk", 9300, &bed.addresses(), &json!({}))?;
    bed.appliance.set_attributes("stream", &json!({"deregistration_delay.timeout_seconds": "1"}))?;
    let transfers = bed.start_transfers("outlive", 40)?;
    let leaving = bed.targets[0].address;
    bed.appliance.deregister("stream", &[leaving])?;
    bed.appliance.deregister("bulk", &[leaving])?;
    wait_for("the end of the delay", Duration::from_secs(20), || {
        let targets = bed.appliance.targets("stream").ok()?;
        let left = targets.into_iter().find(|target| target.id == leaving.to_string());
        left.is_none_or(|target| target.health.state != TargetState::Draining).then_some(())
    })?;
    let names = answering(&bed, 9101, 40)?;
    ensure!(names.len() == 3 && !names.contains_key("t1"), "connected again to {names:?}");
    let query = format!("vip={VIP}:{STREAM_PORT}");
    let there = format!("{leaving}:{TARGET_STREAM_PORT}");
    let flows = bed.appliance.flows(&query)?.into_iter().filter(|flow| flow.target == there).count();
    let before = bed.appliance.counter("forwarded_packets")?;
    wait_for("some more traffic", Duration::from_secs(20), || {
        (bed.appliance.counter("forwarded_packets").ok()? > before + 1000).then_some(())
    })?;
    let report = bed.finish_transfers(transfers)?;
    ensure!(flows > 0 && report["targets"]["t1"] == flows, "{flows} flows to t1 after the delay: {report}");
    bed.finish()
}

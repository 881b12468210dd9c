//! What is refused is refused with a sentence that names the field and says what to do, and changes nothing.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{Appliance, ApplianceOptions, Bed, BedOptions, Process, Reply, Run, Topology, e2e};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A request, and what its refusal must hold: status, code, field, a word of the message.
type Case<'a> = (&'a str, &'a str, String, u16, &'a str, &'a str, &'a str);

/// Requests of every kind with something wrong in them.
///
/// req: LB-04, LSN-01, LSN-03, TG-02, TG-05, TG-10, ATT-01, ATT-04, ATT-14, ERR-02, ERR-04, ERR-09, ERR-10, ERR-11
#[test]
fn bad_requests_are_refused_with_the_field_and_the_remedy() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let rest = &bed.appliance.rest;
    let snapshot = || -> Result<_> {
        let paths = ["/v1/load-balancers", "/v1/load-balancers/lb/listeners", "/v1/target-groups"];
        paths.into_iter().map(|path| rest.get(path)).collect::<Result<Vec<_>>>()
    };
    let before = snapshot()?;
    let epoch = bed.appliance.status()?.epoch;

    let lb = |name: &str, address: &str| {
        json!({"name": name, "nodes": [{"zone": "zone-a", "address": address}]}).to_string()
    };
    let tg =
        |name: &str, port: i64| json!({"name": name, "protocol": "TCP", "port": port, "targetType": "ip"}).to_string();
    let listener = |protocol: &str, port: i64, group: &str| {
        json!({"protocol": protocol, "port": port, "targetGroup": group}).to_string()
    };
    let targets = |id: &str, port: i64| json!({"targets": [{"id": id, "port": port}]}).to_string();
    let attribute = |key: &str, value: &str| json!({"attributes": {key: value}}).to_string();
    let lbs = "/v1/load-balancers";
    let groups = "/v1/target-groups";
    let listeners = "/v1/load-balancers/lb/listeners";
    let web_targets = "/v1/target-groups/web/targets";
    let web_attributes = "/v1/target-groups/web/attributes";
    let cases: Vec<Case<'_>> = vec![
        ("POST", lbs, "{\"name\": ".into(), 400, "ValidationError", "", "JSON"),
        ("POST", lbs, "[]".into(), 400, "ValidationError", "", ""),
        (
            "POST",
            lbs,
            json!({"name": "x", "nodes": [], "colour": "red"}).to_string(),
            400,
            "ValidationError",
            "",
            "colour",
        ),
        ("POST", lbs, lb("-bad-", "10.1.0.20"), 400, "ValidationError", "name", "-bad-"),
        ("POST", lbs, lb("internal-x", "10.1.0.20"), 400, "ValidationError", "name", "internal-"),
        ("POST", lbs, lb("other", "10.1.0.300"), 400, "ValidationError", "nodes[0].address", "10.1.0.300"),
        ("POST", lbs, lb("lb", "10.1.0.20"), 400, "DuplicateLoadBalancerName", "name", "lb"),
        ("POST", groups, tg("web", 81), 400, "DuplicateTargetGroupName", "name", "web"),
        ("POST", groups, tg("new", 0), 400, "ValidationError", "port", "65535"),
        ("POST", groups, tg("new", 65_536), 400, "ValidationError", "port", "65535"),
        ("POST", listeners, listener("TCP", 70_000, "web"), 400, "ValidationError", "port", "65535"),
        ("POST", listeners, listener("HTTP", 81, "web"), 400, "UnsupportedProtocol", "protocol", "TCP"),
        ("POST", listeners, listener("UDP", 80, "echo"), 400, "DuplicateListener", "port", "80"),
        ("POST", listeners, listener("UDP", 81, "web"), 400, "IncompatibleProtocols", "", "TCP"),
        ("POST", listeners, listener("TCP", 81, "nowhere"), 404, "TargetGroupNotFound", "targetGroup", "nowhere"),
        ("POST", web_targets, targets("8.8.8.8", 80), 400, "InvalidTarget", "targets[0].id", "8.8.8.8"),
        ("POST", web_targets, targets("10.2.0.x", 80), 400, "InvalidTarget", "targets[0].id", "10.2.0.x"),
        ("POST", web_targets, targets("10.2.0.15", 0), 400, "ValidationError", "targets[0].port", "65535"),
        (
            "PATCH",
            web_attributes,
            attribute("deregistration_delay.timeout_seconds", "3601"),
            400,
            "ValidationError",
            "",
            "3600",
        ),
        ("PATCH", web_attributes, attribute("no.such.key", "1"), 400, "ValidationError", "", "no.such.key"),
        (
            "PATCH",
            "/v1/target-groups/echo/attributes",
            attribute("preserve_client_ip.enabled", "false"),
            400,
            "",
            "",
            "UDP",
        ),
        ("DELETE", "/v1/target-groups/web", String::new(), 400, "ResourceInUse", "", ""),
        ("GET", "/v1/load-balancers/nobody", String::new(), 404, "LoadBalancerNotFound", "", "nobody"),
        ("GET", "/v1/target-groups/nobody", String::new(), 404, "TargetGroupNotFound", "", "nobody"),
        ("PUT", "/v1/load-balancers", String::new(), 405, "", "", ""),
        ("GET", "/v1/no-such-thing", String::new(), 404, "", "", ""),
        ("POST", lbs, "x".repeat(1_100_000), 413, "", "", ""),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status, code, field, word) in &cases {
        let shown: String = body.chars().take(80).collect();
        let reply = rest.send(method, path, (!body.is_empty()).then_some(body))?;
        if !is_refused_so(&reply, *status, code, field, word) {
            wrong.push(format!("{method} {path} {shown}: wanted {status} {code} {field:?} {word:?}, got {reply:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(snapshot()? == before, "a refused request has changed something");
    ensure!(bed.appliance.status()?.epoch == epoch, "a refused request has made a new epoch");
    bed.finish()
}

/// An empty expectation leaves that part open, but there is always a message.
fn is_refused_so(reply: &Reply, status: u16, code: &str, field: &str, word: &str) -> bool {
    reply.status == status
        && !reply.message().is_empty()
        && (code.is_empty() || reply.code() == code)
        && (field.is_empty() || reply.field() == field)
        && reply.message().contains(word)
}

/// Starts `leat up` where it cannot work and returns what it wrote when it has ended.
fn failed_start(run: &Run, topology: &Topology, toml: &str) -> Result<String> {
    let mut process = Appliance::spawn(run, topology, toml)?;
    let status = process.wait_exit(Duration::from_secs(30)).with_context(|| process.log_text())?;
    ensure!(!status.success(), "leat up ended well: {}", process.log_text());
    Ok(process.log_text())
}

/// A port without its interface: `leat up` ends and says which port, which interface, and what there is.
#[test]
fn a_missing_device_is_named() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut run = Run::start_unique()?;
    let topology = Topology::create(&run, 1)?;
    let toml = ApplianceOptions::default().toml(&run)?.replace("iface=leatd1", "iface=missing0");
    let log = failed_start(&run, &topology, &toml)?;
    ensure!(log.contains("p1") && log.contains("missing0") && log.contains("leatd0"), "{log}");
    ensure!(!run.dir().join("state").exists(), "a start that was refused has made a directory");
    run.done();
    Ok(())
}

/// A wrong key in leat.toml: the key and its line are named.
#[test]
fn a_wrong_key_is_named() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut run = Run::start_unique()?;
    let topology = Topology::create(&run, 1)?;
    let toml = ApplianceOptions::default().toml(&run)?.replace("flows_max", "flow_max");
    let log = failed_start(&run, &topology, &toml)?;
    ensure!(log.contains("flow_max") && log.contains("line "), "{log}");
    run.done();
    Ok(())
}

/// Where the admin API shall listen, somebody does already: the address is named, and the running appliance stays.
#[test]
fn a_second_appliance_is_refused() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut run = Run::start_unique()?;
    let topology = Topology::create(&run, 1)?;
    let options = ApplianceOptions::default();
    let mut appliance = Appliance::start(&run, &topology, &options)?;
    let toml = options.toml(&run)?;
    let log = failed_start(&run, &topology, &toml)?;
    ensure!(log.contains("127.0.0.1:9321") && log.contains("in use"), "{log}");
    ensure!(log.contains("another leat up"), "{log}");
    // Elsewhere, but with the same segment.
    let elsewhere = toml.replace("9321", "9322").replace("/state", "/state2").replace("/run\"", "/run2\"");
    ensure!(elsewhere.contains("/run2") && elsewhere.contains("/state2"), "{elsewhere}");
    let mut other = Run::start_unique()?;
    let place = Topology::create(&other, 1)?;
    let log = failed_start(&other, &place, &elsewhere)?;
    drop(place);
    other.done();
    ensure!(log.contains("another leat-dp is using it"), "{log}");
    ensure!(run.memory_dir().join(format!("leat-{}", run.name())).exists(), "the segment in use was removed");
    ensure!(appliance.status()?.data_plane.attached, "the first one was disturbed");
    ensure!(appliance.stop()?.success(), "{}", appliance.process.log_text());
    run.done();
    Ok(())
}

/// A segment of another version is refused with both versions and the way out, and is not touched.
#[test]
fn a_segment_of_another_version_is_refused() -> Result<()> {
    const VERSION_AT: u64 = 8;
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut run = Run::start_unique()?;
    let topology = Topology::create(&run, 1)?;
    let options = ApplianceOptions::default();
    let mut appliance = Appliance::start(&run, &topology, &options)?;
    // Everything dies at once, so that the segment stays.
    let data_plane = appliance.data_plane_pid()?;
    appliance.process.kill()?;
    leat_testbed::wait_for("the end of leat-dp", Duration::from_secs(20), || {
        (!std::path::Path::new(&format!("/proc/{data_plane}")).exists()).then_some(())
    })?;
    let path = run.memory_dir().join(format!("leat-{}", run.name()));
    let segment = File::options().read(true).write(true).open(&path).with_context(|| path.display().to_string())?;
    segment.write_all_at(&999_u64.to_le_bytes(), VERSION_AT)?;

    let mut again: Process = Appliance::spawn(&run, &topology, &options.toml(&run)?)?;
    again.wait_log("ABI version 999", Duration::from_secs(30))?;
    ensure!(again.log_text().contains("--discard-flows"), "{}", again.log_text());
    let status = again.wait_exit(Duration::from_secs(60))?;
    ensure!(!status.success() && again.log_text().contains("leat-dp cannot start"), "{}", again.log_text());
    ensure!(path.exists(), "the refused segment was removed");
    let mut version = [0; 8];
    segment.read_exact_at(&mut version, VERSION_AT)?;
    ensure!(u64::from_le_bytes(version) == 999, "the refused segment was changed");
    run.done();
    Ok(())
}

//! The packet filters that targets are told to have, as nftables rules in the targets' namespaces: with them everything works, and what
//! they leave out is missed in the way that is documented.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::sockets::connect;
use leat_testbed::{
    Bed, BedOptions, Namespace, P1_ADDRESS, TARGET_HTTP_PORT, TARGET_STREAM_PORT, VIP, e2e, http_get, wait_for,
};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A listener of a test's own, and the connections to it.
const PORT: u16 = 81;
const ONE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
const PATIENCE: Duration = Duration::from_millis(1500);
const SOON: Duration = Duration::from_secs(30);
/// Where the clients are.
const CLIENTS: &str = "10.1.0.0/24";
/// Where targets get their traffic and, on a port of its own, their checks.
const TRAFFIC: u16 = TARGET_HTTP_PORT;
const CHECK: u16 = TARGET_STREAM_PORT;

fn preserve(on: bool) -> Value {
    json!({"preserve_client_ip.enabled": on.to_string()})
}

/// An input chain that lets in what these rules say and nothing else, each packet by itself.
fn input(rules: &str) -> String {
    format!("chain input {{ type filter hook input priority 0; policy drop; {rules} }}")
}

fn works(namespace: &Namespace) -> Result<String> {
    Ok(namespace.enter(|| http_get(ONE))??.target)
}

/// Attempts that get no answer at all.
fn is_silent(namespace: &Namespace) -> Result<()> {
    match namespace.enter(|| connect(None, ONE, PATIENCE))? {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        other => anyhow::bail!("instead of silence: {other:?}"),
    }
}

/// A group of one target whose checks have a port of their own, behind a listener.
fn serve(bed: &Bed, target: Ipv4Addr, attributes: &Value) -> Result<()> {
    bed.appliance.create_target_group("one", "TCP", TRAFFIC, CHECK, attributes)?;
    bed.appliance.register("one", &[target])?;
    bed.appliance.create_listener("lb", "TCP", PORT, "one")?;
    bed.appliance.wait_healthy("one", &[target])
}

/// Clients' addresses preserved: the target lets in the clients on its traffic port and the node on its check port. Not preserved: the node on both.
///
/// req: SEC-01, SEC-03, OLD-02
#[test]
fn the_recommended_filters_let_everything_through() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    serve(&bed, target.address, &preserve(true))?;
    let checks = format!("ip saddr {VIP} tcp dport {CHECK} accept;");
    target.filter(&input(&format!("ip saddr {CLIENTS} tcp dport {TRAFFIC} accept; {checks}")))?;
    ensure!(works(bed.cli())? == "t1");

    // The subnet's rules, which know no connections: both ways, answers to checks to 1024–65535.
    let output = format!(
        "chain output {{ type filter hook output priority 0; policy drop; ip daddr {CLIENTS} tcp sport {TRAFFIC} accept; \
         ip daddr {VIP} tcp sport {CHECK} tcp dport 1024-65535 accept; }}"
    );
    target
        .filter(&format!("{} {output}", input(&format!("ip saddr {CLIENTS} tcp dport {TRAFFIC} accept; {checks}"))))?;
    ensure!(works(bed.cli())? == "t1");

    bed.appliance.set_attributes("one", &preserve(false))?;
    target.filter(&input(&format!("ip saddr {VIP} tcp dport {TRAFFIC} accept; {checks}")))?;
    ensure!(works(bed.cli())? == "t1");
    // Two rounds of checks later it still is healthy.
    std::thread::sleep(Duration::from_secs(11));
    bed.appliance.wait_state("one", target.address, TargetState::Healthy)?;
    bed.finish()
}

/// What a filter leaves out: the check's port makes the target unhealthy, the traffic's port alone leaves it healthy and its clients
/// without an answer.
///
/// req: SEC-02
#[test]
fn each_port_that_is_blocked_is_missed_in_its_own_way() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    serve(&bed, target.address, &preserve(true))?;
    target.filter(&format!("chain input {{ type filter hook input priority 0; tcp dport {TRAFFIC} drop; }}"))?;
    is_silent(bed.cli())?;
    std::thread::sleep(Duration::from_secs(11));
    bed.appliance.wait_state("one", target.address, TargetState::Healthy)?;

    target.filter(&format!("chain input {{ type filter hook input priority 0; tcp dport {CHECK} drop; }}"))?;
    bed.appliance.wait_state("one", target.address, TargetState::Unhealthy)?;
    bed.finish()
}

/// An internal load balancer's targets need no more than their own networks.
///
/// req: SEC-05
#[test]
fn an_internal_load_balancer_needs_only_its_own_networks() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let (target, inside) = (&bed.targets[0], SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 30), 80));
    let nodes = json!([{"zone": "zone-a", "address": inside.ip()}]);
    let body = json!({"name": "inside", "scheme": "internal", "nodes": nodes});
    bed.appliance.rest.expect("POST", "/v1/load-balancers", Some(&body))?;
    bed.appliance.create_target_group("own", "TCP", TRAFFIC, CHECK, &preserve(true))?;
    bed.appliance.register("own", &[target.address])?;
    bed.appliance.create_listener("inside", "TCP", 80, "own")?;
    bed.appliance.wait_healthy("own", &[target.address])?;
    let networks = "ip saddr 10.0.0.0/8 tcp dport 1-65535 accept;";
    let output = "chain output { type filter hook output priority 0; policy drop; ip daddr 10.0.0.0/8 accept; }";
    target.filter(&format!("{} {output}", input(networks)))?;
    let answer = bed.cli().enter(|| http_get(inside))??;
    ensure!(answer.target == "t1", "{answer:?}");
    bed.finish()
}

/// A target that sees clients' addresses needs a way back to them.
///
/// req: SEC-06
#[test]
fn a_target_without_a_way_back_gets_the_syn_and_does_not_answer() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    serve(&bed, target.address, &preserve(true))?;
    // It still reaches the node, for its checks.
    let node = format!("{VIP}/32");
    target.namespace.ip(&["route", "add", &node, "via", &P1_ADDRESS.to_string()])?;
    target.namespace.ip(&["route", "delete", "default"])?;
    let count =
        "chain input { type filter hook prerouting priority -400; ip saddr 10.1.0.0/24 tcp flags syn counter; }";
    target.filter(count)?;
    // Reverse-path filtering would hide what has come from what counts behind it.
    is_silent(bed.cli())?;
    let output = target.namespace.command("nft").args(["list", "table", "ip", "filter"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let packets = text.split_whitespace().skip_while(|word| *word != "packets").nth(1).context("no counter")?;
    ensure!(packets.parse::<u64>()? > 0, "no SYN has come: {text}");

    target.namespace.ip(&["route", "add", "default", "via", &P1_ADDRESS.to_string()])?;
    let answer = wait_for("an answer", SOON, || works(bed.cli()).ok())?;
    ensure!(answer == "t1");
    bed.finish()
}

/// When a load balancer says that it is active, the first connection is answered.
///
/// req: LB-01, LB-03
#[test]
fn active_means_ready() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    for number in 0..5_u8 {
        let (name, address) = (format!("more-{number}"), Ipv4Addr::new(10, 1, 0, 40 + number));
        let group = format!("group-{number}");
        bed.appliance.create_target_group(&group, "TCP", TRAFFIC, CHECK, &preserve(false))?;
        bed.appliance.register(&group, &bed.addresses())?;
        bed.appliance.create_load_balancer(&name, address)?;
        bed.appliance.create_listener(&name, "TCP", 80, &group)?;
        let path = format!("/v1/load-balancers/{name}");
        wait_for("the load balancer to be active", SOON, || {
            (bed.appliance.rest.get(&path).ok()?["state"]["code"] == "active").then_some(())
        })?;
        bed.cli().enter(|| http_get(SocketAddrV4::new(address, 80)))??;
    }
    bed.finish()
}

/// An address that somebody else has: the load balancer fails and takes nothing from him. When he has gone, creating it again works.
///
/// req: LB-01, LB-02, TRB-11
#[test]
fn an_address_in_use_makes_a_load_balancer_fail() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    // One of the clients' own.
    let taken = Ipv4Addr::new(10, 1, 0, 105);
    let state = || -> Option<Value> { Some(bed.appliance.rest.get("/v1/load-balancers/more").ok()?["state"].clone()) };
    bed.appliance.create_load_balancer("more", taken)?;
    let failed =
        wait_for("the load balancer to fail", SOON, || state().filter(|state| state["code"] != "provisioning"))?;
    ensure!(failed["code"] == "failed", "{failed}");
    let reason = failed["reason"].as_str().context("no reason")?;
    ensure!(reason.contains("10.1.0.105 is in use by "), "{reason}");
    let own = bed.topology.lb.command("ip").args(["-brief", "address"]).output()?;
    ensure!(!String::from_utf8(own.stdout)?.contains("10.1.0.105"), "the appliance has taken the address");

    bed.cli().ip(&["address", "delete", "10.1.0.105/24", "dev", "eth0"])?;
    ensure!(state().is_some_and(|state| state["code"] == "failed"), "it has failed for good");
    bed.appliance.rest.expect("DELETE", "/v1/load-balancers/more", None)?;
    bed.appliance.create_target_group("own", "TCP", TRAFFIC, CHECK, &preserve(false))?;
    bed.appliance.register("own", &bed.addresses())?;
    bed.appliance.create_load_balancer("more", taken)?;
    bed.appliance.create_listener("more", "TCP", 80, "own")?;
    wait_for("the load balancer to be active", SOON, || state().filter(|state| state["code"] == "active"))?;
    bed.cli().enter(|| http_get(SocketAddrV4::new(taken, 80)))??;
    bed.finish()
}

//! Two zones: who serves where, what DNS names, and what running connections notice when servers, links or settings change.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::{Capture, TARGET_BULK_PORT, Zone, ZoneBed, ZoneOptions, e2e, servers, wait_for};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Both thresholds at half, in one call.
fn half() -> Value {
    json!({
        "target_group_health.dns_failover.minimum_healthy_targets.percentage": "50",
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "50",
    })
}

/// Starts a shift away from a zone; its id.
fn shift_away(bed: &ZoneBed, zone: Zone) -> Result<String> {
    let body = json!({"loadBalancer": "lb", "awayFrom": zone.name(), "expiresIn": "1h", "comment": "works"});
    let shift = bed.bed.appliance.rest.expect("POST", "/v1/zonal-shifts", Some(&body))?;
    Ok(shift["id"].as_str().context("no id")?.to_owned())
}

/// The guide's example: two zones with 10 targets each, both thresholds 50 %, 6 targets fail in zone b. Then all fail, and come back.
///
/// req: TGH-02, TGH-03, TGH-07, TGH-10, TGH-11, TGH-12, TGH-13, TGH-16, HC-18, HC-21, HC-22, XZ-01, XZ-02, RT-05, RT-10, TRB-05
#[test]
fn the_guides_example() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = ZoneBed::start(&ZoneOptions { attributes: half(), ..ZoneOptions::default() })?;
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=10))?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=10))?;

    // 5 of 10 are not below 50 %.
    bed.fail(Zone::B, 6..=10)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=5))?;

    // 4 of 10 are: zone b leaves DNS, and who connects to its address all the same is sent to all ten.
    bed.fail(Zone::B, 5..=5)?;
    bed.wait_dns(&[Zone::A])?;
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=10))?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=10))?;

    // Across zones 14 of 20 are healthy, which is no reason to do anything.
    bed.set_cross_zone(true)?;
    bed.wait_dns(&Zone::ALL)?;
    let healthy: Vec<String> = [servers(Zone::A, 1..=10), servers(Zone::B, 1..=4)].concat();
    for zone in Zone::ALL {
        bed.expect_servers(zone, &healthy)?;
    }

    // When all fail in all zones, both addresses are named and all targets are tried.
    bed.set_cross_zone(false)?;
    bed.wait_dns(&[Zone::A])?;
    bed.fail(Zone::A, 1..=10)?;
    bed.fail(Zone::B, 1..=4)?;
    bed.wait_dns(&Zone::ALL)?;
    for zone in Zone::ALL {
        bed.expect_servers(zone, &servers(zone, 1..=10))?;
    }

    // Half of zone b is back: so is the zone, alone.
    bed.revive(Zone::B, 1..=5)?;
    bed.wait_dns(&[Zone::B])?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=5))?;
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=10))?;
    bed.finish()
}

/// Clients that know nothing but the name get through: with all zones, while a zone's servers or its link are gone and nobody has noticed yet,
/// after that was noticed, and when no server anywhere passes its checks.
///
/// req: TGH-02, TGH-10, TGH-14, HC-21, HC-22, ZN-01
#[test]
fn clients_that_use_the_name_get_through() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    // As many servers as zones: a client whose resolver is out of reach finds no name.
    let dns_listen = &["10.1.0.2:53", "10.2.0.2:53"];
    let mut bed = ZoneBed::start(&ZoneOptions { servers: 2, dns_listen, ..ZoneOptions::default() })?;
    // Ten requests, and the zones whose servers answered.
    let requests = |bed: &ZoneBed| -> Result<String> {
        let mut zones: Vec<char> = Vec::new();
        for number in 0..10 {
            let server = bed.curl().with_context(|| format!("request {number}"))?;
            zones.extend(server.chars().next());
        }
        zones.sort_unstable();
        zones.dedup();
        Ok(zones.into_iter().collect())
    };
    requests(&bed)?;

    bed.stop(Zone::B, 1..=2);
    ensure!(requests(&bed)? == "a", "only zone a is left");
    bed.wait_dns(&[Zone::A])?;
    ensure!(requests(&bed)? == "a", "only zone a is named");
    bed.revive(Zone::B, 1..=2)?;
    bed.wait_dns(&Zone::ALL)?;

    for (zone, other, letter) in [(Zone::A, Zone::B, "b"), (Zone::B, Zone::A, "a")] {
        bed.cut(zone)?;
        ensure!(requests(&bed)? == letter, "only {} is left", other.name());
        bed.wait_dns(&[other])?;
        ensure!(requests(&bed)? == letter, "only {} is named", other.name());
        bed.restore(zone)?;
        for group in ["web", "stream"] {
            bed.wait_states(&[group], zone, 1..=2, TargetState::Healthy)?;
        }
        bed.wait_dns(&Zone::ALL)?;
    }

    for zone in Zone::ALL {
        bed.fail(zone, 1..=2)?;
    }
    bed.wait_dns(&Zone::ALL)?;
    requests(&bed)?;
    bed.finish()
}

/// A zone's link breaks: the zone leaves DNS, and the other one's connections lose nothing. It comes back by itself.
///
/// req: TGH-14, ZS-12, RT-10
#[test]
fn a_zone_without_a_link_leaves_dns_and_the_other_goes_on() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = ZoneBed::start(&ZoneOptions { servers: 3, ..ZoneOptions::default() })?;
    let transfers = bed.start_transfers("a", Zone::A, 100)?;
    bed.cut(Zone::B)?;
    let cut = std::time::Instant::now();
    bed.wait_dns(&[Zone::A])?;
    println!("zone b left DNS {} ms after its link", cut.elapsed().as_millis());
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=3))?;
    ensure!(bed.distribution(Zone::B, 1).is_err(), "there is no way to the node");
    bed.wait_states(&["web", "stream"], Zone::B, 1..=3, TargetState::Unhealthy)?;
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=3))?;
    bed.restore(Zone::B)?;
    bed.wait_states(&["web", "stream"], Zone::B, 1..=3, TargetState::Healthy)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=3))?;
    let report = bed.bed.finish_transfers(transfers)?;
    ensure!(report["connections"] == 100, "{report}");

    // Without any link both are named: there is nothing better.
    Zone::ALL.into_iter().try_for_each(|zone| bed.cut(zone))?;
    let path = "/v1/load-balancers/lb";
    wait_for("both links to be missed", Duration::from_secs(30), || {
        let shown = bed.bed.appliance.rest.get(path).ok()?;
        let zones = shown["availabilityZones"].as_array()?;
        zones.iter().all(|zone| zone["health"]["healthy"] == false).then_some(())
    })?;
    bed.wait_dns(&Zone::ALL)?;
    Zone::ALL.into_iter().try_for_each(|zone| bed.restore(zone))?;
    bed.wait_dns(&Zone::ALL)?;
    bed.finish()
}

/// A zonal shift takes a zone out of DNS. Its connections go on, and its address takes new ones; it outlives a crash of leat-cp, and ends
/// when it is told to. Meanwhile the other zone may fail: then both are named.
///
/// req: ZS-01, ZS-02, ZS-03, ZS-06, ZS-07, ZS-11
#[test]
fn a_shifted_zone_leaves_dns_and_keeps_its_connections() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = ZoneBed::start(&ZoneOptions { servers: 3, ..ZoneOptions::default() })?;
    let transfers = bed.start_transfers("a", Zone::A, 50)?;
    let id = shift_away(&bed, Zone::A)?;
    bed.wait_dns(&[Zone::B])?;
    ensure!(shift_away(&bed, Zone::B).is_err(), "one zone at a time");
    let on = json!({"attributes": {"load_balancing.cross_zone.enabled": "true"}});
    let reply = bed.bed.appliance.rest.call("PATCH", "/v1/load-balancers/lb/attributes", Some(&on))?;
    ensure!(reply.status == 400, "while it lasts, zones are not crossed: {}", reply.body);
    bed.expect_servers(Zone::A, &servers(Zone::A, 1..=3))?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=3))?;

    let killed = bed.bed.appliance.kill_control_plane()?;
    bed.bed.appliance.wait_control_plane(killed)?;
    bed.wait_dns(&[Zone::B])?;

    bed.fail(Zone::B, 1..=3)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.revive(Zone::B, 1..=3)?;
    bed.wait_dns(&[Zone::B])?;

    bed.bed.appliance.rest.expect("DELETE", &format!("/v1/zonal-shifts/{id}"), None)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.bed.finish_transfers(transfers)?;
    bed.finish()
}

/// A minute is the shortest shift; when it is over the zone is back, also if leat-cp was killed meanwhile. With `LEAT_LONG=1`.
///
/// req: ZS-04, ZS-08
#[test]
fn a_shift_ends_by_itself() -> Result<()> {
    if std::env::var_os("LEAT_LONG").is_none() {
        eprintln!("skipped: a_shift_ends_by_itself takes more than a minute; scripts/test --long runs it");
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = ZoneBed::start(&ZoneOptions { servers: 1, ..ZoneOptions::default() })?;
    let body = json!({"loadBalancer": "lb", "awayFrom": "zone-a", "expiresIn": "1m", "comment": ""});
    bed.bed.appliance.rest.expect("POST", "/v1/zonal-shifts", Some(&body))?;
    bed.wait_dns(&[Zone::B])?;
    let killed = bed.bed.appliance.kill_control_plane()?;
    bed.bed.appliance.wait_control_plane(killed)?;
    ensure!(bed.in_dns()? == [Zone::B], "it is not over yet");
    wait_for("the end of the shift", Duration::from_secs(90), || (bed.in_dns().ok()? == Zone::ALL).then_some(()))?;
    bed.finish()
}

/// Cross-zone goes on and off, at the load balancer and at the group, under transfers through both nodes: none of them notices,
/// and new connections go where the setting says. Across zones each target is checked by both nodes.
///
/// req: XZ-01, XZ-02, XZ-03, XZ-04, XZ-05, HC-15, HC-18, TRB-03
#[test]
fn crossing_zones_is_switched_under_live_connections() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = ZoneBed::start(&ZoneOptions { servers: 2, ..ZoneOptions::default() })?;
    let own = |zone| servers(zone, 1..=2);
    let all = [own(Zone::A), own(Zone::B)].concat();
    let expect = |crossed: bool| {
        let at = |zone| if crossed { all.clone() } else { own(zone) };
        Zone::ALL.into_iter().try_for_each(|zone| bed.expect_servers(zone, &at(zone)))
    };
    let mut running = Vec::new();
    for zone in Zone::ALL {
        running.push(bed.start_transfers(&format!("off-{}", zone.name()), zone, 50)?);
    }
    bed.set_cross_zone(true)?;
    expect(true)?;
    for zone in Zone::ALL {
        running.push(bed.start_transfers(&format!("on-{}", zone.name()), zone, 50)?);
    }
    let key = "load_balancing.cross_zone.enabled";
    // What the load balancer says, and the group; whether zones are crossed.
    for (balancer, group, crossed) in [
        (true, "false", false),
        (true, "true", true),
        (false, "true", true),
        (false, "false", false),
        (false, "use_load_balancer_configuration", false),
        (true, "use_load_balancer_configuration", true),
    ] {
        bed.set_cross_zone(balancer)?;
        bed.bed.appliance.set_attributes("web", &json!({key: group}))?;
        bed.bed.appliance.set_attributes("stream", &json!({key: group}))?;
        expect(crossed).with_context(|| format!("load balancer {balancer}, group {group}"))?;
    }

    // Across zones: in three rounds of zone a's node, its target hears from zone b's as well.
    let filter = format!("dst host {} and tcp dst port {TARGET_BULK_PORT} and tcp[13] == 2", Zone::A.server(1));
    let capture = Capture::start(&bed.bed.run, "checks", bed.namespace(Zone::A), "lb", &filter)?;
    let checks = |from: Ipv4Addr| capture.segments().iter().filter(|segment| *segment.source.ip() == from).count();
    wait_for("three checks by the node of zone a", Duration::from_secs(60), || {
        (checks(Zone::A.vip()) >= 3).then_some(())
    })?;
    ensure!(checks(Zone::B.vip()) >= 2, "the other node made {} checks", checks(Zone::B.vip()));

    for _ in 0..10 {
        bed.set_cross_zone(false)?;
        bed.set_cross_zone(true)?;
    }
    bed.set_cross_zone(false)?;
    expect(false)?;
    let mut seen = Vec::new();
    for transfers in running {
        seen.push(bed.bed.finish_transfers(transfers)?["targets"].clone());
    }
    let of_zone_b = |targets: &Value| targets.as_object().is_some_and(|it| it.keys().any(|name| name.starts_with('b')));
    ensure!(!of_zone_b(&seen[0]) && of_zone_b(&seen[2]), "transfers through the node of zone a went to {seen:?}");
    bed.finish()
}

/// One of several groups has nobody in a zone, or nobody healthy: that takes the zone out. Targets of a zone `all` are every node's.
///
/// req: TGH-09, TGH-18, XZ-06, XZ-07, ZN-12, ZN-13
#[test]
fn every_group_has_a_say_in_every_zone() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = ZoneBed::start(&ZoneOptions { servers: 2, ..ZoneOptions::default() })?;
    let appliance = &bed.bed.appliance;
    appliance.create_target_group("third", "TCP", 8080, 8080, &json!({}))?;
    bed.register("third", Zone::A, 1..=1)?;
    appliance.create_listener("lb", "TCP", 81, "third")?;
    appliance.wait_healthy("third", &[Zone::A.server(1)])?;
    bed.wait_dns(&[Zone::A])?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 1..=2))?;

    // Targets of zone b that are for all zones make it whole, and zone a uses them too.
    let everywhere = json!({"targets": [{"id": Zone::B.server(1), "zone": "all"}]});
    bed.bed.appliance.rest.expect("POST", "/v1/target-groups/third/targets", Some(&everywhere))?;
    bed.wait_dns(&Zone::ALL)?;
    bed.bed.appliance.deregister("third", &[Zone::A.server(1)])?;
    bed.wait_dns(&Zone::ALL)?;
    let plan = |zone: Zone| std::net::SocketAddrV4::new(zone.vip(), 81);
    for zone in Zone::ALL {
        let answers = leat_testbed::tally(leat_testbed::http_many(bed.bed.cli(), plan(zone), 10, 2)?)?;
        ensure!(answers.keys().eq(["b1"]), "{}: {answers:?}", zone.name());
    }

    // It stops: the third group has nobody healthy in either zone, so both are named; then it leaves, and zone b is whole again.
    bed.stop(Zone::B, 1..=1);
    bed.wait_states(&["third"], Zone::B, 1..=1, TargetState::Unhealthy)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.register("third", Zone::A, 1..=1)?;
    bed.wait_dns(&[Zone::A])?;
    bed.bed.appliance.rest.expect("DELETE", "/v1/load-balancers/lb/listeners/81", None)?;
    bed.wait_dns(&Zone::ALL)?;
    bed.expect_servers(Zone::B, &servers(Zone::B, 2..=2))?;
    bed.finish()
}

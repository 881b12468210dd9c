//! The names of load balancers, asked by dig from the clients' side over a port of the appliance.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{DNS, HTTP_PORT, Namespace, Zone, ZoneBed, ZoneOptions, dig, e2e, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than a change of names can take: 5 s of flap protection, on a busy machine.
const CHANGE: Duration = Duration::from_secs(30);

fn bed() -> Result<ZoneBed> {
    ZoneBed::start(&ZoneOptions { servers: 2, ..ZoneOptions::default() })
}

/// What is printed of the records of an answer.
fn short(bed: &ZoneBed, arguments: &[&str]) -> Result<BTreeSet<String>> {
    let text = dig(&bed.bed.topology.cli, DNS, &[&["+short"], arguments].concat())?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn vips(zones: &[Zone]) -> BTreeSet<String> {
    zones.iter().map(|zone| zone.vip().to_string()).collect()
}

fn wait_short(bed: &ZoneBed, name: &str, zones: &[Zone]) -> Result<()> {
    let mut last = BTreeSet::new();
    wait_for(&format!("{name} to stand for {zones:?}"), CHANGE, || {
        last = short(bed, &[name, "A"]).ok()?;
        (last == vips(zones)).then_some(())
    })
    .with_context(|| format!("last seen: {last:?}"))
}

/// What is asked from a client, over UDP and TCP, is answered by Linux behind the appliance's port.
///
/// req: DNS-01, DNS-02, DNS-03, DNS-04, DNS-05, DNS-07, DNS-08, DNS-10, DNS-11, TGH-08, ZN-01, ZN-02
#[test]
fn clients_find_the_nodes_by_name() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed()?;
    let (cli, name) = (&bed.bed.topology.cli, bed.dns_name()?);
    ensure!(name.starts_with("lb-") && name.ends_with(".elb.on-prem-1.leat.internal"), "{name}");
    wait_short(&bed, &name, &Zone::ALL)?;

    let whole = dig(cli, DNS, &[&name, "A"])?;
    ensure!(
        whole.contains("status: NOERROR") && whole.contains("ANSWER: 2") && whole.contains("EDNS: version: 0"),
        "{whole}"
    );
    ensure!(whole.contains("flags: qr aa rd;") && whole.contains("recursion requested but not available"), "{whole}");
    let answers: Vec<&str> = whole.lines().filter(|line| line.starts_with(&name)).collect();
    ensure!(answers.iter().all(|line| line.split_whitespace().nth(1) == Some("60")), "TTL: {answers:?}");

    for zone in Zone::ALL {
        ensure!(short(&bed, &[&format!("{}.{name}", zone.name()), "A"])? == vips(&[zone]), "{}", zone.name());
    }
    ensure!(short(&bed, &[&name.to_uppercase(), "A", "+noedns"])? == vips(&Zone::ALL), "in capitals, without EDNS");
    ensure!(short(&bed, &["+tcp", &name, "A"])? == vips(&Zone::ALL), "over TCP");
    let mut kdig = cli.command("kdig");
    kdig.args([&format!("@{}", DNS.ip()), "-p", &DNS.port().to_string(), "+short", "+edns", "+padding", &name, "A"]);
    let output = kdig.output()?;
    let seen: BTreeSet<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    ensure!(seen == vips(&Zone::ALL), "kdig: {seen:?}");
    let none = dig(cli, DNS, &[&name, "AAAA"])?;
    ensure!(none.contains("status: NOERROR") && none.contains("ANSWER: 0") && none.contains("SOA"), "{none}");
    let unknown = dig(cli, DNS, &["nobody.elb.on-prem-1.leat.internal", "A"])?;
    ensure!(unknown.contains("status: NXDOMAIN") && unknown.contains("SOA"), "{unknown}");
    let strange = dig(cli, DNS, &["www.example.com", "A"])?;
    ensure!(strange.contains("status: REFUSED"), "{strange}");
    let soa = short(&bed, &["elb.on-prem-1.leat.internal", "SOA"])?;
    ensure!(soa.iter().any(|it| it.starts_with("ns.elb.on-prem-1.leat.internal. hostmaster.")), "{soa:?}");
    ensure!(
        short(&bed, &["ns.elb.on-prem-1.leat.internal", "A"])? == ["10.1.0.2".to_owned()].into(),
        "the server's own"
    );

    let hundred = dig(cli, DNS, &[&["+short"][..], &vec![name.as_str(); 100]].concat())?;
    let firsts: BTreeSet<&str> = hundred.lines().step_by(2).collect();
    ensure!(firsts.len() == 2 && hundred.lines().count() == 200, "the order never changes: {hundred}");

    // Who comes by another name finds the same service: nothing depends on the name.
    let address = short(&bed, &[&name, "A"])?.pop_first().context("no address")?;
    let mut curl = cli.command("curl");
    curl.args(["-sS", "--max-time", "10", "--resolve", &format!("shop.example:{HTTP_PORT}:{address}")]);
    let output = curl.arg(format!("http://shop.example:{HTTP_PORT}/")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    bed.bed.appliance.rest.expect("DELETE", "/v1/load-balancers/lb", None)?;
    let gone = |name: &str| dig(cli, DNS, &[name, "A"]).ok()?.contains("status: NXDOMAIN").then_some(());
    wait_for("the name to be gone", CHANGE, || gone(&name))?;
    wait_for("the zone's name to be gone", CHANGE, || gone(&format!("zone-a.{name}")))?;
    bed.finish()
}

/// A shift takes a zone out and brings it back; its own name stays. When all targets fail, both zones are named. The API says the same.
///
/// req: ZS-01, ZS-07, ZS-11, DNS-03, DNS-06, DNS-09, TGH-10
#[test]
fn zones_leave_and_come_back() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = bed()?;
    let name = bed.dns_name()?;
    wait_short(&bed, &name, &Zone::ALL)?;
    let body = json!({"loadBalancer": "lb", "awayFrom": "zone-a", "expiresIn": "1h", "comment": "works"});
    let shift = bed.bed.appliance.rest.expect("POST", "/v1/zonal-shifts", Some(&body))?;
    wait_short(&bed, &name, &[Zone::B])?;
    ensure!(short(&bed, &[&format!("zone-a.{name}"), "A"])? == vips(&[Zone::A]), "its own name stays");
    let shown = bed.bed.appliance.rest.get("/v1/dns")?;
    let names = shown["names"].as_array().context("no names")?;
    let of = |zone: &Value| names.iter().find(|it| it["zone"] == *zone).map(|it| it["included"].clone());
    ensure!(of(&json!("zone-a")) == Some(json!(false)) && of(&json!("zone-b")) == Some(json!(true)), "{shown}");
    bed.fail(Zone::B, 1..=2)?;
    wait_short(&bed, &name, &Zone::ALL)?;
    bed.revive(Zone::B, 1..=2)?;
    wait_short(&bed, &name, &[Zone::B])?;
    let id = shift["id"].as_str().context("no id")?;
    bed.bed.appliance.rest.expect("DELETE", &format!("/v1/zonal-shifts/{id}"), None)?;
    wait_short(&bed, &name, &Zone::ALL)?;
    bed.fail(Zone::A, 1..=2)?;
    wait_short(&bed, &name, &[Zone::B])?;
    bed.revive(Zone::A, 1..=2)?;
    wait_short(&bed, &name, &Zone::ALL)?;
    bed.finish()
}

/// Ten times everything is killed and starts again: the names and their addresses are the same.
///
/// req: ZN-07, DNS-02
#[test]
fn restarts_change_no_name() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed()?;
    let name = bed.dns_name()?;
    let appliance = &bed.bed.appliance;
    for round in 0..10 {
        wait_short(&bed, &name, &Zone::ALL).with_context(|| format!("after {round} restarts"))?;
        for zone in Zone::ALL {
            ensure!(short(&bed, &[&format!("{}.{name}", zone.name()), "A"])? == vips(&[zone]), "round {round}");
        }
        let (data, control) = (appliance.kill_data_plane()?, appliance.kill_control_plane()?);
        appliance.wait_control_plane(control)?;
        appliance.wait_data_plane(data)?;
    }
    wait_short(&bed, &name, &Zone::ALL)?;
    bed.finish()
}

/// A flood of queries for names that do not exist, as fast as one client can, at most 100,000 a second: transfers go on, targets stay
/// healthy, and the server answers afterwards.
///
/// req: DNS-10
#[test]
fn a_flood_of_queries_disturbs_no_flow() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed()?;
    let name = bed.dns_name()?;
    wait_short(&bed, &name, &Zone::ALL)?;
    let transfers = bed.start_transfers("flooded", Zone::B, 50)?;
    let unknown = || -> Result<u64> {
        bed.bed.appliance.rest.get("/v1/dns")?["counters"]["noSuchName"].as_u64().context("no counter")
    };
    let before = unknown()?;
    let (sent, answered, took) = flood(&bed.bed.topology.cli, DNS, Duration::from_secs(5))?;
    let counted = unknown()? - before;
    let rate = |number: u64| (number as f64 / took.as_secs_f64()) as u64;
    println!("{} queries/s sent, {} answered there, {} answers/s came", rate(sent), rate(counted), rate(answered));
    ensure!(counted > 0 && answered > 0 && answered <= counted && counted <= sent, "{sent} {counted} {answered}");
    bed.bed.finish_transfers(transfers)?;
    wait_short(&bed, &name, &Zone::ALL)?;
    bed.finish()
}

/// Sends queries of random names for a time: how many were sent, how many answers came, and how long it took.
fn flood(from: &Namespace, to: SocketAddrV4, duration: Duration) -> Result<(u64, u64, Duration)> {
    const RATE: u64 = 100_000;
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(to)?;
        let receiver = socket.try_clone()?;
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_answered, its_over) = (answered.clone(), over.clone());
        let receiving = std::thread::spawn(move || {
            let mut answer = [0; 2048];
            loop {
                match receiver.recv(&mut answer) {
                    // NXDOMAIN.
                    Ok(length) if length > 12 && answer[3] & 0xf == 3 => {
                        its_answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) if its_over.load(Ordering::Relaxed) => return,
                    Err(_) => {}
                }
            }
        });
        let (begin, mut sent) = (Instant::now(), 0_u64);
        while begin.elapsed() < duration {
            let due = begin.elapsed().as_micros() as u64 * RATE / 1_000_000;
            if sent >= due {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            // Without room for it, it is not sent.
            sent += u64::from(socket.send(&query(sent)).is_ok());
        }
        let took = begin.elapsed();
        std::thread::sleep(Duration::from_millis(500));
        over.store(true, Ordering::Relaxed);
        receiving.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        Ok((sent, answered.load(Ordering::Relaxed), took))
    })?
}

/// A query for the address of a name that depends on `number` in no regular way.
fn query(number: u64) -> Vec<u8> {
    let label = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut query = (number as u16).to_be_bytes().to_vec();
    query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [label.as_str(), "elb", "on-prem-1", "leat", "internal"] {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

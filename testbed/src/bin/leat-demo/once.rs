//! `--once`: a known amount of traffic, and where it arrived.

use anyhow::{Context, Result, ensure};
use leat_testbed::{Bed, CLIENT_ADDRESS, ECHO_PORT, HTTP_PORT, VIP, make_file, udp_echo};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};
use std::time::Instant;

const REQUESTS: usize = 1000;
const FILE_BYTES: u64 = 1 << 30;
/// Of 1,000 that are spread over four by a good hash, fewer than 150 on one has a probability below 10⁻¹³.
const LEAST_SHARE: usize = 150;

/// A line of the table.
struct Row {
    what: &'static str,
    counts: BTreeMap<String, usize>,
    clients: BTreeSet<String>,
}

/// Sends, prints the table, and returns a summary.
pub fn run(bed: &Bed) -> Result<String> {
    let mut rows = Vec::new();
    for preserve in [true, false] {
        let value = json!({"preserve_client_ip.enabled": preserve.to_string()});
        bed.appliance.set_attributes("web", &value)?;
        let what = if preserve { "HTTP, client address kept" } else { "HTTP, full NAT" };
        let row = http(bed, what)?;
        let expected = if preserve { CLIENT_ADDRESS } else { VIP }.to_string();
        ensure!(
            row.clients == BTreeSet::from([expected.clone()]),
            "{what}: targets saw {:?}, not {expected}",
            row.clients
        );
        rows.push(row);
        rows.push(udp(bed, if preserve { "UDP echo" } else { "UDP echo, again" })?);
    }
    print_table(bed, &rows);
    for row in &rows {
        let total: usize = row.counts.values().sum();
        ensure!(total == REQUESTS, "{}: {total} of {REQUESTS} answered", row.what);
        for target in &bed.targets {
            let count = row.counts.get(&target.name).copied().unwrap_or_default();
            ensure!(count >= LEAST_SHARE, "{}: only {count} of {REQUESTS} reached {}", row.what, target.name);
        }
    }
    let file = file(bed)?;
    bed.appliance.check_conservation().context("every packet accounted for")?;
    Ok(format!("{} HTTP requests, {} UDP echoes, {file}", 2 * REQUESTS, 2 * REQUESTS))
}

fn http(bed: &Bed, what: &'static str) -> Result<Row> {
    let mut curl = bed.cli().command("curl");
    curl.args(["--silent", "--show-error", "--parallel", "--parallel-max", "16", "--max-time", "60"]);
    curl.arg(format!("http://{VIP}:{HTTP_PORT}/?[1-{REQUESTS}]"));
    let output = curl.output().context("cannot run curl")?;
    ensure!(output.status.success(), "{what}: curl: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut row = Row { what, counts: BTreeMap::new(), clients: BTreeSet::new() };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (target, client) = line.split_once(' ').with_context(|| format!("{what}: strange answer {line:?}"))?;
        *row.counts.entry(target.to_owned()).or_default() += 1;
        row.clients.insert(client.parse::<SocketAddrV4>()?.ip().to_string());
    }
    Ok(row)
}

fn udp(bed: &Bed, what: &'static str) -> Result<Row> {
    let tally = udp_echo(bed.cli(), CLIENT_ADDRESS, SocketAddrV4::new(VIP, ECHO_PORT), REQUESTS, 1, 1)?;
    ensure!(tally.strays.is_empty(), "{what}: {:?}", tally.strays);
    ensure!(tally.clients == tally.clients_seen, "{what}: targets saw other clients than there were");
    Ok(Row { what, counts: tally.flows, clients: BTreeSet::from([CLIENT_ADDRESS.to_string()]) })
}

fn print_table(bed: &Bed, rows: &[Row]) {
    print!("\n{:<28}", "sent");
    for target in &bed.targets {
        print!("{:>7}", target.name);
    }
    println!("{:>8}   client at the target", "total");
    for row in rows {
        print!("{:<28}", row.what);
        for target in &bed.targets {
            print!("{:>7}", row.counts.get(&target.name).copied().unwrap_or_default());
        }
        let clients: Vec<&str> = row.clients.iter().map(String::as_str).collect();
        println!("{:>8}   {}", row.counts.values().sum::<usize>(), clients.join(", "));
    }
}

/// Fetches a large file through the appliance and compares digests.
fn file(bed: &Bed) -> Result<String> {
    let path = make_file(&bed.run, "large", FILE_BYTES)?;
    let expected = sha256sum(Command::new("sha256sum").arg("-b").arg(&path))?;
    let begin = Instant::now();
    let mut curl = bed.cli().command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "300",
        &format!("http://{VIP}:{HTTP_PORT}/files/large"),
    ]);
    let mut fetching = curl.stdout(Stdio::piped()).spawn().context("cannot run curl")?;
    let body = fetching.stdout.take().context("curl has no output")?;
    let received = sha256sum(Command::new("sha256sum").arg("-b").stdin(body));
    let status = fetching.wait()?;
    let received = received?;
    ensure!(status.success(), "curl could not fetch the file of 1 GiB: {status}");
    let seconds = begin.elapsed().as_secs_f64();
    println!("\nfile of 1 GiB: SHA-256 sent     {expected}");
    println!("               SHA-256 received {received}");
    println!("               {seconds:.1} s, {:.2} Gbit/s, hashing included", FILE_BYTES as f64 * 8e-9 / seconds);
    ensure!(received == expected, "the file of 1 GiB arrived with another SHA-256");
    Ok("1 GiB with equal SHA-256".to_owned())
}

fn sha256sum(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot run sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).context("sha256sum wrote nothing")
}

//! Goes on until Ctrl-C: a little traffic, and each second a table of what happens.

use anyhow::Result;
use leat_testbed::{Bed, CLIENT_ADDRESS, ECHO_PORT, HTTP_PORT, Namespace, VIP, http_get, program, udp_echo};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two HTTP requests, and between two UDP echoes.
const PACE: Duration = Duration::from_millis(20);

/// What the demo's own clients have counted.
#[derive(Debug, Clone, Default)]
struct Tally {
    http: BTreeMap<String, u64>,
    udp: BTreeMap<String, u64>,
    failed: u64,
}

/// Never returns but by an error; a signal ends the program.
pub fn run(bed: &Bed) -> Result<()> {
    print_hints(bed);
    let tally = Arc::new(Mutex::new(Tally::default()));
    start_http(bed.cli(), Arc::clone(&tally));
    start_udp(bed.cli().clone(), Arc::clone(&tally));

    let is_terminal = std::io::stdout().is_terminal();
    let mut before = Tally::default();
    let mut lines_shown = 0;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = tally.lock().unwrap_or_else(|poison| poison.into_inner()).clone();
        let lines = if is_terminal { table(bed, &before, &now) } else { vec![plain_line(bed, &before, &now)] };
        let mut out = std::io::stdout().lock();
        if is_terminal && lines_shown > 0 {
            // Up to the first line of the table before, and clear from there.
            write!(out, "\x1b[{lines_shown}A\x1b[J")?;
        }
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        lines_shown = lines.len();
        before = now;
    }
}

fn print_hints(bed: &Bed) {
    let cli = bed.cli().name();
    println!("\nTry in another terminal, as root:");
    println!("  ip netns exec {cli} curl http://{VIP}/");
    println!("  ip netns exec {cli} bash -c 'echo hello >/dev/udp/{VIP}/{ECHO_PORT}'");
    if let Ok(leat) = program("leat") {
        let leat = format!("{} --endpoint unix:{}", leat.display(), bed.appliance.rest.socket().display());
        println!("  {leat} target list web");
        println!("  {leat} stats --watch");
        println!("  {leat} trace add p0 5");
    }
    println!("  ip netns exec {} tcpdump -ni eth0 -c 20", bed.targets[0].namespace.name());
    println!("Ctrl-C ends the demo and removes everything.\n");
}

fn start_http(namespace: &Namespace, tally: Arc<Mutex<Tally>>) {
    namespace.spawn(move || {
        loop {
            let answer = http_get(SocketAddrV4::new(VIP, HTTP_PORT));
            let mut tally = tally.lock().unwrap_or_else(|poison| poison.into_inner());
            match answer {
                Ok(answer) => *tally.http.entry(answer.target).or_default() += 1,
                Err(_) => tally.failed += 1,
            }
            drop(tally);
            std::thread::sleep(PACE);
        }
    });
}

fn start_udp(namespace: Namespace, tally: Arc<Mutex<Tally>>) {
    std::thread::spawn(move || {
        loop {
            let answer = udp_echo(&namespace, CLIENT_ADDRESS, SocketAddrV4::new(VIP, ECHO_PORT), 1, 1, 1);
            let mut tally = tally.lock().unwrap_or_else(|poison| poison.into_inner());
            match answer.ok().and_then(|answer| answer.flows.into_keys().next()) {
                Some(target) => *tally.udp.entry(target).or_default() += 1,
                None => tally.failed += 1,
            }
            drop(tally);
            std::thread::sleep(PACE);
        }
    });
}

fn table(bed: &Bed, before: &Tally, now: &Tally) -> Vec<String> {
    let states = bed.appliance.targets("web").unwrap_or_default();
    let mut lines = vec![format!(
        "{:<8}{:<14}{:<12}{:>8}{:>10}{:>8}{:>10}",
        "target", "address", "state", "HTTP/s", "HTTP", "UDP/s", "UDP"
    )];
    for target in &bed.targets {
        let of = |counts: &BTreeMap<String, u64>| counts.get(&target.name).copied().unwrap_or_default();
        let address = target.address.to_string();
        let state =
            states.iter().find(|state| state.id == address).map_or("-".to_owned(), |it| it.health.state.to_string());
        lines.push(format!(
            "{:<8}{address:<14}{state:<12}{:>8}{:>10}{:>8}{:>10}",
            target.name,
            of(&now.http) - of(&before.http),
            of(&now.http),
            of(&now.udp) - of(&before.udp),
            of(&now.udp),
        ));
    }
    lines.push(String::new());
    lines.push(format!("failed requests {}; {}", now.failed, counters(bed)));
    lines
}

fn plain_line(bed: &Bed, before: &Tally, now: &Tally) -> String {
    let rates: Vec<String> = bed
        .targets
        .iter()
        .map(|target| {
            let of = |counts: &BTreeMap<String, u64>| counts.get(&target.name).copied().unwrap_or_default();
            let (http, udp) = (of(&now.http) - of(&before.http), of(&now.udp) - of(&before.udp));
            format!("{} HTTP {http}/s UDP {udp}/s", target.name)
        })
        .collect();
    format!("{}; failed {}; {}", rates.join(", "), now.failed, counters(bed))
}

/// Flows, packets and drops, as the admin API has them.
fn counters(bed: &Bed) -> String {
    let Ok(stats) = bed.appliance.stats() else { return "the admin API does not answer".to_owned() };
    let of = |name: &str| stats.totals.counters.get(name).copied().unwrap_or_default();
    let drops = stats.totals.drops.iter().filter(|(_, count)| **count > 0);
    let drops: Vec<String> = drops.map(|(reason, count)| format!("{reason} {count}")).collect();
    let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
    let ends =
        ["flows_closed", "flows_expired", "flows_terminated", "half_open_evicted", "one_way_udp_evicted"].map(of);
    format!(
        "flows made {}, ended {}; packets in {}, forwarded {}; drops: {drops}",
        of("flows_created"),
        ends.iter().sum::<u64>(),
        of("rx_packets"),
        of("forwarded_packets")
    )
}

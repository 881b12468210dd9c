//! `leat status`, `leat stats`, `leat flows`

use std::thread;
use std::time::Duration;

use clap::Args;
use leat_model::rest::{Counters, Flow, Flows, Protocol, ProxyHeader, Stats, Status};
use leat_model::view::NO_DATA_PLANE;

use super::protocol;
use crate::client::{CallError, Client, query};
use crate::output::{Output, fields, list, table};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  leat stats\n  leat stats --watch\n  leat stats --watch 5 -o json")]
pub struct StatsArgs {
    /// Show them again every so many seconds, with rates, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  leat flows --limit 20
  leat flows --client 10.9.0.7 --vip 10.1.0.10:80
  leat flows --target 10.2.0.11 --protocol UDP")]
pub struct FlowsArgs {
    /// Only flows of this client
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    client: Option<String>,
    /// Only flows to this node
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    vip: Option<String>,
    /// Only flows to this target
    #[arg(long, value_name = "ADDRESS")]
    target: Option<String>,
    /// Only TCP or UDP
    #[arg(long, value_parser = protocol)]
    protocol: Option<Protocol>,
    /// At most so many, 1–10000
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

pub fn status(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    output.show(&client.get("/v1/status")?, describe_status);
    Ok(())
}

fn describe_status(status: &Status) -> String {
    let plane = &status.data_plane;
    let alone = status.problems.iter().any(|problem| problem == NO_DATA_PLANE);
    let attached = match plane.attached {
        true => format!("attached, pid {}, incarnation {}", plane.pid, plane.incarnation),
        false if alone => "none: leat-cp was started without one".into(),
        false => "not attached: leat-dp does not run or has not made the segment yet".into(),
    };
    let epoch = match status.applied_epoch == status.epoch || alone {
        true => status.epoch.to_string(),
        false => format!("{} (the data plane works with {})", status.epoch, status.applied_epoch),
    };
    let mut parts = vec![fields(&[("version", status.version.clone()), ("epoch", epoch), ("data plane", attached)])];
    if !status.problems.is_empty() {
        let problems: Vec<String> = status.problems.iter().map(|problem| format!("  - {problem}")).collect();
        parts.push(format!("problems:\n{}", problems.join("\n")));
    }
    if !status.warnings.is_empty() {
        let warnings: Vec<String> = status.warnings.iter().map(|warning| format!("  - {warning}")).collect();
        parts.push(format!("warnings:\n{}", warnings.join("\n")));
    }
    let lcores = plane.lcores.iter().map(|lcore| {
        let busy = format!("{:.1}", lcore.busy_percent);
        [lcore.id.to_string(), lcore.cpu.to_string(), lcore.generation.to_string(), busy]
    });
    let ports = plane.ports.iter().map(|port| {
        let link = if port.link { "up" } else { "down" };
        [port.name.clone(), port.tap.clone(), port.mac.clone(), port.mtu.to_string(), link.into()]
    });
    if !plane.lcores.is_empty() {
        parts.push(table(["#lcore", "#cpu", "#generation", "#busy %"], lcores));
    }
    if !plane.ports.is_empty() {
        parts.push(table(["port", "tap", "mac", "#mtu", "link"], ports));
    }
    parts.join("\n\n")
}

pub fn stats(args: &StatsArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let mut before: Option<Stats> = None;
    loop {
        let now: Stats = client.get("/v1/stats")?;
        output.new_screen();
        output.show(&now, |now| describe_stats(now, before.as_ref().zip(args.watch)));
        let Some(seconds) = args.watch else { return Ok(()) };
        before = Some(now);
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// Counters of lcores that have a column of their own, or say nothing to people.
const SHOWN_OR_TECHNICAL: [&str; 12] = [
    "rx_packets",
    "rx_bytes",
    "forwarded_packets",
    "forwarded_bytes",
    "punted_packets",
    "answered_packets",
    "handed_in",
    "handed_out",
    "flows_created",
    "busy_cycles",
    "idle_cycles",
    "loops",
];

/// With the statistics of some seconds ago, packet counters become rates.
fn describe_stats(stats: &Stats, before: Option<(&Stats, u64)>) -> String {
    let mut parts = Vec::new();
    if !stats.attached {
        parts.push("the data plane is not attached; these are its last numbers".to_owned());
    }
    let rates = before.is_some();
    let lcores = stats.lcores.iter().map(|lcore| {
        let earlier = before.and_then(|(stats, _)| stats.lcores.iter().find(|other| other.id == lcore.id));
        let count = |name| match (earlier, before) {
            (Some(earlier), Some((_, seconds))) => {
                get(&lcore.counters, name).saturating_sub(get(&earlier.counters, name)) / seconds
            }
            _ => get(&lcore.counters, name),
        };
        [
            lcore.id.to_string(),
            lcore.cpu.to_string(),
            format!("{:.1}", lcore.busy_percent),
            count("rx_packets").to_string(),
            count("forwarded_packets").to_string(),
            count("punted_packets").to_string(),
            count("answered_packets").to_string(),
            lcore.drops.values().sum::<u64>().to_string(),
            count("flows_created").to_string(),
            format!("{} of {}", lcore.flows_used, lcore.flows_max),
            lcore.longest_loop_us.to_string(),
            get(&lcore.counters, "loops_over_200us").to_string(),
        ]
    });
    let titles = if rates {
        ["#lcore", "#cpu", "#busy %", "#rx/s", "#forwarded/s", "#to linux/s", "#answered/s"]
    } else {
        ["#lcore", "#cpu", "#busy %", "#rx", "#forwarded", "#to linux", "#answered"]
    };
    let [a, b, c, d, e, f, g] = titles;
    let created = if rates { "#new flows/s" } else { "#new flows" };
    parts.push(table(
        [a, b, c, d, e, f, g, "#dropped", created, "#flows", "#longest turn us", "#turns > 200 us"],
        lcores,
    ));

    let drops: Vec<[String; 2]> = nonzero(&stats.totals.drops);
    parts.push(if drops.is_empty() {
        "no packet was dropped".into()
    } else {
        table(["drop reason", "#packets"], drops)
    });
    let mut others = stats.totals.counters.clone();
    others.retain(|name, _| !SHOWN_OR_TECHNICAL.contains(&name.as_str()));
    let others = nonzero(&others);
    if !others.is_empty() {
        parts.push(table(["counter", "#value"], others));
    }
    let balance = &stats.totals.conservation;
    if balance.difference != 0 {
        let under_way = "packets under way, or a mistake in counting if it stays when nothing moves";
        parts.push(format!("received and not yet accounted for: {} ({under_way})", balance.difference));
    }

    let ports = stats
        .ports
        .iter()
        .flat_map(|port| nonzero(&port.counters).into_iter().map(|[name, value]| [port.name.clone(), name, value]));
    let ports: Vec<_> = ports.collect();
    if !ports.is_empty() {
        parts.push(table(["port", "counter", "#value"], ports));
    }
    if !stats.listeners.is_empty() {
        let rows = stats.listeners.iter().map(|listener| {
            let count = |name| get(&listener.counters, name).to_string();
            let socket = std::net::SocketAddr::new(listener.address, listener.port);
            let name = format!("{} {} {socket}", listener.load_balancer, listener.protocol);
            [name, count("active_flows"), count("new_flows"), count("resets"), count("no_target"), count("no_port")]
        });
        parts
            .push(table(["listener", "#active flows", "#new flows", "#resets", "#no target", "#no source port"], rows));
    }
    if !stats.targets.is_empty() {
        let rows = stats.targets.iter().map(|target| {
            let count = |name| get(&target.counters, name).to_string();
            let name = super::socket(&target.id, target.port);
            let flows = [count("active_flows"), count("new_flows")];
            let [active, new] = flows;
            [target.target_group.clone(), name, active, new, count("bytes_in"), count("bytes_out"), count("resets")]
        });
        let titles = ["group", "target", "#active flows", "#new flows", "#bytes to it", "#bytes from it", "#resets"];
        parts.push(table(titles, rows));
    }
    parts.join("\n\n")
}

fn get(counters: &Counters, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}

fn nonzero(counters: &Counters) -> Vec<[String; 2]> {
    counters.iter().filter(|(_, value)| **value != 0).map(|(name, value)| [name.clone(), value.to_string()]).collect()
}

pub fn flows(args: &FlowsArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let query = query(&[
        ("limit", Some(args.limit.to_string())),
        ("client", args.client.clone()),
        ("vip", args.vip.clone()),
        ("target", args.target.clone()),
        ("protocol", args.protocol.map(|protocol| protocol.to_string())),
    ]);
    let answer: Flows = client.get(&format!("/v1/flows{query}"))?;
    output.show(&answer, |answer| {
        let rows = answer.flows.iter().map(|flow| {
            let Flow { protocol, client, vip, target, nat, client_ip_preserved, .. } = flow;
            let seen_as = if *client_ip_preserved { "the client".into() } else { nat.clone() };
            let proxy_header = match flow.proxy_header {
                None => "-",
                Some(ProxyHeader::Unacknowledged) => "unacknowledged",
                Some(ProxyHeader::Acknowledged) => "acknowledged",
            };
            let [protocol, idle, lcore] = [protocol.to_string(), flow.idle_seconds.to_string(), flow.lcore.to_string()];
            let [client, vip, target, state] = [client, vip, target, &flow.state].map(String::clone);
            [protocol, client, vip, target, seen_as, proxy_header.into(), state, idle, lcore]
        });
        let titles = ["protocol", "client", "vip", "target", "seen as", "proxy header", "state", "#idle s", "#lcore"];
        let table = list("no flows", titles, rows);
        let more =
            if answer.complete { "" } else { "\n\nnot all: cut off by --limit, or an lcore did not answer in time" };
        format!("{table}{more}")
    });
    Ok(())
}

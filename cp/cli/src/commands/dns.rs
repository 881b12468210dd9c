//! `leat dns`

use std::net::IpAddr;

use leat_model::rest::{Dns, DnsName};

use crate::client::{CallError, Client};
use crate::output::{Output, fields, list};

pub fn run(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    output.show(&client.get::<Dns>("/v1/dns")?, shown);
    Ok(())
}

fn shown(dns: &Dns) -> String {
    let listener = |it: &leat_model::rest::DnsListener| match &it.problem {
        None => it.address.to_string(),
        Some(problem) => format!("{} ({problem})", it.address),
    };
    let counters = &dns.counters;
    let head = fields(&[
        ("zone", dns.apex.clone()),
        ("name servers", dns.name_servers.join(", ")),
        ("listens on", dns.listeners.iter().map(listener).collect::<Vec<_>>().join(", ")),
        (
            "queries",
            format!(
                "{} answered, {} no data, {} no such name, {} refused, {} bad, {} ignored; {} over TCP",
                counters.answered,
                counters.no_data,
                counters.no_such_name,
                counters.refused,
                counters.bad,
                counters.ignored,
                counters.over_tcp
            ),
        ),
    ]);
    let names = list("no load balancers", ["name", "addresses", "note"], dns.names.iter().map(row));
    format!("{head}\n\n{names}")
}

fn row(name: &DnsName) -> [String; 3] {
    let addresses: Vec<String> = name.addresses.iter().map(IpAddr::to_string).collect();
    let note = match name.included {
        _ if name.addresses.is_empty() => "no addresses yet",
        Some(false) => "left out of the load balancer's name",
        _ => "",
    };
    [name.name.clone(), addresses.join(", "), note.into()]
}

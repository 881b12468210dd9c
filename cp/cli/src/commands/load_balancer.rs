//! `leat load-balancer`

use clap::Subcommand;
use leat_model::rest::{CreateLoadBalancer, LoadBalancer, LoadBalancers, NodeSpec, Scheme};

use super::word;
use crate::client::{CallError, Client, segment};
use crate::output::{Output, fields, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a load balancer with the address that clients connect to
    #[command(after_help = "Example:\n  leat load-balancer create front --node zone-a=10.1.0.10")]
    Create {
        /// 1–32 letters, digits and hyphens
        name: String,
        /// A node: its zone and its address, in a subnet of a port
        #[arg(long = "node", value_name = "ZONE=ADDRESS", required = true, value_parser = node)]
        nodes: Vec<NodeSpec>,
        /// internet-facing or internal [default: internet-facing]
        #[arg(long, value_parser = scheme)]
        scheme: Option<Scheme>,
    },
    /// List all load balancers
    List,
    /// Show one load balancer
    Describe {
        /// Name or id
        name: String,
    },
    /// Delete a load balancer with its listeners, and withdraw its address
    Delete {
        /// Name or id
        name: String,
    },
}

fn node(text: &str) -> Result<NodeSpec, String> {
    match text.split_once('=') {
        Some((zone, address)) if !zone.is_empty() && !address.is_empty() => {
            Ok(NodeSpec { zone: zone.into(), address: address.into() })
        }
        _ => Err("write ZONE=ADDRESS, for example zone-a=10.1.0.10".into()),
    }
}

fn scheme(text: &str) -> Result<Scheme, String> {
    match text {
        "internet-facing" => Ok(Scheme::InternetFacing),
        "internal" => Ok(Scheme::Internal),
        _ => Err("write internet-facing or internal".into()),
    }
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Create { name, nodes, scheme } => {
            let body = CreateLoadBalancer { name: name.clone(), scheme: *scheme, nodes: nodes.clone() };
            output.show(&client.post("/v1/load-balancers", &body)?, describe);
        }
        Command::List => {
            output.show(&client.get::<LoadBalancers>("/v1/load-balancers")?, |answer| {
                list(
                    "no load balancers",
                    ["name", "id", "state", "addresses", "dns name"],
                    answer.load_balancers.iter().map(|balancer| {
                        let LoadBalancer { name, id, state, dns_name, .. } = balancer;
                        [name.clone(), id.clone(), state.code.clone(), addresses(balancer), dns_name.clone()]
                    }),
                )
            });
        }
        Command::Describe { name } => output.show(&client.get(&path(name))?, describe),
        Command::Delete { name } => {
            let there = client.exists(&path(name))?;
            client.delete(&path(name))?;
            output.done(format_args!("load balancer {name} {}", if there { "is deleted" } else { "was not there" }));
        }
    }
    Ok(())
}

/// The path of a load balancer.
pub fn path(name: &str) -> String {
    format!("/v1/load-balancers/{}", segment(name))
}

fn addresses(balancer: &LoadBalancer) -> String {
    let zones = balancer.availability_zones.iter();
    let addresses: Vec<String> = zones
        .flat_map(|zone| zone.addresses.iter().map(move |address| format!("{}={address}", zone.zone_name)))
        .collect();
    addresses.join(" ")
}

fn describe(balancer: &LoadBalancer) -> String {
    fields(&[
        ("name", balancer.name.clone()),
        ("arn", balancer.arn.clone()),
        ("id", balancer.id.clone()),
        ("scheme", word(&balancer.scheme)),
        ("state", balancer.state.code.clone()),
        ("nodes", addresses(balancer)),
        ("dns name", balancer.dns_name.clone()),
        ("created", balancer.created_time.clone()),
    ])
}

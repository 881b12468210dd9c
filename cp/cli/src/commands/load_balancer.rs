//! `leat load-balancer`

use std::io::IsTerminal;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use leat_model::rest::{
    CreateLoadBalancer, IpAddressType, LoadBalancer, LoadBalancerType, LoadBalancers, ModifyLoadBalancer, NodeChange,
    NodeSpec, Scheme, SubnetMapping,
};

use super::{map, pair, word, words};
use crate::client::{CallError, Client, segment};
use crate::output::{Output, fields, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a load balancer with the addresses that clients connect to
    #[command(
        after_help = "\
Examples:
  leat load-balancer create front --node zone-a=10.1.0.10
  leat load-balancer create front --node zone-a=10.1.0.10,2001:db8:1::10 --node zone-b=10.1.0.20,2001:db8:1::20
  leat load-balancer create front --node zone-a=10.1.0.10 --secondary zone-a=10.1.0.11 --secondary zone-a=10.1.0.12
  leat load-balancer create front --subnet subnet-a --subnet subnet-b
  leat load-balancer create front --subnet-mapping subnet-a,allocation=eipalloc-1",
        group = clap::ArgGroup::new("clients").args(["nodes", "subnets", "subnet_mappings"]).required(true).multiple(true)
    )]
    Create {
        /// 1–32 letters, digits and hyphens
        name: String,
        #[command(flatten)]
        nodes: NodeArgs,
        /// internet-facing or internal [default: internet-facing]
        #[arg(long, value_parser = scheme)]
        scheme: Option<Scheme>,
        /// network, or application for the record of a proxy that stands elsewhere [default: network]
        #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
        kind: Option<LoadBalancerType>,
        /// An attribute that shall differ from its default; repeat for more
        #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = pair)]
        attributes: Vec<(String, String)>,
        /// A tag; repeat for more
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// Show the attributes of a load balancer, or set those that are given, all or none
    #[command(after_help = "Example:\n  leat load-balancer attributes front deletion_protection.enabled=true")]
    Attributes {
        /// Name or id
        name: String,
        /// What shall be set
        #[arg(value_name = "KEY=VALUE", value_parser = pair)]
        attributes: Vec<(String, String)>,
    },
    /// Change the address type, add zones, IPv6 addresses and secondary addresses
    #[command(
        after_help = "\
Examples:
  leat load-balancer modify front --node zone-a=2001:db8:1::10
  leat load-balancer modify front --ip-address-type ipv4
  leat load-balancer modify front --secondary zone-a=10.1.0.11 --secondary zone-a=10.1.0.12",
        group = clap::ArgGroup::new("change").args(["nodes", "subnets", "subnet_mappings", "secondary", "ip_address_type"]).required(true).multiple(true)
    )]
    Modify {
        /// Name or id
        name: String,
        #[command(flatten)]
        nodes: NodeArgs,
    },
    /// List all load balancers
    List,
    /// Show one load balancer
    Describe {
        /// Name or id
        name: String,
    },
    /// Delete a load balancer with its listeners, withdraw its addresses and end its flows
    Delete {
        /// Name or id
        name: String,
        /// Do it without asking
        #[arg(long)]
        confirm: bool,
    },
}

#[derive(Args, Debug)]
pub struct NodeArgs {
    /// A node: its zone, its address in a subnet of a port, and its IPv6 address if it shall have one
    #[arg(long = "node", value_name = "ZONE=ADDRESS[,IPV6]", value_parser = node)]
    nodes: Vec<NodeChange>,
    /// A subnet of the inventory, in which an address is chosen; repeat for one in each zone
    #[arg(long = "subnet", value_name = "ID", conflicts_with_all = ["nodes", "subnet_mappings"])]
    subnets: Vec<String>,
    /// A subnet with addresses: a static address's id, an IPv4 or an IPv6 address of it; repeat for one in each zone
    #[arg(long = "subnet-mapping", value_name = "ID[,allocation=ID][,address=IPV4][,ipv6=IPV6]", value_parser = mapping,
          conflicts_with = "nodes")]
    subnet_mappings: Vec<SubnetMapping>,
    /// A further address towards targets, for more source ports; repeat for up to seven of a node
    #[arg(long, value_name = "ZONE=ADDRESS", value_parser = secondary)]
    secondary: Vec<(String, IpAddr)>,
    /// ipv4 or dualstack [default: dualstack if a node has an IPv6 address]
    #[arg(long, value_parser = ip_address_type)]
    ip_address_type: Option<IpAddressType>,
}

impl NodeArgs {
    fn address_type(&self) -> Option<IpAddressType> {
        let dualstack = self.nodes.iter().any(|node| node.ipv6_address.is_some());
        self.ip_address_type.or(dualstack.then_some(IpAddressType::Dualstack))
    }

    /// The nodes with their secondary addresses, each zone once where it was named by both options.
    fn changes(&self) -> Vec<NodeChange> {
        let mut changes = self.nodes.clone();
        for (zone, address) in &self.secondary {
            let known = changes.iter().position(|node| node.zone == *zone);
            let at = known.unwrap_or_else(|| {
                changes.push(NodeChange { zone: zone.clone(), ..NodeChange::default() });
                changes.len() - 1
            });
            changes[at].secondary_addresses.get_or_insert_default().push(address.to_string());
        }
        changes
    }
}

const NODE: &str = "write ZONE=ADDRESS or ZONE=ADDRESS,IPV6, for example zone-a=10.1.0.10,2001:db8:1::10";

fn node(text: &str) -> Result<NodeChange, String> {
    let (zone, addresses) = text.split_once('=').filter(|(zone, _)| !zone.is_empty()).ok_or(NODE)?;
    let mut node = NodeChange { zone: zone.into(), ..NodeChange::default() };
    for text in addresses.split(',') {
        let place = match text.parse() {
            Ok(IpAddr::V4(_)) => &mut node.address,
            Ok(IpAddr::V6(_)) => &mut node.ipv6_address,
            Err(_) => return Err(NODE.into()),
        };
        if place.replace(text.into()).is_some() {
            return Err("a node has one address of each kind; give others with --secondary".into());
        }
    }
    Ok(node)
}

fn secondary(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || "write ZONE=ADDRESS, for example zone-a=10.1.0.11".to_owned();
    let (zone, address) = text.split_once('=').filter(|(zone, _)| !zone.is_empty()).ok_or_else(wrong)?;
    Ok((zone.into(), address.parse().map_err(|_| wrong())?))
}

fn mapping(text: &str) -> Result<SubnetMapping, String> {
    let mut parts = text.split(',');
    let subnet = parts.next().unwrap_or_default().to_owned();
    let mut mapping = SubnetMapping { subnet, ..SubnetMapping::default() };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let place = match key {
            "allocation" => &mut mapping.allocation_id,
            "address" => &mut mapping.private_ipv4_address,
            "ipv6" => &mut mapping.ipv6_address,
            _ => return Err("write SUBNET, and behind it ,allocation=ID ,address=IPV4 or ,ipv6=IPV6".into()),
        };
        *place = Some(value.to_owned());
    }
    Ok(mapping)
}

fn kind(text: &str) -> Result<LoadBalancerType, String> {
    match text {
        "network" => Ok(LoadBalancerType::Network),
        "application" => Ok(LoadBalancerType::Application),
        _ => Err("write network or application".into()),
    }
}

fn ip_address_type(text: &str) -> Result<IpAddressType, String> {
    match text {
        "ipv4" => Ok(IpAddressType::Ipv4),
        "dualstack" => Ok(IpAddressType::Dualstack),
        _ => Err("write ipv4 or dualstack".into()),
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
        Command::Create { name, nodes, scheme, kind, attributes, tags } => {
            let spec = |node: NodeChange| NodeSpec {
                zone: node.zone,
                address: node.address.unwrap_or_default(),
                ipv6_address: node.ipv6_address,
                secondary_addresses: node.secondary_addresses.unwrap_or_default(),
            };
            let body = CreateLoadBalancer {
                name: name.clone(),
                scheme: *scheme,
                ip_address_type: nodes.address_type(),
                kind: kind.unwrap_or_default(),
                nodes: nodes.changes().into_iter().map(spec).collect(),
                subnets: nodes.subnets.clone(),
                subnet_mappings: nodes.subnet_mappings.clone(),
                attributes: map(attributes),
                tags: map(tags),
            };
            output.show(&client.post("/v1/load-balancers", &body)?, describe);
        }
        Command::Modify { name, nodes } => {
            let body = ModifyLoadBalancer {
                ip_address_type: nodes.address_type(),
                nodes: nodes.changes(),
                subnets: nodes.subnets.clone(),
                subnet_mappings: nodes.subnet_mappings.clone(),
            };
            output.show(&client.patch(&path(name), &body)?, describe);
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
        Command::Attributes { name, attributes } => {
            super::attributes(&format!("{}/attributes", path(name)), attributes, client, output)?;
        }
        Command::Delete { name, confirm } => {
            let there = client.exists(&path(name))?;
            if there && !confirm && !confirmed(name)? {
                output.done("nothing was deleted");
                return Ok(());
            }
            client.delete(&path(name))?;
            output.done(format_args!("load balancer {name} {}", if there { "is deleted" } else { "was not there" }));
        }
    }
    Ok(())
}

/// Asks on a terminal; where nobody can be asked, `--confirm` is needed (DEL-02).
fn confirmed(name: &str) -> Result<bool, CallError> {
    if !std::io::stdin().is_terminal() {
        let message = format!("deleting load balancer {name} ends its flows; say --confirm if that is what you want");
        return Err(CallError::Input(message));
    }
    eprint!("Deleting load balancer {name} ends its flows. Type \"confirm\" to delete it: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| CallError::Input(error.to_string()))?;
    Ok(answer.trim() == "confirm")
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

/// The zones that do not serve, and why.
fn out_of_service(balancer: &LoadBalancer) -> String {
    let zones = balancer.availability_zones.iter();
    let out = zones.filter_map(|zone| Some((&zone.zone_name, zone.health.as_ref().filter(|health| !health.healthy)?)));
    let out: Vec<String> =
        out.map(|(name, health)| format!("{name} ({})", health.reason.as_deref().unwrap_or("not known why"))).collect();
    if out.is_empty() { "none".into() } else { out.join(", ") }
}

fn secondary_addresses(balancer: &LoadBalancer) -> String {
    let zones = balancer.availability_zones.iter();
    let addresses: Vec<String> = zones
        .flat_map(|zone| zone.secondary_addresses.iter().map(move |address| format!("{}={address}", zone.zone_name)))
        .collect();
    if addresses.is_empty() { "none".into() } else { addresses.join(" ") }
}

fn state(balancer: &LoadBalancer) -> String {
    match &balancer.state.reason {
        Some(reason) => format!("{}: {reason}", balancer.state.code),
        None => balancer.state.code.clone(),
    }
}

fn describe(balancer: &LoadBalancer) -> String {
    fields(&[
        ("name", balancer.name.clone()),
        ("arn", balancer.arn.clone()),
        ("id", balancer.id.clone()),
        ("scheme", word(&balancer.scheme)),
        ("type", word(&balancer.kind)),
        ("state", state(balancer)),
        ("network", balancer.network.clone().unwrap_or_else(|| "none".into())),
        ("address type", word(&balancer.ip_address_type)),
        ("nodes", addresses(balancer)),
        ("secondary", secondary_addresses(balancer)),
        ("out of service", out_of_service(balancer)),
        ("dns name", balancer.dns_name.clone()),
        ("created", balancer.created_time.clone()),
        ("tags", words(&balancer.tags)),
    ])
}

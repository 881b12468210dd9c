//! `leat target-group`

use clap::{Args, Subcommand};
use leat_model::rest::{
    CreateTargetGroup, HealthCheckPort, HealthCheckProtocol, ModifyHealthCheck, ModifyTargetGroup, Protocol,
    StateCounts, TargetAddressType, TargetCounts, TargetGroup, TargetGroups, TargetType,
};

use super::{attribute_table, map, pair, protocol, word, words};
use crate::client::{CallError, Client, segment};
use crate::output::{Output, fields, list, table};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a target group
    #[command(after_help = "\
Examples:
  leat target-group create web --protocol TCP --port 8080
  leat target-group create dns --protocol UDP --port 53 --health-check-port 8053 --health-check-interval 10
  leat target-group create api --protocol TCP --port 443 --attribute preserve_client_ip.enabled=true
  leat target-group create web6 --protocol TCP --port 8080 --ip-address-type ipv6
  leat target-group create app --protocol TCP --port 80 --target-type instance --network vpc-1 --selector app=web")]
    Create {
        /// 1–32 letters, digits and hyphens
        name: String,
        /// TCP, UDP, TCP_UDP or TLS
        #[arg(long, value_parser = protocol)]
        protocol: Protocol,
        /// Port of targets registered without one, 1–65535
        #[arg(long)]
        port: i64,
        /// ipv4 or ipv6: the addresses of its targets [default: ipv4]
        #[arg(long, value_parser = ip_address_type)]
        ip_address_type: Option<TargetAddressType>,
        /// How targets are named: ip, instance (ids of the inventory) or alb [default: ip]
        #[arg(long, value_parser = target_type)]
        target_type: Option<TargetType>,
        /// Network of the inventory that its targets are in
        #[arg(long, value_name = "ID")]
        network: Option<String>,
        /// Register instances of the inventory that have this label by themselves; repeat for instances that have all of them
        #[arg(long = "selector", value_name = "KEY=VALUE", value_parser = pair)]
        selector: Vec<(String, String)>,
        /// A tag; repeat for more
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
        #[command(flatten)]
        health_check: HealthCheckArgs,
        /// An attribute that shall differ from its default; repeat for more (docs/api.md lists them)
        #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = pair)]
        attributes: Vec<(String, String)>,
    },
    /// List all target groups
    List,
    /// Show one target group with its health checks, attributes, and how many targets are in which state
    Describe {
        /// Name or id
        name: String,
    },
    /// Change the health checks of a target group, or the labels of instances that are registered by themselves
    #[command(
        after_help = "\
Examples:
  leat target-group modify web --health-check-interval 5 --health-check-timeout 2
  leat target-group modify app --selector app=web --selector stage=production
  leat target-group modify app --no-selector",
        group = clap::ArgGroup::new("change").args(HEALTH_CHECK_ARGS).required(true).multiple(true)
    )]
    Modify {
        /// Name or id
        name: String,
        /// New labels, instead of those that it has
        #[arg(long = "selector", value_name = "KEY=VALUE", value_parser = pair)]
        selector: Vec<(String, String)>,
        /// Register no instances by themselves any more; those that are registered stay
        #[arg(long, conflicts_with = "selector")]
        no_selector: bool,
        #[command(flatten)]
        health_check: HealthCheckArgs,
    },
    /// Delete a target group that no listener uses
    Delete {
        /// Name or id
        name: String,
    },
    /// Show the attributes of a target group, or set those that are given, all or none
    #[command(after_help = "\
Examples:
  leat target-group attributes web
  leat target-group attributes web deregistration_delay.timeout_seconds=30 preserve_client_ip.enabled=true")]
    Attributes {
        /// Name or id
        name: String,
        /// What shall be set
        #[arg(value_name = "KEY=VALUE", value_parser = pair)]
        attributes: Vec<(String, String)>,
    },
}

/// What can be changed.
const HEALTH_CHECK_ARGS: [&str; 10] = [
    "health_check_protocol",
    "health_check_port",
    "health_check_path",
    "health_check_matcher",
    "health_check_interval",
    "health_check_timeout",
    "healthy_threshold",
    "unhealthy_threshold",
    "selector",
    "no_selector",
];

#[derive(Args, Debug)]
pub struct HealthCheckArgs {
    /// TCP, HTTP or HTTPS [default: TCP]
    #[arg(long, value_name = "PROTOCOL", value_parser = health_check_protocol)]
    health_check_protocol: Option<HealthCheckProtocol>,
    /// Where HTTP and HTTPS checks ask [default: /]
    #[arg(long, value_name = "PATH")]
    health_check_path: Option<String>,
    /// Statuses that pass, such as 200-299,302 [default: 200-399]
    #[arg(long, value_name = "STATUSES")]
    health_check_matcher: Option<String>,
    /// Port of the checks: a number, or traffic-port for the target's own
    #[arg(long, value_name = "PORT", value_parser = health_check_port)]
    health_check_port: Option<HealthCheckPort>,
    /// Seconds between two checks, 5–300
    #[arg(long, value_name = "SECONDS")]
    health_check_interval: Option<i64>,
    /// Seconds after which a check fails, 2–120 and at most the interval
    #[arg(long, value_name = "SECONDS")]
    health_check_timeout: Option<i64>,
    /// Passed checks that make a target healthy again, 2–10
    #[arg(long, value_name = "COUNT")]
    healthy_threshold: Option<i64>,
    /// Failed checks that make a target unhealthy, 2–10
    #[arg(long, value_name = "COUNT")]
    unhealthy_threshold: Option<i64>,
}

impl HealthCheckArgs {
    fn body(&self) -> ModifyHealthCheck {
        ModifyHealthCheck {
            protocol: self.health_check_protocol,
            port: self.health_check_port,
            interval_seconds: self.health_check_interval,
            timeout_seconds: self.health_check_timeout,
            healthy_threshold_count: self.healthy_threshold,
            unhealthy_threshold_count: self.unhealthy_threshold,
            path: self.health_check_path.clone(),
            matcher: self.health_check_matcher.clone(),
            ..ModifyHealthCheck::default()
        }
    }
}

fn health_check_port(text: &str) -> Result<HealthCheckPort, String> {
    match text.parse() {
        _ if text == "traffic-port" => Ok(HealthCheckPort::TrafficPort),
        Ok(port) => Ok(HealthCheckPort::Port(port)),
        Err(_) => Err("write traffic-port or a number from 1 to 65535".into()),
    }
}

fn ip_address_type(text: &str) -> Result<TargetAddressType, String> {
    match text {
        "ipv4" => Ok(TargetAddressType::Ipv4),
        "ipv6" => Ok(TargetAddressType::Ipv6),
        _ => Err("write ipv4 or ipv6".into()),
    }
}

fn health_check_protocol(text: &str) -> Result<HealthCheckProtocol, String> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(HealthCheckProtocol::Tcp),
        "HTTP" => Ok(HealthCheckProtocol::Http),
        "HTTPS" => Ok(HealthCheckProtocol::Https),
        _ => Err("write TCP, HTTP or HTTPS".into()),
    }
}

fn target_type(text: &str) -> Result<TargetType, String> {
    match text {
        "ip" => Ok(TargetType::Ip),
        "instance" => Ok(TargetType::Instance),
        "alb" => Ok(TargetType::Alb),
        _ => Err("write ip, instance or alb".into()),
    }
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Create {
            name,
            protocol,
            port,
            ip_address_type,
            target_type,
            network,
            selector,
            tags,
            health_check,
            attributes,
        } => {
            let body = CreateTargetGroup {
                name: name.clone(),
                protocol: *protocol,
                port: *port,
                target_type: target_type.unwrap_or_default(),
                ip_address_type: ip_address_type.unwrap_or_default(),
                health_check: health_check.body(),
                network: network.clone(),
                selector: map(selector),
                attributes: map(attributes),
                tags: map(tags),
                ..Default::default()
            };
            output.show(&client.post("/v1/target-groups", &body)?, describe);
        }
        Command::List => {
            output.show(&client.get::<TargetGroups>("/v1/target-groups")?, |answer| {
                list(
                    "no target groups",
                    ["name", "protocol", "#port", "health check", "used by"],
                    answer.target_groups.iter().map(|group| {
                        let check = format!("{} every {} s", check_port(group), group.health_check.interval_seconds);
                        let used = used_by(group);
                        [group.name.clone(), group.protocol.to_string(), group.port.to_string(), check, used]
                    }),
                )
            });
        }
        Command::Describe { name } => output.show(&client.get(&path(name))?, describe),
        Command::Modify { name, selector, no_selector, health_check } => {
            let selector = (*no_selector || !selector.is_empty()).then(|| map(selector));
            let body = ModifyTargetGroup { health_check: health_check.body(), selector };
            output.show(&client.patch(&path(name), &body)?, describe);
        }
        Command::Delete { name } => {
            let there = client.exists(&path(name))?;
            client.delete(&path(name))?;
            output.done(format_args!("target group {name} {}", if there { "is deleted" } else { "was not there" }));
        }
        Command::Attributes { name, attributes } => {
            super::attributes(&format!("{}/attributes", path(name)), attributes, client, output)?;
        }
    }
    Ok(())
}

/// The path of a target group.
pub fn path(name: &str) -> String {
    format!("/v1/target-groups/{}", segment(name))
}

fn check_port(group: &TargetGroup) -> String {
    format!("{} {}", word(&group.health_check.protocol), word(&group.health_check.port))
}

/// The load balancers whose listeners forward to it: their names, out of `…:loadbalancer/net/NAME/ID`.
fn used_by(group: &TargetGroup) -> String {
    let name = |arn: &String| arn.rsplit('/').nth(1).unwrap_or(arn).to_owned();
    let names: Vec<String> = group.load_balancer_arns.iter().map(name).collect();
    if names.is_empty() { "no load balancer".into() } else { names.join(" ") }
}

fn describe(group: &TargetGroup) -> String {
    let check = &group.health_check;
    let fields = fields(&[
        ("name", group.name.clone()),
        ("arn", group.arn.clone()),
        ("id", group.id.clone()),
        ("protocol", group.protocol.to_string()),
        ("port", group.port.to_string()),
        ("target type", word(&group.target_type)),
        ("address type", word(&group.ip_address_type)),
        ("network", group.network.clone().unwrap_or_else(|| "none".into())),
        ("selector", words(&group.selector)),
        ("health check", check_port(group)),
        ("  interval", format!("{} s", check.interval_seconds)),
        ("  timeout", format!("{} s", check.timeout_seconds)),
        ("  healthy after", check.healthy_threshold_count.to_string()),
        ("  unhealthy after", check.unhealthy_threshold_count.to_string()),
        ("used by", used_by(group)),
        ("tags", words(&group.tags)),
    ]);
    let counts = group.target_counts.as_ref().map(|counts| format!("{}\n\n", count_table(counts))).unwrap_or_default();
    format!("{fields}\n\n{counts}{}", attribute_table(&group.attributes))
}

/// Targets by zone and state, and in all.
fn count_table(counts: &TargetCounts) -> String {
    let row = |zone: &str, it: &StateCounts| {
        let numbers = [it.healthy, it.unhealthy, it.initial, it.draining, it.unused, it.unavailable, it.total];
        let [healthy, unhealthy, initial, draining, unused, unavailable, total] =
            numbers.map(|number| number.to_string());
        [zone.to_owned(), healthy, unhealthy, initial, draining, unused, unavailable, total]
    };
    let zones = counts.zones.iter().map(|(zone, it)| row(if zone.is_empty() { "no zone" } else { zone }, it));
    let titles = ["targets in", "#healthy", "#unhealthy", "#initial", "#draining", "#unused", "#unavailable", "#total"];
    table(titles, zones.chain([row("all zones", &counts.all)]))
}

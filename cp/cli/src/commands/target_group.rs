//! `leat target-group`

use clap::{Args, Subcommand};
use leat_model::rest::{
    Attributes, AttributesBody, CreateTargetGroup, HealthCheckPort, ModifyHealthCheck, ModifyTargetGroup, Protocol,
    TargetAddressType, TargetGroup, TargetGroups, TargetType,
};

use super::{protocol, word};
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
  leat target-group create web6 --protocol TCP --port 8080 --ip-address-type ipv6")]
    Create {
        /// 1–32 letters, digits and hyphens
        name: String,
        /// TCP, UDP or TCP_UDP
        #[arg(long, value_parser = protocol)]
        protocol: Protocol,
        /// Port of targets registered without one, 1–65535
        #[arg(long)]
        port: i64,
        /// ipv4 or ipv6: the addresses of its targets [default: ipv4]
        #[arg(long, value_parser = ip_address_type)]
        ip_address_type: Option<TargetAddressType>,
        #[command(flatten)]
        health_check: HealthCheckArgs,
        /// An attribute that shall differ from its default; repeat for more (docs/api.md lists them)
        #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
    },
    /// List all target groups
    List,
    /// Show one target group with its health checks and attributes
    Describe {
        /// Name or id
        name: String,
    },
    /// Change the health checks of a target group
    #[command(
        after_help = "Example:\n  leat target-group modify web --health-check-interval 5 --health-check-timeout 2",
        group = clap::ArgGroup::new("change").args(HEALTH_CHECK_ARGS).required(true).multiple(true)
    )]
    Modify {
        /// Name or id
        name: String,
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
        #[arg(value_name = "KEY=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
    },
}

/// The fields of [`HealthCheckArgs`].
const HEALTH_CHECK_ARGS: [&str; 5] =
    ["health_check_port", "health_check_interval", "health_check_timeout", "healthy_threshold", "unhealthy_threshold"];

#[derive(Args, Debug)]
pub struct HealthCheckArgs {
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
            protocol: None,
            port: self.health_check_port,
            interval_seconds: self.health_check_interval,
            timeout_seconds: self.health_check_timeout,
            healthy_threshold_count: self.healthy_threshold,
            unhealthy_threshold_count: self.unhealthy_threshold,
            ..Default::default()
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

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, for example preserve_client_ip.enabled=true")?;
    Ok((key.into(), value.into()))
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Create { name, protocol, port, ip_address_type, health_check, attributes } => {
            let body = CreateTargetGroup {
                name: name.clone(),
                protocol: *protocol,
                port: *port,
                target_type: TargetType::Ip,
                ip_address_type: ip_address_type.unwrap_or_default(),
                health_check: health_check.body(),
                attributes: attributes.iter().cloned().collect(),
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
        Command::Modify { name, health_check } => {
            let body = ModifyTargetGroup { health_check: health_check.body(), ..Default::default() };
            output.show(&client.patch(&path(name), &body)?, describe);
        }
        Command::Delete { name } => {
            let there = client.exists(&path(name))?;
            client.delete(&path(name))?;
            output.done(format_args!("target group {name} {}", if there { "is deleted" } else { "was not there" }));
        }
        Command::Attributes { name, attributes } => {
            let path = format!("{}/attributes", path(name));
            let answer: AttributesBody = if attributes.is_empty() {
                client.get(&path)?
            } else {
                client.patch(&path, &AttributesBody { attributes: attributes.iter().cloned().collect() })?
            };
            output.show(&answer, |answer| attribute_table(&answer.attributes));
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

fn attribute_table(attributes: &Attributes) -> String {
    table(["attribute", "value"], attributes.iter().map(|(key, value)| [key.clone(), value.clone()]))
}

fn describe(group: &TargetGroup) -> String {
    let check = &group.health_check;
    let fields = fields(&[
        ("name", group.name.clone()),
        ("arn", group.arn.clone()),
        ("id", group.id.clone()),
        ("protocol", group.protocol.to_string()),
        ("port", group.port.to_string()),
        ("address type", word(&group.ip_address_type)),
        ("health check", check_port(group)),
        ("  interval", format!("{} s", check.interval_seconds)),
        ("  timeout", format!("{} s", check.timeout_seconds)),
        ("  healthy after", check.healthy_threshold_count.to_string()),
        ("  unhealthy after", check.unhealthy_threshold_count.to_string()),
        ("used by", used_by(group)),
    ]);
    format!("{fields}\n\n{}", attribute_table(&group.attributes))
}

//! `leat target`

use std::net::{IpAddr, SocketAddrV6};

use clap::{Args, Subcommand};
use leat_model::rest::{Applied, Target, TargetSpec, Targets, TargetsRequest};

use super::target_group;
use crate::client::{CallError, Client};
use crate::output::{Output, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Put targets into a group, all or none
    #[command(after_help = "\
Examples:
  leat target register web 10.2.0.11 10.2.0.12:8081
  leat target register app i-0abcdef1234567890
  leat target register far 192.168.7.7 --zone all")]
    Register(TargetsArgs),
    /// Take targets out of a group: they get no new flows; open ones go on
    #[command(after_help = "Example:\n  leat target deregister web 10.2.0.11")]
    Deregister {
        #[command(flatten)]
        targets: TargetsArgs,
        /// Wait at most this long until every lcore knows, 0–300
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u32>,
    },
    /// List the targets of a group with their health and flows
    List {
        /// Target group: name or id
        target_group: String,
    },
}

#[derive(Args, Debug)]
pub struct TargetsArgs {
    /// Target group: name or id
    target_group: String,
    /// Address, id of an instance or ARN, with a port if it is not the group's; of IPv6 [ADDRESS]:PORT
    #[arg(value_name = "TARGET[:PORT]", required = true, value_parser = target)]
    targets: Vec<TargetSpec>,
    /// Zone of addresses outside the group's network, or all
    #[arg(long)]
    zone: Option<String>,
}

fn target(text: &str) -> Result<TargetSpec, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(TargetSpec { id: address.to_string(), port: None, zone: None });
    }
    if let Ok(socket) = text.parse::<SocketAddrV6>() {
        return Ok(TargetSpec { id: socket.ip().to_string(), port: Some(socket.port().into()), zone: None });
    }
    if text.starts_with("arn:") {
        return Ok(TargetSpec { id: text.into(), port: None, zone: None });
    }
    let Some((address, port)) = text.split_once(':') else {
        return Ok(TargetSpec { id: text.into(), port: None, zone: None });
    };
    let hint = "write ADDRESS or ADDRESS:PORT, for example 10.2.0.11:8080 or [2001:db8::11]:8080";
    let port = port.parse().map_err(|_| hint)?;
    Ok(TargetSpec { id: address.into(), port: Some(port), zone: None })
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Register(args) => change(args, "", "registered with", client, output),
        Command::Deregister { targets, wait } => {
            let wait = wait.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
            change(targets, &format!("/deregister{wait}"), "deregistered from", client, output)
        }
        Command::List { target_group } => {
            let answer: Targets = client.get(&path(target_group))?;
            output.show(&answer, |answer| {
                list(
                    "no targets",
                    ["target", "health", "#active flows", "#new flows", "zone", "reason"],
                    answer.targets.iter().map(row),
                )
            });
            Ok(())
        }
    }
}

fn change(
    args: &TargetsArgs,
    call: &str,
    done: &str,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), CallError> {
    let zoned = |target: &TargetSpec| TargetSpec { zone: args.zone.clone(), ..target.clone() };
    let body = TargetsRequest { targets: args.targets.iter().map(zoned).collect() };
    let answer: Applied = client.post(&format!("{}{call}", path(&args.target_group)), &body)?;
    let count = args.targets.len();
    let group = &args.target_group;
    output.show(&answer, |answer| {
        let when = if answer.applied { "" } else { "; not every lcore works with it yet" };
        let targets = if count == 1 { "target" } else { "targets" };
        let warnings = answer.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
        format!("{count} {targets} {done} {group}{when}{}", warnings.collect::<String>())
    });
    Ok(())
}

fn path(target_group: &str) -> String {
    format!("{}/targets", target_group::path(target_group))
}

fn row(target: &Target) -> [String; 6] {
    let health = &target.health;
    let reason = match (&health.reason, &health.description) {
        (Some(code), Some(words)) => format!("{code}: {words}"),
        (code, words) => code.clone().or_else(|| words.clone()).unwrap_or_default(),
    };
    [
        super::socket(&target.id, target.port),
        health.state.to_string(),
        target.flows.active.to_string(),
        target.flows.new.to_string(),
        target.zone.clone(),
        reason,
    ]
}

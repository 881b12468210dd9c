//! `leat`: starts a load balancer on this machine (`leat up`) and is otherwise a client of its admin API.
#![forbid(unsafe_code)]

mod client;
mod commands;
mod config;
mod output;
#[cfg(test)]
mod tests;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use client::{CallError, Client, Endpoint};
use commands::{listener, load_balancer, observe, target, target_group, trace};
use output::{Format, Output};

const EXAMPLES: &str = "\
Start a load balancer on this machine, then, in another terminal, make it serve:
  leat up --config leat.toml
  leat target-group create web --protocol TCP --port 8080
  leat target register web 10.2.0.11 10.2.0.12:8081
  leat load-balancer create front --node zone-a=10.1.0.10
  leat listener create front --protocol TCP --port 80 --target-group web
  leat target list web

Look at it:
  leat status
  leat stats --watch
  leat flows --client 10.9.0.7
  leat trace add p0 5 tcp dst 10.1.0.10 port 80

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.";

/// Heads the options that every command has.
const EVERYWHERE: &str = "Options of every command that calls the API";

#[derive(Parser, Debug)]
#[command(name = "leat", version, about = "A network load balancer on DPDK", after_help = EXAMPLES)]
struct Cli {
    /// Where the admin API is: http://HOST:PORT or unix:/PATH
    #[arg(long, env = "LEAT_ENDPOINT", hide_env_values = true, default_value = "http://127.0.0.1:9321", global = true,
          value_name = "URL", help_heading = EVERYWHERE)]
    endpoint: Endpoint,
    /// How to print: table, for people, or json, as the API answers
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true, hide_possible_values = true,
          value_name = "FORMAT", help_heading = EVERYWHERE)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start the data plane and the control plane of this machine and keep them running
    Up(up::UpArgs),
    /// Show whether all is well: data plane, lcores, ports
    Status,
    /// Load balancers: what clients connect to
    #[command(subcommand, visible_alias = "lb")]
    LoadBalancer(load_balancer::Command),
    /// Listeners: the ports of a load balancer
    #[command(subcommand)]
    Listener(listener::Command),
    /// Target groups: who serves, and how that is checked
    #[command(subcommand, visible_alias = "tg")]
    TargetGroup(target_group::Command),
    /// The targets of a group
    #[command(subcommand)]
    Target(target::Command),
    /// Show counters: lcores, drops by reason, ports, targets, listeners
    Stats(observe::StatsArgs),
    /// Show live flows
    Flows(observe::FlowsArgs),
    /// Follow packets through the stages of the data plane
    #[command(subcommand)]
    Trace(trace::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Up(args) = &cli.command {
        return match up::up(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => fail(&message, None),
        };
    }
    match run(&cli, Output::stdout(cli.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.hint()),
    }
}

fn fail(message: &str, hint: Option<&str>) -> ExitCode {
    eprintln!("error: {message}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::FAILURE
}

/// How long a call may take; changes wait for the data plane's acknowledgement.
const CALL_MAX: Duration = Duration::from_secs(60);

fn run(cli: &Cli, mut output: Output<'_>) -> Result<(), CallError> {
    let client = Client::new(cli.endpoint.clone(), CALL_MAX).map_err(|error| CallError::Protocol(error.to_string()))?;
    let output = &mut output;
    match &cli.command {
        // `main` has done it: it needs no client.
        Command::Up(_) => Ok(()),
        Command::Status => observe::status(&client, output),
        Command::LoadBalancer(command) => load_balancer::run(command, &client, output),
        Command::Listener(command) => listener::run(command, &client, output),
        Command::TargetGroup(command) => target_group::run(command, &client, output),
        Command::Target(command) => target::run(command, &client, output),
        Command::Stats(args) => observe::stats(args, &client, output),
        Command::Flows(args) => observe::flows(args, &client, output),
        Command::Trace(command) => trace::run(command, &client, output),
    }
}

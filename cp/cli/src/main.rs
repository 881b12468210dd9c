//! `leat`: starts a load balancer on this machine (`leat up`) and is otherwise a client of its admin API.
#![forbid(unsafe_code)]

mod client;
mod commands;
mod config;
mod output;
#[cfg(test)]
mod tests;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use client::{CallError, Client, Credentials, Endpoint};
use commands::{
    apply, audit, aws, backup, certificate, dns, events, inventory, listener, load_balancer, lookup, observe, tag,
    target, target_group, trace, user, zonal_shift,
};
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
  leat events --follow
  leat flows --client 10.9.0.7
  leat trace add p0 5 tcp dst 10.1.0.10 port 80

Or say in a file what there shall be, or use AWS's command line:
  leat apply -f front.yaml --dry-run
  leat aws elbv2 describe-load-balancers

Who calls is told by LEAT_TOKEN (`leat user create` makes one); root needs none on the Unix socket, which is what leat
uses when it is there.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.";

/// Heads the options that every command has.
const EVERYWHERE: &str = "Options of every command that calls the API";

#[derive(Parser, Debug)]
#[command(name = "leat", version, about = "A network load balancer on DPDK", after_help = EXAMPLES)]
struct Cli {
    /// Where the admin API is: http://HOST:PORT, https://HOST:PORT or unix:/PATH [default: unix:/run/leat/leat.sock if that can
    /// be used, else http://127.0.0.1:9321]
    #[arg(long, env = "LEAT_ENDPOINT", hide_env_values = true, global = true, value_name = "URL", help_heading = EVERYWHERE)]
    endpoint: Option<Endpoint>,
    /// The certificates that are trusted with https, in a PEM file
    #[arg(long, env = "LEAT_CA", hide_env_values = true, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    ca: Option<PathBuf>,
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
    /// Tags of load balancers, target groups, listeners and other resources
    #[command(subcommand)]
    Tag(tag::Command),
    /// The inventory: what there is on the network
    #[command(subcommand)]
    Inventory(inventory::Command),
    /// Certificates for TLS listeners
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Zonal shifts: move traffic away from a zone
    #[command(subcommand)]
    ZonalShift(zonal_shift::Command),
    /// Show the names of load balancers, and what DNS answers
    Dns,
    /// Make the configuration what a document says, all or nothing
    Apply(apply::ApplyArgs),
    /// Print the configuration as a document for apply
    Export,
    /// Users of the API: names, roles, keys and tokens
    #[command(subcommand)]
    User(user::Command),
    /// Show who one is to the API
    Whoami,
    /// Show who has called what
    Audit(audit::AuditArgs),
    /// Show how many there may be of everything
    Quotas,
    /// Show the security policies of TLS listeners
    SslPolicies,
    /// Show the network interfaces of load balancers
    Interfaces,
    /// Call the API as it is
    Api(lookup::ApiArgs),
    /// Run AWS's command line against this control plane, or print the environment for it
    Aws(aws::AwsArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  leat completion bash > /etc/bash_completion.d/leat")]
    Completion {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Show counters: lcores, drops by reason, ports, targets, listeners
    Stats(observe::StatsArgs),
    /// Show what has happened: targets, zones, load balancers, data plane, ports
    Events(events::EventsArgs),
    /// Show live flows
    Flows(observe::FlowsArgs),
    /// Follow packets through the stages of the data plane
    #[command(subcommand)]
    Trace(trace::Command),
    /// Write the configuration to a file
    Backup(backup::BackupArgs),
    /// Make the configuration that of a backup
    Restore(backup::RestoreArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Up(args) = &cli.command {
        return match up::up(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => fail(&message, None),
        };
    }
    if let Command::Completion { shell } = &cli.command {
        clap_complete::generate(*shell, &mut Cli::command(), "leat", &mut std::io::stdout());
        return ExitCode::SUCCESS;
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

/// The socket of `leat up` with its defaults, where one may use it: root needs no token there.
fn default_endpoint() -> Endpoint {
    const SOCKET: &str = "/run/leat/leat.sock";
    match std::os::unix::net::UnixStream::connect(SOCKET) {
        Ok(_) => Endpoint::Unix(SOCKET.into()),
        Err(_) => Endpoint::Tcp("127.0.0.1:9321".into()),
    }
}

/// How long a call may take; changes wait for the data plane's acknowledgement.
const CALL_MAX: Duration = Duration::from_secs(60);

fn run(cli: &Cli, mut output: Output<'_>) -> Result<(), CallError> {
    let token = std::env::var("LEAT_TOKEN").ok().filter(|token| !token.is_empty());
    let credentials = Credentials { token, ca: cli.ca.clone() };
    let endpoint = cli.endpoint.clone().unwrap_or_else(default_endpoint);
    let client =
        Client::new(endpoint, credentials, CALL_MAX).map_err(|error| CallError::Protocol(error.to_string()))?;
    let output = &mut output;
    match &cli.command {
        // `main` has done it: it needs no client.
        Command::Up(_) | Command::Completion { .. } => Ok(()),
        Command::Status => observe::status(&client, output),
        Command::LoadBalancer(command) => load_balancer::run(command, &client, output),
        Command::Listener(command) => listener::run(command, &client, output),
        Command::TargetGroup(command) => target_group::run(command, &client, output),
        Command::Target(command) => target::run(command, &client, output),
        Command::Tag(command) => tag::run(command, &client, output),
        Command::Inventory(command) => inventory::run(command, &client, output),
        Command::Certificate(command) => certificate::run(command, &client, output),
        Command::ZonalShift(command) => zonal_shift::run(command, &client, output),
        Command::Dns => dns::run(&client, output),
        Command::Apply(args) => apply::apply(args, &client, output),
        Command::Export => apply::export(&client, output),
        Command::User(command) => user::run(command, &client, output),
        Command::Whoami => lookup::whoami(&client, output),
        Command::Audit(args) => audit::run(args, &client, output),
        Command::Quotas => lookup::quotas(&client, output),
        Command::SslPolicies => lookup::ssl_policies(&client, output),
        Command::Interfaces => lookup::interfaces(&client, output),
        Command::Api(args) => lookup::api(args, &client, output),
        Command::Aws(args) => aws::run(args, &client, output),
        Command::Stats(args) => observe::stats(args, &client, output),
        Command::Events(args) => events::run(args, &client, output),
        Command::Flows(args) => observe::flows(args, &client, output),
        Command::Trace(command) => trace::run(command, &client, output),
        Command::Backup(args) => backup::backup(args, &client, output),
        Command::Restore(args) => backup::restore(args, &client, output),
    }
}

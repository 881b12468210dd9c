//! `leat listener`

use clap::{Args, Subcommand};
use leat_model::rest::{CreateListener, Listener, Listeners, ModifyListener, Protocol};

use super::{load_balancer, map, pair, protocol, words};
use serde_json::json;

use crate::client::{CallError, Client};
use crate::output::{Output, fields, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Open a port of a load balancer and forward it to a target group
    #[command(after_help = "Example:\n  leat listener create front --protocol TCP --port 80 --target-group web")]
    Create {
        /// Load balancer: name or id
        load_balancer: String,
        /// TCP, UDP or TCP_UDP
        #[arg(long, value_parser = protocol)]
        protocol: Protocol,
        /// 1–65535
        #[arg(long)]
        port: i64,
        /// Target group: name, id or ARN
        #[arg(long)]
        target_group: String,
        #[command(flatten)]
        tls: TlsArgs,
        /// A tag; repeat for more
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// Show the attributes of a listener, or set those that are given, all or none
    Attributes {
        /// Load balancer: name or id
        load_balancer: String,
        /// Its port
        #[arg(value_parser = port())]
        port: u16,
        /// What shall be set
        #[arg(value_name = "KEY=VALUE", value_parser = pair)]
        attributes: Vec<(String, String)>,
    },
    /// Show the certificates of a TLS listener, or add and remove some
    #[command(after_help = "Example:\n  leat listener certificates front 443 --add arn:aws:acm:…")]
    Certificates {
        /// Load balancer: name or id
        load_balancer: String,
        /// Its port
        #[arg(value_parser = port())]
        port: u16,
        /// ARN of a certificate to be added; repeat for more
        #[arg(long, value_name = "ARN", conflicts_with = "remove")]
        add: Vec<String>,
        /// ARN of a certificate to be removed; repeat for more
        #[arg(long, value_name = "ARN")]
        remove: Vec<String>,
    },
    /// List the listeners of a load balancer
    List {
        /// Load balancer: name or id
        load_balancer: String,
    },
    /// Show one listener
    Describe {
        /// Load balancer: name or id
        load_balancer: String,
        /// Its port
        #[arg(value_parser = port())]
        port: u16,
    },
    /// Change a listener; open flows stay with their targets
    #[command(after_help = "Example:\n  leat listener modify front 80 --target-group web-v2")]
    Modify {
        /// Load balancer: name or id
        load_balancer: String,
        /// Its port
        #[arg(value_parser = port())]
        port: u16,
        #[command(flatten)]
        change: Change,
    },
    /// Close a port of a load balancer; open flows stay with their targets
    #[command(after_help = "Example:\n  leat listener delete front 80")]
    Delete {
        /// Load balancer: name or id
        load_balancer: String,
        /// Its port
        #[arg(value_parser = port())]
        port: u16,
    },
}

/// What TLS listeners have.
#[derive(Args, Debug)]
pub struct TlsArgs {
    /// ARN of the default certificate, of TLS listeners
    #[arg(long, value_name = "ARN")]
    certificate: Option<String>,
    /// Security policy, of TLS listeners
    #[arg(long, value_name = "NAME")]
    ssl_policy: Option<String>,
    /// ALPN policy, of TLS listeners
    #[arg(long, value_name = "NAME")]
    alpn_policy: Option<String>,
}

/// What of a listener shall change: something.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct Change {
    /// New protocol: TCP, UDP or TCP_UDP
    #[arg(long, value_parser = protocol)]
    protocol: Option<Protocol>,
    /// New port, 1–65535
    #[arg(long, value_name = "PORT")]
    new_port: Option<i64>,
    /// New target group: name, id or ARN
    #[arg(long)]
    target_group: Option<String>,
    /// New default certificate: ARN
    #[arg(long, value_name = "ARN")]
    certificate: Option<String>,
    /// New security policy
    #[arg(long, value_name = "NAME")]
    ssl_policy: Option<String>,
    /// New ALPN policy
    #[arg(long, value_name = "NAME")]
    alpn_policy: Option<String>,
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Create { load_balancer, protocol, port, target_group, tls, tags } => {
            let body = CreateListener {
                protocol: *protocol,
                port: *port,
                target_group: target_group.clone(),
                certificate: tls.certificate.clone(),
                ssl_policy: tls.ssl_policy.clone(),
                alpn_policy: tls.alpn_policy.clone(),
                tags: map(tags),
            };
            output.show(&client.post(&paths(load_balancer), &body)?, describe);
        }
        Command::Attributes { load_balancer, port, attributes } => {
            let path = format!("{}/attributes", path(load_balancer, *port));
            super::attributes(&path, attributes, client, output)?;
        }
        Command::Certificates { load_balancer, port, add, remove } => {
            let path = format!("{}/certificates", path(load_balancer, *port));
            if !add.is_empty() {
                client.post::<serde::de::IgnoredAny>(&path, &json!({"certificates": add}))?;
            }
            if !remove.is_empty() {
                client.post::<serde::de::IgnoredAny>(&format!("{path}/remove"), &json!({"certificates": remove}))?;
            }
            let listener: Listener = client.get(&self::path(load_balancer, *port))?;
            output.show(&listener.certificates, |arns| match arns.split_first() {
                Some((default, others)) => format!("{default} (default)\n{}", others.join("\n")),
                None => "no certificates".into(),
            });
        }
        Command::List { load_balancer } => {
            output.show(&client.get::<Listeners>(&paths(load_balancer))?, |answer| {
                list(
                    "no listeners",
                    ["#port", "protocol", "target group", "id"],
                    answer.listeners.iter().map(|listener| {
                        let Listener { port, protocol, target_group, id, .. } = listener;
                        [port.to_string(), protocol.to_string(), target_group.clone(), id.clone()]
                    }),
                )
            });
        }
        Command::Describe { load_balancer, port } => output.show(&client.get(&path(load_balancer, *port))?, describe),
        Command::Modify { load_balancer, port, change } => {
            let body = ModifyListener {
                protocol: change.protocol,
                port: change.new_port,
                target_group: change.target_group.clone(),
                certificate: change.certificate.clone(),
                ssl_policy: change.ssl_policy.clone(),
                alpn_policy: change.alpn_policy.clone(),
            };
            output.show(&client.patch(&path(load_balancer, *port), &body)?, describe);
        }
        Command::Delete { load_balancer, port } => {
            client.delete(&path(load_balancer, *port))?;
            output.done(format_args!("listener {port} of {load_balancer} is deleted"));
        }
    }
    Ok(())
}

fn paths(load_balancer: &str) -> String {
    format!("{}/listeners", load_balancer::path(load_balancer))
}

fn path(load_balancer: &str, port: u16) -> String {
    format!("{}/{port}", paths(load_balancer))
}

fn describe(listener: &Listener) -> String {
    fields(&[
        ("port", listener.port.to_string()),
        ("protocol", listener.protocol.to_string()),
        ("target group", listener.target_group.clone()),
        ("arn", listener.arn.clone()),
        ("load balancer", listener.load_balancer_arn.clone()),
        (
            "certificates",
            if listener.certificates.is_empty() { "none".into() } else { listener.certificates.join(" ") },
        ),
        ("ssl policy", listener.ssl_policy.clone().unwrap_or_else(|| "none".into())),
        ("attributes", words(&listener.attributes)),
        ("tags", words(&listener.tags)),
    ])
}

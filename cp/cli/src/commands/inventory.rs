//! `leat inventory`

use std::path::PathBuf;

use clap::Subcommand;
use leat_model::rest::{InstanceSpec, InstanceState, Inventory, ModifyInstance};

use super::{map, pair, word, words};
use crate::client::{CallError, Client, segment};
use crate::output::{Output, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show what is declared: networks, subnets, instances, static addresses
    Show,
    /// Declare all of it anew from a file in YAML or JSON; what is in use cannot vanish
    #[command(after_help = "\
Example:
  leat inventory put inventory.yaml, where inventory.yaml has
    zones: [{name: zone-a}]
    networks: [{id: vpc-1, cidrs: [10.1.0.0/16]}]
    subnets: [{id: subnet-a, network: vpc-1, zone: zone-a, cidr: 10.1.0.0/24}]
    instances: [{id: i-1, subnet: subnet-a, address: 10.1.0.11, labels: {app: web}}]
    staticAddresses: [{id: eipalloc-1, address: 192.0.2.10}]")]
    Put {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Add an instance, or declare it anew
    #[command(
        after_help = "Example:\n  leat inventory put-instance i-1 --subnet subnet-a --address 10.1.0.11 --label app=web"
    )]
    PutInstance {
        /// Its id
        id: String,
        /// Its subnet's id
        #[arg(long)]
        subnet: String,
        /// Its primary address
        #[arg(long)]
        address: std::net::Ipv4Addr,
        /// A label; repeat for more
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
    },
    /// Change the state or the labels of an instance
    #[command(after_help = "Example:\n  leat inventory modify-instance i-1 --state stopped",
              group = clap::ArgGroup::new("change").args(["state", "labels"]).required(true).multiple(true))]
    ModifyInstance {
        /// Its id
        id: String,
        /// pending, running, stopping, stopped, shutting-down or terminated
        #[arg(long, value_parser = state)]
        state: Option<InstanceState>,
        /// A label; repeat for more: they are all that it has then
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
    },
    /// Forget an instance
    DeleteInstance {
        /// Its id
        id: String,
    },
}

fn state(text: &str) -> Result<InstanceState, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "write pending, running, stopping, stopped, shutting-down or terminated".into())
}

fn path(id: &str) -> String {
    format!("/v1/inventory/instances/{}", segment(id))
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Show => output.show(&client.get::<Inventory>("/v1/inventory")?, tables),
        Command::Put { file } => {
            let inventory: Inventory = super::document(file)?;
            output.show(&client.put::<Inventory>("/v1/inventory", &inventory)?, tables);
        }
        Command::PutInstance { id, subnet, address, labels } => {
            let body = InstanceSpec {
                id: id.clone(),
                subnet: subnet.clone(),
                address: *address,
                other_addresses: Vec::new(),
                state: InstanceState::default(),
                no_client_ip: false,
                labels: map(labels),
            };
            output.show(&client.put::<InstanceSpec>(&path(id), &body)?, instance);
        }
        Command::ModifyInstance { id, state, labels } => {
            let labels = (!labels.is_empty()).then(|| map(labels));
            let body = ModifyInstance { state: *state, labels };
            output.show(&client.patch::<InstanceSpec>(&path(id), &body)?, instance);
        }
        Command::DeleteInstance { id } => {
            client.delete(&path(id))?;
            output.done(format_args!("instance {id} is forgotten"));
        }
    }
    Ok(())
}

fn instance(it: &InstanceSpec) -> String {
    instances(std::slice::from_ref(it))
}

fn instances(all: &[InstanceSpec]) -> String {
    let row = |it: &InstanceSpec| {
        [it.id.clone(), it.subnet.clone(), it.address.to_string(), word(&it.state), words(&it.labels)]
    };
    list("no instances", ["instance", "subnet", "address", "state", "labels"], all.iter().map(row))
}

fn tables(inventory: &Inventory) -> String {
    let networks = inventory.networks.iter().map(|it| {
        let cidrs: Vec<String> = it.cidrs.iter().map(ToString::to_string).collect();
        [it.id.clone(), cidrs.join(" "), it.peers.join(" ")]
    });
    let subnets = inventory.subnets.iter().map(|it| {
        let ipv6 = it.ipv6_cidr.map(|cidr| cidr.to_string()).unwrap_or_default();
        [it.id.clone(), it.network.clone(), it.zone.clone(), it.cidr.to_string(), ipv6]
    });
    let addresses = inventory.static_addresses.iter().map(|it| [it.id.clone(), it.address.to_string()]);
    [
        list("no networks", ["network", "ranges", "peers"], networks),
        list("no subnets", ["subnet", "network", "zone", "range", "ipv6 range"], subnets),
        instances(&inventory.instances),
        list("no static addresses", ["static address", "address"], addresses),
    ]
    .join("\n\n")
}

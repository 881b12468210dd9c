//! `leat tag`

use clap::Subcommand;
use leat_model::rest::TagsBody;

use super::{map, pair};
use crate::client::{CallError, Client, query};
use crate::output::{Output, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the tags of a resource
    List {
        /// Its ARN (`leat load-balancer describe` and the like show it)
        arn: String,
    },
    /// Add tags, or change their values, all or none
    #[command(after_help = "Example:\n  leat tag add arn:aws:elasticloadbalancing:… team=a stage=production")]
    Add {
        /// ARN of the resource
        arn: String,
        /// Key and value
        #[arg(value_name = "KEY=VALUE", required = true, value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// Remove tags
    Remove {
        /// ARN of the resource
        arn: String,
        /// Keys
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let path = |arn: &str| format!("/v1/tags{}", query(&[("resource", Some(arn.to_owned()))]));
    let answer: TagsBody = match command {
        Command::List { arn } => client.get(&path(arn))?,
        Command::Add { arn, tags } => client.patch(&path(arn), &TagsBody { tags: map(tags) })?,
        Command::Remove { arn, keys } => {
            for key in keys {
                let parameters = [("resource", Some(arn.clone())), ("key", Some(key.clone()))];
                client.delete(&format!("/v1/tags{}", query(&parameters)))?;
            }
            client.get(&path(arn))?
        }
    };
    output.show(&answer, |answer| {
        list("no tags", ["key", "value"], answer.tags.iter().map(|(key, value)| [key.clone(), value.clone()]))
    });
    Ok(())
}

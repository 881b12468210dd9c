//! `leat quotas`, `leat ssl-policies`, `leat interfaces`, `leat whoami`, `leat api`: what can be looked up, and any call as it is.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::client::{CallError, Client};
use crate::output::{Output, fields, list};

/// A list of objects, some of their fields as columns.
fn objects<const N: usize>(
    path: &str,
    key: &str,
    columns: [&str; N],
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), CallError> {
    let answer: Value = client.get(path)?;
    output.show(&answer, |answer| {
        let row = |object: &Value| columns.map(|column| text(&object[column]));
        let rows = answer[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list("nothing", columns, rows.iter().map(row))
    });
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

pub fn quotas(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    objects("/v1/quotas", "quotas", ["name", "value", "adjustable"], client, output)
}

pub fn ssl_policies(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    objects("/v1/ssl-policies", "sslPolicies", ["name", "protocols", "ciphers"], client, output)
}

pub fn interfaces(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    objects("/v1/interfaces", "interfaces", ["id", "zone", "subnet", "description"], client, output)
}

pub fn whoami(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let answer: Value = client.get("/v1/whoami")?;
    output.show(&answer, |answer| {
        let empty = serde_json::Map::new();
        let object = answer.as_object().unwrap_or(&empty);
        let pairs: Vec<(&str, String)> = object.iter().map(|(key, value)| (key.as_str(), text(value))).collect();
        fields(&pairs)
    });
    Ok(())
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  leat api GET /v1/load-balancers
  leat api PATCH /v1/target-groups/web/attributes --file attributes.json
The calls are those of docs/api.md, and of GET /v1/openapi.json.")]
pub struct ApiArgs {
    /// GET, POST, PUT, PATCH or DELETE
    #[arg(value_parser = ["GET", "POST", "PUT", "PATCH", "DELETE"])]
    method: String,
    /// The path, with its query
    path: String,
    /// File with the body in JSON or YAML; - is standard input
    #[arg(long)]
    file: Option<PathBuf>,
}

pub fn api(args: &ApiArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let body: Option<Value> = args.file.as_deref().map(super::document).transpose()?;
    let answer: Value = client.any(&args.method, &args.path, body.as_ref())?;
    output.show(&answer, |answer| serde_json::to_string_pretty(answer).unwrap_or_default());
    Ok(())
}

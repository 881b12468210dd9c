//! One module for each kind of thing that the API knows.

pub mod apply;
pub mod audit;
pub mod aws;
pub mod backup;
pub mod certificate;
pub mod dns;
pub mod events;
pub mod inventory;
pub mod listener;
pub mod load_balancer;
pub mod lookup;
pub mod observe;
pub mod tag;
pub mod target;
pub mod target_group;
pub mod trace;
pub mod user;
pub mod zonal_shift;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use leat_model::rest::{Attributes, AttributesBody, Protocol};
use serde::de::DeserializeOwned;

use crate::client::{CallError, Client};
use crate::output::{Output, table};

/// A protocol as people write it.
fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "TCP_UDP" => Ok(Protocol::TcpUdp),
        "TLS" => Ok(Protocol::Tls),
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        _ => Err("write TCP, UDP, TCP_UDP or TLS (or HTTP, HTTPS for application load balancers)".into()),
    }
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, for example preserve_client_ip.enabled=true")?;
    Ok((key.into(), value.into()))
}

fn map(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// `k=v k=v`, or `none`.
fn words(pairs: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if words.is_empty() { "none".into() } else { words.join(" ") }
}

fn attribute_table(attributes: &Attributes) -> String {
    table(["attribute", "value"], attributes.iter().map(|(key, value)| [key.clone(), value.clone()]))
}

/// Shows the attributes at a path, or sets some, all or none.
fn attributes(
    path: &str,
    pairs: &[(String, String)],
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), CallError> {
    let answer: AttributesBody = if pairs.is_empty() {
        client.get(path)?
    } else {
        client.patch(path, &AttributesBody { attributes: map(pairs) })?
    };
    output.show(&answer, |answer| attribute_table(&answer.attributes));
    Ok(())
}

/// The text of a file; `-` is standard input.
fn text(path: &Path) -> Result<String, CallError> {
    let wrong = |error| CallError::Input(format!("{}: {error}", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(wrong)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(wrong)
}

/// A document in YAML, of which JSON is a part.
fn document<T: DeserializeOwned>(path: &Path) -> Result<T, CallError> {
    let text = text(path)?;
    serde_yaml_ng::from_str(&text).map_err(|error| CallError::Input(format!("{}: {error}", path.display())))
}

/// `10.2.0.11:80`, `[2001:db8::11]:80`.
fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// The name in the JSON of something that is one word there.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

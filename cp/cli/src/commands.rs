//! One module for each kind of thing that the API knows.

pub mod listener;
pub mod load_balancer;
pub mod observe;
pub mod target;
pub mod target_group;
pub mod trace;

use leat_model::rest::Protocol;

/// A protocol as people write it.
fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "TCP_UDP" => Ok(Protocol::TcpUdp),
        _ => Err("write TCP, UDP or TCP_UDP".into()),
    }
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

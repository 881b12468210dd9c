//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use ipnet::Ipv4Net;
use leat_model::Site;

use crate::netlink::{PortConfig, Prefix, Route};

/// Control plane of the Leat load balancer: keeps the configuration, checks targets, tells leat-dp what to do.
///
/// It attaches to leat-dp through the shared segment and may be started and stopped at any time: traffic goes on without it.
/// Its API is on --listen and --socket, for this machine alone; try `curl http://127.0.0.1:9321/v1/status`.
#[derive(Debug, Parser)]
#[command(version, after_help = "LEAT_LOG sets what is logged to stderr: error, warn, info (the default), debug.")]
pub struct Options {
    /// The segment that leat-dp makes: a file in tmpfs or hugetlbfs, the same as leat-dp's --segment
    #[arg(long, value_name = "PATH", default_value = "/dev/shm/leat")]
    pub segment: PathBuf,

    /// Where the configuration is kept; made if there is none. Its directory must exist
    #[arg(long, value_name = "FILE", default_value = "/var/lib/leat/leat.redb")]
    pub store: PathBuf,

    /// Loopback address and port of the API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9321", value_parser = loopback)]
    pub listen: SocketAddr,

    /// Unix socket of the API, besides --listen
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Address of this host on a port of leat-dp, with prefix length, such as p0=10.1.0.2/24; repeat for more
    #[arg(long = "port-address", value_name = "NAME=CIDR", value_parser = port_address)]
    pub port_addresses: Vec<(String, Prefix)>,

    /// Route over a port, such as p0=10.2.0.0/16,10.1.0.1 or p0=default,10.1.0.1; repeat for more
    #[arg(long = "route", value_name = "NAME=PREFIX,GATEWAY", value_parser = route)]
    pub routes: Vec<(String, Route)>,

    /// Region in ARNs and DNS names: 1 to 32 small letters, digits and hyphens
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = region)]
    pub region: String,

    /// What the names of the ports' TAP twins begin with, the same as leat-dp's --tap-prefix
    #[arg(long, value_name = "TEXT", default_value = "leat-")]
    pub tap_prefix: String,

    /// End when the process that started this one ends
    #[arg(long)]
    pub supervised: bool,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:9321".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the API has no authentication yet and listens on loopback addresses only, such as 127.0.0.1:9321".into())
    }
}

fn named<'t>(text: &'t str, example: &str) -> Result<(String, &'t str), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() => Ok((name.to_owned(), rest)),
        _ => Err(format!("write it like {example}")),
    }
}

fn port_address(text: &str) -> Result<(String, Prefix), String> {
    let (name, prefix) = named(text, "p0=10.1.0.2/24")?;
    Ok((name, prefix.parse().map_err(|error: crate::netlink::PrefixError| error.to_string())?))
}

fn route(text: &str) -> Result<(String, Route), String> {
    const EXAMPLE: &str = "p0=10.2.0.0/16,10.1.0.1 or p0=default,10.1.0.1";
    let (name, route) = named(text, EXAMPLE)?;
    let (to, via) = route.split_once(',').ok_or_else(|| format!("write it like {EXAMPLE}"))?;
    let to: Prefix = to.parse().map_err(|error: crate::netlink::PrefixError| error.to_string())?;
    let via: Ipv4Addr =
        via.parse().map_err(|_| format!("\"{via}\" is not an IPv4 address; write it like {EXAMPLE}"))?;
    Ok((name, Route { to: to.network(), via }))
}

fn region(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("allowed are 1 to 32 small letters, digits and hyphens".into())
    }
}

impl Options {
    /// What the configuration needs to know of the flags.
    pub fn site(&self) -> Site {
        let subnet =
            |(name, prefix): &(String, Prefix)| Some((name.clone(), Ipv4Net::new(prefix.address, prefix.length).ok()?));
        Site { region: self.region.clone(), subnets: self.port_addresses.iter().filter_map(subnet).collect() }
    }

    /// The ports, in the order in which they are named first.
    ///
    /// # Errors
    /// A route's port has no address.
    pub fn ports(&self) -> Result<Vec<PortConfig>, String> {
        let mut ports: Vec<PortConfig> = Vec::new();
        for (name, prefix) in &self.port_addresses {
            match ports.iter_mut().find(|port| port.name == *name) {
                Some(port) => port.addresses.push(*prefix),
                None => ports.push(PortConfig {
                    name: name.clone(),
                    tap: format!("{}{name}", self.tap_prefix),
                    addresses: vec![*prefix],
                    routes: Vec::new(),
                }),
            }
        }
        for (name, route) in &self.routes {
            let port = ports.iter_mut().find(|port| port.name == *name);
            let port =
                port.ok_or_else(|| format!("--route {name}=…: port {name} has no --port-address; give it one"))?;
            port.routes.push(route.clone());
        }
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, String> {
        Options::try_parse_from([&["leat-cp"], flags].concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn ports_come_from_addresses_and_routes() {
        let flags =
            ["--port-address", "p0=10.1.0.2/24", "--port-address", "p1=10.2.0.2/24", "--route", "p0=default,10.1.0.1"];
        let options = parse(&flags).expect("good flags");
        let ports = options.ports().expect("good ports");
        let names: Vec<_> =
            ports.iter().map(|port| (port.name.as_str(), port.tap.as_str(), port.routes.len())).collect();
        assert_eq!(names, [("p0", "leat-p0", 1), ("p1", "leat-p1", 0)]);
        assert_eq!(options.site().subnets[1].1.to_string(), "10.2.0.2/24");
        let error = parse(&["--route", "p9=default,10.1.0.1"]).expect("good flags").ports().expect_err("no such port");
        assert!(error.contains("p9"), "{error}");
    }

    #[test]
    fn bad_flags_say_what_is_right() {
        for (flags, hint) in [
            (["--listen", "0.0.0.0:9321"], "loopback"),
            (["--listen", "9321"], "127.0.0.1:9321"),
            (["--port-address", "10.1.0.2/24"], "p0=10.1.0.2/24"),
            (["--port-address", "p0=10.1.0.2"], "/24"),
            (["--route", "p0=10.1.0.1"], "p0=default"),
            (["--route", "p0=default,gw"], "not an IPv4 address"),
            (["--region", "Here"], "small letters"),
        ] {
            let error = parse(&flags).expect_err(hint);
            assert!(error.contains(hint), "{error}");
        }
    }
}

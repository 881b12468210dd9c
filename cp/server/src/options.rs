//! The command line.

pub mod security;
pub mod webhooks;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use ipnet::IpNet;
use leat_abi::snapshot::ENDPOINT_ID_MAX;
use leat_model::{Limits, Site};

use crate::dns;
use crate::netlink::{PortConfig, Prefix, Route};
use security::SecurityOptions;
use webhooks::WebhookOptions;

/// Control plane of the Leat load balancer: keeps the configuration, checks targets, tells leat-dp what to do.
///
/// It attaches to leat-dp through the shared segment and may be started and stopped at any time: traffic goes on without it.
/// Its API is on --listen and --socket; as root, try `curl --unix-socket PATH http://localhost/v1/status`.
#[derive(Debug, Parser)]
#[command(version, after_help = "LEAT_LOG sets what is logged to stderr: error, warn, info (the default), debug.")]
pub struct Options {
    /// The segment that leat-dp makes: a file in tmpfs or hugetlbfs, the same as leat-dp's --segment
    #[arg(long, value_name = "PATH", default_value = "/dev/shm/leat")]
    pub segment: PathBuf,

    /// Where the configuration is kept; made if there is none. Its directory must exist
    #[arg(long, value_name = "FILE", default_value = "/var/lib/leat/leat.redb")]
    pub store: PathBuf,

    /// Tell whether --store is whole, and end; it is not changed. It must not be in use
    #[arg(long)]
    pub check_store: bool,

    /// Address and port of the API; other addresses than loopback speak TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9321", value_parser = socket_address)]
    pub listen: SocketAddr,

    /// Unix socket of the API, besides --listen
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Address of this host on a port of leat-dp, with prefix length, such as p0=10.1.0.2/24 or p0=fd00:1::2/64; repeat for more
    #[arg(long = "port-address", value_name = "NAME=CIDR", value_parser = port_address)]
    pub port_addresses: Vec<(String, Prefix)>,

    /// Route over a port, such as p0=10.2.0.0/16,10.1.0.1 or p0=default,fd00:1::1; repeat for more
    #[arg(long = "route", value_name = "NAME=PREFIX,GATEWAY", value_parser = route)]
    pub routes: Vec<(String, Route)>,

    /// A port whose clients come through an endpoint, and the endpoint's id, such as p2=vpce-08d2bf15fac5001c9; repeat for more.
    /// Targets see the node's address always, and PROXY headers name the endpoint
    #[arg(long = "endpoint", value_name = "NAME=ID", value_parser = endpoint)]
    pub endpoints: Vec<(String, String)>,

    /// What becomes of a client that is itself the chosen target, and whose address is preserved
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Hairpin::Drop)]
    pub hairpin: Hairpin,

    /// How many bits of an IPv6 client's address sticky target groups look at
    #[arg(long, value_name = "BITS", default_value_t = 128, value_parser = sticky_prefix)]
    pub sticky_ipv6_prefix: u8,

    /// Region in ARNs and DNS names: 1 to 32 small letters, digits and hyphens. Terraform wants the form of `on-prem-1`
    #[arg(long, value_name = "NAME", default_value = "on-prem-1", value_parser = region)]
    pub region: String,

    /// Account in ARNs: 12 digits
    #[arg(long, value_name = "DIGITS", default_value = "000000000000", value_parser = account)]
    pub account: String,

    /// Partition in ARNs; clients' checks of ARNs want one that begins with `aws`
    #[arg(long, value_name = "NAME", default_value = "aws", value_parser = region)]
    pub partition: String,

    /// What load balancers' DNS names look like: {name}, {id} and {region} are filled in, the first two must be there
    #[arg(long, value_name = "FORMAT", default_value = leat_model::model::DNS_NAME_FORMAT, value_parser = dns_name_format)]
    pub dns_name_format: String,

    /// Address and port where load balancers' names are answered, with UDP and TCP; repeat for more. Resolvers ask port 53 of an
    /// address on a port of leat-dp, such as 10.1.0.2:53. docs/dns.md has the rest
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9353", value_parser = dns_address)]
    pub dns_listen: Vec<SocketAddr>,

    /// Name of a server of the names' zone, as the zone above it is told; repeat for more [default: ns. and the zone]
    #[arg(long = "dns-name-server", value_name = "NAME", value_parser = dns_name)]
    pub dns_name_servers: Vec<String>,

    /// Serve the API only: nothing is forwarded and no target is checked, which every answer about one says
    #[arg(long)]
    pub without_data_plane: bool,

    /// Reproduce limits of the load balancer that this one behaves as, where it does better otherwise: health checks by HTTPS speak
    /// TLS 1.2 only, so that targets with TLS 1.3 alone fail them
    #[arg(long)]
    pub strict_parity: bool,

    /// A quota other than its default, such as network-load-balancers=100; repeat for more. docs/api.md lists the names
    #[arg(long = "quota", value_name = "NAME=VALUE", value_parser = quota)]
    pub quotas: Vec<(String, usize)>,

    /// What the names of the ports' TAP twins begin with, the same as leat-dp's --tap-prefix
    #[arg(long, value_name = "TEXT", default_value = "leat-")]
    pub tap_prefix: String,

    #[command(flatten)]
    pub security: SecurityOptions,

    #[command(flatten)]
    pub webhooks: WebhookOptions,

    /// End when the process that started this one ends
    #[arg(long)]
    pub supervised: bool,
}

/// What becomes of packets that could never be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hairpin {
    /// They are dropped: the client's attempt times out.
    Drop,
    /// The next target gets them.
    NextTarget,
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:9321".to_owned())
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
    let via: IpAddr = via.parse().map_err(|_| format!("\"{via}\" is not an address; write it like {EXAMPLE}"))?;
    let to = match to {
        "default" => Prefix::all(via),
        _ => to.parse().map_err(|error: crate::netlink::PrefixError| error.to_string())?,
    };
    if to.address.is_ipv4() != via.is_ipv4() {
        return Err("the gateway's address must be of the network's kind".into());
    }
    Ok((name, Route { to: to.network(), via }))
}

fn endpoint(text: &str) -> Result<(String, String), String> {
    let (name, id) = named(text, "p2=vpce-08d2bf15fac5001c9")?;
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.starts_with("vpce-") && (6..=ENDPOINT_ID_MAX).contains(&id.len()) && id.bytes().all(good) {
        Ok((name, id.to_owned()))
    } else {
        Err(format!("an endpoint's id is vpce- and up to {} small letters, digits and hyphens", ENDPOINT_ID_MAX - 5))
    }
}

fn sticky_prefix(text: &str) -> Result<u8, String> {
    match text {
        "128" => Ok(128),
        "64" => Ok(64),
        _ => Err("allowed are 128 and 64".into()),
    }
}

fn quota(text: &str) -> Result<(String, usize), String> {
    const EXAMPLE: &str = "network-load-balancers=100";
    let (name, value) = named(text, EXAMPLE)?;
    let value = value.parse().map_err(|_| format!("\"{value}\" is not a number; write it like {EXAMPLE}"))?;
    Limits::default().set(&name, value).map_err(|error| error.message)?;
    Ok((name, value))
}

fn account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account has 12 digits, such as 123456789012".into())
    }
}

fn dns_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write ADDRESS:PORT, such as 10.1.0.2:53".to_owned())?;
    if address.ip().is_unspecified() {
        // An answer must come from the address that was asked.
        return Err("give each address by itself, such as 10.1.0.2:53".into());
    }
    Ok(address)
}

fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() <= 253 && name.split('.').all(is_dns_label) {
        Ok(name)
    } else {
        Err("write a whole name, such as ns1.example.com".into())
    }
}

/// Whether it is a part of a name, in small letters.
fn is_dns_label(label: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
}

fn dns_name_format(text: &str) -> Result<String, String> {
    // The longest name and id there are: a label has 63 characters at the most, a name of DNS 253.
    let filled =
        text.replace("{name}", &"n".repeat(32)).replace("{id}", &"0".repeat(16)).replace("{region}", &"r".repeat(32));
    let behind = |own: &str| text.rsplit_once(own).is_some_and(|(_, behind)| behind.contains('.'));
    // A zone and a dot come in front of it for the names of single zones; what comes behind name and id is the zone of DNS.
    if behind("{name}") && behind("{id}") && filled.len() <= 220 && filled.split('.').all(is_dns_label) {
        Ok(text.to_owned())
    } else {
        Err("write it like {name}-{id}.elb.{region}.example.internal, in small letters, digits, hyphens and dots"
            .into())
    }
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
    /// What the DNS server needs to know.
    pub fn dns(&self) -> dns::Settings {
        dns::Settings { listen: self.dns_listen.clone(), name_servers: self.dns_name_servers.clone() }
    }

    /// What the configuration needs to know of the flags.
    pub fn site(&self) -> Site {
        let net = |prefix: &Prefix| IpNet::new(prefix.address, prefix.length).ok();
        let subnet = |(name, prefix): &(String, Prefix)| Some((name.clone(), net(prefix)?));
        let behind = self.routes.iter().map(|(_, route)| &route.to).filter(|to| to.length > 0);
        Site {
            partition: self.partition.clone(),
            account: self.account.clone(),
            region: self.region.clone(),
            dns_name_format: self.dns_name_format.clone(),
            without_data_plane: self.without_data_plane,
            subnets: self.port_addresses.iter().filter_map(subnet).collect(),
            networks: behind.filter_map(net).collect(),
            gateways: self.routes.iter().map(|(_, route)| route.via).collect(),
            endpoints: self.endpoints.clone(),
            hairpin_next_target: self.hairpin == Hairpin::NextTarget,
            sticky_by_64: self.sticky_ipv6_prefix == 64,
        }
    }

    /// The quotas.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in &self.quotas {
            // The parser of the flag has tried it.
            let _ = limits.set(name, *value);
        }
        limits
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
    fn ipv6_endpoints_and_choices_are_of_the_site() {
        let flags = [
            ["--port-address", "p0=fd00:1::2/64"],
            ["--route", "p0=fd00:3::/48,fd00:1::1"],
            ["--route", "p0=default,fe80::1"],
            ["--endpoint", "p2=vpce-08d2bf15fac5001c9"],
            ["--hairpin", "next-target"],
            ["--sticky-ipv6-prefix", "64"],
        ];
        let options = parse(&flags.concat()).expect("good flags");
        let routes: Vec<String> = options.routes.iter().map(|(_, route)| route.to.to_string()).collect();
        assert_eq!(routes, ["fd00:3::/48", "::/0"]);
        let site = options.site();
        assert_eq!(
            (site.subnets[0].1.to_string(), site.networks[0].to_string()),
            ("fd00:1::2/64".into(), "fd00:3::/48".into())
        );
        assert_eq!((site.networks.len(), site.endpoints.len()), (1, 1));
        assert!(site.hairpin_next_target && site.sticky_by_64);
        let site = parse(&[]).expect("no flags").site();
        assert!(!site.hairpin_next_target && !site.sticky_by_64);
    }

    /// req: QTA-13
    #[test]
    fn quotas_are_given_by_flags() {
        let limits = |flags: &[&str]| parse(flags).expect("good flags").limits();
        assert_eq!(limits(&[]), Limits::default());
        let raised = limits(&["--quota", "network-load-balancers=100", "--quota", "target-groups=4000"]);
        assert_eq!(raised, Limits { load_balancers: 100, target_groups: 4000, ..Limits::default() });
    }

    #[test]
    fn webhooks_are_given_by_flags_and_not_shown() {
        let settings = |flags: &[&str]| {
            let options = parse(flags)?;
            assert!(!format!("{options:?}").contains("secret"));
            options.webhooks.settings()
        };
        assert!(settings(&[]).expect("none").urls.is_empty());
        let two = ["--webhook", "http://a/secret", "--webhook", "https://b/secret", "--webhook-events", "zone,target"];
        let settings_of_two = settings(&two).expect("good flags");
        let urls: Vec<String> = settings_of_two.urls.iter().map(ToString::to_string).collect();
        assert_eq!((urls, settings_of_two.wanted.len()), (vec!["http://a".to_owned(), "https://b".to_owned()], 2));
        let error = settings(&["--webhook", "https://me:secret@a/"]).expect_err("refused");
        assert!(error.starts_with("--webhook: ") && !error.contains("secret@"), "{error}");
        let error = settings(&["--webhook", "http://a/", "--webhook-events", "all"]).expect_err("no such kind");
        assert!(error.contains("fail-open"), "{error}");
    }

    #[test]
    fn bad_flags_say_what_is_right() {
        for (flags, hint) in [
            (["--anonymous", "root"], "operate"),
            (["--tls-cert", "x"], "--tls-key"),
            (["--listen", "9321"], "127.0.0.1:9321"),
            (["--port-address", "10.1.0.2/24"], "p0=10.1.0.2/24"),
            (["--port-address", "p0=10.1.0.2"], "/24"),
            (["--route", "p0=10.1.0.1"], "p0=default"),
            (["--route", "p0=default,gw"], "not an address"),
            (["--route", "p0=10.0.0.0/8,fd00::1"], "kind"),
            (["--endpoint", "p2=web"], "vpce-"),
            (["--endpoint", "vpce-1"], "p2=vpce-"),
            (["--hairpin", "loop"], "next-target"),
            (["--sticky-ipv6-prefix", "56"], "64"),
            (["--region", "Here"], "small letters"),
            (["--account", "123"], "12 digits"),
            (["--dns-name-format", "{name}.example"], "{name}-{id}"),
            (["--dns-name-format", "{name}-{id}..example"], "{name}-{id}"),
            (["--dns-name-format", "{name}-{id}"], "{name}-{id}.elb"),
            (["--dns-listen", "10.1.0.2"], "10.1.0.2:53"),
            (["--dns-listen", "0.0.0.0:53"], "each address"),
            (["--dns-name-server", "ns_1.example"], "ns1.example.com"),
            (["--quota", "network-load-balancers"], "network-load-balancers=100"),
            (["--quota", "network-load-balancers=many"], "not a number"),
            (["--quota", "listeners-per-network-load-balancer=60"], "cannot be changed"),
            (["--quota", "listeners=60"], "there is no quota"),
        ] {
            let error = parse(&flags).expect_err(hint);
            assert!(error.contains(hint), "{error}");
        }
    }
}

//! `leat.toml`: what `leat up` starts. Every error names the key, its line and what is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

/// A configuration that has been checked.
#[derive(Debug)]
pub struct Config {
    /// Names the segment and the socket.
    pub name: String,
    /// Holds the store.
    pub state_dir: PathBuf,
    /// Holds the socket.
    pub runtime_dir: PathBuf,
    /// Where the admin API listens.
    pub listen: SocketAddr,
    /// The data plane's settings.
    pub data_plane: DataPlane,
    /// Choices about forwarding.
    pub forwarding: Forwarding,
    /// Further flags of leat-cp and their values; leat-cp checks them.
    pub control_plane: Vec<String>,
    /// At least one.
    pub ports: Vec<Port>,
}

/// `[forwarding]`; what is not given is leat-cp's default.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// What becomes of a client that is its own target: `drop` or `next-target`.
    pub hairpin: Option<String>,
    /// Bits of IPv6 addresses that stickiness looks at.
    pub sticky_ipv6_prefix: Option<u32>,
}

/// `[data_plane]`
#[derive(Debug)]
pub struct DataPlane {
    /// CPUs, one polling lcore each.
    pub lcores: Vec<u32>,
    /// Flows per lcore.
    pub flows_max: u32,
    /// Those of them that IPv6 can use, if not the data plane's default.
    pub ipv6_flows_max: Option<u32>,
    /// Targets, if not the data plane's default.
    pub targets_max: Option<u32>,
    /// Listeners, if not the data plane's default.
    pub listeners_max: Option<u32>,
    /// Packet buffers, if not the data plane's default.
    pub mbufs: Option<u32>,
    /// MTU of the ports, if not the data plane's default.
    pub mtu: Option<u16>,
    /// Sleep a little when there is nothing to do.
    pub idle_backoff: bool,
    /// Holds the segment.
    pub segment_dir: PathBuf,
    /// Handed to DPDK's EAL as they are.
    pub eal_args: Vec<String>,
}

/// `[[port]]`
#[derive(Debug)]
pub struct Port {
    /// Its name; the TAP twin is `leat-<name>`.
    pub name: String,
    /// What carries it.
    pub device: Device,
    /// Addresses of its TAP, as written.
    pub addresses: Vec<String>,
    /// Routes over it: destination (or `default`) and gateway.
    pub routes: Vec<(String, IpAddr)>,
    /// The id of the endpoint that its clients come through.
    pub endpoint: Option<String>,
}

/// What carries a port's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// PCI address or vdev string.
    Dpdk(String),
    /// A VLAN on another port's device.
    Vlan {
        /// The other port.
        port: String,
        /// The VLAN's number.
        id: u16,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "; name another file with --config, or write one (leat up --help shows it)"
                }
                _ => "",
            };
            ConfigError { file: path.into(), line: None, message: format!("{error}{hint}") }
        })?;
        parse(&text).map_err(|(line, message)| ConfigError { file: path.into(), line, message })
    }

    /// The shared segment's file.
    pub fn segment(&self) -> PathBuf {
        self.data_plane.segment_dir.join(format!("leat-{}", self.name))
    }

    /// The control plane's store.
    pub fn store(&self) -> PathBuf {
        self.state_dir.join("leat.redb")
    }

    /// The admin API's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join(format!("{}.sock", self.name))
    }
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "defaults::name")]
    name: Spanned<String>,
    #[serde(default = "defaults::state_dir")]
    state_dir: PathBuf,
    #[serde(default = "defaults::runtime_dir")]
    runtime_dir: PathBuf,
    #[serde(default)]
    admin: AdminFile,
    data_plane: DataPlaneFile,
    #[serde(default)]
    forwarding: ForwardingFile,
    #[serde(default)]
    control_plane: BTreeMap<Spanned<String>, toml::Value>,
    #[serde(default)]
    port: Vec<Spanned<PortFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminFile {
    #[serde(default = "defaults::listen")]
    listen: Spanned<String>,
}

impl Default for AdminFile {
    fn default() -> Self {
        Self { listen: defaults::listen() }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForwardingFile {
    hairpin: Option<Spanned<String>>,
    sticky_ipv6_prefix: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataPlaneFile {
    lcores: Spanned<Vec<u32>>,
    #[serde(default = "defaults::flows_max")]
    flows_max: Spanned<u32>,
    ipv6_flows_max: Option<Spanned<u32>>,
    targets_max: Option<Spanned<u32>>,
    listeners_max: Option<Spanned<u32>>,
    mbufs: Option<Spanned<u32>>,
    mtu: Option<Spanned<u16>>,
    #[serde(default)]
    idle_backoff: bool,
    #[serde(default = "defaults::segment_dir")]
    segment_dir: PathBuf,
    #[serde(default)]
    eal_args: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortFile {
    name: Spanned<String>,
    device: Option<Spanned<String>>,
    vlan: Option<VlanFile>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    routes: Vec<RouteFile>,
    endpoint: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VlanFile {
    port: Spanned<String>,
    id: Spanned<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    to: Spanned<String>,
    via: Spanned<String>,
}

mod defaults {
    use super::{PathBuf, Spanned};

    fn unwritten<T>(value: T) -> Spanned<T> {
        Spanned::new(0..0, value)
    }

    pub fn name() -> Spanned<String> {
        unwritten("leat".into())
    }
    pub fn state_dir() -> PathBuf {
        "/var/lib/leat".into()
    }
    pub fn runtime_dir() -> PathBuf {
        "/run/leat".into()
    }
    pub fn listen() -> Spanned<String> {
        unwritten("127.0.0.1:9321".into())
    }
    pub fn flows_max() -> Spanned<u32> {
        unwritten(262_144)
    }
    pub fn segment_dir() -> PathBuf {
        "/dev/shm".into()
    }
}

/// Line, if known, and message.
type Wrong = (Option<usize>, String);

fn parse(text: &str) -> Result<Config, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, &span));
        (line, error.message().to_owned())
    })?;
    let check = Checker { text };

    let name = check.that(file.name, "name", "1–16 of a–z, 0–9 and -", |name| is_name(name, 16))?;
    let listen =
        check.parsed(&file.admin.listen, "admin.listen", "ADDRESS:PORT, for example 127.0.0.1:9321", |text| {
            text.parse::<SocketAddr>().ok()
        })?;

    let plane = file.data_plane;
    let lcores = check.that(plane.lcores, "data_plane.lcores", "1–64 CPU numbers, for example [1, 2]", |lcores| {
        (1..=64).contains(&lcores.len())
    })?;
    let limits = |value: Spanned<u32>, key: &str, low: u32, high: u32| {
        check.that(value, key, &format!("{low}–{high}"), |value| (low..=high).contains(value))
    };
    let optional = |value: Option<Spanned<u32>>, key: &str, low: u32, high: u32| {
        value.map(|value| limits(value, key, low, high)).transpose()
    };
    let data_plane = DataPlane {
        lcores,
        ipv6_flows_max: optional(plane.ipv6_flows_max, "data_plane.ipv6_flows_max", 0, *plane.flows_max.get_ref())?,
        flows_max: limits(plane.flows_max, "data_plane.flows_max", 64, 1 << 30)?,
        targets_max: optional(plane.targets_max, "data_plane.targets_max", 1, 65_535)?,
        listeners_max: optional(plane.listeners_max, "data_plane.listeners_max", 1, 65_535)?,
        mbufs: optional(plane.mbufs, "data_plane.mbufs", 1024, 1 << 24)?,
        mtu: plane
            .mtu
            .map(|mtu| check.that(mtu, "data_plane.mtu", "576–9216", |mtu| (576..=9216).contains(mtu)))
            .transpose()?,
        idle_backoff: plane.idle_backoff,
        segment_dir: plane.segment_dir,
        eal_args: plane.eal_args,
    };

    let hairpin = |text: &String| matches!(text.as_str(), "drop" | "next-target");
    let hairpin = |value| check.that(value, "forwarding.hairpin", "drop or next-target", hairpin);
    let prefix =
        |value| check.that(value, "forwarding.sticky_ipv6_prefix", "64 or 128", |bits| matches!(bits, 64 | 128));
    let forwarding = Forwarding {
        hairpin: file.forwarding.hairpin.map(hairpin).transpose()?,
        sticky_ipv6_prefix: file.forwarding.sticky_ipv6_prefix.map(prefix).transpose()?,
    };

    let control_plane = control_plane_flags(&check, &file.control_plane)?;

    if file.port.is_empty() {
        return Err((None, "there is no [[port]]; at least one is needed".into()));
    }
    let mut ports: Vec<Port> = Vec::new();
    for entry in file.port {
        let span = entry.span();
        let port = check.port(&span, entry.into_inner(), &ports)?;
        if ports.iter().any(|other| other.name == port.name) {
            return Err(check.at(&span, &format!("two ports are named \"{}\"; names must differ", port.name)));
        }
        ports.push(port);
    }
    let (state_dir, runtime_dir) = (file.state_dir, file.runtime_dir);
    Ok(Config { name, state_dir, runtime_dir, listen, data_plane, forwarding, control_plane, ports })
}

/// Flags of leat-cp that follow from the rest of the file.
const OWN_FLAGS: [&str; 8] =
    ["supervised", "segment", "store", "listen", "socket", "port_address", "route", "endpoint"];

/// `region = "us-east-2"` becomes `--region us-east-2`, `true` a flag without value, a list the flag again and again.
fn control_plane_flags(
    check: &Checker<'_>,
    keys: &BTreeMap<Spanned<String>, toml::Value>,
) -> Result<Vec<String>, Wrong> {
    let mut flags = Vec::new();
    for (key, value) in keys {
        let (span, key) = (key.span(), key.get_ref());
        let named = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named || OWN_FLAGS.contains(&key.as_str()) {
            let message = format!(
                "control_plane.{key} cannot be set here; the keys are leat-cp's flags (leat-cp --help) without dashes at their beginning and \
                 with _ for -, but for those that follow from the rest of this file"
            );
            return Err(check.at(&span, &message));
        }
        let flag = format!("--{}", key.replace('_', "-"));
        let list = match value {
            toml::Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in list {
            match value {
                toml::Value::Boolean(true) => flags.push(flag.clone()),
                toml::Value::Boolean(false) => {}
                toml::Value::String(text) => flags.extend([flag.clone(), text.clone()]),
                toml::Value::Integer(number) => flags.extend([flag.clone(), number.to_string()]),
                _ => {
                    let message =
                        format!("control_plane.{key} is to be a text, a whole number, true, false, or a list of these");
                    return Err(check.at(&span, &message));
                }
            }
        }
    }
    Ok(flags)
}

struct Checker<'a> {
    text: &'a str,
}

impl Checker<'_> {
    fn at(&self, span: &Range<usize>, message: &str) -> Wrong {
        (Some(line_of(self.text, span)), message.to_owned())
    }

    fn that<T: fmt::Debug>(
        &self,
        value: Spanned<T>,
        key: &str,
        allowed: &str,
        holds: impl Fn(&T) -> bool,
    ) -> Result<T, Wrong> {
        if holds(value.get_ref()) {
            return Ok(value.into_inner());
        }
        Err(self.at(&value.span(), &format!("{key} is {:?}; it must be {allowed}", value.get_ref())))
    }

    fn parsed<T>(
        &self,
        value: &Spanned<String>,
        key: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Wrong> {
        let text = value.get_ref();
        parse(text).ok_or_else(|| self.at(&value.span(), &format!("{key} is {text:?}; it must be {allowed}")))
    }

    /// Reads a port; `others` stand before it.
    fn port(&self, span: &Range<usize>, port: PortFile, others: &[Port]) -> Result<Port, Wrong> {
        // The TAP twin's name, leat-<name>, may have 15 characters.
        let name = self.that(port.name, "port.name", "1–10 of a–z, 0–9 and -", |name| is_name(name, 10))?;
        let dpdk = "a PCI address (0000:03:00.0) or a DPDK vdev (net_af_packet0,iface=eth1)";
        let carries = |name: &String| others.iter().any(|o| o.name == *name && matches!(o.device, Device::Dpdk(_)));
        let device = match (port.device, port.vlan) {
            (Some(device), None) => Device::Dpdk(self.that(device, "port.device", dpdk, |text| !text.is_empty())?),
            (None, Some(vlan)) => Device::Vlan {
                port: self.that(vlan.port, "port.vlan.port", "a port with a device that stands before", carries)?,
                id: self.that(vlan.id, "port.vlan.id", "1–4094", |id| (1..=4094).contains(id))?,
            },
            _ => return Err(self.at(span, &format!("port \"{name}\" needs either a device or a vlan"))),
        };
        let mut addresses = Vec::new();
        for address in &port.addresses {
            let allowed = "an address with its prefix length, for example 10.1.0.2/24 or fd00:1::2/64";
            addresses.push(self.parsed(address, "port.addresses", allowed, prefix)?);
        }
        let mut routes = Vec::new();
        for route in &port.routes {
            let allowed = "default or a network, for example 10.2.0.0/16 or fd00:2::/64";
            let to = self.parsed(&route.to, "port.routes.to", allowed, |text| {
                if text == "default" { Some(text.to_owned()) } else { prefix(text) }
            })?;
            let via: IpAddr =
                self.parsed(&route.via, "port.routes.via", "the gateway's address", |text| text.parse().ok())?;
            if to != "default" && to.contains(':') != via.is_ipv6() {
                let wrong = format!("port.routes.via is {via}; it must be of the kind of {to}");
                return Err(self.at(&route.via.span(), &wrong));
            }
            routes.push((to, via));
        }
        let id = "vpce- and up to 53 of a–z, 0–9 and -";
        let endpoint = port.endpoint.map(|endpoint| self.that(endpoint, "port.endpoint", id, |id| is_endpoint(id)));
        Ok(Port { name, device, addresses, routes, endpoint: endpoint.transpose()? })
    }
}

/// The text, if it is ADDRESS/LENGTH.
fn prefix(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let longest = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
    (length.parse::<u8>().ok()? <= longest).then(|| text.to_owned())
}

fn is_endpoint(id: &str) -> bool {
    id.strip_prefix("vpce-").is_some_and(|rest| is_name(rest, 53))
}

fn is_name(text: &str, length_max: usize) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=length_max).contains(&text.len()) && text.bytes().all(good)
}

/// The line of a place in the text, from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "demo"
state_dir = "/var/lib/leat"
[admin]
listen = "127.0.0.1:9321"
[data_plane]
lcores = [1, 2]
flows_max = 262144
eal_args = []
[[port]]
name = "p0"
device = "net_af_packet0,iface=leatd0"
addresses = ["10.1.0.2/24"]
routes = [{ to = "default", via = "10.1.0.1" }]
"#;

    fn wrong(from: &str, to: &str) -> (Option<usize>, String) {
        assert!(GOOD.contains(from), "{from}");
        parse(&GOOD.replace(from, to)).expect_err(to)
    }

    #[test]
    fn reads_the_example() {
        let config = parse(GOOD).expect("good");
        assert_eq!(config.segment(), Path::new("/dev/shm/leat-demo"));
        assert_eq!(config.store(), Path::new("/var/lib/leat/leat.redb"));
        assert_eq!(config.socket(), Path::new("/run/leat/demo.sock"));
        assert_eq!(config.ports[0].routes, [("default".to_owned(), [10, 1, 0, 1].into())]);
        assert!(!config.data_plane.idle_backoff);
    }

    #[test]
    fn a_vlan_is_a_port_on_anothers_device() {
        let vlan = |port, id| format!("{GOOD}[[port]]\nname = \"v1\"\nvlan = {{ port = \"{port}\", id = {id} }}\n");
        let config = parse(&vlan("p0", 100)).expect("good");
        assert_eq!(config.ports[1].device, Device::Vlan { port: "p0".into(), id: 100 });
        assert!(parse(&vlan("v1", 100)).expect_err("itself").1.contains("port.vlan.port"));
        assert!(parse(&vlan("p0", 4095)).expect_err("too large").1.contains("1–4094"));
    }

    #[test]
    fn errors_name_key_line_and_what_is_allowed() {
        for (from, to, line, key, allowed) in [
            ("\"demo\"", "\"Demo\"", 2, "name is", "a–z"),
            ("127.0.0.1:9321", "nowhere", 5, "admin.listen", "ADDRESS:PORT"),
            ("[1, 2]", "[]", 7, "data_plane.lcores", "1–64"),
            ("262144", "12", 8, "data_plane.flows_max", "64–1073741824"),
            ("name = \"p0\"", "name = \"a_port\"", 11, "port.name", "a–z, 0–9 and -"),
            ("net_af_packet0,iface=leatd0", "", 12, "port.device", "PCI address"),
            (
                "device = \"net_af_packet0,iface=leatd0\"",
                "vlan = { port = \"p9\", id = 1 }",
                12,
                "port.vlan.port",
                "before",
            ),
            ("device = \"net_af_packet0,iface=leatd0\"", "", 10, "port \"p0\"", "device or a vlan"),
            ("10.1.0.2/24", "10.1.0.2", 13, "port.addresses", "10.1.0.2/24"),
            ("10.1.0.2/24", "10.1.0.2/33", 13, "port.addresses", "10.1.0.2/24"),
            ("10.1.0.2/24", "fd00::1/129", 13, "port.addresses", "fd00:1::2/64"),
            ("\"default\"", "\"fd00::/64\"", 14, "port.routes.via", "kind"),
            ("eal_args = []", "ipv6_flows_max = 262145", 9, "data_plane.ipv6_flows_max", "0–262144"),
            ("eal_args = []", "[forwarding]\nhairpin = \"loop\"", 10, "forwarding.hairpin", "next-target"),
            ("eal_args = []", "[control_plane]\nstore = \"x\"", 10, "control_plane.store", "leat-cp --help"),
            ("eal_args = []", "[control_plane]\nregion = 1.5", 10, "control_plane.region", "text"),
            (
                "eal_args = []",
                "[forwarding]\nsticky_ipv6_prefix = 56",
                10,
                "forwarding.sticky_ipv6_prefix",
                "64 or 128",
            ),
            ("addresses =", "endpoint = \"web\"\naddresses =", 13, "port.endpoint", "vpce-"),
            ("\"default\"", "\"everywhere\"", 14, "port.routes.to", "default or"),
            ("\"10.1.0.1\"", "\"gw\"", 14, "port.routes.via", "gateway"),
            ("flows_max", "flow_max", 8, "flow_max", "flows_max"),
            ("262144", "\"many\"", 8, "many", "u32"),
        ] {
            let (at, message) = wrong(from, to);
            assert_eq!(at, Some(line), "{message}");
            assert!(message.contains(key) && message.contains(allowed), "{to}: {message}");
        }
    }

    #[test]
    fn a_port_is_needed_and_names_differ() {
        let no_port = GOOD.split("[[port]]").next().expect("the head");
        assert!(parse(no_port).expect_err("no port").1.contains("[[port]]"));
        let twice = format!("{GOOD}[[port]]\nname = \"p0\"\ndevice = \"0000:03:00.0\"\n");
        assert!(parse(&twice).expect_err("twice").1.contains("two ports"));
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = Config::load(Path::new("/nonexistent/leat.toml")).expect_err("missing").to_string();
        assert!(error.contains("/nonexistent/leat.toml") && error.contains("--config"), "{error}");
    }
}

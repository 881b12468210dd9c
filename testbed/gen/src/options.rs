//! The command line, and profiles that hold a part of it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::faults::Faults;
use crate::frame::Transport;
use crate::generator::{Closing, Directions};
use crate::site::{Addresses, Device, Mac, Ports, Source};

/// Sends flows through a device and verifies every packet that comes back
#[derive(Debug, Parser)]
#[command(name = "leat-gen", version, args_override_self = true, after_long_help = GUIDE)]
pub struct Options {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send for a while, at a rate or as fast as packets come back
    Run(Run),
    /// Find the highest rate without loss, for each frame size (RFC 2544, 26.1)
    Throughput(Throughput),
    /// Measure latency at a rate, or at a share of the highest rate without loss (26.2)
    Latency(Latency),
    /// Measure the share of packets lost at rates from the highest down (26.3)
    Loss(Loss),
    /// Find the longest burst without loss (26.4)
    BackToBack(BackToBack),
    /// Open, use and close connections, and tell how many per second
    Connections(Connect),
    /// Plant faults into a loop of its own and check that each is found and counted
    SelfTest(SelfTest),
}

const GUIDE: &str = "\
The device under test sits between clients and targets:

    leat-gen (clients) ── device ── leat-gen (targets)

Clients send to the service's address; the device forwards to a target of its choice and may show it another source; the
target answers. One port of the generator can play both sides, or one each. Every packet carries the number of its flow, its
place in it and the time; of each that arrives are checked: IP and TCP or UDP checksum (summed anew), payload, length, MAC
address, port, addresses (a flow must keep its target and its source as the target sees it), and order within its flow and
direction. What is lost, reordered, duplicated, corrupted or misrouted is counted.

Everything behind -- goes to DPDK's EAL. Over memif, leat-gen being the server:

    leat-gen throughput --device-mac 02:00:00:00:00:01 --flows 100000 --frame 64 -- \\
        -l 0 --no-pci --in-memory --vdev=net_memif0,role=server,id=0,socket=/run/gen.sock,socket-abstract=no

A device that is memif's client connects when it starts: start leat-gen first, then the device, for each command anew. It waits
(--wait) until the link is up and a first connection is answered.

Over two ports of a NIC, one for each side:

    leat-gen latency --load 0.5 --client-port 0000:03:00.0 --target-port 0000:03:00.1 \\
        --device-mac 0c:42:a1:00:00:10,0c:42:a1:00:00:11 --service 198.18.0.1:80 --targets 198.18.1.1-198.18.1.100 \\
        --target-l4-port 8080 --frame 64,512,1518,imix -- -l 2 -a 0000:03:00.0 -a 0000:03:00.1

Next to it, what testpmd does with the same frames: --device macswap (or io, 5tswap).

A profile is a TOML file with long options as keys, for everything that stays the same on a bench; options on the command
line come after it and win:

    client-port = \"0000:03:00.0\"
    service = \"198.18.0.1:80\"
    flows = 100000

At a rate, what is due for more than 20 us because the generator was late or cannot send so fast is left out, and told in the
note: a figure with much left out says what the generator can do, not the device. A million flows take 64 MB and clients with
enough addresses and ports (--clients, --client-ports), and source ports of the device towards enough --targets.

A trial loses a packet if it does not arrive within 50 ms after sending has ended. A packet that a full queue refuses counts
as sent and lost. Exit status: 0 if all that arrived was right, 1 if not (or on an error). In figures, `leat-gen run` tells
packets per second that arrived while sending.";

/// Ports, addresses and flows; all commands have these.
#[derive(Debug, Clone, Args)]
pub struct Rig {
    /// File of options (TOML)
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// DPDK's name of the port towards clients, such as net_memif0 or 0000:03:00.0 [default: the first]
    #[arg(long, value_name = "NAME")]
    pub client_port: Option<String>,
    /// DPDK's name of the port towards targets [default: the clients' port]
    #[arg(long, value_name = "NAME")]
    pub target_port: Option<String>,
    /// MAC address of the clients (their router) [default: the port's]
    #[arg(long, value_name = "MAC")]
    pub client_mac: Option<Mac>,
    /// MAC address of the targets [default: the port's]
    #[arg(long, value_name = "MAC")]
    pub target_mac: Option<Mac>,
    /// MAC address of the device; with two ports, that towards clients and that towards targets
    #[arg(long, value_name = "MAC[,MAC]", value_delimiter = ',', num_args = 1..=2)]
    pub device_mac: Vec<Mac>,
    /// What the device does with packets
    #[arg(long, value_enum, default_value_t = Device::Nat)]
    pub device: Device,
    /// What clients send to
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 80))]
    pub service: SocketAddrV4,
    /// Clients' addresses: first-last, or a prefix
    #[arg(long, value_name = "RANGE", default_value = "198.19.0.0/16")]
    pub clients: Addresses,
    /// Clients' ports
    #[arg(long, value_name = "FIRST-LAST", default_value = "1024-65535")]
    pub client_ports: Ports,
    /// Targets' addresses: first-last, or a prefix
    #[arg(long, value_name = "RANGE", default_value = "198.18.1.0/24")]
    pub targets: Addresses,
    /// Targets' TCP or UDP port
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub target_l4_port: u16,
    /// What targets may see as a client's address
    #[arg(long, value_enum, default_value_t = Source::Any)]
    pub source: Source,
    /// Transport protocol
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub transport: Transport,
    /// Number of flows, up to 16777216; 64 bytes of memory each
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub flows: u32,
    /// Handshakes at the same time while flows are opened
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub opening: u64,
    /// Who sends data [default: both, with --device nat]
    #[arg(long, value_enum)]
    pub directions: Option<Directions>,
    /// Sizes of frames, 64 to 1518 bytes with FCS, or imix (7 of 64, 4 of 570, 1 of 1518); several are measured one after the other
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', default_values_t = [FrameSize::One(64)])]
    pub frame: Vec<FrameSize>,
    /// Seed of the order of flows, which is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Faults to plant into what arrives: loss=P,reorder=P,corrupt=P,duplicate=P,misroute=P,seed=N
    #[arg(long, value_name = "FAULTS")]
    pub plant: Option<Faults>,
    /// The device's name in figures
    #[arg(long, value_name = "NAME", default_value = "device")]
    pub system: String,
    /// One line of JSON per figure instead of a table
    #[arg(long)]
    pub json: bool,
    /// Seconds to wait for the links, and for the service's first answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub wait: f64,
    /// Arguments of DPDK's EAL
    #[arg(last = true, value_name = "EAL")]
    pub eal: Vec<String>,
}

/// Options of a search.
#[derive(Debug, Clone, Args)]
pub struct SearchOptions {
    /// Packets per second to begin with, such as 14.88M [default: 1.3 times what comes back with 512 packets under way]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub max_rate: Option<f64>,
    /// The search ends when it knows the rate to this share
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub resolution: f64,
    /// Seconds of each trial
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub seconds: f64,
    /// A rate passes if one of so many trials loses nothing
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub attempts: u32,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// Packets per second, such as 2.5M
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Without a rate: packets under way at the most
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub window: u64,
    /// How long to send
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub seconds: f64,
    /// How much to send, instead of how long
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub packets: Option<u64>,
}

/// Options of `throughput`.
#[derive(Debug, Clone, Args)]
pub struct Throughput {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// How to search.
    #[command(flatten)]
    pub search: SearchOptions,
}

/// Options of `latency`.
#[derive(Debug, Clone, Args)]
pub struct Latency {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// How to search.
    #[command(flatten)]
    pub search: SearchOptions,
    /// Packets per second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<f64>,
    /// Without a rate: share of the highest rate without loss, which is searched for first
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub load: f64,
}

/// Options of `loss`.
#[derive(Debug, Clone, Args)]
pub struct Loss {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// How to search.
    #[command(flatten)]
    pub search: SearchOptions,
    /// Number of rates
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: u32,
}

/// Options of `back-to-back`.
#[derive(Debug, Clone, Args)]
pub struct BackToBack {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// How to search.
    #[command(flatten)]
    pub search: SearchOptions,
    /// The longest burst to try
    #[arg(long, value_name = "PACKETS", default_value_t = 10_000_000)]
    pub max_burst: u64,
}

/// Options of `connections`.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// What all commands have.
    #[command(flatten)]
    pub rig: Rig,
    /// Connections per second, such as 200k
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Without a rate: connections at the same time
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub window: u64,
    /// How connections end
    #[arg(long, value_enum, default_value_t = Closing::Fin)]
    pub close: Closing,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub seconds: f64,
}

/// Options of `self-test`.
#[derive(Debug, Clone, Args)]
pub struct SelfTest {
    /// Packets to send
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub packets: u64,
    /// Flows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub flows: u32,
    /// Faults to plant
    #[arg(
        long,
        value_name = "FAULTS",
        default_value = "loss=0.0005,reorder=0.0005,corrupt=0.0005,duplicate=0.0005,misroute=0.0005,seed=1"
    )]
    pub plant: Faults,
    /// Arguments of EAL that make a port which returns what it is sent [default: a ring, without huge pages]
    #[arg(last = true, value_name = "EAL")]
    pub eal: Vec<String>,
}

/// A frame's size, or a mix of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSize {
    /// Bytes, FCS included.
    One(usize),
    /// 7 of 64, 4 of 570, 1 of 1518.
    Imix,
}

impl FrameSize {
    /// The sizes, as [`crate::generator::Traffic`] has them.
    pub fn sizes(self) -> Vec<usize> {
        match self {
            Self::One(bytes) => vec![bytes],
            Self::Imix => vec![64, 570, 64, 570, 64, 1518, 64, 570, 64, 570, 64, 64],
        }
    }
}

impl std::fmt::Display for FrameSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(bytes) => bytes.fmt(f),
            Self::Imix => f.write_str("imix"),
        }
    }
}

impl std::str::FromStr for FrameSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "imix" {
            return Ok(Self::Imix);
        }
        let bytes = text.parse().ok().filter(|bytes| crate::frame::SIZES.contains(bytes));
        Ok(Self::One(bytes.context("frames are 64 to 1518 bytes long, FCS included, or imix")?))
    }
}

/// A number with k, M or G behind it.
fn rate(text: &str) -> Result<f64> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * factor).filter(|rate| *rate > 0.0 && rate.is_finite());
    rate.context("a rate is a number above 0, such as 500000, 500k or 0.5M")
}

/// The command line with the options of the profile it names put in front of its own.
///
/// # Errors
/// If the file cannot be read, or has something else in it than numbers, strings, booleans and lists of them.
pub fn with_profile(arguments: Vec<String>) -> Result<Vec<String>> {
    let own = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let path = arguments[..own].iter().enumerate().find_map(|(at, argument)| {
        let rest = argument.strip_prefix("--profile")?;
        if rest.is_empty() { arguments.get(at + 1).cloned() } else { rest.strip_prefix('=').map(str::to_owned) }
    });
    let Some(path) = path else { return Ok(arguments) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read the profile {path}"))?;
    let table: toml::Table = text.parse().with_context(|| format!("{path} is not TOML"))?;
    let mut complete = arguments;
    let mut at = complete.len().min(2);
    for (key, value) in table {
        let value = match value {
            toml::Value::Boolean(true) => format!("--{key}"),
            toml::Value::Boolean(false) => continue,
            toml::Value::Array(values) => {
                let values = values.iter().map(scalar).collect::<Result<Vec<_>>>()?;
                format!("--{key}={}", values.join(","))
            }
            value => format!("--{key}={}", scalar(&value)?),
        };
        complete.insert(at, value);
        at += 1;
    }
    Ok(complete)
}

fn scalar(value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        other => bail!("a profile has numbers, strings, booleans and lists of them, not {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_profile() {
        let path = std::env::temp_dir().join(format!("leat-gen-profile-{}.toml", std::process::id()));
        std::fs::write(&path, "flows = 7\nframe = [64, \"imix\"]\njson = true\nsystem = \"a b\"\n").unwrap();
        let line = ["leat-gen", "run", "--flows", "9", "--profile", path.to_str().unwrap(), "--", "--no-pci"];
        let options = Options::try_parse_from(with_profile(line.map(str::to_owned).to_vec()).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let Command::Run(run) = options.command else { panic!("another command") };
        assert_eq!((run.rig.flows, run.rig.json, run.rig.system.as_str()), (9, true, "a b"));
        assert_eq!(run.rig.frame, [FrameSize::One(64), FrameSize::Imix]);
        assert_eq!(run.rig.eal, ["--no-pci"]);
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(rate("2.5M").unwrap(), 2.5e6);
        assert_eq!(rate("300").unwrap(), 300.0);
        assert!(rate("0").is_err() && rate("M").is_err() && rate("-1k").is_err());
    }
}

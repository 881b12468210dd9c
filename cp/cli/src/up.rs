//! `leat up`: both processes of one box, started, watched and stopped together.

mod backoff;
mod checks;
mod supervise;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::Sender;
use leat_model::rest::Status;

use crate::client::{Client, Credentials, Endpoint};
use crate::config::{Config, Device};
use supervise::{Event, Program, say, supervise};

/// How long one status call may take while waiting for readiness.
const STATUS_MAX: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(100);
/// While not ready, say so this often.
const REMIND_EVERY: Duration = Duration::from_secs(10);

const EXAMPLE: &str = r#"Example of leat.toml:
  name = "demo"                       # names the segment; 1-16 of a-z, 0-9 and -
  state_dir = "/var/lib/leat"         # the store: <state_dir>/leat.redb
  runtime_dir = "/run/leat"           # the API's Unix socket: <runtime_dir>/<name>.sock
  [admin]
  listen = "127.0.0.1:9321"
  [data_plane]
  lcores = [1, 2]                     # CPUs, one polling lcore each
  flows_max = 262144                  # per lcore; of these for IPv6: ipv6_flows_max (a quarter unless given)
  idle_backoff = false
  segment_dir = "/dev/shm"
  eal_args = []                       # for DPDK, such as ["--no-huge", "-m", "512"]
  [[port]]
  name = "p0"                         # its twin in Linux: leat-p0
  device = "net_af_packet0,iface=eth1"
  addresses = ["10.1.0.2/24", "2001:db8:1::2/64"]
  routes = [{ to = "default", via = "10.1.0.1" }, { to = "default", via = "2001:db8:1::1" }]
  endpoint = "vpce-08d2bf15fac5001c9" # only if its clients come through an endpoint: targets never see their addresses
  [[port]]
  name = "v100"                       # a VLAN on p0's device: a port of its own
  vlan = { port = "p0", id = 100 }
  addresses = ["10.3.0.2/24"]
  [forwarding]
  hairpin = "drop"                    # or "next-target": for a client that is its own target, with its address preserved
  sticky_ipv6_prefix = 128            # or 64: bits of IPv6 addresses that stickiness looks at
  [control_plane]                     # any other flag of leat-cp, with _ for -; a list repeats it
  region = "on-prem-1"

Signals: SIGTERM, SIGINT and SIGHUP stop leat-cp, then leat-dp, and remove the segment. A process that dies is started
again; when one cannot start at all, leat up ends with exit code 1."#;

/// Options of `leat up`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct UpArgs {
    /// What to start
    #[arg(long, value_name = "FILE", default_value = "leat.toml")]
    config: PathBuf,
    /// The data plane's program [default: leat-dp beside leat]
    #[arg(long, value_name = "PATH")]
    dp_binary: Option<PathBuf>,
    /// The control plane's program [default: leat-cp beside leat]
    #[arg(long, value_name = "PATH")]
    cp_binary: Option<PathBuf>,
    /// Start without the flows that an earlier data plane left in the segment
    #[arg(long)]
    discard_flows: bool,
}

/// Runs until a signal comes. `Err` says why nothing could be started, or what went wrong at the end.
pub fn up(args: &UpArgs) -> Result<(), String> {
    let config = Config::load(&args.config).map_err(|error| error.to_string())?;
    let beside = |name: &str| std::env::current_exe().map(|own| own.with_file_name(name));
    let binary = |given: &Option<PathBuf>, name: &str| match given {
        Some(path) => Ok(path.clone()),
        None => beside(name).map_err(|error| format!("cannot tell where leat is: {error}")),
    };
    let (dp, cp) = (binary(&args.dp_binary, "leat-dp")?, binary(&args.cp_binary, "leat-cp")?);

    let _alone = checks::check(&config, &dp, &cp).map_err(|errors| errors.join("\nerror: "))?;

    let (sender, events) = crossbeam_channel::unbounded();
    let stop = sender.clone();
    ctrlc::set_handler(move || drop(stop.send(Event::Stop)))
        .map_err(|error| format!("cannot catch signals: {error}"))?;
    announce_readiness(&config, sender.clone()).map_err(|error| format!("cannot start a thread: {error}"))?;
    // Only the first start: one after a crash keeps the flows.
    let discard = args.discard_flows.then(|| "--discard-flows".to_owned());
    let dp_arguments = dp_arguments(&config);
    let programs = vec![
        Program { name: "leat-dp", path: dp, arguments: dp_arguments, first_arguments: discard.into_iter().collect() },
        Program { name: "leat-cp", path: cp, arguments: cp_arguments(&config), first_arguments: Vec::new() },
    ];
    let outcome = supervise(programs, &sender, &events);
    // Only what our own data plane has left in order: the file may hold flows of one that died, or belong to another.
    if outcome.clean && outcome.first_stopped {
        remove_segment(&config);
    }
    if let Some(name) = outcome.gave_up {
        return Err(format!("{name} cannot start; what it said last is above"));
    }
    if !outcome.clean {
        let segment = config.segment();
        return Err(format!("the end was not clean; the segment {} stays, with its flows", segment.display()));
    }
    Ok(())
}

fn remove_segment(config: &Config) {
    let segment = config.segment();
    match std::fs::remove_file(&segment) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            say(&format!("cannot remove {}: {error}", segment.display()));
        }
        _ => {}
    }
}

/// Says once, from a thread of its own, that all is ready.
fn announce_readiness(config: &Config, sender: Sender<Event>) -> io::Result<()> {
    // There whoever has started leat-cp needs no token.
    let endpoint = Endpoint::Unix(config.socket());
    let client = Client::new(endpoint.clone(), Credentials::default(), STATUS_MAX)?;
    let watch = move || {
        let mut remind_at = Instant::now() + REMIND_EVERY;
        loop {
            let status = client.get::<Status>("/v1/status");
            if let Ok(status) = &status
                && status.data_plane.attached
            {
                let _ = sender.send(Event::Ready(ready(&endpoint, status)));
                return;
            }
            if Instant::now() >= remind_at {
                remind_at = Instant::now() + REMIND_EVERY;
                let what = match status {
                    Ok(_) => "the control plane is up, the data plane is not attached yet".to_owned(),
                    Err(error) => error.to_string(),
                };
                if sender.send(Event::Say(format!("not ready: {what}"))).is_err() {
                    return;
                }
            }
            thread::sleep(ASK_EVERY);
        }
    };
    thread::Builder::new().name("readiness".into()).spawn(watch).map(drop)
}

fn ready(endpoint: &Endpoint, status: &Status) -> String {
    let ports = status.data_plane.ports.iter();
    let ports: Vec<String> = ports.map(|port| format!("{} (in Linux {})", port.name, port.tap)).collect();
    let lcores = status.data_plane.lcores.len();
    let s = if lcores == 1 { "" } else { "s" };
    format!("ready: API at {endpoint}, {lcores} lcore{s}, ports {}", ports.join(", "))
}

/// `--supervised`: the process ends when this one does, however that happens.
fn dp_arguments(config: &Config) -> Vec<String> {
    let plane = &config.data_plane;
    let mut arguments = Arguments::default();
    arguments.flag("--supervised");
    arguments.option("--segment", config.segment().display());
    for port in &config.ports {
        match &port.device {
            Device::Dpdk(device) => arguments.option("--port", format_args!("{}={device}", port.name)),
            Device::Vlan { port: parent, id } => {
                arguments.option("--vlan", format_args!("{}={parent}:{id}", port.name))
            }
        }
    }
    let lcores: Vec<String> = plane.lcores.iter().map(u32::to_string).collect();
    arguments.option("--lcores", lcores.join(","));
    arguments.option("--flows-max", plane.flows_max);
    plane.ipv6_flows_max.iter().for_each(|value| arguments.option("--ipv6-flows-max", value));
    plane.targets_max.iter().for_each(|value| arguments.option("--targets-max", value));
    plane.listeners_max.iter().for_each(|value| arguments.option("--listeners-max", value));
    plane.mbufs.iter().for_each(|value| arguments.option("--mbufs", value));
    plane.mtu.iter().for_each(|value| arguments.option("--mtu", value));
    if plane.idle_backoff {
        arguments.flag("--idle-backoff");
    }
    if !plane.eal_args.is_empty() {
        arguments.flag("--");
        plane.eal_args.iter().for_each(|argument| arguments.flag(argument));
    }
    arguments.0
}

fn cp_arguments(config: &Config) -> Vec<String> {
    let mut arguments = Arguments::default();
    arguments.flag("--supervised");
    arguments.option("--segment", config.segment().display());
    arguments.option("--store", config.store().display());
    arguments.option("--listen", config.listen);
    arguments.option("--socket", config.socket().display());
    for port in &config.ports {
        for address in &port.addresses {
            arguments.option("--port-address", format_args!("{}={address}", port.name));
        }
        for (to, via) in &port.routes {
            arguments.option("--route", format_args!("{}={to},{via}", port.name));
        }
        if let Some(id) = &port.endpoint {
            arguments.option("--endpoint", format_args!("{}={id}", port.name));
        }
    }
    config.forwarding.hairpin.iter().for_each(|value| arguments.option("--hairpin", value));
    config.forwarding.sticky_ipv6_prefix.iter().for_each(|value| arguments.option("--sticky-ipv6-prefix", value));
    arguments.0.extend(config.control_plane.iter().cloned());
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn option(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(name.to_owned());
        self.0.push(value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_becomes_flags() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leat.toml");
        let text = "name = \"demo\"\n[data_plane]\nlcores = [1, 1]\nidle_backoff = true\nmtu = 9000\neal_args = [\"--no-huge\"]\n\
                    ipv6_flows_max = 1000\n[forwarding]\nhairpin = \"next-target\"\nsticky_ipv6_prefix = 64\n[[port]]\nname = \"p0\"\ndevice = \"net_af_packet0,iface=x\"\naddresses = [\"10.1.0.2/24\", \"fd00::2/64\"]\n\
                    endpoint = \"vpce-1\"\nroutes = [{ to = \"default\", via = \"10.1.0.1\" }, { to = \"default\", via = \"fd00::1\" }]\n\
                    [[port]]\nname = \"v1\"\nvlan = { port = \"p0\", id = 100 }\n\
                    [control_plane]\nregion = \"us-east-2\"\nwithout_data_plane = true\nquota = [\"a=1\", \"b=2\"]\n";
        std::fs::write(&file, text).expect("written");
        let config = Config::load(&file).expect("good");
        assert_eq!(
            dp_arguments(&config).join(" "),
            "--supervised --segment /dev/shm/leat-demo --port p0=net_af_packet0,iface=x --vlan v1=p0:100 --lcores 1,1 --flows-max 262144 \
             --ipv6-flows-max 1000 --mtu 9000 --idle-backoff -- --no-huge"
        );
        assert_eq!(
            cp_arguments(&config).join(" "),
            "--supervised --segment /dev/shm/leat-demo --store /var/lib/leat/leat.redb --listen 127.0.0.1:9321 \
             --socket /run/leat/demo.sock --port-address p0=10.1.0.2/24 --port-address p0=fd00::2/64 --route p0=default,10.1.0.1 \
             --route p0=default,fd00::1 --endpoint p0=vpce-1 --hairpin next-target --sticky-ipv6-prefix 64 \
             --quota a=1 --quota b=2 --region us-east-2 --without-data-plane"
        );
    }
}

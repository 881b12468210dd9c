//! The systems that are compared, each with clients and targets of its own in namespaces of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use leat_testbed::{
    Appliance, ApplianceOptions, Namespace, P0_ADDRESS, P0_DEVICE, P1_ADDRESS, P1_DEVICE, Process, Run, Topology, VIP,
    nft, target_address, veth, wait_for,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cpu::{self, Cpus};
use super::load::Server;

/// Targets of each system.
const TARGETS: u8 = 4;
/// Where clients connect, and where targets listen.
const PORT: u16 = 80;
/// Flow entries of Leat: closed connections stay for a minute.
const FLOWS_MAX: u32 = 1 << 19;
const READY: Duration = Duration::from_secs(20);

/// What stands between clients and targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Nothing: clients and targets are on one bridge
    Direct,
    /// A kernel that routes, and has no NAT
    Routing,
    /// A kernel with NAT of both addresses
    Nftables,
    /// HAProxy, in TCP mode
    Haproxy,
    /// nginx, module stream
    Nginx,
    /// Leat; memif carries the packets to a relay, which stands for NICs
    Leat,
    /// Leat on sockets of the kernel
    LeatAfPacket,
}

impl System {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 7] =
        [Self::Direct, Self::Routing, Self::Nftables, Self::Haproxy, Self::Nginx, Self::Leat, Self::LeatAfPacket];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Routing => "routing",
            Self::Nftables => "nftables",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Leat | Self::LeatAfPacket => "leat",
        }
    }
}

/// A running system with its clients' namespace and its targets.
pub struct Contestant {
    /// Which one.
    pub system: System,
    /// Where the clients are.
    pub clients: Namespace,
    /// Where they connect, in turn.
    pub to: Vec<SocketAddrV4>,
    /// The proxy.
    pub proxy: Option<Process>,
    /// Leat.
    pub appliance: Option<Appliance>,
    relay: Option<Process>,
    servers: Vec<Server>,
    /// Last: dropped when everything that runs in it is.
    run: Run,
}

impl Contestant {
    /// Brings it up. A Leat is paused then. `file_prefix` is the name of the directory that the relay's EAL makes and leaves.
    pub fn start(system: System, cpus: Cpus, file_prefix: &str) -> Result<Self> {
        let run = Run::start_unique()?;
        let (topology, clients) = if system == System::Direct {
            let (clients, targets) = one_bridge(&run)?;
            (None, (clients, targets))
        } else {
            let topology = Topology::create(&run, TARGETS)?;
            let namespaces = (topology.cli.clone(), topology.targets.clone());
            (Some(topology), namespaces)
        };
        let (clients, targets) = clients;
        for namespace in targets.iter().chain([&clients]) {
            many_connections(namespace)?;
        }
        let addresses: Vec<_> = (1..=TARGETS).map(|number| SocketAddrV4::new(target_address(number), PORT)).collect();
        let servers = targets.iter().zip(&addresses).map(|(target, address)| Server::start(target, *address));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let mut it = Self {
            system,
            clients,
            to: vec![SocketAddrV4::new(VIP, PORT)],
            proxy: None,
            appliance: None,
            relay: None,
            servers,
            run,
        };
        match (system, &topology) {
            (System::Direct, _) | (_, None) => it.to = addresses,
            (System::Routing, Some(topology)) => {
                kernel_box(topology)?;
                it.clients.ip(&["route", "add", "default", "via", &P0_ADDRESS.to_string()])?;
                it.to = addresses;
            }
            (System::Nftables, Some(topology)) => {
                kernel_box(topology)?;
                nft(&topology.lb, &nat(&addresses))?;
                // Closed connections would fill the kernel's table.
                topology.lb.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "5")?;
            }
            (System::Haproxy, Some(topology)) => {
                kernel_box(topology)?;
                let file = it.write("haproxy.cfg", &haproxy_conf(&addresses))?;
                let mut command = topology.lb.command("haproxy");
                command.arg("-db").arg("-f").arg(file);
                it.proxy = Some(Process::spawn(&it.run, "haproxy", &mut command)?);
            }
            (System::Nginx, Some(topology)) => {
                kernel_box(topology)?;
                let file = it.write("nginx.conf", &nginx_conf(&addresses))?;
                let mut command = topology.lb.command("nginx");
                command.args(["-e", "stderr", "-p"]).arg(it.run.dir()).arg("-c").arg(file);
                it.proxy = Some(Process::spawn(&it.run, "nginx", &mut command)?);
            }
            (System::Leat | System::LeatAfPacket, Some(topology)) => it.start_leat(topology, cpus, file_prefix)?,
        }
        it.wait_answer()?;
        it.pause(true);
        Ok(it)
    }

    fn write(&self, name: &str, text: &str) -> Result<std::path::PathBuf> {
        let path = self.run.dir().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn start_leat(&mut self, topology: &Topology, cpus: Cpus, file_prefix: &str) -> Result<()> {
        let mut options = ApplianceOptions {
            lcores: vec![cpus.lcore],
            flows_max: FLOWS_MAX,
            idle_backoff: false,
            ..ApplianceOptions::default()
        };
        if self.system == System::Leat {
            let socket = self.run.memory_dir().join("relay");
            let memif = |number: u8, role: &str| {
                format!("net_memif{number},role={role},id={number},socket={},socket-abstract=no", socket.display())
            };
            let mut relay =
                start_relay(&self.run, topology, cpus.shared, file_prefix, [0, 1].map(|n| memif(n, "server")))?;
            // A client that comes before the server knows both memifs is turned away.
            relay.wait_log("io packet forwarding", READY)?;
            self.relay = Some(relay);
            options.devices = Some([0, 1].map(|number| memif(number, "client")));
        }
        // An lcore's CPU must be one that the process may use. Everything but the lcore then moves to the shared one.
        cpu::pin(&[cpus.shared, cpus.lcore])?;
        let appliance = Appliance::start(&self.run, topology, &options);
        cpu::pin(&[cpus.shared])?;
        let appliance = appliance?;
        for pid in [appliance.process.pid(), appliance.control_plane_pid()?, appliance.data_plane_pid()?] {
            cpu::gather(pid, cpus.shared)?;
        }
        let targets: Vec<Ipv4Addr> = (1..=TARGETS).map(target_address).collect();
        appliance.create_load_balancer("lb", VIP)?;
        let attributes = json!({"preserve_client_ip.enabled": "false"});
        appliance.create_target_group("web", "TCP", PORT, PORT, &attributes)?;
        appliance.register("web", &targets)?;
        appliance.create_listener("lb", "TCP", PORT, "web")?;
        appliance.wait_healthy("web", &targets)?;
        self.appliance = Some(appliance);
        Ok(())
    }

    /// Waits until a client can connect.
    fn wait_answer(&self) -> Result<()> {
        let to = self.to[0];
        let connected = self.clients.enter(|| {
            wait_for(&format!("{to} to answer"), READY, || {
                TcpStream::connect_timeout(&to.into(), Duration::from_secs(1)).ok().map(drop)
            })
        });
        connected?.with_context(|| self.proxy.as_ref().map(Process::log_text).unwrap_or_default())
    }

    /// Stops the processes that poll, while others are measured, or lets them go on.
    pub fn pause(&self, pause: bool) {
        let Some(appliance) = &self.appliance else { return };
        let appliance_pids =
            [Some(appliance.process.pid()), appliance.control_plane_pid().ok(), appliance.data_plane_pid().ok()];
        let pids = appliance_pids.into_iter().flatten().chain(self.relay.as_ref().map(Process::pid));
        let signal = if pause { Signal::STOP } else { Signal::CONT };
        for pid in pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // One that has ended is found when it is asked for something.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it. For Leat, every packet must be accounted for.
    pub fn finish(mut self) -> Result<()> {
        self.pause(false);
        if let Some(appliance) = &mut self.appliance {
            appliance.check_conservation()?;
            let status = appliance.stop()?;
            anyhow::ensure!(status.success(), "leat up ended with {status}: {}", appliance.process.log_text().trim());
        }
        self.run.done();
        Ok(())
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // What is stopped does not end.
        self.pause(false);
        self.servers.clear();
    }
}

/// Clients and targets on one bridge, the clients in the targets' network.
fn one_bridge(run: &Run) -> Result<(Namespace, Vec<Namespace>)> {
    let switch = Namespace::create(run, "sw")?;
    switch.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
    switch.ip(&["link", "set", "br0", "up"])?;
    let host = |role: &str, address: Ipv4Addr| -> Result<Namespace> {
        let namespace = Namespace::create(run, role)?;
        veth((&namespace, "eth0"), (&switch, role))?;
        switch.ip(&["link", "set", role, "master", "br0"])?;
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        Ok(namespace)
    };
    let targets = (1..=TARGETS).map(|number| host(&format!("t{number}"), target_address(number)));
    let targets = targets.collect::<Result<Vec<_>>>()?;
    Ok((host("cli", Ipv4Addr::new(10, 2, 0, 100))?, targets))
}

/// Lets the kernel of a namespace have all ports, and take one again whose connection was closed a second ago.
fn many_connections(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    namespace.sysctl("net/ipv4/tcp_tw_reuse", "1")
}

/// Makes the namespace between clients and targets an ordinary host that routes and has the balancer's address.
fn kernel_box(topology: &Topology) -> Result<()> {
    let lb = &topology.lb;
    many_connections(lb)?;
    for (device, address) in [(P0_DEVICE, P0_ADDRESS), (P1_DEVICE, P1_ADDRESS)] {
        lb.sysctl(&format!("net/ipv4/conf/{device}/arp_ignore"), "0")?;
        lb.ip(&["address", "add", &format!("{address}/24"), "dev", device])?;
    }
    lb.ip(&["address", "add", &format!("{VIP}/32"), "dev", P0_DEVICE])?;
    lb.sysctl("net/ipv4/ip_forward", "1")
}

/// Full NAT: a target at random, and the balancer's address as the source.
fn nat(targets: &[SocketAddrV4]) -> String {
    let choices: Vec<_> = targets.iter().enumerate().map(|(number, it)| format!("{number} : {}", it.ip())).collect();
    format!(
        "table ip balance {{
            chain to_target {{
                type nat hook prerouting priority dstnat;
                ip daddr {VIP} tcp dport {PORT} dnat to numgen random mod {} map {{ {} }}
            }}
            chain from_balancer {{
                type nat hook postrouting priority srcnat;
                oifname {P1_DEVICE} snat to {P1_ADDRESS}
            }}
        }}\n",
        choices.len(),
        choices.join(", ")
    )
}

fn haproxy_conf(targets: &[SocketAddrV4]) -> String {
    let servers: String =
        (1..).zip(targets).map(|(number, target): (u8, _)| format!("    server t{number} {target}\n")).collect();
    format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {VIP}:{PORT}
    default_backend targets
backend targets
    balance roundrobin
{servers}"
    )
}

fn nginx_conf(targets: &[SocketAddrV4]) -> String {
    let servers: String = targets.iter().map(|target| format!("        server {target};\n")).collect();
    // Where Debian's package has it; other builds have the module in the program.
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    let load = if module.exists() { format!("load_module {};\n", module.display()) } else { String::new() };
    format!(
        "{load}daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 8192; }}
stream {{
    upstream targets {{
{servers}    }}
    server {{
        listen {VIP}:{PORT} backlog=4096;
        proxy_pass targets;
    }}
}}
"
    )
}

/// Starts testpmd, which carries frames between Leat's two memifs and the two interfaces, when nothing else wants its CPU.
fn start_relay(run: &Run, topology: &Topology, cpu: usize, file_prefix: &str, memifs: [String; 2]) -> Result<Process> {
    let mut command = topology.lb.command("chrt");
    // Each line of its log as it is written, for whoever waits for one.
    command.args(["--idle", "0", "stdbuf", "-oL", "dpdk-testpmd"]);
    command.arg(format!("--lcores=0@{cpu},1@{cpu}")).args([
        "--main-lcore=0",
        "--no-pci",
        "--no-telemetry",
        "--no-huge",
    ]);
    command.args(["--no-shconf", "-m", "160"]).arg(format!("--file-prefix={file_prefix}"));
    // Ports that follow each other in EAL's numbering are a pair.
    for (memif, (number, device)) in memifs.iter().zip([(0, P0_DEVICE), (1, P1_DEVICE)]) {
        command.arg(format!("--vdev={memif}")).arg(format!("--vdev=net_af_packet{number},iface={device}"));
    }
    command.args(["--", "--forward-mode=io", "--auto-start", "--nb-cores=1", "--burst=32", "--total-num-mbufs=16383"]);
    command.args(["--no-mlockall", "--no-flush-rx", "--disable-link-check", "--stats-period=86400"]);
    Process::spawn(run, "relay", &mut command)
}

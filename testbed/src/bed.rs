//! The arrangement most tests want: four targets, three listeners, everything healthy.

use crate::appliance::{Appliance, ApplianceOptions};
use crate::link::Impairment;
use crate::namespace::Namespace;
use crate::peers::{TARGET_ECHO_PORT, TARGET_HTTP_PORT, TARGET_STREAM_PORT, Target};
use crate::process::Process;
use crate::programs::{own_program, program};
use crate::run::Run;
use crate::topology::Topology;
use crate::wait_for;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The address of the load balancer's node.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// The TCP listener in front of the web servers (group `web`).
pub const HTTP_PORT: u16 = 80;
/// The UDP listener in front of the echo servers (group `echo`).
pub const ECHO_PORT: u16 = 7;
/// The TCP listener in front of the transfer servers (group `stream`).
pub const STREAM_PORT: u16 = 9100;

/// How a [`Bed`] is made.
#[derive(Debug, Clone, Default)]
pub struct BedOptions {
    /// How the appliance is configured.
    pub appliance: ApplianceOptions,
    /// Whether the TCP groups keep the client's address. UDP always does.
    pub preserve_client_ip: bool,
    /// What both links of the appliance do to frames; nothing unless given.
    pub impairment: Option<Impairment>,
}

/// A running appliance between clients and four targets: load balancer `lb` at [`VIP`], groups `web`, `echo` and `stream`.
///
/// End a test with [`Bed::finish`]: it checks the counters and that nothing stays behind.
#[derive(Debug)]
pub struct Bed {
    /// The appliance.
    pub appliance: Appliance,
    /// The targets.
    pub targets: Vec<Target>,
    /// The namespaces.
    pub topology: Topology,
    /// The run. Last: dropped when everything that runs in it is.
    pub run: Run,
}

impl Bed {
    /// Brings everything up and waits until all targets are healthy.
    ///
    /// # Errors
    /// When any part does not come up.
    pub fn start(options: &BedOptions) -> Result<Bed> {
        Bed::start_in(Run::start_unique()?, options)
    }

    /// Like [`Bed::start`], in a run that was started already.
    ///
    /// # Errors
    /// When any part does not come up.
    pub fn start_in(run: Run, options: &BedOptions) -> Result<Bed> {
        let topology = Topology::create_with(&run, 4, options.impairment.as_ref())?;
        if options.appliance.ipv6 {
            topology.enable_ipv6()?;
        }
        let targets = Target::start_all(&run, &topology)?;
        let appliance = Appliance::start(&run, &topology, &options.appliance)?;
        let bed = Bed { appliance, targets, topology, run };
        bed.configure(options)?;
        Ok(bed)
    }

    fn configure(&self, options: &BedOptions) -> Result<()> {
        let appliance = &self.appliance;
        let preserve = json!({"preserve_client_ip.enabled": options.preserve_client_ip.to_string()});
        appliance.create_load_balancer("lb", VIP)?;
        appliance.create_target_group("web", "TCP", TARGET_HTTP_PORT, TARGET_HTTP_PORT, &preserve)?;
        appliance.create_target_group("echo", "UDP", TARGET_ECHO_PORT, TARGET_STREAM_PORT, &json!({}))?;
        appliance.create_target_group("stream", "TCP", TARGET_STREAM_PORT, TARGET_STREAM_PORT, &preserve)?;
        let addresses = self.addresses();
        for group in ["web", "echo", "stream"] {
            appliance.register(group, &addresses)?;
        }
        appliance.create_listener("lb", "TCP", HTTP_PORT, "web")?;
        appliance.create_listener("lb", "UDP", ECHO_PORT, "echo")?;
        appliance.create_listener("lb", "TCP", STREAM_PORT, "stream")?;
        for group in ["web", "echo", "stream"] {
            appliance.wait_healthy(group, &addresses)?;
        }
        // Targets may be healthy a moment earlier.
        wait_for("the load balancer to be active", Duration::from_secs(30), || {
            (appliance.rest.get("/v1/load-balancers/lb").ok()?["state"]["code"] == "active").then_some(())
        })
    }

    /// Makes the TCP group `group` of these targets, checked at `target_port`, and a listener in front of it, and waits until all
    /// of them are healthy.
    ///
    /// # Errors
    /// What the API says, or when a target does not become healthy.
    pub fn serve(
        &self,
        port: u16,
        group: &str,
        target_port: u16,
        targets: &[Ipv4Addr],
        attributes: &Value,
    ) -> Result<()> {
        self.appliance.create_target_group(group, "TCP", target_port, target_port, attributes)?;
        self.appliance.register(group, targets)?;
        self.appliance.create_listener("lb", "TCP", port, group)?;
        self.appliance.wait_healthy(group, targets)
    }

    /// The targets' addresses.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.targets.iter().map(|target| target.address).collect()
    }

    /// The clients' namespace.
    pub fn cli(&self) -> &Namespace {
        &self.topology.cli
    }

    /// Starts `connections` long transfers from the clients' namespace and waits until all are connected.
    ///
    /// # Errors
    /// When they do not connect.
    pub fn start_transfers(&self, name: &str, connections: usize) -> Result<Process> {
        self.start_transfers_to(name, SocketAddrV4::new(VIP, STREAM_PORT), connections)
    }

    /// Like [`Bed::start_transfers`], to another place than [`VIP`].
    ///
    /// # Errors
    /// When they do not connect.
    pub fn start_transfers_to(&self, name: &str, to: SocketAddrV4, connections: usize) -> Result<Process> {
        let mut command = self.cli().command(own_program("leat-transfer")?);
        command.args(["--to", &to.to_string()]);
        command.args(["--connections", &connections.to_string()]);
        let mut transfers = Process::spawn(&self.run, &format!("transfer-{name}"), &mut command)?;
        transfers.wait_log(&format!("connected {connections}\n"), Duration::from_secs(60))?;
        Ok(transfers)
    }

    /// Lets all transfers finish, demands that each did, and returns the report of leat-transfer.
    ///
    /// # Errors
    /// When one failed; the message tells why.
    pub fn finish_transfers(&self, mut transfers: Process) -> Result<Value> {
        transfers.signal(rustix::process::Signal::TERM)?;
        transfers.wait_exit(Duration::from_secs(60))?;
        let log = transfers.log_text();
        let line = log.lines().last().context("leat-transfer wrote nothing")?;
        let report: Value = serde_json::from_str(line).with_context(|| format!("leat-transfer ended with: {line}"))?;
        ensure!(report["finished"] == report["connections"], "transfers failed: {report}");
        Ok(report)
    }

    /// Checks that every packet is accounted for, stops everything, and checks that nothing is left.
    ///
    /// # Errors
    /// When a check fails.
    pub fn finish(mut self) -> Result<()> {
        self.appliance.check_conservation()?;
        let status = self.appliance.stop()?;
        ensure!(status.success(), "leat up ended with {status}: {}", self.appliance.process.log_text().trim());
        let left: Vec<String> = std::fs::read_dir(self.run.memory_dir())?
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .filter(|path| !path.ends_with("/files"))
            .collect();
        ensure!(left.is_empty(), "leat up left shared memory after a clean stop: {left:?}");
        let name = self.run.name().to_owned();
        self.run.done();
        drop(self);
        let left = Run::leftovers(&name);
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.run.is_done() {
            for path in ["/v1/status", "/v1/stats", "/v1/flows?limit=20"] {
                match self.appliance.rest.get(path) {
                    Ok(answer) => eprintln!("--- {path}\n{answer:#}"),
                    Err(error) => eprintln!("--- {path}: {error:#}"),
                }
            }
        }
    }
}

/// `count` lcores on the CPUs this process may use, the last one first so that CPU 0 is left to everything else; a CPU is used
/// again when there are more lcores than CPUs.
pub fn lcores(count: usize) -> Vec<usize> {
    let allowed: Vec<usize> = match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).rev().collect(),
        Err(_) => vec![0],
    };
    (0..count).map(|index| allowed[index % allowed.len()]).collect()
}

/// Called first by every end-to-end test: takes the machine for itself (one appliance at a time), or says why it cannot run.
///
/// Without root or without the programs the test is skipped, and the reason is written past the test harness's capturing.
/// With `LEAT_E2E=required`, as scripts/test sets it, it fails instead.
///
/// # Panics
/// When the test is required and cannot run.
pub fn e2e() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let missing = missing_for_e2e();
    if let Some(reason) = missing {
        let test = std::thread::current().name().unwrap_or("an end-to-end test").to_owned();
        assert!(std::env::var("LEAT_E2E").as_deref() != Ok("required"), "{test} cannot run: {reason}");
        // Through the stream itself: what print macros write is swallowed for tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(|poison| poison.into_inner()))
}

fn missing_for_e2e() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    ["leat", "leat-dp", "leat-cp"].into_iter().find_map(|name| program(name).err()).map(|error| format!("{error:#}"))
}

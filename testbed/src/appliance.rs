//! The appliance under test: `leat up` in its namespace, and its admin API.

use crate::bed::lcores;
use crate::process::{self, Process};
use crate::programs::program;
use crate::rest_client::Rest;
use crate::run::Run;
use crate::stats::Conservation;
use crate::topology::{P0_ADDRESS, P0_DEVICE, P1_ADDRESS, P1_DEVICE, Topology};
use crate::{Namespace, wait_for};
use anyhow::{Context, Result, bail, ensure};
use leat_model::rest::{Flow, Flows, Stats, Status, Target, TargetState, Targets};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::ExitStatus;
use std::time::Duration;

/// Long enough for DPDK to start on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Long enough for two rounds of health checks at the shortest interval.
const HEALTH: Duration = Duration::from_secs(40);

/// How the appliance is configured.
#[derive(Debug, Clone)]
pub struct ApplianceOptions {
    /// CPUs, one polling lcore each; a CPU may appear twice.
    pub lcores: Vec<usize>,
    /// Flow entries per lcore.
    pub flows_max: u32,
    /// Whether an lcore without work yields its CPU. On: the machines this runs on have two CPUs for everything.
    pub idle_backoff: bool,
    /// Whether the ports have IPv6 addresses too: fd00:1::2 and fd00:2::2, each of a /64.
    pub ipv6: bool,
    /// Further keys of `[control_plane]`; one that is there more than once has a list of values.
    pub control_plane: Vec<(&'static str, &'static str)>,
    /// DPDK's driver of the ports: `net_af_packet`, or `net_pcap`, which is slower and gets fragments as they come.
    pub driver: &'static str,
    /// DPDK's devices of p0 and p1, in place of those that `driver` makes of the namespace's interfaces.
    pub devices: Option<[String; 2]>,
}

impl Default for ApplianceOptions {
    fn default() -> ApplianceOptions {
        ApplianceOptions {
            lcores: lcores(1),
            flows_max: 65_536,
            idle_backoff: true,
            ipv6: false,
            control_plane: Vec::new(),
            driver: "net_af_packet",
            devices: None,
        }
    }
}

impl ApplianceOptions {
    /// The contents of `leat.toml`.
    ///
    /// # Errors
    /// Never for these values; the serializer's signature has it.
    pub fn toml(&self, run: &Run) -> Result<String> {
        let addresses = |v4: Ipv4Addr, v6: &str| {
            let v6 = self.ipv6.then(|| v6.to_owned());
            Some(format!("{v4}/24")).into_iter().chain(v6).collect::<Vec<_>>()
        };
        let device = |number: usize, interface: &str| match &self.devices {
            Some(devices) => devices[number].clone(),
            None => format!("{}{number},iface={interface}", self.driver),
        };
        // The API is open to all that runs in the namespace; who signs is checked all the same.
        let open = [("anonymous", "admin")];
        let mut control_plane: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in open.iter().chain(&self.control_plane) {
            control_plane.entry(key).or_default().push(value);
        }
        let single = |values: Vec<&str>| if values.len() == 1 { json!(values[0]) } else { json!(values) };
        let control_plane: BTreeMap<_, _> = control_plane.into_iter().map(|(key, it)| (key, single(it))).collect();
        let configuration = json!({
            "name": run.name(),
            "state_dir": run.dir().join("state"),
            "runtime_dir": run.dir().join("run"),
            "admin": { "listen": "127.0.0.1:9321" },
            "control_plane": control_plane,
            "data_plane": {
                "lcores": self.lcores,
                "flows_max": self.flows_max,
                "idle_backoff": self.idle_backoff,
                "segment_dir": run.memory_dir(),
                "eal_args": [],
            },
            "port": [
                { "name": "p0", "device": device(0, P0_DEVICE), "addresses": addresses(P0_ADDRESS, "fd00:1::2/64") },
                { "name": "p1", "device": device(1, P1_DEVICE), "addresses": addresses(P1_ADDRESS, "fd00:2::2/64") },
            ],
        });
        Ok(toml::to_string(&configuration)?)
    }
}

/// A running appliance. Dropping it stops it.
#[derive(Debug)]
pub struct Appliance {
    /// `leat up`.
    pub process: Process,
    /// The admin API.
    pub rest: Rest,
    namespace: Namespace,
}

impl Appliance {
    /// Writes `leat.toml`, starts `leat up` in the appliance's namespace and waits until the data plane is attached.
    ///
    /// # Errors
    /// When it does not come up; the message ends with its log.
    pub fn start(run: &Run, topology: &Topology, options: &ApplianceOptions) -> Result<Appliance> {
        let process = Appliance::spawn(run, topology, &options.toml(run)?)?;
        let rest = Rest::new(&run.dir().join("run").join(format!("{}.sock", run.name())));
        let mut appliance = Appliance { process, rest, namespace: topology.lb.clone() };
        let ready = wait_for("the appliance to be ready", READY, || {
            if !appliance.process.is_running() {
                return Some(Err("leat up ended"));
            }
            appliance.is_attached().then_some(Ok(()))
        });
        match ready {
            Ok(Ok(())) => Ok(appliance),
            Ok(Err(reason)) => bail!("{reason}: {}", appliance.process.log_text().trim()),
            Err(error) => Err(error.context(appliance.process.log_text().trim().to_owned())),
        }
    }

    /// Starts `leat up` with these contents of `leat.toml` and does not wait.
    ///
    /// # Errors
    /// When there is no `leat` program.
    pub fn spawn(run: &Run, topology: &Topology, toml: &str) -> Result<Process> {
        let configuration = run.dir().join("leat.toml");
        fs::write(&configuration, toml)?;
        let mut command = topology.lb.command(program("leat")?);
        command.arg("up").arg("--config").arg(configuration).env("RUST_BACKTRACE", "1");
        Process::spawn(run, "leat", &mut command)
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn status(&self) -> Result<Status> {
        self.get("/v1/status")
    }

    /// `GET /v1/stats`.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn stats(&self) -> Result<Stats> {
        self.get("/v1/stats")
    }

    /// A counter, summed over the lcores.
    ///
    /// # Errors
    /// When the API does not answer or has no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.stats()?.totals.counters.get(name).copied().with_context(|| format!("no counter {name}"))
    }

    /// How many packets were dropped for a reason, summed over the lcores.
    ///
    /// # Errors
    /// When the API does not answer or has no such reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        self.stats()?.totals.drops.get(reason).copied().with_context(|| format!("no drop reason {reason}"))
    }

    /// `GET /v1/flows?<query>`: the flows.
    ///
    /// # Errors
    /// When the API does not answer, or not completely.
    pub fn flows(&self, query: &str) -> Result<Vec<Flow>> {
        let answer: Flows = self.get(&format!("/v1/flows?{query}"))?;
        ensure!(answer.complete, "/v1/flows?{query}: not complete");
        Ok(answer.flows)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_value(self.rest.get(path)?).with_context(|| format!("{path} has another form"))
    }

    fn is_attached(&self) -> bool {
        self.status().is_ok_and(|status| status.data_plane.attached)
    }

    /// Waits until a data plane other than the process `previous` is attached and works with the configuration.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_data_plane(&self, previous: u32) -> Result<()> {
        wait_for("a new data-plane process", READY, || {
            let status = self.status().ok()?;
            let data_plane = &status.data_plane;
            (data_plane.attached && data_plane.pid != u64::from(previous) && status.applied_epoch == status.epoch)
                .then_some(())
        })
    }

    /// Makes a load balancer with one node.
    ///
    /// # Errors
    /// What the API says.
    pub fn create_load_balancer(&self, name: &str, address: Ipv4Addr) -> Result<Value> {
        let body = json!({"name": name, "nodes": [{"zone": "zone-a", "address": address}]});
        self.rest.expect("POST", "/v1/load-balancers", Some(&body))
    }

    /// Makes a target group of `ip` targets, checked every 5 s (the shortest interval) at TCP `health_port`.
    ///
    /// # Errors
    /// What the API says.
    pub fn create_target_group(
        &self,
        name: &str,
        protocol: &str,
        port: u16,
        health_port: u16,
        attributes: &Value,
    ) -> Result<Value> {
        let body = json!({
            "name": name, "protocol": protocol, "port": port, "targetType": "ip",
            "healthCheck": {
                "protocol": "TCP", "port": health_port, "intervalSeconds": 5, "timeoutSeconds": 2,
                "healthyThresholdCount": 2, "unhealthyThresholdCount": 2,
            },
            "attributes": attributes,
        });
        self.rest.expect("POST", "/v1/target-groups", Some(&body))
    }

    /// Makes a listener.
    ///
    /// # Errors
    /// What the API says.
    pub fn create_listener(&self, load_balancer: &str, protocol: &str, port: u16, target_group: &str) -> Result<Value> {
        let body = json!({"protocol": protocol, "port": port, "targetGroup": target_group});
        self.rest.expect("POST", &format!("/v1/load-balancers/{load_balancer}/listeners"), Some(&body))
    }

    /// Registers targets.
    ///
    /// # Errors
    /// What the API says.
    pub fn register(&self, target_group: &str, targets: &[Ipv4Addr]) -> Result<Value> {
        let path = format!("/v1/target-groups/{target_group}/targets");
        self.rest.expect("POST", &path, Some(&target_list(targets)))
    }

    /// Deregisters targets and waits until every lcore knows.
    ///
    /// # Errors
    /// What the API says, or when lcores did not follow within the wait.
    pub fn deregister(&self, target_group: &str, targets: &[Ipv4Addr]) -> Result<()> {
        let path = format!("/v1/target-groups/{target_group}/targets/deregister?wait=10");
        let reply = self.rest.call("POST", &path, Some(&target_list(targets)))?;
        ensure!(reply.status == 200, "deregister: {} {}", reply.status, reply.body);
        Ok(())
    }

    /// Sets attributes of a target group and waits until every lcore works with them.
    ///
    /// # Errors
    /// What the API says, or when lcores do not follow.
    pub fn set_attributes(&self, target_group: &str, attributes: &Value) -> Result<Value> {
        let path = format!("/v1/target-groups/{target_group}/attributes");
        let answer = self.rest.expect("PATCH", &path, Some(&json!({"attributes": attributes})))?;
        let is_applied = || self.status().is_ok_and(|status| status.applied_epoch == status.epoch).then_some(());
        wait_for("the attributes to be applied", READY, is_applied)?;
        Ok(answer)
    }

    /// The targets of a group.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn targets(&self, target_group: &str) -> Result<Vec<Target>> {
        let answer: Targets = self.get(&format!("/v1/target-groups/{target_group}/targets"))?;
        Ok(answer.targets)
    }

    /// Waits until a target is in a state.
    ///
    /// # Errors
    /// When that does not happen; the message has what was seen last.
    pub fn wait_state(&self, target_group: &str, address: Ipv4Addr, state: TargetState) -> Result<()> {
        let mut last = None;
        wait_for(&format!("{address} to be {state} in {target_group}"), HEALTH, || {
            let targets = self.targets(target_group).ok()?;
            last = targets.into_iter().find(|target| target.id == address.to_string());
            last.as_ref().is_some_and(|target| target.health.state == state).then_some(())
        })
        .with_context(|| format!("last seen: {last:?}"))
    }

    /// Waits until all of `targets` are healthy in the group.
    ///
    /// # Errors
    /// As [`Appliance::wait_state`].
    pub fn wait_healthy(&self, target_group: &str, targets: &[Ipv4Addr]) -> Result<()> {
        targets.iter().try_for_each(|target| self.wait_state(target_group, *target, TargetState::Healthy))
    }

    /// The process id of the control plane.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn control_plane_pid(&self) -> Result<u32> {
        self.one_pid("leat-cp")
    }

    /// The process id of the data plane.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn data_plane_pid(&self) -> Result<u32> {
        self.one_pid("leat-dp")
    }

    fn one_pid(&self, name: &str) -> Result<u32> {
        let pids = process::find_in(&self.namespace, name);
        ensure!(pids.len() == 1, "{} processes {name} in {}", pids.len(), self.namespace.name());
        Ok(pids[0])
    }

    /// `kill -9` of the control plane. Returns its process id.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_control_plane(&self) -> Result<u32> {
        let pid = self.control_plane_pid()?;
        process::send(pid, Signal::KILL)?;
        Ok(pid)
    }

    /// `kill -9` of the data plane. Returns its process id.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_data_plane(&self) -> Result<u32> {
        let pid = self.data_plane_pid()?;
        process::send(pid, Signal::KILL)?;
        Ok(pid)
    }

    /// Waits until a control plane other than `previous` answers.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait_control_plane(&self, previous: u32) -> Result<()> {
        wait_for("a new control-plane process", READY, || {
            let pid = self.control_plane_pid().ok()?;
            (pid != previous && self.is_attached()).then_some(())
        })
    }

    /// Waits until every lcore accounts for every packet. Counters are read while packets come in, so it may take some readings.
    ///
    /// # Errors
    /// When the law does not hold in the end; the message has the figures.
    pub fn check_conservation(&self) -> Result<Vec<Conservation>> {
        let mut last = Ok(Vec::new());
        let holds = wait_for("packet conservation", Duration::from_secs(10), || {
            last = self.stats().and_then(|stats| Conservation::read(&stats));
            last.as_ref().is_ok_and(|lcores| lcores.iter().all(Conservation::holds)).then_some(())
        });
        let lcores = last?;
        holds.with_context(|| format!("{lcores:?}"))?;
        Ok(lcores)
    }

    /// SIGTERM, and the exit status.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop()
    }
}

fn target_list(targets: &[Ipv4Addr]) -> Value {
    json!({"targets": targets.iter().map(|address| json!({"id": address})).collect::<Vec<_>>()})
}

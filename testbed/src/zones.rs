//! Two zones: a node of the load balancer, servers and a leg of the clients in each, and one port of the appliance for it.
//!
//! ```text
//!                       cli  10.1.0.100 (eth0), 10.2.0.100 (eth1)
//!                        │                      │
//!  za: br0 10.1.0.11 – .20                      br0 10.2.0.11 – .20 :zb
//!                        │                      │
//!     leatd0 (p0, 10.1.0.2)         lb          leatd1 (p1, 10.2.0.2)
//!     zone-a, node 10.1.0.10                    zone-b, node 10.2.0.10
//! ```
//!
//! Each zone's servers are processes of their own at addresses of their own, all in the zone's namespace. What crosses zones goes
//! through the appliance.

use crate::appliance::{Appliance, ApplianceOptions};
use crate::bed::{Bed, HTTP_PORT, STREAM_PORT};
use crate::clients::{dig, http_many, tally};
use crate::namespace::Namespace;
use crate::peers::{TARGET_BULK_PORT, TARGET_HTTP_PORT, TARGET_STREAM_PORT, Target};
use crate::process::Process;
use crate::run::Run;
use crate::topology::{P0_ADDRESS, P0_DEVICE, P1_ADDRESS, P1_DEVICE, Topology, veth};
use crate::wait_for;
use anyhow::{Context, Result, ensure};
use leat_model::rest::TargetState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Long enough for two rounds of health checks at the shortest interval, on a busy machine.
const HEALTH: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(30);
/// Where the names are answered.
pub const DNS: SocketAddrV4 = SocketAddrV4::new(P0_ADDRESS, 53);

/// One of the two zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// `zone-a`, at port p0.
    A,
    /// `zone-b`, at port p1.
    B,
}

impl Zone {
    /// Both.
    pub const ALL: [Zone; 2] = [Zone::A, Zone::B];

    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Zone::A => "zone-a",
            Zone::B => "zone-b",
        }
    }

    /// The address of the load balancer's node.
    pub fn vip(self) -> Ipv4Addr {
        self.address(10)
    }

    /// The client's address.
    pub fn client(self) -> Ipv4Addr {
        self.address(100)
    }

    /// The address of the zone's n-th server, counted from 1.
    pub fn server(self, number: u8) -> Ipv4Addr {
        self.address(10 + number)
    }

    fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 1 + self as u8, 0, last)
    }

    fn letter(self) -> char {
        ['a', 'b'][self as usize]
    }
}

/// How a [`ZoneBed`] is made.
#[derive(Debug, Clone)]
pub struct ZoneOptions {
    /// Servers in each zone, 1 to 50.
    pub servers: u8,
    /// `load_balancing.cross_zone.enabled` of the load balancer.
    pub cross_zone: bool,
    /// Attributes of both groups.
    pub attributes: Value,
    /// Where names are answered: [`DNS`] and maybe more.
    pub dns_listen: &'static [&'static str],
}

impl Default for ZoneOptions {
    fn default() -> ZoneOptions {
        ZoneOptions { servers: 10, cross_zone: false, attributes: json!({}), dns_listen: &["10.1.0.2:53"] }
    }
}

/// Load balancer `lb` with a node in each zone: TCP 80 → group `web`, TCP 9100 → `stream`. The servers are `a1`, `a2` …, `b1` ….
/// Both groups have all of them; what both are checked by is the process that serves `stream`.
#[derive(Debug)]
pub struct ZoneBed {
    /// The appliance, the servers and the namespaces.
    pub bed: Bed,
    servers: u8,
}

impl ZoneBed {
    /// Brings everything up and waits until all servers are healthy.
    ///
    /// # Errors
    /// When any part does not come up.
    pub fn start(options: &ZoneOptions) -> Result<ZoneBed> {
        let run = Run::start_unique()?;
        let topology = lay_out(&run, options.servers)?;
        let listen = options.dns_listen.iter().map(|listen| ("dns_listen", *listen)).collect();
        let options_of_appliance = ApplianceOptions { control_plane: listen, ..Default::default() };
        let appliance = Appliance::start(&run, &topology, &options_of_appliance)?;
        let mut this = ZoneBed { bed: Bed { appliance, targets: Vec::new(), topology, run }, servers: options.servers };
        this.bed.cli().resolve_with(&[P0_ADDRESS, P1_ADDRESS])?;
        for zone in Zone::ALL {
            for number in 1..=options.servers {
                let mut server = Target {
                    name: format!("{}{number}", zone.letter()),
                    address: zone.server(number),
                    namespace: this.namespace(zone).clone(),
                    nginx: None,
                    echo: None,
                };
                server.start(&this.bed.run)?;
                this.bed.targets.push(server);
            }
        }
        this.configure(options)?;
        Ok(this)
    }

    fn configure(&self, options: &ZoneOptions) -> Result<()> {
        let rest = &self.bed.appliance.rest;
        let node = |zone: &Zone| json!({"zone": zone.name(), "address": zone.vip()});
        let nodes: Vec<Value> = Zone::ALL.iter().map(node).collect();
        rest.expect("POST", "/v1/load-balancers", Some(&json!({"name": "lb", "nodes": nodes})))?;
        self.set_cross_zone(options.cross_zone)?;
        for (group, listener, port, check) in [
            ("web", HTTP_PORT, TARGET_HTTP_PORT, TARGET_BULK_PORT),
            ("stream", STREAM_PORT, TARGET_STREAM_PORT, TARGET_STREAM_PORT),
        ] {
            self.bed.appliance.create_target_group(group, "TCP", port, check, &options.attributes)?;
            for zone in Zone::ALL {
                self.register(group, zone, 1..=self.servers)?;
            }
            self.bed.appliance.create_listener("lb", "TCP", listener, group)?;
        }
        for group in ["web", "stream"] {
            self.bed.appliance.wait_healthy(group, &self.bed.addresses())?;
        }
        wait_for("the load balancer to be active", READY, || {
            (rest.get("/v1/load-balancers/lb").ok()?["state"]["code"] == "active").then_some(())
        })?;
        self.wait_dns(&Zone::ALL)
    }

    /// Registers servers of a zone in a group, as targets in that zone.
    ///
    /// # Errors
    /// What the API says.
    pub fn register(&self, group: &str, zone: Zone, numbers: RangeInclusive<u8>) -> Result<()> {
        let target = |number| json!({"id": zone.server(number), "zone": zone.name()});
        let body = json!({"targets": numbers.map(target).collect::<Vec<_>>()});
        self.bed.appliance.rest.expect("POST", &format!("/v1/target-groups/{group}/targets"), Some(&body))?;
        Ok(())
    }

    /// The zone's namespace: its bridge, and the servers' addresses on it.
    pub fn namespace(&self, zone: Zone) -> &Namespace {
        &self.bed.topology.targets[zone as usize]
    }

    /// Lets the zone's servers with these numbers, counted from 1, fail their health checks, and waits until that was noticed. Their
    /// web servers go on, so that it can be seen who has connections all the same.
    ///
    /// # Errors
    /// When it is not noticed.
    pub fn fail(&mut self, zone: Zone, numbers: RangeInclusive<u8>) -> Result<()> {
        for number in numbers.clone() {
            self.server(zone, number).echo = None;
        }
        self.wait_states(&["web", "stream"], zone, numbers, TargetState::Unhealthy)
    }

    /// Ends all processes of the zone's servers with these numbers.
    pub fn stop(&mut self, zone: Zone, numbers: RangeInclusive<u8>) {
        numbers.for_each(|number| self.server(zone, number).stop());
    }

    /// Starts them again and waits until they are healthy.
    ///
    /// # Errors
    /// When they are not.
    pub fn revive(&mut self, zone: Zone, numbers: RangeInclusive<u8>) -> Result<()> {
        for number in numbers.clone() {
            let at = self.index(zone, number);
            self.bed.targets[at].start(&self.bed.run)?;
        }
        self.wait_states(&["web", "stream"], zone, numbers, TargetState::Healthy)
    }

    fn server(&mut self, zone: Zone, number: u8) -> &mut Target {
        let at = self.index(zone, number);
        &mut self.bed.targets[at]
    }

    fn index(&self, zone: Zone, number: u8) -> usize {
        zone as usize * usize::from(self.servers) + usize::from(number) - 1
    }

    /// Waits until these servers of a zone are in a state in all of these groups.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_states(
        &self,
        groups: &[&str],
        zone: Zone,
        numbers: RangeInclusive<u8>,
        state: TargetState,
    ) -> Result<()> {
        let wanted: Vec<String> = numbers.map(|number| zone.server(number).to_string()).collect();
        for group in groups {
            let mut last = Vec::new();
            wait_for(&format!("servers of {} to be {state} in {group}", zone.name()), HEALTH, || {
                last = self.bed.appliance.targets(group).ok()?;
                let others = last.iter().filter(|it| wanted.contains(&it.id) && it.health.state != state);
                (others.count() == 0).then_some(())
            })
            .with_context(|| format!("last seen: {last:?}"))?;
        }
        Ok(())
    }

    /// Takes the zone's link to the appliance down, at the far end, as a pulled cable or a dead switch does.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn cut(&self, zone: Zone) -> Result<()> {
        self.namespace(zone).ip(&["link", "set", "lb", "down"])
    }

    /// Brings the link up again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn restore(&self, zone: Zone) -> Result<()> {
        self.namespace(zone).ip(&["link", "set", "lb", "up"])
    }

    /// Sets the load balancer's cross-zone attribute and waits until every lcore works with it.
    ///
    /// # Errors
    /// What the API says.
    pub fn set_cross_zone(&self, is_on: bool) -> Result<()> {
        let body = json!({"attributes": {"load_balancing.cross_zone.enabled": is_on.to_string()}});
        self.bed.appliance.rest.expect("PATCH", "/v1/load-balancers/lb/attributes", Some(&body))?;
        self.wait_applied()
    }

    /// Waits until every lcore works with the configuration as it is.
    ///
    /// # Errors
    /// When lcores do not follow.
    pub fn wait_applied(&self) -> Result<()> {
        wait_for("the configuration to be applied", READY, || {
            let status = self.bed.appliance.status().ok()?;
            (status.applied_epoch == status.epoch).then_some(())
        })
    }

    /// `requests` HTTP requests, each on a connection of its own, to the node of a zone: how many each server answered.
    ///
    /// # Errors
    /// The first that failed.
    pub fn distribution(&self, zone: Zone, requests: usize) -> Result<BTreeMap<String, usize>> {
        let answers = http_many(self.bed.cli(), SocketAddrV4::new(zone.vip(), HTTP_PORT), requests, 8)?;
        tally(answers).with_context(|| format!("requests to the node of {}", zone.name()))
    }

    /// Demands that requests to a zone's node are answered by each of these servers and by nobody else: 30 requests for each of them,
    /// of which it misses all once in 10¹³ times.
    ///
    /// # Errors
    /// When others answer.
    pub fn expect_servers(&self, zone: Zone, names: &[String]) -> Result<()> {
        let counts = self.distribution(zone, names.len() * 30)?;
        let mut names = names.to_vec();
        names.sort();
        ensure!(counts.keys().eq(&names), "{}: {counts:?} instead of {names:?}", zone.name());
        Ok(())
    }

    /// The name of the load balancer.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn dns_name(&self) -> Result<String> {
        let shown = self.bed.appliance.rest.get("/v1/load-balancers/lb")?;
        Ok(shown["dnsName"].as_str().context("no name")?.to_owned())
    }

    /// The zones whose addresses DNS names. Asked in the appliance's own namespace: the zones' links may be cut.
    ///
    /// # Errors
    /// When there is no answer, or an address that is no node's.
    pub fn in_dns(&self) -> Result<Vec<Zone>> {
        let addresses = dig(&self.bed.topology.lb, DNS, &["+short", &self.dns_name()?, "A"])?;
        let mut zones = Vec::new();
        for address in addresses.lines() {
            let zone = Zone::ALL.into_iter().find(|zone| zone.vip().to_string() == address);
            zones.push(zone.with_context(|| format!("DNS names {address}"))?);
        }
        zones.sort_by_key(|zone| *zone as usize);
        Ok(zones)
    }

    /// Waits until DNS names the addresses of these zones.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_dns(&self, zones: &[Zone]) -> Result<()> {
        let mut last = Ok(Vec::new());
        wait_for(&format!("DNS to name {zones:?}"), HEALTH, || {
            last = self.in_dns();
            last.as_ref().is_ok_and(|last| last == zones).then_some(())
        })
        .with_context(|| format!("last seen: {last:?}"))
    }

    /// `curl` by the load balancer's name, in the clients' namespace: which server answers.
    ///
    /// # Errors
    /// When none does.
    pub fn curl(&self) -> Result<String> {
        let mut command = self.bed.cli().command("curl");
        // An address that does not answer has half of the time to connect, then the next one has its turn.
        command.args(["--silent", "--show-error", "--fail", "--connect-timeout", "10", "--max-time", "30"]);
        let output = command.arg(format!("http://{}/", self.dns_name()?)).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let server = text.split_whitespace().next().filter(|_| output.status.success());
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(server.with_context(said)?.to_owned())
    }

    /// Long transfers to the node of a zone; end them with [`Bed::finish_transfers`].
    ///
    /// # Errors
    /// When they do not connect.
    pub fn start_transfers(&self, name: &str, zone: Zone, connections: usize) -> Result<Process> {
        self.bed.start_transfers_to(name, SocketAddrV4::new(zone.vip(), STREAM_PORT), connections)
    }

    /// As [`Bed::finish`].
    ///
    /// # Errors
    /// When a check fails.
    pub fn finish(self) -> Result<()> {
        self.bed.finish()
    }
}

/// Names of the servers of a zone with these numbers.
pub fn servers(zone: Zone, numbers: RangeInclusive<u8>) -> Vec<String> {
    numbers.map(|number| format!("{}{number}", zone.letter())).collect()
}

fn lay_out(run: &Run, servers: u8) -> Result<Topology> {
    let cli = Namespace::create(run, "cli")?;
    let lb = Namespace::create(run, "lb")?;
    let mut zones = Vec::new();
    for (zone, leg, device, gateway) in
        [(Zone::A, "eth0", P0_DEVICE, P0_ADDRESS), (Zone::B, "eth1", P1_DEVICE, P1_ADDRESS)]
    {
        let namespace = Namespace::create(run, &format!("z{}", zone.letter()))?;
        namespace.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        namespace.ip(&["link", "set", "br0", "up"])?;
        veth((&namespace, "lb"), (&lb, device))?;
        veth((&namespace, "cli"), (&cli, leg))?;
        for port in ["lb", "cli"] {
            namespace.ip(&["link", "set", port, "master", "br0"])?;
        }
        for number in 1..=servers {
            namespace.ip(&["address", "add", &format!("{}/24", zone.server(number)), "dev", "br0"])?;
        }
        namespace.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
        cli.ip(&["address", "add", &format!("{}/24", zone.client()), "dev", leg])?;
        lb.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "1")?;
        lb.sysctl(&format!("net/ipv4/conf/{device}/arp_ignore"), "8")?;
        zones.push(namespace);
    }
    Ok(Topology { cli, lb, targets: zones, links: Vec::new() })
}

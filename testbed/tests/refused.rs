//! What cannot work fails as it should: soon or in silence, counted, and without harm to anything else.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::sockets::connect;
use leat_testbed::{
    Bed, BedOptions, CLIENT_ADDRESS, Flags, HTTP_PORT, HttpAnswer, Namespace, RawSegment, STREAM_PORT,
    TARGET_HTTP_PORT, TARGET_STREAM_PORT, VIP, e2e, http_get, http_many, send_ipv4, tally, veth, wait_for,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// A listener of a test's own, and the connections to it.
const PORT: u16 = 81;
const ONE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// An attempt that is answered takes milliseconds; one that is not answered, this long.
const PATIENCE: Duration = Duration::from_millis(1500);

fn preserve(on: bool) -> Value {
    json!({"preserve_client_ip.enabled": on.to_string()})
}

/// Demands that connections from `namespace` to `destination` are not answered.
fn ensure_silent(namespace: &Namespace, destination: SocketAddrV4) -> Result<()> {
    match namespace.enter(|| connect(None, destination, PATIENCE))? {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        other => anyhow::bail!("instead of silence: {other:?}"),
    }
}

fn get(namespace: &Namespace, destination: SocketAddrV4) -> Result<HttpAnswer> {
    namespace.enter(|| http_get(destination))?
}

/// A group may be without targets: its listener refuses connections at once, and serves from the first target on. When all targets
/// fail their checks, the node goes on serving.
///
/// req: TG-18, RT-10
#[test]
fn an_empty_group_refuses_connections() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    // Checked where nobody listens: its targets will never be healthy.
    bed.appliance.create_target_group("one", "TCP", TARGET_HTTP_PORT, 9999, &json!({}))?;
    bed.appliance.create_listener("lb", "TCP", PORT, "one")?;
    let attempt = bed.cli().enter(|| connect(None, ONE, PATIENCE))?;
    ensure!(attempt.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused), "{attempt:?}");
    let stats = bed.appliance.stats()?;
    let counted =
        stats.listeners.iter().find(|it| it.port == PORT).and_then(|it| it.counters.get("no_target").copied());
    ensure!(counted == Some(1), "counted {counted:?} times");

    bed.appliance.register("one", &[bed.targets[3].address])?;
    bed.appliance.wait_state("one", bed.targets[3].address, TargetState::Unhealthy)?;
    ensure!(get(bed.cli(), ONE)?.target == "t4", "the unhealthy target is all there is");
    bed.finish()
}

/// A target that is its own client: in vain when its address is preserved and it is chosen itself, fine otherwise.
///
/// req: CIP-11, TRB-08
#[test]
fn a_target_reaches_itself_only_by_address_translation() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let (t1, t2) = (&bed.targets[0], &bed.targets[1]);
    bed.serve(PORT, "one", TARGET_HTTP_PORT, &[t1.address], &preserve(true))?;
    let before = bed.appliance.drops("hairpin")?;
    ensure_silent(&t1.namespace, ONE)?;
    ensure!(bed.appliance.drops("hairpin")? > before, "not counted");

    bed.appliance.set_attributes("one", &preserve(false))?;
    let answer = get(&t1.namespace, ONE)?;
    ensure!(answer.target == "t1" && *answer.client_seen.ip() == VIP, "{answer:?}");

    // With a second target: whoever is sent there connects. Its answers have to come back through the appliance.
    bed.appliance.set_attributes("one", &preserve(true))?;
    bed.appliance.register("one", &[t2.address])?;
    bed.appliance.wait_healthy("one", &[t2.address])?;
    t2.namespace.ip(&["route", "add", &t1.address.to_string(), "via", "10.2.0.2"])?;
    wait_for("a connection to the other target", Duration::from_secs(30), || {
        t1.namespace.enter(|| connect(None, ONE, Duration::from_millis(300))).ok()?.ok()
    })?;
    bed.finish()
}

/// A firewall on the target that does not let the clients in, or the node where addresses are translated, cuts the target off.
///
/// req: TRB-02
#[test]
fn a_target_with_a_firewall_is_cut_off() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let target = &bed.targets[0];
    bed.serve(PORT, "one", TARGET_HTTP_PORT, &[target.address], &preserve(true))?;
    let nft = |rules: &str| -> Result<()> {
        let output = target.namespace.command("nft").arg(rules).output()?;
        ensure!(output.status.success(), "nft {rules}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    nft("add table ip wall")?;
    nft("add chain ip wall input { type filter hook input priority 0; }")?;
    nft("add rule ip wall input ip saddr 10.1.0.64/26 drop")?;
    ensure_silent(bed.cli(), ONE).context("the clients are shut out")?;
    bed.appliance.wait_healthy("one", &[target.address]).context("the node is not")?;
    bed.appliance.set_attributes("one", &preserve(false))?;
    ensure!(*get(bed.cli(), ONE)?.client_seen.ip() == VIP, "the node is let in, and with it every client");

    nft("flush chain ip wall input")?;
    nft(&format!("add rule ip wall input ip saddr {VIP} drop"))?;
    ensure_silent(bed.cli(), ONE).context("the node is shut out")?;
    bed.appliance.set_attributes("one", &preserve(true))?;
    let answer = get(bed.cli(), ONE).context("the clients are let in")?;
    ensure!(answer.client_seen == answer.client, "{answer:?}");
    bed.finish()
}

/// Two connections from one client socket to two listeners of one group, which would be one connection for the target: the second
/// goes to another target; with one target it fails and leaves the first alone; with translation both work.
///
/// req: TRB-10
#[test]
fn one_client_socket_to_two_listeners() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let addresses = bed.addresses();
    bed.serve(PORT, "one", TARGET_STREAM_PORT, &addresses[..1], &preserve(true))?;
    bed.appliance.create_listener("lb", "TCP", PORT + 1, "one")?;
    let other = SocketAddrV4::new(VIP, PORT + 1);
    let open = |port: u16, destination: SocketAddrV4| {
        let source = SocketAddrV4::new(CLIENT_ADDRESS, port);
        bed.cli().enter(|| Line::open(Some(source), destination))?
    };

    let mut first = open(3001, ONE)?;
    ensure!(first.name == "t1", "{}", first.name);
    ensure!(open(3001, other).is_err(), "two connections to one socket of a target");
    ensure!(bed.appliance.drops("tuple_conflict")? > 0, "not counted");
    first.exchange().context("after the other attempt")?;

    bed.appliance.set_attributes("one", &preserve(false))?;
    let (mut third, mut fourth) = (open(3002, ONE)?, open(3002, other)?);
    third.exchange()?;
    fourth.exchange()?;

    bed.appliance.set_attributes("one", &preserve(true))?;
    bed.appliance.register("one", &addresses[1..2])?;
    bed.appliance.wait_healthy("one", &addresses[1..2])?;
    for port in 3003..3013 {
        let (mut left, mut right) = (open(port, ONE)?, open(port, other)?);
        ensure!(left.name != right.name, "both from port {port} to {}", left.name);
        left.exchange()?;
        right.exchange()?;
    }
    first.exchange()?;
    bed.finish()
}

/// Targets whose answers go another way than through the appliance cannot be reached where the client's address is preserved: the
/// flow stays half-open. A direct connection of a client to a target, with the socket of one through the appliance, harms that not.
///
/// req: CIP-05, CIP-12
#[test]
fn ways_around_the_appliance() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let (cli, t1) = (bed.cli(), &bed.targets[0]);
    bed.serve(PORT, "one", TARGET_STREAM_PORT, &[t1.address], &preserve(true))?;
    veth((cli, "around"), (&t1.namespace, "around"))?;
    cli.ip(&["address", "add", "10.8.0.1/24", "dev", "around"])?;
    t1.namespace.ip(&["address", "add", "10.8.0.2/24", "dev", "around"])?;
    for namespace in [cli, &t1.namespace] {
        for device in ["all", "around", "eth0"] {
            namespace.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
        }
    }
    cli.ip(&["route", "add", &format!("{}/32", t1.address), "via", "10.8.0.2", "src", &CLIENT_ADDRESS.to_string()])?;

    let source = |port| SocketAddrV4::new(CLIENT_ADDRESS, port);
    let direct = SocketAddrV4::new(t1.address, TARGET_STREAM_PORT);
    let mut through = cli.enter(|| Line::open(Some(source(3001)), ONE))??;
    let attempt = cli.enter(|| connect(Some(source(3001)), direct, PATIENCE))?;
    ensure!(attempt.is_err(), "the target has this connection already: {attempt:?}");
    through.exchange().context("after a direct attempt from the same socket")?;

    t1.namespace.ip(&["route", "add", "10.1.0.64/26", "via", "10.8.0.1"])?;
    cli.enter(|| Line::open(Some(source(3002)), direct))??.exchange().context("around the appliance")?;
    let attempt = cli.enter(|| connect(Some(source(3003)), ONE, PATIENCE))?;
    ensure!(attempt.is_err(), "the answers go around the appliance: {attempt:?}");
    let flows = bed.appliance.flows(&format!("client={CLIENT_ADDRESS}:3003"))?;
    ensure!(flows.len() == 1 && flows[0].state == "syn-sent", "{flows:?}");
    bed.appliance.set_attributes("one", &preserve(false))?;
    cli.enter(|| Line::open(None, ONE))??.exchange().context("with translation, answers go to the node")?;

    t1.namespace.ip(&["route", "del", "10.1.0.64/26"])?;
    through.exchange().context("the way back is there again")?;
    bed.finish()
}

/// The two ways in which resets become more: before a failing target is found unhealthy, and without it, from connections that the
/// appliance has forgotten.
///
/// req: TRB-07
#[test]
fn resets_tell_of_failing_targets_and_of_forgotten_connections() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = Bed::start(&BedOptions::default())?;
    let web = SocketAddrV4::new(VIP, HTTP_PORT);
    let failing = bed.targets[1].address;
    bed.targets[1].nginx = None;
    wait_for("a refused connection", Duration::from_secs(20), || {
        bed.cli().enter(|| connect(None, web, PATIENCE)).ok()?.err()
    })?;
    ensure!(bed.appliance.counter("target_resets")? > 0, "the target's reset is not counted");
    let of_target = |bed: &Bed| -> Result<u64> {
        let stats = bed.appliance.stats()?;
        let target = stats.targets.iter().find(|it| it.target_group == "web" && it.id == failing.to_string());
        target.and_then(|it| it.counters.get("resets").copied()).context("no counter of the target's resets")
    };
    ensure!(of_target(&bed)? > 0, "not counted for the target");
    bed.appliance.wait_state("web", failing, TargetState::Unhealthy)?;
    let settled = of_target(&bed)?;
    tally(http_many(bed.cli(), web, 40, 4)?)?;
    ensure!(of_target(&bed)? == settled, "an unhealthy target still resets connections");

    let before = bed.appliance.counter("resets_sent")?;
    let forgotten = RawSegment {
        source: SocketAddrV4::new(CLIENT_ADDRESS, 2000),
        destination: SocketAddrV4::new(VIP, STREAM_PORT),
        sequence: 1,
        acknowledgment: 1,
        flags: Flags { ack: true, ..Flags::default() },
    };
    send_ipv4(bed.cli(), &vec![forgotten.packet()?; 10])?;
    wait_for("resets to a forgotten connection", Duration::from_secs(10), || {
        (bed.appliance.counter("resets_sent").ok()? >= before + 10).then_some(())
    })?;
    bed.appliance.wait_healthy("stream", &bed.addresses())?;
    bed.finish()
}

/// A connection to a transfer server that is used now and then.
struct Line {
    name: String,
    reader: BufReader<TcpStream>,
}

impl Line {
    fn open(source: Option<SocketAddrV4>, destination: SocketAddrV4) -> Result<Line> {
        let stream = connect(source, destination, PATIENCE)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut reader = BufReader::new(stream);
        let mut greeting = String::new();
        reader.read_line(&mut greeting).context("no greeting")?;
        let (name, _) = greeting.split_once(' ').context("a greeting cut short")?;
        Ok(Line { name: name.to_owned(), reader })
    }

    /// Something there, and the same back.
    fn exchange(&mut self) -> Result<()> {
        let mut echo = [0; 5];
        self.reader.get_mut().write_all(b"hello")?;
        self.reader.read_exact(&mut echo).context("no echo")?;
        ensure!(&echo == b"hello", "another echo: {echo:?}");
        Ok(())
    }
}

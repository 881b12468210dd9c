//! A thousand targets, or a hundred thousand connections, change at once: what becomes of the connections, and how long it takes until the
//! change is in force. They take minutes: only with `LEAT_LONG=1`, as `scripts/test --long` and `scripts/campaign` set it. The times are
//! printed, and nothing is demanded of them; docs/testing.md has some.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::sockets::{connect, listen_and_keep};
use leat_testbed::{
    ApiConnection, ApplianceOptions, Bed, BedOptions, CLIENT_ADDRESSES, Capture, Echo, Frame, HTTP_PORT, Namespace,
    Process, TARGET_BULK_PORT, TARGET_HTTP_PORT, TARGET_STREAM_PORT, VIP, client_address, e2e, nft, own_program,
    wait_for,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Targets at addresses that all are in the namespace of `t1`.
const COUNT: u16 = 1000;
const PREFIX: &str = "10.2.4.0/22";
const PORT: u16 = 9700;
const LISTENER: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// Source ports of health checks are below.
const NAT_PORTS: &str = "10000-65535";
/// Refuses checks of the targets in its set.
const FIREWALL: &str = "table ip checks {
    set refused { type ipv4_addr; }
    chain in {
        type filter hook input priority 0;
        ip daddr @refused tcp dport 9300 reject with tcp reset
    }
}
";
const HEALTH: Duration = Duration::from_secs(120);

fn is_long(test: &str) -> bool {
    let is_long = std::env::var_os("LEAT_LONG").is_some();
    if !is_long {
        let _ = writeln!(std::io::stderr(), "skipped: {test} takes minutes; scripts/test --long runs it");
    }
    is_long
}

/// The n-th target, from 0.
fn address(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 2, 4, 1)) + u32::from(number))
}

/// Seconds since 1970, as frames have them.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A bed whose first target is a thousand: group `many`, served at 9200 and checked at 9300, where a firewall can refuse the checks of
/// each of them.
struct Many {
    bed: Bed,
    _server: Echo,
}

impl Many {
    fn start() -> Result<Many> {
        let quota = ("quota", "targets-per-availability-zone-per-network-load-balancer=2000");
        let appliance = ApplianceOptions { control_plane: vec![quota], ..ApplianceOptions::default() };
        let mut bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
        let first = bed.targets[0].address;
        for group in ["web", "echo", "stream"] {
            bed.appliance.deregister(group, &[first])?;
        }
        bed.targets[0].stop();
        let host = bed.targets[0].namespace.clone();
        host.ip(&["route", "add", "local", PREFIX, "dev", "lo"])?;
        bed.topology.lb.ip(&["route", "add", PREFIX, "via", &first.to_string(), "dev", "leat-p1"])?;
        let server = Echo::start(&bed.run, &host, "many", Ipv4Addr::UNSPECIFIED)?;
        nft(&host, FIREWALL)?;
        let this = Many { bed, _server: server };
        this.bed.appliance.create_target_group("many", "TCP", TARGET_STREAM_PORT, TARGET_BULK_PORT, &json!({}))?;
        this.bed.appliance.register("many", &(0..COUNT).map(address).collect::<Vec<_>>())?;
        this.bed.appliance.create_listener("lb", "TCP", PORT, "many")?;
        this.wait_all(TargetState::Healthy)?;
        Ok(this)
    }

    /// Checks of these targets are refused from now on, and of no others.
    fn refuse(&self, numbers: impl Iterator<Item = u16>) -> Result<()> {
        let numbers: Vec<String> = numbers.map(|number| address(number).to_string()).collect();
        let mut script = "flush set ip checks refused\n".to_owned();
        if !numbers.is_empty() {
            script += &format!("add element ip checks refused {{ {} }}\n", numbers.join(", "));
        }
        nft(&self.bed.targets[0].namespace, &script)
    }

    fn wait_all(&self, state: TargetState) -> Result<()> {
        wait_for(&format!("all to be {state}"), HEALTH, || {
            let targets = self.bed.appliance.targets("many").ok()?;
            targets.iter().all(|target| target.health.state == state).then_some(())
        })
    }

    /// Captures the first segments of connections to the thousand, without those of health checks.
    fn capture(&self) -> Result<Capture> {
        let filter = format!("dst net {PREFIX} and tcp[13] == 2 and src portrange {NAT_PORTS}");
        Capture::start(&self.bed.run, "many", &self.bed.targets[0].namespace, "eth0", &filter)
    }
}

/// Clients that connect one connection after the other, each reset by them as soon as it is up.
struct Clients {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Clients {
    /// Each of the threads pauses so long after a connection.
    fn start(namespace: &Namespace, to: SocketAddrV4, threads: usize, pause: Duration) -> Clients {
        let (stop, made, failed): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let one = || {
            let (stop, made, failed) = (stop.clone(), made.clone(), failed.clone());
            namespace.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match connect(None, to, Duration::from_secs(10)) {
                        Ok(stream) => {
                            // No TIME_WAIT, so that the client does not run out of ports.
                            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                            made.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(_) => failed.fetch_add(1, Ordering::Relaxed),
                    };
                    std::thread::sleep(pause);
                }
            })
        };
        let threads = (0..threads).map(|_| one()).collect();
        Clients { stop, made, failed, threads }
    }

    /// How many connections there were, and how many failed.
    fn finish(self) -> Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(|thread| thread.join().expect("a client's thread"))?;
        Ok((self.made.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed)))
    }
}

fn destination(frame: &Frame) -> Option<Ipv4Addr> {
    frame.ipv4().map(|(_, destination)| destination)
}

/// Under connections all the time, a target is registered and deregistered: from its first passed check to its first connection, and from
/// the answer of the API to its last one.
///
/// req: TGT-08, TGT-09, DRN-01, DRN-03, ZN-12
#[test]
fn registered_targets_serve_at_once_and_deregistered_ones_never_more() -> Result<()> {
    const ROUNDS: usize = 10;
    if !is_long("registered_targets_serve_at_once_and_deregistered_ones_never_more") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let (leaving, host) = (bed.targets[0].address, &bed.targets[0].namespace);
    let mut api = ApiConnection::open(bed.appliance.rest.socket())?;
    let to = SocketAddrV4::new(VIP, HTTP_PORT);
    let clients = Clients::start(bed.cli(), to, 4, Duration::ZERO);
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    let body = json!({"targets": [{"id": leaving}]});
    for round in 0..ROUNDS {
        let filter = format!("dst host {leaving} and tcp dst port {TARGET_HTTP_PORT} and tcp[13] & 0x12 != 0");
        let capture = Capture::start(&bed.run, &format!("round{round}"), host, "eth0", &filter)?;
        let (status, answer) = api.call("POST", "/v1/target-groups/web/targets/deregister?wait=10", Some(&body))?;
        let answered = wall_clock();
        ensure!(status == 200, "{status} {answer}");
        std::thread::sleep(Duration::from_secs(1));
        let is_syn =
            |frame: &&Frame| frame.tcp().is_some_and(|it| it.flags.syn && !it.flags.ack && it.source.port() >= 10_000);
        let frames = capture.frames();
        let last = frames.iter().filter(is_syn).map(|frame| frame.time).max().unwrap_or(answered);
        ended.push(last.as_secs_f64() - answered.as_secs_f64());
        ensure!(last < answered + Duration::from_millis(500), "connections go on to come");

        let before = frames.len();
        api.call("POST", "/v1/target-groups/web/targets", Some(&body))?;
        let first = |frames: &[Frame]| frames[before..].iter().find(is_syn).map(|frame| frame.time);
        let first = wait_for("a connection to the target", HEALTH, || first(&capture.frames()))?;
        // The node's acknowledgement of the target's SYN: what the check waits for.
        let passed = capture.frames()[before..].iter().find_map(|frame| {
            let segment = frame.tcp()?;
            let is_check = segment.source.port() < 10_000 && segment.flags.ack && !segment.flags.syn;
            is_check.then_some(frame.time)
        });
        begun.push(first.as_secs_f64() - passed.context("no check was passed")?.as_secs_f64());
        drop(capture);
    }
    let (made, failed) = clients.finish()?;
    println!("{made} connections, {failed} failed");
    print_times("first passed check to first connection", begun);
    print_times("answer of the API to last new connection", ended);
    ensure!(failed == 0, "{failed} of {made} connections failed");
    bed.finish()
}

fn print_times(what: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN) * 1000.0;
    let (half, all) = (at(seconds.len() / 2), at(seconds.len() - 1));
    println!("{what}: {half:.1} ms (half), {all:.1} ms (all of {})", seconds.len());
}

/// A thousand targets fail in the same seconds: when the last one is found to have failed, all of them have new connections.
///
/// req: R13, HC-21, TGH-03, TRB-05, S16.2
#[test]
fn a_thousand_targets_fail_and_all_are_used() -> Result<()> {
    if !is_long("a_thousand_targets_fail_and_all_are_used") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let many = Many::start()?;
    let transfers = many.bed.start_transfers("others", 200)?;
    // So few that the last healthy target does not run out of source ports.
    let clients = Clients::start(many.bed.cli(), LISTENER, 16, Duration::from_millis(20));
    let capture = many.capture()?;
    let longest = |many: &Many| -> Result<u64> {
        Ok(many.bed.appliance.stats()?.lcores.iter().map(|lcore| lcore.longest_loop_us).max().unwrap_or(0))
    };
    let before = longest(&many)?;
    many.refuse(0..COUNT)?;
    many.wait_all(TargetState::Unhealthy)?;
    std::thread::sleep(Duration::from_secs(2));
    let after = longest(&many)?;
    let (made, failed) = clients.finish()?;

    // leat-cp's log tells when each was found out; the last one that was healthy is not one of the others.
    let found = failures(&many.bed);
    let (last_time, last) = found.last().copied().context("leat-cp's log tells of no failure")?;
    let frames = capture.stop()?;
    let switched = frames.iter().find(|frame| frame.time > last_time && destination(frame) != Some(last));
    let switched = switched.context("no connection to all of them")?.time;
    let meanwhile: Vec<Duration> =
        frames.iter().map(|frame| frame.time).filter(|time| *time > last_time && *time < switched).collect();
    let used: BTreeSet<Ipv4Addr> = frames.iter().filter(|it| it.time >= switched).filter_map(destination).collect();
    println!("{made} connections, {failed} failed; {} of {COUNT} targets had some after the switch", used.len());
    println!("last failure found to first connection to another: {:.1} ms", (switched - last_time).as_secs_f64() * 1e3);
    // Without any, it is the clients that have waited, to repeat their SYN.
    println!(
        "connections begun meanwhile: {}, the last {:.1} ms before the switch",
        meanwhile.len(),
        meanwhile.last().map_or(0.0, |last| (switched - *last).as_secs_f64() * 1e3)
    );
    println!("longest turn of an lcore: {before} µs before, {after} µs after");
    ensure!(found.len() == usize::from(COUNT), "{} failures in the log", found.len());
    ensure!(used.len() > 200, "after the switch {} targets had connections", used.len());
    many.bed.finish_transfers(transfers)?;
    many.bed.finish()
}

/// When leat-cp found each target of `many` unhealthy, in order.
fn failures(bed: &Bed) -> Vec<(Duration, Ipv4Addr)> {
    let log = bed.appliance.process.log_text();
    let failure = |line: &str| {
        let (head, rest) = line.split_once("target ")?;
        let socket: SocketAddrV4 = rest.split_once(" of many is unhealthy")?.0.parse().ok()?;
        let stamp = head.split_whitespace().find(|word| word.ends_with('Z'))?;
        Some((time_of(stamp)?, *socket.ip()))
    };
    log.lines().filter_map(failure).collect()
}

/// Today's time of day, as `2026-01-02T03:04:05.678901Z` has it, as seconds since 1970.
fn time_of(stamp: &str) -> Option<Duration> {
    const DAY: u64 = 24 * 3600;
    let (_, clock) = stamp.trim_end_matches('Z').split_once('T')?;
    let mut parts = clock.split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    let day = wall_clock().as_secs() / DAY * DAY;
    Some(Duration::from_secs(day + hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

/// Each second another half of a thousand targets has its checks refused, for half a minute or `LEAT_SECONDS`: nobody else's connections
/// notice, and clients of the thousand get through.
///
/// req: HC-20, RT-05, GEN-07
#[test]
fn a_thousand_flapping_targets_disturb_nobody_else() -> Result<()> {
    if !is_long("a_thousand_flapping_targets_disturb_nobody_else") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let seconds = std::env::var("LEAT_SECONDS").map_or(Ok(30), |text| text.parse::<u64>())?;
    let many = Many::start()?;
    let transfers = many.bed.start_transfers("others", 200)?;
    let clients = Clients::start(many.bed.cli(), LISTENER, 2, Duration::ZERO);
    let (begin, before) = (Instant::now(), many.bed.appliance.status()?.epoch);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for second in 0..seconds {
        let mut is_refused = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 1 == 1
        };
        many.refuse((0..COUNT).filter(|_| is_refused()))?;
        std::thread::sleep(Duration::from_secs(second + 1).saturating_sub(begin.elapsed()));
    }
    let changes = many.bed.appliance.status()?.epoch - before;
    let found = failures(&many.bed).len();
    many.refuse(std::iter::empty())?;
    let (made, failed) = clients.finish()?;
    println!(
        "{found} times a target became unhealthy, {changes} changes in {seconds} s; {made} connections, {failed} failed"
    );
    ensure!(found > usize::from(COUNT) / 10, "{found} is no storm");
    many.wait_all(TargetState::Healthy)?;
    many.bed.finish_transfers(transfers)?;
    many.bed.finish()
}

/// 100,000 connections to two targets that are deregistered, with termination: none ends before the delay, all do after it.
///
/// req: R15, DRN-02, DRN-05, S15.3
#[test]
fn a_hundred_thousand_connections_end_with_the_delay() -> Result<()> {
    const CONNECTIONS: usize = 100_000;
    const KEPT_PORT: u16 = 9500;
    const DELAY: u64 = 20;
    if !is_long("a_hundred_thousand_connections_end_with_the_delay") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let appliance = ApplianceOptions { flows_max: 262_144, ..ApplianceOptions::default() };
    let bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
    let at = |n: usize| SocketAddrV4::new(bed.targets[n].address, KEPT_PORT);
    let servers = (0..2).map(|n| listen_and_keep(&bed.targets[n].namespace, at(n))).collect::<Result<Vec<_>>>()?;
    let attributes = json!({
        "deregistration_delay.timeout_seconds": DELAY.to_string(),
        "deregistration_delay.connection_termination.enabled": "true",
    });
    let leaving = &bed.addresses()[..2];
    bed.serve(PORT, "kept", KEPT_PORT, leaving, &attributes)?;
    let clients = hold(&bed, CONNECTIONS)?;
    let others = bed.start_transfers("others", 100)?;
    let open = established(bed.cli())?;
    ensure!(open >= CONNECTIONS, "{open} connections");

    let mut api = ApiConnection::open(bed.appliance.rest.socket())?;
    let body: Value = json!({"targets": leaving.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    let asked = Instant::now();
    let (status, answer) = api.call("POST", "/v1/target-groups/kept/targets/deregister?wait=10", Some(&body))?;
    ensure!(status == 200, "{status} {answer}");
    let deadline = Duration::from_secs(DELAY);
    let (mut first, mut last) = (None, None);
    wait_for("the end of all connections", HEALTH, || {
        let now = established(bed.cli()).ok()?;
        let elapsed = asked.elapsed();
        if now < open {
            first.get_or_insert(elapsed);
        }
        last = Some(elapsed);
        (now <= open - CONNECTIONS).then_some(())
    })?;
    let (first, last) = (first.context("none ended")?, last.context("none ended")?);
    let after = |time: Duration| time.as_secs_f64() - deadline.as_secs_f64();
    println!(
        "{CONNECTIONS} connections: the first ended {:.2} s after the delay, the last {:.2} s",
        after(first),
        after(last)
    );
    ensure!(first >= deadline, "one ended {first:?} after the call");
    let left = bed.targets[..2].iter().map(|target| established(&target.namespace)).sum::<Result<usize>>()?;
    // Of the others, and health checks that the server has kept.
    ensure!(left < CONNECTIONS / 100, "{left} are left at the targets");
    drop((clients, servers));
    bed.finish_transfers(others)?;
    bed.finish()
}

/// Connections that are open in a namespace, at one of their ends.
fn established(namespace: &Namespace) -> Result<usize> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "CurrEstab");
    found.context("no CurrEstab")?.1.parse().context("CurrEstab is no number")
}

/// `count` connections, of all client addresses alike.
fn hold(bed: &Bed, count: usize) -> Result<Vec<Process>> {
    let share = (count / usize::from(CLIENT_ADDRESSES)).to_string();
    let start = |number: u8| {
        let mut command = bed.cli().command(own_program("leat-hold")?);
        command.args(["--from", &client_address(number).to_string(), "--to", &LISTENER.to_string()]);
        Process::spawn(&bed.run, &format!("hold-{number}"), command.args(["--connections", &share]))
    };
    let mut processes = (0..CLIENT_ADDRESSES).map(start).collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        process.wait_log(&format!("connected {share}\n"), Duration::from_secs(240))?;
    }
    Ok(processes)
}

//! All source ports towards a target, with kernel clients and servers. It takes minutes: only with
//! `LEAT_LONG=1`, as `scripts/test --long` sets it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::sockets::{connect, listen_and_keep, tcp_counter};
use leat_testbed::{
    ApplianceOptions, Bed, BedOptions, CLIENT_ADDRESSES, HTTP_PORT, Namespace, Process, VIP, client_address, e2e,
    http_get, own_program, wait_for,
};
use serde_json::json;
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Source ports of a node address towards one target.
const PORTS: usize = 55_000;
const KEPT_PORT: u16 = 9500;
const LISTENER: SocketAddrV4 = SocketAddrV4::new(VIP, 9101);
const WORKERS: usize = 8;

fn is_long(test: &str) -> bool {
    let is_long = std::env::var_os("LEAT_LONG").is_some();
    if !is_long {
        let _ = writeln!(std::io::stderr(), "skipped: {test} takes minutes; scripts/test --long runs it");
    }
    is_long
}

fn bed() -> Result<Bed> {
    let appliance = ApplianceOptions { flows_max: 262_144, ..ApplianceOptions::default() };
    Bed::start(&BedOptions { appliance, ..BedOptions::default() })
}

/// Of 60,000 connections to one target 55,000 succeed and the others are counted once each; nobody else suffers. After their
/// quarantine the ports are there again, and two targets have room for twice as many.
///
/// req: CIP-14
#[test]
fn every_source_port_is_used_once() -> Result<()> {
    const BEYOND: usize = 5_000;
    if !is_long("every_source_port_is_used_once") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed()?;
    let sockets = bed.addresses().into_iter().map(|address| SocketAddrV4::new(address, KEPT_PORT));
    let namespaces = bed.targets.iter().map(|target| &target.namespace);
    let servers =
        namespaces.zip(sockets).take(2).map(|(it, at)| listen_and_keep(it, at)).collect::<Result<Vec<_>>>()?;
    let (t1, t2) = (bed.targets[0].address, bed.targets[1].address);
    bed.serve(LISTENER.port(), "kept", KEPT_PORT, &[t1], &json!({}))?;

    let clients = hold(&bed, PORTS)?;
    ensure!(no_port(&bed)? == 0, "some of {PORTS} found no port at first");
    let flows = bed.appliance.counter("flows_created")?;
    attempt_in_vain(&bed, BEYOND)?;
    ensure!(no_port(&bed)? == BEYOND as u64, "{BEYOND} attempts were counted as {}", no_port(&bed)?);
    ensure!(bed.appliance.counter("flows_created")? == flows, "more flows than there are source ports");
    bed.cli()
        .enter(|| http_get(SocketAddrV4::new(VIP, HTTP_PORT)))?
        .context("other targets have ports of their own")?;
    drop(clients);

    close_kept(&servers[0])?;
    bed.appliance.register("kept", &[t2])?;
    bed.appliance.wait_healthy("kept", &[t1, t2])?;
    wait_for("the end of the quarantine", Duration::from_secs(180), || {
        let status = bed.appliance.stats().ok()?;
        (status.lcores.iter().map(|lcore| lcore.flows_used).sum::<u64>() < 100).then_some(())
    })?;
    // Chance does not send exactly half of them to either.
    let clients = hold(&bed, 2 * PORTS - 4_000)?;
    ensure!(no_port(&bed)? == BEYOND as u64, "some of them found no port at first");
    drop(clients);
    bed.finish()
}

/// Accepts what a server has kept, and closes it.
fn close_kept(server: &Socket) -> Result<()> {
    server.set_nonblocking(true)?;
    loop {
        match server.accept() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot accept"),
        }
    }
}

/// `count` connections, of all client addresses alike.
fn hold(bed: &Bed, count: usize) -> Result<Vec<Process>> {
    let mut processes = start_all(bed, count, &[])?;
    let share = count / usize::from(CLIENT_ADDRESSES);
    for process in &mut processes {
        process.wait_log(&format!("connected {share}\n"), Duration::from_secs(120))?;
    }
    Ok(processes)
}

/// `count` attempts that nobody answers, of all client addresses alike; each sends its SYN three times.
fn attempt_in_vain(bed: &Bed, count: usize) -> Result<()> {
    bed.cli().sysctl("net/ipv4/tcp_syn_retries", "2")?;
    for mut process in start_all(bed, count, &["--unanswered"])? {
        let status = process.wait_exit(Duration::from_secs(60))?;
        ensure!(status.success(), "{}", process.log_text());
    }
    bed.cli().sysctl("net/ipv4/tcp_syn_retries", "6")
}

/// One process for each address: all of it would be more than a process may have files.
fn start_all(bed: &Bed, count: usize, options: &[&str]) -> Result<Vec<Process>> {
    let share = (count / usize::from(CLIENT_ADDRESSES)).to_string();
    let start = |number: u8| {
        let mut command = bed.cli().command(own_program("leat-hold")?);
        command.args([
            "--from",
            &client_address(number).to_string(),
            "--to",
            &LISTENER.to_string(),
            "--connections",
            &share,
        ]);
        Process::spawn(&bed.run, &format!("hold-{count}-{number}"), command.args(options))
    };
    (0..CLIENT_ADDRESSES).map(start).collect()
}

/// Connections to one target by the tens of thousands a minute, closed by the target, so that it keeps TIME_WAIT while source ports come
/// round again, with timestamps of several clients: none is lost to the checks that a target makes of them.
///
/// req: TRB-04
#[test]
fn reused_source_ports_are_accepted() -> Result<()> {
    const SECONDS: u64 = 130;
    const PER_SECOND: usize = 800;
    if !is_long("reused_source_ports_are_accepted") {
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = bed()?;
    let target = &bed.targets[0];
    bed.serve(82, "one", 8080, &[target.address], &json!({}))?;
    let names = ["PAWSActive", "PAWSEstab", "ListenDrops", "TCPTimeWaitOverflow"];
    let counters = || names.iter().map(|name| tcp_counter(&target.namespace, name)).collect::<Result<Vec<u64>>>();
    let before = counters()?;
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let total = PER_SECOND * usize::try_from(SECONDS)?;
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return Ok(());
            }
            let due = begin + Duration::from_secs_f64(number as f64 / PER_SECOND as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let source = client_address(u8::try_from(number % usize::from(CLIENT_ADDRESSES))?);
            exchange(source, SocketAddrV4::new(VIP, 82)).with_context(|| format!("connection {number}"))?;
        }
    };
    in_parallel(bed.cli(), work)?;
    ensure!(counters()? == before, "{names:?}: {before:?} before, {:?} after", counters()?);
    ensure!(bed.appliance.drops("nat_ports_exhausted")? == 0, "more connections than a pool hands out");
    bed.finish()
}

/// One HTTP request; the server closes.
fn exchange(source: Ipv4Addr, destination: SocketAddrV4) -> Result<()> {
    let timeout = Duration::from_secs(20);
    let mut stream = connect(Some(SocketAddrV4::new(source, 0)), destination, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn in_parallel<T: Send>(namespace: &Namespace, work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| namespace.enter(&work)?)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// How many attempts of the listener found no source port.
fn no_port(bed: &Bed) -> Result<u64> {
    let stats = bed.appliance.stats()?;
    let listener = stats.listeners.iter().find(|it| it.port == LISTENER.port());
    listener.and_then(|it| it.counters.get("no_port").copied()).context("no counter no_port")
}

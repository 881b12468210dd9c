//! What checks of 10,000 targets every 5 s cost, next to a loop with as many idle sockets. `scripts/campaign --only checks` runs it.

use super::requests::{request, serve_on, tls_server};
use super::*;

const TARGETS: u64 = 10_000;
const INTERVAL: Duration = Duration::from_secs(5);
/// Until the checks are spread, and what is measured then.
const BEFORE: Duration = Duration::from_secs(10);
const LENGTH: Duration = Duration::from_secs(20);
const ANY: [u8; 4] = [0, 0, 0, 0];

/// Targets are addresses of the loopback network; one listener has the port on all of them. The time is that of the prober's thread alone,
/// in which on loopback also is what the kernel does for the targets' ends.
#[test]
#[ignore = "two minutes; scripts/campaign --only checks runs it"]
fn ten_thousand_targets() {
    raise_file_limit();
    println!("{TARGETS} idle sockets: {:.2} % of a CPU", idle());
    let web = serve_on(ANY, |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let _ = stream.read(&mut [0]);
    });
    let tls = tls_server(ANY, &rustls::version::TLS13).port();
    measure("TCP", TARGETS, serve_on(ANY, drop).port(), None);
    measure("HTTP", TARGETS, web.port(), Some(request("200")));
    // What answers them costs more than what makes them, and is to keep up.
    measure("HTTPS", TARGETS / 10, tls, Some(CheckRequest { tls: true, ..request("200") }));
}

fn measure(kind: &str, targets: u64, port: u16, request: Option<CheckRequest>) {
    let request = request.map(Arc::new);
    let target = |id: u64| SocketAddr::from(([127, 100, (id / 250) as u8, (id % 250) as u8 + 1], port));
    let check = |id| Check { interval: INTERVAL, request: request.clone(), ..check(id, target(id)) };
    let (prober, results) = start();
    prober.set_checks((0..targets).map(check).collect(), HashMap::new());
    let outcomes = |length: Duration| {
        let end = Instant::now() + length;
        let passed = std::iter::from_fn(|| results.recv_deadline(end).ok()).map(|result| result.outcome.is_ok());
        passed.fold((0, 0), |(checks, failed), passed| (checks + 1, failed + u32::from(!passed)))
    };
    outcomes(BEFORE);
    let (begin, before) = (Instant::now(), cpu_time("prober"));
    let (checks, failed) = outcomes(LENGTH);
    let (cpu, elapsed) = (cpu_time("prober") - before, begin.elapsed());
    let share = 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / f64::from(checks);
    println!(
        "{targets} targets by {kind}: {share:.2} % of a CPU, {checks} checks ({failed} failed), {each:.1} µs each"
    );
    assert!(checks > 0 && failed == 0, "{failed} of {checks} checks failed");
}

/// The share of a CPU that a loop takes with so many idle sockets.
fn idle() -> f64 {
    let (listener, target) = listen([127, 0, 1, 24]);
    let mut poll = Poll::new().expect("a poll");
    let mut sockets = Vec::new();
    while sockets.len() < TARGETS as usize {
        let stream = std::net::TcpStream::connect(target).expect("a connection");
        let (other, _) = listener.accept().expect("its other end");
        for stream in [stream, other] {
            stream.set_nonblocking(true).expect("a socket that does not wait");
            let mut stream = TcpStream::from_std(stream);
            let (token, interest) = (Token(sockets.len()), Interest::READABLE | Interest::WRITABLE);
            poll.registry().register(&mut stream, token, interest).expect("room for one more");
            sockets.push(stream);
        }
    }
    let looping = thread::Builder::new().name("idle".into()).spawn(move || {
        let mut events = Events::with_capacity(1024);
        let turn = |poll: &mut Poll, events: &mut Events| poll.poll(events, Some(BEAT)).expect("a turn");
        (0..TARGETS).for_each(|_| turn(&mut poll, &mut events));
    });
    // The first turns take what was there already.
    thread::sleep(Duration::from_secs(1));
    let before = cpu_time("idle");
    thread::sleep(LENGTH);
    let cpu = cpu_time("idle") - before;
    drop(looping);
    100.0 * cpu.as_secs_f64() / LENGTH.as_secs_f64()
}

/// User and system time of this process's thread of that name (proc(5): fields 14 and 15 of stat, in ticks of 10 ms).
fn cpu_time(name: &str) -> Duration {
    let mut tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let is_it = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.find(is_it).expect("the thread");
    let stat = std::fs::read_to_string(task.path().join("stat")).expect("its figures");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

mod requests;
mod scale;

use super::*;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use connect::classify;
use crossbeam_channel::Receiver;
use socket2::{Domain, Socket, Type};

/// Only there so that a broken test ends.
const PATIENCE: Duration = Duration::from_secs(30);

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));

fn start() -> (Prober, Receiver<ProbeResult>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    (Prober::start(sender, false).expect("the prober starts"), receiver)
}

fn check(id: CheckId, target: SocketAddr) -> Check {
    let (interval, timeout) = (Duration::from_millis(50), Duration::from_secs(10));
    Check { id, source: NODE, target, interval, timeout, proxy_protocol: false, request: None }
}

fn listen(address: impl Into<IpAddr>) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address.into(), 0)).expect("a listener");
    let local = listener.local_addr().expect("its address");
    (listener, local)
}

fn next(results: &Receiver<ProbeResult>) -> ProbeResult {
    results.recv_timeout(PATIENCE).expect("a result")
}

#[test]
fn passes_from_the_reserved_range_and_closes_with_fin() {
    let (listener, target) = listen([127, 0, 1, 1]);
    let (prober, results) = start();
    let reserved: HashSet<u16> = (1500..=9000).collect();
    prober.set_checks(vec![check(1, target)], HashMap::from([(NODE, reserved.clone())]));
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let (mut stream, peer) = listener.accept().expect("a probe");
        assert_eq!(peer.ip(), NODE, "req: HC-28");
        assert!((ports::FIRST..=ports::LAST).contains(&peer.port()), "req: S9.1: {peer}");
        assert!(!reserved.contains(&peer.port()));
        assert!(seen.insert(peer.port()), "ports rotate");
        // A target that speaks first must not be answered with a reset.
        let _ = stream.write_all(b"220 hello\r\n");
        assert_eq!(stream.read(&mut [0; 16]).expect("FIN, not RST"), 0, "req: HC-16");
        let result = next(&results);
        assert_eq!((result.id, result.outcome), (1, Ok(())));
    }
}

/// req: PP2-05
#[test]
fn a_header_that_names_nobody_comes_first_where_headers_are_expected() {
    let (listener, target) = listen([127, 0, 1, 14]);
    let (prober, results) = start();
    prober.set_checks(vec![Check { proxy_protocol: true, ..check(1, target) }], HashMap::new());
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().expect("a probe");
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).expect("FIN, not RST");
        assert_eq!(sent, [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x20, 0, 0, 0]);
        assert_eq!(next(&results).outcome, Ok(()));
    }
}

/// req: IPT-14
#[test]
fn ipv6_targets_are_checked_over_ipv6() {
    let loopback = std::net::Ipv6Addr::LOCALHOST;
    let Ok(listener) = TcpListener::bind((loopback, 0)) else {
        return eprintln!("skipped: no IPv6 here");
    };
    let target = listener.local_addr().expect("its address");
    let (prober, results) = start();
    prober.set_checks(vec![Check { source: loopback.into(), ..check(1, target) }], HashMap::new());
    let (_stream, peer) = listener.accept().expect("a probe");
    assert!(peer.is_ipv6() && (ports::FIRST..=ports::LAST).contains(&peer.port()), "{peer}");
    assert_eq!(next(&results).outcome, Ok(()));
    drop(listener);
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Target(Cause::Refused)));
}

#[test]
fn a_closed_port_is_refused() {
    let (listener, target) = listen([127, 0, 1, 2]);
    drop(listener);
    let (prober, results) = start();
    prober.set_checks(vec![check(2, target)], HashMap::new());
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Target(Cause::Refused)));
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Target(Cause::Refused)), "and again after the interval");
}

#[test]
fn a_target_that_does_not_answer_times_out() {
    // A full accept queue drops SYNs, as a black hole does.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 1, 3], 0)).into()).expect("bind");
    socket.listen(0).expect("listen");
    let target = socket.local_addr().expect("address").as_socket().expect("an IP address");
    let _queued = std::net::TcpStream::connect(target).expect("the one place in the queue");
    let (prober, results) = start();
    let hole = Check { timeout: Duration::from_millis(200), ..check(3, target) };
    prober.set_checks(vec![hole], HashMap::new());
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Target(Cause::Timeout)));
}

#[test]
fn an_address_that_is_not_ours_is_a_local_failure() {
    let (_listener, target) = listen([127, 0, 1, 4]);
    let (prober, results) = start();
    let foreign = Check { source: [192, 0, 2, 77].into(), ..check(4, target) };
    prober.set_checks(vec![foreign], HashMap::new());
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Local(io::ErrorKind::AddrNotAvailable)));
}

#[test]
fn no_free_port_is_a_local_failure() {
    let (_listener, target) = listen([127, 0, 1, 5]);
    let (prober, results) = start();
    prober.set_checks(vec![check(5, target)], HashMap::from([(NODE, (ports::FIRST..=ports::LAST).collect())]));
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Local(io::ErrorKind::AddrInUse)));
}

#[test]
fn a_port_held_by_somebody_else_is_passed_over() {
    let node = IpAddr::from([127, 0, 0, 11]);
    let _held = TcpListener::bind((node, 2000)).expect("hold one port");
    let (listener, target) = listen([127, 0, 1, 6]);
    let (prober, results) = start();
    let reserved = (ports::FIRST..=ports::LAST).filter(|port| ![2000, 2001].contains(port)).collect();
    prober.set_checks(vec![Check { source: node, ..check(6, target) }], HashMap::from([(node, reserved)]));
    let (_stream, peer) = listener.accept().expect("a probe");
    assert_eq!(peer.port(), 2001);
    assert_eq!(next(&results).outcome, Ok(()));
}

#[test]
fn many_targets_at_once_and_none_after_removal() {
    let (listener, up) = listen([127, 0, 1, 7]);
    let acceptor = thread::spawn(move || while listener.accept().is_ok_and(|(_, peer)| peer.ip() == NODE) {});
    let (closed, down) = listen([127, 0, 1, 8]);
    drop(closed);
    let (prober, results) = start();
    let checks: Vec<Check> = (0..1000).map(|id| check(id, if id % 2 == 0 { up } else { down })).collect();
    let checks: Vec<Check> = checks.into_iter().map(|check| Check { interval: PATIENCE, ..check }).collect();
    prober.set_checks(checks, HashMap::new());
    let mut seen = HashSet::new();
    while seen.len() < 1000 {
        let result = next(&results);
        let expected = if result.id.is_multiple_of(2) { Ok(()) } else { Err(ProbeFailure::Target(Cause::Refused)) };
        assert_eq!(result.outcome, expected, "check {}", result.id);
        assert!(seen.insert(result.id), "once each");
    }
    prober.set_checks(Vec::new(), HashMap::new());
    drop(prober);
    assert!(results.try_recv().is_err(), "the thread is gone and its sender with it");
    // Ends the acceptor.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(up.ip(), 0).into()).expect("bind");
    socket.connect(&up.into()).expect("connect");
    acceptor.join().expect("the acceptor ends");
}

#[test]
fn a_new_target_address_under_the_same_id_is_looked_at_anew() {
    let (closed, down) = listen([127, 0, 1, 9]);
    drop(closed);
    let (_listener, up) = listen([127, 0, 1, 10]);
    let (prober, results) = start();
    prober.set_checks(vec![Check { interval: PATIENCE, ..check(9, down) }], HashMap::new());
    assert_eq!(next(&results).outcome, Err(ProbeFailure::Target(Cause::Refused)));
    prober.set_checks(vec![Check { interval: PATIENCE, ..check(9, up) }], HashMap::new());
    assert_eq!(next(&results).outcome, Ok(()));
}

#[test]
fn errors_are_told_apart() {
    use rustix::io::Errno;
    let kind = |errno: Errno| classify(&io::Error::from_raw_os_error(errno.raw_os_error()));
    assert_eq!(kind(Errno::CONNREFUSED), ProbeFailure::Target(Cause::Refused));
    assert_eq!(kind(Errno::TIMEDOUT), ProbeFailure::Target(Cause::Timeout));
    assert_eq!(kind(Errno::HOSTUNREACH), ProbeFailure::Target(Cause::Unreachable));
    assert_eq!(kind(Errno::NETUNREACH), ProbeFailure::Target(Cause::Unreachable));
    assert!(matches!(kind(Errno::MFILE), ProbeFailure::Local(_)));
}

//! Checks by HTTP and HTTPS against servers that do as they should, and against such as do not.

use super::*;

use std::net::TcpStream;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

pub fn request(matcher: &str) -> CheckRequest {
    CheckRequest {
        tls: false,
        server_name: None,
        host: "127.0.0.10:80".into(),
        path: "/health?full=1".into(),
        matcher: matcher.parse().expect("a matcher"),
        body_contains: None,
    }
}

pub fn asking(id: CheckId, target: SocketAddr, request: CheckRequest) -> Check {
    Check { request: Some(Arc::new(request)), ..check(id, target) }
}

fn failed(cause: Cause) -> Result<(), ProbeFailure> {
    Err(ProbeFailure::Target(cause))
}

fn serve(act: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    serve_on([127, 0, 1, 20], act)
}

/// A server that does the same with each connection, on a thread for each.
pub fn serve_on(address: [u8; 4], act: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let (listener, address) = listen(address);
    // Many checks may begin at once.
    socket2::SockRef::from(&listener).listen(4096).expect("a longer queue");
    let act = Arc::new(act);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let act = act.clone();
            thread::spawn(move || act(stream));
        }
    });
    address
}

/// Reads a request, up to its empty line.
fn read_request(stream: &mut impl Read) -> Vec<u8> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    request
}

/// Answers a request with these bytes, and waits for the end.
fn answering(answer: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(answer);
        let _ = stream.read(&mut [0]);
    })
}

/// The first verdict of each check, in their order.
fn verdicts(checks: Vec<Check>, strict_parity: bool) -> Vec<Result<(), ProbeFailure>> {
    let (sender, results) = crossbeam_channel::unbounded();
    let prober = Prober::start(sender, strict_parity).expect("the prober starts");
    let count = checks.len();
    prober.set_checks(checks, HashMap::new());
    let mut first = HashMap::new();
    while first.len() < count {
        let result = next(&results);
        first.entry(result.id).or_insert(result.outcome);
    }
    (0..count as CheckId).map(|id| first[&id]).collect()
}

/// req: HC-03, HC-16, HC-23, HC-28, PP2-05
#[test]
fn a_request_is_sent_and_the_connection_closed_with_fin() {
    let (listener, target) = listen([127, 0, 1, 21]);
    let (prober, results) = start();
    for proxy_protocol in [false, true] {
        prober.set_checks(
            vec![Check { proxy_protocol, ..asking(u64::from(proxy_protocol), target, request("200")) }],
            HashMap::new(),
        );
        let (mut stream, peer) = listener.accept().expect("a probe");
        assert!(peer.ip() == NODE && (ports::FIRST..=ports::LAST).contains(&peer.port()));
        let sent = read_request(&mut stream);
        let header: &[u8] = if proxy_protocol { b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" } else { b"" };
        // The header has what looks like the end of a request.
        let sent = if proxy_protocol { [sent, read_request(&mut stream)].concat() } else { sent };
        let asked = b"GET /health?full=1 HTTP/1.1\r\nHost: 127.0.0.10:80\r\nConnection: close\r\n\
                      User-Agent: ELB-HealthChecker/2.0\r\n\r\n";
        assert_eq!(sent, [header, asked].concat());
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("an answer");
        assert_eq!(next(&results).outcome, Ok(()));
        assert_eq!(stream.read(&mut [0; 16]).expect("FIN, not RST"), 0);
    }
}

/// req: HC-08
#[test]
fn the_matcher_judges_the_status_and_redirects_are_not_followed() {
    let ok = answering(b"HTTP/1.1 200 OK\r\n\r\n");
    let moved = answering(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n");
    let missing = answering(b"HTTP/1.1 404 Not Found\r\n\r\n");
    let checks = [(ok, "200-399"), (moved, "200-399"), (missing, "200-399"), (missing, "200,404"), (moved, "200")];
    let checks = (0..).zip(checks).map(|(id, (target, matcher))| asking(id, target, request(matcher))).collect();
    let expected = [Ok(()), Ok(()), failed(Cause::Status(404)), Ok(()), failed(Cause::Status(301))];
    assert_eq!(verdicts(checks, false), expected);
}

/// Every bad answer has its cause, and a few KiB of it are read; the checks of others go on meanwhile.
///
/// req: R24, TRB-01
#[test]
fn bad_answers_have_their_causes() {
    let endless = |begin: &'static [u8], more: &'static [u8], pause_ms: u64| {
        serve(move |mut stream| {
            read_request(&mut stream);
            let mut good = stream.write_all(begin).is_ok();
            while good {
                good = stream.write_all(more).is_ok();
                thread::sleep(Duration::from_millis(pause_ms));
            }
        })
    };
    let reset = serve(|mut stream| {
        read_request(&mut stream);
        let socket = Socket::from(stream);
        let _ = socket.set_linger(Some(Duration::ZERO));
    });
    const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n";
    let ready = |text: &str| CheckRequest { body_contains: Some(text.into()), ..request("200-399") };
    let plain = || request("200-399");
    let cases = [
        (endless(b"HTTP/1.1 200 OK\r\n", b"x-again: and again\r\n", 0), plain(), failed(Cause::HeadTooLarge)),
        (endless(b"", b"H", 300), plain(), failed(Cause::NotHttp)),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", 300), plain(), failed(Cause::Timeout)),
        (endless(LONG, &[b'x'; 4096], 0), plain(), Ok(())),
        (endless(LONG, &[b'x'; 4096], 0), ready("ready"), failed(Cause::BodyLacksText)),
        (endless(LONG, b"are you ready?", 0), ready("ready"), Ok(())),
        (answering(b"HTTP/1.1 200 OK\r\n\r\nalmost"), ready("ready"), failed(Cause::BodyLacksText)),
        (answering(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), plain(), failed(Cause::NotHttp)),
        (answering(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64"), plain(), failed(Cause::NotHttp)),
        (answering(b"SSH-2.0-OpenSSH_9.2p1\r\n"), plain(), failed(Cause::NotHttp)),
        (answering(b"\x15\x03\x01\0\x02\x02\x28"), plain(), failed(Cause::NotHttp)),
        (answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), plain(), Ok(())),
        (serve(drop), plain(), failed(Cause::ClosedEarly)),
        (serve(|mut stream| drop(read_request(&mut stream))), plain(), failed(Cause::ClosedEarly)),
        (serve(|mut stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"))), plain(), failed(Cause::ClosedEarly)),
        (reset, plain(), failed(Cause::ClosedEarly)),
        (
            serve(|mut stream| {
                read_request(&mut stream);
                thread::sleep(PATIENCE);
            }),
            plain(),
            failed(Cause::Timeout),
        ),
    ];
    let (mut checks, mut expected) = (Vec::new(), Vec::new());
    for (id, (target, request, outcome)) in (0..).zip(cases) {
        checks.push(Check { timeout: Duration::from_secs(2), ..asking(id, target, request) });
        expected.push(outcome);
    }
    assert_eq!(verdicts(checks, false), expected);
}

/// A server of TLS with a certificate that it has signed itself; it answers with the name that it was asked for.
pub fn tls_server(address: [u8; 4], version: &'static rustls::SupportedProtocolVersion) -> SocketAddr {
    let names = vec!["somebody-else.example".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("versions");
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).expect("a server");
    let config = Arc::new(config);
    serve_on(address, move |mut stream| {
        let mut connection = ServerConnection::new(config.clone()).expect("a connection");
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        if !read_request(&mut tls).is_empty() {
            let name = tls.conn.server_name().unwrap_or("nobody").to_owned();
            let _ = write!(tls, "HTTP/1.1 200 OK\r\n\r\nyou asked for {name}.");
            let _ = tls.read(&mut [0]);
        }
    })
}

/// req: HC-24, HC-26
#[test]
fn https_speaks_tls_1_2_and_1_3_and_takes_any_certificate() {
    let (old, new) =
        (tls_server([127, 0, 1, 23], &rustls::version::TLS12), tls_server([127, 0, 1, 23], &rustls::version::TLS13));
    let https = |text: &str| CheckRequest { tls: true, body_contains: Some(text.into()), ..request("200") };
    let named = |name: &str| CheckRequest { server_name: Some(name.into()), ..https(&format!("asked for {name}.")) };
    let checks = || {
        let cases =
            [(old, https("nobody")), (new, https("nobody")), (old, named("a.example")), (new, named("a.example"))];
        (0..).zip(cases).map(|(id, (target, request))| asking(id, target, request)).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(checks(), false), [Ok(()); 4]);
    // The limit of the load balancer that this one behaves as.
    let refused = failed(Cause::TlsAlert(70));
    assert_eq!(verdicts(checks(), true), [Ok(()), refused, Ok(()), refused]);
}

/// req: HC-24, R24
#[test]
fn failed_handshakes_have_their_causes() {
    let cases = [
        (serve(|mut stream| drop(stream.write_all(b"\x15\x03\x01\0\x02\x02\x28"))), failed(Cause::TlsAlert(40))),
        (serve(|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"))), failed(Cause::TlsFailed)),
        (
            serve(|mut stream| while stream.write_all(&[0x16, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff]).is_ok() {}),
            failed(Cause::TlsFailed),
        ),
        (serve(|mut stream| drop(stream.read(&mut [0; 4096]))), failed(Cause::ClosedEarly)),
    ];
    let (mut checks, mut expected) = (Vec::new(), Vec::new());
    for (id, (target, outcome)) in (0..).zip(cases) {
        let request = CheckRequest { tls: true, ..request("200") };
        checks.push(Check { timeout: Duration::from_secs(2), ..asking(id, target, request) });
        expected.push(outcome);
    }
    assert_eq!(verdicts(checks, false), expected);
}

/// req: HC-16
#[test]
fn ten_thousand_checks_leave_no_socket() {
    let node = IpAddr::from([127, 0, 0, 77]);
    let closed = listen([127, 0, 1, 22]).1;
    let (open, web) = (serve(drop), answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let tls = tls_server([127, 0, 1, 23], &rustls::version::TLS13);
    let often = |check: Check| Check { source: node, interval: Duration::from_millis(2), ..check };
    let mut checks: Vec<Check> = (0..10)
        .flat_map(|id| [check(3 * id, closed), check(3 * id + 1, open), asking(3 * id + 2, web, request("200"))])
        .map(often)
        .collect();
    checks.push(Check {
        interval: Duration::from_millis(50),
        ..often(asking(99, tls, CheckRequest { tls: true, ..request("200") }))
    });
    let (prober, results) = start();
    prober.set_checks(checks, HashMap::new());
    for _ in 0..10_000 {
        next(&results);
    }
    prober.set_checks(Vec::new(), HashMap::new());
    // Sockets of that address which somebody still holds: their inode is not 0, other than of those in TIME_WAIT.
    let held = || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        table.lines().filter(|line| line.contains(": 4D00007F:") && line.split_whitespace().nth(9) != Some("0")).count()
    };
    let end = Instant::now() + PATIENCE;
    while held() > 0 {
        assert!(Instant::now() < end, "{} sockets are left", held());
        thread::sleep(Duration::from_millis(20));
    }
}

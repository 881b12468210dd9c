use super::*;
use leat_model::rest::Event;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender as Channel, channel};

/// How the receiver answers a request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Broken,
    Elsewhere,
    /// The connection is closed without an answer.
    Silent,
}

/// Reads a request; its head and its body.
fn read(stream: &mut impl Read) -> (String, String) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).expect("a line") > 0 {}
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

fn answer(stream: &mut impl Write, mood: Mood) {
    let status = match mood {
        Mood::Well => "204 No Content",
        Mood::Broken => "500 Internal Server Error",
        Mood::Elsewhere => "302 Found\r\nlocation: /other",
        Mood::Silent => return,
    };
    // The other end may have gone.
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

/// A receiver on an address that answers as it is told, one request a mood.
struct Hook {
    moods: Channel<Mood>,
    bodies: Receiver<(String, WebhookBody)>,
}

impl Hook {
    fn start(listener: TcpListener) -> Self {
        let ((moods, next), (told, bodies)) = (channel(), channel());
        thread::spawn(move || {
            for mood in next {
                let (mut stream, _): (TcpStream, SocketAddr) = listener.accept().expect("a connection");
                let (head, body) = read(&mut stream);
                answer(&mut stream, mood);
                if told.send((head, serde_json::from_str(&body).expect("JSON"))).is_err() {
                    return;
                }
            }
        });
        Self { moods, bodies }
    }

    fn next(&self, mood: Mood) -> WebhookBody {
        self.moods.send(mood).expect("it lives");
        self.bodies.recv_timeout(Duration::from_secs(20)).expect("a body").1
    }
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook/secret-7?token=secret-8", listener.local_addr().expect("an address"));
    (listener, url)
}

fn settings(url: &str) -> Settings {
    let urls = vec![url.parse().expect("a URL")];
    Settings { urls, wanted: Wanted::DEFAULT.to_vec(), ca: None, retry: Duration::from_millis(50) }
}

fn target(from: &str, to: &str) -> Transition {
    Transition { target: Some("10.2.0.11:8080".into()), from: Some(from.into()), ..EventType::Target.to(to) }
}

fn states(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.what.to.as_str()).collect()
}

/// A receiver that is down, broken or silent gets the events when it is well again: nothing is lost, and the order stays. Meanwhile
/// the status says so, without the URL's secrets.
///
/// req: HC-29
#[test]
fn a_receiver_that_recovers_gets_what_it_has_missed() {
    let (listener, url) = listener();
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let log = Arc::new(EventLog::new());
    let webhooks = Webhooks::start(&settings(&url), &log).expect("a thread");
    let wait_for_warning = |has: bool| {
        while webhooks.warnings().next().is_some() != has {
            thread::sleep(Duration::from_millis(10));
        }
        webhooks.warnings().next().unwrap_or_default()
    };
    log.add(0, vec![target("healthy", "unhealthy")]);
    let warning = wait_for_warning(true);
    assert!(warning.contains(&format!("http://{address}:")) && !warning.contains("secret"), "{warning}");

    let hook = Hook::start(TcpListener::bind(address).expect("the port"));
    assert_eq!(states(&hook.next(Mood::Broken).events), ["unhealthy"]);
    log.add(0, vec![target("unhealthy", "healthy"), target("healthy", "draining")]);
    for mood in [Mood::Silent, Mood::Elsewhere, Mood::Broken] {
        assert_eq!(hook.next(mood).events[0].sequence, 1, "{mood:?}");
    }
    let body = hook.next(Mood::Well);
    assert_eq!(states(&body.events), ["unhealthy", "healthy"], "the default leaves out what was commanded");
    assert_eq!((body.dropped, body.boot_id.as_str()), (0, log.boot_id()));
    wait_for_warning(false);
    log.add(0, vec![Transition { port: Some("p0".into()), ..EventType::Port.to("down") }]);
    let body = hook.next(Mood::Well);
    assert_eq!(
        (states(&body.events), body.events[0].sequence),
        (vec!["down"], 4),
        "what was taken does not come again"
    );
    log.close();
}

/// One that takes its time, or never answers, holds nobody up: neither who adds events nor other receivers; what the log
/// cannot keep for it is counted.
///
/// req: HC-29
#[test]
fn a_slow_receiver_holds_nobody_up() {
    let ((slow, slow_url), (listener, url)) = (listener(), listener());
    let log = Arc::new(EventLog::new());
    let mut settings = settings(&url);
    settings.urls.insert(0, slow_url.parse().expect("a URL"));
    let _webhooks = Webhooks::start(&settings, &log).expect("threads");
    log.add(0, vec![target("healthy", "unhealthy")]);
    // The slow one has the request and does not answer.
    let (mut stream, _) = slow.accept().expect("a connection");
    read(&mut stream);
    let hook = Hook::start(listener);
    assert_eq!(states(&hook.next(Mood::Well).events), ["unhealthy"]);
    for _ in 0..20_000 {
        log.add(0, vec![target("unhealthy", "healthy")]);
    }
    let mut seen = 0;
    while seen < 20_001 {
        let body = hook.next(Mood::Well);
        assert!((1..=EVENTS_MAX).contains(&body.events.len()));
        seen = body.events.last().expect("one").sequence;
    }
    drop(stream);
    let hook = Hook::start(slow);
    let body = hook.next(Mood::Well);
    assert_eq!((body.dropped, body.events[0].sequence), (10_001, 10_002), "the oldest were dropped");
    log.close();
}

/// req: HC-29
#[test]
fn https_needs_a_certificate_that_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&ca, pair.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![pair.cert.der().clone()], key).expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (told, bodies) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, stream.expect("a stream"));
            // Who does not trust it says nothing.
            if stream.conn.complete_io(&mut stream.sock).is_ok() {
                let body = read(&mut stream).1;
                answer(&mut stream, Mood::Well);
                let _ = told.send(body);
            }
        }
    });
    let url = format!("https://localhost:{port}/");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let stranger = directory.path().join("other.pem");
    std::fs::write(&stranger, other.cert.pem()).expect("written");
    let log = Arc::new(EventLog::new());
    log.add(0, vec![target("healthy", "unhealthy")]);
    let distrusting = Settings { ca: Some(stranger), ..settings(&url) };
    let webhooks = Webhooks::start(&distrusting, &log).expect("a thread");
    while webhooks.warnings().next().is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(bodies.try_recv().is_err(), "nothing is told to a stranger");
    let trusting = Settings { ca: Some(ca), ..settings(&url) };
    let _webhooks = Webhooks::start(&trusting, &log).expect("a thread");
    let body: WebhookBody =
        serde_json::from_str(&bodies.recv_timeout(Duration::from_secs(20)).expect("a body")).expect("JSON");
    assert_eq!(states(&body.events), ["unhealthy"]);
    log.close();
    let missing = Settings { ca: Some(directory.path().join("none.pem")), ..settings(&url) };
    assert!(matches!(Webhooks::start(&missing, &log), Err(WebhookError::Ca(..))));
}

#[test]
fn urls_are_shown_without_secrets() {
    let url: Url = "https://hooks.example:8443/services/T0/secret?x=secret".parse().expect("a URL");
    assert_eq!(
        (url.to_string(), format!("{url:?}")),
        ("https://hooks.example:8443".into(), "https://hooks.example:8443".into())
    );
    for wrong in ["hooks.example", "ftp://hooks.example", "http://", "https://user:secret@hooks.example/", "http://a b"]
    {
        let error = wrong.parse::<Url>().expect_err(wrong);
        assert!(!error.contains("secret@"), "{error}");
    }
}

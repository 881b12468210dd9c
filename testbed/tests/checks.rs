//! Health checks by HTTP and HTTPS, and what happens when none are made.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::rest::TargetState;
use leat_testbed::{Bed, BedOptions, HTTP_PORT, Process, StoppedThread, Target, VIP, e2e, http_many, tally, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Virtual hosts: 404 for every name but `www.example.com`.
const HOSTS_PORT: u16 = 8081;
/// `/ready` is 200, anything else 404; requests are logged.
const WEB_PORT: u16 = 8082;
/// The same over TLS 1.3 alone, with a certificate signed by itself.
const TLS_PORT: u16 = 8443;
/// Answers come after 4 and after 9 seconds.
const SLOW_PORTS: [(u16, u64); 2] = [(8101, 4), (8102, 9)];
const PATIENCE: Duration = Duration::from_secs(40);

/// A web server of a target, and the requests that it was asked.
struct Web {
    _process: Process,
    log: PathBuf,
}

/// A line of the log.
#[derive(Debug)]
struct Asked {
    from: String,
    host: String,
    request: String,
}

impl Web {
    fn start(bed: &Bed, target: &Target) -> Result<Web> {
        let directory = bed.run.dir().join(format!("checked-{}", target.name));
        fs::create_dir_all(&directory)?;
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=somebody-else", "-out", "cert.pem", "-keyout", "key.pem"]);
        let made = openssl.current_dir(&directory).stdin(Stdio::null()).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let address = target.address;
        let configuration = format!(
            r#"daemon off;
master_process off;
pid nginx.pid;
events {{ }}
http {{
    log_format asked '$remote_addr|$http_host|$request|$http_user_agent';
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen {address}:{HOSTS_PORT} default_server; return 404; }}
    server {{ listen {address}:{HOSTS_PORT}; server_name www.example.com; return 200 "welcome"; }}
    server {{
        listen {address}:{WEB_PORT};
        access_log asked.log asked;
        location / {{ return 404; }}
        location = /ready {{ return 200 "all is ready"; }}
    }}
    server {{
        listen {address}:{TLS_PORT} ssl;
        ssl_certificate cert.pem;
        ssl_certificate_key key.pem;
        ssl_protocols TLSv1.3;
        return 200 "secret";
    }}
}}
"#
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration)?;
        let mut command = target.namespace.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&directory).arg("-c").arg(&file);
        let process = Process::spawn(&bed.run, &format!("checked-{}", target.name), &mut command)?;
        Ok(Web { _process: process, log: directory.join("asked.log") })
    }

    fn asked(&self) -> Vec<Asked> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let line = |line: &str| {
            let mut fields = line.split('|').map(str::to_owned);
            Some(Asked { from: fields.next()?, host: fields.next()?, request: fields.collect::<Vec<_>>().join(" ") })
        };
        text.lines().filter_map(line).collect()
    }

    /// Waits for so many requests with this Host header.
    fn wait_asked(&self, host: &str, count: usize) -> Result<Vec<Asked>> {
        let those = || self.asked().into_iter().filter(|asked| asked.host == host).collect::<Vec<_>>();
        let what = format!("{count} requests to {host}");
        wait_for(&what, PATIENCE, || Some(those()).filter(|asked| asked.len() >= count))
            .with_context(|| format!("seen: {:?}", self.asked()))
    }
}

/// A server that answers so late, until the program ends.
fn start_slow(target: &Target, port: u16, seconds: u64) -> Result<()> {
    let address = SocketAddrV4::new(target.address, port);
    let listener = target.namespace.enter(|| TcpListener::bind(address))??;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.read(&mut [0; 1024]);
            });
        }
    });
    Ok(())
}

/// A group of one target behind listeners, checked every 5 s unless the check says otherwise.
fn serve(bed: &Bed, name: &str, protocol: &str, ports: &[u16], check: &Value, target: Ipv4Addr) -> Result<()> {
    let mut health = json!({"intervalSeconds": 5, "healthyThresholdCount": 2, "unhealthyThresholdCount": 2});
    let fields = health.as_object_mut().context("an object")?;
    fields.extend(check.as_object().context("an object")?.clone());
    let body = json!({"name": name, "protocol": protocol, "port": 8080, "healthCheck": health});
    bed.appliance.rest.expect("POST", "/v1/target-groups", Some(&body))?;
    bed.appliance.register(name, &[target])?;
    ports.iter().try_for_each(|port| bed.appliance.create_listener("lb", protocol, *port, name).map(drop))
}

fn description(bed: &Bed, group: &str, address: Ipv4Addr) -> Result<String> {
    let target = bed.appliance.targets(group)?.into_iter().find(|target| target.id == address.to_string());
    let health = target.context("the target is listed")?.health;
    Ok(format!("{} {}", health.reason.unwrap_or_default(), health.description.unwrap_or_default()))
}

/// What a target's server answers decides, by each group's own settings; it sees node and listener in the Host header.
///
/// req: HC-02, HC-03, HC-04, HC-08, HC-14, HC-23, HC-24, HC-25, HC-26, HC-27, HC-28, HC-31, GEN-05, TRB-01, TRB-06
#[test]
fn answers_decide() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let (t1, t2) = (bed.targets[0].address, bed.targets[1].address);
    let web = Web::start(&bed, &bed.targets[0])?;
    let http = |port: u16, path: &str| json!({"protocol": "HTTP", "port": port, "path": path});
    for (port, seconds) in SLOW_PORTS {
        start_slow(&bed.targets[1], port, seconds)?;
        // The interval has to be given: the time-out is HTTP's default of 6 s.
        let check = json!({"protocol": "HTTP", "port": port, "intervalSeconds": 6});
        serve(&bed, &format!("slow-{seconds}"), "TCP", &[port], &check, t2)?;
    }
    serve(&bed, "asked", "TCP", &[7002, 7001], &http(WEB_PORT, "/ready"), t1)?;
    serve(&bed, "hosts", "TCP", &[7003], &http(HOSTS_PORT, "/"), t1)?;
    let codes = json!({"protocol": "HTTP", "port": WEB_PORT, "path": "/four", "matcher": "200,404"});
    serve(&bed, "codes", "TCP", &[7004], &codes, t1)?;
    serve(&bed, "https", "TCP", &[7005], &json!({"protocol": "HTTPS", "port": TLS_PORT}), t1)?;
    let ready = json!({"protocol": "HTTP", "port": WEB_PORT, "path": "/ready", "bodyContains": "is ready"});
    serve(&bed, "udp", "UDP", &[7006], &ready, t1)?;

    for group in ["asked", "codes", "https", "udp"] {
        bed.appliance.wait_state(group, t1, TargetState::Healthy)?;
    }
    let first = web.wait_asked(&format!("{VIP}:7001"), 1)?.remove(0);
    ensure!(first.from == VIP.to_string(), "{first:?}");
    ensure!(first.request == "GET /ready HTTP/1.1 ELB-HealthChecker/2.0", "{first:?}");

    // The server knows no host of the node's name.
    bed.appliance.wait_state("hosts", t1, TargetState::Unhealthy)?;
    let why = description(&bed, "hosts", t1)?;
    ensure!(why == "Target.FailedHealthChecks Health checks failed: the target answered with status 404", "{why}");
    bed.appliance.wait_state("asked", t1, TargetState::Healthy)?;
    let body = json!({"healthCheck": {"host": "www.example.com"}});
    bed.appliance.rest.expect("PATCH", "/v1/target-groups/hosts", Some(&body))?;
    bed.appliance.deregister("asked", &[t1])?;
    let before = web.wait_asked(&format!("{VIP}:7001"), 1)?.len();
    bed.appliance.wait_state("hosts", t1, TargetState::Healthy)?;
    web.wait_asked(&format!("{VIP}:7001"), before + 2)?;
    bed.appliance.wait_state("asked", t1, TargetState::Draining)?;

    bed.appliance.wait_state("slow-9", t2, TargetState::Unhealthy)?;
    let why = description(&bed, "slow-9", t2)?;
    ensure!(why.ends_with("the target did not answer in time"), "{why}");
    bed.appliance.wait_state("slow-4", t2, TargetState::Healthy)?;

    drop(web);
    bed.appliance.wait_state("udp", t1, TargetState::Unhealthy)?;
    bed.appliance.wait_state("web", t1, TargetState::Healthy)?;
    bed.finish()
}

/// With a node in each of two zones, a target that both use is checked by both.
///
/// req: HC-15, TRB-03
#[test]
fn each_node_checks() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let web = Web::start(&bed, &bed.targets[0])?;
    let t1 = bed.targets[0].address;
    let nodes = json!([{"zone": "zone-a", "address": "10.1.0.11"}, {"zone": "zone-b", "address": "10.1.0.12"}]);
    bed.appliance.rest.expect("POST", "/v1/load-balancers", Some(&json!({"name": "both", "nodes": nodes})))?;
    let check = json!({"protocol": "HTTP", "port": WEB_PORT, "path": "/ready"});
    serve(&bed, "both", "TCP", &[], &check, t1)?;
    bed.appliance.create_listener("both", "TCP", 80, "both")?;
    bed.appliance.wait_state("both", t1, TargetState::Healthy)?;
    let one = web.wait_asked("10.1.0.11:80", 4)?;
    let other = web.wait_asked("10.1.0.12:80", 3)?;
    ensure!(one.iter().all(|asked| asked.from == "10.1.0.11"), "{one:?}");
    ensure!(other.iter().all(|asked| asked.from == "10.1.0.12"), "{other:?}");
    bed.finish()
}

/// While the thread that checks stands still, nobody's health is known, and traffic goes on as before.
///
/// req: HC-32
#[test]
fn a_checker_that_stands_still_is_noticed() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let mut bed = Bed::start(&BedOptions::default())?;
    let addresses = bed.addresses();
    bed.targets[1].nginx = None;
    bed.appliance.wait_state("web", addresses[1], TargetState::Unhealthy)?;

    let checker = StoppedThread::stop(bed.appliance.control_plane_pid()?, "prober")?;
    for address in &addresses {
        bed.appliance.wait_state("web", *address, TargetState::Unavailable)?;
    }
    let why = description(&bed, "web", addresses[0])?;
    ensure!(why == "Elb.InternalError Health checks failed due to an internal error", "{why}");
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 100, 4)?)?;
    ensure!(counts.len() == 3 && !counts.contains_key("t2"), "requests went to {counts:?}");

    drop(checker);
    bed.appliance.wait_state("web", addresses[1], TargetState::Unhealthy)?;
    bed.appliance.wait_state("web", addresses[0], TargetState::Healthy)?;
    bed.finish()
}

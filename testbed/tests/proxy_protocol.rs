//! PROXY protocol v2 headers as servers that people use read them: nginx and HAProxy.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::sockets::connect;
use leat_testbed::{
    ApplianceOptions, Bed, BedOptions, CLIENT_ADDRESS, Process, Run, TARGET_PROXIED_PORT, Target, VIP, e2e, wait_for,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

const PROXIED: SocketAddrV4 = SocketAddrV4::new(VIP, 83);
/// Where nginx and HAProxy listen on their targets.
const SERVER_PORT: u16 = 8081;
const DEADLINE: Duration = Duration::from_secs(15);

fn attributes(proxied: bool, preserve: bool) -> Value {
    json!({"proxy_protocol_v2.enabled": proxied.to_string(), "preserve_client_ip.enabled": preserve.to_string()})
}

/// nginx and HAProxy accept the header, and learn from it the client and what it connected to, whatever the packets' addresses are:
/// the client's own or the node's, of IPv4 or translated from IPv6.
///
/// req: PP2-03, PP2-04, IPT-07
#[test]
fn servers_learn_the_client_from_the_header() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let appliance = ApplianceOptions { ipv6: true, ..ApplianceOptions::default() };
    let bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
    let nginx = start_nginx(&bed.run, &bed.targets[0])?;
    let haproxy = start_haproxy(&bed.run, &bed.targets[1])?;
    let nodes = ["10.1.0.20", "fd00:1::20"];
    let zone = json!({"zone": "zone-a", "address": nodes[0], "ipv6Address": nodes[1]});
    let dual = json!({"name": "dual", "ipAddressType": "dualstack", "nodes": [zone]});
    bed.appliance.rest.expect("POST", "/v1/load-balancers", Some(&dual))?;
    let targets = &bed.addresses()[..2];
    bed.appliance.create_target_group("proxied", "TCP", SERVER_PORT, SERVER_PORT, &attributes(true, false))?;
    bed.appliance.register("proxied", targets)?;
    bed.appliance.create_listener("dual", "TCP", PROXIED.port(), "proxied")?;
    bed.appliance.wait_healthy("proxied", targets)?;
    for (preserve, node) in [(false, nodes[0]), (true, nodes[0]), (false, nodes[1]), (true, nodes[1])] {
        bed.appliance.set_attributes("proxied", &attributes(true, preserve))?;
        let destination = SocketAddr::new(node.parse()?, PROXIED.port());
        let mut names = BTreeSet::new();
        for _ in 0..20 {
            let (client, answer) = bed.cli().enter(|| ask(destination))??;
            let expected = [client, destination].map(|it| format!("{}:{}", it.ip(), it.port()));
            let words: Vec<&str> = answer.split_whitespace().collect();
            ensure!(words[1..] == expected, "{client} to {destination}, preserve {preserve}: {answer:?}");
            names.insert(words[0].to_owned());
        }
        ensure!(names.len() == 2, "only {names:?} answered");
    }
    let log = haproxy.log_text();
    ensure!(log.contains(&format!("{CLIENT_ADDRESS}:")), "HAProxy has not logged the client: {log}");
    let log = nginx.log_text();
    ensure!(log.contains(&format!("\n{CLIENT_ADDRESS} ")), "nginx has not logged the client: {log}");
    bed.finish()
}

/// A server that waits for the header, and then speaks first, is heard by a client that says nothing. A connection goes on as it began
/// when the attribute changes.
///
/// req: PP2-08, PP2-10
#[test]
fn a_server_that_speaks_first_is_heard() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    bed.serve(PROXIED.port(), "proxied", TARGET_PROXIED_PORT, &bed.addresses(), &attributes(true, false))?;
    for preserve in [false, true] {
        bed.appliance.set_attributes("proxied", &attributes(true, preserve))?;
        let mut open = bed.cli().enter(open)??;
        let mut greeting = String::new();
        open.read_line(&mut greeting).context("no greeting")?;
        let client = open.get_ref().local_addr()?;
        ensure!(greeting.ends_with(&format!(" {client}\n")), "{client} was greeted with {greeting:?}");

        bed.appliance.set_attributes("proxied", &attributes(false, preserve))?;
        open.get_mut().write_all(b"down 0 1\n")?;
        let mut trailer = String::new();
        open.read_line(&mut trailer).context("after the attribute has changed")?;
        let name = greeting.split(' ').next().unwrap_or_default();
        ensure!(trailer.ends_with(&format!(" 0 {name}\n")), "{name} ended with {trailer:?}");
        // Without its header the server waits in vain, until the client's first words end the connection.
        let mut bare = bed.cli().enter(self::open)??;
        bare.get_mut().write_all(b"sixteen bytes or more\n")?;
        let mut nothing = String::new();
        ensure!(!matches!(bare.read_line(&mut nothing), Ok(1..)), "greeted without a header: {nothing:?}");
    }
    bed.finish()
}

fn open() -> Result<BufReader<TcpStream>> {
    let stream = connect(None, PROXIED, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(BufReader::new(stream))
}

/// An HTTP request: the client's socket, and the body of the answer.
fn ask(destination: SocketAddr) -> Result<(SocketAddr, String)> {
    let mut stream = TcpStream::connect_timeout(&destination, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("an answer without body: {answer:?}"))?;
    Ok((stream.local_addr()?, body.to_owned()))
}

/// nginx that answers `<name> <client> <destination>`, both as the header has them.
fn start_nginx(run: &Run, target: &Target) -> Result<Process> {
    let directory = run.dir().join("nginx-proxied");
    fs::create_dir_all(&directory)?;
    let (name, address) = (&target.name, target.address);
    let configuration = format!(
        r#"daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
    log_format seen '$proxy_protocol_addr "$request"';
    access_log /dev/stdout seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    server {{
        listen {address}:{SERVER_PORT} proxy_protocol;
        location / {{
            return 200 "{name} $proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
        }}
    }}
}}
"#
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut command = target.namespace.command("nginx");
    command.args(["-e", "stderr", "-p"]).arg(&directory).arg("-c").arg(&path);
    start_server(run, target, "nginx-proxied", &mut command)
}

/// HAProxy that answers the same.
fn start_haproxy(run: &Run, target: &Target) -> Result<Process> {
    let (name, address) = (&target.name, target.address);
    let configuration = format!(
        r#"global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "%ci:%cp %HM %ST"
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend proxied
    bind {address}:{SERVER_PORT} accept-proxy
    http-request return status 200 content-type text/plain lf-string "{name} %[src]:%[src_port] %[dst]:%[dst_port]"
"#
    );
    let path = run.dir().join("haproxy.cfg");
    fs::write(&path, configuration)?;
    let mut command = target.namespace.command("haproxy");
    command.arg("-db").arg("-f").arg(&path);
    start_server(run, target, "haproxy", &mut command)
}

fn start_server(run: &Run, target: &Target, name: &str, command: &mut Command) -> Result<Process> {
    let process = Process::spawn(run, name, command)?;
    let address = SocketAddrV4::new(target.address, SERVER_PORT);
    let listens = || target.namespace.enter(|| connect(None, address, Duration::from_secs(1))).ok()?.ok();
    wait_for(name, DEADLINE, listens).with_context(|| process.log_text())?;
    Ok(process)
}

//! What stands behind the appliance: a web server and an echo server on each target.

use crate::namespace::Namespace;
use crate::process::Process;
use crate::programs::own_program;
use crate::run::Run;
use crate::topology::{Topology, target_address};
use crate::wait_for;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Where a target's web server listens, besides port 80.
pub const TARGET_HTTP_PORT: u16 = 8080;
/// Where a target's UDP echo listens.
pub const TARGET_ECHO_PORT: u16 = 9000;
/// Where a target takes transfers (TCP).
pub const TARGET_STREAM_PORT: u16 = 9200;

/// Where a target takes transfers one way (TCP).
pub const TARGET_BULK_PORT: u16 = 9300;
/// The same, behind a PROXY protocol header.
pub const TARGET_PROXIED_PORT: u16 = 9400;

const READY: Duration = Duration::from_secs(15);

/// A target: a namespace with a web server and an echo server in it.
#[derive(Debug)]
pub struct Target {
    /// `t1` …; what its servers answer.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its namespace.
    pub namespace: Namespace,
    /// The web server, while it runs.
    pub nginx: Option<Nginx>,
    /// The echo server, while it runs.
    pub echo: Option<Echo>,
}

impl Target {
    /// Gives it this packet filter instead of the one that it has: chains of an nftables table, nothing for none.
    ///
    /// # Errors
    /// nftables cannot be run, or refuses the chains.
    pub fn filter(&self, chains: &str) -> Result<()> {
        // A chain ends with its line.
        let chains = chains.replace('}', "}\n");
        nft(&self.namespace, &format!("table ip filter {{}}\ndelete table ip filter\ntable ip filter {{ {chains} }}\n"))
    }

    /// Starts both servers on every target of the topology.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start_all(run: &Run, topology: &Topology) -> Result<Vec<Target>> {
        let start = |(number, namespace): (u8, &Namespace)| {
            let mut target = Target {
                name: format!("t{number}"),
                address: target_address(number),
                namespace: namespace.clone(),
                nginx: None,
                echo: None,
            };
            target.start(run)?;
            Ok(target)
        };
        (1..).zip(&topology.targets).map(start).collect()
    }

    /// Starts whichever of the two servers does not run.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(&mut self, run: &Run) -> Result<()> {
        if self.nginx.is_none() {
            self.nginx = Some(Nginx::start(run, &self.namespace, &self.name, self.address)?);
        }
        if self.echo.is_none() {
            self.echo = Some(Echo::start(run, &self.namespace, &self.name, self.address)?);
        }
        Ok(())
    }

    /// Stops both servers; the host itself stays reachable and refuses connections.
    pub fn stop(&mut self) {
        self.nginx = None;
        self.echo = None;
    }
}

/// nginx, which answers `/` with `<target> <client address>:<client port>` and serves the run's files below `/files/`.
#[derive(Debug)]
pub struct Nginx {
    /// The running server.
    pub process: Process,
    access_log: PathBuf,
}

impl Nginx {
    /// Starts it on [`TARGET_HTTP_PORT`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(run: &Run, namespace: &Namespace, name: &str, address: Ipv4Addr) -> Result<Nginx> {
        let directory = run.dir().join(format!("nginx-{name}"));
        fs::create_dir_all(&directory)?;
        let access_log = directory.join("access.log");
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx_conf(name, address, &run.memory_dir().display().to_string()))?;
        let mut command = namespace.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&directory).arg("-c").arg(&configuration);
        let process = Process::spawn(run, &format!("nginx-{name}"), &mut command)?;
        wait_listening(namespace, SocketAddrV4::new(address, TARGET_HTTP_PORT))
            .with_context(|| process.log_text().trim().to_owned())?;
        Ok(Nginx { process, access_log })
    }

    /// How many requests it has answered until now.
    pub fn requests(&self) -> usize {
        fs::read(&self.access_log).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
    }
}

fn nginx_conf(name: &str, address: Ipv4Addr, files: &str) -> String {
    format!(
        r#"daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    log_format seen '$msec $remote_addr $remote_port "$request" $status';
    access_log access.log seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    sendfile on;
    keepalive_timeout 0;
    server {{
        listen {address}:{TARGET_HTTP_PORT} backlog=4096;
        listen {address}:80;
        location / {{ return 200 "{name} $remote_addr:$remote_port\n"; }}
        location /files/ {{ root {files}; }}
    }}
}}
"#
    )
}

/// Puts a file of `bytes` bytes below `/files/` of every web server of the run. It is sparse: each 64 KiB begin with their own
/// offset, so that a part that arrives twice, not at all or elsewhere changes the digest.
///
/// # Errors
/// When it cannot be written.
pub fn make_file(run: &Run, name: &str, bytes: u64) -> Result<PathBuf> {
    const STAMP_EVERY: usize = 64 * 1024;
    let directory = run.memory_dir().join("files");
    fs::create_dir_all(&directory)?;
    let path = directory.join(name);
    let file = File::create(&path)?;
    file.set_len(bytes)?;
    for offset in (0..bytes.saturating_sub(8)).step_by(STAMP_EVERY) {
        file.write_all_at(&(offset ^ 0x1ea7_1ea7_1ea7_1ea7).to_be_bytes(), offset)?;
    }
    Ok(path)
}

/// `leat-echo`: UDP echo on [`TARGET_ECHO_PORT`], transfers on [`TARGET_STREAM_PORT`], one-way ones on [`TARGET_BULK_PORT`].
#[derive(Debug)]
pub struct Echo {
    /// The running server.
    pub process: Process,
}

impl Echo {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(run: &Run, namespace: &Namespace, name: &str, address: impl Into<IpAddr>) -> Result<Echo> {
        let address = address.into();
        let mut command = namespace.command(own_program("leat-echo")?);
        command.args(["--name", name]);
        for (option, port) in [
            ("--udp", TARGET_ECHO_PORT),
            ("--tcp", TARGET_STREAM_PORT),
            ("--bulk", TARGET_BULK_PORT),
            ("--proxied", TARGET_PROXIED_PORT),
        ] {
            command.args([option, &SocketAddr::new(address, port).to_string()]);
        }
        let kind = if address.is_ipv6() { "echo6" } else { "echo" };
        let mut process = Process::spawn(run, &format!("{kind}-{name}"), &mut command)?;
        process.wait_log("ready", READY)?;
        Ok(Echo { process })
    }
}

fn wait_listening(namespace: &Namespace, address: SocketAddrV4) -> Result<()> {
    namespace.enter(|| {
        wait_for(&format!("a server at {address}"), READY, || {
            TcpStream::connect_timeout(&address.into(), Duration::from_secs(1)).ok()
        })
        .map(drop)
    })?
}

/// Runs an nftables script in a namespace.
///
/// # Errors
/// nftables cannot be run, or refuses the script.
pub fn nft(namespace: &Namespace, script: &str) -> Result<()> {
    let mut command = namespace.command("nft");
    let child = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.context("cannot run nft: run scripts/setup, which installs nftables")?;
    child.stdin.take().context("no pipe")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

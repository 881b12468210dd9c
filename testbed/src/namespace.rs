//! Network namespaces by name, as `ip netns` keeps them.

use crate::run::Run;
use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

const DIRECTORY: &str = "/run/netns";
/// What `ip netns exec` puts in place of files of `/etc`.
const CONFIGURATION: &str = "/etc/netns";

/// A network namespace of a run. The run deletes it; dropping this handle does not.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the run's namespace for `role`, with loopback up and IPv6 off on every interface that will be made in it.
    ///
    /// # Errors
    /// When `ip` cannot make it.
    pub fn create(run: &Run, role: &str) -> Result<Namespace> {
        let namespace = Namespace { name: run.namespace_name(role) };
        ip(&["netns", "add", &namespace.name])?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in this namespace. `ip netns exec` replaces itself by the program, so the child's process id is the program's.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref()).stdin(Stdio::null());
        command
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        ip(&all)
    }

    /// Sets a value under `/proc/sys` as this namespace sees it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display())))?
    }

    /// Gives the programs that [`Namespace::command`] starts these DNS servers, and no others.
    ///
    /// # Errors
    /// When the file cannot be written from which `ip netns exec` takes it.
    pub fn resolve_with(&self, servers: &[Ipv4Addr]) -> Result<()> {
        let directory = Path::new(CONFIGURATION).join(&self.name);
        fs::create_dir_all(&directory)?;
        let servers: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        let path = directory.join("resolv.conf");
        fs::write(&path, servers + "options timeout:1 attempts:3\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Runs `work` on a thread of its own inside this namespace: the sockets it opens belong to the namespace and stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered. A panic of `work` is passed on.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.move_here()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Like [`Namespace::enter`], but goes on beside the caller.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<Result<T>> {
        let namespace = self.clone();
        std::thread::spawn(move || {
            namespace.move_here()?;
            Ok(work())
        })
    }

    fn move_here(&self) -> Result<()> {
        let path = Path::new(DIRECTORY).join(&self.name);
        let file = File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter namespace {}", self.name))
    }
}

/// Names of all namespaces of the machine.
pub(crate) fn list() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes whose main thread is in the namespace.
pub(crate) fn pids(name: &str) -> Vec<u32> {
    let output = Command::new("ip").args(["netns", "pids", name]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Deletes a namespace with everything in it.
pub(crate) fn delete(name: &str) -> Result<()> {
    // Most have none. The directory of all goes with the last.
    let _ = fs::remove_dir_all(Path::new(CONFIGURATION).join(name));
    let _ = fs::remove_dir(CONFIGURATION);
    ip(&["netns", "delete", name])
}

/// Runs `ip` in the machine's own namespace.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    run_checked(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command to its end; an error carries the command line and what it wrote to stderr.
pub(crate) fn run_checked(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}; scripts/setup installs it"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}

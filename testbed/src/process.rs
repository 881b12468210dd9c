//! Real programs, started and stopped by process id.

use crate::namespace::Namespace;
use crate::run::Run;
use crate::wait_for;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program gets to end after SIGTERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// A running program. Dropping it stops it: SIGTERM, then SIGKILL.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` (see [`Namespace::command`]); both output streams go to `logs/<name>.log` of the run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(run: &Run, name: &str, command: &mut Command) -> Result<Process> {
        let log = run.dir().join("logs").join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        // A process group of its own: Ctrl-C at the terminal reaches the owner of the run alone, which then stops this one.
        command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        run.record_process(child.id())?;
        Ok(Process { name: name.to_owned(), child, log, status: None })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it wrote until now.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits until its log holds `text`.
    ///
    /// # Errors
    /// When it ends first or the deadline passes; the log is part of the message.
    pub fn wait_log(&mut self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("{:?} in the log of {}", text, self.name);
        let found = wait_for(&what, deadline, || {
            if self.log_text().contains(text) {
                return Some(true);
            }
            (!self.is_running()).then_some(false)
        });
        match found {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} ended before it wrote {text:?}: {}", self.name, self.log_text().trim()),
            Err(error) => Err(error.context(self.log_text().trim().to_owned())),
        }
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// When the deadline passes; it then still runs.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, deadline, || self.poll())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.poll() {
            bail!("{} has ended already with {status}", self.name);
        }
        send(self.pid(), signal)
    }

    /// SIGTERM, then SIGKILL for one that does not listen.
    ///
    /// # Errors
    /// When it cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.poll() {
            return Ok(status);
        }
        send(self.pid(), Signal::TERM)?;
        let end = Instant::now() + TERM_GRACE;
        while Instant::now() < end {
            if let Some(status) = self.poll() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()
    }

    /// SIGKILL, as a crash.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.poll() {
            return Ok(status);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("leat-testbed: {}: {error:#}", self.name);
        }
    }
}

/// Sends a signal to a process by its id.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))
}

/// Ids of the live processes named `name` (as the kernel keeps it: at most 15 characters) in a namespace.
pub(crate) fn find_in(namespace: &Namespace, name: &str) -> Vec<u32> {
    let is_named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == &name[..name.len().min(15)])
    };
    crate::namespace::pids(namespace.name()).into_iter().filter(is_named).collect()
}

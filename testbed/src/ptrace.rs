//! A program that is killed at one of its system calls, and a thread that stands still.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A program that runs under this thread's control from its first system call on. Everything is to be done on the thread that started it.
#[derive(Debug)]
pub struct Traced {
    child: Child,
    pid: Pid,
}

impl Traced {
    /// Prepares a program with these arguments; it begins with [`Traced::run`].
    ///
    /// # Errors
    /// When it cannot be started or traced.
    pub fn start(program: &std::path::Path, arguments: &[String], log: std::fs::File) -> Result<Traced> {
        // The shell waits until it is traced, and then becomes the program.
        let mut command = Command::new("sh");
        command.args(["-c", "read line; exec \"$@\"", "sh"]).arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("cannot run sh")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).context("cannot trace a program")?;
        ptrace::interrupt(pid)?;
        waitpid(pid, Some(flags()))?;
        ptrace::syscall(pid, None)?;
        child.stdin.take().context("no standard input")?.write_all(b"\n")?;
        Ok(Traced { child, pid })
    }

    /// Lets it run until all its threads together have entered or left so many system calls, and kills it there, or until `is_enough`
    /// says so at one. How many there were.
    ///
    /// # Errors
    /// When it ended by itself.
    pub fn run(mut self, stops: u64, is_enough: impl Fn() -> bool) -> Result<u64> {
        let mut count = None;
        loop {
            // A thread that was killed with its process is gone when it is told to go on.
            let go_on = |pid, signal| {
                let _ = ptrace::syscall(pid, signal);
            };
            match waitpid(None, Some(flags()))? {
                WaitStatus::PtraceSyscall(pid) => {
                    count = count.map(|count: u64| count + 1);
                    if count.is_some_and(|count| count >= stops) || is_enough() {
                        kill(self.pid, Signal::SIGKILL)?;
                        while !matches!(waitpid(None, Some(flags()))?, WaitStatus::Signaled(pid, ..) if pid == self.pid)
                        {
                        }
                        return Ok(count.unwrap_or(0));
                    }
                    go_on(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    let is_exec = event == nix::libc::PTRACE_EVENT_EXEC;
                    count = count.or(is_exec.then_some(0));
                    go_on(pid, None);
                }
                WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.pid => {
                    let _ = self.child.try_wait();
                    bail!("it ended by itself after {count:?} system calls");
                }
                _ => {}
            }
        }
    }
}

/// One thread of a process that stands still, while the others go on, until this is dropped. It is to be dropped on the thread that made it.
#[derive(Debug)]
pub struct StoppedThread {
    thread: Pid,
}

impl StoppedThread {
    /// Stops the thread of that name.
    ///
    /// # Errors
    /// When there is none, or it cannot be traced.
    pub fn stop(pid: u32, name: &str) -> Result<StoppedThread> {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        let is_it = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.find(is_it).with_context(|| format!("process {pid} has no thread {name}"))?;
        let thread = Pid::from_raw(task.file_name().to_string_lossy().parse()?);
        ptrace::seize(thread, Options::empty()).context("cannot trace a thread")?;
        ptrace::interrupt(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        Ok(StoppedThread { thread })
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // It is gone when its process is.
        let _ = ptrace::detach(self.thread, None);
    }
}

/// All threads of what this thread has started, and nobody else's.
fn flags() -> WaitPidFlag {
    WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD
}

//! CPUs, and the meters of the time that is spent on them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use leat_testbed::Appliance;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// `/proc/stat` counts in hundredths of a second.
const TICK_US: f64 = 10_000.0;

/// The two CPUs of the measurement.
#[derive(Debug, Clone, Copy)]
pub struct Cpus {
    /// Clients, servers, kernel stacks, and the proxies.
    pub shared: usize,
    /// The lcore's.
    pub lcore: usize,
}

impl Cpus {
    /// The first and the last that this process may use.
    pub fn choose() -> Result<Self> {
        let set = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
        let shared = allowed.next().context("no CPU")?;
        let lcore = allowed.next_back().context("two CPUs are needed: one for the lcore, one for everything else")?;
        Ok(Self { shared, lcore })
    }
}

/// Keeps the calling thread, and what it starts from now on, on these CPUs.
pub fn pin(cpus: &[usize]) -> Result<()> {
    sched_setaffinity(None, &set_of(cpus)).with_context(|| format!("cannot stay on CPUs {cpus:?}"))
}

/// Keeps those threads of a process on a CPU that could use several.
pub fn gather(pid: u32, cpu: usize) -> Result<()> {
    for thread in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))?.flatten() {
        let thread = thread.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        // A thread that has ended meanwhile is nowhere.
        if sched_getaffinity(thread).is_ok_and(|set| set.count() > 1) {
            let _ = sched_setaffinity(thread, &set_of(&[cpu]));
        }
    }
    Ok(())
}

fn set_of(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    set
}

/// What is read: the shared CPU, a load balancer's process, the lcore.
pub struct Meters<'m> {
    /// The CPU that everything but an lcore is on.
    pub shared: usize,
    /// The process of a proxy.
    pub process: Option<u32>,
    /// Leat.
    pub appliance: Option<&'m Appliance>,
}

/// What the meters showed.
pub struct Reading {
    at: Instant,
    /// Time that the shared CPU had nothing to do, or was not there, in µs.
    idle_us: f64,
    /// Time of the process, in user space and in system calls, in µs.
    process_us: f64,
    /// The TSC.
    tsc: u64,
    /// Its ticks in the lcore's turns that had work.
    busy_ticks: u64,
    /// Packets that the lcore received.
    packets: u64,
}

/// What was spent between two readings.
pub struct Spent {
    /// Wall-clock time in µs.
    pub wall_us: f64,
    /// Time of the shared CPU, in µs.
    pub shared_us: f64,
    /// Time of the proxy's process, in µs.
    pub process_us: f64,
    /// Busy time of the lcore, in µs.
    pub lcore_us: f64,
    /// Packets of the lcore.
    pub packets: f64,
}

impl Meters<'_> {
    /// Reads them.
    pub fn read(&self) -> Result<Reading> {
        let counters = self.appliance.map(Appliance::stats).transpose()?.map(|stats| stats.totals.counters);
        let counter = |name| match &counters {
            Some(counters) => counters.get(name).copied().with_context(|| format!("Leat does not count {name}")),
            None => Ok(0),
        };
        Ok(Reading {
            at: Instant::now(),
            tsc: leat_dpdk::rdtsc(),
            idle_us: idle_ticks(&fs::read_to_string("/proc/stat")?, self.shared)? as f64 * TICK_US,
            process_us: self.process.map_or(Ok(0.0), process_us)?,
            busy_ticks: counter("busy_cycles")?,
            packets: counter("rx_packets")?,
        })
    }
}

impl Reading {
    /// What was spent since an earlier one.
    pub fn since(&self, before: &Self) -> Spent {
        let wall_us = (self.at - before.at).as_secs_f64() * 1e6;
        Spent {
            wall_us,
            shared_us: (wall_us - (self.idle_us - before.idle_us)).max(0.0),
            process_us: self.process_us - before.process_us,
            lcore_us: (self.busy_ticks - before.busy_ticks) as f64 / (self.tsc - before.tsc) as f64 * wall_us,
            packets: (self.packets - before.packets) as f64,
        }
    }
}

/// Ticks that a CPU was idle, waited for a disk, or was taken by the host.
fn idle_ticks(stat: &str, cpu: usize) -> Result<u64> {
    let name = format!("cpu{cpu}");
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name));
    let line = line.with_context(|| format!("/proc/stat has no {name}"))?;
    let times: Vec<u64> = line.split(' ').skip(1).filter_map(|time| time.parse().ok()).collect();
    ensure!(times.len() >= 8, "/proc/stat has another form: {line}");
    // user, nice, system, idle, waiting, interrupts, soft interrupts, stolen
    Ok(times[3] + times[4] + times[7])
}

/// What the scheduler says that a process's threads ran, in µs.
fn process_us(pid: u32) -> Result<f64> {
    let mut ns = 0;
    for thread in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))?.flatten() {
        // A thread that has ended meanwhile is nowhere.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        ns += text.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).context("schedstat has another form")?;
    }
    Ok(ns as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_of_the_cpu_that_was_asked_for() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 10 20 30 400 5 60 70 8 0 0\ncpu10 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(idle_ticks(stat, 1).unwrap(), 413);
        assert_eq!(idle_ticks(stat, 10).unwrap(), 17);
        assert!(idle_ticks(stat, 2).is_err());
    }

    #[test]
    fn the_time_of_this_process_grows() {
        let before = process_us(std::process::id()).unwrap();
        let mut sum = 0u64;
        while process_us(std::process::id()).unwrap() <= before {
            sum = (0..1_000_000).fold(sum, |sum, i| std::hint::black_box(sum ^ i));
        }
    }
}

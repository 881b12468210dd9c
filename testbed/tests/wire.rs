//! Packets byte by byte: the Python suite in `testbed/wire` plays clients and targets with scapy, frame by frame, on both sides
//! of a real appliance. No kernel has their addresses, so every segment is the suite's own.
//!
//! `LEAT_WIRE="test_tcp syn"` runs only the tests that have one of these words in their names.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{Appliance, ApplianceOptions, Bed, P1_DEVICE, Process, Run, Topology, e2e};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Debian's Python: python3-scapy is there for no other.
const PYTHON: &str = "/usr/bin/python3";
/// MTU of the targets' side, smaller than that of the clients' side (`INSIDE_MTU` in `bed.py`).
const TARGETS_MTU: &str = "1400";
/// As many flows as it takes to use up the source ports towards one target.
const FLOWS_MAX: u32 = 131_072;
/// Long after the suite should be done.
const SUITE: Duration = Duration::from_secs(600);

/// Whether scapy is there. Without it the test is skipped as [`e2e`] skips tests.
fn has_scapy() -> bool {
    let found = Command::new(PYTHON).args(["-c", "import scapy"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let reason = format!("{PYTHON} has no scapy: run scripts/setup, which installs python3-scapy");
    assert!(std::env::var("LEAT_E2E").as_deref() != Ok("required"), "{reason}");
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    false
}

/// Runs the tests of the suite that have one of these words in their names, or all.
fn run_suite(options: &ApplianceOptions, words: &str) -> Result<()> {
    let run = Run::start_unique()?;
    let topology = Topology::create(&run, 1)?;
    topology.lb.ip(&["link", "set", P1_DEVICE, "mtu", TARGETS_MTU])?;
    // IPv6 on the TAP twins to come, at once; the ends that belong to DPDK stay without.
    topology.lb.sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
    topology.lb.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    let appliance = Appliance::start(&run, &topology, options)?;
    let bed = Bed { appliance, targets: Vec::new(), topology, run };

    // In a namespace of the run: a frame that is sent to the wrong place reaches nobody.
    let mut command = bed.cli().command(PYTHON);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/run.py"));
    command.arg("--api").arg(bed.appliance.rest.socket());
    command.args(["--clients", bed.cli().name(), "eth0", "--targets", bed.topology.targets[0].name(), "eth0"]);
    command.args(words.split_whitespace());
    if options.driver != "net_af_packet" {
        command.env("LEAT_WIRE_FRAGMENTS", "1");
    }
    let mut suite = Process::spawn(&bed.run, "wire", &mut command)?;
    let status = suite.wait_exit(SUITE).with_context(|| suite.log_text())?;
    println!("{}", suite.log_text());
    ensure!(status.success(), "tests of the wire suite failed; its output is above");
    bed.finish()
}

#[test]
fn the_wire_suite() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    if !has_scapy() {
        return Ok(());
    }
    let options = ApplianceOptions { flows_max: FLOWS_MAX, ipv6: true, ..ApplianceOptions::default() };
    run_suite(&options, &std::env::var("LEAT_WIRE").unwrap_or_default())
}

/// `net_af_packet` has the kernel put fragments of IPv4 together; `net_pcap` does not.
#[test]
fn fragments_as_they_come() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    if !has_scapy() {
        return Ok(());
    }
    run_suite(&ApplianceOptions { driver: "net_pcap", ..ApplianceOptions::default() }, "test_fragments.")
}

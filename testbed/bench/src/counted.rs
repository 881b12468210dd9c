//! A fixed amount of work of each kind, to be counted by callgrind. DPDK is not started.

use std::sync::Arc;

use anyhow::{Context, Result};
use leat_core::BURST;

use crate::bed::{Bed, Direction, forwarding};
use crate::frames::{Family, Mode, Way};
use crate::memory::{FlowRegion, Pages, Sinks};

/// Bursts that are counted.
pub const BURSTS: u32 = 64;
const FLOWS: u32 = 4096;

/// What is done.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Packets of established flows.
    Established(Direction),
    /// First packets.
    New,
}

/// A case: its name, the kind of flows, the work.
pub type Case = (&'static str, Way, Work);

const CLIENTS: Work = Work::Established(Direction::Clients);
const BOTH: Work = Work::Established(Direction::Both);

/// All cases.
pub const CASES: [Case; 14] = [
    ("established/full-nat/ipv4", Way::tcp(Mode::FullNat, Family::V4), CLIENTS),
    ("established/preserve/ipv4", Way::tcp(Mode::Preserve, Family::V4), CLIENTS),
    ("established/full-nat/ipv4/both-directions", Way::tcp(Mode::FullNat, Family::V4), BOTH),
    ("established/preserve/ipv4/both-directions", Way::tcp(Mode::Preserve, Family::V4), BOTH),
    ("established-udp/full-nat/ipv4", Way::udp(Mode::FullNat, Family::V4), CLIENTS),
    ("established/full-nat/ipv6", Way::tcp(Mode::FullNat, Family::V6), CLIENTS),
    ("established/full-nat/6to4", Way::tcp(Mode::FullNat, Family::SixToFour), CLIENTS),
    ("established/proxy/ipv4", Way::tcp(Mode::Proxy, Family::V4), CLIENTS),
    ("new/preserve/ipv4", Way::tcp(Mode::Preserve, Family::V4), Work::New),
    ("new/full-nat/ipv4", Way::tcp(Mode::FullNat, Family::V4), Work::New),
    ("new-udp/full-nat/ipv4", Way::udp(Mode::FullNat, Family::V4), Work::New),
    ("new/full-nat/ipv6", Way::tcp(Mode::FullNat, Family::V6), Work::New),
    ("new/full-nat/6to4", Way::tcp(Mode::FullNat, Family::SixToFour), Work::New),
    ("new/proxy/ipv4", Way::tcp(Mode::Proxy, Family::V4), Work::New),
];

/// Packets that are counted.
pub const PACKETS: u32 = BURSTS * BURST as u32;

/// What callgrind is to count.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The case
    #[arg(long)]
    case: String,
    /// A path in a tmpfs for a file that is removed at once
    #[arg(long, default_value = "/dev/shm/leat-bench-counted")]
    scratch: std::path::PathBuf,
}

/// Does the work of a case.
pub fn run(options: &Options) -> Result<()> {
    let (_, way, work) = CASES.iter().find(|(name, ..)| *name == options.case).context("there is no such case")?;
    let sinks = Sinks::new(&options.scratch)?;
    let forwarding = Arc::new(forwarding(&way.snapshot(1)));
    let mut region = FlowRegion::new(FLOWS as usize * 2, way.is_wide(), Pages::Ordinary)?;
    let mut bed = Bed::new(*way, region.flows()?, sinks.take(), &forwarding);
    match work {
        Work::New => bed.begin(BURSTS)?,
        Work::Established(direction) => {
            bed.establish(FLOWS)?;
            bed.established(BURSTS, BURST, *direction)?
        }
    };
    Ok(())
}

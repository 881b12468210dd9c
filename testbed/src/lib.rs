//! The rig: network namespaces with clients on one side, targets on the other and a real appliance between them.
//!
//! A test or the demo starts a [`Run`], lays a [`Topology`] under it, starts an [`Appliance`] and real peers ([`Target`], curl,
//! the programs `leat-echo` and `leat-transfer`), and looks at the outcome from outside: what clients and targets saw, what
//! a [`Capture`] holds, what the admin API counts. [`Bed`] is all of it in the arrangement most tests want.
//!
//! Everything a run makes is written down under `/run/leat-testbed/<run>` before it is made, so that a run that was killed is
//! cleared away by the next one: namespaces, processes (by process id and start time), files.
//!
//! Traffic never leaves the namespaces of the run; nothing here touches an interface of the machine itself.

#![forbid(unsafe_code)]

mod api_connection;
mod appliance;
mod bed;
pub mod bulk;
mod capture;
mod clients;
pub mod link;
mod namespace;
mod noise;
mod peers;
mod process;
mod programs;
mod proxy_header;
mod ptrace;
mod raw;
mod rest_client;
mod run;
pub mod sockets;
mod stats;
mod topology;
pub mod transfer;
mod zones;

pub use api_connection::ApiConnection;
pub use appliance::{Appliance, ApplianceOptions};
pub use bed::{Bed, BedOptions, ECHO_PORT, HTTP_PORT, STREAM_PORT, VIP, e2e, lcores};
pub use capture::{Capture, Flags, Frame, Segment};
pub use clients::{EchoTally, HttpAnswer, dig, http_get, http_many, tally, udp_echo};
pub use leat_model::rest;
pub use namespace::Namespace;
pub use peers::{
    Echo, Nginx, TARGET_BULK_PORT, TARGET_ECHO_PORT, TARGET_HTTP_PORT, TARGET_PROXIED_PORT, TARGET_STREAM_PORT, Target,
    make_file, nft,
};
pub use process::Process;
pub use programs::{own_program, program};
pub use ptrace::{StoppedThread, Traced};
pub use raw::{RawSegment, echo_request_packet, send_ipv4};
pub use rest_client::{Reply, Rest};
pub use run::{Run, sweep};
pub use stats::Conservation;
pub use topology::{
    CLIENT_ADDRESS, CLIENT_ADDRESSES, P0_ADDRESS, P0_DEVICE, P1_ADDRESS, P1_DEVICE, Topology, client_address,
    client_ipv6, target_address, target_ipv6, veth,
};
pub use zones::{DNS, Zone, ZoneBed, ZoneOptions, servers};

use std::time::{Duration, Instant};

/// Asks `probe` every 20 ms until it answers `Some`, or gives up at `deadline` from now. For waiting, never for measuring.
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < end, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

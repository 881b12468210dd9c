//! Several polling lcores share the flows; each flow has one owner.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::{
    ApplianceOptions, Bed, BedOptions, CLIENT_ADDRESS, ECHO_PORT, HTTP_PORT, VIP, e2e, http_many, lcores, tally,
    udp_echo,
};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// Two lcores: both own flows, no flow is on both, order within a flow is kept, and every hand-over is counted on both sides.
///
/// req: RT-02, RT-03
#[test]
fn two_lcores_share_the_flows() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let appliance = ApplianceOptions { lcores: lcores(2), ..ApplianceOptions::default() };
    let bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
    let transfers = bed.start_transfers("lcores", 100)?;
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 200, 8)?)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");

    // Bursts, so that datagrams of one flow are under way together.
    let tally = udp_echo(bed.cli(), CLIENT_ADDRESS, SocketAddrV4::new(VIP, ECHO_PORT), 50, 200, 20)?;
    ensure!(tally.answered == 10_000, "{} of 10000 datagrams were answered", tally.answered);
    ensure!(tally.strays.is_empty() && tally.reordered == 0, "reordered {}: {:?}", tally.reordered, tally.strays);

    let flows = bed.appliance.flows("limit=10000")?;
    let mut owners: BTreeMap<(String, String, String), Vec<u16>> = BTreeMap::new();
    let mut per_lcore: BTreeMap<u16, usize> = BTreeMap::new();
    for flow in flows {
        *per_lcore.entry(flow.lcore).or_default() += 1;
        owners.entry((flow.protocol.to_string(), flow.client, flow.vip)).or_default().push(flow.lcore);
    }
    ensure!(owners.len() >= 150, "only {} flows are listed", owners.len());
    ensure!(owners.values().all(|lcores| lcores.len() == 1), "a flow is listed twice: {owners:?}");
    ensure!(per_lcore.len() == 2 && per_lcore.values().all(|count| *count >= owners.len() / 8), "{per_lcore:?}");

    bed.finish_transfers(transfers)?;
    let lcores = bed.appliance.check_conservation()?;
    let (out, into) = lcores.iter().fold((0, 0), |(out, into), it| (out + it.handed_out, into + it.handed_in));
    ensure!(out > 0 && out == into, "handed out {out}, handed in {into}");
    bed.finish()
}

/// Two lcores on one CPU: slower, but nothing else.
#[test]
fn two_lcores_on_one_cpu() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let cpu = lcores(1)[0];
    let appliance = ApplianceOptions { lcores: vec![cpu, cpu], ..ApplianceOptions::default() };
    let bed = Bed::start(&BedOptions { appliance, ..BedOptions::default() })?;
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 200, 8)?)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");
    bed.finish()
}

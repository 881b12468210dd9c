//! Transfers over links that lose, duplicate and reorder frames, on both sides of the appliance.
//!
//! A run's seed is printed; `LEAT_SEED` repeats it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::bulk::{Order, Receipt, orders};
use leat_testbed::link::Impairment;
use leat_testbed::rest::TargetState;
use leat_testbed::{
    ApplianceOptions, Bed, BedOptions, CLIENT_ADDRESSES, Echo, Namespace, TARGET_BULK_PORT, TARGET_PROXIED_PORT,
    client_address, client_ipv6, e2e, target_address, target_ipv6, wait_for,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const BYTES_MAX: u64 = 1 << 20;
const WORKERS: usize = 24;
/// The addresses of the dualstack load balancer that all modes are listeners of.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 20);
const NODE_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Four,
    Six,
}

use Family::{Four, Six};

/// A way of addressing: a listener with a group of its own, that has three of the four targets.
#[derive(Debug)]
struct Mode {
    port: u16,
    clients: Family,
    targets: Family,
    /// The target that is not in the group, from 1.
    left_out: u8,
    is_preserving: bool,
    is_proxied: bool,
    is_sticky: bool,
}

const PLAIN: Mode = Mode {
    port: 0,
    clients: Four,
    targets: Four,
    left_out: 4,
    is_preserving: false,
    is_proxied: false,
    is_sticky: false,
};

const MODES: &[Mode] = &[
    Mode { port: 9001, ..PLAIN },
    Mode { port: 9002, is_preserving: true, left_out: 1, ..PLAIN },
    Mode { port: 9003, is_proxied: true, left_out: 2, ..PLAIN },
    Mode { port: 9004, is_proxied: true, is_preserving: true, left_out: 3, ..PLAIN },
    Mode { port: 9005, is_sticky: true, ..PLAIN },
    Mode { port: 9006, clients: Six, targets: Six, left_out: 1, ..PLAIN },
    Mode { port: 9007, clients: Six, targets: Six, is_preserving: true, left_out: 2, ..PLAIN },
    Mode { port: 9008, clients: Six, targets: Six, is_preserving: true, is_proxied: true, left_out: 3, ..PLAIN },
    Mode { port: 9009, clients: Six, targets: Four, is_preserving: true, ..PLAIN },
    Mode { port: 9010, clients: Six, targets: Four, is_proxied: true, left_out: 1, ..PLAIN },
    Mode { port: 9011, clients: Four, targets: Six, left_out: 2, ..PLAIN },
];

impl Mode {
    /// Where clients of the mode connect to.
    fn listener(&self) -> SocketAddr {
        SocketAddr::new(node(self.clients), self.port)
    }

    /// The client that a target sees or is told of.
    fn seen(&self, client: IpAddr) -> IpAddr {
        let is_kept = self.is_preserving && self.clients == self.targets;
        if is_kept || self.is_proxied { client } else { node(self.targets) }
    }

    fn members(&self) -> impl Iterator<Item = u8> {
        (1..=4).filter(|number| *number != self.left_out)
    }
}

fn node(family: Family) -> IpAddr {
    match family {
        Four => NODE.into(),
        Six => NODE_IPV6.into(),
    }
}

/// Every transfer arrives whole, at a target of its group, whatever the links do; and every packet is accounted for.
///
/// req: GEN-02, RT-02, CIP-01, CIP-07, PP2-03, PP2-04, STK-01, IPT-07, IPT-15
#[test]
fn transfers_over_lossy_links_arrive_whole() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let count = if std::env::var_os("LEAT_LONG").is_some() { 1000 } else { 100 };
    let seed = match std::env::var("LEAT_SEED") {
        Ok(seed) => seed.parse().context("LEAT_SEED is a number")?,
        Err(_) => u64::from(std::process::id()),
    };
    println!("LEAT_SEED={seed}");
    let impairment =
        Impairment { loss_per_mille: 10, duplicate_per_mille: 10, reorder_per_mille: 20, hold_ms_max: 10, seed };
    let appliance = ApplianceOptions { ipv6: true, ..ApplianceOptions::default() };
    let mut bed = Bed::start(&BedOptions { appliance, impairment: Some(impairment), ..BedOptions::default() })?;
    let _echoes = configure(&bed)?;
    // All modes at once, so that their flows are in each other's way.
    let all: Vec<Vec<Order>> = MODES
        .iter()
        .map(|mode| orders(mode.listener(), &clients(mode.clients), count, BYTES_MAX, seed ^ u64::from(mode.port)))
        .collect();
    let mixed: Vec<Order> = (0..count).flat_map(|number| all.iter().map(move |orders| orders[number])).collect();
    let receipts = run_all(bed.cli(), &mixed)?;
    for mode in MODES {
        check(mode, count, &receipts).with_context(|| format!("seed {seed}, {mode:?}"))?;
    }
    bed.appliance.check_conservation()?;
    for link in &mut bed.topology.links {
        for fates in link.stop()? {
            println!("{fates:?}");
            ensure!(fates.lost > 0 && fates.duplicated > 0 && fates.reordered > 0, "the link did no harm: {fates:?}");
            ensure!(fates.refused == 0, "the link lost frames by itself: {fates:?}");
        }
    }
    bed.finish()
}

fn clients(family: Family) -> Vec<IpAddr> {
    let address = |number| match family {
        Four => client_address(number).into(),
        Six => client_ipv6(number).into(),
    };
    (0..CLIENT_ADDRESSES).map(address).collect()
}

/// Starts the targets' servers for IPv6, makes load balancer, groups and listeners, and waits until all targets are healthy.
fn configure(bed: &Bed) -> Result<Vec<Echo>> {
    let echoes = (1..)
        .zip(&bed.targets)
        .map(|(number, target)| Echo::start(&bed.run, &target.namespace, &target.name, target_ipv6(number)))
        .collect::<Result<_>>()?;
    let rest = &bed.appliance.rest;
    let nodes = json!([{"zone": "zone-a", "address": NODE, "ipv6Address": NODE_IPV6}]);
    let dual = json!({"name": "dual", "ipAddressType": "dualstack", "nodes": nodes});
    rest.expect("POST", "/v1/load-balancers", Some(&dual))?;
    for mode in MODES {
        let name = format!("mode-{}", mode.port);
        let (family, port) = (
            if mode.targets == Six { "ipv6" } else { "ipv4" },
            if mode.is_proxied { TARGET_PROXIED_PORT } else { TARGET_BULK_PORT },
        );
        let attributes = json!({
            "preserve_client_ip.enabled": mode.is_preserving.to_string(),
            "proxy_protocol_v2.enabled": mode.is_proxied.to_string(),
            "stickiness.enabled": mode.is_sticky.to_string(),
        });
        let group = json!({
            "name": name, "protocol": "TCP", "port": port, "targetType": "ip", "ipAddressType": family,
            "healthCheck": {"protocol": "TCP", "intervalSeconds": 5}, "attributes": attributes,
        });
        rest.expect("POST", "/v1/target-groups", Some(&group))?;
        let address = |number| match mode.targets {
            Four => IpAddr::from(target_address(number)),
            Six => target_ipv6(number).into(),
        };
        let targets: Vec<_> = mode.members().map(|number| json!({"id": address(number)})).collect();
        rest.expect("POST", &format!("/v1/target-groups/{name}/targets"), Some(&json!({"targets": targets})))?;
        bed.appliance.create_listener("dual", "TCP", mode.port, &name)?;
    }
    for mode in MODES {
        let name = format!("mode-{}", mode.port);
        wait_for(&format!("healthy targets in {name}"), Duration::from_secs(60), || {
            let targets = bed.appliance.targets(&name).ok()?;
            targets.iter().all(|target| target.health.state == TargetState::Healthy).then_some(())
        })?;
    }
    Ok(echoes)
}

fn run_all(namespace: &Namespace, orders: &[Order]) -> Result<Vec<(Order, Receipt)>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(Order, Receipt)>> {
        let mut receipts = Vec::new();
        while let Some(order) = orders.get(next.fetch_add(1, Ordering::Relaxed)) {
            receipts.push((*order, order.run()?));
        }
        Ok(receipts)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| namespace.enter(work)?)).collect();
        let mut receipts = Vec::with_capacity(orders.len());
        for thread in threads {
            receipts.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(receipts)
    })
}

fn check(mode: &Mode, count: usize, receipts: &[(Order, Receipt)]) -> Result<()> {
    let mine = receipts.iter().filter(|(order, _)| order.destination.port() == mode.port);
    let mut targets: BTreeMap<&str, usize> = BTreeMap::new();
    let mut of_client: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (order, receipt) in mine {
        let first = of_client.entry(receipt.client.ip()).or_insert(&receipt.target);
        ensure!(!mode.is_sticky || *first == receipt.target, "{order}: at {}, before at {first}", receipt.target);
        *targets.entry(&receipt.target).or_default() += 1;
        let expected = mode.seen(receipt.client.ip());
        ensure!(receipt.client_seen.ip() == expected, "{order}: {} saw {}", receipt.target, receipt.client_seen);
    }
    let expected: BTreeSet<String> = mode.members().map(|number| format!("t{number}")).collect();
    ensure!(targets.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>() == expected, "{targets:?}");
    ensure!(targets.values().sum::<usize>() == count, "not {count} transfers: {targets:?}");
    println!("{}: {targets:?}", mode.port);
    Ok(())
}

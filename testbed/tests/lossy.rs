//! Transfers over links that lose, duplicate and reorder frames, on both sides of the appliance.
//!
//! A run's seed is printed; `LEAT_SEED` repeats it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::bulk::{Order, Receipt, orders};
use leat_testbed::link::Impairment;
use leat_testbed::{
    Bed, BedOptions, CLIENT_ADDRESS, CLIENT_ADDRESSES, Namespace, TARGET_BULK_PORT, TARGET_PROXIED_PORT, VIP, e2e,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

const BYTES_MAX: u64 = 1 << 20;
const WORKERS: usize = 24;

/// A way of addressing: a listener with a group of its own, that has three of the four targets.
struct Mode {
    name: &'static str,
    port: u16,
    target_port: u16,
    attributes: Value,
    left_out: usize,
    is_sticky: bool,
    /// The client that a target sees or is told of, from the client's own address.
    seen: fn(IpAddr) -> IpAddr,
}

fn modes() -> Vec<Mode> {
    vec![
        Mode {
            name: "full NAT",
            port: 9001,
            target_port: TARGET_BULK_PORT,
            attributes: json!({"preserve_client_ip.enabled": "false"}),
            left_out: 3,
            is_sticky: false,
            seen: |_| IpAddr::V4(VIP),
        },
        Mode {
            name: "client address preserved",
            port: 9002,
            target_port: TARGET_BULK_PORT,
            attributes: json!({"preserve_client_ip.enabled": "true"}),
            left_out: 0,
            is_sticky: false,
            seen: |client| client,
        },
        Mode {
            name: "full NAT, PROXY header",
            port: 9003,
            target_port: TARGET_PROXIED_PORT,
            attributes: json!({"preserve_client_ip.enabled": "false", "proxy_protocol_v2.enabled": "true"}),
            left_out: 1,
            is_sticky: false,
            seen: |client| client,
        },
        Mode {
            name: "client address preserved, PROXY header",
            port: 9004,
            target_port: TARGET_PROXIED_PORT,
            attributes: json!({"preserve_client_ip.enabled": "true", "proxy_protocol_v2.enabled": "true"}),
            left_out: 2,
            is_sticky: false,
            seen: |client| client,
        },
        Mode {
            name: "full NAT, sticky",
            port: 9005,
            target_port: TARGET_BULK_PORT,
            attributes: json!({"preserve_client_ip.enabled": "false", "stickiness.enabled": "true"}),
            left_out: 3,
            is_sticky: true,
            seen: |_| IpAddr::V4(VIP),
        },
    ]
}

/// Every transfer arrives whole, at a target of its group, whatever the links do; and every packet is accounted for.
///
/// req: GEN-02, RT-02, CIP-01, PP2-03, PP2-04, STK-01
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
    let mut bed = Bed::start(&BedOptions { impairment: Some(impairment), ..BedOptions::default() })?;
    let modes = modes();
    for mode in &modes {
        configure(&bed, mode)?;
    }
    // All modes at once, so that their flows are in each other's way.
    let all: Vec<Vec<Order>> = modes
        .iter()
        .map(|mode| {
            orders(SocketAddr::from((VIP, mode.port)), &clients(), count, BYTES_MAX, seed ^ u64::from(mode.port))
        })
        .collect();
    let mixed: Vec<Order> = (0..count).flat_map(|number| all.iter().map(move |orders| orders[number])).collect();
    let receipts = run_all(bed.cli(), &mixed)?;
    for mode in &modes {
        check(mode, count, &receipts).with_context(|| format!("{}, seed {seed}", mode.name))?;
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

fn clients() -> Vec<IpAddr> {
    let [a, b, c, d] = CLIENT_ADDRESS.octets();
    (0..CLIENT_ADDRESSES).map(|number| Ipv4Addr::new(a, b, c, d + number).into()).collect()
}

fn configure(bed: &Bed, mode: &Mode) -> Result<()> {
    let mut targets = bed.addresses();
    targets.remove(mode.left_out);
    bed.serve(mode.port, &format!("bulk-{}", mode.port), mode.target_port, &targets, &mode.attributes)
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
        let expected = (mode.seen)(receipt.client.ip());
        ensure!(receipt.client_seen.ip() == expected, "{order}: {} saw {}", receipt.target, receipt.client_seen);
    }
    let expected: BTreeSet<String> =
        (0..4).filter(|number| *number != mode.left_out).map(|number| format!("t{}", number + 1)).collect();
    ensure!(targets.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>() == expected, "{targets:?}");
    ensure!(targets.values().sum::<usize>() == count, "not {count} transfers: {targets:?}");
    println!("{}: {targets:?}", mode.name);
    Ok(())
}

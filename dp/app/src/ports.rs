//! Ports: the devices, their queues, their TAP twins, and how they are described to the control plane.
//!
//! A port's number is DPDK's own: only the devices asked for are probed, before any TAP, so the numbers are 0, 1, ….

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use leat_abi::layout::{PORTS_MAX, PortBlock};
use leat_dpdk::{Eal, Mempool, Port, PortConfig, PortId, PortInfo, RxQueue, TxQueue};

use crate::options::Options;

/// A port in use, and the queues that lcores take from it.
pub struct ActivePort {
    /// The port's name.
    pub name: String,
    /// The device.
    pub port: Port,
    /// Receive queues by lcore; fewer than lcores if the device has fewer.
    pub rx: Vec<RxQueue>,
    /// Transmit queues by lcore; likewise.
    pub tx: Vec<TxQueue>,
}

/// The TAP twin of a port: how Linux sees it.
pub struct Twin {
    /// The interface's name.
    pub interface: String,
    /// What Linux sends. The queues keep the device.
    pub rx: RxQueue,
    /// What Linux gets.
    pub tx: TxQueue,
}

/// Finds the devices and starts them, in the order of their numbers.
pub fn open(eal: &Eal, options: &Options, pool: &Arc<Mempool>) -> anyhow::Result<Vec<ActivePort>> {
    ensure!(options.ports.len() <= PORTS_MAX, "{} ports; there can be {PORTS_MAX}", options.ports.len());
    let mut ports = Vec::new();
    for wanted in &options.ports {
        let id = PortId::by_name(eal, wanted.device_name()).with_context(|| {
            format!(
                "port {}: DPDK found no device {:?}. {}",
                wanted.name,
                wanted.device,
                if wanted.is_virtual() {
                    "Is the interface in its options there, and may this user open it?"
                } else {
                    "Is it bound to vfio-pci (dpdk-devbind.py --status), and is its driver installed?"
                }
            )
        })?;
        let info = PortInfo::of(eal, id)?;
        let lcores = options.lcores.0.len() as u16;
        let (rx_queues, tx_queues) = (lcores.min(info.max_rx_queues), lcores.min(info.max_tx_queues));
        let config = PortConfig {
            rx_queues,
            tx_queues,
            rx_descriptors: options.descriptors,
            tx_descriptors: options.descriptors,
            mtu: options.mtu,
            promiscuous: true,
            rss: rx_queues > 1,
        };
        let (port, rx, tx) = Port::configure(eal, id, config, std::slice::from_ref(pool))
            .with_context(|| format!("port {} ({})", wanted.name, wanted.device))?;
        if rx_queues < lcores {
            tracing::warn!(
                "port {}: {} receive queues for {lcores} lcores; packets are handed over in software",
                wanted.name,
                rx_queues
            );
        }
        ports.push(ActivePort { name: wanted.name.clone(), port, rx, tx });
    }
    ports.sort_by_key(|p| p.port.id());
    for (number, port) in ports.iter().enumerate() {
        if usize::from(port.port.id().index()) != number {
            bail!("device {} got number {}, not {number}: is it given twice?", port.name, port.port.id());
        }
    }
    Ok(ports)
}

/// With the af_packet driver, the kernel sees each frame as well as DPDK. It must leave them alone: the addresses on the TAP twin
/// are its own too, and it would answer SYNs for listeners with resets. A strict reverse-path check drops what comes in by an
/// interface that no route leads to, and ARP is told to be silent there.
pub fn keep_kernel_away(options: &Options) -> anyhow::Result<()> {
    for port in &options.ports {
        let Some(interface) = port
            .device
            .strip_prefix("net_af_packet")
            .and_then(|d| d.split(',').find_map(|option| option.strip_prefix("iface=")))
        else {
            continue;
        };
        for (file, value) in
            [("ipv4/conf", "rp_filter=1"), ("ipv4/conf", "arp_ignore=8"), ("ipv6/conf", "disable_ipv6=1")]
        {
            let Some((name, value)) = value.split_once('=') else { continue };
            let path = format!("/proc/sys/net/{file}/{interface}/{name}");
            match std::fs::write(&path, value) {
                // A kernel without IPv6 has nothing to be silenced.
                Err(error) if file.starts_with("ipv6") => tracing::debug!("{path}: {error}"),
                result => result.with_context(|| {
                    format!("port {}: cannot set {path} to {value}; is there an interface {interface:?}?", port.name)
                })?,
            }
        }
    }
    Ok(())
}

/// Makes a port's TAP twin, with the port's MAC and MTU.
pub fn open_twin(eal: &Eal, port: &ActivePort, prefix: &str, mtu: u16, pool: &Arc<Mempool>) -> anyhow::Result<Twin> {
    let interface = format!("{prefix}{}", port.name);
    let mac = port.port.info().mac.map(|byte| format!("{byte:02x}")).join(":");
    let id = eal.attach_vdev(&format!("net_tap_{}", port.name), &format!("iface={interface},mac={mac}")).with_context(
        || {
            format!(
                "port {}: cannot make its TAP twin {interface}. This takes CAP_NET_ADMIN and /dev/net/tun, \
                 and no other interface of that name",
                port.name
            )
        },
    )?;
    let config = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu: Some(mtu),
        promiscuous: false,
        rss: false,
    };
    let (_, mut rx, mut tx) = Port::configure(eal, id, config, std::slice::from_ref(pool))?;
    match (rx.pop(), tx.pop()) {
        (Some(rx), Some(tx)) => Ok(Twin { interface, rx, tx }),
        _ => bail!("{interface} has no queues"),
    }
}

/// The port's MTU in bytes: as asked for, or as the interface underneath has it.
pub fn mtu_of(options: &Options, port: &ActivePort) -> u16 {
    let default = 1500.clamp(port.port.info().mtu.0, port.port.info().mtu.1);
    options.mtu.unwrap_or(default)
}

/// Describes a port in the segment.
pub fn describe(block: &PortBlock, port: &ActivePort, interface: &str, mtu: u16) {
    write_name(&block.name, &port.name);
    write_name(&block.tap, interface);
    let mut mac = [0; 8];
    mac[..6].copy_from_slice(&port.port.info().mac);
    block.mac.store(u64::from_le_bytes(mac), Ordering::Relaxed);
    block.mtu.store(mtu.into(), Ordering::Relaxed);
    report(block, &port.port);
}

/// Renews a port's link state and device counters in the segment.
pub fn report(block: &PortBlock, port: &Port) {
    // A virtual device that cannot tell its link state is up.
    block.link_up.store(port.link_up().unwrap_or(true).into(), Ordering::Relaxed);
    if let Ok(stats) = port.stats() {
        block.rx_missed.store(stats.imissed, Ordering::Relaxed);
        block.rx_errors.store(stats.ierrors, Ordering::Relaxed);
        block.rx_no_buffer.store(stats.rx_nombuf, Ordering::Relaxed);
        block.tx_errors.store(stats.oerrors, Ordering::Relaxed);
    }
}

fn write_name(words: &[AtomicU64; 2], name: &str) {
    let mut bytes = [0; 16];
    let len = name.len().min(16);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    let (chunks, _) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
}

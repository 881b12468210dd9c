//! Ports: the devices, their queues, their TAP twins, and how they are described to the control plane.
//!
//! A port's number is DPDK's own: only the devices asked for are probed, before any TAP, so the numbers are 0, 1, ….

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use leat_abi::layout::{PORTS_MAX, PortBlock};
use leat_dpdk::{Eal, Mempool, Port, PortConfig, PortId, PortInfo, RxQueue, TxQueue};

use crate::interface::{Interface, Kernel};
use crate::options::{Options, PortOption};

/// The largest MTU in bytes: frames of it fit into 16 KiB.
const MTU_MAX: u16 = 9216;
/// The largest MTU of a TAP twin in bytes: DPDK's driver takes no larger frames. Linux's own connections need none.
const TWIN_MTU_MAX: u16 = 1500;

/// A port in use.
pub struct ActivePort {
    /// The device.
    port: Port,
    /// The network interface underneath, where there is one.
    interface: Option<String>,
    kernel: Kernel,
}

/// A port that has just been opened, and the queues that lcores take from it.
pub struct OpenPort {
    /// The port's name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u16,
    /// The port.
    pub active: ActivePort,
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

/// Checks what can be checked before DPDK starts. Returns the ports' MTUs in bytes.
pub fn check(options: &Options) -> anyhow::Result<Vec<u16>> {
    let count = options.ports.len() + options.vlans.len();
    ensure!(count <= PORTS_MAX, "{count} ports, VLANs included; there can be {PORTS_MAX}");
    for (number, vlan) in options.vlans.iter().enumerate() {
        let others = options.ports.iter().map(|port| &port.name);
        let mut others = others.chain(options.vlans[..number].iter().map(|vlan| &vlan.name));
        ensure!(others.all(|name| *name != vlan.name), "two ports have the name {}", vlan.name);
    }
    let kernel = Kernel::new().context("cannot ask the kernel for interfaces")?;
    let mut mtus = Vec::new();
    for (number, port) in options.ports.iter().enumerate() {
        for other in &options.ports[..number] {
            ensure!(other.name != port.name, "two ports have the name {}", port.name);
            let device = port.device_name();
            ensure!(
                other.device_name() != device,
                "ports {} and {} have the same device {device}",
                other.name,
                port.name
            );
        }
        if !port.is_virtual() {
            let address = port.device_name();
            ensure!(
                Path::new("/sys/bus/pci/devices").join(address).exists(),
                "port {}: there is no PCI device {address}; `dpdk-devbind.py --status` lists them",
                port.name
            );
        }
        let underneath = match port.interface() {
            None => None,
            Some(name) => Some(kernel.interface(name)?.with_context(|| {
                format!(
                    "port {}: there is no interface {name} in this network namespace; `ip link` lists them",
                    port.name
                )
            })?),
        };
        mtus.push(mtu(options, port, underneath)?);
    }
    Ok(mtus)
}

fn mtu(options: &Options, port: &PortOption, underneath: Option<Interface>) -> anyhow::Result<u16> {
    let Some(Interface { mtu, .. }) = underneath else { return Ok(options.mtu.unwrap_or(1500)) };
    if let Some(wanted) = options.mtu {
        let name = port.interface().unwrap_or_default();
        ensure!(
            u32::from(wanted) == mtu,
            "port {}: --mtu is {wanted} and the MTU of {name} is {mtu}; `ip link set {name} mtu {wanted}` changes it",
            port.name
        );
    }
    Ok(mtu.min(MTU_MAX.into()) as u16)
}

/// Finds the devices and starts them, in the order of their numbers.
pub fn open(eal: &Eal, options: &Options, mtus: &[u16], pool: &Arc<Mempool>) -> anyhow::Result<Vec<OpenPort>> {
    let mut ports = Vec::new();
    for (wanted, mtu) in options.ports.iter().zip(mtus) {
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
        let interface = wanted.interface().map(str::to_owned);
        let lcores = options.lcores.0.len() as u16;
        let (rx_queues, tx_queues) = (lcores.min(info.max_rx_queues), lcores.min(info.max_tx_queues));
        let config = PortConfig {
            rx_queues,
            tx_queues,
            rx_descriptors: options.descriptors,
            tx_descriptors: options.descriptors,
            // An interface underneath has it already, or `check` has complained.
            mtu: if interface.is_some() { None } else { options.mtu },
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
        let mtu = (*mtu).clamp(info.mtu.0, info.mtu.1);
        let active =
            ActivePort { port, interface, kernel: Kernel::new().context("cannot ask the kernel for interfaces")? };
        ports.push(OpenPort { name: wanted.name.clone(), mtu, active, rx, tx });
    }
    ports.sort_by_key(|p| p.active.port.id());
    for (number, port) in ports.iter().enumerate() {
        let id = port.active.port.id();
        ensure!(
            usize::from(id.index()) == number,
            "port {}: its device has number {id}, not {number}; do not give DPDK other devices than the ports'",
            port.name
        );
    }
    Ok(ports)
}

/// Makes a port's TAP twin, with the port's MAC and, as far as the driver can, its MTU.
pub fn open_twin(
    eal: &Eal,
    name: &str,
    info: leat_core::PortInfo,
    prefix: &str,
    pool: &Arc<Mempool>,
) -> anyhow::Result<Twin> {
    let interface = format!("{prefix}{name}");
    let mac = info.mac.map(|byte| format!("{byte:02x}")).join(":");
    let id =
        eal.attach_vdev(&format!("net_tap_{name}"), &format!("iface={interface},mac={mac}")).with_context(|| {
            format!(
                "port {name}: cannot make its TAP twin {interface}. This takes CAP_NET_ADMIN and /dev/net/tun, \
                 and no other interface of that name"
            )
        })?;
    let config = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu: Some(info.mtu.min(TWIN_MTU_MAX)),
        promiscuous: false,
        rss: false,
    };
    let (_, mut rx, mut tx) = Port::configure(eal, id, config, std::slice::from_ref(pool))?;
    match (rx.pop(), tx.pop()) {
        (Some(rx), Some(tx)) => Ok(Twin { interface, rx, tx }),
        _ => bail!("{interface} has no queues"),
    }
}

/// Describes a port in the segment.
pub fn describe(block: &PortBlock, name: &str, info: leat_core::PortInfo, twin: &Twin) {
    write_name(&block.name, name);
    write_name(&block.tap, &twin.interface);
    let mut mac = [0; 8];
    mac[..6].copy_from_slice(&info.mac);
    block.mac.store(u64::from_le_bytes(mac), Ordering::Relaxed);
    block.mtu.store(info.mtu.into(), Ordering::Relaxed);
}

impl ActivePort {
    /// The port's MAC.
    pub fn mac(&self) -> [u8; 6] {
        self.port.info().mac
    }

    /// Renews the port's link state and device counters in the segment.
    pub fn report(&self, block: &PortBlock) {
        block.link_up.store(self.link_up().into(), Ordering::Relaxed);
        if let Ok(stats) = self.port.stats() {
            block.rx_missed.store(stats.imissed, Ordering::Relaxed);
            block.rx_errors.store(stats.ierrors, Ordering::Relaxed);
            block.rx_no_buffer.store(stats.rx_nombuf, Ordering::Relaxed);
            block.tx_errors.store(stats.oerrors, Ordering::Relaxed);
        }
    }

    /// DPDK's drivers of network interfaces do not look at their links: the kernel is asked. A virtual device that cannot tell is up.
    fn link_up(&self) -> bool {
        let underneath = self.interface.as_ref().map(|name| self.kernel.interface(name));
        match underneath {
            Some(Ok(interface)) => interface.is_some_and(|interface| interface.link_up),
            Some(Err(_)) | None => self.port.link_up().unwrap_or(true),
        }
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

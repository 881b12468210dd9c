//! Ethernet ports: finding them, configuring them, asking them.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use leat_dpdk_sys as sys;

use crate::eal::{Eal, c_string};
use crate::errno::Errno;
use crate::mempool::Mempool;
use crate::queue::{RxQueue, TxQueue};
use crate::runtime::Runtime;

/// DPDK's number of a port. Valid until the port is closed; may then come to name another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(u16);

/// A configured and started port. Stopped and closed, for good, when this and all of its queues have been dropped.
pub struct Port {
    device: Arc<Device>,
    info: PortInfo,
    descriptors: (u16, u16),
    rss: bool,
    /// Control functions of one port must not run on two threads at once.
    _not_sync: PhantomData<Cell<()>>,
}

/// How a port is to be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Receive queues, 1 to [`PortInfo::max_rx_queues`].
    pub rx_queues: u16,
    /// Transmit queues, 1 to [`PortInfo::max_tx_queues`].
    pub tx_queues: u16,
    /// Descriptors of each receive queue; moved into the device's limits, see [`Port::descriptors`].
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; likewise.
    pub tx_descriptors: u16,
    /// Largest IP packet in bytes, in [`PortInfo::mtu`]; none keeps the device's.
    pub mtu: Option<u16>,
    /// Receive frames for any MAC address. Ignored by devices that know no other way (`ENOTSUP`).
    pub promiscuous: bool,
    /// Spread received packets over the queues by a hash of IP addresses and TCP or UDP ports, with the driver's
    /// default key. Ignored where [`PortInfo::rss`] is false.
    pub rss: bool,
}

/// What a device is and can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// The device's name: `net_tap0`, or a PCI address such as `0000:03:00.0`.
    pub name: String,
    /// The driver's name, e.g. `net_ixgbe`.
    pub driver: String,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// The MAC address in transmission order.
    pub mac: [u8; 6],
    /// Smallest and largest MTU in bytes.
    pub mtu: (u16, u16),
    /// The driver says that it can spread packets over queues by a hash of addresses or ports. Virtual devices'
    /// hashes are not Toeplitz.
    pub rss: bool,
    /// The NUMA node of the device, if it is on one.
    pub socket: Option<u32>,
}

/// Counters of a port since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets transmitted.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes transmitted.
    pub obytes: u64,
    /// Packets that the device dropped because the receive queues were full.
    pub imissed: u64,
    /// Received packets with errors.
    pub ierrors: u64,
    /// Packets that failed to be transmitted.
    pub oerrors: u64,
    /// Times a receive queue found its pool exhausted.
    pub rx_nombuf: u64,
}

/// Why a port could not be found or configured, or a request to it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// No port of that name: its device did not come up, or its driver is not there.
    #[error("there is no port named {name}{}; EAL's messages on standard error say which devices failed", list(.available))]
    NoSuchName {
        /// The name asked for.
        name: String,
        /// The names of the ports there are.
        available: Vec<String>,
    },
    /// The port has been closed, or belongs to another device such as a bond.
    #[error("port {0} does not exist or cannot be used directly")]
    NoSuchPort(PortId),
    /// A [`Port`] or a queue of it exists already.
    #[error("port {0} is already configured")]
    InUse(PortId),
    /// More queues than the device has, or none.
    #[error("port {port} takes 1 to {max_rx} receive and 1 to {max_tx} transmit queues, not {rx} and {tx}")]
    Queues {
        /// The device's name.
        port: String,
        /// Receive queues asked for.
        rx: u16,
        /// Transmit queues asked for.
        tx: u16,
        /// The device's limit.
        max_rx: u16,
        /// The device's limit.
        max_tx: u16,
    },
    /// Neither one pool for all receive queues nor one for each.
    #[error("port {port} needs one mempool, or one for each of its {rx_queues} receive queues, not {pools}")]
    Pools {
        /// The device's name.
        port: String,
        /// Receive queues asked for.
        rx_queues: u16,
        /// Pools given.
        pools: usize,
    },
    /// A frame of the MTU would not fit into one mbuf.
    #[error(
        "port {port}: a frame at MTU {mtu} needs {needed} bytes, but the mempool's mbufs have room for {data_room_bytes}"
    )]
    DataRoom {
        /// The device's name.
        port: String,
        /// The MTU asked for, or the device's.
        mtu: u16,
        /// MTU, Ethernet header, a VLAN tag and the checksum.
        needed: u32,
        /// The pool's.
        data_room_bytes: u16,
    },
    /// The driver refused.
    #[error("port {port}: cannot {action}: {errno}")]
    Refused {
        /// The device's name, or its number if it has none.
        port: String,
        /// What was asked of it.
        action: &'static str,
        /// DPDK's reason.
        errno: Errno,
    },
}

impl PortId {
    /// All ports that can be configured, by number.
    pub fn all(eal: &Eal) -> Vec<PortId> {
        let next = |from: u64| {
            // SAFETY: needed to ask DPDK, which only looks through its table of ports; the EAL runs.
            eal.runtime().control(|| unsafe { sys::rte_eth_find_next_owned_by(from as u16, NO_OWNER) })
        };
        std::iter::successors(Some(next(0)), |&id| Some(next(id + 1)))
            .take_while(|&id| id < u64::from(sys::RTE_MAX_ETHPORTS))
            .map(|id| PortId(id as u16))
            .collect()
    }

    /// The port of the device named in `--vdev`, `-a` or [`Eal::attach_vdev`].
    ///
    /// # Errors
    /// [`PortError::NoSuchName`]
    pub fn by_name(eal: &Eal, name: &str) -> Result<PortId, PortError> {
        let mut id = 0;
        let found = c_string(name).is_ok_and(|c_name| {
            // SAFETY: needed to ask DPDK; a NUL-terminated string that it only reads, and a place for the answer.
            eal.runtime().control(|| unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) == 0 })
        });
        if found {
            return Ok(PortId(id));
        }
        let available = PortId::all(eal).into_iter().filter_map(PortId::name).collect();
        Err(PortError::NoSuchName { name: name.to_owned(), available })
    }

    /// DPDK's number, from 0, for indexing tables.
    #[inline]
    pub fn index(self) -> u16 {
        self.0
    }

    #[inline]
    pub(crate) fn new(id: u16) -> PortId {
        PortId(id)
    }

    fn name(self) -> Option<String> {
        let mut name: [c_char; sys::RTE_ETH_NAME_MAX_LEN as usize] = [0; _];
        // SAFETY: needed to ask DPDK, which checks the number and writes at most RTE_ETH_NAME_MAX_LEN bytes with a
        // closing NUL.
        let found = unsafe { sys::rte_eth_dev_get_name_by_port(self.0, name.as_mut_ptr()) } == 0;
        // SAFETY: needed to read the answer; it is NUL-terminated, for it began as zeroes if nothing else.
        found.then(|| unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    fn check(self, ret: c_int, action: &'static str) -> Result<c_int, PortError> {
        Errno::check(ret).map_err(|errno| {
            let port = self.name().unwrap_or_else(|| self.to_string());
            PortError::Refused { port, action, errno }
        })
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PortInfo {
    /// What the device of a port is and can do, configured or not.
    ///
    /// # Errors
    /// [`PortError::Refused`] if the port has been closed.
    pub fn of(eal: &Eal, id: PortId) -> Result<PortInfo, PortError> {
        eal.runtime().control(|| PortInfo::new(id, &device_info(id)?))
    }

    fn new(id: PortId, device: &sys::rte_eth_dev_info) -> Result<PortInfo, PortError> {
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: needed to ask DPDK, which checks the number and fills in the struct.
        id.check(unsafe { sys::rte_eth_macaddr_get(id.0, &mut mac) }, "read its MAC address")?;
        let driver = if device.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: needed to read the name, a string constant of the driver.
            unsafe { CStr::from_ptr(device.driver_name) }.to_string_lossy().into_owned()
        };
        Ok(PortInfo {
            name: id.name().unwrap_or_default(),
            driver,
            max_rx_queues: device.max_rx_queues,
            max_tx_queues: device.max_tx_queues,
            mac: mac.addr_bytes,
            mtu: (device.min_mtu, device.max_mtu),
            rss: device.flow_type_rss_offloads & sys::leat_rss_ip_tcp_udp != 0,
            socket: u32::try_from(socket_of(id)).ok(),
        })
    }
}

impl Port {
    /// Configures and starts a port. Each receive queue fills mbufs of its pool: `pools` holds one for all or one
    /// for each. Queues come back in the order of their numbers.
    ///
    /// # Errors
    /// See [`PortError`]. After `Refused` the port is closed; after all others it is as it was.
    pub fn configure(
        eal: &Eal,
        id: PortId,
        config: PortConfig,
        pools: &[Arc<Mempool>],
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), PortError> {
        if !PortId::all(eal).contains(&id) {
            return Err(PortError::NoSuchPort(id));
        }
        let (limits, info) = eal.runtime().control(|| {
            let limits = device_info(id)?;
            let info = PortInfo::new(id, &limits)?;
            check_request(id, &info, config, pools)?;
            Ok((limits, info))
        })?;
        let device = Arc::new(Device::claim(eal, id, pools)?);

        let rss = config.rss && info.rss;
        let descriptors = device.runtime.control(|| {
            device.configure_queues(config, &limits, rss)?;
            let descriptors = device.set_up_queues(config)?;
            if let Some(mtu) = config.mtu {
                device.set_mtu(mtu)?;
            }
            device.start(config.promiscuous)?;
            Ok(descriptors)
        })?;

        let rx = (0..config.rx_queues).map(|index| RxQueue::new(Arc::clone(&device), index)).collect();
        let tx = (0..config.tx_queues).map(|index| TxQueue::new(Arc::clone(&device), index)).collect();
        Ok((Port { device, info, descriptors, rss, _not_sync: PhantomData }, rx, tx))
    }

    /// The port's number.
    pub fn id(&self) -> PortId {
        self.device.id
    }

    /// What the device is and can do; the MAC address as of now.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// Descriptors of each receive and each transmit queue, after the device's limits.
    pub fn descriptors(&self) -> (u16, u16) {
        self.descriptors
    }

    /// Whether the device was asked to spread received packets by hash: wanted and supported.
    pub fn rss(&self) -> bool {
        self.rss
    }

    /// The port's counters. Some drivers ask the hardware: not for the packet path.
    ///
    /// # Errors
    /// [`PortError::Refused`]
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: needed to ask DPDK, which fills in the struct; the port is open.
        let ret = unsafe { sys::rte_eth_stats_get(self.id().0, &mut stats) };
        self.id().check(ret, "read its counters")?;
        let sys::rte_eth_stats { ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf, .. } = stats;
        Ok(PortStats { ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf })
    }

    /// Whether the link is up. Does not wait for a negotiation under way.
    ///
    /// # Errors
    /// [`PortError::Refused`]
    pub fn link_up(&self) -> Result<bool, PortError> {
        // SAFETY: needed to ask DPDK; the port is open.
        let ret = unsafe { sys::leat_link_up(self.id().0) };
        Ok(self.id().check(ret, "read its link state")? == 1)
    }

    /// Changes the MTU in bytes. Some drivers refuse this while the port runs (`EBUSY`).
    ///
    /// # Errors
    /// [`PortError::DataRoom`], [`PortError::Refused`]
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        check_data_room(&self.info, mtu, &self.device.pools)?;
        self.device.set_mtu(mtu)
    }

    /// Changes the MAC address, given in transmission order.
    ///
    /// # Errors
    /// [`PortError::Refused`], with `ENOTSUP` where the driver cannot and `EINVAL` for a multicast address.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut address = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: needed to set it; DPDK copies the address. The port is open.
        let ret = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id().0, &mut address) };
        self.id().check(ret, "set its MAC address")?;
        self.info.mac = mac;
        Ok(())
    }
}

/// An open port, shared by its [`Port`] and its queues. Closes when the last of them has gone, so no queue is ever
/// polled on a stopped port.
pub(crate) struct Device {
    id: PortId,
    /// One for all receive queues, or one for each. Held because the driver fills mbufs of them until the port is
    /// closed.
    pools: Vec<Arc<Mempool>>,
    runtime: Arc<Runtime>,
}

impl Device {
    fn claim(eal: &Eal, id: PortId, pools: &[Arc<Mempool>]) -> Result<Device, PortError> {
        let runtime = Arc::clone(eal.runtime());
        if !runtime.claim_port(id.0) {
            return Err(PortError::InUse(id));
        }
        Ok(Device { id, pools: pools.to_vec(), runtime })
    }

    #[inline]
    pub(crate) fn id(&self) -> PortId {
        self.id
    }

    fn configure_queues(&self, config: PortConfig, limits: &sys::rte_eth_dev_info, rss: bool) -> Result<(), PortError> {
        let mut conf = sys::rte_eth_conf::default();
        if rss {
            conf.rxmode.mq_mode = sys::rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS;
            conf.rxmode.offloads = limits.rx_offload_capa & sys::leat_rx_offload_rss_hash;
            conf.rx_adv_conf.rss_conf.rss_hf = limits.flow_type_rss_offloads & sys::leat_rss_ip_tcp_udp;
        }
        // SAFETY: needed to configure; DPDK copies and checks the struct. The port is ours and not started.
        let ret = unsafe { sys::rte_eth_dev_configure(self.id.0, config.rx_queues, config.tx_queues, &conf) };
        self.id.check(ret, "configure its queues")?;
        Ok(())
    }

    /// Returns the number of descriptors of each receive and each transmit queue.
    fn set_up_queues(&self, config: PortConfig) -> Result<(u16, u16), PortError> {
        let PortConfig { rx_queues, tx_queues, mut rx_descriptors, mut tx_descriptors, .. } = config;
        // SAFETY: needed to learn the device's limits; DPDK reads and writes the two numbers.
        let ret = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id.0, &mut rx_descriptors, &mut tx_descriptors) };
        self.id.check(ret, "adjust its descriptor counts")?;
        // DPDK takes "any node" as the unsigned form of -1.
        let socket = socket_of(self.id) as u32;
        // Too few pools was ruled out before; one pool serves all queues.
        for (queue, pool) in (0..rx_queues).zip(self.pools.iter().cycle()) {
            // SAFETY: needed to set the queue up. The pool lives until after the port is closed, as `pools` holds
            // it; the null pointer asks for the driver's defaults.
            let ret = unsafe {
                sys::rte_eth_rx_queue_setup(self.id.0, queue, rx_descriptors, socket, std::ptr::null(), pool.as_ptr())
            };
            self.id.check(ret, "set up a receive queue")?;
        }
        for queue in 0..tx_queues {
            // SAFETY: needed to set the queue up; the null pointer asks for the driver's defaults.
            let ret =
                unsafe { sys::rte_eth_tx_queue_setup(self.id.0, queue, tx_descriptors, socket, std::ptr::null()) };
            self.id.check(ret, "set up a transmit queue")?;
        }
        Ok((rx_descriptors, tx_descriptors))
    }

    fn start(&self, promiscuous: bool) -> Result<(), PortError> {
        // SAFETY: needed to start the port, which is configured, with all its queues set up.
        self.id.check(unsafe { sys::rte_eth_dev_start(self.id.0) }, "start")?;
        if promiscuous {
            // SAFETY: needed to ask for it; the port is open.
            let ret = unsafe { sys::rte_eth_promiscuous_enable(self.id.0) };
            if Errno::check(ret) != Err(Errno::ENOTSUP) {
                self.id.check(ret, "enable promiscuous mode")?;
            }
        }
        Ok(())
    }

    /// A driver that cannot set its MTU is no problem if it has the right one.
    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        // SAFETY: needed to set it; DPDK checks the range. The port is open.
        let ret = unsafe { sys::rte_eth_dev_set_mtu(self.id.0, mtu) };
        if Errno::check(ret) == Err(Errno::ENOTSUP) && mtu_of(self.id)? == mtu {
            return Ok(());
        }
        self.id.check(ret, "set its MTU")?;
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: needed to stop and close the port. The last handle is going, so nobody polls a queue or asks the
        // port anything. Stopping a port that was never started does nothing; failures leave nothing to be done
        // here.
        self.runtime.control(|| unsafe {
            sys::rte_eth_dev_stop(self.id.0);
            sys::rte_eth_dev_close(self.id.0);
        });
        self.runtime.release_port(self.id.0);
        // Closing has freed mbufs that were waiting to be reclaimed after transmission, perhaps the last of another
        // pool.
        self.runtime.sweep();
    }
}

/// DPDK's `RTE_ETH_DEV_NO_OWNER`: ports that no bond or fail-safe device has taken.
const NO_OWNER: u64 = 0;

/// Ethernet header, one VLAN tag, frame check sequence.
const FRAME_OVERHEAD_BYTES: u32 = 14 + 4 + 4;

fn check_request(id: PortId, info: &PortInfo, config: PortConfig, pools: &[Arc<Mempool>]) -> Result<(), PortError> {
    let PortConfig { rx_queues: rx, tx_queues: tx, .. } = config;
    let (max_rx, max_tx) = (info.max_rx_queues, info.max_tx_queues);
    if !(1..=max_rx).contains(&rx) || !(1..=max_tx).contains(&tx) {
        return Err(PortError::Queues { port: info.name.clone(), rx, tx, max_rx, max_tx });
    }
    if pools.len() != 1 && pools.len() != usize::from(rx) {
        return Err(PortError::Pools { port: info.name.clone(), rx_queues: rx, pools: pools.len() });
    }
    let mtu = match config.mtu {
        Some(mtu) => mtu,
        None => mtu_of(id)?,
    };
    check_data_room(info, mtu, pools)
}

fn check_data_room(info: &PortInfo, mtu: u16, pools: &[Arc<Mempool>]) -> Result<(), PortError> {
    let needed = u32::from(mtu) + FRAME_OVERHEAD_BYTES;
    let Some(pool) = pools.iter().find(|pool| u32::from(pool.data_room_bytes()) < needed) else { return Ok(()) };
    Err(PortError::DataRoom { port: info.name.clone(), mtu, needed, data_room_bytes: pool.data_room_bytes() })
}

fn device_info(id: PortId) -> Result<sys::rte_eth_dev_info, PortError> {
    let mut device = sys::rte_eth_dev_info::default();
    // SAFETY: needed to ask DPDK, which checks the number and fills in the struct.
    id.check(unsafe { sys::rte_eth_dev_info_get(id.0, &mut device) }, "read its capabilities")?;
    Ok(device)
}

fn mtu_of(id: PortId) -> Result<u16, PortError> {
    let mut mtu = 0;
    // SAFETY: needed to ask DPDK, which checks the number and writes the answer.
    id.check(unsafe { sys::rte_eth_dev_get_mtu(id.0, &mut mtu) }, "read its MTU")?;
    Ok(mtu)
}

/// Negative if unknown.
fn socket_of(id: PortId) -> c_int {
    // SAFETY: needed to ask DPDK, which checks the number and only reads.
    unsafe { sys::rte_eth_dev_socket_id(id.0) }
}

fn list(available: &[String]) -> String {
    if available.is_empty() { " (nor any other)".to_owned() } else { format!(" (there are: {})", available.join(", ")) }
}

//! Safe, owned handles over DPDK: [`Eal`], [`Port`] and its queues, [`Mempool`], [`Mbuf`], and a [`handover`] ring.
//!
//! All of DPDK's `unsafe` ends in this crate. What keeps it sound:
//!
//! - **Nothing outlives what it stands on.** Queues keep their port open, a port keeps its pools, and everything
//!   keeps the EAL alive, each by reference count. A pool is given back to DPDK only once its last handle *and* its
//!   last mbuf have gone.
//! - **Set-up happens on the main lcore.** [`Eal`] and [`Worker`] stay on the thread that started DPDK, and
//!   everything that creates something takes `&Eal`. Ports may be closed elsewhere; a lock keeps that and set-up
//!   apart.
//! - **A queue has one user.** [`RxQueue`], [`TxQueue`] and the two ends of a handover can move to another thread,
//!   but be neither shared nor cloned; their methods take `&mut self`.
//! - **An mbuf has one owner.** [`Mbuf`] frees itself on drop and changes thread only through a handover.
//!
//! ```compile_fail,E0277
//! fn sendable<T: Send>() {}
//! sendable::<leat_dpdk::Mbuf>(); // nor Eal, nor Worker
//! ```
//! ```compile_fail,E0277
//! fn shareable<T: Sync>() {}
//! shareable::<leat_dpdk::RxQueue>(); // nor TxQueue, HandoverTx, HandoverRx, Port
//! ```
//! ```
//! fn sendable<T: Send>() {}
//! sendable::<(leat_dpdk::RxQueue, leat_dpdk::TxQueue, leat_dpdk::Port, leat_dpdk::HandoverTx, leat_dpdk::HandoverRx)>();
//! sendable::<std::sync::Arc<leat_dpdk::Mempool>>();
//! ```
//!
//! What it takes on trust is DPDK: that a driver fills in mbufs with lengths that fit their buffers, and that
//! DPDK's functions do what their documentation says.
//!
//! The packet path (queue bursts, mbuf access, handover) allocates nothing, takes no lock and makes no system call
//! of its own.

mod eal;
mod errno;
mod hugepages;
mod mbuf;
mod mempool;
mod port;
mod queue;
#[cfg(feature = "reference")]
pub mod reference;
mod ring;
mod runtime;
mod tsc;

pub use eal::{Eal, EalError, LcoreId, Worker};
pub use errno::Errno;
pub use hugepages::{FreeHugepages, free_hugepages};
pub use mbuf::{Mbuf, free_batch};
pub use mempool::{Mempool, MempoolConfig, MempoolError};
pub use port::{Port, PortConfig, PortError, PortId, PortInfo, PortStats};
pub use queue::{RxQueue, TxQueue};
pub use ring::{HandoverError, HandoverRx, HandoverTx, handover};
pub use tsc::rdtsc;

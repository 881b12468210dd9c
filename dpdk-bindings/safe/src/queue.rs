//! The packet path's ends: bursts of mbufs from a receive queue and to a transmit queue.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_dpdk_sys as sys;

use crate::mbuf::{Mbuf, extend_from_raw, take_raw};
use crate::port::{Device, PortId};

/// One receive queue of a started port. One thread at a time may use it; it keeps the port open.
pub struct RxQueue {
    device: Arc<Device>,
    index: u16,
    _not_sync: PhantomData<Cell<()>>,
}

/// One transmit queue of a started port. One thread at a time may use it; it keeps the port open.
pub struct TxQueue {
    device: Arc<Device>,
    index: u16,
    _not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(device: Arc<Device>, index: u16) -> RxQueue {
        RxQueue { device, index, _not_sync: PhantomData }
    }

    /// Appends received packets to `out`, as many as wait and fit, and returns how many. Never blocks.
    ///
    /// Vectorised drivers round the room in `out` down to a multiple of 4 or 8, so keep it empty and N at 32 or so.
    #[inline]
    pub fn burst<M: From<Mbuf>, const N: usize>(&mut self, out: &mut ArrayVec<M, N>) -> usize {
        let mut raw = ArrayVec::<*mut sys::rte_mbuf, N>::new();
        let room = out.remaining_capacity().min(u16::MAX.into()) as u16;
        // SAFETY: needed to receive. The port is started and the queue set up for as long as `device` lives; `&mut
        // self` of a handle that exists once makes this the queue's only user. `raw` has space for N >= room
        // pointers, and DPDK writes the number it returns, at most `room`, each an mbuf that is now ours.
        unsafe {
            let count = sys::rte_eth_rx_burst(self.device.id().index(), self.index, raw.as_mut_ptr(), room);
            raw.set_len(count.into());
            extend_from_raw(out, &raw);
        }
        raw.len()
    }

    /// The queue's port.
    pub fn port(&self) -> PortId {
        self.device.id()
    }

    /// The queue's number on its port, from 0.
    pub fn index(&self) -> u16 {
        self.index
    }
}

impl TxQueue {
    pub(crate) fn new(device: Arc<Device>, index: u16) -> TxQueue {
        TxQueue { device, index, _not_sync: PhantomData }
    }

    /// Transmits packets from the front of `batch`, as many as the queue takes, and returns how many. The rest
    /// stays in `batch`, in order, for the caller to count and drop or to try again. Never blocks.
    ///
    /// The driver frees what it has sent, possibly only when later packets need the descriptors. Packets of several
    /// segments ([`Mbuf::is_single_segment`]) must not be transmitted: drivers may send just the first segment.
    #[inline]
    pub fn burst<M: From<Mbuf> + Into<Mbuf>, const N: usize>(&mut self, batch: &mut ArrayVec<M, N>) -> usize {
        let mut raw = take_raw(batch);
        let offered = raw.len().min(u16::MAX.into()) as u16;
        // SAFETY: needed to transmit. The port is started and the queue set up for as long as `device` lives; `&mut
        // self` of a handle that exists once makes this the queue's only user. `raw` holds `offered` mbufs of ours;
        // DPDK owns as many as it returns, from the front, and the others remain ours and fit into `batch`, which
        // they came from.
        unsafe {
            let sent = sys::rte_eth_tx_burst(self.device.id().index(), self.index, raw.as_mut_ptr(), offered).into();
            extend_from_raw(batch, raw.get_unchecked(sent..));
            sent
        }
    }

    /// The queue's port.
    pub fn port(&self) -> PortId {
        self.device.id()
    }

    /// The queue's number on its port, from 0.
    pub fn index(&self) -> u16 {
        self.index
    }
}

//! Handing mbufs from one lcore to another: a bounded ring with one producer and one consumer.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_dpdk_sys as sys;

use crate::eal::{Eal, EalError, c_string};
use crate::errno::Errno;
use crate::mbuf::{Mbuf, extend_from_raw, take_raw};
use crate::mempool::ANY_SOCKET;
use crate::runtime::Runtime;

/// Creates a ring for up to `capacity` mbufs (1 to 2^30 - 1) and returns its two ends; `name` is unique in the
/// process and at most 28 bytes long. The memory is on any NUMA node.
///
/// Order is kept. [`Mbuf::set_tag`] says what is to become of each mbuf. Mbufs left in the ring are freed when both
/// ends have been dropped.
///
/// # Errors
/// See [`HandoverError`].
pub fn handover(eal: &Eal, name: &str, capacity: u32) -> Result<(HandoverTx, HandoverRx), HandoverError> {
    let c_name = c_string(name)?;
    let failed = |errno| HandoverError::Create { name: name.to_owned(), capacity, errno };
    if !(1..=CAPACITY_MAX).contains(&capacity) {
        return Err(failed(Errno::EINVAL));
    }
    // SAFETY: needed to create the ring; DPDK copies the name. The number is in a range that DPDK can round up
    // without overflow. The EAL runs, as `eal` shows.
    let ring = unsafe { sys::rte_ring_create(c_name.as_ptr(), capacity, ANY_SOCKET, sys::leat_ring_spsc_exact) };
    let ring = NonNull::new(ring).ok_or_else(|| failed(Errno::last()))?;
    let ring = Arc::new(Ring { ring, _runtime: Arc::clone(eal.runtime()) });
    let tx = HandoverTx { ring: Arc::clone(&ring), _not_sync: PhantomData };
    Ok((tx, HandoverRx { ring, _not_sync: PhantomData }))
}

/// The end that gives mbufs away. One thread at a time may use it.
pub struct HandoverTx {
    ring: Arc<Ring>,
    _not_sync: PhantomData<Cell<()>>,
}

/// The end that takes mbufs over. One thread at a time may use it.
pub struct HandoverRx {
    ring: Arc<Ring>,
    _not_sync: PhantomData<Cell<()>>,
}

/// Why a handover could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The name holds a NUL byte.
    #[error(transparent)]
    Name(#[from] EalError),
    /// DPDK's refusal: `EINVAL` (capacity), `EEXIST` (name taken), `ENOMEM`, `ENAMETOOLONG`.
    #[error("cannot create handover {name} for {capacity} mbufs: {errno}")]
    Create {
        /// The ring's name.
        name: String,
        /// The capacity asked for.
        capacity: u32,
        /// DPDK's reason.
        errno: Errno,
    },
}

impl HandoverTx {
    /// Hands over mbufs from the front of `batch`, as many as fit, and returns how many. The rest stays in `batch`,
    /// in order. Never blocks.
    #[inline]
    pub fn burst<M: From<Mbuf> + Into<Mbuf>, const N: usize>(&mut self, batch: &mut ArrayVec<M, N>) -> usize {
        let raw = take_raw(batch);
        // SAFETY: needed to enqueue. The ring is alive; `&mut self` of a handle that exists once makes this its
        // only producer. `raw` holds pointers to mbufs of ours; the ring owns as many as are enqueued, from the
        // front, and the others remain ours and fit into `batch`, which they came from. Enqueuing releases this
        // thread's writes to the consumer.
        unsafe {
            let enqueued = sys::rte_ring_sp_enqueue_burst(
                self.ring.ring.as_ptr(),
                raw.as_ptr().cast(),
                raw.len() as u32,
                ptr::null_mut(),
            ) as usize;
            extend_from_raw(batch, raw.get_unchecked(enqueued..));
            enqueued
        }
    }
}

impl HandoverRx {
    /// Appends mbufs that have been handed over to `out`, as many as wait and fit, and returns how many. Never
    /// blocks.
    #[inline]
    pub fn burst<M: From<Mbuf>, const N: usize>(&mut self, out: &mut ArrayVec<M, N>) -> usize {
        self.ring.dequeue(out)
    }
}

/// DPDK rounds the capacity up to the next power of two above it, unchecked, and a ring has at most 2^30 slots.
const CAPACITY_MAX: u32 = (1 << 30) - 1;

struct Ring {
    ring: NonNull<sys::rte_ring>,
    _runtime: Arc<Runtime>,
}

impl Ring {
    /// To be called by the one consumer only.
    #[inline]
    fn dequeue<M: From<Mbuf>, const N: usize>(&self, out: &mut ArrayVec<M, N>) -> usize {
        let mut raw = ArrayVec::<*mut sys::rte_mbuf, N>::new();
        // SAFETY: needed to dequeue. The ring is alive; its only consumer is HandoverRx, which exists once and
        // takes `&mut self`, or after it `drop`. `raw` has space for N pointers, at least as many as asked for;
        // DPDK writes as many as it returns, each an mbuf that the producer owned and that is now ours, with the
        // producer's writes to it visible.
        unsafe {
            let count = sys::rte_ring_sc_dequeue_burst(
                self.ring.as_ptr(),
                raw.as_mut_ptr().cast(),
                out.remaining_capacity() as u32,
                ptr::null_mut(),
            );
            raw.set_len(count as usize);
            extend_from_raw(out, &raw);
        }
        raw.len()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut left = ArrayVec::<Mbuf, 32>::new();
        while self.dequeue(&mut left) > 0 {
            left.clear();
        }
        // SAFETY: needed to give the memory back; both ends have gone, and the ring is empty.
        unsafe { sys::rte_ring_free(self.ring.as_ptr()) }
    }
}

// SAFETY: needed so that the two ends can be on two threads. Each end is its side's only user (neither Sync nor
// Clone), and DPDK's ring is made for one producer and one consumer running concurrently.
unsafe impl Send for Ring {}
// SAFETY: as for Send.
unsafe impl Sync for Ring {}

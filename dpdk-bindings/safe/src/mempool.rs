//! Pools of packet buffers.

use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;
use leat_dpdk_sys as sys;

use crate::eal::{Eal, EalError, c_string};
use crate::errno::Errno;
use crate::mbuf::{Mbuf, extend_from_raw};
use crate::runtime::Runtime;

/// A pool of [`Mbuf`]s of one size, all allocated when it is created. Any thread may allocate and free.
///
/// Ports hold the pools of their receive queues by `Arc`, so a pool lives as long as a driver can fill it. Once the
/// last handle has gone, DPDK gets the memory back as soon as all mbufs have returned, no worker runs, and the main
/// lcore drops a pool, a port or a worker; at the latest with the EAL.
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    data_room_bytes: u16,
    runtime: Arc<Runtime>,
}

/// The shape of a [`Mempool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MempoolConfig {
    /// How many mbufs, 1 to 2^30 - 1; a power of two minus one wastes no memory. Enough for all descriptors of all
    /// queues that it feeds or whose transmissions come from it, plus caches and bursts in flight.
    pub count: u32,
    /// How many mbufs an lcore may keep to itself, 0 to 512 and at most two thirds of `count`.
    pub cache: u32,
    /// Bytes for packet data in each mbuf, after the headroom of [`Mempool::HEADROOM_BYTES`]. 2048 holds a frame of
    /// MTU 1500.
    pub data_room_bytes: u16,
    /// The NUMA node of the memory; none means any.
    pub socket: Option<u32>,
}

/// Why a pool could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// The name holds a NUL byte.
    #[error(transparent)]
    Name(#[from] EalError),
    /// Headroom and data room together must be below 64 KiB.
    #[error("a data room of {0} bytes leaves no space for the headroom below 64 KiB")]
    DataRoom(u16),
    /// DPDK's refusal: `ENOMEM` (memory or name space exhausted), `EEXIST` (name taken), `EINVAL` (count or cache
    /// out of range), `ENAMETOOLONG` (more than 25 bytes).
    #[error("cannot create mempool {name} of {count} mbufs with {data_room_bytes} bytes each: {errno}")]
    Create {
        /// The pool's name.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// Data room asked for.
        data_room_bytes: u16,
        /// DPDK's reason.
        errno: Errno,
    },
}

impl Default for MempoolConfig {
    /// 8191 mbufs of 2048 bytes, cache 256, any NUMA node: about 20 MiB.
    fn default() -> Self {
        MempoolConfig { count: 8191, cache: 256, data_room_bytes: 2048, socket: None }
    }
}

impl Mempool {
    /// The space in front of a received packet's data, for [`Mbuf::prepend`].
    pub const HEADROOM_BYTES: u16 = sys::RTE_PKTMBUF_HEADROOM as u16;

    /// Creates a pool; `name` is unique in the process and at most 25 bytes long.
    ///
    /// # Errors
    /// See [`MempoolError`].
    pub fn new(eal: &Eal, name: &str, config: MempoolConfig) -> Result<Arc<Mempool>, MempoolError> {
        let MempoolConfig { count, cache, data_room_bytes, socket } = config;
        let c_name = c_string(name)?;
        let buffer_bytes =
            data_room_bytes.checked_add(Mempool::HEADROOM_BYTES).ok_or(MempoolError::DataRoom(data_room_bytes))?;
        let socket = socket.map_or(ANY_SOCKET, |socket| socket as i32);
        let failed = |errno| MempoolError::Create { name: name.to_owned(), count, data_room_bytes, errno };
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(failed(Errno::EINVAL));
        }
        // SAFETY: needed to create the pool; DPDK copies the name and checks the numbers, but for `count`, which is
        // in a range that it can round up without overflow. The EAL runs, as `eal` shows.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, buffer_bytes, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| failed(Errno::last()))?;
        Ok(Arc::new(Mempool { pool, data_room_bytes, runtime: Arc::clone(eal.runtime()) }))
    }

    /// An empty mbuf with full headroom, or none if the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: needed to allocate; the pool is alive, and allocation is safe on any thread. What DPDK returns is
        // ours alone.
        NonNull::new(unsafe { sys::rte_pktmbuf_alloc(self.pool.as_ptr()) }).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Appends `count` empty mbufs with full headroom to `out`, which is cheaper than one by one. False, and nothing
    /// appended, if the pool has not so many left or `out` no room for them.
    #[inline]
    #[must_use = "false means that nothing was allocated"]
    pub fn alloc_batch<M: From<Mbuf>, const N: usize>(&self, out: &mut ArrayVec<M, N>, count: usize) -> bool {
        if count > out.remaining_capacity() {
            return false;
        }
        let mut raw = ArrayVec::<*mut sys::rte_mbuf, N>::new();
        // SAFETY: needed to allocate in bulk; the pool is alive, and allocation is safe on any thread. `raw` has space
        // for N >= count pointers; DPDK writes all of them or none, each an mbuf that is ours alone, and `out` has room.
        unsafe {
            if sys::rte_pktmbuf_alloc_bulk(self.pool.as_ptr(), raw.as_mut_ptr(), count as u32) != 0 {
                return false;
            }
            raw.set_len(count);
            extend_from_raw(out, &raw);
        }
        true
    }

    /// Mbufs in the pool, those in lcores' caches included. Exact while nobody allocates or frees; else a snapshot.
    pub fn available(&self) -> u32 {
        // SAFETY: needed to ask DPDK; the pool is alive. It reads counters that other threads may be changing: a
        // number for people.
        unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// Mbufs out of the pool: held by the program, by receive descriptors, or transmitted and not yet reclaimed by
    /// the driver. As exact as [`available`](Mempool::available).
    pub fn in_use(&self) -> u32 {
        // SAFETY: as in `available`.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    /// As configured.
    pub fn data_room_bytes(&self) -> u16 {
        self.data_room_bytes
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        self.runtime.retire_pool(self.pool);
    }
}

// SAFETY: needed to share pools among lcores. DPDK's default pool is multi-producer and multi-consumer, its caches
// are per lcore, and the handle's own fields do not change.
unsafe impl Send for Mempool {}
// SAFETY: as for Send.
unsafe impl Sync for Mempool {}

/// A pool's ring has one slot more than mbufs, rounded up to a power of two, unchecked, and at most 2^30 slots.
const COUNT_MAX: u32 = (1 << 30) - 1;

/// DPDK's `SOCKET_ID_ANY`.
pub(crate) const ANY_SOCKET: i32 = -1;

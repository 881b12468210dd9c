//! What all handles share: proof that the EAL runs, which ports are taken, and pools that wait to be freed.
//!
//! # When memory goes back to DPDK
//! [`Mbuf`](crate::Mbuf) is a bare pointer without a reference count: that is what makes it free on the packet
//! path. A pool must therefore not be freed before its last mbuf is back, and "back" can only be trusted while
//! nobody is just putting one back (the per-lcore cache raises its count *before* it stores the mbuf). So a pool
//! whose last handle has gone is *retired* first, and freed at the next [`Runtime::sweep`] that finds it full, on
//! the main lcore, with no worker running. Threads that DPDK does not know bypass the caches; their last write to
//! the pool is the count itself.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use leat_dpdk_sys as sys;

/// One per process, made by [`Eal::init`](crate::Eal::init); every handle holds it by `Arc`. Dropping it cleans up
/// the EAL.
pub(crate) struct Runtime {
    /// Launched and not yet joined. Used on the main lcore only.
    lcores_busy: Mutex<Vec<u32>>,
    ports_claimed: Mutex<Vec<u16>>,
    pools_retired: Mutex<Vec<RetiredPool>>,
    control: Mutex<()>,
}

struct RetiredPool(NonNull<sys::rte_mempool>);

// SAFETY: needed to keep the pointer in a Mutex that threads share. Only `sweep` uses it, on the main lcore; a pool
// itself belongs to no thread.
unsafe impl Send for RetiredPool {}

impl Runtime {
    /// The EAL must be running, started by the calling thread.
    pub(crate) fn new() -> Runtime {
        Runtime {
            lcores_busy: Mutex::default(),
            ports_claimed: Mutex::default(),
            pools_retired: Mutex::default(),
            control: Mutex::default(),
        }
    }

    /// Calls into DPDK's table of devices, one thread at a time: ports are set up on the main lcore but closed
    /// wherever their last queue is dropped, and DPDK itself guards only parts of the table. `call` must not drop a
    /// port.
    pub(crate) fn control<T>(&self, call: impl FnOnce() -> T) -> T {
        let _guard = lock(&self.control);
        call()
    }

    pub(crate) fn is_busy(&self, lcore: u32) -> bool {
        lock(&self.lcores_busy).contains(&lcore)
    }

    pub(crate) fn worker_launched(&self, lcore: u32) {
        lock(&self.lcores_busy).push(lcore);
    }

    pub(crate) fn worker_joined(&self, lcore: u32) {
        lock(&self.lcores_busy).retain(|&busy| busy != lcore);
        self.sweep();
    }

    /// False if somebody else has the port.
    pub(crate) fn claim_port(&self, port: u16) -> bool {
        let mut claimed = lock(&self.ports_claimed);
        let free = !claimed.contains(&port);
        if free {
            claimed.push(port);
        }
        free
    }

    pub(crate) fn release_port(&self, port: u16) {
        lock(&self.ports_claimed).retain(|&claimed| claimed != port);
    }

    /// Takes over a pool that no handle refers to any more. Mbufs of it may still be around.
    pub(crate) fn retire_pool(&self, pool: NonNull<sys::rte_mempool>) {
        lock(&self.pools_retired).push(RetiredPool(pool));
        self.sweep();
    }

    /// Frees the retired pools that are full again, if that can be told for sure now; see the module's header.
    pub(crate) fn sweep(&self) {
        if !on_main_lcore() || !lock(&self.lcores_busy).is_empty() {
            return;
        }
        lock(&self.pools_retired).retain(|pool| {
            // SAFETY: needed to ask DPDK for the count; the pool is alive, because only this function frees pools.
            let in_use = unsafe { sys::rte_mempool_in_use_count(pool.0.as_ptr()) } > 0;
            if !in_use {
                // SAFETY: needed to give the memory back. No handle is left (it is retired), no queue (queues hold
                // handles), no mbuf (none is in use), and nobody is inside the pool: no worker runs, this is the
                // main lcore, and other threads end their use of a pool with the write that made its count full.
                unsafe { sys::rte_mempool_free(pool.0.as_ptr()) };
            }
            in_use
        });
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.sweep();
        // Clean-up unmaps all DPDK memory. With mbufs still around, or off the main lcore, the process keeps it
        // until it ends.
        if on_main_lcore() && lock(&self.pools_retired).is_empty() {
            // SAFETY: needed to end DPDK. The last handle is going, so no port, queue, ring, pool or (as no pool
            // waits) mbuf is left, and no worker runs, for a Worker holds this until it has been joined.
            unsafe { sys::rte_eal_cleanup() };
        }
    }
}

fn on_main_lcore() -> bool {
    // SAFETY: needed to ask DPDK who we are; both calls only read, the first a thread-local, the second a constant
    // of this run.
    unsafe { sys::leat_lcore_id() == sys::rte_get_main_lcore() }
}

/// The data behind these locks is valid after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

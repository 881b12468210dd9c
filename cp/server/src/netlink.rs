//! The Linux side of the ports: configures the TAP twins and tells where the next hops are.
//!
//! One thread with a current-thread tokio runtime speaks rtnetlink. It makes Linux what [`NetConfig`] says (idempotently,
//! also after a TAP vanished and came back with a restarted data plane), follows links, addresses, routes and
//! neighbours, and gives each change out as a whole [`NetView`].
//!
//! What it touches, and nothing else:
//! - interfaces named in [`PortConfig::tap`]: up, addresses (IPv6 ones without duplicate address detection, so that they serve
//!   at once), routes, and under `/proc/sys/net/ipv4/conf/<tap>/`:
//!   - `rp_filter=2` (loose): an answer to a health check may arrive on another TAP than the one Linux would send on;
//!   - `arp_ignore=1`: a node address is answered for on its own TAP only, not on every TAP of the host;
//!   - `arp_announce=2`: ARP requests carry the port's own address and not the node address that a health check leaves
//!     from, which a router outside the node address's subnet would ignore.
//! - under `/proc/sys/net/ipv6/conf/<tap>/`, where the kernel has IPv6: `accept_ra=0` and `accept_dad=0`, as addresses and routes
//!   come from here alone, and `disable_ipv6=0` where a port has IPv6 addresses;
//! - a default route of ours goes to the main table with metric [`METRIC`], behind any default route the host has, and
//!   to table [`TABLE`], which two rules for each of our own source addresses make the one that health checks use:
//!   `from A lookup main suppress_prefixlength 0`, then `from A lookup TABLE`. So checks take the way that data takes,
//!   and the host's own traffic keeps its way out.
//!
//! Addresses, routes and rules are marked with protocol number [`PROTOCOL`]; only marked ones are ever removed, also by
//! a later process. Everything stays when the control plane stops.
//!
//! A host with more than some hundred on-link targets needs `net.ipv4.neigh.default.gc_thresh{1,2,3}` above their number, and for
//! IPv6 ones the same of `net.ipv6`.

mod follow;
mod kernel;
mod plan;
mod prefix;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use leat_compile::view::NetView;
use tokio::sync::Notify;

pub use prefix::{Prefix, PrefixError};

/// Marks addresses, routes and rules as ours (`ip route` shows `proto 76`).
pub const PROTOCOL: u8 = 76;
/// Routing table of our default routes, and the priority of the two rules that lead to it (this and the next number).
pub const TABLE: u32 = 9321;
/// Metric of our first port's default route in the main table; the next port's is one more.
pub const METRIC: u32 = 9321;

/// A route over one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; 0.0.0.0/0 and ::/0 are default routes.
    pub to: Prefix,
    /// Gateway, reachable on-link.
    pub via: IpAddr,
}

/// What Linux shall know of one DPDK port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The port's name, as the data plane knows it.
    pub name: String,
    /// Its TAP twin's interface name.
    pub tap: String,
    /// The host's own addresses on it.
    pub addresses: Vec<Prefix>,
    /// Routes over it.
    pub routes: Vec<Route>,
}

/// What Linux shall be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetConfig {
    /// The ports; views refer to them by index.
    pub ports: Vec<PortConfig>,
    /// Load balancer node addresses, each with the one that tells its port: it is a /32 (IPv6: a /128) on the TAP of the port whose
    /// subnet contains that one (longest match), of the first port when none does.
    pub node_addresses: Vec<(IpAddr, IpAddr)>,
}

/// The netlink thread; it ends when this is dropped and leaves Linux as it is.
pub struct Network {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Written by callers, read by the thread.
struct Shared {
    inputs: Mutex<Inputs>,
    changed: Notify,
}

#[derive(Clone, Default)]
struct Inputs {
    config: NetConfig,
    wanted: Vec<IpAddr>,
    fresh: Vec<IpAddr>,
    stop: bool,
}

impl Network {
    /// Starts the thread. `changed` is called on it with each new view, the first time soon after the start.
    pub fn start(changed: impl Fn(Arc<NetView>) + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let shared = Arc::new(Shared { inputs: Mutex::new(Inputs::default()), changed: Notify::new() });
        let inputs = shared.clone();
        let thread = thread::Builder::new()
            .name("netlink".into())
            .spawn(move || runtime.block_on(follow::follow(&inputs, &changed)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Sets what Linux shall be made.
    pub fn set_config(&self, config: NetConfig) {
        self.set(|inputs| inputs.config = config);
    }

    /// Sets the destinations whose next hops are wanted (targets, in any order).
    pub fn set_wanted(&self, destinations: Vec<IpAddr>) {
        self.set(|inputs| inputs.wanted = destinations);
    }

    /// Sets which of the destinations are asked for anew, whatever Linux knew of them before they were among these.
    pub fn set_fresh(&self, destinations: Vec<IpAddr>) {
        self.set(|inputs| inputs.fresh = destinations);
    }

    fn set(&self, change: impl FnOnce(&mut Inputs)) {
        change(&mut self.shared.inputs.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.changed.notify_one();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.set(|inputs| inputs.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

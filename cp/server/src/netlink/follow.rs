//! The thread's loop: look, change what must change, look again, tell, wait.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup};
use tokio::time::Instant;

use leat_compile::view::NetView;

use super::kernel::{self, Added, Event};
use super::plan::{self, Change, Observed};
use super::view::{self, Neighbours, Unresolved};
use super::{Inputs, NetConfig, Shared};

/// How often everything is read again although nothing happened.
const RESYNC: Duration = Duration::from_secs(30);
/// After a failed change, the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// At least this long between two requests for the same neighbour.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Neighbours asked for in one turn.
const ASKS_MAX: usize = 256;
/// Messages looked at before the view is made anew.
const EVENTS_MAX: usize = 4096;
/// Changes of links, addresses and routes come in flocks; wait for the rest of one.
const FLOCK: Duration = Duration::from_millis(5);
/// Rounds of planning and changing before the rest waits for [`RETRY`].
const ROUNDS_MAX: usize = 4;
/// Room for events in the socket; more than the system's limit is cut down to it.
const RECEIVE_BYTES: u32 = 4 << 20;

/// Runs until asked to stop. A netlink socket that fails is opened again.
pub async fn follow(shared: &Shared, changed: &impl Fn(Arc<NetView>)) {
    let mut follower = Follower::default();
    while let Err(error) = follower.run(shared, changed).await {
        tracing::error!(%error, "netlink failed; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

/// What outlives a netlink socket.
#[derive(Default)]
struct Follower {
    view: Arc<NetView>,
    added: Added,
    /// TAPs, by interface index, whose sysctls are set.
    prepared: HashSet<u32>,
    asked: HashMap<Unresolved, Instant>,
    /// What was to be asked for anew, and is forgotten already.
    fresh: HashSet<IpAddr>,
    /// What was logged and still holds, so that it is logged once.
    complaints: HashSet<String>,
}

impl Follower {
    async fn run(&mut self, shared: &Shared, changed: &impl Fn(Arc<NetView>)) -> io::Result<()> {
        // Requests have a socket of their own: a flood of events must not lose their answers.
        let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Rule,
        ];
        let (mut listener, _listener_handle, mut events) = rtnetlink::new_multicast_connection(&groups)?;
        let _ = listener.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BYTES);
        tokio::spawn(listener);

        let mut observed = Observed::default();
        let mut neighbours = Neighbours::new();
        let mut settled = Vec::new();
        let mut look_at_all = true;
        let mut retry = false;
        let mut resync_at = Instant::now() + RESYNC;
        let mut config = NetConfig::default();
        loop {
            let inputs = shared.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if inputs.stop {
                return Ok(());
            }
            if inputs.config != config {
                config.clone_from(&inputs.config);
                look_at_all = true;
            }
            if look_at_all {
                let (now_observed, complete) = self.settle(&handle, &config).await?;
                observed = now_observed;
                retry = complete.contains(&false);
                settled = observed.taps.iter().zip(complete).map(|(tap, done)| tap.is_some() && done).collect();
                neighbours = kernel::neighbours(&handle, &observed).await.map_err(kernel::into_io)?;
                look_at_all = false;
                resync_at = Instant::now() + RESYNC;
            }
            self.forget(&handle, &inputs.fresh, &mut neighbours).await;
            let unresolved = self.tell(&inputs, &observed, &settled, &neighbours, changed);
            let ask_at = self.ask(&handle, unresolved).await;

            let mut wake_at = resync_at;
            if retry {
                wake_at = wake_at.min(Instant::now() + RETRY);
            }
            if let Some(at) = ask_at {
                wake_at = wake_at.min(at);
            }
            let first = tokio::select! {
                event = events.next() => Some(event.ok_or(io::ErrorKind::ConnectionAborted)?),
                () = shared.changed.notified() => None,
                () = tokio::time::sleep_until(wake_at) => {
                    look_at_all = retry || Instant::now() >= resync_at;
                    None
                }
            };
            let mut next = first;
            let mut taken = 0;
            while let Some((message, _)) = next.take() {
                match message.payload {
                    NetlinkPayload::Overrun(_) => look_at_all = true,
                    NetlinkPayload::InnerMessage(message) => match kernel::sort(message) {
                        Event::Topology => {
                            if !look_at_all {
                                look_at_all = true;
                                tokio::time::sleep(FLOCK).await;
                            }
                        }
                        Event::Neighbour(message, exists) => {
                            kernel::take_neighbour(&mut neighbours, &observed, &message, exists);
                        }
                        Event::Other => {}
                    },
                    _ => {}
                }
                taken += 1;
                if taken < EVENTS_MAX {
                    next = events.try_recv().ok();
                }
            }
        }
    }

    /// Makes Linux what `config` says. Returns what there is now and, by port, whether nothing is missing.
    async fn settle(&mut self, handle: &Handle, config: &NetConfig) -> io::Result<(Observed, Vec<bool>)> {
        for &(node, place) in &config.node_addresses {
            if plan::node_port(config, place).is_none() && !config.ports.is_empty() {
                let port = &config.ports[0].name;
                let what = format!("no port's subnet contains node address {node}; it is put on port {port}");
                self.complain(what);
            }
        }
        let mut observed = self.observe(handle, config).await?;
        for _ in 0..ROUNDS_MAX {
            self.prepare(config, &observed);
            let changes = plan::plan(config, &observed);
            let mut made = false;
            for change in changes {
                let result = kernel::apply(handle, &observed, &mut self.added, change).await;
                let what = describe(config, change);
                match result {
                    Ok(()) => {
                        tracing::info!("{what}");
                        self.complaints.retain(|complaint| !complaint.starts_with(&what));
                        made = true;
                    }
                    // The TAP went, or Linux was quicker (it drops routes with their addresses).
                    Err(error) if is_gone(&error) => made = true,
                    Err(error) => self.complain(format!("{what}: {}", explain(change, &error))),
                }
            }
            if !made {
                break;
            }
            observed = self.observe(handle, config).await?;
        }
        let missing = plan::plan(config, &observed);
        let complete =
            (0..config.ports.len()).map(|port| !missing.iter().any(|change| concerns(change, port))).collect();
        Ok((observed, complete))
    }

    /// Sets the sysctls of TAPs that are new.
    fn prepare(&mut self, config: &NetConfig, observed: &Observed) {
        self.prepared.retain(|index| observed.taps.iter().flatten().any(|tap| tap.index == *index));
        for (port, tap) in config.ports.iter().zip(&observed.taps) {
            if tap.is_some_and(|tap| self.prepared.insert(tap.index))
                && let Err(error) = kernel::set_sysctls(port)
            {
                self.complain(format!("cannot set {error}"));
            }
        }
    }

    async fn observe(&self, handle: &Handle, config: &NetConfig) -> io::Result<Observed> {
        kernel::observe(handle, config, &self.added).await.map_err(kernel::into_io)
    }

    /// Gives out a new view if anything changed; returns the neighbours to ask for.
    fn tell(
        &mut self,
        inputs: &Inputs,
        observed: &Observed,
        settled: &[bool],
        neighbours: &Neighbours,
        changed: &impl Fn(Arc<NetView>),
    ) -> HashSet<Unresolved> {
        let nodes: Vec<_> = inputs.config.node_addresses.iter().map(|(node, _)| *node).collect();
        let (mut view, unresolved) = view::compute(&inputs.wanted, &nodes, observed, settled, neighbours, &self.view);
        if view.version == 0 || view != *self.view {
            view.version += 1;
            self.view = Arc::new(view);
            changed(self.view.clone());
        }
        unresolved
    }

    /// Has Linux forget neighbours that are to be asked for anew, once each.
    async fn forget(&mut self, handle: &Handle, fresh: &[IpAddr], neighbours: &mut Neighbours) {
        let new: HashSet<IpAddr> = fresh.iter().copied().filter(|address| !self.fresh.contains(address)).collect();
        self.fresh = fresh.iter().copied().collect();
        let known: Vec<Unresolved> = neighbours.keys().filter(|(_, address)| new.contains(address)).copied().collect();
        for neighbour in known {
            neighbours.remove(&neighbour);
            if let Err(error) = kernel::forget(handle, neighbour).await {
                tracing::debug!(%error, address = %neighbour.1, "cannot forget a neighbour");
            }
        }
    }

    /// Asks for the neighbours whose turn it is; returns when the next one's turn comes.
    async fn ask(&mut self, handle: &Handle, unresolved: HashSet<Unresolved>) -> Option<Instant> {
        self.asked.retain(|neighbour, _| unresolved.contains(neighbour));
        let now = Instant::now();
        let due = |asked: &HashMap<Unresolved, Instant>, neighbour| {
            asked.get(neighbour).is_none_or(|&at| now >= at + ASK_AGAIN)
        };
        let turn: Vec<Unresolved> =
            unresolved.iter().filter(|neighbour| due(&self.asked, neighbour)).take(ASKS_MAX).copied().collect();
        for &neighbour in &turn {
            self.asked.insert(neighbour, now);
            if let Err(error) = kernel::ask_for(handle, neighbour).await {
                tracing::debug!(%error, address = %neighbour.1, "cannot ask for a neighbour");
            }
        }
        let waiting = unresolved.iter().map(|neighbour| self.asked.get(neighbour).map_or(now, |&at| at + ASK_AGAIN));
        waiting.min()
    }

    fn complain(&mut self, complaint: String) {
        if !self.complaints.contains(&complaint) {
            tracing::warn!("{complaint}");
            self.complaints.insert(complaint);
        }
    }
}

fn concerns(change: &Change, port: usize) -> bool {
    match change {
        Change::LinkUp(of) | Change::AddAddress(of, _) | Change::DeleteAddress(of, _) => *of == port,
        Change::AddRoute(route) | Change::DeleteRoute(route) => route.port == port,
        // Rules steer Linux's own packets only.
        Change::AddRule(_) | Change::DeleteRule(_) => false,
    }
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NODEV, Errno::NXIO, Errno::ADDRNOTAVAIL, Errno::SRCH, Errno::NOENT].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| gone.contains(&code)) || error.kind() == io::ErrorKind::NotFound
}

fn explain(change: Change, error: &io::Error) -> String {
    match (change, error.kind()) {
        (Change::AddRoute(_), io::ErrorKind::AlreadyExists) => "another route to this network is in the way".into(),
        (Change::AddRoute(_), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "the gateway is in no subnet of this port; add an address of its subnet or correct it".into()
        }
        (_, io::ErrorKind::PermissionDenied) => format!("{error}; the control plane needs CAP_NET_ADMIN"),
        _ => error.to_string(),
    }
}

fn describe(config: &NetConfig, change: Change) -> String {
    let tap = |port: usize| config.ports.get(port).map_or("a TAP no longer configured", |port| port.tap.as_str());
    match change {
        Change::LinkUp(port) => format!("set {} up", tap(port)),
        Change::AddAddress(port, prefix) => format!("add address {prefix} to {}", tap(port)),
        Change::DeleteAddress(port, prefix) => format!("remove address {prefix} from {}", tap(port)),
        Change::AddRoute(route) => format!("add {}", describe_route(&route, tap(route.port))),
        Change::DeleteRoute(route) => format!("remove {}", describe_route(&route, tap(route.port))),
        Change::AddRule(rule) => format!("add routing rule {rule:?}"),
        Change::DeleteRule(rule) => format!("remove routing rule {rule:?}"),
    }
}

fn describe_route(route: &plan::TapRoute, tap: &str) -> String {
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    format!("route to {}{via} over {tap} in table {}", route.to, route.table)
}

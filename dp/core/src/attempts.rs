//! How targets answer the SYNs of clients (HC-17, S16.4): counted for the control plane, which leaves out targets that do not answer well
//! (docs/adr/0010-passive-checks.md).
//!
//! Nothing here is touched by packets of established flows. A SYN that its client has sent again twice is followed for a few seconds,
//! in a queue of fixed length: as all wait equally long, the first one is due first. When the queue is full, the SYN is not followed, and
//! that is counted: a flood costs no more than that, and hides failures at worst.

use std::collections::VecDeque;

use leat_abi::attempts::Attempt;
use leat_abi::counters::Counter;
use leat_abi::flow::{FlowEntry, FlowState};

use crate::address::Address;
use crate::frame::Now;
use crate::hash;
use crate::pipeline::Pipeline;

/// How often a client has sent its SYN again when its answer begins to be waited for.
pub const REPEATS: u32 = 2;
/// Milliseconds after that in which the target must answer.
pub const PATIENCE_MS: u64 = 3_000;
/// SYNs that are followed at a time.
pub const FOLLOWED_MAX: usize = 1024;
/// Of those, how many are looked at in one turn of housekeeping.
const FOLLOWED_PER_TURN: usize = 32;

/// A SYN whose answer is waited for. Its entry may be another flow's by the time.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    due_ms: u64,
    entry: u32,
    isn: u32,
}

/// The SYNs that an lcore follows.
#[derive(Debug)]
pub(crate) struct Followed {
    queue: VecDeque<Awaited>,
}

impl Followed {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::with_capacity(FOLLOWED_MAX) }
    }
}

impl Pipeline<'_> {
    /// A client's attempt to connect has ended.
    #[cold]
    pub(crate) fn attempted(&self, at: u32, attempt: Attempt, now: Now) {
        let entry = self.flows.table.entry(at);
        let client = match self.flows.table.addresses(at) {
            Some(wide) => Address::from_octets(wide.client).network_64(),
            None => Address::v4(entry.client_ip),
        };
        let client = hash::digest(self.digest_key, client, Address::default());
        self.counters.attempt(entry.target_slot, attempt, client, now.stamp());
    }

    /// A client has sent its SYN again for the last time before its target should have answered.
    #[cold]
    pub(crate) fn follow_syn(&mut self, at: u32, now: Now) {
        if self.followed.queue.len() >= FOLLOWED_MAX {
            self.counters.add(Counter::SynsNotFollowed, 1);
            return;
        }
        let isn = self.flows.table.entry(at).client_isn;
        self.followed.queue.push_back(Awaited { due_ms: now.ms + PATIENCE_MS, entry: at, isn });
    }

    /// Looks at the SYNs whose time is over. Returns whether there may be more to do at once.
    pub(crate) fn look_after_syns(&mut self, now: Now) -> bool {
        for _ in 0..FOLLOWED_PER_TURN {
            let Some(first) = self.followed.queue.pop_front_if(|first| first.due_ms <= now.ms) else { return false };
            if is_unanswered(self.flows.table.entry(first.entry), first.isn) {
                self.attempted(first.entry, Attempt::Unanswered, now);
            }
        }
        true
    }
}

/// Whether an entry is still that of a SYN followed, and still without an answer.
fn is_unanswered(entry: &FlowEntry, isn: u32) -> bool {
    entry.state() == Some(FlowState::SynSent) && entry.client_isn == isn && entry.client_ack >= REPEATS
}

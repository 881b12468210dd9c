//! Memory that outlives a pipeline, as the shared segment does: flow entries, counters, event ring. It is leaked.

use std::sync::atomic::AtomicU64;

use leat_abi::counters::{LCORE_WORDS, LISTENER_WORDS, LcoreCounters, TARGET_WORDS};
use leat_abi::ring::{Consumer, MESSAGE_WORDS, Producer, Ring, RingControl};
use leat_abi::{FlowAddresses, FlowEntry, FlowMemory};

/// Target and listener slots that have counters.
pub const SLOTS: usize = 32;

/// One lcore's memory.
#[derive(Debug)]
pub struct Memory {
    entries: *mut [FlowEntry],
    addresses: *mut [FlowAddresses],
    pub counters: LcoreCounters<'static>,
    ring: Ring<'static>,
}

fn words(count: usize) -> &'static [AtomicU64] {
    Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
}

impl Memory {
    /// Zeroed memory for `flows` flows, half of them with a second line, and `events` events, a power of two.
    pub fn new(flows: usize, events: usize) -> Self {
        // SAFETY: needed because the type cannot be made outside its crate; in the segment, too, it begins as zeroed bytes. It
        // consists of 64-bit atomics, for which zero is a value.
        let control: &'static RingControl = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        Self {
            entries: Box::into_raw(vec![FlowEntry::default(); flows].into_boxed_slice()),
            addresses: Box::into_raw(vec![FlowAddresses::default(); flows / 2].into_boxed_slice()),
            counters: LcoreCounters::new(
                words(LCORE_WORDS),
                words(SLOTS * TARGET_WORDS),
                words(SLOTS * LISTENER_WORDS),
            ),
            ring: Ring::new(control, words(events * MESSAGE_WORDS)),
        }
    }

    /// The flow entries, for a pipeline. The one that had them before must be gone.
    pub fn entries(&mut self) -> &'static mut [FlowEntry] {
        // SAFETY: needed because one pipeline after the other borrows the entries, as processes do. The memory was leaked as this
        // very slice, and callers drop a pipeline before they ask for the next one's entries.
        unsafe { &mut *self.entries }
    }

    /// As [`Memory::entries`], with the second lines.
    pub fn flows(&mut self) -> FlowMemory<'static> {
        // SAFETY: as in `entries`.
        let addresses = unsafe { &mut *self.addresses };
        FlowMemory { entries: self.entries(), addresses }
    }

    pub fn producer(&self) -> Producer<'static> {
        self.ring.producer()
    }

    pub fn consumer(&self) -> Consumer<'static> {
        self.ring.consumer()
    }
}

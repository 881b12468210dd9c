//! Memory that outlives a pipeline, as the shared segment does: flow entries, counters, event ring. It is leaked.

use std::sync::atomic::AtomicU64;

use leat_abi::counters::{LCORE_WORDS, LISTENER_WORDS, LcoreCounters, TARGET_WORDS};
use leat_abi::ring::{Consumer, MESSAGE_WORDS, Producer, Ring, RingControl};
use leat_abi::{FlowEntry, FlowMemory};

/// Target and listener slots that have counters.
pub const SLOTS: usize = 32;

/// One lcore's memory.
#[derive(Debug)]
pub struct Memory {
    lines: *mut [FlowEntry],
    wide: usize,
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
            lines: Box::into_raw(vec![FlowEntry::default(); flows + flows / 2].into_boxed_slice()),
            wide: flows / 2,
            counters: LcoreCounters::new(
                words(LCORE_WORDS),
                words(SLOTS * TARGET_WORDS),
                words(SLOTS * LISTENER_WORDS),
            ),
            ring: Ring::new(control, words(events * MESSAGE_WORDS)),
        }
    }

    /// The lines of the flows. The pipeline that had them before must be gone.
    pub fn lines(&mut self) -> &'static mut [FlowEntry] {
        // SAFETY: needed because one pipeline after the other borrows the lines, as processes do. The memory was leaked as this
        // very slice, and callers drop a pipeline before they ask for the lines again.
        unsafe { &mut *self.lines }
    }

    /// The flows, for a pipeline.
    pub fn flows(&mut self) -> FlowMemory<'static> {
        FlowMemory::new(self.lines(), self.wide)
    }

    pub fn producer(&self) -> Producer<'static> {
        self.ring.producer()
    }

    pub fn consumer(&self) -> Consumer<'static> {
        self.ring.consumer()
    }
}

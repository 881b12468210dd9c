//! What the pipeline takes and what it says of it.

use leat_abi::DropReason;

/// Packets handled together, so that their cache misses overlap.
pub const BURST: usize = 32;

/// A packet in a buffer: an Ethernet frame without FCS, in one piece.
pub trait Frame {
    /// The port it came in by.
    fn in_port(&self) -> u8;
    /// The frame.
    fn bytes(&self) -> &[u8];
    /// The frame, to be rewritten.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Cuts the frame to `len` bytes; a longer `len` changes nothing.
    fn truncate(&mut self, len: usize);
    /// Whether `bytes` is the whole frame. False for one that lies in several buffers.
    fn is_whole(&self) -> bool {
        true
    }
}

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it: it belongs to a flow and was rewritten.
    Forward {
        /// The egress port.
        port: u8,
    },
    /// Send it: it was turned into a reset.
    Answer {
        /// The egress port.
        port: u8,
    },
    /// Give it to Linux, unchanged.
    Punt {
        /// The port whose TAP twin gets it.
        port: u8,
    },
    /// Give it, unchanged, to the lcore that owns its flow.
    HandOver {
        /// The owner.
        lcore: u16,
    },
    /// Free it. It is counted already.
    Drop(DropReason),
}

/// The moment for which a burst is handled: milliseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds.
    pub ms: u64,
}

impl Now {
    /// Whole seconds.
    pub const fn seconds(self) -> u64 {
        self.ms / 1000
    }

    /// Seconds modulo 2¹⁶, as flow entries keep them.
    pub const fn stamp(self) -> u16 {
        self.seconds() as u16
    }
}

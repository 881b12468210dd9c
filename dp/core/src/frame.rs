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
    /// Puts `count` bytes, of any content, in front of the frame. False, and nothing has changed, if there is no room.
    fn prepend(&mut self, count: usize) -> bool;
    /// Takes the first `count` bytes away. False, and nothing has changed, if there are not so many.
    fn trim_front(&mut self, count: usize) -> bool;
    /// The ports that came with the frame from another lcore ([`Verdict::HandOver`]); 0 from a port.
    fn handed_ports(&self) -> u32 {
        0
    }
    /// Whether `bytes` is the whole frame. False for one that lies in several buffers.
    fn is_whole(&self) -> bool {
        true
    }
}

/// A frame in a vector: what simulations and tests give to a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFrame<N = ()> {
    /// The port it came in by.
    pub port: u8,
    /// The frame.
    pub bytes: Vec<u8>,
    /// [`Frame::is_whole`].
    pub whole: bool,
    /// [`Frame::handed_ports`].
    pub handed_ports: u32,
    /// Bytes that were put in front so far: there is room for [`OwnedFrame::HEADROOM`], as a packet buffer has.
    pub grown: usize,
    /// What its maker knows of it.
    pub note: N,
}

impl OwnedFrame {
    /// Bytes that can be put in front.
    pub const HEADROOM: usize = 128;

    /// A frame that came in by a port.
    pub fn new(port: u8, bytes: Vec<u8>) -> Self {
        Self::noted(port, bytes, ())
    }
}

impl<N> OwnedFrame<N> {
    /// A frame that came in by a port, with what is known of it.
    pub fn noted(port: u8, bytes: Vec<u8>, note: N) -> Self {
        Self { port, bytes, whole: true, handed_ports: 0, grown: 0, note }
    }
}

impl<N> Frame for OwnedFrame<N> {
    fn in_port(&self) -> u8 {
        self.port
    }
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }
    fn prepend(&mut self, count: usize) -> bool {
        let has_room = self.grown + count <= OwnedFrame::HEADROOM;
        if has_room {
            self.grown += count;
            self.bytes.splice(0..0, std::iter::repeat_n(0xee, count));
        }
        has_room
    }
    fn trim_front(&mut self, count: usize) -> bool {
        let is_long_enough = count <= self.bytes.len();
        if is_long_enough {
            self.bytes.drain(..count);
        }
        is_long_enough
    }
    fn handed_ports(&self) -> u32 {
        self.handed_ports
    }
    fn is_whole(&self) -> bool {
        self.whole
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
    /// Send it: it was turned into an answer to its sender.
    Answer {
        /// The egress port.
        port: u8,
        /// What it was turned into.
        with: Answer,
    },
    /// Send it: it was made here ([`crate::Pipeline::originated`]).
    Originate {
        /// The egress port.
        port: u8,
    },
    /// Give it to Linux, unchanged.
    Punt {
        /// The port whose TAP twin gets it.
        port: u8,
    },
    /// Give it to the lcore that owns its flow, unchanged.
    HandOver {
        /// The owner. Of a fragment first the lcore that keeps its datagram's, then the owner: at most two in a row, never back.
        lcore: u16,
        /// The port that it came in by.
        port: u8,
        /// What the frame does not say and the other lcore needs ([`Frame::handed_ports`]): the ports of a fragment that is not the
        /// first of its datagram, source port in the low half, as loaded. Else 0.
        ports: u32,
    },
    /// Free it. What it was for is done or kept, and it is counted already.
    Consume,
    /// Free it. It is counted already.
    Drop(DropReason),
}

/// What a packet is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A TCP reset.
    Reset,
    /// An ICMP error.
    IcmpError,
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

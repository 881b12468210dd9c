//! What has been sent, and what was found in what arrived.

use std::fmt;
use std::ops::Sub;

/// Counts of packets. "Packets" are those with payload; segments without are "control".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets sent, those refused included.
    pub sent: u64,
    /// Packets (and control segments) that the port did not take: its queue, or the device's, was full.
    pub refused: u64,
    /// Packets that arrived as they should, each counted once.
    pub received: u64,
    /// Those of them that a later packet of their flow and direction had overtaken.
    pub reordered: u64,
    /// Packets that had arrived before.
    pub duplicated: u64,
    /// Packets overtaken by more than [`crate::flow::REMEMBERED`] others, late or duplicates.
    pub stale: u64,
    /// Packets of which a checksum, a length, the payload or the position is wrong.
    pub corrupted: u64,
    /// Packets at the wrong port, MAC address, address or TCP or UDP port, or from a wrong one; also those to another target than their
    /// flow's first.
    pub misrouted: u64,
    /// Frames that were not made here.
    pub foreign: u64,
    /// Control segments sent.
    pub control_sent: u64,
    /// Control segments that arrived.
    pub control_received: u64,
    /// Those of them that did not fit the state of their flow.
    pub unexpected: u64,
}

impl Counts {
    /// Packets that arrived in whatever state, without second ones.
    #[inline(always)]
    pub fn arrived(&self) -> u64 {
        self.received + self.corrupted + self.misrouted + self.stale
    }

    /// Packets that did not arrive.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.arrived())
    }

    /// Whether every packet arrived once, unchanged, in order and where it should.
    pub fn is_clean(&self) -> bool {
        self.lost() == 0 && self.is_right()
    }

    /// Whether what arrived was unchanged, in order, once, and where it should be.
    pub fn is_right(&self) -> bool {
        self.reordered + self.duplicated + self.stale + self.corrupted + self.misrouted + self.unexpected == 0
    }
}

impl Sub for Counts {
    type Output = Self;

    #[inline(always)]
    fn sub(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            refused: self.refused - before.refused,
            received: self.received - before.received,
            reordered: self.reordered - before.reordered,
            duplicated: self.duplicated - before.duplicated,
            stale: self.stale - before.stale,
            corrupted: self.corrupted - before.corrupted,
            misrouted: self.misrouted - before.misrouted,
            foreign: self.foreign - before.foreign,
            control_sent: self.control_sent - before.control_sent,
            control_received: self.control_received - before.control_received,
            unexpected: self.unexpected - before.unexpected,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} received, {} lost", self.sent, self.received, self.lost())?;
        let rest = [
            (self.refused, "refused by a full queue"),
            (self.reordered, "reordered"),
            (self.duplicated, "duplicated"),
            (self.stale, "stale"),
            (self.corrupted, "corrupted"),
            (self.misrouted, "misrouted"),
            (self.unexpected, "unexpected"),
            (self.foreign, "foreign"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

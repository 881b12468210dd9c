//! Packets that are made here, beside those that come of a received one: resets to the other end, PROXY headers, held fragments that
//! go on, pieces of a packet. They wait here until the caller of the pipeline has put them into buffers of its own, at the latest
//! after the burst: before the packets of that burst.
//!
//! Bounded: [`PACKETS_MAX`] packets of [`BYTES_MAX`] bytes together. Allocated once.

use arrayvec::ArrayVec;

use crate::frame::Verdict;

/// Packets that wait at the most.
pub const PACKETS_MAX: usize = 512;
/// Bytes that wait at the most.
pub const BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Clone, Copy)]
struct Packet {
    start: u32,
    length: u32,
    verdict: Verdict,
}

/// Packets made here.
#[derive(Debug)]
pub struct Originated {
    bytes: Box<[u8]>,
    used: usize,
    packets: ArrayVec<Packet, PACKETS_MAX>,
}

impl Originated {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BYTES_MAX].into(), used: 0, packets: ArrayVec::new() }
    }

    /// Room for a frame of `length` bytes, all zero, that goes where the verdict says: [`Verdict::Originate`], or
    /// [`Verdict::Forward`] if it was received and is counted as forwarded when it goes, or [`Verdict::HandOver`]. `None`: there is none;
    /// the caller counts that.
    pub(crate) fn frame(&mut self, verdict: Verdict, length: usize) -> Option<&mut [u8]> {
        let start = self.used;
        let bytes = self.bytes.get_mut(start..start + length)?;
        self.packets.try_push(Packet { start: start as u32, length: length as u32, verdict }).ok()?;
        self.used += length;
        bytes.fill(0);
        Some(bytes)
    }

    /// Whether so many frames of so many bytes together have room.
    pub(crate) fn has_room(&self, frames: usize, bytes: usize) -> bool {
        frames <= self.packets.remaining_capacity() && bytes <= self.bytes.len() - self.used
    }

    /// Gives every waiting frame to `send`, in order.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&[u8], Verdict)) {
        for packet in self.packets.drain(..) {
            let start = packet.start as usize;
            if let Some(bytes) = self.bytes.get(start..start + packet.length as usize) {
                send(bytes, packet.verdict);
            }
        }
        self.used = 0;
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_in_order_and_room_is_bounded() {
        let mut made = Originated::new();
        for n in 0..3u8 {
            made.frame(Verdict::Originate { port: n }, 60).expect("room").fill(n);
        }
        let mut seen = Vec::new();
        made.drain(|bytes, verdict| seen.push((bytes.to_vec(), verdict)));
        assert_eq!(seen, (0..3).map(|n| (vec![n; 60], Verdict::Originate { port: n })).collect::<Vec<_>>());
        assert!(made.is_empty());
        assert!(made.frame(Verdict::Originate { port: 0 }, 60).expect("room").iter().all(|byte| *byte == 0));
        assert!(made.frame(Verdict::Originate { port: 0 }, BYTES_MAX).is_none());
        assert_eq!(
            (0..1000).filter(|_| made.frame(Verdict::Originate { port: 0 }, 60).is_some()).count(),
            PACKETS_MAX - 1
        );
    }
}

//! A DPDK packet buffer as the pipeline sees it, and what travels with one between threads.

use leat_core::{Answer, Frame, Verdict};
use leat_dpdk::Mbuf;

/// A packet.
#[derive(Debug)]
#[repr(transparent)]
pub struct Packet(Mbuf);

impl From<Mbuf> for Packet {
    #[inline(always)]
    fn from(mbuf: Mbuf) -> Self {
        Self(mbuf)
    }
}

impl From<Packet> for Mbuf {
    #[inline(always)]
    fn from(packet: Packet) -> Self {
        packet.0
    }
}

impl Packet {
    /// The buffer.
    #[inline(always)]
    pub fn mbuf(&self) -> &Mbuf {
        &self.0
    }

    /// The buffer, to be changed.
    #[inline(always)]
    pub fn mbuf_mut(&mut self) -> &mut Mbuf {
        &mut self.0
    }

    /// Says what the receiving thread is to do with the packet.
    #[inline(always)]
    pub fn mark(&mut self, errand: Errand) {
        self.0.set_tag(errand.encode());
    }

    /// What this thread is to do with a packet that was handed over.
    #[inline(always)]
    pub fn errand(&self) -> Errand {
        Errand::decode(self.0.tag())
    }

    /// Makes a received packet fit to be sent.
    #[inline(always)]
    pub fn prepare(&mut self) {
        self.0.clear_offloads();
    }
}

impl Frame for Packet {
    /// Ports are numbered as DPDK numbers them (see [`crate::ports`]).
    #[inline(always)]
    fn in_port(&self) -> u8 {
        self.0.port().map_or(u8::MAX, |port| port.index() as u8)
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.0.data()
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        // A longer `len` changes nothing, as the trait has it.
        let _ = self.0.truncate(len);
    }

    #[inline(always)]
    fn prepend(&mut self, count: usize) -> bool {
        self.0.prepend(count).is_some()
    }

    #[inline(always)]
    fn trim_front(&mut self, count: usize) -> bool {
        self.0.trim_front(count)
    }

    #[inline(always)]
    fn handed_ports(&self) -> u32 {
        if let Errand::Process { ports } = self.errand() { ports } else { 0 }
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        self.0.is_single_segment()
    }
}

/// What the receiver of a handed-over packet is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Take it through the pipeline: this lcore owns its flow.
    Process {
        /// As of [`Verdict::HandOver`].
        ports: u32,
    },
    /// Transmit it: the sender has no queue on the port. The verdict says port and kind.
    Transmit(Verdict),
    /// Transmit what Linux sent through a TAP twin.
    FromLinux(u8),
    /// Give it to Linux through a TAP twin.
    ToLinux(u8),
}

impl Errand {
    const KIND: u32 = 8;

    fn encode(self) -> u64 {
        let (kind, port) = match self {
            Self::Process { ports } => return u64::from(ports) << 32,
            Self::Transmit(Verdict::Answer { port, with: Answer::Reset }) => (2, port),
            Self::Transmit(Verdict::Answer { port, with: Answer::IcmpError }) => (5, port),
            Self::Transmit(Verdict::Originate { port }) => (6, port),
            Self::Transmit(Verdict::Forward { port } | Verdict::Punt { port }) => (1, port),
            Self::Transmit(_) => (0, 0),
            Self::FromLinux(port) => (3, port),
            Self::ToLinux(port) => (4, port),
        };
        kind << Self::KIND | u64::from(port)
    }

    fn decode(tag: u64) -> Self {
        let port = tag as u8;
        match tag as u32 >> Self::KIND {
            1 => Self::Transmit(Verdict::Forward { port }),
            2 => Self::Transmit(Verdict::Answer { port, with: Answer::Reset }),
            3 => Self::FromLinux(port),
            4 => Self::ToLinux(port),
            5 => Self::Transmit(Verdict::Answer { port, with: Answer::IcmpError }),
            6 => Self::Transmit(Verdict::Originate { port }),
            _ => Self::Process { ports: (tag >> 32) as u32 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_travel() {
        for errand in [
            Errand::Process { ports: 0 },
            Errand::Process { ports: u32::MAX },
            Errand::Transmit(Verdict::Answer { port: 7, with: Answer::IcmpError }),
            Errand::Transmit(Verdict::Originate { port: 9 }),
            Errand::Transmit(Verdict::Forward { port: 3 }),
            Errand::Transmit(Verdict::Answer { port: 0, with: Answer::Reset }),
            Errand::FromLinux(255),
            Errand::ToLinux(1),
        ] {
            assert_eq!(Errand::decode(errand.encode()), errand);
        }
    }
}

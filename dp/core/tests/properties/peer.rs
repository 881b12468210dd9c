//! One end of a TCP connection: reliable over a link that loses, doubles and reorders, and as simple as that allows.

use crate::common::packet::L4;
use crate::common::{ACK, FIN, Packet, SYN};

/// Bytes in a segment, and segments sent at once.
const SEGMENT: usize = 200;
const WINDOW: usize = 4;

/// Numbers and flags of a segment to be sent, and its payload.
pub type Segment = (u8, u32, u32, Vec<u8>);

#[derive(Debug, Clone)]
pub struct Peer {
    isn: u32,
    /// Whether this end opens.
    opens: bool,
    /// The other end's initial number, once it is known.
    other_isn: Option<u32>,
    data: Vec<u8>,
    /// How many sequence numbers after the SYN were acknowledged: data, then FIN. Nothing before the SYN was.
    acknowledged: Option<usize>,
    pub received: Vec<u8>,
    fin_received: bool,
}

impl Peer {
    pub fn new(isn: u32, opens: bool, data: Vec<u8>) -> Self {
        let other_isn = None;
        Self { isn, opens, other_isn, data, acknowledged: None, received: Vec::new(), fin_received: false }
    }

    /// Both FINs were received and acknowledged.
    pub fn is_done(&self) -> bool {
        self.fin_received && self.acknowledged == Some(self.data.len() + 1)
    }

    pub fn data(&self) -> &[u8] {
        &self.data
    }

    fn ack(&self) -> u32 {
        let taken = self.received.len() as u32 + u32::from(self.fin_received);
        self.other_isn.map_or(0, |isn| isn.wrapping_add(1).wrapping_add(taken))
    }

    /// What is due when nothing has happened for a while: whatever the other end has not acknowledged.
    pub fn due(&self) -> Vec<Segment> {
        let Some(done) = self.acknowledged else {
            return match (self.opens, self.other_isn) {
                (true, _) => vec![(SYN, self.isn, 0, Vec::new())],
                (false, Some(_)) => vec![(SYN | ACK, self.isn, self.ack(), Vec::new())],
                (false, None) => Vec::new(),
            };
        };
        let mut segments = Vec::new();
        let first = self.isn.wrapping_add(1);
        for at in (done..self.data.len()).step_by(SEGMENT).take(WINDOW) {
            let end = (at + SEGMENT).min(self.data.len());
            segments.push((ACK, first.wrapping_add(at as u32), self.ack(), self.data[at..end].to_vec()));
        }
        if done <= self.data.len() && self.data.len() - done.min(self.data.len()) <= SEGMENT * WINDOW {
            segments.push((FIN | ACK, first.wrapping_add(self.data.len() as u32), self.ack(), Vec::new()));
        }
        segments
    }

    /// Takes a segment. Returns what it is answered with at once.
    pub fn take(&mut self, packet: &Packet) -> Vec<Segment> {
        let L4::Tcp { seq, ack, flags, .. } = packet.l4 else { return Vec::new() };
        if flags & SYN != 0 {
            let known = self.other_isn.is_some();
            assert!(!known || self.other_isn == Some(seq), "a SYN of another connection");
            self.other_isn = Some(seq);
            if !self.opens && self.acknowledged.is_none() {
                return self.due();
            }
        }
        let Some(other_isn) = self.other_isn else { return Vec::new() };
        if flags & ACK != 0 {
            let acked = ack.wrapping_sub(self.isn.wrapping_add(1)) as usize;
            assert!(acked <= self.data.len() + 1, "acknowledges what was never sent: another connection's");
            let newly = self.acknowledged.is_none_or(|before| before < acked);
            if newly {
                self.acknowledged = Some(acked);
            }
        }
        if flags & SYN != 0 {
            return vec![(ACK, self.isn.wrapping_add(1), self.ack(), Vec::new())];
        }
        if packet.payload.is_empty() && flags & FIN == 0 {
            return Vec::new();
        }
        let offset = seq.wrapping_sub(other_isn.wrapping_add(1)) as usize;
        if offset == self.received.len() && !self.fin_received {
            self.received.extend(&packet.payload);
            self.fin_received = flags & FIN != 0;
        }
        let sent = self.acknowledged.unwrap_or(0);
        vec![(ACK, self.isn.wrapping_add(1).wrapping_add(sent as u32), self.ack(), Vec::new())]
    }
}

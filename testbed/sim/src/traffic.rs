//! Clients and targets: what each end of a conversation sends, and what it makes of what it gets. No clock, no appliance.
//!
//! A client of TCP connects, sends requests one after the other, repeats what is not answered, and ends with FIN, with RST, or never.
//! A client of UDP sends datagrams. Targets answer a request with a response.

use std::net::SocketAddr;

use crate::packet::{ACK, FIN, Packet, RST, SYN};

/// How a client goes on when it has its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It closes.
    Close,
    /// It resets.
    Reset,
    /// It says nothing more.
    Silence,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its SYN is not answered. UDP begins with `Open`.
    Connecting,
    /// Requests and responses.
    Open,
    /// Its FIN is not acknowledged.
    Closing,
    /// Over: it answers nothing any more, or with resets.
    Over,
}

/// The target's side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub target: SocketAddr,
    /// Whom it takes for the client.
    pub seen: SocketAddr,
    /// It knows the connection: next number to send, next number expected. None: it has forgotten it.
    pub tcp: Option<(u32, u32)>,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The client.
    pub client: SocketAddr,
    /// Where it connects to.
    pub vip: SocketAddr,
    /// TCP or UDP.
    pub is_tcp: bool,
    /// How far the client is.
    pub phase: Phase,
    /// Next number to send, not counting what is not acknowledged; next number expected.
    next: u32,
    expected: u32,
    /// Requests that are to be answered still.
    pub requests: u32,
    /// Milliseconds between an answer and the next request.
    pub pause_ms: u64,
    farewell: Farewell,
    /// How often the same thing was sent in vain.
    pub tries: u32,
    /// What the first packet that got through has shown.
    pub peer: Option<Peer>,
    /// The appliance has ended the connection: another one with its addresses may have another target.
    pub was_ended: bool,
    /// Answers that the client got.
    pub answers: u32,
    /// When its flow was made.
    pub began_ms: u64,
    /// When a packet of it was forwarded last.
    pub active_ms: u64,
}

/// The bytes of a request.
pub const REQUEST: &[u8] = b"a request of some bytes";
/// The bytes of a response.
pub const RESPONSE: &[u8] = b"what a target answers to it";

impl Conversation {
    /// A client that is about to begin. `isn`: its first sequence number.
    pub fn new(client: SocketAddr, vip: SocketAddr, is_tcp: bool, isn: u32, requests: u32, farewell: Farewell) -> Self {
        Self {
            client,
            vip,
            is_tcp,
            phase: if is_tcp { Phase::Connecting } else { Phase::Open },
            next: isn,
            expected: 0,
            requests,
            pause_ms: 1000,
            farewell,
            tries: 0,
            peer: None,
            was_ended: false,
            answers: 0,
            began_ms: 0,
            active_ms: 0,
        }
    }

    /// The client's turn: it has waited for an answer in vain, or for its time. What it sends, if anything.
    pub fn client_turn(&mut self) -> Option<Packet> {
        self.tries += 1;
        let is_patient = self.tries <= 4;
        match self.phase {
            Phase::Over => None,
            _ if !is_patient => {
                self.phase = Phase::Over;
                None
            }
            Phase::Connecting => Some(self.segment(SYN, 0, &[])),
            Phase::Open if !self.is_tcp => Some(self.datagram(self.client, self.vip, REQUEST)),
            Phase::Open if self.requests > 0 => Some(self.segment(ACK, 0, REQUEST)),
            Phase::Open => match self.farewell {
                Farewell::Silence => {
                    self.phase = Phase::Over;
                    None
                }
                Farewell::Close => {
                    self.phase = Phase::Closing;
                    Some(self.segment(FIN | ACK, 0, &[]))
                }
                Farewell::Reset => {
                    self.phase = Phase::Over;
                    Some(self.segment(RST | ACK, 0, &[]))
                }
            },
            Phase::Closing => Some(self.segment(FIN | ACK, 0, &[])),
        }
    }

    fn segment(&self, flags: u8, ahead: u32, payload: &[u8]) -> Packet {
        let ack = if flags & ACK != 0 { self.expected } else { 0 };
        Packet {
            source: self.client,
            destination: self.vip,
            tcp: Some((self.next.wrapping_add(ahead), ack, flags)),
            payload: payload.to_vec(),
        }
    }

    fn datagram(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Packet {
        Packet { source, destination, tcp: None, payload: payload.to_vec() }
    }

    /// The client gets a packet: what it answers, and whether it made progress: its next turn is due after its pause, not after a
    /// time-out.
    pub fn client_gets(&mut self, packet: &Packet) -> (Option<Packet>, bool) {
        let Some((seq, ack, flags)) = packet.tcp else {
            if self.phase == Phase::Open && packet.payload == RESPONSE {
                (self.tries, self.answers) = (0, self.answers + 1);
                self.requests = self.requests.saturating_sub(1);
                if self.requests == 0 {
                    self.phase = Phase::Over;
                }
                return (None, true);
            }
            return (None, false);
        };
        if flags & RST != 0 {
            let is_meant = match self.phase {
                Phase::Connecting => ack == self.next.wrapping_add(1),
                _ => seq == self.expected,
            };
            if is_meant {
                self.phase = Phase::Over;
                return (None, false);
            }
            let challenge = matches!(self.phase, Phase::Open | Phase::Closing);
            return (challenge.then(|| self.segment(ACK, u32::from(self.phase == Phase::Closing), &[])), false);
        }
        match self.phase {
            Phase::Connecting if flags & (SYN | ACK) == SYN | ACK && ack == self.next.wrapping_add(1) => {
                self.next = ack;
                self.expected = seq.wrapping_add(1);
                (self.phase, self.tries) = (Phase::Open, 0);
                (Some(self.segment(ACK, 0, &[])), true)
            }
            Phase::Open if flags & SYN != 0 => (Some(self.segment(ACK, 0, &[])), false),
            Phase::Open if !packet.payload.is_empty() => {
                let is_next = seq == self.expected && ack == self.next.wrapping_add(REQUEST.len() as u32);
                if is_next && self.requests > 0 {
                    self.next = ack;
                    self.expected = seq.wrapping_add(packet.payload.len() as u32);
                    (self.requests, self.answers, self.tries) = (self.requests - 1, self.answers + 1, 0);
                }
                (Some(self.segment(ACK, 0, &[])), is_next)
            }
            Phase::Closing if flags & FIN != 0 && ack == self.next.wrapping_add(1) => {
                self.next = ack;
                self.expected = seq.wrapping_add(1);
                self.phase = Phase::Over;
                (Some(self.segment(ACK, 0, &[])), false)
            }
            _ => (None, false),
        }
    }

    /// The target gets a packet of the client's. `listens`: it accepts connections, or refuses them.
    pub fn target_gets(&mut self, packet: &Packet, listens: bool, isn: u32) -> Option<Packet> {
        let peer = self.peer.as_mut()?;
        let (target, seen) = (peer.target, peer.seen);
        let answer = |tcp, payload: &[u8]| {
            Some(Packet { source: target, destination: seen, tcp: Some(tcp), payload: payload.to_vec() })
        };
        let Some((seq, ack, flags)) = packet.tcp else {
            return listens.then(|| self.datagram(target, seen, RESPONSE));
        };
        if flags & RST != 0 {
            peer.tcp = None;
            return None;
        }
        if flags & SYN != 0 {
            if !listens {
                return answer((0, seq.wrapping_add(1), RST | ACK), &[]);
            }
            let (next, expected) = *peer.tcp.get_or_insert((isn, seq.wrapping_add(1)));
            // A repeated SYN, or one of another connection: it is told where this one is.
            return if expected == seq.wrapping_add(1) {
                answer((next, expected, SYN | ACK), &[])
            } else {
                answer((next, expected, ACK), &[])
            };
        }
        let Some((next, expected)) = peer.tcp.as_mut() else {
            return answer((ack, 0, RST), &[]);
        };
        if flags & ACK != 0 && ack.wrapping_sub(*next) <= 1 << 20 {
            *next = ack;
        }
        if flags & FIN != 0 && seq == *expected {
            let answered = (*next, seq.wrapping_add(1), FIN | ACK);
            return answer(answered, &[]);
        }
        if !packet.payload.is_empty() && seq == *expected {
            *expected = seq.wrapping_add(packet.payload.len() as u32);
            return answer((*next, *expected, ACK), RESPONSE);
        }
        if !packet.payload.is_empty() && seq.wrapping_add(packet.payload.len() as u32) == *expected {
            // It repeats the request because the response was lost.
            return answer((*next, *expected, ACK), RESPONSE);
        }
        None
    }
}

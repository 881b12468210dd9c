//! Clients and targets that talk as the tests tell them.

use std::net::SocketAddr;

use super::harness::{Harness, Out};
use super::packet::{ACK, FIN, Packet, RST, SYN};
use super::world::{CLIENT_SIDE, PORTS, ROUTER_MAC, TARGET_SIDE, slot_of, target_mac};

/// A TCP connection: both ends' sockets and sequence numbers.
#[derive(Debug, Clone)]
pub struct Stream {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// As the SYN showed them.
    pub target: SocketAddr,
    pub nat: SocketAddr,
    pub isn_c: u32,
    pub isn_t: u32,
    /// Next sequence numbers of client and target.
    pub c: u32,
    pub t: u32,
    /// The lcore that receives its packets.
    pub lcore: u16,
}

impl Stream {
    /// A connection before its SYN.
    pub fn new(client: impl Into<SocketAddr>, vip: impl Into<SocketAddr>, isn_c: u32) -> Self {
        let (client, vip) = (client.into(), vip.into());
        let isn_t = isn_c.wrapping_mul(77).wrapping_add(5);
        let c = isn_c.wrapping_add(1);
        Self { client, vip, target: vip, nat: client, isn_c, isn_t, c, t: isn_t.wrapping_add(1), lcore: 0 }
    }

    /// A connection after the handshake.
    pub fn open(h: &mut Harness, client: impl Into<SocketAddr>, vip: impl Into<SocketAddr>, isn_c: u32) -> Self {
        let mut stream = Self::new(client, vip, isn_c);
        stream.handshake(h);
        stream
    }

    pub fn handshake(&mut self, h: &mut Harness) {
        self.send_syn(h);
        let syn_ack = self.syn_ack();
        self.feed_target(h, &syn_ack).forwarded();
        self.feed_client(h, &self.from_client(ACK, &[])).forwarded();
    }

    /// Sends the SYN and notes where it came out.
    pub fn send_syn(&mut self, h: &mut Harness) -> Out {
        let out = self.feed_client(h, &self.syn());
        let (port, at_target) = out.forwarded();
        assert_eq!(port, TARGET_SIDE);
        (self.nat, self.target) = (at_target.source, at_target.destination);
        out
    }

    /// The slot of its target.
    pub fn slot(&self) -> u16 {
        slot_of(self.target)
    }

    pub fn syn(&self) -> Packet {
        let syn = Packet::tcp(self.client, self.vip, SYN, self.isn_c, 0).macs(ROUTER_MAC, PORTS[0]);
        syn.options(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7])
    }

    pub fn syn_ack(&self) -> Packet {
        self.at_target(SYN | ACK, self.isn_t, self.isn_c.wrapping_add(1)).options(&[2, 4, 5, 180, 1, 3, 3, 7])
    }

    /// The client's next segment.
    pub fn from_client(&self, flags: u8, payload: &[u8]) -> Packet {
        self.at_client(flags, self.c, if flags & ACK != 0 { self.t } else { 0 }).payload(payload)
    }

    /// The target's next segment.
    pub fn from_target(&self, flags: u8, payload: &[u8]) -> Packet {
        self.at_target(flags, self.t, if flags & ACK != 0 { self.c } else { 0 }).payload(payload)
    }

    /// Any segment of the client.
    pub fn at_client(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        Packet::tcp(self.client, self.vip, flags, seq, ack).macs(ROUTER_MAC, PORTS[0])
    }

    /// Any segment of the target.
    pub fn at_target(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        Packet::tcp(self.target, self.nat, flags, seq, ack).macs(target_mac(self.slot()), PORTS[1])
    }

    pub fn feed_client(&self, h: &mut Harness, packet: &Packet) -> Out {
        h.feed_bytes(self.lcore, CLIENT_SIDE, &packet.bytes())
    }

    pub fn feed_target(&self, h: &mut Harness, packet: &Packet) -> Out {
        h.feed_bytes(self.lcore, TARGET_SIDE, &packet.bytes())
    }

    /// The client sends, and its target must get it.
    #[track_caller]
    pub fn client_sends(&mut self, h: &mut Harness, flags: u8, payload: &[u8]) -> Packet {
        let packet = self.from_client(flags, payload);
        let (port, got) = self.feed_client(h, &packet).forwarded();
        self.c = packet.seq_end();
        assert_eq!((port, got), (TARGET_SIDE, self.as_target_sees(&packet)));
        packet
    }

    /// The target sends, and the client must get it.
    #[track_caller]
    pub fn target_sends(&mut self, h: &mut Harness, flags: u8, payload: &[u8]) -> Packet {
        let packet = self.from_target(flags, payload);
        let (port, got) = self.feed_target(h, &packet).forwarded();
        self.t = packet.seq_end();
        assert_eq!((port, got), (CLIENT_SIDE, self.as_client_sees(&packet)));
        packet
    }

    /// A client's packet after the rewrite.
    pub fn as_target_sees(&self, packet: &Packet) -> Packet {
        packet.forwarded((PORTS[1], target_mac(self.slot())), self.nat, self.target)
    }

    /// A target's packet after the rewrite.
    pub fn as_client_sees(&self, packet: &Packet) -> Packet {
        packet.forwarded((PORTS[0], ROUTER_MAC), self.vip, self.client)
    }

    /// Both sides close.
    pub fn close(&mut self, h: &mut Harness) {
        self.client_sends(h, FIN | ACK, &[]);
        self.target_sends(h, FIN | ACK, &[]);
        self.client_sends(h, ACK, &[]);
    }

    /// The target resets.
    pub fn abort(&mut self, h: &mut Harness) {
        self.target_sends(h, RST, &[]);
    }

    /// Whether data still passes both ways, to the same target.
    #[track_caller]
    pub fn works(&mut self, h: &mut Harness) {
        self.client_sends(h, ACK, b"ping");
        self.target_sends(h, ACK, b"pong");
    }
}

/// A UDP flow.
#[derive(Debug, Clone)]
pub struct Datagrams {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub target: SocketAddr,
    pub nat: SocketAddr,
    pub lcore: u16,
}

impl Datagrams {
    /// A flow after its first datagram.
    pub fn open(h: &mut Harness, client: impl Into<SocketAddr>, vip: impl Into<SocketAddr>) -> Self {
        let (client, vip) = (client.into(), vip.into());
        let mut flow = Self { client, vip, target: vip, nat: client, lcore: 0 };
        flow.client_sends(h, b"first");
        flow
    }

    pub fn slot(&self) -> u16 {
        slot_of(self.target)
    }

    pub fn from_client(&self, payload: &[u8]) -> Packet {
        Packet::udp(self.client, self.vip, payload).macs(ROUTER_MAC, PORTS[0])
    }

    pub fn from_target(&self, payload: &[u8]) -> Packet {
        Packet::udp(self.target, self.nat, payload).macs(target_mac(self.slot()), PORTS[1])
    }

    /// The client sends; where it comes out is noted.
    #[track_caller]
    pub fn client_sends(&mut self, h: &mut Harness, payload: &[u8]) -> Packet {
        let packet = self.from_client(payload);
        let (port, got) = h.feed_bytes(self.lcore, CLIENT_SIDE, &packet.bytes()).forwarded();
        (self.nat, self.target) = (got.source, got.destination);
        assert_eq!((port, &got), (TARGET_SIDE, &self.as_target_sees(&packet)));
        packet
    }

    /// The target sends, and the client must get it.
    #[track_caller]
    pub fn target_sends(&mut self, h: &mut Harness, payload: &[u8]) -> Packet {
        let packet = self.from_target(payload);
        let (port, got) = h.feed_bytes(self.lcore, TARGET_SIDE, &packet.bytes()).forwarded();
        assert_eq!((port, &got), (CLIENT_SIDE, &self.as_client_sees(&packet)));
        packet
    }

    pub fn as_target_sees(&self, packet: &Packet) -> Packet {
        packet.forwarded((PORTS[1], target_mac(self.slot())), self.nat, self.target)
    }

    pub fn as_client_sees(&self, packet: &Packet) -> Packet {
        packet.forwarded((PORTS[0], ROUTER_MAC), self.vip, self.client)
    }
}

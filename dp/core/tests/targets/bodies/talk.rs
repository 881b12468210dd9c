//! A conversation whose client and target send what the script says, near what would be right.

use std::net::SocketAddr;

use super::input::Input;
use crate::common::{ACK, CLIENT_SIDE, FIN, PORTS, Packet, ROUTER_MAC, RST, SYN, TARGET_SIDE, target_mac};

/// The first bytes of a PROXY header (version 2).
const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

#[derive(Debug, Clone)]
pub struct Talk {
    pub udp: bool,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// As they came out last.
    pub target: SocketAddr,
    pub nat: SocketAddr,
    isn: u32,
    /// What each side sends next, in its own numbers.
    c: u32,
    t: u32,
    /// Bytes that the target has before the client's first.
    pub shift: u32,
    /// The last frames that came out to target and client.
    pub out: [Vec<u8>; 2],
}

impl Talk {
    pub fn new(udp: bool, client: SocketAddr, vip: SocketAddr) -> Self {
        // Close to where sequence numbers wrap around.
        let isn = u32::MAX - 40;
        let out = [Vec::new(), Vec::new()];
        Self { udp, client, vip, target: vip, nat: client, isn, c: isn, t: 5, shift: 0, out }
    }

    /// What the script says: side, flags, numbers, options, length.
    pub fn packet(&mut self, input: &mut Input<'_>) -> (u8, Packet) {
        let how = input.u8();
        let from_client = how & 1 == 0;
        let flags = match how >> 1 & 7 {
            0 | 1 => ACK,
            2 => SYN | if from_client { 0 } else { ACK },
            3 => FIN | ACK,
            4 => RST | how >> 3 & ACK,
            _ => input.u8(),
        };
        let length = match how >> 4 & 3 {
            0 => 0,
            1 => usize::from(input.u8()),
            2 => usize::from(input.u16() % 1461),
            _ => 1400,
        };
        let near =
            |input: &mut Input<'_>| if how & 0x40 == 0 { 0 } else { i32::from(input.u16().cast_signed()) as u32 };
        let (seq, ack) = if from_client { (self.c, self.t) } else { (self.t, self.c.wrapping_add(self.shift)) };
        let (seq, ack) = (seq.wrapping_add(near(input)), ack.wrapping_add(near(input)));
        let options = if how & 0x80 == 0 { Vec::new() } else { self.options(input) };
        let (port, packet) = self.between(from_client, flags, seq, if flags & ACK == 0 { 0 } else { ack });
        let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let packet = packet.payload(&payload);
        if self.udp {
            return (port, packet);
        }
        let packet = packet.options(&options);
        let next = if from_client { &mut self.c } else { &mut self.t };
        if seq == *next && flags & RST == 0 {
            *next = packet.seq_end();
        }
        (port, packet)
    }

    fn options(&self, input: &mut Input<'_>) -> Vec<u8> {
        let edge =
            |input: &mut Input<'_>| self.c.wrapping_add(self.shift).wrapping_add(input.u16().into()).to_be_bytes();
        match input.u8() % 4 {
            0 => vec![2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
            1 => vec![2, 4, input.u8(), input.u8()],
            2 => {
                let blocks = 1 + input.u8() % 4;
                let mut options = vec![1, 1, 5, 2 + 8 * blocks];
                (0..2 * blocks).for_each(|_| options.extend(edge(input)));
                options
            }
            _ => {
                let length = usize::from(input.u8() % 11) * 4;
                let mut options = input.bytes(length).to_vec();
                options.resize(length, 0);
                options
            }
        }
    }

    fn between(&self, from_client: bool, flags: u8, seq: u32, ack: u32) -> (u8, Packet) {
        let (port, source, destination, macs) = if from_client {
            (CLIENT_SIDE, self.client, self.vip, (ROUTER_MAC, PORTS[0]))
        } else {
            (TARGET_SIDE, self.target, self.nat, (target_mac(0), PORTS[1]))
        };
        let packet = match self.udp {
            true => Packet::udp(source, destination, &[]),
            false => Packet::tcp(source, destination, flags, seq, ack),
        };
        (port, packet.macs(macs.0, macs.1))
    }

    /// Notes what came out at a port.
    pub fn learn(&mut self, port: u8, frame: &[u8]) {
        let Some(packet) = Packet::read(frame) else { return };
        if port == TARGET_SIDE {
            (self.nat, self.target) = (packet.source, packet.destination);
            if packet.payload.starts_with(&SIGNATURE) {
                self.shift = packet.payload.len() as u32;
            }
        }
        self.out[usize::from(port == CLIENT_SIDE)] = frame.to_vec();
    }
}

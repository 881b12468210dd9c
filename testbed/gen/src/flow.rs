//! What the generator knows of a flow: who its ends are, how far each direction has come, what has arrived of it.
//!
//! Flows are kept in an array by their number, which every packet carries ([`crate::frame::Mark`]). One cache line each, so that sending
//! and receiving a packet touches one line.

use std::net::SocketAddrV4;

/// An IPv4 address and a port, as their bytes lie in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The address's bytes as a native word.
    pub ip: u32,
    /// The port's bytes as a native word.
    pub port: u16,
}

impl Endpoint {
    /// From numbers in host order.
    #[inline(always)]
    pub fn new(ip: u32, port: u16) -> Self {
        Self { ip: ip.to_be(), port: port.to_be() }
    }

    /// The address in host order.
    #[inline(always)]
    pub fn address(self) -> u32 {
        u32::from_be(self.ip)
    }

    /// The port in host order.
    #[inline(always)]
    pub fn number(self) -> u16 {
        u16::from_be(self.port)
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(socket: SocketAddrV4) -> Self {
        Self::new((*socket.ip()).into(), socket.port())
    }
}

/// The directions of a flow, which index [`Flow::lanes`].
pub const FROM_CLIENT: usize = 0;
/// See [`FROM_CLIENT`].
pub const FROM_TARGET: usize = 1;

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    /// Nothing has been sent.
    #[default]
    Idle,
    /// The client has sent its SYN or first datagram.
    Opening,
    /// The target has answered.
    Answered,
    /// The client has had the answer, and sent data.
    Confirmed,
    /// The target has had it: data may go in both directions.
    Open,
    /// The client has sent a FIN.
    ClientClosed,
    /// The target has sent its own.
    BothClosed,
}

/// A flow.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub struct Flow {
    /// The client.
    pub client: Endpoint,
    /// The target that the device has chosen. Of address 0 until known.
    pub target: Endpoint,
    /// The client as the target sees it.
    pub seen: Endpoint,
    /// Its two directions.
    pub lanes: [Lane; 2],
    /// How far it has come.
    pub state: State,
    /// Its frames' size, by its place in the table of sizes.
    pub class: u8,
}

/// One direction of a flow. Positions are sequence numbers for TCP and numbers of datagrams for UDP; both wrap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lane {
    /// The position of the next packet to be sent.
    pub sent: u32,
    /// The position behind the furthest packet that has arrived.
    pub expected: u32,
    /// Which packets before `expected` have arrived; bit 0 is the one right before it.
    seen: u64,
}

/// What a packet that arrived is within its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The next one, or one further on.
    Next,
    /// One that a later one has overtaken.
    Late,
    /// One that has arrived before.
    Duplicate,
    /// One that was overtaken by more packets than are remembered: late or a duplicate.
    Stale,
    /// At a position at which nothing was sent.
    Unknown,
}

/// Packets that are remembered in each direction of a flow.
pub const REMEMBERED: u32 = u64::BITS;

impl Lane {
    /// A direction that begins at a position.
    pub fn starting(position: u32) -> Self {
        Self { sent: position, expected: position, seen: 0 }
    }

    /// Forgets what is under way: what has not arrived is not expected any more.
    pub fn resynchronize(&mut self) {
        *self = Self::starting(self.sent);
    }

    /// A packet has arrived. `step` is how far one packet is from the next.
    #[inline(always)]
    pub fn arrived(&mut self, position: u32, step: u32) -> Order {
        if position == self.expected && position != self.sent {
            self.expected = position.wrapping_add(step);
            self.seen = self.seen << 1 | 1;
            return Order::Next;
        }
        self.arrived_elsewhere(position, step)
    }

    #[cold]
    fn arrived_elsewhere(&mut self, position: u32, step: u32) -> Order {
        let ahead = position.wrapping_sub(self.expected);
        let behind = self.expected.wrapping_sub(position);
        if (ahead as i32) >= 0 {
            // In front of what is still to be sent.
            if (self.sent.wrapping_sub(position) as i32) <= 0 || !ahead.is_multiple_of(step) {
                return Order::Unknown;
            }
            let shift = ahead / step + 1;
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.expected = position.wrapping_add(step);
            return Order::Next;
        }
        if !behind.is_multiple_of(step) {
            return Order::Unknown;
        }
        let bit = behind / step - 1;
        if bit >= REMEMBERED {
            return Order::Stale;
        }
        let before = self.seen;
        self.seen |= 1 << bit;
        if before == self.seen { Order::Duplicate } else { Order::Late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_one_cache_line() {
        assert_eq!(size_of::<Flow>(), 64);
    }

    #[test]
    fn order_within_a_direction() {
        // Across the wrap of sequence numbers, with payloads of 6 bytes.
        let start = 12u32.wrapping_neg();
        let mut lane = Lane::starting(start);
        let at = |n: u32| start.wrapping_add(6 * n);
        lane.sent = at(100);
        let arrivals = [
            (0, Order::Next),
            (2, Order::Next), // 1 is missing
            (1, Order::Late),
            (1, Order::Duplicate),
            (2, Order::Duplicate),
            (3, Order::Next),
            (70, Order::Next), // 66 are missing
            (7, Order::Late),
            (6, Order::Stale),
            (99, Order::Next),
            (100, Order::Unknown), // not sent yet
        ];
        for (n, order) in arrivals {
            assert_eq!(lane.arrived(at(n), 6), order, "packet {n}");
        }
        assert_eq!(lane.arrived(at(50) + 1, 6), Order::Unknown);
    }
}

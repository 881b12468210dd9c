//! Naming the counters that a step should move. What is not named must not move.

use super::harness::Moves;

/// Counters that are expected to move.
#[derive(Debug, Clone, Default)]
pub struct Expect(Moves);

/// A frame of so many bytes arrived from a port.
pub fn rx(bytes: usize) -> Expect {
    Expect::default().and("rx_packets", 1).and("rx_bytes", bytes as i64)
}

/// Nothing moves.
pub fn nothing() -> Expect {
    Expect::default()
}

impl Expect {
    pub fn and(mut self, name: &str, by: i64) -> Self {
        *self.0.entry(name.to_owned()).or_default() += by;
        self
    }

    /// It was dropped.
    pub fn dropped(self, reason: &str) -> Self {
        self.and(&format!("drop.{reason}"), 1)
    }

    /// A reset was sent instead, counted for this listener.
    pub fn reset(self, listener: Option<u16>) -> Self {
        let expect = self.and("answered_packets", 1).and("resets_sent", 1);
        match listener {
            Some(slot) => expect.and(&format!("listener{slot}.resets"), 1),
            None => expect,
        }
    }

    /// A packet with so many bytes of IP went to a target.
    pub fn to_target(self, slot: u16, ip_bytes: usize) -> Self {
        self.forwarded(ip_bytes)
            .and(&format!("target{slot}.packets_in"), 1)
            .and(&format!("target{slot}.bytes_in"), ip_bytes as i64)
    }

    /// A packet with so many bytes of IP came from a target and went to a client.
    pub fn to_client(self, slot: u16, ip_bytes: usize) -> Self {
        self.forwarded(ip_bytes)
            .and(&format!("target{slot}.packets_out"), 1)
            .and(&format!("target{slot}.bytes_out"), ip_bytes as i64)
    }

    fn forwarded(self, ip_bytes: usize) -> Self {
        self.and("forwarded_packets", 1).and("forwarded_bytes", 14 + ip_bytes as i64)
    }

    /// A flow began.
    pub fn created(self, target: u16, listener: u16) -> Self {
        self.and("flows_created", 1)
            .and(&format!("target{target}.new_flows"), 1)
            .and(&format!("listener{listener}.new_flows"), 1)
            .refs(target, listener, 1)
            .active(target, listener, 1)
    }

    /// A flow is not active any more, because of FIN or RST.
    pub fn closed(self, target: u16, listener: u16) -> Self {
        self.and("flows_closed", 1).active(target, listener, -1)
    }

    /// A flow is not active any more, because its target may not have it.
    pub fn terminated(self, target: u16, listener: u16) -> Self {
        self.and("flows_terminated", 1).active(target, listener, -1)
    }

    /// So many resets were made for the ends of a flow and sent.
    pub fn ends_reset(self, count: i64, listener: u16) -> Self {
        let expect = self.and("originated_packets", count).and("resets_sent", count);
        expect.and(&format!("listener{listener}.resets"), count)
    }

    /// A flow made room for another one.
    pub fn evicted(self, why: &str, target: u16, listener: u16) -> Self {
        self.and(&format!("{why}_evicted"), 1).active(target, listener, -1).freed(target, listener)
    }

    /// A flow is not active any more, because its time is over.
    pub fn expired(self, target: u16, listener: u16) -> Self {
        self.and("flows_expired", 1).active(target, listener, -1)
    }

    /// An entry is in use no more.
    pub fn freed(self, target: u16, listener: u16) -> Self {
        self.refs(target, listener, -1)
    }

    fn refs(self, target: u16, listener: u16, by: i64) -> Self {
        self.and(&format!("target{target}.flow_refs"), by).and(&format!("listener{listener}.flow_refs"), by)
    }

    fn active(self, target: u16, listener: u16, by: i64) -> Self {
        self.and(&format!("target{target}.active_flows"), by).and(&format!("listener{listener}.active_flows"), by)
    }

    pub fn plus(mut self, other: Self) -> Self {
        for (name, by) in other.0 {
            *self.0.entry(name).or_default() += by;
        }
        self
    }

    #[track_caller]
    pub fn is(self, moves: &Moves) {
        let expected: Moves = self.0.into_iter().filter(|(_, by)| *by != 0).collect();
        assert_eq!(*moves, expected, "counters that moved (left) and that should have (right)");
    }
}

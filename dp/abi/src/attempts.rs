//! How targets answer the first packets of TCP connections: what passive health checks are made of (docs/adr/0010-passive-checks.md).
//!
//! For each target slot an lcore counts the attempts of clients by how they ended, and remembers from how many different clients those
//! came that failed. A few words that are written when an attempt has ended and never grow: whoever sends very many SYNs fills nothing.

/// How a client's attempt to connect to a target has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// By a SYN-ACK.
    Answered,
    /// By a reset in answer to the SYN.
    Refused,
    /// Without an answer in time.
    Unanswered,
}

/// Different clients remembered for one second.
pub const CLIENTS: usize = 3;

/// Clients whose attempts failed in one second, as 16 bits of a keyed hash each, never 0. In a word of the segment: the second modulo
/// 2¹⁶ in the lowest 16 bits, then the clients, 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedClients {
    second: u16,
    clients: [u16; CLIENTS],
}

impl FailedClients {
    /// Those of a word.
    pub const fn from_word(word: u64) -> Self {
        Self { second: word as u16, clients: [(word >> 16) as u16, (word >> 32) as u16, (word >> 48) as u16] }
    }

    /// The word.
    pub const fn word(self) -> u64 {
        let [a, b, c] = self.clients;
        self.second as u64 | (a as u64) << 16 | (b as u64) << 32 | (c as u64) << 48
    }

    /// Remembers a client, by a hash of its address, that failed in this second. Those of another second are forgotten; more than
    /// [`CLIENTS`] are not remembered.
    pub fn add(&mut self, second: u16, hash: u64) {
        if self.second != second {
            *self = Self { second, ..Self::default() };
        }
        let client = (hash >> 48) as u16 | 1;
        if let Some(place) = self.clients.iter_mut().find(|known| **known == 0 || **known == client) {
            *place = client;
        }
    }

    /// The clients.
    pub fn clients(self) -> impl Iterator<Item = u16> {
        self.clients.into_iter().filter(|client| *client != 0)
    }
}

/// The clients that failed last on several lcores: in the same second, or in the one before, as one may just have begun.
pub fn latest(lcores: impl Iterator<Item = FailedClients>) -> Vec<u16> {
    let known: Vec<FailedClients> = lcores.filter(|known| known.clients[0] != 0).collect();
    let is_latest = |one: &&FailedClients| known.iter().all(|other| other.second.wrapping_sub(one.second) as i16 <= 1);
    known.iter().filter(is_latest).flat_map(|one| one.clients()).collect()
}

/// What an lcore, or all of them, have seen of the attempts to connect to a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts that were answered. Only grows, as the others.
    pub answered: u64,
    /// Attempts that were refused or not answered.
    pub failed: u64,
    /// Clients that failed last.
    pub clients: FailedClients,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const A: u64 = 0x1111 << 48;
    const B: u64 = 0x2223 << 48;

    #[test]
    fn different_clients_of_one_second_are_remembered() {
        let mut clients = FailedClients::default();
        for hash in [A, B, A, A, B] {
            clients.add(7, hash);
        }
        assert_eq!(clients.clients().collect::<Vec<_>>(), [0x1111, 0x2223]);
        clients.add(7, 0);
        clients.add(7, 0x9999 << 48);
        assert_eq!(clients.clients().collect::<Vec<_>>(), [0x1111, 0x2223, 1], "no more than there is room for");
        assert_eq!(FailedClients::from_word(clients.word()), clients);
        clients.add(8, B);
        assert_eq!(clients.clients().collect::<Vec<_>>(), [0x2223]);
    }

    #[test]
    fn lcores_that_saw_none_for_long_say_nothing() {
        let failed = |second, hash| {
            let mut clients = FailedClients::default();
            clients.add(second, hash);
            clients
        };
        // The seconds wrap around.
        let all = [failed(0, A), failed(u16::MAX, B), failed(u16::MAX - 1, 0x3333 << 48), FailedClients::default()];
        assert_eq!(latest(all.into_iter()), [0x1111, 0x2223]);
        assert_eq!(latest([].into_iter()), []);
    }
}

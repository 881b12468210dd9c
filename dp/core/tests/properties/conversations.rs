//! Clients and targets that talk TCP over lossy links with the appliance in between, while its configuration changes and its
//! process dies. What the application at one end says is what the one at the other end hears, and nobody else.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use leat_core::Verdict;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::common::packet::L4;
use crate::common::*;
use crate::peer::{Peer, Segment};

/// Milliseconds until what was not acknowledged is sent again.
const RETRANSMIT_MS: u64 = 150;

/// A target's connection: its socket, and what it sees as the client's.
type Key = (SocketAddr, SocketAddr);

struct Client {
    socket: SocketAddr,
    vip: SocketAddr,
    peer: Peer,
    /// What its target will say.
    answer: Vec<u8>,
}

enum Happening {
    /// A frame reaches the appliance on a port.
    Arrival(u8, Vec<u8>),
    /// A frame reaches whom it is for, having left by a port.
    Delivery(u8, Vec<u8>),
    ClientTimer(usize),
    TargetTimer(Key),
}

struct Simulation {
    h: Harness,
    random: SmallRng,
    loss: f64,
    clients: Vec<Client>,
    targets: HashMap<Key, (usize, Peer)>,
    by_isn: HashMap<u32, (usize, Option<Key>)>,
    agenda: BTreeMap<(u64, u64), Happening>,
    serial: u64,
}

impl Simulation {
    fn new(seed: u64, lcores: u16, clients: usize, loss: f64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let h = Harness::new(lcores, 512);
        let mut by_isn = HashMap::new();
        let (ip, vips) = [
            (CLIENT.ip(), [WEB, DIRECT, DIRECT_2]),
            (CLIENT_6.ip(), [WEB_6, DIRECT_6, TCP_6_TO_4]),
            (CLIENT.ip(), [TCP_4_TO_6, WEB, DIRECT]),
        ][random.random_range(0..3)];
        let clients: Vec<Client> = (0..clients)
            .map(|n| {
                // Without loss, sockets are shared, so that clients meet at targets (S12.1); with it, one could be over at the
                // appliance while its ends still repeat themselves, and make way for another (S12.2).
                let socket = if loss == 0.0 { n / 3 } else { n };
                let socket = SocketAddr::new(ip, 5000 + socket as u16);
                // Some numbers wrap around soon.
                let isn = if n % 4 == 0 { u32::MAX - 8 * n as u32 } else { random.random::<u32>() << 8 | n as u32 };
                by_isn.insert(isn, (n, None));
                let mut speech =
                    || vec![0; random.random_range(0..1500)].iter().map(|_: &u8| random.random()).collect();
                let (data, answer): (Vec<u8>, Vec<u8>) = (speech(), speech());
                Client { socket, vip: vips[n % 3], peer: Peer::new(isn, true, data), answer }
            })
            .collect();
        let (targets, agenda) = (HashMap::new(), BTreeMap::new());
        let mut simulation = Self { h, random, loss, clients, targets, by_isn, agenda, serial: 0 };
        assert_eq!(simulation.by_isn.len(), simulation.clients.len(), "initial numbers are unique");
        for n in 0..simulation.clients.len() {
            let after = simulation.random.random_range(0..if loss == 0.0 { 8 } else { 500 });
            simulation.at(after, Happening::ClientTimer(n));
        }
        simulation
    }

    fn at(&mut self, after_ms: u64, what: Happening) {
        self.serial += 1;
        // Frames of one millisecond overtake each other, but at random.
        let order = u64::from(self.random.random::<u32>()) << 32 | self.serial;
        self.agenda.insert((self.h.now.ms + after_ms, order), what);
    }

    /// Puts a frame on a link: it may be lost, doubled, late.
    fn link(&mut self, make: impl Fn() -> Happening) {
        let copies = if self.random.random_bool(self.loss) { 0 } else { 1 };
        let copies = copies + usize::from(self.random.random_bool(self.loss));
        for _ in 0..copies {
            let late = self.random.random_bool(self.loss);
            let after = self.random.random_range(1..if late { 60 } else { 4 });
            self.at(after, make());
        }
    }

    fn send_client(&mut self, n: usize, segments: Vec<Segment>) {
        let (socket, vip) = (self.clients[n].socket, self.clients[n].vip);
        for (flags, seq, ack, payload) in segments {
            let packet = Packet::tcp(socket, vip, flags, seq, ack).macs(ROUTER_MAC, PORTS[0]).payload(&payload);
            self.link(|| Happening::Arrival(CLIENT_SIDE, packet.bytes()));
        }
    }

    fn send_target(&mut self, (target, nat): Key, segments: Vec<Segment>) {
        for (flags, seq, ack, payload) in segments {
            let packet = Packet::tcp(target, nat, flags, seq, ack).macs(target_mac(slot_of(target)), PORTS[1]);
            let packet = packet.payload(&payload);
            self.link(|| Happening::Arrival(TARGET_SIDE, packet.bytes()));
        }
    }

    fn run(&mut self) {
        let end = self.h.now.ms + 25_000;
        while let Some(((when, _), happening)) = self.agenda.pop_first() {
            self.h.now.ms = when;
            if self.clients.iter().all(|c| c.peer.is_done()) && self.targets.values().all(|(_, p)| p.is_done()) {
                return;
            }
            assert!(when < end, "conversations do not end");
            match happening {
                Happening::Arrival(port, frame) => self.arrive(when, port, frame),
                Happening::Delivery(port, frame) => self.deliver(port, &frame),
                Happening::ClientTimer(n) if !self.clients[n].peer.is_done() => {
                    self.send_client(n, self.clients[n].peer.due());
                    self.at(RETRANSMIT_MS, Happening::ClientTimer(n));
                }
                Happening::TargetTimer(key) if !self.targets[&key].1.is_done() => {
                    self.send_target(key, self.targets[&key].1.due());
                    self.at(RETRANSMIT_MS, Happening::TargetTimer(key));
                }
                Happening::ClientTimer(_) | Happening::TargetTimer(_) => {}
            }
        }
    }

    /// All that arrives in this millisecond is a burst, on any lcore; now and then something else happens, too.
    fn arrive(&mut self, when: u64, port: u8, bytes: Vec<u8>) {
        let mut frames = vec![OwnedFrame::new(port, bytes)];
        while frames.len() < leat_core::BURST
            && let Some(next) = self.agenda.first_entry()
            && next.key().0 == when
            && matches!(next.get(), Happening::Arrival(..))
            && let Happening::Arrival(port, bytes) = next.remove()
        {
            frames.push(OwnedFrame::new(port, bytes));
        }
        match self.random.random_range(0..400) {
            0 => drop(self.h.crash()),
            1 => self.reconfigure(),
            2..40 => self.h.housekeeping(),
            _ => {}
        }
        let lcore = self.random.random_range(0..self.h.lcores());
        for out in self.h.run(lcore, frames) {
            match out.verdict {
                Verdict::Forward { port } => self.link(|| Happening::Delivery(port, out.bytes.clone())),
                // What has outlived its connection.
                Verdict::Answer { .. } => {}
                verdict => panic!("{verdict:?} of {:?}", Packet::read(&out.bytes)),
            }
        }
    }

    /// Other tables, other order: whoever is in a conversation must not notice.
    fn reconfigure(&mut self) {
        let first = self.random.random_range(0..4);
        for group in 0..2 {
            self.h.world.groups[group].table = table(&[first, (first + 1) % 4, (first + 2) % 4]);
        }
        self.h.world.targets.rotate_left(1);
        self.h.publish();
    }

    fn deliver(&mut self, port: u8, frame: &[u8]) {
        let packet = Packet::read(frame).expect("a packet");
        if port == CLIENT_SIDE {
            let mut to = self.clients.iter_mut().enumerate();
            let (n, client) = to
                .find(|(_, c)| (c.socket, c.vip) == (packet.destination, packet.source))
                .expect("somebody is waiting for it");
            let answer = client.peer.take(&packet);
            return self.send_client(n, answer);
        }
        let key = (packet.destination, packet.source);
        let L4::Tcp { seq, flags, .. } = packet.l4 else { panic!("not TCP") };
        if flags & SYN != 0 {
            let (n, known) = self.by_isn.get_mut(&seq).expect("a client's number");
            assert!(known.is_none_or(|known| known == key), "one target and one socket for life (I3)");
            *known = Some(key);
            let n = *n;
            if let Some((other, _)) = self.targets.get(&key) {
                assert_eq!(*other, n, "two connections in one socket (I2, I6)");
            } else {
                let isn = self.random.random();
                self.targets.insert(key, (n, Peer::new(isn, false, self.clients[n].answer.clone())));
                self.at(RETRANSMIT_MS, Happening::TargetTimer(key));
            }
        }
        // Without a SYN before it, it was reordered or the SYN was lost: the target would reset it.
        let Some((_, peer)) = self.targets.get_mut(&key) else { return };
        let answer = peer.take(&packet);
        self.send_target(key, answer);
    }

    fn check(&mut self) {
        assert_eq!(self.targets.len(), self.clients.len(), "each conversation had one target");
        for (n, target) in self.targets.values() {
            let client = &self.clients[*n];
            assert!(target.received == client.peer.data(), "what the client said is what its target heard");
            assert!(client.peer.received == target.data(), "and the other way round");
        }
        self.h.check_flows();
        self.h.pass(62_000);
        assert!(self.h.flows().is_empty(), "all closed: {:?}", self.h.flows());
        self.h.check_flows();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Every byte arrives, once, at one target; per connection one target for life; no key twice; gauges equal entries; packets
    /// are conserved on every lcore after every burst; checksums are right. req: GEN-02, RT-02, R28, I1, I2, I3, I6, I10
    #[test]
    fn conversations_arrive_whole(
        seed: u64,
        lcores in prop::sample::select(vec![1u16, 2, 4]),
        clients in 1..24usize,
        loss in prop::sample::select(vec![0.0, 0.02, 0.15]),
    ) {
        let mut simulation = Simulation::new(seed, lcores, clients, loss);
        simulation.run();
        simulation.check();
    }
}

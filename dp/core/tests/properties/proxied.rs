//! Connections with a PROXY header over links that lose, double and reorder: the target reads the header and then what the client
//! says, and the client what the target says. Both ends trust selective acknowledgements: what one names is never sent again.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use leat_core::Verdict;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::common::header::header;
use crate::common::packet::L4;
use crate::common::*;

const VIPS: [SocketAddr; 6] = [WEB, DIRECT, WEB_6, DIRECT_6, TCP_6_TO_4, TCP_4_TO_6];
/// Milliseconds until an end sends again what was not acknowledged.
const RETRANSMIT_MS: u64 = 150;
/// Segments sent at once.
const WINDOW: usize = 5;
/// Copies of a header that are lost in a row at the most: after some more the connection is given up.
const HEADERS_LOST_MAX: u32 = 4;

/// Flags, sequence number, acknowledgement, options, payload.
type Segment = (u8, u32, u32, Vec<u8>, Vec<u8>);

/// One end of a connection.
struct End {
    isn: u32,
    opens: bool,
    other_isn: Option<u32>,
    says: Vec<u8>,
    /// It speaks when it has heard so many bytes.
    speaks_after: usize,
    /// Whether its SYN was acknowledged, and which of its bytes were, the last one being its FIN.
    is_open: bool,
    acknowledged: Vec<bool>,
    /// Bytes that came, by their place; and the place of the FIN.
    came: BTreeMap<usize, u8>,
    fin: Option<usize>,
}

impl End {
    fn new(isn: u32, opens: bool, says: Vec<u8>, speaks_after: usize) -> Self {
        let acknowledged = vec![false; says.len() + 1];
        let (other_isn, is_open, came, fin) = (None, false, BTreeMap::new(), None);
        Self { isn, opens, other_isn, says, speaks_after, is_open, acknowledged, came, fin }
    }

    /// How many bytes it has read.
    fn read(&self) -> usize {
        self.came.keys().enumerate().take_while(|(n, at)| n == *at).count()
    }

    fn has_all(&self) -> bool {
        self.fin == Some(self.read())
    }

    fn is_done(&self) -> bool {
        self.has_all() && self.acknowledged.iter().all(|yes| *yes)
    }

    fn ack(&self) -> u32 {
        let taken = self.read() as u32 + u32::from(self.has_all());
        self.other_isn.map_or(0, |isn| isn.wrapping_add(1).wrapping_add(taken))
    }

    /// What it selects: pieces that came behind a hole, the option anywhere.
    fn selects(&self, random: &mut SmallRng) -> Vec<u8> {
        let Some(isn) = self.other_isn else { return Vec::new() };
        let read = self.read();
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        for at in self.came.keys().filter(|at| **at > read) {
            match pieces.last_mut() {
                Some((_, end)) if *end == *at => *end += 1,
                _ => pieces.push((*at, at + 1)),
            }
        }
        // Sometimes what came twice goes first (RFC 2883).
        if read > 0 && random.random_bool(0.2) {
            let from = random.random_range(0..read);
            pieces.insert(0, (from, random.random_range(from..read) + 1));
        }
        pieces.truncate(4);
        if pieces.is_empty() {
            return Vec::new();
        }
        let mut option = vec![1; random.random_range(0..4)];
        option.extend([5, 2 + 8 * pieces.len() as u8]);
        for edge in pieces.iter().flat_map(|(from, to)| [from, to]) {
            option.extend(isn.wrapping_add(1).wrapping_add(*edge as u32).to_be_bytes());
        }
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    fn acknowledgement(&self, random: &mut SmallRng) -> Segment {
        let sent = self.acknowledged.iter().take_while(|yes| **yes).count() as u32;
        (ACK, self.isn.wrapping_add(1).wrapping_add(sent), self.ack(), self.selects(random), Vec::new())
    }

    /// What is due when nothing has happened for a while.
    fn due(&self, random: &mut SmallRng) -> Vec<Segment> {
        if !self.is_open {
            return match (self.opens, self.other_isn) {
                (true, _) => vec![(SYN, self.isn, 0, Vec::new(), Vec::new())],
                (false, Some(_)) => vec![(SYN | ACK, self.isn, self.ack(), vec![1, 3, 3, 7], Vec::new())],
                (false, None) => Vec::new(),
            };
        }
        if self.read() < self.speaks_after {
            return vec![self.acknowledgement(random)];
        }
        let mut segments = Vec::new();
        let mut at = 0;
        while at < self.acknowledged.len() && segments.len() < WINDOW {
            if self.acknowledged[at] {
                at += 1;
                continue;
            }
            let end = (at + random.random_range(1..300)).min(self.acknowledged.len());
            let end = (at..end).find(|n| self.acknowledged[*n]).unwrap_or(end);
            let closes = end > self.says.len();
            let flags = if closes { FIN | ACK } else { ACK };
            let seq = self.isn.wrapping_add(1).wrapping_add(at as u32);
            let payload = self.says[at..end.min(self.says.len())].to_vec();
            segments.push((flags, seq, self.ack(), self.selects(random), payload));
            at = end;
        }
        segments
    }

    /// Takes a segment. Returns what it is answered with at once.
    fn take(&mut self, packet: &Packet, random: &mut SmallRng) -> Vec<Segment> {
        let L4::Tcp { seq, ack, flags, ref options, .. } = packet.l4 else { return Vec::new() };
        if flags & SYN != 0 {
            self.other_isn = Some(seq);
            if !self.opens && !self.is_open {
                return self.due(random);
            }
        }
        let Some(other_isn) = self.other_isn else { return Vec::new() };
        if flags & ACK != 0 {
            self.is_open = true;
            let up_to = self.place(ack);
            self.acknowledged[..up_to].fill(true);
            let mut rest = &options[..];
            while let [1, after @ ..] = rest {
                rest = after;
            }
            if let [5, length, edges @ ..] = rest {
                for pair in edges[..usize::from(length - 2)].chunks(8) {
                    let edge = |n: usize| u32::from_be_bytes(pair[n..n + 4].try_into().expect("four"));
                    let (from, to) = (self.place(edge(0)), self.place(edge(4)));
                    assert!(from <= to, "a piece that ends before it begins");
                    self.acknowledged[from..to].fill(true);
                }
            }
        }
        let at = seq.wrapping_sub(other_isn.wrapping_add(1)) as usize;
        if flags & FIN != 0 {
            assert!(self.fin.is_none_or(|fin| fin == at + packet.payload.len()), "one end");
            self.fin = Some(at + packet.payload.len());
        }
        for (n, byte) in packet.payload.iter().enumerate() {
            assert!(self.came.insert(at + n, *byte).is_none_or(|before| before == *byte), "a byte that changed");
        }
        let says_nothing = packet.payload.is_empty() && flags & (FIN | SYN) == 0;
        let mut answer = if says_nothing { Vec::new() } else { vec![self.acknowledgement(random)] };
        if !says_nothing && random.random_bool(0.3) {
            answer.extend(self.due(random));
        }
        answer
    }

    /// How many of its bytes lie before a number that the other end has named.
    fn place(&self, number: u32) -> usize {
        let place = number.wrapping_sub(self.isn.wrapping_add(1)) as usize;
        assert!(place <= self.acknowledged.len(), "the other end names what was never sent");
        place
    }
}

struct Connection {
    stream: Stream,
    client: End,
    target: End,
    headers_lost: u32,
}

enum Happening {
    Arrival(u8, Vec<u8>),
    Delivery(u8, Vec<u8>),
    /// Of a connection, an end: whether it is the client.
    Timer(usize, bool),
}

struct Simulation {
    h: Harness,
    random: SmallRng,
    loss: f64,
    crashes: bool,
    connections: Vec<Connection>,
    agenda: BTreeMap<(u64, u64), Happening>,
    serial: u64,
}

impl Simulation {
    fn new(seed: u64, lcores: u16, count: usize, loss: f64, crashes: bool) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut h = Harness::new(lcores, 512);
        h.set_proxy_protocol(true);
        let connections: Vec<Connection> = (0..count)
            .map(|n| {
                let vip = VIPS[random.random_range(0..VIPS.len())];
                let client = if vip.is_ipv4() { CLIENT } else { CLIENT_6 };
                let client = SocketAddr::new(client.ip(), 5000 + n as u16);
                // Numbers that come round within the header, around it, or soon after; those of two connections differ.
                let isn = u32::MAX - random.random_range(0..40) * 10 - n as u32;
                let mut speech =
                    || -> Vec<u8> { (0..random.random_range(0..2000)).map(|n| (n * 7 + 1) as u8).collect() };
                let (says, answers) = (speech(), speech());
                let server_first = random.random_bool(0.4);
                let (client_waits, target_waits) = match server_first {
                    true => (answers.len().min(1), header(client, vip, None).len()),
                    false => (0, random.random_range(0..2) * says.len()),
                };
                let target = End::new(random.random(), false, answers, target_waits);
                let client_end = End::new(isn, true, says, client_waits);
                Connection { stream: Stream::new(client, vip, isn), client: client_end, target, headers_lost: 0 }
            })
            .collect();
        let mut simulation = Self { h, random, loss, crashes, connections, agenda: BTreeMap::new(), serial: 0 };
        for n in 0..count {
            let after = simulation.random.random_range(0..300);
            simulation.at(after, Happening::Timer(n, true));
            simulation.at(after + 70, Happening::Timer(n, false));
        }
        simulation
    }

    fn at(&mut self, after_ms: u64, what: Happening) {
        self.serial += 1;
        let order = u64::from(self.random.random::<u32>()) << 32 | self.serial;
        self.agenda.insert((self.h.now.ms + after_ms, order), what);
    }

    /// Puts a frame on a link: it may be lost, doubled, late. Returns whether it was lost.
    fn link(&mut self, may_lose: bool, make: impl Fn() -> Happening) -> bool {
        let lost = may_lose && self.random.random_bool(self.loss);
        let copies = usize::from(!lost) + usize::from(self.random.random_bool(self.loss));
        for _ in 0..copies {
            let late = self.random.random_bool(self.loss);
            let after = self.random.random_range(1..if late { 60 } else { 4 });
            self.at(after, make());
        }
        copies == 0
    }

    fn send(&mut self, n: usize, from_client: bool, segments: Vec<Segment>) {
        for (flags, seq, ack, options, payload) in segments {
            let s = &self.connections[n].stream;
            let packet = if from_client { s.at_client(flags, seq, ack) } else { s.at_target(flags, seq, ack) };
            let bytes = packet.options(&options).payload(&payload).bytes();
            let port = if from_client { CLIENT_SIDE } else { TARGET_SIDE };
            self.link(true, || Happening::Arrival(port, bytes.clone()));
        }
    }

    fn is_done(&self) -> bool {
        self.connections.iter().all(|c| c.client.is_done() && c.target.is_done())
    }

    fn run(&mut self) {
        let end = self.h.now.ms + 60_000;
        while !self.is_done() {
            let ((when, _), happening) = self.agenda.pop_first().expect("timers go on");
            assert!(when < end, "connections do not end");
            while self.h.now.ms < when {
                self.h.pass(1);
                self.deliver_made();
            }
            match happening {
                Happening::Arrival(port, frame) => self.arrive(when, port, frame),
                Happening::Delivery(port, frame) => self.deliver(port, &frame),
                Happening::Timer(n, is_client) => {
                    let c = &self.connections[n];
                    let end = if is_client { &c.client } else { &c.target };
                    if !end.is_done() {
                        let due = end.due(&mut self.random);
                        self.send(n, is_client, due);
                    }
                    self.at(RETRANSMIT_MS, Happening::Timer(n, is_client));
                }
            }
        }
    }

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
        if self.crashes && self.random.random_bool(0.01) {
            self.h.crash();
        }
        let lcore = self.random.random_range(0..self.h.lcores());
        let outs = self.h.run(lcore, frames);
        self.deliver_made();
        for out in outs {
            match out.verdict {
                Verdict::Forward { port } => {
                    self.link(true, || Happening::Delivery(port, out.bytes.clone()));
                }
                Verdict::Consume => {}
                verdict => panic!("{verdict:?} of {:?}", Packet::read(&out.bytes)),
            }
        }
    }

    /// Headers: they may be lost as anything else, but not for ever.
    fn deliver_made(&mut self) {
        for (verdict, bytes) in self.h.made() {
            assert_eq!(verdict, Verdict::Originate { port: TARGET_SIDE });
            let n = self.of_client(&Packet::read(&bytes).expect("a packet"), TARGET_SIDE);
            let may_lose = self.connections[n].headers_lost < HEADERS_LOST_MAX;
            let was_lost = self.link(may_lose, || Happening::Delivery(TARGET_SIDE, bytes.clone()));
            self.connections[n].headers_lost += u32::from(was_lost);
        }
    }

    /// The connection of a packet that leaves by a port.
    fn of_client(&mut self, packet: &Packet, port: u8) -> usize {
        let ends = (packet.source, packet.destination);
        let is_its = |c: &Connection| match port {
            CLIENT_SIDE => ends == (c.stream.vip, c.stream.client),
            _ => ends == (c.stream.nat, c.stream.target),
        };
        self.connections.iter().position(is_its).expect("somebody's")
    }

    fn deliver(&mut self, port: u8, frame: &[u8]) {
        let packet = Packet::read(frame).expect("a packet");
        let (seq, _, flags) = packet.numbers();
        if port == TARGET_SIDE && flags & SYN != 0 {
            let mut opening = self.connections.iter_mut();
            let c = opening.find(|c| c.stream.isn_c == seq).expect("a client's number");
            (c.stream.nat, c.stream.target) = (packet.source, packet.destination);
        }
        let n = self.of_client(&packet, port);
        let c = &mut self.connections[n];
        let end = if port == CLIENT_SIDE { &mut c.client } else { &mut c.target };
        let answer = end.take(&packet, &mut self.random);
        self.send(n, port == CLIENT_SIDE, answer);
    }

    fn check(&mut self) {
        for c in &self.connections {
            let heard = |end: &End| end.came.values().copied().collect::<Vec<u8>>();
            let expected = [header(c.stream.client, c.stream.vip, None), c.client.says.clone()].concat();
            assert!(heard(&c.target) == expected, "the header, and what the client said");
            assert!(heard(&c.client) == c.target.says, "what the target said");
        }
        self.h.check_flows();
        self.h.pass(62_000);
        assert!(self.h.made().is_empty(), "nothing is repeated that was acknowledged");
        self.h.check_flows();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, max_shrink_iters: 100, ..ProptestConfig::default() })]

    /// The target reads the header and exactly the client's bytes, the client exactly the target's, whoever speaks first, whatever is lost,
    /// doubled or late, and wherever numbers come round; acknowledgements and selections name what was sent, and nothing else.
    /// req: PP2-01, PP2-02, PP2-04, PP2-10, S8.2, S8.3, S8.4, S8.5, S8.11
    #[test]
    fn targets_read_the_header_and_then_the_client(
        seed: u64,
        lcores in prop::sample::select(vec![1u16, 2, 4]),
        count in 1..10usize,
        loss in prop::sample::select(vec![0.0, 0.03, 0.2]),
        crashes: bool,
    ) {
        let mut simulation = Simulation::new(seed, lcores, count, loss, crashes);
        simulation.run();
        simulation.check();
    }
}

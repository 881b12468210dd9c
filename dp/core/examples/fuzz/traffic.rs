//! Packets: of conversations that make sense, whole or in fragments, errors about them, such that are mutated, and noise.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::build::{self, ACK, FIN, RST, SYN, Segment};
use crate::checks;
use crate::frames;
use crate::lcores::{Note, NotedFrame};
use crate::world::{self, CLIENT_SIDE, PORTS, TARGET_SIDE};

/// Conversations at a time: more than the flow tables hold.
const CONVERSATIONS: usize = 4096;
/// Bytes kept of what came out last, for errors to quote.
const KEPT: usize = 256;
/// Listeners, and whether they are of UDP.
const VIPS: [(SocketAddr, bool); 16] = [
    (world::WEB, false),
    (world::DIRECT, false),
    (world::DIRECT_2, false),
    (world::DNS, true),
    (world::LOG, true),
    (world::EMPTY, false),
    (world::EMPTY_UDP, true),
    (world::WEB_6, false),
    (world::DIRECT_6, false),
    (world::DNS_6, true),
    (world::LOG_6, true),
    (world::TCP_6_TO_4, false),
    (world::UDP_6_TO_4, true),
    (world::TCP_4_TO_6, false),
    (world::UDP_4_TO_6, true),
    (world::EMPTY_6, false),
];

#[derive(Debug, Clone)]
struct Conversation {
    udp: bool,
    client: SocketAddr,
    vip: SocketAddr,
    /// What the appliance made of it, as far as is known.
    target: SocketAddr,
    nat: SocketAddr,
    isn: u32,
    c: u32,
    t: u32,
    /// The beginning of what came out last to the target and to the client.
    out: [Vec<u8>; 2],
}

impl Conversation {
    fn new(random: &mut SmallRng) -> Self {
        let (vip, udp) = VIPS[random.random_range(0..VIPS.len())];
        let target =
            |random: &mut SmallRng, is_v6| world::target(random.random_range(0..8) + if is_v6 { 8 } else { 0 });
        // Few clients, some of them targets, so that they clash.
        let ip = match random.random_range(0..16) {
            0 => target(random, vip.is_ipv6()).ip(),
            n if vip.is_ipv6() => IpAddr::from([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, n]),
            n => IpAddr::from([198, 51, 100, n as u8]),
        };
        let client = SocketAddr::new(ip, random.random_range(1..600));
        let (isn, t) = (random.random(), random.random());
        let c = u32::wrapping_add(isn, 1);
        let target = target(random, vip.is_ipv6());
        Self { udp, client, vip, target, nat: client, isn, c, t, out: Default::default() }
    }

    /// Bytes that a PROXY header has if the group has it.
    fn header_len(&self) -> u32 {
        if self.client.is_ipv6() { 124 } else { 100 }
    }
}

/// All that is sent.
pub struct Traffic {
    conversations: Vec<Conversation>,
    /// The one that is talked in just now, so that bursts hold several packets of a flow.
    current: usize,
    /// Fragments to come.
    pending: VecDeque<(u8, Vec<u8>)>,
}

impl Traffic {
    pub fn new(random: &mut SmallRng) -> Self {
        let conversations = (0..CONVERSATIONS).map(|_| Conversation::new(random)).collect();
        Self { conversations, current: 0, pending: VecDeque::new() }
    }

    /// Notes where a packet came out, so that its target can answer, and errors can be sent about it.
    pub fn learn(&mut self, frame: &NotedFrame, port: u8) {
        let Some(n) = frame.note.of else { return };
        let Some(layers) = checks::layers(&frame.bytes).filter(|layers| [6, 17].contains(&layers.protocol)) else {
            return;
        };
        let b = &frame.bytes;
        let conversation = &mut self.conversations[usize::from(n)];
        let kept = &mut conversation.out[usize::from(port == CLIENT_SIDE)];
        kept.clear();
        kept.extend(&b[..b.len().min(KEPT)]);
        if port != TARGET_SIDE || layers.is_fragment {
            return;
        }
        let socket = |source: bool| {
            let (at, port) = if layers.is_v6 {
                (if source { 22 } else { 38 }, layers.l4)
            } else {
                (if source { 26 } else { 30 }, layers.l4)
            };
            let ip = if layers.is_v6 {
                IpAddr::from(<[u8; 16]>::try_from(&b[at..at + 16]).unwrap_or_default())
            } else {
                IpAddr::from(<[u8; 4]>::try_from(&b[at..at + 4]).unwrap_or_default())
            };
            let port = port + if source { 0 } else { 2 };
            SocketAddr::new(ip, u16::from_be_bytes([b[port], b[port + 1]]))
        };
        (conversation.nat, conversation.target) = (socket(true), socket(false));
    }

    /// Makes a frame.
    pub fn make(&mut self, frame: &mut NotedFrame, random: &mut SmallRng) {
        let dice = random.random_range(0..256u32);
        (frame.whole, frame.handed_ports, frame.grown, frame.note) = (dice != 255, 0, 0, Note::default());
        match dice {
            0..4 => build::noise(frame, random),
            4..6 => arp(frame, random),
            6..10 => odd(frame, random),
            10..16 => self.error(frame, random),
            16..80 if !self.pending.is_empty() => {
                let (port, bytes) = self.pending.pop_front().expect("one that is pending");
                (frame.port, frame.bytes) = (port, bytes);
            }
            _ => self.talk(frame, random),
        }
        if dice % 8 == 0 {
            build::mutate(&mut frame.bytes, random);
            frame.note.of = None;
        }
        frame.note.was_good = checks::is_good(&frame.bytes);
    }

    fn talk(&mut self, frame: &mut NotedFrame, random: &mut SmallRng) {
        if random.random_ratio(1, 3) {
            // Mostly few, so that some get far; sometimes any.
            let among = if random.random_ratio(1, 4) { CONVERSATIONS } else { 256 };
            self.current = random.random_range(0..among);
        }
        let at = self.current;
        if random.random_ratio(1, 600) {
            self.conversations[at] = Conversation::new(random);
        }
        let talk = &mut self.conversations[at];
        let from_client = random.random_ratio(9, 16);
        let in_fragments = random.random_ratio(1, 24);
        let payload = match random.random_range(0..16) {
            _ if in_fragments => random.random_range(40..1400),
            0 => random.random_range(1180..1480),
            1..8 => random.random_range(0..32),
            _ => 0,
        };
        let flags = flags(from_client, random);
        let shift = if random.random() { talk.header_len() } else { 0 };
        let (seq, ack) = if from_client {
            let seq = if flags & SYN != 0 { talk.isn } else { talk.c };
            (seq, if flags & ACK != 0 { talk.t.wrapping_add(1) } else { 0 })
        } else {
            (talk.t.wrapping_add(u32::from(flags & SYN == 0)), talk.c.wrapping_add(shift))
        };
        if from_client && flags & (SYN | RST) == 0 && random.random_ratio(1, 2) {
            talk.c = talk.c.wrapping_add(payload as u32 + u32::from(flags & FIN));
        }
        if flags & SYN != 0 && random.random_ratio(1, 32) {
            talk.isn = random.random();
            talk.c = talk.isn.wrapping_add(1);
        }
        frame.port = if from_client { CLIENT_SIDE } else { TARGET_SIDE };
        frame.note.of = Some(at as u16);
        let (source, destination) = if from_client { (talk.client, talk.vip) } else { (talk.target, talk.nat) };
        let segment = (!talk.udp).then_some(Segment { flags, seq, ack });
        build::packet(frame, source, destination, segment, payload, in_fragments, random);
        if in_fragments && checks::layers(&frame.bytes).is_some() {
            let mut pieces = build::fragments(&frame.bytes, random);
            frame.bytes = pieces.remove(0);
            self.pending.extend(pieces.into_iter().map(|bytes| (frame.port, bytes)));
        }
    }

    /// An ICMP error about what came out last in a conversation.
    fn error(&mut self, frame: &mut NotedFrame, random: &mut SmallRng) {
        let of_target = random.random::<bool>();
        let quoted = &self.conversations[self.current].out[usize::from(!of_target)];
        frame.port = if of_target { TARGET_SIDE } else { CLIENT_SIDE };
        if quoted.len() < 54 {
            return arp(frame, random);
        }
        let kind = match (frames::is_v6(quoted), random.random_range(0..8)) {
            (true, n) => 1 + n % 4,
            (false, 0) => 11,
            (false, _) => 3,
        };
        let length = random.random_range(0..KEPT);
        let code = random.random::<u8>() % 16;
        let word = u32::from(random.random::<u16>() % 1600);
        frame.bytes = frames::icmp_error(quoted, PORTS[usize::from(frame.port)], (kind, code), word, length);
    }
}

fn flags(from_client: bool, random: &mut SmallRng) -> u8 {
    match random.random_range(0..64) {
        0..16 => SYN | if from_client { 0 } else { ACK },
        16..19 => FIN | ACK,
        19 => RST,
        20 => RST | ACK,
        21 => random.random(),
        _ => ACK,
    }
}

fn arp(frame: &mut NotedFrame, random: &mut SmallRng) {
    frame.port = CLIENT_SIDE;
    frame.bytes.clear();
    frame.bytes.resize(random.random_range(14..64), 1);
    frame.bytes[0..6].fill(0xff);
    frame.bytes[12..14].copy_from_slice(&[8, 6]);
}

/// To the host, to the node's own ports, from our own addresses, ICMP.
fn odd(frame: &mut NotedFrame, random: &mut SmallRng) {
    frame.port = CLIENT_SIDE;
    let port = random.random();
    let is_v6 = random.random::<bool>();
    let [somebody, host, node, other] = if is_v6 {
        let somebody = IpAddr::from([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, u16::from(random.random::<u8>())]);
        [somebody, world::HOST_6, world::NODE_6, world::NODE_6]
    } else {
        [IpAddr::from([198, 51, 100, random.random()]), world::HOST, world::NODE, world::NODE_2]
    };
    let listener = if is_v6 { world::DIRECT_6 } else { world::DIRECT };
    let at = |ip| SocketAddr::new(ip, port);
    let (source, destination) = match random.random_range(0..5) {
        0 => (at(somebody), at(host)),
        1 => (at(somebody), at(node)),
        2 => (at(node), listener),
        3 => (at(other), listener),
        _ => (world::target(random.random_range(0..8) + if is_v6 { 8 } else { 0 }), at(node)),
    };
    let segment = Segment { flags: flags(true, random), seq: 1, ack: 2 };
    let segment = random.random_ratio(3, 4).then_some(segment);
    build::packet(frame, source, destination, segment, 8, random.random(), random);
    if random.random_ratio(1, 3) {
        let l4 = if is_v6 { 54 } else { 34 };
        frame.bytes[if is_v6 { 20 } else { 23 }] = [1, 58, random.random()][random.random_range(0..3)];
        frame.bytes[l4] = random.random::<u8>() % if is_v6 { 140 } else { 13 };
        frames::fix_ip(&mut frame.bytes);
    }
}

//! Packets: of conversations that make sense, of such that are mutated, and noise.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::checks;
use crate::lcores::Buffer;
use crate::world::{self, CLIENT_SIDE, PORTS, ROUTER_MAC, TARGET_SIDE};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Conversations at a time: more than the flow tables hold.
const CONVERSATIONS: usize = 4096;

/// What the maker of a frame knows of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Intent {
    /// Nothing is wrong with it.
    pub is_sound: bool,
    /// It is a client's, of this conversation.
    of_client: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
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
}

impl Conversation {
    fn new(random: &mut SmallRng) -> Self {
        let (vip, udp) = [
            (world::WEB, false),
            (world::DIRECT, false),
            (world::DIRECT_2, false),
            (world::DNS, true),
            (world::LOG, true),
            (world::EMPTY, false),
            (world::EMPTY_UDP, true),
        ][random.random_range(0..7)];
        // Few clients, some of them targets, so that they clash.
        let ip = match random.random_range(0..16) {
            0 => world::target(random.random_range(0..8)).ip(),
            n => IpAddr::from([198, 51, 100, n]),
        };
        let client = SocketAddr::new(ip, random.random_range(1..600));
        let (isn, t) = (random.random(), random.random());
        let c = u32::wrapping_add(isn, 1);
        Self { udp, client, vip, target: world::target(random.random_range(0..8)), nat: client, isn, c, t }
    }
}

/// All that is sent.
pub struct Traffic {
    conversations: Vec<Conversation>,
    /// The one that is talked in just now, so that bursts hold several packets of a flow.
    current: usize,
}

impl Traffic {
    pub fn new(random: &mut SmallRng) -> Self {
        Self { conversations: (0..CONVERSATIONS).map(|_| Conversation::new(random)).collect(), current: 0 }
    }

    /// Notes where a client's packet came out, so that its target can answer.
    pub fn learn(&mut self, frame: &Buffer) {
        let Intent { is_sound: true, of_client: Some(n) } = frame.intent else { return };
        let b = &frame.bytes;
        let socket = |ip: usize, port: usize| {
            let address = IpAddr::from([b[ip], b[ip + 1], b[ip + 2], b[ip + 3]]);
            SocketAddr::new(address, u16::from_be_bytes([b[port], b[port + 1]]))
        };
        let conversation = &mut self.conversations[usize::from(n)];
        (conversation.nat, conversation.target) = (socket(26, 34), socket(30, 36));
    }

    /// Makes a frame.
    pub fn make(&mut self, frame: &mut Buffer, random: &mut SmallRng) {
        let dice = random.random_range(0..256u32);
        frame.whole = dice != 255;
        match dice {
            0..4 => noise(frame, random),
            4..6 => arp(frame, random),
            6..10 => odd(frame, random),
            _ => {
                self.talk(frame, random);
                if dice < 64 {
                    mutate(frame, random);
                }
            }
        }
    }

    fn talk(&mut self, frame: &mut Buffer, random: &mut SmallRng) {
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
        let payload = usize::from(random.random::<u8>() % 32) * usize::from(random.random::<bool>());
        let flags = flags(from_client, random);
        let (seq, ack) = if from_client {
            let seq = if flags & SYN != 0 { talk.isn } else { talk.c };
            (seq, if flags & ACK != 0 { talk.t.wrapping_add(1) } else { 0 })
        } else {
            (talk.t.wrapping_add(u32::from(flags & SYN == 0)), talk.c)
        };
        if from_client && flags & (SYN | RST) == 0 && random.random_ratio(1, 2) {
            talk.c = talk.c.wrapping_add(payload as u32 + u32::from(flags & FIN));
        }
        if flags & SYN != 0 && random.random_ratio(1, 32) {
            talk.isn = random.random();
            talk.c = talk.isn.wrapping_add(1);
        }
        frame.port = if from_client { CLIENT_SIDE } else { TARGET_SIDE };
        let of_client = from_client.then_some(at as u16);
        let (source, destination) = if from_client { (talk.client, talk.vip) } else { (talk.target, talk.nat) };
        let segment = if talk.udp { None } else { Some((flags, seq, ack)) };
        build(frame, source, destination, segment, payload, random);
        frame.intent = Intent { is_sound: true, of_client };
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

/// Writes a frame, all checksums right. Without `segment` it is UDP.
fn build(
    frame: &mut Buffer,
    source: SocketAddr,
    destination: SocketAddr,
    segment: Option<(u8, u32, u32)>,
    payload: usize,
    random: &mut SmallRng,
) {
    let header = match segment {
        Some((flags, ..)) if flags & SYN != 0 => 24,
        Some(_) => 20,
        None => 8,
    };
    let total = 20 + header + payload;
    let padding = if random.random_ratio(1, 8) { 6 } else { 0 };
    let b = &mut frame.bytes;
    b.clear();
    b.resize(14 + total + padding, 0);
    b[0..6].copy_from_slice(&PORTS[usize::from(frame.port)]);
    b[6..12].copy_from_slice(&ROUTER_MAC);
    b[12..14].copy_from_slice(&[8, 0]);
    b[14..16].copy_from_slice(&[0x45, random.random()]);
    b[16..18].copy_from_slice(&(total as u16).to_be_bytes());
    b[18..20].copy_from_slice(&random.random::<u16>().to_be_bytes());
    b[20] = 0x40;
    b[22] = if random.random_ratio(1, 64) { 1 } else { 64 };
    b[23] = if segment.is_some() { 6 } else { 17 };
    for (at, ip) in [(26, source.ip()), (30, destination.ip())] {
        let IpAddr::V4(ip) = ip else { return };
        b[at..at + 4].copy_from_slice(&ip.octets());
    }
    b[34..36].copy_from_slice(&source.port().to_be_bytes());
    b[36..38].copy_from_slice(&destination.port().to_be_bytes());
    let checksum_at = if let Some((flags, seq, ack)) = segment {
        b[38..42].copy_from_slice(&seq.to_be_bytes());
        b[42..46].copy_from_slice(&ack.to_be_bytes());
        b[46..50].copy_from_slice(&[((header / 4) << 4) as u8, flags, 0xfa, 0]);
        if header > 20 {
            b[54..58].copy_from_slice(&[1, 3, 3, random.random::<u8>() % 16]);
        }
        50
    } else {
        b[38..40].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
        40
    };
    b[34 + header..14 + total].fill(random.random());
    fix_ip_checksum(b);
    let sum = !checks::segment_sum(b, total);
    let sum = if sum == 0 && segment.is_none() { 0xffff } else { sum };
    b[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn fix_ip_checksum(b: &mut [u8]) {
    if b.len() >= 34 {
        b[24..26].fill(0);
        let sum = !checks::sum(&b[14..34], 0);
        b[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Changes a good frame a little, or cuts it anywhere. Mostly the IP checksum is made right again, so that the change gets
/// further than that.
fn mutate(frame: &mut Buffer, random: &mut SmallRng) {
    frame.intent = Intent::default();
    let b = &mut frame.bytes;
    for _ in 0..random.random_range(1..4) {
        let len = b.len().max(1);
        let byte: u8 = random.random();
        let at = random.random_range(0..len.min(64));
        match random.random_range(0..12) {
            0 | 1 if at < b.len() => b[at] ^= 1 << (byte & 7),
            2 if at < b.len() => b[at] = byte,
            3 => b.truncate(random.random_range(0..len)),
            4 => b.resize(len + usize::from(byte), byte),
            // Lengths: IP, header, TCP, UDP.
            5 if b.len() > 17 => b[17] = byte,
            6 if b.len() > 17 => (b[16], b[17]) = (byte, random.random()),
            7 if b.len() > 14 => b[14] = 0x40 | byte & 15,
            8 if b.len() > 46 => b[46] = byte,
            9 if b.len() > 39 => (b[38], b[39]) = (byte & 1, random.random()),
            // Flags, fragments, options.
            10 if b.len() > 47 => b[47] = byte,
            11 if b.len() > 58 => {
                b[46] = 0x60 | byte & 0x90;
                b[54..58].copy_from_slice(&random.random::<[u8; 4]>());
            }
            _ if b.len() > 22 => (b[20], b[21], b[22]) = (byte, random.random(), random.random()),
            _ => {}
        }
    }
    if random.random_ratio(7, 8) {
        fix_ip_checksum(b);
    }
}

/// Random bytes, or such behind a good Ethernet header.
fn noise(frame: &mut Buffer, random: &mut SmallRng) {
    frame.intent = Intent::default();
    frame.port = random.random::<u8>() % 3;
    let len = random.random_range(0..200);
    frame.bytes.clear();
    frame.bytes.extend((0..len).map(|_| random.random::<u8>()));
    if len > 14 && random.random_ratio(3, 4) {
        frame.bytes[0..6].copy_from_slice(PORTS.get(usize::from(frame.port)).unwrap_or(&[0xff; 6]));
        frame.bytes[12..14].copy_from_slice(&[8, 0]);
        if len > 34 && random.random() {
            frame.bytes[14] = 0x45;
            frame.bytes[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
            frame.bytes[20..22].fill(0);
            fix_ip_checksum(&mut frame.bytes);
        }
    }
}

fn arp(frame: &mut Buffer, random: &mut SmallRng) {
    frame.intent = Intent::default();
    frame.port = CLIENT_SIDE;
    frame.bytes.clear();
    frame.bytes.resize(random.random_range(14..64), 1);
    frame.bytes[0..6].fill(0xff);
    frame.bytes[12..14].copy_from_slice(&[8, 6]);
}

/// To the host, to the node's own ports, from our own addresses, ICMP.
fn odd(frame: &mut Buffer, random: &mut SmallRng) {
    frame.port = CLIENT_SIDE;
    let port = random.random();
    let somebody = SocketAddr::new(IpAddr::from([198, 51, 100, random.random()]), port);
    let node = SocketAddr::new(world::NODE, random.random());
    let (source, destination) = match random.random_range(0..5) {
        0 => (somebody, SocketAddr::new(world::HOST, port)),
        1 => (somebody, node),
        2 => (node, world::WEB),
        3 => (SocketAddr::new(world::NODE_2, port), world::DIRECT),
        _ => (world::target(random.random_range(0..8)), node),
    };
    let segment = if random.random_ratio(1, 4) { None } else { Some((flags(true, random), 1, 2)) };
    build(frame, source, destination, segment, 8, random);
    if random.random_ratio(1, 3) {
        frame.bytes[23] = if random.random() { 1 } else { random.random() };
        frame.bytes[34] = random.random::<u8>() % 13;
        fix_ip_checksum(&mut frame.bytes);
    }
    frame.intent = Intent::default();
}

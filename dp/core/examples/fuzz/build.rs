//! Building frames, and spoiling them.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::checks;
use crate::frames;
use crate::lcores::NotedFrame;
use crate::world::{PORTS, ROUTER_MAC};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A TCP segment's own numbers.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
}

/// Writes a frame, all checksums right. Without `segment` it is UDP. Of `simple` ones every header is as short as can be.
pub fn packet(
    frame: &mut NotedFrame,
    source: SocketAddr,
    destination: SocketAddr,
    segment: Option<Segment>,
    payload: usize,
    simple: bool,
    random: &mut SmallRng,
) {
    let b = &mut frame.bytes;
    b.clear();
    b.extend(PORTS[usize::from(frame.port)]);
    b.extend(ROUTER_MAC);
    let ttl = if random.random_ratio(1, 64) { 1 } else { 64 };
    let protocol = if segment.is_some() { 6 } else { 17 };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let flags = if simple || random.random_ratio(1, 4) { 0 } else { 0x40 };
            b.extend([8, 0, 0x45, random.random(), 0, 0, random.random(), random.random()]);
            b.extend([flags, 0, ttl, protocol, 0, 0]);
            b.extend(source.octets());
            b.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            b.extend([
                0x86,
                0xdd,
                0x60 | random.random::<u8>() & 15,
                random.random(),
                random.random(),
                random.random(),
            ]);
            b.extend([0, 0, protocol, ttl]);
            b.extend(source.octets());
            b.extend(destination.octets());
            if !simple && random.random_ratio(1, 16) {
                extensions(b, random);
            }
        }
        // An address that was learned of a damaged flow.
        _ => b.extend([8, 0]),
    }
    let l4 = b.len();
    b.extend(source.port().to_be_bytes());
    b.extend(destination.port().to_be_bytes());
    let checksum_at = if let Some(Segment { flags, seq, ack }) = segment {
        let options = options(flags, ack, random);
        b.extend(seq.to_be_bytes());
        b.extend(ack.to_be_bytes());
        b.extend([0x50 + 4 * options.len() as u8, flags, 0xfa, 0, 0, 0, 0, 0]);
        b.extend(&options);
        16
    } else {
        b.extend(((8 + payload) as u16).to_be_bytes());
        b.extend([0, 0]);
        6
    };
    let byte: u8 = random.random();
    b.resize(b.len() + payload, byte);
    fix_length(b);
    frames::fix_ip(b);
    let has_none = protocol == 17 && !frames::is_v6(b) && random.random_ratio(1, 16);
    if !has_none {
        frames::fix_segment(b, l4, protocol, checksum_at);
        if protocol == 17 && b.get(l4 + 6..l4 + 8) == Some(&[0, 0]) {
            b[l4 + 6..l4 + 8].fill(0xff);
        }
    }
    if !simple && random.random_ratio(1, 8) {
        b.resize(b.len() + 6, 0);
    }
}

/// Puts IPv6 extension headers behind the fixed one: one or two of those that are allowed.
fn extensions(b: &mut Vec<u8>, random: &mut SmallRng) {
    let protocol = b[20];
    let kinds: &[u8] = [&[0][..], &[60], &[44], &[0, 60], &[0, 44], &[60, 43]][random.random_range(0..6)];
    b[20] = kinds[0];
    for (n, kind) in kinds.iter().enumerate() {
        let next = kinds.get(n + 1).copied().unwrap_or(protocol);
        // Hop-by-hop and destination options: padding; routing: of another type, at its end; fragment: all of it.
        b.extend(match kind {
            43 => [next, 0, 4, 0, 0, 0, 0, 0],
            44 => [next, 0, 0, 0, 0, 0, 0, random.random()],
            _ => [next, 0, 1, 4, 0, 0, 0, 0],
        });
    }
}

fn options(flags: u8, ack: u32, random: &mut SmallRng) -> Vec<u8> {
    match random.random_range(0..8) {
        0..4 if flags & SYN != 0 => {
            vec![2, 4, random.random::<u8>() % 8, random.random(), 1, 3, 3, random.random::<u8>() % 16]
        }
        4 if flags & SYN != 0 => vec![1, 3, 3, random.random::<u8>() % 16],
        5 if flags & ACK != 0 => {
            let edge = ack.wrapping_add(random.random_range(0..2000));
            [&[1, 1, 5, 10], &edge.to_be_bytes()[..], &edge.wrapping_add(700).to_be_bytes()].concat()
        }
        6 => vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        _ => Vec::new(),
    }
}

/// Makes the length of the IP packet that of the frame.
fn fix_length(b: &mut [u8]) {
    if frames::is_v6(b) && b.len() >= 54 {
        let length = (b.len() - 54) as u16;
        b[18..20].copy_from_slice(&length.to_be_bytes());
    } else if b.len() >= 34 {
        let length = (b.len() - 14) as u16;
        b[16..18].copy_from_slice(&length.to_be_bytes());
    }
}

/// The frame in fragments, in any order, sometimes with one twice, one too few, or one with other bytes.
pub fn fragments(frame: &[u8], random: &mut SmallRng) -> Vec<Vec<u8>> {
    let mut starts = vec![8 * random.random_range(3..20)];
    for n in 0..random.random_range(0..5) {
        starts.push(starts[n] + 8 * random.random_range(1..40));
    }
    let mut pieces = frames::fragments(frame, random.random::<u16>() % 512, &starts);
    for _ in 0..pieces.len() {
        let (a, b) = (random.random_range(0..pieces.len()), random.random_range(0..pieces.len()));
        pieces.swap(a, b);
    }
    let at = random.random_range(0..pieces.len());
    match random.random_range(0..16) {
        0 => pieces.push(pieces[at].clone()),
        1 if pieces.len() > 1 => drop(pieces.remove(at)),
        2 => {
            let mut other = pieces[at].clone();
            if let Some(last) = other.last_mut() {
                *last ^= 1;
            }
            pieces.push(other);
        }
        3 => {
            let to = random.random_range(8..frame.len().max(9));
            let from = random.random_range(0..to) & !7;
            let l4 = if frames::is_v6(frame) { 54 } else { 34 };
            if l4 + to <= frame.len() && from < to {
                pieces.push(frames::fragment(frame, random.random::<u16>() % 512, from, to, random.random()));
            }
        }
        _ => {}
    }
    pieces
}

/// Changes a good frame a little, or cuts it anywhere. Mostly the IP checksum is made right again, so that the change gets
/// further than that.
pub fn mutate(b: &mut Vec<u8>, random: &mut SmallRng) {
    let is_v6 = frames::is_v6(b);
    let l4 = checks::layers(b).map_or(34, |layers| layers.l4);
    for _ in 0..random.random_range(1..4) {
        let len = b.len().max(1);
        let byte: u8 = random.random();
        let at = random.random_range(0..len.min(128));
        match random.random_range(0..14) {
            0 | 1 if at < b.len() => b[at] ^= 1 << (byte & 7),
            2 if at < b.len() => b[at] = byte,
            3 => b.truncate(random.random_range(0..len)),
            4 => b.resize(len + usize::from(byte), byte),
            // Lengths: IP, header, TCP, UDP.
            5 if b.len() > 19 => b[if is_v6 { 19 } else { 17 }] = byte,
            6 if b.len() > 19 => b[if is_v6 { 18 } else { 16 }] = byte & 7,
            7 if b.len() > 14 => b[14] = if is_v6 { 0x60 } else { 0x40 } | byte & 15,
            8 if b.len() > l4 + 12 => b[l4 + 12] = byte,
            9 if b.len() > l4 + 5 => (b[l4 + 4], b[l4 + 5]) = (byte & 1, random.random()),
            // Flags, fragments, options, extension headers.
            10 if b.len() > l4 + 13 => b[l4 + 13] = byte,
            11 if b.len() > l4 + 24 => {
                b[l4 + 12] = 0x60 | byte & 0x90;
                b[l4 + 20..l4 + 24].copy_from_slice(&random.random::<[u8; 4]>());
            }
            12 if is_v6 && b.len() > 62 => {
                b[20] = [0, 43, 44, 58, 60, 59, 6, 17][usize::from(byte) % 8];
                b[54..58].copy_from_slice(&random.random::<[u8; 4]>());
                b[55] &= 3;
            }
            13 if b.len() > l4 => {
                // The whole segment anew, with what is wrong in it.
                let protocol = if is_v6 { b[20] } else { b[23] };
                frames::fix_segment(b, l4, protocol, if protocol == 17 { 6 } else { 16 });
            }
            _ if b.len() > 22 && !is_v6 => (b[20], b[21], b[22]) = (byte, random.random(), random.random()),
            _ => {}
        }
    }
    if random.random_ratio(7, 8) {
        frames::fix_ip(b);
    }
}

/// Random bytes, or such behind good Ethernet and IP headers.
pub fn noise(frame: &mut NotedFrame, random: &mut SmallRng) {
    frame.port = random.random::<u8>() % 3;
    let len = random.random_range(0..200);
    let b = &mut frame.bytes;
    b.clear();
    b.extend((0..len).map(|_| random.random::<u8>()));
    if len > 14 && random.random_ratio(3, 4) {
        b[0..6].copy_from_slice(PORTS.get(usize::from(frame.port)).unwrap_or(&[0xff; 6]));
        let is_v6 = random.random();
        b[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[8, 0] });
        if len > 54 && random.random() {
            b[14] = if is_v6 { 0x60 } else { 0x45 };
            if !is_v6 {
                b[20..22].fill(0);
            } else if random.random() {
                b[20] = [0, 6, 17, 43, 44, 58, 60][random.random_range(0..7)];
            }
            fix_length(b);
            frames::fix_ip(b);
        }
    }
}

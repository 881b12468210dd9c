//! Seeds: inputs that say something sensible, for every target. `LEAT_WRITE_SEEDS=1 cargo test -p leat-core --test targets`
//! writes them.

use super::frames;
use crate::common::*;

/// The seeds of a target, by name.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |(n, bytes): (usize, Vec<u8>)| (format!("{n:03}"), bytes);
    let all = match target {
        "parse" => frames_of_all_kinds(),
        _ => scripts(),
    };
    all.into_iter().enumerate().map(named).collect()
}

fn frames_of_all_kinds() -> Vec<Vec<u8>> {
    let mut all = vec![packet::arp(ROUTER_MAC), packet::neighbour_solicitation(ROUTER_MAC)];
    for (client, vip) in [(CLIENT, WEB), (CLIENT_6, WEB_6)] {
        let macs = (ROUTER_MAC, PORTS[0]);
        let syn = Packet::tcp(client, vip, SYN, 1, 0).macs(macs.0, macs.1);
        let syn = syn.options(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
        let segment = Packet::tcp(client, vip, ACK | PSH, 1, 1).macs(macs.0, macs.1).payload(b"payload");
        let datagram = Packet::udp(client, vip, &[7; 400]).macs(macs.0, macs.1);
        let echo = Packet::icmp(client, vip, if client.is_ipv6() { 128 } else { 8 }, 0).macs(macs.0, macs.1);
        let mut later = frames::fragments(&datagram.bytes(), 7, &[128, 256]);
        for kind in 1..=4 {
            let kind = if client.is_ipv6() { kind } else { 3 };
            all.push(frames::icmp_error(&segment.bytes(), PORTS[0], (kind, 4), 1280, 100));
        }
        all.extend([&syn, &segment, &datagram, &echo].map(Packet::bytes));
        all.push(Packet { padding: 6, ..segment.clone() }.bytes());
        all.append(&mut later);
        all.extend(frames::fragments(&segment.payload(&[1; 300]).bytes(), 9, &[64]));
        if client.is_ipv6() {
            let options = (0, vec![0, 1, 4, 0, 0, 0, 0]);
            let (routing, destination) =
                ((43, vec![0, 4, 0, 0, 0, 0, 0]), (60, vec![1; 1].into_iter().chain([0; 14]).collect()));
            let whole = (44, vec![0, 0, 0, 0, 0, 0, 7]);
            for extensions in [vec![options.clone()], vec![options, routing, destination], vec![whole]] {
                all.push(Packet { extensions, ..datagram.clone() }.bytes());
            }
        } else {
            all.push(Packet { l4: packet::L4::Udp { checksum: false }, ..datagram }.bytes());
        }
    }
    all
}

/// Steps that are good for each of the flows. The first four kinds of step are what a target is about.
fn scripts() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for flow in 0..8u8 {
        for kind in 0..4u8 {
            // Both sides send something of each length, whole or in fragments in two orders, with errors about it; then closing, a reset,
            // numbers that are off; then options: as in SYNs, a segment size, SACK.
            let say = |how: u8, more: &[u8]| [&[kind, flow, how], more].concat();
            let whole =
                [say(0x10, &[100, 0, 0, 0]), say(0x11, &[100, 0, 0, 0]), say(0x10, &[100, 3, 8, 1, 0])].concat();
            let long = [say(0x30, &[2, 4, 8, 1, 0]), say(0x31, &[3, 9, 20, 40, 2, 1, 0])].concat();
            let close = [say(0x06, &[0, 0]), say(0x07, &[0, 0]), say(0x00, &[0, 0]), say(0x08, &[0; 8])].concat();
            let off = [say(0xc0, &[9, 0, 1, 0, 3, 4, 1, 2, 3, 4]), say(0x41, &[0xff, 0xff, 0, 0])].concat();
            let syn = [say(0x84, &[0, 0]), say(0x85, &[1, 4, 0])].concat();
            let selective = say(0x81, &[2, 2, 1, 0, 9, 0, 100, 0, 140, 0]);
            all.push([syn, whole, long, selective, off, close].concat());
        }
        // Mangled, raw, time, a crash, targets in other states.
        let raw =
            [&[6, flow, 0, 60][..], &PORTS[0], &ROUTER_MAC, &[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17], &[0; 36]]
                .concat();
        all.push([&[5, flow, 0x10, 50, 0x02, 20, 1, 60, 2, 5, flow, 0x11, 50, 0x0c, 80, 0, 10], &raw[..]].concat());
        all.push(
            (0..6).flat_map(|change| [7, flow, change, flow, 4, flow, 0, 0, 4, flow, 1, 0, 3, flow, 0, 8]).collect(),
        );
    }
    all
}

//! What goes to Linux: unchanged.

use std::net::SocketAddr;

use leat_core::Verdict;

use crate::common::errors::{Error, quoted};
use crate::common::packet::{L4, arp};
use crate::common::*;

#[track_caller]
fn punted(h: &mut Harness, frame: &[u8]) {
    h.moved();
    let out = h.feed_bytes(0, CLIENT_SIDE, frame);
    assert_eq!(out.verdict, Verdict::Punt { port: CLIENT_SIDE });
    assert_eq!(out.bytes, frame);
    rx(frame.len()).and("punted_packets", 1).is(&h.moved());
}

fn to(ip: std::net::IpAddr, port: u16) -> Packet {
    Packet::tcp(CLIENT, SocketAddr::new(ip, port), SYN, 1, 0).macs(ROUTER_MAC, PORTS[0])
}

/// ARP, asked of all or answered to us. req: ZN-01
#[test]
fn arp_is_punted() {
    let mut h = Harness::default();
    punted(&mut h, &arp(ROUTER_MAC));
    let mut answer = arp(ROUTER_MAC);
    answer[0..6].copy_from_slice(&PORTS[0]);
    punted(&mut h, &answer);
    answer[0..6].copy_from_slice(&PORTS[1]);
    assert!(h.feed_bytes(0, CLIENT_SIDE, &answer).is_dropped(leat_abi::DropReason::ForeignMac));
}

/// A storm of ARP leaves room for other traffic to Linux. req: S13.7
#[test]
fn arp_is_limited_apart_from_the_rest() {
    let mut h = Harness::default();
    let punts = (0..300).filter(|_| {
        let out = h.feed_bytes(0, CLIENT_SIDE, &arp(ROUTER_MAC));
        matches!(out.verdict, Verdict::Punt { .. })
    });
    assert_eq!(punts.count(), 200);
    assert_eq!(h.moved()["drop.punt_rate"], 100);
    punted(&mut h, &to(HOST, 22).bytes());
}

/// Everything to the host's own address: TCP, UDP, ICMP, other protocols, fragments, options.
#[test]
fn the_hosts_own_traffic() {
    let mut h = Harness::default();
    punted(&mut h, &to(HOST, 22).bytes());
    punted(&mut h, &Packet::udp(CLIENT, SocketAddr::new(HOST, 53), b"x").macs(ROUTER_MAC, PORTS[0]).bytes());
    punted(&mut h, &Packet::icmp(CLIENT, SocketAddr::new(HOST, 0), 8, 0).macs(ROUTER_MAC, PORTS[0]).bytes());
    punted(&mut h, &Packet { l4: L4::Other { protocol: 89 }, ..to(HOST, 0) }.bytes());
    punted(&mut h, &Packet { ttl: 1, ..to(HOST, 179) }.bytes());
}

/// A node is not pinged. req: LSN-06, S11.1
#[test]
fn echo_to_a_node() {
    let mut h = Harness::default();
    for kind in [0, 4, 5, 8, 11, 12, 13] {
        h.feed(CLIENT_SIDE, &Packet::icmp(CLIENT, WEB, kind, 0).macs(ROUTER_MAC, PORTS[0]));
        rx(74).dropped("icmp").is(&h.moved());
    }
}

/// "Unreachable" to a node is Linux' business: health checks may have provoked it. req: LSN-08, S11.8
#[test]
fn unreachable_to_a_node() {
    let mut h = Harness::default();
    for code in [1, 3, 4] {
        let check = Packet::tcp(SocketAddr::new(NODE, 5000), target(1), SYN, 1, 0);
        punted(&mut h, &Error::new(CLIENT.ip(), (3, code), &quoted(&check, 1)).bytes());
    }
    h.moved();
    let elsewhere = SocketAddr::new([203, 0, 113, 9].into(), 0);
    let error = Error::new(CLIENT.ip(), (3, 1), &quoted(&Packet::tcp(elsewhere, target(1), SYN, 1, 0), 1)).bytes();
    h.feed_bytes(0, CLIENT_SIDE, &error);
    rx(error.len()).dropped("icmp_no_flow").is(&h.moved());
}

/// Answers to health checks: TCP to the node's own ports, whether of a target or of its router. req: HC-28, SEC-04, S9.1
#[test]
fn health_check_answers() {
    let mut h = Harness::default();
    for port in [1024, 5000, 9999] {
        for flags in [SYN | ACK, ACK, RST | ACK, FIN | ACK] {
            let node = SocketAddr::new(NODE, port);
            let answer = Packet::tcp(target(1), node, flags, 1, 2).macs(target_mac(1), PORTS[0]);
            punted(&mut h, &answer.bytes());
        }
    }
    let health_port = SocketAddr::new(target(1).ip(), 9000);
    let node = SocketAddr::new(NODE, 2000);
    punted(&mut h, &Packet::tcp(health_port, node, SYN | ACK, 1, 2).macs(target_mac(1), PORTS[0]).bytes());
}

/// Beyond those ports nothing reaches Linux. req: LSN-06
#[test]
fn other_ports_of_a_node() {
    let mut h = Harness::default();
    for port in [1, 1023, 10_000, 64_999, 65_000, 65_535] {
        h.feed(CLIENT_SIDE, &to(NODE, port));
        rx(54).dropped("no_listener").is(&h.moved());
    }
    let udp = Packet::udp(CLIENT, SocketAddr::new(NODE, 5000), b"x").macs(ROUTER_MAC, PORTS[0]);
    h.feed(CLIENT_SIDE, &udp);
    rx(43).dropped("no_listener").is(&h.moved());
}

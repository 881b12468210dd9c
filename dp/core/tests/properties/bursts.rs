//! A burst does what its packets do alone: nothing of what is found out ahead for all of them changes what becomes of one.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use crate::common::*;

const NODES: [SocketAddr; 18] = [
    WEB,
    DIRECT,
    DNS,
    LOG,
    DIRECT_2,
    EMPTY,
    EMPTY_UDP,
    WEB_6,
    DIRECT_6,
    DNS_6,
    LOG_6,
    TCP_6_TO_4,
    UDP_6_TO_4,
    TCP_4_TO_6,
    UDP_4_TO_6,
    EMPTY_6,
    // No listeners.
    SocketAddr::new(NODE, 9),
    SocketAddr::new(HOST, 22),
];

/// Ordinary clients, few enough to come again; targets, and the appliance itself.
fn client() -> impl Strategy<Value = (u8, u16)> {
    (prop_oneof![4 => 0..6u8, 1 => 11..19u8], prop_oneof![3 => 2000..2004u16, 1 => Just(8080)])
}

fn packet(((host, port), node, kind, ttl): ((u8, u16), usize, u8, bool)) -> Vec<u8> {
    let node = NODES[node];
    let ip: IpAddr = match (host, node.is_ipv6()) {
        (5, false) => NODE_2,
        (5, true) => HOST_6,
        (0..5, false) => [198, 51, 100, host].into(),
        (0..5, true) => [0x2001, 0xdb8, 7, 0, 0, 0, 0, u16::from(host)].into(),
        (_, false) => [10, 2, 0, host].into(),
        (_, true) => [0x2001, 0xdb8, 2, 0, 0, 0, 0, u16::from(host)].into(),
    };
    let client = SocketAddr::new(ip, port);
    let packet = match kind {
        0..5 => Packet::tcp(client, node, SYN, u32::from(kind) / 2, 0),
        5 => Packet::tcp(client, node, ACK, 1, 1),
        6 => Packet::tcp(client, node, RST, 1, 0),
        7 => Packet::tcp(client, node, SYN | ACK, 1, 1),
        _ => Packet::udp(client, node, b"question"),
    };
    packet.ttl(if ttl { 64 } else { 1 }).macs(ROUTER_MAC, PORTS[0]).bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Verdicts, frames, counters and flows are the same, in a table with room and in one without. req: I1, S13.3
    #[test]
    fn a_burst_equals_its_packets_alone(
        flows in prop_oneof![Just(8usize), Just(256)],
        sticky: bool,
        bursts in prop::collection::vec(
            prop::collection::vec((client(), 0..NODES.len(), 0..13u8, prop::bool::weighted(0.95)), 1..=32),
            1..5,
        ),
    ) {
        let mut together = Harness::new(1, flows);
        let mut alone = Harness::new(1, flows);
        for h in [&mut together, &mut alone] {
            h.world.groups[0].sticky = sticky;
            h.publish();
        }
        for burst in bursts {
            let frames: Vec<Vec<u8>> = burst.into_iter().map(packet).collect();
            let outs = together.burst(0, CLIENT_SIDE, &frames);
            let expected: Vec<_> = frames.iter().map(|frame| alone.feed_bytes(0, CLIENT_SIDE, frame)).collect();
            prop_assert_eq!(outs, expected);
            prop_assert_eq!(together.flows(), alone.flows());
            together.pass(700);
            alone.pass(700);
        }
        prop_assert_eq!(together.moved(), alone.moved());
        together.check_flows();
    }
}

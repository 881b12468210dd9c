//! Any packet of any flow: what leaves is what etherparse says it should be.

use std::net::{Ipv4Addr, SocketAddr};

use leat_abi::snapshot::NextHop;
use proptest::prelude::*;

use crate::common::packet::L4;
use crate::common::*;

/// Addresses of all bit patterns, those with all-zero and all-one halves above all.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    let half = || prop_oneof![Just(0u16), Just(0xffff), any::<u16>()];
    (1u8..=223, any::<u8>(), half(), half()).prop_filter_map("no source", |(a, b, high, low)| {
        let address = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
        let [first, ..] = address.octets();
        let usable = (1..224).contains(&first) && first != 127;
        Some(if usable { address } else { Ipv4Addr::from([if a == 127 { 128 } else { a }, b, low as u8, high as u8]) })
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(1), Just(0xffff), 1..=u16::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Both modes, both protocols, both ways. req: R29, S18.1, S18.5
    #[test]
    fn any_addresses_and_payload(
        client in address(), client_port in port(),
        node in address(), listener_port in port(),
        target in address(), target_port in port(),
        preserve: bool, udp: bool,
        ttl in 2u8.., tos: u8, id: u16,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        padding in 0..20usize,
        isn: u32,
    ) {
        prop_assume!(client != node && client != target && node != target);
        let (client, node) = (SocketAddr::new(client.into(), client_port), SocketAddr::new(node.into(), listener_port));
        let target = SocketAddr::new(target.into(), target_port);
        let mut h = Harness::new(1, 8);
        let mac = [2, 3, 4, 5, 6, 7];
        h.world.locals.clear();
        h.world.groups[0].preserve_client_ip = preserve;
        h.world.groups[0].table = vec![0];
        h.world.targets.truncate(1);
        h.world.targets[0].address = target.ip();
        h.world.targets[0].port = target.port();
        h.world.targets[0].next_hop = Some(NextHop { port: 1, mac });
        h.world.listeners.truncate(1);
        h.world.groups.truncate(1);
        let listener = &mut h.world.listeners[0];
        (listener.vip, listener.port) = (node.ip(), node.port());
        listener.sources = vec![node.ip()];
        listener.protocol = if udp { 17 } else { 6 };
        h.publish();

        let make = |from, to, flags, seq, ack, macs: ([u8; 6], [u8; 6])| {
            let l4 = Packet::tcp(from, to, flags, seq, ack).l4;
            let l4 = if udp { L4::Udp { checksum: true } } else { l4 };
            let packet = Packet { l4, ttl, tos, id, padding, ..Packet::tcp(from, to, 0, 0, 0) };
            packet.macs(macs.0, macs.1).payload(&payload)
        };
        let opening = make(client, node, SYN, isn, 0, (ROUTER_MAC, PORTS[0]));
        let (port, got) = h.feed(CLIENT_SIDE, &opening).forwarded();
        prop_assert_eq!(port, TARGET_SIDE);
        let nat = if preserve { client } else { SocketAddr::new(node.ip(), got.source.port()) };
        prop_assert_eq!(got, opening.forwarded((PORTS[1], mac), nat, target));

        let answer = make(target, nat, SYN | ACK, !isn, opening.seq_end(), (mac, PORTS[1]));
        let out = h.feed(TARGET_SIDE, &answer);
        prop_assert_eq!(out.bytes, answer.forwarded((PORTS[0], ROUTER_MAC), node, client).bytes());

        let next = make(client, node, ACK, opening.seq_end(), answer.seq_end(), (ROUTER_MAC, PORTS[0]));
        let out = h.feed(CLIENT_SIDE, &next);
        prop_assert_eq!(out.bytes, next.forwarded((PORTS[1], mac), nat, target).bytes());
        h.check_flows();
    }
}

//! The network of the tests: one client-side port, one target-side port, two nodes, sixteen listeners, sixteen targets, of IPv4 and of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use leat_abi::Snapshot;
use leat_abi::flow::protocol::{TCP, UDP};
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Target, TargetState};
use leat_core::PortInfo;

/// The ports: clients and the router to them are at the first, targets at the second.
pub const PORTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// Their MTU.
pub const MTU: u16 = 1500;
/// The key of all segments here.
pub const OWNER_KEY: u64 = 0x5eed;
pub const CLIENT_SIDE: u8 = 0;
pub const TARGET_SIDE: u8 = 1;
/// The router that clients are behind.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];

pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
pub const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 10));
pub const NODE_2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 11));
pub const HOST_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2));
pub const NODE_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));
pub const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 40_001);
pub const CLIENT_6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0x1234, 0x5678, 0x9abc, 0xdef0, 7)), 40_001);

/// TCP, full NAT; listener slot 0, targets 0–3.
pub const WEB: SocketAddr = SocketAddr::new(NODE, 80);
/// TCP, client address preserved; listener slot 1, targets 0–3.
pub const DIRECT: SocketAddr = SocketAddr::new(NODE, 443);
/// UDP, client address preserved; listener slot 2, targets 4–7.
pub const DNS: SocketAddr = SocketAddr::new(NODE, 53);
/// UDP, full NAT; listener slot 3, targets 4–7.
pub const LOG: SocketAddr = SocketAddr::new(NODE, 514);
/// As [`DIRECT`], on the other node; listener slot 4.
pub const DIRECT_2: SocketAddr = SocketAddr::new(NODE_2, 443);
/// TCP, without a target; listener slot 5.
pub const EMPTY: SocketAddr = SocketAddr::new(NODE, 81);
/// UDP, without a target; listener slot 6.
pub const EMPTY_UDP: SocketAddr = SocketAddr::new(NODE, 82);
/// As [`WEB`], [`DIRECT`], [`DNS`] and [`LOG`], with IPv6 on both sides; listener slots 7–10, targets 8–11 and 12–15.
pub const WEB_6: SocketAddr = SocketAddr::new(NODE_6, 80);
pub const DIRECT_6: SocketAddr = SocketAddr::new(NODE_6, 443);
pub const DNS_6: SocketAddr = SocketAddr::new(NODE_6, 53);
pub const LOG_6: SocketAddr = SocketAddr::new(NODE_6, 514);
/// IPv6 clients of IPv4 targets in groups that preserve the client's address where that can be; listener slots 11 (TCP, targets
/// 0–3) and 12 (UDP, targets 4–7).
pub const TCP_6_TO_4: SocketAddr = SocketAddr::new(NODE_6, 8081);
pub const UDP_6_TO_4: SocketAddr = SocketAddr::new(NODE_6, 8082);
/// IPv4 clients of IPv6 targets, likewise; listener slots 13 (TCP, targets 8–11) and 14 (UDP, targets 12–15).
pub const TCP_4_TO_6: SocketAddr = SocketAddr::new(NODE, 8081);
pub const UDP_4_TO_6: SocketAddr = SocketAddr::new(NODE, 8082);
/// IPv6, TCP, without a target; listener slot 15.
pub const EMPTY_6: SocketAddr = SocketAddr::new(NODE_6, 81);

/// Slots per group: TCP targets, UDP targets.
pub const TCP_TARGETS: [u16; 4] = [0, 1, 2, 3];
pub const UDP_TARGETS: [u16; 4] = [4, 5, 6, 7];
pub const TCP_TARGETS_6: [u16; 4] = [8, 9, 10, 11];
pub const UDP_TARGETS_6: [u16; 4] = [12, 13, 14, 15];

/// The socket of the target in a slot: IPv6 from 8 on.
pub fn target(slot: u16) -> SocketAddr {
    let ip = if slot < 8 {
        IpAddr::from([10, 2, 0, 11 + slot as u8])
    } else {
        IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 11 + slot])
    };
    SocketAddr::new(ip, 8080)
}

/// The MAC of the target in a slot.
pub fn target_mac(slot: u16) -> [u8; 6] {
    [2, 0, 0, 0, 8, slot as u8]
}

/// The slot of a target's socket.
pub fn slot_of(socket: SocketAddr) -> u16 {
    (0..16).find(|slot| target(*slot) == socket).expect("a target")
}

/// A table that names the slots equally often.
pub fn table(slots: &[u16]) -> Vec<u16> {
    (0..997 * usize::from(!slots.is_empty())).map(|i| slots[i % slots.len()]).collect()
}

/// The configuration that tests begin with.
pub fn snapshot() -> Snapshot {
    let local = |address: IpAddr, kind| Local { address, kind, port: CLIENT_SIDE };
    let between = |slot, socket: SocketAddr, protocol, group, source| Listener {
        slot,
        vip: socket.ip(),
        port: socket.port(),
        protocol,
        node: 0,
        group,
        sources: vec![source],
    };
    let listener = |slot, socket: SocketAddr, protocol, group| between(slot, socket, protocol, group, socket.ip());
    let group =
        |preserve_client_ip, slots: &[u16]| Group { preserve_client_ip, table: table(slots), ..Group::default() };
    Snapshot {
        generation: 1,
        selection_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        locals: vec![
            local(HOST, LocalKind::Host),
            local(NODE, LocalKind::Node),
            local(NODE_2, LocalKind::Node),
            local(HOST_6, LocalKind::Host),
            local(NODE_6, LocalKind::Node),
        ],
        listeners: vec![
            listener(0, WEB, TCP, 0),
            listener(1, DIRECT, TCP, 1),
            listener(2, DNS, UDP, 2),
            listener(3, LOG, UDP, 3),
            listener(4, DIRECT_2, TCP, 1),
            listener(5, EMPTY, TCP, 4),
            listener(6, EMPTY_UDP, UDP, 4),
            listener(7, WEB_6, TCP, 5),
            listener(8, DIRECT_6, TCP, 6),
            listener(9, DNS_6, UDP, 7),
            listener(10, LOG_6, UDP, 8),
            between(11, TCP_6_TO_4, TCP, 1, NODE),
            between(12, UDP_6_TO_4, UDP, 2, NODE),
            between(13, TCP_4_TO_6, TCP, 6, NODE_6),
            between(14, UDP_4_TO_6, UDP, 7, NODE_6),
            listener(15, EMPTY_6, TCP, 4),
        ],
        groups: vec![
            group(false, &TCP_TARGETS),
            group(true, &TCP_TARGETS),
            group(true, &UDP_TARGETS),
            group(false, &UDP_TARGETS),
            group(true, &[]),
            group(false, &TCP_TARGETS_6),
            group(true, &TCP_TARGETS_6),
            group(true, &UDP_TARGETS_6),
            group(false, &UDP_TARGETS_6),
        ],
        targets: (0..16)
            .map(|slot| Target {
                slot,
                generation: 0,
                state: TargetState::Active,
                address: target(slot).ip(),
                port: target(slot).port(),
                next_hop: Some(NextHop { port: TARGET_SIDE, mac: target_mac(slot) }),
                unhealthy_at: 0,
            })
            .collect(),
        ..Snapshot::default()
    }
}

/// The ports as the pipeline knows them.
pub fn ports() -> [PortInfo; 2] {
    PORTS.map(|mac| PortInfo { mac, mtu: MTU })
}

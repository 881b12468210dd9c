//! The network of the tests: one client-side port, one target-side port, two nodes, seven listeners, eight targets.

use std::net::{Ipv4Addr, SocketAddrV4};

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

pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub const NODE_2: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
pub const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 40_001);

/// TCP, full NAT; listener slot 0, targets 0–3.
pub const WEB: SocketAddrV4 = SocketAddrV4::new(NODE, 80);
/// TCP, client address preserved; listener slot 1, targets 0–3.
pub const DIRECT: SocketAddrV4 = SocketAddrV4::new(NODE, 443);
/// UDP, client address preserved; listener slot 2, targets 4–7.
pub const DNS: SocketAddrV4 = SocketAddrV4::new(NODE, 53);
/// UDP, full NAT; listener slot 3, targets 4–7.
pub const LOG: SocketAddrV4 = SocketAddrV4::new(NODE, 514);
/// As [`DIRECT`], on the other node; listener slot 4.
pub const DIRECT_2: SocketAddrV4 = SocketAddrV4::new(NODE_2, 443);
/// TCP, without a target; listener slot 5.
pub const EMPTY: SocketAddrV4 = SocketAddrV4::new(NODE, 81);
/// UDP, without a target; listener slot 6.
pub const EMPTY_UDP: SocketAddrV4 = SocketAddrV4::new(NODE, 82);

/// Slots per group: TCP targets, UDP targets.
pub const TCP_TARGETS: [u16; 4] = [0, 1, 2, 3];
pub const UDP_TARGETS: [u16; 4] = [4, 5, 6, 7];

/// The socket of the target in a slot.
pub fn target(slot: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 11 + slot as u8), 8080)
}

/// The MAC of the target in a slot.
pub fn target_mac(slot: u16) -> [u8; 6] {
    [2, 0, 0, 0, 8, slot as u8]
}

/// The slot of a target's socket.
pub fn slot_of(socket: SocketAddrV4) -> u16 {
    let slot = u16::from(socket.ip().octets()[3]) - 11;
    assert_eq!(target(slot), socket, "not a target");
    slot
}

/// A table that names the slots equally often.
pub fn table(slots: &[u16]) -> Vec<u16> {
    (0..997 * usize::from(!slots.is_empty())).map(|i| slots[i % slots.len()]).collect()
}

/// The configuration that tests begin with.
pub fn snapshot() -> Snapshot {
    let node = |address: Ipv4Addr| Local { address: address.into(), kind: LocalKind::Node, port: CLIENT_SIDE };
    let listener = |slot, socket: SocketAddrV4, protocol, group| Listener {
        slot,
        vip: (*socket.ip()).into(),
        port: socket.port(),
        protocol,
        group,
        sources: vec![(*socket.ip()).into()],
    };
    let group =
        |preserve_client_ip, slots: &[u16]| Group { preserve_client_ip, table: table(slots), ..Group::default() };
    Snapshot {
        generation: 1,
        selection_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        locals: vec![
            Local { address: HOST.into(), kind: LocalKind::Host, port: CLIENT_SIDE },
            node(NODE),
            node(NODE_2),
        ],
        listeners: vec![
            listener(0, WEB, TCP, 0),
            listener(1, DIRECT, TCP, 1),
            listener(2, DNS, UDP, 2),
            listener(3, LOG, UDP, 3),
            listener(4, DIRECT_2, TCP, 1),
            listener(5, EMPTY, TCP, 4),
            listener(6, EMPTY_UDP, UDP, 4),
        ],
        groups: vec![
            group(false, &TCP_TARGETS),
            group(true, &TCP_TARGETS),
            group(true, &UDP_TARGETS),
            group(false, &UDP_TARGETS),
            group(true, &[]),
        ],
        targets: (0..8)
            .map(|slot| Target {
                slot,
                generation: 0,
                state: TargetState::Active,
                address: (*target(slot).ip()).into(),
                port: target(slot).port(),
                next_hop: Some(NextHop { port: TARGET_SIDE, mac: target_mac(slot) }),
            })
            .collect(),
        ..Snapshot::default()
    }
}

/// The ports as the pipeline knows them.
pub fn ports() -> [PortInfo; 2] {
    PORTS.map(|mac| PortInfo { mac, mtu: MTU })
}

//! IPv6 through the real process: the kernel on the TAP twin answers for the node's addresses, and the kernel of another network
//! namespace is client and target, with the one kind of address and with the other.

#[allow(dead_code)]
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use common::{Bed, assert_conserved, wait_until};
use leat_abi::flow::protocol;
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Snapshot, Target, TargetState};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const NODE: &str = "10.9.0.10";
const NODE_6: &str = "2001:db8:9::10";
const HOST_6: &str = "2001:db8:9::2";
const PEER: &str = "10.9.0.1";
const PEER_6: &str = "2001:db8:9::1";
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 99];
/// After so long something is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does something in a namespace.
fn within<T: Send + 'static>(bed: &Bed, what: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/run/netns/{}", bed.namespace)).expect("the namespace");
    let done = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("into the namespace");
        what()
    });
    done.join().expect("done")
}

fn udp(bed: &Bed, ip: &str, port: u16) -> UdpSocket {
    let address = at(ip, port);
    let socket = within(bed, move || UdpSocket::bind(address).expect("a socket"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    socket
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Listeners at ports 1 (to the IPv4 target) and 2 (to the IPv6 one) of both nodes' addresses, for TCP and UDP.
fn snapshot() -> Snapshot {
    let ip = |ip: &str| ip.parse::<IpAddr>().expect("an address");
    let node = |address, kind| Local { address: ip(address), kind, port: 0 };
    let target = |slot, address, port| Target {
        slot,
        generation: 0,
        state: TargetState::Active,
        address: ip(address),
        port,
        next_hop: Some(NextHop { port: 0, mac: PEER_MAC }),
        unhealthy_at: 0,
    };
    let listener = |slot: u16| Listener {
        slot,
        vip: ip(if slot & 1 == 0 { NODE } else { NODE_6 }),
        port: 1 + (slot >> 1 & 1),
        protocol: if slot & 4 == 0 { protocol::TCP } else { protocol::UDP },
        node: 0,
        group: slot >> 1 & 1,
        sources: vec![ip(if slot & 2 == 0 { NODE } else { NODE_6 })],
    };
    let group = |slot: u16| Group { table: vec![slot; 7], ..Group::default() };
    Snapshot {
        generation: 1,
        selection_key: [1, 2],
        locals: vec![node(NODE, LocalKind::Node), node(NODE_6, LocalKind::Node), node(HOST_6, LocalKind::Host)],
        listeners: (0..8).map(listener).collect(),
        groups: vec![group(0), group(1)],
        targets: vec![target(0, PEER, 5353), target(1, PEER_6, 5353)],
        ..Snapshot::default()
    }
}

/// Sends so much there and back over a new connection.
fn transfer(peer: &Bed, to: SocketAddr, listener: &TcpListener, source: IpAddr) {
    const LENGTH: usize = 300_000;
    let data = |first: u8| (0..LENGTH).map(|n| (n / 3) as u8 ^ first).collect::<Vec<u8>>();
    let connect = move || {
        let mut stream = TcpStream::connect(to).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut reader = stream.try_clone().expect("another handle");
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).map(|_| got)
        });
        stream.write_all(&data(1)).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("closed");
        reading.join().expect("read").expect("all of it")
    };
    let server = listener.try_clone().expect("another handle");
    let serving = std::thread::spawn(move || {
        let (mut stream, from) = server.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("all of it");
        stream.write_all(&data(2)).expect("sent");
        (got, from)
    });
    let got = within(peer, connect);
    let (at_server, from) = serving.join().expect("served");
    assert!(got == data(2) && at_server == data(1), "what arrived is not what was sent");
    assert_eq!(from.ip(), source);
}

/// Neighbours find the node's and the host's IPv6 addresses; TCP and UDP get from either kind of address to either, whole, with the
/// node's address of the target's kind as source, and Linux has its own. req: IPT-01, IPT-07, IPT-08, S17.1, S17.2
#[test]
fn both_kinds_of_address() {
    let (Some(bed), Some(peer)) = (Bed::new(), Bed::new()) else { return };
    bed.ip("link add dp0 type veth peer name peer0 address 02:00:00:00:00:63");
    bed.run("ethtool -K peer0 tx off");
    bed.ip(&format!("link set peer0 netns {}", peer.namespace));
    bed.ip("link set dp0 up");
    peer.ip("link set peer0 up");
    peer.ip(&format!("addr add {PEER}/24 dev peer0"));
    peer.ip(&format!("addr add {PEER_6}/64 dev peer0 nodad"));

    let mut process = bed.start("--port p0=net_af_packet0,iface=dp0 --lcores 0,1 --idle-backoff");
    let mut segment = process.attach();
    bed.ip("link set leat-p0 up");
    bed.ip(&format!("addr add {NODE}/24 dev leat-p0"));
    for address in [NODE_6, HOST_6] {
        bed.ip(&format!("addr add {address}/64 dev leat-p0 nodad"));
    }
    assert!(!bed.ip("-6 addr show dev dp0").contains("inet6"), "the kernel is away from the interface beneath");
    segment.publish(&snapshot()).expect("published");
    wait_until("the snapshot", || segment.acknowledged_generation() == 1);

    // The host's own address, over the twin: neighbour discovery both ways.
    let (host, stranger) = (udp(&bed, HOST_6, 7000), udp(&peer, PEER_6, 7001));
    let mut buffer = [0; 2000];
    stranger.send_to(b"anybody?", at(HOST_6, 7000)).expect("sent");
    let (length, from) = host.recv_from(&mut buffer).expect("at the host");
    assert_eq!((&buffer[..length], from), (&b"anybody?"[..], at(PEER_6, 7001)));
    host.send_to(b"yes", from).expect("answered");
    let (length, from) = stranger.recv_from(&mut buffer).expect("an answer");
    assert_eq!((&buffer[..length], from), (&b"yes"[..], at(HOST_6, 7000)));

    let servers = [PEER, PEER_6].map(|ip| {
        let address = at(ip, 5353);
        (within(&peer, move || TcpListener::bind(address).expect("a listener")), udp(&peer, ip, 5353))
    });
    for (client, node) in [(PEER, NODE), (PEER_6, NODE_6)] {
        for (port, source, (listener, datagrams)) in [(1, NODE, &servers[0]), (2, NODE_6, &servers[1])] {
            let (to, source) = (at(node, port), source.parse().expect("an address"));
            transfer(&peer, to, listener, source);
            let asking = udp(&peer, client, 0);
            for length in [0, 1, 999, 1452] {
                asking.send_to(&vec![7; length], to).expect("sent");
                let (got, from) = datagrams.recv_from(&mut buffer).expect("at the target");
                assert_eq!((got, from.ip()), (length, source));
                datagrams.send_to(&buffer[..got], from).expect("answered");
                let (got, from) = asking.recv_from(&mut buffer).expect("at the client");
                assert_eq!((got, from), (length, to));
            }
        }
    }
    process.stop();
    assert_conserved(&segment);
}

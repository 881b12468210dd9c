//! A port over a network interface, through the real process, with the kernel's own sockets as client and target.

#[allow(dead_code)]
mod common;

use std::fs::File;
use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Bed, assert_conserved, events_until, wait_until};
use leat_abi::flow::protocol;
use leat_abi::message::{ANY_PORT, Command, Event, Filter, Stage};
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Snapshot, Target, TargetState};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const NODE: [u8; 4] = [10, 9, 0, 10];
const HOST: [u8; 4] = [10, 9, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 99];

/// A socket of a namespace.
fn socket(bed: &Bed, address: &'static str) -> UdpSocket {
    let namespace = File::open(format!("/run/netns/{}", bed.namespace)).expect("the namespace");
    let opened = std::thread::spawn(move || {
        use std::os::fd::AsFd;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("into the namespace");
        UdpSocket::bind(address).expect("a socket")
    });
    let socket = opened.join().expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    socket
}

fn snapshot() -> Snapshot {
    Snapshot {
        generation: 1,
        selection_key: [1, 2],
        locals: vec![Local { address: NODE.into(), kind: LocalKind::Node, port: 0 }],
        listeners: vec![Listener {
            slot: 0,
            vip: NODE.into(),
            port: 53,
            protocol: protocol::UDP,
            node: 0,
            group: 0,
            sources: vec![NODE.into()],
        }],
        groups: vec![Group { preserve_client_ip: false, table: vec![0; 7], ..Group::default() }],
        targets: vec![Target {
            slot: 0,
            generation: 0,
            state: TargetState::Active,
            address: HOST.into(),
            port: 5353,
            next_hop: Some(NextHop { port: 0, mac: PEER_MAC }),
            unhealthy_at: 0,
        }],
        ..Snapshot::default()
    }
}

#[test]
fn a_port_is_what_its_interface_is() {
    let Some(bed) = Bed::new() else { return };
    bed.ip("link add dp0 mtu 4000 type veth peer name peer0 mtu 4000 address 02:00:00:00:00:63");
    bed.run("sysctl -qw net.ipv6.conf.peer0.disable_ipv6=1 net.ipv4.conf.all.accept_local=1");
    bed.run("ethtool -K peer0 tx off");
    bed.ip("link set dp0 up");
    bed.ip("link set peer0 up");
    bed.ip("addr add 10.9.0.1/24 dev peer0");
    let sysctls = "sysctl net.ipv4.conf.dp0.rp_filter net.ipv4.conf.dp0.arp_ignore net.ipv6.conf.dp0.disable_ipv6";
    let before = bed.run(sysctls);

    let mut process = bed.start("--port p0=net_af_packet0,iface=dp0 --lcores 0,1 --idle-backoff");
    let mut segment = process.attach();
    let port = &segment.header().port[0];
    assert_eq!(port.mtu.load(Ordering::Relaxed), 4000);
    // Linux may need a moment to find that the other end is up.
    wait_until("the link is up", || port.link_up.load(Ordering::Relaxed) == 1);
    assert!(bed.ip("-o link show leat-p0").contains("mtu 1500"), "what the TAP driver can");
    assert_ne!(bed.run(sysctls), before);
    let mac = port.mac.load(Ordering::Relaxed).to_le_bytes();
    let mac = mac[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    bed.ip(&format!("neigh replace 10.9.0.10 lladdr {mac} dev peer0 nud permanent"));
    segment.publish(&snapshot()).expect("published");
    wait_until("the snapshot", || segment.acknowledged_generation() == 1);
    for lcore in 0..2 {
        let trace = Command::TraceStart {
            id: 9,
            count: 10_000,
            port: ANY_PORT,
            filter: Filter { protocol: protocol::UDP, ..Filter::default() },
        };
        segment.commands(lcore).push(&trace.encode()).expect("room");
    }

    // A packet as large as the MTU allows, and its answer, by both lcores.
    let target = socket(&bed, "10.9.0.1:5353");
    let mut buffer = vec![0; 5000];
    for number in 0..20u8 {
        let client = socket(&bed, "10.9.0.1:0");
        client.send_to(&[number; 4000 - 28], "10.9.0.10:53").expect("sent");
        let (length, from) = target.recv_from(&mut buffer).expect("at the target");
        assert_eq!((length, buffer[0], from.ip().to_string().as_str()), (3972, number, "10.9.0.10"));
        target.send_to(&[number, 1], from).expect("answered");
        let (length, from) = client.recv_from(&mut buffer).expect("at the client");
        assert_eq!((&buffer[..length], from.to_string().as_str()), (&[number, 1][..], "10.9.0.10:53"));
    }
    let mut sent = 0;
    for lcore in 0..2 {
        let end = Command::FlowDump { id: 10, limit: 1, filter: Filter::default() };
        segment.commands(lcore).push(&end.encode()).expect("room");
        let events = events_until(&segment, lcore, |event| matches!(event, Event::FlowDumpEnd { .. }));
        sent += events
            .iter()
            .filter(|event| matches!(event, Event::Trace { id: 9, step, .. } if step.stage() == Stage::Transmit))
            .count();
    }
    assert_eq!(sent, 40);

    bed.ip("link set peer0 down");
    wait_until("the link is down", || port.link_up.load(Ordering::Relaxed) == 0);
    process.stop();
    assert_conserved(&segment);
    assert_eq!(bed.run(sysctls), before, "put back");
    assert!(!bed.ip("-o link").contains("leat-p0"));
}

/// The interface is taken down while packets are sent to it: the lcores go on, and the process can still stop.
#[test]
fn an_interface_that_goes_down_holds_nobody_up() {
    let Some(bed) = Bed::new() else { return };
    bed.ip("link add dp0 type veth peer name peer0");
    bed.ip("link set dp0 up");
    bed.ip("link set peer0 up");
    let mut process = bed.start("--port p0=net_af_packet0,iface=dp0 --lcores 0 --idle-backoff");
    let segment = process.attach();
    let port = &segment.header().port[0];
    bed.ip("addr add 10.9.0.10/24 dev leat-p0");
    bed.ip("neigh add 10.9.0.1 lladdr 02:00:00:00:00:63 dev leat-p0");
    bed.ip("link set leat-p0 up");
    bed.ip("link set dp0 down");
    wait_until("the link is down", || port.link_up.load(Ordering::Relaxed) == 0);
    let client = socket(&bed, "10.9.0.10:0");
    let went = || port.exception[2].load(Ordering::Relaxed) + port.exception[3].load(Ordering::Relaxed);
    for n in 0..2000 {
        client.send_to(&[0; 64], "10.9.0.1:9").expect("sent");
        if n % 100 == 99 {
            wait_until("packets of Linux", || went() > n / 2);
        }
    }
    process.stop();
    assert_conserved(&segment);
}

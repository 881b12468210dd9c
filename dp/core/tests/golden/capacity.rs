//! Full tables and pools: they refuse, count, harm nobody and recover.

use std::collections::HashSet;
use std::net::SocketAddr;

use leat_abi::counters::ListenerCounter;
use leat_abi::{Counter, DropReason};

use crate::common::*;

fn client(n: u32) -> SocketAddr {
    SocketAddr::new([198, 51, (n >> 14) as u8, 7].into(), 1024 + (n & 0x3fff) as u16)
}

/// A full table refuses new flows, keeps those there are, and takes new ones as soon as one has gone. req: R18, S13.3
#[test]
fn the_flow_table_fills_and_recovers() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::new(1, 256);
        let mut streams: Vec<Stream> = (0..256).map(|n| Stream::open(&mut h, client(n), vip, n)).collect();
        let listener = u16::from(vip == DIRECT);
        h.moved();
        for n in 300..310 {
            let refused = Stream::new(client(n), vip, n);
            refused.feed_client(&mut h, &refused.syn());
            rx(74).dropped("flow_table_full").and(&format!("listener{listener}.no_room"), 1).is(&h.moved());
        }
        streams.iter_mut().for_each(|s| s.works(&mut h));
        for _ in 0..3 {
            streams.drain(..50).for_each(|mut s| s.close(&mut h));
            h.pass(62_000);
            streams.extend((400..450).map(|n| Stream::open(&mut h, client(n), vip, h_isn(n))));
            streams.iter_mut().for_each(|s| s.works(&mut h));
            h.check_flows();
            streams.rotate_left(50);
            streams.rotate_right(50);
            // The next round's clients are new ones again.
            let last = streams.split_off(streams.len() - 50);
            for mut s in last {
                s.close(&mut h);
            }
            h.pass(62_000);
            streams.iter_mut().for_each(|s| s.works(&mut h));
            streams.extend((500..550).map(|n| Stream::open(&mut h, client(n), vip, h_isn(n))));
        }
    }
}

fn h_isn(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b9)
}

/// All flows of a target are open, all ports taken.
const POOL: u32 = 55_000;

fn one_target(h: &mut Harness, slot: u16) {
    h.world.groups[0].table = vec![slot];
    h.publish();
}

fn drops(h: &Harness, reason: DropReason) -> u64 {
    (0..h.lcores()).map(|lcore| h.counters(lcore).dropped(reason)).sum()
}

fn refusals(h: &Harness, listener: u16) -> u64 {
    (0..h.lcores()).map(|lcore| h.counters(lcore).get_listener(listener, ListenerCounter::NoPort)).sum()
}

/// Opens connections of these clients, whose packets arrive on all lcores in turn. Returns the source port of each, or none if it was refused.
fn open(h: &mut Harness, clients: std::ops::Range<u32>) -> Vec<Option<u16>> {
    let mut ports = Vec::new();
    for first in clients.clone().step_by(25) {
        let last = clients.end.min(first + 25);
        let lcore = (first / 25 % u32::from(h.lcores())) as u16;
        let mut streams: Vec<Stream> = (first..last).map(|n| Stream::new(client(n), WEB, n)).collect();
        let syns: Vec<Vec<u8>> = streams.iter().map(|s| s.syn().bytes()).collect();
        let outs = h.burst(lcore, CLIENT_SIDE, &syns);
        for (stream, out) in streams.iter_mut().zip(&outs) {
            if !out.is_dropped(DropReason::NatPortsExhausted) {
                let (_, at_target) = out.forwarded();
                (stream.nat, stream.target) = (at_target.source, at_target.destination);
            }
            ports.push((stream.nat != stream.client).then_some(stream.nat.port()));
        }
        streams.retain(|stream| stream.nat != stream.client);
        let answers: Vec<Vec<u8>> = streams.iter().map(|s| s.syn_ack().bytes()).collect();
        h.burst(lcore, TARGET_SIDE, &answers).iter().for_each(|out| drop(out.forwarded()));
        let acks: Vec<Vec<u8>> = streams.iter().map(|s| s.from_client(ACK, &[]).bytes()).collect();
        h.burst(lcore, CLIENT_SIDE, &acks).iter().for_each(|out| drop(out.forwarded()));
    }
    ports
}

/// One target gives exactly 55,000 ports at once, none twice, all in range, neighbours not to neighbours, however many lcores share
/// them. Answers find their flow on whichever lcore they arrive. What is refused is counted once. Another target has its own.
/// req: CIP-14, CIP-15, R20, S9.1, S9.2, S9.3, S9.5, S9.6, I6
#[test]
fn source_ports_of_one_target() {
    for lcores in 1..=4 {
        let mut h = Harness::new(lcores, 1 << 16);
        one_target(&mut h, 1);
        let ports: Vec<u16> = open(&mut h, 0..POOL).into_iter().map(|port| port.expect("one is left")).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), POOL as usize, "{lcores} lcores: a port twice");
        assert!(ports.iter().all(|port| leat_core::NAT_PORTS.contains(port)));
        let sequential = ports[..20_000].windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count();
        assert!(sequential < 20, "{sequential} clients got the port after that of the client before");

        assert_eq!(open(&mut h, POOL..POOL + 100), vec![None; 100]);
        for _ in 0..3 {
            h.skip(1_300);
            assert_eq!(open(&mut h, POOL..POOL + 100), vec![None; 100], "the same SYNs again");
        }
        assert_eq!((refusals(&h, 0), drops(&h, DropReason::NatPortsExhausted)), (100, 400));

        for n in (0..POOL).step_by(2999) {
            let mut s = Stream::new(client(n), WEB, n);
            (s.target, s.nat) = (target(1), SocketAddr::new(NODE, ports[n as usize]));
            for lcore in 0..lcores {
                let out = h.feed_bytes(lcore, TARGET_SIDE, &s.from_target(ACK, b"x").bytes());
                assert_eq!(out.forwarded().1.destination, s.client, "{lcores} lcores, answer on lcore {lcore}");
            }
        }
        one_target(&mut h, 2);
        Stream::open(&mut h, client(60_000), WEB, 1).works(&mut h);
        h.check_flows();
    }
}

/// A second target doubles what one gives. req: CIP-14
#[test]
fn source_ports_of_two_targets() {
    let mut h = Harness::new(3, 1 << 16);
    for slot in [1, 2] {
        one_target(&mut h, slot);
        let from = u32::from(slot) * 60_000;
        assert!(open(&mut h, from..from + POOL).iter().all(Option::is_some));
        assert_eq!(open(&mut h, from + POOL..from + POOL + 3), [None; 3]);
    }
    assert_eq!(h.total(Counter::FlowsCreated), 110_000);
    h.check_flows();
}

/// Ports come back when their time is over and not before: 10 s after a reset, 60 s after the end of a connection or its expiry.
/// req: S9.4, R20
#[test]
fn source_ports_come_back() {
    let mut h = Harness::new(2, 1 << 16);
    one_target(&mut h, 1);
    let mut reset = Stream::open(&mut h, client(0), WEB, 1);
    let mut closed = Stream::open(&mut h, client(1), WEB, 1);
    assert!(open(&mut h, 2..POOL).iter().all(Option::is_some));
    reset.abort(&mut h);
    closed.close(&mut h);
    let mut next = POOL;
    let mut attempts = |h: &mut Harness, after_s: u64| {
        h.pass(after_s * 1000);
        next += 5;
        open(h, next - 5..next).into_iter().flatten().collect::<Vec<u16>>()
    };
    assert_eq!(attempts(&mut h, 0), []);
    assert_eq!(attempts(&mut h, 9), []);
    assert_eq!(attempts(&mut h, 3), [reset.nat.port()], "after 12 s");
    assert_eq!(attempts(&mut h, 46), [], "after 58 s");
    assert_eq!(attempts(&mut h, 4), [closed.nat.port()], "after 62 s");
    assert_eq!(attempts(&mut h, 290), [], "after 352 s: most have expired, and their ports rest");
    h.check_flows();
    h.pass(62_000);
    assert_eq!(attempts(&mut h, 0).len(), 5, "after 414 s");
    h.pass(400_000);
    h.pass(62_000);
    h.check_flows();
    assert_eq!(h.ports.used().1, 0);
    assert!(open(&mut h, 100_000..100_000 + POOL).iter().all(Option::is_some));
}

/// A port whose target has never answered is free at once when the time is over; one that was answered rests. req: S9.4
#[test]
fn source_ports_of_half_open_flows() {
    for answered in [false, true] {
        let mut h = Harness::default();
        let mut s = Stream::new(client(0), WEB, 1);
        s.send_syn(&mut h);
        if answered {
            s.feed_target(&mut h, &s.syn_ack()).forwarded();
        }
        h.pass(32_000);
        assert_eq!((h.total(Counter::FlowsExpired), h.ports.used().1), (1, u64::from(answered)));
        h.check_flows();
        let (_, reset) = s.feed_target(&mut h, &s.syn_ack()).answered();
        assert_eq!(reset.numbers(), (2, 0, RST), "the target is told when it speaks");
        h.pass(62_000);
        assert_eq!(h.ports.used().1, 0);
    }
}

/// Several source addresses of a node multiply the ports: each has all 55,000, and the hash uses them alike. req: S9.7, CIP-14
#[test]
fn source_ports_of_several_addresses() {
    let mut h = Harness::new(2, 1 << 17);
    h.world.listeners[0].sources.push([10, 1, 0, 99].into());
    h.world.locals.push(leat_abi::snapshot::Local { address: [10, 1, 0, 99].into(), ..h.world.locals[1] });
    one_target(&mut h, 1);
    assert!(open(&mut h, 0..2 * POOL).iter().all(Option::is_some));
    assert_eq!(open(&mut h, 2 * POOL..2 * POOL + 3), [None; 3]);
    let first = h.flows().iter().find(|(_, e)| u32::from_be(e.nat_ip) & 0xff == 99).expect("used").1.nat_ip;
    assert_eq!(h.flows().iter().filter(|(_, e)| e.nat_ip == first).count(), POOL as usize);
    h.check_flows();

    let mut h = Harness::new(1, 1 << 16);
    h.world.listeners[0].sources.push([10, 1, 0, 99].into());
    h.publish();
    open(&mut h, 0..4000);
    let second = h.flows().iter().filter(|(_, e)| e.nat_ip == first).count();
    assert!((1800..2200).contains(&second), "{second} of 4000 from the second address");
}

/// An endpoint's clients have full NAT, so their connections to one target are limited as well, whatever the group says. req: CIP-14, TRB-09
#[test]
fn endpoints_run_out_of_ports() {
    let mut h = Harness::new(1, 1 << 17);
    h.world.groups[0].table = vec![1];
    h.world.groups[0].preserve_client_ip = true;
    let id = "vpce-08d2bf15fac5001c9".into();
    h.world.endpoints.push(leat_abi::snapshot::Endpoint { port: CLIENT_SIDE, id });
    h.publish();
    let ports = open(&mut h, 0..60_000);
    assert_eq!(ports.iter().flatten().count(), POOL as usize);
    assert_eq!((refusals(&h, 0), drops(&h, DropReason::NatPortsExhausted)), (5_000, 5_000));
    h.check_flows();
}

/// An attempt that is refused is counted again only if nothing was heard of it for four seconds, or if it is another one. UDP has no
/// sequence number: a client's datagrams are one attempt. req: CIP-15, S9.5
#[test]
fn refusals_are_counted_once() {
    let mut h = Harness::new(1, 1 << 17);
    h.world.groups[0].table = vec![1];
    h.world.groups[3].table = vec![4];
    h.publish();
    assert!(open(&mut h, 0..POOL).iter().all(Option::is_some));
    for n in 0..POOL {
        h.feed(CLIENT_SIDE, &Packet::udp(client(n), LOG, b"x").macs(ROUTER_MAC, PORTS[0])).forwarded();
        h.pass(0);
    }
    let syn = |isn| Stream::new(client(POOL), WEB, isn).syn();
    let datagram = Packet::udp(client(POOL), LOG, b"y").macs(ROUTER_MAC, PORTS[0]);
    h.moved();
    for (after_ms, packet, counted) in [
        (0, syn(7), Some("listener0.no_port")),
        (1_000, syn(7), None),
        (2_000, syn(7), None),
        (4_000, syn(7), None),
        (0, syn(8), Some("listener0.no_port")),
        (4_001, syn(8), Some("listener0.no_port")),
        (0, datagram.clone(), Some("listener3.no_port")),
        (10, datagram.clone(), None),
        (3_900, datagram.clone(), None),
        (4_001, datagram, Some("listener3.no_port")),
    ] {
        h.skip(after_ms);
        let length = packet.bytes().len();
        assert!(h.feed(CLIENT_SIDE, &packet).is_dropped(DropReason::NatPortsExhausted));
        let expected = rx(length).dropped("nat_ports_exhausted");
        counted.map_or(expected.clone(), |name| expected.and(name, 1)).is(&h.moved());
    }
}

/// A port that has a listener is not used as a source port, and all others are. req: S9.1
#[test]
fn listeners_keep_their_ports() {
    let mut h = Harness::new(1, 1 << 16);
    h.world.groups[0].table = vec![1];
    let listeners: Vec<u16> = (0..50).map(|n| 20_000 + n).chain([10_000, 64_999]).collect();
    for (n, port) in (0..).zip(&listeners) {
        let listener = leat_abi::snapshot::Listener { slot: 7 + n % 25, port: *port, ..h.world.listeners[0].clone() };
        h.world.listeners.push(listener);
    }
    h.publish();
    let ports = open(&mut h, 0..POOL);
    assert_eq!(ports.iter().flatten().count(), POOL as usize - listeners.len());
    assert!(ports.iter().flatten().all(|port| !listeners.contains(port)));
    h.world.listeners.retain(|listener| listener.slot < 7);
    h.publish();
    assert_eq!(
        open(&mut h, 60_000..60_060).into_iter().flatten().collect::<HashSet<_>>(),
        listeners.into_iter().collect()
    );
    h.check_flows();
}

/// Lcores that start anew know all ports that any of them has given away, and whose they are. req: I6, R2, S9.2
#[test]
fn source_ports_after_a_crash() {
    let mut h = Harness::new(3, 1 << 16);
    one_target(&mut h, 1);
    let ports = open(&mut h, 0..POOL - 10);
    assert_eq!(h.crash(), POOL as usize - 10);
    h.check_flows();
    for n in (0..POOL - 10).step_by(4999) {
        let mut s = Stream::new(client(n), WEB, n);
        (s.target, s.nat) = (target(1), SocketAddr::new(NODE, ports[n as usize].expect("forwarded")));
        for lcore in 0..3 {
            let out = h.feed_bytes(lcore, TARGET_SIDE, &s.from_target(ACK, b"x").bytes());
            assert_eq!(out.forwarded().1.destination, s.client);
        }
    }
    assert_eq!(open(&mut h, 60_000..60_020).iter().flatten().count(), 10);
    h.check_flows();
}

/// A source port that entries of two lcores claim stays with one of them. req: I6, R3
#[test]
fn a_source_port_claimed_twice() {
    let mut h = Harness::new(2, 256);
    one_target(&mut h, 1);
    (0..40).for_each(|n| drop(Stream::new(client(n), WEB, n).send_syn(&mut h)));
    let entry = h.flows().into_iter().find(|(lcore, _)| *lcore == 1).expect("one of the second lcore").1;
    h.damage(&[(255, leat_abi::FlowEntry { client_port: 1, ..entry })]);
    assert_eq!(h.crash(), 40);
    h.check_laws();
    assert_eq!(h.ports.used().1, 40);
    let holds = |e: &leat_abi::FlowEntry| e.nat_port == entry.nat_port && e.target_ip == entry.target_ip;
    assert_eq!(h.flows().iter().filter(|(_, e)| holds(e)).count(), 1);
}

/// Targets come and go, their addresses never the same: pools are used again, those of flows that live on are kept, also when the
/// listener has gone. req: S9.1, S15.7
#[test]
fn pools_come_and_go() {
    let mut h = Harness::new(2, 256);
    h.world.listeners.truncate(7);
    one_target(&mut h, 0);
    let mut old = Stream::open(&mut h, client(9_999), WEB, 1);
    for n in 0..300u16 {
        let [high, low] = n.to_be_bytes();
        h.world.targets[1].address = [10, 3, high, low].into();
        h.world.targets[1].generation = n as u8;
        one_target(&mut h, 1);
        let out = h.feed(CLIENT_SIDE, &Stream::new(client(n.into()), WEB, 7).syn());
        assert_eq!(out.forwarded().1.destination.ip(), std::net::IpAddr::from([10, 3, high, low]));
        h.pass(35_000);
        h.pass(62_000);
        old.works(&mut h);
        h.check_flows();
        assert!(h.ports.used().0 < 12, "{:?}", h.ports.used());
    }
    h.world.listeners.retain(|listener| listener.slot != 0);
    (0..5).for_each(|_| h.publish());
    for lcore in 0..2 {
        old.lcore = lcore;
        old.works(&mut h);
    }
    h.check_flows();
}

/// More pairs of node address and target than there are pools: those without are refused and counted, the others work. Pools that
/// nobody needs any more serve them. req: S9.5
#[test]
fn pools_run_out() {
    let mut h = Harness::new(1, 4096);
    let vip = |n: u8| SocketAddr::new([10, 1, 7, n].into(), 80);
    h.world.groups[0].table = vec![1];
    h.world.listeners.truncate(7);
    (0..3).for_each(|_| h.publish());
    let web = h.world.listeners[0].clone();
    let pairs = harness::POOLS as u8 + 20;
    for n in 0..pairs {
        let ip = vip(n).ip();
        h.world.listeners.push(leat_abi::snapshot::Listener { vip: ip, sources: vec![ip], ..web.clone() });
        h.world.locals.push(leat_abi::snapshot::Local { address: ip, ..h.world.locals[1] });
    }
    h.publish();
    h.moved();
    let attempt = |h: &mut Harness, n: u8| {
        let s = Stream::new(client(n.into()), vip(n), n.into());
        h.feed(CLIENT_SIDE, &s.syn()).is_dropped(DropReason::NatPortsExhausted)
    };
    let refused: Vec<u8> = (0..pairs).filter(|n| attempt(&mut h, *n)).collect();
    // The pairs of the listeners that were there before have pools, too.
    assert_eq!(refused.len(), 20 + 1 + 4);
    assert_eq!((refusals(&h, 0), drops(&h, DropReason::NatPortsExhausted)), (25, 25));
    assert_eq!(h.ports.used(), (harness::POOLS, u64::from(pairs) - 25));
    h.check_flows();

    h.pass(35_000);
    h.pass(62_000);
    let is_refused = |ip: std::net::IpAddr| refused.iter().any(|n| ip == vip(*n).ip());
    let is_new = |ip: std::net::IpAddr| (0..pairs).any(|n| ip == vip(n).ip());
    h.world.listeners.retain(|listener| !is_new(listener.vip) || is_refused(listener.vip));
    (0..3).for_each(|_| h.publish());
    assert!(refused.iter().all(|n| !attempt(&mut h, *n)), "pools were given up");
    h.check_flows();
}

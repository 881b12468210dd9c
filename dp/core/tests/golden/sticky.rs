//! Stickiness: all flows of a client address go to one target, without a table of clients.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use leat_abi::snapshot::TargetState;

use crate::common::*;

const GROUP: u64 = 0x0123_4567;

fn sticky() -> Harness {
    let mut h = Harness::new(1, 1 << 15);
    // One group for both protocols; the targets of either kind have the same addresses but for their slots.
    for group in 0..4 {
        (h.world.groups[group].sticky, h.world.groups[group].id) = (true, GROUP + group as u64 / 2);
    }
    h.publish();
    h
}

fn ip(n: u32) -> IpAddr {
    [198, 51, (n >> 8) as u8, n as u8].into()
}

/// Where the SYN of a client goes.
fn tcp(h: &mut Harness, client: SocketAddr, isn: u32) -> u16 {
    let mut s = Stream::new(client, DIRECT, isn);
    s.send_syn(h);
    s.slot()
}

fn udp(h: &mut Harness, client: SocketAddr) -> u16 {
    Datagrams::open(h, client, DNS).slot()
}

/// 1,000 connections of one address reach one target, whatever their ports and numbers; so do its datagrams, perhaps another one; clients
/// of other addresses are elsewhere. A restart changes nothing. req: STK-01, STK-02, STK-05, S14.1
#[test]
fn one_target_for_an_address() {
    let mut h = sticky();
    let mut differ = false;
    for n in 0..10 {
        let count = if n == 0 { 1000 } else { 20 };
        let at = |port| SocketAddr::new(ip(n), port);
        let of_tcp: HashSet<u16> = (0..count).map(|c| tcp(&mut h, at(2000 + c), u32::from(c) * 77)).collect();
        let of_udp: HashSet<u16> = (0..100).map(|c| udp(&mut h, at(2000 + c))).collect();
        assert_eq!((of_tcp.len(), of_udp.len()), (1, 1));
        h.crash();
        assert_eq!(HashSet::from([tcp(&mut h, at(30_000), 9)]), of_tcp);
        differ |= of_tcp.iter().map(|slot| slot + 4).collect::<HashSet<_>>() != of_udp;
    }
    assert!(differ, "the protocol takes part");
    let spread: HashSet<u16> = (0..50).map(|n| tcp(&mut h, SocketAddr::new(ip(n), 40_000), 1)).collect();
    assert_eq!(spread.len(), 4);
}

/// Of 10,000 addresses, those of a target that leaves move, and no others, as far as the group's table keeps its places: one of ten
/// targets moves at most 12 %. They come back with it. What is open stays. req: STK-03, STK-06, S14.2, S14.3
#[test]
fn few_move_when_a_target_leaves() {
    let mut h = sticky();
    for slot in 16..22 {
        let target =
            leat_abi::snapshot::Target { slot, address: [10, 2, 0, 11 + slot as u8].into(), ..h.world.targets[0] };
        h.world.targets.push(target);
    }
    let ten: Vec<u16> = (0..4).chain(16..22).collect();
    // As a consistent table does: the places of the one that leaves are shared out among the others.
    let all: Vec<u16> = (0..9973).map(|n| ten[n * 7 % 10]).collect();
    let without = |gone: u16| -> Vec<u16> {
        let others: Vec<u16> = ten.iter().copied().filter(|slot| *slot != gone).collect();
        (0..).zip(&all).map(|(n, slot): (usize, _)| if *slot == gone { others[n % 9] } else { *slot }).collect()
    };
    let places = |h: &mut Harness, table: &[u16], port: u16| -> HashMap<u32, SocketAddr> {
        h.world.groups[1].table = table.to_vec();
        h.publish();
        let mut seen = HashMap::new();
        for n in 0..10_000 {
            let s = Stream::new(SocketAddr::new(ip(n), port), DIRECT, n);
            seen.insert(n, s.feed_client(h, &s.syn()).forwarded().1.destination);
        }
        seen
    };
    let before = places(&mut h, &all, 1000);
    let mut open = Stream::open(&mut h, SocketAddr::new(ip(0), 999), DIRECT, 1);
    let gone = h.world.targets.iter().find(|t| SocketAddr::new(t.address, t.port) == before[&0]).expect("it").slot;
    h.world.targets.iter_mut().filter(|t| t.slot == gone).for_each(|t| t.state = TargetState::Draining);
    let during = places(&mut h, &without(gone), 1001);
    let moved = (0..10_000).filter(|n| before[n] != during[n]).count();
    assert!((800..=1200).contains(&moved), "{moved} of 10,000 moved");
    assert!((0..10_000).all(|n| before[&n] == during[&n] || before[&n] == before[&0]), "only its own clients");
    assert!(!during.values().any(|target| *target == before[&0]));
    open.works(&mut h);
    h.world.targets.iter_mut().for_each(|t| t.state = TargetState::Active);
    assert_eq!(places(&mut h, &all, 1002), before);
    open.works(&mut h);
}

/// Switching it on and off disturbs no open flow. req: STK-07
#[test]
fn stickiness_comes_and_goes() {
    let mut h = Harness::default();
    let mut streams: Vec<Stream> =
        (0..100).map(|n| Stream::open(&mut h, SocketAddr::new(ip(0), 1000 + n), DIRECT, n.into())).collect();
    for round in 0..4 {
        h.world.groups[1].sticky = round % 2 == 0;
        h.publish();
        streams.iter_mut().for_each(|s| s.works(&mut h));
    }
    assert_eq!(streams.iter().map(Stream::slot).collect::<BTreeSet<u16>>().len(), 4);
    h.check_flows();
}

/// A client of IPv6 is its whole address, or its network of 64 bits. req: S14.4
#[test]
fn addresses_of_ipv6() {
    for by_64 in [false, true] {
        let mut h = Harness::new(1, 1 << 12);
        h.world.sticky_by_64 = by_64;
        h.world.groups.iter_mut().for_each(|group| group.sticky = true);
        h.publish();
        let reached: HashSet<u16> = (1..100u16)
            .map(|n| {
                let client = std::net::Ipv6Addr::new(0x2001, 0xdb8, 7, 7, 0, 0, 0, n);
                let mut s = Stream::new(SocketAddr::new(client.into(), 5000 + n), DIRECT_6, n.into());
                s.send_syn(&mut h);
                s.slot()
            })
            .collect();
        assert_eq!(reached.len() == 1, by_64);
    }
}

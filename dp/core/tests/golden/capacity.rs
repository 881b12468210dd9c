//! Full tables and pools: they refuse, count, harm nobody and recover.

use std::collections::HashSet;
use std::net::SocketAddrV4;

use leat_abi::DropReason;

use crate::common::*;

fn client(n: u32) -> SocketAddrV4 {
    SocketAddrV4::new([198, 51, (n >> 14) as u8, 7].into(), 1024 + (n & 0x3fff) as u16)
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

/// One target gives nearly all of 55,000 ports at once, none twice, all in range; what is refused is counted, other targets are not
/// concerned. req: CIP-14, CIP-15, S9.1, S9.2, I6
#[test]
fn source_ports_of_one_target() {
    let mut h = Harness::new(1, 65_536);
    h.world.groups[0].table = vec![1];
    h.publish();
    let mut ports = HashSet::new();
    let mut refused = 0;
    for first in (0..55_000).step_by(25) {
        let frames: Vec<Vec<u8>> = (first..first + 25).map(|n| Stream::new(client(n), WEB, n).syn().bytes()).collect();
        for out in h.burst(0, CLIENT_SIDE, &frames) {
            if out.is_dropped(DropReason::NatPortsExhausted) {
                refused += 1;
            } else {
                assert!(ports.insert(out.forwarded().1.source.port()), "a port twice");
            }
        }
    }
    assert!(ports.iter().all(|port| leat_core::NAT_PORTS.contains(port)));
    assert!(ports.len() > 53_000, "{}", ports.len());
    let moved = h.moved();
    assert_eq!(moved.get("listener0.no_port").copied().unwrap_or(0), refused);
    h.world.groups[0].table = vec![2];
    h.publish();
    Stream::open(&mut h, client(60_000), WEB, 1).works(&mut h);
    h.check_flows();
}

/// A port that has a listener is not used as a source port. req: S9.1
#[test]
fn listeners_keep_their_ports() {
    let mut h = Harness::new(1, 65_536);
    h.world.groups[0].table = vec![1];
    let add = |h: &mut Harness, slot: u16, port| {
        let listener = leat_abi::snapshot::Listener { slot, port, ..h.world.listeners[0] };
        h.world.listeners.push(listener);
    };
    add(&mut h, 8, 20_000);
    add(&mut h, 9, 64_999);
    h.publish();
    for n in 0..54_000 {
        let s = Stream::new(client(n), WEB, n);
        let out = s.feed_client(&mut h, &s.syn());
        if !out.is_dropped(DropReason::NatPortsExhausted) {
            let port = out.forwarded().1.source.port();
            assert!(port != 20_000 && port != 64_999);
        }
    }
}

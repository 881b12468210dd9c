//! Several lcores: a flow has one owner, whichever lcore receives its packets.

use std::collections::HashMap;
use std::net::SocketAddr;

use leat_abi::{Counter, DropReason};
use leat_core::{Answer, Verdict};

use crate::common::*;

fn client(n: u16) -> SocketAddr {
    SocketAddr::new([198, 51, 100, (n % 7) as u8].into(), 3000 + n)
}

/// Packets arrive anywhere; each flow lives on one lcore, its packets come out the same and in order, hand-overs are counted.
/// req: S1.2, I1
#[test]
fn a_flow_has_one_owner() {
    for lcores in [2, 4] {
        for vip in [WEB, DIRECT, DIRECT_2] {
            let mut h = Harness::new(lcores, 1024);
            for n in 0..60 {
                let mut s = Stream::new(client(n), vip, n.into());
                s.lcore = n % lcores;
                s.handshake(&mut h);
                for step in 0..lcores * 2 {
                    s.lcore = step % lcores;
                    s.works(&mut h);
                }
                s.lcore = (n / 3) % lcores;
                s.close(&mut h);
            }
            h.check_flows();
            let handed = h.total(Counter::HandedOut);
            assert!(handed > 0);
            for lcore in 0..lcores {
                assert!(h.flows().iter().any(|(at, _)| *at == lcore), "lcore {lcore} owns something");
            }
            assert_eq!(h.total(Counter::FlowsCreated), 60);
        }
    }
}

/// UDP too, both addressing modes.
#[test]
fn datagrams_have_one_owner() {
    for vip in [DNS, LOG] {
        let mut h = Harness::new(4, 1024);
        for n in 0..60 {
            let mut s = Datagrams::open(&mut h, client(n), vip);
            let (nat, target) = (s.nat, s.target);
            for lcore in 0..4 {
                s.lcore = lcore;
                s.client_sends(&mut h, b"x");
                s.target_sends(&mut h, b"y");
                assert_eq!((s.nat, s.target), (nat, target));
            }
        }
        h.check_flows();
        assert_eq!(h.total(Counter::FlowsCreated), 60);
    }
}

/// The lcore that receives a SYN does not matter: the same target is chosen. req: RT-06, S2.1
#[test]
fn any_lcore_chooses_the_same_target() {
    for n in 0..40 {
        let mut targets = Vec::new();
        for (lcores, lcore) in [(1, 0), (2, 0), (2, 1), (4, 0), (4, 3)] {
            let mut h = Harness::new(lcores, 64);
            let mut s = Stream::new(client(n), WEB, n.into());
            s.lcore = lcore;
            s.send_syn(&mut h);
            targets.push(s.target);
        }
        targets.dedup();
        assert_eq!(targets.len(), 1);
    }
}

/// Counters of a hand-over: one lcore received it, the other one dealt with it.
#[test]
fn a_hand_over_is_counted() {
    let mut h = Harness::new(2, 64);
    let s = (0..50)
        .map(|n| Stream::new(client(n), WEB, 1))
        .find(|s| {
            let out = s.feed_client(&mut h, &s.syn());
            let foreign = out.handed_over;
            if !foreign {
                h.moved();
            }
            foreign
        })
        .expect("one of another lcore");
    let flow = h.flows().into_iter().find(|(lcore, _)| *lcore == 1).expect("its owner has it").1;
    rx(74).and("handed_out", 1).is(&h.moved());
    let expected = nothing().and("handed_in", 1).to_target(flow.target_slot, 60).created(flow.target_slot, 0);
    expected.is(&h.moved_on(1));
    // The owner, receiving it itself, keeps it.
    let again = Stream { lcore: 1, ..s };
    let out = again.feed_client(&mut h, &again.syn());
    assert_eq!((out.lcore, out.handed_over), (1, false));
    rx(74).to_target(flow.target_slot, 60).is(&h.moved_on(1));
}

/// In one burst: those of other lcores are handed over in their order, the rest is dealt with.
#[test]
fn bursts_are_split_by_owner() {
    let mut h = Harness::new(4, 256);
    let mut streams: Vec<Stream> = (0..8).map(|n| Stream::open(&mut h, client(n), WEB, n.into())).collect();
    let mut frames = Vec::new();
    let mut expected = Vec::new();
    for round in 0..4 {
        for s in &mut streams {
            let packet = s.from_client(ACK, &[round; 3]);
            s.c = packet.seq_end();
            frames.push(packet.bytes());
            expected.push(s.as_target_sees(&packet).bytes());
        }
    }
    let outs = h.burst(2, CLIENT_SIDE, &frames);
    let got: Vec<Vec<u8>> = outs.iter().map(|out| out.bytes.clone()).collect();
    assert_eq!(got, expected);
    let mut owners: HashMap<SocketAddr, Vec<u16>> = HashMap::new();
    outs.iter().for_each(|out| owners.entry(out.forwarded().1.source).or_default().push(out.lcore));
    assert!(owners.values().all(|lcores| lcores.iter().all(|l| *l == lcores[0])));
}

/// A listener is deleted: its flows go on, on whichever lcore their packets arrive. req: LSN-12, S15.7
#[test]
fn flows_outlive_their_listener_on_every_lcore() {
    let mut h = Harness::new(4, 256);
    let mut streams: Vec<Stream> = (0..40).map(|n| Stream::open(&mut h, client(n), WEB, n.into())).collect();
    h.world.listeners.retain(|l| l.slot != 0);
    h.publish();
    for lcore in 0..4 {
        for s in &mut streams {
            s.lcore = lcore;
            s.works(&mut h);
        }
    }
    let new = Stream::new(client(99), WEB, 1);
    assert!(new.feed_client(&mut h, &new.syn()).is_dropped(DropReason::NoListener));
    h.check_flows();
}

/// What has no flow is answered once, by the owner, and by the port it came from.
#[test]
fn strays_are_answered_by_the_owner() {
    let mut h = Harness::new(2, 64);
    for n in 0..20 {
        let stray = Packet::tcp(client(n), WEB, ACK, 1, 2).macs(ROUTER_MAC, PORTS[0]);
        let out = h.feed(CLIENT_SIDE, &stray);
        assert_eq!(out.verdict, Verdict::Answer { port: CLIENT_SIDE, with: Answer::Reset });
        let late = Packet::tcp(target(0), SocketAddr::new(NODE, 30_000 + n), ACK, 1, 2).macs(target_mac(0), PORTS[1]);
        assert_eq!(h.feed(TARGET_SIDE, &late).verdict, Verdict::Answer { port: TARGET_SIDE, with: Answer::Reset });
    }
    assert_eq!(h.total(Counter::ResetsSent), 40);
}

/// What is for Linux arrives there from any lcore: health checks and the host's own traffic.
#[test]
fn linux_gets_its_packets_from_every_lcore() {
    let mut h = Harness::new(4, 64);
    for lcore in 0..4 {
        for port in [1024, 3333, 9999] {
            let answer = Packet::tcp(target(1), SocketAddr::new(NODE, port), SYN | ACK, 1, 2);
            let out = h.feed_bytes(lcore, TARGET_SIDE, &answer.macs(target_mac(1), PORTS[1]).bytes());
            assert_eq!(out.verdict, Verdict::Punt { port: TARGET_SIDE });
            let ssh = Packet::tcp(client(port), SocketAddr::new(HOST, 22), ACK, 1, 2).macs(ROUTER_MAC, PORTS[0]);
            assert_eq!(h.feed_bytes(lcore, CLIENT_SIDE, &ssh.bytes()).verdict, Verdict::Punt { port: CLIENT_SIDE });
        }
    }
}

/// All lcores crash; their flows go on. req: R2
#[test]
fn lcores_adopt_their_own() {
    let mut h = Harness::new(4, 256);
    let mut streams: Vec<Stream> = (0..40).map(|n| Stream::open(&mut h, client(n), WEB, n.into())).collect();
    assert_eq!(h.crash(), 40);
    for (n, s) in (0..).zip(&mut streams) {
        s.lcore = n % 4;
        s.works(&mut h);
    }
    h.check_flows();
}

/// A client whose source socket is a target's own: its packets find their flow on every lcore, also when a listener stands on a port of
/// full NAT, or when the listener is gone; and so do the answers. req: CIP-11, S12.4, S1.2
#[test]
fn a_target_s_socket_as_a_client() {
    for port in [80, 20_000] {
        let mut h = Harness::new(4, 256);
        let vip = SocketAddr::new(NODE, port);
        h.world.listeners[0].port = port;
        h.publish();
        let mut streams: Vec<Stream> =
            (0..8).map(|slot| Stream::open(&mut h, target(slot % 4 + 4 * (slot / 4)), vip, slot.into())).collect();
        let mut flows: Vec<Datagrams> = (0..4).map(|slot| Datagrams::open(&mut h, target(slot), LOG)).collect();
        for round in 0..2 {
            for lcore in 0..4 {
                for s in &mut streams {
                    s.lcore = lcore;
                    s.works(&mut h);
                }
                for d in &mut flows {
                    d.lcore = lcore;
                    let before = (d.nat, d.target);
                    d.client_sends(&mut h, b"x");
                    assert_eq!((d.nat, d.target), before);
                    d.target_sends(&mut h, b"y");
                }
            }
            if round == 0 {
                h.world.listeners.clear();
                h.publish();
            }
        }
        assert_eq!(h.total(Counter::FlowsCreated), 12);
        h.check_flows();
    }
}

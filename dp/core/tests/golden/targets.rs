//! Targets that fail, leave, come back, clash.

use std::net::SocketAddr;

use leat_abi::snapshot::TargetState;
use leat_abi::{Counter, DropReason};

use crate::common::packet::reset_of;
use crate::common::pieces::piece;
use crate::common::*;

fn client(n: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.ip(), 20_000 + n)
}

fn set(h: &mut Harness, slot: u16, state: TargetState) {
    let target = h.world.targets.iter_mut().find(|t| t.slot == slot).expect("a target");
    target.state = state;
    h.publish();
}

/// The groups choose among these only.
fn choose_from(h: &mut Harness, tcp: &[u16], udp: &[u16]) {
    for group in 0..4 {
        h.world.groups[group].table = table(if group < 2 { tcp } else { udp });
    }
    h.publish();
}

/// The client's next packet is reset, the target too, so that it frees the socket, and so is each that either sends then; nothing is
/// sent unasked. req: HC-20, DRN-06, S5.4, S5.3, S15.5, S16.1
#[test]
fn unhealthy_target_resets_on_the_next_packet() {
    for (vip, listener) in [(WEB, 0), (DIRECT, 1)] {
        let mut h = Harness::default();
        let mut s = Stream::open(&mut h, CLIENT, vip, 1);
        let slot = s.slot();
        set(&mut h, slot, TargetState::Unhealthy);
        // What the target still sends reaches the client.
        s.target_sends(&mut h, ACK, b"late");
        s.target_sends(&mut h, ACK, b"later");
        h.pass(1000);
        h.moved();
        let packet = s.from_client(ACK, b"anybody?");
        let (port, reset) = s.feed_client(&mut h, &packet).answered();
        assert_eq!((port, reset.numbers()), (CLIENT_SIDE, (s.t, 0, RST)));
        assert_eq!((reset.source, reset.destination), (vip, CLIENT));
        let at_target = reset_of((PORTS[1], target_mac(slot)), (s.nat, s.target), s.c);
        assert_eq!(h.made_packets(), [(TARGET_SIDE, at_target)]);
        rx(62).reset(Some(listener)).ends_reset(1, listener).terminated(slot, listener).is(&h.moved());
        for _ in 0..2 {
            s.feed_client(&mut h, &s.from_client(FIN | ACK, &[])).answered();
            rx(54).reset(Some(listener)).is(&h.moved());
            let (port, reset) = s.feed_target(&mut h, &s.from_target(ACK, &[])).answered();
            assert_eq!((port, reset.numbers(), reset.source), (TARGET_SIDE, (s.c, 0, RST), s.nat));
            rx(54).reset(Some(listener)).is(&h.moved());
            h.check_flows();
            h.pass(29_000);
        }
        h.pass(3_000);
        nothing().freed(slot, listener).is(&h.moved());
        h.check_flows();
    }
}

/// A segment in fragments for an unhealthy target: the first fragment, which has its numbers, is answered, the others are not. req: S5.4
#[test]
fn fragments_for_an_unhealthy_target() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, DIRECT, 1);
    set(&mut h, s.slot(), TargetState::Unhealthy);
    let whole = Packet { dont_fragment: false, ..s.from_client(ACK, &[7; 400]) };
    for _ in 0..2 {
        let [first, second] = [(0, 64), (64, 128)].map(|(from, to)| piece(&whole.bytes(), 9, from, to));
        let (_, reset) = h.feed_bytes(0, CLIENT_SIDE, &first).answered();
        assert_eq!(reset.numbers(), (s.t, 0, RST));
        assert!(h.feed_bytes(0, CLIENT_SIDE, &second).is_dropped(DropReason::NoFlow));
        h.skip(3_000);
    }
    assert_eq!((h.total(Counter::FlowsTerminated), h.made_packets().len()), (1, 1));
    h.check_flows();
}

/// When too many resets are due, the flow waits: its next packet ends it. req: S5.5
#[test]
fn an_unhealthy_target_and_no_reset_left() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, DIRECT, 1);
    set(&mut h, s.slot(), TargetState::Unhealthy);
    let stray = Packet::tcp(client(9), WEB, ACK, 1, 1).macs(ROUTER_MAC, PORTS[0]);
    (0..1000).for_each(|_| drop(h.feed(CLIENT_SIDE, &stray).answered()));
    assert!(s.feed_client(&mut h, &s.from_client(ACK, b"x")).is_dropped(DropReason::ResetRate));
    assert_eq!((h.total(Counter::FlowsTerminated), h.made().len()), (0, 0));
    h.skip(10);
    s.feed_client(&mut h, &s.from_client(ACK, b"x")).answered();
    assert_eq!((h.total(Counter::FlowsTerminated), h.made().len()), (1, 1));
}

/// A target that is well again before the client speaks keeps its connections. req: S5.4
#[test]
fn a_flap_that_nobody_notices() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    set(&mut h, s.slot(), TargetState::Unhealthy);
    h.pass(10_000);
    set(&mut h, s.slot(), TargetState::Active);
    s.works(&mut h);
}

/// A SYN retransmitted to a target that has failed meanwhile goes to another one. req: HC-20, RT-05
#[test]
fn half_open_flows_leave_a_failed_target() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, WEB, 1);
    s.send_syn(&mut h);
    let failed = s.slot();
    let rest: Vec<u16> = TCP_TARGETS.into_iter().filter(|t| *t != failed).collect();
    choose_from(&mut h, &rest, &UDP_TARGETS);
    set(&mut h, failed, TargetState::Unhealthy);
    h.moved();
    s.send_syn(&mut h);
    assert_ne!(s.slot(), failed);
    rx(74).to_target(s.slot(), 60).closed(failed, 0).freed(failed, 0).created(s.slot(), 0).is(&h.moved());
    s.handshake(&mut h);
    s.works(&mut h);
    h.check_flows();
}

/// UDP chooses again without a word. req: S7.4, RT-08
#[test]
fn udp_leaves_a_failed_target() {
    for vip in [DNS, LOG] {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, vip);
        let failed = s.slot();
        let rest: Vec<u16> = UDP_TARGETS.into_iter().filter(|t| *t != failed).collect();
        choose_from(&mut h, &TCP_TARGETS, &rest);
        s.client_sends(&mut h, b"not chosen any more, but well");
        assert_eq!(s.slot(), failed);
        set(&mut h, failed, TargetState::Unhealthy);
        s.client_sends(&mut h, b"again");
        assert_ne!(s.slot(), failed);
        s.target_sends(&mut h, b"here");
        h.check_flows();
    }
}

/// Draining: flows go on, new ones go elsewhere, though the client's port is the same. req: TGT-08, DRN-03, DRN-04, S7.4, I4
#[test]
fn draining_targets_keep_their_flows() {
    let mut h = Harness::default();
    let mut old: Vec<Stream> = (0..40).map(|n| Stream::open(&mut h, client(n), DIRECT, n.into())).collect();
    let mut udp: Vec<Datagrams> = (0..40).map(|n| Datagrams::open(&mut h, client(n), DNS)).collect();
    choose_from(&mut h, &[1, 2, 3], &[5, 6, 7]);
    set(&mut h, 0, TargetState::Draining);
    set(&mut h, 4, TargetState::Draining);
    assert!(old.iter().any(|s| s.slot() == 0) && udp.iter().any(|s| s.slot() == 4));
    for _ in 0..3 {
        h.pass(100_000);
        old.iter_mut().for_each(|s| s.works(&mut h));
        for s in &mut udp {
            let before = s.slot();
            s.client_sends(&mut h, b"more");
            assert_eq!(s.slot(), before);
        }
    }
    for n in 100..200 {
        assert_ne!(Stream::open(&mut h, client(n), DIRECT, n.into()).slot(), 0);
        assert_ne!(Datagrams::open(&mut h, client(n), DNS).slot(), 4);
    }
    h.check_flows();
}

/// A slot with another target in it: the old one's flows are not led to the new one. req: S1.3
#[test]
fn a_slot_with_another_generation() {
    let mut h = Harness::default();
    let mut tcp = Stream::open(&mut h, CLIENT, DIRECT, 1);
    let udp = Datagrams::open(&mut h, CLIENT, DNS);
    for slot in [tcp.slot(), udp.slot()] {
        let target = &mut h.world.targets[usize::from(slot)];
        target.generation += 1;
        target.address = [10, 2, 0, 200 + slot as u8].into();
    }
    h.publish();
    h.moved();
    tcp.feed_client(&mut h, &tcp.from_client(ACK, b"x")).answered();
    // Where the old target was nobody can be told.
    rx(55).reset(Some(1)).terminated(tcp.slot(), 1).is(&h.moved());
    assert!(h.made().is_empty());
    let (_, got) = h.feed(CLIENT_SIDE, &udp.from_client(b"x")).forwarded();
    assert_ne!(got.destination, udp.target);
    tcp = Stream::new(CLIENT, DIRECT, 99);
    let out = tcp.feed_client(&mut h, &tcp.syn());
    out.forwarded();
    h.check_flows();
}

/// A target that is in no table but in the snapshot still gets what is its flows', also with another MAC or port. req: S1.3
#[test]
fn a_next_hop_may_move() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    let slot = usize::from(s.slot());
    h.world.targets[slot].next_hop = Some(leat_abi::snapshot::NextHop { port: 0, mac: [2, 2, 2, 2, 2, 2] });
    h.publish();
    let packet = s.from_client(ACK, b"x");
    let (port, got) = s.feed_client(&mut h, &packet).forwarded();
    assert_eq!((port, got), (0, packet.forwarded((PORTS[0], [2, 2, 2, 2, 2, 2]), s.nat, s.target)));
    s.c = packet.seq_end();
    h.world.targets[slot].next_hop = None;
    h.publish();
    assert!(s.feed_client(&mut h, &s.from_client(ACK, b"y")).is_dropped(DropReason::NoNextHop));
    s.target_sends(&mut h, ACK, b"the other way is known");
}

/// Two nodes, one client socket, one target: the second connection goes to another target, and the first is not harmed.
/// req: CIP-10, TRB-10, S12.1
#[test]
fn tuple_conflicts_take_another_target() {
    for targets in [&[0u16, 1][..], &TCP_TARGETS] {
        let mut h = Harness::default();
        choose_from(&mut h, targets, &UDP_TARGETS);
        for n in 0..200 {
            let mut first = Stream::open(&mut h, client(n), DIRECT, n.into());
            let mut second = Stream::open(&mut h, client(n), DIRECT_2, n.into());
            assert_ne!(first.target, second.target);
            first.works(&mut h);
            second.works(&mut h);
        }
        assert_eq!(h.counters(0).dropped_total(), 0);
        h.check_flows();
    }
}

/// With one target only, the second connection is refused and the first goes on. req: CIP-10, S12.1
#[test]
fn a_conflict_without_another_target_harms_nobody() {
    let mut h = Harness::default();
    choose_from(&mut h, &[2], &UDP_TARGETS);
    let mut first = Stream::open(&mut h, CLIENT, DIRECT, 1);
    let second = Stream::new(CLIENT, DIRECT_2, 2);
    h.moved();
    second.feed_client(&mut h, &second.syn());
    rx(74).dropped("tuple_conflict").and("listener4.conflicts", 1).is(&h.moved());
    first.works(&mut h);
    // Once the first is over, in whatever way, its socket is free.
    first.close(&mut h);
    Stream::open(&mut h, CLIENT, DIRECT_2, 3).works(&mut h);
    h.check_flows();
}

/// A flow whose time is over holds nobody up, even if nobody has looked after its timer yet. req: S12.2
#[test]
fn expired_flows_make_way() {
    let mut h = Harness::default();
    choose_from(&mut h, &[2], &UDP_TARGETS);
    Stream::open(&mut h, CLIENT, DIRECT, 1);
    h.skip(352_000);
    Stream::open(&mut h, CLIENT, DIRECT_2, 3).works(&mut h);
    h.check_flows();
}

/// The client is the chosen target: dropped with its address preserved. req: CIP-11, TRB-08, S12.3
#[test]
fn hairpin() {
    let mut h = Harness::default();
    choose_from(&mut h, &[2], &UDP_TARGETS);
    let s = Stream::new(SocketAddr::new(target(2).ip(), 5000), DIRECT, 1);
    s.feed_client(&mut h, &s.syn());
    rx(74).dropped("hairpin").and("listener1.conflicts", 1).is(&h.moved());
    assert!(h.flows().is_empty());
}

/// The client is the chosen target, and the option says that the next one is taken. req: CIP-11, S12.3
#[test]
fn hairpin_takes_the_next_target() {
    let mut h = Harness::default();
    h.world.hairpin_next_target = true;
    h.publish();
    let mut reached = std::collections::HashSet::new();
    for n in 0..200 {
        let mut s = Stream::new(SocketAddr::new(target(2).ip(), 5000 + n), DIRECT, n.into());
        s.send_syn(&mut h);
        reached.insert(s.slot());
    }
    assert_eq!(reached, [0, 1, 3].into());
    assert_eq!(h.counters(0).dropped_total(), 0);
    choose_from(&mut h, &[2], &UDP_TARGETS);
    h.moved();
    let s = Stream::new(SocketAddr::new(target(2).ip(), 6000), DIRECT, 1);
    s.feed_client(&mut h, &s.syn());
    rx(74).dropped("hairpin").and("listener1.conflicts", 1).is(&h.moved());
    h.check_flows();
}

/// UDP of a target to its own group: with its address preserved it is dropped, under full NAT it reaches the target itself and comes
/// back. req: CIP-11, S12.3, S12.4
#[test]
fn hairpin_of_datagrams() {
    let mut h = Harness::default();
    choose_from(&mut h, &TCP_TARGETS, &[4]);
    let client = SocketAddr::new(target(4).ip(), 5000);
    let preserved = Packet::udp(client, DNS, b"x").macs(target_mac(4), PORTS[1]);
    assert!(h.feed(TARGET_SIDE, &preserved).is_dropped(DropReason::Hairpin));
    let packet = Packet::udp(client, LOG, b"x").macs(target_mac(4), PORTS[1]);
    let (port, got) = h.feed(TARGET_SIDE, &packet).forwarded();
    assert_eq!((port, got.source.ip(), got.destination), (TARGET_SIDE, NODE, target(4)));
    let answer = Packet::udp(target(4), got.source, b"y").macs(target_mac(4), PORTS[1]);
    let (port, back) = h.feed(TARGET_SIDE, &answer).forwarded();
    assert_eq!((port, back.source, back.destination, back.destination_mac), (TARGET_SIDE, LOG, client, target_mac(4)));
    h.check_flows();
}

/// What comes in by an endpoint's port has full NAT, whatever the group says; the other ports' clients keep their address.
/// req: CIP-06
#[test]
fn endpoints_are_always_full_nat() {
    let mut h = Harness::default();
    let id = "vpce-0123456789abcdef0".into();
    h.world.endpoints.push(leat_abi::snapshot::Endpoint { port: TARGET_SIDE, id });
    h.publish();
    for (vip, packet) in [(DIRECT, Packet::tcp(client(1), DIRECT, SYN, 1, 0)), (DNS, Packet::udp(client(1), DNS, b"x"))]
    {
        let through_endpoint = packet.clone().macs([2, 2, 2, 2, 2, 2], PORTS[1]);
        let (_, got) = h.feed(TARGET_SIDE, &through_endpoint).forwarded();
        assert_eq!(got.source.ip(), vip.ip(), "the node's");
        let (_, other) =
            h.feed(CLIENT_SIDE, &Packet { source: client(2), ..packet.macs(ROUTER_MAC, PORTS[0]) }).forwarded();
        assert_eq!(other.source, client(2));
    }
    h.check_flows();
}

/// A listener that is gone: its flows go on, what is new is dropped. A group that is another one: likewise. req: LSN-11, LSN-12,
/// CIP-04
#[test]
fn listeners_change_under_flows() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    h.world.listeners[0].group = 1;
    h.publish();
    s.works(&mut h);
    assert_eq!(Stream::open(&mut h, client(1), WEB, 1).nat, client(1));
    h.world.listeners.remove(0);
    h.publish();
    s.works(&mut h);
    let new = Stream::new(client(2), WEB, 1);
    assert!(new.feed_client(&mut h, &new.syn()).is_dropped(DropReason::NoListener));
    s.close(&mut h);
    h.pass(62_000);
    h.check_flows();
    assert_eq!(h.total(Counter::FlowsCreated), 2);
}

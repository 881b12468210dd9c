//! Targets that are unhealthy for some of a load balancer's nodes: each node's flows go by its own checks.

use leat_abi::snapshot::TargetState;
use leat_abi::{Counter, DropReason};

use crate::common::packet::reset_of;
use crate::common::pieces::piece;
use crate::common::*;

/// The listeners of the second node's address, and of the second group of UDP, are node 1's; all others node 0's.
fn two_nodes() -> Harness {
    let mut h = Harness::default();
    for listener in &mut h.world.listeners {
        listener.node =
            u8::from([DIRECT_2, LOG, DIRECT_6].contains(&std::net::SocketAddr::new(listener.vip, listener.port)));
    }
    h.publish();
    h
}

/// All targets are unhealthy for the nodes of this mask.
fn unhealthy_at(h: &mut Harness, nodes: u64) {
    for target in &mut h.world.targets {
        (target.state, target.unhealthy_at) = (TargetState::UnhealthyInPart, nodes);
    }
    h.publish();
}

/// A flow by the node that finds its target unhealthy is reset at both ends with its client's next packet; what its target sends still
/// reaches the client. A flow by the other node goes on. req: HC-15, HC-20, S16.5, S5.4
#[test]
fn each_node_goes_by_its_own_checks() {
    for (mask, lost, lost_listener, kept) in [(1 << 1, DIRECT_2, 4, DIRECT), (1 << 0, DIRECT, 1, DIRECT_2)] {
        let mut h = two_nodes();
        let mut lost = Stream::open(&mut h, CLIENT, lost, 1);
        let mut kept = Stream::open(&mut h, (CLIENT.ip(), 40_002), kept, 1);
        unhealthy_at(&mut h, mask);
        kept.works(&mut h);
        lost.target_sends(&mut h, ACK, b"late");
        lost.target_sends(&mut h, ACK, b"later");
        h.moved();
        let (port, reset) = lost.feed_client(&mut h, &lost.from_client(ACK, b"anybody?")).answered();
        assert_eq!((port, reset.numbers()), (CLIENT_SIDE, (lost.t, 0, RST)));
        let at_target = reset_of((PORTS[1], target_mac(lost.slot())), (lost.nat, lost.target), lost.c);
        assert_eq!(h.made_packets(), [(TARGET_SIDE, at_target)]);
        rx(62)
            .reset(Some(lost_listener))
            .ends_reset(1, lost_listener)
            .terminated(lost.slot(), lost_listener)
            .is(&h.moved());
        kept.works(&mut h);
        h.check_flows();
    }
}

/// Whose bits are not set is well, whatever the other bits; the mask of another state says nothing. req: HC-15, S16.5
#[test]
fn only_the_nodes_bit_counts() {
    let mut h = two_nodes();
    let mut s = Stream::open(&mut h, CLIENT, DIRECT_2, 1);
    unhealthy_at(&mut h, !(1 << 1));
    s.works(&mut h);
    for state in [TargetState::Active, TargetState::Draining] {
        h.world.targets.iter_mut().for_each(|t| (t.state, t.unhealthy_at) = (state, u64::MAX));
        h.publish();
        s.works(&mut h);
    }
}

/// UDP chooses again, of the node only for which its target is unhealthy. req: HC-15, S7.4
#[test]
fn udp_of_the_node_chooses_again() {
    let mut h = two_nodes();
    let [mut kept, mut lost] = [DNS, LOG].map(|vip| Datagrams::open(&mut h, CLIENT, vip));
    let slots = [kept.slot(), lost.slot()];
    let rest: Vec<u16> = UDP_TARGETS.into_iter().filter(|slot| !slots.contains(slot)).collect();
    h.world.groups.iter_mut().take(4).for_each(|group| group.table = table(&rest));
    unhealthy_at(&mut h, 1 << 1);
    // The others are well.
    for slot in &rest {
        h.world.targets[usize::from(*slot)].state = TargetState::Active;
    }
    h.publish();
    kept.client_sends(&mut h, b"more");
    lost.target_sends(&mut h, b"still here");
    lost.client_sends(&mut h, b"more");
    assert_eq!(kept.slot(), slots[0]);
    assert!(rest.contains(&lost.slot()));
    lost.target_sends(&mut h, b"here");
    h.check_flows();
}

/// A flow whose listener is gone has no node, and goes on as long as its target is well for one. req: LSN-11, HC-15
#[test]
fn flows_of_a_listener_that_is_gone_go_on() {
    let mut h = two_nodes();
    let mut s = Stream::open(&mut h, CLIENT, DIRECT_2, 1);
    h.world.listeners.retain(|listener| listener.slot != 4);
    unhealthy_at(&mut h, 1 << 1);
    s.works(&mut h);
    h.world.targets.iter_mut().for_each(|t| (t.state, t.unhealthy_at) = (TargetState::Unhealthy, 0));
    h.publish();
    s.feed_client(&mut h, &s.from_client(ACK, b"x")).answered();
    h.check_flows();
}

/// A segment in fragments: of the node that finds the target unhealthy its first fragment is answered, of the other one all go on.
/// req: HC-15, S5.4
#[test]
fn fragments_go_by_their_flows_node() {
    let mut h = two_nodes();
    let lost = Stream::open(&mut h, CLIENT, DIRECT_2, 1);
    let kept = Stream::open(&mut h, (CLIENT.ip(), 40_002), DIRECT, 1);
    unhealthy_at(&mut h, 1 << 1);
    let mut fragments = |s: &Stream, id| {
        let whole = Packet { dont_fragment: false, ..s.from_client(ACK, &[7; 400]) };
        [(0, 64), (64, 128)].map(|(from, to)| h.feed_bytes(0, CLIENT_SIDE, &piece(&whole.bytes(), id, from, to)))
    };
    fragments(&kept, 9).iter().for_each(|out| assert_eq!(out.forwarded_frame().0, TARGET_SIDE));
    let [first, second] = fragments(&lost, 10);
    assert_eq!(first.answered().1.numbers(), (lost.t, 0, RST));
    assert!(second.is_dropped(DropReason::NoFlow));
    assert_eq!(h.total(Counter::FlowsTerminated), 1);
    h.check_flows();
}

//! Flows that end because their target's time to drain is over, or because their load balancer was deleted.

use std::net::SocketAddr;

use leat_abi::flow::FlowState;
use leat_abi::snapshot::TargetState;
use leat_abi::{Counter, DropReason};

use crate::common::packet::{L4, reset_of};
use crate::common::*;

fn client(n: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.ip(), 20_000 + n)
}

/// All targets are in this state, and the groups have none to choose any more.
fn end_all(h: &mut Harness, state: TargetState) {
    h.world.targets.iter_mut().for_each(|t| t.state = state);
    h.world.groups.iter_mut().for_each(|g| g.table.clear());
    h.publish();
}

/// To the client and to the target, in this order.
fn to_ends(s: &Stream, client_seq: u32, target_seq: u32) -> [(u8, Packet); 2] {
    [
        (CLIENT_SIDE, reset_of((PORTS[0], ROUTER_MAC), (s.vip, s.client), client_seq)),
        (TARGET_SIDE, reset_of((PORTS[1], target_mac(s.slot())), (s.nat, s.target), target_seq)),
    ]
}

/// Silent connections are reset at both ends, with the numbers that each waits for; what they send then is answered. UDP flows end
/// without a word. Nothing happens before the deadline. req: DRN-05, S15.3, S5.3
#[test]
fn termination_of_silent_flows() {
    for (vip, listener) in [(WEB, 0), (DIRECT, 1), (WEB_6, 7), (DIRECT_6, 8), (TCP_6_TO_4, 11), (TCP_4_TO_6, 13)] {
        let mut h = Harness::default();
        let client = if vip.is_ipv6() { CLIENT_6 } else { CLIENT };
        let mut s = Stream::open(&mut h, client, vip, u32::MAX - 1);
        s.works(&mut h);
        let slot = s.slot();
        h.pass(1000);
        assert!(h.made().is_empty());
        h.moved();
        end_all(&mut h, TargetState::Terminate);
        h.housekeeping();
        // The target's last data is not acknowledged: it may have arrived, or not.
        let [to_client, to_target] = to_ends(&s, s.t.wrapping_sub(4), s.c);
        let [with_data, _] = to_ends(&s, s.t, s.c);
        assert_eq!(h.made_packets(), [to_client, with_data, to_target]);
        nothing().ends_reset(3, listener).terminated(slot, listener).is(&h.moved());
        assert_eq!(h.flows()[0].1.state(), Some(FlowState::Terminated));
        // A challenge acknowledgement gets the number that it names.
        let (_, reset) = s.feed_client(&mut h, &s.from_client(ACK, &[])).answered();
        assert_eq!(reset.numbers(), (s.t, 0, RST));
        let (_, reset) = s.feed_target(&mut h, &s.from_target(ACK, &[])).answered();
        assert_eq!(reset.numbers(), (s.c, 0, RST));
        // Nobody is told twice.
        h.publish();
        h.housekeeping();
        assert!(h.made().is_empty());
        h.pass(32_000);
        h.check_flows();
        assert!(h.flows().is_empty());
    }
}

/// Whoever speaks after the deadline before the sweep has come is answered, and the other end is reset. req: DRN-05, S15.3
#[test]
fn termination_at_the_next_packet() {
    for from_client in [true, false] {
        let mut h = Harness::default();
        let s = Stream::open(&mut h, CLIENT, WEB, 1);
        end_all(&mut h, TargetState::Terminate);
        h.moved();
        let [to_client, to_target] = to_ends(&s, s.t, s.c);
        if from_client {
            let (_, reset) = s.feed_client(&mut h, &s.from_client(ACK, b"x")).answered();
            assert_eq!(reset.numbers(), (s.t, 0, RST));
            assert_eq!(h.made_packets(), [to_target]);
        } else {
            let (_, reset) = s.feed_target(&mut h, &s.from_target(ACK, b"x")).answered();
            assert_eq!(reset.numbers(), (s.c, 0, RST));
            assert_eq!(h.made_packets(), [to_client]);
        }
        rx(55).reset(Some(0)).ends_reset(1, 0).terminated(s.slot(), 0).is(&h.moved());
        h.check_flows();
    }
}

/// A client that waits for the answer to its SYN accepts only a reset that acknowledges it. req: S5.3
#[test]
fn termination_of_half_open_flows() {
    for answered in [false, true] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT, DIRECT, 7);
        s.send_syn(&mut h);
        if answered {
            s.feed_target(&mut h, &s.syn_ack()).forwarded();
        }
        end_all(&mut h, TargetState::Terminate);
        h.housekeeping();
        let made = h.made_packets();
        assert_eq!(made.len(), 2);
        assert_eq!(made[0].1.numbers(), (if answered { s.t } else { 0 }, 8, RST | ACK));
        assert_eq!(made[1].1.numbers(), (8, 0, RST));
        h.check_flows();
    }
}

/// Termination ends UDP flows: a client's next datagram begins another one, a target's finds none. req: DRN-05, S7.4, S15.3
#[test]
fn termination_of_datagram_flows() {
    for vip in [DNS, LOG] {
        for swept in [false, true] {
            let mut h = Harness::default();
            let mut s = Datagrams::open(&mut h, CLIENT, vip);
            let old = s.slot();
            h.world.targets[usize::from(old)].state = TargetState::Terminate;
            let rest: Vec<u16> = UDP_TARGETS.into_iter().filter(|t| *t != old).collect();
            h.world.groups.iter_mut().take(4).for_each(|g| g.table = table(&rest));
            h.publish();
            if swept {
                h.housekeeping();
                assert!(h.flows().is_empty());
            }
            assert!(h.feed(TARGET_SIDE, &s.from_target(b"late")).is_dropped(DropReason::NoFlow));
            s.client_sends(&mut h, b"again");
            assert_ne!(s.slot(), old);
            s.target_sends(&mut h, b"here");
            assert_eq!((h.total(Counter::FlowsTerminated), h.made().len()), (1, 0));
            h.check_flows();
        }
    }
}

/// A target that drains with its deadline not over keeps UDP and TCP; closed connections are left alone by termination. req: S7.4, S15.3
#[test]
fn termination_leaves_closed_connections_alone() {
    let mut h = Harness::default();
    let mut closed = Stream::open(&mut h, client(1), WEB, 1);
    let mut reset = Stream::open(&mut h, client(2), WEB, 2);
    closed.close(&mut h);
    reset.abort(&mut h);
    h.moved();
    end_all(&mut h, TargetState::Terminate);
    h.housekeeping();
    nothing().is(&h.moved());
    assert_eq!(h.flows().len(), 2);
}

/// A deleted load balancer's flows vanish, swept or not; nobody is told, and what still comes is dropped. req: S15.7
#[test]
fn withdrawn_flows_vanish() {
    for swept in [false, true] {
        let mut h = Harness::default();
        let s = Stream::open(&mut h, client(0), WEB, 1);
        let from_target = Stream::open(&mut h, client(1), WEB, 1);
        let mut closed = Stream::open(&mut h, client(2), WEB, 1);
        closed.close(&mut h);
        let datagrams = Datagrams::open(&mut h, client(3), DNS);
        h.world.listeners.clear();
        h.world.locals.retain(|local| local.address == HOST);
        end_all(&mut h, TargetState::Withdrawn);
        if swept {
            h.housekeeping();
            assert!(h.flows().is_empty());
            assert_eq!(h.ports.used().1, 0);
        }
        let expected = if swept { DropReason::NoListener } else { DropReason::Withdrawn };
        assert!(s.feed_client(&mut h, &s.from_client(ACK, b"x")).is_dropped(expected));
        assert!(closed.feed_client(&mut h, &closed.from_client(ACK, b"x")).is_dropped(expected));
        for packet in [from_target.from_target(ACK, b"x"), datagrams.from_target(b"x"), s.from_target(ACK, b"x")] {
            assert!(h.feed(TARGET_SIDE, &packet).is_dropped(DropReason::Withdrawn));
        }
        assert!(h.flows().is_empty() && h.made().is_empty());
        assert_eq!((h.total(Counter::FlowsTerminated), h.total(Counter::FlowsClosed)), (3, 1));
        h.check_flows();
    }
}

/// Many silent connections: at most 20,000 a second and lcore are reset, after 2,000 that were saved up, all of them in the end, on every lcore; others' flows are not
/// touched. req: R15, S15.3, DRN-05
#[test]
fn termination_of_many() {
    const FLOWS: u16 = 30_000;
    let mut h = Harness::new(2, 1 << 15);
    let mut streams: Vec<Stream> = (0..FLOWS).map(|n| Stream::open(&mut h, client(n), DIRECT, n.into())).collect();
    let (ended, mut left): (Vec<Stream>, Vec<Stream>) = streams.drain(..).partition(|s| s.slot() < 3);
    h.world.groups[1].table = table(&[3]);
    for slot in 0..3 {
        h.world.targets[slot].state = TargetState::Terminate;
    }
    h.publish();
    let mut made = Vec::new();
    for ms in 1..2000 {
        h.pass(1);
        made.extend(h.made_packets());
        let flows = made.len() as u64 / 2;
        assert!(flows <= 2 * (2_000 + 20 * ms), "{flows} of two lcores after {ms} ms");
        // Snapshots that say the same again do no harm.
        if ms % 100 == 0 {
            h.publish();
        }
    }
    assert_eq!(h.total(Counter::FlowsTerminated), ended.len() as u64);
    assert_eq!(made.len(), 2 * ended.len());
    let told: std::collections::HashSet<SocketAddr> = made.iter().map(|(_, packet)| packet.destination).collect();
    assert!(ended.iter().all(|s| told.contains(&s.client)));
    for packet in &made {
        assert!(matches!(packet.1.l4, L4::Tcp { flags: RST, .. }));
    }
    left.iter_mut().for_each(|s| s.works(&mut h));
    h.check_flows();
}

/// Draining without termination: flows live on for as long as they like. A target registered again has its flows. req: DRN-04, S15.3, S15.4
#[test]
fn draining_ends_nothing() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    let mut d = Datagrams::open(&mut h, CLIENT, DNS);
    d.target_sends(&mut h, b"hello");
    for state in [TargetState::Draining, TargetState::Active, TargetState::Draining] {
        h.world.targets.iter_mut().for_each(|t| t.state = state);
        h.publish();
        for _ in 0..5 {
            h.pass(100_000);
            s.works(&mut h);
            d.client_sends(&mut h, b"x");
            d.target_sends(&mut h, b"y");
        }
    }
    assert!(h.made().is_empty());
    assert_eq!(h.total(Counter::FlowsCreated), 2);
    h.check_flows();
}

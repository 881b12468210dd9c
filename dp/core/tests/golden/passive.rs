//! How targets answer SYNs, as the control plane is told (HC-17).

use std::net::SocketAddr;

use leat_abi::Counter;
use leat_abi::attempts::Attempts;
use leat_core::attempts::FOLLOWED_MAX;

use crate::common::*;

/// Clients with addresses of their own.
fn client(n: u8) -> SocketAddr {
    SocketAddr::new([198, 51, 100, n].into(), 40_000)
}

/// Answered, failed, and how many different clients failed last.
fn seen(h: &Harness, slot: u16) -> (u64, u64, usize) {
    let Attempts { answered, failed, clients } = h.counters(0).attempts(slot);
    (answered, failed, clients.clients().count())
}

/// What all targets' attempts come to.
fn seen_of_all(h: &Harness) -> (u64, u64) {
    (0..16).map(|slot| seen(h, slot)).fold((0, 0), |sum, (answered, failed, _)| (sum.0 + answered, sum.1 + failed))
}

fn syn_sent(h: &mut Harness, client: SocketAddr, vip: SocketAddr) -> Stream {
    let mut s = Stream::new(client, vip, 7);
    s.send_syn(h);
    s
}

fn refuse(h: &mut Harness, s: &Stream) {
    s.feed_target(h, &s.at_target(RST | ACK, 0, s.c)).forwarded();
}

/// A reset that answers the SYN counts as refused, with the client that was refused; one that answers something else, or comes later,
/// does not. A SYN-ACK counts once, however often it comes. req: HC-17, S16.4
#[test]
fn answers_to_syns_are_counted() {
    for (vip, clients) in [(WEB, [client(1), client(2)]), (DIRECT, [client(1), client(2)]), (WEB_6, [CLIENT_6; 2])] {
        let mut h = Harness::default();
        let s = syn_sent(&mut h, clients[0], vip);
        let slot = s.slot();
        s.feed_target(&mut h, &s.at_target(RST | ACK, 0, s.c.wrapping_add(1))).forwarded();
        assert_eq!(seen(&h, slot), (0, 0, 0), "it refuses another SYN");
        refuse(&mut h, &s);
        refuse(&mut h, &s);
        assert_eq!(seen(&h, slot), (0, 1, 1));

        let other = SocketAddr::new(clients[1].ip(), 50_000);
        let mut s = syn_sent(&mut h, other, vip);
        let before = seen(&h, s.slot());
        for _ in 0..2 {
            s.feed_target(&mut h, &s.syn_ack()).forwarded();
        }
        assert_eq!(seen(&h, s.slot()), (before.0 + 1, before.1, before.2));
        s.feed_client(&mut h, &s.from_client(ACK, &[])).forwarded();
        s.works(&mut h);
        s.abort(&mut h);
        assert_eq!(seen_of_all(&h), (1, 1), "a reset of a connection that was answered");
        h.check_flows();
    }
}

/// Clients are told apart by their addresses, not by their ports; those of an earlier second are forgotten. req: HC-17, S16.4
#[test]
fn different_clients_are_told_apart() {
    let mut h = Harness::default();
    h.world.groups[1].table = table(&[2]);
    h.publish();
    for (n, port, different) in [(1, 1, 1), (1, 2, 1), (2, 1, 2), (2, 2, 2), (3, 1, 3), (4, 1, 3)] {
        let s = syn_sent(&mut h, SocketAddr::new(client(n).ip(), port), DIRECT);
        refuse(&mut h, &s);
        assert_eq!(seen(&h, 2).2, different);
    }
    h.skip(1_000);
    let s = syn_sent(&mut h, client(9), DIRECT);
    refuse(&mut h, &s);
    assert_eq!(seen(&h, 2), (0, 7, 1));
}

/// No answer within 3 s of the SYN's second repetition counts as failed, once; not before, not when there was an answer, and not when the
/// client has not tried for so long. req: HC-17, S16.4
#[test]
fn silence_is_counted() {
    for vip in [WEB, DIRECT, DIRECT_6] {
        let mut h = Harness::default();
        let mut silent = syn_sent(&mut h, if vip.is_ipv6() { CLIENT_6 } else { client(1) }, vip);
        let mut answered = syn_sent(&mut h, SocketAddr::new(silent.client.ip(), 2), vip);
        let mut given_up = syn_sent(&mut h, SocketAddr::new(silent.client.ip(), 3), vip);
        h.pass(1_000);
        given_up.send_syn(&mut h);
        silent.send_syn(&mut h);
        answered.send_syn(&mut h);
        h.pass(2_000);
        silent.send_syn(&mut h);
        answered.send_syn(&mut h);
        h.pass(2_900);
        answered.feed_target(&mut h, &answered.syn_ack()).forwarded();
        assert_eq!(seen_of_all(&h), (1, 0));
        h.pass(100);
        assert_eq!(seen_of_all(&h), (1, 1));
        let failed = seen(&h, silent.slot());
        assert_eq!((failed.1, failed.2), (1, 1));
        silent.send_syn(&mut h);
        h.pass(10_000);
        assert_eq!(seen_of_all(&h), (1, 1));
        h.check_flows();
    }
}

/// An entry that is another flow's by the time says nothing of it. req: HC-17
#[test]
fn who_begins_anew_is_not_followed() {
    let mut h = Harness::default();
    let mut s = syn_sent(&mut h, client(1), WEB);
    (0..2).for_each(|_| drop(s.send_syn(&mut h)));
    let mut again = Stream::new(client(1), WEB, 1_000_000);
    again.send_syn(&mut h);
    h.pass(4_000);
    assert_eq!(seen_of_all(&h), (0, 0));
}

/// A flood of SYNs, sent again as clients do, fills no more than the places that there are for them; the rest is counted, and the
/// flows themselves are not harmed. req: HC-17
#[test]
fn a_flood_is_bounded() {
    const MORE: usize = 300;
    let mut h = Harness::new(1, 1 << 14);
    for n in 0..FOLLOWED_MAX + MORE {
        let mut s = Stream::new(SocketAddr::new(client(n as u8).ip(), n as u16), DIRECT, 7);
        (0..3).for_each(|_| drop(s.send_syn(&mut h)));
    }
    assert_eq!(h.total(Counter::SynsNotFollowed), MORE as u64);
    h.pass(3_000);
    assert_eq!(seen_of_all(&h), (0, FOLLOWED_MAX as u64));
    // There is room again.
    let mut s = syn_sent(&mut h, client(1), DIRECT);
    (0..2).for_each(|_| drop(s.send_syn(&mut h)));
    h.pass(3_000);
    assert_eq!(seen_of_all(&h), (0, FOLLOWED_MAX as u64 + 1));
    h.check_flows();
}

/// UDP is not observed. req: HC-17
#[test]
fn datagrams_are_not_observed() {
    let mut h = Harness::default();
    let mut s = Datagrams::open(&mut h, client(1), DNS);
    (0..5).for_each(|_| drop(s.client_sends(&mut h, b"anybody?")));
    h.pass(10_000);
    s.target_sends(&mut h, b"here");
    assert_eq!(seen_of_all(&h), (0, 0));
}

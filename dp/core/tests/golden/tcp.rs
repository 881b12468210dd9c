//! TCP connections from SYN to TIME_WAIT.

use leat_abi::flow::FlowState;
use leat_core::{NAT_PORTS, Verdict};

use crate::common::*;

fn state(h: &Harness) -> Option<FlowState> {
    let flows = h.flows();
    assert!(flows.len() <= 1);
    flows.first().and_then(|(_, e)| e.state())
}

/// Under full NAT the target sees the node's address and a port of the pool. req: CIP-01, SEC-04, RT-07, LSN-15, GEN-03, S9.1
#[test]
fn syn_under_full_nat() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, WEB, 1000);
    let out = s.send_syn(&mut h);
    assert_eq!((s.nat.ip(), NAT_PORTS.contains(&s.nat.port())), (NODE, true));
    assert!(TCP_TARGETS.contains(&s.slot()));
    assert_eq!(out.bytes, s.as_target_sees(&s.syn()).bytes());
    rx(74).to_target(s.slot(), 60).created(s.slot(), 0).is(&h.moved());
    assert_eq!(state(&h), Some(FlowState::SynSent));
    h.check_flows();
}

/// With the client's address preserved the target sees client address and port. req: CIP-01, GEN-03
#[test]
fn syn_with_preserved_client_address() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, DIRECT, 1000);
    let out = s.send_syn(&mut h);
    assert_eq!(s.nat, CLIENT);
    assert_eq!(out.bytes, s.as_target_sees(&s.syn()).bytes());
    rx(74).to_target(s.slot(), 60).created(s.slot(), 1).is(&h.moved());
}

/// The whole life of a connection, every byte and counter of it, in both addressing modes and with sequence numbers that wrap.
/// req: GEN-10, RT-02, MET-34, S3.3, S4, S4.2, S4.5
#[test]
fn handshake_data_and_close() {
    for (vip, listener, isn) in [(WEB, 0, 1000), (DIRECT, 1, u32::MAX - 20), (WEB, 0, u32::MAX), (DIRECT_2, 4, 0)] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT, vip, isn);
        s.send_syn(&mut h);
        let slot = s.slot();
        h.moved();

        let syn_ack = s.syn_ack();
        let out = s.feed_target(&mut h, &syn_ack);
        assert_eq!(out.verdict, Verdict::Forward { port: CLIENT_SIDE });
        assert_eq!(out.bytes, s.as_client_sees(&syn_ack).bytes());
        rx(62).to_client(slot, 48).is(&h.moved());
        assert_eq!(state(&h), Some(FlowState::SynReceived));

        s.client_sends(&mut h, ACK, &[]);
        rx(54).to_target(slot, 40).is(&h.moved());
        assert_eq!(state(&h), Some(FlowState::Established));

        s.client_sends(&mut h, PSH | ACK, &[7; 1400]);
        rx(1454).to_target(slot, 1440).is(&h.moved());
        s.target_sends(&mut h, ACK, &[9; 99]);
        rx(153).to_client(slot, 139).is(&h.moved());

        s.client_sends(&mut h, FIN | ACK, b"last");
        rx(58).to_target(slot, 44).is(&h.moved());
        assert_eq!(state(&h), Some(FlowState::HalfClosed));
        s.target_sends(&mut h, ACK, b"the other way is open");
        rx(75).to_client(slot, 61).is(&h.moved());
        s.target_sends(&mut h, FIN | ACK, &[]);
        rx(54).to_client(slot, 40).is(&h.moved());
        assert_eq!(state(&h), Some(FlowState::HalfClosed));
        s.client_sends(&mut h, ACK, &[]);
        rx(54).to_target(slot, 40).closed(slot, listener).is(&h.moved());
        assert_eq!(state(&h), Some(FlowState::TimeWait));

        // A retransmitted FIN is still translated.
        let fin = s.at_target(FIN | ACK, s.t.wrapping_sub(1), s.c);
        assert_eq!(s.feed_target(&mut h, &fin).bytes, s.as_client_sees(&fin).bytes());
        rx(54).to_client(slot, 40).is(&h.moved());
        h.pass(62_000);
        nothing().freed(slot, listener).is(&h.moved());
        h.check_flows();
    }
}

/// Reset by either side: forwarded, counted once per packet, and what is in flight still passes. req: MET-23, MET-25, S4.1, S5.6
#[test]
fn resets_of_client_and_target() {
    let mut h = Harness::default();
    for from_client in [true, false] {
        let mut s = Stream::open(&mut h, CLIENT, WEB, 1 + u32::from(from_client));
        let slot = s.slot();
        h.moved();
        if from_client {
            s.client_sends(&mut h, RST | ACK, &[]);
            rx(54).to_target(slot, 40).closed(slot, 0).and("client_resets", 1).is(&h.moved());
            s.client_sends(&mut h, RST, &[]);
            rx(54).to_target(slot, 40).and("client_resets", 1).is(&h.moved());
        } else {
            s.target_sends(&mut h, RST, &[]);
            let reset = |e: moves::Expect| e.and("target_resets", 1).and(&format!("target{slot}.resets"), 1);
            reset(rx(54).to_client(slot, 40).closed(slot, 0)).is(&h.moved());
            s.target_sends(&mut h, RST, &[]);
            reset(rx(54).to_client(slot, 40)).is(&h.moved());
        }
        assert_eq!(state(&h), Some(FlowState::ResetLinger));
        s.target_sends(&mut h, ACK, b"in flight");
        h.check_flows();
        h.pass(12_000);
        assert_eq!(state(&h), None);
    }
}

/// A target that refuses the connection. req: MET-25, S4
#[test]
fn refused_connection() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, DIRECT, 500);
    s.send_syn(&mut h);
    let slot = s.slot();
    h.moved();
    let refusal = s.at_target(RST | ACK, 0, 501);
    assert_eq!(s.feed_target(&mut h, &refusal).bytes, s.as_client_sees(&refusal).bytes());
    let expected = rx(54).to_client(slot, 40).closed(slot, 1).and("target_resets", 1);
    expected.and(&format!("target{slot}.resets"), 1).is(&h.moved());
}

/// A reset out of window is forwarded and ends nothing; the endpoints judge it. req: S4.1
#[test]
fn a_blind_reset_ends_nothing() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, DIRECT, 5);
    for seq in [s.c.wrapping_sub(1), s.c.wrapping_add(1 << 30), s.c ^ 1 << 31] {
        let reset = s.at_client(RST, seq, 0);
        s.feed_client(&mut h, &reset).forwarded();
        assert_eq!(state(&h), Some(FlowState::Established));
    }
    s.works(&mut h);
}

/// A SYN again, with the same number: to the same target, also when the entry was lost meanwhile, and the deadline stays.
/// req: RT-06, S3, S2.5, S6.3
#[test]
fn retransmitted_syn() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT, vip, 4242);
        let first = s.send_syn(&mut h);
        let slot = s.slot();
        h.moved();
        h.pass(20_000);
        assert_eq!(s.feed_client(&mut h, &s.syn()), first);
        rx(74).to_target(slot, 60).is(&h.moved());
        h.pass(12_000);
        assert!(matches!(state(&h), None | Some(FlowState::Resting)), "30 s from the first SYN");
        let again = s.send_syn(&mut h);
        assert_eq!((again.forwarded().1.destination, s.slot()), (first.forwarded().1.destination, slot));
        h.check_flows();
    }
}

/// A SYN with another number on a half-open flow begins anew; what the old target answers is reset. req: S3
#[test]
fn another_syn_replaces_a_half_open_flow() {
    let mut h = Harness::default();
    let (old, mut new) = (1..500)
        .find_map(|isn| {
            h = Harness::default();
            let mut old = Stream::new(CLIENT, DIRECT, 1);
            old.send_syn(&mut h);
            h.moved();
            let mut new = Stream::new(CLIENT, DIRECT, isn << 8);
            new.send_syn(&mut h);
            (old.slot() != new.slot()).then_some((old, new))
        })
        .expect("the number takes part in the choice");
    let (a, b) = (old.slot(), new.slot());
    rx(74).to_target(b, 60).closed(a, 1).freed(a, 1).created(b, 1).is(&h.moved());
    let (_, reset) = old.feed_target(&mut h, &old.syn_ack()).answered();
    assert_eq!(reset.numbers(), (old.isn_c.wrapping_add(1), 0, RST));
    rx(62).reset(None).is(&h.moved());
    new.feed_target(&mut h, &new.syn_ack()).forwarded();
    new.client_sends(&mut h, ACK, &[]);
    new.works(&mut h);
    h.check_flows();
}

/// A spoofed SYN neither moves nor refreshes an established flow: the target gets it and will challenge. req: S3, TGT-08
#[test]
fn syn_on_an_established_flow() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1000);
    let before = h.flows();
    h.pass(5_000);
    h.moved();
    let spoofed = s.at_client(SYN, 99, 0);
    assert_eq!(s.feed_client(&mut h, &spoofed).bytes, s.as_target_sees(&spoofed).bytes());
    rx(54).to_target(s.slot(), 40).is(&h.moved());
    assert_eq!(h.flows(), before);
    s.works(&mut h);
}

/// After both FINs, or a reset, a SYN with another number is a new connection; the old number is an old duplicate. req: S3, S3.1
#[test]
fn syn_after_the_end() {
    for reset in [false, true] {
        let mut h = Harness::default();
        let mut old = Stream::open(&mut h, CLIENT, WEB, 1000);
        if reset {
            old.abort(&mut h);
        } else {
            old.close(&mut h);
        }
        h.moved();
        let duplicate = old.syn();
        assert_eq!(old.feed_client(&mut h, &duplicate).bytes, old.as_target_sees(&duplicate).bytes());
        rx(74).to_target(old.slot(), 60).is(&h.moved());
        let mut new = Stream::new(CLIENT, WEB, 500_000);
        new.send_syn(&mut h);
        assert_ne!(new.nat, old.nat, "a fresh port (S9.4)");
        h.check_flows();
        new.feed_target(&mut h, &new.syn_ack()).forwarded();
        new.client_sends(&mut h, ACK, &[]);
        new.works(&mut h);
    }
}

/// A SYN with payload goes on unchanged, and the target may acknowledge the payload or not. req: S3
#[test]
fn syn_with_payload() {
    for acknowledged in [0, 10] {
        let mut h = Harness::default();
        let mut s = Stream::new(CLIENT, DIRECT, 77);
        let syn = s.syn().payload(&[1; 10]);
        let (_, got) = s.feed_client(&mut h, &syn).forwarded();
        (s.nat, s.target) = (got.source, got.destination);
        assert_eq!(got, s.as_target_sees(&syn));
        let syn_ack = s.at_target(SYN | ACK, s.isn_t, 78 + acknowledged);
        s.feed_target(&mut h, &syn_ack).forwarded();
        s.c = 78 + acknowledged;
        s.client_sends(&mut h, ACK, &[]);
        assert_eq!(state(&h), Some(FlowState::Established));
        s.works(&mut h);
    }
}

/// Flags that make no sense on a flow are dropped and change nothing. req: S3, S3.2
#[test]
fn senseless_flags_on_a_flow() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, DIRECT, 3);
    let before = h.flows();
    h.moved();
    for packet in [s.from_client(SYN | ACK, &[]), s.from_client(SYN | FIN, &[]), s.from_client(SYN | RST, &[])] {
        s.feed_client(&mut h, &packet);
        rx(54).dropped("tcp_flags").is(&h.moved());
    }
    for packet in [s.from_client(0, &[]), s.from_client(FIN, &[]), s.from_client(PSH, b"x")] {
        s.feed_client(&mut h, &packet);
        rx(packet.bytes().len()).dropped("tcp_flags").is(&h.moved());
    }
    let syn = s.from_target(SYN, &[]);
    s.feed_target(&mut h, &syn);
    rx(54).dropped("tcp_flags").is(&h.moved());
    assert_eq!(h.flows(), before);
    s.works(&mut h);
}

/// A target that is itself a client: its connection to a listener is one like any other, also to itself under full NAT.
/// req: CIP-11, S12.4
#[test]
fn targets_may_be_clients() {
    let mut h = Harness::default();
    let mut reached = std::collections::HashSet::new();
    for n in 0..40 {
        let client = std::net::SocketAddr::new(target(0).ip(), 50_000 + n);
        let mut s = Stream::new(client, WEB, 1 + u32::from(n));
        let syn = Packet { source_mac: target_mac(0), destination_mac: PORTS[1], ..s.syn() };
        let (port, got) = h.feed(TARGET_SIDE, &syn).forwarded();
        (s.nat, s.target) = (got.source, got.destination);
        assert_eq!((port, &got), (TARGET_SIDE, &s.as_target_sees(&syn)));
        let syn_ack = s.syn_ack();
        let (port, got) = s.feed_target(&mut h, &syn_ack).forwarded();
        assert_eq!((port, got), (TARGET_SIDE, syn_ack.forwarded((PORTS[1], target_mac(0)), WEB, client)));
        reached.insert(s.slot());
    }
    assert!(reached.contains(&0), "a target reached itself");
    h.check_flows();
}

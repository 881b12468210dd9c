//! Packets of one flow within one burst, and configurations that change in between.

use leat_abi::snapshot::TargetState;
use leat_core::{Answer, BURST, Verdict};

use crate::common::*;

/// A SYN, its retransmit, and a reset, in one burst: the later ones find the flow that the first made.
#[test]
fn a_flow_begins_within_a_burst() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        let s = Stream::new(CLIENT, vip, 1);
        let frames = [s.syn(), s.syn(), s.at_client(RST, 2, 0), s.syn()].map(|p| p.bytes());
        let outs = h.burst(0, CLIENT_SIDE, &frames);
        assert!(outs.iter().all(|out| out.verdict == Verdict::Forward { port: TARGET_SIDE }));
        assert_eq!(outs[0], outs[1]);
        assert_eq!(outs[2].forwarded().1.destination, outs[0].forwarded().1.destination);
        let moved = h.moved();
        assert_eq!((moved["flows_created"], moved["flows_closed"], moved["client_resets"]), (1, 1, 1));
        h.check_flows();
    }
}

/// A whole conversation in one burst, both sides of it, from both ports.
#[test]
fn a_conversation_in_a_burst() {
    // Where it will come out is known from an equal harness.
    let mut rehearsal = Harness::default();
    let mut s = Stream::new(CLIENT, WEB, 9);
    s.send_syn(&mut rehearsal);
    let (c, t) = (s.isn_c.wrapping_add(1), s.isn_t.wrapping_add(1));
    let packets = [
        (CLIENT_SIDE, s.syn()),
        (TARGET_SIDE, s.syn_ack()),
        (CLIENT_SIDE, s.at_client(ACK, c, t)),
        (CLIENT_SIDE, s.at_client(ACK, c, t).payload(b"hello")),
        (TARGET_SIDE, s.at_target(ACK | FIN, t, c + 5)),
        (CLIENT_SIDE, s.at_client(ACK | FIN, c + 5, t + 1)),
        (TARGET_SIDE, s.at_target(ACK, t + 1, c + 6)),
    ];
    let mut h = Harness::default();
    let frames = packets.iter().map(|(port, p)| OwnedFrame::new(*port, p.bytes())).collect();
    let outs = h.run(0, frames);
    for (out, (port, packet)) in outs.iter().zip(&packets) {
        let expected = if *port == CLIENT_SIDE { s.as_target_sees(packet) } else { s.as_client_sees(packet) };
        assert_eq!(out.bytes, expected.bytes());
    }
    assert_eq!(h.flows()[0].1.state(), Some(leat_abi::flow::FlowState::TimeWait));
    h.check_flows();
}

/// A flow is replaced within a burst, and its entry may have been another one's a packet ago: no packet takes the wrong one.
#[test]
fn entries_change_hands_within_a_burst() {
    let mut h = Harness::new(1, 2);
    let a = Stream::open(&mut h, CLIENT, DIRECT, 1);
    let mut b = Stream::new(CLIENT, DIRECT, 77_777);
    let mut frames = vec![a.at_client(RST, 2, 0).bytes(), b.syn().bytes(), a.from_client(ACK, b"old").bytes()];
    frames.push(b.syn().bytes());
    let outs = h.burst(0, CLIENT_SIDE, &frames);
    (b.nat, b.target) = (outs[1].forwarded().1.source, outs[1].forwarded().1.destination);
    // The old connection's segment is forwarded as the new flow's, whose target will reset it: it has the same client socket.
    assert_eq!(outs[2].forwarded().1.destination, b.target);
    assert_eq!(outs[1], outs[3]);
    h.check_flows();
}

/// Many flows in a full burst, twice as many packets as flows. Order is kept by each.
#[test]
fn a_full_burst() {
    let mut h = Harness::default();
    let streams: Vec<Stream> = (0..BURST as u16 / 2)
        .map(|n| Stream::open(&mut h, std::net::SocketAddr::new(CLIENT.ip(), 2000 + n), WEB, n.into()))
        .collect();
    h.moved();
    let packets: Vec<(&Stream, Packet)> = streams
        .iter()
        .chain(&streams)
        .enumerate()
        .map(|(n, s)| (s, s.at_client(ACK, s.c.wrapping_add(n as u32), s.t).payload(&[n as u8])))
        .collect();
    let frames: Vec<Vec<u8>> = packets.iter().map(|(_, p)| p.bytes()).collect();
    for (out, (s, packet)) in h.burst(0, CLIENT_SIDE, &frames).iter().zip(&packets) {
        assert_eq!(out.bytes, s.as_target_sees(packet).bytes());
    }
    assert_eq!(h.moved()["rx_packets"], BURST as i64);
}

/// A burst of everything at once, good and bad: one verdict each, in order.
#[test]
fn a_mixed_burst() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    let other = Stream::new(std::net::SocketAddr::new(CLIENT.ip(), 7), DIRECT, 1);
    let frames = [
        vec![],
        s.from_client(ACK, b"x").bytes(),
        packet::arp(ROUTER_MAC),
        vec![0; 14],
        other.syn().bytes(),
        other.at_client(ACK, 5, 6).bytes(),
        Packet::tcp(CLIENT, DIRECT, ACK, 1, 2).macs(ROUTER_MAC, PORTS[0]).bytes(),
    ];
    let verdicts: Vec<Verdict> = h.burst(0, CLIENT_SIDE, &frames).iter().map(|out| out.verdict).collect();
    use leat_abi::DropReason::{ForeignMac, ShortFrame};
    let forward = Verdict::Forward { port: TARGET_SIDE };
    assert_eq!(
        verdicts,
        [
            Verdict::Drop(ShortFrame),
            forward,
            Verdict::Punt { port: CLIENT_SIDE },
            Verdict::Drop(ForeignMac),
            forward,
            forward,
            Verdict::Answer { port: CLIENT_SIDE, with: Answer::Reset },
        ]
    );
    assert_eq!(h.burst(0, CLIENT_SIDE, &[]), []);
}

/// Snapshots that come and go between a flow's packets: it stays where it is. req: RT-02, S2.6, GEN-07
#[test]
fn snapshots_swap_under_a_flow() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, WEB, 1);
    let swap = |h: &mut Harness, n: u16| {
        h.world.groups[0].table = table(&[n % 4]);
        h.world.selection_key[0] ^= u64::from(n) << 20;
        h.world.targets.rotate_left(1);
        h.publish();
    };
    s.send_syn(&mut h);
    swap(&mut h, 1);
    s.feed_target(&mut h, &s.syn_ack()).forwarded();
    swap(&mut h, 2);
    s.client_sends(&mut h, ACK, &[]);
    for n in 0..8 {
        swap(&mut h, n);
        s.works(&mut h);
    }
    h.check_flows();
}

/// Each snapshot is used from the next burst on, and the old one is given back. req: LSN-02, S20.1
#[test]
fn a_snapshot_counts_from_the_next_burst_on() {
    let mut h = Harness::default();
    assert_eq!(h.pipeline(0).generation(), 1);
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    h.world.targets[usize::from(s.slot())].state = TargetState::Unhealthy;
    s.works(&mut h);
    h.publish();
    assert_eq!(h.pipeline(0).generation(), 2);
    s.feed_client(&mut h, &s.from_client(ACK, &[])).answered();
    let other = std::sync::Arc::new(leat_core::Forwarding::default());
    assert_eq!(h.pipeline(0).install(other).generation, 2);
}

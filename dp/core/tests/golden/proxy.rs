//! Connections whose target reads a PROXY header first.

use std::net::SocketAddr;

use leat_abi::flow::FlowState;
use leat_abi::message::{ANY_PORT, Command, Event, Filter, Made, Step};
use leat_abi::snapshot::{Endpoint, TargetState};
use leat_abi::{Counter, DropReason};
use leat_core::Verdict;

use crate::common::header::header;
use crate::common::packet::L4;
use crate::common::*;

/// Listeners whose connections get a header, with the length of that.
const VIPS: [(SocketAddr, u32); 6] =
    [(WEB, 100), (DIRECT, 100), (WEB_6, 124), (DIRECT_6, 124), (TCP_6_TO_4, 124), (TCP_4_TO_6, 100)];

/// A connection whose both ends a test plays.
struct Proxied {
    h: Harness,
    s: Stream,
    /// By how much the target's numbers of the client are higher.
    ahead: u32,
}

/// A client for a listener: of its kind.
fn client_of(vip: SocketAddr) -> SocketAddr {
    if vip.is_ipv4() { CLIENT } else { CLIENT_6 }
}

fn harness() -> Harness {
    let mut h = Harness::new(1, 64);
    h.set_proxy_protocol(true);
    h
}

fn set_numbers(packet: &mut Packet, new_seq: u32, new_ack: u32) {
    let L4::Tcp { seq, ack, .. } = &mut packet.l4 else { panic!("not TCP") };
    (*seq, *ack) = (new_seq, new_ack);
}

fn with_window(mut packet: Packet, new: u16) -> Packet {
    let L4::Tcp { window, .. } = &mut packet.l4 else { panic!("not TCP") };
    *window = new;
    packet
}

impl Proxied {
    fn new(vip: SocketAddr, isn: u32) -> Self {
        let (h, s) = (harness(), Stream::new(client_of(vip), vip, isn));
        Self { h, s, ahead: 0 }
    }

    /// After SYN and SYN-ACK.
    fn answered(vip: SocketAddr, isn: u32) -> Self {
        let mut p = Self::new(vip, isn);
        p.s.send_syn(&mut p.h);
        let syn_ack = p.s.syn_ack();
        p.s.feed_target(&mut p.h, &syn_ack).forwarded();
        p.h.moved();
        p
    }

    /// After the handshake, the header sent and not acknowledged.
    fn sent(vip: SocketAddr, isn: u32) -> Self {
        let mut p = Self::answered(vip, isn);
        let ack = p.s.from_client(ACK, &[]);
        p.completes(&ack);
        p.h.moved();
        p
    }

    /// After the handshake, the header acknowledged.
    fn open(vip: SocketAddr, isn: u32) -> Self {
        let mut p = Self::sent(vip, isn);
        let ack = p.of_target(ACK, &[], p.first().wrapping_add(p.ahead));
        assert_eq!(p.s.feed_target(&mut p.h, &ack).verdict, Verdict::Consume);
        p.h.moved();
        p
    }

    /// The number of the client's first byte.
    fn first(&self) -> u32 {
        self.s.isn_c.wrapping_add(1)
    }

    fn header(&self) -> Vec<u8> {
        header(self.s.client, self.s.vip, None)
    }

    /// A segment from one number of the header on, as it should leave.
    fn piece(&self, from: usize, payload: &[u8], flags: u8, ack: u32, window: u16, options: &[u8]) -> Packet {
        let seq = self.first().wrapping_add(from as u32);
        let packet = Packet::tcp(self.s.nat, self.s.target, flags, seq, ack).payload(payload).options(options);
        Packet { id: 0, ..with_window(packet, window).macs(PORTS[1], target_mac(self.s.slot())) }
    }

    /// The header as it should leave.
    fn header_segment(&self) -> Packet {
        self.piece(0, &self.header(), PSH | ACK, self.s.t, 64_000, &[])
    }

    /// What the lcore has made meanwhile is this, towards targets.
    #[track_caller]
    fn made(&mut self, expected: &[Packet]) {
        let made = self.h.made();
        assert!(made.iter().all(|(verdict, _)| *verdict == Verdict::Originate { port: TARGET_SIDE }), "{made:?}");
        let made: Vec<Packet> = made.iter().map(|(_, bytes)| Packet::read(bytes).expect("a packet")).collect();
        assert_eq!(made, expected);
    }

    /// The client's segment completes the handshake: the header comes first.
    #[track_caller]
    fn completes(&mut self, packet: &Packet) {
        let out = self.s.feed_client(&mut self.h, packet);
        let expected = self.header_segment();
        let bytes = expected.bytes();
        let made = self.h.made();
        assert_eq!(made, [(Verdict::Originate { port: TARGET_SIDE }, bytes)], "{expected:?}");
        self.ahead = expected.payload.len() as u32;
        assert_eq!(out.forwarded(), (TARGET_SIDE, self.at_target(packet)));
        self.s.c = packet.seq_end();
    }

    /// A client's segment as the target should get it.
    fn at_target(&self, packet: &Packet) -> Packet {
        let mut seen = self.s.as_target_sees(packet);
        let (seq, ack, _) = packet.numbers();
        set_numbers(&mut seen, seq.wrapping_add(self.ahead), ack);
        seen
    }

    /// A target's segment as the client should get it, with this acknowledgement.
    fn at_client(&self, packet: &Packet, ack: u32) -> Packet {
        let mut seen = self.s.as_client_sees(packet);
        let (seq, ..) = packet.numbers();
        set_numbers(&mut seen, seq, ack);
        seen
    }

    #[track_caller]
    fn client_sends(&mut self, flags: u8, payload: &[u8]) {
        let packet = self.s.from_client(flags, payload);
        self.client_says(&packet);
        self.s.c = packet.seq_end();
    }

    #[track_caller]
    fn client_says(&mut self, packet: &Packet) {
        assert_eq!(self.s.feed_client(&mut self.h, packet).forwarded(), (TARGET_SIDE, self.at_target(packet)));
    }

    fn of_target(&self, flags: u8, payload: &[u8], ack: u32) -> Packet {
        self.s.at_target(flags, self.s.t, ack).payload(payload)
    }

    /// The target acknowledges all of the client.
    #[track_caller]
    fn target_sends(&mut self, flags: u8, payload: &[u8]) {
        let packet = self.of_target(flags, payload, self.s.c.wrapping_add(self.ahead));
        self.target_says(&packet, self.s.c);
        self.s.t = packet.seq_end();
    }

    /// The client gets the target's segment with this acknowledgement.
    #[track_caller]
    fn target_says(&mut self, packet: &Packet, ack: u32) {
        let expected = (CLIENT_SIDE, self.at_client(packet, ack));
        assert_eq!(self.s.feed_target(&mut self.h, packet).forwarded(), expected);
    }

    /// A segment of the target that is not the client's business.
    #[track_caller]
    fn ends_here(&mut self, packet: &Packet) {
        assert_eq!(self.s.feed_target(&mut self.h, packet).verdict, Verdict::Consume);
    }

    #[track_caller]
    fn works(&mut self) {
        self.client_sends(PSH | ACK, b"ping");
        self.target_sends(PSH | ACK, b"pong");
    }

    fn state(&self) -> Option<FlowState> {
        self.h.flows()[0].1.state()
    }
}

/// The whole life of a connection, every byte and counter, wherever sequence numbers wrap.
/// req: PP2-01, PP2-03, PP2-04, PP2-07, S8.1, S8.2, S8.8, S8.11
#[test]
fn header_data_and_close() {
    for (vip, length) in VIPS {
        let wraps = (0..length + 12).map(|back| u32::MAX - back);
        for isn in [1000, 1 << 31, (1 << 31) - length].into_iter().chain(wraps) {
            let mut p = Proxied::answered(vip, isn);
            let slot = p.s.slot();
            let ack = p.s.from_client(ACK, &[]);
            p.completes(&ack);
            assert_eq!(p.ahead, length);
            // A translated packet leaves longer or shorter than it came.
            let grown = p.at_target(&ack).bytes().len() as i64 - ack.bytes().len() as i64;
            let expected = rx(ack.bytes().len()).to_target(slot, ack.ip_len()).and("forwarded_bytes", grown);
            expected.and("originated_packets", 1).and("proxy_headers_sent", 1).is(&p.h.moved());

            p.client_sends(PSH | ACK, &[7; 600]);
            p.target_sends(ACK, &[]);
            p.target_sends(PSH | ACK, &[9; 700]);
            p.client_sends(FIN | ACK, b"last");
            assert_eq!(p.state(), Some(FlowState::HalfClosed));
            p.target_sends(ACK, b"the other way is open");
            p.target_sends(FIN | ACK, &[]);
            p.client_sends(ACK, &[]);
            assert_eq!(p.state(), Some(FlowState::TimeWait));
            assert_eq!(p.h.moved().get("flows_closed"), Some(&1));
            p.h.check_flows();
            p.h.pass(62_000);
            assert!(p.h.flows().is_empty() && p.h.made().is_empty());
        }
    }
}

/// A target that speaks first has the header without a word of the client. req: PP2-10, S8.1
#[test]
fn the_server_speaks_first() {
    for (vip, length) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        // Before the header has arrived, with a part of it, and with all of it.
        for acknowledged in [0, 1, length - 1, length] {
            let packet = p.of_target(PSH | ACK, b"220 ready\r\n", p.first() + acknowledged);
            p.target_says(&packet, p.first());
            p.s.t = packet.seq_end();
            p.client_sends(ACK, &[]);
        }
        p.works();
        p.h.pass(30_000);
        p.made(&[]);
    }
}

/// The client's first data completes the handshake, be it because it is all there is, or because the acknowledgement was lost.
/// req: S8.1, S8.5
#[test]
fn data_completes_the_handshake() {
    for (vip, _) in VIPS {
        for flags in [PSH | ACK, FIN | ACK] {
            let mut p = Proxied::answered(vip, 77);
            let first = p.s.from_client(flags, b"first");
            p.completes(&first);
            let second = p.s.from_client(ACK, b"");
            p.client_says(&second);
            p.target_sends(ACK, b"answer");
        }
        // The first data is lost, too, and comes again later.
        let mut p = Proxied::answered(vip, 77);
        let (lost, second) = (p.s.from_client(ACK, b"first"), p.s.at_client(ACK, p.s.c + 5, p.s.t).payload(b"second"));
        p.completes(&second);
        p.client_says(&lost);
        p.s.c = second.seq_end();
        p.target_sends(ACK, b"answer");
    }
}

/// A FIN right after the handshake is shifted as data is. req: S8.6
#[test]
fn fin_right_after_the_handshake() {
    for (vip, _) in VIPS {
        let mut p = Proxied::sent(vip, u32::MAX - 1);
        p.client_sends(FIN | ACK, &[]);
        p.target_sends(FIN | ACK, &[]);
        p.client_sends(ACK, &[]);
        assert_eq!(p.state(), Some(FlowState::TimeWait));
        p.h.pass(30_000);
        p.made(&[]);
    }
}

/// Every packet comes twice: the header is sent once, and copies of its acknowledgement are not the client's business. req: S8.4, S8.11
#[test]
fn everything_twice() {
    for (vip, length) in VIPS {
        let mut p = Proxied::answered(vip, 77);
        let syn_ack = p.s.syn_ack();
        p.s.feed_target(&mut p.h, &syn_ack).forwarded();
        let ack = p.s.from_client(ACK, &[]);
        p.completes(&ack);
        p.client_says(&ack);
        // One that was sent before the acknowledgement came.
        p.target_says(&syn_ack, p.first());
        for _ in 0..2 {
            let of_header = p.of_target(ACK, &[], p.first() + length);
            p.ends_here(&of_header);
        }
        let (data, answer) = (p.s.from_client(ACK, b"data"), p.of_target(ACK, b"answer", p.s.c + 4 + length));
        (0..2).for_each(|_| p.client_says(&data));
        (0..2).for_each(|_| p.target_says(&answer, data.seq_end()));
        p.h.pass(30_000);
        p.made(&[]);
    }
}

/// Selective acknowledgements: every edge is moved, and none comes before the client's first byte, wherever the option lies.
/// req: S8.2, S8.11
#[test]
fn selective_acknowledgements() {
    for (vip, length) in VIPS {
        for isn in [77, u32::MAX, u32::MAX - length, u32::MAX - length - 50] {
            let mut p = Proxied::sent(vip, isn);
            p.client_sends(ACK, &[1; 400]);
            let sack = |edges: &[u32], odd: bool| {
                let mut option = if odd { vec![1] } else { vec![1, 1] };
                option.extend([5, 2 + 4 * edges.len() as u8]);
                edges.iter().for_each(|edge| option.extend(p.first().wrapping_add(*edge).to_be_bytes()));
                option.resize(option.len().next_multiple_of(4), 0);
                option
            };
            let l = length;
            // Edges that the target says, and what the client should see; beginning with the acknowledgement.
            let cases = [
                ([0, l, l + 100, l + 200, l + 300], [0, 0, 100, 200, 300]),
                ([0, l + 200, l + 300, 50, l + 100], [0, 200, 300, 0, 100]),
                ([60, 60, l, l + 50, l + 51], [0, 0, 0, 50, 51]),
                ([l, l + 1, l + 2, l + 398, l + 400], [0, 1, 2, 398, 400]),
                ([l + 100, l + 150, l + 250, l + 300, l + 400], [100, 150, 250, 300, 400]),
                // Of what it had already.
                ([l + 100, l + 20, l + 40, 0, l], [100, 20, 40, 0, 0]),
            ];
            let packets = cases.map(|(said, seen)| {
                [false, true].map(|odd| {
                    let packet = p.s.from_target(ACK, b"x").options(&sack(&said[1..], odd));
                    let mut packet = Packet { l4: packet.l4.clone(), ..packet };
                    set_numbers(&mut packet, p.s.t, p.first().wrapping_add(said[0]));
                    let expected = Packet { ..packet.clone() }.options(&sack(&seen[1..], odd));
                    (packet, p.at_client(&expected, p.first().wrapping_add(seen[0])))
                })
            });
            for (packet, expected) in packets.into_iter().flatten() {
                assert_eq!(p.s.feed_target(&mut p.h, &packet).forwarded(), (CLIENT_SIDE, expected));
            }
        }
    }
}

/// Who acknowledges the header, or a part of it, and nothing else, says nothing to the client. req: S8.4
#[test]
fn acknowledgements_of_the_header_alone() {
    for (vip, length) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        for acknowledged in [1, 50, length - 1, length] {
            let packet = p.of_target(ACK, &[], p.first() + acknowledged);
            p.ends_here(&packet);
            rx(packet.bytes().len()).and("consumed_packets", 1).is(&p.h.moved());
        }
        p.works();
    }
}

/// What says more than that reaches the client: a window that opens, a probe, an urgent pointer, ECN, data that was skipped.
/// req: S8.4
#[test]
fn acknowledgements_that_say_more() {
    for (vip, length) in VIPS {
        let p = Proxied::sent(vip, 77);
        let of_header = p.of_target(ACK, &[], p.first() + length);
        let (first, t) = (p.first(), p.s.t);
        let skipped = [&[1, 1, 5, 10][..], &(first + length + 10).to_be_bytes(), &(first + length + 20).to_be_bytes()];
        for packet in [
            with_window(of_header.clone(), 64_001),
            p.s.at_target(ACK, t - 1, first + length),
            p.s.at_target(ACK | 0x20, t, first + length),
            p.s.at_target(ACK | 0x40, t, first + length),
        ] {
            Proxied::sent(vip, 77).target_says(&packet, first);
        }
        let mut p = Proxied::sent(vip, 77);
        let lost = p.s.at_client(ACK, p.s.c + 10, p.s.t).payload(&[1; 10]);
        p.client_says(&lost);
        let packet = of_header.clone().options(&skipped.concat());
        let seen = packet.clone().options(&[&[1, 1, 5, 10][..], &[0, 0, 0, 88], &[0, 0, 0, 98]].concat());
        let expected = (CLIENT_SIDE, p.at_client(&seen, first));
        assert_eq!(p.s.feed_target(&mut p.h, &packet).forwarded(), expected);
        // A window that has shrunk by the header, in a target's units.
        let mut p = Proxied::new(vip, 77);
        p.s.send_syn(&mut p.h);
        let syn_ack = with_window(p.s.syn_ack(), 65_160);
        p.s.feed_target(&mut p.h, &syn_ack).forwarded();
        let ack = p.s.from_client(ACK, &[]);
        p.completes(&ack);
        let packet = with_window(of_header, 508);
        p.ends_here(&packet);
    }
}

/// Keepalives: shifted, and answered by the target as the client expects, also of a client that has never sent anything. While the header
/// may be lost, a byte of theirs could take its place: they end here. req: S8.6
#[test]
fn keepalives_of_a_silent_client() {
    for (vip, length) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        let probe = p.s.at_client(ACK, p.s.c - 1, p.s.t).payload(&[0]);
        assert_eq!(p.s.feed_client(&mut p.h, &probe).verdict, Verdict::Consume);
        let answer = p.of_target(ACK, &[], p.first() + length);
        p.ends_here(&answer);
        p.h.pass(1_000);
        p.client_says(&probe);
        p.target_says(&answer, p.first());
        p.target_says(&answer, p.first());
    }
}

/// The header is lost: two acknowledgements of the client's first byte bring it again at once. req: S8.3
#[test]
fn a_lost_header_comes_again_at_once() {
    for (vip, length) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        p.client_sends(ACK, b"behind the hole");
        let hole = p.of_target(ACK, &[], p.first());
        p.ends_here(&hole);
        p.made(&[]);
        p.ends_here(&hole);
        p.made(&[p.header_segment()]);
        p.ends_here(&hole);
        p.made(&[]);
        p.target_sends(ACK, &[]);
        assert_eq!(p.s.c, p.first() + 15);
        p.h.pass(30_000);
        p.made(&[]);
        assert_eq!(p.h.total(Counter::ProxyHeadersSent), 2);
        let late = p.of_target(ACK, &[], p.first() + length);
        p.target_says(&late, p.first());
    }
}

/// Nobody acknowledges it: six times again, each after twice the time; then both ends are reset. req: S8.3, S5.3
#[test]
fn a_header_that_nobody_acknowledges() {
    for (vip, length) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        p.client_sends(ACK, b"data");
        let (mut at_ms, step) = (0, 10);
        for due_ms in [200, 600, 1_400, 3_000, 6_200, 12_600] {
            while at_ms + step < due_ms {
                at_ms += step;
                p.h.pass(step);
            }
            p.made(&[]);
            at_ms += step;
            p.h.pass(step);
            p.made(&[p.header_segment()]);
        }
        p.h.moved();
        p.h.pass(12_700);
        p.made(&[]);
        p.h.pass(100);
        let made = p.h.made();
        let to = |side| made.iter().filter(move |(v, _)| *v == Verdict::Originate { port: side });
        let numbers = |side| to(side).map(|(_, b)| Packet::read(b).expect("a packet").numbers()).collect::<Vec<_>>();
        assert_eq!(numbers(CLIENT_SIDE), [(p.s.t, 0, RST)]);
        assert_eq!(numbers(TARGET_SIDE), [(p.first(), 0, RST), (p.s.c + length, 0, RST)]);
        let moved = p.h.moved();
        assert_eq!((moved["pp2_unacked"], moved["originated_packets"]), (1, 3));
        p.h.check_flows();
        // Whatever they say, they are told.
        let (client, target) = (p.s.from_client(ACK, b"x"), p.of_target(ACK, &[], p.first() + length));
        assert_eq!(p.s.feed_client(&mut p.h, &client).answered().1.numbers(), (p.s.t, 0, RST));
        assert_eq!(p.s.feed_target(&mut p.h, &target).answered().1.numbers(), (p.first() + length, 0, RST));
    }
}

/// A repeated header says what the client has said meanwhile: acknowledgement, window, timestamps. req: S8.3
#[test]
fn a_repeated_header_is_up_to_date() {
    for (vip, _) in VIPS {
        let mut p = Proxied::answered(vip, 77);
        let stamps = |n: u8| [1, 1, 8, 10, 0, 0, 0, n, 9, 9, 9, n];
        let ack = with_window(p.s.from_client(ACK, &[]), 500).options(&stamps(1));
        p.s.feed_client(&mut p.h, &ack).forwarded();
        p.ahead = p.header().len() as u32;
        let expected = p.piece(0, &p.header(), PSH | ACK, p.s.t, 500, &stamps(1));
        p.made(&[expected]);
        let greeting = p.of_target(ACK, b"hello", p.first());
        p.target_says(&greeting, p.first());
        p.s.t = greeting.seq_end();
        let old = ack.clone().options(&stamps(2));
        let new = with_window(p.s.from_client(ACK, &[]), 600).options(&stamps(3));
        p.client_says(&new);
        p.client_says(&old);
        p.h.pass(200);
        let expected = p.piece(0, &p.header(), PSH | ACK, p.s.t, 600, &stamps(3));
        p.made(&[expected]);
    }
}

/// A target of small segments gets the header in as many as that takes; and again what it has not acknowledged. req: S8.10, S8.3
#[test]
fn small_segments() {
    for (vip, length) in VIPS {
        for (mss, size) in [(60u16, 60), (1, 16), (length as u16, length as usize)] {
            let mut p = Proxied::new(vip, u32::MAX - 30);
            p.s.send_syn(&mut p.h);
            let [high, low] = mss.to_be_bytes();
            let syn_ack = p.s.syn_ack().options(&[2, 4, high, low]);
            p.s.feed_target(&mut p.h, &syn_ack).forwarded();
            let ack = p.s.from_client(ACK, &[]);
            p.s.feed_client(&mut p.h, &ack).forwarded();
            p.ahead = length;
            let header = p.header();
            let pieces = |p: &Proxied, from: usize| -> Vec<Packet> {
                let ends = |end| if end == header.len() { PSH | ACK } else { ACK };
                let piece = |at: usize, end: usize| p.piece(at, &header[at..end], ends(end), p.s.t, 64_000, &[]);
                (from..header.len()).step_by(size).map(|at| piece(at, (at + size).min(header.len()))).collect()
            };
            let all = pieces(&p, 0);
            assert_eq!(all.len(), header.len().div_ceil(size));
            p.made(&all);
            let part = p.of_target(ACK, &[], p.first().wrapping_add(16));
            p.ends_here(&part);
            p.h.pass(200);
            let rest = pieces(&p, 16);
            p.made(&rest);
            let whole = p.of_target(ACK, &[], p.s.c.wrapping_add(length));
            p.ends_here(&whole);
            assert_eq!(p.h.total(Counter::ProxyHeadersSent), 2);
        }
    }
}

/// TCP Fast Open: its option and the SYN's payload would come before the header: they go, and the client sends the payload again.
/// A checksum that was wrong stays wrong. req: S8.7, S18.2
#[test]
fn fast_open() {
    for (vip, _) in VIPS {
        for payload in [&b"early"[..], b"even", b""] {
            let mut p = Proxied::new(vip, 77);
            let cookie = [2, 4, 5, 180, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7, 0, 0];
            let stripped = [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 7, 0, 0];
            let syn = p.s.syn().options(&cookie).payload(payload);
            // The client's SYN comes again.
            for _ in 0..2 {
                let (_, got) = p.s.feed_client(&mut p.h, &syn).forwarded();
                (p.s.nat, p.s.target) = (got.source, got.destination);
                assert_eq!(got, p.s.as_target_sees(&p.s.syn().options(&stripped)));
            }
            let mut bad = syn.bytes();
            let end = bad.len() - 1;
            bad[end] ^= 0x40;
            p.h.feed_bytes(0, CLIENT_SIDE, &bad);
            let syn_ack = p.s.syn_ack();
            p.s.feed_target(&mut p.h, &syn_ack).forwarded();
            let again = p.s.from_client(PSH | ACK, b"early");
            p.completes(&again);
        }
    }
}

/// A segment with a wrong checksum is still wrong when its numbers were shifted. req: S18.2, S8.11
#[test]
fn wrong_checksums_stay_wrong() {
    for (vip, length) in VIPS {
        let p = &mut Proxied::open(vip, 77);
        let sack = [&[1, 5, 10][..], &(78 + length).to_be_bytes(), &(90 + length).to_be_bytes(), &[1]].concat();
        let target = p.of_target(ACK, b"data", p.first() + length).options(&sack);
        for (port, packet) in [(CLIENT_SIDE, p.s.from_client(ACK, b"data")), (TARGET_SIDE, target)] {
            let mut bytes = packet.bytes();
            *bytes.last_mut().expect("bytes") ^= 1;
            // The harness checks that it leaves as bad as it came.
            assert!(matches!(p.h.feed_bytes(0, port, &bytes).verdict, Verdict::Forward { .. }));
        }
    }
}

/// What the client sends is passed on as it is, a header of its own as well. req: PP2-02
#[test]
fn a_header_of_the_client_is_data() {
    let mut p = Proxied::open(WEB, 77);
    let own = header(DIRECT, WEB, Some("another"));
    p.client_sends(PSH | ACK, &own);
}

/// Resets of either end are shifted, and end the flow. req: S8.6
#[test]
fn resets() {
    for (vip, length) in VIPS {
        let mut p = Proxied::open(vip, 77);
        p.works();
        p.client_sends(RST, &[]);
        assert_eq!(p.state(), Some(FlowState::ResetLinger));
        let mut p = Proxied::sent(vip, 77);
        let reset = p.of_target(RST | ACK, &[], p.first() + length);
        p.target_says(&reset, p.first());
        assert_eq!(p.state(), Some(FlowState::ResetLinger));
        p.h.pass(30_000);
        p.made(&[]);
        // A target that refuses acknowledges the SYN.
        let mut p = Proxied::new(vip, 77);
        p.s.send_syn(&mut p.h);
        let refusal = p.s.at_target(RST | ACK, 0, p.first());
        p.target_says(&refusal, p.first());
        assert_eq!(p.state(), Some(FlowState::ResetLinger));
        p.client_sends(ACK, &[]);
        p.made(&[]);
    }
}

/// A client that resets before the header was acknowledged: the target may have lost it, and then the reset's number means nothing to it
/// before the header has come again. req: S8.6
#[test]
fn a_reset_before_the_acknowledgement() {
    for (vip, _) in VIPS {
        let mut p = Proxied::sent(vip, 77);
        for _ in 0..2 {
            let reset = p.s.at_client(RST, p.first(), 0);
            p.client_says(&reset);
            p.made(&[p.header_segment()]);
            // A target that is still there asks (RFC 5961 §3.2), and the client repeats its reset.
            let challenge = p.of_target(ACK, &[], p.first());
            p.target_says(&challenge, p.first());
        }
        p.h.pass(1_000);
        p.made(&[]);
        let mut p = Proxied::open(vip, 77);
        let reset = p.s.at_client(RST, p.first(), 0);
        p.client_says(&reset);
        p.made(&[]);
    }
}

/// Segments of a half-open flow that complete nothing are as they are: the header is not there yet.
#[test]
fn nothing_is_shifted_before_the_header() {
    for (vip, _) in VIPS {
        let mut p = Proxied::answered(vip, 77);
        let wrong = p.s.at_client(ACK, p.s.c, p.s.t + 1);
        p.client_says(&wrong);
        let more_than_all = p.of_target(ACK, &[], p.first() + 5);
        p.target_says(&more_than_all, p.first() + 5);
        p.made(&[]);
        assert_eq!(p.state(), Some(FlowState::SynReceived));
        let ack = p.s.from_client(ACK, &[]);
        p.completes(&ack);
    }
}

/// Resets made here have the numbers of the end they go to, whether the header was acknowledged or not. req: S5.3, S5.4
#[test]
fn a_lost_target() {
    for (vip, length) in VIPS {
        for acknowledged in [false, true] {
            let mut p = if acknowledged { Proxied::open(vip, 77) } else { Proxied::sent(vip, 77) };
            p.client_sends(ACK, b"data");
            let slot = p.s.slot();
            let target = p.h.world.targets.iter_mut().find(|target| target.slot == slot);
            target.expect("its target").state = TargetState::Unhealthy;
            p.h.publish();
            let packet = p.s.from_client(ACK, b"more");
            assert_eq!(p.s.feed_client(&mut p.h, &packet).answered().1.numbers(), (p.s.t, 0, RST));
            let made = p.h.made();
            let numbers: Vec<_> = made.iter().map(|(_, b)| Packet::read(b).expect("a packet").numbers()).collect();
            let next = p.first() + if acknowledged { length } else { 0 };
            assert_eq!(numbers, [(next, 0, RST), (p.s.c + length, 0, RST)]);
            p.h.pass(29_000);
            p.made(&[]);
        }
    }
}

/// A trace shows that a header was made, and that its acknowledgement ended here. req: PP2-01
#[test]
fn traced() {
    let mut p = Proxied::answered(WEB, 77);
    p.h.pipeline(0).command(Command::TraceStart { id: 3, count: 9, port: ANY_PORT, filter: Filter::default() });
    let ack = p.s.from_client(ACK, &[]);
    p.completes(&ack);
    let of_header = p.of_target(ACK, &[], p.first() + 100);
    p.ends_here(&of_header);
    let steps: Vec<Step> = (p.h.events(0).into_iter())
        .filter_map(|event| if let Event::Trace { step, .. } = event { Some(step) } else { None })
        .collect();
    assert!(steps.contains(&Step::Originate { port: TARGET_SIDE, made: Made::ProxyHeader }), "{steps:?}");
    assert_eq!(steps.last(), Some(&Step::Consume));
}

/// Connections keep what they began with; new ones have what is said then. req: PP2-08
#[test]
fn the_attribute_counts_for_new_connections() {
    let mut p = Proxied::open(WEB, 77);
    p.h.set_proxy_protocol(false);
    p.works();
    let mut without = Stream::open(&mut p.h, SocketAddr::new(CLIENT.ip(), 5), WEB, 1);
    p.made(&[]);
    p.h.set_proxy_protocol(true);
    without.works(&mut p.h);
    p.works();
    let mut datagrams = Datagrams::open(&mut p.h, CLIENT, DNS);
    datagrams.client_sends(&mut p.h, b"UDP has none");
    p.made(&[]);
}

/// Who comes through an endpoint is named in the header, and always under full NAT. req: PP2-06
#[test]
fn an_endpoint_is_named() {
    for (vip, _) in VIPS {
        let mut p = Proxied::new(vip, 77);
        p.h.world.endpoints = vec![Endpoint { port: CLIENT_SIDE, id: "vpce-08d2bf15fac5001c9".into() }];
        p.h.publish();
        p.s.handshake(&mut p.h);
        let header = header(p.s.client, vip, Some("vpce-08d2bf15fac5001c9"));
        p.ahead = header.len() as u32;
        let expected = p.piece(0, &header, PSH | ACK, p.s.t, 64_000, &[]);
        p.made(&[expected]);
        assert_ne!(p.s.nat.ip(), p.s.client.ip());
        p.works();
    }
}

/// A process that takes over repeats what was not acknowledged, and shifts as before. req: IDL-09, S8.3
#[test]
fn a_crash_at_any_point() {
    for (vip, length) in VIPS {
        let mut p = Proxied::answered(vip, u32::MAX - 50);
        p.h.crash();
        let ack = p.s.from_client(ACK, &[]);
        p.completes(&ack);
        p.h.crash();
        p.h.pass(190);
        p.made(&[]);
        p.h.pass(10);
        // What the client offers is not known.
        let expected = p.piece(0, &p.header(), PSH | ACK, p.s.t, 0, &[]);
        p.made(&[expected]);
        p.h.crash();
        p.client_sends(ACK, b"data");
        let hole = p.of_target(ACK, &[], p.first());
        p.target_says(&hole, p.first());
        p.ends_here(&hole);
        p.made(&[p.header_segment()]);
        let whole = p.of_target(ACK, &[], p.first().wrapping_add(length));
        p.ends_here(&whole);
        p.h.crash();
        p.works();
        p.h.pass(30_000);
        p.made(&[]);
        assert_eq!(p.h.total(Counter::ProxyUnacked), 0);
    }
}

/// The next hop is not known for a while: the header goes when it is. req: S8.3
#[test]
fn a_target_that_cannot_be_reached_for_a_while() {
    let mut p = Proxied::answered(WEB, 77);
    let hops: Vec<_> = p.h.world.targets.iter_mut().map(|target| target.next_hop.take()).collect();
    p.h.publish();
    let ack = p.s.from_client(ACK, &[]);
    assert!(p.s.feed_client(&mut p.h, &ack).is_dropped(DropReason::NoNextHop));
    p.made(&[]);
    p.h.world.targets.iter_mut().zip(hops).for_each(|(target, hop)| target.next_hop = hop);
    p.h.publish();
    p.h.pass(200);
    p.made(&[p.header_segment()]);
    p.ahead = 100;
    p.works();
}

/// More headers unacknowledged than there is room for: handshakes wait until there is, and are completed by what the ends repeat.
/// req: S8.3
#[test]
fn no_connection_without_its_header() {
    let mut h = Harness::new(1, 40_000);
    h.set_proxy_protocol(true);
    let mut streams = Vec::new();
    let refused = (0..20_000u32).find_map(|n| {
        let client = SocketAddr::new(CLIENT.ip(), 20_000 + n as u16);
        let mut s = Stream::new(client, DIRECT, n << 8);
        s.send_syn(&mut h);
        let syn_ack = s.syn_ack();
        s.feed_target(&mut h, &syn_ack).forwarded();
        let ack = s.from_client(ACK, &[]);
        let out = s.feed_client(&mut h, &ack);
        if out.is_dropped(DropReason::FlowTableFull) {
            return Some(s);
        }
        out.forwarded();
        streams.push(s);
        None
    });
    let s = refused.expect("bounded");
    assert_eq!((streams.len() as u64, h.made().len()), (h.total(Counter::ProxyHeadersSent), streams.len()));
    // Room comes when headers are acknowledged.
    for s in &streams {
        let ack = s.at_target(ACK, s.t, s.c.wrapping_add(100));
        assert_eq!(s.feed_target(&mut h, &ack).verdict, Verdict::Consume);
    }
    let syn_ack = s.syn_ack();
    s.feed_target(&mut h, &syn_ack).forwarded();
    let ack = s.from_client(ACK, &[]);
    s.feed_client(&mut h, &ack).forwarded();
    assert_eq!(h.made().len(), 1);
    h.check_flows();
}

/// The lcore that owns the flow sends the header, wherever packets arrive.
#[test]
fn on_the_lcore_that_owns_the_flow() {
    for (vip, _) in VIPS {
        let mut h = Harness::new(4, 64);
        h.set_proxy_protocol(true);
        for n in 0..16 {
            let client = SocketAddr::new(client_of(vip).ip(), 700 + n);
            let mut s = Stream::new(client, vip, 77);
            s.lcore = n % 4;
            s.handshake(&mut h);
            let made = h.made();
            assert_eq!(made.len(), 1);
            assert_eq!(Packet::read(&made[0].1).expect("a packet").payload, header(client, vip, None));
        }
        h.check_flows();
    }
}

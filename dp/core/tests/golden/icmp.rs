//! ICMP errors (semantics §11): they reach the sender of the packet that they quote, and quote what that one sent.

use std::net::{IpAddr, SocketAddr};

use leat_abi::{Counter, DropReason};
use leat_core::Verdict;

use crate::common::errors::{Error, quoted};
use crate::common::packet::L4;
use crate::common::*;

/// Codes of "unreachable" that routers send.
const CODES: [u8; 14] = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn outside(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8:77::1" } else { "203.0.113.77" })
}

fn inside(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8:2::77" } else { "10.2.0.77" })
}

/// Both ends send something that neither has acknowledged.
fn in_flight(h: &mut Harness, s: &mut Stream, up: &[u8], down: &[u8]) -> (Packet, Packet) {
    let (up, down) = (s.from_client(ACK, up), s.from_target(ACK, down));
    s.feed_client(h, &up).forwarded();
    s.feed_target(h, &down).forwarded();
    (s.c, s.t) = (up.seq_end(), down.seq_end());
    (up, down)
}

/// An error about `sent`, which the client sent and the target was to get, comes from the targets' side.
fn to_client(s: &Stream, sent: &Packet, make: impl Fn(&[u8]) -> Error) -> (Error, Error) {
    let error = make(&quoted(&s.as_target_sees(sent), 1)).inside();
    let expected = make(&quoted(sent, 2));
    let expected = error.passed_on((PORTS[0], ROUTER_MAC), s.vip.ip(), s.client.ip(), &expected.body);
    (error, expected)
}

/// An error about `sent`, which the target sent and the client was to get, comes from the clients' side.
fn to_target(s: &Stream, sent: &Packet, make: impl Fn(&[u8]) -> Error) -> (Error, Error) {
    let error = make(&quoted(&s.as_client_sees(sent), 1));
    let expected = make(&quoted(sent, 2));
    let macs = (PORTS[1], target_mac(s.slot()));
    let expected = error.passed_on(macs, error.source, s.target.ip(), &expected.body);
    (error, expected)
}

#[track_caller]
fn passes(h: &mut Harness, port: u8, (error, expected): (Error, Error)) {
    let flows = h.flows();
    let out = h.feed_bytes(0, port, &error.bytes());
    let (egress, bytes) = out.forwarded_frame();
    assert_eq!((egress, bytes), (1 - port, &expected.bytes()[..]), "{error:?}");
    assert_eq!(h.flows(), flows, "S11.4: it changes nothing");
}

#[track_caller]
fn dropped(h: &mut Harness, port: u8, error: &[u8], reason: DropReason) {
    let flows = h.flows();
    h.moved();
    assert_eq!(h.feed_bytes(0, port, error).verdict, Verdict::Drop(reason));
    rx(error.len()).dropped(reason.name()).is(&h.moved());
    assert_eq!(h.flows(), flows, "it changes nothing");
}

/// Every code, both ways and modes, from a router and from the end itself, with all of the packet or 8 bytes after its IP header: every
/// byte, and every counter. req: LSN-08, S11.3, S11.4
#[test]
fn errors_about_segments() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::default();
        let mut s = Stream::open(&mut h, CLIENT, vip, 1000);
        let (up, down) = in_flight(&mut h, &mut s, b"data that nobody gets", b"nor this");
        h.skip(1_000);
        for code in CODES {
            for length in [usize::MAX, 28, 39] {
                let cut = |quote: &[u8]| quote[..quote.len().min(length)].to_vec();
                for source in [inside(false), s.target.ip()] {
                    passes(&mut h, TARGET_SIDE, to_client(&s, &up, |quote| Error::new(source, (3, code), &cut(quote))));
                }
                let make = |quote: &[u8]| Error::new(outside(false), (3, code), &cut(quote));
                passes(&mut h, CLIENT_SIDE, to_target(&s, &down, make));
            }
            h.skip(100);
        }
        h.moved();
        let (error, expected) = to_client(&s, &up, |quote| Error::new(inside(false), (3, 1), quote));
        let length = error.bytes().len();
        passes(&mut h, TARGET_SIDE, (error, expected));
        let forwarded = rx(length).and("forwarded_packets", 1).and("forwarded_bytes", length as i64);
        forwarded.and("icmp_errors_forwarded", 1).is(&h.moved());
        s.works(&mut h);
    }
}

/// Datagrams with and without a checksum: the target's port is closed, or the client's. req: LSN-08, S11.3, S7.5
#[test]
fn errors_about_datagrams() {
    for (vip, checksum) in [(DNS, true), (DNS, false), (LOG, true), (LOG, false)] {
        let mut h = Harness::default();
        let mut d = Datagrams::open(&mut h, CLIENT, vip);
        d.target_sends(&mut h, b"answer");
        let s = Stream { target: d.target, nat: d.nat, ..Stream::new(CLIENT, vip, 0) };
        let with = |packet| Packet { l4: L4::Udp { checksum }, ..packet };
        let make = |quote: &[u8]| Error::new(inside(false), (3, 3), quote);
        passes(&mut h, TARGET_SIDE, to_client(&s, &with(d.from_client(b"request")), make));
        let make = |quote: &[u8]| Error::new(CLIENT.ip(), (3, 3), quote);
        passes(&mut h, CLIENT_SIDE, to_target(&s, &with(d.from_target(b"answer")), make));
    }
}

/// The SYN and the SYN-ACK may be quoted, before and while the handshake goes on; the target's before it has sent anything not.
/// req: S11.2
#[test]
fn errors_about_the_handshake() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, WEB, u32::MAX);
    s.send_syn(&mut h);
    let (syn, syn_ack) = (s.syn(), s.syn_ack());
    let make = |quote: &[u8]| Error::new(inside(false), (3, 13), quote);
    passes(&mut h, TARGET_SIDE, to_client(&s, &syn, make));
    let (early, _) = to_target(&s, &syn_ack, |quote| Error::new(outside(false), (3, 1), quote));
    dropped(&mut h, CLIENT_SIDE, &early.bytes(), DropReason::IcmpNoFlow);
    s.feed_target(&mut h, &syn_ack).forwarded();
    passes(&mut h, CLIENT_SIDE, to_target(&s, &syn_ack, |quote| Error::new(outside(false), (3, 1), quote)));
    passes(&mut h, TARGET_SIDE, to_client(&s, &syn, make));
    s.client_sends(&mut h, ACK, b"x");
    s.target_sends(&mut h, ACK, b"y");
    let (late, _) = to_client(&s, &syn, make);
    dropped(&mut h, TARGET_SIDE, &late.bytes(), DropReason::IcmpNoFlow);
}

/// Numbers that were never sent, or were acknowledged. req: S11.2
#[test]
fn guessed_sequence_numbers() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, u32::MAX - 50);
    s.client_sends(&mut h, ACK, &[1; 100]);
    s.target_sends(&mut h, ACK, &[2; 100]);
    let sent = s.client_sends(&mut h, ACK, &[3; 100]);
    let L4::Tcp { seq, .. } = sent.l4 else { panic!("TCP") };
    for distance in [-1, -100, -1000, 101, 0x1_0000, 0x1000_0000, i32::MAX] {
        let forged = s.at_client(ACK, seq.wrapping_add_signed(distance), s.t).payload(b"x");
        let (error, _) = to_client(&s, &forged, |quote| Error::new(inside(false), (3, 4), quote).mtu(1000));
        dropped(&mut h, TARGET_SIDE, &error.bytes(), DropReason::IcmpNoFlow);
    }
    for distance in [0, 1, 99, 100] {
        let sent = s.at_client(ACK, seq.wrapping_add_signed(distance), s.t).payload(b"x");
        passes(&mut h, TARGET_SIDE, to_client(&s, &sent, |quote| Error::new(inside(false), (3, 4), quote).mtu(1000)));
    }
}

/// "Fragmentation needed": the MTU is passed on; one that is too small becomes 576, and for none the next plateau below the packet's
/// length is told. req: S11.5
#[test]
fn fragmentation_needed() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 7);
    let (up, down) = in_flight(&mut h, &mut s, &[1; 1300], &[2; 500]);
    for (told, passed) in
        [(1400, 1400), (1280, 1280), (577, 577), (576, 576), (575, 576), (68, 576), (1, 576), (0, 1006)]
    {
        let make = |mtu: u16| move |quote: &[u8]| Error::new(inside(false), (3, 4), &quote[..48]).mtu(mtu);
        let ((error, _), (_, expected)) = (to_client(&s, &up, make(told)), to_client(&s, &up, make(passed)));
        let expected = Error { rest: make(passed)(&expected.body).rest, ..expected };
        passes(&mut h, TARGET_SIDE, (error, expected));
    }
    let make = |mtu: u16| move |quote: &[u8]| Error::new(outside(false), (3, 4), quote).mtu(mtu);
    let ((error, _), (_, expected)) = (to_target(&s, &down, make(0)), to_target(&s, &down, make(576)));
    let expected = Error { rest: make(576)(&expected.body).rest, ..expected };
    passes(&mut h, CLIENT_SIDE, (error, expected));
}

/// What follows a padded quote stays as it is. req: S11.3
#[test]
fn extensions_stay() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 7);
    for payload in [200, 20] {
        let up = s.client_sends(&mut h, ACK, &vec![1; payload]);
        let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xde, 0xad, 0xbe, 0xef];
        let make = |quote: &[u8]| {
            let mut body = quote[..quote.len().min(128)].to_vec();
            body.resize(128, 0);
            body.extend(extension);
            Error { rest: [0, 128 / 4, 0, 0], ..Error::new(inside(false), (3, 1), &body) }
        };
        passes(&mut h, TARGET_SIDE, to_client(&s, &up, make));
    }
}

/// Checksums, versions, lengths. req: S11.2
#[test]
fn bad_errors() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 7);
    let up = s.client_sends(&mut h, ACK, b"data");
    let quote = quoted(&s.as_target_sees(&up), 1);
    let error = |quote: &[u8]| {
        let whole = Error::new(inside(false), (3, 1), &quoted(&s.as_target_sees(&up), 1)).inside();
        Error { body: quote.to_vec(), ..whole }
    };
    let good = error(&quote);
    let mut wrong_sum = good.bytes();
    wrong_sum[36] ^= 1;
    dropped(&mut h, TARGET_SIDE, &wrong_sum, DropReason::IcmpBad);
    let changed = |at: usize, value: u8| {
        let mut quote = quote.clone();
        quote[at] = value;
        error(&quote).bytes()
    };
    for bad in [changed(0, 0x55), changed(0, 0x44), changed(0, 0x46), changed(0, 0x65), changed(3, 27)] {
        dropped(&mut h, TARGET_SIDE, &bad, DropReason::IcmpBad);
    }
    for length in [0, 1, 19, 20, 27] {
        dropped(&mut h, TARGET_SIDE, &error(&quote[..length]).bytes(), DropReason::IcmpBad);
    }
    let told = |words| Error { rest: [0, words, 0, 0], ..good.clone() }.bytes();
    for words in [1, 6, 255] {
        dropped(&mut h, TARGET_SIDE, &told(words), DropReason::IcmpBad);
    }
    assert!(matches!(h.feed_bytes(0, TARGET_SIDE, &told(7)).verdict, Verdict::Forward { .. }));
}

/// Another port, address, protocol or direction, a later fragment, who it is not for: silence. req: S11.2
#[test]
fn errors_about_nothing() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 7);
    let up = s.client_sends(&mut h, ACK, b"data");
    let sent = s.as_target_sees(&up);
    let other = |ip: &str, port| SocketAddr::new(self::ip(ip), port);
    let packets = [
        Packet { source: SocketAddr::new(NODE, 9), ..sent.clone() },
        Packet { destination: SocketAddr::new(s.target.ip(), 9), ..sent.clone() },
        Packet { destination: other("10.2.0.99", 8080), ..sent.clone() },
        Packet { source: SocketAddr::new(NODE_2, s.nat.port()), ..sent.clone() },
        Packet { l4: L4::Udp { checksum: true }, ..sent.clone() },
        Packet { l4: L4::Icmp { kind: 8, code: 0 }, ..sent.clone() },
        up,
    ];
    for packet in packets {
        let error = Error { destination: NODE, ..Error::new(inside(false), (3, 1), &quoted(&packet, 1)) }.inside();
        dropped(&mut h, TARGET_SIDE, &error.bytes(), DropReason::IcmpNoFlow);
    }
    let later = pieces::piece(&Packet { dont_fragment: false, ..sent.clone() }.bytes(), 5, 16, 24);
    let error = Error::new(inside(false), (3, 1), &later[14..]).inside();
    dropped(&mut h, TARGET_SIDE, &error.bytes(), DropReason::IcmpNoFlow);
    let good = Error::new(inside(false), (3, 1), &quoted(&sent, 1)).inside();
    dropped(&mut h, TARGET_SIDE, &Error { destination: CLIENT.ip(), ..good.clone() }.bytes(), DropReason::IcmpNoFlow);
    dropped(&mut h, TARGET_SIDE, &Error { source: NODE_2, ..good.clone() }.bytes(), DropReason::IpSource);
    dropped(&mut h, TARGET_SIDE, &Error { ttl: 1, ..good.clone() }.bytes(), DropReason::TtlExpired);
    assert!(matches!(h.feed_bytes(0, TARGET_SIDE, &good.bytes()).verdict, Verdict::Forward { .. }));
    h.skip(400_000);
    h.moved();
    assert!(h.feed_bytes(0, TARGET_SIDE, &good.bytes()).is_dropped(DropReason::IcmpNoFlow), "its time was over");
}

/// A thousand a second, and not more. req: S11.6
#[test]
fn the_rate_is_limited() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 7);
    let up = s.client_sends(&mut h, ACK, b"data");
    let (error, _) = to_client(&s, &up, |quote| Error::new(inside(false), (3, 1), quote));
    let frame = error.bytes();
    for _ in 0..3_000 {
        h.skip(1);
        h.feed_bytes(0, TARGET_SIDE, &frame);
        h.feed_bytes(0, TARGET_SIDE, &frame);
    }
    let passed = h.total(Counter::IcmpErrorsForwarded);
    assert!((3_000..=3_100).contains(&passed), "{passed}");
    assert_eq!(h.counters(0).dropped(DropReason::IcmpRate), 6_000 - passed);
}

/// Errors about flows reach their owner from any lcore. req: S1.2, LSN-08
#[test]
fn any_lcore_gets_an_error() {
    for vip in [WEB, DIRECT] {
        let mut h = Harness::new(4, 256);
        for n in 0..20 {
            let mut s = Stream::open(&mut h, SocketAddr::new(CLIENT.ip(), 3000 + n), vip, n.into());
            let (up, down) = in_flight(&mut h, &mut s, b"up", b"down");
            for lcore in 0..4 {
                let (error, expected) = to_client(&s, &up, |quote| Error::new(inside(false), (3, 1), quote));
                assert_eq!(h.feed_bytes(lcore, TARGET_SIDE, &error.bytes()).forwarded_frame().1, expected.bytes());
                let (error, expected) = to_target(&s, &down, |quote| Error::new(outside(false), (3, 1), quote));
                assert_eq!(h.feed_bytes(lcore, CLIENT_SIDE, &error.bytes()).forwarded_frame().1, expected.bytes());
            }
            h.skip(1_000);
        }
        let stray = Packet::tcp(SocketAddr::new(NODE, 40_000), target(1), ACK, 1, 1);
        for lcore in 0..4 {
            let error = Error::new(inside(false), (3, 1), &quoted(&stray, 1)).inside();
            assert!(h.feed_bytes(lcore, TARGET_SIDE, &error.bytes()).is_dropped(DropReason::IcmpNoFlow));
        }
    }
}

/// What is about the node's own connections is Linux's: health checks, and whatever is for the host. req: S11.8
#[test]
fn errors_for_linux() {
    let mut h = Harness::default();
    for (from, to) in [(SocketAddr::new(NODE, 3333), target(1)), (SocketAddr::new(HOST, 22), CLIENT)] {
        let sent = Packet::tcp(from, to, SYN, 1, 0);
        let error = Error::new(inside(false), (3, 1), &quoted(&sent, 1)).inside();
        assert_eq!(h.feed_bytes(0, TARGET_SIDE, &error.bytes()).verdict, Verdict::Punt { port: TARGET_SIDE });
    }
    let foreign = Packet::tcp(SocketAddr::new(NODE, 3333), CLIENT, SYN, 1, 0);
    let error = Error::new(inside(false), (3, 1), &quoted(&foreign, 1)).inside();
    dropped(&mut h, TARGET_SIDE, &error.bytes(), DropReason::IcmpNoFlow);
}

/// IPv6: all four types, both ways and modes; "packet too big" tells 1280 at least. req: LSN-08, S11.1, S11.5
#[test]
fn ipv6_errors() {
    for vip in [WEB_6, DIRECT_6] {
        let mut h = Harness::default();
        let mut s = Stream::open(&mut h, CLIENT_6, vip, 1000);
        let (up, down) = in_flight(&mut h, &mut s, &[1; 300], &[2; 300]);
        for kind in [(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)] {
            for length in [usize::MAX, 48] {
                let make =
                    |source| move |quote: &[u8]| Error::new(source, kind, &quote[..quote.len().min(length)]).mtu(1400);
                passes(&mut h, TARGET_SIDE, to_client(&s, &up, make(inside(true))));
                passes(&mut h, CLIENT_SIDE, to_target(&s, &down, make(outside(true))));
            }
        }
        let make = |mtu: u16| move |quote: &[u8]| Error::new(inside(true), (2, 0), quote).mtu(mtu);
        let ((error, _), (_, expected)) = (to_client(&s, &up, make(1000)), to_client(&s, &up, make(1280)));
        let expected = Error { rest: make(1280)(&expected.body).rest, ..expected };
        passes(&mut h, TARGET_SIDE, (error, expected));
        let (error, _) = to_client(&s, &up, make(1400));
        let mut bytes = error.bytes();
        bytes[57] ^= 1;
        dropped(&mut h, TARGET_SIDE, &bytes, DropReason::IcmpBad);
    }
}

/// What becomes of an error between both kinds of IP: type, code, second word.
type Translated = ((u8, u8), [u8; 4]);

/// Checks an error about a packet of the client between both kinds of IP, and one about a packet of the target.
fn translated(
    h: &mut Harness,
    s: &mut Stream,
    from_target: &[(Translated, Translated)],
    from_client: &[(Translated, Translated)],
) {
    let (up, down) = in_flight(h, s, &[1; 300], &[2; 300]);
    let with = |error: Error, ((kind, code), rest): Translated| Error { kind, code, rest, ..error };
    for (sent, expected) in from_target {
        let error =
            with(Error::new(inside(s.target.is_ipv6()), (0, 0), &quoted(&s.as_target_sees(&up), 1)), *sent).inside();
        let expected = with(
            Error::new(s.vip.ip(), (0, 0), &quoted(&Packet { dont_fragment: true, id: 0, ..up.clone() }, 2)),
            *expected,
        );
        let expected = Error { ttl: 59, macs: (PORTS[0], ROUTER_MAC), ..expected };
        let out = h.feed_bytes(0, TARGET_SIDE, &error.bytes());
        assert_eq!(out.forwarded_frame(), (CLIENT_SIDE, &as_made(expected)[..]), "{error:?}");
    }
    for (sent, expected) in from_client {
        let error = with(Error::new(outside(s.client.is_ipv6()), (0, 0), &quoted(&s.as_client_sees(&down), 1)), *sent);
        let expected = with(
            Error::new(s.nat.ip(), (0, 0), &quoted(&Packet { dont_fragment: true, id: 0, ..down.clone() }, 2)),
            *expected,
        );
        let expected = Error { ttl: 59, macs: (PORTS[1], target_mac(s.slot())), ..expected };
        let out = h.feed_bytes(0, CLIENT_SIDE, &error.bytes());
        assert_eq!(out.forwarded_frame(), (TARGET_SIDE, &as_made(expected)[..]), "{error:?}");
    }
}

/// An error of IPv4 as translation makes it: identification 0, not to be fragmented, quoting what fits 576 bytes.
fn as_made(mut error: Error) -> Vec<u8> {
    if error.source.is_ipv6() {
        return error.bytes();
    }
    error.body.truncate(548);
    let mut frame = error.bytes();
    (frame[18], frame[19], frame[20]) = (0, 0, 0x40);
    frame[24..26].fill(0);
    let (ip, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
    frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
    frame
}

/// An IPv6 client and an IPv4 target: errors are translated with what they quote, both ways. req: LSN-08, S17.3, S17.4, S17.5
#[test]
fn errors_between_ipv6_and_ipv4() {
    let to_v6: &[(Translated, Translated)] = &[
        (((3, 1), [0; 4]), ((1, 0), [0; 4])),
        (((3, 3), [0; 4]), ((1, 4), [0; 4])),
        (((3, 13), [0; 4]), ((1, 1), [0; 4])),
        (((3, 2), [0; 4]), ((4, 1), [0, 0, 0, 6])),
        (((3, 4), [0, 0, 5, 120]), ((2, 0), [0, 0, 5, 140])),
        (((3, 4), [0, 0, 2, 0]), ((2, 0), [0, 0, 5, 0])),
    ];
    let to_v4: &[(Translated, Translated)] = &[
        (((1, 0), [0; 4]), ((3, 1), [0; 4])),
        (((1, 1), [0; 4]), ((3, 10), [0; 4])),
        (((1, 4), [0; 4]), ((3, 3), [0; 4])),
        (((2, 0), [0, 0, 5, 120]), ((3, 4), [0, 0, 5, 100])),
        (((2, 0), [0, 0, 1, 0]), ((3, 4), [0, 0, 4, 236])),
        (((3, 0), [0; 4]), ((11, 0), [0; 4])),
        (((4, 0), [0, 0, 0, 7]), ((12, 0), [8, 0, 0, 0])),
    ];
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 1000);
    translated(&mut h, &mut s, to_v6, to_v4);
    let mut s = Stream::open(&mut h, CLIENT, TCP_4_TO_6, 1000);
    translated(&mut h, &mut s, to_v4, to_v6);
    // What has no counterpart.
    let up = s.client_sends(&mut h, ACK, b"x");
    for kind in [(1, 6), (4, 2)] {
        let error = Error::new(inside(true), kind, &quoted(&s.as_target_sees(&up), 1)).inside();
        dropped(&mut h, TARGET_SIDE, &error.bytes(), DropReason::IcmpBad);
    }
}

/// A long quote is cut to what the other kind of IP always takes; extensions follow it still. req: S17.5, S11.3
#[test]
fn long_errors_between_ipv6_and_ipv4() {
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 1000);
    let (up, down) = in_flight(&mut h, &mut s, &[1; 1300], &[2; 1300]);
    let quote = quoted(&s.as_target_sees(&up), 1);
    let out = h.feed_bytes(0, TARGET_SIDE, &Error::new(inside(false), (3, 1), &quote).inside().bytes());
    assert_eq!(out.forwarded_frame().1.len(), 14 + 1280);
    assert_eq!(out.bytes[62..], quoted(&up, 2)[..1232]);
    let quote = quoted(&s.as_client_sees(&down), 1);
    let out = h.feed_bytes(0, CLIENT_SIDE, &Error::new(outside(true), (1, 0), &quote[..1200]).bytes());
    assert_eq!(out.forwarded_frame().1.len(), 14 + 576);

    let mut body = quoted(&s.as_target_sees(&up), 1)[..128].to_vec();
    body.extend(extension);
    let error = Error { rest: [0, 32, 0, 0], ..Error::new(inside(false), (3, 1), &body).inside() };
    let out = h.feed_bytes(0, TARGET_SIDE, &error.bytes());
    let bytes = out.forwarded_frame().1;
    assert_eq!((bytes[54], bytes[55], bytes[58]), (1, 0, 19), "152 bytes: 148 and padding");
    assert_eq!((&bytes[62..62 + 148], &bytes[62 + 152..]), (&quoted(&up, 2)[..148], &extension[..]));

    let mut body = quoted(&s.as_client_sees(&down), 1)[..128].to_vec();
    body.extend(extension);
    let error = Error { rest: [16, 0, 0, 0], ..Error::new(outside(true), (1, 0), &body) };
    let out = h.feed_bytes(0, CLIENT_SIDE, &error.bytes());
    let bytes = out.forwarded_frame().1;
    assert_eq!((bytes[34], bytes[35], bytes[39]), (3, 1, 32), "128 bytes: 108 and padding");
    assert_eq!((&bytes[42 + 108..42 + 128], &bytes[42 + 128..]), (&[0; 20][..], &extension[..]));
}

/// With a PROXY header between them: the numbers are those of who sent the quoted segment. req: S11.3, S8.2
#[test]
fn numbers_behind_a_proxy_header() {
    let mut h = Harness::default();
    h.world.groups[0].proxy_protocol = true;
    h.publish();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1000);
    let made = h.made();
    let header = Packet::read(&made[0].1).expect("the header");
    let length = header.payload.len() as u32;
    assert_eq!((made.len(), length), (1, 100));
    let up = s.from_client(ACK, b"data that nobody gets");
    let (_, at_target) = s.feed_client(&mut h, &up).forwarded();
    assert_eq!(at_target.numbers().0, s.c + length);
    s.c = up.seq_end();
    let make = |quote: &[u8]| Error::new(inside(false), (3, 4), quote).mtu(1000).inside();
    for length in [usize::MAX, 28] {
        let cut = |quote: Vec<u8>| quote[..quote.len().min(length)].to_vec();
        let error = make(&cut(quoted(&at_target, 1)));
        let expected = error.passed_on((PORTS[0], ROUTER_MAC), WEB.ip(), CLIENT.ip(), &cut(quoted(&up, 2)));
        passes(&mut h, TARGET_SIDE, (error, expected));
    }
    // The header itself: the client has sent nothing before its first byte.
    let error = make(&quoted(&header, 1)[..28]);
    let out = h.feed_bytes(0, TARGET_SIDE, &error.bytes());
    assert_eq!(out.forwarded_frame().1[42 + 24..42 + 28], up.numbers().0.to_be_bytes());

    let down = s.at_target(ACK, s.t, s.c + length).payload(b"answer");
    let (_, at_client) = s.feed_target(&mut h, &down).forwarded();
    s.t = down.seq_end();
    assert_eq!(at_client.numbers().1, s.c);
    let error = Error::new(outside(false), (3, 1), &quoted(&at_client, 1));
    let macs = (PORTS[1], target_mac(s.slot()));
    let expected = error.passed_on(macs, error.source, s.target.ip(), &quoted(&down, 2));
    passes(&mut h, CLIENT_SIDE, (error, expected));
}

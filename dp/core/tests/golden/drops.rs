//! Every reason for a drop, provoked.

use std::net::{IpAddr, SocketAddr};

use leat_abi::counters::{Counter, DropReason};
use leat_abi::snapshot::TargetState;
use leat_core::{Answer, Verdict};

use crate::common::errors::{Error, quoted};
use crate::common::moves::Expect;
use crate::common::packet::L4;
use crate::common::pieces::pieces;
use crate::common::*;

/// A frame and where it arrives.
struct Case {
    h: Harness,
    frame: OwnedFrame,
    /// Counters that move beside the drop.
    besides: Expect,
    /// The frame is kept first, and dropped after so many milliseconds.
    kept_ms: Option<u64>,
}

fn syn() -> Packet {
    Stream::new(CLIENT, WEB, 1).syn()
}

fn case(h: Harness, packet: &Packet) -> Case {
    bytes(h, packet.bytes())
}

fn bytes(h: Harness, bytes: Vec<u8>) -> Case {
    Case { h, frame: OwnedFrame::new(CLIENT_SIDE, bytes), besides: nothing(), kept_ms: None }
}

/// A good SYN's bytes with a change, its IP checksum made right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Case {
    let mut frame = syn().bytes();
    change(&mut frame);
    fix_ip_checksum(&mut frame);
    bytes(Harness::default(), frame)
}

fn fix_ip_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let words = frame[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A datagram in three pieces.
fn fragments() -> [Vec<u8>; 3] {
    let datagram = Packet::udp(CLIENT, DNS, &[0; 200]).macs(ROUTER_MAC, PORTS[0]).bytes();
    pieces(&datagram, 1, 80).try_into().expect("three")
}

/// "Unreachable" about a datagram of the client to this socket.
fn error(to: SocketAddr) -> Error {
    Error::new(target(4).ip(), (3, 3), &quoted(&Packet::udp(CLIENT, to, b"x"), 1))
}

/// A case for every reason; none for those that the application counts (see [`app_counts`]).
fn provoke(reason: DropReason) -> Option<Case> {
    let h = Harness::default();
    let client = |port| SocketAddr::new(CLIENT.ip(), port);
    Some(match reason {
        DropReason::NoConfiguration => case(unconfigured(), &syn()),
        DropReason::NotLinear => {
            let mut case = case(h, &syn());
            case.frame.whole = false;
            case
        }
        DropReason::ShortFrame => {
            let mut frame = syn().bytes();
            frame.pop();
            bytes(h, frame)
        }
        DropReason::ForeignMac => case(h, &syn().macs(ROUTER_MAC, [2, 0, 0, 0, 7, 7])),
        DropReason::UnsupportedEthertype => changed(|f| f[12..14].copy_from_slice(&[0x88, 0xcc])),
        DropReason::Vlan => changed(|f| drop(f.splice(12..12, [0x81, 0, 0, 5]))),
        DropReason::IpHeader => changed(|f| f[14] = 0x65),
        DropReason::IpOptions => changed(|f| {
            f[14] = 0x46;
            f[17] += 4;
            f.splice(34..34, [1, 1, 1, 0]);
        }),
        DropReason::IpChecksum => {
            let mut frame = syn().bytes();
            frame[24] ^= 1;
            bytes(h, frame)
        }
        DropReason::IpSource => case(h, &Packet { source: SocketAddr::new(NODE_2, 5), ..syn() }),
        DropReason::Land => case(h, &Packet { source: WEB, ..syn() }),
        DropReason::FragmentBad => changed(|f| f[20] = 0x80),
        DropReason::FragmentTiny => changed(|f| f[21] = 1),
        DropReason::TtlExpired => case(h, &syn().ttl(1)),
        DropReason::TcpHeader => changed(|f| f[46] = 0x40),
        DropReason::TcpFlags => changed(|f| f[47] = 0),
        DropReason::UdpHeader => {
            let mut frame = Packet::udp(CLIENT, DNS, b"x").macs(ROUTER_MAC, PORTS[0]).bytes();
            frame[39] = 7;
            bytes(h, frame)
        }
        DropReason::Protocol => case(h, &Packet { l4: L4::Other { protocol: 47 }, payload: vec![0; 20], ..syn() }),
        DropReason::Icmp => case(h, &Packet::icmp(CLIENT, WEB, 8, 0).macs(ROUTER_MAC, PORTS[0])),
        DropReason::NoListener => case(h, &Packet { destination: SocketAddr::new(NODE, 9), ..syn() }),
        DropReason::NoTarget => {
            let mut case = case(h, &Packet::udp(CLIENT, EMPTY_UDP, b"x").macs(ROUTER_MAC, PORTS[0]));
            case.besides = nothing().and("listener6.no_target", 1);
            case
        }
        DropReason::NoFlow => {
            let mut case = case(h, &Packet::udp(target(4), CLIENT, b"x").macs(target_mac(4), PORTS[1]));
            case.frame.port = TARGET_SIDE;
            case
        }
        DropReason::ResetWithoutFlow => case(h, &Packet::tcp(CLIENT, WEB, RST, 1, 0).macs(ROUTER_MAC, PORTS[0])),
        DropReason::ResetRate => {
            let mut h = h;
            let stray = Packet::tcp(CLIENT, WEB, ACK, 1, 0).macs(ROUTER_MAC, PORTS[0]);
            (0..1000).for_each(|_| drop(h.feed(CLIENT_SIDE, &stray).answered()));
            case(h, &stray)
        }
        DropReason::ReplyLate => {
            let mut h = h;
            let mut flow = Datagrams::open(&mut h, CLIENT, DNS);
            h.pass(20_000);
            flow.client_sends(&mut h, b"again");
            h.pass(12_000);
            let mut case = case(h, &flow.from_target(b"too late"));
            case.frame.port = TARGET_SIDE;
            case
        }
        DropReason::FlowTableFull => {
            let mut h = Harness::new(1, 4);
            (0..4).for_each(|n| drop(Stream::open(&mut h, client(50 + n), WEB, 1)));
            let mut case = case(h, &syn());
            case.besides = nothing().and("listener0.no_room", 1);
            case
        }
        DropReason::NatPortsExhausted => {
            let mut h = Harness::new(1, 60_000);
            h.world.groups[0].table = vec![0];
            h.publish();
            let syn = |port| Stream::new(SocketAddr::new(CLIENT.ip(), port), WEB, 9).syn();
            for port in 1024..56_024 {
                Stream::open(&mut h, SocketAddr::new(CLIENT.ip(), port), WEB, 9);
            }
            let refused = syn(60_000);
            let mut case = case(h, &refused);
            case.besides = nothing().and("listener0.no_port", 1);
            case
        }
        DropReason::TupleConflict => {
            let mut h = h;
            h.world.groups[1].table = vec![3];
            h.publish();
            Stream::open(&mut h, CLIENT, DIRECT, 1);
            let mut case = case(h, &Stream::new(CLIENT, DIRECT_2, 2).syn());
            case.besides = nothing().and("listener4.conflicts", 1);
            case
        }
        DropReason::Hairpin => {
            let mut h = h;
            h.world.groups[1].table = vec![3];
            h.publish();
            let client = SocketAddr::new(target(3).ip(), 50_000);
            let mut case = case(h, &Stream::new(client, DIRECT, 1).syn());
            case.besides = nothing().and("listener1.conflicts", 1);
            case
        }
        DropReason::NoNextHop => {
            let mut h = h;
            h.world.targets.iter_mut().for_each(|t| t.next_hop = None);
            h.publish();
            case(h, &syn())
        }
        DropReason::PuntRate => {
            let mut h = h;
            let to_host = Packet::icmp(CLIENT, SocketAddr::new(HOST, 0), 8, 0).macs(ROUTER_MAC, PORTS[0]);
            (0..2000).for_each(|_| {
                assert_eq!(h.feed(CLIENT_SIDE, &to_host).verdict, Verdict::Punt { port: CLIENT_SIDE });
            });
            case(h, &to_host)
        }
        DropReason::Ipv6Extension => {
            let routes_on = vec![(43, vec![0, 0, 0, 0, 0, 0, 0])];
            case(h, &Packet { extensions: routes_on, ..Stream::new(CLIENT_6, WEB_6, 1).syn() })
        }
        DropReason::UdpChecksum => {
            let datagram = Packet::udp(CLIENT_6, DNS_6, b"x").macs(ROUTER_MAC, PORTS[0]);
            case(h, &Packet { l4: L4::Udp { checksum: false }, ..datagram })
        }
        DropReason::FragmentOverlap => {
            let mut h = h;
            let [first, second, _] = fragments();
            h.feed_bytes(0, CLIENT_SIDE, &first).forwarded_frame();
            h.feed_bytes(0, CLIENT_SIDE, &second).forwarded_frame();
            bytes(h, second)
        }
        DropReason::FragmentTimeout => Case { kept_ms: Some(2_000), ..bytes(h, fragments()[1].clone()) },
        DropReason::FragmentsFull => {
            let mut h = h;
            let datagram = Packet::udp(CLIENT, DNS, &[0; 200]).macs(ROUTER_MAC, PORTS[0]).bytes();
            let all = pieces(&datagram, 1, 8);
            for later in &all[1..17] {
                assert_eq!(h.feed_bytes(0, CLIENT_SIDE, later).verdict, Verdict::Consume);
            }
            bytes(h, all[17].clone())
        }
        DropReason::TooBig => {
            let mut h = h;
            let s = Stream::open(&mut h, CLIENT, WEB, 1);
            h.mtus[1] = 59;
            h.publish();
            case(h, &Packet { dont_fragment: false, ..s.from_client(ACK, &[0; 100]) })
        }
        DropReason::IcmpBad => {
            let mut frame = error(target(5)).bytes();
            frame[36] ^= 1;
            bytes(h, frame)
        }
        DropReason::IcmpNoFlow => bytes(h, error(target(5)).bytes()),
        DropReason::IcmpRate => {
            let mut h = h;
            let flow = Datagrams::open(&mut h, CLIENT, DNS);
            let frame = error(flow.target).bytes();
            (0..100).for_each(|_| drop(h.feed_bytes(0, CLIENT_SIDE, &frame)));
            bytes(h, frame)
        }
        DropReason::Withdrawn => {
            let mut h = h;
            h.world.targets[0].state = TargetState::Withdrawn;
            h.publish();
            let mut case = case(h, &Packet::tcp(target(0), CLIENT, ACK, 1, 2).macs(target_mac(0), PORTS[1]));
            case.frame.port = TARGET_SIDE;
            case
        }
        DropReason::HandoverFull | DropReason::PuntFull | DropReason::TxFull | DropReason::Restart => return None,
    })
}

fn unconfigured() -> Harness {
    let mut h = Harness::unconfigured(1, 64, 64);
    h.install_nothing();
    h
}

/// Every reason has a case, and counts exactly one packet. req: LSN-06, S18.3
#[test]
fn every_reason_is_provoked() {
    for reason in DropReason::ALL {
        let Some(Case { mut h, frame, besides, kept_ms }) = provoke(*reason) else { continue };
        h.moved();
        let length = frame.bytes.len();
        let out = h.run(0, vec![frame]).remove(0);
        assert_eq!(out.verdict, if kept_ms.is_some() { Verdict::Consume } else { Verdict::Drop(*reason) });
        if let Some(ms) = kept_ms {
            h.pass(ms);
        }
        rx(length).dropped(reason.name()).plus(besides).is(&h.moved());
        h.check_flows();
    }
}

/// What the application says of packets that it could not pass on.
#[test]
fn app_counts() {
    let h = Harness::default();
    let c = h.counters(0);
    for (verdict, reason) in [
        (Verdict::Forward { port: 0 }, Some(DropReason::TxFull)),
        (Verdict::Answer { port: 0, with: Answer::Reset }, Some(DropReason::TxFull)),
        (Verdict::Punt { port: 0 }, Some(DropReason::PuntFull)),
        (Verdict::HandOver { lcore: 1, port: 0, ports: 0 }, Some(DropReason::HandoverFull)),
        (Verdict::Drop(DropReason::Land), None),
    ] {
        let before = (c.dropped_total(), reason.map(|r| c.dropped(r)));
        leat_core::Pipeline::refused(&c, verdict);
        assert_eq!(c.dropped_total() - before.0, u64::from(reason.is_some()));
        assert_eq!(reason.map(|r| c.dropped(r) - 1), before.1);
    }
    assert_eq!(c.get(Counter::ForwardedPackets) + c.get(Counter::PuntedPackets), 0);
}

/// Each frame of a list, and the reason for which it must be dropped.
fn all_dropped(frames: impl IntoIterator<Item = (Vec<u8>, DropReason)>) {
    let mut h = Harness::default();
    for (frame, reason) in frames {
        let out = h.feed_bytes(0, CLIENT_SIDE, &frame);
        assert_eq!(out.verdict, Verdict::Drop(reason), "{frame:02x?}");
        rx(frame.len()).dropped(reason.name()).is(&h.moved());
    }
}

/// A frame cut anywhere is dropped, and named for what is missing. req: S18.3
#[test]
fn cut_at_every_byte() {
    let whole = syn().bytes();
    all_dropped((0..whole.len()).map(|len| (whole[..len].to_vec(), DropReason::ShortFrame)));
}

/// Addresses that cannot be a source. req: S18.3
#[test]
fn impossible_sources() {
    let sources =
        ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"];
    all_dropped(sources.map(|source| {
        let ip: IpAddr = source.parse().expect("an address");
        (Packet { source: SocketAddr::new(ip, 5), ..syn() }.bytes(), DropReason::IpSource)
    }));
}

/// Wrong lengths in headers. req: S18.3
#[test]
fn wrong_lengths() {
    let with = |at: usize, value: u8, reason| {
        let mut frame = syn().bytes();
        frame[at] = value;
        fix_ip_checksum(&mut frame);
        (frame, reason)
    };
    let mut short_l4 = syn().bytes();
    short_l4[17] = 39; // 19 bytes of TCP
    fix_ip_checksum(&mut short_l4);
    all_dropped([
        with(14, 0x44, DropReason::IpHeader),
        with(14, 0x05, DropReason::IpHeader),
        with(14, 0x4f, DropReason::IpOptions),
        with(17, 19, DropReason::IpHeader),
        with(17, 61, DropReason::ShortFrame),
        with(16, 0xff, DropReason::ShortFrame),
        with(46, 0x00, DropReason::TcpHeader),
        with(46, 0x40, DropReason::TcpHeader),
        with(46, 0xb0, DropReason::TcpHeader),
        (short_l4, DropReason::TcpHeader),
    ]);
}

/// Fragments that are too short, reach into the header, or end beyond what a datagram can be, and the reserved bit. req: S10.1, S18.3
#[test]
fn bad_fragments() {
    let with = |high: u8, low: u8, reason| {
        let mut frame = syn().bytes();
        (frame[20], frame[21]) = (high, low);
        fix_ip_checksum(&mut frame);
        (frame, reason)
    };
    all_dropped([
        with(0, 1, DropReason::FragmentTiny),
        with(0x1f, 0xff, DropReason::FragmentBad),
        with(0x60, 1, DropReason::FragmentTiny),
        with(0x80, 0, DropReason::FragmentBad),
    ]);
}

/// Fragments of protocols whose number is that of TCP or UDP but for the highest bit. req: S10.1
#[test]
fn fragments_of_other_protocols() {
    let v4 = |protocol: u8, high: u8, low: u8| {
        let mut frame = syn().bytes();
        (frame[20], frame[21], frame[23]) = (high, low, protocol);
        fix_ip_checksum(&mut frame);
        frame
    };
    let v6 = |next: u8, low: u8| {
        let header = (44, vec![0, 0, low, 0, 0, 0, 7]);
        let mut frame = Packet { extensions: vec![header], ..Packet::udp(CLIENT_6, DNS_6, &[0; 64]) }.bytes();
        frame[0..6].copy_from_slice(&PORTS[0]);
        frame[54] = next;
        frame
    };
    for protocol in [6 | 0x80, 17 | 0x80] {
        for frame in [v4(protocol, 0x20, 0), v4(protocol, 0, 9), v6(protocol, 1), v6(protocol, 0x40)] {
            all_dropped([(frame, DropReason::Protocol)]);
        }
    }
}

/// Frames to groups that carry IP are nobody's. req: LSN-06
#[test]
fn group_frames() {
    all_dropped(
        [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]].map(|mac| (syn().macs(ROUTER_MAC, mac).bytes(), DropReason::NoListener)),
    );
}

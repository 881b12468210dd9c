//! Traces and flow dumps.

use std::net::{IpAddr, SocketAddr};

use leat_abi::Counter;
use leat_abi::flow::flag;
use leat_abi::message::{ANY_PORT, Command, Event, Filter, FlowRow, Made, Part, Stage, Step};

use crate::common::*;

fn socket(socket: impl Into<SocketAddr>) -> SocketAddr {
    socket.into()
}

fn ip(ip: impl Into<IpAddr>) -> IpAddr {
    ip.into()
}

fn traced(h: &mut Harness) -> Vec<(u32, Step)> {
    let steps = h.events(0).into_iter().map(|event| match event {
        Event::Trace { id: 5, packet, step } => (packet, step),
        other => panic!("{other:?}"),
    });
    steps.collect()
}

fn stages(h: &mut Harness) -> Vec<Stage> {
    traced(h).iter().map(|(_, step)| step.stage()).collect()
}

fn start(h: &mut Harness, count: u32, port: u8, filter: Filter) {
    h.pipeline(0).command(Command::TraceStart { id: 5, count, port, filter });
}

/// The way of each kind of packet, in the order of its stages.
#[test]
fn stages_in_order() {
    use Stage::{Answer, Create, Drop, Listener, Lookup, Parse, Punt, Rewrite, Rx, Select, Transmit};
    let mut h = Harness::default();
    start(&mut h, 100, ANY_PORT, Filter::default());
    let mut s = Stream::new(CLIENT, WEB, 1);
    s.send_syn(&mut h);
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Listener, Select, Create, Rewrite, Transmit]);
    s.feed_target(&mut h, &s.syn_ack());
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Rewrite, Transmit]);
    let stray = Packet::tcp(CLIENT, DIRECT, ACK, 1, 1).macs(ROUTER_MAC, PORTS[0]);
    h.feed(CLIENT_SIDE, &stray);
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Listener, Answer]);
    h.feed(CLIENT_SIDE, &stray.clone().ttl(9).macs(ROUTER_MAC, PORTS[1]));
    assert_eq!(stages(&mut h), [Rx, Drop]);
    h.feed_bytes(0, CLIENT_SIDE, &packet::arp(ROUTER_MAC));
    assert_eq!(stages(&mut h), [Rx, Punt]);
    let to_host = Packet { destination: SocketAddr::new(HOST, 22), ..stray };
    h.feed(CLIENT_SIDE, &to_host);
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Punt]);
}

/// What the steps say is what happened.
#[test]
fn steps_tell_the_truth() {
    let mut h = Harness::default();
    start(&mut h, 2, CLIENT_SIDE, Filter::default());
    let mut s = Stream::new(CLIENT, WEB, 1);
    s.send_syn(&mut h);
    let (slot, nat, target) = (s.slot(), socket(s.nat), socket(s.target));
    let (source, destination) = (socket(CLIENT), socket(WEB));
    let steps: Vec<Step> =
        traced(&mut h).into_iter().map(|(packet, step)| (packet == 0).then_some(step).unwrap()).collect();
    assert_eq!(
        steps,
        [
            Step::Rx { port: 0, length: 74 },
            Step::Parse { source, destination, protocol: 6, tcp_flags: SYN, part: Part::Whole },
            Step::Lookup { entry: None, from_client: false, state: 0 },
            Step::Listener { slot: 0 },
            Step::Select { slot, target },
            Step::Create { entry: 0, nat },
            Step::Rewrite { source: nat, destination: target },
            Step::Transmit { port: 1 },
        ]
    );
    s.feed_target(&mut h, &s.syn_ack()).forwarded();
    assert_eq!(traced(&mut h), [], "the trace is of the other port");
    s.client_sends(&mut h, ACK, &[]);
    let lookup = Step::Lookup { entry: Some(0), from_client: true, state: 2 };
    assert_eq!(traced(&mut h)[2], (1, lookup));
    s.client_sends(&mut h, ACK, &[]);
    assert_eq!(traced(&mut h), [], "two packets were asked for");
}

/// Only what the filter says is traced, and a trace can be stopped.
#[test]
fn filters_and_stopping() {
    let mut h = Harness::default();
    let filter = Filter { protocol: 17, destination: Some(ip(NODE)), destination_port: 53, ..Filter::default() };
    start(&mut h, 100, ANY_PORT, filter);
    let mut tcp = Stream::open(&mut h, CLIENT, WEB, 1);
    Datagrams::open(&mut h, CLIENT, LOG);
    h.feed_bytes(0, CLIENT_SIDE, &packet::arp(ROUTER_MAC));
    assert_eq!(traced(&mut h), []);
    let mut udp = Datagrams::open(&mut h, CLIENT, DNS);
    assert_eq!(traced(&mut h).len(), 8);
    h.pipeline(0).command(Command::TraceStop { id: 4 });
    udp.client_sends(&mut h, b"x");
    assert_eq!(traced(&mut h).len(), 5);
    h.pipeline(0).command(Command::TraceStop { id: 5 });
    udp.client_sends(&mut h, b"x");
    tcp.works(&mut h);
    assert_eq!(traced(&mut h), []);
}

/// A full event ring costs events, which are counted, never packets. req: S20.4, R7
#[test]
fn a_full_ring_loses_events_only() {
    let mut h = Harness::with_events(1, 64, 4);
    start(&mut h, 1000, ANY_PORT, Filter::default());
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    s.works(&mut h);
    assert_eq!(traced(&mut h).len(), 4);
    assert_eq!(h.total(Counter::EventsLost), 8 + 5 + 5 + 5 + 5 - 4);
}

fn dump(h: &mut Harness, limit: u32, filter: Filter) -> (Vec<FlowRow>, u64) {
    h.pipeline(0).command(Command::FlowDump { id: 9, limit, filter });
    let mut rows = Vec::new();
    loop {
        let more = {
            let now = h.now;
            h.pipeline(0).housekeeping(now)
        };
        for event in h.events(0) {
            match event {
                Event::Flow { id: 9, row } => rows.push(row),
                Event::FlowDumpEnd { id: 9, scanned } => return (rows, scanned),
                other => panic!("{other:?}"),
            }
        }
        assert!(more, "a dump ends with its end");
    }
}

/// Flows as they are, filtered and limited, also over a ring that is smaller than the answer.
#[test]
fn flow_dumps() {
    let mut h = Harness::with_events(1, 4096, 16);
    let client = |n: u16| SocketAddr::new([198, 51, 100, (n % 10) as u8].into(), 1000 + n);
    let streams: Vec<Stream> = (0..300).map(|n| Stream::open(&mut h, client(n), WEB, n.into())).collect();
    (0..100).for_each(|n| drop(Datagrams::open(&mut h, client(n), DNS)));
    h.pass(7_000);
    let all = Filter::default();
    let (rows, scanned) = dump(&mut h, u32::MAX, all);
    assert_eq!((rows.len(), scanned), (400, 400));
    let row = rows.iter().find(|r| r.protocol == 6 && r.client.port() == 1000).expect("the first stream");
    let s = &streams[0];
    assert_eq!((row.nat.port(), row.target.ip(), row.vip.ip()), (s.nat.port(), socket(s.target).ip(), ip(NODE)));
    assert_eq!((row.idle_s, row.target_slot, row.listener_slot), (7, s.slot(), 0));
    assert_eq!(row.state, leat_abi::flow::FlowState::Established);

    assert_eq!(dump(&mut h, 17, all).0.len(), 17);
    assert_eq!(dump(&mut h, 0, all), (vec![], 0));
    let count = |h: &mut Harness, filter| dump(h, 1000, filter).0.len();
    assert_eq!(count(&mut h, Filter { protocol: 17, ..all }), 100);
    assert_eq!(count(&mut h, Filter { source: Some([198, 51, 100, 3].into()), ..all }), 40);
    assert_eq!(count(&mut h, Filter { source_port: 1007, ..all }), 2);
    assert_eq!(count(&mut h, Filter { destination_port: 53, ..all }), 100);
    assert_eq!(count(&mut h, Filter { destination: Some(ip(NODE_2)), ..all }), 0);
    let of_target = streams.iter().filter(|s| s.slot() == 1).count();
    assert_eq!(count(&mut h, Filter { target: Some(socket(target(1)).ip()), ..all }), of_target);
}

/// A dump of an empty table ends at once, and another one takes the place of one under way.
#[test]
fn dumps_end() {
    let mut h = Harness::new(1, 64);
    assert_eq!(dump(&mut h, 5, Filter::default()), (vec![], 0));
    h.pipeline(0).command(Command::FlowDump { id: 1, limit: 5, filter: Filter::default() });
    assert_eq!(dump(&mut h, 5, Filter::default()), (vec![], 0));
}

/// A header that is sent beside a packet, an acknowledgement that ends here, and how far a flow is with its header.
#[test]
fn proxy_headers_are_shown() {
    use Stage::{Consume, Lookup, Originate, Parse, Rewrite, Rx, Transmit};
    let mut h = Harness::default();
    h.set_proxy_protocol(true);
    let mut s = Stream::new(CLIENT, WEB, 1);
    s.send_syn(&mut h);
    s.feed_target(&mut h, &s.syn_ack()).forwarded();
    start(&mut h, 100, ANY_PORT, Filter::default());
    s.feed_client(&mut h, &s.from_client(ACK, &[])).forwarded();
    let header = Step::Originate { port: TARGET_SIDE, made: Made::ProxyHeader };
    let steps = traced(&mut h);
    assert!(steps.contains(&(0, header)), "{steps:?}");
    assert_eq!(
        steps.iter().map(|(_, s)| s.stage()).collect::<Vec<_>>(),
        [Rx, Parse, Lookup, Originate, Rewrite, Transmit]
    );
    let flags = |h: &mut Harness| dump(h, 1, Filter::default()).0[0].flags & (flag::PROXY | flag::PROXY_ACKED);
    h.pipeline(0).command(Command::TraceStop { id: 5 });
    assert_eq!(flags(&mut h), flag::PROXY);
    start(&mut h, 100, ANY_PORT, Filter::default());
    let acknowledged = s.at_target(ACK, s.t, s.c.wrapping_add(100));
    assert_eq!(s.feed_target(&mut h, &acknowledged).verdict, leat_core::Verdict::Consume);
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Consume]);
    h.pipeline(0).command(Command::TraceStop { id: 5 });
    assert_eq!(flags(&mut h), flag::PROXY | flag::PROXY_ACKED);
}

/// Addresses of either kind are told as they are on each side, and can be filtered by. req: MET-35
#[test]
fn ipv6_is_shown() {
    let mut h = Harness::default();
    start(&mut h, 1, ANY_PORT, Filter { source: Some(CLIENT_6.ip()), ..Filter::default() });
    Stream::open(&mut h, CLIENT, WEB, 1);
    let direct = Stream::open(&mut h, CLIENT_6, DIRECT_6, 1);
    let steps = traced(&mut h);
    let parsed =
        |source, destination| Step::Parse { source, destination, protocol: 6, tcp_flags: SYN, part: Part::Whole };
    assert_eq!(steps[1].1, parsed(CLIENT_6, DIRECT_6));
    assert!(steps.contains(&(0, Step::Rewrite { source: CLIENT_6, destination: direct.target })), "{steps:?}");

    let between = Stream::open(&mut h, CLIENT_6, TCP_6_TO_4, 2);
    let (rows, scanned) = dump(&mut h, 10, Filter { source: Some(CLIENT_6.ip()), ..Filter::default() });
    assert_eq!((rows.len(), scanned), (2, 3));
    let row = rows.iter().find(|row| row.vip == TCP_6_TO_4).expect("the translated one");
    assert_eq!((row.client, row.target, row.nat), (CLIENT_6, between.target, between.nat));
    assert!(row.nat.is_ipv4() && row.flags & flag::FULL_NAT != 0);
    let to_target = |target: SocketAddr| Filter { protocol: 6, target: Some(target.ip()), ..Filter::default() };
    let rows = dump(&mut h, 10, to_target(direct.target)).0;
    assert_eq!(rows.iter().map(|row| (row.client, row.nat)).collect::<Vec<_>>(), [(CLIENT_6, CLIENT_6)]);
}

/// Fragments that wait and go on, and errors that go to who sent what they quote.
#[test]
fn fragments_and_errors_are_shown() {
    use Stage::{Hold, Lookup, Parse, Release, Rewrite, Rx, Transmit};
    let mut h = Harness::default();
    let s = Datagrams::open(&mut h, CLIENT, DNS);
    let sent = Packet { dont_fragment: false, ..s.from_client(&[7; 400]) };
    let pieces = pieces::pieces(&sent.bytes(), 9, 136);
    start(&mut h, 100, ANY_PORT, Filter::default());
    h.feed_bytes(0, CLIENT_SIDE, &pieces[1]);
    let steps = traced(&mut h);
    assert_eq!(steps.iter().map(|(_, step)| step.stage()).collect::<Vec<_>>(), [Rx, Parse, Hold]);
    let no_port = |socket: SocketAddr| SocketAddr::new(socket.ip(), 0);
    let (source, destination) = (no_port(CLIENT), no_port(DNS));
    assert_eq!(steps[1].1, Step::Parse { source, destination, protocol: 17, tcp_flags: 0, part: Part::Later });
    h.feed_bytes(0, CLIENT_SIDE, &pieces[0]).forwarded_frame();
    let steps = traced(&mut h);
    assert!(steps.contains(&(1, Step::Release { fragments: 1 })), "{steps:?}");
    assert_eq!(
        steps.iter().map(|(_, step)| step.stage()).collect::<Vec<_>>(),
        [Rx, Parse, Release, Lookup, Rewrite, Transmit]
    );
    h.feed_bytes(0, CLIENT_SIDE, &pieces[2]).forwarded_frame();
    assert_eq!(stages(&mut h), [Rx, Parse, Lookup, Rewrite, Transmit]);

    let router: IpAddr = [10, 2, 0, 254].into();
    let error = errors::Error::new(router, (3, 1), &errors::quoted(&s.as_target_sees(&sent), 1)).inside();
    h.feed_bytes(0, TARGET_SIDE, &error.bytes()).forwarded_frame();
    let steps = traced(&mut h);
    assert_eq!(steps.iter().map(|(_, step)| step.stage()).collect::<Vec<_>>(), [Rx, Parse, Lookup, Rewrite, Transmit]);
    let rewritten = Step::Rewrite { source: no_port(DNS), destination: no_port(CLIENT) };
    assert_eq!(steps[3].1, rewritten, "from the node, to who sent it");
}

//! The fast path does what the other stages do. A trace that shows nothing keeps packets off it: of two pipelines that get the same
//! packets, one has such a trace.

use std::net::SocketAddr;

use leat_abi::message::{ANY_PORT, Command, Filter};
use leat_abi::snapshot::TargetState;
use proptest::prelude::*;

use crate::common::header::header;
use crate::common::*;

/// A packet of a flow that has begun, and what happens before it.
#[derive(Debug, Clone)]
struct Step {
    flow: usize,
    from_target: bool,
    flags: u8,
    /// Away from the numbers that are due.
    seq: u32,
    ack: u32,
    payload: usize,
    padding: usize,
    ttl: u8,
    /// Time stamps, or if not, what was received selectively.
    options: Option<bool>,
    /// A byte of the headers that becomes another one; whether the IP header's checksum is made right again.
    byte: Option<(usize, u8, bool)>,
    /// A part of the frame is missing.
    cut: Option<usize>,
    skip_ms: u64,
    /// A target's new state.
    change: Option<(usize, TargetState)>,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![6 => Just(ACK), 2 => Just(ACK | PSH), 1 => Just(ACK | FIN), 1 => Just(RST), 1 => Just(SYN), 1 => any::<u8>()];
    let away = || prop_oneof![6 => Just(0u32), 1 => 0..3000u32, 1 => (0..70_000u32).prop_map(u32::wrapping_neg), 1 => any::<u32>()];
    let byte = prop_oneof![
        3 => Just(None),
        1 => (0..76usize, any::<u8>(), any::<bool>()).prop_map(Some),
        1 => (prop::sample::select(vec![0usize, 12, 14, 16, 17, 20, 22, 23, 26, 30, 38, 39, 46, 47]),
              prop::sample::select(vec![0u8, 1, 5, 6, 17, 0x20, 0x40, 0x45, 0x50, 0x60, 127, 224, 255]), any::<bool>()).prop_map(Some),
    ];
    let skip = prop_oneof![6 => Just(0u64), 2 => 1..3000u64, 1 => 100_000..360_000u64];
    let states = prop::sample::select(vec![
        TargetState::Active,
        TargetState::Draining,
        TargetState::UnhealthyInPart,
        TargetState::Unhealthy,
        TargetState::Terminate,
    ]);
    let change = prop_oneof![15 => Just(None), 1 => (0..16usize, states).prop_map(Some)];
    let ttl = prop_oneof![4 => Just(64u8), 1 => 0..3u8];
    let cut = prop_oneof![9 => Just(None), 1 => (0..90usize).prop_map(Some)];
    let options = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let shape = (0..1480usize, prop_oneof![Just(0usize), 0..20usize], ttl, options);
    ((0..FLOWS, any::<bool>(), flags, away(), away()), shape, (byte, cut, skip, change)).prop_map(
        |((flow, from_target, flags, seq, ack), (payload, padding, ttl, options), (byte, cut, skip_ms, change))| Step {
            flow,
            from_target,
            flags,
            seq,
            ack,
            // Most are short.
            payload: if payload % 4 == 0 { payload } else { payload % 40 },
            padding,
            ttl,
            options,
            byte,
            cut,
            skip_ms,
            change,
        },
    )
}

/// By how much the target's numbers of the client are higher where there is a header.
fn ahead(stream: &Stream) -> u32 {
    header(stream.client, stream.vip, None).len() as u32
}

/// Flows of a pair: first the connections.
const STREAMS: usize = 7;
/// The first of those with a PROXY header.
const PROXIED: usize = 4;
const FLOWS: usize = STREAMS + 3;

/// Makes the checksum of a frame's IPv4 header right.
fn mend(frame: &mut [u8]) {
    if frame[12] != 8 {
        return;
    }
    frame[24..26].fill(0);
    let sum = leat_core::checksum::of(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&sum.to_ne_bytes());
}

struct Pair {
    h: [Harness; 2],
    streams: [Stream; STREAMS],
    datagrams: [Datagrams; FLOWS - STREAMS],
}

impl Pair {
    fn new() -> Self {
        let mut h = [Harness::new(1, 64), Harness::new(1, 64)];
        h[1].pipeline(0).command(Command::TraceStart {
            id: 1,
            count: u32::MAX,
            port: ANY_PORT,
            filter: Filter { protocol: 99, ..Filter::default() },
        });
        let other = SocketAddr::new(CLIENT.ip(), 40_002);
        let mut flows = None;
        for h in &mut h {
            let proxied =
                [(CLIENT, WEB, 11), (other, DIRECT, u32::MAX - 300), (CLIENT_6, WEB_6, 5)].map(|(client, vip, isn)| {
                    h.set_proxy_protocol(true);
                    let mut stream = Stream::open(h, SocketAddr::new(client.ip(), 50_000), vip, isn);
                    // The header is acknowledged, then the client speaks. Of the last one, the target says nothing of that.
                    let acknowledges = |h: &mut Harness, stream: &Stream, number: u32| {
                        let packet = stream.at_target(ACK, stream.t, number.wrapping_add(ahead(stream)));
                        stream.feed_target(h, &packet);
                    };
                    acknowledges(h, &stream, stream.c);
                    let hello = stream.from_client(ACK | PSH, b"hello");
                    stream.feed_client(h, &hello);
                    stream.c = hello.seq_end();
                    if vip != WEB_6 {
                        acknowledges(h, &stream, stream.c);
                    }
                    h.set_proxy_protocol(false);
                    h.made();
                    stream
                });
            let [first, second, third] = proxied;
            let streams = [
                Stream::open(h, CLIENT, WEB, u32::MAX - 2000),
                Stream::open(h, other, DIRECT, 77),
                Stream::open(h, CLIENT_6, WEB_6, u32::MAX - 900),
                Stream::open(h, CLIENT_6, TCP_6_TO_4, 99),
                first,
                second,
                third,
            ];
            let datagrams =
                [Datagrams::open(h, CLIENT, LOG), Datagrams::open(h, other, DNS), Datagrams::open(h, CLIENT_6, DNS_6)];
            flows = Some((streams, datagrams));
        }
        let (streams, datagrams) = flows.expect("two pipelines");
        Self { h, streams, datagrams }
    }

    fn frame(&self, step: &Step) -> (u8, Vec<u8>) {
        let payload = vec![0x5a; step.payload];
        let packet = if let Some(stream) = self.streams.get(step.flow) {
            let header = if step.flow < PROXIED { 0 } else { ahead(stream) };
            let (seq, ack) =
                if step.from_target { (stream.t, stream.c.wrapping_add(header)) } else { (stream.c, stream.t) };
            let (seq, ack) = (seq.wrapping_add(step.seq), ack.wrapping_add(step.ack));
            let packet = if step.from_target {
                stream.at_target(step.flags, seq, ack)
            } else {
                stream.at_client(step.flags, seq, ack)
            };
            let packet = packet.payload(&payload);
            match step.options {
                Some(true) => packet.options(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]),
                // What begins one byte before the acknowledgement was received.
                Some(false) => {
                    let edges = [ack.wrapping_sub(1), ack.wrapping_add(200)].map(u32::to_be_bytes).concat();
                    packet.options(&[&[1, 1, 5, 10][..], &edges].concat())
                }
                None => packet,
            }
        } else {
            let flow = &self.datagrams[step.flow - STREAMS];
            if step.from_target { flow.from_target(&payload) } else { flow.from_client(&payload) }
        };
        let mut frame = Packet { ttl: step.ttl, padding: step.padding, ..packet }.bytes();
        if let Some((at, byte, mended)) = step.byte
            && at < frame.len()
        {
            frame[at] = byte;
            if mended {
                mend(&mut frame);
            }
        }
        frame.truncate(step.cut.unwrap_or(usize::MAX));
        (if step.from_target { TARGET_SIDE } else { CLIENT_SIDE }, frame)
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let (port, frame) = self.frame(step);
        let [fast, slow] = self.h.each_mut().map(|h| {
            h.skip(step.skip_ms);
            if let Some((slot, state)) = step.change {
                h.world.targets[slot].state = state;
                h.publish();
            }
            let outs = h.burst(0, port, std::slice::from_ref(&frame));
            (outs, h.made(), h.moved(), h.flows())
        });
        prop_assert_eq!(&fast, &slow, "{:02x?}", frame);
        // The ends go on from what got through.
        if let Some(stream) = self.streams.get_mut(step.flow)
            && step.seq == 0
            && step.byte.is_none()
            && step.cut.is_none()
        {
            let next = if step.from_target { &mut stream.t } else { &mut stream.c };
            *next = next.wrapping_add(step.payload as u32);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Verdicts, bytes, all counters, all entries are the same, whatever comes.
    #[test]
    fn fast_path_does_as_the_others(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step)?;
        }
    }
}

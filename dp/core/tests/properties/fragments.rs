//! Datagrams in pieces, in any order and on any lcore, and errors about anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use leat_core::Verdict;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::common::errors::{Error, quoted};
use crate::common::pieces::{joined, pieces, read};
use crate::common::*;

/// Clients and listeners of UDP: every mode and kind.
const FLOWS: [(SocketAddr, SocketAddr); 6] =
    [(CLIENT, DNS), (CLIENT, LOG), (CLIENT_6, DNS_6), (CLIENT_6, LOG_6), (CLIENT_6, UDP_6_TO_4), (CLIENT, UDP_4_TO_6)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any order of the fragments of several datagrams, the first one anywhere: all come out once, with the right addresses, and put
    /// together they are what the whole datagrams would have become. req: S10.2, S10.3, S10.5, S10.6, S10.8, S17.7
    #[test]
    fn any_order_of_fragments(
        seed: u64,
        lcores in prop::sample::select(vec![1u16, 2, 4]),
        flow in prop::sample::select(FLOWS.to_vec()),
        lengths in prop::collection::vec(40..4000usize, 1..6),
        from_client: bool,
    ) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut h = Harness::new(lcores, 64);
        let mut s = Datagrams::open(&mut h, flow.0, flow.1);
        s.target_sends(&mut h, b"answer");
        let mut frames = Vec::new();
        let mut expected = BTreeMap::new();
        for (n, length) in (0u8..).zip(lengths) {
            let mut payload: Vec<u8> = (0..length).map(|_| random.random()).collect();
            payload[0] = n;
            let packet = if from_client { s.from_client(&payload) } else { s.from_target(&payload) };
            let id: u16 = random.random::<u16>() / 8 * 8 + u16::from(n);
            let packet = Packet { id: if packet.is_v6() { 0 } else { id }, dont_fragment: packet.is_v6(), ..packet };
            // 2 to 16 pieces.
            let size = (random.random_range(length / 16..length) + 16).next_multiple_of(8).min(1400).min(length / 8 * 8);
            frames.extend(pieces(&packet.bytes(), id.into(), size));
            expected.insert(payload, if from_client { s.as_target_sees(&packet) } else { s.as_client_sees(&packet) });
        }
        frames.shuffle(&mut random);
        let mut got: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        let (port, egress) = if from_client { (CLIENT_SIDE, TARGET_SIDE) } else { (TARGET_SIDE, CLIENT_SIDE) };
        let mut count = 0usize;
        let mut take = |verdict, bytes: Vec<u8>| {
            if verdict == Verdict::Consume {
                return;
            }
            assert_eq!(verdict, Verdict::Forward { port: egress });
            count += 1;
            let id = read(&bytes).id;
            got.entry(id).or_default().push(bytes);
        };
        for frame in &frames {
            let out = h.feed_bytes(random.random_range(0..lcores), port, frame);
            take(out.verdict, out.bytes);
            if random.random_bool(0.3) {
                h.housekeeping();
                h.made().into_iter().for_each(|(verdict, bytes)| take(verdict, bytes));
            }
        }
        h.housekeeping();
        h.made().into_iter().for_each(|(verdict, bytes)| take(verdict, bytes));
        prop_assert_eq!(count, frames.len());
        for group in got.values() {
            let (frame, _) = joined(group);
            let read = Packet::read(&frame).expect("a datagram");
            let expected = expected.remove(&read.payload).expect("a payload that was sent, once");
            let expected = Packet { id: read.id, dont_fragment: read.dont_fragment, ..expected };
            prop_assert_eq!(frame, expected.bytes());
        }
        prop_assert!(expected.is_empty());
        prop_assert_eq!(h.total(leat_abi::Counter::HeldPackets), 0);
        h.check_flows();
    }

    /// Errors that quote anything: nothing of a flow changes, and what goes on is sound, whatever it was. req: S11.2, S11.4
    #[test]
    fn any_error(
        seed: u64,
        flow in prop::sample::select(FLOWS.to_vec()),
        kind in prop_oneof![Just((3, 4)), (1..5u8, 0..16u8)],
        length in 0..1500usize,
        changes in prop::collection::vec((0..80usize, any::<u8>()), 0..4),
        rest: [u8; 4],
        from_target: bool,
    ) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, flow.0, flow.1);
        s.target_sends(&mut h, b"answer");
        let payload = vec![7; random.random_range(0..1300)];
        let sent = if from_target { s.as_client_sees(&s.from_target(&payload)) } else { s.as_target_sees(&s.from_client(&payload)) };
        let quote = quoted(&sent, 1);
        let source = if sent.is_v6() { "2001:db8:77::1" } else { "203.0.113.77" };
        let error = Error::new(source.parse::<std::net::IpAddr>().expect("an address"), kind, &quote);
        let mut body = quote[..quote.len().min(length)].to_vec();
        let rest = if random.random_bool(0.5) { rest } else { [0, 0, 5, 0] };
        for (at, value) in changes {
            if let Some(byte) = body.get_mut(at) {
                *byte = value;
            }
        }
        let error = Error { body, rest, ..error };
        let (port, error) = if from_target { (CLIENT_SIDE, error) } else { (TARGET_SIDE, error.inside()) };
        let flows = h.flows();
        h.feed_bytes(0, port, &error.bytes());
        prop_assert_eq!(&h.flows(), &flows);
        let mut damaged = error.bytes();
        let at = random.random_range(0..damaged.len());
        damaged[at] ^= 1 << random.random_range(0..8);
        h.feed_bytes(0, port, &damaged);
        prop_assert_eq!(&h.flows(), &flows);
    }
}

//! What is no good query gets a defined answer or none, and never more than thrice what was sent (R24, R27).

mod common;

use common::{APEX, directory, name_of, query};
use hickory_proto::op::{Edns, Message, MessageType};
use hickory_proto::rr::RecordType;
use leat_dns::{AMPLIFICATION_MAX, Transport, answer};
use leat_model::dns::Directory;
use proptest::prelude::*;

/// What must hold of any bytes.
fn check(directory: &Directory, bytes: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some((reply, _)) = answer(directory, bytes, transport, &mut rand::rng()) else { continue };
        assert!(bytes.len() >= 12 && bytes[2] & 0x80 == 0, "an answer to what is no query");
        assert_eq!(reply[..2], bytes[..2], "another id");
        let message = Message::from_vec(&reply).expect("a message");
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert!(!message.metadata.recursion_available);
        if transport == Transport::Udp {
            assert!(reply.len() <= AMPLIFICATION_MAX * bytes.len(), "{} bytes for {}", reply.len(), bytes.len());
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut with_edns = Message::from_vec(&query(&name_of("web"), RecordType::AAAA)).expect("a message");
    with_edns.set_edns(Edns::new());
    vec![
        query(&name_of("web"), RecordType::A),
        with_edns.to_vec().expect("bytes"),
        query(APEX, RecordType::SOA),
        query(&format!("nobody.{APEX}"), RecordType::ANY),
        query("www.example.com", RecordType::A),
    ]
}

/// Each beginning of a query, and each query with one byte that is another one.
///
/// req: DNS-10
#[test]
fn every_prefix_and_every_changed_byte() {
    let directory = directory(&[("web", 3)]);
    for seed in seeds() {
        for length in 0..=seed.len() {
            check(&directory, &seed[..length]);
        }
        for at in 0..seed.len() {
            for byte in 0..=u8::MAX {
                let mut changed = seed.clone();
                changed[at] = byte;
                check(&directory, &changed);
            }
        }
    }
}

proptest! {
    /// Any bytes at all behind the header of a query, and queries with many bytes changed.
    ///
    /// req: DNS-10
    #[test]
    fn any_bytes(tail in prop::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 8]>()) {
        let directory = directory(&[("web", 3)]);
        let header = [&[0x12, 0x34, 1, 0], &counts[..]].concat();
        check(&directory, &[header, tail.clone()].concat());
        check(&directory, &tail);
    }

    /// req: DNS-10
    #[test]
    fn many_changed_bytes(
        seed in 0_usize..5, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let directory = directory(&[("web", 3)]);
        let mut bytes = seeds()[seed].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&directory, &bytes);
    }
}

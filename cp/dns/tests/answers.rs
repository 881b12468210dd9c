//! Queries and what is answered, byte for byte where that matters.

mod common;

use std::collections::BTreeSet;

use common::{APEX, ask, directory, name_of, query, records};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, RecordType};
use leat_dns::{AMPLIFICATION_MAX, Outcome, Transport, UDP_BYTES_MAX, answer};

/// req: DNS-01, DNS-02, DNS-03, DNS-04, TGH-08
#[test]
fn a_name_has_an_address_for_each_zone() {
    let directory = directory(&[("web", 2)]);
    let name = name_of("web");
    let (reply, outcome) = ask(&directory, &query(&name, RecordType::A));
    assert_eq!((outcome, reply.metadata.response_code), (Outcome::Answered, ResponseCode::NoError));
    let of: BTreeSet<String> = records(&reply.answers).into_iter().collect();
    assert_eq!(of, BTreeSet::from(["A 60 10.1.0.1".into(), "A 60 10.1.0.2".into()]));
    assert!(reply.metadata.authoritative && !reply.metadata.recursion_available && !reply.metadata.truncation);
    let (reply, _) = ask(&directory, &query(&format!("zone-2.{name}"), RecordType::A));
    assert_eq!(records(&reply.answers), ["A 60 10.1.0.2"]);
}

/// What the client wrote is sent back as it was, in capitals or not: some tell forged answers by that.
///
/// req: DNS-02
#[test]
fn capitals_do_not_matter_and_are_kept() {
    let directory = directory(&[("web", 1)]);
    let asked = query(&name_of("WeB").replace("elb", "eLB"), RecordType::A);
    let (bytes, outcome) = answer(&directory, &asked, Transport::Udp, &mut rand::rng()).expect("an answer");
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(bytes[12..asked.len()], asked[12..], "the question");
    assert!(Message::from_vec(&bytes).expect("a message").answers[0].name.to_ascii().starts_with("WeB-"));
}

/// req: DNS-07, DNS-10
#[test]
fn nothing_is_told_apart_from_no_such_name() {
    let directory = directory(&[("web", 1)]);
    let soa = |reply: &Message| records(&reply.authorities);
    for kind in [RecordType::AAAA, RecordType::TXT, RecordType::NS, RecordType::SOA] {
        let (reply, outcome) = ask(&directory, &query(&name_of("web"), kind));
        assert_eq!((outcome, reply.metadata.response_code), (Outcome::NoData, ResponseCode::NoError), "{kind}");
        assert!(reply.answers.is_empty());
        assert!(soa(&reply)[0].starts_with("SOA 10 ns.") && soa(&reply)[0].ends_with(" 10"), "{:?}", soa(&reply));
    }
    for unknown in [name_of("other"), format!("zone-9.{}", name_of("web")), format!("x.{APEX}")] {
        let (reply, outcome) = ask(&directory, &query(&unknown, RecordType::A));
        assert_eq!((outcome, reply.metadata.response_code), (Outcome::NoSuchName, ResponseCode::NXDomain));
        assert!(soa(&reply)[0].starts_with("SOA 10 "), "{:?}", soa(&reply));
    }
}

/// req: DNS-01
#[test]
fn the_zone_has_soa_and_ns() {
    let directory = directory(&[]);
    let (reply, _) = ask(&directory, &query(APEX, RecordType::SOA));
    assert!(records(&reply.answers)[0].starts_with(&format!("SOA 60 ns.{APEX}. hostmaster.{APEX}. ")));
    let (reply, _) = ask(&directory, &query(APEX, RecordType::NS));
    assert_eq!(records(&reply.answers), [format!("NS 60 ns.{APEX}.")]);
    let (reply, outcome) = ask(&directory, &query(APEX, RecordType::A));
    assert_eq!((outcome, reply.metadata.response_code), (Outcome::NoData, ResponseCode::NoError));
    // RFC 8482: one small answer to who wants them all.
    let (reply, _) = ask(&directory, &query(APEX, RecordType::ANY));
    assert_eq!(records(&reply.answers), ["HINFO 60 RFC8482 "]);
}

/// No recursion, no transfers, no other class, no other operation.
///
/// req: DNS-10
#[test]
fn what_is_not_served_is_refused() {
    let directory = directory(&[("web", 1)]);
    for (name, kind) in [
        ("www.example.com", RecordType::A),
        ("leat.internal", RecordType::NS),
        (".", RecordType::NS),
        (APEX, RecordType::AXFR),
    ] {
        let (reply, outcome) = ask(&directory, &query(name, kind));
        assert_eq!((outcome, reply.metadata.response_code), (Outcome::Refused, ResponseCode::Refused), "{name}");
        assert!(!reply.metadata.authoritative && !reply.metadata.recursion_available);
    }
    let change = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::from_vec(&query(&name_of("web"), RecordType::A)).expect("a message");
        change(&mut message);
        u16::from(ask(&directory, &message.to_vec().expect("bytes")).0.metadata.response_code)
    };
    assert_eq!(change(&|_| ()), u16::from(ResponseCode::NoError));
    assert_eq!(change(&|it| it.queries[0].query_class = DNSClass::CH), u16::from(ResponseCode::Refused));
    assert_eq!(change(&|it| it.metadata.op_code = OpCode::Update), u16::from(ResponseCode::NotImp));
    assert_eq!(change(&|it| it.queries.clear()), u16::from(ResponseCode::FormErr));
    assert_eq!(change(&|it| it.queries.push(it.queries[0].clone())), u16::from(ResponseCode::FormErr));
    let mut newer = Edns::new();
    newer.set_version(1);
    assert_eq!(change(&|it| it.edns = Some(newer.clone())), u16::from(ResponseCode::BADVERS));
    // An answer is never answered: two servers would talk for ever.
    let mut message = Message::from_vec(&query(APEX, RecordType::A)).expect("a message");
    message.metadata.message_type = MessageType::Response;
    assert_eq!(answer(&directory, &message.to_vec().expect("bytes"), Transport::Udp, &mut rand::rng()), None);
}

/// What is too long for UDP is told over TCP. Nobody gets more than thrice of what was sent in his name.
///
/// req: DNS-02
#[test]
fn long_answers_need_tcp() {
    for zones in 1..=64 {
        let directory = directory(&[("web", zones)]);
        for edns in [None, Some(512), Some(1232), Some(65_535)] {
            let mut message = Message::from_vec(&query(&name_of("web"), RecordType::A)).expect("a message");
            if let Some(size) = edns {
                let mut edns = Edns::new();
                edns.set_max_payload(size);
                message.set_edns(edns);
            }
            let asked = message.to_vec().expect("bytes");
            let (bytes, _) = answer(&directory, &asked, Transport::Udp, &mut rand::rng()).expect("an answer");
            let reply = Message::from_vec(&bytes).expect("a message");
            assert!(bytes.len() <= AMPLIFICATION_MAX * asked.len() && bytes.len() <= 512.max(UDP_BYTES_MAX.into()));
            assert_eq!(reply.metadata.truncation, reply.answers.is_empty());
            assert!(zones > 4 || reply.answers.len() == zones, "{zones} fit: {}", bytes.len());
            assert_eq!(reply.edns.map(|edns| edns.max_payload()), edns.map(|_| UDP_BYTES_MAX));
            let (bytes, _) = answer(&directory, &asked, Transport::Tcp, &mut rand::rng()).expect("an answer");
            assert_eq!(Message::from_vec(&bytes).expect("a message").answers.len(), zones);
        }
    }
}

/// req: DNS-11
#[test]
fn the_order_changes() {
    let directory = directory(&[("web", 3)]);
    let first = |_| match &ask(&directory, &query(&name_of("web"), RecordType::A)).0.answers[0].data {
        RData::A(address) => address.to_string(),
        other => panic!("{other:?}"),
    };
    let firsts: BTreeSet<String> = (0..100).map(first).collect();
    assert_eq!(firsts.len(), 3);
}

//! The answers of the authoritative DNS server, sans-IO: a query's bytes in, the answer's out.
//!
//! One zone, one class (IN), the types A and AAAA besides the apex's SOA and NS. Never recursive. RFC 1034 and 1035; negative answers: 2308;
//! EDNS: 6891; `ANY`: 8482; no more than [`AMPLIFICATION_MAX`] bytes of answer for a byte of query over UDP, whose sender may be forged.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};
use leat_model::dns::{Directory, Found, NEGATIVE_TTL_S, TTL_S};
use rand::Rng;
use rand::seq::SliceRandom;

/// Bytes of answer for a byte of query over UDP, at the most; a longer answer says that TCP has it (R27).
pub const AMPLIFICATION_MAX: usize = 3;
/// The longest answer over UDP, as resolvers agree on: it needs no fragments.
pub const UDP_BYTES_MAX: u16 = 1232;
/// The longest answer over UDP to a query without EDNS (RFC 1035, 4.2.1).
const PLAIN_BYTES_MAX: u16 = 512;

/// What a query came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Long answers are cut off, and the sender may be forged.
    Udp,
    /// An answer may have 65,535 bytes.
    Tcp,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There are records.
    Answered,
    /// The name exists and has no such record.
    NoData,
    /// There is no such name.
    NoSuchName,
    /// It is not for this server.
    Refused,
    /// It is malformed, or asks for something that is not served.
    Bad,
}

/// The answer to a query; none to what is not one: too short to have a header, or itself an answer. `rng` shuffles addresses (DNS-11).
pub fn answer(
    directory: &Directory,
    query: &[u8],
    transport: Transport,
    rng: &mut impl Rng,
) -> Option<(Vec<u8>, Outcome)> {
    let header = Header::read(&mut BinDecoder::new(query)).ok()?;
    if header.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut reply = Message::response(header.metadata.id, header.metadata.op_code);
    reply.metadata.recursion_desired = header.metadata.recursion_desired;
    let outcome = fill(&mut reply, directory, query, &header, rng);
    let bytes = encode(&reply, limit(&reply, query, transport))?;
    Some((bytes, outcome))
}

/// The longest answer that may be sent.
fn limit(reply: &Message, query: &[u8], transport: Transport) -> u16 {
    if transport == Transport::Tcp {
        return u16::MAX;
    }
    // The reply's EDNS has what the client's said, until it is sent.
    let agreed =
        reply.edns.as_ref().map_or(PLAIN_BYTES_MAX, |edns| edns.max_payload().clamp(PLAIN_BYTES_MAX, UDP_BYTES_MAX));
    agreed.min(u16::try_from(query.len() * AMPLIFICATION_MAX).unwrap_or(u16::MAX))
}

fn encode(reply: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut reply = reply.clone();
    if let Some(edns) = &mut reply.edns {
        edns.set_max_payload(UDP_BYTES_MAX);
    }
    let emit = |reply: &Message| {
        let mut bytes = Vec::with_capacity(512);
        reply.emit(&mut BinEncoder::new(&mut bytes)).ok()?;
        Some(bytes)
    };
    let whole = emit(&reply)?;
    if whole.len() <= usize::from(limit) { Some(whole) } else { emit(&reply.truncate()) }
}

/// Writes the answer into a reply.
fn fill(reply: &mut Message, directory: &Directory, query: &[u8], header: &Header, rng: &mut impl Rng) -> Outcome {
    if header.metadata.op_code != OpCode::Query {
        return refuse(reply, ResponseCode::NotImp);
    }
    // Looked at before the rest is read: room is made for as many questions as the header says.
    let message = match header.counts.queries {
        1 => Message::from_vec(query).ok(),
        _ => None,
    };
    let Some(Message { queries, edns, .. }) = message else { return refuse(reply, ResponseCode::FormErr) };
    let Some(question) = queries.into_iter().next() else { return refuse(reply, ResponseCode::FormErr) };
    reply.add_query(question.clone());
    if let Some(asked) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload());
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(edns);
        if asked.version() > 0 {
            return refuse(reply, ResponseCode::BADVERS);
        }
    }
    if !matches!(question.query_class(), DNSClass::IN | DNSClass::ANY)
        || matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR)
    {
        return refuse(reply, ResponseCode::Refused);
    }
    look_up(reply, directory, &question, rng)
}

fn refuse(reply: &mut Message, code: ResponseCode) -> Outcome {
    reply.metadata.response_code = code;
    if code == ResponseCode::Refused { Outcome::Refused } else { Outcome::Bad }
}

fn look_up(reply: &mut Message, directory: &Directory, question: &Query, rng: &mut impl Rng) -> Outcome {
    let name = question.name();
    let text = name.to_lowercase().to_ascii();
    let found = directory.find(text.strip_suffix('.').unwrap_or(&text));
    if found == Found::Outside {
        return refuse(reply, ResponseCode::Refused);
    }
    reply.metadata.authoritative = true;
    let mut add = |data| reply.answers.push(Record::from_rdata(name.clone(), TTL_S, data));
    match (found, question.query_type()) {
        (Found::Apex | Found::Addresses(_), RecordType::ANY) => {
            add(RData::HINFO(HINFO::new("RFC8482".into(), String::new())));
        }
        (Found::Apex, RecordType::SOA) => soa(directory).into_iter().for_each(|soa| add(RData::SOA(soa))),
        (Found::Apex, RecordType::NS) => {
            let names = directory.name_servers().iter().filter_map(|name| absolute(name));
            names.for_each(|name| add(RData::NS(NS(name))));
        }
        (Found::Addresses(all), kind @ (RecordType::A | RecordType::AAAA)) => {
            let mut addresses: Vec<IpAddr> =
                all.iter().copied().filter(|address| address.is_ipv4() == (kind == RecordType::A)).collect();
            addresses.shuffle(rng);
            addresses.into_iter().for_each(|address| {
                add(match address {
                    IpAddr::V4(address) => RData::A(A(address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(address)),
                });
            });
        }
        _ => {}
    }
    if !reply.answers.is_empty() {
        return Outcome::Answered;
    }
    // Resolvers keep a negative answer for as long as its SOA says.
    let apex = absolute(directory.apex());
    if let Some((apex, soa)) = apex.zip(soa(directory)) {
        reply.add_authority(Record::from_rdata(apex, NEGATIVE_TTL_S, RData::SOA(soa)));
    }
    if found == Found::Nothing {
        reply.metadata.response_code = ResponseCode::NXDomain;
        return Outcome::NoSuchName;
    }
    Outcome::NoData
}

/// Nothing is ever transferred: refresh, retry and expiry are customary values.
fn soa(directory: &Directory) -> Option<SOA> {
    let server = absolute(directory.name_servers().first()?)?;
    let mailbox = absolute(&format!("hostmaster.{}", directory.apex()))?;
    Some(SOA::new(server, mailbox, directory.serial(), 3600, 600, 86_400, NEGATIVE_TTL_S))
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

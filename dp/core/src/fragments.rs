//! Fragments (semantics §10). The first one of a datagram has the ports and is a packet of its flow like any other; the others
//! follow it. Those that come before it are held, as bytes, until it comes.
//!
//! With several lcores all fragments of a datagram go to one of them first, its *keeper*, which follows from addresses, protocol and
//! identification alone: it knows the ports, sees whether fragments overlap, and holds. From there each goes to the lcore that owns
//! the flow, the later ones with their ports, and is treated as the flow's. So a fragment is handed over twice at the most: to the keeper,
//! by an lcore that got it from a port; and by the keeper. One that another lcore gave to an lcore that is not its keeper stays there.
//!
//! | file | |
//! |---|---|
//! | [`store`] | what is known of datagrams, and what is held |
//! | `arena` | the bytes of held fragments |
//! | [`cut`] | packets that are too big for their port become fragments |
//! | [`ids`] | identifications under full NAT |

use std::hash::Hasher;

use leat_abi::DropReason;
use leat_abi::counters::Counter;
use leat_abi::flow::{FlowState, flag};
use leat_abi::message::{Made, Step};
use leat_abi::snapshot::LocalKind;
use siphasher::sip::SipHasher13;

use crate::frame::{Answer, Frame, Now, Verdict};
use crate::icmp;
use crate::parse::{self, ETHERNET, L4, Meta, Parsed, Piece, Place};
use crate::pipeline::{Arrival, Pipeline};
use crate::rewrite::Egress;
use crate::table::{Found, Side};
use crate::{track, wide};

mod arena;
pub mod cut;
pub mod ids;
pub mod store;

use cut::Cut;
use ids::Ids;
use store::{Key, Lost, Noted, Store};

/// Bytes of the largest frame that is held or cut.
const FRAME_MAX: usize = 16 << 10;
/// Bytes that may be put in front of it.
const HEADROOM: usize = 128;
/// Held fragments that go on, and datagrams that are forgotten, in one turn of housekeeping.
const TURN: usize = 64;

/// What an lcore knows of fragments.
#[derive(Debug)]
pub(crate) struct Fragments {
    store: Store,
    ids: Ids,
    digest_key: [u64; 2],
    /// Room for a fragment that goes on, and for a piece of one that is cut.
    scratch: [Box<[u8]>; 2],
}

impl Fragments {
    pub(crate) fn new(key: [u64; 2], lcore: u16, lcores: u16) -> Self {
        let scratch = || vec![0; HEADROOM + FRAME_MAX].into();
        let [a, b] = key;
        Self {
            store: Store::new([b, a]),
            ids: Ids::new([!a, b], lcore, lcores),
            digest_key: [a, !b],
            scratch: [scratch(), scratch()],
        }
    }
}

/// A frame in a scratch buffer.
struct Copy<'b> {
    buffer: &'b mut [u8],
    start: usize,
    end: usize,
    port: u8,
}

impl Frame for Copy<'_> {
    fn in_port(&self) -> u8 {
        self.port
    }
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
    fn prepend(&mut self, count: usize) -> bool {
        let has_room = count <= self.start;
        self.start -= if has_room { count } else { 0 };
        has_room
    }
    fn trim_front(&mut self, count: usize) -> bool {
        let is_long_enough = count <= self.end - self.start;
        self.start += if is_long_enough { count } else { 0 };
        is_long_enough
    }
}

/// The lcore, of `lcores`, that keeps the fragments of a datagram.
fn keeper(key: &Key, owner_key: u64, lcores: u16) -> u16 {
    ((u128::from(key.hash([owner_key, !owner_key])) * u128::from(lcores)) >> 64) as u16
}

/// A digest of the bytes of a fragment: whether two are the same.
fn digest(key: [u64; 2], bytes: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(bytes);
    hasher.finish() as u32
}

impl Pipeline<'_> {
    /// Handles a fragment.
    #[cold]
    pub(crate) fn fragment<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        place: &Place,
        arrival: Arrival,
        now: Now,
    ) -> Verdict {
        // Linux puts together what is its own.
        if self.forwarding.local(meta.ends(frame.bytes()).destination) == Some(LocalKind::Host) {
            return self.punt(frame.in_port(), now);
        }
        let key = Key::new(&meta.tuple, place.id);
        let lcore = if self.lcores > 1 { keeper(&key, self.owner_key, self.lcores) } else { self.lcore };
        match arrival {
            _ if lcore == self.lcore => self.kept_here(frame, meta, (key, place), now),
            Arrival::Wire => {
                self.tracer.step(|| Step::Handover { lcore: lcore as u8 });
                Verdict::HandOver { lcore, port: frame.in_port(), ports: 0 }
            }
            Arrival::HandedOver => self.piece(frame, meta, frame.handed_ports(), Arrival::HandedOver, now),
        }
    }

    /// Handles a fragment of a datagram that this lcore keeps.
    fn kept_here<F: Frame>(&mut self, frame: &mut F, meta: &Meta, (key, place): (Key, &Place), now: Now) -> Verdict {
        let counters = self.counters;
        let lost = |why, count| give_up(&counters, why, count);
        let start = usize::from(meta.l4);
        let bytes = frame.bytes().get(start..start + usize::from(place.length)).unwrap_or_default();
        let digest = digest(self.fragments.digest_key, bytes);
        let ports = (meta.piece == Piece::First).then_some(meta.tuple.ports);
        match self.fragments.store.note(key, place, (ports, digest), now, lost) {
            // Its flow may be another lcore's, wherever the fragment came from.
            Noted::First(held) => {
                if held > 0 {
                    self.tracer.step(|| Step::Release { fragments: held as u16 });
                }
                self.piece(frame, meta, 0, Arrival::Wire, now)
            }
            Noted::Goes(ports) => self.piece(frame, meta, ports, Arrival::Wire, now),
            Noted::Waits(at) => {
                let length = ETHERNET + usize::from(meta.ip_len);
                let bytes = frame.bytes().get(..length).filter(|bytes| bytes.len() <= FRAME_MAX);
                let store = &mut self.fragments.store;
                let Some(held) = store.hold(at, bytes.unwrap_or_default(), frame.in_port(), lost) else {
                    return self.drop(DropReason::FragmentsFull);
                };
                self.tracer.step(|| Step::Hold { held: held as u16 });
                self.counters.add(Counter::HeldPackets, 1);
                Verdict::Consume
            }
            Noted::Overlaps | Noted::Again => self.drop(DropReason::FragmentOverlap),
            Noted::TooMany => self.drop(DropReason::FragmentsFull),
        }
    }

    /// Handles a fragment whose ports are known: they are in `meta`, or of a later one in `ports`.
    fn piece<F: Frame>(&mut self, frame: &mut F, meta: &Meta, ports: u32, arrival: Arrival, now: Now) -> Verdict {
        if meta.piece == Piece::First {
            return self.flow_packet(frame, meta, None, arrival, now);
        }
        let mut meta = *meta;
        meta.tuple.ports = ports;
        let found = self.find(frame, &meta);
        let Some(found) = found else { return self.first_packet(frame, &meta, arrival, now) };
        let entry = self.flows.table.entry(found.entry);
        let is_lost = self.forwarding.is_lost(entry.target_slot, entry.target_generation, entry.listener_slot);
        if track::is_over(entry, now)
            || entry.state >= FlowState::Resting as u8
            || (found.side == Side::Client && is_lost)
        {
            return self.drop(DropReason::NoFlow);
        }
        if meta.ttl <= 1 {
            return self.drop(DropReason::TtlExpired);
        }
        self.forward(frame, &meta, found, now)
    }

    /// The flow of a packet, looked up now.
    pub(crate) fn find<F: Frame>(&mut self, frame: &F, meta: &Meta) -> Option<Found> {
        let found = self.flows.table.find(&meta.tuple);
        self.tracer.step(|| Step::Lookup {
            entry: found.map(|f| f.entry),
            from_client: found.is_some_and(|f| f.side == Side::Client),
            state: found.map_or(0, |f| self.flows.table.entry(f.entry).state),
        });
        found.filter(|found| !meta.tuple.is_v6() || self.is_between(*found, &meta.ends(frame.bytes())))
    }

    /// Gives a fragment of IPv4 the identification that all of its datagram get, under full NAT (S10.8).
    #[cold]
    pub(crate) fn set_fragment_id<F: Frame>(&mut self, frame: &mut F, meta: &Meta, found: Found) {
        let entry = self.flows.table.entry(found.entry);
        let Some(id) = frame.bytes().get(ETHERNET + 4..).and_then(|rest| rest.first_chunk::<2>()) else { return };
        if !entry.has(flag::FULL_NAT) || entry.is_wide() {
            return;
        }
        let towards =
            crate::table::tuple_of(entry, if found.side == Side::Client { Side::Target } else { Side::Client });
        let key = Key::new(&meta.tuple, u16::from_be_bytes(*id).into());
        let ids = &mut self.fragments.ids;
        let new_id = match meta.piece {
            Piece::Whole => ids.next(&towards),
            Piece::First | Piece::Later => ids.of(key, meta.piece == Piece::First, &towards),
        };
        cut::set_id(frame.bytes_mut(), new_id);
    }

    /// Handles a packet of a flow that is larger than the port's MTU after rewriting (S10.7): its sender is told, or it is cut. The
    /// frame is then the first piece, rewritten, and [`Verdict::Forward`] is returned.
    #[cold]
    pub(crate) fn too_big<F: Frame>(
        &mut self,
        frame: &mut F,
        meta: &Meta,
        found: Found,
        (port, mtu, egress): (u8, u16, Egress),
        now: Now,
    ) -> Verdict {
        let entry = self.flows.table.entry(found.entry);
        let is_wide = entry.is_wide();
        let growth = |piece| if is_wide { wide::growth(entry, found.side, &Meta { piece, ..*meta }) } else { 0 };
        let may_be_cut = !meta.tuple.is_v6() && frame.bytes().get(ETHERNET + 6).is_some_and(|byte| byte & 0x40 == 0);
        if !may_be_cut {
            let told = i32::from(mtu) - growth(meta.piece);
            return self.tell_too_big(frame, meta, told.clamp(0, u16::MAX.into()) as u16, now);
        }
        let room = i32::from(mtu) - growth(Piece::First).max(growth(Piece::Later));
        let Some(cut) = Cut::new(frame.bytes(), meta.ip_len, room.max(0) as usize) else {
            return self.drop(DropReason::TooBig);
        };
        self.set_fragment_id(frame, meta, found);
        let pieces = cut.pieces - 1;
        if !self.originated.has_room(pieces, pieces * (HEADROOM + L4 + cut.step)) {
            return self.drop(DropReason::TxFull);
        }
        // All but the first, which stays where it is.
        let mut scratch = std::mem::take(&mut self.fragments.scratch[1]);
        let made = (1..cut.pieces).try_for_each(|n| {
            let (start, end) = (HEADROOM, HEADROOM + L4 + cut.length(n));
            let mut copy = Copy { buffer: &mut scratch, start, end, port: frame.in_port() };
            cut.copy(frame.bytes(), n, copy.bytes_mut()).ok_or(DropReason::ShortFrame)?;
            let meta = Meta { piece: Piece::Later, ip_len: (end - start - ETHERNET) as u16, ..*meta };
            self.rewrite(&mut copy, &meta, found, egress)?;
            let bytes = copy.bytes();
            let made = self.originated.frame(Verdict::Originate { port }, bytes.len()).ok_or(DropReason::TxFull)?;
            made.copy_from_slice(bytes);
            Ok(())
        });
        self.fragments.scratch[1] = scratch;
        frame.truncate(L4 + cut.step);
        cut.set_headers(frame.bytes_mut(), 0);
        let piece = if meta.piece == Piece::Later { Piece::Later } else { Piece::First };
        let first = Meta { piece, ip_len: (20 + cut.step) as u16, ..*meta };
        if let Err(reason) = made.and_then(|()| self.rewrite(frame, &first, found, egress)) {
            return self.drop(reason);
        }
        (1..cut.pieces).for_each(|_| self.tracer.step(|| Step::Originate { port, made: Made::Fragment }));
        self.counters.add(Counter::FragmentsMade, cut.pieces as u64);
        Verdict::Forward { port }
    }

    /// Turns a packet into the ICMP error that tells its sender the MTU.
    fn tell_too_big<F: Frame>(&mut self, frame: &mut F, meta: &Meta, mtu: u16, now: Now) -> Verdict {
        // An error is about the first fragment or none (RFC 1122 §3.2.2, RFC 4443 §2.4).
        if meta.piece == Piece::Later {
            return self.drop(DropReason::TooBig);
        }
        if !self.icmp_answers.take(now) {
            return self.drop(DropReason::IcmpRate);
        }
        if !icmp::answer::too_big(frame, meta, mtu) {
            return self.drop(DropReason::TooBig);
        }
        let port = frame.in_port();
        self.tracer.step(|| Step::Answer { port, made: Made::IcmpError });
        Verdict::Answer { port, with: Answer::IcmpError }
    }

    /// Lets fragments go on whose first one has come, and forgets those that have waited for too long. Returns whether there may be more
    /// to do.
    #[inline]
    pub(crate) fn look_after_fragments(&mut self, now: Now) -> bool {
        let mut over = 0;
        while over < TURN
            && let Some(count) = self.fragments.store.expire(now)
        {
            give_up(&self.counters, Lost::Timeout, count);
            over += 1;
        }
        let more_to_release = self.fragments.store.has_released() && self.release_fragments(now);
        over == TURN || more_to_release
    }

    #[cold]
    fn release_fragments(&mut self, now: Now) -> bool {
        let mut scratch = std::mem::take(&mut self.fragments.scratch[0]);
        for _ in 0..TURN {
            if !self.originated.has_room(1, HEADROOM + FRAME_MAX) {
                break;
            }
            let Some(room) = scratch.get_mut(HEADROOM..) else { break };
            let Some(held) = self.fragments.store.release(room) else { break };
            self.counters.add(Counter::HeldPackets, u64::MAX);
            let end = HEADROOM + held.length;
            let mut copy = Copy { buffer: &mut scratch, start: HEADROOM, end, port: held.port };
            let mac = self.forwarding.port_mac(held.port);
            let parsed = parse::frame(copy.bytes(), mac, self.digest_key);
            if let Parsed::Fragment(meta, _) = &parsed {
                self.tracer.packet(held.port, copy.bytes(), Some(meta));
            }
            let verdict = match parsed {
                Parsed::Fragment(meta, _) => self.piece(&mut copy, &meta, held.ports, Arrival::Wire, now),
                Parsed::Bad(reason) => self.drop(reason),
                // It was a fragment when it came.
                _ => self.drop(DropReason::FragmentBad),
            };
            self.tracer.done();
            if let Verdict::Forward { .. } | Verdict::HandOver { .. } = verdict {
                let bytes = copy.bytes();
                match self.originated.frame(verdict, bytes.len()) {
                    Some(made) => made.copy_from_slice(bytes),
                    None => drop(self.drop(DropReason::TxFull)),
                }
            }
        }
        self.fragments.scratch[0] = scratch;
        self.fragments.store.has_released()
    }
}

/// Counts held fragments that had to go.
fn give_up(counters: &leat_abi::counters::LcoreCounters<'_>, why: Lost, count: usize) {
    let reason = match why {
        Lost::Timeout => DropReason::FragmentTimeout,
        Lost::Full => DropReason::FragmentsFull,
        Lost::Overlap => DropReason::FragmentOverlap,
    };
    if count > 0 {
        counters.drop(reason, count as u64);
        counters.add(Counter::HeldPackets, (count as u64).wrapping_neg());
    }
}

//! Pipelines with flows, and an input that says what packets come, whole, in fragments, mangled, quoted in ICMP errors, and what else
//! happens. The harness checks its laws at every step; at the end nothing is held and, when all times are over, nothing is left.
//!
//! An input is a list of steps: a byte for what, a byte for which flow, then what that step reads.

use std::cell::RefCell;
use std::net::SocketAddr;

use leat_abi::Counter;
use leat_abi::snapshot::TargetState;
use leat_core::Verdict;

use super::frames;
use super::input::Input;
use super::talk::Talk;
use crate::common::*;

/// Steps of an input that are looked at.
const STEPS_MAX: usize = 64;
/// The moment at which every input begins: soon the 16-bit stamps of the entries wrap around. Time goes on from input to input.
const BEGIN_MS: u64 = 65_500_123;
const STAMPS_MS: u64 = 65_536_000;

/// UDP and TCP flows in all families, of which packets come in fragments.
pub fn fragments(data: &[u8]) {
    let flows = [
        (true, DNS),
        (true, LOG),
        (true, DNS_6),
        (true, UDP_6_TO_4),
        (true, UDP_4_TO_6),
        (false, WEB),
        (false, TCP_6_TO_4),
    ];
    run(data, &flows, false, [Step::Fragments, Step::Fragments, Step::Fragments, Step::MangledFragments]);
}

/// Flows of all kinds, about whose packets errors come.
pub fn icmp(data: &[u8]) {
    let flows = [
        (false, WEB),
        (false, DIRECT),
        (true, DNS),
        (false, WEB_6),
        (true, DNS_6),
        (false, TCP_6_TO_4),
        (false, TCP_4_TO_6),
        (true, UDP_6_TO_4),
    ];
    run(data, &flows, false, [Step::IcmpError, Step::IcmpError, Step::IcmpError, Step::Send]);
}

/// TCP flows with a PROXY header.
pub fn proxy(data: &[u8]) {
    let flows = [(false, WEB), (false, DIRECT), (false, WEB_6), (false, TCP_6_TO_4), (false, TCP_4_TO_6)];
    run(data, &flows, true, [Step::Send, Step::Send, Step::IcmpError, Step::Pass]);
}

/// Flows with IPv6 on one side only.
pub fn translation(data: &[u8]) {
    let flows = [(false, TCP_6_TO_4), (true, UDP_6_TO_4), (false, TCP_4_TO_6), (true, UDP_4_TO_6)];
    run(data, &flows, false, [Step::Send, Step::Send, Step::IcmpError, Step::Fragments]);
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Send,
    Mangled,
    Fragments,
    MangledFragments,
    IcmpError,
    Raw,
    Pass,
    Change,
}

/// What every target has beside what it is about.
const COMMON: [Step; 4] = [Step::Send, Step::Mangled, Step::Raw, Step::Change];

thread_local! {
    /// A pipeline, and whether its configuration was changed. Its memory is never given back, so that one serves all inputs.
    static KEPT: RefCell<Option<(Harness, bool)>> = const { RefCell::new(None) };
}

fn run(data: &[u8], flows: &[(bool, SocketAddr)], proxy: bool, steps: [Step; 4]) {
    KEPT.with_borrow_mut(|kept| {
        let (h, is_changed) = kept.get_or_insert_with(|| (Harness::with_events(1, 64, 4), true));
        begin(h, is_changed, proxy);
        let talks = flows.iter().map(|(udp, vip)| talk(*udp, *vip)).collect();
        let mut script = Script { talks, h, is_changed, next_id: 1 };
        script.open();
        let mut input = Input::new(data);
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            let choice = usize::from(input.u8() % 8);
            let step = steps.into_iter().chain(COMMON).nth(choice).unwrap_or(Step::Pass);
            let at = usize::from(input.u8()) % script.talks.len();
            script.step(step, at, &mut input);
        }
        end(script.h);
    });
}

fn talk(udp: bool, vip: SocketAddr) -> Talk {
    let mut client = if vip.is_ipv6() { CLIENT_6 } else { CLIENT };
    client.set_port(40_000 + vip.port());
    Talk::new(udp, client, vip)
}

fn begin(h: &mut Harness, is_changed: &mut bool, proxy: bool) {
    h.now.ms = h.now.ms / STAMPS_MS * STAMPS_MS + STAMPS_MS + BEGIN_MS;
    if std::mem::take(is_changed) {
        h.world = snapshot();
        h.world.groups.iter_mut().for_each(|group| group.proxy_protocol = proxy);
        h.publish();
    }
    h.housekeeping();
    h.made();
}

fn end(h: &mut Harness) {
    h.check_flows();
    h.pass(3_000);
    assert_eq!(h.total(Counter::HeldPackets), 0, "a fragment is held for ever");
    for _ in 0..3 {
        h.pass(400_000);
    }
    h.check_flows();
    assert!(h.flows().is_empty(), "flows whose time is long over: {:?}", h.flows());
}

struct Script<'h> {
    h: &'h mut Harness,
    talks: Vec<Talk>,
    is_changed: &'h mut bool,
    /// Of datagrams in fragments.
    next_id: u16,
}

impl Script<'_> {
    /// Brings all flows so far that both sides can send.
    fn open(&mut self) {
        let begin: &[&[u8]] = &[&[0b0100], &[0b0101], &[0b0000], &[0b0001]];
        for at in 0..self.talks.len() {
            for how in begin {
                self.step(Step::Send, at, &mut Input::new(how));
            }
        }
    }

    fn step(&mut self, step: Step, at: usize, input: &mut Input<'_>) {
        match step {
            Step::Send => {
                let (port, packet) = self.talks[at].packet(input);
                self.feed(at, port, &packet.bytes());
            }
            Step::Mangled => {
                let (port, packet) = self.talks[at].packet(input);
                let frame = mangle(packet.bytes(), input);
                self.feed(at, port, &frame);
            }
            Step::Fragments => self.fragments(at, input),
            Step::MangledFragments => self.mangled_fragments(at, input),
            Step::IcmpError => self.icmp_error(at, input),
            Step::Raw => {
                let (port, length) = (input.u8() & 1, input.u8());
                let frame = input.bytes(length.into()).to_vec();
                self.feed(at, port, &frame);
            }
            Step::Pass => self.h.pass(u64::from(input.u16())),
            Step::Change => self.change(input),
        }
        for (verdict, frame) in self.h.made() {
            if let Verdict::Forward { port } | Verdict::Originate { port } = verdict {
                self.talks[at].learn(port, &frame);
            }
        }
    }

    /// Feeds a frame. Returns whether it went on.
    fn feed(&mut self, at: usize, port: u8, frame: &[u8]) -> bool {
        let out = self.h.feed_bytes(0, port, frame);
        let Verdict::Forward { port } = out.verdict else { return false };
        self.talks[at].learn(port, &out.bytes);
        true
    }

    /// A packet in good fragments, in any order: all of them go on if the first does.
    fn fragments(&mut self, at: usize, input: &mut Input<'_>) {
        let (port, pieces) = self.cut(at, input);
        // What was held before may still go on.
        self.h.housekeeping();
        let before = self.h.total(Counter::ForwardedPackets);
        let mut left = pieces;
        let (first, count) = (left[0].clone(), left.len() as u64);
        let mut first_went = false;
        while !left.is_empty() {
            let piece = left.remove(usize::from(input.u8()) % left.len());
            let went = self.feed(at, port, &piece);
            first_went |= went && piece == first;
        }
        self.h.housekeeping();
        let went = self.h.total(Counter::ForwardedPackets) - before;
        assert!(!first_went || went == count, "{went} of {count} fragments went on");
    }

    /// Fragments of which some come again, overlap, are changed or missing.
    fn mangled_fragments(&mut self, at: usize, input: &mut Input<'_>) {
        let (port, pieces) = self.cut(at, input);
        for _ in 0..input.u8() % 32 {
            let piece = pieces[usize::from(input.u8()) % pieces.len()].clone();
            let frame = if input.u8() & 1 == 0 { piece } else { mangle(piece, input) };
            self.feed(at, port, &frame);
        }
    }

    fn cut(&mut self, at: usize, input: &mut Input<'_>) -> (u8, Vec<Vec<u8>>) {
        let (port, packet) = self.talks[at].packet(input);
        let frame = packet.bytes();
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let mut starts = Vec::new();
        let mut place = 0;
        for _ in 0..input.u8() % 16 {
            // The first has room for any TCP header.
            place += if starts.is_empty() { 64 } else { 8 } + 8 * usize::from(input.u8());
            starts.push(place);
        }
        (port, frames::fragments(&frame, self.next_id, &starts))
    }

    /// An error about what came out last to one side.
    fn icmp_error(&mut self, at: usize, input: &mut Input<'_>) {
        let how = input.u8();
        let quoted = self.talks[at].out[usize::from(how & 1)].clone();
        if quoted.is_empty() {
            return;
        }
        let quoted = if how & 2 == 0 { quoted } else { mangle(quoted, input) };
        let kinds: [u8; 4] = if frames::is_v6(&quoted) { [1, 2, 3, 4] } else { [3, 3, 3, 11] };
        let kind = (kinds[usize::from(how >> 2 & 3)], input.u8() % 16);
        let (word, length) = (u32::from(input.u16()), usize::from(input.u16() % 1400));
        let port = if how & 1 == 0 { TARGET_SIDE } else { CLIENT_SIDE };
        if quoted.len() < if frames::is_v6(&quoted) { 54 } else { 34 } {
            return;
        }
        let error = frames::icmp_error(&quoted, PORTS[usize::from(port)], kind, word, length);
        let error = if how & 0x80 == 0 { error } else { mangle(error, input) };
        self.h.feed_bytes(0, port, &error);
    }

    /// The configuration changes, or the process dies.
    fn change(&mut self, input: &mut Input<'_>) {
        let (how, slot) = (input.u8(), usize::from(input.u8()));
        let targets = self.h.world.targets.len();
        match how % 8 {
            0 => drop(self.h.crash()),
            1 => self.h.world.targets[slot % targets].next_hop = None,
            n => {
                let (world, state) = (&mut self.h.world, TargetState::ALL[usize::from(n) % TargetState::ALL.len()]);
                let target = &mut world.targets[slot % targets];
                target.state = state;
                // No table names a target that must not have new flows.
                if state > TargetState::Active {
                    world.groups.iter_mut().for_each(|group| group.table.retain(|slot| *slot != target.slot));
                }
            }
        }
        // Once an input: it is what takes longest.
        let is_first = !std::mem::replace(self.is_changed, true);
        if how & 0x80 == 0 && is_first {
            self.h.publish();
        }
    }
}

/// Changes bytes, then perhaps makes checksums right again, so that the change gets further than those.
fn mangle(mut frame: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    let how = input.u8();
    for _ in 0..how & 3 {
        let (at, byte) = (usize::from(input.u8()), input.u8());
        if let Some(place) = frame.get_mut(at) {
            *place ^= byte;
        }
    }
    if how & 4 != 0 {
        frame.truncate(input.u16().into());
    }
    if how & 8 != 0 {
        frame.resize((frame.len() + usize::from(input.u8())).min(1514), 0);
    }
    if how & 0x10 == 0 {
        frames::fix_ip(&mut frame);
    }
    frame
}

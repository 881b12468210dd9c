//! The life of a flow: what a packet of an existing flow does to its state (semantics §3, §4, §6, §7).
//!
//! Sequence numbers are compared modulo 2³² (RFC 9293 §3.4). What is out of window is forwarded untouched and changes nothing:
//! the endpoints judge it (RFC 5961).

use leat_abi::flow::{FlowEntry, FlowState, flag, word};

use crate::attempts::REPEATS;
use crate::frame::Now;
use crate::parse::{Meta, tcp};
use crate::table::Side;

/// Seconds of silence after which an established TCP flow ends (IDL-01).
pub const TCP_IDLE_S: u16 = 350;
/// Seconds of silence after which a UDP flow ends (IDL-04).
pub const UDP_IDLE_S: u16 = 120;
/// Seconds from the first packet in which a target must answer (IDL-06).
pub const HALF_OPEN_S: u16 = 30;
/// Seconds for which retransmits are translated after both FINs were acknowledged.
pub const TIME_WAIT_S: u16 = 60;
/// Seconds for which what is in flight is translated after a reset.
pub const RESET_LINGER_S: u16 = 10;
/// Seconds for which the source port of an expired flow under full NAT rests (S9.4).
pub const RESTING_S: u16 = 60;
/// Seconds for which packets of a flow whose ends were reset here are answered with resets (S5.3).
pub const TERMINATED_S: u16 = 30;

/// Seconds after `touched_s` at which an entry's time is over. Both stamps are whole seconds, so one more makes sure that the
/// full time has passed.
pub fn lifetime_s(entry: &FlowEntry) -> u16 {
    1 + match entry.state() {
        Some(FlowState::SynSent | FlowState::SynReceived) => HALF_OPEN_S,
        Some(FlowState::Established | FlowState::HalfClosed) if entry.is_tcp() => TCP_IDLE_S,
        Some(FlowState::Established | FlowState::HalfClosed) => UDP_IDLE_S,
        Some(FlowState::TimeWait) => TIME_WAIT_S,
        Some(FlowState::ResetLinger) => RESET_LINGER_S,
        Some(FlowState::Resting) => RESTING_S,
        Some(FlowState::Terminated) => TERMINATED_S,
        None => 0,
    }
}

/// Seconds since the entry's timer last restarted.
#[inline(always)]
pub fn age_s(entry: &FlowEntry, now: Now) -> u16 {
    now.stamp().wrapping_sub(entry.touched_s)
}

/// Whether the entry's time is over. No lifetime is 0, so a flow that has seen a packet in this second need not be asked for its.
#[inline(always)]
pub fn is_over(entry: &FlowEntry, now: Now) -> bool {
    let age = age_s(entry, now);
    age != 0 && age >= lifetime_s(entry)
}

/// What becomes of a packet of an existing flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Forward it; the state is as before.
    Forward,
    /// Forward it; the flow went to a state with another timer or of another class ([`crate::timer::Class`]).
    Changed,
    /// Forward it; it was a valid reset, which ended the flow.
    Reset,
    /// As [`Outcome::Reset`]; it was the target's answer to the SYN.
    Refused,
    /// Forward it; it is the target's answer to the SYN.
    Answered,
    /// Forward it; the client has sent its SYN again so often that an answer is overdue ([`crate::attempts::REPEATS`]).
    Repeated,
    /// The client has begun anew: give the flow up and treat the packet as the first of another.
    Replace,
    /// Drop it: this combination of flags is not for this side.
    BadFlags,
    /// Drop it: the return path had closed.
    Late,
}

#[inline(always)]
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `seq` lies in `[low, high]`.
#[inline(always)]
fn within(seq: u32, low: u32, high: u32) -> bool {
    seq.wrapping_sub(low) <= high.wrapping_sub(low)
}

/// Applies a packet to its flow.
#[inline]
pub fn packet(entry: &mut FlowEntry, side: Side, meta: &Meta, now: Now) -> Outcome {
    if entry.is_tcp() { segment(entry, side, meta, now) } else { datagram(entry, side, now) }
}

fn datagram(entry: &mut FlowEntry, side: Side, now: Now) -> Outcome {
    if side == Side::Target && !entry.has(flag::ANSWERED) {
        if now.stamp().wrapping_sub(entry.client_isn as u16) > HALF_OPEN_S {
            return Outcome::Late;
        }
        entry.flags |= flag::ANSWERED;
        entry.touched_s = now.stamp();
        return Outcome::Changed;
    }
    entry.touched_s = now.stamp();
    Outcome::Forward
}

#[inline(always)]
fn segment(entry: &mut FlowEntry, side: Side, meta: &Meta, now: Now) -> Outcome {
    // The common case first: neither SYN, FIN nor RST on an established flow.
    if entry.state == FlowState::Established as u8 && !meta.has(tcp::SYN | tcp::FIN | tcp::RST) {
        advance(entry, side, meta);
        entry.touched_s = now.stamp();
        return Outcome::Forward;
    }
    let Some(state) = entry.state() else { return Outcome::Forward };
    if meta.has(tcp::SYN) {
        return syn(entry, side, state, meta);
    }
    match state {
        FlowState::SynSent | FlowState::SynReceived => half_open(entry, side, state, meta, now),
        FlowState::Established | FlowState::HalfClosed => open(entry, side, meta, now),
        FlowState::TimeWait | FlowState::ResetLinger | FlowState::Resting | FlowState::Terminated => Outcome::Forward,
    }
}

fn syn(entry: &mut FlowEntry, side: Side, state: FlowState, meta: &Meta) -> Outcome {
    match (side, meta.has(tcp::ACK)) {
        // A target opens nothing through the node; a client answers nothing.
        (Side::Target, false) | (Side::Client, true) => Outcome::BadFlags,
        (Side::Client, false) => match state {
            FlowState::Established => Outcome::Forward,
            // Nobody has acknowledged the FIN: it may have been a guess, and so may this be.
            FlowState::HalfClosed if !entry.has(flag::CLIENT_FIN_ACKED | flag::TARGET_FIN_ACKED) => Outcome::Forward,
            FlowState::SynSent if meta.seq == entry.client_isn => {
                // Until the target has answered, the client's acknowledgements have another purpose.
                entry.client_ack = entry.client_ack.saturating_add(1);
                if entry.client_ack == REPEATS { Outcome::Repeated } else { Outcome::Forward }
            }
            _ if meta.seq == entry.client_isn => Outcome::Forward,
            _ => Outcome::Replace,
        },
        (Side::Target, true) => {
            // It acknowledges the SYN, and with TCP Fast Open perhaps the SYN's payload.
            let answers = within(meta.ack, entry.client_isn.wrapping_add(1), entry.client_end);
            if state != FlowState::SynSent || !answers {
                return Outcome::Forward;
            }
            entry.state = FlowState::SynReceived as u8;
            entry.target_end = meta.seq.wrapping_add(meta.seq_len());
            entry.client_ack = entry.target_end;
            entry.target_ack = meta.ack;
            entry.window_scales = entry.window_scales & 0x0f | meta.window_scale << 4;
            Outcome::Answered
        }
    }
}

fn half_open(entry: &mut FlowEntry, side: Side, state: FlowState, meta: &Meta, now: Now) -> Outcome {
    if meta.has(tcp::RST) {
        let exact = match side {
            Side::Client => meta.seq == entry.client_end || meta.seq == entry.client_isn.wrapping_add(1),
            Side::Target if state == FlowState::SynSent => {
                meta.has(tcp::ACK) && within(meta.ack, entry.client_isn.wrapping_add(1), entry.client_end)
            }
            Side::Target => meta.seq == entry.target_end,
        };
        let answers = side == Side::Target && state == FlowState::SynSent;
        let outcome = if answers { Outcome::Refused } else { Outcome::Reset };
        return if exact { end_flow(entry, FlowState::ResetLinger, now, outcome) } else { Outcome::Forward };
    }
    if state != FlowState::SynReceived {
        return Outcome::Forward;
    }
    if side == Side::Target {
        // With TCP Fast Open the target may send, and even close, before the handshake is complete.
        if advance(entry, side, meta) && meta.has(tcp::FIN) {
            entry.flags |= flag::TARGET_FIN;
        }
        return Outcome::Forward;
    }
    // The acknowledgement of the SYN-ACK, which nobody else can guess. The segment that brings it need not be the first one
    // that the client sent: that one may be lost.
    let (low, high) = window(entry, side);
    let completes =
        meta.has(tcp::ACK) && within(meta.ack, entry.client_ack, entry.target_end) && within(meta.seq, low, high);
    if !completes {
        return Outcome::Forward;
    }
    let closes = entry.has(flag::TARGET_FIN);
    entry.state = if closes { FlowState::HalfClosed } else { FlowState::Established } as u8;
    entry.flags |= flag::ANSWERED;
    match open(entry, side, meta, now) {
        Outcome::Forward => Outcome::Changed,
        other => other,
    }
}

fn open(entry: &mut FlowEntry, side: Side, meta: &Meta, now: Now) -> Outcome {
    if meta.has(tcp::RST) {
        // Neither validity nor refresh for what a blind attacker could send (RFC 5961, RFC 7857).
        let (acknowledged, end) = in_flight(entry, side);
        return if within(meta.seq, acknowledged, end) {
            end_flow(entry, FlowState::ResetLinger, now, Outcome::Reset)
        } else {
            Outcome::Forward
        };
    }
    let (_, end_before) = in_flight(entry, side);
    let in_place = advance(entry, side, meta);
    entry.touched_s = now.stamp();
    let (fin, acknowledged) = match side {
        Side::Client => (flag::CLIENT_FIN, flag::CLIENT_FIN_ACKED),
        Side::Target => (flag::TARGET_FIN, flag::TARGET_FIN_ACKED),
    };
    if meta.has(tcp::FIN) && in_place {
        entry.flags |= fin;
        entry.state = FlowState::HalfClosed as u8;
    } else if entry.has(fin) && before(end_before, in_flight(entry, side).1) {
        // Who goes on has not closed: the FIN was a guess.
        entry.flags &= !(fin | acknowledged);
        if !entry.has(flag::CLIENT_FIN | flag::TARGET_FIN) {
            entry.state = FlowState::Established as u8;
        }
    }
    if entry.state == FlowState::HalfClosed as u8 {
        acknowledge_fins(entry);
        if entry.has(flag::CLIENT_FIN_ACKED) && entry.has(flag::TARGET_FIN_ACKED) {
            return end_flow(entry, FlowState::TimeWait, now, Outcome::Changed);
        }
    }
    Outcome::Forward
}

fn acknowledge_fins(entry: &mut FlowEntry) {
    if entry.has(flag::CLIENT_FIN) && !before(entry.target_ack, entry.client_end) {
        entry.flags |= flag::CLIENT_FIN_ACKED;
    }
    if entry.has(flag::TARGET_FIN) && !before(entry.client_ack, entry.target_end) {
        entry.flags |= flag::TARGET_FIN_ACKED;
    }
}

fn end_flow(entry: &mut FlowEntry, state: FlowState, now: Now, outcome: Outcome) -> Outcome {
    entry.state = state as u8;
    entry.touched_s = now.stamp();
    outcome
}

/// The sequence numbers that the other side takes from this one: from what it has acknowledged to the end of the largest
/// window that it can have offered.
#[inline(always)]
fn window(entry: &FlowEntry, side: Side) -> (u32, u32) {
    let (acknowledged, end) = in_flight(entry, side);
    // The other side's scale.
    let scale = entry.window_scales >> (4 * (side as usize ^ 1)) & 0x0f;
    let offered = acknowledged.wrapping_add(0xffff << scale);
    (acknowledged, if before(offered, end) { end } else { offered })
}

/// Whether a side may have sent a segment that begins at `seq` and is not known to have been received (RFC 5927 §4.2).
pub(crate) fn has_sent(entry: &FlowEntry, side: Side, seq: u32) -> bool {
    let (low, high) = in_flight(entry, side);
    match entry.state() {
        Some(FlowState::SynSent) if side == Side::Target => false,
        // The SYN, too.
        Some(FlowState::SynSent | FlowState::SynReceived) => within(seq, low.wrapping_sub(1), high),
        _ => within(seq, low, high),
    }
}

/// The sequence numbers of this side that are known to be used and not known to be received: from what the other side has acknowledged to
/// what this one has sent, plus 1. A segment that begins there is in its place, which nobody hits who does not see the connection.
#[inline(always)]
fn in_flight(entry: &FlowEntry, side: Side) -> (u32, u32) {
    let (words, side) = (entry.words(), side as usize);
    (words[word::ACKS + (side ^ 1)], words[word::ENDS + side])
}

/// Bytes that may be missing before a FIN that counts: it will not be sent again when they are. And bytes by which a segment may be older
/// than what was acknowledged, as its sender does not know of that yet. A guess seldom hits so small a window.
const GAP_MAX: u32 = 0xffff;

/// Notes how far the sides have come, if the segment is in its place, and returns whether it is. Others tell nothing: who has guessed a
/// number within the window must not move it (RFC 5961). Where segments were lost before they came here, what follows them is out of
/// place until they are sent again; then the other side's acknowledgement tells how far the sender had come.
#[inline(always)]
fn advance(entry: &mut FlowEntry, side: Side, meta: &Meta) -> bool {
    // Nothing comes behind a FIN.
    let closes = meta.has(tcp::FIN);
    let segment_end = meta.seq.wrapping_add(meta.seq_len());
    let gap = if closes { GAP_MAX } else { 0 };
    let (acknowledged, end) = in_flight(entry, side);
    let is_near = within(meta.seq, acknowledged.wrapping_sub(GAP_MAX), end.wrapping_add(gap));
    if !is_near || closes && before(segment_end, end) {
        return false;
    }
    let half_open = entry.state == FlowState::SynReceived as u8;
    reach(entry, side, half_open, segment_end, meta.has(tcp::ACK).then_some(meta.ack));
    true
}

/// As [`packet`] for what nearly all are: a segment of an established flow with ACK, and without SYN, FIN and RST.
#[inline(always)]
pub(crate) fn flowing(entry: &mut FlowEntry, side: Side, seq: u32, payload_len: u32, ack: u32) {
    let (acknowledged, end) = in_flight(entry, side);
    if within(seq, acknowledged.wrapping_sub(GAP_MAX), end) {
        reach(entry, side, false, seq.wrapping_add(payload_len), Some(ack));
    }
}

/// A segment in its place ends there and acknowledges that: notes both, if they are within the windows. `half_open`: the handshake is not
/// complete.
#[inline(always)]
fn reach(entry: &mut FlowEntry, side: Side, half_open: bool, segment_end: u32, ack: Option<u32>) {
    let (_, end) = in_flight(entry, side);
    if before(end, segment_end) && !before(window(entry, side).1, segment_end) {
        entry.words_mut()[word::ENDS + side as usize] = segment_end;
    }
    let other = match side {
        Side::Client => Side::Target,
        Side::Target => Side::Client,
    };
    let (acknowledged, other_end) = in_flight(entry, other);
    let Some(ack) = ack.filter(|ack| before(acknowledged, *ack)) else { return };
    // Before the handshake is complete, all that the client has sent was seen.
    let limit = if half_open { other_end } else { window(entry, other).1 };
    if before(limit, ack) {
        return;
    }
    entry.words_mut()[word::ACKS + side as usize] = ack;
    if before(other_end, ack) {
        entry.words_mut()[word::ENDS + other as usize] = ack;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::flow::protocol;

    const NOW: Now = Now { ms: 5_000_000 };
    const ISN_C: u32 = u32::MAX - 5; // wraps within the handshake's first data
    const ISN_T: u32 = 900;

    fn seg(flags: u8, seq: u32, ack: u32, payload_len: u16) -> Meta {
        Meta { flags, seq, ack, payload_len, ..Meta::default() }
    }

    fn opened() -> FlowEntry {
        FlowEntry {
            protocol: protocol::TCP,
            state: FlowState::SynSent as u8,
            client_isn: ISN_C,
            client_end: ISN_C.wrapping_add(1),
            target_ack: ISN_C.wrapping_add(1),
            touched_s: NOW.stamp(),
            ..FlowEntry::default()
        }
    }

    fn established() -> FlowEntry {
        let mut e = opened();
        assert_eq!(
            packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, ISN_C.wrapping_add(1), 0), NOW),
            Outcome::Answered
        );
        assert_eq!(
            packet(&mut e, Side::Client, &seg(tcp::ACK, ISN_C.wrapping_add(1), ISN_T + 1, 0), NOW),
            Outcome::Changed
        );
        assert_eq!(e.state(), Some(FlowState::Established));
        e
    }

    /// req: S3.3
    #[test]
    fn only_the_exact_acknowledgement_completes_the_handshake() {
        let mut e = opened();
        let c1 = ISN_C.wrapping_add(1);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ISN_T + 1, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::SynSent), "no SYN-ACK was seen");
        packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, c1.wrapping_add(9), 0), NOW);
        assert_eq!(e.state(), Some(FlowState::SynSent), "the SYN-ACK acknowledges something else");
        packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, c1, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::SynReceived));
        for ack in [ISN_T, ISN_T + 2, 0] {
            packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ack, 0), NOW);
            assert_eq!(e.state(), Some(FlowState::SynReceived));
        }
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ISN_T + 1, 10), NOW);
        assert_eq!((e.state(), e.client_end), (Some(FlowState::Established), c1.wrapping_add(10)));
    }

    /// The client's first segments are lost: a later one completes the handshake, before the target can answer it. req: S3.3
    #[test]
    fn any_segment_in_window_completes_the_handshake() {
        let c1 = ISN_C.wrapping_add(1);
        let mut e = opened();
        packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, c1, 0), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1.wrapping_sub(1), ISN_T + 1, 10), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1.wrapping_add(1 << 17), ISN_T + 1, 10), NOW);
        assert_eq!(e.state(), Some(FlowState::SynReceived), "out of window");
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1.wrapping_add(1400), ISN_T + 1, 10), NOW);
        assert_eq!((e.state(), e.client_end), (Some(FlowState::Established), c1), "out of its place");
        // What was lost is sent again; the acknowledgement of all of it tells of what came out of place.
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ISN_T + 1, 1400), NOW);
        assert_eq!(e.client_end, c1.wrapping_add(1400));
        packet(&mut e, Side::Target, &seg(tcp::ACK, ISN_T + 1, c1.wrapping_add(1410), 0), NOW);
        assert_eq!((e.client_end, e.target_ack), (c1.wrapping_add(1410), c1.wrapping_add(1410)));
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::RST, c1.wrapping_add(1410), 0, 0), NOW), Outcome::Reset);
    }

    /// A FIN whose predecessors were lost on their way here is not sent again with them. req: S4.2
    #[test]
    fn a_fin_behind_a_gap_counts() {
        let (c, t) = (ISN_C.wrapping_add(1), ISN_T + 1);
        let mut e = established();
        packet(&mut e, Side::Client, &seg(tcp::FIN | tcp::ACK, c.wrapping_add(3000), t, 100), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed));
        packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, t, c, 0), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c, t + 1, 3000), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed), "the client's FIN is not acknowledged");
        packet(&mut e, Side::Target, &seg(tcp::ACK, t + 1, c.wrapping_add(3101), 0), NOW);
        assert_eq!(e.state(), Some(FlowState::TimeWait));
    }

    /// Who has guessed a number in the window, but not in what is in flight, changes nothing. req: S4.1, S4.2, R21
    #[test]
    fn guesses_within_the_window_change_nothing() {
        for (side, base, other) in
            [(Side::Client, ISN_C.wrapping_add(1), ISN_T + 1), (Side::Target, ISN_T + 1, ISN_C.wrapping_add(1))]
        {
            let mut e = established();
            packet(&mut e, side, &seg(tcp::ACK, base, other, 500), NOW);
            let before = e;
            for seq in [base.wrapping_sub(GAP_MAX + 1), base.wrapping_add(501), base.wrapping_add(4000)] {
                for flags in [tcp::RST, tcp::ACK, tcp::RST | tcp::ACK] {
                    packet(&mut e, side, &seg(flags, seq, other.wrapping_add(1000), 100), NOW);
                    assert_eq!(e, before, "{flags} at {}", seq.wrapping_sub(base));
                }
            }
            packet(&mut e, side, &seg(tcp::FIN | tcp::ACK, base.wrapping_add(501 + GAP_MAX), other, 0), NOW);
            assert_eq!(e, before, "a FIN far behind");
            assert_eq!(packet(&mut e, side, &seg(tcp::RST, base.wrapping_add(500), 0, 0), NOW), Outcome::Reset);
        }
    }

    /// A target that sends before the handshake is complete (RFC 7413): the client may acknowledge that data at once.
    #[test]
    fn fast_open_data_before_the_acknowledgement() {
        let c1 = ISN_C.wrapping_add(1);
        let mut e = opened();
        packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, c1, 0), NOW);
        packet(&mut e, Side::Target, &seg(tcp::ACK, ISN_T + 1, c1, 500), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ISN_T + 502, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::SynReceived), "more than was sent");
        packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ISN_T + 501, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::Established));
    }

    /// A target that closes before the handshake is complete (RFC 7413): its FIN counts, acknowledged at once or later. req: S4.2
    #[test]
    fn fast_open_fin_before_the_acknowledgement() {
        let c1 = ISN_C.wrapping_add(1);
        for at_once in [true, false] {
            let mut e = opened();
            packet(&mut e, Side::Target, &seg(tcp::SYN | tcp::ACK, ISN_T, c1, 0), NOW);
            packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, ISN_T + 1 + (1 << 30), c1, 0), NOW);
            assert!(!e.has(flag::TARGET_FIN), "out of window");
            packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, ISN_T + 1, c1, 500), NOW);
            assert_eq!(e.state(), Some(FlowState::SynReceived));
            let ack = ISN_T + if at_once { 502 } else { 1 };
            assert_eq!(packet(&mut e, Side::Client, &seg(tcp::ACK, c1, ack, 0), NOW), Outcome::Changed);
            assert_eq!((e.state(), e.has(flag::TARGET_FIN_ACKED)), (Some(FlowState::HalfClosed), at_once));
            packet(&mut e, Side::Client, &seg(tcp::FIN | tcp::ACK, c1, ISN_T + 502, 0), NOW);
            packet(&mut e, Side::Target, &seg(tcp::ACK, ISN_T + 502, c1.wrapping_add(1), 0), NOW);
            assert_eq!(e.state(), Some(FlowState::TimeWait));
        }
    }

    /// Retransmits do not extend the half-open deadline; a new ISN replaces the flow. req: S3, S6.3
    #[test]
    fn syn_on_a_half_open_flow() {
        let mut e = opened();
        let later = Now { ms: NOW.ms + 20_000 };
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, ISN_C, 0, 0), later), Outcome::Forward);
        assert!(!is_over(&e, Now { ms: NOW.ms + 30_000 }));
        assert!(is_over(&e, Now { ms: NOW.ms + 31_000 }));
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, 77, 0, 0), later), Outcome::Replace);
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN | tcp::ACK, ISN_C, 1, 0), later), Outcome::BadFlags);
        assert_eq!(packet(&mut e, Side::Target, &seg(tcp::SYN, ISN_T, 0, 0), later), Outcome::BadFlags);
    }

    /// A spoofed SYN neither kills, moves nor refreshes an established flow. req: S3
    #[test]
    fn syn_on_an_established_flow_changes_nothing() {
        let mut e = established();
        let before = e;
        assert_eq!(
            packet(&mut e, Side::Client, &seg(tcp::SYN, 1234, 0, 0), Now { ms: NOW.ms + 9000 }),
            Outcome::Forward
        );
        assert_eq!(e, before);
    }

    /// req: S4.1
    #[test]
    fn only_resets_in_window_end_a_flow() {
        for (side, base) in [(Side::Client, ISN_C.wrapping_add(1)), (Side::Target, ISN_T + 1)] {
            let mut e = established();
            for seq in [base.wrapping_sub(1), base.wrapping_add(0x10000), base.wrapping_add(1 << 31)] {
                let before = e;
                assert_eq!(
                    packet(&mut e, side, &seg(tcp::RST, seq, 0, 0), Now { ms: NOW.ms + 9000 }),
                    Outcome::Forward
                );
                assert_eq!(e, before, "forwarded, no refresh (S4.3)");
            }
            assert_eq!(packet(&mut e, side, &seg(tcp::RST, base, 0, 0), NOW), Outcome::Reset);
            assert_eq!(e.state(), Some(FlowState::ResetLinger));
        }
    }

    #[test]
    fn resets_of_half_open_flows() {
        let c1 = ISN_C.wrapping_add(1);
        let mut e = opened();
        assert_eq!(
            packet(&mut e, Side::Target, &seg(tcp::RST | tcp::ACK, 0, c1.wrapping_add(1), 0), NOW),
            Outcome::Forward
        );
        assert_eq!(packet(&mut e, Side::Target, &seg(tcp::RST | tcp::ACK, 0, c1, 0), NOW), Outcome::Refused);
        let mut e = opened();
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::RST, c1, 0, 0), NOW), Outcome::Reset);
    }

    /// Both FINs need their acknowledgement, in either order. req: S4.2
    #[test]
    fn both_fins_acknowledged_end_a_flow() {
        let (c, t) = (ISN_C.wrapping_add(1), ISN_T + 1);
        let mut e = established();
        packet(&mut e, Side::Client, &seg(tcp::ACK, c, t, 100), NOW);
        assert_eq!(
            packet(&mut e, Side::Client, &seg(tcp::FIN | tcp::ACK, c.wrapping_add(100), t, 0), NOW),
            Outcome::Forward
        );
        assert_eq!(e.state(), Some(FlowState::HalfClosed));
        let c_end = c.wrapping_add(101);
        // Half-closed streams go on.
        packet(&mut e, Side::Target, &seg(tcp::ACK, t, c_end, 500), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed));
        packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, t + 500, c_end, 0), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c_end, t + 500, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed), "the data is acknowledged, the FIN is not");
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::ACK, c_end, t + 501, 0), NOW), Outcome::Changed);
        assert_eq!(e.state(), Some(FlowState::TimeWait));
        // An old duplicate of the SYN is forwarded, another SYN is a new connection.
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, ISN_C, 0, 0), NOW), Outcome::Forward);
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, ISN_C ^ 1, 0, 0), NOW), Outcome::Replace);
    }

    #[test]
    fn a_fin_out_of_window_closes_nothing() {
        let mut e = established();
        packet(&mut e, Side::Client, &seg(tcp::FIN | tcp::ACK, ISN_C.wrapping_add(1 << 30), ISN_T + 1, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::Established));
        assert_eq!(e.client_end, ISN_C.wrapping_add(1), "garbage does not move the window");
    }

    /// A FIN that somebody has guessed ends nothing: the sender goes on, and a SYN that is guessed, too, does not replace the flow. One that
    /// is acknowledged does its work. req: S4.2, S3, R21
    #[test]
    fn a_guessed_fin_ends_nothing() {
        let (c, t) = (ISN_C.wrapping_add(1), ISN_T + 1);
        let mut e = established();
        packet(&mut e, Side::Target, &seg(tcp::ACK, t, c, 5000), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c, t + 5000, 0), NOW);
        let before = e;
        packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, t + 100, c, 9), NOW);
        assert_eq!(e, before, "the target has sent more than that");
        packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, t + 5050, c, 0), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed));
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, 77, 0, 0), NOW), Outcome::Forward);
        packet(&mut e, Side::Target, &seg(tcp::ACK, t + 5000, c, 40), NOW);
        assert_eq!(e.state(), Some(FlowState::HalfClosed), "the FIN's place is not reached");
        packet(&mut e, Side::Target, &seg(tcp::ACK, t + 5040, c, 1000), NOW);
        assert_eq!((e.state(), e.has(flag::TARGET_FIN)), (Some(FlowState::Established), false));
        packet(&mut e, Side::Target, &seg(tcp::FIN | tcp::ACK, t + 6040, c, 0), NOW);
        packet(&mut e, Side::Client, &seg(tcp::ACK, c, t + 6041, 0), NOW);
        assert_eq!((e.state(), e.has(flag::TARGET_FIN_ACKED)), (Some(FlowState::HalfClosed), true));
        assert_eq!(packet(&mut e, Side::Client, &seg(tcp::SYN, 77, 0, 0), NOW), Outcome::Replace);
    }

    /// req: IDL-01, IDL-03, S6.1
    #[test]
    fn idle_flows_live_349_seconds_and_not_352() {
        for phase in [0, 1, 500, 999] {
            let start = Now { ms: 65_530_000 + phase }; // the stamp wraps
            let mut e = established();
            packet(&mut e, Side::Client, &seg(tcp::ACK, ISN_C, ISN_T + 1, 0), start); // a keepalive
            assert!(!is_over(&e, Now { ms: start.ms + 350_000 }));
            assert!(is_over(&e, Now { ms: start.ms + 352_000 }));
        }
    }

    /// req: IDL-04, IDL-06, S7.2
    #[test]
    fn udp_times() {
        let mut e = FlowEntry {
            protocol: protocol::UDP,
            state: FlowState::Established as u8,
            client_isn: u32::from(NOW.stamp()),
            touched_s: NOW.stamp(),
            ..FlowEntry::default()
        };
        let at = |s: u64| Now { ms: NOW.ms + s * 1000 };
        assert_eq!(packet(&mut e, Side::Client, &Meta::default(), at(25)), Outcome::Forward);
        assert_eq!(packet(&mut e, Side::Target, &Meta::default(), at(32)), Outcome::Late);
        assert!(!is_over(&e, at(25 + 120)) && is_over(&e, at(25 + 122)), "a late answer refreshes nothing");
        let mut e = FlowEntry { client_isn: u32::from(NOW.stamp()), ..e };
        assert_eq!(packet(&mut e, Side::Target, &Meta::default(), at(29)), Outcome::Changed, "not one-way any more");
        assert_eq!(packet(&mut e, Side::Target, &Meta::default(), at(100)), Outcome::Forward);
        assert!(!is_over(&e, at(220)));
    }
}

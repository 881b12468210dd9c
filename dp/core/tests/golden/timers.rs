//! Time passes: with housekeeping, and without it, when the packet finds out.

use leat_abi::Counter;
use leat_abi::flow::FlowState;

use crate::common::*;

/// Moments of the first packet within its second: the time kept is in whole seconds.
const PHASES: [u64; 3] = [0, 500, 876];

/// A harness whose lcores look after their timers, or not, when time passes in steps of less than a second.
fn pass(h: &mut Harness, ms: u64, housekeeping: bool) {
    let mut left = ms;
    while left > 0 {
        let step = left.min(700);
        if housekeeping {
            h.pass(step)
        } else {
            h.skip(step)
        }
        left -= step;
    }
}

/// TCP: alive after 349 s, gone after 352 s, silently; then both sides are reset. req: IDL-01, IDL-02, IDL-08, S6.1, S5.2
#[test]
fn tcp_idle_timeout() {
    for (housekeeping, vip, listener) in [(true, WEB, 0), (false, WEB, 0), (true, DIRECT, 1), (false, DIRECT, 1)] {
        for phase in PHASES {
            let mut h = Harness::default();
            h.skip(phase);
            let mut s = Stream::open(&mut h, CLIENT, vip, 1);
            pass(&mut h, 349_000, housekeeping);
            s.works(&mut h);
            let slot = s.slot();
            h.moved();
            pass(&mut h, 352_000, housekeeping);
            let mut expected = nothing().expired(slot, listener);
            if vip == DIRECT {
                expected = expected.freed(slot, listener);
            }
            if housekeeping {
                // No packet: nothing was sent.
                expected.clone().is(&h.moved());
                expected = nothing();
            }
            let (_, reset) = s.feed_client(&mut h, &s.from_client(ACK, b"hello?")).answered();
            assert_eq!(reset.numbers(), (s.t, 0, RST));
            rx(60).reset(Some(listener)).plus(expected).is(&h.moved());
            let (_, reset) = s.feed_target(&mut h, &s.from_target(ACK, b"hello?")).answered();
            assert_eq!((reset.numbers(), reset.destination), ((s.c, 0, RST), s.target));
            let expected = rx(60).reset((vip == WEB).then_some(listener));
            expected.is(&h.moved());
            h.check_flows();
        }
    }
}

/// A keepalive of either side restarts the time; a reset out of window and a spoofed SYN do not. req: IDL-03, S4.3
#[test]
fn what_keeps_a_connection_alive() {
    let mut h = Harness::default();
    let s = Stream::open(&mut h, CLIENT, WEB, 1);
    for from_client in [true, false, true] {
        pass(&mut h, 300_000, true);
        if from_client {
            s.feed_client(&mut h, &s.at_client(ACK, s.c.wrapping_sub(1), s.t)).forwarded();
        } else {
            s.feed_target(&mut h, &s.at_target(ACK, s.t.wrapping_sub(1), s.c)).forwarded();
        }
    }
    pass(&mut h, 300_000, true);
    s.feed_client(&mut h, &s.at_client(RST, s.c ^ 1 << 31, 0)).forwarded();
    s.feed_client(&mut h, &s.at_client(SYN, 5, 0)).forwarded();
    pass(&mut h, 52_000, true);
    s.feed_client(&mut h, &s.from_client(ACK, &[])).answered();
}

/// Half-closed connections have the idle time of open ones. req: S4
#[test]
fn half_closed_idle_timeout() {
    let mut h = Harness::default();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    s.client_sends(&mut h, FIN | ACK, &[]);
    pass(&mut h, 349_000, true);
    s.target_sends(&mut h, ACK, b"still here");
    pass(&mut h, 352_000, true);
    s.feed_target(&mut h, &s.from_target(ACK, b"x")).answered();
}

/// Half-open: 30 s from the first SYN. Later the target is reset, and the client hears nothing. req: IDL-06, S6.3
#[test]
fn half_open_timeout() {
    for housekeeping in [true, false] {
        for (wait, in_time) in [(29_000, true), (32_000, false)] {
            let mut h = Harness::default();
            let mut s = Stream::new(CLIENT, DIRECT, 1);
            s.send_syn(&mut h);
            pass(&mut h, wait / 2, housekeeping);
            s.send_syn(&mut h);
            pass(&mut h, wait / 2, housekeeping);
            let syn_ack = s.syn_ack();
            let out = s.feed_target(&mut h, &syn_ack);
            if in_time {
                out.forwarded();
                s.client_sends(&mut h, ACK, &[]);
                pass(&mut h, 300_000, housekeeping);
                s.works(&mut h);
            } else {
                let (port, reset) = out.answered();
                assert_eq!((port, reset.numbers()), (TARGET_SIDE, (2, 0, RST)));
                assert_eq!(h.total(Counter::FlowsExpired), 1);
            }
            h.check_flows();
        }
    }
}

/// The handshake's deadline counts until the client's acknowledgement. req: S3.3, S4
#[test]
fn syn_received_has_the_same_deadline() {
    let mut h = Harness::default();
    let mut s = Stream::new(CLIENT, DIRECT, 1);
    s.send_syn(&mut h);
    pass(&mut h, 20_000, true);
    s.feed_target(&mut h, &s.syn_ack()).forwarded();
    pass(&mut h, 12_000, true);
    s.feed_client(&mut h, &s.from_client(ACK, &[])).answered();
}

/// UDP: same flow after 119 s, a new one after 122 s, to the same target as nothing else has changed. req: IDL-04, RT-08, S7.1,
/// S7.3
#[test]
fn udp_idle_timeout() {
    for (housekeeping, vip, listener) in [(true, DNS, 2), (false, DNS, 2), (true, LOG, 3), (false, LOG, 3)] {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, vip);
        let slot = s.slot();
        s.target_sends(&mut h, b"answer");
        pass(&mut h, 119_000, housekeeping);
        s.client_sends(&mut h, b"x");
        assert_eq!(h.total(Counter::FlowsCreated), 1);
        h.moved();
        pass(&mut h, 122_000, housekeeping);
        let old = s.clone();
        if vip == DNS || housekeeping {
            assert!(h.feed(TARGET_SIDE, &old.from_target(b"late")).is_dropped(leat_abi::DropReason::NoFlow));
            h.moved();
        }
        s.client_sends(&mut h, b"x");
        assert_eq!((s.slot(), h.total(Counter::FlowsCreated)), (slot, 2));
        let moved = h.moved();
        assert_eq!(moved["flows_created"], 1, "{vip} {listener}");
        s.target_sends(&mut h, b"answer");
        h.check_flows();
    }
}

/// A target's first datagram after 30 s is dropped; in time, it opens the way back for good. req: IDL-06, S6.3, S7.2
#[test]
fn udp_return_path() {
    for housekeeping in [true, false] {
        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, DNS);
        pass(&mut h, 29_000, housekeeping);
        s.target_sends(&mut h, b"in time");
        pass(&mut h, 100_000, housekeeping);
        s.target_sends(&mut h, b"still open");

        let mut h = Harness::default();
        let mut s = Datagrams::open(&mut h, CLIENT, DNS);
        pass(&mut h, 32_000, housekeeping);
        h.moved();
        h.feed(TARGET_SIDE, &s.from_target(b"late"));
        rx(46).dropped("reply_late").is(&h.moved());
        s.client_sends(&mut h, b"one way goes on");
    }
}

/// TIME_WAIT lasts 60 s, the time after a reset 10 s; then a stray segment is reset. req: S4
#[test]
fn closing_times() {
    for (reset, alive, gone) in [(false, 59_000, 62_000), (true, 9_000, 12_000)] {
        for housekeeping in [true, false] {
            for wait in [alive, gone] {
                let mut h = Harness::default();
                let mut s = Stream::open(&mut h, CLIENT, DIRECT, 1);
                if reset {
                    s.abort(&mut h)
                } else {
                    s.close(&mut h)
                }
                pass(&mut h, wait, housekeeping);
                let out = s.feed_client(&mut h, &s.from_client(ACK, &[]));
                if wait == alive {
                    drop(out.forwarded())
                } else {
                    drop(out.answered())
                }
                assert_eq!(h.total(Counter::FlowsExpired), 0, "it was closed before");
                h.check_flows();
            }
        }
    }
}

/// The port of an expired flow rests for 60 s: nobody else gets it at that target. req: S9.4, S9.2
#[test]
fn a_nat_port_rests() {
    let mut h = Harness::new(1, 60_000);
    h.world.groups[0].table = vec![1];
    h.publish();
    let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
    s.works(&mut h);
    let resting = s.nat;
    pass(&mut h, 352_000, true);
    assert_eq!(h.flows()[0].1.state(), Some(FlowState::Resting));
    // Use up the pool.
    let clients = |from: u16| (from..u16::MAX).map(|port| std::net::SocketAddr::new([198, 51, 100, 9].into(), port));
    let mut ports = std::collections::HashSet::new();
    for client in clients(1) {
        let mut other = Stream::new(client, WEB, 1);
        let out = other.feed_client(&mut h, &other.syn());
        if out.is_dropped(leat_abi::DropReason::NatPortsExhausted) {
            break;
        }
        (other.nat, other.target) = (out.forwarded().1.source, target(1));
        assert_ne!(other.nat, resting);
        other.feed_target(&mut h, &other.syn_ack()).forwarded();
        other.feed_client(&mut h, &other.from_client(ACK, &[])).forwarded();
        assert!(ports.insert(other.nat), "a port twice at one target");
    }
    assert_eq!(ports.len(), 54_999, "all but the one that rests");
    h.check_flows();
    pass(&mut h, 62_000, true);
    assert!(!h.flows().iter().any(|(_, e)| u16::from_be(e.nat_port) == resting.port()));
}

/// The port rests also when the client has begun anew. req: S9.4
#[test]
fn a_nat_port_rests_when_its_client_begins_anew() {
    for how in ["expired", "time-wait", "reset"] {
        let mut h = Harness::default();
        let mut s = Stream::open(&mut h, CLIENT, WEB, 1);
        match how {
            "expired" => pass(&mut h, 352_000, true),
            "time-wait" => s.close(&mut h),
            _ => s.abort(&mut h),
        }
        let mut new = Stream::open(&mut h, CLIENT, WEB, 1_000_000);
        new.works(&mut h);
        assert_ne!(new.nat, s.nat);
        let holds = |h: &Harness| {
            let port = |e: &leat_abi::FlowEntry| u16::from_be(e.nat_port) == s.nat.port();
            h.flows().iter().any(|(_, e)| port(e))
        };
        assert!(holds(&h), "{how}: the port is kept");
        h.check_flows();
        h.crash();
        assert!(holds(&h), "{how}: the port is kept over a restart");
        new.works(&mut h);
        let (_, reset) = s.feed_target(&mut h, &s.from_target(ACK, b"late")).answered();
        assert_eq!(reset.destination, s.target, "what the old target still sends is answered");
        pass(&mut h, 62_000, true);
        assert!(!holds(&h), "{how}: until its time is over");
        new.works(&mut h);
        h.check_flows();
    }
}

/// The lcore was away for long: everything that is over goes, what is not stays. req: R22
#[test]
fn a_long_pause() {
    let mut h = Harness::new(1, 2048);
    let at = |n: u16| std::net::SocketAddr::new(CLIENT.ip(), 1024 + n);
    (0..1000).for_each(|n| drop(Stream::open(&mut h, at(n), WEB, n.into())));
    h.skip(3_600_000);
    let mut young = Stream::open(&mut h, at(2000), WEB, 1);
    for _ in 0..100 {
        h.housekeeping();
    }
    assert_eq!(h.total(Counter::FlowsExpired), 1000);
    young.works(&mut h);
    h.check_flows();
}

/// Flows that began together end together: a few at a time, so that packets need not wait; more at a time once that is too slow. req: R15
#[test]
fn many_timers_at_once() {
    let mut h = Harness::new(1, 2048);
    let at = |n: u16| std::net::SocketAddr::new(CLIENT.ip(), 1024 + n);
    (0..1000).for_each(|n| drop(Stream::open(&mut h, at(n), DIRECT, n.into())));
    pass(&mut h, 345_000, true);
    let (mut at_a_time, mut turns) = (Vec::new(), 0);
    while h.total(Counter::FlowsExpired) < 1000 {
        // A turn takes 10 ms here: 100 of them are a second.
        h.skip(10);
        let (before, now) = (h.total(Counter::FlowsExpired), h.now);
        h.pipeline(0).timers(now);
        at_a_time.push(h.total(Counter::FlowsExpired) - before);
        turns += 1;
        assert!(turns < 1500, "they end");
    }
    let first = at_a_time.iter().position(|n| *n > 0).expect("some end");
    let most = *at_a_time.iter().max().expect("some end");
    assert!(at_a_time[first..first + 50].iter().all(|n| *n <= 4), "{:?}", &at_a_time[first..first + 50]);
    assert!((5..=32).contains(&most), "{most} at a time");
    assert!(at_a_time.len() - first < 200, "{} turns", at_a_time.len() - first);
}

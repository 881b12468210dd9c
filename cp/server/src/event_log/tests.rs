use super::*;
use crate::publisher::tests::{Bench, FakePlane};
use leat_model::Command;

fn port(name: &str, to: &str) -> Transition {
    Transition { port: Some(name.into()), ..EventType::Port.to(to) }
}

fn all(_: &Transition) -> bool {
    true
}

fn numbers(part: &Part) -> Vec<u64> {
    part.events.iter().map(|event| event.sequence).collect()
}

#[test]
fn readers_go_on_where_they_were() {
    let log = EventLog::new();
    assert_eq!(log.after(0, 10, all), Part::default());
    log.add(1_700_000_000_042, vec![port("p0", "down"), port("p1", "down"), port("p0", "up")]);
    let part = log.after(0, 2, all);
    assert_eq!((numbers(&part), part.next, part.dropped), (vec![1, 2], 2, 0));
    assert_eq!(part.events[0].time, "2023-11-14T22:13:20.042Z");
    let part = log.after(2, 2, all);
    assert_eq!((numbers(&part), part.next), (vec![3], 3));
    let p1 = |event: &Transition| event.port.as_deref() == Some("p1");
    let part = log.after(0, 10, p1);
    assert_eq!((numbers(&part), part.next), (vec![2], 3), "the others are done with");
    let part = log.after(0, 1, all);
    assert_eq!(part.next, 1, "there are more");
    assert_eq!(numbers(&log.newest(2, all)), [2, 3]);
    assert_eq!(log.after(u64::MAX, 10, all).next, 3, "somebody has read another log");
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    let log = EventLog::new();
    for _ in 0..EVENTS_MAX + 5 {
        log.add(0, vec![port("p0", "down")]);
    }
    let part = log.after(2, 1, all);
    assert_eq!((numbers(&part), part.dropped), (vec![6], 3));
    assert_eq!(log.after(5, 1, all).dropped, 0);
    assert_eq!(log.newest(usize::MAX, all).events.len(), EVENTS_MAX);
    assert_eq!(log.lock().texts.count(), 2, "a text is kept once");
    for n in 0..EVENTS_MAX {
        log.add(0, vec![port(&format!("q{n}"), "up")]);
    }
    assert_eq!(log.lock().texts.count(), EVENTS_MAX + 1, "those of events that are gone are gone");
}

#[test]
fn what_is_kept_is_shown_as_it_was() {
    let log = EventLog::new();
    let text = |text: &str| Some(text.to_owned());
    let full = Transition {
        load_balancer: text("front"),
        target_group: text("web"),
        target: text("[2001:db8::11]:80"),
        address: Some("2001:db8::11".parse().expect("an address")),
        zone: text("zone-a"),
        port: text("p0"),
        zonal_shift: text("7"),
        from: text("healthy"),
        reason: text("Target.FailedHealthChecks"),
        description: text("Health checks failed"),
        ..EventType::Target.to("unhealthy")
    };
    log.add(0, vec![full.clone(), port("p0", "up"), full.clone()]);
    let shown: Vec<Transition> = log.after(0, 10, all).events.into_iter().map(|event| event.what).collect();
    assert_eq!(shown, [full.clone(), port("p0", "up"), full]);
}

#[test]
fn who_waits_is_woken_by_an_event_or_the_end() {
    let log = Arc::new(EventLog::new());
    assert!(!log.wait(0, Duration::from_millis(1)));
    let forever = Duration::from_secs(600);
    let its = log.clone();
    let waiter = thread::spawn(move || (its.wait(0, forever), its.wait(1, forever), its.pause(forever)));
    log.add(0, vec![port("p0", "down")]);
    while !waiter.is_finished() {
        log.close();
        thread::yield_now();
    }
    assert!(!waiter.join().expect("it ended").1, "the end of the log");
    assert!(log.is_closed());
}

/// Waits for so many events.
fn events(log: &EventLog, count: u64) -> Vec<Transition> {
    while log.after(0, usize::MAX, all).next < count {
        assert!(log.wait(log.newest(0, all).next, Duration::from_secs(10)), "{:?}", log.newest(100, all));
    }
    log.newest(usize::MAX, all).events.into_iter().map(|event| event.what).collect()
}

#[test]
fn changes_and_the_data_plane_s_life_become_events() {
    let bench = Bench::new();
    let log = Arc::new(EventLog::new());
    let watcher = Watcher::start(&bench.state, Some(bench.publisher.clone()), log.clone()).expect("a thread");
    let down = || Command::PortsDown(["p0".to_owned()].into());
    bench.state.record(down()).expect("good");
    assert_eq!(events(&log, 1)[0].to, "down");
    let plane = FakePlane::start(&bench.segment());
    let attached = &events(&log, 2)[1];
    assert_eq!((attached.kind, attached.to.as_str(), &attached.from), (EventType::DataPlane, "attached", &None));
    drop(plane);
    let lost = &events(&log, 3)[2];
    assert_eq!((lost.to.as_str(), lost.from.as_deref()), ("lost", Some("attached")));
    bench.state.record(down()).expect("nothing new");
    drop(watcher);
    assert_eq!(log.after(0, 10, all).next, 3);
}

#[test]
fn a_restart_is_told() {
    let mut plane = Plane::default();
    let other = |attached, incarnation| Plane { attached, incarnation, known: attached };
    let mut to = |attached, incarnation| {
        plane.become_other(other(attached, incarnation)).pop().map(|event| event.to).unwrap_or_default()
    };
    let told = [to(false, 0), to(true, 1), to(true, 1), to(true, 2), to(false, 2), to(false, 3), to(true, 3)];
    assert_eq!(told, ["", "attached", "", "restarted", "lost", "", "attached"]);
    let mut mapped_first = Plane::default();
    assert!(mapped_first.become_other(other(false, 1)).is_empty());
    assert_eq!(mapped_first.become_other(other(true, 1))[0].from, None, "nothing was lost before");
}

/// What comes too fast is joined, and nothing that lasts is lost.
#[test]
fn changes_that_wait_are_joined() {
    let waiting = Waiting::default();
    let bench = Bench::new();
    let first = bench.state.model();
    let mut models = vec![first.clone()];
    for n in 0..WAITING_MAX + 3 {
        let old = bench.state.model();
        let down = Command::PortsDown([format!("p{n}")].into());
        let (new, effects) = bench.state.record(down).expect("good");
        waiting.push(&Commit { old: &old, new: &new, changed: &effects.changed, now: bench.state.now() });
        models.push(new);
    }
    let (changes, merged) = waiting.take().expect("some");
    assert_eq!((changes.len(), merged), (WAITING_MAX, 3));
    let mut reached = &first;
    for change in &changes {
        assert!(Arc::ptr_eq(&change.old, reached), "without gaps");
        reached = &change.new;
    }
    assert!(Arc::ptr_eq(reached, models.last().expect("one")));
}

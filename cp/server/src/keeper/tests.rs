use super::*;
use crate::publisher::tests::{Bench, FakePlane};
use leat_model::rest::TargetSpec;

fn change(bench: &Bench, command: Command) {
    bench.state.change(command).expect("good");
}

fn target(id: &str) -> Vec<TargetSpec> {
    vec![TargetSpec { id: id.into(), port: None, zone: None }]
}

/// S1.4: a number is freed only when every lcore makes no new flows to it and none is left.
#[test]
fn a_number_is_freed_when_nothing_refers_to_it() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    bench.change("a");
    let delay = [("deregistration_delay.timeout_seconds".to_owned(), "0".to_owned())].into();
    change(&bench, Command::ModifyAttributes { target_group: "a".into(), attributes: delay });
    change(&bench, Command::RegisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    plane.take_until(|snapshot| snapshot.targets.len() == 1);
    plane.segment.counters(1).target(0, TargetCounter::FlowRefs, 1);
    plane.segment.counters(1).target(0, TargetCounter::BytesIn, 77);
    change(&bench, Command::DeregisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });

    let (model, view) = (bench.state.model(), bench.publisher.plane().expect("attached"));
    let epoch = model.epoch();
    let progress = |applied_epoch| Progress { attached: true, applied_epoch };
    assert_eq!(free_targets(&model, &view, progress(epoch)), [], "a flow is left");
    plane.segment.counters(1).target(0, TargetCounter::FlowRefs, 1u64.wrapping_neg());
    assert_eq!(free_targets(&model, &view, progress(epoch - 1)), [], "an lcore may make flows to it");
    assert_eq!(free_targets(&model, &view, Progress::default()), [], "nobody knows");
    let free = free_targets(&model, &view, progress(epoch));
    assert_eq!((free.len(), free[0].0, free[0].1[TargetCounter::BytesIn as usize]), (1, 0, 77));
    // What is registered is never freed.
    change(&bench, Command::RegisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    assert_eq!(free_targets(&bench.state.model(), &view, progress(epoch + 1)), []);
}

fn with_listener(bench: &Bench) {
    let request = serde_json::json!({"name": "web", "nodes": [{"zone": "a", "address": "10.1.0.10"}]});
    let request = serde_json::from_value(request).expect("a request");
    change(bench, Command::CreateLoadBalancer { request, id: Id(1) });
    bench.change("a");
    let request = serde_json::json!({"protocol": "TCP", "port": 2000, "targetGroup": "a"});
    let request = serde_json::from_value(request).expect("a request");
    change(bench, Command::CreateListener { load_balancer: "web".into(), request, id: Id(2) });
}

#[test]
fn listener_numbers_are_freed_alike() {
    let bench = Bench::new();
    let plane = FakePlane::start(&bench.segment());
    with_listener(&bench);
    plane.take_until(|snapshot| snapshot.listeners.len() == 1);
    plane.segment.counters(0).listener(0, ListenerCounter::FlowRefs, 1);
    change(&bench, Command::DeleteListener { load_balancer: "web".into(), port: 2000 });
    let (model, view) = (bench.state.model(), bench.publisher.plane().expect("attached"));
    let progress = Progress { attached: true, applied_epoch: model.epoch() };
    assert_eq!(free_listeners(&model, &view, progress), []);
    plane.segment.counters(0).listener(0, ListenerCounter::FlowRefs, 1u64.wrapping_neg());
    assert_eq!(free_listeners(&model, &view, progress).len(), 1);
}

/// req: HC-28, HC-33 (a new id makes the prober begin at once)
#[test]
fn checks_follow_the_targets() {
    let bench = Bench::new();
    with_listener(&bench);
    change(&bench, Command::RegisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    let checks = |bench: &Bench| -> Vec<Check> {
        let model = bench.state.model();
        model.check_plans().iter().map(|plan| check(&model, plan, 0)).collect()
    };
    let first = checks(&bench);
    assert_eq!(first[0].source, IpAddr::from([10, 1, 0, 10]));
    assert_eq!((first[0].interval, first[0].timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!(slot_of(first[0].id), (0, 0));
    let reserved = reserved_ports(&bench.state.model());
    assert_eq!(reserved[&IpAddr::from([10, 1, 0, 10])], HashSet::from([2000]));
    // Draining it is the same check; registered again it is a new one.
    change(&bench, Command::DeregisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    assert_eq!(checks(&bench), first);
    change(&bench, Command::RegisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    assert_ne!(checks(&bench)[0].id, first[0].id);
    assert_eq!(slot_of(checks(&bench)[0].id), (0, 0));
    let model = bench.state.model();
    let again = check(&model, &model.check_plans()[0], 1);
    assert_ne!(again.id, checks(&bench)[0].id, "a check that could not be made has a new name too");
    assert_eq!(slot_of(again.id), (0, 0));
}

#[test]
fn failures_of_our_own_say_nothing_about_the_target() {
    let local = ProbeFailure::Local(std::io::ErrorKind::AddrNotAvailable);
    assert_eq!(outcome(&Err(local)), Outcome::NotMade);
    assert_eq!(outcome(&Err(ProbeFailure::Refused)), Outcome::Failed(Cause::Refused));
    assert_eq!(outcome(&Ok(())), Outcome::Passed);
}

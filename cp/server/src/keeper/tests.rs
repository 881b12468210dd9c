use super::*;
use crate::publisher::tests::{Bench, FakePlane};
use leat_model::health::Cause;
use leat_model::rest::TargetSpec;

fn change(bench: &Bench, command: Command) {
    bench.state.change(command).expect("good");
}

fn target(id: &str) -> Vec<TargetSpec> {
    vec![TargetSpec { id: id.into(), port: None, zone: None }]
}

/// S1.4: a number is freed only when every lcore makes no new flows to it and none is left.
fn named(id: CheckId) -> (u16, u8, u8) {
    let name = CheckName::of(id);
    assert_eq!(name.id(), id);
    (name.slot, name.generation, name.node)
}

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
    assert_eq!(named(first[0].id), (0, 0, 0));
    let reserved = reserved_ports(&bench.state.model());
    assert_eq!(reserved[&IpAddr::from([10, 1, 0, 10])], HashSet::from([2000]));
    // Draining it is the same check; registered again it is a new one.
    change(&bench, Command::DeregisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    assert_eq!(checks(&bench), first);
    change(&bench, Command::RegisterTargets { target_group: "a".into(), targets: target("10.2.0.11") });
    assert_ne!(checks(&bench)[0].id, first[0].id);
    assert_eq!(named(checks(&bench)[0].id), (0, 0, 0));
    let model = bench.state.model();
    let again = check(&model, &model.check_plans()[0], 1);
    assert_ne!(again.id, checks(&bench)[0].id, "a check that could not be made has a new name too");
    assert_eq!(named(again.id), (0, 0, 0));
}

#[test]
fn failures_of_our_own_say_nothing_about_the_target() {
    let local = ProbeFailure::Local(std::io::ErrorKind::AddrNotAvailable);
    assert_eq!(outcome(&Err(local)), Outcome::NotMade);
    assert_eq!(outcome(&Err(ProbeFailure::Target(Cause::Refused))), Outcome::Failed(Cause::Refused));
    assert_eq!(outcome(&Ok(())), Outcome::Passed);
}

/// Without a data plane there is nothing to wait for: load balancers are active at once, and targets are gone when their delay is over.
#[test]
fn without_a_data_plane_promises_are_kept() {
    let store = crate::store::faulty::FaultyDisk::default().store().expect("a store");
    let site = leat_model::Site { without_data_plane: true, ..Default::default() };
    let state = Arc::new(State::begin(Box::new(store), site, leat_model::Limits::default()).expect("a state"));
    let publisher = Arc::new(Publisher::absent());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert!(runtime.block_on(publisher.applied(99, Duration::from_secs(60), true)), "nobody waits");
    assert_eq!(publisher.problems(), [leat_model::view::NO_DATA_PLANE]);
    let keeper = Keeper::start(state.clone(), publisher, Vec::new(), false).expect("a keeper");
    let request = |value| serde_json::from_value::<leat_model::rest::CreateTargetGroup>(value).expect("a request");
    let attributes = serde_json::json!({"deregistration_delay.timeout_seconds": "1"});
    let group = serde_json::json!({"name": "a", "protocol": "TCP", "port": 80, "attributes": attributes});
    let name = || "a".to_owned();
    state.change(Command::CreateTargetGroup { request: request(group), id: Id(1) }).expect("good");
    state.change(Command::RegisterTargets { target_group: name(), targets: target("10.2.0.11") }).expect("good");
    state.change(Command::DeregisterTargets { target_group: name(), targets: target("10.2.0.11") }).expect("good");
    assert_eq!(state.model().targets().count(), 1, "it drains");
    while state.model().targets().count() > 0 {
        thread::sleep(Duration::from_millis(10));
    }
    drop(keeper);
}

//! The life of targets.

use super::*;
use crate::forward::Treatment;
use crate::health::Cause;
use crate::resource::Registration;

fn treatment(bench: &Bench, target: &str) -> Treatment {
    let slot = bench.slot("web", target);
    bench.model.treatments().find(|(target, _)| target.slot == slot).expect("the target").1
}

/// req: HC-11, HC-13, HC-14, TGT-12
#[test]
fn a_target_goes_from_initial_to_healthy_to_unhealthy() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Initial, "Elb.RegistrationInProgress".into()));
    bench.now = later(1000);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Initial, "Elb.InitialHealthChecking".into()));
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Healthy, String::new()));
    let slot = bench.slot("web", "10.2.0.11");
    bench.ok(Command::Health(vec![Report {
        slot,
        generation: 0,
        node: 0,
        change: Change::Health(Health::Unhealthy, Some(Cause::Refused)),
    }]));
    let shown = bench.model.show_health(bench.model.target(slot).expect("it"), bench.now);
    assert_eq!(shown.reason.as_deref(), Some("Target.FailedHealthChecks"));
    assert_eq!(shown.description.as_deref(), Some("Health checks failed: the target refused the connection"));
    // The result of a check that was made for an earlier holder of the number says nothing.
    let late =
        Command::Health(vec![Report { slot, generation: 1, node: 0, change: Change::Health(Health::Healthy, None) }]);
    assert!(bench.ok(late).changed.is_empty());
    bench.ok(Command::Health(vec![Report { slot, generation: 0, node: 0, change: Change::Unavailable(true) }]));
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unavailable, "Elb.InternalError".into()));
}

/// req: RT-05, HC-20, HC-21, TGH-01
#[test]
fn only_healthy_targets_are_selected_unless_there_are_none() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12", "10.2.0.13"]);
    assert_eq!(bench.selected("web").len(), 3, "none is healthy yet: all");
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    assert_eq!(bench.selected("web"), ["10.2.0.11"]);
    bench.set_health("web", "10.2.0.12", Health::Unhealthy);
    assert_eq!(treatment(&bench, "10.2.0.12"), Treatment::Unhealthy);
    assert_eq!(treatment(&bench, "10.2.0.13"), Treatment::Active, "initial");
    bench.set_health("web", "10.2.0.11", Health::Unhealthy);
    assert_eq!(bench.selected("web").len(), 3, "fail-open");
    assert_eq!(treatment(&bench, "10.2.0.12"), Treatment::Active, "no resets while failing open");
}

/// req: DRN-01, DRN-02, DRN-03, DRN-10, TGT-08
#[test]
fn a_deregistered_target_drains_and_is_gone() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    bench.ok(deregister("web", &["10.2.0.11"]));
    let draining = (TargetState::Draining, "Target.DeregistrationInProgress".to_owned());
    assert_eq!(bench.state("web", "10.2.0.11"), draining);
    assert_eq!(bench.selected("web"), ["10.2.0.12"]);
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Draining);
    assert!(bench.ok(deregister("web", &["10.2.0.11"])).changed.is_empty(), "the deadline stays");

    bench.now = later(299_999);
    assert!(bench.ok(Command::Expire).changed.is_empty());
    assert_eq!(bench.state("web", "10.2.0.11"), draining);
    assert_eq!(bench.model.next_expiry_ms(), Some(NOW.mono_ms + 300_000));
    bench.now = later(300_000);
    bench.ok(Command::Expire);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unused, "Target.NotRegistered".into()));
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Draining, "flows go on");
    assert_eq!(bench.model.next_expiry_ms(), None);
    let slot = bench.slot("web", "10.2.0.11");
    bench.ok(Command::FreeTargets(vec![(slot, vec![4])]));
    assert!(bench.model.target(slot).is_none());
    bench.ok(register("web", &["10.2.0.13"]));
    let target = bench.model.target(slot).expect("the number was free");
    assert_eq!((target.generation, bench.model.target_slots().since_taken(slot, 0, 10)), (1, 6));
}

/// req: DRN-09
#[test]
fn without_a_delay_a_target_is_gone_at_once() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.set_attribute("web", DELAY, "0");
    bench.ok(deregister("web", &["10.2.0.11"]));
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Unused);
    assert_eq!(bench.selected("web"), [""; 0]);
}

/// req: DRN-08 (the delay at the time of the deregistration counts)
#[test]
fn a_deadline_is_frozen() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.ok(deregister("web", &["10.2.0.11"]));
    bench.set_attribute("web", DELAY, "3600");
    assert_eq!(bench.model.next_expiry_ms(), Some(NOW.mono_ms + 300_000));
}

/// req: DRN-06, HC-31
#[test]
fn a_draining_target_is_still_checked() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.ok(deregister("web", &["10.2.0.11"]));
    assert_eq!(bench.model.check_plans().len(), 2);
    bench.set_health("web", "10.2.0.11", Health::Unhealthy);
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Unhealthy);
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Draining);
}

/// req: TGT-10, TGT-14
#[test]
fn registering_again_keeps_the_number() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    let before = bench.model.target(0).expect("it").clone();
    bench.ok(deregister("web", &["10.2.0.11"]));
    bench.ok(register("web", &["10.2.0.11"]));
    let after = bench.model.target(0).expect("it").clone();
    assert_eq!((after.slot, after.generation, after.health), (before.slot, before.generation, Health::Initial));
    assert!(after.initial_since_epoch > before.initial_since_epoch);
    // Also when it is gone, as long as flows may refer to it.
    bench.ok(deregister("web", &["10.2.0.11"]));
    bench.now = later(300_000);
    bench.ok(Command::Expire);
    bench.ok(register("web", &["10.2.0.11"]));
    assert_eq!(bench.model.target(0).expect("it").generation, before.generation);
    // A registered target is never freed, whatever the counters say.
    assert!(bench.ok(Command::FreeTargets(vec![(0, vec![])])).changed.is_empty());
    assert!(bench.ok(deregister("web", &["10.2.0.99"])).changed.is_empty(), "unknown targets are passed over");
}

/// req: GEN-06, TG-06, LSN-15
#[test]
fn one_address_may_serve_on_several_ports() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let other = vec![TargetSpec { id: "10.2.0.11".into(), port: Some(9090), zone: None }];
    bench.ok(Command::RegisterTargets { target_group: "web".into(), targets: other });
    let ports: Vec<u16> = bench.model.targets().map(|target| target.port).collect();
    assert_eq!(ports, [8080, 9090]);
    let plans: Vec<u16> = bench.model.check_plans().iter().map(|plan| plan.port).collect();
    assert_eq!(plans, [8080, 9090]);
}

/// req: HC-19, TG-13, HC-28
#[test]
fn only_groups_in_use_are_checked() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let plan = bench.model.check_plans().remove(0);
    assert_eq!((plan.source.to_string(), plan.interval_s, plan.timeout_s), ("10.1.0.10".to_owned(), 30, 10));
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 });
    assert_eq!(bench.model.check_plans(), []);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unused, "Target.NotInUse".into()));
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Active, "flows go on");
    let command = bench.listener("web", Protocol::Tcp, 80, "web");
    bench.ok(command);
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Initial);
    let command = bench.listener("web", Protocol::Tcp, 81, "web");
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    bench.ok(command);
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Healthy, "a second listener changes nothing");
}

/// req: TGT-13
#[test]
fn a_node_is_no_target() {
    let bench = Bench::serving(&["10.1.0.10", "10.2.0.11"]);
    assert_eq!(bench.state("web", "10.1.0.10"), (TargetState::Unused, "Target.IpUnusable".into()));
    assert_eq!(bench.selected("web"), ["10.2.0.11"]);
    assert_eq!(bench.model.check_plans().len(), 1);
}

fn reload(bench: &Bench, now: Now) -> Model {
    let records = bench.model.record_keys().into_iter();
    let records = records.map(|key| (key.to_string(), bench.model.record(&key).expect("a record")));
    Model::load(site(), Limits::default(), records, now).expect("what was stored can be read")
}

#[test]
fn a_restart_keeps_drains_and_health() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    bench.ok(deregister("web", &["10.2.0.11"]));
    let until = |model: &Model| match model.target(0).expect("it").registration {
        Registration::Draining { until_mono_ms, .. } => until_mono_ms,
        other => unreachable!("{other:?}"),
    };
    // 100 s later by the wall clock; the monotonic clock begins anew.
    let model = reload(&bench, Now { wall_ms: NOW.wall_ms + 100_000, mono_ms: 7 });
    assert_eq!(until(&model), 7 + 200_000);
    assert_eq!(model.target(1).expect("it").health, Health::Healthy);
    // The wall clock was set back by years, or forward: never more than the longest delay, never less than none.
    assert_eq!(until(&reload(&bench, Now { wall_ms: 0, mono_ms: 7 })), 7 + 3_600_000);
    assert_eq!(until(&reload(&bench, Now { wall_ms: u64::MAX, mono_ms: 7 })), 7);
}

#[test]
fn records_that_make_no_sense_are_refused() {
    use crate::model::{LoadError, RecordKey};
    let bench = Bench::serving(&["10.2.0.11"]);
    let load = |key: &str, value: Option<&str>| {
        let mut records: std::collections::BTreeMap<String, Vec<u8>> = Default::default();
        for key in bench.model.record_keys() {
            records.insert(key.to_string(), bench.model.record(&key).expect("a record"));
        }
        match value {
            Some(value) => records.insert(key.into(), value.into()),
            None => records.remove(key),
        };
        Model::load(site(), Limits::default(), records, NOW)
    };
    assert!(matches!(load("nonsense/1", Some("{}")), Err(LoadError::UnknownRecord(_))));
    assert!(matches!(load("target/65536", Some("{}")), Err(LoadError::UnknownRecord(_))));
    assert!(matches!(load("target/0", Some("{")), Err(LoadError::Unreadable { key: RecordKey::Target(0), .. })));
    assert_eq!(load("slots/targets", None), Err(LoadError::Inconsistent(RecordKey::Target(0))));
    let group = bench.model.target_groups().next().expect("a group").id;
    let listener = bench.model.listeners().next().expect("a listener");
    let broken = LoadError::Inconsistent(RecordKey::Listener(listener.load_balancer, 80));
    assert_eq!(load(&format!("target-group/{group}"), None), Err(broken));
}

/// req: TGH-01, TGH-03, TGH-04, TGH-06, TGH-13, TGH-15, TGH-17, S16.1, S16.2
#[test]
fn too_few_healthy_targets_are_joined_by_all_others() {
    let targets: Vec<String> = (1..=10).map(|n| format!("10.2.0.{n}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut bench = Bench::serving(&targets);
    targets[..5].iter().for_each(|target| bench.set_health("web", target, Health::Healthy));
    targets[5..].iter().for_each(|target| bench.set_health("web", target, Health::Unhealthy));
    let used = |bench: &Bench| (bench.selected("web").len(), treatment(bench, targets[9]));
    let (some, all) = ((5, Treatment::Unhealthy), (10, Treatment::Active));
    assert_eq!(used(&bench), some);
    bench.set_attribute("web", attributes::HEALTHY_PERCENTAGE, "50");
    assert_eq!(used(&bench), some, "exactly the share is enough");
    bench.set_attribute("web", attributes::HEALTHY_PERCENTAGE, "51");
    assert_eq!(used(&bench), all);
    bench.set_attribute("web", attributes::HEALTHY_PERCENTAGE, "off");
    bench.set_attribute("web", attributes::HEALTHY_COUNT, "6");
    assert_eq!(used(&bench), all, "either is enough");
    bench.set_attribute("web", attributes::HEALTHY_COUNT, "5");
    assert_eq!(used(&bench), some);
    // 5 of 8, then 4 of 7.
    bench.set_attribute("web", attributes::HEALTHY_COUNT, "1");
    bench.set_attribute("web", attributes::HEALTHY_PERCENTAGE, "57");
    assert_eq!(used(&bench), all);
    bench.ok(deregister("web", &targets[5..7]));
    assert_eq!(bench.selected("web").len(), 5);
    bench.ok(deregister("web", &targets[..1]));
    assert_eq!(bench.selected("web").len(), 4, "57.1 %");
    bench.set_attribute("web", attributes::HEALTHY_PERCENTAGE, "58");
    assert_eq!(bench.selected("web").len(), 7);
    assert_eq!(treatment(&bench, targets[5]), Treatment::Draining, "a draining one's flows go on as well");
}

const TERMINATION: &str = attributes::CONNECTION_TERMINATION;

/// req: DRN-05, DRN-08, ATT-02, S15.2, S15.3
#[test]
fn flows_end_with_the_delay_if_the_group_says_so() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_attribute("web", DELAY, "60");
    bench.ok(deregister("web", &["10.2.0.12"]));
    bench.set_attribute("web", TERMINATION, "true");
    bench.ok(deregister("web", &["10.2.0.11"]));
    bench.set_attribute("web", TERMINATION, "false");
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Draining);
    // A restart knows it too.
    bench.model = reload(&bench, NOW);
    bench.now = later(60_000);
    bench.ok(Command::Expire);
    assert_eq!(bench.state("web", "10.2.0.11"), (TargetState::Unused, "Target.NotRegistered".into()));
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Terminate);
    assert_eq!(treatment(&bench, "10.2.0.12"), Treatment::Draining, "deregistered before it was switched on");
    let slot = bench.slot("web", "10.2.0.11");
    bench.ok(register("web", &["10.2.0.11"]));
    assert_eq!((treatment(&bench, "10.2.0.11"), bench.slot("web", "10.2.0.11")), (Treatment::Active, slot));
    bench.set_attribute("web", TERMINATION, "true");
    bench.set_attribute("web", DELAY, "0");
    bench.ok(deregister("web", &["10.2.0.11"]));
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Terminate, "without a delay at once");
}

/// req: DRN-04, DRN-06, S15.5
#[test]
fn a_target_that_was_unhealthy_at_the_end_stays_so() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_health("web", "10.2.0.12", Health::Healthy);
    bench.set_health("web", "10.2.0.11", Health::Unhealthy);
    bench.ok(deregister("web", &["10.2.0.11"]));
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Unhealthy);
    bench.now = later(300_000);
    bench.ok(Command::Expire);
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Unhealthy);
    bench.set_health("web", "10.2.0.12", Health::Unhealthy);
    assert_eq!(treatment(&bench, "10.2.0.11"), Treatment::Draining, "the group is failing open");
}

#[test]
fn a_deleted_groups_targets_drain_to_their_end() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.set_attribute("web", TERMINATION, "true");
    bench.ok(deregister("web", &["10.2.0.11"]));
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 });
    bench.ok(Command::DeleteTargetGroup { target_group: "web".into() });
    let treatments = |bench: &Bench| bench.model.treatments().map(|(_, treatment)| treatment).collect::<Vec<_>>();
    assert_eq!(treatments(&bench), [Treatment::Draining; 2]);
    bench.model = reload(&bench, NOW);
    bench.now = later(300_000);
    bench.ok(Command::Expire);
    assert_eq!(treatments(&bench), [Treatment::Terminate, Treatment::Draining]);
    bench.ok(Command::FreeTargets(vec![(0, vec![]), (1, vec![])]));
    assert_eq!(bench.model.targets().count(), 0);
}

/// req: LSN-11, LSN-12, LSN-13, LB-16, S15.7
#[test]
fn flows_of_a_deleted_load_balancer_end_and_those_of_others_go_on() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    bench.ok(deregister("web", &["10.2.0.12"]));
    for command in [bench.load_balancer("second", "10.1.0.11"), bench.load_balancer("third", "10.1.0.12")] {
        bench.ok(command);
    }
    let treatments = |bench: &Bench| {
        let shown = |(target, treatment): (&crate::resource::Target, Treatment)| (target.slot, treatment);
        bench.model.treatments().map(shown).collect::<Vec<_>>()
    };
    // The group goes over to another load balancer: the flows of the first go on under the old number.
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 });
    let command = bench.listener("second", Protocol::Tcp, 80, "web");
    bench.ok(command);
    use Treatment::{Active, Draining, Withdrawn};
    assert_eq!(treatments(&bench), [(0, Draining), (1, Draining), (2, Active)]);
    assert_eq!(bench.slot("web", "10.2.0.11"), 2);
    assert_eq!(bench.model.targets_of(bench.model.find_target_group("web").expect("it").id).count(), 2);
    bench.model = reload(&bench, NOW);

    // The first load balancer is deleted: its flows end, the second one's do not. What drains is shown as draining.
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    assert_eq!(treatments(&bench), [(0, Withdrawn), (1, Withdrawn), (2, Active)]);
    assert_eq!(bench.state("web", "10.2.0.12").0, TargetState::Draining);
    bench.ok(Command::FreeTargets(vec![(0, vec![]), (1, vec![]), (2, vec![])]));
    assert_eq!(treatments(&bench), [(1, Draining), (2, Active)]);

    // So is the second. The target stays registered, and gets another number if it is needed before its flows are gone.
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "second".into() });
    assert_eq!(treatments(&bench), [(1, Draining), (2, Withdrawn)]);
    let mut patient = bench.clone();
    let command = bench.listener("third", Protocol::Tcp, 80, "web");
    bench.ok(command.clone());
    assert_eq!(treatments(&bench), [(0, Active), (1, Draining), (2, Withdrawn)]);
    patient.ok(Command::FreeTargets(vec![(2, vec![])]));
    patient.ok(command);
    assert_eq!(treatments(&patient), [(1, Draining), (2, Active)]);
    bench.ok(Command::FreeTargets(vec![(2, vec![])]));
    assert_eq!(treatments(&bench), [(0, Active), (1, Draining)]);
}

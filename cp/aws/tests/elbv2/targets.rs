//! The life of targets as clients and their waiters see it.

use leat_model::health::{Cause, Change, Health, Report};
use leat_model::{Command, Id};

use crate::bench::{Bench, Said, forward, group, lb, value};

const HEALTH: &str = "TargetHealthDescriptions.1.TargetHealth";

fn health(bench: &mut Bench, form: &str) -> Said {
    bench.call("DescribeTargetHealth", &format!("TargetGroupArn={} {form}", group("web", 2)))
}

fn state(bench: &mut Bench, form: &str) -> (String, String) {
    let said = health(bench, form).expect("health");
    let get =
        |key: &str| said.iter().find_map(|line| line.strip_prefix(&format!("{HEALTH}.{key}="))).unwrap_or("").into();
    (get("State"), get("Reason"))
}

fn register(bench: &mut Bench, targets: &str) -> Said {
    bench.call("RegisterTargets", &format!("TargetGroupArn={} {targets}", group("web", 2)))
}

fn deregister(bench: &mut Bench, targets: &str) -> Said {
    bench.call("DeregisterTargets", &format!("TargetGroupArn={} {targets}", group("web", 2)))
}

/// req: TGT-01, TGT-08, TGT-10, TGT-14
#[test]
fn targets_are_registered_told_and_deregistered() {
    let mut bench = Bench::checking();
    assert_eq!(health(&mut bench, ""), Ok(vec!["TargetHealthDescriptions[]".to_owned()]));
    assert_eq!(register(&mut bench, "Targets.1.Id=10.2.0.11 Targets.2.Id=10.2.0.12 Targets.2.Port=81"), Ok(vec![]));
    assert_eq!(register(&mut bench, "Targets.1.Id=10.2.0.11"), Ok(vec![]), "again");
    let said = health(&mut bench, "").expect("health");
    for (n, id, port) in [(1, "10.2.0.11", "8080"), (2, "10.2.0.12", "81")] {
        let at = format!("TargetHealthDescriptions.{n}");
        assert_eq!(value(&said, &format!("{at}.Target.Id")), id);
        assert_eq!(value(&said, &format!("{at}.Target.Port")), port);
        assert_eq!(value(&said, &format!("{at}.HealthCheckPort")), port);
        assert_eq!(value(&said, &format!("{at}.TargetHealth.State")), "initial");
        assert_eq!(value(&said, &format!("{at}.TargetHealth.Reason")), "Elb.RegistrationInProgress");
        assert!(!value(&said, &format!("{at}.TargetHealth.Description")).is_empty());
    }
    assert_eq!(health(&mut bench, "Include.1=All"), Ok(said));
    assert_eq!(deregister(&mut bench, "Targets.1.Id=10.2.0.11 Targets.2.Id=10.9.9.9"), Ok(vec![]));
    assert_eq!(
        state(&mut bench, "Targets.1.Id=10.2.0.11"),
        ("draining".into(), "Target.DeregistrationInProgress".into())
    );
    assert_eq!(register(&mut bench, "Targets.1.Id=10.2.0.11"), Ok(vec![]));
    assert_eq!(state(&mut bench, "Targets.1.Id=10.2.0.11").0, "initial");
}

/// What Terraform and the waiter `target-deregistered` ask for; the port is the group's unless another one is said.
///
/// req: TGT-17
#[test]
fn what_is_not_registered_is_unused() {
    let mut bench = Bench::checking();
    register(&mut bench, "Targets.1.Id=10.2.0.11 Targets.1.Port=81").expect("registered");
    let unused = ("unused".to_owned(), "Target.NotRegistered".to_owned());
    for form in ["Targets.1.Id=10.2.0.11", "Targets.1.Id=10.2.0.99 Targets.1.Port=81"] {
        assert_eq!(state(&mut bench, form), unused, "{form}");
    }
    assert_eq!(health(&mut bench, "Targets.1.Id=i-1").expect_err("no address").0.name(), "InvalidTarget");
    assert_eq!(state(&mut bench, "Targets.1.Id=10.2.0.11 Targets.1.Port=81").0, "initial");
    let said = health(&mut bench, "Targets.1.Id=10.2.0.11 Targets.2.Id=10.2.0.11 Targets.2.Port=81").expect("two");
    assert_eq!(value(&said, "TargetHealthDescriptions.1.Target.Port"), "8080");
    assert_eq!(value(&said, "TargetHealthDescriptions.2.TargetHealth.State"), "initial");
    // A target that is gone is told of only when it is asked for.
    bench.ok(
        "ModifyTargetGroupAttributes",
        &format!(
            "TargetGroupArn={} Attributes.1.Key=deregistration_delay.timeout_seconds Attributes.1.Value=0",
            group("web", 2)
        ),
    );
    deregister(&mut bench, "Targets.1.Id=10.2.0.11 Targets.1.Port=81").expect("deregistered");
    assert_eq!(state(&mut bench, "Targets.1.Id=10.2.0.11 Targets.1.Port=81"), unused);
    assert_eq!(health(&mut bench, ""), Ok(vec!["TargetHealthDescriptions[]".to_owned()]));
}

/// The waiters `load-balancer-available` and `target-in-service` end when the data plane has the load balancer and checks pass.
///
/// req: LB-01, HC-13, HC-14
#[test]
fn states_lead_waiters_to_their_end() {
    let mut bench = Bench::checking();
    register(&mut bench, "Targets.1.Id=10.2.0.11").expect("registered");
    let code =
        |bench: &mut Bench| value(&bench.ok("DescribeLoadBalancers", ""), "LoadBalancers.1.State.Code").to_owned();
    assert_eq!(code(&mut bench), "provisioning");
    let apply = |bench: &mut Bench, command| bench.model.apply(command, bench.now).map(|_| ()).expect("good");
    apply(&mut bench, Command::Activate(vec![Id(1)]));
    assert_eq!(code(&mut bench), "active");
    assert_eq!(state(&mut bench, "").0, "initial");
    let target = bench.model.targets().next().expect("it");
    let (slot, generation) = (target.slot, target.generation);
    let becomes = |bench: &mut Bench, health, cause| {
        apply(
            bench,
            Command::Health(vec![Report { slot, generation, node: 0, change: Change::Health(health, cause) }]),
        );
    };
    becomes(&mut bench, Health::Healthy, None);
    assert_eq!(state(&mut bench, ""), ("healthy".into(), String::new()));
    becomes(&mut bench, Health::Unhealthy, Some(Cause::Timeout));
    assert_eq!(state(&mut bench, ""), ("unhealthy".into(), "Target.FailedHealthChecks".into()));
}

/// req: LB-16, LB-18, TG-10
#[test]
fn what_is_deleted_is_gone_for_waiters_and_its_targets_stay() {
    let mut bench = Bench::serving();
    register(&mut bench, "Targets.1.Id=10.2.0.11").expect("registered");
    let (lb, group) = (format!("LoadBalancerArn={}", lb(1)), format!("TargetGroupArn={}", group("web", 2)));
    let (code, message) = bench.refused("DeleteTargetGroup", &group);
    assert_eq!(code.name(), "ResourceInUse", "{message}");
    // Terraform tries again when it reads this.
    assert!(message.contains("is currently in use by a listener or a rule"), "{message}");
    for _ in 0..2 {
        assert_eq!(bench.ok("DeleteLoadBalancer", &lb), Vec::<String>::new());
    }
    let (code, _) = bench.refused("DescribeLoadBalancers", &format!("LoadBalancerArns.1={}", crate::bench::lb(1)));
    assert_eq!(code.name(), "LoadBalancerNotFound");
    assert_eq!(bench.refused("DescribeListeners", &lb).0.name(), "LoadBalancerNotFound");
    assert_eq!(state(&mut bench, "Targets.1.Id=10.2.0.11"), ("unused".into(), "Target.NotInUse".into()));
    for _ in 0..2 {
        assert_eq!(bench.ok("DeleteTargetGroup", &group), Vec::<String>::new());
    }
    assert_eq!(bench.refused("DescribeTargetHealth", &group).0.name(), "TargetGroupNotFound");
    let form = format!("{lb} Protocol=TCP Port=80 {}", forward(2));
    assert_eq!(bench.refused("CreateListener", &form).0.name(), "LoadBalancerNotFound");
}

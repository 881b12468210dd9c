//! The states of targets with their reason codes and descriptions, as one table.

use super::*;
use crate::rest::InstanceState;

/// `web` in zone-a, with target 10.2.0.11 by address, in a group of `net-1`.
fn serving() -> Bench {
    let mut bench = Bench::with_inventory();
    for command in [
        bench.load_balancer("web", "10.1.0.10"),
        bench.special_group("web", |request| request.network = Some("net-1".into())),
        bench.listener("web", Protocol::Tcp, 80, "web"),
        register("web", &["10.2.0.11"]),
    ] {
        bench.ok(command);
    }
    bench
}

/// The same with instance `i-1`, which is in this state; none: it is not in the inventory any more.
fn instance(state: Option<InstanceState>) -> Bench {
    let mut bench = Bench::with_inventory();
    for command in [
        bench.load_balancer("web", "10.1.0.10"),
        bench.instance_group("web", &[]),
        bench.listener("web", Protocol::Tcp, 80, "web"),
        register("web", &["i-1"]),
    ] {
        bench.ok(command);
    }
    bench.change_inventory(|inventory| match state {
        Some(state) => inventory.instances.get_mut("i-1").expect("it").state = state,
        None => drop(inventory.instances.remove("i-1")),
    });
    bench
}

/// What is told of the target that is asked for, registered or not.
fn told(bench: &Bench, id: &str) -> (&'static str, String, String) {
    let group = bench.model.find_target_group("web").expect("it");
    let shown = bench.model.show_targets(group, Some(&specs(&[id])), bench.now, |_| rest::TargetFlows::default());
    let health = shown.expect("a target").remove(0).health;
    let states = ["initial", "healthy", "unhealthy", "unused", "draining", "unavailable"];
    let state = states.into_iter().find(|state| *state == health.state.to_string()).expect("a state");
    (state, health.reason.unwrap_or_default(), health.description.unwrap_or_default())
}

fn after(mut bench: Bench, change: impl FnOnce(&mut Bench)) -> Bench {
    change(&mut bench);
    bench
}

/// Every state but `healthy` has a code and a text, those of the reference.
///
/// req: HC-13, HC-14
#[test]
fn every_state_has_its_reason() {
    const IP: &str = "10.2.0.11";
    let healthy = |health| after(serving(), |bench| bench.set_health("web", IP, health));
    let zoned = |id: &str, zone: &str| {
        let spec = TargetSpec { id: id.into(), port: None, zone: Some(zone.into()) };
        after(serving(), |bench| {
            drop(bench.ok(Command::RegisterTargets { target_group: "web".into(), targets: vec![spec] }));
        })
    };
    let unused = after(serving(), |bench| {
        drop(bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 }));
    });
    let failing = after(serving(), |bench| {
        let change = Change::Unavailable(true);
        drop(bench.ok(Command::Health(vec![Report { slot: 0, generation: 0, node: 0, change }])));
    });
    let draining = after(healthy(Health::Healthy), |bench| drop(bench.ok(deregister("web", &[IP]))));
    let not_in_use = "Target group is not configured to receive traffic from the load balancer";
    let zone = "Target is in an Availability Zone that is not enabled for the load balancer";
    let node = "The IP address cannot be used as a target, as it is in use by a load balancer";
    for (bench, id, state, reason, description) in [
        (serving(), IP, "initial", "Elb.RegistrationInProgress", "Target registration is in progress"),
        (
            after(serving(), |bench| bench.now = later(1000)),
            IP,
            "initial",
            "Elb.InitialHealthChecking",
            "Initial health checks in progress",
        ),
        (healthy(Health::Healthy), IP, "healthy", "", ""),
        (healthy(Health::Unhealthy), IP, "unhealthy", "Target.FailedHealthChecks", "Health checks failed"),
        (serving(), "10.2.0.99", "unused", "Target.NotRegistered", "Target is not registered to the target group"),
        (unused, IP, "unused", "Target.NotInUse", not_in_use),
        (zoned("10.3.0.12", "zone-b"), "10.3.0.12", "unused", "Target.NotInUse", zone),
        (zoned("10.1.0.10", "all"), "10.1.0.10", "unused", "Target.IpUnusable", node),
        (
            instance(Some(InstanceState::Stopped)),
            "i-1",
            "unused",
            "Target.InvalidState",
            "Target is in the stopped state",
        ),
        (
            instance(Some(InstanceState::Terminated)),
            "i-1",
            "unused",
            "Target.InvalidState",
            "Target is in the terminated state",
        ),
        (
            instance(Some(InstanceState::ShuttingDown)),
            "i-1",
            "unused",
            "Target.InvalidState",
            "Target is in an invalid state",
        ),
        (instance(None), "i-1", "unused", "Target.InvalidState", "Target is in the terminated or stopped state"),
        (draining, IP, "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"),
        (failing, IP, "unavailable", "Elb.InternalError", "Health checks failed due to an internal error"),
    ] {
        assert_eq!(told(&bench, id), (state, reason.to_owned(), description.to_owned()));
    }
}

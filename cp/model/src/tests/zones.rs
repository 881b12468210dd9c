//! Several zones: which targets a node uses, when a zone leaves DNS, whose connections are reset.

use super::*;
use crate::attributes::{CROSS_ZONE, DNS_COUNT, DNS_PERCENTAGE, HEALTHY_COUNT, HEALTHY_PERCENTAGE};
use crate::forward::Treatment;
use crate::health::Cause;
use crate::shift::Change as Shift;
use crate::zones::Out;
use Health::{Healthy, Initial, Unhealthy};

mod random;

const A: u8 = 0;
const B: u8 = 1;

/// The n-th target of a zone, from 1.
fn target(zone: u8, n: usize) -> String {
    format!("10.{}.0.{n}", 8 + zone)
}

fn zone_name(zone: u8) -> &'static str {
    ["zone-a", "zone-b", "zone-c"][usize::from(zone)]
}

fn in_zone(group: &str, id: &str, zone: &str) -> Command {
    let targets = vec![TargetSpec { id: id.into(), port: None, zone: Some(zone.into()) }];
    Command::RegisterTargets { target_group: group.into(), targets }
}

/// Load balancer `web` with a node in each of `nodes` zones, each on a port of its own, and group `web` on port 80 with so many
/// targets in each zone, none of which was checked yet.
fn bench(nodes: u8, targets: &[usize]) -> Bench {
    let mut bench = Bench::new();
    let subnet = |n: u8| (format!("p{n}"), format!("10.1.{n}.2/24").parse().expect("a net"));
    let site = Site { subnets: (0..nodes).map(subnet).collect(), ..site() };
    bench.model = Model::new(site, Limits::default(), [1, 2]);
    let node = |n: u8| node(zone_name(n), &format!("10.1.{n}.10"), None);
    let request = load_balancer("web", (0..nodes).map(node).collect());
    let id = bench.id();
    bench.ok(Command::CreateLoadBalancer { request, id });
    bench.add_group("web", 80, targets);
    bench
}

impl Bench {
    fn add_group(&mut self, name: &str, port: i64, targets: &[usize]) {
        for command in [self.group(name, Protocol::Tcp), self.listener("web", Protocol::Tcp, port, name)] {
            self.ok(command);
        }
        for (zone, count) in (0..).zip(targets) {
            for n in 1..=*count {
                self.ok(in_zone(name, &target(zone, n), zone_name(zone)));
            }
        }
    }

    /// The first `healthy` of a zone's `all` targets are healthy, the others are not.
    fn check(&mut self, group: &str, zone: u8, healthy: usize, all: usize) {
        for n in 1..=all {
            self.set_health(group, &target(zone, n), if n <= healthy { Healthy } else { Unhealthy });
        }
    }

    /// What one node finds out.
    fn report(&mut self, target: &str, node: u8, health: Health) {
        let slot = self.slot("web", target);
        let generation = self.model.target(slot).expect("it").generation;
        let cause = (health == Unhealthy).then_some(Cause::Timeout);
        self.ok(Command::Health(vec![Report { slot, generation, node, change: Change::Health(health, cause) }]));
    }

    /// Across zones: by the load balancer's attribute.
    fn set_cross_zone(&mut self, value: &str) {
        let attributes = [(CROSS_ZONE.to_owned(), value.to_owned())].into();
        self.ok(Command::ModifyLoadBalancerAttributes { load_balancer: "web".into(), attributes });
    }

    /// How many targets of each zone have new flows of a node.
    fn used(&self, group: &str, node: u8) -> (usize, usize) {
        let group = self.model.find_target_group(group).expect("it").id;
        let candidates = self.model.candidates(group, node);
        let of = |zone: u8| {
            candidates.iter().filter(move |c| c.address.to_string().starts_with(&format!("10.{}.", 8 + zone)))
        };
        (of(A).count(), of(B).count())
    }

    /// The zones whose addresses DNS names.
    fn dns(&self) -> Vec<&str> {
        let lb = self.model.find_load_balancer("web").expect("it");
        self.model.nodes_in_dns(lb).into_iter().map(|node| node.zone.as_str()).collect()
    }

    fn out(&self) -> Vec<Option<Out>> {
        self.model.zones_of(self.model.find_load_balancer("web").expect("it")).map(|zone| zone.out).collect()
    }

    fn fate(&self, target: &str) -> Treatment {
        let slot = self.slot("web", target);
        self.model.treatments().find(|(target, _)| target.slot == slot).expect("it").1
    }

    fn health_of(&self, target: &str) -> Health {
        self.model.target(self.slot("web", target)).expect("it").health
    }

    fn ports_down(&mut self, ports: &[&str]) {
        self.ok(Command::PortsDown(ports.iter().map(|port| (*port).to_owned()).collect()));
    }

    fn shift(&mut self, zone: &str) {
        let request = rest::StartZonalShift {
            load_balancer: "web".into(),
            away_from: zone.into(),
            expires_in: "1m".into(),
            comment: String::new(),
        };
        self.ok(Command::Shift(Shift::Start { request, id: "shift".into() }));
    }
}

/// 10 targets in each of two zones, both thresholds at half, 6 fail in zone b. The guide's example, cross-zone off.
///
/// req: TGH-02, TGH-03, TGH-07, TGH-11, XZ-01, HC-22, RT-05
#[test]
fn the_guides_example_without_cross_zone() {
    let mut bench = bench(2, &[10, 10]);
    bench.set_attribute("web", DNS_PERCENTAGE, "50");
    bench.set_attribute("web", HEALTHY_PERCENTAGE, "50");
    bench.check("web", A, 10, 10);
    bench.check("web", B, 5, 10);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((10, 0), (0, 5)), "half is not too few");
    assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
    bench.check("web", B, 4, 10);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((10, 0), (0, 10)));
    assert_eq!(bench.dns(), ["zone-a"]);
    let at_a = Treatment::UnhealthyAt(0b01);
    assert_eq!(bench.fate(&target(B, 10)), at_a, "its connections by node b go on: it has new ones");
    bench.check("web", B, 5, 10);
    assert_eq!((bench.used("web", B), bench.dns()), ((0, 5), vec!["zone-a", "zone-b"]));
    assert_eq!(bench.fate(&target(B, 10)), Treatment::Unhealthy);
}

/// The same with cross-zone on: 14 of 20 are enough, and both nodes use them.
///
/// req: TGH-07, TGH-12, TGH-13, XZ-02, HC-18
#[test]
fn the_guides_example_with_cross_zone() {
    let mut bench = bench(2, &[10, 10]);
    bench.set_cross_zone("true");
    bench.set_attribute("web", DNS_PERCENTAGE, "50");
    bench.set_attribute("web", HEALTHY_PERCENTAGE, "50");
    bench.check("web", A, 10, 10);
    bench.check("web", B, 4, 10);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((10, 4), (10, 4)));
    assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
    bench.check("web", A, 6, 10);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((6, 4), (6, 4)), "10 of 20 are not too few");
    bench.check("web", A, 5, 10);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((10, 10), (10, 10)));
    assert_eq!(bench.out().iter().filter(|out| out.is_some()).count(), 2);
    assert_eq!(bench.dns(), ["zone-a", "zone-b"], "all zones rather than none");
}

/// Each of the four thresholds alone, just met and just not, and whichever is breached first.
///
/// req: TGH-01, TGH-02, TGH-03, TGH-04, TGH-13, TGH-16, TGH-17
#[test]
fn each_threshold_acts_alone_and_either_is_enough() {
    // Healthy, registered, which of the thresholds are set; whether all are used, whether the zone leaves DNS.
    type Case<'c> = (usize, usize, &'c [(&'c str, &'c str)], bool, bool);
    let cases: &[Case<'_>] = &[
        (1, 10, &[], false, false),
        (0, 10, &[], true, true),
        (3, 10, &[(DNS_COUNT, "3")], false, false),
        (3, 10, &[(DNS_COUNT, "4")], false, true),
        (3, 10, &[(DNS_COUNT, "3"), (HEALTHY_COUNT, "3")], false, false),
        (3, 10, &[(DNS_COUNT, "4"), (HEALTHY_COUNT, "4")], true, true),
        (3, 10, &[(DNS_PERCENTAGE, "30")], false, false),
        (3, 10, &[(DNS_PERCENTAGE, "31")], false, true),
        (3, 10, &[(DNS_PERCENTAGE, "50"), (HEALTHY_PERCENTAGE, "30")], false, true),
        (3, 10, &[(DNS_PERCENTAGE, "31"), (HEALTHY_PERCENTAGE, "31")], true, true),
        // A third is more than 33 %, less than 34 %.
        (1, 3, &[(DNS_PERCENTAGE, "33"), (HEALTHY_PERCENTAGE, "33")], false, false),
        (1, 3, &[(DNS_PERCENTAGE, "34"), (HEALTHY_PERCENTAGE, "33")], false, true),
        (1, 3, &[(DNS_PERCENTAGE, "34"), (HEALTHY_PERCENTAGE, "34")], true, true),
        // The number is met, the share is not; and the other way round.
        (4, 10, &[(DNS_COUNT, "1"), (DNS_PERCENTAGE, "50")], false, true),
        (4, 10, &[(DNS_COUNT, "5"), (DNS_PERCENTAGE, "40")], false, true),
        (4, 10, &[(DNS_COUNT, "1"), (DNS_PERCENTAGE, "50"), (HEALTHY_PERCENTAGE, "50")], true, true),
        (
            4,
            10,
            &[(DNS_COUNT, "5"), (HEALTHY_COUNT, "5"), (HEALTHY_PERCENTAGE, "40"), (DNS_PERCENTAGE, "40")],
            true,
            true,
        ),
        (
            4,
            10,
            &[(DNS_COUNT, "4"), (HEALTHY_COUNT, "4"), (HEALTHY_PERCENTAGE, "40"), (DNS_PERCENTAGE, "40")],
            false,
            false,
        ),
        (10, 10, &[(DNS_PERCENTAGE, "100"), (HEALTHY_PERCENTAGE, "100")], false, false),
        (9, 10, &[(DNS_PERCENTAGE, "100"), (HEALTHY_PERCENTAGE, "100")], true, true),
        // More than there are.
        (2, 2, &[(DNS_COUNT, "3")], false, true),
    ];
    for (healthy, all, thresholds, uses_all, leaves) in cases {
        let mut bench = bench(2, &[1, *all]);
        let attributes = thresholds.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        bench.ok(Command::ModifyAttributes { target_group: "web".into(), attributes });
        bench.check("web", B, *healthy, *all);
        let case = format!("{healthy} of {all}: {thresholds:?}");
        let used = bench.used("web", B).1;
        assert_eq!(used, if *uses_all { *all } else { *healthy }, "{case}");
        assert_eq!(bench.out()[usize::from(B)].is_some(), *leaves, "{case}");
    }
}

/// req: TGH-06, TGH-15
#[test]
fn shares_are_of_those_registered_now() {
    let mut bench = bench(2, &[2, 10]);
    bench.set_attribute("web", DNS_PERCENTAGE, "50");
    bench.set_attribute("web", HEALTHY_PERCENTAGE, "50");
    bench.check("web", A, 2, 2);
    bench.check("web", B, 5, 10);
    assert_eq!(bench.dns().len(), 2);
    bench.ok(in_zone("web", &target(B, 11), "zone-b"));
    assert_eq!((bench.dns(), bench.used("web", B)), (vec!["zone-a"], (0, 11)), "5 of 11: one is not checked yet");
    bench.ok(deregister("web", &[&target(B, 11)]));
    bench.ok(deregister("web", &[&target(B, 9), &target(B, 10)]));
    assert_eq!(bench.dns().len(), 2, "5 of 8");
    bench.ok(deregister("web", &[&target(B, 1)]));
    assert_eq!((bench.dns().len(), bench.used("web", B)), (2, (0, 4)), "4 of 7");
    bench.ok(deregister("web", &[&target(B, 2)]));
    assert_eq!((bench.dns().len(), bench.used("web", B)), (2, (0, 3)), "3 of 6");
    bench.ok(deregister("web", &[&target(B, 3)]));
    assert_eq!((bench.dns(), bench.used("web", B)), (vec!["zone-a"], (0, 5)), "2 of 5; what drains is not used");
}

/// req: TGH-09, TGH-10, HC-22
#[test]
fn a_zone_serves_with_all_groups_or_not_at_all() {
    let mut bench = bench(2, &[2, 2]);
    bench.add_group("other", 81, &[2, 2]);
    for group in ["web", "other"] {
        bench.check(group, A, 2, 2);
        bench.check(group, B, 2, 2);
    }
    assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
    bench.check("other", B, 0, 2);
    let other = bench.model.find_target_group("other").expect("it").id;
    assert_eq!(bench.out(), [None, Some(Out::Group(other))]);
    assert_eq!(bench.dns(), ["zone-a"]);
    assert_eq!(bench.used("web", B), (0, 2), "the other group is as it was");
    bench.check("web", A, 0, 2);
    assert_eq!(bench.dns(), ["zone-a", "zone-b"], "no zone is left: all");
    // A group that no listener forwards to has no say.
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 81 });
    assert_eq!(bench.dns(), ["zone-b"]);
}

/// req: TGH-18, XZ-06, RT-10
#[test]
fn a_zone_without_targets_is_out_unless_other_zones_have_some() {
    let mut bench = bench(2, &[2, 0]);
    bench.check("web", A, 2, 2);
    assert_eq!((bench.dns(), bench.used("web", B)), (vec!["zone-a"], (0, 0)));
    bench.set_cross_zone("true");
    assert_eq!((bench.dns(), bench.used("web", B)), (vec!["zone-a", "zone-b"], (2, 0)));
}

/// All targets in all zones fail: all of each node's get its traffic, and nothing is reset.
///
/// req: HC-20, HC-21, TGH-10, TRB-05
#[test]
fn when_all_fail_all_are_used() {
    for (cross_zone, at_a, at_b) in [("false", (3, 0), (0, 2)), ("true", (3, 2), (3, 2))] {
        let mut bench = bench(2, &[3, 2]);
        bench.set_cross_zone(cross_zone);
        bench.check("web", A, 0, 3);
        bench.check("web", B, 0, 2);
        assert_eq!((bench.used("web", A), bench.used("web", B)), (at_a, at_b));
        assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
        assert_eq!(bench.fate(&target(A, 1)), Treatment::Active);
        assert_eq!(bench.fate(&target(B, 1)), Treatment::Active);
    }
}

/// The group's word counts, and the load balancer's if it has none.
///
/// req: XZ-01, XZ-02, XZ-03, XZ-04, ZN-12
#[test]
fn either_attribute_says_whether_zones_are_crossed() {
    for (balancer, group, crossed) in [
        ("false", "use_load_balancer_configuration", false),
        ("false", "false", false),
        ("false", "true", true),
        ("true", "use_load_balancer_configuration", true),
        ("true", "false", false),
        ("true", "true", true),
    ] {
        let mut bench = bench(2, &[3, 2]);
        bench.check("web", A, 3, 3);
        bench.check("web", B, 2, 2);
        bench.set_cross_zone(balancer);
        bench.set_attribute("web", CROSS_ZONE, group);
        let (at_a, at_b) = if crossed { ((3, 2), (3, 2)) } else { ((3, 0), (0, 2)) };
        assert_eq!((bench.used("web", A), bench.used("web", B)), (at_a, at_b), "{balancer} {group}");
        let checks = bench.model.check_plans().len();
        assert_eq!(checks, if crossed { 10 } else { 5 }, "each node checks what it uses");
    }
}

/// Targets of zone `all`, or of an unknown one, are every node's; those of a zone without a node are nobody's until it is enabled.
///
/// req: XZ-07, ZN-12, ZN-13
#[test]
fn targets_of_all_zones_and_of_none() {
    let mut bench = bench(2, &[1, 1, 1]);
    bench.ok(in_zone("web", "10.8.1.1", "all"));
    bench.ok(register("web", &["10.8.1.2"]));
    for id in ["10.8.0.1", "10.9.0.1", "10.8.1.1", "10.8.1.2"] {
        bench.set_health("web", id, Healthy);
    }
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((3, 0), (2, 1)));
    assert_eq!(bench.state("web", "10.10.0.1"), (TargetState::Unused, "Target.NotInUse".into()));
    bench.set_cross_zone("true");
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((3, 1), (3, 1)));
    assert_eq!(bench.state("web", "10.10.0.1").0, TargetState::Unused, "zone c is not enabled");
    bench.set_cross_zone("false");

    bench.ports_down(&[]);
    let node = rest::NodeChange { zone: "zone-c".into(), address: Some("10.1.0.30".into()), ..Default::default() };
    let request = rest::ModifyLoadBalancer { nodes: vec![node], ..Default::default() };
    bench.ok(Command::ModifyLoadBalancer { load_balancer: "web".into(), request });
    assert_eq!(bench.state("web", "10.10.0.1").0, TargetState::Initial, "it is checked from now on");
    let of_c: Vec<_> = bench.model.check_plans().into_iter().filter(|plan| plan.node == 2).collect();
    assert_eq!(of_c.len(), 3, "its own, and those of all zones");
    bench.set_health("web", "10.10.0.1", Healthy);
    let group = bench.model.find_target_group("web").expect("it").id;
    let used = bench.model.candidates(group, 2);
    let mut used: Vec<_> = used.iter().map(|c| c.address.to_string()).collect();
    used.sort();
    assert_eq!(used, ["10.10.0.1", "10.8.1.1", "10.8.1.2"]);
}

/// Each node goes by what it found itself; what is shown is what most of them found.
///
/// req: HC-15, HC-18, TRB-03, S16.5
#[test]
fn nodes_go_by_their_own_checks_and_agree_on_what_is_shown() {
    let mut bench = bench(3, &[2, 1, 1]);
    bench.set_cross_zone("true");
    bench.check("web", A, 2, 2);
    bench.check("web", B, 1, 1);
    bench.set_health("web", &target(2, 1), Healthy);
    let it = target(A, 1);
    bench.report(&it, 1, Unhealthy);
    assert_eq!(bench.health_of(&it), Healthy, "two of three");
    assert_eq!([0, 1, 2].map(|node| bench.used("web", node).0), [2, 1, 2]);
    assert_eq!(bench.fate(&it), Treatment::UnhealthyAt(0b010));
    bench.report(&it, 2, Unhealthy);
    assert_eq!(bench.health_of(&it), Unhealthy);
    assert_eq!([0, 1, 2].map(|node| bench.used("web", node).0), [2, 1, 1], "node 0 goes by its own checks");
    assert_eq!(bench.fate(&it), Treatment::UnhealthyAt(0b110));
    bench.report(&it, 0, Unhealthy);
    assert_eq!(bench.fate(&it), Treatment::Unhealthy);
    // With cross-zone off only its own node has a say.
    bench.report(&it, 0, Healthy);
    assert_eq!(bench.health_of(&it), Unhealthy);
    bench.set_cross_zone("false");
    assert_eq!((bench.health_of(&it), bench.fate(&it)), (Healthy, Treatment::Active));
    bench.set_cross_zone("true");
    assert_eq!([0, 1, 2].map(|node| bench.used("web", node).0), [2, 2, 2], "what the others found is forgotten");
}

/// As many say so as say otherwise: the worse counts.
///
/// req: HC-15, S16.5
#[test]
fn between_two_nodes_the_worse_verdict_is_shown() {
    let mut bench = bench(2, &[1, 1]);
    bench.set_cross_zone("true");
    let it = target(A, 1);
    bench.report(&it, 0, Healthy);
    assert_eq!(bench.health_of(&it), Healthy, "the other has found nothing yet");
    bench.report(&it, 1, Unhealthy);
    assert_eq!(bench.health_of(&it), Unhealthy);
    bench.report(&it, 1, Healthy);
    assert_eq!(bench.health_of(&it), Healthy);
    assert_eq!(bench.model.target(bench.slot("web", &it)).expect("it").health_at(1), Healthy);
    bench.ok(deregister("web", &[&it]));
    bench.ok(register("web", &[&it]));
    assert_eq!(bench.health_of(&it), Initial);
}

/// A target that all nodes use fails; in one zone it is among too few, in the other enough are left. Only the latter's connections
/// to it are reset.
///
/// req: HC-20, TGH-03, S16.1
#[test]
fn connections_are_reset_by_the_nodes_that_do_not_fail_open() {
    let mut bench = bench(2, &[3, 0]);
    bench.ok(in_zone("web", "10.8.1.1", "all"));
    bench.check("web", A, 3, 3);
    bench.set_health("web", "10.8.1.1", Unhealthy);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((3, 0), (1, 0)));
    assert_eq!(bench.fate("10.8.1.1"), Treatment::UnhealthyAt(0b01));
    bench.check("web", A, 0, 3);
    assert_eq!(bench.fate("10.8.1.1"), Treatment::Active, "both fail open");
    bench.check("web", A, 3, 3);
    bench.set_attribute("web", attributes::UNHEALTHY_TERMINATION, "false");
    assert_eq!(bench.fate("10.8.1.1"), Treatment::Active, "the group does not want resets");
}

/// req: TGH-14, ZS-12, TGH-10
#[test]
fn a_zone_whose_port_has_no_link_is_out() {
    let mut bench = bench(2, &[1, 1]);
    bench.check("web", A, 1, 1);
    bench.check("web", B, 1, 1);
    bench.ports_down(&["p1"]);
    assert_eq!((bench.out(), bench.dns()), (vec![None, Some(Out::Port("p1".into()))], vec!["zone-a"]));
    assert_eq!(bench.used("web", A), (1, 0));
    bench.set_cross_zone("true");
    assert_eq!(bench.dns(), ["zone-a"], "whatever the targets are");
    bench.ports_down(&["p0", "p1"]);
    assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
    bench.ports_down(&[]);
    assert_eq!(bench.out(), [None, None]);
}

/// The zone leaves DNS and nothing else happens: its node goes on with what it has, and takes new connections.
///
/// req: ZS-01, ZS-06, ZS-07, ZS-08, ZS-11, TGH-10
#[test]
fn a_zonal_shift_takes_a_zone_out_of_dns_unless_none_would_be_left() {
    let mut bench = bench(2, &[1, 1]);
    bench.check("web", A, 1, 1);
    bench.check("web", B, 1, 1);
    bench.shift("zone-a");
    assert_eq!((bench.out(), bench.dns()), (vec![Some(Out::Shifted), None], vec!["zone-b"]));
    assert_eq!(bench.used("web", A), (1, 0));
    assert_eq!(bench.fate(&target(A, 1)), Treatment::Active);
    bench.check("web", B, 0, 1);
    assert_eq!(bench.dns(), ["zone-a", "zone-b"], "b is unhealthy and a is shifted: both");
    bench.check("web", B, 1, 1);
    assert_eq!(bench.dns(), ["zone-b"]);
    bench.now = later(60_000);
    bench.ok(Command::Expire);
    assert_eq!(bench.dns(), ["zone-a", "zone-b"]);
    bench.check("web", A, 0, 1);
    assert_eq!(bench.dns(), ["zone-b"]);
}

/// While it lasts it may not become one of all zones; see `shifts.rs`. A zone that is shifted and has no link has one reason.
///
/// req: ZS-12
#[test]
fn a_shifted_zone_without_a_link_is_out_for_its_link() {
    let mut bench = bench(2, &[1, 1]);
    bench.check("web", B, 1, 1);
    bench.shift("zone-a");
    bench.ports_down(&["p0"]);
    assert_eq!(bench.out()[0], Some(Out::Port("p0".into())));
    bench.ok(Command::Shift(Shift::Cancel { id: "shift".into() }));
    assert_eq!(bench.dns(), ["zone-b"]);
}

/// req: HC-17
#[test]
fn a_suspect_has_no_new_flows_while_others_are_left() {
    let mut bench = bench(2, &[2, 1]);
    bench.check("web", A, 2, 2);
    bench.check("web", B, 1, 1);
    let suspect = |bench: &mut Bench, id: &str, is: bool| {
        let slot = bench.slot("web", id);
        bench.ok(Command::Suspect(vec![(slot, 0, is)]));
    };
    suspect(&mut bench, &target(A, 1), true);
    suspect(&mut bench, &target(B, 1), true);
    assert_eq!((bench.used("web", A), bench.used("web", B)), ((1, 0), (0, 1)), "b has no other");
    suspect(&mut bench, &target(A, 2), true);
    assert_eq!(bench.used("web", A), (2, 0), "all are");
    assert_eq!(bench.dns().len(), 2);
    assert_eq!(bench.state("web", &target(A, 1)).0, TargetState::Healthy);
}

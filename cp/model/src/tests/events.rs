//! What operators are told.

use std::collections::{BTreeMap, BTreeSet};

use super::random::{Step, prepared, run, step};
use super::*;
use crate::events::between;
use crate::forward::Mode;
use crate::model::RecordKey;
use crate::rest::{EventType, Transition};
use crate::shift;
use proptest::prelude::*;

/// A command, and what is told of it: `type target-or-zone-or-name: from > to (reason)`.
fn told(bench: &mut Bench, command: Command) -> Vec<String> {
    let old = bench.model.clone();
    let effects = bench.ok(command);
    between(&old, &bench.model, &effects.changed, bench.now).iter().map(line).collect()
}

fn line(event: &Transition) -> String {
    let kind = EventType::ALL.iter().find(|(_, kind)| *kind == event.kind).expect("a type").0;
    let subject = [&event.load_balancer, &event.target_group, &event.target, &event.zone, &event.port];
    let subject: Vec<&str> = subject.into_iter().flatten().map(String::as_str).collect();
    let reason = event.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{kind} {}: {} > {}{reason}", subject.join(" "), event.from.as_deref().unwrap_or("-"), event.to)
}

fn health(bench: &Bench, target: &str, health: Health) -> Command {
    let target = bench.model.target(bench.slot("web", target)).expect("it");
    let (slot, generation) = (target.slot, target.generation);
    Command::Health(vec![Report { slot, generation, node: 0, change: Change::Health(health, None) }])
}

/// Each step of a target's life, and what it means for its zone, is told once, with the codes of `DescribeTargetHealth`.
///
/// req: HC-29, DRN-01, DRN-02
#[test]
fn a_target_s_life_is_told() {
    let mut bench = Bench::serving(&[]);
    let told_of = |bench: &mut Bench, command, expected: &[&str]| assert_eq!(told(bench, command), expected);
    told_of(
        &mut bench,
        register("web", &["10.2.0.11"]),
        &[
            "target web web 10.2.0.11:8080 zone-a: unused > initial (Elb.RegistrationInProgress)",
            "fail-open web web zone-a: off > on",
        ],
    );
    bench.now = later(5000);
    let healthy = health(&bench, "10.2.0.11", Health::Healthy);
    told_of(
        &mut bench,
        healthy.clone(),
        &[
            "target web web 10.2.0.11:8080 zone-a: initial > healthy",
            "fail-open web web zone-a: on > off",
            "zone web zone-a: out-of-service > in-service",
        ],
    );
    told_of(&mut bench, healthy, &[]);
    let unhealthy = health(&bench, "10.2.0.11", Health::Unhealthy);
    told_of(
        &mut bench,
        unhealthy,
        &[
            "target web web 10.2.0.11:8080 zone-a: healthy > unhealthy (Target.FailedHealthChecks)",
            "fail-open web web zone-a: off > on",
            "zone web zone-a: in-service > out-of-service (Zone.TooFewHealthyTargets)",
        ],
    );
    told_of(
        &mut bench,
        deregister("web", &["10.2.0.11"]),
        &[
            "target web web 10.2.0.11:8080 zone-a: unhealthy > draining (Target.DeregistrationInProgress)",
            "fail-open web web zone-a: on > off",
        ],
    );
    bench.now = later(5000 + 300_000);
    told_of(
        &mut bench,
        Command::Expire,
        &["target web web 10.2.0.11:8080 zone-a: draining > unused (Target.NotRegistered)"],
    );
    let slot = bench.slot("web", "10.2.0.11");
    told_of(&mut bench, Command::FreeTargets(vec![(slot, vec![])]), &[]);
}

/// What makes targets of a group another state without touching one of them is told of each.
///
/// req: HC-29
#[test]
fn what_all_targets_depend_on_is_told_of_each() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.2.0.12"]);
    let each = |what: &str| ["11", "12"].map(|last| format!("target web web 10.2.0.{last}:8080 zone-a: {what}"));
    let internal = each("initial > unavailable (Elb.InternalError)");
    assert_eq!(told(&mut bench, Command::ChecksStopped(true)), internal);
    let initial = each("unavailable > initial (Elb.RegistrationInProgress)");
    assert_eq!(told(&mut bench, Command::ChecksStopped(false)), initial);
    let delete = Command::DeleteListener { load_balancer: "web".into(), port: 80 };
    let told = told(&mut bench, delete);
    assert_eq!(told.iter().filter(|line| line.contains("initial > unused (Target.NotInUse)")).count(), 2, "{told:?}");
}

/// req: HC-29
#[test]
fn load_balancers_and_ports_are_told() {
    let mut bench = Bench::new();
    let create = bench.load_balancer("web", "10.1.0.10");
    assert_eq!(told(&mut bench, create), ["load-balancer web: - > provisioning"]);
    let id = bench.model.find_load_balancer("web").expect("it").id;
    assert_eq!(told(&mut bench, Command::Activate(vec![id])), ["load-balancer web: provisioning > active"]);
    let down = Command::PortsDown(["p0".to_owned()].into());
    let expected = ["port p0: up > down", "zone web zone-a: in-service > out-of-service (Zone.PortDown)"];
    assert_eq!(told(&mut bench, down), expected);
    let expected = ["port p0: down > up", "zone web zone-a: out-of-service > in-service"];
    assert_eq!(told(&mut bench, Command::PortsDown(BTreeSet::new())), expected);
    let delete = Command::DeleteLoadBalancer { load_balancer: "web".into() };
    assert_eq!(told(&mut bench, delete), ["load-balancer web: active > deleted"]);
    let create = bench.load_balancer("web", "10.1.0.10");
    told(&mut bench, create);
    let id = bench.model.find_load_balancer("web").expect("it").id;
    let failed = Command::Fail(vec![(id, "10.1.0.10 is in use".into())]);
    assert_eq!(told(&mut bench, failed), ["load-balancer web: provisioning > failed"]);
}

/// req: HC-29, ZS-05
#[test]
fn zonal_shifts_are_told() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    let start = |id: &str| {
        let (load_balancer, away_from) = ("web".into(), "zone-a".into());
        let request =
            rest::StartZonalShift { load_balancer, away_from, expires_in: "30m".into(), comment: "fans".into() };
        Command::Shift(shift::Change::Start { request, id: id.into() })
    };
    let out = "zone web zone-a: in-service > out-of-service (Zone.Shifted)";
    let back = "zone web zone-a: out-of-service > in-service";
    assert_eq!(told(&mut bench, start("s")), ["zonal-shift web zone-a: - > active", out]);
    let request = rest::UpdateZonalShift { expires_in: Some("1h".into()), comment: None };
    let update = Command::Shift(shift::Change::Update { id: "s".into(), request });
    assert_eq!(told(&mut bench, update), ["zonal-shift web zone-a: active > active"]);
    let cancel = Command::Shift(shift::Change::Cancel { id: "s".into() });
    assert_eq!(told(&mut bench, cancel), ["zonal-shift web zone-a: active > canceled", back]);
    told(&mut bench, start("t"));
    bench.now = later(30 * 60_000);
    assert_eq!(told(&mut bench, Command::Expire), ["zonal-shift web zone-a: active > expired", back]);
}

/// The state that somebody has who knows nothing but the events.
#[derive(Default)]
struct Reader {
    /// By group, address and target.
    targets: BTreeMap<(String, String, String), String>,
    zones: BTreeMap<(String, String), String>,
    open: BTreeSet<(String, String)>,
    load_balancers: BTreeMap<String, String>,
    ports: BTreeSet<String>,
}

impl Reader {
    /// Each event begins where the one before it has ended.
    fn read(&mut self, event: Transition) {
        let text = line(&event);
        let some = |value: &Option<String>| value.clone().unwrap_or_default();
        let (lb, group, zone) = (some(&event.load_balancer), some(&event.target_group), some(&event.zone));
        let from = some(&event.from);
        match event.kind {
            EventType::Target => {
                let port = some(&event.target).rsplit(':').next().unwrap_or_default().to_owned();
                let address = event.address.map(|it| it.to_string()).unwrap_or_default();
                let before = self.targets.insert((group, address, port), event.to);
                assert_eq!(before.unwrap_or("unused".into()), from, "{text}");
            }
            EventType::Zone if event.to == "disabled" => drop(self.zones.remove(&(lb, zone))),
            EventType::Zone => {
                let before = self.zones.insert((lb, zone), event.to);
                assert!(before.unwrap_or("in-service".into()) == from || from.is_empty(), "{text}");
            }
            EventType::FailOpen if event.to == "on" => assert!(self.open.insert((group, zone)), "{text}"),
            EventType::FailOpen => assert!(self.open.remove(&(group, zone)), "{text}"),
            EventType::LoadBalancer if event.to == "deleted" => {
                self.zones.retain(|(name, _), _| *name != lb);
                assert_eq!(self.load_balancers.remove(&lb), Some(from), "{text}");
            }
            EventType::LoadBalancer => {
                assert_eq!(self.load_balancers.insert(lb, event.to).unwrap_or_default(), from, "{text}");
            }
            EventType::Port if event.to == "down" => assert!(self.ports.insert(some(&event.port)), "{text}"),
            EventType::Port => assert!(self.ports.remove(&some(&event.port)), "{text}"),
            EventType::ZonalShift | EventType::DataPlane => {}
        }
    }

    fn check(&self, model: &Model, now: Now) {
        let mut unknown = self.targets.clone();
        for group in model.target_groups() {
            for target in model.targets_of(group.id) {
                let key = (group.name.clone(), target.address.to_string(), target.port.to_string());
                let known = unknown.remove(&key).unwrap_or("unused".into());
                assert_eq!(known, model.show_health(target, now).state.to_string(), "{key:?}");
            }
            let lb = model.user_of(group.id).and_then(|lb| model.load_balancer(lb));
            for (number, node) in (0..).zip(lb.iter().flat_map(|lb| &lb.nodes)) {
                let is_open = model.mode(group.id, number) == Mode::All && model.count(group.id, number).1 > 0;
                assert_eq!(self.open.contains(&(group.name.clone(), node.zone.clone())), is_open, "{}", group.name);
            }
        }
        assert!(unknown.values().all(|state| state == "unused"), "{unknown:?}");
        assert_eq!(self.load_balancers.len(), model.load_balancers().count());
        for lb in model.load_balancers() {
            assert_eq!(self.load_balancers[&lb.name], if lb.active { "active" } else { "provisioning" });
            for zone in model.zones_of(lb) {
                let known = self.zones.get(&(lb.name.clone(), zone.node.zone.clone()));
                assert_eq!(known.is_some_and(|state| state == "out-of-service"), zone.out.is_some(), "{zone:?}");
            }
        }
        assert_eq!(self.ports, *model.ports_down());
    }
}

#[derive(Clone, Debug)]
enum Act {
    Random(Step),
    Ports(bool),
    ChecksStopped(bool),
    Activate,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => step().prop_map(Act::Random),
        1 => any::<bool>().prop_map(Act::Ports),
        1 => any::<bool>().prop_map(Act::ChecksStopped),
        1 => Just(Act::Activate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Who reads all events knows every state, whatever happens: no change goes untold, and none is told twice.
    ///
    /// req: HC-29
    #[test]
    fn events_make_the_state(acts in proptest::collection::vec(act(), 1..60)) {
        let mut bench = prepared();
        let mut reader = Reader::default();
        let serve = [Step::LoadBalancer(0), Step::Group(0, 0), Step::Listener(0, 0, 0, 0), Step::Register(0, vec![1, 2, 3])];
        for act in serve.map(Act::Random).into_iter().chain(acts) {
            let old = bench.model.clone();
            let ended = match act {
                Act::Random(step) => run(&mut bench, &step),
                Act::Ports(down) => bench.apply(Command::PortsDown(down.then(|| "p0".to_owned()).into_iter().collect())),
                Act::ChecksStopped(stopped) => bench.apply(Command::ChecksStopped(stopped)),
                Act::Activate => {
                    let ids = bench.model.load_balancers().map(|lb| lb.id).collect();
                    bench.apply(Command::Activate(ids))
                }
            };
            let all = || old.record_keys().into_iter().chain(bench.model.record_keys());
            let changed: BTreeSet<RecordKey> = match ended {
                Err(_) => continue,
                // It has changed something without telling what, such as a restart.
                Ok(effects) if effects.changed.is_empty() => all().collect(),
                Ok(effects) => effects.changed,
            };
            between(&old, &bench.model, &changed, bench.now).into_iter().for_each(|event| reader.read(event));
            reader.check(&bench.model, bench.now);
        }
    }
}

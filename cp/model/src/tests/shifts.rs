//! Zonal shifts.

use super::*;
use crate::model::{Kind, RecordKey};
use crate::rest::ShiftStatus;
use crate::shift::{self, Change as Shift};

/// `web` has nodes in two zones, `other` in one.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let nodes = vec![node("zone-a", "10.1.0.10", None), node("zone-b", "10.1.0.20", None)];
    let command = Command::CreateLoadBalancer { request: load_balancer("web", nodes), id: bench.id() };
    bench.ok(command);
    let command = bench.load_balancer("other", "10.1.0.30");
    bench.ok(command);
    bench
}

fn start(lb: &str, zone: &str, expires_in: &str, id: &str) -> Command {
    let request = rest::StartZonalShift {
        load_balancer: lb.into(),
        away_from: zone.into(),
        expires_in: expires_in.into(),
        comment: "maintenance".into(),
    };
    Command::Shift(Shift::Start { request, id: id.into() })
}

fn update(id: &str, expires_in: Option<&str>, comment: Option<&str>) -> Command {
    let request =
        rest::UpdateZonalShift { expires_in: expires_in.map(str::to_owned), comment: comment.map(str::to_owned) };
    Command::Shift(Shift::Update { id: id.into(), request })
}

fn cancel(id: &str) -> Command {
    Command::Shift(Shift::Cancel { id: id.into() })
}

fn status(bench: &Bench, id: &str) -> ShiftStatus {
    bench.model.find_shift(id).expect("it").status
}

fn web(bench: &Bench) -> Id {
    bench.model.find_load_balancer("web").expect("it").id
}

/// req: ZS-04, ZS-05
#[test]
fn a_shift_lasts_a_minute_to_three_days() {
    let mut bench = bench();
    for bad in
        ["", "m", "59s", "60", "0m", "73h", "4d", "4321m", "-1h", "+5m", "1.5h", "3 h", "99999999999999999999d", "٣h"]
    {
        let (code, field, _) = bench.refused(start("web", "zone-a", bad, "s"));
        assert_eq!((code, field.as_deref()), (Code::ValidationError, Some("expiresIn")), "{bad}");
    }
    for (good, minutes) in [("1m", 1), ("90m", 90), ("3h", 180), ("72h", 4320), ("3d", 4320)] {
        bench.ok(start("web", "zone-a", good, good));
        let shift = bench.model.show_shift(good, bench.now).expect("it");
        assert_eq!((shift.start_ms, shift.expiry_ms), (NOW.wall_ms, NOW.wall_ms + minutes * 60_000));
        assert!(shift.load_balancer_arn.contains(":loadbalancer/net/web/"), "{}", shift.load_balancer_arn);
        assert_eq!((shift.away_from.as_str(), shift.comment.as_str()), ("zone-a", "maintenance"));
        bench.ok(cancel(good));
    }
    bench.ok(start("web", "zone-a", "1m", "s"));
    bench.now = later(30_000);
    bench.ok(update("s", Some("2h"), None));
    bench.ok(update("s", None, Some("takes longer")));
    let shift = bench.model.find_shift("s").expect("it");
    assert_eq!((shift.expiry_ms, shift.comment.as_str()), (later(30_000 + 7_200_000).wall_ms, "takes longer"));
    assert!(bench.ok(update("s", None, Some("takes longer"))).changed.is_empty());
    assert_eq!(bench.refused(update("s", Some("4d"), None)).1.as_deref(), Some("expiresIn"));
    assert_eq!(bench.refused(update("s", None, Some(&"x".repeat(129)))).1.as_deref(), Some("comment"));
    assert_eq!(bench.refused(update("t", None, None)).0, Code::ZonalShiftNotFound);
}

/// req: ZS-02, ZS-03, ZS-10, ERR-07
#[test]
fn one_zone_at_a_time_and_not_across_zones() {
    let mut bench = bench();
    assert_eq!(bench.refused(start("web", "zone-c", "1h", "s")).1.as_deref(), Some("awayFrom"));
    assert_eq!(bench.refused(start("none", "zone-a", "1h", "s")).0, Code::LoadBalancerNotFound);
    bench.ok(start("web", "zone-a", "1h", "s1"));
    assert_eq!(bench.model.shifted_zone(web(&bench)), Some("zone-a"));
    for zone in ["zone-a", "zone-b"] {
        let (code, _, message) = bench.refused(start("web", zone, "1h", "s2"));
        assert_eq!(code, Code::ResourceInUse);
        assert!(message.contains("s1"), "{message}");
    }
    bench.ok(start("other", "zone-a", "1h", "s2"));
    bench.ok(cancel("s1"));

    let on = || [("load_balancing.cross_zone.enabled".to_owned(), "true".to_owned())].into();
    let id = web(&bench);
    bench.model.load_balancers.get_mut(&id).expect("it").attributes = on();
    assert_eq!(bench.refused(start("web", "zone-a", "1h", "s3")).0, Code::InvalidConfigurationRequest);
    bench.model.load_balancers.get_mut(&id).expect("it").attributes.clear();
    for command in [bench.group("web", Protocol::Tcp), bench.listener("web", Protocol::Tcp, 80, "web")] {
        bench.ok(command);
    }
    bench.model.target_groups.values_mut().for_each(|group| group.attributes = on());
    assert_eq!(bench.refused(start("web", "zone-a", "1h", "s3")).0, Code::InvalidConfigurationRequest);
    bench.model.target_groups.values_mut().for_each(|group| group.attributes.clear());
    bench.ok(start("web", "zone-a", "1h", "s3"));
    let command = Command::ModifyLoadBalancerAttributes { load_balancer: "web".into(), attributes: on() };
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "while a shift works");
    let command = Command::ModifyAttributes { target_group: "web".into(), attributes: on() };
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);

    let request = rest::CreateLoadBalancer {
        kind: rest::LoadBalancerType::Application,
        ..load_balancer("proxy", vec![node("zone-a", "10.1.0.77", None)])
    };
    let id = bench.id();
    bench.ok(Command::CreateLoadBalancer { request, id });
    assert_eq!(bench.refused(start("proxy", "zone-a", "1h", "s4")).0, Code::OperationNotPermitted);
}

/// req: ZS-06, ZS-07, ZS-08
#[test]
fn a_shift_ends_by_itself_or_by_hand_or_with_its_load_balancer() {
    let mut bench = bench();
    bench.ok(start("web", "zone-a", "1h", "s1"));
    assert_eq!(bench.model.next_expiry_ms(), Some(later(3_600_000).mono_ms));
    bench.now = later(3_599_999);
    assert!(bench.ok(Command::Expire).changed.is_empty());
    bench.now = later(3_600_000);
    let shown = |bench: &Bench, id: &str| bench.model.show_shift(id, bench.now).expect("it").status;
    assert_eq!(shown(&bench, "s1"), ShiftStatus::Expired, "also before that was noted");
    let changed = bench.ok(Command::Expire).changed;
    assert!(changed.contains(&RecordKey::Object(Kind::ZonalShift, "s1".into())));
    assert_eq!((status(&bench, "s1"), bench.model.shifted_zone(web(&bench))), (ShiftStatus::Expired, None));
    assert_eq!(bench.model.next_expiry_ms(), None);
    for command in [cancel("s1"), update("s1", Some("1h"), None)] {
        assert_eq!(bench.refused(command).0, Code::OperationNotPermitted);
    }
    bench.ok(start("web", "zone-b", "1h", "s2"));
    bench.ok(cancel("s2"));
    assert_eq!((status(&bench, "s2"), bench.model.shifted_zone(web(&bench))), (ShiftStatus::Canceled, None));
    assert_eq!(bench.refused(cancel("s9")).0, Code::ZonalShiftNotFound);
    bench.ok(start("web", "zone-a", "1h", "s3"));
    bench.ok(start("other", "zone-a", "1h", "s4"));
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    assert_eq!((status(&bench, "s3"), status(&bench, "s4")), (ShiftStatus::Canceled, ShiftStatus::Active));
    let ids: Vec<&str> = bench.model.shifts().map(|(id, _)| id).collect();
    assert_eq!(ids, ["s1", "s2", "s3", "s4"]);
}

/// What is left of its time by the wall clock runs on; a clock that was set makes it neither endless nor longer than it can be.
///
/// req: ZS-08
#[test]
fn a_shift_survives_a_restart() {
    let mut bench = bench();
    bench.ok(start("web", "zone-a", "3d", "s"));
    let restarted = |now: Now| {
        let records = bench.model.record_keys().into_iter();
        let records = records.map(|key| (key.to_string(), bench.model.record(&key).expect("a record")));
        Model::load(site(), Limits::default(), records, now).expect("what was stored can be read")
    };
    let day = 24 * 3_600_000;
    let model = restarted(Now { wall_ms: NOW.wall_ms + day, mono_ms: 7 });
    assert_eq!((model.next_expiry_ms(), model.shifted_zone(web(&bench))), (Some(7 + 2 * day), Some("zone-a")));
    assert_eq!(restarted(Now { wall_ms: 0, mono_ms: 7 }).next_expiry_ms(), Some(7 + 3 * day));
    assert_eq!(restarted(Now { wall_ms: u64::MAX, mono_ms: 7 }).next_expiry_ms(), Some(7));
}

#[test]
fn so_many_shifts_are_remembered() {
    let mut bench = bench();
    bench.ok(start("other", "zone-a", "3d", "active"));
    for n in 0..=shift::OVER_MAX + 5 {
        bench.now = later(n as u64 * 1000);
        bench.ok(start("web", "zone-a", "1h", &format!("s{n}")));
        bench.ok(cancel(&format!("s{n}")));
    }
    bench.ok(start("web", "zone-a", "1h", "last"));
    assert_eq!(bench.model.shifts().count(), shift::OVER_MAX + 2);
    assert!(bench.model.find_shift("s5").is_err() && bench.model.find_shift("s6").is_ok());
    assert_eq!(status(&bench, "active"), ShiftStatus::Active);
}

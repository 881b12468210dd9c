//! What DNS answers of a configuration.

use std::net::IpAddr;

use super::*;
use crate::dns::{Directories, Directory, Found, HOLD_MS, NameServers, apex};

const WEB: &str = "web-0000000000000002.elb.local.leat.internal";

/// `web` has nodes in two zones.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let nodes = vec![node("zone-a", "10.1.0.10", None), node("zone-b", "10.1.0.20", None)];
    let command = Command::CreateLoadBalancer { request: load_balancer("web", nodes), id: bench.id() };
    bench.ok(command);
    bench
}

fn look(bench: &Bench) -> Directory {
    Directories::new(NameServers::default()).make(&bench.model, bench.now.mono_ms).0
}

fn addresses(directory: &Directory, name: &str) -> Option<Vec<String>> {
    match directory.find(name) {
        Found::Addresses(all) => Some(all.iter().map(IpAddr::to_string).collect()),
        _ => None,
    }
}

fn some(all: &[&str]) -> Option<Vec<String>> {
    Some(all.iter().map(|it| (*it).to_owned()).collect())
}

impl Bench {
    fn activate(&mut self, name: &str) {
        let id = self.model.find_load_balancer(name).expect("it").id;
        self.ok(Command::Activate(vec![id]));
    }
}

/// A name exists as long as its load balancer, with addresses from the moment on when that is active.
///
/// req: DNS-01, DNS-02, DNS-03, DNS-10, LB-20
#[test]
fn names_live_as_long_as_their_load_balancers() {
    let mut bench = bench();
    let zonal = |zone: &str| format!("{zone}.{WEB}");
    let directory = look(&bench);
    assert_eq!(directory.apex(), "elb.local.leat.internal");
    for name in [WEB.to_owned(), zonal("zone-a"), zonal("zone-b"), "ns.elb.local.leat.internal".into()] {
        assert_eq!(addresses(&directory, &name), some(&[]), "{name} exists, no more");
    }
    bench.activate("web");
    let directory = look(&bench);
    assert_eq!(addresses(&directory, WEB), some(&["10.1.0.10", "10.1.0.20"]));
    assert_eq!(addresses(&directory, &zonal("zone-a")), some(&["10.1.0.10"]));
    assert_eq!(addresses(&directory, &zonal("zone-b")), some(&["10.1.0.20"]));
    assert_eq!(directory.find("elb.local.leat.internal"), Found::Apex);
    for unknown in [&zonal("zone-c"), &zonal("x.zone-a"), "web.elb.local.leat.internal"] {
        assert_eq!(directory.find(unknown), Found::Nothing, "{unknown}");
    }
    for strange in ["", "com", "leat.internal", "xelb.local.leat.internal", "www.example.com"] {
        assert_eq!(directory.find(strange), Found::Outside, "{strange}");
    }
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    assert_eq!(look(&bench).find(WEB), Found::Nothing);
    assert_eq!(look(&bench).find(&zonal("zone-a")), Found::Nothing);
}

/// req: LB-01, DNS-10
#[test]
fn what_has_failed_has_no_name() {
    let mut bench = bench();
    let id = bench.model.find_load_balancer("web").expect("it").id;
    bench.ok(Command::Fail(vec![(id, "10.1.0.10 is in use".into())]));
    assert_eq!(look(&bench).find(WEB), Found::Nothing);
}

/// Zones leave and come back, but none is ever named again within five seconds; their own names stand for them always, and when no zone
/// serves, all do.
///
/// req: DNS-06, DNS-09, TGH-10, TGH-02, ZS-01, ZS-07, ZS-11, DNS-03
#[test]
fn zones_leave_and_come_back() {
    let mut bench = bench();
    let (group, listener) = (bench.group("g", Protocol::Tcp), bench.listener("web", Protocol::Tcp, 80, "g"));
    bench.ok(group);
    bench.ok(listener);
    bench.ok(register("g", &["10.1.0.100"]));
    bench.set_health("g", "10.1.0.100", Health::Healthy);
    bench.activate("web");
    let mut directories = Directories::new(NameServers::default());
    let mut seen = |bench: &Bench| {
        let (directory, due) = directories.make(&bench.model, bench.now.mono_ms);
        assert_eq!(addresses(&directory, &format!("zone-a.{WEB}")), some(&["10.1.0.10"]));
        (addresses(&directory, WEB).expect("it").join(" "), due)
    };
    assert_eq!(seen(&bench), ("10.1.0.10 10.1.0.20".into(), None));

    let request = rest::StartZonalShift {
        load_balancer: "web".into(),
        away_from: "zone-a".into(),
        expires_in: "1h".into(),
        comment: String::new(),
    };
    bench.ok(Command::Shift(crate::shift::Change::Start { request, id: "s".into() }));
    let shifted = bench.now.mono_ms;
    assert_eq!(seen(&bench), ("10.1.0.20".into(), None));

    // Zone b fails, too: both are to be named, and zone a left a moment ago.
    bench.now = later(1000);
    bench.set_health("g", "10.1.0.100", Health::Unhealthy);
    assert_eq!(seen(&bench), ("10.1.0.20".into(), Some(shifted + HOLD_MS)));
    bench.now = later(HOLD_MS);
    assert_eq!(seen(&bench), ("10.1.0.10 10.1.0.20".into(), None));

    bench.set_health("g", "10.1.0.100", Health::Healthy);
    assert_eq!(seen(&bench), ("10.1.0.20".into(), None));
    bench.now = later(3 * HOLD_MS);
    bench.ok(Command::Shift(crate::shift::Change::Cancel { id: "s".into() }));
    assert_eq!(seen(&bench), ("10.1.0.10 10.1.0.20".into(), None));
}

/// Static addresses are what clients are told; IPv6 addresses are where there are some.
///
/// req: DNS-07, DNS-08
#[test]
fn dualstack_names_have_both_kinds() {
    let mut bench = Bench::new();
    let command = bench.dualstack("both", "10.1.0.10", "fd00:1::10");
    bench.ok(command);
    bench.activate("both");
    let name = bench.model.dns_name("both", bench.model.find_load_balancer("both").expect("it").id);
    assert_eq!(addresses(&look(&bench), &name), some(&["10.1.0.10", "fd00:1::10"]));
}

/// req: DNS-01
#[test]
fn the_zone_is_what_comes_behind_names_and_ids() {
    let of = |format: &str| {
        apex(&Site { dns_name_format: format.into(), region: "Region-1".to_lowercase(), ..Site::default() })
    };
    assert_eq!(of("{name}-{id}.elb.{region}.leat.internal"), "elb.region-1.leat.internal");
    assert_eq!(of("{name}.{id}.lb.example"), "lb.example");
    assert_eq!(of("{region}.{id}.{name}.example"), "example");

    // Between the zone and the names, something exists that has no records.
    let mut bench = Bench::new();
    bench.model.site.dns_name_format = "{name}.{id}.lb.example".into();
    let command = bench.load_balancer("Web", "10.1.0.10");
    bench.ok(command);
    bench.activate("Web");
    let directory = look(&bench);
    let id = bench.model.find_load_balancer("Web").expect("it").id;
    assert_eq!(addresses(&directory, &format!("{id}.lb.example")), some(&[]));
    assert_eq!(addresses(&directory, &format!("web.{id}.lb.example")), some(&["10.1.0.10"]));
}

/// req: DNS-01
#[test]
fn name_servers_are_those_that_were_told() {
    let bench = bench();
    let make = |names: &[&str]| {
        let names = names.iter().map(|it| (*it).to_owned()).collect();
        let addresses = vec!["10.1.0.2".parse().expect("an address")];
        Directories::new(NameServers { names, addresses }).make(&bench.model, 0).0
    };
    let own = "ns.elb.local.leat.internal";
    assert_eq!(make(&[]).name_servers(), [own]);
    assert_eq!(addresses(&make(&[]), own), some(&["10.1.0.2"]));
    assert_eq!(make(&["ns1.example.com"]).name_servers(), ["ns1.example.com"]);
    assert_eq!(make(&["ns1.example.com"]).find(own), Found::Nothing);
}

/// Application load balancers stand elsewhere, and their names stand for where that is, if it was told; Classic ones are served here.
///
/// req: DNS-02, DNS-03
#[test]
fn load_balancers_of_all_kinds_have_names() {
    let mut bench = Bench::new();
    let mut request = load_balancer("alb", vec![node("zone-a", "10.2.0.5", None)]);
    request.kind = rest::LoadBalancerType::Application;
    let id = bench.id();
    bench.ok(Command::CreateLoadBalancer { request, id });
    let name = bench.model.dns_name("alb", id);
    assert_eq!(addresses(&look(&bench), &name), some(&["10.2.0.5"]));
    assert_eq!(addresses(&look(&bench), &format!("zone-a.{name}")), some(&["10.2.0.5"]));

    let mut bench = Bench::classic();
    let (id, name, address) = {
        let classic = bench.model.find_classic("old").expect("it");
        let carrier = bench.model.carrier_of(classic).expect("it");
        let address = carrier.nodes[0].address.to_string();
        (carrier.id, bench.model.show_load_balancer(carrier).dns_name, address)
    };
    assert_eq!(addresses(&look(&bench), &name), some(&[]));
    bench.ok(Command::Activate(vec![id]));
    assert_eq!(addresses(&look(&bench), &name), some(&[address.as_str()]));
}

//! Address types, nodes and their addresses.

use super::*;

fn modify(lb: &str, ip_address_type: Option<IpAddressType>, nodes: Vec<rest::NodeChange>) -> Command {
    Command::ModifyLoadBalancer {
        load_balancer: lb.into(),
        request: rest::ModifyLoadBalancer { ip_address_type, nodes, ..Default::default() },
    }
}

fn ipv6(zone: &str, address: &str) -> rest::NodeChange {
    rest::NodeChange { zone: zone.into(), ipv6_address: Some(address.into()), ..Default::default() }
}

fn places(bench: &Bench) -> Vec<String> {
    let listeners = bench.model.listeners().flat_map(|listener| &listener.slots);
    listeners.map(|place| format!("{} {} {}", place.slot, place.protocol, place.address)).collect()
}

const DUALSTACK: Option<IpAddressType> = Some(IpAddressType::Dualstack);
const IPV4: Option<IpAddressType> = Some(IpAddressType::Ipv4);

/// req: IPT-01, IPT-03, IPT-07, ZN-07
#[test]
fn the_address_type_can_be_changed_at_any_time() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    bench.set_health("web", "10.2.0.11", Health::Healthy);
    assert_eq!(places(&bench), ["0 TCP 10.1.0.10"]);
    bench.ok(modify("web", DUALSTACK, vec![ipv6("zone-a", "fd00:1::10")]));
    assert_eq!(places(&bench), ["0 TCP 10.1.0.10", "1 TCP fd00:1::10"]);
    let zone = |bench: &Bench| bench.model.show_load_balancers().load_balancers[0].availability_zones[0].clone();
    let shown = zone(&bench).addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown, ["10.1.0.10", "fd00:1::10"]);
    assert!(bench.ok(modify("web", DUALSTACK, vec![])).changed.is_empty());
    for fixed in [
        ipv6("zone-a", "fd00:1::11"),
        rest::NodeChange { address: Some("10.1.0.9".into()), ..ipv6("zone-a", "fd00:1::10") },
    ] {
        assert_eq!(bench.refused(modify("web", None, vec![fixed])).0, Code::InvalidConfigurationRequest);
    }
    bench.ok(modify("web", IPV4, vec![]));
    assert_eq!(places(&bench), ["0 TCP 10.1.0.10"]);
    assert_eq!(zone(&bench).addresses.len(), 1);
    assert_eq!(bench.state("web", "10.2.0.11").0, TargetState::Healthy, "nothing happens to the targets");
    // Back: the number of the IPv6 half waits for its flows.
    bench.ok(modify("web", DUALSTACK, vec![ipv6("zone-a", "fd00:1::10")]));
    assert_eq!(places(&bench), ["0 TCP 10.1.0.10", "1 TCP fd00:1::10"]);
}

/// req: IPT-02, IPT-04, IPT-05, IPT-09, IPT-11, IPT-12, IPT-15, IPT-16, ERR-03
#[test]
fn address_types_go_together_or_are_refused() {
    let mut bench = Bench::new();
    let commands = [
        bench.load_balancer("four", "10.1.0.10"),
        bench.dualstack("both", "10.1.0.11", "fd00:1::11"),
        bench.group("web", Protocol::Tcp),
        bench.group("dns", Protocol::Udp),
        bench.group("any", Protocol::TcpUdp),
        bench.ipv6_group("web6"),
    ];
    commands.into_iter().for_each(|command| drop(bench.ok(command)));
    let mut refused = |lb: &str, protocol, group: &str| {
        let command = bench.listener(lb, protocol, 80, group);
        let (code, field, _) = bench.refused(command);
        assert_eq!(code, Code::InvalidConfigurationRequest);
        field.unwrap_or_default()
    };
    assert_eq!(refused("both", Protocol::Udp, "dns"), "protocol");
    assert_eq!(refused("both", Protocol::TcpUdp, "any"), "protocol");
    assert_eq!(refused("both", Protocol::Tcp, "any"), "targetGroup");
    assert_eq!(refused("four", Protocol::Tcp, "web6"), "targetGroup");
    let command = bench.listener("both", Protocol::Tcp, 80, "web");
    bench.ok(command);
    let command = bench.listener("both", Protocol::Tcp, 81, "web6");
    bench.ok(command);
    let (code, field, message) = bench.refused(modify("both", IPV4, vec![]));
    assert_eq!((code, field.as_deref()), (Code::InvalidConfigurationRequest, Some("ipAddressType")));
    assert!(message.contains("web6") && message.contains("port 81"), "{message}");
    for (protocol, group) in [(Protocol::Udp, "dns"), (Protocol::Tcp, "any")] {
        let command = bench.listener("four", protocol, 53, group);
        bench.ok(command);
        let (code, field, _) = bench.refused(modify("four", DUALSTACK, vec![ipv6("zone-a", "fd00:1::10")]));
        assert_eq!((code, field.as_deref()), (Code::InvalidConfigurationRequest, Some("ipAddressType")), "{group}");
        bench.ok(Command::DeleteListener { load_balancer: "four".into(), port: 53 });
    }
    for protocol in [Protocol::Udp, Protocol::TcpUdp] {
        let mut command = bench.ipv6_group("more");
        if let Command::CreateTargetGroup { request, .. } = &mut command {
            request.protocol = protocol;
        }
        assert_eq!(bench.refused(command).1.as_deref(), Some("ipAddressType"));
    }
}

/// req: IPT-05, ZN-04, ZN-06, LB-19
#[test]
fn nodes_are_checked_one_by_one() {
    let mut bench = Bench::serving(&[]);
    let a = || node("zone-a", "10.1.0.20", None);
    let six = |address: &str| node("zone-a", "10.1.0.20", Some(address));
    let more = |addresses: &[&str]| rest::NodeSpec {
        secondary_addresses: addresses.iter().map(|text| (*text).into()).collect(),
        ..a()
    };
    let eight: Vec<String> = (30..38).map(|n| format!("10.1.0.{n}")).collect();
    let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
    use Code::{InvalidConfigurationRequest, InvalidSubnet, ValidationError};
    for (ip_address_type, nodes, code, field) in [
        (None, vec![a(), a()], ValidationError, "nodes[1].zone"),
        (None, vec![a(), node("zone-b", "10.1.0.20", None)], ValidationError, "nodes[1].address"),
        (None, vec![six("fd00:1::20")], InvalidConfigurationRequest, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![a()], ValidationError, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![six("10.1.0.21")], ValidationError, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![six("fd00:9::20")], InvalidSubnet, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![six("fd00:1::2")], InvalidConfigurationRequest, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![six("fe80::20")], ValidationError, "nodes[0].ipv6Address"),
        (DUALSTACK, vec![six("fd00:1::")], InvalidSubnet, "nodes[0].ipv6Address"),
        (None, vec![more(&eight)], ValidationError, "nodes[0].secondaryAddresses"),
        (None, vec![more(&["10.1.0.20"])], ValidationError, "nodes[0].secondaryAddresses"),
        (None, vec![more(&["10.1.0.10"])], InvalidConfigurationRequest, "nodes[0].secondaryAddresses"),
        (None, vec![more(&["fd00:1::21"])], InvalidConfigurationRequest, "nodes[0].secondaryAddresses"),
    ] {
        let request = rest::CreateLoadBalancer { ip_address_type, ..load_balancer("new", nodes.clone()) };
        let (found, at, message) = bench.refused(Command::CreateLoadBalancer { request, id: Id(99) });
        assert_eq!((found, at.as_deref()), (code, Some(field)), "{nodes:?}: {message}");
    }
    let mut only_ipv4 = bench.clone();
    only_ipv4.model.site.subnets.pop();
    let command = only_ipv4.dualstack("new", "10.1.0.20", "fd00:1::20");
    let (code, field, _) = only_ipv4.refused(command);
    assert_eq!((code, field.as_deref()), (InvalidSubnet, Some("ipAddressType")));
    let request = load_balancer("new", vec![more(&eight[..7]), node("zone-b", "10.1.0.21", None)]);
    bench.ok(Command::CreateLoadBalancer { request: request.clone(), id: Id(99) });
    assert!(bench.ok(Command::CreateLoadBalancer { request, id: Id(100) }).changed.is_empty());
}

/// req: ZN-01, ZN-02, ZN-03, ZN-15, QTA-03, S9.7
#[test]
fn zones_and_source_addresses_can_be_added() {
    let mut bench = Bench::serving(&["10.2.0.11", "10.1.0.30"]);
    let more = |zone: &str, address: Option<&str>, secondary: &[&str]| rest::NodeChange {
        zone: zone.into(),
        address: address.map(str::to_owned),
        ipv6_address: None,
        secondary_addresses: Some(secondary.iter().map(|text| (*text).to_owned()).collect()),
    };
    let missing = bench.refused(modify("web", None, vec![more("zone-b", None, &[])]));
    assert_eq!(missing.1.as_deref(), Some("nodes[0].address"));
    bench.ok(modify("web", None, vec![more("zone-b", Some("10.1.0.20"), &["10.1.0.30"])]));
    assert_eq!(places(&bench), ["0 TCP 10.1.0.10", "1 TCP 10.1.0.20"]);
    assert_eq!(bench.state("web", "10.1.0.30").1, "Target.IpUnusable", "what is a node's is no target");
    let target = bench.model.target(bench.slot("web", "10.2.0.11")).expect("it");
    assert_eq!(bench.model.zone_of(target), "all");
    bench.ok(modify("web", None, vec![more("zone-b", None, &["10.1.0.30", "10.1.0.31"])]));
    let fewer = bench.refused(modify("web", None, vec![more("zone-b", None, &["10.1.0.31"])]));
    assert_eq!(fewer.1.as_deref(), Some("nodes[0].secondaryAddresses"));
    bench.model.limits.nodes = 2;
    let third = modify("web", None, vec![more("zone-c", Some("10.1.0.40"), &[])]);
    assert_eq!(bench.refused(third).0, Code::InvalidConfigurationRequest);
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    assert!(!bench.model.is_node([10, 1, 0, 30].into()));
}

/// req: IPT-10, IPT-13, IPT-14, HC-28, TG-05
#[test]
fn ipv6_targets_are_of_known_networks_and_checked_over_ipv6() {
    let mut bench = Bench::new();
    let commands = [bench.dualstack("web", "10.1.0.10", "fd00:1::10"), bench.ipv6_group("web")];
    commands.into_iter().for_each(|command| drop(bench.ok(command)));
    let command = bench.listener("web", Protocol::Tcp, 80, "web");
    bench.ok(command);
    bench.ok(register("web", &["fd00:1::11", "fd00:2::11"]));
    for bad in ["10.2.0.11", "fd00:3::1", "2001:db8::1", "fe80::1", "ff02::1", "::1", "::ffff:10.2.0.11", "fd00:1::2"] {
        assert_eq!(bench.refused(register("web", &[bad])).0, Code::InvalidTarget, "{bad}");
    }
    let plans: Vec<_> =
        bench.model.check_plans().iter().map(|p| (p.source.to_string(), p.address.to_string())).collect();
    let expected = ["fd00:1::11", "fd00:2::11"].map(|target| ("fd00:1::10".to_owned(), target.to_owned()));
    assert_eq!(plans, expected);
    let group = bench.model.show_target_groups().target_groups.remove(0);
    assert_eq!(group.ip_address_type, rest::TargetAddressType::Ipv6);
}

/// req: ATT-15, CIP-09, TGT-13
#[test]
fn what_is_hardly_meant_is_warned_of() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    assert_eq!(bench.model.warnings(), [""; 0]);
    bench.set_attribute("web", DELAY, "60");
    assert!(bench.model.warnings()[0].contains("60 s"));
    bench.set_attribute("web", DELAY, "120");
    bench.ok(register("web", &["10.1.0.10"]));
    assert!(bench.model.warnings()[0].contains("10.1.0.10 is an address of load balancer web"));
    bench.set_attribute("web", attributes::PRESERVE_CLIENT_IP, "true");
    assert!(bench.model.warnings()[0].contains("preserved"));
    bench.ok(deregister("web", &["10.1.0.10"]));
    assert_eq!(bench.model.warnings(), [""; 0]);
}

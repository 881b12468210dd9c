//! Load balancers in subnets of the inventory.

use super::inventories::{document, group_in, put};
use super::*;
use serde_json::{Value, json};

fn create(bench: &mut Bench, request: Value) -> Command {
    let request = serde_json::from_value(request).expect("a request");
    Command::CreateLoadBalancer { request, id: bench.id() }
}

fn modify(lb: &str, request: Value) -> Command {
    let request = serde_json::from_value(request).expect("a request");
    Command::ModifyLoadBalancer { load_balancer: lb.into(), request }
}

/// The inventory of [`document`], and ports in all of its subnets.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let subnet = |net: &str| ("p0".to_owned(), net.parse().expect("a net"));
    bench.model.site.subnets = ["10.1.0.2/24", "fd00:1::2/64", "10.1.1.2/24", "10.2.0.2/24"].map(subnet).into();
    bench.ok(put(document()));
    bench
}

fn zones(bench: &Bench, lb: &str) -> Vec<rest::AvailabilityZone> {
    bench.model.show_load_balancer(bench.model.find_load_balancer(lb).expect(lb)).availability_zones
}

/// Zone, own address and what clients connect to, of each node.
fn nodes(bench: &Bench, lb: &str) -> Vec<String> {
    let show = |zone: &rest::AvailabilityZone| {
        let addresses: Vec<String> = zone.addresses.iter().map(ToString::to_string).collect();
        format!("{} {} {}", zone.zone_name, zone.private_ipv4_address, addresses.join(" "))
    };
    zones(bench, lb).iter().map(show).collect()
}

/// req: LB-19, LB-20, ZN-01, ZN-02, ZN-06, ZN-15
#[test]
fn nodes_get_the_lowest_free_addresses_of_their_subnets() {
    let mut bench = bench();
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-a", "subnet-b"]}));
    bench.ok(command);
    // Reserved: .1 and .3 to .9; .2 is this host's.
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.10 10.1.0.10", "zone-b 10.1.1.1 10.1.1.1"]);
    let lb = bench.model.show_load_balancers().load_balancers.remove(0);
    assert_eq!((lb.network.as_deref(), lb.availability_zones[0].subnet.as_deref()), (Some("vpc-1"), Some("subnet-a")));
    let command = create(&mut bench, json!({"name": "second", "subnets": ["subnet-b", "subnet-a"]}));
    bench.ok(command);
    // .11 is an instance's, .1.2 this host's.
    assert_eq!(nodes(&bench, "second"), ["zone-b 10.1.1.3 10.1.1.3", "zone-a 10.1.0.12 10.1.0.12"]);
    let internal = json!({"name": "in", "scheme": "internal", "subnetMappings": [
        {"subnet": "subnet-a", "privateIpv4Address": "10.1.0.200"}, {"subnet": "subnet-b"}]});
    let command = create(&mut bench, internal);
    bench.ok(command);
    assert_eq!(nodes(&bench, "in"), ["zone-a 10.1.0.200 10.1.0.200", "zone-b 10.1.1.4 10.1.1.4"]);
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    let command = create(&mut bench, json!({"name": "third", "subnets": ["subnet-a"]}));
    bench.ok(command);
    assert_eq!(nodes(&bench, "third"), ["zone-a 10.1.0.10 10.1.0.10"], "free again");
}

/// req: LB-19, LB-21, ZN-04, ZN-05, ZN-06, ZN-09, ZN-10, IPT-05, ERR-01
#[test]
fn what_cannot_be_is_refused() {
    let mut bench = bench();
    let mut changed = document();
    changed["zones"].as_array_mut().expect("zones").push(json!({"name": "full", "constrained": true}));
    for (id, zone, cidr) in [
        ("subnet-a2", "zone-a", "10.1.2.0/24"),
        ("subnet-edge", "edge", "10.1.3.0/24"),
        ("subnet-full", "full", "10.1.4.0/24"),
        ("subnet-far", "zone-b", "10.1.5.0/24"),
    ] {
        let subnet = json!({"id": id, "network": "vpc-1", "zone": zone, "cidr": cidr});
        changed["subnets"].as_array_mut().expect("subnets").push(subnet);
    }
    bench.ok(put(changed));
    let command = create(
        &mut bench,
        json!({"name": "old", "subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-1"}]}),
    );
    bench.ok(command);
    use Code::*;
    let node = json!([{"zone": "zone-a", "address": "10.1.0.50"}]);
    let mapping = |more: Value| {
        let mut mapping = json!({"subnet": "subnet-a"});
        mapping.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        json!({"subnetMappings": [mapping]})
    };
    let internal = |more: Value| {
        let mut request = mapping(more);
        request["scheme"] = json!("internal");
        request
    };
    for (request, code, field) in [
        (json!({}), ValidationError, "nodes"),
        (json!({"nodes": node, "subnets": ["subnet-a"]}), ValidationError, "subnets"),
        (
            json!({"subnetMappings": [{"subnet": "subnet-a"}], "subnets": ["subnet-b"]}),
            ValidationError,
            "subnetMappings",
        ),
        (json!({"subnets": ["subnet-a", "subnet-9"]}), SubnetNotFound, "subnets[1]"),
        (json!({"subnets": ["subnet-a", "subnet-a2"]}), InvalidConfigurationRequest, "subnets[1]"),
        (json!({"subnets": ["subnet-a", "subnet-a"]}), InvalidConfigurationRequest, "subnets[1]"),
        (json!({"scheme": "internal", "subnets": ["subnet-b", "subnet-2"]}), InvalidConfigurationRequest, "subnets[1]"),
        (json!({"subnets": ["subnet-2"]}), InvalidSubnet, "subnets[0]"),
        (json!({"subnets": ["subnet-edge"]}), AvailabilityZoneNotSupported, "subnets[0]"),
        (json!({"subnets": ["subnet-full"]}), AvailabilityZoneNotSupported, "subnets[0]"),
        (json!({"subnets": ["subnet-far"]}), InvalidSubnet, "subnets[0]"),
        (json!({"nodes": [{"zone": "full", "address": "10.1.0.50"}]}), AvailabilityZoneNotSupported, "nodes[0].zone"),
        (
            json!({"nodes": [{"zone": "zone-a", "address": "10.1.0.11"}]}),
            InvalidConfigurationRequest,
            "nodes[0].address",
        ),
        (json!({"subnets": ["subnet-a", "subnet-b"], "ipAddressType": "dualstack"}), InvalidSubnet, "ipAddressType"),
        (mapping(json!({"allocationId": "eipalloc-9"})), AllocationIdNotFound, "subnetMappings[0].allocationId"),
        (mapping(json!({"allocationId": "eipalloc-1"})), ResourceInUse, "subnetMappings[0].allocationId"),
        (
            internal(json!({"allocationId": "eipalloc-2"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].allocationId",
        ),
        (
            mapping(json!({"privateIpv4Address": "10.1.0.60"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].privateIpv4Address",
        ),
        (internal(json!({"privateIpv4Address": "10.1.1.60"})), InvalidSubnet, "subnetMappings[0].privateIpv4Address"),
        (internal(json!({"privateIpv4Address": "10.1.0.255"})), InvalidSubnet, "subnetMappings[0].privateIpv4Address"),
        (internal(json!({"privateIpv4Address": "web"})), ValidationError, "subnetMappings[0].privateIpv4Address"),
        (
            internal(json!({"privateIpv4Address": "10.1.0.10"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].privateIpv4Address",
        ),
        (
            internal(json!({"privateIpv4Address": "10.1.0.11"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].privateIpv4Address",
        ),
        (
            internal(json!({"privateIpv4Address": "10.1.0.5"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].privateIpv4Address",
        ),
        (
            internal(json!({"privateIpv4Address": "10.1.0.2"})),
            InvalidConfigurationRequest,
            "subnetMappings[0].privateIpv4Address",
        ),
        (mapping(json!({"ipv6Address": "fd00:1::60"})), InvalidConfigurationRequest, "subnetMappings[0].ipv6Address"),
    ] {
        let mut named = request.clone();
        named["name"] = json!("new");
        let command = create(&mut bench, named);
        let (found, at, message) = bench.refused(command);
        assert_eq!((found, at.as_deref()), (code, Some(field)), "{request}: {message}");
        if request["subnets"] == json!(["subnet-full"]) {
            assert_eq!(message, "Load balancers with type 'network' are not supported in full");
        }
    }
}

/// req: ZN-08
#[test]
fn eight_addresses_must_be_free_where_one_is_chosen() {
    let mut bench = bench();
    let mut small = document();
    small["instances"] = json!([]);
    small["subnets"][1]["cidr"] = json!("10.1.1.0/28");
    // 14 hosts: this host's own and 6 reserved, 7 free.
    small["subnets"][1]["reserved"] = json!(["10.1.1.9-10.1.1.14"]);
    bench.ok(put(small.clone()));
    assert_eq!(bench.model.free_addresses("subnet-b"), 7);
    for scheme in ["internet-facing", "internal"] {
        let command = create(&mut bench, json!({"name": "web", "scheme": scheme, "subnets": ["subnet-b"]}));
        let (code, field, message) = bench.refused(command);
        assert_eq!((code, field.as_deref()), (Code::InvalidSubnet, Some("subnets[0]")));
        let expected =
            "Not enough IP space available in subnet-b. ELB requires at least 8 free IP addresses in each subnet.";
        assert_eq!(message, expected);
    }
    let given = json!({"name": "in", "scheme": "internal", "subnetMappings": [{"subnet": "subnet-b", "privateIpv4Address": "10.1.1.3"}]});
    let command = create(&mut bench, given);
    bench.ok(command);
    small["subnets"][1]["reserved"] = json!(["10.1.1.11-10.1.1.14"]);
    bench.ok(put(small));
    assert_eq!(bench.model.free_addresses("subnet-b"), 8);
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-b"]}));
    bench.ok(command);
}

/// req: ZN-05, ZN-15, TGT-13
#[test]
fn clients_connect_to_a_static_address_and_targets_see_the_nodes_own() {
    let mut bench = bench();
    let request = json!({"name": "web", "subnetMappings": [
        {"subnet": "subnet-a", "allocationId": "eipalloc-2"}, {"subnet": "subnet-b"}]});
    let command = create(&mut bench, request);
    bench.ok(command);
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.10 203.0.113.2", "zone-b 10.1.1.1 10.1.1.1"]);
    assert_eq!(zones(&bench, "web")[0].allocation_id.as_deref(), Some("eipalloc-2"));
    for command in [
        group_in(&mut bench, "web", "vpc-1"),
        bench.listener("web", Protocol::Tcp, 80, "web"),
        register("web", &["10.1.0.91"]),
    ] {
        bench.ok(command);
    }
    let listener = bench.model.listeners().next().expect("it");
    let places: Vec<String> = listener.slots.iter().map(|place| place.address.to_string()).collect();
    assert_eq!(places, ["203.0.113.2", "10.1.1.1"]);
    assert_eq!(bench.model.check_plans()[0].source.to_string(), "10.1.0.10");
    assert!(bench.model.is_node([10, 1, 0, 10].into()) && bench.model.is_node([203, 0, 113, 2].into()));
    let records = bench.model.record_keys().into_iter();
    let records = records.map(|key| (key.to_string(), bench.model.record(&key).expect("a record")));
    let restarted = Model::load(bench.model.site.clone(), Limits::default(), records, bench.now);
    assert_eq!(restarted.as_ref(), Ok(&bench.model));
    bench.ok(Command::DeleteLoadBalancer { load_balancer: "web".into() });
    assert!(!bench.model.is_node([203, 0, 113, 2].into()));
}

/// req: ZN-02, ZN-03, ZN-07, ZN-12, ERR-12
#[test]
fn zones_are_added_and_never_taken_away() {
    let mut bench = bench();
    let mut more = document();
    let second = json!({"id": "subnet-a2", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.2.0/24"});
    more["subnets"].as_array_mut().expect("subnets").push(second);
    bench.ok(put(more));
    for command in [
        create(
            &mut bench,
            json!({"name": "web", "subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-1"}]}),
        ),
        create(
            &mut bench,
            json!({"name": "in", "scheme": "internal", "subnetMappings": [
            {"subnet": "subnet-a", "privateIpv4Address": "10.1.0.50"}]}),
        ),
        create(&mut bench, json!({"name": "by-address", "nodes": [{"zone": "zone-a", "address": "10.1.0.60"}]})),
        group_in(&mut bench, "web", "vpc-1"),
        bench.listener("web", Protocol::Tcp, 80, "web"),
        register("web", &["10.1.0.91"]),
    ] {
        bench.ok(command);
    }
    bench.set_health("web", "10.1.0.91", Health::Healthy);
    assert!(bench.ok(modify("web", json!({"subnets": ["subnet-a"]}))).changed.is_empty());
    bench.ok(modify("web", json!({"subnets": ["subnet-b", "subnet-a"]})));
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.10 203.0.113.1", "zone-b 10.1.1.1 10.1.1.1"]);
    let listener = bench.model.listeners().next().expect("it");
    assert_eq!(listener.slots.len(), 2, "the listener stands in the new zone");
    assert_eq!(bench.state("web", "10.1.0.91").0, TargetState::Healthy, "nothing happens to the targets");
    let same =
        json!({"subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-1"}, {"subnet": "subnet-b"}]});
    assert!(bench.ok(modify("web", same)).changed.is_empty());
    for (lb, request, field) in [
        ("web", json!({"subnets": ["subnet-a"]}), "subnets"),
        ("web", json!({"subnets": ["subnet-a2", "subnet-b"]}), "subnets[0]"),
        (
            "web",
            json!({"subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-2"}, {"subnet": "subnet-b"}]}),
            "subnetMappings[0].allocationId",
        ),
        (
            "web",
            json!({"subnetMappings": [{"subnet": "subnet-b", "allocationId": "eipalloc-2"}, {"subnet": "subnet-a"}]}),
            "subnetMappings[0].allocationId",
        ),
        (
            "in",
            json!({"subnetMappings": [{"subnet": "subnet-a", "privateIpv4Address": "10.1.0.51"}]}),
            "subnetMappings[0].privateIpv4Address",
        ),
        ("in", json!({"nodes": [{"zone": "zone-b", "address": "10.1.1.50"}]}), "nodes[0].zone"),
        ("in", json!({"nodes": [{"zone": "zone-a", "address": "10.1.0.51"}]}), "nodes[0].address"),
        (
            "in",
            json!({"nodes": [{"zone": "zone-a", "secondaryAddresses": ["10.1.1.51"]}]}),
            "nodes[0].secondaryAddresses",
        ),
        ("by-address", json!({"subnets": ["subnet-a", "subnet-b"]}), "subnets"),
        ("web", json!({"subnets": ["subnet-a", "subnet-b"], "nodes": [{"zone": "zone-a"}]}), "subnets"),
    ] {
        let (_, found, message) = bench.refused(modify(lb, request.clone()));
        assert_eq!(found.as_deref(), Some(field), "{request}: {message}");
    }
    bench.ok(modify("in", json!({"nodes": [{"zone": "zone-a", "secondaryAddresses": ["10.1.0.51"]}]})));
    bench.model.limits.nodes = 3;
    let (code, ..) = bench.refused(modify("in", json!({"subnets": ["subnet-a", "subnet-b"]})));
    assert_eq!(code, Code::InvalidConfigurationRequest, "the quota of interfaces in a network");
    // That of other networks, and of load balancers outside of them, is another one.
    let command = create(&mut bench, json!({"name": "two", "scheme": "internal", "subnets": ["subnet-2"]}));
    bench.ok(command);
}

/// req: QTA-03
#[test]
fn interfaces_are_counted_in_each_network() {
    let mut bench = bench();
    bench.model.limits.nodes = 2;
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-a", "subnet-b"]}));
    bench.ok(command);
    let command = create(&mut bench, json!({"name": "more", "subnets": ["subnet-a"]}));
    let (code, _, message) = bench.refused(command);
    assert_eq!(code, Code::InvalidConfigurationRequest);
    assert!(message.contains("network-load-balancer-enis-per-vpc=3"), "{message}");
    bench.model.limits.set("network-load-balancer-enis-per-vpc", 3).expect("adjustable");
    let command = create(&mut bench, json!({"name": "more", "subnets": ["subnet-a"]}));
    bench.ok(command);
}

/// req: IPT-01, IPT-03, IPT-05
#[test]
fn dualstack_needs_ipv6_in_every_subnet() {
    let mut bench = bench();
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-a"]}));
    bench.ok(command);
    bench.ok(modify("web", json!({"ipAddressType": "dualstack"})));
    // ::2 is this host's.
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.10 10.1.0.10 fd00:1::1"]);
    let (code, field, _) = bench.refused(modify("web", json!({"subnets": ["subnet-a", "subnet-b"]})));
    assert_eq!((code, field.as_deref()), (Code::InvalidSubnet, Some("ipAddressType")));
    bench.ok(modify("web", json!({"ipAddressType": "ipv4"})));
    bench.ok(modify("web", json!({"ipAddressType": "dualstack"})));
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.10 10.1.0.10 fd00:1::1"]);
    bench.ok(modify("web", json!({"ipAddressType": "ipv4", "subnets": ["subnet-a", "subnet-b"]})));
    let (code, field, message) = bench.refused(modify("web", json!({"ipAddressType": "dualstack"})));
    assert_eq!((code, field.as_deref()), (Code::InvalidSubnet, Some("ipAddressType")));
    assert!(message.contains("subnet-b"), "{message}");

    let given = |address: &str| {
        json!({"name": "six", "ipAddressType": "dualstack", "subnetMappings": [
        {"subnet": "subnet-a", "ipv6Address": address}]})
    };
    for (address, code) in [
        ("fd00:1:0:9::1", Code::InvalidSubnet),
        ("fd00:1::11", Code::InvalidConfigurationRequest),
        ("fd00:1::2", Code::InvalidConfigurationRequest),
        ("10.1.0.77", Code::ValidationError),
    ] {
        let command = create(&mut bench, given(address));
        let (found, field, _) = bench.refused(command);
        assert_eq!((found, field.as_deref()), (code, Some("subnetMappings[0].ipv6Address")), "{address}");
    }
    let command = create(&mut bench, given("fd00:1::66"));
    bench.ok(command);
    assert_eq!(nodes(&bench, "six"), ["zone-a 10.1.0.12 10.1.0.12 fd00:1::66"]);
    let other = json!({"subnetMappings": [{"subnet": "subnet-a", "ipv6Address": "fd00:1::67"}]});
    assert_eq!(bench.refused(modify("six", other)).1.as_deref(), Some("subnetMappings[0].ipv6Address"));
    // What was asked for when it became dualstack counts.
    bench.ok(modify("six", json!({"ipAddressType": "ipv4"})));
    bench.ok(modify(
        "six",
        json!({"ipAddressType": "dualstack", "subnetMappings": [{"subnet": "subnet-a", "ipv6Address": "fd00:1::68"}]}),
    ));
    assert_eq!(nodes(&bench, "six"), ["zone-a 10.1.0.12 10.1.0.12 fd00:1::68"]);
}

/// req: LB-05, LB-14
#[test]
fn the_scheme_is_chosen_once() {
    let mut bench = bench();
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-a"]}));
    bench.ok(command);
    let lb = bench.model.show_load_balancers().load_balancers.remove(0);
    assert_eq!(lb.scheme, rest::Scheme::InternetFacing);
    let other = serde_json::from_value::<rest::ModifyLoadBalancer>(json!({"scheme": "internal"}));
    assert!(other.expect_err("it cannot be changed").to_string().contains("unknown field `scheme`"));
    let command = create(&mut bench, json!({"name": "web", "scheme": "internal", "subnets": ["subnet-a"]}));
    assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName);
}

/// req: LB-04, LB-18
#[test]
fn equal_creates_give_the_same_load_balancer() {
    let mut bench = bench();
    let request = json!({"name": "web", "tags": {"team": "a"}, "subnetMappings": [
        {"subnet": "subnet-a", "allocationId": "eipalloc-1"}, {"subnet": "subnet-b"}]});
    let command = create(&mut bench, request.clone());
    let id = bench.ok(command).id;
    for same in [
        request.clone(),
        json!({"name": "web", "tags": {"team": "a"}, "scheme": "internet-facing", "ipAddressType": "ipv4", "subnetMappings": [
            {"subnet": "subnet-b"}, {"subnet": "subnet-a", "allocationId": "eipalloc-1"}]}),
    ] {
        let command = create(&mut bench, same);
        let effects = bench.ok(command);
        assert_eq!((effects.changed.len(), effects.id), (0, id));
    }
    for (key, value) in [
        ("tags", json!({})),
        ("scheme", json!("internal")),
        ("ipAddressType", json!("dualstack")),
        ("subnetMappings", json!([{"subnet": "subnet-a", "allocationId": "eipalloc-1"}])),
        ("subnetMappings", json!([{"subnet": "subnet-a"}, {"subnet": "subnet-b"}])),
        ("type", json!("application")),
    ] {
        let mut other = request.clone();
        other[key] = value.clone();
        if key == "type" {
            other["subnetMappings"] = json!([{"subnet": "subnet-a"}]);
        }
        let command = create(&mut bench, other);
        assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName, "{key} {value}");
    }
    // An address that was chosen is not one that was asked for.
    for request in [
        json!({"subnets": ["subnet-a"]}),
        json!({"subnetMappings": [{"subnet": "subnet-a", "privateIpv4Address": "10.1.0.12"}]}),
    ] {
        let mut request = request;
        request["name"] = json!("in");
        request["scheme"] = json!("internal");
        let command = create(&mut bench, request.clone());
        if request["subnets"].is_null() {
            assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName);
        } else {
            bench.ok(command);
        }
    }
    let proxy = json!({"name": "proxy", "type": "application", "nodes": [{"zone": "zone-a", "address": "10.1.0.77"}]});
    let command = create(&mut bench, proxy);
    bench.ok(command);
    let command = create(&mut bench, json!({"name": "proxy", "subnets": ["subnet-a"]}));
    assert_eq!(bench.refused(command).0, Code::DuplicateLoadBalancerName);
}

/// req: ZN-01, ZN-07, ZN-11, ZN-15
#[test]
fn every_node_has_an_interface() {
    let mut bench = bench();
    let command = create(
        &mut bench,
        json!({"name": "web", "subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-1"}]}),
    );
    bench.ok(command);
    let command =
        create(&mut bench, json!({"name": "by-address", "nodes": [{"zone": "zone-a", "address": "10.1.0.60"}]}));
    bench.ok(command);
    let before = bench.model.interfaces();
    let id = bench.model.find_load_balancer("web").expect("it").id;
    assert_eq!(before[0].description, format!("ELB net/web/{id}"));
    let shown: Vec<String> = before[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        (before[0].private_ipv4_address.to_string().as_str(), shown.join(" ")),
        ("10.1.0.10", "203.0.113.1 10.1.0.10".into())
    );
    assert_eq!((before[0].subnet.as_deref(), before[0].network.as_deref()), (Some("subnet-a"), Some("vpc-1")));
    assert_eq!((before[1].subnet.as_deref(), before[1].network.as_deref()), (None, None));
    bench.ok(modify("web", json!({"subnets": ["subnet-a", "subnet-b"]})));
    let after = bench.model.interfaces();
    assert_eq!((&after[0], &after[2]), (&before[0], &before[1]), "they stay");
    let ids: std::collections::BTreeSet<&String> = after.iter().map(|interface| &interface.id).collect();
    assert_eq!(ids.len(), 3);
    let digits = |id: &str| {
        id.strip_prefix("eni-").is_some_and(|id| id.len() == 17 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    assert!(ids.into_iter().all(|id| digits(id)));
}

/// Without ports' subnets nothing is known of the network, and no address is refused for it.
#[test]
fn addresses_are_chosen_where_the_data_plane_can_have_them() {
    let mut bench = bench();
    let half: (String, ipnet::IpNet) = ("p0".into(), "10.1.0.130/25".parse().expect("a net"));
    bench.model.site.subnets = vec![half];
    let command = create(&mut bench, json!({"name": "web", "subnets": ["subnet-a"]}));
    bench.ok(command);
    assert_eq!(nodes(&bench, "web"), ["zone-a 10.1.0.129 10.1.0.129"], "the lowest one of the port's half");
    let command = create(&mut bench, json!({"name": "b", "subnets": ["subnet-b"]}));
    let (code, field, message) = bench.refused(command);
    assert_eq!((code, field.as_deref()), (Code::InvalidSubnet, Some("subnets[0]")));
    assert!(message.contains("10.1.0.128/25 (p0)"), "{message}");
    bench.model.site.subnets.clear();
    let command = create(&mut bench, json!({"name": "b", "subnets": ["subnet-b"]}));
    bench.ok(command);
}

//! The inventory: what is taken, what is refused, and what may not change as it is in use.

use super::*;
use crate::inventory::Change as Inventory;
use crate::model::{Kind, RecordKey};
use serde_json::{Value, json};

pub fn put(document: Value) -> Command {
    Command::Inventory(Inventory::Put(serde_json::from_value(document).expect("an inventory")))
}

/// Two networks that know each other; `vpc-1` has a subnet in each of two zones, and IPv6 in the first.
pub fn document() -> Value {
    json!({
        "zones": [{"name": "zone-a"}, {"name": "zone-b"}, {"name": "edge", "kind": "local-zone"}],
        "networks": [
            {"id": "vpc-1", "cidrs": ["10.1.0.0/16", "fd00:1::/48"], "peers": ["vpc-2"]},
            {"id": "vpc-2", "cidrs": ["10.2.0.0/16"], "internetGateway": false},
        ],
        "subnets": [
            {"id": "subnet-a", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.0.0/24", "ipv6Cidr": "fd00:1::/64",
             "reserved": ["10.1.0.1", "10.1.0.3-10.1.0.9"]},
            {"id": "subnet-b", "network": "vpc-1", "zone": "zone-b", "cidr": "10.1.1.0/24"},
            {"id": "subnet-2", "network": "vpc-2", "zone": "zone-a", "cidr": "10.2.0.0/24"},
        ],
        "instances": [
            {"id": "i-1", "subnet": "subnet-a", "address": "10.1.0.11", "otherAddresses": ["fd00:1::11"], "labels": {"app": "web"}},
            {"id": "i-2", "subnet": "subnet-b", "address": "10.1.1.11"},
        ],
        "staticAddresses": [{"id": "eipalloc-1", "address": "203.0.113.1"}, {"id": "eipalloc-2", "address": "203.0.113.2"}],
        "ports": [{"name": "p0", "role": "uplink"}],
    })
}

/// A TCP group of addresses in a network.
pub fn group_in(bench: &mut Bench, name: &str, network: &str) -> Command {
    let mut command = bench.group(name, Protocol::Tcp);
    if let Command::CreateTargetGroup { request, .. } = &mut command {
        request.network = Some(network.into());
    }
    command
}

/// A document with one value replaced (or, with null, removed from its list), named by its JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut changed = document();
    if value.is_null() {
        let (list, at) = pointer.rsplit_once('/').expect("a pointer");
        let list = changed.pointer_mut(list).and_then(Value::as_array_mut).expect(pointer);
        list.remove(at.parse().expect("an index"));
    } else if let Some(old) = changed.pointer_mut(pointer) {
        *old = value;
    } else {
        let (object, key) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(object).expect(pointer)[key] = value;
    }
    changed
}

#[test]
fn an_inventory_is_put_as_a_whole_and_only_changes_are_stored() {
    let mut bench = Bench::new();
    assert_eq!(bench.ok(put(document())).changed.len(), 1 + 3 + 2 + 3 + 2 + 2 + 1, "every record, and the epoch");
    let shown = serde_json::to_value(bench.model.show_inventory()).expect("JSON");
    assert_eq!(shown["subnets"][1]["id"], "subnet-a", "by id");
    assert!(bench.ok(put(document())).changed.is_empty(), "the same again");
    assert!(bench.ok(put(shown)).changed.is_empty(), "what is shown can be put");
    let changed = bench.ok(put(with("/instances/1/state", json!("stopped")))).changed;
    assert_eq!(
        changed.into_iter().collect::<Vec<_>>(),
        [RecordKey::Meta, RecordKey::Object(Kind::Instance, "i-2".into())]
    );
    bench.refused(put(with("/instances/0/subnet", json!("subnet-9"))));
    bench.ok(put(json!({})));
    assert_eq!(bench.model.show_inventory(), rest::Inventory::default());
}

#[test]
fn what_does_not_go_together_is_refused_at_its_field() {
    let mut bench = Bench::new();
    bench.model.limits.instances = 3;
    let zone = json!({"name": "zone-a"});
    let overlapping = json!({"id": "vpc-3", "cidrs": ["10.2.128.0/17"]});
    let inside = json!({"id": "subnet-c", "network": "vpc-1", "zone": "zone-b", "cidr": "10.1.0.128/25"});
    let instance = json!({"id": "i-3", "subnet": "subnet-b", "address": "10.1.1.11"});
    let many: Vec<Value> = (1..5)
        .map(|n| json!({"id": format!("i-{n}"), "subnet": "subnet-b", "address": format!("10.1.1.{n}")}))
        .collect();
    for (pointer, value, field) in [
        ("/zones/1/name", json!("zone a"), "zones[1].name"),
        ("/zones/1/name", json!("all"), "zones[1].name"),
        ("/zones/1", zone, "zones[1].name"),
        ("/networks/0/id", json!("a/b"), "networks[0].id"),
        ("/networks/1/id", json!("vpc-1"), "networks[1].id"),
        ("/networks/1/cidrs", json!([]), "networks[1].cidrs"),
        ("/networks/1/cidrs", json!(["10.2.0.1/16"]), "networks[1].cidrs[0]"),
        ("/networks/1/cidrs", json!(["10.2.0.0/16", "224.0.0.0/8"]), "networks[1].cidrs[1]"),
        ("/networks/1/cidrs", json!(["10.2.0.0/16", "10.2.3.0/24"]), "networks[1].cidrs[1]"),
        ("/networks/0/peers", json!(["vpc-9"]), "networks[0].peers[0]"),
        ("/networks/0/peers", json!(["vpc-1"]), "networks[0].peers[0]"),
        ("/networks/2", overlapping, "networks[2].cidrs[0]"),
        ("/subnets/2/id", json!("subnet-b"), "subnets[2].id"),
        ("/subnets/2/network", json!("vpc-9"), "subnets[2].network"),
        ("/subnets/2/zone", json!("zone-z"), "subnets[2].zone"),
        ("/subnets/2/cidr", json!("10.3.0.0/24"), "subnets[2].cidr"),
        ("/subnets/2/cidr", json!("10.2.0.4/24"), "subnets[2].cidr"),
        ("/subnets/2/cidr", json!("fd00:1:0:1::/64"), "subnets[2].cidr"),
        ("/subnets/2/ipv6Cidr", json!("fd00:2::/64"), "subnets[2].ipv6Cidr"),
        ("/subnets/1/ipv6Cidr", json!("fd00:1::/64"), "subnets[1].ipv6Cidr"),
        ("/subnets/1/cidr", json!("10.1.0.0/23"), "subnets[1].cidr"),
        ("/subnets/3", inside, "subnets[3].cidr"),
        ("/subnets/0/reserved", json!(["10.1.0.1", "10.1.0.9-10.1.0.3"]), "subnets[0].reserved[1]"),
        ("/subnets/0/reserved", json!(["10.1.1.1"]), "subnets[0].reserved[0]"),
        ("/subnets/0/reserved", json!(["10.1.0.1-fd00:1::1"]), "subnets[0].reserved[0]"),
        ("/instances/1/subnet", json!("subnet-9"), "instances[1].subnet"),
        ("/instances/1/address", json!("10.1.0.12"), "instances[1].address"),
        ("/instances/1/address", json!("10.1.1.255"), "instances[1].address"),
        ("/instances/1/otherAddresses", json!(["10.2.0.1"]), "instances[1].otherAddresses[0]"),
        ("/instances/1/otherAddresses", json!(["10.1.1.12", "10.1.1.12"]), "instances[1].otherAddresses[1]"),
        ("/instances/1/otherAddresses", json!(["10.1.0.11"]), "instances[1].otherAddresses[0]"),
        ("/instances/2", instance, "instances[2].address"),
        ("/instances", json!(many), "instances"),
        ("/instances/0/labels", json!({"": "x"}), "instances[0].labels"),
        ("/instances/0/address", json!("10.1.0.2"), "instances[0].address"),
        ("/staticAddresses/1/address", json!("203.0.113.1"), "staticAddresses[1].address"),
        ("/staticAddresses/1/address", json!("224.0.0.1"), "staticAddresses[1].address"),
        ("/staticAddresses/1/address", json!("10.1.0.11"), "staticAddresses[1].address"),
        ("/staticAddresses/1/address", json!("10.1.0.2"), "staticAddresses[1].address"),
        ("/staticAddresses/1/id", json!("eipalloc-1"), "staticAddresses[1].id"),
        ("/ports/0/name", json!(""), "ports[0].name"),
    ] {
        let added = pointer.rsplit('/').next().and_then(|last| last.parse::<usize>().ok());
        let mut changed = document();
        match changed.pointer_mut(pointer) {
            None if added.is_some() => {
                let (list, _) = pointer.rsplit_once('/').expect("a pointer");
                changed.pointer_mut(list).and_then(Value::as_array_mut).expect(list).push(value.clone());
            }
            _ => changed = with(pointer, value.clone()),
        }
        let (code, found, message) = bench.refused(put(changed));
        assert_eq!(found.as_deref(), Some(field), "{pointer} {value}: {message}");
        assert!(matches!(code, Code::ValidationError | Code::InvalidConfigurationRequest), "{code:?}");
    }
}

/// Load balancers `web` (internet-facing, with a static address) and `in` (internal), and a group, in network `vpc-1`.
fn used() -> Bench {
    let mut bench = Bench::new();
    bench.model.site.subnets.clear();
    bench.ok(put(document()));
    for request in [
        json!({"name": "web", "ipAddressType": "dualstack", "subnetMappings": [{"subnet": "subnet-a", "allocationId": "eipalloc-1"}]}),
        json!({"name": "in", "scheme": "internal", "subnets": ["subnet-b"]}),
    ] {
        let request = serde_json::from_value(request).expect("a request");
        let id = bench.id();
        bench.ok(Command::CreateLoadBalancer { request, id });
    }
    let command = group_in(&mut bench, "two", "vpc-2");
    bench.ok(command);
    bench
}

#[test]
fn what_is_in_use_stays_as_it_is() {
    let mut bench = used();
    for (pointer, value, field, user) in [
        ("/subnets/1", Value::Null, "subnets", "\"in\""),
        ("/subnets/1/zone", json!("zone-a"), "subnets[1].zone", "\"in\""),
        ("/subnets/1/cidr", json!("10.1.1.8/29"), "subnets[1].cidr", "\"in\""),
        ("/zones/1/kind", json!("local-zone"), "zones[1].kind", "\"in\""),
        ("/networks/0/internetGateway", json!(false), "networks[0].internetGateway", "\"web\""),
        ("/staticAddresses/0", Value::Null, "staticAddresses", "\"web\""),
        ("/staticAddresses/0/address", json!("203.0.113.9"), "staticAddresses[0].address", "\"web\""),
    ] {
        let mut changed = with(pointer, value.clone());
        // What else is in the way.
        changed["instances"] = json!([]);
        let (code, found, message) = bench.refused(put(changed));
        assert_eq!((code, found.as_deref()), (Code::ResourceInUse, Some(field)), "{pointer} {value}: {message}");
        assert!(message.contains(user), "{message}");
    }
    let mut without = document();
    without["instances"] = json!([]);
    without["subnets"][0].as_object_mut().expect("a subnet").remove("ipv6Cidr");
    assert_eq!(bench.refused(put(without)).1.as_deref(), Some("subnets[0].ipv6Cidr"));
    let mut without = with("/networks/0/peers", json!([]));
    without["networks"].as_array_mut().expect("networks").pop();
    without["subnets"].as_array_mut().expect("subnets").pop();
    let (code, field, message) = bench.refused(put(without));
    assert_eq!((code, field.as_deref()), (Code::ResourceInUse, Some("networks")));
    assert!(message.contains("\"two\""), "{message}");
    // The rest may change, also that a zone takes no more load balancers.
    let mut fine = with("/zones/0/constrained", json!(true));
    fine["subnets"][0]["labels"] = json!({"tier": "front"});
    fine["subnets"][0]["reserved"] = json!([]);
    fine["staticAddresses"].as_array_mut().expect("a list").pop();
    assert_eq!(bench.ok(put(fine)).changed.len(), 4);
    for load_balancer in ["web", "in"] {
        bench.ok(Command::DeleteLoadBalancer { load_balancer: load_balancer.into() });
    }
    bench.ok(Command::DeleteTargetGroup { target_group: "two".into() });
    bench.ok(put(json!({})));
}

#[test]
fn instances_change_one_by_one() {
    let mut bench = used();
    let instance =
        |value: Value| Command::Inventory(Inventory::PutInstance(serde_json::from_value(value).expect("one")));
    let three = json!({"id": "i-3", "subnet": "subnet-b", "address": "10.1.1.13"});
    assert_eq!(bench.ok(instance(three.clone())).changed.len(), 2);
    assert!(bench.ok(instance(three)).changed.is_empty());
    for (value, field) in [
        (json!({"id": "i-3", "subnet": "subnet-9", "address": "10.1.1.13"}), "subnet"),
        (json!({"id": "i-3", "subnet": "subnet-b", "address": "10.1.1.11"}), "address"),
        (json!({"id": "i-3", "subnet": "subnet-b", "address": "10.1.1.1"}), "address"),
        (
            json!({"id": "i-3", "subnet": "subnet-b", "address": "10.1.1.13", "otherAddresses": ["10.1.0.11"]}),
            "otherAddresses[0]",
        ),
        (json!({"id": "i 3", "subnet": "subnet-b", "address": "10.1.1.13"}), "id"),
    ] {
        let (_, found, message) = bench.refused(instance(value.clone()));
        assert_eq!(found.as_deref(), Some(field), "{value}: {message}");
    }
    let modify = |id: &str, request: Value| {
        Command::Inventory(Inventory::ModifyInstance(id.into(), serde_json::from_value(request).expect("a request")))
    };
    bench.ok(modify("i-3", json!({"state": "stopped"})));
    bench.ok(modify("i-3", json!({"labels": {"app": "api"}})));
    let shown = bench.model.instance("i-3").expect("it");
    assert_eq!((shown.state, shown.labels["app"].as_str()), (rest::InstanceState::Stopped, "api"));
    assert_eq!(bench.refused(modify("i-9", json!({}))).0, Code::InstanceNotFound);
    let delete = || Command::Inventory(Inventory::DeleteInstance("i-3".into()));
    assert_eq!(bench.ok(delete()).changed.len(), 2);
    assert!(bench.ok(delete()).changed.is_empty());
    assert!(bench.model.find_instance("i-3").is_err());
}

#[test]
fn addresses_lead_to_networks_subnets_and_instances() {
    let bench = used();
    let model = &bench.model;
    let address = |text: &str| text.parse().expect(text);
    let network = |text| model.network_of_address(address(text)).map(|network| network.id.as_str());
    assert_eq!(
        ["10.1.9.9", "fd00:1::9", "10.2.0.1", "10.3.0.1"].map(network),
        [Some("vpc-1"), Some("vpc-1"), Some("vpc-2"), None]
    );
    let subnet = |net, text| model.subnet_of_address(net, address(text)).map(|subnet| subnet.id.as_str());
    assert_eq!(subnet("vpc-1", "10.1.1.9"), Some("subnet-b"));
    assert_eq!(subnet("vpc-1", "fd00:1::9"), Some("subnet-a"));
    assert_eq!((subnet("vpc-1", "10.1.9.9"), subnet("vpc-2", "10.1.1.9")), (None, None));
    let instance = |text| model.instance_of_address(address(text)).map(|instance| instance.id.as_str());
    assert_eq!((instance("fd00:1::11"), instance("10.1.0.12")), (Some("i-1"), None));
    assert!(model.reaches("vpc-1", "vpc-2") && model.reaches("vpc-2", "vpc-2") && !model.reaches("vpc-2", "vpc-1"));
}

#[test]
fn free_addresses_are_counted() {
    let mut bench = Bench::new();
    bench.ok(put(document()));
    // 254 hosts; 8 reserved, one instance, one of this host.
    assert_eq!(bench.model.free_addresses("subnet-a"), 254 - 8 - 1 - 1);
    assert_eq!(bench.model.free_addresses("subnet-b"), 254 - 1);
    assert_eq!((bench.model.free_addresses("subnet-2"), bench.model.free_addresses("subnet-9")), (254, 0));
    let command = bench.load_balancer("web", "10.1.0.40");
    bench.ok(command);
    assert_eq!(bench.model.free_addresses("subnet-a"), 243, "a node that was given by its address");
    bench.model.site.gateways = vec![[10, 1, 0, 20].into(), [10, 1, 0, 1].into()];
    assert_eq!(bench.model.free_addresses("subnet-a"), 242, "a gateway that was not reserved");
    for command in [group_in(&mut bench, "web", "vpc-1"), register("web", &["10.1.0.30", "10.1.0.11"])] {
        bench.ok(command);
    }
    assert_eq!(bench.model.free_addresses("subnet-a"), 241, "a target that is no instance");
}

#[test]
fn three_thousand_instances_are_kept() {
    let mut bench = Bench::new();
    let instance = |n: u32| json!({"id": format!("i-{n}"), "subnet": "big", "address": format!("10.1.{}.{}", n / 250, 1 + n % 250)});
    let document = json!({
        "zones": [{"name": "zone-a"}],
        "networks": [{"id": "vpc-1", "cidrs": ["10.1.0.0/16"]}],
        "subnets": [{"id": "big", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.0.0/16"}],
        "instances": (2..3002).map(instance).collect::<Vec<_>>(),
    });
    bench.ok(put(document));
    assert_eq!(bench.model.free_addresses("big"), 65_534 - 3000 - 1);
}

//! Any sequence of changes of the inventory and of load balancers in its subnets keeps them in step.

use super::inventories::{document, put};
use super::*;
use crate::inventory::Change as Inventory;
use crate::shift::Change as Shift;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Debug)]
enum Step {
    Put { without: Option<(u8, u8)>, cidr: bool, gateway: bool, constrained: bool, swapped: bool },
    Instance(u8, u8),
    DeleteInstance(u8),
    Create { name: u8, internal: bool, dualstack: bool, subnets: Vec<(u8, u8)> },
    Modify { name: u8, dualstack: Option<bool>, subnets: Vec<(u8, u8)> },
    ByAddress(u8, u8),
    Delete(u8),
    Shift(u8, u8, u8),
    Cancel(u8),
    Wait(u32),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let subnets = || proptest::collection::vec((0..4u8, 0..6u8), 0..3);
    let flag = any::<bool>;
    prop_oneof![
        (proptest::option::of((0..5u8, 0..3u8)), flag(), flag(), flag(), flag()).prop_map(
            |(without, cidr, gateway, constrained, swapped)| Step::Put { without, cidr, gateway, constrained, swapped }
        ),
        (0..4u8, 0..8u8).prop_map(|(n, last)| Step::Instance(n, last)),
        (0..4u8).prop_map(Step::DeleteInstance),
        (0..3u8, flag(), flag(), subnets()).prop_map(|(name, internal, dualstack, subnets)| Step::Create {
            name,
            internal,
            dualstack,
            subnets
        }),
        (0..3u8, proptest::option::of(flag()), subnets()).prop_map(|(name, dualstack, subnets)| Step::Modify {
            name,
            dualstack,
            subnets
        }),
        (0..3u8, 0..8u8).prop_map(|(name, last)| Step::ByAddress(name, last)),
        (0..3u8).prop_map(Step::Delete),
        (0..3u8, 0..2u8, 0..4u8).prop_map(|(name, zone, id)| Step::Shift(name, zone, id)),
        (0..4u8).prop_map(Step::Cancel),
        (0..4_000_000u32).prop_map(Step::Wait),
        Just(Step::Restart),
    ]
}

fn mappings(subnets: &[(u8, u8)]) -> Vec<rest::SubnetMapping> {
    let ids = ["subnet-a", "subnet-b", "subnet-2", "none"];
    let given = |what: u8, values: &[(u8, &str)]| {
        values.iter().find(|(of, _)| *of == what).map(|(_, value)| (*value).to_owned())
    };
    let mapping = |(subnet, what): &(u8, u8)| rest::SubnetMapping {
        subnet: ids[usize::from(*subnet)].into(),
        allocation_id: given(*what, &[(0, "eipalloc-1"), (1, "eipalloc-2")]),
        private_ipv4_address: given(*what, &[(2, "10.1.0.10"), (3, "10.1.1.3")]),
        ipv6_address: given(*what, &[(4, "fd00:1::20")]),
    };
    subnets.iter().map(mapping).collect()
}

fn changed(without: Option<(u8, u8)>, cidr: bool, gateway: bool, constrained: bool, swapped: bool) -> Value {
    let mut document = document();
    document["networks"][0]["internetGateway"] = json!(gateway);
    document["zones"][0]["constrained"] = json!(constrained);
    if cidr {
        document["subnets"][0]["cidr"] = json!("10.1.0.0/28");
        document["subnets"][0]["reserved"] = json!([]);
    }
    if swapped {
        document["staticAddresses"][0]["address"] = json!("203.0.113.3");
        document["subnets"][1]["zone"] = json!("edge");
    }
    if let Some((list, at)) = without {
        let list = ["zones", "networks", "subnets", "instances", "staticAddresses"][usize::from(list)];
        let list = document[list].as_array_mut().expect("a list");
        if usize::from(at) < list.len() {
            list.remove(usize::from(at));
        }
    }
    document
}

fn run(bench: &mut Bench, step: &Step) -> Result<Effects, Error> {
    let name = |n: u8| format!("n{n}");
    let kind = |dualstack| if dualstack { IpAddressType::Dualstack } else { IpAddressType::Ipv4 };
    let command = match step.clone() {
        Step::Put { without, cidr, gateway, constrained, swapped } => {
            put(changed(without, cidr, gateway, constrained, swapped))
        }
        Step::Instance(n, last) => {
            let instance =
                json!({"id": format!("i-{n}"), "subnet": "subnet-a", "address": format!("10.1.0.{}", 9 + last)});
            Command::Inventory(Inventory::PutInstance(serde_json::from_value(instance).expect("an instance")))
        }
        Step::DeleteInstance(n) => Command::Inventory(Inventory::DeleteInstance(format!("i-{n}"))),
        Step::Create { name: n, internal, dualstack, subnets } => {
            let request = rest::CreateLoadBalancer {
                name: name(n),
                scheme: Some(if internal { rest::Scheme::Internal } else { rest::Scheme::InternetFacing }),
                ip_address_type: Some(kind(dualstack)),
                subnet_mappings: mappings(&subnets),
                ..Default::default()
            };
            Command::CreateLoadBalancer { request, id: bench.id() }
        }
        Step::Modify { name: n, dualstack, subnets } => {
            let request = rest::ModifyLoadBalancer {
                ip_address_type: dualstack.map(kind),
                subnet_mappings: mappings(&subnets),
                ..Default::default()
            };
            Command::ModifyLoadBalancer { load_balancer: name(n), request }
        }
        Step::ByAddress(n, last) => bench.load_balancer(&name(n), &format!("10.1.0.{}", 9 + last)),
        Step::Delete(n) => Command::DeleteLoadBalancer { load_balancer: name(n) },
        Step::Shift(n, zone, id) => {
            let request = rest::StartZonalShift {
                load_balancer: name(n),
                away_from: ["zone-a", "zone-b"][usize::from(zone)].into(),
                expires_in: "1h".into(),
                comment: String::new(),
            };
            // Ids are drawn at random: none comes twice.
            let id = format!("{id}-{}", bench.id());
            Command::Shift(Shift::Start { request, id })
        }
        Step::Cancel(n) => {
            let id = bench.model.shifts().nth(usize::from(n)).map_or("none".into(), |(id, _)| id.to_owned());
            Command::Shift(Shift::Cancel { id })
        }
        Step::Wait(ms) => {
            bench.now.wall_ms += u64::from(ms);
            bench.now.mono_ms += u64::from(ms);
            Command::Expire
        }
        Step::Restart => {
            let keys = bench.model.record_keys().into_iter();
            let records = keys.map(|key| (key.to_string(), bench.model.record(&key).expect("a record")));
            let site = bench.model.site.clone();
            let mut loaded = Model::load(site, Limits::default(), records, bench.now).expect("it can be read");
            // Of what is over nobody asks when exactly it was by a clock that is gone.
            for (id, shift) in &mut loaded.shifts {
                if shift.status != rest::ShiftStatus::Active {
                    shift.expiry_mono_ms = bench.model.shifts[id].expiry_mono_ms;
                }
            }
            assert_eq!(loaded, bench.model);
            bench.model = loaded;
            return Ok(Effects::default());
        }
    };
    bench.apply(command)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every node is in its subnet, with addresses of it that are nobody else's; what it uses is declared; nodes never change.
    /// (The bench checks references and changed records after every command.)
    ///
    /// req: ZN-03, ZN-06, ZN-07, ZS-03
    #[test]
    fn load_balancers_and_the_inventory_stay_in_step(steps in proptest::collection::vec(step(), 1..50)) {
        let mut bench = Bench::new();
        bench.model.site.subnets.clear();
        bench.ok(put(document()));
        for step in &steps {
            let nodes = |model: &Model| -> BTreeMap<(Id, String), (IpAddr, Option<String>)> {
                let of = |lb: &crate::resource::LoadBalancer| {
                    let node = |node: &crate::resource::Node| {
                        ((lb.id, node.zone.clone()), (node.address.into(), node.static_address.as_ref().map(|it| it.allocation_id.clone())))
                    };
                    lb.nodes.iter().map(node).collect::<Vec<_>>()
                };
                model.load_balancers().flat_map(of).collect()
            };
            let before = nodes(&bench.model);
            let _ = run(&mut bench, step);
            let model = &bench.model;
            let after = nodes(model);
            for (key, node) in &before {
                if model.load_balancer(key.0).is_some() {
                    prop_assert_eq!(after.get(key), Some(node));
                }
            }
            let mut seen = BTreeMap::new();
            for lb in model.load_balancers() {
                for node in &lb.nodes {
                    for address in node.all_addresses() {
                        prop_assert_eq!(seen.insert(address, lb.id), None);
                        prop_assert!(model.instance_of_address(address).is_none());
                    }
                    let Some(subnet) = node.subnet.as_ref() else { continue };
                    let subnet = model.subnet(subnet).expect("it is declared");
                    prop_assert_eq!((&subnet.zone, Some(&subnet.network)), (&node.zone, lb.network.as_ref()));
                    prop_assert!(crate::check::is_host_of(subnet.cidr, node.address.into()));
                    let inside = |address: std::net::Ipv6Addr| subnet.ipv6_cidr.is_some_and(|net| net.contains(&IpAddr::from(address)));
                    prop_assert!(node.ipv6_address.is_none_or(inside));
                    prop_assert_eq!(node.ipv6_address.is_some(), lb.ip_address_type == IpAddressType::Dualstack);
                    if let Some(used) = &node.static_address {
                        prop_assert_eq!(model.static_address(&used.allocation_id).map(|it| it.address), Some(used.address));
                    }
                }
                let shifts = model.shifts().filter(|(_, it)| it.load_balancer == lb.id && it.status == rest::ShiftStatus::Active);
                prop_assert!(shifts.count() <= 1);
            }
        }
    }
}

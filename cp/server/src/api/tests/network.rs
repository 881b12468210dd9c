//! The inventory, zonal shifts, and what carries Classic load balancers.

use super::*;

const INVENTORY: &str = "/v1/inventory";

fn inventory() -> Value {
    json!({
        "zones": [{"name": "zone-a"}, {"name": "zone-b"}],
        "networks": [{"id": "net-1", "cidrs": ["10.1.0.0/16", "10.2.0.0/16"]}],
        "subnets": [
            {"id": "front-a", "network": "net-1", "zone": "zone-a", "cidr": "10.1.0.0/25"},
            {"id": "front-b", "network": "net-1", "zone": "zone-b", "cidr": "10.1.0.128/25"},
            {"id": "hosts-a", "network": "net-1", "zone": "zone-a", "cidr": "10.2.0.0/24"}
        ],
        "instances": [{"id": "i-1", "subnet": "hosts-a", "address": "10.2.0.11", "labels": {"app": "web"}}]
    })
}

/// Load balancer `inner` in both zones, group `hosts` of instances, listener on 80.
async fn bench() -> Bench {
    let bench = Bench::new();
    bench.done("PUT", INVENTORY, inventory()).await;
    let lb = json!({"name": "inner", "scheme": "internal", "subnets": ["front-a", "front-b"]});
    bench.done("POST", "/v1/load-balancers", lb).await;
    let group = json!({
        "name": "hosts", "protocol": "TCP", "port": 80, "targetType": "instance", "network": "net-1",
        "selector": {"app": "web"}
    });
    bench.done("POST", "/v1/target-groups", group).await;
    let listener = json!({"protocol": "TCP", "port": 80, "targetGroup": "hosts"});
    bench.done("POST", "/v1/load-balancers/inner/listeners", listener).await;
    bench
}

/// req: LB-19, LB-20, TGT-11, ZN-06
#[tokio::test]
async fn load_balancers_and_groups_stand_on_the_inventory() {
    let bench = bench().await;
    let lb = bench.get("/v1/load-balancers/inner").await;
    assert_eq!((&lb["network"], &lb["availabilityZones"][1]["subnet"]), (&json!("net-1"), &json!("front-b")));
    let targets = async || {
        let targets = bench.get("/v1/target-groups/hosts/targets").await["targets"].clone();
        let of = |target: &Value| target["id"].as_str().expect("an id").to_owned();
        targets.as_array().expect("a list").iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(targets().await, ["i-1"]);
    let instance = json!({"id": "i-2", "subnet": "hosts-a", "address": "10.2.0.12", "labels": {"app": "web"}});
    let path = format!("{INVENTORY}/instances/i-2");
    assert_eq!(bench.done("PUT", &path, instance.clone()).await["state"], "running");
    assert_eq!(targets().await, ["i-1", "i-2"]);
    let changed = bench.done("PATCH", &path, json!({"labels": {}})).await;
    assert_eq!((&changed["labels"], &changed), (&json!({}), &bench.get(&path).await));
    let draining = bench.get("/v1/target-groups/hosts/targets?state=draining").await;
    assert_eq!(draining["targets"][0]["id"], "i-2");
    bench.done("DELETE", &path, Value::Null).await;
    assert_eq!(bench.refused("GET", &path, "").await.1, "InstanceNotFound");
    let all = bench.get(INVENTORY).await;
    assert_eq!(all["subnets"].as_array().map(Vec::len), Some(3));
    assert_eq!(bench.done("PUT", INVENTORY, all.clone()).await, all);
}

/// req: LB-19, ZN-04, ZN-06, ERR-11
#[tokio::test]
async fn what_does_not_go_with_the_inventory_is_refused() {
    let bench = bench().await;
    let mut missing = inventory();
    missing["subnets"].as_array_mut().expect("a list").remove(0);
    let mut overlapping = inventory();
    overlapping["subnets"][1]["cidr"] = json!("10.1.0.0/24");
    let instance = |id: &str, subnet: &str| json!({"id": id, "subnet": subnet, "address": "10.2.0.13"}).to_string();
    let lb = |more: Value| {
        let mut request = json!({"name": "other", "scheme": "internal"});
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        request.to_string()
    };
    let (lbs, instances) = ("/v1/load-balancers", "/v1/inventory/instances/i-3");
    for (method, path, body, field) in [
        ("PUT", INVENTORY, missing.to_string(), None),
        ("PUT", INVENTORY, overlapping.to_string(), None),
        ("PUT", INVENTORY, r#"{"zones":[{"name":"zone-a"},{"name":"zone-a"}]}"#.into(), Some("zones[1].name")),
        ("PUT", INVENTORY, r#"{"networks":[{"id":"n","cidrs":["10.0.0.1/8"]}]}"#.into(), Some("networks[0].cidrs[0]")),
        ("PUT", INVENTORY, r#"{"networks":[{"id":"n","cidrs":["ten"]}]}"#.into(), Some("networks[0].cidrs[0]")),
        ("PUT", INVENTORY, r#"{"hosts":[]}"#.into(), Some("hosts")),
        ("PUT", instances, instance("i-4", "hosts-a"), Some("id")),
        ("PUT", instances, instance("i-3", "none"), Some("subnet")),
        ("PATCH", instances, "{}".into(), None),
        ("POST", lbs, lb(json!({})), None),
        ("POST", lbs, lb(json!({"subnets": ["none"]})), Some("subnets[0]")),
        ("POST", lbs, lb(json!({"subnets": ["front-a", "front-a"]})), None),
        ("POST", lbs, lb(json!({"subnets": ["front-a"], "nodes": [{"zone": "z", "address": "10.1.0.20"}]})), None),
        (
            "POST",
            lbs,
            lb(json!({"subnetMappings": [{"subnet": "front-a", "privateIpv4Address": "10.1.0.200"}]})),
            Some("subnetMappings[0].privateIpv4Address"),
        ),
    ] {
        let (status, code, at, message) = bench.refused(method, path, body.clone()).await;
        assert!((400..500).contains(&status), "{method} {path} {body}: {code} {message}");
        assert!(field.is_none_or(|field| field == at), "{method} {path} {body}: {at}: {message}");
    }
}

/// req: ZS-02, ZS-03, ZS-04, ZS-05, ZS-07, ERR-07
#[tokio::test]
async fn zonal_shifts_begin_change_and_end() {
    let bench = bench().await;
    let shifts = "/v1/zonal-shifts";
    let start = |zone: &str, time: &str| json!({"loadBalancer": "inner", "awayFrom": zone, "expiresIn": time, "comment": "works"});
    for (zone, time) in [("zone-a", "59s"), ("zone-a", "73h"), ("zone-a", ""), ("zone-c", "1h")] {
        assert_eq!(bench.refused("POST", shifts, start(zone, time).to_string()).await.0, 400, "{zone} {time}");
    }
    let shift = bench.done("POST", shifts, start("zone-a", "3h")).await;
    assert_eq!((&shift["status"], &shift["comment"]), (&json!("ACTIVE"), &json!("works")));
    assert_eq!(
        shift["expiryMs"].as_u64().zip(shift["startMs"].as_u64()).map(|(end, start)| end - start),
        Some(10_800_000)
    );
    assert_eq!(bench.refused("POST", shifts, start("zone-b", "1h").to_string()).await.0, 400, "one at a time");
    let path = format!("{shifts}/{}", shift["id"].as_str().expect("an id"));
    assert_eq!(bench.get(&path).await, shift);
    assert_eq!(bench.done("PATCH", &path, json!({"comment": "done soon"})).await["comment"], "done soon");
    assert_eq!(bench.done("DELETE", &path, Value::Null).await["status"], "CANCELED");
    assert_eq!(bench.get(shifts).await["zonalShifts"][0]["status"], "CANCELED");
    assert_eq!(bench.refused("PATCH", &format!("{shifts}/none"), "{}").await.1, "ZonalShiftNotFound");

    let across = json!({"attributes": {"load_balancing.cross_zone.enabled": "true"}});
    bench.done("PATCH", "/v1/load-balancers/inner/attributes", across).await;
    assert_eq!(bench.refused("POST", shifts, start("zone-a", "1h").to_string()).await.0, 400, "across zones");
}

/// What carries a Classic load balancer's traffic is no object of this API.
#[tokio::test]
async fn carriers_of_classic_load_balancers_are_not_seen() {
    let bench = bench().await;
    let body = "Action=CreateLoadBalancer&Version=2012-06-01&LoadBalancerName=old&Scheme=internal&Subnets.member.1=front-a\
                &Listeners.member.1.Protocol=TCP&Listeners.member.1.LoadBalancerPort=81&Listeners.member.1.InstancePort=80";
    let request = HttpRequest::post("/").header("content-type", "application/x-www-form-urlencoded");
    let request = request.body(HttpBody::from(body)).expect("a request");
    let response = bench.router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let model = bench.state.model();
    let carrier = model.load_balancers().find(|lb| lb.classic.is_some()).expect("one");
    let group = model.target_groups().find(|group| group.classic.is_some()).expect("one");
    for (path, id) in [("/v1/load-balancers", carrier.id), ("/v1/target-groups", group.id)] {
        assert!(!bench.get(path).await.to_string().contains(&id.to_string()));
        for (method, under) in [("GET", ""), ("GET", "/attributes"), ("GET", "/tags"), ("PATCH", "")] {
            assert_eq!(
                bench.refused(method, &format!("{path}/{id}{under}"), "{}").await.0,
                404,
                "{method} {path} {under}"
            );
        }
        bench.done("DELETE", &format!("{path}/{id}"), Value::Null).await;
        assert_eq!(bench.state.model(), model, "it is still there");
    }
    let targets = format!("/v1/target-groups/{}/targets", group.id);
    assert_eq!(bench.refused("POST", &targets, r#"{"targets":[{"id":"i-1"}]}"#).await.0, 404);
    let listeners = format!("/v1/load-balancers/{}/listeners", carrier.id);
    assert_eq!(bench.refused("GET", &format!("{listeners}/81"), "").await.0, 404);
}

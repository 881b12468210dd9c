//! The API as its clients see it, without a data plane.

use axum::body::Body as HttpBody;
use axum::http::{Request as HttpRequest, StatusCode};
use http_body_util::BodyExt;
use leat_model::{Limits, Site};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::event_log::Watcher;
use crate::publisher::tests::FakePlane;
use crate::store::faulty::FaultyDisk;
use leat_abi::snapshot::{Snapshot, TargetState};

mod declare;
mod events;
mod network;
mod objects;
mod targets;
mod users;

struct Bench {
    router: Router,
    state: Arc<State>,
    disk: FaultyDisk,
    directory: tempfile::TempDir,
    events: Arc<EventLog>,
    _watcher: Watcher,
}

impl Bench {
    fn new() -> Self {
        Self::on(FaultyDisk::default())
    }

    fn on(disk: FaultyDisk) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in tmpfs");
        let subnet = |net: &str| ("p0".to_owned(), net.parse().expect("a net"));
        let subnets = vec![subnet("10.1.0.2/24"), subnet("fd00:1::2/64")];
        let site = Site { region: "local".into(), subnets, ..Site::default() };
        let store = disk.store().expect("a store");
        let state = Arc::new(State::begin(Box::new(store), site, Limits::default()).expect("a state"));
        let publisher = Publisher::start(directory.path().join("segment"), state.clone(), vec!["p0".into()]);
        let publisher = Arc::new(publisher.expect("a thread"));
        let notified = Arc::downgrade(&publisher);
        state.on_change(move || {
            if let Some(publisher) = notified.upgrade() {
                publisher.changed();
            }
        });
        let keys = Arc::new(Keys::open(directory.path().join("keys"), &state.model()).expect("a directory"));
        keys.follow(&state);
        let guard = Arc::new(Guard::new(guard::tests::settings(directory.path())).expect("a guard"));
        let dns = Arc::new(Dns::start(&crate::dns::Settings::default(), state.clone()).expect("threads"));
        let events = Arc::new(EventLog::new());
        let watcher = Watcher::start(&state, None, events.clone()).expect("a thread");
        let traces = Arc::default();
        let (webhooks, waiters) = (Arc::default(), Arc::new(Semaphore::new(2)));
        let app = App {
            state: state.clone(),
            publisher,
            dns,
            keys,
            traces,
            guard,
            events: events.clone(),
            webhooks,
            waiters,
        };
        let router = router(app);
        Self { router, state, disk, directory, events, _watcher: watcher }
    }

    async fn send(&self, request: HttpRequest<HttpBody>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        assert_eq!(response.headers()["content-type"], "application/json");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }

    async fn raw(&self, method: &str, path: &str, body: impl Into<HttpBody>) -> (StatusCode, Value) {
        self.send(HttpRequest::builder().method(method).uri(path).body(body.into()).expect("a request")).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// The answer of a call that succeeds.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// (status, code, field, message) of a refused call, which leaves everything as it was (ERR-11).
    async fn refused(&self, method: &str, path: &str, body: impl Into<HttpBody>) -> (u16, String, String, String) {
        let before = self.state.model();
        let (status, body) = self.raw(method, path, body).await;
        assert_eq!(self.state.model(), before, "{method} {path}: {body}");
        let error = body["error"].as_object().unwrap_or_else(|| panic!("{method} {path}: {status} {body}"));
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = text("message");
        for leak in ["Some(", "None", "Err(", "::", "{ ", "serde", "i64", "u32", "struct "] {
            // The address is an example of messages.
            assert!(!message.replace("2001:db8::11", "").contains(leak), "{method} {path}: {message}");
        }
        assert!(message.len() > 10, "{message}");
        (status.as_u16(), text("code"), text("field"), message)
    }

    /// `web`: load balancer, group, listener on 80, one target.
    async fn serving() -> Self {
        let bench = Self::new();
        for (path, body) in [
            ("/v1/load-balancers", json!({"name": "web", "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}]})),
            ("/v1/target-groups", json!({"name": "web", "protocol": "TCP", "port": 8080})),
            ("/v1/load-balancers/web/listeners", json!({"protocol": "TCP", "port": 80, "targetGroup": "web"})),
        ] {
            let (status, body) = bench.call("POST", path, body).await;
            assert_eq!(status, StatusCode::CREATED, "{body}");
        }
        let targets = json!({"targets": [{"id": "10.2.0.11"}]});
        let (status, body) = bench.call("POST", "/v1/target-groups/web/targets", targets).await;
        assert_eq!((status, body), (StatusCode::OK, json!({"applied": false})));
        bench
    }
}

/// req: GEN-01, LB-20
#[tokio::test]
async fn resources_are_created_shown_changed_and_deleted() {
    let bench = Bench::serving().await;
    let lb = bench.get("/v1/load-balancers/web").await;
    assert_eq!((&lb["type"], &lb["scheme"]), (&json!("network"), &json!("internet-facing")));
    assert_eq!(
        lb["availabilityZones"],
        json!([{
            "zoneName": "zone-a",
            "health": {"healthy": false, "reason": "too few targets of web are healthy"},
            "privateIpv4Address": "10.1.0.10",
            "addresses": ["10.1.0.10"],
            "secondaryAddresses": []
        }])
    );
    assert_eq!(lb["state"], json!({"code": "provisioning"}));
    let by_id = bench.get(&format!("/v1/load-balancers/{}", lb["id"].as_str().expect("an id"))).await;
    assert_eq!(by_id, lb);
    assert_eq!(bench.get("/v1/load-balancers").await, json!({"loadBalancers": [lb]}));

    let listener = bench.get("/v1/load-balancers/web/listeners/80").await;
    assert_eq!((&listener["targetGroup"], &listener["loadBalancerArn"]), (&json!("web"), &lb["arn"]));
    assert_eq!(bench.get("/v1/load-balancers/web/listeners").await, json!({"listeners": [listener]}));
    let (status, changed) = bench.call("PATCH", "/v1/load-balancers/web/listeners/80", json!({"port": 81})).await;
    assert_eq!((status, &changed["port"], &changed["id"]), (StatusCode::OK, &json!(81), &listener["id"]));

    let group = bench.get("/v1/target-groups/web").await;
    assert_eq!(group["healthCheck"]["port"], json!("traffic-port"));
    assert_eq!(group["loadBalancerArns"], json!([lb["arn"]]));
    let check = json!({"healthCheck": {"port": 9000, "intervalSeconds": 10}});
    let (status, group) = bench.call("PATCH", "/v1/target-groups/web", check).await;
    assert_eq!((status, &group["healthCheck"]["port"]), (StatusCode::OK, &json!(9000)));
    let change = json!({"attributes": {"deregistration_delay.timeout_seconds": "20"}});
    let (status, attributes) = bench.call("PATCH", "/v1/target-groups/web/attributes", change).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(attributes, bench.get("/v1/target-groups/web/attributes").await);
    assert_eq!(attributes["attributes"]["preserve_client_ip.enabled"], "false");

    let targets = bench.get("/v1/target-groups/web/targets").await;
    let target = &targets["targets"][0];
    assert_eq!(
        (&target["id"], &target["port"], &target["zone"]),
        (&json!("10.2.0.11"), &json!(8080), &json!("zone-a"))
    );
    assert_eq!((&target["health"]["state"], &target["flows"]), (&json!("initial"), &json!({"active": 0, "new": 0})));
    let body = json!({"targets": [{"id": "10.2.0.11"}]});
    let (status, applied) = bench.call("POST", "/v1/target-groups/web/targets/deregister", body).await;
    assert_eq!((status, applied), (StatusCode::ACCEPTED, json!({"applied": false})));
    let targets = bench.get("/v1/target-groups/web/targets").await;
    assert_eq!(targets["targets"][0]["health"]["reason"], "Target.DeregistrationInProgress");

    for path in ["/v1/load-balancers/web/listeners/81", "/v1/load-balancers/web", "/v1/target-groups/web"] {
        assert_eq!(bench.call("DELETE", path, Value::Null).await, (StatusCode::OK, json!({})));
    }
    assert_eq!(bench.get("/v1/target-groups").await, json!({"targetGroups": []}));
}

/// req: LB-18
#[tokio::test]
async fn repeating_a_call_changes_nothing() {
    let bench = Bench::serving().await;
    let before = bench.get("/v1/load-balancers/web").await;
    let epoch = bench.get("/v1/status").await["epoch"].clone();
    let body = json!({"name": "web", "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}]});
    assert_eq!(bench.call("POST", "/v1/load-balancers", body).await, (StatusCode::CREATED, before));
    bench.call("POST", "/v1/target-groups/web/targets", json!({"targets": [{"id": "10.2.0.11", "port": 8080}]})).await;
    assert_eq!(bench.get("/v1/status").await["epoch"], epoch);
    for path in ["/v1/load-balancers/none", "/v1/target-groups/none"] {
        assert_eq!(bench.call("DELETE", path, Value::Null).await.0, StatusCode::OK);
    }
}

/// req: ERR-10, TG-05, LSN-01, LSN-03
#[tokio::test]
async fn bad_requests_are_explained() {
    let bench = Bench::serving().await;
    let (lbs, groups) = ("/v1/load-balancers", "/v1/target-groups");
    let node = r#"[{"zone":"a","address":"10.1.0.11"}]"#;
    let listeners = "/v1/load-balancers/web/listeners";
    let targets = "/v1/target-groups/web/targets";
    for (method, path, body, code, field) in [
        ("POST", lbs, "".to_owned(), "ValidationError", ""),
        ("POST", lbs, "{".into(), "ValidationError", ""),
        ("POST", lbs, "name=web".into(), "ValidationError", ""),
        ("POST", lbs, "[]".into(), "ValidationError", ""),
        ("POST", lbs, r#"{"name":"x","nodes":[]} x"#.into(), "ValidationError", ""),
        ("POST", lbs, "{}".into(), "ValidationError", "name"),
        ("POST", lbs, format!(r#"{{"name":"x","nodes":{node},"color":1}}"#), "ValidationError", "color"),
        ("POST", lbs, format!(r#"{{"name":7,"nodes":{node}}}"#), "ValidationError", "name"),
        ("POST", lbs, r#"{"name":"x","nodes":{}}"#.into(), "ValidationError", "nodes"),
        ("POST", lbs, r#"{"name":"x","nodes":[{"zone":"a"}]}"#.into(), "ValidationError", "nodes[0].address"),
        ("POST", lbs, r#"{"name":"x","nodes":[]}"#.into(), "ValidationError", "nodes"),
        ("POST", lbs, format!(r#"{{"name":"-x","nodes":{node}}}"#), "ValidationError", "name"),
        ("POST", lbs, format!(r#"{{"name":"web","nodes":{node}}}"#), "DuplicateLoadBalancerName", "name"),
        ("POST", lbs, format!(r#"{{"name":"x","nodes":{node},"scheme":"public"}}"#), "ValidationError", "scheme"),
        ("POST", groups, r#"{"name":"x","protocol":"SCTP","port":80}"#.into(), "ValidationError", "protocol"),
        ("POST", groups, r#"{"name":"x","protocol":"TCP","port":0}"#.into(), "ValidationError", "port"),
        ("POST", groups, r#"{"name":"x","protocol":"TCP","port":65536}"#.into(), "ValidationError", "port"),
        ("POST", groups, r#"{"name":"x","protocol":"TCP","port":1.5}"#.into(), "ValidationError", "port"),
        ("POST", groups, r#"{"name":"x","protocol":"TCP","port":"80"}"#.into(), "ValidationError", "port"),
        (
            "POST",
            groups,
            r#"{"name":"x","protocol":"TCP","port":80,"targetType":"lambda"}"#.into(),
            "ValidationError",
            "targetType",
        ),
        ("POST", groups, r#"{"name":"web","protocol":"UDP","port":80}"#.into(), "DuplicateTargetGroupName", "name"),
        (
            "PATCH",
            "/v1/target-groups/web",
            r#"{"healthCheck":{"timeoutSeconds":1}}"#.into(),
            "ValidationError",
            "healthCheck.timeoutSeconds",
        ),
        (
            "PATCH",
            "/v1/target-groups/web",
            r#"{"healthCheck":{"port":"http"}}"#.into(),
            "ValidationError",
            "healthCheck.port",
        ),
        (
            "PATCH",
            "/v1/target-groups/web",
            r#"{"healthCheck":{"protocol":"UDP"}}"#.into(),
            "ValidationError",
            "healthCheck.protocol",
        ),
        (
            "PATCH",
            "/v1/target-groups/web/attributes",
            r#"{"attributes":{"x":"y"}}"#.into(),
            "ValidationError",
            "attributes",
        ),
        (
            "PATCH",
            "/v1/target-groups/web/attributes",
            r#"{"attributes":{"deregistration_delay.timeout_seconds":30}}"#.into(),
            "ValidationError",
            "attributes.deregistration_delay.timeout_seconds",
        ),
        ("POST", listeners, r#"{"protocol":"TCP","port":80,"targetGroup":"web","x":1}"#.into(), "ValidationError", "x"),
        ("POST", listeners, r#"{"protocol":"TCP","port":-1,"targetGroup":"web"}"#.into(), "ValidationError", "port"),
        (
            "POST",
            listeners,
            r#"{"protocol":"TCP","port":81,"targetGroup":"none"}"#.into(),
            "TargetGroupNotFound",
            "targetGroup",
        ),
        (
            "POST",
            listeners,
            r#"{"protocol":"UDP","port":81,"targetGroup":"web"}"#.into(),
            "IncompatibleProtocols",
            "targetGroup",
        ),
        (
            "POST",
            listeners,
            r#"{"protocol":"TCP_UDP","port":80,"targetGroup":"web"}"#.into(),
            "DuplicateListener",
            "port",
        ),
        ("POST", targets, r#"{"targets":[{"id":"8.8.8.8"}]}"#.into(), "InvalidTarget", "targets[0].id"),
        ("POST", targets, r#"{"targets":[{"id":"10.2.0.12"},{"id":"x"}]}"#.into(), "InvalidTarget", "targets[1].id"),
        ("POST", targets, r#"{"targets":[{"id":"10.2.0.12","port":0}]}"#.into(), "ValidationError", "targets[0].port"),
        ("POST", targets, r#"{"targets":[]}"#.into(), "ValidationError", "targets"),
        ("POST", "/v1/traces", r#"{"count":0}"#.into(), "ValidationError", "count"),
        ("POST", "/v1/traces", r#"{"filter":{"source":"x"}}"#.into(), "ValidationError", "filter.source"),
    ] {
        let (status, found, at, message) = bench.refused(method, path, body.clone()).await;
        let expected = if code == "TargetGroupNotFound" { 404 } else { 400 };
        assert_eq!((status, found.as_str(), at.as_str()), (expected, code, field), "{method} {path} {body}: {message}");
    }
    let group = bench.get("/v1/target-groups/web").await;
    assert_eq!(group["healthCheck"]["timeoutSeconds"], 10, "nothing was changed");
}

#[tokio::test]
async fn paths_methods_and_queries_are_explained() {
    let bench = Bench::serving().await;
    for (method, path, status, code) in [
        ("GET", "/", 405, "MethodNotAllowed"),
        ("GET", "/v2/load-balancers", 404, "NotFound"),
        ("GET", "/v1/load-balancers/", 404, "NotFound"),
        ("GET", "/v1/status?x=1", 400, "ValidationError"),
        ("GET", "/v1/load-balancers?name=a&name=b", 400, "ValidationError"),
        ("GET", "/v1/load-balancers?limit=0", 400, "ValidationError"),
        ("GET", "/v1/load-balancers?cursor=x", 400, "ValidationError"),
        ("GET", "/v1/rules", 404, "NotFound"),
        ("GET", "/v1/load-balancers/none", 404, "LoadBalancerNotFound"),
        ("GET", "/v1/load-balancers/none/listeners", 404, "LoadBalancerNotFound"),
        ("GET", "/v1/load-balancers/web/listeners/81", 404, "ListenerNotFound"),
        ("GET", "/v1/load-balancers/web/listeners/x", 400, "ValidationError"),
        ("GET", "/v1/load-balancers/web/listeners/0", 400, "ValidationError"),
        ("DELETE", "/v1/load-balancers/web/listeners/81", 404, "ListenerNotFound"),
        ("GET", "/v1/load-balancers/%ff", 400, "ValidationError"),
        ("GET", "/v1/target-groups/none/targets", 404, "TargetGroupNotFound"),
        ("GET", "/v1/target-groups/web/targets?target=x", 400, "InvalidTarget"),
        ("GET", "/v1/target-groups/web/targets?nope=1", 400, "ValidationError"),
        ("GET", "/v1/traces/1", 404, "TraceNotFound"),
        ("GET", "/v1/traces/x", 404, "TraceNotFound"),
        ("GET", "/v1/flows?limit=0", 400, "ValidationError"),
        ("GET", "/v1/flows?limit=x", 400, "ValidationError"),
        ("GET", "/v1/flows?client=nobody", 400, "ValidationError"),
        ("GET", "/v1/flows?client=10.0.0.1:0", 400, "ValidationError"),
        ("PUT", "/v1/load-balancers", 405, "MethodNotAllowed"),
        ("POST", "/v1/status", 405, "MethodNotAllowed"),
        ("DELETE", "/v1/target-groups/web", 400, "ResourceInUse"),
    ] {
        let (found, name, ..) = bench.refused(method, path, "").await;
        assert_eq!((found, name.as_str()), (status, code), "{method} {path}");
    }
    let body = r#"{"targets":[{"id":"10.2.0.11"}]}"#;
    let path = "/v1/target-groups/web/targets/deregister?wait=301";
    assert_eq!(bench.refused("POST", path, body).await.2, "wait");
}

#[tokio::test]
async fn bodies_have_a_largest_size() {
    let bench = Bench::new();
    let path = "/v1/load-balancers";
    let padded = |bytes: usize| format!("{}{{", " ".repeat(bytes - 1));
    assert_eq!(bench.refused("POST", path, padded(1 << 20)).await.0, 400);
    assert_eq!(bench.refused("POST", path, padded((1 << 20) + 1)).await.1, "RequestTooLarge");
    // Without a length announced.
    let chunks = (0..3).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 19]));
    let body = HttpBody::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(bench.refused("POST", path, body).await.0, 413);
    let deep = "[".repeat(100_000);
    assert_eq!(bench.refused("POST", path, deep).await.0, 400);
    assert_eq!(bench.refused("POST", path, vec![0xff, 0xfe]).await.0, 400);
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
    assert!(bench.refused("POST", path, long).await.3.len() < 500);
}

/// req: TGT-17
#[tokio::test]
async fn a_single_target_can_be_asked_for() {
    let bench = Bench::serving().await;
    let state = async |target: &str| {
        let body = bench.get(&format!("/v1/target-groups/web/targets?target={target}")).await;
        assert_eq!(body["targets"].as_array().map(Vec::len), Some(1));
        body["targets"][0]["health"].clone()
    };
    assert_eq!(state("10.2.0.11").await["state"], "initial");
    assert_eq!(state("10.2.0.11:8080").await["state"], "initial");
    assert_eq!(state("10.2.0.11:81").await["reason"], "Target.NotRegistered");
    assert_eq!(state("10.2.0.99").await["state"], "unused");
}

/// req: IPT-03, IPT-07, IPT-09, IPT-10, ZN-02, CIP-09
#[tokio::test]
async fn ipv6_comes_and_goes() {
    let bench = Bench::serving().await;
    let lb = "/v1/load-balancers/web";
    let node = json!({"zone": "zone-a", "ipv6Address": "fd00:1::10", "secondaryAddresses": ["10.1.0.11"]});
    let (status, body) = bench.call("PATCH", lb, json!({"ipAddressType": "dualstack", "nodes": [node]})).await;
    assert_eq!((status, &body["ipAddressType"]), (StatusCode::OK, &json!("dualstack")));
    assert_eq!(body["availabilityZones"][0]["addresses"], json!(["10.1.0.10", "fd00:1::10"]));
    assert_eq!(body["availabilityZones"][0]["secondaryAddresses"], json!(["10.1.0.11"]));
    assert_eq!(bench.get(lb).await, body);
    let stats = bench.get("/v1/stats").await;
    let addresses: Vec<&Value> = stats["listeners"].as_array().expect("a list").iter().map(|l| &l["address"]).collect();
    assert_eq!(addresses, ["10.1.0.10", "fd00:1::10"]);

    let group = json!({"name": "six", "protocol": "TCP", "port": 8080, "ipAddressType": "ipv6"});
    assert_eq!(bench.call("POST", "/v1/target-groups", group).await.1["ipAddressType"], "ipv6");
    let changed = r#"{"ipAddressType":"ipv4"}"#;
    assert_eq!(bench.refused("PATCH", "/v1/target-groups/six", changed).await.0, 400);
    let targets = "/v1/target-groups/six/targets";
    let wrong = r#"{"targets":[{"id":"10.2.0.11"}]}"#;
    assert_eq!(bench.refused("POST", targets, wrong).await.1, "InvalidTarget");
    let body = json!({"targets": [{"id": "fd00:1::11", "port": 81}, {"id": "fd00:1::10"}]});
    let warnings = bench.call("POST", targets, body).await.1["warnings"].clone();
    assert!(warnings[0].as_str().expect("one").contains("fd00:1::10 is an address of load balancer web"));
    assert_eq!(bench.get("/v1/status").await["warnings"], warnings);
    for (text, reason) in [
        ("[fd00:1::11]:81", "Target.NotInUse"),
        ("fd00:1::10", "Target.IpUnusable"),
        ("fd00:1::11", "Target.NotRegistered"),
    ] {
        let body = bench.get(&format!("{targets}?target={text}")).await;
        assert_eq!(body["targets"][0]["health"]["reason"], reason, "{text}");
    }
    let (_, body) = bench.call("PATCH", lb, json!({"ipAddressType": "ipv4"})).await;
    assert_eq!(body["availabilityZones"][0]["addresses"], json!(["10.1.0.10"]));
    assert_eq!(bench.refused("PATCH", lb, r#"{"nodes":[{"zone":"zone-b"}]}"#).await.2, "nodes[0].address");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_answers_503_and_nothing_changes() {
    let bench = Bench::serving().await;
    let before = bench.get("/v1/target-groups").await;
    bench.disk.set_failing(true);
    let body = json!({"name": "other", "protocol": "TCP", "port": 80}).to_string();
    let (status, code, _, message) = bench.refused("POST", "/v1/target-groups", body.clone()).await;
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailable"));
    assert!(message.contains("nothing was changed") && message.contains("writable"), "{message}");
    assert_eq!(bench.get("/v1/target-groups").await, before);
    bench.disk.set_failing(false);
    assert_eq!(bench.raw("POST", "/v1/target-groups", body).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_restart_restores_what_was_acknowledged() {
    let bench = Bench::serving().await;
    let paths = ["/v1/load-balancers", "/v1/load-balancers/web/listeners", "/v1/target-groups", "/v1/stats"];
    let mut before = Vec::new();
    for path in paths {
        before.push(bench.get(path).await);
    }
    let disk = bench.disk.clone();
    drop(bench);
    let bench = Bench::on(disk);
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(bench.get(path).await, before, "{path}");
    }
}

#[tokio::test]
async fn without_a_data_plane_everything_else_works() {
    let bench = Bench::serving().await;
    let status = bench.get("/v1/status").await;
    assert_eq!((&status["dataPlane"]["attached"], &status["appliedEpoch"]), (&json!(false), &json!(0)));
    assert_eq!(status["problems"], json!([]));
    let stats = bench.get("/v1/stats").await;
    assert_eq!((&stats["attached"], &stats["lcores"]), (&json!(false), &json!([])));
    assert_eq!(stats["targets"][0]["counters"]["new_flows"], 0);
    for (method, path, body) in [("GET", "/v1/flows", ""), ("POST", "/v1/traces", "{}")] {
        let (status, code, _, message) = bench.refused(method, path, body).await;
        assert_eq!((status, code.as_str()), (503, "ServiceUnavailable"));
        assert!(message.contains("start leat-dp"), "{message}");
    }
}

/// S15.1. req: TGT-08
#[tokio::test]
async fn a_deregistration_is_effective_when_the_call_returns() {
    let bench = Bench::serving().await;
    let path = bench.directory.path().join("segment");
    let (found, seen) = std::sync::mpsc::channel();
    let plane = std::thread::spawn(move || {
        let plane = FakePlane::start(&path);
        let drained = |snapshot: &Snapshot| snapshot.targets[0].state == TargetState::Draining;
        let snapshot = plane.take_until(drained);
        found.send(snapshot.generation).expect("the test");
        // Alive until the answer is there.
        plane.take_until(|snapshot| snapshot.listeners.is_empty());
    });
    let body = json!({"targets": [{"id": "10.2.0.11"}]});
    let answer = bench.call("POST", "/v1/target-groups/web/targets/deregister?wait=300", body).await;
    assert_eq!(answer, (StatusCode::OK, json!({"applied": true})));
    assert!(seen.try_recv().is_ok(), "every lcore had the new tables before the answer");
    assert_eq!(bench.get("/v1/status").await["dataPlane"]["attached"], true);
    bench.call("DELETE", "/v1/load-balancers/web", Value::Null).await;
    tokio::task::spawn_blocking(|| plane.join()).await.expect("a thread").expect("the data plane");
}

#[tokio::test]
async fn web_pages_of_others_are_refused() {
    let bench = Bench::serving().await;
    let ask = async |headers: &[(&str, &str)]| {
        let request = headers.iter().fold(HttpRequest::get("/v1/status"), |r, (name, value)| r.header(*name, *value));
        bench.send(request.body(HttpBody::empty()).expect("a request")).await.0.as_u16()
    };
    assert_eq!(ask(&[("host", "127.0.0.1:9321")]).await, 200);
    assert_eq!(ask(&[("host", "localhost:9321"), ("sec-fetch-site", "same-origin")]).await, 200);
    assert_eq!(ask(&[("host", "[::1]:9321")]).await, 200);
    assert_eq!(ask(&[("host", "leat")]).await, 200);
    assert_eq!(ask(&[("host", "127.0.0.1:9321"), ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(ask(&[("host", "127.0.0.1:9321"), ("origin", "http://evil.example")]).await, 403);
    assert_eq!(ask(&[("host", "evil.example:9321")]).await, 403);
}

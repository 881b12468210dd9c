//! ARC zonal shift: requests in, JSON out.

mod common;

use leat_aws::operation::Run;
use leat_aws::zonal_shift::{ROUTES, error_answer};
use leat_model::rest::Role;
use leat_model::shift::Change;
use leat_model::{Command, Id, Model, Now};
use serde_json::{Value, json};

const ARN: &str = "arn:aws:elasticloadbalancing:on-prem-1:000000000000:loadbalancer/net/web/0000000000000001";

/// A load balancer in two zones, which had a shift that was canceled and one that has expired.
fn model() -> Model {
    let mut model = common::model();
    let nodes = json!([{"zone": "zone-a", "address": "10.1.0.10"}, {"zone": "zone-b", "address": "10.1.0.11"}]);
    let request = serde_json::from_value(json!({"name": "web", "nodes": nodes})).expect("a request");
    let at = |seconds: u64| Now { wall_ms: common::NOW.wall_ms - seconds * 1000, mono_ms: 500_000 - seconds * 1000 };
    let start = |id: &str, zone: &str| {
        let request = json!({"loadBalancer": "web", "awayFrom": zone, "expiresIn": "1m", "comment": "flood"});
        let request = serde_json::from_value(request).expect("a request");
        Command::Shift(Change::Start { request, id: id.into() })
    };
    for (command, now) in [
        (Command::CreateLoadBalancer { request, id: Id(1) }, at(200)),
        (start("old-1", "zone-a"), at(190)),
        (Command::Expire, at(130)),
        (start("old-2", "zone-b"), at(100)),
        (Command::Shift(Change::Cancel { id: "old-2".into() }), at(90)),
    ] {
        model.apply(command, now).expect("good");
    }
    model
}

/// The same with a shift that has just begun.
fn shifted() -> Model {
    let mut model = model();
    let said = call(&mut model, "POST", "/zonalshifts", "", start("zone-a", ARN)).expect("a shift");
    assert_eq!(said["status"], "ACTIVE");
    model
}

fn start(zone: &str, arn: &str) -> Value {
    json!({"resourceIdentifier": arn, "awayFrom": zone, "expiresIn": "3h", "comment": "flood"})
}

const ID: &str = "0000000000000abc";

/// Runs the operation of a route as the control plane does.
fn call(
    model: &mut Model,
    method: &str,
    path: &str,
    query: &str,
    body: Value,
) -> Result<Value, (u16, &'static str, Value)> {
    let parts: Vec<&str> = path[1..].splitn(2, '/').collect();
    let route = ROUTES.iter().find(|route| {
        route.method == method
            && route.path[1..].split('/').next() == Some(parts[0])
            && route.path.contains('{') == (parts.len() == 2)
    });
    let route = route.expect("a route");
    let operation = route.operation().expect("an operation");
    let Run::Json(run) = operation.run else { panic!("of another protocol") };
    let query = leat_aws::form::decode(query.as_bytes()).expect("a query");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let input = route.input(parts.get(1).copied(), query, body.as_bytes());
    let result = common::carry_out(model, Id(0xabc), |context| run(context, &input), |_, _| panic!("no certificate"));
    result.map_err(|error| error_answer(&error))
}

fn get(model: &Model, path: &str, query: &str) -> Value {
    call(&mut model.clone(), "GET", path, query, Value::Null).expect(path)
}

/// req: ZS-05
#[test]
fn shifts_are_listed_with_their_states() {
    let model = shifted();
    let all = get(&model, "/zonalshifts", "");
    let ids: Vec<_> = all["items"].as_array().expect("a list").iter().map(|it| it["zonalShiftId"].clone()).collect();
    assert_eq!(ids, [ID, "old-2", "old-1"], "the newest first");
    let now = common::NOW.wall_ms as f64 / 1000.0;
    assert_eq!(
        get(&model, "/zonalshifts", "status=ACTIVE")["items"],
        json!([{"zonalShiftId": ID, "resourceIdentifier": ARN, "awayFrom": "zone-a", "startTime": now,
            "expiryTime": now + 3.0 * 3600.0, "status": "ACTIVE", "comment": "flood", "shiftType": "ZONAL_SHIFT"}])
    );
    for (query, expected) in
        [("status=EXPIRED", &["old-1"][..]), ("status=CANCELED", &["old-2"]), ("resourceIdentifier=arn:other", &[])]
    {
        let items = get(&model, "/zonalshifts", query);
        let ids: Vec<_> =
            items["items"].as_array().expect("a list").iter().map(|it| it["zonalShiftId"].clone()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    let (mut seen, mut query) = (0, "maxResults=2".to_owned());
    loop {
        let page = get(&model, "/zonalshifts", &query);
        seen += page["items"].as_array().expect("a list").len();
        let Some(token) = page.get("nextToken") else { break };
        query = format!("maxResults=2&nextToken={}", token.as_str().expect("a text"));
    }
    assert_eq!(seen, 3);
}

/// req: ZS-01
#[test]
fn a_load_balancer_shows_where_traffic_goes() {
    let quiet = get(&model(), &format!("/managedresources/{ARN}"), "");
    assert_eq!(
        quiet,
        json!({"arn": ARN, "name": "web", "appliedWeights": {"zone-a": 1.0, "zone-b": 1.0}, "zonalShifts": [],
            "autoshifts": [], "zonalAutoshiftStatus": "DISABLED"})
    );
    let shifted = get(&shifted(), &format!("/managedresources/{ARN}"), "");
    assert_eq!(shifted["appliedWeights"], json!({"zone-a": 0.0, "zone-b": 1.0}));
    assert_eq!(shifted["zonalShifts"][0]["appliedStatus"], "APPLIED");
    let all = get(&model(), "/managedresources", "");
    assert_eq!(all["items"][0]["availabilityZones"], json!(["zone-a", "zone-b"]));
}

/// req: ZS-05, ZS-07
#[test]
fn a_shift_is_started_updated_and_canceled() {
    let mut model = model();
    let mut say = |method: &str, path: &str, body: Value| call(&mut model, method, path, "", body).expect(path);
    let now = common::NOW.wall_ms as f64 / 1000.0;
    let started = say("POST", "/zonalshifts", start("zone-a", ARN));
    assert_eq!((&started["zonalShiftId"], &started["comment"]), (&json!(ID), &json!("flood")));
    let path = format!("/zonalshifts/{ID}");
    let updated = say("PATCH", &path, json!({"expiresIn": "30m", "comment": "still"}));
    assert_eq!((&updated["expiryTime"], &updated["comment"]), (&json!(now + 1800.0), &json!("still")));
    let canceled = say("DELETE", &path, Value::Null);
    assert_eq!(canceled["status"], "CANCELED");
    let resource = say("GET", &format!("/managedresources/{ARN}"), Value::Null);
    assert_eq!(resource["appliedWeights"], json!({"zone-a": 1.0, "zone-b": 1.0}));
}

/// req: ZS-03, ERR-07
#[test]
fn what_is_refused_has_arcs_errors() {
    let start =
        |zone: &str, arn: &str| json!({"resourceIdentifier": arn, "awayFrom": zone, "expiresIn": "3h", "comment": ""});
    let with = |field: &str, value: &str| {
        let mut request = start("zone-b", ARN);
        request[field] = value.into();
        request
    };
    let other = ARN.replace("/web/", "/other/");
    for (method, path, query, body, expected) in [
        ("POST", "/zonalshifts", "", start("zone-b", ARN), (409, "ConflictException", "ZonalShiftAlreadyExists")),
        ("POST", "/zonalshifts", "", start("zone-b", &other), (404, "ResourceNotFoundException", "")),
        ("POST", "/zonalshifts", "", start("zone-b", "web"), (400, "ValidationException", "InvalidResourceIdentifier")),
        ("POST", "/zonalshifts", "", with("expiresIn", "0m"), (400, "ValidationException", "InvalidExpiresIn")),
        ("POST", "/zonalshifts", "", with("expiresIn", "73h"), (400, "ValidationException", "InvalidExpiresIn")),
        ("POST", "/zonalshifts", "", with("awayFrom", "zone-c"), (400, "ValidationException", "InvalidAz")),
        ("POST", "/zonalshifts", "", with("comment", ""), (409, "ConflictException", "ZonalShiftAlreadyExists")),
        ("POST", "/zonalshifts", "", json!({}), (400, "ValidationException", "InvalidResourceIdentifier")),
        ("POST", "/zonalshifts", "", json!([]), (400, "ValidationException", "InvalidResourceIdentifier")),
        (
            "PATCH",
            "/zonalshifts/old-1",
            "",
            json!({"comment": "x"}),
            (409, "ConflictException", "ZonalShiftStatusNotActive"),
        ),
        ("PATCH", "/zonalshifts/0000000000000abc", "", json!({}), (400, "ValidationException", "MissingValue")),
        ("DELETE", "/zonalshifts/old-2", "", Value::Null, (409, "ConflictException", "ZonalShiftStatusNotActive")),
        ("DELETE", "/zonalshifts/none", "", Value::Null, (404, "ResourceNotFoundException", "")),
        ("GET", "/zonalshifts", "status=OVER", Value::Null, (400, "ValidationException", "InvalidStatus")),
        ("GET", "/zonalshifts", "nextToken=!", Value::Null, (400, "ValidationException", "InvalidToken")),
        ("GET", "/managedresources/arn:x", "", Value::Null, (404, "ResourceNotFoundException", "")),
    ] {
        let (status, kind, answer) = call(&mut shifted(), method, path, query, body).expect_err(path);
        let reason = answer.get("reason").and_then(Value::as_str).unwrap_or_default();
        assert_eq!((status, kind, reason), expected, "{method} {path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    }
}

/// Who runs the service may shift zones, who looks at it may not.
#[test]
fn each_operation_has_a_role_and_a_route() {
    for operation in leat_aws::zonal_shift::OPERATIONS {
        let route = ROUTES.iter().find(|route| route.name == operation.name).expect(operation.name);
        assert_eq!(
            operation.role,
            if route.method == "GET" { Role::Read } else { Role::Operate },
            "{}",
            operation.name
        );
    }
    assert_eq!(ROUTES.len(), leat_aws::zonal_shift::OPERATIONS.len());
}

//! Users, who asks, and what the audit log says of it.

use super::*;

impl Bench {
    async fn with_token(&self, method: &str, path: &str, token: &Value, body: &str) -> (StatusCode, Value) {
        let token = format!("Bearer {}", token.as_str().expect("a token"));
        let request = HttpRequest::builder().method(method).uri(path).header("authorization", token);
        self.send(request.body(HttpBody::from(body.to_owned())).expect("a request")).await
    }
}

/// req: AUD-01, AUD-04, AUD-06
#[tokio::test]
async fn users_come_ask_and_go() {
    let bench = Bench::new();
    let made = bench.done("POST", "/v1/users", json!({"name": "ops", "role": "operate"})).await;
    let secrets =
        [&made["token"], &made["secretAccessKey"]].map(|secret| secret.as_str().expect("a secret").to_owned());
    for path in ["/v1/users", "/v1/users/ops", "/v1/audit-events"] {
        let answer = bench.get(path).await.to_string();
        assert!(answer.contains("ops") && !secrets.iter().any(|secret| answer.contains(secret)), "{answer}");
    }
    let (status, who) = bench.with_token("GET", "/v1/whoami", &made["token"], "").await;
    assert_eq!((status, &who["name"], &who["role"]), (StatusCode::OK, &json!("ops"), &json!("operate")));
    assert_eq!((&who["arn"], &who["accessKeyId"]), (&made["user"]["arn"], &Value::Null));
    let group = r#"{"name":"web","protocol":"TCP","port":80}"#;
    let (status, refused) = bench.with_token("POST", "/v1/target-groups", &made["token"], group).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("AccessDenied")));
    assert_eq!(bench.with_token("GET", "/v1/users", &made["token"], "").await.0, StatusCode::FORBIDDEN);

    let renewed = bench.done("POST", "/v1/users/ops/rotate", Value::Null).await;
    assert_eq!((&renewed["user"]["name"], &renewed["user"]["role"]), (&json!("ops"), &json!("operate")));
    assert_ne!((&renewed["token"], &renewed["secretAccessKey"]), (&made["token"], &made["secretAccessKey"]));
    assert_eq!(bench.with_token("GET", "/v1/whoami", &renewed["token"], "").await.0, StatusCode::OK);

    for (method, path, body, code) in [
        ("POST", "/v1/users", r#"{"name":"ops","role":"read"}"#, "DuplicateUserName"),
        ("POST", "/v1/users", r#"{"name":"-","role":"read"}"#, "ValidationError"),
        ("POST", "/v1/users", r#"{"name":"x","role":"king"}"#, "ValidationError"),
        ("POST", "/v1/users/none/rotate", "", "UserNotFound"),
        ("GET", "/v1/users/none", "", "UserNotFound"),
        ("DELETE", "/v1/users/none", "", "UserNotFound"),
    ] {
        assert_eq!(bench.refused(method, path, body).await.1, code, "{method} {path} {body}");
    }
    bench.done("DELETE", "/v1/users/ops", Value::Null).await;
    assert_eq!(bench.get("/v1/users").await, json!({"users": []}));
}

/// req: AUD-04, AUD-07
#[tokio::test]
async fn calls_are_looked_up() {
    let bench = Bench::serving().await;
    bench.refused("GET", "/v1/target-groups/none", "").await;
    let names = async |query: &str| {
        let answer = bench.get(&format!("/v1/audit-events?{query}")).await;
        let events = answer["events"].as_array().expect("a list").clone();
        let names: Vec<String> = events.iter().map(|it| it["eventName"].as_str().expect("a name").to_owned()).collect();
        (names, answer["nextCursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names("eventName=CreateListener").await, (vec!["CreateListener".to_owned()], None));
    let (first, next) = names("readOnly=false&limit=2").await;
    assert_eq!(first, ["RegisterTargets", "CreateListener"], "the newest first");
    let (second, end) = names(&format!("readOnly=false&limit=2&cursor={}", next.expect("more"))).await;
    assert_eq!((second, end), (vec!["CreateTargetGroup".to_owned(), "CreateLoadBalancer".to_owned()], None));
    assert!(names("endTime=2020-01-01T00:00:00Z").await.0.is_empty());
    assert!(!names("startTime=2020-01-01T00:00:00Z").await.0.is_empty());
    let failed = bench.get("/v1/audit-events?eventName=DescribeTargetGroup").await["events"][0].clone();
    assert_eq!(failed["errorCode"], "TargetGroupNotFound");
    for wrong in ["startTime=now", "endTime=2020-01-01", "limit=0", "limit=1001", "cursor=x", "readOnly=maybe", "x=y"] {
        assert_eq!(
            bench.refused("GET", &format!("/v1/audit-events?{wrong}"), "").await.1,
            "ValidationError",
            "{wrong}"
        );
    }
}

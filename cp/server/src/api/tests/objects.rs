//! Attributes, tags, rules, quotas and policies.

use super::*;

const LB: &str = "/v1/load-balancers/web";

/// req: LB-14, LB-15, ERR-11
#[tokio::test]
async fn attributes_of_load_balancers_change_all_or_none() {
    let bench = Bench::serving().await;
    let path = format!("{LB}/attributes");
    let before = bench.get(&path).await;
    assert_eq!(before["attributes"]["deletion_protection.enabled"], "false");
    let change = json!({"attributes": {"deletion_protection.enabled": "true"}});
    let after = bench.done("PATCH", &path, change).await;
    assert_eq!(after["attributes"]["deletion_protection.enabled"], "true");
    assert_eq!(after, bench.get(&path).await);
    let others = |all: &Value| {
        let mut all = all["attributes"].as_object().expect("a map").clone();
        all.remove("deletion_protection.enabled").map(|_| all)
    };
    assert_eq!(others(&after), others(&before));

    let (status, code, ..) = bench.refused("DELETE", LB, "").await;
    assert_eq!((status, code.as_str()), (400, "OperationNotPermitted"));
    for wrong in [
        r#"{"attributes":{"deletion_protection.enabled":"false","x":"y"}}"#,
        r#"{"attributes":{"deletion_protection.enabled":"perhaps"}}"#,
        r#"{"attributes":{"deletion_protection.enabled":true}}"#,
        r#"{"attributes":["deletion_protection.enabled"]}"#,
        r#"[{}]"#,
    ] {
        assert_eq!(bench.refused("PATCH", &path, wrong).await.1, "ValidationError", "{wrong}");
    }
    assert_eq!(bench.get(&path).await, after);
    assert_eq!(bench.refused("GET", "/v1/load-balancers/none/attributes", "").await.0, 404);
    bench.done("PATCH", &path, json!({"attributes": {"deletion_protection.enabled": "false"}})).await;
    bench.done("DELETE", LB, Value::Null).await;
}

#[tokio::test]
async fn attributes_of_listeners_change() {
    let bench = Bench::serving().await;
    let path = format!("{LB}/listeners/80/attributes");
    let before = bench.get(&path).await;
    let key = "tcp.idle_timeout.seconds";
    assert_eq!(before["attributes"][key], "350");
    let after = bench.done("PATCH", &path, json!({"attributes": {key: "60"}})).await;
    assert_eq!((&after["attributes"][key], &after), (&json!("60"), &bench.get(&path).await));
    assert_eq!(bench.refused("PATCH", &path, format!(r#"{{"attributes":{{"{key}":"59"}}}}"#)).await.0, 400);
    assert_eq!(bench.refused("PATCH", &format!("{LB}/listeners/81/attributes"), "{}").await.0, 400);
    assert_eq!(bench.refused("GET", &format!("{LB}/listeners/81/attributes"), "").await.1, "ListenerNotFound");
}

/// req: TAG-01, TAG-02, TAG-05, TAG-06, TAG-08, TG-11
#[tokio::test]
async fn tags_are_put_changed_and_removed() {
    let bench = Bench::serving().await;
    for path in [LB.to_owned(), format!("{LB}/listeners/80"), "/v1/target-groups/web".into()] {
        let tags = format!("{path}/tags");
        assert_eq!(bench.get(&tags).await, json!({"tags": {}}));
        bench.done("PATCH", &tags, json!({"tags": {"team": "blue", "env": "test"}})).await;
        let both = json!({"tags": {"team": "red", "env": "test"}});
        assert_eq!(bench.done("PATCH", &tags, json!({"tags": {"team": "red"}})).await, both);
        assert_eq!(bench.get(&path).await["tags"], both["tags"]);
        // The same by ARN.
        let arn = bench.get(&path).await["arn"].as_str().expect("an ARN").to_owned();
        let by_arn = format!("/v1/tags?resource={arn}");
        assert_eq!(bench.get(&by_arn).await, both);
        assert_eq!(bench.done("PUT", &by_arn, json!({"tags": {"one": ""}})).await, json!({"tags": {"one": ""}}));
        bench.done("PATCH", &by_arn, json!({"tags": {"two": "x"}})).await;
        assert_eq!(
            bench.done("DELETE", &format!("{by_arn}&key=one"), Value::Null).await,
            json!({"tags": {"two": "x"}})
        );
        assert_eq!(bench.done("DELETE", &format!("{tags}?key=none"), Value::Null).await, json!({"tags": {"two": "x"}}));
        assert_eq!(bench.done("PUT", &tags, json!({"tags": {}})).await, json!({"tags": {}}));

        for wrong in
            [json!({"aws:x": "y"}), json!({"": "y"}), json!({" x": "y"}), json!({"x": "\u{0}"}), json!({"x": 1})]
        {
            let body = json!({"tags": wrong}).to_string();
            assert_eq!(bench.refused("PATCH", &tags, body).await.1, "ValidationError", "{wrong}");
        }
        let many: serde_json::Map<_, _> = (0..51).map(|n| (format!("k{n}"), json!(""))).collect();
        assert_eq!(bench.refused("PUT", &tags, json!({"tags": many}).to_string()).await.1, "TooManyTags");
        assert_eq!(bench.refused("DELETE", &tags, "").await.1, "ValidationError", "no key");
    }
    assert_eq!(bench.refused("GET", "/v1/load-balancers/none/tags", "").await.0, 404);
    assert_eq!(bench.refused("GET", "/v1/tags", "").await.1, "ValidationError");
    assert_eq!(bench.refused("GET", "/v1/tags?resource=web", "").await.1, "ValidationError");
}

#[tokio::test]
async fn rules_are_those_of_application_load_balancers() {
    let bench = Bench::serving().await;
    let node = json!([{"zone": "zone-a", "address": "10.3.0.10"}, {"zone": "zone-b", "address": "10.3.1.10"}]);
    let proxy = json!({"name": "proxy", "type": "application", "nodes": node});
    let proxy = bench.done("POST", "/v1/load-balancers", proxy).await;
    assert_eq!((&proxy["type"], &bench.get("/v1/load-balancers/proxy").await), (&json!("application"), &proxy));
    bench.done("POST", "/v1/target-groups", json!({"name": "pages", "protocol": "HTTP", "port": 80})).await;
    let listener = json!({"protocol": "HTTP", "port": 80, "targetGroup": "pages"});
    bench.done("POST", "/v1/load-balancers/proxy/listeners", listener).await;

    let rules = "/v1/load-balancers/proxy/listeners/80/rules";
    let group = bench.get("/v1/target-groups/pages").await["arn"].clone();
    let actions = json!([{"Type": "forward", "TargetGroupArn": group}]);
    let conditions = json!([{"Field": "path-pattern", "Values": ["/api/*"]}]);
    let spec = |priority: u32| json!({"priority": priority, "conditions": conditions, "actions": actions});
    let rule = bench.done("POST", rules, spec(10)).await;
    let path = format!("{rules}/{}", rule["id"].as_str().expect("an id"));
    assert_eq!(bench.get(&path).await, rule);
    let listed = bench.get(rules).await["rules"].clone();
    assert!(listed.as_array().is_some_and(|listed| listed.contains(&rule)), "{listed}");
    assert_eq!(bench.done("PATCH", &path, json!({"priority": 20})).await["priority"], 20);
    assert_eq!(bench.refused("POST", rules, spec(20).to_string()).await.1, "PriorityInUse");
    assert_eq!(bench.refused("POST", rules, spec(50001).to_string()).await.0, 400);
    assert_eq!(bench.refused("GET", &format!("{rules}/0000000000000000"), "").await.1, "RuleNotFound");
    let (status, code, ..) = bench.refused("GET", &format!("{LB}/listeners/80/rules"), "").await;
    assert_eq!((status, code.as_str()), (400, "InvalidConfigurationRequest"));
    bench.done("DELETE", &path, Value::Null).await;
    assert_eq!(bench.refused("DELETE", &path, "").await.1, "RuleNotFound");
    bench.done("DELETE", "/v1/load-balancers/proxy", Value::Null).await;
    assert_eq!(bench.refused("GET", "/v1/load-balancers/proxy", "").await.0, 404);
}

/// req: QTA-12
#[tokio::test]
async fn quotas_and_policies_are_listed() {
    let bench = Bench::new();
    let quotas = bench.get("/v1/quotas").await["quotas"].clone();
    let quotas = quotas.as_array().expect("a list");
    let balancers = quotas.iter().find(|quota| quota["name"] == "network-load-balancers").expect("one");
    assert_eq!((&balancers["value"], &balancers["adjustable"]), (&json!(50), &json!(true)));
    let policies = bench.get("/v1/ssl-policies").await["sslPolicies"].clone();
    let policies = policies.as_array().expect("a list");
    let default = policies.iter().find(|policy| policy["name"] == "ELBSecurityPolicy-2016-08").expect("one");
    assert_eq!(default["protocols"], json!(["TLSv1", "TLSv1.1", "TLSv1.2"]));
}

/// req: ZN-11, ZN-15
#[tokio::test]
async fn interfaces_are_seen_and_not_changed() {
    let bench = Bench::serving().await;
    let lb = bench.get(LB).await;
    let interfaces = bench.get("/v1/interfaces").await["interfaces"].clone();
    let description = format!("ELB net/web/{}", lb["id"].as_str().expect("an id"));
    let one = &interfaces[0];
    assert_eq!((&one["description"], &one["zone"]), (&json!(description), &json!("zone-a")));
    assert_eq!((&one["privateIpv4Address"], &one["addresses"]), (&json!("10.1.0.10"), &json!(["10.1.0.10"])));
    let path = format!("/v1/interfaces/{}", one["id"].as_str().expect("an id"));
    let (status, code, ..) = bench.refused("PATCH", &path, r#"{"description":"mine"}"#).await;
    assert_eq!((status, code.as_str()), (400, "OperationNotPermitted"));
    assert_eq!(bench.refused("PATCH", "/v1/interfaces/eni-0", "{}").await.0, 404);
}

#[tokio::test]
async fn the_description_is_served() {
    let bench = Bench::new();
    let description = bench.get("/v1/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    assert!(description["paths"]["/v1/load-balancers/{lb}"]["patch"]["requestBody"].is_object());
}

/// Readers of JSON take a list for an object's values in their order, and an object for a word; the API does not.
#[tokio::test]
async fn bodies_are_shaped_as_described() {
    let bench = Bench::serving().await;
    for (method, path, body, field) in [
        ("PATCH", "/v1/target-groups/web", "[]", ""),
        ("PATCH", "/v1/target-groups/web", r#"{"healthCheck":[]}"#, "healthCheck"),
        ("PATCH", "/v1/target-groups/web", r#"{"healthCheck":{"protocol":{"TCP":null}}}"#, "healthCheck.protocol"),
        ("POST", "/v1/target-groups", r#"["x","TCP",80]"#, ""),
        ("POST", "/v1/target-groups", r#"{"name":"x","protocol":{"TCP":null},"port":80}"#, "protocol"),
        ("POST", "/v1/target-groups/web/targets", r#"{"targets":[["10.2.0.1"]]}"#, "targets[0]"),
        ("PATCH", "/v1/target-groups/web", r#"{"healthCheck":{"port":"080"}}"#, "healthCheck.port"),
    ] {
        let (status, code, at, _) = bench.refused(method, path, body).await;
        assert_eq!((status, code.as_str(), at.as_str()), (400, "ValidationError", field), "{body}");
    }
}

/// req: TLS-02, TLS-03, TLS-04
#[tokio::test]
async fn certificates_are_imported_used_and_deleted() {
    let bench = Bench::serving().await;
    let import = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        json!({"certificate": made.cert.pem(), "privateKey": made.signing_key.serialize_pem()})
    };
    let (one, two) = (import("a.example"), import("b.example"));
    let first = bench.done("POST", "/v1/certificates", one.clone()).await;
    let second = bench.done("POST", "/v1/certificates", two).await;
    assert_eq!(first["subjectAlternativeNames"], json!(["a.example"]));
    assert!(!first.to_string().contains("PRIVATE"), "the key is not shown");
    let path = |it: &Value| format!("/v1/certificates/{}", it["arn"].as_str().expect("an ARN").replace('/', "%2F"));
    assert_eq!(bench.get(&path(&first)).await, first);
    assert_eq!(bench.get("/v1/certificates").await["certificates"].as_array().map(Vec::len), Some(2));

    let tls = json!({"protocol": "TLS", "port": 443, "targetGroup": "web"});
    let (_, code, ..) = bench.refused("POST", &format!("{LB}/listeners"), tls.to_string()).await;
    assert_ne!(code, "InternalFailure", "a TLS listener needs a certificate");
    let tls = json!({"protocol": "TLS", "port": 443, "targetGroup": "web", "certificate": first["arn"]});
    let listener = bench.done("POST", &format!("{LB}/listeners"), tls).await;
    assert_eq!(listener["certificates"], json!([first["arn"]]));
    let list = format!("{LB}/listeners/443/certificates");
    let more = json!({"certificates": [second["arn"]]});
    let both = json!({"certificates": [first["arn"], second["arn"]]});
    assert_eq!(bench.done("POST", &list, more.clone()).await, both);
    assert_eq!((bench.done("POST", &list, more.clone()).await, bench.get(&list).await), (both.clone(), both));
    let default = json!({"certificates": [first["arn"]]}).to_string();
    assert_eq!(bench.refused("POST", &format!("{list}/remove"), default).await.1, "OperationNotPermitted");
    assert_eq!(bench.refused("DELETE", &path(&second), "").await.1, "ResourceInUse");
    assert_eq!(bench.done("POST", &format!("{list}/remove"), more).await, json!({"certificates": [first["arn"]]}));
    bench.done("DELETE", &path(&second), Value::Null).await;
    assert_eq!(bench.refused("GET", &path(&second), "").await.1, "CertificateNotFound");

    let mut wrong = one.clone();
    wrong["privateKey"] = import("c.example")["privateKey"].clone();
    assert_eq!(bench.refused("POST", "/v1/certificates", wrong.to_string()).await.0, 400);
    assert_eq!(bench.refused("POST", "/v1/certificates", r#"{"certificate":"x","privateKey":"y"}"#).await.0, 400);
}

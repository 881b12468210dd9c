//! The configuration as one document.

use super::*;

fn document(port: u16) -> Value {
    json!({
        "targetGroups": [{"name": "web", "protocol": "TCP", "port": 8080, "targets": [{"id": "10.2.0.11"}]}],
        "loadBalancers": [{
            "name": "front",
            "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}],
            "listeners": [{"protocol": "TCP", "port": port, "targetGroup": "web"}]
        }]
    })
}

#[tokio::test]
async fn a_document_is_applied_once() {
    let bench = Bench::new();
    let before = bench.state.model();
    let plan = bench.done("POST", "/v1/apply?dryRun=true", document(80)).await;
    assert_eq!((&plan["applied"], plan["changes"].as_array().map(Vec::is_empty)), (&json!(false), Some(false)));
    assert_eq!(bench.state.model(), before, "only said");

    let done = bench.done("POST", "/v1/apply", document(80)).await;
    assert_eq!((&done["applied"], &done["changes"]), (&json!(true), &plan["changes"]));
    assert_eq!(bench.get("/v1/load-balancers/front/listeners/80").await["targetGroup"], "web");
    assert_eq!(bench.get("/v1/target-groups/web/targets").await["targets"][0]["id"], "10.2.0.11");
    let epoch = bench.state.model().epoch();
    assert_eq!(bench.done("POST", "/v1/apply", document(80)).await["changes"], json!([]));
    let now = bench.get("/v1/configuration").await;
    assert_eq!(bench.done("POST", "/v1/apply?prune=true", now).await["changes"], json!([]), "what is there is there");
    assert_eq!(bench.state.model().epoch(), epoch);

    bench.done("POST", "/v1/apply", document(81)).await;
    let listeners = bench.get("/v1/load-balancers/front/listeners").await["listeners"].clone();
    assert_eq!((listeners.as_array().map(Vec::len), &listeners[0]["port"]), (Some(1), &json!(81)));
}

/// req: ERR-11
#[tokio::test]
async fn a_document_that_cannot_be_had_changes_nothing() {
    let bench = Bench::new();
    bench.done("POST", "/v1/apply", document(80)).await;
    let mut wrong = document(90);
    wrong["targetGroups"][0]["targets"] = json!([{"id": "8.8.8.8"}]);
    let mut unknown = document(90);
    unknown["loadBalancers"][0]["colour"] = json!("red");
    for body in [wrong.to_string(), unknown.to_string(), r#"{"loadBalancers":{}}"#.into(), "[]".into()] {
        assert_eq!(bench.refused("POST", "/v1/apply", body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(bench.refused("POST", "/v1/apply?dryRun=perhaps", "{}").await.0, 400);
}

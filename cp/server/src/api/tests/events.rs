//! What has happened.

use super::*;

/// The events of a type after a sequence number, as soon as there is one.
async fn after(bench: &Bench, sequence: u64, kind: &str) -> Value {
    bench.get(&format!("/v1/events?after={sequence}&type={kind}&wait=10")).await
}

/// Somebody who asks for what comes after what he has read learns of every change as soon as it is made.
///
/// req: HC-29, DRN-01, DRN-09
#[tokio::test]
async fn events_are_told_to_who_waits() {
    let bench = Bench::serving().await;
    let first = after(&bench, 0, "target").await;
    let event = &first["events"][0];
    let expected = [("targetGroup", "web"), ("target", "10.2.0.11:8080"), ("from", "unused"), ("to", "initial")];
    for (field, value) in expected {
        assert_eq!(event[field], value, "{event}");
    }
    let (next, boot) = (first["next"].as_u64().expect("a number"), first["bootId"].clone());
    let targets = json!({"targets": [{"id": "10.2.0.11"}]});
    let (drained, _) = tokio::join!(
        after(&bench, next, "target"),
        bench.done("POST", "/v1/target-groups/web/targets/deregister", targets.clone())
    );
    let event = &drained["events"][0];
    assert_eq!((&event["to"], &event["reason"]), (&json!("draining"), &json!("Target.DeregistrationInProgress")));
    assert_eq!((&drained["bootId"], &drained["dropped"]), (&boot, &json!(0)));
    // Without a delay it is unused at once, in one step.
    bench.done("POST", "/v1/target-groups/web/targets", targets.clone()).await;
    let none = json!({"attributes": {"deregistration_delay.timeout_seconds": "0"}});
    bench.done("PATCH", "/v1/target-groups/web/attributes", none).await;
    bench.done("POST", "/v1/target-groups/web/targets/deregister", targets).await;
    let mut states = Vec::new();
    let mut next = drained["next"].as_u64().expect("a number");
    while states.last() != Some(&json!("unused")) {
        let more = after(&bench, next, "target").await;
        states.extend(more["events"].as_array().expect("a list").iter().map(|event| event["to"].clone()));
        next = more["next"].as_u64().expect("a number");
    }
    assert_eq!(states, [json!("initial"), json!("unused")]);
}

#[tokio::test]
async fn events_are_chosen_by_type_and_number() {
    let bench = Bench::serving().await;
    let balancers = after(&bench, 0, "load-balancer,port").await;
    assert_eq!(balancers["events"][0]["to"], "provisioning", "{balancers}");
    after(&bench, 0, "zone").await;
    let newest = bench.get("/v1/events?limit=1").await;
    assert_eq!(newest["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(newest["events"][0]["sequence"], newest["next"]);
    // Too many that wait: the next one is answered at once.
    let far = format!("/v1/events?after={}&wait=30", newest["next"]);
    let slow = async { tokio::join!(bench.get(&far), bench.get(&far)) };
    let mut slow = std::pin::pin!(slow);
    let at_once = tokio::select! {
        _ = &mut slow => panic!("nothing has happened"),
        answer = async { tokio::task::yield_now().await; bench.get(&far).await } => answer,
    };
    assert_eq!(at_once["events"], json!([]));
    bench.events.close();
    let (one, other) = slow.await;
    assert_eq!((&one["events"], &other["events"]), (&json!([]), &json!([])), "the end of the process ends the wait");
    for (query, field) in
        [("type=boot", "type"), ("limit=0", "limit"), ("wait=31&after=0", "wait"), ("wait=-1", "wait")]
    {
        let (status, code, at, _) = bench.refused("GET", &format!("/v1/events?{query}"), "").await;
        assert_eq!((status, code.as_str(), at.as_str()), (400, "ValidationError", field), "{query}");
    }
}

/// req: HC-30
#[tokio::test]
async fn a_target_group_tells_how_many_targets_are_in_which_state() {
    let bench = Bench::serving().await;
    let targets = json!({"targets": [
        {"id": "10.2.0.12", "zone": "zone-a"}, {"id": "10.2.0.13", "zone": "zone-b"}, {"id": "10.2.0.14"},
    ]});
    bench.done("POST", "/v1/target-groups/web/targets", targets).await;
    let gone = json!({"targets": [{"id": "10.2.0.14"}]});
    bench.done("POST", "/v1/target-groups/web/targets/deregister", gone).await;
    let group = bench.get("/v1/target-groups/web").await;
    let counts = &group["targetCounts"];
    let zero =
        json!({"total": 0, "healthy": 0, "unhealthy": 0, "initial": 0, "draining": 0, "unused": 0, "unavailable": 0});
    let with = |numbers: &[(&str, u64)]| {
        let mut counts = zero.clone();
        numbers.iter().for_each(|(state, number)| counts[*state] = json!(number));
        counts
    };
    let zones = json!({
        "zone-a": with(&[("total", 3), ("initial", 2), ("draining", 1)]),
        "zone-b": with(&[("total", 1), ("unused", 1)]),
    });
    let mut expected = with(&[("total", 4), ("initial", 2), ("draining", 1), ("unused", 1)]);
    expected["zones"] = zones;
    assert_eq!(*counts, expected);
    let listed = bench.get("/v1/target-groups/web/targets").await["targets"].as_array().map(Vec::len);
    assert_eq!(listed, Some(4), "as many as the list has");
    assert_eq!(bench.get("/v1/target-groups").await["targetGroups"][0]["targetCounts"], expected);
}

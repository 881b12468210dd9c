//! Lists: what they can be asked for, and their pages.

use super::*;

/// A group with targets 10.2.0.1 to 10.2.0.12 on 80, and 10.2.0.1 on 81.
async fn bench() -> Bench {
    let bench = Bench::new();
    bench.done("POST", "/v1/target-groups", json!({"name": "web", "protocol": "TCP", "port": 80})).await;
    let mut targets: Vec<Value> = (1..=12).map(|n| json!({"id": format!("10.2.0.{n}")})).collect();
    targets.push(json!({"id": "10.2.0.1", "port": 81}));
    bench.done("POST", "/v1/target-groups/web/targets", json!({"targets": targets})).await;
    bench
}

fn ids(answer: &Value) -> Vec<String> {
    let of = |target: &Value| format!("{}:{}", target["id"].as_str().expect("an id"), target["port"]);
    answer["targets"].as_array().expect("a list").iter().map(of).collect()
}

/// req: OLD-03
#[tokio::test]
async fn targets_are_found_and_sorted() {
    let bench = bench().await;
    let ask = async |query: &str| ids(&bench.get(&format!("/v1/target-groups/web/targets?{query}")).await);
    assert_eq!(ask("").await.len(), 13);
    assert_eq!(ask("id=10.2.0.1").await.len(), 5, "a prefix");
    assert_eq!(ask("port=81").await, ["10.2.0.1:81"]);
    assert_eq!(ask("state=unused").await.len(), 13);
    assert!(ask("state=healthy").await.is_empty());
    assert!(ask("zone=zone-a").await.is_empty());
    assert_eq!(ask("sort=address").await[..3], ["10.2.0.1:80", "10.2.0.1:81", "10.2.0.2:80"]);
    assert_eq!(ask("sort=port").await.last().map(String::as_str), Some("10.2.0.1:81"));
    for wrong in ["state=ill", "port=0", "port=x", "sort=name", "limit=0", "limit=1001", "cursor=x", "colour=red"] {
        let path = format!("/v1/target-groups/web/targets?{wrong}");
        assert_eq!(bench.refused("GET", &path, "").await.1, "ValidationError", "{wrong}");
    }
}

#[tokio::test]
async fn a_list_is_read_in_pages_while_it_changes() {
    let bench = bench().await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for round in 0..4 {
        let page = bench.get(&format!("/v1/target-groups/web/targets?limit=5{cursor}")).await;
        found.extend(ids(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(round < 3);
        bench.done("POST", "/v1/target-groups/web/targets", json!({"targets": [{"id": "10.2.0.1", "port": 79}]})).await;
    }
    let mut all = ids(&bench.get("/v1/target-groups/web/targets").await);
    all.retain(|id| id != "10.2.0.1:79");
    assert_eq!(found, all, "what was there all the time is listed once");
}

#[tokio::test]
async fn balancers_and_groups_are_listed_by_name_and_in_pages() {
    let bench = Bench::new();
    for (at, name) in ["c", "a", "b"].iter().enumerate() {
        let node = json!([{"zone": "zone-a", "address": format!("10.1.0.{}", at + 10)}]);
        bench.done("POST", "/v1/load-balancers", json!({"name": name, "nodes": node})).await;
        bench.done("POST", "/v1/target-groups", json!({"name": name, "protocol": "TCP", "port": 80})).await;
    }
    for (path, key) in [("/v1/load-balancers", "loadBalancers"), ("/v1/target-groups", "targetGroups")] {
        let names = async |query: &str| {
            let answer = bench.get(&format!("{path}{query}")).await;
            let list = answer[key].as_array().expect("a list").clone();
            let names: Vec<String> = list.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect();
            (names.join(" "), answer["nextCursor"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(names("").await.0, "a b c");
        assert_eq!(names("?name=b").await.0, "b");
        assert_eq!(names("?name=d").await.0, "");
        let (first, cursor) = names("?limit=2").await;
        assert_eq!(
            (first.as_str(), names(&format!("?limit=2&cursor={cursor}")).await),
            ("a b", ("c".into(), String::new()))
        );
    }
}

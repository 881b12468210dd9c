//! Pages of lists.

use crate::bench::{Bench, forward, lb};

fn names(said: &[String], suffix: &str) -> Vec<String> {
    said.iter().filter_map(|line| line.split_once(suffix)).map(|(_, name)| name.to_owned()).collect()
}

fn marker(said: &[String]) -> Option<&str> {
    said.iter().find_map(|line| line.strip_prefix("NextMarker="))
}

/// Everything comes once, in order, also what comes and goes while somebody turns the pages.
#[test]
fn pages_have_everything_once() {
    let mut bench = Bench::new();
    let create = |bench: &mut Bench, name: &str| {
        bench.ok("CreateTargetGroup", &format!("Name={name} Protocol=TCP Port=80 TargetType=ip"));
    };
    for name in ["d", "b", "e", "a", "c"] {
        create(&mut bench, name);
    }
    let mut seen = Vec::new();
    let mut form = "PageSize=2".to_owned();
    for turn in 0.. {
        let said = bench.ok("DescribeTargetGroups", &form);
        seen.extend(names(&said, ".TargetGroupName="));
        match marker(&said) {
            Some(marker) => form = format!("PageSize=2 Marker={marker}"),
            None => break,
        }
        if turn == 0 {
            create(&mut bench, "aa");
            create(&mut bench, "bb");
        }
    }
    assert_eq!(seen, ["a", "b", "bb", "c", "d", "e"], "what came before the page that was read is passed over");
}

#[test]
fn every_list_has_pages() {
    let mut bench = Bench::serving();
    bench.balancer("other", "10.1.0.11");
    bench.ok("CreateTargetGroup", "Name=other Protocol=TCP Port=80 TargetType=ip");
    bench.ok("CreateListener", &format!("LoadBalancerArn={} Protocol=TCP Port=9 {}", lb(1), forward(2)));
    let listeners = format!("LoadBalancerArn={}", lb(1));
    for (action, form, suffix, expected) in [
        ("DescribeLoadBalancers", "", ".LoadBalancerName=", &["other", "web"][..]),
        ("DescribeTargetGroups", "", ".TargetGroupName=", &["other", "web"]),
        ("DescribeListeners", &listeners, ".Port=", &["9", "80"]),
    ] {
        let first = bench.ok(action, &format!("{form} PageSize=1"));
        let next = marker(&first).expect("there is more").to_owned();
        let second = bench.ok(action, &format!("{form} PageSize=1 Marker={next}"));
        assert_eq!(marker(&second), None);
        assert_eq!([names(&first, suffix), names(&second, suffix)].concat(), expected, "{action}");
    }
    for action in ["DescribeAccountLimits", "DescribeSSLPolicies"] {
        let all = bench.ok(action, "").len();
        let first = bench.ok(action, "PageSize=5");
        let next = marker(&first).expect("there is more").to_owned();
        let rest = bench.ok(action, &format!("Marker={next}"));
        assert_eq!(first.len() - 1 + rest.len(), all, "{action}");
        // A marker is good for the list that it came from.
        assert_eq!(bench.refused("DescribeLoadBalancers", &format!("Marker={next}")).0.name(), "ValidationError");
    }
}

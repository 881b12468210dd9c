//! Whole commands against a small server in this process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::*;

/// One request as the server saw it: method, path with query, body.
type Seen = (String, String, Value);

/// Serves one connection for each answer (status, body) and returns the requests.
fn serve(listener: TcpListener, answers: Vec<(u16, Value)>) -> thread::JoinHandle<Vec<Seen>> {
    thread::spawn(move || {
        let serve = |(status, body)| answer(listener.accept().expect("a connection").0, status, &body);
        answers.into_iter().map(serve).collect()
    })
}

fn answer(mut stream: impl Read + Write, status: u16, body: &Value) -> Seen {
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request line");
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request).expect("the body");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).expect("the answer goes out");
    let request = if request.is_empty() { Value::Null } else { serde_json::from_slice(&request).expect("JSON") };
    (method, path, request)
}

/// Runs a command line against answers; returns what it printed (or its error) and the requests.
fn command(line: &str, answers: Vec<(u16, Value)>) -> (Result<String, CallError>, Vec<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let server = serve(listener, answers);
    let printed = run_line(&format!("--endpoint {endpoint} {line}"));
    (printed, server.join().expect("the server saw all requests"))
}

fn run_line(line: &str) -> Result<String, CallError> {
    let words = std::iter::once("leat").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut printed = Vec::new();
    run(&cli, Output::buffer(cli.output, &mut printed))?;
    Ok(String::from_utf8(printed).expect("UTF-8"))
}

fn balancer() -> Value {
    json!({
        "arn": "arn:x", "id": "0123456789abcdef", "name": "front", "type": "network", "scheme": "internet-facing",
        "state": {"code": "active"}, "createdTime": "2026-01-01T00:00:00Z", "dnsName": "front-0.elb.local.leat",
        "ipAddressType": "ipv4", "availabilityZones": [{"zoneName": "zone-a", "addresses": ["10.1.0.10"]}],
    })
}

fn group() -> Value {
    json!({
        "arn": "arn:tg", "id": "fedcba9876543210", "name": "web", "protocol": "TCP", "port": 8080, "targetType": "ip",
        "ipAddressType": "ipv4",
        "healthCheck": {"protocol": "TCP", "port": "traffic-port", "intervalSeconds": 30, "timeoutSeconds": 10,
                        "healthyThresholdCount": 5, "unhealthyThresholdCount": 2},
        "attributes": {"preserve_client_ip.enabled": "true"}, "loadBalancerArns": [],
    })
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_exits_2_and_teaches() {
    for line in [
        "lb create front",
        "lb create front --node 10.1.0.10",
        "listener create front --protocol SCTP --port 80 --target-group web",
        "target register web",
        "target register web 10.2.0.11:http",
        "tg attributes web novalue",
        "target register web [2001:db8::1]",
        "lb create front --node zone-a=10.1.0.10,10.1.0.11",
        "lb create front --secondary zone-a=10.1.0.11",
        "lb modify front",
        "tg create web --protocol TCP --port 80 --ip-address-type dualstack",
        "listener modify front 80",
        "listener delete front 65536",
        "tg modify web",
        "lb create front --subnet a --node zone-a=10.1.0.10",
        "lb create front --subnet-mapping a,port=1",
        "user create bob --role root",
        "inventory modify-instance i-1",
        "stats --watch 0",
        "--endpoint 127.0.0.1 status",
        "nonsense",
    ] {
        let words = std::iter::once("leat").chain(line.split_whitespace());
        assert_eq!(Cli::try_parse_from(words).expect_err(line).exit_code(), 2, "{line}");
    }
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("leat target register web"), "{help}");
}

#[test]
fn load_balancers() {
    let (printed, seen) = command("lb create front --node zone-a=10.1.0.10", vec![(201, balancer())]);
    let body = json!({"name": "front", "type": "network", "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}]});
    assert_eq!(seen, [("POST".to_owned(), "/v1/load-balancers".to_owned(), body)]);
    assert!(printed.expect("created").contains("nodes:          zone-a=10.1.0.10"));

    let line = "lb create front --node zone-a=10.1.0.10,2001:db8::10 --node zone-b=10.1.0.20,2001:db8::20 --secondary zone-a=10.1.0.11";
    let (_, seen) = command(line, vec![(201, balancer())]);
    let nodes = json!([
        {"zone": "zone-a", "address": "10.1.0.10", "ipv6Address": "2001:db8::10", "secondaryAddresses": ["10.1.0.11"]},
        {"zone": "zone-b", "address": "10.1.0.20", "ipv6Address": "2001:db8::20"},
    ]);
    assert_eq!(seen[0].2, json!({"name": "front", "type": "network", "ipAddressType": "dualstack", "nodes": nodes}));
    let (_, seen) = command("lb modify front --ip-address-type ipv4", vec![(200, balancer())]);
    assert_eq!((seen[0].0.as_str(), &seen[0].2), ("PATCH", &json!({"ipAddressType": "ipv4"})));
    let (_, seen) = command("lb modify front --secondary a=10.1.0.11 --secondary a=10.1.0.12", vec![(200, balancer())]);
    assert_eq!(seen[0].2, json!({"nodes": [{"zone": "a", "secondaryAddresses": ["10.1.0.11", "10.1.0.12"]}]}));

    let (printed, _) = command("load-balancer list", vec![(200, json!({"loadBalancers": [balancer()]}))]);
    let printed = printed.expect("listed");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("NAME   ID                STATE"), "{printed}");
    assert!(lines[1].starts_with("front  0123456789abcdef  active  zone-a=10.1.0.10"), "{printed}");

    let mut failing = balancer();
    failing["availabilityZones"][0]["health"] = json!({"healthy": false, "reason": "port p0 has no link"});
    let (printed, _) = command("lb describe front", vec![(200, failing)]);
    let printed = printed.expect("described");
    assert!(printed.contains("out of service: zone-a (port p0 has no link)"), "{printed}");

    let (printed, seen) = command("lb delete a/b --confirm", vec![(200, balancer()), (200, Value::Null)]);
    assert_eq!((seen[1].0.as_str(), seen[1].1.as_str()), ("DELETE", "/v1/load-balancers/a%2Fb"));
    assert_eq!(printed.expect("deleted"), "load balancer a/b is deleted\n");
    let error = json!({"error": {"code": "LoadBalancerNotFound", "message": "there is no load balancer \"b\""}});
    let (printed, _) = command("lb delete b", vec![(404, error), (200, Value::Null)]);
    assert_eq!(printed.expect("done"), "load balancer b was not there\n");
}

/// Nobody can be asked here: it has to be said.
///
/// req: DEL-02
#[test]
fn deleting_a_load_balancer_wants_to_be_confirmed() {
    let (printed, seen) = command("lb delete front", vec![(200, balancer())]);
    assert!(printed.expect_err("not confirmed").to_string().contains("--confirm"));
    assert_eq!(seen.len(), 1, "nothing was deleted");
}

/// Each command line, and the call that it makes.
#[test]
fn commands_are_calls() {
    let nothing = || json!({});
    for (line, method, path, body) in [
        (
            "lb create front --subnet a --subnet b --scheme internal --tag k=v",
            "POST",
            "/v1/load-balancers",
            json!({"name": "front", "type": "network", "scheme": "internal", "subnets": ["a", "b"], "tags": {"k": "v"}}),
        ),
        (
            "lb create front --subnet-mapping a,allocation=e-1",
            "POST",
            "/v1/load-balancers",
            json!({"name": "front", "type": "network", "subnetMappings": [{"subnet": "a", "allocationId": "e-1"}]}),
        ),
        (
            "lb attributes front deletion_protection.enabled=true",
            "PATCH",
            "/v1/load-balancers/front/attributes",
            json!({"attributes": {"deletion_protection.enabled": "true"}}),
        ),
        (
            "listener attributes front 80 tcp.idle_timeout.seconds=350",
            "PATCH",
            "/v1/load-balancers/front/listeners/80/attributes",
            json!({"attributes": {"tcp.idle_timeout.seconds": "350"}}),
        ),
        (
            "target register app i-1 --zone all",
            "POST",
            "/v1/target-groups/app/targets",
            json!({"targets": [{"id": "i-1", "zone": "all"}]}),
        ),
        (
            "target register l7 arn:aws:x:app/y",
            "POST",
            "/v1/target-groups/l7/targets",
            json!({"targets": [{"id": "arn:aws:x:app/y"}]}),
        ),
        ("tag add arn:x a=1", "PATCH", "/v1/tags?resource=arn%3Ax", json!({"tags": {"a": "1"}})),
        (
            "inventory modify-instance i-1 --state stopped",
            "PATCH",
            "/v1/inventory/instances/i-1",
            json!({"state": "stopped"}),
        ),
        (
            "inventory put-instance i-1 --subnet a --address 10.1.0.9 --label k=v",
            "PUT",
            "/v1/inventory/instances/i-1",
            json!({"id": "i-1", "subnet": "a", "address": "10.1.0.9", "otherAddresses": [], "state": "running", "noClientIp": false,
                "labels": {"k": "v"}}),
        ),
        (
            "zonal-shift start front --away-from a --expires-in 3h --ack",
            "POST",
            "/v1/zonal-shifts",
            json!({"loadBalancer": "front", "awayFrom": "a", "expiresIn": "3h", "comment": ""}),
        ),
        ("zonal-shift cancel 7", "DELETE", "/v1/zonal-shifts/7", Value::Null),
        ("user create bob --role read", "POST", "/v1/users", json!({"name": "bob", "role": "read"})),
        ("user delete bob", "DELETE", "/v1/users/bob", Value::Null),
        ("certificate delete arn:c/1", "DELETE", "/v1/certificates/arn%3Ac%2F1", Value::Null),
        (
            "audit --event CreateListener --limit 5",
            "GET",
            "/v1/audit-events?eventName=CreateListener&limit=5",
            Value::Null,
        ),
        ("quotas", "GET", "/v1/quotas", Value::Null),
        ("api DELETE /v1/x", "DELETE", "/v1/x", Value::Null),
    ] {
        // Whatever is printed of an empty answer: the call is what counts.
        let (_, seen) = command(line, vec![(200, nothing())]);
        assert_eq!(seen, [(method.to_owned(), path.to_owned(), body)], "{line}");
    }
}

#[test]
fn documents_are_yaml_or_json() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("front.yaml");
    std::fs::write(&file, "targetGroups:\n  - {name: web, protocol: TCP, port: 80}\n").expect("written");
    let plan = json!({"changes": [{"action": "modify", "resource": "target group web", "details": ["port: 80 → 81"]}], "applied": false});
    let (printed, seen) = command(&format!("apply -f {} --dry-run --prune", file.display()), vec![(200, plan)]);
    assert_eq!(seen[0].1, "/v1/apply?dryRun=true&prune=true");
    assert_eq!(seen[0].2, json!({"targetGroups": [{"name": "web", "protocol": "TCP", "port": 80}]}));
    let expected = "modify target group web\n    port: 80 → 81\n1 changes would be made\n";
    assert_eq!(printed.expect("a plan"), expected);
    let error = run_line("--endpoint http://127.0.0.1:1 apply -f /nowhere").expect_err("no file");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

/// A new user's secrets can be taken over by a shell.
#[test]
fn secrets_are_printed_for_a_shell() {
    let user = json!({"name": "bob", "arn": "arn:u", "role": "read", "accessKeyId": "K", "createdTime": "2026-01-01T00:00:00Z"});
    let answer = json!({"user": user, "secretAccessKey": "S", "token": "T"});
    let (printed, _) = command("user create bob --role read", vec![(201, answer)]);
    let printed = printed.expect("created");
    assert!(
        printed.ends_with("export AWS_ACCESS_KEY_ID=K\nexport AWS_SECRET_ACCESS_KEY=S\nexport LEAT_TOKEN=T\n"),
        "{printed}"
    );
}

#[test]
fn listeners() {
    let listener = json!({"arn": "arn:l", "id": "1", "loadBalancerArn": "arn:x", "protocol": "TCP_UDP", "port": 53,
                          "targetGroup": "dns", "targetGroupArn": "arn:tg", "certificates": [], "attributes": {}, "tags": {}});
    let line = "listener create front --protocol tcp_udp --port 53 --target-group dns";
    let (printed, seen) = command(line, vec![(201, listener.clone())]);
    assert_eq!(seen[0].1, "/v1/load-balancers/front/listeners");
    assert_eq!(seen[0].2, json!({"protocol": "TCP_UDP", "port": 53, "targetGroup": "dns"}));
    assert!(printed.expect("created").contains("TCP_UDP"));

    let (_, seen) = command("listener modify front 53 --target-group dns2", vec![(200, listener.clone())]);
    let request =
        ("PATCH".to_owned(), "/v1/load-balancers/front/listeners/53".to_owned(), json!({"targetGroup": "dns2"}));
    assert_eq!(seen, [request]);

    let (printed, _) = command("listener list front -o json", vec![(200, json!({"listeners": [listener.clone()]}))]);
    let printed: Value = serde_json::from_str(&printed.expect("listed")).expect("JSON");
    assert_eq!(printed, json!({"listeners": [listener]}));
}

#[test]
fn target_groups_and_targets() {
    let line = "tg create web --protocol TCP --port 8080 --health-check-interval 10 --health-check-port 9090 \
                --attribute preserve_client_ip.enabled=true";
    let (printed, seen) = command(line, vec![(201, group())]);
    let body = json!({
        "name": "web", "protocol": "TCP", "port": 8080, "targetType": "ip", "ipAddressType": "ipv4",
        "healthCheck": {"port": 9090, "intervalSeconds": 10}, "attributes": {"preserve_client_ip.enabled": "true"},
    });
    assert_eq!(seen[0].2, body);
    assert!(printed.expect("created").contains("traffic-port"));

    let (_, seen) = command("tg attributes web a=1 b=", vec![(200, json!({"attributes": {"a": "1", "b": ""}}))]);
    assert_eq!((seen[0].0.as_str(), &seen[0].2), ("PATCH", &json!({"attributes": {"a": "1", "b": ""}})));
    let (_, seen) = command("tg attributes web", vec![(200, json!({"attributes": {}}))]);
    assert_eq!(seen[0].0, "GET");

    let (printed, seen) = command("target register web 10.2.0.11 10.2.0.12:81", vec![(200, json!({"applied": true}))]);
    assert_eq!(seen[0].2, json!({"targets": [{"id": "10.2.0.11"}, {"id": "10.2.0.12", "port": 81}]}));
    assert_eq!(printed.expect("registered"), "2 targets registered with web\n");
    let (printed, seen) = command("target deregister web 10.2.0.11 --wait 3", vec![(202, json!({"applied": false}))]);
    assert_eq!(seen[0].1, "/v1/target-groups/web/targets/deregister?wait=3");
    assert!(printed.expect("accepted").contains("not every lcore"));

    let target = json!({"id": "10.2.0.11", "port": 8080, "zone": "zone-a", "flows": {"active": 3, "new": 40},
        "health": {"state": "unhealthy", "reason": "Target.FailedHealthChecks", "description": "Health checks failed"}});
    let (printed, _) = command("target list web", vec![(200, json!({"targets": [target]}))]);
    let printed = printed.expect("listed");
    assert!(printed.contains("10.2.0.11:8080  unhealthy"), "{printed}");
    assert!(printed.contains("Target.FailedHealthChecks: Health checks failed"), "{printed}");
}

#[test]
fn errors_are_the_apis_words_with_a_hint() {
    let error = json!({"error": {"code": "TargetGroupNotFound", "message": "There is no target group web.", "field": "targetGroup"}});
    let (result, _) = command("target list web", vec![(404, error)]);
    let error = result.expect_err("not found");
    assert_eq!(error.to_string(), "There is no target group web. (field targetGroup)");
    assert!(error.hint().expect("a hint").contains("leat target-group list"));
    let (result, _) = command("status", vec![(200, json!({"what": "else"}))]);
    assert!(matches!(result.expect_err("not our API"), CallError::Protocol(_)));
}

#[test]
fn nobody_there_says_how_to_start() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    let error = run_line(&format!("--endpoint http://127.0.0.1:{port} status")).expect_err("refused");
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}")));
    assert!(error.hint().expect("a hint").contains("leat up"));
}

#[test]
fn over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("leat.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let status = json!({
        "version": "0.1.0", "epoch": 7, "appliedEpoch": 6, "problems": ["port p0 has no link"],
        "dataPlane": {"attached": true, "incarnation": 2, "pid": 99, "generation": 5,
            "lcores": [{"id": 0, "cpu": 1, "generation": 5, "busyPercent": 12.34}],
            "ports": [{"name": "p0", "tap": "leat-p0", "mac": "02:00:00:00:00:01", "mtu": 1500, "link": false}]},
    });
    let server = thread::spawn(move || answer(listener.accept().expect("a connection").0, 200, &status));
    let printed = run_line(&format!("--endpoint unix:{} status", path.display())).expect("answered");
    assert_eq!(server.join().expect("the server").1, "/v1/status");
    for expected in ["attached, pid 99", "works with 6", "port p0 has no link", "12.3", "leat-p0", "down"] {
        assert!(printed.contains(expected), "{expected} in {printed}");
    }
}

#[test]
fn statistics_and_flows() {
    let stats = json!({
        "attached": true,
        "lcores": [{"id": 0, "cpu": 1, "busyPercent": 50.0, "flowsUsed": 3, "flowsMax": 1024, "longestLoopUs": 17,
            "counters": {"rx_packets": 100, "forwarded_packets": 90}, "drops": {"no_listener": 10, "land": 0},
            "conservation": {"received": 100, "accounted": 100, "difference": 0}}],
        "totals": {"counters": {"rx_packets": 100, "proxy_headers_sent": 12}, "drops": {"no_listener": 10, "land": 0},
            "conservation": {"received": 100, "accounted": 100, "difference": 0}},
        "ports": [], "listeners": [],
        "targets": [{"targetGroup": "web", "id": "10.2.0.11", "port": 80, "slot": 1, "counters": {"bytes_in": 4711}}],
    });
    let (printed, _) = command("stats", vec![(200, stats)]);
    let printed = printed.expect("statistics");
    for expected in ["no_listener", "4711", "3 of 1024", "10.2.0.11:80", "proxy_headers_sent"] {
        assert!(printed.contains(expected), "{expected} in {printed}");
    }
    assert!(!printed.contains("land"), "zeros are left out: {printed}");
    assert!(!printed.contains("rx_packets"), "it has a column: {printed}");

    let flow = json!({"protocol": "TCP", "client": "10.9.0.7:4000", "vip": "10.1.0.10:80", "target": "10.2.0.11:80",
        "nat": "10.1.0.10:10000", "clientIpPreserved": false, "proxyHeader": "acknowledged", "state": "established",
        "idleSeconds": 5, "lcore": 0});
    let line = "flows --client 10.9.0.7:4000 --limit 5";
    let (printed, seen) = command(line, vec![(200, json!({"flows": [flow], "complete": false}))]);
    assert_eq!(seen[0].1, "/v1/flows?limit=5&client=10.9.0.7%3A4000");
    let printed = printed.expect("flows");
    for expected in ["established", "10.1.0.10:10000", "acknowledged", "not all"] {
        assert!(printed.contains(expected), "{expected} in {printed}");
    }
}

#[test]
fn empty_lists_say_so_but_not_to_programs() {
    for (line, answer, words) in [
        ("lb list", json!({"loadBalancers": []}), "no load balancers\n"),
        ("tg list", json!({"targetGroups": []}), "no target groups\n"),
        ("listener list front", json!({"listeners": []}), "no listeners\n"),
        ("target list web", json!({"targets": []}), "no targets\n"),
        ("flows", json!({"flows": [], "complete": true}), "no flows\n"),
    ] {
        let (printed, _) = command(line, vec![(200, answer.clone())]);
        assert_eq!(printed.expect(line), words);
        let (printed, _) = command(&format!("{line} -o json"), vec![(200, answer.clone())]);
        assert_eq!(serde_json::from_str::<Value>(&printed.expect(line)).expect("JSON"), answer);
    }
}

#[test]
fn a_trace_is_shown_packet_by_packet() {
    let packet = |number: u32| {
        json!({"lcore": 0, "packet": number, "steps": [{"stage": "rx", "detail": "port p0, 60 bytes"},
            {"stage": "lookup", "detail": "no flow"}]})
    };
    let answers = vec![
        (201, json!({"id": 9})),
        (200, json!({"id": 9, "count": 2, "running": true, "packets": [packet(0)]})),
        (200, json!({"id": 9, "count": 2, "running": false, "packets": [packet(0), packet(1)]})),
    ];
    let (printed, seen) = command("trace add p0 2 tcp dst 10.1.0.10 port 80", answers);
    let filter = json!({"protocol": "TCP", "destination": "10.1.0.10", "destinationPort": 80});
    assert_eq!(seen[0].2, json!({"port": "p0", "count": 2, "filter": filter}));
    assert_eq!(seen[2].1, "/v1/traces/9");
    let way = "\n  rx      port p0, 60 bytes\n  lookup  no flow\n";
    assert_eq!(printed.expect("traced"), format!("packet 0 on lcore 0:{way}packet 1 on lcore 0:{way}"));
}

fn event(sequence: u64, kind: &str, to: &str) -> Value {
    json!({
        "sequence": sequence, "time": "2026-01-31T12:30:00.042Z", "type": kind, "targetGroup": "web",
        "target": "10.2.0.11:8080", "from": "healthy", "to": to, "reason": "Target.FailedHealthChecks",
        "description": "Health checks failed",
    })
}

fn events(boot: &str, events: Vec<Value>, next: u64, dropped: u64) -> (u16, Value) {
    (200, json!({"bootId": boot, "events": events, "next": next, "dropped": dropped, "mergedChanges": 0}))
}

/// req: HC-29
#[test]
fn events_are_shown_as_a_table_or_as_they_are() {
    let answer = || vec![events("b", vec![event(7, "target", "unhealthy")], 7, 0)];
    let (printed, seen) = command("events --type target --limit 5", answer());
    let printed = printed.expect("shown");
    for part in ["2026-01-31T12:30:00.042Z", "web 10.2.0.11:8080", "healthy → unhealthy", "Health checks failed"] {
        assert!(printed.contains(part), "{part} is missing in:\n{printed}");
    }
    assert_eq!(seen[0].1, "/v1/events?limit=5&type=target");
    let (printed, _) = command("events -o json", answer());
    let printed: Value = serde_json::from_str(&printed.expect("shown")).expect("JSON");
    assert_eq!(printed["events"][0]["to"], "unhealthy");
}

/// A reader goes on where it was, begins anew with a new leat-cp, and is told of what it has missed.
///
/// req: HC-29
#[test]
fn events_are_followed_over_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = Endpoint::Tcp(listener.local_addr().expect("its address").to_string());
    let client = Client::new(endpoint, Credentials::default(), CALL_MAX).expect("a client");
    let server = serve(
        listener,
        vec![
            events("old", vec![event(8, "target", "unhealthy")], 8, 0),
            events("new", vec![], 3, 0),
            events("new", vec![event(1, "port", "down")], 3, 0),
            events("new", vec![event(9, "port", "up")], 9, 5),
        ],
    );
    let mut reader = events::Reader { boot_id: "old".into(), after: 7 };
    let mut read = || {
        let (events, note) = reader.read(Some("target,port"), &client).expect("an answer");
        (events.iter().map(|event| event.sequence).collect::<Vec<_>>(), note.unwrap_or_default())
    };
    assert_eq!(read(), (vec![8], String::new()));
    let (numbers, note) = read();
    assert!(numbers == [1] && note.contains("restarted"), "{note}");
    let (numbers, note) = read();
    assert!(numbers == [9] && note.contains("5 events"), "{note}");
    let asked: Vec<String> = server.join().expect("it ended").into_iter().map(|(_, path, _)| path).collect();
    let after = [7, 8, 0, 3].map(|n| format!("/v1/events?after={n}&wait=25&limit=1000&type=target%2Cport"));
    assert_eq!(asked, after);
}

/// req: HC-30
#[test]
fn a_target_group_is_shown_with_its_targets_counted() {
    let counts = |healthy: u64, draining: u64| {
        json!({"total": healthy + draining, "healthy": healthy, "unhealthy": 0, "initial": 0,
        "draining": draining, "unused": 0, "unavailable": 0})
    };
    let mut group = group();
    group["targetCounts"] = counts(31, 12);
    group["targetCounts"]["zones"] = json!({"zone-a": counts(31, 0), "zone-b": counts(0, 12)});
    let (printed, _) = command("target-group describe web", vec![(200, group)]);
    let printed = printed.expect("shown");
    let numbers = |zone: &str| -> Vec<u64> {
        let line =
            printed.lines().find(|line| line.trim_start().starts_with(zone)).unwrap_or_else(|| panic!("{printed}"));
        line.trim_start()
            .trim_start_matches(zone)
            .split_whitespace()
            .map(|word| word.parse().expect("a number"))
            .collect()
    };
    assert_eq!(numbers("zone-a"), [31, 0, 0, 0, 0, 0, 31]);
    assert_eq!(numbers("zone-b"), [0, 0, 0, 12, 0, 0, 12]);
    assert_eq!(numbers("all zones"), [31, 0, 0, 12, 0, 0, 43]);
}

/// req: DNS-02
#[test]
fn dns_is_shown_with_what_is_left_out() {
    let name = |name: &str, zone: Option<&str>, address: &str, included: Option<bool>| {
        let addresses = [address];
        json!({"name": name, "loadBalancer": "front", "zone": zone, "addresses": addresses, "included": included})
    };
    let answer = json!({
        "apex": "elb.example", "nameServers": ["ns.elb.example"],
        "listeners": [{"address": "10.1.0.2:53"}, {"address": "10.2.0.2:53", "problem": "Address already in use"}],
        "counters": {"answered": 7, "noData": 0, "noSuchName": 3, "refused": 0, "bad": 0, "ignored": 0, "overTcp": 1},
        "names": [
            name("front-1.elb.example", None, "10.1.0.10", None),
            name("a.front-1.elb.example", Some("a"), "10.1.0.10", Some(true)),
            name("b.front-1.elb.example", Some("b"), "10.2.0.10", Some(false)),
        ],
    });
    let (printed, seen) = command("dns", vec![(200, answer)]);
    let printed = printed.expect("good");
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("GET", "/v1/dns"));
    for part in ["elb.example", "10.2.0.2:53 (Address already in use)", "7 answered", "3 no such name"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let left_out: Vec<&str> = printed.lines().filter(|line| line.contains("left out")).collect();
    assert!(left_out.len() == 1 && left_out[0].starts_with("b.front-1.elb.example"), "{printed}");
}

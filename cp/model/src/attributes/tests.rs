use super::*;

const PROTOCOLS: [Protocol; 4] = Protocol::NETWORK;
const TYPES: [TargetType; 3] = [TargetType::Instance, TargetType::Ip, TargetType::Alb];

fn group(protocol: Protocol) -> Subject {
    Subject::TargetGroup(protocol, TargetType::Ip)
}

fn subjects() -> Vec<Subject> {
    let groups = PROTOCOLS.into_iter().flat_map(|protocol| TYPES.map(|it| Subject::TargetGroup(protocol, it)));
    let http = [Protocol::Http, Protocol::Https].map(group);
    let balancers = [Scheme::Internal, Scheme::InternetFacing].map(Subject::LoadBalancer);
    groups.chain(http).chain(balancers).chain(PROTOCOLS.map(Subject::Listener)).collect()
}

/// req: ATT-01, ERR-09
#[test]
fn the_delay_is_0_to_3600() {
    for good in ["0", "300", "3600"] {
        assert_eq!(group(Protocol::Tcp).check(DEREGISTRATION_DELAY, good), Ok(()));
    }
    for bad in ["-1", "3601", "x", "", "+5", "05", "1.5", " 5", "99999999999999999999"] {
        let error = group(Protocol::Tcp).check(DEREGISTRATION_DELAY, bad).expect_err(bad);
        assert_eq!(error.code, Code::ValidationError);
        assert_eq!(error.field.as_deref(), Some("attributes[deregistration_delay.timeout_seconds]"));
        assert!(error.message.contains("0 to 3600"));
    }
}

/// req: ATT-01, ATT-02, ATT-03, ATT-05, ATT-06, ATT-07, ATT-08, ATT-09, ATT-10, ATT-11
#[test]
fn groups_have_the_defaults_of_the_guide() {
    for protocol in PROTOCOLS {
        for target_type in TYPES {
            let all = all(&rest::Attributes::new(), protocol, target_type);
            for (key, default) in [
                ("deregistration_delay.timeout_seconds", "300"),
                ("deregistration_delay.connection_termination.enabled", "false"),
                ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
                ("proxy_protocol_v2.enabled", "false"),
                ("stickiness.enabled", "false"),
                ("stickiness.type", "source_ip"),
                ("target_group_health.dns_failover.minimum_healthy_targets.count", "off"),
                ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
                ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
                ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
            ] {
                assert_eq!(all.get(key).map(String::as_str), Some(default), "{protocol} {target_type:?} {key}");
            }
            // And, of groups without UDP, two that came later.
            assert_eq!(all.len(), if protocol.has_udp() { 11 } else { 13 });
        }
    }
}

/// req: ATT-04, CIP-02, CIP-03
#[test]
fn preservation_depends_on_protocol_and_kind() {
    for protocol in PROTOCOLS {
        for target_type in TYPES {
            let by_address = target_type == TargetType::Ip && !protocol.has_udp();
            let all = all(&rest::Attributes::new(), protocol, target_type);
            assert_eq!(
                all[PRESERVE_CLIENT_IP],
                if by_address { "false" } else { "true" },
                "{protocol} {target_type:?}"
            );
            let subject = Subject::TargetGroup(protocol, target_type);
            assert_eq!(subject.check(PRESERVE_CLIENT_IP, "true"), Ok(()));
            let off = subject.check(PRESERVE_CLIENT_IP, "false").map_err(|error| error.code);
            let expected = if protocol.has_udp() { Err(Code::InvalidConfigurationRequest) } else { Ok(()) };
            assert_eq!(off, expected);
        }
    }
}

/// req: ATT-14
#[test]
fn unknown_keys_are_named() {
    for subject in subjects() {
        let error = subject.check("no.such\u{7}key", "true").expect_err("there is none");
        assert_eq!(error.code, Code::ValidationError);
        assert!(error.message.contains("attribute key 'no.such\\u{7}key' is not recognized"), "{error}");
    }
    let error = Subject::Listener(Protocol::Udp).check(TCP_IDLE_TIMEOUT, "60").expect_err("not of UDP");
    assert!(error.message.contains("attribute key 'tcp.idle_timeout.seconds' is not supported"), "{error}");
}

/// req: ATT-05, ATT-06, ATT-07, S8.9, TLS-28
#[test]
fn headers_are_for_tcp_and_stickiness_is_by_address() {
    for protocol in [Protocol::Tcp, Protocol::TcpUdp, Protocol::Tls] {
        assert_eq!(group(protocol).check(PROXY_PROTOCOL, "true"), Ok(()));
    }
    let error = group(Protocol::Udp).check(PROXY_PROTOCOL, "true").expect_err("no header in datagrams");
    assert_eq!(error.code, Code::InvalidConfigurationRequest);
    assert_eq!(group(Protocol::Udp).check(PROXY_PROTOCOL, "false"), Ok(()));
    for protocol in PROTOCOLS {
        let sticky = group(protocol).check(STICKINESS, "true").map_err(|error| error.code);
        let tls = Err(Code::InvalidConfigurationRequest);
        assert_eq!(sticky, if protocol == Protocol::Tls { tls } else { Ok(()) });
        assert_eq!(group(protocol).check(STICKINESS_TYPE, "source_ip"), Ok(()));
        let error = group(protocol).check(STICKINESS_TYPE, "lb_cookie").expect_err("no cookies here");
        assert_eq!(error.code, Code::ValidationError);
    }
}

/// req: ATT-03, ATT-08, ATT-09, ATT-10, ATT-11, ERR-09
#[test]
fn values_have_ranges() {
    let cross_zone: &[&str] = &["true", "false", "use_load_balancer_configuration"];
    for (key, good, bad) in [
        (CROSS_ZONE, cross_zone, &["", "True", "off"][..]),
        (DNS_COUNT, &["off", "1", "1000"], &["0", "1001", "-1", ""]),
        (DNS_PERCENTAGE, &["off", "1", "100"], &["0", "101", "50%", ""]),
        (HEALTHY_COUNT, &["1", "1000"], &["off", "0", "1001", ""]),
        (HEALTHY_PERCENTAGE, &["off", "1", "100"], &["0", "101", "50%", "Off", ""]),
        (UNHEALTHY_DRAINING, &["0", "360000"], &["-1", "360001"]),
    ] {
        assert!(good.iter().all(|value| group(Protocol::Tcp).check(key, value).is_ok()), "{key}");
        assert!(bad.iter().all(|value| group(Protocol::Tcp).check(key, value).is_err()), "{key}");
    }
    let balancer = Subject::LoadBalancer(Scheme::Internal);
    for (key, good, bad) in [
        (ACCESS_LOGS_BUCKET, &["", "our-logs.1"][..], &["ab", "Our-Logs", "a_b", "with space"][..]),
        (CLIENT_ROUTING, &["availability_zone_affinity", "any_availability_zone"], &["", "none"]),
        (SECONDARY_ADDRESSES, &["0", "7"], &["8", "-1"]),
        (DELETION_PROTECTION, &["true", "false"], &["", "1", "TRUE"]),
    ] {
        assert!(good.iter().all(|value| balancer.check(key, value).is_ok()), "{key}");
        assert!(bad.iter().all(|value| balancer.check(key, value).is_err()), "{key}");
    }
}

#[test]
fn defaults_are_values_that_go_together() {
    for subject in subjects() {
        let all = subject.all(&rest::Attributes::new());
        assert_eq!(subject.changed(&rest::Attributes::new(), &all), Ok(rest::Attributes::new()), "{subject:?}");
    }
}

#[test]
fn the_guide_has_these_tables() {
    let guide = include_str!("../../../../docs/api.md");
    for table in [TARGET_GROUPS, LOAD_BALANCERS, LISTENERS] {
        assert!(guide.contains(&markdown(table)), "put this table into docs/api.md:\n{}", markdown(table));
    }
}

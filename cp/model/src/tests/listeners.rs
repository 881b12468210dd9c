//! Listeners: what they may forward to, and what TLS needs.

use super::*;
use crate::listener::{ALPN_POLICIES, compatible};
use crate::rest::{HealthCheckProtocol, TargetType};

/// Which combinations AWS's guide lists: listener, groups, kinds of targets, health checks.
fn is_listed(listener: Protocol, group: Protocol, target_type: TargetType, checks: HealthCheckProtocol) -> bool {
    use Protocol::{Tcp, TcpUdp, Tls, Udp};
    let requests = [HealthCheckProtocol::Http, HealthCheckProtocol::Https];
    let hosts = target_type != TargetType::Alb;
    match listener {
        Tcp if hosts => [Tcp, TcpUdp].contains(&group),
        Tcp => group == Tcp && requests.contains(&checks),
        Tls => hosts && [Tcp, Tls].contains(&group),
        Udp => hosts && [Udp, TcpUdp].contains(&group),
        TcpUdp => hosts && group == TcpUdp,
        _ => false,
    }
}

/// req: LSN-01, LSN-05, ERR-02, ALBT-01, ALBT-03, ALBT-04
#[test]
fn only_listed_combinations_are_possible() {
    let checks = [HealthCheckProtocol::Tcp, HealthCheckProtocol::Http, HealthCheckProtocol::Https];
    let types = [TargetType::Instance, TargetType::Ip, TargetType::Alb];
    let mut cells = 0;
    for listener in Protocol::NETWORK {
        for group in Protocol::NETWORK {
            for target_type in types {
                for check in checks {
                    cells += 1;
                    let cell = format!("{listener} to {group}, {target_type:?}, {check:?}");
                    let mut bench = Bench::serving(&[]);
                    bench.certificate("cert");
                    let command = bench.special_group("other", |request| {
                        (request.protocol, request.target_type) = (group, target_type);
                        request.health_check.protocol = Some(check);
                    });
                    let listed = is_listed(listener, group, target_type, check);
                    assert_eq!(compatible(listener, group, target_type, check), listed, "{cell}");
                    // Some groups cannot even be made.
                    let impossible =
                        target_type == TargetType::Alb && (group != Protocol::Tcp || check == HealthCheckProtocol::Tcp);
                    if impossible {
                        assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "{cell}");
                        assert!(!listed, "{cell}");
                        continue;
                    }
                    bench.ok(command);
                    let command = if listener == Protocol::Tls {
                        bench.tls_listener(81, "other", "cert")
                    } else {
                        bench.listener("web", listener, 81, "other")
                    };
                    if listed {
                        bench.ok(command);
                    } else {
                        assert_eq!(bench.refused(command).0, Code::IncompatibleProtocols, "{cell}");
                    }
                }
            }
        }
    }
    assert_eq!(cells, 144);
    let mut bench = Bench::serving(&[]);
    for protocol in [Protocol::Http, Protocol::Https] {
        let command = bench.listener("web", protocol, 81, "web");
        assert_eq!(bench.refused(command).0, Code::UnsupportedProtocol);
    }
}

impl Bench {
    /// Puts a certificate into the store.
    pub(super) fn certificate(&mut self, arn: &str) {
        let certificate = serde_json::from_value(serde_json::json!({
            "arn": arn, "createdMs": 0, "importedMs": 0,
            "facts": {
                "domainName": "web.example", "subjectAlternativeNames": [], "subject": "CN=web.example", "issuer": "CN=ca",
                "serial": "01", "keyAlgorithm": "RSA-2048", "signatureAlgorithm": "SHA256WITHRSA", "notBeforeMs": 0,
                "notAfterMs": 1, "publicKey": "00", "extendedKeyUsages": [], "keyUsages": [], "certificate": "",
            },
        }));
        self.model.certificates.insert(arn.into(), certificate.expect("a certificate"));
    }

    pub(super) fn tls_listener(&mut self, port: i64, group: &str, certificate: &str) -> Command {
        let Command::CreateListener { load_balancer, mut request, id } =
            self.listener("web", Protocol::Tls, port, group)
        else {
            unreachable!()
        };
        request.certificate = Some(certificate.into());
        Command::CreateListener { load_balancer, request, id }
    }

    fn modify(&self, port: u16, change: impl FnOnce(&mut rest::ModifyListener)) -> Command {
        let mut request = rest::ModifyListener::default();
        change(&mut request);
        Command::ModifyListener { load_balancer: "web".into(), port, request }
    }

    fn shown_listener(&self, port: u16) -> rest::Listener {
        self.model.show_listener(self.model.find_listener("web", port).expect("the listener"))
    }

    fn change_certificates(&self, add: bool, arns: &[&str]) -> Command {
        let (load_balancer, port) = ("web".into(), 443);
        let certificates = arns.iter().map(|arn| (*arn).into()).collect();
        if add {
            Command::AddListenerCertificates { load_balancer, port, certificates }
        } else {
            Command::RemoveListenerCertificates { load_balancer, port, certificates }
        }
    }
}

/// req: TLS-02, TLS-13, TLS-20, LSN-09, LSN-10
#[test]
fn tls_has_a_certificate_and_policies() {
    let mut bench = Bench::serving(&[]);
    for arn in ["cert-1", "cert-2"] {
        bench.certificate(arn);
    }
    let command = bench.listener("web", Protocol::Tls, 443, "web");
    assert_eq!(bench.refused(command).1.as_deref(), Some("certificate"));
    let command = bench.tls_listener(443, "web", "cert-0");
    assert_eq!(bench.refused(command).0, Code::CertificateNotFound);
    let command = bench.tls_listener(443, "web", "cert-1");
    bench.ok(command.clone());
    let shown = bench.shown_listener(443);
    assert_eq!(shown.certificates, ["cert-1"]);
    assert_eq!(shown.ssl_policy.as_deref(), Some("ELBSecurityPolicy-2016-08"));
    assert_eq!(shown.alpn_policy.as_deref(), Some("None"));
    assert!(bench.model.find_listener("web", 443).expect("it").slots.is_empty(), "no packets for it");
    assert!(bench.model.warnings().iter().any(|it| it.contains("port 443: TLS") && it.contains("no data plane")));

    // The same again is the same listener; another certificate or policy is another one.
    assert!(bench.ok(command.clone()).changed.is_empty());
    let other = bench.tls_listener(443, "web", "cert-2");
    assert_eq!(bench.refused(other).0, Code::DuplicateListener);

    for policy in ALPN_POLICIES {
        bench.ok(bench.modify(443, |it| it.alpn_policy = Some(policy.into())));
        assert_eq!(bench.shown_listener(443).alpn_policy.as_deref(), Some(policy));
    }
    let command = bench.modify(443, |it| it.alpn_policy = Some("HTTP3Only".into()));
    assert_eq!(bench.refused(command).0, Code::ALPNPolicyNotFound);
    let command = bench.modify(443, |it| it.ssl_policy = Some("ELBSecurityPolicy-2099-01".into()));
    assert_eq!(bench.refused(command).0, Code::SSLPolicyNotFound);

    // What is not named stays.
    bench.ok(bench.modify(443, |it| it.alpn_policy = Some("HTTP2Only".into())));
    bench.ok(bench.modify(443, |it| it.ssl_policy = Some("ELBSecurityPolicy-TLS13-1-2-2021-06".into())));
    bench.ok(bench.modify(443, |it| it.certificate = Some("cert-2".into())));
    let shown = bench.shown_listener(443);
    assert_eq!(shown.certificates, ["cert-2"]);
    assert_eq!(shown.ssl_policy.as_deref(), Some("ELBSecurityPolicy-TLS13-1-2-2021-06"));
    assert_eq!(shown.alpn_policy.as_deref(), Some("HTTP2Only"));

    // TLS to TCP takes it all away, and back needs a certificate again.
    bench.ok(bench.modify(443, |it| it.protocol = Some(Protocol::Tcp)));
    let shown = bench.shown_listener(443);
    assert_eq!((shown.certificates.len(), shown.ssl_policy, shown.alpn_policy), (0, None, None));
    assert_eq!(bench.model.find_listener("web", 443).expect("it").slots.len(), 1);
    let command = bench.modify(443, |it| it.protocol = Some(Protocol::Tls));
    assert_eq!(bench.refused(command).1.as_deref(), Some("certificate"));
    bench.ok(bench.modify(443, |it| (it.protocol, it.certificate) = (Some(Protocol::Tls), Some("cert-1".into()))));
    assert_eq!(bench.shown_listener(443).certificates, ["cert-1"]);
}

/// req: TLS-23, LSN-10
#[test]
fn other_listeners_have_nothing_of_tls() {
    let mut bench = Bench::serving(&[]);
    bench.certificate("cert");
    for (code, command) in [
        (Code::InvalidConfigurationRequest, bench.modify(80, |it| it.certificate = Some("cert".into()))),
        (
            Code::InvalidConfigurationRequest,
            bench.modify(80, |it| it.ssl_policy = Some("ELBSecurityPolicy-2016-08".into())),
        ),
        (Code::ALPNPolicyNotFound, bench.modify(80, |it| it.alpn_policy = Some("HTTP2Only".into()))),
    ] {
        assert_eq!(bench.refused(command).0, code);
    }
    let add =
        Command::AddListenerCertificates { load_balancer: "web".into(), port: 80, certificates: vec!["cert".into()] };
    assert_eq!(bench.refused(add).0, Code::InvalidConfigurationRequest);
}

/// req: TLS-03, TLS-04, QTA-01
#[test]
fn listeners_have_a_list_of_certificates() {
    let mut bench = Bench::serving(&[]);
    let names: Vec<String> = (0..28).map(|n| format!("cert-{n}")).collect();
    for name in &names {
        bench.certificate(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let command = bench.tls_listener(443, "web", "cert-0");
    bench.ok(command);
    bench.ok(bench.change_certificates(true, &["cert-1", "cert-2"]));
    assert!(bench.ok(bench.change_certificates(true, &["cert-1"])).changed.is_empty());
    assert_eq!(bench.shown_listener(443).certificates, ["cert-0", "cert-1", "cert-2"]);
    assert_eq!(bench.refused(bench.change_certificates(true, &["cert-3", "nope"])).0, Code::CertificateNotFound);
    // One that is not in the list is passed over; the default one is not.
    bench.ok(bench.change_certificates(false, &["cert-1", "cert-9"]));
    assert_eq!(bench.refused(bench.change_certificates(false, &["cert-2", "cert-0"])).0, Code::OperationNotPermitted);
    assert_eq!(bench.shown_listener(443).certificates, ["cert-0", "cert-2"]);

    // In the list as well, it is still served by name when another one is the default.
    bench.ok(bench.change_certificates(true, &["cert-0"]));
    bench.ok(bench.modify(443, |it| it.certificate = Some("cert-5".into())));
    assert_eq!(bench.shown_listener(443).certificates, ["cert-5", "cert-2", "cert-0"]);

    // 25 for all listeners of the load balancer, default ones not counted.
    let command = bench.tls_listener(444, "web", "cert-6");
    bench.ok(command);
    let add = |certificates: &[&str]| Command::AddListenerCertificates {
        load_balancer: "web".into(),
        port: 444,
        certificates: certificates.iter().map(|arn| (*arn).into()).collect(),
    };
    bench.ok(add(&names[..23]));
    assert_eq!(bench.refused(add(&names[23..24])).0, Code::TooManyCertificates);
}

/// req: TLS-28
#[test]
fn tls_and_stickiness_exclude_each_other() {
    let mut bench = Bench::serving(&[]);
    bench.certificate("cert");
    bench.set_attribute("web", attributes::STICKINESS, "true");
    let command = bench.tls_listener(443, "web", "cert");
    assert_eq!(bench.refused(command.clone()).0, Code::InvalidConfigurationRequest);
    bench.set_attribute("web", attributes::STICKINESS, "false");
    bench.ok(command);
    let attributes = [(attributes::STICKINESS.to_owned(), "true".to_owned())].into();
    let command = Command::ModifyAttributes { target_group: "web".into(), attributes };
    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
}

/// req: IPT-01, IPT-02, IPT-04, IPT-12, IPT-16, ERR-03
#[test]
fn dualstack_has_tcp_and_tls_only() {
    use Protocol::{Tcp, TcpUdp, Tls, Udp};
    for scheme in [rest::Scheme::InternetFacing, rest::Scheme::Internal] {
        for dualstack in [false, true] {
            let mut bench = Bench::new();
            bench.certificate("cert");
            let command = if dualstack {
                bench.dualstack("web", "10.1.0.10", "fd00:1::10")
            } else {
                bench.load_balancer("web", "10.1.0.10")
            };
            let Command::CreateLoadBalancer { mut request, id } = command else { unreachable!() };
            request.scheme = Some(scheme);
            bench.ok(Command::CreateLoadBalancer { request, id });
            for (port, protocol) in (81..).zip([Tcp, Tls, Udp, TcpUdp]) {
                let command = bench.group(protocol.name().replace('_', "-").as_str(), protocol);
                bench.ok(command);
                let group = protocol.name().replace('_', "-");
                let command = match protocol {
                    Tls => bench.tls_listener(port, &group, "cert"),
                    _ => bench.listener("web", protocol, port, &group),
                };
                if dualstack && protocol.has_udp() {
                    assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
                } else {
                    bench.ok(command);
                }
            }
            let command = bench.ipv6_group("six");
            bench.ok(command);
            let command = bench.listener("web", Tcp, 90, "six");
            if dualstack {
                bench.ok(command);
                // C-17: such a group is refused although its TCP half would do.
                let command = bench.listener("web", Tcp, 91, "TCP-UDP");
                assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
                let command = bench.tls_listener(92, "six", "cert");
                bench.ok(command);
            } else {
                assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest);
                let nodes = vec![rest::NodeChange {
                    zone: "zone-a".into(),
                    ipv6_address: Some("fd00:1::10".into()),
                    ..Default::default()
                }];
                let ip_address_type = Some(IpAddressType::Dualstack);
                let request = rest::ModifyLoadBalancer { ip_address_type, nodes, ..Default::default() };
                let command = Command::ModifyLoadBalancer { load_balancer: "web".into(), request };
                assert_eq!(bench.refused(command).0, Code::InvalidConfigurationRequest, "it has UDP listeners");
            }
        }
    }
}

/// req: LSN-12, LSN-15
#[test]
fn listeners_end_at_any_time_and_have_ports_of_their_own() {
    let mut bench = Bench::serving(&["10.2.0.11"]);
    let port = vec![TargetSpec { id: "10.2.0.12".into(), port: Some(9090), zone: None }];
    bench.ok(Command::RegisterTargets { target_group: "web".into(), targets: port });
    let ports: Vec<u16> = bench.shown("web").iter().map(|target| target.port).collect();
    assert_eq!((bench.shown_listener(80).port, ports), (80, vec![8080, 9090]));
    bench.ok(Command::DeleteListener { load_balancer: "web".into(), port: 80 });
    let again = Command::DeleteListener { load_balancer: "web".into(), port: 80 };
    assert_eq!(bench.refused(again).0, Code::ListenerNotFound);
    assert_eq!(bench.health("web", "10.2.0.11").1, "Target.NotInUse");
}

//! Application load balancers, their listeners and rules as AWS's clients see them.

#[allow(dead_code, reason = "it serves other tests as well")]
#[path = "elbv2/bench.rs"]
mod bench;

use bench::{Bench, START, value};
use leat_model::rest::{CreateLoadBalancer, LoadBalancerType, NodeSpec};
use leat_model::{Code, Command, Id};

/// An application load balancer `alb`, id 1, a target group `http`, id 2, and a listener on port 80, id 3, that forwards to it.
fn with_application() -> Bench {
    let mut bench = Bench::new();
    let address = "10.2.0.5".to_owned();
    let node = NodeSpec { zone: "zone-a".into(), address, ipv6_address: None, secondary_addresses: vec![] };
    let kind = LoadBalancerType::Application;
    let request = CreateLoadBalancer { name: "alb".into(), kind, nodes: vec![node], ..Default::default() };
    bench.next_id = 1;
    bench.model.apply(Command::CreateLoadBalancer { request, id: Id(1) }, bench.now).expect("a load balancer");
    bench.ok("CreateTargetGroup", "Name=http Protocol=HTTP Port=8080 TargetType=ip");
    bench.ok(
        "CreateListener",
        &format!("LoadBalancerArn={} Protocol=HTTP Port=80 {}", alb(), forward("DefaultActions")),
    );
    bench
}

fn alb() -> String {
    format!("{START}loadbalancer/app/alb/{:016x}", 1)
}

fn listener() -> String {
    format!("{START}listener/app/alb/{:016x}/{:016x}", 1, 3)
}

fn forward(list: &str) -> String {
    format!("{list}.1.Type=forward {list}.1.TargetGroupArn={START}targetgroup/http/{:016x}", 2)
}

const PATH: &str = "Conditions.1.Field=path-pattern Conditions.1.Values.1=/api/*";
const REPLY: &str = "Actions.1.Type=fixed-response Actions.1.FixedResponseConfig.StatusCode=503";

#[test]
fn listeners_tell_their_actions() {
    let mut bench = with_application();
    let said = bench.ok("DescribeListeners", &format!("LoadBalancerArn={}", alb()));
    let group = format!("{START}targetgroup/http/{:016x}", 2);
    let action = "Listeners.1.DefaultActions.1";
    assert_eq!(
        said,
        [
            format!("Listeners.1.ListenerArn={}", listener()),
            format!("Listeners.1.LoadBalancerArn={}", alb()),
            "Listeners.1.Port=80".into(),
            "Listeners.1.Protocol=HTTP".into(),
            format!("{action}.Type=forward"),
            format!("{action}.TargetGroupArn={group}"),
            format!("{action}.ForwardConfig.TargetGroups.1.TargetGroupArn={group}"),
            format!("{action}.ForwardConfig.TargetGroups.1.Weight=1"),
            format!("{action}.ForwardConfig.TargetGroupStickinessConfig.Enabled=false"),
        ]
    );
    assert_eq!(bench.ok("DescribeListeners", &format!("ListenerArns.1={}", listener())), said);
    let redirect = "DefaultActions.1.Type=redirect DefaultActions.1.RedirectConfig.Protocol=HTTPS \
                    DefaultActions.1.RedirectConfig.Port=443 DefaultActions.1.RedirectConfig.StatusCode=HTTP_301";
    let said = bench.ok("ModifyListener", &format!("ListenerArn={} Port=81 {redirect}", listener()));
    assert_eq!(value(&said, "Listeners.1.Port"), "81");
    assert_eq!(value(&said, &format!("{action}.RedirectConfig.Host")), "#{host}");
    bench.ok("DeleteListener", &format!("ListenerArn={}", listener()));
    let gone = bench.refused("DescribeListeners", &format!("ListenerArns.1={}", listener()));
    assert_eq!(gone.0, Code::ListenerNotFound);
}

#[test]
fn it_is_described_with_those_of_packets() {
    let mut bench = with_application();
    bench.balancer("web", "10.1.0.10");
    let said = bench.ok("DescribeLoadBalancers", "");
    assert_eq!(value(&said, "LoadBalancers.1.LoadBalancerName"), "alb");
    assert_eq!(value(&said, "LoadBalancers.1.Type"), "application");
    assert!(value(&said, "LoadBalancers.1.State.Reason").contains("elsewhere"));
    assert_eq!(value(&said, "LoadBalancers.2.LoadBalancerName"), "web");
    let form = format!("LoadBalancerArn={} Attributes.1.Key=routing.http2.enabled Attributes.1.Value=false", alb());
    let said = bench.ok("ModifyLoadBalancerAttributes", &form);
    assert_eq!(bench.ok("DescribeLoadBalancerAttributes", &format!("LoadBalancerArn={}", alb())), said);
    assert_eq!(said.len(), 2 * 23);
    assert_eq!(bench.ok("DescribeListenerAttributes", &format!("ListenerArn={}", listener())).len(), 2 * 11);
    bench.ok("DeleteLoadBalancer", &format!("LoadBalancerArn={}", alb()));
    assert_eq!(bench.refused("DescribeLoadBalancers", "Names.1=alb").0, Code::LoadBalancerNotFound);
}

#[test]
fn rules_are_kept_by_priority_with_the_default_one_last() {
    let mut bench = with_application();
    for (priority, id) in [(20, 4), (10, 5)] {
        let form = format!("ListenerArn={} Priority={priority} {PATH} {REPLY}", listener());
        let said = bench.ok("CreateRule", &form);
        let arn = format!("{START}listener-rule/app/alb/{:016x}/{:016x}/{id:016x}", 1, 3);
        assert_eq!(value(&said, "Rules.1.RuleArn"), arn);
    }
    let all = format!("ListenerArn={}", listener());
    let said = bench.ok("DescribeRules", &all);
    let priorities = |said: &[String]| -> Vec<String> {
        let of = said.iter().filter_map(|line| line.split_once(".Priority="));
        of.map(|(_, priority)| priority.to_owned()).collect()
    };
    assert_eq!(priorities(&said), ["10", "20", "default"]);
    assert_eq!(value(&said, "Rules.1.Conditions.1.PathPatternConfig.Values.1"), "/api/*");
    assert_eq!(value(&said, "Rules.3.IsDefault"), "true");
    assert_eq!(value(&said, "Rules.3.Actions.1.Type"), "forward");
    let (first, second) = (value(&said, "Rules.1.RuleArn").to_owned(), value(&said, "Rules.2.RuleArn").to_owned());
    let default = value(&said, "Rules.3.RuleArn").to_owned();
    let said = bench.ok("DescribeRules", &format!("RuleArns.1={default}"));
    assert_eq!(value(&said, "Rules.1.Priority"), "default");

    let form = format!("ListenerArn={} Priority=10 {PATH} {REPLY}", listener());
    let (code, message) = bench.refused("CreateRule", &form);
    assert_eq!(code, Code::PriorityInUse);
    assert!(message.contains("Priority '10' is currently in use"), "{message}");
    let swap = format!(
        "RulePriorities.1.RuleArn={first} RulePriorities.1.Priority=20 RulePriorities.2.RuleArn={second} RulePriorities.2.Priority=10"
    );
    bench.ok("SetRulePriorities", &swap);
    let said = bench.ok("DescribeRules", &all);
    assert_eq!(value(&said, "Rules.1.RuleArn"), second);
    let said = bench.ok("ModifyRule", &format!("RuleArn={first} {}", forward("Actions")));
    assert_eq!(value(&said, "Rules.1.Actions.1.Type"), "forward");
    for action in ["DeleteRule", "ModifyRule"] {
        assert_eq!(bench.refused(action, &format!("RuleArn={default}")).0, Code::OperationNotPermitted, "{action}");
    }
    bench.ok("DeleteRule", &format!("RuleArn={first}"));
    assert_eq!(priorities(&bench.ok("DescribeRules", &all)), ["10", "default"]);
    assert_eq!(bench.refused("DeleteRule", &format!("RuleArn={first}")).0, Code::RuleNotFound);
    // Pages follow each other.
    let said = bench.ok("DescribeRules", &format!("{all} PageSize=1"));
    let next = bench.ok("DescribeRules", &format!("{all} PageSize=1 Marker={}", value(&said, "NextMarker")));
    assert_eq!(priorities(&next), ["default"]);
}

/// req: LSN-04
#[test]
fn a_listener_of_packets_has_its_default_rule_alone() {
    let mut bench = Bench::serving();
    let listener = bench::listener(1, 3);
    let said = bench.ok("DescribeRules", &format!("ListenerArn={listener}"));
    assert_eq!(value(&said, "Rules.1.Priority"), "default");
    assert_eq!(value(&said, "Rules.1.Actions.1.TargetGroupArn"), bench::group("web", 2));
    let rule = value(&said, "Rules.1.RuleArn").to_owned();
    assert!(rule.starts_with(&format!("{START}listener-rule/net/web/")), "{rule}");
    assert_eq!(bench.ok("DescribeRules", &format!("RuleArns.1={rule}")), said);
    let form = format!("ListenerArn={listener} Priority=1 {PATH} {REPLY}");
    assert_eq!(bench.refused("CreateRule", &form).0, Code::InvalidConfigurationRequest);
    for (action, form) in [
        ("ModifyRule", format!("RuleArn={rule} {REPLY}")),
        ("DeleteRule", format!("RuleArn={rule}")),
        ("SetRulePriorities", format!("RulePriorities.1.RuleArn={rule} RulePriorities.1.Priority=1")),
    ] {
        assert_eq!(bench.refused(action, &form).0, Code::OperationNotPermitted, "{action}");
    }
}

#[test]
fn actions_that_are_not_kept_are_refused() {
    let mut bench = with_application();
    let rule = |actions: &str| format!("ListenerArn={} Priority=1 {PATH} {actions}", listener());
    for (form, code) in [
        (rule("Actions.1.Type=authenticate-oidc"), Code::InvalidLoadBalancerAction),
        (rule(&format!("{REPLY} Transforms.1.Type=url-rewrite")), Code::InvalidConfigurationRequest),
        (rule("Actions.1.Type=forward"), Code::TargetGroupNotFound),
        (format!("ListenerArn={} Priority=0 {PATH} {REPLY}", listener()), Code::ValidationError),
        (format!("ListenerArn={} Priority=1 {REPLY}", listener()), Code::ValidationError),
    ] {
        assert_eq!(bench.refused("CreateRule", &form).0, code, "{form}");
    }
}

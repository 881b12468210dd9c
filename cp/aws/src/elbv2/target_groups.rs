//! Target groups: CreateTargetGroup, DescribeTargetGroups, ModifyTargetGroup, DeleteTargetGroup.

use std::collections::BTreeSet;

use leat_model::resource::TargetGroup;
use leat_model::rest::{
    CreateTargetGroup, HealthCheckPort, HealthCheckProtocol, ModifyHealthCheck, ModifyTargetGroup, Protocol,
    TargetAddressType, TargetType,
};
use leat_model::{Code, Command, Effects, Error, Id, Model};

use super::arn::{self, Arn, Balancer, Kind};
use super::input::{Answer, PROTOCOLS, absent, number, printable, required, tags, word};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

const CHECK_PROTOCOLS: [(&str, Option<HealthCheckProtocol>); 9] = [
    ("HTTP", Some(HealthCheckProtocol::Http)),
    ("HTTPS", Some(HealthCheckProtocol::Https)),
    ("TCP", Some(HealthCheckProtocol::Tcp)),
    ("TLS", None),
    ("UDP", None),
    ("TCP_UDP", None),
    ("GENEVE", None),
    ("QUIC", None),
    ("TCP_QUIC", None),
];
const TARGET_TYPES: [(&str, Option<TargetType>); 4] = [
    ("instance", Some(TargetType::Instance)),
    ("ip", Some(TargetType::Ip)),
    ("lambda", None),
    ("alb", Some(TargetType::Alb)),
];
const ADDRESS_TYPES: [(&str, TargetAddressType); 2] =
    [("ipv4", TargetAddressType::Ipv4), ("ipv6", TargetAddressType::Ipv6)];

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let must = |key: &str, what: &str| Error::at(Code::ValidationError, key, format!("A {what} must be specified"));
    let name = required(params, "Name")?.to_owned();
    let target_type = match word(params, "TargetType", &TARGET_TYPES)? {
        None => TargetType::Instance,
        Some(Some(known)) => known,
        Some(None) => {
            let message =
                "Target groups with target type 'lambda' are not supported here; it must be one of 'instance, ip, alb'";
            return Err(Error::at(Code::ValidationError, "TargetType", message));
        }
    };
    absent(params, "TargetControlPort", "target control ports are of application load balancers")?;
    let request = CreateTargetGroup {
        name,
        protocol: protocol(params)?.ok_or_else(|| must("Protocol", "protocol"))?,
        port: number(params, "Port", 1, 65535)?.ok_or_else(|| must("Port", "port"))?,
        target_type,
        ip_address_type: word(params, "IpAddressType", &ADDRESS_TYPES)?.unwrap_or_default(),
        health_check: health_check(params, target_type)?,
        network: params.get("VpcId").filter(|id| !id.is_empty()).map(str::to_owned),
        protocol_version: params.get("ProtocolVersion").filter(|version| !version.is_empty()).map(str::to_owned),
        tags: tags(params)?,
        ..CreateTargetGroup::default()
    };
    let command = Command::CreateTargetGroup { request, id: context.id };
    Ok(Reply::Change(command, Box::new(show)))
}

pub(super) fn modify(context: &Context<'_>, params: &Params) -> Answer {
    let group = arn::required_target_group(context, params)?;
    let health_check = health_check(params, group.target_type)?;
    let request = ModifyTargetGroup { health_check, ..ModifyTargetGroup::default() };
    let command = Command::ModifyTargetGroup { target_group: group.id.to_string(), request };
    let id = group.id;
    Ok(Reply::Change(command, Box::new(move |context, _| show_one(context.model, id))))
}

pub(super) fn delete(context: &Context<'_>, params: &Params) -> Answer {
    // What does not exist is deleted already, but what is no ARN of a target group is a mistake.
    let arn = Arn::required(Kind::TargetGroup, context, params, "TargetGroupArn")?;
    if arn::target_group(context.model, &arn).is_err() {
        return Ok(Reply::Answer(Vec::new()));
    }
    let command = Command::DeleteTargetGroup { target_group: arn.text.to_owned() };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let model = context.model;
    let page = Page::of(params, "TargetGroups")?;
    let (arns, names) = (params.list("TargetGroupArns")?, params.list("Names")?);
    let lb = params.get("LoadBalancerArn").filter(|arn| !arn.is_empty());
    if [lb.is_some(), !arns.is_empty(), !names.is_empty()].into_iter().filter(|given| *given).count() > 1 {
        let message = "You can specify one of a load balancer ARN, target group ARNs and target group names";
        return Err(Error::at(Code::ValidationError, "Names", message));
    }
    let shown = || model.target_groups().filter(|group| group.classic.is_none());
    let found: Vec<&TargetGroup> = if let Some(text) = lb {
        match arn::balancer(model, &Arn::of(Kind::LoadBalancer, model.site(), text)?)? {
            Balancer::Network(lb) => {
                let used: BTreeSet<Id> = model.listeners_of(lb.id).map(|listener| listener.target_group).collect();
                shown().filter(|group| used.contains(&group.id)).collect()
            }
            Balancer::Application(_) => {
                let uses =
                    |group: &&TargetGroup| model.show_target_group(group).load_balancer_arns.contains(&text.to_owned());
                shown().filter(uses).collect()
            }
        }
    } else if !arns.is_empty() {
        let arns = arns.iter().map(|text| Arn::of(Kind::TargetGroup, model.site(), text));
        let arns: Vec<Arn<'_>> = arns.collect::<Result<_, _>>()?;
        arns.iter().map(|arn| arn::target_group(model, arn)).collect::<Result<_, _>>()?
    } else if !names.is_empty() {
        let by_name = |name: &String| shown().find(|group| group.name == *name);
        names.iter().map(|name| by_name(name).ok_or_else(|| Kind::TargetGroup.not_found())).collect::<Result<_, _>>()?
    } else {
        shown().collect()
    };
    let mut keyed: Vec<_> = found.into_iter().map(|group| (group.name.clone(), group)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.dedup_by(|(a, _), (b, _)| a == b);
    let (groups, marker) = page.cut(keyed);
    let list = Element::list("TargetGroups", groups.into_iter().map(|group| element(model, group)));
    Ok(Reply::Answer(std::iter::once(list).chain(marker).collect()))
}

fn protocol(params: &Params) -> Result<Option<Protocol>, Error> {
    match word(params, "Protocol", &PROTOCOLS)? {
        Some(None) => Err(unknown(params, "Protocol", "Target group protocol", "TCP, TLS, UDP, TCP_UDP")),
        other => Ok(other.flatten()),
    }
}

fn unknown(params: &Params, key: &str, what: &str, allowed: &str) -> Error {
    let given = printable(params.get(key).unwrap_or_default());
    Error::at(Code::ValidationError, key, format!("{what} '{given}' must be one of '{allowed}'"))
}

/// The settings of health checks that a request gives.
fn health_check(params: &Params, target_type: TargetType) -> Result<ModifyHealthCheck, Error> {
    if params.switch("HealthCheckEnabled")? == Some(false) {
        let target_type = target_type.name();
        let message = format!("Health check enabled must be true for target groups with target type '{target_type}'");
        return Err(Error::at(Code::ValidationError, "HealthCheckEnabled", message));
    }
    let protocol = match word(params, "HealthCheckProtocol", &CHECK_PROTOCOLS)? {
        Some(None) => return Err(unknown(params, "HealthCheckProtocol", "Health check protocol", "HTTP, HTTPS, TCP")),
        other => other.flatten(),
    };
    let port = match params.get("HealthCheckPort").filter(|port| !port.is_empty()) {
        None => None,
        Some("traffic-port") => Some(HealthCheckPort::TrafficPort),
        Some(text) => match text.parse() {
            Ok(port @ 1..=65535) => Some(HealthCheckPort::Port(port)),
            _ => return Err(unknown(params, "HealthCheckPort", "Health check port", "traffic-port, 1-65535")),
        },
    };
    let matcher = params.structure("Matcher");
    if let Some(matcher) = &matcher {
        absent(matcher, "GrpcCode", "gRPC codes are for target groups of application load balancers")?;
    }
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(ModifyHealthCheck {
        protocol,
        port,
        interval_seconds: number(params, "HealthCheckIntervalSeconds", 5, 300)?,
        timeout_seconds: number(params, "HealthCheckTimeoutSeconds", 2, 120)?,
        healthy_threshold_count: number(params, "HealthyThresholdCount", 2, 10)?,
        unhealthy_threshold_count: number(params, "UnhealthyThresholdCount", 2, 10)?,
        path: text(params.get("HealthCheckPath")),
        matcher: text(matcher.as_ref().and_then(|matcher| matcher.get("HttpCode"))),
        ..ModifyHealthCheck::default()
    })
}

/// Shows the group that was made.
fn show(context: &Context<'_>, effects: &Effects) -> Result<Vec<Element>, Error> {
    show_one(context.model, effects.id.unwrap_or(context.id))
}

fn show_one(model: &Model, id: Id) -> Result<Vec<Element>, Error> {
    let group = model.target_group(id).ok_or_else(|| Kind::TargetGroup.not_found())?;
    Ok(vec![Element::list("TargetGroups", [element(model, group)])])
}

fn element(model: &Model, group: &TargetGroup) -> Vec<Element> {
    let shown = model.show_target_group(group);
    let check = shown.health_check;
    let mut all = vec![
        Element::text("TargetGroupArn", shown.arn),
        Element::text("TargetGroupName", shown.name),
        Element::text("Protocol", shown.protocol),
        Element::text("Port", shown.port),
    ];
    all.extend(shown.network.map(|network| Element::text("VpcId", network)));
    all.extend([
        Element::text("HealthCheckProtocol", check.protocol.name()),
        Element::text("HealthCheckPort", check_port(check.port)),
        Element::text("HealthCheckEnabled", true),
        Element::text("HealthCheckIntervalSeconds", check.interval_seconds),
        Element::text("HealthCheckTimeoutSeconds", check.timeout_seconds),
        Element::text("HealthyThresholdCount", check.healthy_threshold_count),
        Element::text("UnhealthyThresholdCount", check.unhealthy_threshold_count),
    ]);
    all.extend(check.path.map(|path| Element::text("HealthCheckPath", path)));
    all.extend(check.matcher.map(|codes| Element::parent("Matcher", [Element::text("HttpCode", codes)])));
    all.extend([
        Element::texts("LoadBalancerArns", shown.load_balancer_arns),
        Element::text("TargetType", shown.target_type.name()),
    ]);
    all.extend(shown.protocol_version.map(|version| Element::text("ProtocolVersion", version)));
    let words = ADDRESS_TYPES.iter().find(|(_, known)| *known == shown.ip_address_type);
    all.extend(words.map(|(word, _)| Element::text("IpAddressType", word)));
    all
}

fn check_port(port: HealthCheckPort) -> String {
    match port {
        HealthCheckPort::TrafficPort => "traffic-port".into(),
        HealthCheckPort::Port(port) => port.to_string(),
    }
}

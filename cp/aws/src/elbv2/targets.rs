//! Targets: RegisterTargets, DeregisterTargets, DescribeTargetHealth.

use std::net::IpAddr;

use leat_model::resource::{Target, TargetGroup};
use leat_model::rest::{HealthCheckPort, TargetHealth, TargetSpec, TargetType};
use leat_model::{Command, Error, view};

use super::arn;
use super::input::{Answer, absent, number, required, required_structures, word};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// What may be included besides. Anomalies are looked for by application load balancers only, so that there is nothing to include.
const INCLUDE: [(&str, ()); 2] = [("AnomalyDetection", ()), ("All", ())];

pub(super) fn register(context: &Context<'_>, params: &Params) -> Answer {
    let group = arn::required_target_group(context, params)?;
    let targets = specs(&required_structures(params, "Targets")?)?;
    let command = Command::RegisterTargets { target_group: group.id.to_string(), targets };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn deregister(context: &Context<'_>, params: &Params) -> Answer {
    let group = arn::required_target_group(context, params)?;
    let targets = specs(&required_structures(params, "Targets")?)?;
    let command = Command::DeregisterTargets { target_group: group.id.to_string(), targets };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe_health(context: &Context<'_>, params: &Params) -> Answer {
    let group = arn::required_target_group(context, params)?;
    let wanted = specs(&params.structures("Targets")?)?;
    for include in params.structures("Include")? {
        word(&include, "", &INCLUDE)?;
    }
    let members: Vec<&Target> =
        context.model.targets_of(group.id).filter(|target| target.is_registered() || target.is_draining()).collect();
    let shown: Vec<Vec<Element>> = if wanted.is_empty() {
        members.iter().map(|target| registered(context, group, target)).collect()
    } else {
        let of = |spec: &TargetSpec| match members.iter().find(|target| is_named(group, target, spec)) {
            Some(target) => registered(context, group, target),
            None => unregistered(group, spec),
        };
        wanted.iter().map(of).collect()
    };
    Ok(Reply::Answer(vec![Element::list("TargetHealthDescriptions", shown)]))
}

fn specs(targets: &[Params]) -> Result<Vec<TargetSpec>, Error> {
    let spec = |target: &Params| {
        absent(target, "QuicServerId", "QUIC is not supported here")?;
        Ok(TargetSpec {
            id: required(target, "Id")?.to_owned(),
            port: number(target, "Port", 1, 65535)?,
            zone: target.get("AvailabilityZone").filter(|zone| !zone.is_empty()).map(str::to_owned),
        })
    };
    targets.iter().map(spec).collect()
}

/// Whether a request means this target: by what it was registered by, and the group's port unless it says another.
fn is_named(group: &TargetGroup, target: &Target, spec: &TargetSpec) -> bool {
    let port = spec.port.unwrap_or_else(|| group.port.into());
    let id = match &target.name {
        Some(name) => *name == spec.id,
        None => spec.id.parse::<IpAddr>() == Ok(target.address),
    };
    id && i64::from(target.port) == port
}

fn registered(context: &Context<'_>, group: &TargetGroup, target: &Target) -> Vec<Element> {
    let model = context.model;
    let id = target.name.clone().unwrap_or_else(|| target.address.to_string());
    // The zone of an instance is known from the instance.
    let zone = if group.target_type == TargetType::Ip { model.zone_of(target) } else { "" };
    let check_port = match group.health_check.port {
        HealthCheckPort::TrafficPort => target.port.to_string(),
        HealthCheckPort::Port(port) => port.to_string(),
    };
    description(&id, Some(i64::from(target.port)), zone, Some(check_port), model.show_health(target, context.now))
}

fn unregistered(group: &TargetGroup, spec: &TargetSpec) -> Vec<Element> {
    let port = spec.port.unwrap_or_else(|| group.port.into());
    description(&spec.id, Some(port), spec.zone.as_deref().unwrap_or_default(), None, view::not_registered())
}

fn description(
    id: &str,
    port: Option<i64>,
    zone: &str,
    check_port: Option<String>,
    health: TargetHealth,
) -> Vec<Element> {
    let mut target = vec![Element::text("Id", id)];
    target.extend(port.map(|port| Element::text("Port", port)));
    target.extend((!zone.is_empty()).then(|| Element::text("AvailabilityZone", zone)));
    let mut state = vec![Element::text("State", health.state)];
    state.extend(health.reason.map(|reason| Element::text("Reason", reason)));
    state.extend(health.description.map(|text| Element::text("Description", text)));
    let mut all = vec![Element::parent("Target", target)];
    all.extend(check_port.map(|port| Element::text("HealthCheckPort", port)));
    all.push(Element::parent("TargetHealth", state));
    all
}

//! Targets: RegisterTargets, DeregisterTargets, DescribeTargetHealth.

use leat_model::resource::TargetGroup;
use leat_model::rest::{HealthCheckPort, Target, TargetFlows, TargetHealth, TargetSpec, TargetType};
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
    let asked = Some(&wanted[..]).filter(|wanted| !wanted.is_empty());
    let mut shown = context.model.show_targets(group, asked, context.now, |_| TargetFlows::default())?;
    if asked.is_none() {
        // Those that are gone are told of only when they are asked for.
        shown.retain(|target| is_registered(&target.health));
    }
    let list = shown.into_iter().map(|target| description(group, target));
    Ok(Reply::Answer(vec![Element::list("TargetHealthDescriptions", list)]))
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

fn is_registered(health: &TargetHealth) -> bool {
    *health != view::not_registered()
}

fn description(group: &TargetGroup, shown: Target) -> Vec<Element> {
    let mut target = vec![Element::text("Id", shown.id), Element::text("Port", shown.port)];
    // The zone of an instance is known from the instance.
    if group.target_type == TargetType::Ip && !shown.zone.is_empty() {
        target.push(Element::text("AvailabilityZone", shown.zone));
    }
    let mut all = vec![Element::parent("Target", target)];
    if is_registered(&shown.health) {
        let port = match group.health_check.port {
            HealthCheckPort::TrafficPort => shown.port.to_string(),
            HealthCheckPort::Port(port) => port.to_string(),
        };
        all.push(Element::text("HealthCheckPort", port));
    }
    let mut state = vec![Element::text("State", shown.health.state)];
    state.extend(shown.health.reason.map(|reason| Element::text("Reason", reason)));
    state.extend(shown.health.description.map(|text| Element::text("Description", text)));
    all.push(Element::parent("TargetHealth", state));
    all
}

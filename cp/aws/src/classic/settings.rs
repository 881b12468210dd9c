//! Health checks, attributes, tags and quotas of Classic load balancers.

use leat_model::Error;
use leat_model::classic::{AttributeChanges, Balancer, Change, HealthCheckSpec};
use leat_model::limits::Face;

use super::{Answer, change, change_silently, name, required_list, required_number};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn configure_health_check(context: &Context<'_>, params: &Params) -> Answer {
    let name = name(context, params)?;
    let given = params.structure("HealthCheck").ok_or_else(|| params.missing("HealthCheck"))?;
    let check = HealthCheckSpec {
        target: given.required("Target")?.to_owned(),
        interval: required_number(&given, "Interval")?,
        timeout: required_number(&given, "Timeout")?,
        unhealthy_threshold: required_number(&given, "UnhealthyThreshold")?,
        healthy_threshold: required_number(&given, "HealthyThreshold")?,
    };
    change(Change::ConfigureHealthCheck { name: name.clone(), check }, name, |_, lb| {
        vec![Element::parent("HealthCheck", health_check(lb))]
    })
}

/// The members of `HealthCheck`.
pub(super) fn health_check(lb: &Balancer) -> Vec<Element> {
    let check = &lb.health_check;
    vec![
        Element::text("Target", &check.target),
        Element::text("Interval", check.interval_seconds),
        Element::text("Timeout", check.timeout_seconds),
        Element::text("UnhealthyThreshold", check.unhealthy_threshold),
        Element::text("HealthyThreshold", check.healthy_threshold),
    ]
}

pub(super) fn describe_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let lb = context.model.find_classic(params.required("LoadBalancerName")?)?;
    Ok(Reply::Answer(vec![attributes(lb)]))
}

pub(super) fn modify_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let name = name(context, params)?;
    let given = params.structure("LoadBalancerAttributes").ok_or_else(|| params.missing("LoadBalancerAttributes"))?;
    let enabled = |key: &str| -> Result<Option<(Params, bool)>, Error> {
        let Some(part) = given.structure(key) else { return Ok(None) };
        let enabled = part.switch("Enabled")?.ok_or_else(|| part.missing("Enabled"))?;
        Ok(Some((part, enabled)))
    };
    let draining = match enabled("ConnectionDraining")? {
        Some((part, enabled)) => Some((enabled, part.number("Timeout")?)),
        None => None,
    };
    let idle_timeout = given.structure("ConnectionSettings").map(|part| required_number(&part, "IdleTimeout"));
    let additional = given.structures("AdditionalAttributes")?;
    let additional = additional
        .iter()
        .map(|one| Ok((one.required("Key")?.to_owned(), one.get("Value").unwrap_or_default().to_owned())));
    let changes = AttributeChanges {
        cross_zone: enabled("CrossZoneLoadBalancing")?.map(|(_, enabled)| enabled),
        draining,
        idle_timeout: idle_timeout.transpose()?,
        access_log: enabled("AccessLog")?.map(|(_, enabled)| enabled),
        additional: additional.collect::<Result<_, Error>>()?,
    };
    change(Change::ModifyAttributes { name: name.clone(), changes }, name, |_, lb| {
        vec![Element::text("LoadBalancerName", &lb.name), attributes(lb)]
    })
}

fn attributes(lb: &Balancer) -> Element {
    let set = &lb.attributes;
    let enabled = |on: bool| Element::text("Enabled", on);
    let additional = lb.additional_attributes().into_iter();
    let additional = additional.map(|(key, value)| vec![Element::text("Key", key), Element::text("Value", value)]);
    let draining = [enabled(set.draining), Element::text("Timeout", set.draining_timeout_seconds)];
    Element::parent(
        "LoadBalancerAttributes",
        [
            Element::parent("CrossZoneLoadBalancing", [enabled(set.cross_zone)]),
            Element::parent("AccessLog", [enabled(false)]),
            Element::parent("ConnectionDraining", draining),
            Element::parent("ConnectionSettings", [Element::text("IdleTimeout", set.idle_timeout_seconds)]),
            Element::list("AdditionalAttributes", additional),
        ],
    )
}

pub(super) fn add_tags(_: &Context<'_>, params: &Params) -> Answer {
    let tags = super::load_balancers::tags(params)?;
    if tags.is_empty() {
        return Err(params.missing("Tags"));
    }
    change_silently(Change::AddTags { names: required_list(params, "LoadBalancerNames")?, tags })
}

pub(super) fn remove_tags(_: &Context<'_>, params: &Params) -> Answer {
    let keys = params.structures("Tags")?;
    let keys = keys.iter().map(|tag| tag.required("Key").map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(params.missing("Tags"));
    }
    change_silently(Change::RemoveTags { names: required_list(params, "LoadBalancerNames")?, keys })
}

pub(super) fn describe_tags(context: &Context<'_>, params: &Params) -> Answer {
    let names = required_list(params, "LoadBalancerNames")?;
    let of = |name: &String| {
        let lb = context.model.find_classic(name)?;
        let pairs = lb.tags.iter().map(|(key, value)| vec![Element::text("Key", key), Element::text("Value", value)]);
        Ok(vec![Element::text("LoadBalancerName", &lb.name), Element::list("Tags", pairs)])
    };
    let descriptions = names.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
    Ok(Reply::Answer(vec![Element::list("TagDescriptions", descriptions)]))
}

pub(super) fn describe_account_limits(context: &Context<'_>, _: &Params) -> Answer {
    let limits = context.model.limits().all().into_iter().filter(|limit| limit.face == Face::Elb);
    let limits = limits.map(|limit| vec![Element::text("Name", limit.name), Element::text("Max", limit.max)]);
    Ok(Reply::Answer(vec![Element::list("Limits", limits)]))
}

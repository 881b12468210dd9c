//! Instances of Classic load balancers: RegisterInstancesWithLoadBalancer, DeregisterInstancesFromLoadBalancer, DescribeInstanceHealth.

use leat_model::Error;
use leat_model::classic::{Balancer, Change};

use super::{Answer, change, name};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn register(context: &Context<'_>, params: &Params) -> Answer {
    let (name, instances) = (name(context, params)?, given(params)?);
    let tenant = context.caller.tenant.clone();
    // The answer is the whole list (CLB-01).
    change(Change::Register { name: name.clone(), instances, tenant }, name, |context, lb| vec![list(context, lb)])
}

pub(super) fn deregister(context: &Context<'_>, params: &Params) -> Answer {
    let (name, instances) = (name(context, params)?, given(params)?);
    // The answer is what remains (CLB-01).
    change(Change::Deregister { name: name.clone(), instances }, name, |context, lb| vec![list(context, lb)])
}

pub(super) fn describe_health(context: &Context<'_>, params: &Params) -> Answer {
    let lb = context.model.find_classic(params.required("LoadBalancerName")?)?;
    let health = context.model.classic_health(lb, &ids(params)?, context.now)?;
    let states = health.into_iter().map(|health| {
        vec![
            Element::text("InstanceId", health.id),
            Element::text("State", health.state),
            Element::text("ReasonCode", health.reason),
            Element::text("Description", health.description),
        ]
    });
    Ok(Reply::Answer(vec![Element::list("InstanceStates", states)]))
}

fn list(context: &Context<'_>, lb: &Balancer) -> Element {
    let instances = context.model.instances_of_classic(lb).into_iter();
    Element::list("Instances", instances.map(|id| vec![Element::text("InstanceId", id)]))
}

fn ids(params: &Params) -> Result<Vec<String>, Error> {
    let instances = params.structures("Instances")?;
    instances.iter().map(|instance| instance.required("InstanceId").map(str::to_owned)).collect()
}

fn given(params: &Params) -> Result<Vec<String>, Error> {
    let ids = ids(params)?;
    if ids.is_empty() { Err(params.missing("Instances")) } else { Ok(ids) }
}

//! Attributes: Describe… and Modify… of load balancers, listeners and target groups. Describe answers all of them, with their
//! defaults.

use leat_model::rest::Attributes;
use leat_model::{Code, Command, Error};

use super::arn::{self, Arn, Kind};
use super::input::{Answer, required, required_structures};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn describe_load_balancer(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "DescribeLoadBalancerAttributes")?;
    Ok(Reply::Answer(vec![list(&context.model.load_balancer_attributes(lb))]))
}

pub(super) fn modify_load_balancer(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "ModifyLoadBalancerAttributes")?;
    let id = lb.id;
    let command = Command::ModifyLoadBalancerAttributes { load_balancer: id.to_string(), attributes: given(params)? };
    Ok(Reply::Change(
        command,
        Box::new(move |context, _| {
            let lb = context.model.load_balancer(id).ok_or_else(|| Kind::LoadBalancer.not_found())?;
            Ok(vec![list(&context.model.load_balancer_attributes(lb))])
        }),
    ))
}

pub(super) fn describe_listener(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    Ok(Reply::Answer(vec![list(&context.model.listener_attributes(listener))]))
}

pub(super) fn modify_listener(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    let (id, port) = (listener.load_balancer, listener.port);
    let attributes = given(params)?;
    let command = Command::ModifyListenerAttributes { load_balancer: id.to_string(), port, attributes };
    Ok(Reply::Change(
        command,
        Box::new(move |context, _| {
            let listener = context.model.find_listener(&id.to_string(), port)?;
            Ok(vec![list(&context.model.listener_attributes(listener))])
        }),
    ))
}

pub(super) fn describe_target_group(context: &Context<'_>, params: &Params) -> Answer {
    let group = arn::required_target_group(context, params)?;
    Ok(Reply::Answer(vec![list(&context.model.show_target_group(group).attributes)]))
}

pub(super) fn modify_target_group(context: &Context<'_>, params: &Params) -> Answer {
    let id = arn::required_target_group(context, params)?.id;
    let command = Command::ModifyAttributes { target_group: id.to_string(), attributes: given(params)? };
    Ok(Reply::Change(
        command,
        Box::new(move |context, _| {
            let group = context.model.target_group(id).ok_or_else(|| Kind::TargetGroup.not_found())?;
            Ok(vec![list(&context.model.show_target_group(group).attributes)])
        }),
    ))
}

/// The attributes that a request gives; each once.
pub(super) fn given(params: &Params) -> Result<Attributes, Error> {
    let mut attributes = Attributes::new();
    for one in required_structures(params, "Attributes")? {
        let (key, value) = (required(&one, "Key")?, one.get("Value").unwrap_or_default());
        if attributes.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("The attribute key '{}' is given twice", super::input::printable(key));
            return Err(Error::at(Code::ValidationError, one.name("Key"), message));
        }
    }
    Ok(attributes)
}

pub(super) fn list(attributes: &Attributes) -> Element {
    let pair = |(key, value): (&String, &String)| vec![Element::text("Key", key), Element::text("Value", value)];
    Element::list("Attributes", attributes.iter().map(pair))
}

//! Application load balancers, which are objects only, and their listeners: what operations do when an ARN names one of these.

use leat_model::application::shape::{ACTION, Shape};
use leat_model::application::{Balancer, Listener, Wanted};
use leat_model::rest::ModifyLoadBalancer;
use leat_model::{Code, Command, Error, Model, application};
use serde_json::{Map, Value};

use super::arn::{Arn, Kind};
use super::input::{Answer, PROTOCOLS, absent, null, number, required, tags, word};
use super::load_balancers::{ADDRESS_TYPES, address_type, at_most_one_way, subnet_mappings, zone_of_application};
use super::page::Page;
use super::{attributes, certificates};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// Whether a parameter, or the first of a list, names something of an application load balancer.
pub(super) fn are_named(params: &Params, key: &str) -> bool {
    let first = || params.list(key).ok().and_then(|list| list.into_iter().next());
    let text = params.get(key).map(str::to_owned).or_else(first).unwrap_or_default();
    [":loadbalancer/app/", ":listener/app/"].iter().any(|part| text.contains(part))
}

/// The load balancer that `LoadBalancerArn` names.
pub(super) fn balancer<'m>(context: &Context<'m>, params: &Params) -> Result<&'m Balancer, Error> {
    let arn = Arn::required(Kind::LoadBalancer, context, params, "LoadBalancerArn")?;
    context.model.application(arn.text).ok_or_else(|| Kind::LoadBalancer.not_found())
}

/// The listener that `ListenerArn` names.
pub(super) fn listener<'m>(context: &Context<'m>, params: &Params) -> Result<&'m Listener, Error> {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    context.model.application_listener(arn.text).ok_or_else(|| Kind::Listener.not_found())
}

pub(super) fn create_listener(context: &Context<'_>, params: &Params) -> Answer {
    let load_balancer = balancer(context, params)?.id.to_string();
    let wanted = wanted(params)?;
    for (key, given) in [("Protocol", wanted.protocol.is_some()), ("Port", wanted.port.is_some())] {
        if !given {
            let message = format!("A listener {} must be specified", key.to_lowercase());
            return Err(Error::at(Code::ValidationError, key, message));
        }
    }
    if wanted.default_actions.is_none() {
        return Err(null(params, "DefaultActions"));
    }
    let (tags, id) = (tags(params)?, context.id);
    change_listener(application::Change::CreateListener { load_balancer, wanted, tags, id })
}

pub(super) fn modify_listener(context: &Context<'_>, params: &Params) -> Answer {
    let (load_balancer, port) = key(listener(context, params)?);
    change_listener(application::Change::ModifyListener { load_balancer, port, wanted: wanted(params)? })
}

fn change_listener(change: application::Change) -> Answer {
    Ok(Reply::Change(
        Command::Application(change),
        Box::new(|context, effects| {
            let model = context.model;
            let id = effects.id.unwrap_or(context.id);
            let mut listeners = model.applications().flat_map(|lb| model.application_listeners(lb.id));
            let listener = listeners.find(|listener| listener.id == id).ok_or_else(|| Kind::Listener.not_found())?;
            Ok(vec![Element::list("Listeners", [element(model, listener)])])
        }),
    ))
}

pub(super) fn delete_listener(context: &Context<'_>, params: &Params) -> Answer {
    let (load_balancer, port) = key(listener(context, params)?);
    let change = application::Change::DeleteListener { load_balancer, port };
    Ok(Reply::Change(Command::Application(change), Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe_listeners(context: &Context<'_>, params: &Params) -> Answer {
    let model = context.model;
    let page = Page::of(params, "Listeners")?;
    let arns = params.list("ListenerArns")?;
    let found: Vec<&Listener> = if params.has("LoadBalancerArn") {
        model.application_listeners(balancer(context, params)?.id)
    } else {
        let find = |arn: &String| model.application_listener(arn).ok_or_else(|| Kind::Listener.not_found());
        arns.iter().map(find).collect::<Result<_, _>>()?
    };
    let keyed = found.into_iter().map(|it| (format!("{}/{:05}", it.load_balancer, it.port), element(model, it)));
    let (shown, marker) = page.cut(keyed.collect());
    Ok(Reply::Answer(std::iter::once(Element::list("Listeners", shown)).chain(marker).collect()))
}

pub(super) fn describe_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let all = context.model.application_attributes(balancer(context, params)?);
    Ok(Reply::Answer(vec![attributes::list(&all)]))
}

pub(super) fn modify_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let load_balancer = balancer(context, params)?.id.to_string();
    let id = load_balancer.clone();
    let command = Command::ModifyLoadBalancerAttributes { load_balancer, attributes: attributes::given(params)? };
    Ok(Reply::Change(
        command,
        Box::new(move |context, _| {
            let lb = context.model.application(&id).ok_or_else(|| Kind::LoadBalancer.not_found())?;
            Ok(vec![attributes::list(&context.model.application_attributes(lb))])
        }),
    ))
}

pub(super) fn describe_listener_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let all = context.model.application_listener_attributes(listener(context, params)?);
    Ok(Reply::Answer(vec![attributes::list(&all)]))
}

pub(super) fn modify_listener_attributes(context: &Context<'_>, params: &Params) -> Answer {
    let (load_balancer, port) = key(listener(context, params)?);
    let arn = required(params, "ListenerArn")?.to_owned();
    let command = Command::ModifyListenerAttributes { load_balancer, port, attributes: attributes::given(params)? };
    Ok(Reply::Change(
        command,
        Box::new(move |context, _| {
            let listener = context.model.application_listener(&arn).ok_or_else(|| Kind::Listener.not_found())?;
            Ok(vec![attributes::list(&context.model.application_listener_attributes(listener))])
        }),
    ))
}

pub(super) fn add_certificates(context: &Context<'_>, params: &Params) -> Answer {
    let (load_balancer, port) = key(listener(context, params)?);
    let certificates = certificates::given(params)?;
    let shown = Element::list("Certificates", certificates.iter().map(|arn| certificates::element(arn, false)));
    let command = Command::AddListenerCertificates { load_balancer, port, certificates };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(vec![shown]))))
}

pub(super) fn remove_certificates(context: &Context<'_>, params: &Params) -> Answer {
    let (load_balancer, port) = key(listener(context, params)?);
    let certificates = certificates::given(params)?;
    let command = Command::RemoveListenerCertificates { load_balancer, port, certificates };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe_certificates(context: &Context<'_>, params: &Params) -> Answer {
    let listener = listener(context, params)?;
    let shown = listener.certificates.iter().enumerate().map(|(at, arn)| certificates::element(arn, at == 0));
    Ok(Reply::Answer(vec![Element::list("Certificates", shown)]))
}

pub(super) fn set_subnets(context: &Context<'_>, params: &Params) -> Answer {
    let request = ModifyLoadBalancer {
        ip_address_type: word(params, "IpAddressType", &ADDRESS_TYPES)?,
        subnets: params.list("Subnets")?,
        subnet_mappings: subnet_mappings(params)?,
        ..ModifyLoadBalancer::default()
    };
    at_most_one_way(&request.subnets, &request.subnet_mappings)?;
    if request.subnets.is_empty() && request.subnet_mappings.is_empty() {
        return Err(Error::at(Code::ValidationError, "Subnets", "Either subnets or subnet mappings must be specified"));
    }
    modify(context, params, request, |lb| {
        let zones = lb.availability_zones.iter().map(zone_of_application);
        vec![Element::list("AvailabilityZones", zones), address_type(lb.ip_address_type)]
    })
}

pub(super) fn set_ip_address_type(context: &Context<'_>, params: &Params) -> Answer {
    required(params, "IpAddressType")?;
    let ip_address_type = word(params, "IpAddressType", &ADDRESS_TYPES)?;
    let request = ModifyLoadBalancer { ip_address_type, ..ModifyLoadBalancer::default() };
    modify(context, params, request, |lb| vec![address_type(lb.ip_address_type)])
}

fn modify(
    context: &Context<'_>,
    params: &Params,
    request: ModifyLoadBalancer,
    show: fn(&leat_model::rest::LoadBalancer) -> Vec<Element>,
) -> Answer {
    let load_balancer = balancer(context, params)?.id.to_string();
    let id = load_balancer.clone();
    Ok(Reply::Change(
        Command::ModifyLoadBalancer { load_balancer, request },
        Box::new(move |context, _| {
            let lb = context.model.application(&id).ok_or_else(|| Kind::LoadBalancer.not_found())?;
            Ok(show(&context.model.show_application(lb)))
        }),
    ))
}

/// The load balancer and the port by which commands name a listener.
pub(super) fn key(listener: &Listener) -> (String, u16) {
    (listener.load_balancer.to_string(), listener.port)
}

/// What a request wants of a listener.
fn wanted(params: &Params) -> Result<Wanted, Error> {
    let protocol = match word(params, "Protocol", &PROTOCOLS)? {
        Some(None) => {
            let message = "Listener protocol is not supported for load balancers with type 'application'";
            return Err(Error::at(Code::UnsupportedProtocol, "Protocol", message));
        }
        other => other.flatten(),
    };
    if let Some(given) = params.structure("MutualAuthentication")
        && given.get("Mode").is_some_and(|mode| mode != "off")
    {
        absent(&given, "Mode", "there are no trust stores here, and so no mutual authentication")?;
    }
    let certificates = params.structures("Certificates")?;
    if certificates.len() > 1 {
        let message = "Only one certificate can be specified: the default one. Add others with AddListenerCertificates";
        return Err(Error::at(Code::ValidationError, "Certificates", message));
    }
    let certificate = certificates.first().map(|one| required(one, "CertificateArn").map(str::to_owned));
    Ok(Wanted {
        protocol,
        port: number(params, "Port", 1, 65535)?,
        certificate: certificate.transpose()?,
        ssl_policy: params.get("SslPolicy").map(str::to_owned),
        default_actions: list_of(&ACTION, params, "DefaultActions")?,
    })
}

/// A listener of an application load balancer.
fn element(model: &Model, listener: &Listener) -> Vec<Element> {
    let shown = model.show_application_listener(listener);
    let mut all = vec![
        Element::text("ListenerArn", shown.arn),
        Element::text("LoadBalancerArn", shown.load_balancer_arn),
        Element::text("Port", listener.port),
        Element::text("Protocol", listener.protocol),
    ];
    if let Some(certificate) = listener.certificates.first() {
        all.push(Element::list("Certificates", [vec![Element::text("CertificateArn", certificate)]]));
    }
    all.extend(listener.ssl_policy.as_ref().map(|policy| Element::text("SslPolicy", policy)));
    all.push(elements("DefaultActions", &Shape::List(&ACTION), &Value::Array(listener.default_actions.clone())));
    all
}

/// The elements of a value of this shape.
pub(super) fn elements(name: &'static str, shape: &Shape, value: &Value) -> Element {
    match (shape, value) {
        (Shape::List(of), Value::Array(values)) => {
            Element::parent(name, values.iter().map(|value| elements("member", of, value)))
        }
        (Shape::Structure(members), Value::Object(object)) => {
            let given = members.iter().filter_map(|(name, shape)| Some(elements(name, shape, object.get(*name)?)));
            Element::parent(name, given)
        }
        (_, Value::String(text)) => Element::text(name, text),
        (_, other) => Element::text(name, other),
    }
}

/// The structures of this shape that a request gives; `None`: not one.
pub(super) fn list_of(shape: &'static Shape, params: &Params, key: &str) -> Result<Option<Vec<Value>>, Error> {
    Ok(read(&Shape::List(shape), params, key)?.and_then(|list| list.as_array().cloned()))
}

fn read(shape: &Shape, params: &Params, key: &str) -> Result<Option<Value>, Error> {
    Ok(match shape {
        Shape::Text => params.get(key).map(Value::from),
        Shape::Number => params.number(key)?.map(Value::from),
        Shape::Switch => params.switch(key)?.map(Value::from),
        Shape::List(Shape::Structure(members)) => {
            let values =
                params.structures(key)?.iter().map(|one| structure(members, one)).collect::<Result<Vec<_>, _>>()?;
            (!values.is_empty()).then_some(Value::Array(values))
        }
        Shape::List(_) => {
            let values: Vec<Value> = params.list(key)?.into_iter().map(Value::from).collect();
            (!values.is_empty()).then_some(Value::Array(values))
        }
        Shape::Structure(members) => params.structure(key).map(|one| structure(members, &one)).transpose()?,
    })
}

fn structure(members: &[(&str, Shape)], params: &Params) -> Result<Value, Error> {
    let mut object = Map::new();
    for (name, shape) in members {
        object.extend(read(shape, params, name)?.map(|value| ((*name).to_owned(), value)));
    }
    Ok(Value::Object(object))
}

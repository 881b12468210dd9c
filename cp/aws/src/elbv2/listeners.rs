//! Listeners of network load balancers: CreateListener, DescribeListeners, ModifyListener, DeleteListener, and the rule that each has.

use leat_model::resource::Listener;
use leat_model::rest::{self, CreateListener, ModifyListener, Protocol};
use leat_model::{Code, Command, Effects, Error, Id, Model};

use super::actions::forwarded_to;
use super::arn::{self, Arn, Balancer, Kind};
use super::input::{Answer, PROTOCOLS, absent, number, required, tags, word};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "CreateListener")?;
    let must = |what: &str| {
        let message = format!("A listener {what} must be specified");
        Error::at(Code::ValidationError, what, message)
    };
    refuse_mutual_authentication(params)?;
    let request = CreateListener {
        protocol: protocol(params)?.ok_or_else(|| must("protocol"))?,
        port: number(params, "Port", 1, 65535)?.ok_or_else(|| must("port"))?,
        target_group: forwarded_to(context.model, params)?
            .ok_or_else(|| super::input::null(params, "DefaultActions"))?,
        certificate: certificate(params)?,
        ssl_policy: params.get("SslPolicy").map(str::to_owned),
        alpn_policy: alpn_policy(params)?,
        tags: tags(params)?,
    };
    let load_balancer = context.model.show_load_balancer(lb).arn;
    let command = Command::CreateListener { load_balancer, request, id: context.id };
    Ok(Reply::Change(command, show(lb.id)))
}

pub(super) fn modify(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    refuse_mutual_authentication(params)?;
    let request = ModifyListener {
        protocol: protocol(params)?,
        port: number(params, "Port", 1, 65535)?,
        target_group: forwarded_to(context.model, params)?,
        certificate: certificate(params)?,
        ssl_policy: params.get("SslPolicy").map(str::to_owned),
        alpn_policy: alpn_policy(params)?,
    };
    let load_balancer = listener.load_balancer.to_string();
    let command = Command::ModifyListener { load_balancer, port: listener.port, request };
    Ok(Reply::Change(command, show(listener.load_balancer)))
}

pub(super) fn delete(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    let load_balancer = listener.load_balancer.to_string();
    let command = Command::DeleteListener { load_balancer, port: listener.port };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let model = context.model;
    let page = Page::of(params, "Listeners")?;
    let (lb, arns) = (params.get("LoadBalancerArn").filter(|arn| !arn.is_empty()), params.list("ListenerArns")?);
    let found: Vec<&Listener> = match (lb, arns.is_empty()) {
        (Some(text), true) => match arn::balancer(model, &Arn::of(Kind::LoadBalancer, model.site(), text)?)? {
            Balancer::Network(lb) => model.listeners_of(lb.id).collect(),
            Balancer::Application(_) => Vec::new(),
        },
        (None, false) => {
            let arns = arns.iter().map(|text| Arn::of(Kind::Listener, model.site(), text));
            let arns: Vec<Arn<'_>> = arns.collect::<Result<_, _>>()?;
            arns.iter().map(|arn| arn::listener(model, arn)).collect::<Result<_, _>>()?
        }
        _ => {
            let message = "You must specify either listener ARNs or a load balancer ARN";
            return Err(Error::at(Code::ValidationError, "LoadBalancerArn", message));
        }
    };
    let mut keyed: Vec<_> = found.into_iter().map(|listener| (page_key(model, listener), listener)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.dedup_by(|(a, _), (b, _)| a == b);
    let (shown, marker) = page.cut(keyed);
    let list = Element::list("Listeners", shown.into_iter().map(|listener| element(&model.show_listener(listener))));
    Ok(Reply::Answer(std::iter::once(list).chain(marker).collect()))
}

/// By load balancer, then by port.
fn page_key(model: &Model, listener: &Listener) -> String {
    let lb = model.load_balancer(listener.load_balancer).map_or("", |lb| lb.name.as_str());
    format!("{lb}/{:05}", listener.port)
}

fn protocol(params: &Params) -> Result<Option<Protocol>, Error> {
    match word(params, "Protocol", &PROTOCOLS)? {
        Some(None) => {
            let name = params.get("Protocol").unwrap_or_default();
            let message =
                format!("Listener protocol '{name}' is not supported here; it must be one of 'TCP, TLS, UDP, TCP_UDP'");
            Err(Error::at(Code::UnsupportedProtocol, "Protocol", message))
        }
        other => Ok(other.flatten()),
    }
}

/// The default certificate: one at the most is given here (TLS-02).
fn certificate(params: &Params) -> Result<Option<String>, Error> {
    let given = params.structures("Certificates")?;
    if given.len() > 1 {
        let message = "Only one certificate can be specified: the default one. Add others with AddListenerCertificates";
        return Err(Error::at(Code::ValidationError, "Certificates", message));
    }
    given.first().map(|one| required(one, "CertificateArn").map(str::to_owned)).transpose()
}

fn alpn_policy(params: &Params) -> Result<Option<String>, Error> {
    let mut given = params.list("AlpnPolicy")?;
    if given.len() > 1 {
        return Err(Error::at(Code::ValidationError, "AlpnPolicy", "Only one ALPN policy can be specified"));
    }
    Ok(given.pop().filter(|policy| !policy.is_empty()))
}

fn refuse_mutual_authentication(params: &Params) -> Result<(), Error> {
    let Some(given) = params.structure("MutualAuthentication") else { return Ok(()) };
    if given.get("Mode").is_none_or(|mode| mode == "off") {
        return Ok(());
    }
    absent(&given, "Mode", "Mutual authentication is not supported for load balancers with type 'network'")
}

/// Shows the listener that was made or changed, by its id.
fn show(lb: Id) -> crate::operation::Render<Vec<Element>, Effects> {
    Box::new(move |context, effects| {
        let id = effects.id.unwrap_or(context.id);
        let found = context.model.listeners_of(lb).find(|listener| listener.id == id);
        let listener = found.ok_or_else(|| Kind::Listener.not_found())?;
        Ok(vec![Element::list("Listeners", [element(&context.model.show_listener(listener))])])
    })
}

/// A listener of a network load balancer.
pub(super) fn element(listener: &rest::Listener) -> Vec<Element> {
    let mut all = vec![
        Element::text("ListenerArn", &listener.arn),
        Element::text("LoadBalancerArn", &listener.load_balancer_arn),
        Element::text("Port", listener.port),
        Element::text("Protocol", listener.protocol),
    ];
    if let Some(certificate) = listener.certificates.first() {
        // The others are told by DescribeListenerCertificates.
        let default = vec![Element::text("CertificateArn", certificate)];
        all.push(Element::list("Certificates", [default]));
    }
    all.extend(listener.ssl_policy.as_ref().map(|policy| Element::text("SslPolicy", policy)));
    all.push(Element::list("DefaultActions", [forward(&listener.target_group_arn)]));
    all.extend(listener.alpn_policy.as_ref().map(|policy| Element::texts("AlpnPolicy", [policy])));
    all
}

/// The action of every listener of a network load balancer.
pub(super) fn forward(target_group: &str) -> Vec<Element> {
    let group = vec![Element::text("TargetGroupArn", target_group), Element::text("Weight", 1)];
    vec![
        Element::text("Type", "forward"),
        Element::text("TargetGroupArn", target_group),
        Element::parent("ForwardConfig", [Element::list("TargetGroups", [group])]),
    ]
}

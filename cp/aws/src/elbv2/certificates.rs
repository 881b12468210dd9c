//! Certificates of TLS listeners: AddListenerCertificates, RemoveListenerCertificates, DescribeListenerCertificates.

use leat_model::{Command, Error};

use super::arn::{self, Arn, Kind};
use super::input::{Answer, required, required_structures};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn add(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    let certificates = given(params)?;
    let shown = Element::list("Certificates", certificates.iter().map(|arn| element(arn, false)));
    let load_balancer = listener.load_balancer.to_string();
    let command = Command::AddListenerCertificates { load_balancer, port: listener.port, certificates };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(vec![shown]))))
}

pub(super) fn remove(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    let load_balancer = listener.load_balancer.to_string();
    let certificates = given(params)?;
    let command = Command::RemoveListenerCertificates { load_balancer, port: listener.port, certificates };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    let listener = arn::listener(context.model, &arn)?;
    let page = Page::of(params, "Certificates")?;
    // The default one first; it may be in the list besides.
    let rank = |at: usize, arn: &str| format!("{}{arn}", if at == 0 { 0 } else { 1 });
    let certificates = listener.certificates.iter().enumerate();
    let keyed = certificates.map(|(at, arn)| (rank(at, arn), element(arn, at == 0))).collect();
    let (shown, marker) = page.cut(keyed);
    Ok(Reply::Answer(std::iter::once(Element::list("Certificates", shown)).chain(marker).collect()))
}

pub(super) fn given(params: &Params) -> Result<Vec<String>, Error> {
    let certificates = required_structures(params, "Certificates")?;
    certificates.iter().map(|one| required(one, "CertificateArn").map(str::to_owned)).collect()
}

pub(super) fn element(arn: &str, default: bool) -> Vec<Element> {
    vec![Element::text("CertificateArn", arn), Element::text("IsDefault", default)]
}

//! What is the same for everybody: DescribeSSLPolicies, DescribeAccountLimits.

use leat_model::limits::Face;
use leat_model::{Code, Error, ssl_policy};

use super::input::{Answer, printable, word};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

const TYPES: [(&str, &str); 3] = [("application", "application"), ("network", "network"), ("gateway", "gateway")];

pub(super) fn describe_ssl_policies(_: &Context<'_>, params: &Params) -> Answer {
    let page = Page::of(params, "SslPolicies")?;
    let names = params.list("Names")?;
    if let Some(unknown) = names.iter().find(|name| ssl_policy::find(name).is_none()) {
        let message = format!("SSL policy '{}' not found", printable(unknown));
        return Err(Error::at(Code::SSLPolicyNotFound, "Names", message));
    }
    let kind = word(params, "LoadBalancerType", &TYPES)?;
    let policies = ssl_policy::all()
        .enumerate()
        .filter(|(_, policy)| names.is_empty() || names.iter().any(|name| *name == policy.name))
        .filter(|(_, policy)| kind.is_none_or(|kind| policy.load_balancer_types.contains(&kind)));
    let element = |policy: ssl_policy::SslPolicy| {
        let cipher = |(at, name): (usize, &str)| vec![Element::text("Name", name), Element::text("Priority", at + 1)];
        vec![
            Element::texts("SslProtocols", policy.protocols),
            Element::list("Ciphers", policy.ciphers.into_iter().enumerate().map(cipher)),
            Element::text("Name", policy.name),
            Element::texts("SupportedLoadBalancerTypes", policy.load_balancer_types),
        ]
    };
    // In the order of the table, which begins with the default.
    let (shown, marker) = page.cut(policies.map(|(at, policy)| (format!("{at:03}"), element(policy))).collect());
    Ok(Reply::Answer(std::iter::once(Element::list("SslPolicies", shown)).chain(marker).collect()))
}

pub(super) fn describe_account_limits(context: &Context<'_>, params: &Params) -> Answer {
    let page = Page::of(params, "Limits")?;
    let mine = context.model.limits().all().into_iter().filter(|limit| limit.face == Face::ElbV2);
    let all = mine
        .map(|limit| (limit.name.to_owned(), vec![Element::text("Name", limit.name), Element::text("Max", limit.max)]));
    let all = all.collect();
    let (shown, marker) = page.cut(all);
    Ok(Reply::Answer(std::iter::once(Element::list("Limits", shown)).chain(marker).collect()))
}

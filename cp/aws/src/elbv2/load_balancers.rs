//! Load balancers.

use leat_model::resource::LoadBalancer;
use leat_model::rest::{IpAddressType, Scheme};
use leat_model::{Command, Error, Model};

use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

type Answer = Result<Reply<Vec<Element>>, Error>;

pub(super) fn describe(context: &Context<'_>, _: &Params) -> Answer {
    let model = context.model;
    Ok(Reply::Answer(vec![Element::list("LoadBalancers", model.load_balancers().map(|lb| element(model, lb)))]))
}

pub(super) fn delete(_: &Context<'_>, params: &Params) -> Answer {
    let load_balancer = params.required("LoadBalancerArn")?.to_owned();
    Ok(Reply::Change(Command::DeleteLoadBalancer { load_balancer }, Box::new(|_, _| Ok(Vec::new()))))
}

fn element(model: &Model, lb: &LoadBalancer) -> Vec<Element> {
    let shown = model.show_load_balancer(lb);
    let mut state = vec![Element::text("Code", shown.state.code)];
    state.extend(shown.state.reason.map(|reason| Element::text("Reason", reason)));
    vec![
        Element::text("LoadBalancerArn", shown.arn),
        Element::text("LoadBalancerName", shown.name),
        Element::text("DNSName", shown.dns_name),
        Element::text(
            "Scheme",
            match shown.scheme {
                Scheme::InternetFacing => "internet-facing",
                Scheme::Internal => "internal",
            },
        ),
        Element::parent("State", state),
        Element::text("Type", "network"),
        Element::text(
            "IpAddressType",
            match shown.ip_address_type {
                IpAddressType::Ipv4 => "ipv4",
                IpAddressType::Dualstack => "dualstack",
            },
        ),
    ]
}

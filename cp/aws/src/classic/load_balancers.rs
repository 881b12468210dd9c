//! Classic load balancers, their listeners, zones and subnets.

use leat_model::classic::{Balancer, Change, Create, Listener, ListenerSpec};
use leat_model::rest::{Protocol, Scheme, Tags};
use leat_model::tags::from_pairs;
use leat_model::{Code, Error};

use super::{Answer, change, change_silently, name, required_list, required_number};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// Load balancers of a page at the most, and unless a size is given.
const PAGE_MAX: i64 = 400;

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let name = params.required("LoadBalancerName")?.to_owned();
    refuse_security_groups(params)?;
    let scheme = match params.get("Scheme").filter(|text| !text.is_empty()) {
        None | Some("internet-facing") => None,
        Some("internal") => Some(Scheme::Internal),
        Some(_) => {
            let message = "Invalid scheme: it is internal, or, unless given, internet-facing";
            return Err(Error::at(Code::InvalidScheme, "Scheme", message));
        }
    };
    let request = Create {
        name: name.clone(),
        scheme,
        listeners: listeners(params)?,
        zones: params.list("AvailabilityZones")?,
        subnets: params.list("Subnets")?,
        tags: tags(params)?,
    };
    change(Change::Create { request, id: context.id }, name, |context, lb| {
        vec![Element::text("DNSName", dns_name(context, lb))]
    })
}

pub(super) fn delete(_: &Context<'_>, params: &Params) -> Answer {
    // What does not exist is deleted already.
    change_silently(Change::Delete { name: params.required("LoadBalancerName")?.to_owned() })
}

pub(super) fn create_listeners(context: &Context<'_>, params: &Params) -> Answer {
    let name = name(context, params)?;
    change_silently(Change::CreateListeners { name, listeners: listeners(params)?, id: context.id })
}

pub(super) fn delete_listeners(context: &Context<'_>, params: &Params) -> Answer {
    let name = name(context, params)?;
    let number = |text: &String| {
        text.parse().map_err(|_| Error::invalid("LoadBalancerPorts", "LoadBalancerPorts must be whole numbers"))
    };
    let ports = required_list(params, "LoadBalancerPorts")?.iter().map(number).collect::<Result<_, _>>()?;
    change_silently(Change::DeleteListeners { name, ports })
}

pub(super) fn attach_subnets(context: &Context<'_>, params: &Params) -> Answer {
    let (name, subnets) = (name(context, params)?, required_list(params, "Subnets")?);
    change(Change::AttachSubnets { name: name.clone(), subnets }, name, |context, lb| vec![subnets_of(context, lb)])
}

pub(super) fn detach_subnets(context: &Context<'_>, params: &Params) -> Answer {
    let (name, subnets) = (name(context, params)?, required_list(params, "Subnets")?);
    change(Change::DetachSubnets { name: name.clone(), subnets }, name, |context, lb| vec![subnets_of(context, lb)])
}

pub(super) fn enable_zones(context: &Context<'_>, params: &Params) -> Answer {
    let (name, zones) = (name(context, params)?, required_list(params, "AvailabilityZones")?);
    change(Change::EnableZones { name: name.clone(), zones }, name, |context, lb| vec![zones_of(context, lb)])
}

pub(super) fn disable_zones(context: &Context<'_>, params: &Params) -> Answer {
    let (name, zones) = (name(context, params)?, required_list(params, "AvailabilityZones")?);
    change(Change::DisableZones { name: name.clone(), zones }, name, |context, lb| vec![zones_of(context, lb)])
}

pub(super) fn apply_security_groups(context: &Context<'_>, params: &Params) -> Answer {
    name(context, params)?;
    refuse_security_groups(params)?;
    Ok(Reply::Answer(vec![Element::texts::<&str>("SecurityGroups", [])]))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let names = params.list("LoadBalancerNames")?;
    let size = params.number("PageSize")?.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(Error::invalid(
            "PageSize",
            format!("PageSize {size} is out of range; allowed are 1 to {PAGE_MAX}"),
        ));
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut found: Vec<&Balancer> = if names.is_empty() {
        context.model.classics().collect()
    } else {
        names.iter().map(|name| context.model.find_classic(name)).collect::<Result<_, _>>()?
    };
    // A marker is the name behind which the page begins.
    if let Some(marker) = params.get("Marker").filter(|marker| !marker.is_empty()) {
        found.retain(|lb| lb.name.as_str() > marker);
    }
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| Element::text("NextMarker", &last.name));
    let list = Element::list("LoadBalancerDescriptions", found.into_iter().map(|lb| element(context, lb)));
    Ok(Reply::Answer(std::iter::once(list).chain(next).collect()))
}

fn element(context: &Context<'_>, lb: &Balancer) -> Vec<Element> {
    let model = context.model;
    let carrier = model.carrier_of(lb);
    let dns_name = dns_name(context, lb);
    let listeners = lb.listeners.iter().map(|(port, listener)| {
        let policies = Element::texts("PolicyNames", &listener.policies);
        vec![Element::parent("Listener", listener_element(*port, listener)), policies]
    });
    let policies = Element::parent(
        "Policies",
        [
            Element::parent("AppCookieStickinessPolicies", []),
            Element::parent("LBCookieStickinessPolicies", []),
            Element::texts("OtherPolicies", lb.policies.keys()),
        ],
    );
    let instances = model.instances_of_classic(lb).into_iter().map(|id| vec![Element::text("InstanceId", id)]);
    let mut all = vec![
        Element::text("LoadBalancerName", &lb.name),
        Element::text("DNSName", &dns_name),
        Element::text("CanonicalHostedZoneName", dns_name),
        Element::text("CanonicalHostedZoneNameID", leat_model::view::HOSTED_ZONE_ID),
        Element::list("ListenerDescriptions", listeners),
        policies,
        Element::parent("BackendServerDescriptions", []),
        zones_of(context, lb),
        subnets_of(context, lb),
    ];
    all.extend(model.classic_network(lb).map(|network| Element::text("VPCId", network)));
    all.push(Element::list("Instances", instances));
    all.push(Element::parent("HealthCheck", super::settings::health_check(lb)));
    all.push(Element::texts::<&str>("SecurityGroups", []));
    if let Some(carrier) = carrier {
        all.push(Element::time("CreatedTime", carrier.created_ms));
        let scheme = if carrier.scheme == Scheme::Internal { "internal" } else { "internet-facing" };
        all.push(Element::text("Scheme", scheme));
    }
    all
}

fn listener_element(port: u16, listener: &Listener) -> Vec<Element> {
    let protocol = |name, protocol: Protocol| Element::text(name, Listener::protocol_name(protocol));
    let mut all = vec![
        protocol("Protocol", listener.protocol),
        Element::text("LoadBalancerPort", port),
        protocol("InstanceProtocol", listener.instance_protocol),
        Element::text("InstancePort", listener.instance_port),
    ];
    all.extend(listener.certificate.as_ref().map(|arn| Element::text("SSLCertificateId", arn)));
    all
}

fn dns_name(context: &Context<'_>, lb: &Balancer) -> String {
    context.model.carrier_of(lb).map(|carrier| context.model.show_load_balancer(carrier).dns_name).unwrap_or_default()
}

fn zones_of(context: &Context<'_>, lb: &Balancer) -> Element {
    Element::texts("AvailabilityZones", context.model.classic_zones(lb))
}

fn subnets_of(context: &Context<'_>, lb: &Balancer) -> Element {
    let nodes = context.model.carrier_of(lb).into_iter().flat_map(|carrier| &carrier.nodes);
    Element::texts("Subnets", nodes.filter_map(|node| node.subnet.as_ref()))
}

/// The listeners that a request asks for.
fn listeners(params: &Params) -> Result<Vec<ListenerSpec>, Error> {
    let of = |params: &Params| {
        Ok(ListenerSpec {
            protocol: params.required("Protocol")?.to_owned(),
            port: required_number(params, "LoadBalancerPort")?,
            instance_protocol: params.get("InstanceProtocol").map(str::to_owned),
            instance_port: required_number(params, "InstancePort")?,
            certificate: params.get("SSLCertificateId").map(str::to_owned),
        })
    };
    let all = params.structures("Listeners")?;
    if all.is_empty() { Err(params.missing("Listeners")) } else { all.iter().map(of).collect() }
}

/// The tags that a request gives.
pub(super) fn tags(params: &Params) -> Result<Tags, Error> {
    let pair = |tag: &Params| Ok((tag.required("Key")?.to_owned(), tag.get("Value").unwrap_or_default().to_owned()));
    from_pairs(params.structures("Tags")?.iter().map(pair).collect::<Result<Vec<_>, Error>>()?)
}

fn refuse_security_groups(params: &Params) -> Result<(), Error> {
    match params.list("SecurityGroups")?.into_iter().find(|group| !group.is_empty()) {
        None => Ok(()),
        Some(_) => {
            let message = "load balancers have no security groups here; leave them out";
            Err(Error::at(Code::InvalidSecurityGroup, "SecurityGroups", message))
        }
    }
}

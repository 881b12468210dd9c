//! Load balancers: CreateLoadBalancer, DescribeLoadBalancers, DeleteLoadBalancer, SetSubnets, SetIpAddressType, SetSecurityGroups.

use leat_model::resource::{LoadBalancer, Node};
use leat_model::rest::{
    self, CreateLoadBalancer, IpAddressType, LoadBalancerType, ModifyLoadBalancer, Scheme, SubnetMapping,
};
use leat_model::{Code, Command, Error, Id, Model};

use super::arn::{self, Arn, Balancer, Kind};
use super::input::{Answer, absent, null, printable, required, tags, word};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

const SCHEMES: [(&str, Scheme); 2] = [("internet-facing", Scheme::InternetFacing), ("internal", Scheme::Internal)];
pub(super) const ADDRESS_TYPES: [(&str, IpAddressType); 2] =
    [("ipv4", IpAddressType::Ipv4), ("dualstack", IpAddressType::Dualstack)];
/// The type that is refused is known to AWS, so that what is said is about it.
const TYPES: [(&str, Option<LoadBalancerType>); 3] = [
    ("application", Some(LoadBalancerType::Application)),
    ("network", Some(LoadBalancerType::Network)),
    ("gateway", None),
];
const SWITCH: [(&str, bool); 2] = [("on", true), ("off", false)];

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let name = required(params, "Name")?.to_owned();
    let kind = word(params, "Type", &TYPES)?.unwrap_or(Some(LoadBalancerType::Network)).ok_or_else(|| {
        let message = "Load balancers with type 'gateway' are not supported here";
        Error::at(Code::InvalidConfigurationRequest, "Type", message)
    })?;
    refuse_security_groups(params, kind)?;
    refuse_what_there_is_not(params)?;
    absent(params, "CustomerOwnedIpv4Pool", "there are no customer-owned address pools here")?;
    absent(params, "IpamPools", "there are no IPAM pools here")?;
    let request = CreateLoadBalancer {
        name,
        scheme: word(params, "Scheme", &SCHEMES)?,
        ip_address_type: word(params, "IpAddressType", &ADDRESS_TYPES)?,
        kind,
        subnets: params.list("Subnets")?,
        subnet_mappings: subnet_mappings(params)?,
        tags: tags(params)?,
        ..CreateLoadBalancer::default()
    };
    at_most_one_way(&request.subnets, &request.subnet_mappings)?;
    if request.subnets.is_empty() && request.subnet_mappings.is_empty() {
        return Err(Error::at(Code::ValidationError, "Subnets", "At least one subnet must be specified"));
    }
    let command = Command::CreateLoadBalancer { request, id: context.id };
    Ok(Reply::Change(
        command,
        Box::new(|context, effects| {
            let created = by_id(context.model, effects.id.unwrap_or(context.id))?;
            Ok(vec![Element::list("LoadBalancers", [element(context.model, created)])])
        }),
    ))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let model = context.model;
    let page = Page::of(params, "LoadBalancers")?;
    let (arns, names) = (params.list("LoadBalancerArns")?, params.list("Names")?);
    let found: Vec<Balancer<'_>> = match (arns.is_empty(), names.is_empty()) {
        (false, false) => {
            let message = "Load balancer names and load balancer ARNs cannot be specified at the same time";
            return Err(Error::at(Code::ValidationError, "Names", message));
        }
        (false, true) => {
            let arns = arns.iter().map(|text| Arn::of(Kind::LoadBalancer, model.site(), text));
            let arns: Vec<Arn<'_>> = arns.collect::<Result<_, _>>()?;
            arns.iter().map(|arn| arn::balancer(model, arn)).collect::<Result<_, _>>()?
        }
        (true, false) => names.iter().map(|name| by_name(model, name)).collect::<Result<_, _>>()?,
        (true, true) => all(model).collect(),
    };
    let mut keyed: Vec<_> = found.into_iter().map(|lb| (name_of(lb).to_owned(), lb)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.dedup_by(|(a, _), (b, _)| a == b);
    let (shown, marker) = page.cut(keyed);
    let list = Element::list("LoadBalancers", shown.into_iter().map(|lb| element(model, lb)));
    Ok(Reply::Answer(std::iter::once(list).chain(marker).collect()))
}

pub(super) fn delete(context: &Context<'_>, params: &Params) -> Answer {
    // What does not exist is deleted already, but what is no ARN of a load balancer is a mistake.
    let arn = Arn::required(Kind::LoadBalancer, context, params, "LoadBalancerArn")?;
    if arn::balancer(context.model, &arn).is_err() {
        return Ok(Reply::Answer(Vec::new()));
    }
    let command = Command::DeleteLoadBalancer { load_balancer: arn.text.to_owned() };
    Ok(Reply::Change(command, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn set_subnets(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "SetSubnets")?;
    refuse_what_there_is_not(params)?;
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
    change(context, lb, request, |lb| vec![zones(lb), address_type(lb.ip_address_type)])
}

pub(super) fn set_ip_address_type(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "SetIpAddressType")?;
    required(params, "IpAddressType")?;
    let ip_address_type = word(params, "IpAddressType", &ADDRESS_TYPES)?;
    let request = ModifyLoadBalancer { ip_address_type, ..ModifyLoadBalancer::default() };
    change(context, lb, request, |lb| vec![address_type(lb.ip_address_type)])
}

pub(super) fn set_security_groups(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::LoadBalancer, context, params, "LoadBalancerArn")?;
    let kind = match arn::balancer(context.model, &arn)? {
        Balancer::Network(_) => LoadBalancerType::Network,
        Balancer::Application(_) => LoadBalancerType::Application,
    };
    if params.get("SecurityGroups").is_none() && !params.has("SecurityGroups") {
        return Err(null(params, "SecurityGroups"));
    }
    refuse_security_groups(params, kind)?;
    let key = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic";
    if word(params, key, &SWITCH)? == Some(true) {
        absent(params, key, "there are no security groups here whose rules could be enforced")?;
    }
    Ok(Reply::Answer(vec![Element::texts::<&str>("SecurityGroupIds", [])]))
}

/// Changes a network load balancer and shows what has become of it.
fn change(
    context: &Context<'_>,
    lb: &LoadBalancer,
    request: ModifyLoadBalancer,
    show: fn(&LoadBalancer) -> Vec<Element>,
) -> Answer {
    let id = lb.id;
    let load_balancer = context.model.show_load_balancer(lb).arn;
    let command = Command::ModifyLoadBalancer { load_balancer, request };
    let render = move |context: &Context<'_>, _: &leat_model::Effects| {
        context.model.load_balancer(id).map(show).ok_or_else(|| Kind::LoadBalancer.not_found())
    };
    Ok(Reply::Change(command, Box::new(render)))
}

pub(super) fn at_most_one_way(subnets: &[String], mappings: &[SubnetMapping]) -> Result<(), Error> {
    if subnets.is_empty() || mappings.is_empty() {
        return Ok(());
    }
    let message = "You must specify either subnets or subnet mappings, not both";
    Err(Error::at(Code::ValidationError, "SubnetMappings", message))
}

pub(super) fn subnet_mappings(params: &Params) -> Result<Vec<SubnetMapping>, Error> {
    let read = |mapping: Params| {
        absent(&mapping, "SourceNatIpv6Prefix", "IPv6 prefixes for source NAT are not supported here")?;
        let given = |key| mapping.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
        Ok(SubnetMapping {
            subnet: required(&mapping, "SubnetId")?.to_owned(),
            allocation_id: given("AllocationId"),
            private_ipv4_address: given("PrivateIPv4Address"),
            ipv6_address: given("IPv6Address"),
        })
    };
    params.structures("SubnetMappings")?.into_iter().map(read).collect()
}

/// Load balancers have no security groups here (SEC-01); an empty list says just that.
fn refuse_security_groups(params: &Params, kind: LoadBalancerType) -> Result<(), Error> {
    if params.list("SecurityGroups")?.iter().all(String::is_empty) {
        return Ok(());
    }
    let kind = type_name(kind);
    let message = format!("Security groups are not supported for load balancers with type '{kind}'");
    Err(Error::at(Code::InvalidConfigurationRequest, "SecurityGroups", message))
}

fn refuse_what_there_is_not(params: &Params) -> Result<(), Error> {
    if word(params, "EnablePrefixForIpv6SourceNat", &SWITCH)? == Some(true) {
        let why = "IPv6 prefixes for source NAT are not supported here, nor UDP for IPv6 clients";
        absent(params, "EnablePrefixForIpv6SourceNat", why)?;
    }
    Ok(())
}

/// All load balancers that are shown.
fn all(model: &Model) -> impl Iterator<Item = Balancer<'_>> {
    let network = model.load_balancers().filter(|lb| lb.classic.is_none()).map(Balancer::Network);
    network.chain(model.applications().map(Balancer::Application))
}

fn by_name<'m>(model: &'m Model, name: &str) -> Result<Balancer<'m>, Error> {
    all(model).find(|lb| name_of(*lb) == name).ok_or_else(|| {
        Error::new(Code::LoadBalancerNotFound, format!("Load balancers '[{}]' not found", printable(name)))
    })
}

fn by_id(model: &Model, wanted: Id) -> Result<Balancer<'_>, Error> {
    let id = |lb: &Balancer<'_>| match lb {
        Balancer::Network(lb) => lb.id,
        Balancer::Application(lb) => lb.id,
    };
    all(model).find(|lb| id(lb) == wanted).ok_or_else(|| Kind::LoadBalancer.not_found())
}

fn name_of(lb: Balancer<'_>) -> &str {
    match lb {
        Balancer::Network(lb) => &lb.name,
        Balancer::Application(lb) => &lb.name,
    }
}

const fn type_name(kind: LoadBalancerType) -> &'static str {
    match kind {
        LoadBalancerType::Network => "network",
        LoadBalancerType::Application => "application",
    }
}

fn element(model: &Model, lb: Balancer<'_>) -> Vec<Element> {
    let (shown, created_ms, zones) = match lb {
        Balancer::Network(lb) => (model.show_load_balancer(lb), lb.created_ms, zones(lb)),
        Balancer::Application(lb) => {
            let shown = model.show_application(lb);
            let zones = Element::list("AvailabilityZones", shown.availability_zones.iter().map(zone_of_application));
            (shown, lb.created_ms, zones)
        }
    };
    let scheme = SCHEMES.iter().find(|(_, scheme)| *scheme == shown.scheme).map_or("", |(word, _)| word);
    let mut state = vec![Element::text("Code", shown.state.code)];
    state.extend(shown.state.reason.map(|reason| Element::text("Reason", reason)));
    let mut all = vec![
        Element::text("LoadBalancerArn", shown.arn),
        Element::text("DNSName", shown.dns_name),
        Element::text("CanonicalHostedZoneId", shown.canonical_hosted_zone_id),
        Element::time("CreatedTime", created_ms),
        Element::text("LoadBalancerName", shown.name),
        Element::text("Scheme", scheme),
    ];
    all.extend(shown.network.map(|network| Element::text("VpcId", network)));
    all.extend([
        Element::parent("State", state),
        Element::text("Type", type_name(shown.kind)),
        zones,
        address_type(shown.ip_address_type),
    ]);
    all
}

pub(super) fn address_type(ip_address_type: IpAddressType) -> Element {
    let word = ADDRESS_TYPES.iter().find(|(_, known)| *known == ip_address_type).map_or("", |(word, _)| word);
    Element::text("IpAddressType", word)
}

fn zones(lb: &LoadBalancer) -> Element {
    Element::list("AvailabilityZones", lb.nodes.iter().map(zone))
}

/// A zone of a network load balancer. What clients connect to is always told; private and IPv6 addresses only if somebody asked
/// for them, as tools compare these with what they were told to ask for.
fn zone(node: &Node) -> Vec<Element> {
    let mut addresses = Vec::new();
    let client = node.static_address.as_ref().map_or(node.address, |it| it.address);
    let mut address = vec![Element::text("IpAddress", client)];
    address.extend(node.static_address.as_ref().map(|it| Element::text("AllocationId", &it.allocation_id)));
    let given = node.subnet.is_some() && !node.chosen.ipv4 && node.static_address.is_none();
    address.extend(given.then(|| Element::text("PrivateIPv4Address", node.address)));
    let ipv6 = node.ipv6_address.filter(|_| !node.chosen.ipv6);
    address.extend(ipv6.map(|ipv6| Element::text("IPv6Address", ipv6)));
    addresses.push(address);
    let mut all = vec![Element::text("ZoneName", &node.zone)];
    all.extend(node.subnet.as_ref().map(|subnet| Element::text("SubnetId", subnet)));
    all.push(Element::list("LoadBalancerAddresses", addresses));
    all
}

pub(super) fn zone_of_application(zone: &rest::AvailabilityZone) -> Vec<Element> {
    let mut all = vec![Element::text("ZoneName", &zone.zone_name)];
    all.extend(zone.subnet.as_ref().map(|subnet| Element::text("SubnetId", subnet)));
    all.push(Element::list("LoadBalancerAddresses", []));
    all
}

//! Networks (VPCs), their route tables, internet gateways and connections.

use std::collections::BTreeMap;

use ipnet::IpNet;
use leat_model::error::Shown;
use leat_model::rest::{Labels, NetworkSpec};
use leat_model::{Code, Error, Model, Site};

use super::select::{Kind, Object, answer, refuse_dry_run};
use super::{Answer, derived, tag_set};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// The tags of what the inventory does not name.
static NO_LABELS: Labels = Labels::new();

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let kind = Kind { set: "vpcSet", ids: "VpcId", name: "vpc ID", code: Code::NetworkNotFound };
    let site = context.model.site();
    answer(params, &kind, context.model.inventory().networks().map(|spec| Network { site, spec }))
}

struct Network<'m> {
    site: &'m Site,
    spec: &'m NetworkSpec,
}

impl Network<'_> {
    fn cidrs(&self, ipv6: bool) -> impl Iterator<Item = String> {
        self.spec.cidrs.iter().filter(move |net| net.addr().is_ipv6() == ipv6).map(ToString::to_string)
    }

    fn associations(&self, ipv6: bool) -> Vec<Vec<Element>> {
        let names = if ipv6 { ("ipv6CidrBlock", "ipv6CidrBlockState") } else { ("cidrBlock", "cidrBlockState") };
        let association = |cidr: String| {
            vec![
                Element::text("associationId", derived("vpc-cidr-assoc", &[&self.spec.id, &cidr])),
                Element::text(names.0, cidr),
                Element::parent(names.1, [Element::text("state", "associated")]),
            ]
        };
        self.cidrs(ipv6).map(association).collect()
    }
}

impl Object for Network<'_> {
    const FILTERS: &'static [&'static str] = &[
        "cidr",
        "cidr-block-association.cidr-block",
        "cidr-block-association.state",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.state",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
        "vpc-id",
    ];

    fn id(&self) -> String {
        self.spec.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        match filter {
            "cidr" => self.cidrs(false).take(1).collect(),
            "cidr-block-association.cidr-block" => self.cidrs(false).collect(),
            "cidr-block-association.state" => self.cidrs(false).map(|_| "associated".into()).collect(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => self.cidrs(true).collect(),
            "ipv6-cidr-block-association.state" => self.cidrs(true).map(|_| "associated".into()).collect(),
            "is-default" | "isDefault" => vec!["false".into()],
            "owner-id" => vec![self.site.account.clone()],
            "state" => vec!["available".into()],
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &self.spec.labels
    }

    fn show(&self) -> Vec<Element> {
        let mut content = vec![
            Element::text("vpcId", &self.spec.id),
            Element::text("ownerId", &self.site.account),
            Element::text("state", "available"),
        ];
        content.extend(self.cidrs(false).next().map(|cidr| Element::text("cidrBlock", cidr)));
        content.extend([
            Element::set("cidrBlockAssociationSet", self.associations(false)),
            Element::set("ipv6CidrBlockAssociationSet", self.associations(true)),
            Element::text("instanceTenancy", "default"),
            Element::text("isDefault", false),
            tag_set(&self.spec.labels),
        ]);
        content
    }
}

/// The names of load balancers are served, names of instances are not.
pub(super) fn vpc_attribute(context: &Context<'_>, params: &Params) -> Answer {
    let id = params.required("VpcId")?;
    if !context.model.inventory().networks().any(|network| network.id == id) {
        return Err(Error::at(Code::NetworkNotFound, "VpcId", format!("The vpc ID {} does not exist", Shown(id))));
    }
    let (name, value) = match params.required("Attribute")? {
        "enableDnsSupport" => ("enableDnsSupport", true),
        "enableDnsHostnames" => ("enableDnsHostnames", false),
        "enableNetworkAddressUsageMetrics" => ("enableNetworkAddressUsageMetrics", false),
        other => {
            let message = format!(
                "Value {} for parameter attribute is invalid; allowed are enableDnsSupport, enableDnsHostnames and \
                 enableNetworkAddressUsageMetrics",
                Shown(other)
            );
            return Err(Error::invalid("Attribute", message));
        }
    };
    refuse_dry_run(params)?;
    let value = Element::parent(name, [Element::text("value", value)]);
    Ok(Reply::Answer(vec![Element::text("vpcId", id), value]))
}

pub(super) fn account_attributes(_: &Context<'_>, params: &Params) -> Answer {
    let wanted = params.flat_list("AttributeName")?;
    let all = [("supported-platforms", "VPC"), ("default-vpc", "none")];
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|(known, _)| known == name)) {
        let message = format!(
            "The account attribute {} is unknown; known here are supported-platforms and default-vpc",
            Shown(unknown)
        );
        return Err(Error::invalid("AttributeName", message));
    }
    refuse_dry_run(params)?;
    let chosen = all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name));
    let items = chosen.map(|(name, value)| {
        let values = Element::set("attributeValueSet", [vec![Element::text("attributeValue", value)]]);
        vec![Element::text("attributeName", name), values]
    });
    Ok(Reply::Answer(vec![Element::set("accountAttributeSet", items)]))
}

pub(super) fn route_tables(context: &Context<'_>, params: &Params) -> Answer {
    let kind =
        Kind { set: "routeTableSet", ids: "RouteTableId", name: "routeTable ID", code: Code::RouteTableNotFound };
    let model = context.model;
    answer(params, &kind, model.inventory().networks().map(|network| RouteTable { model, network }))
}

/// The one route table of a network, its main one.
struct RouteTable<'m> {
    model: &'m Model,
    network: &'m NetworkSpec,
}

struct Route {
    to: IpNet,
    /// Element and value.
    via: (&'static str, String),
    origin: &'static str,
}

impl RouteTable<'_> {
    fn association_id(&self) -> String {
        derived("rtbassoc", &[&self.network.id])
    }

    fn routes(&self) -> Vec<Route> {
        let local = |to: &IpNet| Route { to: *to, via: ("gatewayId", "local".into()), origin: "CreateRouteTable" };
        let mut routes: Vec<_> = self.network.cidrs.iter().map(local).collect();
        let has = |ipv6: bool| self.network.cidrs.iter().any(|net| net.addr().is_ipv6() == ipv6);
        if self.network.internet_gateway {
            for ipv6 in [false, true] {
                let any = if ipv6 { IpNet::V6(Default::default()) } else { IpNet::V4(Default::default()) };
                if has(ipv6) {
                    routes.push(Route { to: any, via: ("gatewayId", gateway_id(self.network)), origin: "CreateRoute" });
                }
            }
        }
        let connected = connections(self.model);
        for peer in self.model.inventory().networks().filter(|it| it.id != self.network.id) {
            let pair = ordered(&self.network.id, &peer.id);
            let Some(id) = connected.get(&pair) else { continue };
            let route =
                |to: &IpNet| Route { to: *to, via: ("vpcPeeringConnectionId", id.clone()), origin: "CreateRoute" };
            routes.extend(peer.cidrs.iter().filter(|net| has(net.addr().is_ipv6())).map(route));
        }
        routes
    }
}

impl Object for RouteTable<'_> {
    const FILTERS: &'static [&'static str] = &[
        "association.gateway-id",
        "association.main",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "owner-id",
        "route-table-id",
        "route.destination-cidr-block",
        "route.destination-ipv6-cidr-block",
        "route.gateway-id",
        "route.origin",
        "route.state",
        "route.vpc-peering-connection-id",
        "vpc-id",
    ];

    fn id(&self) -> String {
        derived("rtb", &[&self.network.id])
    }

    fn values(&self, filter: &str) -> Vec<String> {
        let to = |ipv6: bool| {
            let routes = self.routes().into_iter().filter(move |route| route.to.addr().is_ipv6() == ipv6);
            routes.map(|route| route.to.to_string()).collect()
        };
        let via = |name: &str| {
            let routes = self.routes().into_iter().filter(|route| route.via.0 == name);
            routes.map(|route| route.via.1).collect()
        };
        match filter {
            // Subnets use the main table without being associated with it.
            "association.gateway-id" | "association.subnet-id" => Vec::new(),
            "association.main" => vec!["true".into()],
            "association.route-table-association-id" => vec![self.association_id()],
            "owner-id" => vec![self.model.site().account.clone()],
            "route.destination-cidr-block" => to(false),
            "route.destination-ipv6-cidr-block" => to(true),
            "route.gateway-id" => via("gatewayId"),
            "route.vpc-peering-connection-id" => via("vpcPeeringConnectionId"),
            "route.origin" => self.routes().into_iter().map(|route| route.origin.to_owned()).collect(),
            "route.state" => vec!["active".into()],
            "vpc-id" => vec![self.network.id.clone()],
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        let route = |route: Route| {
            let to = if route.to.addr().is_ipv6() { "destinationIpv6CidrBlock" } else { "destinationCidrBlock" };
            vec![
                Element::text(to, route.to),
                Element::text(route.via.0, route.via.1),
                Element::text("state", "active"),
                Element::text("origin", route.origin),
            ]
        };
        let association = vec![
            Element::text("routeTableAssociationId", self.association_id()),
            Element::text("routeTableId", self.id()),
            Element::text("main", true),
            Element::parent("associationState", [Element::text("state", "associated")]),
        ];
        vec![
            Element::text("routeTableId", self.id()),
            Element::text("vpcId", &self.network.id),
            Element::text("ownerId", &self.model.site().account),
            Element::set("routeSet", self.routes().into_iter().map(route)),
            Element::set("associationSet", [association]),
            Element::set("propagatingVgwSet", []),
            tag_set(&NO_LABELS),
        ]
    }
}

pub(super) fn internet_gateways(context: &Context<'_>, params: &Params) -> Answer {
    let kind = Kind {
        set: "internetGatewaySet",
        ids: "InternetGatewayId",
        name: "internetGateway ID",
        code: Code::InternetGatewayNotFound,
    };
    let open = context.model.inventory().networks().filter(|network| network.internet_gateway);
    let site = context.model.site();
    answer(params, &kind, open.map(|network| Gateway { site, network }))
}

fn gateway_id(network: &NetworkSpec) -> String {
    derived("igw", &[&network.id])
}

struct Gateway<'m> {
    site: &'m Site,
    network: &'m NetworkSpec,
}

impl Object for Gateway<'_> {
    const FILTERS: &'static [&'static str] =
        &["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];

    fn id(&self) -> String {
        gateway_id(self.network)
    }

    fn values(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "attachment.state" => "available".into(),
            "attachment.vpc-id" => self.network.id.clone(),
            "owner-id" => self.site.account.clone(),
            _ => self.id(),
        }]
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        let attachment = vec![Element::text("vpcId", &self.network.id), Element::text("state", "available")];
        vec![
            Element::text("internetGatewayId", self.id()),
            Element::text("ownerId", &self.site.account),
            Element::set("attachmentSet", [attachment]),
            tag_set(&NO_LABELS),
        ]
    }
}

fn ordered(a: &str, b: &str) -> (String, String) {
    if a < b { (a.to_owned(), b.to_owned()) } else { (b.to_owned(), a.to_owned()) }
}

/// The pairs of networks of which one names the other as its peer, with the connection's id.
fn connections(model: &Model) -> BTreeMap<(String, String), String> {
    let networks = || model.inventory().networks();
    let pairs = networks().flat_map(|network| network.peers.iter().map(|peer| ordered(&network.id, peer)));
    let declared = pairs.filter(|(a, b)| a != b && [a, b].iter().all(|id| networks().any(|it| it.id == **id)));
    declared.map(|pair| (pair.clone(), derived("pcx", &[&pair.0, &pair.1]))).collect()
}

pub(super) fn peerings(context: &Context<'_>, params: &Params) -> Answer {
    let kind = Kind {
        set: "vpcPeeringConnectionSet",
        ids: "VpcPeeringConnectionId",
        name: "vpcPeeringConnection ID",
        code: Code::PeeringNotFound,
    };
    let model = context.model;
    let network = |id: &str| model.inventory().networks().find(|network| network.id == id);
    let all = connections(model).into_iter().filter_map(|((a, b), id)| {
        Some(Peering { site: model.site(), id, requester: network(&a)?, accepter: network(&b)? })
    });
    answer(params, &kind, all)
}

struct Peering<'m> {
    site: &'m Site,
    id: String,
    requester: &'m NetworkSpec,
    accepter: &'m NetworkSpec,
}

impl Object for Peering<'_> {
    const FILTERS: &'static [&'static str] = &[
        "accepter-vpc-info.owner-id",
        "accepter-vpc-info.vpc-id",
        "requester-vpc-info.owner-id",
        "requester-vpc-info.vpc-id",
        "status-code",
        "vpc-peering-connection-id",
    ];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "accepter-vpc-info.vpc-id" => self.accepter.id.clone(),
            "requester-vpc-info.vpc-id" => self.requester.id.clone(),
            "accepter-vpc-info.owner-id" | "requester-vpc-info.owner-id" => self.site.account.clone(),
            "status-code" => "active".into(),
            _ => self.id(),
        }]
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        let side = |name, spec: &NetworkSpec| {
            let network = Network { site: self.site, spec };
            let mut content = vec![
                Element::text("ownerId", &self.site.account),
                Element::text("vpcId", &spec.id),
                Element::text("region", &self.site.region),
            ];
            content.extend(network.cidrs(false).next().map(|cidr| Element::text("cidrBlock", cidr)));
            let set =
                |name, item, ipv6| Element::set(name, network.cidrs(ipv6).map(|cidr| vec![Element::text(item, cidr)]));
            content.push(set("cidrBlockSet", "cidrBlock", false));
            content.push(set("ipv6CidrBlockSet", "ipv6CidrBlock", true));
            Element::parent(name, content)
        };
        vec![
            Element::text("vpcPeeringConnectionId", &self.id),
            side("requesterVpcInfo", self.requester),
            side("accepterVpcInfo", self.accepter),
            Element::parent("status", [Element::text("code", "active"), Element::text("message", "Active")]),
            tag_set(&NO_LABELS),
        ]
    }
}

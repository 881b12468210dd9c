//! Subnets and availability zones.

use ipnet::IpNet;
use leat_model::rest::{Labels, SubnetSpec, Zone, ZoneKind};
use leat_model::{Code, Error, Model, Site};

use super::select::{Kind, Object, answer, select};
use super::{Answer, arn, derived, tag_set};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let kind = Kind { set: "subnetSet", ids: "SubnetId", name: "subnet ID", code: Code::SubnetNotFound };
    let model = context.model;
    answer(params, &kind, model.inventory().subnets().map(|spec| Subnet { model, spec }))
}

struct Subnet<'m> {
    model: &'m Model,
    spec: &'m SubnetSpec,
}

impl Object for Subnet<'_> {
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "availabilityZone",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "default-for-az",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.state",
        "map-public-ip-on-launch",
        "owner-id",
        "state",
        "subnet-arn",
        "subnet-id",
        "vpc-id",
    ];

    fn id(&self) -> String {
        self.spec.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        let ipv6 = self.spec.ipv6_cidr.iter();
        match filter {
            "availability-zone" | "availability-zone-id" | "availabilityZone" => vec![self.spec.zone.clone()],
            "available-ip-address-count" => vec![self.model.free_addresses(&self.spec.id).to_string()],
            "cidr" | "cidr-block" | "cidrBlock" => vec![self.spec.cidr.to_string()],
            "default-for-az" | "map-public-ip-on-launch" => vec!["false".into()],
            "ipv6-cidr-block-association.ipv6-cidr-block" => ipv6.map(ToString::to_string).collect(),
            "ipv6-cidr-block-association.state" => ipv6.map(|_| "associated".into()).collect(),
            "owner-id" => vec![self.model.site().account.clone()],
            "state" => vec!["available".into()],
            "subnet-arn" => vec![arn(self.model.site(), "subnet", &self.spec.id)],
            "vpc-id" => vec![self.spec.network.clone()],
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &self.spec.labels
    }

    fn show(&self) -> Vec<Element> {
        let spec = self.spec;
        let association = |net: &IpNet| {
            vec![
                Element::text("associationId", derived("subnet-cidr-assoc", &[&spec.id, &net.to_string()])),
                Element::text("ipv6CidrBlock", net),
                Element::parent("ipv6CidrBlockState", [Element::text("state", "associated")]),
            ]
        };
        vec![
            Element::text("subnetId", &spec.id),
            Element::text("subnetArn", arn(self.model.site(), "subnet", &spec.id)),
            Element::text("state", "available"),
            Element::text("ownerId", &self.model.site().account),
            Element::text("vpcId", &spec.network),
            Element::text("cidrBlock", spec.cidr),
            Element::set("ipv6CidrBlockAssociationSet", spec.ipv6_cidr.iter().map(association)),
            Element::text("availableIpAddressCount", self.model.free_addresses(&self.spec.id)),
            Element::text("availabilityZone", &spec.zone),
            Element::text("availabilityZoneId", &spec.zone),
            Element::text("defaultForAz", false),
            Element::text("mapPublicIpOnLaunch", false),
            Element::text("assignIpv6AddressOnCreation", false),
            Element::text("ipv6Native", false),
            tag_set(&spec.labels),
        ]
    }
}

pub(super) fn zones(context: &Context<'_>, params: &Params) -> Answer {
    let (site, inventory) = (context.model.site(), context.model.inventory());
    for list in ["ZoneName", "ZoneId"] {
        let wanted = params.flat_list(list)?;
        if let Some(unknown) = wanted.iter().find(|name| !inventory.zones().any(|zone| zone.name == **name)) {
            let unknown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
            let message = format!("Invalid availability zone: [{unknown}]");
            return Err(Error::invalid(params.name(list), message));
        }
    }
    let by_id = params.flat_list("ZoneId")?;
    // A zone's id is its name.
    let kind = Kind { set: "availabilityZoneInfo", ids: "ZoneName", name: "zone", code: Code::ValidationError };
    let all = inventory.zones().map(|zone| ZoneObject { site, zone });
    let (zones, _) = select(params, &kind, all.filter(|it| by_id.is_empty() || by_id.contains(&it.zone.name)))?;
    Ok(Reply::Answer(vec![Element::set(kind.set, zones.iter().map(Object::show))]))
}

struct ZoneObject<'m> {
    site: &'m Site,
    zone: &'m Zone,
}

static NO_LABELS: Labels = Labels::new();

impl ZoneObject<'_> {
    fn kind(&self) -> &'static str {
        match self.zone.kind {
            ZoneKind::AvailabilityZone => "availability-zone",
            ZoneKind::LocalZone => "local-zone",
        }
    }

    fn state(&self) -> &'static str {
        if self.zone.constrained { "constrained" } else { "available" }
    }
}

impl Object for ZoneObject<'_> {
    const FILTERS: &'static [&'static str] =
        &["group-name", "opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"];

    fn id(&self) -> String {
        self.zone.name.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "group-name" | "region-name" => self.site.region.clone(),
            "opt-in-status" => "opt-in-not-required".into(),
            "state" => self.state().into(),
            "zone-type" => self.kind().into(),
            _ => self.id(),
        }]
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        vec![
            Element::text("zoneName", &self.zone.name),
            Element::text("zoneId", &self.zone.name),
            Element::text("zoneState", self.state()),
            Element::text("zoneType", self.kind()),
            Element::text("regionName", &self.site.region),
            Element::text("groupName", &self.site.region),
            Element::text("networkBorderGroup", &self.site.region),
            Element::text("optInStatus", "opt-in-not-required"),
            Element::set("messageSet", []),
        ]
    }
}

//! Network interfaces of load balancers and instances, static addresses, security groups.

use std::net::{IpAddr, Ipv4Addr};

use leat_model::error::Shown;
use leat_model::rest::{self, Labels, StaticAddressSpec};
use leat_model::{Code, Error, Model};

use super::instances::Instance;
use super::select::{Kind, Object, answer, select};
use super::{Answer, derived, tag_set};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// Who attaches interfaces of network load balancers, as Terraform looks for them.
const ATTACHED_BY: &str = "amazon-aws";
/// Who made them.
const REQUESTED_BY: &str = "amazon-elb";

static NO_LABELS: Labels = Labels::new();

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let kind = Kind {
        set: "networkInterfaceSet",
        ids: "NetworkInterfaceId",
        name: "networkInterface ID",
        code: Code::NetworkInterfaceNotFound,
    };
    let model = context.model;
    let shown = model.interfaces();
    let inventory = model.inventory();
    let instances: Vec<_> =
        inventory.instances().map(|spec| Instance { model, spec, subnet: inventory.subnet(&spec.subnet) }).collect();
    let of_load_balancers = shown.iter().map(|it| Interface::of_load_balancer(model, it));
    answer(params, &kind, of_load_balancers.chain(instances.iter().map(Interface::of_instance)))
}

/// The id of an interface's attachment.
pub(super) fn attachment_of(interface: &str) -> String {
    derived("eni-attach", &[interface])
}

/// A network interface.
pub(super) struct Interface<'m> {
    model: &'m Model,
    id: String,
    description: String,
    zone: String,
    subnet: Option<String>,
    network: Option<String>,
    /// The first one is the primary one.
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<String>,
    /// Allocation id and address.
    public: Option<(String, Ipv4Addr)>,
    /// Of an instance; none: of a load balancer.
    instance: Option<String>,
}

impl<'m> Interface<'m> {
    fn of_load_balancer(model: &'m Model, it: &rest::Interface) -> Self {
        let lb = model.find_load_balancer(&it.load_balancer_arn).ok();
        let node = lb.and_then(|lb| lb.nodes.iter().find(|node| node.zone == it.zone));
        let public = node.and_then(|node| node.static_address.as_ref());
        let public = public.map(|public| (public.allocation_id.clone(), public.address));
        let (mut ipv4, mut ipv6) = (vec![it.private_ipv4_address], Vec::new());
        for address in &it.addresses {
            match address {
                IpAddr::V4(v4) if ipv4.contains(v4) || public.as_ref().is_some_and(|(_, public)| public == v4) => {}
                IpAddr::V4(v4) => ipv4.push(*v4),
                IpAddr::V6(v6) => ipv6.push(v6.to_string()),
            }
        }
        Self {
            model,
            id: it.id.clone(),
            description: it.description.clone(),
            zone: it.zone.clone(),
            subnet: it.subnet.clone(),
            network: it.network.clone(),
            ipv4,
            ipv6,
            public,
            instance: None,
        }
    }

    pub(super) fn of_instance(instance: &Instance<'m>) -> Self {
        let spec = instance.spec;
        let others = || spec.other_addresses.iter();
        let more = others().filter_map(|it| if let IpAddr::V4(v4) = it { Some(*v4) } else { None });
        Self {
            model: instance.model,
            id: derived("eni", &[&spec.id]),
            description: String::new(),
            zone: instance.subnet.map_or_else(String::new, |subnet| subnet.zone.clone()),
            subnet: Some(spec.subnet.clone()),
            network: instance.subnet.map(|subnet| subnet.network.clone()),
            ipv4: [spec.address].into_iter().chain(more).collect(),
            ipv6: others().filter(|it| it.is_ipv6()).map(ToString::to_string).collect(),
            public: None,
            instance: Some(spec.id.clone()),
        }
    }

    fn attached_by(&self) -> &str {
        if self.instance.is_some() { &self.model.site().account } else { ATTACHED_BY }
    }

    fn kind(&self) -> &'static str {
        if self.instance.is_some() { "interface" } else { "network_load_balancer" }
    }

    fn association(&self) -> Option<Element> {
        let (id, address) = self.public.as_ref()?;
        Some(Element::parent(
            "association",
            [
                Element::text("allocationId", id),
                Element::text("associationId", derived("eipassoc", &[id, &self.id])),
                Element::text("ipOwnerId", &self.model.site().account),
                Element::text("publicIp", address),
            ],
        ))
    }
}

impl Object for Interface<'_> {
    const FILTERS: &'static [&'static str] = &[
        "addresses.association.public-ip",
        "addresses.primary",
        "addresses.private-ip-address",
        "association.allocation-id",
        "association.association-id",
        "association.public-ip",
        "attachment.attachment-id",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "interface-type",
        "ipv6-addresses.ipv6-address",
        "network-interface-id",
        "owner-id",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        let public = self.public.iter();
        match filter {
            "addresses.association.public-ip" | "association.public-ip" => {
                public.map(|(_, ip)| ip.to_string()).collect()
            }
            "addresses.primary" => vec!["true".into()],
            "addresses.private-ip-address" => self.ipv4.iter().map(ToString::to_string).collect(),
            "association.allocation-id" => public.map(|(id, _)| id.clone()).collect(),
            "association.association-id" => public.map(|(id, _)| derived("eipassoc", &[id, &self.id])).collect(),
            "attachment.attachment-id" => vec![attachment_of(&self.id)],
            "attachment.instance-id" => self.instance.iter().cloned().collect(),
            "attachment.instance-owner-id" => vec![self.attached_by().to_owned()],
            "attachment.status" => vec!["attached".into()],
            "availability-zone" => vec![self.zone.clone()],
            "description" => vec![self.description.clone()],
            // There are no security groups.
            "group-id" => Vec::new(),
            "interface-type" => vec![self.kind().into()],
            "ipv6-addresses.ipv6-address" => self.ipv6.clone(),
            "owner-id" => vec![self.model.site().account.clone()],
            "private-ip-address" => self.ipv4.iter().take(1).map(ToString::to_string).collect(),
            "requester-id" if self.instance.is_none() => vec![REQUESTED_BY.into()],
            "requester-id" => Vec::new(),
            "requester-managed" => vec![self.instance.is_none().to_string()],
            "status" => vec!["in-use".into()],
            "subnet-id" => self.subnet.iter().cloned().collect(),
            "vpc-id" => self.network.iter().cloned().collect(),
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        let mut attachment = vec![
            Element::text("attachmentId", attachment_of(&self.id)),
            Element::text("instanceOwnerId", self.attached_by()),
            Element::text("deviceIndex", u8::from(self.instance.is_none())),
            Element::text("status", "attached"),
            Element::text("deleteOnTermination", self.instance.is_some()),
        ];
        attachment.extend(self.instance.as_ref().map(|id| Element::text("instanceId", id)));
        let private = self.ipv4.iter().enumerate().map(|(at, address)| {
            let mut item = vec![Element::text("privateIpAddress", address), Element::text("primary", at == 0)];
            item.extend(self.association().filter(|_| at == 0));
            item
        });
        let mut content = vec![Element::text("networkInterfaceId", &self.id)];
        content.extend(self.subnet.as_ref().map(|id| Element::text("subnetId", id)));
        content.extend(self.network.as_ref().map(|id| Element::text("vpcId", id)));
        content.extend([
            Element::text("availabilityZone", &self.zone),
            Element::text("description", &self.description),
            Element::text("ownerId", &self.model.site().account),
        ]);
        if self.instance.is_none() {
            content.push(Element::text("requesterId", REQUESTED_BY));
        }
        content.extend([
            Element::text("requesterManaged", self.instance.is_none()),
            Element::text("status", "in-use"),
            Element::text("sourceDestCheck", self.instance.is_some()),
            Element::text("interfaceType", self.kind()),
            Element::set("groupSet", []),
            Element::parent("attachment", attachment),
        ]);
        content.extend(self.association());
        content.extend(self.ipv4.first().map(|address| Element::text("privateIpAddress", address)));
        let ipv6 = self.ipv6.iter().map(|address| vec![Element::text("ipv6Address", address)]);
        content.extend([
            Element::set("privateIpAddressesSet", private),
            Element::set("ipv6AddressesSet", ipv6),
            tag_set(&NO_LABELS),
        ]);
        content
    }
}

pub(super) fn addresses(context: &Context<'_>, params: &Params) -> Answer {
    let kind =
        Kind { set: "addressesSet", ids: "AllocationId", name: "allocation ID", code: Code::AllocationIdNotFound };
    let model = context.model;
    let public = params.flat_list("PublicIp")?;
    let known = |ip: &String| model.inventory().static_addresses().any(|it| it.address.to_string() == *ip);
    if let Some(unknown) = public.iter().find(|ip| !known(ip)) {
        let message = format!("Address {} not found.", Shown(unknown));
        return Err(Error::at(Code::AllocationIdNotFound, params.name("PublicIp"), message));
    }
    let interfaces = model.interfaces();
    let all = model.inventory().static_addresses().map(|spec| {
        let mut of_load_balancers = interfaces.iter().map(|it| Interface::of_load_balancer(model, it));
        let user = of_load_balancers.find(|it| it.public.as_ref().is_some_and(|(id, _)| *id == spec.id));
        Address { model, spec, user }
    });
    let chosen = all.filter(|it| public.is_empty() || public.contains(&it.spec.address.to_string()));
    // The list has no pages.
    let (addresses, _) = select(params, &kind, chosen)?;
    Ok(Reply::Answer(vec![Element::set(kind.set, addresses.iter().map(Object::show))]))
}

/// A static address, and the interface that has it.
struct Address<'m> {
    model: &'m Model,
    spec: &'m StaticAddressSpec,
    user: Option<Interface<'m>>,
}

impl Address<'_> {
    fn association_id(&self) -> Option<String> {
        self.user.as_ref().map(|user| derived("eipassoc", &[&self.spec.id, &user.id]))
    }

    fn private(&self) -> Option<Ipv4Addr> {
        self.user.as_ref().and_then(|user| user.ipv4.first().copied())
    }
}

impl Object for Address<'_> {
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "network-interface-id",
        "network-interface-owner-id",
        "private-ip-address",
        "public-ip",
    ];

    fn id(&self) -> String {
        self.spec.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        let user = self.user.iter();
        match filter {
            "association-id" => self.association_id().into_iter().collect(),
            "domain" => vec!["vpc".into()],
            "network-interface-id" => user.map(|user| user.id.clone()).collect(),
            "network-interface-owner-id" => user.map(|_| self.model.site().account.clone()).collect(),
            "private-ip-address" => self.private().map(|it| it.to_string()).into_iter().collect(),
            "public-ip" => vec![self.spec.address.to_string()],
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &NO_LABELS
    }

    fn show(&self) -> Vec<Element> {
        let mut content = vec![
            Element::text("allocationId", &self.spec.id),
            Element::text("publicIp", self.spec.address),
            Element::text("domain", "vpc"),
            Element::text("networkBorderGroup", &self.model.site().region),
            tag_set(&NO_LABELS),
        ];
        if let Some(user) = &self.user {
            content.extend(self.association_id().map(|id| Element::text("associationId", id)));
            content.push(Element::text("networkInterfaceId", &user.id));
            content.push(Element::text("networkInterfaceOwnerId", &self.model.site().account));
            content.extend(self.private().map(|address| Element::text("privateIpAddress", address)));
        }
        content
    }
}

/// There are none: load balancers have no security groups here, and instances' are not declared.
pub(super) fn security_groups(_: &Context<'_>, params: &Params) -> Answer {
    let wanted = [params.flat_list("GroupId")?, params.flat_list("GroupName")?].concat();
    if let Some(unknown) = wanted.first() {
        let message = format!("The security group {} does not exist", Shown(unknown));
        return Err(Error::at(Code::InvalidSecurityGroup, "GroupId", message));
    }
    let kind =
        Kind { set: "securityGroupInfo", ids: "GroupId", name: "security group", code: Code::InvalidSecurityGroup };
    answer(params, &kind, std::iter::empty::<NoGroup>())
}

enum NoGroup {}

impl Object for NoGroup {
    const FILTERS: &'static [&'static str] = &["description", "group-id", "group-name", "owner-id", "vpc-id"];

    fn id(&self) -> String {
        match *self {}
    }

    fn values(&self, _: &str) -> Vec<String> {
        match *self {}
    }

    fn labels(&self) -> &Labels {
        match *self {}
    }

    fn show(&self) -> Vec<Element> {
        match *self {}
    }
}

//! Instances.

use std::net::IpAddr;

use leat_model::rest::{InstanceSpec, InstanceState, Labels, SubnetSpec};
use leat_model::{Code, Model};

use super::interfaces::Interface;
use super::select::{Kind, Object, answer, select};
use super::{Answer, derived, tag_set};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

const KIND: Kind = Kind { set: "reservationSet", ids: "InstanceId", name: "instance ID", code: Code::InstanceNotFound };

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    answer(params, &KIND, instances(context.model))
}

fn instances(model: &Model) -> impl Iterator<Item = Instance<'_>> {
    let inventory = model.inventory();
    inventory.instances().map(move |spec| Instance { model, spec, subnet: inventory.subnet(&spec.subnet) })
}

/// An instance, alone in its reservation.
pub(super) struct Instance<'m> {
    pub(super) model: &'m Model,
    pub(super) spec: &'m InstanceSpec,
    pub(super) subnet: Option<&'m SubnetSpec>,
}

impl Instance<'_> {
    fn zone(&self) -> &str {
        self.subnet.map_or("", |subnet| &subnet.zone)
    }

    fn network(&self) -> &str {
        self.subnet.map_or("", |subnet| &subnet.network)
    }

    fn reservation_id(&self) -> String {
        derived("r", &[&self.spec.id])
    }

    /// EC2's number and name.
    fn state(&self) -> (u8, &'static str) {
        match self.spec.state {
            InstanceState::Pending => (0, "pending"),
            InstanceState::Running => (16, "running"),
            InstanceState::ShuttingDown => (32, "shutting-down"),
            InstanceState::Terminated => (48, "terminated"),
            InstanceState::Stopping => (64, "stopping"),
            InstanceState::Stopped => (80, "stopped"),
        }
    }

    fn state_element(&self) -> Element {
        let (number, name) = self.state();
        Element::parent("instanceState", [Element::text("code", number), Element::text("name", name)])
    }

    fn interface(&self) -> Interface<'_> {
        Interface::of_instance(self)
    }
}

impl Object for Instance<'_> {
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "instance-id",
        "instance-state-code",
        "instance-state-name",
        "instance.group-id",
        "network-interface.addresses.private-ip-address",
        "network-interface.availability-zone",
        "network-interface.ipv6-addresses.ipv6-address",
        "network-interface.network-interface-id",
        "network-interface.private-ip-address",
        "network-interface.subnet-id",
        "network-interface.vpc-id",
        "owner-id",
        "private-ip-address",
        "reservation-id",
        "subnet-id",
        "vpc-id",
    ];

    fn id(&self) -> String {
        self.spec.id.clone()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        let others = self.spec.other_addresses.iter();
        match filter {
            "availability-zone" | "network-interface.availability-zone" => vec![self.zone().into()],
            "instance-state-code" => vec![self.state().0.to_string()],
            "instance-state-name" => vec![self.state().1.into()],
            // There are no security groups.
            "instance.group-id" => Vec::new(),
            "network-interface.addresses.private-ip-address" => {
                let others = others.filter(|it| it.is_ipv4()).map(ToString::to_string);
                others.chain([self.spec.address.to_string()]).collect()
            }
            "network-interface.ipv6-addresses.ipv6-address" => {
                others.filter(|it| it.is_ipv6()).map(ToString::to_string).collect()
            }
            "network-interface.network-interface-id" => vec![self.interface().id()],
            "network-interface.private-ip-address" | "private-ip-address" => vec![self.spec.address.to_string()],
            "network-interface.subnet-id" | "subnet-id" => vec![self.spec.subnet.clone()],
            "network-interface.vpc-id" | "vpc-id" => vec![self.network().into()],
            "owner-id" => vec![self.model.site().account.clone()],
            "reservation-id" => vec![self.reservation_id()],
            _ => vec![self.id()],
        }
    }

    fn labels(&self) -> &Labels {
        &self.spec.labels
    }

    /// The reservation.
    fn show(&self) -> Vec<Element> {
        let mut content = vec![
            Element::text("instanceId", &self.spec.id),
            self.state_element(),
            Element::parent(
                "placement",
                [Element::text("availabilityZone", self.zone()), Element::text("tenancy", "default")],
            ),
            Element::text("subnetId", &self.spec.subnet),
            Element::text("vpcId", self.network()),
            Element::text("privateIpAddress", self.spec.address),
            Element::text("sourceDestCheck", true),
            Element::set("groupSet", []),
            Element::set("networkInterfaceSet", [self.interface().show()]),
            tag_set(&self.spec.labels),
        ];
        let ipv6 = self.spec.other_addresses.iter().find(|it| it.is_ipv6());
        content.extend(ipv6.map(|address: &IpAddr| Element::text("ipv6Address", address)));
        vec![
            Element::text("reservationId", self.reservation_id()),
            Element::text("ownerId", &self.model.site().account),
            Element::set("groupSet", []),
            Element::set("instancesSet", [content]),
        ]
    }
}

/// As in AWS, instances that do not run are there only when all are asked for.
pub(super) fn statuses(context: &Context<'_>, params: &Params) -> Answer {
    let all = params.switch("IncludeAllInstances")?.unwrap_or(false);
    let (instances, token) = select(params, &KIND, instances(context.model).map(Status))?;
    let shown = instances.iter().filter(|it| all || it.0.spec.state == InstanceState::Running).map(Object::show);
    let mut content = vec![Element::set("instanceStatusSet", shown)];
    content.extend(token.map(|token| Element::text("nextToken", token)));
    Ok(Reply::Answer(content))
}

/// What is known of an instance's state. Whether it works is not looked at.
struct Status<'m>(Instance<'m>);

impl Object for Status<'_> {
    const FILTERS: &'static [&'static str] = &["availability-zone", "instance-state-code", "instance-state-name"];

    fn id(&self) -> String {
        self.0.id()
    }

    fn values(&self, filter: &str) -> Vec<String> {
        self.0.values(filter)
    }

    fn labels(&self) -> &Labels {
        self.0.labels()
    }

    fn show(&self) -> Vec<Element> {
        let unknown = |name| Element::parent(name, [Element::text("status", "not-applicable")]);
        vec![
            Element::text("instanceId", self.id()),
            Element::text("availabilityZone", self.0.zone()),
            self.0.state_element(),
            unknown("systemStatus"),
            unknown("instanceStatus"),
        ]
    }
}

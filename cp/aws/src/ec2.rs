//! EC2: what the inventory declares, read only, as tools look for networks, subnets and instances. What AWS has and the inventory has
//! not is made of it: a network has one route table and, if it is open to the internet, one internet gateway; instances and load
//! balancers have network interfaces.

mod instances;
mod interfaces;
mod networks;
mod select;
mod subnets;

use leat_model::rest::{Labels, Role};
use leat_model::{Code, Error, Site};
use sha2::{Digest, Sha256};

use crate::operation::{Context, Operation, QueryHandler, Reply, Service, Support};
use crate::params::Params;
use crate::xml::Element;

type Answer = Result<Reply<Vec<Element>>, Error>;

const fn read(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Ec2, name, Role::Read, run)
}

const fn refused(name: &'static str) -> Operation {
    Operation::query(Service::Ec2, name, Role::Admin, refuse).noted(Support::Refused, "`UnsupportedOperation`")
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    read("DescribeAccountAttributes", networks::account_attributes),
    read("DescribeAddresses", interfaces::addresses),
    read("DescribeAvailabilityZones", subnets::zones),
    read("DescribeInstanceStatus", instances::statuses),
    read("DescribeInstances", instances::describe),
    read("DescribeInternetGateways", networks::internet_gateways),
    read("DescribeNetworkInterfaces", interfaces::describe),
    read("DescribeRouteTables", networks::route_tables),
    read("DescribeSecurityGroups", interfaces::security_groups),
    read("DescribeSubnets", subnets::describe),
    read("DescribeVpcAttribute", networks::vpc_attribute),
    read("DescribeVpcPeeringConnections", networks::peerings),
    read("DescribeVpcs", networks::describe),
    refused("AllocateAddress"),
    refused("AssignIpv6Addresses"),
    refused("AssignPrivateIpAddresses"),
    refused("AssociateAddress"),
    refused("AssociateRouteTable"),
    refused("AttachInternetGateway"),
    refused("AttachNetworkInterface"),
    refused("AuthorizeSecurityGroupEgress"),
    refused("AuthorizeSecurityGroupIngress"),
    refused("CreateInternetGateway"),
    refused("CreateNetworkInterface"),
    refused("CreateRoute"),
    refused("CreateRouteTable"),
    refused("CreateSecurityGroup"),
    refused("CreateSubnet"),
    refused("CreateTags"),
    refused("CreateVpc"),
    refused("CreateVpcPeeringConnection"),
    refused("DeleteInternetGateway"),
    refused("DeleteNetworkInterface"),
    refused("DeleteRoute"),
    refused("DeleteRouteTable"),
    refused("DeleteSecurityGroup"),
    refused("DeleteSubnet"),
    refused("DeleteTags"),
    refused("DeleteVpc"),
    refused("DeleteVpcPeeringConnection"),
    refused("DetachInternetGateway"),
    refused("DetachNetworkInterface"),
    refused("DisassociateAddress"),
    refused("ModifyInstanceAttribute"),
    refused("ModifyNetworkInterfaceAttribute"),
    refused("ModifySubnetAttribute"),
    refused("ModifyVpcAttribute"),
    refused("RebootInstances"),
    refused("ReleaseAddress"),
    refused("ResetNetworkInterfaceAttribute"),
    refused("RevokeSecurityGroupEgress"),
    refused("RevokeSecurityGroupIngress"),
    refused("RunInstances"),
    refused("StartInstances"),
    refused("StopInstances"),
    refused("TerminateInstances"),
    refused("UnassignIpv6Addresses"),
    refused("UnassignPrivateIpAddresses"),
];

/// EC2's names of error codes.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::ValidationError => "InvalidParameterValue",
        Code::NetworkNotFound => "InvalidVpcID.NotFound",
        Code::SubnetNotFound => "InvalidSubnetID.NotFound",
        Code::InstanceNotFound => "InvalidInstanceID.NotFound",
        Code::AllocationIdNotFound => "InvalidAllocationID.NotFound",
        Code::NetworkInterfaceNotFound => "InvalidNetworkInterfaceID.NotFound",
        Code::RouteTableNotFound => "InvalidRouteTableID.NotFound",
        Code::InternetGatewayNotFound => "InvalidInternetGatewayID.NotFound",
        Code::PeeringNotFound => "InvalidVpcPeeringConnectionID.NotFound",
        Code::InvalidSecurityGroup => "InvalidGroup.NotFound",
        Code::AccessDenied => "UnauthorizedOperation",
        Code::Throttling => "RequestLimitExceeded",
        Code::MissingAuthenticationToken | Code::InvalidClientTokenId | Code::SignatureDoesNotMatch => "AuthFailure",
        code => code.name(),
    }
}

/// Everything that would change something: interfaces of load balancers are the load balancers' (ZN-11), all else is declared.
fn refuse(context: &Context<'_>, params: &Params) -> Answer {
    let attachment = params.get("AttachmentId");
    let id = params.get("NetworkInterfaceId");
    let interfaces = context.model.interfaces();
    let is_it = |it: &&leat_model::rest::Interface| {
        Some(&*it.id) == id || attachment.is_some_and(|wanted| wanted == interfaces::attachment_of(&it.id))
    };
    if let Some(interface) = interfaces.iter().find(is_it) {
        let message = format!(
            "The network interface {} ({}) belongs to its load balancer and cannot be changed; change the load balancer",
            interface.id, interface.description
        );
        return Err(Error::new(Code::OperationNotPermitted, message));
    }
    let message = "The inventory is what the operator has declared; change it by PUT /v1/inventory";
    Err(Error::new(Code::UnsupportedOperation, message))
}

/// The id of something that the inventory does not name: always the same for the same origin, in AWS's form.
fn derived(prefix: &str, origin: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in origin {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digits: String = hash.finalize().iter().take(9).map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}-{}", &digits[..17])
}

fn tag_set(labels: &Labels) -> Element {
    let tag = |(key, value)| vec![Element::text("key", key), Element::text("value", value)];
    Element::set("tagSet", labels.iter().map(tag))
}

/// `arn:aws:ec2:<region>:<account>:<what>/<id>`.
fn arn(site: &Site, what: &str, id: &str) -> String {
    format!("arn:{}:ec2:{}:{}:{what}/{id}", site.partition, site.region, site.account)
}

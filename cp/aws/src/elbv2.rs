//! Elastic Load Balancing 2015-12-01: network load balancers, their listeners, target groups and targets.
//!
//! | where to look | for |
//! |---|---|
//! | [`OPERATIONS`] | all operations, and what runs each |
//! | `load_balancers`, `listeners`, `target_groups`, `targets` | the resources |
//! | `actions`, `certificates`, `attributes`, `tags`, `capacity` | what belongs to them |
//! | `facts` | security policies and quotas |
//! | `refused` | what there is not |
//! | `input`, `arn`, `page` | what requests give: members, ARNs, pages |
//!
//! What carries a Classic load balancer is neither shown nor found here.

mod actions;
mod applications;
mod arn;
mod attributes;
mod capacity;
mod certificates;
mod facts;
mod input;
mod listeners;
mod load_balancers;
mod page;
mod refused;
mod rules;
mod tags;
mod target_groups;
mod targets;

use leat_model::rest::Role;

use crate::operation::{Operation, QueryHandler, Service, Support};

const fn read(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::ElbV2, name, Role::Read, run)
}

const fn operate(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::ElbV2, name, Role::Operate, run)
}

const fn admin(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::ElbV2, name, Role::Admin, run)
}

/// What runs an operation for application load balancers, if the parameter names something of one, and for network load balancers.
macro_rules! by_kind {
    ($key:literal, $application:path, $network:path) => {
        |context, params| {
            if applications::are_named(params, $key) {
                $application(context, params)
            } else {
                $network(context, params)
            }
        }
    };
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    // Load balancers.
    admin("CreateLoadBalancer", load_balancers::create).noted(
        Support::Full,
        "`Type` is `network` unless given; `application` makes an object without a data plane, `gateway` is refused. No security groups",
    ),
    read("DescribeLoadBalancers", load_balancers::describe),
    admin("DeleteLoadBalancer", load_balancers::delete),
    admin("SetSubnets", by_kind!("LoadBalancerArn", applications::set_subnets, load_balancers::set_subnets)).noted(Support::Full, "Subnets can be added, not taken away"),
    admin("SetIpAddressType", by_kind!("LoadBalancerArn", applications::set_ip_address_type, load_balancers::set_ip_address_type)),
    admin("SetSecurityGroups", load_balancers::set_security_groups)
        .noted(Support::Refused, "But an empty list, which says what is so"),
    read("DescribeLoadBalancerAttributes", by_kind!("LoadBalancerArn", applications::describe_attributes, attributes::describe_load_balancer)),
    admin("ModifyLoadBalancerAttributes", by_kind!("LoadBalancerArn", applications::modify_attributes, attributes::modify_load_balancer)),
    read("DescribeCapacityReservation", capacity::describe),
    admin("ModifyCapacityReservation", capacity::modify)
        .noted(Support::Kept, "`provisioned` at once: an appliance always has all its capacity"),
    admin("ModifyIpPools", refused::modify_ip_pools).noted(Support::Refused, "`OperationNotPermitted`"),
    // Listeners.
    admin("CreateListener", by_kind!("LoadBalancerArn", applications::create_listener, listeners::create))
        .noted(Support::Full, "One `forward` action to one target group. TLS listeners are kept; nothing is forwarded yet"),
    read(
        "DescribeListeners",
        |context, params| {
            let application = ["LoadBalancerArn", "ListenerArns"].iter().any(|key| applications::are_named(params, key));
            if application { applications::describe_listeners(context, params) } else { listeners::describe(context, params) }
        },
    ),
    admin("ModifyListener", by_kind!("ListenerArn", applications::modify_listener, listeners::modify)),
    admin("DeleteListener", by_kind!("ListenerArn", applications::delete_listener, listeners::delete)),
    read("DescribeListenerAttributes", by_kind!("ListenerArn", applications::describe_listener_attributes, attributes::describe_listener)),
    admin("ModifyListenerAttributes", by_kind!("ListenerArn", applications::modify_listener_attributes, attributes::modify_listener)),
    admin("AddListenerCertificates", by_kind!("ListenerArn", applications::add_certificates, certificates::add)),
    admin("RemoveListenerCertificates", by_kind!("ListenerArn", applications::remove_certificates, certificates::remove)),
    read("DescribeListenerCertificates", by_kind!("ListenerArn", applications::describe_certificates, certificates::describe)),
    // Rules.
    admin("CreateRule", rules::create)
        .noted(Support::Kept, "Of application load balancers; actions that authenticate and transforms are refused"),
    read("DescribeRules", rules::describe).noted(Support::Full, "A listener of a network load balancer has its default one"),
    admin("ModifyRule", rules::modify).noted(Support::Kept, "Never a default rule"),
    admin("DeleteRule", rules::delete).noted(Support::Kept, "Never a default rule"),
    admin("SetRulePriorities", rules::set_priorities).noted(Support::Kept, "Never a default rule"),
    // Target groups and targets.
    admin("CreateTargetGroup", target_groups::create)
        .noted(Support::Full, "`VpcId` may be left out; `ProtocolVersion` is kept, without effect"),
    read("DescribeTargetGroups", target_groups::describe),
    admin("ModifyTargetGroup", target_groups::modify),
    admin("DeleteTargetGroup", target_groups::delete),
    read("DescribeTargetGroupAttributes", attributes::describe_target_group),
    admin("ModifyTargetGroupAttributes", attributes::modify_target_group),
    operate("RegisterTargets", targets::register),
    operate("DeregisterTargets", targets::deregister),
    read("DescribeTargetHealth", targets::describe_health)
        .noted(Support::Full, "Anomalies are not looked for, whatever is to be included"),
    // Tags and facts.
    admin("AddTags", tags::add),
    admin("RemoveTags", tags::remove),
    read("DescribeTags", tags::describe),
    read("DescribeAccountLimits", facts::describe_account_limits),
    read("DescribeSSLPolicies", facts::describe_ssl_policies),
    // What there is not.
    read("DescribeTrustStores", refused::describe_trust_stores).noted(Support::Refused, "An empty list"),
    admin("CreateTrustStore", refused::create_trust_store).noted(Support::Refused, "`OperationNotPermitted`"),
    no_trust_store("ModifyTrustStore", Role::Admin),
    no_trust_store("DeleteTrustStore", Role::Admin),
    no_trust_store("AddTrustStoreRevocations", Role::Admin),
    no_trust_store("RemoveTrustStoreRevocations", Role::Admin),
    no_trust_store("DescribeTrustStoreRevocations", Role::Read),
    no_trust_store("DescribeTrustStoreAssociations", Role::Read),
    no_trust_store("DeleteSharedTrustStoreAssociation", Role::Admin),
    no_trust_store("GetTrustStoreCaCertificatesBundle", Role::Read),
    no_trust_store("GetTrustStoreRevocationContent", Role::Read),
    read("GetResourcePolicy", refused::get_resource_policy).noted(Support::Refused, "`ResourceNotFound`"),
];

const fn no_trust_store(name: &'static str, role: Role) -> Operation {
    Operation::query(Service::ElbV2, name, role, refused::of_trust_store)
        .noted(Support::Refused, "`TrustStoreNotFound`")
}

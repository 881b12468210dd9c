//! Elastic Load Balancing 2012-06-01: Classic load balancers with TCP listeners, carried by the same data plane; SSL listeners are
//! objects.
//!
//! | where to look | for |
//! |---|---|
//! | [`OPERATIONS`] | all operations, and what runs each |
//! | `load_balancers` | load balancers, their listeners, zones and subnets |
//! | `instances` | instances and their health |
//! | `settings` | health checks, attributes, tags, quotas |
//! | `policies` | policies |

mod instances;
mod load_balancers;
mod policies;
mod settings;

use leat_model::classic::Change;
use leat_model::rest::Role;
use leat_model::{Command, Error};

use crate::operation::{Context, Operation, QueryHandler, Reply, Service, Support};
use crate::params::Params;
use crate::xml::Element;

type Answer = Result<Reply<Vec<Element>>, Error>;

const fn read(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Elb, name, Role::Read, run)
}

const fn operate(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Elb, name, Role::Operate, run)
}

const fn admin(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Elb, name, Role::Admin, run)
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    admin("AddTags", settings::add_tags),
    admin("ApplySecurityGroupsToLoadBalancer", load_balancers::apply_security_groups)
        .noted(Support::Refused, "But an empty list, which says what is so"),
    admin("AttachLoadBalancerToSubnets", load_balancers::attach_subnets),
    admin("ConfigureHealthCheck", settings::configure_health_check)
        .noted(Support::Full, "`TCP:PORT`; `HTTP:` and `HTTPS:` are kept, `SSL:` is refused"),
    admin("CreateAppCookieStickinessPolicy", policies::refuse_cookies).noted(Support::Refused, NO_COOKIES),
    admin("CreateLBCookieStickinessPolicy", policies::refuse_cookies).noted(Support::Refused, NO_COOKIES),
    admin("CreateLoadBalancer", load_balancers::create)
        .noted(Support::Full, "TCP listeners; SSL ones are kept, HTTP and HTTPS refused. No security groups"),
    admin("CreateLoadBalancerListeners", load_balancers::create_listeners)
        .noted(Support::Full, "As CreateLoadBalancer"),
    admin("CreateLoadBalancerPolicy", policies::create)
        .noted(Support::Kept, "Type `SSLNegotiationPolicyType`; others are refused"),
    admin("DeleteLoadBalancer", load_balancers::delete),
    admin("DeleteLoadBalancerListeners", load_balancers::delete_listeners),
    admin("DeleteLoadBalancerPolicy", policies::delete),
    operate("DeregisterInstancesFromLoadBalancer", instances::deregister),
    read("DescribeAccountLimits", settings::describe_account_limits),
    read("DescribeInstanceHealth", instances::describe_health),
    read("DescribeLoadBalancerAttributes", settings::describe_attributes),
    read("DescribeLoadBalancerPolicies", policies::describe),
    read("DescribeLoadBalancerPolicyTypes", policies::describe_types),
    read("DescribeLoadBalancers", load_balancers::describe),
    read("DescribeTags", settings::describe_tags),
    admin("DetachLoadBalancerFromSubnets", load_balancers::detach_subnets),
    admin("DisableAvailabilityZonesForLoadBalancer", load_balancers::disable_zones),
    admin("EnableAvailabilityZonesForLoadBalancer", load_balancers::enable_zones),
    admin("ModifyLoadBalancerAttributes", settings::modify_attributes).noted(
        Support::Full,
        "Draining acts, and the additional attribute `leat.selector`; the others are kept, access logs refused",
    ),
    operate("RegisterInstancesWithLoadBalancer", instances::register),
    admin("RemoveTags", settings::remove_tags),
    admin("SetLoadBalancerListenerSSLCertificate", policies::set_certificate).noted(Support::Kept, "SSL listeners"),
    admin("SetLoadBalancerPoliciesForBackendServer", policies::set_of_backend)
        .noted(Support::Refused, "But an empty list"),
    admin("SetLoadBalancerPoliciesOfListener", policies::set_of_listener).noted(Support::Kept, "SSL listeners"),
];

const NO_COOKIES: &str = "TCP has no cookies";

/// The name of the load balancer that a request is about, which must exist.
fn name(context: &Context<'_>, params: &Params) -> Result<String, Error> {
    let name = params.required("LoadBalancerName")?;
    context.model.find_classic(name).map(|lb| lb.name.clone())
}

/// A list that must have a member.
fn required_list(params: &Params, key: &str) -> Result<Vec<String>, Error> {
    let list = params.list(key)?;
    if list.is_empty() { Err(params.missing(key)) } else { Ok(list) }
}

/// A number that must be given.
fn required_number(params: &Params, key: &str) -> Result<i64, Error> {
    params.number(key)?.ok_or_else(|| params.missing(key))
}

/// Carries out a change and answers what `show` makes of the load balancer after it.
fn change(
    change: Change,
    name: String,
    show: impl FnOnce(&Context<'_>, &leat_model::classic::Balancer) -> Vec<Element> + Send + 'static,
) -> Answer {
    let answer = move |context: &Context<'_>, _: &leat_model::Effects| {
        context.model.find_classic(&name).map(|lb| show(context, lb))
    };
    Ok(Reply::Change(Command::Classic(change), Box::new(answer)))
}

/// The same with an empty answer.
fn change_silently(change: Change) -> Answer {
    Ok(Reply::Change(Command::Classic(change), Box::new(|_, _| Ok(Vec::new()))))
}

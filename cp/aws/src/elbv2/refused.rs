//! Operations on what there is not: trust stores, shared resources, IPAM pools. They are known, check what they are given, and are
//! refused with the error that AWS gives where there is none of what is asked for.

use leat_model::{Code, Error};

use super::arn::{self, Arn, Balancer, Kind};
use super::input::{Answer, null, printable, required};
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// There are none.
pub(super) fn describe_trust_stores(context: &Context<'_>, params: &Params) -> Answer {
    Page::of(params, "TrustStores")?;
    if let Some(text) = params.list("TrustStoreArns")?.first() {
        Arn::of(Kind::TrustStore, context.model.site(), text)?;
        return Err(no_trust_store(text));
    }
    match params.list("Names")?.first() {
        Some(name) => Err(no_trust_store(name)),
        None => Ok(Reply::Answer(vec![Element::list("TrustStores", [])])),
    }
}

/// Whatever is asked of a trust store: it is not there.
pub(super) fn of_trust_store(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::TrustStore, context, params, "TrustStoreArn")?;
    Err(no_trust_store(arn.text))
}

pub(super) fn create_trust_store(_: &Context<'_>, params: &Params) -> Answer {
    for key in ["Name", "CaCertificatesBundleS3Bucket", "CaCertificatesBundleS3Key"] {
        required(params, key)?;
    }
    let message = "Trust stores are not supported here: network load balancers do not ask clients for certificates";
    Err(Error::new(Code::OperationNotPermitted, message))
}

pub(super) fn get_resource_policy(_: &Context<'_>, params: &Params) -> Answer {
    let arn = required(params, "ResourceArn")?;
    let message =
        format!("The resource '{}' has no policy: nothing is shared with other accounts here", printable(arn));
    Err(Error::at(Code::ResourceNotFound, "ResourceArn", message))
}

pub(super) fn modify_ip_pools(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::LoadBalancer, context, params, "LoadBalancerArn")?;
    let kind = match arn::balancer(context.model, &arn)? {
        Balancer::Network(_) => "network",
        Balancer::Application(_) => "application",
    };
    if !params.has("IpamPools") && !params.has("RemoveIpamPools") {
        return Err(null(params, "IpamPools"));
    }
    let message = format!("IPAM pools are not supported here for load balancers with type '{kind}'");
    Err(Error::new(Code::OperationNotPermitted, message))
}

fn no_trust_store(name: &str) -> Error {
    Error::new(Code::TrustStoreNotFound, format!("Trust store '{}' not found", printable(name)))
}

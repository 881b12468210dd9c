//! Policies of Classic load balancers and what SSL listeners have of them.

use leat_model::classic::{Change, POLICY_ATTRIBUTE, POLICY_TYPE};
use leat_model::{Code, Error, ssl_policy};

use super::{Answer, change_silently, name, required_number};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

pub(super) fn refuse_cookies(context: &Context<'_>, params: &Params) -> Answer {
    name(context, params)?;
    params.required("PolicyName")?;
    let message = "TCP and SSL listeners have no cookies, and there are no others here";
    Err(Error::at(Code::InvalidConfigurationRequest, "PolicyName", message))
}

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let attribute = |one: &Params| {
        let value = one.get("AttributeValue").unwrap_or_default();
        Ok((one.required("AttributeName")?.to_owned(), value.to_owned()))
    };
    change_silently(Change::CreatePolicy {
        name: name(context, params)?,
        policy: params.required("PolicyName")?.to_owned(),
        kind: params.required("PolicyTypeName")?.to_owned(),
        attributes: params.structures("PolicyAttributes")?.iter().map(attribute).collect::<Result<_, Error>>()?,
    })
}

pub(super) fn delete(context: &Context<'_>, params: &Params) -> Answer {
    let policy = params.required("PolicyName")?.to_owned();
    change_silently(Change::DeletePolicy { name: name(context, params)?, policy })
}

/// Without a load balancer: the policies that there are for all.
pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let known: Vec<(String, String)> = match params.get("LoadBalancerName").filter(|name| !name.is_empty()) {
        Some(name) => {
            let lb = context.model.find_classic(name)?;
            lb.policies.iter().map(|(name, policy)| (name.clone(), policy.reference.clone())).collect()
        }
        None => ssl_policy::all().map(|policy| (policy.name.to_owned(), policy.name.to_owned())).collect(),
    };
    let names = params.list("PolicyNames")?;
    if let Some(missing) = names.iter().find(|name| !known.iter().any(|(known, _)| known == *name)) {
        let message = format!("There is no policy with name {}", leat_model::error::Shown(missing));
        return Err(Error::at(Code::PolicyNotFound, "PolicyNames", message));
    }
    let wanted = known.into_iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    let descriptions = wanted.map(|(name, reference)| {
        let attribute =
            vec![Element::text("AttributeName", POLICY_ATTRIBUTE), Element::text("AttributeValue", reference)];
        vec![
            Element::text("PolicyName", name),
            Element::text("PolicyTypeName", POLICY_TYPE),
            Element::list("PolicyAttributeDescriptions", [attribute]),
        ]
    });
    Ok(Reply::Answer(vec![Element::list("PolicyDescriptions", descriptions)]))
}

pub(super) fn describe_types(_: &Context<'_>, params: &Params) -> Answer {
    if let Some(missing) = params.list("PolicyTypeNames")?.iter().find(|name| *name != POLICY_TYPE) {
        let message =
            format!("There is no policy type {} here; there is {POLICY_TYPE}", leat_model::error::Shown(missing));
        return Err(Error::at(Code::PolicyTypeNotFound, "PolicyTypeNames", message));
    }
    let attribute = vec![
        Element::text("AttributeName", POLICY_ATTRIBUTE),
        Element::text("AttributeType", "String"),
        Element::text("Description", "The security policy that the listener has"),
        Element::text("DefaultValue", ssl_policy::DEFAULT),
        Element::text("Cardinality", "ZERO_OR_ONE"),
    ];
    let description = vec![
        Element::text("PolicyTypeName", POLICY_TYPE),
        Element::text("Description", "Versions and ciphers that an SSL listener accepts"),
        Element::list("PolicyAttributeTypeDescriptions", [attribute]),
    ];
    Ok(Reply::Answer(vec![Element::list("PolicyTypeDescriptions", [description])]))
}

pub(super) fn set_of_listener(context: &Context<'_>, params: &Params) -> Answer {
    let port = required_number(params, "LoadBalancerPort")?;
    change_silently(Change::SetListenerPolicies { name: name(context, params)?, port, policies: names(params)? })
}

pub(super) fn set_of_backend(context: &Context<'_>, params: &Params) -> Answer {
    let name = name(context, params)?;
    let port = required_number(params, "InstancePort")?;
    let lb = context.model.find_classic(&name)?;
    if !lb.listeners.values().any(|listener| i64::from(listener.instance_port) == port) {
        let message = format!("no listener of the load balancer forwards to InstancePort {port}");
        return Err(Error::at(Code::InvalidConfigurationRequest, "InstancePort", message));
    }
    match names(params)?.iter().find(|policy| !lb.policies.contains_key(*policy)) {
        Some(missing) => {
            let message = format!("There is no policy with name {}", leat_model::error::Shown(missing));
            Err(Error::at(Code::PolicyNotFound, "PolicyNames", message))
        }
        None if !names(params)?.is_empty() => {
            let message = format!("policies of type {POLICY_TYPE} are for listeners, not for instances");
            Err(Error::at(Code::InvalidConfigurationRequest, "PolicyNames", message))
        }
        None => Ok(Reply::Answer(Vec::new())),
    }
}

pub(super) fn set_certificate(context: &Context<'_>, params: &Params) -> Answer {
    let port = required_number(params, "LoadBalancerPort")?;
    let certificate = params.required("SSLCertificateId")?.to_owned();
    change_silently(Change::SetListenerCertificate { name: name(context, params)?, port, certificate })
}

/// The names that a request gives; clients write an empty list as one empty name.
fn names(params: &Params) -> Result<Vec<String>, Error> {
    Ok(params.list("PolicyNames")?.into_iter().filter(|name| !name.is_empty()).collect())
}

//! Policies of Classic load balancers. Those for cookies, PROXY protocol version 1 and keys of instances would need a proxy of requests
//! or of TLS; what is kept here are security policies of SSL listeners.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Model, Now};
use crate::rest::Protocol;
use crate::ssl_policy;

/// The type of policies that there is.
pub const POLICY_TYPE: &str = "SSLNegotiationPolicyType";
/// The attribute of policies that there is.
pub const POLICY_ATTRIBUTE: &str = "Reference-Security-Policy";
/// Policies of a load balancer at the most.
const POLICIES_MAX: usize = 100;

/// A policy of type [`POLICY_TYPE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The security policy that it stands for.
    pub reference: String,
}

impl Model {
    pub(super) fn create_classic_policy(
        &mut self,
        fx: &mut Effects,
        name: &str,
        policy: String,
        kind: &str,
        attributes: Vec<(String, String)>,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        if kind != POLICY_TYPE {
            let (code, message) = match kind {
                "AppCookieStickinessPolicyType" | "LBCookieStickinessPolicyType" => (
                    Code::InvalidConfigurationRequest,
                    "TCP and SSL listeners have no cookies, and there are no others here",
                ),
                "ProxyProtocolPolicyType" => (
                    Code::InvalidConfigurationRequest,
                    "PROXY protocol version 1 is not spoken here; target groups of network load balancers have version 2",
                ),
                "PublicKeyPolicyType" | "BackendServerAuthenticationPolicyType" => {
                    (Code::InvalidConfigurationRequest, "instances are not authenticated here")
                }
                _ => (Code::PolicyTypeNotFound, "there is no such policy type"),
            };
            return Err(Error::at(code, "PolicyTypeName", format!("{}: {message}", Shown(kind))));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if policy.is_empty() || policy.len() > 128 || !policy.chars().all(good) {
            let message = format!("{} is not a policy's name: 1 to 128 letters, digits and hyphens", Shown(&policy));
            return Err(Error::invalid("PolicyName", message));
        }
        let mut reference = ssl_policy::DEFAULT.to_owned();
        for (attribute, value) in attributes {
            if attribute != POLICY_ATTRIBUTE || ssl_policy::find(&value).is_none() {
                let known: Vec<&str> = ssl_policy::all().map(|policy| policy.name).collect();
                let message = format!(
                    "{}={} is not kept here: the attribute is {POLICY_ATTRIBUTE}, and its values are {}",
                    Shown(&attribute),
                    Shown(&value),
                    known.join(", ")
                );
                return Err(Error::at(Code::InvalidConfigurationRequest, "PolicyAttributes", message));
            }
            reference = value;
        }
        if lb.policies.contains_key(&policy) {
            let message = format!("Policy '{policy}' already exists for the load balancer {name}");
            return Err(Error::at(Code::DuplicatePolicyName, "PolicyName", message));
        }
        if lb.policies.len() == POLICIES_MAX {
            let message = format!("a load balancer has {POLICIES_MAX} policies at the most; delete one first");
            return Err(Error::new(Code::TooManyPolicies, message));
        }
        lb.policies.insert(policy, Policy { reference });
        self.put_classic(fx, lb, now)
    }

    pub(super) fn delete_classic_policy(
        &mut self,
        fx: &mut Effects,
        name: &str,
        policy: &str,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        if let Some(port) =
            lb.listeners.iter().find(|(_, it)| it.policies.iter().any(|it| it == policy)).map(|(port, _)| port)
        {
            let message = format!("the listener on port {port} has policy {policy}; set other ones first");
            return Err(Error::at(Code::InvalidConfigurationRequest, "PolicyName", message));
        }
        lb.policies.remove(policy);
        self.put_classic(fx, lb, now)
    }

    pub(super) fn set_classic_policies(
        &mut self,
        fx: &mut Effects,
        name: &str,
        port: i64,
        policies: Vec<String>,
        now: Now,
    ) -> Result<(), Error> {
        let mut lb = self.find_classic(name)?.clone();
        if let Some(missing) = policies.iter().find(|policy| !lb.policies.contains_key(*policy)) {
            let message = format!("There is no policy with name {} for load balancer {name}", Shown(missing));
            return Err(Error::at(Code::PolicyNotFound, "PolicyNames", message));
        }
        let listener = lb.listener_mut(port)?;
        if !policies.is_empty() && (listener.protocol != Protocol::Tls || policies.len() > 1) {
            let message = "an SSL listener has one security policy, and a TCP listener none";
            return Err(Error::at(Code::InvalidConfigurationRequest, "PolicyNames", message));
        }
        listener.policies = policies;
        self.put_classic(fx, lb, now)
    }
}

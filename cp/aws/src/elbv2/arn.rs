//! ARNs in requests: what is not of the wanted kind is refused before it is looked for, as AWS does.

use leat_model::resource::{Listener, LoadBalancer, TargetGroup};
use leat_model::{Code, Error, Id, Model, Site, application, ids};

use super::input::{printable, required};
use crate::operation::Context;
use crate::params::Params;

/// What an ARN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A load balancer.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A rule of a listener.
    Rule,
    /// A target group.
    TargetGroup,
    /// A trust store.
    TrustStore,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load balancer",
            Self::Listener => "listener",
            Self::Rule => "listener rule",
            Self::TargetGroup => "target group",
            Self::TrustStore => "trust store",
        }
    }

    /// The error of what is not found.
    pub(super) fn not_found(self) -> Error {
        let (code, words) = match self {
            Self::LoadBalancer => (Code::LoadBalancerNotFound, "load balancers"),
            Self::Listener => (Code::ListenerNotFound, "listeners"),
            Self::Rule => (Code::RuleNotFound, "rules"),
            Self::TargetGroup => (Code::TargetGroupNotFound, "target groups"),
            Self::TrustStore => (Code::TrustStoreNotFound, "trust stores"),
        };
        Error::new(code, format!("One or more {words} not found"))
    }
}

/// An ARN of this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    /// All of it.
    pub(super) text: &'a str,
    /// What it names.
    pub(super) kind: Kind,
    /// It is of an application load balancer, or of something of one.
    pub(super) application: bool,
    /// The ids in it, the load balancer's first.
    pub(super) ids: Vec<Id>,
}

impl<'a> Arn<'a> {
    /// Reads an ARN; `None`: it is none of this site.
    pub(super) fn read(site: &Site, text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("arn:")?.strip_prefix(&site.partition)?.strip_prefix(":elasticloadbalancing:")?;
        let rest =
            rest.strip_prefix(&site.region)?.strip_prefix(':')?.strip_prefix(&site.account)?.strip_prefix(':')?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (kind, application, ids) = match parts[..] {
            ["loadbalancer", family, _, lb] => (Kind::LoadBalancer, is_application(family)?, vec![lb]),
            ["listener", family, _, lb, id] => (Kind::Listener, is_application(family)?, vec![lb, id]),
            ["listener-rule", family, _, lb, listener, id] => {
                (Kind::Rule, is_application(family)?, vec![lb, listener, id])
            }
            ["targetgroup", _, id] => (Kind::TargetGroup, false, vec![id]),
            ["truststore", _, id] => (Kind::TrustStore, false, vec![id]),
            _ => return None,
        };
        let ids = ids.into_iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
        Some(Self { text, kind, application, ids })
    }

    /// Reads an ARN that must be of a kind.
    pub(super) fn of(kind: Kind, site: &Site, text: &'a str) -> Result<Self, Error> {
        Self::read(site, text).filter(|arn| arn.kind == kind).ok_or_else(|| {
            Error::new(Code::ValidationError, format!("'{}' is not a valid {} ARN", printable(text), kind.words()))
        })
    }

    /// Reads a parameter that must be an ARN of a kind.
    pub(super) fn required(kind: Kind, context: &Context<'_>, params: &'a Params, key: &str) -> Result<Self, Error> {
        Self::of(kind, context.model.site(), required(params, key)?)
    }

    fn id(&self, at: usize) -> Id {
        self.ids.get(at).copied().unwrap_or(Id(0))
    }
}

fn is_application(family: &str) -> Option<bool> {
    match family {
        "net" => Some(false),
        "app" => Some(true),
        _ => None,
    }
}

/// A load balancer of either kind that is shown. What carries a Classic load balancer is not.
#[derive(Clone, Copy)]
pub(super) enum Balancer<'m> {
    /// Packets.
    Network(&'m LoadBalancer),
    /// Requests: an object only.
    Application(&'m application::Balancer),
}

/// The load balancer that an ARN names.
pub(super) fn balancer<'m>(model: &'m Model, arn: &Arn<'_>) -> Result<Balancer<'m>, Error> {
    let found = if arn.application {
        model.application(arn.text).map(Balancer::Application)
    } else {
        let lb = model.load_balancer(arn.id(0)).filter(|lb| lb.classic.is_none());
        lb.filter(|lb| ids::load_balancer_arn(model.site(), &lb.name, lb.id) == arn.text).map(Balancer::Network)
    };
    found.ok_or_else(|| Kind::LoadBalancer.not_found())
}

/// The network load balancer that a parameter names.
///
/// # Errors
/// There is none, or it is an application load balancer, for which `operation` does nothing.
pub(super) fn network<'m>(
    context: &Context<'m>,
    params: &Params,
    key: &str,
    operation: &str,
) -> Result<&'m LoadBalancer, Error> {
    let arn = Arn::required(Kind::LoadBalancer, context, params, key)?;
    match balancer(context.model, &arn)? {
        Balancer::Network(lb) => Ok(lb),
        Balancer::Application(_) => {
            let message = format!("{operation} is not supported for load balancers with type 'application'");
            Err(Error::new(Code::InvalidConfigurationRequest, message))
        }
    }
}

/// The listener of a network load balancer that an ARN names.
pub(super) fn listener<'m>(model: &'m Model, arn: &Arn<'_>) -> Result<&'m Listener, Error> {
    let shown = model.load_balancer(arn.id(0)).filter(|lb| lb.classic.is_none() && !arn.application);
    let mut of_it = shown.into_iter().flat_map(|lb| model.listeners_of(lb.id));
    let found = of_it.find(|listener| listener.id == arn.id(1) && model.listener_arn(listener) == arn.text);
    found.ok_or_else(|| Kind::Listener.not_found())
}

/// The target group that an ARN names.
pub(super) fn target_group<'m>(model: &'m Model, arn: &Arn<'_>) -> Result<&'m TargetGroup, Error> {
    let group = model.target_group(arn.id(0)).filter(|group| group.classic.is_none());
    let found = group.filter(|group| ids::target_group_arn(model.site(), &group.name, group.id) == arn.text);
    found.ok_or_else(|| Kind::TargetGroup.not_found())
}

/// The target group that the parameter `TargetGroupArn` names.
pub(super) fn required_target_group<'m>(context: &Context<'m>, params: &Params) -> Result<&'m TargetGroup, Error> {
    let arn = Arn::required(Kind::TargetGroup, context, params, "TargetGroupArn")?;
    target_group(context.model, &arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_this_site_are_read() {
        let site = Site::default();
        let start = "arn:aws:elasticloadbalancing:on-prem-1:000000000000:";
        let id = "0000000000000abc";
        for (rest, kind, application, ids) in [
            (format!("loadbalancer/net/web/{id}"), Kind::LoadBalancer, false, 1),
            (format!("loadbalancer/app/web/{id}"), Kind::LoadBalancer, true, 1),
            (format!("listener/net/web/{id}/{id}"), Kind::Listener, false, 2),
            (format!("listener-rule/app/web/{id}/{id}/{id}"), Kind::Rule, true, 3),
            (format!("targetgroup/web/{id}"), Kind::TargetGroup, false, 1),
            (format!("truststore/web/{id}"), Kind::TrustStore, false, 1),
        ] {
            let text = format!("{start}{rest}");
            let arn = Arn::read(&site, &text).expect(&text);
            assert_eq!((arn.kind, arn.application, arn.ids.len()), (kind, application, ids), "{text}");
        }
        for bad in [
            "",
            "arn:aws:elasticloadbalancing:elsewhere:000000000000:targetgroup/web/0000000000000abc",
            "arn:aws:elasticloadbalancing:on-prem-1:111111111111:targetgroup/web/0000000000000abc",
            &format!("{start}loadbalancer/gwy/web/{id}"),
            &format!("{start}loadbalancer/web"),
            &format!("{start}targetgroup/web/xyz"),
        ] {
            assert_eq!(Arn::read(&site, bad), None, "{bad}");
            let error = Arn::of(Kind::TargetGroup, &site, bad).expect_err(bad);
            assert_eq!(error.message, format!("'{bad}' is not a valid target group ARN"));
        }
    }
}

//! Actions of listeners of network load balancers: one that forwards to one target group (LSN-04).

use leat_model::{Code, Error, Model};

use super::arn::{self, Arn, Kind};
use super::input::{absent, number, required, word};
use crate::params::Params;

/// What AWS calls types of actions; whether network load balancers have it.
const TYPES: [(&str, bool); 6] = [
    ("forward", true),
    ("authenticate-oidc", false),
    ("authenticate-cognito", false),
    ("redirect", false),
    ("fixed-response", false),
    ("jwt-validation", false),
];

/// The ARN of the target group that `DefaultActions` forward to; `None` if none are given.
pub(super) fn forwarded_to(model: &Model, params: &Params) -> Result<Option<String>, Error> {
    let actions = params.structures("DefaultActions")?;
    let Some(action) = actions.first() else { return Ok(None) };
    if actions.len() > 1 {
        let message = format!("Up to 1 action can be specified, but {} were", actions.len());
        return Err(Error::at(Code::TooManyActions, "DefaultActions", message));
    }
    let wrong = |key: &str, message: String| Error::at(Code::InvalidLoadBalancerAction, action.name(key), message);
    required(action, "Type")?;
    if word(action, "Type", &TYPES)? != Some(true) {
        let name = action.get("Type").unwrap_or_default();
        let message = format!("Actions of type '{name}' are not supported for load balancers with type 'network'");
        return Err(wrong("Type", message));
    }
    number(action, "Order", 1, 50000)?;
    let direct = action.get("TargetGroupArn").filter(|arn| !arn.is_empty());
    let config = action.structure("ForwardConfig");
    let group = match (direct, config.as_ref().map(configured).transpose()?.flatten()) {
        (Some(direct), Some(configured)) if direct != configured => {
            let message = "The target group ARN of the action and of its forward configuration must be the same";
            return Err(wrong("TargetGroupArn", message.into()));
        }
        (Some(group), _) => group.to_owned(),
        (None, Some(group)) => group,
        (None, None) => return Err(wrong("TargetGroupArn", "A forward action must have a target group".into())),
    };
    let arn = Arn::of(Kind::TargetGroup, model.site(), &group)?;
    arn::target_group(model, &arn)?;
    Ok(Some(group))
}

/// The target group of a `ForwardConfig`.
fn configured(config: &Params) -> Result<Option<String>, Error> {
    let groups = config.structures("TargetGroups")?;
    if groups.len() > 1 {
        let message = format!(
            "{} target groups were specified; listeners of load balancers with type 'network' forward to one",
            groups.len()
        );
        let code = Code::TooManyUniqueTargetGroupsPerLoadBalancer;
        return Err(Error::at(code, config.name("TargetGroups"), message));
    }
    if let Some(stickiness) = config.structure("TargetGroupStickinessConfig")
        && stickiness.switch("Enabled")? == Some(true)
    {
        let why = "Target group stickiness is not supported for load balancers with type 'network'";
        absent(&stickiness, "Enabled", why)?;
    }
    let Some(group) = groups.first() else { return Ok(None) };
    number(group, "Weight", 0, 999)?;
    required(group, "TargetGroupArn").map(|arn| Some(arn.to_owned()))
}

//! What a listener or rule of an application load balancer does with a request: actions in AWS's form, checked and completed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::shape::{ACTION, object, text};
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::Model;

/// Actions of a listener or rule at the most: one, as those that authenticate are not kept.
const TYPES: &str = "forward, redirect and fixed-response";

impl Model {
    /// Checks actions, and completes them as AWS shows them: a group alone and a list of one group are the same.
    pub(super) fn application_actions(&self, lb: Id, field: &str, actions: &[Value]) -> Result<Vec<Value>, Error> {
        for (at, action) in actions.iter().enumerate() {
            ACTION.check(&format!("{field}[{at}]"), action)?;
        }
        let [action] = actions else {
            let (code, message) = if actions.is_empty() {
                (Code::ValidationError, format!("an action is needed: one of {TYPES}"))
            } else {
                (Code::TooManyActions, format!("there is one action, one of {TYPES}"))
            };
            return Err(Error::at(code, field, message));
        };
        let field = format!("{field}[0]");
        let mut complete = match text(action, "/Type") {
            "forward" => self.forward_action(lb, &field, action)?,
            "redirect" => redirect_action(&field, action)?,
            "fixed-response" => fixed_response_action(&field, action)?,
            other => {
                let message = if other.starts_with("authenticate-") {
                    "Actions that authenticate are not kept here: they would need secrets".into()
                } else {
                    format!("{} is not an action; allowed are {TYPES}", Shown(other))
                };
                return Err(Error::at(Code::InvalidLoadBalancerAction, format!("{field}.Type"), message));
            }
        };
        if let Some(order) = action.get("Order") {
            if !order.as_i64().is_some_and(|order| (1..=50_000).contains(&order)) {
                return Err(Error::invalid(format!("{field}.Order"), "an action's order is 1 to 50000"));
            }
            complete["Order"] = order.clone();
        }
        Ok(vec![complete])
    }

    fn forward_action(&self, lb: Id, field: &str, action: &Value) -> Result<Value, Error> {
        let alone = text(action, "/TargetGroupArn");
        let listed = action.pointer("/ForwardConfig/TargetGroups").and_then(Value::as_array).cloned();
        let listed = listed.unwrap_or_else(|| vec![object([("TargetGroupArn", alone.into())])]);
        let refused = |message: String| Err(Error::at(Code::InvalidLoadBalancerAction, field, message));
        self.limits.application_target_groups_per_action(listed.len())?;
        if listed.is_empty() || !alone.is_empty() && (listed.len() > 1 || text(&listed[0], "/TargetGroupArn") != alone)
        {
            return refused("name the target group by TargetGroupArn, or up to five in ForwardConfig".into());
        }
        let mut groups = BTreeSet::new();
        let mut weighted = Vec::new();
        for group in &listed {
            let weight = group.get("Weight").and_then(Value::as_i64).unwrap_or(1);
            let arn = self.group_of_application(lb, field, text(group, "/TargetGroupArn"))?;
            if !(0..=999).contains(&weight) {
                return refused(format!("{weight} is not a weight; allowed are 0 to 999"));
            }
            if !groups.insert(arn.clone()) {
                return refused("a target group is given twice".into());
            }
            weighted.push(json!({"TargetGroupArn": arn, "Weight": weight}));
        }
        let stickiness = action.pointer("/ForwardConfig/TargetGroupStickinessConfig").cloned();
        let stickiness = stickiness.unwrap_or_else(|| json!({"Enabled": false}));
        let seconds = stickiness.get("DurationSeconds").and_then(Value::as_i64);
        if seconds.is_some_and(|seconds| !(1..=604_800).contains(&seconds)) {
            return refused("stickiness of target groups lasts 1 to 604800 seconds".into());
        }
        let mut complete = json!({
            "Type": "forward",
            "ForwardConfig": {"TargetGroups": weighted, "TargetGroupStickinessConfig": stickiness},
        });
        if let [group] = &weighted[..] {
            complete["TargetGroupArn"] = group["TargetGroupArn"].clone();
        }
        Ok(complete)
    }

    /// The ARN of a group that a listener of this load balancer may forward to.
    fn group_of_application(&self, lb: Id, field: &str, wanted: &str) -> Result<String, Error> {
        let found = self.find_target_group(wanted);
        let group = found.map_err(|error| Error { field: Some(field.to_owned()), ..error })?;
        if !group.protocol.is_application() {
            let message = format!(
                "target group {} has protocol {}; listeners of application load balancers forward to HTTP and HTTPS groups",
                Shown(&group.name),
                group.protocol
            );
            return Err(Error::at(Code::IncompatibleProtocols, field, message));
        }
        match self.application_of_group(group.id) {
            Some(user) if user.id != lb => {
                let message = format!(
                    "target group {} is used by load balancer {}, and a target group belongs to one load balancer; make another group",
                    Shown(&group.name),
                    Shown(&user.name)
                );
                Err(Error::at(Code::TargetGroupAssociationLimit, field, message))
            }
            _ => Ok(ids::target_group_arn(&self.site, &group.name, group.id)),
        }
    }

    /// The application load balancer whose listeners or rules forward to a group.
    pub fn application_of_group(&self, group: Id) -> Option<&super::Balancer> {
        let group = self.target_groups.get(&group)?;
        let arn = ids::target_group_arn(&self.site, &group.name, group.id);
        let names = |actions: &[Value]| actions.iter().flat_map(groups_of).any(|named| named == arn);
        let state = &self.applications;
        let of_rule = |listener: &super::Listener| {
            state.rules.values().any(|rule| rule.listener == listener.id && names(&rule.actions))
        };
        let listener = state.listeners.values().find(|l| names(&l.default_actions) || of_rule(l))?;
        state.balancers.get(&listener.load_balancer.to_string())
    }
}

/// The ARNs of the groups that an action forwards to.
pub(super) fn groups_of(action: &Value) -> impl Iterator<Item = &str> {
    let groups = action.pointer("/ForwardConfig/TargetGroups").and_then(Value::as_array);
    groups.into_iter().flatten().map(|group| text(group, "/TargetGroupArn"))
}

fn redirect_action(field: &str, action: &Value) -> Result<Value, Error> {
    let field = format!("{field}.RedirectConfig");
    let part = |name: &str, default: &'static str| {
        let given = text(action, &format!("/RedirectConfig/{name}")).to_owned();
        if given.is_empty() { default.to_owned() } else { given }
    };
    let (protocol, port) = (part("Protocol", "#{protocol}"), part("Port", "#{port}"));
    let (host, path, query) = (part("Host", "#{host}"), part("Path", "/#{path}"), part("Query", "#{query}"));
    let status = part("StatusCode", "");
    let wrong = if !matches!(status.as_str(), "HTTP_301" | "HTTP_302") {
        "its StatusCode is HTTP_301 or HTTP_302"
    } else if !matches!(protocol.as_str(), "HTTP" | "HTTPS" | "#{protocol}") {
        "its Protocol is HTTP, HTTPS or #{protocol}"
    } else if port != "#{port}" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
        "its Port is 1 to 65535 or #{port}"
    } else if !path.starts_with('/') || [&host, &path, &query].iter().any(|text| text.len() > 128) {
        "its Path begins with a slash, and its parts have at most 128 characters"
    } else if [&protocol[..], &port, &host, &path] == ["#{protocol}", "#{port}", "#{host}", "/#{path}"] {
        "it must change the protocol, the port, the host or the path, or it would lead to itself"
    } else {
        let config = json!({
            "Protocol": protocol, "Port": port, "Host": host, "Path": path, "Query": query, "StatusCode": status,
        });
        return Ok(json!({"Type": "redirect", "RedirectConfig": config}));
    };
    Err(Error::at(Code::InvalidLoadBalancerAction, field, format!("the redirect is not valid: {wrong}")))
}

const CONTENT_TYPES: [&str; 5] = ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

fn fixed_response_action(field: &str, action: &Value) -> Result<Value, Error> {
    let field = format!("{field}.FixedResponseConfig");
    let config = action.get("FixedResponseConfig").cloned().unwrap_or_else(|| json!({}));
    let status = text(&config, "/StatusCode");
    let content_type = text(&config, "/ContentType");
    let wrong = if !(status.len() == 3 && status.starts_with(['2', '4', '5']) && status.parse::<u16>().is_ok()) {
        "its StatusCode is 2XX, 4XX or 5XX".to_owned()
    } else if !content_type.is_empty() && !CONTENT_TYPES.contains(&content_type) {
        format!("its ContentType is one of {}", CONTENT_TYPES.join(", "))
    } else if text(&config, "/MessageBody").len() > 1024 {
        "its MessageBody has at most 1024 characters".to_owned()
    } else {
        return Ok(json!({"Type": "fixed-response", "FixedResponseConfig": config}));
    };
    Err(Error::at(Code::InvalidLoadBalancerAction, field, format!("the fixed response is not valid: {wrong}")))
}

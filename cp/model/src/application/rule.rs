//! Rules of listeners: kept and shown, in the order of their priorities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::conditions;
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Kind, Model, RecordKey};
use crate::rest::{self, Tags};

/// A rule of a listener of an application load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Id.
    pub id: Id,
    /// Its listener.
    pub listener: Id,
    /// 1–50000; the lowest counts first.
    pub priority: u32,
    /// When it applies, in AWS's form.
    pub conditions: Vec<Value>,
    /// What becomes of the requests, in AWS's form.
    pub actions: Vec<Value>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The highest priority number.
const PRIORITY_MAX: i64 = 50_000;

fn priority(value: i64) -> Result<u32, Error> {
    let in_range = (1..=PRIORITY_MAX).contains(&value).then_some(value).and_then(|value| u32::try_from(value).ok());
    in_range.ok_or_else(|| {
        let message = format!("{value} is not a priority; allowed are 1 to {PRIORITY_MAX}, the lowest counts first");
        Error::invalid("priority", message)
    })
}

fn in_use(priority: u32) -> Error {
    let message = format!("Priority '{priority}' is currently in use: another rule of the listener has it");
    Error::at(Code::PriorityInUse, "priority", message)
}

impl Model {
    /// The rules of a listener, without the default one, by priority.
    pub fn rules_of(&self, listener: Id) -> Vec<&Rule> {
        let mut rules: Vec<&Rule> = self.applications.rules.values().filter(|rule| rule.listener == listener).collect();
        rules.sort_by_key(|rule| rule.priority);
        rules
    }

    /// A rule's ARN.
    pub fn rule_arn(&self, rule: &Rule) -> String {
        let listener = self.applications.listeners.get(&rule.listener.to_string());
        let listener = listener.map(|listener| self.application_listener_arn(listener)).unwrap_or_default();
        ids::rule_arn(&listener, rule.id)
    }

    /// A rule by its ARN; never a default one.
    pub fn rule(&self, arn: &str) -> Option<&Rule> {
        self.applications.rules.values().find(|rule| self.rule_arn(rule) == arn)
    }

    /// A rule that may be changed.
    fn changeable_rule(&self, arn: &str) -> Result<&Rule, Error> {
        if self.is_default_rule(arn) {
            let message = format!("Default rule '{}' cannot be changed or deleted; change its listener", arn);
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        self.rule(arn).ok_or_else(|| Error::new(Code::RuleNotFound, format!("there is no rule {}", Shown(arn))))
    }

    /// Whether an ARN is that of a listener's default rule, of whatever kind of load balancer.
    pub fn is_default_rule(&self, arn: &str) -> bool {
        let default = |listener: &str, id: Id| ids::rule_arn(listener, super::default_rule(id)) == arn;
        let mut own = self.applications.listeners.values();
        own.any(|listener| default(&self.application_listener_arn(listener), listener.id))
            || self.listeners.values().any(|listener| default(&self.listener_arn(listener), listener.id))
    }

    pub(super) fn create_rule(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        spec: &rest::RuleSpec,
        id: Id,
    ) -> Result<(), Error> {
        let listener = self.find_application_listener(load_balancer, port)?;
        let rule = Rule {
            id,
            listener: listener.id,
            priority: priority(spec.priority)?,
            conditions: conditions(&spec.conditions)?,
            actions: self.application_actions(listener.load_balancer, "actions", &spec.actions)?,
            tags: spec.tags.clone(),
        };
        self.check_tags(&rule.tags)?;
        let lb = listener.load_balancer;
        if self.rules_of(rule.listener).iter().any(|other| other.priority == rule.priority) {
            return Err(in_use(rule.priority));
        }
        let rules =
            self.application_listeners(lb).iter().map(|listener| self.rules_of(listener.id).len()).sum::<usize>();
        self.limits.application_rules(rules + 1)?;
        self.put_rule(fx, rule);
        Ok(())
    }

    pub(super) fn modify_rule(
        &mut self,
        fx: &mut Effects,
        arn: &str,
        new_conditions: Option<&[Value]>,
        new_actions: Option<&[Value]>,
    ) -> Result<(), Error> {
        let mut rule = self.changeable_rule(arn)?.clone();
        if let Some(new) = new_conditions {
            rule.conditions = conditions(new)?;
        }
        if let Some(new) = new_actions {
            let listener = self.applications.listeners.get(&rule.listener.to_string());
            let lb = listener.map_or(Id(0), |listener| listener.load_balancer);
            rule.actions = self.application_actions(lb, "actions", new)?;
        }
        self.put_rule(fx, rule);
        Ok(())
    }

    /// All at once, so that rules can change places.
    pub(super) fn set_rule_priorities(&mut self, fx: &mut Effects, wanted: &[(String, i64)]) -> Result<(), Error> {
        let mut changed = BTreeMap::new();
        for (arn, value) in wanted {
            let mut rule = self.changeable_rule(arn)?.clone();
            rule.priority = priority(*value)?;
            if changed.insert(rule.id, rule).is_some() {
                return Err(Error::invalid("rulePriorities", format!("rule {} is given twice", Shown(arn))));
            }
        }
        for rule in changed.values() {
            let others = self.rules_of(rule.listener).into_iter().map(|other| changed.get(&other.id).unwrap_or(other));
            if others.filter(|other| other.priority == rule.priority).count() > 1 {
                return Err(in_use(rule.priority));
            }
        }
        changed.into_values().for_each(|rule| self.put_rule(fx, rule));
        Ok(())
    }

    pub(super) fn delete_rule(&mut self, fx: &mut Effects, arn: &str) -> Result<(), Error> {
        let id = self.changeable_rule(arn)?.id.to_string();
        self.applications.rules.remove(&id);
        fx.touch(RecordKey::Object(Kind::Rule, id));
        Ok(())
    }

    fn put_rule(&mut self, fx: &mut Effects, rule: Rule) {
        let id = rule.id.to_string();
        fx.id = Some(rule.id);
        if self.applications.rules.get(&id) != Some(&rule) {
            self.applications.rules.insert(id.clone(), rule);
            fx.touch(RecordKey::Object(Kind::Rule, id));
        }
    }

    /// As the REST API shows it.
    pub fn show_rule(&self, rule: &Rule) -> rest::Rule {
        rest::Rule {
            arn: self.rule_arn(rule),
            id: rule.id.to_string(),
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            actions: rule.actions.clone(),
            tags: rule.tags.clone(),
        }
    }
}

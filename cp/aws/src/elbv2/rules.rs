//! Rules: CreateRule, DescribeRules, ModifyRule, DeleteRule, SetRulePriorities. Listeners of network load balancers have the default one
//! alone, which is not changed as a rule.

use leat_model::application::shape::{ACTION, CONDITION, Shape};
use leat_model::application::{self, Rule};
use leat_model::rest::RuleSpec;
use leat_model::{Code, Command, Error, Model, ids};
use serde_json::Value;

use super::applications::{self, elements, key, list_of};
use super::arn::{self, Arn, Kind};
use super::input::{Answer, absent, null, number, required, required_structures, tags};
use super::listeners::forward;
use super::page::Page;
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// The highest priority number.
const PRIORITY_MAX: i64 = 50_000;
const NO_TRANSFORMS: &str = "transforms of requests are not kept here";

pub(super) fn create(context: &Context<'_>, params: &Params) -> Answer {
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    if !arn.application {
        arn::listener(context.model, &arn)?;
        let message = "Rules are not supported for listeners of load balancers with type 'network'";
        return Err(Error::at(Code::InvalidConfigurationRequest, "ListenerArn", message));
    }
    let (load_balancer, port) = key(applications::listener(context, params)?);
    absent(params, "Transforms", NO_TRANSFORMS)?;
    let spec = RuleSpec {
        priority: number(params, "Priority", 1, PRIORITY_MAX)?.ok_or_else(|| null(params, "Priority"))?,
        conditions: list_of(&CONDITION, params, "Conditions")?.ok_or_else(|| null(params, "Conditions"))?,
        actions: list_of(&ACTION, params, "Actions")?.ok_or_else(|| null(params, "Actions"))?,
        tags: tags(params)?,
    };
    let change = application::Change::CreateRule { load_balancer, port, spec, id: context.id };
    Ok(Reply::Change(
        Command::Application(change),
        Box::new(|context, effects| {
            let id = effects.id.unwrap_or(context.id);
            let found = all(context.model).find(|rule| rule.id == id);
            let rule = found.ok_or_else(|| Kind::Rule.not_found())?;
            Ok(vec![Element::list("Rules", [element(context.model, rule)])])
        }),
    ))
}

pub(super) fn modify(context: &Context<'_>, params: &Params) -> Answer {
    let arn = named(context, params)?;
    absent(params, "Transforms", NO_TRANSFORMS)?;
    let change = application::Change::ModifyRule {
        rule: arn.clone(),
        conditions: list_of(&CONDITION, params, "Conditions")?,
        actions: list_of(&ACTION, params, "Actions")?,
    };
    change_and_show(change, vec![arn])
}

pub(super) fn delete(context: &Context<'_>, params: &Params) -> Answer {
    let change = application::Change::DeleteRule { rule: named(context, params)? };
    Ok(Reply::Change(Command::Application(change), Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn set_priorities(context: &Context<'_>, params: &Params) -> Answer {
    let pair = |one: &Params| {
        let priority = number(one, "Priority", 1, PRIORITY_MAX)?.ok_or_else(|| null(one, "Priority"))?;
        Ok((named(context, one)?, priority))
    };
    let pairs = required_structures(params, "RulePriorities")?;
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, Error>>()?;
    let arns = pairs.iter().map(|(arn, _)| arn.clone()).collect();
    change_and_show(application::Change::SetRulePriorities(pairs), arns)
}

fn change_and_show(change: application::Change, arns: Vec<String>) -> Answer {
    Ok(Reply::Change(
        Command::Application(change),
        Box::new(move |context, _| {
            let rules = arns.iter().filter_map(|arn| context.model.rule(arn));
            Ok(vec![Element::list("Rules", rules.map(|rule| element(context.model, rule)))])
        }),
    ))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let model = context.model;
    let page = Page::of(params, "Rules")?;
    let arns = params.list("RuleArns")?;
    let keyed: Vec<(String, Vec<Element>)> = match (params.has("ListenerArn"), arns.is_empty()) {
        (true, true) => of_listener(context, params)?,
        (false, false) => {
            let find = |text: &String| {
                Arn::of(Kind::Rule, model.site(), text)?;
                by_arn(model, text).map(|found| (text.clone(), found)).ok_or_else(|| Kind::Rule.not_found())
            };
            arns.iter().map(find).collect::<Result<_, Error>>()?
        }
        _ => {
            let message = "You must specify either listener rule ARNs or a listener ARN";
            return Err(Error::at(Code::ValidationError, "ListenerArn", message));
        }
    };
    let (shown, marker) = page.cut(keyed);
    Ok(Reply::Answer(std::iter::once(Element::list("Rules", shown)).chain(marker).collect()))
}

/// All rules of a listener by priority, the default one last.
fn of_listener(context: &Context<'_>, params: &Params) -> Result<Vec<(String, Vec<Element>)>, Error> {
    let model = context.model;
    let arn = Arn::required(Kind::Listener, context, params, "ListenerArn")?;
    if !arn.application {
        let shown = model.show_listener(arn::listener(model, &arn)?);
        let id = application::default_rule(arn::listener(model, &arn)?.id);
        let actions = Element::list("Actions", [forward(&shown.target_group_arn)]);
        return Ok(vec![(LAST.to_owned(), default_element(&ids::rule_arn(&shown.arn, id), actions))]);
    }
    let listener = applications::listener(context, params)?;
    let rules = model.rules_of(listener.id).into_iter();
    let mut all: Vec<_> = rules.map(|rule| (format!("{:05}", rule.priority), element(model, rule))).collect();
    let rule_arn = ids::rule_arn(arn.text, listener.default_rule());
    let actions = elements("Actions", &Shape::List(&ACTION), &Value::Array(listener.default_actions.clone()));
    all.push((LAST.to_owned(), default_element(&rule_arn, actions)));
    Ok(all)
}

/// Behind all priorities.
const LAST: &str = "default";

/// A rule, which may be a default one.
fn by_arn(model: &Model, arn: &str) -> Option<Vec<Element>> {
    if let Some(rule) = model.rule(arn) {
        return Some(element(model, rule));
    }
    let is = |listener: &str, id| ids::rule_arn(listener, application::default_rule(id)) == arn;
    let mut own = model.applications().flat_map(|lb| model.application_listeners(lb.id));
    if let Some(listener) = own.find(|it| is(&model.application_listener_arn(it), it.id)) {
        let actions = elements("Actions", &Shape::List(&ACTION), &Value::Array(listener.default_actions.clone()));
        return Some(default_element(arn, actions));
    }
    let mut shown = model.shown_load_balancers().flat_map(|lb| model.listeners_of(lb.id));
    let listener = shown.find(|it| is(&model.listener_arn(it), it.id))?;
    let actions = Element::list("Actions", [forward(&model.show_listener(listener).target_group_arn)]);
    Some(default_element(arn, actions))
}

fn all(model: &Model) -> impl Iterator<Item = &Rule> {
    let listeners = model.applications().flat_map(|lb| model.application_listeners(lb.id));
    listeners.flat_map(|listener| model.rules_of(listener.id))
}

/// The ARN of a rule that a request names, whether there is one or not: the model says which may be changed.
fn named(context: &Context<'_>, params: &Params) -> Result<String, Error> {
    Arn::required(Kind::Rule, context, params, "RuleArn")?;
    required(params, "RuleArn").map(str::to_owned)
}

fn default_element(arn: &str, actions: Element) -> Vec<Element> {
    vec![
        Element::text("RuleArn", arn),
        Element::text("Priority", "default"),
        Element::parent("Conditions", []),
        actions,
        Element::text("IsDefault", true),
    ]
}

fn element(model: &Model, rule: &Rule) -> Vec<Element> {
    vec![
        Element::text("RuleArn", model.rule_arn(rule)),
        Element::text("Priority", rule.priority),
        elements("Conditions", &Shape::List(&CONDITION), &Value::Array(rule.conditions.clone())),
        elements("Actions", &Shape::List(&ACTION), &Value::Array(rule.actions.clone())),
        Element::text("IsDefault", false),
    ]
}

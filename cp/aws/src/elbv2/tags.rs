//! Tags: AddTags, RemoveTags, DescribeTags.

use leat_model::{Code, Command, Error, Model};

use super::arn::{self, Arn, Kind};
use super::input::{Answer, null, pairs, printable, required_list};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// Resources of one request at the most.
const RESOURCES_MAX: usize = 20;

pub(super) fn add(context: &Context<'_>, params: &Params) -> Answer {
    let resources = resources(context.model, params)?;
    let tags = pairs(params, "Tags")?;
    if tags.is_empty() {
        return Err(null(params, "Tags"));
    }
    Ok(Reply::Change(Command::AddTags { resources, tags }, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn remove(context: &Context<'_>, params: &Params) -> Answer {
    let resources = resources(context.model, params)?;
    let keys = required_list(params, "TagKeys")?;
    Ok(Reply::Change(Command::RemoveTags { resources, keys }, Box::new(|_, _| Ok(Vec::new()))))
}

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let describe = |arn: String| {
        let tags = context.model.tags_of(&arn)?;
        let pair = |(key, value): (&String, &String)| vec![Element::text("Key", key), Element::text("Value", value)];
        Ok(vec![Element::text("ResourceArn", &arn), Element::list("Tags", tags.iter().map(pair))])
    };
    let described = resources(context.model, params)?.into_iter().map(describe).collect::<Result<Vec<_>, Error>>()?;
    Ok(Reply::Answer(vec![Element::list("TagDescriptions", described)]))
}

/// The resources that a request names: each is there and shown.
fn resources(model: &Model, params: &Params) -> Result<Vec<String>, Error> {
    let resources = required_list(params, "ResourceArns")?;
    if resources.len() > RESOURCES_MAX {
        let message = format!("Up to {RESOURCES_MAX} resources can be specified, but {} were", resources.len());
        return Err(Error::at(Code::ValidationError, "ResourceArns", message));
    }
    resources.iter().try_for_each(|text| check(model, text))?;
    Ok(resources)
}

fn check(model: &Model, text: &str) -> Result<(), Error> {
    let arn = Arn::read(model.site(), text).ok_or_else(|| {
        let message = format!("'{}' is not a valid load balancer, target group, listener or rule ARN", printable(text));
        Error::at(Code::ValidationError, "ResourceArns", message)
    })?;
    match arn.kind {
        Kind::LoadBalancer => arn::balancer(model, &arn).map(|_| ()),
        Kind::TargetGroup => arn::target_group(model, &arn).map(|_| ()),
        Kind::Listener if !arn.application => arn::listener(model, &arn).map(|_| ()),
        _ => model.tags_of(text).map(|_| ()),
    }
}

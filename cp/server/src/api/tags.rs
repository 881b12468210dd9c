//! Tags: of what a path names, and of any resource by its ARN.

use axum::extract::State;
use leat_model::{Command, Error, Model, ids, rest};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::body::{Answer, Body, Parameters, Params, ok, port};
use super::{App, balancers, groups, listeners};

/// What a path names, and has tags.
pub trait Tagged: DeserializeOwned + Send {
    /// Its ARN.
    ///
    /// # Errors
    /// There is no such thing.
    fn arn(&self, model: &Model) -> Result<String, Error>;
}

/// A load balancer.
#[derive(Deserialize)]
pub struct OfBalancer(String);

/// A listener, by its load balancer and port.
#[derive(Deserialize)]
pub struct OfListener(String, String);

/// A target group.
#[derive(Deserialize)]
pub struct OfGroup(String);

impl Tagged for OfBalancer {
    fn arn(&self, model: &Model) -> Result<String, Error> {
        Ok(balancers::find(model, &self.0)?.arn(model))
    }
}

impl Tagged for OfListener {
    fn arn(&self, model: &Model) -> Result<String, Error> {
        Ok(listeners::find(model, &self.0, port(&self.1)?)?.arn(model))
    }
}

impl Tagged for OfGroup {
    fn arn(&self, model: &Model) -> Result<String, Error> {
        let group = groups::find(model, &self.0)?;
        Ok(ids::target_group_arn(model.site(), &group.name, group.id))
    }
}

fn shown(model: &Model, arn: &str) -> Answer<rest::TagsBody> {
    let tags = model.tags_of(arn).map_err(|error| Error { field: None, ..error })?.clone();
    ok(rest::TagsBody { tags })
}

/// Adds tags or changes their values; the others stay, or go if `all` are given.
async fn put(app: &App, arn: String, tags: rest::Tags, all: bool) -> Answer<rest::TagsBody> {
    let model = app.state.model();
    let old = model.tags_of(&arn)?;
    let keys: Vec<String> = old.keys().filter(|key| all && !tags.contains_key(*key)).cloned().collect();
    let resources = || vec![arn.clone()];
    let mut commands = Vec::new();
    if !keys.is_empty() {
        commands.push(Command::RemoveTags { resources: resources(), keys });
    }
    if !tags.is_empty() {
        commands.push(Command::AddTags { resources: resources(), tags: tags.into_iter().collect() });
    }
    let changed = app.change(Command::All(commands)).await?;
    shown(&changed.model, &arn)
}

async fn take(app: &App, arn: String, key: String) -> Answer<rest::TagsBody> {
    let changed = app.change(Command::RemoveTags { resources: vec![arn.clone()], keys: vec![key] }).await?;
    shown(&changed.model, &arn)
}

pub(super) async fn show<T: Tagged>(State(app): State<App>, Params(of): Params<T>) -> Answer<rest::TagsBody> {
    let model = app.state.model();
    shown(&model, &of.arn(&model)?)
}

pub(super) async fn replace<T: Tagged>(
    State(app): State<App>,
    Params(of): Params<T>,
    Body(body): Body<rest::TagsBody>,
) -> Answer<rest::TagsBody> {
    put(&app, of.arn(&app.state.model())?, body.tags, true).await
}

pub(super) async fn add<T: Tagged>(
    State(app): State<App>,
    Params(of): Params<T>,
    Body(body): Body<rest::TagsBody>,
) -> Answer<rest::TagsBody> {
    put(&app, of.arn(&app.state.model())?, body.tags, false).await
}

pub(super) async fn remove<T: Tagged>(
    State(app): State<App>,
    Params(of): Params<T>,
    Parameters(query): Parameters<rest::KeyQuery>,
) -> Answer<rest::TagsBody> {
    take(&app, of.arn(&app.state.model())?, query.key).await
}

pub(super) async fn show_by_arn(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ResourceQuery>,
) -> Answer<rest::TagsBody> {
    shown(&app.state.model(), &query.resource)
}

pub(super) async fn replace_by_arn(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ResourceQuery>,
    Body(body): Body<rest::TagsBody>,
) -> Answer<rest::TagsBody> {
    put(&app, query.resource, body.tags, true).await
}

pub(super) async fn add_by_arn(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ResourceQuery>,
    Body(body): Body<rest::TagsBody>,
) -> Answer<rest::TagsBody> {
    put(&app, query.resource, body.tags, false).await
}

pub(super) async fn remove_by_arn(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ResourceKeyQuery>,
) -> Answer<rest::TagsBody> {
    take(&app, query.resource, query.key).await
}

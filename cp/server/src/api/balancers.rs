//! Load balancers and their listeners.

use axum::extract::State;
use leat_model::{Command, Id, Model, rest};

use super::body::{Answer, ApiError, Body, Nothing, Params, created, ok, port};
use super::{App, Changed};

pub(super) async fn list(State(app): State<App>) -> Answer<rest::LoadBalancers> {
    ok(app.state.model().show_load_balancers())
}

pub(super) async fn create(
    State(app): State<App>,
    Body(request): Body<rest::CreateLoadBalancer>,
) -> Answer<rest::LoadBalancer> {
    let changed = app.change(Command::CreateLoadBalancer { request, id: Id(rand::random()) }).await?;
    let id = changed.effects.id.unwrap_or(Id(0)).to_string();
    created(changed.model.show_load_balancer(changed.model.find_load_balancer(&id)?))
}

pub(super) async fn show(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::LoadBalancer> {
    let model = app.state.model();
    ok(model.show_load_balancer(model.find_load_balancer(&lb)?))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::ModifyLoadBalancer>,
) -> Answer<rest::LoadBalancer> {
    let changed = app.change(Command::ModifyLoadBalancer { load_balancer, request }).await?;
    let id = changed.effects.id.unwrap_or(Id(0)).to_string();
    ok(changed.model.show_load_balancer(changed.model.find_load_balancer(&id)?))
}

pub(super) async fn delete(State(app): State<App>, Params(load_balancer): Params<String>) -> Answer<Nothing> {
    app.change(Command::DeleteLoadBalancer { load_balancer }).await?;
    ok(Nothing {})
}

pub(super) async fn listeners(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::Listeners> {
    let model = app.state.model();
    let lb = model.find_load_balancer(&lb)?.id;
    ok(rest::Listeners { listeners: model.listeners_of(lb).map(|listener| model.show_listener(listener)).collect() })
}

/// The listener that a change was about.
fn shown(changed: &Changed) -> Result<rest::Listener, ApiError> {
    let model: &Model = &changed.model;
    let listener = model.listeners().find(|listener| Some(listener.id) == changed.effects.id);
    let listener = listener.ok_or_else(|| {
        leat_model::Error::new(leat_model::Code::ListenerNotFound, "the listener was deleted meanwhile")
    })?;
    Ok(model.show_listener(listener))
}

pub(super) async fn create_listener(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::CreateListener>,
) -> Answer<rest::Listener> {
    let id = Id(rand::random());
    let changed = app.change(Command::CreateListener { load_balancer, request, id }).await?;
    created(shown(&changed)?)
}

pub(super) async fn show_listener(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
) -> Answer<rest::Listener> {
    let model = app.state.model();
    ok(model.show_listener(model.find_listener(&lb, port(&at)?)?))
}

pub(super) async fn modify_listener(
    State(app): State<App>,
    Params((load_balancer, at)): Params<(String, String)>,
    Body(request): Body<rest::ModifyListener>,
) -> Answer<rest::Listener> {
    let changed = app.change(Command::ModifyListener { load_balancer, port: port(&at)?, request }).await?;
    ok(shown(&changed)?)
}

pub(super) async fn delete_listener(
    State(app): State<App>,
    Params((load_balancer, at)): Params<(String, String)>,
) -> Answer<Nothing> {
    app.change(Command::DeleteListener { load_balancer, port: port(&at)? }).await?;
    ok(Nothing {})
}

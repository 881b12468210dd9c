//! Load balancers and their listeners.

use axum::extract::State;
use leat_model::error::Shown;
use leat_model::resource::LoadBalancer;
use leat_model::{Code, Command, Error, Id, Model, rest};

use super::body::{Answer, ApiError, Body, Nothing, Parameters, Params, created, ok, port};
use super::page::page;
use super::{App, Changed};

pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ListQuery>,
) -> Answer<rest::LoadBalancers> {
    let model = app.state.model();
    let own = model.load_balancers().filter(|lb| lb.classic.is_none());
    let own = own.filter(|lb| query.name.as_ref().is_none_or(|name| lb.name == *name));
    let shown = own.map(|lb| model.show_load_balancer(lb)).collect();
    let (load_balancers, next_cursor) = page(shown, |lb| lb.name.clone(), query.limit, query.cursor.as_deref())?;
    ok(rest::LoadBalancers { load_balancers, next_cursor })
}

/// Finds a load balancer that is one of its own.
pub(super) fn find<'m>(model: &'m Model, wanted: &str) -> Result<&'m LoadBalancer, Error> {
    let found = model.find_load_balancer(wanted)?;
    if found.classic.is_none() {
        return Ok(found);
    }
    Err(Error::new(Code::LoadBalancerNotFound, format!("there is no load balancer {}", Shown(wanted))))
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
    ok(model.show_load_balancer(find(&model, &lb)?))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::ModifyLoadBalancer>,
) -> Answer<rest::LoadBalancer> {
    find(&app.state.model(), &load_balancer)?;
    let changed = app.change(Command::ModifyLoadBalancer { load_balancer, request }).await?;
    let id = changed.effects.id.unwrap_or(Id(0)).to_string();
    ok(changed.model.show_load_balancer(changed.model.find_load_balancer(&id)?))
}

pub(super) async fn delete(State(app): State<App>, Params(load_balancer): Params<String>) -> Answer<Nothing> {
    if find(&app.state.model(), &load_balancer).is_ok() {
        app.change(Command::DeleteLoadBalancer { load_balancer }).await?;
    }
    ok(Nothing {})
}

pub(super) async fn listeners(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::Listeners> {
    let model = app.state.model();
    let lb = find(&model, &lb)?.id;
    ok(rest::Listeners { listeners: model.listeners_of(lb).map(|listener| model.show_listener(listener)).collect() })
}

/// The listener that a change was about.
fn shown(changed: &Changed) -> Result<rest::Listener, ApiError> {
    let model: &Model = &changed.model;
    let listener = model.listeners().find(|listener| Some(listener.id) == changed.effects.id);
    let listener = listener.ok_or_else(|| Error::new(Code::ListenerNotFound, "the listener was deleted meanwhile"))?;
    Ok(model.show_listener(listener))
}

pub(super) async fn create_listener(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::CreateListener>,
) -> Answer<rest::Listener> {
    find(&app.state.model(), &load_balancer)?;
    let id = Id(rand::random());
    let changed = app.change(Command::CreateListener { load_balancer, request, id }).await?;
    created(shown(&changed)?)
}

pub(super) async fn show_listener(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
) -> Answer<rest::Listener> {
    let (model, port) = (app.state.model(), port(&at)?);
    find(&model, &lb)?;
    ok(model.show_listener(model.find_listener(&lb, port)?))
}

pub(super) async fn modify_listener(
    State(app): State<App>,
    Params((load_balancer, at)): Params<(String, String)>,
    Body(request): Body<rest::ModifyListener>,
) -> Answer<rest::Listener> {
    let port = port(&at)?;
    find(&app.state.model(), &load_balancer)?;
    let changed = app.change(Command::ModifyListener { load_balancer, port, request }).await?;
    ok(shown(&changed)?)
}

pub(super) async fn delete_listener(
    State(app): State<App>,
    Params((load_balancer, at)): Params<(String, String)>,
) -> Answer<Nothing> {
    let port = port(&at)?;
    find(&app.state.model(), &load_balancer)?;
    app.change(Command::DeleteListener { load_balancer, port }).await?;
    ok(Nothing {})
}

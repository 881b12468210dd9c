//! Load balancers of both kinds. Those that carry the traffic of Classic load balancers are not among them.

use axum::extract::State;
use leat_model::error::Shown;
use leat_model::{Code, Command, Error, Id, Model, ids, rest};

use super::App;
use super::body::{Answer, Body, Nothing, Parameters, Params, created, ok};
use super::page::page;

pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ListQuery>,
) -> Answer<rest::LoadBalancers> {
    let model = app.state.model();
    let network = model.load_balancers().filter(|lb| lb.classic.is_none()).map(|lb| model.show_load_balancer(lb));
    let application = model.applications().map(|lb| model.show_application(lb));
    let wanted = |lb: &rest::LoadBalancer| query.name.as_ref().is_none_or(|name| lb.name == *name);
    let shown = network.chain(application).filter(wanted).collect();
    let (load_balancers, next_cursor) = page(shown, |lb| lb.name.clone(), query.limit, query.cursor.as_deref())?;
    ok(rest::LoadBalancers { load_balancers, next_cursor })
}

/// The load balancer of a name, id or ARN, of either kind.
pub(super) enum Balancer<'m> {
    /// Of type `network`.
    Network(&'m leat_model::resource::LoadBalancer),
    /// Of type `application`.
    Application(&'m leat_model::application::Balancer),
}

/// Finds a load balancer.
///
/// # Errors
/// [`Code::LoadBalancerNotFound`].
pub(super) fn find<'m>(model: &'m Model, wanted: &str) -> Result<Balancer<'m>, Error> {
    if let Some(lb) = model.application(wanted) {
        return Ok(Balancer::Application(lb));
    }
    match model.find_load_balancer(wanted)? {
        lb if lb.classic.is_none() => Ok(Balancer::Network(lb)),
        _ => Err(Error::new(Code::LoadBalancerNotFound, format!("there is no load balancer {}", Shown(wanted)))),
    }
}

impl Balancer<'_> {
    /// Its ARN.
    pub(super) fn arn(&self, model: &Model) -> String {
        match self {
            Self::Network(lb) => ids::load_balancer_arn(model.site(), &lb.name, lb.id),
            Self::Application(lb) => ids::application_arn(model.site(), &lb.name, lb.id),
        }
    }

    fn show(&self, model: &Model) -> rest::LoadBalancer {
        match self {
            Self::Network(lb) => model.show_load_balancer(lb),
            Self::Application(lb) => model.show_application(lb),
        }
    }

    fn attributes(&self, model: &Model) -> rest::AttributesBody {
        let attributes = match self {
            Self::Network(lb) => model.load_balancer_attributes(lb),
            Self::Application(lb) => model.application_attributes(lb),
        };
        rest::AttributesBody { attributes }
    }
}

pub(super) async fn create(
    State(app): State<App>,
    Body(request): Body<rest::CreateLoadBalancer>,
) -> Answer<rest::LoadBalancer> {
    let changed = app.change(Command::CreateLoadBalancer { request, id: Id(rand::random()) }).await?;
    let id = changed.effects.id.unwrap_or(Id(0)).to_string();
    created(find(&changed.model, &id)?.show(&changed.model))
}

pub(super) async fn show(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::LoadBalancer> {
    let model = app.state.model();
    ok(find(&model, &lb)?.show(&model))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::ModifyLoadBalancer>,
) -> Answer<rest::LoadBalancer> {
    find(&app.state.model(), &load_balancer)?;
    let command = Command::ModifyLoadBalancer { load_balancer: load_balancer.clone(), request };
    let changed = app.change(command).await?;
    ok(find(&changed.model, &load_balancer)?.show(&changed.model))
}

pub(super) async fn delete(State(app): State<App>, Params(load_balancer): Params<String>) -> Answer<Nothing> {
    if find(&app.state.model(), &load_balancer).is_ok() {
        app.change(Command::DeleteLoadBalancer { load_balancer }).await?;
    }
    ok(Nothing {})
}

pub(super) async fn attributes(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::AttributesBody> {
    let model = app.state.model();
    ok(find(&model, &lb)?.attributes(&model))
}

pub(super) async fn modify_attributes(
    State(app): State<App>,
    Params(load_balancer): Params<String>,
    Body(request): Body<rest::AttributesBody>,
) -> Answer<rest::AttributesBody> {
    find(&app.state.model(), &load_balancer)?;
    let attributes = request.attributes;
    let command = Command::ModifyLoadBalancerAttributes { load_balancer: load_balancer.clone(), attributes };
    let changed = app.change(command).await?;
    ok(find(&changed.model, &load_balancer)?.attributes(&changed.model))
}

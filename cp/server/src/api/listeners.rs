//! Listeners of load balancers of both kinds, and their certificates.

use axum::extract::State;
use leat_model::error::Shown;
use leat_model::{Code, Command, Error, Id, Model, rest};

use super::App;
use super::balancers::{self, Balancer};
use super::body::{Answer, Body, Nothing, Params, created, ok, port};

/// A listener of either kind of load balancer.
pub(super) enum Listener<'m> {
    /// Of one of type `network`.
    Network(&'m leat_model::resource::Listener),
    /// Of one of type `application`.
    Application(&'m leat_model::application::Listener),
}

/// The listeners of a load balancer, by port.
fn all<'m>(model: &'m Model, lb: &str) -> Result<Vec<Listener<'m>>, Error> {
    Ok(match balancers::find(model, lb)? {
        Balancer::Network(lb) => model.listeners_of(lb.id).map(Listener::Network).collect(),
        Balancer::Application(lb) => {
            model.application_listeners(lb.id).into_iter().map(Listener::Application).collect()
        }
    })
}

/// Finds a listener by its load balancer and port.
///
/// # Errors
/// [`Code::LoadBalancerNotFound`], [`Code::ListenerNotFound`].
pub(super) fn find<'m>(model: &'m Model, lb: &str, port: u16) -> Result<Listener<'m>, Error> {
    let found = all(model, lb)?.into_iter().find(|listener| listener.port() == port);
    let message = || format!("load balancer {} has no listener on port {port}", Shown(lb));
    found.ok_or_else(|| Error::new(Code::ListenerNotFound, message()))
}

impl Listener<'_> {
    fn port(&self) -> u16 {
        match self {
            Self::Network(listener) => listener.port,
            Self::Application(listener) => listener.port,
        }
    }

    fn id(&self) -> Id {
        match self {
            Self::Network(listener) => listener.id,
            Self::Application(listener) => listener.id,
        }
    }

    /// Its ARN.
    pub(super) fn arn(&self, model: &Model) -> String {
        match self {
            Self::Network(listener) => model.listener_arn(listener),
            Self::Application(listener) => model.application_listener_arn(listener),
        }
    }

    fn show(&self, model: &Model) -> rest::Listener {
        match self {
            Self::Network(listener) => model.show_listener(listener),
            Self::Application(listener) => model.show_application_listener(listener),
        }
    }

    fn attributes(&self, model: &Model) -> rest::AttributesBody {
        let attributes = match self {
            Self::Network(listener) => model.listener_attributes(listener),
            Self::Application(listener) => model.application_listener_attributes(listener),
        };
        rest::AttributesBody { attributes }
    }

    fn certificates(&self) -> rest::ListenerCertificates {
        let certificates = match self {
            Self::Network(listener) => &listener.certificates,
            Self::Application(listener) => &listener.certificates,
        };
        rest::ListenerCertificates { certificates: certificates.clone() }
    }
}

pub(super) async fn list(State(app): State<App>, Params(lb): Params<String>) -> Answer<rest::Listeners> {
    let model = app.state.model();
    ok(rest::Listeners { listeners: all(&model, &lb)?.iter().map(|listener| listener.show(&model)).collect() })
}

/// The listener that a change was about.
fn shown(model: &Model, load_balancer: &str, id: Option<Id>) -> Result<rest::Listener, Error> {
    let found = all(model, load_balancer)?.into_iter().find(|listener| Some(listener.id()) == id);
    let gone = || Error::new(Code::ListenerNotFound, "the listener was deleted meanwhile");
    Ok(found.ok_or_else(gone)?.show(model))
}

pub(super) async fn create(
    State(app): State<App>,
    Params(lb): Params<String>,
    Body(request): Body<rest::CreateListener>,
) -> Answer<rest::Listener> {
    balancers::find(&app.state.model(), &lb)?;
    let id = Id(rand::random());
    let changed = app.change(Command::CreateListener { load_balancer: lb.clone(), request, id }).await?;
    created(shown(&changed.model, &lb, changed.effects.id)?)
}

pub(super) async fn show(State(app): State<App>, Params((lb, at)): Params<(String, String)>) -> Answer<rest::Listener> {
    let model = app.state.model();
    ok(find(&model, &lb, port(&at)?)?.show(&model))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
    Body(request): Body<rest::ModifyListener>,
) -> Answer<rest::Listener> {
    let port = port(&at)?;
    find(&app.state.model(), &lb, port)?;
    let changed = app.change(Command::ModifyListener { load_balancer: lb.clone(), port, request }).await?;
    ok(shown(&changed.model, &lb, changed.effects.id)?)
}

pub(super) async fn delete(
    State(app): State<App>,
    Params((load_balancer, at)): Params<(String, String)>,
) -> Answer<Nothing> {
    let port = port(&at)?;
    find(&app.state.model(), &load_balancer, port)?;
    app.change(Command::DeleteListener { load_balancer, port }).await?;
    ok(Nothing {})
}

pub(super) async fn attributes(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
) -> Answer<rest::AttributesBody> {
    let model = app.state.model();
    ok(find(&model, &lb, port(&at)?)?.attributes(&model))
}

pub(super) async fn modify_attributes(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
    Body(request): Body<rest::AttributesBody>,
) -> Answer<rest::AttributesBody> {
    let (port, attributes) = (port(&at)?, request.attributes);
    find(&app.state.model(), &lb, port)?;
    let command = Command::ModifyListenerAttributes { load_balancer: lb.clone(), port, attributes };
    let changed = app.change(command).await?;
    ok(find(&changed.model, &lb, port)?.attributes(&changed.model))
}

pub(super) async fn certificates(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
) -> Answer<rest::ListenerCertificates> {
    ok(find(&app.state.model(), &lb, port(&at)?)?.certificates())
}

pub(super) async fn add_certificates(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
    Body(request): Body<rest::ListenerCertificates>,
) -> Answer<rest::ListenerCertificates> {
    let (port, certificates) = (port(&at)?, request.certificates);
    find(&app.state.model(), &lb, port)?;
    let command = Command::AddListenerCertificates { load_balancer: lb.clone(), port, certificates };
    let changed = app.change(command).await?;
    ok(find(&changed.model, &lb, port)?.certificates())
}

pub(super) async fn remove_certificates(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
    Body(request): Body<rest::ListenerCertificates>,
) -> Answer<rest::ListenerCertificates> {
    let (port, certificates) = (port(&at)?, request.certificates);
    find(&app.state.model(), &lb, port)?;
    let command = Command::RemoveListenerCertificates { load_balancer: lb.clone(), port, certificates };
    let changed = app.change(command).await?;
    ok(find(&changed.model, &lb, port)?.certificates())
}

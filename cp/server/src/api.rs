//! The REST API on `/v1`: routes, and what all calls share.
//!
//! Calls that change something check, store and publish before they answer, and wait at most [`APPLY_PATIENCE`] for the lcores.

mod account;
mod audit;
mod aws;
mod backup;
mod balancers;
mod body;
mod certificates;
mod declare;
mod events;
mod groups;
pub mod guard;
mod inventory;
mod listeners;
mod observe;
mod openapi;
mod page;
pub mod routes;
mod rules;
mod shape;
mod shifts;
mod signature;
mod tags;
#[cfg(test)]
mod tests;
mod users;
mod zonal;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use leat_model::{Code, Command, Effects, Error, Model};
use tokio::sync::Semaphore;

use crate::dns::Dns;
use crate::event_log::EventLog;
use crate::keys::Keys;
use crate::publisher::Publisher;
use crate::state::State;
use crate::traces::Traces;
use crate::webhook::Webhooks;
use body::ApiError;
use guard::Guard;
use routes::ROUTES;

/// How long a change waits for the lcores (S15.1).
pub const APPLY_PATIENCE: Duration = Duration::from_millis(50);

/// What the handlers work on.
#[derive(Clone)]
pub struct App {
    /// The configuration.
    pub state: Arc<State>,
    /// The way to the data plane.
    pub publisher: Arc<Publisher>,
    /// The DNS server.
    pub dns: Arc<Dns>,
    /// The private keys of certificates.
    pub keys: Arc<Keys>,
    /// The traces.
    pub traces: Arc<Traces>,
    /// What every request passes.
    pub guard: Arc<Guard>,
    /// What has happened.
    pub events: Arc<EventLog>,
    /// Whom it is posted to.
    pub webhooks: Arc<Webhooks>,
    /// Places for requests that wait for events.
    pub waiters: Arc<Semaphore>,
}

/// The routes.
pub fn router(app: App) -> Router {
    let mut router = Router::new().route("/", post(aws::call));
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .merge(zonal::router())
        .route_layer(middleware::from_fn(refuse_unknown_queries))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

/// Refuses parameters of calls that have none, as unknown fields are refused everywhere.
async fn refuse_unknown_queries(path: MatchedPath, request: Request, next: Next) -> Response {
    let route = routes::find(request.method().as_str(), path.as_str());
    let takes_none = route.is_some_and(|route| (route.signature)().query.is_none());
    if takes_none && request.uri().query().is_some_and(|query| !query.is_empty()) {
        let message = "the call takes no parameters after a question mark; docs/api.md lists those of each call";
        return ApiError(Error::new(Code::ValidationError, message)).into_response();
    }
    next.run(request).await
}

impl App {
    /// Makes a change and waits a little for the lcores: the new model, what has changed, and whether all lcores work with it.
    async fn change(&self, command: Command) -> Result<Changed, ApiError> {
        self.change_and_wait(command, None).await
    }

    /// As [`Self::change`], with the caller's patience, also for a data plane that is not there yet.
    async fn change_and_wait(&self, command: Command, wait: Option<Duration>) -> Result<Changed, ApiError> {
        let (model, effects) = self.state.change_soon(command).await?;
        let patience = wait.unwrap_or(APPLY_PATIENCE);
        let applied = self.publisher.applied(model.epoch(), patience, wait.is_some()).await;
        Ok(Changed { model, effects, applied })
    }
}

struct Changed {
    model: Arc<Model>,
    effects: Effects,
    applied: bool,
}

//! Users and their secrets, and who asks.

use axum::extract::{Extension, State};
use leat_aws::Caller;
use leat_model::access::Change;
use leat_model::{Command, rest};

use super::App;
use super::body::{Answer, Body, Nothing, Params, created, ok};
use crate::access::credentials::Fresh;

pub(super) async fn list(State(app): State<App>) -> Answer<rest::Users> {
    let model = app.state.model();
    ok(rest::Users { users: model.users().map(|user| model.show_user(user)).collect() })
}

/// Makes a user. Its secrets are shown this once.
pub(super) async fn create(State(app): State<App>, Body(request): Body<rest::CreateUser>) -> Answer<rest::UserSecrets> {
    let fresh = Fresh::for_new_user(request, app.state.now().wall_ms);
    let changed = app.change(fresh.create()).await?;
    created(fresh.shown(&changed.model)?)
}

pub(super) async fn show(State(app): State<App>, Params(name): Params<String>) -> Answer<rest::User> {
    let model = app.state.model();
    ok(model.show_user(model.find_user(&name)?))
}

/// Gives a user new secrets; the old ones are worth nothing from now on.
pub(super) async fn rotate(State(app): State<App>, Params(name): Params<String>) -> Answer<rest::UserSecrets> {
    let fresh = Fresh::for_user(&name, app.state.now().wall_ms);
    let changed = app.change(fresh.rotate()).await?;
    ok(fresh.shown(&changed.model)?)
}

pub(super) async fn delete(State(app): State<App>, Params(name): Params<String>) -> Answer<Nothing> {
    app.change(Command::Access(Change::Delete { name })).await?;
    ok(Nothing {})
}

pub(super) async fn whoami(State(app): State<App>, Extension(caller): Extension<Caller>) -> Answer<rest::Whoami> {
    let model = app.state.model();
    let Caller { name, access_key_id, role, tenant } = caller;
    ok(rest::Whoami {
        arn: model.user_arn(&name),
        name,
        role,
        tenant,
        access_key_id: Some(access_key_id).filter(|id| !id.is_empty()),
        account: model.site().account.clone(),
        region: model.site().region.clone(),
    })
}

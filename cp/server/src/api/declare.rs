//! The configuration as one document: shown, and made so.

use axum::extract::{Extension, State};
use leat_aws::Caller;
use leat_model::{Command, Id, rest};

use super::App;
use super::body::{Answer, Body, Parameters, ok};

pub(super) async fn show(State(app): State<App>) -> Answer<rest::Document> {
    ok(app.state.model().document())
}

/// Makes the configuration what a document says, all or nothing, or says what that would change.
pub(super) async fn apply(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Parameters(query): Parameters<rest::ApplyQuery>,
    Body(document): Body<rest::Document>,
) -> Answer<rest::Plan> {
    let plan = app.state.model().plan(&document, query.prune, app.state.now(), || Id(rand::random()))?;
    let applied = !query.dry_run;
    if applied {
        app.change(Command::All(plan.commands).on_behalf_of(caller.tenant.as_deref())).await?;
    }
    ok(rest::Plan { changes: plan.changes, applied })
}

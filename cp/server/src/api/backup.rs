//! Backup and restore.

use axum::extract::State;
use leat_model::rest;

use super::App;
use super::body::{Answer, Body, ok};
use crate::backup;

pub(super) async fn show(State(app): State<App>) -> Answer<rest::Backup> {
    ok(backup::make(&app.state.model(), app.state.now())?)
}

pub(super) async fn restore(State(app): State<App>, Body(request): Body<rest::Backup>) -> Answer<rest::Restored> {
    let changed = app.change(backup::restore(request)?).await?;
    ok(rest::Restored { epoch: changed.model.epoch(), applied: changed.applied })
}

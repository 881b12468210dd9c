//! The certificate store.

use axum::extract::State;
use leat_model::certificate::Change;
use leat_model::{Command, rest};

use super::App;
use super::body::{Answer, Body, Nothing, Params, created, ok};
use crate::certificates;

pub(super) async fn list(State(app): State<App>) -> Answer<rest::Certificates> {
    ok(app.state.model().show_certificates())
}

pub(super) async fn import(
    State(app): State<App>,
    Body(request): Body<rest::ImportCertificate>,
) -> Answer<rest::Certificate> {
    let (model, arn) = certificates::import(&app, request).await?;
    created(model.show_certificate(model.find_certificate(&arn)?))
}

pub(super) async fn show(State(app): State<App>, Params(arn): Params<String>) -> Answer<rest::Certificate> {
    let model = app.state.model();
    ok(model.show_certificate(model.find_certificate(&arn)?))
}

pub(super) async fn delete(State(app): State<App>, Params(arn): Params<String>) -> Answer<Nothing> {
    let arn = app.state.model().find_certificate(&arn)?.arn.clone();
    app.change(Command::Certificate(Change::Delete { arn })).await?;
    ok(Nothing {})
}

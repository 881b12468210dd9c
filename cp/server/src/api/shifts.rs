//! Zonal shifts.

use axum::extract::State;
use leat_model::shift::Change;
use leat_model::{Command, rest};

use super::App;
use super::body::{Answer, Body, Parameters, Params, created, ok};
use super::page::page;

pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::PageQuery>,
) -> Answer<rest::ZonalShifts> {
    let (model, now) = (app.state.model(), app.state.now());
    let shown = model.shifts().filter_map(|(id, _)| model.show_shift(id, now).ok()).collect();
    let newest_first = |shift: &rest::ZonalShift| (u64::MAX - shift.start_ms, shift.id.clone());
    let (zonal_shifts, next_cursor) = page(shown, newest_first, query.limit, query.cursor.as_deref())?;
    ok(rest::ZonalShifts { zonal_shifts, next_cursor })
}

pub(super) async fn start(
    State(app): State<App>,
    Body(request): Body<rest::StartZonalShift>,
) -> Answer<rest::ZonalShift> {
    let id = super::aws::request_id();
    let changed = app.change(Command::Shift(Change::Start { request, id: id.clone() })).await?;
    created(changed.model.show_shift(&id, app.state.now())?)
}

pub(super) async fn show(State(app): State<App>, Params(id): Params<String>) -> Answer<rest::ZonalShift> {
    ok(app.state.model().show_shift(&id, app.state.now())?)
}

pub(super) async fn update(
    State(app): State<App>,
    Params(id): Params<String>,
    Body(request): Body<rest::UpdateZonalShift>,
) -> Answer<rest::ZonalShift> {
    let changed = app.change(Command::Shift(Change::Update { id: id.clone(), request })).await?;
    ok(changed.model.show_shift(&id, app.state.now())?)
}

/// Ends a shift; it stays in the list for a time.
pub(super) async fn cancel(State(app): State<App>, Params(id): Params<String>) -> Answer<rest::ZonalShift> {
    let changed = app.change(Command::Shift(Change::Cancel { id: id.clone() })).await?;
    ok(changed.model.show_shift(&id, app.state.now())?)
}

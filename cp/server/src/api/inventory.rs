//! The inventory: what is declared of the network.

use axum::extract::State;
use leat_model::inventory::Change;
use leat_model::{Command, Error, rest};

use super::App;
use super::body::{Answer, Body, Nothing, Params, ok};

pub(super) async fn show(State(app): State<App>) -> Answer<rest::Inventory> {
    ok(app.state.model().show_inventory())
}

/// Replaces everything that is declared.
pub(super) async fn put(State(app): State<App>, Body(inventory): Body<rest::Inventory>) -> Answer<rest::Inventory> {
    let changed = app.change(Command::Inventory(Change::Put(inventory))).await?;
    ok(changed.model.show_inventory())
}

pub(super) async fn show_instance(State(app): State<App>, Params(id): Params<String>) -> Answer<rest::InstanceSpec> {
    ok(app.state.model().find_instance(&id)?.clone())
}

/// Declares one instance, or replaces the one of its id.
pub(super) async fn put_instance(
    State(app): State<App>,
    Params(id): Params<String>,
    Body(instance): Body<rest::InstanceSpec>,
) -> Answer<rest::InstanceSpec> {
    if instance.id != id {
        let message = "the id in the body is another one than that in the path; give the same";
        return Err(Error::invalid("id", message).into());
    }
    let changed = app.change(Command::Inventory(Change::PutInstance(instance))).await?;
    ok(changed.model.find_instance(&id)?.clone())
}

pub(super) async fn modify_instance(
    State(app): State<App>,
    Params(id): Params<String>,
    Body(request): Body<rest::ModifyInstance>,
) -> Answer<rest::InstanceSpec> {
    let changed = app.change(Command::Inventory(Change::ModifyInstance(id.clone(), request))).await?;
    ok(changed.model.find_instance(&id)?.clone())
}

pub(super) async fn delete_instance(State(app): State<App>, Params(id): Params<String>) -> Answer<Nothing> {
    app.change(Command::Inventory(Change::DeleteInstance(id))).await?;
    ok(Nothing {})
}

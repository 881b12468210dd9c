//! Target groups, their attributes and targets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use leat_model::resource::TargetGroup;
use leat_model::view::not_registered;
use leat_model::{Code, Command, Error, Id, attributes, check, rest};

use super::body::{Answer, Body, Nothing, Parameters, Params, created, ok};
use super::{App, Changed};
use crate::stats;

/// Longest time that a caller may let a change wait.
const WAIT_SECONDS_MAX: u64 = 300;

pub(super) async fn list(State(app): State<App>) -> Answer<rest::TargetGroups> {
    ok(app.state.model().show_target_groups())
}

/// The group that a change was about.
fn changed_group(changed: &Changed) -> Result<&TargetGroup, Error> {
    let group = changed.effects.id.and_then(|id| changed.model.target_group(id));
    group.ok_or_else(|| Error::new(Code::TargetGroupNotFound, "the target group was deleted meanwhile"))
}

pub(super) async fn create(
    State(app): State<App>,
    Body(request): Body<rest::CreateTargetGroup>,
) -> Answer<rest::TargetGroup> {
    let changed = app.change(Command::CreateTargetGroup { request, id: Id(rand::random()) }).await?;
    created(changed.model.show_target_group(changed_group(&changed)?))
}

pub(super) async fn show(State(app): State<App>, Params(group): Params<String>) -> Answer<rest::TargetGroup> {
    let model = app.state.model();
    ok(model.show_target_group(model.find_target_group(&group)?))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Body(request): Body<rest::ModifyTargetGroup>,
) -> Answer<rest::TargetGroup> {
    let changed = app.change(Command::ModifyTargetGroup { target_group, request }).await?;
    ok(changed.model.show_target_group(changed_group(&changed)?))
}

pub(super) async fn delete(State(app): State<App>, Params(target_group): Params<String>) -> Answer<Nothing> {
    app.change(Command::DeleteTargetGroup { target_group }).await?;
    ok(Nothing {})
}

fn show_attributes(group: &TargetGroup) -> rest::AttributesBody {
    rest::AttributesBody { attributes: attributes::all(&group.attributes, group.protocol, group.target_type) }
}

pub(super) async fn attributes(State(app): State<App>, Params(group): Params<String>) -> Answer<rest::AttributesBody> {
    ok(show_attributes(app.state.model().find_target_group(&group)?))
}

pub(super) async fn modify_attributes(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Body(request): Body<rest::AttributesBody>,
) -> Answer<rest::AttributesBody> {
    let attributes = request.attributes;
    let changed = app.change(Command::ModifyAttributes { target_group, attributes }).await?;
    ok(show_attributes(changed_group(&changed)?))
}

/// `address` or `address:port`, of IPv6 `[address]:port`.
fn socket(text: &str, default_port: u16) -> Result<(IpAddr, u16), Error> {
    if let Ok(socket) = text.parse::<SocketAddr>().as_ref() {
        return Ok((socket.ip(), check::port("target", socket.port().into())?));
    }
    match text.rsplit_once(':').filter(|(address, _)| !address.contains(':') || address.ends_with(']')) {
        Some((address, port)) => {
            let number = port.parse().map_err(|_| super::body::port(port).err());
            let port = check::port("target", number.unwrap_or(0))?;
            Ok((check::address(Code::InvalidTarget, "target", address)?, port))
        }
        None => Ok((check::address(Code::InvalidTarget, "target", text)?, default_port)),
    }
}

pub(super) async fn targets(
    State(app): State<App>,
    Params(group): Params<String>,
    Parameters(query): Parameters<rest::TargetsQuery>,
) -> Answer<rest::Targets> {
    let model = app.state.model();
    let group = model.find_target_group(&group)?;
    let wanted = query.target.map(|text| socket(&text, group.port)).transpose()?;
    let (now, plane) = (app.state.now(), app.publisher.plane());
    let shown = |target: &leat_model::resource::Target| rest::Target {
        id: target.name.clone().unwrap_or_else(|| target.address.to_string()),
        address: Some(target.address),
        port: target.port,
        zone: model.zone_of(target).into(),
        health: model.show_health(target, now),
        flows: stats::target_flows(&model, plane.as_deref(), target.slot),
    };
    let mut targets: Vec<rest::Target> = model
        .targets_of(group.id)
        .filter(|target| wanted.is_none_or(|wanted| wanted == (target.address, target.port)))
        .map(shown)
        .collect();
    if let (Some((address, port)), true) = (wanted, targets.is_empty()) {
        targets.push(rest::Target {
            id: address.to_string(),
            address: Some(address),
            port,
            zone: String::new(),
            health: not_registered(),
            flows: rest::TargetFlows::default(),
        });
    }
    ok(rest::Targets { targets })
}

fn patience(query: rest::WaitQuery) -> Result<Option<Duration>, Error> {
    match query.wait {
        Some(seconds) if seconds > WAIT_SECONDS_MAX => {
            let message = format!("{seconds} is out of range; allowed are 0 to {WAIT_SECONDS_MAX} seconds");
            Err(Error::invalid("wait", message))
        }
        wait => Ok(wait.map(Duration::from_secs)),
    }
}

pub(super) async fn register(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Parameters(query): Parameters<rest::WaitQuery>,
    Body(request): Body<rest::TargetsRequest>,
) -> Answer<rest::Applied> {
    let command = Command::RegisterTargets { target_group, targets: request.targets };
    let changed = app.change_and_wait(command, patience(query)?).await?;
    let warnings = changed_group(&changed).map_or_else(|_| Vec::new(), |group| changed.model.target_warnings(group));
    ok(rest::Applied { applied: changed.applied, warnings })
}

/// 200 when every lcore has the new tables, 202 when they follow.
pub(super) async fn deregister(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Parameters(query): Parameters<rest::WaitQuery>,
    Body(request): Body<rest::TargetsRequest>,
) -> Answer<rest::Applied> {
    let command = Command::DeregisterTargets { target_group, targets: request.targets };
    let Changed { applied, .. } = app.change_and_wait(command, patience(query)?).await?;
    let status = if applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(rest::Applied { applied, warnings: Vec::new() })))
}

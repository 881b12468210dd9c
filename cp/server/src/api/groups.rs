//! Target groups, their attributes and targets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use leat_aws::Caller;
use leat_model::error::Shown;
use leat_model::resource::TargetGroup;
use leat_model::rest::{TargetOrder, TargetState, TargetType};
use leat_model::{Code, Command, Error, Id, Model, Now, attributes, check, rest};

use super::body::{Answer, Body, Nothing, Parameters, Params, created, ok};
use super::page::page;
use super::{App, Changed};
use crate::stats;

/// Longest time that a caller may let a change wait.
const WAIT_SECONDS_MAX: u64 = 300;

pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::ListQuery>,
) -> Answer<rest::TargetGroups> {
    let model = app.state.model();
    let own = model.target_groups().filter(|group| group.classic.is_none());
    let own = own.filter(|group| query.name.as_ref().is_none_or(|name| group.name == *name));
    let now = app.state.now();
    let shown = own.map(|group| counted(&model, group, now)).collect();
    let (target_groups, next_cursor) = page(shown, |group| group.name.clone(), query.limit, query.cursor.as_deref())?;
    ok(rest::TargetGroups { target_groups, next_cursor })
}

/// Finds a target group that is one of its own.
pub(super) fn find<'m>(model: &'m Model, wanted: &str) -> Result<&'m TargetGroup, Error> {
    let found = model.find_target_group(wanted)?;
    if found.classic.is_none() {
        return Ok(found);
    }
    Err(Error::new(Code::TargetGroupNotFound, format!("there is no target group {}", Shown(wanted))))
}

/// A group with the numbers of its targets.
fn counted(model: &Model, group: &TargetGroup, now: Now) -> rest::TargetGroup {
    rest::TargetGroup { target_counts: Some(model.count_targets(group, now)), ..model.show_target_group(group) }
}

/// The group that a change was about.
fn changed_group(changed: &Changed) -> Result<&TargetGroup, Error> {
    let group = changed.effects.id.and_then(|id| changed.model.target_group(id));
    group.ok_or_else(|| Error::new(Code::TargetGroupNotFound, "the target group was deleted meanwhile"))
}

pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<rest::CreateTargetGroup>,
) -> Answer<rest::TargetGroup> {
    let command = Command::CreateTargetGroup { request, id: Id(rand::random()) };
    let changed = app.change(command.on_behalf_of(caller.tenant.as_deref())).await?;
    created(counted(&changed.model, changed_group(&changed)?, app.state.now()))
}

pub(super) async fn show(State(app): State<App>, Params(group): Params<String>) -> Answer<rest::TargetGroup> {
    let model = app.state.model();
    ok(counted(&model, find(&model, &group)?, app.state.now()))
}

pub(super) async fn modify(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Body(request): Body<rest::ModifyTargetGroup>,
) -> Answer<rest::TargetGroup> {
    find(&app.state.model(), &target_group)?;
    let changed = app.change(Command::ModifyTargetGroup { target_group, request }).await?;
    ok(counted(&changed.model, changed_group(&changed)?, app.state.now()))
}

pub(super) async fn delete(State(app): State<App>, Params(target_group): Params<String>) -> Answer<Nothing> {
    if find(&app.state.model(), &target_group).is_ok() {
        app.change(Command::DeleteTargetGroup { target_group }).await?;
    }
    ok(Nothing {})
}

fn show_attributes(group: &TargetGroup) -> rest::AttributesBody {
    rest::AttributesBody { attributes: attributes::all(&group.attributes, group.protocol, group.target_type) }
}

pub(super) async fn attributes(State(app): State<App>, Params(group): Params<String>) -> Answer<rest::AttributesBody> {
    ok(show_attributes(find(&app.state.model(), &group)?))
}

pub(super) async fn modify_attributes(
    State(app): State<App>,
    Params(target_group): Params<String>,
    Body(request): Body<rest::AttributesBody>,
) -> Answer<rest::AttributesBody> {
    find(&app.state.model(), &target_group)?;
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
    let group = find(&model, &group)?;
    let wanted = query.target.as_deref().map(|text| named(group, text)).transpose()?;
    let wanted_port = query.port.map(|port| check::port("port", port)).transpose()?;
    let plane = app.publisher.plane();
    let flows = |slot| stats::target_flows(&model, plane.as_deref(), slot);
    let shown = model.show_targets(group, wanted.as_ref().map(std::slice::from_ref), app.state.now(), flows);
    let mut targets = shown.map_err(|error| Error { field: Some("target".into()), ..error })?;
    targets.retain(|target| {
        let is_address = |begin: &String| target.address.is_some_and(|it| it.to_string().starts_with(begin.as_str()));
        query.id.as_ref().is_none_or(|begin| target.id.starts_with(begin.as_str()) || is_address(begin))
            && wanted_port.is_none_or(|port| target.port == port)
            && query.zone.as_ref().is_none_or(|zone| target.zone == *zone)
            && query.state.is_none_or(|state| target.health.state == state)
    });
    let key = |target: &rest::Target| (rank(target, query.sort), target.address, target.port, target.id.clone());
    let (targets, next_cursor) = page(targets, key, query.limit, query.cursor.as_deref())?;
    ok(rest::Targets { targets, next_cursor })
}

/// What a target is sorted by first.
fn rank(target: &rest::Target, order: Option<TargetOrder>) -> String {
    match order.unwrap_or_default() {
        TargetOrder::Address => String::new(),
        TargetOrder::Port => format!("{:05}", target.port),
        TargetOrder::Zone => target.zone.clone(),
        TargetOrder::State => {
            let worst_first = [
                TargetState::Unhealthy,
                TargetState::Unavailable,
                TargetState::Initial,
                TargetState::Draining,
                TargetState::Unused,
                TargetState::Healthy,
            ];
            worst_first.iter().position(|state| *state == target.health.state).unwrap_or_default().to_string()
        }
    }
}

/// What `?target=` names: an address, an instance or an application load balancer, with its port after a colon or without.
fn named(group: &TargetGroup, text: &str) -> Result<rest::TargetSpec, Error> {
    let spec = |id: String, port: Option<u16>| rest::TargetSpec { id, port: port.map(i64::from), zone: None };
    match group.target_type {
        TargetType::Ip => socket(text, group.port).map(|(address, port)| spec(address.to_string(), Some(port))),
        TargetType::Alb => Ok(spec(text.into(), None)),
        TargetType::Instance => Ok(match text.rsplit_once(':').map(|(id, port)| (id, port.parse())) {
            Some((id, Ok(port))) => spec(id.into(), Some(port)),
            _ => spec(text.into(), None),
        }),
    }
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
    Extension(caller): Extension<Caller>,
    Params(target_group): Params<String>,
    Parameters(query): Parameters<rest::WaitQuery>,
    Body(request): Body<rest::TargetsRequest>,
) -> Answer<rest::Applied> {
    find(&app.state.model(), &target_group)?;
    let command = Command::RegisterTargets { target_group, targets: request.targets };
    let command = command.on_behalf_of(caller.tenant.as_deref());
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
    find(&app.state.model(), &target_group)?;
    let command = Command::DeregisterTargets { target_group, targets: request.targets };
    let Changed { applied, .. } = app.change_and_wait(command, patience(query)?).await?;
    let status = if applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(rest::Applied { applied, warnings: Vec::new() })))
}

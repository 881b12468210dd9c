//! Status, statistics, live flows, traces.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::extract::State;
use leat_abi::flow::protocol;
use leat_abi::message::{ANY_PORT, Filter, TRACE_PACKETS_MAX};
use leat_model::error::Shown;
use leat_model::resource::ListenerSlot;
use leat_model::rest::{self, Protocol};
use leat_model::{Code, Error, Model, check};
use tokio::sync::oneshot;

use super::App;
use super::body::{Answer, Body, Parameters, Params, created, ok};
use crate::events::{Names, Request};
use crate::stats;

pub(super) async fn status(State(app): State<App>) -> Answer<rest::Status> {
    let progress = *app.publisher.progress().borrow();
    ok(rest::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch: app.state.model().epoch(),
        applied_epoch: progress.applied_epoch,
        problems: app.publisher.problems(),
        warnings: app.state.model().warnings().into_iter().chain(app.webhooks.warnings()).collect(),
        data_plane: app.publisher.plane().map(|plane| plane.status()).unwrap_or_default(),
    })
}

pub(super) async fn dns(State(app): State<App>) -> Answer<rest::Dns> {
    ok(app.dns.show())
}

pub(super) async fn stats(State(app): State<App>) -> Answer<rest::Stats> {
    ok(stats::collect(&app.state.model(), app.publisher.plane().as_deref()))
}

/// Refuses when there is nobody to ask.
fn need_data_plane(app: &App) -> Result<(), Error> {
    if app.publisher.plane().is_some_and(|plane| plane.is_alive()) {
        return Ok(());
    }
    let message = "no data plane is attached; start leat-dp, with the same --segment as leat-cp";
    Err(Error::new(Code::ServiceUnavailable, message))
}

fn number(protocol: Option<Protocol>) -> Result<u8, Error> {
    match protocol {
        None => Ok(0),
        Some(Protocol::Tcp) => Ok(protocol::TCP),
        Some(Protocol::Udp) => Ok(protocol::UDP),
        Some(other) => {
            let message = format!("{other} is no packet's protocol; give TCP or UDP, or nothing for both");
            Err(Error::invalid("protocol", message))
        }
    }
}

fn address(field: &str, text: &str) -> Result<IpAddr, Error> {
    let address: Result<IpAddr, _> = text.parse();
    let message = || format!("{} is not an address; write it like 10.2.0.11 or 2001:db8::11", Shown(text));
    address.map(|address| address.to_canonical()).map_err(|_| Error::invalid(field, message()))
}

/// `address`, `address:port` or `[address]:port`; absent means any.
fn socket(field: &str, text: Option<&str>) -> Result<(Option<IpAddr>, u16), Error> {
    let Some(text) = text else { return Ok((None, 0)) };
    match text.rsplit_once(':') {
        Some((host, port)) if text.parse::<IpAddr>().is_err() => {
            let port = check::port(field, port.parse().unwrap_or(0))?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Ok((Some(address(field, host)?), port))
        }
        _ => Ok((Some(address(field, text)?), 0)),
    }
}

const FLOWS_DEFAULT: u32 = 1000;
const FLOWS_MAX: u32 = 10_000;

pub(super) async fn flows(
    State(app): State<App>,
    Parameters(query): Parameters<rest::FlowsQuery>,
) -> Answer<rest::Flows> {
    let limit = check::number("limit", query.limit.unwrap_or(FLOWS_DEFAULT).into(), 1, FLOWS_MAX, "flows")?;
    let (source, source_port) = socket("client", query.client.as_deref())?;
    let (destination, destination_port) = socket("vip", query.vip.as_deref())?;
    let target = query.target.as_deref().map(|text| address("target", text)).transpose()?;
    let filter =
        Filter { protocol: number(query.protocol)?, source, destination, source_port, destination_port, target };
    need_data_plane(&app)?;
    let (reply, answer) = oneshot::channel();
    app.publisher.request(Request::Flows { limit, filter, reply });
    match answer.await {
        Ok(flows) => ok(flows),
        Err(_) => Err(Error::new(Code::ServiceUnavailable, "the data plane went away; try again").into()),
    }
}

const TRACE_DEFAULT: i64 = 50;

pub(super) async fn create_trace(
    State(app): State<App>,
    Body(request): Body<rest::CreateTrace>,
) -> Answer<rest::TraceCreated> {
    let count = check::number("count", request.count.unwrap_or(TRACE_DEFAULT), 1, TRACE_PACKETS_MAX, "packets")?;
    let filter = &request.filter;
    let at = |field: &str, text: &Option<String>| text.as_deref().map(|text| address(field, text)).transpose();
    let port = |field: &str, port: Option<i64>| port.map_or(Ok(0), |port| check::port(field, port));
    let filter = Filter {
        protocol: number(filter.protocol).map_err(|e| Error { field: Some("filter.protocol".into()), ..e })?,
        source: at("filter.source", &filter.source)?,
        destination: at("filter.destination", &filter.destination)?,
        source_port: port("filter.sourcePort", filter.source_port)?,
        destination_port: port("filter.destinationPort", filter.destination_port)?,
        target: None,
    };
    need_data_plane(&app)?;
    let ports = app.publisher.plane().map(|plane| plane.port_names()).unwrap_or_default();
    let port = match &request.port {
        None => ANY_PORT,
        Some(name) => {
            let found = ports.iter().position(|port| port == name).and_then(|n| u8::try_from(n).ok());
            found.ok_or_else(|| {
                let message = format!("the data plane has no port {}; its ports are {}", Shown(name), ports.join(", "));
                Error::invalid("port", message)
            })?
        }
    };
    let id = app.traces.begin(count);
    let names = Names { ports, listeners: listener_names(&app.state.model()) };
    app.publisher.request(Request::Trace { id, count, port, filter, names, traces: app.traces.clone() });
    created(rest::TraceCreated { id })
}

/// What each listener slot is called: `front TCP 80`.
fn listener_names(model: &Model) -> HashMap<u16, String> {
    let mut names = HashMap::new();
    for listener in model.listeners() {
        let balancer = model.load_balancer(listener.load_balancer).map_or("", |balancer| &balancer.name);
        let name = |place: &ListenerSlot| (place.slot, format!("{balancer} {} {}", place.protocol, listener.port));
        names.extend(listener.slots.iter().map(name));
    }
    names
}

pub(super) async fn show_trace(State(app): State<App>, Params(id): Params<String>) -> Answer<rest::Trace> {
    let found = id.parse().ok().and_then(|id| app.traces.get(id));
    let message = || format!("there is no trace {}; the newest 16 are kept, until leat-cp ends", Shown(&id));
    ok(found.ok_or_else(|| Error::new(Code::TraceNotFound, message()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_people_write_them() {
        let read = |text: &str| socket("client", Some(text)).map_err(|error| error.message);
        let ip = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(socket("client", None).expect("any"), (None, 0));
        assert_eq!(read("10.1.0.10"), Ok((ip("10.1.0.10"), 0)));
        assert_eq!(read("10.1.0.10:80"), Ok((ip("10.1.0.10"), 80)));
        assert_eq!(read("2001:db8::1"), Ok((ip("2001:db8::1"), 0)));
        assert_eq!(read("[2001:db8::1]:443"), Ok((ip("2001:db8::1"), 443)));
        assert_eq!(read("::ffff:10.1.0.10"), Ok((ip("10.1.0.10"), 0)));
        for wrong in ["", "10.1.0", "10.1.0.10:0", "10.1.0.10:65536", "[2001:db8::1]", "2001:db8::x", "front:80"] {
            read(wrong).expect_err(wrong);
        }
    }
}

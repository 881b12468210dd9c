//! The paths of ARC zonal shift, beside `POST /`: the operations are those of [`leat_aws::zonal_shift`].

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use leat_aws::zonal_shift::{ROUTES, Route, error_answer};
use leat_aws::{Caller, form};
use leat_model::Error;
use serde_json::Value;

use super::App;
use super::aws::{self, Decoded};
use super::guard::RequestId;
use crate::limit;

/// The routes.
pub(super) fn router() -> Router<App> {
    let add = |router: Router<App>, route: &'static Route| {
        let filter = MethodFilter::try_from(method(route)).unwrap_or(MethodFilter::GET);
        router.route(&matched(route), on(filter, move |app, caller, id, decoded| call(route, app, caller, id, decoded)))
    };
    ROUTES.iter().fold(Router::new(), add)
}

fn method(route: &Route) -> axum::http::Method {
    route.method.parse().unwrap_or_default()
}

/// The path as the router knows it. The parameter may have slashes: some clients write those of ARNs as they are.
fn matched(route: &Route) -> String {
    route.path.replace('{', "{*")
}

/// Finds the operation and its parameters; none: the path is another one, or does not know the method.
pub(super) fn decode(
    method: &str,
    path: &str,
    parameters: &[(String, String)],
    query: Option<&str>,
    body: &[u8],
) -> Option<Decoded> {
    let route = ROUTES.iter().find(|route| route.method == method && matched(route) == path)?;
    let query = form::decode(query.unwrap_or_default().as_bytes());
    let input = match (query, limit::check_depth(body)) {
        (Ok(mut query), Ok(())) => {
            query.retain(|(name, _)| !name.starts_with("X-Amz-"));
            route.input(parameters.first().map(|(_, value)| &**value), query, body)
        }
        _ => Value::Null,
    };
    Some(Decoded::json(route.operation()?, input))
}

async fn call(
    route: &Route,
    app: State<App>,
    caller: Extension<Caller>,
    id: Extension<RequestId>,
    decoded: Extension<Decoded>,
) -> Response {
    let mut response = aws::call(app, caller, id, decoded).await;
    if response.status().is_success() {
        *response.status_mut() = StatusCode::from_u16(route.status).unwrap_or_default();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// An error in the form of the protocol.
pub(super) fn refusal(error: &Error) -> Response {
    let (status, kind, body) = error_answer(error);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = (header::HeaderName::from_static("x-amzn-errortype"), kind);
    (status, [(header::CONTENT_TYPE, "application/json"), kind], body.to_string()).into_response()
}

//! The paths of ARC zonal shift, beside `POST /`: the operations are those of [`leat_aws::zonal_shift`].

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use leat_aws::operation::Run;
use leat_aws::zonal_shift::{ROUTES, Route, error_answer};
use leat_aws::{Operation, form};
use leat_model::{Code, Error};
use serde_json::Value;

use super::App;
use super::aws::{REQUEST_ID, request_id};
use super::body::BODY_BYTES_MAX;
use crate::access;

/// The routes.
pub fn router() -> Router<App> {
    ROUTES.iter().filter_map(|route| Some((route, route.operation()?))).fold(
        Router::new(),
        |router, (route, operation)| {
            let handler = move |State(app): State<App>, parameter: Option<Path<String>>, request: Request| {
                call(app, route, operation, parameter.map(|Path(text)| text), request)
            };
            // The parameter may have slashes: some clients write those of ARNs as they are.
            router.route(&route.path.replace('{', "{*"), on(filter(route.method), handler))
        },
    )
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

async fn call(
    app: App,
    route: &'static Route,
    operation: &'static Operation,
    parameter: Option<String>,
    request: Request,
) -> Response {
    let request_id = request_id();
    match answer(app, route, operation, parameter, request).await {
        Ok(value) => respond(route.status, &request_id, None, &value),
        Err(error) => {
            let (status, kind, body) = error_answer(&error);
            respond(status, &request_id, Some(kind), &body)
        }
    }
}

async fn answer(
    app: App,
    route: &Route,
    operation: &Operation,
    parameter: Option<String>,
    request: Request,
) -> Result<Value, Error> {
    let (parts, body) = request.into_parts();
    let cut_off = |_| Error::new(Code::RequestTooLarge, "the body is larger than 1 MiB, or was cut off");
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(cut_off)?;
    let caller = access::authenticate(&parts, &body)?;
    if caller.role < operation.role {
        let message = format!(
            "User: {} is not authorized to perform: {}:{}; its role is {}, and {} is needed",
            caller.name,
            operation.service.signing_name(),
            operation.name,
            caller.role.name(),
            operation.role.name()
        );
        return Err(Error::new(Code::AccessDenied, message));
    }
    let query = form::decode(parts.uri.query().unwrap_or_default().as_bytes());
    let query =
        query.map_err(|error| Error::new(Code::ValidationError, format!("the query cannot be read: {error}")))?;
    let input = route.input(parameter.as_deref(), query, &body)?;
    let Run::Json(run) = operation.run else {
        return Err(Error::new(Code::InvalidAction, "the operation is not of this protocol"));
    };
    app.perform(&caller, |context| run(context, &input)).await
}

fn respond(status: u16, request_id: &str, kind: Option<&str>, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(header::CONTENT_TYPE, "application/json"), (REQUEST_ID, request_id)];
    let mut response = (status, headers, body.to_string()).into_response();
    if let Some(kind) = kind.and_then(|kind| kind.parse().ok()) {
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    response
}

//! `POST /`: AWS's query and JSON protocols.

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leat_aws::operation::{self, Run};
use leat_aws::{Context, Operation, Params, Reply, Service, form};
use leat_model::{Code, Error, Id};
use serde_json::{Value, json};

use super::App;
use super::body::BODY_BYTES_MAX;
use crate::{access, certificates};

/// A decoded request.
enum Input {
    Query(Params),
    Json(Value),
}

pub(super) async fn call(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let request_id = request_id();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        let error = Error::new(Code::RequestTooLarge, "the body is larger than 1 MiB, or was cut off");
        return refusal(is_json(&parts.headers), Service::ElbV2, &error, &request_id);
    };
    let json = is_json(&parts.headers);
    let (operation, input) = match decode(&parts.headers, parts.uri.query(), &body) {
        Ok(decoded) => decoded,
        Err(error) => return refusal(json, Service::ElbV2, &error, &request_id),
    };
    let caller = match access::authenticate(&parts, &body) {
        Ok(caller) if caller.role >= operation.role => caller,
        Ok(caller) => {
            let message = format!(
                "User: {} is not authorized to perform: {}:{}; its role is {}, and {} is needed",
                caller.name,
                operation.service.signing_name(),
                operation.name,
                caller.role.name(),
                operation.role.name()
            );
            return refusal(json, operation.service, &Error::new(Code::AccessDenied, message), &request_id);
        }
        Err(error) => return refusal(json, operation.service, &error, &request_id),
    };
    let result = match (operation.run, input) {
        (Run::Query(run), Input::Query(params)) => app
            .perform(&caller, |context| run(context, &params))
            .await
            .map(|content| (operation::answer(operation, content, &request_id), "text/xml")),
        (Run::Json(run), Input::Json(value)) => app
            .perform(&caller, |context| run(context, &value))
            .await
            .map(|answer| (answer.to_string(), "application/x-amz-json-1.1")),
        _ => Err(Error::new(Code::InvalidAction, "the operation is not of this protocol")),
    };
    match result {
        Ok((body, kind)) => {
            let headers = [(header::CONTENT_TYPE, kind), (REQUEST_ID, request_id.as_str())];
            (StatusCode::OK, headers, body).into_response()
        }
        Err(error) => refusal(json, operation.service, &error, &request_id),
    }
}

const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-amzn-requestid");

fn is_json(headers: &HeaderMap) -> bool {
    headers.contains_key("x-amz-target")
}

fn decode(headers: &HeaderMap, query: Option<&str>, body: &Bytes) -> Result<(&'static Operation, Input), Error> {
    if let Some(target) = headers.get("x-amz-target") {
        let operation = operation::of_target(target.to_str().unwrap_or_default())?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { body };
        let value = serde_json::from_slice(text)
            .map_err(|error| Error::new(Code::ValidationError, format!("the body is not JSON: {error}")))?;
        return Ok((operation, Input::Json(value)));
    }
    let wrong = |error: form::FormError| Error::new(Code::ValidationError, format!("the form cannot be read: {error}"));
    let mut pairs = form::decode(query.unwrap_or_default().as_bytes()).map_err(wrong)?;
    pairs.extend(form::decode(body).map_err(wrong)?);
    let params = Params::new(pairs);
    let action = params.get("Action").unwrap_or_default();
    if action.is_empty() {
        return Err(Error::new(Code::InvalidAction, "the request names no Action"));
    }
    let operation = operation::of_query(params.get("Version").unwrap_or_default(), action)?;
    Ok((operation, Input::Query(params)))
}

impl App {
    /// Runs an operation and carries out what it asks for.
    async fn perform<B>(
        &self,
        caller: &leat_aws::Caller,
        run: impl FnOnce(&Context<'_>) -> Result<Reply<B>, Error>,
    ) -> Result<B, Error> {
        let model = self.state.model();
        let id = Id(rand::random());
        match run(&Context { model: &model, now: self.state.now(), caller, id })? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Change(command, answer) => {
                let command = command.on_behalf_of(caller.tenant.as_deref());
                let changed = self.change(command).await.map_err(|error| error.0)?;
                answer(&Context { model: &changed.model, now: self.state.now(), caller, id }, &changed.effects)
            }
            Reply::Import(import, answer) => {
                let (model, arn) = certificates::import(self, *import).await?;
                answer(&Context { model: &model, now: self.state.now(), caller, id }, &arn)
            }
            Reply::Events(..) => Err(Error::new(Code::InternalFailure, "this operation cannot be carried out")),
        }
    }
}

fn refusal(json: bool, service: Service, error: &Error, request_id: &str) -> Response {
    if json {
        let status = StatusCode::from_u16(operation::status(error.code)).unwrap_or(StatusCode::BAD_REQUEST);
        let body = json!({"__type": operation::code_name(service, error.code), "message": error.message});
        let headers = [(header::CONTENT_TYPE, "application/x-amz-json-1.1"), (REQUEST_ID, request_id)];
        return (status, headers, body.to_string()).into_response();
    }
    let (status, body) = operation::error_answer(service, error, request_id);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::CONTENT_TYPE, "text/xml"), (REQUEST_ID, request_id)], body).into_response()
}

/// A random id in the form of a UUID, version 4.
pub(super) fn request_id() -> String {
    let id: u128 = rand::random::<u128>() & !(0xf000_c000 << 48) | 0x4000_8000 << 48;
    let text = format!("{id:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

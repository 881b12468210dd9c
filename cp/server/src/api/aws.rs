//! `POST /`: AWS's query and JSON protocols.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leat_aws::operation::{self, Run};
use leat_aws::{Caller, Context, Element, Operation, Params, Reply, Service, form};
use leat_model::{Code, Error, Id};
use serde_json::{Value, json};

use super::guard::{Outcome, RequestId};
use super::{App, zonal};
use crate::{certificates, limit};

/// A decoded request.
#[derive(Clone)]
pub(super) struct Decoded {
    pub operation: &'static Operation,
    input: Input,
}

#[derive(Clone)]
enum Input {
    Query(Params),
    Json(Value),
}

impl Decoded {
    /// An operation with JSON parameters.
    pub fn json(operation: &'static Operation, input: Value) -> Self {
        Self { operation, input: Input::Json(input) }
    }

    /// The parameters, for the audit log.
    pub fn to_json(&self) -> Value {
        match &self.input {
            Input::Query(params) => params.to_json(),
            Input::Json(value) => value.clone(),
        }
    }
}

/// Carries an operation out that the guard has let in.
pub(super) async fn call(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(Decoded { operation, input }): Extension<Decoded>,
) -> Response {
    let json = matches!(input, Input::Json(_));
    let result = match (operation.run, input) {
        (Run::Query(run), Input::Query(params)) => {
            app.perform(&caller, |context| run(context, &params)).await.map(|content| {
                let elements = Element::to_json(&content);
                (operation::answer(operation, content, &request_id), "text/xml", elements)
            })
        }
        (Run::Json(run), Input::Json(value)) => app
            .perform(&caller, |context| run(context, &value))
            .await
            .map(|answer| (answer.to_string(), "application/x-amz-json-1.1", answer)),
        _ => Err(Error::new(Code::InvalidAction, "the operation is not of this protocol")),
    };
    let (mut response, outcome) = match result {
        Ok((body, kind, elements)) => {
            let says_nothing = elements.as_object().is_none_or(serde_json::Map::is_empty);
            let elements = if says_nothing { Value::Null } else { elements };
            ((StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response(), Outcome { error: None, elements })
        }
        Err(error) => {
            let response = refusal(json, operation.service, &error, &request_id);
            (response, Outcome { error: Some(error), elements: Value::Null })
        }
    };
    response.extensions_mut().insert(outcome);
    response
}

/// The header with the id of a request.
pub(super) const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-amzn-requestid");

/// Whether a request is of the JSON protocol.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.contains_key("x-amz-target")
}

/// Finds the operation and its parameters. A parameter that is given twice is refused: one who has not signed them could put the other
/// one last.
pub(super) fn decode(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Result<Decoded, Error> {
    if let Some(target) = headers.get("x-amz-target") {
        let operation = operation::of_target(target.to_str().unwrap_or_default())?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { body };
        limit::check_depth(text)?;
        let value = serde_json::from_slice(text)
            .map_err(|error| Error::new(Code::ValidationError, format!("the body is not JSON: {error}")))?;
        return Ok(Decoded { operation, input: Input::Json(value) });
    }
    let wrong = |error: form::FormError| Error::new(Code::ValidationError, format!("the form cannot be read: {error}"));
    let mut pairs = form::decode(query.unwrap_or_default().as_bytes()).map_err(wrong)?;
    pairs.retain(|(name, _)| !name.starts_with("X-Amz-"));
    pairs.extend(form::decode(body).map_err(wrong)?);
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let name = leat_model::error::Shown(twice[0]).to_string();
        return Err(Error::at(Code::ValidationError, twice[0], format!("the parameter {name} is given twice")));
    }
    let params = Params::new(pairs);
    let action = params.get("Action").unwrap_or_default();
    if action.is_empty() {
        return Err(Error::new(Code::InvalidAction, "the request names no Action"));
    }
    let operation = operation::of_query(params.get("Version").unwrap_or_default(), action)?;
    Ok(Decoded { operation, input: Input::Query(params) })
}

impl App {
    /// Runs an operation and carries out what it asks for.
    pub(super) async fn perform<B>(
        &self,
        caller: &Caller,
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
            Reply::Events(query, answer) => {
                let events = self.guard.lookup(query).await?;
                answer(&Context { model: &self.state.model(), now: self.state.now(), caller, id }, &events)
            }
            Reply::Import(import, answer) => {
                let (model, arn) = certificates::import(self, *import).await?;
                answer(&Context { model: &model, now: self.state.now(), caller, id }, &arn)
            }
        }
    }
}

/// An error in the protocol's form.
pub(super) fn refusal(json: bool, service: Service, error: &Error, request_id: &str) -> Response {
    if service == Service::ZonalShift {
        return zonal::refusal(error);
    }
    if json {
        let status = StatusCode::from_u16(operation::status(error.code)).unwrap_or(StatusCode::BAD_REQUEST);
        let body = json!({"__type": operation::code_name(service, error.code), "message": error.message});
        return (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response();
    }
    let (status, body) = operation::error_answer(service, error, request_id);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// A random id in the form of a UUID, version 4.
pub(super) fn request_id() -> String {
    let id: u128 = rand::random::<u128>() & !(0xf000_c000 << 48) | 0x4000_8000 << 48;
    let text = format!("{id:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

//! Bodies, queries and path parameters in, JSON out, and every error in the same form.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use leat_model::error::Shown;
use leat_model::rest::{ErrorBody, ErrorDetail};
use leat_model::{Code, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use utoipa::ToSchema;

use super::shape;

/// Largest body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body of a call that takes a whole configuration.
const BACKUP_BYTES_MAX: usize = 64 << 20;

/// The largest body of a call.
pub fn bytes_max(path: &str) -> usize {
    if path == "/v1/restore" { BACKUP_BYTES_MAX } else { BODY_BYTES_MAX }
}
/// Longest text taken over from a parser's error.
const REASON_CHARS_MAX: usize = 300;

/// An error as an answer.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Error { code, message, field } = self.0;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = ErrorDetail { code: code.name().into(), message, field };
        (status, Json(ErrorBody { error })).into_response()
    }
}

/// What handlers return.
pub type Answer<T> = Result<(StatusCode, Json<T>), ApiError>;

/// 200 with a body.
pub fn ok<T: Serialize>(body: T) -> Answer<T> {
    Ok((StatusCode::OK, Json(body)))
}

/// 201 with a body.
pub fn created<T: Serialize>(body: T) -> Answer<T> {
    Ok((StatusCode::CREATED, Json(body)))
}

/// The answer to calls that have nothing to say: `{}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nothing {}

/// A JSON body. Its media type is not looked at: curl says it is a form.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + ToSchema, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let max = bytes_max(request.uri().path());
        let announced = axum::body::HttpBody::size_hint(request.body()).lower();
        let bytes = if announced > max as u64 { None } else { to_bytes(request.into_body(), max).await.ok() };
        let bytes = bytes.ok_or_else(|| {
            Error::new(
                Code::RequestTooLarge,
                format!("the body is larger than {max} bytes, or its end did not arrive; send less in one request"),
            )
        })?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads JSON; an error names the field.
fn parse<T: DeserializeOwned + ToSchema>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.trim_ascii().is_empty() {
        return Err(Error::new(Code::ValidationError, "the body is empty; send a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        explain(&error.into_inner(), (path != ".").then_some(path))
    })?;
    json.end().map_err(|error| explain(&error, None))?;
    let plain = serde_json::from_slice(bytes).map_err(|error| explain(&error, None))?;
    match shape::misfit(&plain, &T::schema(), "") {
        None => Ok(value),
        Some((path, wanted)) => {
            let field = (!path.is_empty()).then_some(path);
            Err(Error { code: Code::ValidationError, message: format!("invalid type, expected {wanted}"), field })
        }
    }
}

/// A parser's error for people.
fn explain(error: &serde_json::Error, path: Option<String>) -> Error {
    let text = error.to_string();
    if error.classify() != Category::Data {
        let short: String = text.chars().take(REASON_CHARS_MAX).collect();
        return Error::new(Code::ValidationError, format!("the body is not JSON: {short}"));
    }
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    // Rust's names of types say nothing to most people.
    let mut reason = reason.to_owned();
    for (rust, plain) in [
        ("expected i64", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected an object"),
        ("invalid type: map", "invalid type: an object"),
        ("invalid type: sequence", "invalid type: a list"),
        ("unknown variant", "unknown value"),
    ] {
        reason = reason.replace(rust, plain);
    }
    if let Some(at) = reason.find("expected struct ") {
        reason.truncate(at);
        reason.push_str("expected an object");
    }
    let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
    let field = match (path, missing) {
        (Some(path), Some(missing)) => Some(format!("{path}.{missing}")),
        (path, missing) => missing.or(path),
    };
    let short: String = reason.chars().take(REASON_CHARS_MAX).collect();
    Error { code: Code::ValidationError, message: short, field }
}

/// Path parameters.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(_) => {
                let path = Shown(parts.uri.path()).to_string();
                Err(Error::new(Code::ValidationError, format!("the path {path} cannot be read")).into())
            }
        }
    }
}

/// Query parameters.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.body_text();
                let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                let short: String = reason.chars().take(REASON_CHARS_MAX).collect();
                Err(Error::new(Code::ValidationError, format!("the query cannot be read: {short}")).into())
            }
        }
    }
}

/// The port in a path.
pub fn port(text: &str) -> Result<u16, Error> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::invalid("port", format!("{} is not a port; allowed are 1 to 65535", Shown(text)))),
    }
}

//! What every request passes, on every face, before and after what serves it.
//!
//! 1. Web pages of others are refused, bodies received, limits kept.
//! 2. What is asked for is found in the tables ([`super::routes::ROUTES`], [`leat_aws::operation::all`]); what is not there does not exist.
//! 3. Who asks is found out, how often it does, and whether its role suffices.
//! 4. The call is carried out, and recorded in the audit log before it is answered.

use std::sync::Arc;

use axum::RequestExt;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leat_aws::operation::{Caller, Service};
use leat_aws::{form, sigv4};
use leat_model::error::Shown;
use leat_model::rest::Role;
use leat_model::{Code, Error, Model};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::App;
use super::aws::{self, Decoded};
use super::body::ApiError;
use super::routes::{self, Route};
use super::zonal;
use crate::access::{Access, Evidence, Peer, Proof};
use crate::audit::log::{Log, LogError, Settings as LogSettings};
use crate::audit::{Event, HIDDEN, Record, search};
use crate::limit::{self, Buckets, Memory, REQUESTS_MAX, Source};

/// How requests are guarded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What callers without credentials may do.
    pub anonymous: Option<Role>,
    /// The audit log.
    pub audit: LogSettings,
    /// Requests of a user and second; twice as many at once.
    pub requests_per_second: u32,
    /// Failed authentications of an address and second, for each user that it tries; twice as many at once.
    pub failures_per_second: u32,
    /// Names that clients call this machine by, besides addresses and names without a dot.
    pub names: Vec<String>,
}

/// Guards the API.
pub struct Guard {
    access: Access,
    /// The audit log.
    pub audit: Arc<Log>,
    names: Vec<String>,
    memory: Memory,
    requests: Semaphore,
    by_user: Buckets<String>,
    failures: Buckets<Source>,
    /// One record a second of refusals for too many failures.
    told: Buckets<Source>,
    untold: std::sync::atomic::AtomicU64,
}

impl Guard {
    /// Opens the audit log.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn new(settings: Settings) -> Result<Self, LogError> {
        let rate = settings.requests_per_second;
        Ok(Self {
            access: Access::new(settings.anonymous),
            audit: Log::open(settings.audit)?,
            names: settings.names,
            memory: Memory::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            by_user: Buckets::new(rate, rate.saturating_mul(2)),
            failures: Buckets::new(settings.failures_per_second, settings.failures_per_second.saturating_mul(2)),
            told: Buckets::new(1, 1),
            untold: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Looks records of the audit log up, the newest first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn lookup(&self, query: leat_aws::operation::EventQuery) -> Result<Vec<Value>, Error> {
        let log = self.audit.clone();
        let work = tokio::task::spawn_blocking(move || search::lookup(&log, &query)).await;
        let failed = |why: String| Error::new(Code::ServiceUnavailable, format!("the audit log cannot be read: {why}"));
        work.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

/// What is asked for.
enum Target {
    /// A call of the table.
    Rest(&'static Route),
    /// One of AWS's paths: an operation, or why it cannot be told.
    Aws(Result<Decoded, Error>),
    /// Nothing that exists.
    Nothing(Error),
}

impl Target {
    fn of(parts: &Parts, matched: Option<&str>, parameters: &[(String, String)], body: &[u8]) -> Self {
        let (method, query) = (parts.method.as_str(), parts.uri.query());
        if let Some(decoded) = zonal::decode(method, matched.unwrap_or_default(), parameters, query, body) {
            return Self::Aws(Ok(decoded));
        }
        match matched {
            Some("/") if method == "POST" => Self::Aws(aws::decode(&parts.headers, query, body)),
            Some(path) => match routes::find(method, path) {
                Some(route) => Self::Rest(route),
                None => Self::Nothing(method_not_allowed(&parts.method, parts.uri.path())),
            },
            None => Self::Nothing(not_found(parts.uri.path())),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rest(route) => route.name,
            Self::Aws(Ok(decoded)) => decoded.operation.name,
            Self::Aws(Err(_)) | Self::Nothing(_) => "Unknown",
        }
    }

    fn service(&self) -> Service {
        match self {
            Self::Aws(Ok(decoded)) => decoded.operation.service,
            _ => Service::ElbV2,
        }
    }

    fn api_version<'p>(&self, parts: &'p Parts) -> &'p str {
        match self {
            Self::Aws(_) => self.service().version(),
            _ => parts.uri.path().split('/').nth(1).unwrap_or_default(),
        }
    }

    fn role(&self) -> Role {
        match self {
            Self::Rest(route) => route.role,
            Self::Aws(Ok(decoded)) => decoded.operation.role,
            Self::Aws(Err(_)) | Self::Nothing(_) => Role::Read,
        }
    }

    /// Names of what only looks begin like this, AWS's and ours.
    fn is_read_only(&self, method: &Method) -> bool {
        let looks = ["Describe", "Get", "List", "Lookup"].iter().any(|verb| self.name().starts_with(verb));
        match self {
            Self::Rest(_) => *method == Method::GET || *method == Method::HEAD,
            Self::Aws(Ok(_)) => looks,
            Self::Aws(Err(_)) | Self::Nothing(_) => true,
        }
    }
}

/// A request on its way.
struct Call {
    parts: Parts,
    body: Vec<u8>,
    path_parameters: Vec<(String, String)>,
    target: Target,
    peer: Option<Peer>,
    request_id: String,
    time_ms: u64,
    caller: Option<(Caller, Proof)>,
    claimed_key: Option<String>,
    /// It is one of too many failures, which have no records of their own.
    is_flood: bool,
    unrecorded: u64,
}

/// Guards a request; see the module.
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let guard = app.guard.clone();
    let request_id = aws::request_id();
    let time_ms = app.state.now().wall_ms;
    let peer = request.extensions().get::<Peer>().copied();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let params = request.extract_parts::<RawPathParams>().await.ok();
    let path_parameters: Vec<_> =
        params.iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (parts, body) = request.into_parts();
    let received = match refuse_foreign_pages(&parts.headers, &guard.names) {
        Ok(()) => guard.memory.receive(body).await,
        Err(error) => Err(error),
    };
    let (body, _held, early) = match received {
        Ok((body, held)) => (body, Some(held), None),
        Err(error) => (Vec::new(), None, Some(error)),
    };
    let target = Target::of(&parts, matched.as_deref(), &path_parameters, &body);
    let (claimed_key, caller) = (None, None);
    let mut call = Call {
        parts,
        body,
        path_parameters,
        target,
        peer,
        request_id,
        time_ms,
        caller,
        claimed_key,
        is_flood: false,
        unrecorded: 0,
    };
    // Nobody closes it.
    let _turn = guard.requests.acquire().await;
    let admitted = match early {
        Some(error) => Err(error),
        None => call.admit(&app, &guard),
    };
    let (response, outcome) = match admitted {
        Ok(()) => call.run(next).await,
        Err(error) => (call.refusal(&error), Outcome { error: Some(error), elements: Value::Null }),
    };
    if call.is_flood && !guard.told.take(limit::source(peer, None), app.state.now().mono_ms) {
        guard.untold.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    } else {
        call.unrecorded = guard.untold.swap(0, std::sync::atomic::Ordering::Relaxed);
        guard.audit.append_soon(call.record(&app.state.model(), &outcome)).await;
    }
    with_id(response, &call.request_id)
}

/// How a call ended.
#[derive(Clone, Default)]
pub struct Outcome {
    /// Why it failed.
    pub error: Option<Error>,
    /// What a change has answered.
    pub elements: Value,
}

impl Call {
    /// Steps 1 to 3: who asks, and whether it may.
    fn admit(&mut self, app: &App, guard: &Guard) -> Result<(), Error> {
        let (model, now) = (app.state.model(), app.state.now());
        let read_only = self.target.is_read_only(&self.parts.method);
        let headers: Vec<(&str, &[u8])> =
            self.parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let uri = &self.parts.uri;
        let request = sigv4::Request {
            method: self.parts.method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            headers: &headers,
            body: &self.body,
        };
        let evidence = Evidence::of(&request);
        let user = evidence.as_ref().ok().and_then(|evidence| evidence.user(&model)).map(|user| user.name.clone());
        let source = limit::source(self.peer, user.as_deref());
        if guard.failures.is_empty(&source, now.mono_ms) {
            self.is_flood = true;
            return Err(Error::new(Code::Throttling, "Rate exceeded: too many requests without good credentials"));
        }
        let known = evidence.and_then(|evidence| {
            if let Evidence::Signature(claim) = &evidence {
                self.claimed_key = Some(claim.access_key_id.clone());
            }
            guard.access.authenticate(&model, &request, &evidence, self.peer, !read_only, now.wall_ms)
        });
        let (caller, proof) = known.inspect_err(|_| {
            guard.failures.take(source, now.mono_ms);
        })?;
        self.caller = Some((caller.clone(), proof));
        if !guard.by_user.take(caller.name.clone(), now.mono_ms) {
            return Err(Error::new(Code::Throttling, "Rate exceeded"));
        }
        let needed = self.target.role();
        if caller.role < needed {
            return Err(denied(&model, &caller, self.target.service(), self.target.name(), needed));
        }
        match &self.target {
            Target::Nothing(error) | Target::Aws(Err(error)) => return Err(error.clone()),
            Target::Rest(_) => limit::check_depth(&self.body)?,
            Target::Aws(Ok(_)) => {}
        }
        if !read_only && !guard.audit.is_writable() {
            let message =
                "nothing was changed: the audit log cannot be written, and changes without a record are refused";
            return Err(Error::new(Code::ServiceUnavailable, message));
        }
        Ok(())
    }

    /// Step 4.
    async fn run(&mut self, next: Next) -> (Response, Outcome) {
        let mut parts = self.parts.clone();
        parts.uri = without_signature(&parts.uri);
        if let Some((caller, _)) = &self.caller {
            parts.extensions.insert(caller.clone());
        }
        parts.extensions.insert(RequestId(self.request_id.clone()));
        if let Target::Aws(Ok(decoded)) = &self.target {
            parts.extensions.insert(decoded.clone());
        }
        let body = if matches!(self.target, Target::Aws(_)) { Body::empty() } else { Body::from(self.body.clone()) };
        let response = next.run(Request::from_parts(parts, body)).await;
        self.outcome(response).await
    }

    /// Reads from a response how the call ended.
    async fn outcome(&self, mut response: Response) -> (Response, Outcome) {
        if let Some(outcome) = response.extensions_mut().remove::<Outcome>() {
            return (response, outcome);
        }
        let failed = !response.status().is_success();
        let is_short = response.body().size_hint().upper().is_some_and(|bytes| bytes <= (8 << 20));
        if !is_short || !failed && self.target.is_read_only(&self.parts.method) {
            return (response, Outcome::default());
        }
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let mut elements: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let error = failed.then(|| {
            let text = |key: &str| elements["error"][key].as_str().unwrap_or_default();
            let code = Code::ALL.iter().find(|code| code.name() == text("code")).copied();
            Error::new(code.unwrap_or(Code::InternalFailure), text("message"))
        });
        let says_nothing = elements.as_object().is_some_and(Map::is_empty) || self.parts.method == Method::DELETE;
        if failed || says_nothing {
            elements = Value::Null;
        }
        (Response::from_parts(parts, Body::from(bytes)), Outcome { error, elements })
    }

    /// An error in the form of the face.
    fn refusal(&self, error: &Error) -> Response {
        match &self.target {
            Target::Aws(decoded) => {
                let service = decoded.as_ref().map_or(Service::ElbV2, |decoded| decoded.operation.service);
                aws::refusal(aws::is_json(&self.parts.headers), service, error, &self.request_id)
            }
            Target::Rest(_) | Target::Nothing(_) => ApiError(error.clone()).into_response(),
        }
    }

    fn record(&self, model: &Model, outcome: &Outcome) -> Record {
        let user_agent = self.parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let read_only = self.target.is_read_only(&self.parts.method);
        let event = Event {
            time_ms: self.time_ms,
            caller: self.caller.as_ref().map(|(caller, proof)| (caller, *proof)),
            claimed_key: self.claimed_key.as_deref(),
            source: match self.peer {
                Some(Peer::Tcp(address)) => address.ip().to_canonical().to_string(),
                Some(Peer::Unix { uid }) => format!("unix:{uid}"),
                None => String::new(),
            },
            user_agent: user_agent.unwrap_or_default(),
            event_source: self.target.service().event_source(),
            name: self.target.name(),
            api_version: self.target.api_version(&self.parts),
            read_only,
            request: self.request_parameters(),
            response: if read_only { Value::Null } else { outcome.elements.clone() },
            error: outcome.error.as_ref(),
            request_id: &self.request_id,
            unrecorded: self.unrecorded,
        };
        event.record(model, aws::request_id())
    }

    fn request_parameters(&self) -> Value {
        if let Target::Aws(decoded) = &self.target {
            return decoded.as_ref().map_or(Value::Null, Decoded::to_json);
        }
        let mut parameters = match serde_json::from_slice(&self.body) {
            Ok(Value::Object(body)) => body,
            Ok(Value::Null) | Err(_) => Map::new(),
            Ok(other) => [("body".to_owned(), other)].into_iter().collect(),
        };
        for (name, value) in &self.path_parameters {
            parameters.insert(name.clone(), value.clone().into());
        }
        let query = form::decode(self.parts.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
        for (name, value) in query {
            let value = if name.starts_with("X-Amz-") { HIDDEN.into() } else { value.into() };
            parameters.insert(name, value);
        }
        if matches!(self.target, Target::Nothing(_)) {
            parameters.insert("method".into(), self.parts.method.as_str().into());
            parameters.insert("path".into(), self.parts.uri.path().chars().take(256).collect::<String>().into());
        }
        if parameters.is_empty() { Value::Null } else { Value::Object(parameters) }
    }
}

/// The id of a request, for the answer.
#[derive(Clone)]
pub struct RequestId(pub String);

fn with_id(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(aws::REQUEST_ID, value);
    }
    response
}

/// AWS's text, and what is needed.
fn denied(model: &Model, caller: &Caller, service: Service, operation: &str, needed: Role) -> Error {
    let message = format!(
        "User: {} is not authorized to perform: {}:{operation}; its role is {}, and {} is needed",
        model.user_arn(&caller.name),
        service.signing_name(),
        caller.role.name(),
        needed.name()
    );
    Error::new(Code::AccessDenied, message)
}

fn not_found(path: &str) -> Error {
    Error::new(Code::NotFound, format!("the API has no path {}; docs/api.md lists them", Shown(path)))
}

fn method_not_allowed(method: &Method, path: &str) -> Error {
    let message = format!("{} does not know {method}; docs/api.md lists the calls", Shown(path));
    Error::new(Code::MethodNotAllowed, message)
}

/// The parameters of a signature are none of the call's.
fn without_signature(uri: &Uri) -> Uri {
    let Some(query) = uri.query().filter(|query| query.contains("X-Amz-")) else { return uri.clone() };
    let of_call = |pair: &&str| !pair.split('=').next().is_some_and(sigv4::is_parameter);
    let query: Vec<&str> = query.split('&').filter(of_call).collect();
    let question = if query.is_empty() { "" } else { "?" };
    format!("{}{question}{}", uri.path(), query.join("&")).parse().unwrap_or_else(|_| uri.clone())
}

/// A web page that somebody on this machine looks at must not use the API: its browser says where the page came from, or asks by a
/// name that its owner has pointed at this address.
fn refuse_foreign_pages(headers: &HeaderMap, names: &[String]) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let foreign = match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => !matches!(site, "same-origin" | "none"),
        None => headers.contains_key(header::ORIGIN),
    };
    if !foreign && is_own_name(headers, names) {
        return Ok(());
    }
    let message = "requests of web pages of other origins are refused; use the command line, curl, or a page of this address; \
                   names of this machine with a dot are made known with --api-name";
    Err(Error::new(Code::AccessDenied, message))
}

/// Whether the client asks for an address, for a name without a dot such as `localhost`, by a Unix socket (where clients send any word),
/// or for one of the names.
fn is_own_name(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
        || !name.contains('.')
        || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
pub mod tests;

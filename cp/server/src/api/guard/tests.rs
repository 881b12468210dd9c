//! Who may do what on every face, what is recorded of it, and what never comes out.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use axum::Router;
use axum::routing::get;
use http_body_util::BodyExt;
use leat_aws::operation::{self, Run};
use leat_aws::{Operation, zonal_shift};
use leat_model::rest::UserSecrets;
use leat_model::{Limits, Site};
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::access::credentials::Fresh;
use crate::audit::log;
use crate::audit::verify::verify;
use crate::event_log::EventLog;
use crate::keys::Keys;
use crate::publisher::Publisher;
use crate::state::State as Configuration;
use crate::store::faulty::FaultyDisk;

/// Everybody may do everything.
pub fn settings(directory: &Path) -> Settings {
    Settings {
        anonymous: Some(Role::Admin),
        audit: LogSettings::at(directory.join("audit.jsonl")),
        requests_per_second: 100_000,
        failures_per_second: 100_000,
        names: Vec::new(),
    }
}

struct Bench {
    app: App,
    router: Router,
    users: Vec<UserSecrets>,
    directory: tempfile::TempDir,
}

/// How a request shows who sends it.
#[derive(Clone, Copy, Debug)]
enum Credential<'u> {
    Nothing,
    Token(&'u str),
    Signature(&'u str, &'u str),
}

struct Asked {
    status: u16,
    code: String,
    text: String,
}

impl Bench {
    /// With users `read`, `operate` and `admin`.
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(change, |_| {})
    }

    fn with(change: impl FnOnce(&mut Settings), finish: impl FnOnce(&mut Guard)) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in tmpfs");
        let store = FaultyDisk::default().store().expect("a store");
        let state = Configuration::begin(Box::new(store), Site::default(), Limits::default()).expect("a state");
        let state = Arc::new(state);
        let users = Role::ALL.map(|role| {
            let fresh = Fresh::draw(role.name(), role, None, 0);
            let (model, _) = state.change(fresh.create()).expect("a user");
            fresh.shown(&model).expect("a user")
        });
        let publisher = Publisher::start(directory.path().join("segment"), state.clone(), Vec::new());
        let publisher = Arc::new(publisher.expect("a thread"));
        let keys = Arc::new(Keys::open(directory.path().join("keys"), &state.model()).expect("a directory"));
        keys.follow(&state);
        let mut settings = Settings { anonymous: None, ..settings(directory.path()) };
        change(&mut settings);
        let mut guard = Guard::new(settings).expect("a guard");
        finish(&mut guard);
        let guard = Arc::new(guard);
        let dns = Arc::new(crate::dns::Dns::start(&crate::dns::Settings::default(), state.clone()).expect("threads"));
        let (traces, events) = (Arc::default(), Arc::new(EventLog::new()));
        let (webhooks, waiters) = (Arc::default(), Arc::new(Semaphore::new(1)));
        let app = App { state, publisher, dns, keys, traces, guard, events, webhooks, waiters };
        let router = super::super::router(app.clone());
        Self { app, router, users: users.to_vec(), directory }
    }

    async fn send(&self, request: Request) -> Asked {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let status = response.status().as_u16();
        let kind = response.headers().get("x-amzn-errortype").map(|kind| kind.to_str().expect("text").to_owned());
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let xml = text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
        let code = json["error"]["code"]
            .as_str()
            .or(json["__type"].as_str())
            .or(kind.as_deref())
            .or(xml)
            .unwrap_or_default()
            .to_owned();
        Asked { status, code, text }
    }

    async fn rest(&self, method: &str, path: &str, body: &str, credential: Credential<'_>) -> Asked {
        self.send(request(method, path, &[], body, credential)).await
    }

    async fn aws(&self, operation: &Operation, credential: Credential<'_>) -> Asked {
        let (name, service) = (operation.name, operation.service);
        match operation.run {
            Run::Query(_) => {
                let form = format!("Action={name}&Version={}", service.version());
                self.send(request("POST", "/", &[], &form, credential)).await
            }
            Run::Json(_) if service == Service::ZonalShift => {
                let route = zonal_shift::ROUTES.iter().find(|route| route.name == name).expect(name);
                self.rest(route.method, &filled(route.path), "", credential).await
            }
            Run::Json(_) => {
                let target = format!("{}.{name}", service.target());
                self.send(request("POST", "/", &[("x-amz-target", &target)], "{}", credential)).await
            }
        }
    }

    fn token(&self, role: Role) -> Credential<'_> {
        Credential::Token(&self.user(role).token)
    }

    fn signature(&self, role: Role) -> Credential<'_> {
        let user = self.user(role);
        Credential::Signature(&user.user.access_key_id, &user.secret_access_key)
    }

    fn user(&self, role: Role) -> &UserSecrets {
        self.users.iter().find(|user| user.user.role == role).expect("a user of each role")
    }

    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("audit.jsonl")).expect("the log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str, credential: Credential<'_>) -> Request {
    let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9321");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match credential {
        Credential::Nothing => {}
        Credential::Token(token) => request = request.header("authorization", format!("Bearer {token}")),
        Credential::Signature(id, secret) => {
            let identity = Credentials::new(id, secret, None, None, "tests").into();
            let params = SigningParams::builder().identity(&identity).region("on-prem-1").name("elasticloadbalancing");
            let params =
                params.time(SystemTime::now()).settings(SigningSettings::default()).build().expect("all parts");
            let uri = format!("http://127.0.0.1:9321{path}");
            let body = SignableBody::Bytes(body.as_bytes());
            let signable = SignableRequest::new(method, uri, headers.iter().copied(), body).expect("a request");
            let (instructions, _) = sign(signable, &params.into()).expect("signed").into_parts();
            for (name, value) in instructions.headers() {
                request = request.header(name, value);
            }
        }
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

/// A path with something in place of its parameters.
fn filled(path: &str) -> String {
    let fill = |part: &str| if part.starts_with('{') { "1".to_owned() } else { part.to_owned() };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// The codes of those who are not let in, as a service names them.
fn refusals(service: Service) -> [&'static str; 6] {
    [
        Code::MissingAuthenticationToken,
        Code::InvalidClientTokenId,
        Code::SignatureDoesNotMatch,
        Code::IncompleteSignature,
        Code::AccessDenied,
        Code::Throttling,
    ]
    .map(|code| operation::code_name(service, code))
}

/// Every call of both tables, for everybody: nobody, a wrong token, a wrong secret, and each role with its token and its signature.
/// req: R26
#[tokio::test]
async fn every_call_is_authenticated_and_authorised() {
    let bench = Bench::new(|_| {});
    let key = &bench.user(Role::Admin).user.access_key_id;
    let mut calls = 0;
    let strangers = [
        (Credential::Nothing, Code::MissingAuthenticationToken),
        (Credential::Token("leat_wrong"), Code::InvalidClientTokenId),
        (Credential::Signature("LEATWRONG", "wrong"), Code::InvalidClientTokenId),
        (Credential::Signature(key, "wrong"), Code::SignatureDoesNotMatch),
    ];
    for route in routes::ROUTES {
        let path = filled(route.path);
        let ask = async |credential| bench.rest(route.method, &path, "", credential).await;
        for (credential, code) in strangers {
            let asked = ask(credential).await;
            assert_eq!(
                (asked.status, asked.code.as_str()),
                (403, code.name()),
                "{} {path} {credential:?}",
                route.method
            );
        }
        for role in Role::ALL {
            for credential in [bench.token(role), bench.signature(role)] {
                let asked = ask(credential).await;
                let refused = refusals(Service::ElbV2).contains(&asked.code.as_str());
                assert_eq!(
                    refused,
                    role < route.role,
                    "{} {path} as {role:?}: {} {}",
                    route.method,
                    asked.status,
                    asked.text
                );
                assert!(!refused || asked.code == "AccessDenied", "{}", asked.text);
                calls += 1;
            }
        }
    }
    for operation in operation::all() {
        for (credential, code) in strangers {
            let asked = bench.aws(operation, credential).await;
            let code = operation::code_name(operation.service, code);
            assert_eq!(asked.code, code, "{} {credential:?}: {}", operation.name, asked.text);
        }
        for role in Role::ALL {
            let asked = bench.aws(operation, bench.signature(role)).await;
            let refused = refusals(operation.service).contains(&asked.code.as_str());
            assert_eq!(refused, role < operation.role, "{} as {role:?}: {}", operation.name, asked.text);
            assert!(!refused || asked.text.contains("is not authorized to perform"), "{}", asked.text);
            calls += 1;
        }
    }
    assert!(calls > 200, "{calls}");
    verify(&bench.directory.path().join("audit.jsonl")).expect("whole");
}

/// What the tables do not have is served by nobody, also where a handler for it exists. req: R26
#[tokio::test]
async fn what_is_not_in_the_tables_does_not_exist() {
    let bench = Bench::new(|_| {});
    let router = Router::new().route("/v1/secret-door", get(|| async { "open" }));
    let router = router.layer(axum::middleware::from_fn_with_state(bench.app.clone(), guard));
    let bench = Bench { router: router.with_state(bench.app.clone()), ..bench };
    let asked = bench.rest("GET", "/v1/secret-door", "", bench.token(Role::Admin)).await;
    assert_eq!((asked.status, asked.code.as_str()), (405, "MethodNotAllowed"), "{}", asked.text);
    let asked = bench.rest("GET", "/v1/secret-door", "", Credential::Nothing).await;
    assert_eq!(asked.code, "MissingAuthenticationToken", "strangers do not learn what exists");
}

/// req: AUD-01, AUD-02, AUD-03, AUD-07
#[tokio::test]
async fn each_call_has_one_record_with_its_caller_and_its_end() {
    let bench = Bench::new(|_| {});
    let group = r#"{"name":"web","protocol":"TCP","port":80}"#;
    let created = bench.rest("POST", "/v1/target-groups", group, bench.signature(Role::Admin)).await;
    assert_eq!(created.status, 201, "{}", created.text);
    bench.rest("POST", "/v1/target-groups", group, bench.token(Role::Read)).await;
    bench.rest("POST", "/v1/target-groups", "{\"name\":", bench.token(Role::Admin)).await;
    bench.rest("GET", "/v1/target-groups/web", "", bench.token(Role::Read)).await;
    bench.rest("GET", "/v1/nowhere", "", bench.token(Role::Read)).await;
    bench.rest("DELETE", "/v1/target-groups/web", "", Credential::Nothing).await;
    let identity = operation::all().find(|operation| operation.name == "GetCallerIdentity").expect("it");
    bench.aws(identity, bench.signature(Role::Operate)).await;
    bench.rest("DELETE", "/v1/target-groups/web", "", bench.token(Role::Admin)).await;

    let log = bench.log();
    let told: Vec<(&str, &str, &str)> = log
        .iter()
        .map(|record| {
            let text = |value: &'_ Value| -> &'static str { value.as_str().unwrap_or_default().to_owned().leak() };
            (text(&record["eventName"]), text(&record["userIdentity"]["userName"]), text(&record["errorCode"]))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("CreateTargetGroup", "admin", ""),
            ("CreateTargetGroup", "read", "AccessDenied"),
            ("CreateTargetGroup", "admin", "ValidationError"),
            ("DescribeTargetGroup", "read", ""),
            ("Unknown", "read", "NotFound"),
            ("DeleteTargetGroup", "", "MissingAuthenticationToken"),
            ("GetCallerIdentity", "operate", ""),
            ("DeleteTargetGroup", "admin", ""),
        ]
    );
    assert_eq!(log[0]["requestParameters"]["protocol"], "TCP");
    assert_eq!(log[0]["responseElements"]["name"], "web");
    assert_eq!(log[0]["userIdentity"]["accessKeyId"], bench.user(Role::Admin).user.access_key_id);
    assert_eq!((&log[3]["responseElements"], &log[3]["readOnly"]), (&Value::Null, &json!(true)));
    assert_eq!(log[3]["requestParameters"]["tg"], "web");
    assert_eq!(log[5]["userIdentity"]["type"], "Unknown");
    assert_eq!((&log[6]["eventSource"], &log[6]["apiVersion"]), (&json!("sts.amazonaws.com"), &json!("2011-06-15")));
    assert_eq!(log[7]["responseElements"], Value::Null);
    let ids: BTreeSet<&str> = log.iter().filter_map(|record| record["requestID"].as_str()).collect();
    assert_eq!(ids.len(), log.len());
}

/// AWS's face shows them. req: AUD-04
#[tokio::test]
async fn records_can_be_looked_up() {
    let bench = Bench::new(|_| {});
    for number in 0..3 {
        let body = format!(r#"{{"name":"g{number}","protocol":"TCP","port":80}}"#);
        bench.rest("POST", "/v1/target-groups", &body, bench.token(Role::Admin)).await;
    }
    let target = [("x-amz-target", "CloudTrail_20131101.LookupEvents")];
    let body =
        r#"{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"CreateTargetGroup"}],"MaxResults":2}"#;
    let asked = bench.send(request("POST", "/", &target, body, bench.signature(Role::Admin))).await;
    let answer: Value = serde_json::from_str(&asked.text).expect("JSON");
    let names: Vec<&str> =
        answer["Events"].as_array().expect("a list").iter().filter_map(|e| e["Username"].as_str()).collect();
    assert_eq!(names, ["admin", "admin"], "{}", asked.text);
    let body = body.replace('}', "").replace("]", "}]") + &format!(r#","NextToken":{}}}"#, answer["NextToken"]);
    let asked = bench.send(request("POST", "/", &target, &body, bench.signature(Role::Admin))).await;
    let answer: Value = serde_json::from_str(&asked.text).expect("JSON");
    assert_eq!(answer["Events"].as_array().map(Vec::len), Some(1), "{body} {}", asked.text);
    assert!(asked.text.contains("g0"));
}

/// A change that cannot be recorded is not made; looking goes on.
#[tokio::test]
async fn without_an_audit_log_nothing_is_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, full) = log::tests::on_a_small_disk(directory.path().join("audit.jsonl"));
    let bench = Bench::with(|_| {}, |guard| guard.audit = log);
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    let body = r#"{"name":"web","protocol":"TCP","port":80}"#;
    let first = bench.rest("GET", "/v1/target-groups", "", bench.token(Role::Admin)).await;
    assert_eq!(first.status, 200);
    let refused = bench.rest("POST", "/v1/target-groups", body, bench.token(Role::Admin)).await;
    assert_eq!((refused.status, refused.code.as_str()), (503, "ServiceUnavailable"), "{}", refused.text);
    assert!(refused.text.contains("nothing was changed"));
    assert_eq!(bench.app.state.model().target_groups().count(), 0);
    assert_eq!(bench.rest("GET", "/v1/target-groups", "", bench.token(Role::Read)).await.status, 200);
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bench.rest("POST", "/v1/target-groups", body, bench.token(Role::Admin)).await.status, 201);
    let report = verify(&directory.path().join("audit.jsonl")).expect("whole");
    assert_eq!(report.head.sequence, 4, "also what came while it was full");
}

/// Guessing is slow, and does not shut out who has good credentials. req: R26
#[tokio::test]
async fn failures_are_limited_for_each_address_and_user() {
    let bench = Bench::new(|settings| settings.failures_per_second = 1);
    let mut codes = Vec::new();
    for number in 0..20 {
        codes.push(bench.rest("GET", "/v1/status", "", Credential::Token(&format!("guess-{number}"))).await.code);
    }
    assert!(codes.iter().filter(|code| *code == "InvalidClientTokenId").count() < 10, "{codes:?}");
    assert_eq!(codes.last().map(String::as_str), Some("Throttling"));
    assert_eq!(bench.rest("GET", "/v1/status", "", bench.token(Role::Read)).await.status, 200);
    assert_eq!(bench.rest("GET", "/v1/status", "", bench.signature(Role::Read)).await.status, 200);
    assert!(bench.log().len() < 20, "a flood of them does not wash the log away");
}

#[tokio::test]
async fn a_user_cannot_ask_more_often_than_its_rate() {
    let bench = Bench::new(|settings| settings.requests_per_second = 1);
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(bench.rest("GET", "/v1/status", "", bench.token(Role::Read)).await.code);
    }
    assert!(codes.iter().any(|code| code == "Throttling"), "{codes:?}");
    assert_eq!(
        bench.rest("GET", "/v1/status", "", bench.token(Role::Admin)).await.status,
        200,
        "others are not concerned"
    );
}

/// The kernel tells who is at the other end of a Unix socket; credentials that are given count all the same. req: R26
#[tokio::test]
async fn root_needs_no_credentials_on_the_unix_socket() {
    let bench = Bench::new(|_| {});
    let ask = async |uid: u32, credential| {
        let mut request = request("GET", "/v1/status", &[], "", credential);
        request.extensions_mut().insert(Peer::Unix { uid });
        bench.send(request).await
    };
    assert_eq!(ask(0, Credential::Nothing).await.status, 200);
    assert_eq!(ask(0, Credential::Token("wrong")).await.status, 403);
    assert_eq!(ask(4_000_000, Credential::Nothing).await.code, "MissingAuthenticationToken");
    assert_eq!(ask(4_000_000, bench.token(Role::Read)).await.status, 200);
    let log = bench.log();
    assert_eq!((&log[0]["userIdentity"]["type"], &log[0]["sourceIPAddress"]), (&json!("Root"), &json!("unix:0")));
}

#[tokio::test]
async fn callers_without_name_have_the_role_that_they_are_given() {
    let bench = Bench::new(|settings| settings.anonymous = Some(Role::Read));
    assert_eq!(bench.rest("GET", "/v1/status", "", Credential::Nothing).await.status, 200);
    assert_eq!(bench.rest("GET", "/v1/status", "", Credential::Token("nobody's")).await.status, 200);
    assert_eq!(bench.rest("POST", "/v1/target-groups", "{}", Credential::Nothing).await.code, "AccessDenied");
    let key = &bench.user(Role::Admin).user.access_key_id;
    let forged = bench.rest("GET", "/v1/status", "", Credential::Signature(key, "wrong")).await;
    assert_eq!(forged.code, "SignatureDoesNotMatch", "who claims to be somebody has to show it");
}

#[tokio::test]
async fn pages_of_other_origins_and_names_of_others_are_refused() {
    let bench = Bench::new(|settings| settings.names = vec!["lb.example.org".into()]);
    let ask = async |header: &'static str, value: &'static str| {
        let mut request = request("GET", "/v1/status", &[], "", bench.token(Role::Read));
        request.headers_mut().insert(header, HeaderValue::from_static(value));
        bench.send(request).await.status
    };
    assert_eq!(ask("host", "LB.example.org:9321").await, 200);
    assert_eq!(ask("host", "evil.example.org").await, 403);
    assert_eq!(ask("sec-fetch-site", "cross-site").await, 403);
    assert_eq!(ask("origin", "http://evil.example.org").await, 403);
}

/// Bodies have a size and a depth on both faces, and parameters are given once. req: R26
#[tokio::test]
async fn bodies_are_bounded() {
    let bench = Bench::new(|_| {});
    let admin = bench.token(Role::Admin);
    let long = "x".repeat((1 << 20) + 1);
    for path in ["/v1/target-groups", "/"] {
        let asked = bench.rest("POST", path, &long, admin).await;
        assert_eq!(asked.code, "RequestTooLarge", "{path}: {}", asked.text);
    }
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let asked = bench.rest("POST", "/v1/target-groups", &deep, admin).await;
    assert!(asked.text.contains("nested deeper than 32"), "{}", asked.text);
    let target = [("x-amz-target", "CloudTrail_20131101.LookupEvents")];
    let asked = bench.send(request("POST", "/", &target, &deep, admin)).await;
    assert!(asked.text.contains("nested deeper than 32"), "{}", asked.text);
    let asked = bench.rest("POST", "/?Action=GetCallerIdentity", "Action=DeleteLoadBalancer", admin).await;
    assert!(asked.text.contains("given twice"), "{}", asked.text);
}

/// Secrets of users and of certificates are in no description, no error and no record. req: R26, AUD-06
#[tokio::test]
async fn secrets_are_nowhere() {
    let bench = Bench::new(|_| {});
    let admin = bench.signature(Role::Admin);
    let pair = rcgen::generate_simple_self_signed(["example.org".to_owned()]).expect("a certificate");
    let key = pair.signing_key.serialize_pem();
    let import = json!({"certificate": pair.cert.pem(), "privateKey": key}).to_string();
    let mut said = String::new();
    for body in [
        import.clone(),
        import.replace("certificate\"", "certificat\""),
        json!({"privateKey": key, "name": 7}).to_string(),
    ] {
        for path in ["/v1/certificates", "/v1/target-groups", "/v1/nowhere"] {
            said += &bench.rest("POST", path, &body, admin).await.text;
        }
        let target = [("x-amz-target", "CertificateManager.ImportCertificate")];
        said += &bench.send(request("POST", "/", &target, &body, admin)).await.text;
    }
    let escaped: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form = format!(
        "Action=UploadServerCertificate&Version=2010-05-08&ServerCertificateName=x&CertificateBody=x&PrivateKey={escaped}"
    );
    said += &bench.rest("POST", "/", &form, admin).await.text;
    for route in routes::ROUTES.iter().filter(|route| route.method == "GET") {
        said += &bench.rest("GET", &filled(route.path), "", admin).await.text;
    }
    for operation in operation::all().filter(|operation| operation.role == Role::Read) {
        said += &bench.aws(operation, admin).await.text;
    }
    said += &bench.rest("GET", "/v1/status", "", Credential::Token("leat_a-token-that-is-guessed")).await.text;
    said += &std::fs::read_to_string(bench.directory.path().join("audit.jsonl")).expect("the log");
    said += &format!("{:?}", bench.app.state.model());
    let mut secrets = vec!["leat_a-token-that-is-guessed".to_owned(), "BEGIN PRIVATE".to_owned()];
    secrets.extend(key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    secrets.extend(bench.users.iter().flat_map(|user| [user.secret_access_key.clone(), user.token.clone()]));
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret}");
    }
}

/// The calls of each role, as Markdown.
fn roles() -> String {
    let looks = |name: &&str| ["Describe", "Get", "List", "Lookup"].iter().any(|verb| name.starts_with(verb));
    let names = |role: Role| {
        let rest = routes::ROUTES.iter().filter(move |route| route.role == role).map(|route| route.name);
        let aws = operation::all().filter(move |operation| operation.role == role).map(|operation| operation.name);
        rest.chain(aws).collect::<BTreeSet<&str>>()
    };
    assert!(names(Role::Read).iter().all(looks), "{:?}", names(Role::Read));
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let secret = list(names(Role::Admin).into_iter().filter(looks).collect());
    let operate = list(names(Role::Operate));
    format!(
        "| role | calls |\n|---|---|\n| `read` | those that only look (`Describe…`, `Get…`, `List…`), but those of `admin` |\n\
         | `operate` | {operate} |\n| `admin` | all others, and {secret} |\n"
    )
}

#[test]
fn the_guide_has_this_table() {
    let guide = include_str!("../../../../../docs/security.md");
    assert!(guide.contains(&roles()), "put this table into docs/security.md:\n{}", roles());
}

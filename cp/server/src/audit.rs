//! The audit log: one record of each call of the API, whoever made it and however it ended, in the form of CloudTrail's records (AUD).
//!
//! | where to look | for |
//! |---|---|
//! | this file | what is in a record, and what is left out of it |
//! | [`log`] | the file: chain, rotation, full disks |
//! | [`verify`] | is the chain whole? |
//! | [`search`] | looking records up |

pub mod log;
pub mod search;
pub mod verify;

use leat_aws::operation::Caller;
use leat_model::{Error, Model};
use serde_json::{Map, Value, json};

use crate::access::Proof;

/// A record without its place in the chain.
pub type Record = Map<String, Value>;

/// What stands in place of secrets.
pub const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";
/// Parameters and answers that are longer are left out, in bytes of JSON.
const PART_BYTES_MAX: usize = 100 << 10;
/// Resources that a record names.
const RESOURCES_MAX: usize = 50;
/// Characters of a client's name for itself.
const USER_AGENT_CHARS_MAX: usize = 256;

/// A call that has ended.
#[derive(Debug)]
pub struct Event<'e> {
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who made it, and how that is known; none: it is not known.
    pub caller: Option<(&'e Caller, Proof)>,
    /// The access key that an unknown caller named.
    pub claimed_key: Option<&'e str>,
    /// The address it came from, or `unix:UID`.
    pub source: String,
    /// `User-Agent`.
    pub user_agent: &'e str,
    /// Such as `elasticloadbalancing.amazonaws.com`.
    pub event_source: String,
    /// The operation.
    pub name: &'e str,
    /// Its API's version.
    pub api_version: &'e str,
    /// It changes nothing.
    pub read_only: bool,
    /// What was asked for.
    pub request: Value,
    /// What a change answered.
    pub response: Value,
    /// Why it was refused.
    pub error: Option<&'e Error>,
    /// The answer's id.
    pub request_id: &'e str,
    /// So many similar ones before it have no record.
    pub unrecorded: u64,
}

impl Event<'_> {
    /// The record. `event_id` is drawn at random.
    pub fn record(self, model: &Model, event_id: String) -> Record {
        let site = model.site();
        let (request, response) = (redacted(self.request), redacted(self.response));
        let mut resources = Vec::new();
        collect_arns(&request, &mut resources);
        collect_arns(&response, &mut resources);
        resources.sort();
        resources.dedup();
        let resources: Vec<Value> =
            resources.iter().map(|arn| json!({"ARN": arn, "accountId": site.account, "type": kind_of(arn)})).collect();
        let mut details = Map::new();
        details.insert("authenticationMethod".into(), self.caller.map_or("None", |(_, proof)| proof.name()).into());
        if self.unrecorded > 0 {
            details.insert("similarCallsWithoutRecord".into(), self.unrecorded.into());
        }
        let user_agent: String =
            self.user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect();
        let mut record = json!({
            "eventVersion": "1.03",
            "userIdentity": identity(model, self.caller, self.claimed_key),
            "eventTime": time(self.time_ms),
            "eventSource": self.event_source,
            "eventName": self.name,
            "awsRegion": site.region,
            "sourceIPAddress": self.source,
            "userAgent": user_agent,
            "requestParameters": bounded(request),
            "responseElements": bounded(response),
            "additionalEventData": details,
            "requestID": self.request_id,
            "eventID": event_id,
            "readOnly": self.read_only,
            "resources": resources,
            "eventType": "AwsApiCall",
            "apiVersion": self.api_version,
            "recipientAccountId": site.account,
        });
        if let Some(error) = self.error {
            record["errorCode"] = error.code.name().into();
            record["errorMessage"] = without_secrets(error.message.clone()).into();
        }
        match record {
            Value::Object(record) => record,
            _ => Map::new(),
        }
    }
}

/// `userIdentity`. Who comes as root has the account's root, who comes without name or is refused has `Unknown`.
fn identity(model: &Model, caller: Option<(&Caller, Proof)>, claimed_key: Option<&str>) -> Value {
    let account = &model.site().account;
    let Some((caller, proof)) = caller.filter(|(_, proof)| *proof != Proof::None) else {
        let mut identity = json!({"type": "Unknown", "principalId": "anonymous", "accountId": account});
        if let Some(key) = claimed_key {
            identity["accessKeyId"] = key.chars().filter(|c| !c.is_control()).take(128).collect::<String>().into();
        }
        return identity;
    };
    let kind = if proof == Proof::UnixSocket { "Root" } else { "IAMUser" };
    let mut identity = json!({
        "type": kind,
        "principalId": caller.name,
        "arn": model.user_arn(&caller.name),
        "accountId": account,
        "userName": caller.name,
    });
    if !caller.access_key_id.is_empty() {
        identity["accessKeyId"] = caller.access_key_id.clone().into();
    }
    identity
}

/// RFC 3339, UTC, in whole seconds.
pub fn time(ms: u64) -> String {
    let basic = leat_aws::sigv4::basic(ms);
    let part = |from, to| basic.get(from..to).unwrap_or_default();
    format!("{}-{}-{}:{}:{}", part(0, 4), part(4, 6), part(6, 11), part(11, 13), part(13, 16))
}

/// Without the values of keys that sound like secrets, and without private keys wherever they stand.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let redact = |(key, value): (String, Value)| {
                let value = if is_secret(&key) { hide(value) } else { redacted(value) };
                (key, value)
            };
            Value::Object(map.into_iter().map(redact).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(redacted).collect()),
        Value::String(text) => Value::String(without_secrets(text)),
        other => other,
    }
}

fn hide(value: Value) -> Value {
    if value.is_null() { value } else { HIDDEN.into() }
}

fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 9] = [
        "privatekey",
        "secret",
        "token",
        "password",
        "passwd",
        "passphrase",
        "authorization",
        "credential",
        "signature",
    ];
    let key: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    WORDS.iter().any(|word| key.contains(word)) && key != "nexttoken"
}

/// A text that may have a secret in it is left out as a whole.
fn without_secrets(text: String) -> String {
    let secret = text.contains("PRIVATE KEY") || text.contains(crate::access::credentials::TOKEN_PREFIX);
    if secret { HIDDEN.into() } else { text }
}

/// As CloudTrail does with what is too long.
fn bounded(value: Value) -> Value {
    let length = value.to_string().len();
    if length <= PART_BYTES_MAX {
        return value;
    }
    json!({"omitted": true, "originalSize": length, "reason": "longer than a record may be"})
}

fn collect_arns(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("arn:") && text.len() <= 512 && found.len() < RESOURCES_MAX => {
            found.push(text.clone());
        }
        Value::Array(list) => list.iter().for_each(|value| collect_arns(value, found)),
        Value::Object(map) => map.values().for_each(|value| collect_arns(value, found)),
        _ => {}
    }
}

/// CloudTrail's name for what an ARN names.
fn kind_of(arn: &str) -> &'static str {
    match arn.split([':', '/']).nth(5) {
        Some("loadbalancer") => "AWS::ElasticLoadBalancingV2::LoadBalancer",
        Some("listener") => "AWS::ElasticLoadBalancingV2::Listener",
        Some("listener-rule") => "AWS::ElasticLoadBalancingV2::ListenerRule",
        Some("targetgroup") => "AWS::ElasticLoadBalancingV2::TargetGroup",
        Some("certificate") => "AWS::ACM::Certificate",
        Some("server-certificate") => "AWS::IAM::ServerCertificate",
        Some("user") => "AWS::IAM::User",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_model::rest::Role;
    use leat_model::{Code, Limits, Site};

    fn event<'e>(caller: Option<(&'e Caller, Proof)>, error: Option<&'e Error>) -> Event<'e> {
        Event {
            time_ms: 1_700_000_000_123,
            caller,
            claimed_key: Some("LEATX"),
            source: "127.0.0.1".into(),
            user_agent: "aws-cli/2\u{7}",
            event_source: "elasticloadbalancing.amazonaws.com".into(),
            name: "CreateLoadBalancer",
            api_version: "2015-12-01",
            read_only: false,
            request: json!({"name": "web", "tags": [{"key": "k", "value": "v"}]}),
            response: json!({"loadBalancers": [{"loadBalancerArn": "arn:aws:elasticloadbalancing:r:1:loadbalancer/net/web/0"}]}),
            error,
            request_id: "r",
            unrecorded: 0,
        }
    }

    fn model() -> Model {
        Model::new(Site::default(), Limits::default(), [0; 2])
    }

    /// The fields of the documented examples. req: AUD-02, AUD-03
    #[test]
    fn records_have_the_documented_fields() {
        let caller = Caller { name: "ops".into(), access_key_id: "LEATK".into(), role: Role::Admin, tenant: None };
        let record = event(Some((&caller, Proof::Signature)), None).record(&model(), "e".into());
        for (key, value) in [
            ("eventVersion", json!("1.03")),
            (
                "userIdentity",
                json!({"type": "IAMUser", "principalId": "ops", "arn": "arn:aws:iam::000000000000:user/ops",
                       "accountId": "000000000000", "accessKeyId": "LEATK", "userName": "ops"}),
            ),
            ("eventTime", json!("2023-11-14T22:13:20Z")),
            ("eventSource", json!("elasticloadbalancing.amazonaws.com")),
            ("eventName", json!("CreateLoadBalancer")),
            ("awsRegion", json!("on-prem-1")),
            ("sourceIPAddress", json!("127.0.0.1")),
            ("userAgent", json!("aws-cli/2")),
            ("requestParameters", json!({"name": "web", "tags": [{"key": "k", "value": "v"}]})),
            ("requestID", json!("r")),
            ("eventID", json!("e")),
            ("eventType", json!("AwsApiCall")),
            ("apiVersion", json!("2015-12-01")),
            ("recipientAccountId", json!("000000000000")),
            ("readOnly", json!(false)),
        ] {
            assert_eq!(record.get(key), Some(&value), "{key}");
        }
        assert_eq!(record["resources"][0]["type"], "AWS::ElasticLoadBalancingV2::LoadBalancer");
        assert!(!record.contains_key("errorCode"));
    }

    /// req: AUD-03, AUD-07
    #[test]
    fn who_it_was_and_why_it_failed_are_told() {
        let root = Caller { name: "root".into(), access_key_id: String::new(), role: Role::Admin, tenant: None };
        let record = event(Some((&root, Proof::UnixSocket)), None).record(&model(), "e".into());
        assert_eq!(
            (&record["userIdentity"]["type"], &record["userIdentity"]["arn"]),
            (&json!("Root"), &json!("arn:aws:iam::000000000000:root"))
        );
        let error = Error::new(Code::AccessDenied, "no");
        let record = event(None, Some(&error)).record(&model(), "e".into());
        assert_eq!((&record["errorCode"], &record["errorMessage"]), (&json!("AccessDenied"), &json!("no")));
        assert_eq!(
            record["userIdentity"],
            json!({"type": "Unknown", "principalId": "anonymous", "accountId": "000000000000", "accessKeyId": "LEATX"})
        );
    }

    /// req: AUD-06
    #[test]
    fn secrets_are_left_out() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nabc";
        let request = json!({
            "privateKey": "hush", "PrivateKey": "hush", "secretAccessKey": "hush", "token": {"a": "hush"}, "password": ["hush"],
            "Authorization": "hush", "x-amz-signature": "hush", "deep": [{"private_key": "hush", "note": pem}], "certificate": "public",
            "nextToken": "page", "text": "my leat_hush"
        });
        let error = Error::new(Code::ValidationError, format!("{pem} hush"));
        let record = Event { request: request.clone(), response: request, ..event(None, Some(&error)) }
            .record(&model(), "e".into());
        let text = Value::Object(record.clone()).to_string();
        assert!(!text.contains("hush") && !text.contains("BEGIN"), "{text}");
        assert_eq!(record["requestParameters"]["certificate"], "public");
        assert_eq!(record["requestParameters"]["nextToken"], "page");
    }

    #[test]
    fn long_parameters_are_left_out() {
        let request = json!({"targets": "x".repeat(PART_BYTES_MAX)});
        let record = Event { request, ..event(None, None) }.record(&model(), "e".into());
        assert_eq!(record["requestParameters"]["omitted"], true);
    }
}

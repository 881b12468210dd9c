//! CloudTrail: `LookupEvents`, which shows the audit log (AUD-04).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leat_model::Error;
use leat_model::error::Shown;
use leat_model::rest::Role;
use serde_json::{Map, Value, json};

use crate::operation::{Context, EventQuery, Operation, Reply, Service};

/// The operations.
pub const OPERATIONS: &[Operation] =
    &[Operation::json(Service::CloudTrail, "LookupEvents", Role::Admin, lookup_events)];

/// Events of an answer at the most, and unless less is asked for.
const RESULTS_MAX: usize = 50;
const ATTRIBUTES: [&str; 8] =
    ["AccessKeyId", "EventId", "EventName", "EventSource", "ReadOnly", "ResourceName", "ResourceType", "Username"];

fn lookup_events(_: &Context<'_>, request: &Value) -> Result<Reply<Value>, Error> {
    let max = match &request["MaxResults"] {
        Value::Null => RESULTS_MAX,
        value => value.as_u64().filter(|max| (1..=RESULTS_MAX as u64).contains(max)).ok_or_else(|| {
            Error::invalid("MaxResults", format!("MaxResults is a whole number from 1 to {RESULTS_MAX}"))
        })? as usize,
    };
    let attributes = match &request["LookupAttributes"] {
        Value::Null => Vec::new(),
        Value::Array(list) if list.len() <= 1 => list.iter().map(attribute).collect::<Result<_, _>>()?,
        _ => return Err(Error::invalid("LookupAttributes", "LookupAttributes is a list of one attribute at the most")),
    };
    let before = match &request["NextToken"] {
        Value::Null => None,
        token => Some(
            token
                .as_str()
                .and_then(read_token)
                .ok_or_else(|| Error::invalid("NextToken", "NextToken is none of an earlier answer"))?,
        ),
    };
    let (start_ms, end_ms) = (time(request, "StartTime")?, time(request, "EndTime")?);
    if start_ms.zip(end_ms).is_some_and(|(start, end)| start > end) {
        return Err(Error::invalid("StartTime", "StartTime is later than EndTime"));
    }
    // There are no insights.
    if !request["EventCategory"].is_null() {
        return Ok(Reply::Answer(json!({"Events": []})));
    }
    let query = EventQuery { attributes, start_ms, end_ms, max: max + 1, before };
    Ok(Reply::Events(query, Box::new(move |_, records| Ok(answer(records, max)))))
}

fn attribute(value: &Value) -> Result<(String, String), Error> {
    let (key, text) = (value["AttributeKey"].as_str().unwrap_or_default(), value["AttributeValue"].as_str());
    if !ATTRIBUTES.contains(&key) {
        let message = format!("{} is no AttributeKey; allowed are {}", Shown(key), ATTRIBUTES.join(", "));
        return Err(Error::invalid("LookupAttributes", message));
    }
    let text = text.filter(|text| !text.is_empty() && text.len() <= 2000);
    let text = text.ok_or_else(|| Error::invalid("LookupAttributes", "AttributeValue has 1 to 2000 characters"))?;
    Ok((key.to_owned(), text.to_owned()))
}

/// Times are seconds since 1970, with or without a fraction.
fn time(request: &Value, key: &str) -> Result<Option<u64>, Error> {
    match &request[key] {
        Value::Null => Ok(None),
        value => {
            let seconds = value.as_f64().filter(|seconds| (0.0..1e11).contains(seconds));
            let seconds =
                seconds.ok_or_else(|| Error::invalid(key, format!("{key} is a number of seconds since 1970")))?;
            Ok(Some((seconds * 1000.0) as u64))
        }
    }
}

/// One record more than `max` was looked for, so that it is known whether there are more.
fn answer(records: &[Value], max: usize) -> Value {
    let shown = &records[..records.len().min(max)];
    let mut answer = json!({"Events": shown.iter().map(event).collect::<Vec<_>>()});
    let last = shown.last().and_then(|record| record["leatChain"]["sequence"].as_u64());
    if let (true, Some(last)) = (records.len() > max, last) {
        answer["NextToken"] = write_token(last).into();
    }
    answer
}

fn event(record: &Value) -> Value {
    let resources = record["resources"].as_array().into_iter().flatten();
    let resources =
        resources.map(|resource| json!({"ResourceType": resource["type"], "ResourceName": resource["ARN"]}));
    let seconds =
        record["eventTime"].as_str().and_then(|time| crate::sigv4::milliseconds(&time.replace(['-', ':'], "")));
    let event = json!({
        "EventId": record["eventID"],
        "EventName": record["eventName"],
        "ReadOnly": record["readOnly"].as_bool().map(|read_only| read_only.to_string()),
        "AccessKeyId": record["userIdentity"]["accessKeyId"],
        "EventTime": seconds.map(|ms| ms / 1000),
        "EventSource": record["eventSource"],
        "Username": record["userIdentity"]["userName"],
        "Resources": resources.collect::<Vec<_>>(),
        "CloudTrailEvent": record.to_string(),
    });
    match event {
        Value::Object(event) => event.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into(),
        other => other,
    }
}

fn write_token(sequence: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("leat-events/{sequence}"))
}

fn read_token(token: &str) -> Option<u64> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("leat-events/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Caller;
    use leat_model::{Id, Limits, Model, Now, Site};

    fn with<T>(run: impl FnOnce(&Context<'_>) -> T) -> T {
        let model = Model::new(Site::default(), Limits::default(), [0; 2]);
        let caller = Caller { name: "a".into(), access_key_id: String::new(), role: Role::Read, tenant: None };
        run(&Context { model: &model, now: Now { wall_ms: 0, mono_ms: 0 }, caller: &caller, id: Id(0) })
    }

    fn record(sequence: u64) -> Value {
        json!({
            "eventID": format!("e{sequence}"), "eventName": "DeleteLoadBalancer", "eventTime": "2026-01-01T00:00:01Z", "readOnly": false,
            "eventSource": "elasticloadbalancing.amazonaws.com", "userIdentity": {"userName": "ops"},
            "resources": [{"ARN": "arn:x", "type": "T"}], "leatChain": {"sequence": sequence, "previousSha256": ""},
        })
    }

    /// req: AUD-04
    #[test]
    fn events_come_in_pages() {
        with(|context| {
            let request = json!({
                "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "DeleteLoadBalancer"}],
                "StartTime": 1_767_225_600.5, "EndTime": 1_767_225_700, "MaxResults": 2,
            });
            let Ok(Reply::Events(query, answer)) = lookup_events(context, &request) else { panic!("a query") };
            assert_eq!(query.attributes, [("EventName".to_owned(), "DeleteLoadBalancer".to_owned())]);
            assert_eq!(
                (query.start_ms, query.end_ms, query.max),
                (Some(1_767_225_600_500), Some(1_767_225_700_000), 3)
            );
            let answer = answer(context, &vec![record(9), record(7), record(5)]).expect("an answer");
            assert_eq!(answer["Events"].as_array().map(Vec::len), Some(2));
            let event = &answer["Events"][0];
            assert_eq!(
                (&event["EventTime"], &event["ReadOnly"], &event["Username"]),
                (&json!(1_767_225_601), &json!("false"), &json!("ops"))
            );
            assert_eq!(event["Resources"], json!([{"ResourceName": "arn:x", "ResourceType": "T"}]));
            assert_eq!(
                serde_json::from_str::<Value>(event["CloudTrailEvent"].as_str().expect("text")).expect("JSON"),
                record(9)
            );
            assert_eq!(event.get("AccessKeyId"), None);
            let next = json!({"NextToken": answer["NextToken"]});
            let Ok(Reply::Events(query, answer)) = lookup_events(context, &next) else { panic!("a query") };
            assert_eq!((query.before, query.max), (Some(7), 51));
            assert_eq!(answer(context, &vec![record(5)]).expect("an answer").get("NextToken"), None);
        });
    }

    #[test]
    fn bad_requests_are_explained() {
        with(|context| {
            for (request, field) in [
                (json!({"MaxResults": 51}), "MaxResults"),
                (json!({"MaxResults": 0}), "MaxResults"),
                (json!({"NextToken": "x"}), "NextToken"),
                (json!({"StartTime": "yesterday"}), "StartTime"),
                (json!({"StartTime": 2, "EndTime": 1}), "StartTime"),
                (json!({"LookupAttributes": [{"AttributeKey": "Color", "AttributeValue": "x"}]}), "LookupAttributes"),
                (json!({"LookupAttributes": [{"AttributeKey": "EventId"}]}), "LookupAttributes"),
                (json!({"LookupAttributes": "x"}), "LookupAttributes"),
            ] {
                let Err(error) = lookup_events(context, &request) else { panic!("{request}") };
                assert_eq!(error.field.as_deref(), Some(field));
            }
            let insights = lookup_events(context, &json!({"EventCategory": "insight"}));
            assert!(matches!(insights, Ok(Reply::Answer(answer)) if answer == json!({"Events": []})));
        });
    }
}

//! Looking records up, the newest first: `LookupEvents` and `GET /v1/audit-events` (AUD-04).

use std::io::{self, Read};

use leat_aws::operation::EventQuery;
use serde_json::Value;

use super::log::{CHAIN, Log};

/// A record is written when its call ends; its time is that of the beginning. No call takes longer, in milliseconds.
const CALL_MS_MAX: u64 = 3_600_000;

/// Finds records.
///
/// # Errors
/// The log cannot be read.
pub fn lookup(log: &Log, query: &EventQuery) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for mut file in log.files()? {
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        for line in text.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if found.len() >= query.max {
                return Ok(found);
            }
            let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
            let time = record["eventTime"].as_str().and_then(milliseconds);
            if let (Some(time), Some(start)) = (time, query.start_ms)
                && time + CALL_MS_MAX < start
            {
                return Ok(found);
            }
            if matches(&record, time, query) {
                found.push(record);
            }
        }
    }
    Ok(found)
}

fn matches(record: &Value, time: Option<u64>, query: &EventQuery) -> bool {
    // Times of records have whole seconds.
    let after = query.start_ms.is_none_or(|start| time.is_some_and(|time| time >= start / 1000 * 1000));
    let before = query.end_ms.is_none_or(|end| time.is_some_and(|time| time <= end));
    let earlier = query.before.is_none_or(|number| record[CHAIN]["sequence"].as_u64().is_some_and(|own| own < number));
    after && before && earlier && query.attributes.iter().all(|(key, value)| has(record, key, value))
}

fn has(record: &Value, key: &str, value: &str) -> bool {
    let resources = || record["resources"].as_array().into_iter().flatten();
    match key {
        "EventId" => record["eventID"] == value,
        "EventName" => record["eventName"] == value,
        "EventSource" => record["eventSource"] == value,
        "ReadOnly" => record["readOnly"].as_bool().is_some_and(|read_only| read_only.to_string() == value),
        "Username" => record["userIdentity"]["userName"] == value,
        "AccessKeyId" => record["userIdentity"]["accessKeyId"] == value,
        "ResourceType" => resources().any(|resource| resource["type"] == value),
        "ResourceName" => {
            resources().any(|resource| resource["ARN"] == value) || says(&record["requestParameters"], value)
        }
        _ => false,
    }
}

/// Whether a text in the value is this one: names in requests.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(list) => list.iter().any(|value| says(value, text)),
        Value::Object(map) => map.values().any(|value| says(value, text)),
        _ => false,
    }
}

/// `2026-01-31T12:30:00Z` in milliseconds since 1970.
fn milliseconds(text: &str) -> Option<u64> {
    leat_aws::sigv4::milliseconds(&text.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Record;
    use crate::audit::log::Settings;
    use serde_json::json;

    fn record(second: u32, name: &str, user: &str, parameter: &str) -> Record {
        let record = json!({
            "eventTime": format!("2026-01-01T00:00:{second:02}Z"), "eventName": name, "eventID": format!("{name}-{second}"),
            "readOnly": name.starts_with("Describe"), "userIdentity": {"userName": user}, "requestParameters": {"name": parameter},
            "resources": [{"ARN": "arn:x", "type": "T"}], "eventSource": "s",
        });
        match record {
            Value::Object(record) => record,
            _ => Record::new(),
        }
    }

    /// req: AUD-04
    #[test]
    fn records_are_found_by_attribute_and_time_in_pages() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        let log = Log::open(Settings { path, file_bytes_max: 400, files_max: 100 }).expect("a log");
        for second in 0..30 {
            let (name, user) = if second % 3 == 0 { ("CreateLoadBalancer", "ops") } else { ("DescribeTags", "eve") };
            log.append(record(second, name, user, &format!("lb-{second}")));
        }
        let find = |query: EventQuery| {
            let found = lookup(&log, &query).expect("read");
            found.iter().map(|record| record["eventID"].as_str().expect("it").to_owned()).collect::<Vec<_>>()
        };
        let by = |key: &str, value: &str| EventQuery {
            attributes: vec![(key.into(), value.into())],
            max: 50,
            ..EventQuery::default()
        };
        assert_eq!(find(EventQuery { max: 2, ..EventQuery::default() }), ["DescribeTags-29", "DescribeTags-28"]);
        assert_eq!(find(by("EventName", "CreateLoadBalancer")).len(), 10);
        assert_eq!(find(by("Username", "eve")).len(), 20);
        assert_eq!(find(by("ReadOnly", "true")).len(), 20);
        assert_eq!(find(by("ResourceName", "lb-7")), ["DescribeTags-7"]);
        assert_eq!(find(by("ResourceName", "arn:x")).len(), 30);
        assert_eq!(find(by("ResourceType", "T")).len(), 30);
        assert_eq!(find(by("EventId", "DescribeTags-5")), ["DescribeTags-5"]);
        assert!(find(by("Nothing", "x")).is_empty());
        let start = 1_767_225_600_000;
        let times =
            EventQuery { start_ms: Some(start + 3_500), end_ms: Some(start + 5_000), max: 50, ..EventQuery::default() };
        assert_eq!(find(times), ["DescribeTags-5", "DescribeTags-4", "CreateLoadBalancer-3"]);

        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = lookup(&log, &EventQuery { max: 7, before, ..EventQuery::default() }).expect("read");
            let Some(last) = page.last() else { break };
            before = last[CHAIN]["sequence"].as_u64();
            // What is written between two pages moves nothing.
            log.append(record(40, "DescribeTags", "eve", "x"));
            pages.extend(page);
        }
        assert_eq!(pages.len(), 30);
    }
}

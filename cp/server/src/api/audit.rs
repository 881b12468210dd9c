//! The audit log.

use axum::extract::State;
use leat_aws::operation::EventQuery;
use leat_aws::sigv4;
use leat_model::error::Shown;
use leat_model::{Error, check, rest};

use super::App;
use super::body::{Answer, Parameters, ok};
use super::page;
use crate::audit::log::CHAIN;

const EVENTS_DEFAULT: i64 = 50;
const EVENTS_MAX: u32 = 1000;

/// Records of calls, the newest first.
pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::AuditQuery>,
) -> Answer<rest::AuditEvents> {
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT);
    let limit = check::number("limit", limit, 1, EVENTS_MAX, "events")? as usize;
    let attributes = [
        ("EventName", query.event_name),
        ("EventSource", query.event_source),
        ("Username", query.user_name),
        ("AccessKeyId", query.access_key_id),
        ("ResourceName", query.resource_name),
        ("ReadOnly", query.read_only.map(|read_only| read_only.to_string())),
    ];
    let given = attributes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let wanted = EventQuery {
        attributes: given.collect(),
        start_ms: query.start_time.as_deref().map(|text| time("startTime", text)).transpose()?,
        end_ms: query.end_time.as_deref().map(|text| time("endTime", text)).transpose()?,
        // One more tells whether there is more.
        max: limit + 1,
        before: query.cursor.as_deref().map(page::read_cursor).transpose()?,
    };
    let mut events = app.guard.lookup(wanted).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().filter(|_| more).and_then(|event| event[CHAIN]["sequence"].as_u64());
    ok(rest::AuditEvents { events, next_cursor: last.map(|sequence| page::write_cursor(&sequence)) })
}

/// `2026-01-31T12:30:00Z` in milliseconds since 1970.
fn time(field: &str, text: &str) -> Result<u64, Error> {
    let formed = text.len() == "2026-01-31T12:30:00Z".len() && text.is_ascii();
    let found = formed.then(|| sigv4::milliseconds(&text.replace(['-', ':'], ""))).flatten();
    let message = || format!("{} is not a time; write it like 2026-01-31T12:30:00Z", Shown(text));
    found.ok_or_else(|| Error::invalid(field, message()))
}

//! The event log.

use std::time::Duration;

use axum::extract::State;
use leat_model::error::Shown;
use leat_model::rest::{self, EventType, Transition};
use leat_model::{Error, check};
use tokio::time::{Instant, timeout_at};

use super::App;
use super::body::{Answer, Parameters, ok};

const EVENTS_DEFAULT: i64 = 100;
const EVENTS_MAX: u32 = 1000;
const WAIT_SECONDS_MAX: i64 = 30;

/// Events, the newest or those after one; with patience if there are none.
pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<rest::EventsQuery>,
) -> Answer<rest::Events> {
    let limit = check::number("limit", query.limit.unwrap_or(EVENTS_DEFAULT), 1, EVENTS_MAX, "events")? as usize;
    let kinds = query.kind.as_deref().map(kinds).transpose()?;
    let wait = query.wait.unwrap_or(0);
    if !(0..=WAIT_SECONDS_MAX).contains(&wait) {
        let message = format!("{wait} is out of range; allowed are 0 to {WAIT_SECONDS_MAX} seconds");
        return Err(Error::invalid("wait", message).into());
    }
    let wanted = |event: &Transition| kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind));
    let log = &app.events;
    let part = match query.after {
        None => log.newest(limit, wanted),
        Some(after) => {
            // Who waits holds a request's place: when too many do, the others are answered at once, and ask again.
            let turn = app.waiters.try_acquire().ok().filter(|_| wait > 0);
            let deadline = Instant::now() + Duration::from_secs(wait.unsigned_abs());
            let mut newest = log.watch();
            loop {
                newest.mark_unchanged();
                let part = log.after(after, limit, wanted);
                let is_news = !part.events.is_empty() || part.dropped > 0 || part.next < after;
                if is_news || turn.is_none() || log.is_closed() || timeout_at(deadline, newest.changed()).await.is_err()
                {
                    break part;
                }
            }
        }
    };
    ok(rest::Events {
        boot_id: log.boot_id().to_owned(),
        events: part.events,
        next: part.next,
        dropped: part.dropped,
        merged_changes: log.merged_changes(),
    })
}

fn kinds(text: &str) -> Result<Vec<EventType>, Error> {
    let one = |name: &str| {
        let found = EventType::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let known: Vec<&str> = EventType::ALL.iter().map(|(known, _)| *known).collect();
            Error::invalid("type", format!("{} is no type of event; there are {}", Shown(name), known.join(", ")))
        })
    };
    text.split(',').map(one).collect()
}

//! `leat events`

use std::thread;
use std::time::Duration;

use clap::Args;
use leat_model::rest::{Event, Events};

use super::word;
use crate::client::{CallError, Client, query};
use crate::output::{Output, list};

#[derive(Args, Debug)]
#[command(after_help = "\
Types: target, zone, fail-open, zonal-shift, load-balancer, data-plane, port

Examples:
  leat events                                  the newest events
  leat events --follow                         and those to come, until Ctrl-C
  leat events --follow --type target,zone -o json | jq -r .description")]
pub struct EventsArgs {
    /// Go on with those that come, also when leat-cp is restarted
    #[arg(short, long)]
    follow: bool,
    /// Only events of these types, separated by commas
    #[arg(long = "type", value_name = "TYPES")]
    types: Option<String>,
    /// So many at the most, the newest: 1-1000
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// How long the API may wait for an event, in seconds.
const WAIT_S: u64 = 25;
/// The pause before it is asked again when it cannot be reached.
const RETRY: Duration = Duration::from_secs(1);
/// Events of an answer while following.
const BATCH: u32 = 1000;

pub fn run(args: &EventsArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let parameters = [("limit", Some(args.limit.to_string())), ("type", args.types.clone())];
    let newest: Events = client.get(&format!("/v1/events{}", query(&parameters)))?;
    if !args.follow {
        output.show(&newest, |answer| table(&answer.events));
        return Ok(());
    }
    print(&newest.events, output);
    let mut reader = Reader { boot_id: newest.boot_id, after: newest.next };
    let mut is_away = false;
    loop {
        match reader.read(args.types.as_deref(), client) {
            Ok((events, note)) => {
                is_away = false;
                note.iter().for_each(|note| eprintln!("note: {note}"));
                print(&events, output);
            }
            Err(error @ (CallError::Connect(..) | CallError::Timeout(_) | CallError::Protocol(_))) => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("note: {error}; trying again until it answers");
                }
                thread::sleep(RETRY);
            }
            Err(error) => return Err(error),
        }
    }
}

/// How far events were read.
pub struct Reader {
    /// Of which run of leat-cp.
    pub boot_id: String,
    /// The sequence number of the last one.
    pub after: u64,
}

impl Reader {
    /// The events that follow, if need be after some waiting, and what has become of those that are missing.
    pub fn read(&mut self, types: Option<&str>, client: &Client) -> Result<(Vec<Event>, Option<String>), CallError> {
        let ask = |after: u64| -> Result<Events, CallError> {
            let numbers = [("after", after), ("wait", WAIT_S), ("limit", BATCH.into())];
            let numbers = numbers.map(|(name, number)| (name, Some(number.to_string())));
            let parameters: Vec<_> = numbers.into_iter().chain([("type", types.map(str::to_owned))]).collect();
            client.get(&format!("/v1/events{}", query(&parameters)))
        };
        let mut answer = ask(self.after)?;
        let mut note = None;
        if answer.boot_id != self.boot_id {
            note = Some("leat-cp was restarted; its events begin anew".into());
            (self.boot_id, self.after) = (answer.boot_id, 0);
            answer = ask(0)?;
        }
        if answer.dropped > 0 {
            note = Some(format!("{} events came too fast to be read; they are not kept any more", answer.dropped));
        }
        self.after = answer.next;
        Ok((answer.events, note))
    }
}

/// A line for each event, as they come: of JSON an object.
fn print(events: &[Event], output: &mut Output<'_>) {
    for event in events {
        if output.is_json() {
            output.line(&serde_json::to_string(event).unwrap_or_else(|error| error.to_string()));
        } else {
            let [time, kind, subject, state, why] = row(event);
            output.line(&format!("{time}  {kind:<13}  {subject:<40}  {state:<32}  {why}"));
        }
    }
}

fn table(events: &[Event]) -> String {
    list("no events since leat-cp was started", ["time", "type", "what", "state", "why"], events.iter().map(row))
}

fn row(event: &Event) -> [String; 5] {
    let what = &event.what;
    let parts = [&what.load_balancer, &what.target_group, &what.target, &what.zone, &what.port];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    let state = what.from.as_ref().map_or_else(|| what.to.clone(), |from| format!("{from} → {}", what.to));
    let why: Vec<&str> = [&what.reason, &what.description].into_iter().flatten().map(String::as_str).collect();
    [event.time.clone(), word(&what.kind), parts.join(" "), state, why.join(": ")]
}

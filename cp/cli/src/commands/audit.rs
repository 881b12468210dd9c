//! `leat audit`

use clap::Args;
use serde_json::Value;

use crate::client::{CallError, Client, query};
use crate::output::{Output, list};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  leat audit                                the newest calls
  leat audit --event DeleteLoadBalancer     who has deleted load balancers
  leat audit --user deploy --limit 200 -o json")]
pub struct AuditArgs {
    /// Only calls of this name, such as CreateListener
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only calls of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// So many at the most, the newest first
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

pub fn run(args: &AuditArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let parameters =
        [("eventName", args.event.clone()), ("userName", args.user.clone()), ("limit", Some(args.limit.to_string()))];
    let answer: Value = client.get(&format!("/v1/audit-events{}", query(&parameters)))?;
    output.show(&answer, |answer| {
        let text =
            |event: &Value, path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let row = |event: &Value| {
            [
                text(event, "/eventTime"),
                text(event, "/userIdentity/userName"),
                text(event, "/sourceIPAddress"),
                text(event, "/eventName"),
                text(event, "/errorCode"),
            ]
        };
        let events = answer["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        list("no calls", ["time", "user", "from", "call", "error"], events.iter().map(row))
    });
    Ok(())
}

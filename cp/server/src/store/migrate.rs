//! Records of older versions, as this version has them.

use super::Record;

/// From version 1. Version 2 has more kinds of records, and more in each: what was not there is absent, and absent is what it was.
///
/// # Errors
/// A record that version 1 cannot have written, in words for people.
pub fn from_1(records: Vec<Record>) -> Result<Vec<Record>, String> {
    const KINDS: [&str; 7] =
        ["meta", "slots", "load-balancer", "listener", "retired-listener", "target-group", "target"];
    match records.iter().find(|(key, _)| !KINDS.contains(&key.split('/').next().unwrap_or_default())) {
        Some((key, _)) => Err(format!("version 1 has no record \"{key}\"")),
        None => Ok(records),
    }
}

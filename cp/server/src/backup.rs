//! Backup and restore: one JSON document with all records, and a checksum over them.

use std::collections::BTreeMap;
use std::fmt::Write;

use leat_model::rest::Backup;
use leat_model::{Code, Command, Error, Model, Now, view};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::store::SCHEMA;

/// The configuration as it is.
///
/// # Errors
/// A defect: a record is not JSON.
pub fn make(model: &Model, now: Now) -> Result<Backup, Error> {
    let record = |(key, value): (String, Vec<u8>)| {
        let defect = |error| Error::new(Code::InternalFailure, format!("the record \"{key}\" cannot be read: {error}"));
        let value: Value = serde_json::from_slice(&value).map_err(defect)?;
        Ok((key, value))
    };
    let records: BTreeMap<_, _> = model.backup().into_iter().map(record).collect::<Result<_, Error>>()?;
    Ok(Backup {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        created_time: view::rfc3339(now.wall_ms),
        sha256: checksum(&records),
        records,
    })
}

/// The command that makes a backup's configuration this one.
///
/// # Errors
/// It is of another version, or was changed.
pub fn restore(backup: Backup) -> Result<Command, Error> {
    if backup.schema != SCHEMA {
        let message = format!(
            "the backup has version {}, this program knows version {SCHEMA}; restore it with the version that made it, {}",
            backup.schema, backup.version
        );
        return Err(Error::invalid("schema", message));
    }
    if checksum(&backup.records) != backup.sha256 {
        let message = "the records are not those that the backup was made of: it was damaged, or changed by hand";
        return Err(Error::invalid("sha256", message));
    }
    Ok(Command::Restore(backup.records.into_iter().map(|(key, value)| (key, value.to_string().into())).collect()))
}

/// Over each record in the order of the keys: key, line feed, JSON without spaces and with keys in order, line feed.
fn checksum(records: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in records {
        text.push_str(key);
        text.push('\n');
        write_sorted(value, &mut text);
        text.push('\n');
    }
    let mut hexadecimal = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    hexadecimal
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            for (at, (key, value)) in fields.into_iter().enumerate() {
                let _ = write!(out, "{}{}:", if at == 0 { '{' } else { ',' }, Value::from(key.as_str()));
                write_sorted(value, out);
            }
            out.push_str(if object.is_empty() { "{}" } else { "}" });
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                out.push(if at == 0 { '[' } else { ',' });
                write_sorted(value, out);
            }
            out.push_str(if values.is_empty() { "[]" } else { "]" });
        }
        other => drop(write!(out, "{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_model::{Limits, Site};

    const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_ms: 0 };

    #[test]
    fn what_is_made_is_taken_and_what_was_changed_is_not() {
        let model = Model::new(Site::default(), Limits::default(), [7, 8]);
        let backup = make(&model, NOW).expect("a backup");
        assert_eq!((backup.schema, backup.created_time.as_str()), (SCHEMA, "2023-11-14T22:13:20Z"));
        // As it comes back over the API.
        let text = serde_json::to_string_pretty(&backup).expect("JSON");
        let again: Backup = serde_json::from_str(&text).expect("a backup");
        assert_eq!(
            restore(again.clone()).expect("whole"),
            Command::Restore(model.backup().into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
        );
        let refused = |change: &dyn Fn(&mut Backup)| {
            let mut other = again.clone();
            change(&mut other);
            restore(other).expect_err("changed").field.unwrap_or_default()
        };
        assert_eq!(refused(&|backup| backup.schema = 1), "schema");
        assert_eq!(refused(&|backup| drop(backup.records.remove("meta"))), "sha256");
        assert_eq!(refused(&|backup| drop(backup.records.insert("meta".into(), Value::Null))), "sha256");
    }

    #[test]
    fn the_checksum_does_not_depend_on_the_order_of_fields() {
        let records = |text: &str| BTreeMap::from([("a".to_owned(), serde_json::from_str(text).expect("JSON"))]);
        let one = checksum(&records(r#"{"x":[1,{"b":null,"a":"\n"}],"e":{},"f":[]}"#));
        assert_eq!(one, checksum(&records(r#"{ "f": [], "e": {}, "x": [1, {"a": "\n", "b": null}]}"#)));
        assert_ne!(one, checksum(&records(r#"{"x":[1,{"b":null,"a":"\t"}],"e":{},"f":[]}"#)));
    }
}

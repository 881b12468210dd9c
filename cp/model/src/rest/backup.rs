//! Backups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A backup of the configuration, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backup {
    /// Version of the records.
    pub schema: u64,
    /// Version of the program that made it.
    pub version: String,
    /// When it was made, in RFC 3339.
    pub created_time: String,
    /// SHA-256 of the records, hexadecimal.
    pub sha256: String,
    /// The configuration, whole: key and record.
    #[schema(value_type = Object)]
    pub records: BTreeMap<String, Value>,
}

/// What a restore has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The configuration's epoch afterwards.
    pub epoch: u64,
    /// Whether every lcore works with it already.
    pub applied: bool,
}

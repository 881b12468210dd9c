//! The JSON of the REST API, one definition for the server, the command line and the documentation.
//!
//! Keys are camelCase. Requests refuse unknown fields. Numbers in requests are `i64`, wider than what is allowed, so that the
//! answer to a number out of range names the range instead of a type. Absent optional fields take the default, or, in a
//! `Modify…` request, keep their value. The calls are listed in `docs/api.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod access;
mod account;
mod application;
mod backup;
mod certificate;
mod declare;
mod dns;
mod event;
mod health_check;
mod inventory;
mod kinds;
mod listener;
mod load_balancer;
mod observe;
mod shift;
mod status;
mod target;
mod target_group;
pub use access::*;
pub use account::*;
pub use application::*;
pub use backup::*;
pub use certificate::*;
pub use declare::*;
pub use dns::*;
pub use event::*;
pub use health_check::*;
pub use inventory::*;
pub use kinds::*;
pub use listener::*;
pub use load_balancer::*;
pub use observe::*;
pub use shift::*;
pub use status::*;
pub use target::*;
pub use target_group::*;

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: AWS's code where there is one, such as `ValidationError`.
    pub code: String,
    /// For people: what is wrong, what is allowed, what to do.
    pub message: String,
    /// The path of the field at fault, such as `targets[1].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The query of lists of named things.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListQuery {
    /// Only the one of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The query of lists without names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageQuery {
    /// So many at the most, 1–1000; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Attributes by key; values are strings, as in AWS's API.
pub type Attributes = BTreeMap<String, String>;

/// Tags by key (TAG).
pub type Tags = BTreeMap<String, String>;

/// Labels of instances by key.
pub type Labels = BTreeMap<String, String>;

/// `GET` and `PUT` of `…/tags`: all tags of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagsBody {
    /// Tags by key.
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// The query of `DELETE …/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyQuery {
    /// The tag's key.
    pub key: String,
}

/// The query of `/v1/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceQuery {
    /// ARN of whatever has tags.
    pub resource: String,
}

/// The query of `DELETE /v1/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceKeyQuery {
    /// ARN of whatever has tags.
    pub resource: String,
    /// The tag's key.
    pub key: String,
}

/// `PATCH /v1/target-groups/{tg}/attributes`, and the answer to it and to the `GET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributesBody {
    /// Request: what shall change, all or nothing. Answer: all of them.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: Attributes,
}

/// The query of calls that change targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitQuery {
    /// Wait so many seconds, 0–300, until every lcore works with the change; 50 ms unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 300)]
    pub wait: Option<u64>,
}

/// The answer to changes of targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Whether every lcore works with the change. If not (202), it is stored and follows.
    pub applied: bool,
    /// What is allowed but hardly meant, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

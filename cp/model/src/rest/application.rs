//! Application load balancers: proxies of requests that stand elsewhere, kept so that they can be described, and be targets of
//! target groups of type `alb`. Their listeners and rules are kept and shown; they have no data plane here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/load-balancers/{lb}/listeners/{port}/rules`, and what is kept of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSpec {
    /// 1–50000, unique in the listener.
    pub priority: i64,
    /// As in AWS's API: `Field` and its values.
    pub conditions: Vec<serde_json::Value>,
    /// As in AWS's API: `Type` and what it needs.
    pub actions: Vec<serde_json::Value>,
}

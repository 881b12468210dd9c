//! Rules of application load balancers: proxies of requests that stand elsewhere, kept so that they can be described, and be targets of
//! target groups of type `alb`. Their listeners and rules are kept and shown; they have no data plane here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Tags;

/// `POST /v1/load-balancers/{lb}/listeners/{port}/rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSpec {
    /// 1–50000, unique in the listener; the lowest counts first.
    #[schema(minimum = 1, maximum = 50000)]
    pub priority: i64,
    /// As in AWS's API: `Field` and its values.
    #[schema(value_type = Vec<Object>)]
    pub conditions: Vec<serde_json::Value>,
    /// As in AWS's API: `Type` and what it needs.
    #[schema(value_type = Vec<Object>)]
    pub actions: Vec<serde_json::Value>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `PATCH /v1/load-balancers/{lb}/listeners/{port}/rules/{rule}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyRule {
    /// New priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 50000)]
    pub priority: Option<i64>,
    /// New conditions, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub conditions: Option<Vec<serde_json::Value>>,
    /// New actions, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub actions: Option<Vec<serde_json::Value>>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its ARN.
    pub arn: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The lowest counts first.
    pub priority: u32,
    /// As in AWS's API.
    #[schema(value_type = Vec<Object>)]
    pub conditions: Vec<serde_json::Value>,
    /// As in AWS's API.
    #[schema(value_type = Vec<Object>)]
    pub actions: Vec<serde_json::Value>,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: Tags,
}

/// `GET /v1/load-balancers/{lb}/listeners/{port}/rules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// All but the default one, which is the listener's own, by priority.
    pub rules: Vec<Rule>,
}

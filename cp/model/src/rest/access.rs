//! Who may use the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Register and deregister targets, shift zones: what running the service needs.
    Operate,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// `POST /v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateUser {
    /// Name: as a load balancer's; unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The tenant whose networks it may use (TG-17); none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// A user, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Name.
    pub name: String,
    /// ARN, of IAM's form.
    pub arn: String,
    /// What it may do.
    pub role: Role,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Access key id, for signatures.
    pub access_key_id: String,
    /// When it was created, RFC 3339, UTC.
    pub created_time: String,
}

/// A user with its secrets: the answer to `POST /v1/users` and `POST /v1/users/{user}/rotate`, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserSecrets {
    /// The user.
    pub user: User,
    /// The secret access key that belongs to its access key id.
    pub secret_access_key: String,
    /// Its bearer token.
    pub token: String,
}

impl std::fmt::Debug for UserSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSecrets").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `GET /v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// All of them, by name.
    pub users: Vec<User>,
}

//! Users of the API.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::model::{Effects, Model, Now};
use crate::rest::Role;

/// A user, by name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The tenant whose networks it may use; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// For signatures.
    pub access_key_id: String,
    /// For signatures: it has to be kept as it is.
    pub secret_access_key: String,
    /// SHA-256 of its bearer token, hexadecimal.
    pub token_sha256: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A change of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new user.
    Create(User),
    /// New secrets for a user: access key id, secret access key, token's SHA-256.
    Rotate {
        /// Its name.
        name: String,
        /// The user with them; name, role, tenant and time are not looked at.
        secrets: User,
    },
    /// A user is forgotten; never the last admin.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Model {
    pub(crate) fn change_access(&mut self, _: &mut Effects, _: Change, _: Now) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "users cannot be changed"))
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }
}

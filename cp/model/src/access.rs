//! Users of the API.

use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::model::{Effects, Kind, Model, Now, RecordKey};
use crate::rest::{self, Role};
use crate::view;

/// Users at the most.
pub const USERS_MAX: usize = 500;

/// Names that callers without a user have: who comes by the Unix socket as root, and who comes without credentials.
pub const RESERVED_NAMES: [&str; 2] = ["root", "anonymous"];

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
    pub(crate) fn change_access(&mut self, fx: &mut Effects, change: Change, _: Now) -> Result<(), Error> {
        let name = match change {
            Change::Create(user) => {
                self.check_new_user(&user)?;
                let name = user.name.clone();
                self.users.insert(name.clone(), user);
                name
            }
            Change::Rotate { name, secrets } => {
                let user = self.users.get_mut(&name).ok_or_else(|| unknown(&name))?;
                user.access_key_id = secrets.access_key_id;
                user.secret_access_key = secrets.secret_access_key;
                user.token_sha256 = secrets.token_sha256;
                name
            }
            Change::Delete { name } => {
                let user = self.find_user(&name)?;
                let admins = self.users.values().filter(|user| user.role == Role::Admin).count();
                if user.role == Role::Admin && admins == 1 {
                    let message = format!("{name} is the last admin; create another one before you delete it");
                    return Err(Error::new(Code::OperationNotPermitted, message));
                }
                self.users.remove(&name);
                name
            }
        };
        fx.touch(RecordKey::Object(Kind::User, name));
        Ok(())
    }

    fn check_new_user(&self, user: &User) -> Result<(), Error> {
        check::name("name", &user.name)?;
        if RESERVED_NAMES.contains(&user.name.as_str()) {
            let message = format!("the name {} is reserved; choose another name", user.name);
            return Err(Error::invalid("name", message));
        }
        if let Some(tenant) = &user.tenant {
            check::name("tenant", tenant)?;
        }
        if self.users.contains_key(&user.name) {
            let message = format!("there is a user {}; choose another name, or give this one new secrets", user.name);
            return Err(Error::at(Code::DuplicateUserName, "name", message));
        }
        if self.users.len() >= USERS_MAX {
            let message = format!("there are {USERS_MAX} users, the most there can be; delete one");
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        Ok(())
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Finds a user by name.
    ///
    /// # Errors
    /// [`Code::UserNotFound`].
    pub fn find_user(&self, name: &str) -> Result<&User, Error> {
        self.users.get(name).ok_or_else(|| unknown(name))
    }

    /// The ARN of a user, or of a caller that is none.
    pub fn user_arn(&self, name: &str) -> String {
        let site = self.site();
        match name {
            "root" => format!("arn:{}:iam::{}:root", site.partition, site.account),
            name => format!("arn:{}:iam::{}:user/{name}", site.partition, site.account),
        }
    }

    /// A user as the API shows it: without secrets.
    pub fn show_user(&self, user: &User) -> rest::User {
        rest::User {
            name: user.name.clone(),
            arn: self.user_arn(&user.name),
            role: user.role,
            tenant: user.tenant.clone(),
            access_key_id: user.access_key_id.clone(),
            created_time: view::rfc3339(user.created_ms),
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::new(Code::UserNotFound, format!("there is no user {}", Shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::model::{Command, Site};

    const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_ms: 0 };

    fn user(name: &str, role: Role) -> User {
        User {
            name: name.into(),
            role,
            tenant: None,
            access_key_id: format!("LEAT{name}"),
            secret_access_key: "hush".into(),
            token_sha256: "0".into(),
            created_ms: NOW.wall_ms,
        }
    }

    fn apply(model: &mut Model, change: Change) -> Result<Effects, Error> {
        model.apply(Command::Access(change), NOW)
    }

    #[test]
    fn users_come_change_their_secrets_and_go() {
        let mut model = Model::new(Site::default(), Limits::default(), [0; 2]);
        apply(&mut model, Change::Create(user("admin", Role::Admin))).expect("good");
        apply(&mut model, Change::Create(user("ops", Role::Operate))).expect("good");
        let shown = model.show_user(model.find_user("ops").expect("it"));
        assert_eq!((shown.arn.as_str(), shown.role), ("arn:aws:iam::000000000000:user/ops", Role::Operate));
        assert_eq!(shown.created_time, "2023-11-14T22:13:20Z");
        let secrets = User { access_key_id: "LEATnew".into(), role: Role::Admin, ..user("x", Role::Admin) };
        apply(&mut model, Change::Rotate { name: "ops".into(), secrets }).expect("good");
        let ops = model.find_user("ops").expect("it");
        assert_eq!((ops.access_key_id.as_str(), ops.role, ops.name.as_str()), ("LEATnew", Role::Operate, "ops"));

        let last = apply(&mut model, Change::Delete { name: "admin".into() }).expect_err("the last admin");
        assert_eq!(last.code, Code::OperationNotPermitted);
        apply(&mut model, Change::Create(user("second", Role::Admin))).expect("good");
        apply(&mut model, Change::Delete { name: "admin".into() }).expect("not the last any more");
        assert_eq!(
            apply(&mut model, Change::Delete { name: "admin".into() }).expect_err("gone").code,
            Code::UserNotFound
        );
    }

    #[test]
    fn names_are_checked_and_secrets_are_not_in_debug_output() {
        let mut model = Model::new(Site::default(), Limits::default(), [0; 2]);
        for bad in ["", "root", "anonymous", "-x", "a b", &"x".repeat(33)] {
            let error = apply(&mut model, Change::Create(user(bad, Role::Read))).expect_err(bad);
            assert_eq!(error.field.as_deref(), Some("name"));
        }
        apply(&mut model, Change::Create(user("ops", Role::Read))).expect("good");
        let twice = apply(&mut model, Change::Create(user("ops", Role::Read))).expect_err("twice");
        assert_eq!(twice.code, Code::DuplicateUserName);
        let command = Command::Access(Change::Create(user("x", Role::Read)));
        assert!(!format!("{command:?} {model:?}").contains("hush"));
    }
}

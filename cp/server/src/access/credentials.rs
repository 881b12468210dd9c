//! Making secrets, and showing them once.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leat_aws::sigv4::hex;
use leat_model::access::{Change, User};
use leat_model::rest::{CreateUser, Role, UserSecrets};
use leat_model::{Command, Error, Model};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::state::State;

/// The name of the user that is made when there is none.
pub const FIRST_ADMIN: &str = "admin";

/// What all access key ids begin with.
pub const KEY_PREFIX: &str = "LEAT";
/// What all tokens begin with, so that scanners for forgotten secrets find them.
pub const TOKEN_PREFIX: &str = "leat_";

/// New secrets of a user that are not stored yet.
pub struct Fresh {
    user: User,
    token: Zeroizing<String>,
}

impl Fresh {
    /// Draws the secrets of a user.
    pub fn draw(name: &str, role: Role, tenant: Option<String>, now_ms: u64) -> Self {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let id = rand::random::<[u8; 16]>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        let secret = Zeroizing::new(rand::random::<[u8; 30]>());
        let token = Zeroizing::new(rand::random::<[u8; 32]>());
        let token = Zeroizing::new(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(token.as_slice())));
        let user = User {
            name: name.to_owned(),
            role,
            tenant,
            access_key_id: format!("{KEY_PREFIX}{}", id.iter().collect::<String>()),
            secret_access_key: URL_SAFE_NO_PAD.encode(secret.as_slice()),
            token_sha256: token_sha256(&token),
            created_ms: now_ms,
        };
        Self { user, token }
    }

    /// For `POST /v1/users`.
    pub fn for_new_user(request: CreateUser, now_ms: u64) -> Self {
        Self::draw(&request.name, request.role, request.tenant, now_ms)
    }

    /// For `POST /v1/users/{user}/rotate`; role and tenant stay what they are.
    pub fn for_user(name: &str, now_ms: u64) -> Self {
        Self::draw(name, Role::Read, None, now_ms)
    }

    /// The command that makes the user.
    pub fn create(&self) -> Command {
        Command::Access(Change::Create(self.user.clone()))
    }

    /// The command that gives the user these secrets in place of those it has.
    pub fn rotate(&self) -> Command {
        Command::Access(Change::Rotate { name: self.user.name.clone(), secrets: self.user.clone() })
    }

    /// What is shown once, after the command was carried out.
    ///
    /// # Errors
    /// The user was deleted meanwhile.
    pub fn shown(self, model: &Model) -> Result<UserSecrets, Error> {
        let user = model.show_user(model.find_user(&self.user.name)?);
        Ok(UserSecrets { user, secret_access_key: self.user.secret_access_key.clone(), token: self.token.to_string() })
    }

    /// As lines for a shell.
    fn lines(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        let User { access_key_id, secret_access_key, .. } = &self.user;
        let token = self.token.as_str();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "AWS_ACCESS_KEY_ID={access_key_id}\nAWS_SECRET_ACCESS_KEY={secret_access_key}\nLEAT_TOKEN={token}\n"
        );
        text
    }
}

/// What is kept of a token: its SHA-256, hexadecimal. Tokens have 256 random bits, so that nothing slower is needed.
pub fn token_sha256(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Makes the first admin where there is no user yet, and shows its credentials once: on a terminal, or, as logs are kept and read by
/// others, in a file that only its owner can read.
///
/// # Errors
/// It cannot be stored, or its credentials cannot be shown; it is not kept then.
pub fn make_first_admin(state: &State, file: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if state.model().users().next().is_some() {
        return Ok(());
    }
    let fresh = Fresh::draw(FIRST_ADMIN, Role::Admin, None, state.now().wall_ms);
    if io::stderr().is_terminal() {
        state.change(fresh.create())?;
        eprint!(
            "The credentials of the first user, \"{FIRST_ADMIN}\"; they are not shown again:\n{}",
            fresh.lines().as_str()
        );
    } else {
        write_private(file, &fresh.lines())?;
        state.change(fresh.create())?;
        let path = file.display();
        tracing::info!(
            "the credentials of the first user, \"{FIRST_ADMIN}\", are in {path}; keep them and remove the file"
        );
    }
    Ok(())
}

/// Gives the first admin new secrets, or makes it, and writes them to `out`.
///
/// # Errors
/// They cannot be stored or written.
pub fn renew_first_admin(
    state: &State,
    out: &mut impl io::Write,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let fresh = Fresh::draw(FIRST_ADMIN, Role::Admin, None, state.now().wall_ms);
    let known = state.model().find_user(FIRST_ADMIN).map(|user| user.role);
    match known {
        Ok(Role::Admin) => state.change(fresh.rotate())?,
        Ok(_) => return Err(format!("the user {FIRST_ADMIN} is no admin").into()),
        Err(_) => state.change(fresh.create())?,
    };
    out.write_all(fresh.lines().as_bytes())?;
    Ok(())
}

/// Where the first admin's credentials go, beside the store.
pub fn first_admin_file(store: &Path) -> PathBuf {
    store.with_extension("admin-credentials")
}

fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| format!("{}: {error}; the first admin's credentials must be kept there", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faulty::FaultyDisk;
    use leat_model::{Limits, Site};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_have_their_forms_and_differ() {
        let (a, b) = (Fresh::draw("a", Role::Read, None, 1), Fresh::draw("a", Role::Read, None, 1));
        assert_eq!((a.user.access_key_id.len(), a.user.secret_access_key.len(), a.token.len()), (20, 40, 48));
        assert_ne!(a.user.access_key_id, b.user.access_key_id);
        assert_ne!(a.user.secret_access_key, b.user.secret_access_key);
        assert_ne!(a.token, b.token);
        assert_eq!(a.user.token_sha256, token_sha256(&a.token));
        assert_eq!(a.lines().lines().count(), 3);
    }

    /// req: R26
    #[test]
    fn the_first_admin_is_made_once_and_renewed_on_demand() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leat.admin-credentials");
        let disk = FaultyDisk::default();
        let begin = || {
            State::begin(Box::new(disk.store().expect("a store")), Site::default(), Limits::default()).expect("a state")
        };
        let state = begin();
        make_first_admin(&state, &file).expect("made");
        let shown = std::fs::read_to_string(&file).expect("shown");
        assert_eq!(std::fs::metadata(&file).expect("it").permissions().mode() & 0o777, 0o600);
        let token = shown.lines().find_map(|line| line.strip_prefix("LEAT_TOKEN=")).expect("a token");
        let user = state.model().find_user(FIRST_ADMIN).expect("it").clone();
        assert_eq!((user.role, user.token_sha256.as_str()), (Role::Admin, token_sha256(token).as_str()));
        make_first_admin(&state, &directory.path().join("other")).expect("nothing to do");
        assert!(!directory.path().join("other").exists());

        drop(state);
        let state = begin();
        let mut out = Vec::new();
        renew_first_admin(&state, &mut out).expect("renewed");
        let renewed = state.model().find_user(FIRST_ADMIN).expect("it").clone();
        assert!(String::from_utf8(out).expect("text").contains(&renewed.secret_access_key));
        assert_ne!(renewed.token_sha256, user.token_sha256);
    }
}

//! Who calls: users by signature or token, root by the Unix socket, and whoever comes where that is allowed.
//!
//! Credentials that are given are always checked, also those of root on the socket. Only who gives none, or, where callers without name
//! are allowed, none that anybody has, is what its way in makes of it.

pub mod credentials;
mod replays;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use leat_aws::{Caller, sigv4};
use leat_model::access::User;
use leat_model::rest::Role;
use leat_model::{Code, Error, Model};
use subtle::ConstantTimeEq;

use replays::Replays;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By TCP.
    Tcp(SocketAddr),
    /// By the Unix socket, from a process of this user.
    Unix {
        /// The user's number.
        uid: u32,
    },
}

/// What has shown who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A signature, version 4.
    Signature,
    /// A bearer token.
    Token,
    /// The kernel's word about the other end of the Unix socket.
    UnixSocket,
    /// None: callers without name are allowed.
    None,
}

impl Proof {
    /// The name in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "SigV4",
            Self::Token => "Bearer",
            Self::UnixSocket => "UnixSocket",
            Self::None => "None",
        }
    }
}

/// Finds out who calls.
#[derive(Debug)]
pub struct Access {
    anonymous: Option<Role>,
    own_uid: u32,
    replays: Mutex<Replays>,
}

/// What a request brings to show who sends it.
#[derive(Debug)]
pub enum Evidence<'r> {
    /// A signature.
    Signature(Box<sigv4::Claim>),
    /// A bearer token.
    Token(&'r str),
    /// Nothing.
    Nothing,
}

impl<'r> Evidence<'r> {
    /// Reads it from a request.
    ///
    /// # Errors
    /// It is malformed.
    pub fn of(request: &sigv4::Request<'r>) -> Result<Self, Error> {
        if let Some(claim) = sigv4::claim(request)? {
            return Ok(Self::Signature(Box::new(claim)));
        }
        let mut values = request.headers.iter().filter(|(name, _)| *name == "authorization").map(|(_, value)| *value);
        let Some(value) = values.next() else { return Ok(Self::Nothing) };
        let token = std::str::from_utf8(value).ok().and_then(|text| text.split_once(' '));
        match token {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Self::Token(token.trim())),
            _ => Err(Error::new(
                Code::IncompleteSignature,
                "the Authorization header is neither a signature (AWS4-HMAC-SHA256 …) nor a token (Bearer …)",
            )),
        }
    }

    /// The user that it names; nothing is proven.
    pub fn user<'m>(&self, model: &'m Model) -> Option<&'m User> {
        match self {
            Self::Signature(claim) => model.users().find(|user| user.access_key_id == claim.access_key_id),
            Self::Token(token) => {
                let hash = credentials::token_sha256(token);
                let same = |user: &&User| bool::from(user.token_sha256.as_bytes().ct_eq(hash.as_bytes()));
                // All are looked at, so that the time says nothing.
                model.users().filter(same).last()
            }
            Self::Nothing => None,
        }
    }
}

impl Access {
    /// `anonymous`: what those may do who give no credentials.
    pub fn new(anonymous: Option<Role>) -> Self {
        Self { anonymous, own_uid: rustix::process::geteuid().as_raw(), replays: Mutex::default() }
    }

    /// Finds out who sends a request. `changes`: it asks for a change, and counts only once.
    ///
    /// # Errors
    /// Nobody who may come in.
    pub fn authenticate(
        &self,
        model: &Model,
        request: &sigv4::Request<'_>,
        evidence: &Evidence<'_>,
        peer: Option<Peer>,
        changes: bool,
        now_ms: u64,
    ) -> Result<(Caller, Proof), Error> {
        let user = evidence.user(model);
        match (evidence, user) {
            (Evidence::Signature(claim), Some(user)) => {
                claim.check(request, &user.secret_access_key, now_ms)?;
                if changes {
                    self.replays.lock().unwrap_or_else(PoisonError::into_inner).admit(claim, now_ms)?;
                }
                let access_key_id = user.access_key_id.clone();
                Ok((Caller { access_key_id, ..caller(user) }, Proof::Signature))
            }
            (Evidence::Token(_), Some(user)) => Ok((caller(user), Proof::Token)),
            (Evidence::Nothing, _) => self.without_credentials(peer),
            (_, None) => self.without_name().ok_or_else(sigv4::unknown_key),
        }
    }

    fn without_credentials(&self, peer: Option<Peer>) -> Result<(Caller, Proof), Error> {
        if let Some(Peer::Unix { uid }) = peer
            && (uid == 0 || uid == self.own_uid)
        {
            let root = Caller { name: "root".into(), access_key_id: String::new(), role: Role::Admin, tenant: None };
            return Ok((root, Proof::UnixSocket));
        }
        self.without_name().ok_or_else(|| {
            let message = "Request is missing Authentication Token: sign it, or send Authorization: Bearer TOKEN";
            Error::new(Code::MissingAuthenticationToken, message)
        })
    }

    fn without_name(&self) -> Option<(Caller, Proof)> {
        let caller = |role| Caller { name: "anonymous".into(), access_key_id: String::new(), role, tenant: None };
        self.anonymous.map(|role| (caller(role), Proof::None))
    }
}

fn caller(user: &User) -> Caller {
    Caller { name: user.name.clone(), access_key_id: String::new(), role: user.role, tenant: user.tenant.clone() }
}

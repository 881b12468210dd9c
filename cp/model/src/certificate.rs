//! The certificate store. Keys are not in here: they stay where only the process that needs them reads them.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::model::{Effects, Model, Now};
use crate::rest::Tags;

/// A certificate, by ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// ARN.
    pub arn: String,
    /// What was read from it.
    pub facts: Facts,
    /// When it was imported, in milliseconds since 1970.
    pub imported_ms: u64,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// What is read from a certificate before it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// Name, of those uploaded as IAM's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Common name, or the first subject alternative name.
    pub domain_name: String,
    /// DNS names that it is good for.
    pub subject_alternative_names: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// `RSA-2048`, `EC-prime256v1` and the like.
    pub key_algorithm: String,
    /// Valid from, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Valid until, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// The certificate, PEM.
    pub certificate: String,
    /// The issuers' certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// A change of the certificate store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keeps a certificate under its ARN; one with this ARN is replaced.
    Import {
        /// ARN.
        arn: String,
        /// What was read from it.
        facts: Facts,
        /// Tags.
        tags: Tags,
    },
    /// Only one that no listener uses.
    Delete {
        /// ARN.
        arn: String,
    },
}

impl Model {
    pub(crate) fn change_certificates(&mut self, _: &mut Effects, _: Change, _: Now) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "the certificate store cannot be changed"))
    }

    /// All certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.values()
    }

    /// A certificate by its ARN.
    pub fn certificate(&self, arn: &str) -> Option<&Certificate> {
        self.certificates.get(arn)
    }
}

//! The certificate store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroize;

/// `POST /v1/certificates`: a certificate with its key. The key is never shown again, and wiped from memory when this goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key without a password, PEM.
    pub private_key: String,
    /// The issuers' certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Name, of certificates uploaded as IAM's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path before the name in the ARN, `/` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// ARN of a certificate that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "super::Tags::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: super::Tags,
}

impl std::fmt::Debug for ImportCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportCertificate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for ImportCertificate {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// ARN, of ACM's form, or of IAM's if it has a name.
    pub arn: String,
    /// Name, of those uploaded as IAM's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path before the name in the ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
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
    /// `SHA256WITHRSA` and the like.
    pub signature_algorithm: String,
    /// Valid from, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Valid until, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// When it came under its ARN, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was imported, in milliseconds since 1970: later if it has replaced another one.
    pub imported_ms: u64,
    /// The certificate, PEM.
    pub certificate: String,
    /// The issuers' certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// ARNs of the load balancers that use it.
    #[serde(default)]
    pub in_use_by: Vec<String>,
    /// Tags.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: super::Tags,
}

/// `GET /v1/certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// All of them, by ARN.
    pub certificates: Vec<Certificate>,
}

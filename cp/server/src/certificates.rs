//! Import of certificates: PEM is read and checked, the key goes to [`crate::keys`], what the certificate says to the model.
//!
//! The rules are those of Certificate Manager (TLS-08, TLS-11): X.509 version 3; RSA with 2048 to 4096 bits, or EC on P-256 or P-384; an
//! unencrypted key that is the certificate's; valid now; a chain in order, each certificate signed by the next. What is kept is
//! written anew from what was read, so that nothing else that stood in the text stays.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use leat_model::certificate::{Change, Facts, ServerCertificate};
use leat_model::error::Shown;
use leat_model::rest::ImportCertificate;
use leat_model::{Code, Command, Error, Id, Model};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_NIST_EC_P384, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
};
use x509_parser::prelude::{ExtendedKeyUsage, FromDer, GeneralName, KeyUsage, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use crate::api::App;
use crate::keys::{Keys, Pem};
use crate::state::State;

#[cfg(test)]
mod tests;

/// Longest certificate, in bytes of PEM.
const CERTIFICATE_BYTES_MAX: usize = 32_768;
/// Longest chain.
const CHAIN_BYTES_MAX: usize = 65_536;
/// Most certificates in a chain.
const CHAIN_MAX: usize = 10;
/// Longest key.
const KEY_BYTES_MAX: usize = 16_384;
/// Allowed sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Imports a certificate with its key: the model with it, and its ARN.
///
/// # Errors
/// [`Code::ValidationError`], [`Code::MalformedCertificate`], [`Code::KeyPairMismatch`], [`Code::CertificateNotFound`] of one to be
/// replaced, [`Code::DuplicateCertificateName`], [`Code::TooManyCertificates`], [`Code::ServiceUnavailable`].
pub async fn import(app: &App, import: ImportCertificate) -> Result<(Arc<Model>, String), Error> {
    let app = app.clone();
    let work = tokio::task::spawn_blocking(move || import_blocking(&app.state, &app.keys, &import)).await;
    work.map_err(|_| Error::new(Code::InternalFailure, "the import has failed; the log of leat-cp says more"))?
}

fn import_blocking(state: &State, keys: &Keys, import: &ImportCertificate) -> Result<(Arc<Model>, String), Error> {
    let (now, model) = (state.now(), state.model());
    let (mut facts, key) = read(import, now.wall_ms)?;
    let arn = match &import.replaces {
        None => {
            let name = import.name.as_ref();
            let path = import.path.as_deref().unwrap_or("/");
            let named = name.map(|name| ServerCertificate::new(name, path, Id(rand::random())));
            facts.server_certificate = named.transpose()?;
            facts.new_arn(model.site(), &uuid())
        }
        Some(_) if import.name.is_some() => {
            let message = "a certificate that replaces another one keeps its name; give no name";
            return Err(Error::invalid("name", message));
        }
        Some(wanted) => {
            let old = model.find_certificate(wanted)?;
            facts.server_certificate.clone_from(&old.facts.server_certificate);
            old.arn.clone()
        }
    };
    let name = facts.public_key.clone();
    let (replaces, tags) = (import.replaces.is_some(), import.tags.clone());
    let command = Command::Certificate(Change::Import { arn: arn.clone(), replaces, facts: Box::new(facts), tags });
    // What the model refuses needs no key on the disk.
    Model::clone(&model).apply(command.clone(), now)?;
    let (model, _) = keys.keep(&name, &key, || state.change(command))?;
    Ok((model, arn))
}

/// Reads and checks what is to be imported.
fn read(import: &ImportCertificate, now_ms: u64) -> Result<(Facts, Pem), Error> {
    check_size("certificate", &import.certificate, CERTIFICATE_BYTES_MAX)?;
    check_size("privateKey", &import.private_key, KEY_BYTES_MAX)?;
    let chain = import.chain.as_deref().filter(|chain| !chain.trim().is_empty());
    chain.map_or(Ok(()), |chain| check_size("chain", chain, CHAIN_BYTES_MAX))?;
    let ders = certificates("certificate", &import.certificate)?;
    let [der] = &ders[..] else {
        let message = "there is more than one certificate; the others belong into the chain";
        return Err(malformed("certificate", message));
    };
    let certificate = parse("certificate", der)?;
    if certificate.version() != X509Version::V3 {
        return Err(malformed("certificate", "it is not an X.509 certificate of version 3"));
    }
    let key_algorithm = key_algorithm(&certificate)?;
    let (not_before_ms, not_after_ms) = check_validity(&certificate, now_ms)?;
    let chain = chain.map(|chain| check_chain(&certificate, chain)).transpose()?;
    let key = check_key(&import.private_key, der)?;
    let names = alternative_names(&certificate);
    let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let facts = Facts {
        server_certificate: None,
        domain_name: common_name.or(names.first().map(|name| &**name)).unwrap_or_default().to_owned(),
        subject_alternative_names: names,
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        key_algorithm,
        signature_algorithm: signature_algorithm(&certificate),
        key_usages: certificate.key_usage().ok().flatten().map(|it| key_usages(it.value)).unwrap_or_default(),
        extended_key_usages: certificate
            .extended_key_usage()
            .ok()
            .flatten()
            .map(|it| extended_key_usages(it.value))
            .unwrap_or_default(),
        public_key: hex(&Sha256::digest(certificate.public_key().raw)),
        not_before_ms,
        not_after_ms,
        certificate: pem("CERTIFICATE", der).to_string(),
        chain,
    };
    Ok((facts, key))
}

fn malformed(field: &str, message: impl Into<String>) -> Error {
    Error::at(Code::MalformedCertificate, field, format!("{field}: {}", message.into()))
}

fn check_size(field: &str, text: &str, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} has {} bytes; allowed are 1 to {max}", text.len())))
}

/// The certificates of a PEM text, one at the least.
fn certificates(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let ders = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    match ders {
        Ok(ders) if !ders.is_empty() => Ok(ders),
        _ => Err(malformed(field, "it is not PEM; it begins with -----BEGIN CERTIFICATE-----")),
    }
}

fn parse<'der>(field: &str, der: &'der CertificateDer<'_>) -> Result<X509Certificate<'der>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(malformed(field, "it is PEM, but what it contains is not an X.509 certificate")),
    }
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> Result<String, Error> {
    let info = certificate.public_key();
    let allowed = "allowed are RSA with 2048 to 4096 bits, and EC on P-256 or P-384";
    match info.parsed() {
        Ok(PublicKey::RSA(key)) if RSA_BITS.contains(&key.key_size()) => Ok(format!("RSA-{}", key.key_size())),
        Ok(PublicKey::RSA(key)) => {
            Err(malformed("certificate", format!("its RSA key has {} bits; {allowed}", key.key_size())))
        }
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
            match curve {
                Some(curve) if curve == OID_EC_P256 => Ok("EC-prime256v1".into()),
                Some(curve) if curve == OID_NIST_EC_P384 => Ok("EC-secp384r1".into()),
                _ => Err(malformed("certificate", format!("its key is of another curve; {allowed}"))),
            }
        }
        _ => Err(malformed("certificate", format!("its key is of another kind; {allowed}"))),
    }
}

/// When the certificate is valid, in milliseconds since 1970: now must be within it.
fn check_validity(certificate: &X509Certificate<'_>, now_ms: u64) -> Result<(u64, u64), Error> {
    let validity = certificate.validity();
    let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let (from, until) = (ms(validity.not_before.timestamp()), ms(validity.not_after.timestamp()));
    if now_ms < from {
        return Err(malformed("certificate", format!("it is not valid before {}", validity.not_before)));
    }
    if now_ms > until {
        return Err(malformed(
            "certificate",
            format!("it has expired at {}; import one that is valid", validity.not_after),
        ));
    }
    Ok((from, until))
}

/// Checks that each certificate is signed by the next one; the chain as it is kept.
fn check_chain(certificate: &X509Certificate<'_>, text: &str) -> Result<String, Error> {
    let ders = certificates("chain", text)?;
    if ders.len() > CHAIN_MAX {
        return Err(malformed("chain", format!("it has {} certificates; allowed are {CHAIN_MAX}", ders.len())));
    }
    let parsed = ders.iter().map(|der| parse("chain", der)).collect::<Result<Vec<_>, _>>()?;
    let mut last = certificate;
    for issuer in &parsed {
        let named = last.issuer().as_raw() == issuer.subject().as_raw();
        if !named || last.verify_signature(Some(issuer.public_key())).is_err() {
            let (last, issuer) = (last.subject().to_string(), issuer.subject().to_string());
            let message = format!(
                "{} has not signed {}; begin with the certificate's issuer, then its issuer, and so on",
                Shown(&issuer),
                Shown(&last)
            );
            return Err(malformed("chain", message));
        }
        last = issuer;
    }
    Ok(ders.iter().map(|der| pem("CERTIFICATE", der).to_string()).collect())
}

/// Checks that the key is the certificate's; the key as it is kept. No error repeats a part of it.
fn check_key(text: &str, certificate: &CertificateDer<'static>) -> Result<Pem, Error> {
    if text.contains("ENCRYPTED") {
        let message = "it is encrypted; give it without a password, as `openssl pkey` writes it";
        return Err(malformed("privateKey", message));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text.as_bytes());
    let key = match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => Zeroizing::new(key),
        (Some(Ok(key)), Some(_)) => {
            drop(Zeroizing::new(key));
            return Err(malformed("privateKey", "there is more than one key; give that of the certificate"));
        }
        _ => {
            let message = "it is not a private key in PEM; it begins with -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY";
            return Err(malformed("privateKey", message));
        }
    };
    let signing = any_supported_type(&key).map_err(|_| {
        malformed("privateKey", "it cannot be used; allowed are RSA with 2048 to 4096 bits, and EC on P-256 or P-384")
    })?;
    match CertifiedKey::new(vec![certificate.clone()], signing).keys_match() {
        Ok(()) => {}
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = "the private key is not that of the certificate";
            return Err(Error::at(Code::KeyPairMismatch, "privateKey", message));
        }
        Err(error) => return Err(malformed("certificate", format!("it cannot be used: {error}"))),
    }
    let label = match &*key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Ok(pem(label, key.secret_der()))
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = &certificate.signature_algorithm.algorithm;
    let known = [
        (OID_PKCS1_SHA1WITHRSA, "SHA1WITHRSA"),
        (OID_PKCS1_SHA256WITHRSA, "SHA256WITHRSA"),
        (OID_PKCS1_SHA384WITHRSA, "SHA384WITHRSA"),
        (OID_PKCS1_SHA512WITHRSA, "SHA512WITHRSA"),
        (OID_SIG_ECDSA_WITH_SHA256, "SHA256WITHECDSA"),
        (OID_SIG_ECDSA_WITH_SHA384, "SHA384WITHECDSA"),
        (OID_SIG_ECDSA_WITH_SHA512, "SHA512WITHECDSA"),
    ];
    let name = known.iter().find(|(known, _)| known == oid).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| oid.to_id_string())
}

/// In ACM's words.
fn key_usages(usage: &KeyUsage) -> Vec<String> {
    let all = [
        (usage.digital_signature(), "DIGITAL_SIGNATURE"),
        (usage.non_repudiation(), "NON_REPUDIATION"),
        (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
        (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
        (usage.key_agreement(), "KEY_AGREEMENT"),
        (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
        (usage.crl_sign(), "CRL_SIGNING"),
        (usage.encipher_only(), "ENCIPHER_ONLY"),
        (usage.decipher_only(), "DECIPHER_ONLY"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect()
}

/// Object identifiers.
fn extended_key_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let known = known.iter().filter(|(is, _)| *is).map(|(_, oid)| (*oid).to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

/// PEM (RFC 7468), wiped from memory when it goes.
fn pem(label: &str, der: &[u8]) -> Pem {
    const LINE: usize = 64;
    let text = Zeroizing::new(BASE64.encode(der));
    let lines = text.len().div_ceil(LINE);
    // All of the room at once: text that moves leaves copies behind.
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + lines + 2 * label.len() + 40));
    pem.extend(["-----BEGIN ", label, "-----\n"]);
    for at in (0..text.len()).step_by(LINE) {
        pem.extend([&text[at..text.len().min(at + LINE)], "\n"]);
    }
    pem.extend(["-----END ", label, "-----\n"]);
    pem
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random id in the form of a UUID, version 4.
fn uuid() -> String {
    let id: u128 = rand::random::<u128>() & !(0xf000_c000 << 48) | 0x4000_8000 << 48;
    let text = format!("{id:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

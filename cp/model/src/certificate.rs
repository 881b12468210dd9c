//! The certificate store. Keys are not in here: they are files that are named by [`Facts::public_key`], and only the process that
//! needs them reads them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::application::Balancer;
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Kind, Model, Now, RecordKey, Site};
use crate::rest::{self, Tags};

/// Certificates in the store at the most.
pub const CERTIFICATES_MAX: usize = 1000;

/// A certificate, by ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// ARN.
    pub arn: String,
    /// What was read from it.
    pub facts: Facts,
    /// When it came under its ARN, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was imported, in milliseconds since 1970: later than `created_ms` if it has replaced another one.
    pub imported_ms: u64,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// What is read from a certificate before it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// How IAM's API calls it, of those uploaded there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_certificate: Option<ServerCertificate>,
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
    /// What the key may be used for, in ACM's words; empty: nothing is said.
    pub key_usages: Vec<String>,
    /// What the certificate may be used for: object identifiers; empty: nothing is said.
    pub extended_key_usages: Vec<String>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER), hexadecimal: the name of the key's file.
    pub public_key: String,
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

/// What IAM's API says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerCertificate {
    /// Name, unique in any case of its letters.
    pub name: String,
    /// Path: `/`, or one that begins and ends with `/`.
    pub path: String,
    /// Id.
    pub id: String,
}

impl ServerCertificate {
    /// A name and path that are allowed, with an id made of what was drawn at random.
    ///
    /// # Errors
    /// [`Code::ValidationError`].
    pub fn new(name: &str, path: &str, id: Id) -> Result<Self, Error> {
        check_name(name)?;
        check_path(path)?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), id: format!("ASCA{}", id.to_string().to_uppercase()) })
    }

    fn arn(&self, site: &Site) -> String {
        format!("arn:{}:iam::{}:server-certificate{}{}", site.partition, site.account, self.path, self.name)
    }
}

impl Facts {
    /// The ARN of a new certificate: of IAM's form if it has a name, of ACM's with `uuid` otherwise.
    pub fn new_arn(&self, site: &Site, uuid: &str) -> String {
        match &self.server_certificate {
            Some(it) => it.arn(site),
            None => format!("arn:{}:acm:{}:{}:certificate/{uuid}", site.partition, site.region, site.account),
        }
    }
}

/// A change of the certificate store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keeps a certificate under its ARN.
    Import {
        /// ARN.
        arn: String,
        /// There is one with this ARN, which it replaces; its tags stay.
        replaces: bool,
        /// What was read from it.
        facts: Box<Facts>,
        /// Tags.
        tags: Tags,
    },
    /// Another name or path, and so another ARN, for a certificate that has one and that no listener uses.
    Rename {
        /// ARN.
        arn: String,
        /// Name.
        name: String,
        /// Path.
        path: String,
    },
    /// Only one that no listener uses.
    Delete {
        /// ARN.
        arn: String,
    },
}

impl Model {
    pub(crate) fn change_certificates(&mut self, fx: &mut Effects, change: Change, now: Now) -> Result<(), Error> {
        match change {
            Change::Import { arn, replaces, facts, tags } => self.import(fx, arn, replaces, *facts, tags, now),
            Change::Rename { arn, name, path } => self.rename(fx, &arn, &name, &path),
            Change::Delete { arn } => {
                let arn = self.find_certificate(&arn)?.arn.clone();
                self.check_unused(&arn)?;
                self.certificates.remove(&arn);
                fx.touch(key(arn));
                Ok(())
            }
        }
    }

    fn import(
        &mut self,
        fx: &mut Effects,
        arn: String,
        replaces: bool,
        facts: Facts,
        tags: Tags,
        now: Now,
    ) -> Result<(), Error> {
        let mut new = Certificate { arn: arn.clone(), facts, created_ms: now.wall_ms, imported_ms: now.wall_ms, tags };
        if replaces {
            let old = self.find_certificate(&arn)?;
            if !new.tags.is_empty() {
                let message = "tags cannot be given with a certificate that replaces another one; it keeps its tags";
                return Err(Error::invalid("tags", message));
            }
            new = Certificate { created_ms: old.created_ms, tags: old.tags.clone(), ..new };
        } else {
            if let Some(it) = &new.facts.server_certificate {
                self.check_free_name(&it.name, None)?;
            }
            self.check_tags(&new.tags)?;
            if self.certificates.len() >= CERTIFICATES_MAX {
                let message = format!("there are {CERTIFICATES_MAX} certificates already; delete one first");
                return Err(Error::new(Code::TooManyCertificates, message));
            }
        }
        self.certificates.insert(arn.clone(), new);
        fx.touch(key(arn));
        Ok(())
    }

    fn rename(&mut self, fx: &mut Effects, arn: &str, name: &str, path: &str) -> Result<(), Error> {
        check_name(name)?;
        check_path(path)?;
        let mut certificate = self.find_certificate(arn)?.clone();
        let Some(it) = &mut certificate.facts.server_certificate else {
            return Err(Error::new(Code::OperationNotPermitted, "a certificate of ACM has no name to be changed"));
        };
        (it.name, it.path) = (name.to_owned(), path.to_owned());
        let new = it.arn(&self.site);
        if new == arn {
            return Ok(());
        }
        self.check_unused(arn)?;
        self.check_free_name(name, Some(arn))?;
        certificate.arn.clone_from(&new);
        self.certificates.remove(arn);
        self.certificates.insert(new.clone(), certificate);
        fx.touch(key(arn.to_owned()));
        fx.touch(key(new));
        Ok(())
    }

    /// No certificate has this name, but that of an ARN.
    fn check_free_name(&self, name: &str, but: Option<&str>) -> Result<(), Error> {
        let same = |other: &Certificate| {
            let known = other.facts.server_certificate.as_ref();
            Some(&*other.arn) != but && known.is_some_and(|known| known.name.eq_ignore_ascii_case(name))
        };
        if !self.certificates.values().any(same) {
            return Ok(());
        }
        let message = format!("The Server Certificate with name {name} already exists.");
        Err(Error::at(Code::DuplicateCertificateName, "name", message))
    }

    fn check_unused(&self, arn: &str) -> Result<(), Error> {
        self.find_certificate(arn)?;
        let users = self.users_of_certificate(arn);
        match users.first() {
            None => Ok(()),
            Some(user) => {
                let more = if users.len() > 1 { " and others" } else { "" };
                let message = format!("Certificate {arn} is in use by {user}{more}; take it off its listeners first");
                Err(Error::new(Code::ResourceInUse, message))
            }
        }
    }

    /// ARNs of the load balancers whose listeners use a certificate.
    fn users_of_certificate(&self, arn: &str) -> Vec<String> {
        let uses = |certificates: &[String]| certificates.iter().any(|used| used == arn);
        let users: BTreeSet<Id> =
            self.listeners.values().filter(|it| uses(&it.certificates)).map(|it| it.load_balancer).collect();
        let lbs = users.iter().filter_map(|id| self.load_balancers.get(id)).map(|lb| match &lb.classic {
            Some(name) => ids::classic_arn(&self.site, name),
            None => ids::load_balancer_arn(&self.site, &lb.name, lb.id),
        });
        let of_application =
            |lb: &Balancer| self.application_listeners(lb.id).iter().any(|listener| uses(&listener.certificates));
        let applications = self.applications().filter(|lb| of_application(lb));
        lbs.chain(applications.map(|lb| ids::application_arn(&self.site, &lb.name, lb.id))).collect()
    }

    /// All certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.values()
    }

    /// A certificate by its ARN.
    pub fn certificate(&self, arn: &str) -> Option<&Certificate> {
        self.certificates.get(arn)
    }

    /// Finds a certificate by its ARN, what follows `certificate/` in it, or its name.
    ///
    /// # Errors
    /// [`Code::CertificateNotFound`].
    pub fn find_certificate(&self, wanted: &str) -> Result<&Certificate, Error> {
        let named = |it: &&Certificate| match &it.facts.server_certificate {
            Some(known) => known.name.eq_ignore_ascii_case(wanted),
            None => it.arn.rsplit_once('/').is_some_and(|(_, id)| id == wanted),
        };
        let found = self.certificates.get(wanted).or_else(|| self.certificates.values().find(named));
        found.ok_or_else(|| Error::new(Code::CertificateNotFound, format!("there is no certificate {}", Shown(wanted))))
    }

    /// A certificate as the API shows it.
    pub fn show_certificate(&self, certificate: &Certificate) -> rest::Certificate {
        let facts = &certificate.facts;
        rest::Certificate {
            arn: certificate.arn.clone(),
            name: facts.server_certificate.as_ref().map(|it| it.name.clone()),
            path: facts.server_certificate.as_ref().map(|it| it.path.clone()),
            domain_name: facts.domain_name.clone(),
            subject_alternative_names: facts.subject_alternative_names.clone(),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            key_algorithm: facts.key_algorithm.clone(),
            signature_algorithm: facts.signature_algorithm.clone(),
            not_before_ms: facts.not_before_ms,
            not_after_ms: facts.not_after_ms,
            created_ms: certificate.created_ms,
            imported_ms: certificate.imported_ms,
            certificate: facts.certificate.clone(),
            chain: facts.chain.clone(),
            in_use_by: self.users_of_certificate(&certificate.arn),
            tags: certificate.tags.clone(),
        }
    }

    /// All certificates, by ARN.
    pub fn show_certificates(&self) -> rest::Certificates {
        rest::Certificates { certificates: self.certificates().map(|it| self.show_certificate(it)).collect() }
    }
}

fn key(arn: String) -> RecordKey {
    RecordKey::Object(Kind::Certificate, arn)
}

fn check_name(name: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if (1..=128).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let message = format!("the name {} is not allowed; allowed are 1 to 128 letters, digits and _+=,.@-", Shown(name));
    Err(Error::invalid("name", message))
}

fn check_path(path: &str) -> Result<(), Error> {
    let whole = path.starts_with('/') && path.ends_with('/');
    if whole && path.len() <= 512 && path.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!(
        "the path {} is not allowed; it begins and ends with / and has 512 printable characters without spaces at the most",
        Shown(path)
    );
    Err(Error::invalid("path", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::model::Command;
    use serde_json::json;

    fn model() -> Model {
        Model::new(Site::default(), Limits::default(), [1, 2])
    }

    fn at(wall_ms: u64) -> Now {
        Now { wall_ms, mono_ms: 0 }
    }

    fn facts(serial: &str, name: Option<&str>) -> Facts {
        Facts {
            server_certificate: name.map(|name| ServerCertificate::new(name, "/", Id(1)).expect("a good name")),
            domain_name: "a.example".into(),
            subject_alternative_names: vec!["a.example".into()],
            subject: "CN=a.example".into(),
            issuer: "CN=ca".into(),
            serial: serial.into(),
            key_algorithm: "RSA-2048".into(),
            signature_algorithm: "SHA256WITHRSA".into(),
            key_usages: Vec::new(),
            extended_key_usages: Vec::new(),
            public_key: serial.repeat(32),
            not_before_ms: 0,
            not_after_ms: u64::MAX,
            certificate: "PEM".into(),
            chain: None,
        }
    }

    fn import(model: &mut Model, arn: &str, replaces: bool, facts: Facts, now: Now) -> Result<Effects, Error> {
        let (facts, tags) = (Box::new(facts), Tags::new());
        model.apply(Command::Certificate(Change::Import { arn: arn.into(), replaces, facts, tags }), now)
    }

    fn delete(model: &mut Model, arn: &str) -> Result<Effects, Error> {
        model.apply(Command::Certificate(Change::Delete { arn: arn.into() }), at(0))
    }

    const ARN: &str = "arn:aws:acm:on-prem-1:000000000000:certificate/1";

    /// req: TLS-10
    #[test]
    fn a_certificate_is_kept_replaced_and_deleted() {
        let mut model = model();
        assert_eq!(facts("aa", None).new_arn(model.site(), "1"), ARN);
        import(&mut model, ARN, false, facts("aa", None), at(1)).expect("new");
        import(&mut model, ARN, true, facts("bb", None), at(2)).expect("again");
        let shown = model.show_certificates().certificates;
        let first = shown.first().expect("it");
        assert_eq!((shown.len(), first.serial.as_str(), first.created_ms, first.imported_ms), (1, "bb", 1, 2));
        assert_eq!(first.not_after_ms, u64::MAX, "operators see when it ends");
        assert_eq!(model.find_certificate("1").expect("by its id").arn, ARN);
        let unknown = import(&mut model, "arn:x", true, facts("cc", None), at(3));
        assert_eq!(unknown.expect_err("nothing to replace").code, Code::CertificateNotFound);
        delete(&mut model, ARN).expect("unused");
        assert_eq!(delete(&mut model, ARN).expect_err("gone").code, Code::CertificateNotFound);
    }

    /// req: ERR-10
    #[test]
    fn a_certificate_in_use_stays() {
        let mut model = model();
        import(&mut model, ARN, false, facts("aa", None), at(1)).expect("new");
        let lb = json!({"name": "web", "nodes": [{"zone": "a", "address": "10.1.0.10"}]});
        let group = json!({"name": "web", "protocol": "TCP", "port": 80});
        let listener = json!({"protocol": "TLS", "port": 443, "targetGroup": "web", "certificate": ARN});
        for command in [
            Command::CreateLoadBalancer { request: serde_json::from_value(lb).expect("one"), id: Id(1) },
            Command::CreateTargetGroup { request: serde_json::from_value(group).expect("one"), id: Id(2) },
            Command::CreateListener {
                load_balancer: "web".into(),
                request: serde_json::from_value(listener).expect("one"),
                id: Id(3),
            },
        ] {
            model.apply(command, at(2)).expect("good");
        }
        let lb = ids::load_balancer_arn(model.site(), "web", Id(1));
        assert_eq!(model.show_certificates().certificates[0].in_use_by, [lb.as_str()]);
        let mut tried = model.clone();
        let error = delete(&mut tried, ARN).expect_err("in use");
        assert!(error.code == Code::ResourceInUse && error.message.contains(&lb), "{error}");
        model.apply(Command::DeleteListener { load_balancer: "web".into(), port: 443 }, at(3)).expect("there");
        delete(&mut model, ARN).expect("unused");
    }

    #[test]
    fn names_are_unique_and_can_change() {
        let mut model = model();
        let arn = facts("aa", Some("web")).new_arn(model.site(), "");
        assert_eq!(arn, "arn:aws:iam::000000000000:server-certificate/web");
        import(&mut model, &arn, false, facts("aa", Some("web")), at(1)).expect("new");
        let again = import(&mut model.clone(), &arn, false, facts("bb", Some("WEB")), at(1));
        assert_eq!(again.expect_err("taken").code, Code::DuplicateCertificateName);
        let rename = |name: &str, path: &str| {
            Command::Certificate(Change::Rename { arn: arn.clone(), name: name.into(), path: path.into() })
        };
        let effects = model.apply(rename("new", "/shop/"), at(2)).expect("free");
        assert_eq!(effects.changed.len(), 3, "the old record, the new one and the epoch");
        assert!(model.certificate(&arn).is_none());
        assert_eq!(
            model.find_certificate("new").expect("it").arn,
            "arn:aws:iam::000000000000:server-certificate/shop/new"
        );
        for (name, path) in [("", "/"), ("a b", "/"), ("a/b", "/"), ("web", "shop"), ("web", "/sh op/")] {
            assert_eq!(ServerCertificate::new(name, path, Id(1)).expect_err(name).code, Code::ValidationError);
        }
    }
}

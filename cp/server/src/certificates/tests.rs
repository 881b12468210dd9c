//! Certificates as they are imported, and the files of their keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use leat_model::rest::Tags;
use leat_model::{Limits, Site};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, RsaKeySize, SignatureAlgorithm};
use x509_parser::der_parser::asn1_rs::{Any, OctetString};

use super::*;
use crate::store::faulty::FaultyDisk;

/// A store, its keys, and clients' imports.
struct Bench {
    disk: FaultyDisk,
    directory: tempfile::TempDir,
    state: Arc<State>,
    keys: Arc<Keys>,
}

impl Bench {
    fn new() -> Self {
        Self::on(FaultyDisk::default(), tempfile::tempdir().expect("a directory"))
    }

    fn on(disk: FaultyDisk, directory: tempfile::TempDir) -> Self {
        let store = Box::new(disk.store().expect("a store"));
        let state = Arc::new(State::begin(store, Site::default(), Limits::default()).expect("a state"));
        let keys = Arc::new(Keys::open(directory.path().join("keys"), &state.model()).expect("a directory"));
        keys.follow(&state);
        Self { disk, directory, state, keys }
    }

    /// The process ends at once and begins again.
    fn restart(self) -> Self {
        let Self { disk, directory, .. } = self;
        Self::on(disk, directory)
    }

    fn import(&self, import: &ImportCertificate) -> Result<String, Error> {
        import_blocking(&self.state, &self.keys, import).map(|(_, arn)| arn)
    }

    fn refused(&self, import: &ImportCertificate) -> Error {
        let before = self.state.model();
        let error = self.import(import).expect_err("a refusal");
        assert!(Arc::ptr_eq(&before, &self.state.model()), "nothing was changed");
        error
    }

    fn delete(&self, arn: &str) {
        self.state.change(Command::Certificate(Change::Delete { arn: arn.into() })).expect("deleted");
    }

    /// The files of keys, by name.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("keys")).expect("the directory");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }

    /// What the process that terminates TLS reads.
    fn key_of(&self, arn: &str) -> String {
        let name = self.state.model().certificate(arn).expect("it").facts.public_key.clone();
        fs::read_to_string(self.directory.path().join(format!("keys/{name}.pem"))).expect("its key")
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned(), format!("*.{name}")]).expect("good names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn request(certificate: &rcgen::Certificate, key: &KeyPair) -> ImportCertificate {
    ImportCertificate {
        certificate: certificate.pem(),
        private_key: key.serialize_pem(),
        chain: None,
        name: None,
        path: None,
        replaces: None,
        tags: Tags::new(),
    }
}

fn with_key(key: &KeyPair) -> ImportCertificate {
    request(&params("a.example").self_signed(key).expect("signed"), key)
}

fn ec() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn rsa(size: RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key")
}

fn of(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

/// The key inside of PKCS #8: PKCS #1 or SEC 1.
fn inner(key: &KeyPair) -> Vec<u8> {
    let (_, sequence) = Any::from_der(key.serialized_der()).expect("DER");
    let (rest, _) = Any::from_der(sequence.data).expect("a version");
    let (rest, _) = Any::from_der(rest).expect("an algorithm");
    let (_, octets) = OctetString::from_der(rest).expect("a key");
    octets.as_ref().to_vec()
}

/// req: TLS-08, TLS-11
#[test]
fn each_kind_of_key_and_each_form_is_taken() {
    let bench = Bench::new();
    let (rsa, p256) = (rsa(RsaKeySize::_2048), ec());
    let sec1 = pem("EC PRIVATE KEY", &inner(&p256));
    for (key, form, algorithm, signature) in [
        (&rsa, rsa.serialize_pem(), "RSA-2048", "SHA256WITHRSA"),
        (&rsa, pem("RSA PRIVATE KEY", &inner(&rsa)).to_string(), "RSA-2048", "SHA256WITHRSA"),
        (&self::rsa(RsaKeySize::_3072), String::new(), "RSA-3072", "SHA256WITHRSA"),
        (&p256, p256.serialize_pem(), "EC-prime256v1", "SHA256WITHECDSA"),
        (
            &p256,
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}", *sec1),
            "EC-prime256v1",
            "SHA256WITHECDSA",
        ),
        (&of(&rcgen::PKCS_ECDSA_P384_SHA384), String::new(), "EC-secp384r1", "SHA384WITHECDSA"),
    ] {
        let mut import = with_key(key);
        if !form.is_empty() {
            import.private_key = form;
        }
        let arn = bench.import(&import).expect(algorithm);
        let model = bench.state.model();
        let facts = &model.certificate(&arn).expect("it").facts;
        assert_eq!((&*facts.key_algorithm, &*facts.signature_algorithm), (algorithm, signature));
        assert_eq!((&*facts.domain_name, &*facts.subject), ("a.example", "CN=a.example"));
        assert_eq!(facts.subject_alternative_names, ["a.example", "*.a.example"]);
        assert!(facts.serial.split(':').all(|pair| pair.len() == 2), "{}", facts.serial);
        let kept = PrivateKeyDer::from_pem_slice(bench.key_of(&arn).as_bytes()).expect("PEM");
        assert!(kept.secret_der() == key.serialized_der() || kept.secret_der() == inner(key), "{algorithm}");
        let id = arn.strip_prefix("arn:aws:acm:on-prem-1:000000000000:certificate/").expect(&arn);
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!((lengths, &id[14..15]), (vec![8, 4, 4, 4, 12], "4"), "a UUID of version 4");
    }
    for (key, why) in
        [(of(&rcgen::PKCS_ED25519), "of another kind"), (of(&rcgen::PKCS_ECDSA_P521_SHA512), "of another curve")]
    {
        let error = bench.refused(&with_key(&key));
        assert!(error.code == Code::MalformedCertificate && error.message.contains(why), "{error}");
    }
}

/// req: TLS-11
#[test]
fn what_cannot_be_used_is_refused_and_leaves_no_key() {
    let bench = Bench::new();
    let (key, other) = (ec(), ec());
    let good = || with_key(&key);
    let pem_of = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let with = |change: &dyn Fn(&mut ImportCertificate)| {
        let mut import = good();
        change(&mut import);
        import
    };
    let at = |from: i32, until: i32| {
        let mut params = params("a.example");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        request(&params.self_signed(&key).expect("signed"), &key)
    };
    for (import, code, hint) in [
        (with(&|it| it.private_key = other.serialize_pem()), Code::KeyPairMismatch, "not that of the certificate"),
        (with(&|it| it.private_key = "secret".into()), Code::MalformedCertificate, "BEGIN PRIVATE KEY"),
        (
            with(&|it| it.private_key = it.private_key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            Code::MalformedCertificate,
            "without a password",
        ),
        (with(&|it| it.private_key = it.private_key.repeat(2)), Code::MalformedCertificate, "more than one key"),
        (
            with(&|it| it.private_key = it.private_key.replacen("MIG", "MIH", 1)),
            Code::MalformedCertificate,
            "cannot be used",
        ),
        (with(&|it| it.private_key = "x".repeat(KEY_BYTES_MAX + 1)), Code::ValidationError, "16384"),
        (with(&|it| it.certificate = String::new()), Code::ValidationError, "1 to 32768"),
        (with(&|it| it.certificate = "hello".into()), Code::MalformedCertificate, "BEGIN CERTIFICATE"),
        (with(&|it| it.certificate = pem_of("aGVsbG8=")), Code::MalformedCertificate, "not an X.509 certificate"),
        (with(&|it| it.certificate = it.certificate.repeat(2)), Code::MalformedCertificate, "into the chain"),
        (
            with(&|it| it.chain = Some(it.certificate.repeat(CHAIN_MAX + 1))),
            Code::MalformedCertificate,
            "allowed are 10",
        ),
        (with(&|it| it.name = Some("a b".into())), Code::ValidationError, "_+=,.@-"),
        (with(&|it| it.replaces = Some("arn:x".into())), Code::CertificateNotFound, "arn:x"),
        (at(2001, 2002), Code::MalformedCertificate, "expired"),
        (at(2090, 2091), Code::MalformedCertificate, "not valid before"),
    ] {
        let error = bench.refused(&import);
        assert!(error.code == code && error.message.contains(hint), "{hint}: {:?} {error}", error.code);
        assert!(!import.private_key.lines().any(|line| line.len() > 20 && error.message.contains(line)), "{error}");
    }
    assert_eq!(bench.files(), Vec::<PathBuf>::new());
}

/// req: TLS-11
#[test]
fn a_chain_is_in_order_and_signed() {
    let bench = Bench::new();
    let ca = |name: &str, signer: Option<&Issuer<'_, KeyPair>>| {
        let (mut params, key) = (params(name), ec());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = match signer {
            Some(signer) => params.signed_by(&key, signer).expect("signed"),
            None => params.self_signed(&key).expect("signed"),
        };
        (certificate.pem(), Issuer::new(params, key))
    };
    let (root, root_signer) = ca("root.example", None);
    let (middle, signer) = ca("ca.example", Some(&root_signer));
    // Named as the one that has signed, with another key.
    let (impostor, _) = ca("ca.example", None);
    let key = ec();
    let certificate = params("a.example").signed_by(&key, &signer).expect("signed");
    let mut import = request(&certificate, &key);
    for chain in [format!("{root}{middle}"), root.clone(), impostor, format!("{middle}{middle}")] {
        import.chain = Some(chain);
        let error = bench.refused(&import);
        assert!(error.code == Code::MalformedCertificate && error.message.contains("has not signed"), "{error}");
    }
    import.chain = Some(format!("issued to us\n{middle}{root}"));
    let arn = bench.import(&import).expect("in order");
    let shown = bench.state.model().show_certificates().certificates.remove(0);
    assert_eq!((shown.arn, shown.chain.as_deref()), (arn, Some(&*format!("{middle}{root}").replace("\r\n", "\n"))));
}

/// req: AUD-06
#[test]
fn a_key_is_in_its_file_and_nowhere_else() {
    let bench = Bench::new();
    let key = ec();
    let mut import = with_key(&key);
    // People paste the wrong thing into the wrong field.
    import.certificate.push_str(&import.private_key.clone());
    let arn = bench.import(&import).expect("good");
    let secret: Vec<String> =
        key.serialize_pem().lines().filter(|line| !line.contains("---")).map(str::to_owned).collect();
    let model = bench.state.model();
    let shown = serde_json::to_string(&model.show_certificates()).expect("JSON");
    let content = bench.disk.content();
    let mut disk = vec![0; content.len()];
    content.read(0, &mut disk);
    let disk = String::from_utf8_lossy(&disk);
    assert!(disk.contains(&arn), "the certificate is there");
    for line in &secret {
        assert!(bench.key_of(&arn).contains(line));
        for place in [&format!("{model:?}"), &shown, &*disk, &format!("{import:?}"), &format!("{:?}", bench.keys)] {
            assert!(!place.contains(line.as_str()));
        }
    }
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(bench.files().iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600]);
    assert_eq!(mode(&bench.directory.path().join("keys")), 0o700);
}

/// req: TLS-09
#[test]
fn a_key_goes_with_the_last_certificate_that_needs_it() {
    let bench = Bench::new();
    let (old, new) = (ec(), ec());
    let first = bench.import(&with_key(&old)).expect("good");
    let second = bench.import(&with_key(&old)).expect("the same again is another one");
    assert_eq!((first == second, bench.files().len()), (false, 1), "they share a key");
    let mut again = with_key(&new);
    again.replaces = Some(first.clone());
    assert_eq!(bench.import(&again).expect("replaced"), first);
    assert!(bench.files().len() == 2 && bench.key_of(&first) != bench.key_of(&second));
    bench.delete(&second);
    assert_eq!(bench.files().len(), 1, "the old key is gone");
    let bench = bench.restart();
    assert!(bench.key_of(&first).contains("PRIVATE KEY"));
    bench.delete(&first);
    assert_eq!(bench.files(), Vec::<PathBuf>::new());
}

/// What is stored has its key, wherever power is lost; what is not stored leaves none.
#[test]
fn a_crash_leaves_no_certificate_without_key() {
    let bench = Bench::new();
    let first = bench.import(&with_key(&ec())).expect("good");
    bench.disk.set_failing(true);
    let error = bench.refused(&with_key(&ec()));
    assert_eq!(error.code, Code::ServiceUnavailable);
    // The store may have it, although it could not say so.
    assert_eq!(bench.files().len(), 2);
    bench.disk.set_failing(false);
    fs::write(bench.directory.path().join("keys/0123.new"), "half").expect("written");
    let bench = bench.restart();
    assert_eq!(bench.files().len(), 1, "now it is known that the store has it not");
    let second = bench.import(&with_key(&ec())).expect("good");
    for arn in [&first, &second] {
        assert!(bench.key_of(arn).contains("PRIVATE KEY"));
    }
    // The key is there before the store is asked.
    let name = "a".repeat(64);
    let path = bench.directory.path().join(format!("keys/{name}.pem"));
    let stored = bench.keys.keep(&name, &Pem::new("key".into()), || {
        bench.keys.sweep(|| bench.state.model());
        Ok(fs::read_to_string(&path).expect("there"))
    });
    assert_eq!(stored.as_deref(), Ok("key"));
}

/// A key that cannot be written is not half there, and the certificate not stored.
#[test]
fn without_room_for_its_key_a_certificate_is_refused() {
    let bench = Bench::new();
    let import = with_key(&ec());
    fs::remove_dir(bench.directory.path().join("keys")).expect("removed");
    let error = bench.refused(&import);
    assert!(error.code == Code::ServiceUnavailable && error.message.contains("nothing was changed"), "{error}");
    let bench = bench.restart();
    bench.import(&import).expect("the directory is there again");
}

/// Keys that are there before the certificates, as on a new machine before a restore, are not thrown away.
#[test]
fn keys_wait_for_their_certificates() {
    let bench = Bench::new();
    let arn = bench.import(&with_key(&ec())).expect("good");
    let backup = bench.state.model().backup();
    let Bench { directory, .. } = bench;
    let bench = Bench::on(FaultyDisk::default(), directory);
    assert_eq!(bench.files().len(), 1, "the store has no certificate");
    bench.state.change(Command::Restore(backup)).expect("a good backup");
    assert!(bench.key_of(&arn).contains("PRIVATE KEY"));
    bench.delete(&arn);
    assert_eq!(bench.files(), Vec::<PathBuf>::new(), "it goes with its certificate as any other");
}

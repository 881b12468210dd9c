//! Certificate Manager and IAM's server certificates: requests in, JSON and XML out.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use leat_model::certificate::{Change, Facts, ServerCertificate};
use leat_model::rest::{ImportCertificate, Tags};
use leat_model::{Command, Error, Id, Model};
use serde_json::{Value, json};

/// Does what the control plane does once it has read a certificate and put its key aside. The common name is the certificate's text.
fn import(model: &mut Model, request: &ImportCertificate) -> Result<String, Error> {
    assert_eq!(request.private_key, "secret");
    let path = request.path.as_deref().unwrap_or("/");
    let named = request.name.as_ref().map(|name| ServerCertificate::new(name, path, Id(0xabc))).transpose()?;
    let facts = Facts {
        server_certificate: named,
        domain_name: request.certificate.clone(),
        subject_alternative_names: vec![request.certificate.clone()],
        subject: format!("CN={}", request.certificate),
        issuer: "CN=ca".into(),
        serial: "01:ab".into(),
        key_algorithm: if request.certificate.starts_with("ec") { "EC-prime256v1" } else { "RSA-2048" }.into(),
        signature_algorithm: "SHA256WITHRSA".into(),
        key_usages: vec!["DIGITAL_SIGNATURE".into()],
        extended_key_usages: vec!["1.3.6.1.5.5.7.3.1".into()],
        public_key: "ab".repeat(32),
        not_before_ms: 1_600_000_000_000,
        not_after_ms: if request.certificate.contains("old") { 1_690_000_000_000 } else { 1_800_000_000_000 },
        certificate: request.certificate.clone(),
        chain: request.chain.clone(),
    };
    let arn = match &request.replaces {
        Some(arn) => arn.clone(),
        None => facts.new_arn(model.site(), &format!("uuid-{}", model.certificates().count() + 1)),
    };
    let (replaces, tags) = (request.replaces.is_some(), request.tags.clone());
    let change = Change::Import { arn: arn.clone(), replaces, facts: Box::new(facts), tags };
    model.apply(Command::Certificate(change), common::NOW)?;
    Ok(arn)
}

fn acm(model: &mut Model, name: &str, request: Value) -> Result<Value, (String, String)> {
    common::json_with(model, &format!("CertificateManager.{name}"), &request, import)
}

fn iam(model: &mut Model, name: &str, form: &str) -> Result<Vec<String>, (String, String)> {
    common::query_with(model, "2010-05-08", name, form, import)
}

fn certificate(name: &str) -> Value {
    json!({"Certificate": BASE64.encode(name), "PrivateKey": BASE64.encode("secret")})
}

/// A store with `a.example`, `ec.example` and `old.example`, and one of IAM.
fn filled() -> Model {
    let mut model = common::model();
    for name in ["a.example", "ec.example", "old.example"] {
        acm(&mut model, "ImportCertificate", certificate(name)).expect(name);
    }
    iam(&mut model, "UploadServerCertificate", UPLOAD).expect("good");
    model
}

const UPLOAD: &str = "ServerCertificateName=web&Path=/shop/&CertificateBody=w.example&PrivateKey=secret\
                      &Tags.member.1.Key=team&Tags.member.1.Value=shop";
const ARN: &str = "arn:aws:acm:on-prem-1:000000000000:certificate/uuid-1";

/// req: TLS-10, TLS-11
#[test]
fn a_certificate_is_imported_described_replaced_and_deleted() {
    let mut model = common::model();
    let mut request = certificate("a.example");
    request["CertificateChain"] = BASE64.encode("chain").into();
    request["Tags"] = json!([{"Key": "team", "Value": "shop"}]);
    assert_eq!(acm(&mut model, "ImportCertificate", request), Ok(json!({"CertificateArn": ARN})));
    let name = json!({"CertificateArn": ARN});
    let said = acm(&mut model, "DescribeCertificate", name.clone()).expect("it");
    assert_eq!(
        said["Certificate"],
        json!({"CertificateArn": ARN, "DomainName": "a.example", "SubjectAlternativeNames": ["a.example"], "Serial": "01:ab",
            "Subject": "CN=a.example", "Issuer": "CN=ca", "CreatedAt": 1_700_000_000, "ImportedAt": 1_700_000_000,
            "Status": "ISSUED", "NotBefore": 1_600_000_000, "NotAfter": 1_800_000_000, "KeyAlgorithm": "RSA-2048",
            "SignatureAlgorithm": "SHA256WITHRSA", "InUseBy": [], "Type": "IMPORTED",
            "KeyUsages": [{"Name": "DIGITAL_SIGNATURE"}],
            "ExtendedKeyUsages": [{"Name": "TLS_WEB_SERVER_AUTHENTICATION", "OID": "1.3.6.1.5.5.7.3.1"}],
            "RenewalEligibility": "INELIGIBLE", "Options": {"CertificateTransparencyLoggingPreference": "DISABLED"},
            "CertificateKeyPairOrigin": "CUSTOMER_PROVIDED"})
    );
    let said = acm(&mut model, "GetCertificate", name.clone());
    assert_eq!(said, Ok(json!({"Certificate": "a.example", "CertificateChain": "chain"})));
    let mut again = certificate("b.example");
    again["CertificateArn"] = ARN.into();
    assert_eq!(acm(&mut model, "ImportCertificate", again), Ok(name.clone()));
    let said = acm(&mut model, "ListTagsForCertificate", name.clone());
    assert_eq!(said, Ok(json!({"Tags": [{"Key": "team", "Value": "shop"}]})), "it keeps its tags");
    assert_eq!(acm(&mut model, "GetCertificate", name.clone()), Ok(json!({"Certificate": "b.example"})));
    assert_eq!(acm(&mut model, "DeleteCertificate", name.clone()), Ok(json!({})));
    assert_eq!(acm(&mut model, "DescribeCertificate", name).expect_err("gone").0, "ResourceNotFoundException");
}

#[test]
fn lists_have_filters_and_pages() {
    let mut model = filled();
    let mut names = |request: Value| {
        let said = acm(&mut model, "ListCertificates", request).expect("a list");
        let list = said["CertificateSummaryList"].as_array().expect("a list").clone();
        let names: Vec<_> = list.iter().map(|it| it["DomainName"].as_str().expect("a name").to_owned()).collect();
        (names, said.get("NextToken").cloned())
    };
    for (request, expected) in [
        (json!({}), &["a.example", "ec.example", "old.example"][..]),
        (json!({"SortBy": "CREATED_AT", "SortOrder": "DESCENDING"}), &["old.example", "ec.example", "a.example"]),
        (json!({"CertificateStatuses": ["ISSUED"]}), &["a.example", "ec.example"]),
        (json!({"CertificateStatuses": ["EXPIRED", "REVOKED"]}), &["old.example"]),
        (json!({"Includes": {"keyTypes": ["EC_prime256v1"]}}), &["ec.example"]),
        (json!({"Includes": {"extendedKeyUsage": ["NONE"]}}), &[]),
        (
            json!({"Includes": {"keyUsage": ["ANY", "DIGITAL_SIGNATURE"]}, "MaxItems": 1000}),
            &["a.example", "ec.example", "old.example"],
        ),
    ] {
        assert_eq!(
            names(request.clone()),
            (expected.iter().map(|name| (*name).to_owned()).collect(), None),
            "{request}"
        );
    }
    let (first, token) = names(json!({"MaxItems": 2}));
    let (rest, end) = names(json!({"MaxItems": 2, "NextToken": token}));
    assert_eq!((first.len(), rest, end), (2, vec!["old.example".to_owned()], None));
}

#[test]
fn what_is_refused_has_acms_codes() {
    let mut model = filled();
    let listener = json!({"protocol": "TLS", "port": 443, "targetGroup": "web", "certificate": ARN});
    let lb = json!({"name": "web", "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}]});
    let group = json!({"name": "web", "protocol": "TCP", "port": 80});
    for command in [
        Command::CreateLoadBalancer { request: serde_json::from_value(lb).expect("one"), id: Id(1) },
        Command::CreateTargetGroup { request: serde_json::from_value(group).expect("one"), id: Id(2) },
        Command::CreateListener {
            load_balancer: "web".into(),
            request: serde_json::from_value(listener).expect("one"),
            id: Id(3),
        },
    ] {
        model.apply(command, common::NOW).expect("good");
    }
    let said = acm(&mut model, "DescribeCertificate", json!({"CertificateArn": ARN})).expect("it");
    let user = "arn:aws:elasticloadbalancing:on-prem-1:000000000000:loadbalancer/net/web/0000000000000001";
    assert_eq!(said["Certificate"]["InUseBy"], json!([user]));
    let unknown = ARN.replace("uuid-1", "uuid-9");
    for (name, request, code) in [
        ("DeleteCertificate", json!({"CertificateArn": ARN}), "ResourceInUseException"),
        ("GetCertificate", json!({"CertificateArn": unknown}), "ResourceNotFoundException"),
        ("GetCertificate", json!({"CertificateArn": "uuid-1"}), "ValidationException"),
        ("GetCertificate", json!({}), "ValidationException"),
        ("ImportCertificate", json!({"Certificate": "%", "PrivateKey": ""}), "ValidationException"),
        ("ImportCertificate", json!({"Certificate": BASE64.encode("x")}), "ValidationException"),
        ("ListCertificates", json!({"MaxItems": 0}), "ValidationException"),
        ("AddTagsToCertificate", json!({"CertificateArn": ARN, "Tags": []}), "ValidationException"),
        ("RequestCertificate", json!({"DomainName": "a.example"}), "UnsupportedOperationException"),
        ("ExportCertificate", json!({"CertificateArn": ARN}), "UnsupportedOperationException"),
    ] {
        let before = model.clone();
        let (said, message) = acm(&mut model, name, request).expect_err(name);
        assert_eq!(said, code, "{name}: {message}");
        assert!(model == before && message.len() > 10, "{message}");
    }
}

#[test]
fn a_server_certificate_has_a_name() {
    let mut model = filled();
    let arn = "arn:aws:iam::000000000000:server-certificate/shop/web";
    let said = iam(&mut model, "GetServerCertificate", "ServerCertificateName=web").expect("it");
    let start = "GetServerCertificateResult.ServerCertificate";
    for line in [
        format!("{start}.ServerCertificateMetadata.Arn={arn}"),
        format!("{start}.ServerCertificateMetadata.Path=/shop/"),
        format!("{start}.ServerCertificateMetadata.ServerCertificateName=web"),
        format!("{start}.ServerCertificateMetadata.ServerCertificateId=ASCA0000000000000ABC"),
        format!("{start}.ServerCertificateMetadata.UploadDate=2023-11-14T22:13:20.000Z"),
        format!("{start}.ServerCertificateMetadata.Expiration=2027-01-15T08:00:00.000Z"),
        format!("{start}.CertificateBody=w.example"),
        format!("{start}.Tags.1.Key=team"),
    ] {
        assert!(said.contains(&line), "{line} is not in\n{}", said.join("\n"));
    }
    let listed = |model: &mut Model, form: &str| {
        let said = iam(model, "ListServerCertificates", form).expect("a list");
        said.iter().filter(|line| line.contains(".ServerCertificateName=")).count()
    };
    assert_eq!((listed(&mut model, ""), listed(&mut model, "PathPrefix=/other/")), (1, 0), "those of ACM are not here");
    iam(&mut model, "UpdateServerCertificate", "ServerCertificateName=web&NewServerCertificateName=new&NewPath=/")
        .expect("free");
    let arns: Vec<_> = model.certificates().map(|it| it.arn.clone()).collect();
    assert_eq!(arns.last().map(String::as_str), Some("arn:aws:iam::000000000000:server-certificate/new"));
    for (name, form, code) in [
        ("GetServerCertificate", "ServerCertificateName=web", "NoSuchEntity"),
        (
            "UploadServerCertificate",
            "ServerCertificateName=new&CertificateBody=x&PrivateKey=secret",
            "EntityAlreadyExists",
        ),
        ("UploadServerCertificate", "ServerCertificateName=x", "ValidationError"),
        ("ListServerCertificates", "MaxItems=1001", "ValidationError"),
    ] {
        assert_eq!(iam(&mut model, name, form).expect_err(name).0, code, "{name} {form}");
    }
    iam(&mut model, "DeleteServerCertificate", "ServerCertificateName=new").expect("unused");
    assert_eq!(listed(&mut model, ""), 0);
}

/// req: TAG-01
#[test]
fn certificates_have_tags() {
    let mut model = filled();
    let tags = |model: &mut Model| {
        acm(model, "ListTagsForCertificate", json!({"CertificateArn": ARN})).expect("a list")["Tags"].clone()
    };
    let add = json!({"CertificateArn": ARN, "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b"}]});
    acm(&mut model, "AddTagsToCertificate", add).expect("added");
    assert_eq!(tags(&mut model), json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]));
    // With a value only the tag that has it.
    let remove = json!({"CertificateArn": ARN, "Tags": [{"Key": "a", "Value": "2"}, {"Key": "b"}]});
    acm(&mut model, "RemoveTagsFromCertificate", remove).expect("removed");
    assert_eq!(tags(&mut model), json!([{"Key": "a", "Value": "1"}]));
    iam(&mut model, "TagServerCertificate", "ServerCertificateName=web&Tags.member.1.Key=x&Tags.member.1.Value=y")
        .expect("added");
    iam(&mut model, "UntagServerCertificate", "ServerCertificateName=web&TagKeys.member.1=team").expect("removed");
    let web = model.find_certificate("web").expect("it").tags.clone();
    assert_eq!(web, Tags::from([("x".to_owned(), "y".to_owned())]));
    let twice = json!({"CertificateArn": ARN, "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]});
    assert_eq!(acm(&mut model, "AddTagsToCertificate", twice).expect_err("twice").0, "InvalidTagException");
}

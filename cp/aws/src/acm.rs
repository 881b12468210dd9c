//! Certificate Manager: the certificate store. Certificates are imported; none is made here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use leat_model::certificate::{Certificate, Change};
use leat_model::error::Shown;
use leat_model::rest::{ImportCertificate, Role};
use leat_model::{Code, Command, Error, tags};
use serde_json::{Value, json};

use crate::operation::{Context, JsonHandler, Operation, Reply, Service, Support};
use crate::paging::{Order, page};

type Answer = Result<Reply<Value>, Error>;

const fn read(name: &'static str, run: JsonHandler) -> Operation {
    Operation::json(Service::Acm, name, Role::Read, run)
}

const fn admin(name: &'static str, run: JsonHandler) -> Operation {
    Operation::json(Service::Acm, name, Role::Admin, run)
}

const fn refused(name: &'static str, run: JsonHandler) -> Operation {
    admin(name, run).noted(Support::Refused, "`UnsupportedOperation`")
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    admin("AddTagsToCertificate", add_tags),
    admin("DeleteCertificate", delete),
    read("DescribeCertificate", describe),
    refused("ExportCertificate", refuse_export),
    read("GetCertificate", get),
    admin("ImportCertificate", import),
    read("ListCertificates", list),
    read("ListTagsForCertificate", list_tags),
    admin("RemoveTagsFromCertificate", remove_tags),
    refused("RenewCertificate", refuse_request),
    refused("RequestCertificate", refuse_request),
    refused("ResendValidationEmail", refuse_request),
    refused("RevokeCertificate", refuse_request),
    refused("UpdateCertificateOptions", refuse_request),
];

/// ACM's names of error codes.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::CertificateNotFound => "ResourceNotFoundException",
        Code::ResourceInUse => "ResourceInUseException",
        Code::TooManyCertificates => "LimitExceededException",
        Code::TooManyTags => "TooManyTagsException",
        Code::DuplicateTagKeys => "InvalidTagException",
        Code::ValidationError | Code::MalformedCertificate | Code::KeyPairMismatch => "ValidationException",
        Code::UnsupportedOperation => "UnsupportedOperationException",
        Code::AccessDenied => "AccessDeniedException",
        Code::Throttling => "ThrottlingException",
        Code::InvalidAction => "UnknownOperationException",
        code => code.name(),
    }
}

/// Certificates of one page at the most.
const PAGE_MAX: usize = 1000;
/// Alternative names in a summary at the most.
const NAMES_MAX: usize = 100;

fn import(context: &Context<'_>, request: &Value) -> Answer {
    let replaces = match request.get("CertificateArn") {
        None | Some(Value::Null) => None,
        Some(_) => Some(find(context, request)?.arn.clone()),
    };
    let import = ImportCertificate {
        certificate: blob(request, "Certificate")?.ok_or_else(|| missing("Certificate"))?,
        private_key: blob(request, "PrivateKey")?.ok_or_else(|| missing("PrivateKey"))?,
        chain: blob(request, "CertificateChain")?,
        name: None,
        path: None,
        replaces,
        tags: tags::from_pairs(tag_list(request)?.into_iter().map(|(key, value)| (key, value.unwrap_or_default())))?,
    };
    Ok(Reply::Import(Box::new(import), Box::new(|_, arn| Ok(json!({ "CertificateArn": arn })))))
}

fn list(context: &Context<'_>, request: &Value) -> Answer {
    let max = match request.get("MaxItems") {
        None | Some(Value::Null) => PAGE_MAX,
        Some(max) => {
            let max = max.as_u64().and_then(|max| usize::try_from(max).ok());
            let allowed = max.filter(|max| (1..=PAGE_MAX).contains(max));
            allowed.ok_or_else(|| Error::invalid("MaxItems", format!("MaxItems is 1 to {PAGE_MAX}")))?
        }
    };
    let order = match text(request, "SortOrder")? {
        None | Some("ASCENDING") => Order::Ascending,
        Some("DESCENDING") => Order::Descending,
        Some(other) => return Err(Error::invalid("SortOrder", format!("{} is no order", Shown(other)))),
    };
    let wanted = Wanted::of(request)?;
    let all = context.model.certificates().filter(|it| is_acms(it) && wanted.has(context, it));
    let objects = all.map(|it| (format!("{:020} {}", it.created_ms, it.arn), it)).collect();
    let (certificates, token) = page(objects, order, ("NextToken", text(request, "NextToken")?), max)?;
    let summaries: Vec<Value> = certificates.into_iter().map(|it| summary(context, it)).collect();
    let mut answer = json!({ "CertificateSummaryList": summaries });
    if let Some(token) = token {
        answer["NextToken"] = token.into();
    }
    Ok(Reply::Answer(answer))
}

/// What `ListCertificates` looks for; nothing: everything.
struct Wanted {
    statuses: Vec<String>,
    key_types: Vec<String>,
    key_usages: Vec<String>,
    extended_key_usages: Vec<String>,
    export: Option<String>,
    manager: Option<String>,
    origins: Vec<String>,
}

impl Wanted {
    fn of(request: &Value) -> Result<Self, Error> {
        let includes = request.get("Includes").unwrap_or(&Value::Null);
        Ok(Self {
            statuses: texts(request, "CertificateStatuses")?,
            // The enumeration has underscores, the answers have hyphens.
            key_types: texts(includes, "keyTypes")?.iter().map(|it| it.replace('_', "-")).collect(),
            key_usages: texts(includes, "keyUsage")?,
            extended_key_usages: texts(includes, "extendedKeyUsage")?,
            export: text(includes, "exportOption")?.map(str::to_owned),
            manager: text(includes, "managedBy")?.map(str::to_owned),
            origins: texts(request, "CertificateKeyPairOrigins")?,
        })
    }

    fn has(&self, context: &Context<'_>, certificate: &Certificate) -> bool {
        let facts = &certificate.facts;
        let one = |wanted: &[String], has: &str| wanted.is_empty() || wanted.iter().any(|it| it == has);
        let some =
            |wanted: &[String], has: Vec<&str>| wanted.is_empty() || wanted.iter().any(|it| has.contains(&&**it));
        let extended = facts.extended_key_usages.iter().map(|oid| usage_name(oid));
        let extended: Vec<&str> = if facts.extended_key_usages.is_empty() { vec!["NONE"] } else { extended.collect() };
        one(&self.statuses, status(context, certificate))
            && one(&self.key_types, &facts.key_algorithm)
            && some(&self.key_usages, facts.key_usages.iter().map(String::as_str).collect())
            && some(&self.extended_key_usages, extended)
            && self.export.as_deref().is_none_or(|export| export == "DISABLED")
            && self.manager.is_none()
            && one(&self.origins, ORIGIN)
    }
}

const ORIGIN: &str = "CUSTOMER_PROVIDED";

fn summary(context: &Context<'_>, certificate: &Certificate) -> Value {
    let facts = &certificate.facts;
    let names = names(certificate);
    let extended: Vec<&str> = facts.extended_key_usages.iter().map(|oid| usage_name(oid)).collect();
    json!({
        "CertificateArn": certificate.arn,
        "DomainName": facts.domain_name,
        "SubjectAlternativeNameSummaries": names.iter().take(NAMES_MAX).collect::<Vec<_>>(),
        "HasAdditionalSubjectAlternativeNames": names.len() > NAMES_MAX,
        "Status": status(context, certificate),
        "Type": "IMPORTED",
        "KeyAlgorithm": facts.key_algorithm,
        "KeyUsages": facts.key_usages,
        "ExtendedKeyUsages": extended,
        "InUse": !context.model.show_certificate(certificate).in_use_by.is_empty(),
        "RenewalEligibility": "INELIGIBLE",
        "NotBefore": facts.not_before_ms / 1000,
        "NotAfter": facts.not_after_ms / 1000,
        "CreatedAt": certificate.created_ms / 1000,
        "ImportedAt": certificate.imported_ms / 1000,
        "CertificateKeyPairOrigin": ORIGIN,
    })
}

fn describe(context: &Context<'_>, request: &Value) -> Answer {
    let certificate = find(context, request)?;
    let facts = &certificate.facts;
    let usages: Vec<Value> = facts.key_usages.iter().map(|name| json!({ "Name": name })).collect();
    let extended = facts.extended_key_usages.iter();
    let extended: Vec<Value> = extended.map(|oid| json!({ "Name": usage_name(oid), "OID": oid })).collect();
    Ok(Reply::Answer(json!({ "Certificate": {
        "CertificateArn": certificate.arn,
        "DomainName": facts.domain_name,
        "SubjectAlternativeNames": names(certificate),
        "Serial": facts.serial,
        "Subject": facts.subject,
        "Issuer": facts.issuer,
        "CreatedAt": certificate.created_ms / 1000,
        "ImportedAt": certificate.imported_ms / 1000,
        "Status": status(context, certificate),
        "NotBefore": facts.not_before_ms / 1000,
        "NotAfter": facts.not_after_ms / 1000,
        "KeyAlgorithm": facts.key_algorithm,
        "SignatureAlgorithm": facts.signature_algorithm,
        "InUseBy": context.model.show_certificate(certificate).in_use_by,
        "Type": "IMPORTED",
        "KeyUsages": usages,
        "ExtendedKeyUsages": extended,
        "RenewalEligibility": "INELIGIBLE",
        "Options": { "CertificateTransparencyLoggingPreference": "DISABLED" },
        "CertificateKeyPairOrigin": ORIGIN,
    }})))
}

fn get(context: &Context<'_>, request: &Value) -> Answer {
    let facts = &find(context, request)?.facts;
    let mut answer = json!({ "Certificate": facts.certificate });
    if let Some(chain) = &facts.chain {
        answer["CertificateChain"] = chain.as_str().into();
    }
    Ok(Reply::Answer(answer))
}

fn delete(context: &Context<'_>, request: &Value) -> Answer {
    let arn = find(context, request)?.arn.clone();
    Ok(change(Command::Certificate(Change::Delete { arn })))
}

fn add_tags(context: &Context<'_>, request: &Value) -> Answer {
    let resources = vec![find(context, request)?.arn.clone()];
    let tags = required_tags(request)?.into_iter().map(|(key, value)| (key, value.unwrap_or_default()));
    Ok(change(Command::AddTags { resources, tags: tags.collect() }))
}

/// A tag that is given with a value is removed only if it has this value.
fn remove_tags(context: &Context<'_>, request: &Value) -> Answer {
    let certificate = find(context, request)?;
    let goes = |(key, value): (String, Option<String>)| match value {
        Some(value) if certificate.tags.get(&key) != Some(&value) => None,
        _ => Some(key),
    };
    let keys = required_tags(request)?.into_iter().filter_map(goes).collect();
    Ok(change(Command::RemoveTags { resources: vec![certificate.arn.clone()], keys }))
}

fn list_tags(context: &Context<'_>, request: &Value) -> Answer {
    let tags = find(context, request)?.tags.iter();
    let tags: Vec<Value> = tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(Reply::Answer(json!({ "Tags": tags })))
}

fn refuse_request(_: &Context<'_>, _: &Value) -> Answer {
    let message = "certificates are not issued, renewed or revoked here; get one from a certificate authority and call \
                   ImportCertificate, with CertificateArn to replace one";
    Err(Error::new(Code::UnsupportedOperation, message))
}

fn refuse_export(_: &Context<'_>, _: &Value) -> Answer {
    Err(Error::new(Code::UnsupportedOperation, "private keys are never shown; GetCertificate gives the certificate"))
}

fn change(command: Command) -> Reply<Value> {
    Reply::Change(command, Box::new(|_, _| Ok(json!({}))))
}

fn is_acms(certificate: &Certificate) -> bool {
    certificate.facts.server_certificate.is_none()
}

/// The certificate that `CertificateArn` names.
fn find<'c>(context: &Context<'c>, request: &Value) -> Result<&'c Certificate, Error> {
    let arn = text(request, "CertificateArn")?.ok_or_else(|| missing("CertificateArn"))?;
    if !arn.starts_with("arn:") {
        let message =
            format!("Value {} at 'certificateArn' failed to satisfy constraint: it is not an ARN", Shown(arn));
        return Err(Error::invalid("CertificateArn", message));
    }
    let found = context.model.certificate(arn).filter(|it| is_acms(it));
    found.ok_or_else(|| {
        let message = format!("Could not find certificate {arn}.");
        Error::at(Code::CertificateNotFound, "CertificateArn", message)
    })
}

fn status(context: &Context<'_>, certificate: &Certificate) -> &'static str {
    if context.now.wall_ms > certificate.facts.not_after_ms { "EXPIRED" } else { "ISSUED" }
}

fn names(certificate: &Certificate) -> Vec<&str> {
    let facts = &certificate.facts;
    match &facts.subject_alternative_names[..] {
        [] => vec![&facts.domain_name],
        names => names.iter().map(String::as_str).collect(),
    }
}

fn usage_name(oid: &str) -> &'static str {
    match oid {
        "2.5.29.37.0" => "ANY",
        "1.3.6.1.5.5.7.3.1" => "TLS_WEB_SERVER_AUTHENTICATION",
        "1.3.6.1.5.5.7.3.2" => "TLS_WEB_CLIENT_AUTHENTICATION",
        "1.3.6.1.5.5.7.3.3" => "CODE_SIGNING",
        "1.3.6.1.5.5.7.3.4" => "EMAIL_PROTECTION",
        "1.3.6.1.5.5.7.3.5" => "IPSEC_END_SYSTEM",
        "1.3.6.1.5.5.7.3.6" => "IPSEC_TUNNEL",
        "1.3.6.1.5.5.7.3.7" => "IPSEC_USER",
        "1.3.6.1.5.5.7.3.8" => "TIME_STAMPING",
        "1.3.6.1.5.5.7.3.9" => "OCSP_SIGNING",
        _ => "CUSTOM",
    }
}

fn missing(field: &str) -> Error {
    Error::invalid(field, format!("the request must have {field}"))
}

fn text<'v>(request: &'v Value, field: &str) -> Result<Option<&'v str>, Error> {
    match request.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(field, format!("{field} is not a text"))),
    }
}

fn texts(request: &Value, field: &str) -> Result<Vec<String>, Error> {
    let wrong = || Error::invalid(field, format!("{field} is not a list of texts"));
    match request.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|it| it.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// A blob that is a text. The error repeats nothing of it.
fn blob(request: &Value, field: &str) -> Result<Option<String>, Error> {
    let Some(encoded) = text(request, field)? else { return Ok(None) };
    let wrong = || Error::invalid(field, format!("{field} is not a text in base64"));
    let bytes = BASE64.decode(encoded).map_err(|_| wrong())?;
    String::from_utf8(bytes).map(Some).map_err(|_| wrong())
}

fn tag_list(request: &Value) -> Result<Vec<(String, Option<String>)>, Error> {
    let tags = match request.get("Tags") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(tags) => tags.as_array().ok_or_else(|| Error::invalid("Tags", "Tags is not a list"))?,
    };
    let tag = |tag: &Value| {
        let key = text(tag, "Key")?.ok_or_else(|| missing("Tags.Key"))?;
        Ok((key.to_owned(), text(tag, "Value")?.map(str::to_owned)))
    };
    tags.iter().map(tag).collect()
}

fn required_tags(request: &Value) -> Result<Vec<(String, Option<String>)>, Error> {
    let tags = tag_list(request)?;
    if tags.is_empty() { Err(missing("Tags")) } else { Ok(tags) }
}

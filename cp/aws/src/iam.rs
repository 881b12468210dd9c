//! IAM: server certificates, the older way to bring a certificate: it has a name.

use leat_model::certificate::{Certificate, Change, ServerCertificate};
use leat_model::rest::{ImportCertificate, Role};
use leat_model::{Code, Command, Error, tags};

use crate::operation::{Context, Operation, QueryHandler, Reply, Service};
use crate::paging::{Order, page};
use crate::params::Params;
use crate::xml::Element;

type Answer = Result<Reply<Vec<Element>>, Error>;

const fn read(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Iam, name, Role::Read, run)
}

const fn admin(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::Iam, name, Role::Admin, run)
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    admin("DeleteServerCertificate", delete),
    read("GetServerCertificate", get),
    read("ListServerCertificates", list),
    admin("TagServerCertificate", add_tags),
    admin("UntagServerCertificate", remove_tags),
    admin("UpdateServerCertificate", update),
    admin("UploadServerCertificate", upload),
];

/// IAM's names of error codes.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::CertificateNotFound => "NoSuchEntity",
        Code::DuplicateCertificateName => "EntityAlreadyExists",
        Code::ResourceInUse => "DeleteConflict",
        Code::TooManyCertificates | Code::TooManyTags => "LimitExceeded",
        Code::DuplicateTagKeys => "InvalidInput",
        code => code.name(),
    }
}

/// Certificates of one page at the most, and unless something else is said.
const PAGE_MAX: i64 = 1000;
const PAGE: i64 = 100;

fn upload(_: &Context<'_>, params: &Params) -> Answer {
    let import = ImportCertificate {
        certificate: params.required("CertificateBody")?.to_owned(),
        private_key: params.required("PrivateKey")?.to_owned(),
        chain: params.get("CertificateChain").map(str::to_owned),
        name: Some(params.required("ServerCertificateName")?.to_owned()),
        path: params.get("Path").map(str::to_owned),
        replaces: None,
        tags: tags::from_pairs(tag_list(params)?)?,
    };
    let answer = |context: &Context<'_>, arn: &String| {
        let certificate = context.model.find_certificate(arn)?;
        Ok(vec![metadata("ServerCertificateMetadata", certificate), show_tags(certificate)])
    };
    Ok(Reply::Import(Box::new(import), Box::new(answer)))
}

fn get(context: &Context<'_>, params: &Params) -> Answer {
    let certificate = find(context, params)?;
    let mut content = vec![metadata("ServerCertificateMetadata", certificate)];
    content.push(Element::text("CertificateBody", &certificate.facts.certificate));
    content.extend(certificate.facts.chain.as_ref().map(|chain| Element::text("CertificateChain", chain)));
    content.push(show_tags(certificate));
    Ok(Reply::Answer(vec![Element::parent("ServerCertificate", content)]))
}

fn list(context: &Context<'_>, params: &Params) -> Answer {
    let max = params.number("MaxItems")?.unwrap_or(PAGE);
    let max = usize::try_from(max).ok().filter(|_| (1..=PAGE_MAX).contains(&max));
    let max = max.ok_or_else(|| Error::invalid("MaxItems", format!("MaxItems is 1 to {PAGE_MAX}")))?;
    let prefix = params.get("PathPrefix").unwrap_or("/");
    let named = context.model.certificates().filter_map(|it| Some((named(it)?, it)));
    let wanted = named.filter(|(name, _)| name.path.starts_with(prefix));
    let objects = wanted.map(|(name, it)| (name.name.clone(), it)).collect();
    let (certificates, marker) = page(objects, Order::Ascending, ("Marker", params.get("Marker")), max)?;
    let members = certificates.into_iter().map(|it| metadata("member", it));
    let mut content = vec![Element::parent("ServerCertificateMetadataList", members)];
    content.push(Element::text("IsTruncated", marker.is_some()));
    content.extend(marker.map(|marker| Element::text("Marker", marker)));
    Ok(Reply::Answer(content))
}

fn delete(context: &Context<'_>, params: &Params) -> Answer {
    let arn = find(context, params)?.arn.clone();
    Ok(change(Command::Certificate(Change::Delete { arn })))
}

fn update(context: &Context<'_>, params: &Params) -> Answer {
    let certificate = find(context, params)?;
    let (name, path) = named(certificate).map_or(("", "/"), |it| (&it.name, &it.path));
    Ok(change(Command::Certificate(Change::Rename {
        arn: certificate.arn.clone(),
        name: params.get("NewServerCertificateName").unwrap_or(name).to_owned(),
        path: params.get("NewPath").unwrap_or(path).to_owned(),
    })))
}

fn add_tags(context: &Context<'_>, params: &Params) -> Answer {
    let resources = vec![find(context, params)?.arn.clone()];
    Ok(change(Command::AddTags { resources, tags: tag_list(params)? }))
}

fn remove_tags(context: &Context<'_>, params: &Params) -> Answer {
    let resources = vec![find(context, params)?.arn.clone()];
    Ok(change(Command::RemoveTags { resources, keys: params.list("TagKeys")? }))
}

fn change(command: Command) -> Reply<Vec<Element>> {
    Reply::Change(command, Box::new(|_, _| Ok(Vec::new())))
}

fn named(certificate: &Certificate) -> Option<&ServerCertificate> {
    certificate.facts.server_certificate.as_ref()
}

fn find<'c>(context: &Context<'c>, params: &Params) -> Result<&'c Certificate, Error> {
    let name = params.required("ServerCertificateName")?;
    let is_it = |it: &&Certificate| named(it).is_some_and(|it| it.name.eq_ignore_ascii_case(name));
    context.model.certificates().find(is_it).ok_or_else(|| {
        let message = format!("The Server Certificate with name {name} cannot be found.");
        Error::at(Code::CertificateNotFound, "ServerCertificateName", message)
    })
}

fn metadata(element: &'static str, certificate: &Certificate) -> Element {
    let (name, path, id) = named(certificate).map_or(("", "/", ""), |it| (&it.name, &it.path, &it.id));
    Element::parent(
        element,
        [
            Element::text("ServerCertificateId", id),
            Element::text("ServerCertificateName", name),
            Element::time("Expiration", certificate.facts.not_after_ms),
            Element::text("Path", path),
            Element::text("Arn", &certificate.arn),
            Element::time("UploadDate", certificate.created_ms),
        ],
    )
}

fn show_tags(certificate: &Certificate) -> Element {
    let tag = |(key, value)| vec![Element::text("Key", key), Element::text("Value", value)];
    Element::list("Tags", certificate.tags.iter().map(tag))
}

fn tag_list(params: &Params) -> Result<Vec<(String, String)>, Error> {
    let tag = |tag: &Params| {
        let value = tag.get("Value").unwrap_or_default();
        Ok((tag.required("Key")?.to_owned(), value.to_owned()))
    };
    params.structures("Tags")?.iter().map(tag).collect()
}

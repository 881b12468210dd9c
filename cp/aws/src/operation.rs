//! The table of operations: who may call each, and what runs it. From it come dispatch, authorisation, the audit log's names and the
//! documentation.

use leat_model::rest::{ImportCertificate, Role};
use leat_model::{Code, Command, Effects, Error, Id, Model, Now};
use serde_json::Value;

use crate::params::Params;
use crate::xml::Element;
use crate::{acm, classic, cloudtrail, ec2, elbv2, iam, sts, zonal_shift};

/// An AWS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Elastic Load Balancing, version 2015-12-01.
    ElbV2,
    /// Elastic Load Balancing, version 2012-06-01: Classic load balancers.
    Elb,
    /// EC2, version 2016-11-15: the inventory, read only.
    Ec2,
    /// STS, version 2011-06-15.
    Sts,
    /// IAM, version 2010-05-08: server certificates.
    Iam,
    /// Certificate Manager: JSON 1.1.
    Acm,
    /// CloudTrail: JSON 1.1.
    CloudTrail,
    /// ARC zonal shift: REST with JSON.
    ZonalShift,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::ElbV2, Self::Elb, Self::Ec2, Self::Sts, Self::Iam, Self::Acm, Self::CloudTrail, Self::ZonalShift];

    /// The version in requests of the query protocol; empty for the others.
    pub const fn version(self) -> &'static str {
        match self {
            Self::ElbV2 => "2015-12-01",
            Self::Elb => "2012-06-01",
            Self::Ec2 => "2016-11-15",
            Self::Sts => "2011-06-15",
            Self::Iam => "2010-05-08",
            Self::Acm | Self::CloudTrail | Self::ZonalShift => "",
        }
    }

    /// What stands before the dot of `X-Amz-Target`; empty for services of other protocols.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Acm => "CertificateManager",
            Self::CloudTrail => "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
            _ => "",
        }
    }

    /// The name that signatures are made for.
    pub const fn signing_name(self) -> &'static str {
        match self {
            Self::ElbV2 | Self::Elb => "elasticloadbalancing",
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Acm => "acm",
            Self::CloudTrail => "cloudtrail",
            Self::ZonalShift => "arc-zonal-shift",
        }
    }

    /// The `eventSource` of the audit log.
    pub fn event_source(self) -> String {
        format!("{}.amazonaws.com", self.signing_name())
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::ElbV2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/",
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Acm | Self::CloudTrail | Self::ZonalShift => "",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name.
    pub name: String,
    /// Access key id; empty for those who came without one.
    pub access_key_id: String,
    /// What it may do.
    pub role: Role,
    /// The tenant whose networks it may use; none: all.
    pub tenant: Option<String>,
}

/// What an operation works on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The configuration.
    pub model: &'c Model,
    /// The clocks.
    pub now: Now,
    /// Who calls.
    pub caller: &'c Caller,
    /// Drawn at random: the id of what may be created.
    pub id: Id,
}

/// What an operation says; `B` is the body's kind.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Reply<B> {
    /// The answer.
    Answer(B),
    /// A command, and the answer when it was carried out; the context's model is then the new one.
    Change(Command, Render<B, Effects>),
    /// A certificate to be imported, and the answer when it was: its ARN is given.
    Import(Box<ImportCertificate>, Render<B, String>),
    /// Records of the audit log that are looked for, and the answer made of them, the newest first.
    Events(EventQuery, Render<B, Vec<Value>>),
}

/// Makes an answer of what was done.
pub type Render<B, T> = Box<dyn FnOnce(&Context<'_>, &T) -> Result<B, Error> + Send>;

/// Which records of the audit log are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Key and value of each attribute, such as `EventName` and `CreateLoadBalancer`; a record has all of them.
    pub attributes: Vec<(String, String)>,
    /// Not before, in milliseconds since 1970.
    pub start_ms: Option<u64>,
    /// Not after, in milliseconds since 1970.
    pub end_ms: Option<u64>,
    /// So many at the most.
    pub max: usize,
    /// Only records with a lower `leatChain.sequence`: those of later pages.
    pub before: Option<u64>,
}

/// Runs an operation of the query protocol: gives the children of its `…Result`, or, of EC2, of its `…Response`.
pub type QueryHandler = fn(&Context<'_>, &Params) -> Result<Reply<Vec<Element>>, Error>;
/// Runs an operation of a JSON protocol.
pub type JsonHandler = fn(&Context<'_>, &Value) -> Result<Reply<Value>, Error>;

/// What runs an operation.
#[derive(Clone, Copy)]
pub enum Run {
    /// Of the query protocol.
    Query(QueryHandler),
    /// Of a JSON protocol.
    Json(JsonHandler),
}

/// An operation.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its API.
    pub service: Service,
    /// Its name.
    pub name: &'static str,
    /// The least role that may call it.
    pub role: Role,
    /// What runs it.
    pub run: Run,
    /// How far it goes.
    pub support: Support,
    /// What is to be known of it, for the documentation.
    pub note: &'static str,
}

/// How far an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Support {
    /// As AWS's.
    Full,
    /// What is said is kept and told, and has no effect.
    Kept,
    /// What it is about is not offered: it is checked and refused with the error that AWS gives where there is none.
    Refused,
}

impl Support {
    /// The word in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

impl Operation {
    /// An operation of the query protocol.
    pub const fn query(service: Service, name: &'static str, role: Role, run: QueryHandler) -> Self {
        Self { service, name, role, run: Run::Query(run), support: Support::Full, note: "" }
    }

    /// An operation of a JSON protocol.
    pub const fn json(service: Service, name: &'static str, role: Role, run: JsonHandler) -> Self {
        Self { service, name, role, run: Run::Json(run), support: Support::Full, note: "" }
    }

    /// The same with what the documentation says of it.
    #[must_use]
    pub const fn noted(self, support: Support, note: &'static str) -> Self {
        Self { support, note, ..self }
    }
}

/// All operations.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    let tables = [
        elbv2::OPERATIONS,
        classic::OPERATIONS,
        ec2::OPERATIONS,
        sts::OPERATIONS,
        iam::OPERATIONS,
        acm::OPERATIONS,
        cloudtrail::OPERATIONS,
        zonal_shift::OPERATIONS,
    ];
    tables.into_iter().flatten()
}

/// The operations of a service as Markdown, for `docs/aws.md`.
pub fn markdown(service: Service) -> String {
    let mut rows: Vec<&Operation> = all().filter(|operation| operation.service == service).collect();
    rows.sort_by_key(|operation| operation.name);
    let row = |operation: &Operation| {
        let Operation { name, role, support, note, .. } = operation;
        format!("| {name} | {} | {} | {note} |\n", role.name(), support.name())
    };
    let rows: String = rows.into_iter().map(row).collect();
    format!("| operation | role | support | notes |\n|---|---|---|---|\n{rows}")
}

/// The operation of a request of the query protocol.
///
/// # Errors
/// [`Code::InvalidAction`].
pub fn of_query(version: &str, action: &str) -> Result<&'static Operation, Error> {
    all()
        .find(|operation| operation.name == action && operation.service.version() == version && !version.is_empty())
        .ok_or_else(|| {
            let message = format!("Could not find operation {} for version {}", short(action), short(version));
            Error::new(Code::InvalidAction, message)
        })
}

/// The operation of a request of a JSON protocol, by its `X-Amz-Target`.
///
/// # Errors
/// [`Code::InvalidAction`].
pub fn of_target(target: &str) -> Result<&'static Operation, Error> {
    let (service, name) = target.rsplit_once('.').unwrap_or_default();
    let of = |operation: &&Operation| {
        let known = operation.service.target();
        // Clients write CloudTrail's with and without its package.
        operation.name == name
            && !known.is_empty()
            && !service.is_empty()
            && (known == service || known.ends_with(&format!(".{service}")))
    };
    all().find(of).ok_or_else(|| Error::new(Code::InvalidAction, format!("Could not find operation {}", short(target))))
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The body of a successful answer of the query protocol.
pub fn answer(operation: &Operation, content: Vec<Element>, request_id: &str) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    let name = operation.name;
    out.push_str(&format!("<{name}Response xmlns=\"{}\">", operation.service.namespace()));
    if operation.service == Service::Ec2 {
        Element::text("requestId", request_id).write(&mut out);
        content.iter().for_each(|element| element.write(&mut out));
    } else {
        out.push_str(&format!("<{name}Result>"));
        content.iter().for_each(|element| element.write(&mut out));
        out.push_str(&format!("</{name}Result>"));
        Element::parent("ResponseMetadata", [Element::text("RequestId", request_id)]).write(&mut out);
    }
    out.push_str(&format!("</{name}Response>"));
    out
}

/// Status and body of an error of the query protocol.
pub fn error_answer(service: Service, error: &Error, request_id: &str) -> (u16, String) {
    let status = match (service, error.code) {
        (Service::Elb, Code::InvalidConfigurationRequest) => 409,
        (_, code) => status(code),
    };
    let (code, message) = (code_name(service, error.code), &error.message);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    let (code, text) = (Element::text("Code", code), Element::text("Message", message));
    if service == Service::Ec2 {
        let errors = Element::parent("Errors", [Element::parent("Error", [code, text])]);
        Element::parent("Response", [errors, Element::text("RequestID", request_id)]).write(&mut out);
    } else {
        let kind = Element::text("Type", if status < 500 { "Sender" } else { "Receiver" });
        out.push_str(&format!("<ErrorResponse xmlns=\"{}\">", service.namespace()));
        Element::parent("Error", [kind, code, text]).write(&mut out);
        Element::text("RequestId", request_id).write(&mut out);
        out.push_str("</ErrorResponse>");
    }
    (status, out)
}

/// The HTTP status that AWS's APIs give with a code: what is not found is 400 there.
pub fn status(code: Code) -> u16 {
    match code.status() {
        404 | 413 | 429 | 405 => 400,
        status => status,
    }
}

/// The code as a service's clients know it.
pub fn code_name(service: Service, code: Code) -> &'static str {
    match service {
        Service::Acm => acm::code_name(code),
        Service::Ec2 => ec2::code_name(code),
        Service::Iam => iam::code_name(code),
        Service::ZonalShift => zonal_shift::code_name(code),
        _ => code.name(),
    }
}

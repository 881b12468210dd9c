//! ARC zonal shift: REST with JSON. What a request says in its path, query and body is one structure, as in AWS's model of the API.

use std::collections::BTreeMap;

use leat_model::error::Shown;
use leat_model::resource::LoadBalancer;
use leat_model::rest::{Role, ShiftStatus, StartZonalShift, UpdateZonalShift, ZonalShift};
use leat_model::shift::Change;
use leat_model::{Code, Command, Error, ids};
use serde_json::{Map, Value, json};

use crate::operation::{Context, JsonHandler, Operation, Reply, Service};
use crate::paging::{Order, page};

type Answer = Result<Reply<Value>, Error>;

const fn read(name: &'static str, run: JsonHandler) -> Operation {
    Operation::json(Service::ZonalShift, name, Role::Read, run)
}

const fn operate(name: &'static str, run: JsonHandler) -> Operation {
    Operation::json(Service::ZonalShift, name, Role::Operate, run)
}

/// The operations.
pub const OPERATIONS: &[Operation] = &[
    operate("CancelZonalShift", cancel),
    read("GetManagedResource", resource),
    read("ListManagedResources", resources),
    read("ListZonalShifts", list),
    operate("StartZonalShift", start),
    operate("UpdateZonalShift", update),
];

/// Where an operation is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Path with at most one `{parameter}`, which is the rest of the path and may have slashes.
    pub path: &'static str,
    /// The operation's name.
    pub name: &'static str,
    /// Status of a success.
    pub status: u16,
}

/// All routes.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/zonalshifts", name: "ListZonalShifts", status: 200 },
    Route { method: "POST", path: "/zonalshifts", name: "StartZonalShift", status: 201 },
    Route { method: "PATCH", path: "/zonalshifts/{zonalShiftId}", name: "UpdateZonalShift", status: 200 },
    Route { method: "DELETE", path: "/zonalshifts/{zonalShiftId}", name: "CancelZonalShift", status: 200 },
    Route { method: "GET", path: "/managedresources", name: "ListManagedResources", status: 200 },
    Route { method: "GET", path: "/managedresources/{resourceIdentifier}", name: "GetManagedResource", status: 200 },
];

impl Route {
    /// Its operation.
    pub fn operation(&self) -> Option<&'static Operation> {
        OPERATIONS.iter().find(|operation| operation.name == self.name)
    }

    /// The structure that a request is: the parameter of its path, decoded, its query's pairs and its body. Null, which is refused
    /// later, if the body is not a JSON object.
    pub fn input(
        &self,
        parameter: Option<&str>,
        query: impl IntoIterator<Item = (String, String)>,
        body: &[u8],
    ) -> Value {
        let mut input = match serde_json::from_slice(body) {
            _ if body.trim_ascii().is_empty() => Map::new(),
            Ok(Value::Object(fields)) => fields,
            _ => return Value::Null,
        };
        input.extend(query.into_iter().map(|(key, value)| (key, Value::String(value))));
        let name = self.path.split_once('{').map(|(_, rest)| rest.trim_end_matches('}').to_owned());
        if let (Some(name), Some(value)) = (name, parameter) {
            input.insert(name, value.into());
        }
        Value::Object(input)
    }
}

/// The service's names of error codes.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::LoadBalancerNotFound | Code::ZonalShiftNotFound => "ResourceNotFoundException",
        Code::ResourceInUse | Code::OperationNotPermitted => "ConflictException",
        Code::Throttling => "ThrottlingException",
        Code::AccessDenied
        | Code::IncompleteSignature
        | Code::InvalidClientTokenId
        | Code::MissingAuthenticationToken
        | Code::SignatureDoesNotMatch => "AccessDeniedException",
        code if code.status() >= 500 => "InternalServerException",
        _ => "ValidationException",
    }
}

/// An error as an answer: status, what `x-amzn-errortype` says, and the body.
pub fn error_answer(error: &Error) -> (u16, &'static str, Value) {
    let kind = code_name(error.code);
    let (status, reason) = match kind {
        "ResourceNotFoundException" => (404, None),
        "ConflictException" if error.code == Code::ResourceInUse => (409, Some("ZonalShiftAlreadyExists")),
        "ConflictException" => (409, Some("ZonalShiftStatusNotActive")),
        "ThrottlingException" => (429, None),
        "AccessDeniedException" => (403, None),
        "InternalServerException" => (500, None),
        _ => (400, Some(validation_reason(error.field.as_deref()))),
    };
    let mut body = json!({ "message": error.message });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    (status, kind, body)
}

fn validation_reason(field: Option<&str>) -> &'static str {
    match field {
        Some("expiresIn") => "InvalidExpiresIn",
        Some("awayFrom") => "InvalidAz",
        Some("status") => "InvalidStatus",
        Some("nextToken" | "maxResults") => "InvalidToken",
        Some("resourceIdentifier" | "loadBalancer") | None => "InvalidResourceIdentifier",
        Some(_) => "MissingValue",
    }
}

/// Elements of a page at the most.
const PAGE_MAX: usize = 100;

fn start(context: &Context<'_>, request: &Value) -> Answer {
    let lb = find(context, required(request, "resourceIdentifier")?)?;
    let request = StartZonalShift {
        load_balancer: arn_of(context, lb),
        away_from: required(request, "awayFrom")?.to_owned(),
        expires_in: required(request, "expiresIn")?.to_owned(),
        comment: text(request, "comment")?.ok_or_else(|| missing("comment"))?.to_owned(),
    };
    let id = context.id.to_string();
    Ok(change(Change::Start { request, id: id.clone() }, id))
}

fn update(_: &Context<'_>, request: &Value) -> Answer {
    let id = required(request, "zonalShiftId")?.to_owned();
    let comment = text(request, "comment")?.map(str::to_owned);
    let expires_in = text(request, "expiresIn")?.map(str::to_owned);
    if comment.is_none() && expires_in.is_none() {
        return Err(Error::invalid("comment", "the request must have comment, expiresIn or both"));
    }
    Ok(change(Change::Update { id: id.clone(), request: UpdateZonalShift { expires_in, comment } }, id))
}

fn cancel(_: &Context<'_>, request: &Value) -> Answer {
    let id = required(request, "zonalShiftId")?.to_owned();
    Ok(change(Change::Cancel { id: id.clone() }, id))
}

/// Carries out a change of the shift with this id, and shows it.
fn change(change: Change, id: String) -> Reply<Value> {
    let show = move |context: &Context<'_>, _: &_| Ok(show(&context.model.show_shift(&id, context.now)?));
    Reply::Change(Command::Shift(change), Box::new(show))
}

fn list(context: &Context<'_>, request: &Value) -> Answer {
    let status = match text(request, "status")? {
        None => None,
        Some("ACTIVE") => Some(ShiftStatus::Active),
        Some("EXPIRED") => Some(ShiftStatus::Expired),
        Some("CANCELED") => Some(ShiftStatus::Canceled),
        Some(other) => {
            let message = format!("{} is no status; allowed are ACTIVE, EXPIRED and CANCELED", Shown(other));
            return Err(Error::invalid("status", message));
        }
    };
    let resource = text(request, "resourceIdentifier")?;
    let wanted = |shift: &ZonalShift| {
        status.is_none_or(|status| status == shift.status)
            && resource.is_none_or(|resource| resource == shift.load_balancer_arn)
    };
    let shifts = all_shifts(context).filter(wanted);
    let objects = shifts.map(|shift| (format!("{:020} {}", shift.start_ms, shift.id), shift)).collect();
    let token = text(request, "nextToken")?;
    let (shifts, token) = page(objects, Order::Descending, ("nextToken", token), page_size(request)?)?;
    let items = shifts.iter().map(|shift| {
        let mut item = show(shift);
        item["shiftType"] = "ZONAL_SHIFT".into();
        item
    });
    Ok(Reply::Answer(with_token(json!({ "items": items.collect::<Vec<_>>() }), token)))
}

fn resource(context: &Context<'_>, request: &Value) -> Answer {
    let lb = find(context, required(request, "resourceIdentifier")?)?;
    let mut answer = show_resource(context, lb);
    answer["zonalAutoshiftStatus"] = "DISABLED".into();
    Ok(Reply::Answer(answer))
}

fn resources(context: &Context<'_>, request: &Value) -> Answer {
    let own = context.model.load_balancers().filter(|lb| lb.classic.is_none());
    let objects = own.map(|lb| (arn_of(context, lb), lb)).collect();
    let token = text(request, "nextToken")?;
    let (lbs, token) = page(objects, Order::Ascending, ("nextToken", token), page_size(request)?)?;
    let items = lbs.into_iter().map(|lb| {
        let mut item = show_resource(context, lb);
        item["availabilityZones"] = lb.nodes.iter().map(|node| node.zone.as_str()).collect();
        item["zonalAutoshiftStatus"] = "DISABLED".into();
        item["practiceRunStatus"] = "DISABLED".into();
        item
    });
    Ok(Reply::Answer(with_token(json!({ "items": items.collect::<Vec<_>>() }), token)))
}

/// A load balancer: a weight of 0 for the zone that traffic is moved away from, of 1 for the others.
fn show_resource(context: &Context<'_>, lb: &LoadBalancer) -> Value {
    let arn = arn_of(context, lb);
    let shifts = active_shifts(context, &arn);
    let weight = |zone: &str| if shifts.iter().any(|shift| shift.away_from == zone) { 0.0 } else { 1.0 };
    let weights: BTreeMap<&str, f64> = lb.nodes.iter().map(|node| (&*node.zone, weight(&node.zone))).collect();
    let shown = shifts.iter().map(|shift| {
        let mut item = show(shift);
        if let Value::Object(fields) = &mut item {
            fields.remove("status");
        }
        item["appliedStatus"] = "APPLIED".into();
        item["shiftType"] = "ZONAL_SHIFT".into();
        item
    });
    let shown: Vec<Value> = shown.collect();
    json!({ "arn": arn, "name": lb.name, "appliedWeights": weights, "zonalShifts": shown, "autoshifts": [] })
}

fn show(shift: &ZonalShift) -> Value {
    json!({
        "zonalShiftId": shift.id,
        "resourceIdentifier": shift.load_balancer_arn,
        "awayFrom": shift.away_from,
        "startTime": shift.start_ms as f64 / 1000.0,
        "expiryTime": shift.expiry_ms as f64 / 1000.0,
        "status": shift.status,
        "comment": shift.comment,
    })
}

fn all_shifts(context: &Context<'_>) -> impl Iterator<Item = ZonalShift> {
    context.model.shifts().filter_map(|(id, _)| context.model.show_shift(id, context.now).ok())
}

fn active_shifts(context: &Context<'_>, arn: &str) -> Vec<ZonalShift> {
    let is_it = |shift: &ZonalShift| shift.load_balancer_arn == arn && shift.status == ShiftStatus::Active;
    all_shifts(context).filter(is_it).collect()
}

/// The network load balancer of an ARN.
fn find<'c>(context: &Context<'c>, arn: &str) -> Result<&'c LoadBalancer, Error> {
    if !arn.starts_with("arn:") {
        let message = format!("{} is not the ARN of a network load balancer", Shown(arn));
        return Err(Error::invalid("resourceIdentifier", message));
    }
    if let Some(lb) = context.model.application(arn) {
        let message = format!(
            "{} is an application load balancer; start the shift at the network load balancer in front of it",
            Shown(&lb.name)
        );
        return Err(Error::invalid("resourceIdentifier", message));
    }
    let found = context.model.load_balancers().find(|lb| lb.classic.is_none() && arn_of(context, lb) == arn);
    found.ok_or_else(|| {
        let message = format!("There is no network load balancer {}", Shown(arn));
        Error::at(Code::LoadBalancerNotFound, "resourceIdentifier", message)
    })
}

fn arn_of(context: &Context<'_>, lb: &LoadBalancer) -> String {
    ids::load_balancer_arn(context.model.site(), &lb.name, lb.id)
}

fn with_token(mut answer: Value, token: Option<String>) -> Value {
    if let Some(token) = token {
        answer["nextToken"] = token.into();
    }
    answer
}

fn page_size(request: &Value) -> Result<usize, Error> {
    let wrong = || Error::invalid("maxResults", format!("maxResults is 1 to {PAGE_MAX}"));
    let size = text(request, "maxResults")?.map_or(Ok(PAGE_MAX), |text| text.parse().map_err(|_| wrong()))?;
    if (1..=PAGE_MAX).contains(&size) { Ok(size) } else { Err(wrong()) }
}

fn text<'v>(request: &'v Value, field: &'static str) -> Result<Option<&'v str>, Error> {
    match request.get(field) {
        _ if !request.is_object() => Err(Error::invalid(field, "the body is not a JSON object")),
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(field, format!("{field} is not a text"))),
    }
}

fn missing(field: &'static str) -> Error {
    Error::invalid(field, format!("the request must have {field}"))
}

fn required<'v>(request: &'v Value, field: &'static str) -> Result<&'v str, Error> {
    text(request, field)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(field))
}

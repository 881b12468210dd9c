//! The OpenAPI document: made of the table of calls and of the types in their handlers' signatures, so it cannot say anything else
//! than the server does. `docs/openapi.json` is a copy; a test compares it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use leat_model::rest::{ErrorBody, Role};
use serde_json::Value;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, OneOf, SchemaType, Type as JsonType};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required, Schema,
    SecurityRequirement, Tag,
};

use super::body::{Answer, ok};
use super::routes::{ROUTES, Route};
use super::signature::Type;

const JSON: &str = "application/json";

pub(super) async fn show() -> Answer<Value> {
    static SHOWN: OnceLock<Value> = OnceLock::new();
    ok(SHOWN.get_or_init(|| serde_json::from_str(&text()).unwrap_or_default()).clone())
}

/// The document for readers.
fn text() -> String {
    let mut text = without_marks(&serde_json::to_string_pretty(document()).unwrap_or_default());
    text.push('\n');
    text
}

/// Comments in the code name requirements, such as ` (LB-04)`; readers of the document do not know them.
fn without_marks(text: &str) -> String {
    let is_mark = |inside: &str| {
        let (group, number) = inside.split_once('-').unwrap_or_default();
        !group.is_empty() && group.bytes().all(|b| b.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
    };
    let mut pieces = text.split(" (");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(')') {
            Some((inside, rest)) if is_mark(inside) => out.push_str(rest),
            _ => out.extend([" (", piece]),
        }
    }
    out
}

/// The document.
pub fn document() -> &'static OpenApi {
    static DOCUMENT: OnceLock<OpenApi> = OnceLock::new();
    DOCUMENT.get_or_init(make)
}

/// A schema of the document by its name.
pub fn schema(name: &str) -> Option<&'static RefOr<Schema>> {
    document().components.as_ref()?.schemas.get(name)
}

fn make() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = BTreeMap::new();
    let mut tags = Vec::new();
    keep(&mut schemas, Type::of::<ErrorBody>());
    for route in ROUTES {
        let signature = (route.signature)();
        for one in [signature.body, Some(signature.answer)].into_iter().flatten() {
            keep(&mut schemas, one);
        }
        // Only what a query's parameters refer to: the query itself is no body of anything.
        let mut others = Vec::new();
        signature.query.iter().for_each(|query| (query.others)(&mut others));
        schemas.extend(others);
        let item = PathItem::new(method(route), operation(route));
        match paths.paths.get_mut(route.path) {
            Some(there) => there.merge_operations(item),
            None => drop(paths.paths.insert(route.path.into(), item)),
        }
        if !tags.contains(&tag(route)) {
            tags.push(tag(route));
        }
    }
    let mut components = Components::new();
    components.schemas = schemas;
    components.add_security_scheme("token", token());
    components.add_security_scheme("signature", signature_scheme());
    let info = InfoBuilder::new()
        .title("Leat")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A network load balancer: its load balancers, listeners, target groups and targets, what they stand on, and what there is \
             to watch. docs/api.md explains the calls with examples, and lists the codes of errors.",
        ))
        .license(Some(License::new("Apache-2.0")))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags.into_iter().map(Tag::new)))
        .security(Some([
            SecurityRequirement::new("token", Vec::<String>::new()),
            SecurityRequirement::new("signature", Vec::<String>::new()),
        ]))
        .build()
}

fn keep(schemas: &mut BTreeMap<String, RefOr<Schema>>, one: Type) {
    let mut others = Vec::new();
    (one.others)(&mut others);
    schemas.extend(others);
    schemas.insert((one.name)().into_owned(), (one.schema)());
}

fn token() -> SecurityScheme {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    SecurityScheme::Http(scheme.description(Some("A user's token.")).build())
}

fn signature_scheme() -> SecurityScheme {
    SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "Authorization",
        "AWS's Signature Version 4, made with a user's access key for the service `elasticloadbalancing`.",
    )))
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        _ => HttpMethod::Delete,
    }
}

/// Calls are grouped by what their paths begin with.
fn tag(route: &Route) -> &'static str {
    let word = route.path.trim_start_matches("/v1/").split('/').next().unwrap_or_default();
    word.trim_end_matches(".json")
}

fn operation(route: &Route) -> Operation {
    let signature = (route.signature)();
    let role = match route.role {
        Role::Read => "Any user may do this.",
        Role::Operate => "Needs the role operate or admin.",
        Role::Admin => "Needs the role admin.",
    };
    let path_parameters: Vec<Parameter> = path_parameters(route.path).map(path_parameter).collect();
    let has_path_parameters = !path_parameters.is_empty();
    let mut parameters = path_parameters;
    parameters.extend(signature.query.into_iter().flat_map(query_parameters));
    let reference = |one: Type| ContentBuilder::new().schema(Some(Ref::from_schema_name((one.name)()))).build();
    let body = signature
        .body
        .map(|body| RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, reference(body)).build());
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name))
        .summary(Some(route.summary))
        .description(Some(role))
        .tag(tag(route))
        .request_body(body);
    if !parameters.is_empty() {
        operation = operation.parameters(Some(parameters));
    }
    for status in route.statuses {
        let description = if *status == 202 { "Accepted; it takes effect later" } else { "Done" };
        let answer = ResponseBuilder::new().description(description).content(JSON, reference(signature.answer));
        operation = operation.response(status.to_string(), answer.build());
    }
    for (status, description, can_be) in [
        (400, "The request is wrong, or what it asks for is against a rule; nothing was changed", true),
        (403, "Who asks may not do this, or does not say who it is", true),
        (404, "There is no such thing", has_path_parameters || signature.body.is_some()),
        (413, "The body is larger than 1 MiB", signature.body.is_some()),
        (429, "Too many requests in a short time", true),
        (500, "A defect of leat-cp", true),
        (503, "The store cannot be written, or the data plane does not answer; nothing was changed", true),
    ] {
        if can_be {
            let answer = ResponseBuilder::new().description(description);
            let answer = answer.content(JSON, reference(Type::of::<ErrorBody>())).build();
            operation = operation.response(status.to_string(), answer);
        }
    }
    operation.build()
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(JsonType::String).min_length(Some(1));
    let (description, schema) = match name {
        "lb" => ("Name or id of the load balancer", text),
        "tg" => ("Name or id of the target group", text),
        "port" => {
            let port = ObjectBuilder::new().schema_type(JsonType::Integer).minimum(Some(1)).maximum(Some(65535));
            ("Port of the listener", port)
        }
        "arn" => ("ARN", text),
        "name" => ("Name", text),
        _ => ("Id", text),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// The fields of a query's type as parameters.
fn query_parameters(query: Type) -> Vec<Parameter> {
    let RefOr::T(Schema::Object(object)) = (query.schema)() else { return Vec::new() };
    let required = object.required;
    let parameter = |(name, schema): (String, RefOr<Schema>)| {
        let mut schema = not_null(schema);
        let description = match &mut schema {
            RefOr::T(Schema::Object(object)) => object.description.take(),
            _ => None,
        };
        ParameterBuilder::new()
            .required(if required.contains(&name) { Required::True } else { Required::False })
            .name(name)
            .parameter_in(ParameterIn::Query)
            .description(description)
            .schema(Some(schema))
            .build()
    };
    object.properties.into_iter().map(parameter).collect()
}

/// A parameter is absent or has a value; there is no `null` in a query.
fn not_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(one) = types.iter().find(|one| **one != JsonType::Null)
            {
                object.schema_type = SchemaType::Type(one.clone());
            }
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::OneOf(OneOf { items, .. })) if items.len() == 2 => {
            let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(JsonType::Null));
            let mut items = items.into_iter().filter(|item| !is_null(item));
            items.next().unwrap_or_else(|| ObjectBuilder::new().into())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document that is in the repository. `UPDATE=1 cargo test -p leat-cp openapi` writes it anew.
    #[test]
    fn the_repository_has_this_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let text = text();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &text).expect("written");
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == text, "docs/openapi.json is old; write it anew with UPDATE=1 cargo test -p leat-cp openapi");
    }

    #[test]
    fn marks_of_requirements_are_left_out() {
        assert_eq!(without_marks("Unique (LB-04). (A) 1–2 (TGT-11); (x-1)"), "Unique. (A) 1–2; (x-1)");
        assert!(!text().contains("(LB-"));
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_request_is_strict() {
        let value = serde_json::to_value(document()).expect("JSON");
        let text = value.to_string();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let pointer = reference.split('"').next().expect("the end").trim_start_matches('#');
            assert!(value.pointer(pointer).is_some(), "{pointer}");
        }
        let names: std::collections::BTreeSet<&str> = ROUTES.iter().map(|route| route.name).collect();
        assert_eq!(names.len(), ROUTES.len(), "operation ids are unique");
        let maps = &value["components"]["schemas"]["BTreeMap"];
        assert!(maps.is_null(), "a field whose type is an alias of a map needs #[schema(value_type = …)]");
        for route in ROUTES {
            let Some(body) = (route.signature)().body else { continue };
            let schema = &value["components"]["schemas"][&*(body.name)()];
            assert_eq!(schema["additionalProperties"], false, "{} takes unknown fields", (body.name)());
        }
    }
}

//! Whether a body is made as its published schema says, as far as readers of JSON are too kind: they take a list for an object's
//! values in their order, and an object with one key for a word.

use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use super::openapi;

/// Where a value is of another kind than its schema says, and what it should be.
pub fn misfit(value: &Value, schema: &RefOr<Schema>, path: &str) -> Option<(String, &'static str)> {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(to) => match openapi::schema(to.ref_location.rsplit('/').next().unwrap_or_default()) {
            Some(found) => return misfit(value, found, path),
            None => return None,
        },
    };
    let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (schema, value) {
        (_, Value::Null) => None,
        (Schema::OneOf(choice), _) => {
            let misfits: Vec<_> = choice.items.iter().map(|item| misfit(value, item, path)).collect();
            let fits = misfits.iter().zip(&choice.items).any(|(misfit, item)| misfit.is_none() && !is_null(item));
            if fits { None } else { misfits.into_iter().flatten().next() }
        }
        (Schema::Object(object), Value::Object(fields)) if is(&object.schema_type, &Type::Object) => {
            fields.iter().find_map(|(key, value)| match (object.properties.get(key), &object.additional_properties) {
                (Some(schema), _) => misfit(value, schema, &inside(key)),
                (None, Some(others)) => match &**others {
                    AdditionalProperties::RefOr(schema) => misfit(value, schema, &inside(key)),
                    AdditionalProperties::FreeForm(_) => None,
                },
                (None, None) => None,
            })
        }
        (Schema::Object(object), _) if is(&object.schema_type, &Type::Object) => Some((path.into(), "an object")),
        (Schema::Object(object), Value::Object(_) | Value::Array(_)) if is(&object.schema_type, &Type::String) => {
            Some((path.into(), "a text"))
        }
        (Schema::Array(array), Value::Array(values)) => {
            let ArrayItems::RefOrSchema(items) = &array.items else { return None };
            values.iter().enumerate().find_map(|(at, value)| misfit(value, items, &format!("{path}[{at}]")))
        }
        _ => None,
    }
}

fn is(found: &SchemaType, wanted: &Type) -> bool {
    match found {
        SchemaType::Type(one) => one == wanted,
        SchemaType::Array(types) => types.contains(wanted),
        SchemaType::AnyValue => false,
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

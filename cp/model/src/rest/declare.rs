//! A configuration as one document: what there shall be.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::{CreateListener, CreateLoadBalancer, CreateTargetGroup, Inventory, TargetSpec};

/// `POST /v1/apply`, and `GET /v1/configuration`. What is not named in a resource has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// The whole inventory; absent: it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Target groups.
    #[serde(default)]
    pub target_groups: Vec<DeclaredTargetGroup>,
    /// Load balancers.
    #[serde(default)]
    pub load_balancers: Vec<DeclaredLoadBalancer>,
}

/// A target group: the fields of its creation, and `targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredTargetGroup {
    /// The group.
    pub group: CreateTargetGroup,
    /// All of its targets; absent: they stay as they are.
    pub targets: Option<Vec<TargetSpec>>,
}

/// A load balancer: the fields of its creation, and `listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredLoadBalancer {
    /// The load balancer.
    pub load_balancer: CreateLoadBalancer,
    /// All of its listeners; absent: they stay as they are.
    pub listeners: Option<Vec<CreateListener>>,
}

/// An object with one key taken out of it, which has a list.
fn split<'de, D, T, L>(deserializer: D, key: &str) -> Result<(T, Option<Vec<L>>), D::Error>
where
    D: Deserializer<'de>,
    T: for<'t> Deserialize<'t>,
    L: for<'l> Deserialize<'l>,
{
    let mut value = Value::deserialize(deserializer)?;
    let list = value.as_object_mut().and_then(|object| object.remove(key));
    let list =
        list.map(serde_json::from_value).transpose().map_err(|error| D::Error::custom(format!("{key}: {error}")))?;
    Ok((serde_json::from_value(value).map_err(D::Error::custom)?, list))
}

fn join<S: Serializer>(
    object: &impl Serialize,
    key: &str,
    list: Option<&impl Serialize>,
    to: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;
    let mut value = serde_json::to_value(object).map_err(S::Error::custom)?;
    if let (Some(object), Some(list)) = (value.as_object_mut(), list) {
        object.insert(key.to_owned(), serde_json::to_value(list).map_err(S::Error::custom)?);
    }
    value.serialize(to)
}

/// The schema of one type with a further property that is a list of another's.
fn with_list<T: ToSchema, L: ToSchema>(key: &str, what: &str) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    use utoipa::openapi::schema::{ArrayBuilder, Ref};
    use utoipa::openapi::{RefOr, Schema};
    let list = ArrayBuilder::new().items(Ref::from_schema_name(L::name())).description(Some(what));
    match T::schema() {
        RefOr::T(Schema::Object(mut object)) => {
            object.properties.insert(key.to_owned(), list.into());
            RefOr::T(Schema::Object(object))
        }
        other => other,
    }
}

macro_rules! declared {
    ($type:ident, $object:ident: $object_type:ident, $list:ident: $list_type:ident, $key:literal, $what:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let ($object, $list) = split(deserializer, $key)?;
                Ok(Self { $object, $list })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                join(&self.$object, $key, self.$list.as_ref(), serializer)
            }
        }

        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                with_list::<$object_type, $list_type>($key, $what)
            }
        }

        impl ToSchema for $type {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                use utoipa::PartialSchema;
                schemas.push(($object_type::name().into_owned(), $object_type::schema()));
                $object_type::schemas(schemas);
                schemas.push(($list_type::name().into_owned(), $list_type::schema()));
                $list_type::schemas(schemas);
            }
        }
    };
}

declared!(
    DeclaredTargetGroup,
    group: CreateTargetGroup,
    targets: TargetSpec,
    "targets",
    "All of its targets; absent: they stay as they are."
);
declared!(
    DeclaredLoadBalancer,
    load_balancer: CreateLoadBalancer,
    listeners: CreateListener,
    "listeners",
    "All of its listeners; absent: they stay as they are."
);

/// The query of `POST /v1/apply`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyQuery {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete load balancers and target groups that the document does not name.
    #[serde(default)]
    pub prune: bool,
}

/// The answer to `POST /v1/apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What differs from the document, in the order in which it is changed; empty: nothing.
    pub changes: Vec<PlannedChange>,
    /// Whether it was changed.
    pub applied: bool,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// `create`, `modify` or `delete`.
    pub action: String,
    /// What it is about, such as `target group web`.
    pub resource: String,
    /// What becomes of its fields, such as `port: 80 → 81`.
    pub details: Vec<String>,
}

//! Actions and conditions of rules in AWS's form: which members there are, and what is in each. One table for both ways in, JSON and
//! the query protocol, and for the way out.

use serde_json::{Map, Value};

use crate::error::{Error, Shown};

/// What stands in a place of a structure.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Any number of the same.
    List(&'static Shape),
    /// Members by name; each may be missing.
    Structure(&'static [(&'static str, Shape)]),
}

use Shape::{List, Number, Structure, Switch, Text};

const TEXTS: Shape = List(&Text);

/// An action of a rule.
pub const ACTION: Shape = Structure(&[
    ("Type", Text),
    ("TargetGroupArn", Text),
    ("Order", Number),
    (
        "ForwardConfig",
        Structure(&[
            ("TargetGroups", List(&Structure(&[("TargetGroupArn", Text), ("Weight", Number)]))),
            ("TargetGroupStickinessConfig", Structure(&[("Enabled", Switch), ("DurationSeconds", Number)])),
        ]),
    ),
    (
        "RedirectConfig",
        Structure(&[
            ("Protocol", Text),
            ("Port", Text),
            ("Host", Text),
            ("Path", Text),
            ("Query", Text),
            ("StatusCode", Text),
        ]),
    ),
    ("FixedResponseConfig", Structure(&[("MessageBody", Text), ("StatusCode", Text), ("ContentType", Text)])),
]);

/// A condition of a rule.
pub const CONDITION: Shape = Structure(&[
    ("Field", Text),
    ("Values", TEXTS),
    ("HostHeaderConfig", Structure(&[("Values", TEXTS), ("RegexValues", TEXTS)])),
    ("PathPatternConfig", Structure(&[("Values", TEXTS), ("RegexValues", TEXTS)])),
    ("HttpHeaderConfig", Structure(&[("HttpHeaderName", Text), ("Values", TEXTS), ("RegexValues", TEXTS)])),
    ("QueryStringConfig", Structure(&[("Values", List(&Structure(&[("Key", Text), ("Value", Text)])))])),
    ("HttpRequestMethodConfig", Structure(&[("Values", TEXTS)])),
    ("SourceIpConfig", Structure(&[("Values", TEXTS)])),
]);

impl Shape {
    /// Refuses what is not of the shape.
    ///
    /// # Errors
    /// [`crate::Code::ValidationError`] names the place and what belongs there.
    pub fn check(&self, field: &str, value: &Value) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::invalid(field, format!("{field} is not {what}")));
        match (self, value) {
            (Text, Value::String(_)) | (Switch, Value::Bool(_)) => Ok(()),
            (Number, Value::Number(number)) if number.is_i64() => Ok(()),
            (List(of), Value::Array(values)) => {
                values.iter().enumerate().try_for_each(|(at, value)| of.check(&format!("{field}[{at}]"), value))
            }
            (Structure(members), Value::Object(object)) => object.iter().try_for_each(|(name, value)| {
                let place = format!("{field}.{name}");
                match members.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => shape.check(&place, value),
                    None => {
                        let known: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
                        let message = format!("{} is not known here; allowed are {}", Shown(name), known.join(", "));
                        Err(Error::invalid(place, message))
                    }
                }
            }),
            (Text, _) => wrong("a string"),
            (Number, _) => wrong("a whole number"),
            (Switch, _) => wrong("true or false"),
            (List(_), _) => wrong("a list"),
            (Structure(_), _) => wrong("an object"),
        }
    }
}

/// The text in a place of an object; empty if there is none.
pub(super) fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// An object of these members.
pub(super) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

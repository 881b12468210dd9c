//! When a rule of an application load balancer applies: conditions in AWS's form, checked and completed.

use serde_json::{Value, json};

use super::shape::{CONDITION, text};
use crate::error::{Error, Shown};

/// The fields of conditions, the member that has each one's values, and whether `Values` may have them instead.
const FIELDS: [(&str, &str, bool); 6] = [
    ("host-header", "HostHeaderConfig", true),
    ("path-pattern", "PathPatternConfig", true),
    ("http-header", "HttpHeaderConfig", false),
    ("query-string", "QueryStringConfig", false),
    ("http-request-method", "HttpRequestMethodConfig", true),
    ("source-ip", "SourceIpConfig", true),
];

/// Values of all conditions of a rule at the most.
const VALUES_MAX: usize = 5;
/// Characters of a value at the most.
const VALUE_CHARS_MAX: usize = 128;

/// Checks conditions, and completes them as AWS shows them: values stand in both places where they may be given.
pub(super) fn conditions(conditions: &[Value]) -> Result<Vec<Value>, Error> {
    if conditions.is_empty() {
        return Err(Error::invalid("conditions", "A condition must be specified"));
    }
    let mut complete = Vec::new();
    let mut values = 0;
    for (at, condition) in conditions.iter().enumerate() {
        let field = format!("conditions[{at}]");
        CONDITION.check(&field, condition)?;
        let (condition, count) = one(&field, condition)?;
        values += count;
        let single = |name: &str| !matches!(name, "http-header" | "query-string");
        let name = text(&condition, "/Field").to_owned();
        if single(&name) && complete.iter().any(|other: &Value| text(other, "/Field") == name) {
            return Err(Error::invalid(field, format!("A rule can only have one '{name}' condition")));
        }
        complete.push(condition);
    }
    if values > VALUES_MAX {
        let message = format!("the conditions of a rule have {VALUES_MAX} values at the most; these have {values}");
        return Err(Error::invalid("conditions", message));
    }
    Ok(complete)
}

fn one(field: &str, condition: &Value) -> Result<(Value, usize), Error> {
    let name = text(condition, "/Field");
    let Some((name, config, plain)) = FIELDS.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
        let message = format!("{} is not a condition's field; allowed are {}", Shown(name), known.join(", "));
        return Err(Error::invalid(format!("{field}.Field"), message));
    };
    let own = condition.get(config).cloned();
    let listed = condition.get("Values").filter(|values| values.as_array().is_some_and(|values| !values.is_empty()));
    let foreign = FIELDS.iter().any(|(_, other, _)| other != config && condition.get(other).is_some());
    if own.is_some() && listed.is_some() || foreign || listed.is_some() && !plain {
        let message = format!("give the values of a {name} condition in {config} and nowhere else");
        return Err(Error::invalid(field, message));
    }
    let config_value = own.unwrap_or_else(|| json!({"Values": listed.cloned().unwrap_or_default()}));
    let listed = |member: &str| config_value.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let (plain_values, expressions) = (listed("Values"), listed("RegexValues"));
    if !plain_values.is_empty() && !expressions.is_empty() {
        return Err(Error::invalid(field, format!("the {name} condition has either Values or RegexValues")));
    }
    let values = [plain_values, expressions].concat();
    if values.is_empty() {
        return Err(Error::invalid(field, format!("the {name} condition has no values")));
    }
    for value in &values {
        let part = if value.is_object() { text(value, "/Value") } else { value.as_str().unwrap_or_default() };
        let bad = match *name {
            "source-ip" => part.parse::<ipnet::IpNet>().is_err(),
            "http-request-method" => !part.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_'),
            _ => false,
        };
        if bad || part.is_empty() || part.chars().count() > VALUE_CHARS_MAX {
            let hint = match *name {
                "source-ip" => "a network such as 192.0.2.0/24",
                "http-request-method" => "a method in capital letters",
                _ => "1 to 128 characters",
            };
            return Err(Error::invalid(field, format!("{} is not a value of {name}: it is {hint}", Shown(part))));
        }
    }
    let mut complete = json!({"Field": name, *config: config_value});
    if *name == "http-header" && text(&complete, "/HttpHeaderConfig/HttpHeaderName").is_empty() {
        return Err(Error::invalid(format!("{field}.HttpHeaderConfig.HttpHeaderName"), "the header's name is missing"));
    }
    if *plain && complete.pointer(&format!("/{config}/RegexValues")).is_none() {
        complete["Values"] = Value::Array(values.clone());
    }
    Ok((complete, values.len()))
}

//! What requests give, checked as AWS checks it: required members, enumerations, ranges, tags. Errors are worded as AWS's.

use std::str::FromStr;

use leat_model::rest::{Protocol, Tags};
use leat_model::tags::from_pairs;
use leat_model::{Code, Error};

use crate::operation::Reply;
use crate::params::{Params, lower_camel};
use crate::xml::Element;

/// What AWS calls protocols; `None`: of those that there are not here.
pub(super) const PROTOCOLS: [(&str, Option<Protocol>); 9] = [
    ("HTTP", Some(Protocol::Http)),
    ("HTTPS", Some(Protocol::Https)),
    ("TCP", Some(Protocol::Tcp)),
    ("TLS", Some(Protocol::Tls)),
    ("UDP", Some(Protocol::Udp)),
    ("TCP_UDP", Some(Protocol::TcpUdp)),
    ("GENEVE", None),
    ("QUIC", None),
    ("TCP_QUIC", None),
];

/// What an operation of the query protocol says.
pub(super) type Answer = Result<Reply<Vec<Element>>, Error>;

/// A value that must be given, and not be empty.
pub(super) fn required<'p>(params: &'p Params, key: &str) -> Result<&'p str, Error> {
    params.get(key).filter(|value| !value.is_empty()).ok_or_else(|| null(params, key))
}

/// The error of a member that is not given.
pub(super) fn null(params: &Params, key: &str) -> Error {
    constraint(params, key, None, "Member must not be null")
}

/// A list that must be given, and have a member.
pub(super) fn required_list(params: &Params, key: &str) -> Result<Vec<String>, Error> {
    let list = params.list(key)?;
    if list.is_empty() { Err(null(params, key)) } else { Ok(list) }
}

/// A list of structures that must be given, and have a member.
pub(super) fn required_structures(params: &Params, key: &str) -> Result<Vec<Params>, Error> {
    let list = params.structures(key)?;
    if list.is_empty() { Err(null(params, key)) } else { Ok(list) }
}

/// One of a few words; `None` if it is not given.
pub(super) fn word<T: Copy>(params: &Params, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Error> {
    let Some(given) = params.get(key) else { return Ok(None) };
    let known = words.iter().find(|(word, _)| *word == given);
    known.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let why = format!("Member must satisfy enum value set: [{}]", allowed.join(", "));
        constraint(params, key, Some(given), &why)
    })
}

/// A whole number in a range, both ends included; `None` if it is not given.
pub(super) fn number(params: &Params, key: &str, min: i64, max: i64) -> Result<Option<i64>, Error> {
    let Some(number) = params.number(key)? else { return Ok(None) };
    let value = number.to_string();
    if number < min {
        let why = format!("Member must have value greater than or equal to {min}");
        return Err(constraint(params, key, Some(&value), &why));
    }
    if number > max {
        let why = format!("Member must have value less than or equal to {max}");
        return Err(constraint(params, key, Some(&value), &why));
    }
    Ok(Some(number))
}

/// Refuses what is given but is not there, rather than pass over it.
pub(super) fn absent(params: &Params, key: &str, why: &str) -> Result<(), Error> {
    if params.has(key) {
        let name = params.name(key);
        return Err(Error::at(Code::InvalidConfigurationRequest, name.clone(), format!("{name}: {why}")));
    }
    Ok(())
}

/// Tags that a new resource is given.
pub(super) fn tags(params: &Params) -> Result<Tags, Error> {
    from_pairs(pairs(params, "Tags")?)
}

/// The members of a list of keys and values; a value that is not given is empty.
pub(super) fn pairs(params: &Params, key: &str) -> Result<Vec<(String, String)>, Error> {
    let pair = |member: &Params| {
        let value = member.get("Value").unwrap_or_default();
        Ok((required(member, "Key")?.to_owned(), value.to_owned()))
    };
    params.structures(key)?.iter().map(pair).collect()
}

/// The error of a value that breaks a constraint of the API's model.
pub(super) fn constraint(params: &Params, key: &str, value: Option<&str>, why: &str) -> Error {
    let value = value.map_or_else(|| "null".to_owned(), |value| format!("'{}'", printable(value)));
    let name = params.name(key);
    let message =
        format!("1 validation error detected: Value {value} at '{}' failed to satisfy constraint: {why}", path(&name));
    Error::at(Code::ValidationError, name, message)
}

/// `Targets.member.1.Id` → `targets.1.member.id`: a parameter as AWS's errors call it.
fn path(name: &str) -> String {
    let mut parts: Vec<String> = name.split('.').map(lower_camel).collect();
    for at in 1..parts.len() {
        if parts[at - 1] == "member" && usize::from_str(&parts[at]).is_ok() {
            parts.swap(at - 1, at);
        }
    }
    parts.join(".")
}

/// What somebody else wrote, made fit for a message in quotation marks.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str) -> Params {
        Params::new(crate::form::decode(form.as_bytes()).expect("a form"))
    }

    #[test]
    fn errors_are_worded_as_awss() {
        let params = params("Scheme=public&PageSize=0&Targets.member.1.Port=80&Big=401");
        let text = |error: Error| error.message;
        let words = [("internet-facing", 1), ("internal", 2)];
        assert_eq!(
            text(word(&params, "Scheme", &words).expect_err("no such word")),
            "1 validation error detected: Value 'public' at 'scheme' failed to satisfy constraint: \
             Member must satisfy enum value set: [internet-facing, internal]"
        );
        assert_eq!(
            text(number(&params, "PageSize", 1, 400).expect_err("too small")),
            "1 validation error detected: Value '0' at 'pageSize' failed to satisfy constraint: \
             Member must have value greater than or equal to 1"
        );
        assert!(text(number(&params, "Big", 1, 400).expect_err("too big")).ends_with("less than or equal to 400"));
        let target = &params.structures("Targets").expect("a list")[0];
        assert_eq!(
            text(required(target, "Id").expect_err("missing")),
            "1 validation error detected: Value null at 'targets.1.member.id' failed to satisfy constraint: \
             Member must not be null"
        );
    }

    /// req: TAG-07
    #[test]
    fn a_key_is_given_once() {
        let good = tags(&params("Tags.member.1.Key=a&Tags.member.2.Key=b&Tags.member.2.Value=x")).expect("good");
        assert_eq!(good, [("a".to_owned(), String::new()), ("b".to_owned(), "x".to_owned())].into());
        let twice = tags(&params("Tags.member.1.Key=a&Tags.member.2.Key=a")).expect_err("twice");
        assert_eq!(twice.code, Code::DuplicateTagKeys);
    }
}

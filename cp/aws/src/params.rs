//! Parameters of the query protocol: `Name`, `Name.Field`, `Name.member.N`, `Name.member.N.Field` and, of EC2, `Name.N`.
//!
//! Every key that an operation does not read is an unknown parameter; the clients send what they know, so it is passed over as AWS
//! does. What is read is checked, and errors name the parameter as the client wrote it.

use std::collections::BTreeMap;

use leat_model::error::Shown;
use leat_model::{Code, Error};
use serde_json::{Map, Value};

/// The parameters of a request, or a part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// What stands before the keys in the request, with its dot.
    prefix: String,
    pairs: BTreeMap<String, String>,
}

/// Elements of a list at the most.
const LIST_MAX: usize = 4096;

impl Params {
    /// The parameters of a decoded form. Of a key that is given twice the last value counts.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { prefix: String::new(), pairs: pairs.into_iter().collect() }
    }

    /// The parameter's name as the client wrote it.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// A value; `None` if it is not given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Whether something is given: a value that is not empty, a list or a structure.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_empty()) || {
            let start = format!("{key}.");
            self.pairs.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
        }
    }

    /// A value that must be given, and not be empty.
    ///
    /// # Errors
    /// [`Code::ValidationError`].
    pub fn required(&self, key: &str) -> Result<&str, Error> {
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(|| self.missing(key))
    }

    /// The error of a parameter that is not given.
    pub fn missing(&self, key: &str) -> Error {
        let name = self.name(key);
        Error::at(Code::ValidationError, name.clone(), format!("The request must contain the parameter {name}"))
    }

    /// A whole number; `None` if it is not given.
    ///
    /// # Errors
    /// [`Code::ValidationError`]: it is no whole number.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Error> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Error::invalid(self.name(key), format!("{} of {} is not a whole number", Shown(text), self.name(key)))
            })
        };
        self.get(key).map(parse).transpose()
    }

    /// `true` or `false`; `None` if it is not given.
    ///
    /// # Errors
    /// [`Code::ValidationError`]: it is neither.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                let message = format!("{} of {} is neither true nor false", Shown(other), self.name(key));
                Err(Error::invalid(self.name(key), message))
            }
        }
    }

    /// The values `Key.member.1`, `Key.member.2`, …; empty if there are none.
    ///
    /// # Errors
    /// [`Code::ValidationError`]: a list is too long or has an index that is no number.
    pub fn list(&self, key: &str) -> Result<Vec<String>, Error> {
        let parts = self.parts(&format!("{key}.member."))?;
        Ok(parts.into_values().filter_map(|part| part.pairs.get("").cloned()).collect())
    }

    /// The structures `Key.member.N.…`, in the order of N.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn structures(&self, key: &str) -> Result<Vec<Self>, Error> {
        Ok(self.parts(&format!("{key}.member."))?.into_values().collect())
    }

    /// The values `Key.N` of EC2's lists.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn flat_list(&self, key: &str) -> Result<Vec<String>, Error> {
        let parts = self.parts(&format!("{key}."))?;
        Ok(parts.into_values().filter_map(|part| part.pairs.get("").cloned()).collect())
    }

    /// The structures `Key.N.…` of EC2's lists.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn flat_structures(&self, key: &str) -> Result<Vec<Self>, Error> {
        Ok(self.parts(&format!("{key}."))?.into_values().collect())
    }

    /// The structure `Key.…`; `None` if nothing of it is given.
    pub fn structure(&self, key: &str) -> Option<Self> {
        let start = format!("{key}.");
        let strip = |(name, value): (&String, &String)| Some((name.strip_prefix(&start)?.to_owned(), value.clone()));
        let pairs: BTreeMap<_, _> = self.pairs.iter().filter_map(strip).collect();
        (!pairs.is_empty()).then(|| Self { prefix: self.name(&start), pairs })
    }

    fn parts(&self, start: &str) -> Result<BTreeMap<usize, Self>, Error> {
        let mut parts: BTreeMap<usize, Self> = BTreeMap::new();
        for (name, value) in self.pairs.range(start.to_owned()..).take_while(|(name, _)| name.starts_with(start)) {
            let rest = &name[start.len()..];
            let (index, field) = rest.split_once('.').unwrap_or((rest, ""));
            let number: usize = index.parse().map_err(|_| {
                let message = format!("{} is not the number of an element of a list", Shown(index));
                Error::invalid(self.name(name), message)
            })?;
            let prefix = || self.name(&format!("{start}{index}."));
            let part = parts.entry(number).or_insert_with(|| Self { prefix: prefix(), pairs: BTreeMap::new() });
            part.pairs.insert(field.to_owned(), value.clone());
            if parts.len() > LIST_MAX {
                let name = start.split('.').next().unwrap_or(start);
                return Err(Error::invalid(self.name(name), format!("{name} has more than {LIST_MAX} elements")));
            }
        }
        Ok(parts)
    }

    /// As JSON, keys in lower camel case and lists as arrays: what the audit log keeps.
    pub fn to_json(&self) -> Value {
        let mut root = Map::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| !matches!(name.as_str(), "Action" | "Version")) {
            insert(&mut root, &name.split('.').collect::<Vec<_>>(), value);
        }
        Value::Object(root)
    }
}

fn insert(map: &mut Map<String, Value>, path: &[&str], value: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    let key = lower_camel(first);
    match rest {
        [] => drop(map.insert(key, Value::String(value.to_owned()))),
        ["member", _, rest @ ..] => {
            let list = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return };
            if rest.is_empty() {
                list.push(Value::String(value.to_owned()));
            } else {
                // Fields of one element are neighbours only where indices sort as texts: the last element that lacks the field is it.
                let field = lower_camel(rest[0]);
                let lacks = |element: &Value| element.as_object().is_some_and(|object| !object.contains_key(&field));
                if !list.last().is_some_and(lacks) {
                    list.push(Value::Object(Map::new()));
                }
                if let Some(Value::Object(object)) = list.last_mut() {
                    insert(object, rest, value);
                }
            }
        }
        rest => {
            if let Value::Object(object) = map.entry(key).or_insert_with(|| Value::Object(Map::new())) {
                insert(object, rest, value);
            }
        }
    }
}

/// `LoadBalancerArn` → `loadBalancerArn`.
pub fn lower_camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(form: &str) -> Params {
        Params::new(crate::form::decode(form.as_bytes()).expect("a form"))
    }

    #[test]
    fn lists_and_structures_are_found() {
        let form =
            "Names.member.10=b&Names.member.9=a&Targets.member.1.Id=x&Targets.member.1.Port=80&Matcher.HttpCode=200";
        let params = params(form);
        assert_eq!(params.list("Names"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(params.list("Arns"), Ok(Vec::new()));
        let targets = params.structures("Targets").expect("a list");
        assert_eq!((targets.len(), targets[0].get("Id"), targets[0].number("Port")), (1, Some("x"), Ok(Some(80))));
        assert_eq!(params.structure("Matcher").expect("it").get("HttpCode"), Some("200"));
        assert_eq!(params.structure("Other"), None);
    }

    #[test]
    fn errors_name_the_parameter_as_it_was_written() {
        let params = params("Targets.member.3.Port=x&Names.member.a=1&Flag=yes");
        let error = params.structures("Targets").expect("a list")[0].number("Port").expect_err("no number");
        assert_eq!(error.field.as_deref(), Some("Targets.member.3.Port"));
        assert!(params.list("Names").is_err());
        assert!(params.switch("Flag").is_err());
        assert_eq!(
            params.required("Name").expect_err("missing").message,
            "The request must contain the parameter Name"
        );
    }
}

//! Attributes of target groups, load balancers and listeners: one table for each makes validation, defaults, warnings and
//! documentation. A key that is in no table is refused, never silently accepted.
//!
//! What is kept of a resource is what was set and differs from what counted before; [`Subject::all`] is what counts.

use crate::error::{Code, Error, Shown};
use crate::rest::{self, Protocol, Scheme, TargetType};

mod application;
mod balancer;
mod group;
mod listener;
#[cfg(test)]
mod tests;
pub use application::*;
pub use balancer::*;
pub use group::*;
pub use listener::*;

/// What values an attribute may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole seconds in a range, both ends included.
    Seconds(u32, u32),
    /// Whole numbers in a range, both ends included.
    Count(u32, u32),
    /// `off`, or a whole number from 1 to this.
    CountOrOff(u32),
    /// `off`, or a whole percentage from 1 to 100.
    Percentage,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Any printable text of up to this many characters.
    Text(usize),
}

/// What has attributes: their defaults, and which there are, depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A target group.
    TargetGroup(Protocol, TargetType),
    /// A network load balancer.
    LoadBalancer(Scheme),
    /// A listener of one.
    Listener(Protocol),
    /// An application load balancer.
    Application,
    /// A listener of one.
    ApplicationListener(Protocol),
}

/// An attribute.
#[derive(Debug)]
pub struct Attribute {
    /// The key.
    pub key: &'static str,
    /// The values.
    pub kind: Kind,
    /// The value where none was set; none: such a resource has no such attribute.
    pub default: fn(Subject) -> Option<&'static str>,
    /// The default in words.
    pub default_doc: &'static str,
    /// Why a value that is in range does not go with such a resource.
    pub refusal: fn(Subject, &str) -> Option<&'static str>,
    /// Of attributes that do not act yet: the value that says what is done, whatever is set.
    pub done: Option<&'static str>,
    /// When a change takes effect and what it does.
    pub doc: &'static str,
}

/// Nothing is refused that is in range.
const ANY: fn(Subject, &str) -> Option<&'static str> = |_, _| None;

impl Attribute {
    /// The allowed values in words.
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Seconds(min, max) => format!("{min} to {max} seconds"),
            Kind::Count(min, max) => format!("{min} to {max}"),
            Kind::CountOrOff(max) => format!("`off` or 1 to {max}"),
            Kind::Percentage => "`off` or 1 to 100".into(),
            Kind::Switch => "`true` or `false`".into(),
            Kind::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Kind::Text(max) => format!("up to {max} characters"),
        }
    }

    fn accepts(&self, value: &str) -> bool {
        // One way to write a number, so that equal settings are equal texts.
        let within = |min, max| value.parse().is_ok_and(|n: u32| (min..=max).contains(&n) && n.to_string() == value);
        match self.kind {
            Kind::Seconds(min, max) | Kind::Count(min, max) => within(min, max),
            Kind::CountOrOff(max) => value == "off" || within(1, max),
            Kind::Percentage => value == "off" || within(1, 100),
            Kind::Switch => matches!(value, "true" | "false"),
            Kind::Words(words) => words.contains(&value),
            Kind::Text(max) => value.chars().count() <= max && !value.chars().any(char::is_control),
        }
    }
}

impl Subject {
    /// The attributes of such resources.
    pub const fn table(self) -> &'static [Attribute] {
        match self {
            Self::TargetGroup(..) => TARGET_GROUPS,
            Self::LoadBalancer(_) => LOAD_BALANCERS,
            Self::Listener(_) => LISTENERS,
            Self::Application => APPLICATIONS,
            Self::ApplicationListener(_) => APPLICATION_LISTENERS,
        }
    }

    fn whose(self) -> String {
        match self {
            Self::TargetGroup(protocol, _) => format!("{protocol} target groups"),
            Self::LoadBalancer(_) => "load balancers of type network".into(),
            Self::Application => "load balancers of type application".into(),
            Self::Listener(protocol) | Self::ApplicationListener(protocol) => format!("{protocol} listeners"),
        }
    }

    /// The attribute of a key, if such resources have it.
    pub fn find(self, key: &str) -> Option<&'static Attribute> {
        self.table().iter().find(|attribute| attribute.key == key && (attribute.default)(self).is_some())
    }

    /// Checks a setting by itself.
    ///
    /// # Errors
    /// [`Code::ValidationError`] for an unknown key or a value out of range, [`Code::InvalidConfigurationRequest`] for a value
    /// that does not go with such a resource.
    pub fn check(self, key: &str, value: &str) -> Result<(), Error> {
        let field = format!("attributes[{key}]");
        let Some(attribute) = self.find(key) else {
            let with_default = |attribute: &&Attribute| (attribute.default)(self).is_some();
            let known: Vec<&str> = self.table().iter().filter(with_default).map(|attribute| attribute.key).collect();
            let elsewhere = self.table().iter().any(|attribute| attribute.key == key);
            let message = format!(
                "attribute key '{}' is not {}; the attributes of {} are {}",
                Shown(key).to_string().trim_matches('"'),
                if elsewhere { "supported" } else { "recognized" },
                self.whose(),
                if known.is_empty() { "none".into() } else { known.join(", ") }
            );
            return Err(Error::invalid("attributes", message));
        };
        if !attribute.accepts(value) {
            let message = format!("{} is not a value of {key}; allowed are {}", Shown(value), attribute.range());
            return Err(Error::invalid(field, message.replace('`', "")));
        }
        match (attribute.refusal)(self, value) {
            Some(why) => Err(Error::at(Code::InvalidConfigurationRequest, field, why)),
            None => Ok(()),
        }
    }

    /// The value that counts: the one set, or the default; empty if such resources have no such attribute.
    pub fn value<'a>(self, set: &'a rest::Attributes, key: &str) -> &'a str {
        match (self.find(key), set.get(key)) {
            (Some(_), Some(value)) => value,
            (Some(attribute), None) => (attribute.default)(self).unwrap_or_default(),
            (None, _) => "",
        }
    }

    /// All attributes with the values that count.
    pub fn all(self, set: &rest::Attributes) -> rest::Attributes {
        let known = self.table().iter().filter(|attribute| (attribute.default)(self).is_some());
        known.map(|attribute| (attribute.key.into(), self.value(set, attribute.key).into())).collect()
    }

    /// What is to be kept after a change of some attributes; the others keep their values (LB-15).
    ///
    /// # Errors
    /// As [`Self::check`], and [`Code::InvalidConfigurationRequest`] if the values that would count do not go together.
    pub fn changed(self, set: &rest::Attributes, changes: &rest::Attributes) -> Result<rest::Attributes, Error> {
        let mut new = set.clone();
        for (key, value) in changes {
            self.check(key, value)?;
            if self.value(set, key) != value {
                new.insert(key.clone(), value.clone());
            }
        }
        match self {
            Self::TargetGroup(..) => group::check_together(self, &new)?,
            Self::LoadBalancer(_) => balancer::check_together(self, &new)?,
            Self::Listener(_) | Self::Application | Self::ApplicationListener(_) => {}
        }
        Ok(new)
    }

    /// What was set to a value that says something else than what is done: key, value, what is done.
    pub fn idle<'a>(
        self,
        set: &'a rest::Attributes,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'static Attribute)> + 'a {
        set.iter().filter_map(move |(key, value)| {
            let attribute = self.find(key)?;
            attribute.done.filter(|done| done != value).map(|_| (key.as_str(), value.as_str(), attribute))
        })
    }
}

/// All attributes of a target group with the values that count.
pub fn all(set: &rest::Attributes, protocol: Protocol, target_type: TargetType) -> rest::Attributes {
    Subject::TargetGroup(protocol, target_type).all(set)
}

/// A table as Markdown, for `docs/api.md`.
pub fn markdown(table: &[Attribute]) -> String {
    let mut text = String::from("| key | values | default | what it does |\n|---|---|---|---|\n");
    for a in table {
        let kept = if a.done.is_some() { "Kept and shown only. " } else { "" };
        text += &format!("| `{}` | {} | {} | {kept}{} |\n", a.key, a.range(), a.default_doc, a.doc);
    }
    text
}

//! Tags of resources (TAG). They are put on at creation or later, by ARN, and change nothing but themselves.

use std::collections::BTreeSet;

use crate::error::{Code, Error, Shown};
use crate::ids;
use crate::model::{Effects, Kind, Model, RecordKey};
use crate::rest::Tags;

/// Longest key and value, in characters. AWS's guide says 127 and 255, its API 128 and 256; what the API takes is taken.
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;
/// What keys and values of AWS's own tags begin with.
const RESERVED: &str = "aws:";

/// Tags from pairs as AWS's API has them.
///
/// # Errors
/// [`Code::DuplicateTagKeys`]: a key is there twice.
pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Tags, Error> {
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if tags.contains_key(&key) {
            let message = format!("the tag key {} is given twice; give each key once", Shown(&key));
            return Err(Error::at(Code::DuplicateTagKeys, "tags", message));
        }
        tags.insert(key, value);
    }
    Ok(tags)
}

fn is_reserved(text: &str) -> bool {
    text.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

fn check_text(what: &str, text: &str, min: usize, max: usize) -> Result<(), Error> {
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c);
    let wrong = if is_reserved(text) {
        "begins with \"aws:\", which is reserved"
    } else if text.chars().count() < min {
        "is empty"
    } else if text.chars().count() > max {
        "is too long"
    } else if text.starts_with(' ') || text.ends_with(' ') {
        "begins or ends with a space"
    } else if !text.chars().all(allowed) {
        "has a character that is not allowed"
    } else {
        return Ok(());
    };
    let message = format!(
        "the tag {what} {} {wrong}; allowed are {min} to {max} letters, digits, spaces and + - = . _ : / @, no space first or last",
        Shown(text)
    );
    Err(Error::invalid("tags", message))
}

/// Checks tags that somebody wants to put on a resource.
///
/// # Errors
/// [`Code::ValidationError`]: a key or value is not allowed.
fn check_texts(tags: &Tags) -> Result<(), Error> {
    tags.iter().try_for_each(|(key, value)| {
        check_text("key", key, 1, KEY_CHARS_MAX)?;
        check_text("value", value, 0, VALUE_CHARS_MAX)
    })
}

impl Model {
    /// Checks the tags of a new resource, of whatever kind.
    ///
    /// # Errors
    /// [`Code::ValidationError`], [`Code::TooManyTags`].
    pub(crate) fn check_tags(&self, tags: &Tags) -> Result<(), Error> {
        check_texts(tags)?;
        self.limits.tags(tags.len())
    }

    /// The tags of a resource, by ARN.
    ///
    /// # Errors
    /// The code that says that there is no resource of this kind.
    pub fn tags_of(&self, arn: &str) -> Result<&Tags, Error> {
        match self.tagged(arn)? {
            RecordKey::LoadBalancer(id) => self.load_balancers.get(&id).map(|lb| &lb.tags),
            RecordKey::Listener(lb, port) => self.listeners.get(&(lb, port)).map(|listener| &listener.tags),
            RecordKey::TargetGroup(id) => self.target_groups.get(&id).map(|group| &group.tags),
            RecordKey::Object(Kind::Certificate, arn) => self.certificates.get(&arn).map(|it| &it.tags),
            RecordKey::Object(kind, id) => self.application_tags(kind, &id),
            _ => None,
        }
        .ok_or_else(|| not_found(arn))
    }

    /// Which record has the tags of an ARN.
    fn tagged(&self, arn: &str) -> Result<RecordKey, Error> {
        if !arn.starts_with("arn:") {
            let message = format!("{} is not an ARN; tags are put on resources by their ARNs", Shown(arn));
            return Err(Error::invalid("resources", message));
        }
        let site = &self.site;
        if let Some(lb) = self.load_balancers.values().find(|lb| ids::load_balancer_arn(site, &lb.name, lb.id) == arn) {
            return Ok(RecordKey::LoadBalancer(lb.id));
        }
        if let Some(listener) = self.listeners.values().find(|listener| self.listener_arn(listener) == arn) {
            return Ok(RecordKey::Listener(listener.load_balancer, listener.port));
        }
        let group = self.target_groups.values().find(|group| ids::target_group_arn(site, &group.name, group.id) == arn);
        if let Some(group) = group {
            return Ok(RecordKey::TargetGroup(group.id));
        }
        if self.certificates.contains_key(arn) {
            return Ok(RecordKey::Object(Kind::Certificate, arn.to_owned()));
        }
        let application = self.application(arn).map(|lb| (Kind::Application, lb.id));
        let listener = || self.application_listener(arn).map(|listener| (Kind::ApplicationListener, listener.id));
        let rule = || self.rule(arn).map(|rule| (Kind::Rule, rule.id));
        let found = application.or_else(listener).or_else(rule).ok_or_else(|| not_found(arn))?;
        Ok(RecordKey::Object(found.0, found.1.to_string()))
    }

    fn application_tags(&self, kind: Kind, id: &str) -> Option<&Tags> {
        let objects = &self.applications;
        match kind {
            Kind::Application => objects.balancers.get(id).map(|lb| &lb.tags),
            Kind::ApplicationListener => objects.listeners.get(id).map(|listener| &listener.tags),
            Kind::Rule => objects.rules.get(id).map(|rule| &rule.tags),
            _ => None,
        }
    }

    fn tags_mut(&mut self, key: &RecordKey) -> Option<&mut Tags> {
        match *key {
            RecordKey::LoadBalancer(id) => self.load_balancers.get_mut(&id).map(|lb| &mut lb.tags),
            RecordKey::Listener(lb, port) => self.listeners.get_mut(&(lb, port)).map(|listener| &mut listener.tags),
            RecordKey::TargetGroup(id) => self.target_groups.get_mut(&id).map(|group| &mut group.tags),
            RecordKey::Object(Kind::Certificate, ref arn) => self.certificates.get_mut(arn).map(|it| &mut it.tags),
            RecordKey::Object(kind, ref id) => {
                let objects = &mut self.applications;
                match kind {
                    Kind::Application => objects.balancers.get_mut(id).map(|lb| &mut lb.tags),
                    Kind::ApplicationListener => objects.listeners.get_mut(id).map(|listener| &mut listener.tags),
                    Kind::Rule => objects.rules.get_mut(id).map(|rule| &mut rule.tags),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Puts tags on resources, or changes their values.
    pub(crate) fn add_tags(
        &mut self,
        fx: &mut Effects,
        resources: &[String],
        tags: &[(String, String)],
    ) -> Result<(), Error> {
        let tags = from_pairs(tags.iter().cloned())?;
        check_texts(&tags)?;
        let limits = self.limits;
        for arn in resources {
            let key = self.tagged(arn)?;
            let Some(old) = self.tags_mut(&key) else { continue };
            let mut new = old.clone();
            new.extend(tags.clone());
            if new != *old {
                // Tags of AWS's own do not count (TAG-05).
                limits.tags(new.keys().filter(|key| !is_reserved(key)).count())?;
                *old = new;
                fx.touch(key);
            }
        }
        Ok(())
    }

    /// Removes tags; those that are not there are passed over.
    pub(crate) fn remove_tags(&mut self, fx: &mut Effects, resources: &[String], keys: &[String]) -> Result<(), Error> {
        let keys: BTreeSet<&String> = keys.iter().collect();
        if let Some(key) = keys.iter().find(|key| is_reserved(key)) {
            let message = format!("the tag key {} begins with \"aws:\", which is reserved", Shown(key));
            return Err(Error::invalid("keys", message));
        }
        for arn in resources {
            let record = self.tagged(arn)?;
            let Some(tags) = self.tags_mut(&record) else { continue };
            let before = tags.len();
            tags.retain(|key, _| !keys.contains(key));
            if tags.len() != before {
                fx.touch(record);
            }
        }
        Ok(())
    }
}

/// What an ARN that names nothing would have named says which code it is.
fn not_found(arn: &str) -> Error {
    let kind = arn.splitn(6, ':').nth(5).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (code, what) = match kind {
        "loadbalancer" => (Code::LoadBalancerNotFound, "load balancer"),
        "listener" => (Code::ListenerNotFound, "listener"),
        "listener-rule" => (Code::RuleNotFound, "rule"),
        "targetgroup" => (Code::TargetGroupNotFound, "target group"),
        "certificate" | "server-certificate" => (Code::CertificateNotFound, "certificate"),
        "truststore" => (Code::TrustStoreNotFound, "trust store"),
        _ => (Code::ValidationError, "resource with tags"),
    };
    Error::at(code, "resources", format!("there is no {what} {}", Shown(arn)))
}

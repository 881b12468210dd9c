//! Which objects a `Describe…` call is about: ids, filters, pages.

use leat_model::error::Shown;
use leat_model::rest::Labels;
use leat_model::{Code, Error};

use super::Answer;
use crate::operation::Reply;
use crate::paging::{Order, page};
use crate::params::Params;
use crate::xml::Element;

/// Something that can be described.
pub(super) trait Object {
    /// Names of the filters besides those of tags.
    const FILTERS: &'static [&'static str];

    /// Its id, unique among its kind.
    fn id(&self) -> String;

    /// What it has under the name of a filter: any of these may match.
    fn values(&self, filter: &str) -> Vec<String>;

    /// Its tags.
    fn labels(&self) -> &Labels;

    /// Its elements.
    fn show(&self) -> Vec<Element>;
}

/// The words of a kind of objects.
pub(super) struct Kind {
    /// The element that they are in.
    pub set: &'static str,
    /// The list of ids in requests, without its number.
    pub ids: &'static str,
    /// What an id is called in the message that there is none.
    pub name: &'static str,
    /// The code of this message.
    pub code: Code,
}

/// Objects of a page at the most.
const PAGE_MAX: i64 = 1000;

/// Answers with the objects that are wanted.
pub(super) fn answer<O: Object>(params: &Params, kind: &Kind, objects: impl Iterator<Item = O>) -> Answer {
    let (objects, token) = select(params, kind, objects)?;
    let mut content = vec![Element::set(kind.set, objects.iter().map(Object::show))];
    content.extend(token.map(|token| Element::text("nextToken", token)));
    Ok(Reply::Answer(content))
}

/// The objects that are wanted, and the token of the next page.
pub(super) fn select<O: Object>(
    params: &Params,
    kind: &Kind,
    objects: impl Iterator<Item = O>,
) -> Result<(Vec<O>, Option<String>), Error> {
    let ids = params.flat_list(kind.ids)?;
    let filters = filters::<O>(params)?;
    let max = params.number("MaxResults")?.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&max) {
        let message = format!("Value ( {max} ) for parameter maxResults is invalid; allowed are 1 to {PAGE_MAX}.");
        return Err(Error::invalid("MaxResults", message));
    }
    let mut objects: Vec<(String, O)> = objects.map(|object| (object.id(), object)).collect();
    if let Some(unknown) = ids.iter().find(|id| !objects.iter().any(|(known, _)| known == *id)) {
        let message = format!("The {} '{}' does not exist", kind.name, short(unknown));
        return Err(Error::at(kind.code, params.name(kind.ids), message));
    }
    refuse_dry_run(params)?;
    objects.retain(|(id, object)| {
        (ids.is_empty() || ids.contains(id)) && filters.iter().all(|filter| filter.matches(object))
    });
    page(objects, Order::Ascending, ("NextToken", params.get("NextToken")), max as usize)
}

/// A request that is only tried ends here, when all of it is right.
pub(super) fn refuse_dry_run(params: &Params) -> Result<(), Error> {
    match params.switch("DryRun")? {
        Some(true) => {
            let message = "Request would have succeeded, but DryRun flag is set.";
            Err(Error::new(Code::DryRunOperation, message))
        }
        _ => Ok(()),
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

struct Filter {
    name: String,
    /// Patterns: `*` is any text, `?` any character, `\` makes them ordinary.
    values: Vec<String>,
}

impl Filter {
    fn matches(&self, object: &impl Object) -> bool {
        let has = match self.name.strip_prefix("tag:") {
            Some(key) => object.labels().get(key).cloned().into_iter().collect(),
            None if self.name == "tag-key" => object.labels().keys().cloned().collect(),
            None if self.name == "tag-value" => object.labels().values().cloned().collect(),
            None => object.values(&self.name),
        };
        has.iter().any(|text| self.values.iter().any(|pattern| matches(pattern, text)))
    }
}

fn filters<O: Object>(params: &Params) -> Result<Vec<Filter>, Error> {
    let read = |part: &Params| {
        let name = part.required("Name")?.to_owned();
        let is_known =
            O::FILTERS.contains(&&*name) || name.starts_with("tag:") || matches!(&*name, "tag-key" | "tag-value");
        if !is_known {
            let message = format!(
                "The filter '{}' is invalid; known here are {}, tag:<key>, tag-key and tag-value",
                short(&name),
                O::FILTERS.join(", ")
            );
            return Err(Error::invalid(part.name("Name"), message));
        }
        let values = part.flat_list("Value")?;
        if values.is_empty() {
            let message = format!("The filter {} has no values", Shown(&name));
            return Err(Error::invalid(part.name("Value"), message));
        }
        Ok(Filter { name, values })
    };
    params.flat_structures("Filter")?.iter().map(read).collect()
}

/// Whether a text is one of a pattern's. Takes at most as many steps as the product of the two lengths.
fn matches(pattern: &str, text: &str) -> bool {
    /// A character, or what stands for some.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Part {
        Char(char),
        AnyChar,
        AnyText,
    }
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            '*' => Part::AnyText,
            '?' => Part::AnyChar,
            '\\' => Part::Char(letters.next().unwrap_or('\\')),
            letter => Part::Char(letter),
        });
    }
    // reached[n]: the first n parts can be the text so far.
    let follow = |reached: &mut Vec<bool>| {
        for (n, part) in parts.iter().enumerate() {
            reached[n + 1] |= reached[n] && *part == Part::AnyText;
        }
    };
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    follow(&mut reached);
    for letter in text.chars() {
        let mut next = vec![false; parts.len() + 1];
        for (n, part) in parts.iter().enumerate() {
            match part {
                Part::AnyText => next[n] |= reached[n],
                Part::AnyChar => next[n + 1] |= reached[n],
                Part::Char(known) => next[n + 1] |= reached[n] && *known == letter,
            }
        }
        follow(&mut next);
        reached = next;
    }
    reached[parts.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("", "", true),
            ("*", "", true),
            ("w*b", "wb", true),
            ("w*b", "w-b-b", true),
            ("w*b", "w-b-c", false),
            ("w?b", "wéb", true),
            ("w?b", "wb", false),
            ("**a*", "bab", true),
            ("w\\*b", "w*b", true),
            ("w\\*b", "wxb", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(100), &"b".repeat(1000)));
    }
}

//! XML elements of answers.

use quick_xml::escape::escape;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::params::lower_camel;

/// An element: a name, and either text or children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: &'static str,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Children(Vec<Element>),
}

impl Element {
    /// `<Name>text</Name>`.
    pub fn text(name: &'static str, text: impl ToString) -> Self {
        Self { name, content: Content::Text(text.to_string()) }
    }

    /// `<Name>2026-01-31T12:00:00.123Z</Name>`, of milliseconds since 1970.
    pub fn time(name: &'static str, ms: u64) -> Self {
        let time = OffsetDateTime::from_unix_timestamp((ms / 1000).try_into().unwrap_or(i64::MAX)).ok();
        let text = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
        Self::text(name, format!("{}.{:03}Z", text.trim_end_matches('Z'), ms % 1000))
    }

    /// `<Name>…</Name>`.
    pub fn parent(name: &'static str, children: impl IntoIterator<Item = Self>) -> Self {
        Self { name, content: Content::Children(children.into_iter().collect()) }
    }

    /// `<Name><member>…</member>…</Name>`, a list of structures.
    pub fn list(name: &'static str, members: impl IntoIterator<Item = Vec<Self>>) -> Self {
        Self::parent(name, members.into_iter().map(|member| Self::parent("member", member)))
    }

    /// `<Name><member>text</member>…</Name>`, a list of values.
    pub fn texts<T: ToString>(name: &'static str, members: impl IntoIterator<Item = T>) -> Self {
        Self::parent(name, members.into_iter().map(|member| Self::text("member", member)))
    }

    /// `<name><item>…</item>…</name>`, a list of structures in EC2's form.
    pub fn set(name: &'static str, items: impl IntoIterator<Item = Vec<Self>>) -> Self {
        Self::parent(name, items.into_iter().map(|item| Self::parent("item", item)))
    }

    /// Writes the element behind what is there.
    pub fn write(&self, out: &mut String) {
        match &self.content {
            Content::Children(children) if children.is_empty() => {
                out.extend(["<", self.name, "/>"]);
                return;
            }
            Content::Children(children) => {
                out.extend(["<", self.name, ">"]);
                children.iter().for_each(|child| child.write(out));
            }
            // XML 1.0 has no way to say most control characters.
            Content::Text(text) => {
                let text: String =
                    text.chars().map(|c| if c < ' ' && !"\t\n\r".contains(c) { '\u{fffd}' } else { c }).collect();
                out.extend(["<", self.name, ">", &escape(text.as_str())]);
            }
        }
        out.extend(["</", self.name, ">"]);
    }

    /// As JSON, keys in lower camel case and lists as arrays: what the audit log keeps.
    pub fn to_json(elements: &[Self]) -> Value {
        let is_list = |name: &str| matches!(name, "member" | "item");
        if !elements.is_empty() && elements.iter().all(|element| is_list(element.name)) {
            return Value::Array(elements.iter().map(Self::content_to_json).collect());
        }
        let pairs = elements.iter().map(|element| (lower_camel(element.name), element.content_to_json()));
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    fn content_to_json(&self) -> Value {
        match &self.content {
            Content::Text(text) => Value::String(text.clone()),
            Content::Children(children) => Self::to_json(children),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_and_escaped() {
        let list = Element::list("Tags", [vec![Element::text("Key", "a<b>&\"c\u{1}")], vec![]]);
        let mut out = String::new();
        list.write(&mut out);
        Element::texts::<u8>("Empty", []).write(&mut out);
        Element::time("At", 1_700_000_000_007).write(&mut out);
        assert_eq!(
            out,
            "<Tags><member><Key>a&lt;b&gt;&amp;&quot;c\u{fffd}</Key></member><member/></Tags><Empty/><At>2023-11-14T22:13:20.007Z</At>"
        );
        assert_eq!(Element::to_json(&[list]).to_string(), "{\"tags\":[{\"key\":\"a<b>&\\\"c\\u0001\"},{}]}");
    }
}

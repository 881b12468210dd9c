//! Pages of answers. A marker says behind which element the next page begins, so that elements may come and go between two pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leat_model::{Code, Error};

use super::input::number;
use crate::params::Params;
use crate::xml::Element;

/// Elements of a page at the most, and unless a size is given.
const SIZE_MAX: i64 = 400;

/// Which part of a list is wanted.
#[derive(Debug)]
pub(super) struct Page {
    list: &'static str,
    size: usize,
    /// The key of the last element of the page before.
    after: Option<String>,
}

impl Page {
    /// `PageSize` and `Marker` of a request for the list of this name.
    pub(super) fn of(params: &Params, list: &'static str) -> Result<Self, Error> {
        let size = number(params, "PageSize", 1, SIZE_MAX)?.unwrap_or(SIZE_MAX) as usize;
        let marker = params.get("Marker").filter(|marker| !marker.is_empty());
        let read = |marker| {
            let text = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
            text.strip_prefix(list)?.strip_prefix('\n').map(str::to_owned)
        };
        let bad = || Error::at(Code::ValidationError, "Marker", "Invalid marker: give the NextMarker of the last page");
        let after = marker.map(|marker| read(marker).ok_or_else(bad)).transpose()?;
        Ok(Self { list, size, after })
    }

    /// The elements of the page by their keys, which order them, and `NextMarker` if there are more.
    pub(super) fn cut<T>(self, mut all: Vec<(String, T)>) -> (Vec<T>, Option<Element>) {
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let start = self.after.map_or(0, |after| all.partition_point(|(key, _)| *key <= after));
        let more = all.len() - start > self.size;
        let mut last = String::new();
        let page = all.into_iter().skip(start).take(self.size).map(|(key, element)| {
            last = key;
            element
        });
        let page = page.collect();
        let marker = || Element::text("NextMarker", URL_SAFE_NO_PAD.encode(format!("{}\n{last}", self.list)));
        (page, more.then(marker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(form: &str) -> Result<Page, Error> {
        Page::of(&Params::new(crate::form::decode(form.as_bytes()).expect("a form")), "Names")
    }

    fn cut(form: &str, names: &[&str]) -> (Vec<String>, Option<String>) {
        let all = names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
        let (page, marker) = page(form).expect("a page").cut(all);
        let text = |marker: Element| {
            let mut out = String::new();
            marker.write(&mut out);
            out.trim_start_matches("<NextMarker>").trim_end_matches("</NextMarker>").to_owned()
        };
        (page, marker.map(text))
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        assert_eq!(cut("", &["b", "a"]), (vec!["a".into(), "b".into()], None));
        let (first, marker) = cut("PageSize=2", &["d", "b", "a", "c"]);
        assert_eq!(first, ["a", "b"]);
        let form = format!("PageSize=2&Marker={}", marker.expect("there is more"));
        assert_eq!(cut(&form, &["a", "b", "c", "d"]), (vec!["c".into(), "d".into()], None));
        // One came, and the one that the marker names went away.
        assert_eq!(cut(&form, &["a", "aa", "bb", "c"]), (vec!["bb".into(), "c".into()], None));
        assert_eq!(cut(&form, &[]), (vec![], None));
    }

    #[test]
    fn what_is_no_marker_or_size_is_refused() {
        let other = URL_SAFE_NO_PAD.encode("Others\nb");
        for form in ["PageSize=0", "PageSize=401", "PageSize=x", "Marker=x", &format!("Marker={other}")] {
            assert_eq!(page(form).expect_err(form).code, Code::ValidationError, "{form}");
        }
        assert_eq!(page("Marker=").expect("none").after, None);
    }
}

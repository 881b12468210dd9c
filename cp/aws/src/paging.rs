//! Pages of lists. A page's token names the last object of the page before, so that what comes or goes meanwhile neither repeats nor
//! hides another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use leat_model::Error;

/// The order of a list, by its objects' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// The page of at most `max` objects that begins after `token`, and the token of the next page, if there is one. No two objects have
/// the same key. `field` names the parameter that has the token.
///
/// # Errors
/// [`leat_model::Code::ValidationError`]: the token is none of ours.
pub(crate) fn page<T>(
    mut objects: Vec<(String, T)>,
    order: Order,
    (field, token): (&str, Option<&str>),
    max: usize,
) -> Result<(Vec<T>, Option<String>), Error> {
    objects.sort_by(|(a, _), (b, _)| if order == Order::Ascending { a.cmp(b) } else { b.cmp(a) });
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        let last = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let last =
            last.ok_or_else(|| Error::invalid(field, format!("the value of {field} is no token of an answer")))?;
        objects.retain(|(key, _)| if order == Order::Ascending { *key > last } else { *key < last });
    }
    let is_last = objects.len() <= max;
    objects.truncate(max);
    let token = objects.last().filter(|_| !is_last).map(|(key, _)| BASE64.encode(key));
    Ok((objects.into_iter().map(|(_, object)| object).collect(), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another() {
        let list = |names: &str| names.chars().map(|c| (c.to_string(), c)).collect::<Vec<_>>();
        let (first, token) = page(list("cabd"), Order::Ascending, ("NextToken", None), 2).expect("a page");
        assert_eq!(first, ['a', 'b']);
        // The last object of the page has gone.
        let rest = page(list("cade"), Order::Ascending, ("NextToken", token.as_deref()), 3).expect("a page");
        assert_eq!(rest, (vec!['c', 'd', 'e'], None));
        let (first, token) = page(list("cab"), Order::Descending, ("NextToken", None), 2).expect("a page");
        assert_eq!(first, ['c', 'b']);
        let rest = page(list("cab"), Order::Descending, ("NextToken", token.as_deref()), 2).expect("a page");
        assert_eq!(rest, (vec!['a'], None));
        assert!(page(list("a"), Order::Ascending, ("NextToken", Some("%")), 2).is_err());
    }
}

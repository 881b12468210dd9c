//! Pages of long lists. A cursor is the key of the last thing that was shown, so that nothing is missed or shown twice when things
//! before it come or go.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leat_model::{Error, check};
use serde::Serialize;
use serde::de::DeserializeOwned;

const LIMIT_MAX: u32 = 1000;

/// Sorts things by a key, and gives those after a cursor, `limit` at the most, and the cursor of the next page if there is one.
///
/// # Errors
/// `limit` is out of range, or `cursor` none of ours.
pub fn page<T, K: Ord + Serialize + DeserializeOwned>(
    mut things: Vec<T>,
    key: impl Fn(&T) -> K,
    limit: Option<i64>,
    cursor: Option<&str>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let limit = limit.map(|limit| check::number("limit", limit, 1, LIMIT_MAX, "things")).transpose()?;
    things.sort_by_cached_key(&key);
    if let Some(cursor) = cursor {
        let last: K = read_cursor(cursor)?;
        things.retain(|thing| key(thing) > last);
    }
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    let more = things.len() > limit;
    things.truncate(limit);
    let next = things.last().filter(|_| more).map(|last| write_cursor(&key(last)));
    Ok((things, next))
}

/// A cursor for a key.
pub fn write_cursor<K: Serialize>(key: &K) -> String {
    // Keys are texts, numbers and addresses: all of them are JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key of a cursor.
///
/// # Errors
/// It is none of ours.
pub fn read_cursor<K: DeserializeOwned>(cursor: &str) -> Result<K, Error> {
    let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|text| serde_json::from_slice(&text).ok());
    key.ok_or_else(|| {
        Error::invalid("cursor", "this is no cursor of this list; give the nextCursor of the page before as it is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_one_before_ended() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let all = list(&["d", "a", "c", "b"]);
        let ask = |things: Vec<String>, limit, cursor: Option<&str>| page(things, String::clone, limit, cursor);
        assert_eq!(ask(all.clone(), None, None).expect("good"), (list(&["a", "b", "c", "d"]), None));
        let (first, next) = ask(all.clone(), Some(2), None).expect("good");
        assert_eq!(first, list(&["a", "b"]));
        // What the cursor stands for is gone, and something has come before it.
        let (second, end) = ask(list(&["aa", "a", "c", "d"]), Some(2), next.as_deref()).expect("good");
        assert_eq!((second, end), (list(&["c", "d"]), None));
        for (limit, cursor, field) in
            [(Some(0), None, "limit"), (Some(1001), None, "limit"), (None, Some("x"), "cursor")]
        {
            assert_eq!(ask(all.clone(), limit, cursor).expect_err("wrong").field.as_deref(), Some(field));
        }
    }
}

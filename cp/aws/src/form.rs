//! `application/x-www-form-urlencoded`, as the query protocol uses it.

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `%` without two hexadecimal digits.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Escape,
    /// Not UTF-8.
    #[error("a key or value is not UTF-8")]
    NotUtf8,
    /// More pairs than any request needs.
    #[error("there are more than {PAIRS_MAX} parameters")]
    TooMany,
}

/// Pairs of a form at the most: 1,000 targets with three fields each need fewer.
pub const PAIRS_MAX: usize = 10_000;

/// The pairs of a form, in its order. A key without `=` has an empty value.
///
/// # Errors
/// The form is malformed or too long.
pub fn decode(form: &[u8]) -> Result<Vec<(String, String)>, FormError> {
    let mut pairs = Vec::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == PAIRS_MAX {
            return Err(FormError::TooMany);
        }
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(end + 1..).unwrap_or_default();
        pairs.push((unescape(&pair[..end])?, unescape(value)?));
    }
    Ok(pairs)
}

fn unescape(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(*byte).to_digit(16));
                let (high, low) = (digit().ok_or(FormError::Escape)?, digit().ok_or(FormError::Escape)?);
                (high * 16 + low) as u8
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_or_refused() {
        let pairs = decode(b"Action=A&b+c=%e2%82%ac%3D&&d").expect("a form");
        let expected = [("Action", "A"), ("b c", "€="), ("d", "")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(decode(b""), Ok(Vec::new()));
        for (form, error) in [
            (&b"a=%"[..], FormError::Escape),
            (b"a=%4", FormError::Escape),
            (b"a=%zz", FormError::Escape),
            (b"%ff=1", FormError::NotUtf8),
        ] {
            assert_eq!(decode(form), Err(error), "{}", form.escape_ascii());
        }
        assert_eq!(decode(&b"a&".repeat(PAIRS_MAX + 1)), Err(FormError::TooMany));
    }
}

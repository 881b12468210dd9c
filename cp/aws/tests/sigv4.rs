//! Signatures as AWS's own signer makes them are accepted, and nothing else is.

mod targets;

use std::time::{Duration, UNIX_EPOCH};

use leat_aws::sigv4::{self, SKEW_MS};
use leat_model::Code;
use proptest::prelude::*;
use targets::signer::{SECRET, Sent, sign};

const NOW: u64 = 1_767_225_600_000;

fn check(sent: &Sent, secret: &str, now_ms: u64) -> Result<(), Code> {
    sent.check(secret, now_ms).map_err(|error| error.code)
}

fn plain(method: &str, path: &str, query: &str, body: &[u8]) -> Sent {
    Sent {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        headers: vec![("host".into(), b"127.0.0.1:9321".to_vec())],
        body: body.to_vec(),
    }
}

fn at(ms: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>().prop_filter("no control characters", |c| !c.is_control()), 0..8)
        .prop_map(|chars| chars.into_iter().collect())
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

prop_compose! {
    fn requests()(
        method in prop::sample::select(vec!["GET", "POST", "PATCH", "DELETE"]),
        // The signer cleans dots and empty segments, which nobody sends.
        segments in prop::collection::vec(text().prop_filter("cleaned", |s| !matches!(s.as_str(), "" | "." | "..")), 0..4),
        query in prop::collection::vec((text().prop_filter("a name", |s| !s.is_empty()), text()), 0..5),
        headers in prop::collection::vec(("x-[a-z]{1,6}", "[!-~]{0,5}( {1,3}[!-~]{1,5}){0,2}"), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..200),
        in_query in any::<bool>(),
        seconds in 1_u64..100_000_000,
    ) -> (Sent, bool, u64) {
        let path: String = segments.iter().map(|segment| format!("/{}", escaped(segment))).collect();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let mut sent = plain(method, if path.is_empty() { "/" } else { &path }, &query.join("&"), &body);
        for (name, value) in headers {
            if !sent.headers.iter().any(|(other, _)| *other == name) {
                sent.headers.push((name, value.into_bytes()));
            }
        }
        let now = NOW + seconds * 1000;
        sign(&mut sent, at(now), in_query);
        (sent, in_query, now)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// req: R26
    #[test]
    fn what_awss_signer_signs_is_accepted_for_a_while((sent, in_query, now) in requests()) {
        prop_assert_eq!(check(&sent, SECRET, now), Ok(()), "{:?}", sent);
        prop_assert_eq!(check(&sent, SECRET, now + SKEW_MS), Ok(()));
        prop_assert_eq!(check(&sent, SECRET, now - SKEW_MS), Ok(()));
        prop_assert_eq!(check(&sent, SECRET, now + SKEW_MS + 1), Err(Code::SignatureDoesNotMatch));
        prop_assert_eq!(check(&sent, SECRET, now - SKEW_MS - 1), Err(Code::SignatureDoesNotMatch));
        prop_assert_eq!(check(&sent, "another secret", now), Err(Code::SignatureDoesNotMatch), "{}", in_query);
    }

    /// req: R26
    #[test]
    fn a_flipped_bit_is_refused((sent, _, now) in requests(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let flipped = sent.flipped(place, bit);
        prop_assume!(flipped.as_ref().is_some_and(|other| other.meaning() != sent.meaning()));
        let flipped = flipped.unwrap_or_default();
        prop_assert!(check(&flipped, SECRET, now).is_err(), "{:?}", flipped);
    }
}

#[test]
fn forms_that_are_not_signatures_are_named() {
    let with = |authorization: &str| {
        let mut sent = plain("POST", "/", "", b"");
        sent.headers.push(("x-amz-date".into(), b"20260101T000000Z".to_vec()));
        sent.headers.push(("authorization".into(), authorization.as_bytes().to_vec()));
        sent.check(SECRET, NOW).expect_err(authorization)
    };
    let signature = "0".repeat(64);
    let scope = "LEATEXAMPLE/20260101/r/ec2/aws4_request";
    for (authorization, code, hint) in [
        ("AWS4-HMAC-SHA256".to_owned(), Code::IncompleteSignature, "'Credential'"),
        (format!("AWS4-HMAC-SHA256 Credential={scope}"), Code::IncompleteSignature, "'SignedHeaders'"),
        (format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host"), Code::IncompleteSignature, "'Signature'"),
        (format!("AWS4-ECDSA-P256-SHA256 Credential={scope}"), Code::IncompleteSignature, "algorithm"),
        (
            format!("AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature={signature}"),
            Code::IncompleteSignature,
            "5 slash",
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}", "A".repeat(64)),
            Code::IncompleteSignature,
            "small letters",
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 Credential={scope}, Credential={scope}, SignedHeaders=host, Signature={signature}"
            ),
            Code::IncompleteSignature,
            "twice",
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={signature}"),
            Code::SignatureDoesNotMatch,
            "x-amz-date",
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=x-amz-date, Signature={signature}"),
            Code::SignatureDoesNotMatch,
            "'Host'",
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host;x-amz-date, Signature={signature}",
                scope.replace("ec2", "s3")
            ),
            Code::SignatureDoesNotMatch,
            "scoped to correct service",
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host;x-amz-date, Signature={signature}",
                scope.replace("0101", "0102")
            ),
            Code::SignatureDoesNotMatch,
            "Credential scope",
        ),
    ] {
        let error = with(&authorization);
        assert_eq!(error.code, code, "{authorization}: {error}");
        assert!(error.message.contains(hint), "{authorization}: {error}");
        assert!(!error.message.contains(&signature), "{error}");
    }
}

#[test]
fn session_tokens_unsigned_bodies_and_two_signatures_are_refused() {
    let mut sent = plain("POST", "/", "", b"Action=x");
    sent.headers.push(("x-amz-security-token".into(), b"t".to_vec()));
    sign(&mut sent, at(NOW), false);
    assert_eq!(check(&sent, SECRET, NOW), Err(Code::InvalidClientTokenId));

    let mut sent = plain("POST", "/", "", b"Action=x");
    sent.headers.push(("x-amz-content-sha256".into(), b"UNSIGNED-PAYLOAD".to_vec()));
    sign(&mut sent, at(NOW), false);
    assert_eq!(check(&sent, SECRET, NOW), Err(Code::SignatureDoesNotMatch));

    let mut sent = plain("GET", "/v1/status", "a=b", b"");
    sign(&mut sent, at(NOW), true);
    assert_eq!(check(&sent, SECRET, NOW), Ok(()));
    sign(&mut sent, at(NOW), false);
    assert_eq!(check(&sent, SECRET, NOW), Err(Code::IncompleteSignature));

    let unsigned = plain("GET", "/v1/status", "a=b", b"");
    assert_eq!(sigv4::claim(&unsigned.request(&unsigned.borrowed())), Ok(None));
}
